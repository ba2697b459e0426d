"""Every detector of the book in one table, each number with its source.

`detection_comparison` joins what ``benchmarks/experiments/comparison.py`` has stored: nothing in
the table is typed by hand. What has not been measured is an empty cell, and what was measured and
did not happen ("not reached") says so.
"""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from detlearn.results.machines import one_machine
from detlearn.results.page_tables import FITS, NUMBER, WHOLE, breakable
from detlearn.results.stored import Result, load

NOT_REACHED = "not reached"
DIVERGED = "diverged"  # the loss did not stay finite
PARTS = {
    "table": "comparison",
    "peers": "comparison_peers",
    "labels": "comparison_labels",
    "speed": "comparison_speed",
    "steps": "comparison_steps",
}
TIMED = ("steps", "speed")
Cell = float | str | None  # a number, what came instead of one, or nothing measured


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        key: its short name, for ``table["ap50"]``.
        title: over the column.
        about: what it is, in a sentence.
        form: how a number is written.
        least_first: whether less is better.
    """

    key: str
    title: str
    about: str
    form: Callable[[float], str]
    least_first: bool = False


def _share(value: float) -> str:
    return "–" if value < 0 else f"{value:.3f}".replace("0.", ".", 1)


def _millions(value: float) -> str:
    return f"{value / 1e6:.2f}" if value < 1e7 else f"{value / 1e6:.0f}"


COLUMNS = (
    Column("ap", "AP", "over IoU .50 to .95, mean of the seeds", _share),
    Column("ap50", "AP50", "at IoU .50", _share),
    Column("ap75", "AP75", "at IoU .75", _share),
    Column("ap_small", "AP small", "objects up to 32² pixels", _share),
    Column("ap_medium", "AP medium", "objects of 32² to 96² pixels", _share),
    Column("ap_large", "AP large", "objects from 96² pixels; a dash where there are none", _share),
    Column(
        "seconds_to_80",
        "s to AP50 .8",
        "seconds of training until AP50 was first .8 or more, by the calibrated time of a step",
        lambda value: f"{value:.0f}",
        least_first=True,
    ),
    Column("ap_100", "AP, 100 images", "trained for as long on 100 images, one seed", _share),
    Column("ap_500", "AP, 500 images", "trained for as long on 500 images, one seed", _share),
    Column("ap_2000", "AP, 2000 images", "the same seed, on 2000 images", _share),
    Column("parameters", "parameters, M", "millions", _millions, least_first=True),
    Column(
        "multiply_adds",
        "multiply-adds, M",
        "millions for one image, the second stage included",
        lambda value: f"{value / 1e6:.0f}",
        least_first=True,
    ),
    Column(
        "ms_batch_1",
        "ms, batch 1",
        "milliseconds of a call with one image, decoding and NMS included",
        lambda value: f"{value:.1f}",
        least_first=True,
    ),
    Column(
        "ratio_batch_1",
        "× point",
        "how many times as long as the point detector with one image, median of the rounds",
        lambda value: f"{value:.2f}",
        least_first=True,
    ),
    Column(
        "ms_batch_8",
        "ms, batch 8",
        "milliseconds of a call with eight images",
        lambda value: f"{value:.1f}",
        least_first=True,
    ),
    Column(
        "memory_call_mib",
        "MiB, call",
        "most memory of calls with eight images, beyond Python and torch",
        lambda value: f"{value:.0f}",
        least_first=True,
    ),
    Column(
        "memory_step_mib",
        "MiB, training",
        "most memory of training steps with sixteen images, beyond Python and torch",
        lambda value: f"{value:.0f}",
        least_first=True,
    ),
)
SEEDED = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
FROM_SPEED = tuple(column.key for column in COLUMNS[10:])


@dataclass
class DetectionTable:
    """A table of detectors: rows by name, columns by key, and a source for every cell.

    ``table["ap50"]`` is a column (detector → number), ``table.row("fcos")`` a row (key → number),
    ``table.source("fcos", "ap50")`` says where a number comes from. In a notebook it shows itself.

    Attributes:
        columns: as shown.
        cells: detector → key → number; "not reached", with the seeds where there are several;
            "diverged"; or None where nothing was measured.
        spreads: detector → key → standard deviation over the seeds, where there are several.
        sources: detector → key → where the number comes from.
        machine: on which times and memory were measured; where a training ran is in its source.
    """

    columns: tuple[Column, ...]
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)
    spreads: dict[str, dict[str, float]] = field(default_factory=dict)
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    machine: str = ""

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[str]:
        return iter(self.cells)

    def __getitem__(self, key: str) -> dict[str, Cell]:
        """Return a column.

        Raises:
            KeyError: for an unknown one; the message lists the known.
        """
        self._check("column", key, [column.key for column in self.columns])
        return {detector: row[key] for detector, row in self.cells.items()}

    def row(self, detector: str) -> dict[str, Cell]:
        """Return a row.

        Raises:
            KeyError: for an unknown detector; the message lists the known.
        """
        self._check("detector", detector, list(self.cells))
        return dict(self.cells[detector])

    def source(self, detector: str, key: str) -> str:
        """Return where a number comes from: file, runs, command, machine.

        Raises:
            KeyError: for an unknown detector or column, or a cell in which nothing was measured.
        """
        self._check("detector", detector, list(self.cells))
        self._check("column", key, [column.key for column in self.columns])
        if self.cells[detector][key] is None:
            raise KeyError(f"{key} of {detector} has not been measured: it has no source")
        return self.sources[detector][key]

    def sorted_by(self, key: str) -> DetectionTable:
        """Return the table with the best of a column first, what is not a number last."""
        values = self[key]
        column = next(column for column in self.columns if column.key == key)
        sign = 1 if column.least_first else -1

        def place(detector: str) -> float:
            value = values[detector]
            return sign * value if isinstance(value, int | float) else math.inf

        order = sorted(self.cells, key=place)
        return self._with_rows(order)

    def select(self, detectors: Sequence[str] | None = None, keys: Sequence[str] | None = None):
        """Return some rows and some columns, in the order given.

        Raises:
            KeyError: for an unknown detector or column.
        """
        known = {column.key: column for column in self.columns}
        for key in keys or ():
            self._check("column", key, list(known))
        for detector in detectors or ():
            self._check("detector", detector, list(self.cells))

        chosen = self._with_rows(list(self.cells) if detectors is None else list(detectors))
        if keys is not None:
            chosen.columns = tuple(known[key] for key in keys)
        return chosen

    def text(self, detector: str, key: str) -> str:
        """Return a cell as it is written: mean ± deviation, "not reached", or nothing."""
        value = self.cells[detector][key]
        if value is None or isinstance(value, str):
            return value or ""
        column = next(column for column in self.columns if column.key == key)
        spread = self.spreads.get(detector, {}).get(key)
        written = column.form(value)
        return written if spread is None else f"{written} ±\u00a0{column.form(spread)}"

    def __str__(self) -> str:
        titles = ["detector", *(column.title for column in self.columns)]
        rows = [
            [detector, *(self.text(detector, column.key) for column in self.columns)]
            for detector in self.cells
        ]
        widths = [max(len(row[i]) for row in [titles, *rows]) for i in range(len(titles))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in [titles, *rows]
        ]
        return "\n".join([*lines, f"times and memory measured on {self.machine}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col" style="{NUMBER}" title="{html.escape(column.about)}">'
            f"{breakable(column.title)}</th>"
            for column in self.columns
        )
        body = "".join(self._html_row(detector) for detector in self.cells)
        sources = "".join(f"<li>{html.escape(line)}</li>" for line in self.list_of_sources())
        return (
            f'<div class="detection-comparison"><table style="{FITS}">'
            f'<thead><tr><th scope="col" style="{WHOLE}">detector</th>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
            f"<details><summary>Where each number comes from</summary><ul>{sources}</ul></details>"
        )

    def list_of_sources(self) -> list[str]:
        """Return, for every source, which columns of which detectors come from it."""
        by_source: dict[str, dict[str, None]] = {}
        for detector, row in self.cells.items():
            for column in self.columns:
                if row[column.key] is not None:
                    source = self.sources[detector][column.key]
                    by_source.setdefault(source, {})[column.title] = None
        return [f"{', '.join(titles)}: {source}" for source, titles in by_source.items()]

    def _html_row(self, detector: str) -> str:
        cells = []
        for column in self.columns:
            text = html.escape(self.text(detector, column.key))
            source = self.sources.get(detector, {}).get(column.key, "not measured")
            cells.append(f'<td style="{NUMBER}" title="{html.escape(source)}">{text}</td>')
        name = breakable(detector)
        return f'<tr><th scope="row" style="{WHOLE}">{name}</th>{"".join(cells)}</tr>'

    def _with_rows(self, detectors: Sequence[str]) -> DetectionTable:
        return DetectionTable(
            self.columns,
            {name: self.cells[name] for name in detectors},
            {name: self.spreads.get(name, {}) for name in detectors},
            {name: self.sources.get(name, {}) for name in detectors},
            self.machine,
        )

    @staticmethod
    def _check(kind: str, name: str, known: list[str]) -> None:
        if name not in known:
            raise KeyError(f"no {kind} {name!r}; there are: {', '.join(known)}")


def cost_front(costs: Tensor, aps: Tensor) -> Tensor:
    """Say which detectors no other beats: what is worth buying, whatever the budget.

    A detector is beaten if another costs no more and is no less accurate, and is better in at least
    one of the two. Equal twins do not beat each other.

    Args:
        costs: (N,) milliseconds, say; less is better.
        aps: (N,) more is better.

    Returns:
        (N,) bool, True for those that nobody beats.
    """
    no_dearer = costs[None, :] <= costs[:, None]  # (N, N): is the column no dearer than the row?
    no_worse = aps[None, :] >= aps[:, None]
    better = (costs[None, :] < costs[:, None]) | (aps[None, :] > aps[:, None])
    return ~(no_dearer & no_worse & better).any(dim=1)


# ---- joining what is stored ----------------------------------------------------------------------


def detection_comparison() -> DetectionTable:
    """Return every detector of the book, and torchvision's, side by side.

    All of them are trained by the same trainer on the same scenes for equal time. The table is
    joined from the stored parts that are there; "comparison" (AP) must be.

    Returns:
        The table, with a source for every number.

    Raises:
        FileNotFoundError: if the comparison is not stored; ``make comparison`` makes it.
        ValueError: if a part comes from several machines, if times do, or if trainings took other
            steps than the calibration's.
    """
    parts = {part: found for part, name in PARTS.items() if (found := _stored(name)) is not None}
    if "table" not in parts:
        load(PARTS["table"])  # which says what is there instead

    # The trainings are the same work in float32 on any machine. Seconds and memory are not.
    for part in parts.values():
        one_machine([part])
    timed = [parts[part] for part in TIMED if part in parts]
    machine = one_machine(timed or [parts["table"]])

    table = DetectionTable(COLUMNS, machine=machine)
    result = parts["table"]
    for detector in result.variants():
        _add_row(table, detector, result, result.runs(detector))
    for detector, run in _best_rates(parts.get("peers")).items():
        _add_row(table, detector, parts["peers"], [run])

    if "steps" in parts:
        _add_seconds(table, parts)
    if "labels" in parts:
        _add_labels(table, parts)
    if "speed" in parts:
        _add_speed(table, parts["speed"])
    return table


def _stored(name: str) -> Result | None:
    try:
        return load(name)
    except FileNotFoundError:
        return None


def _best_rates(peers: Result | None) -> dict[str, dict[str, Any]]:
    """Return torchvision's detectors, each at the learning rate with its highest AP.

    A rate that diverged is the last choice, also where all others have found nothing.
    """

    def merit(run: dict[str, Any]) -> tuple[bool, float]:
        return not run.get("diverged", False), run["ap"]

    best: dict[str, dict[str, Any]] = {}
    for run in peers["runs"] if peers is not None else ():
        known = best.get(run["detector"])
        if known is None or merit(run) > merit(known):
            best[run["detector"]] = run
    return best


def _add_row(
    table: DetectionTable, detector: str, result: Result, runs: Sequence[dict[str, Any]]
) -> None:
    """Add what a detector's trainings reached; the other columns stay empty."""
    table.cells[detector] = {column.key: None for column in table.columns}
    table.spreads[detector] = {}
    table.sources[detector] = {}

    for key in SEEDED:
        table.sources[detector][key] = _source(result, runs)
        if any(run.get("diverged", False) for run in runs):
            table.cells[detector][key] = DIVERGED
            continue

        numbers = [run[key] for run in runs]
        # −1 says that there was no object of this size.
        measured = [number for number in numbers if number >= 0]
        table.cells[detector][key] = statistics.fmean(measured) if measured else -1.0
        if len(measured) > 1:
            table.spreads[detector][key] = statistics.stdev(measured)


