"""Augmentation: change the picture and its boxes together.

A transform is a function ``(image, target) → (image, target)``. It draws its random numbers from
torch's global generator, which the trainer seeds for every sample, so that a run can be repeated.

Flips are written out here, because a box that does not follow its picture is the first bug everyone
makes. All else torchvision's transforms do well: `from_torchvision` lets them work on our samples.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

Sample = tuple[Tensor, dict[str, Tensor]]
Transform = Callable[[Tensor, dict[str, Tensor]], Sample]


def horizontal_flip(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Mirror a sample left to right.

    Args:
        image: (3, H, W).
        target: ``"boxes"`` (N, 4) xyxy in pixels; other entries pass through.

    Returns:
        The mirrored sample: x1 becomes W − x2 and x2 becomes W − x1.
    """
    x1, y1, x2, y2 = target["boxes"].unbind(-1)
    width = image.shape[-1]
    boxes = torch.stack((width - x2, y1, width - x1, y2), dim=-1)
    return image.flip(-1), {**target, "boxes": boxes}


def vertical_flip(image: Tensor, target: dict[str, Tensor]) -> Sample:
    """Mirror a sample top to bottom: y1 becomes H − y2 and y2 becomes H − y1.

    Args:
        image: (3, H, W).
        target: ``"boxes"`` (N, 4) xyxy in pixels; other entries pass through.

    Returns:
        The mirrored sample.
    """
    x1, y1, x2, y2 = target["boxes"].unbind(-1)
    height = image.shape[-2]
    boxes = torch.stack((x1, height - y2, x2, height - y1), dim=-1)
    return image.flip(-2), {**target, "boxes": boxes}


def resize(image: Tensor, target: dict[str, Tensor], size: int) -> Sample:
    """Resize a sample so that its longer side has ``size`` pixels, keeping proportions.

    Args:
        image: (3, H, W).
        target: ``"boxes"`` (N, 4) xyxy in pixels; ``"area"``, if there, is scaled as well.
        size: the longer side of the result.

    Returns:
        The resized sample.
    """
    old = image.shape[-2:]
    new = [max(1, round(side * size / max(old))) for side in old]

    # Rounding makes the two ratios differ a little, and boxes follow the pixels.
    ratio_y, ratio_x = new[0] / old[0], new[1] / old[1]
    boxes = target["boxes"] * target["boxes"].new_tensor([ratio_x, ratio_y, ratio_x, ratio_y])
    target = {**target, "boxes": boxes}
    if "area" in target:
        target["area"] = target["area"] * ratio_x * ratio_y

    # Antialiased: a smaller image averages what it drops, as a camera would.
    image = F.interpolate(image[None], size=new, mode="bilinear", antialias=True)[0]
    return image, target


def resize_between(
    image: Tensor, target: dict[str, Tensor], min_size: int, max_size: int
) -> Sample:
    """Resize a sample to the size at which an `ImageBatcher` of these two numbers leaves it alone.

    The batcher resizes what it is given, whole batches of photographs at once. Done here, picture
    by picture as they are read, only one of them is in memory at its own size. The pixels are made
    as there: bilinear, not antialiased.

    Args:
        image: (3, H, W).
        target: ``"boxes"`` (N, 4) xyxy in pixels; other entries pass through.
        min_size: pixels of the shorter side of the result …
        max_size: … unless the longer one would have more than these.

    Returns:
        The resized sample.
    """
    # Rounded to the nearest, not down: one side has then exactly the number that was asked for.
    old = image.shape[-2:]
    scale = min(min_size / min(old), max_size / max(old))
    return resize_to(image, target, tuple(max(1, round(side * scale)) for side in old))


def resize_to(image: Tensor, target: dict[str, Tensor], size: tuple[int, int]) -> Sample:
    """Resize a sample to a height and a width, whatever its shape; bilinear, not antialiased.

    Args:
        image: (3, H, W).
        target: ``"boxes"`` (N, 4) xyxy in pixels; other entries pass through.
        size: height and width of the result.

    Returns:
        The resized sample.
    """
    ratio_y, ratio_x = (new / old for new, old in zip(size, image.shape[-2:]))
    boxes = target["boxes"] * target["boxes"].new_tensor([ratio_x, ratio_y, ratio_x, ratio_y])
    image = F.interpolate(image[None], size=size, mode="bilinear")[0]
    return image, {**target, "boxes": boxes}


def random_apply(transform: Transform, p: float = 0.5) -> Transform:
    """Apply a transform to a share p of the samples."""
    # partial, here and below: unlike a function in a function it can be sent to another process.
    return partial(_apply_randomly, transform, p)


def _apply_randomly(
    transform: Transform, p: float, image: Tensor, target: dict[str, Tensor]
) -> Sample:
    if torch.rand(()) < p:
        return transform(image, target)
    return image, target


def compose(*transforms: Transform) -> Transform:
    """Apply several transforms, one after the other."""
    return partial(_apply_all, transforms)


def _apply_all(
    transforms: tuple[Transform, ...], image: Tensor, target: dict[str, Tensor]
) -> Sample:
    for transform in transforms:
        image, target = transform(image, target)
    return image, target


def from_torchvision(*transforms: Callable, min_size: float = 2.0) -> Transform:
    """Make transforms of ``torchvision.transforms.v2`` work on our samples.

    Args:
        transforms: for instance ``v2.RandomIoUCrop()``, applied in order.
        min_size: boxes whose width or height falls below this many pixels, because a crop cut
            them, are removed together with their labels and every other entry of N rows.

    Returns:
        One transform.
    """
    return partial(_apply_torchvision, v2.Compose(transforms), min_size)


def _apply_torchvision(
    pipeline: Callable, min_size: float, image: Tensor, target: dict[str, Tensor]
) -> Sample:
    """Wrap a sample in torchvision's types, transform it, and unwrap what is left of it."""
    boxes = tv_tensors.BoundingBoxes(
        target["boxes"], format="XYXY", canvas_size=tuple(image.shape[-2:])
    )
    image, boxes = pipeline(tv_tensors.Image(image), boxes)
    boxes = v2.functional.clamp_bounding_boxes(boxes)
    image, boxes = image.as_subclass(Tensor), boxes.as_subclass(Tensor)

    # An object that the crop cut away takes its row with it, in every entry that has rows.
    kept = (boxes[:, 2:] - boxes[:, :2] >= min_size).all(dim=-1)  # (N,)
    result = {**target, "boxes": boxes[kept]}
    for name, value in target.items():
        has_rows = isinstance(value, Tensor) and value.shape[:1] == kept.shape
        if has_rows and name not in ("boxes", "image_id"):
            result[name] = value[kept]

    return image, result


flip = random_apply(horizontal_flip)
"""The trainer's default: mirror half of the samples left to right."""
