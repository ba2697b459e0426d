"""Grading a class: what each submission earns, that none harms the grader, that a crash harms none.

The submissions stand in grading_samples.py.
"""

import csv
import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe

import pytest
import torch
from grading_samples import (
    HAND_IN,
    LOOPS,
    RIGHT,
    SAMPLES,
    SEED,
    START,
    WRONG,
    body,
    notebook,
    on_linux,
    row_name,
    submitted,
    table,
    write_class,
)

from detlearn.check import EXERCISES
from detlearn.check.engine.cases import Answer, Case, Trouble
from detlearn.cli import main
from detlearn.grading import grader, wire
from detlearn.grading.box import Box, Limits
from detlearn.grading.examiner import Examiner, Row, Settings
from detlearn.grading.grader import grade_folder
from detlearn.grading.journal import Journal, key_of
from detlearn.grading.submissions import Submission, find_submissions, read_submission
from detlearn.grading.tables import csv_table, gradescope_results

LIMITS = Limits(seconds=20)


class TestAClass:
    @pytest.mark.parametrize("name", SAMPLES)
    def test_points_and_hint(self, room, hasty, tmp_path, name):
        sample = SAMPLES[name]
        if sample.sandboxed and room.in_container:
            pytest.skip("it could harm this machine")

        write_class(tmp_path, [name])
        submission = read_submission(tmp_path / row_name(name))
        row = (hasty if name in LOOPS else room).grade(submission, ["giou_loss"])
        assert row.points == {"giou_loss": sample.points} and not row.lost, row
        said, empty = row.hints["giou_loss"], row.remark
        if sample.remarked:
            said, empty = empty, said
        assert empty == ""
        assert re.search(sample.says, said) if sample.says else said == "", said

    def test_a_folder_and_once_more_from_the_journal(self, room, tmp_path, monkeypatch):
        names = ("wrong", "right", "empty", "right_in_a_folder")
        write_class(tmp_path / "in", names)
        out, options = tmp_path / "grades.csv", {"seed": SEED, "exercises": ["giou_loss"]}
        options |= {"progress": False, "in_container": room.in_container}
        grade_folder(tmp_path / "in", out, workers=2, **options)

        rows, before = table(out), out.read_bytes()
        assert list(rows) == sorted(map(row_name, names))
        assert {name: int(rows[row_name(name)]["giou_loss"]) for name in names} == {
            name: SAMPLES[name].points for name in names
        }
        columns = ["submission", "total", "giou_loss", "giou_loss hint", "remark"]
        assert list(rows["right.ipynb"]) == columns
        assert {path.name for path in tmp_path.iterdir()} == {
            *("in", "grades.csv", "grades.csv.journal")
        }

        def refuse(*_):
            raise AssertionError("this was graded already")

        monkeypatch.setattr(grader, "grade", refuse)
        grade_folder(tmp_path / "in", out, workers=1, **options)
        assert out.read_bytes() == before


def grade(room, *cells, exercises):
    """The row of one notebook."""
    return room.grade(submitted("one", *cells), exercises)


IOU = """
def box_iou(boxes1, boxes2):
    return torch.zeros(len(boxes1), len(boxes2)) + 0.0
"""


