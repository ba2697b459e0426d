"""Call a learner's function so that nothing it does can harm the notebook.

An endless loop is stopped by an alarm, a huge allocation by a limit on the process's data, what it
prints is cut, `sys.exit` ends the call and not the kernel, the arguments are copies, and the global
state is put back. What happened comes back as an `Answer` of plain data: everything in which the
learner's code has a hand, the text of its exceptions and the methods of what it returns included,
runs while the alarm is set.

Where the system has no alarm (Windows) or the call is not in the main thread, a second thread
raises the exception; it also winds up the alarm again if the function took it away. Where the
system has no limit on data, a huge allocation fails as it would anyway.

What cannot be survived in the same process: `os._exit`, a signal that kills, a crash of compiled
code. And one single call of compiled code (``sum(range(10**12))``) ends when it ends; only then is
the function stopped.
"""

from __future__ import annotations

import dis
import io
import linecache
import math
import os
import random
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detlearn.check.engine.cases import Answer, Case, Trouble
from detlearn.check.engine.forms import class_name, named, unfolded
from detlearn.check.engine.state import GUARD, Snapshot, restore, snapshot, stop_thread

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
ORDINALS = ("first", "second", "third", "fourth")
ATTEMPTS = 4  # to put the global state back while the alarm is set

# Real numbers that can be compared.
DTYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
)
MOST_VALUES = 1_000  # in a returned tuple; nothing that is asked for has as many


class OutOfTime(BaseException):
    """Raised inside a call that takes too long; no `except Exception` stops it."""


def call(
    function: Callable,
    case: Case,
    seconds: float = SECONDS,
    earlier: Snapshot | None = None,
    processor: float = math.inf,
) -> Answer:
    """Call a function on a case.

    Args:
        function: the learner's.
        case: what to call it with.
        seconds: after which it is stopped.
        earlier: the global state before the call just made, whose reading takes longer than most
            calls; empty before the first. This call's is put into it.
        processor: seconds of processor time after which it is stopped as well.

    Returns:
        What came of it; never raises, unless the reader interrupts.
    """
    answer = Answer()
    watch = Watch(seconds, processor)

    with watch, _output_caught() as printed:
        before = snapshot(earlier)
        if earlier is not None:
            earlier[:] = before
        try:
            with watch.armed():
                _question(function, case, answer, before)
        except BaseException as error:  # even to describe what came of it has failed
            name = class_name(type(error))
            text = f"what your function returns or raises cannot be read ({name})"
            answer = Answer(trouble=Trouble("type", text))
        finally:
            _put_back(before, watch)

    if watch.over:
        # Whatever else happened: it may have caught the alarm and returned something.
        line = answer.trouble.line if answer.trouble else ""
        text = f"your function was stopped after {seconds:g} seconds"
        answer = Answer(trouble=Trouble("timeout", text, line))

    answer.printed = printed()
    return answer


def _put_back(before: Snapshot, watch: Watch) -> None:
    """Restore the global state, while the alarm is set: an object that goes may have a __del__."""
    for _ in range(ATTEMPTS):
        try:
            with watch.armed_anew():
                restore(before)
            return
        except OutOfTime:
            continue  # what stopped it is gone by now
    restore(before)


def call_own(function: Callable, case: Case) -> Answer:
    """The same for a function of the package, which needs no fence, so that it takes no time."""
    answer = Answer()
    _question(function, case, answer, [])
    return answer


# ---- what happens while the alarm is set ----


def _question(function: Callable, case: Case, answer: Answer, before: Snapshot) -> None:
    """Everything in which the learner's code has a hand."""
    args = _arguments(case)
    parent = os.getpid()

    try:
        try:
            returned = _called(function, args, case, answer)
        finally:
            # A copy of this process, made by os.fork(), must not go on as a second kernel.
            if os.getpid() != parent:
                os._exit(1)
            # What is left behind might watch, answer or fail while the answer is read.
            restore(before)

        _read(returned, args, case, answer)
    except BaseException as error:
        # Without a fence it is the reader's own press on "stop", while the package's function runs.
        if isinstance(error, KeyboardInterrupt) and not before:
            raise

        answer.trouble = _trouble(error)
        # Its frames hold the learner's objects, whose __del__ must find the alarm set.
        error.__traceback__ = None

    # Also where it raised: it may have written into them before.
    answer.changed = tuple(
        i for i, (now, original) in enumerate(zip(args, case.args)) if not _unchanged(now, original)
    )


