"""The exercises of a chapter, without the chapter: for graders that run whole notebooks.

An exercise is found in a chapter by its stub: a function of the exercise's name that raises
NotImplementedError. The export keeps the text before it, the imports, what the stub itself needs
(found by `slicing`), and nothing that trains.
"""

from __future__ import annotations

import ast
import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

from detlearn.check import EXERCISES
from detlearn.check.engine import Exercise
from detlearn.grading.pieces import home, modules, together
from detlearn.grading.slicing import IMPORTS, Notebook, Statement, needed_before, parse

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

    texts = [source for kind, source in zip(kinds, sources) if kind == "markdown"]
    headings = (line[2:] for line in "\n".join(texts).splitlines() if line.startswith("# "))

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

    needed, _ = needed_before(before, notebook.statements[index].reads)
    both = [s for i, s in enumerate(before) if i in needed or isinstance(s.node, IMPORTS)]
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
    """Return the package's solution, with all that it needs of the package.

    Args:
        exercise: which.

    Returns:
        Source that imports nothing of detlearn, without comments and docstrings.

    Raises:
        ValueError: if two files of the package use one name for different things.
    """
    code: dict[str, str] = {}
    for module, name in together(home(exercise.reference)):
        statements = modules()[module].parts[name]
        reads = {read for statement in statements for read in statement.reads}

        lines = [*modules()[module].import_lines(reads, of_package=False)]
        imports = {line.split()[-1]: line for line in lines}
        for bound, text in (imports | {name: "\n".join(s.text for s in statements)}).items():
            if code.setdefault(bound, text) != text:
                raise ValueError(f"{exercise.name}: the package has two different {bound}")

    return "\n\n".join(dict.fromkeys(code.values()))
