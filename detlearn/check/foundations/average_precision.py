"""Exercise 1.7: average precision, the area below the precision–recall curve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.check.foundations.precision_recall import envelope as _envelope
from detlearn.metrics.curves import average_precision


def _ap_cases(random: torch.Generator) -> list[Case]:
    # Prime numbers of objects: no level but 0 and 1 is met exactly, so rounding decides nothing.
    curves = []
    for number, objects in ((40, 37), (90, 53), (25, 71)):
        right = torch.rand(number, generator=random) < torch.linspace(0.95, 0.3, number)
        found = right.cumsum(0).clamp(max=objects)
        curves.append((found / torch.arange(1, number + 1), found / objects))

    precision = torch.tensor([1, 1 / 2, 2 / 3])
    recall = torch.tensor([1 / 3, 1 / 3, 2 / 3])
    by_hand = [
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
    ]

    return [
        *by_hand,
        Case(
            "by hand",
            (torch.tensor([1, 1 / 2, 1 / 3, 1 / 2]), torch.tensor([1 / 2, 1 / 2, 1 / 2, 1])),
            "right, wrong, wrong, right, with two objects",
            torch.tensor((51 * 1 + 50 * 1 / 2) / 101),
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
    """Return average precision with something changed.

    Args:
        envelope: makes the curve monotone.
        levels: of recall.
        divide: makes one number of the precisions at the levels that were reached.
        right: a level is reached by what exceeds it.
    """
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


def _at_the_right_ones(envelope: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the mean of the precisions at the detections that are right."""

    def function(precision: Tensor, recall: Tensor) -> Tensor:
        heights = _envelope(precision) if envelope else precision
        heights = heights[torch.diff(recall, prepend=torch.zeros(1)) > 0]
        return heights.mean() if len(heights) else torch.tensor(0.0)

    return function


def _interpolated(precision: Tensor, recall: Tensor) -> Tensor:
    """Join the points of the monotone curve with straight lines."""
    if len(precision) == 0:
        return torch.tensor(0.0)
    heights = _envelope(precision).double().numpy()
    levels = np.linspace(0, 1, 101)
    return torch.tensor(np.interp(levels, recall.double().numpy(), heights, right=0.0).mean())


def _read_below(before: float | None, envelope: bool = True) -> Callable[..., Tensor]:
    """Return what reads the last cut whose recall is at most the level.

    Args:
        before: what counts at levels below the first cut; None for the first cut's precision.
        envelope: whether the curve is monotone.
    """

    def function(precision: Tensor, recall: Tensor) -> Tensor:
        if len(precision) == 0:
            return torch.tensor(0.0)
        heights = _envelope(precision.double()) if envelope else precision.double()
        levels = torch.linspace(0, 1, 101, dtype=torch.float64)
        last = torch.searchsorted(recall.double(), levels, right=True) - 1
        values = heights[last.clamp(min=0)]
        return (values if before is None else values.where(last >= 0, before)).mean()

    return function


def _mean_from_here(precision: Tensor, recall: Tensor) -> Tensor:
    """Return what takes the mean of the precisions at a recall or more, not the best."""
    levels = np.linspace(0, 1, 101)
    heights = [precision[recall.double() >= level].double() for level in levels]
    return torch.stack([h.mean() if len(h) else torch.tensor(0.0) for h in heights]).mean()


def _one_ahead(precision: Tensor) -> Tensor:
    """Compare each cut with the next one alone."""
    return torch.maximum(precision, torch.cat((precision[1:], precision[-1:])))


def _up_to_the_last_recall(precision: Tensor, recall: Tensor) -> Tensor:
    """Spread the levels over what was reached."""
    if len(precision) == 0:
        return torch.tensor(0.0)
    levels = torch.linspace(0, 1, 101, dtype=torch.float64) * recall[-1].double()
    first = torch.searchsorted(recall.double(), levels).clamp(max=len(recall) - 1)
    return _envelope(precision)[first].mean()


def _goes_on(precision: Tensor, recall: Tensor) -> Tensor:
    if len(precision) == 0:
        return torch.tensor(0.0)
    levels = torch.linspace(0, 1, 101, dtype=torch.float64)
    first = torch.searchsorted(recall.double(), levels).clamp(max=len(recall) - 1)
    return _envelope(precision)[first].mean()


AVERAGE_PRECISION = Exercise(
    number="1.7",
    name="average_precision",
    reference=average_precision,
    cases=_ap_cases,
    misconceptions=(
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
            _ap_with(divide=lambda v, n: v.mean()),
        ),
        Misconception(
            "these are 11 levels, VOC's old rule; COCO reads the curve at 101",
            _ap_with(levels=torch.linspace(0, 1, 11, dtype=torch.float64)),
        ),
        Misconception(
            "there are 101 levels, 0.00 and 1.00 included; yours are 100",
            _ap_with(levels=torch.arange(100, dtype=torch.float64) / 100),
            _ap_with(levels=torch.arange(1, 101, dtype=torch.float64) / 100),
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
        Misconception(
            "trapezoids interpolate between the points; COCO reads a monotone curve at 101 levels",
            # With a monotone curve from recall 0 on they are the rectangles of the exact area.
            _trapezoids(envelope=True, from_zero=False),
            _trapezoids(envelope=False, from_zero=False),
            _trapezoids(envelope=False, from_zero=True),
        ),
        Misconception(
            "this is the mean over the right detections; read the curve at 101 levels of recall, "
            "of which those that are never reached count zero",
            _at_the_right_ones(envelope=True),
            _at_the_right_ones(envelope=False),
        ),
        Misconception(
            "between two points the curve is a step: a level has the best precision at this recall "
            "or more; yours joins the points with straight lines",
            _interpolated,
        ),
        Misconception(
            "there are 101 levels, so the sum is divided by 101; yours by 100",
            _ap_with(divide=lambda v, n: v.sum() / 100),
        ),
        Misconception(
            "one pass from the front looks one cut ahead; go from the last cut to the first, so "
            "that the best of all later ones counts",
            _ap_with(envelope=_one_ahead),
        ),
        Misconception(
            "the levels go from 0 to 1 whatever recall is reached; yours end at the highest one",
            _up_to_the_last_recall,
        ),
        Misconception(
            "a level reads the first cut whose recall is at least the level; yours reads the last "
            "one at or below it",
            *(_read_below(before) for before in (0.0, 1.0, None)),
            *(_read_below(before, envelope=False) for before in (0.0, 1.0, None)),
        ),
        Misconception(
            "at each level the best precision at that recall or more counts; yours is the mean of "
            "those precisions",
            _mean_from_here,
        ),
        Misconception(
            "a level that is never reached counts 0; yours counts as if the curve went on",
            _goes_on,
        ),
        Misconception(
            "this is the best F1; average precision is the mean of the precision at 101 levels",
            lambda p, r: (2 * p * r / (p + r + 1e-9)).max(),
            lambda p, r: torch.cat((torch.zeros(1), 2 * p * r / (p + r + 1e-9))).max(),
        ),
        Misconception(
            "this is the mean of the precisions; read the curve at 101 levels of recall instead",
            lambda precision, recall: precision.mean(),
            lambda precision, recall: precision.sum() / max(len(precision), 1),
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
    returns=("the average precision",),
    solution=(average_precision,),
)
