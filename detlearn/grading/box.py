"""The sandbox of a submission, from outside: bubblewrap builds it, a socket and pipes lead in.

Inside there are the Python installation, read-only and without the packages `detlearn` and
`torchvision`; the view of these two that belongs to the exercise (see `view`); an empty folder of
limited size; and nothing else of the machine: no other file, process or network. What runs there
is `inside`.

Started as root, the grader gives the sandbox a user of its own: the limit on processes does not
count for root. A first bubblewrap then shows the second one only what that may show.

Where bubblewrap does not work, an instructor may say that the machine is thrown away afterwards;
then the same program runs as an ordinary process with the same limits.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detlearn.grading.inside import LENGTH, Bounds
from detlearn.grading.view import visible_packages

SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
VIEW, HOME = "/view", "/student"  # inside
ROOMS = ("--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts")

START = "import sys; sys.path.insert(0, {view!r}); from detlearn.grading.inside import main; main()"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PLACES = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")
BIRTH = 180.0  # seconds for the first process to load torch, on the busiest machine
PATIENCE = 30.0  # seconds beyond a child's time until a sandbox counts as lost

REFUSED = (
    "grading needs Linux with bubblewrap, libseccomp (apt-get install bubblewrap libseccomp2) and "
    "user namespaces, and here {why}; where this machine is thrown away afterwards, as a container "
    "is, say --in-container"
)


@dataclass(frozen=True)
class Limits:
    """What one exercise of a submission may use.

    Attributes:
        seconds: of processor time, for a function.
        megabytes: of memory beyond what Python and torch hold.
        disk_megabytes: that lie in its folder.
    """

    seconds: float = 10.0
    megabytes: int = 2048
    disk_megabytes: int = 64


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Attributes:
        data: all that the child wrote into its pipe.
        ended: why it did not end by itself, as a sentence without its full stop, or "".
        lost: the sandbox is gone, so nothing is known; another try may help.
    """

    data: bytes = b""
    ended: str = ""
    lost: bool = False


class Views:
    """The views of the package, each made once.

    Args:
        make: writes the view for an exercise into a folder, given earlier exercises that it holds.
    """

    def __init__(self, make: Callable[..., None]) -> None:
        self.make = make
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="detlearn-views-")
        self._made: dict[tuple[str, frozenset[str]], Path] = {}

    def close(self) -> None:
        """Delete them."""
        self._folder.cleanup()

    def of(self, exercise: str, given: Collection[str] = ()) -> Path:
        """Return the folder of a view."""
        key = exercise, frozenset(given)
        with self._lock:
            if key not in self._made:
                folder = Path(self._folder.name, str(len(self._made)))
                folder.mkdir()
                self.make(exercise, folder, given=given)
                self._made[key] = folder
            return self._made[key]


