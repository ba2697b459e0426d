"""What code in a sandbox can reach: nothing but torch, its view of the package and a folder.

Most notebooks here hold a right answer and an attack. Had the attack an effect, the answer would
be spoilt; so an attack that is refused earns the points of the answer, and one that succeeds none.
"""

import ctypes
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from grading_samples import (
    HAND_IN,
    NOT_OWN,
    RIGHT,
    START,
    Room,
    body,
    needs_sandbox,
    notebook,
    on_linux,
    submitted,
    write_class,
)

from detlearn.check import EXERCISES
from detlearn.check.engine.cases import Answer
from detlearn.check.engine.sandbox import call_own
from detlearn.cli import main
from detlearn.grading import box, examiner, grader, inside, view, wire
from detlearn.grading.box import Box, Limits, Lost
from detlearn.grading.examiner import Examiner, Row, Settings, Sheet
from detlearn.grading.grader import grade_folder
from detlearn.grading.journal import Journal
from detlearn.grading.submissions import Submission, read_submission

LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)"


def refused(*lines, error="OSError"):
    """A right `giou_loss`, spoilt if some lines run without an error."""
    return body("try:", *(f"    {line}" for line in lines), f"except {error}: pass", "else: return")


def holds(condition):
    """A right `giou_loss`, spoilt unless a condition holds."""
    return body(f"if not ({condition}): return")


def grade(room, *cells):
    """The row of a notebook with some cells."""
    return room.grade(submitted("one", START, *cells, HAND_IN), ["giou_loss"])


