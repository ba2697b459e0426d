"""Exercise 4.3: which object each location learns, and its distances to the sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from detlearn.check.anchor_free.scenes import levels_of, small_scene
from detlearn.check.boxes import Drawing, boxes_of
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.diagnosis import Asked
from detlearn.models.fcos import fcos_candidates, fcos_targets, learnt_distances

Pair = tuple[Tensor, Tensor]
Function = Callable[..., Pair]

INFINITE = float("inf")
PERSON, PHONE = (20.0, 4, 52, 100), (30.0, 40, 42, 52)
FINE, COARSE = (0.0, 16.0), (16.0, 64.0)

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    three = ((0.0, 12.0), (12.0, 24.0), (24.0, INFINITE))
    maps = _maps(64, (4, 8, 16), three)
    boxes, others = small_scene(7, random), small_scene(10, random)

    values = [
        _case("random", maps, boxes, "7 objects on three levels"),
        _case("random", maps, others, "10 objects on three levels, the whole box", radius=None),
        _case("random", maps, others, "10 objects on three levels, radius = 1", radius=1.0),
        _case("random", maps, others, "10 objects, radius = 2.5", radius=2.5),
        _case(
            "random",
            _maps(64, (8, 16), ((0.0, 20.0), (14.0, 48.0))),
            others,
            "10 objects on two levels whose size ranges overlap",
        ),
    ]

    order = torch.randperm(len(maps[0]), generator=random)
    points, strides, ranges = maps
    properties = [
        _case("property", tuple(m[order] for m in maps), boxes, "the locations in another order"),
        _case("property", maps, others.flip(0), "the objects in another order"),
        _case(
            "property", tuple(8 * m for m in maps), 8 * others, "everything eight times as large"
        ),
        _case(
            "property",
            (points / 64, strides / 64, ranges / 64),
            others / 64,
            "everything in shares of the image",
        ),
    ]

    growing = [
        Case(
            "no loop",
            (*_maps(size, (8,), ((0.0, 40.0),)), boxes),
            f"{size * size // 64} locations",
            size=size * size // 64,
            keywords={"radius": 1.5},
        )
        for size in (32, 256)
    ]
    return [*_by_hand(), *_degenerate(maps, boxes), *values, *properties, *growing]


def _case(
    rung: str,
    maps: tuple[Tensor, Tensor, Tensor],
    boxes: Tensor,
    note: str,
    expected: Pair | None = None,
    radius: float | None = 1.5,
) -> Case:
    return Case(rung, (*maps, boxes), note, expected, keywords={"radius": radius})


def _maps(
    size: int, strides: tuple[int, ...], ranges: tuple[tuple[float, float], ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return points, strides and size ranges of all levels of a square image."""
    points, every, counts = levels_of(size, strides)
    rows = [torch.tensor([own]).expand(n, 2) for own, n in zip(ranges, counts)]
    return points, every, torch.cat(rows)


def _hand(
    rows: list[tuple[float, float, float, tuple[float, float]]],
    boxes: list[tuple[float, ...]],
    wanted: list[tuple[int, tuple[float, ...]]],
    note: str,
    radius: float | None = 1.5,
) -> Case:
    """Make a case of few locations.

    Args:
        rows: x, y, stride and size range of each.
        boxes: the objects.
        wanted: the object of each location and its distances in strides; −1 and nothing.
        note, radius: of the case.
    """
    maps = (
        torch.tensor([row[:2] for row in rows]),
        torch.tensor([row[2] for row in rows]),
        torch.tensor([row[3] for row in rows]),
    )
    assigned = torch.tensor([index for index, _ in wanted])
    distances = torch.tensor([each or (0.0, 0, 0, 0) for _, each in wanted], dtype=torch.float32)
    return _case("by hand", maps, boxes_of(*boxes), note, (assigned, distances), radius)


def _by_hand() -> list[Case]:
    return [*_of_the_text(), *_of_levels(), *_of_several()]


