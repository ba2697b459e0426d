// Accuracy against what it costs: AP of every detector, an axis to choose, a budget to move.

const WIDE = 440; // of the chart: on a phone its words stay large enough to be read
const HIGH = 330;
const SHAPES = ["●", "■", "▲", "◆", "✚"]; // one a family, so that grey tells them apart
const INKS = ["var(--blue)", "var(--orange)", "var(--violet)", "var(--found)", "var(--soft)"];
const ROOM = 0.06; // of an axis that is left free at each end

// ---- arithmetic --------------------------------------------------------------------------------

/** Return the smallest and the largest cost with some room around them, as the axis has them. */
function axisOf(costs, scale) {
  const places = costs.map((cost) => (scale === "log" ? Math.log10(cost) : cost));
  const [least, most] = [Math.min(...places), Math.max(...places)];
  const room = (most - least) * ROOM || Math.abs(most) * ROOM || 1;
  const from = scale === "log" ? least - room : Math.max(least - room, 0);
  return { from, to: most + room };
}

/** Return the cost at a share of the axis, 0 to 1. */
function costAt(share, { from, to }, scale) {
  const place = from + share * (to - from);
  return scale === "log" ? 10 ** place : place;
}

/** Return those that no other beats: whatever costs as little or less has a lower AP. */
function frontOf(points, cost) {
  const sorted = [...points].sort((a, b) => a[cost] - b[cost] || b.ap - a.ap);
  const front = [];
  for (const point of sorted) {
    if (front.length === 0 || point.ap > front[front.length - 1].ap) front.push(point);
  }
  return front;
}

/** Return the most accurate within a budget, null if there is none. */
function bestWithin(points, cost, budget) {
  const affordable = points.filter((point) => point[cost] <= budget);
  return affordable.reduce((best, point) => (!best || point.ap > best.ap ? point : best), null);
}

/** Return round numbers inside an axis: 1, 2, 5 times powers of ten, or even steps. */
function ticksOf({ from, to }, scale) {
  if (scale === "log") {
    const ticks = [];
    for (let power = Math.floor(from); power <= Math.ceil(to); power++) {
      for (const factor of [1, 2, 5]) ticks.push(factor * 10 ** power);
    }
    return ticks.filter((tick) => Math.log10(tick) >= from && Math.log10(tick) <= to);
  }
  const rough = (to - from) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const first = Math.ceil(from / step);
  return Array.from({ length: Math.floor(to / step) - first + 1 }, (_, i) => (first + i) * step);
}

/** Write a cost with three digits: 0.25, 12.3, 4.5 M. */
function costInWords(cost) {
  if (cost >= 1e6) return `${Number((cost / 1e6).toPrecision(3))} M`;
  if (cost >= 1e4) return `${Number((cost / 1e3).toPrecision(3))} k`;
  return `${Number(cost.toPrecision(3))}`;
}

// ---- the figure --------------------------------------------------------------------------------

explorable("accuracy_latency", (figure, data) => {
  const state = { ...data.state, chosen: null };
  const { points } = data;
  const words = html("p");
  const chosenWords = html("p", { class: "note" });

  const costs = choice({
    label: "to the right",
    options: data.costs.map(([key, title]) => [key, shortTitle(title)]),
    onChange: (cost) => set({ cost }),
  });
  const scales = choice({
    label: "axis",
    options: [
      ["log", "logarithmic"],
      ["linear", "linear"],
    ],
    onChange: (scale) => set({ scale }),
  });
  const filter = choice({
    label: "show",
    options: Object.keys(data.groups).map((group) => [group, group]),
    onChange: (family) => set({ family }),
  });
  const budget = slider({
    label: "budget",
    min: 0,
    max: 1,
    step: 0.01,
    describe: () => costInWords(work().budgetCost),
    onInput: (value) => set({ budget: value }),
  });
  budget.element.style.gridTemplateColumns = "auto minmax(90px, 1fr) 5em";

  const chart = pointChart(data, (name) => set({ chosen: name }));
  figure.stage.append(
    html("div", { class: "row" }, costs.element, scales.element),
    html("div", { class: "row" }, filter.element),
    chart.element,
    html("div", { class: "row" }, budget.element),
    words,
    chosenWords,
    html("p", { class: "note" }, `Measured on ${data.machine}.`),
  );

  /** Return everything that the figure shows. */
  function work() {
    const { cost, scale, family } = state;
    const shown = points.filter((point) => data.groups[family].includes(point.family));

    // The axis is that of what is shown: the slowest would press all others into a corner.
    const axis = axisOf(shown.map((point) => point[cost]), scale);
    const budgetCost = costAt(state.budget, axis, scale);
    const best = bestWithin(shown, cost, budgetCost);
    return {
      shown: shown.map(({ name }) => name),
      front: frontOf(shown, cost).map(({ name }) => name),
      axis,
      budgetCost,
      best: best?.name ?? null,
    };
  }

  function set(changes) {
    Object.assign(state, changes);
    const now = work();
    costs.show(state.cost);
    scales.show(state.scale);
    filter.show(state.family);
    budget.show(state.budget);
    chart.show(state, now);

    const title = data.costs.find(([key]) => key === state.cost)[1];
    const within = `Within ${costInWords(now.budgetCost)} ${title}`;
    const best = points.find(({ name }) => name === now.best);
    words.textContent = best
      ? `${within}: ${best.name}, AP ${written(best.ap, 3)}.`
      : `${within}: none of those shown.`;
    const chosen = points.find(({ name }) => name === state.chosen);
    chosenWords.textContent = chosen
      ? inWords(chosen, data.costs)
      : `Nobody beats in both: ${now.front.join(", ")}. Point at a detector for its numbers.`;
    figure.announce(chosen ? chosenWords.textContent : words.textContent);
  }

  set({});
  return { set, get: () => ({ ...state, ...work(), places: chart.places() }) };
});

