// Where a query of DETR looks: its cross-attention, layer by layer, while the model learns.
// A box is [x1, y1, x2, y2] in pixels of the image.

const CASING = "#111";
const CHOSEN = "#fca800";
const FAINT = 0.15; // the least visible that the box of another query becomes, at a score of 0

// ---- the stored tensors ------------------------------------------------------------------------

/** Return a function (moment, layer, query) => rows of attention weights that reads the bytes. */
function mapsIn({ maps, largest, cells: [rows, columns], queries }) {
  const bytes = Uint8Array.from(atob(maps), (letter) => letter.charCodeAt(0));
  const layers = largest[0].length;

  return (moment, layer, query) => {
    const first = ((moment * layers + layer) * queries + query) * rows * columns;
    const most = largest[moment][layer][query];
    return Array.from({ length: rows }, (_, row) =>
      Array.from(
        { length: columns },
        (_, column) => (bytes[first + row * columns + column] / 255) * most,
      ),
    );
  };
}

/** Return the share of the attention in cells whose middle lies in a box. */
function shareInside(map, [x1, y1, x2, y2], { width, height }) {
  let inside = 0;
  map.forEach((row, i) =>
    row.forEach((weight, j) => {
      const x = ((j + 0.5) * width) / row.length;
      const y = ((i + 0.5) * height) / map.length;
      if (x1 <= x && x <= x2 && y1 <= y && y <= y2) inside += weight;
    }),
  );
  const total = sum(map.flat());
  return total > 0 ? inside / total : 0;
}

/**
 * Return the query whose box a place in pixels asks for: of the boxes around it the smallest, or
 * else the one whose middle is nearest.
 */
function queryAt(boxes, { x, y }) {
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  const around = boxes.flatMap((box, q) =>
    box[0] <= x && x <= box[2] && box[1] <= y && y <= box[3] ? [q] : [],
  );
  if (around.length > 0) {
    return around.reduce((best, q) => (area(boxes[q]) < area(boxes[best]) ? q : best));
  }
  const squares = boxes.map(
    ([x1, y1, x2, y2]) => ((x1 + x2) / 2 - x) ** 2 + ((y1 + y2) / 2 - y) ** 2,
  );
  return squares.indexOf(Math.min(...squares));
}

// ---- the figure --------------------------------------------------------------------------------

explorable("query_attention", (figure, data) => {
  const { steps, names, boxes, scores, labels, largest } = data;
  const layers = largest[0].map((_, layer) => layer);
  const last = layers.length - 1;
  const state = { ...data.state };
  const read = mapsIn(data);
  let found = null;

  const querySlider = slider({
    label: "query",
    ...{ min: 1, max: data.queries, step: 1, digits: 0 },
    onInput: (number) => set({ query: number - 1 }),
  });
  const momentSlider = slider({
    label: "training",
    ...{ min: 0, max: steps.length - 1, step: 1 },
    describe: (moment) => `step ${steps[moment]}`,
    onInput: (moment) => move(moment),
  });
  momentSlider.element.style.gridTemplateColumns = "auto minmax(90px, 1fr) 6em";

  const running = player(
    () => {
      set({ moment: Math.min(state.moment + 1, steps.length - 1) });
      return state.moment < steps.length - 1;
    },
    { pause: 800, onChange: (runs) => (runButton.textContent = runs ? "pause" : "train") },
  );
  const runButton = button("train", () => {
    if (!running.isRunning() && state.moment === steps.length - 1) set({ moment: 0 });
    running.toggle();
  });

  const overview = pictureOfAll(data, (place) =>
    set({ query: queryAt(boxes[state.moment][last], place) }),
  );
  const pictures = layers.map((layer) => pictureOfLayer(data, layer));
  const table = tableOfLayers(layers);
  const sentence = html("p", { class: "sentence" });
  const key = html(
    "p",
    { class: "note" },
    "In the first picture the boxes of all queries in the last layer, the fainter the lower their " +
      "score; the orange one is chosen, a click chooses another. In the other pictures light is " +
      "where the query looks: the brightest cell of each has the largest weight there.",
  );

  const row = (...controls) => html("div", { class: "row" }, ...controls);
  // Four pictures side by side where there is room, else two.
  const columns = "repeat(auto-fill, minmax(min(165px, 50% - 3px), 1fr))";
  const besides = `display: grid; gap: 6px; grid-template-columns: ${columns}`;
  figure.stage.append(
    row(querySlider.element),
    row(runButton, momentSlider.element),
    html(
      "div",
      { style: besides },
      ...[overview, ...pictures].map(({ element }) => element),
    ),
    html("div", { class: "panels" }, html("div", {}, sentence, key), table.element),
  );

  /** A reader's hand goes to a moment: what runs by itself stops. */
  function move(moment) {
    running.stop();
    set({ moment });
  }

  function set(changes) {
    Object.assign(state, changes);
    work();
    show();
  }

  function work() {
    const { query, moment } = state;
    found = {
      layers: layers.map((layer) => {
        const map = read(moment, layer, query);
        const box = boxes[moment][layer][query];
        return {
          map,
          box,
          inside: shareInside(map, box, data),
          largest: largest[moment][layer][query],
          score: scores[moment][layer][query],
          name: names[labels[moment][layer][query]],
        };
      }),
    };
  }

  function show() {
    const { query, moment } = state;
    querySlider.show(query + 1);
    momentSlider.show(moment);
    overview.show(boxes[moment][last], scores[moment][last], query);
    pictures.forEach((picture, i) => picture.show(found.layers[i]));
    table.show(found.layers);

    const { name, score, inside } = found.layers[last];
    sentence.textContent =
      `Query ${query + 1} after step ${steps[moment]}: in the last layer ${name} with a score of ` +
      `${written(score)}; ${written(100 * inside, 0)} % of its attention lie in its box.`;
    figure.announce(sentence.textContent);
  }

  set({});
  return { set, get: () => ({ ...state, ...found }) };
});

