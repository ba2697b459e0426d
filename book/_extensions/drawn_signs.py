"""Draws the signs of a check, ⏳ ✅ ❌, wherever they stand in a page's text.

In an emoji font they have colours and widths of their own, and some machines have none. The
drawings are those of the checks' own HTML; `signs.py` is read as a file, because importing the
package would import PyTorch.
"""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

FILE = Path(__file__).resolve().parents[2] / "detlearn" / "check" / "engine" / "signs.py"


def load_signs() -> ModuleType:
    """The package's file, run on its own."""
    spec = spec_from_file_location("detlearn_signs", FILE)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


signs = load_signs()
DRAWN = {sign: signs.drawn_sign(status) for status, sign in signs.SIGNS.items()}
ANY = re.compile("([" + "".join(DRAWN) + "])")


def draw_in(text: str) -> str:
    """Some HTML with its signs drawn."""
    return ANY.sub(lambda match: DRAWN[match[1]], text)


class DrawnSigns(SphinxTransform):
    """Exchanges the signs in text and in stored verdicts; code keeps its characters."""

    default_priority = 640

    def apply(self, **arguments: Any) -> None:
        """Goes through the page once."""
        for text in list(self.document.findall(nodes.Text)):
            if not ANY.search(text) or isinstance(text.parent, nodes.FixedTextElement | nodes.raw):
                continue

            pieces = (piece for piece in ANY.split(text.astext()) if piece)
            at = text.parent.index(text)
            text.parent[at : at + 1] = [
                nodes.raw("", DRAWN[piece], format="html") if piece in DRAWN else nodes.Text(piece)
                for piece in pieces
            ]

        for raw in list(self.document.findall(nodes.raw)):
            if "detlearn-check" in raw.astext():
                drawn = draw_in(raw.astext())
                raw.children = []
                raw += nodes.Text(drawn)
                raw.rawsource = drawn


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(DrawnSigns)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
