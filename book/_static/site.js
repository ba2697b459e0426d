/* What every page does besides the theme. */

// A printed page has all its pictures, not only those that the reader came near.
window.addEventListener("beforeprint", () => {
  for (const image of document.querySelectorAll("img[loading=lazy]")) image.loading = "eager";
});

// What scrolls sideways can be scrolled from the keyboard: it takes the focus while it is too wide.
(() => {
  const NAME = "Wider than the page: scrolls sideways";

  function mark() {
    for (const element of document.querySelectorAll("article *")) {
      const ours = element.dataset.scrolls !== undefined;
      if (!ours && element.tabIndex >= 0) continue;
      const wide =
        (element.scrollWidth > element.clientWidth + 1 ||
          element.scrollHeight > element.clientHeight + 12) &&
        element.clientWidth > 0 &&
        /auto|scroll/.test(getComputedStyle(element).overflowX);
      if (wide === ours) continue;
      if (wide) {
        element.dataset.scrolls = "";
        element.tabIndex = 0;
        if (!element.hasAttribute("role") && element.tagName !== "TABLE") {
          element.setAttribute("role", "group");
          element.setAttribute("aria-label", NAME);
        }
      } else {
        delete element.dataset.scrolls;
        element.tabIndex = -1;
        if (element.getAttribute("aria-label") === NAME) {
          element.removeAttribute("role");
          element.removeAttribute("aria-label");
        }
      }
    }
  }

  let timer = 0;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(mark, 150);
  };
  window.addEventListener("load", () => {
    mark();
    if (window.MathJax && window.MathJax.startup && window.MathJax.startup.promise) {
      window.MathJax.startup.promise.then(mark);
    }
  });
  window.addEventListener("resize", soon);
  document.addEventListener("toggle", soon, true); // an opened <details>
})();
