// RoIPool against RoIAlign under a box that moves by fractions of a pixel.
// The box is { x, y, width, height } in pixels of the image; a place on the map counts in cells.
// The arithmetic is that of roi_pool, and of roi_align with aligned=True.

const STEP = 0.25; // pixels by which hand and keys move the box
const MARGIN = 1.1; // cells around the map in which the box can still be seen
const OUTSIDE = 8; // pixels by which a box may leave the image
const TILE_LINE = "display: flex; justify-content: space-between; gap: 0.2em; font-size: 0.85em";

// ---- RoIPool -----------------------------------------------------------------------------------

/** Round halves away from zero, as C does. */
function roundedAway(value) {
  return Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
}

/** Return the cells of each bin along one axis: from `first` up to, not including, `after`. */
function cellsOfBins(start, end, bins, size) {
  const length = Math.max(end - start + 1, 1) / bins; // the end is inclusive
  return Array.from({ length: bins }, (_, number) => ({
    first: clamp(Math.floor(number * length) + start, 0, size),
    after: clamp(Math.ceil((number + 1) * length) + start, 0, size),
  }));
}

/** Return the rounded box and, bin by bin, the cells that are read and the largest of them. */
function roiPool(features, { x, y, width, height }, stride, bins) {
  const left = roundedAway(x / stride);
  const top = roundedAway(y / stride);
  const right = roundedAway((x + width) / stride);
  const bottom = roundedAway((y + height) / stride);

  const rows = cellsOfBins(top, bottom, bins, features.length);
  const columns = cellsOfBins(left, right, bins, features[0].length);
  const read = rows.flatMap((row) =>
    columns.map((column) => {
      let largest = null;
      for (let i = row.first; i < row.after; i++) {
        for (let j = column.first; j < column.after; j++) {
          if (largest === null || features[i][j] > features[largest.row][largest.column]) {
            largest = { row: i, column: j };
          }
        }
      }
      const value = largest === null ? 0 : features[largest.row][largest.column];
      return { row, column, largest, value };
    }),
  );
  return { left, top, right, bottom, read };
}

// ---- RoIAlign ----------------------------------------------------------------------------------

/** Read the map between its cells; the value of cell (i, j) stands at y = i, x = j. */
function bilinearSample(features, x, y) {
  const height = features.length;
  const width = features[0].length;
  if (x < -1 || x > width || y < -1 || y > height) return 0;

  const column = clamp(x, 0, width - 1);
  const row = clamp(y, 0, height - 1);
  const left = Math.floor(column);
  const top = Math.floor(row);
  const right = Math.min(left + 1, width - 1);
  const bottom = Math.min(top + 1, height - 1);

  const across = column - left;
  const down = row - top;
  const upper = features[top][left] * (1 - across) + features[top][right] * across;
  const lower = features[bottom][left] * (1 - across) + features[bottom][right] * across;
  return upper * (1 - down) + lower * down;
}

/** Return the middles of `points` equal parts of each bin, one list a bin. */
function placesOfBins(start, binSide, bins, points) {
  return Array.from({ length: bins }, (_, bin) =>
    Array.from({ length: points }, (_, i) => start + ((bin * points + i + 0.5) / points) * binSide),
  );
}

/** Return, bin by bin, the points that are read with their values, and the mean of these. */
function roiAlign(features, { x, y, width, height }, stride, bins, points) {
  // Half a cell, because the value of a cell stands in its middle.
  const left = x / stride - 0.5;
  const top = y / stride - 0.5;
  const binWidth = ((x + width) / stride - 0.5 - left) / bins;
  const binHeight = ((y + height) / stride - 0.5 - top) / bins;

  // 0 stands for as many points as a bin has cells, rounded up.
  const columns = placesOfBins(left, binWidth, bins, points || Math.ceil(binWidth));
  const rows = placesOfBins(top, binHeight, bins, points || Math.ceil(binHeight));
  return rows.flatMap((ys) =>
    columns.map((xs) => {
      const samples = ys.flatMap((atY) =>
        xs.map((atX) => ({ x: atX, y: atY, value: bilinearSample(features, atX, atY) })),
      );
      const total = sum(samples.map(({ value }) => value));
      return { samples, value: samples.length ? total / samples.length : 0 };
    }),
  );
}

// ---- the figure --------------------------------------------------------------------------------

