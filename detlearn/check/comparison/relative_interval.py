"""Exercise 7.3: AP relative to the detector's own mean, with an interval over the seeds."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.results.failure_matrix import relative_interval

Function = Callable[[Tensor, float], Tensor]
STUDENT = {2: 12.7062, 3: 4.3027, 5: 2.7764}  # seeds -> t, 95 %

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    def drawn(seeds: int, scenarios: int) -> Tensor:
        level = 0.3 + 0.5 * torch.rand(seeds, 1, generator=random)
        return level * (0.4 + 0.6 * torch.rand(seeds, scenarios, generator=random))

    many = [
        Case("random", (drawn(seeds, n), STUDENT[seeds]), f"{seeds} seeds, {n} scenarios")
        for seeds, n in ((3, 9), (5, 4), (2, 6), (3, 2))
    ]
    some = drawn(3, 5)
    levels = torch.tensor([[0.5], [1.0], [0.25]])
    properties = [
        Case("property", (some.flip(0), STUDENT[3]), "the seeds in another order"),
        Case("property", (some.flip(1), STUDENT[3]), "the scenarios in another order"),
        Case("property", (some * levels, STUDENT[3]), "seeds of other levels, the same relations"),
        Case("property", (some, 0.0), "t = 0"),
    ]
    return [*_by_hand(), *_degenerate(), *many, *properties]


def _by_hand() -> list[Case]:
    def of(rows: list[list[float]], t: float, wanted: list[list[float]], note: str) -> Case:
        return Case("by hand", (torch.tensor(rows), t), note, torch.tensor(wanted))

    return [
        of(
            [[0.6, 0.2], [0.9, 0.3]],
            12.7062,
            [[1.5, 1.5, 1.5], [0.5, 0.5, 0.5]],
            "two seeds of different level and equal relations",
        ),
        # Relative: 1.5 and .5; 1.25 and .75. Deviation .1768, times 2 / √2: half .25.
        of(
            [[0.6, 0.2], [0.5, 0.3]],
            2.0,
            [[1.375, 1.125, 1.625], [0.625, 0.375, 0.875]],
            "two seeds, t = 2",
        ),
        # Relative: 1.2, 1, .8 in turns: mean 1, deviation .2, half .2 · 3 / √3.
        of(
            [[0.6, 0.5, 0.4], [0.5, 0.4, 0.6], [0.4, 0.6, 0.5]],
            3.0,
            [[1.0, 1 - 0.6 / math.sqrt(3), 1 + 0.6 / math.sqrt(3)]] * 3,
            "three seeds that take turns, t = 3",
        ),
    ]


def _degenerate() -> list[Case]:
    return [
        Case("degenerate", (torch.full((3, 4), 0.5), 4.3027), "all AP equal"),
        Case("degenerate", (torch.tensor([[0.5, 0.0], [0.4, 0.0]]), 12.7062), "an AP of 0"),
        Case("degenerate", (torch.tensor([[0.3], [0.7]]), 12.7062), "a single scenario"),
    ]


# ---- wrong answers ----


def _mixed(
    relate: Callable[[Tensor], Tensor] = lambda aps: aps / aps.mean(dim=1, keepdim=True),
    spread: Callable[[Tensor], Tensor] = lambda relative: relative.std(dim=0),
    divide: Callable[[int], float] = math.sqrt,
    with_t: bool = True,
) -> Function:
    """Return the interval with something changed.

    Args:
        relate: AP to its mean.
        spread: of the relative numbers.
        divide: what the spread is divided by, from the number of seeds.
        with_t: whether Student's number is used.
    """

    def function(aps: Tensor, t: float) -> Tensor:
        relative = relate(aps)
        mean = relative.mean(dim=0)
        half = (t if with_t else 1.96) * spread(relative) / divide(len(aps))
        return torch.stack((mean, mean - half, mean + half), dim=1)

    return function


MISCONCEPTIONS = (
    Misconception(
        "each seed is divided by its own mean; yours divides by the mean of all seeds, so that a "
        "better seed widens the interval",
        _mixed(lambda aps: aps / aps.mean()),
    ),
    Misconception(
        "divide by the mean over scenarios (a row), yours takes the mean over seeds (a column)",
        _mixed(lambda aps: aps / aps.mean(dim=0)),
    ),
    Misconception(
        "AP relative to the mean is a quotient; yours is a difference",
        _mixed(lambda aps: aps - aps.mean(dim=1, keepdim=True)),
    ),
    Misconception(
        "divide by the mean of the row, not by its largest number",
        _mixed(lambda aps: aps / aps.amax(dim=1, keepdim=True)),
    ),
    Misconception(
        "divide by the mean of the row, not by its sum",
        _mixed(lambda aps: aps / aps.sum(dim=1, keepdim=True)),
    ),
    Misconception("the numbers are to be relative; yours are AP itself", _mixed(lambda aps: aps)),
    Misconception(
        "a spread from few seeds divides the squares by S − 1; yours divides them by S",
        _mixed(spread=lambda relative: relative.std(dim=0, correction=0)),
    ),
    Misconception(
        "s is the root of the variance; the root is missing",
        _mixed(spread=lambda relative: relative.var(dim=0)),
    ),
    Misconception(
        "the interval of a mean is narrower than that of one seed: divide by √S",
        _mixed(divide=lambda seeds: 1.0),
    ),
    Misconception(
        "divide by √S, the root of the number of seeds; yours divides by S",
        _mixed(divide=float),
    ),
    Misconception(
        "divide by √S; yours takes the root of S − 1",
        _mixed(divide=lambda seeds: math.sqrt(seeds - 1)),
    ),
    Misconception(
        "t is given: with few seeds it is far from the normal distribution's 1.96",
        _mixed(with_t=False),
    ),
    Misconception(
        "return mean, lower end, upper end; yours returns the half width",
        lambda aps, t: torch.stack(
            (
                relative_interval(aps, t)[:, 0],
                *(relative_interval(aps, t)[:, 2] - relative_interval(aps, t)[:, 0],) * 2,
            ),
            dim=1,
        ),
    ),
    Misconception(
        "the lower end comes before the upper end",
        lambda aps, t: relative_interval(aps, t)[:, [0, 2, 1]],
    ),
    Misconception(
        "the mean comes first, then the ends",
        lambda aps, t: relative_interval(aps, t)[:, [1, 0, 2]],
    ),
    Misconception(
        "a row is a scenario, (N, 3); yours is turned round",
        lambda aps, t: relative_interval(aps, t).T,
    ),
)

RELATIVE_INTERVAL = Exercise(
    number="7.3",
    name="relative_interval",
    reference=relative_interval,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the intervals",),
    counted="scenarios",
)
