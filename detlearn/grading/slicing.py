"""Of a notebook, only the statements that an exercise needs.

A student's notebook trains networks, draws figures and installs packages. To grade one function
none of this has to run. `places` finds the calls ``check.<exercise>(…)`` and goes up from each to
the statements that define what it reads: the last ones that do, and in turn those that define what
these read.

Less is taken where in doubt. A loop, a ``with`` or another block is left out unless it holds a
``def``, a ``class`` or an import of a name that is read: what a page's loop calls ``area`` takes no
student's function of that name away. What only changes a value, ``table[3] = 4`` or
``row.append(4)``, is left out as well. The sandbox can afford that: where a function is not right,
the grader runs all statements before the check, as the student did.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypedDict

# %%time and its like run the rest of their cell as Python; other cell magics do not.
PYTHON_MAGICS = ("time", "timeit", "capture", "prun")
SHELL_LINE = re.compile(r"\s*([%!?]|[\w, .\[\]]+=\s*[%!]|[\w.]+\?{1,2}\s*$)")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
# What a name was before one of these is forgotten.
ANEW = (*DEFINITIONS, *IMPORTS, ast.Assign, ast.AnnAssign)
TOO_DEEP = (RecursionError, MemoryError, ValueError, SyntaxError)

Spot = tuple[int, int]  # the index of a code cell, and that of a statement in it


@dataclass(frozen=True)
class Statement:
    """A top-level statement; a function's local names, a class's attributes do not count."""

    spot: Spot
    node: ast.stmt

    @cached_property
    def text(self) -> str:
        """Its source, without comments."""
        return ast.unparse(self.node)

    @cached_property
    def scopes(self) -> list[symtable.SymbolTable]:
        """Its own scope, then those of the functions and classes in it."""
        try:
            found = [symtable.symtable(self.text, "statement", "exec")]
        except TOO_DEEP:
            return []
        for scope in found:  # it grows meanwhile
            found += scope.get_children()
        return found

    @cached_property
    def binds(self) -> set[str]:
        """Names that it gives a value."""
        if isinstance(self.node, DEFINITIONS):
            return {self.node.name}
        if isinstance(self.node, IMPORTS):
            return {bound_by(alias) for alias in self.node.names}
        if isinstance(self.node, ast.AnnAssign) and self.node.value is None:  # ``x: int`` alone
            return set()

        symbols = self.scopes[0].get_symbols() if self.scopes else []
        return {each.get_name() for each in symbols if each.is_assigned() or each.is_imported()}

    @cached_property
    def defines(self) -> set[str]:
        """Names that it binds; of a block, those of the imports and definitions in it alone."""
        if isinstance(self.node, (*ANEW, ast.AugAssign)):
            return self.binds
        below = [node for node in ast.walk(self.node) if isinstance(node, DEFINITIONS + IMPORTS)]
        return set().union(*(Statement(self.spot, node).binds for node in below))

    @property
    def is_future(self) -> bool:
        """Whether it says how all code after it is read."""
        return isinstance(self.node, ast.ImportFrom) and self.node.module == "__future__"

    @cached_property
    def reads(self) -> set[str]:
        """Names that it looks up, or its functions when they are called."""
        # ``area = staticmethod(area)`` in a class reads what lies outside of it.
        return {
            symbol.get_name()
            for scope in self.scopes
            for symbol in scope.get_symbols()
            if symbol.is_referenced() and (scope.get_type() != "function" or symbol.is_global())
        }


def bound_by(alias: ast.alias) -> str:
    """Return the name that an import binds for one of what it lists."""
    return alias.asname or alias.name.partition(".")[0]


# ---- a notebook ----


@dataclass
class Notebook:
    """The statements of a notebook."""

    name: str  # of the file
    cells: list[str]  # source of each code cell, lines that are not Python blanked
    statements: list[Statement] = field(default_factory=list)  # of all cells, in order
    # cell → (line, what is wrong), where a cell is no Python
    broken: dict[int, tuple[int, str]] = field(default_factory=dict)

    def python(self) -> list[str]:
        """Return the source of each cell, or "" where that is no Python."""
        return ["" if i in self.broken else cell for i, cell in enumerate(self.cells)]

    def trouble(self, words: Collection[str]) -> str:
        """Return the sentence on a cell that is no Python and has one of some words, or ""."""
        for cell, (line, message) in self.broken.items():
            for word in sorted(words):
                if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", self.cells[cell]):
                    return (
                        f"code cell {cell + 1} of {self.name} has a syntax error in line {line} "
                        f"({message}); {word} is needed from it"
                    )
        return ""


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
            spots = ((index, position) for position in range(len(tree.body)))
            notebook.statements += map(Statement, spots, tree.body)

    return notebook


def _parse_cell(source: str) -> tuple[str, ast.Module | SyntaxError]:
    """The source without what is no Python, and its tree or what is wrong with it."""
    first = source.lstrip().partition("\n")[0]
    if first.startswith("%%"):
        python = first[2:].split(" ")[0].strip() in PYTHON_MAGICS
        source = source.replace(first, "pass", 1) if python else ""

    # A line of Python may begin with % too, inside brackets or a long string: so as it is, first.
    tree = _tree(source)
    if isinstance(tree, SyntaxError):
        source = "\n".join(map(_blank_if_shell, source.split("\n")))
        tree = _tree(source)
    return source, tree


def _tree(source: str) -> ast.Module | SyntaxError:
    try:
        return ast.parse(source)
    except TOO_DEEP as error:  # null bytes and absurd nesting are no SyntaxError
        return error if isinstance(error, SyntaxError) else SyntaxError(str(error))


def _blank_if_shell(line: str) -> str:
    if not SHELL_LINE.match(line):
        return line
    return line[: len(line) - len(line.lstrip())] + "pass"


# ---- what is handed in, and what that needs ----


def check_names(notebook: Notebook, exercises: Collection[str]) -> dict[str, str]:
    """Return the names under which a notebook knows `check`, and exercises of it: alias → what."""
    names = {"check": "check"}
    for statement in notebook.statements:
        for node in ast.walk(statement.node):
            of_check = isinstance(node, ast.ImportFrom) and node.module == "detlearn.check"
            for alias in node.names if isinstance(node, IMPORTS) else ():
                whole = getattr(node, "module", None) or ""
                whole = f"{whole}.{alias.name}".removeprefix(".")
                if alias.asname and whole == "detlearn.check":
                    names[alias.asname] = "check"
                # Under its own name it would be hidden by the learner's function.
                if alias.asname and of_check and alias.name in exercises:
                    names[alias.asname] = alias.name
    return names


def handed_in(
    notebook: Notebook, names: dict[str, str], exercises: Collection[str]
) -> dict[str, int]:
    """Find where each exercise is handed in; of several calls the last counts.

    Args:
        notebook: as parsed.
        names: of `check` in it.
        exercises: names of all.

    Returns:
        exercise → index of the statement that calls ``check.<exercise>(…)``.
    """
    found = {}
    for index, statement in enumerate(notebook.statements):
        for node in _outside_functions(statement.node):
            called = [node.func] if isinstance(node, ast.Call) and node.args + node.keywords else []
            for function in [*called, *getattr(node, "decorator_list", ())]:
                if name := _exercise(function, names, exercises):
                    found[name] = index
    return found


def _exercise(function: ast.expr, names: dict[str, str], exercises: Collection[str]) -> str:
    """The exercise that a called function checks, or ""."""
    match function:
        case ast.Name(id=name) if names.get(name) in exercises:
            return names[name]
        case ast.Attribute(value=ast.Name(id=module), attr=name) if names.get(module) == "check":
            return name if name in exercises else ""
        case ast.Attribute(value=ast.Attribute(attr="check"), attr=name) if name in exercises:
            return name
    return ""


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the node and all below it that run when it runs."""
    ahead = [node]
    for node in ahead:  # it grows meanwhile
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.Lambda)):
            ahead += ast.iter_child_nodes(node)


