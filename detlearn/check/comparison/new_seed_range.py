"""Exercise 7.4: the range in which one more seed is expected, from a spread that is pooled."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.results.failure_matrix import new_seed_range

Function = Callable[[Tensor, float], Tensor]
# Degrees of freedom -> t, 95 %.
STUDENT = {1: 12.7062, 4: 2.7764, 8: 2.3060, 9: 2.2622, 10: 2.2281, 12: 2.1788}

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    def drawn(detectors: int, seeds: int) -> Tensor:
        """Draw AP of detectors that differ in their level, and in how much their seeds differ."""
        level = 0.2 + 0.6 * torch.rand(detectors, 1, generator=random)
        spread = 0.02 + 0.18 * torch.rand(detectors, 1, generator=random)
        return level + spread * (2 * torch.rand(detectors, seeds, generator=random) - 1)

    many = [
        Case("random", (drawn(d, s), STUDENT[d * (s - 1)]), f"{d} detectors, {s} seeds")
        for d, s in ((2, 5), (4, 2), (5, 3), (3, 5), (2, 3))
    ]
    some, t = drawn(5, 3), STUDENT[10]
    better = some + torch.tensor([[0.2], [0.0], [0.0], [0.0], [0.0]])
    properties = [
        Case("property", (some.flip(1), t), "the seeds in another order"),
        Case("property", (some.flip(0), t), "the detectors in another order"),
        Case("property", (better, t), "a detector that is better by 0.2 in all its seeds"),
        Case("property", (some / 2, t), "half the AP"),
        Case("property", (some, 0.0), "t = 0"),
    ]
    return [*_by_hand(), *_degenerate(), *many, *properties]


def _by_hand() -> list[Case]:
    def of(rows: list[list[float]], t: float, means: list[float], half: float, note: str) -> Case:
        wanted = torch.tensor([[mean - half, mean + half] for mean in means])
        return Case("by hand", (torch.tensor(rows), t), note, wanted)

    return [
        # Variances .02 and 0: mean .01, s = .1.
        of(
            [[0.4, 0.6], [0.7, 0.7]],
            2.0,
            [0.5, 0.7],
            0.2 * math.sqrt(3 / 2),
            "two detectors, two seeds, t = 2",
        ),
        # Variances .005, .005 and .02: mean .01, s = .1. The first range begins below 0.
        of(
            [[0.3, 0.4], [0.5, 0.6], [0.6, 0.8]],
            3.0,
            [0.35, 0.55, 0.7],
            0.3 * math.sqrt(3 / 2),
            "three detectors, two seeds, t = 3",
        ),
        # Variances .02² and .14²: mean .01, s = .1.
        of(
            [[0.48, 0.5, 0.52], [0.56, 0.7, 0.84]],
            2.5,
            [0.5, 0.7],
            0.25 * math.sqrt(4 / 3),
            "two detectors, three seeds, t = 2.5",
        ),
    ]


def _degenerate() -> list[Case]:
    return [
        Case("degenerate", (torch.full((3, 4), 0.5), STUDENT[9]), "all AP equal"),
        Case("degenerate", (torch.tensor([[0.3, 0.4]]), STUDENT[1]), "a single detector"),
        Case(
            "degenerate",
            (torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.6, 0.4]]), STUDENT[4]),
            "a detector whose AP is 0 throughout, beside one that varies",
        ),
    ]


# ---- wrong answers ----


def _pooled(aps: Tensor) -> Tensor:
    return aps.var(dim=1).mean().sqrt()


def _changed(
    spread: Callable[[Tensor], Tensor] = _pooled,
    factor: Callable[[int, int], float] = lambda detectors, seeds: math.sqrt(1 + 1 / seeds),
    student: Callable[[float], float] = lambda t: t,
    middle: Callable[[Tensor], Tensor] = lambda aps: aps.mean(dim=1),
) -> Function:
    """Return the range with something changed.

    Args:
        spread: (D, S) AP → s, one number or one a detector.
        factor: (detectors, seeds) → what the spread is multiplied with.
        student: t → the number that is used in its place.
        middle: (D, S) AP → the middle of the ranges.
    """

    def function(aps: Tensor, t: float) -> Tensor:
        mean = middle(aps)
        half = student(t) * spread(aps) * factor(*aps.shape)
        return torch.stack((mean - half, mean + half), dim=1)

    return function


def _own(aps: Tensor) -> Tensor:
    return aps.std(dim=1)


def _over_detectors(aps: Tensor) -> Tensor:
    """The variances of the columns; NaN of a single detector, as torch's, without its warning."""
    return (aps - aps.mean(dim=0)).square().sum(dim=0) / (len(aps) - 1)


def _about_own_mean(aps: Tensor) -> Tensor:
    return aps - aps.mean(dim=1, keepdim=True)


def _about_grand_mean(aps: Tensor) -> Tensor:
    """The squares about one mean of all, divided by D · (S − 1)."""
    freedom = len(aps) * (aps.shape[1] - 1)
    return ((aps - aps.mean()).square().sum() / freedom).sqrt()


def _of_the_mean(detectors: int, seeds: int) -> float:
    return math.sqrt(1 / seeds)


def _relative(aps: Tensor, t: float) -> Tensor:
    return new_seed_range(aps / aps.mean(dim=1, keepdim=True), t)


def _half_widths(aps: Tensor, t: float) -> Tensor:
    return (new_seed_range(aps, t)[:, 1] - new_seed_range(aps, t)[:, 0]) / 2


