"""What a learner's function may leave changed for the rest of the notebook, and how it is put back.

`SETTINGS` is the one list of it: what each piece is called, how it is read, how it is written. A
test walks the list, spoils every piece in turn and asks that a check puts it back.

Some things cannot be put back, by nobody: functions registered with `atexit`, audit hooks, a hard
limit of the system that was lowered, torch's number of threads between operations, and operators
registered with torch.
"""

from __future__ import annotations

import _signal
import builtins
import ctypes
import decimal
import gc
import locale
import logging
import math
import multiprocessing
import operator
import os
import random
import signal
import sys
import threading
import time
import tracemalloc
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from gc import get_referents  # under a name of ours, which is watched
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import (
    _get_current_dispatch_mode_stack,
    _pop_mode,
    _push_mode,
)

try:
    import resource
except ImportError:  # Windows
    resource = None

Values = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One piece of global state.

    Attributes:
        name: for people.
        read: its value now, of which nothing changes any more.
        write: puts such a value back.
        same: whether a value read now is as good as the one read before.
        look: reads it for `same` alone, where `read` would copy thousands of names for nothing.
        read_anew: its value before the next call, given the one before the last; None where that
            one holds again, since nothing but the call has changed it.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], None]
    same: Callable[[Any, Any], bool]
    look: Callable[[], Any] | None = None
    read_anew: Callable[[Any], Any] | None = None


Snapshot = list[tuple[Setting, Any]]


def snapshot(earlier: Snapshot | None = None) -> Snapshot:
    """Every piece of global state that can be read here, with its value.

    Args:
        earlier: a snapshot that was just restored; from it, this one takes a tenth of the time.
    """
    known = {setting.name: value for setting, value in earlier or []}

    found = []
    for setting in SETTINGS:
        try:
            if setting.name not in known:
                value = setting.read()
            elif setting.read_anew:
                value = setting.read_anew(known[setting.name])
            else:
                value = known[setting.name]
        except Exception:
            # One that this system or this version of torch does not have cannot change either.
            continue
        found.append((setting, value))
    return found


def restore(before: Snapshot) -> None:
    """Put back what has changed since a snapshot; what cannot be put back stays."""
    # First what all the rest is written with: `len` may be anything by now.
    for _, builtins_before in before[:1]:
        BUILTINS.update(builtins_before)

    for setting, value in before:
        try:  # `suppress` would take longer than to look
            now = setting.look() if setting.look else setting.read()
            if not setting.same(value, now):
                setting.write(value)
        except Exception:
            continue


def differences(before: Snapshot) -> list[str]:
    """The names of what has changed since a snapshot."""
    return [
        setting.name
        for setting, value in before
        if not setting.same(value, setting.look() if setting.look else setting.read())
    ]


@contextmanager
def usual_settings() -> Iterator[None]:
    """What the exercises are made for, whatever the reader's notebook has set."""
    before = snapshot()
    try:
        set_usual()
        yield
    finally:
        restore(before)


def set_usual() -> None:
    """Set the same for good."""
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)


# ---- when two values are the same ----

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


def same(before: Any, now: Any) -> bool:
    """Equal numbers and texts, the very same objects; no method of the learner's is called."""
    if before is now:
        return True
    if type(before) is not type(now):
        return False

    if isinstance(before, PLAIN):
        return before == now

    if type(before) in (tuple, list):
        if len(before) != len(now):
            return False
        return all(map(operator.is_, before, now)) or all(map(same, before, now))
    if type(before) is dict:
        if _identical(before, now):
            return True
        return before.keys() == now.keys() and all(same(before[key], now[key]) for key in before)

    if type(before) is Tensor:
        return torch.equal(before, now)
    return False


def _identical(before: Values, now: Values) -> bool:
    return (
        len(before) == len(now)
        and all(map(operator.is_, before, now))
        and all(map(operator.is_, before.values(), now.values()))
    )


def same_or_more(before: Values, now: Values) -> bool:
    """The very same objects under their names; new names do no harm."""
    # The quick way, for thousands of names that nobody touched.
    if _identical(before, now):
        return True
    return all(now.get(name, before) is value for name, value in before.items())


# ---- the names of modules, by the thousands ----


