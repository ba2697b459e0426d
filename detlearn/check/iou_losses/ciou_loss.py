"""Exercise 6.3: CIoU as a loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import (
    aspect_angle,
    aspect_penalty,
    box_area,
    distance_penalty,
    enclosing_size,
    intersection_and_union,
    paired_iou,
    ratio,
)
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.iou_losses import parts as bare
from detlearn.check.iou_losses.clues import OF_CIOU, clue_of_loss
from detlearn.check.iou_losses.diou_loss import (
    DISTANCE_MISTAKES,
    over_one,
    without_epsilon,
)
from detlearn.check.iou_losses.parts import (
    CROSSED,
    DIAGONAL,
    DIVISION,
    EPS,
    OVERLAPPING,
    PLUS_ONE,
    SHARES,
    THICKER,
    Loss,
    at_least_one,
    common,
    draw_pair,
    grown,
    large_epsilon,
    loss_of,
    show_pair,
    with_hand_cases,
)
from detlearn.losses import at_least_float32, ciou_loss, diou_loss, reduce_loss

# ---- CIoU with something changed ----


def _ciou(weighted: Loss) -> Loss:
    """Return the loss with another αv."""
    return lambda a, b: 1 - bare.iou(a, b) + distance_penalty(a, b) + weighted(a, b)


def _with_gap(gap: Loss) -> Loss:
    """Return the loss with another v."""

    def weighted(a: Tensor, b: Tensor) -> Tensor:
        v = gap(a, b)
        alpha = v / (1 - bare.iou(a, b) + v + EPS)
        return alpha.detach() * v

    return _ciou(weighted)


def _with_angles(difference: Loss) -> Loss:
    """Return the loss with another difference of the two angles."""
    return _with_gap(lambda a, b: 4 / math.pi**2 * difference(a, b) ** 2)


def _with_alpha(alpha: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Return the loss with another α, a function of the IoU and v."""

    def weighted(a: Tensor, b: Tensor) -> Tensor:
        v = bare.shape_gap(a, b)
        return alpha(bare.iou(a, b), v).detach() * v

    return _ciou(weighted)


def _with_distance(penalty: Loss) -> Loss:
    """Return the loss with another distance term."""
    return lambda a, b: 1 - bare.iou(a, b) + penalty(a, b) + _aspect(a, b)


def _aspect(a: Tensor, b: Tensor) -> Tensor:
    return aspect_penalty(a, b, bare.iou(a, b))


# ---- what is changed ----


def _penalty(a: Tensor, b: Tensor, iou: Tensor, union: Tensor) -> Tensor:
    """Return ρ² / c² + αv with the IoU that is given."""
    return distance_penalty(a, b) + aspect_penalty(a, b, iou)


def _with_epsilon(eps: float) -> Loss:
    def loss(a: Tensor, b: Tensor) -> Tensor:
        iou = bare.intersection(a, b) / (bare.union(a, b) + eps)
        w, h = bare.enclosing(a, b)
        distance = bare.centre_distance(a, b) / (w**2 + h**2 + eps)
        v = bare.shape_gap(a, b)
        return 1 - iou + distance + (v / (1 - iou + v + eps)).detach() * v

    return loss


def _alpha(a: Tensor, b: Tensor) -> Tensor:
    v = bare.shape_gap(a, b)
    return v / (1 - bare.iou(a, b) + v + EPS)


