"""Exercise 4.1: answers."""

import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


def yes_or_no(logits, labels):
    """The targets of all places; where the mistake is elsewhere."""
    return (labels[..., None] == torch.arange(logits.shape[-1])).float()


def elementwise(logits, targets, alpha, gamma):
    """The focal loss of each place and class; where the mistake is elsewhere."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p = torch.sigmoid(logits)
    p_t = p * targets + (1 - p) * (1 - targets)
    loss = (1 - p_t) ** gamma * cross_entropy
    if alpha is not None:
        loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss
    return loss


@right
def with_one_hot(logits, labels, *, alpha=0.25, gamma=2.0):
    classes = logits.shape[-1]
    labels, logits = labels.reshape(-1), logits.reshape(-1, classes)
    logits, labels = logits[labels != -2], labels[labels != -2]
    targets = F.one_hot(labels + 1, classes + 1)[:, 1:].float()
    loss = elementwise(logits, targets, alpha, gamma)
    return loss.sum() / max(1, int((labels >= 0).sum()))


@right
def with_the_sign_of_the_target(logits, labels, *, alpha=0.25, gamma=2.0):
    """p_t is the sigmoid of the logit with the target's sign."""
    targets = yes_or_no(logits, labels)
    signed = logits * (2 * targets - 1)
    loss = -(torch.sigmoid(-signed) ** gamma) * F.logsigmoid(signed)
    if alpha is not None:
        loss = loss * torch.where(targets == 1, alpha, 1 - alpha)
    loss = loss * (labels != -2)[..., None]
    return loss.sum() / (labels >= 0).sum().clamp(min=1)


@right
def in_two_halves(logits, labels, *, alpha=0.25, gamma=2.0):
    yes = yes_or_no(logits, labels) == 1
    no = ~yes & (labels != -2)[..., None]
    a, b = (1, 1) if alpha is None else (alpha, 1 - alpha)
    p = logits.sigmoid()
    total = a * ((1 - p[yes]) ** gamma * F.softplus(-logits[yes])).sum()
    total = total + b * (p[no] ** gamma * F.softplus(logits[no])).sum()
    return total / max((labels >= 0).sum().item(), 1)


@right
def from_the_cross_entropy(logits, labels, *, alpha=0.25, gamma=2.0):
    """p_t is exp(−cross-entropy)."""
    keep = labels > -2
    labels, logits = labels[keep], logits[keep]
    targets = torch.zeros_like(logits)
    objects = torch.nonzero(labels >= 0).squeeze(1)
    targets[objects, labels[objects]] = 1.0
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    # −expm1(−x) is 1 − exp(−x) without a loss of digits; 1e-12 keeps powers below 1 in hand.
    focal = (-torch.expm1(-ce)).clamp(min=1e-12) ** gamma * ce
    weight = 1.0 if alpha is None else targets * alpha + (1 - targets) * (1 - alpha)
    return (weight * focal).sum() / max(len(objects), 1)


@right
def with_an_epsilon_below(logits, labels, *, alpha=0.25, gamma=2.0):
    loss = elementwise(logits, yes_or_no(logits, labels), alpha, gamma)
    count = (labels >= 0).sum()
    return loss[labels != -2].sum() / (count.clamp(min=1) + 1e-6)


@slightly_off
def a_thousandth_more(logits, labels, *, alpha=0.25, gamma=2.0):
    return 1.001 * with_the_sign_of_the_target(logits, labels, alpha=alpha, gamma=gamma)


@wrong("yours is the mean over all places and classes")
def mean_over_everything(logits, labels, *, alpha=0.25, gamma=2.0):
    loss = elementwise(logits, yes_or_no(logits, labels), alpha, gamma)[labels != -2]
    return loss.mean() if loss.numel() else loss.sum()


@wrong("divided by the number of all places")
def divided_by_the_places(logits, labels, *, alpha=0.25, gamma=2.0):
    keep = labels != -2
    loss = elementwise(logits, yes_or_no(logits, labels), alpha, gamma)[keep]
    return loss.sum() / keep.sum().clamp(min=1)