def _counts_changes() -> bool:
    """Whether dicts count their changes where `_count_of_changes` looks for it (PEP 509)."""
    if sys.implementation.name != "cpython" or sys.version_info >= (3, 13):
        return False

    names = {"a": 1}
    count = _count_of_changes(names)
    seen = [count.value]
    for change in (lambda: names.update(a=2), lambda: names.update(b=2), lambda: names.pop("a")):
        change()
        seen.append(count.value)
    dict(names), names.get("b"), names.update(b=2)  # no change
    return len(set(seen)) == len(seen) and count.value == seen[-1]


def _count_of_changes(names: Values) -> ctypes.c_uint64:
    """The number beside a dict's length, a new one at each change and never one that has been."""
    behind_length = object.__basicsize__ + ctypes.sizeof(ctypes.c_ssize_t)
    return ctypes.c_uint64.from_address(id(names) + behind_length)


COUNTED = _counts_changes()


class Copied:
    """The names of a module or class, as they were.

    To compare 20,000 names takes a millisecond or more, which is longer than most functions that
    are asked, and a check does it 50 times. To see that the dict was not written into is enough.

    Attributes:
        live: the dict itself.
        names: what it held.
    """

    def __init__(self, live: Values) -> None:
        self.live = live
        self._count = _count_of_changes(live) if COUNTED else None
        self._counted = self._count.value if self._count else None
        # Past matplotlib's own reading, which would choose a backend.
        self.names = dict(live) if type(live) is dict else dict(dict.items(live))

    @classmethod
    def of(cls, live: Values) -> Copied:
        """The names of a dict now; a copy that was made before serves again if it still holds."""
        known = _copies.get(id(live))
        if known is None or not known.is_untouched():
            known = _copies[id(live)] = cls(live)
        return known

    def is_untouched(self) -> bool:
        """Whether nothing was written since; False also where Python does not tell."""
        return self._count is not None and self._count.value == self._counted

    def now(self) -> Copied:
        """The same names now."""
        return self if self.is_untouched() else Copied(self.live)


_copies: dict[int, Copied] = {}  # by the identity of the dict, which they keep alive


# ---- Python's own modules, and torch's: functions that were exchanged ----

WATCHED = (sys, os, math, random, signal, threading, time, warnings, np, torch, torch.nn.functional)


@dataclass(frozen=True)
class Attributes:
    """What the names in the watched modules and classes stand for.

    Attributes:
        modules: all that are loaded, by which one sees whether there are more to watch.
        spaces: the watched ones with their names.
    """

    modules: Copied
    spaces: list[tuple[Any, Copied]]


def _namespaces() -> Iterator[Any]:
    yield from (*WATCHED, Tensor, torch.nn.Module)
    for name in [name for name in sys.modules if name.startswith("detlearn")]:
        if type(sys.modules[name]) is types.ModuleType:
            yield sys.modules[name]


def _dict_of(space: Any) -> Values:
    """The dict behind a module or class; a class shows its own through a proxy only."""
    names = vars(space)
    return names if type(names) is dict else get_referents(names)[0]


def _read_attributes() -> Attributes:
    found = []
    for space in _namespaces():
        # A copy of `sys` is not kept: there is the last exception, with all that its frames hold.
        copied = Copied if space is sys else Copied.of
        found.append((space, copied(_dict_of(space))))
    return Attributes(Copied.of(sys.modules), found)


def _read_attributes_anew(earlier: Attributes) -> Attributes:
    if not earlier.modules.is_untouched():
        return _read_attributes()
    spaces = [(space, copied.now()) for space, copied in earlier.spaces]
    return Attributes(earlier.modules, spaces)


def _same_attributes(before: Attributes, _: None) -> bool:
    # Those of the same spaces: what was taken out of sys.modules is looked at as well.
    for _, copied in before.spaces:
        if copied.is_untouched():
            continue
        if not same_or_more(copied.names, copied.live) or _added(copied.names, copied.live):
            return False
    return True


def _added(before: Values, now: Values) -> list[str]:
    """New names, which may stand before others: `Tensor.clone`, or a `len` in a module of ours.

    Modules that were loaded only now stand in their packages, and Python keeps its own notes there.
    """
    if len(before) == len(now):
        return []
    return [
        name
        for name, value in now.items()
        if name not in before and not name.startswith("__") and type(value) is not types.ModuleType
    ]


def _write_attributes(before: Attributes) -> None:
    for space, copied in before.spaces:
        now = dict(copied.live)
        for name in _added(copied.names, now):
            delattr(space, name)

        for name, value in copied.names.items():
            if now.get(name, now) is not value:
                setattr(space, name, value)


