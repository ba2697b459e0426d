// Anchors on a scene: which of them learns which object, and why.
// A box is [x1, y1, x2, y2]. The arithmetic is that of make_anchors, box_iou and match_anchors.

const BACKGROUND = -1;
const IGNORED = -2;

const LETTERS = "ABCDEFGH";
const COLOURS = ["#fca800", "#90fcfc", "#e49cff", "#e4f090"]; // light: they lie on dark casings
const DARK = "#111";
const ROWS = 6; // anchors of a cell that the table lists
const RATIO_WORDS = new Map([
  [1 / 3, "⅓"],
  [0.5, "½"],
  [1, "1"],
  [2, "2"],
  [3, "3"],
]);

// How the anchors of the cell are drawn, and the samples beside them in the table.
const LINES = {
  positive: { "stroke-width": 1.3 },
  forced: { "stroke-width": 1.3, "stroke-dasharray": "6 1.6 1.2 1.6" },
  ignored: { "stroke-width": 0.9, "stroke-dasharray": "1 1.6" },
  background: { "stroke-width": 0.5, opacity: 0.75 },
};

// ---- who learns what ---------------------------------------------------------------------------

/**
 * Put the anchors into every cell: row by row, column by column, ratio by ratio, size by size.
 *
 * The package keeps anchors as 32-bit numbers, hence `Math.fround`.
 */
function makeAnchors(cells, stride, sizes, ratios) {
  const halves = ratios.flatMap((ratio) =>
    sizes.map((size) => [
      Math.fround(size / Math.sqrt(ratio) / 2),
      Math.fround((size * Math.sqrt(ratio)) / 2),
    ]),
  );

  const anchors = [];
  for (let row = 0; row < cells; row++) {
    for (let column = 0; column < cells; column++) {
      const x = (column + 0.5) * stride;
      const y = (row + 0.5) * stride;
      for (const [halfWidth, halfHeight] of halves) {
        const anchor = [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight];
        anchors.push(anchor.map(Math.fround));
      }
    }
  }
  return anchors;
}

/**
 * Say which object each anchor learns: `iou[object][anchor]` → `matched[anchor]`.
 *
 * Besides, for an anchor that is positive only because no other overlaps some object more,
 * `forcedBy[anchor]` is that object; else it is null.
 */
function matchAnchors(iou, { high, low, lowQuality }) {
  const mostOfObject = iou.map((row) => row.reduce((most, value) => Math.max(most, value), 0));
  const bestIou = [];
  const bestObject = [];
  const matched = [];
  const forcedBy = [];

  for (let anchor = 0; anchor < iou[0].length; anchor++) {
    // The object that the anchor overlaps most; the first of several.
    let best = 0;
    for (let object = 1; object < iou.length; object++) {
      if (iou[object][anchor] > iou[best][anchor]) best = object;
    }
    const overlap = iou[best][anchor];

    // Positive whatever the IoU: no anchor overlaps this object more.
    const claims = (row, object) =>
      mostOfObject[object] > 0 && row[anchor] === mostOfObject[object];
    const claimant = lowQuality ? iou.findIndex(claims) : -1;

    bestIou.push(overlap);
    bestObject.push(best);
    forcedBy.push(claimant >= 0 && overlap < high ? claimant : null);
    if (overlap >= high || claimant >= 0) matched.push(best);
    else matched.push(overlap < low ? BACKGROUND : IGNORED);
  }
  return { bestIou, bestObject, matched, forcedBy };
}

/** Count, for each object, the anchors that learn it and those of them that were forced. */
function countsOf({ matched, forcedBy }, iou) {
  return iou.map((row, object) => {
    const isMine = matched.map((found) => found === object);
    return {
      learned: isMine.filter(Boolean).length,
      forced: isMine.filter((mine, anchor) => mine && forcedBy[anchor] !== null).length,
      bestIou: row.reduce((most, value) => Math.max(most, value), 0),
    };
  });
}

// ---- the figure --------------------------------------------------------------------------------

