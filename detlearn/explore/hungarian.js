// The costs by which DETR gives each object a query of its own: optimal and greedy assignments.
// What it shares with other scenes stands in scene.js. A box is [x1, y1, x2, y2] in pixels.
// The arithmetic is that of matching_cost and of scipy's linear_sum_assignment.

const TERMS = [
  { name: "class", weight: "costClass", label: "cost_class", max: 5, ink: "var(--blue)" },
  { name: "L1", weight: "costBbox", label: "cost_bbox", max: 10, ink: "var(--orange)" },
  { name: "GIoU", weight: "costGiou", label: "cost_giou", max: 5, ink: "var(--violet)" },
];
const WAYS = [
  ["optimal", "optimal"],
  ["greedy", "greedy"],
];
const NOTHING = -1; // the object of a query that learns "no object"
const UNMATCHED = "#e8e8e8";
const SMALLEST = 4; // pixels of a predicted box's side

// ---- costs -------------------------------------------------------------------------------------

/** Return a box as centre and sides, in shares of the image. */
function normalised([x1, y1, x2, y2], side) {
  return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1].map((value) => value / side);
}

/** Return the generalised IoU of two boxes with an area. */
function giouOf(one, other) {
  const width = Math.max(Math.min(one[2], other[2]) - Math.max(one[0], other[0]), 0);
  const height = Math.max(Math.min(one[3], other[3]) - Math.max(one[1], other[1]), 0);
  const union = areaOf(one) + areaOf(other) - width * height;

  const enclosing =
    (Math.max(one[2], other[2]) - Math.min(one[0], other[0])) *
    (Math.max(one[3], other[3]) - Math.min(one[1], other[1]));
  return (width * height) / union - (enclosing - union) / enclosing;
}

/** Return what a query and an object have in common: probability of its class, distance, GIoU. */
function likenessOf(box, probability, object, side) {
  const target = normalised(object, side);
  const distance = sum(normalised(box, side).map((value, i) => Math.abs(value - target[i])));
  return [probability, distance, giouOf(box, object)];
}

/** Return the three terms of a cost: a likely class and much overlap make it low. */
function termsOf([probability, distance, giou], { costClass, costBbox, costGiou }) {
  return [-costClass * probability, costBbox * distance, -costGiou * giou];
}

// ---- assignments: for each object its query ----------------------------------------------------

/** Return all ways to give each of the objects a query of its own. */
function allAssignments(numQueries, numObjects) {
  if (numObjects === 0) return [[]];
  return allAssignments(numQueries, numObjects - 1).flatMap((begun) =>
    Array.from({ length: numQueries }, (_, query) => query)
      .filter((query) => !begun.includes(query))
      .map((query) => [...begun, query]),
  );
}

const totalOf = (costs, queries) => sum(queries.map((query, object) => costs[query][object]));

/** Return the cheapest of all ways, what it costs, and what the next one does. */
function optimalAssignment(costs, ways) {
  const ranked = ways
    .map((queries) => ({ queries, total: totalOf(costs, queries) }))
    .sort((one, other) => one.total - other.total);
  return { ...ranked[0], next: ranked[1].total };
}

/** Take the cheapest pair, then the cheapest one of those left; of equal ones the first. */
function greedyAssignment(costs) {
  const pairs = costs.flatMap((row, query) => row.map((cost, object) => ({ query, object, cost })));
  pairs.sort((one, other) => one.cost - other.cost);

  const queries = costs[0].map(() => NOTHING);
  const order = []; // objects, as they got their query
  for (const { query, object } of pairs) {
    if (queries[object] !== NOTHING || queries.includes(query)) continue;
    queries[object] = query;
    order.push(object);
  }
  return { queries, order, total: totalOf(costs, queries) };
}

const weightOf = (value) => String(Number(value.toFixed(2)));
const inBrackets = (text) => (text.startsWith("−") ? `(${text})` : text);

// ---- the figure --------------------------------------------------------------------------------

