"""The package in pieces: what stands at the top level of its modules, and what each piece needs.

What a statement needs is read from its names, those of modules and of re-exports followed to where
they are defined. Docstrings, comments, the annotations of functions and the lines that refuse bad
input, ``_check_boxes(boxes)``, are left out.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from detlearn.grading.slicing import DEFINITIONS, IMPORTS, Statement, bound_by

PACKAGE = Path(__file__).parents[1]
OUT = ("check", "cli", "grading")  # rooms that are no part of any answer
IN = "check/debugging"  # but this one: a page imports its list of causes

Part = tuple[str, str]  # a module and one of its names; a module itself has the name ""


@dataclass(frozen=True)
class Module:
    """A file of the package.

    Attributes:
        name: with dots.
        is_package: whether the file is an ``__init__.py``.
        statements: at its top level, bare.
        imports: name → the part that a top-level import gives.
        parts: name → the statements that bind it, other than imports.
    """

    name: str
    is_package: bool
    statements: list[Statement] = field(default_factory=list)
    imports: dict[str, Part] = field(default_factory=dict)
    parts: dict[str, list[Statement]] = field(default_factory=dict)

    def import_lines(self, names: Collection[str], *, of_package: bool = True) -> Iterator[str]:
        """Yield imports of one name each.

        Args:
            names: that are wanted.
            of_package: whether what comes from the package itself is wanted, too.
        """
        for node in (statement.node for statement in self.statements):
            for alias in node.names if isinstance(node, IMPORTS) else ():
                foreign = not self.imports[bound_by(alias)][0].startswith("detlearn")
                if bound_by(alias) in names and (of_package or foreign):
                    parts = {**vars(node), "names": [alias]}
                    yield ast.unparse(type(node)(**parts))


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


def _read(file: Path) -> Module:
    module = Module(module_name("detlearn" / file), file.name == "__init__.py")
    for node in ast.parse((PACKAGE / file).read_text(encoding="utf-8")).body:
        statement = Statement(0, _Bare().visit(node))
        module.statements.append(statement)

        if isinstance(node, IMPORTS):
            module.imports.update(_imported(node))
            continue
        for bound in given_by(statement):
            module.parts.setdefault(bound, []).append(statement)
    return module


def given_by(statement: Statement) -> set[str]:
    """Return the names that a statement gives a value, other than by an import."""
    if isinstance(statement.node, IMPORTS):
        return set()
    # Most are definitions, which need no look into them.
    return statement.surely if isinstance(statement.node, DEFINITIONS) else statement.binds


class _Bare(ast.NodeTransformer):
    """Takes out what is not needed to run."""

    def visit_ClassDef(self, node: ast.ClassDef | ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        node.body = [each for each in node.body if not _refuses(each)] or [ast.Pass()]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.visit_ClassDef(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node


def _refuses(node: ast.stmt) -> bool:
    """Whether a line refuses bad input; it would bring half the package with it."""
    return isinstance(node, ast.Expr) and ast.unparse(node).startswith("_check")


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Part]]:
    """What each name is that an import binds."""
    for alias in node.names:
        bound = bound_by(alias)
        if isinstance(node, ast.ImportFrom):
            yield bound, (node.module or "", alias.name)
        else:
            yield bound, (alias.name if alias.asname else bound, "")


def home(function: Callable) -> Part:
    """Return the part that a function of the package is."""
    function = inspect.unwrap(function)
    return function.__module__, function.__name__


def _part(module: str, name: str) -> Part | None:
    """Follow a name to the module that defines it; None if it comes from somebody else."""
    if module.partition(".")[0] not in ("detlearn", "torchvision"):
        return None

    inner = f"{module}.{name}".rstrip(".")
    if inner in modules():
        return inner, ""
    if module in modules() and name in modules()[module].imports:
        return _part(*modules()[module].imports[name])
    return module, name


@functools.cache
def needs(module: str, name: str) -> frozenset[Part]:
    """Return what a part needs of the package, and of torchvision.

    In doubt, as where a module is handed on as a whole, it needs what is no part of a module.
    """
    if module not in modules():
        return frozenset()

    of_module = modules()[module]
    found: set[Part | None] = set()
    for statement in of_module.parts.get(name, ()):
        inside = [node for node in ast.walk(statement.node) if isinstance(node, IMPORTS)]
        imports = of_module.imports | dict(pair for node in inside for pair in _imported(node))

        for read in statement.reads | {bound for node in inside for bound, _ in _imported(node)}:
            if read in imports:
                found |= _used(imports[read], read, statement)
            elif read in of_module.parts:
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


def is_there(module: str, name: str) -> bool:
    """Whether a part is defined in the package."""
    return module in modules() and name in modules()[module].parts


def together(part: Part, before: Collection[Part] = ()) -> list[Part]:
    """Return a part and all that it needs, what is needed first first.

    Args:
        part: of the package.
        before: those that are there already.
    """
    found: list[Part] = []
    for needed in sorted(needs(*part) - {part}):
        if needed not in (*before, *found):
            found += together(needed, (*before, *found, part))
    return [*found, part]