def _arguments(case: Case) -> list[Any]:
    args = [_copy(value) for value in case.args]

    if case.gradient:
        args[case.differentiated[1]].requires_grad_()
    for i in case.detached:
        args[i].requires_grad_()

    return args


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(_copy(each) for each in value)
    if type(value) is dict:
        return {key: _copy(each) for key, each in value.items()}
    return value


def _called(function: Callable, args: list[Any], case: Case, answer: Answer) -> Any:
    keywords = dict(case.keywords)
    if case.draws > 1:
        return _drawn(function, args, keywords, case.draws)
    if not case.size:
        return function(*args, **keywords)
    answer.steps, returned = _counting_steps(function, args, keywords)
    return returned


def _drawn(function: Callable, args: list[Any], keywords: dict[str, Any], draws: int) -> Any:
    """What several calls return, in one tuple; or the first that is no tuple, as it is."""
    together: list[Any] = []
    for _ in range(draws):
        returned = function(*args, **keywords)
        if not issubclass(type(returned), tuple):
            return returned
        together += tuple.__getitem__(returned, slice(MOST_VALUES))
    return tuple(together)


def _read(returned: Any, args: list[Any], case: Case, answer: Answer) -> None:
    """Turn what was returned into plain tensors, or into a trouble."""
    if returned is None:
        text = "your function returned None; is a return statement missing?"
        answer.trouble = Trouble("none", text)
        return

    values, text = _values(returned, case)
    if text:
        answer.trouble = Trouble("type", f"your function returned {text}")
        return

    tensors = []
    for value in values:
        tensor, text = _plain(value)
        if not text and case.tensors and not isinstance(value, Tensor):
            text = f"{named(value)}; expected a torch.Tensor here, too: training goes on with it"
        if text:
            answer.trouble = Trouble("type", f"your function returned {text}")
            return
        tensors.append(tensor)

    answer.values = tuple(tensor.detach().clone() for tensor in tensors)

    if case.gradient:
        output, argument = case.differentiated
        result = tensors[output] if output < len(tensors) else None
        _differentiate(result, args[argument], ORDINALS[argument], answer)

    if case.detached and any(tensor.requires_grad for tensor in tensors):
        text = "your result carries a gradient, through which one network would train the other"
        answer.trouble = Trouble("attached", text)


def _values(returned: Any, case: Case) -> tuple[list[Any], str]:
    """The returned values as a list; or what came instead of the form that was asked for."""
    if case.form is not None:
        return unfolded(returned, case.form)

    kind = type(returned)
    if issubclass(kind, tuple):
        return list(tuple.__getitem__(returned, slice(MOST_VALUES))), ""
    if not case.listed:
        return [returned], ""
    if issubclass(kind, list):
        return list(list.__getitem__(returned, slice(MOST_VALUES))), ""
    return [], f"{named(returned)}; expected a list of tensors, one for each image"


