"""Exercise 5.4: answers."""

import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


@right
def with_the_library(class_logits, labels, no_object_weight=0.1):
    classes = class_logits.shape[-1]
    weight = torch.ones(classes)
    weight[-1] = no_object_weight
    return F.cross_entropy(class_logits.reshape(-1, classes), labels.reshape(-1), weight)


@right
def with_log_softmax(class_logits, labels, no_object_weight=0.1):
    log_p = class_logits.log_softmax(dim=-1).gather(-1, labels[..., None])[..., 0]
    weights = torch.ones_like(log_p)
    weights[labels == class_logits.shape[-1] - 1] = no_object_weight
    return -(weights * log_p).sum() / weights.sum()


@right
def in_two_halves(class_logits, labels, no_object_weight=0.1):
    logits, labels = class_logits.flatten(0, -2), labels.flatten()
    loss = F.cross_entropy(logits, labels, reduction="none")
    none = labels == logits.shape[-1] - 1
    total = loss[~none].sum() + no_object_weight * loss[none].sum()
    return total / ((~none).sum() + no_object_weight * none.sum())


@right
def with_one_hot(class_logits, labels, no_object_weight=0.1):
    k = class_logits.shape[-1] - 1
    targets = F.one_hot(labels, k + 1).to(class_logits.dtype)
    targets[..., k] *= no_object_weight
    x = class_logits - class_logits.amax(dim=-1, keepdim=True).detach()
    minus_log_p = torch.log(torch.exp(x).sum(dim=-1, keepdim=True)) - x
    return (targets * minus_log_p).sum() / targets.sum()


@right
def with_logsumexp(class_logits, labels, no_object_weight=0.1):
    k = class_logits.shape[-1] - 1
    of_label = torch.take_along_dim(class_logits, labels.unsqueeze(-1), dim=-1).squeeze(-1)
    ce = torch.logsumexp(class_logits, dim=-1) - of_label
    w = torch.where(labels < k, 1.0, float(no_object_weight))
    return torch.sum(w / w.sum() * ce)


@slightly_off
def a_thousandth_more(class_logits, labels, no_object_weight=0.1):
    return 1.001 * with_logsumexp(class_logits, labels, no_object_weight)


def parts(class_logits, labels, no_object_weight):
    """Loss and weight of each query; where the mistake is elsewhere."""
    logits, labels = class_logits.flatten(0, -2), labels.flatten()
    loss = F.cross_entropy(logits, labels, reduction="none")
    return loss, torch.where(labels == logits.shape[-1] - 1, float(no_object_weight), 1.0)


@wrong("objects count for less the more queries there are")
def mean_over_queries(class_logits, labels, no_object_weight=0.1):
    loss, weights = parts(class_logits, labels, no_object_weight)
    return (loss * weights).mean()


@wrong("by the number of queries with an object")
def over_objects(class_logits, labels, no_object_weight=0.1):
    loss, weights = parts(class_logits, labels, no_object_weight)
    return (loss * weights).sum() / (labels != class_logits.shape[-1] - 1).sum().clamp(min=1)


@wrong("yours is not divided at all")
def sum_alone(class_logits, labels, no_object_weight=0.1):
    loss, weights = parts(class_logits, labels, no_object_weight)
    return (loss * weights).sum()


@wrong("the weights are missing")
def plain_cross_entropy(class_logits, labels, no_object_weight=0.1):
    return F.cross_entropy(class_logits.flatten(0, -2), labels.flatten())


@wrong("your weight falls on class 0")
def no_object_is_class_0(class_logits, labels, no_object_weight=0.1):
    weight = torch.ones(class_logits.shape[-1])
    weight[0] = no_object_weight
    return F.cross_entropy(class_logits.flatten(0, -2), labels.flatten(), weight)


@wrong("the weights are exchanged")
def objects_count_less(class_logits, labels, no_object_weight=0.1):
    weight = torch.full((class_logits.shape[-1],), float(no_object_weight))
    weight[-1] = 1
    return F.cross_entropy(class_logits.flatten(0, -2), labels.flatten(), weight)


@wrong("yours is always 0.1")
def fixed_weight(class_logits, labels, no_object_weight=0.1):
    weight = torch.ones(class_logits.shape[-1])
    weight[-1] = 0.1
    return F.cross_entropy(class_logits.flatten(0, -2), labels.flatten(), weight)


@wrong("yours takes the softmax before it and again inside")
def softmax_twice(class_logits, labels, no_object_weight=0.1):
    return with_the_library(class_logits.softmax(-1), labels, no_object_weight)


@wrong("a probability rounds to 0")
def log_of_softmax(class_logits, labels, no_object_weight=0.1):
    p = class_logits.softmax(-1).gather(-1, labels[..., None])[..., 0]
    weights = torch.where(labels == class_logits.shape[-1] - 1, float(no_object_weight), 1.0)
    return -(weights * p.log()).sum() / weights.sum()


@wrong("nothing is added to the probability")
def log_with_an_epsilon(class_logits, labels, no_object_weight=0.1):
    p = class_logits.softmax(-1).gather(-1, labels[..., None])[..., 0]
    weights = torch.where(labels == class_logits.shape[-1] - 1, float(no_object_weight), 1.0)
    return -(weights * (p + 1e-8).log()).sum() / weights.sum()


@wrong("yours leaves them out")
def objects_only(class_logits, labels, no_object_weight=0.1):
    mask = labels != class_logits.shape[-1] - 1
    if not mask.any():
        return class_logits.sum() * 0
    return F.cross_entropy(class_logits[mask], labels[mask])


@wrong("yours is taken in each image first")
def image_by_image(class_logits, labels, no_object_weight=0.1):
    q, classes = class_logits.shape[-2:]
    images = zip(class_logits.reshape(-1, q, classes), labels.reshape(-1, q))
    return torch.stack([with_the_library(x, y, no_object_weight) for x, y in images]).mean()


@wrong("yours asks each class alone")
def binary_cross_entropy(class_logits, labels, no_object_weight=0.1):
    targets = F.one_hot(labels, class_logits.shape[-1]).float()
    loss = F.binary_cross_entropy_with_logits(class_logits, targets, reduction="none").sum(-1)
    weights = torch.where(labels == class_logits.shape[-1] - 1, float(no_object_weight), 1.0)
    return (weights * loss).sum() / weights.sum()


@wrong("the minus is missing")
def no_minus(class_logits, labels, no_object_weight=0.1):
    log_p = class_logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
    weights = torch.where(labels == class_logits.shape[-1] - 1, float(no_object_weight), 1.0)
    return (weights * log_p).sum() / weights.sum()


@wrong("a reshape cuts the same row of numbers")
def classes_to_the_front_by_reshape(class_logits, labels, no_object_weight=0.1):
    q, classes = class_logits.shape[-2:]
    weight = torch.ones(classes)
    weight[-1] = no_object_weight
    return F.cross_entropy(class_logits.reshape(-1, classes, q), labels.reshape(-1, q), weight)


@wrong("yours is one for each query")
def one_for_each_query(class_logits, labels, no_object_weight=0.1):
    loss, weights = parts(class_logits, labels, no_object_weight)
    return (loss * weights).view(labels.shape)


@wrong("there is a loop over queries")
def query_by_query(class_logits, labels, no_object_weight=0.1):
    total, weights = 0, 0
    k = class_logits.shape[-1] - 1
    for x, y in zip(class_logits.reshape(-1, k + 1), labels.flatten().tolist()):
        weight = no_object_weight if y == k else 1.0
        total = total - weight * F.log_softmax(x, dim=0)[y]
        weights += weight
    return total / weights