explorable("hungarian_costs", (figure, data) => {
  const { side, names, objects, probabilities, guesses } = data;
  const start = data.state;
  const state = { ...start };
  const ways = allAssignments(start.boxes.length, objects.length);
  let found = null;

  const wayChoice = choice({
    label: "the assignment drawn",
    options: WAYS,
    onChange: (way) => set({ way }),
  });
  const sliders = TERMS.map(({ label, weight, max }) =>
    slider({
      label,
      ...{ min: 0, max, step: 0.25 },
      onInput: (value) => set({ [weight]: value }),
    }),
  );
  const backButton = button("back to the start", () => set(start));
  const scene = sceneOfQueries(data, state, {
    look: (query) => set({ query, object: found.chosen.indexOf(query) }),
    move: (query, box) => set({ boxes: state.boxes.map((old, q) => (q === query ? box : old)) }),
  });
  const matrix = matrixOfCosts(names, guesses, (query, object) => set({ query, object }));
  const pairWords = html("p", { class: "pair-words" });
  const totals = tableOfTotals(names);
  const sentence = html("p", { class: "sentence" });
  const key = html(
    "p",
    { class: "note" },
    "Dashed thin: the objects. Solid: what the queries predict; grey: learns “no object”. The " +
      "number of a query moves its box, the small square its corner. In the matrix: the cost, and " +
      "beneath it its terms ",
    ...TERMS.flatMap(({ name, ink }, i) => [
      i ? " + " : "",
      html("b", { style: `color: ${ink}` }, name),
    ]),
    ". A solid frame: optimal; dashed: greedy.",
  );

  const row = (...controls) => html("div", { class: "row" }, ...controls);
  figure.stage.append(
    html(
      "div",
      { class: "panels" },
      html("div", {}, row(wayChoice.element), scene.element, pairWords, key),
      html(
        "div",
        {},
        matrix.element,
        totals.element,
        sentence,
        ...sliders.map(({ element }) => row(element)),
        row(backButton),
      ),
    ),
  );

  function set(changes) {
    Object.assign(state, changes);
    work();
    show();
  }

  function work() {
    const likeness = state.boxes.map((box, q) =>
      objects.map((object, n) => likenessOf(box, probabilities[q][n], object, side)),
    );
    const terms = likeness.map((row) => row.map((pair) => termsOf(pair, state)));
    const costs = terms.map((row) => row.map(sum));
    const optimal = optimalAssignment(costs, ways);
    const greedy = greedyAssignment(costs);
    const chosen = { optimal, greedy }[state.way].queries;
    found = { likeness, terms, costs, optimal, greedy, chosen };
  }

  function show() {
    const { optimal, greedy, chosen, costs, terms } = found;
    wayChoice.show(state.way);
    TERMS.forEach(({ weight }, i) => sliders[i].show(state[weight]));
    scene.show(chosen);
    matrix.show(costs, terms, { optimal, greedy, query: state.query, object: state.object });
    totals.show({ optimal, greedy }, costs);
    pairWords.textContent = pairInWords();
    sentence.textContent = assignmentsInWords();
    figure.announce(`${sentence.textContent} ${pairWords.textContent}`);
  }

  /** Say how the cost of the asked pair comes about. */
  function pairInWords() {
    const { query, object, costClass, costBbox, costGiou } = state;
    if (object === NOTHING) {
      return `Query ${query + 1} has no object here: it learns “no object”.`;
    }
    const [probability, distance, giou] = found.likeness[query][object];
    return (
      `Query ${query + 1} and ${LETTERS[object]}: −${weightOf(costClass)} · ` +
      `${written(probability)} for ${names[object]}, + ${weightOf(costBbox)} · ` +
      `${written(distance, 3)} for the distance, − ${weightOf(costGiou)} · ` +
      `${inBrackets(written(giou, 3))} for the GIoU: ${written(found.costs[query][object])}.`
    );
  }

  function assignmentsInWords() {
    const { optimal, greedy } = found;
    const dearer = greedy.total - optimal.total;
    const pairs = greedy.order.map((n) => `${greedy.queries[n] + 1} with ${LETTERS[n]}`);
    const begun =
      `Greedy takes the cheapest pair of those left, again and again: ${pairs.join(", then ")}.`;
    const ends =
      dearer > 1e-12
        ? `Its total is ${written(dearer)} higher than the optimal one.`
        : "Here its total is as low as the optimal one.";
    return (
      `${begun} ${ends} Of the ${ways.length} ways to give each object a query, the next best ` +
      `costs ${written(optimal.next - optimal.total)} more than the optimal one.`
    );
  }

  set({});
  return { set, get: () => ({ ...state, ...found, numWays: ways.length }) };
});

// ---- the scene ---------------------------------------------------------------------------------

