// A training, step by step: what a detector says about two scenes while it learns.
// A detection is [x1, y1, x2, y2, score, label]. Who is found is decided as in match_detections.

const SIDE = 128; // pixels of a scene
const SAME_OBJECT = 0.5; // IoU from which on a detection finds an object
const SMOOTHED = 15; // steps over which the bold line of the loss is averaged

// ---- found, false, missed ----------------------------------------------------------------------

/**
 * Say which object each detection finds, −1 for none. The best detection chooses first: of the
 * free objects of its class the one that it overlaps most, if it overlaps it enough.
 */
function matchDetections(detections, { boxes, labels }) {
  const isFree = boxes.map(() => true);
  return detections.map((detection) => {
    let best = -1;
    let mostOverlap = SAME_OBJECT;
    boxes.forEach((box, object) => {
      if (!isFree[object] || labels[object] !== detection[5]) return;
      const overlap = boxIou(detection, box);
      if (overlap > mostOverlap || (overlap === mostOverlap && best < 0)) {
        best = object;
        mostOverlap = overlap;
      }
    });
    if (best >= 0) isFree[best] = false;
    return best;
  });
}

/** Return the mean of the last steps up to one, which is how a noisy loss is read. */
function smoothedLoss(loss, step) {
  const last = loss.slice(Math.max(step - SMOOTHED, 0), step);
  return sum(last) / last.length;
}

// ---- the figure --------------------------------------------------------------------------------

explorable("training_steps", (figure, data) => {
  const state = { ...data.state };
  const { moments, loss } = data;
  const last = moments.length - 1;

  // The scenes are those of the still picture: so they are in the page only once.
  const images = figure.root.querySelectorAll(".stage image");
  const pictures = data.scenes.map((scene, i) =>
    scenePicture({ ...scene, image: images[i].getAttribute("href") }, data.names, i + 1),
  );
  const words = html("p");
  const losses = lossChart(loss);
  const precisions = precisionChart(moments, loss.length);

  const scrubber = slider({
    label: "moment",
    min: 0,
    max: last,
    step: 1,
    describe: (moment) => `step ${moments[moment].step}`,
    onInput: (moment) => move(moment),
  });
  scrubber.element.style.gridTemplateColumns = "auto minmax(90px, 1fr) 5em";
  const threshold = slider({
    label: "score from",
    min: data.lowest,
    max: 0.9,
    step: 0.05,
    onInput: (value) => set({ threshold: value }),
  });

  const running = player(
    () => {
      set({ moment: Math.min(state.moment + 1, last) });
      return state.moment < last;
    },
    { pause: 700, onChange: showRunning },
  );
  const runButton = button("train", () => {
    if (!running.isRunning() && state.moment === last) set({ moment: 0 });
    running.toggle();
  });
  const backButton = button("one back", () => move(Math.max(state.moment - 1, 0)));
  const onButton = button("one on", () => move(Math.min(state.moment + 1, last)));

  const sideBySide = "display: grid; grid-template-columns: 1fr 1fr; gap: 8px";
  figure.stage.append(
    html("div", { class: "row" }, runButton, backButton, onButton, scrubber.element),
    html("div", { style: sideBySide }, ...pictures.map(({ element }) => element)),
    legend(),
    words,
    html("div", { class: "row" }, threshold.element),
    html("div", { class: "panels" }, losses.element, precisions.element),
  );

  function showRunning(isRunning) {
    runButton.textContent = isRunning ? "pause" : "train";
  }

  /** A reader's hand goes to a moment: what runs by itself stops. */
  function move(moment) {
    running.stop();
    set({ moment });
  }

  /** Return everything that the figure shows of one moment. */
  function work() {
    const { step, ap50, scenes } = moments[state.moment];
    const shown = scenes.map((rows) => rows.filter((row) => row[4] >= state.threshold));
    const matched = shown.map((rows, i) => matchDetections(rows, data.scenes[i]));

    const all = matched.flat();
    const found = all.filter((object) => object >= 0).length;
    const objects = sum(data.scenes.map(({ boxes }) => boxes.length));
    return {
      step,
      ap50,
      loss: step === 0 ? null : smoothedLoss(loss, step),
      shown,
      matched,
      found,
      false: all.length - found,
      missed: objects - found,
    };
  }

  function set(changes) {
    Object.assign(state, changes);
    const now = work();

    scrubber.show(state.moment);
    threshold.show(state.threshold);
    backButton.disabled = state.moment === 0;
    onButton.disabled = state.moment === last;
    pictures.forEach(({ show }, i) => show(now.shown[i], now.matched[i]));
    losses.show(now);
    precisions.show(now);

    const counted = `${now.found} found, ${now.false} false, ${now.missed} missed. `;
    const lossWords =
      now.loss === null
        ? "not trained yet"
        : `loss ${written(now.loss)} (mean of ${SMOOTHED} steps)`;
    const measured = `${lossWords}, AP50 ${written(now.ap50)} on ${data.test_scenes} other scenes.`;
    words.textContent = `Step ${now.step} of ${loss.length}: ${counted}Here ${measured}`;
    figure.announce(words.textContent);
  }

  set({});
  return { set, get: () => ({ ...state, ...work() }) };
});

// ---- the pictures ------------------------------------------------------------------------------

