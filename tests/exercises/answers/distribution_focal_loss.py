"""Exercise 3.6: answers."""

import numpy as np
import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


@right
def with_gather(logits, targets):
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    j = y.long()
    log_p = F.log_softmax(logits, dim=-1)
    left = log_p.gather(-1, j.unsqueeze(-1)).squeeze(-1)
    right_ = log_p.gather(-1, (j + 1).unsqueeze(-1)).squeeze(-1)
    return -((j + 1 - y) * left + (y - j) * right_)


@right
def with_two_cross_entropies(logits, targets):
    bins = logits.shape[-1]
    flat, y = logits.reshape(-1, bins), targets.reshape(-1).clamp(0, bins - 1 - 0.01)
    j = y.floor()
    loss = (j + 1 - y) * F.cross_entropy(flat, j.long(), reduction="none")
    loss = loss + (y - j) * F.cross_entropy(flat, j.long() + 1, reduction="none")
    return loss.view(targets.shape)


@right
def with_a_tent(logits, targets):
    bins = torch.arange(logits.shape[-1])
    y = targets.clamp(min=0, max=logits.shape[-1] - 1.01)
    share = torch.relu(1 - (bins - y[..., None]).abs())
    return -(share * logits.log_softmax(-1)).sum(-1)


@right
def with_numpy_shares(logits, targets):
    bins = logits.shape[-1]
    y = np.clip(targets.numpy().astype(np.float64), 0, bins - 1.01)
    share = np.maximum(0, 1 - np.abs(np.arange(bins) - y[..., None])).astype(np.float32)
    return (torch.from_numpy(share) * (logits.logsumexp(-1, keepdim=True) - logits)).sum(-1)


@right
def with_one_hot(logits, targets):
    bins = logits.shape[-1]
    y = torch.minimum(torch.relu(targets), torch.tensor(bins - 1.01))
    j = y.floor().long()
    weight = (y - j)[..., None]
    wanted = (1 - weight) * F.one_hot(j, bins) + weight * F.one_hot(j + 1, bins)
    return -(wanted * torch.log_softmax(logits, dim=-1)).sum(dim=-1)


@slightly_off
def a_thousandth_too_large(logits, targets):
    return 1.001 * with_gather(logits, targets)


@slightly_off
def clamped_a_hundredth_too_early(logits, targets):
    return with_gather(logits, targets.clamp(max=logits.shape[-1] - 1.03))


@wrong("the two shares are exchanged")
def shares_exchanged(logits, targets):
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    j = y.long()
    log_p = logits.log_softmax(-1)
    left = log_p.gather(-1, j[..., None])[..., 0]
    right_ = log_p.gather(-1, j[..., None] + 1)[..., 0]
    return -((y - j) * left + (j + 1 - y) * right_)


@wrong("yours learns the nearest one alone")
def nearest_bin(logits, targets):
    bins = logits.shape[-1]
    y = targets.clamp(0, bins - 1.01).round().long()
    loss = F.cross_entropy(logits.reshape(-1, bins), y.reshape(-1), reduction="none")
    return loss.view(targets.shape)


@wrong("yours learns the left one alone")
def left_bin(logits, targets):
    bins = logits.shape[-1]
    y = targets.clamp(0, bins - 1.01).long()
    loss = F.cross_entropy(logits.reshape(-1, bins), y.reshape(-1), reduction="none")
    return loss.view(targets.shape)


@wrong("the right one is missing")
def forgets_the_right(logits, targets):
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    j = y.floor()
    return -(j + 1 - y) * logits.log_softmax(-1).gather(-1, j.long()[..., None])[..., 0]


@wrong("both get 1")
def no_shares(logits, targets):
    j = targets.clamp(0, logits.shape[-1] - 1.01).long()[..., None]
    log_p = logits.log_softmax(-1)
    return -(log_p.gather(-1, j) + log_p.gather(-1, j + 1))[..., 0]


@wrong("both bins get a half")
def a_half_each(logits, targets):
    j = targets.clamp(0, logits.shape[-1] - 1.01).long()[..., None]
    log_p = logits.log_softmax(-1)
    return -(log_p.gather(-1, j) + log_p.gather(-1, j + 1))[..., 0] / 2


