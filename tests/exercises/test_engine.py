"""The machinery of the checks: comparing, judging, counting steps, showing."""

import ast
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detlearn import check
from detlearn.boxes import box_iou
from detlearn.check import NotSolved
from detlearn.check.engine import Exercise, Misconception, Own, ask, display, judge, sandbox
from detlearn.check.engine import exercise as engine
from detlearn.check.engine.arguments import parameters, show_arguments
from detlearn.check.engine.cases import (
    RUNGS,
    Answer,
    Case,
    Fault,
    Trouble,
    agree,
    close,
    fault,
    number,
)
from detlearn.check.engine.display import Verdict, picture
from detlearn.check.engine.signs import BORDERS, drawn_sign
from detlearn.nbgrader.course import read_chapter

CHAPTERS = sorted((Path(__file__).parents[2] / "chapters").glob("*.ipynb"))

BOXES = torch.tensor([[0.0, 0, 4, 4], [1, 1, 5, 3]])


def tensor(*values):
    return torch.tensor(values)


# ---- close, agree, fault ----


@pytest.mark.parametrize("value", [0.02, 1 / 3, 1.0, 7.5, 6e4])
def test_a_thousandth_is_not_close_and_float32_is(value):
    wanted = torch.tensor(value, dtype=torch.float64)
    assert not close(wanted * 1.002, wanted)
    assert not close(wanted * 0.998, wanted)
    if value > 0.1:
        assert not close(wanted * 1.001, wanted)
    assert close(wanted.float(), wanted)


@pytest.mark.parametrize("eps", [1e-6, 1e-7, 1e-9, 0.0])
@pytest.mark.parametrize("union", [8.0, 24.0, 4_000.0])
def test_any_epsilon_up_to_a_millionth_is_close(eps, union):
    assert close(torch.tensor(3.0 / (union + eps)), torch.tensor(3.0 / union))


def test_nan_is_close_to_nan_only():
    nan = float("nan")
    assert close(tensor(nan, 1.0, nan), tensor(nan, nan, 1.0)).tolist() == [True, False, False]
    assert close(tensor(float("inf")), tensor(float("inf")))


def test_whole_numbers_and_truth_values_are_exact():
    assert close(tensor(100_000, 3), tensor(100_001, 3)).tolist() == [False, True]
    assert close(tensor(True, False), tensor(True, True)).tolist() == [True, False]


def test_numbers_are_written_for_people():
    assert number(torch.tensor(1 / 3)) == "0.3333"
    assert number(torch.tensor(7)) == "7"
    assert number(torch.tensor(True)) == "True"


def case(**more):
    return Case("random", (BOXES,), "two boxes", **more)


def fault_text(answer, expected, names=("the loss",), **more):
    found = fault(case(**more), answer, expected, names)
    return found.text if found else None


def test_a_fault_says_what_differs_and_where():
    wanted = Answer((tensor(1.0, 2.0, 3.0),))
    assert fault_text(Answer((tensor(1.0, 2.0, 3.0),)), wanted) is None
    assert (
        fault_text(Answer((tensor(1.0, 2.0, 3.0).double(),)), wanted)
        == "the loss has dtype float64; expected float32"
    )
    assert (
        fault_text(Answer((tensor(1.0, 2.1, 9.0),)), wanted)
        == "the loss[2] is 9.0000; expected 3.0000"
    )
    assert fault_text(Answer((tensor(1.0),)), wanted) == "the loss has shape (1,); expected (3,)"
    assert (
        fault_text(Answer((tensor(1, 2, 3),)), wanted)
        == "the loss has dtype int64; expected float32"
    )
    assert fault_text(Answer((tensor(1.0, float("nan"), 3.0),)), wanted) == "the loss[1] is nan"
    assert "returned 2 value(s); expected 1: the loss" in fault_text(Answer((BOXES, BOXES)), wanted)
    assert "changes the tensors" in fault_text(Answer(wanted.values, changed=(0,)), wanted)
    trouble = Trouble("exit", "your function left")
    assert fault_text(Answer(trouble=trouble), wanted) == "your function left"


def test_a_fault_of_a_matrix_and_of_a_second_output_has_its_place():
    wanted = Answer((tensor(1.0), torch.zeros(2, 3)))
    got = torch.zeros(2, 3)
    got[1, 2] = 1
    found = fault(case(), Answer((tensor(1.0), got)), wanted, ("keep", "the score"))
    assert (found.kind, found.output, found.index) == ("value", 1, (1, 2))
    assert found.text == "the score[1, 2] is 1.0000; expected 0.0000"


def test_a_wrong_gradient_is_a_fault_of_its_own():
    wanted = Answer((tensor(1.0, 2.0),), gradient=torch.ones(2, 4))
    got = Answer((tensor(1.0, 2.0),), gradient=torch.ones(2, 4) * 1.01)
    assert fault(case(gradient=True), wanted, wanted, ("the loss",)) is None
    assert fault(case(gradient=True), got, wanted, ("the loss",)).kind == "gradient"
    assert fault(case(gradient=False), got, wanted, ("the loss",)) is None
    missing = fault(case(gradient=True), Answer((tensor(1.0, 2.0),)), wanted, ("the loss",))
    assert missing.text == "your result has no gradient"


