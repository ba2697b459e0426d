// Who learns what, all ways: one scene under the assignment rules of several detectors.

const OBJECT_LETTERS = "ABCDE";
const OBJECT_INKS = ["#fca800", "#90fcfc", "#e49cff", "#e4f090", "#ff9f95"]; // light, on dark casings
const CASING = "#111";
const ALL = -1;

/** Return, for each object, how many places learn it. */
function countsOf(places, numObjects) {
  const counts = Array(numObjects).fill(0);
  for (const { object } of places) counts[object] += 1;
  return counts;
}

explorable("who_learns_what", (figure, data) => {
  const state = { ...data.state };
  const { ways, boxes, names } = data;

  const wayChoice = choice({
    label: "detector",
    options: ways.map(({ name }, i) => [i, name]),
    onChange: (way) => set({ way: Number(way) }),
  });
  const objectChoice = choice({
    label: "object",
    options: [[ALL, "all"], ...boxes.map((_, i) => [i, `${OBJECT_LETTERS[i]} ${names[i]}`])],
    onChange: (object) => set({ object: Number(object) }),
  });
  const scene = assignedScene(data);
  const words = html("p");
  const table = countTable(names);
  figure.stage.append(
    html("div", { class: "row" }, wayChoice.element),
    html("div", { class: "row" }, objectChoice.element),
    html("div", { class: "panels" }, scene.element, html("div", {}, words, table.element)),
  );

  /** Return everything that the figure shows. */
  function work() {
    const way = ways[state.way];
    const shown = way.places.filter(({ object }) => [ALL, object].includes(state.object));
    return { name: way.name, shown, counts: countsOf(way.places, boxes.length) };
  }

  function set(changes) {
    Object.assign(state, changes);
    const now = work();
    wayChoice.show(state.way);
    objectChoice.show(state.object);
    scene.show(now.shown, state.object);
    table.show(now.counts, state.object);

    const { levels, ignored } = ways[state.way];
    const parts = levels.map(({ stride, places, learn }) => {
      const where = stride === null ? "queries" : `places of stride ${written(stride, 0)}`;
      return `${learn} of ${places} ${where} learn an object`;
    });
    const none = ignored > 0 ? `; ${ignored} are in no loss` : "";
    words.textContent = `${now.name}: ${parts.join(", ")}${none}.`;
    figure.announce(words.textContent);
  }

  set({});
  return { set, get: () => ({ ...state, ...work() }) };
});

/** Draw the scene; a place is a square as wide as its cell, an anchor's outline, or a query's dot. */
function assignedScene({ image, side, boxes }) {
  const outlines = boxes.map((box, i) =>
    svg("rect", {
      ...rectangle(box),
      fill: "none",
      stroke: OBJECT_INKS[i],
      "stroke-width": 0.8,
      "stroke-dasharray": "3 2",
    }),
  );
  const casings = boxes.map((box) =>
    svg("rect", { ...rectangle(box), fill: "none", stroke: CASING, "stroke-width": 1.5 }),
  );
  const letters = boxes.map(([x1, y1], i) => {
    const style = `font-size: 6px; font-weight: 700; fill: ${OBJECT_INKS[i]}`;
    return svg(
      "g",
      { transform: `translate(${x1} ${y1 >= 7 ? y1 - 7 : y1})` },
      svg("rect", { width: 7, height: 7, fill: CASING }),
      svg("text", { x: 1.4, y: 5.6, style }, OBJECT_LETTERS[i]),
    );
  });
  const marks = svg("g");
  const element = svg(
    "svg",
    { viewBox: `0 0 ${side} ${side}`, width: 400, role: "img", "aria-label": "the scene" },
    svg("image", { href: image, width: side, height: side }),
    ...casings,
    ...outlines,
    marks,
    ...letters,
  );

  const show = (places, chosen) => {
    marks.replaceChildren(
      ...places.flatMap(({ at: [x, y], stride, object, anchor }) => {
        const ink = OBJECT_INKS[object];
        const drawn = [];

        // Anchors of all objects at once would hide the scene.
        if (anchor && chosen !== ALL) {
          const line = { fill: "none", stroke: ink, "stroke-width": 0.4, opacity: 0.7 };
          drawn.push(svg("rect", { ...rectangle(anchor), ...line }));
        }
        const casing = { stroke: CASING, "stroke-width": 0.5 };
        const half = stride === null ? null : Math.min(Math.max(stride * 0.22, 1), 4);
        drawn.push(
          half === null
            ? svg("circle", { cx: x, cy: y, r: 2.2, fill: ink, ...casing })
            : svg("rect", {
                ...rectangle([x - half, y - half, x + half, y + half]),
                fill: ink,
                ...casing,
              }),
        );
        return drawn;
      }),
    );
    const number = `${places.length} places that learn an object`;
    element.setAttribute("aria-label", `the scene with ${number}`);
  };
  return { element, show };
}

/** How many places learn each object. */
function countTable(names) {
  const body = html("tbody");
  const head = ["object", "learned by"].map((word) => html("th", { scope: "col" }, word));
  const element = html("table", {}, html("thead", {}, html("tr", {}, ...head)), body);
  const show = (counts, chosen) => {
    body.replaceChildren(
      ...counts.map((count, i) => {
        const name = `${OBJECT_LETTERS[i]} ${names[i]}`;
        const places = count === 0 ? "nobody" : `${count} place${count === 1 ? "" : "s"}`;
        return html(
          "tr",
          { class: i === chosen ? "chosen" : null },
          html("th", { scope: "row" }, name),
          html("td", {}, places),
        );
      }),
    );
  };
  return { element, show };
}
