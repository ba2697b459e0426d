"""The ten objects of ToyTown, one drawing function per class.

Each function draws one object that fills the unit square (see ``Pen``) and takes every choice of colour, proportion
and detail from ``rng``. Shapes have meaning for the book's lessons: a person is tall, a traffic light very tall, a
bus wide, a phone tiny, a ball round.

Naming: ``p`` is the pen, ``rng`` a NumPy generator.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from detlearn.data._pen import Colour, Pen, between, pick, shade

SKIN = ((255, 220, 190), (241, 194, 155), (214, 158, 116), (165, 110, 74), (110, 72, 50))
HAIR = ((45, 36, 34), (94, 60, 38), (160, 100, 52), (226, 186, 98), (178, 74, 40), (198, 198, 200))
CLOTH = (
    (226, 72, 66), (242, 142, 50), (250, 204, 72), (70, 160, 96), (58, 132, 204),
    (126, 92, 190), (236, 118, 160), (244, 240, 230), (40, 170, 172), (64, 72, 104),
)  # fmt: skip
TROUSERS = ((52, 70, 118), (72, 64, 62), (120, 94, 66), (44, 46, 58), (96, 118, 150), (150, 60, 66))
PAINT = (
    (214, 50, 48), (240, 128, 44), (248, 200, 56), (70, 150, 84), (44, 118, 196), (110, 196, 220),
    (238, 238, 232), (92, 98, 112), (150, 88, 168), (240, 140, 160),
)  # fmt: skip
GLASS = (190, 226, 240)
RUBBER = (44, 44, 52)
STEEL = (150, 156, 166)


def draw_person(p: Pen, rng: np.random.Generator) -> None:
    """A person seen from the front: standing, walking or waving, in trousers or a dress."""
    skin, hair, shirt, trousers = (pick(rng, c) for c in (SKIN, HAIR, CLOTH, TROUSERS))
    stride, dress = between(rng, 0.0, 0.16), rng.random() < 0.35
    _person_legs(p, skin if dress else trousers, stride)
    _person_arms(p, skin, shirt, waves=rng.random() < 0.3)
    if dress:
        p.poly([(0.34, 0.29), (0.66, 0.29), (0.88, 0.73), (0.12, 0.73)], shirt)
    else:
        p.rounded(0.22, 0.28, 0.78, 0.64, shirt, 0.16)
        if rng.random() < 0.4:
            p.rect(0.25, 0.42, 0.75, 0.49, pick(rng, CLOTH), edge=False)
    _person_head(p, skin, hair, pick(rng, ("short", "long", "bun", "cap")), pick(rng, CLOTH))


def _person_legs(p: Pen, colour: Colour, stride: float) -> None:
    for side in (-1, 1):
        hip, foot = 0.5 + 0.13 * side, 0.5 + (0.16 + stride) * side
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
    p.rect(0.42, 0.22, 0.58, 0.3, shade(skin, 0.85), edge=False)
    p.oval(0.25, 0.03, 0.75, 0.26, skin)
    p.wedge(0.23, 0.0, 0.77, 0.25, 180, 360, cap if style == "cap" else hair)
    if style == "cap":
        p.rect(0.23, 0.11, 0.92, 0.14, shade(cap, 0.7), edge=False)
    if not p.small:
        for x in (0.4, 0.6):
            p.oval(x - 0.04, 0.145, x + 0.04, 0.175, (40, 34, 40), edge=False)
        p.arc(0.38, 0.16, 0.62, 0.225, 25, 155, (170, 60, 60), 0.05)


def draw_phone(p: Pen, rng: np.random.Generator) -> None:
    """A telephone with a glowing screen: icons, a chat, a picture or a dialling pad; upright or tilted."""
    case = pick(rng, ((36, 38, 48), (36, 38, 48), (226, 70, 110), (60, 120, 200), (236, 232, 224)))
    screen = pick(rng, ((150, 222, 255), (190, 240, 200), (255, 236, 170), (230, 210, 255)))
    p.rounded(0, 0, 1, 1, case, 0.18)
    p.rounded(0.1, 0.1, 0.9, 0.88, screen, 0.06, edge=False)
    if p.small:
        return
    p.oval(0.42, 0.9, 0.58, 0.98, shade(case, 1.5), edge=False)
    p.rect(0.38, 0.045, 0.62, 0.065, shade(case, 1.5), edge=False)
    content = rng.random()
    if content < 0.4:
        for row in range(3):
            for column in range(3):
                x, y = 0.19 + 0.23 * column, 0.18 + 0.22 * row
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


def _wheel(p: Pen, x: float, y: float, radius: float) -> None:
    p.circle(x, y, radius, RUBBER, edge=False)
    p.circle(x, y, 0.52 * radius, (206, 210, 214), edge=False)
    if not p.small:
        p.circle(x, y, 0.2 * radius, (110, 114, 122), edge=False)


def draw_car(p: Pen, rng: np.random.Generator) -> None:
    """A car from the side: saloon, hatchback, taxi or pick-up, driving left or right."""
    paint, kind = pick(rng, PAINT), pick(rng, ("saloon", "hatchback", "taxi", "pickup"))
    if kind == "taxi":
        paint = PAINT[2]
        p.rect(0.42, 0.0, 0.56, 0.12, (50, 50, 56), edge=False)
    roof = {
        "saloon": (0.32, 0.66),
        "taxi": (0.32, 0.66),
        "hatchback": (0.14, 0.64),
        "pickup": (0.46, 0.7),
    }
    left, right = roof[kind]
    foot_left, foot_right = max(0.03, left - 0.14), right + 0.17
    p.poly([(left, 0.08), (right, 0.08), (foot_right, 0.46), (foot_left, 0.46)], shade(paint, 0.9))
    p.poly([(left + 0.02, 0.15), (right - 0.02, 0.15), (foot_right - 0.07, 0.45), (foot_left + 0.06, 0.45)],
           GLASS, edge=False)  # fmt: skip
    middle = (left + right) / 2
    p.rect(middle - 0.02, 0.1, middle + 0.02, 0.46, shade(paint, 0.9), edge=False)
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
    """A bus from the side: a row of windows, a door at the front and often a stripe."""
    paint, stripe = pick(rng, PAINT), pick(rng, PAINT)
    p.rounded(0.0, 0.0, 1.0, 0.87, paint, 0.14)
    p.rect(0.01, 0.52, 0.99, between(rng, 0.56, 0.66), stripe, edge=False)
    p.rect(0.01, 0.8, 0.99, 0.86, shade(paint, 0.6), edge=False)
    count = max(3, round(p.aspect * between(rng, 1.5, 2.1)))
    step = 0.8 / count
    for i in range(count):
        p.rect(0.03 + i * step, 0.15, 0.03 + i * step + 0.8 * step, 0.46, GLASS, edge=not p.small)
    p.rect(0.86, 0.15, 0.96, 0.82, shade(GLASS, 0.85))
    p.rect(0.905, 0.15, 0.915, 0.82, shade(paint, 0.5), edge=False)
    if not p.small:
        p.rect(0.6, 0.045, 0.82, 0.115, (40, 40, 46), edge=False)
        p.rect(0.63, 0.065, 0.79, 0.095, (255, 190, 60), edge=False)
        p.oval(0.96, 0.66, 1.0, 0.76, (255, 244, 180), edge=False)
    radius = between(rng, 0.14, 0.17)
    for x in (0.18, 0.74):
        _wheel(p, x, 1 - radius, radius)


def draw_traffic_light(p: Pen, rng: np.random.Generator) -> None:
    """A traffic light on its post; one or two of the three lamps are lit."""
    housing = pick(rng, ((46, 50, 56), (46, 50, 56), (40, 84, 66), (230, 180, 50)))
    bottom = between(rng, 0.58, 0.74)
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


def draw_tree(p: Pen, rng: np.random.Generator) -> None:
    """A tree: a leafy crown in the colours of a season, or a fir in tiers."""
    bark = pick(rng, ((120, 82, 54), (96, 68, 52), (150, 110, 76), (210, 204, 196)))
    half = between(rng, 0.06, 0.1)
    p.poly(
        [(0.5 - half, 0.6), (0.5 + half, 0.6), (0.5 + 1.6 * half, 1), (0.5 - 1.6 * half, 1)], bark
    )
    if rng.random() < 0.35:
        _fir(p, pick(rng, ((42, 104, 74), (58, 122, 70), (34, 92, 88))), snow=rng.random() < 0.25)
    else:
        leaves = pick(
            rng,
            (
                (74, 150, 62),
                (104, 172, 70),
                (52, 126, 66),
                (226, 140, 48),
                (206, 84, 50),
                (240, 166, 190),
            ),
        )
        _crown(p, rng, leaves)


def _fir(p: Pen, needles: Colour, snow: bool) -> None:
    for i, (top, bottom, half) in enumerate(
        ((0.46, 0.86, 0.5), (0.22, 0.62, 0.4), (0.0, 0.38, 0.28))
    ):
        tier = [(0.46, top), (0.54, top), (0.5 + half, bottom), (0.5 - half, bottom)]
        p.poly(tier, shade(needles, 0.9 + 0.15 * i))
        if snow:
            middle = (top + bottom) / 2 - 0.05
            p.poly([(0.46, top), (0.54, top), (0.5 + 0.4 * half, middle), (0.5 - 0.4 * half, middle)],
                   (246, 250, 255), edge=False)  # fmt: skip


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


def draw_ball(p: Pen, rng: np.random.Generator) -> None:
    """A ball: beach ball, football, basketball or one with a band."""
    kind, colour = pick(rng, ("beach", "football", "basket", "band", "dots")), pick(rng, PAINT[:6])
    if kind == "beach":
        p.oval(0, 0, 1, 1, (250, 248, 240))
        turn = between(rng, 0, 60)
        for i, tone in enumerate((colour, pick(rng, PAINT[:6]), pick(rng, PAINT[:6]))):
            p.wedge(0.03, 0.03, 0.97, 0.97, turn + 120 * i, turn + 120 * i + 60, tone)
        p.circle(0.5, 0.5, 0.1, (250, 248, 240), edge=False)
    elif kind == "football":
        p.oval(0, 0, 1, 1, (246, 246, 244))
        turn = between(rng, 0, 6.28)
        p.circle(0.5, 0.5, 0.17, (46, 46, 54), edge=False)
        for i in range(5):
            angle = turn + i * 2 * np.pi / 5
            x, y = 0.5 + 0.39 * np.cos(angle), 0.5 + 0.39 * np.sin(angle)
            p.stroke([(0.5, 0.5), (x, y)], (120, 120, 126), 0.03)
            p.circle(x, y, 0.1, (46, 46, 54), edge=False)
    elif kind == "basket":
        p.oval(0, 0, 1, 1, (236, 124, 46))
        p.stroke([(0.5, 0.02), (0.5, 0.98)], (110, 56, 30), 0.05)
        p.stroke([(0.02, 0.5), (0.98, 0.5)], (110, 56, 30), 0.05)
        p.arc(-0.42, 0.08, 0.3, 0.92, 290, 70, (110, 56, 30), 0.05)
        p.arc(0.7, 0.08, 1.42, 0.92, 110, 250, (110, 56, 30), 0.05)
    else:
        p.oval(0, 0, 1, 1, colour)
        second = pick(rng, ((250, 248, 240), shade(colour, 0.6), (255, 220, 80)))
        if kind == "band":
            p.poly([(0.05, 0.4), (0.95, 0.26), (0.97, 0.58), (0.04, 0.7)], second, edge=False)
        else:
            for x, y in (
                (0.3, 0.3),
                (0.68, 0.24),
                (0.5, 0.55),
                (0.2, 0.62),
                (0.76, 0.64),
                (0.46, 0.83),
            ):
                p.circle(x, y, 0.09, second, edge=False)
    p.oval(0.2, 0.12, 0.42, 0.3, (255, 255, 255), edge=False)


def draw_boat(p: Pen, rng: np.random.Generator) -> None:
    """A boat: under sail, a motor boat with a cabin, or a steamer with a funnel."""
    hull = pick(rng, PAINT)
    kind = pick(rng, ("sail", "sail", "cabin", "steamer"))
    deck = 0.7
    if kind == "sail":
        mast = between(rng, 0.42, 0.54)
        sail, second = (
            pick(rng, ((252, 248, 238), (250, 214, 190), (236, 84, 70), (255, 214, 90))),
            pick(rng, CLOTH),
        )
        p.rect(mast - 0.015, 0.0, mast + 0.02, deck + 0.03, (110, 78, 54), edge=False)
        p.poly([(mast + 0.03, 0.03), (mast + 0.06, 0.03), (0.97, 0.62), (mast + 0.03, 0.62)], sail)
        p.poly(
            [(mast - 0.03, 0.12), (mast - 0.06, 0.12), (0.06, 0.62), (mast - 0.03, 0.62)], second
        )
    elif kind == "cabin":
        p.rect(0.3, 0.28, 0.62, deck + 0.02, (248, 246, 240))
        p.rect(0.26, 0.22, 0.68, 0.31, hull)
        for x in (0.35, 0.49):
            p.rect(x, 0.38, x + 0.1, 0.54, GLASS)
        p.rect(0.75, 0.0, 0.77, deck, (110, 78, 54), edge=False)
        p.poly([(0.77, 0.01), (0.77, 0.17), (0.95, 0.09)], pick(rng, CLOTH), edge=False)
    else:
        p.rect(0.2, 0.42, 0.78, deck + 0.02, (248, 246, 240))
        for x in (0.34, 0.54):
            p.rect(x, 0.0, x + 0.14, 0.44, pick(rng, PAINT[:5]))
            p.rect(x, 0.06, x + 0.14, 0.13, (50, 50, 56), edge=False)
        for x in (0.26, 0.4, 0.54, 0.67):
            p.circle(x + 0.02, 0.55, 0.045, GLASS)
    p.poly([(0.0, deck - 0.04), (1.0, deck - 0.04), (0.84, 1.0), (0.16, 1.0)], hull)
    p.poly([(0.07, 0.85), (0.93, 0.85), (0.86, 0.98), (0.15, 0.98)], shade(hull, 0.7), edge=False)
    p.rect(0.03, deck, 0.97, deck + 0.05, (250, 248, 240), edge=False)


LETTERS = (  # S, T, O, P as strokes in a cell of 1 by 1
    ((1, 0), (0, 0), (0, 0.5), (1, 0.5), (1, 1), (0, 1)),
    ((0, 0), (1, 0), (0.5, 0), (0.5, 1)),
    ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)),
    ((0, 1), (0, 0), (1, 0), (1, 0.55), (0, 0.55)),
)


def draw_stop_sign(p: Pen, rng: np.random.Generator) -> None:
    """A stop sign: a red octagon with a white rim on a post."""
    red = pick(rng, ((204, 32, 40), (220, 50, 44), (180, 30, 44)))
    height = min(0.68, p.aspect)  # round where the box allows it
    p.rect(0.43, height - 0.05, 0.57, 1.0, pick(rng, (STEEL, (120, 124, 130), (150, 112, 76))))
    for inset, colour in ((0.0, shade(red, 0.5)), (0.03, (252, 250, 246)), (0.1, red)):
        low, high, cut = inset, 1 - inset, 0.29 + 0.4 * inset
        corners = [(cut, low), (1 - cut, low), (high, cut), (high, 1 - cut), (1 - cut, high),
                   (cut, high), (low, 1 - cut), (low, cut)]  # fmt: skip
        p.poly([(x, y * height) for x, y in corners], colour, edge=False)
    if p.small:
        p.rect(0.2, 0.43 * height, 0.8, 0.57 * height, (252, 250, 246), edge=False)
        return
    for i, letter in enumerate(LETTERS):
        x = 0.17 + 0.175 * i
        p.stroke(
            [(x + 0.12 * u, (0.38 + 0.24 * v) * height) for u, v in letter], (252, 250, 246), 0.05
        )


class Sprite(NamedTuple):
    """What the layout must know of a class.

    Attributes:
        draw: the drawing function.
        aspect: width / height, drawn uniformly from this range.
        home: grounds on which such an object likes to stand.
        mirror: whether the mirror image is as likely.
    """

    draw: Callable[[Pen, np.random.Generator], None]
    aspect: tuple[float, float]
    home: tuple[str, ...]
    mirror: bool


GROUND = ("lawn", "paving", "street", "sand", "deck", "snow")
SPRITES: dict[str, Sprite] = {
    "person": Sprite(draw_person, (0.36, 0.46), GROUND, True),
    "phone": Sprite(draw_phone, (0.5, 0.62), GROUND, False),
    "car": Sprite(draw_car, (1.7, 2.3), ("street", "paving"), True),
    "bus": Sprite(draw_bus, (2.3, 3.1), ("street", "paving"), True),
    "traffic light": Sprite(draw_traffic_light, (0.24, 0.32), ("paving", "street", "lawn"), False),
    "tree": Sprite(draw_tree, (0.58, 0.85), ("lawn", "snow", "sand"), True),
    "house": Sprite(draw_house, (0.85, 1.3), ("lawn", "paving", "snow"), True),
    "ball": Sprite(draw_ball, (1.0, 1.0), GROUND, False),
    "boat": Sprite(draw_boat, (0.95, 1.4), ("water",), True),
    "stop sign": Sprite(draw_stop_sign, (0.46, 0.56), ("paving", "street", "lawn"), False),
}
