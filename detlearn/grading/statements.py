"""A notebook as a list of top-level statements, each with the names that it gives and takes.

Two moments are kept apart: when a statement runs, and when a function that it defines is called
later. What a statement binds is seen as Python sees it: a function's local names, a comprehension's
loop variable, a class's attributes are names of their own and bind nothing in the notebook, while
``global``, ``:=``, ``with … as`` and a loop's variable do.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# %%time and its like run the rest of their cell as Python; other cell magics do not.
PYTHON_MAGICS = ("time", "timeit", "capture", "prun")
SHELL_LINE = re.compile(r"\s*([%!?]|[\w, .\[\]]+=\s*[%!]|[\w.]+\?{1,2}\s*$)")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LOOPS = (ast.For, ast.AsyncFor)
IMPORTS = (ast.Import, ast.ImportFrom)
# Statements with statements inside.
BLOCKS = (*LOOPS, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


@dataclass
class Names:
    """The notebook's own names that some code touches.

    Attributes:
        reads: it looks up.
        binds: it gives a value to.
        changes: it stores into, ``table[3] = 4``, ``thing.part = 4``.
        tells: it calls a method of and drops the result, ``names.append(3)``, which may change it.
    """

    reads: set[str] = field(default_factory=set)
    binds: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    tells: set[str] = field(default_factory=set)


@dataclass
class Statement:
    """A top-level statement.

    Attributes:
        cell: index of its code cell.
        node: its syntax tree.
        now: names that it touches when it runs.
        later: names that its functions touch when they are called.
        surely: of the names that it binds, those that it binds whatever happens.
        defines: of the names that it binds, those that a ``def``, ``class`` or ``import`` binds.
        calls: names that it calls itself, as ``setup()`` or as a decorator.
        hidden: it may bind any name (``from … import *``).
    """

    cell: int
    node: ast.stmt
    now: Names = field(default_factory=Names)
    later: Names = field(default_factory=Names)
    surely: set[str] = field(default_factory=set)
    defines: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    hidden: bool = False

    @property
    def reads(self) -> set[str]:
        """Names that it or its functions look up."""
        return self.now.reads | self.later.reads

    @property
    def is_import(self) -> bool:
        """Whether it does nothing but import."""
        return isinstance(self.node, IMPORTS)


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
            notebook.statements += [statement_of(index, node) for node in tree.body]

    return notebook


def _parse_cell(source: str) -> tuple[str, ast.Module | SyntaxError]:
    """The source without what is no Python, and its tree or what is wrong with it."""
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


def statement_of(cell: int, node: ast.stmt) -> Statement:
    """Look through a statement for the names that it gives and takes.

    Args:
        cell: index of its code cell.
        node: its syntax tree.

    Returns:
        The statement. One that is nested too deeply to be looked through touches no name.
    """
    statement = Statement(cell, node)
    try:
        _Look(statement).visit(node)
    except RecursionError:
        return Statement(cell, node)

    return statement


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the node and all below it that run when it runs."""
    yield node
    if not isinstance(node, FUNCTIONS):
        for child in ast.iter_child_nodes(node):
            yield from outside_functions(child)


@dataclass
class _Scope:
    """A place where names live.

    Attributes:
        kind: "notebook", "class", "function" or "comprehension".
        own: names that are its own. A function knows all of them from the start; in a notebook's
            statement and in a class a name is own from the line on that surely binds it.
        outer: names that it declares global.
        later: its code runs when a function is called.
    """

    kind: str
    own: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)
    later: bool = False


