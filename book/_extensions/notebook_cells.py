"""What the other extensions ask of a page's cells, as myst-nb leaves them in the document.

A code cell is a container with one child for its source and one for its outputs; an output that
was displayed is a "bundle" with a container for each of its kinds (``image/png``, ``text/html``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from docutils import nodes

CHAPTER_FILE = re.compile(r"^chapters/(\d+)_")


def chapter_number(page: str) -> int | None:
    """The number in the name of a chapter's file, which stays when others are added; else None."""
    match = CHAPTER_FILE.match(page)
    return int(match.group(1)) if match else None


def is_cell(node: nodes.Node | None) -> bool:
    """Whether a node is a code cell."""
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def part_of(cell: nodes.Element, kind: str) -> nodes.Element | None:
    """A cell's ``source`` or ``output``, or None where it has none."""
    for child in cell.children:
        if isinstance(child, nodes.container) and child.get("nb_element") == f"cell_code_{kind}":
            return child
    return None


def code_block_of(cell: nodes.Element) -> nodes.literal_block | None:
    """The block with a cell's code."""
    source = part_of(cell, "source")
    return None if source is None else next(source.findall(nodes.literal_block), None)


def code_of(cell: nodes.Element) -> str:
    """A cell's code as text."""
    block = code_block_of(cell)
    return "" if block is None else block.astext()


def bundles_of(cell: nodes.Element) -> list[nodes.Element]:
    """What a cell displayed, in order."""
    output = part_of(cell, "output")
    if output is None:
        return []
    return [
        child
        for child in output.children
        if isinstance(child, nodes.container) and child.get("nb_element") == "mime_bundle"
    ]


def html_in(bundle: nodes.Element) -> Iterator[nodes.raw]:
    """The raw HTML of something displayed."""
    for kind in bundle.children:
        if kind.get("mime_type") == "text/html":
            yield from kind.findall(nodes.raw)
