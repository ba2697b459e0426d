// From scores to AP: what thresholds and NMS do to detections, to their curve and to its area.
// A box is [x1, y1, x2, y2]. The arithmetic is that of detlearn.nms and detlearn.metrics.

const MATCH = 0.5; // IoU from which a detection is right
const LEVELS = Array.from({ length: 101 }, (_, i) => i * 0.01); // of recall, as in COCO
const SOFT_LOWEST = 0.001; // Soft-NMS leaves out what falls below

// How boxes are drawn: the same in light and dark, as they lie on pictures.
const LOOKS = {
  found: { ...BOX_LINES.found, mark: "✓" },
  wrong: { ...BOX_LINES.false, mark: "✗" },
  missed: { ...BOX_LINES.missed, mark: "?" },
  current: { stroke: "#ffffff", mark: "✓" },
  taken: BOX_LINES.found,
  touched: { ...BOX_LINES.false, "stroke-dasharray": "2.5 1.5" },
  waiting: { stroke: "#d0d8ff" },
};

// ---- NMS ---------------------------------------------------------------------------------------

/** Return the index of the largest value, the first of equal ones. */
function indexOfLargest(values) {
  return values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
}

/**
 * Go through the candidates of one scene: each round takes the best that is left and lets it drop
 * (NMS) or lower (Soft-NMS) those of its class that overlap it. Without either nothing happens to
 * them.
 *
 * Returns one `{ index, score, iou, dropped, lowered }` a round: the candidate that it takes, the
 * score that this has by then, its IoU with each candidate, and which others it drops or lowers.
 */
function roundsOf(scene, method, iouThreshold, sigma) {
  const scores = [...scene.scores];
  let left = scores.map((_, i) => i);
  const rounds = [];

  while (left.length > 0) {
    const index = left[indexOfLargest(left.map((i) => scores[i]))];
    if (method === "soft" && scores[index] < SOFT_LOWEST) break;
    left = left.filter((i) => i !== index);

    const iou = scene.boxes.map((box) => boxIou(scene.boxes[index], box));
    const rivals = left.filter((i) => scene.labels[i] === scene.labels[index]);
    const round = { index, score: scores[index], iou, dropped: [], lowered: [] };
    rounds.push(round);

    if (method === "nms") {
      round.dropped = rivals.filter((i) => iou[i] > iouThreshold);
      left = left.filter((i) => !round.dropped.includes(i));
    }
    if (method === "soft") {
      round.lowered = rivals.filter((i) => iou[i] > 0);
      for (const i of round.lowered) scores[i] *= Math.exp(-(iou[i] ** 2) / sigma);
    }
  }
  return rounds;
}

// ---- right or wrong ----------------------------------------------------------------------------

/**
 * Judge the detections of one scene, the best first: each takes, of the objects of its class that
 * are still free, the one that it overlaps most, if their IoU reaches `MATCH`.
 *
 * Returns for each detection the index of its object, −1 if it is wrong.
 */
function matched(scene, detections) {
  const free = scene.gtBoxes.map(() => true);
  return detections.map(({ index }) => {
    const overlaps = scene.gtBoxes.map((box, i) =>
      free[i] && scene.gtLabels[i] === scene.labels[index] ? boxIou(scene.boxes[index], box) : -1,
    );
    const best = indexOfLargest(overlaps);
    if (!(overlaps[best] >= MATCH)) return -1;
    free[best] = false;
    return best;
  });
}

/** Return precision and recall after the first detection, the second, …: `right` is best first. */
function precisionRecall(right, numObjects) {
  let found = 0;
  return right.map((isRight, i) => {
    found += isRight ? 1 : 0;
    return { precision: found / (i + 1), recall: found / numObjects };
  });
}

/** Return, for each of 101 levels of recall, the best precision at this recall or more; else 0. */
function heightsAtLevels(curve) {
  const best = curve.map(({ precision }) => precision);
  for (let i = best.length - 2; i >= 0; i--) best[i] = Math.max(best[i], best[i + 1]);

  return LEVELS.map((level) => {
    const first = curve.findIndex(({ recall }) => recall >= level);
    return first < 0 ? 0 : best[first];
  });
}

