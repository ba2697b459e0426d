"""Answers and arguments that are lists and dictionaries of tensors, and arguments by name."""

import pytest
import torch

from detlearn.check.engine import Exercise, Misconception, ask, judge
from detlearn.check.engine.cases import Case
from detlearn.check.engine.forms import NONE, TENSOR, leaf_names, tensors_in, unfolded

FORM = ([TENSOR, TENSOR], {"box": TENSOR, "none": NONE}, TENSOR)


def halves(images, target, rest=None, *, times=1):
    """Halve everything."""
    box = {"box": times * target["boxes"] / 2, "none": None}
    return [times * image / 2 for image in images], box, times * images[0].sum()


def _cases(random):
    images = [torch.rand(3, generator=random), torch.rand(2, generator=random)]
    target = {"boxes": 8 * torch.rand(1, 4, generator=random)}
    return [
        Case("random", (images, target), "two images", form=FORM),
        Case("random", (images, target), "two images, three times", keywords={"times": 3},
             form=FORM),
    ]  # fmt: skip


HALVES = Exercise(
    number="1",
    name="halves",
    reference=halves,
    cases=_cases,
    misconceptions=(
        Misconception(
            "the half is missing in the boxes",
            lambda images, target, times=1: (
                halves(images, target, times=times)[0],
                {"box": times * target["boxes"], "none": None},
                times * images[0].sum(),
            ),
        ),
    ),
    returns=("images", "losses", "the sum"),
)


def judged(function):
    cases = HALVES.ladder(0)
    return judge(HALVES, cases, ask(function, cases))


def changed(change):
    """The right answer with something done to it."""
    return lambda *args, **named: change(*halves(*args, **named))


class Odd(dict):
    """A dictionary whose own methods say anything."""

    def __getitem__(self, key):
        return 1

    def keys(self):
        return ()


def test_leaves_are_called_by_their_places():
    assert leaf_names(FORM, ("images", "losses", "sum")) == (
        *("images[0]", "images[1]", 'losses["box"]', "sum"),
    )
    assert leaf_names({"a": [TENSOR], "b": NONE}, ("losses",)) == ('losses["a"][0]',)
    assert leaf_names([], ("images",)) == ()


def test_unfolded():
    value = ((1, 2), {"none": None, "box": 3}, 4)
    assert unfolded(value, FORM) == ([1, 2, 3, 4], "")
    assert unfolded([[1, 2], Odd(none=None, box=3), 4], FORM) == ([1, 2, 3, 4], "")


def test_tensors_in_an_argument():
    one, two = torch.zeros(1), torch.zeros(2)
    assert tensors_in([one, {"a": (two, 3)}, "x"]) == [one, two]


def test_a_right_answer():
    assert judged(halves).status == "right"
    assert judged(changed(lambda a, b, c: [tuple(a), b, c])).status == "right"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a, b, c: (a, b), "a tuple of 2; expected a tuple of 3"),
        (lambda a, b, c: c, "a Tensor; expected a tuple of 3"),
        (lambda a, b, c: (a[:1], b, c), "at [0] a list of 1; expected a list of 2"),
        (lambda a, b, c: (a[0], b, c), "at [0] a Tensor; expected a list of 2"),
        (lambda a, b, c: (a, b["box"], c), "at [1] a Tensor; expected a dictionary with 'box', 'n"),
        (lambda a, b, c: (a, {"box": c}, c), "at [1] a dictionary without 'none'; expected a dict"),
        (lambda a, b, c: (a, {1: c}, c), "at [1] a dictionary without 'box', 'none'; expected"),
        (lambda a, b, c: (a, b | {"d": c}, c), "at [1] a dictionary that also has 'd'; expected"),
        (lambda a, b, c: (a, b | {5: c}, c), "at [1] a dictionary that also has keys that are no"),
        (lambda a, b, c: (a, b | {"none": c}, c), 'at [1]["none"] a Tensor; expected None'),
        (lambda a, b, c: (a, b | {"box": [c]}, c), "a list; expected a torch.Tensor"),
    ],
)
def test_another_form(change, text):
    said = judged(changed(change))
    assert said.status == "wrong"
    assert said.text.startswith(f"on two images: your function returned {text}")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a, b, c: ([a[0], 2 * a[1]], b, c), "images[1]["),
        (
            lambda a, b, c: (a, b | {"box": b["box"][0]}, c),
            'losses["box"] has shape (4,); expected',
        ),
        (lambda a, b, c: (a, b, c.double()), "the sum has dtype float64; expected float32"),
    ],
)
def test_a_wrong_tensor_is_called_by_its_place(change, text):
    assert judged(changed(change)).text.startswith(f"on two images: {text}")


def test_a_misconception_is_recognised_inside_a_form():
    said = judged(changed(lambda a, b, c: (a, b | {"box": 2 * b["box"]}, c)))
    assert said.hint == "the half is missing in the boxes"


def test_an_argument_by_name_is_given_and_shown():
    def once(images, target, *, times=1):
        return halves(images, target)

    said = judged(once)
    assert said.text.startswith("on two images, three times: ")
    assert "times = 3" in said.shown and "target = {'boxes': [[" in said.shown

    said = judged(lambda images, target: halves(images, target))
    assert "unexpected keyword argument 'times'" in said.text
    assert said.hint.startswith("the check calls it with 3 arguments; keep the first line")


@pytest.mark.parametrize("count", [{"images": 0}, {"images": 1}, {"target": 0}, {"target": 1}])
def test_writing_into_what_a_list_or_dictionary_holds_is_noticed(count):
    def writes(images, target, *, times=1):
        answer = halves(images, target, times=times)
        if "images" in count:
            images[count["images"]] *= 2
        elif count["target"]:
            target["boxes"] = target["boxes"] * 2
        else:
            target["new"] = 1
        return answer

    (name,) = count
    assert f"changes the tensors it is given ({name})" in judged(writes).text


def test_a_list_may_be_emptied():
    def empties(images, target, *, times=1):
        answer = halves(images, target, times=times)
        images.clear()
        return answer

    assert judged(empties).status == "right"


def test_a_long_argument_is_not_written_out():
    case = Case(
        "random", ([torch.rand(40)] * 2, {"boxes": torch.ones(1, 4)}), "a long one", form=FORM
    )
    assert judge(HALVES, [case], ask(lambda *a: None, [case])).shown == (
        "images = a list of 2, target = {'boxes': [[1, 1, 1, 1]]}"
    )
