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
from dataclasses import dataclass
from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from detlearn.plotting.compact import NAME, SVG, Shared, compact, drop_repeated_styles, written
from detlearn.plotting.page_colours import Colours, is_grey

POINTS = 72  # an inch
PIXELS = 100  # an inch on the page; the dpi of the book's figures
SHRUNK = 0.7  # a panel may be shown so much smaller before the next one moves below it
GROWN = 1.25  # and so much larger when it has a row for itself

NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
TRANSLATION = re.compile(r"translate\([^)]*\)")
COLOUR = re.compile(r"#[0-9a-f]{6}\b")
PART = re.compile(r"part-(\d+)-")
ROW = "display:flex;flex-wrap:wrap;justify-content:center;align-items:flex-start"
MARGIN = 6  # points around words and below a column of panels
MOST_COLUMNS = 3  # that words above or below them do not join
# Jupyter shows a notebook that it does not trust without drawings and without the style sheet that
# hides these words.
PLAIN = "Run this cell to see its chart."
KEPT = "kept-colours"  # begins the id of what stands on a ground of its own


@dataclass
class Part:
    """What stands in one SVG: a column of panels, or the words above or below all columns."""

    artists: list[Artist]
    left: float  # its place in the figure, in points from the upper left corner
    right: float
    top: float
    bottom: float

    def svg(self, content: str, style: str) -> str:
        """Return the SVG around what is drawn."""
        size = f"{short(self.right - self.left)} {short(self.bottom - self.top)}"
        return (
            f'<svg class="{NAME}" viewBox="{short(self.left)} {short(self.top)} {size}" '
            f'style="{style}" fill="currentColor" stroke-linejoin="round" aria-hidden="true">'
            f"{content}</svg>"
        )


def draw(figure: Figure, box: Bbox, shared: Shared) -> str:
    """Draw a figure without images as HTML: a row with one SVG for each column of panels.

    The figure is cut before it is saved: `parts_of` says which artists stand in which SVG, and each
    gets an id by which its drawing is found again. So one call of matplotlib draws all parts, in
    the order in which things lie over each other, and every part keeps the figure's coordinates:
    its `viewBox` is a window on them.

    Args:
        figure: laid out already.
        box: the part of it to be shown, in inches.
        shared: what the drawings of one chart have in common; `chart` writes it.

    Returns:
        The HTML, for `chart`. On a narrow page the panels stand below each other.
    """
    above, columns, below = parts_of(figure, box)
    parts = [*columns, *above, *below]
    root = ElementTree.fromstring(saved(figure, box, [part.artists for part in parts]))
    for unwanted in ("metadata", "defs"):
        for child in root.findall(SVG + unwanted):
            if unwanted == "metadata" or child.find(SVG + "style") is not None:
                root.remove(child)

    groups = in_parts(root, len(parts))
    drop_repeated_styles(root)
    thin(root, shared.colours)
    compact(root, shared)

    drawn = []
    for index, (part, group) in enumerate(zip(parts, groups)):
        width = part.right - part.left
        style = size_of(width) if index < len(columns) else size_of_words(width)
        drawn.append(part.svg("".join(written(element) for element in group), style))

    # The words above and below are as wide as the row, and lie where it lies.
    first, last = len(columns), len(columns) + len(above)
    row = f'<div style="{ROW}">{"".join(drawn[:first])}</div>'
    content = "".join(drawn[first:last]) + row + "".join(drawn[last:])
    return f'<div style="max-width:{box.width * PIXELS:.0f}px">{content}</div>'


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
    sheet = f"{rules}.{NAME}-plain{{display:none}}{shared.sheet()}"
    plain = f'<p class="{NAME}-plain">{PLAIN}</p>'
    text = f"<style>{sheet}</style>{plain}{shared.definitions(content + sheet)}{content}"
    return text.replace(NAME, "c" + hashlib.sha256(text.encode()).hexdigest()[:8])


