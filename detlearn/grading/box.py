"""The sandbox of a submission, from outside: bubblewrap builds it, a socket leads in.

Inside there are the Python installation, read-only and without the packages `detlearn` and
`torchvision`; the few modules of the package that ask the questions; an empty folder of limited
size; and nothing else of the machine: no other file, process or network. What runs there is
`inside`; the view of the package that belongs to an exercise comes with the task (see `view`).

Started as root, the grader gives the sandbox a user of its own: the limit on processes does not
count for root. A first bubblewrap then shows the second one only what that may show.

Where bubblewrap does not work, an instructor may say that the machine is thrown away afterwards;
then the same program runs as an ordinary process with the same limits.
"""

from __future__ import annotations

import functools
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from detlearn.grading.inside import Job, Limits
from detlearn.grading.view import visible_packages, write_base

SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
BASE, HOME = "/base", "/student"  # inside
ROOMS = ("--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts")

START = "import sys; sys.path.insert(0, {base!r}); from detlearn.grading.inside import main; main()"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PLACES = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")
BIRTH = 180.0  # seconds for the first process to load torch, on the busiest machine
TRIES = 2  # for a task whose sandbox is lost, by no fault that can be told

REFUSED = (
    "grading needs Linux with bubblewrap, libseccomp (apt-get install bubblewrap libseccomp2) and "
    "user namespaces, and here {why}; where this machine is thrown away afterwards, as a container "
    "is, say --in-container"
)


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Attributes:
        said: all that the child wrote.
        ended: why it did not end by itself, as a sentence without its full stop, or "".
    """

    said: bytes = b""
    ended: str = ""


class Lost(Exception):
    """The sandbox is gone, by no fault that can be told; another try may help."""


class Box:
    """The sandbox of one submission, built for its first task; it lives until it is closed.

    Args:
        limits: for each task.
        in_container: do without a sandbox.
    """

    def __init__(self, limits: Limits, *, in_container: bool = False) -> None:
        self.limits, self.in_container = limits, in_container
        self.process: subprocess.Popen | None = None

    def run(self, task: Any, modules: Mapping[str, str], most: int) -> Outcome:
        """Do a task in a child of the sandbox's first process.

        Args:
            task: of `inside`. What it holds can be seen from the learner's code: no secrets.
            modules: name → text, which it may import; the same holds for these.
            most: bytes that may come back.

        Returns:
            What it said, and why it was ended, if it was.

        Raises:
            Lost: if the sandbox is gone, and the next one as well.
            OSError: if none can be built.
        """
        for _ in range(TRIES):
            if self.process is None:
                self._start()
            try:
                self._control.send_bytes(pickle.dumps(Job(most, self.limits, *HELD)))
                self._control.send_bytes(pickle.dumps((task, modules)))
                ended = self._control.recv_bytes().decode()
                return Outcome(self._control.recv_bytes(), ended)
            except (EOFError, OSError):
                self.close()
        raise Lost

    def close(self) -> None:
        """End everything in it, and delete it."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)  # bubblewrap's end is that of all inside
            self.process.wait()
            self.process = None  # from now on the number may be another process's
            self._control.close()
            shutil.rmtree(self.place, ignore_errors=True)

    def _start(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="detlearn-grading-"))
        for name in ("base", "home"):
            (self.place / name).mkdir(mode=0o755)
        write_base(self.place / "base")

        # Whoever waits for longer than any task may take waits for nobody.
        ours, theirs = socket.socketpair()
        longest = struct.pack("ll", int(BIRTH + self.limits.patience), 0)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, option, longest)
        self._control = Connection(ours.detach())

        with theirs, open(self.place / "log", "wb") as log:
            self.process = subprocess.Popen(
                self._command(),
                cwd=self.place / "home",
                env=environment(str(self.place / "home")) if self.in_container else None,
                stdin=theirs,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        try:
            self._control.recv_bytes()  # it says that torch is loaded
        except (EOFError, OSError):
            log = (self.place / "log").read_text(errors="replace").strip().splitlines()
            self.close()
            why = f"it does not start ({log[-1] if log else 'killed'})"
            raise OSError(REFUSED.format(why=why)) from None

    def _command(self) -> list[str]:
        if self.in_container:
            return [sys.executable, "-I", "-c", START.format(base=str(self.place / "base"))]

        inner = sandbox(self.place / "base", self.limits.disk_megabytes)
        return [*inner, _python(), "-I", "-c", START.format(base=BASE)]


def _held() -> tuple[int, int]:
    """The bytes of data and of addresses that Python and torch hold, here as in a sandbox."""
    status = Path("/proc/self/status").read_text()
    held = dict(line.split(":", 1) for line in status.splitlines())
    data, space = (int(held[name].split()[0]) * 1024 for name in ("VmData", "VmSize"))
    return data, space


# Read now, before the grader does anything: all that a sandbox loads is loaded here as well.
HELD = _held() if sys.platform == "linux" else (0, 0)


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


def sandbox(base: Path, disk_megabytes: int) -> list[str]:
    """Return the words that start a program in a sandbox.

    Args:
        base: folder that lies in it at BASE.
        disk_megabytes: for its own folder.
    """
    bwrap = shutil.which("bwrap") or "bwrap"
    flags = [
        *(bwrap, "--unshare-user", "--disable-userns", *ROOMS, "--unshare-cgroup-try"),
        *("--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"),
        *("--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"),
    ]
    shown = [*_mounts(), "--ro-bind", str(base), BASE, "--dir", HOME]
    devices = [word for device in DEVICES for word in ("--dev-bind", device, device)]
    own = ["--size", str(disk_megabytes * 2**20), "--tmpfs", HOME, "--chdir", HOME]
    own += ["--remount-ro", "/"]
    for name, value in environment(HOME).items():
        own += ["--setenv", name, value]

    if os.geteuid() != 0:
        return [*flags, *shown, *devices, *own]

    # Its user could not get at what lies in a folder of root's alone: so a first one, still root's,
    # shows what the second may show, and the second shows all of that but the processes.
    setpriv = shutil.which("setpriv") or "setpriv"
    user = str(20_000 + os.getpid() % 40_000)
    programs = [word for path in (bwrap, setpriv) for word in ("--ro-bind", path, path)]
    return [
        # The second one needs the processes and a place to build in.
        *(bwrap, "--unshare-pid", "--die-with-parent", "--proc", "/proc", "--dir", "/tmp"),
        *_folders([*_mounts(), *programs, *devices]),
        *(*shown, *programs, *devices),
        *(setpriv, "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"),
        *(*flags, "--ro-bind", "/", "/", "--tmpfs", "/proc", "--remount-ro", "/proc"),
        *(*devices, *own),
    ]


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

    with tempfile.TemporaryDirectory() as folder:
        command = [*sandbox(Path(folder), 1), _python(), "-I", "-S", "-c", ""]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason is given"])[-1]
        raise OSError(REFUSED.format(why=f"they do not work ({why})"))
