"""Serves the built book, opens a page as a reader would, and writes down what is wrong with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

SCHEMES = ("light", "dark")

# Run in the page: what a reader would see go wrong.
LOOK = """
async () => {
  const images = [...document.images];
  for (const image of images) image.loading = "eager";
  await Promise.all(images.map((image) => image.complete || new Promise((done) => {
    image.addEventListener("load", done); image.addEventListener("error", done);
  })));
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  const name = (image) => image.getAttribute("src").slice(0, 80);
  const page = document.documentElement;
  const wide = [...document.querySelectorAll("body *")].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.right > window.innerWidth + 1 && box.width > 0 && box.left < window.innerWidth;
  });
  return {
    silent: images.filter((image) => !(image.alt || "").trim()).map(name),
    unloaded: images.filter((image) => image.naturalWidth === 0).map(name),
    formulas: document.querySelectorAll(".math").length,
    unset: [...document.querySelectorAll(".math")]
      .filter((formula) => !formula.querySelector("mjx-container")).map((f) => f.textContent),
    misset: [...document.querySelectorAll("mjx-merror")].map((error) => error.textContent),
    overflow: page.scrollWidth - window.innerWidth,
    wide: wide.slice(0, 3).map((e) => `${e.tagName} ${e.className}`.slice(0, 80)),
  };
}
"""


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Says nothing about each request."""


def serve(folder: Path) -> ThreadingHTTPServer:
    """Serves a folder on this machine alone, on a free port, until ``shutdown`` is called."""
    handler = partial(_QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@dataclass
class Visit:
    """A page that is open in the browser.

    Attributes:
        page: playwright's.
        faults: what went wrong so far, one sentence each.
        files: what it loaded so far, with the size on disk.
    """

    page: object
    faults: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)


@contextmanager
def visiting(
    browser, address: str, width: int, scheme: str, site: Path | None = None
) -> Iterator[Visit]:
    """Opens a page at a width and a colour scheme, until the network is quiet.

    Requests to any other host are recorded and stopped before they leave this machine.

    Args:
        browser: playwright's browser.
        address: the page's full address.
        width: of the window, in CSS pixels.
        scheme: `light` or `dark`, what the reader's system prefers.
        site: the folder that is served; without it no files are noted.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, is_mobile=width < 600
    )
    try:
        visit = Visit(context.new_page())
        visit.page.set_default_timeout(120_000)  # milliseconds; other tests may keep us waiting
        _listen(visit.page, urlsplit(address).netloc, visit.faults)
        if site is not None:
            visit.page.on("request", lambda request: _note_file(request.url, site, visit.files))
        visit.page.goto(address, wait_until="networkidle")
        yield visit
    finally:
        context.close()


def _note_file(address: str, site: Path, files: dict[str, int]) -> None:
    path = site / unquote(urlsplit(address).path).lstrip("/")
    if path.is_file():
        files[path.relative_to(site).as_posix()] = path.stat().st_size


def loaded_files(visit: Visit) -> dict[str, int]:
    """The size of every file that the page loads before anybody scrolls, formulas included."""
    visit.page.evaluate(
        "window.MathJax && MathJax.startup && MathJax.startup.promise.then(() => 0)"
    )
    visit.page.wait_for_load_state("networkidle")
    return dict(visit.files)


def look(visit: Visit, scheme: str) -> list[str]:
    """All faults of an open page; empty for one that is in order. It loads what was waiting."""
    seen = visit.page.evaluate(LOOK)
    visit.faults += _faults_seen(seen)
    shown = visit.page.evaluate("document.documentElement.dataset.theme")
    if shown != scheme:
        visit.faults.append(
            f"shown in the {shown} theme where the reader's system prefers {scheme}"
        )
    return list(visit.faults)


def faults_of_page(browser, address: str, width: int, scheme: str) -> list[str]:
    """Opens a page as `visiting` does and returns its faults."""
    with visiting(browser, address, width, scheme) as visit:
        return look(visit, scheme)


def _listen(page, home: str, faults: list[str]) -> None:
    """Writes down console errors, exceptions, failed requests and requests to other hosts."""

    def guard(route) -> None:
        parts = urlsplit(route.request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != home:
            faults.append(f"request to another host: {route.request.url}")
            route.abort()
        else:
            route.continue_()

    page.route("**/*", guard)
    page.on(
        "console",
        lambda message: (
            faults.append(f"console {message.type}: {message.text}")
            if message.type in ("error", "warning")
            else None
        ),
    )
    page.on("pageerror", lambda error: faults.append(f"exception: {error}"))
    page.on(
        "response",
        lambda response: (
            faults.append(f"status {response.status}: {response.url}")
            if response.status >= 400
            else None
        ),
    )


def _faults_seen(seen: dict) -> list[str]:
    """Sentences for what the page's own script found."""
    faults = [f"image without alt text: {source}" for source in seen["silent"]]
    faults += [f"image does not load: {source}" for source in seen["unloaded"]]
    faults += [f"formula not typeset: {formula}" for formula in seen["unset"]]
    faults += [f"formula with an error: {message}" for message in seen["misset"]]
    if seen["overflow"] > 0:
        faults.append(f"{seen['overflow']} px wider than the window: {seen['wide']}")
    return faults
