"""kill -9 while a detector is trained, while it detects, while data are downloaded, while a class
is graded.

    python tests/fuzz/fuzz_kills.py --kills 20 --seed 0

Each job runs once undisturbed. Then it is killed again and again: before an operation on its
folder chosen at random (a file is opened, a piece of it is written, it is renamed or removed, a
folder is made), or after a time chosen at random; started again after each kill, and in the end
left alone. Right is if

- after each kill every file under its final name is whole, what was there before is as it was, and
  a training has not gone back;
- in the end the folder holds the very files of the undisturbed run, byte for byte (of a
  checkpoint, the tensors: it also says how long it took), and nothing else.

The same is asked of two runs on one folder at once, of which the second trainer or grader must be
refused in a sentence, and of a disk that gets full in the middle, where the job must also say in a
sentence which file it could not write.

A job runs in a fork of this process, which has loaded torch already. Linux and macOS.
"""

import argparse
import builtins
import hashlib
import http.server
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pooch
import torch
from PIL import Image

from detlearn.check import EXERCISES
from detlearn.cli import main as command_line
from detlearn.data import bccd
from detlearn.grading.pieces import code, home
from detlearn.machine.checkpoints import load_tensors
from detlearn.training import loop

PIECES = 4  # in which a file is written: a kill comes between two of them
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}  # Python's audit events
SECONDS = 120  # after which a run hangs
# bytes, on a disk that is full
LARGEST = {"train": 100_000, "detect": 1_000, "download": 50_000, "grading": 200}
# what the second of two is told
REFUSALS = {"train": "another training runs in", "grading": "written by another grader"}
JOURNAL = "grades.csv.journal"  # only its last line may be torn, and its rows stand as they came
KEPT = "somebody's own.txt"  # in the folder from the beginning

# ------------------------------------------------------------------------------------- the jobs


