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
    """Return the source of functions or classes as it stands in the package, less its docstrings.

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
    """Return a function's source without the docstrings in it; comments stay."""
    code = textwrap.dedent(inspect.getsource(function)).rstrip()
    lines = code.splitlines()

    # A body that is nothing but a docstring keeps it: Python needs one.
    documented = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and ast.get_docstring(node) is not None
        and len(node.body) > 1
    ]

    # From the last to the first, so that the lines before keep their numbers.
    for node in sorted(documented, key=lambda node: -node.lineno):
        # The blank lines that set the docstring off go with it.
        docstring = node.body[0]
        first, last = docstring.lineno, docstring.end_lineno
        while not lines[last].strip():
            last += 1
        del lines[first - 1 : last]

    return "\n".join(lines)
