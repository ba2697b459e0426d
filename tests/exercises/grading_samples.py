"""Submissions as a class hands them in: right, wrong, broken and hostile ones."""

import csv
import functools
import json
import sys
from dataclasses import dataclass

import pytest

from detlearn.grading.box import Box, Lost, require_sandbox
from detlearn.grading.examiner import Examiner, Settings
from detlearn.grading.submissions import Submission


@functools.cache
def sandbox_trouble():
    """Why no sandbox can be built here, or ""."""
    try:
        require_sandbox()
    except OSError as error:
        return str(error)
    return ""


needs_sandbox = pytest.mark.usefixtures("sandbox")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="its processes are limited by Linux")
START = "import torch\nfrom torch import Tensor\nfrom detlearn import check"
HAND_IN = "giou_loss = check.giou_loss(giou_loss)"
RIGHT = """
def giou_loss(pred_boxes, target_boxes):
    top_left = torch.max(pred_boxes[:, :2], target_boxes[:, :2])
    bottom_right = torch.min(pred_boxes[:, 2:], target_boxes[:, 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(1)
    union = sum((b[:, 2:] - b[:, :2]).prod(1) for b in (pred_boxes, target_boxes)) - shared
    low = torch.min(pred_boxes[:, :2], target_boxes[:, :2])
    high = torch.max(pred_boxes[:, 2:], target_boxes[:, 2:])
    around = (high - low).prod(1)
    return 1 - shared / (union + 1e-7) + (around - union) / (around + 1e-7)
"""
WRONG = RIGHT.replace(".clamp(min=0)", "")
WRONG_HINT = "both differences are negative and their product is not"
NOT_OWN = "write it yourself"
NOT_ALLOWED = "BlockingIOError"


def notebook(*cells, markdown=()):
    """A notebook's file: code cells, after some Markdown."""
    text = [{"cell_type": "markdown", "metadata": {}, "source": source} for source in markdown]
    code = [
        {"cell_type": "code", "metadata": {}, "source": source, "outputs": []} for source in cells
    ]
    cells = [cell | {"id": f"c{i}"} for i, cell in enumerate(text + code)]
    for cell in cells[len(text) :]:
        cell["execution_count"] = None
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def submitted(name, *cells):
    """A submission of one notebook."""
    return Submission(name, ((f"{name}.ipynb", notebook(*cells).encode()),))


def body(*lines, then=RIGHT):
    """A `giou_loss` that does something first; then it answers as `then` does."""
    name = then.replace("def giou_loss", "def honest")
    inner = "\n".join(f"    {line}" for line in lines)
    return f"{name}\ndef giou_loss(a, b):\n{inner}\n    return honest(a, b)\n"


@dataclass
class Sample:
    """A submission and what it earns.

    Attributes:
        content: of its file; a dictionary is a folder of files.
        points: for giou_loss.
        says: a regular expression, found in the hint, or in the remark if `remarked`.
        remarked: the whole submission is unusable.
        suffix: of the file.
        sandboxed: not to be tried without a sandbox.
    """

    content: str | bytes | dict
    points: int = 0
    says: str = ""
    remarked: bool = False
    suffix: str = ".ipynb"
    sandboxed: bool = False


def handed_in(*cells, points=0, says="", sandboxed=False):
    """A notebook that imports what it needs, has some cells, and hands in."""
    return Sample(notebook(START, *cells, HAND_IN), points, says, sandboxed=sandboxed)


