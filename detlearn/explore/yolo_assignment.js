// One scene, four ways to say who learns what. A box is [x1, y1, x2, y2].
// The arithmetic is that of cell_objects, responsible_places and task_aligned_assign.

const BACKGROUND = -1;
const TOP_K_OF_ONE = 1; // what "one-to-one" means

const LETTERS = "ABCDEFGH";
const COLOURS = ["#fca800", "#90fcfc", "#e49cff", "#e4f090"]; // light: they lie on dark casings
const DARK = "#111";

const RULES = [
  ["v1", "YOLOv1"],
  ["v3", "YOLOv3"],
  ["one_to_many", "one-to-many"],
  ["one_to_one", "one-to-one"],
];
const isModern = (rule) => rule === "one_to_many" || rule === "one_to_one";

// ---- who learns what ---------------------------------------------------------------------------

const middleOf = ([x1, y1, x2, y2]) => [(x1 + x2) / 2, (y1 + y2) / 2];
const areaOf = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);

/** Return the number of the cell, row by row, in which a point lies; outside, of the nearest. */
function cellOf([x, y], stride, cells) {
  const [column, row] = [x, y].map((at) => clamp(Math.floor(at / stride), 0, cells - 1));
  return row * cells + column;
}

/** YOLOv1: a cell learns the object whose centre lies in it; of several the smallest, the first. */
function cellObjects(boxes, stride, cells) {
  const assigned = new Array(cells * cells).fill(BACKGROUND);
  boxes.forEach((box, object) => {
    const cell = cellOf(middleOf(box), stride, cells);
    const other = assigned[cell];
    if (other === BACKGROUND || areaOf(box) < areaOf(boxes[other])) assigned[cell] = object;
  });
  return assigned;
}

/** The IoU of a box with an anchor [width, height] that is moved into its middle. */
function shapeIou([x1, y1, x2, y2], [width, height]) {
  const [w, h] = [x2 - x1, y2 - y1];
  const intersection = Math.min(w, width) * Math.min(h, height);
  return intersection / (w * h + width * height - intersection);
}

/**
 * YOLOv3: of all anchors of all levels the one most like the object in shape learns it, in the cell
 * of its centre. Where two objects meet, the last one stays.
 *
 * Places are counted level by level, cell by cell, anchor by anchor.
 */
function responsiblePlaces(boxes, anchors, strides, side) {
  const flat = anchors.flatMap((level, l) => level.map((shape, a) => ({ shape, l, a })));
  return boxes.map((box) => {
    const ious = flat.map(({ shape }) => shapeIou(box, shape));
    const { l, a } = flat[ious.indexOf(Math.max(...ious))];
    const cell = cellOf(middleOf(box), strides[l], side / strides[l]);
    const before = sum(strides.slice(0, l).map((s, i) => (side / s) ** 2 * anchors[i].length));
    return { level: l, anchor: a, cell, place: before + cell * anchors[l].length + a, ious };
  });
}

function boxIou([left1, top1, right1, bottom1], [left2, top2, right2, bottom2]) {
  const width = Math.max(Math.min(right1, right2) - Math.max(left1, left2), 0);
  const height = Math.max(Math.min(bottom1, bottom2) - Math.max(top1, top2), 0);
  const intersection = width * height;

  const area1 = (right1 - left1) * (bottom1 - top1);
  const area2 = (right2 - left2) * (bottom2 - top2);
  const union = area1 + area2 - intersection;
  return union === 0 ? 0 : intersection / union;
}

/** The modern head: the best aligned locations inside an object learn it. */
function taskAlignedAssign({ scores, predicted, points }, boxes, labels, { topk, alpha, beta }) {
  const isInside = ([x, y], [x1, y1, x2, y2]) => x > x1 && x < x2 && y > y1 && y < y2;
  const iou = boxes.map((box) => predicted.map((found) => boxIou(box, found)));
  const alignment = boxes.map((box, n) =>
    points.map((point, p) =>
      isInside(point, box) ? scores[p][labels[n]] ** alpha * iou[n][p] ** beta : 0,
    ),
  );

  // Each object claims its best locations; of equal ones the first.
  const ranks = alignment.map((row) => {
    const order = row.map((_, p) => p).filter((p) => row[p] > 0);
    order.sort((p, q) => row[q] - row[p] || p - q);
    const rank = new Array(row.length).fill(null);
    order.forEach((p, i) => (rank[p] = i + 1));
    return rank;
  });

  // Each location goes to the claimant that it covers best; of equal ones to the first.
  const assigned = points.map((_, p) => {
    let best = BACKGROUND;
    boxes.forEach((_, n) => {
      const claims = ranks[n][p] !== null && ranks[n][p] <= topk;
      if (claims && (best === BACKGROUND || iou[n][p] > iou[best][p])) best = n;
    });
    return best;
  });

  // The score to learn: the best aligned of an object's own locations is to reach its best IoU.
  const most = (row, n) => Math.max(0, ...row.filter((_, p) => assigned[p] === n));
  const bestAlignment = alignment.map(most);
  const bestIou = iou.map(most);
  const targets = assigned.map((n, p) =>
    n === BACKGROUND ? 0 : (alignment[n][p] / bestAlignment[n]) * bestIou[n],
  );
  return { iou, alignment, ranks, assigned, targets };
}

