"""Exercise 4.2: which locations may learn an object, by their place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.anchor_free.scenes import levels_of, small_scene
from detlearn.check.boxes import Drawing, boxes_of
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.diagnosis import Asked
from detlearn.models.fcos import fcos_candidates
from detlearn.models.point import grid_points

Function = Callable[..., Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    points, strides, _ = levels_of(64, (8,))
    all_points, all_strides, _ = levels_of(64, (4, 8, 16))
    boxes, others = small_scene(6, random), small_scene(9, random)

    values = [
        Case("random", (points, boxes, strides), "6 objects and a map of stride 8"),
        Case("random", (points, boxes, strides, None), "6 objects and the whole box"),
        Case("random", (points, boxes, strides, 0.8), "6 objects and radius = 0.8"),
        Case("random", (all_points, others, all_strides), "9 objects and strides 4, 8, 16"),
        Case("random", (all_points, others, all_strides, 2.3), "9 objects and radius = 2.3"),
    ]

    order = torch.randperm(len(all_points), generator=random)
    shuffled = (all_points[order], others, all_strides[order])
    properties = [
        Case("property", shuffled, "the locations in another order"),
        Case("property", (all_points, others.flip(0), all_strides), "the objects in another order"),
        Case("property", (8 * points, 8 * boxes, 8 * strides), "all eight times as large"),
        Case("property", (points / 64, boxes / 64, strides / 64), "all in shares of the image"),
    ]

    growing = []
    for n in (3, 24):
        grid, each, counts = levels_of(8 * n, (8,))
        note = f"{counts[0]} locations and {n} objects"
        growing.append(Case("no loop", (grid, small_scene(n, random), each), note, size=n))
    return [*_by_hand(), *_degenerate(points, strides), *values, *properties, *growing]


def _by_hand() -> list[Case]:
    return [*_of_the_text(), *_of_few_points(), *_of_levels()]


def _of_the_text() -> list[Case]:
    """Make cases of the chapter's object, on its map of 9 × 8 locations."""
    points = grid_points(8, 9, 8).flatten(0, 1)
    strides = torch.full((72,), 8.0)
    box = boxes_of((24, 28, 64, 52))

    def mask(columns: tuple[int, ...]) -> Tensor:
        """Rows 4 and 5 (y = 36 and 44), these columns."""
        chosen = torch.zeros(8, 9, dtype=torch.bool)
        for column in columns:
            chosen[4, column] = chosen[5, column] = True
        return chosen.view(72, 1)

    return [
        Case("by hand", (points, box, strides), "the object of the text", mask((4, 5, 6))),
        Case(
            "by hand",
            (points, box, strides, None),
            "the object of the text and its whole box",
            mask((3, 4, 5, 6, 7)),
        ),
    ]


def _of_few_points() -> list[Case]:
    def of(xy: list[list[float]], wanted: list[int], note: str, radius: float | None) -> Case:
        points = torch.tensor(xy)
        args = (points, boxes_of((10, 20, 50, 40)), torch.full((len(xy),), 4.0), radius)
        return Case("by hand", args, note, torch.tensor(wanted, dtype=torch.bool)[:, None])

    # The centre is (30, 30). Beyond the box the square goes on, in it the square's corners count.
    return [
        of(
            [[30.0, 20], [30, 40], [10, 30], [50, 30], [30, 21], [11, 30]],
            [0, 0, 0, 0, 1, 1],
            "locations on the sides of the box and beside them, radius = None",
            None,
        ),
        of(
            [[10.0, 20], [50, 40], [49, 39], [11, 21]],
            [0, 0, 1, 1],
            "locations in the corners of the box and beside them, radius = None",
            None,
        ),
        of(
            [[36.0, 30], [24, 30], [30, 36], [35, 30], [25, 30], [30, 35]],
            [0, 0, 0, 1, 1, 1],
            "locations exactly 6 pixels from the centre and 5, radius = 1.5",
            1.5,
        ),
        of(
            [[39.0, 30], [38, 30], [22, 31], [30, 38], [36, 37], [23, 29]],
            [0, 0, 0, 0, 1, 1],
            "locations exactly 8 pixels from the centre, and nearer, radius = 2",
            2.0,
        ),
        of(
            [[35.0, 35], [25, 34], [34, 26], [37, 31], [31, 37]],
            [1, 1, 1, 0, 0],
            "locations in the corners of the centre square, radius = 1.5",
            1.5,
        ),
        of(
            [[30.0, 18], [30, 43], [30, 22], [41, 30], [43, 25]],
            [0, 0, 1, 1, 0],
            "a centre square that is higher than the box, radius = 3",
            3.0,
        ),
    ]