@wrong("has no bin to its right")
def not_clamped_above(logits, targets):
    y = targets.clamp(min=0)
    j = y.long()
    log_p = logits.log_softmax(-1)
    left = log_p.gather(-1, j[..., None])[..., 0]
    right_ = log_p.gather(-1, j[..., None] + 1)[..., 0]
    return -((j + 1 - y) * left + (y - j) * right_)


@wrong("has no bin to its right")
def clamped_to_the_last_bin(logits, targets):
    y = targets.clamp(0, logits.shape[-1] - 1)
    j = y.long()
    log_p = logits.log_softmax(-1)
    left = log_p.gather(-1, j[..., None])[..., 0]
    right_ = log_p.gather(-1, j[..., None] + 1)[..., 0]
    return -((j + 1 - y) * left + (y - j) * right_)


@wrong("yours go up to R − 1")
def the_last_bin_gets_everything(logits, targets):
    bins = torch.arange(logits.shape[-1])
    y = targets.clamp(0, logits.shape[-1] - 1)
    share = (1 - (bins - y[..., None]).abs()).clamp(min=0)
    return -(share * logits.log_softmax(-1)).sum(-1)


@wrong("yours stop at R − 2")
def stops_at_the_last_but_one(logits, targets):
    return with_gather(logits, targets.clamp(max=logits.shape[-1] - 2))


@wrong("a target below 0 counts as 0: clamp")
def not_clamped_below(logits, targets):
    y = targets.clamp(max=logits.shape[-1] - 1.01)
    j = y.floor()
    log_p = logits.log_softmax(-1)
    left = log_p.gather(-1, j.long()[..., None])[..., 0]
    right_ = log_p.gather(-1, j.long()[..., None] + 1)[..., 0]
    return -((j + 1 - y) * left + (y - j) * right_)


@wrong("only: clamp the targets to [0, R − 1.01]")
def not_clamped(logits, targets):
    j = targets.floor()
    log_p = logits.log_softmax(-1)
    left = log_p.gather(-1, j.long()[..., None])[..., 0]
    right_ = log_p.gather(-1, j.long()[..., None] + 1)[..., 0]
    return -((j + 1 - targets) * left + (targets - j) * right_)


@wrong("yours looks for one beyond them")
def rounds_up_and_down(logits, targets):
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    j = y.round()
    log_p = logits.log_softmax(-1)
    left = log_p.gather(-1, j.long()[..., None])[..., 0]
    right_ = log_p.gather(-1, j.long()[..., None] + 1)[..., 0]
    return -((j + 1 - y) * left + (y - j) * right_)


@wrong("yours learn nothing there")
def a_tent_that_is_not_clamped(logits, targets):
    bins = torch.arange(logits.shape[-1])
    share = (1 - (bins - targets[..., None]).abs()).clamp(min=0)
    return -(share * logits.log_softmax(-1)).sum(-1)


@wrong("yours turns its sign round")
def absolute_targets(logits, targets):
    return with_gather(logits, targets.abs())


@wrong("yours is always 16")
def sixteen_bins(logits, targets):
    y = targets.clamp(0, 14.99)
    j = y.long()
    log_p = logits.log_softmax(-1)
    left = log_p.gather(-1, j[..., None])[..., 0]
    right_ = log_p.gather(-1, j[..., None] + 1)[..., 0]
    return -((j + 1 - y) * left + (y - j) * right_)


@wrong("p rounds to 0")
def log_of_softmax(logits, targets):
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    j = y.long()
    log_p = torch.log(torch.softmax(logits, dim=-1))
    left = log_p.gather(-1, j[..., None])[..., 0]
    right_ = log_p.gather(-1, j[..., None] + 1)[..., 0]
    return -((j + 1 - y) * left + (y - j) * right_)


