"""Exercise 1.6: the precision–recall curve."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.metrics.curves import precision_recall


def _curve_cases(random: torch.Generator) -> list[Case]:
    scores = torch.tensor([0.9, 0.8, 0.7])

    many = torch.randperm(60, generator=random) / 60
    verdicts = torch.rand(60, generator=random) < many
    order = torch.randperm(60, generator=random)

    return [
        *_curves_by_hand(scores),
        *_curves_of_equal_scores(),
        Case("degenerate", (torch.zeros(0), torch.zeros(0).bool(), 4), "no detections"),
        Case("degenerate", (scores, torch.zeros(3).bool(), 4), "nothing but false positives"),
        Case("random", (many, verdicts, 71), "60 detections"),
        Case("property", (many[order], verdicts[order], 71), "the detections in another order"),
        Case("property", (many * 0.01 - 3, verdicts, 71), "other scores in the same order"),
    ]


def _curves_by_hand(scores: Tensor) -> list[Case]:
    """Make cases of three detections, from the highest score to the lowest but in one."""
    right = torch.tensor([True, False, True])
    shuffled = [2, 0, 1]

    # The same curve for any order of the detections.
    precision = torch.tensor([1, 1 / 2, 2 / 3])
    recall = torch.tensor([1 / 3, 1 / 3, 2 / 3])
    in_any_order = [
        Case(
            "by hand",
            (scores, right, 3),
            "right, wrong, right, with three objects",
            (precision, recall),
        ),
        Case(
            "by hand",
            (scores[shuffled], right[shuffled], 3),
            "the same detections, not sorted by score",
            (precision, recall),
        ),
    ]

    # More objects than are found.
    with_more_objects = [
        Case(
            "by hand",
            (scores, ~right, 5),
            "wrong, right, wrong, with five objects",
            (torch.tensor([0, 1 / 2, 1 / 3]), torch.tensor([0, 1 / 5, 1 / 5])),
        ),
        Case(
            "by hand",
            (scores, torch.tensor([True, True, False]), 4),
            "right, right, wrong, with four objects",
            (torch.tensor([1, 1, 2 / 3]), torch.tensor([1 / 4, 2 / 4, 2 / 4])),
        ),
    ]

    return [*in_any_order, *with_more_objects]


def _curves_of_equal_scores() -> list[Case]:
    return [
        Case(
            "by hand",
            (torch.full((4,), 0.5), torch.tensor([True, False, True, False]), 2),
            "four detections with one score, which stay in their order",
            (torch.tensor([1, 1 / 2, 2 / 3, 1 / 2]), torch.tensor([1 / 2, 1 / 2, 1, 1])),
        ),
        Case(
            "by hand",
            (torch.tensor([0.5, 0.9, 0.5, 0.9]), torch.tensor([False, False, True, True]), 4),
            "two pairs of equal scores, which stay in their order",
            (torch.tensor([0, 1 / 2, 1 / 3, 1 / 2]), torch.tensor([0, 1 / 4, 1 / 4, 1 / 2])),
        ),
    ]


def _curve_with(
    order: Callable[[Tensor], Tensor] = lambda s: s.argsort(descending=True, stable=True),
    precision: Callable[[Tensor, Tensor, int], Tensor] = lambda f, n, g: f / n,
    recall: Callable[[Tensor, Tensor, int], Tensor] = lambda f, n, g: f / g,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return the curve with something changed: f found so far, n listed so far, g objects."""

    def function(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
        found = right[order(scores)].cumsum(0)
        listed = torch.arange(1, len(found) + 1)
        return precision(found, listed, num_objects), recall(found, listed, num_objects)

    return function


def _not_cumulated(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
    right = right[scores.argsort(descending=True, stable=True)].float()
    return right / torch.arange(1, len(right) + 1), right / num_objects


def _right_ones_first(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
    return precision_recall(right.float(), right, num_objects)


def _all_wrong_ones(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
    """Count the wrong detections below the cut as well."""
    found = right[scores.argsort(descending=True, stable=True)].cumsum(0)
    _, recall = precision_recall(scores, right, num_objects)
    return found / (found + (~right).sum()).clamp(min=1), recall


def _half_sorted(right_ones: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return what brings only the right ones, or only the wrong ones, into the scores' order."""

    def function(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
        in_order = right[scores.argsort(descending=True, stable=True)]
        found = (in_order if right_ones else right).cumsum(0)
        wrong = (~(right if right_ones else in_order)).cumsum(0)
        return found / (found + wrong), found / num_objects

    return function


def _missed_in_the_end(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
    """Take what the whole list misses for what each cut misses."""
    precision, _ = precision_recall(scores, right, num_objects)
    found = right[scores.argsort(descending=True, stable=True)].cumsum(0)
    return precision, found / (found + num_objects - right.sum())


def _turned_round_afterwards(
    scores: Tensor, right: Tensor, num_objects: int
) -> tuple[Tensor, Tensor]:
    """Sum up from the lowest score on and turn the curve round."""
    found = right[scores.argsort(stable=True)].cumsum(0)
    return (found / torch.arange(1, len(found) + 1)).flip(0), (found / num_objects).flip(0)


def _before_the_cut(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
    """Leave the detection at the cut out of the right ones."""
    right = right[scores.argsort(descending=True, stable=True)].long()
    found = right.cumsum(0) - right
    return found / torch.arange(1, len(right) + 1), found / num_objects


def envelope(precision: Tensor) -> Tensor:
    """The curve made monotone: at each point the best precision from there on."""
    return precision.flip(0).cummax(0).values.flip(0)


def _monotone(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
    precision, recall = precision_recall(scores, right, num_objects)
    return envelope(precision), recall


def _with_a_point(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
    precision, recall = precision_recall(scores, right, num_objects)
    return torch.cat((torch.ones(1), precision)), torch.cat((torch.zeros(1), recall))


PRECISION_RECALL = Exercise(
    number="1.6",
    name="precision_recall",
    reference=precision_recall,
    cases=_curve_cases,
    misconceptions=(
        Misconception(
            "the detections must be sorted by score before anything is counted, the highest first, "
            "and their verdicts with them: right[order]; sorting the scores alone moves no verdict",
            _curve_with(order=lambda s: torch.arange(len(s))),
        ),
        Misconception(
            "the detections are sorted from the lowest score to the highest; turn them round",
            _curve_with(order=lambda s: s.argsort(stable=True)),
        ),
        Misconception(
            "of equal scores the earlier detection comes first; turning argsort() round turns them "
            "round as well: argsort(descending=True, stable=True)",
            _curve_with(order=lambda s: s.argsort(stable=True).flip(0)),
        ),
        Misconception(
            "recall is the share of all objects that was found: divide by num_objects, not by the "
            "number of right detections",
            _curve_with(recall=lambda f, n, g: f / f[-1:].clamp(min=1)),
        ),
        Misconception(
            "recall is the share of all objects that was found: divide by num_objects, not by the "
            "number of detections",
            _curve_with(recall=lambda f, n, g: f / max(len(f), 1)),
        ),
        Misconception(
            "precision is the share of the listed detections that is right: divide by how many are "
            "listed at this cut, not by the number of all",
            _curve_with(precision=lambda f, n, g: f / max(len(f), 1)),
        ),
        Misconception(
            "precision is the share of the listed detections that is right: divide by how many are "
            "listed, not by the number of objects",
            _curve_with(precision=lambda f, n, g: f / g),
        ),
        Misconception(
            "the count of listed detections starts at 1, not at 0: the first cut lists one",
            _curve_with(precision=lambda f, n, g: f / (n - 1)),
        ),
        Misconception(
            "the verdicts belong to the scores: bring them into the order of the scores, "
            "right[order]; yours are sorted by themselves, the right ones first",
            _right_ones_first,
        ),
        Misconception(
            "at a cut only the wrong detections above it count, their cumsum; yours counts all",
            _all_wrong_ones,
        ),
        Misconception(
            "right and wrong detections are counted in one order, that of the scores; in yours one "
            "of the two counts is not sorted",
            _half_sorted(right_ones=True),
            _half_sorted(right_ones=False),
        ),
        Misconception(
            "sort from the highest score on before you sum up; yours sums from the lowest on and "
            "turns the finished curve round",
            _turned_round_afterwards,
        ),
        Misconception(
            "the detection at the cut belongs to the list; yours counts the right ones before it "
            "alone",
            _before_the_cut,
        ),
        Misconception(
            "at each cut TP + FN is num_objects, since what a cut leaves out is missed there; your "
            "FN is what the whole list misses",
            _missed_in_the_end,
        ),
        Misconception(
            "recall is the share of all objects that was found: divide by num_objects alone",
            _curve_with(recall=lambda f, n, g: f / (n + g)),
            _curve_with(recall=lambda f, n, g: f / (n - f + g)),
        ),
        Misconception(
            "each cut lists all detections down to it: sum the right ones up (cumsum)",
            _not_cumulated,
        ),
        Misconception(
            "the two are exchanged: return precision first, then recall",
            lambda *args: precision_recall(*args)[::-1],
        ),
        Misconception(
            "these are rounded down: whole numbers divided by // lose their fraction",
            _curve_with(precision=lambda f, n, g: f // n, recall=lambda f, n, g: f // g),
        ),
        Misconception(
            "this is right over wrong; precision is right over all that are listed",
            _curve_with(precision=lambda f, n, g: f / (n - f)),
        ),
        Misconception(
            "the curve begins with the first detection; leave out the point at recall 0 that you "
            "add",
            _with_a_point,
        ),
        Misconception(
            "leave the curve as it is; making it monotone comes later, in average_precision",
            _monotone,
        ),
    ),
    returns=("precision", "recall"),
    solution=(precision_recall,),
)