/** Sort detections by falling score; equal scores keep their order. */
function byScore(detections) {
  return [...detections].sort((a, b) => b.score - a.score);
}

/** Return the average precision: the mean height over the levels. */
function averagePrecision(detections, numObjects) {
  const right = byScore(detections).map((detection) => detection.object >= 0);
  return sum(heightsAtLevels(precisionRecall(right, numObjects))) / LEVELS.length;
}

// ---- the figure --------------------------------------------------------------------------------

explorable("scores_to_ap", (figure, data) => {
  const { classNames } = data;
  const scenes = withPictures(data.scenes, figure.still);
  const state = {
    threshold: data.threshold, // detections with a lower score are left out
    method: "nms", // or "soft" or "none"
    iou: data.iou, // of NMS
    sigma: 0.5, // of Soft-NMS
    label: -1, // the class that is looked at, −1 for all
    view: "scenes", // or "steps": NMS box by box
    scene: 0, // that is gone through
    round: 0, // how many rounds of it have been made
  };
  let worked = null; // what follows from the state

  // ---- the arithmetic of a state

  /** Work out what follows from the state. */
  function workOut() {
    const rounds = scenes.map((scene) => roundsOf(scene, state.method, state.iou, state.sigma));
    const isLookedAt = (label) => state.label === -1 || label === state.label;

    // All detections, whatever their score: the threshold cuts the list somewhere.
    const all = scenes.flatMap((scene, s) => {
      const kept = rounds[s]
        .map(({ index, score }) => ({ scene: s, index, score, label: scene.labels[index] }))
        .filter(({ label }) => isLookedAt(label));
      const objects = matched(scene, kept);
      return kept.map((detection, i) => ({ ...detection, object: objects[i] }));
    });
    const labels = scenes.flatMap((scene) => scene.gtLabels.filter(isLookedAt));
    const list = byScore(all);
    const shown = list.filter(({ score }) => score >= state.threshold);

    // The curve of the whole list, and how far it is walked.
    const curve = precisionRecall(list.map(({ object }) => object >= 0), labels.length);
    const walked = curve.slice(0, shown.length);
    const heights = heightsAtLevels(walked);
    const { precision = null, recall = 0 } = walked.at(-1) ?? {};

    const present = [...new Set(labels)];
    const found = shown.filter(({ object }) => object >= 0).length;
    return {
      rounds,
      shown,
      curve,
      heights,
      precision,
      recall,
      found,
      wrong: shown.length - found,
      missed: labels.length - found,
      ap: sum(heights) / LEVELS.length,
      wholeAp: averagePrecision(all, labels.length),
      meanAp: sum(present.map((label) => apOfClass(label, shown, labels))) / present.length,
    };
  }

  function apOfClass(label, detections, labels) {
    const ofClass = detections.filter((detection) => detection.label === label);
    return averagePrecision(ofClass, labels.filter((other) => other === label).length);
  }

  // ---- controls

  const thresholdSlider = slider({
    label: "score threshold",
    min: 0,
    max: 1,
    step: 0.01,
    onInput: (threshold) => set({ threshold }),
  });
  const iouSlider = slider({
    label: "NMS, IoU above",
    min: 0,
    max: 1,
    step: 0.01,
    onInput: (iou) => set({ iou }),
  });
  const sigmaSlider = slider({
    label: "Soft-NMS, width σ",
    min: 0.05,
    max: 2,
    step: 0.05,
    onInput: (sigma) => set({ sigma }),
  });
  const methodChoice = choice({
    label: "duplicates",
    options: [
      ["none", "left in"],
      ["nms", "NMS"],
      ["soft", "Soft-NMS"],
    ],
    onChange: (method) => set({ method }),
  });
  const viewChoice = choice({
    label: "show",
    options: [
      ["scenes", "detections"],
      ["steps", "NMS, box by box"],
    ],
    onChange: (view) => set({ view }),
  });

  const present = [...new Set(scenes.flatMap((scene) => scene.gtLabels))].sort((a, b) => a - b);
  const classId = uniqueId("class");
  const classSelect = html(
    "select",
    { id: classId, onchange: () => set({ label: Number(classSelect.value) }) },
    html("option", { value: -1 }, "all classes, one list"),
    ...present.map((label) => html("option", { value: label }, `${classNames[label]} alone`)),
  );

  // ---- the parts, and where they stand

  const grid = sceneGrid(scenes, classNames);
  const steps = stepView(scenes, classNames, set);
  const curve = curveChart();
  const counts = html("p");
  const numbers = html("p");

  const classLabel = html("label", { for: classId }, "curve of");
  const left = html(
    "div",
    {},
    html("div", { class: "row" }, viewChoice.element),
    grid.element,
    steps.element,
  );
  const right = html(
    "div",
    {},
    html("div", { class: "row" }, classLabel, classSelect),
    curve.element,
    numbers,
  );
  figure.stage.append(
    html("div", { class: "row" }, methodChoice.element),
    html(
      "div",
      { class: "row" },
      thresholdSlider.element,
      iouSlider.element,
      sigmaSlider.element,
    ),
    counts,
    html("div", { class: "panels" }, left, right),
  );

  /** Bring the figure into a state. */
  function set(changes) {
    Object.assign(state, changes);

    // Another scene, or other rounds, are begun from the start.
    const isAnew = ["method", "iou", "sigma", "scene"].some((key) => key in changes);
    if (isAnew && !("round" in changes)) state.round = 0;

    worked = workOut();
    state.round = clamp(state.round, 0, worked.rounds[state.scene].length);
    show();
  }

  function show() {
    thresholdSlider.show(state.threshold);
    iouSlider.show(state.iou);
    sigmaSlider.show(state.sigma);
    methodChoice.show(state.method);
    viewChoice.show(state.view);
    classSelect.value = state.label;

    iouSlider.element.hidden = state.method !== "nms";
    sigmaSlider.element.hidden = state.method !== "soft";
    grid.element.hidden = state.view !== "scenes";
    steps.element.hidden = state.view !== "steps";

    grid.show(worked.shown, state.label);
    steps.show(state, worked.rounds[state.scene]);
    curve.show(worked);

    const { found, wrong, missed, precision, recall, ap, wholeAp, meanAp } = worked;
    counts.textContent =
      `✓ ${found} right (solid), ✗ ${wrong} wrong (dashed), ? ${missed} missed (dotted)`;
    const height = precision === null ? "undefined" : written(precision);
    numbers.textContent =
      `Precision ${height}, recall ${written(recall)}. The area so far, AP at IoU 0.5, is ` +
      `${written(ap, 3)}; of the whole list ${written(wholeAp, 3)}.` +
      (state.label === -1 ? ` Mean of the classes' own APs: ${written(meanAp, 3)}.` : "");
    figure.announce(
      state.view === "steps" ? steps.words() : `${counts.textContent}. ${numbers.textContent}`,
    );
  }

  set({});
  return {
    set,
    get: () => ({ ...state, ...worked, rounds: worked.rounds.map(withoutOverlaps) }),
  };
});

