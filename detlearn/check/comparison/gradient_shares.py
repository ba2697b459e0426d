"""Exercise 7.5: how much each term of a loss pulls at the weights that all terms share."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.results.gradients import gradient_shares

Function = Callable[[Tensor], tuple[Tensor, Tensor]]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    def drawn(terms: int, weights: int) -> Tensor:
        """Draw rows of very different lengths, some of which pull much the same way."""
        common = torch.randn(1, weights, generator=random)
        own = torch.randn(terms, weights, generator=random)
        scale = 10 ** (2 * torch.rand(terms, 1, generator=random) - 1)
        return scale * (own + common * torch.rand(terms, 1, generator=random))

    many = [
        Case("random", (drawn(t, p),), f"{t} terms, {p} weights")
        for t, p in ((2, 5), (3, 40), (4, 3), (8, 100), (5, 2))
    ]
    some = drawn(4, 30)
    properties = [
        Case("property", (some.flip(0),), "the terms in another order"),
        Case("property", (some.flip(1),), "the weights in another order"),
        Case("property", (100 * some,), "a loss a hundred times as large"),
        Case("property", (-some,), "the same, the other way"),
        Case("property", (1e-4 * some,), "small gradients"),
    ]
    return [*_by_hand(), *_degenerate(), *many, *properties]


def _by_hand() -> list[Case]:
    def of(
        rows: list[list[float]], shares: list[float], cosines: list[list[float]], note: str
    ) -> Case:
        wanted = (torch.tensor(shares), torch.tensor(cosines))
        return Case("by hand", (torch.tensor(rows),), note, wanted)

    return [
        # Lengths 5 and 15; 3 · 0 + 4 · (−15) = −60 of 75.
        of(
            [[3.0, 4.0], [0.0, -15.0]],
            [0.25, 0.75],
            [[1.0, -0.8], [-0.8, 1.0]],
            "two terms, which pull against each other",
        ),
        # Lengths 2, 2 and 4: at right angles, and the third like the first.
        of(
            [[2.0, 0.0, 0.0], [0.0, 0.0, 2.0], [4.0, 0.0, 0.0]],
            [0.25, 0.25, 0.5],
            [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]],
            "three terms, two of them one way",
        ),
        of(
            [[6.0, 8.0], [0.0, 0.0]],
            [1.0, 0.0],
            [[1.0, 0.0], [0.0, 0.0]],
            "a term that does not reach these weights",
        ),
    ]


def _degenerate() -> list[Case]:
    return [
        Case("degenerate", (torch.tensor([[1.0, -2.0, 2.0]]),), "a single term"),
        Case("degenerate", (torch.tensor([[2.0], [-6.0]]),), "a single weight"),
        Case("degenerate", (torch.zeros(3, 4),), "no term reaches these weights"),
    ]


# ---- wrong answers ----


def _shares_of(size: Callable[[Tensor], Tensor]) -> Function:
    """Return the answer with another size of a row in place of its length."""

    def function(gradients: Tensor) -> tuple[Tensor, Tensor]:
        sizes = size(gradients)
        total = sizes.sum()
        shares = sizes / torch.where(total != 0, total, 1.0)
        return shares, gradient_shares(gradients)[1]

    return function


def _with_cosines(
    change: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Function:
    """Return the answer with something done to the cosines.

    Args:
        change: (cosines, lengths, gradients) → what is returned in their place.
    """

    def function(gradients: Tensor) -> tuple[Tensor, Tensor]:
        shares, cosines = gradient_shares(gradients)
        return shares, change(cosines, gradients.norm(dim=1), gradients)

    return function


def _undefined(gradients: Tensor) -> tuple[Tensor, Tensor]:
    lengths = gradients.norm(dim=1)
    directions = gradients / lengths[:, None]
    return lengths / lengths.sum(), directions @ directions.T


def _undefined_cosines(gradients: Tensor) -> tuple[Tensor, Tensor]:
    directions = gradients / gradients.norm(dim=1, keepdim=True)
    return gradient_shares(gradients)[0], directions @ directions.T


def _undefined_shares(gradients: Tensor) -> tuple[Tensor, Tensor]:
    lengths = gradients.norm(dim=1)
    return lengths / lengths.sum(), gradient_shares(gradients)[1]


def _of_the_sum(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Divided by the length of the whole gradient: what pulls both ways counts less there."""
    lengths = gradients.norm(dim=1)
    whole = gradients.sum(dim=0).norm()
    return lengths / torch.where(whole > 0, whole, 1.0), gradient_shares(gradients)[1]


