"""Exercise 2.9: answers."""

import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


@right
def with_indices(class_logits, deltas, labels, delta_targets):
    r = len(labels)
    classifier = F.cross_entropy(class_logits, labels)
    pos = torch.where(labels > 0)[0]
    pred = deltas[pos, labels[pos]]
    box = F.smooth_l1_loss(pred, delta_targets[pos], beta=1 / 9, reduction="sum")
    return classifier, box / r


@right
def with_gather(class_logits, deltas, labels, delta_targets):
    log_p = class_logits.log_softmax(dim=1)
    classifier = -log_p.gather(1, labels[:, None]).mean()
    own = deltas.gather(1, labels[:, None, None].expand(-1, 1, 4))[:, 0]
    positive = labels != 0
    error = (own[positive] - delta_targets[positive]).abs()
    beta = 1 / 9
    smooth = torch.where(error < beta, error**2 / (2 * beta), error - beta / 2)
    return classifier, smooth.sum() / labels.numel()


@right
def with_masked_targets(class_logits, deltas, labels, delta_targets):
    classifier = F.nll_loss(F.log_softmax(class_logits, dim=-1), labels)
    positive = (labels > 0)[:, None]
    own = deltas[torch.arange(len(labels)), labels]
    wanted = torch.where(positive, delta_targets, own.detach())
    return classifier, F.smooth_l1_loss(own, wanted, beta=1 / 9, reduction="sum") / len(labels)


@right
def with_logsumexp_and_huber(class_logits, deltas, labels, delta_targets):
    rows = torch.arange(len(labels))
    classifier = (class_logits.logsumexp(dim=1) - class_logits[rows, labels]).sum() / len(labels)
    positive = labels.clamp(max=1).bool()
    pred = deltas[rows, labels][positive]
    box = 9 * F.huber_loss(pred, delta_targets[positive], delta=1 / 9, reduction="sum")
    return classifier, box / len(labels)


@right
def with_one_hot(class_logits, deltas, labels, delta_targets):
    wanted = F.one_hot(labels, class_logits.shape[1]).to(class_logits)
    classifier = -(wanted * class_logits.log_softmax(1)).sum() / len(labels)
    own = (deltas * wanted[:, :, None]).sum(dim=1)
    keep = labels > 0
    loss = F.smooth_l1_loss(own[keep], delta_targets[keep], beta=1 / 9, reduction="none")
    return classifier, loss.sum(dim=1).sum() / len(labels)


@slightly_off
def box_loss_a_thousandth_too_small(class_logits, deltas, labels, delta_targets):
    classifier, box = with_indices(class_logits, deltas, labels, delta_targets)
    return classifier, 0.999 * box


@slightly_off
def cross_entropy_a_thousandth_too_large(class_logits, deltas, labels, delta_targets):
    classifier, box = with_indices(class_logits, deltas, labels, delta_targets)
    return 1.001 * classifier, box


@wrong("not by the number of positives: with few positives")
def mean_over_positives(class_logits, deltas, labels, delta_targets):
    pos = labels > 0
    pred = deltas[pos, labels[pos]]
    box = F.smooth_l1_loss(pred, delta_targets[pos], beta=1 / 9, reduction="sum")
    return F.cross_entropy(class_logits, labels), box / pos.sum().clamp(min=1)


@wrong("yours is the mean over all their numbers")
def default_mean(class_logits, deltas, labels, delta_targets):
    classifier = F.cross_entropy(class_logits, labels)
    pos = torch.where(labels > 0)[0]
    if len(pos) == 0:
        return classifier, deltas.sum() * 0
    return classifier, F.smooth_l1_loss(deltas[pos, labels[pos]], delta_targets[pos], beta=1 / 9)


@wrong("the default of F.smooth_l1_loss is 1")
def default_beta(class_logits, deltas, labels, delta_targets):
    pos = torch.where(labels > 0)[0]
    box = F.smooth_l1_loss(deltas[pos, labels[pos]], delta_targets[pos], reduction="sum")
    return F.cross_entropy(class_logits, labels), box / len(labels)


