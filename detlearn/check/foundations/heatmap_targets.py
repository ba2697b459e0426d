"""Exercise 1.2: the heat map that the point detector should predict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from detlearn.check.boxes import Drawing, boxes_of, random_boxes
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case, Fault
from detlearn.models.point import gaussians_along, heatmap_targets, object_gaussians

SPREAD = 0.12
# Of a box with this side the standard deviation is 4 pixels, one location at stride 4.
SIDE = 4 / SPREAD
# The Gaussian one, two and three standard deviations from its peak.
E1, E2 = (math.exp(-(d**2) / 2) for d in (1, 2))
# The same for a side of 32, of which no rounding moves the middle from the border it lies on.
F1, F2, F3 = (math.exp(-((4 * d / (SPREAD * 32)) ** 2) / 2) for d in (1, 2, 3))

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    boxes = random_boxes(6, random)
    labels = torch.tensor([0, 2, 2, 1, 0, 2])
    narrow = random_boxes(9, random) * torch.tensor([0.6, 1, 0.6, 1])  # for a map of 25 × 15

    # Many of one class close together, so that their Gaussians meet.
    crowd = random_boxes(7, random, size=50.0, smallest=16.0)
    one_class = torch.zeros(7, dtype=torch.int64)

    none, no_labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    small = [
        Case("degenerate", (none, no_labels, 2, 3, 4), "no objects"),
        Case("degenerate", (boxes[:1] / 8, labels[:1], 1, 1, 1, 16), "a map of one location"),
    ]

    values = [
        Case("random", (boxes, labels, 3, 25, 25), "6 objects of 3 classes"),
        Case(
            "random",
            (narrow, torch.arange(9) % 2, 2, 25, 15),
            "9 objects of 2 classes on a map of 25 × 15",
        ),
        Case("random", (crowd, one_class, 1, 13, 13), "7 objects of one class"),
        Case("random", (boxes, labels, 4, 12, 13, 8), "6 objects with stride 8"),
    ]

    turned = boxes.flip(0), labels.flip(0)
    moved = boxes + torch.tensor([8.0, 4, 8, 4])
    properties = [
        Case("property", (*turned, 3, 25, 25), "the objects in another order"),
        Case("property", (moved, labels, 3, 26, 27), "objects moved"),
        Case("property", (boxes * 2, labels, 3, 25, 25, 8), "all twice as large, and stride 8"),
    ]

    # Counted by rows, so that a loop over rows alone shows as well.
    growing = [
        Case("no loop", (boxes, labels, 3, n, n), f"a map of {n} × {n} locations", size=n)
        for n in (8, 32)
    ]
    by_hand = [*_one_object(), *_where(), *_several()]
    return [*by_hand, *small, *values, *properties, *growing]


def _around(x: float, y: float, width: float = SIDE, height: float = SIDE) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def _hand(
    note: str,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    *maps: tuple[list[float], list[float]] | None,
    stride: int = 4,
) -> Case:
    """Make a case by hand.

    Args:
        note: what is special.
        boxes: of the objects.
        labels: theirs.
        maps: of each class the factors from top to bottom and from left to right; None for a class
            without objects.
        stride: pixels a location.
    """
    down, across = next(factors for factors in maps if factors)
    nothing = [0.0] * len(down), [0.0] * len(across)
    expected = [torch.outer(*map(torch.tensor, factors or nothing)) for factors in maps]
    args = (boxes_of(*boxes), torch.tensor(labels), len(maps), len(down), len(across))
    args = args if stride == 4 else (*args, stride)
    return Case("by hand", args, note, torch.stack(expected))


def _one_object() -> list[Case]:
    """Make cases of one object in the middle of a location, of several shapes and strides."""
    square = [
        _hand(
            "a square object in the middle of location (1, 1)",
            *([_around(6, 6)], [0], ([E1, 1.0, E1], [E1, 1.0, E1])),
        ),
    ]

    # Each direction has the spread of its own side.
    oblong = [
        _hand(
            "a wide object",
            *([_around(10, 6, 2 * SIDE)], [0]),
            ([E1, 1.0, E1], [E1, math.exp(-1 / 8), 1.0, math.exp(-1 / 8), E1]),
        ),
        _hand(
            "a tall object of half that width",
            *([_around(6, 10, SIDE / 2, SIDE)], [0], ([E2, E1, 1.0, E1], [E2, 1.0, E2])),
        ),
    ]

    other_stride = [
        _hand(
            "a square object with stride 8",
            *([_around(12, 12, 2 * SIDE, 2 * SIDE)], [0], ([E1, 1.0, E1], [E1, 1.0, E1, E2])),
            stride=8,
        ),
    ]

    return [*square, *oblong, *other_stride]


def _where() -> list[Case]:
    """Make cases of centres anywhere in their location, on its border, and outside of the map."""
    off_the_middle = [
        _hand(
            "an object whose centre is not in the middle of location (1, 1)",
            *([_around(7.5, 5)], [0], ([E1, 1.0, E1], [E1, 1.0, E1, E2])),
        ),
    ]

    # A border belongs to the location that begins there; the map's last one, to its last location.
    on_a_border = [
        _hand(
            "an object whose centre is on the border of two locations",
            *([_around(8, 4, 32, 32)], [0], ([F1, 1.0, F1], [F2, F1, 1.0, F1])),
        ),
        _hand(
            "an object whose centre is on the border of two rows",
            *([_around(6, 8, 32, 32)], [0], ([F2, F1, 1.0], [F1, 1.0])),
        ),
        _hand(
            "an object whose centre is on the lower right corner of the map",
            *([_around(16, 8, 32, 32)], [0], ([F1, 1.0], [F3, F2, F1, 1.0])),
        ),
    ]

    outside = [
        _hand(
            "an object whose centre is outside of the map, to the left",
            *([_around(-3, 6)], [0], ([E1, 1.0, E1], [1.0, E1, E2])),
        ),
        _hand(
            "an object whose centre is outside of the map, above it",
            *([_around(6, -3)], [0], ([1.0, E1], [E1, 1.0, E1, E2])),
        ),
    ]

    return [*off_the_middle, *on_a_border, *outside]


def _several() -> list[Case]:
    """Make cases of several objects, of other classes and of one."""
    classes = [
        _hand(
            "three classes, of which the last has an object",
            *([_around(6, 2)], [2], None, None, ([1.0, E1], [E1, 1.0, E1])),
        ),
        _hand(
            "three classes, of which only the first has an object",
            *([_around(6, 2)], [0], ([1.0, E1], [E1, 1.0, E1]), None, None),
        ),
        _hand(
            "objects of two classes at the same place",
            *([_around(2, 2), _around(2, 2, 2 * SIDE, SIDE)], [1, 0]),
            ([1.0, E1], [1.0, math.exp(-1 / 8)]),
            ([1.0, E1], [1.0, E1]),
        ),
    ]

    # Two peaks are no outer product of two lists of factors.
    side_by_side = boxes_of(_around(2, 2), _around(10, 2)), torch.tensor([0, 0])
    two_peaks = torch.tensor([[[1.0, E1, 1.0, E1]]])
    near = Case("by hand", (*side_by_side, 1, 1, 4), "two objects of one class", two_peaks)

    # The higher Gaussian stays, whichever comes first.
    one_class = [
        _hand(
            "a small object before a large one at the same place, of the same class",
            *([_around(2, 2, SIDE, SIDE), _around(2, 2, 2 * SIDE, 2 * SIDE)], [0, 0]),
            ([1.0, math.exp(-1 / 8)], [1.0, math.exp(-1 / 8), E1]),
        ),
        _hand(
            "a large object before a small one at the same place, of the same class",
            *([_around(2, 2, 2 * SIDE, 2 * SIDE), _around(2, 2, SIDE, SIDE)], [0, 0]),
            ([1.0, math.exp(-1 / 8), E1], [1.0, math.exp(-1 / 8)]),
        ),
    ]

    return [*classes, near, *one_class]


# ---- wrong answers ----


def _floored(centre: Tensor, stride: int, size: int) -> Tensor:
    return (centre / stride).floor().clamp(0, size - 1)


def _gauss(dx: Tensor, dy: Tensor, sx: Tensor, sy: Tensor) -> Tensor:
    return torch.exp(-((dx / sx) ** 2 + (dy / sy) ** 2) / 2)


def _highest(maps: Tensor) -> Tensor:
    return maps.amax(dim=0)


def _drawn(
    place: Callable[[Tensor, int, int], Tensor] = _floored,
    deviations: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda w, h: (
        SPREAD * w,
        SPREAD * h,
    ),
    form: Callable[..., Tensor] = _gauss,
    meet: Callable[[Tensor], Tensor] = _highest,
    label: Callable[[int, int], int] = lambda label, classes: label,
    in_pixels: bool = True,
    centre: Callable[[Tensor], Tensor] = lambda boxes: (boxes[:, :2] + boxes[:, 2:]) / 2,
    inside: bool = False,
) -> Callable[..., Tensor]:
    """Return the heat map with something changed.

    Args:
        place: the row or column of the peak, of the centre, the stride and the size of the map.
        deviations: of a width and a height.
        form: of the distances and the deviations.
        meet: what comes of several Gaussians (n, h, w) of a class.
        label: the map of a label.
        in_pixels: distances are pixels, or locations.
        centre: the centres (N, 2) of boxes.
        inside: nothing is drawn outside of the box.
    """

    def function(
        boxes: Tensor, labels: Tensor, classes: int, height: int, width: int, stride: int = 4
    ) -> Tensor:
        heatmap = torch.zeros(classes, height, width)
        rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
        together: dict[int, list[Tensor]] = {}
        for box, (x, y), own in zip(boxes, centre(boxes), labels.tolist()):
            scale = stride if in_pixels else 1
            dx = (columns - place(x, stride, width)) * scale
            dy = (rows - place(y, stride, height)) * scale
            one = form(dx, dy, *deviations(box[2] - box[0], box[3] - box[1]))
            if inside:
                px, py = (columns + 0.5) * stride, (rows + 0.5) * stride
                one = one * ((px >= box[0]) & (px <= box[2]) & (py >= box[1]) & (py <= box[3]))
            together.setdefault(label(own, classes), []).append(one)
        for own, maps in together.items():
            heatmap[own] = meet(torch.stack(maps))
        return heatmap

    return function


def _around_the_centre(offset: float, **changed: Callable) -> Callable[..., Tensor]:
    """Return a Gaussian around the centre itself; `offset` says where locations stand."""
    return _drawn(place=lambda centre, stride, size: centre / stride - offset, **changed)


def _same_deviation(side: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return _drawn(deviations=lambda w, h: (SPREAD * side(w, h),) * 2)


def _shares(share_w: float, share_h: float | None = None) -> Callable[..., Tensor]:
    share_h = share_w if share_h is None else share_h
    return _drawn(deviations=lambda w, h: (share_w * w, share_h * h))


def _last_only(maps: Tensor) -> Tensor:
    return maps[-1]


def _points_only(dx: Tensor, dy: Tensor, sx: Tensor, sy: Tensor) -> Tensor:
    return ((dx == 0) & (dy == 0)).float()


def _density(dx: Tensor, dy: Tensor, sx: Tensor, sy: Tensor) -> Tensor:
    return _gauss(dx, dy, sx, sy) / (2 * math.pi * sx * sy)


def _across_only(dx: Tensor, dy: Tensor, sx: Tensor, sy: Tensor) -> Tensor:
    return (torch.exp(-((dx / sx) ** 2) / 2) + torch.exp(-((dy / sy) ** 2) / 2)) / 2


def _dropped(
    boxes: Tensor, labels: Tensor, classes: int, height: int, width: int, stride: int = 4
) -> Tensor:
    """Leave out what has its centre outside of the map."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / stride
    limits = torch.tensor([width, height])
    keep = ((centres >= 0) & (centres < limits)).all(dim=1)
    return heatmap_targets(boxes[keep], labels[keep], classes, height, width, stride)


