"""Exercise 7.1: how many places learn each object."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.matching import places_per_object

Function = Callable[[Tensor, int], Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    def drawn(images: int, places: int, objects: int) -> Tensor:
        return torch.randint(-2, objects, (images, places), generator=random)

    many = [
        Case("random", (drawn(b, p, n), n), f"{b} images, {p} places, {n} objects")
        for b, p, n in ((1, 20, 3), (4, 50, 6), (3, 7, 9), (2, 200, 1))
    ]
    some = drawn(3, 40, 5)
    order = torch.randperm(40, generator=random)
    properties = [
        Case("property", (some[:, order], 5), "the places in another order"),
        Case("property", (some.flip(0), 5), "the images in another order"),
        Case("property", (some, 8), "three objects more, which nobody learns"),
    ]
    growing = [Case("no loop", (drawn(2, n, 4), 4), f"{n} places", size=n) for n in (10, 600)]
    return [*_by_hand(), *_degenerate(), *many, *properties, *growing]


def _by_hand() -> list[Case]:
    def of(rows: list[list[int]], objects: int, wanted: list[list[int]], note: str) -> Case:
        return Case("by hand", (torch.tensor(rows), objects), note, torch.tensor(wanted))

    return [
        of([[0, 0, 1, -1, -2, 1, 0]], 2, [[3, 2]], "one image, two objects"),
        of(
            [[0, -1, -1, 2, 2], [-2, 1, -2, 1, 1]],
            3,
            [[1, 0, 2], [0, 3, 0]],
            "two images; nobody learns object 1 of the first",
        ),
        of([[-1, -1, 0, -2]], 4, [[1, 0, 0, 0]], "four objects, one of them learned"),
    ]


def _degenerate() -> list[Case]:
    return [
        Case("degenerate", (torch.full((2, 6), -1), 3), "background alone"),
        Case("degenerate", (torch.tensor([[-2, -1, -2]]), 2), "nothing is learned"),
        Case("degenerate", (torch.full((2, 5), -1), 0), "no objects"),
        Case("degenerate", (torch.zeros(3, 0, dtype=torch.int64), 2), "no places"),
    ]


# ---- wrong answers ----


def _counted(assigned: Tensor, indices: Tensor) -> Tensor:
    return (assigned[:, :, None] == indices).sum(dim=1)


def _last_object(assigned: Tensor, num_objects: int) -> Tensor:
    """What indexing by −1 and −2 does: background counts for the last objects."""
    wrapped = torch.where(assigned < 0, assigned + num_objects, assigned)
    return _counted(wrapped, torch.arange(num_objects))


def _clamped(assigned: Tensor, num_objects: int) -> Tensor:
    return _counted(assigned.clamp(min=0), torch.arange(num_objects))


def _ignored_too(assigned: Tensor, num_objects: int) -> Tensor:
    found = torch.where(assigned == -2, 0, assigned)
    return _counted(found, torch.arange(num_objects))


def _all_images(assigned: Tensor, num_objects: int) -> Tensor:
    return places_per_object(assigned, num_objects).sum(dim=0)


def _all_images_kept(assigned: Tensor, num_objects: int) -> Tensor:
    counts = places_per_object(assigned, num_objects)
    return counts.sum(dim=0, keepdim=True).expand_as(counts)


def _whether(assigned: Tensor, num_objects: int) -> Tensor:
    return (places_per_object(assigned, num_objects) > 0).long()


def _shifted(assigned: Tensor, num_objects: int) -> Tensor:
    return _counted(assigned, torch.arange(1, num_objects + 1))


def _shares(assigned: Tensor, num_objects: int) -> Tensor:
    return places_per_object(assigned, num_objects) / max(assigned.shape[1], 1)


MISCONCEPTIONS = (
    Misconception(
        "−1 and −2 are no objects: as indices they count from the end, so background counts for "
        "the last object; leave them out",
        _last_object,
    ),
    Misconception(
        "background is not object 0: leave out what is below 0, do not clamp it",
        _clamped,
    ),
    Misconception("a place in no loss (−2) learns nothing, not object 0", _ignored_too),
    Misconception(
        "each image has objects of its own: count image by image, and return (B, N)",
        _all_images,
        _all_images_kept,
    ),
    Misconception(
        "count the places; yours says only whether there is one",
        _whether,
        lambda assigned, n: places_per_object(assigned, n) > 0,
    ),
    Misconception("the first object has the index 0; yours begins at 1", _shifted),
    Misconception(
        "return the number of places, not their share of all",
        _shares,
        lambda assigned, n: (
            places_per_object(assigned, n) / (assigned >= 0).sum(dim=1, keepdim=True).clamp(min=1)
        ),
    ),
    Misconception(
        "the answer has a column for each object; yours has one for background, too",
        lambda assigned, n: _counted(assigned, torch.arange(-1, n)),
        lambda assigned, n: _counted(assigned, torch.arange(-2, n)),
        lambda assigned, n: _counted(assigned.clamp(min=-1), torch.arange(-1, n)),
    ),
    Misconception(
        "the answer is (B, N), an image a row; yours is turned round",
        lambda assigned, n: places_per_object(assigned, n).T,
    ),
    Misconception(
        "an object that nobody learns has a 0; yours leaves it out",
        lambda assigned, n: places_per_object(assigned, n)[:, : int(assigned.max()) + 1],
    ),
)

PLACES_PER_OBJECT = Exercise(
    number="7.1",
    name="places_per_object",
    reference=places_per_object,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the counts",),
    counted="places",
)
