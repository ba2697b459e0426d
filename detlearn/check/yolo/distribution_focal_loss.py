"""Exercise 3.6: the loss of a distribution over bins."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.diagnosis import Asked
from detlearn.losses import distribution_focal_loss

Function = Callable[[Tensor, Tensor], Tensor]

# Probabilities of four bins, far enough from each other to be told apart.
FOUR = (0.1, 0.2, 0.3, 0.4)
TWO = (0.25, 0.75)

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    sides = _random((5, 4), 16, random)
    row = _random((12,), 8, random)
    order = torch.randperm(12, generator=random)

    values = [
        Case("random", row, "12 distributions over 8 bins"),
        Case("random", sides, "the four sides of 5 boxes, over 16 bins"),
        Case("random", _random((2, 3, 4), 6, random), "targets of shape (2, 3, 4), over 6 bins"),
    ]

    properties = [
        Case("property", tuple(v[order] for v in row), "the distributions in another order"),
        Case("property", (row[0] + 50, row[1]), "the same with 50 added to each logit"),
    ]

    growing = [
        Case("no loop", _random((n,), 16, random), f"{n} distributions", size=n) for n in (8, 64)
    ]

    return [
        *_by_hand(),
        *_beyond_the_bins(),
        *_degenerate(),
        *values,
        *properties,
        Case("gradient", sides, "the four sides of 5 boxes, over 16 bins", gradient=True),
        *growing,
    ]


def _random(shape: tuple[int, ...], bins: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return logits and targets, of which some lie below 0 and some beyond the last bin."""
    logits = 2 * torch.randn(*shape, bins, generator=random)
    return logits, (bins + 3) * torch.rand(*shape, generator=random) - 1.5


def _case(note: str, probabilities: tuple[float, ...], target: float, answer: str) -> Case:
    """Make a case of one distribution.

    Args:
        note: what is special about it.
        probabilities: of the bins; their logarithms are logits.
        target: distance in bins.
        answer: shares of bins, as in "0.7 of 2, 0.3 of 3".
    """
    p = torch.tensor(probabilities, dtype=torch.float64)
    pairs = [part.split(" of ") for part in answer.split(", ")]
    loss = -sum(float(share) * p[int(bin_)].log() for share, bin_ in pairs)
    args = (p.log().float()[None], torch.tensor([target]))
    return Case("by hand", args, note, loss.float()[None])


def _by_hand() -> list[Case]:
    even = (1 / 16,) * 16
    sure = (0.001, 0.001, 0.697, 0.299, 0.001, 0.001)
    return [
        _case("a target of 1.25 between the bins 1 and 2", FOUR, 1.25, "0.75 of 1, 0.25 of 2"),
        _case("a target of 2.75 between the bins 2 and 3", FOUR, 2.75, "0.25 of 2, 0.75 of 3"),
        _case("a target of 0.5 between the bins 0 and 1", FOUR, 0.5, "0.5 of 0, 0.5 of 1"),
        _case("a target of exactly 2", FOUR, 2.0, "1 of 2"),
        _case("a target of exactly 0", FOUR, 0.0, "1 of 0"),
        _case("16 bins that are all alike", even, 6.75, "0.25 of 6, 0.75 of 7"),
        _case("a target of 2.3 and nearly the best answer", sure, 2.3, "0.7 of 2, 0.3 of 3"),
    ]


def _beyond_the_bins() -> list[Case]:
    last = "0.01 of 2, 0.99 of 3"
    return [
        _case("a target of 9 beyond the last of 4 bins", FOUR, 9.0, last),
        _case("a target of exactly the last of 4 bins, 3", FOUR, 3.0, last),
        _case("a target of 2.995, just before the last of 4 bins", FOUR, 2.995, last),
        _case(
            "a target of 0.997, just before the last of 2 bins", TWO, 0.997, "0.01 of 0, 0.99 of 1"
        ),
        _case("a target of −2 below the first bin", FOUR, -2.0, "1 of 0"),
        _case("a target of −0.25 below the first bin", FOUR, -0.25, "1 of 0"),
        _case("a target of −0.5 below the first of 2 bins", TWO, -0.5, "1 of 0"),
    ]


