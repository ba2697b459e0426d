// Two boxes to drag: IoU, GIoU, DIoU and CIoU, their slopes, and the way down under each loss.
// A box is [x1, y1, x2, y2]. The arithmetic is that of detlearn.boxes and detlearn.losses.

const LOSSES = ["iou", "giou", "diou", "ciou"];
const NAMES = { iou: "IoU", giou: "GIoU", diou: "DIoU", ciou: "CIoU" };
const DASHES = { iou: "1 3", giou: "none", diou: "7 3", ciou: "7 3 1 3" };
const SIDES = ["left", "top", "right", "bottom"];

const EPS = 1e-7; // added to the denominators of the losses, as in detlearn.losses
const STEPS = 200; // of a descent
const FIRST_RATE = 300; // a side with the slope s moves by 300 s pixels at first; falls to 0
const NAME_ROOM = 12; // units of the drawing, between a box and the border, for its name
const SMALLEST = 1; // pixels: a descent must not leave a flat box, which has no way back

// ---- numbers that know their slopes ------------------------------------------------------------
// { value, slope }: the slope holds the derivatives by the four sides of the predicted box.

function constant(value) {
  return { value, slope: [0, 0, 0, 0] };
}

/** Return the coordinate of a side of the predicted box: its slope is 1 by this side. */
function side(box, index) {
  return { value: box[index], slope: SIDES.map((_, i) => (i === index ? 1 : 0)) };
}

/** Combine two numbers: the result has this value and these derivatives by the first and second. */
function combined(a, b, value, byA, byB) {
  return { value, slope: a.slope.map((_, i) => byA * a.slope[i] + byB * b.slope[i]) };
}

const plus = (a, b) => combined(a, b, a.value + b.value, 1, 1);
const minus = (a, b) => combined(a, b, a.value - b.value, 1, -1);
const times = (a, b) => combined(a, b, a.value * b.value, b.value, a.value);
const square = (a) => times(a, a);

function over(a, b) {
  const value = a.value / b.value;
  return combined(a, b, value, 1 / b.value, -value / b.value);
}

/** Where the two are equal each has half of the slope, as in PyTorch. */
function smaller(a, b) {
  const byA = a.value < b.value ? 1 : a.value > b.value ? 0 : 0.5;
  return combined(a, b, Math.min(a.value, b.value), byA, 1 - byA);
}

function larger(a, b) {
  const byA = a.value > b.value ? 1 : a.value < b.value ? 0 : 0.5;
  return combined(a, b, Math.max(a.value, b.value), byA, 1 - byA);
}

/** Cut off what is below 0; at 0 itself there is no slope, as in PyTorch. */
function atLeastZero(a) {
  return a.value > 0 ? a : constant(0);
}

/** Return atan(w / h), the angle of a diagonal to the upright; of a point 0, without slope. */
function diagonalAngle(w, h) {
  const lengthSquared = w.value ** 2 + h.value ** 2;
  if (lengthSquared === 0) return constant(0);
  const value = Math.atan2(w.value, h.value);
  return combined(w, h, value, h.value / lengthSquared, -w.value / lengthSquared);
}

// ---- the formulas ------------------------------------------------------------------------------

