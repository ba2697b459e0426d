"""Exercise 5.2: one step of attention, with positions in the right places."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.nets.transformer import attention_step, split_heads

Function = Callable[..., Any]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    some = _random(2, 3, 5, 4, random)
    padding = torch.tensor([[0, 0, 0, 0, 0], [0, 1, 0, 1, 1]], dtype=torch.bool)
    other = _random(1, 4, 6, 6, random)
    same = _random(2, 4, 4, 4, random)
    order = torch.tensor([3, 0, 4, 1, 2])

    values = [
        Case("random", (*some, 2, None), "3 queries, a memory of 5, two heads"),
        Case("random", (*some, 2, padding), "padding in the second image"),
        Case("random", (*some, 1, padding), "a single head"),
        Case("random", (*other, 3, None), "6 channels and three heads"),
        Case("random", (*other, 6, None), "6 channels and six heads"),
        Case("random", (*same, 2, None), "as many queries as places in the memory"),
    ]

    queries, places, memory, positions, *weights = some
    moved = (queries, places, memory[:, order], positions[:, order], *weights)
    properties = [
        Case("property", (*moved, 2, padding[:, order]), "the memory in another order"),
        Case(
            "property",
            (places, queries, memory, positions, *weights, 2, None),
            "what queries are and where they stand exchanged, which changes nothing",
        ),
    ]

    gradients = [
        Case("gradient", (*some, 2, padding), "padding", gradient=True),
        Case("gradient", (*other, 3, None), "three heads", gradient=True, differentiated=(0, 2)),
        Case("gradient", (*same, 2, None), "two heads", gradient=True, differentiated=(0, 3)),
    ]

    growing = []
    for n in (4, 60):
        growing.append(
            Case("no loop", (*_random(1, n, 3, 4, random), 2, None), f"{n} queries", size=n)
        )
    return [*_by_hand(), *_degenerate(some, padding), *values, *properties, *gradients, *growing]


def _random(
    batch: int, queries: int, length: int, channels: int, random: torch.Generator
) -> tuple[Tensor, ...]:
    """Return what comes before the number of heads."""
    shapes = [(batch, queries, channels)] * 2 + [(batch, length, channels)] * 2
    tokens = [torch.randn(shape, generator=random) for shape in shapes]
    weight = torch.randn(3 * channels, channels, generator=random) / channels**0.5
    bias = 0.5 * torch.randn(3 * channels, generator=random)
    return (*tokens, weight, bias)


def _by_hand() -> list[Case]:
    ln3 = math.log(3)
    eye = torch.eye(2)

    def of(
        queries: list[float],
        query_positions: list[float],
        positions: list[list[float]],
        wanted: tuple[list[list[float]], list[list[float]]],
        note: str,
        padding: list[bool] | None = None,
        q: Tensor = eye,
        k: Tensor = eye,
        bias: list[float] | None = None,
        heads: int = 2,
    ) -> Case:
        """Ask one query of two channels about a memory of two places, (8, 0) and (0, 4)."""
        weights = torch.tensor(wanted[1]).view(1, heads, 1, 2)
        args = (
            torch.tensor(queries).view(1, 1, 2),
            torch.tensor(query_positions).view(1, 1, 2),
            torch.tensor([[8.0, 0], [0, 4]])[None],
            torch.tensor(positions)[None],
            torch.cat((q, k, eye)),
            torch.tensor([0.0] * 6 if bias is None else bias),
            heads,
            None if padding is None else torch.tensor([padding]),
        )
        answer = (torch.tensor(wanted[0]).view(1, 1, 2), weights)
        return Case("by hand", args, note, answer)

    zeros = [[0.0, 0], [0, 0]]
    # What the memory is plays no part where W_k is 0, or where its positions take it away.
    away = [[-8.0, 0], [0, -4]]
    return [
        of(
            [0.0, 0],
            [0.0, 0],
            zeros,
            ([[4.0, 2]], [[0.5, 0.5], [0.5, 0.5]]),
            "a query of zeros, which hears all alike",
        ),
        # Keys (1, 0) and (0, 1); scores of head 0: ln 3 and 0.
        of(
            [0.0, 0],
            [ln3, 0],
            [[-7.0, 0], [0, -3]],
            ([[6.0, 2]], [[0.75, 0.25], [0.5, 0.5]]),
            "a query that is told apart by its position",
        ),
        of(
            [0.0, ln3],
            [0.0, 0],
            [[-7.0, 0], [0, -3]],
            ([[4.0, 3]], [[0.5, 0.5], [0.25, 0.75]]),
            "keys of which the position is a part",
        ),
        # One head of two channels: ln 9 / √2, made even by √2 in W_q.
        of(
            [0.0, 0],
            [2 * ln3, 0],
            [[-7.0, 0], [0, -4]],
            ([[7.2, 0.4]], [[0.9, 0.1]]),
            "a single head of two channels",
            q=2**0.5 * eye,
            heads=1,
        ),
        of(
            [ln3, 0],
            [0.0, 0],
            [[-7.0, 0], [0, -3]],
            ([[8.0, 0]], [[1.0, 0], [1, 0]]),
            "a memory whose second place is padding",
            padding=[False, True],
        ),
        # W_q takes the second channel to the first; the bias of the values is (1, 2).
        of(
            [0.0, ln3],
            [0.0, 0],
            [[-7.0, 0], [0, -4]],
            ([[7.0, 4]], [[0.75, 0.25], [0.5, 0.5]]),
            "projections that are not symmetric, and a bias",
            q=torch.tensor([[0.0, 1], [0, 0]]),
            bias=[0.0, 0, 0, 0, 1, 2],
        ),
        of(
            [1.0, 1],
            [1.0, 1],
            away,
            ([[4.0, 2]], [[0.5, 0.5], [0.5, 0.5]]),
            "keys of zeros",
        ),
    ]


def _degenerate(some: tuple[Tensor, ...], padding: Tensor) -> list[Case]:
    queries, places, memory, positions, weight, bias = some
    one = (queries, places, memory[:, :1], positions[:, :1], weight, bias)
    large = (120 * queries, places, 4 * memory, positions, weight, bias)
    nowhere = (queries, 0 * places, memory, 0 * positions, weight, bias)
    return [
        Case("degenerate", (*one, 2, None), "a memory of a single place"),
        Case("degenerate", (*nowhere, 2, None), "positions of zeros"),
        Case("degenerate", (*large, 2, padding), "scores of several hundred"),
        Case("degenerate", (*some, 2, padding & False), "padding that is nowhere true"),
        *_far_below(),
    ]


def _far_below() -> list[Case]:
    """Make cases in which the only place that is heard has a score far below 0."""
    eye = torch.eye(2)
    memory, positions = torch.tensor([[[8.0, 0], [0, 4]]]), torch.tensor([[[-7.0, 0], [0, -3]]])

    def of(query: list[float], padding: list[bool], values: list[float]) -> Case:
        queries = torch.tensor(query).view(1, 1, 2)
        args = (queries, 0 * queries, memory, positions, torch.cat((eye, eye, eye)), torch.zeros(6))
        heard = (~torch.tensor(padding)).float().expand(1, 2, 1, 2)
        return Case(
            "degenerate",
            (*args, 2, torch.tensor([padding])),
            "padding, and a score far below 0 for the other place",
            (torch.tensor(values).view(1, 1, 2), heard),
        )

    return [of([-400.0, 0], [False, True], [8, 0]), of([0.0, -300], [True, False], [0, 4])]


# ---- wrong answers ----


def _split(x: Tensor, heads: int) -> Tensor:
    """Bring (B, S, C) to (B, heads, S, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _scaled(scores: Tensor, channels: int, heads: int) -> Tensor:
    return scores / math.sqrt(channels / heads)


def _masked(scores: Tensor, padding: Tensor | None) -> Tensor:
    if padding is None:
        return scores
    return scores.masked_fill(padding[:, None, None], -math.inf)


def _softmax(scores: Tensor, padding: Tensor | None) -> Tensor:
    return _masked(scores, padding).softmax(dim=-1)


def _attended(
    inputs: Callable[..., tuple] = lambda x, px, m, pm: (x + px, m + pm, m),
    project: Callable[[Tensor, Tensor, Tensor], Tensor] = F.linear,
    order: tuple[int, int, int] = (0, 1, 2),
    split: Callable[[Tensor, int], Tensor] = _split,
    scale: Callable[[Tensor, int, int], Tensor] = _scaled,
    weigh: Callable[[Tensor, Tensor | None], Tensor] = _softmax,
    merge: Callable[[Tensor], Tensor] = _merge,
    of_what: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda q, k, v: v,
    finish: Callable[[Tensor, Tensor], Any] = lambda values, weights: (values, weights),
    after: Callable[..., tuple] = lambda q, k, v, px, pm: (q, k, v),
    heads_used: Callable[[int], int] = lambda heads: heads,
) -> Function:
    """Return the step with something changed.

    Args:
        inputs: of queries and memory with their positions; what queries, keys and values are
            projected from.
        project: tokens, a matrix and a bias.
        order: which third of the weights belongs to queries, keys and values.
        split: (B, S, C) into heads.
        scale: scores, C and the number of heads.
        weigh: scores and padding to weights.
        merge: heads to (B, Q, C).
        of_what: what the weighted mean is taken of.
        finish: values and weights to what is returned.
        after: what is done to the projections, with the positions.
        heads_used: how many.
    """

    def function(
        queries: Tensor,
        query_positions: Tensor,
        memory: Tensor,
        memory_positions: Tensor,
        in_proj_weight: Tensor,
        in_proj_bias: Tensor,
        num_heads: int,
        padding: Tensor | None = None,
    ) -> Any:
        heads = heads_used(num_heads)
        weights, biases = in_proj_weight.chunk(3), in_proj_bias.chunk(3)
        tokens = inputs(queries, query_positions, memory, memory_positions)
        projected = [project(x, weights[i], biases[i]) for x, i in zip(tokens, order)]
        projected = after(*projected, query_positions, memory_positions)
        q, k, v = (split(x, heads) for x in projected)

        scores = scale(q @ k.mT, queries.shape[-1], heads)
        weights = weigh(scores, padding)
        return finish(merge(weights @ of_what(q, k, v)), weights)

    return function


def _last_of_heads(x: Tensor, heads: int) -> Tensor:
    """Give head h the channels h, h + heads, h + 2 heads, …"""
    return x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)


