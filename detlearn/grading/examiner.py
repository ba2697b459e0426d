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
    work = _Work(submission, found, settings, run)

    for name in settings.exercises:
        if name not in found.handed_in:
            missing = "" if row.remark else NOT_HANDED_IN.format(name=name)
            row.hints[name] = found.notes.get(name, missing)
            continue
        graded = work.grade(name)
        row.points[name], row.hints[name] = graded.points, graded.hint
        row.lost |= graded.lost

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


@dataclass(frozen=True)
class _Graded:
    """What an exercise earned.

    Attributes:
        points: for it.
        hint: what is wrong, or "".
        lost: the process that ran it was lost.
        asked: its function answered, so the hint is about its answers.
    """

    points: int = 0
    hint: str = ""
    lost: bool = False
    asked: bool = False


class _Work:
    """The exercises of one submission, each graded once.

    Args:
        submission: what was handed in.
        found: the exercises in it.
        settings: how to grade.
        run: runs a task in a confined process.
    """

    def __init__(
        self, submission: Submission, found: tasks.Survey, settings: Settings, run: Run
    ) -> None:
        self.submission, self.found, self.settings, self.run = submission, found, settings, run
        self.done: dict[str, _Graded] = {}

    def grade(self, name: str) -> _Graded:
        """Grade an exercise that was handed in, after those that it needs."""
        if name in self.done:
            return self.done[name]
        self.done[name] = _Graded()  # should two need each other

        # As in the reading flow, the name of a wrong function means the package's from then on.
        needed = [other for other in self.found.earlier[name] if other in self.found.handed_in]
        replaced = frozenset(other for other in needed if not self.grade(other).points)

        graded = self._ask(name, replaced, whole=False)
        if not graded.points and name in self.found.doubtful:
            other = self._ask(name, replaced, whole=True)
            graded = other if other.points or (other.asked and not graded.asked) else graded

        self.done[name] = graded
        return graded

    def _ask(self, name: str, replaced: frozenset[str], *, whole: bool) -> _Graded:
        """Put the questions to the function and judge the answers."""
        limits = self.settings.limits
        cases = EXERCISES[name].ladder(self.settings.seed)
        questions = tasks.Questions(
            notebook=self.submission.notebooks[self.found.handed_in[name]],
            exercise=name,
            cases=[replace(case, note="", expected=None) for case in cases],
            seconds=limits.seconds,
            replaced=replaced,
            whole=whole,
        )

        outcome = self.run(tasks.answer, pickle.dumps(questions), limits)
        if outcome.lost:
            return _Graded(hint="the process that ran this function was lost", lost=True)
        try:
            verdict = _verdict(name, cases, outcome)
        except wire.Garbled as error:
            return _Graded(hint=outcome.ended or BROKEN.format(why=error))

        if isinstance(verdict, str):
            return _Graded(hint=verdict)
        return _Graded(points=verdict.points, hint=said(verdict), asked=True)


def _verdict(name: str, cases: list[Any], outcome: Outcome) -> Verdict | str:
    """The engine's verdict, or a sentence where there is nothing to judge."""
    found = wire.frames(outcome.data)

    used = {_text(content) for kind, content in found if kind == wire.REFERENCE}
    if used:
        return references.HINT.format(names=", ".join(sorted(used)[:3]))

    # Maybe a sentence about the code around the function, maybe the answers; each once.
    kinds = [kind for kind, _ in found]
    if kinds not in ([wire.SENTENCE], [wire.ANSWERS], [wire.SENTENCE, wire.ANSWERS]):
        why = outcome.ended or "its process ended too early"
        raise wire.Garbled("more was written than the answers" if found else why)
    sentence = _text(found[0][1]) if kinds[0] == wire.SENTENCE else ""
    if kinds[-1] == wire.SENTENCE:
        return sentence

    answers = wire.decode(found[-1][1], len(cases))
    try:
        verdict = judge(EXERCISES[name], cases, answers)
    except Exception as error:  # tensors that no comparison was written for
        raise wire.Garbled(f"the answers cannot be compared ({type(error).__name__})") from error
    return sentence if sentence and verdict.status == "wrong" else verdict


def _text(content: bytes) -> str:
    return wire.clean(content.decode(errors="replace"))


def said(verdict: Verdict) -> str:
    """Return a verdict on one line, for a cell of a table."""
    if verdict.status == "right":
        return ""
    if verdict.status == "todo":
        return NOT_ATTEMPTED

    parts = [verdict.text, verdict.hint and f"hint: {verdict.hint}", verdict.line, verdict.shown]
    return wire.clean("; ".join(part for part in parts if part), most=1000)


def row_of(data: Mapping[str, Any]) -> Row:
    """Return a row made of plain data."""
    return Row(**{name: data[name] for name in Row.__dataclass_fields__})