explorable("roi_sampling", (figure, data) => {
  const { features, stride } = data;
  const state = { ...data.state };
  const size = { x: features[0].length * stride, y: features.length * stride }; // in pixels

  const hand = { state, size, stride, features, moveBox: set };
  const poolPicture = mapPicture({ ...hand, name: "RoIPool" });
  const alignPicture = mapPicture({ ...hand, name: "RoIAlign" });
  const poolWords = html("p", { class: "note" });
  const alignWords = html("p", { class: "note" });
  const tiles = binTiles((bin) => set({ bin }));
  const curves = slidingChart(size.x);

  const slide = (key, label, min, max) =>
    slider({ label, min, max, step: STEP, onInput: (value) => set({ [key]: value }) });
  const sliders = {
    x: slide("x", "left, px", -OUTSIDE, size.x),
    y: slide("y", "top, px", -OUTSIDE, size.y),
    width: slide("width", "width, px", STEP, size.x),
    height: slide("height", "height, px", STEP, size.y),
  };
  const binsChoice = choice({
    label: "bins",
    options: [1, 2, 3].map((bins) => [bins, `${bins} × ${bins}`]),
    onChange: (bins) => set({ bins, bin: Math.min(state.bin, bins * bins - 1) }),
  });
  const pointsChoice = choice({
    label: "points of RoIAlign",
    options: [
      [1, "1"],
      [2, "2 × 2"],
      [0, "one a cell"],
    ],
    onChange: (points) => set({ points }),
  });
  const backButton = button("back to the start", () => set(data.state));

  const row = (...elements) => html("div", { class: "row" }, ...elements);
  figure.stage.append(
    html(
      "div",
      { class: "panels" },
      html("div", {}, html("b", {}, "RoIPool"), poolPicture.element, poolWords),
      html("div", {}, html("b", {}, "RoIAlign"), alignPicture.element, alignWords),
      html(
        "div",
        {},
        tiles.element,
        ...Object.values(sliders).map(({ element }) => row(element)),
      ),
      html(
        "div",
        {},
        row(binsChoice.element),
        row(pointsChoice.element, backButton),
        curves.element,
      ),
    ),
  );

  function work() {
    const pool = roiPool(features, state, stride, state.bins);
    const align = roiAlign(features, state, stride, state.bins, state.points);
    return { pool, align };
  }

  function set(changes) {
    Object.assign(state, changes);
    const { pool, align } = work();

    for (const [key, { show }] of Object.entries(sliders)) show(state[key]);
    binsChoice.show(state.bins);
    pointsChoice.show(state.points);
    tiles.show(pool.read, align, state);
    poolPicture.show(poolMarks(pool, state.bin));
    alignPicture.show(alignMarks(align, state, stride));
    curves.show(state, (x) => {
      const moved = { ...state, x };
      const there = roiAlign(features, moved, stride, state.bins, state.points);
      return {
        pool: roiPool(features, moved, stride, state.bins).read[state.bin].value,
        align: there[state.bin].value,
      };
    });

    poolWords.textContent = wordsOfPool(pool, state);
    alignWords.textContent = wordsOfAlign(align[state.bin], state);
    const number = `Bin ${state.bin + 1}: `;
    const values = [pool.read[state.bin].value, align[state.bin].value].map((v) => written(v));
    figure.announce(`${number}RoIPool ${values[0]}, RoIAlign ${values[1]}.`);
  }

  set({});

  const get = () => {
    const { pool, align } = work();
    const values = { pool: pool.read.map((b) => b.value), align: align.map((b) => b.value) };
    const difference = values.align.map((value, i) => value - values.pool[i]);
    return { ...state, ...values, difference };
  };
  return { set, get };
});

// ---- the pictures ------------------------------------------------------------------------------