def _add_seconds(table: DetectionTable, parts: dict[str, Result]) -> None:
    """Add the time to AP50 .8: the step at which it was reached, by the calibrated time of a step.

    Raises:
        ValueError: if a training took more steps than the calibration gives its seconds.
    """
    steps = parts["steps"]
    runs_of = {
        name: (parts["table"], parts["table"].runs(name)) for name in parts["table"].variants()
    }
    for detector, run in _best_rates(parts.get("peers")).items():
        runs_of[detector] = (parts["peers"], [run])

    for detector, (result, runs) in runs_of.items():
        time = steps.run(detector)
        backbone = time["backbone_steps"] * time["seconds_per_backbone_step"]
        _check_steps(result, detector, runs, time)

        reached = [run["steps_to_80"] for run in runs]
        key = "seconds_to_80"
        table.sources[detector][key] = (
            f"{_source(result, runs)}, by the seconds of a step in {steps['name']}.json"
        )
        if None in reached:
            table.cells[detector][key] = _not_reached(reached)
            continue
        seconds = [backbone + step * time["seconds_per_step"] for step in reached]
        table.cells[detector][key] = statistics.fmean(seconds)
        if len(seconds) > 1:
            table.spreads[detector][key] = statistics.stdev(seconds)


def _not_reached(reached: Sequence[int | None]) -> str:
    """Say that some seeds did not get there, and how many where there are several."""
    if len(reached) == 1:
        return NOT_REACHED
    return f"{NOT_REACHED} ({reached.count(None)} of {len(reached)} seeds)"


