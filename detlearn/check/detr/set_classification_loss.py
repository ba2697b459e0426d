"""Exercise 5.4: the classification loss of a set, in which "no object" counts for less."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.diagnosis import Asked
from detlearn.losses import set_classification_loss

Function = Callable[..., Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    some, more = _random((10,), 3, random), _random((2, 5), 4, random)
    layers = _random((2, 3, 4), 2, random)
    logits, labels = some
    order = torch.randperm(10, generator=random)

    values = [
        Case("random", some, "10 queries and three classes"),
        Case("random", (*some, 0.4), "10 queries and no_object_weight = 0.4"),
        Case("random", more, "two images of 5 queries and four classes"),
        Case("random", (*layers, 0.25), "two layers, three images and no_object_weight = 0.25"),
        Case("random", (*more, 1.0), "two images and no_object_weight = 1"),
        Case("random", _random((6,), 1, random), "6 queries and a single class"),
    ]

    properties = [
        Case("property", (logits[order], labels[order]), "the queries in another order"),
        Case("property", (logits + 3, labels), "3 added to all logits"),
        Case("property", (logits.repeat(3, 1), labels.repeat(3)), "every query three times"),
    ]

    gradients = [
        Case("gradient", some, "10 queries", gradient=True),
        Case("gradient", more, "two images of 5 queries", gradient=True),
        Case("gradient", _certain(200.0), "logits of ±200", gradient=True),
    ]

    growing = [Case("no loop", _random((n,), 3, random), f"{n} queries", size=n) for n in (8, 200)]
    return [*_by_hand(), *_degenerate(some), *values, *properties, *gradients, *growing]


def _random(shape: tuple[int, ...], classes: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return logits and labels: every class, and no object for about half of the queries."""
    logits = 2 * torch.randn(*shape, classes + 1, generator=random)
    number = logits.shape[:-1].numel()
    kinds = (torch.arange(number) % (2 * classes + 1)).clamp(max=classes)
    return logits, kinds[torch.randperm(number, generator=random)].view(shape)


def _certain(size: float, more: bool = False) -> tuple[Tensor, Tensor]:
    """Return logits this far from 0: of an object and of none, each once right and once wrong.

    With `more` another object is right.
    """
    signs = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, -1, 1], [-1, 1, -1], [-1, 1, -1]])
    labels = torch.tensor([0, 0, 2, 2, 1])
    number = 5 if more else 4
    return size * signs[:number], labels[:number]


def _by_hand() -> list[Case]:
    # Probabilities of a half and of quarters: a loss of ln 2 or of 2 ln 2.
    first, last = [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]
    table = (torch.tensor([first, last, first]).log(), torch.tensor([0, 2, 2]))
    images = (
        torch.tensor([[first, last], [first, last]]).log(),
        torch.tensor([[0, 2], [2, 2]]),
    )
    other = (torch.tensor([first, first, last, first]).log(), torch.tensor([0, 1, 1, 2]))
    ln2 = math.log(2)

    def of(args: tuple, units: float, note: str) -> Case:
        return Case("by hand", args, note, torch.tensor(units * ln2))

    return [
        of(table, (1 + 0.1 + 0.2) / 1.2, "three queries, one with an object"),
        of((*table, 0.5), (1 + 0.5 + 1) / 2, "the same three, no_object_weight = 0.5"),
        of((*table, 1.0), (1 + 1 + 2) / 3, "the same three, no_object_weight = 1"),
        of(other, (1 + 2 + 2 + 0.2) / 3.1, "three queries with an object and one without"),
        of(images, (1 + 0.1 + 0.2 + 0.1) / 1.3, "two images, one of them without an object"),
    ]


def _degenerate(some: tuple[Tensor, Tensor]) -> list[Case]:
    logits, labels = some
    nothing = torch.full((10,), 3)
    return [
        Case("degenerate", (logits, nothing), "no object at all"),
        Case("degenerate", (logits, labels % 3), "an object in every query"),
        Case("degenerate", (logits[:1], labels[:1]), "a single query"),
        Case("degenerate", (*some, 0.0), "no_object_weight = 0"),
        Case("degenerate", _certain(12.0), "logits of ±12"),
        # The wrong ones are 2 · 200 off: (400 + .1 · 400) / 2.2.
        Case("degenerate", _certain(200.0), "logits of ±200", torch.tensor(200.0)),
        # And a third object that is found: (160 + .1 · 160) / 3.2.
        Case("degenerate", _certain(80.0, more=True), "logits of ±80", torch.tensor(55.0)),
    ]


