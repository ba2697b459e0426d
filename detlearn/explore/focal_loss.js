// Focal loss beside cross-entropy: curves of one answer, and whose gradient fills the sum of many.
// The arithmetic is that of detlearn.losses.sigmoid_focal_loss and focal_classification_loss. An
// answer is a score p; it is to be 1 (a positive) or 0 (a negative). Gradients are by the logit.

const CROSS_ENTROPY = { gamma: 0, alpha: null };
const KINDS = [
  ["negative", "easy negatives", "var(--blue)"],
  ["positive", "hard positives", "var(--orange)"],
];
const RULES = [
  ["crossEntropy", "cross-entropy"],
  ["focal", "focal loss"],
];
const MEASURES = [
  ["loss", "the loss"],
  ["gradient", "the gradient"],
];
const HIGHEST = { loss: 4, gradient: 1.5 }; // what the charts show
const LOWEST_POWER = -6; // of ten, where the charts are logarithmic
const INNER = Array.from({ length: 199 }, (_, i) => (i + 1) / 200);
const CURVE = [0.001, 0.002, 0.003, ...INNER, 0.997, 0.998, 0.999]; // the scores of a curve

// ---- one answer --------------------------------------------------------------------------------

/** Return how much positives and negatives count. */
function weightOf(kind, alpha) {
  if (alpha === null) return 1;
  return kind === "positive" ? alpha : 1 - alpha;
}

/** Return the focal loss of a score: −α_t (1 − p_t)^γ log p_t, where p_t is that of the truth. */
function lossOf(kind, score, { gamma, alpha }) {
  const [miss, logRight] =
    kind === "positive" ? [1 - score, Math.log(score)] : [score, Math.log1p(-score)];
  return -weightOf(kind, alpha) * miss ** gamma * logRight;
}

/** Return the derivative of the loss by the logit: below 0 where the score is to rise. */
function gradientOf(kind, score, { gamma, alpha }) {
  const [miss, right, logRight, direction] =
    kind === "positive"
      ? [1 - score, score, Math.log(score), -1]
      : [score, 1 - score, Math.log1p(-score), 1];
  const size = miss ** gamma * (miss - gamma * right * logRight);
  return direction * weightOf(kind, alpha) * size;
}

/** Return loss and size of the gradient of one answer. */
function answerOf(kind, score, rule) {
  return {
    loss: lossOf(kind, score, rule),
    gradient: Math.abs(gradientOf(kind, score, rule)),
  };
}

// ---- many answers ------------------------------------------------------------------------------

/** Work out one rule: what one answer of each kind has, all of them, and their shares. */
function sumsOf({ negatives, easy, positives, hard }, rule) {
  const counts = { negative: negatives, positive: positives };
  const one = {
    negative: answerOf("negative", easy, rule),
    positive: answerOf("positive", hard, rule),
  };

  const all = { negative: {}, positive: {} };
  const share = { negative: {}, positive: {} };
  const total = {};
  for (const [measure] of MEASURES) {
    for (const [kind] of KINDS) all[kind][measure] = counts[kind] * one[kind][measure];
    total[measure] = all.negative[measure] + all.positive[measure];
    for (const [kind] of KINDS) share[kind][measure] = all[kind][measure] / total[measure];
  }

  // How many negatives it takes to pull as hard as one positive; and the loss as it is trained.
  const worth = one.positive.gradient / one.negative.gradient;
  return { one, all, share, total, worth, perPositive: total.loss / positives };
}

// ---- words -------------------------------------------------------------------------------------

