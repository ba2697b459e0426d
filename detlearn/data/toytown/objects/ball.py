"""ToyTown's ball.

Naming: ``p`` is the pen, ``rng`` a NumPy generator.
"""

import numpy as np

from detlearn.data.toytown.pen import PAINT, Colour, Pen, between, pick, shade

WHITE = (250, 248, 240)


def draw_ball(p: Pen, rng: np.random.Generator) -> None:
    """Draw a ball: beach ball, football, basketball, or one with a band or dots."""
    kind = pick(rng, ("beach", "football", "basketball", "band", "dots"))
    if kind in ("beach", "football"):
        colour = WHITE
    elif kind == "basketball":
        colour = (236, 124, 46)
    else:
        colour = shade(pick(rng, PAINT[:6]), between(rng, 0.85, 1.15))

    p.oval(0, 0, 1, 1, colour)
    p.arc(0.015, 0.015, 0.985, 0.985, 0, 100, shade(colour, 0.7), 0.05)  # away from the light

    if kind == "beach":
        turn = between(rng, 0, 60)
        for i in range(3):
            start = turn + 120 * i
            p.wedge(0.03, 0.03, 0.97, 0.97, start, start + 60, pick(rng, PAINT[:6]))
        p.circle(0.5, 0.5, 0.1, WHITE, edge=False)
    elif kind == "football":
        _football(p, between(rng, 0, 6.28))
    elif kind == "basketball":
        _basketball_seams(p, (110, 56, 30))
    else:
        _painted_ball(p, kind, pick(rng, (WHITE, shade(colour, 0.6), (255, 220, 80))))

    if kind not in ("beach", "football"):
        p.oval(0.24, 0.13, 0.38, 0.23, (255, 255, 255), edge=False)  # towards the light


def _football(p: Pen, turn: float) -> None:
    p.circle(0.5, 0.5, 0.17, (46, 46, 54), edge=False)
    for angle in turn + np.arange(5) * 2 * np.pi / 5:
        x = 0.5 + 0.38 * np.cos(angle)
        y = 0.5 + 0.38 * np.sin(angle)
        p.stroke([(0.5, 0.5), (x, y)], (120, 120, 126), 0.03)
        p.circle(x, y, 0.1, (46, 46, 54), edge=False)


def _basketball_seams(p: Pen, seam: Colour) -> None:
    p.stroke([(0.5, 0.02), (0.5, 0.98)], seam, 0.05)
    p.stroke([(0.02, 0.5), (0.98, 0.5)], seam, 0.05)
    p.arc(-0.42, 0.08, 0.3, 0.92, 306, 54, seam, 0.05)
    p.arc(0.7, 0.08, 1.42, 0.92, 126, 234, seam, 0.05)


def _painted_ball(p: Pen, kind: str, paint: Colour) -> None:
    if kind == "band":
        p.poly([(0.05, 0.4), (0.95, 0.26), (0.97, 0.58), (0.04, 0.7)], paint, edge=False)
        return
    for x, y in ((0.32, 0.38), (0.66, 0.24), (0.54, 0.56), (0.2, 0.64), (0.78, 0.6), (0.46, 0.82)):
        p.circle(x, y, 0.09, paint, edge=False)
