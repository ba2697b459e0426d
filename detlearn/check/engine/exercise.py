"""The check engine: a diagnosis of the learner's function instead of a verdict alone.

A check calls the function on a ladder of cases (worked out by hand, degenerate, random, properties,
gradients, no loop over boxes), compares the answers with the reference's and explains the first
difference. Calling and judging are separate: `ask` may happen in another process, `judge` needs its
answers only.

A check never raises in the reading flow. With ``DETLEARN_STRICT=1`` anything but ✅ raises.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from detlearn.check.engine.arguments import parameters, show_arguments
from detlearn.check.engine.cases import RUNGS, Answer, Case, Fault, Handed, Trouble, fault
from detlearn.check.engine.diagnosis import Asked, Misconception, diagnose, generic_hint
from detlearn.check.engine.display import Verdict, show
from detlearn.check.engine.sandbox import SECONDS, call, call_own, data_limited, named
from detlearn.check.engine.state import Snapshot, usual_settings

SEED = 0  # of the cases that a reader sees; graders use others
RETURNED = "your function returned"


class NotSolved(AssertionError):
    """With ``DETLEARN_STRICT=1``: an exercise is wrong or not attempted."""


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One exercise; calling it checks a function.

    Attributes:
        number: as in the book, "6.1".
        name: of the learner's function and of this check.
        reference: the package's function.
        cases: makes the cases from a random generator; the same generator, the same cases.
        misconceptions: known wrong answers; of several that fit, the first is named.
        returns: what each returned tensor is called.
        draw: the boxes that show the failing case, as (box, label, style) with style "a", "b" or
            "c"; empty if nothing is to be drawn.
        narrow: what to show of a failing case beside or instead of its arguments as they are:
            takes the case and the fault, gives one line. What it names, as in "boxes1[3] = …", is
            not shown again.
        clue: what can be said of a wrong answer that no misconception explains: takes everything
            that is known of it, gives a sentence about where to look, or "".
        summary: of an exercise whose answers are random, what is compared: takes a case and the
            tensors that all its draws returned, and gives numbers that do not depend on chance; or
            says what came instead of tensors of the right form, as in "a mask; expected indices".
        solution: the functions whose source is the solution; the reference by default.
        allowed: names of the package's functions that the learner's may call.
        counted: what a loop would run over; the size of a case counts them.
        points: what it is worth.
    """

    number: str
    name: str
    reference: Callable
    cases: Callable[[torch.Generator], list[Case]]
    misconceptions: tuple[Misconception, ...]
    returns: tuple[str, ...]
    draw: Callable[[Case, Fault], list[tuple[Tensor, str, str]]] = lambda case, fault: []
    narrow: Callable[[Case, Fault], str] = lambda case, fault: ""
    clue: Callable[[Asked], str] = lambda asked: ""
    summary: Callable[[Case, tuple[Tensor, ...]], tuple[Tensor, ...] | str] | None = None
    solution: tuple[Callable, ...] = ()
    allowed: frozenset[str] = field(default_factory=frozenset)
    counted: str = "boxes"
    points: int = 10

    def __call__(self, function: Callable) -> Callable:
        """Check a function, print the verdict, and return a function to go on with.

        Args:
            function: the learner's.

        Returns:
            The very same function if it is right, else the package's.

        Raises:
            NotSolved: if it is not right and ``DETLEARN_STRICT=1`` is set.
        """
        with usual_settings():
            cases = self.ladder(SEED)
            verdict = judge(self, cases, ask(function, cases, SECONDS))

        STATE[self.name] = verdict.status
        show(verdict)

        if verdict.status == "right":
            return function

        if os.environ.get("DETLEARN_STRICT", "0") not in ("", "0"):
            raise NotSolved(str(verdict))
        return self.reference

    def ladder(self, seed: int) -> list[Case]:
        """The cases of a seed, first rung first."""
        cases = self.cases(torch.Generator().manual_seed(seed))
        return sorted(cases, key=lambda case: RUNGS.index(case.rung))

    def explain(self, asked: Asked, first: int) -> Verdict:
        """Say what is wrong with answers that are not right.

        Args:
            asked: cases, answers and faults.
            first: the first case with a fault, which is the one to show.

        Returns:
            The verdict, with a hint where there is one.
        """
        case = asked.cases[first]
        answer = asked.answers[first]
        found = asked.faults[first]
        if answer.trouble and answer.trouble.kind == "no function":
            return Verdict("wrong", self.number, self.name, found.text)

        narrowed = self.narrow(case, found) if answer.trouble is None or answer.values else ""
        return Verdict(
            "wrong",
            self.number,
            self.name,
            f"on {case.note}: {found.text}",
            hint=diagnose(self.misconceptions, asked, self.clue)
            or generic_hint(case, answer, found),
            line=answer.trouble.line if answer.trouble else "",
            shown=show_arguments(parameters(self.reference), case, found, narrowed),
            boxes=[] if answer.trouble else self.draw(case, found),
            printed=answer.printed,
        )

    def read(self, case: Case, answer: Answer) -> Answer:
        """The answer as it is compared: of a random one, its summary."""
        if self.summary is None or answer.trouble:
            return answer
        found = self.summary(case, answer.values)
        if isinstance(found, str):
            return replace(answer, values=(), trouble=Trouble("type", f"{RETURNED} {found}"))
        return replace(answer, values=found)


# name → "right", "wrong" or "todo": what the checks found since the kernel started.
STATE: dict[str, str] = {}


