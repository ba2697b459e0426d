"""Views of the package, looked at from outside and from inside; see `beside_a_view`."""

from __future__ import annotations

import ast
import inspect
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import detlearn
from detlearn.check import EXERCISES
from detlearn.check.engine import expected_answer, judge
from detlearn.grading.view import base, make_view, visible_packages

HERE = Path(__file__).parent
PACKAGE = Path(detlearn.__file__).parent
SEED = 7
LINES = 5  # of a function's body that must not be found together


class Beside:
    """A process beside views; use it in a ``with``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Beside:
        packages = self.folder / "packages"
        packages.mkdir()
        for path in visible_packages():
            (packages / path.name).symlink_to(path)
        program = [sys.executable, "-I", "-S", str(HERE / "beside_a_view.py")]
        self.process = subprocess.Popen(
            [*program, str(packages), str(HERE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.folder,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def look(self, name: str, view: Path) -> dict[str, Any]:
        """Return what is found from inside."""
        exercise = EXERCISES[name]
        cases = exercise.ladder(SEED)
        expected = [expected_answer(exercise, case) for case in cases]
        asked = [replace(case, note="", expected=None) for case in cases]

        job = (str(view), name, pickle.dumps(asked), pickle.dumps(expected))
        pickle.dump(job, self.process.stdin)
        self.process.stdin.flush()
        found = pickle.loads(pickle.load(self.process.stdout))

        answers = pickle.loads(found.pop("answers"))
        asked = [case for case in cases if case.rung != "cause"]
        verdicts = {each: judge(exercise, asked, said) for each, said in answers.items()}
        return {**found, "verdicts": verdicts}


def trouble(name: str, folder: Path, beside: Beside) -> list[str]:
    """Make a view, look at it from all sides, and say what is wrong with it."""
    view = folder / name
    view.mkdir()
    write_view(view, name)

    found = beside.look(name, view)
    said = [f"{key}: {found[key]}" for key in ("foreign", "operators", "agreeing") if found[key]]
    said += [f"{each} is not right: {v}" for each, v in found["verdicts"].items() if not v.points]
    said += [] if found["verdicts"] else ["there are no right answers to ask"]
    said += leaks(name, view)
    return said


def write_view(folder: Path, name: str, given: frozenset[str] = frozenset()) -> None:
    """Write what a sandbox has of the package, and what comes with a task, as files."""
    texts = base() | make_view(name, given)
    for module, text in texts.items():
        is_package = any(other.startswith(f"{module}.") for other in texts)
        path = folder / module.replace(".", "/")
        path = path / "__init__.py" if is_package else path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# ---- the text ----


def leaks(name: str, view: Path) -> list[str]:
    """Say which files of a view hold lines of the solution, of the cases or of wrong answers."""
    texts = {
        path: "\n".join(_lines(path.read_text()))
        for path in sorted(view.rglob("*"))
        if path.is_file()
    }
    said = [f"{path} is no file of Python" for path in texts if path.suffix != ".py"]

    for origin, piece in _secrets(name):
        said += [
            f"{path} holds {origin}: {piece!r}" for path, text in texts.items() if piece in text
        ]
    return said


def _secrets(name: str) -> Iterator[tuple[str, str]]:
    """Where a piece of text is from, and the piece: some lines that must not be found."""
    exercise = EXERCISES[name]

    # What the book shows as the solution, and the file of cases and wrong answers.
    sources = [
        inspect.getsource(inspect.unwrap(f)) for f in (exercise.reference, *exercise.solution)
    ]
    sources.append(inspect.getsource(sys.modules[exercise.cases.__module__]))

    for source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and node.name not in GIVEN.get(name, ()):
                yield from ((node.name, piece) for piece in _pieces(node))


def _pieces(function: ast.FunctionDef) -> Iterator[str]:
    lines = _lines("\n".join(map(ast.unparse, function.body)))
    for first in range(max(1, len(lines) - LINES + 1)):
        piece = "\n".join(lines[first : first + LINES])
        # A single short line, such as a return of nothing, is no secret.
        if len(lines) >= 3 or len(piece) > 40:
            yield piece


def _lines(source: str) -> list[str]:
    """The code of a file, a statement a line, without comments, docstrings and indents."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return [line.strip() for line in ast.unparse(tree).splitlines() if line.strip()]


# Of a solution, the functions that the exercise allows, or that an allowed one needs.
OF_IOU = ("box_area", "paired_iou", "intersection_and_union", "ratio")
GIVEN = {
    "box_iou": ("box_area",),
    "yolov1_loss": ("encode_boxes",),
    **dict.fromkeys(("giou_loss", "diou_loss", "ciou_loss"), OF_IOU),
}
