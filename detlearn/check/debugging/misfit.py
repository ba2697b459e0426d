"""Exercise 8.7: boxes that fit ever worse, while the number that says so falls."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.boxes import NEGATIVE_SIDES, boxes_of, random_pairs
from detlearn.check.debugging.causes import against
from detlearn.check.engine import Hunt, Misconception
from detlearn.check.engine.cases import Case

Function = Callable[[Tensor, Tensor], Tensor]


def misfit(pred_boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """Return how badly each predicted box fits its object's: 1 − IoU.

    Args:
        pred_boxes: (M, 4) xyxy in pixels.
        gt_boxes: (M, 4), the box that each of them should be.

    Returns:
        (M,) in [0, 1]: 0 for two equal boxes, 1 for two that share nothing.
    """
    left_top = torch.maximum(pred_boxes[:, :2], gt_boxes[:, :2])
    right_bottom = torch.minimum(pred_boxes[:, 2:], gt_boxes[:, 2:])
    shared = (right_bottom - left_top).clamp(min=0).prod(dim=1)  # (M,)

    # What both cover lies in either area, and counts once.
    pred_area = (pred_boxes[:, 2:] - pred_boxes[:, :2]).prod(dim=1)
    gt_area = (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1)
    covered = pred_area + gt_area - shared
    return 1 - shared / covered.clamp(min=1e-7)  # boxes without area do no harm


# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    unit = (0.0, 0, 10, 10)
    beside = _hand([(0, 0, 4, 4), unit], [(2, 0, 6, 4), (0, 5, 10, 15)], [2 / 3, 2 / 3])
    around = _hand([(0, 0, 20, 20), (0, 0, 10, 40)], [(5, 5, 15, 15), unit], [0.75, 0.75])
    within = _hand([(2, 2, 7, 7), (0, 0, 10, 1)], [unit, unit], [0.75, 0.9])
    others = _hand([unit, unit], [unit, (10, 10, 20, 30)], [0.0, 1.0])

    pairs = random_pairs(12, random)
    far = boxes_of((0, 0, 4, 4), (50, 3, 60, 9)), boxes_of((9, 9, 20, 20), (5, 30, 40, 44))
    no_boxes = torch.zeros(0, 4)
    flat = boxes_of((5, 5, 5, 9), (0, 0, 0, 0)), boxes_of(unit, (0, 0, 0, 0))

    return [
        Case("by hand", beside[:2], "two pairs, one beside the other", beside[2]),
        Case("by hand", around[:2], "two predictions around their objects", around[2]),
        Case("by hand", within[:2], "two predictions within their objects", within[2]),
        Case("by hand", others[:2], "equal boxes, and boxes that touch in a corner", others[2]),
        Case("degenerate", (no_boxes, no_boxes), "no boxes"),
        Case("degenerate", far, "boxes that lie apart"),
        Case("degenerate", flat, "boxes without area", only_finite=True),
        Case("random", pairs, "twelve pairs"),
        Case("random", tuple(b / 100 for b in pairs), "the same in shares of the image"),
        Case("random", random_pairs(30, random), "30 pairs"),
        Case("gradient", pairs, "twelve pairs, gradient included", gradient=True),
        Case("gradient", around[:2], "predictions around their objects, with it", gradient=True),
    ]


def _hand(pred: list, gt: list, wanted: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    return boxes_of(*pred), boxes_of(*gt), torch.tensor(wanted)


# ---- wrong answers ----

LEAST = 1e-7  # of what is divided by


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)


def _shared(pred: Tensor, gt: Tensor, limit: float = 0) -> Tensor:
    sides = torch.minimum(pred[:, 2:], gt[:, 2:]) - torch.maximum(pred[:, :2], gt[:, :2])
    return sides.clamp(min=limit).prod(dim=1)


def _over(of: Callable[[Tensor, Tensor, Tensor], Tensor], limit: float = 0) -> Function:
    """Return the function that divides by something else; its arguments: two areas, the shared."""

    def function(pred: Tensor, gt: Tensor) -> Tensor:
        shared = _shared(pred, gt, limit)
        return 1 - shared / of(_area(pred), _area(gt), shared).clamp(min=LEAST)

    return function


def _enclosing(pred: Tensor, gt: Tensor) -> Tensor:
    return _area(torch.cat((torch.minimum(pred, gt)[:, :2], torch.maximum(pred, gt)[:, 2:]), dim=1))


def _giou(pred: Tensor, gt: Tensor) -> Tensor:
    covered = _area(pred) + _area(gt) - _shared(pred, gt)
    around = _enclosing(pred, gt)
    return misfit(pred, gt) + (around - covered) / around.clamp(min=LEAST)


def _of_one_more_pixel(pred: Tensor, gt: Tensor) -> Tensor:
    more = torch.tensor([0.0, 0, 1, 1])
    return misfit(pred + more, gt + more)


MISCONCEPTIONS = (
    Misconception(
        "that is the broken function still: what does it say of a box that covers the whole image?",
        _over(lambda p, g, shared: g),
    ),
    Misconception(
        "now a box within its object is always the best: what does it say of one of a single "
        "pixel?",
        _over(lambda p, g, shared: p),
    ),
    Misconception(
        "this divides by the smaller of the two areas: a box that lies within the other is as good "
        "as an equal one",
        _over(lambda p, g, shared: torch.minimum(p, g)),
    ),
    Misconception(
        "this divides by the larger of the two areas: what only the smaller box covers is "
        "forgotten",
        _over(lambda p, g, shared: torch.maximum(p, g)),
    ),
    Misconception(
        "what both boxes share lies in either area, so their sum has it twice",
        _over(lambda p, g, shared: p + g),
        _over(lambda p, g, shared: (p + g) / 2),
    ),
    Misconception(
        "this divides by what only one of the two boxes covers; what they share belongs to it, "
        "once",
        _over(lambda p, g, shared: p + g - 2 * shared),
    ),
    Misconception(
        NEGATIVE_SIDES,
        _over(lambda p, g, shared: p + g - shared, limit=-torch.inf),
    ),
    Misconception(
        "this is the fit, 1 for equal boxes; asked is the misfit, 0 for them",
        lambda pred, gt: 1 - misfit(pred, gt),
        lambda pred, gt: misfit(pred, gt) - 1,
    ),
    Misconception(
        "this is GIoU's, which also charges the gap between two boxes; asked is the one without",
        _giou,
    ),
    Misconception(
        "this divides by the box around both, not by what the two cover",
        lambda pred, gt: 1 - _shared(pred, gt) / _enclosing(pred, gt).clamp(min=LEAST),
    ),
    Misconception(
        "coordinates are continuous: a side is x2 − x1, without a pixel more",
        _of_one_more_pixel,
    ),
    Misconception(
        "this is one number; asked is one for each pair",
        lambda pred, gt: misfit(pred, gt).mean(),
        lambda pred, gt: misfit(pred, gt).sum(),
    ),
    Misconception(
        "the numbers are right, and no gradient reaches the predicted boxes: nothing can be learnt "
        "from it",
        lambda pred, gt: misfit(pred, gt).detach(),
    ),
    Misconception(
        "this is a difference of coordinates in pixels; it is to be a share of areas, in [0, 1]",
        lambda pred, gt: (pred - gt).abs().sum(dim=1),
        lambda pred, gt: (pred - gt).abs().mean(dim=1),
    ),
)

MISFIT = Hunt(
    number="8.7",
    name="misfit",
    reference=misfit,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the misfit",),
    counted="pairs",
    allowed=frozenset({"box_area", "box_iou", "paired_iou"}),
    cause="loss",
    causes=against(
        annotations="the other training reads the same files, and its boxes fit",
        augmentation="images come as they are, and so do their boxes, in both trainings",
        targets="in both trainings the same places learn the same objects: compare what assign "
        "returns",
        learning_rate="both trainings have the same steps; give his half the rate, and the boxes "
        "are as large",
        averaged_weights="nothing is averaged in either training",
        decoding="ask the map itself, before anything is decoded: which box does the place at the "
        "middle of an object predict?",
        evaluation="the objects themselves, given in as detections, have an AP of 1",
    ),
)
