"""A strict check for other graders' test cells: silence is not enough, it raises.

Unlike `check`, this neither returns nor rebinds anything, and calls of the package's own functions
count as wrong. It runs in the kernel of the notebook, among the learner's own code, which could
undo it; whoever wants the answers compared out of reach uses ``detlearn grade``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType

from detlearn.check import EXERCISES
from detlearn.check.engine import SEED, NotSolved, ask, judge
from detlearn.check.engine.state import usual_settings

HINT = (
    "your function calls detlearn's or torchvision's own {names}; write it yourself, with the "
    "operations of torch"
)
HARMLESS = ("check/engine/", "check/debugging/causes.py", "data/", "nbgrader/", "samples.py")


@usual_settings()
def require(name: str, function: Callable, *, seed: int = SEED) -> None:
    """Check a function, under torch's usual settings; return only if it is right.

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

    # A test cell asks for a function; a cause that goes with it is asked where it is chosen.
    exercise = EXERCISES[name]
    cases = [case for case in exercise.ladder(seed) if case.rung != "cause"]

    # Only while the function runs: the expected answers are the references' own.
    with _calls_noted(exercise.allowed) as used:
        answers = ask(function, cases)

    if used:
        raise NotSolved(HINT.format(names=", ".join(sorted(used)[:3])))
    verdict = judge(exercise, cases, answers)
    if verdict.status != "right":
        raise NotSolved(str(verdict))
    print(verdict)


@contextmanager
def _calls_noted(allowed: Collection[str]) -> Iterator[set[str]]:
    """Note which functions of the package's or torchvision's are called.

    Args:
        allowed: names of functions that may be called, with all that they call.

    Yields:
        The names; they are there at the end.
    """
    used: set[str] = set()
    inside: FrameType | None = None

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal inside
        if event == "return" and frame is inside:
            inside = None
        if event != "call" or inside or not _is_off_limits(frame.f_code.co_filename):
            return

        # What it calls in turn is no call of the learner's; nor is what an import runs.
        inside = frame
        if frame.f_code.co_name not in (*allowed, "<module>"):
            name = frame.f_code.co_qualname.partition(".<locals>")[0]
            used.add(name.removesuffix(".__init__"))  # as a learner knows it: by its class

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield used
    finally:
        sys.setprofile(before)


def _is_off_limits(filename: str) -> bool:
    """Whether a file is torchvision's operators and detectors, or the package's own."""
    package = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
    if filename.startswith(package):
        return not filename.removeprefix(package).startswith(HARMLESS)
    return any(f"/torchvision/{room}/" in filename for room in ("ops", "models/detection"))
