"""Grading a class: what each submission earns, that none harms the grader, that a crash harms none.

The submissions stand in grading_samples.py.
"""

import csv
import importlib
import inspect
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import types

import pytest
import torch
import torchvision
from grading_samples import (
    HAND_IN,
    LOOPS,
    NOT_OWN,
    RIGHT,
    SAMPLES,
    START,
    WRONG,
    notebook,
    on_linux,
    row_name,
    table,
    write_class,
)

import detlearn
from detlearn import coders
from detlearn.check import EXERCISES
from detlearn.check.engine import Exercise
from detlearn.check.engine.cases import Answer, Trouble
from detlearn.cli import main
from detlearn.grading import examiner, grader, references, wire, worker
from detlearn.grading.confinement import (
    CAP_DAC_READ_SEARCH,
    landlock_version,
    packages_are_public,
)
from detlearn.grading.examiner import Row, Settings
from detlearn.grading.grader import grade_folder, grade_one
from detlearn.grading.journal import Journal, key_of
from detlearn.grading.submissions import Submission, find_submissions, read_submission
from detlearn.grading.tables import csv_table
from detlearn.grading.worker import Limits

LIMITS = Limits(seconds=20)  # for the busiest machine; right answers take 0.1 s
SEED = 20_261


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The class of grading_samples.py, graded; the folder holds handed_in and grades.csv."""
    folder = tmp_path_factory.mktemp("class")
    folder.chmod(0o755)
    write_class(folder / "handed_in", [name for name in SAMPLES if name not in LOOPS])
    write_class(folder / "loops", LOOPS)
    common = {"seed": SEED, "exercises": ["giou_loss"], "workers": 2, "progress": False}
    grade_folder(folder / "handed_in", folder / "grades.csv", limits=LIMITS, **common)
    grade_folder(folder / "loops", folder / "loops.csv", limits=Limits(seconds=1), **common)
    return folder


@pytest.mark.alone
@on_linux
class TestAClass:
    @pytest.mark.parametrize("name", SAMPLES)
    def test_points_and_hint(self, graded, name):
        out = graded / ("loops.csv" if name in LOOPS else "grades.csv")
        sample, row = SAMPLES[name], table(out)[row_name(name)]
        assert (int(row["giou_loss"]), int(row["total"])) == (sample.points, sample.points)
        said, empty = row["giou_loss hint"], row["remark"]
        if sample.remarked:
            said, empty = empty, said
        assert empty == ""
        assert re.search(sample.says, said) if sample.says else said == "", said

    def test_the_table_is_whole(self, graded):
        rows = table(graded / "grades.csv")
        assert list(rows) == sorted(row_name(name) for name in SAMPLES if name not in LOOPS)
        assert list(next(iter(rows.values()))) == [
            *("submission", "total", "giou_loss", "giou_loss hint", "remark")
        ]

    def test_nothing_is_left_behind(self, graded):
        assert {path.name for path in graded.iterdir()} == {
            *("handed_in", "grades.csv", "grades.csv.journal"),
            *("loops", "loops.csv", "loops.csv.journal"),
        }
        # What the server of processes forks keeps the server's command line; only it may be left.
        started = map(command_line, worker.descendants(os.getpid()))
        assert sum("forkserver" in line for line in started) <= 1

    def test_graded_once_more_from_the_journal(self, graded, monkeypatch):
        before = (graded / "grades.csv").read_bytes()

        def refuse(*_):
            raise AssertionError("this was graded already")

        monkeypatch.setattr(grader.Examiners, "examine", refuse)
        again = {"seed": SEED, "exercises": ["giou_loss"], "limits": LIMITS, "workers": 1}
        grade_folder(graded / "handed_in", graded / "grades.csv", **again, progress=False)
        assert (graded / "grades.csv").read_bytes() == before


def command_line(pid):
    """The words that started a process."""
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""


def grade(tmp_path, *cells, exercises, run=worker.run_confined):
    """The row of one notebook."""
    (tmp_path / "one.ipynb").write_text(notebook(*cells))
    with_seed = Settings(SEED, tuple(exercises), LIMITS)
    return examiner.examine(read_submission(tmp_path / "one.ipynb"), with_seed, run)


IOU = """
def box_iou(boxes1, boxes2):
    return torch.zeros(len(boxes1), len(boxes2)) + 0.0
