// One scene, four ways to say who learns what. A box is [x1, y1, x2, y2].
// What it shares with other scenes stands in scene.js.
// The arithmetic is that of cell_objects, yolov3_targets and task_aligned_assign, and the targets
// are those of encode_boxes (YOLOv1's and YOLOv3's) and boxes_to_distances.

const IGNORED = -2;
const TOP_K_OF_ONE = 1; // what "one-to-one" means

const RULES = [
  ["v1", "YOLOv1"],
  ["v3", "YOLOv3"],
  ["one_to_many", "one-to-many"],
  ["one_to_one", "one-to-one"],
];
const DOTS = "A dot learns the object of its colour; the larger, the coarser its map";
const KEYS = {
  v1: "A dot is the cell that learns the object of its colour. Move a box by its letter.",
  v3: `${DOTS}. Solid boxes: the anchors that learn. Crosses: anchors that are ignored.`,
  one_to_many: `${DOTS}, and the fuller, the higher its target. Solid box: what it predicts.`,
  one_to_one: `${DOTS}, and the fuller, the higher its target. Solid box: what it predicts.`,
};
const isModern = (rule) => rule === "one_to_many" || rule === "one_to_one";

// ---- who learns what ---------------------------------------------------------------------------

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

/** What a cell of YOLOv1 is to say of a box: x and y in the cell, √w and √h of shares. */
function yolov1Numbers(box, cell, stride, side) {
  const cells = side / stride;
  const [x, y] = middleOf(box);
  const [width, height] = sidesOf(box);
  const [column, row] = [cell % cells, Math.floor(cell / cells)];
  return [
    x / stride - column,
    y / stride - row,
    Math.sqrt(width / side),
    Math.sqrt(height / side),
  ];
}

/**
 * YOLOv3: of all anchors of all levels the one most like the object in shape learns it, in the cell
 * of its centre.
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

/** Return the places of YOLOv3: level, cell in it, anchor, and the anchor as a box. */
function placesOf(anchors, strides, side) {
  return strides.flatMap((stride, level) => {
    const cells = side / stride;
    return Array.from({ length: cells * cells }, (_, cell) =>
      anchors[level].map(([width, height], anchor) => {
        const [x, y] = centreOf(cell, stride, side);
        const box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2];
        return { level, cell, anchor, box, shape: [width, height] };
      }),
    ).flat();
  });
}

/**
 * YOLOv3: every place learns an object, background, or, where its prediction overlaps an object by
 * more than the threshold, nothing. Where two objects meet, the last one stays.
 *
 * The predictions are those of a network that says 0 everywhere: the anchors as they are.
 */
function yolov3Targets(boxes, responsible, places, threshold) {
  const assigned = places.map(({ box }) =>
    boxes.some((object) => boxIou(box, object) > threshold) ? IGNORED : BACKGROUND,
  );
  responsible.forEach(({ place }, object) => (assigned[place] = object));
  return assigned;
}

