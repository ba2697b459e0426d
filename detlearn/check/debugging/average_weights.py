"""Exercise 8.4: averaged weights that still hold those of the beginning."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.debugging.causes import against
from detlearn.check.engine import Hunt, Misconception
from detlearn.check.engine.cases import Case

Function = Callable[[Tensor, Tensor, int, float], Tensor]


def average_weights(average: Tensor, weights: Tensor, step: int, decay: float) -> Tensor:
    """Return a moving average of weights, whose memory grows with the steps.

    Args:
        average: any shape, the average so far.
        weights: of the same shape, after this step.
        step: the number of this step; the first is 0.
        decay: the share of the average that is kept once the training is long.

    Returns:
        d · average + (1 − d) · weights, where d is (1 + step) / (10 + step), at most `decay`.
    """
    kept = min(decay, (1 + step) / (10 + step))
    return kept * average + (1 - kept) * weights


# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    def of(old: list, new: list, step: int, decay: float, wanted: list, note: str) -> Case:
        args = (torch.tensor(old), torch.tensor(new), step, decay)
        return Case("by hand", args, note, torch.tensor(wanted))

    def drawn(*shape: int) -> tuple[Tensor, Tensor]:
        return tuple(torch.randn(2, *shape, generator=random))

    pair = drawn(7)
    return [
        of([10.0, 0.0], [0.0, 10.0], 0, 0.999, [1.0, 9.0], "the first step, d = 0.1"),
        of([8.0], [4.0], 8, 0.999, [6.0], "step 8, d = 0.5"),
        of([10.0], [0.0], 980, 0.9, [9.0], "step 980, d = 0.9, which is the decay"),
        Case("degenerate", (torch.zeros(0), torch.zeros(0), 3, 0.99), "no weights"),
        Case("degenerate", (torch.tensor(2.0), torch.tensor(4.0), 3, 0.99), "a single number"),
        Case("random", (*pair, 0, 0.999), "7 weights, the first step"),
        Case("random", (*pair, 25, 0.999), "7 weights, step 25"),
        Case("random", (*drawn(3, 4), 700, 0.98), "a matrix (3, 4), step 700, decay 0.98"),
        Case("random", (*drawn(2, 3, 1, 1), 90, 0.9999), "a kernel (2, 3, 1, 1), step 90"),
        Case("random", (*drawn(5), 5000, 0.995), "5 weights, step 5000, decay 0.995"),
    ]


# ---- wrong answers ----


def _with(kept: Callable[[int, float], float]) -> Function:
    """Return an average that keeps another share."""

    def function(average: Tensor, weights: Tensor, step: int, decay: float) -> Tensor:
        share = kept(step, decay)
        return share * average + (1 - share) * weights

    return function


SMALLER = (0.5, 0.9, 0.95, 0.98, 0.99, 0.995)  # decays that one tries instead of 0.999

MISCONCEPTIONS = (
    Misconception(
        "that is the broken function still: after how many steps does half of the average come "
        "from the training?",
        _with(lambda step, decay: decay),
    ),
    Misconception(
        "this takes the last weights and averages nothing: the symptom is gone, and so is the "
        "average",
        lambda average, weights, step, decay: weights.clone(),
    ),
    Misconception(
        "this keeps the average as it was in the beginning: no step gets in",
        lambda average, weights, step, decay: average.clone(),
    ),
    Misconception(
        "d is the smaller of the two; yours is the larger, which is the decay from the first step",
        _with(lambda step, decay: max(decay, (1 + step) / (10 + step))),
    ),
    Misconception(
        "d has a limit: without min(decay, …) the average remembers ever more steps",
        _with(lambda step, decay: (1 + step) / (10 + step)),
    ),
    Misconception(
        "d is the share of the average that is kept; yours gives it to the new weights",
        _with(lambda step, decay: 1 - min(decay, (1 + step) / (10 + step))),
        _with(lambda step, decay: 1 - decay),
    ),
    Misconception(
        "the first step is number 0, so d begins at (1 + 0) / (10 + 0) = 0.1",
        _with(lambda step, decay: min(decay, step / (9 + step))),
        _with(lambda step, decay: min(decay, step / (10 + step))),
        _with(lambda step, decay: min(decay, (2 + step) / (11 + step))),
    ),
    Misconception(
        "this is the mean of all steps: the weights of the beginning count to the end",
        _with(lambda step, decay: step / (1 + step)),
        _with(lambda step, decay: (1 + step) / (2 + step)),
    ),
    Misconception(
        "the two shares make 1 together; yours do not",
        lambda average, weights, step, decay: (
            min(decay, (1 + step) / (10 + step)) * average + (1 - decay) * weights
        ),
        lambda average, weights, step, decay: (
            decay * average + (1 - min(decay, (1 + step) / (10 + step))) * weights
        ),
    ),
    Misconception(
        "a smaller decay that stays the same mends this training and spoils a long one, whose "
        "average is to remember more steps: d has to grow with the steps, up to `decay`",
        *(_with(lambda step, decay, fixed=fixed: fixed) for fixed in SMALLER),
        *(_with(lambda step, decay, fixed=fixed: min(decay, fixed)) for fixed in SMALLER),
    ),
    Misconception(
        "this divides by 1 − decay^(step + 1), as Adam does with an average that began at 0; this "
        "one began at the first weights",
        lambda average, weights, step, decay: (
            (decay * average + (1 - decay) * weights) / (1 - decay ** (step + 1))
        ),
    ),
    Misconception(
        "the two shares are not to be multiplied: d is the smaller of them",
        _with(lambda step, decay: decay * (1 + step) / (10 + step)),
    ),
)

AVERAGE_WEIGHTS = Hunt(
    number="8.4",
    name="average_weights",
    reference=average_weights,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the average",),
    counted="weights",
    cause="averaged weights",
    causes=against(
        annotations="the loss falls on what is read from these files; ask the network that is "
        "evaluated for its loss on a batch of them",
        augmentation="nothing is augmented here",
        targets="the loss falls as in a training that ends well, so what is to be learnt is learnt",
        loss="it falls as in a training that ends well: compare the two curves",
        learning_rate="the weights do move: compare the loss of the first and of the last step",
        decoding="give it the outputs of the chapter's own detector: its objects come out",
        evaluation="the objects themselves, given in as detections, have an AP of 1",
    ),
)
