"""What stands where a function or a class of the package was cut out, in the view of a sandbox.

It can be imported, named, and be a base class; whoever calls it reads who has to write it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

WRITE_IT = "write it yourself, with the operations of torch"


class NotYours(Exception):
    """What was cut out is called."""


class Missing:
    """Stands for what was cut out.

    Args:
        name: of the function or class.
        why: completes "detlearn's own box_iou …".
        package: whose it is.
    """

    def __init__(self, name: str, why: str, package: str = "detlearn") -> None:
        self._name = name
        self._said = f"{package}'s own {name} {why}; {WRITE_IT}"

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Raise `NotYours`, whatever the arguments."""
        raise NotYours(self._said)

    __getitem__ = __call__  # a table of the package's may be missing, too; this ends loops over it

    def __getattr__(self, name: str) -> Any:
        # Python itself asks for names such as __wrapped__, and goes on without them.
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotYours(self._said)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type]:
        """As a base: the class can be written, an object of it cannot be made."""
        return (type(self._name, (), {"__new__": lambda *_, **__: self()}),)

    def __instancecheck__(self, instance: Any) -> bool:
        """Say no: an object of it cannot be made."""
        return False

    def __or__(self, other: Any) -> Missing:
        """As in the annotation ``Tensor | Target``."""
        return self

    __ror__ = __or__


def anything(module: str, why: str) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` for a module in which everything is missing.

    Args:
        module: its name.
        why: as of `Missing`.

    Returns:
        A function from a name to the submodule of that name, else to what stands for it.
    """

    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        with suppress(ModuleNotFoundError):
            return importlib.import_module(f"{module}.{name}")
        return Missing(name, why, module.partition(".")[0])

    return find
