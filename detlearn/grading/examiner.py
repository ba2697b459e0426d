"""Grades one submission: has its functions asked in a sandbox, compares the answers here.

This process makes the questions from a private seed. What leaves it are the questions, without the
expected answers and without the notes that go with them; what comes back are answers as plain
data, which the check engine judges.
"""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detlearn.check import EXERCISES
from detlearn.check.engine import Own, judge
from detlearn.check.engine.cases import Case, fault
from detlearn.check.engine.display import Verdict
from detlearn.check.engine.forms import tensors_in
from detlearn.check.engine.sandbox import call_own
from detlearn.grading import inside, wire
from detlearn.grading.box import Limits, Outcome, Views
from detlearn.grading.submissions import Submission

Run = Callable[[Any, Path, int], Outcome]

NOT_HANDED_IN = "not handed in: no check.{name}(…) was found in a code cell"
NOT_ATTEMPTED = "not attempted: the function raises NotImplementedError"
BROKEN = "what came back from the function's process cannot be read: {why}"
CUT = "write it yourself, with the operations of torch"  # what a view says for what it lacks

TEXTS = 4_000_000  # bytes for all that is no tensor
SURVEY = 1_000_000  # bytes
FEWEST = 256  # numbers that may come back, of an answer that has fewer
SPARE = 8  # tensors that may come back beyond those that are expected


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


class Sheet:
    """The cases of an exercise, what the package answers, and how large an answer can be.

    One serves for all submissions. Two threads must not judge by it at the same time.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.exercise = EXERCISES[name]
        self.cases = self.exercise.ladder(seed)
        self.own = Own(self.exercise, self.cases)
        self.asked = [replace(case, note="", expected=None) for case in self.cases]

        # A wrong answer may be somewhat larger than the right one and still be shown.
        sizes = [self._sizes(case) for case in self.cases]
        self.most = [max(FEWEST, 2 * largest) for largest, _ in sizes]
        self.bytes = TEXTS + sum(
            8 * most * (number + SPARE) for most, (_, number) in zip(self.most, sizes)
        )

    def _sizes(self, case: Case) -> tuple[int, int]:
        """The numbers in the largest tensor of an answer, or of the question, and the tensors."""
        if case.rung == "cause":
            return 1, 1
        answer = call_own(self.exercise.reference, case)
        tensors = [*answer.values, *tensors_in([list(case.args), case.keywords])]
        return max((tensor.numel() for tensor in tensors), default=1), len(answer.values)

    def verdict(self, content: bytes) -> Verdict:
        """Judge answers as they came back.

        Raises:
            Garbled: if they are none.
        """
        answers = wire.decode(content, self.asked, self.most)
        try:
            return judge(self.exercise, self.cases, answers, self.own)
        except Exception as error:  # tensors that no comparison was written for
            why = f"the answers cannot be compared ({type(error).__name__})"
            raise wire.Garbled(self._fault(answers) or why) from error

    def _fault(self, answers: list[Any]) -> str:
        """The plain sentence on the first wrong answer, where the engine cannot say more."""
        for i, answer in enumerate(answers):
            try:
                found = fault(self.cases[i], answer, self.own.expected(i), self.exercise.returns)
            except Exception:
                return ""
            if found:
                return f"on {self.cases[i].note}: {found.text}"
        return ""


class Examiner:
    """Grades submissions; several threads may share one.

    Args:
        settings: how to grade.
        views: of the package.
    """

    def __init__(self, settings: Settings, views: Views) -> None:
        self.settings, self.views = settings, views
        self._sheets: dict[str, Sheet] = {}
        self._judging = threading.Lock()

    def first_view(self) -> Path:
        """Return a view to begin with, before anything of a learner's is asked."""
        return self.views.of(self.settings.exercises[0])

    def sheet(self, name: str) -> Sheet:
        """Return the sheet of an exercise."""
        with self._judging:
            if name not in self._sheets:
                self._sheets[name] = Sheet(name, self.settings.seed)
            return self._sheets[name]

    def verdict(self, name: str, content: bytes) -> Verdict:
        """Judge answers; raises Garbled if they are none."""
        sheet = self.sheet(name)
        with self._judging:
            return sheet.verdict(content)

    def examine(self, submission: Submission, run: Run) -> Row:
        """Grade a submission.

        Args:
            submission: what was handed in.
            run: does a task in its sandbox.

        Returns:
            Its row.
        """
        names = self.settings.exercises
        row = Row(dict.fromkeys(names, 0), dict.fromkeys(names, ""), submission.trouble)
        if not submission.notebooks:
            return row

        found, remark, row.lost = self._survey(submission, run)
        row.remark = "; ".join(filter(None, (submission.trouble, remark)))
        work = _Work(submission, found, self, run)

        for name in names:
            if name not in found.handed_in:
                missing = "" if row.remark else NOT_HANDED_IN.format(name=name)
                row.hints[name] = wire.clean(found.notes.get(name, missing))
                continue
            graded = work.grade(name)
            row.points[name], row.hints[name] = graded.points, graded.hint
            row.lost |= graded.lost

        return row

    def _survey(self, submission: Submission, run: Run) -> tuple[inside.Survey, str, bool]:
        """What is in it, the remark, and whether the sandbox was lost."""
        task = inside.Look(submission.notebooks, tuple(EXERCISES))
        outcome = run(task, self.first_view(), SURVEY)

        try:
            ((kind, content),) = wire.frames(outcome.data)
            if kind != wire.SURVEY:
                raise wire.Garbled(_text(content))
            found = inside.Survey(**json.loads(content))
        except ValueError as error:
            return inside.Survey(), f"it cannot be read: {outcome.ended or error}", outcome.lost

        return found, wire.clean("; ".join(found.remarks), most=1000), False


