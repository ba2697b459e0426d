"""Exercise 1.1: the IoU of each box with each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn import boxes as package
from detlearn.check.boxes import NEGATIVE_SIDES, Drawing, boxes_of, random_boxes, row
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case, Fault


def _iou_cases(random: torch.Generator) -> list[Case]:
    others = boxes_of((2, 0, 6, 4), (0, 0, 4, 4), (1, 1, 3, 3), (4, 0, 8, 4), (7, 6, 9, 9))

    none = torch.zeros(0, 4)
    flat = boxes_of((10, 10, 30, 10), (20, 20, 20, 40), (5, 5, 5, 5))
    points = boxes_of((5, 5, 5, 5), (8, 1, 8, 1))

    a, b = random_boxes(7, random), random_boxes(5, random)
    square = random_boxes(6, random), random_boxes(6, random)
    inside = (
        random_boxes(5, random, size=1.0, smallest=0.2),
        random_boxes(7, random, size=1.0, smallest=0.2),
    )

    return [
        *_iou_by_hand(others),
        Case("degenerate", (none, others), "no boxes in the first list"),
        Case("degenerate", (others, none), "no boxes in the second list"),
        Case("degenerate", (flat, flat), "boxes without area", only_finite=True),
        Case("degenerate", (points, flat), "points", only_finite=True),
        Case("random", (a, b), "7 against 5 random boxes"),
        Case("random", square, "6 against 6 random boxes"),
        Case("random", inside, "5 against 7 random boxes inside [0, 1]"),
        Case("property", (a - 300, b - 300), "the same boxes moved below zero"),
        Case("property", (a * 8, b * 8), "the same boxes, eight times as large"),
        Case("property", (b, a), "the two lists exchanged"),
        Case("gradient", (a, b), "7 against 5 random boxes", gradient=True),
        Case("gradient", inside, "5 against 7 random boxes inside [0, 1]", gradient=True),
        Case("no loop", (random_boxes(8, random), b), "8 against 5 random boxes", size=8),
        Case("no loop", (random_boxes(64, random), b), "64 against 5 random boxes", size=64),
    ]


def _iou_by_hand(others: Tensor) -> list[Case]:
    # Each way in which two boxes can lie, alone and then in one call.
    one = boxes_of((0, 0, 4, 4))
    pairs = [
        Case("by hand", (one, others[:1]), "boxes that share a third", torch.tensor([[1 / 3]])),
        Case("by hand", (one, others[2:3]), "a box inside a box", torch.tensor([[0.25]])),
        Case("by hand", (one, others[3:4]), "boxes that touch", torch.tensor([[0.0]])),
        Case("by hand", (one, others[4:]), "boxes diagonally apart", torch.tensor([[0.0]])),
    ]
    one_against_five = Case(
        "by hand",
        (one, others),
        "one box against five",
        torch.tensor([[1 / 3, 1.0, 0.25, 0.0, 0.0]]),
    )

    # As many rows as columns, so that areas added along the wrong axis make no error, but numbers.
    two = boxes_of((0, 0, 4, 4), (0, 0, 2, 2))
    pair = boxes_of((2, 0, 6, 4), (0, 0, 1, 2))
    two_against_two = Case(
        "by hand",
        (two, pair),
        "two boxes against two",
        torch.tensor([[8 / 24, 2 / 16], [0.0, 2 / 4]]),
    )

    # Shares of the image: what is harmless in pixels, like a union of at least 1, is not here.
    share = boxes_of((0.1, 0.5, 0.5, 0.9))
    shares = boxes_of((0.2, 0.4, 0.6, 0.8), (0.2, 0.6, 0.4, 0.8))
    inside_the_unit = Case(
        "by hand",
        (share, shares),
        "boxes inside [0, 1]",
        torch.tensor([[0.09 / 0.23, 0.04 / 0.16]]),
    )

    return [*pairs, one_against_five, two_against_two, inside_the_unit]


# ---- what is changed ----


def _parts(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return width and height of what each pair shares, negative where apart, and both areas."""
    w = torch.min(a[:, None, 2], b[:, 2]) - torch.max(a[:, None, 0], b[:, 0])
    h = torch.min(a[:, None, 3], b[:, 3]) - torch.max(a[:, None, 1], b[:, 1])
    return w, h, package.box_area(a)[:, None], package.box_area(b)


