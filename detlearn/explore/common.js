// What all figures share: how a figure is started, its controls, what can be moved, a small chart.
// This file and the figure's own stand inside one function in the page, so no name leaves it.

// ---- starting a figure -------------------------------------------------------------------------

/**
 * Bring a figure to life.
 *
 * `build(figure, data)` fills `figure.stage` and returns `{ set(state), get() }`, by which a test
 * moves the figure and reads its numbers (`element.detlearn` in the page). The still picture gives
 * way only when all of this has worked; until then `figure.still` is where it stands.
 *
 * It runs at once, so the constants of a figure's file stand above this call.
 */
function explorable(name, build) {
  // A notebook may run the script away from where it stands: then all figures of this name that
  // wait for their script are started.
  const own = document.currentScript?.closest(".detlearn-explore");
  const waiting = `.detlearn-explore[data-figure="${name}"]:not([data-started])`;
  const roots = own ? [own] : document.querySelectorAll(waiting);

  for (const root of roots) {
    root.dataset.started = "";
    const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);

    const stage = html("div", { class: "stage" });
    const spoken = html("p", { class: "spoken", "aria-live": "polite" });
    const still = root.querySelector(".stage");
    const figure = { root, stage, still, announce: announcer(spoken) };
    const handle = build(figure, data);

    still.replaceWith(stage, spoken);
    followInk(root);
    root.detlearn = handle;
  }
}

/** Return a function that lets a screen reader say a text, once the reader's hand is at rest. */
function announcer(element) {
  let timer = null;
  return (text) => {
    clearTimeout(timer);
    timer = setTimeout(() => (element.textContent = text), 400);
  };
}

/** Keep `data-dark` true to the page: the ink that it gives us is light where the page is dark. */
function followInk(root) {
  const look = () => {
    const [red, green, blue] = getComputedStyle(root).color.match(/[\d.]+/g).map(Number);
    const isLight = 0.299 * red + 0.587 * green + 0.114 * blue > 140;
    root.toggleAttribute("data-dark", isLight);
  };

  // A theme may fade its colours over some tenths of a second, so look once more after that.
  const lookTwice = () => {
    look();
    setTimeout(look, 400);
  };
  lookTwice();
  const watcher = new MutationObserver(lookTwice);
  watcher.observe(document.documentElement, { attributes: true });
  watcher.observe(document.body, { attributes: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", lookTwice);
}

// ---- elements ----------------------------------------------------------------------------------

/** Make an HTML element: `html("p", { class: "note", onclick: f }, "text", another)`. */
function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Make an SVG element, in the same way. */
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  return filled(element, attributes, children);
}

function filled(element, attributes, children) {
  change(element, attributes);
  element.append(...children);
  return element;
}

/** Set attributes; a function becomes a listener, `true` an empty attribute, `null` removes one. */
function change(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.replace(/^on/, ""), value);
    } else if (value === null || value === undefined || value === false) {
      element.removeAttribute(name);
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  return element;
}

/** Return an id that nothing else on the page has, for what must be named by an id. */
function uniqueId(prefix) {
  window.detlearnIds = (window.detlearnIds ?? 0) + 1;
  return `detlearn-${prefix}-${window.detlearnIds}`;
}

// ---- numbers -----------------------------------------------------------------------------------

