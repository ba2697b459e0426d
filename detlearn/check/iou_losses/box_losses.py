"""Exercises 6.1 to 6.3: GIoU, DIoU and CIoU as losses."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import aspect_penalty, distance_penalty, enclosing_penalty, paired_iou
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.boxes import NEGATIVE_SIDES, draw_pair, show_pair
from detlearn.check.iou_losses import parts as bare
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
from detlearn.losses import ciou_loss, diou_loss, giou_loss


def _enclosing_penalty(a: Tensor, b: Tensor) -> Tensor:
    return enclosing_penalty(a, b, EPS)


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


GIOU = Exercise(
    "6.1",
    "giou_loss",
    giou_loss,
    with_hand_cases(
        (*OVERLAPPING, [1 - 8 / 24], "two boxes side by side that share a third"),
        (*DIAGONAL, [1 + 22 / 30], "two boxes that lie apart, diagonally"),
        (*CROSSED, [1 - 100 / 700 + 900 / 1600], "a wide and a tall box with one centre"),
    ),
    (
        Misconception(NEGATIVE_SIDES, _giou_unclamped),
        *common(_enclosing_penalty, "the GIoU loss"),
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
    ("the loss",),
    draw_pair,
    show_pair,
    solution=(giou_loss, enclosing_penalty, paired_iou),
    allowed=frozenset({"box_area", "paired_iou"}),
)


def _distance_bare(a: Tensor, b: Tensor) -> Tensor:
    w, h = (side.clamp(min=0) for side in bare.shared(a, b))
    cw, ch = bare.enclosing(a, b)
    iou = w * h / (bare.area(a) + bare.area(b) - w * h)
    return 1 - iou + bare.centre_distance(a, b) / (cw**2 + ch**2)


def _intersection_diagonal(a: Tensor, b: Tensor) -> Tensor:
    w, h = bare.shared(a, b)
    return w**2 + h**2 + EPS


ACROSS, DOWN = torch.tensor([1.0, 0, 1, 0]), torch.tensor([0, 1.0, 0, 1])

_DISTANCE_MISTAKES: tuple[tuple[str, Loss], ...] = (
    (
        "ρ and c enter squared: the penalty is ρ² / c², yours is ρ / c",
        lambda a, b: (bare.centre_distance(a, b) / bare.diagonal(a, b)).clamp(min=1e-12).sqrt(),
    ),
    (
        "ρ enters squared as well: the penalty is ρ² / c², yours is ρ / c²",
        lambda a, b: bare.centre_distance(a, b).clamp(min=1e-12).sqrt() / bare.diagonal(a, b),
    ),
    (
        "c is the diagonal of the enclosing box, squared: w² + h²; yours is divided by its area",
        lambda a, b: bare.centre_distance(a, b) / (bare.enclosing_area(a, b) + EPS),
    ),
    (
        "c is the diagonal of the box that encloses both; yours is the diagonal of the target",
        lambda a, b: bare.centre_distance(a, b) / (bare.diagonal(b, b) + EPS),
    ),
    (
        "a centre is half the sum of two corners: without the half your ρ² is four times too large",
        lambda a, b: 4 * bare.centre_distance(a, b) / bare.diagonal(a, b),
    ),
    (
        "ρ joins the centres of the boxes; yours joins their upper left corners",
        lambda a, b: (a[:, :2] - b[:, :2]).square().sum(1) / bare.diagonal(a, b),
    ),
    (
        "c is the diagonal of the box that encloses both, not the intersection's",
        lambda a, b: bare.centre_distance(a, b) / _intersection_diagonal(a, b),
    ),
    (
        "ρ is the distance in both directions, (Δx)² + (Δy)²; yours is the horizontal one",
        lambda a, b: bare.centre_distance(a * ACROSS, b * ACROSS) / bare.diagonal(a, b),
    ),
    (
        "ρ is the distance in both directions, (Δx)² + (Δy)²; yours is the vertical one",
        lambda a, b: bare.centre_distance(a * DOWN, b * DOWN) / bare.diagonal(a, b),
    ),
    (
        "a square root has no finite slope at zero, where two centres meet: ρ² is the sum of two "
        "squares, without the root",
        lambda a, b: bare.centre_distance(a, b).sqrt() ** 2 / bare.diagonal(a, b),
    ),
    (
        "the distance is not yet a share: divide ρ² by c², the squared diagonal of the enclosing "
        "box, so that the size of the boxes does not matter",
        bare.centre_distance,
    ),
    (
        "c² must carry a gradient as well: the enclosing box changes with the prediction; only "
        "CIoU's α is a constant",
        lambda a, b: bare.centre_distance(a, b) / bare.diagonal(a, b).detach(),
    ),
    (
        "this is GIoU's penalty, the empty share of the enclosing box; DIoU's is ρ² / c²",
        _enclosing_penalty,
    ),
)

DIOU = Exercise(
    "6.2",
    "diou_loss",
    diou_loss,
    with_hand_cases(
        (*OVERLAPPING, [1 - 8 / 24 + 4 / 52], "two boxes side by side that share a third"),
        (*DIAGONAL, [1 + 25 / 61], "two boxes that lie apart, diagonally"),
        (*CROSSED, [1 - 100 / 700], "a wide and a tall box with one centre"),
    ),
    (
        *(Misconception(hint, loss_of(penalty)) for hint, penalty in _DISTANCE_MISTAKES),
        *common(distance_penalty, "the DIoU loss"),
        Misconception(DIVISION, _distance_bare),
    ),
    ("the loss",),
    draw_pair,
    show_pair,
    solution=(diou_loss, distance_penalty, paired_iou),
    allowed=frozenset({"box_area", "paired_iou"}),
)


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
    iou = 1 - _distance_bare(a, b) + bare.centre_distance(a, b) / (bare.diagonal(a, b) - EPS)
    v = _bare_gap(a, b)
    return _distance_bare(a, b) + (v / (1 - iou + v)).detach() * v


def _ratio_gap(a: Tensor, b: Tensor) -> Tensor:
    (w1, h1), (w2, h2) = bare.size(a), bare.size(b)
    return (w1 / (h1 + EPS) - w2 / (h2 + EPS)) ** 2


V = 4 / math.pi**2 * (math.atan(4) - math.atan(1 / 4)) ** 2  # of the crossed boxes

CIOU = Exercise(
    "6.3",
    "ciou_loss",
    ciou_loss,
    with_hand_cases(
        (*OVERLAPPING, [1 - 8 / 24 + 4 / 52], "two squares side by side that share a third"),
        (*DIAGONAL, [1 + 25 / 61], "two squares that lie apart, diagonally"),
        (*CROSSED, [6 / 7 + V**2 / (6 / 7 + V)], "a wide and a tall box with one centre"),
    ),
    (
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
        *(Misconception(hint, _plus_aspect(penalty)) for hint, penalty in _DISTANCE_MISTAKES),
        *common(lambda a, b: distance_penalty(a, b) + _aspect(a, b), "the CIoU loss"),
        Misconception(DIVISION, _ciou_bare),
    ),
    ("the loss",),
    draw_pair,
    show_pair,
    solution=(ciou_loss, aspect_penalty, distance_penalty, paired_iou),
    allowed=frozenset({"box_area", "paired_iou"}),
)