// ---- the pictures ------------------------------------------------------------------------------

/** Draw a box: a line on a wider, dark one. */
function boxLines(box, stroke, width) {
  const look = { ...rectangle(box), fill: "none" };
  return [
    svg("rect", { ...look, stroke: CASING, "stroke-width": 2.2 * width }),
    svg("rect", { ...look, class: "box", stroke, "stroke-width": width }),
  ];
}

/** Make the picture with the boxes of all queries. */
function pictureOfAll({ image, width, height }, ask) {
  const layer = svg("g");
  const element = svg(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      width: 260,
      role: "img",
      "aria-label": "the image, and the boxes of all queries",
      style: "cursor: pointer",
    },
    svg("image", { href: image, width, height }),
    layer,
  );
  change(element, { onclick: (event) => ask(pointIn(element, event)) });

  const show = (boxes, scores, chosen) => {
    const others = boxes.map((box, q) => {
      const opacity = FAINT + (1 - FAINT) * scores[q];
      return svg("g", { opacity }, ...boxLines(box, "#fff", 0.01 * width));
    });
    others.splice(chosen, 1);
    layer.replaceChildren(...others, ...boxLines(boxes[chosen], CHOSEN, 0.016 * width));
  };
  return { element: titled("all queries, last layer", element), show };
}

/** Make the picture of one layer: a shade on each cell, the thinner the more the query looks. */
function pictureOfLayer({ image, width, height, cells: [rows, columns], darkest }, layer) {
  const shades = Array.from({ length: rows * columns }, (_, cell) =>
    svg("rect", {
      x: ((cell % columns) * width) / columns,
      y: (Math.floor(cell / columns) * height) / rows,
      width: width / columns,
      height: height / rows,
    }),
  );
  const box = svg("g");
  const drawn = svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width: 260, "aria-hidden": "true" },
    svg("image", { href: image, width, height }),
    svg("g", { class: "shades", "shape-rendering": "crispEdges" }, ...shades),
    box,
  );
  const show = ({ map, largest, box: sides, name, score }) => {
    map.flat().forEach((weight, cell) => {
      const light = largest > 0 ? weight / largest : 0;
      shades[cell].setAttribute("opacity", (darkest * (1 - light)).toFixed(3));
    });
    box.replaceChildren(...boxLines(sides, CHOSEN, 0.016 * width));
    element.firstChild.textContent = `layer ${layer + 1}: ${name} ${written(score)}`;
  };
  const element = titled("", drawn);
  return { element, show };
}

/** Put a line above a picture, which says what it is. */
function titled(words, picture) {
  const line = html("div", { class: "note", style: "text-align: center" }, words);
  return html("div", {}, line, picture);
}

function tableOfLayers(layers) {
  const head = ["layer", "class, score", "attention in its box", "largest weight"].map((word) =>
    html("th", { scope: "col" }, word),
  );
  const body = html("tbody");
  const element = html("table", {}, html("thead", {}, html("tr", {}, ...head)), body);
  const show = (found) =>
    body.replaceChildren(
      ...found.map(({ name, score, inside, largest }, i) =>
        html(
          "tr",
          {},
          html("th", { scope: "row" }, String(layers[i] + 1)),
          html("td", {}, `${name}, ${written(score)}`),
          html("td", {}, `${written(100 * inside, 0)} %`),
          html("td", {}, written(largest, 3)),
        ),
      ),
    );
  return { element, show };
}