/** Give each scene its picture: they stand in the still picture, so that the page has each once. */
function withPictures(scenes, still) {
  const images = still.querySelectorAll("image");
  return scenes.map((scene, i) => ({ ...scene, picture: images[i].getAttribute("href") }));
}

/** Return rounds as a test reads them. */
function withoutOverlaps(rounds) {
  return rounds.map(({ index, score, dropped, lowered }) => ({ index, score, dropped, lowered }));
}

// ---- drawing on scenes -------------------------------------------------------------------------

/** Make the drawing of a scene: the picture, and a layer for boxes. */
function sceneDrawing({ width, height, picture }) {
  const layer = svg("g");
  const image = svg("image", { href: picture, width, height });
  const attributes = { viewBox: `0 0 ${width} ${height}`, width: "100%", role: "img" };
  return { element: svg("svg", attributes, image, layer), layer, width };
}

/** Draw a box on a dark line that is a little wider, so that it stands out on any ground. */
function boxOn(box, { mark, ...look }, { title = "", line = 1.5, markSize = 10 } = {}) {
  const shape = { fill: "none", "stroke-linejoin": "round", ...rectangle(box) };
  const parts = [
    svg("rect", { ...shape, stroke: "#111", "stroke-width": 1.9 * line }),
    svg("rect", { ...shape, ...look, "stroke-width": line }),
  ];

  // The mark stands outside above the box, inside where the picture ends.
  if (mark) {
    const [x1, y1] = box;
    const place = { x: clamp(x1 - 1, 1, 119), y: y1 > 11 ? y1 - 2.5 : y1 + markSize };
    const text = svg("text", place, mark);
    text.style.cssText = `font: bold ${markSize}px "DejaVu Sans", sans-serif; fill: ${look.stroke};
      stroke: #111; stroke-width: 2.6px; paint-order: stroke; stroke-linejoin: round`;
    parts.push(text);
  }
  return svg("g", {}, svg("title", {}, title), ...parts);
}

