"""While a learner's function runs, the reference implementations are out of bounds.

Every function whose code lies in `detlearn.boxes`, `losses`, `nms`, `metrics`, in the pieces of the
two-stage detectors, in the exercises' own files, in `torchvision.ops` or in what torchvision's own
two-stage detectors are made of gets another ``__code__`` that reports the call and raises
`ReferenceUsed`. Because the function object stays the same, every alias of it is caught, whoever
took it and when. Functions that an exercise allows work, and whatever they call works inside them.
The compiled operators behind torchvision are replaced in torch's dispatcher.

A report is sent at once, so catching the exception does not help.

What this defends against: calling a reference under any name, through a private helper, a wrapper
or ``torch.ops.torchvision``; and, by an audit hook, which Python cannot remove, executing one of
these files once more (``importlib.reload``, deleting it from ``sys.modules``). Other processes, in
which the package would be whole, are forbidden in `confinement`.

What it does not: a learner who pastes the package's source into the notebook, or reads the file
and executes its text, has handed in that text; that is plagiarism, which a program cannot tell
from knowing the formula. Someone who knows CPython well can find the original code in this
process's memory and call it. Nobody can, from there, change the expected answers or the table.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
import types
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

# Files and folders, within the two packages.
DETLEARN = (
    *("boxes.py", "losses.py", "nms.py", "metrics/", "check/"),
    *("anchors.py", "coders.py", "matching.py", "roi.py", "models/rpn.py"),
)
TORCHVISION = (
    "ops/",
    *(f"models/detection/{name}.py" for name in ("_utils", "anchor_utils", "rpn")),
)
# Of those, what is no reference: the engine, and parts of networks.
HARMLESS = (
    "check/__init__.py",
    *(
        f"check/engine/{name}.py"
        for name in ("__init__", "exercise", "sandbox", "cases", "display")
    ),
    *(f"ops/{name}.py" for name in ("__init__", "misc", "drop_block", "stochastic_depth")),
)
HINT = (
    "your function calls detlearn's or torchvision's own {names}; write it yourself, with the "
    "operations of torch"
)

Report = Callable[[str], None]


class ReferenceUsed(BaseException):
    """A reference implementation was called; no `except Exception` stops this."""


def is_reference(filename: str) -> bool:
    """Whether the code in a file is off limits."""
    harmful, harmless = _places()
    return filename.startswith(harmful) and filename not in harmless


@functools.cache
def _places() -> tuple[tuple[str, ...], frozenset[str]]:
    import torchvision

    import detlearn

    own, theirs = (os.path.dirname(p.__file__) for p in (detlearn, torchvision))
    harmful = [os.path.join(own, name) for name in DETLEARN]
    harmful += [os.path.join(theirs, name) for name in TORCHVISION]
    harmless = [os.path.join(folder, name) for folder in (own, theirs) for name in HARMLESS]
    return tuple(harmful), frozenset(harmless)


@functools.cache
def functions() -> tuple[types.FunctionType, ...]:
    """All functions of the references that exist in this process; found once, then kept."""
    import torchvision.models.detection
    import torchvision.ops  # noqa: F401

    import detlearn.anchors
    import detlearn.check
    import detlearn.coders
    import detlearn.losses
    import detlearn.matching
    import detlearn.metrics
    import detlearn.models.rpn
    import detlearn.nms
    import detlearn.roi  # noqa: F401

    return tuple(
        thing
        for thing in gc.get_objects()
        if type(thing) is types.FunctionType and is_reference(thing.__code__.co_filename)
    )


class _Guard:
    """What is called in place of a reference."""

    def __init__(self, allowed: Collection[str], report: Report) -> None:
        self.allowed, self.report = allowed, report
        self.originals: list[types.FunctionType] = []
        self.inside = 0  # how many allowed functions are running

    def call(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        original = self.originals[index]
        if not self.inside and original.__name__ not in self.allowed:
            self.refuse(_name(original))
        self.inside += 1
        try:
            return original(*args, **kwargs)
        finally:
            self.inside -= 1

    def refuse(self, name: str) -> None:
        self.report(name)
        raise ReferenceUsed(HINT.format(names=name))


@contextmanager
def poisoned(allowed: Collection[str], report: Report) -> Iterator[_Guard]:
    """Inside this context a call of a reference is reported and raises.

    Args:
        allowed: names of functions that may be called all the same.
        report: is told the name of each reference that is called.

    Yields:
        The guard, whose list `allowed` may grow.
    """
    guard = _Guard(set(allowed), report)
    codes = [function.__code__ for function in functions()]
    library = _poison_operators(guard)
    for index, function in enumerate(functions()):
        guard.originals.append(_copy(function))
        function.__code__ = _call_of(guard, index, function.__code__)
    try:
        yield guard
    finally:
        for function, code in zip(functions(), codes):
            function.__code__ = code
        library._destroy()


def _name(function: types.FunctionType) -> str:
    """As a learner knows it: making an object is called by its class."""
    return function.__qualname__.partition(".<locals>")[0].removesuffix(".__init__")


def _copy(f: types.FunctionType) -> types.FunctionType:
    copy = types.FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    copy.__kwdefaults__ = f.__kwdefaults__
    return copy


def _template(*args: Any, **kwargs: Any) -> Any:
    guard = "GUARD"
    return guard("INDEX", args, kwargs)


def _call_of(guard: _Guard, index: int, original: types.CodeType) -> types.CodeType:
    """The code of a function that calls the guard; it may stand in for the original's."""
    values = {"GUARD": guard.call, "INDEX": index}
    code = _template.__code__
    constants = tuple(values.get(c, c) if isinstance(c, str) else c for c in code.co_consts)
    # Python asks for as many closure variables as the function had.
    return code.replace(
        co_consts=constants, co_freevars=original.co_freevars, co_name=original.co_name
    )


@functools.cache
def operators() -> tuple[str, ...]:
    """The names of torchvision's compiled operators, found once."""
    import torch

    names = [name for name in torch._C._dispatch_get_all_op_names() if "torchvision::" in name]
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return tuple(name.partition("::")[2] for name in names if has_kernel(name, "CPU"))


def _poison_operators(guard: _Guard) -> Any:
    import torch

    library = torch.library.Library("torchvision", "IMPL")
    for name in operators():
        if name not in guard.allowed:
            refuse = functools.partial(lambda name, *_, **__: guard.refuse(name), name)
            library.impl(name, refuse, "CPU", allow_override=True)
    return library


def forbid_reloading(report: Report) -> None:
    """From now on, executing a file of the references once more is reported and raises.

    Args:
        report: is told the name of the file.
    """

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "exec" and isinstance(args[0], types.CodeType):
            code = args[0]
            if code.co_name == "<module>" and is_reference(code.co_filename):
                name = os.path.basename(code.co_filename)
                report(name)
                raise ReferenceUsed(HINT.format(names=name))

    sys.addaudithook(hook)