def _degenerate() -> list[Case]:
    # Logits so large that the logarithm of a softmax would be −∞.
    wrong = torch.zeros(2, 4)
    wrong[:, 0] = 200.0
    certain = [
        Case(
            "degenerate",
            (wrong, torch.tensor([1.5, 2.0])),
            "logits that are wrong with great certainty, 200 and 0",
            torch.tensor([200.0, 200.0]),
        ),
        Case(
            "degenerate",
            (-wrong, torch.tensor([0.0, 0.5])),
            "a bin with a logit of −200 that should have been taken",
        ),
    ]

    # Shapes other than that of the chapter's boxes.
    shapes = [
        Case("degenerate", (torch.zeros(0, 4, 16), torch.zeros(0, 4)), "no boxes at all"),
        Case("degenerate", (torch.tensor([0.0, 1.0, 2.0]), torch.tensor(0.5)), "a single side"),
        Case("degenerate", (torch.tensor([[0.5, 2.0]]), torch.tensor([0.25])), "two bins"),
    ]

    return [*certain, *shapes]


# ---- wrong answers ----


def _clamped(y: Tensor, bins: int) -> Tensor:
    return y.clamp(0, bins - 1.01)


def _loss(
    clamp: Callable[[Tensor, int], Tensor] = _clamped,
    logs: Callable[[Tensor], Tensor] = lambda x: x.log_softmax(dim=-1),
    left: Callable[[Tensor], Tensor] = torch.floor,
    shares: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda y, j: (j + 1 - y, y - j),
    join: Callable[..., Tensor] = lambda a, b, log_a, log_b: -a * log_a - b * log_b,
    finish: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda loss, x, y: loss,
) -> Function:
    """Return the loss with something changed.

    Args:
        clamp: the target and the number of bins to the target as it is used.
        logs: logits to logarithms of probabilities.
        left: the target to the left of the two bins.
        shares: how much of the target each of the two bins has.
        join: shares and logarithms of the two bins to the loss.
        finish: the loss, logits and clamped targets to what is returned.
    """

    def function(logits: Tensor, targets: Tensor) -> Tensor:
        y = clamp(targets, logits.shape[-1])
        j = left(y)
        log_p = logs(logits)
        index = j.long()[..., None]
        at_left = log_p.gather(-1, index)[..., 0]
        at_right = log_p.gather(-1, index + 1)[..., 0]
        return finish(join(*shares(y, j), at_left, at_right), logits, y)

    return function


def _one_bin(which: Callable[[Tensor], Tensor]) -> Function:
    """Return the cross-entropy with one bin alone."""

    def function(logits: Tensor, targets: Tensor) -> Tensor:
        index = which(_clamped(targets, logits.shape[-1])).long()
        return -logits.log_softmax(dim=-1).gather(-1, index[..., None])[..., 0]

    return function


def _mean(logits: Tensor) -> Tensor:
    return logits.softmax(dim=-1) @ torch.arange(logits.shape[-1], dtype=logits.dtype)


def _of_the_mean(compare: Callable[[Tensor, Tensor], Tensor]) -> Function:
    """Return a loss that looks at the distribution's mean only."""

    def function(logits: Tensor, targets: Tensor) -> Tensor:
        return compare(_mean(logits), _clamped(targets, logits.shape[-1]))

    return function


def _two_hot(logits: Tensor, targets: Tensor) -> Tensor:
    y = _clamped(targets, logits.shape[-1])[..., None]
    return (1 - (torch.arange(logits.shape[-1]) - y).abs()).clamp(min=0)


def _sigmoids(logits: Tensor, targets: Tensor) -> Tensor:
    wanted = _two_hot(logits, targets)
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(dim=-1)


def _over_bins(logits: Tensor, targets: Tensor) -> Tensor:
    return -(_two_hot(logits, targets) * logits.log_softmax(dim=-1)).mean(dim=-1)


def _divergence(logits: Tensor, targets: Tensor) -> Tensor:
    wanted = _two_hot(logits, targets)
    entropy = -torch.special.xlogy(wanted, wanted).sum(dim=-1)
    return distribution_focal_loss(logits, targets) - entropy


