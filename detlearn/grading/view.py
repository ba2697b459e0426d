"""The package as a sandbox sees it: what an exercise allows, and a stand-in for everything else.

A learner's function runs beside a base, which asks the questions and is the same for all, and a
view of the package made for its exercise. In the view every module of the package has the names
that it has in truth. Behind a name stands

- the function, if the exercise allows it: with what it needs, as source on its own;
- the value, if it is numbers or words;
- else a `Missing`, which raises when it is called.

What is not there is not in the source, so nothing finds it: no import, no subclass, no reading of
files. Of torchvision every name is missing, but for the functions that the exercise allows: these
are the package's own, which are called the same and return the same. Its compiled operators are not
there.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from detlearn.check import EXERCISES
from detlearn.check.engine import Exercise
from detlearn.grading.pieces import (
    PACKAGE,
    Module,
    Part,
    code,
    home,
    module_name,
    modules,
    together,
)
from detlearn.grading.slicing import Statement

# What runs in the sandbox; it knows no answers.
WHOLE = (
    *("__init__.py", "check/engine/*.py"),
    *("grading/__init__.py", "grading/missing.py", "grading/inside.py", "grading/wire.py"),
    *("grading/calls.py", "grading/loader.py", "grading/slicing.py", "grading/submissions.py"),
)
# What a notebook's cells may import, with what these require.
VISIBLE = ("torch", "numpy", "scipy", "matplotlib", "pillow", "tqdm", "safetensors", "ipywidgets")

ALLOWED = "detlearn.allowed"  # of a view: in each module of it a function that may be called
CAUSES = "detlearn.check.debugging.causes"  # of the checks, the one whose words are no secret
ALL_MISSING = """\
from detlearn.grading.missing import anything

__getattr__ = anything(__name__, {why!r})
"""


@functools.cache
def base() -> dict[str, str]:
    """Return what asks the questions in a sandbox, module → text, the same for every exercise."""
    paths = [path for pattern in WHOLE for path in sorted(PACKAGE.glob(pattern))]
    texts = {
        module_name(path.relative_to(PACKAGE.parent)): path.read_text(encoding="utf-8")
        for path in paths
    }
    return texts | {"detlearn.check": ALL_MISSING.format(why="is not for an exercise")}


@functools.lru_cache(maxsize=256)  # which exercises are given is for submissions to choose
def make_view(exercise: str, given: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the packages `detlearn` and `torchvision` as the function of an exercise may see them.

    Args:
        exercise: its name.
        given: other exercises, whose functions are allowed as well: where a learner's own was
            wrong, the notebook goes on with the package's.

    Returns:
        module → text; of detlearn, those that are not in the base.

    Raises:
        ValueError: if there is no such exercise.
    """
    if unknown := {exercise, *given} - EXERCISES.keys():
        raise ValueError(f"no exercise is called {min(unknown)!r}")

    asked = EXERCISES[exercise]
    allowed = _allowed(asked, given)
    texts = {
        module.name: "\n".join(dict.fromkeys(_lines(module, allowed, asked)))
        for module in modules().values()
    }

    texts[ALLOWED] = ""
    for name, part in allowed.items():
        texts[f"{ALLOWED}.{name}"] = code(part)

    counterparts = [_import(name) for name in sorted(allowed)]
    all_missing = ALL_MISSING.format(why=f"is not for {_label(asked)}")
    for name in _modules_of_torchvision():
        texts[name] = "\n".join([*counterparts, all_missing])
    return texts


def _allowed(exercise: Exercise, given: Collection[str]) -> dict[str, Part]:
    """Name → the function that may be called by it."""
    answer = home(exercise.reference)
    found = {
        name: (module.name, name)
        for module in modules().values()
        for name in exercise.allowed & module.parts.keys()
    }

    # Where two modules have one of that name, the exercise's own is meant, or the one given.
    own = modules()[answer[0]].parts.keys()
    found |= {name: (answer[0], name) for name in exercise.allowed & own}
    for name in given:
        part = home(EXERCISES[name].reference)
        found[part[1]] = part

    # One that needs the answer would bring it along.
    return {name: part for name, part in found.items() if answer not in together(part)}


def _lines(module: Module, allowed: dict[str, Part], asked: Exercise) -> Iterator[str]:
    """A file of the view, name by name."""
    yield "from detlearn.grading.missing import Missing"
    yield from (line for (origin, _), line in module.imports.values() if origin in modules())

    tells_nothing = ".check." not in module.name or module.name == CAUSES
    for name, statements in module.parts.items():
        part = module.name, name
        if allowed.get(name) == part:
            yield _import(name)
        elif tells_nothing and all(map(_is_constant, statements)):
            yield from (statement.text for statement in statements)
        else:
            owner = _answers().get(part)
            why = f"belongs to {_label(owner)}" if owner else f"is not for {_label(asked)}"
            yield f"{name} = Missing({name!r}, {why!r})"


def _import(name: str) -> str:
    return f"from {ALLOWED}.{name} import {name}"


def _is_constant(statement: Statement) -> bool:
    """Whether a statement gives a name to numbers or words."""
    try:
        ast.literal_eval(statement.node.value)
    except (AttributeError, ValueError):
        return False
    return True


@functools.cache
def _answers() -> dict[Part, Exercise]:
    """The functions that are an exercise's, each with the first exercise that it belongs to."""
    found = {home(exercise.reference): exercise for exercise in EXERCISES.values()}
    for exercise in EXERCISES.values():
        for function in exercise.solution:
            found.setdefault(home(function), exercise)
    return found


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
