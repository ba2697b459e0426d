// A scene with objects to move and a location to ask: what figures of label assignment share.
// A box is [x1, y1, x2, y2]. Locations are the middles of the cells of a grid, whose size is its
// stride.

const BACKGROUND = -1;

const LETTERS = "ABCDEFGH";
const COLOURS = ["#fca800", "#90fcfc", "#e49cff", "#e4f090", "#ff9f95"]; // light, on dark casings
const DARK = "#111";

// ---- boxes and locations -----------------------------------------------------------------------

const middleOf = ([x1, y1, x2, y2]) => [(x1 + x2) / 2, (y1 + y2) / 2];
const sidesOf = ([x1, y1, x2, y2]) => [x2 - x1, y2 - y1];
const areaOf = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);

/** Return the middle of the cell with this number, counted row by row. */
function centreOf(cell, stride, side) {
  const cells = side / stride;
  return [((cell % cells) + 0.5) * stride, (Math.floor(cell / cells) + 0.5) * stride];
}

/** Return all locations, level after level: their point [x, y], level, number of the cell in it. */
function locationsOf(strides, side) {
  return strides.flatMap((stride, level) => {
    const cells = side / stride;
    return Array.from({ length: cells * cells }, (_, cell) => ({
      point: centreOf(cell, stride, side),
      stride,
      level,
      cell,
    }));
  });
}

/** Return the distances from a point to the four sides of a box, in strides. */
function distancesTo([x1, y1, x2, y2], [x, y], stride) {
  return [x - x1, y - y1, x2 - x, y2 - y].map((distance) => distance / stride);
}

/** Return the cell, column and row, in which the middle of a box lies. */
function cellAtMiddle(box, stride) {
  return middleOf(box).map((at) => Math.floor(at / stride));
}

// ---- the picture -------------------------------------------------------------------------------

/**
 * Make the picture of a scene, with its grid, a cursor for the location that is asked, and objects.
 *
 * The state has the `boxes`, and the `cell` (column, row) that is asked. `lookAt(cell)` tells which
 * location the reader's hand asks, `moveBox(n, box)` where it brings an object.
 *
 * Returns layers to draw in, `ground` below the boxes, `marks` and `asked` above them; and
 * `showObjects(missed)`, where an object that `missed` names is dotted, and `showCell(stride)`.
 */
function scenePicture(data, state, { lookAt, moveBox }) {
  const { side, names } = data;
  let stride = null; // of the grid that is asked
  const still = { fill: "none", style: "pointer-events: none" };
  const grid = svg("path", { stroke: "#fff", "stroke-width": 0.25, opacity: 0.4 });
  const ground = svg("g", still);
  const marks = svg("g", still);
  const asked = svg("g", still);

  // The cursor: a square around the location that the reader asks.
  const casing = svg("rect", { fill: "none", stroke: DARK, "stroke-width": 1.8 });
  const frame = svg("rect", { fill: "none", stroke: "#fff", "stroke-width": 0.9 });
  const ring = svg("rect", { class: "ring" });
  const cursor = svg("g", { style: "pointer-events: none" }, casing, frame, ring);
  const space = svg(
    "svg",
    {
      viewBox: `0 0 ${side} ${side}`,
      width: 400,
      role: "group",
      "aria-label": "the scene",
    },
    svg("image", { href: data.image, width: side, height: side }),
    grid,
    ground,
  );
  const objects = state.boxes.map((_, n) =>
    objectBox(space, {
      label: `object ${LETTERS[n]}, ${names[n]}`,
      n,
      side,
      box: () => state.boxes[n],
      move: (box) => moveBox(n, box),
    }),
  );
  space.append(marks, asked, cursor);
  for (const object of objects) space.append(object.handle);

  const last = () => side / stride - 1;
  const bounded = (place) => place.map((at) => clamp(at, 0, last()));

  // Keys go from cell to cell, so the cursor's places are counted in cells.
  const cursorHandle = movable(cursor, {
    label: "the location that is asked",
    space,
    place: () => ({ x: state.cell[0], y: state.cell[1] }),
    move: ({ x, y }) => lookAt(bounded([x, y])),
    describe: () => `column ${state.cell[0] + 1}, row ${state.cell[1] + 1}`,
  });

  // The pointer asks the location that it is over; while it drags, it asks nothing.
  const ask = (event) => {
    if (event.buttons !== 0 && event.type !== "pointerdown") return;
    const { x, y } = pointIn(space, event);
    lookAt(bounded([x, y].map((at) => Math.floor(at / stride))));
  };
  change(space, { onpointermove: ask, onpointerdown: ask });

  const showObjects = (missed = []) =>
    objects.forEach((object, n) => object.show(missed.includes(n)));

  const showCell = (newStride) => {
    stride = newStride;
    const steps = Array.from({ length: last() }, (_, i) => (i + 1) * stride);
    change(grid, { d: steps.map((at) => `M${at} 0V${side}M0 ${at}H${side}`).join("") });

    const corner = { x: state.cell[0] * stride, y: state.cell[1] * stride };
    for (const rect of [frame, casing]) change(rect, { ...corner, width: stride, height: stride });
    change(ring, { x: corner.x - 2, y: corner.y - 2, width: stride + 4, height: stride + 4 });
    cursorHandle.tell();
  };

  return { element: space, ground, marks, asked, showObjects, showCell };
}