class TestOneSubmission:
    def test_a_wrong_exercise_does_not_spoil_the_next(self, room):
        """As in the reading flow, the name of a wrong function means the package's from then on."""
        uses = RIGHT.replace("shared / (union + 1e-7)", "box_iou(*pairs).diagonal()")
        uses = uses.replace("    top_left", "    pairs = pred_boxes, target_boxes\n    top_left", 1)
        cells = [START, IOU, "box_iou = check.box_iou(box_iou)", uses, HAND_IN]
        row = grade(room, *cells, exercises=["box_iou", "giou_loss"])
        assert row.points == {"box_iou": 0, "giou_loss": 10}, row.hints
        # Not so if the learner never handed in the first: then it is not theirs to use.
        cells[1:3] = ["from detlearn.boxes import box_iou"]
        row = grade(room, *cells, exercises=["box_iou", "giou_loss"])
        assert row.points == {"box_iou": 0, "giou_loss": 0}
        assert "detlearn's own box_iou belongs to exercise 1.1" in row.hints["giou_loss"]

    def test_a_right_exercise_stays_the_learners(self, room):
        """The next one may call it with an argument that the package's does not have."""
        own = """
def box_iou(boxes1, boxes2, small=1e-9):
    low = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    high = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (boxes1, boxes2)]
    return shared / (areas[0][:, None] + areas[1] - shared + small)
"""
        uses = RIGHT.replace("shared / (union + 1e-7)", "box_iou(*pairs, small=1e-7).diagonal()")
        uses = uses.replace("    top_left", "    pairs = pred_boxes, target_boxes\n    top_left", 1)
        cells = [START, own, "box_iou = check.box_iou(box_iou)", uses, HAND_IN]
        row = grade(room, *cells, exercises=["box_iou", "giou_loss"])
        assert row.points == {"box_iou": 10, "giou_loss": 10}, row.hints

    def test_an_earlier_exercise_that_is_not_asked_for(self, room):
        """Its function is graded all the same, since it decides what its name means."""
        uses = RIGHT.replace("shared / (union + 1e-7)", "box_iou(*pairs).diagonal()")
        uses = uses.replace("    top_left", "    pairs = pred_boxes, target_boxes\n    top_left", 1)
        blank = "def box_iou(a, b):\n    raise NotImplementedError"
        for first in (IOU, blank):
            cells = [START, first, "box_iou = check.box_iou(box_iou)", uses, HAND_IN]
            row = grade(room, *cells, exercises=["giou_loss"])
            assert row.points == {"giou_loss": 10}, row.hints

    def test_a_failure_that_the_function_does_not_need_is_not_its_reason(self, room):
        """A wrong function is asked again after all cells, of which any may fail; that counts."""
        before = "    if SCALE[0] == 1: raise ValueError\n    top_left"
        wrong = RIGHT.replace("shared / (union", "SCALE[0] * shared / (union")
        wrong = wrong.replace("    top_left", before, 1)
        setup = ("SCALE = [1]", "SCALE[0] = 2", "scores = open('scores.csv')")
        cells = (START, *setup, wrong, HAND_IN)
        row = grade(room, *cells, exercises=["giou_loss"])
        assert row.points == {"giou_loss": 0}
        assert "expected" in row.hints["giou_loss"]
        assert not {"ValueError", "scores.csv"} & {*re.findall(r"[\w.]+", row.hints["giou_loss"])}

    def test_what_a_stub_says_is_at_hand(self, room):
        """Exercise 2.7, with the package's functions that its text names, as chapter 2 imports."""
        imports = (
            "from detlearn.boxes import clip_boxes_to_image\n"
            "from detlearn.coders import decode_deltas\n"
            "from detlearn.nms import nms"
        )
        uses = """
def propose(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for scores, moves, size in zip(logits.detach(), deltas.detach(), sizes):
        scores, best = scores.topk(min(pre, len(scores)))
        boxes = clip_boxes_to_image(decode_deltas(moves[best], anchors[best]), size)
        large = ((boxes[:, 2:] - boxes[:, :2]) >= least).all(dim=1)
        boxes, scores = boxes[large], scores[large]
        proposals.append(boxes[nms(boxes, scores, overlap)[:post]])
    return proposals
"""
        cells = (START, imports, uses, "check.propose(propose)")
        row = grade(room, *cells, exercises=["propose"])
        assert row.points == {"propose": 10}, row.hints

    def test_a_later_exercise_is_not_given(self, room):
        """The package's function would bring along what this one's is made of."""
        blank = "def giou_loss(a, b):\n    raise NotImplementedError"
        uses = (
            "from detlearn.boxes import paired_iou\n"
            "def box_iou(a, b):\n"
            "    giou_loss\n"
            "    n, m = len(a), len(b)\n"
            "    return paired_iou(a.repeat_interleave(m, 0), b.repeat(n, 1)).view(n, m)"
        )
        sent = []

        def record(task, modules, most):
            sent.append(task)
            return room.run(task, modules, most)

        submission = submitted("one", START, blank, HAND_IN, uses, "check.box_iou(box_iou)")
        row = room.examiner(["box_iou"]).examine(submission, record)
        assert row.points == {"box_iou": 0} and not any(task.given for task in sent[1:])
        assert "detlearn's own paired_iou" in row.hints["box_iou"]

    def test_what_fails_around_a_wrong_function_is_its_hint(self, room):
        cells = (START, "EPS = 1\nEPS = 1 / 0", WRONG.replace("1e-7", "EPS"), HAND_IN)
        row = grade(room, *cells, exercises=["giou_loss"])
        said = "code cell 2 of one.ipynb, line 2: the code that your function needs raises ZeroDiv"
        assert row.points == {"giou_loss": 0} and row.hints["giou_loss"].startswith(said)

    def test_only_the_cells_in_which_something_runs_are_sent(self, room):
        """Of a right answer those that it needs; of a wrong one then all up to its check."""
        for answer in (RIGHT, WRONG):
            sent = []

            def record(task, modules, most):
                sent.append(task)  # noqa: B023
                return room.run(task, modules, most)

            cells = (START, "x = 1", "y = (", answer, HAND_IN, "z = 2")
            row = room.examiner(["giou_loss"]).examine(submitted("one", *cells), record)
            assert row.points == {"giou_loss": 10 if answer == RIGHT else 0}
            few, *more = [questions.cells for questions in sent[1:]]
            assert few == [START, "", "", answer, HAND_IN]
            assert more == ([] if answer == RIGHT else [[START, "x = 1", "", answer, HAND_IN]])

    def test_a_very_long_notebook(self, room):
        """What it holds comes back with the survey."""
        table = f"TABLE = '{'é' * 1_000_000}'"
        row = grade(room, START, table, RIGHT, HAND_IN, exercises=["giou_loss"])
        assert row.points == {"giou_loss": 10} and not row.remark

    def test_of_several_notebooks_the_last_counts(self, room):
        right = ("b.ipynb", notebook(START, "x = 1", RIGHT, HAND_IN).encode())
        wrong = ("a.ipynb", notebook("import torch", START, "", WRONG, HAND_IN).encode())
        for notebooks, points in (((wrong, right), 10), ((right, wrong), 0)):
            row = room.grade(Submission("folder", notebooks), ["giou_loss"])
            assert row.points == {"giou_loss": points}, row.hints

    def test_how_a_notebook_says_that_it_is_read(self, room):
        """The annotations of all cells after the first, in the second run as well."""
        future = "from __future__ import annotations"
        annotated = RIGHT.replace("loss(pred_boxes,", "loss(pred_boxes: Nobody,")
        row = grade(room, future, START, annotated, HAND_IN, exercises=["giou_loss"])
        assert row.points == {"giou_loss": 10}, row.hints

        cells = (future, START, "exec('EPS = 1e-7')", annotated.replace("1e-7", "EPS"), HAND_IN)
        row = grade(room, *cells, exercises=["giou_loss"])
        assert row.points == {"giou_loss": 10}, row.hints

        # Not those above it.
        row = grade(room, START, annotated, future, HAND_IN, exercises=["giou_loss"])
        assert "Nobody is not defined" in row.hints["giou_loss"]

    def test_what_no_version_of_python_knows_spoils_no_other_cell(self, room):
        cells = (START, "from __future__ import nothing", RIGHT, HAND_IN)
        row = grade(room, *cells, exercises=["giou_loss"])
        assert row.points == {"giou_loss": 10}, row.hints

    @pytest.mark.parametrize(
        "setting", ["torch.set_grad_enabled(False)", "torch.set_default_dtype(torch.float64)"]
    )
    def test_what_a_notebook_has_set_does_not_count(self, room, setting):
        """As in the book, where a check asks under the usual settings."""
        starts = RIGHT.replace("return 1", "return torch.ones(len(pred_boxes))")
        # By its exec all cells above the check must have run.
        cells = (START, setting, "exec('EPS = 1e-7')", starts.replace("1e-7", "EPS"), HAND_IN)
        row = grade(room, *cells, exercises=["giou_loss"])
        assert row.points == {"giou_loss": 10}, row.hints

    def test_the_line_is_the_learners_where_the_package_raises(self, room):
        imports = "from detlearn.boxes import box_area"
        uses = "def giou_loss(a, b):\n    return box_area(None)"
        row = grade(room, START, imports, uses, HAND_IN, exercises=["giou_loss"])
        assert "; line 2: return box_area(None)" in row.hints["giou_loss"]

    def test_a_sentence_of_the_learners_is_not_the_graders(self, room):
        """The grader's own says that a function took too long, so that there is no second try."""
        says = "raise ValueError('stopped after 120 seconds')"
        fails = body("if not table:", f"    {says}")

        # The exec does not run until all cells above the check do.
        cells = (START, "table = {}", "exec('table[0] = 1')", fails, HAND_IN)
        row = grade(room, *cells, exercises=["giou_loss"])
        assert row.points == {"giou_loss": 10}, row.hints

        # Six times the limit on processor time may pass on the clock.
        assert room.limits.seconds * 6 == 120
        row = grade(room, START, body(says), HAND_IN, exercises=["giou_loss"])
        assert "raises ValueError: stopped after 120 seconds" in row.hints["giou_loss"]

    def test_a_function_that_was_stopped_is_not_asked_again(self, hasty):
        sent = []

        def record(task, modules, most):
            sent.append(task)
            return hasty.run(task, modules, most)

        submission = submitted("one", START, body("while True: pass"), HAND_IN)
        row = hasty.examiner(["giou_loss"]).examine(submission, record)
        assert "your function was stopped after 1 seconds" in row.hints["giou_loss"]
        assert len(sent) == 2  # to look at the notebook, and to ask

    def test_a_check_that_is_given_nothing(self, room):
        row = grade(room, START, RIGHT, "check.giou_loss(*[])", exercises=["giou_loss"])
        assert row.points == {"giou_loss": 0}
        assert "TypeError: check.giou_loss() is given no function" in row.hints["giou_loss"]

    def test_the_private_seed_changes_the_questions(self):
        one, other = (EXERCISES["giou_loss"].ladder(seed) for seed in (SEED, SEED + 1))
        assert any(not torch.equal(a.args[0], b.args[0]) for a, b in zip(one, other))

    def test_what_leaves_the_grader_holds_no_answers(self, room):
        sent = []

        def record(task, modules, most):
            sent.append(task)
            return room.run(task, modules, most)

        submission = submitted("one", START, RIGHT, HAND_IN)
        row = room.examiner(["giou_loss"]).examine(submission, record)
        assert row.points == {"giou_loss": 10}
        _, questions = sent
        assert any(case.expected is not None for case in EXERCISES["giou_loss"].ladder(SEED))
        assert all(case.expected is None and not case.note for case in questions.cases)
        assert str(SEED) not in repr(questions)

    @pytest.mark.parametrize("times", [2, 3])
    def test_a_lost_sandbox_is_not_the_learners_fault(self, monkeypatch, times):
        """The task is tried again in another one; what is lost thrice is not noted for good."""
        lost, start = [], Box._start

        def starts(box):
            if len(lost) == times:
                start(box)
                return
            lost.append(box)
            box.process = subprocess.Popen(["true"], start_new_session=True)
            box._control, theirs = Pipe()
            theirs.close()
            box._folder, box._held = tempfile.TemporaryDirectory(), (0, 0)

        monkeypatch.setattr(Box, "_start", starts)
        monkeypatch.setattr(Box, "works", True)
        submission = submitted("one", START, RIGHT, HAND_IN)
        row = grader.grade(submission, self.examiner(), in_container=True)
        assert len(lost) == times
        if times == 2:
            assert row.points == {"giou_loss": 10} and not row.lost
        else:
            assert row.lost and "again" in row.remark and not row.points

    def examiner(self):
        return Examiner(Settings(0, ("giou_loss",), LIMITS))

    def test_without_a_notebook_there_is_no_sandbox(self, monkeypatch):
        monkeypatch.setattr(Box, "_start", None)
        row = grader.grade(Submission("a", trouble="a is empty"), self.examiner())
        assert row == Row({"giou_loss": 0}, {"giou_loss": ""}, "a is empty")

    def test_gradescope(self, room, tmp_path, capsys):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "hw.ipynb").write_text(notebook(START, WRONG, HAND_IN))
        words = ["grade", tmp_path / "in", "--gradescope", tmp_path / "out" / "results.json"]
        words += ["--exercises", "giou_loss", "box_iou", *room.words]
        assert main([str(word) for word in words]) == 0
        assert capsys.readouterr().out.startswith("0 points → ")
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        assert results["score"] == 0 and results["output"] == ""
        iou, giou = results["tests"]
        assert (iou["name"], iou["number"], iou["score"], iou["max_score"]) == (
            *("box_iou", EXERCISES["box_iou"].number, 0, 10),
        )
        assert iou["output"].startswith("not handed in")
        assert "their product is not" in giou["output"]

    def test_gradescope_with_names_that_are_no_text(self, room, tmp_path):
        """An empty file beside a right notebook costs nothing."""
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "hw.ipynb").write_text(notebook(START, RIGHT, HAND_IN))
        for name in (b"\xff.ipynb", b"two\nlines.ipynb"):
            (tmp_path / "in" / os.fsdecode(name)).write_bytes(b"")
        options = {"exercises": ["giou_loss"], "in_container": room.in_container}
        grader.grade_one(tmp_path / "in", tmp_path / "results.json", **options)
        results = json.loads((tmp_path / "results.json").read_text())
        assert results["score"] == 10
        assert results["output"] == "two lines.ipynb is empty; .ipynb is empty"

    def test_gradescope_with_a_remark_that_is_no_text(self):
        results = gradescope_results(Row(remark=os.fsdecode(b"\xff")), ["giou_loss"])
        assert json.loads(results)["output"] == "\udcff"

    def test_gradescope_right(self):
        row = Row({"giou_loss": 10}, {"giou_loss": ""})
        results = json.loads(gradescope_results(row, ["giou_loss"]))
        assert results["score"] == 10 and results["tests"][0]["output"] == "right"


