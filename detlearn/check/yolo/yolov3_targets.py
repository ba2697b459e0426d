"""Exercise 3.5: what each place of YOLOv3 learns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.anchors import shape_iou
from detlearn.boxes import box_iou
from detlearn.check.boxes import Drawing, boxes_of
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.models.yolov3 import responsible_places, yolov3_targets

BACKGROUND, IGNORED = -1, -2

# ---- what is asked ----


def _sides(*levels: list[tuple[float, float]]) -> list[Tensor]:
    """Return the anchors of each map."""
    return [torch.tensor(level, dtype=torch.float32) for level in levels]


THREE = _sides([(6, 10)], [(26, 18)], [(51, 49)])  # the text's
SIX = _sides([(8, 14), (14, 9)], [(30, 14), (16, 34)], [(60, 40), (35, 70)])
UNEVEN = _sides([(7, 7), (9, 18), (20, 10)], [(40, 24)], [(38, 66), (80, 60)])


def _cases(random: torch.Generator) -> list[Case]:
    three = _random(6, (64, 96), THREE, (8, 16, 32), random)
    six = _random(9, (96, 160), SIX, (8, 16, 32), random)
    uneven = _random(8, (64, 128), UNEVEN, (4, 16, 32), random)
    low = (*six[:5], 0.3)

    none = (three[0][:0], *three[1:])
    centres = (six[0][:, :2] + six[0][:, 2:]) / 2
    small = (torch.cat((centres - 0.4, centres + 0.5), dim=1), *six[1:])
    large = (six[0] + torch.tensor([-150.0, -90, 150, 90]), *six[1:])
    single = _random(4, (48, 64), SIX[:1], (8,), random)

    degenerate = [
        Case("degenerate", none, "no objects"),
        Case("degenerate", (single[0][:0], *single[1:]), "no objects and a single map"),
        Case("degenerate", small, "objects smaller than a cell"),
        Case("degenerate", large, "objects larger than the image"),
        Case("degenerate", single, "a single map with two anchors"),
        Case("degenerate", three[:5], "six objects, and no threshold given"),
    ]

    values = [
        Case("random", three, "6 objects, three maps with an anchor each"),
        Case("random", six, "9 objects, three maps with two anchors each"),
        Case("random", uneven, "8 objects, maps with three anchors, one and two"),
        Case("random", low, "9 objects and a threshold of 0.3"),
    ]

    gt, pred, anchors, strides, maps, threshold = six
    doubled = (2 * gt, 2 * pred, [2 * x for x in anchors], [2 * s for s in strides], maps)
    properties = [
        Case("property", (*doubled, threshold), "everything twice as large"),
        Case("property", (gt.flip(0), *six[1:]), "the objects in reverse order"),
        Case("property", (gt.repeat(2, 1), *six[1:]), "each object twice"),
    ]

    growing = [
        Case(
            "no loop",
            _random(3, (8 * n, 8 * n), SIX[:1], (8,), random),
            f"{2 * n * n} places",
            size=2 * n * n,
        )
        for n in (4, 20)
    ]
    return [*_by_hand(), *degenerate, *values, *properties, *growing]


def _random(
    number: int,
    image_size: tuple[int, int],
    anchors: list[Tensor],
    strides: tuple[int, ...],
    random: torch.Generator,
) -> tuple:
    """Return the arguments; many predictions lie near an object, others anywhere."""
    height, width = image_size
    centres = torch.rand(number, 2, generator=random) * torch.tensor([width, height])
    shapes = torch.cat(anchors)
    like = torch.randint(len(shapes), (number,), generator=random)
    sides = shapes[like] * (0.7 + 0.6 * torch.rand(number, 2, generator=random))
    gt_boxes = torch.cat((centres - sides / 2, centres + sides / 2), dim=1)

    maps = [(height // stride, width // stride) for stride in strides]
    places = sum(h * w * len(level) for (h, w), level in zip(maps, anchors))
    near = gt_boxes[torch.randint(number, (places,), generator=random)]
    noise = torch.rand(places, 1, generator=random) * torch.randn(places, 4, generator=random)
    pred = near + 0.15 * (near[:, 2:] - near[:, :2]).repeat(1, 2) * noise
    pred[:, 2:] = torch.max(pred[:, 2:], pred[:, :2] + 1)
    anywhere = torch.rand(places, generator=random) < 0.4
    moved = pred + 0.6 * width
    pred = torch.where(anywhere[:, None], moved, pred)
    return gt_boxes, pred, anchors, list(strides), maps, 0.7


def _hand(
    note: str,
    objects: list[tuple],
    learned: dict[int, int],
    *,
    anchors: list[Tensor] = THREE,
    strides: tuple[int, ...] = (4, 8, 16),
    maps: tuple[tuple[int, int], ...] = ((8, 12), (4, 6), (2, 3)),
    says: dict[int, tuple] | None = None,
    threshold: float = 0.7,
) -> Case:
    """Make a case in which all but a few predictions are far from everything.

    Args:
        note: what is special.
        objects: their boxes.
        learned: of the places that are not background, what they learn.
        anchors, strides, maps: of the maps.
        says: of some places, the predicted box.
        threshold: from which a prediction is ignored.
    """
    places = sum(h * w * len(level) for (h, w), level in zip(maps, anchors))
    pred = boxes_of((500, 500, 510, 510)).repeat(places, 1)
    for place, box in (says or {}).items():
        pred[place] = boxes_of(box)[0]
    expected = torch.full((places,), BACKGROUND)
    for place, what in learned.items():
        expected[place] = what
    args = (boxes_of(*objects), pred, anchors, list(strides), list(maps), threshold)
    return Case("by hand", args, note, expected)


CAR = (5, 2, 35, 22)  # 30 × 20 around (20, 12): of stride 8 row 1, column 2, place 96 + 8
SHIFTED = (6, 2, 36, 22)  # IoU with it 29 / 31
HALF = (5, 2, 35, 12)  # 0.5
LOW = (15, 8, 45, 28)  # 30 × 20 around (30, 18): row 2, column 3, place 96 + 15


def _by_hand() -> list[Case]:
    """Make cases of an image of 32 × 48 pixels, with 96, 24 and 6 places, and of smaller ones."""
    return [*_learned(), *_which_anchor(), *_border(), *_thresholds()]


def _learned() -> list[Case]:
    return [
        _hand("the object of the text, and no prediction near it", [CAR], {104: 0}),
        _hand(
            "the object of the text, three predictions near it, and one that is its half",
            *([CAR], {104: 0, 10: IGNORED, 125: IGNORED}),
            says={10: CAR, 125: SHIFTED, 104: SHIFTED, 11: HALF},
        ),
        _hand("two objects of one shape in two cells", [CAR, LOW], {104: 0, 111: 1}),
        _hand(
            "the place of an object, whose prediction lies on another object",
            *([CAR, LOW], {104: 0, 111: 1, 0: IGNORED}),
            says={104: LOW, 0: LOW},
        ),
        _hand("two objects at one place", [CAR, LOW, (6, 2, 36, 22)], {104: 2, 111: 1}),
        _hand("the same object three times", [LOW, LOW, LOW], {111: 2}),
    ]


def _which_anchor() -> list[Case]:
    # One map of two rows and three columns, with a high and a wide anchor in each cell.
    two = {"anchors": _sides([(10, 20), (20, 10)]), "strides": (10,), "maps": ((2, 3),)}
    high_and_wide = [
        _hand("a wide object in row 1, column 2", [(16, 11, 34, 19)], {11: 0}, **two),
        _hand("a high object in row 0, column 1", [(11, -6, 19, 14)], {2: 0}, **two),
        _hand(
            "a square object, which is as much like one anchor as like the other",
            *([(5, 5, 25, 25)], {8: 0}),
            **two,
        ),
        _hand("an object that no anchor is much like", [(14.5, 14.5, 15.5, 15.5)], {8: 0}, **two),
    ]

    # The same two on two maps: the first map's comes first.
    on_two_maps = _hand(
        "a square object, as much like the anchor of the first map as like that of the second",
        *([(25, 5, 45, 25)], {7: 0}),
        anchors=_sides([(10, 20)], [(20, 10)]),
        strides=(10, 20),
        maps=((2, 4), (1, 2)),
    )

    # By the IoU, not by the difference of sides: 20 × 20 is 14 pixels from one, 20 from the other.
    pixels = {"anchors": _sides([(10, 10), (40, 20)]), "strides": (10,), "maps": ((3, 4),)}
    by_iou = [
        _hand(
            "an object of 20 × 20 pixels, which the anchor 40 × 20 is more like than 10 × 10",
            *([(5, 5, 25, 25)], {(4 + 1) * 2 + 1: 0}),
            **pixels,
        ),
        _hand(
            "objects of 21 × 19 and of 12 × 12 pixels and anchors of 10 × 10 and 40 × 20",
            *([(15, 6, 36, 25), (9, 9, 21, 21)], {(4 + 2) * 2 + 1: 0, (4 + 1) * 2: 1}),
            **pixels,
        ),
    ]

    # Of two that fit well the better one alone, whichever map it stands on.
    alike = {
        "anchors": _sides([(20, 20)], [(25, 25)]),
        "strides": (10, 20),
        "maps": ((2, 4), (1, 2)),
    }
    the_better = [
        _hand(
            "an object of 23 × 23 pixels, which two anchors are like",
            *([(3.5, 3.5, 26.5, 26.5)], {8: 0}),
            **alike,
        ),
        _hand(
            "an object of 21 × 21 pixels, which two anchors are like",
            *([(14.5, 4.5, 35.5, 25.5)], {4 + 2: 0}),
            **alike,
        ),
    ]

    # The cell to the right and below.
    corner = _hand("a centre where four cells meet", [(11, 6, 29, 14)], {11: 0}, **two)

    return [*high_and_wide, on_two_maps, *by_iou, *the_better, corner]


def _border() -> list[Case]:
    """Make cases of centres on or beyond the border of the image, which the nearest cell has."""
    return [
        _hand(
            "centres to the left of the image and on its right border",
            *([(-27, 2, 3, 22), (33, -6, 63, 14)], {96 + 6: 0, 96 + 5: 1}),
        ),
        _hand(
            "a centre on the right border and one beyond it",
            *([(33, -6, 63, 14), (41, 10, 71, 30)], {96 + 5: 0, 96 + 17: 1}),
        ),
        _hand(
            "a centre above the image and one below it",
            *([(5, -22, 35, -2), (5, 34, 35, 54)], {96 + 2: 0, 96 + 20: 1}),
        ),
    ]


def _thresholds() -> list[Case]:
    """Make cases of thresholds other than 0.7."""
    return [
        _hand(
            "predictions whose IoU is 0.5 and 0.94, and a threshold of 0.5",
            *([CAR], {104: 0, 3: IGNORED}),
            says={2: HALF, 3: SHIFTED},
            threshold=0.5,
        ),
        _hand(
            "predictions whose IoU is 0.25 and 0.5, and a threshold of 0.25",
            *([CAR], {104: 0, 2: IGNORED}),
            says={2: HALF, 7: (5, 2, 20, 12)},
            threshold=0.25,
        ),
        _hand(
            "predictions whose IoU is 0.5 and 0.94, and a threshold of 0.95",
            *([CAR], {104: 0}),
            says={2: HALF, 3: SHIFTED},
            threshold=0.95,
        ),
    ]


# ---- wrong answers ----


def _centres(gt: Tensor) -> Tensor:
    return (gt[:, :2] + gt[:, 2:]) / 2


def _lengths(gt: Tensor) -> Tensor:
    return gt[:, 2:] - gt[:, :2]


def _most_like(gt: Tensor, anchors: list[Tensor]) -> Tensor:
    return shape_iou(_lengths(gt), torch.cat(anchors)).argmax(dim=1)


def _last_of_equals(gt: Tensor, anchors: list[Tensor]) -> Tensor:
    iou = shape_iou(_lengths(gt), torch.cat(anchors))
    return iou.shape[1] - 1 - iou.flip(1).argmax(dim=1)


def _nearest_in_pixels(gt: Tensor, anchors: list[Tensor]) -> Tensor:
    away = _lengths(gt)[:, None] - torch.cat(anchors)
    return away.square().sum(dim=-1).argmin(dim=1)


def _nearest_in_area(gt: Tensor, anchors: list[Tensor]) -> Tensor:
    areas = torch.cat(anchors).prod(dim=1)
    return (_lengths(gt).prod(dim=1)[:, None] - areas).abs().argmin(dim=1)


def _of_the_first_map(gt: Tensor, anchors: list[Tensor]) -> Tensor:
    return shape_iou(_lengths(gt), anchors[0]).argmax(dim=1)


def _exchanged_sides(gt: Tensor, anchors: list[Tensor]) -> Tensor:
    return shape_iou(_lengths(gt), torch.cat(anchors).flip(1)).argmax(dim=1)


def _floor(gt: Tensor, stride: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return row and column of the cells, with the border's for what is beyond."""
    column, row = (_centres(gt) / stride).floor().long().unbind(1)
    return row.clamp(0, height - 1), column.clamp(0, width - 1)


