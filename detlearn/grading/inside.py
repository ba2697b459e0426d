"""What runs inside a sandbox: one process that loads torch once, and a child of it for each task.

The first process, the *keeper*, is ours alone: it takes tasks from the grader through a socket,
forks a child for each, ends whatever the child has left behind, and reports how it ended. The
child closes the socket, takes limits upon itself, and answers through a pipe of its own. After the
first statement of the learner's has run, nothing in the child can be trusted any more.

This module finds the package as a view without the answers (see `view`), and knows no expected
answers.
"""

from __future__ import annotations

import ast
import builtins
import ctypes
import functools
import gc
import importlib
import json
import linecache
import math
import os
import pickle
import re
import resource
import select
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypedDict

import torch

from detlearn.check.engine import ask
from detlearn.check.engine.cases import Case
from detlearn.grading.calls import Forbidden
from detlearn.grading.slicing import (
    Notebook,
    Statement,
    check_names,
    handed_in,
    needed_before,
    parse,
)
from detlearn.grading.submissions import NotANotebook, code_cells
from detlearn.grading.wire import ANSWERS, SENTENCE, SURVEY, Channel, encode

PR_SET_DUMPABLE = 4
LENGTH = struct.Struct("<Q")
PIPE = 3  # the child's file descriptor
TICK = 0.05  # seconds between two looks at a child
SETUP = 0.5  # of the time is added for the cells around a function
BACKSTOP = 6  # seconds on the clock for each of processor time: other programs may be busy
GRACE = 2.0  # seconds more: the child itself stops a slow function, and says where
FILE_BYTES, OPEN_FILES = 1_000_000, 128
MOST_FILES = 1_000
RETRY = 0.5  # seconds until a statement that has caught its stop is stopped again
STOPPED = "it was stopped after {:g} seconds"
MOVED = ".moved-"  # how it is called on its way to be deleted


@dataclass(frozen=True)
class Bounds:
    """What a child may use.

    Attributes:
        seconds: of processor time for a function; the cells around it get SETUP of that more.
        data: bytes of the process's data, what the keeper holds included.
        space: bytes of its addresses; bounds the memory that is shared and counts as no data.
        disk: bytes in the folder of its own.
    """

    seconds: float
    data: int
    space: int
    disk: int

    @property
    def processor(self) -> float:
        """Seconds of processor time in all."""
        return self.seconds * (1 + SETUP)

    @property
    def patience(self) -> float:
        """Seconds on the clock after which a child is ended."""
        return self.processor * BACKSTOP + GRACE


class Place(TypedDict):
    """Where an exercise stands in its notebook; found once, so that each task need only parse.

    Attributes:
        at: index of the statement that hands it in.
        needed: indices of the statements that this one needs.
        undefined: names that nobody defines for it.
        checks: names under which the notebook knows `check`.
    """

    at: int
    needed: list[int]
    undefined: list[str]
    checks: list[str]


