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
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from detlearn.check import EXERCISES
from detlearn.check.engine import ask
from detlearn.check.engine.cases import Case
from detlearn.grading import references
from detlearn.grading.slicing import (
    HANDED,
    Notebook,
    Slice,
    handed_in,
    parse,
    slice_for,
    syntax_trouble,
)
from detlearn.grading.submissions import NotANotebook, code_cells
from detlearn.grading.wire import ANSWERS, REFERENCE, SENTENCE, SURVEY, Channel, encode


@dataclass
class Survey:
    """What a submission holds.

    Attributes:
        handed_in: exercise → index of the notebook; of several the last counts.
        notes: exercise → why it seems not to be handed in, where a reason is visible.
        remarks: what is wrong with notebooks.
    """

    handed_in: dict[str, int] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def survey(notebooks: Sequence[tuple[str, bytes]], channel: Channel) -> None:
    """Find what was handed in; nothing of the learner's runs.

    Args:
        notebooks: (name, content) of each.
        channel: gets the survey as JSON.
    """
    found = Survey()
    for index, (name, content) in enumerate(notebooks):
        try:
            notebook = parse(name, code_cells(name, content))
        except NotANotebook as error:
            found.remarks.append(str(error))
            continue
        found.handed_in |= dict.fromkeys(handed_in(notebook, EXERCISES), index)
        for exercise in EXERCISES:
            if note := _in_broken_cell(notebook, exercise):
                found.notes[exercise] = note
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
        seconds: for all of them.
        replaced: earlier exercises that were wrong: for these, as in the reading flow, `check`
            gives the package's function.
    """

    notebook: tuple[str, bytes]
    exercise: str
    cases: list[Case]
    seconds: float
    replaced: frozenset[str] = frozenset()


class _Unusable(Exception):
    """The code around the function does not run; the message is the sentence to show."""


def answer(questions: Questions, channel: Channel) -> None:
    """Run what the function needs, then ask it.

    Args:
        questions: what to ask.
        channel: gets the answers, or a sentence if there can be none.
    """
    exercise = EXERCISES[questions.exercise]
    notebook = parse(questions.notebook[0], code_cells(*questions.notebook))
    piece = slice_for(notebook, questions.exercise, EXERCISES)
    if trouble := syntax_trouble(notebook, piece.missing):
        channel.send(SENTENCE, trouble.encode())
        return

    def report(name: str) -> None:
        channel.send(REFERENCE, name.encode())

    # Bound before the learner's code runs, which may replace what modules hold.
    send, question, pack = channel.send, ask, encode
    references.forbid_reloading(report)
    with references.poisoned(exercise.allowed, report) as guard:
        handed = _handed_in(questions.exercise, questions.replaced, guard.allowed)
        try:
            function = _run(notebook, piece, handed)
        except _Unusable as error:
            send(SENTENCE, str(error).encode())
            return
        answers = question(function, questions.cases, questions.seconds)
        send(ANSWERS, pack(answers))


def _handed_in(
    exercise: str, replaced: Collection[str], allowed: set[str]
) -> Callable[[str, Any], Any]:
    """What stands for `check` in a slice: gives the function back, or the package's."""

    def handed(name: str, function: Any) -> Any:
        if name == exercise or name not in replaced:
            return function
        reference = EXERCISES[name].reference
        allowed.add(reference.__name__)
        return reference

    return handed


def _run(notebook: Notebook, piece: Slice, handed: Callable[[str, Any], Any]) -> Any:
    """Execute a slice; returns the value of its argument."""
    space: dict[str, Any] = {"__name__": "__main__", HANDED: handed}
    for cell, node in piece.statements:
        _execute(notebook, cell, ast.Module([node], []), "exec", space)
    cell, argument = piece.argument
    return _execute(notebook, cell, ast.Expression(argument), "eval", space)


def _execute(notebook: Notebook, cell: int, tree: ast.AST, mode: str, space: dict) -> Any:
    filename = f"<cell {cell + 1} of {notebook.name}>"
    lines = notebook.cells[cell].splitlines(keepends=True)
    linecache.cache[filename] = (0, None, lines, filename)  # for tracebacks
    try:
        code = compile(tree, filename, mode, flags=_flags(notebook), dont_inherit=True)
        return eval(code, space)
    except BaseException as error:
        raise _Unusable(_sentence(error, notebook, cell, tree)) from None


def _flags(notebook: Notebook) -> int:
    froms = (s.node for s in notebook.statements if isinstance(s.node, ast.ImportFrom))
    names = {a.name for node in froms if node.module == "__future__" for a in node.names}
    return sum(getattr(futures, name).compiler_flag for name in names)


def _sentence(error: BaseException, notebook: Notebook, cell: int, tree: ast.AST) -> str:
    node = tree.body[0] if isinstance(tree, ast.Module) else tree.body
    where = f"code cell {cell + 1} of {notebook.name}, line {node.lineno}"
    if isinstance(error, NameError) and error.name:
        return f"{where}: {error.name} is not defined by any cell before the check"
    if isinstance(error, SystemExit):
        return f"{where}: the code that your function needs calls exit()"
    if isinstance(error, MemoryError):
        return f"{where}: the code that your function needs asks for more memory than there is"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{where}: the code that your function needs raises {text}"
