"""The package in pieces: what stands under a name at the top level of a module, and what it needs.

What a piece needs is read from its names; those that are imported are followed to the module that
defines them. Docstrings, comments, the annotations of functions and the lines that refuse bad
input, ``_check_boxes(boxes)``, are left out.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from detlearn.grading.slicing import DEFINITIONS, IMPORTS, Statement, bound_by

PACKAGE = Path(__file__).parents[1]
OUT = ("check", "cli", "grading", "nbgrader")  # rooms that are no part of any answer
IN = "check/debugging"  # but this one: a page imports its list of causes

Part = tuple[str, str]  # a module and one of its names


@dataclass(frozen=True)
class Module:
    """A file of the package."""

    name: str  # with dots
    # name → where it is from, and a line that imports it alone
    imports: dict[str, tuple[Part, str]] = field(default_factory=dict)
    # name → the statements that bind it, bare
    parts: dict[str, list[Statement]] = field(default_factory=dict)


@functools.cache
def modules() -> dict[str, Module]:
    """Return the modules that may belong to an answer, by name."""
    files = (path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py")))
    shown = (file for file in files if file.parts[0] not in OUT or file.parent == Path(IN))
    found = (_read(file) for file in shown)
    return {module.name: module for module in found}


def module_name(file: Path) -> str:
    """Return a module's name from its file's path below the folder of the packages."""
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


def home(function: Callable) -> Part:
    """Return the part that a function of the package is."""
    function = inspect.unwrap(function)
    return function.__module__, function.__name__


# ---- a file ----


def _read(file: Path) -> Module:
    module = Module(module_name("detlearn" / file))
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    _strip(tree)

    for node in tree.body:
        if isinstance(node, IMPORTS):
            module.imports.update(_imported(node))
            continue
        statement = Statement((0, 0), node)
        for bound in statement.binds:
            module.parts.setdefault(bound, []).append(statement)
    return module


def _strip(tree: ast.Module) -> None:
    """Take out what is not needed to run."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, DEFINITIONS):
            node.body = [each for each in node.body if not _is_idle(each)] or [ast.Pass()]


def _is_idle(node: ast.stmt) -> bool:
    """Whether a line is a text, or refuses bad input; that would bring half the package with it."""
    return isinstance(node, ast.Expr) and ast.unparse(node).startswith(("'", '"', "_check"))


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, tuple[Part, str]]]:
    """What each name is that an import binds."""
    for alias in node.names:
        line = ast.unparse(type(node)(**{**vars(node), "names": [alias]}))
        origin = (node.module, alias.name) if isinstance(node, ast.ImportFrom) else (alias.name, "")
        yield bound_by(alias), (origin, line)


# ---- what belongs together ----


def code(part: Part) -> str:
    """Return a part and all that it needs of the package.

    Args:
        part: of the package.

    Returns:
        Source that imports nothing of detlearn, without comments and docstrings.

    Raises:
        ValueError: if two files of the package use one name for different things.
        KeyError: if something in it reaches the package through a module, as in ``boxes.box_area``.
    """
    found: dict[str, str] = {}
    for module, name in together(part):
        statements = modules()[module].parts[name]
        reads = {read for statement in statements for read in statement.reads}

        texts = {
            bound: line
            for bound, ((origin, _), line) in modules()[module].imports.items()
            if bound in reads and origin not in modules()
        }
        for bound, text in (texts | {name: "\n".join(s.text for s in statements)}).items():
            if found.setdefault(bound, text) != text:
                raise ValueError(f"{part[1]}: the package has two different {bound}")

    return "\n\n".join(dict.fromkeys(found.values()))


@functools.cache
def together(part: Part) -> list[Part]:
    """Return a part and all that it needs, what is needed first first."""
    found: list[Part] = []
    seen: set[Part] = set()

    def take(each: Part) -> None:
        seen.add(each)
        for needed in sorted(_needs(*each)):
            if needed not in seen:
                take(needed)
        found.append(each)

    take(part)
    return found


@functools.cache
def _needs(module: str, name: str) -> set[Part]:
    """What a part needs of the package."""
    imports, parts = modules()[module].imports, modules()[module].parts
    reads = {read for statement in parts[name] for read in statement.reads}

    followed = {_origin(*imports[read][0]) for read in reads & imports.keys()}
    return (followed - {None}) | {(module, read) for read in reads & parts.keys()}


def _origin(module: str, name: str) -> Part | None:
    """Follow a name to the module that defines it; None if it is not of the package."""
    if module not in modules():
        return None
    if name in modules()[module].imports:
        return _origin(*modules()[module].imports[name][0])
    return module, name