# What `victim` offers stands in braces.
ATTACKS = {
    # ---- another process of the same user ----
    "signal": ("import os", refused("os.kill({pid}, 0)")),
    "signal_to_all": ("import os, signal", refused("os.kill(-1, signal.SIGTERM)")),
    "limits": (
        "import resource",
        refused("resource.prlimit({pid}, resource.RLIMIT_NOFILE, (9, 9))"),
    ),
    "ptrace": (LIBC, holds("libc.ptrace(16, {pid}, 0, 0) == -1")),
    "ptrace_of_the_keeper": (LIBC, holds("libc.ptrace(16, 1, 0, 0) == -1")),
    "memory_of_the_keeper": (
        LIBC,
        "buffer = ctypes.create_string_buffer(8)",
        "vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)",
        holds("libc.process_vm_readv(1, vector, 1, vector, 1, 0) == -1"),
    ),
    "files_of_the_keeper": (
        LIBC,
        "import os",
        "keeper = os.pidfd_open(1)",
        holds("all(libc.syscall(438, keeper, n, 0) == -1 for n in range(20))"),
    ),
    "limits_of_the_keeper": (
        "import resource",
        refused("resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3))"),
    ),
    "priority_of_the_keeper": ("import os", refused("os.setpriority(os.PRIO_PROCESS, 1, 5)")),
    "priority_of_its_user": ("import os", refused("os.setpriority(os.PRIO_USER, 0, 7)")),
    "priority_of_its_files": (
        f"{LIBC}\nioprio_set = {{{{'x86_64': 251}}}}.get(os.uname().machine, 30)",
        holds("libc.syscall(ioprio_set, 3, 0, 2 << 13 | 6) == -1"),
    ),
    "processors_of_the_keeper": ("import os", refused("os.sched_setaffinity(1, [0])")),
    "another_program": (
        "import os, sys",
        refused("os.execv(sys.executable, [sys.executable, '-c', ''])"),
    ),
    "threads": (
        "import threading",
        refused("threading.Thread(target=print).start()", error="RuntimeError"),
    ),
    "processes": (
        "import os",
        holds("not os.path.exists('/proc/1') and not os.path.exists('/proc/self')"),
    ),
    "memory_of_another": (refused("open('/proc/{pid}/mem', 'rb')"),),
    # ---- connections ----
    "tcp": ("import socket", refused("socket.create_connection(('127.0.0.1', {port}), 1)")),
    "mptcp": (
        "import socket",
        refused(
            "s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
            "s.settimeout(1)",
            "s.connect(('127.0.0.1', {port}))",
        ),
    ),
    "udp": (
        "import socket",
        refused(
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
            "s.sendto(b'10 points', ('127.0.0.1', {udp}))",
            "s.settimeout(0.2)",
            "s.recv(9)",
        ),
    ),
    "path_socket": (
        "import socket",
        refused("socket.socket(socket.AF_UNIX).connect('{folder}/socket')"),
    ),
    "abstract_socket": (
        "import socket",
        refused("socket.socket(socket.AF_UNIX).connect('\\0{name}')"),
    ),
    "fork_server": (
        "import multiprocessing.forkserver as server",
        refused(
            "server.ensure_running()",
            "server.connect_to_new_process([])",
            error="(OSError, ValueError)",
        ),
    ),
    "shared_memory": (LIBC, holds("libc.shmget({shm}, 4096, 0) == -1")),
    # No namespace keeps these apart.
    "vsock": ("import socket", refused("socket.socket(socket.AF_VSOCK)")),
    # ---- what would stay in the kernel for the next exercise ----
    "system_v": (
        LIBC,
        holds(
            "-1 == libc.shmget(0, 9, 0o1666) == libc.semget(0, 9, 0o1666) == libc.msgget(0, 0o1666)"
        ),
    ),
    "message_queue": (LIBC, holds("libc.mq_open(b'/note', os.O_CREAT, 0o600, None) == -1")),
    "keys": (
        f"{LIBC}\nadd_key = {{{{'x86_64': 248}}}}.get(os.uname().machine, 217)",
        holds("all(libc.syscall(add_key, b'user', b'n', b'x', 1, -i) == -1 for i in range(1, 6))"),
    ),
    # ---- files ----
    "reads_a_file": (refused("open('{folder}/note')"),),
    "reads_accounts": (refused("open('/etc/passwd')"),),
    "lists_the_root": (
        "import os",
        holds("not {{'home', 'var', 'sys', 'run'}} & set(os.listdir('/'))"),
    ),
    "writes_anywhere": (
        "import glob, os",
        holds(
            "[p for p in ['/', *glob.glob('/*'), *glob.glob('/*/*')]"
            " if os.path.isdir(p) and os.access(p, os.W_OK)] == ['/student']"
        ),
    ),
    "changes_modes": ("import os, sys", refused("os.chmod(os.__file__, 0o777)")),
    "changes_the_view": ("import detlearn", refused("open(detlearn.__file__, 'w')")),
    "makes_a_device": ("import os, stat", refused("os.mknod('d', stat.S_IFBLK | 0o666, 0x801)")),
    "mounts": (LIBC, holds("libc.mount(b'none', b'/student', b'tmpfs', 0, None) == -1")),
    "unmounts": (LIBC, holds("libc.umount2(b'/student', 2) == -1")),
    "new_user_namespace": (LIBC, holds("libc.unshare(0x10000000) == -1")),
    "becomes_root": ("import os", refused("os.setuid(0)")),
    # Of 20 s for the function, 10 more for the cells around it, and 2 to say what came.
    "processor_time": (
        "import resource",
        holds("resource.getrlimit(resource.RLIMIT_CPU) == (32, 32)"),
    ),
    # No memory of the process's own, so another limit counts it.
    "file_in_memory": ("import os", holds("os.write(os.memfd_create('m'), b'x' * 2**21) < 2**20")),
    "files_without_end": (refused("kept = [open('/dev/null') for _ in range(200)]"),),
    "writes_in_its_folder": (body("open('note', 'w').write('x')", "open('/student/note').read()"),),
    # ---- the grader ----
    "environment": (
        "import os",
        holds("'GRADER_SECRET' not in os.environ and not [k for k in os.environ if 'PYTHON' in k]"),
    ),
    "open_files": (
        "import os\ndef is_open(n):\n    try: os.fstat(n)\n    except OSError: return False",
        holds("[n for n in range(200) if is_open(n) is None] == [0, 1, 2, 3]"),
    ),
    "what_others_left": ("import os", holds("os.listdir('/student') == []")),
}


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    """What another process of the same user offers to whoever can reach it."""
    folder = tmp_path_factory.mktemp("victim")
    (folder / "note").write_text("secret")
    tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(type=socket.SOCK_DGRAM)
    path, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    udp.bind(("127.0.0.1", 0))
    path.bind(str(folder / "socket"))
    name = f"detlearn-{os.getpid()}"
    abstract.bind(f"\0{name}")
    path.listen()
    abstract.listen()

    key, libc = 0x6DE7, ctypes.CDLL(None)
    segment = libc.shmget(key, 4096, 0o1666)
    os.environ["GRADER_SECRET"] = "7"
    process = subprocess.Popen(["sleep", "600"])
    yield {
        **{"pid": process.pid, "port": tcp.getsockname()[1], "udp": udp.getsockname()[1]},
        **{"folder": folder, "name": name, "shm": key},
    }
    process.kill()
    process.wait()
    libc.shmctl(segment, 0, None)
    del os.environ["GRADER_SECRET"]
    for each in (tcp, udp, path, abstract):
        each.close()


