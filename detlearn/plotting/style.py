"""The look of the book's figures: colours, line styles, marker shapes and type sizes.

Four rules, each for a reader who would otherwise lose something:

* **Print and grey.** Nothing is told by colour alone. A class has its name on the box, an object
  its letter and marker shape, a verdict (found, false alarm, missed) its line style.
* **Any background.** A line is drawn on a wider one of the opposite lightness, its casing, so that
  either the line or the casing stands out. A dashed line has a solid casing: the box stays closed.
* **A phone.** It shows a scene of at most 5.6 inches 380 pixels wide, where one point is 0.93
  pixels: text is 10 points or more. A chart may be wider: it has a second drawing, or panels that
  move below each other (`detlearn.plotting.inline`).
* **Colour-blind readers.** The smallest distance between two colours of `PALETTE`, in OKLab and
  under simulated protanopia, deuteranopia, tritanopia (Machado, Oliveira and Fernandes, 2009) and
  normal sight, is 0.13; a test measures it. The colours were found by a farthest-point search for
  that number, and are ordered such that the first ones also differ most in lightness.
"""

import matplotlib as mpl
from cycler import cycler
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.patheffects import AbstractPathEffect, Normal, Stroke

from detlearn.plotting import inline
from detlearn.plotting.page_colours import linear_light

PALETTE = (
    "#fca800",  # amber
    "#540090",  # violet
    "#b42400",  # brick
    "#90fcfc",  # ice
    "#30a89c",  # teal
    "#0000e4",  # blue
    "#b4b4fc",  # lavender
    "#845484",  # plum
    "#c060fc",  # orchid
    "#780c3c",  # wine
    "#e46030",  # coral
    "#e4f090",  # straw
)

# The blue in which boxes are sketched that belong to no class.
INK = PALETTE[5]

# The colours of PALETTE that are dark enough to be lines on white paper.
LINE_COLOURS = tuple(PALETTE[i] for i in (1, 10, 4, 5, 7, 2, 8, 9))

SOLID = "-"
DASHED = (0, (4.0, 2.0))
DOTTED = (0, (1.0, 1.4))
LINE_STYLES = (SOLID, DASHED, DOTTED, (0, (6.0, 1.5, 1.0, 1.5)))

# A marker and the character that looks like it in the font that comes with matplotlib.
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "*": "★", ">": "▶", "P": "✚"}

FOUND, FALSE_ALARM, MISSED = "#009e73", "#d55e00", "#f0e442"  # Okabe and Ito (2008)
NEUTRAL = "#6b6b6b"
DARK, LIGHT = "#111111", "#ffffff"

# Tags hold check marks and marker shapes, which other fonts may lack.
TAG_FONT = "DejaVu Sans"
TAG_SIZE = 10
BOX_LINE = 2.2  # points; draw_box makes it thinner in small axes
CASING = 0.9  # how much wider than its line a casing is, in units of the line


def use_style() -> None:
    """Set matplotlib's defaults for the figures of the book, until the end of the session.

    Every function of `detlearn.plotting` also works without it. In a notebook charts become
    drawings that follow the page's light and dark, see `detlearn.plotting.inline`. Whatever stays
    an image is on opaque white, because a transparent one would put black text on black.
    """
    inline.install()

    # Pages at a desk show a figure of 7 inches as it is.
    paper = {
        "figure.figsize": (7.0, 4.2),
        "figure.dpi": 100,
        "savefig.dpi": "figure",
        "figure.facecolor": LIGHT,
        "savefig.facecolor": LIGHT,
        "savefig.transparent": False,
        "figure.constrained_layout.use": True,
    }

    # None smaller than TAG_SIZE.
    words = {
        "font.family": [TAG_FONT],
        "font.size": 11.5,
        "axes.titlesize": 12,
        "axes.labelsize": 11.5,
        "xtick.labelsize": 10.5,
        "ytick.labelsize": 10.5,
        "legend.fontsize": 10.5,
        "legend.frameon": False,
    }

    # What is measured is darker than what helps to read it.
    lines = {
        "lines.linewidth": 2.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#dddddd",
        "grid.linewidth": 0.7,
        "axes.prop_cycle": line_cycle(),
    }

    mpl.rcParams.update({**paper, **words, **lines})


def line_cycle() -> cycler:
    """Return a cycle of 8 colours along with 4 line styles, so that no two lines share both."""
    styles = [LINE_STYLES[i % len(LINE_STYLES)] for i in range(len(LINE_COLOURS))]
    return cycler(color=LINE_COLOURS) + cycler(linestyle=styles)


def colour_of(index: int) -> str:
    """Return the colour of class or object `index`; they repeat after `len(PALETTE)`."""
    return PALETTE[index % len(PALETTE)]


def marker_of(index: int) -> str:
    """Return the marker of object `index`; they repeat after `len(MARKERS)`."""
    return list(MARKERS)[index % len(MARKERS)]


def letter_of(index: int) -> str:
    """Return A, B, …, Z, AA, AB, … for object `index` 0, 1, …, 25, 26, 27, …."""
    before, last = divmod(index, 26)
    return (letter_of(before - 1) if before else "") + chr(ord("A") + last)


def ink_on(colour: str) -> str:
    """Return black or white, whichever contrasts more with `colour`.

    Follows the relative luminance and contrast ratio of WCAG 2.1; the ratio is 4.4 or more for any
    colour.
    """
    red, green, blue = (linear_light(value) for value in to_rgb(colour))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return DARK if luminance > 0.179 else LIGHT


def casing(colour: str, linewidth: float) -> list[AbstractPathEffect]:
    """Return path effects that put a solid line of the opposite lightness beneath a line."""
    solid = {"dash_offset": 0, "dash_list": None}
    under = Stroke(linewidth=linewidth * (1 + CASING), foreground=ink_on(colour), dashes=solid)
    return [under, Normal()]


def hide_from_layout(artist: Artist) -> Artist:
    """Keep `artist` out of layout engines, which otherwise shrink the axes to make room for it."""
    artist.set_in_layout(False)
    return artist