def make_photographs(folder: Path, count: int = 4) -> None:
    """Write a Pascal VOC folder of small pictures with one box each."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)

    rng = np.random.default_rng(0)
    for k in range(count):
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"{k}.jpg")
        box = "<xmin>5</xmin><ymin>6</ymin><xmax>40</xmax><ymax>50</ymax>"
        (folder / "Annotations" / f"{k}.xml").write_text(
            f"<annotation><filename>{k}.jpg</filename>"
            "<size><width>64</width><height>64</height><depth>3</depth></size>"
            f"<object><name>{'cat' if k % 2 else 'dog'}</name><bndbox>{box}</bndbox></object>"
            "</annotation>"
        )
    names = "".join(f"{k}\n" for k in range(count))
    (folder / "ImageSets" / "Main" / "train.txt").write_text(names)


def words_of_training(data: Path, folder: Path) -> list[str]:
    words = f"train --model point --data voc:{data} --out {folder} --batch-size 2 --steps 6"
    return [*words.split(), "--backbone-steps", "4", "--device", "cpu"]


def serve_archive(base: Path) -> None:
    """Let `download_bccd` find a small archive on this machine, served by a process of its own."""
    top = f"BCCD_Dataset-{bccd.BCCD_COMMIT}"
    rng = random.Random(0)
    files = {f"JPEGImages/{k}.jpg": rng.randbytes(60_000) for k in range(4)}
    files |= {f"Annotations/{k}.xml": b"<annotation/>" for k in range(4)}
    files["ImageSets/Main/train.txt"] = b"0\n1\n2\n3\n"
    with zipfile.ZipFile(base / "served.zip", "w") as archive:
        archive.writestr(f"{top}/LICENSE", b"MIT")
        for name, content in files.items():
            archive.writestr(f"{top}/BCCD/{name}", content)

    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    bccd.BCCD_DIGEST = hashlib.sha256("".join(lines).encode()).hexdigest()
    content = (base / "served.zip").read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                pass  # who asked was killed

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    bccd.BCCD_URL = f"http://127.0.0.1:{server.server_port}/bccd.zip"
    os.environ["no_proxy"] = "*"
    parent = os.getpid()
    if os.fork() == 0:
        server.timeout = 1
        while os.getppid() == parent:  # goes with it, however that ends
            server.handle_request()
        os._exit(0)
    server.server_close()  # here, not there


def download(folder: Path) -> int:
    bccd.download_bccd(folder / "bccd", progress=False)
    return 0


def make_class(folder: Path) -> None:
    """Write submissions: right, wrong, blank, two that attack and one that is no notebook."""
    right = code(home(EXERCISES["nms"].reference))
    bodies = {
        "right": right,
        "wrong": "def nms(boxes, scores, threshold):\n    return scores.argsort()",
        "blank": "def nms(*args):\n    raise NotImplementedError",
        "exits": "import os\ndef nms(*args):\n    os._exit(3)",
        "closes_its_folder": f"import os\nos.chmod('.', 0)\n{right}",
    }
    folder.mkdir()
    (folder / "broken.ipynb").write_text('{"cells": [')
    for name, body in bodies.items():
        sources = ["import torch\nfrom detlearn import check", body, "check.nms(nms)"]
        cells = [{"cell_type": "code", "metadata": {}, "source": text} for text in sources]
        (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))


# ------------------------------------------------------------------------- a run, and its end


def load_what_a_step_needs() -> None:
    """Let torch import here, once, what it would import in each fork."""
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.ones(1)
    torch.optim.AdamW([weight], fused=True).step()


def run(
    job: Callable[[Path], int],
    folder: Path,
    *,
    kill_at: int | None = None,
    largest_file: int | None = None,
) -> int:
    """Start a job in a fork.

    Args:
        job: returns an exit status.
        folder: where it writes.
        kill_at: before which of its operations there it is killed.
        largest_file: bytes, as a disk that is full beyond.

    Returns:
        The process.
    """
    process = os.fork()
    if process:
        return process

    status = 99
    try:
        with open(f"{folder}.log", "ab", buffering=0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        count_operations(folder, kill_at)
        status = job(folder)
    except BaseException as error:  # a fork must not go on with what its parent does
        traceback.print_exception(error)
    finally:
        sys.stdout.flush()
        os._exit(status)


def count_operations(folder: Path, kill_at: int | None) -> None:
    """Count what this process does in a folder, in ``FOLDER.count``; kill it at a number."""
    inside = f"{folder}{os.sep}"
    count = 0
    plain_open = builtins.open
    counter = os.open(f"{folder}.count", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)

    def one_more() -> None:
        nonlocal count
        count += 1
        os.pwrite(counter, b"%d" % count, 0)
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple) -> None:
        if event in OPERATIONS and str(arguments[0]).startswith(inside):
            one_more()

    def open_in_pieces(path: object, mode: str = "r", *args: object, **options: object) -> object:
        file = plain_open(path, mode, *args, **options)
        if "w" in mode and str(path).startswith(inside):
            write = file.write

            def write_in_pieces(content: bytes) -> int:
                size = max(1, -(-len(content) // PIECES))
                for start in range(0, len(content), size):
                    write(content[start : start + size])
                    file.flush()  # so that half of it is on the disk
                    one_more()
                return len(content)

            file.write = write_in_pieces
        return file

    sys.addaudithook(watch)
    builtins.open = open_in_pieces


def end(process: int, kill_after: float | None = None) -> int:
    """Wait for a run, kill it after some seconds, and return its exit status, −9 if killed."""
    start = time.monotonic()
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)

        seconds = time.monotonic() - start
        if kill_after is not None and seconds > kill_after:
            os.kill(process, signal.SIGKILL)
        if seconds > SECONDS:
            os.kill(process, signal.SIGKILL)
            raise AssertionError(f"a run hangs for {SECONDS} s")
        time.sleep(0.005)


# ------------------------------------------------------------------------------ what must hold


def content(folder: Path) -> dict[str, bytes]:
    """Return each file of a folder, and of a checkpoint what does not depend on the clock."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            found[name + "/"] = b""
        elif path.name == "training.safetensors":
            tensors, info = load_tensors(path)
            history = info["history"]
            numbers = [info["settings"], history["steps"], history["losses"], info["finished"]]
            found[name] = json.dumps(numbers).encode() + b"".join(
                key.encode() + tensors[key].numpy().tobytes() for key in sorted(tensors)
            )
        elif path.name == JOURNAL:
            found[name] = b"\n".join(rows_of(path))
        else:
            found[name] = path.read_bytes()
    return found


