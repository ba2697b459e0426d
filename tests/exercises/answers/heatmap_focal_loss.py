"""Exercise 1.3: answers."""

import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


@right
def with_where(logits, targets, alpha=2.0, beta=4.0):
    p = torch.sigmoid(logits)
    at_centre = -((1 - p) ** alpha) * F.logsigmoid(logits)
    elsewhere = -((1 - targets) ** beta) * p**alpha * F.logsigmoid(-logits)
    return torch.where(targets == 1, at_centre, elsewhere).sum()


@right
def with_two_selections(logits, targets, alpha=2.0, beta=4.0):
    centre = targets == 1
    yes, no, y = logits[centre], logits[~centre], targets[~centre]
    loss = (torch.sigmoid(-yes).pow(alpha) * F.softplus(-yes)).sum()
    return loss + ((1 - y).pow(beta) * torch.sigmoid(no).pow(alpha) * F.softplus(no)).sum()


@right
def with_cross_entropy(logits, targets, alpha=2.0, beta=4.0):
    centre = (targets == 1).float()
    bce = F.binary_cross_entropy_with_logits(logits, centre, reduction="none")
    miss = torch.sigmoid(torch.where(targets == 1, -logits, logits))
    weight = torch.where(targets == 1, 1.0, (1 - targets) ** beta)
    return (weight * miss**alpha * bce).sum()


@right
def with_logaddexp(logits, targets, alpha=2.0, beta=4.0):
    zero = torch.zeros_like(logits)
    cost_yes, cost_no = torch.logaddexp(zero, -logits), torch.logaddexp(zero, logits)
    centre = targets.eq(1.0)
    p = logits.sigmoid()
    loss = centre * (1 - p) ** alpha * cost_yes
    loss = loss + ~centre * (1 - targets) ** beta * p**alpha * cost_no
    return torch.sum(loss)


@slightly_off
def a_thousandth_too_large(logits, targets, alpha=2.0, beta=4.0):
    return 1.001 * with_where(logits, targets, alpha, beta)


@slightly_off
def alpha_a_thousandth_too_large(logits, targets, alpha=2.0, beta=4.0):
    return with_where(logits, targets, 1.001 * alpha, beta)


@wrong("this is plain cross-entropy")
def plain_bce(logits, targets, alpha=2.0, beta=4.0):
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")


