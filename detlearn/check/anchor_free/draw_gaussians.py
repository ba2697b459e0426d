"""Exercise 4.7: a heat map with a bump for each object."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.diagnosis import Asked
from detlearn.models.centernet import draw_gaussians

Function = Callable[..., Tensor]
Bump = Callable[[Tensor, Tensor, float], Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    some = _random(6, 3, (12, 16), 4, random)
    close = _random(8, 2, (9, 9), 3, random)
    tall = _random(7, 4, (20, 11), 5, random)

    values = [
        Case("random", some, "6 objects of three classes on a map of 12 × 16"),
        Case("random", close, "8 objects of two classes close together"),
        Case("random", tall, "7 objects of four classes on a map of 20 × 11"),
    ]

    centres, radii, labels, *sizes = some
    properties = [
        Case(
            "property",
            (centres.flip(0), radii.flip(0), labels.flip(0), *sizes),
            "the objects in another order",
        ),
        Case(
            "property",
            (centres.repeat(2, 1), radii.repeat(2), labels.repeat(2), *sizes),
            "every object twice",
        ),
        Case(
            "property",
            (centres.flip(1), radii, labels, 3, 16, 12),
            "the map turned, rows for columns",
        ),
    ]

    growing = [
        Case("no loop", _random(3, 2, (n, n), 2, random), f"a map of {n} × {n} cells", size=n)
        for n in (8, 64)
    ]
    return [*_by_hand(), *_degenerate(), *values, *properties, *growing]


def _random(
    number: int, classes: int, size: tuple[int, int], most: float, random: torch.Generator
) -> tuple:
    """Return the six arguments; the radii lie well between whole numbers, above and below .5."""
    height, width = size
    columns = torch.randint(width, (number,), generator=random)
    rows = torch.randint(height, (number,), generator=random)
    radii = torch.randint(1, int(most) + 1, (number,), generator=random)
    parts = torch.tensor([0.2, 0.7, 0.4, 0.9])[torch.arange(number) % 4]
    labels = torch.arange(number) % classes
    labels = labels[torch.randperm(number, generator=random)]
    return torch.stack((columns, rows), dim=1), radii + parts, labels, classes, height, width


def _gauss(dx: int, dy: int, reach: int) -> float:
    sigma = (2 * reach + 1) / 6
    return math.exp(-(dx**2 + dy**2) / (2 * sigma**2))


def _objects(*rows: tuple[int, int, float, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return centres, radii and labels from column, row, radius and label of each."""
    centres = torch.tensor([row[:2] for row in rows], dtype=torch.int64).view(-1, 2)
    radii = torch.tensor([row[2] for row in rows], dtype=torch.float32)
    return centres, radii, torch.tensor([row[3] for row in rows], dtype=torch.int64)


def _painted(rows: list[tuple], classes: int, height: int, width: int) -> Tensor:
    """Return the map of objects cell by cell, from column, row, ⌊radius⌋ and label of each."""
    heatmap = torch.zeros(classes, height, width)
    for column, row, reach, label in rows:
        for y in range(max(row - reach, 0), min(row + reach + 1, height)):
            for x in range(max(column - reach, 0), min(column + reach + 1, width)):
                value = _gauss(x - column, y - row, reach)
                heatmap[label, y, x] = max(float(heatmap[label, y, x]), value)
    return heatmap


def _by_hand() -> list[Case]:
    def of(rows: list[tuple], sizes: tuple[int, int, int], note: str) -> Case:
        reached = [(x, y, int(r), label) for x, y, r, label in rows]
        return Case("by hand", (*_objects(*rows), *sizes), note, _painted(reached, *sizes))

    return [
        of([(4, 3, 2.6, 0)], (1, 7, 9), "the object of the table on a map of 7 × 9"),
        of([(2, 4, 1.0, 1)], (2, 6, 5), "one object of class 1, radius 1"),
        of([(5, 2, 3.9, 0), (1, 6, 1.5, 0)], (1, 8, 9), "two objects, radii 3.9 and 1.5"),
        of([(3, 3, 2.2, 0), (5, 3, 2.2, 0)], (1, 7, 9), "two objects two columns apart"),
        of([(3, 3, 3.4, 0), (4, 4, 1.4, 0)], (1, 8, 8), "a small object beside a large one"),
        of([(3, 3, 2.2, 0), (4, 3, 2.2, 1)], (2, 7, 8), "two objects of two classes"),
        of([(0, 0, 2.3, 0), (7, 5, 3.3, 0)], (1, 6, 8), "objects in two corners of the map"),
    ]


