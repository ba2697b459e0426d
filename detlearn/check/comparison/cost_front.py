"""Exercise 7.2: which detectors nobody beats in both accuracy and latency."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.results.detection_table import cost_front

Function = Callable[[Tensor, Tensor], Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    def drawn(count: int) -> tuple[Tensor, Tensor]:
        costs = 1 + 40 * torch.rand(count, generator=random)
        return costs, torch.rand(count, generator=random)

    many = [Case("random", drawn(n), f"{n} detectors") for n in (5, 8, 12, 20, 40)]

    # Few different numbers, so that many are equal in one or both.
    ties = [
        Case(
            "random",
            (
                torch.randint(1, 4, (12,), generator=random).float(),
                torch.randint(0, 4, (12,), generator=random) / 4,
            ),
            "12 detectors with many ties",
        )
        for _ in range(3)
    ]
    costs, aps = drawn(15)
    properties = [
        Case("property", (costs.flip(0), aps.flip(0)), "in another order"),
        Case("property", (10 * costs, aps), "ten times as slow"),
        Case("property", (costs, 0.1 * aps), "a tenth of the AP"),
        Case("property", (costs.log(), aps), "logarithms of the costs"),
    ]
    return [*_by_hand(), *_degenerate(), *many, *ties, *properties]


def _by_hand() -> list[Case]:
    def of(costs: list[float], aps: list[float], wanted: list[bool], note: str) -> Case:
        return Case("by hand", (torch.tensor(costs), torch.tensor(aps)), note, torch.tensor(wanted))

    return [
        of(
            [4.0, 9.0, 6.0, 12.0],
            [0.5, 0.7, 0.4, 0.6],
            [True, True, False, False],
            "four detectors, two of them beaten",
        ),
        of([5.0, 5.0, 8.0], [0.6, 0.5, 0.6], [True, False, False], "equal in one of the two"),
        of([5.0, 5.0, 7.0], [0.6, 0.6, 0.7], [True, True, True], "twins do not beat each other"),
        of([3.0, 2.0, 1.0], [0.9, 0.6, 0.3], [True, True, True], "a front of all"),
    ]


def _degenerate() -> list[Case]:
    return [
        Case("degenerate", (torch.zeros(0), torch.zeros(0)), "no detectors"),
        Case("degenerate", (torch.tensor([7.0]), torch.tensor([0.2])), "one detector"),
        Case("degenerate", (torch.tensor([7.0, 7.0]), torch.tensor([0.2, 0.2])), "two twins"),
        Case("degenerate", (torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3)), "all AP are 0"),
    ]


# ---- wrong answers ----


def _beaten(
    beats: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
) -> Function:
    """Return the front under another rule.

    Args:
        beats: (cost of the other, own cost, AP of the other, own AP) → whether it beats.
    """

    def function(costs: Tensor, aps: Tensor) -> Tensor:
        wins = beats(costs[None, :], costs[:, None], aps[None, :], aps[:, None])
        wins = wins & ~torch.eye(len(costs), dtype=torch.bool)
        return ~wins.any(dim=1)

    return function


def _first_of_twins(costs: Tensor, aps: Tensor) -> Tensor:
    """A walk from the cheapest, which keeps what is strictly more accurate."""
    front = torch.zeros(len(costs), dtype=torch.bool)
    best = -torch.inf
    for i in sorted(range(len(costs)), key=lambda i: (float(costs[i]), -float(aps[i]))):
        if aps[i] > best:
            front[i] = True
            best = aps[i]
    return front


def _best_only(costs: Tensor, aps: Tensor) -> Tensor:
    return aps == aps.max() if len(aps) else aps > 0


def _beats_nobody(costs: Tensor, aps: Tensor) -> Tensor:
    """The other direction of the same comparisons."""
    no_dearer = costs[None, :] <= costs[:, None]
    no_worse = aps[None, :] >= aps[:, None]
    better = (costs[None, :] < costs[:, None]) | (aps[None, :] > aps[:, None])
    return ~(no_dearer & no_worse & better).any(dim=0)


MISCONCEPTIONS = (
    Misconception(
        "this says who beats nobody; asked is who is beaten by nobody: look at which dimension is "
        "the one that beats",
        _beats_nobody,
    ),
    Misconception(
        "one that is better in both beats, but so does one that is equal in one and better in the "
        "other",
        _beaten(lambda cost, own_cost, ap, own_ap: (cost < own_cost) & (ap > own_ap)),
    ),
    Misconception(
        "twins do not beat each other: the other has to be better in at least one of the two",
        _beaten(lambda cost, own_cost, ap, own_ap: (cost <= own_cost) & (ap >= own_ap)),
    ),
    Misconception(
        "twins do not beat each other; yours keeps the first of them alone",
        _first_of_twins,
    ),
    Misconception(
        "less cost is better; yours wants more",
        lambda costs, aps: cost_front(-costs, aps),
    ),
    Misconception(
        "more AP is better; yours wants less",
        lambda costs, aps: cost_front(costs, -aps),
    ),
    Misconception(
        "True is for those whom nobody beats; yours is the other way round",
        lambda costs, aps: ~cost_front(costs, aps),
    ),
    Misconception(
        "beaten is who loses in both; yours drops who loses in one",
        _beaten(lambda cost, own_cost, ap, own_ap: (cost < own_cost) | (ap > own_ap)),
    ),
    Misconception(
        "the front is not the most accurate alone: a cheaper one stays for whoever has less time",
        _best_only,
    ),
    Misconception(
        "the front is not the cheapest alone",
        lambda costs, aps: costs == costs.min() if len(costs) else costs > 0,
    ),
    Misconception(
        "the quotient of AP and cost is one number for two; a front needs no exchange rate",
        lambda costs, aps: (
            (aps / costs >= (aps / costs).mean()) if len(costs) else torch.zeros(0) > 0
        ),
    ),
    Misconception(
        "return a True or False for each detector; yours are indices",
        lambda costs, aps: cost_front(costs, aps).nonzero()[:, 0],
    ),
)

COST_FRONT = Exercise(
    number="7.2",
    name="cost_front",
    reference=cost_front,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the front",),
    counted="detectors",
)