@dataclass(frozen=True)
class _Graded:
    """What an exercise earned.

    Attributes:
        points: for it.
        hint: what is wrong, or "".
        lost: the sandbox that ran it was lost.
        asked: its function answered, so the hint is about its answers.
        again: the function may be right after cells that were not run.
    """

    points: int = 0
    hint: str = ""
    lost: bool = False
    asked: bool = False
    again: bool = False


class _Work:
    """The exercises of one submission, each graded once.

    Args:
        submission: what was handed in.
        found: the exercises in it.
        examiner: knows the questions and judges.
        run: does a task in its sandbox.
    """

    def __init__(
        self, submission: Submission, found: inside.Survey, examiner: Examiner, run: Run
    ) -> None:
        self.submission, self.found, self.examiner, self.run = submission, found, examiner, run
        self.done: dict[str, _Graded] = {}

    def grade(self, name: str) -> _Graded:
        """Grade an exercise that was handed in, after those that it needs."""
        if name in self.done:
            return self.done[name]
        self.done[name] = _Graded()  # should two need each other

        # As in the reading flow, the name of a wrong function means the package's from then on.
        # Of a later chapter the book has none yet, and it might hold this one's answer.
        chapters = [*EXERCISES]
        before = set(self.found.handed_in) & set(chapters[: chapters.index(name)])
        needed = [other for other in self.found.earlier[name] if other in before]
        given = [other for other in needed if not self.grade(other).points]

        # If what defines its names is not enough, the whole notebook up to its check may be.
        graded = self._ask(name, given, whole=False)
        if graded.again:
            other = self._ask(name, given, whole=True)
            graded = other if other.asked else graded

        self.done[name] = graded
        return graded

    def _ask(self, name: str, given: Collection[str], *, whole: bool) -> _Graded:
        """Put the questions to the function and judge the answers."""
        sheet = self.examiner.sheet(name)
        questions = inside.Questions(
            notebook=self.submission.notebooks[self.found.handed_in[name]],
            place=self.found.places[name],
            exercise=name,
            exercises=tuple(EXERCISES),
            cases=sheet.asked,
            most=sheet.most,
            given={other: _place(EXERCISES[other].reference) for other in given},
            whole=whole,
        )

        outcome = self.run(questions, self.examiner.views.of(name, given), sheet.bytes)
        if outcome.lost:
            return _Graded(hint="the sandbox that ran this function was lost", lost=True)
        try:
            verdict = self._verdict(name, outcome)
        except wire.Garbled as error:
            return _Graded(hint=outcome.ended or BROKEN.format(why=error))

        if isinstance(verdict, str):
            return _Graded(hint=verdict, again=True)
        hint = said(verdict, self.examiner.settings.limits.seconds)
        again = verdict.status == "wrong" and "stopped after" not in hint
        return _Graded(verdict.points, hint, asked=True, again=again)

    def _verdict(self, name: str, outcome: Outcome) -> Verdict | str:
        """The engine's verdict, or a sentence where there is nothing to judge."""
        found = wire.frames(outcome.data)

        # Maybe a sentence about the code around the function, maybe the answers; each once.
        kinds = [kind for kind, _ in found]
        if kinds not in ([wire.SENTENCE], [wire.ANSWERS], [wire.SENTENCE, wire.ANSWERS]):
            why = outcome.ended or "its process ended too early"
            raise wire.Garbled("more was written than the answers" if found else why)
        sentence = _text(found[0][1]) if kinds[0] == wire.SENTENCE else ""
        if kinds[-1] == wire.SENTENCE:
            return sentence

        verdict = self.examiner.verdict(name, found[-1][1])
        return sentence if sentence and verdict.status == "wrong" else verdict


def _place(function: Callable) -> tuple[str, str]:
    """The module and the name by which a function of the package is found."""
    function = inspect.unwrap(function)
    return function.__module__, function.__name__


def _text(content: bytes) -> str:
    return wire.clean(content.decode(errors="replace"))


def said(verdict: Verdict, seconds: float) -> str:
    """Return a verdict on one line, for a cell of a table.

    Args:
        verdict: the engine's.
        seconds: the limit; the engine's own counts time on the clock.
    """
    if verdict.status == "right":
        return ""
    if verdict.status == "todo":
        return NOT_ATTEMPTED

    # On a busy machine it is the same sentence as on one that has nothing else to do.
    clock = f"stopped after {seconds * inside.BACKSTOP:g} seconds"
    text = verdict.text.replace(clock, f"stopped after {seconds:g} seconds")

    parts = [text, verdict.hint and f"hint: {verdict.hint}", verdict.line, verdict.shown]
    return wire.clean("; ".join(part for part in parts if part), most=1000)


def row_of(data: Mapping[str, Any]) -> Row:
    """Return a row made of plain data."""
    return Row(**{name: data[name] for name in Row.__dataclass_fields__})
