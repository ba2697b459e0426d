"""Exercise 7.5: answers."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


@right
def step_by_step(gradients):
    lengths = gradients.pow(2).sum(1).sqrt()
    total = lengths.sum()
    shares = lengths / total if total > 0 else torch.zeros_like(lengths)
    products = gradients @ gradients.T
    both = lengths[:, None] * lengths[None, :]
    cosines = torch.zeros_like(products)
    cosines[both > 0] = products[both > 0] / both[both > 0]
    return shares, cosines


@right
def with_nan_to_num(gradients):
    lengths = torch.linalg.vector_norm(gradients, dim=-1)
    directions = (gradients / lengths[:, None]).nan_to_num(0.0)
    return (lengths / lengths.sum()).nan_to_num(0.0), directions @ directions.T


@right
def with_normalize(gradients):
    # Its eps is a length below which a row counts as 0: far below what gradients have.
    lengths = gradients.norm(dim=1)
    directions = F.normalize(gradients, dim=1, eps=1e-20)
    return lengths / lengths.sum().clamp(min=1e-20), directions @ directions.T


@right
def pair_by_pair(gradients):
    rows = gradients.double().tolist()
    lengths = [math.sqrt(sum(x * x for x in row)) for row in rows]
    total = sum(lengths)
    shares = [length / total if total else 0.0 for length in lengths]
    cosines = [
        [
            sum(x * y for x, y in zip(a, b)) / (la * lb) if la and lb else 0.0
            for b, lb in zip(rows, lengths)
        ]
        for a, la in zip(rows, lengths)
    ]
    return torch.tensor(shares), torch.tensor(cosines)


@right
def with_numpy(gradients):
    g = gradients.double().numpy()
    lengths = np.sqrt((g * g).sum(axis=1))
    safe = np.where(lengths > 0, lengths, 1)
    unit = g / safe[:, None]
    shares = lengths / (lengths.sum() or 1)
    return torch.from_numpy(shares).float(), torch.from_numpy(unit @ unit.T).float()


@slightly_off
def a_thousandth_of_a_share(gradients):
    shares, cosines = step_by_step(gradients)
    return 1.001 * shares, cosines


@slightly_off
def a_thousandth_of_a_cosine(gradients):
    shares, cosines = step_by_step(gradients)
    return shares, 0.999 * cosines


def _cosines(gradients):
    return step_by_step(gradients)[1]


def _over_sum(sizes):
    return sizes / sizes.sum() if sizes.sum() != 0 else torch.zeros_like(sizes)


@wrong("the root is missing")
def squares(gradients):
    return _over_sum(gradients.pow(2).sum(1)), _cosines(gradients)


@wrong("adds up the absolute values")
def absolute_values(gradients):
    return _over_sum(gradients.abs().sum(1)), _cosines(gradients)


@wrong("not the largest alone")
def the_largest(gradients):
    return _over_sum(gradients.abs().max(1).values), _cosines(gradients)


@wrong("lets what points both ways cancel")
def sums(gradients):
    return _over_sum(gradients.sum(1).abs()), _cosines(gradients)


@wrong("in which terms may cancel")
def of_the_whole(gradients):
    whole = gradients.sum(0).norm()
    lengths = gradients.norm(dim=1)
    return lengths / whole if whole > 0 else torch.zeros_like(lengths), _cosines(gradients)


@wrong("these are the lengths")
def lengths_alone(gradients):
    return gradients.norm(dim=1), _cosines(gradients)


@wrong("no softmax")
def soft(gradients):
    return F.softmax(gradients.norm(dim=1), dim=0), _cosines(gradients)


@wrong("relative to the largest")
def of_the_largest(gradients):
    lengths = gradients.norm(dim=1)
    return lengths / lengths.max() if lengths.max() > 0 else lengths, _cosines(gradients)


@wrong("so are the shares")
def undefined(gradients):
    lengths = gradients.norm(dim=1)
    directions = gradients / lengths[:, None]
    return lengths / lengths.sum(), directions @ directions.T


@wrong("its cosines are to be 0")
def undefined_cosines(gradients):
    directions = gradients / gradients.norm(dim=1)[:, None]
    return step_by_step(gradients)[0], directions @ directions.T


@wrong("all shares are 0")
def undefined_shares(gradients):
    lengths = gradients.norm(dim=1)
    return lengths / lengths.sum(), _cosines(gradients)


@wrong("its cosine with itself is 0")
def one_with_itself(gradients):
    shares, cosines = step_by_step(gradients)
    cosines.fill_diagonal_(1.0)
    return shares, cosines


@wrong("yours are not divided")
def products(gradients):
    return step_by_step(gradients)[0], gradients @ gradients.T


@wrong("yours divides by one")
def divided_once(gradients):
    shares, _ = step_by_step(gradients)
    lengths = gradients.norm(dim=1)
    return shares, gradients @ gradients.T / torch.where(lengths > 0, lengths, 1.0)[:, None]


@wrong("lost the sign")
def without_a_sign(gradients):
    shares, cosines = step_by_step(gradients)
    return shares, cosines.abs()


@wrong("yours are angles")
def angles(gradients):
    shares, cosines = step_by_step(gradients)
    return shares, torch.acos(cosines.clamp(-1, 1))


@wrong("no mean is taken off")
def correlations(gradients):
    centred = gradients - gradients.mean(1, keepdim=True)
    return step_by_step(gradients)[0], _cosines(centred)


@wrong("a row is a term")
def of_the_weights(gradients):
    return step_by_step(gradients.T)


@wrong("those with the first term")
def with_the_first(gradients):
    shares, cosines = step_by_step(gradients)
    return shares, cosines[0]


@wrong("shares first")
def the_other_way_round(gradients):
    shares, cosines = step_by_step(gradients)
    return cosines, shares