MISCONCEPTIONS = (
    Misconception(
        "that is the interval of the mean; a new seed has a spread of its own beside the mean's "
        "error: √(1 + 1/S), yours is √(1/S)",
        _changed(factor=_of_the_mean),
    ),
    Misconception(
        "that is the interval of the mean from each detector's own spread, as in exercise 7.3: "
        "here the variances are pooled, and a new seed takes √(1 + 1/S)",
        _changed(_own, _of_the_mean),
    ),
    Misconception(
        "each detector's own spread is known badly from few seeds: take one for all, the root of "
        "the mean of their variances",
        _changed(_own),
    ),
    Misconception(
        "average the variances, then take the root; yours averages the standard deviations",
        _changed(lambda aps: aps.std(dim=1).mean()),
    ),
    Misconception(
        "a seed differs from its own detector's mean; yours takes one mean of all numbers, so that "
        "what lies between detectors counts as spread",
        _changed(lambda aps: aps.std()),
        _changed(lambda aps: aps.std(correction=0)),
        _changed(_about_grand_mean),
    ),
    Misconception(
        "a detector's variance is over its seeds, a row; yours is over the detectors, a column",
        _changed(lambda aps: _over_detectors(aps).mean().sqrt()),
        _changed(lambda aps: _over_detectors(aps.mean(dim=1)).sqrt()),
    ),
    Misconception(
        "the squares of a row are divided by S − 1; yours by S",
        _changed(lambda aps: aps.var(dim=1, correction=0).mean().sqrt()),
    ),
    Misconception(
        "each detector's mean costs a degree of freedom: divide all squares by D · (S − 1), yours "
        "divides them by D · S − 1",
        _changed(lambda aps: _about_own_mean(aps).std()),
    ),
    Misconception(
        "the mean of the variances is asked for; yours is their sum",
        _changed(lambda aps: aps.var(dim=1).sum().sqrt()),
    ),
    Misconception(
        "s is the root of the mean variance; the root is missing",
        _changed(lambda aps: aps.var(dim=1).mean()),
    ),
    Misconception(
        "the mean of S seeds has an error of its own: s is multiplied with √(1 + 1/S), which is "
        "missing",
        _changed(factor=lambda detectors, seeds: 1.0),
    ),
    Misconception(
        "1 + 1/S adds variances, so its root is taken; yours has none",
        _changed(factor=lambda detectors, seeds: 1 + 1 / seeds),
    ),
    Misconception(
        "of what is independent the variances add up, s² + s²/S, not the deviations: √(1 + 1/S), "
        "yours is 1 + 1/√S",
        _changed(factor=lambda detectors, seeds: 1 + math.sqrt(1 / seeds)),
    ),
    Misconception(
        "S is the number of seeds, aps.shape[1]; yours takes the number of detectors",
        _changed(factor=lambda detectors, seeds: math.sqrt(1 + 1 / detectors)),
    ),
    Misconception(
        "a row's mean is that of its S seeds: 1/S, though s is known from all D · S numbers",
        _changed(factor=lambda detectors, seeds: math.sqrt(1 + 1 / (detectors * seeds))),
    ),
    Misconception(
        "1/S under the root: S − 1 belongs to the variance alone",
        _changed(factor=lambda detectors, seeds: math.sqrt(1 + 1 / (seeds - 1))),
    ),
    Misconception(
        "s is multiplied with t, which is given; yours leaves it out",
        _changed(student=lambda t: 1.0),
    ),
    Misconception(
        "t is given: with few seeds it is not the normal distribution's 1.96",
        _changed(student=lambda t: 1.96),
        _changed(student=lambda t: 2.0),
    ),
    Misconception(
        "the range is of AP itself; yours is of AP relative to a mean, as in exercise 7.3",
        _relative,
    ),
    Misconception(
        "the middle of a range is that detector's mean; yours is the mean of all",
        _changed(middle=lambda aps: aps.mean().expand(len(aps))),
    ),
    Misconception(
        "a new seed may lie beyond all that were seen; yours goes from the smallest to the largest",
        lambda aps, t: torch.stack((aps.amin(dim=1), aps.amax(dim=1)), dim=1),
    ),
    Misconception(
        "the ends are not cut at 0 and 1, as the stub says",
        lambda aps, t: new_seed_range(aps, t).clamp(min=0, max=1),
        lambda aps, t: new_seed_range(aps, t).clamp(min=0),
        lambda aps, t: new_seed_range(aps, t).clamp(max=1),
    ),
    Misconception(
        "the lower end comes before the upper end",
        lambda aps, t: new_seed_range(aps, t).flip(1),
    ),
    Misconception(
        "return the two ends; yours returns mean and half width",
        lambda aps, t: torch.stack((aps.mean(dim=1), _half_widths(aps, t)), dim=1),
    ),
    Misconception(
        "return the two ends alone; yours has the mean beside them",
        lambda aps, t: torch.cat((aps.mean(dim=1, keepdim=True), new_seed_range(aps, t)), dim=1),
    ),
    Misconception(
        "a row is a detector, (D, 2); yours is turned round",
        lambda aps, t: new_seed_range(aps, t).T,
    ),
)

NEW_SEED_RANGE = Exercise(
    number="7.4",
    name="new_seed_range",
    reference=new_seed_range,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the ranges",),
    counted="detectors",
)
