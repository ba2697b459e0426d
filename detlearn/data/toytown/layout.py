"""Where ToyTown's objects stand: classes, sizes and places, before anything is drawn.

Objects are placed one after the other. For each, up to ``TRIES`` places are proposed and the first
that breaks no rule is taken; an object for which none is found is dropped. With a handful of boxes
a scene, plain loops are ten times faster here than arrays.

Boxes are xyxy in whole pixels and may reach over the border of the image; every rule looks at their
visible part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detlearn.data.toytown.classes import CLASS_NAMES, SPRITES
from detlearn.data.toytown.grounds import Ground
from detlearn.data.toytown.knobs import Knobs
from detlearn.data.toytown.pen import between

TRIES = 48
MIN_SIDE = 3  # pixels; below it no class can be told from another
HALF_HIDDEN = 0.5  # share of a box that objects in front of it may always cover
CUT = (0.2, 0.6)  # share of its width or height that a truncated object loses
GROUP_SIZE = (5, 9)
GROUP_SCALE = (1 / 16, 1 / 9)
GROUP_FIELD = 0.35  # side of the square that a group shares, as a share of the image's
PAIR_SCALE = (1 / 4, 3 / 5)
PHONE_IN_HAND = 0.24  # height of a held phone as a share of its holder's

Box = tuple[int, int, int, int]
Corner = tuple[int, int]


class Thing(NamedTuple):
    """An object with its label, its box (xyxy, whole pixels) and its depth: larger is nearer."""

    label: int
    box: Box
    depth: float


@dataclass
class Placed:
    """A thing, the part of its box inside the image, and the share that nearer boxes cover."""

    thing: Thing
    seen: Box
    hidden: float


def class_shares(imbalance: float) -> np.ndarray:
    """Return the probability of each class, (K,), falling geometrically by ``imbalance`` in all."""
    count = len(CLASS_NAMES)
    shares = imbalance ** (-np.arange(count) / (count - 1))
    return shares / shares.sum()


def shares_by_size(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split class probabilities (K,) into those of the smaller and of the larger sizes, each (K,).

    Phones come small: they take their share from the lower half as far as they can. The two halves
    still average to ``shares``, so both the sizes and the classes keep the distributions that the
    knobs ask for.
    """
    phone = CLASS_NAMES.index("phone")
    lower = min(1.0, 2 * shares[phone])

    halves = []
    for share in (lower, 2 * shares[phone] - lower):
        half = shares * (1 - share) / max(1 - shares[phone], 1e-12)
        half[phone] = share
        halves.append(half)

    return halves[0], halves[1]


def max_hidden(max_overlap: float) -> float:
    """Return the largest share of a box that nearer boxes may cover: a half, or more by need.

    ``max_overlap`` may need more: two equal boxes with IoU u share 2u / (1 + u) of each.
    """
    return max(HALF_HIDDEN, 2 * max_overlap / (1 + max_overlap))


