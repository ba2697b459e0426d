"""Exercise 6.2: DIoU as a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from detlearn.boxes import distance_penalty, paired_iou
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.boxes import draw_pair, show_pair
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
from detlearn.losses import diou_loss


def distance_bare(a: Tensor, b: Tensor) -> Tensor:
    w, h = (side.clamp(min=0) for side in bare.shared(a, b))
    cw, ch = bare.enclosing(a, b)
    iou = w * h / (bare.area(a) + bare.area(b) - w * h)
    return 1 - iou + bare.centre_distance(a, b) / (cw**2 + ch**2)


def _intersection_diagonal(a: Tensor, b: Tensor) -> Tensor:
    w, h = bare.shared(a, b)
    return w**2 + h**2 + EPS


ACROSS, DOWN = torch.tensor([1.0, 0, 1, 0]), torch.tensor([0, 1.0, 0, 1])

DISTANCE_MISTAKES: tuple[tuple[str, Loss], ...] = (
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
        bare.enclosing_penalty,
    ),
)

DIOU_LOSS = Exercise(
    number="6.2",
    name="diou_loss",
    reference=diou_loss,
    cases=with_hand_cases(
        (*OVERLAPPING, [1 - 8 / 24 + 4 / 52], "two boxes side by side that share a third"),
        (*DIAGONAL, [1 + 25 / 61], "two boxes that lie apart, diagonally"),
        (*CROSSED, [1 - 100 / 700], "a wide and a tall box with one centre"),
    ),
    misconceptions=(
        *(Misconception(hint, loss_of(penalty)) for hint, penalty in DISTANCE_MISTAKES),
        *common(distance_penalty, "the DIoU loss"),
        Misconception(DIVISION, distance_bare),
    ),
    returns=("the loss",),
    draw=draw_pair,
    narrow=show_pair,
    solution=(diou_loss, distance_penalty, paired_iou),
    allowed=frozenset({"box_area", "paired_iou"}),
)