@dataclass
class Survey:
    """What a submission holds.

    Attributes:
        handed_in: exercise → index of the notebook; of several the last counts.
        earlier: exercise → exercises whose functions it needs.
        places: exercise → what its notebook has to do with it.
        notes: exercise → why it seems not to be handed in, where a reason is visible.
        remarks: what is wrong with notebooks.
    """

    handed_in: dict[str, int] = field(default_factory=dict)
    earlier: dict[str, list[str]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


@dataclass
class Look:
    """A task: find what was handed in.

    Attributes:
        notebooks: (name, content) of each.
        exercises: names of all.
    """

    notebooks: tuple[tuple[str, bytes], ...]
    exercises: tuple[str, ...]

    def do(self, channel: Channel, bounds: Bounds) -> None:
        """Send the survey as JSON; nothing of the learner's runs."""
        found, parsed, everywhere, names = Survey(), {}, {}, {}

        for index, (name, content) in enumerate(self.notebooks):
            # One that cannot be read says nothing against the others.
            try:
                notebook = parse(name, code_cells(name, content))
                known = check_names(notebook, self.exercises)
                there = handed_in(notebook, self.exercises, known)
            except NotANotebook as error:
                found.remarks.append(str(error))
                continue
            except (RecursionError, MemoryError, ValueError) as error:
                found.remarks.append(f"{name} cannot be read ({type(error).__name__})")
                continue

            parsed[index], everywhere[index], names[index] = notebook, there, known
            found.handed_in |= dict.fromkeys(there, index)
            for exercise in self.exercises:
                if note := _in_broken_cell(notebook, exercise):
                    found.notes[exercise] = note

        for exercise, index in found.handed_in.items():
            there = everywhere[index]
            found.places[exercise] = place = _place(parsed[index], there[exercise], names[index])
            found.earlier[exercise] = [
                other for other, at in there.items() if other != exercise and at in place["needed"]
            ]

        channel.send(SURVEY, json.dumps(vars(found)).encode())


def _in_broken_cell(notebook: Notebook, exercise: str) -> str:
    for cell in notebook.broken:
        if re.search(rf"\.{exercise}\s*\(", notebook.cells[cell]):
            return notebook.trouble([exercise])
    return ""


def _place(notebook: Notebook, at: int, names: dict[str, str]) -> Place:
    """What the statement that hands a function in needs."""
    statements = notebook.statements
    needed, undefined = needed_before(statements[:at], statements[at].reads - names.keys())
    taken = set(map(id, needed))

    return Place(
        at=at,
        needed=[i for i, statement in enumerate(statements[:at]) if id(statement) in taken],
        undefined=sorted(undefined - set(dir(builtins))),
        checks=[name for name, what in names.items() if what == "check"],
    )


@dataclass
class Questions:
    """A task: ask a learner's function.

    Attributes:
        notebook: (name, content).
        place: of the exercise in it.
        exercise: its name.
        exercises: names of all.
        cases: without expected answers and notes.
        most: for each case, the largest number of elements of a tensor that is sent back whole.
        given: earlier exercises that were wrong → (module, name) of the package's function, which
            `check` gives for these, as in the reading flow.
        whole: whether to run all that stands before the check, not only what defines what it needs.
    """

    notebook: tuple[str, bytes]
    place: Place
    exercise: str
    exercises: tuple[str, ...]
    cases: list[Case]
    most: list[int]
    given: dict[str, tuple[str, str]] = field(default_factory=dict)
    whole: bool = False

    def do(self, channel: Channel, bounds: Bounds) -> None:
        """Run what the function needs, then ask it.

        A sentence is sent if something that the function may need does not run, and the answers if
        there is a function.
        """
        # Bound before the learner's code runs, which may replace what modules hold.
        send, question, pack, start = channel.send, ask, encode, _start_clock

        notebook = parse(self.notebook[0], code_cells(*self.notebook))
        statements, needed = notebook.statements, self.place["needed"]
        at = self.place["at"]

        names, received = self._stand_in_for_check()
        setup = _Setup(notebook, names, bounds.seconds * SETUP)
        for index in range(at) if self.whole else needed:
            setup.execute(statements[index], note=index in needed)
        trouble = setup.trouble

        # What an earlier check was given has been handed in again.
        received.clear()
        setup.execute(statements[at])
        if not received:
            trouble = setup.trouble or f"check.{self.exercise} is not reached"

        trouble = notebook.trouble(self.place["undefined"]) or trouble
        if trouble:
            send(SENTENCE, trouble.encode(errors="backslashreplace"))
        if not received:
            return

        # The engine's own alarm follows the clock on the wall; this one the processor.
        start(bounds.seconds)
        answers = question(received[-1], self.cases, bounds.seconds * BACKSTOP)
        send(ANSWERS, pack(answers, self.most))

    def _stand_in_for_check(self) -> tuple[dict[str, Any], list[Any]]:
        """Have the view's `check` keep what it is given for the exercise.

        Returns:
            The names under which the notebook knows `check`, and the list of what it was given.
        """
        check = importlib.import_module("detlearn.check")
        received: list[Any] = []

        def take(name: str, *handed: Any, **named: Any) -> Any:
            together = (*handed, *named.values())
            if name == self.exercise and together:
                received.append(together if len(together) > 1 else together[0])
            if name in self.given:
                module, reference = self.given[name]
                return getattr(importlib.import_module(module), reference)
            # Of a cause and a cure, the chapter goes on with the cure.
            return together[-1]

        for name in self.exercises:
            setattr(check, name, functools.partial(take, name))
        return dict.fromkeys(self.place["checks"], check), received


def _start_clock(seconds: float) -> None:
    """Ring the engine's alarm when the process has used more processor time.

    Who takes the timer away is ended by the limit on processor time.
    """

    def ring(*_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 1e-4, RETRY)

    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds, RETRY)


