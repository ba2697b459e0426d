"""Exercise 6.3: CIoU as a loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import aspect_penalty, distance_penalty, paired_iou
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.boxes import draw_pair, show_pair
from detlearn.check.iou_losses import parts as bare
from detlearn.check.iou_losses.diou_loss import DISTANCE_MISTAKES, distance_bare
from detlearn.check.iou_losses.parts import (
    CROSSED,
    DIAGONAL,
    DIVISION,
    EPS,
    OVERLAPPING,
    Loss,
    common,
    loss_of,
    with_hand_cases,
)
from detlearn.losses import ciou_loss, diou_loss


def _alpha(a: Tensor, b: Tensor) -> Tensor:
    v = bare.shape_gap(a, b)
    return v / (1 - bare.iou(a, b) + v + EPS)


def _ciou(weighted: Loss) -> Loss:
    return lambda a, b: 1 - bare.iou(a, b) + distance_penalty(a, b) + weighted(a, b)


def _aspect(a: Tensor, b: Tensor) -> Tensor:
    return aspect_penalty(a, b, bare.iou(a, b))


def _plus_aspect(penalty: Loss) -> Loss:
    """CIoU with another distance term."""
    return lambda a, b: 1 - bare.iou(a, b) + penalty(a, b) + _aspect(a, b)


def _gated(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(bare.iou(a, b) > 0.5, _aspect(a, b), 0.0)


def _with_gap(gap: Loss) -> Loss:
    """CIoU's αv with another v."""

    def weighted(a: Tensor, b: Tensor) -> Tensor:
        v = gap(a, b)
        return (v / (1 - bare.iou(a, b) + v + EPS)).detach() * v

    return _ciou(weighted)


def _with_alpha(alpha: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """CIoU with another α, a function of the IoU and v."""

    def weighted(a: Tensor, b: Tensor) -> Tensor:
        v = bare.shape_gap(a, b)
        return alpha(bare.iou(a, b), v).detach() * v

    return _ciou(weighted)


def _bare_gap(a: Tensor, b: Tensor) -> Tensor:
    angles = [torch.atan(torch.div(*bare.size(boxes))) for boxes in (a, b)]
    return 4 / math.pi**2 * (angles[0] - angles[1]) ** 2


def _ciou_bare(a: Tensor, b: Tensor) -> Tensor:
    iou = 1 - distance_bare(a, b) + bare.centre_distance(a, b) / (bare.diagonal(a, b) - EPS)
    v = _bare_gap(a, b)
    return distance_bare(a, b) + (v / (1 - iou + v)).detach() * v


def _ratio_gap(a: Tensor, b: Tensor) -> Tensor:
    (w1, h1), (w2, h2) = bare.size(a), bare.size(b)
    return (w1 / (h1 + EPS) - w2 / (h2 + EPS)) ** 2


V = 4 / math.pi**2 * (math.atan(4) - math.atan(1 / 4)) ** 2  # of the crossed boxes

CIOU_LOSS = Exercise(
    number="6.3",
    name="ciou_loss",
    reference=ciou_loss,
    cases=with_hand_cases(
        (*OVERLAPPING, [1 - 8 / 24 + 4 / 52], "two squares side by side that share a third"),
        (*DIAGONAL, [1 + 25 / 61], "two squares that lie apart, diagonally"),
        (*CROSSED, [6 / 7 + V**2 / (6 / 7 + V)], "a wide and a tall box with one centre"),
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
        ),
        Misconception(
            "v is normalised by 4/π², so that it lies between 0 and 1; the factor is missing",
            _with_gap(lambda a, b: bare.shape_gap(a, b) * math.pi**2 / 4),
        ),
        Misconception(
            "v compares angles, atan(w / h), not the ratios themselves",
            _with_gap(_ratio_gap),
        ),
        Misconception(
            "v compares angles, atan(w / h), not the ratios themselves",
            _with_gap(lambda a, b: 4 / math.pi**2 * _ratio_gap(a, b)),
        ),
        Misconception(
            "v is the square of the difference of the two angles; the square is missing",
            _with_gap(lambda a, b: (bare.shape_gap(a, b).clamp(min=1e-14) * 4 / math.pi**2).sqrt()),
        ),
        Misconception(
            "torch.atan gives radians, and the factor 4/π² is made for them, not for degrees",
            _with_gap(lambda a, b: bare.shape_gap(a, b) * (180 / math.pi) ** 2),
        ),
        Misconception(
            "the factor of v is 4/π² with π squared; yours is 4/π",
            _with_gap(lambda a, b: bare.shape_gap(a, b) * math.pi),
        ),
        Misconception(
            "v must carry a gradient; only its weight α is a constant",
            _ciou(lambda a, b: _aspect(a, b).detach()),
        ),
        Misconception(
            "a height of zero makes w / h infinite or not a number, and its gradient NaN: add an "
            "epsilon to h, or use torch.atan2(w, h)",
            _with_gap(_bare_gap),
        ),
        Misconception(
            "α is v / (1 − IoU + v); yours has a 1 above the line",
            _with_alpha(lambda iou, v: 1 / (1 - iou + v + EPS)),
        ),
        Misconception("the weight α is missing: the penalty is α · v", _ciou(bare.shape_gap)),
        Misconception("the factor v is missing: the penalty is α · v", _ciou(_alpha)),
        Misconception(
            "α is v / (1 − IoU + v); yours has the IoU where 1 − IoU belongs",
            _with_alpha(lambda iou, v: v / (iou + v + EPS)),
        ),
        Misconception(
            "α is v / (1 − IoU + v); the v in its denominator is missing",
            _with_alpha(lambda iou, v: v / (1 - iou + EPS)),
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
        *(Misconception(hint, _plus_aspect(penalty)) for hint, penalty in DISTANCE_MISTAKES),
        *common(lambda a, b: distance_penalty(a, b) + _aspect(a, b), "the CIoU loss"),
        Misconception(DIVISION, _ciou_bare),
    ),
    returns=("the loss",),
    draw=draw_pair,
    narrow=show_pair,
    solution=(ciou_loss, aspect_penalty, distance_penalty, paired_iou),
    allowed=frozenset({"box_area", "paired_iou"}),
)