explorable("anchors_and_objects", (figure, data) => {
  const state = { ...data.state, cell: middleCell(data.state) };
  const { side, names } = data;
  let found = null; // the anchors of this state and what becomes of them

  const picture = scenePicture(data, state, { moveBox, lookAt });
  const cellTable = tableOfCell(names);
  const objectTable = tableOfObjects(names);
  const totals = html("p", { class: "note" });

  const strideChoice = choice({
    label: "stride",
    options: data.choices.strides.map((stride) => [stride, String(stride)]),
    onChange: (stride) => set({ stride }),
  });
  const sizeChoice = severalOf({
    label: "sizes",
    options: data.choices.sizes.map((size) => [size, String(size)]),
    onChange: (sizes) => set({ sizes }),
  });
  const ratioChoice = severalOf({
    label: "height / width",
    options: data.choices.ratios.map((ratio) => [ratio, RATIO_WORDS.get(ratio)]),
    onChange: (ratios) => set({ ratios }),
  });
  const lowQualityChoice = choice({
    label: "low-quality matches",
    options: [
      ["on", "on"],
      ["off", "off"],
    ],
    onChange: (word) => set({ lowQuality: word === "on" }),
  });

  // One threshold takes the other along, so that low is never above high.
  const threshold = { min: 0, max: 1, step: 0.01 };
  const highSlider = slider({
    ...threshold,
    label: "high: positive from",
    onInput: (high) => set({ high, low: Math.min(state.low, high) }),
  });
  const lowSlider = slider({
    ...threshold,
    label: "low: background below",
    onInput: (low) => set({ low, high: Math.max(state.high, low) }),
  });
  const backButton = button("back to the start", () =>
    set({ ...data.state, cell: middleCell(data.state) }),
  );

  const controls = [
    strideChoice.element,
    sizeChoice.element,
    ratioChoice.element,
    highSlider.element,
    lowSlider.element,
    lowQualityChoice.element,
    backButton,
  ].map((control) => html("div", { class: "row" }, control));

  figure.stage.append(
    html(
      "div",
      { class: "panels" },
      html("div", {}, picture.element, legend(), cellTable.element),
      html("div", {}, ...controls, objectTable.element, totals),
    ),
  );

  function set(changes) {
    // Another grid has other cells: look at the one that holds the same place.
    const oldStride = state.stride;
    Object.assign(state, changes);
    if (state.stride !== oldStride && !("cell" in changes)) {
      state.cell = state.cell.map((at) => Math.floor(((at + 0.5) * oldStride) / state.stride));
    }
    work();
    show();
  }

  /** A reader's hand has moved one box. */
  function moveBox(index, box) {
    set({ boxes: state.boxes.map((old, i) => (i === index ? box : old)) });
  }

  /** A reader looks at another cell: nothing is to be worked out anew. */
  function lookAt(cell) {
    if (cell[0] === state.cell[0] && cell[1] === state.cell[1]) return;
    state.cell = cell;
    showCell();
  }

  function work() {
    const cells = side / state.stride;
    const anchors = makeAnchors(cells, state.stride, state.sizes, state.ratios);
    const iou = state.boxes.map((box) => anchors.map((anchor) => boxIou(box, anchor)));
    const matching = matchAnchors(iou, state);
    found = { cells, anchors, iou, ...matching, objects: countsOf(matching, iou) };
  }

  /** Return what becomes of one anchor, in the word that decides how it is drawn. */
  function fateOf(anchor) {
    if (found.matched[anchor] === IGNORED) return "ignored";
    if (found.matched[anchor] === BACKGROUND) return "background";
    return found.forcedBy[anchor] === null ? "positive" : "forced";
  }

  function anchorsOfCell([column, row]) {
    const perCell = state.sizes.length * state.ratios.length;
    const first = (row * found.cells + column) * perCell;
    return Array.from({ length: perCell }, (_, i) => {
      const anchor = first + i;
      return {
        box: found.anchors[anchor],
        fate: fateOf(anchor),
        iou: found.bestIou[anchor],
        object: found.bestObject[anchor],
        forcedBy: found.forcedBy[anchor],
      };
    });
  }

  function show() {
    strideChoice.show(state.stride);
    sizeChoice.show(state.sizes);
    ratioChoice.show(state.ratios);
    highSlider.show(state.high);
    lowSlider.show(state.low);
    lowQualityChoice.show(state.lowQuality ? "on" : "off");

    // Of each cell the mark of its foremost anchor.
    const order = ["positive", "forced", "ignored"];
    const marks = [];
    for (let row = 0; row < found.cells; row++) {
      for (let column = 0; column < found.cells; column++) {
        const here = anchorsOfCell([column, row]);
        const fate = order.find((word) => here.some((anchor) => anchor.fate === word));
        if (!fate) continue;
        const same = here.filter((anchor) => anchor.fate === fate);
        const best = same.reduce((a, b) => (b.iou > a.iou ? b : a));
        marks.push({ x: (column + 0.5) * state.stride, y: (row + 0.5) * state.stride, ...best });
      }
    }
    picture.showScene(marks);
    objectTable.show(found.objects, state);

    const number = (...words) => found.matched.filter((_, a) => words.includes(fateOf(a))).length;
    const positive = number("positive", "forced");
    const ignored = number("ignored");
    const background = number("background");
    totals.textContent =
      `${found.matched.length} anchors: ${positive} positive, ` +
      `${ignored} ignored, ${background} background.`;
    showCell();

    const objects = found.objects.map((one, i) => `${LETTERS[i]} ${one.learned}`).join(", ");
    figure.announce(`Anchors that learn an object: ${objects}. ${totals.textContent}`);
  }

  function showCell() {
    const here = anchorsOfCell(state.cell);
    picture.showCell(here);
    const words = cellTable.show(here, state);
    figure.announce(words);
  }

  set({});
  return { set, get: () => ({ ...state, ...found }) };
});

