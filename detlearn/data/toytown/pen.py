"""A pen that draws in the unit square: the few strokes from which every picture of ToyTown is made.

A sprite is drawn several times too large with Pillow's hard-edged rasteriser, cut to the pixels
that were touched and averaged down to the width and height asked for. So it fills its box exactly,
and its edges are smooth.

Naming: ``x`` and ``y`` run from 0 to 1 over the canvas, y downwards; a colour is ``(r, g, b)``,
each 0 … 255.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

CLOTH = (
    (226, 72, 66), (242, 142, 50), (250, 204, 72), (70, 160, 96), (58, 132, 204),
    (126, 92, 190), (236, 118, 160), (244, 240, 230), (40, 170, 172), (64, 72, 104),
)  # fmt: skip
PAINT = (
    (214, 50, 48), (240, 128, 44), (248, 200, 56), (70, 150, 84), (44, 118, 196), (110, 196, 220),
    (238, 238, 232), (92, 98, 112), (150, 88, 168), (240, 140, 160),
)  # fmt: skip
# Cosine and sine at four angles of each quarter of a circle, the corners of rounded rectangles.
QUARTERS = [
    [(math.cos(math.radians(v)), math.sin(math.radians(v))) for v in range(start, start + 91, 30)]
    for start in (0, 90, 180, 270)
]
GLASS = (190, 226, 240)
STEEL = (150, 156, 166)


def pick(rng: np.random.Generator, options: Sequence):
    """Pick one of ``options``, each equally likely (many times faster than ``rng.choice``)."""
    return options[int(rng.random() * len(options))]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number uniformly from [low, high)."""
    return low + (high - low) * rng.random()


def shade(colour: Colour, factor: float) -> Colour:
    """Move a colour towards black (factor < 1) or towards white (factor > 1; 2 is white)."""
    if factor <= 1:
        return tuple(int(c * factor) for c in colour)
    return tuple(int(c + (255 - c) * (factor - 1)) for c in colour)


class Pen:
    """A pen that draws filled shapes with a darker outline on a transparent canvas.

    Args:
        width, height: size of the finished sprite in pixels.
        oversample: canvas pixels per finished pixel, along each axis.
    """

    def __init__(self, width: int, height: int, oversample: int) -> None:
        self.width, self.height = width * oversample, height * oversample
        self.aspect = width / height
        self.small = max(width, height) < 16  # details under a pixel only blur: leave them out
        self.line = max(1, round(0.8 * oversample))
        self.image = Image.new("RGBA", (self.width, self.height))
        self._draw = ImageDraw.Draw(self.image)

    def _edge(self, fill: Colour, edge: bool) -> dict:
        """Return Pillow's arguments for a filled shape, with or without an outline."""
        if not edge:
            return {"fill": fill}
        return {"fill": fill, "outline": shade(fill, 0.5), "width": self.line}

    def _box(self, x1: float, y1: float, x2: float, y2: float) -> list[float]:
        """Return a rectangle in canvas pixels, as Pillow wants it."""
        # Its corners are inclusive, hence the - 1; no box is thinner than a canvas pixel.
        left, top = x1 * self.width, y1 * self.height
        return [left, top, max(left, x2 * self.width - 1), max(top, y2 * self.height - 1)]

    def rect(
        self, x1: float, y1: float, x2: float, y2: float, fill: Colour, *, edge: bool = True
    ) -> None:
        """Draw a rectangle from corner to corner."""
        self._draw.rectangle(self._box(x1, y1, x2, y2), **self._edge(fill, edge))

    def rounded(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        fill: Colour,
        radius: float,
        *,
        edge: bool = True,
    ) -> None:
        """Draw a rectangle with round corners.

        ``radius`` is a share of the canvas's shorter side.
        """
        # A radius is one in pixels, so it is two different shares of width and height.
        pixels = radius * min(self.width, self.height)
        across = min(pixels / self.width, (x2 - x1) / 2)
        down = min(pixels / self.height, (y2 - y1) / 2)

        # A polygon through four arcs, around the centres of the corners.
        corners = ((x2 - across, y2 - down), (x1 + across, y2 - down),
                   (x1 + across, y1 + down), (x2 - across, y1 + down))  # fmt: skip
        points = [
            (x + across * cos, y + down * sin)
            for (x, y), arc in zip(corners, QUARTERS)
            for cos, sin in arc
        ]
        self.poly(points, fill, edge=edge)

    def oval(
        self, x1: float, y1: float, x2: float, y2: float, fill: Colour, *, edge: bool = True
    ) -> None:
        """Draw the ellipse inside a rectangle."""
        self._draw.ellipse(self._box(x1, y1, x2, y2), **self._edge(fill, edge))

    def circle(self, x: float, y: float, radius: float, fill: Colour, *, edge: bool = True) -> None:
        """Draw a circle, round on any canvas; ``radius`` is a share of the canvas's height."""
        across = radius / self.aspect
        self.oval(x - across, y - radius, x + across, y + radius, fill, edge=edge)

    def wedge(
        self, x1: float, y1: float, x2: float, y2: float, start: float, end: float, fill: Colour
    ) -> None:
        """Draw a slice of the ellipse inside a rectangle, between angles in degrees, clockwise."""
        self._draw.pieslice(self._box(x1, y1, x2, y2), start, end, fill=fill)

    def poly(self, points: Sequence[Point], fill: Colour, *, edge: bool = True) -> None:
        """Draw a polygon."""
        scaled = self._scale(points)
        self._draw.polygon(scaled, fill=fill)
        if edge:  # as lines: Pillow's own wide outlines of polygons are several times slower
            self._draw.line([*scaled, scaled[0], scaled[1]], fill=shade(fill, 0.5), width=self.line)

    def stroke(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """Draw a line through points; ``width`` is a share of the canvas's shorter side."""
        pixels = max(1, round(width * min(self.width, self.height)))
        self._draw.line(self._scale(points), fill=fill, width=pixels)

    def _scale(self, points: Sequence[Point]) -> list[Point]:
        """Turn points of the unit square into canvas pixels."""
        return [(x * (self.width - 1), y * (self.height - 1)) for x, y in points]

    def arc(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        start: float,
        end: float,
        fill: Colour,
        width: float,
    ) -> None:
        """Draw a piece of an ellipse's outline; ``width`` as for ``stroke``."""
        pixels = max(1, round(width * min(self.width, self.height)))
        self._draw.arc(self._box(x1, y1, x2, y2), start, end, fill=fill, width=pixels)


def draw_sprite(
    drawer: Callable[[Pen, np.random.Generator], None],
    width: int,
    height: int,
    rng: np.random.Generator,
) -> Image.Image:
    """Run a drawing function and fit what it drew to ``width`` × ``height`` pixels.

    Returns:
        an RGBA image of exactly that size, whose opaque pixels touch all four sides.
    """
    # The smaller the sprite, the more its edges gain from oversampling, and the less that costs.
    longer = max(width, height)
    pen = Pen(width, height, oversample=4 if longer < 20 else 3 if longer < 40 else 2)
    drawer(pen, rng)

    image = pen.image
    return image.resize((width, height), Image.Resampling.BOX, box=image.getbbox())
