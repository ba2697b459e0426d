"""From a matplotlib figure to the SVG that stands in a page, in the colours of that page.

What matplotlib writes is a file of its own: opaque, in fixed colours, with a style sheet that would
reach the whole page and names that the next chart has, too. Here it is parsed, thinned
(`detlearn.plotting.compact`) and written anew.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from detlearn.plotting.compact import NAME, SVG, Shared, compact, written
from detlearn.plotting.page_colours import Colours, is_grey

POINTS = 72  # an inch
PIXELS = 100  # an inch on the page; the dpi of the book's figures
SHRUNK = 0.7  # a panel may be shown so much smaller before the next one moves below it
GROWN = 1.25  # and so much larger when it has a row for itself

NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
TRANSLATION = re.compile(r"translate\([^)]*\)")
COLOUR = re.compile(r"#[0-9a-f]{6}\b")
COLUMN = re.compile(r"column-(\d+)-")
ROW = "display:flex;flex-wrap:wrap;justify-content:center"
KEPT = "kept-colours"  # begins the id of what stands on a ground of its own


def draw(figure: Figure, box: Bbox, shared: Shared) -> str:
    """Draw a figure without images as HTML: a row with one SVG for each column of panels.

    Args:
        figure: laid out already.
        box: the part of it to be shown, in inches.
        shared: what the drawings of one chart have in common; `chart` writes it.

    Returns:
        The HTML, for `chart`. On a narrow page the panels stand below each other.
    """
    columns = columns_of(figure, box)
    root = ElementTree.fromstring(saved(figure, box))
    for unwanted in ("metadata", "defs"):
        for child in root.findall(SVG + unwanted):
            if unwanted == "metadata" or child.find(SVG + "style") is not None:
                root.remove(child)

    groups = in_columns(root, len(columns))
    thin(root, shared.colours)
    compact(root, shared)

    height = box.height * POINTS
    parts = []
    for (left, right), group in zip(columns, groups):
        view = f"{short(left)} 0 {short(right - left)} {short(height)}"
        content = "".join(written(element) for element in group)
        parts.append(
            f'<svg class="{NAME}" viewBox="{view}" style="{size_of(right - left)}" '
            f'fill="currentColor" stroke-linejoin="round" aria-hidden="true">{content}</svg>'
        )
    return f'<div style="{ROW};max-width:{box.width * PIXELS:.0f}px">{"".join(parts)}</div>'


def chart(drawings: list[str], shared: Shared, rules: str = "") -> str:
    """Write a chart: its style sheet, the forms that its drawings share, and the drawings.

    Args:
        drawings: each as `draw` returns it.
        shared: what they were drawn with.
        rules: further rules for the style sheet.

    Returns:
        The HTML. All names in it begin with one made of what is drawn, so that the same chart is
        the same text, and two charts on a page do not get into each other's way.
    """
    content = "".join(drawings)
    text = f"<style>{rules}{shared.sheet()}</style>{shared.definitions(content)}{content}"
    return text.replace(NAME, "c" + hashlib.sha256(text.encode()).hexdigest()[:8])


def size_of(points: float) -> str:
    """Return the style by which a column of panels finds its width."""
    width = points / POINTS * PIXELS
    return (
        f"flex:{width:.0f} 1 {SHRUNK * width:.0f}px;min-width:0;"
        f"max-width:min(100%,{GROWN * width:.0f}px);height:auto"
    )


def saved(figure: Figure, box: Bbox) -> bytes:
    """Return what matplotlib writes."""
    file = io.BytesIO()
    settings = {"svg.fonttype": "path", "svg.hashsalt": "detlearn", "path.simplify_threshold": 0.3}
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))

    with mpl.rc_context(settings), marked(figure):
        figure.savefig(file, format="svg", bbox_inches=box, facecolor="none", metadata=nothing)
    return file.getvalue()


@contextmanager
def marked(figure: Figure) -> Iterator[None]:
    """Give ids to what has to be found again in the drawing, for the time being."""
    before: list[tuple[Artist, str | None]] = []

    def mark(artist: Artist, name: str) -> None:
        before.append((artist, artist.get_gid()))
        artist.set_gid(name)

    # The columns of panels; what lies on the figure itself goes with the first.
    for index, group in enumerate(groups(figure)):
        for artist in group:
            mark(artist, f"column-{index}-{len(before)}")

    # A word on a coloured ground keeps its colour, and so does its ground.
    for text in figure.findobj(Text):
        if stands_on_colour(text):
            mark(text, f"{KEPT}-{len(before)}")
            mark(text.get_bbox_patch(), f"{KEPT}-{len(before)}")

    try:
        yield
    finally:
        for artist, name in reversed(before):
            artist.set_gid(name)


def stands_on_colour(text: Text) -> bool:
    """Return whether a word has a ground of its own, in a colour that does not follow the page."""
    ground = text.get_bbox_patch()
    if ground is None or not ground.get_fill():
        return False

    *rgb, alpha = to_rgba(ground.get_facecolor())
    return alpha > 0.5 and not is_grey(tuple(rgb))


def groups(figure: Figure) -> list[list[Artist]]:
    """Return what lies on a figure, in columns from left to right that nothing joins."""
    placed = [*figure.axes, *figure.legends, *figure.texts]

    # What is drawn on the figure itself, an arrow from panel to panel say, would be cut in two.
    if figure.subfigs or figure.lines or figure.patches or figure.artists:
        return [placed]

    spans = []
    for artist in placed:
        box = artist.get_tightbbox() if artist.get_visible() else None
        if box is not None and box.width > 0:
            spans.append((box.x0, box.x1, artist))

    columns: list[list[Artist]] = []
    reached = float("-inf")
    for left, right, artist in sorted(spans, key=lambda span: span[:2]):
        if left > reached or not columns:
            columns.append([])
        columns[-1].append(artist)
        reached = max(reached, right)
    return columns


def columns_of(figure: Figure, box: Bbox) -> list[tuple[float, float]]:
    """Return where each column begins and ends, in points from the left edge of `box`."""
    edges = []
    for group in groups(figure):
        boxes = [artist.get_tightbbox() for artist in group]
        edges.append((min(b.x0 for b in boxes), max(b.x1 for b in boxes)))

    # The cuts lie in the middle between two columns.
    cuts = [(a[1] + b[0]) / 2 for a, b in pairwise(edges)]
    points = [(cut / figure.dpi - box.x0) * POINTS for cut in cuts]
    ends = [0.0, *points, box.width * POINTS]
    return list(pairwise(ends))


def thin(element: Element, colours: Colours, glyph: bool = False, kept: bool = False) -> None:
    """Round the numbers and exchange the colours of an element and all in it, in place."""
    kept = kept or element.get("id", "").startswith(KEPT)
    if element.get("id", "").startswith(KEPT):
        element.set("fill", "#000")  # what names no fill is black, in matplotlib as in SVG

    # A letter is placed in units of which ten make a point, and sizes have to be exact.
    for key in ("x", "y", "width", "height", "transform"):
        value = element.get(key)
        if value is not None and "scale(" in value:
            element.set(key, TRANSLATION.sub(lambda match: squeezed(match[0]), value))
        elif value is not None:
            element.set(key, squeezed(value, digits=1 if glyph else 2))
    glyph = glyph or "scale(" in element.get("transform", "")

    if "style" in element.attrib:
        style = element.attrib["style"]
        style = style if kept else recoloured(style, colours)
        element.set("style", squeezed(style.replace(": ", ":").replace("; ", ";")))

    for child in element:
        thin(child, colours, glyph, kept)


def recoloured(style: str, colours: Colours) -> str:
    """Return a style in the colours of the page."""
    rules = []
    for rule in style.split(";"):
        name, _, value = (part.strip() for part in rule.partition(":"))
        if name in ("fill", "stroke"):
            for colour in set(COLOUR.findall(value)):
                value = value.replace(colour, colours.of(colour, fill=name == "fill"))
        if name:
            rules.append(f"{name}:{value}")
    return ";".join(rules)


def squeezed(text: str, digits: int = 2) -> str:
    """Return text with its decimals rounded and no more space than it needs."""
    return " ".join(NUMBER.sub(lambda match: short(float(match[0]), digits), text).split())


def short(number: float, digits: int = 2) -> str:
    """Return a number with at most so many decimals."""
    text = f"{number:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def in_columns(root: Element, columns: int) -> list[list[Element]]:
    """Return what each column draws; what lies elsewhere goes with the first."""
    placed: list[list[Element]] = [[] for _ in range(columns)]
    figure = next((child for child in root if child.tag == SVG + "g"), root)
    for child in [*figure, *(child for child in root if child is not figure)]:
        match = COLUMN.match(child.get("id", ""))
        placed[int(match[1]) if match else 0].append(child)
    return placed