@wrong("smooth L1 is quadratic")
def plain_l1(class_logits, deltas, labels, delta_targets):
    pos = torch.where(labels > 0)[0]
    box = F.l1_loss(deltas[pos, labels[pos]], delta_targets[pos], reduction="sum")
    return F.cross_entropy(class_logits, labels), box / len(labels)


@wrong("this is the squared error")
def squared_error(class_logits, deltas, labels, delta_targets):
    pos = torch.where(labels > 0)[0]
    box = F.mse_loss(deltas[pos, labels[pos]], delta_targets[pos], reduction="sum")
    return F.cross_entropy(class_logits, labels), box / len(labels)


@wrong("F.huber_loss is smooth L1 times its delta")
def plain_huber(class_logits, deltas, labels, delta_targets):
    pos = torch.where(labels > 0)[0]
    pred = deltas[pos, labels[pos]]
    box = F.huber_loss(pred, delta_targets[pos], delta=1 / 9, reduction="sum")
    return F.cross_entropy(class_logits, labels), box / len(labels)


@wrong("yours compares all")
def all_classes(class_logits, deltas, labels, delta_targets):
    pos = labels > 0
    wanted = delta_targets[pos][:, None].expand_as(deltas[pos])
    box = F.smooth_l1_loss(deltas[pos], wanted, beta=1 / 9, reduction="sum")
    return F.cross_entropy(class_logits, labels), box / len(labels)


@wrong("one place before")
def one_place_before(class_logits, deltas, labels, delta_targets):
    pos = torch.where(labels > 0)[0]
    pred = deltas[pos, labels[pos] - 1]
    box = F.smooth_l1_loss(pred, delta_targets[pos], beta=1 / 9, reduction="sum")
    return F.cross_entropy(class_logits, labels), box / len(labels)


@wrong("which the network finds likeliest")
def of_the_predicted_class(class_logits, deltas, labels, delta_targets):
    pos = torch.where(labels > 0)[0]
    predicted = class_logits.argmax(dim=1)
    pred = deltas[pos, predicted[pos]]
    box = F.smooth_l1_loss(pred, delta_targets[pos], beta=1 / 9, reduction="sum")
    return F.cross_entropy(class_logits, labels), box / len(labels)


@wrong("only positives learn a box")
def background_too(class_logits, deltas, labels, delta_targets):
    pred = deltas[torch.arange(len(labels)), labels]
    box = F.smooth_l1_loss(pred, delta_targets, beta=1 / 9, reduction="sum")
    return F.cross_entropy(class_logits, labels), box / len(labels)


@wrong("only positives learn a box")
def labels_at_least_0(class_logits, deltas, labels, delta_targets):
    pos = torch.where(labels >= 0)[0]
    pred = deltas[pos, labels[pos]]
    box = F.smooth_l1_loss(pred, delta_targets[pos], beta=1 / 9, reduction="sum")
    return F.cross_entropy(class_logits, labels), box / len(labels)


@wrong("not labels > 1")
def background_is_class_1(class_logits, deltas, labels, delta_targets):
    pos = torch.where(labels > 1)[0]
    pred = deltas[pos, labels[pos]]
    box = F.smooth_l1_loss(pred, delta_targets[pos], beta=1 / 9, reduction="sum")
    return F.cross_entropy(class_logits, labels), box / len(labels)


@wrong("does it twice")
def softmax_before(class_logits, deltas, labels, delta_targets):
    probabilities = torch.softmax(class_logits, dim=1)
    _, box = with_indices(class_logits, deltas, labels, delta_targets)
    return F.cross_entropy(probabilities, labels), box


@wrong("log_softmax, not softmax")
def nll_of_probabilities(class_logits, deltas, labels, delta_targets):
    _, box = with_indices(class_logits, deltas, labels, delta_targets)
    return F.nll_loss(class_logits.softmax(1), labels), box


@wrong("the background is a class as well")
def classifies_positives_only(class_logits, deltas, labels, delta_targets):
    pos = labels > 0
    _, box = with_indices(class_logits, deltas, labels, delta_targets)
    if not pos.any():
        return class_logits.sum() * 0, box
    return F.cross_entropy(class_logits[pos], labels[pos]), box


@wrong("the cross-entropy is a mean over the R proposals")
def sums_the_cross_entropy(class_logits, deltas, labels, delta_targets):
    _, box = with_indices(class_logits, deltas, labels, delta_targets)
    return F.cross_entropy(class_logits, labels, reduction="sum"), box