/** Write a number with so many digits after the point, and a real minus sign; never "−0.00". */
function written(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** Sum in the given order, as a loop would. */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

// ---- boxes: [x1, y1, x2, y2] -------------------------------------------------------------------

/** Return the intersection over union, as `detlearn.boxes.box_iou` does: 0 without any area. */
function boxIou([left1, top1, right1, bottom1], [left2, top2, right2, bottom2]) {
  const width = Math.max(Math.min(right1, right2) - Math.max(left1, left2), 0);
  const height = Math.max(Math.min(bottom1, bottom2) - Math.max(top1, top2), 0);
  const intersection = width * height;

  const area1 = (right1 - left1) * (bottom1 - top1);
  const area2 = (right2 - left2) * (bottom2 - top2);
  const union = area1 + area2 - intersection;
  return union === 0 ? 0 : intersection / union;
}

/** Return a box as the attributes of a `<rect>`. */
function rectangle([x1, y1, x2, y2]) {
  return { x: x1, y: y1, width: Math.max(x2 - x1, 0), height: Math.max(y2 - y1, 0) };
}

// ---- controls ----------------------------------------------------------------------------------

/**
 * Make a slider with its label and its value beside it.
 *
 * The figure's state is its own: `show(value)` moves the slider to a value, which may lie between
 * two of its steps, and `onInput(value)` tells what the reader has chosen. Arrow keys go one step,
 * with Shift ten.
 */
function slider({ label, min, max, step, digits = 2, describe = null, onInput }) {
  const id = uniqueId("slider");
  const output = html("output", { for: id });
  const input = html("input", { id, type: "range", min, max, step });
  const words = describe ?? ((value) => written(value, digits));

  const show = (value) => {
    input.value = value;
    output.textContent = words(value);
    input.setAttribute("aria-valuetext", words(value));
  };

  input.addEventListener("input", () => onInput(input.valueAsNumber));
  input.addEventListener("keydown", (event) => {
    const direction = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (direction && event.shiftKey) {
      event.preventDefault();
      onInput(clamp(input.valueAsNumber + direction * 10 * step, input.min, input.max));
    }
  });

  const name = html("label", { for: id }, label);
  const element = html("div", { class: "slider" }, name, input, output);
  return { element, input, show };
}

function button(label, onClick, attributes = {}) {
  return html("button", { type: "button", onclick: onClick, ...attributes }, label);
}

/** Make a row of words of which one is chosen. `options` are pairs: a value and its word. */
function choice({ label, options, onChange }) {
  const name = uniqueId("choice");
  const inputs = options.map(([value]) =>
    html("input", { type: "radio", name, value, onchange: () => onChange(value) }),
  );
  const labels = options.map(([, word], i) => html("label", {}, inputs[i], word));

  const element = html("fieldset", { class: "choice" }, html("legend", {}, label), ...labels);
  const show = (chosen) => inputs.forEach((input, i) => (input.checked = options[i][0] === chosen));
  return { element, show };
}

// ---- what can be moved -------------------------------------------------------------------------

/**
 * Let an SVG element be moved by mouse, finger and keys.
 *
 * `space` is the element in whose coordinates the figure counts. `place()` says where the thing is,
 * `move({ x, y })` brings it as near to a wanted place as the figure allows. Arrow keys go `step`,
 * with Shift ten times as far. `describe()` says in words where the thing is now.
 */
function movable(element, { label, space, place, move, describe, step = 1 }) {
  change(element, { class: "movable", tabindex: 0, role: "slider", "aria-label": label });
  element.setAttribute("aria-roledescription", "point to move with the arrow keys");

  const tell = () => {
    element.setAttribute("aria-valuenow", written(place().x, 0));
    element.setAttribute("aria-valuetext", describe());
  };

  // The distance from the pointer to the thing stays what it was when the pointer came down.
  let grip = null;
  element.addEventListener("pointerdown", (event) => {
    const pointer = pointIn(space, event);
    const { x, y } = place();
    grip = { x: x - pointer.x, y: y - pointer.y };
    element.setPointerCapture(event.pointerId);
    element.focus({ preventScroll: true });
    event.preventDefault();
  });
  element.addEventListener("pointermove", (event) => {
    if (grip) {
      const pointer = pointIn(space, event);
      move({ x: pointer.x + grip.x, y: pointer.y + grip.y });
    }
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    element.addEventListener(end, () => (grip = null));
  }

  // A finger would scroll the page instead, after a few pixels: touch-action, which is there to
  // prevent it, does nothing on parts of an SVG.
  element.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });

  const directions = {
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, -1],
    ArrowDown: [0, 1],
  };
  element.addEventListener("keydown", (event) => {
    const direction = directions[event.key];
    if (!direction) return;
    event.preventDefault();

    const far = event.shiftKey ? 10 * step : step;
    const { x, y } = place();
    move({ x: x + direction[0] * far, y: y + direction[1] * far });
  });

  tell();
  return { element, tell };
}