def _degenerate() -> list[Case]:
    nothing = _objects()
    return [
        Case("degenerate", (*nothing, 3, 4, 5), "no objects"),
        Case("degenerate", (*_objects((2, 1, 0.0, 0)), 1, 4, 5), "a radius of 0"),
        Case(
            "degenerate",
            (*_objects((2, 1, 0.8, 0), (4, 3, 0.3, 1), (3, 3, 0.6, 1)), 2, 5, 6),
            "radii below 1",
        ),
        Case("degenerate", (*_objects((1, 2, 9.5, 0)), 1, 5, 4), "a bump larger than the map"),
        Case("degenerate", (*_objects((0, 0, 1.5, 1)), 4, 1, 1), "a map of one cell"),
        Case(
            "degenerate",
            (*_objects((3, 2, 1.2, 0), (3, 2, 3.2, 0), (3, 2, 2.2, 1)), 2, 6, 7),
            "several objects in one cell",
        ),
    ]


# ---- wrong answers ----


def _bump(
    reach: Callable[[float], float] = math.floor,
    sigma: Callable[[float, float], float] = lambda r, radius: (2 * r + 1) / 6,
    power: Callable[[Tensor, float], Tensor] = lambda squares, sigma: squares / (2 * sigma**2),
    ends: Callable[..., Tensor] = lambda dx, dy, r: (dx.abs() <= r) & (dy.abs() <= r),
    finish: Callable[[Tensor, float], Tensor] = lambda values, sigma: values,
) -> Bump:
    """Return a bump with something changed.

    Args:
        reach: of the radius, how far it goes.
        sigma: of reach and radius.
        power: the exponent without its minus, of dx² + dy² and sigma.
        ends: where it is not cut off, of dx, dy and reach.
        finish: the values and sigma to the values as they are drawn.
    """

    def bump(dx: Tensor, dy: Tensor, radius: float) -> Tensor:
        r = reach(radius)
        spread = sigma(r, radius)
        values = torch.exp(-power((dx**2 + dy**2).float(), max(spread, 1e-6)))
        return finish(values, spread) * ends(dx, dy, r)

    return bump


RIGHT_BUMP = _bump()


def _drawing(
    bump: Bump = RIGHT_BUMP,
    join: Callable[[Tensor, Tensor], Tensor] = torch.maximum,
    before: Callable[..., tuple] = lambda centres, radii, labels: (centres, radii, labels),
    finish: Callable[[Tensor], Tensor] = lambda heatmap: heatmap,
) -> Function:
    """Return the heat map with something changed.

    Args:
        bump: of dx, dy and the radius.
        join: the map as it was and a new bump.
        before: what is done to centres, radii and labels first.
        finish: what is done to the map.
    """

    def function(
        centres: Tensor, radii: Tensor, labels: Tensor, num_classes: int, height: int, width: int
    ) -> Tensor:
        heatmap = torch.zeros(num_classes, height, width)
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centres, radii, labels = before(centres, radii, labels)
        for (column, row), radius, k in zip(centres.tolist(), radii.tolist(), labels.tolist()):
            heatmap[k] = join(heatmap[k], bump(x - column, y - row, radius))
        return finish(heatmap)

    return function


def _over(old: Tensor, new: Tensor) -> Tensor:
    return torch.where(new > 0, new, old)


def _everywhere(dx: Tensor, dy: Tensor, reach: float) -> Tensor:
    return torch.ones_like(dx, dtype=torch.bool)


def _integers(centres, radii, labels, *sizes) -> Tensor:
    return (draw_gaussians(centres, radii, labels, *sizes) == 1).float()


