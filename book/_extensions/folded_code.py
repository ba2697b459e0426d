"""Gives folded code the name that its first line states.

A cell that only does the plumbing carries the tag ``hide-input`` and begins with a line
``#@title Set up the page``, by which Colab folds it. On the page its fold says "Code: Set up the
page", and the line itself is not shown.
"""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from notebook_cells import code_block_of, is_cell
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

TITLE = re.compile(r"^#\s*@title[ \t]+(?P<title>[^\n]*?)[ \t]*(?:\{[^\n]*\})?(?:\n+|$)")


COMMENT = re.compile(r"^# ([^\n:.]{3,60})[:.\n]")  # what a cell without a title says it does


def name_of(title: str, code: str) -> str:
    """What a fold is called: its title, else the comment that the code begins with, if any."""
    comment = COMMENT.match(code)
    return title or (comment[1].strip() if comment else "")


def split_title(code: str) -> tuple[str, str]:
    """A cell's title and the code below it; the title is empty where the code has none."""
    match = TITLE.match(code)
    return (match["title"].strip(" ."), code[match.end() :]) if match else ("", code)


class FoldTitles(SphinxTransform):
    """Takes the title lines out of the code and into the folds."""

    default_priority = 610

    def apply(self, **arguments: Any) -> None:
        """Goes through all cells; what is not folded only loses its title line."""
        for cell in list(self.document.findall(is_cell)):
            block = code_block_of(cell)
            if block is None:
                continue

            title, code = split_title(block.astext())
            if title:
                block.rawsource = code
                block.children = []
                block += nodes.Text(code)

            # myst-nb folds later, and asks for two texts: one for each state of the fold.
            if cell.get("hide_mode"):
                kind = "Code and output" if cell["hide_mode"] == "all" else "Code"
                name = name_of(title, code)
                cell["prompt_show"] = cell["prompt_hide"] = f"{kind}: {name}" if name else kind


def open_fold(writer: Any, node: nodes.Element) -> None:
    """Writes the fold's beginning: one summary, named by its own text."""
    classes = " ".join(["hide", *node["classes"]])
    summary = html.escape(node["prompt_show"])
    writer.body.append(f'<details class="{classes}">\n<summary>{summary}</summary>\n')


def close_fold(writer: Any, node: nodes.Element) -> None:
    """Writes the fold's end."""
    writer.body.append("</details>\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("myst_nb")
    app.add_transform(FoldTitles)
    app.add_node(HideCodeCellNode, override=True, html=(open_fold, close_fold))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
