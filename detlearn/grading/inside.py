"""What runs inside a sandbox: one process that loads torch once, and a child of it for each task.

The first process, the *keeper*, is ours alone: it takes tasks from the grader through a socket,
forks a child for each, and reports what that said and how it ended. The child closes the socket,
takes limits upon itself, and answers through a pipe of its own. After the first statement of the
learner's has run, nothing in the child can be trusted any more. It can start no other process, and
where it has left something that another child could see, the keeper ends: the next task gets a new
sandbox.

What a child imports of the package comes with its task: a view without the answers (see `view`).
"""

from __future__ import annotations

import ast
import ctypes
import functools
import gc
import importlib
import linecache
import math
import os
import pickle
import resource
import select
import shutil
import signal
import stat
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from multiprocessing.connection import Connection
from typing import Any

import torch

from detlearn.check.engine import ask
from detlearn.check.engine.cases import Case
from detlearn.check.engine.sandbox import OutOfTime, Watch
from detlearn.check.engine.state import set_usual, snapshot
from detlearn.grading.calls import Forbidden
from detlearn.grading.loader import Texts
from detlearn.grading.slicing import Notebook, Place, Statement, parse, places
from detlearn.grading.submissions import NotANotebook, code_cells
from detlearn.grading.wire import clean, encode, pack

PR_SET_DUMPABLE = 4
PIPE = 3  # the child's file descriptor
TAKEN = b"."  # says the child when it has its task
CHUNK = 2**20  # bytes of what a child says that are read at once
TICK = 0.05  # seconds between two looks at a child
SETUP = 0.5  # of the time is added for the cells around a function
BACKSTOP = 6  # seconds on the clock for each of processor time: other programs may be busy
GRACE = 2.0  # seconds more: the child itself stops a slow function, and says where
LIBRARIES = 256 * 2**20  # bytes of the addresses of all that a notebook may import, beside its data
FILE_BYTES, OPEN_FILES = 1_000_000, 128
MOST_FILES = 1_000
STOPPED = "it was stopped after {:g} seconds"
PRIVATE = 0o700  # mode of the sandbox's folder


@dataclass(frozen=True)
class Limits:
    """What one exercise of a submission may use."""

    seconds: float = 10.0  # of processor time; the cells around the function get SETUP of it more
    megabytes: int = 512  # of memory beyond what Python and torch hold
    disk_megabytes: int = 64  # that lie in its folder

    @property
    def processor(self) -> float:
        """Seconds of processor time in all."""
        return self.seconds * (1 + SETUP)

    @property
    def patience(self) -> float:
        """Seconds on the clock after which a child is ended."""
        return self.processor * BACKSTOP + GRACE


@dataclass(frozen=True)
class Job:
    """What the keeper knows of a task."""

    most: int  # bytes that its child may say
    limits: Limits  # for the child
    data: int  # bytes of data that the keeper itself holds
    space: int  # bytes of its addresses, among them memory that is shared and counts as no data


@dataclass
class Survey:
    """What a submission holds."""

    # Exercise → where it is handed in; of several notebooks the last counts.
    places: dict[str, Place] = field(default_factory=dict)
    # Notebook → the source of each code cell, or "" where that is no Python.
    cells: dict[str, list[str]] = field(default_factory=dict)
    # Exercise → the sentence on a cell that is no Python and speaks of it.
    notes: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)  # what is wrong with notebooks


@dataclass
class Look:
    """A task: find what was handed in."""

    notebooks: tuple[tuple[str, bytes], ...]  # name and content of each
    exercises: tuple[str, ...]  # names of all

    def do(self, limits: Limits) -> bytes:
        """Return the survey; nothing of the learner's runs."""
        found = Survey()
        for name, content in self.notebooks:
            # One that cannot be read says nothing against the others.
            try:
                notebook = parse(name, code_cells(name, content))
                there = places(notebook, self.exercises)
            except NotANotebook as error:
                found.remarks.append(str(error))
                continue
            except (RecursionError, MemoryError, ValueError) as error:
                found.remarks.append(f"{name} cannot be read ({type(error).__name__})")
                continue

            found.places |= there
            found.cells[name] = notebook.python()
            notes = {exercise: notebook.trouble([exercise]) for exercise in self.exercises}
            found.notes |= {exercise: note for exercise, note in notes.items() if note}
        return pack(vars(found))


