"""The runner of the tests: what it counts, what it calls a failure, and that a loop ends."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import run_tests
import torch
from run_tests import Outcome

from detlearn.machine import hardware

REPORT = """<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10">
</testsuite></testsuites>"""

FINE = Outcome("unit tests", passed=4, failed=0, skipped=1, seconds=12.3)
FAILED = Outcome("notebooks", passed=9, failed=2, skipped=0, seconds=71.0)
BROKEN = Outcome("one by one", passed=0, failed=0, skipped=0, seconds=0.4, broken=4)


@pytest.fixture(autouse=True)
def without_slow_plugins(monkeypatch) -> None:
    """Their imports take five seconds of every pytest that is started here, for no sample."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:nbval -p no:hypothesispytest")


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Runs pytest in a folder of its own, with this repository's settings."""
    settings = run_tests.ROOT / "pyproject.toml"
    command = [sys.executable, "-m", "pytest", "-c", str(settings), "--rootdir", ".", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)


# ---- what is counted ----


def test_counts_by_hand(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert run_tests.counts(report) == (4, 3, 3)


def test_the_summary_by_hand() -> None:
    lines = run_tests.summary([FINE, FAILED, BROKEN]).splitlines()
    assert lines[2].split() == "unit tests 4 passed 0 failed 1 skipped 12 s".split()
    assert lines[4].endswith("BROKE OFF with status 4")
    assert lines[-1] == "13 passed, 3 failed, 1 skipped"  # what broke off counts as a failure


@pytest.mark.parametrize(("outcome", "fine"), [(FINE, True), (FAILED, False), (BROKEN, False)])
def test_what_is_fine(outcome: Outcome, fine: bool) -> None:
    assert outcome.fine is fine


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def test_a(): pass", (1, 0, 0, 0)),
        ("def test_a(): assert False", (0, 1, 0, 0)),
        ("import pytest\ndef test_a(): pytest.skip('no')", (0, 0, 1, 0)),
        ("import gone", (0, 1, 0, 2)),  # pytest runs nothing then
        ("", (0, 0, 0, 0)),  # nothing to run is no failure: a mark may select nothing
        ("import os\ndef test_a(): os._exit(3)", (0, 0, 0, 3)),
    ],
)
def test_what_came_of_a_part(tmp_path: Path, source: str, expected: tuple[int, ...]) -> None:
    path = tmp_path / "test_sample.py"
    path.write_text(source)
    found = run_tests.run(run_tests.Part("sample", [str(path)]))
    assert (found.passed, found.failed, found.skipped, found.broken) == expected


def test_every_part_is_run_after_a_failure(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["run_tests.py", "all"])
    monkeypatch.setattr(
        run_tests,
        "run",
        lambda part, **how: Outcome(part.name, 1, int(part.name == "unit tests"), 0, 1.0),
    )
    assert run_tests.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "4 passed, 1 failed, 0 skipped"


@pytest.mark.parametrize(
    ("command", "seconds", "bfloat16", "short"),
    [
        ("all", 800.0, True, [False, False, False, True]),  # 2400 s before the notebooks
        ("all", 600.0, True, [False, False, False, False]),
        ("all", 1.0, False, [False, False, False, True]),
        ("notebooks", 9999.0, False, [False]),
    ],
)
def test_a_slow_machine_cuts_trainings_short(
    monkeypatch, command, seconds, bfloat16, short
) -> None:
    asked = []

    def run(part, *, short_trainings):
        asked.append(short_trainings)
        return Outcome(part.name, 1, 0, 0, seconds)

    monkeypatch.setattr(sys, "argv", ["run_tests.py", command])
    monkeypatch.setattr(run_tests, "run", run)
    monkeypatch.setattr(hardware, "has_native_bfloat16", lambda device: bfloat16)
    monkeypatch.setattr(hardware, "default_device", lambda: torch.device("cpu"))
    assert run_tests.main() == 0
    assert asked == short


def test_a_gpu_does_not_train_slowly(monkeypatch) -> None:
    monkeypatch.setattr(hardware, "has_native_bfloat16", lambda device: False)
    monkeypatch.setattr(hardware, "default_device", lambda: torch.device("cuda"))
    assert not run_tests.trains_slowly()


@pytest.mark.slow
@pytest.mark.parametrize("short", [False, True])
def test_trainings_cut_short_are_told_and_named(tmp_path: Path, monkeypatch, short) -> None:
    monkeypatch.delenv("DETLEARN_FAST", raising=False)
    path = tmp_path / "test_sample.py"
    path.write_text(f"import os\ndef test_a(): assert ('DETLEARN_FAST' in os.environ) is {short}")
    found = run_tests.run(run_tests.Part("sample", [str(path)]), short_trainings=short)
    assert found.passed == 1
    assert found.name == ("sample, trainings cut short" if short else "sample")


def test_each_worker_has_one_thread_unless_the_caller_says_otherwise(monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert run_tests.environment()["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert run_tests.environment()["OMP_NUM_THREADS"] == "2"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux only")
def test_one_worker_for_each_core_that_may_be_used(monkeypatch) -> None:
    for cores, workers in ((1, "1"), (2, "2"), (64, "8")):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert run_tests.workers() == workers


# ---- a test that never ends ----

LOOPS = """
import signal

def test_before(): pass

def test_loops():
    signal.setitimer(signal.ITIMER_REAL, 0)  # what the check does: it takes the alarm
    while True:
        pass

def test_after(): pass
"""


def test_no_test_may_run_for_ever(pytestconfig: pytest.Config) -> None:
    assert 0 < float(pytestconfig.getini("timeout")) <= 600
    assert pytestconfig.getini("timeout_method") == "thread"


@pytest.mark.slow
def test_a_loop_ends_and_the_other_tests_are_run(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(LOOPS)
    done = pytest_in(tmp_path, "-n", "1", "-o", "timeout=2", "test_sample.py")
    assert done.returncode == 1, done.stdout
    assert "crashed while running 'test_sample.py::test_loops'" in done.stdout
    assert re.search(r"1 failed, 2 passed", done.stdout)


@pytest.mark.slow
def test_a_loop_ends_where_tests_run_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(LOOPS)
    done = pytest_in(tmp_path, "-o", "timeout=2", "test_sample.py")
    assert done.returncode != 0
    assert "in test_loops" in done.stdout + done.stderr  # says where