"""


@on_linux
class TestOneSubmission:
    def test_a_wrong_exercise_does_not_spoil_the_next(self, tmp_path):
        """As in the reading flow, the name of a wrong function means the package's from then on."""
        uses = RIGHT.replace("shared / (union + 1e-7)", "box_iou(*pairs).diagonal()")
        uses = uses.replace("    top_left", "    pairs = pred_boxes, target_boxes\n    top_left", 1)
        cells = [START, IOU, "box_iou = check.box_iou(box_iou)", uses, HAND_IN]
        row = grade(tmp_path, *cells, exercises=["box_iou", "giou_loss"])
        assert row.points == {"box_iou": 0, "giou_loss": 10}, row.hints
        # Not so if the learner never handed in the first: then it is not theirs to use.
        cells[1:3] = ["from detlearn.boxes import box_iou"]
        row = grade(tmp_path, *cells, exercises=["box_iou", "giou_loss"])
        assert row.points == {"box_iou": 0, "giou_loss": 0}
        assert "detlearn's or torchvision's own box_iou" in row.hints["giou_loss"]

    def test_an_earlier_exercise_that_is_not_asked_for(self, tmp_path):
        """Its function is graded all the same, since it decides what its name means."""
        uses = RIGHT.replace("shared / (union + 1e-7)", "box_iou(*pairs).diagonal()")
        uses = uses.replace("    top_left", "    pairs = pred_boxes, target_boxes\n    top_left", 1)
        blank = "def box_iou(a, b):\n    raise NotImplementedError"
        for first in (IOU, blank):
            cells = [START, first, "box_iou = check.box_iou(box_iou)", uses, HAND_IN]
            row = grade(tmp_path, *cells, exercises=["giou_loss"])
            assert row.points == {"giou_loss": 10}, row.hints

    def test_what_fails_around_a_wrong_function_is_its_hint(self, tmp_path):
        cells = (START, "EPS = 1 / 0", WRONG.replace("1e-7", "EPS"), HAND_IN)
        row = grade(tmp_path, *cells, exercises=["giou_loss"])
        assert row.points == {"giou_loss": 0} and "ZeroDivisionError" in row.hints["giou_loss"]

    def test_a_references_code_is_not_ones_own(self, tmp_path):
        """`encode_deltas` calls no other reference that would be noticed in its place."""
        cells = [
            "import sys, types\nfrom detlearn import check, coders",
            "try: coders.encode_deltas(None, None)\nexcept TypeError: trace = sys.exc_info()[2]",
            "while trace.tb_next: trace = trace.tb_next",
            "encode_deltas = types.FunctionType(trace.tb_frame.f_code, vars(coders))",
            "check.encode_deltas(encode_deltas)",
        ]
        row = grade(tmp_path, *cells, exercises=["encode_deltas"])
        assert row.points == {"encode_deltas": 0} and NOT_OWN in row.hints["encode_deltas"]

    def test_the_private_seed_changes_the_questions(self):
        one, other = (EXERCISES["giou_loss"].ladder(seed) for seed in (SEED, SEED + 1))
        assert any(not torch.equal(a.args[0], b.args[0]) for a, b in zip(one, other))

    def test_what_leaves_the_grader_holds_no_answers(self, tmp_path):
        sent = []

        def record(task, payload, limits):
            sent.append(pickle.loads(payload))
            return worker.run_confined(task, payload, limits)

        row = grade(tmp_path, START, RIGHT, HAND_IN, exercises=["giou_loss"], run=record)
        assert row.points == {"giou_loss": 10}
        _, questions = sent
        assert any(case.expected is not None for case in EXERCISES["giou_loss"].ladder(SEED))
        assert all(case.expected is None and not case.note for case in questions.cases)
        assert str(SEED) not in repr(questions)

    def test_a_lost_process_is_not_the_learners_fault(self, tmp_path):
        cells, lost = (START, RIGHT, HAND_IN), worker.Outcome(lost=True)
        row = grade(tmp_path, *cells, exercises=["giou_loss"], run=lambda *_: lost)
        assert row.lost and row.remark

    def test_gradescope(self, tmp_path, capsys):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "hw.ipynb").write_text(notebook(START, WRONG, HAND_IN))
        words = ["grade", tmp_path / "in", "--gradescope", tmp_path / "out" / "results.json"]
        words += ["--exercises", "giou_loss", "box_iou"]
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

    def test_gradescope_right(self, tmp_path):
        (tmp_path / "hw.ipynb").write_text(notebook(START, RIGHT, HAND_IN))
        row = grade_one(tmp_path / "hw.ipynb", tmp_path / "r.json", exercises=["giou_loss"])
        assert row.points == {"giou_loss": 10}
        results = json.loads((tmp_path / "r.json").read_text())
        assert results["score"] == 10 and results["tests"][0]["output"] == "right"


