"""Run the tests in the order that suits the machine; end with one table and one exit status.

    python scripts/run_tests.py quick                    # no book, no notebooks, nothing slow
    python scripts/run_tests.py versions                 # unit tests, on any version of anything
    python scripts/run_tests.py notebooks [NOTEBOOK …]   # every notebook, from top to bottom
    python scripts/run_tests.py all [NOTEBOOK …]         # unit tests, the built book, notebooks

Each part is one run of pytest with one worker a core; a test marked ``alone`` measures time, memory
or processes and runs by itself. Every worker computes on one thread: on tensors as small as ours a
second thread costs more than it brings. All parts are run, so that one call shows every fault.

A processor without native bfloat16 trains three to five times as long as one that has it: an hour,
for all notebooks. There, and where the tests before took more than 35 minutes, ``all`` runs the
notebooks with ``DETLEARN_FAST=1``, which cuts their trainings to a few steps and leaves out what
they assert about AP, and the closing table says so. ``notebooks`` never does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
CELL_TIMEOUT = 900  # seconds for a cell of a notebook; a live training is meant to take 150
# Seconds of the parts before the notebooks. Where they take longer the machine is a slow one, and
# the notebooks' trainings, for which 20 minutes are then too few, are cut to a few steps.
PATIENCE = 35 * 60
MAX_WORKERS = 8  # each imports torch, which takes half a gigabyte
NOTEBOOKS = "notebooks"
NO_TESTS_RAN = 5  # pytest's exit status when nothing was selected


@dataclass(frozen=True)
class Part:
    """One run of pytest: what it is called in the table, and pytest's arguments."""

    name: str
    arguments: list[str]


@dataclass(frozen=True)
class Outcome:
    """What came of a part.

    ``broken`` is pytest's exit status where no test accounts for it: pytest itself failed, or a
    looping test made pytest-timeout end the whole process.
    """

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    broken: int = 0

    @property
    def fine(self) -> bool:
        """Whether nothing failed."""
        return not self.failed and not self.broken


def workers() -> str:
    """Return the number of pytest's processes: one for each core that we may use."""
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux only
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return str(min(cores, MAX_WORKERS))


def parts(command: str, notebooks: list[str]) -> list[Part]:
    """Return the runs of pytest that make up a command, in order."""
    side_by_side = ["-n", workers()]
    without_browser = ["--ignore=tests/browser", "--ignore=tests/explore"]
    warnings_pass = "--override-ini=filterwarnings=default"

    quick = Part("quick tests", [*side_by_side, *without_browser, "-m", "not alone and not slow"])
    shared = Part(
        "unit tests",
        [
            *side_by_side,
            "--dist=loadgroup",  # a group of tests that share something costly stays together
            *without_browser,
            "-m",
            "not alone",
        ],
    )
    alone = Part("unit tests, one by one", [*without_browser, "-m", "alone"])
    book = Part(
        "in a browser",
        [*side_by_side, "--dist=loadgroup", "tests/browser", "tests/explore"],  # pages are shared
    )

    # An old matplotlib beside a new pyparsing warns, and neither is ours.
    shared_lenient = Part(shared.name, [*shared.arguments, warnings_pass])
    alone_lenient = Part(alone.name, [*alone.arguments, warnings_pass])

    chapters = Part(
        NOTEBOOKS,
        [
            *side_by_side,
            "--dist=loadfile",  # the cells of a notebook share its kernel
            warnings_pass,
            "--timeout=0",  # nbval has a limit of its own, for a cell
            f"--nbval-cell-timeout={CELL_TIMEOUT}",
            "--nbval-lax",
            "--nbval-current-env",
            *(notebooks or ["chapters"]),
        ],
    )

    commands = {
        "quick": [quick],
        "versions": [shared_lenient, alone_lenient],
        "notebooks": [chapters],
        "all": [shared, alone, book, chapters],
    }
    return commands[command]


def trains_slowly() -> bool:
    """Return whether trainings take several times as long here as the book says of them."""
    # Only now, since this imports torch, which takes seconds.
    from detlearn.machine.hardware import default_device, has_native_bfloat16

    device = default_device()
    return device.type == "cpu" and not has_native_bfloat16(device)


def environment() -> dict[str, str]:
    """Return the caller's environment, with one thread a worker unless the caller says more."""
    one_thread = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return one_thread | dict(os.environ)


def counts(report: Path) -> tuple[int, int, int]:
    """Return how many tests passed, failed and were skipped, from pytest's report in XML."""
    suite = ElementTree.parse(report).getroot().find("testsuite")
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    skipped = int(suite.get("skipped"))
    passed = int(suite.get("tests")) - failed - skipped
    return passed, failed, skipped


def run(part: Part, *, short_trainings: bool = False) -> Outcome:
    """Run one part; what pytest prints goes straight to the terminal.

    Args:
        part: what to run.
        short_trainings: whether notebooks train a few steps only.
    """
    name = f"{part.name}, trainings cut short" if short_trainings else part.name
    print(f"\n== {name}", flush=True)
    start = time.perf_counter()
    variables = environment()
    if short_trainings:
        variables["DETLEARN_FAST"] = "1"

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", *part.arguments, f"--junitxml={report}"]
        status = subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode

        # A process that was ended by force wrote no report.
        passed, failed, skipped = counts(report) if report.exists() else (0, 0, 0)

    # A failed test explains the status 1; any other status needs a line of its own.
    explained = status in (0, NO_TESTS_RAN) or (status == 1 and failed)
    seconds = time.perf_counter() - start
    return Outcome(name, passed, failed, skipped, seconds, 0 if explained else status)


def summary(outcomes: list[Outcome]) -> str:
    """Return the closing table: a line for each part, then the sums as a test runner says them."""
    lines = ["", "== summary"]
    for outcome in outcomes:
        line = (
            f"{outcome.name:32} {outcome.passed:5} passed {outcome.failed:4} failed "
            f"{outcome.skipped:4} skipped {outcome.seconds:6.0f} s"
        )
        if outcome.broken:
            line += f"   BROKE OFF with status {outcome.broken}"
        lines.append(line)

    passed = sum(outcome.passed for outcome in outcomes)
    failed = sum(outcome.failed + bool(outcome.broken) for outcome in outcomes)
    skipped = sum(outcome.skipped for outcome in outcomes)
    lines.append(f"{passed} passed, {failed} failed, {skipped} skipped")
    return "\n".join(lines)


def main() -> int:
    """Run the command; return 0 where everything passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["quick", "versions", "notebooks", "all"])
    parser.add_argument("notebooks", nargs="*", help="default: all chapters")
    arguments = parser.parse_args()

    outcomes: list[Outcome] = []
    for part in parts(arguments.command, arguments.notebooks):
        # Who asks for the notebooks alone has the time that they take.
        short = False
        if part.name == NOTEBOOKS and arguments.command == "all":
            took = sum(outcome.seconds for outcome in outcomes)
            short = took > PATIENCE or trains_slowly()
        outcomes.append(run(part, short_trainings=short))
    print(summary(outcomes))
    return 0 if all(outcome.fine for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