/** Draw a scene; mistakes say what they are, a pointer that rests on a box reads the rest. */
function scenePicture({ image, boxes, labels }, names, number) {
  const layer = svg("g");
  const element = svg(
    "svg",
    { viewBox: `0 0 ${SIDE} ${SIDE}`, width: 400, role: "img" },
    svg("image", { href: image, width: SIDE, height: SIDE }),
    layer,
  );

  const show = (detections, matched) => {
    const missed = boxes.map((_, i) => i).filter((i) => !matched.includes(i));
    const drawnMissed = missed.map((i) => {
      const name = names[labels[i]];
      return boxWithTag(boxes[i], "missed", name, `missed: ${name}`);
    });

    // The best detection is drawn last, on top.
    const drawn = detections.map((detection, i) => {
      const name = names[detection[5]];
      const kind = matched[i] >= 0 ? "found" : "false";
      const score = written(detection[4]);
      const tag = kind === "false" ? name : "";
      return boxWithTag(detection, kind, tag, `${kind}: ${name}, ${score}`);
    });
    const groups = [...drawnMissed, ...drawn.reverse()];
    layer.replaceChildren(...groups.map(({ box }) => box), ...groups.flatMap(({ tags }) => tags));

    const found = matched.filter((object) => object >= 0).length;
    const counts = `${found} found, ${matched.length - found} false, ${missed.length} missed`;
    element.setAttribute("aria-label", `scene ${number}: ${counts}`);
  };
  return { element, show };
}

/** Draw a box on a dark casing, and a tag above or below it, which goes on top of all boxes. */
function boxWithTag(box, kind, tag, title) {
  const rect = rectangle(box);
  const drawn = svg(
    "g",
    {},
    svg("title", {}, title),
    svg("rect", { ...rect, fill: "transparent", stroke: "#111", "stroke-width": 2.2 }),
    svg("rect", { ...rect, fill: "none", "stroke-width": 1.2, ...BOX_LINES[kind] }),
  );
  if (!tag) return { box: drawn, tags: [] };

  const [x1, y1, , y2] = box;
  const width = 3.3 * tag.length + 3;
  const x = clamp(x1 - 1, 0, SIDE - width);
  const y = y1 >= 8.2 ? y1 - 8.2 : Math.min(y2 + 0.8, SIDE - 8);
  const style = `font-size: 6.6px; fill: ${BOX_LINES[kind].stroke}`;
  const ground = svg("rect", { x, y, width, height: 7.6, fill: "#111" });
  return { box: drawn, tags: [ground, svg("text", { x: x + 1.5, y: y + 5.8, style }, tag)] };
}

function legend() {
  const sample = (kind, word) => {
    const ground = svg("rect", { width: 28, height: 8, fill: "#111" });
    const line = svg("path", { d: "M2 4h24", "stroke-width": 2.4, ...BOX_LINES[kind] });
    const frame = { viewBox: "0 0 28 8", width: 28, "aria-hidden": "true" };
    const drawn = svg("svg", frame, ground, line);
    const style = "display: inline-flex; align-items: center; gap: 0.35em";
    return html("span", { style }, drawn, word);
  };
  const samples = [sample("found", "found"), sample("false", "false"), sample("missed", "missed")];
  return html("div", { class: "row note" }, ...samples);
}

// ---- the charts --------------------------------------------------------------------------------

/** The loss of every step, thin, and its running mean, bold; a dot stands at the moment. */
function lossChart(loss) {
  const highest = Math.ceil(Math.max(...loss));
  const ticks = Array.from({ length: highest + 1 }, (_, i) => i);
  const chart = plot({
    height: 200,
    x: { from: 0, to: loss.length, ticks: [0, 160, 320, 480, 640], label: "step", digits: 0 },
    y: { from: 0, to: highest, ticks, label: "loss", digits: 0 },
    label: "The loss of every step: it falls fast at first, then slowly",
  });

  const steps = loss.map((_, i) => i + 1);
  const place = (step, value) => [chart.across(step), chart.down(value)];
  const noisy = pathThrough(steps.map((step) => place(step, loss[step - 1])));
  const smooth = pathThrough(steps.map((step) => place(step, smoothedLoss(loss, step))));
  const here = marker(chart);
  chart.layer.append(
    svg("path", { class: "line", d: noisy, style: "stroke-width: 1px; opacity: 0.4" }),
    svg("path", { class: "line", d: smooth }),
    here.element,
  );
  return { element: chart.element, show: (now) => here.show(now.step, now.loss) };
}

/** AP50 at each of the moments. */
function precisionChart(moments, steps) {
  const chart = plot({
    height: 200,
    x: { from: 0, to: steps, ticks: [0, 160, 320, 480, 640], label: "step", digits: 0 },
    y: { from: 0, to: 1, ticks: [0, 0.2, 0.4, 0.6, 0.8, 1], label: "AP50, other scenes" },
    label: "AP50 at the moments: nothing in the first steps, then it rises",
  });

  const points = moments.map(({ step, ap50 }) => [chart.across(step), chart.down(ap50)]);
  const dots = points.map(([cx, cy]) => svg("circle", { cx, cy, r: 2.2, fill: "var(--blue)" }));
  const here = marker(chart);
  chart.layer.append(svg("path", { class: "line", d: pathThrough(points) }), ...dots, here.element);
  return { element: chart.element, show: (now) => here.show(now.step, now.ap50) };
}

/** Mark a step in a chart by a line down through it, and the value there by a dot. */
function marker(chart) {
  const line = svg("line", {
    class: "axis",
    y1: chart.frame.top,
    y2: chart.frame.bottom,
    "stroke-dasharray": "2 2",
  });
  const dot = svg("circle", { r: 5.5, fill: "var(--orange)", stroke: "currentColor" });

  const show = (step, value) => {
    const x = chart.across(step);
    change(line, { x1: x, x2: x });
    change(dot, value === null ? { r: 0 } : { r: 5.5, cx: x, cy: chart.down(value) });
  };
  return { element: svg("g", {}, line, dot), show };
}
