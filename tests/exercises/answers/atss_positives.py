"""Exercise 4.5: answers. `box_iou` is at hand there."""

import itertools

import numpy as np
import torch

from answers import right, slightly_off, wrong
from detlearn.boxes import box_iou


def centres_of(boxes):
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def nearest_of_each_level(anchors, level_sizes, box, k):
    """The indices of the candidates; where the mistake is elsewhere."""
    away = (centres_of(anchors) - centres_of(box)).pow(2).sum(dim=1)
    found, start = [], 0
    for size in level_sizes:
        order = torch.sort(away[start : start + size], stable=True).indices
        found.append(order[:k] + start)
        start += size
    return torch.cat(found)


def threshold_of(ious):
    return ious.mean() + (ious.std() if len(ious) > 1 else 0)


def centre_is_inside(anchors, box):
    x, y = centres_of(anchors).unbind(dim=1)
    return (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])


def mask_of(indices, number):
    mask = torch.zeros(number, dtype=torch.bool)
    mask[indices] = True
    return mask


@right
def step_by_step(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors[candidates], box[None])[:, 0].double()
    good = ious >= threshold_of(ious)
    good &= centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@right
def with_split_and_masks(anchors, level_sizes, box, k=9):
    """A mask of candidates in place of their indices."""
    distance = torch.linalg.norm(centres_of(anchors) - centres_of(box), dim=1)
    masks = []
    for level in distance.split(list(level_sizes)):
        rank = level.argsort(stable=True).argsort()
        masks.append(rank < k)
    candidate = torch.cat(masks)
    iou = box_iou(box.unsqueeze(0), anchors).squeeze(0)
    chosen = iou[candidate]
    spread = torch.std(chosen) if chosen.numel() > 1 else torch.tensor(0.0)
    low = chosen.mean() + spread
    # A millionth of slack for the rounding of the mean.
    return candidate & (iou >= low - 1e-6) & centre_is_inside(anchors, box)


