"""Things in ToyTown that are no objects: bushes, rocks, puddles, crates, benches, ducks and more.

A detector must learn to leave them alone. They are drawn once per image size into a pool from a
fixed seed and pasted under the objects. Every picture is mirrored at will.

Naming: ``p`` is the pen, ``rng`` a NumPy generator.
"""

from functools import lru_cache

import numpy as np
from PIL import Image

from detlearn.data.toytown.pen import Pen, between, draw_sprite, pick, shade

COPIES = 8


def _bush(p: Pen, rng: np.random.Generator) -> None:
    leaves = pick(rng, ((84, 150, 78), (62, 126, 72), (124, 160, 72)))
    for x1, y1, x2 in ((0, 0.3, 0.5), (0.5, 0.3, 1), (0.2, 0, 0.8)):
        p.oval(x1, y1, x2, 1.0, leaves)
    p.oval(0.28, 0.1, 0.6, 0.5, shade(leaves, 1.15), edge=False)


def _rock(p: Pen, rng: np.random.Generator) -> None:
    grey = pick(rng, ((150, 150, 156), (130, 124, 120), (172, 166, 158)))
    p.poly([(0, 0.9), (0.12, 0.35), (0.4, 0), (0.75, 0.12), (1, 0.75), (0.9, 1), (0.1, 1)], grey)
    p.poly([(0.2, 0.4), (0.42, 0.12), (0.68, 0.2), (0.5, 0.5)], shade(grey, 1.3), edge=False)


def _puddle(p: Pen, rng: np.random.Generator) -> None:
    water = pick(rng, ((150, 178, 200), (130, 150, 170), (120, 104, 84)))
    p.oval(0, 0.1, 0.7, 1, water, edge=False)
    p.oval(0.3, 0, 1, 0.8, water, edge=False)
    p.oval(0.3, 0.25, 0.6, 0.4, shade(water, 1.4), edge=False)


def _crate(p: Pen, rng: np.random.Generator) -> None:
    wood = pick(rng, ((186, 138, 86), (150, 110, 74), (206, 166, 112)))
    p.rect(0, 0, 1, 1, wood)
    p.stroke([(0.12, 0.12), (0.88, 0.88)], shade(wood, 0.7), 0.12)
    for y in (0.04, 0.8):
        p.rect(0.03, y, 0.97, y + 0.16, shade(wood, 1.15))


def _cone(p: Pen, rng: np.random.Generator) -> None:
    p.poly([(0.42, 0), (0.58, 0), (0.84, 0.9), (0.16, 0.9)], (240, 116, 40))
    p.poly([(0.34, 0.32), (0.66, 0.32), (0.72, 0.54), (0.28, 0.54)], (250, 246, 236), edge=False)
    p.rect(0, 0.86, 1, 1, (206, 90, 30))


def _fence(p: Pen, rng: np.random.Generator) -> None:
    wood = pick(rng, ((240, 236, 226), (176, 130, 88), (130, 140, 150)))
    for y in (0.28, 0.66):
        p.rect(0, y, 1, y + 0.14, shade(wood, 0.85))
    for x in (0.02, 0.22, 0.42, 0.62, 0.82):
        p.poly([(x, 0.14), (x + 0.08, 0), (x + 0.16, 0.14), (x + 0.16, 1), (x, 1)], wood)


def _bench(p: Pen, rng: np.random.Generator) -> None:
    wood = pick(rng, ((170, 112, 66), (110, 140, 110), (150, 90, 70)))
    for x in (0.1, 0.8):
        p.rect(x, 0.1, x + 0.08, 1, (70, 72, 78), edge=False)
    for y in (0.0, 0.24, 0.52):
        p.rect(0, y, 1, y + 0.16, wood)


def _lamp(p: Pen, rng: np.random.Generator) -> None:
    iron = pick(rng, ((56, 62, 70), (70, 90, 80)))
    p.rect(0.42, 0.2, 0.58, 1, iron, edge=False)
    p.rect(0.22, 0.94, 0.78, 1, iron, edge=False)
    p.poly([(0.12, 0.06), (0.88, 0.06), (0.7, 0.24), (0.3, 0.24)], (255, 240, 180))
    p.rect(0.04, 0, 0.96, 0.06, iron, edge=False)


