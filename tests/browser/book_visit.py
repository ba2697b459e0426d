"""Serves the built book, opens a page as a reader would, and writes down what is wrong with it."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

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


def faults_of_page(browser, address: str, width: int, scheme: str, screenshot=None) -> list[str]:
    """Opens the page at the given width and colour scheme; returns one sentence per fault.

    Requests to any other host are recorded and stopped before they leave this machine.

    Args:
        browser: playwright's browser.
        address: the page's full address.
        width: of the window, in CSS pixels.
        scheme: `light` or `dark`, what the reader's system prefers.
        screenshot: where to keep a picture of the whole page, if anywhere.

    Returns:
        the faults; empty for a page that is in order.
    """
    faults: list[str] = []
    home = urlsplit(address).netloc
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, is_mobile=width < 600
    )
    try:
        page = context.new_page()
        page.set_default_timeout(120_000)  # milliseconds; other tests may keep the machine busy
        _listen(page, home, faults)
        page.goto(address, wait_until="networkidle")
        seen = page.evaluate(LOOK)
        faults += _faults_seen(seen)
        shown = page.evaluate("document.documentElement.dataset.theme")
        if shown != scheme:
            faults.append(f"shown in the {shown} theme where the reader's system prefers {scheme}")
        if screenshot is not None:
            page.screenshot(path=screenshot, full_page=True)
    finally:
        context.close()
    return faults


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
