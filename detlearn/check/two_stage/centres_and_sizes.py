"""Boxes as centres and sizes, right and misread: what the exercises about deltas have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from detlearn.check.engine.cases import Case, Fault

# Hints that both exercises need.
CORNERS = "the boxes are corners x1, y1, x2, y2, not corner and size"
CENTRED = "the boxes are corners x1, y1, x2, y2, not centre and size"
STACKED = "the result has four rows; it needs four columns, (N, 4): stack along the last dimension"


def centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return centres and sizes, (N, 2) each, of boxes (N, 4) xyxy."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]


def corners(centre: Tensor, size: Tensor) -> Tensor:
    """Return boxes (N, 4) xyxy of centres and sizes, (N, 2) each."""
    return torch.cat((centre - size / 2, centre + size / 2), dim=1)


# ---- the same with a mistake in it ----


def corner_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Take the upper left corner for the centre."""
    return boxes[:, :2], boxes[:, 2:] - boxes[:, :2]


def half_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Take half the size for the centre: the left edge is not added."""
    return (boxes[:, 2:] - boxes[:, :2]) / 2, boxes[:, 2:] - boxes[:, :2]


def misread_xywh(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Take the corners for corner and size."""
    return boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]


def misread_cxcywh(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Take the corners for centre and size."""
    return boxes[:, :2], boxes[:, 2:]


# ---- which pair a fault is about ----


def failing_row(case: Case, found: Fault) -> int | None:
    """Return the index of the pair that a fault is about; None if there are no pairs."""
    number = len(case.args[0])
    if number == 0:
        return None
    return min(found.index[0] if found.index else 0, number - 1)
