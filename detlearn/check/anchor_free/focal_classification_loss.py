"""Exercise 4.1: the focal loss of a batch with its normaliser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.diagnosis import Asked
from detlearn.losses import focal_classification_loss
from detlearn.matching import BACKGROUND, IGNORED

Function = Callable[..., Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    some = _random((12,), 3, random)
    more = _random((2, 5, 4), 4, random)
    logits, labels = some
    order = torch.randperm(12, generator=random)
    ignored = (torch.cat((logits, 3 * logits)), torch.cat((labels, torch.full((12,), IGNORED))))

    values = [
        _case("random", some, "12 places and three classes"),
        _case("random", more, "places of shape (2, 5, 4) and four classes"),
        _case("random", some, "12 places with alpha = 0.6 and gamma = 1", alpha=0.6, gamma=1.0),
        _case("random", some, "12 places with gamma = 3", gamma=3.0),
        _case("random", more, "40 places with gamma = 0.5", gamma=0.5),
        _case("random", more, "40 places without alpha", alpha=None),
        _case("random", some, "12 places, cross-entropy", alpha=None, gamma=0.0),
        _case("random", _random((9,), 1, random), "9 places and a single class"),
    ]

    properties = [
        _case("property", (logits[order], labels[order]), "the places in another order"),
        _case("property", ignored, "as many places beside that are in no loss"),
        _case("property", (logits.repeat(3, 1), labels.repeat(3)), "every place three times"),
    ]

    gradients = [
        _case("gradient", some, "12 places and three classes", gradient=True),
        _case("gradient", more, "places with gamma = 1", gamma=1.0, gradient=True),
        _case("gradient", _certain(200.0), "logits of ±200", gradient=True),
        _case("gradient", (logits, labels.clamp(max=-1)), "no object at all", gradient=True),
    ]

    growing = [
        Case("no loop", _random((n,), 3, random), f"{n} places", size=n, keywords=_keywords())
        for n in (8, 400)
    ]
    return [*_by_hand(), *_degenerate(some), *values, *properties, *gradients, *growing]


def _keywords(alpha: float | None = 0.25, gamma: float = 2.0) -> dict[str, Any]:
    return {"alpha": alpha, "gamma": gamma}


def _case(
    rung: str,
    args: tuple[Tensor, Tensor],
    note: str,
    wanted: float | None = None,
    gradient: bool = False,
    **options: Any,
) -> Case:
    expected = None if wanted is None else torch.tensor(wanted)
    return Case(rung, args, note, expected, gradient, keywords=_keywords(**options))


def _random(shape: tuple[int, ...], classes: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return logits and labels, with background, ignored places and every class among them."""
    logits = 2 * torch.randn(*shape, classes, generator=random)
    number = logits.shape[:-1].numel()
    kinds = torch.arange(number) % (classes + 4) - 2  # −2, −1, 0 … K−1, two more for background
    kinds[kinds >= classes] = BACKGROUND
    return logits, kinds[torch.randperm(number, generator=random)].view(shape)


def _certain(size: float) -> tuple[Tensor, Tensor]:
    """Return logits this far from 0: two places that are right, one wrong, one taken for one."""
    signs = torch.tensor([[1.0, -1], [-1, -1], [-1, 1], [1, -1]])
    return size * signs, torch.tensor([0, BACKGROUND, 0, BACKGROUND])


def _by_hand() -> list[Case]:
    # The chapter's table.
    p = torch.tensor([[0.3], [0.8], [0.9], [0.5], [0.1], [0.01]])
    table = (p.logit(), torch.tensor([0, 0, -1, -1, -1, -1]))
    of_table = [
        _case("by hand", table, "the six places of the table", 0.8396473),
        _case("by hand", table, "the table, cross-entropy", 2.2691297, alpha=None, gamma=0.0),
        _case("by hand", table, "the table without alpha", 1.3191539, alpha=None),
    ]

    # All logits 0: each answer has p_t = 1/2, a cross-entropy of .693147 and a factor of 1/4.
    zeros = torch.zeros(2, 3)
    of_zeros = [
        _case(
            "by hand",
            (zeros, torch.tensor([1, -1])),
            "logits of 0, an object of class 1 and a background place",
            (0.25 + 5 * 0.75) / 4 * 0.6931472,
        ),
        _case(
            "by hand",
            (zeros, torch.tensor([1, -2])),
            "logits of 0, an object of class 1 and a place in no loss",
            (0.25 + 2 * 0.75) / 4 * 0.6931472,
        ),
        _case(
            "by hand",
            (zeros, torch.tensor([2, 0])),
            "logits of 0 and two objects, alpha = 0.4 and gamma = 1",
            (2 * 0.4 + 4 * 0.6) / 2 * 0.6931472 / 2,
            alpha=0.4,
            gamma=1.0,
        ),
    ]
    return [*of_table, *of_zeros]


