"""The exercises of a chapter, without the chapter: for graders that run whole notebooks.

An exercise is found in a chapter by its stub: a function of the exercise's name that raises
NotImplementedError. The export keeps the text before it, the imports, what the stub itself needs
(found by `slicing`), and nothing that trains.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detlearn.check import EXERCISES
from detlearn.check.engine import Exercise
from detlearn.grading.slicing import Notebook, Statement, bound_by, needed_before, parse

# How the cell begins that installs the package where it is missing: not for an assignment.
BOOTSTRAP = "# Makes sure that the package detlearn is here"


@dataclass(frozen=True)
class Stub:
    """An exercise as a chapter states it.

    Attributes:
        exercise: which.
        text: the Markdown before it.
        node: the function's tree.
        source: of the function.
        needs: statements that must run before it.
    """

    exercise: Exercise
    text: str
    node: ast.FunctionDef
    source: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Chapter:
    """What an export takes from a chapter: its title and its stubs, in order."""

    title: str
    stubs: tuple[Stub, ...]


def read_chapter(path: Path) -> Chapter:
    """Find the exercises of a chapter.

    Args:
        path: of the notebook.

    Returns:
        Its title and its exercises, maybe none.

    Raises:
        ValueError: if the file is no notebook.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no notebook: {error!r}") from error

    # Statements are found in the code; the text before one, by the numbers of the cells.
    kinds = [cell["cell_type"] for cell in cells]
    code = [source if kind == "code" else "" for kind, source in zip(kinds, sources)]
    notebook = parse(path.name, code)

    headings = (line[2:] for line in "\n".join(sources).splitlines() if line.startswith("# "))

    stubs = []
    for index, statement in enumerate(notebook.statements):
        if exercise := _stated_by(statement.node):
            before = range(statement.cell - 1, -1, -1)
            text = next((sources[i] for i in before if kinds[i] == "markdown"), "")
            source = _source(notebook, statement)
            needs = _needs(notebook, index)
            stubs.append(Stub(exercise, text, statement.node, source, needs))

    return Chapter(next(headings, path.stem).strip(), tuple(stubs))


def _stated_by(node: ast.stmt) -> Exercise | None:
    if not isinstance(node, ast.FunctionDef) or node.name not in EXERCISES:
        return None
    raised = [n for n in node.body if isinstance(n, ast.Raise) and "NotImplemented" in ast.dump(n)]
    return EXERCISES[node.name] if raised else None


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def _source(notebook: Notebook, statement: Statement) -> str:
    lines = notebook.cells[statement.cell].split("\n")
    return "\n".join(lines[_first_line(statement.node) - 1 : statement.node.end_lineno])


def _needs(notebook: Notebook, index: int) -> tuple[str, ...]:
    """The imports of the chapter so far, and what the stub's signature reads."""
    installs = [i for i, cell in enumerate(notebook.cells) if BOOTSTRAP in cell]
    before = [s for s in notebook.statements[:index] if s.cell not in installs]

    imports = [s for s in before if isinstance(s.node, ast.Import | ast.ImportFrom)]
    needed, _ = needed_before(before, notebook.statements[index].reads)

    both = [s for s in before if s in imports or s in needed]
    return tuple(dict.fromkeys(_source(notebook, s) for s in both))


def solved(stub: Stub) -> str:
    """Return the stub with the solution in it, between the marks that nbgrader cuts out.

    Args:
        stub: of an exercise.

    Returns:
        The function's source. It calls nothing of the package.
    """
    raise_ = next(n for n in stub.node.body if isinstance(n, ast.Raise))
    head = stub.source.split("\n")[: raise_.lineno - _first_line(stub.node)]

    # The solution is a function inside the stub, called with the stub's arguments.
    arguments = [a.arg for a in stub.node.args.posonlyargs + stub.node.args.args]
    arguments += [f"{a.arg}={a.arg}" for a in stub.node.args.kwonlyargs]
    call = f"return {stub.exercise.reference.__name__}({', '.join(arguments)})"

    body = f"### BEGIN SOLUTION\n{solution(stub.exercise)}\n\n{call}\n### END SOLUTION"
    return "\n".join([*head, textwrap.indent(body, "    ")])


def solution(exercise: Exercise) -> str:
    """Return the package's solution, with all that it needs of the package, without docstrings.

    Args:
        exercise: which.

    Returns:
        Source that imports nothing of detlearn.

    Raises:
        ValueError: if two files of the package use one name for different things.
    """
    reference = inspect.unwrap(exercise.reference)
    pieces: dict[str, str] = {}

    for name, source in _own_code(reference.__module__, reference.__name__):
        if pieces.setdefault(name, source) != source:
            raise ValueError(f"{exercise.name}: the package has two different {name}")

    return "\n\n".join(dict.fromkeys(pieces.values()))


def _own_code(module: str, name: str) -> Iterator[tuple[str, str]]:
    """(name, source) of what a name of a module needs, what comes first first."""
    source = _without_checks(inspect.getsource(importlib.import_module(module)))
    notebook = parse(module, [source])  # a module is a notebook of one cell

    taken, _ = needed_before(notebook.statements, {name})
    wanted = {read for statement in taken for read in statement.reads}

    for statement in taken:
        node = statement.node
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            continue

        # In place of an import from the package stands what it imports.
        if isinstance(node, ast.ImportFrom) and node.module.startswith("detlearn"):
            for alias in node.names:
                if (alias.asname or alias.name) in wanted:
                    yield from _own_code(node.module, alias.name)
            continue

        if isinstance(node, ast.Import | ast.ImportFrom):
            # A line for each name: two files may take the same one in other company.
            for alias in node.names:
                bound = bound_by(alias)
                if bound in wanted:
                    yield bound, import_of(node, alias)
            continue

        text = _without_docstrings(notebook, statement)
        for bound in statement.binds:
            yield bound, text


def _without_checks(source: str) -> str:
    """Take out the lines that refuse bad input; they would bring half the package with them."""
    checks = [
        statement
        for function in ast.parse(source).body
        if isinstance(function, ast.FunctionDef) and not function.name.startswith("_check")
        for statement in function.body
        if isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("_check")
    ]

    # From the last line up, so that the numbers hold.
    lines = source.split("\n")
    for check in reversed(checks):
        del lines[check.lineno - 1 : check.end_lineno]
    return "\n".join(lines)


def import_of(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    """Return an import of one name alone.

    Args:
        node: the import.
        alias: one of its names.

    Returns:
        A line of source.
    """
    if isinstance(node, ast.Import):
        return ast.unparse(ast.Import(names=[alias]))
    return ast.unparse(ast.ImportFrom(module=node.module, names=[alias], level=node.level))


def _without_docstrings(notebook: Notebook, statement: Statement) -> str:
    node, source = statement.node, _source(notebook, statement)
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        return source

    # Those of the functions inside it as well; from the last line up, so that the numbers hold.
    inside = [each for each in ast.walk(node) if isinstance(each, ast.FunctionDef | ast.ClassDef)]
    docstrings = [each.body[0] for each in inside if ast.get_docstring(each) is not None]
    first, lines = _first_line(node), source.split("\n")
    for docstring in sorted(docstrings, key=lambda each: each.lineno, reverse=True):
        del lines[docstring.lineno - first : docstring.end_lineno - first + 1]
    return "\n".join(lines)
