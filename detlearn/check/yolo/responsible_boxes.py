"""Exercise 3.2: the box of a cell that learns the cell's object."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import box_iou, generalized_box_iou, intersection_and_union, paired_iou
from detlearn.check.boxes import NEGATIVE_SIDES, Drawing, boxes_of, random_boxes
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.models.yolov1 import responsible_boxes

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    two = _random(30, 2, random)
    three = _random(30, 3, random)
    apart = _apart(20, 3, random)
    one_box = (two[0][:, :1], two[1])
    nothing = (torch.zeros(0, 2, 4), torch.zeros(0, 4))

    degenerate = [
        Case("degenerate", nothing, "no cell with an object"),
        Case("degenerate", one_box, "cells of one box"),
        Case("degenerate", _without_area(), "predicted boxes without width or height"),
    ]

    values = [
        Case("random", two, "30 cells of two boxes"),
        Case("random", three, "30 cells of three boxes"),
        Case("random", apart, "20 cells of three boxes, none of which touches the object"),
    ]

    order = torch.randperm(30, generator=random)
    properties = [
        Case("property", tuple(x[order] for x in three), "the cells in another order"),
        Case("property", tuple(x / 100 for x in three), "the same boxes inside [0, 1]"),
        Case("property", tuple(x / 100 for x in apart), "boxes apart, inside [0, 1]"),
        Case("property", tuple(x - 300 for x in three), "the same boxes moved below zero"),
        Case("property", (three[0].flip(1), three[1]), "the boxes of each cell in reverse order"),
    ]

    growing = [Case("no loop", _random(n, 2, random), f"{n} cells", size=n) for n in (8, 64)]
    return [*_by_hand(), *degenerate, *values, *properties, *growing]


def _random(number: int, boxes: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return cells of which every other has no box that touches its object."""
    gt = random_boxes(number, random)
    near = gt[:, None] + 9 * torch.randn(number, boxes, 4, generator=random)
    near[..., 2:] = torch.max(near[..., 2:], near[..., :2] + 2)

    apart, far_gt = _apart(number, boxes, random)
    far = torch.arange(number) % 2 == 1
    return torch.where(far[:, None, None], apart, near), torch.where(far[:, None], far_gt, gt)