/** What a place of YOLOv3 is to say: the centre in its cell, logarithms of the sides' ratios. */
function yolov3Numbers(box, { cell, shape }, stride, side) {
  const middle = centreOf(cell, stride, side);
  const shares = middleOf(box).map((at, i) => (at - middle[i]) / stride + 0.5);
  return [...shares, ...sidesOf(box).map((length, i) => Math.log(length / shape[i]))];
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
  const firstStride = data.state.rule === "v1" ? data.v1Stride : strides[data.state.level];
  const start = { ...data.state, cell: cellAtMiddle(data.state.boxes[0], firstStride) };
  const state = { ...start };
  const locations = locationsOf(strides, side);
  const places = placesOf(data.anchors, strides, side);
  const said = data.moments.map((moment) => predictionsOf(moment, locations, data));
  let found = null; // who learns what in this state

  const picture = yoloPicture(data, state, { lookAt, moveBox });
  const reason = html("p", { class: "why" });
  const target = html("p", { class: "wanted" });
  const table = tableOfObjects(names);
  const totals = html("p", { class: "note" });
  const key = html("p", { class: "note" });

  const ruleChoice = choice({ label: "rule", options: RULES, onChange: (rule) => set({ rule }) });
  const levelChoice = choice({
    label: "stride of the asked location",
    options: strides.map((stride, level) => [level, String(stride)]),
    onChange: (level) => set({ level }),
  });
  const momentChoice = choice({
    label: "predictions after training steps",
    options: data.moments.map(({ step }, i) => [i, String(step)]),
    onChange: (moment) => set({ moment }),
  });
  const topkSlider = slider({
    label: "locations an object",
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
  const ignoreSlider = slider({
    label: "ignored above an IoU of",
    ...{ min: 0.3, max: 1, step: 0.05 },
    onInput: (ignore) => set({ ignore }),
  });
  const backButton = button("back to the start", () => set(start));

  // Each rule has its own controls.
  const row = (control) => html("div", { class: "row" }, control);
  const levelRow = row(levelChoice.element);
  const ignoreRow = row(ignoreSlider.element);
  const modernRows = [momentChoice, topkSlider, alphaSlider, betaSlider].map((control) =>
    row(control.element),
  );

  figure.stage.append(
    row(ruleChoice.element),
    html(
      "div",
      { class: "panels" },
      html("div", {}, picture.element, reason, target),
      html(
        "div",
        {},
        ...[levelRow, ignoreRow, ...modernRows, row(backButton)],
        ...[table.element, totals, key],
      ),
    ),
  );

  /** Return the stride of the grid that is asked; YOLOv1 has one alone. */
  function strideNow() {
    return state.rule === "v1" ? data.v1Stride : strides[state.level];
  }

  function set(changes) {
    // Another grid has other cells: look at the one that holds the same place.
    const oldStride = strideNow();
    Object.assign(state, changes);
    const stride = strideNow();
    if (stride !== oldStride && !("cell" in changes)) {
      state.cell = state.cell.map((at) => Math.floor(((at + 0.5) * oldStride) / stride));
    }
    work();
    show();
  }

  /** A reader looks at another cell: nothing is to be worked out anew. */
  function lookAt(cell) {
    if (cell[0] === state.cell[0] && cell[1] === state.cell[1]) return;
    state.cell = cell;
    showCell();
  }

  /** A reader's hand has moved one box; what the network said stays. */
  function moveBox(index, box) {
    set({ boxes: state.boxes.map((old, n) => (n === index ? box : old)) });
  }

  function work() {
    const { rule, boxes, alpha, beta, ignore } = state;
    if (rule === "v1") {
      found = { assigned: cellObjects(boxes, data.v1Stride, side / data.v1Stride) };
    } else if (rule === "v3") {
      const responsible = responsiblePlaces(boxes, data.anchors, strides, side);
      found = { assigned: yolov3Targets(boxes, responsible, places, ignore), responsible };
    } else {
      const options = { topk: topkNow(), alpha, beta };
      found = taskAlignedAssign(said[state.moment], boxes, labels, options);
    }

    // Those that learn an object: where they stand, and what they are to say of its box.
    found.learners = found.assigned.flatMap((object, place) =>
      object < 0 ? [] : [{ object, place, ...whatIsLearnt(object, place) }],
    );
  }

  function topkNow() {
    return state.rule === "one_to_one" ? TOP_K_OF_ONE : state.topk;
  }

  function whatIsLearnt(object, place) {
    const box = state.boxes[object];
    if (state.rule === "v1") {
      const stride = data.v1Stride;
      const point = centreOf(place, stride, side);
      return { point, stride, weight: 1, numbers: yolov1Numbers(box, place, stride, side) };
    }
    if (state.rule === "v3") {
      const here = places[place];
      const stride = strides[here.level];
      const numbers = yolov3Numbers(box, here, stride, side);
      return { point: middleOf(here.box), stride, weight: 1, anchor: here.box, numbers };
    }
    const { point, stride } = locations[place];
    const numbers = distancesTo(box, point, stride);
    return { point, stride, weight: found.targets[place], numbers };
  }

  /** Return the number of the asked cell in its map, row by row. */
  function askedCell() {
    return state.cell[1] * (side / strideNow()) + state.cell[0];
  }

  /** Return the number of the asked location among all of the modern head. */
  function askedLocation() {
    const before = sum(strides.slice(0, state.level).map((stride) => (side / stride) ** 2));
    return before + askedCell();
  }

  function show() {
    const { rule } = state;
    ruleChoice.show(rule);
    levelChoice.show(state.level);
    momentChoice.show(state.moment);
    topkSlider.show(topkNow());
    alphaSlider.show(state.alpha);
    betaSlider.show(state.beta);
    ignoreSlider.show(state.ignore);
    topkSlider.input.disabled = rule === "one_to_one";
    const shown = (element, is) => (element.style.display = is ? "" : "none");
    shown(levelRow, rule !== "v1");
    shown(ignoreRow, rule === "v3");
    for (const one of modernRows) shown(one, isModern(rule));

    // Several anchors of a cell share their cross.
    const ignored = found.assigned.flatMap((object, p) => (object === IGNORED ? [p] : []));
    const crosses = new Map(
      ignored.map((p) => [middleOf(places[p].box).join(), middleOf(places[p].box)]),
    );
    picture.showScene(found.learners, [...crosses.values()]);

    const counts = state.boxes.map((_, n) => found.learners.filter((l) => l.object === n).length);
    const word = { v1: "cells", v3: "anchors" }[rule] ?? "locations";
    const besides = ignored.length ? `; ${ignored.length} ignored` : "";
    totals.textContent =
      `${found.assigned.length} ${word}: ` +
      `${counts.map((count, n) => `${count} for ${LETTERS[n]}`).join(", ")}${besides}.`;
    key.textContent = KEYS[rule];
    showCell();
    figure.announce(`${totals.textContent} ${reason.textContent} ${target.textContent}`);
  }

  function showCell() {
    const p = askedLocation();
    picture.showCell(
      strideNow(),
      isModern(state.rule) ? said[state.moment].predicted[p] : null,
      isModern(state.rule) ? found.assigned[p] : BACKGROUND,
    );

    const stands = { v1: standsInV1, v3: standsInV3 }[state.rule] ?? standsInModern;
    const { why, wanted, rows } = stands(p);
    reason.textContent =
      `Column ${state.cell[0] + 1}, row ${state.cell[1] + 1} of stride ${strideNow()}: ${why}`;
    target.textContent = wanted;
    table.show(rows);
    figure.announce(`${reason.textContent} ${target.textContent}`);
  }

  // How the asked location stands: why it learns what it learns, the target, a row an object.

  const called = (n) => `${LETTERS[n]} (${names[n]})`;

  /** Return the objects whose centre lies in the asked cell. */
  function centresHere() {
    const stride = strideNow();
    const cells = side / stride;
    const isHere = (box) => cellOf(middleOf(box), stride, cells) === askedCell();
    return state.boxes.flatMap((box, n) => (isHere(box) ? [n] : []));
  }

  function standsInV1() {
    const learner = found.learners.find(({ place }) => place === askedCell());
    const here = centresHere();
    const rows = state.boxes.map((box, n) => {
      const counted = found.learners.some(({ object }) => object === n);
      const [x, y] = middleOf(box);
      return {
        centre: `${written(x, 1)}, ${written(y, 1)}`,
        "in this cell": here.includes(n) ? "yes" : "no",
        "learnt at all": counted ? "yes" : "no",
      };
    });
    if (!learner) {
      return {
        why: "no centre lies in this cell, so it learns no object.",
        wanted: "Target: confidence 0 for both of its boxes; none for boxes and classes.",
        rows,
      };
    }

    const lost = here.filter((n) => n !== learner.object).map(called).join(", ");
    const rival = lost
      ? ` So does that of ${lost}, which nobody learns: the cell has room for one, the smallest.`
      : "";
    const [x, y, w, h] = learner.numbers.map((value) => written(value));
    return {
      why: `it learns ${called(learner.object)}, whose centre lies in it.${rival}`,
      wanted:
        `Target for the better of its two boxes: x ${x}, y ${y}, √w ${w}, √h ${h}, and as ` +
        `confidence the IoU that it has; for the cell: ${names[learner.object]} 1, other classes 0.`,
      rows,
    };
  }

  function standsInV3() {
    const here = centresHere();
    const rows = state.boxes.map((_, n) => {
      const { level, anchor, ious } = found.responsible[n];
      return {
        "in this cell": here.includes(n) ? "yes" : "no",
        "most alike": data.anchors[level][anchor].join(" × "),
        stride: strides[level],
        "shape IoU": written(Math.max(...ious)),
      };
    });

    // The three anchors of the asked cell.
    const mine = places.flatMap((place, p) =>
      place.level === state.level && place.cell === askedCell() ? [{ ...place, p }] : [],
    );
    const learners = mine.flatMap(({ p }) => found.learners.filter(({ place }) => place === p));
    const ignored = mine.filter(({ p }) => found.assigned[p] === IGNORED);
    const left = ignored.map(({ shape }) => shape.join(" × ")).join(" and ");
    const peace = left
      ? ` The anchor ${left} is ignored: its IoU with an object is above ${written(state.ignore)}.`
      : "";

    if (learners.length > 0) {
      const [{ object, numbers, place }] = learners;
      const others = learners.slice(1).map((one) => called(one.object));
      const another = others.length ? ` Another of its anchors learns ${others.join(", ")}.` : "";
      const shape = places[place].shape.join(" × ");
      const iou = written(Math.max(...found.responsible[object].ious));
      const [x, y, w, h] = numbers.map((value) => written(value));
      return {
        why:
          `its anchor ${shape} learns ${called(object)}: the centre lies here, and of all nine ` +
          `anchors none is more like it (IoU ${iou}).${another}${peace}`,
        wanted:
          `Target of that anchor: objectness 1, x ${x}, y ${y}, t_w ${w}, t_h ${h}, ` +
          `${names[object]} 1, other classes 0.`,
        rows,
      };
    }

    let why = "no centre lies in this cell.";
    if (here.length > 0) {
      const { level, anchor } = found.responsible[here[0]];
      const shape = data.anchors[level][anchor].join(" × ");
      const taken = level === state.level;
      why = taken
        ? `the anchor ${shape} would learn ${called(here[0])}, but has a later object.`
        : `the centre of ${called(here[0])} lies here, but the anchor most like it is ${shape} ` +
          `of stride ${strides[level]}.`;
    }
    const wanted =
      ignored.length === mine.length
        ? "Target: none; all three are left in peace."
        : `Target: objectness 0 for ${left ? "the others" : "its three anchors"}.`;
    return { why: why + peace, wanted, rows };
  }

  function standsInModern(p) {
    const topk = topkNow();
    const learner = found.learners.find(({ place }) => place === p);
    const rows = state.boxes.map((_, n) => ({
      "score p": written(said[state.moment].scores[p][labels[n]]),
      IoU: written(found.iou[n][p]),
      t: written(found.alignment[n][p], 4),
      "rank of t": found.ranks[n][p] ?? "–",
    }));

    if (learner) {
      const { object, numbers } = learner;
      const claims = state.boxes.flatMap((_, n) => {
        const rank = found.ranks[n][p];
        return rank !== null && rank <= topk && n !== object ? [called(n)] : [];
      });
      const rival = claims.length
        ? ` ${claims.join(", ")} would have it, too, but its box overlaps ${LETTERS[object]} more.`
        : "";
      const [left, top, right, bottom] = numbers.map((value) => written(value, 1));
      return {
        why: `it learns ${called(object)}: number ${found.ranks[object][p]} by alignment.${rival}`,
        wanted:
          `Target: score ${written(learner.weight)} for ${names[object]}, 0 for other classes; ` +
          `${left} strides to the left side, ${top} to the top, ${right} to the right, ` +
          `${bottom} to the bottom.`,
        rows,
      };
    }

    const ranked = state.boxes.flatMap((_, n) => (found.ranks[n][p] === null ? [] : [n]));
    const ranks = ranked.map((n) => `number ${found.ranks[n][p]} for ${called(n)}`).join(", ");
    let why = "it lies inside no object that its box overlaps.";
    if (ranked.some((n) => found.ranks[n][p] <= topk)) {
      why = `by alignment it is ${ranks}, but others own it.`;
    } else if (ranked.length > 0) {
      const first = topk === 1 ? "only the first learns" : `only the first ${topk} learn`;
      why = `by alignment it is ${ranks}; ${first}.`;
    }
    return { why, wanted: "Target: score 0 for every class; no box.", rows };
  }

  set({});
  return { set, get: () => ({ ...state, ...found, said: said[state.moment] }) };
});

// ---- the picture -------------------------------------------------------------------------------

/** Make the scene with dots where something is learnt, and what the asked location predicts. */
function yoloPicture(data, state, hands) {
  const picture = scenePicture(data, state, hands);

  const showScene = (learners, crosses) => {
    picture.showObjects();

    // Coarse ones first, so that no large mark hides a small one.
    const sorted = [...learners].sort((a, b) => b.stride - a.stride);
    picture.marks.replaceChildren(...crosses.flatMap(crossAt), ...sorted.flatMap(markOf));
  };

  const showCell = (stride, box, learnt) => {
    picture.showCell(stride);
    const colour = learnt < 0 ? "#fff" : COLOURS[learnt];
    picture.asked.replaceChildren(...(box ? outlineOf(box, colour) : []));
  };

  return { element: picture.element, showScene, showCell };
}

/** Draw who learns an object: a dot that grows with the stride and fills with the target. */
function markOf({ point: [cx, cy], object, stride, weight, anchor }) {
  const radius = 0.9 + 0.07 * stride;
  const look = { cx, cy, fill: COLOURS[object] };
  const rim = { stroke: DARK, "stroke-width": 0.7 };
  return [
    ...(anchor ? outlineOf(anchor, COLOURS[object]) : []),
    svg("circle", { ...look, ...rim, r: radius, fill: DARK }),
    svg("circle", { ...look, r: radius * (0.35 + 0.65 * weight) }),
  ];
}

/** Draw the cross of anchors that learn nothing. */
function crossAt([x, y]) {
  const path = `M${x - 1} ${y - 1}l2 2m0 -2l-2 2`;
  return [
    svg("path", { d: path, stroke: DARK, "stroke-width": 1.3 }),
    svg("path", { d: path, stroke: "#fff", "stroke-width": 0.6 }),
  ];
}