BUILTINS = vars(builtins)


def _write_builtins(before: Values) -> None:
    for name in [name for name in BUILTINS if name not in before]:
        del BUILTINS[name]
    BUILTINS.update(before)


def _same_modules(before: Copied, _: None) -> bool:
    return before.is_untouched() or same_or_more(before.names, dict(sys.modules))


def _write_modules(before: Copied) -> None:
    sys.modules.update(before.names)


def _write_list(get: Callable[[], list]) -> Callable[[Any], None]:
    """Puts the content of a list back into the list itself, which others hold."""

    def write(content: list) -> None:
        get()[:] = content

    return write


# ---- Python's settings ----


def _write_profile(before: Any) -> None:
    # A profiler of compiled code shows itself as an object that cannot be handed back.
    sys.setprofile(before if callable(before) else None)


def _read_filters() -> list:
    return list(warnings.filters)


def _write_filters(before: list) -> None:
    warnings.filters[:] = before

    # Python keeps what it decided by the old filters until it is told.
    for name in ("_filters_mutated", "_filters_mutated_lock_held"):
        mutated = getattr(warnings, name, None)
        if mutated is not None:
            with getattr(warnings, "_lock", threading.Lock()):
                mutated()
            return


def _read_interpreter() -> tuple:
    return (sys.getrecursionlimit(), sys.getswitchinterval(), sys.get_int_max_str_digits())


def _write_interpreter(before: tuple) -> None:
    depth, interval, digits = before
    sys.setrecursionlimit(depth)
    sys.setswitchinterval(interval)
    sys.set_int_max_str_digits(digits)


def _read_collector() -> tuple:
    return (gc.isenabled(), gc.get_threshold(), gc.get_debug(), list(gc.callbacks))


def _write_collector(before: tuple) -> None:
    enabled, threshold, debug, callbacks = before
    gc.set_debug(debug)
    gc.set_threshold(*threshold)
    gc.callbacks[:] = callbacks
    gc.enable() if enabled else gc.disable()


def _read_logging() -> tuple:
    root = logging.root
    return (root.level, root.disabled, root.manager.disable, list(root.handlers))


def _write_logging(before: tuple) -> None:
    root = logging.root
    root.level, root.disabled, root.manager.disable, handlers = before
    root.handlers[:] = handlers

    # Every logger remembers which levels were on.
    root.manager._clear_cache()


def _write_tracemalloc(before: bool) -> None:
    tracemalloc.start() if before else tracemalloc.stop()


def _read_environment() -> dict:
    return dict(os.environ._data)  # as the system holds it; to decode it takes ten times as long


def _write_environment(before: dict) -> None:
    for name in set(os.environ._data) - set(before):
        del os.environ[os.fsdecode(name)]

    for name, value in before.items():
        os.environ[os.fsdecode(name)] = os.fsdecode(value)

    if hasattr(time, "tzset"):
        time.tzset()  # the time zone is one of them


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _write_decimal(before: tuple[decimal.Context, str]) -> None:
    decimal.setcontext(before[0].copy())


def _read_decimal() -> tuple[decimal.Context, str]:
    context = decimal.getcontext().copy()
    return context, repr(context)


# ---- the system's ----


SIGNALS = tuple(int(number) for number in signal.valid_signals())


def _read_handlers() -> list[Any]:
    # The module below `signal`, which makes no enumerations of 64 numbers.
    return [_signal.getsignal(number) for number in SIGNALS]


def _write_handlers(before: list[Any]) -> None:
    for number, handler in zip(SIGNALS, before):
        # None stands for one that was not set by Python; only the main thread may set any.
        if handler is not None and _signal.getsignal(number) is not handler:
            _signal.signal(number, handler)


