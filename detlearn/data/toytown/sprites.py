"""The ten objects of ToyTown, one drawing function per class.

Vehicles and scenery are drawn in files of their own.

Each function draws one object that fills the unit square (see ``Pen``) and takes every choice of
colour, proportion and detail from ``rng``. Shapes have meaning for the book's lessons: a person is
tall, a traffic light very tall, a bus wide, a phone tiny, a ball round.

Naming: ``p`` is the pen, ``rng`` a NumPy generator.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from detlearn.data.toytown.pen import CLOTH, PAINT, STEEL, Colour, Pen, between, pick, shade
from detlearn.data.toytown.scenery import draw_house, draw_tree
from detlearn.data.toytown.vehicles import draw_boat, draw_bus, draw_car

SKIN = ((255, 220, 190), (241, 194, 155), (214, 158, 116), (165, 110, 74), (110, 72, 50))
HAIR = ((45, 36, 34), (94, 60, 38), (160, 100, 52), (226, 186, 98), (178, 74, 40), (198, 198, 200))
TROUSERS = ((52, 70, 118), (72, 64, 62), (120, 94, 66), (44, 46, 58), (96, 118, 150), (150, 60, 66))


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
    _person_head(p, skin, hair, pick(rng, ("short", "long", "bun", "cap", "hat")), pick(rng, CLOTH))


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
    if style == "hat":
        p.oval(0.06, 0.08, 0.94, 0.15, cap)
        p.rounded(0.28, 0.0, 0.72, 0.11, cap, 0.1)
    if not p.small:
        for x in (0.4, 0.6):
            p.oval(x - 0.04, 0.145, x + 0.04, 0.175, (40, 34, 40), edge=False)
        p.arc(0.38, 0.16, 0.62, 0.225, 25, 155, (170, 60, 60), 0.05)


def draw_phone(p: Pen, rng: np.random.Generator) -> None:
    """A telephone with a glowing screen: icons, a chat, a picture or a dialling pad."""
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


WHITE = (250, 248, 240)


def draw_ball(p: Pen, rng: np.random.Generator) -> None:
    """A ball: beach ball, football, basketball, or one with a band or dots."""
    kind = pick(rng, ("beach", "football", "basketball", "band", "dots"))
    colour = {"basketball": (236, 124, 46), "beach": WHITE, "football": WHITE}.get(kind)
    colour = colour or shade(pick(rng, PAINT[:6]), between(rng, 0.85, 1.15))
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
        p.oval(0.24, 0.13, 0.38, 0.23, (255, 255, 255), edge=False)


def _football(p: Pen, turn: float) -> None:
    p.circle(0.5, 0.5, 0.17, (46, 46, 54), edge=False)
    for angle in turn + np.arange(5) * 2 * np.pi / 5:
        x, y = 0.5 + 0.38 * np.cos(angle), 0.5 + 0.38 * np.sin(angle)
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


LETTERS = (  # S, T, O, P as strokes in a cell of 1 by 1
    ((1, 0), (0, 0), (0, 0.5), (1, 0.5), (1, 1), (0, 1)),
    ((0, 0), (1, 0), (0.5, 0), (0.5, 1)),
    ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)),
    ((0, 1), (0, 0), (1, 0), (1, 0.55), (0, 0.55)),
)


def draw_stop_sign(p: Pen, rng: np.random.Generator) -> None:
    """A stop sign: a red octagon with a white rim on a post."""
    red = shade(pick(rng, ((214, 34, 42), (226, 54, 46), (196, 32, 48))), between(rng, 0.86, 1.04))
    height = min(0.68, p.aspect)  # round where the box allows it
    p.rect(0.43, height - 0.05, 0.57, 1.0, pick(rng, (STEEL, (120, 124, 130), (150, 112, 76))))
    if rng.random() < 0.3:  # a plate under the sign
        plate = pick(rng, ((250, 250, 246), (60, 110, 190), (250, 206, 70)))
        p.rect(0.2, height + 0.03, 0.8, height + 0.13, plate)
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
