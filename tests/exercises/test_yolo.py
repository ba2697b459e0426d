"""Chapter 3: what the checks of its grids, anchors and assignments promise beyond the others."""

import re

import pytest
import torch
from table import PATIENCE

from detlearn import check
from detlearn.anchors import kmeans_anchors
from detlearn.check import EXERCISES
from detlearn.check.engine import Own, ask, judge
from detlearn.check.yolo.kmeans_anchors import _course
from detlearn.models.yolov1 import yolov1_loss

GRIDS_AND_ANCHORS = (
    "decode_grid",
    "responsible_boxes",
    "yolov1_loss",
    "kmeans_anchors",
    "yolov3_targets",
)


def said(name, function):
    exercise = EXERCISES[name]
    cases = exercise.ladder(0)
    return judge(exercise, cases, ask(function, cases, PATIENCE))


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIDS_AND_ANCHORS)
def test_each_hint_is_given_without_a_doubt(name):
    """No other mistake looks like it, and two failing cases with different answers show it."""
    exercise = EXERCISES[name]
    cases = exercise.ladder(1)
    own = Own(exercise, exercise.ladder(1))
    for known in exercise.misconceptions:
        for function in known.functions:
            said = judge(exercise, cases, ask(function, cases, PATIENCE), own)
            assert said.hint == known.hint


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("decode_grid", ("decode_grid",)),
        ("responsible_boxes", ("responsible_boxes",)),
        ("yolov1_loss", ("yolov1_loss", "encode_boxes")),
        ("kmeans_anchors", ("kmeans_anchors",)),
        ("yolov3_targets", ("yolov3_targets", "responsible_places")),
    ],
)
def test_the_solution_shows_what_the_answer_consists_of(name, shown):
    code = repr(check.solution(name))
    assert tuple(re.findall(r"^def (\w+)\(", code, re.MULTILINE)) == shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda terms: tuple(terms.values()), "returned a tuple; expected a dictionary with 'box'"),
        (lambda terms: sum(terms.values()), "returned a Tensor; expected a dictionary with 'box'"),
        (lambda terms: terms | {"sum": 0}, "a dictionary that also has 'sum'"),
        (lambda terms: terms | {"class": None}, "returned a NoneType; expected a torch.Tensor"),
    ],
)
def test_the_loss_is_a_dictionary_of_four(change, message):
    verdict = said("yolov1_loss", lambda *args: change(yolov1_loss(*args)))
    assert verdict.status == "wrong"
    assert message in verdict.text


def test_the_order_of_the_terms_does_not_matter():
    turned = said("yolov1_loss", lambda *args: dict([*yolov1_loss(*args).items()][::-1]))
    assert turned.status == "right"


@pytest.mark.parametrize("seed", range(5))
def test_no_epsilon_changes_the_course_of_kmeans(seed):
    """The cases keep away from ties, so that whoever adds 1e-6 to a union ends at the same."""

    def with_epsilon(sides, start):
        anchors = start.clone()
        for _ in range(300):
            inter = torch.minimum(sides[:, None], anchors).prod(dim=-1)
            union = sides.prod(dim=1)[:, None] + anchors.prod(dim=1) - inter
            nearest = (inter / (union + 1e-6)).argmax(dim=1)
            for i in nearest.unique():
                anchors[i] = sides[nearest == i].mean(dim=0)
        return anchors[anchors.prod(dim=1).argsort()]

    exercise = EXERCISES["kmeans_anchors"]
    for case in exercise.ladder(seed):
        found = with_epsilon(*case.args)
        torch.testing.assert_close(found, kmeans_anchors(*case.args), rtol=1e-5, atol=1e-5)
        if case.rung == "random":
            rounds, margin = _course(*case.args)
            assert rounds >= 4 and margin >= 2e-3
