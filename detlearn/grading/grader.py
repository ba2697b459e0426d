"""Grades a folder of submissions on all cores, and goes on where it was after a crash."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from detlearn.check import EXERCISES
from detlearn.grading.examiner import Row, Settings, serve
from detlearn.grading.journal import Journal, key_of
from detlearn.grading.submissions import Submission, find_submissions, read_submission
from detlearn.grading.tables import csv_table, gradescope_results
from detlearn.grading.worker import Limits, context, run_confined, start
from detlearn.machine.checkpoints import write_atomically
from detlearn.machine.progress import progress_bar

TRIES = 2  # for a submission whose processes are lost, by no fault that can be told
LOST = "the grader's own process ended on this submission; grade it again by the same command"


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
) -> dict[str, Row]:
    """Grade every submission of a folder and write the table.

    Args:
        folder: each entry is a submission.
        out: the CSV file; the journal ``<out>.journal`` stands beside it.
        seed: of the cases; None draws one and keeps it in the journal.
        exercises: names; None grades all.
        limits: for each exercise of a submission.
        workers: submissions that are graded at the same time; None takes one per core.
        progress: whether to show a bar.

    Returns:
        submission → row.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if an exercise is not known, or there is nothing to grade.
    """
    names = chosen_exercises(exercises)
    journal_path = out.with_name(out.name + ".journal")
    paths = find_submissions(folder, leave_out=(out, journal_path))
    if not paths:
        raise ValueError(f"{folder} holds no submissions")

    with Journal(journal_path) as journal:
        settings = Settings(journal.seed() if seed is None else seed, names, limits or Limits())
        rows = _grade(paths, journal, settings, workers or _cores(), progress)

    write_atomically(out, csv_table(rows, names))
    return rows


def _grade(
    paths: Sequence[Path], journal: Journal, settings: Settings, workers: int, progress: bool
) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    bar = progress_bar(len(paths), "grading", unit="submission", show=progress)

    with bar, Examiners(min(workers, len(paths)), settings) as examiners:
        for path, key, row in examiners.all(paths, journal):
            rows[path.name] = row
            # What was lost is not kept: the next run tries it again.
            if not row.lost and key not in journal.rows:
                journal.add(key, row)
            bar.update()

    return rows


def grade_one(
    path: Path,
    results: Path,
    *,
    seed: int = 0,
    exercises: Sequence[str] | None = None,
    limits: Limits | None = None,
) -> Row:
    """Grade a notebook or a folder of notebooks as one submission, for Gradescope.

    Args:
        path: of the submission.
        results: the ``results.json`` to write.
        seed: of the cases.
        exercises: names; None grades all.
        limits: for each exercise.

    Returns:
        What it earned.

    Raises:
        ValueError: if an exercise is not known.
    """
    names = chosen_exercises(exercises)

    with Examiners(1, Settings(seed, names, limits or Limits())) as examiners:
        row = examiners.examine(read_submission(path))

    write_atomically(results, gradescope_results(row, names))
    return row


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


class Examiners:
    """Some processes that each grade one submission at a time; use them in a ``with``."""

    def __init__(self, number: int, settings: Settings) -> None:
        self.number, self.settings = number, settings
        self._idle: queue.SimpleQueue[tuple[BaseProcess, Connection]] = queue.SimpleQueue()

    def __enter__(self) -> Examiners:
        context()  # on Linux only
        self._threads = ThreadPoolExecutor(self.number)
        for _ in range(self.number):
            self._idle.put(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        for _ in range(self.number):
            process, connection = self._idle.get()
            connection.close()  # which it takes for the end
            process.join()

    def _start(self) -> tuple[BaseProcess, Connection]:
        here, there = context().Pipe()
        process = start(serve, there, self.settings)
        there.close()
        return process, here

    def all(self, paths: Sequence[Path], journal: Journal) -> Iterator[tuple[Path, str, Row]]:
        """Grade what the journal does not hold; yields path, key and row as they are done."""
        known = dict(journal.rows)

        def one(path: Path) -> tuple[Path, str, Row]:
            submission = read_submission(path)
            key = key_of(submission, self.settings)
            return path, key, known.get(key) or self.examine(submission)

        for done in as_completed([self._threads.submit(one, path) for path in paths]):
            yield done.result()

    def examine(self, submission: Submission) -> Row:
        """Grade one submission in an idle process, again if that one is lost."""
        for _ in range(TRIES):
            process, connection = self._idle.get()

            try:
                connection.send(submission)
                # Only we have the server: what the examiner wants to run is started here.
                while not isinstance(row := connection.recv(), Row):
                    connection.send(run_confined(*row))
            except (EOFError, OSError):
                row = Row(remark=LOST, lost=True)
                connection.close()
                process.join()
                process, connection = self._start()
            finally:
                self._idle.put((process, connection))

            if not row.lost:
                break

        return row
