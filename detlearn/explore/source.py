"""Show the package's own source in a notebook, so that no chapter holds a copy of it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable


class Source:
    """Source code that a notebook shows with highlighting, and a terminal as plain text."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __repr__(self) -> str:
        return self.code

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```"


def source(*functions: Callable) -> Source:
    """The source of functions or classes as it stands in the package, without their docstrings.

    Args:
        functions: one or more functions or classes.

    Returns:
        An object that displays itself. The docstring is left out because the chapter around it
        says the same at greater length; ``help(function)`` shows it.

    Raises:
        ValueError: if none is given.
    """
    if not functions:
        raise ValueError("source() needs at least one function or class")
    return Source("\n\n".join(_without_docstrings(function) for function in functions))


def _without_docstrings(function: Callable) -> str:
    code = textwrap.dedent(inspect.getsource(function)).rstrip()
    lines = code.splitlines()
    for node in reversed(list(ast.walk(ast.parse(code)))):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or ast.get_docstring(node) is None:
            continue
        first, last = node.body[0].lineno, node.body[0].end_lineno
        while last < len(lines) and not lines[last].strip() and len(node.body) > 1:
            last += 1  # the blank lines after it
        del lines[first - 1 : last]
    return "\n".join(lines)
