"""What lies on an image: targets, detections, and the one door at which both are checked.

A target is what annotators drew, detections are what a detector found. Both are plain dictionaries
of tensors with one row for each object; models, metrics and figures all take them, and all check
them here. The three doors differ only in how strict they are:

    door      function         boxes without area   labels
    models    check_targets    refused              int64, below K
    metrics   both parts below allowed              integers, below K
    figures   check_objects    allowed              integers if there are any, one for each name

The two parts are `check_shapes`, which looks at keys, types and shapes of one image's objects, and
`first_fault`, which looks at the numbers and can do so for a whole data set at once.

Shapes: N objects on one image, K classes, H, W image height and width. Boxes are (x1, y1, x2, y2)
in pixels of the image.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

# The columns that hold one number for each object.
COLUMNS = ("labels", "scores", "area", "iscrowd", "difficult")

# Pixels may lie outside of [0, 1] by this much: an interpolation can overshoot a little.
OVERSHOOT = 0.1

# Pixels. Beyond, areas and squared distances are soon no float32, which ends at 3.4e38.
LARGEST_COORDINATE = 1e18


class Target(TypedDict, total=False):
    """What annotators drew on one image. Boxes and labels are always there; N may be 0.

    Attributes:
        boxes: (N, 4) float, x1, y1, x2, y2 in pixels.
        labels: (N,) int64, 0 … K−1.
        image_id: () int64, the image's number in its data set.
        area: (N,) float, square pixels: the area of a mask where the data set has masks.
        iscrowd: (N,), 1 where one box stands for a crowd of objects (COCO).
        difficult: (N,), 1 where an object is neither to be found nor an error when found (VOC).
    """

    boxes: Tensor
    labels: Tensor
    image_id: Tensor
    area: Tensor
    iscrowd: Tensor
    difficult: Tensor


class Detections(TypedDict):
    """What a detector found on one image, best first; N may be 0.

    Attributes:
        boxes: (N, 4) float, x1, y1, x2, y2 in pixels.
        scores: (N,) float in [0, 1], falling.
        labels: (N,) int64, 0 … K−1.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class ObjectFault(NamedTuple):
    """The first number that is wrong, as `first_fault` finds it.

    Attributes:
        key: "boxes" or "labels".
        row: which object.
        value: its box (a list of four numbers) or its label.
        why: what is wrong with it and what was expected: "has no area: expected …".
    """

    key: str
    row: int
    value: list[float] | int
    why: str


# ---- what a detector is given


def check_images(images: Sequence[Tensor]) -> tuple[float, float]:
    """Check what a detector is given to look at.

    Args:
        images: should be a non-empty list of dense float tensors (3, H, W) with finite values.

    Returns:
        The lowest and the highest of all pixels, for `warn_of_pixels`.

    Raises:
        TypeError: if it is one tensor instead of a list, or an element is no dense float tensor.
        ValueError: if the list is empty, an element has another shape, or a pixel is not finite.
    """
    if isinstance(images, Tensor):
        raise TypeError(
            f"images is one tensor of shape {tuple(images.shape)}: give a list of (3, H, W) "
            "tensors, for instance list(images)"
        )

    if len(images) == 0:
        raise ValueError("images is empty: give at least one (3, H, W) tensor")

    lowest, highest = math.inf, -math.inf
    for i, image in enumerate(images):
        if not isinstance(image, Tensor) or not image.is_floating_point():
            kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
            raise TypeError(f"image {i} is {kind}: expected a float tensor in [0, 1]")
        _check_readable(image, f"image {i}")

        if image.ndim != 3 or image.shape[0] != 3 or min(image.shape) == 0:
            raise ValueError(f"image {i} has shape {tuple(image.shape)}: expected (3, H, W)")

        # If one pixel is NaN, so are both; the two are found together, in the time of a sum.
        low, high = torch.stack(torch.aminmax(image.detach())).tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"image {i} holds pixels that are NaN or infinite")
        lowest, highest = min(lowest, low), max(highest, high)

    return lowest, highest


