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

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detlearn.data.toytown.classes import CLASS_NAMES
from detlearn.data.toytown.grounds import draw_ground
from detlearn.data.toytown.knobs import SCENARIOS, Knobs, check_knobs, check_whole
from detlearn.data.toytown.layout import Layout
from detlearn.data.toytown.painting import light_scene, paint_things, scatter_clutter
from detlearn.machine.progress import progress_bar

MIN_SIZE = 32


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
        check_whole("num_images", num_images, 0)
        check_whole("size", size, MIN_SIZE)
        check_whole("seed", seed, 0)
        self.knobs = Knobs(
            num_objects=num_objects,
            scale=scale,
            max_overlap=max_overlap,
            crowding=crowding,
            nested_pairs=nested_pairs,
            groups=groups,
            stretch=stretch,
            truncation=truncation,
            imbalance=imbalance,
            label_noise=label_noise,
            box_noise=box_noise,
            clutter=clutter,
        )
        check_knobs(self.knobs)

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
        """Make a town with the knobs set for one lesson.

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
        """Return scene ``index`` in fresh tensors, which may be changed in place.

        Returns:
            the image (3, S, S) float32 in [0, 1], and the target with ``boxes`` (N, 4) float32 xyxy
            in pixels, ``labels`` (N,) int64, ``area`` (N,) float32 of the boxes, ``iscrowd`` (N,)
            int64 all 0, ``image_id`` ().
        """
        index = range(len(self))[index]  # negative indices count from the end; IndexError past it

        image = self.images[index].float().div_(255)
        boxes = self._boxes[index].clone()
        target = {
            "boxes": boxes,
            "labels": self._labels[index].clone(),
            "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
            "iscrowd": torch.zeros(len(boxes), dtype=torch.int64),
            "image_id": torch.tensor(index),
        }
        return image, target

    def annotations(self) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        """Go through the scenes without their pictures: text, boxes, labels, iscrowd; no copies."""
        scene = f"seed {self.seed}, {self.size} pixels, {self.knobs}"
        for boxes, labels in zip(self._boxes, self._labels):
            yield scene, boxes, labels, torch.zeros(len(boxes), dtype=torch.int64)

    def _draw(self, index: int) -> None:
        """Draw scene ``index`` and note its annotation."""
        rng = np.random.default_rng([self.seed, index])
        ground = draw_ground(rng, self.size)
        things = Layout(rng, self.knobs, self.size, ground).run()

        # From the ground up; the generator's numbers are used in this order.
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
        """Write down the true boxes (N, 4) and labels (N,) as a careless annotator does."""
        rng = np.random.default_rng([self.seed, index, 1])  # a stream of its own: images stay

        # Adding 1 … K−1, modulo K, makes any other class, each equally likely.
        wrong = rng.random(len(labels)) < self.knobs.label_noise
        others = rng.integers(1, len(CLASS_NAMES), len(labels))
        labels = np.where(wrong, (labels + others) % len(CLASS_NAMES), labels)

        # Three standard deviations at most, so that no box turns inside out.
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        noise = rng.standard_normal(boxes.shape).clip(-3, 3) * self.knobs.box_noise
        boxes = (boxes + noise * sides).clip(0, self.size).astype(np.float32)
        return boxes, labels