@dataclass
class Questions:
    """A task: ask a learner's function."""

    # The sources of a notebook's code cells up to the one that hands in, or "" where nothing of a
    # cell is to run.
    cells: list[str]
    place: Place  # of the exercise in it
    exercise: str  # its name
    exercises: tuple[str, ...]  # names of all
    cases: list[Case]  # without expected answers and notes
    most: list[int]  # for each case, the largest number of elements of a tensor that is sent back
    # Earlier exercises that were wrong → (module, name) of the package's function, which `check`
    # gives for these, as in the reading flow.
    given: dict[str, tuple[str, str]] = field(default_factory=dict)
    whole: bool = False  # run all that stands before the check, not only what it needs

    def do(self, limits: Limits) -> bytes:
        """Run what the function needs, then ask it.

        Returns:
            A sentence, if something that the function may need does not run, and the answers, if
            there is a function.
        """
        # Bound before the learner's code runs, which may replace what modules hold.
        usual, question, encoded, packed = set_usual, ask, encode, pack

        notebook = parse(self.place["notebook"], self.cells)
        at, needed = tuple(self.place["at"]), set(map(tuple, self.place["needed"]))

        names, received = self._stand_in_for_check()
        setup = _Setup(notebook, names, limits.seconds * SETUP)
        for statement in notebook.statements:
            if statement.spot == at:
                break
            if self.whole or statement.spot in needed:
                setup.execute(statement, note=statement.spot in needed)
        trouble = self.place["trouble"] or setup.trouble

        # What an earlier check was given has been handed in again.
        received.clear()
        setup.execute(statement)
        if not received:
            text = trouble or setup.trouble or f"check.{self.exercise} is not reached"
            return packed({"sentence": text})

        seconds = limits.seconds
        usual()
        answers = question(received[-1], self.cases, seconds * BACKSTOP, processor=seconds)
        return encoded(answers, self.most, trouble)

    def _stand_in_for_check(self) -> tuple[dict[str, Any], list[Any]]:
        """Have the view's `check` keep what it is given for the exercise.

        Returns:
            The names under which the notebook knows `check`, and the list of what it was given.
        """
        check = importlib.import_module("detlearn.check")
        received: list[Any] = []

        def take(name: str, *handed: Any, **named: Any) -> Any:
            together = (*handed, *named.values())
            if not together:
                raise TypeError(f"check.{name}() is given no function")
            if name == self.exercise:
                received.append(together if len(together) > 1 else together[0])
            if name in self.given:
                module, reference = self.given[name]
                return getattr(importlib.import_module(module), reference)
            # Of a cause and a cure, the chapter goes on with the cure.
            return together[-1]

        for name in self.exercises:
            setattr(check, name, functools.partial(take, name))
        return dict.fromkeys(self.place["checks"], check), received


class _Setup:
    """The code around a function.

    What fails in it is not the end: a function may mention what it does not use, and its answers
    tell. The first failure is kept, to be shown if they are wrong.

    Args:
        notebook: that it is from.
        names: that it finds besides its own.
        seconds: of processor time for all of it together; a statement gets half of what is left.
    """

    def __init__(self, notebook: Notebook, names: dict[str, Any], seconds: float) -> None:
        self.notebook = notebook
        self.clock, self.ends = time.monotonic() + seconds * BACKSTOP, time.process_time() + seconds
        self.space = {"__name__": "__main__", "display": _display_nothing, **names}
        self.trouble = ""
        self.futures: list[ast.stmt] = []

    def execute(self, statement: Statement, *, note: bool = True) -> None:
        """Run a statement, and maybe note how it fails."""
        cell = statement.spot[0]
        filename = f"<cell {cell + 1} of {self.notebook.name}>"
        lines = self.notebook.cells[cell].splitlines(keepends=True)
        linecache.cache[filename] = (0, None, lines, filename)  # for tracebacks

        # One that never ends must leave time for those after it.
        clock = max(0.01, (self.clock - time.monotonic()) / 2)
        processor = max(0.01, (self.ends - time.process_time()) / 2)
        try:
            tree = ast.Module([*self.futures, statement.node], [])
            code = compile(tree, filename, "exec", dont_inherit=True)
            with Watch(clock, processor) as watch, watch.armed():
                exec(code, self.space)
            if statement.is_future:
                self.futures.append(statement.node)
        except BaseException as error:
            if note and not self.trouble:
                self.trouble = self._sentence(error, statement, processor)

    def _sentence(self, error: BaseException, statement: Statement, seconds: float) -> str:
        line = statement.node.lineno
        where = f"code cell {statement.spot[0] + 1} of {self.notebook.name}, line {line}"

        if isinstance(error, NameError) and error.name:
            return f"{where}: {error.name} is not defined by any cell before the check"
        needed = f"{where}: the code that your function needs"
        if isinstance(error, OutOfTime):
            return f"{needed} was stopped after {seconds:.2g} seconds"
        if isinstance(error, SystemExit):
            return f"{needed} calls exit()"
        if isinstance(error, MemoryError):
            return f"{needed} asks for more memory than there is"

        # Its text is the learner's code, too, and may be as long as it likes.
        text = type(error).__name__
        with suppress(BaseException):
            if said := clean(str(error)):
                text = f"{text}: {said}"
        return f"{needed} raises {text}"


def _display_nothing(*_: Any, **__: Any) -> None:
    """Stand for the `display` of a notebook."""


# ---- the keeper ----


