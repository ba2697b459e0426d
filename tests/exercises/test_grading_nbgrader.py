"""Courses for nbgrader: what is exported, and what nbgrader's own commands make of it."""

import csv
import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch
from grading_samples import RIGHT, WRONG, notebook

from detlearn.boxes import box_area
from detlearn.check import EXERCISES, NotSolved
from detlearn.cli import main
from detlearn.grading.pieces import code, home
from detlearn.nbgrader.course import BOOTSTRAP, assignment, read_chapter, solved, write_course
from detlearn.nbgrader.strict import require

HAS_NBGRADER = importlib.util.find_spec("nbgrader") is not None
CHAPTER = (
    f"{BOOTSTRAP}.\nimport sys",
    "import math\nimport torch\nfrom torch import Tensor\n\nfrom detlearn import check",
    "model = train()",
    "Boxes = Tensor\nEPS = 1e-7",
    'def giou_loss(\n    pred_boxes: Boxes, target_boxes: Boxes\n) -> Tensor:\n    """1 − GIoU.\n\n'
    '    Returns (N,).\n    """\n    raise NotImplementedError("Exercise 6.1")\n\n\n'
    "giou_loss = check.giou_loss(giou_loss)",
    "history = fit(model)",
)
STUB = 'raise NotImplementedError("Exercise 6.1")'


@pytest.fixture
def chapters(tmp_path):
    """A folder with a chapter that states an exercise, and one that states none."""
    folder = tmp_path / "chapters"
    folder.mkdir()
    cells = json.loads(notebook(*CHAPTER, markdown=["# Box losses", "Write the GIoU loss."]))
    cells["cells"].insert(5, cells["cells"].pop(1))  # the text before the stub
    (folder / "06_losses.ipynb").write_text(json.dumps(cells))
    (folder / "07_none.ipynb").write_text(notebook("x = 1"))
    return folder


class TestExports:
    def test_a_chapters_exercises(self, chapters):
        chapter = read_chapter(chapters / "06_losses.ipynb")
        assert chapter.title == "Box losses"
        (stub,) = chapter.stubs
        assert stub.exercise is EXERCISES["giou_loss"]
        assert stub.text == "Write the GIoU loss."
        assert stub.source.startswith("def giou_loss(\n") and "check." not in stub.source
        assert "train" not in str(stub.needs) and "Boxes = Tensor" in stub.needs
        assert stub.needs[:2] == ("import math", "import torch")

    def test_a_comment_is_no_title(self, tmp_path):
        cells = json.loads(notebook("# Imports\nimport torch", markdown=["# Box losses"]))
        cells["cells"].reverse()
        (tmp_path / "06_losses.ipynb").write_text(json.dumps(cells))
        assert read_chapter(tmp_path / "06_losses.ipynb").title == "Box losses"

    def test_the_books_chapters(self, root):
        """What they state can be exported, whatever they train."""
        stubs = []
        for path in sorted((root / "chapters").glob("*.ipynb")):
            chapter = read_chapter(path)
            text = json.dumps(assignment(chapter, seed=1))
            # What may be imported is no check that is called: the tool's own, chapter 8's list.
            for allowed in ("check.py", "from detlearn.check.debugging import CAUSES"):
                text = text.replace(allowed, "")
            assert "subprocess" not in text and "check." not in text, path
            stubs += chapter.stubs
        for stub in stubs:
            assert stub.text and "train" not in "".join(stub.needs).replace(
                "pretrained", ""
            ).replace("training", "")
            compile(solved(stub), "stub", "exec")

            # The text begins at the exercise's heading; a hunt's has the broken function, too.
            number, name = stub.exercise.number, stub.exercise.name
            assert stub.text.startswith(f"### Exercise {number}:")
            assert stub.text.count("### Exercise") == 1
            if number.startswith("8."):
                assert f"def {name}(" in stub.text
        names = [stub.exercise.name for stub in stubs]
        assert names and len(names) == len(set(names))

    @pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
    def test_solutions_stand_on_their_own(self, exercise):
        """They are right, and strictly so: nothing of the package is called."""
        source = code(home(exercise.reference))
        assert "detlearn" not in source and '"""' not in source
        space = {}
        exec(source, space)
        require(exercise.name, space[exercise.reference.__name__], seed=3)

    def test_the_solution_stands_below_the_stub(self, chapters):
        (stub,) = read_chapter(chapters / "06_losses.ipynb").stubs
        source = solved(stub)
        before, _, below = source.partition("### BEGIN SOLUTION\n")
        assert before.strip() == stub.source and "Returns (N,)." in before
        assert below.endswith("\n### END SOLUTION")
        space = {}
        exec("\n".join([*stub.needs, source]), space)
        require("giou_loss", space["giou_loss"])

    def test_cells(self, chapters):
        made = assignment(read_chapter(chapters / "06_losses.ipynb"), seed=77)
        title, needed, text, function, test = made["cells"]
        assert title["source"] == "# Box losses: exercises"
        assert "import math" in needed["source"] and text["source"] == "Write the GIoU loss."
        points = [cell["metadata"]["nbgrader"].get("points") for cell in made["cells"]]
        assert points == [None, None, None, None, 10]
        locked = [cell["metadata"]["nbgrader"]["locked"] for cell in made["cells"]]
        assert locked == [True, True, True, False, True]
        graded = [cell["metadata"]["nbgrader"]["grade"] for cell in made["cells"]]
        assert graded == [False, False, False, False, True]
        assert function["metadata"]["nbgrader"]["solution"]
        assert "giou_loss = " not in test["source"]  # the learner's name stays the learner's
        assert test["source"].count("giou_loss, seed=77)") == 1

    def test_require(self):
        def blank(a, b):
            raise NotImplementedError

        space = {}
        exec("import torch\n" + WRONG, space)
        with pytest.raises(NotSolved, match="their product is not"):
            require("giou_loss", space["giou_loss"])
        with pytest.raises(NotSolved, match="not attempted"):
            require("giou_loss", blank)
        with pytest.raises(NotSolved, match="own giou_loss; write it yourself"):
            require("giou_loss", EXERCISES["giou_loss"].reference)
        with pytest.raises(ValueError, match="no exercise is called 'giou'"):
            require("giou", blank)

    def test_what_is_allowed_does_not_allow_what_follows(self):
        def first_its_own(a, b):
            box_area(a)
            return EXERCISES["giou_loss"].reference(a, b)

        with pytest.raises(NotSolved, match="calls detlearn's or torchvision's own giou_loss"):
            require("giou_loss", first_its_own)

    def test_what_a_notebook_has_set_does_not_count(self):
        """As in the book; and afterwards the notebook has its settings back."""
        space = {}
        starts = RIGHT.replace("return 1", "return torch.ones(len(pred_boxes))")
        exec("import torch\n" + starts, space)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        try:
            require("giou_loss", space["giou_loss"], seed=3)
            after = torch.get_default_dtype(), torch.is_grad_enabled()
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
        assert after == (torch.float64, False)