def _apart(number: int, boxes: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return cells none of whose boxes touches the object, at many distances and in all sizes."""
    gt = random_boxes(number, random, smallest=10.0)
    sides = 4 + 60 * torch.rand(number, boxes, 2, generator=random)
    gaps = 1 + 40 * torch.rand(number, boxes, generator=random)
    along = (gt[:, None, 2:] - gt[:, None, :2] + sides) / 2 + gaps[..., None]  # (M, n, 2)

    # Beside the object or above it, somewhat shifted.
    beside = torch.rand(number, boxes, 1, generator=random) < 0.5
    shift = 20 * torch.randn(number, boxes, 2, generator=random)
    sign = torch.randint(0, 2, (number, boxes, 2), generator=random) * 2.0 - 1
    which = torch.cat((beside, ~beside), dim=-1)  # (M, n, 2)
    centres = (gt[:, None, :2] + gt[:, None, 2:]) / 2 + torch.where(which, sign * along, shift)
    return torch.cat((centres - sides / 2, centres + sides / 2), dim=-1), gt


def _without_area() -> tuple[Tensor, Tensor]:
    boxes = torch.stack(
        (
            boxes_of((20, 20, 20, 40), (45, 10, 75, 45)),
            boxes_of((90, 5, 90, 5), (10, 10, 40, 11)),
            boxes_of((70, 50, 70, 50), (24, 24, 24, 24)),
        )
    )
    return boxes, boxes_of((0, 0, 40, 40), (0, 0, 40, 40), (0, 0, 40, 40))


CAR = boxes_of((0, 0, 40, 40))


def _by_hand() -> list[Case]:
    """Make cases of an object of 40 × 40 pixels at the upper left corner."""
    half = (0, 0, 40, 20)  # IoU 0.5; the squared differences are 10² + 20² = 500
    third = (20, 0, 60, 40)  # IoU 0.33; 20² = 400
    beside = (50, 0, 90, 40)  # IoU 0; 50² = 2500
    below = (0, 100, 40, 140)  # IoU 0; 100² = 10 000
    small = (45, 15, 55, 25)  # IoU 0; 30² + 30² + 30² = 2700
    at_45 = (45, 0, 85, 40)  # IoU 0; 45² = 2025
    at_edge = (40, 10, 60, 30)  # IoU 0, though it touches; 30² + 20² + 20² = 1700
    corner = (39, 39, 139, 139)  # IoU above 0 by one square pixel

    touching = [
        _hand("an IoU of 0.33 and one of 0.5", 1, third, half),
        _hand("an IoU of 0.5 and one of 0.33", 0, half, third),
        _hand("three boxes, the second with the highest IoU", 1, third, half, beside),
        _hand("a box that overlaps by one square pixel, and a near one that does not", 1, at_45,
              corner),
        _hand("the same box twice", 0, half, half),
        _hand("three boxes, of which the last two are the same", 1, third, half, half),
    ]  # fmt: skip

    apart = [
        _hand("two boxes that do not touch the object, the nearer one second", 1, below, beside),
        _hand("a near box that is too small, and one of the right size farther off", 1, small,
              beside),
        _hand("one difference of 45, and differences of 30, 20 and 20", 1, at_45, at_edge),
        _hand("the same box twice, apart from the object", 0, beside, beside),
        _hand("three boxes apart, the last one nearest", 2, below, beside, at_45),
    ]  # fmt: skip

    both = torch.stack((boxes_of(below, beside), boxes_of(third, half), boxes_of(small, third)))
    together = Case(
        "by hand",
        (both, CAR.repeat(3, 1)),
        "three cells: in the first no box touches the object",
        torch.tensor([1, 1, 1]),
    )
    return [*touching, *apart, together]


def _hand(note: str, expected: int, *boxes: tuple[float, float, float, float]) -> Case:
    return Case("by hand", (boxes_of(*boxes)[None], CAR), note, torch.tensor([expected]))


# ---- wrong answers ----


def _ious(pred: Tensor, gt: Tensor) -> Tensor:
    return paired_iou(pred, gt[:, None])  # (M, n)


def _places(boxes: Tensor) -> Tensor:
    """Return centre x, centre y, width and height."""
    return torch.cat(((boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]), -1)


def _squared(pred: Tensor, gt: Tensor) -> Tensor:
    return (_places(pred) - _places(gt)[:, None]).square().sum(dim=-1)


def _none_touches(ious: Tensor) -> Tensor:
    return (ious == 0).all(dim=1)


def _chosen(
    overlap: Callable[[Tensor, Tensor], Tensor] = _ious,
    distance: Callable[[Tensor, Tensor], Tensor] = _squared,
    falls_back: Callable[[Tensor], Tensor] = _none_touches,
    first: bool = True,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the choice with something changed.

    Args:
        overlap: of pred_boxes and gt_boxes, (M, n); the highest is responsible.
        distance: the same where no box touches the object; the lowest is responsible.
        falls_back: of the IoUs (M, n), in which cells the distance decides, (M,).
        first: of equals the first, or the last.
    """

    def function(pred: Tensor, gt: Tensor) -> Tensor:
        high, low = overlap(pred, gt), distance(pred, gt)
        if not first:
            high, low = high.flip(1), low.flip(1)
        best = torch.where(falls_back(_ious(pred, gt)), low.argmin(dim=1), high.argmax(dim=1))
        return best if first else pred.shape[1] - 1 - best

    return function


def _of_parts(*parts: int) -> Callable[[Tensor, Tensor], Tensor]:
    def distance(pred: Tensor, gt: Tensor) -> Tensor:
        return (_places(pred) - _places(gt)[:, None])[..., parts].square().sum(dim=-1)

    return distance


def _corner_distance(pred: Tensor, gt: Tensor) -> Tensor:
    return (pred - gt[:, None]).square().sum(dim=-1)


def _absolute(pred: Tensor, gt: Tensor) -> Tensor:
    return (_places(pred) - _places(gt)[:, None]).abs().sum(dim=-1)


def _halves_forgotten(pred: Tensor, gt: Tensor) -> Tensor:
    weights = torch.tensor([2.0, 2, 1, 1])
    return ((_places(pred) - _places(gt)[:, None]) * weights).square().sum(dim=-1)


def _roots(pred: Tensor, gt: Tensor) -> Tensor:
    pred, gt = _places(pred), _places(gt)
    pred, gt = (torch.cat((x[..., :2], x[..., 2:].clamp(min=0).sqrt()), -1) for x in (pred, gt))
    return (pred - gt[:, None]).square().sum(dim=-1)


def _read_as_centre_and_size(pred: Tensor, gt: Tensor) -> Tensor:
    return _ious(*(torch.cat((x[..., :2] - x[..., 2:] / 2, x[..., :2] + x[..., 2:] / 2), -1)
                   for x in (pred, gt)))  # fmt: skip


def _intersections(pred: Tensor, gt: Tensor) -> Tensor:
    return intersection_and_union(pred, gt[:, None])[0]


def _negative_sides(pred: Tensor, gt: Tensor) -> Tensor:
    gt = gt[:, None]
    low, high = torch.max(pred[..., :2], gt[..., :2]), torch.min(pred[..., 2:], gt[..., 2:])
    shared = (high - low).prod(dim=-1)
    areas = [(x[..., 2:] - x[..., :2]).prod(dim=-1) for x in (pred, gt)]
    return shared / (areas[0] + areas[1] - shared)


def _with_negative_sides(pred: Tensor, gt: Tensor) -> Tensor:
    ious = _negative_sides(pred, gt)
    return torch.where(_none_touches(ious), _squared(pred, gt).argmin(1), ious.argmax(1))


def _generalised(pred: Tensor, gt: Tensor) -> Tensor:
    pairs = [generalized_box_iou(pred[:, i], gt).diagonal() for i in range(pred.shape[1])]
    return torch.stack(pairs, dim=1)


def _with_any_object(pred: Tensor, gt: Tensor) -> Tensor:
    if not len(gt):
        return pred.new_zeros(0, pred.shape[1])
    return torch.stack([box_iou(pred[:, i], gt).amax(dim=1) for i in range(pred.shape[1])], dim=1)


def _with_the_first(pred: Tensor, gt: Tensor) -> Tensor:
    return _ious(pred, gt[:1].expand_as(gt))


def _once_for_all(ious: Tensor) -> Tensor:
    return (ious == 0).all().expand(len(ious))


def _below_half(ious: Tensor) -> Tensor:
    return (ious < 0.5).all(dim=1)


def _mask(pred: Tensor, gt: Tensor) -> Tensor:
    return torch.arange(pred.shape[1]) == responsible_boxes(pred, gt)[:, None]


def _box(pred: Tensor, gt: Tensor) -> Tensor:
    return pred[torch.arange(len(gt)), responsible_boxes(pred, gt)]


MISCONCEPTIONS = (
    # Where no box touches the object.
    Misconception(
        "where all IoUs of a cell are 0 its argmax is 0, whatever the boxes; there the smallest "
        "squared distance decides",
        _chosen(falls_back=lambda ious: torch.zeros(len(ious), dtype=torch.bool)),
    ),
    Misconception(
        "the distance decides only where all IoUs of a cell are 0; yours decides everywhere",
        _chosen(falls_back=lambda ious: torch.ones(len(ious), dtype=torch.bool)),
    ),
    Misconception(
        "the distance decides only where all IoUs of a cell are 0; in yours one box that does not "
        "touch the object is enough",
        _chosen(falls_back=lambda ious: (ious == 0).any(dim=1)),
    ),
    Misconception(
        "the distance decides only where all IoUs of a cell are 0, however small the others; yours "
        "decides below a threshold",
        _chosen(falls_back=_below_half),
        _chosen(falls_back=lambda ious: (ious < 0.1).all(dim=1)),
    ),
    Misconception(
        "whether no box touches the object is asked of each cell, dim=1; yours asks once for all "
        "of them, and the cells decide together",
        _chosen(falls_back=_once_for_all),
        _chosen(falls_back=lambda ious: (ious == 0).all(dim=1).any().expand(len(ious))),
    ),
    Misconception(
        "of boxes that do not touch the object the nearest is responsible; yours is the farthest: "
        "argmin, not argmax",
        _chosen(distance=lambda *boxes: -_squared(*boxes)),
    ),
    Misconception(
        "the distance counts width and height as well; yours is that of the centres",
        _chosen(distance=_of_parts(0, 1)),
    ),
    Misconception(
        "the distance counts the centres as well; yours is that of width and height",
        _chosen(distance=_of_parts(2, 3)),
    ),
    Misconception(
        "the centres count too much in your distance: centre x is (x1 + x2) / 2, with the half, "
        "and the corners themselves are not compared",
        _chosen(distance=_corner_distance),
        _chosen(distance=_halves_forgotten),
    ),
    Misconception(
        "the differences are squared before they are added up; yours are added up without a sign",
        _chosen(distance=_absolute),
    ),
    Misconception(
        "the differences are squared before they are added up; yours keep their signs and cancel",
        _chosen(distance=lambda p, g: (_places(p) - _places(g)[:, None]).sum(dim=-1)),
        _chosen(distance=lambda p, g: (_places(g)[:, None] - _places(p)).sum(dim=-1)),
        _chosen(distance=lambda p, g: (_places(g)[:, None] - _places(p)).sum(dim=-1).abs()),
    ),
    Misconception(
        "the distance compares width and height as they are; the roots belong to the loss",
        _chosen(distance=_roots),
    ),
    Misconception(
        "of boxes that do not touch the object the one with the smallest sum of squares is "
        "responsible; yours is the one with the highest GIoU",
        _chosen(distance=lambda *boxes: -_generalised(*boxes)),
    ),
    # The highest IoU.
    Misconception(
        "of boxes that touch the object the one with the highest IoU is responsible; yours has the "
        "lowest",
        _chosen(overlap=lambda *boxes: -_ious(*boxes)),
        lambda pred, gt: _ious(pred, gt).argmin(dim=1),
    ),
    Misconception(
        "of equal boxes the first is responsible; yours is the last",
        _chosen(first=False),
    ),
    Misconception(
        "IoU is the intersection divided by the union; yours compares the intersections alone",
        _chosen(overlap=_intersections),
    ),
    Misconception(
        "the highest IoU is responsible, not the highest GIoU",
        _chosen(overlap=_generalised),
        _chosen(overlap=_generalised, distance=lambda *boxes: -_generalised(*boxes)),
    ),
    Misconception(
        "a cell's boxes are compared with the cell's own object; yours are compared with the "
        "objects of all cells: of box_iou's table take the diagonal",
        _chosen(overlap=_with_any_object),
        lambda pred, gt: torch.where(
            _none_touches(_with_any_object(pred, gt)),
            _squared(pred, gt).argmin(dim=1),
            _with_any_object(pred, gt).argmax(dim=1),
        ),
    ),
    Misconception(
        "a cell's boxes are compared with the cell's own object; yours are all compared with the "
        "first: of box_iou's table take the diagonal",
        _chosen(overlap=_with_the_first),
        lambda pred, gt: responsible_boxes(pred, gt[:1].expand_as(gt)),
    ),
    Misconception(NEGATIVE_SIDES, _with_negative_sides),
    Misconception(
        "the boxes are corners x1, y1, x2, y2, not centre and size",
        lambda pred, gt: torch.where(
            _none_touches(_read_as_centre_and_size(pred, gt)),
            _corner_distance(pred, gt).argmin(dim=1),
            _read_as_centre_and_size(pred, gt).argmax(dim=1),
        ),
    ),
    # The form of the result.
    Misconception(
        "return for each cell the index of its box; yours are true and false",
        _mask,
    ),
    Misconception("return the index of the box; yours is the box itself", _box),
    Misconception(
        "return the index of the box; yours is its IoU",
        lambda pred, gt: _ious(pred, gt).amax(dim=1),
    ),
    Misconception(
        "return one index for each cell, (M,); yours has a second dimension",
        lambda pred, gt: responsible_boxes(pred, gt)[:, None],
    ),
    Misconception(
        "the indices begin at 0, as Python counts",
        lambda pred, gt: responsible_boxes(pred, gt) + 1,
    ),
)

# ---- how it is shown ----


def _at(case: Case, found: Fault) -> int | None:
    """Return the cell that a fault is about; None if there are no cells."""
    if not len(case.args[1]):
        return None
    return min(found.index[0] if found.index else 0, len(case.args[1]) - 1)


def _show(case: Case, found: Fault) -> str:
    """Return the boxes of the failing cell, and what there is to choose by."""
    at = _at(case, found)
    if at is None:
        return ""

    pred, gt = (x[at : at + 1] for x in case.args)
    ious, squares = _ious(pred, gt)[0], _squared(pred, gt)[0]
    return (
        f"pred_boxes[{at}] = {written(pred[0])}, gt_boxes[{at}] = {written(gt[0])}, "
        f"their IoUs {written(ious)}, their squared distances {written(squares)}"
    )


def _draw(case: Case, found: Fault) -> Drawing:
    at = _at(case, found)
    if at is None:
        return []
    pred, gt = case.args
    boxes = [(box, str(i), "bc"[i % 2]) for i, box in enumerate(pred[at])]
    return [(gt[at], "object", "a"), *boxes]


RESPONSIBLE_BOXES = Exercise(
    number="3.2",
    name="responsible_boxes",
    reference=responsible_boxes,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the box",),
    narrow=_show,
    draw=_draw,
    allowed=frozenset({"box_iou", "box_area", "box_convert", "paired_iou"}),
    counted="cells",
)