def _iou_with(
    formula: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what has another function of the intersection and the two areas in place of I / U."""

    def function(a: Tensor, b: Tensor) -> Tensor:
        w, h, area_a, area_b = _parts(a, b)
        shared = w.clamp(min=0) * h.clamp(min=0)
        return formula(shared, area_a.expand_as(shared), area_b.expand_as(shared))

    return function


def _iou_with_areas(
    add: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what adds the areas, a function of both lists of boxes, in another way."""

    def function(a: Tensor, b: Tensor) -> Tensor:
        w, h, _, _ = _parts(a, b)
        shared = w.clamp(min=0) * h.clamp(min=0)
        return shared / (add(a, b) - shared + 1e-9)

    return function


# How a division by zero is avoided. Where boxes lie apart, a wrong intersection makes the union
# negative, and what comes of it depends on this.
SAFE_UNIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    *(lambda union, added=10.0**-n: union + added for n in range(5, 17)),
    *(lambda union, least=10.0**-n: union.clamp(min=least) for n in range(5, 17)),
)


def _sharing(
    shared: Callable[[Tensor, Tensor], Tensor],
) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """Return what makes another intersection of width and height, which may be negative."""

    def with_union(safe: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        def function(a: Tensor, b: Tensor) -> Tensor:
            w, h, area_a, area_b = _parts(a, b)
            both = shared(w, h)
            return both / safe(area_a + area_b - both)

        return function

    return [with_union(safe) for safe in SAFE_UNIONS]


def _other_union(
    union: Callable[[Tensor, Tensor], Tensor],
) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """Return what divides by something else, a function of the intersection and both areas."""

    def with_union(safe: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return _iou_with(lambda i, a, b: i / safe(union(i, a + b)))

    return [with_union(safe) for safe in SAFE_UNIONS]


def _area_twice(
    areas: Callable[[Tensor, Tensor], Tensor],
) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """Return what adds up other areas than one of each list."""
    return [_iou_with(lambda i, a, b, s=safe: i / s(areas(a, b) - i)) for safe in SAFE_UNIONS]


def _over_the_enclosing_box(a: Tensor, b: Tensor) -> Tensor:
    w, h, _, _ = _parts(a, b)
    around_w = torch.max(a[:, None, 2], b[:, 2]) - torch.min(a[:, None, 0], b[:, 0])
    around_h = torch.max(a[:, None, 3], b[:, 3]) - torch.min(a[:, None, 1], b[:, 1])
    return w.clamp(min=0) * h.clamp(min=0) / (around_w * around_h).clamp(min=1e-9)


def _plus_one(a: Tensor, b: Tensor) -> Tensor:
    one = torch.tensor([0.0, 0, 1, 1])
    return package.box_iou(a + one, b + one)


def _sides_at_least_one(a: Tensor, b: Tensor) -> Tensor:
    sides_a, sides_b = ((boxes[:, 2:] - boxes[:, :2]).clamp(min=1) for boxes in (a, b))
    return sides_a.prod(1)[:, None] + sides_b.prod(1)


def _as_xywh(a: Tensor, b: Tensor) -> Tensor:
    return package.box_iou(a, b, fmt="xywh")


def _mixed_axes(a: Tensor, b: Tensor) -> Tensor:
    return package.box_iou(a[:, [0, 2, 1, 3]], b[:, [0, 2, 1, 3]])


def _mixed_axes_without_epsilon(a: Tensor, b: Tensor) -> Tensor:
    w, h, area_a, area_b = _parts(a[:, [0, 2, 1, 3]], b[:, [0, 2, 1, 3]])
    shared = w.clamp(min=0) * h.clamp(min=0)
    return shared / (area_a + area_b - shared)


def _enclosing_ratio(a: Tensor, b: Tensor) -> Tensor:
    w = torch.max(a[:, None, 2], b[:, 2]) - torch.min(a[:, None, 0], b[:, 0])
    h = torch.max(a[:, None, 3], b[:, 3]) - torch.min(a[:, None, 1], b[:, 1])
    return w * h / (package.box_area(a)[:, None] + package.box_area(b) - w * h + 1e-9)


def _one_extreme(extreme: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what takes the larger, or the smaller, of all four coordinates."""

    def function(a: Tensor, b: Tensor) -> Tensor:
        corners = extreme(a[:, None], b)  # (N, M, 4)
        w, h = (corners[..., 2:] - corners[..., :2]).clamp(min=0).unbind(-1)
        return w * h / (package.box_area(a)[:, None] + package.box_area(b) - w * h + 1e-9)

    return function


def _areas_down_the_columns(a: Tensor, b: Tensor) -> Tensor:
    areas_a, areas_b = ((boxes[:, 2:] - boxes[:, :2]).prod(0) for boxes in (a, b))
    return areas_a[:, None] + areas_b


# ---- what a failing case shows ----


def _cell_of(case: Case, found: Fault) -> tuple[int, int] | None:
    """Return the row and the column that a fault of the IoU, or of its gradient, is about."""
    boxes1, boxes2 = case.args
    if len(boxes1) == 0 or len(boxes2) == 0:
        return None
    i, j = found.index if len(found.index) == 2 and found.kind != "gradient" else (0, 0)
    if found.kind == "gradient" and found.index:
        i = found.index[0]
    return min(i, len(boxes1) - 1), min(j, len(boxes2) - 1)


def _show_cell(case: Case, found: Fault) -> str:
    cell = _cell_of(case, found)
    if cell is None:
        return ""
    i, j = cell
    boxes1, boxes2 = case.args
    return f"boxes1[{i}] = {row(boxes1[i])}, boxes2[{j}] = {row(boxes2[j])}"


def _draw_cell(case: Case, found: Fault) -> Drawing:
    cell = _cell_of(case, found)
    if cell is None:
        return []
    i, j = cell
    boxes1, boxes2 = case.args
    return [(boxes1[i], f"boxes1[{i}]", "a"), (boxes2[j], f"boxes2[{j}]", "b")]


BOX_IOU = Exercise(
    number="1.1",
    name="box_iou",
    reference=package.box_iou,
    cases=_iou_cases,
    misconceptions=(
        Misconception(NEGATIVE_SIDES, *_sharing(lambda w, h: w * h)),
        Misconception(
            "you clamp the product; of boxes diagonally apart both factors are negative, so clamp "
            "width and height at zero before they are multiplied",
            *_sharing(lambda w, h: (w * h).clamp(min=0)),
        ),
        Misconception(
            "only one of width and height is clamped; boxes can lie apart in x and in y, so clamp "
            "both at zero",
            *_sharing(lambda w, h: w.clamp(min=0) * h),
            *_sharing(lambda w, h: w * h.clamp(min=0)),
        ),
        Misconception(
            "two boxes overlap where width and height are both positive; for yours one of the two "
            "is enough: clamp each at zero",
            *_sharing(lambda w, h: (w * h).where((w > 0) | (h > 0), 0.0)),
        ),
        Misconception(
            "an absolute value turns the gap between two boxes into an overlap; clamp width and "
            "height at zero",
            *_sharing(lambda w, h: w.abs() * h.abs()),
        ),
        Misconception(
            "coordinates are continuous: the width is x2 − x1, without the + 1 of pixel counts",
            _plus_one,
        ),
        Misconception(
            "the union is the sum of both areas minus the intersection; without the minus what "
            "they share counts twice",
            _iou_with(lambda i, a, b: i / (a + b)),
            _iou_with(lambda i, a, b: i / (a + b + 1e-9)),
        ),
        Misconception(
            "the area is (x2 − x1) · (y2 − y1); yours is x2 · y2, measured from the image's corner",
            _iou_with_areas(lambda a, b: (a[:, 2] * a[:, 3])[:, None] + b[:, 2] * b[:, 3]),
        ),
        Misconception(
            "this is 2·I / (A + B), the Dice coefficient; the IoU is I / (A + B − I)",
            _iou_with(lambda i, a, b: 2 * i / (a + b + 1e-9)),
        ),
        Misconception(
            "you divide by the smaller area, so that a box inside another gets 1; divide by the "
            "union",
            _iou_with(lambda i, a, b: i / torch.min(a, b).clamp(min=1e-9)),
        ),
        Misconception(
            "you divide by the larger area; divide by the union",
            _iou_with(lambda i, a, b: i / torch.max(a, b).clamp(min=1e-9)),
        ),
        Misconception(
            "you divide by the area of the first box alone; divide by the union",
            _iou_with(lambda i, a, b: i / a.clamp(min=1e-9)),
        ),
        Misconception(
            "you divide by the area of the second box alone; divide by the union",
            _iou_with(lambda i, a, b: i / b.clamp(min=1e-9)),
        ),
        Misconception(
            "both areas hold the shared part, so it is taken away once, area1 + area2 − shared; "
            "yours takes it away twice",
            *_other_union(lambda i, areas: areas - 2 * i),
        ),
        Misconception(
            "the union needs one area of each list; yours has that of one list twice",
            *_area_twice(lambda a, b: 2 * a),
            *_area_twice(lambda a, b: 2 * b),
        ),
        Misconception(
            "you divide by the area of the box around both; divide by the union",
            _over_the_enclosing_box,
        ),
        Misconception(
            "this is the intersection in square pixels; divide it by the union",
            _iou_with(lambda i, a, b: i),
        ),
        Misconception(
            "this is union over intersection; turn the fraction over",
            _iou_with(lambda i, a, b: (a + b - i) / i),
        ),
        Misconception(
            "two boxes without area have a union of zero, and 0 / 0 is not a number: add a small "
            "epsilon to the union or clamp it",
            _iou_with(lambda i, a, b: i / (a + b - i)),
        ),
        Misconception(
            "the result is transposed: rows belong to boxes1, columns to boxes2",
            lambda a, b: package.box_iou(b, a),
        ),
        Misconception("the boxes are corners x1, y1, x2, y2, not corner and size", _as_xywh),
        Misconception(
            "x and y are mixed up: a box is x1, y1, x2, y2, in this order",
            _mixed_axes,
            _mixed_axes_without_epsilon,
        ),
        Misconception(
            "a union, an area or a side below 1 becomes 1 in your function, which is harmless in "
            "pixels but not for boxes inside [0, 1]; add a small epsilon, 1e-7 say, instead",
            _iou_with(lambda i, a, b: i / (a + b - i).clamp(min=1)),
            _iou_with_areas(_sides_at_least_one),
            _iou_with(lambda i, a, b: i / (a.clamp(min=1) + b.clamp(min=1) - i)),
        ),
        Misconception(
            "the areas are added along the wrong axis: those of boxes1 belong to the rows, "
            "area1[:, None], those of boxes2 to the columns",
            _iou_with_areas(lambda a, b: package.box_area(a) + package.box_area(b)),
            _iou_with_areas(lambda a, b: package.box_area(a) + package.box_area(b)[:, None]),
            _iou_with_areas(
                lambda a, b: package.box_area(a)[:, None] + package.box_area(b)[:, None]
            ),
        ),
        Misconception(
            "the areas are multiplied along the wrong axis: of boxes (N, 4) the area is one "
            "number a row, width times height, prod(dim=1)",
            _iou_with_areas(_areas_down_the_columns),
        ),
        Misconception(
            "you take the same extreme of all four coordinates; what both share begins at the "
            "larger x1 and y1 and ends at the smaller x2 and y2",
            _one_extreme(torch.max),
            _one_extreme(torch.min),
        ),
        Misconception(
            "min and max are exchanged: the intersection begins at the larger of the two left "
            "edges and ends at the smaller of the two right ones",
            _enclosing_ratio,
        ),
        Misconception(
            "compare each box of the first list with each of the second, (N, M): boxes1[:, None] "
            "and broadcasting do it; you compare them one to one",
            package.paired_iou,
        ),
    ),
    returns=("the IoU",),
    draw=_draw_cell,
    narrow=_show_cell,
    solution=(
        package.box_iou,
        package.intersection_and_union,
        package.box_area,
        package.ratio,
    ),
    allowed=frozenset({"box_area"}),
)
