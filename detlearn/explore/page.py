"""What every figure that lives in the page is made of: one piece of HTML that needs nothing else.

A figure is an `Explorable`: data, a still picture, a script. Its HTML holds all three and what the
figures share (`common.css`, `common.js`), so that it works the same in the built book, in Jupyter
and in Colab, from disk and without a network. Where scripts do not run, the still picture stands.

To add a figure `thing`:

1. `explore/thing.py` has a function `thing(…)` that returns `Explorable("thing", title, …)`: the
   title names the figure, the description tells in words what there is to see and to do, `data` is
   what JSON can hold, `still` an `<svg>` that is worth looking at without the script.
2. `explore/thing.js` calls `explorable("thing", (figure, data) => { …; return { set, get }; })`:
   it fills `figure.stage` with the elements that `common.js` makes (`svg`, `html`, `slider`,
   `button`, `choice`, `movable`, `plot`), in plain modern JavaScript, and says in
   `figure.announce("…")` what a reader who cannot see the picture has to know after a change.
3. Arithmetic stands in functions of its own, in float64. `set(state)` brings the figure into a
   state, `get()` returns the state and every number shown, unrounded: a test in `tests/explore`
   sets random states and compares the numbers with the package's.
4. `explore/__init__.py` imports the function; colours come from `common.css` (`var(--found)`, …),
   and ink is `currentColor`, so that the figure follows light and dark. Boxes on a picture look the
   same in both: `BOX_LINES` has the strokes of `pictures.LOOKS`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detlearn.explore.pictures import LOOKS

FOLDER = Path(__file__).parent


class Explorable:
    """A figure that answers the reader's hand; a notebook shows it as HTML.

    Args:
        name: of the figure: `common.js` starts it by this name, and `scripts` defaults to the
            file `<name>.js` beside this one.
        title: what it is, in a few words; screen readers say it first.
        description: what is to be seen and done, in sentences, for those who do not see it.
        data: what the script gets, JSON-able; no NaN.
        still: an `<svg>`, the picture that stands where scripts do not run.
        scripts: files of this folder, run in this order after `common.js`.

    Raises:
        ValueError: if `data` holds NaN or an infinite number, which JSON does not know.
    """

    def __init__(
        self,
        name: str,
        title: str,
        description: str,
        data: Mapping[str, Any],
        still: str,
        scripts: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.title = title
        self.description = description
        self.data = data
        self.still = still
        self.scripts = tuple(scripts) or (f"{name}.js",)
        self._json = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))

    def __repr__(self) -> str:
        return f"{self.title}: a figure to explore; it shows itself in a notebook."

    def _repr_html_(self) -> str:
        """Return the figure as one piece of HTML; the same for the same figure, whenever asked."""
        style = without_comments(_read("common.css"))
        code = without_comments("\n".join(map(_read, ("common.js", *self.scripts))))
        code = f"const BOX_LINES = {json.dumps(_box_lines())};\n{code}"

        return f"""\
<div class="detlearn-explore" data-figure="{html.escape(self.name)}" role="group" \
aria-label="{html.escape(self.title)}">
<style>
{style}</style>
<p class="spoken">{html.escape(self.description)}</p>
<div class="stage">{self.still}</div>
<script type="application/json">{escape_data(self._json)}</script>
<script>
(() => {{
"use strict";
{escape_code(code)}
}})();
</script>
</div>"""


def escape_data(data: str) -> str:
    """Return JSON that cannot end the `<script>` around it, whatever texts it holds.

    In JSON a "<" stands only inside of texts, where it may be written as its number.
    """
    return data.replace("<", "\\u003c")


def escape_code(code: str) -> str:
    """Return JavaScript that cannot end the `<script>` around it, nor begin an HTML comment."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def without_comments(code: str) -> str:
    """Return CSS or JavaScript without the comments that begin a line: a page is to be small.

    A comment behind code stays, as what looks like one there may be part of a text.
    """
    code = re.sub(r"^[ \t]*/\*.*?\*/[ \t]*\n", "", code, flags=re.S | re.M)
    code = re.sub(r"^[ \t]*//.*\n", "", code, flags=re.M)
    return re.sub(r"\n{2,}", "\n", code)


def _box_lines() -> dict[str, dict[str, str]]:
    """Return how boxes on a picture are drawn, as attributes of SVG: found, false, missed."""
    return {
        kind: {"stroke": colour, **({"stroke-dasharray": dashes} if dashes else {})}
        for kind, (colour, dashes) in LOOKS.items()
    }


def _read(file: str) -> str:
    return (FOLDER / file).read_text(encoding="utf-8")