// ---- what the network said ---------------------------------------------------------------------

/** Read bytes as numbers in [0, 1]. */
function numbersIn(text, power) {
  return Array.from(atob(text), (letter) => (letter.charCodeAt(0) / 255) ** power);
}

/** Return the locations of the modern head: `[x, y]`, level, number of the cell in it. */
function locationsOf(strides, side) {
  return strides.flatMap((stride, level) => {
    const cells = side / stride;
    return Array.from({ length: cells * cells }, (_, cell) => ({
      point: [((cell % cells) + 0.5) * stride, (Math.floor(cell / cells) + 0.5) * stride],
      stride,
      level,
      cell,
    }));
  });
}

/** Return scores[location][class] and boxes[location] of one moment. */
function predictionsOf(said, locations, { powers, largestDistance }) {
  const scores = numbersIn(said.scores, powers.scores);
  const distances = numbersIn(said.distances, powers.distances);
  const classes = scores.length / locations.length;
  return {
    points: locations.map(({ point }) => point),
    scores: locations.map((_, p) => scores.slice(p * classes, (p + 1) * classes)),
    predicted: locations.map(({ point: [x, y], stride }, p) => {
      const [left, top, right, bottom] = distances
        .slice(4 * p, 4 * p + 4)
        .map((share) => share * largestDistance * stride);
      return [x - left, y - top, x + right, y + bottom];
    }),
  };
}

// ---- the figure --------------------------------------------------------------------------------