@needs_sandbox
class TestWhatCanBeReached:
    @pytest.mark.parametrize("name", ATTACKS)
    def test_nothing(self, room, victim, name):
        cells = [re.sub(r"\{(\w+)\}", lambda m: str(victim[m[1]]), c) for c in ATTACKS[name]]
        cells = [cell.replace("{{", "{").replace("}}", "}") for cell in cells]
        row = grade(room, *cells)
        assert row.points == {"giou_loss": 10} and not row.lost, row.hints

    def test_that_one_has_been_built_is_noted(self, room, monkeypatch):
        monkeypatch.setattr(Box, "works", False)
        room.close()
        grade(room)
        assert Box.works

    def test_to_the_kernel_it_is_an_ordinary_user(self, room):
        """Also where the grader is root."""
        grade(room)
        status = Path(f"/proc/{box._first_inside(room.box.process.pid)}/status").read_text()
        users = set(re.search(r"Uid:\t(.*)", status)[1].split())
        assert len(users) == 1 and users != {"0"}

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="as everybody else is")
    def test_who_is_not_root_gets_the_same_sandbox(self, monkeypatch):
        """What the rest of this file tries for root alone, where root runs it."""
        switch = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
        if subprocess.run([*switch, "test", "-r", sys.base_prefix], check=False).returncode:
            pytest.skip("another user cannot read this Python")

        program = "import os; print(os.getuid(), os.listdir('/student'), os.listdir('/etc'))"
        monkeypatch.setattr(box.os, "geteuid", lambda: 12345)
        command = [*switch, *box.sandbox(disk_megabytes=1), box._python(), "-I", "-S", "-c"]
        done = subprocess.run([*command, program], capture_output=True, text=True, check=False)
        assert done.stdout == "1000 [] ['ld.so.cache']\n", done.stderr

    def test_the_attacks_would_be_noticed(self, room):
        for spoilt in (refused("pass"), holds("False")):
            row = grade(room, spoilt)
            assert row.points == {"giou_loss": 0} and "returned None" in row.hints["giou_loss"]

    def test_nobody_who_is_left_behind_lives_on(self, room):
        """Neither at the next task, nor do its files stay."""
        leaves = body("open('left', 'w').close()", "os.makedirs('folder', exist_ok=True)")
        sandboxes = set()
        for cells in (("import os", leaves), ("import os", holds("os.listdir('.') == []"))):
            row = grade(room, *cells)
            assert row.points == {"giou_loss": 10}, row.hints
            sandboxes.add(room.box.process)
        assert len(sandboxes) == 1  # what is easily deleted costs no new one

    def test_no_word_is_left_for_the_next_exercise(self, room):
        """Whose view may lack what this one's holds."""
        leaves = body(
            *("if os.path.exists('closed'): return honest(a, b)", "os.mkdir('closed')"),
            *("open('closed/note', 'w').write('x')", "os.symlink('closed', 'link')"),
            *("os.mkdir('deep')", "os.chdir('deep')"),
            "for _ in range(800): os.mkdir('d'), os.chdir('d'), os.chmod('..', 0)",
            "os.chdir(home)",
            *("os.chmod('closed', 0)", "os.setxattr('.', 'user.note', b'x')"),
            *("os.utime('.', ns=(3, 4))", "os.chmod('.', 0o500)"),
        )
        row = grade(room, "import os\nhome = os.getcwd()", leaves)
        assert row.points == {"giou_loss": 10} and not row.lost, row

        looks = (
            "import os\nhome = os.stat('.')",
            holds("os.listdir('.') == [] == os.listxattr('.')"),
            holds("home.st_mtime_ns == home.st_atime_ns == 0 and home.st_mode & 0o777 == 0o700"),
        )
        for look in looks[1:]:
            row = grade(room, looks[0], look)
            assert row.points == {"giou_loss": 10} and not row.lost, row

    def test_no_word_is_left_in_a_sandbox_that_goes_on(self, room):
        leaves = (
            "import fcntl, os",
            body(
                "for file in (0, 1, 2): fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)",
                "os.utime('.', ns=(3, 4))",
            ),
        )
        looks = (
            "import fcntl, os\nhome = os.stat('.')",
            "flags = [fcntl.fcntl(file, fcntl.F_GETFL) & os.O_APPEND for file in (0, 1, 2)]",
            holds("home.st_mtime_ns == home.st_atime_ns == 0 and not any(flags)"),
        )
        sandboxes = set()
        for cells in (leaves, looks):
            row = grade(room, *cells)
            assert row.points == {"giou_loss": 10} and not row.lost, row
            sandboxes.add(room.box.process)
        assert len(sandboxes) == 1

    @pytest.mark.parametrize(
        "leave",
        [
            lambda home: home.chmod(0o500),
            lambda home: os.setxattr(home, "user.note", b"x"),
        ],
    )
    def test_what_is_noted_on_the_folder_is_seen(self, tmp_path, leave):
        """So that the next exercise gets another sandbox; files in it are deleted."""
        tmp_path.chmod(0o700)
        (tmp_path / "file").write_text("x")
        (tmp_path / "folder" / "inner").mkdir(parents=True)
        assert inside._is_as_new(str(tmp_path)) and not list(tmp_path.iterdir())
        assert tmp_path.stat().st_mtime == 0
        leave(tmp_path)
        assert not inside._is_as_new(str(tmp_path))


# Each is to get the package's own answer from somewhere.
THEFTS = {
    "prints_the_solution": (
        "print(check.solution('giou_loss'))",
        "from detlearn.grading.pieces import code\ncode = code(('detlearn.losses', 'giou_loss'))",
        "exec(code)",
    ),
    "reads_the_file": (
        "import detlearn.losses as losses\nspace = {}",
        "exec(open(losses.__file__).read(), space)",
        "giou_loss = space['giou_loss']",
    ),
    "reads_the_source": (
        "import inspect\nfrom detlearn import losses\nspace = vars(losses).copy()",
        "exec(inspect.getsource(losses.giou_loss), space)",
        "giou_loss = space['giou_loss']",
    ),
    "unpickles_it": (
        "import pickle\ngiou_loss = pickle.loads(b'cdetlearn.losses\\ngiou_loss\\n.')",
    ),
    "compiled_copy": (
        "import importlib.util, marshal, detlearn.losses as losses",
        "path = importlib.util.cache_from_source(losses.__file__)",
        "exec(marshal.loads(open(path, 'rb').read()[16:]))",
    ),
    "torch_ops": (
        "import torchvision",
        "def giou_loss(a, b):\n    return torch.ops.torchvision.giou_loss(a, b)",
    ),
    "subclass_handed_to_what_is_allowed": (
        "import sys\nfrom detlearn import boxes\nfound = []",
        "class Spy(torch.Tensor):\n    @classmethod\n"
        "    def __torch_function__(cls, function, types, args=(), kwargs=None):\n"
        "        found.extend(sys._getframe(1).f_globals.values())\n"
        "        return super().__torch_function__(function, types, args, kwargs or {})",
        "boxes.box_area(torch.rand(2, 4).as_subclass(Spy))",
        "giou_loss = next(f for f in found if getattr(f, '__name__', '') == 'giou_loss')",
    ),
    "subclass_of_the_packages": (
        "from detlearn import losses",
        "class Mine(type(losses.giou_loss)):\n    pass",
        "giou_loss = Mine('giou_loss', '')",
    ),
    "digs_in_memory": (
        "import gc, types",
        "giou_loss = next(f for f in gc.get_objects() if isinstance(f, types.FunctionType)"
        " and f.__name__ in ('giou_loss', 'generalized_box_iou_loss', '_paired_giou'))",
    ),
    "another_package": (
        "from transformers.loss.loss_for_object_detection import generalized_box_iou as giou_loss",
    ),
}