/** Return the cell, column and row, in which the middle of the first object lies. */
function middleCell({ boxes, stride }) {
  const [x1, y1, x2, y2] = boxes[0];
  return [(x1 + x2) / 2, (y1 + y2) / 2].map((at) => Math.floor(at / stride));
}

/** Make a row of words, at least one of them chosen. `options` are pairs: a value and its word. */
function severalOf({ label, options, onChange }) {
  const chosen = () => options.filter((_, i) => inputs[i].checked).map(([value]) => value);
  const inputs = options.map(() => html("input", { type: "checkbox" }));
  for (const input of inputs) {
    input.addEventListener("change", () => {
      if (chosen().length === 0) input.checked = true;
      else onChange(chosen());
    });
  }

  const labels = options.map(([, word], i) => html("label", {}, inputs[i], word));
  const element = html("fieldset", { class: "choice" }, html("legend", {}, label), ...labels);
  const show = (values) =>
    inputs.forEach((input, i) => (input.checked = values.includes(options[i][0])));
  return { element, show };
}

// ---- the picture -------------------------------------------------------------------------------

function scenePicture(data, state, { moveBox, lookAt }) {
  const { side, names } = data;
  const grid = svg("path", { stroke: "#fff", "stroke-width": 0.25, opacity: 0.4 });
  const marks = svg("g");
  const anchors = svg("g", { fill: "none" });
  const space = svg(
    "svg",
    {
      viewBox: `0 0 ${side} ${side}`,
      width: 400,
      style: "overflow: visible", // a corner at the border can still be taken
      role: "group",
      "aria-label": "the scene",
    },
    svg("image", { href: data.image, width: side, height: side }),
    grid,
  );
  const objects = state.boxes.map((_, i) =>
    movableBox(space, {
      label: `object ${LETTERS[i]}, ${names[i]}`,
      letter: LETTERS[i],
      colour: COLOURS[i],
      side,
      box: () => state.boxes[i],
      move: (box) => moveBox(i, box),
    }),
  );

  // The cursor: a square around the cell that the reader asks.
  const frame = svg("rect", { fill: "none", stroke: "#fff", "stroke-width": 0.9 });
  const casing = svg("rect", { fill: "none", stroke: DARK, "stroke-width": 1.8 });
  const ring = svg("rect", { class: "ring" });
  const cursor = svg("g", { style: "pointer-events: none" }, casing, frame, ring);
  const last = () => side / state.stride - 1;
  const cellAt = ({ x, y }) => [x, y].map((at) => clamp(Math.floor(at / state.stride), 0, last()));

  // Keys go from cell to cell, so the cursor's places are counted in cells.
  const cursorHandle = movable(cursor, {
    label: "the cell that is asked",
    space,
    place: () => ({ x: state.cell[0], y: state.cell[1] }),
    move: ({ x, y }) => lookAt([x, y].map((at) => clamp(at, 0, last()))),
    describe: () => `column ${state.cell[0] + 1}, row ${state.cell[1] + 1}`,
  });

  // The pointer asks the cell that it is over, also over a box; while it drags, it asks nothing.
  const ask = (event) => {
    if (event.buttons === 0 || event.type === "pointerdown") lookAt(cellAt(pointIn(space, event)));
  };
  change(space, { onpointermove: ask, onpointerdown: ask });
  space.append(marks, anchors, cursor);

  const showScene = (found) => {
    const steps = Array.from({ length: side / state.stride - 1 }, (_, i) => (i + 1) * state.stride);
    change(grid, { d: steps.map((at) => `M${at} 0V${side}M0 ${at}H${side}`).join("") });
    marks.replaceChildren(...found.map(markOf));
    for (const object of objects) object.show();
  };

  const showCell = (here) => {
    const { stride } = state;
    const corner = { x: state.cell[0] * stride, y: state.cell[1] * stride };
    for (const rect of [frame, casing]) change(rect, { ...corner, width: stride, height: stride });
    change(ring, { x: corner.x - 2, y: corner.y - 2, width: stride + 4, height: stride + 4 });

    // Those that matter most are drawn last, on top.
    const order = ["background", "ignored", "forced", "positive"];
    const sorted = [...here].sort((a, b) => order.indexOf(a.fate) - order.indexOf(b.fate));
    anchors.replaceChildren(...sorted.flatMap(outlineOf));

    cursorHandle.tell();
  };

  return { element: space, showScene, showCell };
}

