"""Exercise 6.1: GIoU as a loss."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from detlearn.boxes import (
    box_area,
    enclosing_penalty,
    enclosing_size,
    intersection_and_union,
    paired_iou,
    ratio,
)
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.iou_losses import parts as bare
from detlearn.check.iou_losses.clues import OF_GIOU, clue_of_loss
from detlearn.check.iou_losses.parts import (
    CROSSED,
    DIAGONAL,
    DIVISION,
    ENCLOSING_MISTAKES,
    EPS,
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
    large_epsilon,
    loss_of,
    show_pair,
    with_hand_cases,
)
from detlearn.losses import at_least_float32, giou_loss, reduce_loss


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


def _penalty_of_diagonal(a: Tensor, b: Tensor) -> Tensor:
    c = bare.diagonal(a, b)
    return (c - bare.union(a, b)) / c


def _over_one(a: Tensor, b: Tensor, iou: Tensor) -> Tensor:
    c = bare.enclosing_area(a, b)
    return (c - bare.union(a, b)) / c.clamp(min=1)


def _minus_intersection(a: Tensor, b: Tensor) -> Tensor:
    return 1 - bare.intersection(a, b) / (bare.enclosing_area(a, b) + EPS)


def _penalty(a: Tensor, b: Tensor, iou: Tensor, union: Tensor) -> Tensor:
    """Return (C − U) / C with the union that is given."""
    c = bare.enclosing_area(a, b)
    return (c - union) / (c + EPS)


def _detached_enclosing(a: Tensor, b: Tensor) -> Tensor:
    c = bare.enclosing_area(a, b).detach()
    return (c - bare.union(a, b)) / (c + EPS)


def _over_intersection(a: Tensor, b: Tensor) -> Tensor:
    """Return (C − I) / U."""
    return (bare.enclosing_area(a, b) - bare.intersection(a, b)) / (bare.union(a, b) + EPS)


def _without_both_areas(a: Tensor, b: Tensor) -> Tensor:
    c = bare.enclosing_area(a, b)
    return (c - bare.area(a) - bare.area(b)) / (c + EPS)


def _with_epsilon(eps: float) -> Loss:
    def loss(a: Tensor, b: Tensor) -> Tensor:
        union, c = bare.union(a, b), bare.enclosing_area(a, b)
        return 1 - bare.intersection(a, b) / (union + eps) + (c - union) / (c + eps)

    return loss


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
        *common(_penalty, "GIoU"),
        *(
            Misconception(hint, *(loss_of(_penalty_around(sides)) for sides in wrong))
            for hint, wrong in ENCLOSING_MISTAKES
        ),
        Misconception(
            "C is the area of the smallest box around both; yours is the area of one of the two",
            loss_of(_penalty_around(lambda a, b: bare.size(a))),
            loss_of(_penalty_around(lambda a, b: bare.size(b))),
        ),
        Misconception(
            "C is the area of the enclosing box, w · h; yours is w² + h², its squared diagonal",
            loss_of(_penalty_of_diagonal),
        ),
        Misconception(
            "the union in C − U counts what both share once; you subtract the two whole areas",
            loss_of(_without_both_areas),
        ),
        Misconception(
            "the penalty is (C − U) / C; in yours the intersection stands for U above the line, "
            "and U for C below it",
            loss_of(_over_intersection),
        ),
        Misconception(
            "C must carry a gradient as well: the enclosing box changes with the prediction; only "
            "CIoU's α is a constant",
            loss_of(_detached_enclosing),
        ),
        large_epsilon(_with_epsilon),
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
        at_least_one(lambda a, b, iou: bare.enclosing_penalty(a, b), _over_one),
        Misconception(PLUS_ONE, lambda a, b: giou_loss(grown(a), grown(b))),
        Misconception(DIVISION, _without_epsilon),
    ),
    returns=("the loss",),
    draw=draw_pair,
    narrow=show_pair,
    clue=clue_of_loss(OF_GIOU),
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
