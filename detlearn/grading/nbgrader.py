"""A course for nbgrader: one assignment per chapter, released, graded and exported by nbgrader.

Every exercise becomes three cells: its text, a solution cell (nbgrader cuts the solution out for
the release) and a locked test cell with the points. The test cell asks the function that stands
there and leaves its name alone; a second, hidden test asks it with the course's private seed.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from detlearn.grading.exports import Chapter, Stub, read_chapter, solved
from detlearn.machine.checkpoints import write_atomically

CONFIG = """\
# What nbgrader is told about this course; see https://nbgrader.readthedocs.io for more.
c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "object_detection"
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("write this function")'}
c.ExecutePreprocessor.timeout = 120  # seconds for one cell
"""
TEST = """\
from detlearn.grading.strict import require

require("{name}", {name})
### BEGIN HIDDEN TESTS
require("{name}", {name}, seed={seed})
### END HIDDEN TESTS"""
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


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

    cells = [_cell("markdown", "title", f"# {chapter.title}: exercises", locked=True)]
    if needs.strip():
        cells.append(_cell("code", "needed", needs, locked=True))
    for stub in chapter.stubs:
        cells += _cells_of(stub, seed)

    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _cells_of(stub: Stub, seed: int) -> list[dict[str, Any]]:
    name = stub.exercise.name
    test = TEST.format(name=name, seed=seed)
    text = stub.text or f"Exercise {stub.exercise.number}: `{name}`"
    return [
        _cell("markdown", f"{name}-text", text, locked=True),
        _cell("code", name, solved(stub), solution=True),
        _cell("code", f"{name}-test", test, locked=True, points=stub.exercise.points),
    ]


def _cell(
    kind: str,
    name: str,
    source: str,
    *,
    locked: bool = False,
    solution: bool = False,
    points: int | None = None,
) -> dict[str, Any]:
    nbgrader: dict[str, Any] = {"schema_version": 3, "grade_id": name, "cell_type": kind}
    nbgrader |= {"locked": locked, "solution": solution, "task": False, "grade": points is not None}
    if points is not None:
        nbgrader["points"] = points

    cell = {"cell_type": kind, "id": name[:64], "metadata": {"nbgrader": nbgrader}}
    cell["source"] = source
    if kind == "code":
        cell |= {"outputs": [], "execution_count": None}  # it has not run yet
    return cell