/** Draw the map with its numbers and the box, which can be moved and resized. */
function mapPicture({ name, state, size, stride, features, moveBox }) {
  const columns = features[0].length;
  const rows = features.length;
  const view = [-MARGIN, -MARGIN, columns + 2 * MARGIN, rows + 2 * MARGIN];
  const space = svg("svg", {
    viewBox: view.join(" "),
    width: 380,
    role: "group",
    "aria-label": `feature map, ${name}`,
  });

  const most = Math.max(...features.flat());
  features.forEach((row, i) =>
    row.forEach((value, j) => {
      const shade = { fill: "var(--blue)", "fill-opacity": (0.5 * value) / most };
      const cell = { x: j, y: i, width: 1, height: 1, stroke: "var(--rule)", "stroke-width": 0.03 };
      const place = { x: j + 0.5, y: i + 0.66, "text-anchor": "middle" };
      const number = svg("text", { ...place, style: "font-size: 0.46px" }, value);
      space.append(svg("rect", { ...cell, ...shade }), number);
    }),
  );

  // What is read lies below the box, so that the box can always be taken.
  const marks = svg("g", { fill: "none", style: "pointer-events: none" });
  const line = { stroke: "currentColor", "stroke-width": 0.09 };
  const outline = svg("rect", { fill: "transparent", ...line });
  const ring = svg("rect", { class: "ring", "vector-effect": "non-scaling-stroke" });
  const body = svg("g", {}, outline, ring);
  const dot = svg("circle", { r: 0.22, fill: "currentColor" });
  const reach = svg("circle", { r: 0.55, fill: "transparent" }); // large enough for a finger
  const dotRing = svg("circle", { class: "ring", r: 0.5, "vector-effect": "non-scaling-stroke" });
  const corner = svg("g", {}, reach, dot, dotRing);
  space.append(marks, body, corner);

  // Places are counted in pixels, in steps of a quarter; the picture is drawn in cells.
  const inSteps = (cells) => Math.round((cells * stride) / STEP) * STEP;
  const describe = () =>
    `left ${written(state.x)}, top ${written(state.y)}, ` +
    `${written(state.width)} wide, ${written(state.height)} high`;

  const bodyHandle = movable(body, {
    label: `box under ${name}`,
    space,
    step: STEP / stride,
    place: () => ({ x: state.x / stride, y: state.y / stride }),
    move: ({ x, y }) =>
      moveBox({
        x: clamp(inSteps(x), -OUTSIDE, size.x + OUTSIDE - state.width),
        y: clamp(inSteps(y), -OUTSIDE, size.y + OUTSIDE - state.height),
      }),
    describe,
  });
  const cornerHandle = movable(corner, {
    label: `box under ${name}, bottom right corner`,
    space,
    step: STEP / stride,
    place: () => ({ x: (state.x + state.width) / stride, y: (state.y + state.height) / stride }),
    move: ({ x, y }) =>
      moveBox({
        width: clamp(inSteps(x), state.x + STEP, size.x + OUTSIDE) - state.x,
        height: clamp(inSteps(y), state.y + STEP, size.y + OUTSIDE) - state.y,
      }),
    describe,
  });

  const show = (drawn) => {
    const box = {
      x: state.x / stride,
      y: state.y / stride,
      width: state.width / stride,
      height: state.height / stride,
    };
    change(outline, box);
    change(ring, {
      x: box.x - 0.15,
      y: box.y - 0.15,
      width: box.width + 0.3,
      height: box.height + 0.3,
    });
    change(corner, { transform: `translate(${box.x + box.width} ${box.y + box.height})` });
    marks.replaceChildren(...drawn);
    bodyHandle.tell();
    cornerHandle.tell();
  };
  return { element: space, show };
}

/** Draw what RoIPool reads: the rounded box, the cells of one bin, the largest cell of each. */
function poolMarks({ left, top, right, bottom, read }, chosen) {
  const marks = [
    svg("rect", {
      x: left,
      y: top,
      width: Math.max(right - left + 1, 1),
      height: Math.max(bottom - top + 1, 1),
      stroke: "var(--orange)",
      "stroke-width": 0.07,
      "stroke-dasharray": "0.25 0.15",
    }),
  ];

  const { row, column } = read[chosen];
  if (read[chosen].largest) {
    marks.push(
      svg("rect", {
        x: column.first,
        y: row.first,
        width: column.after - column.first,
        height: row.after - row.first,
        fill: "var(--orange)",
        "fill-opacity": 0.3,
        stroke: "var(--orange)",
        "stroke-width": 0.1,
      }),
    );
  }

  read.forEach(({ largest }, bin) => {
    if (!largest) return;
    const place = { cx: largest.column + 0.5, cy: largest.row + 0.5, r: 0.4 };
    const width = bin === chosen ? 0.1 : 0.04;
    marks.push(svg("circle", { ...place, stroke: "var(--orange)", "stroke-width": width }));
  });
  return marks;
}

/** Draw what RoIAlign reads: the bins, and their points; those of one bin are filled. */
function alignMarks(align, { x, y, width, height, bins, bin: chosen }, stride) {
  const marks = [];
  const line = { stroke: "var(--blue)", "stroke-width": 0.05 };
  for (let i = 1; i < bins; i++) {
    const across = (x + (i * width) / bins) / stride;
    const down = (y + (i * height) / bins) / stride;
    const d = `M${across} ${y / stride}v${height / stride}M${x / stride} ${down}h${width / stride}`;
    marks.push(svg("path", { ...line, d }));
  }

  align.forEach(({ samples }, bin) => {
    const look = bin === chosen ? { fill: "var(--blue)" } : {};
    for (const sample of samples) {
      const place = { cx: sample.x + 0.5, cy: sample.y + 0.5, r: bin === chosen ? 0.15 : 0.1 };
      marks.push(svg("circle", { ...place, ...line, ...look }));
    }
  });
  return marks;
}

// ---- values ------------------------------------------------------------------------------------