def _of_the_largest(gradients: Tensor) -> tuple[Tensor, Tensor]:
    lengths = gradients.norm(dim=1)
    largest = lengths.amax()
    return lengths / torch.where(largest > 0, largest, 1.0), gradient_shares(gradients)[1]


def _columns(gradients: Tensor) -> tuple[Tensor, Tensor]:
    return gradient_shares(gradients.T)


def _ones_on_the_diagonal(cosines: Tensor, lengths: Tensor, gradients: Tensor) -> Tensor:
    return cosines.masked_fill(torch.eye(len(cosines), dtype=torch.bool), 1.0)


MISCONCEPTIONS = (
    Misconception(
        "the length is the root of the sum of the squares; the root is missing",
        _shares_of(lambda g: g.square().sum(dim=1)),
    ),
    Misconception(
        "the length is the root of the sum of the squares; yours adds up the absolute values",
        _shares_of(lambda g: g.abs().sum(dim=1)),
        _shares_of(lambda g: g.abs().mean(dim=1)),
    ),
    Misconception(
        "the length counts all weights of a row, not the largest alone",
        _shares_of(lambda g: g.abs().amax(dim=1)),
    ),
    Misconception(
        "a sum of gradients lets what points both ways cancel: take lengths",
        _shares_of(lambda g: g.sum(dim=1)),
        _shares_of(lambda g: g.sum(dim=1).abs()),
    ),
    Misconception(
        "divide by the sum of the lengths; yours divides by the length of the whole gradient, in "
        "which terms may cancel",
        _of_the_sum,
    ),
    Misconception(
        "shares are wanted: divided by the sum of all; these are the lengths",
        lambda g: (g.norm(dim=1), gradient_shares(g)[1]),
    ),
    Misconception(
        "a share is a quotient of lengths; no softmax",
        lambda g: (g.norm(dim=1).softmax(dim=0), gradient_shares(g)[1]),
    ),
    Misconception(
        "relative to the sum, so that shares add up to 1; yours is relative to the largest",
        _of_the_largest,
    ),
    Misconception(
        "0 divided by 0: a row of zeros has no direction, its cosines are to be 0; and if all are "
        "0, so are the shares",
        _undefined,
    ),
    Misconception(
        "0 divided by 0: a row of zeros has no direction, its cosines are to be 0",
        _undefined_cosines,
    ),
    Misconception(
        "0 divided by 0: if no term reaches the weights, all shares are 0",
        _undefined_shares,
    ),
    Misconception(
        "a row of zeros has no direction, so its cosine with itself is 0, too, as the stub says",
        _with_cosines(_ones_on_the_diagonal),
    ),
    Misconception(
        "cosines: the products of the rows, divided by both lengths; yours are not divided",
        _with_cosines(lambda cosines, lengths, g: g @ g.T),
    ),
    Misconception(
        "divide by the lengths of both rows; yours divides by one",
        _with_cosines(lambda cosines, lengths, g: cosines * lengths[:, None]),
        _with_cosines(lambda cosines, lengths, g: cosines * lengths),
    ),
    Misconception(
        "a cosine below 0 says that two terms pull against each other; yours has lost the sign",
        _with_cosines(lambda cosines, lengths, g: cosines.abs()),
        _with_cosines(lambda cosines, lengths, g: cosines.clamp(min=0)),
        _with_cosines(lambda cosines, lengths, g: cosines.square()),
    ),
    Misconception(
        "cosines are asked for; yours are angles",
        _with_cosines(lambda cosines, lengths, g: cosines.clamp(-1, 1).acos()),
        _with_cosines(lambda cosines, lengths, g: cosines.clamp(-1, 1).acos() * 180 / math.pi),
    ),
    Misconception(
        "these are correlations: no mean is taken off before",
        _with_cosines(
            lambda cosines, lengths, g: gradient_shares(g - g.mean(dim=1, keepdim=True))[1]
        ),
    ),
    Misconception(
        "a row is a term: the answers have T numbers and (T, T), yours are about the weights",
        _columns,
    ),
    Misconception(
        "the cosines of all pairs are wanted, (T, T); yours are those with the first term",
        _with_cosines(lambda cosines, lengths, g: cosines[0]),
    ),
    Misconception(
        "shares first, then cosines",
        lambda g: gradient_shares(g)[::-1],
    ),
)

GRADIENT_SHARES = Exercise(
    number="7.5",
    name="gradient_shares",
    reference=gradient_shares,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("shares", "cosines"),
    counted="terms",
)