/** Make the scenes with what was found, made up and missed in each. */
function sceneGrid(scenes, classNames) {
  const drawings = scenes.map(sceneDrawing);
  const element = html("div", { class: "pair" }, ...drawings.map((drawing) => drawing.element));

  const show = (detections, label) => {
    scenes.forEach((scene, s) => {
      const here = detections.filter((detection) => detection.scene === s);
      const taken = new Set(here.map(({ object }) => object));
      const name = (i) => classNames[i];

      const missed = scene.gtBoxes
        .map((box, i) => ({ box, i }))
        .filter(({ i }) => !taken.has(i) && (label === -1 || scene.gtLabels[i] === label));
      const wrong = here.filter(({ object }) => object < 0);
      const found = here.filter(({ object }) => object >= 0);

      // What is right is drawn last, so that it lies on top.
      const { layer, element: drawing } = drawings[s];
      layer.replaceChildren(
        ...missed.map(({ box, i }) =>
          boxOn(box, LOOKS.missed, { title: `missed ${name(scene.gtLabels[i])}` }),
        ),
        ...[...wrong, ...found].map(({ index, score, object, label: own }) =>
          boxOn(scene.boxes[index], object < 0 ? LOOKS.wrong : LOOKS.found, {
            title: `${object < 0 ? "wrong" : "right"}: ${name(own)} ${written(score)}`,
          }),
        ),
      );
      const words = `${found.length} right, ${wrong.length} wrong, ${missed.length} missed`;
      drawing.setAttribute("aria-label", `Scene ${s + 1}: ${words}`);
    });
  };
  return { element, show };
}

// ---- NMS, box by box ---------------------------------------------------------------------------