def test_only_finite_asks_for_no_more():
    wanted, other = Answer((tensor(0.0, 1.0),)), Answer((tensor(9.0, 9.0),))
    assert fault(case(only_finite=True), other, wanted, ("the IoU",)) is None
    nan = Answer((tensor(9.0, float("nan")),))
    assert fault(case(only_finite=True), nan, wanted, ("the IoU",)).kind == "finite"
    short = Answer((tensor(9.0),))
    assert fault(case(only_finite=True), short, wanted, ("the IoU",)).kind == "form"


def test_where_no_number_is_expected_none_is_no_fault():
    nan = float("nan")
    wanted = Answer((tensor(nan, 1.0),))
    assert fault_text(Answer((tensor(nan, 1.0),)), wanted) is None
    text = "the loss[1] is nan; expected 1.0000"
    assert fault_text(Answer((tensor(nan, nan),)), wanted) == text
    assert fault_text(Answer((tensor(1.0, 1.0),)), wanted) == "the loss[0] is 1.0000; expected nan"


def test_of_several_changed_arguments_the_changed_ones_are_named():
    right = Answer((tensor(1.0),))
    for changed, words in (((1,), "(sigma)"), ((0, 2), "(boxes and sizes)"), ((5,), "given;")):
        answer = Answer(right.values, changed=changed)
        found = fault(case(), answer, right, ("the loss",), ("boxes", "sigma", "sizes"))
        assert words in found.text


def test_two_answers_agree_if_both_are_wrong_in_the_same_way():
    one, same, other = (Answer((tensor(*v),)) for v in ((1.0, 2), (1.00001, 2), (1.01, 2)))
    assert agree(case(), one, same)
    assert not agree(case(), one, other)
    assert not agree(case(), one, Answer((tensor(1.0),)))
    assert not agree(case(), one, Answer((tensor(1, 2),)))
    assert not agree(case(), one, Answer(one.values, changed=(0,)))
    assert not agree(case(), one, Answer(trouble=Trouble("exit", "it left")))
    huge = [Answer((tensor(1.0, v),)) for v in (3e7, 2e9, float("inf"))]
    assert agree(case(), huge[0], huge[1])
    assert agree(case(), huge[0], huge[2])
    assert not agree(case(), huge[0], one)


def test_two_answers_with_other_gradients_do_not_agree():
    one, other = (Answer((tensor(1.0),), gradient=tensor(slope)) for slope in (2.0, 2.1))
    asked = case(gradient=True)
    assert agree(asked, one, one)
    assert not agree(asked, one, other)
    assert not agree(asked, one, Answer(one.values))
    assert agree(case(), one, other)


def test_two_exceptions_agree_if_their_type_does():
    key, again, value = (
        Answer(trouble=Trouble("exception", f"your function raises {text}"))
        for text in ("KeyError: 'a'", "KeyError: 'b'", "ValueError: a")
    )
    assert agree(case(), key, again)
    assert not agree(case(), key, value)


def test_an_unknown_rung_is_an_error():
    with pytest.raises(ValueError, match="unknown rung 'easy': expected one of by hand"):
        Case("easy", (), "nothing")


# ---- ask and judge ----


def half_sum(boxes):
    return boxes.sum(1) / 2


def toy_cases(random):
    return [
        Case("gradient", (BOXES,), "two boxes", gradient=True),
        Case("by hand", (BOXES,), "two boxes", expected=tensor(4.0, 5.0)),
        Case("random", (torch.rand(5, 4, generator=random),), "five boxes"),
    ]


TOY = Exercise(
    number="0.1",
    name="half_sum",
    reference=half_sum,
    cases=toy_cases,
    misconceptions=(Misconception("the half is missing", lambda boxes: boxes.sum(1)),),
    returns=("the sum",),
    points=7,
)


def judged(function):
    cases = TOY.ladder(0)
    return judge(TOY, cases, ask(function, cases))


def test_the_packages_answers_serve_to_judge_many_and_are_asked_once():
    asked = []

    def counts(boxes):
        asked.append(boxes)
        return boxes @ torch.ones(4)

    known = Misconception("the half is missing", counts)
    toy = replace(TOY, misconceptions=(known,))
    own = Own(toy, toy.ladder(0))

    def writes(boxes):
        boxes += 1
        return boxes @ torch.ones(4)

    learners = (half_sum, lambda b: b @ torch.ones(4), lambda b: b.sum(1) / 3, writes)
    for function in learners * 2:
        cases = toy.ladder(0)
        answers = ask(function, cases)
        shared = judge(toy, cases, answers, own)
        assert str(shared) == str(judge(toy, toy.ladder(0), answers))
        assert shared.hint == judge(toy, toy.ladder(0), answers).hint

    # Of the eight learners each with its own, and of all eight together.
    alone = len(asked)
    asked.clear()
    own = Own(toy, toy.ladder(0))
    for function in learners * 2:
        judge(toy, toy.ladder(0), ask(function, toy.ladder(0)), own)
    assert 0 < len(asked) <= len(own.cases) < alone


def test_the_ladder_begins_with_the_first_rung():
    rungs = [case.rung for case in TOY.ladder(0)]
    assert rungs == sorted(rungs, key=RUNGS.index)
    assert rungs[0] == "by hand"


def test_a_right_answer_earns_its_points():
    said = judged(lambda boxes: boxes.mean(1) * 2)
    assert (said.status, said.points) == ("right", 7)
    assert str(said) == "✅ Exercise 0.1, half_sum: right in 3 cases."


