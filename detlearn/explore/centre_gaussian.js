// CenterNet's Gaussian: how far both corners of a box may move, and the bump that comes of it.
// A box is [x1, y1, x2, y2] in locations. The arithmetic is that of gaussian_radius,
// official_gaussian_radius and draw_gaussians.

// How the corners move in each case, for a radius of 1, and what it is called.
const CASES = [
  { name: "both inward", move: [1, 1, -1, -1] },
  { name: "both outward", move: [-1, -1, 1, 1] },
  { name: "both alike", move: [1, 1, 1, 1] },
];
const RADII = ["right", "official"];
const LOOKS = {
  right: { stroke: "var(--blue)", "stroke-width": 2.4, "stroke-dasharray": "7 4" },
  official: { stroke: "var(--orange)", "stroke-width": 2.4, "stroke-dasharray": "2 4" },
};

const GRAIN = 0.25; // locations: what a drag rounds to
const SMALLEST = 0.5; // side of an object
const SIDES = ["left", "top", "right", "bottom"];

// ---- arithmetic --------------------------------------------------------------------------------

/** Return the radius at which the IoU is t, in the order of `CASES`. */
function radiiOfCases(width, height, t) {
  const total = width + height;
  const area = width * height;
  return [
    (total - Math.sqrt(total ** 2 - 4 * (1 - t) * area)) / 4,
    (-total + Math.sqrt(total ** 2 + (4 * (1 - t) * area) / t)) / 4,
    (total - Math.sqrt(total ** 2 - ((4 * (1 - t)) / (1 + t)) * area)) / 2,
  ];
}

/** The same three equations, solved as the published code does. */
function officialRadii(width, height, t) {
  const total = width + height;
  const area = width * height;
  const equations = [
    [1, total, ((1 - t) / (1 + t)) * area],
    [4, 2 * total, (1 - t) * area],
    [4 * t, -2 * t * total, (t - 1) * area],
  ];
  return equations.map(([a, b, c]) => (b + Math.sqrt(b ** 2 - 4 * a * c)) / 2);
}

/** Move the corners of a box. */
function moved(box, move, radius) {
  return box.map((at, i) => at + move[i] * radius);
}

/** Return the IoU with the object; a box that is turned inside out has none. */
function overlapWith(box, other) {
  const isThere = other[0] < other[2] && other[1] < other[3];
  return isThere ? boxIou(box, other) : 0;
}

/** Return the location of an object's centre, column and row. */
function centreOf([x1, y1, x2, y2], cells) {
  return [(x1 + x2) / 2, (y1 + y2) / 2].map((at) => clamp(Math.floor(at), 0, cells - 1));
}

/** Return the bump of an object, row by row. */
function bumpOf([column, row], radius, cells) {
  const reach = Math.floor(radius);
  const sigma = (2 * reach + 1) / 6;
  const along = (centre) =>
    Array.from({ length: cells }, (_, at) => {
      const distance = at - centre;
      return Math.abs(distance) > reach ? 0 : Math.exp(-(distance ** 2) / (2 * sigma ** 2));
    });
  const across = along(column);
  return along(row).map((down) => across.map((value) => down * value));
}

// ---- the figure --------------------------------------------------------------------------------