/** Draw an object's box, dashed, dotted if nothing learns it; its letter, above it or in it, is the handle that moves it. */
function objectBox(space, { label, n, side, box, move }) {
  const shape = { fill: "none", style: "pointer-events: none" };
  const casing = svg("rect", { ...shape, stroke: DARK, "stroke-width": 1.6 });
  const outline = svg("rect", { ...shape, stroke: COLOURS[n], "stroke-width": 0.9 });
  space.append(casing, outline);

  const reach = svg("rect", { x: -1.5, y: -1.5, width: 10, height: 10, fill: "transparent" });
  const tag = svg("rect", { width: 7, height: 7, fill: DARK });
  const style = `font-size: 6px; font-weight: 700; fill: ${COLOURS[n]}`;
  const word = svg("text", { x: 1.4, y: 5.6, style }, LETTERS[n]);
  const ring = svg("rect", { class: "ring", x: -1.5, y: -1.5, width: 10, height: 10 });
  change(ring, { "vector-effect": "non-scaling-stroke" });
  const handle = svg("g", {}, reach, tag, word, ring);

  const grip = movable(handle, {
    label,
    space,
    place: () => ({ x: box()[0], y: box()[1] }),
    move: ({ x, y }) => {
      const [width, height] = sidesOf(box());
      const left = clamp(Math.round(x), 0, side - width);
      const top = clamp(Math.round(y), 0, side - height);
      move([left, top, left + width, top + height]);
    },
    describe: () => {
      const [width, height] = sidesOf(box());
      return `left ${box()[0]}, top ${box()[1]}, ${width} wide, ${height} high`;
    },
  });

  const show = (isMissed) => {
    const [x1, y1] = box();

    // A box of few pixels is not to be hidden by its own lines.
    const thin = Math.min(...sidesOf(box())) < 12 ? 0.6 : 1;
    change(casing, { "stroke-width": 1.6 * thin });
    change(outline, { "stroke-width": 0.9 * thin });
    change(outline, { "stroke-dasharray": isMissed ? "0.9 2.2" : "3 2" });
    for (const rect of [casing, outline]) change(rect, rectangle(box()));
    change(handle, { transform: `translate(${x1} ${y1 >= 7 ? y1 - 7 : y1})` });
    grip.tell();
  };
  return { handle, show };
}

/** Draw a box: a line on a wider, dark one. */
function outlineOf(box, colour) {
  return [
    svg("rect", { ...rectangle(box), stroke: DARK, "stroke-width": 2, opacity: 0.7 }),
    svg("rect", { ...rectangle(box), stroke: colour, "stroke-width": 0.8 }),
  ];
}

// ---- words -------------------------------------------------------------------------------------

/** Name an object: its letter on dark, in its colour, and its class. */
function nameOf(object, names) {
  const style = `background: ${DARK}; color: ${COLOURS[object]}; padding: 0 0.3em`;
  return [html("b", { style }, LETTERS[object]), ` ${names[object]}`];
}

/** How each object stands to the location that is asked; the columns depend on the rule. */
function tableOfObjects(names) {
  const head = html("tr");
  const body = html("tbody");
  const element = html("table", {}, html("thead", {}, head), body);
  const show = (rows) => {
    const columns = ["object", ...Object.keys(rows[0])];
    head.replaceChildren(...columns.map((word) => html("th", { scope: "col" }, word)));
    body.replaceChildren(
      ...rows.map((row, n) =>
        html(
          "tr",
          {},
          html("th", { scope: "row", style: "white-space: nowrap" }, ...nameOf(n, names)),
          ...Object.values(row).map((value) => html("td", {}, String(value))),
        ),
      ),
    );
  };
  return { element, show };
}