def test_a_known_misconception_is_named_and_an_unknown_one_is_not():
    assert judged(lambda boxes: boxes @ torch.ones(4)).hint == "the half is missing"
    assert judged(lambda boxes: boxes.sum(1) / 3).hint == ""


def test_one_telling_case_is_too_few_to_name_a_mistake():
    """The same boxes twice, boxes that get the same answer, no boxes: each tells nothing new."""
    one = Case("by hand", (BOXES,), "two boxes")
    same_answer = Case("property", (BOXES.flip(1),), "the same numbers in another order")
    nothing = Case("degenerate", (BOXES[:0],), "no boxes")
    other = Case("random", (BOXES + 1,), "other boxes")

    def hint(*cases):
        return judge(TOY, cases, ask(lambda boxes: boxes @ torch.ones(4), cases)).hint

    assert hint(one) == "this looks like: the half is missing"
    assert hint(one, replace(one, rung="random")) == "this looks like: the half is missing"
    assert hint(one, same_answer) == "this looks like: the half is missing"
    assert hint(one, nothing) == "this looks like: the half is missing"
    assert hint(one, other) == "the half is missing"


def test_two_misconceptions_that_fit_are_no_certainty():
    known = Misconception("the half is missing", lambda boxes: boxes.sum(1))
    twin = Misconception("the sum is doubled", lambda boxes: half_sum(boxes) * 2)
    variant = Misconception("the half is missing", lambda boxes: half_sum(boxes) * 2)
    cases = TOY.ladder(0)
    answers = ask(lambda boxes: boxes @ torch.ones(4), cases)
    for second, hint in ((twin, "this looks like: the half is missing"), (variant, known.hint)):
        exercise = replace(TOY, misconceptions=(known, second))
        assert judge(exercise, cases, answers).hint == hint


def test_a_later_variant_of_a_misconception_is_found():
    known = Misconception("the half is missing", lambda boxes: boxes, lambda boxes: boxes.sum(1))
    cases = TOY.ladder(0)
    answers = ask(lambda boxes: boxes @ torch.ones(4), cases)
    assert judge(replace(TOY, misconceptions=(known,)), cases, answers).hint == known.hint


def test_a_right_formula_in_another_dtype_is_no_misconception():
    """A mistake that shows elsewhere agrees with it on the lowest rung."""
    elsewhere = Misconception("a hint that must not show", lambda b: half_sum(b) * (len(b) == 2))
    exercise = replace(TOY, misconceptions=(elsewhere,))
    cases = exercise.ladder(0)
    said = judge(exercise, cases, ask(lambda boxes: half_sum(boxes).double(), cases))
    assert said.text == "on two boxes: the sum has dtype float64; expected float32"
    assert said.hint.startswith("the chapter goes on in float32")


def test_a_missing_gradient_alone_is_no_agreement():
    """Where both lack the gradient, their values must be the same as well."""
    detached = Misconception("it is detached", lambda boxes: half_sum(boxes).detach())
    exercise = replace(TOY, misconceptions=(detached,))
    case = Case("gradient", (BOXES,), "two boxes", gradient=True)
    for function, hint in (
        (lambda boxes: half_sum(boxes.detach()), "this looks like: it is detached"),
        (lambda boxes: half_sum(boxes.detach()) + 1, ""),
    ):
        assert judge(exercise, [case], ask(function, [case])).hint == hint


def test_a_stop_speaks_neither_for_a_misconception_nor_against_it():
    def greedy(boxes):
        if len(boxes) == 5:
            raise MemoryError
        return boxes.sum(1)

    cases = [
        Case("by hand", (BOXES,), "two boxes"),
        Case("random", (BOXES + 1,), "other boxes"),
        Case("property", (torch.ones(5, 4),), "five boxes"),
    ]
    answers = ask(greedy, cases)
    assert answers[-1].trouble.kind == "memory"
    assert judge(TOY, cases, answers).hint == "the half is missing"


def test_a_hint_is_about_the_fault_that_is_shown():
    """A loop is shown first here; the misconception would be that of a later case."""

    def loops(boxes):
        return torch.stack([box.sum() / (1 if len(boxes) == 2 else 2) for box in boxes])

    many = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    cases = [Case("no loop", (many[:n],), f"{n} boxes", size=n) for n in (8, 64)]
    cases.append(Case("by hand", (BOXES,), "two boxes"))
    said = judge(TOY, cases, ask(loops, cases))
    assert "there is a loop" in said.text
    assert said.hint == ""


def test_cases_that_differ_by_half_a_percent_tell_different_things():
    cases = [Case("by hand", (boxes,), "boxes") for boxes in (BOXES, BOXES * 1.005)]
    assert judge(TOY, cases, ask(lambda b: b.sum(1), cases)).hint == "the half is missing"


def test_a_hint_on_a_changed_input_is_about_its_values():
    def stumbles(boxes):
        if (boxes < 0).any():
            raise KeyError("below zero")
        return half_sum(boxes)

    cases = [*TOY.ladder(0), Case("property", (BOXES - 9,), "the same boxes moved below zero")]
    said = judge(TOY, cases, ask(stumbles, cases))
    assert "raises KeyError" in said.text
    assert said.hint == ""


