"""Training at several image sizes: draw a size, resize, and keep the memory level.

A detector that has only seen objects of a certain size in pixels misses the others. So every k
steps the training draws another size: images are resized until their longer side has so many
pixels, boxes follow, and since the memory of a step grows with the pixels of its images, a larger
size gets fewer of them.

Source: Redmon and Farhadi 2017, "YOLO9000" (arXiv 1612.08242), §2: every 10 batches one of 320,
352, …, 608 pixels.

Where we differ: the paper keeps the number of images, whatever their size; here it is the memory
that stays level. The sizes are resized to by antialiased bilinear interpolation: a smaller image
averages the pixels that it drops, as a camera further away would. Without, thin lines of the
original would break up in the small images alone, and a detector would learn to know these by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from detlearn.data.transforms import resize
from detlearn.samples import Target


class MultiScale(NamedTuple):
    """At which sizes a training looks at its images.

    Attributes:
        sizes: pixels of the longer side, one of which is drawn.
        every: k, so many steps have the same size.
        base_size: the size at which a step has the training's ``batch_size`` images; None for the
            middle one of the sizes (of two, the smaller).
    """

    sizes: Sequence[int]
    every: int = 10
    base_size: int | None = None


def complete(multi_scale: MultiScale | Sequence) -> MultiScale:
    """Return a choice of sizes with all three entries filled in.

    Args:
        multi_scale: a `MultiScale`, or ``(sizes, every)``.

    Raises:
        ValueError: for what is no choice of sizes.
    """
    try:
        sizes, every, base_size = MultiScale(*multi_scale)
        sizes = tuple(sizes)
        if base_size is None:
            base_size = sorted(sizes)[(len(sizes) - 1) // 2]
        given = [*sizes, every, base_size]
        valid = all(isinstance(number, int) and number >= 1 for number in given)
    except (TypeError, IndexError):
        valid = False

    if not valid:
        raise ValueError(
            f"multi_scale is {multi_scale}: expected (sizes in pixels, number of steps), whole "
            "numbers from 1 on, such as ((96, 128, 160), 10)"
        )
    return MultiScale(sizes, every, base_size)


def sizes_between(smallest: int, largest: int, stride: int = 32) -> list[int]:
    """Return the multiples of a stride from the smallest size to the largest, both included.

    Args:
        smallest: pixels.
        largest: pixels.
        stride: of the detector's coarsest map: a side that is no multiple of it would be padded.

    Raises:
        ValueError: if there is none between them.
    """
    sizes = [size for size in range(stride, largest + 1, stride) if size >= smallest]
    if not sizes:
        raise ValueError(
            f"there is no multiple of {stride} between {smallest} and {largest} pixels"
        )
    return sizes


def batch_size_for(size: int, base_size: int, base_batch: int) -> int:
    """Say how many images of a size take the memory that a batch of another size takes.

    The maps of a network grow with the area of its images, so the product of batch and size² stays
    level, and never exceeds that of the base (unless by a single image).

    Args:
        size: pixels of the images' side.
        base_size: pixels of the side that the batch was chosen for.
        base_batch: images of a batch at that size.

    Returns:
        max(1, ⌊base_batch · (base_size / size)²⌋).
    """
    # In whole numbers: rounding must not lose an image that just fits.
    return max(1, base_batch * base_size**2 // size**2)


def multi_scale_batch(
    images: Sequence[Tensor], targets: Sequence[Target], anchors: Tensor | None, size: int
) -> tuple[list[Tensor], list[Target], Tensor | None]:
    """Bring the images of a batch to another size, and with them all that is measured in pixels.

    Anchors are resized here, too, so that each stays the same share of the image: the *relative*
    variant. A detector that is trained at several sizes keeps its anchors in pixels instead, as
    Darknet does, for it shall learn that an object may come at any size; `fit` gives None.

    Args:
        images: B tensors (3, H, W); with anchors, all have the same longer side.
        targets: per image ``"boxes"`` (N, 4) xyxy in pixels; other entries pass through.
        anchors: (A, 2) widths and heights in pixels of the images as they are, or None.
        size: pixels of the longer side afterwards; the shorter keeps the proportion.

    Returns:
        The resized images (bilinear, antialiased), the targets with their boxes in pixels of
        these, and the anchors in the same pixels. What was given is left untouched.

    Raises:
        ValueError: for anchors that belong to images of different sizes.
    """
    resized = [resize(image, target, size) for image, target in zip(images, targets, strict=True)]
    new_images = [image for image, _ in resized]
    new_targets = [target for _, target in resized]

    if anchors is not None:
        sides = {max(image.shape[-2:]) for image in images}
        if len(sides) != 1:
            raise ValueError(
                f"the images' longer sides have {sorted(sides)} pixels: anchors in pixels belong "
                "to images of one size"
            )
        anchors = anchors * (size / sides.pop())

    return new_images, new_targets, anchors
