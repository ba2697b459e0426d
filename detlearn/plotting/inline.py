"""How a figure gets into a notebook: charts as drawings in the page's own colours, scenes sharp.

`install`, which `use_style` calls, tells IPython how to show matplotlib's figures:

* A **chart**, a figure without an image in it, becomes HTML with SVG in it. Black, white and grey
  follow the text and the background around it, and a colour too dark for a dark page has a lighter
  twin there, so that one stored output serves light and dark, in the built page, in Jupyter and in
  Colab. Words are drawn as paths: a page that lacks the font in which the layout was measured would
  set them wider or narrower, over each other or cut off. What is read aloud is the label.
* A **scene**, a figure with an image in it, stays a PNG, at twice the resolution at which it is
  shown. So does a chart of more than `MAX_BYTES`.

A figure cannot know the alt text that its cell carries; it labels itself by its titles and axes,
and ``scripts/notebooks.py`` puts the alt text there once the notebook has run.
"""

from __future__ import annotations

import html
import io
from itertools import combinations
from weakref import WeakSet

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import _ImageBase
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from detlearn.plotting import svg
from detlearn.plotting.compact import Shared

MAX_BYTES = 150_000
MARGIN = 0.08  # inches around what is drawn
SHARPNESS = 2  # pixels of a PNG for one on the page
TIGHT = {"bbox_inches": "tight", "pad_inches": MARGIN}

WIDE, NARROW = 4.9, 4.2  # inches: wider charts get a second drawing, of this width

# A page has room for 420 pixels or less on a phone and for 690 at a desk. At 480 either drawing
# is as good: the narrow one stands there enlarged by a seventh, the wide one, of 5.6 inches,
# shrunk by as much. The container is the chart's own place, whatever the window: a notebook's
# cell beside an open sidebar may be as narrow as a phone.
SWITCH = (
    ".detlearn-chart{container-type:inline-size}"
    "@container(max-width:480px){.detlearn-chart>.detlearn-wide{display:none}}"
    "@container(min-width:480.1px){.detlearn-chart>.detlearn-narrow{display:none}}"
)

_too_large: WeakSet[Figure] = WeakSet()  # IPython asks for the PNG after it asked for the HTML


def install() -> bool:
    """Tell IPython how to show figures.

    Returns:
        Whether there was a notebook to tell: False in a terminal and in a script.
    """
    try:
        from IPython import get_ipython
    except ImportError:
        return False

    shell = get_ipython()
    backend = mpl.get_backend().lower()
    if shell is None or "inline" not in backend:
        return False

    # The backend sets up its own formatters when it is loaded, so it is loaded before.
    import matplotlib.pyplot as plt

    plt.draw_if_interactive()

    formatters = shell.display_formatter.formatters
    formatters["text/html"].for_type(Figure, chart_html)
    formatters["image/png"].for_type(Figure, scene_png)
    return True


def chart_html(figure: Figure) -> str | None:
    """Return a chart as HTML with SVG in it, or None where a figure has to be a PNG."""
    if has_image(figure):
        return None

    label = html.escape(describe(figure), quote=True)
    _too_large.discard(figure)

    # Thousands of points are drawn once, tens of thousands are a PNG.
    for drawing in (drawn_for_all_widths, drawn_once):
        content = drawing(figure)
        text = f'<div class="detlearn-chart" role="img" aria-label="{label}">{content}</div>'
        if len(text.encode()) <= MAX_BYTES:
            return text

    _too_large.add(figure)
    return None


def drawn_once(figure: Figure) -> str:
    """Return the drawing of a figure, the same for all widths."""
    shared = Shared()
    return svg.chart([svg.draw(figure, tight_box(figure), shared)], shared)


def drawn_for_all_widths(figure: Figure) -> str:
    """Return the drawing of a figure; of a wide one a second, narrower drawing for a phone.

    Scaled down to a phone, a chart of 7 inches has words of 7 pixels. Panels side by side move
    below each other by themselves; a single panel is laid out anew.
    """
    shared = Shared()
    wide = svg.draw(figure, tight_box(figure), shared)
    width, height = figure.get_size_inches()
    if width <= WIDE or not has_one_column(figure):
        return svg.chart([wide], shared)

    crowded = collisions(figure)
    narrow = None
    try:
        figure.set_size_inches(NARROW, max(0.85 * height, 0.6 * NARROW), forward=False)
        box = tight_box(figure)
        if collisions(figure) <= crowded:
            narrow = svg.draw(figure, box, shared)
    finally:
        figure.set_size_inches(width, height, forward=False)
        figure.draw_without_rendering()

    if narrow is None:
        return svg.chart([wide], shared)

    drawings = [
        f'<div class="detlearn-{name}">{drawing}</div>'
        for name, drawing in (("wide", wide), ("narrow", narrow))
    ]
    return svg.chart(drawings, shared, SWITCH)


def has_one_column(figure: Figure) -> bool:
    """Return whether no panel stands beside another."""
    specs = [ax.get_subplotspec() for ax in figure.axes]
    return all(spec is not None and spec.get_gridspec().ncols == 1 for spec in specs)


def collisions(figure: Figure) -> int:
    """Count the pairs of words in a figure that lie over each other."""
    boxes = [
        text.get_window_extent()
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip()
    ]
    return sum(a.overlaps(b) for a, b in combinations(boxes, 2))


def scene_png(figure: Figure) -> tuple[bytes, dict[str, int]] | None:
    """Return a figure as PNG and the size to show it at, or None where it is shown as a chart."""
    if not has_image(figure) and figure not in _too_large:
        return None

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=SHARPNESS * figure.dpi, **TIGHT)
    data = file.getvalue()

    # The header of a PNG holds width and height, four bytes each.
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    return data, {"width": width // SHARPNESS, "height": height // SHARPNESS}


def has_image(figure: Figure) -> bool:
    """Return whether something in a figure is made of pixels."""
    return bool(figure.findobj(_ImageBase))


def tight_box(figure: Figure) -> Bbox:
    """Return the part of a figure that is drawn on, in inches."""
    figure.draw_without_rendering()  # lays it out; a closed figure has no canvas to draw on
    return figure.get_tightbbox().padded(MARGIN)


def describe(figure: Figure) -> str:
    """Return what a figure says about itself: titles, axes and the names of its lines."""
    heading = figure.get_suptitle()
    panels = [words for ax in figure.axes if (words := describe_axes(ax))]
    return "Chart. " + " ".join(part.rstrip(".") + "." for part in (heading, *panels) if part)


def describe_axes(ax: Axes) -> str:
    """Return the title of some axes, what they show over what, and their legend."""
    title, x, y = ax.get_title(), ax.get_xlabel(), ax.get_ylabel()
    parts = [title] if title else []
    if x and y:
        parts.append(f"{y} over {x}")
    elif x or y:
        parts.append(x or y)

    names = [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []
    if names:
        parts.append(", ".join(names))
    return ": ".join(part.replace("$", "").replace("\n", " ") for part in parts)
