"""Exercise 2.9: the two losses of the second stage."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.models.roi_heads import second_stage_loss

Pair = tuple[Tensor, Tensor]
BETA = 1 / 9
LN2, LN3 = torch.tensor(2.0).log(), torch.tensor(3.0).log()

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    many = _random(24, 4, 0.4, random)
    few = _random(15, 2, 0.2, random)

    nothing = (*many[:2], torch.zeros(24, dtype=torch.int64), many[3])
    all_positive = (*many[:2], many[2].clamp(min=1), many[3].nan_to_num(nan=0.3))
    order = torch.randperm(24, generator=random)
    surely = (8 * many[0], *many[1:])

    one_sided = [
        Case("degenerate", nothing, "nothing but background", tensors=True),
        Case("degenerate", tuple(value[:1] for value in nothing), "a single proposal"),
    ]

    values = [
        Case("random", many, "24 proposals and 4 classes"),
        Case("random", few, "15 proposals and 2 classes"),
        Case("random", all_positive, "24 proposals, all of them positive"),
    ]

    properties = [
        Case("property", tuple(value[order] for value in many), "the proposals in another order"),
        Case("property", surely, "the same with logits eight times as large"),
        Case("property", (many[0] + 50, *many[1:]), "the same with 50 added to each logit"),
    ]

    # Of the class loss by the logits, then of the box loss by the deltas.
    gradients = [
        Case("gradient", many, "24 proposals and 4 classes", gradient=True, differentiated=(i, i))
        for i in (0, 1)
    ]

    growing = [
        Case("no loop", _random(n, 3, 0.5, random), f"{n} proposals", size=n) for n in (8, 64)
    ]
    return [*_by_hand(), *one_sided, *values, *properties, *gradients, *growing]


def _random(number: int, classes: int, share: float, random: torch.Generator) -> tuple[Tensor, ...]:
    """Return the four arguments; at least one proposal is positive and one background."""
    logits = 2 * torch.randn(number, classes + 1, generator=random)
    deltas = 0.5 * torch.randn(number, classes + 1, 4, generator=random)
    labels = torch.randint(1, classes + 1, (number,), generator=random)
    background = torch.rand(number, generator=random) > share
    background[0], background[-1] = False, True
    labels[background] = 0

    targets = 0.5 * torch.randn(number, 4, generator=random)
    targets[background] = torch.nan
    return logits, deltas, labels, targets


def _by_hand() -> list[Case]:
    # Two classes: proposal 0 is of class 1, its box is wrong by 1 in x and by 0.05 in y.
    deltas = torch.zeros(1, 3, 4)
    deltas[0, 1] = torch.tensor([1.0, 0.05, 0, 0])
    deltas[0, 2] = torch.tensor([3.0, 3, 3, 3])
    target = torch.zeros(1, 4)
    one = (1 - BETA / 2) + 0.05**2 / (2 * BETA)

    # Four proposals, of which one is positive, of class 2.
    labels = torch.tensor([0, 2, 0, 0])
    four = torch.zeros(4, 3, 4)
    four[1, 2] = torch.tensor([0.0, 0, -2, 0])
    four[:, 0], four[:, 1] = 5.0, 7.0
    targets = torch.full((4, 4), torch.nan)
    targets[1] = torch.tensor([0.0, 0, 0, 1])
    two = (2 - BETA / 2) + (1 - BETA / 2)
    sure = torch.zeros(2, 2)
    sure[:, 1] = LN2 + LN2  # odds of 1 to 4
    return [
        Case(
            "by hand",
            (torch.zeros(1, 3), deltas, torch.tensor([1]), target),
            "one proposal of class 1, whose delta is off by 1 in x and by 0.05 in y",
            (LN3, torch.tensor(one)),
        ),
        Case(
            "by hand",
            (torch.zeros(1, 3), deltas, torch.tensor([2]), target),
            "the same proposal, now of class 2",
            (LN3, torch.tensor(4 * (3 - BETA / 2))),
        ),
        Case(
            "by hand",
            (torch.zeros(2, 3), deltas.repeat(2, 1, 1), torch.tensor([1, 0]), target.repeat(2, 1)),
            "a proposal of class 1 and one of background",
            (LN3, torch.tensor(one / 2)),
        ),
        Case(
            "by hand",
            (torch.zeros(4, 3), four, labels, targets),
            "four proposals, of which one is positive",
            (LN3, torch.tensor(two / 4)),
        ),
        Case(
            "by hand",
            (sure, torch.zeros(2, 2, 4), torch.tensor([0, 1]), torch.zeros(2, 4)),
            "two proposals that are thought to be positive with 0.8, and one of them is",
            (torch.tensor(5.0 * 5 / 4).log() / 2, torch.tensor(0.0)),
        ),
        Case(
            "by hand",
            (torch.zeros(3, 2), torch.ones(3, 2, 4), torch.zeros(3).long(), torch.zeros(3, 4)),
            "three proposals, all of them background",
            (LN2, torch.tensor(0.0)),
        ),
    ]


# ---- wrong answers ----


def _classified(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum")


def _of_own_class(deltas: Tensor, labels: Tensor) -> Tensor:
    return deltas[torch.arange(len(labels)), labels]


def _smooth(pred: Tensor, wanted: Tensor) -> Tensor:
    return F.smooth_l1_loss(pred, wanted, beta=BETA, reduction="sum")


def _losses(
    classify: Callable[[Tensor, Tensor], Tensor] = _classified,
    learns: Callable[[Tensor], Tensor] = lambda labels: labels > 0,
    choose: Callable[[Tensor, Tensor], Tensor] = _of_own_class,
    regress: Callable[[Tensor, Tensor], Tensor] = _smooth,
    divide: Callable[[Tensor, int, int], Tensor] = lambda total, r, m: total / r,
    divide_class: Callable[[Tensor, int, int], Tensor] = lambda total, r, m: total / r,
) -> Callable[..., Pair]:
    """Return the two losses with something changed.

    Args:
        classify: the summed loss of logits and labels.
        learns: which proposals learn a box.
        choose: from all deltas (R, K + 1, 4) and the labels those that are compared, (R, 4).
        regress: the summed loss of (M, 4) and (M, 4).
        divide: the box loss by R or by the number of positives M.
        divide_class: the same for the classes.
    """

    def function(logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor) -> Pair:
        chosen = learns(labels)
        pred = choose(deltas, labels)[chosen]
        numbers = len(labels), int((labels > 0).sum())
        return (
            divide_class(classify(logits, labels), *numbers),
            divide(regress(pred, targets[chosen]), *numbers),
        )

    return function


def _all_boxes(deltas: Tensor, wanted: Tensor) -> Tensor:
    return _smooth(deltas, wanted[:, None].expand_as(deltas))


def _every_class(logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor) -> Pair:
    positive = labels > 0
    box = _all_boxes(deltas[positive], targets[positive])
    return second_stage_loss(logits, deltas, labels, targets)[0], box / len(labels)


def _likeliest_class(logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor) -> Pair:
    positive = labels > 0
    pred = deltas[torch.arange(len(labels)), logits.argmax(dim=1)][positive]
    own, _ = second_stage_loss(logits, deltas, labels, targets)
    return own, _smooth(pred, targets[positive]) / len(labels)


def _weighted_by_label(logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor) -> Pair:
    classifier, _ = second_stage_loss(logits, deltas, labels, targets)
    targets = targets.nan_to_num()
    return classifier, _smooth(_of_own_class(deltas, labels), targets) / len(labels)


def _binary(logits: Tensor, labels: Tensor) -> Tensor:
    wanted = F.one_hot(labels, logits.shape[1]).float()
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")


def _log_of_softmax_twice(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.softmax(dim=1), labels, reduction="sum")


def _nll_of_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss(logits.softmax(dim=1), labels, reduction="sum")


def _positives_alone(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[labels > 0], labels[labels > 0], reduction="sum")


def _background_alone(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[labels == 0], labels[labels == 0], reduction="sum")


def _mean_of_four(total: Tensor, r: int, m: int) -> Tensor:
    return total / max(4 * m, 1)


MISCONCEPTIONS = (
    # The classes.
    Misconception(
        "the background is a class as well: all R proposals answer what they are, not only the "
        "positives",
        _losses(_positives_alone),
        _losses(_positives_alone, divide_class=lambda total, r, m: total / max(m, 1)),
        _losses(_positives_alone, divide_class=lambda total, r, m: total / m),
    ),
    Misconception(
        "the cross-entropy is a mean over the R proposals; yours is the sum",
        _losses(divide_class=lambda total, r, m: total),
    ),
    Misconception(
        "both losses are divided by R; yours are the sums",
        _losses(divide_class=lambda total, r, m: total, divide=lambda total, r, m: total),
    ),
    Misconception(
        "the cross-entropy is divided by R, all proposals; yours by the number of positives",
        _losses(divide_class=lambda total, r, m: total / max(m, 1)),
        _losses(divide_class=lambda total, r, m: total / m),
    ),
    Misconception(
        "both losses are divided by R, all proposals; yours by the number of positives",
        *(
            _losses(divide=by, divide_class=by)
            for by in (lambda total, r, m: total / max(m, 1), lambda total, r, m: total / m)
        ),
    ),
    Misconception(
        "F.cross_entropy takes logits and does the softmax itself; yours does it twice",
        _losses(_log_of_softmax_twice),
    ),
    Misconception(
        "F.nll_loss takes logarithms of probabilities: log_softmax, not softmax",
        _losses(_nll_of_softmax),
    ),
    Misconception(
        "a proposal has one class: softmax cross-entropy, not one sigmoid a class",
        _losses(_binary),
        lambda logits, *rest: (
            _binary(logits, rest[1]) / logits.numel(),
            second_stage_loss(logits, *rest)[1],
        ),
    ),
    # Who learns a box.
    Misconception(
        "only positives learn a box: background has nowhere to go, and its targets mean nothing",
        _losses(learns=lambda labels: labels >= 0),
        _weighted_by_label,
    ),
    Misconception(
        "class 0 is the background and class 1 the first object: positive is labels > 0, not "
        "labels > 1",
        _losses(learns=lambda labels: labels > 1),
    ),
    Misconception(
        "yours learns the boxes of background: positive is labels > 0",
        _losses(learns=lambda labels: labels == 0),
    ),
    # Which box.
    Misconception(
        "of the K + 1 boxes only that of the proposal's own class is compared; yours compares all",
        _every_class,
    ),
    Misconception(
        "the box is that of the class which the proposal has, labels; yours is that of the class "
        "which the network finds likeliest",
        _likeliest_class,
    ),
    Misconception(
        "the box of class k stands at place k, background included; yours is one place before",
        _losses(choose=lambda deltas, labels: _of_own_class(deltas, (labels - 1).clamp(min=0))),
    ),
    Misconception(
        "the box of class k stands at place k, background included; yours is one place behind: "
        "do not cut the background's box off",
        _losses(choose=lambda deltas, labels: _of_own_class(deltas[:, 1:], labels)),
    ),
    Misconception(
        "each class has a box of its own: take the one at place labels[i]; yours is always the "
        "first, which is the background's",
        _losses(choose=lambda deltas, labels: deltas[:, 0]),
    ),
    Misconception(
        "each class has a box of its own: take the one at place labels[i]; yours is always the "
        "same",
        _losses(choose=lambda deltas, labels: deltas[:, 1]),
        _losses(choose=lambda deltas, labels: deltas[:, -1]),
        _losses(choose=lambda deltas, labels: deltas.mean(dim=1)),
    ),
    # How wrong it is.
    Misconception(
        "the box loss is divided by R, not by the number of positives: with few positives it is "
        "meant to be small",
        _losses(divide=lambda total, r, m: total / max(m, 1)),
        _losses(divide=lambda total, r, m: total / m),
    ),
    Misconception(
        "the four deltas are added up, and the sum over the positives is divided by R; yours is "
        "the mean over all their numbers",
        _losses(divide=_mean_of_four),
        _losses(divide=lambda total, r, m: total / (4 * m)),
    ),
    Misconception(
        "the four deltas are added up; yours is their mean",
        _losses(divide=lambda total, r, m: total / (4 * r)),
    ),
    Misconception(
        "the box loss is divided by R; yours is the sum",
        _losses(divide=lambda total, r, m: total),
    ),
    Misconception(
        "beta is 1 / 9 here; the default of F.smooth_l1_loss is 1",
        _losses(regress=lambda pred, wanted: F.smooth_l1_loss(pred, wanted, reduction="sum")),
    ),
    Misconception(
        "beta is one ninth; yours is 9",
        _losses(regress=lambda p, w: F.smooth_l1_loss(p, w, reduction="sum", beta=9.0)),
    ),
    Misconception(
        "F.huber_loss is smooth L1 times its delta; divide by it, or take F.smooth_l1_loss with "
        "beta = 1 / 9",
        _losses(regress=lambda p, w: F.huber_loss(p, w, reduction="sum", delta=BETA)),
    ),
    Misconception(
        "this is the L1 loss; smooth L1 is quadratic where the error is below beta",
        _losses(regress=lambda pred, wanted: (pred - wanted).abs().sum()),
    ),
    Misconception(
        "this is the squared error; smooth L1 grows like the error itself above beta",
        _losses(regress=lambda pred, wanted: (pred - wanted).square().sum()),
        _losses(regress=lambda pred, wanted: (pred - wanted).square().sum() / 2),
    ),
    Misconception(
        "delta_targets are divided by the spread already; yours divides them once more",
        lambda logits, deltas, labels, targets: second_stage_loss(
            logits, deltas, labels, targets / torch.tensor([0.2, 0.2, 0.4, 0.4])
        ),
    ),
    # The form of the result.
    Misconception(
        "the cross-entropy comes first, then the box loss; yours are exchanged",
        lambda *args: second_stage_loss(*args)[::-1],
    ),
    Misconception(
        "return the two losses apart; yours are added up",
        lambda *args: sum(second_stage_loss(*args)),
    ),
    Misconception(
        "these are the losses of each proposal; return two numbers",
        lambda logits, deltas, labels, targets: (
            F.cross_entropy(logits, labels, reduction="none"),
            second_stage_loss(logits, deltas, labels, targets)[1],
        ),
    ),
)

SECOND_STAGE_LOSS = Exercise(
    number="2.9",
    name="second_stage_loss",
    reference=second_stage_loss,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the cross-entropy", "the box loss"),
    counted="proposals",
)