def _clamped(least: int | None, most: bool) -> Callable[..., Tensor]:
    """Return what leaves a peak outside of the map, on both sides or on one."""

    def place(centre: Tensor, stride: int, size: int) -> Tensor:
        found = (centre / stride).floor()
        found = found if least is None else found.clamp(min=least)
        return found.clamp(max=size - 1) if most else found

    return _drawn(place=place)


def _sizes_exchanged(
    boxes: Tensor, labels: Tensor, classes: int, height: int, width: int, stride: int = 4
) -> Tensor:
    return heatmap_targets(boxes, labels, classes, width, height, stride)


def _x_gives_the_row(
    boxes: Tensor, labels: Tensor, classes: int, height: int, width: int, stride: int = 4
) -> Tensor:
    return heatmap_targets(boxes[:, [1, 0, 3, 2]], labels, classes, height, width, stride)


def _x_gives_the_row_of_the_peak(
    boxes: Tensor, labels: Tensor, classes: int, height: int, width: int, stride: int = 4
) -> Tensor:
    """Exchange x and y of the centres only; the deviations stay."""
    centres = (boxes[:, :2] + boxes[:, 2:]).flip(1) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    turned = torch.cat((centres - half, centres + half), dim=1)
    return heatmap_targets(turned, labels, classes, height, width, stride)


