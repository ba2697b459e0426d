"""Exercise 5.2: answers."""

import math

import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


@right
def as_the_formula_stands(
    queries,
    query_positions,
    memory,
    memory_positions,
    in_proj_weight,
    in_proj_bias,
    num_heads,
    padding,
):
    B, Q, C = queries.shape
    S, d = memory.shape[1], queries.shape[2] // num_heads
    wq, wk, wv = in_proj_weight[:C], in_proj_weight[C : 2 * C], in_proj_weight[2 * C :]
    bq, bk, bv = in_proj_bias[:C], in_proj_bias[C : 2 * C], in_proj_bias[2 * C :]
    q = (queries + query_positions) @ wq.T + bq
    k = (memory + memory_positions) @ wk.T + bk
    v = memory @ wv.T + bv
    q = q.view(B, Q, num_heads, d).transpose(1, 2)
    k = k.view(B, S, num_heads, d).transpose(1, 2)
    v = v.view(B, S, num_heads, d).transpose(1, 2)
    scores = q @ k.transpose(2, 3) / d**0.5
    if padding is not None:
        scores = scores.masked_fill(padding[:, None, None, :], float("-inf"))
    weights = torch.softmax(scores, dim=-1)
    return (weights @ v).transpose(1, 2).reshape(B, Q, C), weights


@right
def head_by_head(
    queries,
    query_positions,
    memory,
    memory_positions,
    in_proj_weight,
    in_proj_bias,
    num_heads,
    padding,
):
    (wq, wk, wv), (bq, bk, bv) = in_proj_weight.chunk(3), in_proj_bias.chunk(3)
    q = F.linear(queries + query_positions, wq, bq)
    k = F.linear(memory + memory_positions, wk, bk)
    v = F.linear(memory, wv, bv)
    values, weights = [], []
    for qh, kh, vh in zip(*(x.chunk(num_heads, dim=-1) for x in (q, k, v))):
        scores = torch.bmm(qh, kh.mT) / math.sqrt(qh.shape[-1])
        if padding is not None:
            scores = scores + torch.where(padding, -torch.inf, 0.0)[:, None]
        weights.append(scores.softmax(-1))
        values.append(weights[-1] @ vh)
    return torch.cat(values, dim=-1), torch.stack(weights, dim=1)


@right
def with_einsum(
    queries,
    query_positions,
    memory,
    memory_positions,
    in_proj_weight,
    in_proj_bias,
    num_heads,
    padding,
):
    b, n, c = queries.shape
    w = in_proj_weight.view(3, num_heads, c // num_heads, c)
    bias = in_proj_bias.view(3, num_heads, 1, c // num_heads)
    q = torch.einsum("bqc,hdc->bhqd", queries + query_positions, w[0]) + bias[0]
    k = torch.einsum("bsc,hdc->bhsd", memory + memory_positions, w[1]) + bias[1]
    v = torch.einsum("bsc,hdc->bhsd", memory, w[2]) + bias[2]
    scores = torch.einsum("bhqd,bhsd->bhqs", q, k) / (c // num_heads) ** 0.5
    if padding is not None:
        scores = torch.where(padding.view(b, 1, 1, -1), -1e9, scores)
    scores = scores - scores.amax(dim=-1, keepdim=True)
    weights = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
    return torch.einsum("bhqs,bhsd->bqhd", weights, v).reshape(b, n, c), weights


@right
def with_the_library(
    queries,
    query_positions,
    memory,
    memory_positions,
    in_proj_weight,
    in_proj_bias,
    num_heads,
    padding,
):
    channels = queries.shape[-1]
    module = torch.nn.MultiheadAttention(channels, num_heads, batch_first=True)
    values, weights = F.multi_head_attention_forward(
        (queries + query_positions).transpose(0, 1),
        (memory + memory_positions).transpose(0, 1),
        memory.transpose(0, 1),
        *(channels, num_heads, in_proj_weight, in_proj_bias, None, None, False, 0.0),
        *(torch.eye(channels), module.out_proj.bias.detach() * 0),
        key_padding_mask=padding,
        average_attn_weights=False,
    )
    return values.transpose(0, 1), weights


def projected(x, weight, bias, third):
    """One of the three projections; where the mistake is elsewhere."""
    return F.linear(x, weight.chunk(3)[third], bias.chunk(3)[third])


def heads_of(x, num_heads):
    """(B, S, C) → (B, heads, S, C / heads); where the mistake is elsewhere."""
    return x.view(*x.shape[:2], num_heads, -1).transpose(1, 2)


def finish(q, k, v, num_heads, padding):
    """From projections to the answer; where the mistake is elsewhere."""
    q, k, v = (heads_of(x, num_heads) for x in (q, k, v))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if padding is not None:
        scores = scores.masked_fill(padding[:, None, None], -torch.inf)
    weights = scores.softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2), weights


@slightly_off
def a_thousandth_more(*args):
    values, weights = with_einsum(*args)
    return 1.001 * values, weights


@wrong("yours adds them to the values, too")
def positions_in_the_values(x, px, m, pm, w, b, num_heads, padding):
    x, m = x + px, m + pm
    return finish(*(projected(t, w, b, i) for i, t in enumerate((x, m, m))), num_heads, padding)


@wrong("yours leaves their positions out")
def keys_without_positions(x, px, m, pm, w, b, num_heads, padding):
    q = projected(x + px, w, b, 0)
    return finish(q, projected(m, w, b, 1), projected(m, w, b, 2), num_heads, padding)


@wrong("leaves the queries' positions out")
def queries_without_positions(x, px, m, pm, w, b, num_heads, padding):
    k = projected(m + pm, w, b, 1)
    return finish(projected(x, w, b, 0), k, projected(m, w, b, 2), num_heads, padding)


@wrong("yours are added behind it")
def positions_after_the_projection(x, px, m, pm, w, b, num_heads, padding):
    q, k = projected(x, w, b, 0) + px, projected(m, w, b, 1) + pm
    return finish(q, k, projected(m, w, b, 2), num_heads, padding)


@wrong("yours are not divided")
def no_scale(x, px, m, pm, w, b, num_heads, padding):
    q, k, v = projected(x + px, w, b, 0), projected(m + pm, w, b, 1), projected(m, w, b, 2)
    q, k, v = (heads_of(t, num_heads) for t in (q, k, v))
    scores = q @ k.mT
    if padding is not None:
        scores[padding[:, None, None].expand_as(scores)] = -torch.inf
    weights = scores.softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2), weights


@wrong("yours by √C")
def scale_of_all_channels(x, px, m, pm, w, b, num_heads, padding):
    q, k, v = projected(x + px, w, b, 0), projected(m + pm, w, b, 1), projected(m, w, b, 2)
    q, k, v = (heads_of(t, num_heads) for t in (q, k, v))
    scores = q @ k.mT / math.sqrt(x.shape[-1])
    if padding is not None:
        scores = scores.masked_fill(padding[:, None, None], -torch.inf)
    weights = scores.softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2), weights


