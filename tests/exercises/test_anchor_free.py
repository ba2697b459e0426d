"""Chapter 4: what the checks of its losses, assignments and heat maps promise beyond the others."""

import re

import pytest
import torch
from table import PATIENCE

from detlearn import check
from detlearn.boxes import box_iou
from detlearn.check import EXERCISES
from detlearn.check.anchor_free.atss_positives import MARGIN, _nearest, _threshold
from detlearn.check.anchor_free.decode_detections import _peaks, _summary
from detlearn.check.engine import ask, judge
from detlearn.models.centernet import decode_detections


def said(name, function):
    exercise = EXERCISES[name]
    cases = exercise.ladder(0)
    return judge(exercise, cases, ask(function, cases, PATIENCE))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("focal_classification_loss", ("focal_classification_loss",)),
        ("fcos_candidates", ("fcos_candidates",)),
        ("fcos_targets", ("fcos_targets", "learnt_distances")),
        ("centerness", ("centerness",)),
        ("atss_positives", ("atss_positives",)),
        ("gaussian_radius", ("gaussian_radius",)),
        ("draw_gaussians", ("draw_gaussians",)),
        ("decode_detections", ("decode_detections",)),
    ],
)
def test_the_solution_shows_what_the_answer_consists_of(name, shown):
    code = repr(check.solution(name))
    assert tuple(re.findall(r"^def (\w+)\(", code, re.MULTILINE)) == shown


# ---- ATSS: nothing is decided by rounding ----


@pytest.mark.parametrize("seed", range(5))
def test_no_random_candidate_lies_at_the_threshold(seed):
    for case in EXERCISES["atss_positives"].ladder(seed):
        if case.rung == "random":
            anchors, counts, box, *k = case.args
            ious = box_iou(anchors, box[None])[:, 0].double()
            candidates = ious[_nearest(anchors, counts, box, *(k or [9]))]
            assert (candidates - _threshold(candidates)).abs().min() > MARGIN


@pytest.mark.parametrize("seed", range(3))
def test_some_object_has_positives_and_some_anchor_is_refused(seed):
    exercise = EXERCISES["atss_positives"]
    positives = [
        int(exercise.reference(*case.args).sum())
        for case in exercise.ladder(seed)
        if case.rung == "random"
    ]
    assert max(positives) >= 2


# ---- FCOS: every level and both ways to be refused occur ----


@pytest.mark.parametrize("seed", range(3))
def test_locations_of_every_level_learn_something(seed):
    exercise = EXERCISES["fcos_targets"]
    learned, contested = set(), 0
    for case in exercise.ladder(seed):
        if case.rung == "random":
            points, strides, _, boxes = case.args
            assigned, _ = exercise.reference(*case.args, **case.keywords)
            learned |= set(strides[assigned >= 0].tolist())
            inside = ((points[:, None] > boxes[:, :2]) & (points[:, None] < boxes[:, 2:])).all(-1)
            contested += int((inside.sum(dim=1) > 1).sum())
    assert learned == {4.0, 8.0, 16.0}
    assert contested > 20


# ---- CenterNet: what is left free is not compared ----


def test_equal_scores_may_stand_in_any_order_and_filling_may_be_anything():
    def other(heatmap, wh, offset, k=100, *, stride=4):
        boxes, scores, labels = decode_detections(heatmap, wh, offset, k, stride=stride)
        boxes, labels = boxes.clone(), labels.clone()
        boxes[scores == 0], labels[scores == 0] = 77, 5

        # Turned round, then sorted again: equal ones stand the other way round.
        boxes, scores, labels = boxes.flip(1), scores.flip(1), labels.flip(1)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
        return boxes, scores, labels.gather(1, order)

    assert said("decode_detections", other).status == "right"


def test_the_order_of_different_scores_is_compared():
    boxes, scores, labels = torch.rand(1, 3, 4), torch.tensor([[0.5, 0.5, 0.25]]), torch.eye(3)[:1]
    case = EXERCISES["decode_detections"].ladder(0)[0]
    _, kept, _ = _summary(case, (boxes, scores.flip(1), labels.long()))
    assert kept.tolist() == [[0.25, 0.5, 0.5]]


@pytest.mark.parametrize(
    "values",
    [
        (torch.zeros(2, 3), torch.zeros(2), torch.zeros(2)),
        (torch.zeros(1, 2, 4), torch.zeros(1, 3), torch.zeros(1, 3)),
        (torch.zeros(4), torch.zeros(()), torch.zeros(())),
        (torch.zeros(1, 2, 4),),
        (torch.zeros(3, 0, 4), torch.zeros(3, 0), torch.zeros(3, 0).long()),
        (),
    ],
)
def test_an_answer_of_another_form_or_without_numbers_keeps_it(values):
    case = EXERCISES["decode_detections"].ladder(0)[0]
    assert _summary(case, values) is values


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1j])
def test_no_number_makes_the_comparison_stumble(value):
    def answer(*args, **keywords):
        return tuple(torch.full_like(v, value, dtype=type_of(v)) for v in right(*args, **keywords))

    def type_of(values):
        return torch.complex64 if isinstance(value, complex) else torch.float32

    right = EXERCISES["decode_detections"].reference
    assert said("decode_detections", answer).status == "wrong"


@pytest.mark.parametrize("seed", range(3))
def test_random_maps_have_more_peaks_than_are_asked_for(seed):
    for case in EXERCISES["decode_detections"].ladder(seed):
        if case.rung == "random":
            heatmap, _, _, k = case.args
            assert ((_peaks(heatmap) > 0).flatten(1).sum(dim=1) >= k).all()


# ---- epsilons are accepted ----


@pytest.mark.parametrize("eps", [0, 1e-9, 1e-6])
def test_centerness_may_add_an_epsilon(eps):
    def answer(d):
        across = torch.minimum(d[..., 0], d[..., 2]) / (torch.maximum(d[..., 0], d[..., 2]) + eps)
        down = torch.minimum(d[..., 1], d[..., 3]) / (torch.maximum(d[..., 1], d[..., 3]) + eps)
        return (across * down).nan_to_num().sqrt()

    assert said("centerness", answer).status == "right"


@pytest.mark.parametrize("eps", [0, 1e-6])
def test_atss_may_compare_with_an_epsilon(eps):
    def answer(anchors, level_sizes, box, k=9):
        candidates = _nearest(anchors, level_sizes, box, k)
        iou = box_iou(anchors, box[None])[:, 0]
        low = _threshold(iou[candidates])
        mask = torch.zeros(len(anchors), dtype=torch.bool)
        mask[candidates] = iou[candidates] >= low - eps
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        return mask & ((centres > box[:2]) & (centres < box[2:])).all(dim=1)

    verdict = said("atss_positives", answer)
    assert verdict.status == "right", verdict