/** Work out everything about two boxes: what the four numbers are made of, and their slopes. */
function workedOut(predBox, targetBox) {
  const pred = SIDES.map((_, i) => side(predBox, i));
  const target = targetBox.map(constant);
  const sizeOf = ([x1, y1, x2, y2]) => [minus(x2, x1), minus(y2, y1)];

  // What the boxes share: from the later left side to the earlier right one.
  const shared = [
    larger(pred[0], target[0]),
    larger(pred[1], target[1]),
    smaller(pred[2], target[2]),
    smaller(pred[3], target[3]),
  ];
  const intersection = times(...sizeOf(shared).map(atLeastZero));
  const areas = plus(times(...sizeOf(pred)), times(...sizeOf(target)));
  const union = minus(areas, intersection);

  // The smallest box around both.
  const around = [
    smaller(pred[0], target[0]),
    smaller(pred[1], target[1]),
    larger(pred[2], target[2]),
    larger(pred[3], target[3]),
  ];
  const [width, height] = sizeOf(around);
  const enclosing = times(width, height);
  const diagonalSquared = plus(square(width), square(height));

  // How far apart the centres are.
  const half = constant(0.5);
  const centre = ([x1, y1, x2, y2]) => [times(plus(x1, x2), half), times(plus(y1, y2), half)];
  const [predX, predY] = centre(pred);
  const [targetX, targetY] = centre(target);
  const distanceSquared = plus(square(minus(predX, targetX)), square(minus(predY, targetY)));

  // How different the shapes are.
  const turn = minus(diagonalAngle(...sizeOf(pred)), diagonalAngle(...sizeOf(target)));
  const v = times(constant(4 / Math.PI ** 2), square(turn));

  return { intersection, union, enclosing, diagonalSquared, distanceSquared, v };
}

/** Put IoU and the penalties together; `eps` is added to the denominators of IoU and GIoU. */
function relatives(parts, eps) {
  const small = constant(eps);
  const ratio = (a, b) => (b.value === 0 ? constant(0) : over(a, b));
  const { intersection, union, enclosing, diagonalSquared, distanceSquared, v } = parts;

  const iou = ratio(intersection, plus(union, small));
  const uncovered = ratio(minus(enclosing, union), plus(enclosing, small));
  const distance = over(distanceSquared, plus(diagonalSquared, constant(EPS)));

  // The weight α counts as a number without slope: no gradient flows through it.
  const alpha = constant(v.value / (1 - iou.value + v.value + EPS));
  const aspect = times(alpha, v);

  const giou = minus(iou, uncovered);
  const diou = minus(iou, distance);
  const ciou = minus(diou, aspect);
  return { iou, giou, diou, ciou, uncovered, distance, alpha, aspect };
}

/** Return the four losses of a predicted box, each with its slope by the four sides. */
function lossesOf(pred, target) {
  const found = relatives(workedOut(pred, target), EPS);
  return Object.fromEntries(LOSSES.map((name) => [name, minus(constant(1), found[name])]));
}

/** Return the box after step number `step` of a descent: against the slope, ever shorter. */
function descended(pred, target, loss, step) {
  const { slope } = lossesOf(pred, target)[loss];
  const rate = FIRST_RATE * (1 - step / STEPS);
  const [x1, y1, x2, y2] = pred.map((at, i) => at - rate * slope[i]);
  return [x1, y1, Math.max(x1 + SMALLEST, x2), Math.max(y1 + SMALLEST, y2)];
}

// ---- the figure --------------------------------------------------------------------------------

