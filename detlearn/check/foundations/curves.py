"""Exercises 1.4 and 1.5: the precision–recall curve and the area below it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case, Fault
from detlearn.metrics.curves import average_precision, precision_recall


def _curve_cases(random: torch.Generator) -> list[Case]:
    scores = torch.tensor([0.9, 0.8, 0.7])
    right = torch.tensor([True, False, True])
    many = torch.randperm(60, generator=random) / 60
    verdicts = torch.rand(60, generator=random) < many
    order = torch.randperm(60, generator=random)
    return [
        Case(
            "by hand",
            (scores, right, 3),
            "right, wrong, right, with three objects",
            (torch.tensor([1, 1 / 2, 2 / 3]), torch.tensor([1 / 3, 1 / 3, 2 / 3])),
        ),
        Case(
            "by hand",
            (scores[[2, 0, 1]], right[[2, 0, 1]], 3),
            "the same detections, not sorted by score",
            (torch.tensor([1, 1 / 2, 2 / 3]), torch.tensor([1 / 3, 1 / 3, 2 / 3])),
        ),
        Case(
            "by hand",
            (scores, ~right, 5),
            "wrong, right, wrong, with five objects",
            (torch.tensor([0, 1 / 2, 1 / 3]), torch.tensor([0, 1 / 5, 1 / 5])),
        ),
        Case("degenerate", (torch.zeros(0), torch.zeros(0).bool(), 4), "no detections"),
        Case("degenerate", (scores, torch.zeros(3).bool(), 4), "nothing but false positives"),
        Case("random", (many, verdicts, 71), "60 detections"),
        Case("property", (many[order], verdicts[order], 71), "the detections in another order"),
        Case("property", (many * 0.01 - 3, verdicts, 71), "other scores in the same order"),
    ]


def _curve_with(
    order: Callable[[Tensor], Tensor] = lambda s: s.argsort(descending=True, stable=True),
    precision: Callable[[Tensor, Tensor, int], Tensor] = lambda f, n, g: f / n,
    recall: Callable[[Tensor, Tensor, int], Tensor] = lambda f, n, g: f / g,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """The curve with something changed: f found so far, n listed so far, g objects."""

    def function(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
        found = right[order(scores)].cumsum(0)
        listed = torch.arange(1, len(found) + 1)
        return precision(found, listed, num_objects), recall(found, listed, num_objects)

    return function


def _not_cumulated(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
    right = right[scores.argsort(descending=True, stable=True)].float()
    return right / torch.arange(1, len(right) + 1), right / num_objects


def _envelope(precision: Tensor) -> Tensor:
    return precision.flip(0).cummax(0).values.flip(0)


def _monotone(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
    precision, recall = precision_recall(scores, right, num_objects)
    return _envelope(precision), recall


def _with_a_point(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
    precision, recall = precision_recall(scores, right, num_objects)
    return torch.cat((torch.ones(1), precision)), torch.cat((torch.zeros(1), recall))


def _show_curve(case: Case, found: Fault) -> str:
    scores, right, objects = case.args
    if len(scores) > 6:
        return ""
    listed = [round(float(s), 2) for s in scores]
    return f"scores {listed}, right {right.tolist()}, num_objects {objects}"


PRECISION_RECALL = Exercise(
    "1.4",
    "precision_recall",
    precision_recall,
    _curve_cases,
    (
        Misconception(
            "the detections must be sorted by score, the highest first, before anything is counted",
            _curve_with(order=lambda s: torch.arange(len(s))),
        ),
        Misconception(
            "the detections are sorted from the lowest score to the highest; turn them round",
            _curve_with(order=lambda s: s.argsort(stable=True)),
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
    ("precision", "recall"),
    narrow=_show_curve,
    solution=(precision_recall,),
)


def _ap_cases(random: torch.Generator) -> list[Case]:
    precision, recall = torch.tensor([1, 1 / 2, 2 / 3]), torch.tensor([1 / 3, 1 / 3, 2 / 3])
    curves = []
    # Prime numbers of objects: no level but 0 and 1 is met exactly, so rounding decides nothing.
    for number, objects in ((40, 37), (90, 53), (25, 71)):
        right = torch.rand(number, generator=random) < torch.linspace(0.95, 0.3, number)
        found = right.cumsum(0).clamp(max=objects)
        curves.append((found / torch.arange(1, number + 1), found / objects))
    return [
        Case(
            "by hand",
            (precision, recall),
            "right, wrong, right, with three objects",
            torch.tensor((34 * 1 + 33 * 2 / 3) / 101),
        ),
        Case(
            "by hand",
            (torch.ones(3), torch.tensor([1 / 3, 2 / 3, 1.0])),
            "three right detections of three objects",
            torch.tensor(1.0),
        ),
        Case(
            "by hand",
            (torch.tensor([0.0, 1 / 2]), torch.tensor([0.0, 1.0])),
            "a wrong detection, then a right one, with one object",
            torch.tensor(0.5),
        ),
        Case("degenerate", (torch.zeros(0), torch.zeros(0)), "no detections"),
        Case("degenerate", (torch.zeros(4), torch.zeros(4)), "nothing but false positives"),
        *(Case("random", curve, f"{len(curve[0])} detections") for curve in curves),
    ]


def _ap_with(
    envelope: Callable[[Tensor], Tensor] = _envelope,
    levels: Tensor | None = None,
    divide: Callable[[Tensor, int], Tensor] = lambda values, n: values.sum() / n,
    right: bool = False,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Average precision with something changed."""
    levels = torch.linspace(0, 1, 101, dtype=torch.float64) if levels is None else levels

    def function(precision: Tensor, recall: Tensor) -> Tensor:
        best = envelope(precision.double())
        first = torch.searchsorted(recall.double(), levels, right=right)
        return divide(best[first[first < len(recall)]], len(levels))

    return function


