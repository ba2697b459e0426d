"""How long it takes to grade a class: mixed submissions to all exercises, on some processes.

    python benchmarks/grading.py                    200 submissions on 2 processes
    python benchmarks/grading.py --submissions 40 --workers 8

Prints a table: how many submissions of each kind, what they earned, how long each took, and the
memory of the grader.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import resource
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from detlearn.check import EXERCISES
from detlearn.grading import grader
from detlearn.grading.box import Limits
from detlearn.grading.exports import solution

START = "import torch\nfrom detlearn import check"
# kind → what stands before the answer of every function's body; "" is the right answer itself.
KINDS = {
    "right": "",
    "wrong": "return torch.zeros(3, 1)",
    "blank": "raise NotImplementedError",
    "raises": "return args[99]",
    "calls the package": "return check.EXERCISES[{name!r}].reference(*args)",
    "endless loop": "while True: pass",
    "broken file": "",
}
SHARES = (11, 4, 1, 1, 1, 1, 1)  # of 20 submissions
LOOPS = ("box_iou", "giou_loss")  # one endless loop in each chapter; the rest is right


def notebook(kind: str) -> str:
    """A submission of a kind, to all exercises."""
    if kind == "broken file":
        return '{"cells": ['
    cells = [START]
    for name, exercise in EXERCISES.items():
        own = exercise.reference.__name__
        right = solution(exercise).replace(f"def {own}(", f"def {name}(")
        body = KINDS[kind].format(name=name)
        if kind == "right" or (kind == "endless loop" and name not in LOOPS):
            cells.append(right)
        else:
            cells.append(f"def {name}(*args):\n    {body}")
        cells.append(f"{name} = check.{name}({name})")
    code = [{"cell_type": "code", "metadata": {}, "source": source} for source in cells]
    return json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def write_class(folder: Path, number: int) -> dict[str, str]:
    """Submissions in the proportions of `SHARES`; returns file name → kind."""
    cycle = [kind for kind, share in zip(KINDS, SHARES) for _ in range(share)]
    kinds = {f"student_{i:03}.ipynb": cycle[i % len(cycle)] for i in range(number)}
    made = {kind: notebook(kind) for kind in KINDS}
    for i, (name, kind) in enumerate(kinds.items()):
        # No two are alike, so none is found in the journal.
        (folder / name).write_text(made[kind].replace("import torch", f"# {i}\\nimport torch", 1))
    return kinds


def timed(function, seconds: dict[str, float]):
    """Wrap `Graders.grade` such that it notes how long each submission took."""

    def examine(self, submission):
        started = time.perf_counter()
        row = function(self, submission)
        seconds[submission.name] = time.perf_counter() - started
        return row

    return examine


class Memory(threading.Thread):
    """Watches the memory of this process and all that it started; shared pages count once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0

    def run(self) -> None:
        while True:
            family = [os.getpid(), *descendants(os.getpid())]
            self.peak = max(self.peak, sum(map(_proportional, family)) / 1024)
            time.sleep(1.0)


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process started, and theirs."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from descendants(child)


def _proportional(pid: int) -> int:
    """Kilobytes; a page that n processes share counts 1/n in each."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(main)))
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--time-limit", type=float, default=10.0)
    options = parser.parse_args()
    seconds: dict[str, float] = {}
    grader.Graders.grade = timed(grader.Graders.grade, seconds)
    memory = Memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "class"
        folder.mkdir()
        kinds = write_class(folder, options.submissions)
        memory.start()
        started = time.perf_counter()
        limits = Limits(seconds=options.time_limit)
        rows = grader.grade_folder(
            folder, Path(name) / "grades.csv", seed=1, limits=limits, workers=options.workers
        )
        whole = time.perf_counter() - started
    points, times = defaultdict(set), defaultdict(list)
    for name, kind in kinds.items():
        points[kind].add(sum(rows[name].points.values()))
        times[kind].append(seconds[name])
    print(f"{'kind':18} {'number':>6} {'points':>8} {'seconds each':>13}")
    for kind, each in times.items():
        earned = "/".join(map(str, sorted(points[kind])))
        print(f"{kind:18} {len(each):6} {earned:>8} {sum(each) / len(each):13.1f}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{len(kinds)} submissions to {len(EXERCISES)} exercises, {options.workers} at a time:")
    print(f"{whole / 60:.1f} minutes; at most {own:.0f} MB in the grader itself,")
    print(f"{memory.peak:.0f} MB in all its processes together")


if __name__ == "__main__":
    main()
