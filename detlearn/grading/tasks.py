"""What a confined process does: look what was handed in, or ask a learner's function.

These functions run with few rights (see `confinement`) and know no expected answers. After the
first statement of the learner's has run, nothing in this process can be trusted any more.
"""

from __future__ import annotations
import __future__ as futures

import ast
import json
import linecache
import re
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from detlearn.check import EXERCISES
from detlearn.check.engine import ask
from detlearn.check.engine.cases import Case
from detlearn.grading import references
from detlearn.grading.slicing import (
    HANDED,
    Slice,
    handed_in,
    slice_for,
    syntax_trouble,
)
from detlearn.grading.statements import Notebook, parse
from detlearn.grading.submissions import NotANotebook, code_cells
from detlearn.grading.wire import ANSWERS, REFERENCE, SENTENCE, SURVEY, Channel, encode
from detlearn.grading.worker import SETUP

NOTHING = object()  # in place of a value where there is none
RETRY = 0.5  # seconds until a statement that has caught its stop is stopped again


@dataclass
class Survey:
    """What a submission holds.

    Attributes:
        handed_in: exercise → index of the notebook; of several the last counts.
        earlier: exercise → exercises whose functions it needs.
        doubtful: exercises for which it is in doubt what their functions need.
        notes: exercise → why it seems not to be handed in, where a reason is visible.
        remarks: what is wrong with notebooks.
    """

    handed_in: dict[str, int] = field(default_factory=dict)
    earlier: dict[str, list[str]] = field(default_factory=dict)
    doubtful: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def survey(notebooks: Sequence[tuple[str, bytes]], channel: Channel) -> None:
    """Find what was handed in; nothing of the learner's runs.

    Args:
        notebooks: (name, content) of each.
        channel: gets the survey as JSON.
    """
    found, parsed = Survey(), {}

    for index, (name, content) in enumerate(notebooks):
        try:
            notebook = parsed[index] = parse(name, code_cells(name, content))
        except NotANotebook as error:
            found.remarks.append(str(error))
            continue

        found.handed_in |= dict.fromkeys(handed_in(notebook, EXERCISES), index)
        for exercise in EXERCISES:
            if note := _in_broken_cell(notebook, exercise):
                found.notes[exercise] = note

    for exercise, index in found.handed_in.items():
        less, more = (
            slice_for(parsed[index], exercise, EXERCISES, whole=whole) for whole in (False, True)
        )
        found.earlier[exercise] = sorted(less.earlier)
        if len(less.statements) < len(more.statements):
            found.doubtful.append(exercise)

    channel.send(SURVEY, json.dumps(vars(found)).encode())


def _in_broken_cell(notebook: Notebook, exercise: str) -> str:
    for cell in notebook.broken:
        if re.search(rf"\.{exercise}\s*\(", notebook.cells[cell]):
            return syntax_trouble(notebook, [exercise])
    return ""


@dataclass
class Questions:
    """What a learner's function is asked.

    Attributes:
        notebook: (name, content).
        exercise: its name.
        cases: without expected answers and notes.
        seconds: for all of them; the cells around the function get SETUP of that more.
        replaced: earlier exercises that were wrong: for these, as in the reading flow, `check`
            gives the package's function.
        whole: whether to run what the function may need, too.
    """

    notebook: tuple[str, bytes]
    exercise: str
    cases: list[Case]
    seconds: float
    replaced: frozenset[str] = frozenset()
    whole: bool = False


def answer(questions: Questions, channel: Channel) -> None:
    """Run what the function needs, then ask it.

    Args:
        questions: what to ask.
        channel: gets a sentence if something that the function may need does not run, and the
            answers if there is a function.
    """
    exercise = EXERCISES[questions.exercise]
    notebook = parse(questions.notebook[0], code_cells(*questions.notebook))
    piece = slice_for(notebook, questions.exercise, EXERCISES, whole=questions.whole)

    def report(name: str) -> None:
        channel.send(REFERENCE, name.encode())

    # Bound before the learner's code runs, which may replace what modules hold.
    send, question, pack = channel.send, ask, encode

    with references.poisoned(exercise.allowed, report, watching=False) as guard:
        references.forbid_copies(guard)
        handed = _handed_in(questions.exercise, questions.replaced, guard.allowed)
        replace_new, watch = guard.replace_new, guard.watch

        setup = _Setup(notebook, handed, questions.seconds * SETUP)
        trouble = syntax_trouble(notebook, piece.missing)
        function = setup.run(piece)
        if trouble := trouble or setup.trouble:
            send(SENTENCE, trouble.encode())
        if function is NOTHING:
            return

        replace_new()
        watch()
        answers = question(function, questions.cases, questions.seconds)
        send(ANSWERS, pack(answers))


