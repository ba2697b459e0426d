// Enlarges a figure on a click, a tap or Enter, and makes formulas, tables and printed tables fit
// that are wider than their column.

(() => {
  "use strict";

  const PICTURES = "figure.numbered img, figure.numbered .detlearn-flow, .bd-article .detlearn-chart";
  const LIVE = "input, select, script, canvas"; // what is moved by hand is not enlarged by a click
  const ICON =
    '<svg viewBox="0 0 16 16" width="14" height="14" fill="none" stroke="currentColor" ' +
    'stroke-width="1.6" aria-hidden="true"><path d="M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4"/></svg>';

  function dialog() {
    const box = document.createElement("dialog");
    box.className = "enlarged";
    box.setAttribute("aria-label", "Enlarged figure");
    box.innerHTML =
      '<button type="button" class="close" aria-label="Close">×</button>' +
      '<div class="picture"></div><p class="words"></p>';
    // Escape closes a dialog by itself, and the browser gives the focus back to where it was.
    box.addEventListener("click", () => box.close());
    document.body.append(box);
    return box;
  }

  function enlarge(box, picture, words) {
    const copy = picture.cloneNode(true);
    copy.removeAttribute("width");
    copy.removeAttribute("height");
    box.querySelector(".picture").replaceChildren(copy);
    box.querySelector(".words").textContent = words;
    box.showModal();
  }

  function captionOf(picture) {
    const caption = picture.closest("figure")?.querySelector("figcaption .caption-text, figcaption p");
    if (!caption) return "";
    const copy = caption.cloneNode(true);
    copy.querySelectorAll(".headerlink").forEach((link) => link.remove());
    return copy.textContent.trim();
  }

  function prepare() {
    let box = null;

    // Sphinx links a scaled picture to its file, for readers without scripts; here it is enlarged.
    for (const link of document.querySelectorAll("figure.numbered a.image-reference"))
      link.replaceWith(...link.childNodes);

    for (const picture of new Set(document.querySelectorAll(PICTURES))) {
      const frame = picture.closest("figure") || picture.parentElement;
      if (picture.closest("a, dialog") || frame.querySelector(LIVE)) continue;

      const words = captionOf(picture);
      const name = (words.match(/^Figure \d+\.\d+/) || ["the figure"])[0];
      const holder = document.createElement("div");
      holder.className = "enlargeable";
      picture.replaceWith(holder);

      const button = document.createElement("button");
      button.type = "button";
      button.className = "enlarge";
      button.setAttribute("aria-label", `Enlarge ${name}`);
      button.innerHTML = ICON;
      holder.append(picture, button);

      const show = () => {
        box = box || dialog();
        button.focus({ preventScroll: true }); // where the focus comes back to
        enlarge(box, picture, words);
      };
      picture.addEventListener("click", show);
      button.addEventListener("click", show);
    }
  }

  // What is wider than its place becomes smaller, down to a size that can still be read.
  const SMALLEST = 0.55; // of a formula
  const SMALLEST_TABLE = 0.72;
  const SMALLEST_OUTPUT = 10; // pixels
  const NARROW_LINE = 20; // characters; a shorter output may as well wrap

  function fit() {
    fitFormulas();
    fitTables();
    fitOutputs();
  }

  // A table in plain text is one as long as its lines do not wrap.
  function fitOutputs() {
    for (const output of document.querySelectorAll(".bd-article .cell_output .highlight pre")) {
      output.style.fontSize = "";
      const lines = output.textContent.trimEnd().split("\n");
      const longest = Math.max(...lines.map((line) => line.length));
      if (lines.length < 3 || longest < NARROW_LINE || !output.clientWidth) continue;

      const style = getComputedStyle(output);
      const room = output.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      const size = room / (longest * letterWidth(output));
      if (size < parseFloat(style.fontSize) && size >= SMALLEST_OUTPUT)
        output.style.fontSize = `${Math.floor(10 * size) / 10}px`;
    }
  }

  // Of a letter in the font of code, in units of its size; the same in all outputs.
  let letter = 0;

  function letterWidth(output) {
    if (letter) return letter;
    const probe = document.createElement("span");
    probe.textContent = "0".repeat(100);
    probe.style.cssText = "position:absolute;visibility:hidden;font-size:100px;white-space:pre";
    output.append(probe);
    letter = probe.getBoundingClientRect().width / 10000;
    probe.remove();
    return letter;
  }

  // A single row with many columns becomes two columns with many rows.
  function turn(table) {
    const names = [...table.querySelectorAll("thead th")];
    const values = [...table.querySelectorAll("tbody tr:only-child > *")];
    if (names.length < 6 || names.length !== values.length) return;

    const rows = names.map((name, index) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      const value = document.createElement("td");
      head.scope = "row";
      head.append(...name.childNodes);
      value.append(...values[index].childNodes);
      row.append(head, value);
      return row;
    });
    const body = document.createElement("tbody");
    body.append(...rows);
    table.replaceChildren(body);
    table.classList.add("turned");
    table.style.fontSize = "";
  }

  // A long name in a table may break after an underscore.
  function letNamesBreak() {
    const names = ".bd-article th p, .bd-article td code, .bd-article td code .pre";
    for (const cell of document.querySelectorAll(names)) {
      if (cell.childElementCount || !cell.textContent.includes("_")) continue;
      const parts = cell.textContent.split(/(?<=_)/);
      cell.replaceChildren(...parts.flatMap((part) => [part, document.createElement("wbr")]));
    }
  }

  function fitTables() {
    for (const place of document.querySelectorAll(".bd-article .pst-scrollable-table-container")) {
      const table = place.querySelector("table");
      table.style.fontSize = "";
      table.classList.remove("tight");
      if (!place.clientWidth) continue;
      table.classList.toggle("tight", place.scrollWidth > place.clientWidth + 1);

      // Columns get narrower by steps, and padding does not shrink with every letter: try.
      const size = parseFloat(getComputedStyle(table).fontSize);
      for (let share = 0.96; share >= SMALLEST_TABLE; share -= 0.04) {
        if (place.scrollWidth <= place.clientWidth + 1) break;
        table.style.fontSize = `${share * size}px`;
      }
      if (place.scrollWidth > place.clientWidth + 1) turn(table);
    }
  }

  function fitFormulas() {
    for (const place of document.querySelectorAll(".bd-article div.math, .bd-article span.math")) {
      const formula = place.firstElementChild;
      if (!formula) continue;
      place.style.fontSize = "";
      const room = place.tagName === "DIV" ? place : place.closest("p, li, td, th, dd, figcaption, summary");
      if (!room || !room.clientWidth) continue;

      const number = place.querySelector(".eqno");
      const style = getComputedStyle(room);
      const width =
        room.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) -
        (number ? number.offsetWidth : 0) -
        (place.tagName === "SPAN" ? 8 : 0); // the comma that follows must not break off
      const needed = Math.max(...[...place.querySelectorAll("mjx-math, math, svg")]
        .map((part) => part.getBoundingClientRect().width), 0);
      if (needed > width) place.style.fontSize = `${100 * Math.max(SMALLEST, (0.99 * width) / needed)}%`;
    }
  }

  function fitWhenSet() {
    const ready = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
    (ready || Promise.resolve()).then(fit);
  }

  document.addEventListener("DOMContentLoaded", prepare);
  document.addEventListener("DOMContentLoaded", letNamesBreak);
  window.addEventListener("load", fitWhenSet);
  window.addEventListener("resize", fit);
  window.addEventListener("beforeprint", fit);
  document.addEventListener("toggle", fit, true); // a formula in a fold has no width before
})();
