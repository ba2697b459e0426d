"""The proof that the checks work: blank, right, wrong and hostile answers to every exercise."""

import random
import resource
import signal
import sys
import time

import numpy as np
import pytest
import torch
from answers import answers
from table import PATIENCE, names_the_mistake, rows, verdict

from detlearn import check
from detlearn.check import EXERCISES, NotSolved
from detlearn.check.engine import ask, expected_answer, judge, sandbox
from detlearn.check.engine import exercise as engine
from detlearn.check.engine.cases import agree
from detlearn.check.engine.diagnosis import LOOKS_LIKE

PRIVATE_SEEDS = (1, 20_260, 31_337)


def every(kind):
    """A parameter for each answer of one kind: the exercise's name, the function."""
    return pytest.mark.parametrize(
        ("name", "answer"),
        [
            pytest.param(name, answer, id=f"{name}-{answer.__name__}")
            for name in EXERCISES
            for answer in answers(name, kind)
        ],
    )


# One worker asks the checks about all answers, since the table at the end needs every verdict.
pytestmark = pytest.mark.xdist_group("answers")


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """No test sees what the checks of another found, and none fails on a slow machine."""
    monkeypatch.setattr(engine, "SECONDS", PATIENCE)
    engine.STATE.clear()
    yield
    engine.STATE.clear()


@pytest.fixture
def strict(monkeypatch):
    monkeypatch.setenv("DETLEARN_STRICT", "1")


# ---- blank ----


def stub(*args):
    """Not a word yet."""
    raise NotImplementedError("Exercise")


@pytest.mark.parametrize("name", EXERCISES)
def test_a_blank_answer_is_no_fault_and_the_chapter_goes_on(name, capsys):
    exercise = EXERCISES[name]
    assert exercise(stub) is exercise.reference
    said = capsys.readouterr().out
    assert said.startswith(f"⏳ Exercise {exercise.number}, {name}: not attempted")
    assert "Hint" not in said
    assert check.progress().states == {name: "todo"}


@pytest.mark.parametrize("name", EXERCISES)
def test_a_blank_answer_is_an_error_when_strict(name, strict):
    with pytest.raises(NotSolved, match="not attempted"):
        EXERCISES[name](stub)


# ---- right ----