class TestCommand:
    def test_writes_a_course(self, chapters, tmp_path, capsys):
        words = ["nbgrader", tmp_path / "course", "--chapters", chapters, "--seed", 5]
        words = [str(word) for word in words]
        assert main(words) == 0
        path = tmp_path / "course" / "source" / "06_losses" / "06_losses.ipynb"
        assert capsys.readouterr().out == f"{path}\n"
        assert (tmp_path / "course" / "nbgrader_config.py").exists()
        assert not (tmp_path / "course" / "source" / "07_none").exists()
        path.write_text("edited")
        assert main(words) == 2  # what an instructor has edited stays
        assert "is there already; delete it" in capsys.readouterr().err
        assert path.read_text() == "edited"

    def test_nothing_to_export(self, chapters, tmp_path):
        (chapters / "06_losses.ipynb").unlink()
        with pytest.raises(ValueError, match="states an exercise"):
            write_course(tmp_path / "course", chapters)
        with pytest.raises(FileNotFoundError, match="--chapters"):
            write_course(tmp_path / "course", tmp_path / "nowhere")
        (chapters / "08.ipynb").write_text("[]")
        with pytest.raises(ValueError, match=r"08\.ipynb is no notebook"):
            write_course(tmp_path / "course", chapters)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not HAS_NBGRADER, reason="nbgrader is not installed")
def test_nbgrader_releases_grades_and_exports(chapters, tmp_path):
    course = tmp_path / "course"
    write_course(course, chapters, seed=5)

    def run(*words):
        # As in an activated environment: nbgrader calls a program beside it, alembic.
        path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "PATH": path}
        # Each student's kernel imports torch: compiled once, for all three.
        environment |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path / "pyc")}
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", *words],
            cwd=course,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("generate_assignment", "06_losses")
    released = json.loads((course / "release" / "06_losses" / "06_losses.ipynb").read_text())
    text = json.dumps(released)
    assert "SOLUTION" not in text and "HIDDEN" not in text and "seed=" not in text
    functions = [cell for cell in released["cells"] if STUB in "".join(cell["source"])]
    (function,) = functions
    for student, source in {"blank": function["source"], "right": RIGHT, "wrong": WRONG}.items():
        function["source"] = source
        folder = course / "submitted" / student / "06_losses"
        folder.mkdir(parents=True)
        (folder / "06_losses.ipynb").write_text(json.dumps(released))
    run("autograde", "06_losses")
    run("export", "--to", "grades.csv")
    with open(course / "grades.csv", newline="") as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores == {"right": 10, "wrong": 0, "blank": 0}