def _of_the_text() -> list[Case]:
    """Make the cases whose numbers stand in the chapter."""
    # One row of the table a location, each on the level of its stride.
    table = _hand(
        [
            (34.0, 46.0, 4.0, FINE),
            (36.0, 44.0, 8.0, COARSE),
            (36.0, 52.0, 8.0, COARSE),
            (36.0, 68.0, 8.0, COARSE),
        ],
        [PERSON, PHONE],
        [(1, (1.0, 1.5, 2.0, 1.5)), (0, (2.0, 5, 2, 7)), (0, (2.0, 6, 2, 6)), (-1, ())],
        "the person with the phone of the text",
    )

    # Without centre sampling the person is also learnt far from the middle.
    whole = _hand(
        [(36.0, 68.0, 8.0, COARSE), (24.0, 60.0, 8.0, COARSE), (40.0, 42.0, 4.0, FINE)],
        [PERSON, PHONE],
        [(0, (2.0, 8, 2, 4)), (0, (0.5, 7, 3.5, 5)), (1, (2.5, 0.5, 0.5, 2.5))],
        "the person with the phone, radius = None",
        None,
    )
    return [table, whole]


def _of_levels() -> list[Case]:
    """Make cases of the size ranges and their ends."""
    box = [(10.0, 10, 50, 40)]  # 40 × 30

    # Both ends belong to a range. The largest distances are 24, 24, 26, 26 and 20.
    ends = _hand(
        [
            (26.0, 25.0, 8.0, (0.0, 24.0)),
            (34.0, 25.0, 8.0, (24.0, 48.0)),
            (24.0, 25.0, 8.0, (0.0, 24.0)),
            (24.0, 25.0, 8.0, (24.0, 48.0)),
            (30.0, 25.0, 8.0, (24.0, 48.0)),
        ],
        box,
        [
            (0, (2.0, 1.875, 3.0, 1.875)),
            (0, (3.0, 1.875, 2.0, 1.875)),
            (-1, ()),
            (0, (1.75, 1.875, 3.25, 1.875)),
            (-1, ()),
        ],
        "largest distances at the ends of a size range",
    )

    # The largest distance is that of another side each time.
    sides = _hand(
        [
            (38.0, 28.0, 16.0, (27.0, 30.0)),
            (22.0, 28.0, 16.0, (27.0, 30.0)),
            (30.0, 22.0, 16.0, (20.0, 21.0)),
            (30.0, 37.0, 16.0, (26.5, 28.0)),
        ],
        box,
        [
            (0, (1.75, 1.125, 0.75, 0.75)),
            (0, (0.75, 1.125, 1.75, 0.75)),
            (0, (1.25, 0.75, 1.25, 1.125)),
            (0, (1.25, 1.6875, 1.25, 0.1875)),
        ],
        "largest distances to the left, right, left and right, and upper side",
    )

    # A range that only the smaller of two objects does not fit, and one that fits neither.
    which = _hand(
        [
            (30.0, 30.0, 8.0, (0.0, 12.0)),
            (30.0, 30.0, 8.0, (12.0, 20.0)),
            (30.0, 30.0, 8.0, (20.0, 64.0)),
            (30.0, 30.0, 8.0, (64.0, 99.0)),
        ],
        [(5.0, 5, 55, 55), (20.0, 20, 40, 40), (15.0, 15, 45, 45)],
        [(1, (1.25,) * 4), (2, (1.875,) * 4), (0, (3.125,) * 4), (-1, ())],
        "one place on four levels, three objects around it",
    )

    return [ends, sides, which]