explorable("yolo_assignment", (figure, data) => {
  const { side, names, labels, strides } = data;
  const start = { ...data.state, cell: cellAtMiddle(data.state.boxes[0], strides[0]) };
  const state = { ...start };
  const locations = locationsOf(strides, side);
  const said = data.moments.map((moment) => predictionsOf(moment, locations, data));
  let found = null; // who learns what in this state

  const picture = scenePicture(data, () => state, { lookAt });
  const reason = html("p");
  const table = tableOfObjects(names);
  const totals = html("p", { class: "note" });

  const ruleChoice = choice({
    label: "rule",
    options: RULES,
    onChange: (rule) => set({ rule, level: rule === "v1" ? strides.indexOf(data.v1Stride) : state.level }),
  });
  const levelChoice = choice({
    label: "ask a location of stride",
    options: strides.map((stride, level) => [level, String(stride)]),
    onChange: (level) => set({ level }),
  });
  const momentChoice = choice({
    label: "predictions after so many steps",
    options: data.moments.map(({ step }, i) => [i, String(step)]),
    onChange: (moment) => set({ moment }),
  });
  const topkSlider = slider({
    label: "locations an object (top k)",
    ...{ min: 1, max: 30, step: 1, digits: 0 },
    onInput: (topk) => set({ topk }),
  });
  const alphaSlider = slider({
    label: "α, exponent of the score",
    ...{ min: 0, max: 3, step: 0.1, digits: 1 },
    onInput: (alpha) => set({ alpha }),
  });
  const betaSlider = slider({
    label: "β, exponent of the IoU",
    ...{ min: 0, max: 10, step: 0.5, digits: 1 },
    onInput: (beta) => set({ beta }),
  });
  const backButton = button("back to the start", () => set(start));
  const modern = [momentChoice, topkSlider, alphaSlider, betaSlider].map(({ element }) =>
    html("div", { class: "row" }, element),
  );

  figure.stage.append(
    html("div", { class: "row" }, ruleChoice.element),
    html(
      "div",
      { class: "panels" },
      html("div", {}, picture.element, reason, totals),
      html(
        "div",
        {},
        html("div", { class: "row" }, levelChoice.element),
        ...modern,
        html("div", { class: "row" }, backButton),
        table.element,
      ),
    ),
  );

  function set(changes) {
    // Another grid has other cells: look at the one that holds the same place.
    const oldStride = strides[state.level];
    Object.assign(state, changes);
    if (state.rule === "v1") state.level = strides.indexOf(data.v1Stride);
    const stride = strides[state.level];
    if (stride !== oldStride && !("cell" in changes)) {
      state.cell = state.cell.map((at) => Math.floor(((at + 0.5) * oldStride) / stride));
    }
    work();
    show();
  }

  function lookAt(cell) {
    if (cell[0] === state.cell[0] && cell[1] === state.cell[1]) return;
    state.cell = cell;
    showCell();
  }

  function work() {
    const { rule, boxes, alpha, beta } = state;
    if (rule === "v1") {
      found = { assigned: cellObjects(boxes, data.v1Stride, side / data.v1Stride) };
    } else if (rule === "v3") {
      const places = responsiblePlaces(boxes, data.anchors, strides, side);
      const count = sum(strides.map((s, l) => (side / s) ** 2 * data.anchors[l].length));
      const assigned = new Array(count).fill(BACKGROUND);
      places.forEach(({ place }, object) => (assigned[place] = object));
      found = { assigned, places };
    } else {
      const topk = rule === "one_to_one" ? TOP_K_OF_ONE : state.topk;
      const options = { topk, alpha, beta };
      found = taskAlignedAssign(said[state.moment], boxes, labels, options);
    }
  }

  /** Return the number of the asked location among all of the modern head. */
  function askedLocation() {
    const [column, row] = state.cell;
    const cells = side / strides[state.level];
    return locations.findIndex(({ level, cell }) => level === state.level && cell === row * cells + column);
  }

  function show() {
    ruleChoice.show(state.rule);
    levelChoice.show(state.level);
    momentChoice.show(state.moment);
    topkSlider.show(state.rule === "one_to_one" ? TOP_K_OF_ONE : state.topk);
    alphaSlider.show(state.alpha);
    betaSlider.show(state.beta);
    levelChoice.element.disabled = state.rule === "v1";
    topkSlider.input.disabled = state.rule === "one_to_one";
    for (const row of modern) row.style.display = isModern(state.rule) ? "" : "none";

    picture.showScene(marks());
    const counts = state.boxes.map((_, n) => found.assigned.filter((object) => object === n).length);
    const word = { v1: "cells", v3: "anchors" }[state.rule] ?? "locations";
    totals.textContent =
      `${found.assigned.length} ${word}; learning ` +
      `${counts.map((count, n) => `${LETTERS[n]} ${count}`).join(", ")}.`;
    showCell();
    figure.announce(`${totals.textContent} ${reason.textContent}`);
  }

  /** Return what is drawn of those that learn an object: where, how large, which. */
  function marks() {
    if (state.rule === "v1") {
      const cells = side / data.v1Stride;
      return found.assigned.flatMap((object, cell) => {
        const x = ((cell % cells) + 0.5) * data.v1Stride;
        const y = (Math.floor(cell / cells) + 0.5) * data.v1Stride;
        return object === BACKGROUND ? [] : [{ x, y, object, stride: data.v1Stride, weight: 1 }];
      });
    }
    if (state.rule === "v3") {
      return found.places.map(({ level, anchor, cell, place }, object) => {
        const stride = strides[level];
        const cells = side / stride;
        const x = ((cell % cells) + 0.5) * stride;
        const y = (Math.floor(cell / cells) + 0.5) * stride;
        const learns = found.assigned[place] === object;
        return { x, y, object, stride, weight: learns ? 1 : 0, shape: data.anchors[level][anchor] };
      });
    }
    return found.assigned.flatMap((object, p) => {
      const { point, stride } = locations[p];
      const [x, y] = point;
      return object === BACKGROUND ? [] : [{ x, y, object, stride, weight: found.targets[p] }];
    });
  }

  function showCell() {
    const p = askedLocation();
    const box = isModern(state.rule) ? said[state.moment].predicted[p] : null;
    const learnt = isModern(state.rule) ? found.assigned[p] : BACKGROUND;
    picture.showCell(box, learnt);
    reason.textContent = sentence(p);
    table.show(rowsOf(p));
    figure.announce(reason.textContent);
  }

  /** Say what the asked location learns, and why. */
  function sentence(p) {
    const called = (n) => `${LETTERS[n]} (${names[n]})`;
    const [column, row] = state.cell;
    const stride = strides[state.level];
    const place = `Column ${column + 1}, row ${row + 1} of stride ${stride}: `;
    const cells = side / stride;
    const cell = row * cells + column;
    const here = state.boxes.flatMap((box, n) => (cellOf(middleOf(box), stride, cells) === cell ? [n] : []));

    if (state.rule === "v1") {
      const learnt = found.assigned[cell];
      if (learnt === BACKGROUND) return `${place}no centre lies in this cell; its boxes learn confidence 0.`;
      const others = here.filter((n) => n !== learnt).map(called);
      const than = others.length ? ` So does that of ${others.join(", ")}, which is not smaller.` : "";
      return (
        `${place}learns ${called(learnt)}, whose centre lies in it. Of its two boxes the one with ` +
        `the higher IoU learns it, with that IoU as its confidence.${than}`
      );
    }

    if (state.rule === "v3") {
      const mine = here.filter((n) => found.places[n].level === state.level);
      if (here.length === 0) return `${place}no centre lies in this cell; its three anchors learn objectness 0.`;
      if (mine.length === 0) {
        const [n] = here;
        const { level, anchor, ious } = found.places[n];
        const shape = data.anchors[level][anchor].join(" × ");
        return (
          `${place}the centre of ${called(n)} lies here, but of all nine anchors ${shape} at stride ` +
          `${strides[level]} is most like it (IoU ${written(Math.max(...ious))}): this cell learns none.`
        );
      }
      const learnt = mine.find((n) => found.assigned[found.places[n].place] === n) ?? mine[0];
      const { level, anchor, ious } = found.places[learnt];
      const shape = data.anchors[level][anchor].join(" × ");
      return (
        `${place}its anchor ${shape} learns ${called(learnt)}, with objectness 1: the centre lies ` +
        `here, and of all nine anchors this one is most like it in shape (IoU ${written(Math.max(...ious))}).`
      );
    }

    const topk = state.rule === "one_to_one" ? TOP_K_OF_ONE : state.topk;
    const learnt = found.assigned[p];
    const claims = state.boxes.flatMap((_, n) =>
      found.ranks[n][p] !== null && found.ranks[n][p] <= topk ? [n] : [],
    );
    if (learnt !== BACKGROUND) {
      const others = claims.filter((n) => n !== learnt).map(called);
      const than = others.length ? ` ${others.join(", ")} would have it, too, but overlaps it less.` : "";
      return (
        `${place}learns ${called(learnt)} with target ${written(found.targets[p])}: its alignment ` +
        `is number ${found.ranks[learnt][p]} of those inside it.${than}`
      );
    }
    const ranked = state.boxes.flatMap((_, n) => (found.ranks[n][p] === null ? [] : [n]));
    if (ranked.length === 0) return `${place}background: it lies inside no object that its box overlaps.`;
    const ranks = ranked.map((n) => `number ${found.ranks[n][p]} for ${called(n)}`).join(", ");
    return `${place}background: its alignment is ${ranks}, and only the first ${topk} learn.`;
  }

  /** Return a row of the table for each object: how it stands to the asked location. */
  function rowsOf(p) {
    const stride = strides[state.level];
    const cells = side / stride;
    const cell = state.cell[1] * cells + state.cell[0];
    const yes = (value) => (value ? "yes" : "no");
    return state.boxes.map((box, n) => {
      const counted = found.assigned.filter((object) => object === n).length;
      const holds = yes(cellOf(middleOf(box), stride, cells) === cell);
      if (state.rule === "v1") return { "centre here": holds, cells: counted || "none" };
      if (state.rule === "v3") {
        const { level, anchor, ious } = found.places[n];
        return {
          "centre here": holds,
          "best anchor": data.anchors[level][anchor].join(" × "),
          "of stride": strides[level],
          "shape IoU": written(Math.max(...ious)),
        };
      }
      return {
        score: written(said[state.moment].scores[p][labels[n]]),
        IoU: written(found.iou[n][p]),
        rank: found.ranks[n][p] ?? "–",
        locations: counted || "none",
      };
    });
  }

  set({});
  return { set, get: () => ({ ...state, ...found, said: said[state.moment] }) };
});

