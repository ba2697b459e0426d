"""A course for nbgrader: one assignment per chapter, released, graded and exported by nbgrader.

An exercise is found in a chapter by its stub: a function of the exercise's name that raises
NotImplementedError. It becomes three cells: the text before it; the stub, below it the solution,
which nbgrader cuts out for the release; and a locked test cell with the points. Before them stand
the chapter's imports and what the stubs' signatures read (found by `slicing`), and nothing that
trains.

The test cell asks the function that stands there and leaves its name alone; a second, hidden test
asks it with the course's private seed.
"""

from __future__ import annotations

import ast
import json
import secrets
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detlearn.check import EXERCISES
from detlearn.check.engine import Exercise
from detlearn.grading.pieces import code, home
from detlearn.grading.slicing import IMPORTS, Notebook, Statement, needed_before, parse
from detlearn.machine.checkpoints import write_atomically

# How the cell begins that installs the package where it is missing: not for an assignment.
BOOTSTRAP = "# Makes sure that the package detlearn is here"

CONFIG = """\
# What nbgrader is told about this course; see https://nbgrader.readthedocs.io for more.
c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "object_detection"
c.ClearSolutions.code_stub = {"python": "# write the function above"}
c.ExecutePreprocessor.timeout = 120  # seconds for one cell
"""
SOLVED = """\
{stub}


### BEGIN SOLUTION
def _solution():
{code}

    return {reference}


{name} = _solution()
### END SOLUTION"""
TEST = """\
from detlearn.nbgrader.strict import require

require("{name}", {name})
### BEGIN HIDDEN TESTS
require("{name}", {name}, seed={seed})
### END HIDDEN TESTS"""
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


@dataclass(frozen=True)
class Stub:
    """An exercise as a chapter states it."""

    exercise: Exercise
    text: str  # the Markdown from its heading on
    source: str  # of the function
    needs: tuple[str, ...]  # statements that must run before it


@dataclass(frozen=True)
class Chapter:
    """What an export takes from a chapter: its title and its stubs, in order."""

    title: str
    stubs: tuple[Stub, ...]


def write_course(course: Path, chapters: Path, seed: int | None = None) -> list[Path]:
    """Write a course folder.

    Args:
        course: the folder; made if it is missing.
        chapters: folder of the book's notebooks.
        seed: of the hidden tests; None draws one.

    Returns:
        The assignments' notebooks.

    Raises:
        FileNotFoundError: if there is no folder of chapters.
        ValueError: if no chapter states an exercise, or an assignment is there already.
    """
    if not chapters.is_dir():
        raise FileNotFoundError(f"no folder of chapters at {chapters}; name it by --chapters")

    seed = secrets.randbelow(2**31) if seed is None else seed
    found = {path.stem: read_chapter(path) for path in sorted(chapters.glob("*.ipynb"))}
    found = {name: chapter for name, chapter in found.items() if chapter.stubs}
    if not found:
        raise ValueError(f"no chapter in {chapters} states an exercise")

    # An instructor may have changed an assignment: it is never written over.
    paths = [course / "source" / name / f"{name}.ipynb" for name in found]
    if taken := [path for path in paths if path.exists()]:
        raise ValueError(f"{taken[0]} is there already; delete it to have it written anew")

    if not (course / "nbgrader_config.py").exists():
        write_atomically(course / "nbgrader_config.py", CONFIG.encode())
    for path, chapter in zip(paths, found.values()):
        write_atomically(path, json.dumps(assignment(chapter, seed), indent=1).encode())

    return paths


# ---- a chapter ----


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
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no notebook: {error!r}") from error

    texts = "\n".join(source for kind, source in cells if kind == "markdown")
    headings = (line[2:] for line in texts.splitlines() if line.startswith("# "))

    # Statements are found in the code; the text before one, by the numbers of the cells.
    notebook = parse(path.name, [source if kind == "code" else "" for kind, source in cells])

    stubs = []
    for index, statement in enumerate(notebook.statements):
        if exercise := _stated_by(statement.node):
            text = _text_before(cells[: statement.spot[0]], exercise)
            source = _source(notebook, statement)
            stubs.append(Stub(exercise, text, source, _needs(notebook, index)))

    return Chapter(next(headings, path.stem).strip(), tuple(stubs))