@pytest.mark.alone
@on_linux
class TestCrash:
    NAMES = ("wrong", "right", "blank", "broken_json", "exit", "right_and_chatty")

    def test_killed_in_the_middle(self, tmp_path):
        """The rerun grades the rest, and the table is the same, byte for byte."""
        write_class(tmp_path / "handed_in", self.NAMES)
        words = ["grade", tmp_path / "handed_in", "--seed", 5, "--exercises", "giou_loss"]
        words += ["--time-limit", 20, "--workers", 1, "--out"]
        out, journal = tmp_path / "grades.csv", tmp_path / "grades.csv.journal"
        command = [sys.executable, "-m", "detlearn.cli", *map(str, words), str(out)]
        started = subprocess.Popen(command, stderr=subprocess.DEVNULL)
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
        found = find_submissions(tmp_path, leave_out=[tmp_path / "grades.csv"])
        assert [path.name for path in found] == ["a.txt", "b.ipynb", "folder"]

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


class TestWire:
    ANSWERS = (
        Answer((torch.rand(2, 3), torch.arange(3)), torch.rand(2), steps=7),
        Answer(changed=(1,), printed="hello"),
        Answer(trouble=Trouble("timeout", "slow", "line 3: while True:")),
    )

    def test_there_and_back(self):
        back = wire.decode(wire.encode(self.ANSWERS), number=3)
        for got, sent in zip(back, self.ANSWERS):
            assert (got.changed, got.printed, got.steps) == (sent.changed, sent.printed, sent.steps)
            assert got.trouble == sent.trouble
            assert all(torch.equal(a, b) for a, b in zip(got.values, sent.values))
            assert len(got.values) == len(sent.values)
        assert torch.equal(back[0].gradient, self.ANSWERS[0].gradient)

    def test_unusual_tensors_are_a_trouble(self):
        odd = [torch.rand(2).to_sparse(), torch.rand(2, device="meta")]
        for tensor in odd:
            (back,) = wire.decode(wire.encode([Answer((tensor,))]), number=1)
            assert "unusual kind of tensor" in back.trouble.message and back.values == ()

    def test_a_view_of_other_tensors(self):
        base = torch.arange(6.0).view(2, 3)
        (back,) = wire.decode(wire.encode([Answer((base.t(), base.t()))]), number=1)
        assert torch.equal(back.values[1], base.t())

    def test_the_number_of_answers_must_fit(self):
        for number in (1, 2):
            with pytest.raises(wire.Garbled, match=f"3 answers came to {number}"):
                wire.decode(wire.encode(self.ANSWERS), number=number)
        assert len(wire.decode(wire.encode(self.ANSWERS), number=9)) == 3  # stopped at a timeout
        with pytest.raises(wire.Garbled, match="2 answers came to 3"):
            wire.decode(wire.encode(self.ANSWERS[:2]), number=3)

    @pytest.mark.parametrize(
        "content",
        [b"", b"\x80\x04.", b"x" * 100, wire.encode(ANSWERS)[:-1], wire.encode(ANSWERS)[3:]],
    )
    def test_garbage(self, content):
        with pytest.raises(wire.Garbled):
            wire.decode(content, number=3)

    @pytest.mark.parametrize(
        "change",
        [
            lambda row: row.update(values=99),
            lambda row: row.update(values="all"),
            lambda row: row.update(trouble=["a"]),
            lambda row: row.update(steps="few"),
            lambda row: row.update(printed=None),
            lambda row: row.pop("changed"),
        ],
    )
    def test_forged_fields(self, change, monkeypatch):
        dumps = json.dumps

        def forge(rows):
            change(rows[0])
            return dumps(rows)

        monkeypatch.setattr(wire.json, "dumps", forge)
        content = wire.encode(self.ANSWERS)
        with pytest.raises(wire.Garbled):
            wire.decode(content, number=3)

    def test_frames(self):
        read_end, write_end = os.pipe()
        channel = wire.Channel(write_end)
        channel.send(wire.REFERENCE, b"nms")
        channel.send(wire.ANSWERS, b"")
        data = os.read(read_end, 999)
        assert wire.frames(data) == [(wire.REFERENCE, b"nms"), (wire.ANSWERS, b"")]
        for garbled in (data[:-1], data + b"?", b"Z" + data):
            with pytest.raises(wire.Garbled):
                wire.frames(garbled)