/** Write a count with gaps between thousands. */
function counted(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** Write a count in few letters: 126k. */
function shortly(value) {
  if (value < 1000) return String(value);
  const [unit, name] = value < 999_500 ? [1000, "k"] : [1_000_000, "M"];
  const digits = value / unit < 10 ? 1 : 0;
  return `${(value / unit).toFixed(digits).replace(/\.0$/, "")}${name}`;
}

/** Write a number of any size with three digits that count. */
function threeDigits(value) {
  if (value === 0) return "0";
  const power = Math.floor(Math.log10(value));
  if (power >= 3) return counted(Number(value.toPrecision(3)));
  if (power >= -4) return value.toFixed(clamp(2 - power, 0, 6));
  const [digits, exponent] = value.toExponential(1).split("e");
  const raised = exponent.replace("-", "⁻").replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
  return `${digits} · 10${raised}`;
}

/** Write a share of everything; what is not nothing and not all never reads as that. */
function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.1) return "under 0.1 %";
  if (value < 100 && value > 99.9) return "over 99.9 %";
  return `${value.toFixed(1)} %`;
}

// ---- the figure --------------------------------------------------------------------------------

explorable("focal_loss", (figure, data) => {
  const state = { ...data.state };
  let worked = null; // what follows from the state

  const gammaSlider = slider({
    label: "γ, exponent",
    ...{ min: 0, max: 5, step: 0.1, digits: 1 },
    onInput: (gamma) => set({ gamma }),
  });
  const alphaChoice = choice({
    label: "weights α and 1 − α",
    options: [
      [false, "without"],
      [true, "with"],
    ],
    onChange: (weighted) => set({ weighted }),
  });
  const alphaSlider = slider({
    label: "α, weight of a positive",
    ...{ min: 0.05, max: 0.95, step: 0.05 },
    onInput: (alpha) => set({ alpha }),
  });
  const negativesSlider = slider({
    label: "easy negatives",
    ...{ min: 0, max: 6, step: 0.1 },
    describe: (power) => shortly(Math.round(10 ** power)),
    onInput: (power) => set({ negatives: Math.round(10 ** power) }),
  });
  const easySlider = slider({
    label: "score of a negative",
    ...{ min: -3, max: -0.3, step: 0.05 },
    describe: (power) => written(10 ** power, 3),
    onInput: (power) => set({ easy: 10 ** power }),
  });
  const positivesSlider = slider({
    label: "hard positives",
    ...{ min: 0, max: 3, step: 0.1 },
    describe: (power) => shortly(Math.round(10 ** power)),
    onInput: (power) => set({ positives: Math.round(10 ** power) }),
  });
  const hardSlider = slider({
    label: "score of a positive",
    ...{ min: 0.01, max: 0.99, step: 0.01 },
    onInput: (hard) => set({ hard }),
  });
  const measureChoice = choice({
    label: "whose is the sum of",
    options: MEASURES,
    onChange: (measure) => set({ measure }),
  });
  const axisChoice = choice({
    label: "axis",
    options: [
      ["linear", "linear"],
      ["log", "powers of ten"],
    ],
    onChange: (axis) => set({ axis }),
  });
  const presets = data.presets.map(([name, changes]) => button(name, () => set(changes)));

  const bars = shareBars();
  const table = sumTable();
  const says = html("p", { class: "says" });
  const charts = MEASURES.map(([measure]) => answerChart(measure));

  const row = (...controls) => html("div", { class: "row" }, ...controls);
  const controls = [negativesSlider, easySlider, positivesSlider, hardSlider];
  figure.stage.append(
    row(...presets),
    row(measureChoice.element),
    bars.element,
    html(
      "div",
      { class: "panels", style: "margin-top: 0.8rem" },
      html(
        "div",
        {},
        row(gammaSlider.element),
        row(alphaChoice.element),
        row(alphaSlider.element),
        ...controls.map(({ element }) => row(element)),
        ...[table.element, says],
      ),
      html(
        "div",
        {},
        ...charts.map(({ element }) => element),
        row(axisChoice.element),
        ...keyOfCurves(),
      ),
    ),
  );

  function set(changes) {
    Object.assign(state, changes);
    const rule = { gamma: state.gamma, alpha: state.weighted ? state.alpha : null };
    worked = {
      crossEntropy: sumsOf(state, CROSS_ENTROPY),
      focal: sumsOf(state, rule),
      curves: curvesOf(rule),
    };
    show();
  }

  function curvesOf(rule) {
    const along = (ofRule) =>
      Object.fromEntries(
        KINDS.map(([kind]) => [kind, CURVE.map((score) => answerOf(kind, score, ofRule))]),
      );
    return { score: CURVE, crossEntropy: along(CROSS_ENTROPY), focal: along(rule) };
  }

  function show() {
    gammaSlider.show(state.gamma);
    alphaChoice.show(state.weighted);
    alphaSlider.show(state.alpha);
    alphaSlider.input.disabled = !state.weighted;
    negativesSlider.show(Math.log10(state.negatives));
    easySlider.show(Math.log10(state.easy));
    positivesSlider.show(Math.log10(state.positives));
    hardSlider.show(state.hard);
    measureChoice.show(state.measure);
    axisChoice.show(state.axis);

    bars.show(worked, state.measure);
    table.show(worked, state);
    for (const chart of charts) chart.show(worked, state);

    const { crossEntropy, focal } = worked;
    says.textContent =
      `One positive pulls as hard as ${threeDigits(crossEntropy.worth)} easy negatives under ` +
      `cross-entropy, as ${threeDigits(focal.worth)} under the focal loss. Summed and divided ` +
      `by the number of positives, the loss is ${threeDigits(crossEntropy.perPositive)} and ` +
      `${threeDigits(focal.perPositive)}.`;
    figure.announce(`${bars.words()} ${says.textContent}`);
  }

  set({});
  return { set, get: () => ({ ...state, ...worked }) };
});