class TestBenchmark:
    """Its attacks reach what they attack."""

    def attack(self, root, monkeypatch, kind):
        monkeypatch.syspath_prepend(str(root / "benchmarks"))
        grading = importlib.import_module("grading")
        before, attack, points = grading.HOSTILE[kind]
        return before, points, submitted("one", *grading.hostile(before, attack)), grading.AROUND

    def test_empty_answers(self, root, room, monkeypatch):
        """They are such as the grader reads, but there are none."""
        _, points, submission, exercises = self.attack(root, monkeypatch, "empty answers")
        row = room.grade(submission, exercises)
        assert row.points == {"box_iou": 10, "giou_loss": points, "nms": 10}
        assert re.search("0 answers came to [0-9]+ questions", row.hints["giou_loss"])

    def test_a_class_called_check(self, root, room, monkeypatch):
        before, points, submission, exercises = self.attack(
            root, monkeypatch, "a class called check"
        )
        space = {}
        exec(before, space)
        assert space["check"].giou_loss(max) is max
        row = room.grade(submission, exercises)
        assert row.points == {"box_iou": 10, "giou_loss": points, "nms": 10}


@pytest.mark.alone
@on_linux
class TestCrash:
    NAMES = ("wrong", "right", "blank", "broken_json")

    def test_killed_in_the_middle(self, room, tmp_path):
        """The rerun grades the rest, and the table is the same, byte for byte."""
        write_class(tmp_path / "handed_in", self.NAMES)
        words = ["grade", tmp_path / "handed_in", "--seed", 5, "--exercises", "giou_loss"]
        words += ["--time-limit", 20, "--workers", 1, "--out"]
        out, journal = tmp_path / "grades.csv", tmp_path / "grades.csv.journal"
        words[2:2] = room.words
        # As the command's own script starts it: without the working folder on the path.
        command = [sys.executable, "-P", "-m", "detlearn.cli", *map(str, words), str(out)]
        for name in ("selectors", "random", "sitecustomize", "torch", "detlearn"):
            (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
        started = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=tmp_path)
        while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
            assert started.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        started.send_signal(signal.SIGKILL)
        started.wait()
        assert not out.exists()
        done = journal.read_bytes().count(b"\n")
        assert done < len(self.NAMES)
        with open(journal, "ab") as file:
            file.write(b'{"key": "torn')
        main([str(word) for word in [*words, out]])
        main([str(word) for word in [*words, tmp_path / "undisturbed.csv"]])
        assert out.read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()
        assert len(table(out)) == len(self.NAMES)
        assert journal.read_bytes().count(b'"row"') == len(self.NAMES)


