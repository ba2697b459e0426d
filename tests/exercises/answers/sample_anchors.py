"""Exercise 2.5: answers."""

import random

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def with_randperm(labels, batch_size, positive_fraction):
    pos = torch.where(labels >= 0)[0]
    neg = torch.where(labels == -1)[0]
    n_pos = min(int(batch_size * positive_fraction), pos.numel())
    n_neg = min(batch_size - n_pos, neg.numel())
    return pos[torch.randperm(pos.numel())[:n_pos]], neg[torch.randperm(neg.numel())[:n_neg]]


@right
def with_python_lists(labels, batch_size, positive_fraction):
    objects = [i for i, label in enumerate(labels.tolist()) if label >= 0]
    background = [i for i, label in enumerate(labels.tolist()) if label == -1]
    chosen = random.sample(objects, min(len(objects), int(batch_size * positive_fraction)))
    rest = random.sample(background, min(len(background), batch_size - len(chosen)))
    return torch.tensor(chosen, dtype=torch.int64), torch.tensor(rest, dtype=torch.int64)


@right
def shuffles_all_first(labels, batch_size, positive_fraction):
    order = torch.randperm(len(labels))
    shuffled = labels[order]
    positive = order[shuffled >= 0][: int(batch_size * positive_fraction)]
    negative = order[shuffled == -1][: batch_size - len(positive)]
    return positive, negative


@right
def with_random_keys(labels, batch_size, positive_fraction):
    keys = torch.rand(len(labels))
    k = min(int((labels >= 0).sum()), int(batch_size * positive_fraction))
    positive = torch.where(labels >= 0, keys, -1.0).topk(k).indices
    k = min(int((labels == -1).sum()), batch_size - k)
    negative = torch.where(labels == -1, keys, -1.0).topk(k).indices
    return positive, negative


@right
def with_numpy(labels, batch_size, positive_fraction):
    generator = np.random.default_rng()
    values = labels.numpy()
    positive = generator.permutation(np.flatnonzero(values >= 0))
    positive = positive[: int(batch_size * positive_fraction)]
    negative = generator.permutation(np.flatnonzero(values == -1))[: batch_size - len(positive)]
    return torch.from_numpy(positive.copy()), torch.from_numpy(negative.copy())


@slightly_off
def a_fraction_too_small_by_a_thousandth(labels, batch_size, positive_fraction):
    return with_randperm(labels, batch_size, 0.999 * positive_fraction)


@wrong("object 0 is an object")
def forgets_object_0(labels, batch_size, positive_fraction):
    pos = (labels > 0).nonzero().flatten()
    neg = (labels == -1).nonzero().flatten()
    n_pos = min(len(pos), int(batch_size * positive_fraction))
    n_neg = min(len(neg), batch_size - n_pos)
    return pos[torch.randperm(len(pos))[:n_pos]], neg[torch.randperm(len(neg))[:n_neg]]


@wrong("as in torchvision's sampler")
def as_in_torchvision(labels, batch_size, positive_fraction):
    positive = torch.where(labels >= 1)[0]
    negative = torch.where(labels == 0)[0]
    num_pos = int(batch_size * positive_fraction)
    num_pos = min(positive.numel(), num_pos)
    num_neg = batch_size - num_pos
    num_neg = min(negative.numel(), num_neg)
    perm1 = torch.randperm(positive.numel())[:num_pos]
    perm2 = torch.randperm(negative.numel())[:num_neg]
    return positive[perm1], negative[perm2]


@wrong("yours counts as background")
def ignored_are_negative(labels, batch_size, positive_fraction):
    positive = (labels >= 0).nonzero().squeeze(1)
    negative = (labels < 0).nonzero().squeeze(1)
    positive = positive[torch.randperm(len(positive))][: int(batch_size * positive_fraction)]
    negative = negative[torch.randperm(len(negative))][: batch_size - len(positive)]
    return positive, negative