def _check_steps(
    result: Result,
    detector: str,
    runs: Sequence[dict[str, Any]],
    time: dict[str, Any],
) -> None:
    """Refuse trainings whose steps are not those that the calibration gives."""
    budget = result["settings"]["seconds"]
    backbone = time["backbone_steps"] * time["seconds_per_backbone_step"]
    expected = max(1, math.floor((budget - backbone) / time["seconds_per_step"]))
    others = {run["steps"] for run in runs} - {expected}
    if others:
        raise ValueError(
            f"{result['name']} trained {detector} for {sorted(others)} steps, the calibration "
            f"gives {expected} to {budget:g} s: it was calibrated anew since; train it again"
        )


def _add_labels(table: DetectionTable, parts: dict[str, Result]) -> None:
    """Add AP after trainings on fewer images, and that of the same seed on all."""
    result = parts["labels"]
    for run in result["runs"]:
        detector, key = run["detector"], f"ap_{run['train_scenes']}"
        if "steps" in parts:
            _check_steps(result, detector, [run], parts["steps"].run(detector))
        if detector in table.cells and key in table.cells[detector]:
            table.cells[detector][key] = run["ap"]
            table.sources[detector][key] = _source(result, [run])

    # The table's own trainings are those with all images.
    whole = parts["table"]
    key = f"ap_{whole['settings']['train_scenes']}"
    for detector in whole.variants():
        if key in table.cells[detector]:
            first = whole.run(detector)
            table.cells[detector][key] = first["ap"]
            table.sources[detector][key] = _source(whole, [first])


def _add_speed(table: DetectionTable, speed: Result) -> None:
    """Add what was measured without training."""
    run = speed["runs"][0]
    for detector, numbers in run["detectors"].items():
        if detector in table.cells:
            for key in FROM_SPEED:
                table.cells[detector][key] = numbers[key]
                table.sources[detector][key] = _source(speed, [run])


def _source(result: Result, runs: Sequence[dict[str, Any]]) -> str:
    """Say where a number comes from."""
    seeds = ", ".join(str(run["seed"]) for run in runs)
    rate = f", learning rate {runs[0]['lr']:g}" if "lr" in runs[0] else ""
    return (
        f"{result['name']}.json, seed{'s' if len(runs) > 1 else ''} {seeds}{rate} "
        f"({result['provenance']['command']}; {', '.join(result.hardware())})"
    )