SAMPLES = {
    # ---- right ----
    "right": handed_in(RIGHT, points=10),
    "right_among_trainings": handed_in(
        "!pip install detlearn\n%matplotlib inline\nx = !ls",
        "%%bash\nrm -rf /",
        "raise SystemExit('this training must not run')",
        "loss = train_for_hours()",
        RIGHT.replace("    union = ", "    union = helper(1) * "),
        "def helper(x):\n    return x * FACTOR",
        "table = {}\ntable['one'] = 1.0",
        "FACTOR = table['one']",
        "while True: pass",
        points=10,
    ),
    "right_by_other_names": Sample(
        notebook(
            "import torch, detlearn as d",
            "def mine(*boxes):\n    return giou_loss(*boxes)",
            RIGHT,
            "display(d.check.giou_loss(mine))",
        ),
        points=10,
    ),
    "right_the_second_time": handed_in(WRONG, HAND_IN, RIGHT, points=10),
    "right_and_chatty": handed_in(body("print('x' * 10**7)"), points=10),
    "right_then_spoilt": Sample(
        notebook(START, RIGHT, HAND_IN, "giou_loss = None", "check = None"), points=10
    ),
    "right_in_a_folder": Sample(
        {
            "one.ipynb": notebook(START, RIGHT, HAND_IN),
            "two.ipynb": notebook(START, "x = 1"),
            "notes.txt": "",
        },
        points=10,
    ),
    # ---- wrong ----
    "wrong": handed_in(WRONG, says=WRONG_HINT),
    "wrong_the_second_time": handed_in(RIGHT, HAND_IN, WRONG, says=WRONG_HINT),
    "blank": handed_in(
        "def giou_loss(a, b):\n    raise NotImplementedError('Exercise 6.1')", says="not attempted"
    ),
    "not_handed_in": Sample(notebook(START, RIGHT), says="^not handed in"),
    "deleted_cell": handed_in(says="giou_loss is not defined by any cell before the check"),
    "syntax_error": handed_in(
        "\ndef giou_loss(a, b)\n    return a", says="code cell 2 of .* has a syntax error in line 2"
    ),
    "syntax_error_at_the_check": Sample(
        notebook(START, RIGHT, "giou_loss = = check.giou_loss(giou_loss)"),
        says="code cell 3 of .* has a syntax error in line 1",
    ),
    "raises": handed_in(
        body("raise KeyError('no such box')"), says="raises KeyError: 'no such box'"
    ),
    "raises_before": handed_in(
        "EPS = 1 / 0",
        RIGHT.replace("1e-7", "EPS"),
        says="code cell 2 of .*, line 1: .*ZeroDivision",
    ),
    # ---- unusable ----
    "broken_json": Sample('{"cells": [', says="is broken: it is no JSON", remarked=True),
    "no_text": Sample(b"\xff\xfe\x00\x01" * 50, says="is broken: it is no JSON", remarked=True),
    "deep_json": Sample("[" * 200_000, says="is broken: it is no JSON", remarked=True),
    "not_a_notebook": Sample("[1, 2]", says="JSON but no notebook", remarked=True),
    "empty": Sample("", says="is empty", remarked=True),
    "no_code": Sample(notebook(markdown=["my essay"]), says="no code cells", remarked=True),
    "essay": Sample("words", says="is no notebook: its name", remarked=True, suffix=".txt"),
    "empty_folder": Sample({}, says="holds no notebook", remarked=True),
    # ---- hostile ----
    "loop": handed_in(body("while True: pass"), says="stopped after (1|0.5) seconds"),
    "loop_that_catches": handed_in(
        body(
            "while True:", "    try:", "        while True: pass", "    except BaseException: pass"
        ),
        says="stopped after (1|0.5) seconds",
    ),
    "loop_before": handed_in(
        "def forever():\n    while True: pass",
        "EPS = forever()",
        RIGHT.replace("1e-7", "EPS"),
        says="needs was stopped after 0.25 seconds",
    ),
    "huge_tensor": handed_in(body("torch.ones(25 * 10**9)"), says="more memory than there is"),
    "more_than_its_share": handed_in(
        body("torch.empty(3 * 2**30, dtype=torch.uint8)"),  # which the machine would give it
        says="more memory than there is",
    ),
    "huge_shared_memory": handed_in(
        "import mmap",
        body("m = mmap.mmap(-1, 100 * 2**30)", "m[:] = b'x' * len(m)"),
        says="more memory than there is|memory",
    ),
    "exit": handed_in("import sys", body("sys.exit(0)"), says=r"calls exit\(\)"),
    "exit_before": handed_in(
        "import sys\nEPS = sys.exit(0)", RIGHT.replace("1e-7", "EPS"), says=r"calls exit\(\)"
    ),
    "hard_exit": handed_in(
        "import os", body("os._exit(3)"), says=r"ended its process \(exit code 3"
    ),
    "hard_exit_well": handed_in(
        "import os", body("os._exit(0)"), says="its process ended too early"
    ),
    "fork_bomb": handed_in("import os", body("while True: os.fork()"), says=NOT_ALLOWED),
    "kills_its_parent": handed_in(
        "import os, signal",
        body("os.kill(os.getppid(), signal.SIGKILL)"),
        points=10,  # which the system ignores
        sandboxed=True,
    ),
    "writes_into_every_pipe": handed_in(
        "import os",
        body(
            "for fd in range(64):",
            "    try: os.write(fd, b'10 points')",
            "    except OSError: pass",
        ),
        says="cannot be read",
    ),
    "forges_answers": handed_in(
        "import os",
        "from safetensors.torch import save",
        body(
            """fake = save({}, metadata={'said': '{"answers": []}'})""",
            "os.write(3, fake)",
            "os._exit(0)",
        ),
        says="0 answers came to",
    ),
    "redefines_check": handed_in(
        "class check:\n    giou_loss = staticmethod(lambda function: True)", WRONG, says=WRONG_HINT
    ),
    "patches_torch": handed_in(
        "torch.allclose = torch.isclose = torch.equal = lambda *a, **k: True",
        "Tensor.__eq__ = Tensor.all = lambda *a: torch.ones(()).bool()",
        WRONG,
        says=WRONG_HINT,
    ),
    "patches_the_engine": handed_in(
        "import detlearn.check.engine as engine, detlearn.check.engine.cases as cases",
        "engine.judge = cases.fault = cases.close = lambda *a: None",
        body("engine.judge = cases.fault = cases.close = lambda *a: None", then=WRONG),
        says=WRONG_HINT,
    ),
    "writes_the_table": handed_in(
        body("open('{folder}/grades.csv', 'w').write('10 points')"),
        says="FileNotFoundError|Read-only file system",
        sandboxed=True,
    ),
    "starts_a_program": handed_in(
        "import subprocess, sys",
        body("subprocess.run([sys.executable, '-c', 'import torchvision'])"),
        says=NOT_ALLOWED,
        sandboxed=True,
    ),
    # ---- not their own work ----
    "calls_torchvision": handed_in(
        "from torchvision.ops import generalized_box_iou_loss as g",
        "def giou_loss(a, b):\n    return g(a, b)",
        says=f"torchvision's own generalized_box_iou_loss is not for .*; {NOT_OWN}",
    ),
    "calls_the_package_and_hides_it": handed_in(
        "from detlearn import losses",
        body("try: losses.giou_loss(a, b)", "except BaseException: pass"),
        points=10,  # nothing comes of the call, and what is returned is their own
    ),
    "hands_in_the_package": Sample(
        notebook("from detlearn import check, losses", "check.giou_loss(losses.giou_loss)"),
        says=f"giou_loss .*; {NOT_OWN}",
    ),
    "asks_the_check_for_it": handed_in(
        "giou_loss = check.EXERCISES['giou_loss'].reference",
        says=f"detlearn's own EXERCISES .*; {NOT_OWN}",
    ),
    "imports_torchvision_afresh": handed_in(
        "import sys",
        body(
            "for name in [n for n in sys.modules if n.startswith('torchvision')]:",
            "    del sys.modules[name]",
            "from torchvision.ops import generalized_box_iou_loss",
            "return generalized_box_iou_loss(a, b)",
        ),
        says=NOT_OWN,
    ),
    "reloads_the_package": handed_in(
        "import importlib, detlearn.losses",
        body(
            "try: module = importlib.reload(detlearn.losses)",
            "except BaseException: return honest(a, b)",
            "return module.giou_loss(a, b)",
        ),
        says=NOT_OWN,
    ),
}


