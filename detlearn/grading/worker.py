"""Runs one task in a process of its own, watches it, and ends it with all its descendants.

Three processes take part. The *grader* hands the task on. A *supervisor* is forked for each task
from a server that has torch loaded, so a start costs milliseconds; it gets the questions only. It
forks the *child*, which gives up its rights (see `confinement`) and runs the task. What the child
has to say comes through a pipe, as frames of bytes (see `wire`).

The supervisor adopts orphans, so nothing that the child starts can slip away: it kills them all
at the end, and at once when there are too many or their memory grows too large.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from detlearn.grading.confinement import adopt_orphans, confine, folder_of_its_own
from detlearn.grading.wire import SENTENCE, Channel

TICK = 0.05  # seconds between two looks at the child's family
PIPE = 3  # the child's file descriptor
SETUP = 0.5  # of the limit is added for the cells around a function
GRACE = 2.0  # seconds beyond the limit: the child itself stops a slow function and says where
PATIENCE = 30.0  # seconds beyond that until a supervisor counts as lost
MAX_FILES = 1000  # in the child's folder
PRELOAD = "detlearn.grading._preload"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Task = Callable[[Any, Channel], None]

_starting = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """What one task may use.

    Attributes:
        seconds: of wall time, for a function.
        megabytes: of memory beyond what the process holds at its start.
        processes: descendants that are alive at the same time.
        answer_megabytes: that come back.
        disk_megabytes: that lie in its folder.
    """

    seconds: float = 10.0
    megabytes: int = 2048
    processes: int = 16
    answer_megabytes: int = 32
    disk_megabytes: int = 64

    @property
    def patience(self) -> float:
        """Seconds after which a task is ended from outside."""
        return self.seconds * (1 + SETUP) + GRACE


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Attributes:
        data: all that the child wrote into its pipe.
        ended: why it did not end by itself, as a sentence without its full stop, or "".
        lost: the supervisor is gone, so nothing is known; another try may help.
    """

    data: bytes = b""
    ended: str = ""
    lost: bool = False


@functools.cache
def context() -> BaseContext:
    """The way in which the grader starts processes: from a server with torch loaded.

    Raises:
        OSError: if this is not Linux.
    """
    if sys.platform != "linux":
        raise OSError("grading needs Linux: it confines what it runs by Linux's means")
    from multiprocessing import forkserver

    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload([PRELOAD])

    # The server, and with it every process, keeps the environment in which it starts.
    before = dict(os.environ)
    os.environ |= dict.fromkeys(ONE_THREAD, "1")
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg"}
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)

    return made


def start(function: Callable, *arguments: Any) -> BaseProcess:
    """Start a process from the server; any thread may."""
    process = context().Process(target=function, args=arguments)
    with _starting:
        process.start()
    return process


def run_confined(task: Task, payload: bytes, limits: Limits) -> Outcome:
    """Run a task in a confined process.

    Args:
        task: a function of a module; gets the unpickled payload and the channel to answer through.
        payload: a pickle, made by the caller. The task sees it, so it holds no secrets. (Tensors
            that multiprocessing pickles itself would be shared between the processes.)
        limits: for the task.

    Returns:
        What it wrote, and why it was ended, if it was.
    """
    here, there = context().Pipe()
    process = start(_supervise, there, task, payload, limits)
    there.close()

    try:
        if not here.poll(limits.patience + PATIENCE):
            return Outcome(lost=True)
        report = json.loads(here.recv_bytes())
        return Outcome(here.recv_bytes(), **report)
    except (EOFError, OSError):
        return Outcome(lost=True)
    finally:
        here.close()  # a supervisor that still lives ends its child when it sees this
        process.join(PATIENCE)


