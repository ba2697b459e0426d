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
  const SMALLEST_OUTPUT = 9; // pixels
  const NARROW_LINE = 20; // characters; a shorter output may as well wrap

  // Reading a size after a change lays out the whole page: all is read before anything is changed.
  function fit(within = document) {
    fitFormulas(within);
    fitTables(within);
    fitOutputs(within);
  }

  // A table in plain text is one as long as its lines do not wrap.
  function fitOutputs(within) {
    const outputs = [...within.querySelectorAll(".highlight-myst-ansi pre")].filter((output) => {
      const lines = output.textContent.trimEnd().split("\n");
      output.longest = Math.max(...lines.map((line) => line.length));
      return lines.length >= 2 && output.longest >= NARROW_LINE;
    });
    if (!outputs.length) return;
    for (const output of outputs) output.style.fontSize = "";

    const width = letterWidth(outputs[0]);
    const sizes = outputs.map((output) => {
      const style = getComputedStyle(output);
      const room = output.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      const size = room / (output.longest * width);
      return size < parseFloat(style.fontSize) && size >= SMALLEST_OUTPUT ? size : 0;
    });
    outputs.forEach((output, index) => {
      if (sizes[index]) output.style.fontSize = `${Math.floor(10 * sizes[index]) / 10}px`;
    });
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

  // Few rows with many columns become as many rows with few columns.
  const FEW_ROWS = 3;
  const MANY_COLUMNS = 6;

  function turn(table) {
    const names = [...table.querySelectorAll("thead th")];
    const lines = [...table.querySelectorAll("tbody tr")].map((row) => [...row.children]);
    if (names.length < MANY_COLUMNS || !lines.length || lines.length > FEW_ROWS) return;
    if (lines.some((line) => line.length !== names.length)) return;

    const rows = names.map((name, index) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.append(...name.childNodes);
      row.append(head);
      for (const line of lines) {
        const value = document.createElement("td");
        value.append(...line[index].childNodes);
        row.append(value);
      }
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

  function fitTables(within) {
    const places = [...within.querySelectorAll(".pst-scrollable-table-container")];
    const tables = places.map((place) => place.querySelector("table"));
    for (const table of tables) {
      table.style.fontSize = "";
      table.classList.remove("tight");
    }

    const wide = (place) => place.clientWidth && place.scrollWidth > place.clientWidth + 1;
    for (const place of places.filter(wide)) {
      const table = place.querySelector("table");
      table.classList.add("tight");

      // Columns get narrower by steps, and padding does not shrink with every letter: try.
      const size = parseFloat(getComputedStyle(table).fontSize);
      for (let share = 1; share >= SMALLEST_TABLE && wide(place); share -= 0.04)
        table.style.fontSize = `${share * size}px`;
      if (wide(place)) turn(table);
    }
  }

  function fitFormulas(within) {
    const places = [...within.querySelectorAll("div.math, span.math")].filter((place) => place.firstElementChild);
    for (const place of places) place.style.fontSize = "";

    const shares = places.map((place) => {
      const room = place.tagName === "DIV" ? place : place.closest("p, li, td, th, dd, figcaption, summary");
      if (!room || !room.clientWidth) return 1;

      const number = place.querySelector(".eqno");
      const style = getComputedStyle(room);
      const width =
        room.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) -
        (number ? number.offsetWidth : 0) -
        (place.tagName === "SPAN" ? 8 : 0); // the comma that follows must not break off
      const needed = Math.max(...[...place.querySelectorAll("mjx-math, math, svg")]
        .map((part) => part.getBoundingClientRect().width), 0);
      return needed > width ? (0.99 * width) / needed : 1;
    });
    places.forEach((place, index) => {
      if (shares[index] < 1) place.style.fontSize = `${100 * Math.max(SMALLEST, shares[index])}%`;
    });
  }

  function article() {
    return document.querySelector(".bd-article") || document;
  }

  function fitWhenSet() {
    const ready = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
    (ready || Promise.resolve()).then(() => fit(article()));
  }

  // A phone reports a new height whenever its address bar comes or goes.
  let lastWidth = window.innerWidth;

  function fitToNewWidth() {
    if (window.innerWidth === lastWidth) return;
    lastWidth = window.innerWidth;
    fit(article());
  }

  document.addEventListener("DOMContentLoaded", prepare);
  document.addEventListener("DOMContentLoaded", letNamesBreak);
  window.addEventListener("load", fitWhenSet);
  window.addEventListener("resize", fitToNewWidth);
  window.addEventListener("beforeprint", () => fit(article()));
  // What is folded has no width before.
  document.addEventListener("toggle", (event) => fit(event.target), true);
})();
