"""Exercise 7.6: answers."""

import statistics

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def by_quantile(times, warm_rounds):
    kept = times[warm_rounds:]
    return torch.quantile(kept / kept[:, [0]], 0.5, dim=0)


@right
def by_sorting(times, warm_rounds):
    ratios = (times / times[:, 0].unsqueeze(1))[warm_rounds:].sort(dim=0).values
    n = len(ratios)
    return (ratios[(n - 1) // 2] + ratios[n // 2]) / 2


@right
def with_numpy(times, warm_rounds):
    kept = times.numpy()[warm_rounds:]
    return torch.from_numpy(np.median(kept / kept[:, :1], axis=0))


@right
def detector_by_detector(times, warm_rounds):
    columns = []
    for d in range(times.shape[1]):
        ratios = [float(row[d] / row[0]) for row in times[warm_rounds:]]
        columns.append(statistics.median(ratios))
    return torch.tensor(columns)


@slightly_off
def a_thousandth_slower(times, warm_rounds):
    ratios = (times / times[:, :1])[warm_rounds:]
    return 1.001 * ratios.quantile(0.5, dim=0)


def _median(x):
    return x.quantile(0.5, dim=0)


@wrong("three things are still wrong")
def as_the_colleague_left_it(times, warm_rounds):
    mean = times.mean(dim=0)
    return mean / mean[0]


@wrong("the warm rounds are not to count")
def warm_rounds_count(times, warm_rounds):
    return _median(times / times[:, :1])


@wrong("a mean is moved by a single pause")
def mean_of_quotients(times, warm_rounds):
    kept = times[warm_rounds:]
    return (kept / kept[:, :1]).mean(0)


@wrong("divide within each round, then take the median")
def quotient_of_medians(times, warm_rounds):
    middle = _median(times[warm_rounds:])
    return middle / middle[0]


@wrong("yours divides means")
def quotient_of_means(times, warm_rounds):
    kept = times[warm_rounds:]
    return kept.mean(0) / kept.mean(0)[0]


@wrong("the quickest round is not the usual one")
def quotient_of_the_quickest(times, warm_rounds):
    best = times[warm_rounds:].min(0).values
    return best / best[0]


@wrong("the lower one")
def median_of_torch(times, warm_rounds):
    kept = times[warm_rounds:]
    return (kept / kept[:, :1]).median(0).values


@wrong("leaves the last ones out")
def without_the_last(times, warm_rounds):
    kept = times[: len(times) - warm_rounds]
    return _median(kept / kept[:, :1])


@wrong("the other way round")
def first_by_own(times, warm_rounds):
    kept = times[warm_rounds:]
    return _median(kept[:, :1] / kept)


@wrong("not to the quickest")
def by_the_quickest(times, warm_rounds):
    kept = times[warm_rounds:]
    return _median(kept / kept.min(dim=1, keepdim=True).values)


@wrong("how much longer")
def longer_by(times, warm_rounds):
    kept = times[warm_rounds:]
    return _median(kept / kept[:, :1] - 1)


@wrong("not their difference")
def differences(times, warm_rounds):
    kept = times[warm_rounds:]
    return _median(kept - kept[:, :1])