def _of_several() -> list[Case]:
    """Make cases in which several objects want a location."""
    wide = (0.0, 64.0)  # a range that leaves none of them out

    # The smallest has it, as far as it reaches.
    inside = [(10.0, 10, 50, 50), (22.0, 22, 36, 36), (20.0, 20, 44, 44)]
    three = _hand(
        [
            (29.0, 29.0, 8.0, wide),
            (33.0, 33.0, 8.0, wide),
            (37.0, 33.0, 8.0, wide),
            (40.0, 30.0, 8.0, wide),
        ],
        inside,
        [
            (1, (0.875, 0.875, 0.875, 0.875)),
            (1, (1.375, 1.375, 0.375, 0.375)),
            (2, (2.125, 1.625, 0.875, 1.375)),
            (2, (2.5, 1.25, 0.5, 1.75)),
        ],
        "three objects inside one another",
    )

    # Areas 400, 400 and 400: of equal ones the first.
    equal = [(20.0, 20, 40, 40), (10.0, 25, 50, 35), (20.0, 20, 40, 40)]
    first = _hand(
        [(30.0, 30.0, 8.0, wide), (28.0, 27.0, 8.0, wide), (30.0, 22.0, 8.0, wide)],
        equal,
        [(0, (1.25,) * 4), (0, (1.0, 0.875, 1.5, 1.625)), (0, (1.25, 0.25, 1.25, 2.25))],
        "three objects of the same area",
    )

    # The first of the equal ones, which is not the first of all.
    later = _hand(
        [(30.0, 30.0, 8.0, wide), (38.0, 30.0, 8.0, wide)],
        [(0.0, 0, 60, 60), (10.0, 25, 50, 35), (20.0, 20, 40, 40)],
        [(1, (2.5, 0.625, 2.5, 0.625)), (1, (3.5, 0.625, 1.5, 0.625))],
        "two objects of the same area after a larger one",
    )

    # Equal areas again, the nearer centre belongs to the second; and a smaller one further away.
    away = _hand(
        [(36.0, 30.0, 8.0, wide)],
        [(20.0, 20, 60, 40), (26.0, 10, 46, 50), (31.0, 16, 61, 36)],
        [(2, (0.625, 1.75, 3.125, 0.75))],
        "a smaller object whose centre is further away",
    )

    return [three, first, later, away]


def _degenerate(maps: tuple[Tensor, Tensor, Tensor], boxes: Tensor) -> list[Case]:
    tiny = boxes_of((29, 29.5, 35, 33), (40, 40, 40, 40), (-20, 10, -4, 30))
    return [
        _case("degenerate", maps, boxes_of(), "no objects"),
        _case("degenerate", tuple(m[:0] for m in maps), boxes, "no locations"),
        _case("degenerate", maps, tiny, "a small object, one without area, one beside the image"),
        _case("degenerate", maps, boxes_of((1, 2, 63, 61)), "an object as large as the image"),
    ]


# ---- wrong answers ----


def _all_distances(points: Tensor, boxes: Tensor) -> Tensor:
    return torch.cat((points[:, None] - boxes[:, :2], boxes[:, 2:] - points[:, None]), dim=-1)