def size_of(points: float) -> str:
    """Return the style by which a column of panels finds its width."""
    width = points / POINTS * PIXELS
    return (
        f"flex:{width:.0f} 1 {SHRUNK * width:.0f}px;min-width:0;"
        f"max-width:min(100%,{GROWN * width:.0f}px);height:auto"
    )


def size_of_words(points: float) -> str:
    """Return the style of what stands above or below all columns."""
    width = points / POINTS * PIXELS
    return f"display:block;width:{width:.0f}px;max-width:100%;height:auto;margin:0 auto"


def saved(figure: Figure, box: Bbox, parts: list[list[Artist]]) -> bytes:
    """Return what matplotlib writes, with ids for what belongs to each part."""
    file = io.BytesIO()
    settings = {"svg.fonttype": "path", "svg.hashsalt": "detlearn", "path.simplify_threshold": 0.3}
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))

    with mpl.rc_context(settings), marked(figure, parts):
        figure.savefig(file, format="svg", bbox_inches=box, facecolor="none", metadata=nothing)
    return file.getvalue()


@contextmanager
def marked(figure: Figure, parts: list[list[Artist]]) -> Iterator[None]:
    """Give ids to what has to be found again in the drawing, for the time being."""
    before: list[tuple[Artist, str | None]] = []

    def mark(artist: Artist, name: str) -> None:
        before.append((artist, artist.get_gid()))
        artist.set_gid(name)

    for index, artists in enumerate(parts):
        for artist in artists:
            mark(artist, f"part-{index}-{len(before)}")

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


Boxes = dict[Artist, Bbox]  # what each artist covers, in pixels from the lower left


def split(figure: Figure) -> tuple[Boxes, list[Boxes], Boxes]:
    """Return what lies above all panels, the panels in columns that nothing joins, what lies below.

    A legend or a title that belongs to all panels would join them, and on a phone's screen they
    would shrink together, words and all; so it stands by itself.
    """
    words = boxes_of([*figure.legends, *figure.texts])
    panels = boxes_of(figure.axes)

    # What is drawn on the figure itself, an arrow from panel to panel say, would be cut in two.
    if figure.subfigs or figure.lines or figure.patches or figure.artists or not panels:
        return {}, [panels | words], {}

    top = max(box.y1 for box in panels.values()) - 1
    bottom = min(box.y0 for box in panels.values()) + 1
    above = {word: box for word, box in words.items() if box.y0 >= top}
    below = {word: box for word, box in words.items() if box.y1 <= bottom}
    beside = {word: box for word, box in words.items() if word not in above | below}

    # A table of panels has the names of its rows in the first column alone.
    joined, columns = side_by_side(panels | words), side_by_side(panels | beside)
    if len(columns) == len(joined) or len(columns) > MOST_COLUMNS:
        return {}, joined, {}
    return above, columns, below


def boxes_of(artists: list[Artist]) -> Boxes:
    """Return what some artists cover; those of which nothing is seen are left out."""
    boxes = {artist: artist.get_tightbbox() for artist in artists if artist.get_visible()}
    return {artist: box for artist, box in boxes.items() if box is not None and box.width > 0}


def side_by_side(boxes: Boxes) -> list[Boxes]:
    """Return artists in columns from left to right that nothing joins."""
    columns: list[Boxes] = []
    reached = float("-inf")
    for artist, box in sorted(boxes.items(), key=lambda item: (item[1].x0, item[1].x1)):
        if box.x0 > reached or not columns:
            columns.append({})
        columns[-1][artist] = box
        reached = max(reached, box.x1)
    return columns


