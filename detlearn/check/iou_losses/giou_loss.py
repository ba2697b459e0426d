"""Exercise 6.1: GIoU as a loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import (
    box_area,
    enclosing_penalty,
    enclosing_size,
    intersection_and_union,
    paired_iou,
    ratio,
)
from detlearn.check.boxes import NEGATIVE_SIDES
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.iou_losses import parts as bare
from detlearn.check.iou_losses.parts import (
    CROSSED,
    DIAGONAL,
    DIVISION,
    EPS,
    ONE_EXTREME,
    OVERLAPPING,
    PLUS_ONE,
    SHARES,
    SHARES_APART,
    Loss,
    Sides,
    at_least_one,
    common,
    draw_pair,
    grown,
    loss_of,
    show_pair,
    with_hand_cases,
)
from detlearn.losses import at_least_float32, giou_loss, reduce_loss


def _unclamped(a: Tensor, b: Tensor) -> Tensor:
    """Return the loss with the same wrong intersection in the IoU and in the penalty."""
    w, h = bare.shared(a, b)
    union = bare.area(a) + bare.area(b) - w * h
    c = bare.enclosing_area(a, b)
    return 1 - w * h / (union + EPS) + (c - union) / (c + EPS)


def _without_epsilon(a: Tensor, b: Tensor) -> Tensor:
    union, c = bare.union(a, b), bare.enclosing_area(a, b)
    return 1 - bare.intersection(a, b) / union + (c - union) / c


def _penalty_around(sides: Callable[[Tensor, Tensor], Sides]) -> Loss:
    """Return GIoU's penalty with another enclosing box."""

    def penalty(a: Tensor, b: Tensor) -> Tensor:
        w, h = sides(a, b)
        return (w * h - bare.union(a, b)) / (w * h + EPS)

    return penalty


def _clamped_shared(a: Tensor, b: Tensor) -> Sides:
    w, h = bare.shared(a, b)
    return w.clamp(min=0), h.clamp(min=0)


def _over_union(a: Tensor, b: Tensor) -> Tensor:
    union = bare.union(a, b)
    return (bare.enclosing_area(a, b) - union) / (union + EPS)


def _over_one(a: Tensor, b: Tensor, iou: Tensor) -> Tensor:
    c = bare.enclosing_area(a, b)
    return (c - bare.union(a, b)) / c.clamp(min=1)


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
        (OVERLAPPING, 1 - 8 / 24),
        (DIAGONAL, 1 + 22 / 30),
        (CROSSED, 1 - 100 / 600 + 600 / 1200),
        (SHARES, 1 - 0.08 / 0.24),
        (SHARES_APART, 1 + 0.17 / 0.25),
    ),
    misconceptions=(
        Misconception(NEGATIVE_SIDES, _unclamped),
        *common(bare.enclosing_penalty, "the GIoU loss"),
        Misconception(
            ONE_EXTREME,
            loss_of(_penalty_around(lambda a, b: bare.size(torch.max(a, b)))),
            loss_of(_penalty_around(lambda a, b: bare.size(torch.min(a, b)))),
        ),
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
            "the empty part of the enclosing box is not yet a share: divide C − U by C, so that "
            "the size of the boxes does not matter",
            loss_of(lambda a, b: bare.enclosing_area(a, b) - bare.union(a, b)),
        ),
        Misconception(
            "your enclosing box is the intersection, as min and max are exchanged: it should reach "
            "from the smaller of the two left edges to the larger of the two right ones",
            loss_of(_penalty_around(bare.shared)),
            loss_of(_penalty_around(_clamped_shared)),
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
        at_least_one(lambda a, b, iou: bare.enclosing_penalty(a, b), _over_one),
        Misconception(PLUS_ONE, lambda a, b: giou_loss(grown(a), grown(b))),
        Misconception(DIVISION, _without_epsilon),
    ),
    returns=("the loss",),
    draw=draw_pair,
    narrow=show_pair,
    solution=(
        giou_loss,
        paired_iou,
        enclosing_penalty,
        intersection_and_union,
        enclosing_size,
        box_area,
        ratio,
        at_least_float32,
        reduce_loss,
    ),
    allowed=frozenset({"box_area", "paired_iou"}),
)
