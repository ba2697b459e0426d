"""Call a learner's function so that nothing it does can harm the notebook.

An endless loop is stopped by an alarm, a huge allocation by a limit on the process's data, what it
prints is cut, `sys.exit` ends the call and not the kernel, and the arguments are copies. What
happened comes back as an `Answer`.

Where the system has no alarm (Windows) or the call is not in the main thread, a second thread
raises the exception; where it has no limit on data, a huge allocation fails as it would anyway.
"""

from __future__ import annotations

import ctypes
import io
import random
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detlearn.check.engine.cases import Answer, Case, Trouble

SECONDS = 10.0  # for all calls of one check together
GIGABYTES = 4.0  # beyond what the process holds already
KEPT_CHARACTERS = 2_000
# Code that is not the learner's: the package's and the standard library's.
OTHERS = (str(Path(__file__).parents[2]), sysconfig.get_paths()["stdlib"])
RETRY = 0.5  # seconds until an alarm that the function has caught is raised again
# A loop around `try … except:` survives each alarm that falls into its try. So the later ones come
# at random moments, a few of which fall between two tries.
LATER_RETRY = 2e-4
jitter = random.Random(0)


class OutOfTime(BaseException):
    """Raised inside a call that takes too long; no `except Exception` stops it."""


class _Clipped(io.TextIOBase):
    """Keeps the first characters written to it and counts the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.kept, self.written = "", 0

    def write(self, text: str) -> int:
        self.kept += text[: KEPT_CHARACTERS - len(self.kept)]
        self.written += len(text)
        return len(text)

    def writable(self) -> bool:
        return True

    def __str__(self) -> str:
        if self.written <= len(self.kept):
            return self.kept
        return f"{self.kept}\n… and {self.written - len(self.kept):,} more characters"


def call(function: Callable, case: Case, seconds: float = SECONDS) -> Answer:
    """Call a function on a case.

    Args:
        function: the learner's, or the reference.
        case: what to call it with.
        seconds: after which it is stopped.

    Returns:
        What came of it; never raises, unless the reader interrupts.
    """
    args = tuple(_copy(value) for value in case.args)
    if case.gradient:
        args = (args[0].requires_grad_(), *args[1:])
    if case.detached:
        args = tuple(v.requires_grad_() if _is_real(v) else v for v in args)
    printed, answer = _Clipped(), Answer()
    with _state_restored(), redirect_stdout(printed), redirect_stderr(printed):
        try:
            with _out_of_time_after(seconds), _data_limited():
                _run(function, args, case, answer)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            answer.trouble = _trouble(error, seconds)
    if answer.trouble is None and case.gradient and answer.gradient is None:
        answer.trouble = Trouble(
            "no gradient",
            "your result has no gradient with respect to the first argument, so nothing could be "
            "trained with it; .item(), .tolist(), .detach(), torch.no_grad() and numpy all cut it",
        )
    answer.changed = any(not _unchanged(a, b) for a, b in zip(args, case.args))
    answer.printed = str(printed)
    return answer


def _run(function: Callable, args: tuple[Any, ...], case: Case, answer: Answer) -> None:
    """Everything in which the learner's code has a hand; what takes too long stops here only."""
    if case.size:
        answer.steps, returned = _counting_steps(function, args)
    else:
        returned = function(*args)
        if case.gradient and isinstance(returned, Tensor) and returned.requires_grad:
            total = _weighted_sum(returned)
            (answer.gradient,) = torch.autograd.grad(total, args[0], allow_unused=True)
    answer.values, answer.trouble = _as_tensors(returned, case.listed)
    if case.detached and answer.trouble is None and _has_gradient(returned):
        text = "your result carries a gradient, through which one network would train the other"
        answer.trouble = Trouble("attached", text)


def _weighted_sum(values: Tensor) -> Tensor:
    """Add up, column j of a table times j + 1.

    In a plain sum the columns could hide each other's mistakes: of a box's x1 + x2 nothing is left
    of its width, so that a width without gradient would pass.
    """
    if values.ndim > 1:
        values = values * torch.arange(1, values.shape[-1] + 1).to(values)
    return values.sum()


def _copy(value: Any) -> Any:
    if isinstance(value, list):
        return list(value)
    return value.detach().clone() if isinstance(value, Tensor) else value


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _has_gradient(returned: Any) -> bool:
    values = returned if isinstance(returned, tuple | list) else (returned,)
    return any(isinstance(value, Tensor) and value.requires_grad for value in values)


def _unchanged(value: Any, original: Any) -> bool:
    if not isinstance(original, Tensor):
        return True
    value = value.detach()
    return value.shape == original.shape and bool(
        ((value == original) | ((value != value) & (original != original))).all()
    )