/** Draw the mark of a cell: a dot, a diamond or a ring. */
function markOf({ x, y, fate, object }) {
  const look = { fill: COLOURS[object], stroke: DARK, "stroke-width": 0.5 };
  if (fate === "positive") return svg("circle", { cx: x, cy: y, r: 1.7, ...look });
  if (fate === "forced") {
    return svg("path", { d: `M${x} ${y - 2.3}l2.3 2.3l-2.3 2.3l-2.3-2.3Z`, ...look });
  }
  return svg("circle", { cx: x, cy: y, r: 1.1, fill: "none", stroke: "#fff", "stroke-width": 0.7 });
}

/** Draw an anchor: a line on a wider, dark one. */
function outlineOf({ box, fate, object }) {
  const learns = fate === "positive" || fate === "forced";
  const rect = rectangle(box);
  const line = LINES[fate];
  const stroke = learns ? COLOURS[object] : "#fff";
  if (fate === "background") return [svg("rect", { ...rect, stroke, ...line })];
  const casing = { stroke: DARK, "stroke-width": line["stroke-width"] * 2.2, opacity: 0.8 };
  return [svg("rect", { ...rect, ...casing }), svg("rect", { ...rect, stroke, ...line })];
}

/** Draw an object's box, dashed, with its letter; it moves as a whole and by its last corner. */
function movableBox(space, { label, letter, colour, side, box, move }) {
  const SMALLEST = 4;
  const area = svg("rect", { fill: "transparent", stroke: DARK, "stroke-width": 1.6 });
  const dashes = { fill: "none", stroke: colour, "stroke-width": 0.9, "stroke-dasharray": "3 2" };
  const outline = svg("rect", dashes);
  const tag = svg("rect", { width: 7, height: 7, fill: DARK });
  const word = svg("text", { style: `font-size: 6px; font-weight: 700; fill: ${colour}` }, letter);
  const bodyRing = svg("rect", {
    class: "ring",
    "vector-effect": "non-scaling-stroke",
    stroke: "#fff",
  });
  const body = svg("g", {}, area, outline, bodyRing, tag, word);

  const dot = svg("circle", { r: 1.8, fill: colour, stroke: DARK, "stroke-width": 0.6 });
  const reach = svg("circle", { r: 4, fill: "transparent" }); // large enough for a finger
  const dotRing = svg("circle", { class: "ring", r: 4 });
  const corner = svg("g", {}, reach, dot, dotRing);
  space.append(body, corner);

  const describe = () => {
    const [x1, y1, x2, y2] = box();
    return `left ${x1}, top ${y1}, ${x2 - x1} wide, ${y2 - y1} high`;
  };
  const bodyHandle = movable(body, {
    label,
    space,
    place: () => ({ x: box()[0], y: box()[1] }),
    move: ({ x, y }) => {
      const [x1, y1, x2, y2] = box();
      const left = clamp(Math.round(x), 0, side - (x2 - x1));
      const top = clamp(Math.round(y), 0, side - (y2 - y1));
      move([left, top, left + x2 - x1, top + y2 - y1]);
    },
    describe,
  });
  const cornerHandle = movable(corner, {
    label: `${label}, bottom right corner`,
    space,
    place: () => ({ x: box()[2], y: box()[3] }),
    move: ({ x, y }) => {
      const [x1, y1] = box();
      const right = clamp(Math.round(x), x1 + SMALLEST, side);
      const bottom = clamp(Math.round(y), y1 + SMALLEST, side);
      move([x1, y1, right, bottom]);
    },
    describe,
  });

  const show = () => {
    const [x1, y1, x2, y2] = box();
    change(area, rectangle(box()));
    change(outline, rectangle(box()));
    change(bodyRing, rectangle([x1 - 1.5, y1 - 1.5, x2 + 1.5, y2 + 1.5]));

    // The letter stands above the box, or in it where there is no room above.
    const top = y1 >= 7 ? y1 - 7 : y1;
    change(tag, { x: x1, y: top });
    change(word, { x: x1 + 1.4, y: top + 5.6 });
    change(corner, { transform: `translate(${x2} ${y2})` });
    bodyHandle.tell();
    cornerHandle.tell();
  };
  return { show };
}

