"""Where ToyTown's objects stand: classes, sizes and places, before anything is drawn.

Objects are placed one after the other. For each, ``TRIES`` places are proposed at once, those that break a rule are
struck out, and the first that is left wins, places on a ground the class likes going first. An object for which no
place is left is dropped.

Shape shorthand: N objects placed so far, K proposed places. Boxes are xyxy in whole pixels and may reach over the
border of the image; every rule looks at their visible part.
"""

from typing import NamedTuple

import numpy as np

from detlearn.data._grounds import Ground
from detlearn.data._pen import between
from detlearn.data.sprites import SPRITES

CLASS_NAMES = tuple(SPRITES)
TRIES = 48
MIN_SIDE = 3  # pixels; below it no class can be told from another
MAX_HIDDEN = 0.5  # share of a box that objects in front of it may cover
CUT = (0.2, 0.6)  # share of its width or height that a truncated object loses
GROUP_SIZE = (5, 9)
GROUP_SCALE = (1 / 16, 1 / 9)
PAIR_SCALE = (1 / 4, 3 / 5)
PHONE_IN_HAND = 0.24  # height of a held phone as a share of its holder's


class Knobs(NamedTuple):
    """The settings of a town; ``ToyTown`` says what each one means."""

    num_objects: tuple[int, int]
    scale: tuple[float, float]
    max_overlap: float
    crowding: float
    nested_pairs: tuple[int, int]
    groups: tuple[int, int]
    stretch: float
    truncation: float
    imbalance: float
    label_noise: float
    box_noise: float
    clutter: tuple[int, int]


class Thing(NamedTuple):
    """An object with its label, its box (xyxy, whole pixels) and its depth: larger is nearer."""

    label: int
    box: tuple[int, int, int, int]
    depth: float


def class_shares(imbalance: float) -> np.ndarray:
    """Probability of each class, (K,): falling geometrically by ``imbalance`` from the first to the last."""
    count = len(CLASS_NAMES)
    shares = imbalance ** (-np.arange(count) / (count - 1))
    return shares / shares.sum()