def _supervise(grader: Connection, task: Task, payload: bytes, limits: Limits) -> None:
    """Fork the child, watch it, end its whole family, and tell the grader what came."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the grader's
    adopt_orphans()

    folder = folder_of_its_own()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_child(write_end, task, payload, limits, folder)
    os.close(write_end)

    data, ended = _watch(child, read_end, grader, limits, folder)
    status = _kill_family(child)
    if not ended and status:
        ended = _said_by(status)
    _remove(folder)

    with contextlib.suppress(ConnectionError):  # the grader itself may be gone
        grader.send_bytes(json.dumps({"ended": ended}).encode())
        grader.send_bytes(data)


def _be_the_child(
    write_end: int, task: Task, payload: bytes, limits: Limits, folder: str | None
) -> None:
    """Run the task with few rights; never returns."""
    leave, status = os._exit, 1  # a learner may replace os._exit

    try:
        _leave_everything_but(write_end)
        channel = Channel(PIPE)
        try:
            confine(limits.patience, limits.megabytes, folder)
            task(pickle.loads(payload), channel)
            status = 0
        except BaseException as error:
            text = f"the grader could not ask your function ({type(error).__name__}: {error})"
            channel.send(SENTENCE, text.encode())
    finally:
        leave(status)


def _leave_everything_but(write_end: int) -> None:
    """Begin a session, and close all files but the pipe; standard input and output lead nowhere."""
    os.setsid()

    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)

    os.dup2(write_end, PIPE)
    os.closerange(PIPE + 1, os.sysconf("SC_OPEN_MAX"))

    signal.signal(signal.SIGINT, signal.default_int_handler)


def _watch(
    child: int, pipe: int, grader: Connection, limits: Limits, folder: str | None
) -> tuple[bytes, str]:
    """Read the pipe until the child has ended, or is to be ended; returns what came, and why."""
    data = bytearray()
    most = limits.answer_megabytes * 2**20
    base = _memory(os.getpid())  # what the child shares with us
    deadline, look = time.monotonic() + limits.patience, 0.0

    while True:
        ready, _, _ = select.select([pipe, grader], [], [], TICK)
        if grader in ready:
            return bytes(data), "the grader was stopped"

        # An empty read says that all who could write are gone.
        if pipe in ready:
            chunk = os.read(pipe, 2**16)
            data += chunk
            if not chunk:
                return bytes(data), ""

        if len(data) > most:
            return b"", f"more than {limits.answer_megabytes} MB came back"
        if time.monotonic() > deadline:
            return bytes(data), f"it was stopped after {limits.seconds:g} seconds"

        # A child that writes without a pause would have us look at its family all the time.
        if time.monotonic() > look:
            look = time.monotonic() + TICK
            if excess := _excess(limits, base, folder):
                return bytes(data), excess

            # A grandchild may hold the pipe open, so its end is no sign that the child lives.
            if pipe not in ready and _has_ended(child):
                return bytes(data), ""


def _excess(limits: Limits, base: int, folder: str | None) -> str:
    """What the family has too much of, as a sentence, or ""."""
    family = list(descendants(os.getpid()))
    if len(family) > limits.processes:
        return f"it started more than {limits.processes} processes"

    memory = sum(max(0, _memory(pid) - base) for pid in family)
    if memory > limits.megabytes * 2**20:
        return f"it used more than {limits.megabytes} MB of memory"

    if folder is not None and _holds_more(folder, limits.disk_megabytes * 2**20):
        return f"it wrote more than {limits.disk_megabytes} MB, or {MAX_FILES} files"

    return ""


def _holds_more(folder: str, most: int) -> bool:
    """Whether a folder holds more bytes, or more files, than it may."""
    ahead, files, size = [folder], 0, 0

    while ahead:
        try:
            entries = list(os.scandir(ahead.pop()))
        except (FileNotFoundError, PermissionError):  # gone, or closed by its owner
            continue
        except OSError:  # so deep that no path leads there
            return True

        files += len(entries)
        for entry in entries:
            with contextlib.suppress(OSError):
                size += entry.stat(follow_symlinks=False).st_size
                if entry.is_dir(follow_symlinks=False):
                    ahead.append(entry.path)
        if files > MAX_FILES or size > most:
            return True

    return False


def _remove(folder: str | None) -> None:
    """Delete a folder with whatever a learner's code has left there."""
    if folder is None:
        return
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):  # folders in folders in folders …
        subprocess.run(["rm", "-rf", "--", folder], stderr=subprocess.DEVNULL, check=False)


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process started, and theirs; zombies too."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(word) for word in file.read().split()]
    except OSError:  # a kernel built without this list
        children = [other for other in _all_processes() if _parent(other) == pid]

    for child in children:
        yield child
        yield from descendants(child)


def _all_processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The name, in brackets, may hold anything.
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def _memory(pid: int) -> int:
    """Bytes in RAM, those shared with the server included."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0


def _kill_family(child: int) -> int:
    """End the child and all its descendants; returns the child's wait status."""
    result = 0
    deadline = time.monotonic() + PATIENCE / 2

    # Whoever forks faster than we kill is caught in a later round.
    while time.monotonic() < deadline:
        for pid in list(descendants(os.getpid())):
            if pid != child or not _has_ended_or_gone(pid):
                _kill(pid)

        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # none is left
            break
        if pid == child:
            result = status
        if pid == 0:  # they are ending
            time.sleep(0.001)

    return result


def _has_ended_or_gone(pid: int) -> bool:
    try:
        return _has_ended(pid)
    except ChildProcessError:
        return True


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _said_by(status: int) -> str:
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return f"its process was killed ({name})"
    return f"it ended its process (exit code {os.WEXITSTATUS(status)})"
