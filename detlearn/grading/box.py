"""The sandbox of a submission, from outside: bubblewrap builds it, a socket leads in.

Inside there are the Python installation, read-only and without the packages `detlearn` and
`torchvision`; an empty folder of limited size; and nothing else of the machine: no other file,
process or network. The few modules of the package that ask the questions come through the socket
(see `loader`), and what runs there is `inside`; the view of the package that belongs to an exercise
comes with the task (see `view`).

Started as root, the grader gives the sandbox a user of its own, so that to the kernel nothing in it
is root's. A first bubblewrap then shows the second one only what that may show.

Where bubblewrap does not work, an instructor may say that the machine is thrown away afterwards;
then the same program runs as an ordinary process with the same limits.
"""

from __future__ import annotations

import functools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from detlearn.grading import loader
from detlearn.grading.inside import Job, Limits
from detlearn.grading.view import base, visible_packages

SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
HOME = "/student"  # inside
ROOMS = ("--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts")

# What a sandbox runs, after the text of `loader`.
START = """

import gc
gc.disable()  # nothing that is loaded goes again; the keeper enables it

control = connected()
from detlearn.grading.inside import keep
keep(control)
"""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PLACES = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")
BIRTH = 180.0  # seconds for the first process to load torch, on the busiest machine
TRIES = 3  # for a task: the last one may have left a sandbox that ended, another may be lost

REFUSED = (
    "grading needs Linux with bubblewrap, libseccomp (apt-get install bubblewrap libseccomp2) and "
    "user namespaces, and here {why}; where this machine is thrown away afterwards, as a container "
    "is, say --in-container"
)


@dataclass(frozen=True)
class Outcome:
    """What came of a task."""

    said: bytes = b""  # all that the child wrote
    ended: str = ""  # why it did not end by itself, as a sentence without its full stop


class Lost(Exception):
    """The sandbox is gone, by no fault that can be told; another try may help."""


class Box:
    """The sandbox of one submission, built for its first task; it lives until it is closed.

    Args:
        limits: for each task.
        in_container: do without a sandbox.
    """

    works = False  # one has been built, so that a failure is a passing one

    def __init__(self, limits: Limits, *, in_container: bool = False) -> None:
        self.limits, self.in_container = limits, in_container
        self.process: subprocess.Popen | None = None
        self._folder: tempfile.TemporaryDirectory | None = None

    def run(self, task: Any, modules: Mapping[str, str], most: int) -> Outcome:
        """Do a task in a child of the sandbox's first process.

        Args:
            task: of `inside`. What it holds can be seen from the learner's code: no secrets.
            modules: name → text, which it may import; the same holds for these.
            most: bytes that may come back.

        Returns:
            What it said, and why it was ended, if it was.

        Raises:
            Lost: if the sandbox is gone, and so are the next ones.
            OSError: if none can be built, and never could.
        """
        for _ in range(TRIES):
            try:
                if self.process is None:
                    self._start()
                self._control.send_bytes(pickle.dumps(Job(most, self.limits, *self._held)))
                self._control.send_bytes(pickle.dumps((task, modules)))
                ended = self._received().decode()
                return Outcome(self._received(), ended)
            except (EOFError, OSError):
                self.close()
                if not Box.works:
                    raise
        raise Lost

    def _received(self) -> bytes:
        # Whoever waits for longer than any task may take waits for nobody.
        if not self._control.poll(BIRTH + self.limits.patience):
            raise TimeoutError
        return self._control.recv_bytes()

    def close(self) -> None:
        """End everything in it, and delete it."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)  # bubblewrap's end is that of all inside
            self.process.wait()
            self.process = None  # from now on the number may be another process's
            self._control.close()
            if self._folder is not None:
                self._folder.cleanup()

    def _start(self) -> None:
        words = [] if self.in_container else sandbox(self.limits.disk_megabytes)
        program = Path(loader.__file__).read_text(encoding="utf-8") + START
        self._control, theirs = Pipe()
        folder = "/"
        if self.in_container:
            options = {"prefix": "detlearn-", "ignore_cleanup_errors": True}
            self._folder = tempfile.TemporaryDirectory(**options)
            folder = self._folder.name

        with tempfile.TemporaryFile() as log:
            self.process = subprocess.Popen(
                [*words, _python(), "-I", "-c", program],
                cwd=folder,
                env=environment(folder) if self.in_container else None,
                stdin=theirs,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            theirs.close()

            try:
                self._control.send_bytes(pickle.dumps(base()))
                self._received()  # it says that torch is loaded
            except (EOFError, OSError):
                self.close()
                log.seek(0)
                said = log.read().decode(errors="replace").strip().splitlines()
                why = f"it does not start ({said[-1] if said else 'killed'})"
                raise OSError(REFUSED.format(why=why)) from None

        # The grader itself holds more, the more processors there are.
        pid = self.process.pid
        self._held = _held_by(pid if self.in_container else _first_inside(pid))
        Box.works = True


def _first_inside(pid: int) -> int:
    """The first process in a sandbox: it stands at the end of the row that begins with bubblewrap.

    Raises:
        OSError: if the kernel does not say who that is.
    """
    try:
        while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            pid = int(children[0])
    except FileNotFoundError:
        why = "the kernel does not say which processes one has started (CONFIG_PROC_CHILDREN)"
        raise OSError(REFUSED.format(why=why)) from None
    return pid


def _held_by(pid: int) -> tuple[int, int]:
    """The bytes of data and of addresses that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    held = dict(line.split(":", 1) for line in status.splitlines())
    data, space = (int(held[name].split()[0]) * 1024 for name in ("VmData", "VmSize"))
    return data, space