@pytest.mark.parametrize(
    ("boxes", "start"), [(BOXES, "indices and labels are int64"), (BOXES[:0], "torch.tensor of an")]
)
def test_what_is_said_of_a_wrong_dtype_depends_on_the_input(boxes, start):
    exercise = replace(TOY, reference=lambda boxes: torch.arange(len(boxes)))
    cases = [Case("by hand", (boxes,), "boxes")]
    said = judge(exercise, cases, ask(lambda boxes: torch.arange(len(boxes)).float(), cases))
    assert said.hint.startswith(start)


def test_a_whole_number_worked_out_by_hand_stands_for_the_real_one():
    cases = [Case("by hand", (BOXES,), "two boxes", expected=tensor(4, 5))]
    assert judge(TOY, cases, ask(half_sum, cases)).status == "right"
    said = judge(TOY, cases, ask(lambda boxes: half_sum(boxes).long(), cases))
    assert said.text.endswith("the sum has dtype int64; expected float32")


def test_a_blank_function_is_asked_once():
    calls = []

    def blank(boxes):
        calls.append(boxes)
        raise NotImplementedError

    assert judged(blank).status == "todo"
    assert len(calls) == 1


def test_what_was_printed_is_that_of_the_failing_case():
    def talks(boxes):
        print(f"{len(boxes)} boxes")
        return half_sum(boxes) + (len(boxes) == 5)

    assert judged(talks).printed == "5 boxes\n"


def test_an_argument_that_is_no_number_everywhere_is_not_changed_by_reading():
    given = Case("by hand", (tensor(1.0, float("nan")),), "numbers, one of them none")
    assert sandbox.call(lambda values: values * 2, given).changed == ()
    assert sandbox.call(lambda values: values.nan_to_num_(), given).changed == (0,)


def test_float32_may_stand_for_float64_and_not_the_other_way_round():
    double, single = Answer((tensor(1.0).double(),)), Answer((tensor(1.0),))
    assert fault_text(single, double) is None
    assert fault_text(double, double) is None
    assert fault_text(double, single) == "the loss has dtype float64; expected float32"
    indices = Answer((tensor(1),))
    small = Answer((tensor(1).int(),))
    assert fault_text(small, indices) == "the loss has dtype int32; expected int64"
    half = Answer((tensor(1.0).half(),))
    assert fault_text(half, double) == "the loss has dtype float16; expected float64"
    assert fault_text(Answer((tensor(1.0).half(),)), single) is not None


@pytest.mark.parametrize(
    ("function", "start"),
    [
        (lambda boxes: half_sum(boxes).double(), "the chapter goes on in float32"),
        (lambda boxes: half_sum(boxes).log() * 0 + torch.nan, "such a number comes from dividing"),
        (lambda boxes, more: boxes, "the check calls it with 1 arguments; keep the first line"),
        (lambda boxes: (lambda a, b: a)(boxes), ""),  # not the check's call, so no such hint
        (lambda boxes: half_sum(boxes.clamp(min=0)) + (boxes < 0).any() * 1, "before its input"),
    ],
)
def test_what_to_look_at_when_no_misconception_fits(function, start):
    cases = [*TOY.ladder(0), Case("property", (BOXES - 9,), "the same boxes moved below zero")]
    cases.sort(key=lambda case: RUNGS.index(case.rung))
    exercise = replace(TOY, misconceptions=())
    said = judge(exercise, cases, ask(function, cases))
    assert said.status == "wrong"
    assert said.hint.startswith(start) and bool(said.hint) == bool(start)


# ---- arguments ----


def shown(*args, narrowed="", names=("boxes", "sigma", "sizes"), **more):
    found = Fault("wrong", "value", **more)
    return show_arguments(names, Case("random", args, "a case"), found, narrowed)


def test_every_argument_is_shown_by_its_name():
    said = shown(BOXES, 0.70001, [(4, 2.5), None])
    assert said == "boxes = [[0, 0, 4, 4], [1, 1, 5, 3]], sigma = 0.7, sizes = [(4, 2.5), None]"
    assert shown(BOXES[:0], True) == "boxes = empty, of shape (0, 4), sigma = True"
    assert shown(torch.tensor(3)) == "boxes = 3"
    assert (
        shown(torch.zeros(8, 4), index=(7,), rows=8)
        == f"boxes = [{', '.join(['[0, 0, 0, 0]'] * 8)}]"
    )


def test_of_a_long_argument_the_row_that_is_wrong_is_shown():
    rows = torch.arange(40.0).view(10, 4)
    assert shown(rows, index=(7,), rows=10) == "boxes[7] = [28, 29, 30, 31]"
    assert shown(rows, index=(7, 2), rows=10) == "boxes[7] = [28, 29, 30, 31]"  # of a matrix
    # Where the answer has other rows, nothing says which one it was.
    first = "boxes[:3] = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]], 10 rows in all"
    assert shown(rows, index=(7,), rows=9) == first
    assert shown(rows) == first
    assert shown(torch.zeros(5, 8, 9)) == "boxes = a tensor of shape (5, 8, 9)"


def test_what_the_exercise_shows_is_not_shown_twice():
    rows = torch.arange(40.0).view(10, 4)
    assert shown(rows, 0.5, narrowed="boxes[3] = here") == "boxes[3] = here, sigma = 0.5"
    assert shown(BOXES[:1], 0.5, narrowed="their IoU 0.3") == (
        "boxes = [[0, 0, 4, 4]], sigma = 0.5, their IoU 0.3"
    )
    # A name within another is another one.
    assert shown(1, 2, narrowed="gt_boxes = here", names=("boxes", "sigma")) == (
        "boxes = 1, sigma = 2, gt_boxes = here"
    )