# ---- wrong answers ----


def _weights(labels: Tensor, none: int, weight: float) -> Tensor:
    return torch.where(labels == none, weight, 1.0)


def _minus_log(x: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(x, labels, reduction="none")


def _over_weights(loss: Tensor, weights: Tensor, labels: Tensor, none: int) -> Tensor:
    return (weights * loss).sum() / weights.sum()


def _loss(
    entropy: Callable[[Tensor, Tensor], Tensor] = _minus_log,
    weigh: Callable[[Tensor, int, float], Tensor] = _weights,
    finish: Callable[..., Tensor] = _over_weights,
    before: Callable[[Tensor], Tensor] = lambda x: x,
    weight_used: Callable[[float], float] = lambda weight: weight,
) -> Function:
    """Return the loss with something changed.

    Args:
        entropy: −log p of each query, from logits (M, K + 1) and labels (M,).
        weigh: the queries' weights, from the labels, the one for no object, and its weight.
        finish: losses, weights, labels and the label for no object to what is returned.
        before: what is done to the logits first.
        weight_used: no_object_weight as it is used.
    """

    def function(class_logits: Tensor, labels: Tensor, no_object_weight: float = 0.1) -> Tensor:
        none = class_logits.shape[-1] - 1
        x, y = before(class_logits).flatten(0, -2), labels.flatten()
        weights = weigh(y, none, weight_used(no_object_weight))
        return finish(entropy(x, y), weights, y, none)

    return function


def _over_objects(loss: Tensor, weights: Tensor, labels: Tensor, none: int) -> Tensor:
    return (weights * loss).sum() / (labels != none).sum().clamp(min=1)


def _of_logarithm(log: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def entropy(x: Tensor, labels: Tensor) -> Tensor:
        return -log(x.softmax(dim=-1)).gather(-1, labels[:, None])[:, 0]

    return entropy


def _by_division(x: Tensor, labels: Tensor) -> Tensor:
    p = x.exp() / x.exp().sum(dim=-1, keepdim=True)
    return -p.log().gather(-1, labels[:, None])[:, 0]


def _log_of_sum(x: Tensor, labels: Tensor) -> Tensor:
    return x.exp().sum(dim=-1).log() - x.gather(-1, labels[:, None])[:, 0]


def _each_class_alone(x: Tensor, labels: Tensor) -> Tensor:
    targets = F.one_hot(labels, x.shape[-1]).to(x)
    return F.binary_cross_entropy_with_logits(x, targets, reduction="none").sum(dim=-1)


def _each_class_alone_mean(x: Tensor, labels: Tensor) -> Tensor:
    return _each_class_alone(x, labels) / x.shape[-1]


def _without_no_object(x: Tensor, labels: Tensor) -> Tensor:
    """Leave the last class out of the softmax of the objects."""
    of_objects = x[:, :-1].logsumexp(dim=-1) - x.gather(-1, labels[:, None])[:, 0]
    return torch.where(labels == x.shape[-1] - 1, _minus_log(x, labels), of_objects)


def _by_image(labels_too: bool) -> Function:
    """Take the mean of the images' losses."""

    def function(class_logits: Tensor, labels: Tensor, no_object_weight: float = 0.1) -> Tensor:
        x, y = class_logits, labels
        if x.ndim == 2:
            x, y = x[None], y[None]
        loss = F.cross_entropy(x.flatten(0, -2), y.flatten(), reduction="none").view(y.shape)
        weights = _weights(y, x.shape[-1] - 1, no_object_weight)
        by_image = (weights * loss).sum(dim=-1) / weights.sum(dim=-1)
        return by_image.mean() if labels_too else by_image.sum()

    return function


def _each_query(class_logits: Tensor, labels: Tensor, no_object_weight: float = 0.1) -> Tensor:
    loss = _minus_log(class_logits.flatten(0, -2), labels.flatten()).view(labels.shape)
    return loss * _weights(labels, class_logits.shape[-1] - 1, no_object_weight)


def _each_query_divided(
    class_logits: Tensor, labels: Tensor, no_object_weight: float = 0.1
) -> Tensor:
    weights = _weights(labels, class_logits.shape[-1] - 1, no_object_weight)
    return _each_query(class_logits, labels, no_object_weight) / weights.sum()


def _cut_elsewhere(class_logits: Tensor, labels: Tensor, no_object_weight: float = 0.1) -> Tensor:
    """Bring the classes to where F.cross_entropy looks for them, by a reshape."""
    classes = class_logits.shape[-1]
    x = class_logits.reshape(-1, classes, labels.shape[-1]).transpose(1, 2)
    return set_classification_loss(x, labels.reshape(-1, labels.shape[-1]), no_object_weight)


MISCONCEPTIONS = (
    # What the sum is divided by.
    Misconception(
        "the sum is divided by the sum of the weights; yours by the number of queries, so that "
        "objects count for less the more queries there are",
        _loss(finish=lambda loss, w, labels, none: (w * loss).mean()),
    ),
    Misconception(
        "the sum is divided by the sum of the weights; yours by the number of queries with an "
        "object",
        _loss(finish=_over_objects),
        _loss(finish=lambda loss, w, labels, none: (w * loss).sum() / (labels != none).sum()),
    ),
    Misconception(
        "the sum is divided by the sum of the weights; yours is not divided at all",
        _loss(finish=lambda loss, w, labels, none: (w * loss).sum()),
    ),
    Misconception(
        "the sum is divided by the weights of the queries, added up; yours by the weights of the "
        "K + 1 classes",
        _loss(
            finish=lambda loss, w, labels, none: (
                (w * loss).sum()
                / (none + (w[labels == none].amax() if (labels == none).any() else 0.1))
            )
        ),
    ),
    Misconception(
        "the mean is over all queries of the batch together, by their weights; yours is taken in "
        "each image first, where an image without objects then counts as much as one with ten",
        _by_image(True),
        _by_image(False),
    ),
    Misconception(
        "objects and the rest are one mean by their weights; yours is a mean of the objects plus "
        "one of the rest",
        _loss(
            finish=lambda loss, w, labels, none: (
                _mean_of(loss[labels != none]) + _mean_of((w * loss)[labels == none])
            )
        ),
        _loss(
            finish=lambda loss, w, labels, none: (
                loss[labels != none].mean() + (w * loss)[labels == none].mean()
            )
        ),
    ),
    # The weights.
    Misconception(
        "the weights are missing: queries of no object count for no_object_weight, the others "
        "for 1",
        _loss(weight_used=lambda weight: 1.0),
    ),
    Misconception(
        "the weights are exchanged: no object counts for no_object_weight, objects for 1",
        _loss(weigh=lambda labels, none, weight: torch.where(labels == none, 1.0, weight)),
    ),
    Misconception(
        "no object is the last class, number K; your weight falls on class 0",
        _loss(weigh=lambda labels, none, weight: torch.where(labels == 0, weight, 1.0)),
    ),
    Misconception(
        "no object is the last class, number K, which is class_logits.shape[-1] − 1; your weight "
        "falls on the one before it",
        _loss(weigh=lambda labels, none, weight: torch.where(labels == none - 1, weight, 1.0)),
    ),
    Misconception(
        "the weight of no object is the one that is given; yours is always 0.1",
        _loss(weight_used=lambda weight: 0.1),
    ),
    Misconception(
        "no object counts for no_object_weight; in yours it counts for 1 − no_object_weight",
        _loss(weight_used=lambda weight: 1 - weight),
        _loss(weigh=lambda labels, none, weight: torch.where(labels == none, weight, 1 - weight)),
    ),
    Misconception(
        "a query of no object is weighted once; yours twice",
        _loss(
            finish=lambda loss, w, labels, none: (w * w * loss).sum() / w.sum(),
        ),
        _loss(weight_used=lambda weight: weight**2),
    ),
    Misconception(
        "queries of no object learn as well, with their weight; yours leaves them out",
        _loss(weight_used=lambda weight: 0.0),
        _loss(
            finish=lambda loss, w, labels, none: (
                loss[labels != none].sum() / (labels != none).sum().clamp(min=1)
            )
        ),
        _loss(finish=lambda loss, w, labels, none: loss[labels != none].mean()),
        _loss(
            finish=lambda loss, w, labels, none: loss[labels != none].sum() / w.sum(),
        ),
    ),
    Misconception(
        "the weight is the label's, what a query is to say; yours is that of what it says now",
        lambda class_logits, labels, no_object_weight=0.1: (
            lambda w, loss: (w * loss).sum() / w.sum()
        )(
            _weights(
                class_logits.argmax(-1).flatten(), class_logits.shape[-1] - 1, no_object_weight
            ),
            _minus_log(class_logits.flatten(0, -2), labels.flatten()),
        ),
    ),
    # The cross-entropy.
    Misconception(
        "F.cross_entropy takes logits: yours takes the softmax before it and again inside",
        _loss(before=lambda x: x.softmax(dim=-1)),
    ),
    Misconception(
        "the K + 1 classes share one probability, a softmax; yours asks each class alone, with a "
        "sigmoid",
        _loss(entropy=_each_class_alone),
        _loss(entropy=_each_class_alone_mean),
        _loss(entropy=lambda x, y: _minus_log(x.sigmoid().log(), y)),
        _loss(entropy=lambda x, y: -F.logsigmoid(x).gather(-1, y[:, None])[:, 0]),
    ),
    Misconception(
        "no object is one of the K + 1 classes of the softmax, for queries with an object as well; "
        "yours leaves it out there",
        _loss(entropy=_without_no_object),
    ),
    Misconception(
        "the loss is −log p; yours goes with p itself, whose gradient vanishes where a query is "
        "quite wrong",
        _loss(entropy=lambda x, y: 1 - x.softmax(dim=-1).gather(-1, y[:, None])[:, 0]),
        _loss(entropy=lambda x, y: -x.softmax(dim=-1).gather(-1, y[:, None])[:, 0]),
    ),
    Misconception(
        "a probability rounds to 0 where the network is sure, and the logarithm of 0 is −∞: take "
        "log_softmax or F.cross_entropy",
        _loss(entropy=_of_logarithm(torch.log)),
        _loss(entropy=_by_division),
        _loss(entropy=_log_of_sum),
    ),
    Misconception(
        "nothing is added to the probability and it is not clamped: where it is small the loss and "
        "its gradient would be too small; take log_softmax",
        *(_loss(entropy=_of_logarithm(lambda p, e=10.0**-n: (p + e).log())) for n in range(3, 13)),
        *(
            _loss(entropy=_of_logarithm(lambda p, e=10.0**-n: p.clamp(min=e).log()))
            for n in range(3, 13)
        ),
    ),
    Misconception(
        "logarithms of probabilities are negative, the loss is not: the minus is missing",
        _loss(finish=lambda loss, w, labels, none: -(w * loss).sum() / w.sum()),
    ),
    # Shapes.
    Misconception(
        "the classes are the last dimension: bring them to where F.cross_entropy looks for them by "
        "transpose, or flatten the others; a reshape cuts the same row of numbers at other places",
        _cut_elsewhere,
    ),
    Misconception(
        "return a scalar, over all queries; yours is one for each query",
        _each_query,
        _each_query_divided,
    ),
)


def _mean_of(values: Tensor) -> Tensor:
    return values.sum() / max(len(values), 1)


# ---- what else can be said ----


def _clue(asked: Asked) -> str:
    """Say which shapes were forgotten, if all others are answered rightly."""
    wrong, right = (
        {
            len(case.args[1].shape) > 1
            for case, found in zip(asked.cases, asked.faults)
            if bool(found) is w
        }
        for w in (True, False)
    )
    if wrong == {False} and right == {True}:
        return "there may be no leading dimension, (Q, K + 1): the classes are the last one, always"
    if wrong == {True} and right == {False}:
        return "there may be leading dimensions, (B, Q, K + 1): all queries of all images count"
    return ""


# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return how many queries have an object, and the probabilities where they are few."""
    logits, labels = case.args[:2]
    none = logits.shape[-1] - 1
    objects = int((labels != none).sum())
    counts = f"no object is class {none}; {objects} of {labels.numel()} queries have an object"
    if logits.numel() > 12:
        return counts
    return f"{counts}; their softmax {written(logits.softmax(dim=-1))}"


SET_CLASSIFICATION_LOSS = Exercise(
    number="5.4",
    name="set_classification_loss",
    reference=set_classification_loss,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the loss",),
    narrow=_show,
    clue=_clue,
    counted="queries",
)