def _degenerate(some: tuple[Tensor, Tensor]) -> list[Case]:
    logits, labels = some

    # Nothing to divide by.
    no_objects = [
        _case("degenerate", (logits, torch.full((12,), BACKGROUND)), "background alone"),
        _case("degenerate", (logits[:5], torch.tensor([-1, -2, -1, -1, -2])), "no object at all"),
        _case("degenerate", (logits[:4], torch.full((4,), IGNORED)), "no place in any loss", 0.0),
        _case("degenerate", (logits[:0], labels[:0]), "no places at all", 0.0),
    ]

    one_place = [
        _case("degenerate", (logits[0], torch.tensor(1)), "a single place, labels of shape ()"),
        _case("degenerate", (logits[:1], torch.tensor([2])), "a single place"),
    ]

    # Right: nearly 0. Wrong: one yes and two noes, (α + 2 (1 − α)) times the logit, by two objects.
    certain = [
        _case("degenerate", _certain(12.0), "logits of ±12", 10.5),
        _case("degenerate", _certain(30.0), "logits of ±30", 26.25),
        _case("degenerate", _certain(200.0), "logits of ±200", 175.0),
    ]
    return [*no_objects, *one_place, *certain]


# ---- wrong answers ----


def _targets(logits: Tensor, labels: Tensor) -> Tensor:
    return (labels[..., None] == torch.arange(logits.shape[-1])).to(logits)


def _last_for_background(logits: Tensor, labels: Tensor) -> Tensor:
    """Index as lists do: class −1 is the last."""
    return _targets(logits, torch.where(labels == BACKGROUND, logits.shape[-1] - 1, labels))


def _without_class_0(logits: Tensor, labels: Tensor) -> Tensor:
    targets = _targets(logits, labels)
    targets[..., 0] = 0
    return targets