/** Return the cell, column and row, in which the middle of a box lies. */
function cellAtMiddle(box, stride) {
  return middleOf(box).map((at) => Math.floor(at / stride));
}

// ---- the picture -------------------------------------------------------------------------------

function scenePicture(data, stateNow, { lookAt }) {
  const { side, names, strides } = data;
  const grid = svg("path", { stroke: "#fff", "stroke-width": 0.25, opacity: 0.4 });
  const objects = svg("g");
  const marks = svg("g", { fill: "none" });
  const asked = svg("g", { fill: "none" });

  // The cursor: a square around the location that the reader asks.
  const casing = svg("rect", { fill: "none", stroke: DARK, "stroke-width": 1.8 });
  const frame = svg("rect", { fill: "none", stroke: "#fff", "stroke-width": 0.9 });
  const ring = svg("rect", { class: "ring" });
  const cursor = svg("g", { style: "pointer-events: none" }, casing, frame, ring);
  const space = svg(
    "svg",
    { viewBox: `0 0 ${side} ${side}`, width: 400, role: "group", "aria-label": "the scene" },
    svg("image", { href: data.image, width: side, height: side }),
    ...[grid, objects, marks, asked, cursor],
  );

  const stride = () => strides[stateNow().level];
  const last = () => side / stride() - 1;
  const bounded = ({ x, y }) => [x, y].map((at) => clamp(at, 0, last()));
  const cellAt = ({ x, y }) => bounded({ x: Math.floor(x / stride()), y: Math.floor(y / stride()) });

  // Keys go from cell to cell, so its places are counted in cells.
  const cursorHandle = movable(cursor, {
    label: "the location that is asked",
    space,
    place: () => ({ x: stateNow().cell[0], y: stateNow().cell[1] }),
    move: (place) => lookAt(bounded(place)),
    describe: () => `column ${stateNow().cell[0] + 1}, row ${stateNow().cell[1] + 1}`,
  });
  const ask = (event) => lookAt(cellAt(pointIn(space, event)));
  change(space, { onpointermove: ask, onpointerdown: ask });

  const showScene = (found) => {
    const steps = Array.from({ length: last() }, (_, i) => (i + 1) * stride());
    change(grid, { d: steps.map((at) => `M${at} 0V${side}M0 ${at}H${side}`).join("") });
    objects.replaceChildren(...stateNow().boxes.flatMap((box, n) => objectOf(box, n, names[n])));

    // Coarse ones first, so that no large mark hides a small one.
    const sorted = [...found].sort((a, b) => b.stride - a.stride);
    marks.replaceChildren(...sorted.flatMap(markOf));
  };

  const showCell = (box, learnt) => {
    const corner = { x: stateNow().cell[0] * stride(), y: stateNow().cell[1] * stride() };
    for (const rect of [frame, casing]) change(rect, { ...corner, width: stride(), height: stride() });
    change(ring, { x: corner.x - 2, y: corner.y - 2, width: stride() + 4, height: stride() + 4 });

    const colour = learnt === BACKGROUND ? "#fff" : COLOURS[learnt];
    asked.replaceChildren(...(box ? outlineOf(box, colour) : []));
    cursorHandle.tell();
  };

  return { element: space, showScene, showCell };
}