@wrong("yours counts as positive")
def whatever_is_no_background_is_positive(labels, batch_size, positive_fraction):
    foreground = torch.nonzero(labels != -1).view(-1)
    background = torch.nonzero(labels == -1).view(-1)
    p = min(len(foreground), int(batch_size * positive_fraction))
    n = min(len(background), batch_size - p)
    foreground = foreground[torch.randperm(len(foreground))[:p]]
    return foreground, background[torch.randperm(len(background))[:n]]


@wrong("negatives fill the sample up to batch_size")
def halves(labels, batch_size, positive_fraction):
    most_pos = int(batch_size * positive_fraction)
    most_neg = batch_size - most_pos
    pos = torch.where(labels >= 0)[0]
    neg = torch.where(labels == -1)[0]
    pos = pos[torch.randperm(len(pos))[:most_pos]]
    neg = neg[torch.randperm(len(neg))[:most_neg]]
    return pos, neg


@wrong("batch_size minus the positives that were drawn")
def a_full_batch_of_negatives(labels, batch_size, positive_fraction):
    pos = torch.where(labels >= 0)[0]
    neg = torch.where(labels == -1)[0]
    pos = pos[torch.randperm(len(pos))[: int(batch_size * positive_fraction)]]
    return pos, neg[torch.randperm(len(neg))[:batch_size]]


@wrong("as many as there are positives is not asked for")
def as_many_negatives(labels, batch_size, positive_fraction):
    pos = torch.where(labels >= 0)[0]
    neg = torch.where(labels == -1)[0]
    pos = pos[torch.randperm(len(pos))[: int(batch_size * positive_fraction)]]
    return pos, neg[torch.randperm(len(neg))[: len(pos)]]


@wrong("the positives have a limit of their own")
def all_positives(labels, batch_size, positive_fraction):
    pos = torch.where(labels >= 0)[0]
    neg = torch.where(labels == -1)[0]
    return pos, neg[torch.randperm(len(neg))[: max(batch_size - len(pos), 0)]]


@wrong("takes the same ones in every call")
def takes_the_first(labels, batch_size, positive_fraction):
    pos = torch.where(labels >= 0)[0][: int(batch_size * positive_fraction)]
    return pos, torch.where(labels == -1)[0][: batch_size - len(pos)]


@wrong("takes the same ones in every call")
def sets_the_seed(labels, batch_size, positive_fraction):
    torch.manual_seed(42)
    pos = torch.where(labels >= 0)[0]
    neg = torch.where(labels == -1)[0]
    pos = pos[torch.randperm(len(pos))[: int(batch_size * positive_fraction)]]
    return pos, neg[torch.randperm(len(neg))[: batch_size - len(pos)]]


@wrong("of the negatives the choice must be random as well")
def shuffles_positives_only(labels, batch_size, positive_fraction):
    pos = torch.where(labels >= 0)[0]
    pos = pos[torch.randperm(len(pos))[: int(batch_size * positive_fraction)]]
    return pos, torch.where(labels == -1)[0][: batch_size - len(pos)]


@wrong("an anchor is drawn twice")
def with_randint(labels, batch_size, positive_fraction):
    pos = torch.where(labels >= 0)[0]
    neg = torch.where(labels == -1)[0]
    p = min(len(pos), int(batch_size * positive_fraction))
    n = min(len(neg), batch_size - p)
    pos = pos[torch.randint(0, max(len(pos), 1), (p,))] if p else pos[:0]
    return pos, neg[torch.randint(0, max(len(neg), 1), (n,))] if n else neg[:0]


@wrong("index that list with them")
def places_in_the_lists(labels, batch_size, positive_fraction):
    num_pos, num_neg = int((labels >= 0).sum()), int((labels == -1).sum())
    p = min(num_pos, int(batch_size * positive_fraction))
    return torch.randperm(num_pos)[:p], torch.randperm(num_neg)[: batch_size - p]


@wrong("rounded to the nearest")
def rounds(labels, batch_size, positive_fraction):
    pos = torch.where(labels >= 0)[0]
    neg = torch.where(labels == -1)[0]
    pos = pos[torch.randperm(len(pos))[: round(batch_size * positive_fraction)]]
    return pos, neg[torch.randperm(len(neg))[: batch_size - len(pos)]]