explorable("centre_gaussian", (figure, data) => {
  const start = { box: data.box, minOverlap: data.minOverlap, radius: data.radius, chosen: 0 };
  const state = { ...start };
  const cells = data.cells;

  const ticks = [0, 4, 8, 12, 16, 20, 24];
  const chart = plot({
    width: 360,
    height: 356,
    x: { from: 0, to: cells, ticks, label: "column of the map", digits: 0 },
    y: { from: cells, to: 0, ticks, label: "row of the map", digits: 0 },
    label: "an object on the map",
    role: "group",
  });
  const picture = objectPicture(chart, cells, state, (box) => set({ box }));
  const table = overlapTable();
  const key = html("p", { class: "note" });
  const sentence = html("p", { class: "sentence" });

  const overlap = slider({
    label: "least overlap t",
    min: 0.05,
    max: 0.95,
    step: 0.01,
    onInput: (minOverlap) => set({ minOverlap }),
  });
  const cases = choice({
    label: "corners move",
    options: CASES.map(({ name }, i) => [i, name]),
    onChange: (chosen) => set({ chosen }),
  });
  const bumps = choice({
    label: "bump of the radius",
    options: RADII.map((name) => [name, name]),
    onChange: (radius) => set({ radius }),
  });
  const shapes = html(
    "div",
    { class: "row" },
    button("square", () => set({ box: [4, 4, 20, 20] })),
    button("narrow", () => set({ box: [9, 1, 15, 23] })),
    button("small", () => set({ box: [10, 10, 14, 15] })),
    button("back to the start", () => set(start)),
  );

  const rows = [overlap, cases, bumps].map(({ element }) => html("div", { class: "row" }, element));
  const controls = html("div", {}, ...rows, table.element, sentence, shapes);
  figure.stage.append(
    html("div", { class: "panels" }, html("div", {}, chart.element, key), controls),
  );

  function set(changes) {
    Object.assign(state, changes);
    show();
  }

  /** Return every number that the figure shows, unrounded. */
  function numbers() {
    const [x1, y1, x2, y2] = state.box;
    const [width, height] = [x2 - x1, y2 - y1];
    const ofCases = radiiOfCases(width, height, state.minOverlap);
    const radii = {
      right: Math.min(...ofCases),
      official: Math.min(...officialRadii(width, height, state.minOverlap)),
    };

    const centre = centreOf(state.box, cells);
    const each = (make) => Object.fromEntries(RADII.map((name) => [name, make(radii[name])]));
    return {
      ofCases,
      radii,
      centre,
      boxes: each((r) => CASES.map(({ move }) => moved(state.box, move, r))),
      overlaps: each((r) =>
        CASES.map(({ move }) => overlapWith(state.box, moved(state.box, move, r))),
      ),
      sigmas: each((r) => (2 * Math.floor(r) + 1) / 6),
      bumps: each((r) => bumpOf(centre, r, cells)),
    };
  }

  function show() {
    const found = numbers();
    picture.show(found);
    table.show(found, state);
    overlap.show(state.minOverlap);
    cases.show(state.chosen);
    bumps.show(state.radius);

    key.replaceChildren(
      "Solid: the object. ",
      html("span", { style: "color: var(--blue)" }, "Dashed"),
      ": what the right radius makes of it; ",
      html("span", { style: "color: var(--orange)" }, "dotted"),
      ": the official one. Squares: where two corners may go.",
    );

    const radius = found.radii[state.radius];
    const reach = Math.floor(radius);
    const count = found.bumps[state.radius].flat().filter((value) => value > 0).length;
    const bump =
      reach === 0
        ? "Its bump is the centre’s location alone."
        : `Its bump reaches ${reach} ${reach === 1 ? "location" : "locations"} each way, ` +
          `${count} in all, with σ = ${written(found.sigmas[state.radius])}.`;
    const worst = Math.min(...found.overlaps[state.radius]);
    const holds = worst > state.minOverlap - 1e-9;
    const verdict = holds
      ? `Whichever way the corners move, the IoU stays at ${written(worst)} or more.`
      : `In the worst case the IoU is ${written(worst)}, not ${written(state.minOverlap)}.`;
    sentence.textContent = `The ${state.radius} radius is ${written(radius)}. ${verdict} ${bump}`;

    const [x1, y1, x2, y2] = state.box;
    figure.announce(
      `The object is ${written(x2 - x1)} wide and ${written(y2 - y1)} high. ${sentence.textContent}`,
    );
  }

  show();
  return { set, get: () => ({ ...state, ...numbers() }) };
});

// ---- the picture -------------------------------------------------------------------------------