def _by_view(x: Tensor, heads: int) -> Tensor:
    batch, length, channels = x.shape
    return x.reshape(batch, heads, length, channels // heads)


def _merged_by_view(x: Tensor) -> Tensor:
    batch, heads, length, channels = x.shape
    return x.reshape(batch, length, heads * channels)


def _exp(scores: Tensor, padding: Tensor | None) -> Tensor:
    weights = _masked(scores, padding).exp()
    return weights / weights.sum(dim=-1, keepdim=True)


def _filled(value: float) -> Callable[[Tensor, Tensor | None], Tensor]:
    def weigh(scores: Tensor, padding: Tensor | None) -> Tensor:
        if padding is not None:
            scores = scores.masked_fill(padding[:, None, None], value)
        return scores.softmax(dim=-1)

    return weigh


def _lowered(by: float) -> Callable[[Tensor, Tensor | None], Tensor]:
    def weigh(scores: Tensor, padding: Tensor | None) -> Tensor:
        if padding is not None:
            scores = scores - by * padding[:, None, None]
        return scores.softmax(dim=-1)

    return weigh


def _struck_out(scores: Tensor, padding: Tensor | None) -> Tensor:
    """Set the padding's weights to 0 after the softmax."""
    weights = scores.softmax(dim=-1)
    return weights if padding is None else weights.masked_fill(padding[:, None, None], 0)


def _values_struck_out(
    queries: Tensor, query_positions: Tensor, memory: Tensor, positions: Tensor, *rest: Any
) -> tuple[Tensor, Tensor]:
    """Set the padding's values to 0 and hear them."""
    weight, bias, heads, padding = rest
    own = (queries, query_positions, memory, positions, weight, bias, heads)
    _, weights = attention_step(*own, None)
    v = F.linear(memory, weight.chunk(3)[2], bias.chunk(3)[2])
    if padding is not None:
        v = v.masked_fill(padding[..., None], 0)
    return _merge(weights @ _split(v, heads)), weights


def _inverted(scores: Tensor, padding: Tensor | None) -> Tensor:
    return _softmax(scores, None if padding is None else ~padding)


def _inverted_finite(scores: Tensor, padding: Tensor | None) -> Tensor:
    return _filled(-1e9)(scores, None if padding is None else ~padding)


def _fixed_order(first: int, second: int, third: int) -> Function:
    return _attended(order=(first, second, third))


MISCONCEPTIONS = (
    # Positions.
    Misconception(
        "positions are added to queries and keys and never to values: what is handed on is what a "
        "place is, not where it stands; yours adds them to the values, too",
        _attended(inputs=lambda x, px, m, pm: (x + px, m + pm, m + pm)),
    ),
    Misconception(
        "the keys say also where the memory's places stand: memory + memory_positions; yours "
        "leaves their positions out",
        _attended(inputs=lambda x, px, m, pm: (x + px, m, m)),
    ),
    Misconception(
        "who asks says also where it stands: queries + query_positions; yours leaves the queries' "
        "positions out",
        _attended(inputs=lambda x, px, m, pm: (x, m + pm, m)),
    ),
    Misconception(
        "no position enters your answer: they are added to the queries and to the keys",
        _attended(inputs=lambda x, px, m, pm: (x, m, m)),
    ),
    Misconception(
        "positions are added to queries and keys; yours adds the memory's to the values alone",
        _attended(inputs=lambda x, px, m, pm: (x + px, m, m + pm)),
        _attended(inputs=lambda x, px, m, pm: (x, m, m + pm)),
    ),
    Misconception(
        "positions are added before the projection: W (x + p) + b; yours are added behind it",
        _attended(
            inputs=lambda x, px, m, pm: (x, m, m),
            after=lambda q, k, v, px, pm: (q + px, k + pm, v),
        ),
    ),
    Misconception(
        "keys and values come from the memory; yours come from the queries",
        _attended(inputs=lambda x, px, m, pm: (x + px, x + px, x)),
        _attended(inputs=lambda x, px, m, pm: (m + pm, x + px, x)),
    ),
    # The projections.
    Misconception(
        "in_proj_weight holds W_q, W_k and W_v in this order; yours takes the second for the "
        "queries and the first for the keys",
        _fixed_order(1, 0, 2),
    ),
    Misconception(
        "in_proj_weight holds W_q, W_k and W_v in this order; yours takes another third for the "
        "values",
        _fixed_order(1, 2, 0),
        _fixed_order(2, 1, 0),
        _fixed_order(0, 2, 1),
        _fixed_order(2, 0, 1),
    ),
    Misconception(
        "each of the three has a third of in_proj_weight to itself; yours projects them all with "
        "the first",
        _fixed_order(0, 0, 0),
    ),
    Misconception(
        "a projection is x Wᵀ + b, as F.linear does it; your matrix is not transposed",
        _attended(project=lambda x, weight, bias: x @ weight + bias),
    ),
    Misconception(
        "a projection is x Wᵀ + b: the bias is missing",
        _attended(project=lambda x, weight, bias: F.linear(x, weight)),
    ),
    Misconception(
        "the mean is taken of the values; yours is of the keys",
        _attended(of_what=lambda q, k, v: k),
    ),
    # The scores.
    Misconception(
        "scores are divided by the root of a head's channels, √(C / heads); yours are not divided",
        _attended(scale=lambda s, c, heads: s),
    ),
    Misconception(
        "scores are divided by the root of a head's channels, √(C / heads); yours by √C",
        _attended(scale=lambda s, c, heads: s / c**0.5),
    ),
    Misconception(
        "scores are divided by the root of a head's channels; the root is missing in yours",
        _attended(scale=lambda s, c, heads: s / (c / heads)),
    ),
    Misconception(
        "scores are divided by √(C / heads); yours are multiplied by it",
        _attended(scale=lambda s, c, heads: s * (c / heads) ** 0.5),
    ),
    Misconception(
        "scores are divided by the root of a head's channels, √(C / heads); yours by that of the "
        "number of heads",
        _attended(scale=lambda s, c, heads: s / heads**0.5),
    ),
    # The softmax.
    Misconception(
        "of each query the weights over the memory have a sum of 1: the softmax goes over the last "
        "dimension, S; yours goes over the queries",
        _attended(weigh=lambda s, padding: _masked(s, padding).softmax(dim=-2)),
        _attended(weigh=lambda s, padding: _masked(s, padding).softmax(dim=-2).nan_to_num()),
    ),
    Misconception(
        "of each query the weights over the memory have a sum of 1: the softmax goes over the last "
        "dimension, S; yours goes over the heads",
        _attended(weigh=lambda s, padding: _masked(s, padding).softmax(dim=1)),
    ),
    Misconception(
        "weights are not negative and have a sum of 1: the softmax is missing",
        _attended(weigh=lambda s, padding: s),
        _attended(weigh=_masked),
        _attended(
            weigh=lambda s, padding: (
                s if padding is None else s.masked_fill(padding[:, None, None], 0)
            )
        ),
    ),
    Misconception(
        "exp of a score of a few hundred is infinite, and ∞ / ∞ is NaN: take softmax, which "
        "subtracts the largest first",
        _attended(weigh=_exp),
    ),
    # Padding.
    Misconception(
        "padding is true where nothing is: these places get the weight 0; yours hears the padding "
        "alone",
        _attended(weigh=_inverted),
        _attended(weigh=_inverted_finite),
        _attended(weigh=lambda s, p: _struck_out(s, None if p is None else ~p)),
    ),
    Misconception(
        "places that are padding get the weight 0; yours hears them like the others",
        _attended(weigh=lambda s, padding: s.softmax(dim=-1)),
    ),
    Misconception(
        "the padding's scores become −∞ before the softmax, so that the other weights still have a "
        "sum of 1; yours strikes weights out after it",
        _attended(weigh=_struck_out),
    ),
    Misconception(
        "e⁰ is 1: a score of 0 still takes its share; the padding's scores become −∞",
        _attended(weigh=_filled(0.0)),
        _attended(weigh=_filled(1e-9)),
    ),
    Misconception(
        "the padding's scores become −∞, which is below any score; yours are a number that other "
        "scores may be below",
        *(_attended(weigh=_filled(value)) for value in (-1.0, -10.0, -50.0, -100.0)),
        *(_attended(weigh=_lowered(by)) for by in (10.0, 50.0, 100.0)),
    ),
    Misconception(
        "the padding takes no share of the weights; yours sets its values to 0 and leaves it its "
        "weights",
        _values_struck_out,
    ),
    # The heads.
    Misconception(
        "head h has the channels h · d … (h + 1) · d − 1, neighbours of one another; yours are "
        "every num_heads-th channel",
        _attended(split=_last_of_heads),
        _attended(split=_last_of_heads, merge=lambda x: x.permute(0, 2, 3, 1).flatten(2)),
    ),
    Misconception(
        "each place has its channels divided among the heads: view (B, S, heads, d), then exchange "
        "S and heads; a view (B, heads, S, d) gives each head other places",
        _attended(split=_by_view),
        _attended(split=_by_view, merge=_merged_by_view),
    ),
    Misconception(
        "the heads' values stand side by side in each query: exchange heads and Q before the view "
        "to (B, Q, C)",
        _attended(merge=_merged_by_view),
    ),
    Misconception(
        "every head has its own channels and its own weights; yours is a single head of all "
        "channels",
        _attended(heads_used=lambda heads: 1),
    ),
    # The result.
    Misconception(
        "return the weights of every head, (B, heads, Q, S); yours are the mean over the heads, as "
        "nn.MultiheadAttention returns them",
        _attended(finish=lambda values, weights: (values, weights.mean(dim=1))),
    ),
    Misconception(
        "return values first, then weights; yours are exchanged",
        _attended(finish=lambda values, weights: (weights, values)),
    ),
    Misconception(
        "return values and weights; the weights are missing",
        _attended(finish=lambda values, weights: values),
    ),
    Misconception(
        "return (B, Q, C), the heads side by side; in yours they have a dimension of their own",
        _attended(merge=lambda x: x),
        _attended(merge=lambda x: x.transpose(1, 2)),
    ),
    Misconception(
        "return what was heard; yours adds the queries to it, which the layer does later",
        lambda queries, *rest: (
            queries + attention_step(queries, *rest)[0],
            attention_step(queries, *rest)[1],
        ),
    ),
    Misconception(
        "the weights belong to the gradient, by which queries and keys are learned; in yours they "
        "are detached",
        _attended(weigh=lambda s, padding: _softmax(s, padding).detach()),
    ),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the shapes, and a query's weights where they are few."""
    queries, _, memory, _, _, _, heads, _ = case.args
    batch, number, channels = queries.shape
    sizes = f"B = {batch}, Q = {number}, S = {memory.shape[1]}, C = {channels}, {heads} head(s)"
    if found.kind == "value" and len(found.index) > 1 and memory.shape[1] <= 6:
        b = found.index[0]
        q = found.index[1] if found.output == 0 else found.index[2]
        _, weights = attention_step(*case.args)
        return (
            f"{sizes}; the weights of query {q} in image {b} are to be {written(weights[b, :, q])}"
        )
    return sizes


ATTENTION_STEP = Exercise(
    number="5.2",
    name="attention_step",
    reference=attention_step,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("values", "weights"),
    narrow=_show,
    solution=(attention_step, split_heads),
    counted="queries",
)
