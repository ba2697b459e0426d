"""The package as a sandbox sees it: whole where it tells nothing, cut where it holds an answer.

A learner's function runs beside a base, which asks the questions and is the same for all, and a
view of the package made for its exercise. The view holds

- the functions that the exercise allows, and what they need;
- the rooms in `OPEN`, less what in them uses something that is cut;
- numbers and words that a module gives a name.

In place of every other function and class stands a `Missing`, which raises when it is called. What
is cut is not in the source, so nothing finds it there: no import, no subclass, no reading of files.
What is kept comes in `pieces`; of what these need, a name of torchvision and a module handed on as
a whole count as cut.

Of torchvision every name is missing, but for functions that the exercise allows: these are the
package's own, which are called the same and return the same. Its compiled operators are not there.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Collection
from pathlib import Path

from detlearn.check import EXERCISES
from detlearn.check.engine import Exercise
from detlearn.grading.pieces import (
    PACKAGE,
    Module,
    Part,
    given_by,
    home,
    is_there,
    module_name,
    modules,
    needs,
    together,
)
from detlearn.grading.slicing import Statement

OPEN = (
    *("detlearn.data.toytown", "detlearn.machine.progress", "detlearn.samples"),
    "detlearn.check.debugging.causes",
)
# What runs in the sandbox; it knows no answers.
WHOLE = (
    *("__init__.py", "check/engine/*.py"),
    *("grading/__init__.py", "grading/missing.py", "grading/inside.py", "grading/wire.py"),
    *("grading/calls.py", "grading/slicing.py", "grading/submissions.py"),
)
# Where torchvision has functions that the package has, too.
COUNTERPARTS = ("torchvision.ops", "torchvision.ops.boxes")
# What a notebook's cells may import, with what these require.
VISIBLE = ("torch", "numpy", "scipy", "matplotlib", "pillow", "tqdm", "safetensors", "ipywidgets")

HEAD = """\
from __future__ import annotations

from detlearn.grading.missing import Missing
"""
ALL_MISSING = """\
from detlearn.grading.missing import anything

__getattr__ = anything(__name__, {why!r})
"""


def write_base(folder: Path) -> None:
    """Write what asks the questions in a sandbox, the same for every exercise.

    Args:
        folder: an empty folder that exists.
    """
    files = {file: path.read_text(encoding="utf-8") for file, path in _whole().items()}
    files["detlearn/check/__init__.py"] = ALL_MISSING.format(why="is not for an exercise")

    # Any user may read them.
    for file, text in files.items():
        path = folder / file
        for parent in reversed(Path(file).parents[:-1]):
            (folder / parent).mkdir(exist_ok=True)
            (folder / parent).chmod(0o755)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)


def _whole() -> dict[str, Path]:
    paths = [path for pattern in WHOLE for path in sorted(PACKAGE.glob(pattern))]
    return {str(path.relative_to(PACKAGE.parent)): path for path in paths}


@functools.cache
def make_view(exercise: str, given: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the packages `detlearn` and `torchvision` as the function of an exercise may see them.

    Args:
        exercise: its name.
        given: other exercises, whose functions stand there whole: where a learner's own was wrong,
            the notebook goes on with the package's.

    Returns:
        module → text; of detlearn, those that are not in the base.

    Raises:
        ValueError: if there is no such exercise.
    """
    if unknown := {exercise, *given} - EXERCISES.keys():
        raise ValueError(f"no exercise is called {min(unknown)!r}")

    asked = EXERCISES[exercise]
    allowed = _allowed(asked, given)
    kept = _kept(asked, allowed)
    texts = {module.name: _text(module, kept, asked) for module in modules().values()}

    why = f"is not for {_label(asked)}"
    for name in _modules_of_torchvision():
        lines = [f"from {home} import {own}" for home, own in sorted(allowed & kept)]
        counterparts = lines if name in COUNTERPARTS else []
        texts[name] = "\n".join([*counterparts, ALL_MISSING.format(why=why)])
    return texts


# ---- what is kept ----