class TestJournal:
    SETTINGS = Settings(1, ("giou_loss",), LIMITS)
    ROW = Row({"giou_loss": 10}, {"giou_loss": ""}, "")

    def test_keeps_rows_and_a_drawn_seed(self, tmp_path):
        with Journal(tmp_path / "j") as journal:
            seed = journal.seed()
            journal.add("a", self.ROW)
        with open(tmp_path / "j", "ab") as file:
            file.write(b'\n[1]\n"x"\n\xff\n{"key": "b", "row": {"points"')
        with Journal(tmp_path / "j") as journal:
            assert journal.rows == {"a": self.ROW} and journal.seed() == seed
            journal.add("c", self.ROW)
        with Journal(tmp_path / "j") as journal:
            assert list(journal.rows) == ["a", "c"]

    def test_what_a_row_belongs_to(self):
        one = Submission("a", (("n", b"1"),))
        key = key_of(one, self.SETTINGS)
        assert key == key_of(Submission("other name", one.notebooks), self.SETTINGS)
        others = [Submission("a", (("n", b"2"),)), Submission("a", (), "is empty")]
        assert all(key != key_of(other, self.SETTINGS) for other in others)
        for settings in (
            Settings(2, ("giou_loss",), LIMITS),
            Settings(1, ("giou_loss", "box_iou"), LIMITS),
            Settings(1, ("giou_loss",), Limits(seconds=3)),
        ):
            assert key != key_of(one, settings)