@needs_sandbox
class TestTheAnswerIsNotThere:
    @pytest.mark.parametrize("name", THEFTS)
    def test_nobody_finds_it(self, room, name):
        row = grade(room, *THEFTS[name])
        assert row.points == {"giou_loss": 0} and row.hints["giou_loss"], row

    def test_no_file_speaks_of_it(self, room):
        search = (
            "import os, sys\nfound = [*{'base', 'detlearn'} & set(os.listdir('/'))]",
            "finders = [each.texts for each in sys.meta_path if hasattr(each, 'texts')]",
            "texts = [text for finder in finders for text in finder.values()]",
            "for text in texts:\n"
            "    found += [w for w in ('def giou', 'def enclos', 'def general') if w in text]",
            "shown = [f for p in sys.path if p.endswith('-packages') for f in os.listdir(p)]",
            "hidden = {'detlearn', 'torchvision', 'transformers', 'pycocotools'}",
            "found += hidden & set(shown)",
        )
        row = grade(room, *search, holds("not found and 'torch' in shown and len(texts) > 99"))
        assert row.points == {"giou_loss": 10}, row.hints

    def test_compiled_operators(self, room):
        calls = "def nms(*args):\n    return torch.ops.torchvision.nms(*args)"
        cells = (START, "import torchvision", calls, "check.nms(nms)")
        row = room.grade(submitted("ops", *cells), ["nms"])
        assert row.points == {"nms": 0} and "torchvision" in row.hints["nms"]

    def test_what_is_cut_says_who_writes_it(self, room):
        uses = "def giou_loss(a, b):\n    return losses.giou_loss(a, b)"
        row = grade(room, "from detlearn import losses", uses)
        assert row.points == {"giou_loss": 0} and NOT_OWN in row.hints["giou_loss"]


@needs_sandbox
class TestWhatComesBack:
    """Forged answers: nothing is allocated for them, and they earn nothing."""

    def test_a_gradient_of_another_shape(self, room):
        cases = EXERCISES["giou_loss"].ladder(0)
        gradients = [torch.zeros(40, 1, 1) if case.gradient else None for case in cases]
        answers = [Answer((torch.zeros(1),), gradient) for gradient in gradients]
        content = wire.encode(answers, [10**9] * len(answers))

        forger = body(f"os.write(3, {content!r})", "os._exit(0)")
        row = grade(room, "import os", forger)
        assert row.points == {"giou_loss": 0} and "cannot be read" in row.hints["giou_loss"]

    def test_more_than_can_be_needed(self, room):
        row = grade(room, "import os", body("while True: os.write(3, b'x' * 2**20)"))
        assert row.points == {"giou_loss": 0}
        assert row.hints["giou_loss"] == "more came back than an answer can need"

    def test_a_large_answer_is_named(self, room):
        row = grade(room, "def giou_loss(a, b):\n    return torch.zeros(3000, 3000)")
        said = "returned a tensor of shape (3000, 3000), more than any answer needs"
        assert row.points == {"giou_loss": 0} and said in row.hints["giou_loss"]

    def test_an_empty_answer_that_is_endless(self, room):
        """It has no numbers, and judging it would count its images."""
        endless = (
            "def decode_detections(heatmap, wh, offset, k=100, *, stride=4):\n"
            "    images = 2**40\n"
            "    boxes, scores = torch.zeros(images, 0, 4), torch.zeros(images, 0)\n"
            "    return boxes, scores, scores.long()"
        )
        cells = (START, endless, "check.decode_detections(decode_detections)")
        row = room.grade(submitted("endless", *cells), ["decode_detections"])
        said = "returned a tensor of shape (1099511627776, 0, 4), more than any answer needs"
        assert row.points == {"decode_detections": 0} and said in row.hints["decode_detections"]

    def test_who_judges_without_end_is_stopped(self, monkeypatch):
        def endless(*_):
            while True:
                time.sleep(0.01)

        monkeypatch.setattr(examiner, "judge", endless)
        monkeypatch.setattr(examiner, "JUDGING", 0.1)
        with ThreadPoolExecutor(1) as threads, pytest.raises(Lost):
            threads.submit(Sheet("box_iou", 5).verdict, []).result()

    @pytest.mark.parametrize("name", EXERCISES)
    def test_every_right_answer_fits(self, name):
        sheet = Sheet(name, 5)
        cases = [case for case in sheet.cases if case.rung != "cause"]
        answers = [call_own(sheet.exercise.reference, case) for case in cases]
        content = wire.encode(answers, sheet.most)
        assert len(content) < sheet.bytes
        back = wire.decode(*wire.unpack(content), cases, sheet.most)
        assert [answer.trouble for answer in back] == [answer.trouble for answer in answers]