MISCONCEPTIONS = (
    # Where bumps meet.
    Misconception(
        "where bumps of one class overlap the larger value counts; yours adds them, so that "
        "centres are no longer exactly 1",
        _drawing(join=torch.add),
        _drawing(join=lambda old, new: (old + new).clamp(max=1)),
    ),
    Misconception(
        "where bumps of one class overlap the larger value counts; in yours the later bump is "
        "written over the others, centres and all",
        _drawing(join=_over),
    ),
    Misconception(
        "every object has its bump; in yours an object erases those of its class that were drawn "
        "before",
        _drawing(join=lambda old, new: new),
    ),
    # Where they end.
    Misconception(
        "a bump ends where |dx| or |dy| is more than R; yours goes on beyond it",
        _drawing(_bump(ends=_everywhere)),
    ),
    Misconception(
        "a bump ends in a square, where |dx| or |dy| is more than R; yours ends in a circle",
        _drawing(_bump(ends=lambda dx, dy, r: dx**2 + dy**2 <= r**2)),
    ),
    Misconception(
        "a bump ends in a square, where |dx| or |dy| is more than R; yours ends where their sum is",
        _drawing(_bump(ends=lambda dx, dy, r: dx.abs() + dy.abs() <= r)),
    ),
    Misconception(
        "a bump reaches up to R cells away, R itself included; yours ends one pixel short",
        _drawing(_bump(ends=lambda dx, dy, r: (dx.abs() < max(r, 1)) & (dy.abs() < max(r, 1)))),
        _drawing(_bump(ends=lambda dx, dy, r: (dx.abs() < r) & (dy.abs() < r))),
        _drawing(
            _bump(ends=lambda x, y, r: (x >= -r) & (x < max(r, 1)) & (y >= -r) & (y < max(r, 1)))
        ),
        _drawing(_bump(ends=lambda x, y, r: (x >= -r) & (x < r) & (y >= -r) & (y < r))),
    ),
    Misconception(
        "a bump ends at R cells; yours ends one cell later",
        _drawing(_bump(ends=lambda dx, dy, r: (dx.abs() <= r + 1) & (dy.abs() <= r + 1))),
    ),
    # The radius.
    Misconception(
        "the radius is rounded down first, in sigma as well as at the end of the bump; yours "
        "takes it as it is",
        _drawing(_bump(reach=lambda r: r)),
        _drawing(_bump(sigma=lambda r, radius: (2 * radius + 1) / 6)),
    ),
    Misconception(
        "the radius is rounded down; yours is rounded to the nearest whole number",
        _drawing(_bump(reach=round)),
        _drawing(_bump(reach=lambda r: math.floor(r + 0.5))),
    ),
    Misconception(
        "the radius is rounded down; yours is rounded up",
        _drawing(_bump(reach=math.ceil)),
    ),
    Misconception(
        "a radius below 1 counts as 0, and the bump is the centre alone; yours takes at least 1",
        _drawing(_bump(reach=lambda r: max(math.floor(r), 1))),
    ),
    # Sigma.
    Misconception(
        "sigma is a sixth of the bump's width, (2R + 1) / 6; yours is a third of the radius, "
        "2R / 6, without the 1",
        _drawing(_bump(sigma=lambda r, radius: r / 3)),
        _drawing(_bump(sigma=lambda r, radius: radius / 3)),
    ),
    Misconception(
        "sigma is a sixth of the bump's width, (2R + 1) / 6; yours is 2R + 1 itself",
        _drawing(_bump(sigma=lambda r, radius: 2 * r + 1)),
    ),
    Misconception(
        "sigma is a sixth of the bump's width, (2R + 1) / 6; yours is the radius itself",
        _drawing(_bump(sigma=lambda r, radius: r)),
        _drawing(_bump(sigma=lambda r, radius: radius)),
    ),
    Misconception(
        "sigma is a sixth of the bump's width, (2R + 1) / 6; yours is half of the radius",
        _drawing(_bump(sigma=lambda r, radius: r / 2)),
        _drawing(_bump(sigma=lambda r, radius: radius / 2)),
    ),
    Misconception(
        "sigma is a sixth of the bump's width, (2R + 1) / 6; yours is a third of it",
        _drawing(_bump(sigma=lambda r, radius: (2 * r + 1) / 3)),
    ),
    Misconception(
        "the 2 below the fraction is missing: dx² + dy² is divided by 2 · sigma²",
        _drawing(_bump(power=lambda squares, sigma: squares / sigma**2)),
    ),
    Misconception(
        "sigma enters squared: dx² + dy² is divided by 2 · sigma², yours by 2 · sigma",
        _drawing(_bump(power=lambda squares, sigma: squares / (2 * sigma))),
        _drawing(_bump(power=lambda squares, sigma: squares / sigma)),
    ),
    Misconception(
        "dx² + dy² stands in the exponent; yours has its root, so that the bump has a tip",
        _drawing(_bump(power=lambda squares, sigma: squares.sqrt() / (2 * sigma**2))),
        _drawing(_bump(power=lambda squares, sigma: squares.sqrt() / sigma)),
    ),
    Misconception(
        "the centre is exactly 1; yours is a density, which integrates to 1 over the map: leave "
        "the factor 1 / (2π sigma²) out",
        _drawing(_bump(finish=lambda values, sigma: values / (2 * math.pi * sigma**2))),
        _drawing(_bump(finish=lambda values, sigma: values / ((2 * math.pi) ** 0.5 * sigma))),
        _drawing(_bump(finish=lambda values, sigma: values / values.sum())),
    ),
    Misconception(
        "the focal loss wants soft maps: around a centre stands its bump; in yours there are only "
        "the centres",
        _integers,
    ),
    # Where they stand.
    Misconception(
        "the column comes first in a centre, then the row; in the map rows come first: "
        "heatmap[k, row, column]",
        _drawing(before=lambda centres, radii, labels: (centres.flip(1), radii, labels)),
    ),
    Misconception(
        "each class has a map of its own; yours are all drawn into one map",
        _drawing(before=lambda centres, radii, labels: (centres, radii, 0 * labels)),
        _drawing(finish=lambda heatmap: heatmap.amax(dim=0, keepdim=True).expand_as(heatmap)),
        _drawing(finish=lambda heatmap: heatmap.amax(dim=0)),
    ),
    Misconception(
        "the classes are counted from 0, and class k has map k; yours from 1",
        _drawing(before=lambda centres, radii, labels: (centres, radii, labels - 1)),
    ),
    # The result.
    Misconception(
        "the map is (num_classes, height, width): rows before columns; yours has the width first",
        _drawing(finish=lambda heatmap: heatmap.mT),
    ),
)