def _handed_in(
    exercise: str, replaced: Collection[str], allowed: set[str]
) -> Callable[[str, Any], Any]:
    """What stands for `check` in a slice: gives the function back, or the package's."""

    def handed(name: str, function: Any) -> Any:
        if name == exercise:
            return function
        if name not in replaced:
            # Of a cause and a cure, the chapter goes on with the cure.
            return function[1] if type(function) is tuple and len(function) == 2 else function
        reference = EXERCISES[name].reference
        allowed.add(reference.__name__)
        return reference

    return handed


class _TooLong(BaseException):
    """A statement was stopped; no `except Exception` in it prevents this."""


class _Setup:
    """The code around a function.

    What fails in it is not the end: a function may mention what it does not use, and its answers
    tell. The first failure is kept, to be shown if they are wrong.

    Args:
        notebook: that it is from.
        handed: stands for `check` in it.
        seconds: for all of it together.
    """

    def __init__(
        self, notebook: Notebook, handed: Callable[[str, Any], Any], seconds: float
    ) -> None:
        self.notebook, self.seconds = notebook, seconds
        self.ends = time.monotonic() + seconds
        self.space = {"__name__": "__main__", "display": _display_nothing, HANDED: handed}
        self.trouble = ""

    def run(self, piece: Slice) -> Any:
        """Execute a slice; returns the value of its argument, or NOTHING."""
        for cell, node in piece.statements:
            self._execute(cell, ast.Module([node], []), "exec")
        cell, argument = piece.argument
        return self._execute(cell, ast.Expression(argument), "eval")

    def _execute(self, cell: int, tree: ast.AST, mode: str) -> Any:
        filename = f"<cell {cell + 1} of {self.notebook.name}>"
        lines = self.notebook.cells[cell].splitlines(keepends=True)
        linecache.cache[filename] = (0, None, lines, filename)  # for tracebacks

        try:
            code = compile(tree, filename, mode, flags=_flags(self.notebook), dont_inherit=True)
            with _stopped_after(self.ends - time.monotonic()):
                return eval(code, self.space)
        except BaseException as error:
            self.trouble = self.trouble or self._sentence(error, cell, tree)
            return NOTHING

    def _sentence(self, error: BaseException, cell: int, tree: ast.AST) -> str:
        node = tree.body[0] if isinstance(tree, ast.Module) else tree.body
        where = f"code cell {cell + 1} of {self.notebook.name}, line {node.lineno}"

        if isinstance(error, NameError) and error.name:
            return f"{where}: {error.name} is not defined by any cell before the check"
        needed = f"{where}: the code that your function needs"
        if isinstance(error, _TooLong):
            return f"{needed} was stopped after {self.seconds:g} seconds"
        if isinstance(error, SystemExit):
            return f"{needed} calls exit()"
        if isinstance(error, MemoryError):
            return f"{needed} asks for more memory than there is"
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return f"{needed} raises {text}"


def _display_nothing(*_: Any, **__: Any) -> None:
    """Stand for the `display` of a notebook."""


@contextmanager
def _stopped_after(seconds: float) -> Iterator[None]:
    """Raise `_TooLong` in what runs inside when its time is over, and again until it ends."""

    def stop(*_: Any) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), RETRY)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _flags(notebook: Notebook) -> int:
    froms = (s.node for s in notebook.statements if isinstance(s.node, ast.ImportFrom))
    names = {a.name for node in froms if node.module == "__future__" for a in node.names}
    return sum(getattr(futures, name).compiler_flag for name in names)
