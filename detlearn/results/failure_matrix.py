"""The failure-mode matrix: AP of each detector on each scenario, relative to its own mean.

A detector that is good everywhere has higher AP everywhere; what it is *relatively* bad at shows
when its AP on a scenario is divided by its mean over all scenarios. This is done seed by seed, and
the seeds give an interval: mean ± t · s / √n, with s the standard deviation (n − 1) of n seeds and
t Student's for n − 1 degrees of freedom. With three seeds t is 4.3, so the intervals are wide.
"""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from detlearn.results.machines import one_machine
from detlearn.results.page_tables import FITS, NARROW, NUMBER, WHOLE, breakable
from detlearn.results.stored import Result, load

NAME = "comparison_matrix"
CONFIDENCE = 0.95
BELOW, ABOVE = "184, 110, 0", "92, 58, 158"  # red, green, blue of relative AP below and above 1
DEEPEST = 0.5  # of a cell's colour, so that words on it are read on light pages and dark ones


class Interval(NamedTuple):
    """A mean over seeds and how sure it is.

    Attributes:
        mean: of the numbers.
        low, high: the ends of the interval of the mean; both NaN where there is one number.
    """

    mean: float
    low: float
    high: float


def interval(numbers: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of some numbers and Student's interval of it.

    Args:
        numbers: one a seed.
        confidence: how often the interval holds the true mean, if the numbers are normal.

    Returns:
        Mean and ends; NaN where a number is NaN, and ends of NaN for a single number.

    Raises:
        ValueError: if there is no number.
    """
    if len(numbers) == 0:
        raise ValueError("got no numbers: an interval needs at least one, and two for its ends")
    mean = statistics.fmean(numbers)
    if len(numbers) == 1 or math.isnan(mean):
        return Interval(mean, math.nan, math.nan)

    t = float(stats.t.ppf((1 + confidence) / 2, len(numbers) - 1))
    half = t * statistics.stdev(numbers) / math.sqrt(len(numbers))
    return Interval(mean, mean - half, mean + half)


def relative_interval(aps: Tensor, t: float) -> Tensor:
    """Return the interval of AP relative to the detector's own mean, for each scenario.

    Args:
        aps: (S, N) AP of one detector, S seeds (two or more), N scenarios; no seed is 0 throughout.
        t: Student's for S − 1 degrees of freedom.

    Returns:
        (N, 3): the mean over seeds of AP divided by that seed's mean over scenarios, then the lower
        and the upper end, mean ± t · s / √S, with s of S − 1 degrees of freedom.
    """
    relative = aps / aps.mean(dim=1, keepdim=True)  # (S, N), each seed by its own mean
    mean = relative.mean(dim=0)  # (N,)
    half = t * relative.std(dim=0) / math.sqrt(len(aps))
    return torch.stack((mean, mean - half, mean + half), dim=1)


def new_seed_range(aps: Tensor, t: float) -> Tensor:
    """Return the range in which one more seed's AP is expected, for each detector.

    It is wider than the interval of the mean: a new seed has a spread of its own, s², beside the
    error of the mean, s² / S. From few seeds s is known badly, so all detectors share one.

    Args:
        aps: (D, S) AP of D detectors on one scenario, S seeds (two or more).
        t: Student's for D · (S − 1) degrees of freedom.

    Returns:
        (D, 2): the lower and the upper end, mean ± t · s · √(1 + 1/S), where s² is the mean over
        detectors of their variances, of S − 1 degrees of freedom each. Nothing is cut at 0 or 1.
    """
    seeds = aps.shape[1]
    mean = aps.mean(dim=1)  # (D,)
    pooled = aps.var(dim=1).mean().sqrt()  # (), the variances are averaged and not their roots
    half = t * pooled * math.sqrt(1 + 1 / seeds)
    return torch.stack((mean - half, mean + half), dim=1)


@dataclass(frozen=True)
class FailureMatrix:
    """The numbers of every detector, scenario and seed.

    Attributes:
        detectors: the rows.
        scenarios: the columns.
        numbers: detector → scenario → one AP a seed.
        source: where the numbers are from, in a sentence.
    """

    detectors: tuple[str, ...]
    scenarios: tuple[str, ...]
    numbers: dict[str, dict[str, list[float]]]
    source: str

    def relative(self, detector: str, scenario: str) -> list[float]:
        """Return AP on a scenario divided by the detector's mean over all, one number a seed.

        NaN for a seed in which the detector found nothing at all.
        """
        ratios = []
        for seed, ap in enumerate(self.numbers[detector][scenario]):
            mean = statistics.fmean(self.numbers[detector][name][seed] for name in self.scenarios)
            ratios.append(ap / mean if mean > 0 else math.nan)
        return ratios

    def cell(self, detector: str, scenario: str) -> Interval:
        """Return the interval of the relative AP of a cell."""
        return interval(self.relative(detector, scenario))

    def difference(self, first: Sequence[str], second: Sequence[str], scenario: str) -> Interval:
        """Compare two groups of detectors on a scenario: relative AP of the first − the second.

        Args:
            first, second: names of detectors; each group's mean is taken, seed by seed.
            scenario: one of the columns.

        Raises:
            ValueError: if a group is empty or a detector is not there.
        """
        for group in (first, second):
            unknown = [name for name in group if name not in self.detectors]
            if unknown or not group:
                raise ValueError(
                    f"got the group {list(group)}: expected some of {', '.join(self.detectors)}"
                )

        means = []
        for group in (first, second):
            rows = [self.relative(name, scenario) for name in group]
            means.append([statistics.fmean(column) for column in zip(*rows)])
        return interval([a - b for a, b in zip(*means)])

    def _repr_html_(self) -> str:
        """Return the relative AP as a table: brown below 1, violet above, intervals as titles."""
        # Upright names keep the columns so narrow that the whole matrix fits a page.
        upright = f"{NARROW}; writing-mode: vertical-rl; text-align: right"
        head = "".join(
            f'<th scope="col" style="{upright}">{html.escape(name)}</th>' for name in self.scenarios
        )
        body = "".join(self._html_row(detector) for detector in self.detectors)
        return (
            f'<div class="failure-matrix"><table style="{FITS}">'
            f'<thead><tr><th scope="col" style="{NARROW}">detector</th>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
            f"<p>Each cell: {html.escape(self.source)}.</p>"
        )

    def _html_row(self, detector: str) -> str:
        cells = [self._html_cell(self.cell(detector, scenario)) for scenario in self.scenarios]
        name = breakable(detector)
        return f'<tr><th scope="row" style="{WHOLE}">{name}</th>{"".join(cells)}</tr>'

    @staticmethod
    def _html_cell(found: Interval) -> str:
        """Return a cell: the further from 1, the deeper its colour; its title is the interval."""
        if math.isnan(found.mean):
            return '<td title="found nothing in one of the seeds">–</td>'

        colour = BELOW if found.mean < 1 else ABOVE
        depth = DEEPEST * min(abs(found.mean - 1), 1)
        # Closer than in other tables: there are nine of them beside the name, on a phone, too.
        look = f"{NUMBER}; padding: 0.3em 0.1em; background-color: rgba({colour}, {depth:.2f})"
        about = "one seed" if math.isnan(found.low) else f"{found.low:.2f} to {found.high:.2f}"
        return f'<td style="{look}" title="{about}">{found.mean:.2f}</td>'


def failure_matrix(result: Result | None = None, key: str = "ap") -> FailureMatrix:
    """Return the stored failure-mode matrix.

    Args:
        result: of another name than the book's.
        key: which number of the cells.

    Raises:
        FileNotFoundError: if it is not stored; ``make comparison`` makes it.
        ValueError: if its runs come from several machines, detectors differ in their seeds, or the
            seeds of one in their steps.
    """
    result = load(NAME) if result is None else result
    machine = one_machine([result])

    numbers: dict[str, dict[str, list[float]]] = {}
    for detector in result.variants():
        runs = result.runs(detector)
        scenarios = list(runs[0]["scenarios"])
        numbers[detector] = {
            scenario: [run["scenarios"][scenario][key] for run in runs] for scenario in scenarios
        }

    for detector in numbers:
        steps = {run["steps"] for run in result.runs(detector)}
        if len(steps) > 1:
            raise ValueError(
                f"{result['name']} trained {detector} for {sorted(steps)} steps: it was calibrated "
                "anew between its seeds; delete those of one length and train them again"
            )

    seeds = {detector: [run["seed"] for run in result.runs(detector)] for detector in numbers}
    if len({tuple(found) for found in seeds.values()}) > 1:
        raise ValueError(
            f"{result['name']} is not complete, its detectors have the seeds {seeds}: run "
            f"{result['provenance']['command']} to its end"
        )

    count = len(next(iter(seeds.values())))
    source = f"{result['name']}.json: {result['provenance']['command']}, {count} seeds, {machine}"
    return FailureMatrix(tuple(numbers), tuple(scenarios), numbers, source)


def fallen_trainings(result: Result) -> list[tuple[str, int]]:
    """Return the trainings that reached less than half of what their detector's best seed reached.

    Args:
        result: with "scenarios" in each run; what counts is the mean of their AP.

    Returns:
        (detector, seed) of each, in the order in which they are stored.
    """
    fallen = []
    for detector in result.variants():
        reached = {
            run["seed"]: statistics.fmean(cell["ap"] for cell in run["scenarios"].values())
            for run in result.runs(detector)
        }
        best = max(reached.values())
        fallen += [(detector, seed) for seed, ap in reached.items() if ap < best / 2]
    return fallen


def expected_range(result: Result, detector: str, scenario: str) -> tuple[float, float]:
    """Return the range in which one more seed's AP is expected, 95 times of 100.

    Three seeds alone know their spread so badly that t is 4.3, and a cell may well owe a small s
    to luck; so the variances of all detectors on this scenario are pooled, with their degrees of
    freedom. A detector of which a training fell (`fallen_trainings`) is left out: a fall is no
    scatter, and a single one would make the ranges of all others several times as wide.

    For a new number beside the mean of n the range is mean ± t · s · √(1 + 1/n), t Student's for
    the pooled degrees of freedom. Detectors may have different numbers of seeds; where these are
    equal and none fell it is `new_seed_range`.

    Args:
        result: with "scenarios" in each run.
        detector, scenario: the cell.

    Returns:
        The two ends.

    Raises:
        ValueError: if a training of this detector fell, so that its mean says little, or if no
            other detector has two seeds, which a spread takes.
    """
    fallen = fallen_trainings(result)
    own = [seed for name, seed in fallen if name == detector]
    if own:
        raise ValueError(
            f"{result['name']}: of {detector} the training with seed {own[0]} reached less than "
            "half of the best; ask for the range of a detector whose seeds agree"
        )

    squares, freedom = 0.0, 0
    left_out = {name for name, _ in fallen}
    for name in result.variants():
        aps = [run["scenarios"][scenario]["ap"] for run in result.runs(name)]
        if len(aps) > 1 and name not in left_out:
            squares += statistics.variance(aps) * (len(aps) - 1)
            freedom += len(aps) - 1
    if freedom == 0:
        raise ValueError(f"{result['name']} has one seed a detector: a spread takes two or more")

    aps = [run["scenarios"][scenario]["ap"] for run in result.runs(detector)]
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    half = t * math.sqrt(squares / freedom) * math.sqrt(1 + 1 / len(aps))
    mean = statistics.fmean(aps)
    return mean - half, mean + half