def undiagnosed(exercise):
    """The exercise without its misconceptions: to ask them all takes ten times as long as the rest.

    Whether they are recognised is the business of test_answers.
    """
    return replace(exercise, misconceptions=())


@pytest.mark.slow
@pytest.mark.parametrize("name", check.EXERCISES)
def test_every_message_shows_its_input(name):
    """Also where its words refer to another case: "the same pairs, eight times as large"."""
    exercise = undiagnosed(check.EXERCISES[name])
    names = parameters(exercise.reference)
    for each in exercise.ladder(0):
        if each.rung == "cause":
            continue
        said = judge(exercise, [each], ask(lambda *args: None, [each])).shown
        for argument in names[: len(each.args)]:
            assert re.search(rf"\b{argument}\b", said), (each.note, said)


@pytest.mark.parametrize(
    "stub",
    [stub for path in CHAPTERS for stub in read_chapter(path).stubs],
    ids=lambda stub: stub.exercise.name,
)
def test_the_messages_use_the_names_of_the_stubs(stub):
    (function,) = ast.parse(stub.source).body
    own = [argument.arg for argument in function.args.args]
    assert list(parameters(stub.exercise.reference))[: len(own)] == own


def test_a_changed_argument_is_named():
    def writes(boxes):
        boxes += 1
        return half_sum(boxes)

    assert "changes the tensors it is given (boxes); work" in judged(writes).text


def test_a_misconception_is_named_in_spite_of_a_second_mistake_elsewhere():
    said = judged(lambda boxes: boxes.sum(1) if len(boxes) == 2 else boxes.sum(1) / 3)
    assert said.hint == "this looks like: the half is missing"


def test_that_both_raise_on_the_same_input_is_no_evidence():
    def stumbles(boxes):
        return half_sum(boxes) + 0 * boxes[0, 0]

    empty = Case("degenerate", (BOXES[:0],), "no boxes")
    known = Misconception("a far-fetched hint", lambda boxes: stumbles(boxes) * 2)
    exercise = replace(TOY, misconceptions=(known,))
    cases = [*TOY.ladder(0), empty]
    assert judge(exercise, cases, ask(lambda boxes: stumbles(boxes) * 2, cases)).hint == known.hint
    said = judge(exercise, cases, ask(stumbles, cases))
    assert said.text.startswith("on no boxes: your function raises IndexError")
    assert said.hint.startswith("check for an empty list first")


def test_answers_that_end_early_are_no_pass():
    cases = TOY.ladder(0)
    answers = ask(half_sum, cases)
    for count in (0, 1, 2):
        said = judge(TOY, cases, answers[:count])
        assert said.status == "wrong"
        assert said.text == "your function did not come back"
        assert said.points == 0
    assert judge(TOY, cases, answers).status == "right"


def test_a_fault_before_the_early_end_is_the_one_shown():
    cases = TOY.ladder(0)
    said = judge(TOY, cases, ask(lambda boxes: boxes.sum(1), cases)[:2])
    assert said.text == "on two boxes: the sum[1] is 10.0000; expected 5.0000"
    assert said.hint == "the half is missing"


@pytest.mark.parametrize("kind", ["timeout", "memory", "exit"])
def test_after_a_stop_the_remaining_cases_are_not_tried(kind, monkeypatch):
    stopped = Answer(trouble=Trouble(kind, "it was stopped"))
    monkeypatch.setattr(engine, "call", lambda *args: stopped)
    assert ask(half_sum, TOY.ladder(0)) == [stopped]


def test_the_time_is_for_all_calls_together(monkeypatch):
    given = []

    def slow(function, case, seconds, earlier, processor):
        given.append((seconds, processor))
        until = time.process_time() + 0.01
        while time.process_time() < until:
            pass
        return Answer((tensor(1.0),))

    monkeypatch.setattr(engine, "call", slow)
    ask(half_sum, TOY.ladder(0), 30, processor=9)
    for most, (first, second, third) in zip((30, 9), zip(*given)):
        assert most >= first > second > third


def test_not_implemented_later_is_not_blank():
    def partly(boxes):
        if len(boxes) == 5:
            raise NotImplementedError
        return half_sum(boxes)

    assert judged(partly).status == "wrong"


def a_die(sides):
    return (torch.randint(1, sides + 1, (1,)),)


DIE = Exercise(
    number="1",
    name="a_die",
    reference=a_die,
    cases=lambda random: [Case("random", (n,), f"{n} sides", draws=90) for n in (2, 3)],
    misconceptions=(Misconception("the last side never comes up", lambda n: a_die(n - 1)),),
    returns=("the lowest number", "the highest number"),
    summary=lambda case, values: (
        (min(values), max(values)) if len(values) == case.draws else f"{len(values)} numbers"
    ),
)


@pytest.mark.parametrize(
    ("function", "text", "hint"),
    [
        (a_die, "right in 2 cases", ""),
        (lambda n: a_die(n - 1), "on 2 sides: the highest number[0] is 1; expected 2", "last side"),
        (lambda n: (*a_die(n), *a_die(n)), "on 2 sides: your function returned 180 numbers", ""),
        (lambda n: a_die(n)[0], "on 2 sides: your function returned 1 numbers", ""),
        (lambda n: None, "on 2 sides: your function returned None", ""),
    ],
)
def test_of_a_random_answer_the_summary_of_many_draws_is_compared(function, text, hint):
    cases = DIE.ladder(0)
    said = judge(DIE, cases, ask(function, cases))
    assert said.text.startswith(text)
    assert hint in said.hint