@right
def deviation_by_hand(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    iou = box_iou(anchors, box.view(1, 4)).view(-1).double()
    values = iou[candidates]
    n = len(values)
    mean = values.sum() / n
    variance = ((values - mean) ** 2).sum() / max(n - 1, 1)
    offsets = torch.cat((centres_of(anchors) - box[:2], box[2:] - centres_of(anchors)), dim=1)
    inside = offsets.min(dim=1).values > 0
    positive = torch.zeros_like(inside)
    positive[candidates] = values >= mean + variance.sqrt()
    return positive & inside


@right
def with_numpy(anchors, level_sizes, box, k=9):
    a, b = anchors.double().numpy(), box.double().numpy()
    c = (a[:, :2] + a[:, 2:]) / 2
    away = ((c - (b[:2] + b[2:]) / 2) ** 2).sum(1)
    starts = np.cumsum([0, *level_sizes])
    index = np.concatenate(
        [s + np.argsort(away[s:e], kind="stable")[:k] for s, e in itertools.pairwise(starts)]
    )
    low, high = np.maximum(a[:, :2], b[:2]), np.minimum(a[:, 2:], b[2:])
    inter = np.clip(high - low, 0, None).prod(1)
    iou = (inter / ((a[:, 2:] - a[:, :2]).prod(1) + (b[2:] - b[:2]).prod() - inter))[index]
    level = iou.mean() + (iou.std(ddof=1) if len(iou) > 1 else 0)
    inside = (c[index] > b[:2]).all(1) & (c[index] < b[2:]).all(1)
    out = np.zeros(len(a), dtype=bool)
    out[index[(iou >= level) & inside]] = True
    return torch.from_numpy(out)


@slightly_off
def a_threshold_a_thousandth_too_high(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors[candidates], box[None])[:, 0]
    good = (ious >= 1.001 * threshold_of(ious)) & centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@wrong("yours are the k nearest of all levels together")
def nearest_of_all_levels(anchors, level_sizes, box, k=9):
    away = (centres_of(anchors) - centres_of(box)).pow(2).sum(dim=1)
    candidates = away.argsort(stable=True)[:k]
    ious = box_iou(anchors[candidates], box[None])[:, 0]
    good = (ious >= threshold_of(ious)) & centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@wrong("yours overlap it most")
def highest_iou_of_each_level(anchors, level_sizes, box, k=9):
    iou = box_iou(anchors, box[None])[:, 0]
    found, start = [], 0
    for size in level_sizes:
        found.append(start + iou[start : start + size].argsort(descending=True, stable=True)[:k])
        start += size
    candidates = torch.cat(found)
    good = iou[candidates] >= threshold_of(iou[candidates])
    good &= centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@wrong("the standard deviation is missing")
def the_mean_alone(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors[candidates], box[None])[:, 0]
    good = (ious >= ious.mean()) & centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@wrong("divides by their number")
def biased(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors[candidates], box[None])[:, 0]
    good = ious >= ious.mean() + ious.std(unbiased=False)
    good &= centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@wrong("yours adds the variance")
def variance(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors[candidates], box[None])[:, 0]
    good = ious >= ious.mean() + (ious.var() if len(ious) > 1 else 0)
    good &= centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@wrong("each level has one of its own")
def a_threshold_for_each_level(anchors, level_sizes, box, k=9):
    positive, start = [], 0
    for size in level_sizes:
        level = anchors[start : start + size]
        candidates = nearest_of_each_level(level, [size], box, k)
        ious = box_iou(level[candidates], box[None])[:, 0]
        good = (ious >= threshold_of(ious)) & centre_is_inside(level[candidates], box)
        positive.append(mask_of(candidates[good], size))
        start += size
    return torch.cat(positive)


@wrong("of all anchors, not of the candidates")
def statistics_of_all(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors, box[None])[:, 0]
    good = (ious >= threshold_of(ious)) & centre_is_inside(anchors, box)
    return good & mask_of(candidates, len(anchors))


@wrong("not only candidates")
def every_anchor_over_the_threshold(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors, box[None])[:, 0].double()
    good = ious >= threshold_of(ious[candidates])
    return good & centre_is_inside(anchors, box)


@wrong("whose centre lies outside the object")
def forgets_inside(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors[candidates], box[None])[:, 0].double()
    return mask_of(candidates[ious >= threshold_of(ious)], len(anchors))


@wrong("the whole anchor")
def anchor_inside_the_object(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors[candidates], box[None])[:, 0]
    a = anchors[candidates]
    inside = (a[:, :2] >= box[:2]).all(dim=1) & (a[:, 2:] <= box[2:]).all(dim=1)
    return mask_of(candidates[(ious >= threshold_of(ious)) & inside], len(anchors))


@wrong("before the threshold is calculated")
def inside_first(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    candidates = candidates[centre_is_inside(anchors[candidates], box)]
    if len(candidates) == 0:
        return torch.zeros(len(anchors), dtype=torch.bool)
    ious = box_iou(anchors[candidates], box[None])[:, 0].double()
    return mask_of(candidates[ious >= threshold_of(ious)], len(anchors))


@wrong("at the threshold itself")
def above_the_threshold(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors[candidates], box[None])[:, 0].double()
    good = (ious > threshold_of(ious)) & centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@wrong("always 0.5")
def a_fixed_threshold(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors[candidates], box[None])[:, 0]
    good = (ious >= 0.5) & centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@wrong("always 9")
def nine(anchors, level_sizes, box, k=9):
    return step_by_step(anchors, level_sizes, box)


@wrong("take min(k, their number)")
def more_than_there_are(anchors, level_sizes, box, k=9):
    away = (centres_of(anchors) - centres_of(box)).pow(2).sum(dim=1)
    found, start = [], 0
    for size in level_sizes:
        found.append(start + away[start : start + size].topk(k, largest=False).indices)
        start += size
    candidates = torch.cat(found)
    ious = box_iou(anchors[candidates], box[None])[:, 0]
    good = (ious >= threshold_of(ious)) & centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@wrong("a single candidate")
def nan_for_one(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = box_iou(anchors[candidates], box[None])[:, 0].double()
    good = (ious >= ious.mean() + ious.std()) & centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@wrong("counts each level from 0")
def forgets_the_start(anchors, level_sizes, box, k=9):
    away = (centres_of(anchors) - centres_of(box)).pow(2).sum(dim=1)
    candidates = torch.cat(
        [level.argsort(stable=True)[:k] for level in away.split(list(level_sizes))]
    )
    ious = box_iou(anchors[candidates], box[None])[:, 0]
    good = (ious >= threshold_of(ious)) & centre_is_inside(anchors[candidates], box)
    return mask_of(candidates[good], len(anchors))


@wrong("yours are indices")
def indices(anchors, level_sizes, box, k=9):
    return step_by_step(anchors, level_sizes, box, k).nonzero().flatten()


@wrong("there is a loop over anchors")
def anchor_by_anchor(anchors, level_sizes, box, k=9):
    candidates = nearest_of_each_level(anchors, level_sizes, box, k)
    ious = torch.stack([box_iou(a[None], box[None])[0, 0] for a in anchors])
    low = threshold_of(ious[candidates].double())
    chosen = mask_of(candidates, len(anchors)) & (ious >= low - 1e-9)
    return chosen & centre_is_inside(anchors, box)