def _kept_inside(most: Callable[[int], float]) -> Function:
    """Return the loss with targets up to another bound, and the left bin kept before the last."""

    def function(logits: Tensor, targets: Tensor) -> Tensor:
        bins = logits.shape[-1]
        changed = _loss(
            clamp=lambda y, n: y.clamp(0, most(n)),
            left=lambda y: y.floor().clamp(max=bins - 2),
        )
        return changed(logits, targets)

    return function


def _right_bin_kept_inside(logits: Tensor, targets: Tensor) -> Tensor:
    """Clamp the index of the right bin instead of the target."""
    bins = logits.shape[-1]
    y = targets.clamp(0, bins - 1)
    j = y.floor()
    log_p = logits.log_softmax(dim=-1)
    at_left = log_p.gather(-1, j.long()[..., None])[..., 0]
    at_right = log_p.gather(-1, (j.long() + 1).clamp(max=bins - 1)[..., None])[..., 0]
    return -(j + 1 - y) * at_left - (y - j) * at_right


def _tent(clamp: Callable[[Tensor, int], Tensor]) -> Function:
    """Return the loss with shares 1 − |i − y| of all bins, which need no bin to the right."""

    def function(logits: Tensor, targets: Tensor) -> Tensor:
        y = clamp(targets, logits.shape[-1])[..., None]
        shares = (1 - (torch.arange(logits.shape[-1]) - y).abs()).clamp(min=0)
        return -(shares * logits.log_softmax(dim=-1)).sum(dim=-1)

    return function


def _counted_from_the_end(logits: Tensor, targets: Tensor) -> Tensor:
    """Index as lists do: bin −1 is the last."""
    bins = logits.shape[-1]
    y = targets.clamp(max=bins - 1.01)
    j = y.floor()
    log_p = logits.log_softmax(dim=-1)
    at_left = log_p.gather(-1, (j.long() % bins)[..., None])[..., 0]
    at_right = log_p.gather(-1, ((j.long() + 1) % bins)[..., None])[..., 0]
    return -(j + 1 - y) * at_left - (y - j) * at_right


NO_BIN_TO_THE_RIGHT = (
    "a target beyond the last bin has no bin to its right: clamp it to R − 1.01 first"
)
BELOW_COUNTS_AS_0 = "a target below 0 counts as 0: clamp it on both sides"

