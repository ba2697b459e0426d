/* Shows what a term means beside a link to its glossary entry: under the pointer, at the keyboard's
   focus, at the first tap of a finger (the second follows the link). Escape closes it. */

(() => {
  const entries = window.glossaryTerms || {};
  const links = [...document.querySelectorAll("article a[href*='#term-']")].filter(
    (link) => entries[decodeURIComponent(link.hash.slice(1))],
  );
  if (!links.length) return;

  const note = document.createElement("div");
  note.id = "term-note";
  note.className = "term-note";
  note.setAttribute("role", "tooltip");
  note.hidden = true;
  document.body.append(note);

  let shown = null; // the link whose note is open
  let timer = 0;
  let byFinger = false;

  function place(link) {
    const first = link.getClientRects()[0] || link.getBoundingClientRect();
    const wide = document.documentElement.clientWidth;
    const left = Math.max(8, Math.min(first.left, wide - note.offsetWidth - 8));
    const below = first.bottom + 6;
    const fits = below + note.offsetHeight < window.innerHeight;
    const top = fits || first.top < note.offsetHeight + 12 ? below
      : first.top - note.offsetHeight - 6;
    note.style.left = `${left + window.scrollX}px`;
    note.style.top = `${top + window.scrollY}px`;
  }

  function open(link) {
    clearTimeout(timer);
    if (shown === link) return;
    close();
    shown = link;
    note.innerHTML = entries[decodeURIComponent(link.hash.slice(1))];
    note.hidden = false;
    link.setAttribute("aria-describedby", note.id);
    place(link);
    // A page without formulas of its own has not loaded MathJax: then the formula stands as typed.
    if (note.querySelector(".math") && window.MathJax && window.MathJax.typesetPromise) {
      window.MathJax.typesetPromise([note]).then(() => shown === link && place(link));
    } else {
      for (const formula of note.querySelectorAll(".math")) {
        formula.textContent = formula.textContent.replace(/^\\\(|\\\)$/g, "");
      }
    }
  }

  function close() {
    clearTimeout(timer);
    if (shown) shown.removeAttribute("aria-describedby");
    shown = null;
    note.hidden = true;
  }

  const soon = (action, wait) => {
    clearTimeout(timer);
    timer = setTimeout(action, wait);
  };

  for (const link of links) {
    link.classList.add("term-link");
    link.addEventListener("pointerenter", (event) => {
      if (event.pointerType !== "touch") soon(() => open(link), 120);
    });
    link.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") soon(close, 250);
    });
    link.addEventListener("pointerdown", (event) => {
      byFinger = event.pointerType === "touch";
    });
    link.addEventListener("focus", () => {
      if (!byFinger) open(link);
    });
    link.addEventListener("blur", close);
    link.addEventListener("click", (event) => {
      if (byFinger && shown !== link) {
        event.preventDefault();
        open(link);
      }
      byFinger = false;
    });
  }

  // The pointer may rest on the note, to read it or to copy from it.
  note.addEventListener("pointerenter", () => clearTimeout(timer));
  note.addEventListener("pointerleave", () => soon(close, 250));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  document.addEventListener("pointerdown", (event) => {
    if (shown && !note.contains(event.target) && !shown.contains(event.target)) close();
  });
})();