@needs_sandbox
def test_what_every_child_looks_at_is_loaded_once(room):
    """Of NumPy too what is loaded when it is first used; then garbage is collected."""
    looks = "import gc, sys\nLOADED, ON = set(sys.modules), gc.isenabled()"
    lazy = "{'numpy.random', 'numpy.ctypeslib'} <= LOADED"
    row = grade(room, looks, holds(f"{lazy} and ON and gc.get_freeze_count()"))
    assert row.points == {"giou_loss": 10}, row.hints


class TestUsedUp:
    """What uses more than it may, and what is no fault of its own."""

    @needs_sandbox
    def test_files(self, room):
        many = body("for i in range(3000): os.mkdir(str(i))", "time.sleep(60)")
        row = grade(room, "import os, time", many)
        assert "it wrote more than 1000 files" in row.hints["giou_loss"]

    def test_memory_counts_beyond_what_torch_holds(self, room):
        """Of 512 MB, which two tensors share."""
        takes = body("kept = [torch.empty(2 * 10**8, dtype=torch.uint8) for _ in range({})]")
        for number, points in ((2, 10), (3, 0)):
            row = grade(room, takes.format(number))
            assert row.points == {"giou_loss": points}, row.hints

    def test_memory_that_is_shared_counts_as_well(self, room):
        """Beside 512 MB there is room for the addresses of libraries alone."""
        row = grade(room, "import mmap", refused("mmap.mmap(-1, 800 * 2**20)"))
        assert row.points == {"giou_loss": 10}, row.hints

    def test_what_the_chapters_import_fits_beside_an_answer(self, room):
        imports = "import matplotlib.pyplot as plt\nimport scipy.ndimage, scipy.optimize"
        uses = body("plt.figure(), scipy.optimize.linear_sum_assignment([[1, 2], [3, 4]])")
        row = grade(room, imports, uses)
        assert row.points == {"giou_loss": 10}, row.hints

    @pytest.mark.parametrize(
        "said", ["raise ValueError", "return 5", "return 'x' * 10**7", "sys.exit()"]
    )
    def test_how_a_failure_is_told_costs_no_points(self, room, said):
        """What fails here is needed by a branch that is never taken."""
        odd = f"class Odd(Exception):\n    def __str__(self):\n        {said}"
        fails = "def fail():\n    raise Odd\nEPS = fail()"
        row = grade(room, "import sys", odd, fails, body("lambda: EPS"))
        assert row.points == {"giou_loss": 10}, row.hints
        row = grade(room, "import sys", odd, fails, RIGHT.replace("1e-7", "EPS"))
        assert "the code that your function needs raises Odd" in row.hints["giou_loss"]

    def test_waiting_is_no_work(self, hasty):
        """A second of processor time is not used up by a second and a half on the clock."""
        waits = body("if not slept: slept.append(time.sleep(1.5))")
        row = grade(hasty, "import time", "slept = []", waits)
        assert row.points == {"giou_loss": 10}, row.hints

    @pytest.mark.parametrize("slow", ["forever()", "time.sleep(100)"])
    def test_a_slow_statement_leaves_time_for_the_next(self, hasty, slow):
        """Of half a second for the cells around a function, three on the clock, half is left."""
        cells = (
            "import time",
            "def forever():\n    while True: pass",
            "def work():\n"
            "    end = time.process_time() + 0.03\n"
            "    while time.process_time() < end: pass\n"
            "    return 1e-7",
            f"SLOW = {slow}",
            "EPS = work()",
        )
        uses = body("lambda: SLOW", then=RIGHT.replace("1e-7", "EPS"))
        row = grade(hasty, *cells, uses)
        assert row.points == {"giou_loss": 10}, row.hints

    def test_a_slow_statement_is_stopped_by_the_processors_clock(self, hasty):
        """After a quarter of a second, when on the clock there would be a second and a half."""
        cells = (
            "import time",
            "def forever():\n    while True: pass",
            "START = time.process_time()",
            "SLOW = forever()",
            "USED = time.process_time() - START",
        )
        uses = body("lambda: SLOW", "if USED > 0.6: return")
        row = grade(hasty, *cells, uses)
        assert row.points == {"giou_loss": 10}, row.hints

    def test_who_takes_the_timers_away_is_ended(self, hasty):
        busy = body(
            "for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL): signal.setitimer(timer, 0)",
            "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
            "while True: pass",
        )
        row = grade(hasty, "import signal", busy)
        assert row.points == {"giou_loss": 0}
        assert "stopped after 1 seconds" in row.hints["giou_loss"]


@pytest.fixture(scope="module")
def container():
    """What `--in-container` uses."""
    made = Room(Limits(seconds=5), in_container=True)
    yield made
    made.close()