def _read_timers() -> list[tuple]:
    # Not the one of real time: that is the alarm of the check itself.
    kinds = (signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
    return [(kind, *signal.getitimer(kind)) for kind in kinds]


def _same_timers(before: list[tuple], now: list[tuple]) -> bool:
    return [bool(seconds) for _, seconds, _ in before] == [bool(seconds) for _, seconds, _ in now]


def _write_timers(before: list[tuple]) -> None:
    for kind, seconds, interval in before:
        signal.setitimer(kind, seconds, interval)


LIMITS = [
    getattr(resource, f"RLIMIT_{name}")
    for name in ("AS", "CORE", "CPU", "DATA", "FSIZE", "NOFILE", "NPROC", "STACK")
    if hasattr(resource, f"RLIMIT_{name}")  # not on Windows
]


def _read_limits() -> dict[int, tuple[int, int]]:
    return {number: resource.getrlimit(number) for number in LIMITS}


def _write_limits(before: dict[int, tuple[int, int]]) -> None:
    for number, (soft, _) in before.items():
        hard = resource.getrlimit(number)[1]
        resource.setrlimit(number, (soft, hard))


# ---- threads and processes that were started and left running ----

PATIENCE = 1.0  # seconds for a child to end
PATIENCE_WITH_THREADS = 4.0  # seconds for all of them together
SECONDS_TO_END = 0.3  # for each thread, before it is told again
GUARD = "detlearn's check"  # the name of the thread that stops functions; it comes and goes


def _read_threads() -> list[int]:
    return [t.ident for t in threading.enumerate() if t.name != GUARD and not _is_dead(t)]


def _is_dead(thread: threading.Thread) -> bool:
    """Return whether a thread has ended without leaving the list, as one that was told twice.

    `is_alive` says so too early: a `join` that is interrupted notes that the thread has ended.
    """
    return type(thread) is threading.Thread and thread.ident not in sys._current_frames()


def _end_threads(before: list[int]) -> None:
    known = (*before, threading.get_ident())
    left = [t for t in threading.enumerate() if t.ident not in known and t.name != GUARD]

    started = time.monotonic()
    while left and (waited := time.monotonic() - started) < PATIENCE_WITH_THREADS:
        # A second exception in a thread that ends would not be silent, so it is given time; but
        # not all, since what it calls at its end may be the learner's and may never return.
        for thread in left:
            if waited > PATIENCE_WITH_THREADS / 2 or not _is_ending(thread):
                stop_thread(thread.ident, SystemExit)  # which ends a thread in silence

        for thread in left:
            _wait_for(thread)
        left = [thread for thread in left if _is_running(thread)]


def _wait_for(thread: threading.Thread) -> None:
    """Wait a moment for a thread's end.

    `join` returns at once if an earlier one was interrupted, and so does not wait for the thread of
    a function that was stopped while it joined it.
    """
    ends = time.monotonic() + SECONDS_TO_END
    thread.join(SECONDS_TO_END)
    while _is_running(thread) and time.monotonic() < ends:
        time.sleep(0.002)


def _is_running(thread: threading.Thread) -> bool:
    """Return whether a thread has a frame; `is_alive` may deny it too early, see `_is_dead`."""
    return thread.ident in sys._current_frames()


def _is_ending(thread: threading.Thread) -> bool:
    """Return whether a thread has left its function and reports, slowly perhaps, what ended it."""
    above = None
    frame = sys._current_frames().get(thread.ident)
    while frame is not None and frame.f_code is not _WHOLE:
        above, frame = frame, frame.f_back

    # Neither in its function nor anywhere else but in Python's own code around it.
    return frame is not None and (above is None or above.f_code in _AROUND)


# What `threading` runs in a thread: around the function it makes notes of the thread, and calls
# `threading.excepthook` if the function has raised.
_WHOLE = threading.Thread._bootstrap_inner.__code__
_AROUND = (threading._make_invoke_excepthook().__code__, threading.Thread._delete.__code__)


def stop_thread(ident: int, error: type[BaseException]) -> None:
    """Raise an exception in a thread, when it next executes Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))


def _read_children() -> list[int]:
    return sorted(child.pid for child in multiprocessing.active_children())


def _end_children(before: list[int]) -> None:
    for child in multiprocessing.active_children():
        if child.pid not in before:
            child.kill()
            child.join(PATIENCE)


# ---- random numbers ----

WORDS = 624 + 1  # of NumPy's MT19937: its key, and how much of that is used up


def _read_numpy() -> tuple[bytes | None, tuple]:
    return _numpy_memory(), np.random.get_state()  # noqa: NPY002 (the learner's may be it)


def _numpy_memory() -> bytes | None:
    """The numbers of NumPy's generator as they lie in memory; to ask for them takes 50 us."""
    generator = np.random.get_bit_generator()
    if type(generator) is not np.random.MT19937:
        return None
    return ctypes.string_at(generator.ctypes.state_address, WORDS * 4)


def _same_numpy(before: tuple[bytes | None, tuple], _: None) -> bool:
    memory, (kind, key, *rest) = before
    kept = rest[1]  # a normal number: they are drawn in pairs, and the second lies elsewhere
    if memory is not None and not kept:
        return memory == _numpy_memory()
    kind_now, key_now, *rest_now = np.random.get_state()  # noqa: NPY002
    return (kind, key.tobytes(), rest) == (kind_now, key_now.tobytes(), rest_now)


def _write_numpy(before: tuple[bytes | None, tuple]) -> None:
    np.random.set_state(before[1])  # noqa: NPY002


def _read_cuda() -> list[Tensor]:
    # Asking would start the driver, which takes seconds and hundreds of megabytes.
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _write_cuda(before: list[Tensor]) -> None:
    if before:
        torch.cuda.set_rng_state_all(before)


# ---- torch's settings ----


Modes = tuple[torch.device | None, list[Any]]


def _read_function_modes() -> Modes:
    """The default device, for which torch lays a mode onto the stack, and the other modes."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    modes = [mode for mode in _get_current_function_mode_stack() if mode is not context]
    return (None if context is None else context.device), modes


def _write_function_modes(before: Modes) -> None:
    device, modes = before
    while torch._C._len_torch_function_stack():
        torch._C._pop_torch_function_stack()
    torch._GLOBAL_DEVICE_CONTEXT.device_context = torch.utils._device.CURRENT_DEVICE = None

    torch.set_default_device(device)
    for mode in modes:
        torch._C._push_on_torch_function_stack(mode)


def _write_dispatch_modes(before: list[Any]) -> None:
    for _ in _get_current_dispatch_mode_stack():
        _pop_mode()
    for mode in before:
        _push_mode(mode)


_inference: list[Any] = []  # held, since such a guard undoes itself when it is forgotten


def _write_inference(before: bool) -> None:
    guard = torch._C._InferenceMode(before)
    guard.__enter__()
    _inference.append(guard)


def _read_autocast() -> list[tuple]:
    kinds = ("cpu", "cuda")
    return [(k, torch.is_autocast_enabled(k), torch.get_autocast_dtype(k)) for k in kinds]


def _write_autocast(before: list[tuple]) -> None:
    for kind, enabled, dtype in before:
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def _read_determinism() -> tuple:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


def _write_determinism(before: tuple) -> None:
    on, warn_only, fill = before
    torch.use_deterministic_algorithms(on, warn_only=warn_only)
    torch.utils.deterministic.fill_uninitialized_memory = fill


def _read_anomaly() -> tuple:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _read_flags() -> list[Any]:
    return [
        torch.backends.cudnn.enabled,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch._C._get_cudnn_allow_tf32(),
        torch.get_float32_matmul_precision(),
    ]


def _write_flags(before: list[Any]) -> None:
    enabled, benchmark, deterministic, tf32, precision = before
    torch.backends.cudnn.enabled = enabled
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.deterministic = deterministic
    torch._C._set_cudnn_allow_tf32(tf32)
    torch.set_float32_matmul_precision(precision)


def _read_denormal() -> bool:
    """Whether numbers below the normal ones count as zero; torch has no question for it."""
    smallest = sys.float_info.min
    return smallest / 2 == 0


def _read_printing() -> Values:
    return dict(vars(torch._tensor_str.PRINT_OPTS))


def _write_printing(before: Values) -> None:
    for name, value in before.items():
        setattr(torch._tensor_str.PRINT_OPTS, name, value)


def _read_numpy_errors() -> tuple:
    return np.geterr(), np.geterrcall()


def _write_numpy_errors(before: tuple) -> None:
    np.seterr(**before[0])
    np.seterrcall(before[1])


# ---- the figures' ----


def _read_matplotlib() -> Copied:
    # Only if it is loaded already.
    return Copied.of(sys.modules["matplotlib"].rcParams)


def _same_matplotlib(before: Copied, _: None) -> bool:
    now = sys.modules["matplotlib"].rcParams
    if now is before.live and before.is_untouched():
        return True
    return same(before.names, dict(dict.items(now)))


def _write_matplotlib(before: Copied) -> None:
    dict.update(sys.modules["matplotlib"].rcParams, before.names)


SETTINGS = (
    # First what would watch or answer while the rest is read.
    Setting("builtins", lambda: dict(BUILTINS), _write_builtins, same),
    Setting("trace function", sys.gettrace, sys.settrace, same),
    Setting("profile function", sys.getprofile, _write_profile, same),
    # These are compared where they stand, so there is nothing to look at.
    Setting(
        "functions of modules",
        _read_attributes,
        _write_attributes,
        _same_attributes,
        look=lambda: None,
        read_anew=_read_attributes_anew,
    ),
    Setting(
        "modules",
        lambda: Copied.of(sys.modules),
        _write_modules,
        _same_modules,
        look=lambda: None,
        read_anew=Copied.now,
    ),
    Setting("default device and modes", _read_function_modes, _write_function_modes, same),
    Setting(
        "torch's dispatch modes", _get_current_dispatch_mode_stack, _write_dispatch_modes, same
    ),
    Setting("threads", _read_threads, _end_threads, lambda a, b: set(a) >= set(b)),
    Setting("processes", _read_children, _end_children, same),
    # Python.
    Setting("warning filters", _read_filters, _write_filters, same),
    Setting("import path", lambda: list(sys.path), _write_list(lambda: sys.path), same),
    Setting("importers", lambda: list(sys.meta_path), _write_list(lambda: sys.meta_path), same),
    Setting("command line", lambda: list(sys.argv), _write_list(lambda: sys.argv), same),
    Setting("limits of Python", _read_interpreter, _write_interpreter, same),
    Setting("garbage collector", _read_collector, _write_collector, same),
    Setting("logging", _read_logging, _write_logging, same),
    Setting("tracing of memory", tracemalloc.is_tracing, _write_tracemalloc, same),
    Setting("decimal numbers", _read_decimal, _write_decimal, lambda a, b: a[1] == b[1]),
    # The system.
    Setting("environment", _read_environment, _write_environment, same),
    Setting("working directory", os.getcwd, os.chdir, same),
    Setting("umask", _read_umask, os.umask, same),
    Setting(
        "locale",
        lambda: locale.setlocale(locale.LC_ALL),
        lambda before: locale.setlocale(locale.LC_ALL, before),
        same,
    ),
    Setting(
        "signal handlers",
        _read_handlers,
        _write_handlers,
        same,
        read_anew=lambda _: _read_handlers(),  # the alarm's
    ),
    Setting(
        "timers",
        _read_timers,
        _write_timers,
        _same_timers,
        read_anew=lambda _: _read_timers(),
    ),
    Setting(
        "blocked signals",
        lambda: sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        lambda before: signal.pthread_sigmask(signal.SIG_SETMASK, before),
        same,
    ),
    Setting("limits of the system", _read_limits, _write_limits, operator.eq),
    # Random numbers.
    Setting("random's generator", random.getstate, random.setstate, operator.eq),
    Setting("NumPy's generator", _read_numpy, _write_numpy, _same_numpy, look=lambda: None),
    Setting("torch's generator", torch.get_rng_state, torch.set_rng_state, same),
    Setting("torch's generators on GPUs", _read_cuda, _write_cuda, same),
    # torch and NumPy.
    Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype, same),
    Setting("gradients", torch.is_grad_enabled, torch.set_grad_enabled, same),
    Setting("inference mode", torch.is_inference_mode_enabled, _write_inference, same),
    Setting("autocast", _read_autocast, _write_autocast, same),
    Setting("determinism", _read_determinism, _write_determinism, same),
    Setting("anomalies", _read_anomaly, lambda b: torch.set_anomaly_enabled(*b), same),
    Setting("number of threads", torch.get_num_threads, torch.set_num_threads, same),
    Setting("precision of matrix products", _read_flags, _write_flags, same),
    Setting("denormal numbers", _read_denormal, torch.set_flush_denormal, same),
    Setting("torch's warnings", torch.is_warn_always_enabled, torch.set_warn_always, same),
    Setting("torch's printing", _read_printing, _write_printing, same),
    Setting("NumPy's printing", np.get_printoptions, lambda b: np.set_printoptions(**b), same),
    Setting("NumPy's errors", _read_numpy_errors, _write_numpy_errors, same),
    Setting(
        "matplotlib's settings",
        _read_matplotlib,
        _write_matplotlib,
        _same_matplotlib,
        look=lambda: None,
        read_anew=Copied.now,
    ),
)
