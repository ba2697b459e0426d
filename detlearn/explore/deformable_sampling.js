// Where the queries of deformable attention look: the points of every head on every level.
// Places are [x, y] in shares of the image; the pictures count in pixels of the image.

const HEAD_COLOURS = [
  ...["#fca800", "#90fcfc", "#e49cff", "#e4f090"],
  ...["#ff9f95", "#9fc4ff", "#8df5a0", "#ffffff"],
];
const CASING = "#111";

// ---- the stored tensors ------------------------------------------------------------------------

function bytesIn(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** Return a function (layer, query) => points { head, level, x, y, weight } that reads the bytes. */
function pointsIn({ moves, weights, reach, largest, references, heads, points, sizes }) {
  const [moved, weighed] = [bytesIn(moves), bytesIn(weights)];
  const levels = sizes.length;
  const numQueries = references[0].length;

  return (layer, query) => {
    const [x, y] = references[layer][query];
    const first = (layer * numQueries + query) * heads * levels * points;
    return Array.from({ length: heads * levels * points }, (_, i) => {
      const level = Math.floor(i / points) % levels;
      const at = (axis) => ((moved[2 * (first + i) + axis] - 128) / 127) * reach[level];
      return {
        head: Math.floor(i / (levels * points)),
        level,
        x: x + at(0),
        y: y + at(1),
        weight: (weighed[first + i] / 255) * largest,
      };
    });
  };
}

/**
 * Return for each level its share of the attention, and how far its points lie from the reference
 * in the mean, by their weights, in pixels.
 */
function levelsOf(points, numLevels, [x, y], { width, height }) {
  const total = sum(points.map(({ weight }) => weight));
  return Array.from({ length: numLevels }, (_, level) => {
    const own = points.filter((point) => point.level === level);
    const weight = sum(own.map((point) => point.weight));
    const distances = own.map(
      (point) => point.weight * Math.hypot((point.x - x) * width, (point.y - y) * height),
    );
    return { share: weight / total, distance: weight > 0 ? sum(distances) / weight : 0 };
  });
}

/** Return the query whose reference is nearest to a place in pixels. */
function nearestQuery(references, place, { width, height }) {
  const squares = references.map(
    ([x, y]) => (x * width - place.x) ** 2 + (y * height - place.y) ** 2,
  );
  return squares.indexOf(Math.min(...squares));
}

// ---- the figure --------------------------------------------------------------------------------

explorable("deformable_sampling", (figure, data) => {
  const { width, height, sizes, references, heads } = data;
  const state = { ...data.state };
  const read = pointsIn(data);
  let found = null;

  const layerChoice = choice({
    label: "layer",
    options: references.map((_, layer) => [layer, String(layer + 1)]),
    onChange: (layer) => set({ layer }),
  });
  const headChoice = choice({
    label: "head",
    options: [[null, "all"], ...Array.from({ length: heads }, (_, m) => [m, String(m + 1)])],
    onChange: (head) => set({ head }),
  });
  const querySlider = slider({
    label: "query",
    ...{ min: 1, max: references[0].length, step: 1, digits: 0 },
    onInput: (number) => set({ query: number - 1 }),
  });
  const picture = wholePicture(data, (place) => {
    const query = nearestQuery(references[state.layer], place, data);
    if (query !== state.query) set({ query });
  });
  const levels = sizes.map((size) => levelPicture(data, size));
  const table = levelTable(sizes);
  const sentence = html("p", { class: "sentence" });
  const key = html(
    "p",
    { class: "note" },
    "A cross: the reference of the query; small dots: those of the others. A point’s area is its " +
      "weight, its colour its head: ",
    ...Array.from({ length: heads }, (_, m) => {
      const style = `background: ${CASING}; color: ${HEAD_COLOURS[m]}; padding: 0 0.35em`;
      return html("b", { style }, String(m + 1));
    }),
    ". Outside of the image, what is read is 0. Shares and distances are by weight, of the head " +
      "that is chosen.",
  );

  const row = (...controls) => html("div", { class: "row" }, ...controls);
  const columns = `repeat(${Math.min(sizes.length, 4)}, minmax(0, 180px))`;
  const besides = `display: grid; gap: 6px; grid-template-columns: ${columns}`;
  figure.stage.append(
    row(layerChoice.element, headChoice.element),
    row(querySlider.element),
    html(
      "div",
      { class: "panels" },
      html("div", {}, picture.element, key),
      html(
        "div",
        {},
        html("div", { style: besides }, ...levels.map(({ element }) => element)),
        table.element,
        sentence,
      ),
    ),
  );

  function set(changes) {
    Object.assign(state, changes);
    work();
    show();
  }

  function work() {
    const { query, layer, head } = state;
    const points = read(layer, query).filter((point) => head === null || point.head === head);
    const reference = references[layer][query];
    found = { points, reference, levels: levelsOf(points, sizes.length, reference, data) };
    found.outside = points.filter(({ x, y }) => x < 0 || x > 1 || y < 0 || y > 1).length;
  }

  function show() {
    const { points, reference } = found;
    layerChoice.show(state.layer);
    headChoice.show(state.head);
    querySlider.show(state.query + 1);

    const marks = marksOf(points, data);
    picture.show(references[state.layer], reference, marks);
    levels.forEach((level, i) => level.show(marks.filter((_, n) => points[n].level === i)));
    table.show(found.levels);

    const [x, y] = [reference[0] * width, reference[1] * height];
    const outside = found.outside ? ` ${found.outside} of them lie outside the image.` : "";
    sentence.textContent =
      `Query ${state.query + 1} in layer ${state.layer + 1}, at (${written(x, 0)}, ` +
      `${written(y, 0)}), reads ${points.length} points` +
      `${state.head === null ? ` of ${heads} heads` : ` of head ${state.head + 1}`}.${outside}`;
    const shares = found.levels.map(
      ({ share }, i) => `${sizes[i].join(" × ")}: ${written(100 * share, 0)} %`,
    );
    figure.announce(`${sentence.textContent} ${shares.join("; ")}.`);
  }

  set({});
  return { set, get: () => ({ ...state, ...found }) };
});

// ---- the pictures ------------------------------------------------------------------------------

/** Return the attributes of the points, in their order. */
function marksOf(points, { width, height, widest }) {
  return points.map(({ head, x, y, weight }) => ({
    cx: x * width,
    cy: y * height,
    r: (widest * Math.sqrt(weight) * width) / 100,
    fill: HEAD_COLOURS[head],
    "fill-opacity": 0.85,
    stroke: CASING,
    "stroke-width": 0.004 * width,
  }));
}

/** Make circles of marks, the largest first, so that none hides a smaller one. */
function circlesOf(marks, grow = 1) {
  const order = [...marks].sort((one, other) => other.r - one.r);
  return order.map((mark) => svg("circle", { ...mark, r: mark.r * grow, class: "point" }));
}

/** Make a picture with a margin, in which points outside the image are seen. */
function framedPicture({ image, width, height, margin }, ...layers) {
  const [left, top] = [-margin * width, -margin * height];
  return svg(
    "svg",
    { viewBox: `${left} ${top} ${width - 2 * left} ${height - 2 * top}`, width: 420 },
    svg("image", { href: image, width, height }),
    ...layers,
  );
}

function wholePicture(data, ask) {
  const { width, height } = data;
  const still = { style: "pointer-events: none" };
  const shade = svg("rect", { width, height, fill: "#000", "fill-opacity": 0.25, ...still });
  const box = svg("g", { fill: "none", ...still });
  const others = svg("g", still);
  const points = svg("g", still);
  const cross = svg("path", { fill: "none", "stroke-linecap": "round", ...still });
  const casing = svg("path", { fill: "none", "stroke-linecap": "round", ...still });
  const element = framedPicture(data, shade, box, others, points, casing, cross);
  change(element, { role: "img", "aria-label": "the image, and the points that the query reads" });

  // The pointer asks the query that is nearest to it; a finger may still scroll the page.
  const asked = (event) => ask(pointIn(element, event));
  change(element, { onpointermove: asked, onpointerdown: asked, style: "touch-action: pan-y" });

  const show = (references, [x, y, w, h], marks) => {
    const at = (share, length) => share * length;
    others.replaceChildren(
      ...references.map(([cx, cy]) =>
        svg("circle", {
          ...{ cx: at(cx, width), cy: at(cy, height), r: 0.006 * width },
          ...{ fill: "#fff", stroke: CASING, "stroke-width": 0.004 * width },
        }),
      ),
    );
    points.replaceChildren(...circlesOf(marks));

    const arm = 0.022 * width;
    const [cx, cy] = [x * width, y * height];
    const d = `M${cx - arm} ${cy}h${2 * arm}M${cx} ${cy - arm}v${2 * arm}`;
    change(casing, { d, stroke: CASING, "stroke-width": 0.02 * width });
    change(cross, { d, stroke: "#fff", "stroke-width": 0.009 * width });

    const sides = [x - w / 2, y - h / 2, x + w / 2, y + h / 2];
    const corners = sides.map((side, i) => side * (i % 2 ? height : width));
    box.replaceChildren(
      ...(w === undefined
        ? []
        : [
            svg("rect", { ...rectangle(corners), stroke: CASING, "stroke-width": 0.016 * width }),
            svg("rect", { ...rectangle(corners), stroke: "#fff", "stroke-width": 0.008 * width }),
          ]),
    );
  };
  return { element, show };
}

/** Make the picture of one level: the image, dimmed, under the cells of the level's map. */
function levelPicture(data, [rows, columns]) {
  const { width, height } = data;
  const steps = (count, length) => Array.from({ length: count + 1 }, (_, i) => (i * length) / count);
  const across = steps(columns, width).map((x) => `M${x} 0V${height}`);
  const down = steps(rows, height).map((y) => `M0 ${y}H${width}`);
  const shade = svg("rect", { width, height, fill: "#000", "fill-opacity": 0.45 });
  const cells = svg("path", {
    ...{ d: [...across, ...down].join(""), fill: "none", stroke: "#fff", opacity: 0.4 },
    "stroke-width": 0.004 * width,
  });
  const points = svg("g");
  const drawn = framedPicture(data, shade, cells, points);
  change(drawn, { "aria-hidden": "true" });
  const title = html("div", { class: "note", style: "text-align: center" }, `${rows} × ${columns}`);

  // Small pictures, larger points.
  const show = (marks) => points.replaceChildren(...circlesOf(marks, 1.4));
  return { element: html("div", {}, title, drawn), show };
}

function levelTable(sizes) {
  const head = ["level", "share of the attention", "mean distance"].map((word) =>
    html("th", { scope: "col" }, word),
  );
  const body = html("tbody");
  const element = html("table", {}, html("thead", {}, html("tr", {}, ...head)), body);
  const show = (levels) =>
    body.replaceChildren(
      ...levels.map(({ share, distance }, i) =>
        html(
          "tr",
          {},
          html("th", { scope: "row" }, sizes[i].join(" × ")),
          html("td", {}, `${written(100 * share, 0)} %`),
          html("td", {}, `${written(distance, 1)} px`),
        ),
      ),
    );
  return { element, show };
}