def keep(control: Connection) -> None:
    """Work through tasks until the grader closes the connection.

    Args:
        control: for each task come a Job, then the task itself with the modules that it may import;
            back go how the child ended and what it said.
    """
    forbidden = Forbidden()  # if its library is missing, the log says so
    _lead_nowhere()

    # No process of the sandbox may look into this one's memory, or take its files.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    home = os.getcwd()
    os.chmod(home, PRIVATE)

    # What is loaded when it is first needed, as NumPy's generator is and what safetensors wants of
    # NumPy, is loaded once.
    snapshot()
    pack({}, {"number": torch.zeros(1)})
    # A collection in a child then leaves these pages alone, and shared.
    gc.collect()
    gc.freeze()
    gc.enable()
    control.send_bytes(b"ready")

    while _is_as_new(home):
        try:
            job = pickle.loads(control.recv_bytes())
        except EOFError:
            break

        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            _be_the_child(control, write_end, job, forbidden)
        os.close(write_end)

        with open(read_end, "rb", buffering=0) as pipe:
            pipe.read(len(TAKEN))
            said, reason = _listen(pipe, job, control, home)
        ended = _end(child, job.limits)
        control.send_bytes((reason or ended).encode())
        control.send_bytes(said)


def _lead_nowhere() -> None:
    """Have standard input and output lead to nobody."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)


def _is_as_new(home: str) -> bool:
    """Empty the folder; return whether nothing is left in it or noted on it."""
    try:
        for entry in list(os.scandir(home)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        os.utime(home, (0, 0))
        return not os.listxattr(home) and stat.S_IMODE(os.stat(home).st_mode) == PRIVATE
    except (OSError, RecursionError):  # such as of folders that are closed, or nested very deep
        return False


def _be_the_child(control: Connection, pipe: int, job: Job, forbidden: Forbidden) -> None:
    """Do a task with few rights; never returns."""
    write, leave, status = os.write, os._exit, 1  # a learner may replace them
    packed = pack

    try:
        # Not the keeper takes it, whose memory the next child will see.
        content = control.recv_bytes()
        write(pipe, TAKEN)

        _leave_everything_but(pipe)
        try:
            task, modules = pickle.loads(content)
            _limit(job)
            forbidden.enforce()
            sys.meta_path.insert(0, Texts(modules))
            said = task.do(job.limits)
            status = 0
        except BaseException as error:
            text = f"the grader could not ask your function ({type(error).__name__}: {error})"
            said = packed({"sentence": text})

        # The system may take a part of it only.
        while said:
            said = said[write(PIPE, said) :]
    finally:
        leave(status)


def _leave_everything_but(pipe: int) -> None:
    """Begin a session, and close all files but the pipe."""
    os.setsid()  # what is sent to the whole group does not reach the keeper

    if pipe != PIPE:
        os.dup2(pipe, PIPE)
    os.closerange(PIPE + 1, os.sysconf("SC_OPEN_MAX"))
    _lead_nowhere()  # by files of its own: even how one is opened would be a word to the next child

    signal.signal(signal.SIGINT, signal.default_int_handler)


def _limit(job: Job) -> None:
    more = job.limits.megabytes * 2**20
    limits = {
        resource.RLIMIT_DATA: job.data + more,
        # Memory that is shared, or may only be read, is no data: it counts here.
        resource.RLIMIT_AS: job.space + more + LIBRARIES,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CPU: math.ceil(job.limits.processor + GRACE),
        resource.RLIMIT_CORE: 0,
    }
    # A limit that is set already may only be lowered.
    for name, value in limits.items():
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def _listen(pipe: FileIO, job: Job, control: Connection, home: str) -> tuple[bytes, str]:
    """Read what a child says until it ends, or there is a reason to end it.

    Returns:
        What it said, and the reason, or "".
    """
    said = bytearray()
    deadline = time.monotonic() + job.limits.patience

    while True:
        ready, _, _ = select.select([pipe, control], [], [], TICK)
        if pipe in ready:
            chunk = pipe.read(CHUNK)
            if not chunk:
                return bytes(said), ""
            said += chunk

        if len(said) > job.most:
            return b"", "more came back than an answer can need"
        if control in ready:  # it speaks only between two tasks, so it is gone
            return b"", "the grader was stopped"
        if time.monotonic() > deadline:
            return b"", STOPPED.format(job.limits.seconds)
        if _holds_more_files(home):
            return b"", f"it wrote more than {MOST_FILES} files"


def _holds_more_files(home: str) -> bool:
    """Whether the folder of a sandbox, if this is one, holds too many; its size is limited."""
    if os.getpid() != 1:
        return False
    disk = os.statvfs(home)
    return disk.f_files - disk.f_ffree > MOST_FILES


def _end(child: int, limits: Limits) -> str:
    """End a child; returns how it ended, if not by itself."""
    os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)

    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
        return f"it ended its process (exit code {code})" if code else ""
    if used.ru_utime + used.ru_stime > limits.processor:
        return STOPPED.format(limits.seconds)
    return f"its process was killed ({signal.Signals(os.WTERMSIG(status)).name})"