# They use up their time, so they get little; the others may need more on a busy machine.
LOOPS = tuple(name for name in SAMPLES if name.startswith("loop"))


def write_class(folder, names):
    """Put submissions into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        sample = SAMPLES[name]
        if isinstance(sample.content, dict):
            (folder / name).mkdir()
            for file, content in sample.content.items():
                (folder / name / file).write_text(content)
            continue
        content = sample.content
        content = content.encode() if isinstance(content, str) else content
        content = content.replace(b"{folder}", str(folder.parent).encode())
        (folder / f"{name}{sample.suffix}").write_bytes(content)


def row_name(name):
    """How a sample's row is called."""
    sample = SAMPLES[name]
    return name if isinstance(sample.content, dict) else f"{name}{sample.suffix}"


SEED = 20_261


class Room:
    """A sandbox that grades many submissions, so that torch is loaded once; never with a class.

    Args:
        limits: for each exercise.
        in_container: whether to do without a sandbox; by default where none can be built.
    """

    def __init__(self, limits, in_container=None):
        self.limits = limits
        self.in_container = bool(sandbox_trouble()) if in_container is None else in_container
        self.words = ["--in-container"] if self.in_container else []
        self.box = None
        self.examiners = {}

    def examiner(self, exercises, seed=SEED):
        """The one for some exercises."""
        key = (*exercises, seed)
        if key not in self.examiners:
            self.examiners[key] = Examiner(Settings(seed, tuple(exercises), self.limits))
        return self.examiners[key]

    def run(self, task, modules, most):
        """Do a task in the sandbox; opens it, and one in place of one that is lost."""
        if self.box is None:
            self.box = Box(self.limits, in_container=self.in_container)
        try:
            return self.box.run(task, modules, most)
        except Lost:
            self.close()
            raise

    def grade(self, submission, exercises, seed=SEED):
        """The row of a submission."""
        return self.examiner(exercises, seed).examine(submission, self.run)

    def close(self):
        """End the sandbox."""
        if self.box is not None:
            self.box.close()
            self.box = None


def table(path):
    """A CSV file as submission → column → text."""
    with open(path, newline="", encoding="utf-8") as file:
        return {row["submission"]: row for row in csv.DictReader(file)}
