"""Open a figure in Chromium, from a plain HTML file, where it may ask for nothing else."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The pages in which our figures are to follow light and dark, by how each says what it is.
PAGES = {
    "plain": "<html><body>",
    "book": '<html data-theme="{theme}"><body>',
    "jupyter": '<html><body data-jp-theme-light="{is_light}">',
    "colab": '<html theme="{theme}"><body>',
}
COLOURS = """
<style>
  :root { color-scheme: light dark; }
  html:is([data-theme="dark"], [theme="dark"]), html:has(> [data-jp-theme-light="false"]) {
    background: #14181e; color: #ced6dd;
  }
  html:is([data-theme="light"], [theme="light"]), html:has(> [data-jp-theme-light="true"]) {
    background: #fff; color: #222832;
  }
  body { font-family: sans-serif; }
</style>
"""


class OpenFigure:
    """A figure in a browser.

    Attributes:
        page: playwright's page.
        faults: console errors, exceptions and requests so far; a test ends with none.
    """

    def __init__(self, page, faults: list[str]) -> None:
        self.page = page
        self.faults = faults

    def set(self, state: dict, figure: int = 0) -> None:
        """Bring a figure of the page into a state, through its own door for tests."""
        self.page.evaluate(
            "([state, figure]) => "
            "document.querySelectorAll('.detlearn-explore')[figure].detlearn.set(state)",
            [state, figure],
        )

    def get(self, figure: int = 0) -> dict:
        """Read the state of a figure and all its numbers, as float64."""
        return self.page.evaluate(
            "(figure) => document.querySelectorAll('.detlearn-explore')[figure].detlearn.get()",
            figure,
        )

    def in_states(self, states: list[dict]) -> list[dict]:
        """Return what `get` says in each of many states, in one call: a fast way to many.

        It all comes as one text, since thousands of numbers one by one take playwright minutes;
        JSON knows no infinity and no NaN, so these come as the only key of an object.
        """
        text = self.page.evaluate(
            """(states) => {
              const { set, get } = document.querySelector(".detlearn-explore").detlearn;
              const kept = (key, value) =>
                typeof value === "number" && !Number.isFinite(value)
                  ? { number: String(value) }
                  : value;
              return JSON.stringify(states.map((state) => { set(state); return get(); }), kept);
            }""",
            states,
        )
        return json.loads(
            text,
            object_hook=lambda found: (
                float(found["number"]) if found.keys() == {"number"} else found
            ),
        )


@pytest.fixture
def open_figures(browser, tmp_path: Path) -> Iterator[Callable[..., OpenFigure]]:
    """A function that opens figures in a page of their own; it ends by asking for faults.

    Its arguments: the figures, and by name ``width`` in pixels, ``theme`` ("light" or "dark"),
    ``kind`` (a key of `PAGES`), ``scripts`` (whether they run), ``still`` (less movement wanted).
    """
    opened, contexts = [], []

    def open_them(
        *figures, width=1280, theme="light", kind="book", scripts=True, still=False
    ) -> OpenFigure:
        head = PAGES[kind].format(theme=theme, is_light=str(theme == "light").lower())
        body = "\n<hr>\n".join(figure._repr_html_() for figure in figures)
        file = tmp_path / f"figure{len(opened)}.html"
        file.write_text(
            f"<!doctype html>\n{head}<meta charset='utf-8'>{COLOURS}<main>{body}</main>",
            encoding="utf-8",
        )

        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            java_script_enabled=scripts,
            has_touch=True,
            reduced_motion="reduce" if still else "no-preference",
        )
        contexts.append(context)
        page = context.new_page()
        faults = []
        page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"exception: {error}"))
        page.on("request", lambda request: _note_request(request.url, file, faults))
        page.goto(file.as_uri())
        opened.append(OpenFigure(page, faults))
        return opened[-1]

    yield open_them
    for context in contexts:
        context.close()
    assert [figure.faults for figure in opened] == [[] for _ in opened]


def _note_request(address: str, file: Path, faults: list[str]) -> None:
    if address != file.as_uri() and not address.startswith("data:"):
        faults.append(f"request: {address}")
