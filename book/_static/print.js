// Prints the page as a book: in light colours, and with ?solutions in the address with the answers.

(() => {
  "use strict";

  const ANSWERS = ".bd-article details:not(.hide)";
  const withAnswers = new URLSearchParams(location.search).has("solutions");
  const SHORT = 22; // lines of code
  const page = document.documentElement;
  let before = null;

  document.addEventListener("DOMContentLoaded", () => {
    // The theme prints a title of its own, which lacks the chapter's number.
    const printed = document.querySelector("#jb-print-docs-body h1");
    const title = document.querySelector(".bd-article h1")?.cloneNode(true);
    title?.querySelector(".headerlink")?.remove();
    if (printed && title) printed.textContent = title.textContent;

    // What is no longer than a third of a page is not divided.
    for (const code of document.querySelectorAll(".bd-article div.highlight pre")) {
      const frame = code.closest(".cell_input") || code.closest("div.highlight");
      if (code.textContent.trimEnd().split("\n").length <= SHORT) frame.classList.add("short-code");
    }

    if (withAnswers) document.querySelectorAll(ANSWERS).forEach((fold) => (fold.open = true));
  });

  // Whoever prints at once gets all pictures, too: those further down are not loaded before.
  function picturesLoaded() {
    const images = [...document.querySelectorAll(".bd-article img")];
    return Promise.all(
      images.map((image) => {
        image.loading = "eager";
        return image.decode().catch(() => {}); // of a broken one its text is printed
      }),
    );
  }

  const printNow = window.print.bind(window);
  window.print = () => picturesLoaded().then(printNow);

  window.addEventListener("keydown", (event) => {
    const isPrint = event.key.toLowerCase() === "p" && (event.ctrlKey || event.metaKey);
    if (!isPrint || event.altKey || event.shiftKey) return;
    event.preventDefault();
    window.print();
  });

  window.addEventListener("beforeprint", () => {
    before = page.dataset.theme;
    page.dataset.theme = "light";
    document.querySelectorAll("img[loading=lazy]").forEach((image) => (image.loading = "eager"));
  });

  window.addEventListener("afterprint", () => {
    page.dataset.theme = before;
  });
})();