@every("right")
def test_a_right_answer_is_accepted_and_given_back(name, answer, strict, capsys):
    assert EXERCISES[name](answer) is answer
    assert capsys.readouterr().out.startswith(f"✅ Exercise {EXERCISES[name].number}, {name}: ")
    assert check.progress().states == {name: "right"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", PRIVATE_SEEDS)
@every("right")
def test_a_right_answer_stays_right_with_a_private_seed(name, answer, seed):
    said = verdict(name, answer, seed)
    assert said.status == "right", said
    assert said.points == EXERCISES[name].points


@pytest.mark.parametrize("name", EXERCISES)
def test_the_package_itself_is_right(name, strict):
    assert EXERCISES[name](EXERCISES[name].reference) is EXERCISES[name].reference


# ---- wrong ----


@every("wrong")
def test_a_wrong_answer_is_rejected_and_its_mistake_named(name, answer):
    said = verdict(name, answer)
    assert said.status == "wrong"
    assert said.points == 0
    assert names_the_mistake(name, answer), f"{answer.phrase!r} is not in\n{said}"


@pytest.mark.slow
@every("wrong")
def test_a_wrong_answer_gets_the_same_hint_with_a_private_seed(name, answer):
    # Not each with each, for time's sake: over an exercise's answers all seeds have their turn.
    seed = PRIVATE_SEEDS[answers(name, "wrong").index(answer) % len(PRIVATE_SEEDS)]
    assert names_the_mistake(name, answer, seed), (
        f"{answer.phrase!r}: {verdict(name, answer, seed)}"
    )


@every("slightly off")
def test_an_error_of_a_thousandth_is_rejected(name, answer):
    assert verdict(name, answer).status == "wrong"


@pytest.mark.parametrize("name", EXERCISES)
def test_a_wrong_answer_is_replaced_or_raised(name, capsys, monkeypatch):
    exercise, answer = EXERCISES[name], answers(name, "wrong")[0]
    assert exercise(answer) is exercise.reference
    said = capsys.readouterr().out
    assert said.startswith("❌")
    assert f"Until it is right, {name} is the package's." in said
    assert check.progress().states == {name: "wrong"}
    monkeypatch.setenv("DETLEARN_STRICT", "1")
    with pytest.raises(NotSolved) as raised:
        exercise(answer)
    assert answer.phrase in str(raised.value)


@pytest.mark.slow
def test_the_table_has_no_gap():
    for row in rows():
        assert row.wrong >= 9, row
        assert row.right >= 4, row
        assert row.off >= 1, row
        assert row.rejected == row.wrong, row
        assert row.off_rejected == row.off, row
        assert row.accepted == row.right, row
        assert row.named >= 0.9 * row.wrong, row


@pytest.mark.slow
def test_the_phrases_are_told_apart():
    """A phrase that every verdict contained would prove nothing."""
    for name in EXERCISES:
        wrong = answers(name, "wrong")
        for one in wrong:
            others = [o for o in wrong if o.phrase != one.phrase]
            texts = [f"{verdict(name, o).text}\n{verdict(name, o).hint}" for o in others]
            assert sum(one.phrase in text for text in texts) <= 1, (name, one.phrase)


# ---- what the exercises say of themselves ----


@pytest.mark.parametrize("name", EXERCISES)
def test_what_was_worked_out_by_hand_is_what_the_package_returns(name):
    exercise = EXERCISES[name]
    by_hand = [case for case in exercise.ladder(0) if case.expected is not None]
    assert len(by_hand) >= 2
    for case in by_hand:
        assert agree(case, sandbox.call(exercise.reference, case), expected_answer(exercise, case))


@pytest.mark.parametrize("name", EXERCISES)
def test_each_known_misconception_is_rejected_with_its_own_hint(name):
    exercise = EXERCISES[name]
    cases = exercise.ladder(0)
    for known in exercise.misconceptions:
        for function in known.functions:
            said = judge(exercise, cases, ask(function, cases))
            assert said.status == "wrong", known.hint
            # Named without a doubt, or where the cases are too few to be sure, with one.
            assert said.hint.removeprefix(LOOKS_LIKE) == known.hint, said


@pytest.mark.parametrize("name", EXERCISES)
def test_hints_are_one_sentence_without_a_shout(name):
    for known in EXERCISES[name].misconceptions:
        assert not known.hint.endswith("."), known.hint
        assert "!" not in known.hint
        assert len(known.hint) < 220, known.hint


@pytest.mark.parametrize("name", EXERCISES)
def test_a_seed_gives_the_same_cases_twice_and_another_seed_gives_others(name):
    def values(seed):
        return [value for case in EXERCISES[name].ladder(seed) for value in case.args]

    def same(a, b):
        return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b

    first, again, other = values(3), values(3), values(4)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not all(same(a, b) for a, b in zip(first, other))


# ---- hostile ----


def loops(boxes1, boxes2):
    while True:
        pass


def loops_and_catches_everything(boxes1, boxes2):
    count = 0
    while True:
        try:
            count += 1
        except BaseException:
            pass


def sleeps(boxes1, boxes2):
    time.sleep(100)


def sleeps_and_catches_everything(boxes1, boxes2):
    while True:
        try:
            time.sleep(100)
        except BaseException:
            boxes1 = boxes1.clone()


def takes_a_huge_tensor(boxes1, boxes2):
    return torch.zeros(25 * 10**9)


def takes_more_than_its_share(boxes1, boxes2):
    return torch.empty(6 * 2**30, dtype=torch.uint8)[:1]  # the machine would give it


def takes_a_huge_list(boxes1, boxes2):
    return [0] * (12 * 10**9)


def returns_a_huge_view(boxes1, boxes2):
    return torch.zeros(1).expand(25 * 10**9)


def wrong_dtype(boxes1, boxes2):
    return torch.zeros(len(boxes1), len(boxes2), dtype=torch.int64)


def complex_numbers(boxes1, boxes2):
    return torch.zeros(len(boxes1), len(boxes2), dtype=torch.complex64)


def sparse(boxes1, boxes2):
    return torch.zeros(len(boxes1), len(boxes2)).to_sparse()


def no_numbers_behind_it(boxes1, boxes2):
    return torch.zeros(len(boxes1), len(boxes2), device="meta")


def wrong_shape(boxes1, boxes2):
    return torch.zeros(len(boxes2), len(boxes1), 1)


def writes_into_its_arguments(boxes1, boxes2):
    boxes2.zero_()
    return torch.zeros(len(boxes1), len(boxes2))


def resizes_its_arguments(boxes1, boxes2):
    boxes2.resize_(0)
    return torch.zeros(len(boxes1), 1)


def returns_nothing(boxes1, boxes2):
    boxes1 + boxes2


def prints_megabytes(boxes1, boxes2):
    for _ in range(40):
        print("x" * 100_000)
    print("x" * 100_000, file=sys.stderr)
    return torch.zeros(1, 1)


def leaves(boxes1, boxes2):
    sys.exit(3)


def recurses(boxes1, boxes2):
    return recurses(boxes1, boxes2)


def raises_key_error(boxes1, boxes2):
    return {"a": boxes1}["b"]


class Speechless(Exception):
    def __str__(self):
        raise ValueError("not even a message")


def raises_what_cannot_be_printed(boxes1, boxes2):
    raise Speechless


def takes_one(boxes1):
    return boxes1


def takes_three(boxes1, boxes2, boxes3):
    return boxes1


def yields(boxes1, boxes2):
    yield boxes1


def switches_things_off(boxes1, boxes2):
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    sys.settrace(lambda *_: None)
    sys.setrecursionlimit(5_000)
    return torch.rand(1, 1) + random.random() + np.random.rand()  # noqa: NPY002


HOSTILE = [
    (loops, "stopped after 0.3 seconds"),
    (loops_and_catches_everything, "stopped after 0.3 seconds"),
    (sleeps, "stopped after 0.3 seconds"),
    (sleeps_and_catches_everything, "stopped after 0.3 seconds"),
    (takes_a_huge_tensor, "more memory than there is"),
    (takes_more_than_its_share, "more memory than there is"),
    (takes_a_huge_list, "more memory than there is"),
    (returns_a_huge_view, "more memory than there is"),
    (wrong_dtype, "the IoU has dtype int64; expected float32"),
    (complex_numbers, "complex64; expected an ordinary one of real numbers"),
    (sparse, "torch.sparse_coo, cpu, torch.float32; expected an ordinary one"),
    (no_numbers_behind_it, "meta, torch.float32; expected an ordinary one"),
    (wrong_shape, "the IoU has shape (1, 1, 1); expected (1, 1)"),
    (writes_into_its_arguments, "changes the tensors it is given (boxes2)"),
    (resizes_its_arguments, "changes the tensors it is given (boxes2)"),
    (returns_nothing, "returned None; is a return statement missing?\n"),
    (lambda boxes1, boxes2: "0.5", "returned a str; expected a torch.Tensor"),
    (lambda boxes1, boxes2: [[0.5]], "returned a list; expected a torch.Tensor"),
    (lambda boxes1, boxes2: np.zeros((1, 1)), "returned a numpy array; expected a torch.Tensor"),
    (lambda boxes1, boxes2: 0.5, "the IoU has shape (); expected (1, 1)"),
    (yields, "returned a generator; expected a torch.Tensor"),
    (prints_megabytes, "more characters"),
    (leaves, "calls exit(); return a value instead"),
    (recurses, "RecursionError"),
    (raises_key_error, "raises KeyError: 'b'.\n"),
    (raises_what_cannot_be_printed, "raises Speechless.\n"),
    (takes_one, "the check calls it with 2 arguments"),
    (takes_three, "the check calls it with 2 arguments"),
    (3, "the check was given an int; give it your function."),
    (None, "the check was given a NoneType; give it your function."),
    (torch.zeros(2), "the check was given a Tensor; give it your function."),
    (switches_things_off, "the IoU[0, 0] is "),
]


def global_state():
    """Everything that a call may not change."""
    kind, numbers, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "gradients": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "torch's generator": torch.get_rng_state().tolist(),
        "numpy's generator": (kind, numbers.tolist(), rest),
        "python's generator": random.getstate(),
        "alarm": signal.getsignal(signal.SIGALRM),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "memory": resource.getrlimit(resource.RLIMIT_DATA),
        "output": (sys.stdout, sys.stderr),
        "trace": sys.gettrace(),
        "recursion": sys.getrecursionlimit(),
    }


