"""Of a notebook, only the statements that an exercise needs.

A student's notebook trains networks, draws figures and installs packages. To grade one function
none of this has to run. `handed_in` finds the calls ``check.<exercise>(<argument>)``; `slice_for`
starts at the names that the argument reads and follows each to the statements that give it its
value, then those to the names that they read.

A name is followed as Python would: to the *last* statement before the call that surely binds it,
and to those after that one that may bind or change it. So a helper called ``area`` is the student's
``def area``, not the loop of an earlier cell whose variable has that name. What a function reads
counts where the function is called: at the check, or in a statement that runs before.

Where in doubt, less runs:

- a loop, a ``with`` or another block that binds a name on its way takes no ``def`` of that name
  away;
- that a statement passes a value on to a function, ``shuffle(order)``, is not taken for a change.

Either may be wrong for some notebook. `slice_for` with ``whole=True`` decides them the other way;
the grader asks that slice if the first one's function is not right.

Earlier calls of `check` inside the slice (``box_iou = check.box_iou(box_iou)``) are replaced by
calls of `HANDED`, which the grader provides.
"""

from __future__ import annotations

import ast
import builtins
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

from detlearn.grading.statements import (
    BLOCKS,
    FUNCTIONS,
    Names,
    Notebook,
    Statement,
    outside_functions,
    statement_of,
)

HANDED = "__handed_in__"
# What a notebook's names are besides those that its cells bind.
IMPLIED = {"__name__", "__file__", "__builtins__", "__doc__", "display", HANDED}
# A notebook of thousands of statements that call each other's functions: from then on, only the
# moment of the check counts.
MOST_MOMENTS = 5_000


