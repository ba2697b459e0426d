"""ToyTown: the book's own data set, drawn in code: no download, and each knob isolates one lesson.

A scene is a ground (lawns, streets, water, paving … under a band of sky), clutter that is no
object, and objects of ten classes. Boxes are tight around an object's own pixels: they are taken
before nearer objects cover it, and clipped to the image. Where an object stands depends on its
class only weakly (boats prefer water, cars streets), its size not at all.

Same seed, same bytes, and scene i depends on the seed, i and the knobs alone, never on
``num_images``. That promise rests on NumPy's PCG64 stream and its ``Generator`` methods, on
Pillow's rasteriser and box filter, and on floating-point arithmetic that rounds as IEEE 754 says. A
release of NumPy or Pillow that changes one of them changes the pictures; the hash in the tests
would tell.

Shape shorthand: N objects in a scene, S side of the image in pixels.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from detlearn.data.toytown.clutter import clutter_pool
from detlearn.data.toytown.grounds import Ground, draw_ground, light_scene
from detlearn.data.toytown.layout import CLASS_NAMES, Knobs, Layout, Thing
from detlearn.data.toytown.pen import draw_sprite, pick
from detlearn.data.toytown.sprites import SPRITES
from detlearn.machine.progress import progress_bar

MIN_SIZE = 32
SCENARIOS: dict[str, dict] = {
    "default": {},
    "tiny": {"scale": (1 / 16, 1 / 9)},
    "crowd": {
        "num_objects": (10, 18),
        "scale": (1 / 12, 1 / 3),
        "max_overlap": 0.5,
        "crowding": 0.7,
    },
    "nested": {"num_objects": (0, 2), "nested_pairs": (1, 3)},
    "group": {"num_objects": (0, 2), "groups": (1, 2)},
    "elongated": {"stretch": 3.0, "scale": (1 / 6, 3 / 4)},
    "truncated": {"truncation": 0.7},
    "imbalanced": {"imbalance": 100.0},
    "noisy_labels": {"label_noise": 0.2, "box_noise": 0.08},
}


class ToyTown(Dataset):
    """Scenes of a toy town as samples ``(image, target)``, drawn when the data set is made.

    Args:
        num_images: number of scenes.
        size: S, width and height of each image in pixels, at least 32.
        seed: the town; a different seed gives entirely different scenes.
        num_objects: fewest and most single objects in a scene.
        scale: range of the longer side of an object as a share of S, drawn log-uniformly; the
            default is 8 to 64 pixels at S = 128. No side of an uncut object is under 3 pixels.
        max_overlap: u, the largest IoU of two boxes. Besides, nearer boxes never cover more of a
            box than a half or, if that is more, 2u / (1 + u).
        crowding: share of objects that are placed against another one instead of anywhere.
        nested_pairs: fewest and most persons, besides the single objects, who hold a phone: two
            boxes, one centre.
        groups: fewest and most groups, besides the single objects, of 5 to 9 small objects of one
            class.
        stretch: extreme aspect ratios: tall objects get taller and wide ones wider by a factor from
            1 to this.
        truncation: share of objects that the border of the image cuts, losing 20 to 60 % of a side.
        imbalance: how many times as often the first class is drawn as the last; in between,
            geometric.
        label_noise: share of labels that are replaced by another class.
        box_noise: standard deviation of the error of each edge of a box, as a share of the box's
            side.
        clutter: fewest and most pieces of clutter.

    Noise touches labels and boxes only: the same town made with ``label_noise=0, box_noise=0`` has
    the same images and the clean truth.

    Attributes:
        class_names: the names of labels 0 … 9.
        images: (num_images, 3, S, S) uint8.

    Raises:
        TypeError: if a number that must be whole is not.
        ValueError: if a knob is out of its range.
    """

    class_names = CLASS_NAMES

    def __init__(
        self,
        num_images: int,
        *,
        size: int = 128,
        seed: int = 0,
        num_objects: tuple[int, int] = (1, 6),
        scale: tuple[float, float] = (1 / 16, 1 / 2),
        max_overlap: float = 0.3,
        crowding: float = 0.0,
        nested_pairs: tuple[int, int] = (0, 0),
        groups: tuple[int, int] = (0, 0),
        stretch: float = 1.0,
        truncation: float = 0.0,
        imbalance: float = 1.0,
        label_noise: float = 0.0,
        box_noise: float = 0.0,
        clutter: tuple[int, int] = (2, 8),
    ) -> None:
        _check_whole("num_images", num_images, 0)
        _check_whole("size", size, MIN_SIZE)
        _check_whole("seed", seed, 0)
        self.knobs = Knobs(
            num_objects, scale, max_overlap, crowding, nested_pairs, groups,
            stretch, truncation, imbalance, label_noise, box_noise, clutter,
        )  # fmt: skip
        _check_knobs(self.knobs)
        self.size, self.seed = size, seed
        self.images = torch.empty(num_images, 3, size, size, dtype=torch.uint8)
        self._boxes: list[Tensor] = []
        self._labels: list[Tensor] = []
        with progress_bar(num_images, "drawing ToyTown", show=num_images > 2000) as bar:
            for index in range(num_images):
                self._draw(index)
                bar.update()

    @classmethod
    def scenario(cls, name: str, num_images: int, *, size: int = 128, seed: int = 0) -> "ToyTown":
        """A town with the knobs set for one lesson.

        Args:
            name: ``default tiny crowd nested group elongated truncated imbalanced noisy_labels``.
            num_images, size, seed: as for the class.

        Raises:
            ValueError: if there is no such scenario.
        """
        if name not in SCENARIOS:
            raise ValueError(f"no scenario {name!r}; choose one of {', '.join(SCENARIOS)}")
        return cls(num_images, size=size, seed=seed, **SCENARIOS[name])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Scene ``index`` in fresh tensors, which may be changed in place.

        Returns:
            the image (3, S, S) float32 in [0, 1], and the target with ``boxes`` (N, 4) float32 xyxy
            in pixels, ``labels`` (N,) int64, ``area`` (N,) float32 of the boxes, ``iscrowd`` (N,)
            int64 all 0, ``image_id`` ().
        """
        index = range(len(self))[index]  # negative indices count from the end; IndexError past it
        boxes = self._boxes[index].clone()
        target = {
            "boxes": boxes,
            "labels": self._labels[index].clone(),
            "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            "iscrowd": torch.zeros(len(boxes), dtype=torch.int64),
            "image_id": torch.tensor(index),
        }
        return self.images[index].float().div_(255), target

    def _draw(self, index: int) -> None:
        """Draws scene ``index`` and notes its annotation."""
        rng = np.random.default_rng([self.seed, index])
        ground = draw_ground(rng, self.size)
        things = Layout(rng, self.knobs, self.size, ground).run()
        scatter_clutter(ground, rng, self.knobs.clutter)
        boxes = paint_things(ground.image, things, rng)
        self.images[index] = torch.from_numpy(light_scene(ground.image, rng))
        labels = np.array([thing.label for thing in things], dtype=np.int64)
        boxes, labels = self._annotate(index, boxes, labels)
        self._boxes.append(torch.from_numpy(boxes))
        self._labels.append(torch.from_numpy(labels))

    def _annotate(
        self, index: int, boxes: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a careless annotator writes down for the true boxes (N, 4) and labels (N,)."""
        rng = np.random.default_rng([self.seed, index, 1])  # a stream of its own: images stay
        wrong = rng.random(len(labels)) < self.knobs.label_noise
        others = rng.integers(1, len(CLASS_NAMES), len(labels))
        labels = np.where(wrong, (labels + others) % len(CLASS_NAMES), labels)
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        noise = rng.standard_normal(boxes.shape).clip(-3, 3) * self.knobs.box_noise
        boxes = (boxes + noise * sides).clip(0, self.size).astype(np.float32)
        return boxes, labels


def scatter_clutter(ground: Ground, rng: np.random.Generator, limits: tuple[int, int]) -> None:
    """Pastes pieces of clutter, each on a ground where it belongs, into the ground's image."""
    image, pool = ground.image, clutter_pool(ground.image.width)
    for _ in range(int(rng.integers(limits[0], limits[1] + 1))):
        y = ground.horizon + rng.random() * (image.height - ground.horizon)
        piece = pick(rng, pool[ground.kind_at(y)])
        x = rng.random() * image.width - piece.width / 2
        image.paste(piece, (int(x), int(y) - piece.height), piece)


def paint_things(
    image: Image.Image, things: Iterable[Thing], rng: np.random.Generator, shadows: bool = True
) -> np.ndarray:
    """Paints things in the order given, each filling its box, into an RGB image.

    Args:
        image: RGB, painted in place.
        things: what to paint, far things first.
        rng: the scene's generator.
        shadows: whether things cast one.

    Returns:
        the boxes (N, 4) float32 xyxy of what each thing shows inside the image.
    """
    boxes = []
    for label, (x1, y1, x2, y2), _ in things:
        sprite = SPRITES[CLASS_NAMES[label]]
        picture = draw_sprite(sprite.draw, x2 - x1, y2 - y1, rng)
        if sprite.mirror and rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if shadows:
            _cast_shadow(image, x1, x2, y2)
        image.paste(picture, (x1, y1), picture)
        boxes.append(_visible_box(picture, x1, y1, image.width))
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def _visible_box(picture: Image.Image, x1: int, y1: int, size: int) -> tuple[int, int, int, int]:
    """The tight box of a picture with its corner at (x1, y1), as far as it lies in the image.

    A tree cut below its crown shows a box narrower than the whole tree's.
    """
    left, top = max(0, -x1), max(0, -y1)
    right, bottom = min(picture.width, size - x1), min(picture.height, size - y1)
    if (left, top, right, bottom) != (0, 0, *picture.size):
        seen = picture.crop((left, top, right, bottom)).getbbox()
        left, top, right, bottom = left + seen[0], top + seen[1], left + seen[2], top + seen[3]
    return x1 + left, y1 + top, x1 + right, y1 + bottom


def _cast_shadow(image: Image.Image, x1: int, x2: int, foot: int) -> None:
    wide = round(1.16 * (x2 - x1))
    tall = max(2, round(0.13 * (x2 - x1)))
    mask = _soft_ellipse().resize((wide, tall), Image.Resampling.BOX)
    image.paste((30, 34, 60), ((x1 + x2 - wide) // 2, foot - tall // 2), mask)


@lru_cache(maxsize=1)
def _soft_ellipse() -> Image.Image:
    """The mask of a shadow, darkest in the middle."""
    y, x = np.meshgrid(np.linspace(-1, 1, 24), np.linspace(-1, 1, 96), indexing="ij")
    return Image.fromarray(((1 - x**2 - y**2).clip(0, 1) ** 0.7 * 130).astype(np.uint8))


def _check_whole(name: str, value: int, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")


def _check_knobs(knobs: Knobs) -> None:
    """Raises a ValueError or TypeError that names the first knob out of its range."""
    for name in ("num_objects", "nested_pairs", "groups", "clutter"):
        fewest, most = _pair(name, getattr(knobs, name), "(fewest, most)")
        _check_whole(f"{name}[0]", fewest, 0)
        _check_whole(f"{name}[1]", most, int(fewest))
    smallest, largest = _pair("scale", knobs.scale, "(smallest, largest)")
    _check_number("scale[0]", smallest, 1e-3, 1.0)
    _check_number("scale[1]", largest, smallest, 1.0)
    for name in ("max_overlap", "crowding", "truncation", "label_noise"):
        _check_number(name, getattr(knobs, name), 0.0, 1.0)
    _check_number("stretch", knobs.stretch, 1.0, 10.0)
    _check_number("imbalance", knobs.imbalance, 1.0, 1e6)
    _check_number("box_noise", knobs.box_noise, 0.0, 0.15)  # beyond, boxes turn inside out


def _pair(name: str, value: tuple, form: str) -> tuple:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name} must be a pair {form}, not {value!r}")
    return tuple(value)


def _check_number(name: str, value: float, least: float, most: float) -> None:
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not least <= value <= most:  # so that NaN fails
        raise ValueError(f"{name} must lie in [{least:g}, {most:g}], not {value!r}")
