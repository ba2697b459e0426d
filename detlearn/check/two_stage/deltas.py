"""What the exercises about deltas share: parts of boxes, hints, how a failing pair is shown."""

from __future__ import annotations

import torch
from torch import Tensor

from detlearn.check.engine.boxes import row
from detlearn.check.engine.cases import Case, Fault

CORNERS = "the boxes are corners x1, y1, x2, y2, not corner and size"
CENTRED = "the boxes are corners x1, y1, x2, y2, not centre and size"
STACKED = "the result has four rows; it needs four columns, (N, 4): stack along the last dimension"


def centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sizes, (N, 2) each."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]


def corner_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Upper left corners and sizes, (N, 2) each."""
    return boxes[:, :2], boxes[:, 2:] - boxes[:, :2]


def half_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Half the size in place of the centre, and the size."""
    return (boxes[:, 2:] - boxes[:, :2]) / 2, boxes[:, 2:] - boxes[:, :2]


def misread_xywh(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sizes of corners that are taken for corner and size."""
    return boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]


def misread_cxcywh(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sizes of corners that are taken for centre and size."""
    return boxes[:, :2], boxes[:, 2:]


def corners(centre: Tensor, size: Tensor) -> Tensor:
    """Boxes (N, 4) from centres and sizes."""
    return torch.cat((centre - size / 2, centre + size / 2), dim=1)


def failing_row(case: Case, found: Fault) -> int | None:
    """The index of the pair that a fault is about; None if there are no pairs."""
    number = len(case.args[0])
    return min(found.index[0] if found.index else 0, number - 1) if number else None


def show_row(case: Case, found: Fault, name: str) -> str:
    """One line of the first argument and the anchor that failed."""
    at = failing_row(case, found)
    return "" if at is None else f"{name} {row(case.args[0][at])}, anchor {row(case.args[1][at])}"
