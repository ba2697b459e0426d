"""ToyTown's phone, the smallest object.

Naming: ``p`` is the pen, ``rng`` a NumPy generator.
"""

import numpy as np

from detlearn.data.toytown.pen import CLOTH, PAINT, Pen, pick, shade


def draw_phone(p: Pen, rng: np.random.Generator) -> None:
    """Draw a telephone with a glowing screen: icons, a chat or a picture."""
    case = pick(rng, ((36, 38, 48), (36, 38, 48), (226, 70, 110), (60, 120, 200), (236, 232, 224)))
    screen = pick(rng, ((150, 222, 255), (190, 240, 200), (255, 236, 170), (230, 210, 255)))

    p.rounded(0, 0, 1, 1, case, 0.18)
    p.rounded(0.1, 0.1, 0.9, 0.88, screen, 0.06, edge=False)
    if p.small:
        return

    # A button, an earpiece, and what the screen shows.
    p.oval(0.42, 0.9, 0.58, 0.98, shade(case, 1.5), edge=False)
    p.rect(0.38, 0.045, 0.62, 0.065, shade(case, 1.5), edge=False)

    content = rng.random()
    if content < 0.4:
        for row in range(3):
            for column in range(3):
                x = 0.19 + 0.23 * column
                y = 0.18 + 0.22 * row
                p.rect(x, y, x + 0.16, y + 0.13, pick(rng, PAINT), edge=False)
    elif content < 0.7:
        for row, y in enumerate((0.17, 0.34, 0.51, 0.68)):
            x = 0.16 if row % 2 else 0.34
            p.rect(x, y, x + 0.5, y + 0.11, pick(rng, CLOTH[3:7]), edge=False)
    else:
        p.poly(
            [(0.12, 0.86), (0.4, 0.46), (0.6, 0.7), (0.72, 0.58), (0.88, 0.86)],
            (84, 150, 96),
            edge=False,
        )
        p.oval(0.6, 0.2, 0.8, 0.32, (255, 200, 70), edge=False)