/** Draw an object's box, dashed, with its letter above it, or in it where there is no room. */
function objectOf([x1, y1, x2, y2], n, name) {
  const rect = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, fill: "none" };
  const top = y1 >= 7 ? y1 - 7 : y1;
  const style = `font-size: 6px; font-weight: 700; fill: ${COLOURS[n]}`;
  return [
    svg("rect", { ...rect, stroke: DARK, "stroke-width": 1.6 }),
    svg("rect", { ...rect, stroke: COLOURS[n], "stroke-width": 0.9, "stroke-dasharray": "3 2" }),
    svg("rect", { x: x1, y: top, width: 7, height: 7, fill: DARK }),
    svg("text", { x: x1 + 1.4, y: top + 5.6, style }, LETTERS[n], svg("title", {}, name)),
  ];
}

/** Draw who learns an object: a dot that grows with the stride and fills with the target. */
function markOf({ x, y, object, stride, weight, shape }) {
  const colour = COLOURS[object];
  const radius = 0.9 + 0.07 * stride;
  const dot = svg("circle", { cx: x, cy: y, r: radius, fill: DARK, stroke: DARK, "stroke-width": 0.7 });
  const inner = svg("circle", { cx: x, cy: y, r: radius * (0.35 + 0.65 * weight), fill: colour });
  if (!shape) return [dot, inner];
  const [width, height] = shape;
  const anchor = [x - width / 2, y - height / 2, x + width / 2, y + height / 2];
  return [...outlineOf(anchor, colour), dot, inner];
}

/** Draw a box: a line on a wider, dark one. */
function outlineOf([x1, y1, x2, y2], colour) {
  const rect = { x: x1, y: y1, width: Math.max(x2 - x1, 0), height: Math.max(y2 - y1, 0) };
  return [
    svg("rect", { ...rect, stroke: DARK, "stroke-width": 2, opacity: 0.7 }),
    svg("rect", { ...rect, stroke: colour, "stroke-width": 0.8 }),
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
          html("th", { scope: "row" }, ...nameOf(n, names)),
          ...Object.values(row).map((value) => html("td", {}, String(value))),
        ),
      ),
    );
  };
  return { element, show };
}
