"""Grades one submission: has its functions asked in a sandbox, compares the answers here.

This process makes the questions from a private seed. What leaves it are the questions, without the
expected answers and without the notes that go with them; what comes back are answers as plain
data, which the check engine judges.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from detlearn.check import EXERCISES
from detlearn.check.engine import Own, judge
from detlearn.check.engine.cases import Answer, Case
from detlearn.check.engine.display import Verdict
from detlearn.check.engine.forms import tensors_in
from detlearn.check.engine.sandbox import OutOfTime, Watch, call_own
from detlearn.grading import inside, wire
from detlearn.grading.box import Limits, Lost, Outcome
from detlearn.grading.pieces import home
from detlearn.grading.slicing import Place
from detlearn.grading.submissions import MAX_BYTES, Submission
from detlearn.grading.view import make_view

Run = Callable[[Any, Mapping[str, str], int], Outcome]

NOT_HANDED_IN = "not handed in: no check.{name}(…) was found in a code cell"
NOT_ATTEMPTED = "not attempted: the function raises NotImplementedError"
BROKEN = "what came back from the function's process cannot be read: {why}"

SURVEY = MAX_BYTES  # of the code of all notebooks, and of what each exercise needs of it
FEWEST = 256  # numbers that may come back, of an answer that has fewer
SPARE = 8  # tensors that may come back beyond those that are expected
JUDGING = 120.0  # seconds, for what takes a fraction of one: nobody else's answers wait for ever


@dataclass(frozen=True)
class Settings:
    """How a class is graded."""

    seed: int  # of the cases
    exercises: tuple[str, ...]  # names, in the order of the columns
    limits: Limits = field(default_factory=Limits)  # for each exercise of a submission


@dataclass
class Row:
    """What a submission earned."""

    points: dict[str, int] = field(default_factory=dict)  # exercise → points
    hints: dict[str, str] = field(default_factory=dict)  # exercise → what is wrong, or ""
    remark: str = ""  # what is wrong with the submission as a whole
    lost: bool = False  # the grader itself failed here; another try may help


class Sheet:
    """The cases of an exercise, what the package answers, and how large an answer can be."""

    def __init__(self, name: str, seed: int) -> None:
        self.exercise = EXERCISES[name]
        self.cases = self.exercise.ladder(seed)
        self.own = Own(self.exercise, self.cases)
        self.asked = [replace(case, note="", expected=None) for case in self.cases]

        # A wrong answer may be somewhat larger than the right one and still be shown.
        sizes = [self._sizes(case) for case in self.cases]
        self.most = [max(FEWEST, 2 * largest) for largest, _ in sizes]
        self.bytes = wire.TEXTS + sum(
            8 * most * (number + SPARE) for most, (_, number) in zip(self.most, sizes)
        )

    def _sizes(self, case: Case) -> tuple[int, int]:
        """The numbers in the largest tensor of an answer, or of the question, and the tensors."""
        if case.rung == "cause":
            return 1, 1
        answer = call_own(self.exercise.reference, case)
        tensors = [*answer.values, *tensors_in([list(case.args), case.keywords])]
        return max((tensor.numel() for tensor in tensors), default=1), len(answer.values)

    def verdict(self, answers: list[Answer]) -> Verdict:
        """Judge answers; two threads must not do so at the same time.

        Raises:
            Garbled: if they cannot be compared.
            Lost: if there is no end to it.
        """
        try:
            with Watch(JUDGING) as watch, watch.armed():
                return judge(self.exercise, self.cases, answers, self.own)
        except OutOfTime:
            raise Lost from None
        except Exception as error:  # tensors that no comparison was written for
            why = f"the answers cannot be compared ({type(error).__name__})"
            raise wire.Garbled(why) from error


class Examiner:
    """Grades submissions; several threads may share one.

    Args:
        settings: how to grade.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._sheets: dict[str, Sheet] = {}
        self._judging = threading.Lock()

    def sheet(self, name: str) -> Sheet:
        """Return the sheet of an exercise."""
        with self._judging:
            if name not in self._sheets:
                self._sheets[name] = Sheet(name, self.settings.seed)
            return self._sheets[name]

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

        found, remark = _survey(submission, run)
        row.remark = "; ".join(filter(None, (submission.trouble, remark)))
        for name in names:
            missing = "" if row.remark else NOT_HANDED_IN.format(name=name)
            row.hints[name] = wire.clean(found.notes.get(name, missing))

        # In the order of the book; those as well that are not asked for and another one needs.
        earlier = {name: place["earlier"] for name, place in found.places.items()}
        needed = {other for name in names for other in earlier.get(name, ())}
        points: dict[str, int] = {}
        for name in EXERCISES:
            if name in found.places and (name in names or name in needed):
                # As in the reading flow, the name of a wrong function means the package's from
                # then on. Of a later chapter the book has none yet, and it might hold this answer.
                given = [other for other in earlier[name] if points.get(other) == 0]
                place = found.places[name]
                graded = self._grade(name, found.cells[place["notebook"]], place, given, run)
                points[name] = graded.points
                if name in names:
                    row.points[name], row.hints[name] = graded.points, graded.hint

        return row

    def _grade(
        self,
        name: str,
        cells: list[str],
        place: Place,
        given: Collection[str],
        run: Run,
    ) -> _Graded:
        """Grade an exercise that was handed in."""
        sheet = self.sheet(name)
        ahead = cells[: place["at"][0] + 1]
        wanted = {cell for cell, _ in [*place["needed"], place["at"]]}
        questions = inside.Questions(
            cells=[source if i in wanted else "" for i, source in enumerate(ahead)],
            place=place,
            exercise=name,
            exercises=tuple(EXERCISES),
            cases=sheet.asked,
            most=sheet.most,
            given={other: home(EXERCISES[other].reference) for other in given},
        )
        view = make_view(name, frozenset(given))
        graded = self._judge(sheet, run(questions, view, sheet.bytes))

        # If what defines its names is not enough, the whole notebook up to its check may be.
        if graded.again:
            questions = replace(questions, cells=ahead, whole=True)
            other = self._judge(sheet, run(questions, view, sheet.bytes))
            graded = other if other.asked else graded
        return graded

    def _judge(self, sheet: Sheet, outcome: Outcome) -> _Graded:
        """Compare what came back with the right answers."""
        try:
            said, tensors = wire.unpack(outcome.said)
            sentence = wire.clean(said.get("sentence", ""))
            if sentence and "answers" not in said:
                return _Graded(hint=sentence, again=True)
            answers = wire.decode(said, tensors, sheet.asked, sheet.most)

            with self._judging:
                verdict = sheet.verdict(answers)
        except (wire.Garbled, TypeError) as error:
            why = error if outcome.said else "its process ended too early"
            return _Graded(hint=outcome.ended or BROKEN.format(why=why))

        # A hunt whose cause is still to be chosen is not wrong, and has a hint.
        failed = verdict.status == "wrong" or bool(verdict.hint)
        if sentence and failed:
            return _Graded(hint=sentence, again=True)
        stopped = any(answer.trouble and answer.trouble.kind == "timeout" for answer in answers)
        again = failed and not stopped
        return _Graded(verdict.points, one_line(verdict), asked=True, again=again)


def _survey(submission: Submission, run: Run) -> tuple[inside.Survey, str]:
    """What is in a submission, and the remark."""
    task = inside.Look(submission.notebooks, tuple(EXERCISES))
    outcome = run(task, {}, SURVEY)
    try:
        said, _ = wire.unpack(outcome.said, SURVEY)
        found = inside.Survey(**said)
    except (wire.Garbled, TypeError) as error:
        return inside.Survey(), f"it cannot be read: {outcome.ended or error}"
    return found, wire.clean("; ".join(found.remarks), most=1000)


@dataclass(frozen=True)
class _Graded:
    """What an exercise earned."""

    points: int = 0
    hint: str = ""  # what is wrong
    asked: bool = False  # its function answered, so the hint is about its answers
    again: bool = False  # the function may be right after cells that were not run


def one_line(verdict: Verdict) -> str:
    """Return a verdict on one line, for a cell of a table."""
    if verdict.status == "right":
        return ""
    if verdict.status == "todo" and not verdict.hint:  # with a hint, a hunt's cause is missing
        return NOT_ATTEMPTED

    parts = [verdict.text, verdict.hint and f"hint: {verdict.hint}", verdict.line, verdict.shown]
    return wire.clean("; ".join(part for part in parts if part), most=1000)