class TestInContainer:
    """Without a sandbox: the same views, protocol and limits in an ordinary process."""

    @pytest.mark.skipif(sys.platform != "linux", reason="its limits are Linux's")
    @pytest.mark.parametrize(
        ("name", "points", "says"),
        [
            ("right", 10, ""),
            ("wrong", 0, "their product is not"),
            ("exit", 0, "calls exit"),
            ("hard_exit", 0, "exit code 3"),
            ("huge_tensor", 0, "more memory than there is"),
            ("calls_torchvision", 0, NOT_OWN),
        ],
    )
    def test_points(self, container, tmp_path, name, points, says):
        write_class(tmp_path, [name])
        row = container.grade(read_submission(tmp_path / f"{name}.ipynb"), ["giou_loss"])
        assert row.points == {"giou_loss": points} and says in row.hints["giou_loss"], row

    @pytest.mark.skipif(sys.platform != "linux", reason="its limits are Linux's")
    @pytest.mark.parametrize(
        "start",
        [
            *("os.fork()", "os.execv('/bin/true', ['true'])", "socket.socket()"),
            "threading.Thread(target=print).start() or 1",
        ],
    )
    def test_nobody_is_left_behind_or_called(self, container, start):
        """Root's processes neither, whose number no limit bounds."""
        spoilt = f"if {start} is not None: return"
        refused = body("try:", f"    {spoilt}", "except (OSError, RuntimeError): pass")
        row = grade(container, "import os, socket, threading", refused)
        assert row.points == {"giou_loss": 10}, row

    @pytest.mark.skipif(sys.platform != "linux", reason="its limits are Linux's")
    def test_what_is_sent_to_its_group_does_not_reach_the_keeper(self, container):
        row = grade(container, "import os, signal", body("os.kill(0, signal.SIGTERM)"))
        assert row.hints == {"giou_loss": "its process was killed (SIGTERM)"}

    @pytest.mark.skipif(sys.platform != "linux", reason="its limits are Linux's")
    def test_a_keeper_notices_that_the_grader_is_gone(self, tmp_path):
        control, grader_end = multiprocessing.Pipe()
        read_end, write_end = os.pipe()
        grader_end.close()
        with open(read_end, "rb", buffering=0) as pipe:
            job = inside.Job(99, Limits(), 0, 0)
            said = inside._listen(pipe, job, control, str(tmp_path))
        os.close(write_end)
        assert said == (b"", "the grader was stopped")

    @pytest.mark.skipif(sys.platform != "linux", reason="its limits are Linux's")
    def test_a_child_that_does_not_end_is_ended(self):
        """As when the grader is gone a moment after a task has come."""
        child = subprocess.Popen(["sleep", "600"])
        assert inside._end(child.pid, Limits()) == "its process was killed (SIGKILL)"
        child.wait()


class TestBox:
    """A sandbox from outside, with some other process in its place."""

    @pytest.fixture
    def asleep(self):
        made = Box(Limits())
        made.process = subprocess.Popen(["sleep", "60"], start_new_session=True)
        made._control, made._folder = multiprocessing.Pipe()[0], tempfile.TemporaryDirectory()
        yield made
        made.close()

    def test_it_is_ended_once(self, asleep, monkeypatch):
        """Afterwards its number may be that of another process."""
        killed, kill, process = [], os.killpg, asleep.process

        def note(number, signal_number):
            killed.append(number)
            kill(number, signal_number)

        monkeypatch.setattr(box.os, "killpg", note)
        asleep.close()
        asleep.close()
        assert killed == [process.pid] and process.returncode == -signal.SIGKILL

    @on_linux
    def test_memory_is_counted_where_it_is_held(self, asleep):
        """Not in the grader, whose libraries hold more for more processors."""
        assert box._first_inside(asleep.process.pid) == asleep.process.pid
        held = box._held_by(asleep.process.pid)
        assert 0 < held[0] < 20_000_000 and held[0] < held[1] < 200_000_000

    @on_linux
    def test_a_kernel_that_lists_no_children(self, asleep, monkeypatch):
        def without(path):
            raise FileNotFoundError(2, "No such file or directory", str(path))

        monkeypatch.setattr(box.Path, "read_text", without)
        with pytest.raises(OSError, match=r"here the kernel .* \(CONFIG_PROC_CHILDREN\)"):
            box._first_inside(asleep.process.pid)

    def test_nobody_waits_for_one_that_says_nothing(self, asleep, monkeypatch):
        monkeypatch.setattr(box, "BIRTH", 0.1 - asleep.limits.patience)
        asleep._control, theirs = multiprocessing.Pipe()
        with pytest.raises(TimeoutError):
            asleep._received()
        theirs.close()

    @on_linux
    def test_why_it_does_not_start_is_said(self, monkeypatch):
        """Its library may be missing, say."""
        name = "detlearn.grading.calls"
        without = box.base()[name].replace("libseccomp.so", "libmissing.so")
        monkeypatch.setattr(box, "base", lambda: view.base() | {name: without})
        monkeypatch.setattr(Box, "works", False)
        started = Box(Limits(), in_container=True)
        with pytest.raises(OSError, match=r"it does not start \(OSError: libmissing.so.2: cannot"):
            started.run(None, {}, 0)
        assert started.process is None

    def test_one_that_does_not_start_when_others_did(self, monkeypatch):
        """As where memory was short for a moment: it is tried again, and no other is lost."""

        def fails(_):
            tried.append(1)
            raise OSError("it does not start (killed)")

        monkeypatch.setattr(Box, "_start", fails)
        submission, grades = submitted("one", START), Examiner(Settings(0, ("giou_loss",)))
        for works, times in ((True, box.TRIES), (False, 1)):
            tried = []
            monkeypatch.setattr(Box, "works", works)
            if works:
                assert grader.grade(submission, grades).lost
            else:
                with pytest.raises(OSError, match="does not start"):
                    grader.grade(submission, grades)
            assert len(tried) == times


