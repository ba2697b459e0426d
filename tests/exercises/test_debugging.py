"""Hunts: a cause and a cure are judged together, in a chapter and by the grader."""

import pytest
from grading_samples import submitted

from detlearn import check
from detlearn.check import EXERCISES
from detlearn.check.debugging import CAUSES
from detlearn.check.debugging.causes import against
from detlearn.check.engine import Hunt, NotSolved, handed_in
from detlearn.check.engine import exercise as engine
from detlearn.nbgrader.strict import require

HUNTS = [exercise for exercise in EXERCISES.values() if isinstance(exercise, Hunt)]
EACH = pytest.mark.parametrize("hunt", HUNTS, ids=lambda hunt: hunt.name)

RIGHT = "def mirror_boxes(boxes, width):\n    x, y, w, h = boxes.unbind(1)\n"
RIGHT += "    return torch.stack((width - x - w, y, w, h), 1)\n"
BROKEN = RIGHT.replace("width - x - w", "width - x")
START = "import torch\nfrom detlearn import check"


@pytest.fixture(autouse=True)
def apart():
    engine.STATE.clear()
    yield
    engine.STATE.clear()


def test_there_are_seven_and_their_causes_differ():
    assert [hunt.number for hunt in HUNTS] == ["8.1", "8.2", "8.3", "8.4", "8.5", "8.6", "8.7"]
    assert len({hunt.cause for hunt in HUNTS}) == 7
    for hunt in HUNTS:
        assert list(hunt.causes) == list(CAUSES)


@EACH
def test_each_wrong_cause_is_rejected_with_what_speaks_against_it(hunt, capsys):
    for cause, sentence in hunt.causes.items():
        if cause == hunt.cause:
            assert sentence == ""
            continue
        assert hunt(cause, hunt.reference) is hunt.reference
        said = capsys.readouterr().out
        assert said.startswith("❌") and "the cause is another" in said
        assert sentence and sentence in said
        assert check.progress().states[hunt.name] == "wrong"


@EACH
def test_no_verdict_tells_the_right_cause(hunt):
    for cause, sentence in hunt.causes.items():
        assert hunt.cause not in sentence, (cause, sentence)
        assert not sentence.endswith(".") and len(sentence) < 220
    for known in hunt.misconceptions:
        assert f"the cause is {hunt.cause}" not in known.hint


@EACH
@pytest.mark.parametrize("cause", ["?", "", "the weather", None, 3, ["loss"]])
def test_what_is_no_cause_gets_the_list(hunt, cause, capsys):
    assert hunt(cause, hunt.reference) is hunt.reference
    said = capsys.readouterr().out
    assert said.startswith("⏳") and "what is left is to choose the cause" in said
    assert check.progress().states[hunt.name] == "todo"
    assert all(f"`{name}`" in said for name in CAUSES)


@EACH
def test_a_cure_without_a_cause_is_asked_for_one(hunt, capsys):
    hunt(hunt.reference)
    assert "what is left is to choose the cause" in capsys.readouterr().out


@EACH
def test_the_two_may_come_in_the_other_order(hunt, capsys):
    assert hunt(hunt.reference, hunt.cause) is hunt.reference
    assert capsys.readouterr().out.startswith("✅")


def test_a_misspelt_cause_is_no_experiment():
    with pytest.raises(ValueError, match=r"no cause called \['losses'\]; there are: annotations"):
        against(losses="a sentence")


@EACH
def test_the_verdict_says_which_half_is_wrong(hunt, capsys):
    broken = hunt.misconceptions[0].functions[0]
    hunt(hunt.cause, broken)
    assert "the cause is right, the cure does not mend it" in capsys.readouterr().out

    other = next(cause for cause in CAUSES if cause != hunt.cause)
    hunt(other, broken)
    assert "neither the cause nor the cure is right" in capsys.readouterr().out

    def never_ends(*args):
        while True:
            pass

    limit, engine.SECONDS = engine.SECONDS, 0.3
    try:
        hunt(hunt.cause, never_ends)
    finally:
        engine.SECONDS = limit
    said = capsys.readouterr().out
    assert "stopped after 0.3 seconds" in said and "neither" not in said