def _of_levels() -> list[Case]:
    # Nine pixels from the centre (30, 30) to the right: less than 1.5 · 8, more than 1.5 · 4.
    points = torch.tensor([[39.0, 30], [39, 30], [39, 30], [31, 30]])
    strides = torch.tensor([4.0, 8, 16, 4])
    boxes = boxes_of((10, 10, 50, 50), (0, 28, 60, 32), (38, 20, 70, 40))
    of_strides = torch.tensor([[0, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]], dtype=torch.bool)
    alone = torch.tensor([[0, 0, 0], [0, 0, 0], [1, 1, 0], [1, 1, 0]], dtype=torch.bool)
    return [
        Case("by hand", (points, boxes, strides), "one place on strides 4, 8, 16", of_strides),
        Case(
            "by hand",
            (points, boxes, strides, 0.75),
            "one place on strides 4, 8, 16, radius = 0.75",
            alone,
        ),
    ]


def _degenerate(points: Tensor, strides: Tensor) -> list[Case]:
    tiny = boxes_of((29, 30, 35, 34), (36, 36, 37, 37), (50, 10, 59.5, 19))
    flat = boxes_of((10, 20, 50, 20), (0, 0, 0, 0), (20, 20, 44, 44))
    return [
        Case("degenerate", (points, boxes_of(), strides), "no objects"),
        Case("degenerate", (points[:0], tiny, strides[:0]), "no locations"),
        Case("degenerate", (points, tiny, strides), "objects smaller than the stride"),
        Case("degenerate", (points, tiny, strides, None), "small objects and the whole box"),
        Case("degenerate", (points, flat, strides), "boxes without area beside another"),
    ]


# ---- wrong answers ----


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    p = points[:, None]
    return ((p > boxes[:, :2]) & (p < boxes[:, 2:])).all(dim=-1)


def _on_sides_too(points: Tensor, boxes: Tensor) -> Tensor:
    p = points[:, None]
    return ((p >= boxes[:, :2]) & (p <= boxes[:, 2:])).all(dim=-1)


def _left_and_top_too(points: Tensor, boxes: Tensor) -> Tensor:
    p = points[:, None]
    return ((p >= boxes[:, :2]) & (p < boxes[:, 2:])).all(dim=-1)


