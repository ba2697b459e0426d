"""Boxes to ask about, and how a failing pair of them is shown."""

from __future__ import annotations

import torch
from torch import Tensor

from detlearn.boxes import box_iou
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault

Drawing = list[tuple[Tensor, str, str]]  # box, label, style

# A hint that several exercises need.
NEGATIVE_SIDES = (
    "your intersection of disjoint boxes is positive: both differences are negative and their "
    "product is not; clamp each of the two at zero"
)


def boxes_of(*rows: tuple[float, float, float, float]) -> Tensor:
    """Boxes (N, 4) from rows of four numbers."""
    return torch.tensor(rows, dtype=torch.float32).view(-1, 4)


def random_boxes(number: int, random: torch.Generator, size: float = 100.0) -> Tensor:
    """Boxes (N, 4) xyxy with sides from 4 pixels to a half of the image."""
    sides = 4 + (size / 2 - 4) * torch.rand(number, 2, generator=random)
    corners = torch.rand(number, 2, generator=random) * (size - sides)
    return torch.cat((corners, corners + sides), dim=1)


def random_pairs(number: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pairs of boxes (N, 4) that overlap, lie inside one another, or lie apart, a third each."""
    first = random_boxes(number, random)
    sides = (first[:, 2:] - first[:, :2]).repeat(1, 2)
    near = first + 0.4 * sides * (torch.rand(number, 4, generator=random) - 0.5)
    shrunk = torch.tensor([0.15, 0.2, -0.25, -0.1])
    inside = first + sides * shrunk * (0.5 + torch.rand(number, 4, generator=random))
    kind = torch.arange(number)[:, None] % 3
    far = random_boxes(number, random)
    return first, torch.where(kind == 0, near, torch.where(kind == 1, inside, far))


def row(box: Tensor) -> str:
    """A box as text."""
    return written(box)


def failing_pair(case: Case, found: Fault) -> tuple[Tensor, Tensor] | None:
    """The pair of boxes that a fault of a loss (N,) or of its gradient (N, 4) is about."""
    first, second = case.args[:2]
    if len(first) == 0:
        return None
    at = found.index[0] if found.index else 0
    return first[at], second[at]


def show_pair(case: Case, found: Fault) -> str:
    """The pair that failed, with its IoU."""
    pair = failing_pair(case, found)
    if pair is None:
        return ""
    at = found.index[0] if found.index else 0
    iou = float(box_iou(pair[0][None], pair[1][None]))
    boxes = f"pred_boxes[{at}] = {written(pair[0])}, target_boxes[{at}] = {written(pair[1])}"
    return f"{boxes}, their IoU {iou:.4f}"


def draw_pair(case: Case, found: Fault) -> Drawing:
    """The pair that failed, for the picture."""
    pair = failing_pair(case, found)
    return [] if pair is None else [(pair[0], "pred", "a"), (pair[1], "target", "b")]


def show_scored(case: Case, found: Fault) -> str:
    """Boxes and scores side by side, those of the first rows if there are too many to read."""
    boxes, scores = case.args[:2]
    if len(boxes) == 0:
        return ""
    part, more = ("", "") if len(boxes) <= 8 else ("[:4]", f", {len(boxes)} in all")
    most = 8 if len(boxes) <= 8 else 4
    listed = (f"boxes{part} = {written(boxes[:most])}", f"scores{part} = {written(scores[:most])}")
    return ", ".join(listed) + more


def draw_scored(case: Case, found: Fault) -> Drawing:
    """Boxes with index and score, unless there are too many to read."""
    boxes, scores = case.args[:2]
    if not 0 < len(boxes) <= 8:
        return []
    styles = "abc"
    return [
        (box, f"{i}: {float(score):.2f}", styles[i % 3])
        for i, (box, score) in enumerate(zip(boxes, scores))
    ]