def _with_attached_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return αv where only the v in α is a constant."""
    v = bare.shape_gap(a, b)
    return v.detach() / (1 - bare.iou(a, b) + v.detach() + EPS) * v


def _with_attached_gap(a: Tensor, b: Tensor) -> Tensor:
    """Return αv where only the IoU in α is a constant."""
    v = bare.shape_gap(a, b)
    return v / (1 - bare.iou(a, b).detach() + v + EPS) * v


def _gated(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(bare.iou(a, b) > 0.5, _aspect(a, b), 0.0)


def _alpha_with_diou(a: Tensor, b: Tensor) -> Tensor:
    v = bare.shape_gap(a, b)
    return (v / (diou_loss(a, b) + v + EPS)).detach() * v


def _gap_without_epsilon(a: Tensor, b: Tensor) -> Tensor:
    (w1, h1), (w2, h2) = bare.size(a), bare.size(b)
    return 4 / math.pi**2 * (torch.atan(w1 / h1) - torch.atan(w2 / h2)) ** 2


def _ciou_without_epsilon(a: Tensor, b: Tensor) -> Tensor:
    iou = bare.intersection(a, b) / bare.union(a, b)
    v = _gap_without_epsilon(a, b)
    return without_epsilon(a, b) + (v / (1 - iou + v)).detach() * v


def _difference_of_ratios(a: Tensor, b: Tensor) -> Tensor:
    (w1, h1), (w2, h2) = bare.size(a), bare.size(b)
    return w1 / (h1 + EPS) - w2 / (h2 + EPS)


def _angle_of_the_difference(a: Tensor, b: Tensor) -> Tensor:
    return torch.atan(_difference_of_ratios(a, b))


def _angles_of_mixed_sides(a: Tensor, b: Tensor) -> Tensor:
    (w1, h1), (w2, h2) = bare.size(a), bare.size(b)
    return torch.atan(w1 / (h2 + EPS)) - torch.atan(w2 / (h1 + EPS))


def _angles_of_like_sides(a: Tensor, b: Tensor) -> Tensor:
    (w1, h1), (w2, h2) = bare.size(a), bare.size(b)
    return torch.atan(w1 / (w2 + EPS)) - torch.atan(h1 / (h2 + EPS))


def _scaled_gap(factor: float) -> Loss:
    """Return v with another factor before the square."""
    return lambda a, b: factor * (aspect_angle(a) - aspect_angle(b)) ** 2


def _difference_of(angle: Callable[[Tensor], Tensor]) -> Loss:
    """Return the difference of the shapes with another function of w / h."""

    def difference(a: Tensor, b: Tensor) -> Tensor:
        (w1, h1), (w2, h2) = bare.size(a), bare.size(b)
        return angle(w1 / (h1 + EPS)) - angle(w2 / (h2 + EPS))

    return difference


def _difference_of_areas(a: Tensor, b: Tensor) -> Tensor:
    return torch.atan(bare.area(a)) - torch.atan(bare.area(b))


def _root_of_the_gap(a: Tensor, b: Tensor) -> Tensor:
    """Return 4/π² |difference|, with a finite slope where the shapes are equal."""
    return (bare.shape_gap(a, b).clamp(min=1e-14) * 4 / math.pi**2).sqrt()


def _sum_of_angles(a: Tensor, b: Tensor) -> Tensor:
    return aspect_angle(a) + aspect_angle(b)


# Pairs called by what matters here: two squares have the same shape, and v is 0.
SQUARES = OVERLAPPING._replace(note="two squares side by side that share a third")
SQUARES_APART = DIAGONAL._replace(note="two squares that lie apart, diagonally")
SMALL_SQUARES = SHARES._replace(note="two squares inside [0, 1]")

V = 4 / math.pi**2 * (math.atan(4) - math.atan(1 / 3)) ** 2  # of the crossed boxes
V_THICKER = 4 / math.pi**2 * (math.atan(4) - math.atan(2.5)) ** 2

CIOU_LOSS = Exercise(
    number="6.3",
    name="ciou_loss",
    reference=ciou_loss,
    cases=with_hand_cases(
        (SQUARES, 1 - 8 / 24 + 4 / 52),
        (SQUARES_APART, 1 + 25 / 61),
        (CROSSED, 5 / 6 + V**2 / (5 / 6 + V)),
        (THICKER, 3 / 8 + 9 / 1856 + V_THICKER**2 / (3 / 8 + V_THICKER)),
        (SMALL_SQUARES, 1 - 0.08 / 0.24 + 0.04 / 0.52),
    ),
    misconceptions=(
        Misconception(
            "your α is zero unless the IoU exceeds 0.5: that gate is in the authors' later code; "
            "the paper, and this exercise, have none",
            _ciou(_gated),
        ),
        Misconception(
            "the values are right, the gradient is not: α is a weight and must carry none; compute "
            "it under torch.no_grad() or detach it",
            _ciou(lambda a, b: _alpha(a, b) * bare.shape_gap(a, b)),
            _ciou(_with_attached_iou),
            _ciou(_with_attached_gap),
        ),
        Misconception(
            "v is normalised by 4/π², so that it lies between 0 and 1; the factor is missing",
            _with_gap(lambda a, b: bare.shape_gap(a, b) * math.pi**2 / 4),
        ),
        Misconception(
            "v compares angles, atan(w / h), not the ratios themselves",
            _with_gap(lambda a, b: _difference_of_ratios(a, b) ** 2),
            _with_angles(_difference_of_ratios),
        ),
        Misconception(
            "take the arctangent of each ratio and then the difference; yours is the arctangent of "
            "the difference",
            _with_angles(_angle_of_the_difference),
        ),
        Misconception(
            "each angle belongs to one box, atan(w / h) of the prediction and atan(w / h) of the "
            "target; yours mix the sides of the two",
            _with_angles(_angles_of_mixed_sides),
            _with_angles(_angles_of_like_sides),
        ),
        Misconception(
            "v is made of the difference of the two angles; yours adds them",
            _with_angles(_sum_of_angles),
        ),
        Misconception(
            "v is the square of the difference of the two angles; the square is missing",
            _with_gap(_root_of_the_gap),
        ),
        Misconception(
            "torch.atan gives radians, and the factor 4/π² is made for them, not for degrees",
            _with_gap(lambda a, b: bare.shape_gap(a, b) * (180 / math.pi) ** 2),
        ),
        Misconception(
            "the factor of v is 4/π² with π squared; yours is 4/π",
            _with_gap(lambda a, b: bare.shape_gap(a, b) * math.pi),
        ),
        *(
            Misconception(
                f"the factor of v is 4/π², which is (2/π)²; yours is {wrong}",
                _with_gap(_scaled_gap(factor)),
            )
            for wrong, factor in (
                ("(4/π)²", 16 / math.pi**2),
                ("2/π²", 2 / math.pi**2),
                ("1/π²", 1 / math.pi**2),
                ("2/π", 2 / math.pi),
                ("π²/4, its reciprocal", math.pi**2 / 4),
                ("4π²", 4 * math.pi**2),
            )
        ),
        Misconception(
            "both angles are atan(w / h); one of yours is atan(h / w)",
            _with_angles(lambda a, b: aspect_angle(a) + aspect_angle(b) - math.pi / 2),
        ),
        Misconception(
            "the arctangent of w / h is torch.atan(w / h) or torch.atan2(w, h); yours is the "
            "tangent",
            _with_angles(_difference_of(torch.tan)),
        ),
        Misconception(
            "v compares the shapes, w / h; yours compares the areas, w · h",
            _with_angles(_difference_of_areas),
        ),
        Misconception(
            "the square is of the difference of the angles alone; the factor 4/π² stands before it",
            _with_gap(lambda a, b: bare.shape_gap(a, b) * 4 / math.pi**2),
        ),
        Misconception(
            "your α carries the gradient and v none; it is the other way round: α is detached, v "
            "is not",
            _ciou(lambda a, b: _alpha(a, b) * bare.shape_gap(a, b).detach()),
        ),
        Misconception(
            "v must carry a gradient; only its weight α is a constant",
            _ciou(lambda a, b: _aspect(a, b).detach()),
        ),
        Misconception(
            "a height of zero makes w / h infinite or not a number, and its gradient NaN: add an "
            "epsilon to h, or use torch.atan2(w, h)",
            _with_gap(_gap_without_epsilon),
        ),
        Misconception(
            "α is v / (1 − IoU + v); yours has a 1 above the line",
            _with_alpha(lambda iou, v: 1 / (1 - iou + v + EPS)),
        ),
        Misconception("the weight α is missing: the penalty is α · v", _ciou(bare.shape_gap)),
        Misconception(
            "the factor v is missing: the penalty is α · v",
            _ciou(_alpha),
            _ciou(lambda a, b: _alpha(a, b).detach()),
        ),
        Misconception(
            "α is v / (1 − IoU + v); yours has the IoU where 1 − IoU belongs",
            _with_alpha(lambda iou, v: v / (iou + v + EPS)),
        ),
        Misconception(
            "α is v / (1 − IoU + v); yours has 1 − IoU above the line, so that it falls where the "
            "shapes differ",
            _with_alpha(lambda iou, v: (1 - iou) / (1 - iou + v + EPS)),
        ),
        Misconception(
            "α is v / (1 − IoU + v); yours has 1 + IoU there",
            _with_alpha(lambda iou, v: v / (1 + iou + v + EPS)),
        ),
        Misconception(
            "α is v / (1 − IoU + v); yours subtracts v below the line",
            _with_alpha(lambda iou, v: v / (1 - iou - v + EPS)),
        ),
        Misconception(
            "α is v / (1 − IoU + v); the IoU in its denominator is missing",
            _with_alpha(lambda iou, v: v / (1 + v + EPS)),
        ),
        Misconception(
            "α is v / (1 − IoU + v); yours is IoU / (1 − IoU + v)",
            _with_alpha(lambda iou, v: iou / (1 - iou + v + EPS)),
        ),
        Misconception(
            "the penalty is α · v; yours is α · v²",
            _ciou(lambda a, b: _alpha(a, b).detach() * bare.shape_gap(a, b) ** 2),
        ),
        Misconception(
            "the penalty is α · v; yours is α² · v",
            _ciou(lambda a, b: _alpha(a, b).detach() ** 2 * bare.shape_gap(a, b)),
        ),
        Misconception(
            "α · v is added for every pair; yours is zero where the boxes share nothing",
            _ciou(lambda a, b: torch.where(bare.iou(a, b) > 0, _aspect(a, b), 0.0)),
        ),
        Misconception(
            "α is v / ((1 − IoU) + v), with brackets around the sum; yours divides by 1 alone",
            _with_alpha(lambda iou, v: v - iou + v),
        ),
        Misconception(
            "α is v / ((1 − IoU) + v), the whole sum below the line; yours divides by 1 − IoU and "
            "then adds v",
            _with_alpha(lambda iou, v: v / (1 - iou + EPS) + v),
        ),
        Misconception(
            "α is v / (1 − IoU + v); the v in its denominator is missing",
            _with_alpha(lambda iou, v: v / (1 - iou + EPS)),
        ),
        Misconception(
            "α is v / (1 − IoU + v) with the plain IoU; yours has the DIoU there",
            _ciou(_alpha_with_diou),
        ),
        Misconception(
            "the shape is right, the place is not: CIoU is DIoU with a third term, and ρ² / c² is "
            "missing",
            loss_of(_aspect),
        ),
        Misconception(
            "the third term has the wrong sign: a different shape raises the loss",
            _ciou(lambda a, b: -_aspect(a, b)),
        ),
        Misconception("this is the DIoU loss: the term α · v is missing", diou_loss),
        *(
            Misconception(hint, *(_with_distance(penalty) for penalty in penalties))
            for hint, penalties in DISTANCE_MISTAKES
        ),
        *common(_penalty, "CIoU"),
        Misconception(
            "the values are right, but ρ² / c² carries no gradient in your loss; only α is a "
            "constant",
            lambda a, b: 1 - bare.iou(a, b) + distance_penalty(a, b).detach() + _aspect(a, b),
        ),
        large_epsilon(_with_epsilon),
        at_least_one(
            lambda a, b, iou: distance_penalty(a, b) + aspect_penalty(a, b, iou),
            lambda a, b, iou: over_one(a, b) + aspect_penalty(a, b, iou),
        ),
        Misconception(PLUS_ONE, lambda a, b: ciou_loss(grown(a), grown(b))),
        Misconception(DIVISION, _ciou_without_epsilon),
    ),
    returns=("the loss",),
    draw=draw_pair,
    narrow=show_pair,
    clue=clue_of_loss(OF_CIOU),
    solution=(
        ciou_loss,
        paired_iou,
        distance_penalty,
        aspect_penalty,
        aspect_angle,
        intersection_and_union,
        enclosing_size,
        box_area,
        ratio,
        at_least_float32,
        reduce_loss,
    ),
    allowed=frozenset({"box_area", "paired_iou"}),
)