@wrong("yours goes over the queries")
def softmax_over_queries(x, px, m, pm, w, b, num_heads, padding):
    q, k, v = projected(x + px, w, b, 0), projected(m + pm, w, b, 1), projected(m, w, b, 2)
    q, k, v = (heads_of(t, num_heads) for t in (q, k, v))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if padding is not None:
        scores = scores.masked_fill(padding[:, None, None], -torch.inf)
    weights = scores.softmax(-2)
    return (weights @ v).transpose(1, 2).flatten(2), weights


@wrong("yours hears the padding alone")
def mask_the_wrong_way(x, px, m, pm, w, b, num_heads, padding):
    q, k, v = projected(x + px, w, b, 0), projected(m + pm, w, b, 1), projected(m, w, b, 2)
    return finish(q, k, v, num_heads, None if padding is None else ~padding)


@wrong("yours hears them like the others")
def no_mask(x, px, m, pm, w, b, num_heads, padding):
    q, k, v = projected(x + px, w, b, 0), projected(m + pm, w, b, 1), projected(m, w, b, 2)
    return finish(q, k, v, num_heads, None)


@wrong("yours strikes weights out after it")
def mask_after_softmax(x, px, m, pm, w, b, num_heads, padding):
    q, k, v = projected(x + px, w, b, 0), projected(m + pm, w, b, 1), projected(m, w, b, 2)
    q, k, v = (heads_of(t, num_heads) for t in (q, k, v))
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    if padding is not None:
        weights = weights * ~padding[:, None, None]
    return (weights @ v).transpose(1, 2).flatten(2), weights


@wrong("a score of 0 still takes its share")
def scores_times_mask(x, px, m, pm, w, b, num_heads, padding):
    q, k, v = projected(x + px, w, b, 0), projected(m + pm, w, b, 1), projected(m, w, b, 2)
    q, k, v = (heads_of(t, num_heads) for t in (q, k, v))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if padding is not None:
        scores = scores * (~padding)[:, None, None]
    weights = scores.softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2), weights


@wrong("your matrix is not transposed")
def without_transpose(x, px, m, pm, w, b, num_heads, padding):
    wq, wk, wv = w.chunk(3)
    bq, bk, bv = b.chunk(3)
    q, k, v = (x + px) @ wq + bq, (m + pm) @ wk + bk, m @ wv + bv
    return finish(q, k, v, num_heads, padding)


@wrong("the bias is missing")
def without_bias(x, px, m, pm, w, b, num_heads, padding):
    wq, wk, wv = w.chunk(3)
    return finish((x + px) @ wq.T, (m + pm) @ wk.T, m @ wv.T, num_heads, padding)


@wrong("gives each head other places")
def heads_by_view(x, px, m, pm, w, b, num_heads, padding):
    B, Q, C = x.shape
    q, k, v = projected(x + px, w, b, 0), projected(m + pm, w, b, 1), projected(m, w, b, 2)
    q, k, v = (t.view(B, num_heads, -1, C // num_heads) for t in (q, k, v))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if padding is not None:
        scores = scores.masked_fill(padding[:, None, None], -torch.inf)
    weights = scores.softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(B, Q, C), weights


@wrong("exchange heads and Q before the view")
def merged_by_view(x, px, m, pm, w, b, num_heads, padding):
    q, k, v = projected(x + px, w, b, 0), projected(m + pm, w, b, 1), projected(m, w, b, 2)
    _, weights = finish(q, k, v, num_heads, padding)
    return (weights @ heads_of(v, num_heads)).reshape(x.shape), weights


@wrong("yours are the mean over the heads")
def mean_of_the_weights(*args):
    values, weights = as_the_formula_stands(*args)
    return values, weights.mean(dim=1)


@wrong("the weights are missing")
def values_alone(*args):
    return head_by_head(*args)[0]


@wrong("yours takes the second for the queries")
def keys_first(x, px, m, pm, w, b, num_heads, padding):
    k, q, v = projected(m + pm, w, b, 0), projected(x + px, w, b, 1), projected(m, w, b, 2)
    return finish(q, k, v, num_heads, padding)


@wrong("there is a loop over queries")
def query_by_query(x, px, m, pm, w, b, num_heads, padding):
    results = [
        head_by_head(x[:, i : i + 1], px[:, i : i + 1], m, pm, w, b, num_heads, padding)
        for i in range(x.shape[1])
    ]
    return torch.cat([r[0] for r in results], dim=1), torch.cat([r[1] for r in results], dim=2)