def parts_of(figure: Figure, box: Bbox) -> tuple[list[Part], list[Part], list[Part]]:
    """Return the words above all panels, the columns of panels and the words below, with places.

    Columns begin at the same height, so that panels side by side stay level; one that ends early
    takes no more room than it needs where it stands below another.
    """
    above, columns, below = split(figure)

    def edges(boxes: Boxes) -> tuple[float, float, float, float]:
        union = Bbox.union(list(boxes.values())) if boxes else Bbox([[0, 0], [1, 1]])
        left, right = (x / figure.dpi - box.x0 for x in (union.x0, union.x1))
        top, bottom = (box.y1 - y / figure.dpi for y in (union.y1, union.y0))
        return left * POINTS, right * POINTS, top * POINTS, bottom * POINTS

    # The cuts lie in the middle between two parts.
    width, height = box.width * POINTS, box.height * POINTS
    spans = [edges(column) for column in columns]
    cuts = [0.0, *((a[1] + b[0]) / 2 for a, b in pairwise(spans)), width]
    first, last = min(span[2] for span in spans), max(span[3] for span in spans)
    ceiling = (edges(above)[3] + first) / 2 if above else 0.0
    floor = (edges(below)[2] + last) / 2 if below else height

    parts = [
        Part(list(column), left, right, ceiling, min(floor, span[3] + MARGIN))
        for column, span, (left, right) in zip(columns, spans, pairwise(cuts))
    ]
    if not any(columns):
        parts = [Part([], 0.0, width, 0.0, height)]

    def words(boxes: Boxes, top: float, bottom: float) -> list[Part]:
        left, right, *_ = edges(boxes)
        part = Part(list(boxes), max(0.0, left - MARGIN), min(width, right + MARGIN), top, bottom)
        return [part] if boxes else []

    return words(above, 0.0, ceiling), parts, words(below, floor, height)


def thin(element: Element, colours: Colours, glyph: bool = False, kept: bool = False) -> None:
    """Round the numbers and exchange the colours of an element and all in it, in place.

    Args:
        element: of what matplotlib has written.
        colours: gives each colour its name in the style sheet, with a light twin for dark pages.
        glyph: whether it lies within letters, whose units are a tenth as large.
        kept: whether it keeps its colours, because it stands on a ground of its own.
    """
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

    # A hatched area names its ground by an attribute.
    if "style" not in element.attrib and COLOUR.match(element.get("fill", "")):
        element.set("style", f"fill:{element.attrib.pop('fill')}")

    if "style" in element.attrib:
        style = element.attrib["style"]
        style = style if kept else recoloured(style, colours)
        element.set("style", squeezed(style.replace(": ", ":").replace("; ", ";")))

    for child in element:
        thin(child, colours, glyph, kept)


def recoloured(style: str, colours: Colours) -> str:
    """Return a style in the colours of the page."""
    rules = {}
    for rule in style.split(";"):
        name, _, value = (part.strip() for part in rule.partition(":"))
        if name:
            rules[name] = value

    # The border of an area in the area's own colour stays so on a dark page.
    same = rules.get("stroke") == rules.get("fill")
    for name in rules.keys() & {"fill", "stroke"}:
        for colour in set(COLOUR.findall(rules[name])):
            chosen = colours.of(colour, fill=name == "fill" or same)
            rules[name] = rules[name].replace(colour, chosen)
    return ";".join(f"{name}:{value}" for name, value in rules.items())


def squeezed(text: str, digits: int = 2) -> str:
    """Return text with its decimals rounded and no more space than it needs."""
    return " ".join(NUMBER.sub(lambda match: short(float(match[0]), digits), text).split())


def short(number: float, digits: int = 2) -> str:
    """Return a number with at most so many decimals."""
    text = f"{number:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def in_parts(root: Element, count: int) -> list[list[Element]]:
    """Return what each part draws; what lies elsewhere goes with the first."""
    placed: list[list[Element]] = [[] for _ in range(count)]
    figure = next((child for child in root if child.tag == SVG + "g"), root)
    for child in [*figure, *(child for child in root if child is not figure)]:
        if child.tag == SVG + "defs":
            continue  # stands with the forms that all drawings share
        match = PART.match(child.get("id", ""))
        placed[int(match[1]) if match else 0].append(child)
    return placed
