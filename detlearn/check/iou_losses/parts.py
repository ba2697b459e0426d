"""What the exercises on box losses share: bare quantities, the ladder, common mistakes.

The quantities of the formulas stand here once more, as bare as a learner writes them, so that a
misconception can leave one out or get one wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from detlearn.boxes import aspect_angle, paired_iou
from detlearn.boxes import enclosing_penalty as package_penalty
from detlearn.check.boxes import (
    NEGATIVE_SIDES,
    Drawing,
    boxes_of,
    random_boxes,
    random_pairs,
    row,
)
from detlearn.check.engine import Misconception
from detlearn.check.engine.cases import Case, Fault

EPS = 1e-7
Loss = Callable[[Tensor, Tensor], Tensor]
Sides = tuple[Tensor, Tensor]  # width and height, (N,) each


# ---- the quantities of the formulas, for boxes a and b (N, 4) ----


def size(boxes: Tensor) -> Sides:
    """Return width and height."""
    return boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]


def area(boxes: Tensor) -> Tensor:
    """Return the area (N,) of each box."""
    w, h = size(boxes)
    return w * h


def enclosing(a: Tensor, b: Tensor) -> Sides:
    """Return the sides of the smallest box around each pair."""
    return size(torch.cat((torch.min(a, b)[:, :2], torch.max(a, b)[:, 2:]), dim=1))


def shared(a: Tensor, b: Tensor) -> Sides:
    """Return the sides of what each pair shares, negative where the boxes are apart."""
    return size(torch.cat((torch.max(a, b)[:, :2], torch.min(a, b)[:, 2:]), dim=1))


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Return I (N,), the area that each pair shares."""
    w, h = shared(a, b)
    return w.clamp(min=0) * h.clamp(min=0)


def union(a: Tensor, b: Tensor) -> Tensor:
    """Return U (N,), the area that each pair covers."""
    return area(a) + area(b) - intersection(a, b)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU (N,) of each pair."""
    return paired_iou(a, b, EPS)


def enclosing_area(a: Tensor, b: Tensor) -> Tensor:
    """Return C (N,), the area of the smallest box around each pair."""
    w, h = enclosing(a, b)
    return w * h


def enclosing_penalty(a: Tensor, b: Tensor) -> Tensor:
    """Return (C − U) / C (N,), GIoU's penalty."""
    return package_penalty(a, b, EPS)


