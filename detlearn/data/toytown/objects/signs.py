"""ToyTown's traffic light and stop sign, tall things on posts.

Naming: ``p`` is the pen, ``rng`` a NumPy generator.
"""

import numpy as np

from detlearn.data.toytown.pen import STEEL, Pen, between, pick, shade

LETTERS = (  # S, T, O, P as strokes in a cell of 1 by 1
    ((1, 0), (0, 0), (0, 0.5), (1, 0.5), (1, 1), (0, 1)),
    ((0, 0), (1, 0), (0.5, 0), (0.5, 1)),
    ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)),
    ((0, 1), (0, 0), (1, 0), (1, 0.55), (0, 0.55)),
)


def draw_traffic_light(p: Pen, rng: np.random.Generator) -> None:
    """Draw a traffic light on its post; one or two of the three lamps are lit."""
    housing = pick(rng, ((46, 50, 56), (46, 50, 56), (40, 84, 66), (230, 180, 50)))
    bottom = between(rng, 0.58, 0.74)

    # The post, its foot and the housing.
    p.rect(0.4, bottom - 0.05, 0.6, 1.0, pick(rng, (STEEL, (96, 100, 108), (210, 190, 90))))
    p.rect(0.18, 0.95, 0.82, 1.0, (92, 96, 104), edge=False)
    p.rounded(0.0, 0.0, 1.0, bottom, housing, 0.3)

    lit = pick(rng, ((0,), (1,), (2,), (0, 1)))
    lamps = ((255, 60, 50), (255, 196, 40), (70, 230, 110))
    step = bottom / 3.2
    for i, lamp in enumerate(lamps):
        y = bottom * 0.04 + i * step
        colour = lamp if i in lit else shade(lamp, 0.42)
        p.oval(0.16, y + 0.1 * step, 0.84, y + 0.92 * step, colour, edge=False)
        if i in lit and not p.small:
            p.oval(0.3, y + 0.22 * step, 0.52, y + 0.46 * step, shade(lamp, 1.7), edge=False)


def draw_stop_sign(p: Pen, rng: np.random.Generator) -> None:
    """Draw a stop sign: a red octagon with a white rim on a post."""
    red = shade(pick(rng, ((214, 34, 42), (226, 54, 46), (196, 32, 48))), between(rng, 0.86, 1.04))
    height = min(0.68, p.aspect)  # round where the box allows it
    p.rect(0.43, height - 0.05, 0.57, 1.0, pick(rng, (STEEL, (120, 124, 130), (150, 112, 76))))

    if rng.random() < 0.3:  # a plate under the sign
        plate = pick(rng, ((250, 250, 246), (60, 110, 190), (250, 206, 70)))
        p.rect(0.2, height + 0.03, 0.8, height + 0.13, plate)

    # Three octagons in one another: dark edge, white rim, red.
    for inset, colour in ((0.0, shade(red, 0.5)), (0.03, (252, 250, 246)), (0.1, red)):
        low, high = inset, 1 - inset
        cut = 0.29 + 0.4 * inset  # from a corner of the square to one of the octagon
        corners = [(cut, low), (1 - cut, low), (high, cut), (high, 1 - cut), (1 - cut, high),
                   (cut, high), (low, 1 - cut), (low, cut)]  # fmt: skip
        p.poly([(x, y * height) for x, y in corners], colour, edge=False)

    if p.small:  # a bar for the letters
        p.rect(0.2, 0.43 * height, 0.8, 0.57 * height, (252, 250, 246), edge=False)
        return

    for i, letter in enumerate(LETTERS):
        x = 0.17 + 0.175 * i
        points = [(x + 0.12 * u, (0.38 + 0.24 * v) * height) for u, v in letter]
        p.stroke(points, (252, 250, 246), 0.05)
