"""The proof that the checks work: blank, right, wrong and hostile answers to every exercise."""

import pytest
import torch
from answers import answers
from table import PATIENCE, given, names_the_mistake, own, rows, verdict

from detlearn import check
from detlearn.check import EXERCISES, NotSolved
from detlearn.check.engine import SEED, ask, expected_answer, handed_in, judge, sandbox
from detlearn.check.engine import exercise as engine
from detlearn.check.engine.cases import Handed, agree
from detlearn.check.engine.diagnosis import LOOKS_LIKE

PRIVATE_SEEDS = (1, 20_260, 31_337)
QUICK = 2  # answers of a kind and an exercise that `make quick` asks about


def every(kind):
    """A parameter for each answer of one kind: the exercise's name, the function."""
    return pytest.mark.parametrize(
        ("name", "answer"),
        [
            pytest.param(
                name,
                answer,
                id=f"{name}-{answer.__name__}",
                marks=[pytest.mark.slow] if count >= QUICK else [],
            )
            for name in EXERCISES
            for count, answer in enumerate(answers(name, kind))
        ],
    )


# One worker asks the checks about all answers, since the table at the end needs every verdict.
pytestmark = pytest.mark.xdist_group("answers")


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """No test sees what another's checks found, none fails on a slow machine or by chance."""
    torch.manual_seed(0)
    monkeypatch.setattr(engine, "SECONDS", PATIENCE)
    engine.STATE.clear()
    yield
    engine.STATE.clear()


@pytest.fixture
def strict(monkeypatch):
    monkeypatch.setenv("DETLEARN_STRICT", "1")


def hand_in(name, answer):
    """As a chapter does: the function, of a hunt after the cause that its author chose."""
    exercise = EXERCISES[name]
    return exercise(*handed_in(exercise, answer, getattr(answer, "cause", None)))


# ---- blank ----


def stub(*args, **by_name):
    """Not a word yet."""
    raise NotImplementedError("Exercise")


@pytest.mark.parametrize("name", EXERCISES)
def test_a_blank_answer_is_no_fault_and_the_chapter_goes_on(name, capsys):
    exercise = EXERCISES[name]
    assert hand_in(name, stub) is exercise.reference
    said = capsys.readouterr().out
    assert said.startswith(f"⏳ Exercise {exercise.number}, {name}: not attempted")
    assert "Hint" not in said
    assert check.progress().states == {name: "todo"}


@pytest.mark.parametrize("name", EXERCISES)
def test_a_blank_answer_is_an_error_when_strict(name, strict):
    with pytest.raises(NotSolved, match="not attempted"):
        hand_in(name, stub)


# ---- right ----


@every("right")
def test_a_right_answer_is_accepted_and_given_back(name, answer, strict, capsys):
    assert hand_in(name, answer) is answer
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
    assert hand_in(name, EXERCISES[name].reference) is EXERCISES[name].reference


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


@pytest.mark.slow
@pytest.mark.parametrize("name", EXERCISES)
def test_a_wrong_answer_is_replaced_or_raised(name, capsys, monkeypatch):
    exercise, answer = EXERCISES[name], answers(name, "wrong")[0]
    assert hand_in(name, answer) is exercise.reference
    said = capsys.readouterr().out
    assert said.startswith("❌")
    assert f"Until it is right, {name} is the package's." in said
    assert check.progress().states == {name: "wrong"}
    monkeypatch.setenv("DETLEARN_STRICT", "1")
    with pytest.raises(NotSolved) as raised:
        hand_in(name, answer)
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
    asked = [case for case in exercise.ladder(0) if case.rung != "cause"]
    by_hand = [case for case in asked if case.expected is not None]
    assert len(by_hand) >= 2
    for case in by_hand:
        answer = exercise.read(case, sandbox.call(exercise.reference, case))
        assert agree(case, answer, expected_answer(exercise, case))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXERCISES)
def test_each_known_misconception_is_rejected_with_its_own_hint(name):
    exercise = EXERCISES[name]
    cases = exercise.ladder(SEED)
    for known in exercise.misconceptions:
        for function in known.functions:
            # Of a hunt, with the right cause.
            cure = Handed(getattr(exercise, "cause", ""), function)
            answers_of_it = [sandbox.call_own(cure, case) for case in cases]
            said = judge(exercise, cases, answers_of_it, own(name))
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
        if isinstance(a, (list, tuple)):
            return len(a) == len(b) and all(map(same, a, b))
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        if not isinstance(a, torch.Tensor):
            return a == b
        # NaN stands where nothing may be read, and equals itself here.
        return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)

    first, again, other = values(3), values(3), values(4)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not all(same(a, b) for a, b in zip(first, other))


# ---- odd ----


@pytest.mark.slow
@pytest.mark.parametrize("name", EXERCISES)
def test_no_exercise_stumbles_over_odd_answers(name):
    exercise = EXERCISES[name]
    cases = exercise.ladder(SEED)
    odd = (lambda *a: a, lambda *a: (), lambda *a: a[0][:0], lambda *a: a[0] * torch.nan, max)
    for function in odd:
        said = judge(exercise, cases, ask(given(name, function), cases), own(name))
        assert said.status == "wrong"
        assert str(said)
        assert said._repr_html_()
