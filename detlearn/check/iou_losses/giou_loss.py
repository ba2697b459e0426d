"""Exercise 6.1: GIoU as a loss."""

from __future__ import annotations

from torch import Tensor

from detlearn.boxes import enclosing_penalty, paired_iou
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.boxes import NEGATIVE_SIDES, draw_pair, show_pair
from detlearn.check.iou_losses import parts as bare
from detlearn.check.iou_losses.parts import (
    CROSSED,
    DIAGONAL,
    DIVISION,
    EPS,
    OVERLAPPING,
    common,
    loss_of,
    with_hand_cases,
)
from detlearn.losses import giou_loss


def _giou_unclamped(a: Tensor, b: Tensor) -> Tensor:
    w, h = bare.shared(a, b)
    union, (cw, ch) = bare.area(a) + bare.area(b) - w * h, bare.enclosing(a, b)
    return 1 - w * h / (union + EPS) + (cw * ch - union) / (cw * ch + EPS)


def _giou_bare(a: Tensor, b: Tensor) -> Tensor:
    w, h = (side.clamp(min=0) for side in bare.shared(a, b))
    union, (cw, ch) = bare.area(a) + bare.area(b) - w * h, bare.enclosing(a, b)
    return 1 - w * h / union + (cw * ch - union) / (cw * ch)


def _inner_box(a: Tensor, b: Tensor) -> Tensor:
    w, h = bare.shared(a, b)
    return (w * h - bare.union(a, b)) / (w * h + EPS)


def _over_union(a: Tensor, b: Tensor) -> Tensor:
    union = bare.union(a, b)
    return (bare.enclosing_area(a, b) - union) / (union + EPS)


def _minus_intersection(a: Tensor, b: Tensor) -> Tensor:
    return 1 - bare.intersection(a, b) / (bare.enclosing_area(a, b) + EPS)


def _sum_of_areas(a: Tensor, b: Tensor) -> Tensor:
    union, c = bare.area(a) + bare.area(b), bare.enclosing_area(a, b)
    return 1 - bare.intersection(a, b) / (union + EPS) + (c - union) / (c + EPS)


GIOU_LOSS = Exercise(
    number="6.1",
    name="giou_loss",
    reference=giou_loss,
    cases=with_hand_cases(
        (*OVERLAPPING, [1 - 8 / 24], "two boxes side by side that share a third"),
        (*DIAGONAL, [1 + 22 / 30], "two boxes that lie apart, diagonally"),
        (*CROSSED, [1 - 100 / 700 + 900 / 1600], "a wide and a tall box with one centre"),
    ),
    misconceptions=(
        Misconception(NEGATIVE_SIDES, _giou_unclamped),
        *common(bare.enclosing_penalty, "the GIoU loss"),
        Misconception(
            "the penalty is (C − U) / C; yours is divided by the union U, not by C, the area of "
            "the enclosing box",
            loss_of(_over_union),
        ),
        Misconception(
            "the penalty is (C − U) / C with the union U; yours subtracts the intersection from C",
            loss_of(_minus_intersection),
        ),
        Misconception(
            "the penalty (C − U) / C is the share of the enclosing box that neither box covers; "
            "yours is U / C, the share that they do cover",
            loss_of(lambda a, b: bare.union(a, b) / (bare.enclosing_area(a, b) + EPS)),
        ),
        Misconception(
            "your enclosing box is the intersection: it reaches from the smaller of the two left "
            "edges to the larger of the two right ones, so min and max are exchanged",
            loss_of(_inner_box),
        ),
        Misconception(
            "the GIoU is negative for boxes that lie apart; you cut it off at zero, and with it "
            "the gradient that moves such boxes",
            lambda a, b: 1 - (1 - giou_loss(a, b)).clamp(min=0),
        ),
        Misconception(
            "the union is the sum of the two areas minus the intersection, which you count twice",
            _sum_of_areas,
        ),
        Misconception(DIVISION, _giou_bare),
    ),
    returns=("the loss",),
    draw=draw_pair,
    narrow=show_pair,
    solution=(giou_loss, enclosing_penalty, paired_iou),
    allowed=frozenset({"box_area", "paired_iou"}),
)