@wrong("not divided at all")
def the_sum_alone(logits, labels, *, alpha=0.25, gamma=2.0):
    return elementwise(logits, yes_or_no(logits, labels), alpha, gamma)[labels != -2].sum()


@wrong("divides by 0")
def no_least_of_one(logits, labels, *, alpha=0.25, gamma=2.0):
    loss = elementwise(logits, yes_or_no(logits, labels), alpha, gamma)[labels != -2]
    return loss.sum() / (labels >= 0).sum()


@wrong("returns 0")
def nothing_without_objects(logits, labels, *, alpha=0.25, gamma=2.0):
    positives = (labels >= 0).sum()
    if positives == 0:
        return logits.sum() * 0
    loss = elementwise(logits, yes_or_no(logits, labels), alpha, gamma)[labels != -2]
    return loss.sum() / positives


@wrong("learn that they are background")
def ignored_as_background(logits, labels, *, alpha=0.25, gamma=2.0):
    loss = elementwise(logits, yes_or_no(logits, labels), alpha, gamma)
    return loss.sum() / (labels >= 0).sum().clamp(min=1)


@wrong("background is left out")
def positives_only(logits, labels, *, alpha=0.25, gamma=2.0):
    positive = labels >= 0
    loss = elementwise(logits, yes_or_no(logits, labels), alpha, gamma)[positive]
    return loss.sum() / positive.sum().clamp(min=1)


@wrong("the last class")
def minus_one_as_an_index(logits, labels, *, alpha=0.25, gamma=2.0):
    keep = labels != -2
    logits, labels = logits[keep], labels[keep]
    targets = torch.zeros_like(logits)
    targets[torch.arange(len(labels)), labels] = 1
    loss = elementwise(logits, targets, alpha, gamma)
    return loss.sum() / (labels >= 0).sum().clamp(min=1)


@wrong("exchanged: targets of 1 have alpha")
def alpha_on_the_wrong_side(logits, labels, *, alpha=0.25, gamma=2.0):
    weight = None if alpha is None else 1 - alpha
    loss = elementwise(logits, yes_or_no(logits, labels), weight, gamma)[labels != -2]
    return loss.sum() / (labels >= 0).sum().clamp(min=1)


@wrong("weighs them all with alpha")
def alpha_for_all(logits, labels, *, alpha=0.25, gamma=2.0):
    loss = elementwise(logits, yes_or_no(logits, labels), None, gamma)[labels != -2]
    return (alpha or 1) * loss.sum() / (labels >= 0).sum().clamp(min=1)


@wrong("targets of 0 have 1")
def alpha_for_the_positives_alone(logits, labels, *, alpha=0.25, gamma=2.0):
    targets = yes_or_no(logits, labels)
    loss = elementwise(logits, targets, None, gamma)
    if alpha is not None:
        loss = torch.where(targets == 1, alpha, 1.0) * loss
    return loss[labels != -2].sum() / (labels >= 0).sum().clamp(min=1)


@wrong("alpha may be None")
def alpha_is_always_a_number(logits, labels, *, alpha=0.25, gamma=2.0):
    targets = yes_or_no(logits, labels)
    loss = elementwise(logits, targets, None, gamma)
    loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss
    return loss[labels != -2].sum() / (labels >= 0).sum().clamp(min=1)


@wrong("p_t ** gamma")
def the_easy_ones_count(logits, labels, *, alpha=0.25, gamma=2.0):
    targets = yes_or_no(logits, labels)
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p_t = torch.exp(-ce)
    loss = p_t**gamma * ce
    if alpha is not None:
        loss = torch.where(targets == 1, alpha, 1 - alpha) * loss
    return loss[labels != -2].sum() / (labels >= 0).sum().clamp(min=1)


@wrong("whatever the target")
def one_minus_p_everywhere(logits, labels, *, alpha=0.25, gamma=2.0):
    targets = yes_or_no(logits, labels)
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    loss = (1 - logits.sigmoid()) ** gamma * ce
    if alpha is not None:
        loss = torch.where(targets == 1, alpha, 1 - alpha) * loss
    return loss[labels != -2].sum() / (labels >= 0).sum().clamp(min=1)


