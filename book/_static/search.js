/* The book's search: looks through the sections in sections.js, from disk or from a server.

   A section is found if each word of the query begins a word of it. Those with more of the words in
   their title, and with more of them in their text, come first. */

(() => {
  const MOST = 40; // results shown
  const AROUND = 110; // characters of text on each side of the first hit

  const plain = (text) => text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase();
  const escaped = (word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

  // "boxes" finds "box" as well: a plural's ending does not matter.
  const wordsOf = (query) =>
    plain(query)
      .split(/[^\p{L}\p{N}_]+/u)
      .filter(Boolean)
      .map((word) => (word.length > 3 ? word.replace(/(?<=x)es$|s$/, "") : word));
  const startOf = (word, flags) => new RegExp(`(?<![\\p{L}\\p{N}_])${escaped(word)}`, flags);

  const count = (text, word) => (text.match(startOf(word, "gu")) || []).length;

  function find(query) {
    const words = wordsOf(query);
    if (!words.length) return [];
    const found = [];
    for (const section of window.bookSections) {
      const title = plain(section.title);
      const text = plain(section.text);
      let score = 0;
      for (const word of words) {
        const hits = 12 * count(title, word) + Math.min(count(text, word), 6);
        if (!hits) { score = 0; break; }
        score += hits;
      }
      // A title that is little more than the query comes first.
      const length = wordsOf(title).length;
      if (score && length <= words.length) score += 60;
      if (score) found.push({ section, score });
    }
    return found.sort((a, b) => b.score - a.score);
  }

  // Writes the text with its hits marked. `plain` may shorten a text, so hits are sought in NFC.
  function mark(parent, text, words) {
    const pattern = new RegExp(words.map((word) => startOf(word, "u").source).join("|"), "giu");
    let end = 0;
    for (const hit of text.matchAll(pattern)) {
      parent.append(text.slice(end, hit.index));
      const marked = document.createElement("mark");
      marked.textContent = hit[0];
      parent.append(marked);
      end = hit.index + hit[0].length;
    }
    parent.append(text.slice(end));
  }

  function excerpt(text, words) {
    const places = words.map((word) => text.search(startOf(word, "iu"))).filter((p) => p >= 0);
    const first = places.length ? Math.min(...places) : 0;
    let start = Math.max(0, first - AROUND);
    if (start) start = text.indexOf(" ", start) + 1;
    let end = Math.min(text.length, first + 2 * AROUND);
    if (end < text.length) end = text.lastIndexOf(" ", end);
    return (start ? "… " : "") + text.slice(start, end) + (end < text.length ? " …" : "");
  }

  function show(query) {
    const place = document.getElementById("search-results");
    if (!place || !window.bookSections) return;
    place.textContent = "";

    const found = find(query);
    const words = wordsOf(query);
    const status = document.createElement("p");
    status.setAttribute("role", "status");
    status.textContent = !words.length ? ""
      : found.length === 0 ? `Nothing found for “${query}”.`
      : found.length === 1 ? "One section found."
      : `${found.length} sections found` +
        (found.length > MOST ? `; the first ${MOST} are shown.` : ".");
    place.append(status);

    const list = document.createElement("ul");
    list.className = "search-list";
    for (const { section } of found.slice(0, MOST)) {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = section.url;
      mark(link, section.title, words);
      item.append(link);
      if (section.page !== section.title) {
        const page = document.createElement("span");
        page.className = "search-page";
        page.textContent = section.page;
        item.append(" ", page);
      }
      const text = document.createElement("p");
      mark(text, excerpt(section.text, words), words);
      item.append(text);
      list.append(item);
    }
    place.append(list);
  }

  function start() {
    const query = new URLSearchParams(window.location.search).get("q") || "";
    for (const field of document.querySelectorAll("form.bd-search input[name=q]")) {
      field.value = query;
    }
    show(query);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
