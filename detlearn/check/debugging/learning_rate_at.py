"""Exercise 8.3: a learning rate that is 0 long before the training ends."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.debugging.causes import against
from detlearn.check.engine import Hunt, Misconception
from detlearn.check.engine.cases import Case

Function = Callable[[Tensor, int, int, float], Tensor]


def learning_rate_at(step: Tensor, steps: int, warmup: int, peak: float) -> Tensor:
    """Return the learning rate of steps: a rise to the peak, then half a cosine down to 0.

    Args:
        step: (N,) int64, numbers of steps; the first is 0.
        steps: of the whole training.
        warmup: steps of the rise, at least 1 and fewer than `steps`.
        peak: the highest learning rate.

    Returns:
        (N,) float32: peak · (step + 1) / warmup in the first `warmup` steps, then
        peak · (1 + cos(π · t)) / 2, where t goes from 0 at step `warmup` to 1 at step `steps`.
    """
    rise = (step + 1) / warmup
    progress = (step - warmup) / (steps - warmup)
    fall = (1 + torch.cos(math.pi * progress)) / 2
    return peak * torch.where(step < warmup, rise, fall)


# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    def of(at: list[int], length: tuple, wanted: list[float], note: str) -> Case:
        return Case("by hand", (torch.tensor(at), *length), note, torch.tensor(wanted))

    drawn = torch.randint(0, 400, (30,), generator=random)
    return [
        of([0, 4, 9], (110, 10, 1.0), [0.1, 0.5, 1.0], "the first ten of 110 steps"),
        of([10, 60, 85], (110, 10, 1.0), [1.0, 0.5, 0.146447], "the 100 steps after the rise"),
        of([1, 3, 20], (36, 4, 0.02), [0.01, 0.02, 0.01], "36 steps, a peak of 0.02"),
        Case("degenerate", (torch.zeros(0, dtype=torch.int64), 50, 5, 0.1), "no step"),
        Case("degenerate", (torch.arange(20), 20, 1, 0.1), "a rise of one step"),
        Case("random", (drawn, 400, 50, 0.006), "30 of 400 steps"),
        Case("random", (torch.arange(240), 240, 36, 0.006), "all of 240 steps"),
        Case("random", (torch.arange(0, 1000, 37), 1000, 200, 2.0), "every 37th of 1000 steps"),
        Case("property", (drawn.flip(0), 400, 50, 0.006), "the same in another order"),
    ]


# ---- wrong answers ----


def _schedule(
    rise: Callable[[Tensor, int], Tensor] = lambda step, warmup: (step + 1) / warmup,
    fall: Callable[[Tensor], Tensor] = lambda t: (1 + torch.cos(math.pi * t)) / 2,
    progress: Callable[[Tensor, int, int], Tensor] = lambda s, n, w: (s - w) / (n - w),
    first: Callable[[Tensor, int], Tensor] = lambda step, warmup: step < warmup,
) -> Function:
    """Return the schedule with something changed."""

    def function(step: Tensor, steps: int, warmup: int, peak: float) -> Tensor:
        t = progress(step, steps, warmup)
        factor = torch.where(first(step, warmup), rise(step, warmup), fall(t))
        return peak * factor.float()

    return function


MISCONCEPTIONS = (
    Misconception(
        "that is the broken function still: print its values for all steps; where is it 0?",
        _schedule(progress=lambda s, n, w: ((s - w) / w).clamp(max=1)),
        _schedule(progress=lambda s, n, w: ((s - w) / w).clamp(0, 1)),
    ),
    Misconception(
        "t is divided by the steps after the rise, steps − warmup; divided by warmup, the cosine "
        "rises again and again",
        _schedule(progress=lambda s, n, w: (s - w) / w),
    ),
    Misconception(
        "after the rise this stays at the peak, and it has to come down to 0",
        _schedule(progress=lambda s, n, w: (s - w) // (n - w)),
        _schedule(fall=torch.ones_like),
    ),
    Misconception(
        "the rise is cut down to whole numbers: with // it is 0 until its last step",
        _schedule(rise=lambda s, w: (s + 1) // w),
    ),
    Misconception(
        "the first step has a learning rate as well: step 0 gets peak / warmup, not 0",
        _schedule(rise=lambda s, w: s / w),
    ),
    Misconception(
        "the cosine begins after the rise: its t is 0 at step warmup, not at step 0",
        _schedule(progress=lambda s, n, w: s / n),
    ),
    Misconception(
        "t is 1 at step `steps`: it is divided by the steps after the rise, steps − warmup",
        _schedule(progress=lambda s, n, w: (s - w) / n),
    ),
    Misconception(
        "t is 1 at step `steps`, which is one behind the last; yours is 1 at the last step already",
        _schedule(progress=lambda s, n, w: (s - w) / (n - w - 1)),
        _schedule(progress=lambda s, n, w: (s - w) / max(1, n - w - 1)),
        _schedule(progress=lambda s, n, w: (s - w + 1) / (n - w)),
    ),
    Misconception(
        "this falls along a line; a cosine is asked for",
        _schedule(fall=lambda t: 1 - t),
    ),
    Misconception(
        "half a cosine goes from 1 to 0 as (1 + cos(π t)) / 2; yours falls below 0",
        _schedule(fall=lambda t: torch.cos(math.pi * t)),
    ),
    Misconception(
        "this reaches 0 along a quarter of a cosine, cos(π t / 2)",
        _schedule(fall=lambda t: torch.cos(math.pi * t / 2)),
    ),
    Misconception(
        "the angle at the end is π: without it the cosine hardly falls",
        _schedule(fall=lambda t: (1 + torch.cos(t)) / 2),
    ),
    Misconception(
        "the rise is missing: the first steps have the whole peak",
        lambda step, steps, warmup, peak: (
            peak * ((1 + torch.cos(math.pi * (step - warmup).clamp(min=0) / (steps - warmup))) / 2)
        ),
        _schedule(first=lambda s, w: s < 0),
    ),
    Misconception(
        "the cosine is not divided by 2: after the rise the learning rate is twice the peak",
        _schedule(fall=lambda t: 1 + torch.cos(math.pi * t)),
    ),
    Misconception(
        "the learning rate is a share of the peak here: multiply by it",
        lambda step, steps, warmup, peak: learning_rate_at(step, steps, warmup, 1.0),
    ),
)

LEARNING_RATE_AT = Hunt(
    number="8.3",
    name="learning_rate_at",
    reference=learning_rate_at,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the learning rate",),
    counted="steps",
    cause="learning rate",
    causes=against(
        annotations="the other run reads the same files and ends well",
        augmentation="nothing is augmented in either run",
        targets="for the same images both runs give the same places the same objects",
        loss="before the first step both runs have the same loss for the same batch",
        averaged_weights="nothing is averaged in either run",
        decoding="the other run's outputs go through the same decoding and are found",
        evaluation="the objects themselves, given in as detections, have an AP of 1",
    ),
)