class Layout:
    """The placing of the objects of one scene.

    Args:
        rng: the scene's generator.
        knobs: the town's settings.
        size: side of the image in pixels.
        ground: what the objects stand on.
    """

    def __init__(self, rng: np.random.Generator, knobs: Knobs, size: int, ground: Ground) -> None:
        self.rng, self.knobs, self.size, self.ground = rng, knobs, size, ground
        self.max_hidden = max_hidden(knobs.max_overlap)
        self.placed: list[Placed] = []
        self.shares = [np.cumsum(half) for half in shares_by_size(class_shares(knobs.imbalance))]

    def run(self) -> list[Thing]:
        """Place pairs, groups and single objects; return them from far to near."""
        for _ in range(self._count(self.knobs.nested_pairs)):
            self.add_pair()
        for _ in range(self._count(self.knobs.groups)):
            self.add_group()
        for _ in range(self._count(self.knobs.num_objects)):
            self.add_single()

        return sorted((placed.thing for placed in self.placed), key=lambda thing: thing.depth)

    def _count(self, limits: tuple[int, int]) -> int:
        """Draw a whole number from the fewest to the most."""
        return int(self.rng.integers(limits[0], limits[1] + 1))

    def _longer_side(self, limits: tuple[float, float], position: float | None = None) -> float:
        """Draw a longer side in pixels, log-uniform between two shares of the image's side."""
        position = self.rng.random() if position is None else position
        return self.size * limits[0] * (limits[1] / limits[0]) ** position

    def _shape(self, label: int, longer: float) -> tuple[int, int]:
        """Draw width and height in pixels of an object whose longer side is given."""
        low, high = SPRITES[CLASS_NAMES[label]].aspect
        aspect = between(self.rng, low, high)

        # Stretching makes the tall taller and the wide wider; a class that is neither goes any way.
        tall = aspect < 1 if (low < 1) == (high < 1) else self.rng.random() < 0.5
        factor = self.knobs.stretch ** self.rng.random()
        aspect = aspect / factor if tall else aspect * factor

        width, height = (longer, longer / aspect) if aspect > 1 else (longer * aspect, longer)
        return max(MIN_SIDE, round(width)), max(MIN_SIDE, round(height))

    def add_single(self) -> None:
        """Place one object of a random class and size."""
        position = self.rng.random()
        label = int(np.searchsorted(self.shares[position >= 0.5], self.rng.random()))
        label = min(label, len(CLASS_NAMES) - 1)  # a cumulative sum may end just under 1
        shape = self._shape(label, self._longer_side(self.knobs.scale, position))

        if self.rng.random() < self.knobs.truncation:
            propose = self._over_the_border
        elif self.placed and self.rng.random() < self.knobs.crowding:
            propose = self._beside_another
        else:
            propose = self._anywhere

        self._place(label, shape, propose)

    def add_pair(self) -> None:
        """Place a person and, with the same centre (to half a pixel), the phone they hold."""
        person, phone = CLASS_NAMES.index("person"), CLASS_NAMES.index("phone")
        shape = self._shape(person, self._longer_side(PAIR_SCALE))
        if not self._place(person, shape, self._anywhere):
            return
        person_there = self.placed[-1]

        x1, y1, x2, y2 = person_there.seen
        width, height = self._shape(phone, PHONE_IN_HAND * shape[1])
        x, y = (x1 + x2 - width) // 2, (y1 + y2 - height) // 2
        held = Thing(phone, (x, y, x + width, y + height), person_there.thing.depth + 0.5)

        # The phone was not asked for its rules yet: what covers it, and how much of the person it
        # covers.
        nearer = [other.seen for other in self.placed if other.thing.depth > held.depth]
        hidden = sum(intersection(held.box, box) for box in nearer) / (width * height)
        person_there.hidden += width * height / (shape[0] * shape[1])

        if max(hidden, person_there.hidden) > self.max_hidden:
            self.placed.pop()  # somebody stands before the two: no pair
        else:
            self.placed.append(Placed(held, held.box, hidden))

    def add_group(self) -> None:
        """Place several small objects of one class close together."""
        label = int(self.rng.integers(len(CLASS_NAMES)))
        field = GROUP_FIELD * self.size
        left = between(self.rng, 0, self.size - field)
        top = between(self.rng, self.ground.horizon, self.size - field)

        def propose(width: int, height: int) -> Corner:
            x, y = self.rng.random(2) * (field - np.array([width, height]))
            return round(left + x), round(top + y)

        for _ in range(self._count(GROUP_SIZE)):
            self._place(label, self._shape(label, self._longer_side(GROUP_SCALE)), propose)

    def _anywhere(self, width: int, height: int) -> Corner:
        """Propose a place with the whole object in the image and its foot under the horizon."""
        highest = max(0, self.ground.horizon + 2 - height)
        x, y = self.size - width, self.size - height - highest
        return int(self.rng.random() * (x + 1)), highest + int(self.rng.random() * (y + 1))

    def _beside_another(self, width: int, height: int) -> Corner:
        """Propose a place that touches or overlaps an object that is already there."""
        x1, y1, x2, y2 = self.placed[int(self.rng.random() * len(self.placed))].seen
        x = between(self.rng, x1 - width, x2)
        y = between(self.rng, y1 - height, y2)
        return int(min(max(x, 0), self.size - width)), int(min(max(y, 0), self.size - height))

    def _over_the_border(self, width: int, height: int) -> Corner:
        """Propose a place at which the left, right, upper or lower border cuts the object."""
        x, y = self._anywhere(width, height)
        lost = between(self.rng, *CUT)
        far = self.rng.random() < 0.6  # right rather than left, lower rather than upper

        if self.rng.random() < 0.6:
            return round(self.size - width * (1 - lost) if far else -width * lost), y
        return x, round(self.size - height * (1 - lost) if far else -height * lost)

    def _place(self, label: int, shape: tuple[int, int], propose: Callable[..., Corner]) -> bool:
        """Keep the first proposed place that breaks no rule; say whether there was one.

        The first half of the proposals must also stand on a ground that the class likes, if the
        scene has one.
        """
        home = SPRITES[CLASS_NAMES[label]].home
        has_home = any(kind in home for kind in self.ground.kinds)

        for attempt in range(TRIES):
            x, y = propose(*shape)
            thing = Thing(label, (x, y, x + shape[0], y + shape[1]), y + shape[1])

            choosy = has_home and attempt < TRIES // 2
            if choosy and self.ground.kind_at(thing.depth) not in home:
                continue
            if self._keep_if_allowed(thing):
                return True

        return False

    def _keep_if_allowed(self, thing: Thing) -> bool:
        """Keep a thing if its size, its overlaps and all occlusions are within the rules."""
        x1, y1, x2, y2 = seen = clip_box(thing.box, self.size)
        if min(x2 - x1, y2 - y1) < MIN_SIDE or y2 <= self.ground.horizon:
            return False

        # What nearer ones hide of it, and what is hidden of each other one once it is there.
        area = (x2 - x1) * (y2 - y1)
        hidden, shares = 0.0, []
        for other in self.placed:
            inter = intersection(seen, other.seen)
            other_area = intersection(other.seen, other.seen)
            if inter > self.knobs.max_overlap * (area + other_area - inter):
                return False

            in_front = thing.depth >= other.thing.depth
            shares.append(other.hidden + inter / other_area * in_front)
            hidden += inter / area * (not in_front)

        if max(shares, default=0.0) > self.max_hidden or hidden > self.max_hidden:
            return False

        for other, share in zip(self.placed, shares):
            other.hidden = share
        self.placed.append(Placed(thing, seen, hidden))
        return True


def clip_box(box: Box, size: int) -> Box:
    """Return the part of an xyxy box inside an image of side ``size``."""
    x1, y1, x2, y2 = box
    return max(x1, 0), max(y1, 0), min(x2, size), min(y2, size)


def intersection(a: Box, b: Box) -> int:
    """Return the area common to two xyxy boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0
