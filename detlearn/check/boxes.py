"""Boxes to ask about, and how those of a failing case are shown."""

from __future__ import annotations

import torch
from torch import Tensor

from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault

Drawing = list[tuple[Tensor, str, str]]  # box, label, style

READABLE = 8  # more boxes than this are neither listed nor drawn

# A hint that several exercises need.
NEGATIVE_SIDES = (
    "your intersection of disjoint boxes is positive: both differences are negative and their "
    "product is not; clamp each of the two at zero"
)


def boxes_of(*rows: tuple[float, float, float, float]) -> Tensor:
    """Return boxes (N, 4) from rows of four numbers."""
    return torch.tensor(rows, dtype=torch.float32).view(-1, 4)


def random_boxes(
    number: int, random: torch.Generator, size: float = 100.0, smallest: float = 4.0
) -> Tensor:
    """Return boxes (N, 4) xyxy inside a square image.

    Args:
        number: how many, N.
        random: where they come from.
        size: of the image, in pixels; 1 makes them shares of it.
        smallest: the shortest side; the longest is half the image's.
    """
    sides = smallest + (size / 2 - smallest) * torch.rand(number, 2, generator=random)
    corners = torch.rand(number, 2, generator=random) * (size - sides)
    return torch.cat((corners, corners + sides), dim=1)


def random_pairs(
    number: int, random: torch.Generator, size: float = 100.0, smallest: float = 4.0
) -> tuple[Tensor, Tensor]:
    """Return pairs of boxes (N, 4) that overlap, lie inside one another, or lie apart, in turn."""
    first = random_boxes(number, random, size, smallest)
    sides = (first[:, 2:] - first[:, :2]).repeat(1, 2)  # (N, 4): w, h, w, h

    near = first + 0.4 * sides * (torch.rand(number, 4, generator=random) - 0.5)
    shrunk = torch.tensor([0.15, 0.2, -0.25, -0.1])
    inside = first + sides * shrunk * (0.5 + torch.rand(number, 4, generator=random))
    far = random_boxes(number, random, size, smallest)

    kind = torch.arange(number)[:, None] % 3
    return first, torch.where(kind == 0, near, torch.where(kind == 1, inside, far))


def row(box: Tensor) -> str:
    """Return a box as text."""
    return written(box)


def show_scored(case: Case, found: Fault) -> str:
    """Return boxes and scores side by side, the first of them if there are too many to read."""
    boxes, scores = case.args[:2]
    if len(boxes) == 0:
        return ""

    if len(boxes) <= READABLE:
        return f"boxes = {written(boxes)}, scores = {written(scores)}"

    first = READABLE // 2
    return (
        f"boxes[:{first}] = {written(boxes[:first])}, "
        f"scores[:{first}] = {written(scores[:first])}, {len(boxes)} in all"
    )


def draw_scored(case: Case, found: Fault) -> Drawing:
    """Draw boxes with index and score, unless there are too many to read."""
    boxes, scores = case.args[:2]
    if not 0 < len(boxes) <= READABLE:
        return []

    styles = "abc"
    return [
        (box, f"{i}: {float(score):.2f}", styles[i % 3])
        for i, (box, score) in enumerate(zip(boxes, scores))
    ]