@wrong("the factor (1 - p_t) ** gamma is missing")
def weighted_cross_entropy(logits, labels, *, alpha=0.25, gamma=2.0):
    loss = elementwise(logits, yes_or_no(logits, labels), alpha, 0)[labels != -2]
    return loss.sum() / (labels >= 0).sum().clamp(min=1)


@wrong("always 2")
def gamma_is_two(logits, labels, *, alpha=0.25, gamma=2.0):
    loss = elementwise(logits, yes_or_no(logits, labels), alpha, 2)[labels != -2]
    return loss.sum() / (labels >= 0).sum().clamp(min=1)


@wrong("a softmax")
def softmax_over_classes(logits, labels, *, alpha=0.25, gamma=2.0):
    targets = yes_or_no(logits, labels)
    p = logits.softmax(dim=-1)
    log_p, log_q = logits.log_softmax(dim=-1), torch.log1p(-p.clamp(max=1 - 1e-6))
    loss = torch.where(targets == 1, -((1 - p) ** gamma) * log_p, -(p**gamma) * log_q)
    if alpha is not None:
        loss = torch.where(targets == 1, alpha, 1 - alpha) * loss
    return loss[labels != -2].sum() / (labels >= 0).sum().clamp(min=1)


@wrong("takes logits")
def sigmoid_twice(logits, labels, *, alpha=0.25, gamma=2.0):
    p = logits.sigmoid()
    loss = elementwise(p, yes_or_no(logits, labels), alpha, gamma)[labels != -2]
    return loss.sum() / (labels >= 0).sum().clamp(min=1)


@wrong("rounds to 0 or 1")
def log_of_the_sigmoid(logits, labels, *, alpha=0.25, gamma=2.0):
    targets = yes_or_no(logits, labels)
    p = torch.sigmoid(logits)
    p_t = torch.where(targets == 1, p, 1 - p)
    loss = -((1 - p_t) ** gamma) * torch.log(p_t)
    if alpha is not None:
        loss = torch.where(targets == 1, alpha, 1 - alpha) * loss
    return loss[labels != -2].sum() / (labels >= 0).sum().clamp(min=1)


@wrong("nothing is added to p_t")
def log_of_a_clamped_sigmoid(logits, labels, *, alpha=0.25, gamma=2.0):
    targets = yes_or_no(logits, labels)
    p = torch.sigmoid(logits).clamp(1e-4, 1 - 1e-4)
    p_t = torch.where(targets == 1, p, 1 - p)
    loss = -((1 - p_t) ** gamma) * torch.log(p_t)
    if alpha is not None:
        loss = torch.where(targets == 1, alpha, 1 - alpha) * loss
    return loss[labels != -2].sum() / (labels >= 0).sum().clamp(min=1)


@wrong("the minus is missing")
def no_minus(logits, labels, *, alpha=0.25, gamma=2.0):
    loss = elementwise(logits, yes_or_no(logits, labels), alpha, gamma)[labels != -2]
    return -loss.sum() / (labels >= 0).sum().clamp(min=1)


@wrong("belongs to the gradient")
def the_weight_without_gradient(logits, labels, *, alpha=0.25, gamma=2.0):
    targets = yes_or_no(logits, labels)
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    loss = (1 - torch.exp(-ce)).detach() ** gamma * ce
    if alpha is not None:
        loss = torch.where(targets == 1, alpha, 1 - alpha) * loss
    return loss[labels != -2].sum() / (labels >= 0).sum().clamp(min=1)


@wrong("one for each place")
def a_loss_for_each_place(logits, labels, *, alpha=0.25, gamma=2.0):
    loss = elementwise(logits, yes_or_no(logits, labels), alpha, gamma).sum(dim=-1)
    return loss * (labels != -2) / (labels >= 0).sum().clamp(min=1)


@wrong("there is a loop over places")
def place_by_place(logits, labels, *, alpha=0.25, gamma=2.0):
    total = logits.sum() * 0
    count = 0
    flat = logits.reshape(-1, logits.shape[-1])
    for row, label in zip(flat, labels.flatten().tolist()):
        if label == -2:
            continue
        target = torch.zeros_like(row)
        if label >= 0:
            target[label] = 1
            count += 1
        total = total + elementwise(row, target, alpha, gamma).sum()
    return total / max(count, 1)