// ---- whose the sum is --------------------------------------------------------------------------

/** Make two bars, one a rule: each is the whole sum, in two parts. */
function shareBars() {
  const parts = RULES.map(([rule, name]) => {
    const texts = KINDS.map(() => html("span"));
    const bars = KINDS.map(([, , colour], k) => {
      const ground = `color-mix(in srgb, ${colour} ${k ? 90 : 35}%, transparent)`;
      const look = `background: ${ground}; border: 1.5px solid ${colour}; height: 26px`;
      return html("span", { style: look });
    });
    const line = "display: flex; justify-content: space-between; margin-top: 0.4rem";
    const element = html(
      "div",
      {},
      html("div", { style: line }, ...texts),
      html("div", { style: "display: flex" }, ...bars),
    );
    return { rule, name, texts, bars, element };
  });
  const drawn = parts.map((part) => part.element);
  const element = html("div", { role: "img" }, ...drawn);

  const show = (worked, measure) => {
    for (const { rule, name, texts, bars } of parts) {
      const shares = KINDS.map(([kind]) => worked[rule].share[kind][measure]);
      bars.forEach((bar, k) => (bar.style.width = `${100 * shares[k]}%`));
      texts[0].textContent = `${name}: negatives ${percent(shares[0])}`;
      texts[1].textContent = `positives ${percent(shares[1])}`;
    }
    element.setAttribute("aria-label", `Whose is the sum of the ${measure}? ${words()}`);
  };
  const words = () =>
    parts.map(({ texts }) => `${texts.map((text) => text.textContent).join(", ")}.`).join(" ");
  return { element, show, words };
}

/** Make the table of the numbers: what one answer has, what all of a kind have. */
function sumTable() {
  const head = html("tr");
  const body = html("tbody");
  const element = html("table", {}, html("thead", {}, head), body);

  const show = (worked, { measure, negatives, positives }) => {
    const columns = ["", "each", "number", "all"];
    head.replaceChildren(...columns.map((word) => html("th", { scope: "col" }, word)));
    const counts = { negative: negatives, positive: positives };
    body.replaceChildren(
      ...RULES.flatMap(([rule, name]) =>
        KINDS.map(([kind], k) =>
          html(
            "tr",
            {},
            html("th", { scope: "row" }, `${name}, ${k ? "positives" : "negatives"}`),
            html("td", {}, threeDigits(worked[rule].one[kind][measure])),
            html("td", {}, counted(counts[kind])),
            html("td", {}, threeDigits(worked[rule].all[kind][measure])),
          ),
        ),
      ),
    );
  };
  return { element, show };
}