def _middle(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _reach(radius: float, strides: Tensor) -> Tensor:
    return radius * strides[:, None]


def _chosen(
    inside: Callable[[Tensor, Tensor], Tensor] = _inside,
    from_where: Callable[[Tensor], Tensor] = _middle,
    away: Callable[[Tensor], Tensor] = lambda d: d.abs().amax(dim=-1),
    near: Callable[[Tensor, Tensor], Tensor] = torch.lt,
    reach: Callable[[float, Tensor], Tensor] = _reach,
    options: Callable[[float | None], float | None] = lambda radius: radius,
    join: Callable[[Tensor, Tensor], Tensor] = torch.logical_and,
    finish: Callable[[Tensor], Tensor] = lambda mask: mask,
) -> Function:
    """Return the candidates with something changed.

    Args:
        inside: points and boxes to a mask (P, N).
        from_where: the place of a box from which is measured, (N, 2).
        away: one distance of both, (P, N, 2).
        near: compares the distance with the reach.
        reach: of radius and strides.
        options: the radius as it is used.
        join: the two masks.
        finish: the mask to what is returned.
    """

    def function(
        points: Tensor, boxes: Tensor, strides: Tensor, radius: float | None = 1.5
    ) -> Tensor:
        within = inside(points, boxes)
        radius = options(radius)
        if radius is None:
            return finish(within)
        distance = away(points[:, None] - from_where(boxes))
        return finish(join(within, near(distance, reach(radius, strides))))

    return function


def _index_of_the_object(
    points: Tensor, boxes: Tensor, strides: Tensor, radius: float | None = 1.5
) -> Tensor:
    mask = fcos_candidates(points, boxes, strides, radius)
    if not len(boxes):
        return torch.full((len(points),), -1)
    return torch.where(mask.any(dim=1), mask.int().argmax(dim=1), -1)


def _square_in_the_box(
    points: Tensor, boxes: Tensor, strides: Tensor, radius: float | None = 1.5
) -> Tensor:
    """Ask that the whole square lies inside the box."""
    mask = _inside(points, boxes)
    if radius is None:
        return mask
    reach = _reach(radius, strides)[..., None]
    low, high = _middle(boxes) - reach, _middle(boxes) + reach
    fits = (low >= boxes[:, :2]).all(dim=-1) & (high <= boxes[:, 2:]).all(dim=-1)
    return mask & fits & fcos_candidates(points, boxes, strides, radius)


MISCONCEPTIONS = (
    # The square.
    Misconception(
        "a location may learn an object near its centre, not in the whole box: less than radius "
        "strides away from it in x and in y",
        _chosen(options=lambda radius: None),
    ),
    Misconception(
        "a location must lie inside the box, too; your square reaches beyond the box",
        _chosen(join=lambda within, near: near),
    ),
    Misconception(
        "both conditions must hold; in yours one of the two is enough",
        _chosen(join=torch.logical_or),
    ),
    Misconception(
        "a location exactly radius strides away from the centre is not near enough: < in place of "
        "<=",
        _chosen(near=torch.le),
    ),
    Misconception(
        "near is meant in x as well as in y, a square; yours is a circle",
        _chosen(away=lambda d: d.norm(dim=-1)),
        _chosen(
            away=lambda d: d.square().sum(dim=-1),
            reach=lambda radius, strides: _reach(radius, strides) ** 2,
        ),
    ),
    Misconception(
        "near is meant in x as well as in y, a square; yours takes the sum of both",
        _chosen(away=lambda d: d.abs().sum(dim=-1)),
    ),
    Misconception(
        "near is meant in x as well as in y; yours compares in x alone",
        _chosen(away=lambda d: d[..., 0].abs()),
    ),
    Misconception(
        "near is meant in x as well as in y; yours compares in y alone",
        _chosen(away=lambda d: d[..., 1].abs()),
    ),
    Misconception(
        "near is meant in x as well as in y; in yours one of the two is enough",
        _chosen(away=lambda d: d.abs().amin(dim=-1)),
    ),
    Misconception(
        "near is meant in all directions: take the distance without its sign, .abs()",
        _chosen(away=lambda d: d.amax(dim=-1)),
        _chosen(away=lambda d: (-d).amax(dim=-1)),
    ),
    Misconception(
        "the distance is measured from the centre of the box; yours is measured from the upper "
        "left corner",
        _chosen(from_where=lambda boxes: boxes[:, :2]),
    ),
    Misconception(
        "the centre is (x1 + x2) / 2, (y1 + y2) / 2; in yours the half is missing",
        _chosen(from_where=lambda boxes: boxes[:, :2] + boxes[:, 2:]),
    ),
    Misconception(
        "the centre is (x1 + x2) / 2, with a plus; half of the difference is half of the side",
        _chosen(from_where=lambda boxes: (boxes[:, 2:] - boxes[:, :2]) / 2),
    ),
    Misconception(
        "the centre square is cut off by a box that is smaller; in yours such an object has no "
        "location at all",
        _square_in_the_box,
    ),
    # Radius and strides.
    Misconception(
        "radius is in strides; yours takes pixels: multiply it by the location's stride",
        _chosen(reach=lambda radius, strides: torch.full_like(strides, radius)[:, None]),
    ),
    Misconception(
        "every location has a stride of its own; yours takes the first location's for all",
        _chosen(reach=lambda radius, strides: radius * strides[0]),
        _chosen(reach=lambda radius, strides: radius * strides[:1]),
    ),
    Misconception(
        "the square reaches radius strides to each side; yours only half of that",
        _chosen(reach=lambda radius, strides: _reach(radius, strides) / 2),
    ),
    Misconception(
        "the square reaches radius strides to each side; yours twice as far",
        _chosen(reach=lambda radius, strides: 2 * _reach(radius, strides)),
    ),
    Misconception(
        "the radius is the one that is given; yours is always 1.5",
        _chosen(options=lambda radius: 1.5),
    ),
    Misconception(
        "the radius is the one that is given; yours is always 1.5 unless it is None",
        _chosen(options=lambda radius: None if radius is None else 1.5),
    ),
    # Inside.
    Misconception(
        "a location on a side of the box is not inside: < in place of <=",
        _chosen(inside=_on_sides_too),
        _chosen(inside=_left_and_top_too),
    ),
    Misconception(
        "inside means between the sides in x and in y; yours asks for x alone",
        _chosen(
            inside=lambda p, b: (p[:, :1] > b[:, 0]) & (p[:, :1] < b[:, 2]),
        ),
    ),
    Misconception(
        "x comes first in a point, then y; in yours they are exchanged",
        lambda points, *rest: fcos_candidates(points.flip(1), *rest),
    ),
    # The result.
    Misconception(
        "the result has a row for each location and a column for each object, (P, N); yours is "
        "(N, P)",
        _chosen(finish=lambda mask: mask.T),
    ),
    Misconception(
        "say for each location which of the objects it may learn, (P, N); yours says only whether "
        "there is one",
        _chosen(finish=lambda mask: mask.any(dim=1)),
    ),
    Misconception(
        "say for each location which of the objects it may learn, (P, N); yours chooses one",
        _index_of_the_object,
    ),
)

# ---- what else can be said ----


def _clue(asked: Asked) -> str:
    """Say what None means, if the function stumbles over nothing else."""
    wrong = [case for case, found in zip(asked.cases, asked.faults) if found]
    if all(len(case.args) > 3 and case.args[3] is None for case in wrong):
        return "radius = None means the whole box: ask for it before you calculate with it"
    return ""


# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the location and the object that are wrong, and how far they are apart."""
    points, boxes, strides, *_ = case.args
    if len(found.index) != 2:
        return ""
    p, n = found.index
    dx, dy = (points[p] - _middle(boxes)[n]).abs().tolist()
    return (
        f"points[{p}] = {written(points[p])}, strides[{p}] = {written(strides[p])}, "
        f"boxes[{n}] = {written(boxes[n])}, {dx:.4g} and {dy:.4g} pixels from its centre"
    )


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the box, the centre square and the location."""
    points, boxes, strides, *rest = case.args
    if len(found.index) != 2:
        return []
    p, n = found.index
    radius = rest[0] if rest else 1.5
    drawn = [(boxes[n], f"object {n}", "a"), (points[p].repeat(2), "the location", "c")]
    if radius is None:
        return drawn
    middle, reach = _middle(boxes)[n], radius * strides[p]
    return [drawn[0], (torch.cat((middle - reach, middle + reach)), "square", "b"), drawn[1]]


FCOS_CANDIDATES = Exercise(
    number="4.2",
    name="fcos_candidates",
    reference=fcos_candidates,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the answer",),
    narrow=_show,
    draw=_draw,
    clue=_clue,
    counted="locations or objects",
)
