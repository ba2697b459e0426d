"""Exercise 6.2: DIoU as a loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import (
    box_area,
    distance_penalty,
    enclosing_size,
    intersection_and_union,
    paired_iou,
    ratio,
)
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.iou_losses import parts as bare
from detlearn.check.iou_losses.clues import OF_DIOU, clue_of_loss
from detlearn.check.iou_losses.parts import (
    CROSSED,
    DIAGONAL,
    DIVISION,
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
from detlearn.losses import at_least_float32, diou_loss, reduce_loss

# These keep one direction of the distance.
ACROSS = torch.tensor([1.0, 0, 1, 0])
DOWN = torch.tensor([0, 1.0, 0, 1])


def without_epsilon(a: Tensor, b: Tensor) -> Tensor:
    """Return the DIoU loss that divides by zero where a box has no area."""
    w, h = bare.enclosing(a, b)
    iou = bare.intersection(a, b) / bare.union(a, b)
    return 1 - iou + bare.centre_distance(a, b) / (w**2 + h**2)


def _with_epsilon(eps: float) -> Loss:
    def loss(a: Tensor, b: Tensor) -> Tensor:
        iou = bare.intersection(a, b) / (bare.union(a, b) + eps)
        w, h = bare.enclosing(a, b)
        return 1 - iou + bare.centre_distance(a, b) / (w**2 + h**2 + eps)

    return loss


def over_one(a: Tensor, b: Tensor) -> Tensor:
    """Return ρ² / c² with a c² of at least 1."""
    return bare.centre_distance(a, b) / bare.diagonal(a, b).clamp(min=1)


def _penalty_across(sides: Callable[[Tensor, Tensor], Sides]) -> Loss:
    """Return DIoU's penalty with the diagonal of another box."""

    def penalty(a: Tensor, b: Tensor) -> Tensor:
        w, h = sides(a, b)
        return bare.centre_distance(a, b) / (w**2 + h**2 + EPS)

    return penalty


def _distance_over_diagonal(a: Tensor, b: Tensor) -> Tensor:
    return (bare.centre_distance(a, b) / bare.diagonal(a, b)).clamp(min=1e-12).sqrt()


def _distance_over_square(a: Tensor, b: Tensor) -> Tensor:
    return bare.centre_distance(a, b).clamp(min=1e-12).sqrt() / bare.diagonal(a, b)


def _over_the_area(a: Tensor, b: Tensor) -> Tensor:
    return bare.centre_distance(a, b) / (bare.enclosing_area(a, b) + EPS)


def _of_both_diagonals(a: Tensor, b: Tensor) -> Tensor:
    (w1, h1), (w2, h2) = bare.size(a), bare.size(b)
    return bare.centre_distance(a, b) / (w1**2 + h1**2 + w2**2 + h2**2 + EPS)


def _beside_giou(a: Tensor, b: Tensor) -> Tensor:
    return bare.enclosing_penalty(a, b) + distance_penalty(a, b)


def _by_a_root(a: Tensor, b: Tensor) -> Tensor:
    return bare.centre_distance(a, b).sqrt() ** 2 / bare.diagonal(a, b)


def _offset(a: Tensor, b: Tensor) -> Tensor:
    """Return |Δx| and |Δy| (N, 2) from centre to centre."""
    return ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).abs()


def _between(point: Callable[[Tensor], Tensor]) -> Loss:
    """Return the penalty with the distance of other points of the boxes."""
    return lambda a, b: (point(a) - point(b)).square().sum(1) / bare.diagonal(a, b)


def _instead_of_rho(distance: Callable[[Tensor], Tensor]) -> Loss:
    """Return the penalty with another ρ², a function of |Δx| and |Δy| (N, 2)."""
    return lambda a, b: distance(_offset(a, b)) / bare.diagonal(a, b)


