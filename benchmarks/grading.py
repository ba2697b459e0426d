"""Grade a class in which three of ten attack the grader: who gains, who loses, time and memory.

    python benchmarks/grading.py                    200 submissions on 2 processes
    python benchmarks/grading.py --submissions 20

Of 20 submissions 10 are right, 3 wrong and 1 blank, each to all exercises. 6 are hostile, of 60
kinds: they hand in three exercises, of which the one in the middle attacks. An attack that is
refused is followed by a right answer, so its points show that it came to nothing.

Prints how many rows are not what they should be, and ends with exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from detlearn.check import EXERCISES
from detlearn.check.engine import Hunt
from detlearn.grading import pieces
from detlearn.grading.box import Limits
from detlearn.grading.grader import grade_folder

START = "import torch\nfrom detlearn import check"
CYCLE = [*"rhrwrhrbrhrwhrrhwrhr"]  # right, hostile, wrong, blank
AROUND = ("box_iou", "giou_loss", "nms")  # what a hostile one hands in; the second attacks
C = "import ctypes, os\nlibc = ctypes.CDLL(None)"
# Numbers of system calls: x86-64 has its own, later processors share theirs.
CLONE, ADD_KEY = (56, 248) if platform.machine() == "x86_64" else (220, 217)


def tries(*lines: str, error: str = "OSError") -> str:
    """Lines that fail; if they do not, the answer is spoilt."""
    inner = "\n".join(f"    {line}" for line in lines)
    return f"try:\n{inner}\nexcept {error}: pass\nelse: return"


def unless(condition: str) -> str:
    """Spoils the answer unless a condition holds."""
    return f"if not ({condition}): return"


# Name → cells before the function, what it does before it answers rightly, and the points it earns.
HOSTILE: dict[str, tuple[str, str, int]] = {
    # ---- they use up what there is ----
    "loops": ("", "while True: pass", 0),
    "loops and catches": (
        "",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        0,
    ),
    "takes the timers away": (
        "import signal",
        "for t in (0, 1, 2): signal.setitimer(t, 0)\nwhile True: pass",
        0,
    ),
    "sleeps": ("import time", "time.sleep(1000)", 0),
    "loops before": ("def f():\n    while True: pass\nEPS = f()", "EPS", 0),
    "huge tensor": ("", "torch.ones(25 * 10**9)", 0),
    "takes all memory": ("", "kept = []\nwhile True: kept.append(torch.ones(10**7))", 0),
    "shared memory": ("import mmap", "m = mmap.mmap(-1, 2**37)\nm[:] = b'x' * len(m)", 0),
    "a large file": ("", "f = open('f', 'wb')\nwhile True: f.write(b'x' * 10**6)", 0),
    "many files": ("import os, time", "[os.mkdir(str(i)) for i in range(3000)]\ntime.sleep(9)", 0),
    "large files": (
        "import time",
        "for i in range(200): open(str(i), 'wb').write(b'x' * 999_999)\ntime.sleep(9)",
        0,
    ),
    "many open files": ("", tries("kept = [open('/dev/null') for _ in range(10**4)]"), 10),
    "prints": ("", "print('x' * 10**8)", 10),
    "recursion": ("import sys", "sys.setrecursionlimit(10**9)\nf = lambda: f()\nf()", 0),
    "exit": ("import sys", "sys.exit(0)", 0),
    "hard exit": ("import os", "os._exit(0)", 0),
    "aborts": ("import os", "os.abort()", 0),
    "reads nowhere": ("import ctypes", "ctypes.string_at(0)", 0),
    # ---- they start or touch processes ----
    "fork bomb": ("import os", tries("while True: os.fork()"), 10),
    "a program": ("import os", tries("os.execv('/bin/sh', ['sh'])"), 10),
    "subprocess": ("import subprocess, sys", tries("subprocess.run([sys.executable])"), 10),
    "clone": (C, unless(f"libc.syscall({CLONE}, 17, 0, 0, 0, 0) == -1"), 10),
    "kills everybody": ("import os", tries("os.kill(-1, 9)", "os.kill(9999, 9)"), 10),
    "kills the keeper": ("import os", "os.kill(1, 9)", 10),
    "limits the keeper": (
        "import resource",
        tries("resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3))"),
        10,
    ),
    "traces the keeper": (C, unless("libc.ptrace(16, 1, 0, 0) == -1"), 10),
    "files of the keeper": (C, unless("libc.syscall(438, os.pidfd_open(1), 0, 0) == -1"), 10),
    "proc": ("import os", unless("not os.listdir('/proc') if os.path.isdir('/proc') else 1"), 10),
    "namespace": (C, unless("libc.unshare(0x10000000) == -1"), 10),
    # ---- they leave something behind ----
    "closed folder": (
        "import os",
        "os.makedirs('d/d', exist_ok=True) if not os.path.isdir('d') else None\nos.chmod('d', 0)",
        10,
    ),
    "marks the folder": (
        "import os",
        "os.setxattr('.', 'user.a', b'x')\nos.utime('.', (3, 4))",
        10,
    ),
    "key": (C, unless(f"libc.syscall({ADD_KEY}, b'user', b'n', b'x', 1, -4) == -1"), 10),
    "message queue": (C, unless("libc.mq_open(b'/n', 0o102, 0o600, None) == -1"), 10),
    "system v": (C, unless("libc.shmget(0, 9, 0o1666) == -1"), 10),
    "thread": ("import threading", "threading.Thread(target=print).start()", 0),
    # ---- they want out ----
    "tcp": ("import socket", tries("socket.create_connection(('127.0.0.1', 22), 1)"), 10),
    "udp": ("import socket", tries("socket.socket(2, 2).sendto(b'x', ('8.8.8.8', 53))"), 10),
    "vsock": ("import socket", tries("socket.socket(socket.AF_VSOCK)"), 10),
    "writes the view": ("import detlearn", tries("open(detlearn.__file__, 'w')"), 10),
    "writes python": ("import os", tries("open(os.__file__, 'a')"), 10),
    "reads accounts": ("", tries("open('/etc/passwd')"), 10),
    "reads others": ("import os", unless("not {'home', 'run', 'var'} & {*os.listdir('/')}"), 10),
    "environment": ("import os", unless("'PATH' not in os.environ"), 10),
    # ---- they forge ----
    "writes into all pipes": ("import os", "for n in range(3, 9):\n    os.write(n, b'10')", 0),
    "no end of answers": ("import os", "while True: os.write(3, b'x' * 2**20)", 0),
    "empty answers": (
        "import os\nfrom safetensors.torch import save",
        "os.write(3, save({}, metadata={'said': '{\"answers\": []}'}))\nos._exit(0)",
        0,
    ),
    "patches torch": ("torch.allclose = torch.isclose = lambda *a, **k: True", "return None", 0),
    "patches the engine": (
        "import detlearn.check.engine as e\ne.judge = lambda *a: None",
        "return None",
        0,
    ),
    "a class called check": (
        "class check: giou_loss = staticmethod(lambda function: function)",
        "return None",
        0,
    ),
    "huge shape": ("", "return torch.zeros(0, 2**40)", 0),
    "a view of a view": ("", "return torch.zeros(1).expand(10**9)", 0),
    # ---- they want the answer from somebody else ----
    "the package's": ("from detlearn import losses", "return losses.giou_loss(*args)", 0),
    "torchvision's": (
        "import torchvision",
        "return torchvision.ops.generalized_box_iou_loss(*args)",
        0,
    ),
    "the solution": ("", "return check.solution('giou_loss')", 0),
    "the check's": ("", "return check.EXERCISES['giou_loss'].reference(*args)", 0),
    "the source": (
        "import inspect\nfrom detlearn import losses",
        "exec(inspect.getsource(losses.giou_loss), vars(losses))\nreturn losses.giou_loss(*args)",
        0,
    ),
    "the pickle": ("import pickle", "pickle.loads(b'cdetlearn.losses\\ngiou_loss\\n.')(*args)", 0),
    "memory": (
        "import gc",
        "found = [f for f in gc.get_objects() if getattr(f, '__name__', '') == '_paired_giou']\n"
        "return found[0](*args)",
        0,
    ),
    "torch.ops": ("", "return torch.ops.torchvision.giou_loss(*args)", 0),
    "another package": ("import transformers", "return transformers.giou_loss(*args)", 0),
}


def own(name: str) -> str:
    """The package's function under an exercise's name, as if a student had written it."""
    exercise = EXERCISES[name]
    source = pieces.code(pieces.home(exercise.reference))
    return source.replace(f"def {exercise.reference.__name__}(", f"def {name}(")


def handing_in(name: str) -> str:
    exercise = EXERCISES[name]
    cause = f"{exercise.cause!r}, " if isinstance(exercise, Hunt) else ""
    return f"{name} = check.{name}({cause}{name})"


def ordinary(kind: str) -> list[str]:
    """The cells of a submission to all exercises."""
    cells = [START]
    for name in EXERCISES:
        if kind == "right":
            cells.append(own(name))
        else:
            body = "return torch.zeros(3, 1)" if kind == "wrong" else "raise NotImplementedError"
            cells.append(f"def {name}(*args, **named):\n    {body}")
        cells.append(handing_in(name))
    return cells


def hostile(before: str, attack: str) -> list[str]:
    """The cells of a submission whose second function attacks before it answers."""
    first, name, last = AROUND
    honest = own(name).replace(f"def {name}(", "def honest(")
    lines = "\n".join(f"    {line}" for line in attack.splitlines())
    attacks = f"{honest}\ndef {name}(*args):\n{lines}\n    return honest(*args)"

    cells = [START, own(first), handing_in(first), before, attacks, handing_in(name)]
    return [*cells, own(last), handing_in(last)]


def write_class(folder: Path, number: int) -> dict[str, tuple[str, int]]:
    """Write submissions; return for the name of each its kind and the points that it must earn."""
    everything = sum(exercise.points for exercise in EXERCISES.values())
    made = {"r": ("right", everything), "w": ("wrong", 0), "b": ("blank", 0)}
    cells = {letter: ordinary(kind) for letter, (kind, _) in made.items()}
    letters = [CYCLE[i % len(CYCLE)] for i in range(number)]
    kinds, attacks = {}, list(HOSTILE.items())

    for i, letter in enumerate(letters):
        name = f"student_{i:03}.ipynb"
        if letter == "h":
            # Spread over all kinds, if there are fewer.
            nth, of = letters[:i].count("h"), letters.count("h")
            kind, (before, attack, points) = attacks[nth * len(attacks) // of]
            kinds[name] = kind, 20 + points
            content = hostile(before, attack)
        else:
            kinds[name], content = made[letter], cells[letter]

        # No two are alike, so none is found in the journal.
        code = [
            {"cell_type": "code", "metadata": {}, "source": source}
            for source in [f"# {i}", *content]
        ]
        notebook = {"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (folder / name).write_text(json.dumps(notebook))
    return kinds


class Memory(threading.Thread):
    """Watches the memory of this process and all that it started; shared pages count once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0

    def run(self) -> None:
        while True:
            family = [os.getpid(), *descendants(os.getpid())]
            self.peak = max(self.peak, sum(map(_proportional, family)) / 1024)
            time.sleep(1)  # to look costs a tenth of a processor at twice the rate


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process started, and theirs."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from descendants(child)