def centre_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return ρ² (N,), from centre to centre."""
    return ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(1)


def diagonal(a: Tensor, b: Tensor) -> Tensor:
    """Return c² (N,), across the enclosing box."""
    w, h = enclosing(a, b)
    return w**2 + h**2 + EPS


def shape_gap(a: Tensor, b: Tensor) -> Tensor:
    """Return v (N,), how different the shapes are."""
    return 4 / math.pi**2 * (aspect_angle(a) - aspect_angle(b)) ** 2


def loss_of(penalty: Loss) -> Loss:
    """Return the loss 1 − IoU + penalty."""
    return lambda a, b: 1 - iou(a, b) + penalty(a, b)


# ---- the ladder ----


class Pair(NamedTuple):
    """A pair of boxes whose losses are worked out by hand.

    Attributes:
        pred: the predicted box (1, 4).
        target: its target (1, 4).
        note: what is special about them; completes the phrase "on …".
    """

    pred: Tensor
    target: Tensor
    note: str


# I 8, U 24, C 24
OVERLAPPING = Pair(
    pred=boxes_of((0, 0, 4, 4)),
    target=boxes_of((2, 0, 6, 4)),
    note="two boxes side by side that share a third",
)

# I 0, U 8, C 6 · 5
DIAGONAL = Pair(
    pred=boxes_of((0, 0, 2, 2)),
    target=boxes_of((4, 3, 6, 5)),
    note="two boxes that lie apart, diagonally",
)

# Neither equal areas nor reciprocal ratios, which would hide that two mistakes differ.
# One centre, I 100, U 600
CROSSED = Pair(
    pred=boxes_of((0, 0, 40, 10)),
    target=boxes_of((15, -10, 25, 20)),
    note="a wide and a tall box with one centre",
)

# I 400, U 640, ρ² 9
THICKER = Pair(
    pred=boxes_of((0, 0, 40, 10)),
    target=boxes_of((0, 0, 40, 16)),
    note="a wide box and one that is a little taller, with an IoU of 5/8",
)

# Shares of the image: what is harmless in pixels, like a union of at least 1, is not here.
# I 0.08, U 0.24, C 0.24
SHARES = Pair(
    pred=boxes_of((0.1, 0.1, 0.5, 0.5)),
    target=boxes_of((0.3, 0.1, 0.7, 0.5)),
    note="two boxes inside [0, 1] that share a third",
)

# U 0.08, C 0.25
SHARES_APART = Pair(
    pred=boxes_of((0.1, 0.1, 0.3, 0.3)),
    target=boxes_of((0.4, 0.4, 0.6, 0.6)),
    note="two boxes inside [0, 1] that lie apart",
)


TOGETHER = "these pairs all at once"
RANDOM = "30 random pairs"
MOVED = "the same pairs moved, partly below zero"
LARGER = "the same pairs, eight times as large"
EXCHANGED = "the same pairs with prediction and target exchanged"


def with_hand_cases(*hand: tuple[Pair, float]) -> Callable[[torch.Generator], list[Case]]:
    """Return what makes the ladder of a box loss.

    Args:
        hand: pairs, each with its loss as worked out by hand.
    """

    def cases(random: torch.Generator) -> list[Case]:
        by_hand = [
            Case("by hand", (pair.pred, pair.target), pair.note, expected=torch.tensor([loss]))
            for pair, loss in hand
        ]
        # What is right for one pair may mix them up where there are several.
        together = Case(
            "by hand",
            (torch.cat([pair.pred for pair, _ in hand]), torch.cat([p.target for p, _ in hand])),
            TOGETHER,
            expected=torch.tensor([loss for _, loss in hand]),
        )
        return [*by_hand, together, *_degenerate_cases(random), *_random_cases(random)]

    return cases


def _degenerate_cases(random: torch.Generator) -> list[Case]:
    none = torch.zeros(0, 4)
    twin = random_boxes(4, random)

    lines = boxes_of((10, 10, 30, 10), (20, 20, 20, 40))
    points = boxes_of((5, 5, 5, 5), (0, 0, 0, 0), (7, 90, 7, 90))
    flat = torch.cat((lines, points))
    full = boxes_of(
        (10, 5, 30, 15), (15, 20, 35, 40), (0, 0, 10, 10), (3, 4, 9, 8), (0, 80, 14, 99)
    )
    values = [
        Case("degenerate", (none, none), "no boxes at all"),
        Case("degenerate", (twin, twin.clone()), "pairs of equal boxes"),
        Case("degenerate", (flat, full), "boxes without area", only_finite=True),
        Case("degenerate", (lines, lines.clone()), "pairs of lines", only_finite=True),
        Case("degenerate", (points, points.clone()), "pairs of points", only_finite=True),
    ]

    # Not the points: the gradient of atan2 there is NaN in torch 2.6.
    slopes_of_lines = Case(
        "degenerate",
        (lines, full[:2]),
        "lines, gradient included",
        only_finite=True,
        gradient=True,
    )

    # Pairs with exactly one centre, where the slope of a square root would be infinite.
    wide = boxes_of((0, 0, 40, 10), (10, 20, 90, 60), (5, 5, 35, 15))
    tall = boxes_of((15, -10, 25, 20), (40, 8, 60, 72), (8, 0, 32, 20))
    slopes_at_one_centre = [
        Case(
            "degenerate",
            (wide, tall),
            "pairs with one centre, gradient included",
            only_finite=True,
            gradient=True,
        ),
        Case(
            "degenerate",
            (tall[1:] / 128, wide[1:] / 128),
            "the same pairs in [0, 1] with prediction and target exchanged, gradient included",
            only_finite=True,
            gradient=True,
        ),
    ]

    return [*values, slopes_of_lines, *slopes_at_one_centre]


def _random_cases(random: torch.Generator) -> list[Case]:
    a, b = random_pairs(30, random)
    moved = torch.tensor([-200.0, 35.0, -200.0, 35.0])

    shares = random_pairs(30, random, size=1.0, smallest=0.2)

    few, many = random_pairs(8, random), random_pairs(64, random)

    return [
        Case("random", (a, b), RANDOM),
        Case("random", shares, "30 random pairs inside [0, 1]"),
        Case("property", (a + moved, b + moved), MOVED),
        Case("property", (a * 8, b * 8), LARGER),
        Case("property", (b, a), EXCHANGED),
        Case("gradient", (a, b), RANDOM, gradient=True),
        Case("gradient", shares, "30 random pairs inside [0, 1]", gradient=True),
        Case("no loop", few, "8 random pairs", size=8),
        Case("no loop", many, "64 random pairs", size=64),
    ]


# ---- the mistakes that every box loss knows ----

ONE_MINUS = "you return the similarity, not the loss: a loss is 1 minus it, and 0 for equal boxes"
IOU_ONLY = (
    "this is 1 − IoU alone: the penalty that tells near from far for boxes that do not touch is "
    "missing"
)
SIGN = "the sign of the penalty is wrong: it is subtracted from the IoU, so it raises the loss"
TWICE = "your penalty is twice the right one: look for a factor 2, or a mean where a sum belongs"
HALVED = "your penalty is half the right one: look for a factor 1/2, or a mean where a sum belongs"
SQUARED = "the penalty is added as it is; yours is squared"
HALF_THE_LOSS = (
    "the loss is 1 − IoU plus the penalty as they are; yours is half of that, as if to bring it "
    "into [0, 1]"
)
SQUARED_LOSS = "the loss is 1 − IoU plus the penalty; yours is the square of that"
LOGARITHM = "−ln IoU is UnitBox's loss, infinite for boxes apart; this one begins with 1 − IoU"
ONLY_APART = (
    "the penalty is added to every pair; yours adds it only where the IoU is 0, so the loss jumps "
    "where two boxes begin to touch"
)
ONLY_TOUCHING = (
    "the penalty is added to every pair; yours leaves it out where the boxes share nothing, where "
    "alone it has a gradient"
)
MEAN = "you return one number for all pairs; return one loss for each, (N,)"
COLUMN = "return one number for each pair, (N,); yours has a second dimension of length 1, (N, 1)"
DIVISION = (
    "you divide by zero where a box has no area: add a small epsilon, 1e-7 say, to the denominators"
)
AT_LEAST_ONE = (
    "an area or a side below 1 becomes 1 in your function, which is harmless in pixels but not for "
    "boxes inside [0, 1]; add a small epsilon, 1e-7 say, instead"
)
LARGE_EPSILON = (
    "your epsilon is so large that it changes the loss of boxes inside [0, 1], whose areas are "
    "below 1; 1e-7 is enough"
)
PLUS_ONE = "coordinates are continuous: the width is x2 − x1, without the + 1 of pixel counts"
CLAMPED_PRODUCT = (
    "you clamp the product of the two differences, but where both are negative their product is "
    "positive; clamp each difference at zero before you multiply"
)
ABSOLUTE_SIDES = (
    "the absolute value turns a gap between the boxes into an overlap; a negative difference means "
    "no overlap: clamp it at zero"
)
ONE_CLAMP = (
    "you clamp one of the two differences at zero; boxes may lie apart in the other direction too, "
    "so clamp both"
)
SAME_SIDE_TWICE = (
    "what both share has a width and a height; your intersection multiplies one of them by itself"
)
SUM_OF_AREAS = "the union is the sum of the two areas minus the intersection, which you count twice"
ADDED_INTERSECTION = (
    "the union is the sum of the two areas minus the intersection; yours adds it instead"
)
OVER_ENCLOSING = (
    "the IoU is the shared area over the union U; yours divides it by the enclosing box's C"
)
OVER_ONE_BOX = (
    "the IoU is the shared area over the union of the two; yours divides it by the area of one box"
)
ONE_EXTREME = (
    "you take the same extreme of all four coordinates; a box around both begins at the smaller x1 "
    "and y1 and ends at the larger x2 and y2"
)
SHARED_EXTREME = (
    "you take the same extreme of all four coordinates; what both share begins at the larger x1 "
    "and y1 and ends at the smaller x2 and y2"
)
SIZES_ADDED = (
    "the enclosing box reaches from the smallest to the largest coordinate; yours has the sum of "
    "the two widths and the sum of the two heights"
)
LARGER_SIZES = (
    "the enclosing box reaches from the smallest to the largest coordinate; yours has the larger "
    "of the two widths and of the two heights, wherever the boxes lie"
)
ENCLOSING_SIDE_TWICE = "the enclosing box has a width and a height; yours has one of the two twice"
ENCLOSING_MIXED = (
    "the enclosing box's height is its largest y2 minus its smallest y1; yours takes an x for one "
    "of the two"
)
EACH_WITH_EACH = "compare them one to one, row i with row i, (N,); yours is each with each"
CENTRES = "the boxes are corners x1, y1, x2, y2, not centre and size"
CORNER_AND_SIZE = "the boxes are two corners x1, y1, x2, y2, not one corner and the size"
DETACHED = "your loss is computed from detached values somewhere; only CIoU's α is a constant"
IOU_DETACHED = (
    "the values are right, but the IoU in your loss carries no gradient: keep it out of no_grad "
    "and detach; only CIoU's α is a constant"
)
PENALTY_DETACHED = (
    "the values are right, but your penalty carries no gradient, and it is what moves boxes that "
    "lie apart; only CIoU's α is a constant"
)

Overlap = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # I and U (N,) of each pair
Terms = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # of the boxes, their IoU and union


def common(penalty: Terms, name: str) -> tuple[Misconception, ...]:
    """Return the mistakes around a penalty.

    Args:
        penalty: of the boxes, their IoU and their union.
        name: what the similarity is called, "GIoU" for example.
    """

    def terms(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        overlap = iou(a, b)
        return overlap, penalty(a, b, overlap, union(a, b))

    def loss(a: Tensor, b: Tensor) -> Tensor:
        overlap, added = terms(a, b)
        return 1 - overlap + added

    def of_terms(combine: Loss) -> Loss:
        return lambda a, b: combine(*terms(a, b))

    def each_with_each(a: Tensor, b: Tensor) -> Tensor:
        n = len(a)
        return loss(a.repeat_interleave(n, 0), b.repeat(n, 1)).view(n, n)

    def read_as(corners: Callable[[Tensor], Tensor]) -> Loss:
        return lambda a, b: loss(corners(a), corners(b))

    return (
        # A term that is missing, or that enters in another way.
        Misconception(ONE_MINUS, of_terms(lambda iou, added: iou - added)),
        Misconception(
            "this is the loss with its sign turned: it must fall as the boxes come together, to 0 "
            "where they are equal",
            of_terms(lambda iou, added: iou - added - 1),
        ),
        Misconception(IOU_ONLY, of_terms(lambda iou, added: 1 - iou)),
        Misconception(SIGN, of_terms(lambda iou, added: 1 - iou - added)),
        Misconception(
            f"the IoU is missing: the {name} loss is 1 − IoU plus the penalty",
            of_terms(lambda iou, added: added),
        ),
        Misconception(
            f"the 1 is missing: the {name} loss of equal boxes is 0",
            of_terms(lambda iou, added: added - iou),
        ),
        *(
            Misconception(hint, of_terms(combine))
            for hint, combine in (
                (TWICE, lambda iou, added: 1 - iou + 2 * added),
                (HALVED, lambda iou, added: 1 - iou + added / 2),
                (SQUARED, lambda iou, added: 1 - iou + added**2),
                (HALF_THE_LOSS, lambda iou, added: (1 - iou + added) / 2),
                (SQUARED_LOSS, lambda iou, added: (1 - iou + added) ** 2),
                (LOGARITHM, lambda iou, added: added - (iou + EPS).log()),
                (ONLY_APART, lambda iou, added: 1 - iou + added * (iou == 0)),
                (ONLY_TOUCHING, lambda iou, added: 1 - iou + added * (iou > 0)),
            )
        ),
        Misconception(
            f"the {name} is negative for boxes that lie apart; you cut it off at zero, and with it "
            "the gradient that moves such boxes",
            of_terms(lambda iou, added: 1 - (iou - added).clamp(min=0)),
        ),
        # A wrong intersection or union, in the IoU alone or in the penalty as well.
        *(
            Misconception(
                hint,
                *(_over(overlap, penalty, everywhere=True) for overlap in overlaps),
                *(_over(overlap, penalty, everywhere=False) for overlap in overlaps),
            )
            for hint, overlaps in OVERLAP_MISTAKES
        ),
        # The form of what is given and returned.
        Misconception(MEAN, lambda a, b: loss(a, b).mean(), lambda a, b: loss(a, b).sum()),
        Misconception(COLUMN, lambda a, b: loss(a, b)[:, None]),
        Misconception(EACH_WITH_EACH, each_with_each),
        Misconception(CENTRES, read_as(_corners)),
        Misconception(CORNER_AND_SIZE, read_as(_corners_of_corner_and_size)),
        # What carries a gradient.
        Misconception(DETACHED, lambda a, b: loss(a, b).detach()),
        Misconception(IOU_DETACHED, of_terms(lambda iou, added: 1 - iou.detach() + added)),
        Misconception(PENALTY_DETACHED, of_terms(lambda iou, added: 1 - iou + added.detach())),
    )


def _over(overlap: Overlap, penalty: Terms, *, everywhere: bool) -> Loss:
    """Return the loss with a wrong intersection or union.

    Args:
        overlap: the wrong I and U.
        penalty: what is added.
        everywhere: whether the penalty is made of the wrong ones, too.
    """

    def loss(a: Tensor, b: Tensor) -> Tensor:
        wrong_intersection, wrong_union = overlap(a, b)
        wrong_iou = wrong_intersection / (wrong_union + EPS)
        if everywhere:
            return 1 - wrong_iou + penalty(a, b, wrong_iou, wrong_union)
        return 1 - wrong_iou + penalty(a, b, iou(a, b), union(a, b))

    return loss


def _with_sides(change: Callable[[Tensor, Tensor], Tensor]) -> Overlap:
    """Return the overlap whose area is made of the two differences in another way."""

    def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        wrong = change(*shared(a, b))
        return wrong, area(a) + area(b) - wrong

    return overlap


def _with_corners(extreme: Callable[[Tensor, Tensor], Tensor]) -> Overlap:
    """Return the overlap with the same extreme of all four coordinates."""

    def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        w, h = size(extreme(a, b))
        wrong = w.clamp(min=0) * h.clamp(min=0)
        return wrong, area(a) + area(b) - wrong

    return overlap


def _with_union(wrong_union: Loss) -> Overlap:
    """Return the overlap with another union."""
    return lambda a, b: (intersection(a, b), wrong_union(a, b))


# Each a hint and the intersections and unions that deserve it.
OVERLAP_MISTAKES: tuple[tuple[str, tuple[Overlap, ...]], ...] = (
    (NEGATIVE_SIDES, (_with_sides(lambda w, h: w * h),)),
    (CLAMPED_PRODUCT, (_with_sides(lambda w, h: (w * h).clamp(min=0)),)),
    (ABSOLUTE_SIDES, (_with_sides(lambda w, h: w.abs() * h.abs()),)),
    (
        ONE_CLAMP,
        (
            _with_sides(lambda w, h: w.clamp(min=0) * h),
            _with_sides(lambda w, h: w * h.clamp(min=0)),
        ),
    ),
    (
        SAME_SIDE_TWICE,
        (
            _with_sides(lambda w, h: w.clamp(min=0) ** 2),
            _with_sides(lambda w, h: h.clamp(min=0) ** 2),
        ),
    ),
    (SHARED_EXTREME, (_with_corners(torch.max), _with_corners(torch.min))),
    (SUM_OF_AREAS, (_with_union(lambda a, b: area(a) + area(b)),)),
    (
        "the area of a box is w · h; yours multiplies one of the two by itself",
        (
            _with_union(lambda a, b: size(a)[0] ** 2 + size(b)[0] ** 2 - intersection(a, b)),
            _with_union(lambda a, b: size(a)[1] ** 2 + size(b)[1] ** 2 - intersection(a, b)),
        ),
    ),
    (
        ADDED_INTERSECTION,
        (_with_union(lambda a, b: area(a) + area(b) + intersection(a, b)),),
    ),
    (OVER_ENCLOSING, (_with_union(enclosing_area),)),
    (
        OVER_ONE_BOX,
        (
            _with_union(lambda a, b: torch.min(area(a), area(b))),
            _with_union(lambda a, b: torch.max(area(a), area(b))),
            _with_union(lambda a, b: area(a)),
            _with_union(lambda a, b: area(b)),
        ),
    ),
)

# Each a hint and the enclosing boxes that deserve it.
SidesOfPair = Callable[[Tensor, Tensor], Sides]


def _mixed(low: int, high: int) -> SidesOfPair:
    """Return the enclosing box whose height is made of two other coordinates."""

    def sides(a: Tensor, b: Tensor) -> Sides:
        w, _ = enclosing(a, b)
        return w, torch.max(a, b)[:, high] - torch.min(a, b)[:, low]

    return sides


ENCLOSING_MISTAKES: tuple[tuple[str, tuple[SidesOfPair, ...]], ...] = (
    (
        ONE_EXTREME,
        (lambda a, b: size(torch.max(a, b)), lambda a, b: size(torch.min(a, b))),
    ),
    (SIZES_ADDED, (lambda a, b: size(a + b),)),
    (LARGER_SIZES, (lambda a, b: tuple(map(torch.max, size(a), size(b))),)),
    (
        ENCLOSING_SIDE_TWICE,
        (
            lambda a, b: (enclosing(a, b)[0], enclosing(a, b)[0]),
            lambda a, b: (enclosing(a, b)[1], enclosing(a, b)[1]),
        ),
    ),
    (ENCLOSING_MIXED, (_mixed(0, 3), _mixed(1, 2))),
)


def large_epsilon(loss: Callable[[float], Loss]) -> Misconception:
    """Return the mistake of an epsilon that is no longer small; `loss` makes one with it."""
    return Misconception(LARGE_EPSILON, *(loss(eps) for eps in (1e-2, 1e-3, 1e-4)))


Penalty = Callable[[Tensor, Tensor, Tensor], Tensor]  # of the boxes and their IoU


def at_least_one(penalty: Penalty, its_variant: Penalty) -> Misconception:
    """Return the mistake of an area or a side that is never below 1.

    Args:
        penalty: the right one.
        its_variant: the penalty with its denominator at least 1.
    """

    def loss(overlap: Loss, what_is_added: Penalty) -> Loss:
        def function(a: Tensor, b: Tensor) -> Tensor:
            value = overlap(a, b)
            return 1 - value + what_is_added(a, b, value)

        return function

    return Misconception(
        AT_LEAST_ONE,
        loss(_over_union_of_one, penalty),
        loss(_over_union_of_one, its_variant),
        loss(iou, its_variant),
        loss(_with_sides_of_one, penalty),
        loss(_with_sides_of_one, its_variant),
    )


def grown(boxes: Tensor) -> Tensor:
    """Return boxes whose sides are one longer, as if their last pixel belonged to them."""
    return boxes + torch.tensor([0.0, 0, 1, 1])


def _corners(boxes: Tensor) -> Tensor:
    centre, sides = boxes[:, :2], boxes[:, 2:]
    return torch.cat((centre - sides / 2, centre + sides / 2), dim=1)


def _corners_of_corner_and_size(boxes: Tensor) -> Tensor:
    return torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), dim=1)


def _over_union_of_one(a: Tensor, b: Tensor) -> Tensor:
    return intersection(a, b) / union(a, b).clamp(min=1)


def _with_sides_of_one(a: Tensor, b: Tensor) -> Tensor:
    areas = [w.clamp(min=1) * h.clamp(min=1) for w, h in (size(a), size(b))]
    return intersection(a, b) / (areas[0] + areas[1] - intersection(a, b))


# ---- what a failing case shows ----


def _failing_row(case: Case, found: Fault) -> int | None:
    """Return the pair that a fault of a loss (N,) or of its gradient (N, 4) is about."""
    if len(case.args[0]) == 0:
        return None
    return found.index[0] if found.index else 0


def show_pair(case: Case, found: Fault) -> str:
    """Return the pair that failed and its IoU."""
    at = _failing_row(case, found)
    if at is None:
        return ""
    pred, target = (boxes[at] for boxes in case.args)
    return (
        f"pred_boxes[{at}] = {row(pred)}, target_boxes[{at}] = {row(target)}, "
        f"their IoU {float(paired_iou(pred, target)):.4f}"
    )


def draw_pair(case: Case, found: Fault) -> Drawing:
    """Draw the pair that failed."""
    at = _failing_row(case, found)
    if at is None:
        return []
    pred, target = (boxes[at] for boxes in case.args)
    return [(pred, "pred", "a"), (target, "target", "b")]