@dataclass
class Slice:
    """What must run to get at the function that was handed in.

    Attributes:
        statements: to execute, in order, as (cell, tree).
        argument: the expression that was handed to the check, as (cell, tree).
        missing: names that are read and bound nowhere.
        earlier: exercises that are handed in inside the slice.
    """

    statements: list[tuple[int, ast.stmt]]
    argument: tuple[int, ast.expr]
    missing: set[str]
    earlier: set[str]


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
        """Return the exercise that a call hands a function to, or None."""
        if not isinstance(node, ast.Call) or self.argument(node) is None:
            return None

        called = node.func
        if isinstance(called, ast.Name):
            return self.functions.get(called.id)
        if not isinstance(called, ast.Attribute) or called.attr not in self.exercises:
            return None
        return called.attr if self._is_module(called.value) else None

    def decorates(self, decorator: ast.expr) -> str | None:
        """Return the exercise of a decorator, as ``@check.giou_loss`` above a function, or None."""
        call = ast.Call(decorator, [ast.Constant(None)], [])
        return None if isinstance(decorator, ast.Call) else self.exercise(call)

    def _is_module(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self.modules
        of_package = isinstance(node, ast.Attribute) and node.attr == "check"
        return of_package and isinstance(node.value, ast.Name) and node.value.id in self.packages

    @staticmethod
    def argument(call: ast.Call) -> ast.expr | None:
        """Return what is handed in, or None for a call without it; a cause and a cure together."""
        by_name = {keyword.arg: keyword.value for keyword in call.keywords}
        pair = [*call.args, *(by_name[name] for name in ("cause", "cure") if name in by_name)]
        if len(pair) == 2:
            return ast.copy_location(ast.Tuple(pair, ast.Load()), call)
        named = [keyword.value for keyword in call.keywords if keyword.arg == "function"]
        return call.args[0] if call.args else (named[0] if named else None)


def handed_in(notebook: Notebook, exercises: Collection[str]) -> dict[str, tuple[int, ast.expr]]:
    """Find where each exercise is handed in; of several calls the last counts.

    Args:
        notebook: as parsed.
        exercises: names.

    Returns:
        exercise → (index of the statement, the argument's expression).
    """
    checks, found = Checks(notebook, exercises), {}

    for index, statement in enumerate(notebook.statements):
        for node in outside_functions(statement.node):
            if name := checks.exercise(node):
                found[name] = index, checks.argument(node)
            for name in filter(None, map(checks.decorates, getattr(node, "decorator_list", []))):
                found[name] = index, ast.copy_location(ast.Name(node.name, ast.Load()), node)

    return found


def slice_for(
    notebook: Notebook, exercise: str, exercises: Collection[str], *, whole: bool = False
) -> Slice:
    """Take what an exercise needs.

    Args:
        notebook: as parsed.
        exercise: one that is handed in.
        exercises: all names, to recognise other calls of `check`.
        whole: take what is in doubt, too.

    Returns:
        The slice.
    """
    at, argument = handed_in(notebook, exercises)[exercise]
    checks = Checks(notebook, exercises)
    rename = _Rename(checks)

    before = list(notebook.statements[:at])
    call = notebook.statements[at]
    if isinstance(call.node, (*BLOCKS, *FUNCTIONS, ast.ClassDef)):
        before.append(call)  # it may define the function and hand it in

    wanted = statement_of(call.cell, ast.Expr(argument)).reads
    taken = take(before, wanted, whole=whole)

    bound = set(dir(builtins)) | IMPLIED | checks.modules | checks.packages
    for statement in taken:
        wanted |= statement.reads
        bound |= statement.now.binds | statement.later.binds

    return Slice(
        statements=[(s.cell, rename.of(s.node)) for s in taken],
        argument=(call.cell, rename.of(argument)),
        missing=set() if any(s.hidden for s in taken) else wanted - bound,
        earlier=rename.found - {exercise},
    )


def take(
    statements: Sequence[Statement], names: Collection[str], *, whole: bool = False
) -> list[Statement]:
    """Take the statements that give names their values, and what these need in turn.

    Args:
        statements: to choose from, in order.
        names: that are needed after the last of them.
        whole: take what is in doubt, too.

    Returns:
        The statements, in their order.
    """
    history = _History(statements, whole=whole)
    needed = history.needed(names)

    if whole:
        # Whoever looks at a value may change it or hand it on to someone who does.
        while more := history.lookers(needed) - needed:
            reads = {name for i in more for name in statements[i].now.reads}
            needed |= more | history.needed(reads)

    return [statements[i] for i in sorted(needed)]


class _History:
    """What happens to each name, in the order of the statements.

    Args:
        statements: of the notebook, up to where the function is handed in.
        whole: take what is in doubt, too.
    """

    def __init__(self, statements: Sequence[Statement], *, whole: bool) -> None:
        self.statements, self.whole = statements, whole
        self.binds: dict[str, list[int]] = defaultdict(list)
        self.changes: dict[str, list[int]] = defaultdict(list)
        self.tells: dict[str, list[int]] = defaultdict(list)
        self.carriers = _carriers(statements)

        by_call = _effects(statements)
        for i, statement in enumerate(statements):
            # What it does itself, and what the functions do that it calls.
            for names in (statement.now, *(by_call[name] for name in statement.calls)):
                for name in names.binds:
                    self.binds[name].append(i)
                for name in names.changes:
                    self.changes[name].append(i)
                for name in names.tells:
                    self.tells[name].append(i)

    def giving(self, name: str, before: int) -> Iterator[int]:
        """Yield the statements that give a name the value that it has before a statement."""
        found = list(self._binding(name, before))
        yield from found

        since = min(found, default=0)
        yield from self._last_of(self.changes[name], name, since, before)

        # A module that is told something, as in torch.manual_seed(0), is no different after it.
        if not all(self.statements[i].is_import for i in found):
            yield from self._last_of(self.tells[name], name, since, before)

    def _last_of(self, events: Sequence[int], name: str, since: int, before: int) -> Iterator[int]:
        """Yield the last of some statements, and those before it that it does not bring along."""
        for position in range(bisect_left(events, before) - 1, -1, -1):
            index = events[position]
            if index < since:
                return
            yield index

            # One that reads the name itself needs, in turn, what gave it its value before.
            if name in self.statements[index].now.reads:
                return

    def _binding(self, name: str, before: int) -> Iterator[int]:
        binds = self.binds[name]
        earlier = binds[: bisect_left(binds, before)]

        for position in range(len(earlier) - 1, -1, -1):
            statement = self.statements[earlier[position]]
            if not self.whole and self._passes_by(name, statement, earlier[:position]):
                continue
            yield earlier[position]
            if name in statement.surely:
                return

    def _passes_by(self, name: str, statement: Statement, earlier: Sequence[int]) -> bool:
        """Whether a block binds a name on its way that is a function's or a class's before it."""
        if not isinstance(statement.node, BLOCKS) or name in statement.defines:
            return False
        definite = (i for i in reversed(earlier) if name in self.statements[i].surely)
        last = next(definite, None)
        return last is not None and _is_definition(self.statements[last].node, name)

    def needed(self, names: Collection[str]) -> set[int]:
        """Return the statements that names need after the last statement.

        Each is looked at together with the moments at which functions of it may be called: what a
        function reads is the value of that moment.
        """
        end = len(self.statements)
        ahead: list[tuple[int, int]] = []
        seen: set[tuple[int, int]] = set()

        def look_at(indices: Iterable[int], moment: int) -> None:
            for index in indices:
                # Where no function comes along, all moments are one.
                many = index not in self.carriers or len(seen) > MOST_MOMENTS
                pair = index, end if many else moment
                if pair not in seen:
                    seen.add(pair)
                    ahead.append(pair)

        look_at((i for i, statement in enumerate(self.statements) if statement.hidden), end)
        for name in names:
            look_at(self.giving(name, end), end)

        while ahead:
            index, moment = ahead.pop()
            statement = self.statements[index]

            # What it reads when it runs, and may hand on to the moment of the call.
            for name in statement.now.reads:
                given = list(self.giving(name, index))
                look_at(given, index)
                look_at(given, moment)

            # What its functions read when they are called.
            for name in statement.later.reads:
                look_at(self.giving(name, moment), moment)

        return {index for index, _ in seen}

    def lookers(self, taken: Collection[int]) -> set[int]:
        """Return the statements that read what is data and was made by some others."""
        made = {
            name
            for i in taken
            for name in self.statements[i].now.binds - self.statements[i].defines
            if not _is_constant(self.statements[i].node)
        }
        return {i for i, s in enumerate(self.statements) if s.now.reads & made}


def _carriers(statements: Sequence[Statement]) -> set[int]:
    """The statements whose values may be functions of the notebook, or hold some."""
    found: set[int] = set()
    names: set[str] = set()

    for i, statement in enumerate(statements):
        if statement.later.reads or statement.now.reads & names:
            found.add(i)
            names |= statement.now.binds | statement.now.changes | statement.now.tells

    return found


def _effects(statements: Sequence[Statement]) -> dict[str, Names]:
    """Per name of a function: what a call of it binds (by ``global``), changes and tells."""
    effects: dict[str, Names] = defaultdict(Names)
    definitions = [s for s in statements if s.defines and s.later.reads | s.later.binds]

    # A function may have its effect through another one, so until nothing is added.
    grown = True
    while grown:
        grown = False
        for statement in definitions:
            for inner in (statement.later, *(effects[name] for name in statement.later.reads)):
                for name in statement.defines:
                    grown |= _add(inner, effects[name])

    return effects


def _add(some: Names, to: Names) -> bool:
    """Add to names all but what is read; returns whether there was something new."""
    before = len(to.binds) + len(to.changes) + len(to.tells)
    to.binds |= some.binds
    to.changes |= some.changes
    to.tells |= some.tells
    return len(to.binds) + len(to.changes) + len(to.tells) > before


def _is_definition(node: ast.stmt, name: str) -> bool:
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return isinstance(node, definitions) and node.name == name


def _is_constant(node: ast.stmt) -> bool:
    """Whether a statement binds a number or a text, which nothing can change."""
    return isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)


