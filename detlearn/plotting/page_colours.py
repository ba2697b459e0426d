"""The colours of a chart on a page whose background is light or dark, the chart cannot know which.

Black is the colour of the text around the chart and white its background; greys lie between. Any
other colour is a variable with two values, one for each kind of page, taken in OKLCH (Ottosson
2020), where changing the lightness keeps the hue: lines that are too dark for a dark page are
lightened, and pale grounds, on which words stand, are darkened.
"""

from __future__ import annotations

import math

from matplotlib.colors import to_hex, to_rgb

RGB = tuple[float, float, float]

GREY = 0.035  # channels that differ by less have no hue
DARKEST_LINE = 0.62  # OKLCH lightness of a line on a dark page: 4.5 to 1 against PAPER_DARK or more
PALE = (0.78, 0.09)  # from this lightness and up to this chroma a fill is a ground for words
GROUND = (0.24, 0.9)  # its lightness on a dark page: so much, and a share of what it lacks to white

# The background, by the names that the built page, Jupyter, Colab and VS Code give it.
PAPER = (
    "var(--pst-color-background,var(--jp-layout-color0,"
    "var(--colab-primary-surface-color,var(--vscode-editor-background,Canvas))))"
)
# How the same four say that they are dark.
DARK_PAGE = (
    ":is([data-theme=dark],[data-jp-theme-light=false],[theme=dark],"
    "[data-vscode-theme-kind=vscode-dark])"
)


class Colours:
    """The colours of one chart: asked for one by one, then written as its style sheet.

    Args:
        name: the class of the chart's SVGs.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.twins: dict[tuple[str, str], str] = {}  # (light, dark) -> variable

    def of(self, colour: str, fill: bool) -> str:
        """Return what to write instead of a colour.

        Args:
            colour: as ``#rrggbb``.
            fill: whether it fills an area; else it is a line.
        """
        rgb = to_rgb(colour)
        if is_grey(rgb):
            share = round(100 * (1 - sum(rgb) / 3))
            if share == 0:
                return "var(--paper)"
            if share > 85:
                return "currentColor"  # words have the full contrast
            return f"color-mix(in srgb,currentColor {share}%,var(--paper))"

        twin = ground_on_dark(rgb) if fill and is_pale(rgb) else line_on_dark(rgb)
        if to_hex(twin) == colour:
            return colour
        variable = self.twins.setdefault((colour, to_hex(twin)), f"--c{len(self.twins)}")
        return f"var({variable})"

    def sheet(self) -> str:
        """Return the rules for light and for dark pages."""
        light = "".join(f";{variable}:{light}" for (light, _), variable in self.twins.items())
        dark = ";".join(f"{variable}:{dark}" for (_, dark), variable in self.twins.items())
        rules = f".{self.name}{{--paper:{PAPER}{light}}}"
        return rules + (f"{DARK_PAGE} .{self.name}{{{dark}}}" if dark else "")


def is_grey(rgb: RGB) -> bool:
    """Return whether a colour has no hue."""
    return max(rgb) - min(rgb) < GREY


def is_pale(rgb: RGB) -> bool:
    """Return whether a fill is so light and weak that words may stand on it."""
    lightness, chroma, _ = oklch(rgb)
    return lightness >= PALE[0] and chroma <= PALE[1]


def line_on_dark(rgb: RGB) -> RGB:
    """Return a colour that can be seen on a dark page: itself, or lighter."""
    lightness, chroma, hue = oklch(rgb)
    return rgb if lightness >= DARKEST_LINE else from_oklch(DARKEST_LINE, chroma, hue)


def ground_on_dark(rgb: RGB) -> RGB:
    """Return a dark ground of the same hue; of two grounds the lighter becomes the darker."""
    lightness, chroma, hue = oklch(rgb)
    return from_oklch(GROUND[0] + GROUND[1] * (1 - lightness), chroma, hue)


def oklch(rgb: RGB) -> tuple[float, float, float]:
    """Return lightness, chroma and hue (radians) of a colour."""
    red, green, blue = (linear_light(value) for value in rgb)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    middle = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)

    lightness = 0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short
    a = 1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short
    b = 0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short
    return lightness, math.hypot(a, b), math.atan2(b, a)


def from_oklch(lightness: float, chroma: float, hue: float) -> RGB:
    """Return the colour of a lightness, chroma and hue; of less chroma where no screen has it."""
    for share in range(20, -1, -1):
        rgb = _unbounded(lightness, chroma * share / 20, hue)
        if all(-0.002 <= value <= 1.002 for value in rgb):
            break
    return tuple(min(1.0, max(0.0, value)) for value in rgb)


def _unbounded(lightness: float, chroma: float, hue: float) -> RGB:
    """Return red, green and blue, also beyond what a screen can show."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return tuple(
        gamma(value)
        for value in (
            4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
        )
    )


def linear_light(value: float) -> float:
    """Undo sRGB's gamma: from a stored value to an amount of light, both in [0, 1]."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def gamma(light: float) -> float:
    """Return the stored value of an amount of light: the inverse of `linear_light`."""
    if light <= 0.0031308:
        return 12.92 * light
    return 1.055 * light ** (1 / 2.4) - 0.055
