"""Exercise 8.6: places that lie in a box, and learn the wrong one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.boxes import boxes_of, random_boxes
from detlearn.check.debugging.causes import against
from detlearn.check.engine import Hunt, Misconception
from detlearn.check.engine.cases import Case

Function = Callable[[Tensor, Tensor], Tensor]


def object_of_place(points: Tensor, boxes: Tensor) -> Tensor:
    """Return the object whose box each place learns: of those around it the smallest.

    Args:
        points: (P, 2), x and y of each place in pixels.
        boxes: (N, 4) xyxy in pixels, of the objects of the image; N may be 0.

    Returns:
        (P,) int64: of the boxes in which the place lies, off their sides, that of the smallest
        area, and of equal areas the first; −1 where it lies in none.
    """
    if len(boxes) == 0:
        return torch.full((len(points),), -1)

    left_top = points[:, None] - boxes[:, :2]  # (P, N, 2)
    right_bottom = boxes[:, 2:] - points[:, None]  # (P, N, 2)
    inside = (torch.cat((left_top, right_bottom), dim=2) > 0).all(dim=2)  # (P, N)

    # A box that is not around the place must lose against every other.
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)  # (N,)
    claims = areas.expand(inside.shape).masked_fill(~inside, torch.inf)
    area, smallest = claims.min(dim=1)
    return smallest.masked_fill(area.isinf(), -1)


# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    # A large box, a small one in its middle, and a third apart that is smaller than both.
    large, small, apart = (0.0, 0, 20, 20), (8.0, 8, 14, 14), (30.0, 2, 34, 6)
    rows = [[10.0, 10], [3, 3], [32, 4], [25, 25], [32, 12]]
    nested = _hand(rows, (large, small, apart), [1, 0, 2, -1, -1], "a box in a box, and one apart")
    turned = _hand(rows, (apart, small, large), [1, 2, 0, -1, -1], "the same, in another order")

    # On a cross, in one of its bars, and on their sides.
    tall, wide = (10.0, 0, 16, 40), (0.0, 12, 30, 17)
    on_cross = [[13.0, 14], [13, 30], [25, 14], [25, 30], [10, 30], [13, 12], [16, 30], [13, 17]]
    of_cross = [1, 0, 1, -1, -1, 0, -1, 0]
    crossed = _hand(on_cross, (tall, wide), of_cross, "a tall box and a wide one that cross")

    # A thin box has the longer sides and the smaller area.
    thin, square = (0.0, 4, 30, 6), (4.0, 1, 13, 10)
    on_thin = [[8.0, 5], [8, 2], [20, 5]]
    thin_first = _hand(on_thin, (thin, square), [0, 1, 0], "a thin box and a square")
    square_first = _hand(on_thin, (square, thin), [1, 0, 1], "a square and a thin box")

    on_sides = [[8.0, 10], [10, 14], [20, 10], [14, 14]]
    sides = _hand(on_sides, (large, small), [0, 0, -1, 0], "places on a side of a box")

    alike = ((0.0, 0, 10, 10), (5.0, 0, 15, 10), (4.0, 4, 24, 9))
    equal = _hand([[7.0, 6], [12, 6], [20, 5]], alike, [0, 1, 2], "three boxes of one area")

    places = torch.tensor(rows)
    return [
        *(nested, turned, crossed, thin_first, square_first, sides, equal),
        Case("degenerate", (places, torch.zeros(0, 4)), "no objects"),
        Case("degenerate", (torch.zeros(0, 2), boxes_of(large, small)), "no places"),
        Case("degenerate", (places, boxes_of(small)), "a single object"),
        Case("random", (_grid(100, 8), _nested(5, random)), "144 places, ten objects in pairs"),
        Case("random", (_grid(96, 16), random_boxes(12, random)), "36 places, twelve objects"),
        Case("random", (_grid(100, 10) / 100, _nested(4, random) / 100), "shares of the image"),
    ]


def _hand(rows: list, boxes: tuple, wanted: list[int], note: str) -> Case:
    args = (torch.tensor(rows), boxes_of(*boxes))
    return Case("by hand", args, note, torch.tensor(wanted))


def _grid(size: int, stride: int) -> Tensor:
    """The middles of the cells of a square image, row by row."""
    middles = stride / 2 + stride * torch.arange(size // stride)
    return torch.cartesian_prod(middles, middles).flip(1)


def _nested(pairs: int, random: torch.Generator) -> Tensor:
    """Boxes, and in the middle of each a small one; in any order."""
    outer = random_boxes(pairs, random, smallest=25)
    sides = (outer[:, 2:] - outer[:, :2]) * (0.35 + 0.2 * torch.rand(pairs, 2, generator=random))
    middles = (outer[:, :2] + outer[:, 2:]) / 2
    both = torch.cat((outer, torch.cat((middles - sides / 2, middles + sides / 2), dim=1)))
    return both[torch.randperm(2 * pairs, generator=random)]


# ---- wrong answers ----


def _distances(points: Tensor, boxes: Tensor) -> Tensor:
    """From each place to the left, top, right and bottom side of each box, (P, N, 4)."""
    return torch.cat((points[:, None] - boxes[:, :2], boxes[:, 2:] - points[:, None]), dim=2)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)


def _by(
    size: Callable[[Tensor], Tensor] = _areas,
    lies_in: Callable[[Tensor], Tensor] = lambda distances: (distances > 0).all(dim=2),
) -> Function:
    """Return the choice of the least by another measure, or among other boxes."""

    def function(points: Tensor, boxes: Tensor) -> Tensor:
        inside = lies_in(_distances(points, boxes))
        claims = torch.where(inside, size(boxes), torch.inf)
        least, which = claims.min(dim=1)
        return torch.where(least.isinf(), -1, which)

    return _without_objects(function)


def _without_objects(function: Function) -> Function:
    """Return the function, which need not know what to do where there are no objects."""

    def careful(points: Tensor, boxes: Tensor) -> Tensor:
        return function(points, boxes) if len(boxes) else torch.full((len(points),), -1)

    return careful


def _largest(points: Tensor, boxes: Tensor) -> Tensor:
    inside = (_distances(points, boxes) > 0).all(dim=2)
    best, which = (inside * _areas(boxes)).max(dim=1)
    return torch.where(best > 0, which, -1)


def _nothing_outside(points: Tensor, boxes: Tensor) -> Tensor:
    inside = (_distances(points, boxes) > 0).all(dim=2)
    return torch.where(inside.any(dim=1), (inside * _areas(boxes)).argmin(dim=1), -1)


def _nothing_outside_nor_background(points: Tensor, boxes: Tensor) -> Tensor:
    inside = (_distances(points, boxes) > 0).all(dim=2)
    return (inside * _areas(boxes)).argmin(dim=1)


def _smallest_of_all(points: Tensor, boxes: Tensor) -> Tensor:
    inside = (_distances(points, boxes) > 0).all(dim=2)
    return torch.where(inside.any(dim=1), _areas(boxes).argmin(), -1)


def _nearest(points: Tensor, boxes: Tensor) -> Tensor:
    inside = (_distances(points, boxes) > 0).all(dim=2)
    apart = torch.cdist(points, (boxes[:, :2] + boxes[:, 2:]) / 2)
    least, which = torch.where(inside, apart, torch.inf).min(dim=1)
    return torch.where(least.isinf(), -1, which)


def _first(points: Tensor, boxes: Tensor) -> Tensor:
    inside = (_distances(points, boxes) > 0).all(dim=2)
    return torch.where(inside.any(dim=1), inside.long().argmax(dim=1), -1)


def _last(points: Tensor, boxes: Tensor) -> Tensor:
    turned = _first(points, boxes.flip(0))
    return torch.where(turned < 0, -1, len(boxes) - 1 - turned)


def _last_of_equals(points: Tensor, boxes: Tensor) -> Tensor:
    turned = _by()(points, boxes.flip(0))
    return torch.where(turned < 0, -1, len(boxes) - 1 - turned)


def _no_background(points: Tensor, boxes: Tensor) -> Tensor:
    return _by()(points, boxes).clamp(min=0)


def _counted_from_one(points: Tensor, boxes: Tensor) -> Tensor:
    return _by()(points, boxes) + 1


def _alone(points: Tensor, boxes: Tensor) -> Tensor:
    inside = (_distances(points, boxes) > 0).all(dim=2)
    return torch.where(inside.sum(dim=1) == 1, inside.long().argmax(dim=1), -1)


MISCONCEPTIONS = (
    Misconception(
        "that is the broken function still: of two objects that lie apart, a place in the first "
        "learns which one?",
        _without_objects(_nothing_outside),
    ),
    Misconception(
        "of several boxes around a place yours takes the first of the list; their order says "
        "nothing",
        _without_objects(_first),
    ),
    Misconception(
        "of several boxes around a place yours takes the last of the list, as one that overwrites "
        "what was there; their order says nothing",
        _without_objects(_last),
    ),
    Misconception(
        "a place in no box learns no object, and one in a box must not learn another that lies "
        "elsewhere; yours takes neither into account",
        _without_objects(_nothing_outside_nor_background),
    ),
    Misconception(
        "of several boxes around a place yours takes the largest: a small object inside a large "
        "one gets no place",
        _without_objects(_largest),
    ),
    Misconception(
        "this takes the smallest box of the image, also for places that do not lie in it",
        _without_objects(_smallest_of_all),
    ),
    Misconception(
        "of several boxes yours takes the one whose centre is nearest; the area is asked for",
        _without_objects(_nearest),
    ),
    Misconception(
        "an area is width times height; yours compares boxes by something else",
        _by(lambda boxes: (boxes[:, 2:] - boxes[:, :2]).sum(dim=1)),
        _by(lambda boxes: (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)),
        _by(lambda boxes: (boxes[:, 2:] - boxes[:, :2]).amin(dim=1)),
        _by(lambda boxes: boxes[:, 2] - boxes[:, 0]),
        _by(lambda boxes: boxes[:, 3] - boxes[:, 1]),
        _by(lambda boxes: boxes[:, 2] * boxes[:, 3]),
    ),
    Misconception(
        "a place on a side of a box does not lie in it: all four distances are above 0",
        _by(lies_in=lambda distances: (distances >= 0).all(dim=2)),
        _by(
            lies_in=lambda distances: (
                (distances[..., :2] >= 0).all(2) & (distances[..., 2:] > 0).all(2)
            )
        ),
        _by(
            lies_in=lambda distances: (
                (distances[..., :2] > 0).all(2) & (distances[..., 2:] >= 0).all(2)
            )
        ),
    ),
    Misconception(
        "a place lies in a box if it lies between left and right and between top and bottom; yours "
        "does not ask for all four sides",
        _by(lies_in=lambda distances: (distances[..., 0::2] > 0).all(dim=2)),
        _by(lies_in=lambda distances: (distances[..., 1::2] > 0).all(dim=2)),
        _by(lies_in=lambda distances: (distances[..., :2] > 0).all(dim=2)),
        _by(lies_in=lambda distances: (distances[..., 2:] > 0).all(dim=2)),
        _by(lies_in=lambda distances: (distances > 0).any(dim=2)),
    ),
    Misconception(
        "a place in no box learns no object, which is −1; yours gives it object 0",
        _without_objects(_no_background),
    ),
    Misconception(
        "objects are counted from 0, and no object is −1; yours are one more",
        _counted_from_one,
    ),
    Misconception(
        "a place in several boxes learns one of them; yours leaves it without",
        _without_objects(_alone),
    ),
    Misconception(
        "of equal areas the first box is asked for; yours takes the last",
        _without_objects(_last_of_equals),
    ),
)

OBJECT_OF_PLACE = Hunt(
    number="8.6",
    name="object_of_place",
    reference=object_of_place,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the objects",),
    counted="places",
    cause="targets",
    causes=against(
        annotations="the chapter's detector was trained on these very samples, and its boxes fit",
        augmentation="images come as they are, and so do their boxes",
        loss="on images of a single object his boxes fit, and the very same loss has taught them",
        learning_rate="on images of a single object the same steps are enough",
        averaged_weights="nothing is averaged here",
        decoding="ask the map itself, before anything is decoded: which box does the place at the "
        "middle of an object predict?",
        evaluation="the objects themselves, given in as detections, have an AP of 1, however many "
        "an image has",
    ),
)