@pytest.mark.parametrize("argument", [0, 1])
def test_the_gradient_may_be_that_of_any_argument(argument):
    def both(a, b):
        return a * 2, b * 3

    def first_detached(a, b):
        return a.detach() * 2, b * 3

    case = Case("gradient", (tensor(1.0), tensor(2.0)), "two numbers", gradient=True)
    case = replace(case, differentiated=(argument, argument))
    assert sandbox.call(both, case).gradient.tolist() == [2.0 + argument]
    trouble = sandbox.call(first_detached, case).trouble
    assert (trouble is None) == (argument == 1)
    assert sandbox.call(lambda a, b: a, replace(case, differentiated=(1, 0))).trouble is not None


def test_an_exception_shows_the_learners_line_and_not_the_packages():
    def calls_the_package(boxes):
        return box_iou(boxes, boxes[:, :3])

    said = judged(calls_the_package)
    assert said.text.startswith("on two boxes: your function raises ValueError: boxes2 must have")
    assert said.line.endswith("return box_iou(boxes, boxes[:, :3])")


def test_a_broken_reference_is_the_packages_fault():
    broken = Exercise(
        number="0.2",
        name="broken",
        reference=lambda boxes: None,
        cases=toy_cases,
        misconceptions=(),
        returns=("the sum",),
    )
    cases = broken.ladder(0)
    with pytest.raises(AssertionError, match=r"the reference of broken fails: .*None"):
        judge(broken, cases, ask(half_sum, cases))


def test_a_misconception_may_have_several_functions():
    known = Misconception("a hint", torch.sum, torch.mean)
    assert known.functions == (torch.sum, torch.mean)
    with pytest.raises(ValueError, match="needs a function that makes it: 'a hint'"):
        Misconception("a hint")


# ---- gradients ----


def test_a_detached_answer_is_a_fault():
    for cut in (
        lambda boxes: half_sum(boxes).detach(),
        lambda boxes: half_sum(boxes.detach()),
        lambda boxes: torch.tensor(half_sum(boxes).tolist()),
        lambda boxes: torch.from_numpy(half_sum(boxes).detach().numpy().copy()),
    ):
        said = judged(cut)
        assert said.status == "wrong"
        assert "no gradient with respect to the first argument" in said.text


def test_right_values_with_a_wrong_gradient_are_a_fault():
    said = judged(lambda boxes: (boxes.detach() * 2 - boxes).sum(1) / 2)
    assert "the gradient[0, 0] is -0.5000; expected 0.5000" in said.text
    assert said.hint.startswith("the values are right, their gradient is not")


def test_a_gradient_that_is_not_finite_is_a_fault():
    def with_a_root(boxes):
        return half_sum(boxes) + 0 * (boxes - boxes.detach()).abs().sum(1).sqrt()

    said = judged(with_a_root)
    assert "the gradient[0, 0] is nan" in said.text
    assert "dividing by zero" in said.hint


def sides(boxes):
    middle, width = (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 2] - boxes[:, 0]
    return torch.stack((middle - width / 2, middle + width / 2), 1)


def test_a_gradient_that_two_columns_hide_from_each_other_is_a_fault():
    def with_a_detached_width(boxes):
        middle, width = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 2] - boxes[:, 0]).detach()
        return torch.stack((middle - width / 2, middle + width / 2), 1)

    cases = [case(gradient=True)]
    exercise = replace(TOY, reference=sides, misconceptions=())
    said = judge(exercise, cases, ask(with_a_detached_width, cases))
    assert "the gradient[0, 0] is 1.5000; expected 1.0000" in said.text


# ---- no loop over boxes ----


