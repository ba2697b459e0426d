"""ToyTown's car, bus and boat, drawn from the side.

Naming: ``p`` is the pen, ``rng`` a NumPy generator.
"""

import numpy as np

from detlearn.data.toytown.pen import CLOTH, GLASS, PAINT, Pen, between, pick, shade

RUBBER = (44, 44, 52)
ROOFS = {  # left and right end of a car's roof
    "saloon": (0.32, 0.66),
    "taxi": (0.32, 0.66),
    "hatchback": (0.14, 0.64),
    "pickup": (0.46, 0.7),
}


def _wheel(p: Pen, x: float, y: float, radius: float) -> None:
    p.circle(x, y, radius, RUBBER, edge=False)
    p.circle(x, y, 0.52 * radius, (206, 210, 214), edge=False)
    if not p.small:
        p.circle(x, y, 0.2 * radius, (110, 114, 122), edge=False)


def draw_car(p: Pen, rng: np.random.Generator) -> None:
    """Draw a car from the side: saloon, hatchback, taxi or pick-up, driving left or right."""
    paint = pick(rng, PAINT)
    kind = pick(rng, ("saloon", "hatchback", "taxi", "pickup"))
    if kind == "taxi":  # yellow, with a sign on its roof
        paint = PAINT[2]
        p.rect(0.42, 0.0, 0.56, 0.12, (50, 50, 56), edge=False)

    # The cabin, wider at its foot, with two panes.
    left, right = ROOFS[kind]
    foot_left, foot_right = max(0.03, left - 0.14), right + 0.17
    p.poly([(left, 0.08), (right, 0.08), (foot_right, 0.46), (foot_left, 0.46)], shade(paint, 0.9))
    sill_left, sill_right = foot_left + 0.06, foot_right - 0.07
    panes = [(left + 0.02, 0.15), (right - 0.02, 0.15), (sill_right, 0.45), (sill_left, 0.45)]
    p.poly(panes, GLASS, edge=False)
    middle = (left + right) / 2
    p.rect(middle - 0.02, 0.1, middle + 0.02, 0.46, shade(paint, 0.9), edge=False)

    # The body, its lamps, a handle and the edge of a door.
    p.rounded(0.0, 0.42, 1.0, 0.84, paint, 0.16)
    p.rect(0.02, 0.68, 0.98, 0.76, shade(paint, 0.75), edge=False)
    p.oval(0.92, 0.5, 0.99, 0.64, (255, 244, 180), edge=False)
    p.rect(0.005, 0.5, 0.05, 0.62, (200, 40, 40), edge=False)
    if not p.small:
        p.rect(middle + 0.06, 0.53, middle + 0.14, 0.57, shade(paint, 0.5), edge=False)
        p.rect(middle - 0.005, 0.46, middle + 0.008, 0.8, shade(paint, 0.6), edge=False)

    radius = between(rng, 0.17, 0.21)
    for x in (0.22, 0.78):
        _wheel(p, x, 1 - radius, radius)


def draw_bus(p: Pen, rng: np.random.Generator) -> None:
    """Draw a bus from the side: city bus, coach with one long window, or yellow school bus."""
    kind = pick(rng, ("city", "city", "coach", "school"))
    paint = pick(rng, PAINT)
    stripe = pick(rng, PAINT)
    if kind == "school":
        paint, stripe = (248, 190, 40), (60, 54, 50)

    # The body.
    p.rounded(0.0, 0.0, 1.0, 0.87, paint, 0.3 if kind == "coach" else 0.14)
    p.rect(0.01, 0.52, 0.99, between(rng, 0.56, 0.66), stripe, edge=False)
    p.rect(0.01, 0.8, 0.99, 0.86, shade(paint, 0.6), edge=False)

    # Windows and the door.
    if kind == "coach":
        p.rect(0.03, 0.13, 0.83, 0.46, GLASS)
        glare = [(0.1, 0.46), (0.2, 0.13), (0.32, 0.13), (0.22, 0.46)]
        p.poly(glare, shade(GLASS, 1.6), edge=False)
    else:
        _bus_windows(p, max(3, round(p.aspect * between(rng, 1.5, 2.1))))
    p.rect(0.86, 0.15, 0.96, 0.82, shade(GLASS, 0.85))
    p.rect(0.905, 0.15, 0.915, 0.82, shade(paint, 0.5), edge=False)

    if not p.small:  # where it goes, and a lamp
        p.rect(0.6, 0.045, 0.82, 0.115, (40, 40, 46), edge=False)
        p.rect(0.63, 0.065, 0.79, 0.095, (255, 190, 60), edge=False)
        p.oval(0.96, 0.66, 1.0, 0.76, (255, 244, 180), edge=False)

    radius = between(rng, 0.14, 0.17)
    for x in (0.18, 0.74):
        _wheel(p, x, 1 - radius, radius)


def _bus_windows(p: Pen, count: int) -> None:
    step = 0.8 / count
    for i in range(count):
        left = 0.03 + i * step
        p.rect(left, 0.15, left + 0.8 * step, 0.46, GLASS, edge=not p.small)


def draw_boat(p: Pen, rng: np.random.Generator) -> None:
    """Draw a boat: under sail, a motor boat with a cabin, or a steamer with a funnel."""
    hull = pick(rng, PAINT)
    kind = pick(rng, ("sail", "sail", "cabin", "steamer"))
    deck = 0.7  # the height at which the hull begins

    if kind == "sail":
        mast = between(rng, 0.42, 0.54)
        sail = pick(rng, ((252, 248, 238), (250, 214, 190), (236, 84, 70), (255, 214, 90)))
        second = pick(rng, CLOTH)
        p.rect(mast - 0.015, 0.0, mast + 0.02, deck + 0.03, (110, 78, 54), edge=False)

        left, right = mast - 0.03, mast + 0.03
        p.poly([(right, 0.03), (mast + 0.06, 0.03), (0.97, 0.62), (right, 0.62)], sail)
        p.poly([(left, 0.12), (mast - 0.06, 0.12), (0.06, 0.62), (left, 0.62)], second)

    elif kind == "cabin":
        p.rect(0.3, 0.28, 0.62, deck + 0.02, (248, 246, 240))
        p.rect(0.26, 0.22, 0.68, 0.31, hull)
        for x in (0.35, 0.49):
            p.rect(x, 0.38, x + 0.1, 0.54, GLASS)

        # A flag on its mast.
        p.rect(0.75, 0.0, 0.77, deck, (110, 78, 54), edge=False)
        p.poly([(0.77, 0.01), (0.77, 0.17), (0.95, 0.09)], pick(rng, CLOTH), edge=False)

    else:
        p.rect(0.2, 0.42, 0.78, deck + 0.02, (248, 246, 240))
        for x in (0.34, 0.54):
            p.rect(x, 0.0, x + 0.14, 0.44, pick(rng, PAINT[:5]))
            p.rect(x, 0.06, x + 0.14, 0.13, (50, 50, 56), edge=False)
        for x in (0.26, 0.4, 0.54, 0.67):
            p.circle(x + 0.02, 0.55, 0.045, GLASS)

    # The hull, last, hides the feet of all that.
    p.poly([(0.0, deck - 0.04), (1.0, deck - 0.04), (0.84, 1.0), (0.16, 1.0)], hull)
    p.poly([(0.07, 0.85), (0.93, 0.85), (0.86, 0.98), (0.15, 0.98)], shade(hull, 0.7), edge=False)
    p.rect(0.03, deck, 0.97, deck + 0.05, (250, 248, 240), edge=False)