class TestReferences:
    BOXES = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[2.0, 0, 6, 4]])

    def calls(self, function, *allowed):
        """What is reported when a function is called, and whether it came through."""
        used, through = [], False
        with references.poisoned(allowed, used.append):
            try:
                function(*self.BOXES)
                through = True
            except references.ReferenceUsed:
                pass
        return used, through

    def test_what_is_out_of_bounds(self):
        from torchvision import ops

        from detlearn import boxes, losses, nms
        from detlearn.check.foundations.box_iou import BOX_IOU

        scores = torch.ones(1)
        for function, name in (
            (losses.giou_loss, "giou_loss"),
            (boxes.paired_iou, "paired_iou"),
            (ops.box_iou, "box_iou"),
            (ops.boxes._box_inter_union, "_box_inter_union"),
            (lambda a, b: nms.nms(a, scores, 0.5), "nms"),
            (lambda a, b: torch.ops.torchvision.nms(a, scores, 0.5), "nms"),
            (lambda a, b: torch.ops.torchvision.nms.default(a, scores, 0.5), "nms"),
        ):
            used, through = self.calls(function)
            assert used == [name] and not through
        mistakes = [f for known in BOX_IOU.misconceptions for f in known.functions]
        assert all(not self.calls(mistake)[1] for mistake in mistakes)

    def test_what_is_allowed_works_with_all_it_calls(self):
        from torchvision import ops

        from detlearn import boxes

        for function in (boxes.box_iou, ops.box_iou):
            assert self.calls(function, "box_iou") == ([], True)
        assert self.calls(torch.min, "box_iou") == ([], True)

    def test_the_list_follows_from_the_exercises(self):
        """A chapter that is added is covered without an edit."""
        own, theirs = (os.path.dirname(package.__file__) for package in (detlearn, torchvision))
        answers = ("boxes", "losses", "nms", "metrics/coco", "metrics/anything")
        answers += ("check/two_stage/propose", "check/a_new_chapter/anything")
        for name in answers:
            assert references.is_reference(f"{own}/{name}.py"), name
        for name in (
            "check/__init__",
            "check/engine/exercise",
            "machine/hardware",
            "plotting/draw",
        ):
            assert not references.is_reference(f"{own}/{name}.py"), name
        for name in ("ops/boxes", "ops/roi_align", "models/detection/rpn"):
            assert references.is_reference(f"{theirs}/{name}.py"), name
        for name in ("ops/misc", "ops/__init__", "models/resnet", "transforms/functional"):
            assert not references.is_reference(f"{theirs}/{name}.py"), name
        for exercise in EXERCISES.values():
            for function in (exercise.reference, *exercise.solution):
                assert references.is_reference(inspect.unwrap(function).__code__.co_filename)

    def test_where_a_new_exercise_lies(self, tmp_path):
        def answer():
            pass

        for inside, place in (("fcos.py", "fcos.py"), ("models/yolo/v3.py", "models/")):
            answer.__code__ = answer.__code__.replace(co_filename=str(tmp_path / inside))
            assert references._place_of(answer, str(tmp_path)) == str(tmp_path) + f"/{place}"
        assert references._place_of(answer, str(tmp_path / "other")) is None

    @pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated")
    def test_not_watching_yet(self):
        """The cells around a function may call a reference, but not make a function of it."""
        from torchvision import ops

        from detlearn import losses

        used = []
        with references.poisoned((), used.append, watching=False) as guard:
            assert losses.giou_loss(*self.BOXES).shape == (1,)
            assert ops.nms(self.BOXES[0], torch.ones(1), 0.5).tolist() == [0]
            assert used == []
            with pytest.raises(references.ReferenceUsed):
                torch.jit.trace(losses.giou_loss, self.BOXES)
            assert used == ["giou_loss"]

            # What a factory in one of these files may give back.
            space = {}
            exec(compile("made = lambda a, b: a", losses.__file__, "exec"), space)
            guard.replace_new()
            guard.watch()
            for function in (losses.giou_loss, space["made"]):
                with pytest.raises(references.ReferenceUsed):
                    function(*self.BOXES)

    @on_linux
    @pytest.mark.parametrize("way", ["function", "exec", "code", "module"])
    def test_its_code_is_of_no_use(self, way):
        """Not even that of a reference which calls no other one."""
        assert tell(_use_code_again, way) == ["ReferenceUsed", 1]

    def test_torch_without_allow_override(self, monkeypatch):
        """As in torch 2.6, where a kernel of C++ is replaced without being asked twice."""
        from torchvision import ops

        new, seen = torch.library.Library.impl, []

        def old(self, op_name, fn, dispatch_key="", *, with_keyset=False):
            seen.append(op_name)
            return new(self, op_name, fn, dispatch_key, with_keyset=with_keyset)

        monkeypatch.setattr(torch.library.Library, "impl", old)
        used, through = self.calls(lambda a, b: torch.ops.torchvision.nms(a, torch.ones(1), 0.5))
        assert (used, through) == (["nms"], False) and sorted(seen) == sorted(
            references.operators()
        )
        assert ops.nms(self.BOXES[0], torch.ones(1), 0.5).tolist() == [0]

    def test_everything_is_as_before_afterwards(self):
        from torchvision import ops

        from detlearn import boxes, nms

        codes = [function.__code__ for function in references.functions()]
        self.calls(boxes.box_iou)
        assert codes == [function.__code__ for function in references.functions()]
        a, b = self.BOXES
        assert torch.allclose(ops.box_iou(a, b), boxes.box_iou(a, b))
        assert ops.nms(a, torch.ones(1), 0.5).tolist() == nms.nms(a, torch.ones(1), 0.5).tolist()

    @pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
    def test_every_reference_is_covered(self, exercise: Exercise):
        case = exercise.ladder(0)[0]
        assert self.calls(lambda *_: exercise.reference(*case.args))[0]