def _proportional(pid: int) -> int:
    """Kilobytes; a page that n processes share counts 1/n in each."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def main() -> int:
    """Grade the class, print what came, and return 1 if a row is wrong."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(main)))
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    memory = Memory()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "class")
        folder.mkdir()
        kinds = write_class(folder, options.submissions)

        memory.start()
        started = time.perf_counter()
        rows = grade_folder(
            folder, Path(temporary, "grades.csv"), seed=1, limits=Limits(), workers=options.workers
        )
        seconds = time.perf_counter() - started

    wrong = gained = lost = 0
    for name, (kind, points) in kinds.items():
        earned = sum(rows[name].points.values())
        if earned == points:
            continue
        wrong += 1
        gained += earned > points
        lost += kind == "right" and earned < points
        hints = rows[name].hints.items()
        told = {e: hint for e, hint in hints if hint and not hint.startswith("not handed in")}
        print(f"{name} ({kind}): {earned} points, not {points}; {rows[name].remark} {told}"[:600])

    attackers = sum(kind in HOSTILE for kind, _ in kinds.values())
    print(f"{len(kinds)} submissions, {attackers} of them hostile, {options.workers} at a time:")
    print(f"{wrong} rows wrong; {gained} gained; {lost} right ones lost points")
    print(f"{seconds / 60:.1f} minutes; at most {memory.peak:.0f} MB in all processes together")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