def has_usual_pixels(lowest: float, highest: float) -> bool:
    """Return whether pixels between these two can be meant to lie in [0, 1]."""
    return lowest >= -OVERSHOOT and highest <= 1 + OVERSHOOT


def warn_of_pixels(lowest: float, highest: float, stacklevel: int = 1) -> None:
    """Warn that pixels outside of [0, 1] are probably a mistake, and say which.

    A detector takes them nevertheless, and finds nothing; nothing else would tell.

    Args:
        lowest, highest: the range of the pixels, from `check_images`.
        stacklevel: whom the warning is for, as in ``warnings.warn``; 1 is the line that calls.
    """
    if lowest < -OVERSHOOT:
        cause = "were they normalised already? A detector does that itself"
    elif highest <= 255 * (1 + OVERSHOOT):
        cause = "divide pixels from 0 to 255 by 255"
    else:
        cause = "divide them by the largest value that a pixel can have, 65 535 if it has 16 bits"

    warnings.warn(
        f"the images have pixels from {lowest:.4g} to {highest:.4g}, and a detector expects them "
        f"in [0, 1]: {cause}",
        stacklevel=stacklevel + 1,
    )


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
        check_objects(
            target,
            f"targets[{i}]",
            ("boxes", "labels"),
            num_classes=num_classes,
            image_size=tuple(image.shape[-2:]),
            for_training=True,
        )


# ---- the objects of one image


def check_objects(
    objects: Mapping[str, Tensor],
    name: str,
    required: Sequence[str],
    *,
    num_classes: int | None = None,
    image_size: tuple[int, int] | None = None,
    for_training: bool = False,
) -> None:
    """Check a target or the detections of one image.

    Args:
        objects: should hold "boxes" (N, 4), and of `COLUMNS` what is required, each (N,).
        name: what to call it in an error: "targets[3]".
        required: the keys that must be there.
        num_classes: K; labels must lie in 0 … K−1. Without it they must only be 0 or more.
        image_size: height and width in pixels; no box may then lie wholly outside.
        for_training: be as strict as arithmetic with gradients needs: float boxes that all have an
            area, int64 labels.

    Raises:
        TypeError, ValueError: as `check_shapes` does, or if `first_fault` finds one. The message
            names the object and says what was expected.
    """
    check_shapes(objects, name, required, for_training=for_training)

    fault = first_fault(
        objects["boxes"],
        objects.get("labels"),
        num_classes=num_classes,
        image_size=image_size,
        for_training=for_training,
    )
    if fault is not None:
        raise ValueError(f"{name}[{fault.key!r}][{fault.row}] = {fault.value} {fault.why}")


def check_shapes(
    objects: Mapping[str, Tensor],
    name: str,
    required: Sequence[str],
    *,
    for_training: bool = False,
) -> None:
    """Check keys, types and shapes of one image's objects, but not the numbers in them.

    Args: as for `check_objects`. Unless `for_training`, no boxes may also be an empty tensor (0,),
        which is what ``torch.tensor([])`` gives.

    Raises:
        TypeError: if `objects` is no dictionary, a value no dense tensor of real numbers, or labels
            are no integers.
        ValueError: if a key is missing or a shape is wrong.
    """
    check_keys(objects, name, required)

    # Types first: only tensors have a shape.
    present = [key for key in ("boxes", *COLUMNS) if key in objects]
    for key in present:
        if not isinstance(objects[key], Tensor):
            kind = type(objects[key]).__name__
            raise TypeError(f"{name}[{key!r}] is a {kind}; expected a tensor")
        _check_readable(objects[key], f"{name}[{key!r}]")

    boxes = objects["boxes"]
    if for_training and not boxes.is_floating_point():
        raise TypeError(f"{name}['boxes'] has dtype {boxes.dtype}; expected float")

    if "labels" in objects:
        dtype = objects["labels"].dtype
        integer = not (dtype.is_floating_point or dtype == torch.bool)
        if not integer or (for_training and dtype != torch.int64):
            raise TypeError(f"{name}['labels'] has dtype {dtype}; expected int64")

    # Then shapes: the boxes say how many objects there are, and everything else has as many rows.
    empty = tuple(boxes.shape) == (0,) and not for_training
    if not empty and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise ValueError(
            f"{name}['boxes'] has shape {tuple(boxes.shape)}; expected (N, 4); "
            "for an image without objects use torch.zeros(0, 4)"
        )

    for key in present[1:]:
        if objects[key].shape != (len(boxes),):
            raise ValueError(
                f"{name}[{key!r}] has shape {tuple(objects[key].shape)}; "
                f"expected ({len(boxes)},), one for each box"
            )