/** Make the view of one scene in which each step is one round of NMS. */
function stepView(scenes, classNames, set) {
  let state = null;
  let rounds = [];

  const sceneChoice = choice({
    label: "scene",
    options: scenes.map((_, s) => [s, String(s + 1)]),
    onChange: (scene) => set({ scene }),
  });
  const roundSlider = slider({
    label: "boxes taken",
    min: 0,
    max: 1,
    step: 1,
    digits: 0,
    onInput: (round) => set({ round }),
  });
  const backButton = button("back", () => set({ round: state.round - 1 }));
  const nextButton = button("next box", () => set({ round: state.round + 1 }));
  const allButton = button("all", () => set({ round: rounds.length }));

  const holder = html("div");
  const sentence = html("p");
  const legend = html(
    "p",
    { class: "note" },
    "White with a tick: the box just taken. Dashed: what it drops or lowers. Green: taken before. ",
    "Thin: still waiting.",
  );
  const element = html(
    "div",
    {},
    html("div", { class: "row" }, sceneChoice.element),
    holder,
    html("div", { class: "row" }, nextButton, backButton, allButton, roundSlider.element),
    sentence,
    legend,
  );

  /** Say in words what the last round did. */
  function words() {
    const scene = scenes[state.scene];
    if (state.round === 0) {
      return `${scene.boxes.length} candidates wait. The one with the highest score comes first.`;
    }

    const { index, score, iou, dropped, lowered } = rounds[state.round - 1];
    const name = `${classNames[scene.labels[index]]} ${written(score)}`;
    const start = `Box ${state.round} of ${rounds.length}: ${name} is the best left, so it stays.`;

    const touched = [...dropped, ...lowered];
    if (touched.length === 0) return `${start} Nothing happens to the others.`;

    const some = touched.slice(0, 5).map((i) => written(iou[i]));
    const overlaps = some.join(", ") + (touched.length > 5 ? ", …" : "");
    const boxes = `${touched.length} ${touched.length === 1 ? "box" : "boxes"} of its class`;
    return dropped.length
      ? `${start} It drops ${boxes} with an IoU above ${written(state.iou)}: ${overlaps}.`
      : `${start} It lowers the scores of ${boxes} by their IoU: ${overlaps}.`;
  }

  function show(newState, newRounds) {
    state = newState;
    rounds = newRounds;
    const scene = scenes[state.scene];
    const past = rounds.slice(0, state.round);
    const last = past.at(-1);

    sceneChoice.show(state.scene);
    roundSlider.input.max = rounds.length;
    roundSlider.show(state.round);
    sentence.textContent = words();

    // Who has been taken, who has gone, and in which score the others are left.
    const taken = new Set(past.map(({ index }) => index));
    const gone = new Set(past.flatMap(({ dropped }) => dropped));
    const isLeft = (i) => !taken.has(i) && !gone.has(i);
    const touched = new Set([...(last?.dropped ?? []), ...(last?.lowered ?? [])]);

    const drawing = sceneDrawing(scene);
    const titleOf = (i) => `${classNames[scene.labels[i]]} ${written(scene.scores[i])}`;
    const draw = (i, look, line) =>
      boxOn(scene.boxes[i], look, { title: titleOf(i), line, markSize: 7 });

    const waiting = scene.boxes.map((_, i) => i).filter((i) => isLeft(i) && !touched.has(i));
    drawing.layer.append(
      ...waiting.map((i) => draw(i, LOOKS.waiting, 0.5)),
      ...[...touched].map((i) => draw(i, LOOKS.touched, 0.8)),
      ...[...taken].map((i) => draw(i, LOOKS.taken, 0.8)),
    );
    if (last) drawing.layer.append(draw(last.index, LOOKS.current, 1));
    drawing.element.setAttribute("aria-label", `Scene ${state.scene + 1}. ${words()}`);
    holder.replaceChildren(drawing.element);
  }
  return { element, show, words };
}

// ---- the curve ---------------------------------------------------------------------------------

/** Make the chart of precision against recall, with the area below it as 101 rectangles. */
function curveChart() {
  const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1];
  const chart = plot({
    width: 340,
    height: 290,
    x: { from: 0, to: 1, ticks, label: "recall" },
    y: { from: 0, to: 1, ticks, label: "precision" },
    label: "precision against recall",
  });

  const show = ({ curve, heights, precision, recall, shown }) => {
    const place = (point) => [chart.across(point.recall), chart.down(point.precision)];
    const width = (chart.across(1) - chart.across(0)) / heights.length;

    // One rectangle a level: their area is the average precision.
    const rectangles = heights.map((height, i) =>
      svg("rect", {
        x: chart.across(0) + i * width,
        y: chart.down(height),
        width,
        height: chart.down(0) - chart.down(height),
        fill: "var(--blue)",
        "fill-opacity": i % 2 ? 0.24 : 0.16,
      }),
    );
    const walked = curve.slice(0, shown.length);
    const ahead = curve.slice(Math.max(shown.length - 1, 0));
    const point = { cx: chart.across(recall), cy: chart.down(precision ?? 1), r: 6 };

    chart.layer.replaceChildren(
      ...rectangles,
      svg("path", { class: "line", d: pathThrough(ahead.map(place)), "stroke-dasharray": "2 3" }),
      svg("path", { class: "line", d: pathThrough(walked.map(place)) }),
      svg("circle", { ...point, fill: "var(--orange)", stroke: "currentColor" }),
    );
  };
  return { element: chart.element, show };
}