class _TooLong(BaseException):
    """A statement was stopped; no `except Exception` in it prevents this."""


class _Setup:
    """The code around a function.

    What fails in it is not the end: a function may mention what it does not use, and its answers
    tell. The first failure is kept, to be shown if they are wrong.

    Args:
        notebook: that it is from.
        names: that it finds besides its own.
        seconds: of processor time for all of it together.
    """

    def __init__(self, notebook: Notebook, names: dict[str, Any], seconds: float) -> None:
        self.notebook, self.seconds = notebook, seconds
        self.clock, self.ends = time.monotonic() + seconds * BACKSTOP, time.process_time() + seconds
        self.space = {"__name__": "__main__", "display": _display_nothing, **names}
        self.trouble = ""
        self.futures = [
            statement.node
            for statement in notebook.statements
            if isinstance(statement.node, ast.ImportFrom) and statement.node.module == "__future__"
        ]

    def execute(self, statement: Statement, *, note: bool = True) -> None:
        """Run a statement, for no longer than there is time, and maybe note how it fails."""
        filename = f"<cell {statement.cell + 1} of {self.notebook.name}>"
        lines = self.notebook.cells[statement.cell].splitlines(keepends=True)
        linecache.cache[filename] = (0, None, lines, filename)  # for tracebacks

        try:
            tree = ast.Module([*self.futures, statement.node], [])
            code = compile(tree, filename, "exec", dont_inherit=True)
            with _stopped_after(self.ends - time.process_time(), self.clock - time.monotonic()):
                exec(code, self.space)
        except BaseException as error:
            if note:
                self.trouble = self.trouble or self._sentence(error, statement)

    def _sentence(self, error: BaseException, statement: Statement) -> str:
        line = statement.node.lineno
        where = f"code cell {statement.cell + 1} of {self.notebook.name}, line {line}"

        if isinstance(error, NameError) and error.name:
            return f"{where}: {error.name} is not defined by any cell before the check"
        needed = f"{where}: the code that your function needs"
        if isinstance(error, _TooLong):
            return f"{needed} was stopped after {self.seconds:g} seconds"
        if isinstance(error, SystemExit):
            return f"{needed} calls exit()"
        if isinstance(error, MemoryError):
            return f"{needed} asks for more memory than there is"
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return f"{needed} raises {text}"


def _display_nothing(*_: Any, **__: Any) -> None:
    """Stand for the `display` of a notebook."""


@contextmanager
def _stopped_after(processor: float, clock: float) -> Iterator[None]:
    """Raise `_TooLong` in what runs inside when its time is over, and again until it ends."""

    def stop(*_: Any) -> None:
        raise _TooLong

    timers = ((signal.ITIMER_PROF, signal.SIGPROF), (signal.ITIMER_REAL, signal.SIGALRM))
    for (timer, number), seconds in zip(timers, (processor, clock)):
        signal.signal(number, stop)
        signal.setitimer(timer, max(seconds, 0.01), RETRY)
    try:
        yield
    finally:
        for timer, _ in timers:
            signal.setitimer(timer, 0)


# ---- the keeper ----


def keep(control: socket.socket, forbidden: Forbidden) -> None:
    """Work through tasks until the grader closes the socket.

    Args:
        control: each task comes with the writing end of a pipe; a report goes back.
        forbidden: system calls, for the children.
    """
    # No process of the sandbox may look into this one's memory, or take its files.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    home = os.getcwd()

    # A collection in a child then leaves these pages alone, and shared.
    gc.collect()
    gc.freeze()
    _report(control, {})

    while message := _receive(control):
        content, pipe = message
        child = os.fork()
        if child == 0:
            _be_the_child(pipe, content, forbidden)
        os.close(pipe)

        _, bounds = pickle.loads(content)
        reason = _watch(child, bounds, control, home)
        ended = _end_all(child, bounds)
        _empty(home)
        _report(control, {"ended": reason or ended})


def _receive(control: socket.socket) -> tuple[bytes, int] | None:
    """A task, pickled by the grader, and the pipe for what comes of it; None at the end."""
    head, pipes, _, _ = socket.recv_fds(control, LENGTH.size, 1)
    if not head:
        return None

    (left,) = LENGTH.unpack(head)
    content = bytearray()
    while len(content) < left:
        content += control.recv(left - len(content))
    return bytes(content), pipes[0]