def _allowed(exercise: Exercise, given: Collection[str]) -> set[Part]:
    """The functions that may be called."""
    # Where two modules have one of that name, the exercise's own is meant.
    module, _ = home(exercise.reference)
    found = {(module, name) for name in exercise.allowed & modules()[module].parts.keys()}
    elsewhere = exercise.allowed - {name for _, name in found}
    found |= {
        (module.name, name)
        for module in modules().values()
        for name in elsewhere & module.parts.keys()
        if not module.name.startswith("detlearn.check")
    }
    return found | {home(EXERCISES[name].reference) for name in given}


def _kept(exercise: Exercise, allowed: Collection[Part]) -> set[Part]:
    """What the view holds, in pieces."""
    # An allowed function brings along whatever it needs, except the answer.
    answer = home(exercise.reference)
    kept = {part for each in allowed for part in together(each, [answer])}
    kept = {part for part in kept | (_open() - _answers().keys()) if is_there(*part)} - {answer}

    # What uses something that is not there goes, until nothing more does.
    while broken := {part for part in kept if not needs(*part) <= kept}:
        kept -= broken
    return kept


@functools.cache
def _open() -> frozenset[Part]:
    """What every exercise may see, where it uses nothing that is cut."""
    return frozenset(
        (module.name, name)
        for module in modules().values()
        for name, statements in module.parts.items()
        if f"{module.name}.".startswith(tuple(f"{room}." for room in OPEN))
        or (".check." not in module.name and all(map(_is_constant, statements)))
    )


def _is_constant(statement: Statement) -> bool:
    """Whether a statement gives a name to numbers or words."""
    node = statement.node
    try:
        value = ast.literal_eval(node.value) if isinstance(node, ast.Assign) else None
    except ValueError:
        return False
    return value is not None and "\\n" not in repr(value)


@functools.cache
def _answers() -> dict[Part, Exercise]:
    """The functions that are an exercise's, each with the first exercise that it belongs to."""
    found = {home(exercise.reference): exercise for exercise in EXERCISES.values()}
    for exercise in EXERCISES.values():
        for function in exercise.solution:
            found.setdefault(home(function), exercise)
    return found


# ---- how it is written ----


def _text(module: Module, kept: Collection[Part], asked: Exercise) -> str:
    """A file of the view."""
    whole = [
        statement
        for statement in module.statements
        if given_by(statement) and all((module.name, name) in kept for name in given_by(statement))
    ]
    stay = {name for statement in whole for name in given_by(statement)}
    wanted = {name for statement in whole for name in statement.reads}
    if module.is_package:  # what it re-exports, which may be a stub
        parts = module.imports.items()
        wanted |= {name for name, (origin, _) in parts if origin.startswith("detlearn")}

    stubs = [
        f"{name} = Missing({name!r}, {_why((module.name, name), asked)!r})"
        for name in module.parts
        if name not in stay and not name.startswith("_")
    ]
    texts = (statement.text for statement in whole)
    return "\n".join([HEAD, *module.import_lines(wanted), *stubs, *texts, ""])


def _why(part: Part, asked: Exercise) -> str:
    owner = _answers().get(part)
    return f"belongs to {_label(owner)}" if owner else f"is not for {_label(asked)}"


def _label(exercise: Exercise) -> str:
    return f"exercise {exercise.number} ({exercise.name})"


@functools.cache
def _modules_of_torchvision() -> list[str]:
    (folder,) = importlib.util.find_spec("torchvision").submodule_search_locations
    files = [path.relative_to(Path(folder).parent) for path in sorted(Path(folder).rglob("*.py"))]
    return [module_name(file) for file in files]


# ---- other people's packages ----


def visible_packages() -> list[Path]:
    """Return the installed files and folders that the sandbox may show beside a view.

    Returns:
        Those of the packages in `VISIBLE` and of all that they require; what may hold answers,
        such as torchvision, transformers or pycocotools, is not among them.
    """
    found: dict[str, importlib.metadata.Distribution] = {}
    ahead = list(VISIBLE)
    while ahead:
        name = re.sub(r"[-_.]+", "-", ahead.pop()).lower()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another system, say
            continue

        if name not in found:
            found[name] = distribution
            required = [line for line in distribution.requires or () if "extra ==" not in line]
            ahead += [re.match(r"[\w.-]+", line)[0] for line in required]

    tops = {
        Path(distribution.locate_file(file.parts[0]))
        for distribution in found.values()
        for file in distribution.files or ()
        if file.parts[0] not in ("..", "__pycache__")
    }
    return sorted(tops)