/** A tile a bin, with both values and their difference; one of them is chosen. */
function binTiles(onChange) {
  const name = uniqueId("bin");
  const grid = html("div", { style: "display: grid; gap: 0.3rem; flex: 1 1 100%" });
  const legend = html("legend", { style: "float: none" }, "What each bin becomes");
  const element = html("fieldset", { class: "choice" }, legend, grid);
  let tiles = [];

  const make = (bins) => {
    tiles = Array.from({ length: bins * bins }, (_, bin) => {
      const input = html("input", { type: "radio", name, onchange: () => onChange(bin) });
      const words = ["RoIPool", "RoIAlign", "difference"].map((word) => {
        const value = html("output");
        return { line: html("span", { style: TILE_LINE }, `${word} `, value), value };
      });
      const lines = words.map(({ line }) => line);
      const label = html("label", {}, input, html("b", {}, `bin ${bin + 1}`), ...lines);
      return { input, label, values: words.map(({ value }) => value) };
    });
    grid.style.gridTemplateColumns = `repeat(${bins}, minmax(0, 1fr))`;
    grid.replaceChildren(...tiles.map(({ label }) => label));
  };

  const show = (read, align, { bins, bin: chosen }) => {
    if (tiles.length !== bins * bins) make(bins);
    tiles.forEach(({ input, values }, bin) => {
      const pair = [read[bin].value, align[bin].value];
      const numbers = [...pair, pair[1] - pair[0]];
      numbers.forEach((number, i) => (values[i].textContent = written(number)));
      input.checked = bin === chosen;
    });
  };
  return { element, show };
}

/** Say what RoIPool reads for the chosen bin. */
function wordsOfPool({ left, top, right, bottom, read }, { bin }) {
  const { row, column, largest, value } = read[bin];
  const box = `Rounded to columns ${written(left, 0)} to ${written(right, 0)}, `;
  const rows = `rows ${written(top, 0)} to ${written(bottom, 0)}. `;
  if (!largest) return `${box}${rows}Bin ${bin + 1} has no cell on the map: 0.`;

  const cells = (row.after - row.first) * (column.after - column.first);
  const counted = cells === 1 ? "1 cell: its value is" : `${cells} cells: their maximum is`;
  return `${box}${rows}Bin ${bin + 1} reads ${counted} ${written(value, 0)}.`;
}

/** Say what RoIAlign reads for the chosen bin. */
function wordsOfAlign({ samples, value }, { bin }) {
  const few = samples.length > 0 && samples.length <= 6;
  const listed = few ? ` (${samples.map((sample) => written(sample.value)).join(", ")})` : "";
  const counted = samples.length === 1 ? "1 point" : `${samples.length} points`;
  const read = `Bin ${bin + 1} reads ${counted}${listed}`;
  return `Nothing is rounded. ${read}: their mean is ${written(value)}.`;
}

/** The value of the chosen bin for every place of the box from left to right. */
function slidingChart(width) {
  const from = -OUTSIDE - 2;
  const place = { ticks: [0, 16, 32, 48, 64, 80], digits: 0 };
  const chart = plot({
    height: 220,
    x: { ...place, from, to: width, label: "left side of the box, px" },
    y: { from: 0, to: 10, ticks: [0, 2, 4, 6, 8, 10], label: "value of the bin", digits: 0 },
    label: "Value of the chosen bin while the box moves sideways: RoIPool jumps, RoIAlign does not",
  });
  const looks = {
    pool: { class: "line", style: "stroke: var(--orange)", "stroke-dasharray": "6 2" },
    align: { class: "line" },
  };
  const words = { pool: "RoIPool", align: "RoIAlign" };

  const show = (state, valuesAt) => {
    const places = [];
    for (let x = from; x <= width; x += STEP) places.push({ x, ...valuesAt(x) });

    const drawn = ["pool", "align"].flatMap((kind, i) => {
      const points = places.map((at) => [chart.across(at.x), chart.down(at[kind])]);
      const y = chart.frame.top + 12 + 15 * i; // a place in the legend
      const x = chart.frame.right - 90;
      return [
        svg("path", { ...looks[kind], d: pathThrough(points) }),
        svg("line", { ...looks[kind], x1: x, x2: x + 28, y1: y - 4, y2: y - 4 }),
        svg("text", { x: x + 34, y }, words[kind]),
      ];
    });

    const here = valuesAt(state.x);
    const dots = ["pool", "align"].map((kind) =>
      svg("circle", {
        cx: chart.across(state.x),
        cy: chart.down(here[kind]),
        r: 5,
        fill: kind === "pool" ? "var(--orange)" : "var(--blue)",
        stroke: "currentColor",
      }),
    );
    chart.layer.replaceChildren(...drawn, ...dots);
  };
  return { element: chart.element, show };
}
