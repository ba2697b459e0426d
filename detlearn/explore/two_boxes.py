"""Two boxes to drag: the IoU and its relatives, as values, as losses, and as ways downhill."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from detlearn.boxes import box_iou, check_boxes, generalized_box_iou
from detlearn.explore.page import Explorable

SIZE = 100  # pixels of the square in which the boxes lie
LOSSES = ("iou", "giou", "diou", "ciou")


def two_boxes(
    pred_box: Sequence[float] = (10, 14, 44, 54),
    target_box: Sequence[float] = (34, 34, 84, 68),
    loss: str = "giou",
) -> Explorable:
    """Return the figure of two boxes that a reader drags.

    It shows IoU, GIoU, DIoU and CIoU with their parts, the four losses with the slope at each side
    of the predicted box, and lets that box descend under one of them. The numbers are those of
    `detlearn.boxes` and `detlearn.losses`.

    Args:
        pred_box: the predicted box at the beginning, xyxy in [0, 100].
        target_box: the true box at the beginning.
        loss: the one chosen at the beginning: "iou", "giou", "diou" or "ciou".

    Raises:
        ValueError: for boxes that are no four numbers in [0, 100] in order, or an unknown loss.
    """
    boxes = {"pred": _checked("pred_box", pred_box), "target": _checked("target_box", target_box)}
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}: expected one of {', '.join(LOSSES)}")

    return Explorable(
        name="two_boxes",
        title="Two boxes to drag, and what the IoU and its relatives say of them",
        description=(
            "A predicted box and a true box on a grid. Both can be moved, and their corners too, "
            "by mouse, finger or arrow keys. Below them stand IoU, GIoU, DIoU and CIoU, worked "
            "out, with their losses. Arrows on the predicted box show where a step downhill moves "
            "each side; a button lets the box descend."
        ),
        data={**boxes, "loss": loss, "size": SIZE},
        still=_still(boxes["pred"], boxes["target"]),
    )


def _checked(name: str, box: Sequence[float]) -> list[float]:
    """Return a box as plain numbers, or say what is wrong with it."""
    numbers = [float(number) for number in box]
    check_boxes(torch.tensor(numbers), name)

    x1, y1, x2, y2 = numbers
    if not (0 <= x1 <= x2 <= SIZE and 0 <= y1 <= y2 <= SIZE):
        raise ValueError(f"{name} must lie in [0, {SIZE}], first corner first, got {numbers}")
    return numbers


def _still(pred: list[float], target: list[float]) -> str:
    """Draw the two boxes, with two numbers, for where no script runs."""
    first, second = torch.tensor([pred]).double(), torch.tensor([target]).double()
    iou = float(box_iou(first, second))
    giou = float(generalized_box_iou(first, second))

    grid = "".join(
        f'<path d="M{at} 0V{SIZE}M0 {at}H{SIZE}" opacity=".2"/>' for at in range(0, SIZE + 1, 20)
    )
    solid, dashed = (_rectangle(box) for box in (pred, target))
    return f"""\
<svg viewBox="-2 -2 {SIZE + 4} {SIZE + 18}" width="340" role="img" aria-label="A predicted box, \
solid, and a true box, dashed">
<g fill="none" stroke="currentColor" stroke-width=".4">{grid}
<path d="{solid}" stroke-width="1.2"/><path d="{dashed}" stroke-width=".8" stroke-dasharray="3 2"/>
</g><g style="font-size:5px"><text x="0" y="{SIZE + 8}" style="font-size:inherit">solid: the \
predicted box, dashed: the true one</text><text x="0" y="{SIZE + 15}" style="font-size:inherit">\
IoU {iou:.2f}, GIoU {giou:.2f}</text></g></svg>"""


def _rectangle(box: list[float]) -> str:
    x1, y1, x2, y2 = box
    return f"M{x1:g} {y1:g}H{x2:g}V{y2:g}H{x1:g}Z"