class TestTable:
    def test_formulas_are_disarmed(self):
        row = Row({"giou_loss": 3}, {"giou_loss": '=HYPERLINK("evil")'}, "@SUM(1)")
        rows = {"-1+2.ipynb": row, "+x": Row(), "b,\n": Row()}
        text = csv_table(rows, ["giou_loss"]).decode()
        names = [list(line.values()) for line in csv.DictReader(io.StringIO(text))]
        assert names == [
            ["'+x", "0", "0", "", ""],
            ["'-1+2.ipynb", "3", "3", '\'=HYPERLINK("evil")', "'@SUM(1)"],
            ["b,\n", "0", "0", "", ""],
        ]

    def test_hints_stay_on_one_line(self):
        assert (
            wire.clean("a\n\x1b[31m b\r\n\tc" + "d" * 999, most=20)
            == "a [31m b c" + "d" * 10 + " …"
        )


class TestSubmissions:
    def test_what_counts_as_one(self, tmp_path):
        for name in (".DS_Store", "b.ipynb", "a.txt", "grades.csv"):
            (tmp_path / name).write_text("x")
        for name in ("folder", ".ipynb_checkpoints", "__MACOSX"):
            (tmp_path / name).mkdir()
        found = find_submissions(tmp_path)
        assert [path.name for path in found] == ["a.txt", "b.ipynb", "folder", "grades.csv"]

    def test_a_folder_is_searched(self, tmp_path):
        for name in ("z.ipynb", "inner/a.ipynb", ".ipynb_checkpoints/z.ipynb", "__MACOSX/a.ipynb"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(name)
        found = read_submission(tmp_path).notebooks
        assert found == (("inner/a.ipynb", b"inner/a.ipynb"), ("z.ipynb", b"z.ipynb"))

    def test_links_and_pipes_are_not_opened(self, tmp_path):
        (tmp_path / "link.ipynb").symlink_to("/etc/passwd")
        os.mkfifo(tmp_path / "pipe.ipynb")
        for name in ("link.ipynb", "pipe.ipynb"):
            assert "is a link or a device" in read_submission(tmp_path / name).trouble
        assert "is a link or a device" in read_submission(tmp_path).trouble

    def test_sizes(self, tmp_path):
        with open(tmp_path / "huge.ipynb", "wb") as file:
            file.truncate(10**12)
        assert read_submission(tmp_path / "huge.ipynb").trouble.startswith("huge.ipynb has 1000000")
        assert read_submission(tmp_path / "gone.ipynb").trouble.startswith(
            "cannot be read: No such"
        )

    def test_many_large_notebooks_are_not_all_held(self, tmp_path):
        for number in range(5):
            with open(tmp_path / f"{number}.ipynb", "wb") as file:
                file.truncate(19_000_000)
        (tmp_path / "9.ipynb").write_bytes(b"{}")

        found = read_submission(tmp_path)
        assert [name for name, _ in found.notebooks] == ["0.ipynb", "1.ipynb", "2.ipynb", "9.ipynb"]
        assert found.trouble.startswith("3.ipynb is left out: of a submission 60 MB are read; 4.")


def decode(content, cases, most):
    """The answers in what came back."""
    return wire.decode(*wire.unpack(content), cases, most)


class TestWire:
    ANSWERS = (
        Answer((torch.rand(2, 3), torch.arange(3)), torch.rand(2), steps=7),
        Answer(changed=(1,), printed="hello"),
        Answer(trouble=Trouble("timeout", "slow", "line 3: while True:")),
    )

    CASES = tuple(Case("random", (torch.zeros(2),), "", gradient=True) for _ in range(3))
    MOST = (99, 99, 99)

    def back(self, answers):
        """What comes of answers that are sent."""
        return decode(wire.encode(answers, self.MOST), self.CASES[: len(answers)], self.MOST)

    def test_there_and_back(self):
        back = self.back(self.ANSWERS)
        for got, sent in zip(back, self.ANSWERS):
            assert (got.changed, got.printed, got.steps) == (sent.changed, sent.printed, sent.steps)
            assert got.trouble == sent.trouble
            assert all(torch.equal(a, b) for a, b in zip(got.values, sent.values))
            assert len(got.values) == len(sent.values)
        assert torch.equal(back[0].gradient, self.ANSWERS[0].gradient)

    def test_unusual_tensors_are_a_trouble(self):
        odd = [torch.rand(2).to_sparse(), torch.rand(2, device="meta")]
        for tensor in odd:
            back, other = self.back([Answer((tensor,)), Answer((torch.ones(1),), torch.zeros(2))])
            assert "unusual kind of tensor" in back.trouble.message and back.values == ()
            assert other.values == (torch.ones(1),)

    def test_a_view_of_other_tensors(self):
        base = torch.arange(6.0).view(2, 3)
        (back,) = self.back([Answer((base.t(), base.t()))])
        assert torch.equal(back.values[1], base.t())

    def test_the_number_of_answers_must_fit(self):
        content = wire.encode(self.ANSWERS, self.MOST)
        for number in (1, 2):
            with pytest.raises(wire.Garbled, match=f"3 answers came to {number}"):
                decode(content, self.CASES[:number], self.MOST)
        # Stopped at a timeout.
        assert len(decode(content, self.CASES * 3, self.MOST * 3)) == 3
        with pytest.raises(wire.Garbled, match="2 answers came to 3"):
            decode(wire.encode(self.ANSWERS[:2], self.MOST), self.CASES, self.MOST)

    def test_what_is_too_large_is_named_and_not_sent(self):
        """A sentence takes the answer's place; the others come as they are."""
        large = Answer((torch.zeros(1000, 1000), torch.ones(3)), torch.zeros(2))
        content = wire.encode([large, self.ANSWERS[0]], [100, 100])
        assert len(content) < 2000
        back, other = decode(content, self.CASES[:2], [100, 100])
        assert back.values == () and back.gradient is None and back.trouble.kind == "type"
        assert "a tensor of shape (1000, 1000), more than any answer needs" in back.trouble.message
        assert torch.equal(other.values[0], self.ANSWERS[0].values[0])

    def test_a_tensor_that_is_too_large_comes_from_a_forger(self):
        content = wire.encode(self.ANSWERS[:1], [6])
        assert len(decode(content, self.CASES[:1], [6])) == 1
        with pytest.raises(wire.Garbled):
            decode(content, self.CASES[:1], [5])

    @pytest.mark.parametrize("shape", [(2**40, 0, 4), (0, 2**40), (0, 100)])
    def test_an_empty_tensor_has_no_endless_side(self, shape):
        """Whoever goes along it would never come to the end."""
        answer = Answer((torch.zeros(shape),), torch.zeros(2))
        (back,) = self.back([answer])
        assert back.values == () and f"of shape {shape}, more than" in back.trouble.message
        with pytest.raises(wire.Garbled):
            decode(wire.encode([answer], [2**41]), self.CASES[:1], self.MOST)
        assert self.back([Answer((torch.zeros(99, 0), torch.ones(())), torch.zeros(2))])

    @pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 2), (0,), ()])
    def test_a_gradient_has_the_shape_of_its_argument(self, shape):
        with pytest.raises(wire.Garbled):
            self.back([Answer((torch.zeros(2),), torch.zeros(shape))])

    def test_a_gradient_has_the_type_of_its_argument(self):
        with pytest.raises(wire.Garbled):
            self.back([Answer((torch.zeros(2),), torch.zeros(2).double())])

    def test_a_gradient_that_nobody_asked_for(self):
        case = Case("random", (torch.zeros(2),), "")
        content = wire.encode([Answer((torch.zeros(2),), torch.zeros(2))], [9])
        with pytest.raises(wire.Garbled):
            decode(content, [case], [9])

    def test_what_is_no_real_number(self):
        for dtype in (torch.complex64, torch.float8_e4m3fn, torch.uint16):
            with pytest.raises(wire.Garbled):
                self.back([Answer((torch.zeros(2).to(dtype),))])

    @pytest.mark.parametrize(
        "content",
        [
            *(b"", b"\x80\x04.", b"x" * 100),
            *(wire.encode(ANSWERS, (9, 9, 9))[:-1], wire.encode(ANSWERS, (9, 9, 9))[3:]),
            *(wire.encode(ANSWERS, (9, 9, 9)) + b"?", wire.encode(ANSWERS, (9, 9, 9)) * 2),
            *(wire.pack([]), wire.pack({}), wire.pack({"answers": 3})),
        ],
    )
    def test_garbage(self, content):
        with pytest.raises(wire.Garbled):
            decode(content, self.CASES, self.MOST)

    def test_who_says_too_much_is_not_read(self):
        """JSON takes thirty times as much memory as its text."""
        content = wire.pack({"answers": ["x" * 1000] * 5000})
        with pytest.raises(wire.Garbled):
            wire.unpack(content)
        assert len(wire.unpack(content, 6_000_000)[0]["answers"]) == 5000

    @pytest.mark.parametrize(
        "change",
        [
            lambda row: row.update(values=99),
            lambda row: row.update(values="all"),
            lambda row: row.update(values=[None] * 2),
            lambda row: row.update(values=True),
            lambda row: row.update(values=3),
            lambda row: row.update(values=10**30),
            lambda row: row.update(values=1e400),
            lambda row: row.update(changed=[True]),
            lambda row: row.update(trouble=["a"]),
            lambda row: row.update(steps="few"),
            lambda row: row.update(printed=None),
            lambda row: row.pop("changed"),
        ],
    )
    def test_forged_fields(self, change, monkeypatch):
        dumps = json.dumps

        def forge(said):
            change(said["answers"][0])
            return dumps(said)

        monkeypatch.setattr(wire.json, "dumps", forge)
        content = wire.encode(self.ANSWERS, self.MOST)
        with pytest.raises(wire.Garbled):
            decode(content, self.CASES, self.MOST)


class TestCommand:
    def fails(self, capsys, *words):
        assert main(["grade", *map(str, words)]) == 2
        return capsys.readouterr().err

    def test_errors(self, tmp_path, capsys):
        (tmp_path / "in").mkdir()
        out = ("--out", tmp_path / "g.csv")
        assert "holds no submissions" in self.fails(capsys, tmp_path / "in", *out)
        assert "no folder of submissions" in self.fails(capsys, tmp_path / "no", *out)
        (tmp_path / "in" / "a.ipynb").write_text("")
        message = self.fails(capsys, tmp_path / "in", *out, "--exercises", "giou")
        assert "no exercise is called 'giou'; there are: box_iou, " in message
        assert "give either --out" in self.fails(capsys, tmp_path / "in")
        assert "must be positive" in self.fails(capsys, tmp_path / "in", *out, "--time-limit", 0)
        assert not (tmp_path / "g.csv").exists()
