"""Exercise 1.3: the penalty-reduced focal loss of a heat map."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.losses import heatmap_focal_loss

Function = Callable[..., Tensor]
LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    logits, targets = _maps((2, 3, 5, 4), random)
    flat, line = _maps((30,), random)
    sure = 60 * torch.randn(24, generator=random)

    nothing = [
        Case("degenerate", (torch.zeros(0, 3, 4, 4),) * 2, "maps of no image"),
        Case("degenerate", (logits, torch.zeros_like(targets)), "maps without any object"),
    ]

    values = [
        Case("random", (logits, targets), "maps of 2 images and 3 classes"),
        Case("random", (flat, line), "30 locations in a row"),
        Case("random", (logits, targets, 1.0, 2.0), "the same with alpha = 1 and beta = 2"),
        Case("random", (flat, line, 3.0, 1.0), "30 locations with alpha = 3 and beta = 1"),
    ]

    twice = logits.repeat(2, 1, 1, 1), targets.repeat(2, 1, 1, 1)
    properties = [
        Case("property", (flat.flip(0), line.flip(0)), "the locations in another order"),
        Case("property", twice, "all twice"),
        Case("property", (4 * logits, targets), "the same with logits four times as large"),
    ]

    gradients = [
        Case("gradient", (logits, targets), "maps of 2 images and 3 classes", gradient=True),
        Case("gradient", (sure, line[:24]), "logits up to ±100", gradient=True),
    ]

    growing = [Case("no loop", (flat[:n], line[:n]), f"{n} locations", size=n) for n in (4, 30)]
    by_hand = [*_by_hand(), *_sure_and_wrong()]
    return [*by_hand, *nothing, *values, *properties, *gradients, *growing]


def _maps(shape: tuple[int, ...], random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return logits, and targets of which some are 1, some 0, and some lie between."""
    logits = 2 * torch.randn(*shape, generator=random)
    targets = torch.rand(*shape, generator=random) ** 2
    kind = torch.arange(targets.numel()).view(shape) % 5
    return logits, targets.masked_fill(kind == 1, 0.0).masked_fill(kind == 3, 1.0)


def _case(
    note: str, logits: list[float], targets: list[float], answer: float, *rest: float
) -> Case:
    args = (torch.tensor(logits), torch.tensor(targets), *rest)
    return Case("by hand", args, note, torch.tensor(answer))


def _by_hand() -> list[Case]:
    undecided = [
        _case("a centre with p = 0.5", [0.0], [1.0], LN2 / 4),
        _case("a location far from all objects with p = 0.5", [0.0], [0.0], LN2 / 4),
        _case("a location with y = 0.5 and p = 0.5", [0.0], [0.5], LN2 / 64),
        _case("three locations with p = 0.5", [0.0] * 3, [1.0, 0.0, 0.5], LN2 * (33 / 64)),
    ]

    rather_sure = [
        _case("a centre with p = 0.75", [LN3], [1.0], (LN4 - LN3) / 16),
        _case("a location without object with p = 0.75", [LN3], [0.0], LN4 * 9 / 16),
        _case("a location with y = 0.9, which is no centre", [LN3], [0.9], LN4 * 9 / 16 * 1e-4),
    ]

    # The two exponents where they are not 2 and 4, so that neither can be typed in.
    other_exponents = [
        _case(
            "two centres and a location, alpha = 1 and beta = 2",
            *([LN3, 0.0, LN3], [1.0, 1.0, 0.5]),
            (LN4 - LN3) / 4 + LN2 / 2 + LN4 * 3 / 16,
            *(1.0, 2.0),
        ),
        _case(
            "a centre and a location, alpha = 0 and beta = 1",
            *([LN3, LN3], [1.0, 0.5]),
            (LN4 - LN3) + LN4 / 2,
            *(0.0, 1.0),
        ),
    ]

    return [*undecided, *rather_sure, *other_exponents]


def _sure_and_wrong() -> list[Case]:
    """Make cases in which p rounds to 0 or to 1."""
    return [
        _case("a centre with a logit of −20, p = 0.000000002", [-20.0], [1.0], 20.0),
        # 1 − p has one digit left: naively 15.94.
        _case("a location without object with a logit of 16", [16.0], [0.0], 16.0),
        _case("a location without object with a logit of 20", [20.0], [0.0], 20.0),
        _case("a centre with a logit of −100", [-100.0], [1.0], 100.0),
        _case("a location without object with a logit of 100", [100.0], [0.0], 100.0),
        _case("logits of ±100 that are right", [100.0, -100.0], [1.0, 0.0], 0.0),
    ]