def _plain(value: Any) -> tuple[Tensor, str]:
    """A value as an ordinary tensor; or what it is instead, and what was expected."""
    nothing = torch.zeros(0)
    kind = type(value)

    # A number of Python's or of NumPy's.
    if kind in (bool, int, float) or (issubclass(kind, np.generic) and kind.__module__ == "numpy"):
        try:
            return torch.tensor(value), ""
        except (RuntimeError, ValueError, TypeError):
            return nothing, f"{named(value)} that fits into no tensor; expected a torch.Tensor"

    if kind not in (Tensor, torch.nn.Parameter):
        return nothing, f"{named(value)}; expected a torch.Tensor"

    # A tensor, but not one of real numbers in the processor's memory.
    ordinary = "; expected an ordinary one of real numbers"
    if value.is_nested:
        return nothing, f"a nested tensor{ordinary}"
    if value.layout != torch.strided or value.device.type != "cpu" or value.dtype not in DTYPES:
        return nothing, f"a tensor of {value.layout}, {value.device}, {value.dtype}{ordinary}"
    if any(getattr(value, "names", ())):  # torch had them until 2.13
        return nothing, f"a tensor with named dimensions{ordinary}"

    try:
        has_memory = _has_memory(value)
    except NotImplementedError:  # as of a tensor from inside torch.vmap
        has_memory = False
    if not has_memory:
        return nothing, f"a tensor without memory behind it{ordinary}"

    # Another object for the same numbers: this one may carry methods of its own.
    return Tensor.resolve_neg(Tensor.as_subclass(value, Tensor)), ""


def _has_memory(value: Tensor) -> bool:
    """Whether its storage reaches to its last number; reading beyond would crash the process."""
    if Tensor.numel(value) == 0:
        return True
    reach = zip(Tensor.size(value), Tensor.stride(value))
    last = Tensor.storage_offset(value) + sum((size - 1) * stride for size, stride in reach)
    return (last + 1) * Tensor.element_size(value) <= Tensor.untyped_storage(value).nbytes()


def _differentiate(result: Tensor | None, argument: Tensor, which: str, answer: Answer) -> None:
    if result is not None and result.requires_grad:
        (gradient,) = torch.autograd.grad(_weighted_sum(result), argument, allow_unused=True)
        if gradient is not None and not _plain(gradient)[1]:
            answer.gradient = gradient.detach().clone()

    if answer.gradient is None:
        text = (
            f"your result has no gradient with respect to the {which} argument, so nothing could "
            "be trained with it; .item(), .tolist(), .detach(), torch.no_grad() and numpy all cut "
            "it"
        )
        answer.trouble = Trouble("no gradient", text)


def _weighted_sum(values: Tensor) -> Tensor:
    """Add up, column j of a table times j + 1.

    In a plain sum the columns could hide each other's mistakes: of a box's x1 + x2 nothing is left
    of its width, so that a width without gradient would pass.
    """
    if values.ndim > 1:
        values = values * torch.arange(1, values.shape[-1] + 1).to(values)
    return values.sum()


def _unchanged(value: Any, original: Any) -> bool:
    """Whether an argument holds what it held; `value` was a copy, and may hold anything by now."""
    if isinstance(original, dict):
        if type(value) is not dict or value.keys() != original.keys():
            return False
        return all(_unchanged(value[key], each) for key, each in original.items())

    if isinstance(original, (list, tuple)):
        # A copy of a list may be emptied; what is left in it is looked at.
        return type(value) is type(original) and all(map(_unchanged, value, original))

    if not isinstance(original, Tensor):
        return True
    plain, trouble = _plain(value)
    if trouble or plain.shape != original.shape or plain.dtype != original.dtype:
        return False
    now = plain.detach()
    return bool(((now == original) | ((now != now) & (original != original))).all())


# ---- what was raised ----


def _trouble(error: BaseException) -> Trouble:
    last, own = _ends(error.__traceback__)
    line = _line(own)
    name = class_name(type(error))
    said = _said(error)

    # Those with a sentence of their own.
    if _is_blank(error, last, own):
        return Trouble("blank", "not attempted yet", line)
    if isinstance(error, OutOfTime):
        return Trouble("timeout", "your function was stopped", line)
    if isinstance(error, MemoryError) or "can't allocate memory" in said:
        return Trouble("memory", "your function asks for more memory than there is", line)
    if isinstance(error, SystemExit):
        return Trouble("exit", "your function calls exit(); return a value instead", line)

    text = f"your function raises {name}: {said}" if said else f"your function raises {name}"
    # Raised here, before the function's first line: it cannot be called like this.
    by_the_call = last is not None and last.tb_frame.f_code.co_filename == __file__
    if isinstance(error, TypeError) and by_the_call and "argument" in said:
        return Trouble("signature", text, line)
    return Trouble("exception", text, line)