@wrong("nothing is added to p")
def log_of_softmax_plus_epsilon(logits, targets):
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    j = y.long()
    log_p = torch.log(torch.softmax(logits, dim=-1) + 1e-6)
    left = log_p.gather(-1, j[..., None])[..., 0]
    right_ = log_p.gather(-1, j[..., None] + 1)[..., 0]
    return -((j + 1 - y) * left + (y - j) * right_)


@wrong("does the softmax twice")
def softmax_twice(logits, targets):
    return with_two_cross_entropies(logits.softmax(dim=-1), targets)


@wrong("log_softmax is missing")
def raw_logits(logits, targets):
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    j = y.long()
    left = logits.gather(-1, j[..., None])[..., 0]
    right_ = logits.gather(-1, j[..., None] + 1)[..., 0]
    return -((j + 1 - y) * left + (y - j) * right_)


@wrong("the softmax runs over the bins")
def softmax_over_the_first_dimension(logits, targets):
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    j = y.long()
    log_p = logits.log_softmax(0)
    left = log_p.gather(-1, j[..., None])[..., 0]
    right_ = log_p.gather(-1, j[..., None] + 1)[..., 0]
    return -((j + 1 - y) * left + (y - j) * right_)


@wrong("not a sigmoid for each bin")
def binary_cross_entropy(logits, targets):
    bins = torch.arange(logits.shape[-1])
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    share = (1 - (bins - y[..., None]).abs()).clamp(min=0)
    return F.binary_cross_entropy_with_logits(logits, share, reduction="none").sum(-1)


@wrong("within one logarithm")
def log_of_the_mixture(logits, targets):
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    j = y.long()
    p = logits.softmax(-1)
    left = p.gather(-1, j[..., None])[..., 0]
    right_ = p.gather(-1, j[..., None] + 1)[..., 0]
    return -torch.log((j + 1 - y) * left + (y - j) * right_)


@wrong("the minus is missing")
def no_minus(logits, targets):
    return -with_gather(logits, targets)


@wrong("in yours the second has none")
def one_minus(logits, targets):
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    j = y.long()
    log_p = logits.log_softmax(-1)
    left = log_p.gather(-1, j[..., None])[..., 0]
    right_ = log_p.gather(-1, j[..., None] + 1)[..., 0]
    return -(j + 1 - y) * left + (y - j) * right_


@wrong("which many distributions have")
def l1_of_the_mean(logits, targets):
    mean = logits.softmax(-1) @ torch.arange(logits.shape[-1]).float()
    return (mean - targets.clamp(0, logits.shape[-1] - 1.01)).abs()


@wrong("takes the target's own entropy away")
def kl_divergence(logits, targets):
    bins = torch.arange(logits.shape[-1])
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    share = (1 - (bins - y[..., None]).abs()).clamp(min=0)
    return F.kl_div(logits.log_softmax(-1), share, reduction="none").sum(-1)


@wrong("divided by the number of bins")
def mean_over_bins(logits, targets):
    bins = torch.arange(logits.shape[-1])
    y = targets.clamp(0, logits.shape[-1] - 1.01)
    share = (1 - (bins - y[..., None]).abs()).clamp(min=0)
    return -(share * logits.log_softmax(-1)).mean(-1)


@wrong("yours is the mean of all")
def mean_of_all(logits, targets):
    return with_gather(logits, targets).mean()


@wrong("yours is one for each box")
def mean_over_sides(logits, targets):
    return with_gather(logits, targets).mean(-1)


@wrong("with length 1")
def keeps_a_dimension(logits, targets):
    return with_gather(logits, targets)[..., None]


@wrong("there is a loop over distributions")
def one_after_the_other(logits, targets):
    bins = logits.shape[-1]
    losses = []
    for row, y in zip(logits.reshape(-1, bins), targets.reshape(-1)):
        y = y.clamp(0, bins - 1.01)
        j = int(y)
        log_p = row.log_softmax(0)
        losses.append(-(j + 1 - y) * log_p[j] - (y - j) * log_p[j + 1])
    return torch.stack(losses).view(targets.shape) if losses else targets.clone()


@wrong("has no gradient with respect to the first argument")
def with_numpy(logits, targets):
    return torch.from_numpy(with_gather(logits, targets).detach().numpy().copy())
