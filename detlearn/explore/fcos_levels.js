// One scene under the rules of FCOS and of ATSS: which location of which level learns which object.
// What it shares with other scenes stands in scene.js.
// The arithmetic is that of fcos_candidates, fcos_targets, centerness and atss_assign.

const RULES = [
  ["fcos", "FCOS"],
  ["atss", "ATSS"],
];
const KEYS = {
  fcos:
    "A dot is a location that learns the object of its colour; hollow: near the centre of an " +
    "object, but the distances are for another level.",
  atss:
    "A dot is a location that learns the object of its colour; hollow: one of the nearest of an " +
    "object, but its box overlaps the object too little. White: the box of the asked location.",
};
const SHARED = "A white ring: several objects want it. A dotted box: no location learns it.";
const SHORTEST_NAMED = 9; // pixels of a distance that has room for its letter
const SHADES = "The fuller a cell's colour, the higher its centerness.";

// ---- FCOS --------------------------------------------------------------------------------------

function isInside([x, y], [x1, y1, x2, y2]) {
  return x1 < x && x < x2 && y1 < y && y < y2;
}

/** Say whether a point lies less than so far from a box's centre, in both directions. */
function isNearCentre([x, y], box, reach) {
  const [middleX, middleY] = middleOf(box);
  return Math.max(Math.abs(x - middleX), Math.abs(y - middleY)) < reach;
}

/** Return the largest distance from a point to a side of a box, in pixels. */
function farthestOf(point, box) {
  return Math.max(...distancesTo(box, point, 1));
}

/** Return the least and the largest distance that a level is for, in pixels. */
function rangeOf(level, ends) {
  return [level === 0 ? 0 : ends[level - 1], ends[level] ?? Infinity];
}

/**
 * Return, for each location and object, how they stand: inside, near the centre (radius null: no
 * matter where), the largest distance, in the level's range.
 */
function fcosStands({ point, stride, level }, boxes, { radius, ends }) {
  const [low, high] = rangeOf(level, ends);
  return boxes.map((box) => {
    const farthest = farthestOf(point, box);
    return {
      inside: isInside(point, box),
      central: radius === null || isNearCentre(point, box, radius * stride),
      farthest,
      inRange: low <= farthest && farthest <= high,
    };
  });
}

/** Work out FCOS's rule: of several objects the smallest has a location, of equal ones the first. */
function fcosTargets(locations, boxes, settings) {
  const stands = locations.map((location) => fcosStands(location, boxes, settings));
  const near = stands.map((row) => row.map(({ inside, central }) => inside && central));
  const wanted = stands.map((row, p) => row.map(({ inRange }, n) => near[p][n] && inRange));
  const assigned = wanted.map((row) =>
    bestOf(row, (n, other) => areaOf(boxes[n]) < areaOf(boxes[other])),
  );
  return { stands, near, wanted, assigned };
}

/** Return which of the objects that want a location has it; `beats` compares it with the best. */
function bestOf(wants, beats) {
  return wants.reduce(
    (best, want, n) => (want && (best === BACKGROUND || beats(n, best)) ? n : best),
    BACKGROUND,
  );
}

/** Say how central a location is: 1 in the middle of the box, 0 at its sides. */
function centernessOf([left, top, right, bottom]) {
  const share = (one, other) =>
    Math.max(one, other) === 0 ? 0 : Math.min(one, other) / Math.max(one, other);
  return Math.sqrt(share(left, right) * share(top, bottom));
}

// ---- ATSS --------------------------------------------------------------------------------------

/** Return the box that stands at a location, so many strides wide and high. */
function anchorAt({ point: [x, y], stride }, strides) {
  const half = (strides / 2) * stride;
  return [x - half, y - half, x + half, y + half];
}

/** Return the k locations nearest to an object's centre on each level; of equal ones the first. */
function nearestOnLevels(locations, box, k) {
  const [x, y] = middleOf(box);
  const squares = locations.map(({ point }) => (point[0] - x) ** 2 + (point[1] - y) ** 2);
  const levels = [...new Set(locations.map(({ level }) => level))];
  return levels.flatMap((level) => {
    const order = locations.flatMap((location, p) => (location.level === level ? [p] : []));
    order.sort((p, q) => squares[p] - squares[q] || p - q);
    return order.slice(0, k);
  });
}

/** Return mean and (unbiased) standard deviation; a single number has none. */
function spreadOf(values) {
  const mean = sum(values) / values.length;
  const squares = sum(values.map((value) => (value - mean) ** 2));
  return { mean, deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0 };
}

