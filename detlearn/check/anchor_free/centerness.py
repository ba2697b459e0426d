"""Exercise 4.4: how central a location is in its box."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.boxes import Drawing
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.diagnosis import Asked
from detlearn.models.fcos import centerness

Function = Callable[[Tensor], Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    many = _random((20,), random)
    maps = _random((2, 3, 5), random)

    values = [
        Case("random", (many,), "20 locations"),
        Case("random", (maps,), "distances of shape (2, 3, 5, 4)"),
        Case("random", (many / 100,), "distances in shares of an image"),
        Case("random", (100 * many,), "distances of hundreds of pixels"),
    ]

    left, top, right, bottom = many.unbind(dim=1)
    properties = [
        Case("property", (torch.stack((right, top, left, bottom), dim=1),), "mirrored boxes"),
        Case("property", (torch.stack((top, left, bottom, right), dim=1),), "x and y exchanged"),
        Case("property", (8 * many,), "the same in boxes eight times as large"),
        Case("property", (many.flip(0),), "the locations in another order"),
    ]

    growing = [
        Case("no loop", (_random((n,), random),), f"{n} locations", size=n) for n in (8, 400)
    ]
    return [*_by_hand(), *_degenerate(), *values, *properties, *growing]


def _random(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    return 0.5 + 12 * torch.rand(*shape, 4, generator=random)


def _by_hand() -> list[Case]:
    def of(rows: list[list[float]], wanted: list[float], note: str) -> Case:
        return Case("by hand", (torch.tensor(rows),), note, torch.tensor(wanted))

    table = of(
        [[4.0, 2, 4, 2], [2, 1, 6, 3], [1, 1, 7, 3]],
        [1.0, 1 / 3, (1 / 21) ** 0.5],
        "the three locations of the table",
    )
    one_way = of(
        [[3.0, 5, 12, 5], [4, 9, 4, 1], [12, 5, 3, 5]],
        [0.5, 1 / 3, 0.5],
        "locations in the middle in one direction",
    )
    both_ways = of(
        [[9.0, 1, 4, 4], [1, 16, 4, 9], [2, 8, 8, 8]],
        [1 / 3, 3 / 8, 0.5],
        "locations nearer to the right, to the left, to the lower side",
    )
    alone = Case(
        "by hand", (torch.tensor([2.0, 1, 8, 4]),), "a single location, (4,)", torch.tensor(0.25)
    )
    return [table, one_way, both_ways, alone]


def _degenerate() -> list[Case]:
    sides = torch.tensor([[0.0, 2, 4, 2], [3, 1, 0, 5], [1, 0, 1, 2], [0, 0, 4, 6]])
    zeros = torch.tensor([[0.0, 0, 0, 0], [4, 2, 4, 2], [0, 3, 0, 3], [2, 0, 2, 0]])
    return [
        Case("degenerate", (torch.zeros(0, 4),), "no locations"),
        Case("degenerate", (sides,), "locations on a side", only_finite=True),
        Case("degenerate", (zeros,), "distances that are all 0", only_finite=True),
    ]


# ---- wrong answers ----


def _share(a: Tensor, b: Tensor) -> Tensor:
    return torch.minimum(a, b) / torch.maximum(a, b).clamp(min=1e-9)


def _mixed(
    share: Callable[[Tensor, Tensor], Tensor] = _share,
    join: Callable[[Tensor, Tensor], Tensor] = lambda across, down: across * down,
    finish: Callable[[Tensor], Tensor] = torch.sqrt,
    pairs: tuple[tuple[int, int], tuple[int, int]] = ((0, 2), (1, 3)),
) -> Function:
    """Return centerness with something changed.

    Args:
        share: of two distances.
        join: the shares across and down.
        finish: their product.
        pairs: which distances face each other.
    """

    def function(distances: Tensor) -> Tensor:
        first, second = (share(distances[..., i], distances[..., j]) for i, j in pairs)
        return finish(join(first, second))

    return function


MISCONCEPTIONS = (
    Misconception(
        "the root is missing: without it a location a little off the middle counts for nearly "
        "nothing",
        _mixed(finish=lambda x: x),
    ),
    Misconception(
        "this is a fourth root: one root over the product is enough",
        _mixed(finish=lambda x: x**0.25),
    ),
    Misconception(
        "the product has a root; yours is squared",
        _mixed(finish=torch.square),
    ),
    Misconception(
        "left faces right and top faces bottom, in the order l, t, r, b; yours pairs them as they "
        "stand side by side",
        _mixed(pairs=((0, 1), (2, 3))),
    ),
    Misconception(
        "left faces right and top faces bottom; yours pairs left with bottom",
        _mixed(pairs=((0, 3), (1, 2))),
    ),
    Misconception(
        "each quotient is upside down: the smaller distance is divided by the larger",
        _mixed(share=lambda a, b: torch.maximum(a, b) / torch.minimum(a, b).clamp(min=1e-6)),
        _mixed(share=lambda a, b: torch.maximum(a, b) / torch.minimum(a, b)),
    ),
    Misconception(
        "the smaller distance is divided by the larger, whichever that is; yours is left / right, "
        "more than 1 on the right side",
        _mixed(share=lambda a, b: a / b.clamp(min=1e-6)),
        _mixed(share=lambda a, b: a / b),
        _mixed(share=lambda a, b: a / (b + 1e-6)),
        _mixed(share=lambda a, b: a / (b + 1e-9)),
    ),
    Misconception(
        "where distances are all 0 yours is 0 / 0, not a number: keep the larger one above 0, "
        "with clamp(min=1e-6) or so",
        _mixed(share=lambda a, b: torch.minimum(a, b) / torch.maximum(a, b)),
        _mixed(share=lambda a, b: torch.minimum(a / b, b / a)),
    ),
    Misconception(
        "the two shares are multiplied; yours are added",
        _mixed(join=lambda across, down: (across + down) / 2),
        _mixed(join=lambda across, down: (across + down) / 2, finish=lambda x: x),
        _mixed(join=lambda across, down: across + down),
        _mixed(join=lambda across, down: across + down, finish=lambda x: x),
    ),
    Misconception(
        "the two shares are multiplied; yours takes the smaller of the two alone",
        _mixed(join=torch.minimum),
        _mixed(join=torch.minimum, finish=lambda x: x),
    ),
    Misconception(
        "across and down have a share each; yours divides the smallest by the largest of all "
        "four distances",
        lambda d: (d.amin(dim=-1) / d.amax(dim=-1).clamp(min=1e-6)).sqrt(),
        lambda d: d.amin(dim=-1) / d.amax(dim=-1).clamp(min=1e-6),
        lambda d: (d.amin(dim=-1) / d.amax(dim=-1)).sqrt(),
    ),
    Misconception(
        "both directions count, min(l, r) / max(l, r) and min(t, b) / max(t, b); yours looks "
        "across alone",
        _mixed(join=lambda across, down: across),
        _mixed(join=lambda across, down: across, finish=lambda x: x),
    ),
    Misconception(
        "both directions count, min(l, r) / max(l, r) and min(t, b) / max(t, b); yours looks "
        "down alone",
        _mixed(join=lambda across, down: down),
        _mixed(join=lambda across, down: down, finish=lambda x: x),
    ),
    Misconception(
        "it is 1 in the middle and 0 at the sides; yours grows towards the sides",
        _mixed(finish=lambda x: 1 - x.sqrt()),
    ),
    Misconception(
        "the smaller distance is divided by the larger one; yours is divided by their sum",
        _mixed(share=lambda a, b: torch.minimum(a, b) / (a + b).clamp(min=1e-9)),
        _mixed(share=lambda a, b: torch.minimum(a, b) / (a + b)),
        _mixed(share=lambda a, b: 2 * torch.minimum(a, b) / (a + b).clamp(min=1e-9)),
    ),
    Misconception(
        "return (...), one number a location; yours keeps a dimension of length 1",
        _mixed(finish=lambda x: x.sqrt()[..., None]),
    ),
    Misconception(
        "return one number a location, (...); yours is the mean of all",
        _mixed(finish=lambda x: x.sqrt().mean()),
    ),
)

# ---- what else can be said ----


def _clue(asked: Asked) -> str:
    """Say where the four distances stand, if the function fails beyond matrices alone."""
    wrong = [case for case, found in zip(asked.cases, asked.faults) if found]
    if all(case.args[0].ndim != 2 for case in wrong):
        return (
            "the leading dimensions are any, perhaps none, so the four distances are the last "
            "one: distances.unbind(dim=-1)"
        )
    return ""


# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the distances of the location that is wrong."""
    distances = case.args[0]
    if len(found.index) != distances.ndim - 1 or not distances.numel():
        return ""
    where = f"[{', '.join(map(str, found.index))}]" if found.index else ""
    return f"distances{where} = {written(distances[found.index])}"


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the box around the location."""
    distances = case.args[0]
    if len(found.index) != distances.ndim - 1 or not distances.numel():
        return []
    left, top, right, bottom = distances[found.index].tolist()
    return [
        (torch.tensor([-left, -top, right, bottom]), "the box", "a"),
        (torch.zeros(4), "the location", "c"),
    ]


CENTERNESS = Exercise(
    number="4.4",
    name="centerness",
    reference=centerness,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("centerness",),
    narrow=_show,
    draw=_draw,
    clue=_clue,
    counted="locations",
)