def _said(error: BaseException) -> str:
    """The message of an exception, which is the learner's code as well, cut to a length to read."""
    try:
        said = str.__str__(str(error))
    except OutOfTime:
        raise
    except BaseException:
        return ""
    return said if len(said) < 300 else said[:300] + " …"


def _ends(trace: TracebackType | None) -> tuple[TracebackType | None, TracebackType | None]:
    """The last step of a traceback, and the last of the learner's own code in it."""
    last = own = None
    while trace is not None:
        last = trace
        name = trace.tb_frame.f_code.co_filename
        if not name.startswith(OTHERS) and "site-packages" not in name:
            own = trace
        trace = trace.tb_next
    return last, own


def _line(own: TracebackType | None) -> str:
    if own is None:
        return ""
    code = linecache.getline(own.tb_frame.f_code.co_filename, own.tb_lineno).strip()
    return f"line {own.tb_lineno}: {code[:200]}" if code else ""


def _is_blank(error: BaseException, last: TracebackType | None, own: TracebackType | None) -> bool:
    """Whether a statement of the learner's raised NotImplementedError; torch raises it as well."""
    if not isinstance(error, NotImplementedError) or last is None or last is not own:
        return False
    instruction = last.tb_frame.f_code.co_code[last.tb_lasti]
    return dis.opname[instruction] == "RAISE_VARARGS"


# ---- time ----