@pytest.mark.alone
@on_linux
class TestWorker:
    def test_says_how_it_ended(self):
        outcome = worker.run_confined(_write_then_die, pickle.dumps(b"hello"), LIMITS)
        assert outcome.data == b"hello" and outcome.ended == "its process was killed (SIGKILL)"

    def test_too_much_comes_back(self):
        limits = Limits(seconds=5, answer_megabytes=1)
        outcome = worker.run_confined(_flood, pickle.dumps(None), limits)
        assert outcome.ended == "more than 1 MB came back"

    def test_the_supervisor_ends_all_descendants(self):
        """Even where the confinement failed, as in some containers: here it is left out."""
        command = [sys.executable, "-c", UNCONFINED]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        reports = dict(line.split(": ", 1) for line in done.stdout.splitlines())
        orphan, bomb = (reports[name].split("|")[1].split() for name in ("orphan", "bomb"))
        assert {name: reports[name].split("|")[0] for name in reports} == {
            "orphan": "",
            "bomb": "it started more than 4 processes",
            "memory": "it used more than 100 MB of memory",
            "sleep": "it was stopped after 0.2 seconds",
        }
        assert orphan and bomb and not any(map(command_line, orphan + bomb))


def tell(task, payload=None, limits=LIMITS):
    """What a confined task says, as data."""
    outcome = worker.run_confined(task, pickle.dumps(payload), limits)
    assert outcome.ended == "", outcome.ended
    return json.loads(outcome.data)


def _say_who_i_am(_, channel):
    with open("/proc/self/status") as file:
        status = dict(line.split(":", 1) for line in file)
    rights = {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "NoNewPrivs")}
    os.write(channel.descriptor, json.dumps([os.getresuid(), os.getgroups(), rights]).encode())


def _try_what_landlock_forbids(folder, channel):
    def fails(function, *args):
        try:
            function(*args)
        except OSError as error:
            return type(error).__name__
        return "done"

    found = {
        "write": fails(lambda: open(f"{folder}/note", "w")),
        "make a folder": fails(os.mkdir, f"{folder}/inner"),
        "delete": fails(os.unlink, f"{folder}/mine"),
        "execute": fails(os.execv, "/bin/true", ["true"]),
    }
    os.write(channel.descriptor, json.dumps(found).encode())


def _use_code_again(way, channel):
    used = []
    with references.poisoned((), used.append, watching=False) as guard:
        references.forbid_copies(guard)
        try:
            coders.encode_deltas(None, None)
        except TypeError as error:
            trace = error.__traceback__
        while trace.tb_frame.f_code.co_filename != coders.__file__:
            trace = trace.tb_next
        code = trace.tb_frame.f_code

        guard.replace_new()
        guard.watch()
        try:
            if way == "function":
                types.FunctionType(code, vars(coders))
            elif way == "exec":
                exec(code, vars(coders))
            elif way == "code":
                _ask_for_memory.__code__ = code
            else:
                importlib.reload(coders)
            said = "done"
        except references.ReferenceUsed as error:
            said = type(error).__name__
    os.write(channel.descriptor, json.dumps([said, len(used)]).encode())


