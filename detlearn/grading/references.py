"""While a learner's function runs, the reference implementations are out of bounds.

What is a reference follows from the exercises: the files, or rooms such as `metrics/`, in which
their references and solutions lie, the chapters' folders of `check`, and torchvision's
counterparts, `torchvision.ops` and `torchvision.models.detection`. A new chapter needs no edit.

Every function whose code lies there gets another ``__code__``, which asks a guard first. Because
the function object stays the same, every alias of it is caught, whoever took it and when. Functions
that an exercise allows work, and whatever they call works inside them. The compiled operators
behind torchvision are replaced in torch's dispatcher.

The guard has two moods. While the cells run that come before the learner's function, the references
work: many of these cells are the chapter's own, and what they calculate is data, which answers no
private question. Only what would make a *function* of a reference (tracing and compiling it) is
refused there. When the questions are asked, the guard watches: a call is reported at once, so that
catching the exception does not help, and raises `ReferenceUsed`.

What this defends against: calling a reference under any name, through a private helper, a wrapper,
a trace or ``torch.ops.torchvision``; and, by an audit hook, which Python cannot remove, executing
one of these files once more (``importlib.reload``, deleting it from ``sys.modules``) and making a
function of a reference's code. Other processes, in which the package would be whole, are forbidden
in `confinement`.

What it does not: a learner who pastes the package's source into the notebook, or reads the file
and executes its text, has handed in that text; that is plagiarism, which a program cannot tell
from knowing the formula. Someone who knows CPython well can find the original code in this
process's memory and call it. Nobody can, from there, change the expected answers or the table.
"""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import os
import pkgutil
import sys
import types
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Parts of networks, which torchvision keeps among its operators; no exercise asks for them.
PARTS_OF_NETWORKS = ("misc", "drop_block", "stochastic_depth")
HINT = (
    "your function calls detlearn's or torchvision's own {names}; write it yourself, with the "
    "operations of torch"
)

Report = Callable[[str], None]


class ReferenceUsed(BaseException):
    """A reference implementation was called; no `except Exception` stops this."""


def is_reference(filename: str) -> bool:
    """Say whether the code in a file is off limits."""
    harmful, harmless = _places()
    return filename.startswith(harmful) and not filename.startswith(harmless)


@functools.cache
def _places() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the files that are off limits begin with, and of those, the ones that are not."""
    import torchvision

    import detlearn
    from detlearn.check import EXERCISES

    own, theirs = (os.path.dirname(package.__file__) for package in (detlearn, torchvision))

    answers = {
        function
        for exercise in EXERCISES.values()
        for function in (exercise.reference, *exercise.solution)
    }
    harmful = {place for answer in answers if (place := _place_of(answer, own))}
    harmful |= {
        os.path.join(own, "check", ""),
        os.path.join(theirs, "ops", ""),
        os.path.join(theirs, "models", "detection", ""),
    }

    # Of check, only the chapters' folders hold answers. The ops' __init__ has no code of its own.
    harmless = {
        os.path.join(own, "check", "__init__.py"),
        os.path.join(own, "check", "engine", ""),
        os.path.join(theirs, "ops", "__init__.py"),
        *(os.path.join(theirs, "ops", f"{name}.py") for name in PARTS_OF_NETWORKS),
    }
    return tuple(sorted(harmful)), tuple(sorted(harmless))


def _place_of(answer: Callable, package: str) -> str | None:
    """The package's file that an answer lies in, or its room; None for one from elsewhere.

    In a room an idea has neighbours that use it: who may not call `average_precision` may not call
    `metrics.evaluate` either.
    """
    file = inspect.unwrap(answer).__code__.co_filename
    if not file.startswith(os.path.join(package, "")):
        return None

    first, _, inside = os.path.relpath(file, package).partition(os.sep)
    return os.path.join(package, first, "") if inside else file


@functools.cache
def functions() -> tuple[types.FunctionType, ...]:
    """Return all functions of the references that exist in this process; found once, then kept."""
    _import_all()
    return tuple(_existing())


def _import_all() -> None:
    """Import every file that is off limits, so that no later import makes new functions."""
    import torchvision

    import detlearn

    for package in (detlearn, torchvision):
        for module in _modules(package.__path__, f"{package.__name__}."):
            with suppress(ImportError):  # it needs what is not installed here
                importlib.import_module(module)


def _modules(path: Collection[str], prefix: str) -> Iterator[str]:
    """Names of the modules that are off limits."""
    for found in pkgutil.iter_modules(path, prefix):
        place = os.path.join(found.module_finder.path, found.name.rpartition(".")[2])

        # A folder may hold some, also where it is none itself.
        if found.ispkg and _touches(os.path.join(place, "")):
            yield from _modules([place], f"{found.name}.")
        if is_reference(os.path.join(place, "__init__.py") if found.ispkg else f"{place}.py"):
            yield found.name


def _touches(folder: str) -> bool:
    """Whether a folder is off limits, or holds something that is."""
    harmful, _ = _places()
    return is_reference(folder) or any(place.startswith(folder) for place in harmful)


def _existing() -> list[types.FunctionType]:
    """The references' functions that Python's garbage collector knows."""
    return [
        thing
        for thing in gc.get_objects()
        if type(thing) is types.FunctionType and is_reference(thing.__code__.co_filename)
    ]


class _Guard:
    """What is called in place of a reference.

    Args:
        allowed: names of functions that may be called all the same.
        report: is told the name of each reference that is called.
    """

    def __init__(self, allowed: Collection[str], report: Report) -> None:
        self.allowed, self.report = set(allowed), report
        self.watching = False
        self.at_work = False  # replacing code, or putting it back

        self.inside = 0  # how many allowed functions are running
        self.originals: list[types.FunctionType] = []
        self.replaced: list[tuple[types.FunctionType, types.CodeType]] = []

        # Bound now: later a learner's code may have replaced what torch's modules hold.
        self._override = _Override(self)

    def call(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a reference, if it may be called."""
        original = self.originals[index]
        if not self.watching:
            if _is_being_recorded(args, kwargs):
                self.refuse(_name(original))
            return original(*args, **kwargs)

        if not self.inside and original.__name__ not in self.allowed:
            self.refuse(_name(original))

        # What an allowed function calls is allowed, too.
        self.inside += 1
        try:
            return original(*args, **kwargs)
        finally:
            self.inside -= 1

    def refuse(self, name: str) -> None:
        """Report a reference and raise."""
        self.report(name)
        raise ReferenceUsed(HINT.format(names=name))

    def replace(self, some: Collection[types.FunctionType]) -> None:
        """Put the guard in the place of functions."""
        self.at_work = True
        for function in some:
            self.replaced.append((function, function.__code__))
            self.originals.append(_copy(function))
            function.__code__ = _call_of(self, len(self.originals) - 1, function.__code__)
        self.at_work = False

    def watch(self) -> None:
        """From now on refuse what is not allowed."""
        self._override()
        self.watching = True

    def replace_new(self) -> None:
        """Put the guard in the place of functions that calls have made, as a factory does."""
        ours = {id(function) for function in self.originals}
        self.replace([function for function in _existing() if id(function) not in ours])

    def restore(self) -> None:
        """Put everything back."""
        self.at_work = True
        for function, code in self.replaced:
            function.__code__ = code
        self._override.library._destroy()