@wrong("the box loss is divided by R; yours is the sum")
def sums_the_boxes(class_logits, deltas, labels, delta_targets):
    classifier, box = with_indices(class_logits, deltas, labels, delta_targets)
    return classifier, box * len(labels)


@wrong("yours are added up")
def adds_them(class_logits, deltas, labels, delta_targets):
    classifier, box = with_indices(class_logits, deltas, labels, delta_targets)
    return classifier + box


@wrong("yours are exchanged")
def box_first(class_logits, deltas, labels, delta_targets):
    classifier, box = with_indices(class_logits, deltas, labels, delta_targets)
    return box, classifier


@wrong("has no gradient with respect to the second argument")
def detaches_the_boxes(class_logits, deltas, labels, delta_targets):
    classifier, box = with_indices(class_logits, deltas, labels, delta_targets)
    return classifier, box.detach()


@wrong("there is a loop over proposals")
def one_after_the_other(class_logits, deltas, labels, delta_targets):
    total = deltas.sum() * 0
    for i, label in enumerate(labels.tolist()):
        if label > 0:
            total = total + F.smooth_l1_loss(
                deltas[i, label], delta_targets[i], beta=1 / 9, reduction="sum"
            )
    return F.cross_entropy(class_logits, labels), total / len(labels)


@wrong("0 · NaN is NaN")
def multiplies_with_the_mask(class_logits, deltas, labels, delta_targets):
    own = deltas[torch.arange(len(labels)), labels]
    loss = F.smooth_l1_loss(own, delta_targets, beta=1 / 9, reduction="none").sum(1)
    return F.cross_entropy(class_logits, labels), (loss * (labels > 0)).sum() / len(labels)


@wrong("yours is one place behind")
def cuts_the_background_off(class_logits, deltas, labels, delta_targets):
    pos = labels > 0
    boxes = deltas[:, 1:]
    rows = torch.arange(len(labels))
    pred = boxes[rows, labels][pos]
    box = F.smooth_l1_loss(pred, delta_targets[pos], beta=1 / 9, reduction="sum")
    return F.cross_entropy(class_logits, labels), box / len(labels)


@wrong("the background is a class as well")
def ignores_index_0(class_logits, deltas, labels, delta_targets):
    _, box = with_indices(class_logits, deltas, labels, delta_targets)
    return F.cross_entropy(class_logits, labels, ignore_index=0), box


@wrong("not one sigmoid a class")
def one_hot_and_sigmoid(class_logits, deltas, labels, delta_targets):
    _, box = with_indices(class_logits, deltas, labels, delta_targets)
    wanted = F.one_hot(labels, class_logits.shape[1]).float()
    return F.binary_cross_entropy_with_logits(class_logits, wanted), box


@wrong("yours is 9")
def beta_upside_down(class_logits, deltas, labels, delta_targets):
    classifier, _ = with_indices(class_logits, deltas, labels, delta_targets)
    pos = labels > 0
    pred = deltas[pos, labels[pos]]
    box = F.smooth_l1_loss(pred, delta_targets[pos], beta=9, reduction="sum")
    return classifier, box / len(labels)


@wrong("yours divides them once more")
def normalises_twice(class_logits, deltas, labels, delta_targets):
    spread = torch.tensor([0.2, 0.2, 0.4, 0.4])
    return with_indices(class_logits, deltas, labels, delta_targets / spread)


@wrong("expected a torch.Tensor here, too")
def a_number_where_nothing_is_positive(class_logits, deltas, labels, delta_targets):
    if not (labels > 0).any():
        return F.cross_entropy(class_logits, labels), 0.0
    return with_indices(class_logits, deltas, labels, delta_targets)


@wrong("0 · NaN is NaN")
def background_left_out_afterwards(class_logits, deltas, labels, delta_targets):
    own = deltas[torch.arange(len(labels)), labels]
    each = F.smooth_l1_loss(own, delta_targets, beta=1 / 9, reduction="none").sum(dim=1)
    box = torch.where(labels > 0, each, 0.0).sum() / len(labels)
    return F.cross_entropy(class_logits, labels), box
