"""The package as a sandbox sees it: whole where it tells nothing, cut where it holds an answer.

A learner's function runs beside a view of the package made for its exercise. The view holds

- the functions that the exercise allows, and what they need;
- the rooms in `OPEN`, less what in them uses something that is cut;
- what the sandbox itself runs (`WHOLE`);
- numbers and words that a module gives a name.

In place of every other function and class stands a `Missing`, which raises when it is called. What
is cut is not in the source, so nothing finds it there: no import, no subclass, no reading of files.
Docstrings, comments and annotations are left out of what is kept in pieces.

What a statement needs is read from its names, those of modules and of re-exports followed to where
they are defined. Where that is in doubt (a name of torchvision, a module handed on as a whole) it
counts as cut. Statements that give nothing a name, which the package does not have, are left out.

Of torchvision every name is missing, but for functions that the exercise allows: these are the
package's own, which are called the same and return the same. Its compiled operators are not there.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import inspect
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from detlearn.check import EXERCISES
from detlearn.check.engine import Exercise
from detlearn.grading.exports import import_of
from detlearn.grading.slicing import DEFINITIONS, IMPORTS, Statement, bound_by

PACKAGE = Path(__file__).parents[1]
OPEN = (
    *("detlearn.data.toytown", "detlearn.machine.progress", "detlearn.samples"),
    "detlearn.check.debugging.causes",
)
OUT = ("check", "cli", "grading")  # rooms of which nothing else is shown
# What runs in the sandbox; it knows no answers.
WHOLE = (
    "check/engine/*.py",
    *("grading/__init__.py", "grading/missing.py", "grading/inside.py", "grading/wire.py"),
    *("grading/calls.py", "grading/slicing.py", "grading/submissions.py"),
)
# Where torchvision has functions that the package has, too.
COUNTERPARTS = ("torchvision.ops", "torchvision.ops.boxes")
# What a notebook's cells may import, with what these require.
VISIBLE = ("torch", "numpy", "scipy", "matplotlib", "pillow", "tqdm", "safetensors", "ipywidgets")

Part = tuple[str, str]  # a module and one of its names

HEAD = """\
from __future__ import annotations

from detlearn.grading.missing import Missing
"""
ALL_MISSING = """\
from detlearn.grading.missing import anything