MISCONCEPTIONS = (
    # The two bins and their shares.
    Misconception(
        "the two shares are exchanged: the nearer y is to a bin, the more that bin gets, so the "
        "left one gets j + 1 − y",
        _loss(shares=lambda y, j: (y - j, j + 1 - y)),
    ),
    Misconception(
        "y lies between two bins, and both are to be learnt; yours learns the nearest one alone",
        _one_bin(torch.round),
        _one_bin(lambda y: (y + 0.5).floor()),
    ),
    Misconception(
        "y lies between two bins, and both are to be learnt; yours learns the left one alone",
        _one_bin(torch.floor),
    ),
    Misconception(
        "the left bin learns with the share j + 1 − y, and the right one with y − j; the right "
        "one is missing",
        _loss(join=lambda a, b, log_a, log_b: -a * log_a),
    ),
    Misconception(
        "the shares are missing: the left bin gets j + 1 − y and the right one y − j; both get 1",
        _loss(shares=lambda y, j: (torch.ones_like(y), torch.ones_like(y))),
    ),
    Misconception(
        "both bins get a half; the left one gets j + 1 − y and the right one y − j",
        _loss(shares=lambda y, j: (torch.full_like(y, 0.5), torch.full_like(y, 0.5))),
    ),
    Misconception(
        "bin i stands for the distance i, so the left bin is ⌊y⌋; yours is one further left",
        _loss(
            left=lambda y: (y.floor() - 1).clamp(min=0),
            shares=lambda y, j: (y.floor() + 1 - y, y - y.floor()),
        ),
    ),
    # Beyond the bins.
    Misconception(
        NO_BIN_TO_THE_RIGHT,
        _loss(clamp=lambda y, bins: y.clamp(min=0)),
        _loss(clamp=lambda y, bins: y.clamp(0, bins - 1)),
        _loss(clamp=lambda y, bins: y.clamp(0, bins)),
    ),
    Misconception(
        "targets are clamped to R − 1.01, so the last bin gets at most 0.99; yours go up to R − 1",
        _kept_inside(lambda bins: bins - 1),
        _right_bin_kept_inside,
    ),
    Misconception(
        "targets are clamped to R − 1.01; yours stop at R − 2, so that the last bin is hardly "
        "ever learnt",
        _loss(clamp=lambda y, bins: y.clamp(0, bins - 2)),
        _loss(clamp=lambda y, bins: y.clamp(0, bins - 2 - 0.01)),
        _loss(clamp=lambda y, bins: y.clamp(0, bins - 2.001)),
    ),
    Misconception(
        BELOW_COUNTS_AS_0,
        _loss(clamp=lambda y, bins: y.clamp(max=bins - 1.01), left=torch.trunc),
        _tent(lambda y, bins: y.clamp(max=bins - 1.01)),
        _counted_from_the_end,
    ),
    Misconception(
        "targets below 0 count as 0 and those beyond the last bin as R − 1.01; yours learn "
        "nothing there: clamp first",
        _tent(lambda y, bins: y),
    ),
    Misconception(
        "a target beyond the last bin counts as R − 1.01; yours learns nothing there: clamp first",
        _tent(lambda y, bins: y.clamp(min=0)),
    ),
    Misconception(
        "a target below 0 counts as 0; yours turns its sign round",
        _loss(clamp=lambda y, bins: y.abs().clamp(max=bins - 1.01)),
    ),
    Misconception(
        "the number of bins is logits.shape[-1]; yours is always 16",
        _loss(clamp=lambda y, bins: y.clamp(0, 14.99)),
        _loss(clamp=lambda y, bins: y.clamp(0, 15 - 0.01)),
    ),
    # The logarithms.
    Misconception(
        "p rounds to 0 where the network is sure of another bin, and the logarithm of 0 is −∞: "
        "take log_softmax",
        _loss(logs=lambda x: x.softmax(dim=-1).log()),
        _loss(logs=lambda x: x.exp().log() - x.exp().sum(dim=-1, keepdim=True).log()),
        _loss(logs=lambda x: (x.exp() / x.exp().sum(dim=-1, keepdim=True)).log()),
    ),
    Misconception(
        "nothing is added to p: where p is small the loss and its gradient would be too small; "
        "take log_softmax",
        *(_loss(logs=lambda x, e=10.0**-n: (x.softmax(-1) + e).log()) for n in range(3, 13)),
        *(_loss(logs=lambda x, e=10.0**-n: x.softmax(-1).clamp(min=e).log()) for n in range(3, 13)),
    ),
    Misconception(
        "F.cross_entropy and log_softmax take logits; yours does the softmax twice",
        _loss(logs=lambda x: x.softmax(dim=-1).log_softmax(dim=-1)),
    ),
    Misconception(
        "these are the logits, not the logarithms of probabilities: log_softmax is missing",
        _loss(logs=lambda x: x),
    ),
    Misconception(
        "these are probabilities; the loss takes their logarithms",
        _loss(logs=lambda x: x.softmax(dim=-1)),
    ),
    Misconception(
        "the softmax runs over the bins, the last dimension; yours runs over another",
        _loss(logs=lambda x: x.log_softmax(dim=0)),
        _loss(logs=lambda x: x.log_softmax(dim=max(x.ndim - 2, 0))),
    ),
    Misconception(
        "the R bins share one probability: a softmax, not a sigmoid for each bin",
        _loss(logs=F.logsigmoid),
        _sigmoids,
    ),
    Misconception(
        "each bin has its own logarithm: the shares stand before log p; in yours they weigh the "
        "probabilities within one logarithm",
        _loss(join=lambda a, b, log_a, log_b: -(a * log_a.exp() + b * log_b.exp()).log()),
        _loss(join=lambda a, b, log_a, log_b: -torch.logaddexp(a.log() + log_a, b.log() + log_b)),
    ),
    Misconception(
        "logarithms of probabilities are negative, the loss is not: the minus is missing",
        _loss(finish=lambda loss, x, y: -loss),
    ),
    Misconception(
        "both terms have a minus; in yours the second has none",
        _loss(join=lambda a, b, log_a, log_b: -a * log_a + b * log_b),
    ),
    # Another loss.
    Misconception(
        "this compares the mean of the distribution with y, which many distributions have; the "
        "cross-entropy with the two bins is asked for",
        _of_the_mean(lambda mean, y: (mean - y).abs()),
        _of_the_mean(lambda mean, y: (mean - y).square()),
        _of_the_mean(lambda mean, y: F.smooth_l1_loss(mean, y, reduction="none")),
    ),
    Misconception(
        "the cross-entropy alone is asked for, which is not 0 for the best answer; yours takes "
        "the target's own entropy away",
        _divergence,
    ),
    Misconception(
        "in spite of its name it has no focal factor; yours weighs the cross-entropy with an error",
        _loss(finish=lambda loss, x, y: (_mean(x) - y).square() * loss),
        _loss(finish=lambda loss, x, y: (_mean(x) - y).abs() * loss),
        _loss(
            join=lambda a, b, log_a, log_b: (
                -a * (1 - log_a.exp()) ** 2 * log_a - b * (1 - log_b.exp()) ** 2 * log_b
            )
        ),
    ),
    # The result.
    Misconception(
        "the two terms are added up; yours is divided by the number of bins",
        _over_bins,
    ),
    Misconception(
        "the two terms are added up; yours is their mean",
        _loss(finish=lambda loss, x, y: loss / 2),
    ),
    Misconception(
        "return one loss a distribution, (...); yours is the mean of all",
        _loss(finish=lambda loss, x, y: loss.mean()),
    ),
    Misconception(
        "return one loss a distribution, (...); yours is the sum of all",
        _loss(finish=lambda loss, x, y: loss.sum()),
    ),
    Misconception(
        "return one loss a distribution, (...); yours is one for each box",
        _loss(finish=lambda loss, x, y: loss.mean(dim=-1)),
        _loss(finish=lambda loss, x, y: loss.sum(dim=-1)),
        _loss(finish=lambda loss, x, y: loss.mean(dim=-1, keepdim=True)),
    ),
    Misconception(
        "return (...), without the dimension of the bins; yours has it still, with length 1",
        _loss(finish=lambda loss, x, y: loss[..., None]),
    ),
)