def shares_by_size(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities for the smaller and the larger half of the (log) sizes, each (K,).

    Phones come small: they take their share from the lower half as far as they can. The two halves still average to
    ``shares``, so both the sizes and the classes keep the distributions that the knobs ask for.
    """
    phone = CLASS_NAMES.index("phone")
    lower = min(1.0, 2 * shares[phone])
    halves = []
    for share in (lower, 2 * shares[phone] - lower):
        half = shares * (1 - share) / max(1 - shares[phone], 1e-12)
        half[phone] = share
        halves.append(half)
    return halves[0], halves[1]


class Layout:
    """Places the objects of one scene.

    Args:
        rng: the scene's generator.
        knobs: the town's settings.
        size: side of the image in pixels.
        ground: what the objects stand on.
    """

    def __init__(self, rng: np.random.Generator, knobs: Knobs, size: int, ground: Ground) -> None:
        self.rng, self.knobs, self.size, self.ground = rng, knobs, size, ground
        self.things: list[Thing] = []
        self.boxes = np.zeros((0, 4))  # visible part of each thing
        self.depths = np.zeros(0)
        self.hidden = np.zeros(0)  # share of each box that nearer boxes cover
        self.shares = [np.cumsum(half) for half in shares_by_size(class_shares(knobs.imbalance))]

    def run(self) -> list[Thing]:
        """Places pairs, groups and single objects; returns them from the farthest to the nearest."""
        for _ in range(self._count(self.knobs.nested_pairs)):
            self.add_pair()
        for _ in range(self._count(self.knobs.groups)):
            self.add_group()
        for _ in range(self._count(self.knobs.num_objects)):
            self.add_single()
        return sorted(self.things, key=lambda thing: thing.depth)

    def _count(self, limits: tuple[int, int]) -> int:
        return int(self.rng.integers(limits[0], limits[1] + 1))

    def _longer_side(self, limits: tuple[float, float]) -> float:
        """A longer side in pixels, log-uniform between two shares of the image's side."""
        return self.size * limits[0] * (limits[1] / limits[0]) ** self.rng.random()

    def _shape(self, label: int, longer: float) -> tuple[int, int]:
        """Width and height in pixels of an object whose longer side is given."""
        low, high = SPRITES[CLASS_NAMES[label]].aspect
        aspect = between(self.rng, low, high)
        tall = aspect < 1 if (low < 1) == (high < 1) else self.rng.random() < 0.5
        factor = self.knobs.stretch ** self.rng.random()
        aspect = aspect / factor if tall else aspect * factor
        width, height = (longer, longer / aspect) if aspect > 1 else (longer * aspect, longer)
        return max(MIN_SIDE, round(width)), max(MIN_SIDE, round(height))

    def add_single(self) -> None:
        """One object of a random class and size."""
        low, high = self.knobs.scale
        longer = self._longer_side(self.knobs.scale)
        larger_half = longer > self.size * (low * high) ** 0.5
        label = int(np.searchsorted(self.shares[larger_half], self.rng.random()))
        label = min(label, len(CLASS_NAMES) - 1)  # a cumulative sum may end just under 1
        shape = self._shape(label, longer)
        if self.rng.random() < self.knobs.truncation:
            places = self._over_the_border(shape)
        elif len(self.things) and self.rng.random() < self.knobs.crowding:
            places = self._beside_another(shape)
        else:
            places = self._anywhere(shape)
        self._place(label, shape, places)

    def add_pair(self) -> None:
        """A person and, in front with the same centre (to half a pixel), the phone in their hands."""
        person, phone = CLASS_NAMES.index("person"), CLASS_NAMES.index("phone")
        shape = self._shape(person, self._longer_side(PAIR_SCALE))
        if not self._place(person, shape, self._anywhere(shape)):
            return
        holder = self.things[-1]
        width, height = self._shape(phone, PHONE_IN_HAND * shape[1])
        x = (holder.box[0] + holder.box[2] - width) // 2
        y = (holder.box[1] + holder.box[3] - height) // 2
        self._keep(Thing(phone, (x, y, x + width, y + height), holder.depth + 0.5))

    def add_group(self) -> None:
        """Several small objects of one class close together."""
        label = int(self.rng.integers(len(CLASS_NAMES)))
        corner = self.rng.random(2) * 0.65 * self.size
        for _ in range(self._count(GROUP_SIZE)):
            shape = self._shape(label, self._longer_side(GROUP_SCALE))
            spread = self.rng.random((TRIES, 2)) * (0.35 * self.size - np.array(shape)).clip(1)
            self._place(label, shape, corner + spread)

    def _anywhere(self, shape: tuple[int, int]) -> np.ndarray:
        """Top left corners (K, 2) that keep the whole object inside and its foot under the horizon."""
        highest = max(0, self.ground.horizon + 2 - shape[1])
        low, high = np.array([0, highest]), self.size - np.array(shape)
        return low + self.rng.random((TRIES, 2)) * (high - low + 1)

    def _beside_another(self, shape: tuple[int, int]) -> np.ndarray:
        """Corners (K, 2) at which the object touches or overlaps one that is already there."""
        x1, y1, x2, y2 = self.boxes[int(self.rng.random() * len(self.boxes))]
        reach = (np.array([x2 - x1, y2 - y1]) + shape) / 2
        centre = np.array([x1 + x2, y1 + y2]) / 2 + (2 * self.rng.random((TRIES, 2)) - 1) * reach
        return (centre - np.array(shape) / 2).clip(0, self.size - np.array(shape))

    def _over_the_border(self, shape: tuple[int, int]) -> np.ndarray:
        """Corners (K, 2) at which the left, right, upper or lower border cuts the object."""
        places, extent = self._anywhere(shape), np.array(shape)
        axis = (self.rng.random(TRIES) < 0.4).astype(int)
        cut = between(self.rng, *CUT) * extent[axis]
        far = self.rng.random(TRIES) < 0.6
        places[np.arange(TRIES), axis] = np.where(far, self.size - extent[axis] + cut, -cut)
        return places

    def _place(self, label: int, shape: tuple[int, int], places: np.ndarray) -> bool:
        """Keeps the best allowed one of the corners (K, 2); says whether there was one."""
        places = np.floor(places)
        full = np.concatenate([places, places + shape], axis=1)  # (K, 4)
        seen = full.clip(0, self.size)
        allowed = self._allowed(seen) & (full[:, 3] > self.ground.horizon)
        if not allowed.any():
            return False
        band = np.searchsorted(self.ground.edges, full[:, 3], side="left")
        home = SPRITES[CLASS_NAMES[label]].home
        likes = np.array([kind in home for kind in (*self.ground.kinds, self.ground.kinds[-1])])
        best = int(np.argmax(allowed * (1 + likes[band])))
        box = tuple(int(v) for v in full[best])
        self._keep(Thing(label, box, box[3]))
        return True

    def _allowed(self, seen: np.ndarray) -> np.ndarray:
        """Which of the visible boxes (K, 4) break no rule of size, overlap and occlusion, (K,)."""
        sides = seen[:, 2:] - seen[:, :2]
        inter, areas, own = self._intersections(seen), _areas(self.boxes), _areas(seen)[:, None]
        iou = inter / np.maximum(own + areas - inter, 1)  # (K, N)
        in_front = seen[:, 3:] >= self.depths
        hides = self.hidden + in_front * inter / areas
        is_hidden = (~in_front * inter / np.maximum(own, 1)).sum(axis=1)
        return (
            (sides >= MIN_SIDE).all(axis=1)
            & (iou <= self.knobs.max_overlap).all(axis=1)
            & (hides <= MAX_HIDDEN).all(axis=1)
            & (is_hidden <= MAX_HIDDEN)
        )

    def _intersections(self, boxes: np.ndarray) -> np.ndarray:
        """Intersection areas of boxes (K, 4) with everything placed so far, (K, N)."""
        low = np.maximum(boxes[:, None, :2], self.boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], self.boxes[None, :, 2:])
        return (high - low).clip(0).prod(axis=2)

    def _keep(self, thing: Thing) -> None:
        box = np.array([thing.box], dtype=float).clip(0, self.size)
        inter, in_front = self._intersections(box)[0], thing.depth >= self.depths
        self.hidden = np.append(
            self.hidden + in_front * inter / _areas(self.boxes),
            (~in_front * inter).sum() / _areas(box)[0],
        )
        self.boxes = np.concatenate([self.boxes, box])
        self.depths = np.append(self.depths, thing.depth)
        self.things.append(thing)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