def areas_at_once(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def areas_in_a_loop(boxes):
    result = torch.zeros(len(boxes))
    for i in range(len(boxes)):
        result[i] = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
    return result


def areas_in_a_comprehension(boxes):
    return torch.stack([(b[2] - b[0]) * (b[3] - b[1]) for b in boxes])


def areas_by_map(boxes):
    return torch.stack(list(map(lambda b: (b[2] - b[0]) * (b[3] - b[1]), boxes)))


def areas_by_recursion(boxes):
    if len(boxes) == 0:
        return torch.zeros(0)
    x1, y1, x2, y2 = boxes[0]
    return torch.cat((((x2 - x1) * (y2 - y1))[None], areas_by_recursion(boxes[1:])))


def areas_by_numpy_vectorize(boxes):
    area = np.vectorize(lambda x1, y1, x2, y2: (x2 - x1) * (y2 - y1))
    return torch.from_numpy(area(*boxes.numpy().T))


def areas_beside_an_empty_loop(boxes):
    for _ in boxes:
        pass
    return areas_at_once(boxes)


def with_sizes(function):
    many = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    exercise = Exercise(
        number="0.3",
        name="areas",
        reference=areas_at_once,
        cases=lambda random: [Case("no loop", (many[:n],), f"{n} boxes", size=n) for n in (8, 64)],
        misconceptions=(Misconception("a hint that must not show", areas_at_once),),
        returns=("the areas",),
    )
    cases = exercise.ladder(0)
    return judge(exercise, cases, ask(function, cases))


def test_code_without_a_loop_passes():
    assert with_sizes(areas_at_once).status == "right"
    assert with_sizes(lambda boxes: (boxes[:, 2:] - boxes[:, :2]).prod(1)).status == "right"
    assert with_sizes(lambda b: torch.vmap(areas_at_once)(b[:, None])[:, 0]).status == "right"


@pytest.mark.parametrize(
    "function",
    [
        areas_in_a_loop,
        areas_in_a_comprehension,
        areas_by_map,
        areas_by_recursion,
        areas_by_numpy_vectorize,
        areas_beside_an_empty_loop,
    ],
)
def test_a_loop_is_caught_whatever_it_is_written_with(function):
    said = with_sizes(function)
    assert said.status == "wrong"
    assert re.search(r"takes [1-8](\.\d)? times as many steps for 64 boxes as for 8", said.text)
    assert "there is a loop over boxes" in said.text
    assert said.hint == ""


def test_a_loop_over_something_else_is_none_over_boxes():
    """Three halvings more for eight times as many boxes."""

    def by_halves(boxes):
        count = len(boxes)
        while count > 1:
            count //= 2
        return areas_at_once(boxes)

    assert with_sizes(by_halves).status == "right"


def test_steps_are_counted_alike_every_time():
    cases = [Case("no loop", (torch.rand(n, 4),), "", size=n) for n in (8, 8, 64)]
    few, again, many = (sandbox.call(areas_in_a_loop, each).steps for each in cases)
    assert few == again
    assert 5 < many / few <= 8


# ---- display ----


def wrong_verdict(**more):
    return Verdict("wrong", "6.1", "giou_loss", "on two boxes: the loss[0] is 2", **more)


def test_a_verdict_as_plain_text():
    said = wrong_verdict(hint="add it", line="line 3: return 2", shown="a box", printed="x\ny\n")
    assert str(said).splitlines() == [
        "❌ Exercise 6.1, giou_loss: on two boxes: the loss[0] is 2.",
        "   Hint: add it",
        "   line 3: return 2",
        "   a box",
        "   It printed:",
        "   | x",
        "   | y",
        "   Until it is right, giou_loss is the package's.",
    ]


def test_only_of_a_wrong_function_it_is_said_whose_goes_on():
    words = "is the package's"
    for status, is_said in (("wrong", True), ("todo", False), ("right", False)):
        verdict = Verdict(status, "6.1", "giou_loss", "a text")
        assert (words in str(verdict)) == (words in verdict._repr_html_()) == is_said


def test_each_sign_is_drawn_and_read_as_what_it_is():
    """A tick is one stroke, a cross two, an hourglass has four lines."""
    for status, word, strokes in (
        ("right", "right", 1),
        ("wrong", "wrong", 2),
        ("todo", "to do", 4),
    ):
        drawing = drawn_sign(status)
        assert f'aria-label="{word}"' in drawing
        path = re.search(r'<path d="([^"]+)"', drawing)[1]
        assert len(re.findall("[Mm]", path)) == strokes
        assert BORDERS[status] in drawing


@pytest.mark.parametrize(("text", "end"), [("wrong", "wrong."), ("why?", "why?"), ("a …", "a …")])
def test_a_sentence_ends_once(text, end):
    said = Verdict("todo", "1", "name", text)
    assert str(said) == f"⏳ Exercise 1, name: {end}"
    assert f": {end}</div>" in said._repr_html_()


def test_what_was_printed_is_cut():
    long = "\n".join(["x" * 5_000] * 30)
    rows = [row for row in str(wrong_verdict(printed=long)).splitlines() if row.startswith("   | ")]
    assert len(rows) == display.ROWS
    assert max(map(len, rows)) == display.COLUMNS + len("   | ")
    assert rows[-1] == "   | …"
    count = wrong_verdict(printed=f"{long}\n… and 7 more characters")
    assert "   | … and 7 more characters" in str(count)
    assert str(count).count("x" * 90) == count._repr_html_().count("x" * 90) == display.ROWS - 1


def test_html_escapes_what_the_learner_wrote():
    said = wrong_verdict(
        hint="use `a < b` & <b>",
        line="line 1: <script>alert(1)</script>",
        shown="<i>",
        printed="<script>alert(2)</script>",
        boxes=[(BOXES[0], "<u>", "a")],
    )
    said.text = "your function raises ValueError: <img src=x onerror=alert(3)>"
    page = said._repr_html_()
    assert "<script" not in page and "<img" not in page and "<u>" not in page and "<i>" not in page
    assert "<code>a &lt; b</code> &amp; &lt;b&gt;" in page


def test_html_leaves_text_and_background_to_the_page():
    page = wrong_verdict(hint="add it", printed="x", boxes=[(BOXES[0], "pred", "a")])._repr_html_()
    outside = re.sub(r"<svg.*?</svg>", "", page)
    assert not re.search(r"(?<![-\w])(color|background|background-color)\s*:", page)
    assert "bgcolor" not in page and "<font" not in page
    assert "fill=" not in outside


def test_the_picture_has_a_title_and_stays_inside():
    boxes = [
        (BOXES[0], "pred", "a"),
        (BOXES[1] - 7, "target", "b"),
        (BOXES[1, [0, 1, 0, 1]], "", "c"),
    ]
    svg = picture(boxes)
    assert "<title>pred: 0, 0, 4, 4; target: -6, -6, -2, -4; : 1, 1, 1, 1</title>" in svg
    assert 'role="img"' in svg
    assert svg.count("<rect") == 3
    for x, y, w, h in re.findall(r'<rect x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"', svg):
        assert 0 <= float(x) <= float(x) + float(w) <= display.WIDTH
        assert 0 <= float(y) <= float(y) + float(h) <= display.HEIGHT


def test_two_labels_of_one_box_do_not_meet():
    svg = picture([(BOXES[0], "pred", "a"), (BOXES[0], "target", "b")])
    above, below = (float(y) for y in re.findall(r'<text x=".*?" y="(.*?)"', svg))
    (top, height), _ = re.findall(r'<rect .*?y="(.*?)" .*?height="(.*?)"', svg)
    assert above < float(top) and below > float(top) + float(height)


def test_a_box_that_is_inside_out_lies_between_its_corners():
    flipped = BOXES[0, [2, 3, 0, 1]]
    one, other = (picture([(box, "", "a"), (BOXES[1], "", "b")]) for box in (BOXES[0], flipped))
    assert re.findall("<rect.*?/>", one) == re.findall("<rect.*?/>", other)


def test_a_wrong_value_has_a_picture_and_a_trouble_has_none():
    cases = check.giou_loss.ladder(0)

    def said(function):
        return judge(check.giou_loss, cases, ask(function, cases))

    wrong = said(lambda pred, target: check.giou_loss.reference(pred, target) + 1)
    assert "<rect" in wrong._repr_html_()  # a box; the sign of the verdict is a drawing, too
    assert wrong.shown == (
        "pred_boxes[0] = [0, 0, 4, 4], target_boxes[0] = [2, 0, 6, 4], their IoU 0.3333"
    )
    for function in (3, lambda pred, target: None, lambda pred, target: 1 / 0):
        assert "<rect" not in said(function)._repr_html_()
    assert said(3).shown == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", check.EXERCISES)
def test_every_failing_case_can_be_shown(name):
    exercise = undiagnosed(check.EXERCISES[name])
    cases = exercise.ladder(0)
    for each in cases:
        alone = judge(exercise, [each], ask(lambda *args: torch.zeros(3, 1, 2), [each]))
        # A cause of a hunt that is none of the list is still to be chosen.
        assert alone.status == ("todo" if each.rung == "cause" else "wrong"), each.note
        assert str(alone) and alone._repr_html_()


# ---- progress, solution, strict ----


@pytest.fixture
def no_state():
    engine.STATE.clear()
    yield
    engine.STATE.clear()


def test_progress_lists_the_exercises_of_the_chapters_that_were_met(no_state, capsys):
    everything = f"0 of {len(check.EXERCISES)} exercises are right\n⏳ 1.1  box_iou"
    assert repr(check.progress()).startswith(everything)

    check.box_iou(box_iou)
    check.nms(3)
    lines = repr(check.progress()).splitlines()
    of_chapter = [e for e in check.EXERCISES.values() if e.number.startswith("1.")]
    assert lines[:2] == [f"1 of {len(of_chapter)} exercises are right", "✅ 1.1  box_iou"]
    assert lines[4] == "❌ 1.4  nms"
    assert len(lines) == 1 + len(of_chapter)
    page = check.progress()._repr_html_()
    assert page.count("<tr>") == len(of_chapter)
    assert lines[0] in page

    check.giou_loss(3)  # of another chapter
    assert "❌ 6.1  giou_loss" in repr(check.progress())
    assert len(repr(check.progress()).splitlines()) > len(lines)


def test_progress_is_a_record_and_not_a_window(no_state, capsys):
    before = check.progress()
    check.box_iou(box_iou)
    assert before.states == {}


@pytest.mark.parametrize("name", check.EXERCISES)
def test_a_solution_is_the_packages_source(name):
    shown = check.solution(name)
    assert f"def {check.EXERCISES[name].reference.__name__}(" in repr(shown)
    page = shown._repr_html_()
    assert page.startswith("<details><summary>")
    assert "<pre>" in page and "->" not in page.replace("-&gt;", "")


def test_an_unknown_solution_lists_the_exercises():
    with pytest.raises(ValueError, match="no exercise is called 'iou'; there are: box_iou, heat"):
        check.solution("iou")


@pytest.mark.parametrize(
    ("value", "raises"), [("1", True), ("yes", True), ("0", False), ("", False)]
)
def test_strict_is_a_switch(value, raises, monkeypatch, no_state, capsys):
    monkeypatch.setenv("DETLEARN_STRICT", value)
    if raises:
        with pytest.raises(NotSolved, match=r"❌ Exercise 1.1, box_iou: the check was"):
            check.box_iou(3)
    else:
        assert check.box_iou(3) is box_iou


def test_every_exercise_is_an_attribute_of_its_name():
    assert len(check.EXERCISES) == 57
    for name, exercise in check.EXERCISES.items():
        assert getattr(check, name) is exercise
        assert exercise.reference.__name__ in (name, f"naive_{name}")
    numbers = [exercise.number for exercise in check.EXERCISES.values()]
    assert numbers == sorted(set(numbers))


def test_the_reader_may_interrupt_a_function_of_the_package():
    def interrupted(*args):
        raise KeyboardInterrupt

    case = Case("by hand", (torch.zeros(1),), "a number")
    with pytest.raises(KeyboardInterrupt):
        sandbox.call_own(interrupted, case)
    # A learner's function that raises it has only made a mistake.
    assert sandbox.call(interrupted, case).trouble is not None
