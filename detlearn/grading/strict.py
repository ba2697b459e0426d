"""A strict check for other graders' test cells: silence is not enough, it raises.

Unlike `check`, this neither returns nor rebinds anything, and calls of the package's own functions
count as wrong. It runs in the kernel of the notebook, among the learner's own code; whoever wants
the answers compared out of reach uses ``detlearn grade``.
"""

from __future__ import annotations

from collections.abc import Callable

from detlearn.check import EXERCISES
from detlearn.check.engine import SEED, NotSolved, ask, judge
from detlearn.grading import references


def require(name: str, function: Callable, *, seed: int = SEED) -> None:
    """Check a function; return only if it is right.

    Args:
        name: of the exercise.
        function: the learner's.
        seed: of the cases.

    Raises:
        NotSolved: with the hint, if the function is wrong, not written yet, or not the learner's
            own.
        ValueError: if there is no such exercise.
    """
    if name not in EXERCISES:
        raise ValueError(f"no exercise is called {name!r}; there are: {', '.join(EXERCISES)}")

    exercise, used = EXERCISES[name], []
    # A test cell asks for a function; a cause that goes with it is asked where it is chosen.
    cases = [case for case in exercise.ladder(seed) if case.rung != "cause"]

    # Only while the function runs: the expected answers are the references' own.
    with references.poisoned(exercise.allowed, used.append):
        answers = ask(function, cases)

    if used:
        raise NotSolved(references.HINT.format(names=", ".join(sorted(set(used)))))
    verdict = judge(exercise, cases, answers)
    if verdict.status != "right":
        raise NotSolved(str(verdict))
    print(verdict)
