"""ToyTown's house.

Naming: ``p`` is the pen, ``rng`` a NumPy generator.
"""

import numpy as np

from detlearn.data.toytown.pen import Pen, between, pick, shade

WALLS = (
    (250, 236, 206), (240, 196, 150), (188, 214, 226), (236, 176, 170), (206, 220, 176),
    (246, 246, 242), (190, 104, 80),
)  # fmt: skip
SHIFT = 0.26  # from the middle to the left or right third of the wall


def draw_house(p: Pen, rng: np.random.Generator) -> None:
    """Draw a house: gable or hipped roof, a door, windows that may be lit, perhaps a chimney."""
    wall = pick(rng, WALLS)
    roof = pick(rng, ((190, 74, 56), (128, 72, 62), (84, 98, 120), (160, 60, 80), (78, 110, 92)))
    eaves = between(rng, 0.4, 0.5)

    if rng.random() < 0.7:  # a chimney
        x = pick(rng, (0.2, 0.68))
        p.rect(x, 0.04, x + 0.13, 0.36, shade(roof, 0.75))

    p.rect(0.07, eaves - 0.04, 0.93, 1.0, wall)
    p.rect(0.08, 0.94, 0.92, 1.0, shade(wall, 0.72), edge=False)
    if rng.random() < 0.25 and not p.small:  # half-timbered
        for x in (0.1, 0.3, 0.66, 0.86):
            p.rect(x, eaves, x + 0.04, 1.0, (110, 78, 60), edge=False)
        p.rect(0.08, 0.53, 0.92, 0.57, (110, 78, 60), edge=False)

    ridge = pick(rng, (0.02, 0.02, 0.24))  # short under a gable, long on a hipped roof
    p.poly([(0.5 - ridge, 0.0), (0.5 + ridge, 0.0), (1.0, eaves), (0.0, eaves)], roof)

    # The door in one third of the wall, windows in the other two.
    light = pick(rng, ((170, 214, 236), (255, 226, 130), (120, 160, 190)))
    door = pick(rng, ((120, 76, 50), (60, 110, 150), (150, 50, 54), (70, 116, 80)))
    shift = pick(rng, (-SHIFT, 0.0, SHIFT))
    p.rect(0.42 + shift, 0.66, 0.58 + shift, 1.0, door)
    for x in (-SHIFT, 0.0, SHIFT):
        if x == shift:
            continue
        p.rect(0.42 + x, 0.58, 0.59 + x, 0.79, light)
        if not p.small:
            p.rect(0.5 + x, 0.58, 0.515 + x, 0.79, shade(wall, 0.6), edge=False)

    if not p.small and ridge < 0.1:  # a round window in the gable
        p.oval(0.44, eaves * 0.5, 0.56, eaves * 0.82, light)
