"""Of a notebook, only the statements that an exercise needs.

A student's notebook trains networks, draws figures and installs packages. To grade one function
none of this has to run. `handed_in` finds the calls ``check.<exercise>(<argument>)``; `slice_for`
starts at the names that the argument reads and takes, of the top-level statements before the
call, those that bind these names, then those that bind what they read in turn. Names are resolved
by Python's own symbol tables, so a local variable of a function is never taken for a global one.

A statement counts as binding a name if it assigns, imports or defines it, or stores into it
(``table[3] = 4``); a method call (``names.append(3)``) does not. Names that are bound several times
bring all bindings, in order.

Earlier calls of `check` inside the slice (``box_iou = check.box_iou(box_iou)``) are replaced by
calls of `HANDED`, which the grader provides.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

HANDED = "__handed_in__"
# %%time and its like run the rest of their cell as Python; other cell magics do not.
PYTHON_MAGICS = ("time", "timeit", "capture", "prun")
SHELL_LINE = re.compile(r"\s*([%!?]|[\w, .\[\]]+=\s*[%!]|[\w.]+\?{1,2}\s*$)")
IMPLIED = {"__name__", "__file__", "__builtins__", "__doc__", HANDED}


@dataclass
class Statement:
    """A top-level statement.

    Attributes:
        cell: index of its code cell.
        node: its syntax tree.
        binds: names that it binds or stores into.
        reads: global names that it reads, at once or when a function of it is called.
        hidden: it may bind any name (``from … import *``).
    """

    cell: int
    node: ast.stmt
    binds: set[str]
    reads: set[str]
    hidden: bool = False


@dataclass
class Notebook:
    """The statements of a notebook.

    Attributes:
        name: of the file.
        cells: source of each code cell, lines that are not Python blanked.
        statements: of all cells, in order.
        broken: cell → (line, what is wrong), where a cell is no Python.
    """

    name: str
    cells: list[str]
    statements: list[Statement] = field(default_factory=list)
    broken: dict[int, tuple[int, str]] = field(default_factory=dict)


@dataclass
class Slice:
    """What must run to get at the function that was handed in.

    Attributes:
        statements: to execute, in order, as (cell, tree).
        argument: the expression that was handed to the check, as (cell, tree).
        missing: names that are read and bound nowhere.
    """

    statements: list[tuple[int, ast.stmt]]
    argument: tuple[int, ast.expr]
    missing: set[str]


def parse(name: str, cells: Sequence[str]) -> Notebook:
    """Split cells into statements.

    Args:
        name: of the notebook.
        cells: their sources; lines with %magics and !commands are left out.

    Returns:
        The notebook; cells that are no Python are listed in `broken`.
    """
    notebook = Notebook(name, [])
    for index, source in enumerate(cells):
        source, tree = _parse_cell(source)
        notebook.cells.append(source)
        if isinstance(tree, SyntaxError):
            notebook.broken[index] = (tree.lineno or 1, tree.msg or "invalid syntax")
        else:
            notebook.statements += [_statement(index, node) for node in tree.body]
    return notebook


def _parse_cell(source: str) -> tuple[str, ast.Module | SyntaxError]:
    first = source.lstrip().partition("\n")[0]
    if first.startswith("%%"):
        python = first[2:].split(" ")[0].strip() in PYTHON_MAGICS
        source = source.replace(first, "pass", 1) if python else ""
    try:
        return source, _tree(source)
    except SyntaxError:
        # Only now: a line of Python may begin with % too, inside brackets or a long string.
        source = "\n".join(map(_blank_if_shell, source.split("\n")))
    try:
        return source, _tree(source)
    except SyntaxError as error:
        return source, error


def _tree(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, absurd nesting
        raise SyntaxError(str(error) or type(error).__name__) from None


def _blank_if_shell(line: str) -> str:
    if not SHELL_LINE.match(line):
        return line
    return line[: len(line) - len(line.lstrip())] + "pass"


def _statement(cell: int, node: ast.stmt) -> Statement:
    table = symtable.symtable(ast.unparse(node), "cell", "exec")
    binds = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    reads = {s.get_name() for s in table.get_symbols() if s.is_referenced()}
    for inner in _scopes(table):
        for symbol in inner.get_symbols():
            if symbol.is_global():
                (binds if symbol.is_assigned() else reads).add(symbol.get_name())
    stars = [n for n in ast.walk(node) if isinstance(n, ast.ImportFrom) and n.names[0].name == "*"]
    return Statement(cell, node, binds | set(_stored_into(node)), reads, hidden=bool(stars))


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for inner in table.get_children():
        yield inner
        yield from _scopes(inner)


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it that run when it runs."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _outside_functions(child)


def _stored_into(node: ast.stmt) -> Iterator[str]:
    """The names in front of ``table[3] = …`` and ``thing.part = …``."""
    for found in _outside_functions(node):
        if isinstance(found, ast.Subscript | ast.Attribute) and not isinstance(found.ctx, ast.Load):
            root: ast.expr = found
            while isinstance(root, ast.Subscript | ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name):
                yield root.id


class Checks:
    """Recognises calls of `check`, under whatever names the notebook imports it."""

    def __init__(self, notebook: Notebook, exercises: Collection[str]) -> None:
        self.exercises = exercises
        self.packages, self.modules = {"detlearn"}, {"check"}
        self.functions: dict[str, str] = {}
        for statement in notebook.statements:
            for node in ast.walk(statement.node):
                if isinstance(node, ast.Import):
                    self._learn_import(node)
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    self._learn_from(node)

    def _learn_import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name == "detlearn" and alias.asname:
                self.packages.add(alias.asname)
            if alias.name == "detlearn.check" and alias.asname:
                self.modules.add(alias.asname)

    def _learn_from(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if node.module == "detlearn" and alias.name == "check" and alias.asname:
                self.modules.add(alias.asname)
            # Under its own name it would be hidden by the learner's function.
            if node.module == "detlearn.check" and alias.name in self.exercises and alias.asname:
                self.functions[alias.asname] = alias.name

    def exercise(self, node: ast.AST) -> str | None:
        """The exercise that a call hands a function to, or None."""
        if not isinstance(node, ast.Call) or self.argument(node) is None:
            return None
        called = node.func
        if isinstance(called, ast.Name):
            return self.functions.get(called.id)
        if not isinstance(called, ast.Attribute) or called.attr not in self.exercises:
            return None
        return called.attr if self._is_module(called.value) else None

    def _is_module(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self.modules
        of_package = isinstance(node, ast.Attribute) and node.attr == "check"
        return of_package and isinstance(node.value, ast.Name) and node.value.id in self.packages

    @staticmethod
    def argument(call: ast.Call) -> ast.expr | None:
        """What is handed in, or None for a call without it."""
        named = [keyword.value for keyword in call.keywords if keyword.arg == "function"]
        return call.args[0] if call.args else (named[0] if named else None)


def handed_in(notebook: Notebook, exercises: Collection[str]) -> dict[str, tuple[int, ast.expr]]:
    """Where each exercise is handed in; of several calls the last counts.

    Args:
        notebook: as parsed.
        exercises: names.

    Returns:
        exercise → (index of the statement, the argument's expression).
    """
    checks, found = Checks(notebook, exercises), {}
    for index, statement in enumerate(notebook.statements):
        for node in _outside_functions(statement.node):
            if name := checks.exercise(node):
                found[name] = index, checks.argument(node)
    return found


def slice_for(notebook: Notebook, exercise: str, exercises: Collection[str]) -> Slice:
    """What an exercise needs.

    Args:
        notebook: as parsed.
        exercise: one that is handed in.
        exercises: all names, to recognise other calls of `check`.

    Returns:
        The slice.
    """
    at, argument = handed_in(notebook, exercises)[exercise]
    checks = Checks(notebook, exercises)
    rename = _Rename(checks)
    before = list(notebook.statements[:at])
    call = notebook.statements[at]
    if not isinstance(call.node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr):
        before.append(call)  # a block that may define the function and hand it in
    wanted = _reads(argument)
    taken = take(before, wanted)
    bound = set().union(*(s.binds for s in taken)) | set(dir(builtins)) | IMPLIED
    bound |= checks.modules | checks.packages
    wanted |= set().union(*(s.reads for s in taken))
    return Slice(
        statements=[(s.cell, rename.of(s.node)) for s in taken],
        argument=(call.cell, rename.of(argument)),
        missing=set() if any(s.hidden for s in taken) else wanted - bound,
    )


def take(statements: Sequence[Statement], names: Collection[str]) -> list[Statement]:
    """The statements that bind names, and those that bind what these read, and so on.

    Args:
        statements: to choose from.
        names: that are needed.

    Returns:
        The statements, in their order.
    """
    wanted, taken = set(names), {i for i, s in enumerate(statements) if s.hidden}
    while True:
        more = {i for i, s in enumerate(statements) if i not in taken and s.binds & wanted}
        if not more:
            return [statements[i] for i in sorted(taken)]
        taken |= more
        for i in more:
            wanted |= statements[i].reads


def _reads(expression: ast.expr) -> set[str]:
    return _statement(0, ast.Expr(expression)).reads


class _Rename(ast.NodeTransformer):
    """``check.giou_loss(f)`` becomes ``HANDED("giou_loss", f)``."""

    def __init__(self, checks: Checks) -> None:
        self.checks = checks

    def of(self, node: ast.AST) -> ast.AST:
        return ast.fix_missing_locations(self.visit(deepcopy(node)))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name, argument = self.checks.exercise(node), self.checks.argument(node)
        self.generic_visit(node)
        if name is None:
            return node
        arguments = [ast.Constant(name), argument]
        call = ast.Call(ast.Name(HANDED, ast.Load()), arguments, [])
        return ast.copy_location(call, node)


def syntax_trouble(notebook: Notebook, words: Collection[str]) -> str:
    """The sentence about a cell that is no Python and mentions one of some words, or ""."""
    for cell, (line, message) in notebook.broken.items():
        for word in sorted(words):
            if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", notebook.cells[cell]):
                return (
                    f"code cell {cell + 1} of {notebook.name} has a syntax error in line {line} "
                    f"({message}); {word} is needed from it"
                )
    return ""
