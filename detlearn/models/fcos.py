"""FCOS: every location of the pyramid's maps votes for the object it lies in.

There are no anchors. A location inside an object predicts its class and its own distances to the
four sides of the object's box. Who learns which object is laid down by place and size: a location
near the object's centre, on the level that is meant for distances of this size; where several
objects remain, the smallest has it.

Shapes: B images; K classes; N objects; L levels; P locations, level after level, finest first, row
by row. Boxes are xyxy in pixels, distances are to the left, top, right and bottom side.

Source: "FCOS: Fully Convolutional One-Stage Object Detection" (Tian et al. 2019, arXiv 1904.01355).
"""

from __future__ import annotations

import torch
from torch import Tensor

from detlearn.boxes import ratio
from detlearn.models.yolov8 import boxes_to_distances

# ---- who learns what -----------------------------------------------------------------------------


def fcos_candidates(
    points: Tensor, boxes: Tensor, strides: Tensor | float, radius: float | None = 1.5
) -> Tensor:
    """Say which locations may learn which objects, by their place alone (centre sampling).

    The location lies inside the box, not on its border, and in both directions less than `radius`
    strides from its centre: in a square about the centre, cut off by the box.

    Args:
        points: (P, 2) where the locations stand, x and y in pixels.
        boxes: (..., N, 4) xyxy in pixels; N may be 0.
        strides: (P,) pixels from one location to the next, or one number for all.
        radius: half the square's side, in strides; None for the whole box.

    Returns:
        (..., P, N) bool.
    """
    x, y = points[:, None].unbind(dim=-1)  # (P, 1) twice
    x1, y1, x2, y2 = boxes[..., None, :, :].unbind(dim=-1)  # (..., 1, N) each

    inside = (x1 < x) & (x < x2) & (y1 < y) & (y < y2)  # (..., P, N)
    if radius is None:
        return inside

    from_centre = torch.maximum((x - (x1 + x2) / 2).abs(), (y - (y1 + y2) / 2).abs())
    reach = radius * torch.as_tensor(strides).to(points).view(-1, 1)  # (P, 1) or (1, 1)
    return inside & (from_centre < reach)


@torch.no_grad()
def fcos_targets(
    points: Tensor,
    strides: Tensor,
    size_ranges: Tensor,
    boxes: Tensor,
    *,
    radius: float | None = 1.5,
) -> tuple[Tensor, Tensor]:
    """Say which object each location learns, and its distances to that object's sides.

    A location may learn an object if it lies near its centre (`fcos_candidates`) and if the largest
    of its four distances lies in the range of its level, ends included (§3.2). Where several
    objects remain, the one of the smallest area has the location, of equal ones the first.

    Args:
        points: (P, 2) where the locations stand, x and y in pixels.
        strides: (P,) pixels from one location to the next.
        size_ranges: (P, 2) the least and the largest distance that each location's level is for, in
            pixels.
        boxes: (..., N, 4) xyxy in pixels; N may be 0. Images with fewer objects can be padded with
            boxes of zeros, in which no location lies.
        radius: see `fcos_candidates`.

    Returns:
        assigned: (..., P) int64, the object's index, or −1 for none.
        distances: (..., P, 4) to the object's left, top, right and bottom side, in strides; 0 where
            there is no object.
    """
    if boxes.shape[-2] == 0:
        distances = boxes.new_zeros(*boxes.shape[:-2], len(points), 4)
        return torch.full_like(distances[..., 0], -1, dtype=torch.int64), distances

    # Which objects has the location's level to do with?
    x, y = points[:, None].unbind(dim=-1)  # (P, 1) twice
    x1, y1, x2, y2 = boxes[..., None, :, :].unbind(dim=-1)  # (..., 1, N) each
    farthest = torch.maximum(torch.maximum(x - x1, x2 - x), torch.maximum(y - y1, y2 - y))
    low, high = size_ranges[:, None].unbind(dim=-1)  # (P, 1) twice
    candidates = fcos_candidates(points, boxes, strides, radius)  # (..., P, N)
    candidates = candidates & (low <= farthest) & (farthest <= high)

    # The smallest of them wins.
    area = ((x2 - x1) * (y2 - y1)).expand(candidates.shape)
    smallest, assigned = area.masked_fill(~candidates, torch.inf).min(dim=-1)  # (..., P) twice

    learnt = boxes.take_along_dim(assigned[..., None], dim=-2)  # (..., P, 4)
    distances = boxes_to_distances(points, learnt) / strides[:, None]
    nothing = smallest == torch.inf
    return assigned.masked_fill(nothing, -1), distances.masked_fill(nothing[..., None], 0)


def centerness(distances: Tensor) -> Tensor:
    """Say how central locations are: 1 in the middle of the box, 0 at its sides (equation 3).

        √(min(l, r) / max(l, r) · min(t, b) / max(t, b))

    Args:
        distances: (..., 4) to the left, top, right and bottom side, 0 or more, in any unit.

    Returns:
        (...) in [0, 1]; 0 where all distances are 0.
    """
    left, top, right, bottom = distances.unbind(dim=-1)
    horizontal = ratio(torch.minimum(left, right), torch.maximum(left, right))
    vertical = ratio(torch.minimum(top, bottom), torch.maximum(top, bottom))
    return (horizontal * vertical).sqrt()