/** Return where a pointer is, in the coordinates of an SVG element. */
function pointIn(space, event) {
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(space.getScreenCTM().inverse());
}

// ---- movement in time --------------------------------------------------------------------------

/** Say whether the reader has asked for less movement. */
function wantsStillness() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Return a player: it calls `step()` until that returns false or `stop()` is called.
 *
 * Where the reader has asked for less movement all steps are made at once. `onChange(isRunning)`
 * lets a button tell what it would do.
 */
function player(step, { pause = 60, onChange = () => {} } = {}) {
  let timer = null;

  const stop = () => {
    clearInterval(timer);
    timer = null;
    onChange(false);
  };
  const start = () => {
    if (wantsStillness()) {
      while (step());
      return;
    }
    timer = setInterval(() => step() || stop(), pause);
    onChange(true);
  };
  const toggle = () => (timer === null ? start() : stop());
  return { start, stop, toggle, isRunning: () => timer !== null };
}

// ---- a chart -----------------------------------------------------------------------------------

/**
 * Make axes to draw in: `x` and `y` are `{ from, to, ticks, label, digits }`.
 *
 * A chart with something to move in it takes the `role` "group" instead of the picture's.
 *
 * Returns the SVG `element`, the `layer` to draw in, and the places of numbers: `across(x)` and
 * `down(y)`, in the units of the SVG, which are pixels where the chart is shown at full size.
 */
function plot({ width = 340, height = 240, x, y, label, role = "img" }) {
  const frame = { left: 44, right: width - 10, top: 10, bottom: height - 40 };
  const along = (axis, first, last) => (value) =>
    first + ((value - axis.from) / (axis.to - axis.from)) * (last - first);
  const across = along(x, frame.left, frame.right);
  const down = along(y, frame.bottom, frame.top);

  const marks = svg("g", { "aria-hidden": "true" });
  for (const tick of x.ticks) {
    const place = across(tick);
    const text = { x: place, y: frame.bottom + 15, "text-anchor": "middle" };
    marks.append(
      svg("line", { class: "grid", x1: place, x2: place, y1: frame.top, y2: frame.bottom }),
      svg("text", text, written(tick, x.digits ?? 1)),
    );
  }
  for (const tick of y.ticks) {
    const place = down(tick);
    const text = { x: frame.left - 6, y: place + 4, "text-anchor": "end" };
    marks.append(
      svg("line", { class: "grid", x1: frame.left, x2: frame.right, y1: place, y2: place }),
      svg("text", text, written(tick, y.digits ?? 1)),
    );
  }

  const middle = { x: (frame.left + frame.right) / 2, y: (frame.top + frame.bottom) / 2 };
  const turned = `translate(11 ${middle.y}) rotate(-90)`;
  marks.append(
    svg("line", {
      class: "axis",
      x1: frame.left,
      x2: frame.right,
      y1: frame.bottom,
      y2: frame.bottom,
    }),
    svg("text", { x: middle.x, y: height - 7, "text-anchor": "middle" }, x.label),
    svg("text", { transform: turned, "text-anchor": "middle" }, y.label),
  );

  const layer = svg("g");
  const box = { viewBox: `0 0 ${width} ${height}`, width, role, "aria-label": label };
  return { element: svg("svg", box, marks, layer), layer, frame, across, down };
}

/** Return the path through points: `[[x, y], …]`, in the units of the SVG. */
function pathThrough(points) {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`).join("");
}
