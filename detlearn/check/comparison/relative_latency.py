"""Exercise 7.6, a bug hunt: latency relative to the first detector, from rounds of measurements."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.results.latency import relative_latency

Function = Callable[[Tensor, int], Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    def drawn(rounds: int, detectors: int) -> Tensor:
        """Draw a machine that is slower in some rounds, and calls that are met by a pause."""
        level = 5 + 20 * torch.rand(detectors, generator=random)
        machine = 1 + 2 * torch.rand(rounds, 1, generator=random)
        jitter = 1 + 0.2 * torch.rand(rounds, detectors, generator=random)
        pauses = 200 * (torch.rand(rounds, detectors, generator=random) < 0.1)
        return level * machine * jitter + pauses

    many = [
        Case("random", (drawn(rounds, count), warm), f"{rounds} rounds of {count}, {warm} warm")
        for rounds, count, warm in ((8, 3, 3), (12, 5, 2), (9, 2, 4), (21, 4, 3), (6, 6, 1))
    ]
    some = drawn(9, 4)
    slower = torch.linspace(1, 4, 9)[:, None]
    properties = [
        Case("property", (3 * some, 2), "a machine that is three times as slow"),
        Case("property", (some * slower, 2), "a machine that slows down from round to round"),
        Case("property", (some.flip(1), 2), "the detectors in another order"),
    ]
    return [*_by_hand(), *_degenerate(), *many, *properties]


def _by_hand() -> list[Case]:
    def of(rows: list[list[float]], warm: int, wanted: list[float], note: str) -> Case:
        return Case("by hand", (torch.tensor(rows), warm), note, torch.tensor(wanted))

    return [
        # Quotients of the rounds that count: 2, 2, 2.2.
        of(
            [[90.0, 60.0], [10.0, 20.0], [30.0, 60.0], [10.0, 22.0]],
            1,
            [1.0, 2.0],
            "a warm round, and one in which the machine is three times as slow",
        ),
        # 1, 21, 1: a pause of 200 ms met the second detector.
        of(
            [[10.0, 10.0], [10.0, 210.0], [10.0, 10.0]],
            0,
            [1.0, 1.0],
            "a pause of the machine",
        ),
        # 1.5, 2, 3, 4: the mean of 2 and 3.
        of(
            [[70.0, 7.0], [80.0, 8.0], [10.0, 15.0], [10.0, 30.0], [10.0, 20.0], [10.0, 40.0]],
            2,
            [1.0, 2.5],
            "four rounds that count: the middle lies between two",
        ),
    ]


def _degenerate() -> list[Case]:
    return [
        Case("degenerate", (torch.tensor([[3.0, 6.0, 1.5]]), 0), "a single round"),
        Case("degenerate", (torch.tensor([[3.0], [4.0], [5.0]]), 1), "a single detector"),
        Case(
            "degenerate",
            (torch.tensor([[9.0, 1.0], [4.0, 8.0]]), 1),
            "all rounds but the last are warm",
        ),
    ]


# ---- wrong answers ----


def _middle(numbers: Tensor) -> Tensor:
    return numbers.quantile(0.5, dim=0)


def _lower_middle(numbers: Tensor) -> Tensor:
    """What torch.median takes of an even number."""
    return numbers.median(dim=0).values


def _by_rounds(
    count: Callable[[Tensor, int], Tensor] = lambda times, warm: times[warm:],
    gather: Callable[[Tensor], Tensor] = _middle,
) -> Function:
    """Return the quotients of the rounds, with something changed.

    Args:
        count: (times, warm rounds) → the rounds that count.
        gather: (rounds, D) → (D,).
    """

    def function(times: Tensor, warm_rounds: int) -> Tensor:
        counted = count(times, warm_rounds)
        return gather(counted / counted[:, :1])

    return function


def _first_gathered(
    gather: Callable[[Tensor], Tensor],
    count: Callable[[Tensor, int], Tensor] = lambda times, warm: times[warm:],
) -> Function:
    """Return the quotient of each detector's own number and the first detector's."""

    def function(times: Tensor, warm_rounds: int) -> Tensor:
        own = gather(count(times, warm_rounds))
        return own / own[0]

    return function


def _all_rounds(times: Tensor, warm_rounds: int) -> Tensor:
    return times


def _mean(numbers: Tensor) -> Tensor:
    return numbers.mean(dim=0)


MISCONCEPTIONS = (
    Misconception(
        "three things are still wrong: the warm rounds count, a mean is taken, and of all rounds "
        "at once",
        _first_gathered(_mean, _all_rounds),
    ),
    Misconception("the warm rounds are not to count", _by_rounds(_all_rounds)),
    Misconception(
        "a mean is moved by a single pause; take the median of the rounds' quotients",
        _by_rounds(gather=_mean),
    ),
    Misconception(
        "divide within each round, then take the median: yours takes each detector's median "
        "first, so that a slow round of the machine does not fall out",
        _first_gathered(_middle),
        _first_gathered(_lower_middle),
    ),
    Misconception(
        "divide within each round, and take the median: yours divides means",
        _first_gathered(_mean),
    ),
    Misconception(
        "divide within each round: yours divides medians, over the warm rounds as well",
        _first_gathered(_middle, _all_rounds),
        _first_gathered(_lower_middle, _all_rounds),
    ),
    Misconception(
        "a mean is moved by a single pause, and the warm rounds are not to count",
        _by_rounds(_all_rounds, _mean),
    ),
    Misconception(
        "the quickest round is not the usual one: take the median",
        _first_gathered(lambda counted: counted.amin(dim=0)),
    ),
    Misconception(
        "the smallest quotient is not the usual one: take the median",
        _by_rounds(gather=lambda ratios: ratios.amin(dim=0)),
    ),
    Misconception(
        "of an even number of rounds the median is the mean of the two in the middle; "
        "torch.median takes the lower one",
        _by_rounds(gather=_lower_middle),
    ),
    Misconception(
        "the warm rounds are the first, yours leaves the last ones out",
        _by_rounds(lambda times, warm: times[: len(times) - warm]),
    ),
    Misconception(
        "yours keeps the warm rounds and leaves the others out",
        _by_rounds(lambda times, warm: times[: max(warm, 1)]),
    ),
    Misconception(
        "one warm round too many is left out",
        _by_rounds(lambda times, warm: times[min(warm + 1, len(times) - 1) :]),
    ),
    Misconception(
        "one warm round still counts",
        _by_rounds(lambda times, warm: times[max(warm - 1, 0) :]),
    ),
    Misconception(
        "a detector's time divided by the first one's; yours is the other way round",
        lambda times, warm: _middle(times[warm:, :1] / times[warm:]),
    ),
    Misconception(
        "relative to the first detector, not to the quickest of the round",
        lambda times, warm: _middle(times[warm:] / times[warm:].amin(dim=1, keepdim=True)),
    ),
    Misconception(
        "relative to the first detector, not to the mean of the round",
        lambda times, warm: _middle(times[warm:] / times[warm:].mean(dim=1, keepdim=True)),
    ),
    Misconception(
        "relative to the first detector of the same round; yours takes the first round that counts",
        lambda times, warm: _middle(times[warm:] / times[warm, 0]),
    ),
    Misconception(
        "how many times as long, so the first number is 1; yours says how much longer",
        lambda times, warm: relative_latency(times, warm) - 1,
    ),
    Misconception(
        "a quotient of the times, not their difference",
        lambda times, warm: _middle(times[warm:] - times[warm:, :1]),
    ),
)

RELATIVE_LATENCY = Exercise(
    number="7.6",
    name="relative_latency",
    reference=relative_latency,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the relative latencies",),
    counted="rounds",
)
