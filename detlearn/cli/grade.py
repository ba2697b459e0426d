"""``detlearn grade``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ABOUT = "Grade the exercises in a folder of notebooks (Linux with bubblewrap)."
EXAMPLES = """\
examples:
  detlearn grade handed_in --out grades.csv
  detlearn grade handed_in --out grades.csv --seed 7 --exercises box_iou nms --workers 8
  detlearn grade /autograder/submission --gradescope results.json --in-container

Every file and folder in FOLDER is one submission. What was graded stays graded: after a crash the
same command goes on where it was. With --gradescope alone, FOLDER itself is one submission."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands."""
    parser.add_argument("folder", type=Path, help="each entry is a submission")
    parser.add_argument("--out", type=Path, help="the table, a CSV file outside of FOLDER")
    parser.add_argument("--gradescope", type=Path, help="results.json for a single submission")

    parser.add_argument("--seed", type=int, help="of the cases (default: drawn once)")
    parser.add_argument("--exercises", nargs="+", metavar="NAME", help="(default: all)")
    parser.add_argument("--workers", type=int, help="at the same time (default: one per core)")
    parser.add_argument(
        "--time-limit",
        type=float,
        default=10.0,
        metavar="S",
        help="seconds of processor time for one exercise (default: 10)",
    )
    parser.add_argument(
        "--in-container",
        action="store_true",
        help="without a sandbox, on a machine that is thrown away afterwards",
    )


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Have Ctrl-C end the process at once, as a crash would, which costs nothing but the submission
    in hand: rows are on the disk, and no sandbox outlives its grader.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@_ended_by_ctrl_c()
def run(options: argparse.Namespace) -> int:
    """Grade one submission or a folder of them."""
    from detlearn.grading.box import Limits
    from detlearn.grading.grader import grade_folder, grade_one

    if (options.out is None) == (options.gradescope is None):
        raise ValueError("give either --out grades.csv or --gradescope results.json")
    if options.time_limit <= 0 or (options.workers is not None and options.workers < 1):
        raise ValueError("--time-limit and --workers must be positive")

    limits = Limits(seconds=options.time_limit)

    if options.gradescope:
        row = grade_one(
            options.folder,
            options.gradescope,
            seed=options.seed or 0,
            exercises=options.exercises,
            limits=limits,
            in_container=options.in_container,
        )
        print(f"{sum(row.points.values())} points → {options.gradescope}")
        return 0

    rows = grade_folder(
        options.folder,
        options.out,
        seed=options.seed,
        exercises=options.exercises,
        limits=limits,
        workers=options.workers,
        in_container=options.in_container,
    )
    print(f"{len(rows)} submissions → {options.out}")

    lost = sorted(name for name, row in rows.items() if row.lost)
    if lost:
        print(f"not graded, give the same command again: {', '.join(lost)}", file=sys.stderr)
        return 1
    return 0