def _report(control: socket.socket, content: dict[str, str]) -> None:
    control.sendall(json.dumps(content).encode() + b"\n")


def _be_the_child(pipe: int, content: bytes, forbidden: Forbidden) -> None:
    """Do a task with few rights; never returns."""
    leave, status = os._exit, 1  # a learner may replace os._exit

    try:
        _leave_everything_but(pipe)
        channel = Channel(PIPE)
        try:
            task, bounds = pickle.loads(content)
            _limit(bounds)
            forbidden.enforce()
            importlib.invalidate_caches()  # the view is another one than the last child's
            task.do(channel, bounds)
            status = 0
        except BaseException as error:
            text = f"the grader could not ask your function ({type(error).__name__}: {error})"
            channel.send(SENTENCE, text.encode(errors="backslashreplace"))
    finally:
        leave(status)


def _leave_everything_but(pipe: int) -> None:
    """Begin a session, and close all files but the pipe; standard input and output lead nowhere."""
    os.setsid()

    null = os.open(os.devnull, os.O_RDWR)
    pipe = os.dup(pipe) if pipe == PIPE else pipe
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.dup2(pipe, PIPE)
    os.closerange(PIPE + 1, os.sysconf("SC_OPEN_MAX"))

    signal.signal(signal.SIGINT, signal.default_int_handler)


def _limit(bounds: Bounds) -> None:
    limits = {
        resource.RLIMIT_DATA: bounds.data,
        resource.RLIMIT_AS: bounds.space,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CPU: math.ceil(bounds.processor + GRACE),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 1,  # the keeper's and this one are two: nothing can be started
    }
    # A limit that is set already may only be lowered.
    for name, value in limits.items():
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def _watch(child: int, bounds: Bounds, control: socket.socket, home: str) -> str:
    """Wait for the end of a child, or a reason to end it; returns the reason."""
    deadline = time.monotonic() + bounds.patience
    ended = os.pidfd_open(child)

    try:
        while True:
            ready, _, _ = select.select([ended, control], [], [], TICK)
            if ended in ready:
                return ""
            if control in ready:  # it speaks only between two tasks, so it is gone
                return "the grader was stopped"
            if time.monotonic() > deadline:
                return STOPPED.format(bounds.seconds)
            if _holds_more(home, bounds.disk):
                return f"it wrote more than {bounds.disk / 2**20:.0f} MB, or {MOST_FILES} files"
    finally:
        os.close(ended)


def _holds_more(home: str, most: int) -> bool:
    """Whether the folder of a sandbox, if this is one, holds too much."""
    if os.getpid() != 1:
        return False
    disk = os.statvfs(home)
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    return disk.f_files - disk.f_ffree > MOST_FILES or used > most


def _end_all(child: int, bounds: Bounds) -> str:
    """End a child and whatever it has started; returns how it ended, if not by itself."""
    # The first process of a sandbox means all the others by -1; elsewhere that would be everybody.
    alone = os.getpid() == 1
    with suppress(ProcessLookupError):
        os.kill(-1 if alone else -child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)

    if alone:
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
        return f"it ended its process (exit code {code})" if code else ""
    if used.ru_utime + used.ru_stime > bounds.processor:
        return STOPPED.format(bounds.seconds)
    return f"its process was killed ({signal.Signals(os.WTERMSIG(status)).name})"


def _empty(home: str) -> None:
    """Delete what a child has left in the sandbox's folder, and all that it noted on the folder."""
    os.chmod(home, 0o700)
    for name in os.listxattr(home):
        os.removexattr(home, name)

    # Folders are emptied into this one, step by step: they may be nested a thousand deep, and
    # closed.
    moved = 0
    while names := os.listdir(home):
        for name in names:
            path = os.path.join(home, name)
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
                continue

            os.chmod(path, 0o700)
            for entry in list(os.scandir(path)):
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.path, 0o700)
                moved += 1
                os.rename(entry.path, os.path.join(home, f"{MOVED}{moved}"))
            os.rmdir(path)

    os.utime(home, (0, 0))


def main() -> None:
    """What the sandbox starts; its standard input is the grader's socket."""
    control = socket.socket(fileno=os.dup(0))
    forbidden = Forbidden()  # if its library is missing, the log says so
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    keep(control, forbidden)
    sys.exit(0)