explorable("two_boxes", (figure, data) => {
  const state = {
    pred: data.pred,
    target: data.target,
    loss: data.loss,
    start: data.pred, // where the descent began
    steps: 0, // made since then
    paths: {}, // loss → the IoU after each step of the last descent from this start
  };

  const ticks = [0, 20, 40, 60, 80, 100];
  const chart = plot({
    width: 340,
    height: 336,
    x: { from: 0, to: data.size, ticks, label: "x, pixels", digits: 0 },
    y: { from: data.size, to: 0, ticks, label: "y, pixels", digits: 0 },
    label: "two boxes",
    role: "group",
  });
  const picture = boxPicture(chart, data.size, state, moveBox);
  const table = valuesTable();
  const slopes = html("p", { class: "note" });
  const curves = descentChart();

  const lossChoice = choice({
    label: "loss",
    options: LOSSES.map((name) => [name, NAMES[name]]),
    onChange: (loss) => set({ loss }),
  });

  const running = player(descend, { pause: 40, onChange: showRunning });
  const runButton = button("let it descend", () => {
    if (!running.isRunning() && state.steps === STEPS) restart();
    running.toggle();
  });
  const stepButton = button("one step", () => {
    running.stop();
    if (state.steps === STEPS) restart();
    descend();
  });
  const backButton = button("back to the start", () => {
    running.stop();
    restart();
  });

  const left = html("div", {}, chart.element, slopes);
  const right = html(
    "div",
    {},
    html("div", { class: "row" }, lossChoice.element),
    table.element,
    html("div", { class: "row" }, runButton, stepButton, backButton),
    curves.element,
  );
  figure.stage.append(html("div", { class: "panels" }, left, right));

  /** Bring the figure into a state. `steps` makes so many steps of a descent from `pred`. */
  function set(changes) {
    running.stop();
    const moved = "pred" in changes || "target" in changes;
    const { steps = moved ? 0 : null, ...others } = changes;
    Object.assign(state, others);

    // Another box is another start; another loss begins where the last one began.
    if (moved) Object.assign(state, { start: state.pred, paths: {} });
    if ("loss" in changes && steps === null) return restart();
    if (steps !== null) {
      restart();
      for (let i = 0; i < steps; i++) advance();
    }
    show();
  }

  /** A reader's hand has moved a box. */
  function moveBox(which, box) {
    set({ [which]: box });
  }

  function restart() {
    state.pred = state.start;
    state.steps = 0;
    show();
  }

  /** Make one step downhill and remember the IoU on the way; say whether there is one more. */
  function advance() {
    const iou = (box) => relatives(workedOut(box, state.target), 0).iou.value;
    if (state.steps === 0) state.paths[state.loss] = [iou(state.pred)];

    state.pred = descended(state.pred, state.target, state.loss, state.steps);
    state.steps += 1;
    state.paths[state.loss].push(iou(state.pred));
    return state.steps < STEPS;
  }

  function descend() {
    const isMore = advance();
    show();
    return isMore;
  }

  function showRunning(isRunning) {
    runButton.textContent = isRunning ? "pause" : "let it descend";
  }

  /** Return every number that the figure shows, unrounded. */
  function numbers() {
    const parts = workedOut(state.pred, state.target);
    const values = relatives(parts, 0);
    const losses = lossesOf(state.pred, state.target);

    const valuesOf = (group) =>
      Object.fromEntries(Object.entries(group).map(([name, number]) => [name, number.value]));
    return {
      parts: valuesOf(parts),
      values: valuesOf(values),
      losses: valuesOf(losses),
      gradients: Object.fromEntries(LOSSES.map((name) => [name, losses[name].slope])),
    };
  }

  function show() {
    const found = numbers();
    const slope = found.gradients[state.loss];

    picture.show(slope);
    table.show(found, state.loss);
    lossChoice.show(state.loss);
    curves.show(state.paths);

    const words = SIDES.map((name, i) => `${name} ${written(slope[i], 4)}`).join(", ");
    const isFlat = slope.every((part) => part === 0);
    const meaning = isFlat
      ? "No side knows where to go."
      : "An arrow shows where a step downhill moves its side.";
    slopes.textContent = `Slopes of the ${NAMES[state.loss]} loss: ${words}. ${meaning}`;

    const { values, losses } = found;
    const all = LOSSES.map((name) => `${NAMES[name]} ${written(values[name])}`).join(", ");
    figure.announce(`${all}; the ${NAMES[state.loss]} loss is ${written(losses[state.loss])}.`);
  }

  show();
  return { set, get: () => ({ ...state, ...numbers() }) };
});

// ---- the picture -------------------------------------------------------------------------------