def ask(
    function: Any,
    cases: Sequence[Case],
    seconds: float = SECONDS,
    processor: float = math.inf,
) -> list[Answer]:
    """Call a function on the cases, one after the other.

    Args:
        function: the learner's; where a case asks for a cause, a tuple of the cause and it.
        cases: what to call it with.
        seconds: for all calls together. After a stop the remaining cases are not tried.
        processor: seconds of processor time for the same.

    Returns:
        The answers; fewer than cases if the first says "not attempted" or one was stopped.
    """
    # A cause and a cure are handed in together where a case asks for the cause.
    if any(case.rung == "cause" for case in cases):
        cause, cure = function if type(function) is tuple else ("", function)
        function = Handed(cause, cure) if callable(cure) else cure

    if not callable(function):
        text = f"the check was given {named(function)}; give it your function"
        return [Answer(trouble=Trouble("no function", text))]

    answers = []
    settings: Snapshot = []
    deadline, processor_ends = time.monotonic() + seconds, time.process_time() + processor
    with data_limited():
        for case in cases:
            left = max(0.1, deadline - time.monotonic())
            processor_left = max(0.1, processor_ends - time.process_time())
            answers.append(call(function, case, left, settings, processor_left))

            trouble = answers[-1].trouble
            if trouble and trouble.kind == "timeout":
                given = min(seconds, processor)
                trouble.message = f"your function was stopped after {given:g} seconds"
            if trouble and trouble.kind in ("blank", "timeout", "memory", "exit"):
                break

    return answers


class Own:
    """What functions of the package answer to the cases of an exercise; each is asked once.

    One such object serves to judge any number of answers to the same cases.
    """

    def __init__(self, exercise: Exercise, cases: Sequence[Case]) -> None:
        """
        Args:
            exercise: the exercise.
            cases: the questions; no function of a learner's may get at these very tensors.
        """
        self.exercise = exercise
        self.cases = cases
        self._expected: dict[int, Answer] = {}
        self._said: dict[tuple[Callable, int], Answer] = {}

    def expected(self, i: int) -> Answer:
        """The right answer to case i."""
        if i not in self._expected:
            self._expected[i] = expected_answer(self.exercise, self.cases[i])
        return self._expected[i]

    def said(self, function: Callable, i: int) -> Answer:
        """What a function answers to case i, as it is compared."""
        if (function, i) not in self._said:
            answer = call_own(function, self.cases[i])
            self._said[function, i] = self.exercise.read(self.cases[i], answer)
        return self._said[function, i]


def judge(
    exercise: Exercise, cases: Sequence[Case], answers: Sequence[Answer], own: Own | None = None
) -> Verdict:
    """Compare answers with the reference's and find the mistake.

    Args:
        exercise: the exercise.
        cases: what was asked.
        answers: what came back, in the order of the cases; they may end early.
        own: the package's answers to the same cases, where many learners' are judged.

    Returns:
        The verdict, with a hint if it is wrong.
    """
    name = exercise.name
    number = exercise.number

    if answers and answers[0].trouble and answers[0].trouble.kind == "blank":
        return Verdict("todo", number, name, f"not attempted yet; {name} is the package's so far")

    # What is wrong with each answer.
    own = own or Own(exercise, cases)
    answers = [exercise.read(case, answer) for case, answer in zip(cases, answers)]
    arguments = parameters(exercise.reference)
    expected = [own.expected(i) for i in range(len(answers))]
    faults = [
        fault(case, answer, right, exercise.returns, arguments)
        for case, answer, right in zip(cases, answers, expected)
    ]
    faults = _with_loops(exercise.counted, cases, answers, faults)

    first = next((i for i, found in enumerate(faults) if found), None)
    if first is None and len(answers) == len(cases):
        text = f"right in {len(cases)} cases"
        return Verdict("right", number, name, text, points=exercise.points)

    if first is None:  # the process that ran it is gone
        return Verdict("wrong", number, name, "your function did not come back")

    # The first fault is the one to show, with its input.
    asked = Asked(cases, answers, expected, faults, exercise.returns, own.said)
    return exercise.explain(asked, first)


def expected_answer(exercise: Exercise, case: Case) -> Answer:
    """The right answer: as worked out by hand where a case says so, else the reference's."""
    if case.rung == "cause":
        return Answer(values=(case.expected,))

    answer = exercise.read(case, call_own(exercise.reference, case))
    if answer.trouble is not None:
        raise AssertionError(f"the reference of {exercise.name} fails: {answer.trouble.message}")

    if case.expected is None:
        return answer
    by_hand = case.expected if isinstance(case.expected, tuple) else (case.expected,)

    # The numbers are those worked out by hand, the dtype is the one that the package returns.
    values = [value.to(own.dtype) for value, own in zip(by_hand, answer.values, strict=True)]
    return replace(answer, values=tuple(values))


def _with_loops(
    counted: str, cases: Sequence[Case], answers: Sequence[Answer], faults: list[Fault | None]
) -> list[Fault | None]:
    """Adds the fault of a loop over boxes, seen in the growth of the steps with their number."""
    sized = [i for i, case in enumerate(cases[: len(answers)]) if case.size]
    for small, large in itertools.pairwise(sized):
        few, many = answers[small].steps, answers[large].steps
        added = cases[large].size - cases[small].size

        # A step, at least, for each more box.
        if not faults[large] and few > 0 and many - few >= added:
            faults[large] = Fault(
                f"Python takes {many / few:.2g} times as many steps for {cases[large].size} "
                f"{counted} as for {cases[small].size}: there is a loop over {counted}; let "
                "broadcasting do it",
                "value",
            )

    return faults