# ---- what else can be said ----


def _clue(asked: Asked) -> str:
    """Say what comes without objects or at the border, if nothing else is wrong."""
    wrong = [i for i, found in enumerate(asked.faults) if found]
    if all(len(asked.cases[i].args[2]) == 0 for i in wrong):
        return "without objects every map is there and 0: (num_classes, height, width)"
    if all(_reaches_beyond(asked.cases[i]) for i in wrong):
        return (
            "a bump near the border reaches beyond the map: cut the window off on that side, in "
            "the map as well as in the bump"
        )
    return ""


def _reaches_beyond(case: Case) -> bool:
    """Whether a bump of the case does not lie wholly inside the map."""
    centres, radii, _, _, height, width = case.args
    reach = radii.floor()[:, None]
    size = torch.tensor([width, height])
    return bool(((centres - reach < 0) | (centres + reach >= size)).any())


# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the objects of the class that is wrong."""
    centres, radii, labels, *_ = case.args
    if len(found.index) != 3:
        return ""
    k, row, column = found.index
    mine = labels == k
    return (
        f"at column {column} and row {row} of class {k}, whose objects have the centres "
        f"{written(centres[mine])} and the radii {written(radii[mine])}"
    )


DRAW_GAUSSIANS = Exercise(
    number="4.7",
    name="draw_gaussians",
    reference=draw_gaussians,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the heat map",),
    narrow=_show,
    clue=_clue,
    counted="cells",
)