// ---- words -------------------------------------------------------------------------------------

/** Say what the marks mean. */
function legend() {
  const sample = (fate, word) => {
    const ground = svg("rect", { width: 7, height: 7, fill: "#6b6b6b" });
    const mark = markOf({ x: 3.5, y: 3.5, fate, object: 0 });
    const frame = { viewBox: "0 0 7 7", width: 16, height: 16, "aria-hidden": "true" };
    const drawn = svg("svg", frame, ground, mark);
    return html("span", { style: "display: inline-flex; gap: 0.35rem" }, drawn, word);
  };
  return html(
    "p",
    { class: "row note" },
    sample("positive", "positive"),
    sample("forced", "forced"),
    sample("ignored", "ignored"),
    html("span", {}, "Point at a cell; drag boxes and corners."),
  );
}

/** Draw how an anchor of some fate is outlined in the picture. */
function lineSample(fate, object) {
  const learns = fate === "positive" || fate === "forced";
  const line = { x1: 1, x2: 15, y1: 3, y2: 3, stroke: learns ? COLOURS[object] : "#fff" };
  return svg(
    "svg",
    { viewBox: "0 0 16 6", width: 40, "aria-hidden": "true" },
    svg("rect", { width: 16, height: 6, fill: "#333" }),
    svg("line", { ...line, ...LINES[fate] }),
  );
}

/** Name an object: its letter on dark, in its colour, and its class. */
function nameOf(object, names) {
  const style = `background: ${DARK}; color: ${COLOURS[object]}; padding: 0 0.3em`;
  return [html("b", { style }, LETTERS[object]), ` ${names[object]}`];
}