/** Draw the boxes into a chart, with what can be moved; `moveBox(which, box)` tells of a move. */
function boxPicture(chart, size, state, moveBox) {
  const scale = (chart.frame.right - chart.frame.left) / size;
  const place = `translate(${chart.frame.left} ${chart.frame.top}) scale(${scale})`;
  const space = svg("g", { transform: place }); // everything in it is drawn in the boxes' pixels
  chart.layer.append(space);

  const thin = { fill: "none", stroke: "currentColor", "vector-effect": "non-scaling-stroke" };
  const shared = svg("rect", { fill: "var(--blue)", "fill-opacity": 0.2 });
  const around = svg("rect", { ...thin, "stroke-width": 1.2, "stroke-dasharray": "1.5 3" });
  const diagonal = svg("line", { ...thin, "stroke-width": 1, "stroke-dasharray": "1.5 3" });
  const centres = svg("line", { ...thin, "stroke-width": 2 });
  space.append(shared, around, diagonal, centres);

  const looks = {
    target: { stroke: "var(--orange)", "stroke-width": 1.6, "stroke-dasharray": "6 4" },
    pred: { stroke: "var(--blue)", "stroke-width": 2.6 },
  };
  const words = { pred: "predicted box", target: "true box" };
  const bodies = ["target", "pred"].map((which) => body(which));
  const arrows = svg("g", { fill: "var(--blue)", stroke: "var(--blue)" });
  arrows.style.pointerEvents = "none";
  space.append(arrows);
  const corners = ["target", "pred"].flatMap((which) =>
    [0, 1, 2, 3].map((index) => corner(which, index)),
  );
  const names = { target: svg("text"), pred: svg("text") };
  for (const [which, text] of Object.entries(names)) {
    text.append(which === "pred" ? "predicted" : "true");
    text.setAttribute("aria-hidden", true);
    text.style.pointerEvents = "none";
    chart.layer.append(text);
  }

  /** Make the inside of a box: it moves the whole. */
  function body(which) {
    const ring = svg("rect", { class: "ring", "vector-effect": "non-scaling-stroke" });
    const line = { "vector-effect": "non-scaling-stroke", "fill-opacity": 0, fill: "#888" };
    const outline = svg("rect", { ...line, ...looks[which] });
    const element = svg("g", {}, ring, outline);
    space.append(element);

    const handle = movable(element, {
      label: words[which],
      space,
      place: () => ({ x: state[which][0], y: state[which][1] }),
      move: ({ x, y }) => {
        const [x1, y1, x2, y2] = state[which];
        const left = clamp(Math.round(x), 0, size - (x2 - x1));
        const top = clamp(Math.round(y), 0, size - (y2 - y1));
        moveBox(which, [left, top, left + (x2 - x1), top + (y2 - y1)]);
      },
      describe: () => {
        const [x1, y1, x2, y2] = state[which].map((number) => written(number, 0));
        return `from x ${x1}, y ${y1} to x ${x2}, y ${y2}`;
      },
    });

    const show = () => {
      const margin = 5 / scale;
      const [x1, y1, x2, y2] = state[which];
      change(outline, rectangle(state[which]));
      change(ring, rectangle([x1 - margin, y1 - margin, x2 + margin, y2 + margin]));
      handle.tell();
    };
    return { show };
  }

  /** Make a corner of a box: 0 is top left, 1 top right, 2 bottom left, 3 bottom right. */
  function corner(which, index) {
    const [side, other] = [index % 2 ? 2 : 0, index < 2 ? 1 : 3]; // its x and its y in the box
    const name = `${index < 2 ? "top" : "bottom"} ${index % 2 ? "right" : "left"}`;
    const element = svg(
      "g",
      {},
      svg("circle", { r: 13 / scale, "fill-opacity": 0 }), // as large as a finger wants it
      svg("circle", { class: "ring", r: 9 / scale, "vector-effect": "non-scaling-stroke" }),
      svg("circle", { r: 4.5 / scale, fill: looks[which].stroke }),
    );
    space.append(element);

    const handle = movable(element, {
      label: `${words[which]}, ${name} corner`,
      space,
      place: () => ({ x: state[which][side], y: state[which][other] }),
      move: ({ x, y }) => {
        // A corner stops at the opposite one: the box may become flat, never inside out.
        const box = [...state[which]];
        const [fixedX, fixedY] = [box[2 - side], box[4 - other]];
        box[side] = side ? clamp(Math.round(x), fixedX, size) : clamp(Math.round(x), 0, fixedX);
        box[other] =
          other === 3 ? clamp(Math.round(y), fixedY, size) : clamp(Math.round(y), 0, fixedY);
        moveBox(which, box);
      },
      describe: () =>
        `x ${written(state[which][side], 0)}, y ${written(state[which][other], 0)}`,
    });

    const show = () => {
      change(element, { transform: `translate(${state[which][side]} ${state[which][other]})` });
      handle.tell();
    };
    return { show };
  }

  /** Draw an arrow from the middle of each side to where a step downhill would move it. */
  function showArrows(slope) {
    const [x1, y1, x2, y2] = state.pred;
    const middle = [(x1 + x2) / 2, (y1 + y2) / 2];
    const starts = [
      [x1, middle[1]],
      [middle[0], y1],
      [x2, middle[1]],
      [middle[0], y2],
    ];

    arrows.replaceChildren();
    starts.forEach(([x, y], i) => {
      const length = clamp(-slope[i] * 800, -30, 30); // pixels for a slope: a readable scale
      if (Math.abs(length) < 0.05) return;
      const [dx, dy] = i % 2 ? [0, length] : [length, 0];
      arrows.append(arrow(x, y, x + dx, y + dy, scale));
    });
  }

  /** Show the boxes of the state; `slope` is that of the chosen loss. */
  function show(slope) {
    const { pred, target, loss } = state;
    for (const part of [...bodies, ...corners]) part.show();

    const overlap = pred.map((at, i) => (i < 2 ? Math.max : Math.min)(at, target[i]));
    const both = pred.map((at, i) => (i < 2 ? Math.min : Math.max)(at, target[i]));
    const isShared = overlap[0] < overlap[2] && overlap[1] < overlap[3];
    change(shared, { ...rectangle(isShared ? overlap : [0, 0, 0, 0]) });

    // What the chosen loss looks at, and no more.
    const centre = ([x1, y1, x2, y2]) => [(x1 + x2) / 2, (y1 + y2) / 2];
    const looksAtCentres = loss === "diou" || loss === "ciou";
    change(around, rectangle(both));
    change(diagonal, lineBetween(both.slice(0, 2), both.slice(2)));
    change(centres, lineBetween(centre(pred), centre(target)));
    around.style.display = loss === "iou" ? "none" : "";
    diagonal.style.display = centres.style.display = looksAtCentres ? "" : "none";

    // The names stand outside of the corners that the boxes turn away from each other; at the border
    // there is no outside, so a name moves in, beside the corner's dot.
    const isLeft = centre(pred)[0] <= centre(target)[0];
    const isHigher = centre(pred)[1] <= centre(target)[1];
    for (const [which, text] of Object.entries(names)) {
      const [x1, y1, x2, y2] = state[which];
      const isFirst = (which === "pred") === isLeft;
      const x = chart.across(clamp(isFirst ? x1 : x2, 0, size));
      const isAbove = (which === "pred") === isHigher;
      const edge = chart.down(clamp(isAbove ? y1 : y2, 0, size));
      const room = isAbove ? edge - chart.frame.top : chart.frame.bottom - edge;
      const isInside = room < NAME_ROOM;
      const y = edge + (isAbove === isInside ? 16 : -8);
      const aside = isInside ? (isFirst ? 8 : -8) : 0;
      change(text, { x: x + aside, y, "text-anchor": isFirst ? "start" : "end" });
    }
    showArrows(slope);
  }

  return { show };
}