class _Rename(ast.NodeTransformer):
    """``check.giou_loss(f)`` becomes ``HANDED("giou_loss", f)``."""

    def __init__(self, checks: Checks) -> None:
        self.checks = checks
        self.found: set[str] = set()

    def of(self, node: ast.AST) -> ast.AST:
        """Return a changed copy."""
        return ast.fix_missing_locations(self.visit(deepcopy(node)))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = self.checks.exercise(node)
        if name is None:
            return node
        return ast.copy_location(self._handed(name, self.checks.argument(node)), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.decorator_list = [self._decorator(d) for d in node.decorator_list]
        return node

    def _decorator(self, decorator: ast.expr) -> ast.expr:
        """``@check.giou_loss`` becomes ``@lambda f: HANDED("giou_loss", f)``."""
        name = self.checks.decorates(decorator)
        if name is None:
            return decorator
        only = ast.arguments([], [ast.arg("f")], kwonlyargs=[], kw_defaults=[], defaults=[])
        handed = self._handed(name, ast.Name("f", ast.Load()))
        return ast.copy_location(ast.Lambda(only, handed), decorator)

    def _handed(self, name: str, argument: ast.expr) -> ast.Call:
        self.found.add(name)
        return ast.Call(ast.Name(HANDED, ast.Load()), [ast.Constant(name), argument], [])


def syntax_trouble(notebook: Notebook, words: Collection[str]) -> str:
    """Return the sentence about a cell that is no Python and mentions one of some words, or ""."""
    for cell, (line, message) in notebook.broken.items():
        for word in sorted(words):
            if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", notebook.cells[cell]):
                return (
                    f"code cell {cell + 1} of {notebook.name} has a syntax error in line {line} "
                    f"({message}); {word} is needed from it"
                )
    return ""