/** Work out ATSS: each object sets a threshold, and of several the best overlapped has a location. */
function atssTargets(locations, boxes, { k, anchorSide }) {
  const anchors = locations.map((location) => anchorAt(location, anchorSide));
  const iou = boxes.map((box) => anchors.map((anchor) => boxIou(box, anchor)));
  const candidates = boxes.map((box) => nearestOnLevels(locations, box, k));
  const spreads = candidates.map((places, n) => spreadOf(places.map((p) => iou[n][p])));
  const thresholds = spreads.map(({ mean, deviation }) => mean + deviation);

  const near = locations.map(() => boxes.map(() => false));
  candidates.forEach((places, n) => places.forEach((p) => (near[p][n] = true)));
  const wanted = near.map((row, p) =>
    row.map(
      (is, n) => is && iou[n][p] >= thresholds[n] && isInside(locations[p].point, boxes[n]),
    ),
  );
  const assigned = wanted.map((row, p) =>
    bestOf(row, (n, other) => iou[n][p] > iou[other][p]),
  );
  return { anchors, iou, spreads, thresholds, near, wanted, assigned };
}

// ---- the figure --------------------------------------------------------------------------------

explorable("fcos_levels", (figure, data) => {
  const { side, names, strides } = data;
  const locations = locationsOf(strides, side);
  const start = {
    ...data.state,
    cell: cellAtMiddle(data.state.boxes[data.asked], strides[data.state.level]),
  };
  const state = { ...start };
  let found = null; // who learns what in this state

  const picture = scenePicture(data, state, { lookAt, moveBox });
  const reason = html("p", { class: "why" });
  const target = html("p", { class: "wanted" });
  const table = tableOfObjects(names);
  const totals = html("p", { class: "totals" });
  const counts = tableOfObjects(names);
  const key = html("p", { class: "note" });

  const ruleChoice = choice({ label: "rule", options: RULES, onChange: (rule) => set({ rule }) });
  const levelChoice = choice({
    label: "stride",
    options: strides.map((stride, level) => [level, String(stride)]),
    onChange: (level) => set({ level }),
  });
  const shadeChoice = choice({
    label: "show",
    options: [
      [false, "who learns"],
      [true, "centerness"],
    ],
    onChange: (shaded) => set({ shaded }),
  });
  const sampledChoice = choice({
    label: "an object is learnt",
    options: [
      [true, "near its centre"],
      [false, "in all of its box"],
    ],
    onChange: (sampled) => set({ sampled }),
  });
  const radiusSlider = slider({
    label: "radius in strides",
    ...{ min: 0.25, max: 4, step: 0.25 },
    onInput: (radius) => set({ radius }),
  });

  // The levels' ranges meet: one end pushes the other along.
  const endSliders = [0, 1].map((i) =>
    slider({
      label: `stride ${strides[i]} up to`,
      ...{ min: 4, max: 128, step: 2 },
      describe: (value) => `${value} px`,
      onInput: (end) => set({ ends: withEnd(state.ends, i, end) }),
    }),
  );
  const kSlider = slider({
    label: "candidates a level, k",
    ...{ min: 1, max: 25, step: 1, digits: 0 },
    onInput: (k) => set({ k }),
  });
  const sideSlider = slider({
    label: "side of the boxes in strides",
    ...{ min: 1, max: 12, step: 0.5, digits: 1 },
    onInput: (anchorSide) => set({ anchorSide }),
  });
  const backButton = button("back to the start", () => set(start));

  const row = (...controls) => html("div", { class: "row" }, ...controls);
  const ownRows = {
    fcos: [sampledChoice, radiusSlider, ...endSliders].map(({ element }) => row(element)),
    atss: [kSlider, sideSlider].map(({ element }) => row(element)),
  };
  figure.stage.append(
    row(ruleChoice.element, levelChoice.element, shadeChoice.element),
    html(
      "div",
      { class: "panels" },
      html("div", {}, picture.element, reason, target, table.element),
      html("div", {}, ...ownRows.fcos, ...ownRows.atss, row(backButton), counts.element, totals, key),
    ),
  );

  function set(changes) {
    // Another level has other cells: look at the one that holds the same place.
    const oldStride = strides[state.level];
    Object.assign(state, changes);
    const stride = strides[state.level];
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

  function moveBox(index, box) {
    set({ boxes: state.boxes.map((old, n) => (n === index ? box : old)) });
  }

  function radiusNow() {
    return state.sampled ? state.radius : null;
  }

  function work() {
    const { rule, boxes, ends, k, anchorSide } = state;
    found =
      rule === "fcos"
        ? fcosTargets(locations, boxes, { radius: radiusNow(), ends })
        : atssTargets(locations, boxes, { k, anchorSide });

    // What those that learn an object are to say of it.
    found.distances = found.assigned.map((n, p) =>
      n === BACKGROUND
        ? [0, 0, 0, 0]
        : distancesTo(boxes[n], locations[p].point, locations[p].stride),
    );
    found.centerness = found.distances.map(centernessOf);

    // Which are wanted by several; how many learn each object on each level; who has none.
    found.ambiguous = found.wanted.flatMap((row, p) => (row.filter(Boolean).length > 1 ? [p] : []));
    found.counts = boxes.map((_, n) =>
      strides.map(
        (_, level) =>
          found.assigned.filter((m, p) => m === n && locations[p].level === level).length,
      ),
    );
    found.without = boxes.flatMap((_, n) => (sum(found.counts[n]) === 0 ? [n] : []));
  }

  const onLevel = (p) => locations[p].level === state.level;
  const called = (n) => `${LETTERS[n]} (${names[n]})`;
  const listed = (words) =>
    words.length < 2 ? words.join() : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

  function askedLocation() {
    const before = sum(strides.slice(0, state.level).map((stride) => (side / stride) ** 2));
    return before + state.cell[1] * (side / strides[state.level]) + state.cell[0];
  }

  function show() {
    const { rule } = state;
    ruleChoice.show(rule);
    levelChoice.show(state.level);
    shadeChoice.show(state.shaded);
    sampledChoice.show(state.sampled);
    radiusSlider.show(state.radius);
    radiusSlider.input.disabled = !state.sampled;
    endSliders.forEach((one, i) => one.show(state.ends[i]));
    kSlider.show(state.k);
    sideSlider.show(state.anchorSide);
    for (const [name, rows] of Object.entries(ownRows)) {
      for (const one of rows) one.style.display = name === rule ? "" : "none";
    }

    picture.showObjects(found.without);
    const here = locations.flatMap((_, p) => (onLevel(p) ? [p] : []));
    picture.ground.replaceChildren(
      ...(state.shaded ? here.flatMap(shadeOf) : regionsOf(strides[state.level])),
    );
    picture.marks.replaceChildren(...(state.shaded ? [] : here.flatMap(markOf)));

    counts.show(
      found.counts.map((row) => ({
        ...Object.fromEntries(strides.map((stride, level) => [`stride ${stride}`, row[level]])),
        all: sum(row),
      })),
    );
    totals.textContent = totalsInWords();
    key.textContent = `${KEYS[rule]} ${SHARED}${state.shaded ? ` ${SHADES}` : ""}`;
    showCell();
    figure.announce(`${totals.textContent} ${reason.textContent} ${target.textContent}`);
  }

  function totalsInWords() {
    const { assigned, ambiguous, without } = found;
    const learners = assigned.filter((n, p) => n !== BACKGROUND && onLevel(p)).length;
    const shared = ambiguous.filter(onLevel);
    const winners = state.boxes.flatMap((_, n) => {
      const won = shared.filter((p) => assigned[p] === n).length;
      return won ? [`${won} to ${LETTERS[n]}`] : [];
    });
    const cells = (side / strides[state.level]) ** 2;
    const how = shared.length ? ` (${winners.join(", ")})` : "";
    const missed = without.length
      ? `No location at all learns ${listed(without.map(called))}.`
      : "Every object has a location that learns it.";
    return (
      `Stride ${strides[state.level]}: ${learners} of ${cells} locations learn an object; wanted ` +
      `by several: ${shared.length}${how}, on all levels ${ambiguous.length} of ` +
      `${locations.length}. ${missed}`
    );
  }

  /** Draw where an object may be learnt on this level: the square about its centre, in its box. */
  function regionsOf(stride) {
    if (state.rule !== "fcos") return [];
    return state.boxes.map((box, n) => {
      const [x, y] = middleOf(box);
      const reach = state.sampled ? state.radius * stride : Infinity;
      const [x1, y1, x2, y2] = box;
      const region = [
        Math.max(x1, x - reach),
        Math.max(y1, y - reach),
        Math.min(x2, x + reach),
        Math.min(y2, y + reach),
      ];
      return svg("rect", { ...rectangle(region), fill: COLOURS[n], "fill-opacity": 0.3 });
    });
  }

  /** Draw a cell as full of its object's colour as it is central. */
  function shadeOf(p) {
    const n = found.assigned[p];
    if (n === BACKGROUND) return [];
    const { point, stride } = locations[p];
    const look = { x: point[0] - stride / 2, y: point[1] - stride / 2, width: stride, height: stride };
    return [
      svg("rect", { ...look, fill: DARK, "fill-opacity": 0.75 }),
      svg("rect", { ...look, fill: COLOURS[n], "fill-opacity": found.centerness[p] }),
    ];
  }

  /** Draw a location: a dot if it learns, a hollow one if it nearly does, a ring if it is shared. */
  function markOf(p) {
    const { point, stride } = locations[p];
    const [cx, cy] = point;
    const radius = 1 + 0.06 * stride;
    const n = found.assigned[p];
    if (n === BACKGROUND) {
      const nearly = found.near[p].indexOf(true);
      if (nearly < 0) return [];
      const hollow = { cx, cy, r: radius - 0.2 };
      return [
        svg("circle", { ...hollow, stroke: DARK, "stroke-width": 1 }),
        svg("circle", { ...hollow, class: "nearly", stroke: COLOURS[nearly], "stroke-width": 0.45 }),
      ];
    }

    const rim = { stroke: DARK, "stroke-width": 0.5 };
    const dot = svg("circle", { cx, cy, r: radius, class: "learner", fill: COLOURS[n], ...rim });
    if (!found.ambiguous.includes(p)) return [dot];
    const ring = { cx, cy, r: radius + 0.75 };
    return [
      dot,
      svg("circle", { ...ring, stroke: DARK, "stroke-width": 1.2 }),
      svg("circle", { ...ring, class: "shared", stroke: "#fff", "stroke-width": 0.65 }),
    ];
  }

  function showCell() {
    const p = askedLocation();
    const n = found.assigned[p];
    picture.showCell(strides[state.level]);
    picture.asked.replaceChildren(
      ...(state.rule === "atss" ? outlineOf(found.anchors[p], "#fff") : []),
      ...(n === BACKGROUND ? [] : distanceLines(locations[p].point, state.boxes[n], COLOURS[n])),
    );

    const { why, rows } = state.rule === "fcos" ? standsInFcos(p) : standsInAtss(p);
    const [x, y] = locations[p].point;
    reason.textContent =
      `Column ${state.cell[0] + 1}, row ${state.cell[1] + 1} of stride ${strides[state.level]}, ` +
      `at (${x}, ${y}): ${why}`;
    target.textContent = wantedInWords(p);
    table.show(rows);
    figure.announce(`${reason.textContent} ${target.textContent}`);
  }

  function wantedInWords(p) {
    const n = found.assigned[p];
    if (n === BACKGROUND) return "Target: 0 for every class; no box.";
    const [left, top, right, bottom] = found.distances[p].map((value) => written(value));
    return (
      `Target: 1 for ${names[n]}, 0 for other classes; ${left} strides to the left side, ` +
      `${top} to the top, ${right} to the right, ${bottom} to the bottom; centerness ` +
      `${written(found.centerness[p])}.`
    );
  }

  /** Say which others wanted a location, and why they lost: they are worse, or come later. */
  function rivals(p, isWorse, how) {
    const n = found.assigned[p];
    const others = state.boxes.flatMap((_, m) => (found.wanted[p][m] && m !== n ? [m] : []));
    if (others.length === 0) return "";
    const verb = others.length > 1 ? "want" : "wants";
    const reason = others.every(isWorse) ? how : `${how}, or as good and comes first`;
    return ` ${listed(others.map(called))} ${verb} it, too; ${LETTERS[n]} ${reason}.`;
  }

  function standsInFcos(p) {
    const n = found.assigned[p];
    const stands = found.stands[p];
    const yes = (is) => (is ? "yes" : "no");
    const rows = stands.map(({ inside, central, farthest, inRange }, m) => ({
      inside: yes(inside),
      "near centre": state.sampled ? yes(central) : "–",
      "farthest side": written(farthest, 1),
      "in range": yes(inRange),
      area: areaOf(state.boxes[m]),
    }));

    const [low, high] = rangeOf(state.level, state.ends);
    const range = high === Infinity ? `from ${low} px on` : `${low} to ${high} px`;
    if (n !== BACKGROUND) {
      const place = state.sampled ? "inside and near the centre" : "inside";
      return {
        why:
          `it learns ${called(n)}: ${place}, and the farthest side, ` +
          `${written(stands[n].farthest, 1)} px away, is in the range of this level, ${range}.` +
          rivals(p, (m) => areaOf(state.boxes[m]) > areaOf(state.boxes[n]), "is smaller"),
        rows,
      };
    }

    // How far did it come?
    const near = state.boxes.flatMap((_, m) => (found.near[p][m] ? [m] : []));
    const inside = state.boxes.flatMap((_, m) => (stands[m].inside ? [m] : []));
    let why = "it lies inside no object.";
    if (near.length > 0) {
      const sides = near.map((m) => `${written(stands[m].farthest, 1)} px to ${called(m)}`);
      why = `the farthest side, ${listed(sides)}, is not in the range of this level, ${range}.`;
    } else if (inside.length > 0) {
      why =
        `it lies inside ${listed(inside.map(called))}, but not within ${written(state.radius)} ` +
        `strides of ${inside.length > 1 ? "their centres" : "its centre"}.`;
    }
    return { why, rows };
  }

  function standsInAtss(p) {
    const n = found.assigned[p];
    const { point } = locations[p];
    const rows = state.boxes.map((box, m) => ({
      [`one of the ${state.k}`]: found.near[p][m] ? "yes" : "no",
      IoU: written(found.iou[m][p], 3),
      threshold: written(found.thresholds[m], 3),
      inside: isInside(point, box) ? "yes" : "no",
    }));
    if (n !== BACKGROUND) {
      return {
        why:
          `it learns ${called(n)}: one of its ${state.k} nearest on this level, inside it, and ` +
          `its box has an IoU of ${written(found.iou[n][p], 3)} with it, where ` +
          `${written(found.thresholds[n], 3)} is enough.` +
          rivals(p, (m) => found.iou[m][p] < found.iou[n][p], "overlaps its box more"),
        rows,
      };
    }

    const near = state.boxes.flatMap((_, m) => (found.near[p][m] ? [m] : []));
    const high = near.filter((m) => found.iou[m][p] >= found.thresholds[m]);
    let why = "it is not among the nearest of any object.";
    if (high.length > 0) {
      why = `its box overlaps ${listed(high.map(called))} enough, but it does not lie inside.`;
    } else if (near.length > 0) {
      const ious = near.map(
        (m) =>
          `${written(found.iou[m][p], 3)} with ${called(m)}, which asks for ` +
          `${written(found.thresholds[m], 3)}`,
      );
      why = `it is among the nearest, but its box has too low an IoU: ${listed(ious)}.`;
    }
    return { why, rows };
  }

  set({});
  return { set, get: () => ({ ...state, ...found }) };
});

/** Set one of the two ends, and take the other along where they would cross. */
function withEnd([first, second], i, end) {
  return i === 0 ? [end, Math.max(end, second)] : [Math.min(first, end), end];
}

/** Draw the distances from a point to the four sides of its object; letters name the longer ones. */
function distanceLines([x, y], [x1, y1, x2, y2], colour) {
  const ends = { l: [x1, y], t: [x, y1], r: [x2, y], b: [x, y2] };
  const length = ([endX, endY]) => Math.abs(endX - x) + Math.abs(endY - y);
  const path = Object.values(ends)
    .map(([endX, endY]) => `M${x} ${y}L${endX} ${endY}`)
    .join("");
  const named = Object.entries(ends).filter(([, end]) => length(end) >= SHORTEST_NAMED);
  const letters = named.map(([letter, [endX, endY]]) => {
    const isAcross = endY === y;
    const [middleX, middleY] = [(x + endX) / 2, (y + endY) / 2];
    const style = `font-size: 5px; font-weight: 700; fill: ${colour}; stroke: ${DARK}`;
    return svg(
      "text",
      {
        ...(isAcross ? { x: middleX, y: middleY - 1.2 } : { x: middleX + 2.2, y: middleY + 1.5 }),
        "text-anchor": "middle",
        style: `${style}; stroke-width: 1px; paint-order: stroke`,
      },
      letter,
    );
  });
  return [
    svg("path", { d: path, stroke: DARK, "stroke-width": 1.7 }),
    svg("path", { d: path, class: "distances", stroke: colour, "stroke-width": 0.8 }),
    ...letters,
  ];
}
