"""To which size a training brings photographs when nobody says one.

A detector of this package looks at images as they are unless told otherwise. That is right for
drawn scenes and wrong for photographs: a step with 16 of 12 megapixels needs tens of gigabytes, and
takes minutes. Here a size is chosen from the data: as small as the objects allow, and never so
large that a step needs more than about two gigabytes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch.utils.data import Dataset

KEPT = 384  # pixels: pictures whose longer side is no larger are not resized
SMALLEST = 320  # pixels of the longer side, at least
OBJECT = 12  # pixels that the smallest tenth of the objects should have: three cells of stride 4
# Of all images of a step. The small detectors keep 180 to 280 bytes a pixel for the backward pass
# (all but YOLOv1, whose size is fixed) and need as much again while they compute.
STEP_PIXELS = 16 * 640 * 480
STRIDE = 32  # sides are rounded up to multiples of it: else they would be padded
LOOKED_AT = 1000  # pictures, evenly spaced: enough for a median and a decile


class Choice(NamedTuple):
    """A size, and why.

    Attributes:
        min_size, max_size: pixels of the shorter and the longer side, as `ImageBatcher` takes them.
        reason: in a sentence or two, and how to change it.
    """

    min_size: int
    max_size: int
    reason: str


def choose_size(data: Dataset, batch_size: int) -> Choice | None:
    """Choose the size to which a training brings its pictures.

    Args:
        data: a data set; of one that knows its pictures' files the sizes are read.
        batch_size: images of a step.

    Returns:
        The choice; None to leave the pictures as they are.
    """
    if not hasattr(data, "image_paths") or len(data) == 0:
        return None  # drawn scenes have the size that was asked for

    sizes, relative = _measure(data)
    longer = sizes.max(axis=1)
    if longer.max() <= KEPT:
        return None

    # The typical picture decides the shape, the smallest tenth of all objects the size.
    typical = float(np.median(longer))
    shape = float(np.median(sizes.min(axis=1) / longer))  # shorter side / longer side
    small = float(np.quantile(relative, 0.1)) if len(relative) else 1.0  # share of the longer side
    wanted = _round_up(max(SMALLEST, OBJECT / max(small, 1e-6)))
    wanted = min(wanted, max(_round_up(typical), STRIDE))

    # What a step can hold, at least the smallest size.
    affordable = math.floor(math.sqrt(STEP_PIXELS / (batch_size * shape)) / STRIDE) * STRIDE
    max_size = min(wanted, max(affordable, SMALLEST))
    min_size = max(1, round(max_size * shape))

    reason = (
        f"pictures of {_span(longer)} pixels on the longer side are resized to {max_size} "
        f"(--min-size {min_size} --max-size {max_size})"
    )
    if len(relative):
        reason += f", where the smallest tenth of the objects has up to {small * max_size:.0f}"
    reason += "; give both options for another size"
    if max_size < wanted:
        fewer = max(1, int(STEP_PIXELS / (shape * wanted**2)))
        reason += (
            f". Objects under {OBJECT} pixels are hard to find, but {batch_size} larger pictures a "
            f"step need more than two gigabytes: --min-size {round(wanted * shape)} "
            f"--max-size {wanted} --batch-size {fewer} do not"
        )
    return Choice(min_size, max_size, reason)


def _measure(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return sizes (N, 2) of pictures, and of all their objects √area / longer side (M,)."""
    from detlearn.data.reading import picture_size

    step = max(1, len(data) // LOOKED_AT)
    sizes, relative = [], []
    for index in range(0, len(data), step):
        size = picture_size(data.image_paths[index])
        sizes.append(size)

        boxes = data.target(index)["boxes"].numpy()  # (n, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        relative.append(np.sqrt(sides.prod(axis=1)) / max(size))
    return np.array(sizes, dtype=float), np.concatenate(relative)


def _round_up(side: float) -> int:
    return math.ceil(side / STRIDE) * STRIDE


def _span(longer: np.ndarray) -> str:
    """Return "640" or "480 to 640"."""
    low, high = int(longer.min()), int(longer.max())
    return f"{low}" if low == high else f"{low} to {high}"