/** Return a few words for a cost whose title is long. */
function shortTitle(title) {
  return title.replace("milliseconds of a call with ", "ms, ").replace(" of one image", "");
}

/** Say all numbers of a detector. */
function inWords(point, costs) {
  const spread = point.spread === null ? "" : ` ± ${written(point.spread, 3)}`;
  const numbers = costs.map(([key, title]) => `${costInWords(point[key])} ${title}`);
  return `${point.name} (${point.family}): AP ${written(point.ap, 3)}${spread}; ${numbers.join("; ")}.`;
}

// ---- the chart ---------------------------------------------------------------------------------

/** Make the chart; a point that is pointed at or focused is told to `onChoose`. */
function pointChart({ points, families }, onChoose) {
  const frame = { left: 46, right: WIDE - 14, top: 12, bottom: HIGH - 44 };
  const highest = Math.max(...points.map(({ ap, spread }) => ap + (spread ?? 0)));
  const top = Math.min(1, Math.ceil(highest * 10 + 0.2) / 10);
  const down = (ap) => frame.bottom - (ap / top) * (frame.bottom - frame.top);

  const ground = svg("g", { "aria-hidden": "true" });
  const axis = svg("g", { "aria-hidden": "true" });
  const front = svg("path", { fill: "none", stroke: "currentColor", "stroke-dasharray": "3 3" });
  const line = svg("path", { stroke: "var(--missed)", "stroke-width": 2 });
  const element = svg("svg", {
    viewBox: `0 0 ${WIDE} ${HIGH}`,
    width: WIDE,
    role: "group",
    "aria-label": "AP of each detector against its cost",
  });

  const steps = Math.round(top * 10);
  for (let tenth = 0; tenth <= steps; tenth += steps > 5 ? 2 : 1) {
    const y = down(tenth / 10);
    ground.append(
      svg("line", { class: "grid", x1: frame.left, x2: frame.right, y1: y, y2: y }),
      svg("text", { x: frame.left - 6, y: y + 4, "text-anchor": "end" }, written(tenth / 10, 1)),
    );
  }
  const middle = (frame.top + frame.bottom) / 2;
  ground.append(svg("text", { transform: `translate(11 ${middle}) rotate(-90)` }, "AP"));

  const marks = points.map((point) => {
    const kind = families.indexOf(point.family);
    const bar = svg("path", { stroke: INKS[kind], "stroke-width": 1.5, fill: "none" });
    const sign = svg(
      "text",
      { "text-anchor": "middle", style: `fill: ${INKS[kind]}; font-size: 15px` },
      SHAPES[kind],
    );
    const name = svg("text", { "aria-hidden": "true" }, point.name);
    const ring = svg("circle", { class: "ring", r: 11 });
    const reach = svg("circle", { r: 13, fill: "transparent" });
    const group = svg(
      "g",
      {
        class: "movable",
        style: "cursor: pointer",
        tabindex: 0,
        role: "img",
        "aria-label": `${point.name}, AP ${written(point.ap, 3)}`,
        onpointerenter: () => onChoose(point.name),
        onfocus: () => onChoose(point.name),
      },
      bar,
      sign,
      name,
      ring,
      reach,
    );
    return { point, group, bar, sign, name, ring, reach };
  });
  element.append(ground, axis, line, front, ...marks.map(({ group }) => group));

  const places = {};
  const show = ({ cost, scale, chosen }, now) => {
    const { from, to } = now.axis;
    const across = (value) => {
      const place = scale === "log" ? Math.log10(value) : value;
      return frame.left + ((place - from) / (to - from)) * (frame.right - frame.left);
    };

    axis.replaceChildren(
      svg("line", {
        class: "axis",
        x1: frame.left,
        x2: frame.right,
        y1: frame.bottom,
        y2: frame.bottom,
      }),
      ...ticksOf(now.axis, scale).flatMap((tick) => {
        const x = across(tick);
        return [
          svg("line", { class: "grid", x1: x, x2: x, y1: frame.top, y2: frame.bottom }),
          svg("text", { x, y: frame.bottom + 16, "text-anchor": "middle" }, costInWords(tick)),
        ];
      }),
    );

    for (const { point, group, bar, sign, name, ring, reach } of marks) {
      const [x, y] = [across(point[cost]), down(point.ap)];
      places[point.name] = [x, y];
      const isShown = now.shown.includes(point.name);
      change(group, { hidden: !isShown, style: isShown ? "cursor: pointer" : "display: none" });
      const spread = point.spread ?? 0;
      const [high, low] = [down(point.ap + spread), down(point.ap - spread)];
      change(bar, { d: `M${x} ${high}V${low}M${x - 4} ${high}h8M${x - 4} ${low}h8` });
      change(sign, { x, y: y + 5 });

      // Names of all would hide each other: those on the front have theirs, and the chosen one.
      const isNamed = now.front.includes(point.name) || chosen === point.name;
      const isFarRight = x > frame.right - 90;
      change(name, {
        x: isFarRight ? x - 10 : x + 10,
        y: y - 8,
        "text-anchor": isFarRight ? "end" : "start",
        style: isNamed ? `font-weight: ${chosen === point.name ? 700 : 400}` : "display: none",
      });
      for (const circle of [ring, reach]) change(circle, { cx: x, cy: y });
    }

    const onFront = now.front.map((name) => places[name]);
    change(front, { d: pathThrough(onFront) });
    change(line, { d: `M${across(now.budgetCost)} ${frame.top}V${frame.bottom}` });
  };
  return { element, show, places: () => ({ ...places }) };
}