__getattr__ = anything(__name__, {why!r})
"""


def make_view(exercise: str, folder: Path, *, given: Collection[str] = ()) -> None:
    """Write the packages `detlearn` and `torchvision` as the function of an exercise may see them.

    Args:
        exercise: its name.
        folder: an empty folder that exists.
        given: other exercises, whose functions stand there whole: where a learner's own was wrong,
            the notebook goes on with the package's.

    Raises:
        ValueError: if there is no such exercise.
    """
    if unknown := {exercise, *given} - EXERCISES.keys():
        raise ValueError(f"no exercise is called {min(unknown)!r}")

    asked = EXERCISES[exercise]
    allowed = _allowed(asked, given)
    kept = _kept(asked, allowed)
    files = {}

    for module in _modules().values():
        files[module.file] = _text(module, kept, asked)

    for pattern in WHOLE:
        for path in sorted(PACKAGE.glob(pattern)):
            files[path.relative_to(PACKAGE.parent)] = path.read_text(encoding="utf-8")

    # The same in every view.
    files[Path("detlearn/check/__init__.py")] = ALL_MISSING.format(why="is not for an exercise")

    for file, name in _files_of_torchvision().items():
        files[file] = ALL_MISSING.format(why=f"is not for {_label(asked)}")
        if name in COUNTERPARTS:
            lines = [f"from {home} import {own}" for home, own in sorted(allowed & kept)]
            files[file] = "\n".join([*lines, files[file]])

    for file, text in files.items():
        _write(folder, file, text)


def _write(folder: Path, file: Path, text: str) -> None:
    """Write a file that any user may read, in folders that they may enter."""
    path = folder / file
    for parent in reversed(file.parents[:-1]):
        (folder / parent).mkdir(exist_ok=True)
        (folder / parent).chmod(0o755)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


# ---- what is kept ----


@dataclass(frozen=True)
class _Module:
    """A file of the package.

    Attributes:
        name: with dots.
        file: its path, from the folder in which the package lies.
        statements: at its top level.
        imports: name → the module, and the name in it, that a top-level import gives; for a module
            itself the second is "".
        parts: name → the statements that bind it, other than imports.
    """

    name: str
    file: Path
    statements: list[ast.stmt]
    imports: dict[str, Part]
    parts: dict[str, list[ast.stmt]]


@functools.cache
def _modules() -> dict[str, _Module]:
    """The files of the package that a view may show, by name."""
    paths = [
        *(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in OUT),
        *(PACKAGE / "check" / "debugging").glob("*.py"),  # a page imports the list of causes
    ]
    modules = (_read(path.relative_to(PACKAGE.parent)) for path in sorted(paths))
    return {module.name: module for module in modules}


def _read(file: Path) -> _Module:
    name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    statements = ast.parse((PACKAGE.parent / file).read_text(encoding="utf-8")).body
    module = _Module(name, file, statements, {}, {})

    for node in statements:
        if isinstance(node, IMPORTS):
            module.imports.update(_imported(node))
        for bound in _binds(node):
            module.parts.setdefault(bound, []).append(node)

    return module


@functools.cache
def _binds(node: ast.stmt) -> frozenset[str]:
    """The names that a statement gives a value, other than by an import."""
    if isinstance(node, IMPORTS):
        return frozenset()

    # Most are of these two kinds, which need no look into them.
    if isinstance(node, DEFINITIONS):
        return frozenset({node.name})
    if isinstance(node, ast.Assign) and all(isinstance(n, ast.Name) for n in node.targets):
        return frozenset(target.id for target in node.targets)
    return frozenset(_bare(node).binds)


@functools.cache
def _bare(node: ast.stmt) -> Statement:
    """A statement without docstrings and the annotations of functions, which are taken out."""
    return Statement(0, _Bare().visit(node))


class _Bare(ast.NodeTransformer):
    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.visit_ClassDef(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Part]]:
    """What each name is that an import binds."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, (node.module or "", alias.name)
        else:
            bound = bound_by(alias)
            yield bound, (alias.name if alias.asname else bound, "")


def _part(module: str, name: str) -> Part | None:
    """Follow a name to the module that defines it; None if it comes from somebody else."""
    if module.partition(".")[0] not in ("detlearn", "torchvision"):
        return None

    inner = f"{module}.{name}".rstrip(".")
    if inner in _modules():
        return inner, ""
    if module in _modules() and name in _modules()[module].imports:
        return _part(*_modules()[module].imports[name])
    return module, name


@functools.cache
def _needs(module: str, name: str) -> frozenset[Part]:
    """What a part needs of the package, and of torchvision."""
    if module not in _modules():
        return frozenset()

    home = _modules()[module]
    found: set[Part | None] = set()
    for statement in map(_bare, home.parts.get(name, ())):
        inside = [node for node in ast.walk(statement.node) if isinstance(node, IMPORTS)]
        imports = home.imports | dict(pair for node in inside for pair in _imported(node))

        for read in statement.reads | {bound for node in inside for bound, _ in _imported(node)}:
            if read in imports:
                found |= _used(imports[read], read, statement)
            elif read in home.parts:
                found.add((module, read))

    return frozenset(found - {None})


def _used(imported: Part, name: str, statement: Statement) -> set[Part | None]:
    """What a statement uses of what it knows by an imported name: of a module, its parts."""
    part = _part(*imported)
    if part is None or part[1]:
        return {part}

    nodes = [node for node in ast.walk(statement.node) if isinstance(node, ast.Attribute)]
    of_it = {n.attr for n in nodes if isinstance(n.value, ast.Name) and n.value.id == name}
    return {_part(part[0], attribute) for attribute in of_it} or {part}