def test_only_both_together_are_right(monkeypatch):
    monkeypatch.setenv("DETLEARN_STRICT", "1")
    hunt = check.mirror_boxes
    assert hunt(hunt.cause, hunt.reference) is hunt.reference

    def own(boxes, width):
        x, y, w, h = boxes.unbind(1)
        return (width - x - w, y, w, h)  # no tensor

    with pytest.raises(NotSolved):
        hunt(hunt.cause, own)
    with pytest.raises(NotSolved):
        hunt("loss", hunt.reference)
    with pytest.raises(NotSolved, match="give it your function"):
        hunt(hunt.cause, 3)


def test_other_graders_test_cells_ask_for_the_cure_alone(capsys):
    space = {}
    exec(f"{START}\n{RIGHT}", space)
    require("mirror_boxes", space["mirror_boxes"])
    exec(BROKEN, space)
    with pytest.raises(NotSolved, match="the broken function still"):
        require("mirror_boxes", space["mirror_boxes"])


def test_what_is_handed_in():
    hunt, plain = check.mirror_boxes, check.box_iou
    assert handed_in(plain, max, "loss") == (max,)
    assert handed_in(hunt, max) == ("augmentation", max)
    assert handed_in(hunt, max, "loss") == ("loss", max)


def test_the_grader_wants_both(room):
    calls = {
        "right": (RIGHT, 'mirror_boxes = check.mirror_boxes("augmentation", mirror_boxes)'),
        "by_name": (RIGHT, 'check.mirror_boxes(cause="augmentation", cure=mirror_boxes)'),
        "from_a_variable": (RIGHT, 'mine = "augmentation"\ncheck.mirror_boxes(mine, mirror_boxes)'),
        "chosen_later": (
            f'{RIGHT}\nmine = ["?"]\nmine.append("augmentation")',
            "check.mirror_boxes(mine[-1], mirror_boxes)",
        ),
        "other_cause": (RIGHT, 'check.mirror_boxes("loss", mirror_boxes)'),
        "no_cause": (RIGHT, "check.mirror_boxes(mirror_boxes)"),
        "broken": (BROKEN, 'check.mirror_boxes("augmentation", mirror_boxes)'),
        "blank": (
            "def mirror_boxes(boxes, width):\n    raise NotImplementedError",
            'check.mirror_boxes("?", mirror_boxes)',
        ),
    }
    rows = {
        name: room.grade(submitted(name, START, *cells), ["mirror_boxes"])
        for name, cells in calls.items()
    }
    points = {name: row.points["mirror_boxes"] for name, row in rows.items()}
    hints = {name: row.hints["mirror_boxes"] for name, row in rows.items()}
    assert {name for name, value in points.items() if value} == {
        "right",
        "by_name",
        "from_a_variable",
        "chosen_later",
    }
    assert "the cause is another" in hints["other_cause"]
    assert "what is left is to choose the cause" in hints["no_cause"]
    assert "`augmentation`" in hints["no_cause"]
    assert "the cure does not mend it" in hints["broken"]
    assert "not attempted" in hints["blank"]


def test_a_later_exercise_may_call_an_earlier_cure(room):
    """It finds a function under the name, not the pair that was handed in."""
    later = (
        "def contiguous_labels(category_ids, known_ids):\n"
        "    assert mirror_boxes(torch.tensor([[1.0, 0, 2, 1]]), 4.0)[0, 0] == 1\n"
        "    return (category_ids[:, None] == known_ids).long().argmax(1)\n"
    )
    cells = (
        *(START, RIGHT, 'mirror_boxes = check.mirror_boxes("augmentation", mirror_boxes)'),
        *(later, 'check.contiguous_labels("annotations", contiguous_labels)'),
    )
    names = ["mirror_boxes", "contiguous_labels"]
    row = room.grade(submitted("both", *cells), names)
    assert [row.points[name] for name in names] == [10, 10], row