/** Draw the objects, and the predicted boxes with their handles. */
function sceneOfQueries({ image, side, names, objects }, state, { look, move }) {
  const still = { fill: "none", style: "pointer-events: none" };
  const lines = svg("g", still);
  const truth = svg("g", still, ...objects.flatMap((box, n) => objectMark(box, n)));
  const element = svg(
    "svg",
    {
      viewBox: `0 0 ${side} ${side}`,
      width: 400,
      role: "group",
      "aria-label": `the scene: ${names.map((name, n) => `${LETTERS[n]}, ${name}`).join("; ")}`,
    },
    svg("image", { href: image, width: side, height: side }),
    truth,
    lines,
  );

  const queries = state.boxes.map((_, q) =>
    queryBox(element, q, {
      side,
      box: () => state.boxes[q],
      look: () => look(q),
      move: (box) => move(q, box),
    }),
  );
  for (const { handles } of queries) element.append(...handles);

  const show = (chosen) => {
    queries.forEach((query, q) => {
      const object = chosen.indexOf(q);
      query.show(object === NOTHING ? UNMATCHED : COLOURS[object], q === state.query);
    });
    lines.replaceChildren(
      ...objects.flatMap((box, n) => {
        const [[x1, y1], [x2, y2]] = [middleOf(state.boxes[chosen[n]]), middleOf(box)];
        const ends = { x1, y1, x2, y2 };
        return [
          svg("line", { ...ends, stroke: DARK, "stroke-width": 2, "stroke-linecap": "round" }),
          svg("line", { ...ends, stroke: COLOURS[n], "stroke-width": 1 }),
          svg("circle", {
            ...{ cx: x2, cy: y2, r: 1.4, fill: COLOURS[n] },
            ...{ stroke: DARK, "stroke-width": 0.5 },
          }),
        ];
      }),
    );
  };
  return { element, show };
}

/** Draw an object: dashed, its letter below it or in it. */
function objectMark(box, n) {
  const [x1, , , y2] = box;
  const y = y2 + 7 <= 128 ? y2 : y2 - 7;
  const style = `font-size: 6px; font-weight: 700; fill: ${COLOURS[n]}`;
  const dashed = { stroke: COLOURS[n], "stroke-width": 0.7, "stroke-dasharray": "3 2" };
  return [
    svg("rect", { ...rectangle(box), stroke: DARK, "stroke-width": 1.4 }),
    svg("rect", { ...rectangle(box), ...dashed }),
    svg("rect", { x: x1, y, width: 7, height: 7, fill: DARK }),
    svg("text", { x: x1 + 1.4, y: y + 5.6, style }, LETTERS[n]),
  ];
}

/** Draw a predicted box; its number moves it, a square at its last corner sizes it. */
function queryBox(space, q, { side, box, look, move }) {
  const shape = { fill: "none", style: "pointer-events: none" };
  const casing = svg("rect", { ...shape, stroke: DARK });
  const outline = svg("rect", shape);
  space.append(casing, outline);

  const square = (at, width, look) => svg("rect", { x: at, y: at, width, height: width, ...look });
  const reach = () => square(-2, 11, { fill: "transparent" });
  const ring = () => square(-1.5, 10, { class: "ring", "vector-effect": "non-scaling-stroke" });
  const tag = square(0, 7, { stroke: DARK, "stroke-width": 0.6 });
  const style = `font-size: 6px; font-weight: 700; fill: ${DARK}`;
  const word = svg("text", { x: 3.5, y: 5.7, "text-anchor": "middle", style }, String(q + 1));
  const handle = svg("g", {}, reach(), tag, word, ring());
  const mark = square(1.7, 3.6, { stroke: DARK, "stroke-width": 0.6 });
  const corner = svg("g", {}, reach(), mark, ring());

  const words = () => {
    const [x1, y1] = box();
    const [width, height] = sidesOf(box());
    return `left ${x1}, top ${y1}, ${width} wide, ${height} high`;
  };
  const grip = movable(handle, {
    label: `query ${q + 1}`,
    space,
    place: () => ({ x: box()[0], y: box()[1] }),
    move: ({ x, y }) => {
      const [width, height] = sidesOf(box());
      const left = clamp(Math.round(x), 0, side - width);
      const top = clamp(Math.round(y), 0, side - height);
      move([left, top, left + width, top + height]);
    },
    describe: words,
  });
  const sizer = movable(corner, {
    label: `corner of query ${q + 1}`,
    space,
    place: () => ({ x: box()[2], y: box()[3] }),
    move: ({ x, y }) => {
      const [left, top] = box();
      const right = clamp(Math.round(x), left + SMALLEST, side);
      move([left, top, right, clamp(Math.round(y), top + SMALLEST, side)]);
    },
    describe: words,
  });
  for (const part of [handle, corner]) change(part, { onpointerdown: look, onfocus: look });

  const show = (colour, isAsked) => {
    const [x1, y1, x2, y2] = box();
    const width = isAsked ? 1.7 : 1.1;
    change(casing, { ...rectangle(box()), "stroke-width": width + 1 });
    change(outline, { ...rectangle(box()), stroke: colour, "stroke-width": width });
    for (const part of [tag, mark]) change(part, { fill: colour });
    change(handle, { transform: `translate(${x1} ${y1 >= 7 ? y1 - 7 : y1})` });
    change(corner, { transform: `translate(${x2 - 3.5} ${y2 - 3.5})` });
    grip.tell();
    sizer.tell();
  };
  return { handles: [corner, handle], show };
}