function lineBetween([x1, y1], [x2, y2]) {
  return { x1, y1, x2, y2 };
}

/** Draw an arrow; its head is as large whatever its length. */
function arrow(x1, y1, x2, y2, scale) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const head = 7 / scale;
  const wing = (turn) => [
    x2 - head * Math.cos(angle + turn),
    y2 - head * Math.sin(angle + turn),
  ];
  const line = { "stroke-width": 2.2, "vector-effect": "non-scaling-stroke" };
  return svg(
    "g",
    {},
    svg("line", { ...lineBetween([x1, y1], [x2, y2]), ...line }),
    svg("path", { d: `${pathThrough([[x2, y2], wing(0.5), wing(-0.5)])}Z`, stroke: "none" }),
  );
}

// ---- the numbers -------------------------------------------------------------------------------

/** Make the table of the four numbers: how each is worked out, its value, its loss. */
function valuesTable() {
  const makeCells = () => ({
    how: html("td", { class: "how" }),
    value: html("td"),
    loss: html("td"),
  });
  const cells = Object.fromEntries(LOSSES.map((name) => [name, makeCells()]));
  const rows = LOSSES.map((name) => {
    const { how, value, loss } = cells[name];
    return html("tr", {}, html("th", { scope: "row" }, NAMES[name]), how, value, loss);
  });
  const head = [
    html("td"),
    html("th", { scope: "col", class: "how" }, "worked out"),
    html("th", { scope: "col" }, "value"),
    html("th", { scope: "col" }, "loss"),
  ];
  const element = html(
    "table",
    {},
    html("thead", {}, html("tr", {}, ...head)),
    html("tbody", {}, ...rows),
  );

  const show = ({ parts, values, losses }, chosen) => {
    const whole = (value) => written(value, 0);
    const { intersection, union, enclosing, distanceSquared, diagonalSquared } = parts;
    const iou = written(values.iou);
    const uncovered = enclosing - union;
    const ways = {
      iou: ["I / U", `${whole(intersection)} / ${whole(union)}`],
      giou: ["IoU − (|C| − U) / |C|", `${iou} − ${whole(uncovered)} / ${whole(enclosing)}`],
      diou: ["IoU − ρ² / c²", `${iou} − ${whole(distanceSquared)} / ${whole(diagonalSquared)}`],
      ciou: [
        "DIoU − α v",
        `${written(values.diou)} − ${written(values.alpha, 3)} · ${written(parts.v, 3)}`,
      ],
    };
    LOSSES.forEach((name, i) => {
      const [formula, numbers] = ways[name];
      cells[name].how.replaceChildren(formula, html("br"), `= ${numbers}`);
      cells[name].value.textContent = written(values[name], 3);
      cells[name].loss.textContent = written(losses[name], 3);
      rows[i].classList.toggle("chosen", name === chosen);
    });
  };
  return { element, show };
}