# ---- bubblewrap ----


def environment(home: str) -> dict[str, str]:
    """The whole environment of what is graded."""
    return {
        **dict.fromkeys(ONE_THREAD, "1"),
        **dict.fromkeys(PLACES, home),
        "USER": "student",
        "CUDA_VISIBLE_DEVICES": "",
        "MPLBACKEND": "Agg",
        "LANG": "C.UTF-8",
    }


def sandbox(disk_megabytes: int) -> list[str]:
    """Return the words that start a program in a sandbox, whose own folder has some megabytes."""
    bwrap = shutil.which("bwrap") or "bwrap"
    flags = [bwrap, "--unshare-user", "--disable-userns", *ROOMS, "--unshare-cgroup-try"]
    flags += ["--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"]
    flags += ["--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]

    shown = [*_mounts(), "--dir", HOME]
    devices = [word for device in DEVICES for word in ("--dev-bind", device, device)]
    own = ["--size", str(disk_megabytes * 2**20), "--tmpfs", HOME, "--chdir", HOME]
    own += ["--remount-ro", "/"]
    for name, value in environment(HOME).items():
        own += ["--setenv", name, value]

    if os.geteuid() != 0:
        return flags + shown + devices + own

    # A user of its own could not get at what lies in a folder of root's alone: so a first one,
    # still root's, shows what may be seen, and the processes and a place to build in, which the
    # second one needs.
    setpriv = shutil.which("setpriv") or "setpriv"
    shown += devices
    shown += [word for path in (bwrap, setpriv) for word in ("--ro-bind", path, path)]
    first = [bwrap, "--unshare-pid", "--die-with-parent", "--proc", "/proc", "--dir", "/tmp"]
    first += _folders(shown) + shown

    user = str(20_000 + os.getpid() % 40_000)
    switch = [setpriv, "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"]

    # The second one shows all of that but the processes.
    second = [*flags, "--ro-bind", "/", "/", "--tmpfs", "/proc", "--remount-ro", "/proc"]
    second += devices + own
    return first + switch + second


def _python() -> str:
    """The interpreter, by its place in an environment that may itself be a link."""
    return os.path.join(os.path.realpath(sys.prefix), "bin", os.path.basename(sys.executable))


@functools.cache
def _mounts() -> list[str]:
    """Words that show of the machine: Python, the packages that any notebook may import, and the
    libraries of the system.
    """
    prefixes = {os.path.realpath(sys.prefix), sys.base_prefix, os.path.realpath(sys.base_prefix)}
    parts = {f"{prefix}/{part}" for prefix in prefixes for part in ("bin", "lib", "pyvenv.cfg")}
    trees = sorted(path for path in {*parts, *SYSTEM} if os.path.exists(path))

    # In place of all that is installed, empty folders; in these, what may be seen.
    packages = {str(path) for tree in trees for path in Path(tree).glob("python*/*-packages")}
    visible = sorted(map(os.path.realpath, visible_packages()))

    words = [word for tree in trees for word in ("--ro-bind", tree, tree)]
    words += [word for path in sorted(packages) for word in ("--tmpfs", path)]
    words += [word for path in visible for word in ("--ro-bind", path, path)]
    return words + [word for path in sorted(packages) for word in ("--remount-ro", path)]


def _folders(words: Collection[str]) -> list[str]:
    """Words that make the folders above all paths among some words, open to every user."""
    paths = [Path(word) for word in words if word.startswith("/")]
    above = {str(folder) for path in paths for folder in path.parents} - {"/"}
    return [word for folder in sorted(above) for word in ("--dir", folder)]


def require_sandbox() -> None:
    """Check that a sandbox can be built.

    Raises:
        OSError: if not, with a sentence that says what can be done.
    """
    if sys.platform != "linux":
        raise OSError(REFUSED.format(why="is none"))
    if shutil.which("bwrap") is None:
        raise OSError(REFUSED.format(why="the program bwrap is missing"))

    command = [*sandbox(disk_megabytes=1), _python(), "-I", "-S", "-c", ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason is given"])[-1]
        raise OSError(REFUSED.format(why=f"they do not work ({why})"))