def _ask_for_memory(megabytes, channel):
    try:
        said = len(bytearray(megabytes * 2**20))
    except MemoryError:
        said = "MemoryError"
    os.write(channel.descriptor, json.dumps(said).encode())


def _use_the_folder(what, channel):
    os.write(channel.descriptor, json.dumps(os.getcwd()).encode())
    if what == "nested":
        for _ in range(990):
            os.mkdir("inner")
            os.chdir("inner")
    if what == "many":
        for i in range(worker.MAX_FILES + 1):
            open(str(i), "w").close()
        time.sleep(60)
    if what == "large":
        for i in range(5):
            with open(str(i), "w") as file:
                file.write("x" * 900_000)
        time.sleep(60)


@on_linux
class TestConfinement:
    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid(), reason="needs root")
    def test_root_is_given_up(self):
        users, groups, rights = tell(_say_who_i_am)
        assert len(set(users)) == 1 and users[0] >= 20_000 and groups == []
        assert tell(_say_who_i_am)[0] != users
        # If the packages were root's alone, the right to read any file would be kept.
        kept = 0 if packages_are_public() else 1 << CAP_DAC_READ_SEARCH
        assert rights == {"CapEff": kept, "CapPrm": kept, "NoNewPrivs": 1}

    @pytest.mark.skipif(not landlock_version(), reason="needs Landlock")
    def test_landlock(self, tmp_path):
        """Also where every user may write, and without starting a process."""
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o777)
        (tmp_path / "mine").touch()
        assert tell(_try_what_landlock_forbids, str(tmp_path)) == dict.fromkeys(
            ("write", "make a folder", "delete", "execute"), "PermissionError"
        )

    def test_memory(self):
        limits = Limits(seconds=20, megabytes=200)
        assert tell(_ask_for_memory, 100, limits) == 100 * 2**20
        assert tell(_ask_for_memory, 300, limits) == "MemoryError"

    @pytest.mark.parametrize("what", ["nothing", "nested"])
    def test_the_folder_is_removed(self, what):
        folder = tell(_use_the_folder, what)
        assert "detlearn-grading-" in folder and not os.path.exists(folder)

    @pytest.mark.parametrize("what", ["many", "large"])
    def test_too_much_is_written(self, what):
        limits = Limits(seconds=20, disk_megabytes=4)
        outcome = worker.run_confined(_use_the_folder, pickle.dumps(what), limits)
        assert outcome.ended == f"it wrote more than 4 MB, or {worker.MAX_FILES} files"
        assert not os.path.exists(json.loads(outcome.data))


UNCONFINED = """
import mmap, multiprocessing, os, time
from detlearn.grading import worker

def say(channel):
    os.write(channel.descriptor, f"{os.getpid()} ".encode())

def orphan(_, channel):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            say(channel)
            time.sleep(60)
        os._exit(0)
    while os.waitpid(-1, 0)[0] == 0: pass
    time.sleep(0.1)

def bomb(_, channel):
    while True:
        os.fork()
        say(channel)
        time.sleep(0.2)

def memory(_, channel):
    if os.fork() == 0:
        shared = mmap.mmap(-1, 300 * 2**20)
        shared[:] = b"x" * len(shared)
    time.sleep(60)

def sleep(_, channel):
    time.sleep(60)

worker.confine = lambda *_: None
worker.GRACE = 0.0
for task in (orphan, bomb, memory, sleep):
    limits = worker.Limits(0.2 if task is sleep else 30, megabytes=100, processes=4)
    here, there = multiprocessing.Pipe()
    worker._supervise(there, task, worker.pickle.dumps(None), limits)
    ended = worker.json.loads(here.recv_bytes())["ended"]
    print(f"{task.__name__}: {ended}|{here.recv_bytes().decode()}")
"""


def _write_then_die(payload, channel):
    os.write(channel.descriptor, payload)
    os.kill(os.getpid(), signal.SIGKILL)


def _flood(payload, channel):
    while True:
        os.write(channel.descriptor, b"x" * 2**16)


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