class Place(TypedDict):
    """Where an exercise stands; such as JSON can hold it."""

    notebook: str  # its name
    at: Spot  # of the statement that hands it in
    needed: list[Spot]  # of the statements that this one needs
    earlier: list[str]  # exercises that are handed in by these
    trouble: str  # the sentence on a cell that is no Python and has a name that nobody defines
    checks: list[str]  # names under which the notebook knows `check`


def places(notebook: Notebook, exercises: Collection[str]) -> dict[str, Place]:
    """Find the exercises that a notebook hands in, and what each needs.

    Args:
        notebook: as parsed.
        exercises: names of all.

    Returns:
        exercise → its place.
    """
    names = check_names(notebook, exercises)
    there = handed_in(notebook, names, exercises)
    statements = notebook.statements

    found = {}
    for exercise, at in there.items():
        reads = statements[at].reads - names.keys()
        needed, undefined = needed_before(statements[:at], reads)
        indices = set(needed)
        found[exercise] = Place(
            notebook=notebook.name,
            at=statements[at].spot,
            needed=[statements[index].spot for index in needed],
            earlier=[other for other, index in there.items() if index in indices],
            trouble=notebook.trouble(undefined - set(dir(builtins))),
            checks=[name for name, what in names.items() if what == "check"],
        )
    return found


def needed_before(
    statements: Sequence[Statement], names: Collection[str]
) -> tuple[list[int], set[str]]:
    """Find the statements that define names, and what these need in turn.

    Args:
        statements: to choose from, in order.
        names: that are read after the last of them.

    Returns:
        The statements' indices, in order, and the names that none of them binds.
    """
    wanted = set(names)
    while True:
        taken: list[int] = []
        needed = wanted
        for index, statement in reversed(list(enumerate(statements))):
            if needed & statement.defines or "*" in statement.defines or statement.is_future:
                taken.append(index)
                forgotten = statement.binds if isinstance(statement.node, ANEW) else set()
                needed = (needed - forgotten) | statement.reads

        # What a function reads may be defined below it, too, until it is called.
        functions = [index for index in taken if statements[index].scopes[1:]]
        more = wanted.union(*(statements[index].reads for index in functions))
        if more == wanted:
            return taken[::-1], needed.difference(*(statements[index].binds for index in taken))
        wanted = more