def rows_of(journal: Path) -> list[bytes]:
    """Return the lines of a journal that are whole, sorted: two processes end when they end."""
    rows = []
    for line in journal.read_bytes().split(b"\n"):
        try:
            json.loads(line)
        except ValueError:
            continue  # torn by a kill
        rows.append(line)
    return sorted(rows)


def check_whole(folder: Path, wanted: dict[str, bytes]) -> int:
    """Check what a killed run left, and return how many steps its checkpoint has."""
    assert (folder / KEPT).read_text() == "mine", "what was there before has changed"
    steps = 0
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name.startswith(".") or path.name.endswith(".tmp"):
            continue
        if path.suffix == ".safetensors":
            info = load_tensors(path)[1]
            if path.name == "training.safetensors":
                steps = info["steps_done"]
        elif path.name == JOURNAL:
            rows = rows_of(path)
            assert set(rows) <= set(wanted[name].split(b"\n")), "a row is not what it was"
            steps = len(rows)
        else:
            assert path.read_bytes() == wanted[name], f"{name} is not whole"
    if (folder / "bccd").exists():
        there = {name for name in content(folder) if name.startswith("bccd")}
        assert there == {name for name in wanted if name.startswith("bccd")}, "half a data set"
    return steps


def check_same(folder: Path, wanted: dict[str, bytes]) -> None:
    found = content(folder)
    assert found.keys() == wanted.keys(), f"files differ: {found.keys() ^ wanted.keys()}"
    different = [name for name in wanted if found[name] != wanted[name]]
    assert not different, f"other content: {different}"


def fresh(base: Path, name: str) -> Path:
    folder = base / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / KEPT).write_text("mine")
    return folder


# -------------------------------------------------------------------------------------- the cases