// ---- curves ------------------------------------------------------------------------------------

/** Make the chart of one answer's loss or gradient, by its score, linear and in powers of ten. */
function answerChart(measure) {
  const name = measure === "loss" ? "loss of one answer" : "size of the gradient";
  const x = { from: 0, to: 1, ticks: [0, 0.2, 0.4, 0.6, 0.8, 1], label: "score p" };
  const highest = HIGHEST[measure];
  const axes = {
    linear: {
      ...{ from: 0, to: highest, label: name },
      ...(highest > 2 ? { ticks: [0, 1, 2, 3, 4], digits: 0 } : { ticks: [0, 0.5, 1, 1.5] }),
    },
    log: {
      ...{ from: LOWEST_POWER, to: 1, ticks: [-6, -5, -4, -3, -2, -1, 0, 1], digits: 0 },
      label: `${name}, power of ten`,
    },
  };
  const height = 210;
  const label = `${name}, by its score`;
  const plots = Object.entries(axes).map(([axis, y]) => ({
    axis,
    y,
    chart: plot({ height, x, y, label }),
  }));
  const element = html("div", {}, ...plots.map(({ chart }) => chart.element));

  const show = (worked, state) => {
    for (const { axis, y, chart } of plots) {
      chart.element.style.display = axis === state.axis ? "" : "none";
      const at = (value) => (axis === "log" ? Math.log10(value) : value);
      const place = (score, value) => [chart.across(score), chart.down(at(value))];

      // Cross-entropy below, thin and dashed, the focal loss on it.
      const lines = RULES.flatMap(([rule]) =>
        KINDS.map(([kind, , colour]) => {
          const points = worked.curves[rule][kind]
            .map((answer, i) => [CURVE[i], answer[measure]])
            .filter(([, value]) => at(value) >= y.from && at(value) <= y.to)
            .map(([score, value]) => place(score, value));
          const look =
            rule === "focal"
              ? `stroke: ${colour}; stroke-width: 2.4px`
              : `stroke: ${colour}; stroke-width: 1.3px; stroke-dasharray: 5 4`;
          return svg("path", { class: "line", d: pathThrough(points), style: look });
        }),
      );

      // The two scores that the sliders set.
      const scores = { negative: state.easy, positive: state.hard };
      const dots = RULES.flatMap(([rule]) =>
        KINDS.map(([kind, , colour]) => {
          const value = worked[rule].one[kind][measure];
          const [cx, wanted] = place(scores[kind], value);
          const cy = clamp(wanted, chart.frame.top, chart.frame.bottom);
          const dot = { cx, cy, stroke: colour, "stroke-width": 1.6 };
          return rule === "focal"
            ? svg("circle", { ...dot, r: 4.5, fill: colour })
            : svg("circle", { ...dot, r: 3.5, fill: "none" });
        }),
      );
      chart.layer.replaceChildren(...lines, ...dots);
    }
  };
  return { element, show };
}

/** Say what the lines are. */
function keyOfCurves() {
  const sample = (colour, words) =>
    html(
      "span",
      { style: "white-space: nowrap" },
      svg(
        "svg",
        {
          ...{ viewBox: "0 0 28 10", width: 28, height: 10, "aria-hidden": "true" },
          style: "display: inline-block; vertical-align: middle; margin-right: 0.3em",
        },
        svg("path", { d: "M0 5H28", style: `stroke: ${colour}; stroke-width: 2.4px` }),
      ),
      words,
    );
  const sides = { negative: "is to be 0 (negative)", positive: "is to be 1 (positive)" };
  return [
    html(
      "p",
      { class: "note", style: "display: flex; flex-wrap: wrap; gap: 0 1rem" },
      ...KINDS.map(([kind, , colour]) => sample(colour, sides[kind])),
    ),
    html(
      "p",
      { class: "note" },
      "Thick: the focal loss; thin and dashed: cross-entropy. Dots: the scores that are set.",
    ),
  ];
}