/** The anchors of the cell that is asked, best first. */
function tableOfCell(names) {
  const head = ["drawn", "size", "IoU", "with", "what it learns"];
  const body = html("tbody");
  const reason = html("p");
  const rest = html("p", { class: "note" });
  const table = html(
    "table",
    {},
    html("thead", {}, html("tr", {}, ...head.map((word) => html("th", { scope: "col" }, word)))),
    body,
  );
  const element = html("div", {}, reason, table, rest);

  const learnt = ({ fate, object }) => {
    if (fate === "positive") return `${LETTERS[object]}`;
    if (fate === "forced") return `${LETTERS[object]}, forced`;
    return fate === "ignored" ? "nothing: ignored" : "background";
  };

  const show = (here, state) => {
    const sorted = [...here].sort((a, b) => b.iou - a.iou);
    const rows = sorted.slice(0, ROWS).map((anchor) => {
      const [x1, y1, x2, y2] = anchor.box;
      const cells = [
        [sizeInWords(written(x2 - x1, 0), written(y2 - y1, 0))],
        [written(anchor.iou)],
        anchor.iou > 0 ? nameOf(anchor.object, names) : ["–"],
        [learnt(anchor)],
      ];
      const drawn = html("th", { scope: "row" }, lineSample(anchor.fate, anchor.object));
      return html("tr", {}, drawn, ...cells.map((content) => html("td", {}, ...content)));
    });
    body.replaceChildren(...rows);

    const more = here.length - rows.length;
    rest.textContent = more > 0 ? `and ${more} more with less overlap` : "";
    const place = `Cell in column ${state.cell[0] + 1}, row ${state.cell[1] + 1}: `;
    reason.textContent = place + reasonOf(foremost(sorted), names, state);
    return reason.textContent;
  };
  return { element, show };
}

/** Of anchors, best first, the one that learns something, or else the best. */
function foremost(sorted) {
  return sorted.find(({ fate }) => fate === "positive" || fate === "forced") ?? sorted[0];
}

/** Say in a sentence why an anchor learns what it learns. */
function reasonOf({ fate, iou, object, forcedBy }, names, { high, low }) {
  const called = (index) => `${LETTERS[index]} (${names[index]})`;
  const value = written(iou);
  if (fate === "positive") {
    return `an anchor learns ${called(object)}: IoU ${value} ≥ ${written(high)}.`;
  }
  if (fate === "ignored") {
    return `the best anchor is in no loss: ${written(low)} ≤ IoU ${value} < ${written(high)}.`;
  }
  if (fate === "background") {
    if (iou === 0) return "no anchor touches an object: all are background.";
    return `all are background: the best IoU is ${value} < ${written(low)}.`;
  }

  const forced = `an anchor is forced: no other overlaps ${called(forcedBy)} more, `;
  if (forcedBy === object) return `${forced}though the IoU is only ${value}.`;
  return `${forced}but it overlaps ${called(object)} more itself, and learns that.`;
}

/** How many anchors learn each object. */
function tableOfObjects(names) {
  const head = ["object", "size", "best IoU", "anchors", "forced"];
  const body = html("tbody");
  const element = html(
    "table",
    {},
    html("thead", {}, html("tr", {}, ...head.map((word) => html("th", { scope: "col" }, word)))),
    body,
  );

  const show = (objects, { boxes }) => {
    const rows = objects.map(({ learned, forced, bestIou }, i) => {
      const [x1, y1, x2, y2] = boxes[i];
      const cells = [
        sizeInWords(x2 - x1, y2 - y1),
        written(bestIou),
        learned === 0 ? "none" : String(learned),
        String(forced),
      ];
      const name = html("th", { scope: "row" }, ...nameOf(i, names));
      return html("tr", {}, name, ...cells.map((text) => html("td", {}, text)));
    });
    body.replaceChildren(...rows);
  };
  return { element, show };
}

/** Write a size that stays on one line. */
function sizeInWords(width, height) {
  return `${width}\u00a0×\u00a0${height}`;
}
