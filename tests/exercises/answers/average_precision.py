"""Exercise 1.7: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def level_by_level(precision, recall):
    total = 0.0
    for k in range(101):
        reached = recall.double() >= k / 100
        if reached.any():
            total += precision[reached].max().item()
    return torch.tensor(total / 101)


@right
def with_a_table(precision, recall):
    levels = torch.arange(101, dtype=torch.float64) / 100
    table = torch.where(recall.double()[None] >= levels[:, None], precision[None].double(), 0.0)
    return torch.cat((table, torch.zeros(101, 1, dtype=torch.float64)), dim=1).amax(1).mean()


@right
def as_pycocotools_does(precision, recall):
    pr, rc = precision.tolist(), recall.double().numpy()
    for i in range(len(pr) - 1, 0, -1):
        pr[i - 1] = max(pr[i], pr[i - 1])
    q = np.zeros(101)
    for level, at in enumerate(np.searchsorted(rc, np.linspace(0, 1, 101), side="left")):
        if at < len(pr):
            q[level] = pr[at]
    return float(q.mean())


@right
def by_padding_with_zero(precision, recall):
    p = torch.cat((precision.double(), torch.zeros(1, dtype=torch.float64)))
    p = p.flip(0).cummax(0)[0].flip(0)
    at = torch.searchsorted(recall.double(), torch.linspace(0, 1, 101).double())
    return p[at].mean()


@slightly_off
def off_by_a_thousandth(precision, recall):
    return 1.001 * with_a_table(precision, recall)


@wrong("must be made monotone first")
def reads_the_raw_curve(precision, recall):
    total = 0.0
    for level in torch.linspace(0, 1, 101, dtype=torch.float64):
        at = torch.nonzero(recall.double() >= level).flatten()
        if len(at):
            total += precision[at[0]]
    return torch.as_tensor(total / 101)


@wrong("from right to left")
def maximum_from_the_left(precision, recall):
    running, p = [], 0.0
    for value in precision.tolist():
        p = max(p, value)
        running.append(p)
    ap = 0.0
    for k in range(101):
        reached = [p for p, r in zip(running, recall.double().tolist()) if r >= k / 100]
        ap += reached[0] / 101 if reached else 0.0
    return torch.tensor(ap)


@wrong("divide by 101, not by the levels reached")
def mean_over_reached_levels(precision, recall):
    values = []
    for level in np.linspace(0, 1, 101):
        reached = precision[recall.double() >= level]
        if len(reached):
            values.append(reached.max())
    return torch.stack(values).mean() if values else torch.tensor(0.0)


@wrong("VOC's old rule")
def eleven_points(precision, recall):
    ap = 0.0
    for k in range(11):
        p = precision[recall.double() >= k / 10]
        ap += (p.max().item() if len(p) else 0.0) / 11
    return torch.tensor(ap)


@wrong("yours are 100")
def hundred_levels(precision, recall):
    ap = 0.0
    for k in range(100):
        p = precision[recall.double() >= k / 100]
        ap += p.max().item() if len(p) else 0.0
    return torch.tensor(ap / 100)


@wrong("exact area below the monotone curve")
def all_point_interpolation(precision, recall):
    mrec = np.concatenate(([0.0], recall.numpy(), [1.0]))
    mpre = np.concatenate(([0.0], precision.numpy(), [0.0]))
    mpre = np.maximum.accumulate(mpre[::-1])[::-1]
    change = np.where(mrec[1:] != mrec[:-1])[0]
    return torch.tensor(((mrec[change + 1] - mrec[change]) * mpre[change + 1]).sum())


@wrong("area below the raw curve")
def rectangles_below_the_raw_curve(precision, recall):
    area, before = 0.0, 0.0
    for p, r in zip(precision.tolist(), recall.tolist()):
        area += p * (r - before)
        before = r
    return torch.tensor(area)


@wrong("trapezoids interpolate")
def numpy_trapezoids(precision, recall):
    p, r = precision.numpy(), recall.numpy()
    return torch.tensor(float(((p[1:] + p[:-1]) / 2 * np.diff(r)).sum()))


@wrong("trapezoids interpolate")
def trapezoids_from_recall_zero(precision, recall):
    p = torch.cat((torch.ones(1), precision))
    r = torch.cat((torch.zeros(1), recall))
    return torch.trapz(p, r)


@wrong("the mean of the precisions")
def mean_precision(precision, recall):
    return precision.sum() / max(len(precision), 1)


@wrong("not yet a mean")
def sum_over_levels(precision, recall):
    ap = torch.zeros(())
    for level in torch.linspace(0, 1, 101).double():
        p = precision[recall.double() >= level]
        ap = ap + (p.max() if len(p) else 0)
    return ap


@wrong("yours must exceed it")
def strictly_above_the_level(precision, recall):
    ap = 0.0
    for k in range(101):
        p = precision[recall.double() > k / 100]
        ap += p.max().item() if len(p) else 0.0
    return torch.tensor(ap / 101)


@wrong("check for an empty list")
def no_guard_for_no_detections(precision, recall):
    levels = torch.linspace(0, 1, 101, dtype=torch.float64)
    best = precision.flip(0).cummax(0).values.flip(0)
    at = torch.searchsorted(recall.double(), levels).clamp(max=len(recall) - 1)
    return torch.where(recall[-1].double() >= levels, best[at].double(), 0.0).mean()


@wrong("counts as if the curve went on")
def holds_the_last_precision(precision, recall):
    if len(precision) == 0:
        return torch.tensor(0.0)
    p = precision.flip(0).cummax(0).values.flip(0)
    at = torch.searchsorted(recall.double(), torch.linspace(0, 1, 101).double())
    return p[at.clamp(max=len(p) - 1)].double().mean()


@wrong("F1")
def best_f1(precision, recall):
    f1 = 2 * precision * recall / (precision + recall + 1e-9)
    return f1.max() if len(f1) else torch.tensor(0.0)


@wrong("has shape (1,); expected ()")
def keeps_a_dimension(precision, recall):
    return with_a_table(precision, recall).reshape(1)


@wrong("yours are 100")
def linspace_of_a_hundred(precision, recall):
    levels = np.linspace(0, 1, 100)
    values = [
        max([p for p, r in zip(precision.tolist(), recall.tolist()) if r >= level], default=0.0)
        for level in levels
    ]
    return torch.tensor(np.mean(values))


@wrong("returned a list; expected a torch.Tensor")
def returns_the_values_at_the_levels(precision, recall):
    values = []
    for k in range(101):
        reached = precision[recall.double() >= k / 100]
        values.append(float(reached.max()) if len(reached) else 0.0)
    return values


@wrong("has shape (101,); expected ()")
def forgets_the_mean(precision, recall):
    levels = torch.linspace(0, 1, 101, dtype=torch.float64)
    table = torch.where(recall.double()[None] >= levels[:, None], precision[None].double(), 0.0)
    return table.amax(1) if len(precision) else torch.zeros(101, dtype=torch.float64)


@wrong("from right to left")
def cummax_without_the_flips(precision, recall):
    if len(precision) == 0:
        return torch.tensor(0.0)
    best = torch.cummax(precision.double(), dim=0)[0]
    at = torch.searchsorted(recall.double(), torch.linspace(0, 1, 101).double())
    return torch.cat((best, torch.zeros(1, dtype=torch.float64)))[at].mean()


@wrong("must be made monotone first")
def precision_at_the_first_cut(precision, recall):
    at = torch.searchsorted(recall.double(), torch.linspace(0, 1, 101).double())
    padded = torch.cat((precision, torch.zeros(1)))
    return padded[at].sum() / 101


@wrong("divide by 101, not by the levels reached")
def breaks_when_a_level_is_not_reached(precision, recall):
    total, levels = 0.0, 0
    for k in range(101):
        good = precision[recall.double() >= k / 100]
        if len(good) == 0:
            break
        total += float(good.max())
        levels += 1
    return total / max(levels, 1)


@wrong("exact area below the monotone curve")
def sums_rectangles(precision, recall):
    p = precision.flip(0).cummax(0).values.flip(0) if len(precision) else precision
    area, last = torch.zeros(()), torch.zeros(())
    for height, r in zip(p, recall):
        area, last = area + height * (r - last), r
    return area


@wrong("this is the mean over the right detections")
def mean_at_the_hits(precision, recall):
    if len(precision) == 0:
        return torch.tensor(0.0)
    best = precision.flip(0).cummax(0).values.flip(0)
    hit = recall > torch.cat((torch.zeros(1), recall[:-1]))
    return best[hit].mean() if hit.any() else torch.tensor(0.0)


@wrong("joins the points with straight lines")
def with_numpys_interp(precision, recall):
    if len(precision) == 0:
        return torch.tensor(0.0)
    best = precision.flip(0).cummax(0).values.flip(0)
    levels = np.linspace(0, 1, 101)
    mean = np.interp(levels, recall.numpy(), best.numpy(), right=0).mean()
    return torch.tensor(mean, dtype=torch.float32)


@wrong("yours reads the last one at or below it")
def last_cut_at_most_the_level(precision, recall):
    if len(precision) == 0:
        return 0.0
    best = precision.flip(0).cummax(0).values.flip(0)
    total = 0.0
    for level in torch.linspace(0, 1, 101):
        below = (recall <= level).nonzero()
        total += float(best[below[-1, 0]]) if len(below) else 0.0
    return total / 101


@wrong("yours are 100")
def levels_from_a_hundredth_on(precision, recall):
    if len(precision) == 0:
        return 0.0
    best = precision.flip(0).cummax(0).values.flip(0)
    at = torch.searchsorted(recall, torch.arange(1, 101, dtype=recall.dtype) / 100)
    return torch.cat((best, best.new_zeros(1)))[at].mean()


@wrong("yours is the mean of those precisions")
def the_mean_from_here_on(precision, recall):
    total = 0.0
    for level in torch.linspace(0, 1, 101):
        there = precision[recall >= level]
        total += float(there.mean()) if len(there) else 0.0
    return total / 101


@wrong("yours by 100")
def divides_by_a_hundred(precision, recall):
    if len(precision) == 0:
        return 0.0
    best = precision.flip(0).cummax(0).values.flip(0)
    at = torch.searchsorted(recall, torch.linspace(0, 1, 101, dtype=recall.dtype))
    return torch.cat((best, best.new_zeros(1)))[at].sum() / 100


@wrong("one pass from the front looks one cut ahead")
def one_pass_from_the_front(precision, recall):
    if len(precision) == 0:
        return 0.0
    best = precision.clone()
    for i in range(len(best) - 1):
        best[i] = max(best[i], best[i + 1])
    at = torch.searchsorted(recall, torch.linspace(0, 1, 101, dtype=recall.dtype))
    return torch.cat((best, best.new_zeros(1)))[at].mean()


@wrong("yours end at the highest one")
def levels_up_to_what_is_reached(precision, recall):
    if len(precision) == 0:
        return 0.0
    best = precision.flip(0).cummax(0).values.flip(0)
    levels = torch.linspace(0, 1, 101, dtype=recall.dtype) * recall[-1]
    return best[torch.searchsorted(recall, levels).clamp(max=len(recall) - 1)].mean()