class Watch:
    """Stops the learner's code, and nothing else, when its time is over; used in a ``with``.

    In the main thread an alarm does it, which also wakes a function that sleeps. A second thread
    comes later: it winds up the alarm if the function took it away, and stands in for it where
    there is none. Both come again, as the function may catch what they raise.

    Args:
        seconds: on the clock.
        processor: seconds of processor time, where there is an alarm.

    Attributes:
        over: the time is over, or the reader interrupts.
    """

    def __init__(self, seconds: float, processor: float = math.inf) -> None:
        self.seconds, self.processor = seconds, processor
        self.over = False

        self._armed = False
        self._times = 0  # that the alarm has rung
        self._interrupted = False

        self._victim = threading.get_ident()
        main = threading.current_thread() is threading.main_thread()
        self._has_alarm = main and hasattr(signal, "setitimer")

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Only what runs in here is stopped."""
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    @contextmanager
    def armed_anew(self) -> Iterator[None]:
        """The same, beginning with a wait of `RETRY`."""
        if self.over:
            self._times = 0
            if self._has_alarm:
                signal.setitimer(signal.ITIMER_REAL, RETRY, RETRY)
        with self.armed():
            yield

    def __enter__(self) -> Watch:
        self._started = time.monotonic()
        self._look_at = self._started + self.seconds + (RETRY if self._has_alarm else 0)

        if self._has_alarm:
            self._handlers = {signal.SIGALRM: signal.signal(signal.SIGALRM, self._ring)}

            # Only a handler of Python's is one that the reader's press on "stop" reaches.
            if callable(signal.getsignal(signal.SIGINT)):
                self._handlers[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)

            # Somebody else's alarm may be running; it is wound up again afterwards.
            self._others = signal.setitimer(signal.ITIMER_REAL, self.seconds, RETRY)

            if self.processor < math.inf:
                self._handlers[signal.SIGPROF] = signal.signal(signal.SIGPROF, self._ring)
                signal.setitimer(signal.ITIMER_PROF, self.processor, RETRY)

        _guard.watch(self)
        return self

    def __exit__(self, *_: Any) -> None:
        self._armed = False

        # What the second thread raises arrives a little later, so it may arrive here.
        ended = False
        while not ended:
            with suppress(OutOfTime):
                _guard.forget(self)
                for _ in range(100):
                    pass  # at each turn Python looks for what another thread has raised here
                ended = True

        if self._has_alarm:
            self._end_alarm()
        if self._interrupted:
            raise KeyboardInterrupt

    def _end_alarm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self.processor < math.inf:
            signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

        # Somebody else's alarm, less the time that has passed since.
        left, interval = self._others
        if left:
            passed = time.monotonic() - self._started
            signal.setitimer(signal.ITIMER_REAL, max(left - passed, 1e-3), interval)

    def _ring(self, *_: Any) -> None:
        self._times += 1
        wait = RETRY if self._times < 3 else LATER_RETRY * (0.05 + jitter.random())

        # And again after RETRY: an alarm just before a wait in the system is not noticed in it.
        signal.setitimer(signal.ITIMER_REAL, wait, RETRY)

        if self._armed:
            self.over = True
            raise OutOfTime

    def _interrupt(self, *_: Any) -> None:
        # The reader wants it to stop; the alarm sees to it if the function catches this.
        self._interrupted = True
        signal.setitimer(signal.ITIMER_REAL, RETRY, RETRY)

        if self._armed:
            self.over = True
            raise OutOfTime

    def look(self) -> None:
        """What the second thread does from time to time."""
        if not self._armed or time.monotonic() < self._look_at:
            return

        self.over = True
        stop_thread(self._victim, OutOfTime)

        if self._has_alarm and signal.getsignal(signal.SIGALRM) == self._ring:
            signal.setitimer(signal.ITIMER_REAL, 1e-3, RETRY)


class _Guard:
    """The second thread: one for all watches, since to start one for each takes longer than most
    functions that are asked. It ends when there was nothing to do for a while.
    """

    IDLE = 5.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches = []
        self._alive = False

    def watch(self, watch: Watch) -> None:
        with self._lock:
            self._watches.append(watch)
            if not self._alive:
                with suppress(RuntimeError):  # where no thread may start, the alarm does it alone
                    threading.Thread(target=self._run, name=GUARD, daemon=True).start()
                    self._alive = True

    def forget(self, watch: Watch) -> None:
        with self._lock:
            if watch in self._watches:
                self._watches.remove(watch)

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(RETRY * (0.5 + jitter.random()))
            with self._lock:
                for watch in self._watches:
                    watch.look()
                    last = time.monotonic()

                if time.monotonic() - last > self.IDLE:
                    self._alive = False
                    return


_guard = _Guard()


# ---- memory, output, steps ----


@contextmanager
def data_limited() -> Iterator[None]:
    """Limit what the process may hold, where the system can."""
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


class _Output(io.TextIOBase):
    """Hands on what is written to it, by the one method that a learner cannot reach into."""

    def __init__(self, take: Callable[[str], None]) -> None:
        super().__init__()
        self.write = lambda text: take(text)

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """A function that closes its output closes nobody's."""


@contextmanager
def _output_caught() -> Iterator[Callable[[], str]]:
    """Catches what is printed, also by those who take the system's own output.

    Yields:
        A function that says the first of it, and how much more there was.
    """
    kept = ""
    written = 0

    def take(text: str) -> int:
        nonlocal kept, written
        text = str.__str__(text)  # of a class of the learner's, only the letters
        kept += text[: KEPT_CHARACTERS - len(kept)]
        written += len(text)
        return len(text)

    def said() -> str:
        more = written - len(kept)
        return f"{kept}\n… and {more:,} more characters" if more else kept

    names = ("stdout", "stderr", "__stdout__", "__stderr__")
    before = [getattr(sys, name) for name in names]
    output = _Output(take)

    for name in names:
        setattr(sys, name, output)
    try:
        yield said
    finally:
        for name, value in zip(names, before):
            setattr(sys, name, value)


def _counting_steps(
    function: Callable, args: list[Any], keywords: dict[str, Any]
) -> tuple[int, Any]:
    """Call a function and count the instructions that Python executes in it and what it calls.

    A loop over boxes shows in this number whatever it is written with, and on any machine alike.
    """
    steps = 0

    def trace(frame: Any, event: str, _: Any) -> Callable:
        nonlocal steps
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        returned = function(*args, **keywords)
    finally:
        sys.settrace(before)
    return steps, returned