/** Make the chart of IoU against steps, one line for each loss that has been tried. */
function descentChart() {
  const chart = plot({
    width: 340,
    height: 180,
    x: { from: 0, to: STEPS, ticks: [0, 50, 100, 150, 200], label: "steps downhill", digits: 0 },
    y: { from: 0, to: 1, ticks: [0, 0.5, 1], label: "IoU" },
    label: "IoU after each step of a descent, for each loss that was tried from this start",
  });

  const show = (paths) => {
    chart.layer.replaceChildren();
    const tried = LOSSES.filter((name) => name in paths);
    if (tried.length === 0) {
      const place = { x: chart.across(STEPS / 2), y: chart.down(0.5) - 6, "text-anchor": "middle" };
      chart.layer.append(svg("text", place, "no descent from here yet"));
    }
    tried.forEach((name, i) => {
      const points = paths[name].map((iou, step) => [chart.across(step), chart.down(iou)]);
      const look = { class: "line", "stroke-dasharray": DASHES[name] };
      const y = chart.frame.bottom - 12 - 15 * i; // a place in the legend
      const x = chart.frame.right - 75;
      chart.layer.append(
        svg("path", { ...look, d: pathThrough(points) }),
        svg("line", { ...look, ...lineBetween([x, y - 4], [x + 36, y - 4]) }),
        svg("text", { x: x + 42, y }, NAMES[name]),
      );
    });
  };
  return { element: chart.element, show };
}
