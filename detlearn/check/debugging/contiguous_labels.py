"""Exercise 8.2: the numbers of a file's categories are not the classes of a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.debugging.causes import against
from detlearn.check.engine import Hunt, Misconception
from detlearn.check.engine.cases import Case

Function = Callable[[Tensor, Tensor], Tensor]


def contiguous_labels(category_ids: Tensor, known_ids: Tensor) -> Tensor:
    """Turn the category numbers of a file into labels 0 … K−1.

    Args:
        category_ids: (N,) int64, the category of each object; each is among `known_ids`.
        known_ids: (K,) int64, the file's categories in the order of the class names.

    Returns:
        (N,) int64: the place of each object's category in `known_ids`.
    """
    same = category_ids[:, None] == known_ids  # (N, K)
    return same.long().argmax(dim=1)


# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    def of(ids: list[int], known: list[int], wanted: list[int], note: str) -> Case:
        return Case("by hand", (torch.tensor(ids), torch.tensor(known)), note, torch.tensor(wanted))

    holes = _known(10, random)
    mixed = holes[torch.randperm(10, generator=random)]
    return [
        of([4, 1, 6], [1, 2, 4, 6], [2, 0, 3], "categories 1, 2, 4 and 6"),
        of([6, 6, 9], [3, 6, 9], [1, 1, 2], "categories 3, 6 and 9, of which 3 does not occur"),
        of([7, 2, 5], [5, 2, 7], [2, 1, 0], "categories in the order 5, 2, 7"),
        Case("degenerate", (torch.zeros(0, dtype=torch.int64), holes), "an image without objects"),
        Case("degenerate", (torch.tensor([8]), torch.tensor([8])), "a file with one category"),
        Case("random", (_drawn(holes, 20, random), holes), "20 objects, numbers with holes"),
        Case("random", (_drawn(mixed, 20, random), mixed), "20 objects, numbers in any order"),
        Case("random", (_drawn(holes[:6], 9, random), holes), "9 objects of the first six classes"),
        Case("random", (_drawn(mixed[4:], 9, random), mixed), "9 objects of the last six classes"),
    ]


def _known(count: int, random: torch.Generator) -> Tensor:
    """Category numbers that rise, with at least one hole."""
    steps = 1 + torch.randint(0, 3, (count,), generator=random)
    steps[0] = 1
    steps[3] = 3
    return steps.cumsum(0)


def _drawn(known: Tensor, count: int, random: torch.Generator) -> Tensor:
    return known[torch.randint(len(known), (count,), generator=random)]


# ---- wrong answers ----


def _place(ids: Tensor, known: Tensor) -> Tensor:
    return (ids[:, None] == known).long().argmax(dim=1)


MISCONCEPTIONS = (
    Misconception(
        "that is the broken function still: what does it make of a number behind a hole?",
        lambda ids, known: ids - 1,
    ),
    Misconception(
        "the category numbers come back as they are: a network has K classes, 0 … K−1",
        lambda ids, known: ids.clone(),
    ),
    Misconception(
        "taking off the smallest number closes no hole between the others",
        lambda ids, known: ids - known.min(),
        lambda ids, known: ids - known[0],
    ),
    Misconception(
        "this numbers the categories that occur in this image: in another image the same class "
        "gets another number",
        lambda ids, known: torch.unique(ids, return_inverse=True)[1],
    ),
    Misconception(
        "the order is that of known_ids, which need not rise: the class names stand in it",
        lambda ids, known: _place(ids, known.sort().values),
        lambda ids, known: torch.searchsorted(known.sort().values, ids),
    ),
    Misconception(
        "a binary search wants numbers that rise; known_ids come in the order of the names",
        lambda ids, known: torch.searchsorted(known, ids),
    ),
    Misconception(
        "labels start at 0, yours at 1",
        lambda ids, known: _place(ids, known) + 1,
    ),
    Misconception(
        "a remainder puts different categories on one label",
        lambda ids, known: ids % len(known),
        lambda ids, known: (ids - 1) % len(known),
    ),
    Misconception(
        "cutting off at the last class puts all categories beyond it on one label",
        lambda ids, known: (ids - 1).clamp(max=len(known) - 1),
    ),
    Misconception(
        "the labels count from the end of known_ids",
        lambda ids, known: len(known) - 1 - _place(ids, known),
    ),
)

CONTIGUOUS_LABELS = Hunt(
    number="8.2",
    name="contiguous_labels",
    reference=contiguous_labels,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("labels",),
    counted="objects",
    cause="annotations",
    causes=against(
        augmentation="nothing is augmented here, and the boxes lie where the objects are",
        targets="the places of an object follow from its box, and boxes of all classes are found: "
        "leave the labels aside and look at AP50 then",
        loss="it treats all classes alike, and some of them are as good as ever",
        learning_rate="it is the same for all classes, and some of them are as good as ever",
        averaged_weights="the classes share all weights but those of the last layer, and some are "
        "as good as ever",
        decoding="without the labels AP50 is as high as ever, so boxes and scores come out right; "
        "which part gives a class its number?",
        evaluation="it compares two numbers and is right to find them different; who made them?",
    ),
)
