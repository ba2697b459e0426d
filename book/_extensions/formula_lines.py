"""Sets a row of formulas below each other where it would be wider than the page.

A displayed formula may hold several, set apart by ``\\qquad``: fine in a notebook, which has the
whole window, and cut off in a column of text. From `LONG` characters on each gets a line.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

GAP = r"\qquad"
LONG = 70  # characters of LaTeX: about two thirds of the column


def parts_of(formula: str) -> list[str]:
    """The formulas between the gaps; a gap inside braces or an environment is none."""
    if r"\begin" in formula or r"\\" in formula:
        return [formula]

    parts, depth, start = [], 0, 0
    for at, character in enumerate(formula):
        if formula[at - 1 : at] != "\\":
            depth += (character == "{") - (character == "}")
        if depth == 0 and formula.startswith(GAP, at):
            parts.append(formula[start:at])
            start = at + len(GAP)
    return [part.strip() for part in [*parts, formula[start:]] if part.strip()]


def in_lines(formula: str) -> str:
    """The formula, its parts below each other if it is long and has several."""
    parts = parts_of(formula)
    if len(formula) <= LONG or len(parts) == 1:
        return formula
    return r"\begin{gathered} " + r" \\[0.4em] ".join(parts) + r" \end{gathered}"


class FormulaLines(SphinxTransform):
    """Goes through the displayed formulas of a page."""

    default_priority = 630

    def apply(self, **arguments: Any) -> None:
        """Changes those in place that are long rows."""
        for block in list(self.document.findall(nodes.math_block)):
            formula = block.astext()
            if in_lines(formula) != formula:
                block.children = [nodes.Text(in_lines(formula))]
                block.rawsource = in_lines(formula)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(FormulaLines)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
