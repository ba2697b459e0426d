"""The table of the proof: of the answers that students write, which ones are told apart.

    python tests/exercises/table.py

Tests fill it as they go, and the end of a test run prints it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from answers import answers

from detlearn.check import EXERCISES
from detlearn.check.engine import SEED, Own, ask, handed_in, judge
from detlearn.check.engine.diagnosis import LOOKS_LIKE
from detlearn.check.engine.display import Verdict

PATIENCE = 300.0  # seconds; a slow machine is no fault of the answer
HEAD = (
    *("exercise", "wrong", "rejected", "named", "for sure"),
    *("0.1 % off", "rejected", "right", "accepted"),
)


@dataclass(frozen=True)
class Row:
    """The counts of one exercise, in the order of `HEAD`."""

    exercise: str
    wrong: int
    rejected: int
    named: int
    certain: int
    off: int
    off_rejected: int
    right: int
    accepted: int

    def cells(self) -> tuple[str, ...]:
        return tuple(str(value) for value in vars(self).values())


def verdict(name: str, function: Callable, seed: int = SEED) -> Verdict:
    """What the check of an exercise says about a function; each is asked once."""
    return _verdict(name, function, seed)


# A cache takes a default that is left out and one that is named for two questions.
@cache
def _verdict(name: str, function: Callable, seed: int) -> Verdict:
    exercise = EXERCISES[name]
    cases = exercise.ladder(seed)
    return judge(exercise, cases, ask(given(name, function), cases, PATIENCE), own(name, seed))


def given(name: str, function: Callable) -> Callable | tuple[str, Callable]:
    """What is asked: a function, of a hunt with the cause that its author chose."""
    handed = handed_in(EXERCISES[name], function, getattr(function, "cause", None))
    return handed if len(handed) == 2 else function


def own(name: str, seed: int = SEED) -> Own:
    """What the package answers to the same cases, drawn anew: no answer gets at these tensors."""
    return _own(name, seed)


@cache
def _own(name: str, seed: int) -> Own:
    exercise = EXERCISES[name]
    return Own(exercise, exercise.ladder(seed))


def names_the_mistake(name: str, function: Callable, seed: int = SEED) -> bool:
    """Whether the verdict contains the phrase that the author of the wrong answer expects."""
    said = verdict(name, function, seed)
    return said.status == "wrong" and function.phrase in f"{said.text}\n{said.hint}"


def is_certain(name: str, function: Callable, seed: int = SEED) -> bool:
    """Whether the mistake is named without the words "this looks like"."""
    hint = verdict(name, function, seed).hint
    return names_the_mistake(name, function, seed) and not hint.startswith(LOOKS_LIKE)


def row(name: str, seed: int = SEED) -> Row:
    """The counts of one exercise."""
    wrong, off, right = (answers(name, kind) for kind in ("wrong", "slightly off", "right"))

    def count(functions: list[Callable], status: str) -> int:
        return sum(verdict(name, function, seed).status == status for function in functions)

    return Row(
        name,
        len(wrong),
        count(wrong, "wrong"),
        sum(names_the_mistake(name, function, seed) for function in wrong),
        sum(is_certain(name, function, seed) for function in wrong),
        len(off),
        count(off, "wrong"),
        len(right),
        count(right, "right"),
    )


@cache
def rows(seed: int = SEED) -> tuple[Row, ...]:
    """One row for each exercise and, last, the totals."""
    each = [row(name, seed) for name in EXERCISES]
    totals = zip(*(list(vars(one).values())[1:] for one in each))
    return (*each, Row("together", *(sum(column) for column in totals)))


def table(seed: int = SEED) -> str:
    """The rows as text."""
    cells = [HEAD, *(one.cells() for one in rows(seed))]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))])
        for line in cells
    )


if __name__ == "__main__":
    print(table())