class _Look(ast.NodeVisitor):
    """Walks through a statement in the order in which Python runs it."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.scopes = [_Scope("notebook")]

    # Which names are the notebook's

    def _names(self) -> Names:
        """Where to note what the code at hand does: it runs now, or later."""
        return self.statement.later if self.scopes[-1].later else self.statement.now

    def _is_the_notebooks(self, name: str) -> bool:
        """Whether a look at a name, here, finds the notebook's value of it."""
        for depth, scope in enumerate(reversed(self.scopes)):
            if scope.kind == "notebook" or name in scope.outer:
                break
            # A class's names are not seen from the functions in it.
            if name in scope.own and (scope.kind != "class" or depth == 0):
                return False

        # What this very statement has bound before is no value from an earlier one.
        return self.scopes[-1].later or name not in self.scopes[0].own

    def _bind(self, name: str, *, by_definition: bool = False) -> None:
        # What a comprehension binds by := belongs to the scope around it.
        scope = next(s for s in reversed(self.scopes) if s.kind != "comprehension")
        nested = scope is not self.scopes[-1]

        if scope.kind != "notebook" and name not in scope.outer:
            scope.own.add(name)
            return

        self._names().binds.add(name)
        if scope.kind == "notebook":
            if by_definition:
                self.statement.defines.add(name)
            if not nested:
                self._be_sure_of(name)

    def _be_sure_of(self, name: str) -> None:
        self.scopes[0].own.add(name)
        self.statement.surely.add(name)

    # Names

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self._bind(node.id)
        elif isinstance(node.ctx, ast.Load) and self._is_the_notebooks(node.id):
            self._names().reads.add(node.id)

    def visit_Attribute(self, node: ast.Attribute | ast.Subscript) -> None:
        root = _root(node)
        if not isinstance(node.ctx, ast.Load) and root and self._is_the_notebooks(root):
            self._names().changes.add(root)
        self.generic_visit(node)

    visit_Subscript = visit_Attribute

    def visit_Global(self, node: ast.Global) -> None:
        self.scopes[-1].outer |= set(node.names)

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            root = _root(call.func)
            if root and self._is_the_notebooks(root):
                self._names().tells.add(root)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self._note_call(node.func)
        self.generic_visit(node)

    def _note_call(self, called: ast.expr) -> None:
        if isinstance(called, ast.Name) and not self.scopes[-1].later:
            self.statement.calls.add(called.id)

    # Assignments: first the value, then the target

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is None:  # ``x: int`` alone binds nothing
            return
        self.visit(node.value)
        self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name) and self._is_the_notebooks(node.target.id):
            self._names().reads.add(node.target.id)
        self.visit(node.value)
        self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)

        # It may stand where it is not reached, as behind an ``and``.
        sure_before = set(self.statement.surely)
        self.visit(node.target)
        self.statement.surely = sure_before

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.statement.hidden = True
            else:
                name = alias.asname or alias.name.partition(".")[0]
                self._bind(name, by_definition=True)

    visit_Import = visit_ImportFrom = _import

    # Blocks: what is bound in a part that may not run is not sure

    def _visit_all(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _maybe(self, *parts: Sequence[ast.AST]) -> set[str]:
        """Visit parts that may not run; returns what is sure at the end of them."""
        scope = self.scopes[0]
        own_before = set(scope.own)
        sure_before = set(self.statement.surely)

        for part in parts:
            self._visit_all(part)
        found = set(self.statement.surely)

        scope.own = own_before
        self.statement.surely = sure_before
        return found

    def _sure_of(self, *alternatives: set[str]) -> None:
        """Of several ways one is gone: what all of them bind is sure."""
        if len(self.scopes) == 1:
            for name in set.intersection(*alternatives):
                self._be_sure_of(name)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self._sure_of(self._maybe(node.body), self._maybe(node.orelse))

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._maybe(node.body)
        self._maybe(node.orelse)

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._maybe([node.target], node.body)
        self._maybe(node.orelse)

    visit_For = visit_AsyncFor = _for

    def _try(self, node: ast.Try) -> None:
        ends = [self._maybe(node.body, node.orelse)]
        ends += [self._maybe([handler]) for handler in node.handlers]
        self._sure_of(*ends)
        self._visit_all(node.finalbody)

    visit_Try = visit_TryStar = _try

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None:
            self.visit(node.type)

        # The error's name is gone at the end of the handler.
        own = self.scopes[-1].own
        known = node.name in own
        if node.name:
            own.add(node.name)

        self._visit_all(node.body)
        if node.name and not known:
            own.discard(node.name)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        for case in node.cases:
            self._maybe([case])

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self._bind(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self._bind(node.rest)
        self.generic_visit(node)

    # Scopes of their own

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
            self._note_call(decorator)

        self.visit(node.args)
        if node.returns is not None:
            self.visit(node.returns)

        self._enter_function(node.args, node.body)
        self._bind(node.name, by_definition=True)

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)
        self._enter_function(node.args, [node.body])

    def visit_arguments(self, node: ast.arguments) -> None:
        """Defaults and annotations are looked at where the function is defined."""
        self._visit_all([*node.defaults, *(d for d in node.kw_defaults if d is not None)])
        self._visit_all([a.annotation for a in _all_arguments(node) if a.annotation is not None])

    def _enter_function(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        outer = {name for n in _of_this_scope(body) for name in _declared(n, ast.Global)}
        free = {name for n in _of_this_scope(body) for name in _declared(n, ast.Nonlocal)}
        bound = {name for node in _of_this_scope(body) for name in _bound_by(node)}

        own = {argument.arg for argument in _all_arguments(arguments)} | bound

        self.scopes.append(_Scope("function", own - outer - free, outer, later=True))
        self._visit_all(body)
        self.scopes.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
            self._note_call(decorator)
        self._visit_all([*node.bases, *node.keywords])

        # Its body runs now, its methods later.
        self.scopes.append(_Scope("class", later=self.scopes[-1].later))
        self._visit_all(node.body)
        self.scopes.pop()

        self._bind(node.name, by_definition=True)

    def _comprehension(self, node: ast.ListComp | ast.DictComp) -> None:
        first, *others = node.generators
        self.visit(first.iter)

        targets = {name for g in node.generators for name in _bound_by_all(g.target)}
        self.scopes.append(_Scope("comprehension", targets, later=self.scopes[-1].later))
        self._visit_all([*first.ifs, *(part for g in others for part in (g.iter, *g.ifs))])

        if isinstance(node, ast.DictComp):
            self._visit_all([node.key, node.value])
        else:
            self.visit(node.elt)

        self.scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension


def _root(node: ast.expr) -> str | None:
    """The name in front of ``table[3]`` and ``thing.part``; None if there is none."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _all_arguments(node: ast.arguments) -> list[ast.arg]:
    named = [*node.posonlyargs, *node.args, *node.kwonlyargs]
    return named + [argument for argument in (node.vararg, node.kwarg) if argument is not None]


def _of_this_scope(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield all nodes below some that are in no inner function, class or comprehension.

    The inner one itself is yielded. Of a comprehension only := counts, which binds outside of it.
    """
    for node in nodes:
        yield node

        if isinstance(node, COMPREHENSIONS):
            yield from (n.target for n in ast.walk(node) if isinstance(n, ast.NamedExpr))
        elif not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield from _of_this_scope(list(ast.iter_child_nodes(node)))


def _declared(node: ast.AST, kind: type) -> list[str]:
    return node.names if isinstance(node, kind) else []


def _bound_by(node: ast.AST) -> list[str]:
    """The names that a node itself binds in its scope."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return [alias.asname or alias.name.partition(".")[0] for alias in aliases]
        case ast.ExceptHandler(name=str(name)) | ast.MatchMapping(rest=str(name)):
            return [name]
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
    return []


def _bound_by_all(node: ast.AST) -> Iterator[str]:
    for below in ast.walk(node):
        yield from _bound_by(below)