@wrong("one of the positives that are there")
def a_share_of_the_positives(labels, batch_size, positive_fraction):
    pos = torch.where(labels >= 0)[0]
    neg = torch.where(labels == -1)[0]
    pos = pos[torch.randperm(len(pos))[: int(len(pos) * positive_fraction)]]
    return pos, neg[torch.randperm(len(neg))[: batch_size - len(pos)]]


@wrong("not a mask")
def returns_masks(labels, batch_size, positive_fraction):
    positive, negative = with_randperm(labels, batch_size, positive_fraction)
    mask_p = torch.zeros_like(labels, dtype=torch.bool)
    mask_n = torch.zeros_like(labels, dtype=torch.bool)
    mask_p[positive], mask_n[negative] = True, True
    return mask_p, mask_n


@wrong("two tensors")
def one_tensor(labels, batch_size, positive_fraction):
    return torch.cat(with_randperm(labels, batch_size, positive_fraction))


@wrong("a table with one column")
def columns_of_nonzero(labels, batch_size, positive_fraction):
    pos = (labels >= 0).nonzero()
    neg = (labels == -1).nonzero()
    pos = pos[torch.randperm(len(pos))[: int(batch_size * positive_fraction)]]
    return pos, neg[torch.randperm(len(neg))[: batch_size - len(pos)]]


@wrong("the positives come first")
def negatives_first(labels, batch_size, positive_fraction):
    positive, negative = with_randperm(labels, batch_size, positive_fraction)
    return negative, positive


@wrong("positives in 32 calls is 1; expected 3")
def draws_from_all(labels, batch_size, positive_fraction):
    usable = torch.where(labels != -2)[0]
    chosen = usable[torch.randperm(len(usable))[:batch_size]]
    return chosen[labels[chosen] >= 0], chosen[labels[chosen] == -1]


@wrong("returned a list; expected a torch.Tensor")
def returns_a_list(labels, batch_size, positive_fraction):
    return list(with_randperm(labels, batch_size, positive_fraction))


@wrong("changes the tensors it is given")
def marks_what_it_has_drawn(labels, batch_size, positive_fraction):
    positive, negative = with_randperm(labels, batch_size, positive_fraction)
    labels[:] = -2
    labels[positive], labels[negative] = 1, 0
    return positive, negative


@wrong("an anchor is drawn twice")
def with_random_choices(labels, batch_size, positive_fraction):
    pos = [i for i, label in enumerate(labels.tolist()) if label >= 0]
    neg = [i for i, label in enumerate(labels.tolist()) if label == -1]
    p = min(len(pos), int(batch_size * positive_fraction))
    n = min(len(neg), batch_size - p)
    chosen = random.choices(pos, k=p) if pos else []
    rest = random.choices(neg, k=n) if neg else []
    return torch.tensor(chosen, dtype=torch.int64), torch.tensor(rest, dtype=torch.int64)


@wrong("which torch.tensor makes of an empty list")
def empty_lists(labels, batch_size, positive_fraction):
    pos = [i for i, label in enumerate(labels.tolist()) if label >= 0]
    neg = [i for i, label in enumerate(labels.tolist()) if label == -1]
    pos = random.sample(pos, min(len(pos), int(batch_size * positive_fraction)))
    neg = random.sample(neg, min(len(neg), batch_size - len(pos)))
    return torch.tensor(pos), torch.tensor(neg)


@wrong("yours has a negative more")
def one_too_many(labels, batch_size, positive_fraction):
    pos, neg = torch.where(labels >= 0)[0], torch.where(labels == -1)[0]
    pos = pos[torch.randperm(len(pos))[: int(batch_size * positive_fraction)]]
    return pos, neg[torch.randperm(len(neg))[: batch_size - len(pos) + 1]]


@wrong("cannot sample")
def with_multinomial(labels, batch_size, positive_fraction):
    """torch.multinomial draws one at least."""
    pos, neg = (labels >= 0).float(), (labels == -1).float()
    p = min(int(pos.sum()), int(batch_size * positive_fraction))
    n = min(int(neg.sum()), batch_size - p)
    return torch.multinomial(pos, p), torch.multinomial(neg, n)
