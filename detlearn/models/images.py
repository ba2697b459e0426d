"""From a list of images to one tensor, and back.

Images of one batch may differ in size. Every detector of the package passes them through an
`ImageBatcher`, which normalises, resizes if asked, and pads them to one common size, so that a
model deals with a single tensor. The boxes it then predicts are in pixels of that tensor;
`ImageBatcher.undo` brings them back to pixels of the images as the caller gave them.

The tensor has its channels innermost (``torch.channels_last``), which makes convolutions on a CPU a
fifth faster. The price is digits of batch normalisation in training mode, which then sums in
another order: one layer errs by 3e-6 of its largest value instead of 1e-7, all of `SmallBackbone`
by 2e-5 instead of 2e-6 and ResNet-50 by 2e-4 instead of 1e-4 (eight and two images of 128 × 128).
In eval mode nothing is lost, ResNet-50 errs by 5e-6 in either order, and there detectors are
compared with torchvision's digit by digit. To compare a training so, do it in float64.

Where we differ from torchvision's ``GeneralizedRCNNTransform``: resizing is off unless asked for
(the small detectors look at small images as they are), and images can be squashed to one size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.boxes import clip_boxes_to_image
from detlearn.samples import Detections, Target

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
        min_size: if given, images are resized so that their shorter side has this many pixels …
        max_size: … unless the longer side would then exceed this; give both or neither.
        fixed_size: if given, images are squashed to this (height, width), whatever their shape, as
            YOLOv1 and Darknet do.
        mean: per-channel mean subtracted from the pixels, on the scale 0 to 1.
        std: per-channel standard deviation by which they are then divided.
        size_divisible: the padded height and width are multiples of this number: 32 is the
            coarsest stride of the backbones. (The cells of a pyramid's extra level, of stride 64,
            may reach beyond the tensor.)
        memory_format: of the batch. With the channels innermost, small networks are a fifth faster
            on a CPU, and large ones in detecting; on a CPU without AVX-512 the backward pass of
            wide convolutions on large maps is slower that way.

    Raises:
        ValueError: if only one of ``min_size`` and ``max_size`` is given, or both and a fixed size;
            if they are no positive numbers, or the first is larger than the second.
    """

    def __init__(
        self,
        *,
        min_size: int | None = None,
        max_size: int | None = None,
        fixed_size: tuple[int, int] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        size_divisible: int = 32,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        super().__init__()
        # Not part of the state dict: they are settings, not weights.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

        self.fixed_size = fixed_size
        self.size_divisible = size_divisible
        self.memory_format = memory_format
        self.set_sizes(min_size, max_size)

    def set_sizes(self, min_size: int | None, max_size: int | None) -> None:
        """Resize images from now on as ``min_size`` and ``max_size`` of the constructor say.

        Raises:
            ValueError: as the constructor.
        """
        if (min_size is None) != (max_size is None):
            raise ValueError(
                f"min_size={min_size} and max_size={max_size}: give both, or neither to keep sizes"
            )
        if min_size is not None and self.fixed_size is not None:
            height, width = self.fixed_size
            raise ValueError(
                f"this detector squashes every image to {height} × {width} pixels: min_size and "
                "max_size have no place in it"
            )
        if min_size is not None and not 1 <= min_size <= max_size:
            raise ValueError(
                f"min_size={min_size} and max_size={max_size}: expected the shorter side's pixels, "
                "at least 1, and the most that the longer side may have, no fewer"
            )
        self.min_size = min_size
        self.max_size = max_size

    @property
    def resizes(self) -> bool:
        """Whether images are brought to a size of its own: training at several sizes is in vain."""
        return self.min_size is not None or self.fixed_size is not None

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
        resized = []
        for image in images:
            normalised = (image.to(self.mean.dtype) - self.mean) / self.std
            resized.append(self._resize(normalised))

        # One size for all: the largest height and width that any of them would have alone.
        original_sizes = [tuple(image.shape[-2:]) for image in images]
        sizes = [tuple(image.shape[-2:]) for image in resized]
        padded_sizes = [self.padded_size(size) for size in original_sizes]
        height = max(height for height, _ in padded_sizes)
        width = max(width for _, width in padded_sizes)

        padded = []
        for image in resized:
            right, bottom = width - image.shape[-1], height - image.shape[-2]
            padded.append(F.pad(image, (0, right, 0, bottom)))

        batched = torch.stack(padded).contiguous(memory_format=self.memory_format)
        batch = Batch(batched, sizes, original_sizes)
        if targets is None:
            return batch, None

        scaled = []
        for target, old, new in zip(targets, original_sizes, sizes):
            scaled.append({**target, "boxes": _scale_boxes(target["boxes"], old, new)})
        return batch, scaled

    def undo(self, detections: Sequence[Detections], batch: Batch) -> list[Detections]:
        """Bring detections back to the caller's images.

        Args:
            detections: one ``{"boxes": (N, 4) xyxy in pixels of batch.images, …}`` per image.
            batch: what `forward` returned for these images.

        Returns:
            The same detections with their boxes in pixels of the original images, clipped to them.
        """
        undone = []
        for found, original, size in zip(detections, batch.original_sizes, batch.sizes):
            boxes = _scale_boxes(found["boxes"], size, original)
            undone.append({**found, "boxes": clip_boxes_to_image(boxes, original)})
        return undone

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the tensor in which an image alone would lie.

        Images for which it is equal lie in a common batch as each lies in its own.

        Args:
            size: height and width of the image as the caller has it.

        Returns:
            Height and width once resized and padded.
        """
        height, width = self._resized_size(size)
        return self._round_up(height), self._round_up(width)

    def _resized_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width to which an image of (height, width) is resized."""
        if self.fixed_size is not None:
            return self.fixed_size
        if self.min_size is None:
            return size

        # Rounded down, as torchvision does; but of a strip of 5 × 3000 pixels something is left.
        height, width = size
        scale = min(self.min_size / min(size), self.max_size / max(size))
        return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))

    def _resize(self, image: Tensor) -> Tensor:
        """Resize one image (3, H, W) as the settings say."""
        if not self.resizes:
            return image

        # Given a size, it uses the ratio of the rounded sizes, the one the boxes get too.
        size = self._resized_size(tuple(image.shape[-2:]))
        return F.interpolate(image[None], size=size, mode="bilinear")[0]

    def _round_up(self, side: int) -> int:
        """Return the next multiple of `size_divisible`."""
        return math.ceil(side / self.size_divisible) * self.size_divisible


def _scale_boxes(boxes: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Bring boxes (N, 4) xyxy from an image of (height, width) ``old`` to one of ``new``."""
    if old == new:
        return boxes

    ratio_y, ratio_x = new[0] / old[0], new[1] / old[1]
    return boxes * boxes.new_tensor([ratio_x, ratio_y, ratio_x, ratio_y])