def _always_four(
    boxes: Tensor, labels: Tensor, classes: int, height: int, width: int, stride: int = 4
) -> Tensor:
    return heatmap_targets(boxes, labels, classes, height, width)


def _deviation_in_locations(
    boxes: Tensor, labels: Tensor, classes: int, height: int, width: int, stride: int = 4
) -> Tensor:
    drawn = _drawn(deviations=lambda w, h: (SPREAD * w / stride, SPREAD * h / stride))
    return drawn(boxes, labels, classes, height, width, stride)


def _corners_first(
    boxes: Tensor, labels: Tensor, classes: int, height: int, width: int, stride: int = 4
) -> Tensor:
    """Round the corners to locations before the middle is taken."""
    cells = (boxes / stride).floor()
    middle = (cells[:, :2] + cells[:, 2:]) / 2 * stride
    return _drawn(centre=lambda boxes: middle)(boxes, labels, classes, height, width, stride)


def _needed_maps(
    boxes: Tensor, labels: Tensor, classes: int, height: int, width: int, stride: int = 4
) -> Tensor:
    """Make maps up to the last class that has an object."""
    needed = int(labels.max()) + 1 if len(labels) else classes
    return heatmap_targets(boxes, labels, needed, height, width, stride)


def _filled(
    boxes: Tensor, labels: Tensor, classes: int, height: int, width: int, stride: int = 4
) -> Tensor:
    """Write 1 into all locations that a box touches."""
    heatmap = torch.zeros(classes, height, width)
    for (x1, y1, x2, y2), label in zip((boxes / stride).long().tolist(), labels.tolist()):
        heatmap[label, max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1] = 1
    return heatmap


