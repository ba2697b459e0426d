"""Exercise 7.4: answers."""

import statistics

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def step_by_step(aps, t):
    mean = aps.mean(1)
    s = aps.var(1).mean().sqrt()
    half = t * s * (1 + 1 / aps.shape[1]) ** 0.5
    return torch.stack([mean - half, mean + half], -1)


@right
def detector_by_detector(aps, t):
    rows = aps.tolist()
    s = statistics.fmean(statistics.variance(row) for row in rows) ** 0.5
    ends = []
    for row in rows:
        half = t * s * (1 + 1 / len(row)) ** 0.5
        ends.append([statistics.fmean(row) - half, statistics.fmean(row) + half])
    return torch.tensor(ends)


@right
def from_all_squares(aps, t):
    d, n = aps.shape
    mean = aps.mean(dim=1, keepdim=True)
    squares = (aps - mean).square().sum() / (d * (n - 1))
    half = t * (squares + squares / n).sqrt()
    return torch.cat((mean - half, mean + half), dim=1)


@right
def with_numpy(aps, t):
    a = aps.double().numpy()
    s = np.sqrt(a.var(axis=1, ddof=1).mean())
    half = t * s * np.sqrt(1 + 1 / a.shape[1])
    return torch.from_numpy(a.mean(axis=1)[:, None] + half * np.array([[-1.0, 1.0]])).float()


@slightly_off
def a_thousandth_wider(aps, t):
    half = 1.001 * t * aps.var(1).mean().sqrt() * (1 + 1 / aps.shape[1]) ** 0.5
    return torch.stack([aps.mean(1) - half, aps.mean(1) + half], 1)


def _around(aps, half):
    return torch.stack([aps.mean(1) - half, aps.mean(1) + half], 1)


def _s(aps):
    return aps.var(1).mean().sqrt()


def _new(aps):
    return (1 + 1 / aps.shape[1]) ** 0.5


@wrong("yours is √(1/S)")
def of_the_mean(aps, t):
    return _around(aps, t * _s(aps) / aps.shape[1] ** 0.5)


@wrong("as in exercise 7.3")
def as_in_the_last_exercise(aps, t):
    return _around(aps, t * aps.std(1) / aps.shape[1] ** 0.5)


@wrong("own spread is known badly")
def not_pooled(aps, t):
    return _around(aps, t * aps.std(1) * _new(aps))


@wrong("averages the standard deviations")
def mean_deviation(aps, t):
    return _around(aps, t * torch.std(aps, dim=1).mean() * _new(aps))


@wrong("one mean of all numbers")
def all_numbers_in_one_heap(aps, t):
    return _around(aps, t * aps.flatten().std() * _new(aps))


@wrong("one mean of all numbers")
def squares_about_the_grand_mean(aps, t):
    d, n = aps.shape
    s = (((aps - aps.mean()) ** 2).sum() / (d * (n - 1))) ** 0.5
    return _around(aps, t * s * _new(aps))


@wrong("over the detectors, a column")
def along_the_wrong_axis(aps, t):
    return _around(aps, t * aps.var(0).mean().sqrt() * _new(aps))


@wrong("are divided by S − 1; yours by S")
def numpy_variance(aps, t):
    s = torch.tensor(np.var(aps.numpy(), axis=1)).mean().sqrt()
    return _around(aps, t * s * _new(aps))


@wrong("costs a degree of freedom")
def one_degree_for_all(aps, t):
    deviations = aps - aps.mean(1, keepdim=True)
    return _around(aps, t * deviations.std() * _new(aps))


@wrong("yours is their sum")
def summed(aps, t):
    return _around(aps, t * aps.var(1).sum().sqrt() * _new(aps))


@wrong("the root is missing")
def variance(aps, t):
    return _around(aps, t * aps.var(1).mean() * _new(aps))


@wrong("which is missing")
def only_the_spread(aps, t):
    return _around(aps, t * _s(aps))


@wrong("yours has none")
def factor_without_root(aps, t):
    return _around(aps, t * _s(aps) * (1 + 1 / aps.shape[1]))


@wrong("not the deviations")
def ranges_added(aps, t):
    s = _s(aps)
    return _around(aps, t * (s + s / aps.shape[1] ** 0.5))


@wrong("yours takes the number of detectors")
def length_of_the_tensor(aps, t):
    return _around(aps, t * _s(aps) * (1 + 1 / len(aps)) ** 0.5)


@wrong("known from all D · S numbers")
def number_of_all(aps, t):
    return _around(aps, t * _s(aps) * (1 + 1 / aps.numel()) ** 0.5)


@wrong("yours leaves it out")
def without_t(aps, t):
    return _around(aps, _s(aps) * _new(aps))


@wrong("1.96")
def normal(aps, t):
    return _around(aps, 1.96 * _s(aps) * _new(aps))


@wrong("the range is of AP itself")
def relative_as_before(aps, t):
    aps = aps / aps.mean(1, keepdim=True)
    return _around(aps, t * _s(aps) * _new(aps))


@wrong("yours is the mean of all")
def one_middle(aps, t):
    half = t * _s(aps) * _new(aps)
    ends = torch.stack([aps.mean() - half, aps.mean() + half])
    return ends.repeat(len(aps), 1)


@wrong("from the smallest to the largest")
def what_was_seen(aps, t):
    return torch.stack([aps.min(1).values, aps.max(1).values], 1)


@wrong("not cut at 0 and 1")
def an_ap_is_never_negative(aps, t):
    return _around(aps, t * _s(aps) * _new(aps)).clamp(0, 1)


@wrong("the lower end comes before")
def upper_first(aps, t):
    return _around(aps, -t * _s(aps) * _new(aps))


@wrong("mean and half width")
def half_width(aps, t):
    mean = aps.mean(1)
    return torch.stack([mean, (t * _s(aps) * _new(aps)).expand_as(mean)], 1)


@wrong("has the mean beside them")
def three_columns(aps, t):
    half = t * _s(aps) * _new(aps)
    mean = aps.mean(1)
    return torch.stack([mean, mean - half, mean + half], 1)


@wrong("turned round")
def two_rows(aps, t):
    half = t * _s(aps) * _new(aps)
    return torch.stack([aps.mean(1) - half, aps.mean(1) + half])