def _as_tensors(returned: Any, listed: bool) -> tuple[tuple[Tensor, ...], Trouble | None]:
    if returned is None:
        return (), Trouble("none", "your function returned None; is a return statement missing?")
    if listed and not isinstance(returned, list | tuple):
        text = f"your function returned {named(returned)}; expected a list of tensors"
        return (), Trouble("type", f"{text}, one for each image")
    values = returned if isinstance(returned, tuple) or listed else (returned,)
    tensors = []
    for value in values:
        if isinstance(value, bool | int | float | np.floating | np.integer):
            value = torch.tensor(value)
        if not isinstance(value, Tensor):
            text = f"your function returned {named(value)}; expected a torch.Tensor"
            return (), Trouble("type", text)
        if value.layout != torch.strided or value.is_meta or value.is_complex():
            text = (
                f"your function returned a tensor of {value.layout}, {value.device}, {value.dtype}"
            )
            return (), Trouble("type", f"{text}; expected an ordinary one of real numbers")
        tensors.append(value.detach().cpu().clone())
    return tuple(tensors), None


def named(value: Any) -> str:
    """What a value is, with its article: "a list", "an int", "a numpy array"."""
    name = "numpy array" if isinstance(value, np.ndarray) else type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _trouble(error: BaseException, seconds: float) -> Trouble:
    line = _line_of(error)
    try:
        said = str(error)
    except Exception:  # its __str__ is the learner's as well
        said = ""
    if isinstance(error, NotImplementedError):
        return Trouble("blank", "not attempted yet", line)
    if isinstance(error, OutOfTime):
        return Trouble("timeout", f"your function was stopped after {seconds:g} seconds", line)
    if isinstance(error, MemoryError) or "can't allocate memory" in said:
        return Trouble("memory", "your function asks for more memory than there is", line)
    if isinstance(error, SystemExit):
        return Trouble("exit", "your function calls exit(); return a value instead", line)
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    text = text if len(text) < 300 else text[:300] + " …"
    return Trouble("exception", f"your function raises {text}", line)


def _line_of(error: BaseException) -> str:
    """The last line of the learner's own code that the traceback passes through."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(OTHERS) and "site-packages" not in frame.filename
        if frame.line
    ]
    return f"line {own[-1].lineno}: {own[-1].line}" if own else ""


@contextmanager
def _state_restored() -> Iterator[None]:
    """What a function may leave switched off or seeded must not reach the rest of the notebook."""
    dtype, trace, depth = torch.get_default_dtype(), sys.gettrace(), sys.getrecursionlimit()
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (the learner's may be it)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            if sys.gettrace() is not trace:
                sys.settrace(trace)
            sys.setrecursionlimit(depth)


@contextmanager
def _out_of_time_after(seconds: float) -> Iterator[None]:
    main = threading.current_thread() is threading.main_thread()
    if main and hasattr(signal, "setitimer"):
        before = signal.signal(signal.SIGALRM, _Alarm())
        signal.setitimer(signal.ITIMER_REAL, seconds, RETRY)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return
    done, victim = threading.Event(), ctypes.c_ulong(threading.get_ident())

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(victim, ctypes.py_object(OutOfTime))
            wait = RETRY

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


class _Alarm:
    """Stops the learner's code and nothing else, and comes again in case it is caught."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, _: int, frame: Any) -> None:
        self.times += 1
        wait = RETRY if self.times < 3 else LATER_RETRY * (0.05 + jitter.random())
        # And again after RETRY: an alarm just before a wait in the system is not noticed in it.
        signal.setitimer(signal.ITIMER_REAL, wait, RETRY)
        while frame is not None:
            if frame.f_code is _run.__code__:
                raise OutOfTime
            frame = frame.f_back


@contextmanager
def _data_limited() -> Iterator[None]:
    try:
        import resource

        with open("/proc/self/status") as file:
            held = next(int(line.split()[1]) for line in file if line.startswith("VmData"))
    except (ImportError, OSError, StopIteration):  # not Linux
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = held * 1024 + int(GIGABYTES * 2**30)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _counting_steps(function: Callable, args: tuple[Any, ...]) -> tuple[int, Any]:
    """Call a function and count the instructions that Python executes in it and what it calls.

    A loop over boxes shows in this number whatever it is written with, and on any machine alike.
    """
    steps = 0

    def trace(frame: Any, event: str, _: Any) -> Callable:
        nonlocal steps
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        returned = function(*args)
    finally:
        sys.settrace(before)
    return steps, returned