class Cases:
    """One job, and what can come in between.

    Args:
        name: of the job.
        job: what it does in a folder.
        base: folder for its folders.
        rng: decides where it is killed.
    """

    def __init__(self, name: str, job: Callable[[Path], int], base: Path, rng: random.Random):
        self.name, self.job, self.base, self.rng = name, job, base, rng

        folder = fresh(base, f"{name}-whole")
        start = time.monotonic()
        status = end(run(job, folder))
        self.seconds = time.monotonic() - start
        assert status == 0, f"{name}: exit status {status}:\n{Path(f'{folder}.log').read_text()}"
        self.operations = int(Path(f"{folder}.count").read_text())
        self.wanted = content(folder)
        self.kills = 0  # so far

    def all(self, kills: int, just_kills: bool) -> int:
        """Run all cases, print what went wrong, and return in how many it did."""
        wrong = 0
        if not just_kills:
            wrong += not self.right("two at once", self.two_at_once)
            wrong += not self.right("full disk", self.full_disk)
            if self.name not in ("detect", "grading"):  # all that they write fits
                wrong += not self.right("full file system", self.full_file_system)

        cases = 0
        while self.kills < kills and cases < kills:
            cases += 1
            wrong += not self.right(f"case {cases}", partial(self.killed, cases))

        print(
            f"{self.name}: {self.kills} kills in {cases} cases, {wrong} wrong; "
            f"{self.operations} operations in {self.seconds:.1f} s undisturbed",
            flush=True,
        )
        return wrong

    def right(self, what: str, check: Callable[[], None]) -> bool:
        """Run a case and say whether it went well."""
        try:
            check()
        except AssertionError as error:
            print(f"{self.name}, {what}: WRONG: {error}", flush=True)
            return False
        return True

    def killed(self, number: int) -> None:
        """Kill it once, twice or three times, and let it end."""
        folder = fresh(self.base, f"{self.name}-{number}")
        steps = 0
        for _ in range(self.rng.randint(1, 3)):
            # A grader's work is not in its own folder.
            if self.rng.random() < (0.2 if self.name == "grading" else 0.7):
                process = run(self.job, folder, kill_at=self.rng.randint(1, self.operations))
                status = end(process)
            else:
                process = run(self.job, folder)
                status = end(process, kill_after=self.rng.uniform(0, self.seconds))
            assert status in (0, -signal.SIGKILL), f"exit status {status}"
            self.kills += status != 0

            before, steps = steps, check_whole(folder, self.wanted)
            assert steps >= before, f"from step {before} back to {steps}"

        status = end(run(self.job, folder))
        assert status == 0, f"exit status {status} in the end"
        check_same(folder, self.wanted)

    def two_at_once(self) -> None:
        folder = fresh(self.base, f"{self.name}-two")
        processes = [run(self.job, folder), run(self.job, folder)]
        statuses = sorted(end(process) for process in processes)
        if self.name in REFUSALS:
            said = Path(f"{folder}.log").read_text()
            assert statuses == [0, 2], f"exit statuses {statuses}"
            assert said.count(REFUSALS[self.name]) == 1, f"they say {said}"
        else:
            assert statuses == [0, 0], f"exit statuses {statuses}"
        check_same(folder, self.wanted)

    def full_disk(self) -> None:
        folder = fresh(self.base, f"{self.name}-full")
        status = end(run(self.job, folder, largest_file=LARGEST[self.name]))
        said = Path(f"{folder}.log").read_text().strip().splitlines()[-1]
        assert status != 0, "it does not say that a file could not be written"
        assert "too large" in said and str(folder) in said, f"it says only: {said}"
        check_whole(folder, self.wanted)
        assert end(run(self.job, folder)) == 0, "it does not go on when there is room again"
        check_same(folder, self.wanted)

    def full_file_system(self) -> None:
        """On a file system of its own of 300 kB, which needs the right to mount one."""
        place = fresh(self.base, f"{self.name}-mounted")
        mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            print(f"{self.name}: SKIPPED a full file system: this process may not mount one")
            return

        try:
            folder = fresh(place, "folder")
            status = end(run(self.job, folder))
            said = Path(f"{folder}.log").read_text().strip().splitlines()[-1]
            assert status != 0 and "No space left" in said, f"exit status {status}, says: {said}"
            check_whole(folder, self.wanted)
            for path in folder.rglob("*"):
                assert not path.name.endswith(".tmp"), f"{path} takes what room there is"
        finally:
            subprocess.run(["umount", str(place)], check=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the cases and return 1 if one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="of each job, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", nargs="*", default=["train", "detect", "download", "grading"])
    parser.add_argument("--just-kills", action="store_true", help="no full disk, no two at once")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    load_what_a_step_needs()
    loop.CHECKPOINT_EVERY = 2
    pooch.core.time.sleep = lambda seconds: None
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        make_photographs(base / "data")
        serve_archive(base)
        pictures = sorted(map(str, (base / "data" / "JPEGImages").iterdir()))

        def train(folder: Path) -> int:
            return command_line(words_of_training(base / "data", folder))

        def detect(folder: Path) -> int:
            words = ["detect", str(base / "trained"), *pictures, "--out", str(folder)]
            return command_line([*words, "--min-score", "0.01", "--device", "cpu"])

        def grading(folder: Path) -> int:
            words = f"grade {base / 'class'} --exercises nms --seed 5 --workers 2".split()
            return command_line([*words, "--out", str(folder / "grades.csv")])

        make_class(base / "class")
        jobs = {"train": train, "detect": detect, "download": download, "grading": grading}
        if "detect" in options.jobs:
            (base / "trained").mkdir()
            assert end(run(train, base / "trained")) == 0, (base / "trained.log").read_text()

        for name in options.jobs:
            rng = random.Random(f"{options.seed} {name}")
            wrong += Cases(name, jobs[name], base, rng).all(options.kills, options.just_kills)
    print(f"{wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