def _each_object(
    boxes: Tensor, labels: Tensor, classes: int, height: int, width: int, stride: int = 4
) -> Tensor:
    return object_gaussians(boxes, height, width, stride)


def _truncated(centre: Tensor, stride: int, size: int) -> Tensor:
    return (centre / stride).ceil().clamp(1, size) - 1


def _middle(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _middle_in_double(boxes: Tensor) -> Tensor:
    """As Python's own numbers have it: where rounding begins, the last bit decides."""
    return _middle(boxes.double())


def _to_the_nearest(centre: Tensor, stride: int, size: int) -> Tensor:
    return (centre / stride).round().clamp(0, size - 1)


def _up_from_the_middle(centre: Tensor, stride: int, size: int) -> Tensor:
    return (centre / stride + 0.5).floor().clamp(0, size - 1)


def _rounded(deviation: Tensor) -> Tensor:
    return deviation.round().clamp(min=1)


def _rounded_down(deviation: Tensor) -> Tensor:
    return deviation.floor().clamp(min=1)


MISCONCEPTIONS = (
    # Where the peak is.
    Misconception(
        "the Gaussian stands on the location that holds the centre, where it is exactly 1; yours "
        "stands on the centre itself, so that hardly any location is 1",
        *(
            _around_the_centre(offset, deviations=lambda w, h: (SPREAD * w, SPREAD * h))
            for offset in (0.0, 0.5)
        ),
    ),
    Misconception(
        "the location that holds the centre is centre / stride rounded down; yours is rounded to "
        "the nearest, which may be the next one",
        *(
            _drawn(place=rounded, centre=centre)
            for rounded in (_to_the_nearest, _up_from_the_middle)
            for centre in (_middle, _middle_in_double)
        ),
    ),
    Misconception(
        "take the centre in pixels first and its location then; yours rounds the corners to "
        "locations and takes the middle between them",
        _corners_first,
    ),
    Misconception(
        "the centre is not rounded before its location is taken: / 2, not // 2",
        _drawn(centre=lambda boxes: boxes[:, :2] + (boxes[:, 2:] - boxes[:, :2]) // 2),
    ),
    Misconception(
        "distances go from location to location, so that the peak is at 0; yours is half a "
        "location off, and no location is exactly 1",
        *(
            _drawn(place=lambda c, stride, size, off=off: _floored(c, stride, size) + off)
            for off in (-0.5, 0.5)
        ),
    ),
    Misconception(
        "a centre on the border of two locations belongs to the later one: round down, "
        "centre // stride",
        _drawn(place=_truncated),
    ),
    Misconception(
        "a centre outside of the map counts for the nearest location; clamp the location at both "
        "ends, to 0 … h − 1 and 0 … w − 1",
        _dropped,
        _clamped(None, most=False),
        _clamped(None, most=True),
        _clamped(0, most=False),
    ),
    Misconception(
        "the centre is (x1 + x2) / 2, (y1 + y2) / 2; yours stands on the upper left corner",
        _drawn(centre=lambda boxes: boxes[:, :2]),
    ),
    Misconception(
        "the centre is (x1 + x2) / 2; yours is (x2 − x1) / 2, half the width, which forgets where "
        "the box begins",
        _drawn(centre=lambda boxes: (boxes[:, 2:] - boxes[:, :2]) / 2),
    ),
    Misconception(
        "the centre is half of x1 + x2, and half of y1 + y2; yours is the whole sum",
        _drawn(centre=lambda boxes: boxes[:, :2] + boxes[:, 2:]),
    ),
    Misconception(
        "boxes are corners, x1, y1, x2, y2; you read them as corner and size",
        _drawn(
            centre=lambda boxes: boxes[:, :2] + boxes[:, 2:] / 2,
        ),
    ),
    Misconception(
        "x gives the column and y the row; yours are exchanged, in the map [row, column]",
        _x_gives_the_row,
        _x_gives_the_row_of_the_peak,
    ),
    # How wide it is.
    Misconception(
        "width and height are exchanged: along x the deviation is 0.12 of the width, along y 0.12 "
        "of the height",
        _drawn(deviations=lambda w, h: (SPREAD * h, SPREAD * w)),
    ),
    Misconception(
        "the Gaussian is an ellipse, as wide and high as the box: a deviation for x from the "
        "width and another for y from the height; yours is a circle",
        _same_deviation(torch.minimum),
        _same_deviation(torch.maximum),
        _same_deviation(lambda w, h: (w + h) / 2),
        _same_deviation(lambda w, h: (w * h).sqrt()),
        _same_deviation(lambda w, h: w),
        _same_deviation(lambda w, h: h),
    ),
    Misconception(
        "distances are pixels, the deviation too; yours counts locations: multiply by the stride",
        _drawn(in_pixels=False),
    ),
    Misconception(
        "distances are pixels, the deviation too; yours divides only the deviation by the stride",
        _deviation_in_locations,
    ),
    Misconception(
        "the stride is the one you are given; yours is always 4",
        _always_four,
    ),
    Misconception(
        "the factor ½ is missing in the exponent: exp(−(d / σ)² / 2)",
        _drawn(form=lambda dx, dy, sx, sy: torch.exp(-((dx / sx) ** 2) - (dy / sy) ** 2)),
    ),
    Misconception(
        "d² / 2 * σ² multiplies with σ²: what is to be divided by both needs parentheses, "
        "d² / (2 * σ²)",
        _drawn(form=lambda dx, dy, sx, sy: torch.exp(-((dx * sx) ** 2 + (dy * sy) ** 2) / 2)),
    ),
    Misconception(
        "σ enters squared: exp(−d² / (2σ²)); in yours it is not",
        _drawn(form=lambda dx, dy, sx, sy: torch.exp(-(dx**2 / sx + dy**2 / sy) / 2)),
    ),
    Misconception(
        "the distance enters squared: exp(−(d / σ)² / 2); in yours it does not",
        _drawn(form=lambda dx, dy, sx, sy: torch.exp(-((dx / sx).abs() + (dy / sy).abs()) / 2)),
        _drawn(form=lambda dx, dy, sx, sy: torch.exp(-(dx / sx).abs() - (dy / sy).abs())),
    ),
    Misconception(
        "the standard deviation is 0.12 of the side of the box; yours is another share of it",
        *(_shares(share) for share in (1.0, 0.5, 0.24, 0.06, 1 / 6, 0.12**0.5, 0.12**2)),
    ),
    Misconception(
        "the deviation is any positive number, 0.12 of the side; yours is rounded to whole pixels",
        *(
            _drawn(deviations=lambda w, h, r=r: (r(SPREAD * w), r(SPREAD * h)))
            for r in (_rounded, _rounded_down)
        ),
    ),
    Misconception(
        "the exponents of x and y are added, which multiplies the two Gaussians; yours adds the "
        "Gaussians",
        _drawn(form=_across_only),
        _drawn(form=lambda *args: 2 * _across_only(*args)),
    ),
    Misconception(
        "the peak is 1: this is no probability density, leave out 1 / (2π σx σy)",
        _drawn(form=_density),
    ),
    Misconception(
        "around the centre the values fall off like a Gaussian; yours are 0 there",
        _drawn(form=_points_only),
    ),
    Misconception(
        "only the location of the centre is 1, the others fall off like a Gaussian; yours are 1 in "
        "the whole box",
        _filled,
    ),
    Misconception(
        "the Gaussian falls off as far as the map reaches; yours is cut where it falls below one "
        "half, which is the rule for who learns the box",
        _drawn(form=lambda *args: _gauss(*args).where(_gauss(*args) >= 0.5, 0.0)),
    ),
    Misconception(
        "the Gaussian does not end at the box's border; yours is cut off there",
        _drawn(inside=True),
    ),
    # Several objects.
    Misconception(
        "where Gaussians of one class meet, the higher counts (torch.maximum); yours adds them up",
        _drawn(meet=lambda maps: maps.sum(dim=0)),
        _drawn(meet=lambda maps: maps.sum(dim=0).clamp(max=1)),
    ),
    Misconception(
        "where Gaussians of one class meet, the higher counts (torch.maximum); in yours the last "
        "object wipes out those before it",
        _drawn(meet=_last_only),
    ),
    Misconception(
        "where Gaussians of one class meet, the higher counts; yours takes their mean",
        _drawn(meet=lambda maps: maps.mean(dim=0)),
    ),
    Misconception(
        "every class has a map of its own, at place labels[n]; yours are all in the first",
        _drawn(label=lambda label, classes: 0),
    ),
    Misconception(
        "labels count from 0, so class k has map k; yours is one map before",
        _drawn(label=lambda label, classes: label - 1),
    ),
    Misconception(
        "there are num_classes maps, also for classes without an object; yours are only as many as "
        "the labels need",
        _needed_maps,
    ),
    Misconception(
        "there is one map for each class, (K, h, w), not one for each object",
        _each_object,
    ),
    # The form of the result.
    Misconception(
        "the classes come first, (K, h, w); in yours they come last",
        lambda *args: heatmap_targets(*args).permute(1, 2, 0),
    ),
    Misconception(
        "a map has height rows and width columns, (K, height, width); yours are exchanged",
        _sizes_exchanged,
        lambda *args: heatmap_targets(*args).mT,
    ),
    Misconception(
        "return a map for each class, (K, h, w); yours is one for all",
        lambda *args: heatmap_targets(*args).amax(dim=0),
    ),
)

# ---- how it is shown ----


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the boxes and the location that is wrong."""
    boxes, labels, _, height, width, *rest = case.args
    if not 0 < len(boxes) <= 4 or found.kind != "value" or len(found.index) != 3:
        return []
    stride = rest[0] if rest else 4
    _, row, column = found.index
    location = torch.tensor([column, row, column + 1, row + 1]) * float(stride)
    if row >= height or column >= width:
        return []
    named = [(box, f"class {int(label)}", "a") for box, label in zip(boxes, labels)]
    return [*named, (location, f"location ({row}, {column})", "b")]


HEATMAP_TARGETS = Exercise(
    number="1.2",
    name="heatmap_targets",
    reference=heatmap_targets,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the heat map",),
    draw=_draw,
    solution=(heatmap_targets, object_gaussians, gaussians_along),
    allowed=frozenset({"grid_points"}),
    counted="rows and columns",
)
