"""From a list of images to one tensor, and back.

Images of one batch may differ in size. Every detector of the package passes them through an
`ImageBatcher`, which normalises, resizes if asked, and pads them to one common size, so that a
model deals with a single tensor. The boxes it then predicts are in pixels of that tensor;
`ImageBatcher.undo` brings them back to pixels of the images as the caller gave them.

Where we differ from torchvision's ``GeneralizedRCNNTransform``: resizing is off unless asked for
(the small detectors look at small images as they are), and the checks name the image and the box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.boxes import clip_boxes_to_image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Target = dict[str, Tensor]
Detections = dict[str, Tensor]


class Batch(NamedTuple):
    """What a model sees of a list of images.

    Attributes:
        images: (B, 3, H, W), normalised, padded with zeros at the right and at the bottom.
        sizes: height and width in pixels of each image inside ``images``, without the padding.
        original_sizes: height and width of each image as the caller gave it.
    """

    images: Tensor
    sizes: list[tuple[int, int]]
    original_sizes: list[tuple[int, int]]


class ImageBatcher(nn.Module):
    """Normalise, resize if asked, and pad a list of images to one tensor.

    Args:
        mean: per-channel mean subtracted from the pixels, on the scale 0 to 1.
        std: per-channel standard deviation by which they are then divided.
        min_size: if given, images are resized so that their shorter side has this many pixels …
        max_size: … unless the longer side would then exceed this; give both or neither.
        size_divisible: the padded height and width are multiples of this number: 32 is the
            coarsest stride of the backbones, so that every cell of theirs lies inside the tensor.

    Raises:
        ValueError: if only one of ``min_size`` and ``max_size`` is given.
    """

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        *,
        min_size: int | None = None,
        max_size: int | None = None,
        size_divisible: int = 32,
    ) -> None:
        super().__init__()
        if (min_size is None) != (max_size is None):
            raise ValueError(
                f"min_size={min_size} and max_size={max_size}: give both, or neither to keep sizes"
            )
        # Not part of the state dict: they are settings, not weights.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.min_size, self.max_size = min_size, max_size
        self.size_divisible = size_divisible

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None
    ) -> tuple[Batch, list[Target] | None]:
        """Build the batch.

        Args:
            images: list of B float tensors (3, H, W) in [0, 1]; sizes may differ.
            targets: with training images, their ``{"boxes": (N, 4) xyxy pixels, "labels": (N,)}``.

        Returns:
            The `Batch`, and the targets with their boxes in pixels of the batch (None if none
            were given). The caller's targets are left untouched.
        """
        resized = [
            self._resize((image.to(self.mean.dtype) - self.mean) / self.std) for image in images
        ]
        sizes = [tuple(image.shape[-2:]) for image in resized]
        original_sizes = [tuple(image.shape[-2:]) for image in images]
        height, width = (
            math.ceil(max(side) / self.size_divisible) * self.size_divisible for side in zip(*sizes)
        )
        padded = [F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in resized]
        # Channels innermost: convolutions on a CPU are a fifth faster that way.
        images = torch.stack(padded).contiguous(memory_format=torch.channels_last)
        batch = Batch(images, sizes, original_sizes)
        if targets is None:
            return batch, None
        scaled = [
            {**target, "boxes": _scale_boxes(target["boxes"], old, new)}
            for target, old, new in zip(targets, original_sizes, sizes)
        ]
        return batch, scaled

    def undo(self, detections: Sequence[Detections], batch: Batch) -> list[Detections]:
        """Bring detections back to the caller's images.

        Args:
            detections: one ``{"boxes": (N, 4) xyxy in pixels of batch.images, …}`` per image.
            batch: what `forward` returned for these images.

        Returns:
            The same detections with their boxes in pixels of the original images, clipped to them.
        """
        return [
            {**found, "boxes": clip_boxes_to_image(_scale_boxes(found["boxes"], new, old), old)}
            for found, old, new in zip(detections, batch.original_sizes, batch.sizes)
        ]

    def _resize(self, image: Tensor) -> Tensor:
        if self.min_size is None:
            return image
        height, width = image.shape[-2:]
        scale = min(self.min_size / min(height, width), self.max_size / max(height, width))
        # recompute_scale_factor uses the ratio of the rounded sizes, the one the boxes get too.
        return F.interpolate(
            image[None], scale_factor=scale, mode="bilinear", recompute_scale_factor=True
        )[0]


def _scale_boxes(boxes: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Boxes (N, 4) xyxy from an image of (height, width) ``old`` to one of ``new``."""
    if old == new:
        return boxes
    ratio_y, ratio_x = new[0] / old[0], new[1] / old[1]
    return boxes * boxes.new_tensor([ratio_x, ratio_y, ratio_x, ratio_y])