def _check_readable(tensor: Tensor, name: str) -> None:
    """Raise TypeError for tensors whose numbers cannot be read one by one, or compared."""
    if tensor.is_meta:
        raise TypeError(f"{name} is on the device meta, where tensors hold no numbers")

    if tensor.layout != torch.strided:
        raise TypeError(
            f"{name} is sparse, its layout is {tensor.layout}; expected a dense tensor, which its "
            "method to_dense() gives"
        )

    if tensor.is_complex():
        raise TypeError(f"{name} has dtype {tensor.dtype}; expected real numbers")


def check_keys(objects: Mapping[str, object], name: str, required: Sequence[str]) -> None:
    """Raise TypeError for what is no dictionary and ValueError for a missing key."""
    if not isinstance(objects, Mapping):
        raise TypeError(
            f"{name} is a {type(objects).__name__}; expected a dictionary with {list(required)}"
        )

    missing = [key for key in required if key not in objects]
    if missing:
        raise ValueError(f"{name} lacks {missing}; it has {sorted(objects)}")


def first_fault(
    boxes: Tensor,
    labels: Tensor | None = None,
    *,
    num_classes: int | None = None,
    image_size: tuple[int, int] | None = None,
    for_training: bool = False,
) -> ObjectFault | None:
    """Find the first box or label that cannot be right.

    The metrics call it once for the objects of a whole data set, which lie below one another there.

    Args:
        boxes: (N, 4), or (0,) for none.
        labels: (N,) integers, if there are any.
        num_classes, image_size, for_training: as for `check_objects`.

    Returns:
        The first `ObjectFault` by rule and then by row, or None. Boxes must be finite, within
        `LARGEST_COORDINATE` and ordered (x1 ≤ x2, y1 ≤ y2; for training <) and touch the image if
        its size is given; labels must lie in 0 … K−1.
    """
    boxes = boxes.reshape(-1, 4)
    x1, y1, x2, y2 = boxes.unbind(-1)

    # Each rule: which column it looks at, which rows break it, and what to say then. The first
    # finds NaN and infinity, too: neither is below any number.
    near = (boxes.float().abs() < LARGEST_COORDINATE).all(-1)
    why = (
        f"is not finite or has a corner {LARGEST_COORDINATE:g} pixels away or more, so that its "
        "area is no float32"
    )
    rules = [("boxes", ~near, why)]

    if for_training:
        flat = (x2 <= x1) | (y2 <= y1)
        rules.append(("boxes", flat, "has no area: expected x1 < x2 and y1 < y2"))
    else:
        inverted = (x2 < x1) | (y2 < y1)
        why = (
            "is inverted: expected x1 <= x2 and y1 <= y2; "
            "boxes.box_convert changes other formats to xyxy"
        )
        rules.append(("boxes", inverted, why))

    if image_size is not None:
        height, width = image_size
        outside = (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
        rules.append(("boxes", outside, f"lies outside its image of {width} × {height} pixels"))

    if labels is not None and num_classes is not None:
        unknown = (labels < 0) | (labels >= num_classes)
        why = f"is no label in 0 … {num_classes - 1}; the background is no class"
        rules.append(("labels", unknown, why))
    elif labels is not None:
        rules.append(("labels", labels < 0, "is no label: expected 0 or more"))

    columns = {"boxes": boxes, "labels": labels}
    for key, broken, why in rules:
        if broken.any():
            row = int(broken.nonzero()[0])
            return ObjectFault(key, row, columns[key][row].tolist(), why)
    return None