def _flowers(p: Pen, rng: np.random.Generator) -> None:
    petal = pick(rng, ((236, 90, 120), (250, 210, 80), (250, 250, 250), (150, 110, 220)))
    for x, y in ((0.12, 0.3), (0.5, 0.12), (0.86, 0.34), (0.32, 0.6), (0.7, 0.62)):
        p.stroke([(x, y), (0.5, 1)], (76, 140, 70), 0.08)
        p.oval(x - 0.13, y - 0.13, x + 0.13, y + 0.13, petal, edge=False)
        p.oval(x - 0.05, y - 0.05, x + 0.05, y + 0.05, (250, 190, 60), edge=False)


def _duck(p: Pen, rng: np.random.Generator) -> None:
    coat = pick(rng, ((252, 250, 244), (250, 214, 90), (150, 110, 80)))
    p.oval(0.0, 0.4, 0.82, 1, coat)
    p.oval(0.5, 0.0, 0.88, 0.54, coat)
    p.poly([(0.84, 0.2), (1, 0.28), (0.84, 0.38)], (244, 140, 40), edge=False)
    p.oval(0.66, 0.14, 0.74, 0.26, (40, 40, 46), edge=False)


def _bin(p: Pen, rng: np.random.Generator) -> None:
    paint = pick(rng, ((80, 130, 90), (90, 104, 124), (120, 120, 120)))
    p.poly([(0.08, 0.14), (0.92, 0.14), (0.8, 1), (0.2, 1)], paint)
    p.rect(0, 0, 1, 0.18, shade(paint, 0.8))
    for x in (0.34, 0.6):
        p.rect(x, 0.26, x + 0.06, 0.9, shade(paint, 0.7), edge=False)


def _manhole(p: Pen, rng: np.random.Generator) -> None:
    p.oval(0, 0, 1, 1, (96, 100, 108))
    for y in (0.26, 0.46, 0.66):
        p.rect(0.2, y, 0.8, y + 0.09, (70, 74, 82), edge=False)


def _log(p: Pen, rng: np.random.Generator) -> None:
    bark = pick(rng, ((126, 90, 62), (104, 84, 72)))
    p.rounded(0, 0.05, 1, 0.95, bark, 0.4)
    p.oval(0.78, 0, 1, 1, (222, 186, 138))
    p.stroke([(0.1, 0.5), (0.6, 0.45)], shade(bark, 0.7), 0.08)


CLUTTER = {  # drawing function, longer side as shares of S, width / height, where it lies
    "bush": (_bush, (0.07, 0.17), (1.2, 1.8), ("lawn", "paving", "sand", "snow")),
    "rock": (_rock, (0.04, 0.11), (1.1, 1.7), ("lawn", "water", "sand", "snow")),
    "puddle": (_puddle, (0.06, 0.17), (2.0, 3.2), ("street", "paving")),
    "crate": (_crate, (0.05, 0.11), (0.9, 1.3), ("street", "paving", "deck")),
    "cone": (_cone, (0.05, 0.1), (0.7, 0.85), ("street", "paving")),
    "fence": (_fence, (0.1, 0.22), (1.6, 2.4), ("lawn", "paving", "snow", "deck")),
    "bench": (_bench, (0.09, 0.15), (1.6, 2.1), ("lawn", "paving", "deck", "sand")),
    "lamp": (_lamp, (0.12, 0.24), (0.26, 0.34), ("street", "paving", "snow", "deck")),
    "flowers": (_flowers, (0.05, 0.1), (0.9, 1.3), ("lawn", "sand")),
    "duck": (_duck, (0.05, 0.09), (1.2, 1.5), ("water", "lawn")),
    "bin": (_bin, (0.06, 0.11), (0.65, 0.85), ("street", "paving", "deck")),
    "manhole": (_manhole, (0.05, 0.1), (1.6, 2.2), ("street",)),
    "log": (_log, (0.07, 0.16), (2.2, 3.4), ("lawn", "sand", "water", "snow")),
}


@lru_cache(maxsize=4)
def clutter_pool(size: int) -> dict[str, list[Image.Image]]:
    """Draw all clutter for images of side ``size``: ground kind → pictures that may lie on it."""
    pool: dict[str, list[Image.Image]] = {}

    for index, (drawer, sides, aspects, grounds) in enumerate(CLUTTER.values()):
        for copy in range(COPIES):
            rng = np.random.default_rng([index, copy])
            longer = size * between(rng, *sides)
            aspect = between(rng, *aspects)
            wide, tall = (longer, longer / aspect) if aspect > 1 else (longer * aspect, longer)

            sprite = draw_sprite(drawer, max(3, round(wide)), max(3, round(tall)), rng)
            if copy % 2:
                sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

            for ground in grounds:
                pool.setdefault(ground, []).append(sprite)

    return pool
