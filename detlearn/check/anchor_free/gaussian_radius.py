"""Exercise 4.6: how far both corners of a box may be off."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.boxes import Drawing
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case, Fault
from detlearn.models.centernet import gaussian_radius, official_gaussian_radius

Function = Callable[..., Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    sides = _random(16, random)
    other = _random(12, random)

    values = [
        Case("random", (sides,), "16 boxes"),
        Case("random", (sides, 0.5), "16 boxes and min_overlap = 0.5"),
        Case("random", (other, 0.3), "12 boxes and min_overlap = 0.3"),
        Case("random", (other, 0.85), "12 boxes and min_overlap = 0.85"),
    ]

    properties = [
        Case("property", (sides.flip(1), 0.6), "width and height exchanged"),
        Case("property", (8 * sides, 0.6), "boxes eight times as large"),
        Case("property", (sides / 64, 0.6), "boxes in shares of an image of 64 pixels"),
        Case("property", (sides.flip(0), 0.6), "the boxes in another order"),
    ]

    growing = [Case("no loop", (_random(n, random),), f"{n} boxes", size=n) for n in (8, 400)]
    return [*_by_hand(), *_degenerate(), *values, *properties, *growing]


def _random(number: int, random: torch.Generator) -> Tensor:
    """Return widths and heights, neither whole numbers nor squares, up to 1 : 8."""
    return 6.3 + 45 * torch.rand(number, 2, generator=random)


def _by_hand() -> list[Case]:
    def of(rows: list[list[float]], wanted: list[float], note: str, *overlap: float) -> Case:
        return Case("by hand", (torch.tensor(rows), *overlap), note, torch.tensor(wanted))

    # A square keeps the share √o of its side: (1 − √o) / 2 of it at each end.
    root = 0.7**0.5
    return [
        of([[100.0, 100]], [8.1669987], "a box of 100 × 100"),
        of([[60.0, 20]], [2.3931831], "a box of 60 × 20"),
        of(
            [[10.0, 10], [40, 40], [48, 16]],
            [5 * (1 - root), 20 * (1 - root), 1.9145465],
            "boxes of 10 × 10, 40 × 40 and 48 × 16",
        ),
        of([[40.0, 40], [12, 12]], [5.0, 1.5], "squares, and min_overlap = 0.5625 = 0.75²", 0.5625),
        # (10 − 2)(6 − 2) / 60 = 32 / 60
        of([[10.0, 6], [6, 10]], [1.0, 1.0], "10 × 6 and 6 × 10, min_overlap = 32 / 60", 32 / 60),
    ]


def _degenerate() -> list[Case]:
    return [
        Case("degenerate", (torch.zeros(0, 2),), "no boxes"),
        Case("degenerate", (torch.tensor([[90.0, 6], [5, 80]]),), "long and narrow boxes"),
        Case("degenerate", (torch.tensor([[0.5, 0.4], [0.9, 0.2]]),), "boxes smaller than a cell"),
        Case("degenerate", (torch.tensor([[8.0, 4], [30, 20]]), 0.99), "min_overlap = 0.99"),
    ]


# ---- wrong answers ----

# a, b and c of the three equations a r² + b r + c = 0, of w + h, w · h and o.
INWARDS = (lambda o: 4, lambda o: -2, lambda o: 1 - o)
OUTWARDS = (lambda o: 4 * o, lambda o: 2 * o, lambda o: o - 1)
SHIFTED = (lambda o: 1, lambda o: -1, lambda o: (1 - o) / (1 + o))
THREE = (INWARDS, OUTWARDS, SHIFTED)


def _smallest(radii: Tensor) -> Tensor:
    return radii.amin(dim=0)


def _right_root(a: float, b: Tensor, c: Tensor, root: Tensor) -> Tensor:
    """The smaller positive one."""
    return torch.where(b < 0, -b - root, -b + root) / (2 * a)


def _radius(
    equations: tuple = THREE,
    solve: Callable[..., Tensor] = _right_root,
    choose: Callable[[Tensor], Tensor] = _smallest,
    overlap: Callable[[float], float] = lambda o: o,
    before: Callable[[Tensor], Tensor] = lambda sides: sides,
    finish: Callable[[Tensor], Tensor] = lambda r: r,
) -> Function:
    """Return the radius with something changed.

    Args:
        equations: which of the three.
        solve: a root of a, b, c and √(b² − 4ac).
        choose: one of the radii (3, N).
        overlap: min_overlap as it is used.
        before: what is done to the sides first.
        finish: what is done to the radii.
    """

    def function(sides: Tensor, min_overlap: float = 0.7) -> Tensor:
        o = overlap(min_overlap)
        w, h = before(sides).unbind(dim=1)
        radii = []
        for a_of, b_of, c_of in equations:
            a, b, c = a_of(o), b_of(o) * (w + h), c_of(o) * w * h
            radii.append(solve(a, b, c, (b**2 - 4 * a * c).sqrt()))
        return finish(choose(torch.stack(radii)))

    return function


def _minus(a: float, b: Tensor, c: Tensor, root: Tensor) -> Tensor:
    return (-b - root) / (2 * a)


def _plus(a: float, b: Tensor, c: Tensor, root: Tensor) -> Tensor:
    return (-b + root) / (2 * a)


def _over_two(a: float, b: Tensor, c: Tensor, root: Tensor) -> Tensor:
    return torch.where(b < 0, -b - root, -b + root) / 2


def _over_a(a: float, b: Tensor, c: Tensor, root: Tensor) -> Tensor:
    return torch.where(b < 0, -b - root, -b + root) / a


def _of_the_root_itself(a: float, b: Tensor, c: Tensor, root: Tensor) -> Tensor:
    return torch.where(b < 0, -b - root**2, -b + root**2) / (2 * a)


def _of_one_side(side: Callable[[Tensor], Tensor]) -> Function:
    return _radius(before=lambda sides: side(sides)[:, None].expand(-1, 2))


def _one_side_alone(sides: Tensor, min_overlap: float = 0.7) -> Tensor:
    """Let the shorter side alone shrink to the overlap."""
    return sides.amin(dim=1) * (1 - min_overlap) / 2


MISCONCEPTIONS = (
    # Which root, which of the three; several mistakes come out at the same radius.
    Misconception(
        "the smallest positive root is meant, in the first equation (−b − √(b² − 4ac)) / 2a; yours "
        "is the official (b + √(b² − 4ac)) / 2 of all three, three times as far",
        official_gaussian_radius,
        _radius(solve=lambda a, b, c, root: (-b + root) / 2),
    ),
    Misconception(
        "this is the radius of both outwards, the most generous of the three; the smallest is "
        "meant, of the three as well as of the two roots of the first, −b − √…",
        _radius(equations=(OUTWARDS,)),
        _radius(solve=_plus),
        _radius(choose=lambda r: r.amax(dim=0)),
    ),
    Misconception(
        "this is the radius of a shift; the one inwards is smaller: its sides are w − 2r and "
        "h − 2r, and its root is divided by 2a = 8",
        _radius(equations=(SHIFTED,)),
        _radius(solve=_over_two),
        _radius(choose=lambda r: r.median(dim=0).values),
    ),
    Misconception(
        "this is twice as far as it may be: going inwards a side loses r at both ends, w − 2r, "
        "and the root is divided by 2a = 8",
        _radius(equations=(INWARDS,), finish=lambda r: 2 * r),
        _radius(solve=_over_a),
    ),
    Misconception(
        "a root of a r² + b r + c is (−b ± √(b² − 4ac)) / 2a: divide by 2a = 8, not by 2 alone",
        _radius(equations=(INWARDS,), solve=_over_two),
    ),
    Misconception(
        "in (−b ± √(b² − 4ac)) / 2a there is a root over b² − 4ac; it is missing in yours",
        _radius(solve=_of_the_root_itself),
        _radius(equations=(INWARDS,), solve=_of_the_root_itself),
    ),
    Misconception(
        "a radius is above 0; the smaller root of the second equation is negative: take the "
        "smallest positive one",
        _radius(solve=_minus),
        _radius(solve=_minus, finish=lambda r: r.clamp(min=0)),
        _radius(solve=_minus, finish=torch.abs),
    ),
    Misconception(
        "the radius is to hold in all three cases, so it is the smallest; yours is the mean of "
        "the three",
        _radius(choose=lambda r: r.mean(dim=0)),
    ),
    Misconception(
        "r is how far one corner is off; yours is half of that",
        _radius(finish=lambda r: r / 2),
    ),
    Misconception(
        "shrinking both sides by 2r costs overlap in x and in y; yours lets one side shrink alone",
        _one_side_alone,
        lambda sides, min_overlap=0.7: 2 * _one_side_alone(sides, min_overlap),
    ),
    # The overlap.
    Misconception(
        "the least overlap is the one that is given, min_overlap; yours is always 0.7",
        _radius(overlap=lambda o: 0.7),
    ),
    Misconception(
        "the IoU is to be min_overlap; in yours it is 1 - min_overlap",
        _radius(overlap=lambda o: 1 - o),
    ),
    # Sides and result.
    Misconception(
        "the radius is not rounded; draw_gaussians rounds it down later",
        _radius(finish=torch.floor),
        _radius(finish=torch.round),
        _radius(finish=torch.ceil),
    ),
    Misconception(
        "a small box has a radius below 1; yours is at least 1",
        _radius(finish=lambda r: r.clamp(min=1)),
    ),
    Misconception(
        "take the sides as they are; yours rounds them up first",
        _radius(before=torch.ceil),
    ),
    Misconception(
        "take the sides as they are; yours rounds them down first",
        _radius(before=torch.floor),
    ),
    Misconception(
        "the radius depends on width and height; yours is that of the square on the shorter side",
        _of_one_side(lambda sides: sides.amin(dim=1)),
    ),
    Misconception(
        "the radius depends on width and height; yours is that of the square on the longer side",
        _of_one_side(lambda sides: sides.amax(dim=1)),
    ),
    Misconception(
        "the radius depends on width and height; yours is that of a square of the same area",
        _of_one_side(lambda sides: sides.prod(dim=1).sqrt()),
    ),
    Misconception(
        "the radius depends on width and height; yours is that of a square of their mean",
        _of_one_side(lambda sides: sides.mean(dim=1)),
    ),
    Misconception(
        "return the radius as it is, float32; yours are whole numbers",
        _radius(finish=lambda r: r.long()),
        _radius(finish=lambda r: r.int()),
        _radius(finish=lambda r: r.round().long()),
    ),
    Misconception(
        "return one radius a box, (N,); yours has a second dimension",
        _radius(finish=lambda r: r[:, None]),
    ),
    Misconception(
        "of each box the smallest of its three; yours is the smallest of all boxes",
        _radius(finish=lambda r: r.min().expand(len(r)) if len(r) else r),
        _radius(finish=lambda r: r.min().expand(len(r))),
        _radius(finish=lambda r: r.min()),
    ),
    Misconception(
        "return one radius a box, the smallest of the three; yours are all three",
        _radius(choose=lambda r: r.T),
        _radius(choose=lambda r: r),
    ),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the sides of the box that is wrong, and its three radii."""
    sides, *overlap = case.args
    if len(found.index) != 1:
        return ""
    w, h = sides[found.index[0]].tolist()
    each = [_radius(equations=(e,))(sides[found.index[0]][None], *overlap).item() for e in THREE]
    inwards, outwards, shifted = (f"{r:.4f}" for r in each)
    return (
        f"sides[{found.index[0]}] = [{w:.6g}, {h:.6g}], for which the three radii are {inwards} "
        f"(inwards), {outwards} (outwards) and {shifted} (the same way)"
    )


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the box, and the smallest that the right radius admits."""
    if len(found.index) != 1:
        return []
    w, h = case.args[0][found.index[0]].tolist()
    r = float(gaussian_radius(case.args[0], *case.args[1:])[found.index[0]])
    return [
        (torch.tensor([0.0, 0, w, h]), f"{w:.4g} × {h:.4g}", "a"),
        (torch.tensor([r, r, w - r, h - r]), "IoU just enough", "b"),
    ]


GAUSSIAN_RADIUS = Exercise(
    number="4.6",
    name="gaussian_radius",
    reference=gaussian_radius,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the radius",),
    narrow=_show,
    draw=_draw,
    counted="boxes",
)