def _instead_of_c(denominator: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Return the penalty with another c², a function of the enclosing box's two sides."""
    return lambda a, b: bare.centre_distance(a, b) / (denominator(*bare.enclosing(a, b)) + EPS)


def _along(axis: Tensor) -> Loss:
    return lambda a, b: bare.centre_distance(a * axis, b * axis) / bare.diagonal(a, b)


# Each a hint and the penalties that deserve it.
DISTANCE_MISTAKES: tuple[tuple[str, tuple[Loss, ...]], ...] = (
    ("ρ and c enter squared: the penalty is ρ² / c², yours is ρ / c", (_distance_over_diagonal,)),
    (
        "ρ enters squared as well: the penalty is ρ² / c², yours is ρ / c²",
        (_distance_over_square,),
    ),
    (
        "c is the diagonal of the enclosing box, squared: w² + h²; yours is divided by its area",
        (_over_the_area,),
    ),
    (
        "c is the diagonal of the box that encloses both; yours is the diagonal of the target",
        (_penalty_across(lambda a, b: bare.size(b)),),
    ),
    (
        "c is the diagonal of the box that encloses both; yours is the diagonal of the prediction",
        (_penalty_across(lambda a, b: bare.size(a)),),
    ),
    (
        "c is the diagonal of the box that encloses both, not the intersection's",
        (
            _penalty_across(bare.shared),
            _penalty_across(lambda a, b: tuple(side.clamp(min=0) for side in bare.shared(a, b))),
        ),
    ),
    *(
        (hint, tuple(_penalty_across(sides) for sides in wrong))
        for hint, wrong in bare.ENCLOSING_MISTAKES
    ),
    (
        "c² is w² + h², the squares of the two sides added; yours multiplies them",
        (_instead_of_c(lambda w, h: w**2 * h**2),),
    ),
    (
        "c² is w² + h²; the squares of the two sides are missing",
        (_instead_of_c(lambda w, h: w + h),),
    ),
    (
        "c² is w² + h², across the enclosing box; yours is the square of its longer side",
        (_instead_of_c(lambda w, h: torch.max(w, h) ** 2),),
    ),
    (
        "c enters squared as well: the penalty is ρ² / c², yours is ρ² / c",
        (_instead_of_c(lambda w, h: (w**2 + h**2 + EPS).sqrt()),),
    ),
    (
        "c is the diagonal of the box that encloses both; yours adds the squared diagonals of the "
        "two boxes",
        (_of_both_diagonals,),
    ),
    (
        "c is the diagonal of the enclosing box; yours divides ρ² by the union",
        (lambda a, b: bare.centre_distance(a, b) / (bare.union(a, b) + EPS),),
    ),
    (
        "c² is w² + h², the squares of the two sides added; yours is (w + h)²",
        (lambda a, b: bare.centre_distance(a, b) / (sum(bare.enclosing(a, b)) ** 2 + EPS),),
    ),
    (
        "a centre is half the sum of two corners: without the half your ρ² is four times too large",
        (lambda a, b: 4 * bare.centre_distance(a, b) / bare.diagonal(a, b),),
    ),
    (
        "ρ joins the centres of the boxes; yours joins their upper left corners",
        (_between(lambda boxes: boxes[:, :2]),),
    ),
    (
        "ρ joins the centres of the boxes; yours joins their lower right corners",
        (_between(lambda boxes: boxes[:, 2:]),),
    ),
    (
        "a centre is (x1 + x2) / 2, the middle; yours is (x2 − x1) / 2, half of the size, which "
        "does not know where the box lies",
        (
            _between(lambda boxes: (boxes[:, 2:] - boxes[:, :2]) / 2),
            _between(lambda boxes: boxes[:, 2:] - boxes[:, :2]),
        ),
    ),
    (
        "ρ joins the centres of the boxes; yours is made of the distances of both pairs of corners",
        (
            lambda a, b: (a - b).square().sum(1) / 2 / bare.diagonal(a, b),
            lambda a, b: (a - b).square().sum(1) / bare.diagonal(a, b),
        ),
    ),
    (
        "c² stands alone below the line: ρ² / c²; yours adds ρ² there",
        (
            lambda a, b: (
                bare.centre_distance(a, b) / (bare.diagonal(a, b) + bare.centre_distance(a, b))
            ),
        ),
    ),
    (
        "a centre is (x1 + x2) / 2, the whole sum halved; yours halves one of the two",
        (
            _between(lambda boxes: boxes[:, :2] + boxes[:, 2:] / 2),
            _between(lambda boxes: boxes[:, :2] / 2 + boxes[:, 2:]),
        ),
    ),
    (
        "a centre is (x1 + x2) / 2 and (y1 + y2) / 2; yours adds an x and a y",
        (_between(lambda boxes: (boxes[:, 0::2] + boxes[:, 1::2]) / 2),),
    ),
    (
        "ρ² is (Δx)² + (Δy)², the squares added; yours is the square of the sum, (|Δx| + |Δy|)²",
        (_instead_of_rho(lambda d: d.sum(1) ** 2),),
    ),
    (
        "ρ² is (Δx)² + (Δy)²; yours adds the distances without squaring them",
        (_instead_of_rho(lambda d: d.sum(1)),),
    ),
    (
        "ρ² is (Δx)² + (Δy)²; yours is the square of the larger of the two",
        (_instead_of_rho(lambda d: d.amax(1) ** 2),),
    ),
    (
        "ρ² is (Δx)² + (Δy)²; yours multiplies the two squares",
        (_instead_of_rho(lambda d: d.square().prod(1)),),
    ),
    (
        "ρ is the distance in both directions, (Δx)² + (Δy)²; yours is the horizontal one",
        (_along(ACROSS),),
    ),
    (
        "ρ is the distance in both directions, (Δx)² + (Δy)²; yours is the vertical one",
        (_along(DOWN),),
    ),
    (
        "a square root has no finite slope at zero, where two centres meet: ρ² is the sum of two "
        "squares, without the root",
        (_by_a_root,),
    ),
    (
        "the distance is not yet a share: divide ρ² by c², the squared diagonal of the enclosing "
        "box, so that the size of the boxes does not matter",
        (bare.centre_distance,),
    ),
    (
        "c² must carry a gradient as well: the enclosing box changes with the prediction; only "
        "CIoU's α is a constant",
        (lambda a, b: bare.centre_distance(a, b) / bare.diagonal(a, b).detach(),),
    ),
    (
        "this is GIoU's penalty, the empty share of the enclosing box; DIoU's is ρ² / c²",
        (bare.enclosing_penalty,),
    ),
    (
        "ρ² / c² stands in the place of GIoU's penalty, the empty share; yours adds both",
        (_beside_giou,),
    ),
)


DIOU_LOSS = Exercise(
    number="6.2",
    name="diou_loss",
    reference=diou_loss,
    cases=with_hand_cases(
        (OVERLAPPING, 1 - 8 / 24 + 4 / 52),
        (DIAGONAL, 1 + 25 / 61),
        (CROSSED, 1 - 100 / 600),
        (SHARES, 1 - 0.08 / 0.24 + 0.04 / 0.52),
        (SHARES_APART, 1 + 0.18 / 0.5),
    ),
    misconceptions=(
        *(
            Misconception(hint, *(loss_of(penalty) for penalty in penalties))
            for hint, penalties in DISTANCE_MISTAKES
        ),
        *common(lambda a, b, iou, union: distance_penalty(a, b), "DIoU"),
        large_epsilon(_with_epsilon),
        at_least_one(lambda a, b, iou: distance_penalty(a, b), lambda a, b, iou: over_one(a, b)),
        Misconception(PLUS_ONE, lambda a, b: diou_loss(grown(a), grown(b))),
        Misconception(DIVISION, without_epsilon),
    ),
    returns=("the loss",),
    draw=draw_pair,
    narrow=show_pair,
    clue=clue_of_loss(OF_DIOU),
    solution=(
        diou_loss,
        paired_iou,
        distance_penalty,
        intersection_and_union,
        enclosing_size,
        box_area,
        ratio,
        at_least_float32,
        reduce_loss,
    ),
    allowed=frozenset({"box_area", "paired_iou"}),
)