@wrong("the factor (1 − y)^β is missing")
def no_beta(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = (1 - p) ** alpha * -F.logsigmoid(logits)
    no = p**alpha * -F.logsigmoid(-logits)
    return torch.where(targets == 1, yes, no).sum()


@wrong("where y is exactly 1")
def centres_are_above_zero(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = (1 - p) ** alpha * -F.logsigmoid(logits)
    no = (1 - targets) ** beta * p**alpha * -F.logsigmoid(-logits)
    return torch.where(targets > 0, yes, no).sum()


@wrong("yours is the mean")
def takes_the_mean(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = (1 - p) ** alpha * -F.logsigmoid(logits)
    no = (1 - targets) ** beta * p**alpha * -F.logsigmoid(-logits)
    return torch.where(targets == 1, yes, no).mean()


@wrong("divides by the number of objects")
def divides_by_the_centres(logits, targets, alpha=2.0, beta=4.0):
    total = with_where(logits, targets, alpha, beta)
    return total / (targets == 1).sum().clamp(min=1)


@wrong("the minus is missing")
def forgets_the_minus(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = (1 - p) ** alpha * F.logsigmoid(logits)
    no = (1 - targets) ** beta * p**alpha * F.logsigmoid(-logits)
    return torch.where(targets == 1, yes, no).sum()


@wrong("the logarithm of 0 is −∞")
def log_of_the_sigmoid(logits, targets, alpha=2.0, beta=4.0):
    p = torch.sigmoid(logits)
    yes = -((1 - p) ** alpha) * torch.log(p)
    no = -((1 - targets) ** beta) * p**alpha * torch.log(1 - p)
    return torch.where(targets == 1, yes, no).sum()


@wrong("nothing is clamped")
def as_in_centernet(logits, targets, alpha=2.0, beta=4.0):
    p = torch.clamp(logits.sigmoid(), min=1e-4, max=1 - 1e-4)
    positive = targets.eq(1).float()
    negative = targets.lt(1).float()
    yes = torch.log(p) * torch.pow(1 - p, alpha) * positive
    no = torch.log(1 - p) * torch.pow(p, alpha) * torch.pow(1 - targets, beta) * negative
    return -(yes.sum() + no.sum())


@wrong("nothing is added to p")
def with_an_epsilon(logits, targets, alpha=2.0, beta=4.0):
    p, eps = logits.sigmoid(), 1e-8
    yes = -((1 - p) ** alpha) * torch.log(p + eps)
    no = -((1 - targets) ** beta) * p**alpha * torch.log(1 - p + eps)
    return torch.where(targets == 1, yes, no).sum()


@wrong("the two focal factors are exchanged")
def exchanged_factors(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = -(p**alpha) * F.logsigmoid(logits)
    no = -((1 - targets) ** beta) * (1 - p) ** alpha * F.logsigmoid(-logits)
    return torch.where(targets == 1, yes, no).sum()


@wrong("yours is y^β")
def target_to_the_beta(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = -((1 - p) ** alpha) * F.logsigmoid(logits)
    no = -(targets**beta) * p**alpha * F.logsigmoid(-logits)
    return torch.where(targets == 1, yes, no).sum()


@wrong("alpha and beta are exchanged")
def exchanged_exponents(logits, targets, alpha=2.0, beta=4.0):
    return with_where(logits, targets, beta, alpha)


@wrong("yours are always 2 and 4")
def fixed_exponents(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = -((1 - p) ** 2) * F.logsigmoid(logits)
    no = -((1 - targets) ** 4) * p**2 * F.logsigmoid(-logits)
    return torch.where(targets == 1, yes, no).sum()


@wrong("either the one term or the other")
def soft_labels(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = -targets * (1 - p) ** alpha * F.logsigmoid(logits)
    no = -((1 - targets) ** beta) * p**alpha * F.logsigmoid(-logits)
    return (yes + no).sum()


@wrong("yours is the loss of each")
def never_sums(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = -((1 - p) ** alpha) * F.logsigmoid(logits)
    no = -((1 - targets) ** beta) * p**alpha * F.logsigmoid(-logits)
    return torch.where(targets == 1, yes, no)


@wrong("does it twice")
def logsigmoid_of_p(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = -((1 - p) ** alpha) * F.logsigmoid(p)
    no = -((1 - targets) ** beta) * p**alpha * F.logsigmoid(-p)
    return torch.where(targets == 1, yes, no).sum()


@wrong("the focal factor is missing at the centres")
def no_factor_at_centres(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    no = -((1 - targets) ** beta) * p**alpha * F.logsigmoid(-logits)
    return torch.where(targets == 1, -F.logsigmoid(logits), no).sum()


@wrong("no gradient with respect to the first argument")
def returns_a_number(logits, targets, alpha=2.0, beta=4.0):
    return with_where(logits, targets, alpha, beta).item()


@wrong("yours is detached")
def detaches_the_factors(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid().detach()
    yes = -((1 - p) ** alpha) * F.logsigmoid(logits)
    no = -((1 - targets) ** beta) * p**alpha * F.logsigmoid(-logits)
    return torch.where(targets == 1, yes, no).sum()


@wrong("there is a loop over locations")
def location_by_location(logits, targets, alpha=2.0, beta=4.0):
    total = logits.sum() * 0
    for x, y in zip(logits.flatten(), targets.flatten()):
        if y == 1:
            total = total - torch.sigmoid(-x) ** alpha * F.logsigmoid(x)
        else:
            total = total - (1 - y) ** beta * torch.sigmoid(x) ** alpha * F.logsigmoid(-x)
    return total


@wrong("the logarithm of 0 is −∞")
def hides_the_infinite(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = (1 - p) ** alpha * -p.log()
    no = (1 - targets) ** beta * p**alpha * -(1 - p).log()
    return torch.nan_to_num(torch.where(targets == 1, yes, no), posinf=0.0).sum()


@wrong("the mean over the others")
def centres_and_a_mean(logits, targets, alpha=2.0, beta=4.0):
    centre, p = targets == 1, logits.sigmoid()
    yes = ((1 - p) ** alpha * -F.logsigmoid(logits))[centre].sum()
    no = ((1 - targets) ** beta * p**alpha * -F.logsigmoid(-logits))[~centre]
    return yes + (no.mean() if len(no) else 0)


@wrong("yours takes 1 − x")
def one_minus_the_logit(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = -((1 - p) ** alpha) * F.logsigmoid(logits)
    no = -((1 - targets) ** beta) * p**alpha * F.logsigmoid(1 - logits)
    return torch.where(targets == 1, yes, no).sum()


@wrong("in yours one of the two has none")
def a_minus_before_the_first_term(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = -((1 - p) ** alpha) * F.logsigmoid(logits)
    no = ((1 - targets) ** beta) * p**alpha * F.logsigmoid(-logits)
    return torch.where(targets == 1, yes, no).sum()


@wrong("which holds a part of log p")
def weighs_the_graded_cross_entropy(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    weight = torch.where(targets == 1, (1 - p) ** alpha, (1 - targets) ** beta * p**alpha)
    return F.binary_cross_entropy_with_logits(logits, targets, weight=weight, reduction="sum")


@wrong("the two logarithms are exchanged")
def logarithms_exchanged(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = -((1 - p) ** alpha) * F.logsigmoid(-logits)
    no = -((1 - targets) ** beta) * p**alpha * F.logsigmoid(logits)
    return torch.where(targets == 1, yes, no).sum()


@wrong("need their parentheses in the code")
def one_minus_a_power_of_the_target(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = -((1 - p) ** alpha) * F.logsigmoid(logits)
    no = -(1 - targets**beta) * p**alpha * F.logsigmoid(-logits)
    return torch.where(targets == 1, yes, no).sum()


@wrong("need their parentheses in the code")
def one_minus_a_power_of_p(logits, targets, alpha=2.0, beta=4.0):
    p = logits.sigmoid()
    yes = -(1 - p**alpha) * F.logsigmoid(logits)
    no = -((1 - targets) ** beta) * p**alpha * F.logsigmoid(-logits)
    return torch.where(targets == 1, yes, no).sum()
