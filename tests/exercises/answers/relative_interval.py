"""Exercise 7.3: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def step_by_step(aps, t):
    relative = aps / aps.mean(1, keepdim=True)
    mean, std = relative.mean(0), relative.std(0)
    half = t * std / len(aps) ** 0.5
    return torch.stack([mean, mean - half, mean + half], -1)


@right
def seed_by_seed(aps, t):
    rows = torch.stack([row / row.mean() for row in aps])
    half = t * rows.std(dim=0, unbiased=True) * aps.shape[0] ** -0.5
    return torch.cat(
        (rows.mean(0)[:, None], (rows.mean(0) - half)[:, None], (rows.mean(0) + half)[:, None]),
        dim=1,
    )


@right
def from_the_squares(aps, t):
    relative = (aps / aps.mean(dim=1, keepdim=True)).double()
    mean = relative.mean(dim=0)
    variance = (relative - mean).square().sum(dim=0) / (len(aps) - 1)
    half = t * (variance / len(aps)).sqrt()
    return torch.stack((mean, mean - half, mean + half), dim=1).float()


@right
def with_numpy(aps, t):
    a = aps.double().numpy()
    r = a / a.mean(axis=1, keepdims=True)
    half = t * r.std(axis=0, ddof=1) / np.sqrt(len(a))
    return torch.tensor(np.stack([r.mean(0), r.mean(0) - half, r.mean(0) + half], axis=1)).float()


@slightly_off
def a_thousandth_wider(aps, t):
    relative = 1.001 * aps / aps.mean(dim=1, keepdim=True)
    half = t * relative.std(dim=0) / len(aps) ** 0.5
    return torch.stack((relative.mean(0), relative.mean(0) - half, relative.mean(0) + half), dim=1)


def _interval(relative, t, seeds=None, spread=None):
    mean = relative.mean(0)
    spread = relative.std(0) if spread is None else spread
    half = t * spread / (len(relative) if seeds is None else seeds) ** 0.5
    return torch.stack((mean, mean - half, mean + half), dim=1)


@wrong("divides by the mean of all seeds")
def by_the_grand_mean(aps, t):
    return _interval(aps / aps.mean(), t)


@wrong("the mean over seeds")
def by_columns(aps, t):
    return _interval(aps / aps.mean(0, keepdim=True), t)


@wrong("yours is a difference")
def differences(aps, t):
    return _interval(aps - aps.mean(1, keepdim=True), t)


@wrong("not by its largest")
def by_the_best(aps, t):
    return _interval(aps / aps.max(1, keepdim=True).values, t)


@wrong("yours are AP itself")
def absolute(aps, t):
    return _interval(aps, t)


@wrong("yours divides them by S")
def population_deviation(aps, t):
    relative = aps / aps.mean(1, keepdim=True)
    return _interval(relative, t, spread=relative.std(0, unbiased=False))


@wrong("the root is missing")
def variance(aps, t):
    relative = aps / aps.mean(1, keepdim=True)
    return _interval(relative, t, spread=relative.var(0))


@wrong("divide by √S")
def interval_of_one_seed(aps, t):
    return _interval(aps / aps.mean(1, keepdim=True), t, seeds=1)


@wrong("yours divides by S")
def by_the_number_of_seeds(aps, t):
    return _interval(aps / aps.mean(1, keepdim=True), t, seeds=len(aps) ** 2)


@wrong("1.96")
def normal(aps, t):
    return _interval(aps / aps.mean(1, keepdim=True), 1.96)


@wrong("the lower end comes before")
def upper_first(aps, t):
    return _interval(aps / aps.mean(1, keepdim=True), t)[:, [0, 2, 1]]


@wrong("turned round")
def three_rows(aps, t):
    return _interval(aps / aps.mean(1, keepdim=True), t).T