def _cross_entropy(x: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(x, y, reduction="none")


def _right_share(x: Tensor, y: Tensor) -> Tensor:
    return x.sigmoid() * y + (-x).sigmoid() * (1 - y)


def _miss(x: Tensor, y: Tensor) -> Tensor:
    return (-x).sigmoid() * y + x.sigmoid() * (1 - y)


def _alphas(y: Tensor, alpha: float | None) -> Tensor | float:
    return 1.0 if alpha is None else alpha * y + (1 - alpha) * (1 - y)


def _over_positives(loss: Tensor, labels: Tensor) -> Tensor:
    return loss.sum() / (labels >= 0).sum().clamp(min=1)


def _loss(
    targets: Callable[[Tensor, Tensor], Tensor] = _targets,
    before: Callable[[Tensor], Tensor] = lambda x: x,
    entropy: Callable[[Tensor, Tensor], Tensor] = _cross_entropy,
    focus: Callable[[Tensor, Tensor, float], Tensor] = lambda x, y, gamma: _miss(x, y) ** gamma,
    weights: Callable[[Tensor, float | None], Tensor | float] = _alphas,
    kept: Callable[[Tensor], Tensor] = lambda labels: labels != IGNORED,
    finish: Callable[[Tensor, Tensor], Tensor] = _over_positives,
    options: Callable[..., tuple] = lambda alpha, gamma: (alpha, gamma),
) -> Function:
    """Return the loss with something changed.

    Args:
        targets: (P, K) of logits and labels.
        before: what is done to the logits first.
        entropy: −log p_t of logits and targets.
        focus: the factor of easy answers.
        weights: α_t of the targets.
        kept: which places are in the loss.
        finish: the losses (M, K) of the kept places and all labels (P,) to what is returned.
        options: alpha and gamma as they are used.
    """

    def function(
        logits: Tensor, labels: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0
    ) -> Tensor:
        alpha, gamma = options(alpha, gamma)
        x, labels = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
        y, x = targets(x, labels), before(x)
        loss = weights(y, alpha) * focus(x, y, gamma) * entropy(x, y)
        return finish(loss[kept(labels)], labels)

    return function


def _softmax(x: Tensor, y: Tensor) -> Tensor:
    """−log p_t where the classes share one probability."""
    p = x.softmax(dim=-1)
    return torch.where(y == 1, -x.log_softmax(dim=-1), -torch.log1p(-p.clamp(max=1 - 1e-6)))


def _softmax_miss(x: Tensor, y: Tensor, gamma: float) -> Tensor:
    p = x.softmax(dim=-1)
    return torch.where(y == 1, 1 - p, p) ** gamma


def _softmax_of_objects(
    logits: Tensor, labels: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> Tensor:
    """The cross-entropy of one class among K, of the places with an object."""
    log_p = logits[labels >= 0].log_softmax(dim=-1)
    log_p = log_p.gather(-1, labels[labels >= 0][:, None])
    loss = -(1 if alpha is None else alpha) * (1 - log_p.exp()) ** gamma * log_p
    return _over_positives(loss, labels)


def _plain(p: Callable[[Tensor], Tensor], log: Callable[[Tensor], Tensor], by_where: bool = True):
    """Return the loss with logarithms of p and 1 − p.

    Args:
        p: of the logits.
        log: of p and of 1 − p.
        by_where: one of the two is taken, else both are added up with the targets as factors.
    """

    def entropy(x: Tensor, y: Tensor) -> Tensor:
        if by_where:
            return -log(torch.where(y == 1, p(x), 1 - p(x)))
        return -y * log(p(x)) - (1 - y) * log(1 - p(x))

    def focus(x: Tensor, y: Tensor, gamma: float) -> Tensor:
        return (1 - torch.where(y == 1, p(x), 1 - p(x))) ** gamma

    return _loss(entropy=entropy, focus=focus)


def _without_objects(instead: Callable[[Tensor], Tensor]) -> Function:
    """Return the loss that gives something else where there is no object."""

    def finish(loss: Tensor, labels: Tensor) -> Tensor:
        return _over_positives(loss, labels) if (labels >= 0).any() else instead(loss)

    return _loss(finish=finish)


def _mean(loss: Tensor, labels: Tensor) -> Tensor:
    return loss.mean() if loss.numel() else loss.sum()


def _each_place(
    logits: Tensor, labels: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> Tensor:
    y = _targets(logits, labels)
    loss = _alphas(y, alpha) * _miss(logits, y) ** gamma * _cross_entropy(logits, y)
    loss = loss.sum(dim=-1) * (labels != IGNORED)
    return loss / (labels >= 0).sum().clamp(min=1)


def _each_answer(
    logits: Tensor, labels: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> Tensor:
    y = _targets(logits, labels)
    loss = _alphas(y, alpha) * _miss(logits, y) ** gamma * _cross_entropy(logits, y)
    return loss * (labels != IGNORED)[..., None] / (labels >= 0).sum().clamp(min=1)


def _detached(x: Tensor, y: Tensor, gamma: float) -> Tensor:
    return _miss(x, y).detach() ** gamma


MISCONCEPTIONS = (
    # What the sum is divided by.
    Misconception(
        "the sum is divided by the number of places with an object; yours is the mean over all "
        "places and classes, in which a thousand easy ones drown a hard one",
        _loss(finish=_mean),
        _loss(finish=lambda loss, labels: loss.mean()),
        _loss(
            kept=lambda labels: labels > -9,
            finish=lambda loss, labels: (loss * (labels != IGNORED)[:, None]).mean(),
        ),
    ),
    Misconception(
        "the sum is divided by the number of places with an object; yours is divided by the "
        "number of all places",
        _loss(finish=lambda loss, labels: loss.sum() / max(len(loss), 1)),
        _loss(finish=lambda loss, labels: loss.sum() / max(len(labels), 1)),
        _loss(finish=lambda loss, labels: loss.sum() / len(loss)),
        _loss(finish=lambda loss, labels: loss.sum() / len(labels)),
    ),
    Misconception(
        "the sum is divided by the number of places with an object; yours is divided by that of "
        "background",
        _loss(finish=lambda loss, labels: loss.sum() / (labels == -1).sum().clamp(min=1)),
        _loss(finish=lambda loss, labels: loss.sum() / (labels < 0).sum().clamp(min=1)),
    ),
    Misconception(
        "the sum is divided by the number of places with an object; yours is not divided at all",
        _loss(finish=lambda loss, labels: loss.sum()),
    ),
    Misconception(
        "class 0 is a class, too: places with an object are those of labels >= 0; yours counts "
        "from class 1",
        _loss(finish=lambda loss, labels: loss.sum() / (labels > 0).sum().clamp(min=1)),
    ),
    Misconception(
        "places of −2 have no object: yours counts them among those by whose number it divides",
        _loss(finish=lambda loss, labels: loss.sum() / (labels != -1).sum().clamp(min=1)),
    ),
    Misconception(
        "the sum over all classes is divided by the number of places with an object; yours by that "
        "times K",
        _loss(finish=lambda loss, labels: _over_positives(loss, labels) / loss.shape[-1]),
    ),
    Misconception(
        "without an object yours divides by 0: the number counts as at least 1",
        _loss(finish=lambda loss, labels: loss.sum() / (labels >= 0).sum()),
        _loss(finish=lambda loss, labels: loss.sum() / ((labels >= 0).sum() + 1e-6)),
        _loss(finish=lambda loss, labels: loss.sum() / ((labels >= 0).sum() + 1e-8)),
        _loss(finish=lambda loss, labels: loss.sum() / int((labels >= 0).sum())),
    ),
    Misconception(
        "without an object the sum is divided by 1: background is learned there, too; yours "
        "returns 0",
        _without_objects(lambda loss: 0 * loss.sum()),
        _without_objects(lambda loss: torch.tensor(0.0)),
    ),
    Misconception(
        "one object divides by 1, two by 2; yours adds 1 to their number, always",
        _loss(finish=lambda loss, labels: loss.sum() / ((labels >= 0).sum() + 1)),
    ),
    # Which places.
    Misconception(
        "places of −2 are in no loss; yours learn that they are background",
        _loss(kept=lambda labels: labels > -9),
    ),
    Misconception(
        "a background place has K targets of 0, from which most of the loss comes; in yours "
        "background is left out",
        _loss(kept=lambda labels: labels >= 0),
    ),
    Misconception(
        "−1 is background and −2 in no loss; yours leaves out those of −1",
        _loss(kept=lambda labels: labels != BACKGROUND),
    ),
    Misconception(
        "class 0 is a class like the others, and background is −1; yours learns that objects of "
        "class 0 are nothing",
        _loss(targets=_without_class_0),
    ),
    Misconception(
        "−1 is background, whose K targets are all 0; as an index −1 is the last class",
        _loss(targets=_last_for_background),
    ),
    Misconception(
        "every class is a question of its own at every place; yours asks only for the object's "
        "class",
        _loss(finish=lambda loss, labels: loss.sum(), kept=lambda labels: labels >= 0),
        _loss(entropy=lambda x, y: y * _cross_entropy(x, y)),
    ),
    # The weights.
    Misconception(
        "the two weights are exchanged: targets of 1 have alpha, those of 0 have 1 − alpha",
        _loss(options=lambda a, g: (a if a is None else 1 - a, g)),
    ),
    Misconception(
        "targets of 0 have the weight 1 − alpha; yours weighs them all with alpha",
        _loss(weights=lambda y, a: 1.0 if a is None else a),
    ),
    Misconception(
        "targets of 1 have alpha and those of 0 have 1 − alpha; in yours targets of 0 have 1",
        _loss(weights=lambda y, a: 1.0 if a is None else a * y + (1 - y)),
    ),
    Misconception(
        "the weights are missing: alpha for targets of 1, 1 − alpha for those of 0",
        _loss(options=lambda a, g: (None, g)),
    ),
    Misconception(
        "alpha is the one that is given; yours is always 0.25",
        _loss(options=lambda a, g: (0.25, g)),
    ),
    Misconception(
        "alpha = None means no weights at all; yours takes 0.25",
        _loss(options=lambda a, g: (0.25 if a is None else a, g)),
    ),
    # The factor.
    Misconception(
        "easy answers are to count for little: the factor is (1 − p_t) ** gamma, yours is "
        "p_t ** gamma",
        _loss(focus=lambda x, y, gamma: _right_share(x, y) ** gamma),
    ),
    Misconception(
        "p_t is p where the target is 1 and 1 − p where it is 0; your factor is (1 − p) ** gamma "
        "whatever the target",
        _loss(focus=lambda x, y, gamma: (-x).sigmoid() ** gamma),
    ),
    Misconception(
        "p_t is p where the target is 1 and 1 − p where it is 0; your factor is p ** gamma, "
        "right for background alone",
        _loss(focus=lambda x, y, gamma: x.sigmoid() ** gamma),
    ),
    Misconception(
        "this is the weighted cross-entropy: the factor (1 - p_t) ** gamma is missing",
        _loss(focus=lambda x, y, gamma: torch.ones_like(x)),
    ),
    Misconception(
        "gamma is the exponent that is given; yours is always 2",
        _loss(options=lambda a, g: (a, 2.0)),
    ),
    Misconception(
        "gamma is an exponent; in yours it is a factor",
        _loss(focus=lambda x, y, gamma: gamma * _miss(x, y)),
    ),
    Misconception(
        "the factor is about p_t, a probability; in yours 1 − p_t is the cross-entropy",
        _loss(focus=lambda x, y, gamma: _cross_entropy(x, y) ** gamma),
    ),
    Misconception(
        "(1 − p_t) ** gamma belongs to the gradient, too; in yours it is detached",
        _loss(focus=_detached),
    ),
    # The logarithm.
    Misconception(
        "each class is a question of its own, with a sigmoid; yours is a softmax, in which the "
        "classes share one probability",
        _loss(entropy=_softmax, focus=_softmax_miss),
        _softmax_of_objects,
    ),
    Misconception(
        "the binary cross-entropy here takes logits; yours takes the sigmoid before it and again "
        "inside",
        _loss(before=torch.sigmoid),
        _loss(entropy=lambda x, y: _cross_entropy(x.sigmoid(), y)),
    ),
    Misconception(
        "the sigmoid rounds to 0 or 1 where the network is sure, and the logarithm of 0 is −∞: "
        "take F.logsigmoid or F.binary_cross_entropy_with_logits",
        _plain(torch.sigmoid, torch.log),
        _plain(torch.sigmoid, torch.log, by_where=False),
        _plain(lambda x: 1 / (1 + (-x).exp()), torch.log),
        _plain(lambda x: 1 / (1 + (-x).exp()), torch.log, by_where=False),
    ),
    Misconception(
        "nothing is added to p_t and it is not clamped: where it is small the loss and its "
        "gradient would be too small; take F.logsigmoid",
        *(_plain(torch.sigmoid, lambda p, e=10.0**-n: (p + e).log()) for n in range(3, 13)),
        *(_plain(torch.sigmoid, lambda p, e=10.0**-n: p.clamp(min=e).log()) for n in range(3, 13)),
        *(
            _plain(lambda x, e=10.0**-n: x.sigmoid().clamp(e, 1 - e), torch.log)
            for n in range(3, 8)
        ),
        *(_loss(before=lambda x, most=most: x.clamp(-most, most)) for most in (5, 10, 15, 20, 50)),
    ),
    Misconception(
        "logarithms of probabilities are negative, the loss is not: the minus is missing",
        _loss(finish=lambda loss, labels: -_over_positives(loss, labels)),
    ),
    # The result.
    Misconception(
        "return a scalar, the sum over all places; yours is one for each place",
        _each_place,
    ),
    Misconception(
        "return a scalar, the sum over all places and classes; yours is one for each of both",
        _each_answer,
    ),
)

# ---- what else can be said ----


def _clue(asked: Asked) -> str:
    """Say what None means, if nothing else is wrong."""
    wrong = [case for case, found in zip(asked.cases, asked.faults) if found]
    if all(case.keywords["alpha"] is None for case in wrong):
        return "alpha may be None, which is no number: then all weights are 1"
    return ""


# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return how many places there are, and what p_t is where they are few."""
    logits, labels = case.args
    kinds = [int((labels >= 0).sum()), *(int((labels == kind).sum()) for kind in (-1, -2))]
    counts = "{} with an object, {} of background, {} in no loss".format(*kinds)
    if not 0 < logits.numel() <= 8:
        return counts
    p = [[round(float(x), 4) for x in row.sigmoid()] for row in logits.view(-1, logits.shape[-1])]
    return f"{counts}; their sigmoid {written(p)}"


FOCAL_CLASSIFICATION_LOSS = Exercise(
    number="4.1",
    name="focal_classification_loss",
    reference=focal_classification_loss,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the loss",),
    narrow=_show,
    clue=_clue,
    counted="places",
)
