"""Exercise 7.1: answers."""

import numpy as np
import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


@right
def compares_with_every_index(assigned, num_objects):
    return (assigned.unsqueeze(2) == torch.arange(num_objects)).sum(1)


@right
def adds_ones(assigned, num_objects):
    counts = torch.zeros(assigned.shape[0], num_objects + 1, dtype=torch.int64)
    index = torch.where(assigned < 0, num_objects, assigned)
    counts.scatter_add_(1, index, torch.ones_like(index))
    return counts[:, :num_objects]


@right
def one_hot(assigned, num_objects):
    if assigned.numel() == 0:
        return torch.zeros(assigned.shape[0], num_objects, dtype=torch.int64)
    codes = F.one_hot(assigned.clamp(min=-1) + 1, num_objects + 1)
    return codes.sum(dim=1)[:, 1:]


@right
def object_by_object(assigned, num_objects):
    columns = [(assigned == n).sum(dim=1) for n in range(num_objects)]
    if not columns:
        return torch.zeros(len(assigned), 0, dtype=torch.int64)
    return torch.stack(columns, dim=1)


@right
def with_numpy(assigned, num_objects):
    a = assigned.numpy()
    found = [np.bincount(row[row >= 0], minlength=num_objects) for row in a]
    return torch.as_tensor(np.stack(found)).long().view(len(a), num_objects)


@slightly_off
def loses_the_last_place(assigned, num_objects):
    return (assigned[:, :-1, None] == torch.arange(num_objects)).sum(dim=1)


@wrong("background counts for the last object")
def indexes_with_minus_one(assigned, num_objects):
    counts = torch.zeros(assigned.shape[0], num_objects, dtype=torch.int64)
    for b in range(assigned.shape[0]):
        for p in range(assigned.shape[1]):
            counts[b][int(assigned[b, p])] += 1
    return counts


@wrong("background is not object 0")
def clamps(assigned, num_objects):
    return (assigned.clamp(min=0)[:, :, None] == torch.arange(num_objects)).sum(dim=1)


@wrong("a place in no loss")
def counts_the_ignored(assigned, num_objects):
    index = assigned.clone()
    index[index == -2] = 0
    return (index[:, :, None] == torch.arange(num_objects)).sum(dim=1)


@wrong("count image by image")
def one_count_for_all(assigned, num_objects):
    return torch.bincount(assigned[assigned >= 0], minlength=num_objects)


@wrong("only whether there is one")
def says_whether(assigned, num_objects):
    return (assigned[:, :, None] == torch.arange(num_objects)).any(dim=1).long()


@wrong("yours begins at 1")
def from_one(assigned, num_objects):
    return (
        torch.stack([(assigned == n + 1).sum(1) for n in range(num_objects)], dim=-1)
        if (num_objects)
        else torch.zeros(len(assigned), 0, dtype=torch.int64)
    )


@wrong("not their share")
def share_of_all(assigned, num_objects):
    hits = (assigned[:, :, None] == torch.arange(num_objects)).float()
    return hits.sum(dim=1) / max(assigned.shape[1], 1)


@wrong("one for background, too")
def with_background(assigned, num_objects):
    return (assigned[:, :, None] == torch.arange(-1, num_objects)).sum(dim=1)


@wrong("turned round")
def objects_by_images(assigned, num_objects):
    return (assigned[None] == torch.arange(num_objects)[:, None, None]).sum(dim=2)


@wrong("your function returned None")
def prints_it(assigned, num_objects):
    print((assigned >= 0).sum())
