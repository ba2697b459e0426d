"""Exercise 8.5: answers."""

import numpy as np
import torch

from answers import because, right, slightly_off, wrong


@right
def with_quotient_and_remainder(scores, boxes, most):
    best, index = scores.reshape(-1).topk(min(most, scores.numel()))
    place = torch.div(index, scores.shape[1], rounding_mode="floor")
    return boxes[place], index % scores.shape[1], best


@right
def with_boxes_repeated(scores, boxes, most):
    each = boxes.repeat_interleave(scores.shape[1], dim=0)
    labels = torch.arange(scores.shape[1]).repeat(len(scores))
    order = scores.flatten().argsort(descending=True)[:most]
    return each[order], labels[order], scores.flatten()[order]


@right
def class_by_class(scores, boxes, most):
    """The transposed map: K rows of P."""
    best, index = scores.T.flatten().topk(min(most, scores.numel()))
    return boxes[index % len(boxes)], index // len(boxes), best


@right
def in_numpy(scores, boxes, most):
    s = scores.numpy()
    order = np.argsort(-s, axis=None)[:most]
    place, label = np.unravel_index(order, s.shape)
    return boxes[place], torch.from_numpy(label), scores[place, label]


@slightly_off
def scores_a_thousandth_off(scores, boxes, most):
    best, index = scores.flatten().topk(min(most, scores.numel()))
    return boxes[index // scores.shape[1]], index % scores.shape[1], 1.001 * best


@wrong("the broken function still")
def unchanged(scores, boxes, most):
    num_places = len(scores)
    best, index = scores.flatten().topk(min(most, scores.numel()))
    return boxes[index % num_places], index // num_places, best


@wrong("those of other places")
def labels_alone(scores, boxes, most):
    best, index = scores.flatten().topk(min(most, scores.numel()))
    return boxes[index % len(scores)], index % scores.shape[1], best


@wrong("the labels still count places")
def boxes_alone(scores, boxes, most):
    best, index = scores.flatten().topk(min(most, scores.numel()))
    return boxes[index // scores.shape[1]], index // len(scores), best


@wrong("exchanged")
def exchanged(scores, boxes, most):
    k = scores.shape[1]
    best, index = scores.flatten().topk(min(most, scores.numel()))
    return boxes[(index % k).clamp(max=len(boxes) - 1)], index // k, best


@wrong("the best class of each alone")
def one_class_a_place(scores, boxes, most):
    best, labels = scores.max(dim=1)
    best, index = best.topk(min(most, len(best)))
    return boxes[index], labels[index], best


@wrong("labels start at 0")
def background_first(scores, boxes, most):
    best, index = scores.flatten().topk(min(most, scores.numel()))
    return boxes[index // scores.shape[1]], index % scores.shape[1] + 1, best


@wrong("these are the lowest")
def lowest(scores, boxes, most):
    best, index = scores.flatten().sort()
    best, index = best[:most], index[:most]
    return boxes[index // scores.shape[1]], index % scores.shape[1], best


@wrong("in the order of their places")
def unsorted(scores, boxes, most):
    chosen = torch.zeros(scores.numel(), dtype=torch.bool)
    chosen[scores.flatten().topk(min(most, scores.numel())).indices] = True
    place, label = chosen.view(scores.shape).nonzero(as_tuple=True)
    return boxes[place], label, scores[place, label]


@wrong("take min(k, their number)")
def more_than_there_are(scores, boxes, most):
    best, index = scores.flatten().topk(most)
    return boxes[index // scores.shape[1]], index % scores.shape[1], best


@wrong("not P")
def at_most_the_places(scores, boxes, most):
    best, index = scores.flatten().topk(min(most, len(boxes)))
    return boxes[index // scores.shape[1]], index % scores.shape[1], best


@wrong("the cure mends it, but the cause is another")
@because("targets")
def right_cure_for_another_cause(scores, boxes, most):
    best, index = scores.flatten().topk(min(most, scores.numel()))
    return boxes[index // scores.shape[1]], index % scores.shape[1], best
