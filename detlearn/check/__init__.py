"""Exercise checks: hand a function to a check, read the verdict, go on with what it returns.

    from detlearn import check

    giou_loss = check.giou_loss(giou_loss)   # ⏳, ✅ or ❌; gives back yours or the package's
    check.progress()                         # what of this chapter is done
    check.solution("giou_loss")              # the package's own source

With ``DETLEARN_STRICT=1`` anything but ✅ raises `NotSolved`.
"""

from __future__ import annotations

import importlib
import pkgutil
from html import escape

from detlearn.check.engine import STATE, Exercise, NotSolved
from detlearn.check.engine.signs import SIGNS, drawn_sign
from detlearn.explore import source


def _found() -> dict[str, Exercise]:
    """The exercises that the chapters' folders export, by name, in the order of their numbers."""
    folders = [
        importlib.import_module(f"{__name__}.{folder.name}")
        for folder in pkgutil.iter_modules(__path__)
        if folder.ispkg and folder.name != "engine"
    ]
    exercises = [exercise for folder in folders for exercise in folder.EXERCISES]

    # "2.10" comes after "2.9".
    exercises.sort(key=lambda exercise: [int(part) for part in exercise.number.split(".")])
    return {exercise.name: exercise for exercise in exercises}


# A chapter's folder is the one place that lists its exercises; each is found here by its name,
# as in `check.giou_loss`.
EXERCISES: dict[str, Exercise] = _found()
globals().update(EXERCISES)

__all__ = ["EXERCISES", "NotSolved", "progress", "solution", *EXERCISES]


LEFT = 'style="text-align: left"'  # JupyterLab sets table cells to the right


def chapter_of(exercise: Exercise) -> str:
    """The chapter in which an exercise stands: "2" for number "2.10"."""
    return exercise.number.split(".")[0]


class Progress:
    """The state of the exercises of the chapters that were met in this kernel, as a table."""

    def __init__(self, states: dict[str, str]) -> None:
        self.states = states

    def _rows(self) -> list[tuple[str, str, str]]:
        """State, number and name of each exercise: of the chapters met, or of all if none was."""
        met = [exercise for name, exercise in EXERCISES.items() if name in self.states]
        chapters = {chapter_of(exercise) for exercise in met or EXERCISES.values()}
        return [
            (self.states.get(name, "todo"), exercise.number, name)
            for name, exercise in EXERCISES.items()
            if chapter_of(exercise) in chapters
        ]

    def __repr__(self) -> str:
        rows = self._rows()
        done = sum(state == "right" for state, *_ in rows)
        lines = [f"{SIGNS[state]} {number:4} {name}" for state, number, name in rows]
        return "\n".join([f"{done} of {len(rows)} exercises are right", *lines])

    def _repr_html_(self) -> str:
        head = repr(self).splitlines()[0]
        cells = "".join(
            f"<tr><td>{drawn_sign(state)}</td><td>{number}</td>"
            f"<td {LEFT}><code>{name}</code></td></tr>"
            for state, number, name in self._rows()
        )
        return f'<div class="detlearn-check"><div>{head}</div><table>{cells}</table></div>'


class Solution:
    """Source code behind a fold."""

    def __init__(self, name: str, code: str) -> None:
        self.name, self.code = name, code

    def __repr__(self) -> str:
        return self.code

    def _repr_html_(self) -> str:
        return (
            f"<details><summary>Solution: <code>{self.name}</code></summary>"
            f"<pre>{escape(self.code)}</pre></details>"
        )


def progress() -> Progress:
    """What of this chapter is done since the kernel started."""
    return Progress(dict(STATE))


def solution(name: str) -> Solution:
    """The package's own source for an exercise, folded on the page.

    Args:
        name: of the exercise, such as "giou_loss".

    Returns:
        An object that displays itself.

    Raises:
        ValueError: if there is no such exercise; the message lists those that are there.
    """
    if name not in EXERCISES:
        raise ValueError(f"no exercise is called {name!r}; there are: {', '.join(EXERCISES)}")
    exercise = EXERCISES[name]
    return Solution(name, source(*(exercise.solution or (exercise.reference,))).code)