@pytest.mark.alone
@pytest.mark.parametrize(
    ("function", "message"), HOSTILE, ids=[getattr(f, "__name__", repr(f)) for f, _ in HOSTILE]
)
def test_nothing_harms_the_kernel(function, message, capsys, monkeypatch):
    if "stopped" in message:
        monkeypatch.setattr(engine, "SECONDS", 0.3)
        monkeypatch.setattr(sandbox, "RETRY", 0.05)
    before, started = global_state(), time.monotonic()
    assert check.box_iou(function) is check.box_iou.reference
    assert time.monotonic() - started < 60
    assert global_state() == before
    said = capsys.readouterr()
    assert said.out.startswith("❌ Exercise 1.1, box_iou: ")
    assert message in said.out
    assert len(said.out) < 2_500
    assert all(len(line) < 500 for line in said.out.splitlines())
    assert said.err == ""


@pytest.mark.alone
def test_a_function_that_ends_after_a_stop_of_another_is_not_hit(monkeypatch):
    """The alarm of one call never rings in the next."""
    monkeypatch.setattr(engine, "SECONDS", 0.1)
    monkeypatch.setattr(sandbox, "RETRY", 0.01)
    check.box_iou(loops_and_catches_everything)
    monkeypatch.setattr(engine, "SECONDS", PATIENCE)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pass
    assert check.box_iou(check.box_iou.reference) is check.box_iou.reference
    assert engine.STATE["box_iou"] == "right"


@pytest.mark.parametrize("name", EXERCISES)
def test_no_exercise_stumbles_over_odd_answers(name):
    exercise = EXERCISES[name]
    cases = exercise.ladder(0)
    odd = (lambda *a: a, lambda *a: (), lambda *a: a[0][:0], lambda *a: a[0] * torch.nan, max)
    for function in odd:
        said = judge(exercise, cases, ask(function, cases))
        assert said.status == "wrong"
        assert str(said)
        assert said._repr_html_()