def _largest(points: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
    return _all_distances(points, boxes).amax(dim=-1)


def _ends_included(size: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return (size >= low) & (size <= high)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _by_area(points: Tensor, boxes: Tensor) -> Tensor:
    return _area(boxes).expand(len(points), -1)


def _learning(
    size: Callable[[Tensor, Tensor, Tensor], Tensor] = _largest,
    on_level: Callable[[Tensor, Tensor, Tensor], Tensor] = _ends_included,
    ranges: Callable[[Tensor], Tensor] = lambda ranges: ranges,
    prefer: Callable[[Tensor, Tensor], Tensor] = _by_area,
    last: bool = False,
    level_last: bool = False,
    options: Callable[[float | None], float | None] = lambda radius: radius,
    finish: Callable[..., Any] = lambda assigned, distances, strides, boxes, points: (
        assigned,
        distances,
    ),
) -> Function:
    """Return the targets with something changed.

    Args:
        size: what is compared with the size range, (P, N), of points, boxes and strides.
        on_level: compares it with the least and the largest, (P, 1) each.
        ranges: the size ranges as they are used.
        prefer: (P, N), the lowest of which has the location.
        last: of equal ones the last.
        level_last: the level is asked after the choice.
        options: the radius as it is used.
        finish: the two results, strides, boxes and points to what is returned.
    """

    def function(
        points: Tensor,
        strides: Tensor,
        size_ranges: Tensor,
        boxes: Tensor,
        *,
        radius: float | None = 1.5,
    ) -> Any:
        if len(boxes) == 0:
            both = fcos_targets(points, strides, size_ranges, boxes)
            return finish(*both, strides, boxes, points)

        low, high = ranges(size_ranges)[:, None].unbind(dim=-1)
        fits = on_level(size(points, boxes, strides), low, high)
        candidates = fcos_candidates(points, boxes, strides, options(radius))
        if not level_last:
            candidates = candidates & fits

        wanted = prefer(points, boxes).masked_fill(~candidates, INFINITE)
        best, assigned = wanted.min(dim=1)
        if last:
            assigned = len(boxes) - 1 - wanted.flip(1).argmin(dim=1)
        assigned = assigned.masked_fill(best == INFINITE, -1)
        if level_last:
            chosen = fits.gather(1, assigned.clamp(min=0)[:, None])[:, 0]
            assigned = assigned.masked_fill(~chosen, -1)

        distances = learnt_distances(points, strides, boxes, assigned)
        return finish(assigned, distances, strides, boxes, points)

    return function


def _of_some_object(
    which: int,
) -> Callable[..., Pair]:
    """Leave the distances of an object where a location learns none."""

    def finish(
        assigned: Tensor, distances: Tensor, strides: Tensor, boxes: Tensor, points: Tensor
    ) -> Pair:
        if not len(boxes):
            return assigned, distances
        other = _all_distances(points, boxes)[:, which] / strides[:, None]
        return assigned, torch.where((assigned < 0)[:, None], other, distances)

    return finish


def _reordered(order: list[int]) -> Callable[..., Pair]:
    return lambda assigned, distances, *rest: (assigned, distances[:, order])


MISCONCEPTIONS = (
    # Levels.
    Misconception(
        "every location asks all objects in yours: the size range of the level is missing",
        _learning(on_level=lambda size, low, high: torch.ones_like(size, dtype=torch.bool)),
    ),
    Misconception(
        "the size range is about the largest distance from the location; yours measures the whole "
        "object",
        *(
            _learning(size=lambda p, b, s, of=of: of(b[:, 2:] - b[:, :2]).expand(len(p), -1))
            for of in (
                lambda sides: sides.amax(dim=1),
                lambda sides: sides.amax(dim=1) / 2,
                lambda sides: sides.amin(dim=1),
                lambda sides: sides.prod(dim=1).clamp(min=0).sqrt(),
            )
        ),
    ),
    Misconception(
        "the size range is about the largest of the four distances; yours takes the smallest of "
        "the four",
        _learning(size=lambda p, b, s: _all_distances(p, b).amin(dim=-1)),
    ),
    Misconception(
        "the size range is about the largest of the four distances; yours takes their mean",
        _learning(size=lambda p, b, s: _all_distances(p, b).mean(dim=-1)),
    ),
    Misconception(
        "all four distances must lie in the size range in yours; only the largest of them has to",
        _learning(
            on_level=lambda size, low, high: (
                (size >= low[..., None]) & (size <= high[..., None])
            ).all(dim=-1),
            size=lambda p, b, s: _all_distances(p, b),
        ),
    ),
    Misconception(
        "size ranges are in pixels, as the distances are before they are divided; yours compares "
        "them with distances in strides",
        _learning(size=lambda p, b, s: _largest(p, b, s) / s[:, None]),
    ),
    Misconception(
        "both ends of the size range belong to it: >= and <=",
        _learning(on_level=lambda size, low, high: (size > low) & (size < high)),
        _learning(on_level=lambda size, low, high: (size >= low) & (size < high)),
        _learning(on_level=lambda size, low, high: (size > low) & (size <= high)),
    ),
    Misconception(
        "a size range has two ends; yours asks for the largest distance alone",
        _learning(on_level=lambda size, low, high: size <= high),
    ),
    Misconception(
        "a size range has two ends; yours asks for the least distance alone",
        _learning(on_level=lambda size, low, high: size >= low),
    ),
    Misconception(
        "every location has the size range of its own level; yours is that of one level for all",
        _learning(ranges=lambda r: r[:1].expand(len(r), 2)),
        _learning(ranges=lambda r: r[-1:].expand(len(r), 2)),
    ),
    # Of several.
    Misconception(
        "of several objects the smallest has the location; yours is the largest object",
        _learning(prefer=lambda p, b: -_by_area(p, b)),
    ),
    Misconception(
        "of several objects the smallest has the location; yours is the first in the list",
        _learning(prefer=lambda p, b: torch.zeros(len(p), len(b))),
    ),
    Misconception(
        "of several objects the smallest has the location; yours is the last in the list",
        _learning(prefer=lambda p, b: torch.zeros(len(p), len(b)), last=True),
    ),
    Misconception(
        "of several objects the smallest has the location; yours is the nearest one",
        *(
            _learning(
                prefer=lambda p, b, of=of: of(p[:, None] - (b[:, :2] + b[:, 2:]) / 2),
            )
            for of in (
                lambda d: d.norm(dim=-1),
                lambda d: d.abs().amax(dim=-1),
                lambda d: d.abs().sum(dim=-1),
            )
        ),
    ),
    Misconception(
        "of several objects the one of the smallest area has the location; yours is the one whose "
        "largest distance is smallest",
        _learning(prefer=lambda p, b: _all_distances(p, b).amax(dim=-1)),
    ),
    Misconception(
        "of several objects the one of the smallest area has the location; yours goes by one of "
        "the sides",
        *(
            _learning(prefer=lambda p, b, of=of: of(b[:, 2:] - b[:, :2]).expand(len(p), -1))
            for of in (
                lambda sides: sides.amax(dim=1),
                lambda sides: sides.amin(dim=1),
                lambda sides: sides[:, 0],
                lambda sides: sides[:, 1],
                lambda sides: sides.sum(dim=1),
            )
        ),
    ),
    Misconception(
        "of objects of the same area the first has the location; yours is the last",
        _learning(last=True),
    ),
    Misconception(
        "the smallest among those that are allowed by place and level has the location; yours "
        "takes the smallest of all objects, and drops it if the level does not fit",
        _learning(level_last=True),
    ),
    # Centre sampling.
    Misconception(
        "the radius is the one that is given: hand it on to fcos_candidates; yours is always 1.5",
        _learning(options=lambda radius: 1.5),
    ),
    Misconception(
        "a location must lie near the centre as well, as fcos_candidates says: centre sampling is "
        "missing",
        _learning(options=lambda radius: None),
    ),
    # Distances.
    Misconception(
        "the distances are in strides; yours are in pixels",
        _learning(finish=lambda a, d, strides, *rest: (a, d * strides[:, None])),
    ),
    Misconception(
        "every location has a stride of its own; yours are all divided by the first one's",
        _learning(finish=lambda a, d, s, *rest: (a, d * s[:, None] / s[:1] if len(s) else d)),
    ),
    Misconception(
        "the distances are divided by the stride; yours are multiplied by it",
        _learning(finish=lambda a, d, strides, *rest: (a, d * strides[:, None] ** 2)),
    ),
    Misconception(
        "the order is left, top, right, bottom; yours has another",
        _learning(finish=_reordered([0, 2, 1, 3])),
        _learning(finish=_reordered([1, 0, 3, 2])),
        _learning(finish=_reordered([2, 3, 0, 1])),
    ),
    Misconception(
        "inside its box a location has four distances above 0: x − x1, y − y1, x2 − x, y2 − y; "
        "some of yours have the other sign",
        _learning(finish=lambda a, d, *rest: (a, -d)),
        _learning(finish=lambda a, d, *rest: (a, d * torch.tensor([-1.0, -1, 1, 1]))),
        _learning(finish=lambda a, d, *rest: (a, d * torch.tensor([1.0, 1, -1, -1]))),
    ),
    Misconception(
        "where a location learns nothing its distances are 0; yours are those of some object",
        *(_learning(finish=_of_some_object(which)) for which in (0, -1)),
    ),
    Misconception(
        "where a location learns nothing its distances are 0; yours are −1",
        _learning(finish=lambda a, d, *rest: (a, d.masked_fill((a < 0)[:, None], -1))),
    ),
    # The form of the result.
    Misconception(
        "a location without an object is −1; 0 is the first object",
        _learning(finish=lambda a, d, *rest: (a.clamp(min=0), d)),
    ),
    Misconception(
        "a location without an object is −1; yours is the number of objects",
        _learning(finish=lambda a, d, s, boxes, p: (a.masked_fill(a < 0, len(boxes)), d)),
    ),
    Misconception(
        "the distances are those to the object that the location learns, (P, 4); yours are to all "
        "objects",
        _learning(
            finish=lambda a, d, s, boxes, p: (a, _all_distances(p, boxes) / s[:, None, None])
        ),
    ),
    Misconception(
        "the objects are counted from 0, as Python does; yours from 1",
        _learning(finish=lambda a, d, *rest: (a + 1, d)),
        _learning(finish=lambda a, d, *rest: (a + (a >= 0).long(), d)),
    ),
    Misconception(
        "the indices come first, then the distances; yours are exchanged",
        _learning(finish=lambda a, d, *rest: (d, a)),
    ),
    Misconception(
        "return both: which object, and the distances to its sides",
        _learning(finish=lambda a, d, *rest: a),
        _learning(finish=lambda a, d, *rest: d),
    ),
)

# ---- what else can be said ----


def _clue(asked: Asked) -> str:
    """Say what comes without objects, if nothing else is wrong."""
    wrong = [case for case, found in zip(asked.cases, asked.faults) if found]
    if all(len(case.args[3]) == 0 for case in wrong):
        return (
            "check for an empty list first: without objects every location has −1 and distances "
            "of 0"
        )
    return ""


# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the location that is wrong, and how it sees each object."""
    points, strides, ranges, boxes = case.args
    if not found.index or not 0 < len(boxes) <= 10:
        return ""

    # What decides at this location, of each object that its place allows.
    p = found.index[0]
    low, high = ranges[p].tolist()
    near = fcos_candidates(points[p, None], boxes, strides[p, None], case.keywords["radius"])[0]
    largest = _all_distances(points[p, None], boxes)[0].amax(dim=-1)
    seen = [
        f"{n}: largest distance {float(d):.4g}, area {float(a):.4g}"
        for n, (ok, d, a) in enumerate(zip(near, largest, _area(boxes)))
        if ok
    ]

    # Many boxes would hide the rest of the sentence.
    shown = f"boxes = {written(boxes)}, " if len(boxes) <= 4 else ""
    return (
        f"{shown}points[{p}] = {written(points[p])}, strides[{p}] = {float(strides[p]):g}, "
        f"size_ranges[{p}] = [{low:g}, {high:g}]; by its place it may learn "
        f"{'; '.join(seen) or 'none'}"
    )


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the location and the objects that it may learn by its place, or all of few."""
    points, strides, _, boxes = case.args
    if not found.index or not len(boxes):
        return []
    p = found.index[0]
    near = fcos_candidates(points[p, None], boxes, strides[p, None], case.keywords["radius"])[0]
    shown = near if near.any() else torch.full_like(near, len(boxes) <= 4)
    drawn = [(boxes[n], f"object {n}", "a") for n in shown.nonzero().flatten().tolist()]
    return [*drawn, (points[p].repeat(2), "the location", "c")] if drawn else []


FCOS_TARGETS = Exercise(
    number="4.3",
    name="fcos_targets",
    reference=fcos_targets,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("assigned", "the distance"),
    narrow=_show,
    draw=_draw,
    clue=_clue,
    solution=(fcos_targets, learnt_distances),
    allowed=frozenset({"fcos_candidates"}),
    counted="locations",
)