def _stated_by(node: ast.stmt) -> Exercise | None:
    if not isinstance(node, ast.FunctionDef) or node.name not in EXERCISES:
        return None
    raised = [n for n in node.body if isinstance(n, ast.Raise) and "NotImplemented" in ast.dump(n)]
    return EXERCISES[node.name] if raised else None


def _text_before(cells: list[tuple[str, str]], exercise: Exercise) -> str:
    """The Markdown from the exercise's heading to its stub; without one, the last cell of it."""
    texts = [source for kind, source in cells if kind == "markdown"]
    _, heading, text = "\n\n".join(texts).rpartition(f"### Exercise {exercise.number}:")
    return heading + text if heading else "".join(texts[-1:])


def _source(notebook: Notebook, statement: Statement) -> str:
    node = statement.node
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return "\n".join(notebook.cells[statement.spot[0]].split("\n")[first - 1 : node.end_lineno])


def _needs(notebook: Notebook, index: int) -> tuple[str, ...]:
    """The imports of the chapter so far, and what the stub's signature reads."""
    installs = [i for i, cell in enumerate(notebook.cells) if BOOTSTRAP in cell]
    before = [s for s in notebook.statements[:index] if s.spot[0] not in installs]

    needed, _ = needed_before(before, notebook.statements[index].reads)
    both = [s for i, s in enumerate(before) if i in needed or isinstance(s.node, IMPORTS)]
    return tuple(dict.fromkeys(_source(notebook, s) for s in both))


# ---- an assignment ----


def assignment(chapter: Chapter, seed: int) -> dict[str, Any]:
    """Return the notebook of an assignment.

    Args:
        chapter: with its stubs.
        seed: of the hidden tests.

    Returns:
        The notebook as JSON-able data, in nbformat 4.5.
    """
    # What several exercises need is there once.
    needs = "\n".join(dict.fromkeys(need for stub in chapter.stubs for need in stub.needs))

    cells = [_cell("markdown", "title", f"# {chapter.title}: exercises")]
    if needs.strip():
        cells.append(_cell("code", "needed", needs))

    for stub in chapter.stubs:
        name, points = stub.exercise.name, stub.exercise.points
        text = stub.text or f"Exercise {stub.exercise.number}: `{name}`"
        test = TEST.format(name=name, seed=seed)
        cells.append(_cell("markdown", f"{name}-text", text))
        cells.append(_cell("code", name, solved(stub), solution=True))
        cells.append(_cell("code", f"{name}-test", test, points=points))

    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _cell(
    kind: str, name: str, source: str, *, solution: bool = False, points: int | None = None
) -> dict[str, Any]:
    """A cell: one to write a solution in, or a locked one, with points if it is a test."""
    nbgrader: dict[str, Any] = {
        "schema_version": 3,
        "grade_id": name,
        "cell_type": kind,
        "locked": not solution,
        "solution": solution,
        "task": False,
        "grade": points is not None,
    }
    if points is not None:
        nbgrader["points"] = points

    cell = {"cell_type": kind, "id": name[:64], "metadata": {"nbgrader": nbgrader}}
    cell["source"] = source
    if kind == "code":
        cell |= {"outputs": [], "execution_count": None}  # it has not run yet
    return cell


def solved(stub: Stub) -> str:
    """Return a stub, and below it the solution, between the marks that nbgrader cuts out.

    Args:
        stub: of an exercise.

    Returns:
        Source that gives the stub's name to the package's function. It calls nothing of the
        package.
    """
    answer = home(stub.exercise.reference)
    return SOLVED.format(
        stub=stub.source,
        code=textwrap.indent(code(answer), "    "),
        reference=answer[1],
        name=stub.exercise.name,
    )