def _area_below(envelope: bool) -> Callable[[Tensor, Tensor], Tensor]:
    def function(precision: Tensor, recall: Tensor) -> Tensor:
        height = _envelope(precision) if envelope else precision
        width = torch.diff(recall, prepend=torch.zeros(1))
        return (width * height).sum()

    return function


def _trapezoids(envelope: bool, from_zero: bool) -> Callable[[Tensor, Tensor], Tensor]:
    def function(precision: Tensor, recall: Tensor) -> Tensor:
        if from_zero:
            precision = torch.cat((torch.ones(1), precision))
            recall = torch.cat((torch.zeros(1), recall))
        return torch.trapezoid(_envelope(precision) if envelope else precision, recall)

    return function


def _goes_on(precision: Tensor, recall: Tensor) -> Tensor:
    if len(precision) == 0:
        return torch.tensor(0.0)
    levels = torch.linspace(0, 1, 101, dtype=torch.float64)
    first = torch.searchsorted(recall.double(), levels).clamp(max=len(recall) - 1)
    return _envelope(precision)[first].mean()


def _show_ap(case: Case, found: Fault) -> str:
    if len(case.args[0]) > 6:
        return ""
    precision, recall = ([round(float(x), 3) for x in values] for values in case.args)
    return f"precision {precision}, recall {recall}"


AVERAGE_PRECISION = Exercise(
    "1.5",
    "average_precision",
    average_precision,
    _ap_cases,
    (
        Misconception(
            "the curve must be made monotone first: at each recall the best precision that can be "
            "had at this recall or more",
            _ap_with(envelope=lambda p: p),
        ),
        Misconception(
            "the running maximum goes the wrong way: it looks at higher recall, from right to left",
            _ap_with(envelope=lambda p: p.cummax(0).values if len(p) else p),
        ),
        Misconception(
            "levels that are never reached count zero: divide by 101, not by the levels reached",
            _ap_with(divide=lambda v, n: v.sum() / max(len(v), 1)),
        ),
        Misconception(
            "levels that are never reached count zero: divide by 101, not by the levels reached",
            _ap_with(divide=lambda v, n: v.mean()),
        ),
        Misconception(
            "these are 11 levels, VOC's old rule; COCO reads the curve at 101",
            _ap_with(levels=torch.linspace(0, 1, 11, dtype=torch.float64)),
        ),
        Misconception(
            "there are 101 levels, 0.00 and 1.00 included; yours are 100",
            _ap_with(levels=torch.arange(100, dtype=torch.float64) / 100),
        ),
        Misconception(
            "there are 101 levels, 0.00 and 1.00 included; yours are 100",
            _ap_with(levels=torch.linspace(0, 1, 100, dtype=torch.float64)),
        ),
        Misconception(
            "this is the exact area below the monotone curve; COCO reads it at 101 levels",
            _area_below(envelope=True),
        ),
        Misconception(
            "this is the area below the raw curve; make it monotone and read it at 101 levels",
            _area_below(envelope=False),
        ),
        *(
            Misconception(
                "trapezoids interpolate between the points; COCO reads a monotone curve at 101 "
                "levels",
                _trapezoids(envelope, from_zero),
            )
            # With a monotone curve from recall 0 on they are the rectangles of the exact area.
            for envelope, from_zero in ((True, False), (False, False), (False, True))
        ),
        Misconception(
            "a level that is never reached counts 0; yours counts as if the curve went on",
            _goes_on,
        ),
        Misconception(
            "this is the best F1; average precision is the mean of the precision at 101 levels",
            lambda p, r: (2 * p * r / (p + r + 1e-9)).max(),
        ),
        Misconception(
            "this is the mean of the precisions; read the curve at 101 levels of recall instead",
            lambda precision, recall: precision.mean(),
        ),
        Misconception(
            "the sum over the levels is not yet a mean: divide by 101",
            _ap_with(divide=lambda v, n: v.sum()),
        ),
        Misconception(
            "a level is reached where recall is at least the level; yours must exceed it",
            _ap_with(right=True),
        ),
    ),
    ("the average precision",),
    narrow=_show_ap,
    solution=(average_precision,),
)
