"""Lets long lines of code wrap such that it shows which line they belong to, and code weigh less.

A line that may not fit on a phone becomes a block of its own, with its indentation in a variable;
the style sheet then sets what wraps four columns deeper than the line began. Short lines stay as
they are. A long piece without a blank may break behind a bracket and before a point, rather than in
the middle of a name.

The highlighter wraps every name, bracket and blank in a tag, which the colour scheme then gives the
colour that the code has anyway. Without these tags a chapter is 0.2 MB lighter.
"""

from __future__ import annotations

import html
import re
from itertools import pairwise
from typing import Any

from sphinx.application import Sphinx

SHORT = 36  # columns that fit everywhere
HIGHLIGHTED = re.compile(r"(<pre>(?:<span></span>)?)(.*)(</pre>)", re.S)
TAG = re.compile(r"<[^>]*>")
LONG_PIECE = re.compile(r"\S{22,}")  # may be wider than what a phone's line has left
BREAK = re.compile(r"(?<=[(\[])(?=[^\s)\]])|(?<=\w|[)\]])(?=\.[a-z_])")

# Names, modules' names, punctuation, blanks: in light and in dark of the colour of plain code.
PLAIN = ("n", "nn", "p", "w")
PLAIN_TAGS = re.compile(rf'<span class="(?:{"|".join(PLAIN)})">([^<]*)</span>')


def hang(line: str) -> str:
    """Wraps one highlighted line (with its line break) in a block, if it is long."""
    text = html.unescape(TAG.sub("", line)).rstrip("\n")
    if len(text) <= SHORT:
        return line

    if LONG_PIECE.search(text):
        line = let_break(line)
    indent = len(text) - len(text.lstrip(" "))
    return f'<span class="line" style="--indent:{indent}">{line}</span>'


def let_break(line: str) -> str:
    """Says in a highlighted line where it may break; tags stay as they are."""
    ends = [0, *(end for tag in TAG.finditer(line) for end in tag.span()), len(line)]
    parts = [line[start:end] for start, end in pairwise(ends)]  # text, tag, text, …

    # The highlighter gives a point between two names a tag of its own.
    return "".join(
        part if index % 2 else "<wbr>." if part == "." else BREAK.sub("<wbr>", part)
        for index, part in enumerate(parts)
    )


def hang_lines(highlighted: str) -> str:
    """Wraps the long lines of a highlighted block; the highlighter closes all tags in each."""
    highlighted = PLAIN_TAGS.sub(r"\1", highlighted)
    match = HIGHLIGHTED.search(highlighted)
    if match is None:
        return highlighted

    lines = "".join(hang(line) for line in match[2].splitlines(keepends=True))
    return highlighted[: match.start(2)] + lines + highlighted[match.end(2) :]


def wrap_highlighter(app: Sphinx) -> None:
    """Has every block of code pass through `hang_lines`."""
    highlighter = getattr(app.builder, "highlighter", None)
    if highlighter is None or app.builder.format != "html":
        return

    plain = highlighter.highlight_block

    def highlight_block(*arguments: Any, **options: Any) -> str:
        return hang_lines(plain(*arguments, **options))

    highlighter.highlight_block = highlight_block


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", wrap_highlighter)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