def _allowed(exercise: Exercise, given: Collection[str]) -> set[Part]:
    """The functions that may be called."""
    # Where two modules have one of that name, the exercise's own is meant.
    module, _ = _home(exercise.reference)
    found = {(module, name) for name in exercise.allowed & _modules()[module].parts.keys()}
    elsewhere = exercise.allowed - {name for _, name in found}
    found |= {
        (module.name, name)
        for module in _modules().values()
        for name in elsewhere & module.parts.keys()
        if not module.name.startswith("detlearn.check")
    }
    return found | {_home(EXERCISES[name].reference) for name in given}


def _home(function: Callable) -> Part:
    function = inspect.unwrap(function)
    return function.__module__, function.__name__


def _kept(exercise: Exercise, allowed: Collection[Part]) -> set[Part]:
    """What the view holds, in pieces."""
    # An allowed function brings along whatever it needs, except the answer.
    kept: set[Part] = set()
    ahead = [*allowed]
    while ahead:
        part = ahead.pop()
        if part not in kept and part != _home(exercise.reference):
            kept.add(part)
            ahead += _needs(*part)

    kept = {part for part in kept | (_open() - _answers().keys()) if _is_defined(*part)}

    # What uses something that is not there goes, until nothing more does.
    while broken := {part for part in kept if not _needs(*part) <= kept}:
        kept -= broken
    return kept


def _is_defined(module: str, name: str) -> bool:
    return module in _modules() and name in _modules()[module].parts


@functools.cache
def _open() -> frozenset[Part]:
    """What every exercise may see, where it uses nothing that is cut."""
    return frozenset(
        (module.name, name)
        for module in _modules().values()
        for name, statements in module.parts.items()
        if f"{module.name}.".startswith(tuple(f"{room}." for room in OPEN))
        or ("check" not in module.file.parts and all(map(_is_constant, statements)))
    )


def _is_constant(node: ast.stmt) -> bool:
    """Whether a statement gives a name to numbers or words."""
    try:
        value = ast.literal_eval(node.value) if isinstance(node, ast.Assign) else None
    except ValueError:
        return False
    return value is not None and "\\n" not in repr(value)


@functools.cache
def _answers() -> dict[Part, Exercise]:
    """The functions that are an exercise's, each with the first exercise that it belongs to."""
    found = {_home(exercise.reference): exercise for exercise in EXERCISES.values()}
    for exercise in EXERCISES.values():
        for function in exercise.solution:
            found.setdefault(_home(function), exercise)
    return found


# ---- how it is written ----


def _text(module: _Module, kept: Collection[Part], asked: Exercise) -> str:
    """A file of the view."""
    whole = [
        node
        for node in module.statements
        if _binds(node) and all((module.name, name) in kept for name in _binds(node))
    ]
    stay = {name for node in whole for name in _binds(node)}
    read = {name for node in whole for name in _bare(node).reads}
    reexports = module.file.name == "__init__.py"

    imports = [
        import_of(node, alias)
        for node in module.statements
        if isinstance(node, IMPORTS)
        for alias, (bound, part) in zip(node.names, _imported(node))
        if bound in read or (reexports and part[0].startswith("detlearn"))
    ]
    stubs = [
        f"{name} = Missing({name!r}, {_why((module.name, name), asked)!r})"
        for name in module.parts
        if name not in stay and not name.startswith("_")
    ]
    return "\n".join([HEAD, *imports, *stubs, *map(_source, whole), ""])


@functools.cache
def _source(node: ast.stmt) -> str:
    return ast.unparse(_bare(node).node)


def _why(part: Part, asked: Exercise) -> str:
    owner = _answers().get(part)
    return f"belongs to {_label(owner)}" if owner else f"is not for {_label(asked)}"


def _label(exercise: Exercise) -> str:
    return f"exercise {exercise.number} ({exercise.name})"


@functools.cache
def _files_of_torchvision() -> dict[Path, str]:
    """Its files of Python, each with the module's name."""
    (folder,) = importlib.util.find_spec("torchvision").submodule_search_locations
    files = [path.relative_to(Path(folder).parent) for path in sorted(Path(folder).rglob("*.py"))]
    return {file: ".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files}


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