@contextmanager
def poisoned(
    allowed: Collection[str], report: Report, *, watching: bool = True
) -> Iterator[_Guard]:
    """Inside this context a call of a reference is reported and raises.

    Args:
        allowed: names of functions that may be called all the same.
        report: is told the name of each reference that is called.
        watching: whether to begin at once; else with the guard's `watch`.

    Yields:
        The guard, whose set `allowed` may grow.
    """
    guard = _Guard(allowed, report)
    guard.replace(functions())

    try:
        if watching:
            guard.watch()
        yield guard
    finally:
        guard.restore()


def _is_being_recorded(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether torch writes down the operations of a call, to repeat them without the function."""
    import torch

    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return True
    if torch._C._len_torch_dispatch_stack():  # make_fx, export
        return True
    return any(_records(value) for value in (*args, *kwargs.values()))


def _records(value: Any) -> bool:
    """Whether a value is no value but notes what is done to it."""
    import torch.fx

    own_tensor = isinstance(value, torch.Tensor) and type(value).__module__ == "__main__"
    return own_tensor or isinstance(value, torch.fx.Proxy)


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
    """Return the names of torchvision's compiled operators, found once."""
    import torch

    names = [name for name in torch._C._dispatch_get_all_op_names() if "torchvision::" in name]
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return tuple(name.partition("::")[2] for name in names if has_kernel(name, "CPU"))


class _Override:
    """Replaces torchvision's compiled operators when it is called.

    Args:
        guard: is asked from then on.
    """

    def __init__(self, guard: _Guard) -> None:
        import torch

        self.guard = guard
        self.library = torch.library.Library("torchvision", "IMPL")
        self.implement = self.library.impl

        # torch 2.6 has no such argument and needs none: it refuses only what Python code has
        # replaced before. Later versions do so by default, up to the one that turned this round.
        known = inspect.signature(torch.library.Library.impl).parameters
        self.options = {"allow_override": True} if "allow_override" in known else {}

    def __call__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a kernel is overridden is what we want
            for name in operators():
                if name not in self.guard.allowed:
                    refuse = functools.partial(self._refuse, name)
                    self.implement(name, refuse, "CPU", **self.options)

    def _refuse(self, name: str, *_: Any, **__: Any) -> None:
        self.guard.refuse(name)


def forbid_copies(guard: _Guard) -> None:
    """From now on, executing a file of the references once more, or its code, is reported.

    Args:
        guard: reports and raises.
    """

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if guard.at_work:
            return

        # All three are ways to run code that one has in hand.
        if event in ("exec", "function.__new__"):
            code = args[0]
        elif event == "object.__setattr__" and args[1] == "__code__":
            code = args[2]
        else:
            return

        if isinstance(code, types.CodeType) and is_reference(code.co_filename):
            module = code.co_name == "<module>"
            guard.refuse(os.path.basename(code.co_filename) if module else code.co_name)

    sys.addaudithook(hook)