def _unclamped(gt: Tensor, stride: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    column, row = (_centres(gt) / stride).floor().long().unbind(1)
    return row, column


def _truncated(gt: Tensor, stride: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    column, row = (_centres(gt) / stride).long().unbind(1)
    return row, column


def _rounded(gt: Tensor, stride: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    column, row = (_centres(gt) / stride).round().long().unbind(1)
    return row.clamp(0, height - 1), column.clamp(0, width - 1)


def _of_the_corner(gt: Tensor, stride: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    return _floor(gt[:, :2].repeat(1, 2), stride, height, width)


def _x_for_rows(gt: Tensor, stride: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    column, row = (_centres(gt) / stride).floor().long().unbind(1)
    return column.clamp(0, height - 1), row.clamp(0, width - 1)


Number = Callable[[Tensor, Tensor, Tensor, int, int, int], Tensor]


def _row_by_row(row: Tensor, column: Tensor, a: Tensor, h: int, w: int, count: int) -> Tensor:
    return (row * w + column) * count + a


def _anchor_by_anchor(row: Tensor, column: Tensor, a: Tensor, h: int, w: int, n: int) -> Tensor:
    return a * h * w + row * w + column


def _column_by_column(row: Tensor, column: Tensor, a: Tensor, h: int, w: int, n: int) -> Tensor:
    return (column * h + row) * n + a


def _places(
    best: Callable[[Tensor, list[Tensor]], Tensor] = _most_like,
    cell: Callable[..., tuple[Tensor, Tensor]] = _floor,
    number: Number = _row_by_row,
    one_stride: bool = False,
    from_zero: bool = False,
) -> Callable[..., Tensor]:
    """Return the places of objects with something changed.

    Args:
        best: which anchor of all, (N,).
        cell: row and column.
        number: of a place in its map.
        one_stride: take the first map's for all.
        from_zero: count each map's places from 0.
    """

    def function(gt: Tensor, anchors: list[Tensor], strides: list, maps: list) -> Tensor:
        chosen = best(gt, anchors)
        places = torch.zeros(len(gt), dtype=torch.int64)
        first = before = 0
        for level, stride, (h, w) in zip(anchors, strides, maps):
            count = len(level)
            mine = (chosen >= before) & (chosen < before + count)
            row, column = cell(gt, strides[0] if one_stride else stride, h, w)
            within = number(row, column, chosen - before, h, w, count)
            places = torch.where(mine, within + (0 if from_zero else first), places)
            first += h * w * count
            before += count
        return places

    return function


def _targets(
    places: Callable[..., Tensor] = responsible_places,
    ignored: Callable[[Tensor, float], Tensor] = lambda iou, threshold: iou > threshold,
    overlap: Callable[[Tensor, Tensor], Tensor] = box_iou,
    marks: tuple[int, int] = (BACKGROUND, IGNORED),
    first: bool = False,
    ignored_last: bool = False,
    fixed: float | None = None,
    counts_from: int = 0,
) -> Callable[..., Tensor]:
    """Return the targets with something changed.

    Args:
        places: of the objects.
        ignored: of the IoUs (P, N) with a threshold, which are enough for a place to be ignored.
        overlap: of predictions and objects.
        marks: of background and of ignored places.
        first: of objects at one place the first is learned.
        ignored_last: a place that learns an object may be ignored afterwards.
        fixed: a threshold in place of the given one.
        counts_from: the number of the first object.
    """

    def function(
        gt: Tensor,
        pred: Tensor,
        anchors: list[Tensor],
        strides: list,
        maps: list,
        ignore_threshold: float = 0.7,
    ) -> Tensor:
        assigned = torch.full((len(pred),), marks[0])
        if not len(gt):
            return assigned
        threshold = ignore_threshold if fixed is None else fixed
        ignore = ignored(overlap(pred, gt), threshold).any(dim=1)
        if not ignored_last:
            assigned[ignore] = marks[1]
        at = places(gt, anchors, strides, maps).tolist()
        for i, place in reversed([*enumerate(at)]) if first else enumerate(at):
            assigned[place] = i + counts_from
        if ignored_last:
            assigned[ignore] = marks[1]
        return assigned

    return function


def _place(**changed: object) -> Callable[..., Tensor]:
    return _targets(places=_places(**changed))


def _on_each_map(gt, pred, anchors, strides, maps, ignore_threshold=0.7) -> Tensor:
    """Let each map have its best anchor."""
    assigned = yolov3_targets(gt, pred, anchors, strides, maps, ignore_threshold)
    first = 0
    for level, stride, size in zip(anchors, strides, maps):
        at = responsible_places(gt, [level], [stride], [size]) + first
        for i, place in enumerate(at.tolist()):
            assigned[place] = i
        first += size[0] * size[1] * len(level)
    return assigned


def _all_good_anchors(least: float) -> Callable[..., Tensor]:
    """Return targets in which all anchors like the object learn it, the best in any case."""

    def function(gt, pred, anchors, strides, maps, ignore_threshold=0.7) -> Tensor:
        assigned = yolov3_targets(gt, pred, anchors, strides, maps, ignore_threshold)
        if not len(gt):
            return assigned
        like = shape_iou(_lengths(gt), torch.cat(anchors))
        best = like.argmax(dim=1)
        for i in range(len(gt)):
            for a in range(like.shape[1]):
                if like[i, a] > least or a == best[i]:
                    chosen = _places(best=lambda gt, anchors, a=a: torch.full((len(gt),), a))
                    assigned[chosen(gt[i : i + 1], anchors, strides, maps)] = i
        return assigned

    return function


def _only_good_ones(least: float) -> Callable[..., Tensor]:
    """Return targets in which an object that no anchor is much like is learned nowhere."""

    def function(gt, pred, anchors, strides, maps, ignore_threshold=0.7) -> Tensor:
        if not len(gt):
            return torch.full((len(pred),), BACKGROUND)
        good = shape_iou(_lengths(gt), torch.cat(anchors)).amax(dim=1) > least
        best = box_iou(pred, gt).amax(dim=1)
        assigned = torch.where(best > ignore_threshold, IGNORED, BACKGROUND)
        at = responsible_places(gt, anchors, strides, maps)
        for i in good.nonzero().flatten().tolist():
            assigned[at[i]] = i
        return assigned

    return function


def _by_the_anchor(gt, pred, anchors, strides, maps, ignore_threshold=0.7) -> Tensor:
    """Ignore by the IoU of the anchors as they lie in their cells."""
    boxes = []
    for level, stride, (h, w) in zip(anchors, strides, maps):
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        centres = ((torch.stack((x, y), dim=-1) + 0.5) * stride)[:, :, None]  # (h, w, 1, 2)
        corners = torch.cat((centres - level / 2, centres + level / 2), dim=-1)
        boxes.append(corners.flatten(0, 2))
    return yolov3_targets(gt, torch.cat(boxes), anchors, strides, maps, ignore_threshold)


def _where_the_prediction_is_best(gt, pred, anchors, strides, maps, ignore_threshold=0.7) -> Tensor:
    """Let the prediction with the highest IoU learn an object."""
    if not len(gt):
        return torch.full((len(pred),), BACKGROUND)
    iou = box_iou(pred, gt)
    assigned = torch.where(iou.amax(dim=1) > ignore_threshold, IGNORED, BACKGROUND)
    for i, place in enumerate(iou.argmax(dim=0).tolist()):
        assigned[place] = i
    return assigned


def _best_object_of_predictions(gt, pred, anchors, strides, maps, ignore_threshold=0.7) -> Tensor:
    """Let a prediction that is good enough learn the object that it overlaps."""
    assigned = yolov3_targets(gt, pred, anchors, strides, maps, ignore_threshold)
    if not len(gt):
        return assigned
    return torch.where(assigned == IGNORED, box_iou(pred, gt).argmax(dim=1), assigned)


def _ignored_without_objects(gt, pred, *rest) -> Tensor:
    return yolov3_targets(gt, pred, *rest) if len(gt) else torch.full((len(pred),), IGNORED)


def _is_learned(*args) -> Tensor:
    return yolov3_targets(*args) >= 0


def _places_of_objects(gt, pred, *rest) -> Tensor:
    return responsible_places(gt, *rest[:3])


def _map_after_map(*args) -> tuple[Tensor, ...]:
    counts = [h * w * len(level) for level, (h, w) in zip(args[2], args[4])]
    return yolov3_targets(*args).split(counts)


MISCONCEPTIONS = (
    # Which anchor.
    Misconception(
        "one anchor among those of all maps learns an object; in yours each map has its own, the "
        "best of that map",
        _on_each_map,
    ),
    Misconception(
        "only the anchor of highest IoU learns an object, on one map; in yours every anchor that "
        "is enough like it does",
        *(_all_good_anchors(least) for least in (0.3, 0.5, 0.6, 0.7)),
    ),
    Misconception(
        "every object is learned, however little the best anchor is like it; yours asks for a "
        "least IoU",
        *(_only_good_ones(least) for least in (0.3, 0.5)),
    ),
    Misconception(
        "the anchors of all maps are compared; yours compares those of the first map alone",
        _place(best=_of_the_first_map),
    ),
    Misconception(
        "the anchor is chosen by the IoU on the same centre; yours by the difference in pixels",
        _place(best=_nearest_in_pixels),
    ),
    Misconception(
        "the anchor is chosen by the IoU on the same centre; yours by the area, whatever the shape",
        _place(best=_nearest_in_area),
    ),
    Misconception(
        "width comes first, then height, in sides and in anchors; in one of yours they are "
        "exchanged",
        _place(best=_exchanged_sides),
    ),
    Misconception(
        "of anchors that are equally like an object the first learns it; yours is the last",
        _place(best=_last_of_equals),
    ),
    Misconception(
        "the place of an object depends on its anchors and its centre, not on what is predicted; "
        "in yours the best prediction learns it",
        _where_the_prediction_is_best,
    ),
    # Which cell.
    Misconception(
        "rows go with y and columns with x; yours are exchanged",
        _place(cell=_x_for_rows),
    ),
    Misconception(
        "the cell is the one that holds the object's centre, not its upper left corner",
        _place(cell=_of_the_corner),
    ),
    Misconception(
        "a cell reaches from its number to the next: round down, not to the nearest",
        _place(cell=_rounded),
    ),
    Misconception(
        "a centre on or beyond the border counts for the nearest cell: clamp row and column, "
        "else it lands in another row",
        _place(cell=_unclamped),
        _place(cell=_truncated),
    ),
    Misconception(
        "each map has its own stride; yours divides by that of the first for all",
        _place(one_stride=True),
    ),
    # Which number.
    Misconception(
        "the places of a map come after those of the maps before it; yours count each map from 0",
        _place(from_zero=True),
    ),
    Misconception(
        "the anchors of a cell stand side by side, (row · w + column) · A + anchor; yours has all "
        "cells of the first anchor, then those of the second",
        _place(number=_anchor_by_anchor),
    ),
    Misconception(
        "places are counted row by row, row · w + column; yours column by column",
        _place(number=_column_by_column),
    ),
    Misconception(
        "a row has w cells: row · w + column; yours takes the height of the map",
        _place(number=lambda row, column, a, h, w, count: (row * h + column) * count + a),
    ),
    # Who is ignored.
    Misconception(
        "predictions that overlap an object by more than the threshold are ignored, −2; yours "
        "learn that there is nothing",
        _targets(ignored=lambda iou, threshold: iou > 2),
    ),
    Misconception(
        "the place that learns an object does so whatever it predicts; yours is ignored if its "
        "prediction is good",
        _targets(ignored_last=True),
    ),
    Misconception(
        "ignored is a place whose prediction is good, pred_boxes; yours asks how well its anchor "
        "lies",
        _by_the_anchor,
    ),
    Misconception(
        "a good prediction at another place is ignored; in yours it learns the object, too",
        _best_object_of_predictions,
    ),
    Misconception(
        "ignored is an IoU of more than the threshold; at the threshold itself it is background",
        _targets(ignored=lambda iou, threshold: iou >= threshold),
    ),
    Misconception(
        "the threshold is the one that is given, ignore_threshold; yours is always 0.7",
        _targets(fixed=0.7),
    ),
    Misconception(
        "the threshold is the one that is given, ignore_threshold; yours is always 0.5",
        _targets(fixed=0.5),
    ),
    Misconception(
        "an overlap with some object is enough to be ignored; yours asks for the first object "
        "alone",
        _targets(ignored=lambda iou, threshold: iou[:, :1] > threshold),
    ),
    Misconception(
        "an overlap with some object is enough to be ignored; yours asks for the mean over all",
        _targets(ignored=lambda iou, threshold: iou.mean(dim=1, keepdim=True) > threshold),
    ),
    Misconception(
        "background is −1 and ignored −2; yours are exchanged",
        _targets(marks=(IGNORED, BACKGROUND)),
    ),
    Misconception(
        "background is −1; yours is 0, which is the first object",
        _targets(marks=(0, IGNORED)),
        _targets(marks=(0, BACKGROUND)),
        _targets(marks=(0, BACKGROUND), counts_from=1),
    ),
    Misconception(
        "without objects every place is background, −1; yours are ignored",
        _ignored_without_objects,
    ),
    # Several objects.
    Misconception(
        "of several objects at one place the last is learned; yours is the first",
        _targets(first=True),
    ),
    Misconception(
        "the objects are counted from 0; yours from 1",
        _targets(counts_from=1),
    ),
    # The form of the result.
    Misconception("return what each place learns; yours says only whether it does", _is_learned),
    Misconception(
        "return what each of the P places learns; yours says of each object at which place it is",
        _places_of_objects,
    ),
    Misconception("return one tensor for all maps, (P,); yours are apart", _map_after_map),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return what the place is, and the objects."""
    gt, pred, anchors, strides, maps, *_ = case.args
    if not found.index or not len(gt):
        return ""

    place, first = found.index[0], 0
    for level, stride, (h, w) in zip(anchors, strides, maps):
        count = len(level)
        if place < first + h * w * count:
            cell, a = divmod(place - first, count)
            where = f"row {cell // w}, column {cell % w}, anchor {a} of stride {stride}"
            best = float(box_iou(pred[place][None], gt).max())
            return (
                f"gt_boxes = {written(gt)}, pred_boxes[{place}] = {written(pred[place])}, "
                f"place {place}: {where}, its prediction's highest IoU {best:.4f}"
            )
        first += h * w * count
    return ""


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the objects, and the prediction of the place if it is near."""
    gt, pred, *_ = case.args
    if not found.index or not 0 < len(gt) <= 3:
        return []
    drawn = [(box, str(i), "a") for i, box in enumerate(gt)]
    said = pred[found.index[0]][None]
    near = float(box_iou(said, gt).max()) > 0
    return [*drawn, (said[0], "says", "b")] if near else drawn


YOLOV3_TARGETS = Exercise(
    number="3.5",
    name="yolov3_targets",
    reference=yolov3_targets,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the place's target",),
    narrow=_show,
    draw=_draw,
    solution=(yolov3_targets, responsible_places),
    allowed=frozenset({"box_iou", "shape_iou", "box_area", "paired_iou"}),
    counted="places",
)
