"""The ten classes of ToyTown: how each is drawn, how wide it is, and where it likes to stand.

Shapes have meaning for the book's lessons: a person is tall, a traffic light very tall, a bus wide,
a phone tiny, a ball round.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from detlearn.data.toytown.objects.ball import draw_ball
from detlearn.data.toytown.objects.house import draw_house
from detlearn.data.toytown.objects.person import draw_person
from detlearn.data.toytown.objects.phone import draw_phone
from detlearn.data.toytown.objects.signs import draw_stop_sign, draw_traffic_light
from detlearn.data.toytown.objects.tree import draw_tree
from detlearn.data.toytown.objects.vehicles import draw_boat, draw_bus, draw_car
from detlearn.data.toytown.pen import Pen


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

CLASS_NAMES = tuple(SPRITES)