// ---- the tables --------------------------------------------------------------------------------

/** Make the matrix of costs, a query a row; a cell is a button that asks how its cost arises. */
function matrixOfCosts(names, guesses, ask) {
  const head = html(
    "tr",
    {},
    html("th", { scope: "col" }, "query"),
    ...names.map((_, n) =>
      html("th", { scope: "col", style: "text-align: center" }, ...nameOf(n, names)),
    ),
  );
  const cells = guesses.map((_, q) => names.map((_, n) => costCell(q, n, () => ask(q, n))));
  const rows = cells.map((row, q) =>
    html(
      "tr",
      {},
      html(
        "th",
        { scope: "row", style: "padding: 0.1rem 0.3rem 0.1rem 0; line-height: 1.2" },
        html("b", {}, String(q + 1)),
        html("div", { class: "note", style: "font-size: 11px; max-width: 62px" }, guesses[q]),
      ),
      ...row.map(({ element }) => html("td", { style: "padding: 2px" }, element)),
    ),
  );
  const parts = [html("thead", {}, head), html("tbody", {}, ...rows)];
  const element = html("table", { class: "matrix" }, ...parts);

  const show = (costs, terms, { optimal, greedy, query, object }) =>
    cells.forEach((row, q) =>
      row.forEach(({ show: showCell }, n) =>
        showCell(costs[q][n], terms[q][n], {
          optimal: optimal.queries[n] === q,
          greedy: greedy.queries[n] === q,
          asked: query === q && object === n,
        }),
      ),
    );
  return { element, show };
}

function costCell(q, n, onClick) {
  const total = html("b", { style: "font-size: 14px" });
  const parts = TERMS.map(({ ink }) => html("span", { style: `color: ${ink}` }));
  const partsStyle =
    "display: flex; flex-wrap: wrap; justify-content: center; gap: 0 0.3em; font-size: 10.5px";
  const inside = html(
    "span",
    { style: "display: block; border-radius: 3px; padding: 1px 0" },
    total,
    html("span", { style: partsStyle }, ...parts),
  );
  const element = button("", onClick);
  element.style.cssText = "display: block; line-height: 1.2; padding: 1px; width: 100%";
  element.append(inside);

  const show = (cost, terms, { optimal, greedy, asked }) => {
    total.textContent = written(cost);
    parts.forEach((part, i) => (part.textContent = written(terms[i])));
    element.style.border = `2.5px solid ${optimal ? "currentColor" : "transparent"}`;
    element.style.background = asked ? "color-mix(in srgb, var(--blue) 8%, transparent)" : "none";
    inside.style.border = `1.5px dashed ${greedy ? "currentColor" : "transparent"}`;
    const marks = `${optimal ? ", optimal" : ""}${greedy ? ", greedy" : ""}`;
    const label = `query ${q + 1}, ${LETTERS[n]}: ${written(cost)}${marks}`;
    change(element, { "aria-pressed": String(asked), "aria-label": label });
  };
  return { element, show };
}

/** Make the table of both assignments, side by side: for each object its query and the cost. */
function tableOfTotals(names) {
  const head = ["", ...LETTERS.slice(0, names.length), "total"].map((word) =>
    html("th", { scope: "col" }, word),
  );
  const body = html("tbody");
  const style = "margin-top: 0.6rem";
  const element = html(
    "table",
    { class: "totals", style },
    html("thead", {}, html("tr", {}, ...head)),
    body,
  );
  const show = (assignments, costs) =>
    body.replaceChildren(
      ...Object.entries(assignments).map(([way, { queries, total }]) =>
        html(
          "tr",
          {},
          html("th", { scope: "row" }, way),
          ...queries.map((query, n) =>
            html("td", {}, `${query + 1}: ${written(costs[query][n])}`),
          ),
          html("td", {}, html("b", {}, written(total))),
        ),
      ),
    );
  return { element, show };
}