# ---- wrong answers ----


def _loss(
    centre: Callable[..., Tensor] = lambda p, q, y, a, b: q**a,
    elsewhere: Callable[..., Tensor] = lambda p, q, y, a, b: (1 - y) ** b * p**a,
    is_centre: Callable[[Tensor], Tensor] = lambda y: y == 1,
    exponents: Callable[[float, float], tuple[float, float]] = lambda a, b: (a, b),
    logs: Callable[[Tensor], tuple[Tensor, Tensor]] = lambda x: (F.logsigmoid(x), F.logsigmoid(-x)),
    finish: Callable[[Tensor, Tensor], Tensor] = lambda loss, y: loss.sum(),
    squash: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> Function:
    """Return the loss with something changed.

    Args:
        centre: what −log p is multiplied by at a centre; takes p, 1 − p, y, alpha and beta.
        elsewhere: what −log(1 − p) is multiplied by.
        is_centre: which locations are centres.
        exponents: alpha and beta as they are used.
        logs: log p and log(1 − p).
        finish: makes the result of the loss at each location and the targets.
        squash: makes p of the logits.
    """

    def function(logits: Tensor, targets: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
        alpha, beta = exponents(alpha, beta)
        p, q = squash(logits), squash(-logits)
        log_p, log_q = logs(logits)
        args = (p, q, targets, alpha, beta)
        at_centre, beside = -centre(*args) * log_p, -elsewhere(*args) * log_q
        return finish(torch.where(is_centre(targets), at_centre, beside), targets)

    return function


def _logs_of(p: Callable[[Tensor], Tensor]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    return lambda logits: (p(logits).log(), (1 - p(logits)).log())


def _plain_logs(
    clamp: float | None = None,
    added: float = 0.0,
    finish: Callable[[Tensor], Tensor] = lambda loss: loss.sum(),
) -> Function:
    """Return the loss with logarithms of p itself, which may be clamped or have something added."""

    def function(logits: Tensor, targets: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
        p = torch.sigmoid(logits)
        if clamp is not None:
            p = p.clamp(clamp, 1 - clamp)
        at_centre = -((1 - p) ** alpha) * torch.log(p + added)
        beside = -((1 - targets) ** beta) * p**alpha * torch.log(1 - p + added)
        return finish(torch.where(targets == 1, at_centre, beside))

    return function


def _by_masks(logits: Tensor, targets: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """Multiply with masks, which makes NaN of 0 · ∞."""
    p = torch.sigmoid(logits)
    centre = (targets == 1).float()
    at_centre = (1 - p) ** alpha * torch.log(p) * centre
    beside = (1 - targets) ** beta * p**alpha * torch.log(1 - p) * (1 - centre)
    return -(at_centre + beside).sum()


def _soft(logits: Tensor, targets: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    p, q = torch.sigmoid(logits), torch.sigmoid(-logits)
    at_centre = targets * q**alpha * F.logsigmoid(logits)
    return -(at_centre + (1 - targets) ** beta * p**alpha * F.logsigmoid(-logits)).sum()


def _soft_cross_entropy(
    logits: Tensor, targets: Tensor, alpha: float = 2.0, beta: float = 4.0
) -> Tensor:
    """Weigh the cross-entropy with the graded targets."""
    p, q = torch.sigmoid(logits), torch.sigmoid(-logits)
    weight = torch.where(targets == 1, q**alpha, (1 - targets) ** beta * p**alpha)
    return (weight * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")).sum()


def _per_centre(loss: Tensor, targets: Tensor) -> Tensor:
    return loss.sum() / (targets == 1).sum().clamp(min=1)


def _mean_of_the_others(loss: Tensor, targets: Tensor) -> Tensor:
    centre = targets == 1
    return loss[centre].sum() + loss[~centre].sum() / (~centre).sum().clamp(min=1)


def _without_gradient(p: Tensor, q: Tensor, y: Tensor, a: float, b: float) -> Tensor:
    return q.detach() ** a


def _one_location(loss: Tensor, targets: Tensor) -> Tensor:
    return loss


MISCONCEPTIONS = (
    # The factors.
    Misconception(
        "the factors are missing: (1 − p)^α at a centre, (1 − y)^β p^α elsewhere; this is plain "
        "cross-entropy",
        _loss(lambda p, q, y, a, b: torch.ones_like(p), lambda p, q, y, a, b: torch.ones_like(p)),
        _loss(lambda p, q, y, a, b: torch.ones_like(p), lambda p, q, y, a, b: 1 - y),
        lambda x, y, a=2.0, b=4.0: F.binary_cross_entropy_with_logits(x, y, reduction="sum"),
    ),
    Misconception(
        "near a centre a high score costs little: the factor (1 − y)^β is missing",
        _loss(elsewhere=lambda p, q, y, a, b: p**a),
    ),
    Misconception(
        "the focal factor is missing elsewhere: (1 − y)^β p^α, so that easy noes count for little",
        _loss(elsewhere=lambda p, q, y, a, b: (1 - y) ** b),
    ),
    Misconception(
        "the focal factor is missing at the centres: (1 − p)^α",
        _loss(centre=lambda p, q, y, a, b: torch.ones_like(p)),
    ),
    Misconception(
        "what is right already counts for little: at a centre the factor is (1 − p)^α, yours is "
        "p^α",
        _loss(centre=lambda p, q, y, a, b: p**a),
    ),
    Misconception(
        "what is right already counts for little: elsewhere the factor is p^α, yours is (1 − p)^α",
        _loss(elsewhere=lambda p, q, y, a, b: (1 - y) ** b * q**a),
    ),
    Misconception(
        "the two focal factors are exchanged: (1 − p)^α at a centre, p^α elsewhere",
        _loss(lambda p, q, y, a, b: p**a, lambda p, q, y, a, b: (1 - y) ** b * q**a),
    ),
    Misconception(
        "the closer to a centre, the less a high score costs: the factor is (1 − y)^β, yours is "
        "y^β",
        _loss(elsewhere=lambda p, q, y, a, b: y**b * p**a),
    ),
    Misconception(
        "alpha and beta are exchanged: p has the exponent alpha, 1 − y the exponent beta",
        _loss(exponents=lambda a, b: (b, a)),
        _loss(
            elsewhere=lambda p, q, y, a, b: (1 - y) ** a * p**b,
        ),
    ),
    Misconception(
        "alpha and beta are those you are given; yours are always 2 and 4",
        _loss(exponents=lambda a, b: (2, 4)),
    ),
    Misconception(
        "1 − y has the exponent beta; yours has alpha",
        _loss(elsewhere=lambda p, q, y, a, b: (1 - y) ** a * p**a),
    ),
    Misconception(
        "alpha and beta are exponents; in yours they are factors",
        _loss(lambda p, q, y, a, b: a * q, lambda p, q, y, a, b: b * (1 - y) * a * p),
        _loss(lambda p, q, y, a, b: a * q, lambda p, q, y, a, b: b * (1 - y) * p),
        _loss(lambda p, q, y, a, b: a * q**2, lambda p, q, y, a, b: (1 - a) * (1 - y) ** b * p**2),
    ),
    Misconception(
        "this is the focal loss of RetinaNet, with a weight; here alpha is the exponent and no "
        "class has a weight",
        _loss(lambda p, q, y, a, b: 0.25 * q**2, lambda p, q, y, a, b: 0.75 * p**2),
        _loss(lambda p, q, y, a, b: 0.25 * q**2, lambda p, q, y, a, b: 0.75 * (1 - y) ** b * p**2),
    ),
    # Which locations.
    Misconception(
        "a centre is where y is exactly 1; all others, near or far, are asked for a no",
        _loss(is_centre=lambda y: y > 0),
        _loss(is_centre=lambda y: y >= 0.5),
        _loss(is_centre=lambda y: y > 0.5),
        _loss(is_centre=lambda y: y > 0.9),
    ),
    Misconception(
        "either the one term or the other: y is no weight of the first, it counts only where y "
        "is exactly 1",
        _soft,
    ),
    Misconception(
        "all other locations, too, have a loss: they are asked for a no; yours are centres alone",
        _loss(elsewhere=lambda p, q, y, a, b: 0 * p),
    ),
    Misconception(
        "the centres have a loss, too: they are asked for a yes; yours are the others alone",
        _loss(centre=lambda p, q, y, a, b: 0 * p),
    ),
    Misconception(
        "where y lies between 0 and 1 there is a loss, too, only a smaller one; yours is 0 there",
        _loss(elsewhere=lambda p, q, y, a, b: (y == 0) * p**a),
    ),
    Misconception(
        "elsewhere log(1 − p) alone counts; yours is the cross-entropy with y, which holds a part "
        "of log p",
        _soft_cross_entropy,
    ),
    # The logarithms.
    Misconception(
        "the logarithms are negative, the loss is not: the minus is missing",
        _loss(finish=lambda loss, y: -loss.sum()),
        lambda *args: -_plain_logs()(*args),
    ),
    Misconception(
        "both terms have a minus; in yours one of the two has none",
        _loss(elsewhere=lambda p, q, y, a, b: -((1 - y) ** b) * p**a),
        _loss(centre=lambda p, q, y, a, b: -(q**a)),
    ),
    Misconception(
        "log(1 − p) is F.logsigmoid(−x), of the logit with the other sign; yours takes 1 − x",
        _loss(logs=lambda x: (F.logsigmoid(x), F.logsigmoid(1 - x))),
    ),
    Misconception(
        "the two logarithms are exchanged: log p at a centre, log(1 − p) elsewhere",
        _loss(logs=lambda x: (F.logsigmoid(-x), F.logsigmoid(x))),
    ),
    Misconception(
        "first 1 − …, then the power: (1 − p)^α and (1 − y)^β need their parentheses in the code",
        _loss(centre=lambda p, q, y, a, b: 1 - p**a),
        _loss(elsewhere=lambda p, q, y, a, b: (1 - y**b) * p**a),
        _loss(lambda p, q, y, a, b: 1 - p**a, lambda p, q, y, a, b: (1 - y**b) * p**a),
    ),
    Misconception(
        "elsewhere it is log(1 − p), not log p",
        _loss(logs=lambda x: (F.logsigmoid(x), F.logsigmoid(x))),
    ),
    Misconception(
        "p rounds to 0 or 1, and the logarithm of 0 is −∞: take log p and log(1 − p) from the "
        "logits, F.logsigmoid(x) and F.logsigmoid(−x)",
        _plain_logs(),
        _by_masks,
        _loss(logs=_logs_of(torch.sigmoid)),
        lambda *args: _plain_logs(finish=lambda loss: loss.nan_to_num(posinf=0).sum())(*args),
        lambda *args: _plain_logs(finish=lambda loss: loss.nan_to_num().sum())(*args),
    ),
    Misconception(
        "nothing is clamped: where p is, a wrong score of great certainty costs too little and has "
        "no gradient; take the logarithms from the logits, F.logsigmoid(x) and F.logsigmoid(−x)",
        *(_plain_logs(clamp=bound) for bound in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)),
    ),
    Misconception(
        "nothing is added to p: take the logarithms from the logits, F.logsigmoid(x) and "
        "F.logsigmoid(−x), which no certainty makes infinite",
        *(_plain_logs(added=10.0**-digits) for digits in range(3, 17)),
    ),
    Misconception(
        "the logits are not probabilities yet: p = sigmoid(logit)",
        _loss(
            squash=lambda x: x,
            logs=lambda x: (x.log(), (1 - x).log()),
            centre=lambda p, q, y, a, b: (1 - p) ** a,
        ),
    ),
    Misconception(
        "F.logsigmoid does the sigmoid itself, so it takes the logits; yours does it twice",
        _loss(logs=lambda x: (F.logsigmoid(x.sigmoid()), F.logsigmoid(-x.sigmoid()))),
        _loss(
            logs=lambda x: (F.logsigmoid(x.sigmoid()), F.logsigmoid(-x.sigmoid())),
            squash=lambda x: x.sigmoid().sigmoid(),
        ),
    ),
    # The result.
    Misconception(
        "the loss is the sum over all locations; yours is the mean",
        _loss(finish=lambda loss, y: loss.mean()),
    ),
    Misconception(
        "the loss is one sum over all locations; yours is the sum over the centres and the mean "
        "over the others",
        _loss(finish=_mean_of_the_others),
    ),
    Misconception(
        "the loss is the sum; whoever calls it divides by the number of objects",
        _loss(finish=_per_centre),
        _loss(finish=lambda loss, y: loss.sum() / (y == 1).sum()),
    ),
    Misconception(
        "return the sum over all locations, one number; yours is the loss of each",
        _loss(finish=_one_location),
    ),
    Misconception(
        "return the sum over all dimensions, one number; yours is a sum for each image",
        _loss(finish=lambda loss, y: loss.flatten(1).sum(dim=1) if loss.ndim > 1 else loss.sum()),
    ),
    Misconception(
        "the focal factor has a gradient as well; yours is detached",
        _loss(_without_gradient, lambda p, q, y, a, b: (1 - y) ** b * p.detach() ** a),
    ),
)

HEATMAP_FOCAL_LOSS = Exercise(
    number="1.3",
    name="heatmap_focal_loss",
    reference=heatmap_focal_loss,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the loss",),
    counted="locations",
)