def check_images(images: Sequence[Tensor]) -> None:
    """Check what a detector is given to look at.

    Args:
        images: should be a non-empty list of float tensors (3, H, W) with finite values.

    Raises:
        TypeError: if it is one tensor instead of a list, or an element is no float tensor.
        ValueError: if the list is empty, an element has another shape, or a pixel is not finite.
    """
    if isinstance(images, Tensor):
        raise TypeError(
            f"images is one tensor of shape {tuple(images.shape)}: give a list of (3, H, W) "
            "tensors, for instance list(images)"
        )
    if len(images) == 0:
        raise ValueError("images is empty: give at least one (3, H, W) tensor")
    for i, image in enumerate(images):
        if not isinstance(image, Tensor) or not image.is_floating_point():
            kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
            raise TypeError(f"image {i} is {kind}: expected a float tensor in [0, 1]")
        if image.ndim != 3 or image.shape[0] != 3 or min(image.shape) == 0:
            raise ValueError(f"image {i} has shape {tuple(image.shape)}: expected (3, H, W)")
        # One NaN or infinity makes the sum one, and a sum takes a third of the time.
        if not image.sum(dtype=torch.float32).isfinite():
            raise ValueError(f"image {i} holds pixels that are NaN or infinite")


def check_targets(images: Sequence[Tensor], targets: Sequence[Target], num_classes: int) -> None:
    """Check the annotations of a training batch.

    Args:
        images: the batch's images (3, H, W).
        targets: should hold, for each, boxes (N, 4) xyxy in its pixels and int64 labels (N,).
        num_classes: K; labels lie in 0 … K−1.

    Raises:
        TypeError: if targets is None, or boxes and labels have the wrong dtype.
        ValueError: if counts or shapes do not fit, or a box is not finite, inverted, of zero area
            or wholly outside its image, or a label out of range; the message names image and box.
            (A box across the border is allowed: annotators draw such.)
    """
    if targets is None:
        raise TypeError("in training mode a detector needs targets; call model.eval() to detect")
    if len(targets) != len(images):
        raise ValueError(f"{len(images)} images came with {len(targets)} targets")
    for i, (image, target) in enumerate(zip(images, targets)):
        missing = {"boxes", "labels"} - set(target)
        if missing:
            raise ValueError(f"target {i} lacks {sorted(missing)}; it has {sorted(target)}")
        boxes, labels = target["boxes"], target["labels"]
        if not isinstance(boxes, Tensor) or not isinstance(labels, Tensor):
            raise TypeError(
                f"target {i}: boxes are a {type(boxes).__name__}, labels a "
                f"{type(labels).__name__}; expected tensors"
            )
        if not boxes.is_floating_point() or labels.dtype != torch.int64:
            raise TypeError(
                f"target {i}: boxes are {boxes.dtype}, labels {labels.dtype}; expected float, int64"
            )
        if boxes.shape != (len(labels), 4) or labels.ndim != 1:
            raise ValueError(
                f"target {i}: boxes {tuple(boxes.shape)} and labels {tuple(labels.shape)}; "
                "expected (N, 4) and (N,)"
            )
        _check_boxes(boxes, image, i)
        _complain(
            (labels < 0) | (labels >= num_classes),
            labels,
            i,
            f"is no label in 0 … {num_classes - 1}",
        )


def _check_boxes(boxes: Tensor, image: Tensor, i: int) -> None:
    height, width = image.shape[-2:]
    x1, y1, x2, y2 = boxes.unbind(-1)
    _complain(~torch.isfinite(boxes).all(-1), boxes, i, "is not finite")
    _complain((x2 <= x1) | (y2 <= y1), boxes, i, "has no area: expected x1 < x2 and y1 < y2")
    outside = (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
    _complain(outside, boxes, i, f"lies outside its image of {width} × {height} pixels")


def _complain(wrong: Tensor, values: Tensor, i: int, what: str) -> None:
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(f"target {i}, object {row}: {values[row].tolist()} {what}")