# ---- what else can be said ----


def _clue(asked: Asked) -> str:
    """Say where the bins end, if the function looks for one beyond them."""
    beyond = below = inside = False
    for case, answer in zip(asked.cases, asked.answers):
        if answer.trouble is None or "out of bounds" not in answer.trouble.message:
            continue
        logits, targets = case.args
        too_low = bool((targets < 0).any())
        too_high = bool((targets > logits.shape[-1] - 1.01).any())
        beyond |= too_high and not too_low
        below |= too_low and not too_high
        inside |= not too_low and not too_high

    if inside:
        return (
            "the bins around y are ⌊y⌋, rounded down, and the next one; for a y within the bins "
            "yours looks for one beyond them"
        )
    if beyond and below:
        return "there are bins for 0 … R − 1 only: clamp the targets to [0, R − 1.01] first"
    if beyond:
        return NO_BIN_TO_THE_RIGHT
    return BELOW_COUNTS_AS_0 if below else ""


# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the target and the probabilities of the distribution that is wrong."""
    logits, targets = case.args
    if not targets.numel() or len(found.index) != targets.ndim:
        return ""

    at = found.index
    where = f"[{', '.join(map(str, at))}]" if at else ""
    p = [round(float(x), 4) for x in logits[at].softmax(dim=-1)]
    return (
        f"logits{where} = {written(logits[at])}, targets{where} = {float(targets[at]):.4g}, "
        f"their softmax {written(p)}"
    )


DISTRIBUTION_FOCAL_LOSS = Exercise(
    number="3.6",
    name="distribution_focal_loss",
    reference=distribution_focal_loss,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the loss",),
    narrow=_show,
    clue=_clue,
    counted="distributions",
)
