"""Grades one submission: asks its functions in confined processes, compares the answers here.

This process makes the questions from a private seed. What leaves it are the questions, without the
expected answers and without the notes that go with them; what comes back are answers as plain
data, which the check engine judges.
"""

from __future__ import annotations

import json
import pickle
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

from detlearn.check import EXERCISES
from detlearn.check.engine import judge
from detlearn.check.engine.display import Verdict
from detlearn.grading import references, tasks, wire
from detlearn.grading.submissions import Submission
from detlearn.grading.worker import Limits, Outcome, Task, run_confined

Run = Callable[[Task, bytes, Limits], Outcome]

NOT_HANDED_IN = "not handed in: no check.{name}(…) was found in a code cell"
NOT_ATTEMPTED = "not attempted: the function raises NotImplementedError"
BROKEN = "what came back from the function's process cannot be read: {why}"


@dataclass(frozen=True)
class Settings:
    """How a class is graded.

    Attributes:
        seed: of the cases.
        exercises: names, in the order of the columns.
        limits: for each exercise of a submission.
    """

    seed: int
    exercises: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)


@dataclass
class Row:
    """What a submission earned.

    Attributes:
        points: exercise → points.
        hints: exercise → what is wrong, or "".
        remark: what is wrong with the submission as a whole, or "".
        lost: the grader itself failed here; another try may help.
    """

    points: dict[str, int] = field(default_factory=dict)
    hints: dict[str, str] = field(default_factory=dict)
    remark: str = ""
    lost: bool = False


def serve(connection: Connection, settings: Settings) -> None:
    """Grade what comes through a connection until it closes; runs in a process of its own.

    Args:
        connection: to the grader. A submission comes in, a row goes out; in between, tasks go out
            for the grader to start, since it has the server of processes, and outcomes come in.
        settings: how to grade.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def run(task: Task, payload: bytes, limits: Limits) -> Outcome:
        connection.send((task, payload, limits))
        return connection.recv()

    while True:
        try:
            submission = connection.recv()
            connection.send(examine(submission, settings, run))
        except (EOFError, ConnectionError):  # the grader is gone, or done
            return


def examine(submission: Submission, settings: Settings, run: Run = run_confined) -> Row:
    """Grade a submission.

    Args:
        submission: what was handed in.
        settings: how to grade it.
        run: runs a task in a confined process.

    Returns:
        Its row; a submission never raises.
    """
    row = Row(dict.fromkeys(settings.exercises, 0), dict.fromkeys(settings.exercises, ""))
    row.remark = submission.trouble
    if submission.trouble:
        return row
    found, row.remark, row.lost = _survey(submission, settings.limits, run)
    replaced: frozenset[str] = frozenset()
    for name in EXERCISES:
        if name not in settings.exercises:
            continue
        if name not in found.handed_in:
            missing = "" if row.remark else NOT_HANDED_IN.format(name=name)
            row.hints[name] = found.notes.get(name, missing)
            continue
        notebook = submission.notebooks[found.handed_in[name]]
        row.points[name], row.hints[name], lost = _exercise(name, notebook, replaced, settings, run)
        row.lost |= lost
        if not row.points[name]:
            replaced |= {name}
    return row


def _survey(submission: Submission, limits: Limits, run: Run) -> tuple[tasks.Survey, str, bool]:
    """What is in it, the remark, and whether the process was lost."""
    outcome = run(tasks.survey, pickle.dumps(submission.notebooks), limits)
    try:
        ((kind, content),) = wire.frames(outcome.data)
        if kind != wire.SURVEY:
            raise wire.Garbled(_text(content))
        found = tasks.Survey(**json.loads(content))
    except ValueError as error:
        return tasks.Survey(), f"it cannot be read: {outcome.ended or error}", outcome.lost
    return found, "; ".join(found.remarks), False


def _exercise(
    name: str,
    notebook: tuple[str, bytes],
    replaced: frozenset[str],
    settings: Settings,
    run: Run,
) -> tuple[int, str, bool]:
    """Points, hint, and whether the process was lost."""
    exercise = EXERCISES[name]
    cases = exercise.ladder(settings.seed)
    bare = [replace(case, note="", expected=None) for case in cases]
    questions = tasks.Questions(notebook, name, bare, settings.limits.seconds, replaced)
    outcome = run(tasks.answer, pickle.dumps(questions), settings.limits)
    if outcome.lost:
        return 0, "the process that ran this function was lost", True
    try:
        verdict = _verdict(name, cases, outcome)
    except wire.Garbled as error:
        return 0, outcome.ended or BROKEN.format(why=error), False
    if isinstance(verdict, str):
        return 0, verdict, False
    return verdict.points, said(verdict), False


def _verdict(name: str, cases: list[Any], outcome: Outcome) -> Verdict | str:
    """The engine's verdict, or a sentence where there is nothing to judge."""
    found = wire.frames(outcome.data)
    used = {_text(content) for kind, content in found if kind == wire.REFERENCE}
    if used:
        return references.HINT.format(names=", ".join(sorted(used)[:3]))
    if len(found) != 1:
        why = outcome.ended or "its process ended too early"
        raise wire.Garbled(why if not found else "more was written than the answers")
    ((kind, content),) = found
    if kind != wire.ANSWERS:
        return _text(content)
    answers = wire.decode(content, len(cases))
    try:
        return judge(EXERCISES[name], cases, answers)
    except Exception as error:  # tensors that no comparison was written for
        raise wire.Garbled(f"the answers cannot be compared ({type(error).__name__})") from error


def _text(content: bytes) -> str:
    return wire.clean(content.decode(errors="replace"))


def said(verdict: Verdict) -> str:
    """A verdict on one line, for a cell of a table."""
    if verdict.status == "right":
        return ""
    if verdict.status == "todo":
        return NOT_ATTEMPTED
    parts = [verdict.text, verdict.hint and f"hint: {verdict.hint}", verdict.line, verdict.shown]
    return wire.clean("; ".join(part for part in parts if part), most=1000)


def row_of(data: Mapping[str, Any]) -> Row:
    """A row from plain data."""
    return Row(**{name: data[name] for name in Row.__dataclass_fields__})