class Box:
    """The sandbox of one submission; use it in a ``with``.

    Args:
        limits: for each task.
        view: that lies in it at first.
        in_container: do without a sandbox.
    """

    def __init__(self, limits: Limits, view: Path, *, in_container: bool = False) -> None:
        self.limits, self.in_container = limits, in_container
        self.place = Path(tempfile.mkdtemp(prefix="detlearn-grading-"))
        self._shown: Path | None = None

        for name in ("view", "home"):
            (self.place / name).mkdir(mode=0o755)
        self._show(view)

        self._control, there = socket.socketpair()
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with there, open(self.place / "log", "wb") as log:
            self.process = subprocess.Popen(
                self._command(),
                cwd=self.place / "home",
                env=environment(str(self.place / "home")) if in_container else None,
                stdin=there,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        try:
            self._bounds = self._born()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything in it, and delete it; any thread may."""
        self.kill()
        self._control.close()
        shutil.rmtree(self.place, ignore_errors=True)

    def kill(self) -> None:
        """End everything in it."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # bubblewrap's end is that of all inside
        except ProcessLookupError:
            pass
        self.process.wait()

    # How it begins

    def _command(self) -> list[str]:
        if self.in_container:
            return [sys.executable, "-I", "-c", START.format(view=str(self.place / "view"))]

        inner = sandbox(self.place / "view", self.limits.disk_megabytes)
        return [*inner, _python(), "-I", "-c", START.format(view=VIEW)]

    def _born(self) -> Bounds:
        """Wait until the first process is ready; returns the limits for its children."""
        self._control.settimeout(BIRTH)
        size = socket.CMSG_SPACE(struct.calcsize("3i"))
        said, credentials, _, _ = self._control.recvmsg(100, size)

        if not said:
            log = (self.place / "log").read_text(errors="replace").strip().splitlines()
            raise OSError(REFUSED.format(why=f"it does not start ({log[-1] if log else 'killed'})"))

        # The system says the number under which this process, not the sandbox, knows the sender.
        (pid, _, _) = struct.unpack("3i", credentials[0][2])
        status = Path(f"/proc/{pid}/status").read_text()
        held = dict(line.split(":", 1) for line in status.splitlines())
        data, space = (int(held[name].split()[0]) * 1024 for name in ("VmData", "VmSize"))

        more = self.limits.megabytes * 2**20
        return Bounds(
            seconds=self.limits.seconds,
            data=data + more,
            space=space + 2 * more,
            disk=self.limits.disk_megabytes * 2**20,
        )

    def _show(self, view: Path) -> None:
        """Put a view into the sandbox in place of the last one."""
        if view == self._shown:
            return
        for entry in os.scandir(self.place / "view"):
            shutil.rmtree(entry.path)

        # Outside of a sandbox the learner's code could change what a link leads to.
        copy = shutil.copyfile if self.in_container else os.link
        shutil.copytree(view, self.place / "view", copy_function=copy, dirs_exist_ok=True)
        self._shown = view

    # What it does

    def run(self, task: Any, view: Path, most: int) -> Outcome:
        """Do a task in a child of the sandbox's first process.

        Args:
            task: of `inside`. What it holds can be seen from the learner's code: no secrets.
            view: of the package, for this task.
            most: bytes that may come back.

        Returns:
            What it wrote, and why it was ended, if it was.
        """
        content = pickle.dumps((task, self._bounds))
        read_end, write_end = os.pipe()
        deadline = time.monotonic() + self._bounds.patience + PATIENCE

        try:
            try:
                self._show(view)
                self._control.settimeout(PATIENCE)
                socket.send_fds(self._control, [LENGTH.pack(len(content))], [write_end])
                self._control.sendall(content)
            finally:
                os.close(write_end)
            data, excess = _read(read_end, self._control, most, deadline)
        except OSError:
            return Outcome(lost=True)
        finally:
            os.close(read_end)  # whoever goes on writing fails

        report = self._report(deadline)
        if report is None:
            return Outcome(lost=True)
        return Outcome(data, excess or report["ended"])

    def _report(self, deadline: float) -> dict[str, str] | None:
        """How the child ended; None if its keeper is gone."""
        line = b""
        try:
            while not line.endswith(b"\n"):
                self._control.settimeout(max(0.1, deadline - time.monotonic()))
                more = self._control.recv(1000)
                if not more:
                    return None
                line += more
        except OSError:  # it does not come
            return None
        return json.loads(line)


def _read(pipe: int, control: socket.socket, most: int, deadline: float) -> tuple[bytes, str]:
    """Read all that comes through a pipe, until its end, or that of the child is reported."""
    data = bytearray()
    while True:
        left = max(0, deadline - time.monotonic())
        ready, _, _ = select.select([pipe, control], [], [], left)
        if not ready:
            raise TimeoutError

        # Somebody whom the child has left behind may hold the pipe open.
        if pipe not in ready:
            return bytes(data), ""

        chunk = os.read(pipe, 2**16)
        data += chunk
        if not chunk:
            return bytes(data), ""
        if len(data) > most:
            return b"", "more came back than an answer can need"


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


def sandbox(view: Path, disk_megabytes: int) -> list[str]:
    """Return the words that start a program in a sandbox.

    Args:
        view: folder that lies in it at VIEW.
        disk_megabytes: for its own folder.
    """
    bwrap = shutil.which("bwrap") or "bwrap"
    flags = [
        *(bwrap, "--unshare-user", "--disable-userns", *ROOMS, "--unshare-cgroup-try"),
        *("--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"),
        *("--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"),
    ]
    shown = [*_mounts(), "--ro-bind", str(view), VIEW, "--dir", HOME]
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
