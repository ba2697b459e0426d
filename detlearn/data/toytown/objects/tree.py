"""ToyTown's tree.

Naming: ``p`` is the pen, ``rng`` a NumPy generator.
"""

import numpy as np

from detlearn.data.toytown.pen import Colour, Pen, between, pick, shade

LEAVES = (
    (74, 150, 62), (104, 172, 70), (52, 126, 66), (226, 140, 48), (206, 84, 50), (240, 166, 190),
)  # fmt: skip
NEEDLES = ((42, 104, 74), (58, 122, 70), (34, 92, 88))


def draw_tree(p: Pen, rng: np.random.Generator) -> None:
    """Draw a tree: a leafy crown in the colours of a season, or a fir in tiers, or a palm."""
    bark = pick(rng, ((120, 82, 54), (96, 68, 52), (150, 110, 76), (210, 204, 196)))
    kind = rng.random()

    if kind < 0.15:
        _palm(p, bark)
        return

    # The trunk, then what grows on it.
    half = between(rng, 0.06, 0.1)
    foot = 1.6 * half
    p.poly([(0.5 - half, 0.6), (0.5 + half, 0.6), (0.5 + foot, 1), (0.5 - foot, 1)], bark)
    if kind < 0.45:
        _fir(p, pick(rng, NEEDLES), snow=rng.random() < 0.25)
    else:
        _crown(p, rng, pick(rng, LEAVES))


def _palm(p: Pen, bark: Colour) -> None:
    p.poly([(0.46, 0.3), (0.58, 0.3), (0.5, 0.7), (0.54, 1), (0.34, 1), (0.36, 0.7)], bark)

    # Leaves from the top of the trunk to their tips.
    tips = ((0, 0.5), (1, 0.5), (0, 0.2), (1, 0.2), (0.24, 0.02), (0.78, 0.02))
    for i, (x, y) in enumerate(tips):
        middle = (x + 0.5) / 2
        leaf = [(0.52, 0.2), (middle, y - 0.04), (x, y), (middle, y + 0.12), (0.52, 0.32)]
        p.poly(leaf, shade((64, 150, 84), 0.85 + 0.08 * i))

    for x in (0.42, 0.53):
        p.oval(x, 0.27, x + 0.1, 0.34, (112, 72, 44), edge=False)


def _fir(p: Pen, needles: Colour, snow: bool) -> None:
    tiers = ((0.46, 0.86, 0.5), (0.22, 0.62, 0.4), (0.0, 0.38, 0.28))
    for i, (top, bottom, half) in enumerate(tiers):
        tier = [(0.46, top), (0.54, top), (0.5 + half, bottom), (0.5 - half, bottom)]
        p.poly(tier, shade(needles, 0.9 + 0.15 * i))

        if snow:
            middle = (top + bottom) / 2 - 0.05
            left, right = 0.5 - 0.4 * half, 0.5 + 0.4 * half
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
        x = between(rng, 0.14, 0.82)
        y = between(rng, 0.14, 0.6)
        p.circle(x, y, 0.028, fruit, edge=False)