class TestRefused:
    def says(self, capsys, folder, *words):
        (folder / "in").mkdir(exist_ok=True)
        write_class(folder / "in", ["empty"])
        assert main(["grade", str(folder / "in"), "--out", str(folder / "g.csv"), *words]) == 2
        return capsys.readouterr().err

    def test_without_bubblewrap(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(box.shutil, "which", lambda _: None)
        said = self.says(capsys, tmp_path)
        assert "the program bwrap is missing" in said and said.endswith("say --in-container\n")
        assert said.count("\n") == 1 and not (tmp_path / "g.csv").exists()

    def test_where_it_does_not_work(self, tmp_path, capsys, monkeypatch):
        """As in a container without user namespaces."""
        fake = tmp_path / "bwrap"
        fake.write_text(
            "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
        )
        fake.chmod(0o755)
        monkeypatch.setattr(box.shutil, "which", lambda _: str(fake))
        said = self.says(capsys, tmp_path)
        assert "No permissions to create new namespace" in said and "--in-container" in said

    def test_on_another_system(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(box.sys, "platform", "darwin")
        assert "grading needs Linux" in self.says(capsys, tmp_path)

    def test_a_table_among_the_submissions(self, tmp_path):
        """It could be a submission's own, with a journal of points."""
        write_class(tmp_path / "in", ["empty"])
        (tmp_path / "in" / "g.csv.journal").write_text('{"seed": 1}\n')
        (tmp_path / "link").symlink_to(tmp_path / "in")
        for out in ("in", "link"):
            with pytest.raises(ValueError, match="is a folder; name a file"):
                grade_folder(tmp_path / "in", tmp_path / out, in_container=True)
        for out in ("in/g.csv", "in/deeper/g.csv", "link/g.csv", "in/../in/g.csv"):
            with pytest.raises(ValueError, match="lies among the submissions"):
                grade_folder(tmp_path / "in", tmp_path / out, in_container=True)
        assert {path.name for path in (tmp_path / "in").iterdir()} == {
            "empty.ipynb",
            "g.csv.journal",
        }

    def test_two_graders_on_one_table(self, tmp_path):
        write_class(tmp_path / "in", ["empty"])
        with (
            Journal(tmp_path / "g.csv.journal"),
            pytest.raises(ValueError, match=r"g\.csv is being written by another grader"),
        ):
            grade_folder(tmp_path / "in", tmp_path / "g.csv", in_container=True)

    def test_a_full_disk_is_named(self, tmp_path):
        with (
            pytest.raises(OSError, match=r"No space left on device: '.*g\.csv\.journal'"),
            Journal(tmp_path / "g.csv.journal") as journal,
        ):
            journal._file.close()
            journal._file = open("/dev/full", "wb")
            journal.add("a", Row())

    def test_a_full_disk_is_said_while_others_are_graded(self, tmp_path, monkeypatch):
        write_class(tmp_path / "in", ["right", "wrong"])
        waited, ends = [], threading.Event()

        def grades(submission, *_, **__):
            if submission.name == "wrong.ipynb":
                waited.append(ends.wait(60))
            return Row()

        def fails(*_):
            raise OSError("no space left")

        monkeypatch.setattr(grader, "grade", grades)
        monkeypatch.setattr(Journal, "add", fails)
        options = {"in_container": True, "progress": False, "workers": 2, "seed": 1}
        with pytest.raises(OSError, match="no space left"):
            grade_folder(tmp_path / "in", tmp_path / "g.csv", **options)
        assert not waited and not (tmp_path / "g.csv").exists()
        ends.set()

    def test_why_a_table_cannot_be_written_is_said_once(self, tmp_path, monkeypatch):
        def fails(*_):
            raise OSError("the disk is gone")

        monkeypatch.setattr(grader, "write_atomically", fails)
        (tmp_path / "in").mkdir()
        with pytest.raises(OSError, match=r"^the disk is gone$"):
            grader.grade_one(tmp_path / "in", tmp_path / "results.json", in_container=True)


class TestIslands:
    """Whatever one submission is, it is a row with a remark, and costs no other its points."""

    def test_odd_files(self, tmp_path, room):
        folder = tmp_path / "in"
        write_class(folder, ["right"])
        right = (folder / "right.ipynb").read_bytes()

        deep = folder / "deep"
        for _ in range(30):
            deep = deep / "d"
        deep.mkdir(parents=True)
        (folder / "x.ipynb").mkdir()
        (folder / "x.ipynb" / "y.ipynb").mkdir()
        (folder / "x.ipynb" / "y.ipynb" / "right.ipynb").write_bytes(right)
        (folder / "link.ipynb").symlink_to(folder / "right.ipynb")
        (folder / "folder_link").symlink_to(folder)
        os.mkfifo(folder / "pipe.ipynb")
        (folder / "two\nlines.ipynb").write_bytes(right)
        (folder / os.fsdecode(b"no_\xff_utf8.ipynb")).write_bytes(right)
        with open(folder / "large.ipynb", "wb") as file:
            file.truncate(50_000_000)
        (folder / "beside").mkdir()
        (folder / "beside" / "a.ipynb").symlink_to("/etc/passwd")
        (folder / "beside" / "right.ipynb").write_bytes(right)
        (folder / "bomb.ipynb").write_text('{"cells": ' + '{"a":' * 100_000)
        (folder / "null.ipynb").write_bytes(right.replace(b"import torch", b"\\u0000", 1))
        (folder / "sources.ipynb").write_text('{"cells": [{"cell_type": "code", "source": 3}, 7]}')

        rows = {}
        for path in sorted(folder.iterdir()):
            rows[path.name] = room.grade(read_submission(path), ["giou_loss"])
        points = {name for name, row in rows.items() if row.points["giou_loss"]}
        assert points == {
            *("right.ipynb", "two\nlines.ipynb", os.fsdecode(b"no_\xff_utf8.ipynb")),
            *("x.ipynb", "beside"),
        }
        says = {
            "deep": "deeper than 20",
            "link.ipynb": "is a link or a device",
            "folder_link": "is a link or a device",
            "pipe.ipynb": "is a link or a device",
            "large.ipynb": "has 50 MB; at most 20 MB",
            "beside": "a.ipynb is a link",
            "bomb.ipynb": "is no JSON",
            "sources.ipynb": "has no code cells",
        }
        for name, remark in says.items():
            assert remark in rows[name].remark and not rows[name].lost, (name, rows[name].remark)

    def test_a_failure_of_the_graders_own_is_a_row(self, monkeypatch):
        def fails(*_):
            raise RecursionError("too deep")

        monkeypatch.setattr(Examiner, "examine", fails)
        grades = Examiner(Settings(0, ("giou_loss",)))
        row = grader.grade(Submission("a", (("a.ipynb", b"{}"),)), grades)
        assert row.remark == "the grader fails on it (RecursionError: too deep)"
        assert not row.points and not row.lost

    def test_forged_journals(self, tmp_path):
        path = tmp_path / "j"
        with Journal(path) as journal:
            journal.add("a", Row({"giou_loss": 10}, {"giou_loss": ""}, ""))
        with open(path, "ab") as file:
            file.write(b'{"key": ["b"], "row": {}}\n{"key": "c"}\n3\n{"seed": "x"}\nnull\n')
        with Journal(path) as journal:
            assert list(journal.rows) == ["a"] and journal.drawn_seed is None


@pytest.mark.alone
@on_linux
class TestInterrupted:
    @pytest.mark.parametrize("moment", ["it loads torch", "a function is asked"])
    def test_ctrl_c_ends_all_at_once(self, room, tmp_path, moment):
        """As a crash would: what was graded is kept, and nobody is left behind."""
        write_class(tmp_path / "in", ["wrong"])
        waits = notebook(START, "import time", body("time.sleep(1000)"), HAND_IN)
        (tmp_path / "in" / "zzz.ipynb").write_text(waits)

        out, journal = tmp_path / "grades.csv", tmp_path / "grades.csv.journal"
        words = ["grade", tmp_path / "in", "--out", out, "--exercises", "giou_loss", *room.words]
        words += ["--time-limit", 60, "--workers", 1]
        started = subprocess.Popen(
            [sys.executable, "-m", "detlearn.cli", *map(str, words)],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )

        # In the sandbox there is the first process, and a child of it while a function is asked.
        rows, processes = (0, 1) if moment == "it loads torch" else (1, 2)
        while True:
            assert started.poll() is None, "it ended before it could be stopped"
            ready = journal.exists() and journal.read_bytes().count(b'"row"') >= rows
            family = descendants(started.pid)
            inside_it = [name for name in family.values() if name not in ("bwrap", "setpriv")]
            if ready and len(inside_it) >= processes:
                break
            time.sleep(0.01)
        started.send_signal(signal.SIGINT)

        assert started.wait() == -signal.SIGINT and not out.exists()
        assert room.in_container or not list(tmp_path.glob("detlearn-*"))
        with Journal(journal) as kept:
            assert len(kept.rows) == rows
        while any(os.path.exists(f"/proc/{pid}") for pid in family):
            time.sleep(0.01)

    def test_another_command_is_stopped_as_before(self, tmp_path, capsys):
        before = signal.getsignal(signal.SIGINT)
        assert main(["grade", str(tmp_path), "--out", str(tmp_path / "g.csv")]) == 2
        assert signal.getsignal(signal.SIGINT) == before


def descendants(pid):
    """The processes that a process started, and theirs: number → name."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            number, name, rest = re.match(r"(\d+) \((.*)\) (.*)", path.read_text()).groups()
            parents[int(number)], names[int(number)] = int(rest.split()[1]), name

    found, ahead = {}, [pid]
    while ahead:
        parent = ahead.pop()
        children = [child for child, of in parents.items() if of == parent]
        found |= {child: names[child] for child in children}
        ahead += children
    return found
