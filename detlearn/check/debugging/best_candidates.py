"""Exercise 8.5: the best of all scores, read with the wrong place and class."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.debugging.causes import against
from detlearn.check.engine import Hunt, Misconception
from detlearn.check.engine.cases import Case

Function = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]]


def best_candidates(scores: Tensor, boxes: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the candidates of the highest scores, over all places and classes.

    Args:
        scores: (P, K), of each place for each class.
        boxes: (P, 4), of each place.
        most: candidates that are kept; all P · K of them if there are no more.

    Returns:
        boxes (M, 4), labels (M,) int64 and scores (M,), the highest score first.
    """
    num_classes = scores.shape[1]
    best, index = scores.flatten().topk(min(most, scores.numel()))  # row by row: P · K numbers
    return boxes[index // num_classes], index % num_classes, best


# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    scores = torch.tensor([[0.1, 0.9, 0.2], [0.8, 0.3, 0.7]])
    boxes = torch.tensor([[0.0, 0, 4, 4], [10, 10, 20, 20]])
    two = (boxes[[0, 1]], torch.tensor([1, 0]), torch.tensor([0.9, 0.8]))
    three = (boxes[[0, 1, 1]], torch.tensor([1, 0, 2]), torch.tensor([0.9, 0.8, 0.7]))

    tall = torch.tensor([[0.2, 0.4], [0.6, 0.1], [0.3, 0.5]])
    places = torch.tensor([[0.0, 0, 4, 4], [10, 10, 20, 20], [5, 5, 9, 9]])
    of_tall = (places[[1, 2, 0]], torch.tensor([0, 1, 1]), torch.tensor([0.6, 0.5, 0.4]))

    return [
        Case("by hand", (scores, boxes, 2), "two places, three classes, the best two", two),
        Case("by hand", (scores, boxes, 3), "the same, the best three", three),
        Case("by hand", (tall, places, 3), "three places, two classes", of_tall),
        Case("degenerate", (scores, boxes, 50), "fewer candidates than are asked for"),
        Case("degenerate", (torch.zeros(0, 3), torch.zeros(0, 4), 5), "no places"),
        Case("degenerate", (tall[:, :1], places, 2), "a single class"),
        Case("random", (*_drawn(40, 10, random), 12), "40 places, ten classes"),
        Case("random", (*_drawn(7, 30, random), 25), "seven places, 30 classes"),
        Case("random", (*_drawn(100, 3, random), 100), "100 places, three classes"),
    ]


def _drawn(places: int, classes: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scores that all differ, and boxes."""
    scores = (1 + torch.randperm(places * classes, generator=random)) / (places * classes + 1)
    corners = 50 * torch.rand(places, 2, generator=random)
    sides = 4 + 20 * torch.rand(places, 2, generator=random)
    return scores.view(places, classes), torch.cat((corners, corners + sides), dim=1)


# ---- wrong answers ----


def _with(
    place: Callable[[Tensor, int, int], Tensor] = lambda i, p, k: i // k,
    label: Callable[[Tensor, int, int], Tensor] = lambda i, p, k: i % k,
    flat: Callable[[Tensor], Tensor] = torch.flatten,
    largest: bool = True,
) -> Function:
    """Return the choice with something changed; p places, k classes."""

    def function(scores: Tensor, boxes: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
        p, k = scores.shape
        count = min(most, scores.numel())
        best, index = flat(scores).topk(count, largest=largest)
        return boxes[place(index, p, k)], label(index, p, k), best

    return function


def _one_class_a_place(scores: Tensor, boxes: Tensor, most: int) -> tuple:
    best, labels = scores.max(dim=1)
    best, index = best.topk(min(most, len(best)))
    return boxes[index], labels[index], best


def _in_order_of_places(scores: Tensor, boxes: Tensor, most: int) -> tuple:
    index = scores.flatten().topk(min(most, scores.numel())).indices.sort().values
    k = scores.shape[1]
    return boxes[index // k], index % k, scores.flatten()[index]


def _at_most_the_places(scores: Tensor, boxes: Tensor, most: int) -> tuple:
    best, index = scores.flatten().topk(min(most, len(scores)))
    return boxes[index // scores.shape[1]], index % scores.shape[1], best


MISCONCEPTIONS = (
    Misconception(
        "that is the broken function still: number 5 of two places with three classes each is "
        "which place, and which class?",
        _with(place=lambda i, p, k: i % p, label=lambda i, p, k: i // p),
    ),
    Misconception(
        "the labels are right now, the boxes are still those of other places",
        _with(place=lambda i, p, k: i % p),
        _with(place=lambda i, p, k: i // p % p),
    ),
    Misconception(
        "the boxes are right now, the labels still count places",
        _with(label=lambda i, p, k: i // p),
        _with(label=lambda i, p, k: i % p),
    ),
    Misconception(
        "places and classes are exchanged: the scores lie row by row, K numbers a place",
        _with(place=lambda i, p, k: i % k % p, label=lambda i, p, k: i // k),
        _with(place=lambda i, p, k: (i % k).clamp(max=p - 1), label=lambda i, p, k: i // k),
    ),
    Misconception(
        "a place may be a candidate of several classes; yours takes the best class of each alone",
        _one_class_a_place,
    ),
    Misconception(
        "labels start at 0, yours at 1",
        _with(label=lambda i, p, k: i % k + 1),
    ),
    Misconception(
        "the highest scores are wanted; these are the lowest",
        _with(largest=False),
    ),
    Misconception(
        "the highest score comes first; yours stand in the order of their places",
        _in_order_of_places,
    ),
    Misconception(
        "there are P · K candidates, not P: the limit is most, or all of them",
        _at_most_the_places,
    ),
)

BEST_CANDIDATES = Hunt(
    number="8.5",
    name="best_candidates",
    reference=best_candidates,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("boxes", "labels", "scores"),
    counted="places",
    cause="decoding",
    causes=against(
        annotations="the network is the one of the chapter, which was trained on these very files",
        augmentation="nothing is augmented when a network detects",
        targets="nothing is trained here: the maps of scores are those of the chapter's detector, "
        "to the last digit",
        loss="nothing is trained here: the maps of scores are those of the chapter's detector",
        learning_rate="nothing is trained here: the weights are those of the chapter's detector",
        averaged_weights="the weights are those of the chapter's detector, to the last digit",
        evaluation="the chapter's own detections go through the same evaluation and are counted as "
        "right",
    ),
)
