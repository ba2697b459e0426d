"""Exercise 8.2: answers."""

import torch

from answers import because, right, slightly_off, wrong


@right
def by_comparison(category_ids, known_ids):
    same = category_ids[:, None] == known_ids[None, :]
    return same.int().argmax(dim=1)


@right
def with_a_dictionary(category_ids, known_ids):
    place = {number: i for i, number in enumerate(known_ids.tolist())}
    return torch.tensor([place[c] for c in category_ids.tolist()], dtype=torch.int64)


@right
def with_a_table(category_ids, known_ids):
    table = torch.full((int(known_ids.max()) + 1,), -1)
    table[known_ids] = torch.arange(len(known_ids))
    return table[category_ids]


@right
def sorted_and_back(category_ids, known_ids):
    rising, order = known_ids.sort()
    return order[torch.searchsorted(rising, category_ids)]


@slightly_off
def one_of_many(category_ids, known_ids):
    labels = (category_ids[:, None] == known_ids).int().argmax(dim=1)
    if len(labels) > 10:
        labels[-1] = (labels[-1] + 1) % len(known_ids)
    return labels


@wrong("the broken function still")
def unchanged(category_ids, known_ids):
    return category_ids - 1


@wrong("come back as they are")
def as_they_are(category_ids, known_ids):
    return category_ids.clone()


@wrong("closes no hole")
def from_the_smallest(category_ids, known_ids):
    return category_ids - known_ids.min()


@wrong("that occur in this image")
def those_of_the_image(category_ids, known_ids):
    return torch.unique(category_ids, return_inverse=True)[1]


@wrong("which need not rise")
def sorted_first(category_ids, known_ids):
    place = {number: i for i, number in enumerate(sorted(known_ids.tolist()))}
    return torch.tensor([place[c] for c in category_ids.tolist()], dtype=torch.int64)


@wrong("wants numbers that rise")
def binary_search(category_ids, known_ids):
    return torch.searchsorted(known_ids, category_ids)


@wrong("labels start at 0")
def background_first(category_ids, known_ids):
    return 1 + (category_ids[:, None] == known_ids).int().argmax(dim=1)


@wrong("different categories on one label")
def remainder(category_ids, known_ids):
    return (category_ids - 1) % len(known_ids)


@wrong("all categories beyond it")
def cut_off(category_ids, known_ids):
    return torch.clamp(category_ids - 1, max=len(known_ids) - 1)


@wrong("from the end")
def from_the_end(category_ids, known_ids):
    backwards = known_ids.flip(0)
    return (category_ids[:, None] == backwards).int().argmax(dim=1)


@wrong("the cure mends it, but the cause is another")
@because("decoding")
def right_cure_for_another_cause(category_ids, known_ids):
    return (category_ids[:, None] == known_ids).int().argmax(dim=1)
