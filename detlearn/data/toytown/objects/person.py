"""ToyTown's person.

Naming: ``p`` is the pen, ``rng`` a NumPy generator.
"""

import numpy as np

from detlearn.data.toytown.pen import CLOTH, Colour, Pen, between, pick, shade

SKIN = ((255, 220, 190), (241, 194, 155), (214, 158, 116), (165, 110, 74), (110, 72, 50))
HAIR = ((45, 36, 34), (94, 60, 38), (160, 100, 52), (226, 186, 98), (178, 74, 40), (198, 198, 200))
TROUSERS = ((52, 70, 118), (72, 64, 62), (120, 94, 66), (44, 46, 58), (96, 118, 150), (150, 60, 66))


def draw_person(p: Pen, rng: np.random.Generator) -> None:
    """Draw a person seen from the front: standing, walking or waving, in trousers or a dress."""
    skin = pick(rng, SKIN)
    hair = pick(rng, HAIR)
    shirt = pick(rng, CLOTH)
    trousers = pick(rng, TROUSERS)
    stride = between(rng, 0.0, 0.16)
    dress = rng.random() < 0.35

    _person_legs(p, skin if dress else trousers, stride)
    _person_arms(p, skin, shirt, waves=rng.random() < 0.3)

    if dress:
        p.poly([(0.34, 0.29), (0.66, 0.29), (0.88, 0.73), (0.12, 0.73)], shirt)
    else:
        p.rounded(0.22, 0.28, 0.78, 0.64, shirt, 0.16)
        if rng.random() < 0.4:  # a stripe over the shirt
            p.rect(0.25, 0.42, 0.75, 0.49, pick(rng, CLOTH), edge=False)

    style = pick(rng, ("short", "long", "bun", "cap", "hat"))
    _person_head(p, skin, hair, style, pick(rng, CLOTH))


def _person_legs(p: Pen, colour: Colour, stride: float) -> None:
    for side in (-1, 1):
        hip = 0.5 + 0.13 * side
        foot = 0.5 + (0.16 + stride) * side
        p.poly(
            [(hip - 0.13, 0.6), (hip + 0.13, 0.6), (foot + 0.1, 0.95), (foot - 0.1, 0.95)], colour
        )
        toe = 0.1 * side
        p.oval(foot - 0.14 + toe / 2, 0.93, foot + 0.14 + toe / 2, 1.0, (58, 46, 46), edge=False)


def _person_arms(p: Pen, skin: Colour, shirt: Colour, waves: bool) -> None:
    sleeve = shade(shirt, 0.82)
    hands = ((0.08, 0.6), (0.94, 0.16) if waves else (0.92, 0.6))
    for shoulder, (x, y) in zip((0.28, 0.72), hands):
        elbow = (x + (0.02 if x < 0.5 else -0.02), (0.36 + y) / 2)
        p.stroke([(shoulder, 0.33), elbow, (x, y)], shade(sleeve, 0.55), 0.24)
        p.stroke([(shoulder, 0.33), elbow, (x, y)], sleeve, 0.17)
        p.oval(x - 0.08, y - 0.025, x + 0.08, y + 0.04, skin, edge=False)


def _person_head(p: Pen, skin: Colour, hair: Colour, style: str, cap: Colour) -> None:
    if style == "long":
        p.rounded(0.2, 0.03, 0.8, 0.33, hair, 0.25)
    if style == "bun":
        p.oval(0.38, 0.0, 0.62, 0.08, hair)

    # Neck, face, and what covers the crown.
    p.rect(0.42, 0.22, 0.58, 0.3, shade(skin, 0.85), edge=False)
    p.oval(0.25, 0.03, 0.75, 0.26, skin)
    p.wedge(0.23, 0.0, 0.77, 0.25, 180, 360, cap if style == "cap" else hair)

    if style == "cap":
        p.rect(0.23, 0.11, 0.92, 0.14, shade(cap, 0.7), edge=False)
    if style == "hat":
        p.oval(0.06, 0.08, 0.94, 0.15, cap)
        p.rounded(0.28, 0.0, 0.72, 0.11, cap, 0.1)

    if not p.small:
        for x in (0.4, 0.6):
            p.oval(x - 0.04, 0.145, x + 0.04, 0.175, (40, 34, 40), edge=False)
        p.arc(0.38, 0.16, 0.62, 0.225, 25, 155, (170, 60, 60), 0.05)
