"""Exercise 7.2: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def everybody_against_everybody(costs, aps):
    cheaper, as_cheap = costs[None] < costs[:, None], costs[None] <= costs[:, None]
    sharper, as_sharp = aps[None] > aps[:, None], aps[None] >= aps[:, None]
    beaten = (cheaper & as_sharp) | (as_cheap & sharper)
    return ~beaten.any(1)


@right
def in_a_loop(costs, aps):
    front = []
    for i in range(len(costs)):
        beaten = False
        for j in range(len(costs)):
            if costs[j] <= costs[i] and aps[j] >= aps[i]:
                if costs[j] < costs[i] or aps[j] > aps[i]:
                    beaten = True
        front.append(not beaten)
    return torch.tensor(front, dtype=torch.bool)


@right
def from_the_cheapest(costs, aps):
    front = torch.zeros(len(costs), dtype=torch.bool)
    best = -1.0
    for cost in costs.unique():
        here = costs == cost
        top = aps[here].max()
        if top > best:
            front |= here & (aps == top)
            best = top
    return front


@right
def with_numpy(costs, aps):
    c, a = costs.numpy(), aps.numpy()
    front = np.ones(len(c), dtype=bool)
    for i in range(len(c)):
        front[i] = not np.any((c <= c[i]) & (a >= a[i]) & ((c < c[i]) | (a > a[i])))
    return torch.from_numpy(front)


@slightly_off
def needs_a_thousandth_more(costs, aps):
    beaten = (costs[None] <= costs[:, None] * 0.9) & (aps[None] > aps[:, None])
    return ~beaten.any(1)


@wrong("equal in one and better in the")
def strictly_better_in_both(costs, aps):
    return ~((costs[None] < costs[:, None]) & (aps[None] > aps[:, None])).any(1)


@wrong("twins do not beat each other")
def twins_beat_each_other(costs, aps):
    beaten = (costs[None] <= costs[:, None]) & (aps[None] >= aps[:, None])
    beaten.fill_diagonal_(False)
    return ~beaten.any(1)


@wrong("the first of them alone")
def sorted_walk(costs, aps):
    front = torch.zeros(len(costs), dtype=torch.bool)
    best = -1.0
    for i in sorted(range(len(costs)), key=lambda i: (costs[i].item(), -aps[i].item())):
        if aps[i] > best:
            front[i], best = True, aps[i]
    return front


@wrong("less cost is better")
def wants_cost(costs, aps):
    more = (costs[None] >= costs[:, None]) & (aps[None] >= aps[:, None])
    strict = (costs[None] > costs[:, None]) | (aps[None] > aps[:, None])
    return ~(more & strict).any(1)


@wrong("more AP is better")
def wants_errors(costs, aps):
    less = (costs[None] <= costs[:, None]) & (aps[None] <= aps[:, None])
    strict = (costs[None] < costs[:, None]) | (aps[None] < aps[:, None])
    return ~(less & strict).any(1)


@wrong("the other way round")
def the_beaten(costs, aps):
    beaten = (costs[None] <= costs[:, None]) & (aps[None] >= aps[:, None])
    beaten &= (costs[None] < costs[:, None]) | (aps[None] > aps[:, None])
    return beaten.any(1)


@wrong("drops who loses in one")
def loses_in_one(costs, aps):
    return ~((costs[None] < costs[:, None]) | (aps[None] > aps[:, None])).any(1)


@wrong("not the most accurate alone")
def the_best(costs, aps):
    if len(aps) == 0:
        return torch.zeros(0, dtype=torch.bool)
    return aps == aps.max()


@wrong("not the cheapest alone")
def the_cheapest(costs, aps):
    if len(aps) == 0:
        return torch.zeros(0, dtype=torch.bool)
    return costs == costs.min()


@wrong("yours are indices")
def indices(costs, aps):
    beaten = (costs[None] <= costs[:, None]) & (aps[None] >= aps[:, None])
    beaten &= (costs[None] < costs[:, None]) | (aps[None] > aps[:, None])
    return torch.where(~beaten.any(1))[0]