/** Draw the map into a chart, with the object that can be changed; `changeBox(box)` tells of it. */
function objectPicture(chart, cells, state, changeBox) {
  const scale = (chart.frame.right - chart.frame.left) / cells;
  const place = `translate(${chart.frame.left} ${chart.frame.top}) scale(${scale})`;
  const space = svg("g", { transform: place }); // everything in it is drawn in locations
  chart.layer.append(space);

  const still = { fill: "none", style: "pointer-events: none" };
  const thin = { ...still, "vector-effect": "non-scaling-stroke" };
  const steps = Array.from({ length: cells + 1 }, (_, at) => `M${at} 0V${cells}M0 ${at}H${cells}`);
  const bump = svg("g", { style: "pointer-events: none" });
  const middle = svg("rect", { ...thin, stroke: "currentColor", width: 1, height: 1 });
  const outline = svg("rect", { ...thin, stroke: "currentColor", "stroke-width": 2.2 });
  const admitted = svg("g", still);
  const clip = uniqueId("map");
  const frame = svg("rect", { width: cells, height: cells });
  space.append(
    svg("clipPath", { id: clip }, frame),
    svg("path", { ...thin, stroke: "var(--rule)", d: steps.join("") }),
    bump,
    middle,
    outline,
    svg("g", { "clip-path": `url(#${clip})` }, admitted),
  );

  const rounded = (at) => Math.round(at / GRAIN) * GRAIN;
  const centre = handleOf("the object", {
    at: ([x1, y1, x2, y2]) => [(x1 + x2) / 2, (y1 + y2) / 2],
    move: ([x, y]) => {
      const [x1, y1, x2, y2] = state.box;
      const [width, height] = [x2 - x1, y2 - y1];
      const left = clamp(rounded(x - width / 2), 0, cells - width);
      const top = clamp(rounded(y - height / 2), 0, cells - height);
      return [left, top, left + width, top + height];
    },
    describe: ([x1, y1, x2, y2]) =>
      `centre at column ${written((x1 + x2) / 2)}, row ${written((y1 + y2) / 2)}`,
  });
  const sides = SIDES.map((name, i) =>
    handleOf(`${name} side`, {
      at: ([x1, y1, x2, y2]) =>
        i % 2 === 0
          ? [i === 0 ? x1 : x2, (y1 + y2) / 2]
          : [(x1 + x2) / 2, i === 1 ? y1 : y2],
      move: (point) => {
        // A side stops before the opposite one.
        const box = [...state.box];
        const wanted = rounded(point[i % 2]);
        box[i] =
          i < 2
            ? clamp(wanted, 0, box[i + 2] - SMALLEST)
            : clamp(wanted, box[i - 2] + SMALLEST, cells);
        return box;
      },
      describe: (box) => `${name} side at ${written(box[i])}`,
    }),
  );

  /** Make a dot by which the box is changed. */
  function handleOf(label, { at, move, describe }) {
    const element = svg(
      "g",
      {},
      svg("circle", { r: 12 / scale, "fill-opacity": 0 }), // as large as a finger wants it
      svg("circle", { class: "ring", r: 8 / scale, "vector-effect": "non-scaling-stroke" }),
      svg("circle", { r: 4 / scale, fill: "currentColor" }),
    );
    space.append(element);
    const handle = movable(element, {
      label,
      space,
      step: GRAIN,
      place: () => {
        const [x, y] = at(state.box);
        return { x, y };
      },
      move: ({ x, y }) => changeBox(move([x, y])),
      describe: () => describe(state.box),
    });
    return () => {
      const [x, y] = at(state.box);
      change(element, { transform: `translate(${x} ${y})` });
      handle.tell();
    };
  }

  /** Show the state, and what was found of it. */
  function show({ radii, centre: [column, row], boxes, bumps }) {
    const squares = [];
    bumps[state.radius].forEach((line, y) =>
      line.forEach((value, x) => {
        const look = { x, y, width: 1, height: 1, fill: "var(--violet)" };
        if (value > 0) squares.push(svg("rect", { ...look, opacity: 0.08 + 0.72 * value }));
      }),
    );
    bump.replaceChildren(...squares);
    change(middle, { x: column, y: row });
    change(outline, rectangle(state.box));

    // The official radius first: where both lie close, the right one is seen.
    const parts = [...RADII].reverse().flatMap((name) => {
      const line = { ...LOOKS[name], "vector-effect": "non-scaling-stroke" };
      const [x1, y1, x2, y2] = boxes[name][state.chosen];
      const reach = radii[name];
      const square = (x, y) =>
        svg("rect", {
          ...rectangle([x - reach, y - reach, x + reach, y + reach]),
          ...line,
          "stroke-width": 0.9,
          "stroke-dasharray": null,
        });
      const corners = [
        square(state.box[0], state.box[1]),
        square(state.box[2], state.box[3]),
      ];
      return x1 < x2 && y1 < y2
        ? [...corners, svg("rect", { ...rectangle([x1, y1, x2, y2]), ...line })]
        : corners;
    });
    admitted.replaceChildren(...parts);
    for (const tell of [centre, ...sides]) tell();
  }

  return { show };
}

// ---- the numbers -------------------------------------------------------------------------------

/** Make the table of the three cases: the radius at which the IoU is t, the IoU with each radius. */
function overlapTable() {
  const rows = CASES.map(({ name }) => {
    const cells = Array.from({ length: 3 }, () => html("td"));
    return { element: html("tr", {}, html("th", { scope: "row" }, name), ...cells), cells };
  });
  const last = Array.from({ length: 3 }, () => html("td"));
  const head = ["corners move", "IoU is t at r =", "IoU, right r", "IoU, official r"];
  const element = html(
    "table",
    {},
    html(
      "thead",
      {},
      html("tr", {}, ...head.map((word) => html("th", { scope: "col" }, word))),
    ),
    html(
      "tbody",
      {},
      ...rows.map((row) => row.element),
      html("tr", {}, html("th", { scope: "row" }, "r in locations"), ...last),
    ),
  );

  const show = ({ ofCases, radii, overlaps }, { chosen, minOverlap }) => {
    rows.forEach(({ element: row, cells: [at, right, official] }, i) => {
      at.textContent = written(ofCases[i]);
      for (const [cell, name] of [
        [right, "right"],
        [official, "official"],
      ]) {
        const value = overlaps[name][i];
        const isLow = value < minOverlap - 1e-9;
        cell.textContent = `${written(value)}${isLow ? " < t" : ""}`;
      }
      row.classList.toggle("chosen", i === chosen);
    });
    last[0].textContent = "";
    last[1].textContent = written(radii.right);
    last[2].textContent = written(radii.official);
  };
  return { element, show };
}
