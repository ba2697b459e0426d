"""ToyTown's tree and house.

Naming: ``p`` is the pen, ``rng`` a NumPy generator.
"""

import numpy as np

from detlearn.data.toytown.pen import Colour, Pen, between, pick, shade

LEAVES = (
    (74, 150, 62), (104, 172, 70), (52, 126, 66), (226, 140, 48), (206, 84, 50), (240, 166, 190),
)  # fmt: skip
NEEDLES = ((42, 104, 74), (58, 122, 70), (34, 92, 88))


def draw_tree(p: Pen, rng: np.random.Generator) -> None:
    """A tree: a leafy crown in the colours of a season, or a fir in tiers."""
    bark = pick(rng, ((120, 82, 54), (96, 68, 52), (150, 110, 76), (210, 204, 196)))
    kind = rng.random()
    if kind < 0.15:
        _palm(p, bark)
        return
    half = between(rng, 0.06, 0.1)
    foot = 1.6 * half
    p.poly([(0.5 - half, 0.6), (0.5 + half, 0.6), (0.5 + foot, 1), (0.5 - foot, 1)], bark)
    if kind < 0.45:
        _fir(p, pick(rng, NEEDLES), snow=rng.random() < 0.25)
    else:
        _crown(p, rng, pick(rng, LEAVES))


def _palm(p: Pen, bark: Colour) -> None:
    p.poly([(0.46, 0.3), (0.58, 0.3), (0.5, 0.7), (0.54, 1), (0.34, 1), (0.36, 0.7)], bark)
    for i, (x, y) in enumerate(
        ((0, 0.5), (1, 0.5), (0, 0.2), (1, 0.2), (0.24, 0.02), (0.78, 0.02))
    ):
        tone = shade((64, 150, 84), 0.85 + 0.08 * i)
        p.poly(
            [
                (0.52, 0.2),
                ((x + 0.5) / 2, y - 0.04),
                (x, y),
                ((x + 0.5) / 2, y + 0.12),
                (0.52, 0.32),
            ],
            tone,
        )
    for x in (0.42, 0.53):
        p.oval(x, 0.27, x + 0.1, 0.34, (112, 72, 44), edge=False)


def _fir(p: Pen, needles: Colour, snow: bool) -> None:
    tiers = ((0.46, 0.86, 0.5), (0.22, 0.62, 0.4), (0.0, 0.38, 0.28))
    for i, (top, bottom, half) in enumerate(tiers):
        tier = [(0.46, top), (0.54, top), (0.5 + half, bottom), (0.5 - half, bottom)]
        p.poly(tier, shade(needles, 0.9 + 0.15 * i))
        if snow:
            middle, left, right = (top + bottom) / 2 - 0.05, 0.5 - 0.4 * half, 0.5 + 0.4 * half
            tip = [(0.46, top), (0.54, top), (right, middle), (left, middle)]
            p.poly(tip, (246, 250, 255), edge=False)


def _crown(p: Pen, rng: np.random.Generator, leaves: Colour) -> None:
    for x1, y1, x2, y2 in ((0, 0.28, 0.56, 0.72), (0.44, 0.28, 1, 0.72), (0.16, 0.0, 0.84, 0.52)):
        p.oval(x1, y1, x2, y2, shade(leaves, 0.88))
    p.oval(0.12, 0.2, 0.88, 0.66, shade(leaves, 0.88), edge=False)
    p.oval(0.2, 0.06, 0.66, 0.4, shade(leaves, 1.12), edge=False)
    if p.small:
        return
    fruit = pick(rng, (shade(leaves, 0.7), shade(leaves, 1.35), (222, 50, 46)))
    for _ in range(7):
        x, y = between(rng, 0.14, 0.82), between(rng, 0.14, 0.6)
        p.circle(x, y, 0.028, fruit, edge=False)


def draw_house(p: Pen, rng: np.random.Generator) -> None:
    """A house: gable or hipped roof, a door, windows that may be lit, perhaps a chimney."""
    wall = pick(
        rng,
        (
            (250, 236, 206),
            (240, 196, 150),
            (188, 214, 226),
            (236, 176, 170),
            (206, 220, 176),
            (246, 246, 242),
            (190, 104, 80),
        ),
    )
    roof = pick(rng, ((190, 74, 56), (128, 72, 62), (84, 98, 120), (160, 60, 80), (78, 110, 92)))
    eaves = between(rng, 0.4, 0.5)
    if rng.random() < 0.7:
        x = pick(rng, (0.2, 0.68))
        p.rect(x, 0.04, x + 0.13, 0.36, shade(roof, 0.75))
    p.rect(0.07, eaves - 0.04, 0.93, 1.0, wall)
    p.rect(0.08, 0.94, 0.92, 1.0, shade(wall, 0.72), edge=False)
    if rng.random() < 0.25 and not p.small:  # half-timbered
        for x in (0.1, 0.3, 0.66, 0.86):
            p.rect(x, eaves, x + 0.04, 1.0, (110, 78, 60), edge=False)
        p.rect(0.08, 0.53, 0.92, 0.57, (110, 78, 60), edge=False)
    ridge = pick(rng, (0.02, 0.02, 0.24))
    p.poly([(0.5 - ridge, 0.0), (0.5 + ridge, 0.0), (1.0, eaves), (0.0, eaves)], roof)
    light = pick(rng, ((170, 214, 236), (255, 226, 130), (120, 160, 190)))
    door = pick(rng, ((120, 76, 50), (60, 110, 150), (150, 50, 54), (70, 116, 80)))
    shift = pick(rng, (-0.26, 0.0, 0.26))
    p.rect(0.42 + shift, 0.66, 0.58 + shift, 1.0, door)
    for x in {-0.26, 0.0, 0.26} - {shift} if shift else (-0.26, 0.26):
        p.rect(0.42 + x, 0.58, 0.59 + x, 0.79, light)
        if not p.small:
            p.rect(0.5 + x, 0.58, 0.515 + x, 0.79, shade(wall, 0.6), edge=False)
    if not p.small and ridge < 0.1:
        p.oval(0.44, eaves * 0.5, 0.56, eaves * 0.82, light)
