"""Grades a folder of submissions on all cores, and goes on where it was after a crash."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

from detlearn.check import EXERCISES
from detlearn.grading.box import Box, Limits, Lost, require_sandbox
from detlearn.grading.examiner import Examiner, Row, Settings
from detlearn.grading.journal import Journal, key_of
from detlearn.grading.submissions import Submission, find_submissions, read_submission
from detlearn.grading.tables import csv_table, gradescope_results
from detlearn.grading.wire import clean
from detlearn.machine.checkpoints import write_atomically
from detlearn.machine.progress import progress_bar

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
            among the submissions or is a folder, or another grader is writing it.
        OSError: if no sandbox can be built, or a file cannot be written.
    """
    names = chosen_exercises(exercises)
    paths = find_submissions(folder)

    # A submission could bring a table, or a journal with points, of its own.
    if folder.resolve() in out.resolve().parents:
        raise ValueError(f"{out} lies among the submissions in {folder}; name another place")
    if out.is_dir():
        raise ValueError(f"{out} is a folder; name a file for the table, as in grades.csv")
    if not paths:
        raise ValueError(f"{folder} holds no submissions")
    if not in_container:
        require_sandbox()

    threads = ThreadPoolExecutor(workers or _cores())
    with (
        Journal(out.with_name(out.name + ".journal")) as journal,
        progress_bar(len(paths), "grading", unit="submission", show=progress) as bar,
    ):
        settings = Settings(journal.seed() if seed is None else seed, names, limits or Limits())
        examiner = Examiner(settings)
        rows: dict[str, Row] = {}

        def graded(path: Path) -> tuple[str, str, Row]:
            submission = read_submission(path)
            key = key_of(submission, settings)
            known = journal.rows.get(key)
            return path.name, key, known or grade(submission, examiner, in_container=in_container)

        try:
            for done in as_completed([threads.submit(graded, path) for path in paths]):
                name, key, row = done.result()
                rows[name] = row
                # What was lost is not kept: the next run tries it again.
                if not row.lost:
                    journal.add(key, row)
                bar.update()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)  # an error is said at once

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
        exercises, limits, in_container: as for `grade_folder`.

    Returns:
        What it earned.

    Raises:
        ValueError: if an exercise is not known.
        OSError: if no sandbox can be built, or the file cannot be written.
    """
    settings = Settings(seed, chosen_exercises(exercises), limits or Limits())
    if not in_container:
        require_sandbox()

    row = grade(read_submission(path), Examiner(settings), in_container=in_container)
    write_atomically(results, gradescope_results(row, settings.exercises))
    return row


def grade(submission: Submission, examiner: Examiner, *, in_container: bool = False) -> Row:
    """Return a submission's row, whatever happens on it, from a sandbox of its own.

    Args:
        submission: what was handed in.
        examiner: grades it; several threads may share one.
        in_container: do without a sandbox.

    Raises:
        OSError: if no sandbox can be built.
    """
    with closing(Box(examiner.settings.limits, in_container=in_container)) as box:
        try:
            return examiner.examine(submission, box.run)
        except Lost:
            return Row(remark=LOST, lost=True)
        except OSError:  # the machine's fault, not the submission's
            raise
        except Exception as error:
            why = clean(f"the grader fails on it ({type(error).__name__}: {error})")
            return Row(remark=f"{submission.trouble}; {why}".removeprefix("; "))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
