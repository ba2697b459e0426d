"""Grades a folder of submissions on all cores, and goes on where it was after a crash."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType

from detlearn.check import EXERCISES
from detlearn.grading.box import Box, Limits, Lost, require_sandbox
from detlearn.grading.examiner import Examiner, Row, Settings
from detlearn.grading.journal import Journal, key_of
from detlearn.grading.submissions import Submission, find_submissions, read_submission
from detlearn.grading.tables import csv_table, gradescope_results
from detlearn.machine.checkpoints import write_atomically
from detlearn.machine.progress import progress_bar

TRIES = 2  # for a submission whose sandbox is lost, by no fault that can be told
LOST = "the sandbox ended on this submission; grade it again by the same command"


def chosen_exercises(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the exercises to grade, in the book's order; all of them for None.

    Raises:
        ValueError: if there is no exercise of a given name.
    """
    if unknown := [name for name in names or () if name not in EXERCISES]:
        raise ValueError(f"no exercise is called {unknown[0]!r}; there are: {', '.join(EXERCISES)}")
    return tuple(name for name in EXERCISES if names is None or name in names)


def grade_folder(
    folder: Path,
    out: Path,
    *,
    seed: int | None = None,
    exercises: Sequence[str] | None = None,
    limits: Limits | None = None,
    workers: int | None = None,
    progress: bool = True,
    in_container: bool = False,
) -> dict[str, Row]:
    """Grade every submission of a folder and write the table.

    Args:
        folder: each entry is a submission.
        out: the CSV file, outside of the folder; the journal ``<out>.journal`` stands beside it.
        seed: of the cases; None draws one and keeps it in the journal.
        exercises: names; None grades all.
        limits: for each exercise of a submission.
        workers: submissions that are graded at the same time; None takes one per core.
        progress: whether to show a bar.
        in_container: grade without a sandbox, on a machine that is thrown away afterwards.

    Returns:
        submission → row.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if an exercise is not known, there is nothing to grade, the table would lie
            among the submissions, or another grader is writing it.
        OSError: if no sandbox can be built, or a file cannot be written.
    """
    names = chosen_exercises(exercises)
    paths = find_submissions(folder)

    # A submission could bring a table, or a journal with points, of its own.
    if folder.resolve() in out.resolve().parents:
        raise ValueError(f"{out} lies among the submissions in {folder}; name another place")
    if not paths:
        raise ValueError(f"{folder} holds no submissions")
    if not in_container:
        require_sandbox()

    with Journal(out.with_name(out.name + ".journal")) as journal:
        settings = Settings(journal.seed() if seed is None else seed, names, limits or Limits())
        workers = min(workers or _cores(), len(paths))
        rows: dict[str, Row] = {}

        with (
            progress_bar(len(paths), "grading", unit="submission", show=progress) as bar,
            Graders(workers, settings, in_container=in_container) as graders,
        ):
            for path, key, row in graders.all(paths, journal):
                rows[path.name] = row
                # What was lost is not kept: the next run tries it again.
                if not row.lost and key not in journal.rows:
                    journal.add(key, row)
                bar.update()

        write_atomically(out, csv_table(rows, names))
    return rows


def grade_one(
    path: Path,
    results: Path,
    *,
    seed: int = 0,
    exercises: Sequence[str] | None = None,
    limits: Limits | None = None,
    in_container: bool = False,
) -> Row:
    """Grade a notebook or a folder of notebooks as one submission, for Gradescope.

    Args:
        path: of the submission.
        results: the ``results.json`` to write.
        seed: of the cases.
        exercises: names; None grades all.
        limits: for each exercise.
        in_container: grade without a sandbox, on a machine that is thrown away afterwards.

    Returns:
        What it earned.

    Raises:
        ValueError: if an exercise is not known.
        OSError: if no sandbox can be built, or the file cannot be written.
    """
    settings = Settings(seed, chosen_exercises(exercises), limits or Limits())
    if not in_container:
        require_sandbox()

    with Graders(1, settings, in_container=in_container) as graders:
        row = graders.grade(read_submission(path))

    write_atomically(results, gradescope_results(row, settings.exercises))
    return row


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


class Graders:
    """Some threads that each grade one submission at a time; use them in a ``with``.

    Args:
        number: of threads.
        settings: how to grade.
        in_container: do without sandboxes.
    """

    def __init__(self, number: int, settings: Settings, *, in_container: bool = False) -> None:
        self.settings, self.in_container = settings, in_container
        self._examiner = Examiner(settings)
        self._threads = ThreadPoolExecutor(number)
        self._boxes: set[Box] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __enter__(self) -> Graders:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # While this waits for threads after an error, Ctrl-C ends the process at once.
        waits = error is not None and threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, signal.SIG_DFL) if waits else None

        if error is not None:
            self._stop()
        self._threads.shutdown(cancel_futures=True)
        if before is not None:
            signal.signal(signal.SIGINT, before)

    def _stop(self) -> None:
        """End all sandboxes, so that no thread waits for one."""
        with self._lock:
            self._stopped = True
            for box in self._boxes:
                box.kill()

    def all(self, paths: Sequence[Path], journal: Journal) -> Iterator[tuple[Path, str, Row]]:
        """Grade what the journal does not hold; yields path, key and row as they are done."""
        known = dict(journal.rows)

        def one(path: Path) -> tuple[Path, str, Row]:
            submission = read_submission(path)
            key = key_of(submission, self.settings)
            return path, key, known.get(key) or self.grade(submission)

        for done in as_completed([self._threads.submit(one, path) for path in paths]):
            yield done.result()

    def grade(self, submission: Submission) -> Row:
        """Grade one submission in a sandbox of its own, again if that one is lost.

        Whatever happens on it is its row; only what keeps every sandbox from starting is raised.
        """
        if not submission.notebooks:
            return self._examiner.examine(submission, _nothing)

        for _ in range(TRIES):
            box = self._open()
            try:
                return self._examiner.examine(submission, box.run)
            except Lost:
                continue
            except Exception as error:
                why = f"the grader fails on it ({type(error).__name__}: {error})"
                return Row(remark=f"{submission.trouble}; {why}".removeprefix("; "))
            finally:
                with self._lock:
                    self._boxes.discard(box)
                box.close()
        return Row(remark=LOST, lost=True)

    def _open(self) -> Box:
        box = Box(self.settings.limits, in_container=self.in_container)
        with self._lock:
            self._boxes.add(box)
            if self._stopped:
                box.kill()
        return box


def _nothing(*_: object) -> None:
    raise AssertionError("there is no notebook to ask")
