"""Chapter 2: the functions that its exercises ask for and the package's classes agree; what its
checks need of the engine."""

import sys

import pytest
import torch
import torchvision
from table import PATIENCE
from torchvision.models.detection import _utils

from detlearn import check
from detlearn.anchors import AnchorGenerator, make_anchors
from detlearn.boxes import box_iou
from detlearn.check import EXERCISES
from detlearn.check.boxes import random_boxes
from detlearn.check.engine import Own, ask, judge
from detlearn.coders import LARGEST_STRETCH, BoxCoder, decode_deltas, encode_deltas
from detlearn.matching import Matcher, match_anchors
from detlearn.models.rpn import RegionProposalNetwork, propose
from detlearn.nbgrader.strict import _calls_noted
from detlearn.roi import bilinear_sample, roi_align

IMAGES = [(80, 100), (65, 70), (100, 40)]
TWO_STAGE = [name for name, exercise in EXERCISES.items() if exercise.number.startswith("2.")]


@pytest.fixture(params=range(3))
def random(request):
    return torch.Generator().manual_seed(request.param)


def test_encode(random):
    gt_boxes, anchors = random_boxes(50, random), random_boxes(50, random)
    deltas = encode_deltas(gt_boxes, anchors)

    assert torch.equal(deltas, BoxCoder().encode(gt_boxes, anchors))
    theirs = _utils.BoxCoder((1.0, 1.0, 1.0, 1.0)).encode_single(gt_boxes, anchors)
    torch.testing.assert_close(deltas, theirs)
    torch.testing.assert_close(decode_deltas(deltas, anchors), gt_boxes)


def test_decode(random):
    anchors = random_boxes(50, random)
    deltas = 3 * torch.randn(50, 4, generator=random)
    assert (deltas[:, 2:] > LARGEST_STRETCH).any()
    decoded = decode_deltas(deltas, anchors)

    assert torch.equal(decoded, BoxCoder().decode(deltas, anchors))
    theirs = _utils.BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(deltas, anchors)
    torch.testing.assert_close(decoded, theirs, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("stride", [4, 16, 10])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (6, 2), (0, 4)])
def test_anchors(size, stride):
    sizes, ratios = (20.0, 33.0, 64.0), (0.5, 1.0, 2.0, 3.0)
    generator = AnchorGenerator((sizes,), (ratios,), centre_offset=0.5)
    (expected,) = generator.grid_anchors([size], [(stride, stride)])
    assert torch.equal(make_anchors(*size, stride, sizes, ratios), expected)


@pytest.mark.parametrize("thresholds", [(0.7, 0.3), (0.5, 0.4), (0.5, 0.5)])
def test_matches(random, thresholds):
    objects = random_boxes(7, random)
    near = objects.repeat(9, 1) + 6 * torch.randn(63, 4, generator=random)
    iou = box_iou(objects, torch.cat((near, random_boxes(40, random))))
    iou[3] = 0  # an object that no anchor touches

    matcher = Matcher(*thresholds, allow_low_quality_matches=True)
    for some in (iou, iou[:0], iou[:, :0], torch.zeros(2, 5), iou.round(decimals=1)):
        matched = match_anchors(some, *thresholds)
        assert torch.equal(matched, matcher(some))
        assert matched.dtype == torch.int64


def test_of_equal_objects_an_anchor_learns_the_first():
    iou = torch.tensor([[0.8, 0.4, 0.1], [0.8, 0.6, 0.1], [0.2, 0.6, 0.1]])
    assert match_anchors(iou).tolist() == [0, 1, -1]


def test_a_sample_is_what_torchvisions_roi_align_reads(random):
    features = torch.randn(3, 6, 7, generator=random)
    x, y = 9 * torch.rand(40, generator=random) - 1, 8 * torch.rand(40, generator=random) - 1

    # A box of 1 × 1 cell, read at the one point in its middle.
    rois = torch.stack((torch.zeros(40), x - 0.5, y - 0.5, x + 0.5, y + 0.5), dim=1)
    pooled = torchvision.ops.roi_align(features[None], rois, 1, sampling_ratio=1)[:, :, 0, 0]
    torch.testing.assert_close(bilinear_sample(features, x, y), pooled.T)
    ours = roi_align(features[None], rois, 1, 1.0, 1)[:, :, 0, 0]
    torch.testing.assert_close(ours, pooled)


@pytest.mark.parametrize(
    "settings", [(1000, 100, 0.7, 1.0), (30, 100, 0.5, 5.0), (50, 8, 0.3, 12.0)]
)
def test_proposals(random, settings):
    pre, post, threshold, min_size = settings
    anchors = random_boxes(120, random) - 10
    objectness = torch.stack([torch.randperm(120, generator=random) for _ in IMAGES]) / 20 - 3.0
    deltas = 0.4 * torch.randn(len(IMAGES), 120, 4, generator=random)

    rpn = RegionProposalNetwork(
        8,
        pre_nms_top_n=(pre, pre),
        post_nms_top_n=(post, post),
        nms_threshold=threshold,
        min_size=min_size,
    )
    expected = rpn.propose(objectness, deltas, anchors, [120], IMAGES)

    objectness.requires_grad_(), deltas.requires_grad_()
    found = propose(objectness, deltas, anchors, IMAGES, *settings)
    assert len(found) == len(IMAGES)
    for boxes, theirs in zip(found, expected):
        assert 0 < len(boxes) <= post
        torch.testing.assert_close(boxes, theirs)
        assert not boxes.requires_grad


@pytest.mark.parametrize("name", TWO_STAGE)
def test_the_solution_is_the_function_itself_and_hides_nothing(name):
    """Of the package it calls what earlier exercises ask for, and nothing else.

    The one line that checks what comes in is no part of the answer.
    """
    exercise = EXERCISES[name]
    shown = str(repr(check.solution(name)))
    assert f"def {name}(" in shown

    own = {"detlearn." + part for part in ("anchors", "coders", "matching", "roi", "nms", "boxes")}
    called = {
        word
        for word in exercise.reference.__globals__
        if f"{word}(" in shown and not word.startswith("_check")
        if getattr(exercise.reference.__globals__[word], "__module__", "") in own
    }
    assert called - {name} <= ({"decode_deltas", "nms"} if name == "propose" else set())


# ---- what these exercises ask of the machinery ----


def said(name, function, seconds=PATIENCE):
    exercise = EXERCISES[name]
    cases = exercise.ladder(0)
    return judge(exercise, cases, ask(function, cases, seconds))


@pytest.mark.slow
@pytest.mark.parametrize("name", TWO_STAGE)
def test_each_hint_is_given_without_a_doubt(name):
    """No other mistake looks like it, and two failing cases with different answers show it."""
    torch.manual_seed(0)  # sample_anchors draws
    exercise = EXERCISES[name]
    cases = exercise.ladder(1)
    own = Own(exercise, exercise.ladder(1))
    for known in exercise.misconceptions:
        for function in known.functions:
            said = judge(exercise, cases, ask(function, cases, PATIENCE), own)
            assert said.hint == known.hint


def test_a_width_without_gradient_is_a_fault():
    """Of x1 + x2 nothing is left of the width, so a plain sum of the box would not notice it."""

    def detached(deltas, anchors):
        return decode_deltas(torch.cat((deltas[:, :2], deltas[:, 2:].detach()), dim=1), anchors)

    verdict = said("decode_deltas", detached)
    assert verdict.text.startswith("on 30 random deltas: the gradient[")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (torch.cat, "returned a Tensor; expected a list of tensors, one for each image"),
        (lambda boxes: boxes[:0], "returned 0 value(s); expected 1: proposals[0]"),
        (lambda boxes: boxes * 2, "returned 2 value(s); expected 1: proposals[0]"),
        (lambda boxes: [b.tolist() for b in boxes], "returned a list; expected a torch.Tensor"),
        (lambda boxes: dict(enumerate(boxes)), "returned a dict; expected a list of tensors"),
        (lambda boxes: [b + 1 for b in boxes], "proposals[0][0, 0] is 61.0000; expected 60.0000"),
    ],
)
def test_a_list_of_tensors_is_asked_for(change, message):
    verdict = said("propose", lambda *args: change(propose(*args)))
    assert verdict.status == "wrong"
    assert message in verdict.text


def test_a_tuple_of_tensors_will_do():
    assert said("propose", lambda *args: tuple(propose(*args))).status == "right"


def test_a_gradient_that_should_not_be_there_is_a_fault():
    verdict = said("propose", propose.__wrapped__)
    assert verdict.text.startswith("on predictions that carry a gradient: your result carries a")
    assert "torch.no_grad()" in verdict.hint


def test_a_loop_is_named_by_what_it_runs_over():
    def one_by_one(features, x, y):
        read = [bilinear_sample(features, *xy) for xy in zip(x[:, None], y[:, None])]
        return torch.cat(read, dim=1) if read else features.new_zeros(len(features), 0)

    text = said("bilinear_sample", one_by_one).text
    assert "for 64 positions as for 8: there is a loop over positions" in text


def loops(*args):
    while True:
        pass


def leaves(*args):
    sys.exit(3)


def takes_a_huge_tensor(*args):
    return torch.zeros(25 * 10**9)


def prints_megabytes(*args):
    print("x" * 10**7)
    return torch.zeros(1)


def writes_into_its_arguments(*args):
    for value in args:
        if isinstance(value, torch.Tensor):
            value.detach().zero_()
    return [torch.zeros(0, 4)] * 2


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (loops, "stopped after 0.3 seconds"),
        (leaves, "calls exit(); return a value instead"),
        (takes_a_huge_tensor, "more memory than there is"),
        (prints_megabytes, ""),
        (writes_into_its_arguments, ""),
        (lambda *args: None, "returned None; is a return statement missing?"),
        (lambda *args: "boxes", "returned a str; expected a"),
        (lambda: 0, "takes 0 positional arguments"),
    ],
)
@pytest.mark.parametrize("name", TWO_STAGE)
def test_hostile_answers_are_survived(name, function, message):
    verdict = said(name, function, 0.3 if function is loops else PATIENCE)
    assert verdict.status == "wrong"
    assert message in verdict.text
    assert len(str(verdict)) < 2_500


def test_the_packages_classes_are_out_of_bounds():
    boxes = torch.tensor([[0.0, 0, 4, 4]])
    coder = BoxCoder()
    for function, name in (
        (lambda: BoxCoder(), "BoxCoder"),
        (lambda: coder.encode(boxes, boxes), "BoxCoder.encode"),
        (lambda: _utils.BoxCoder((1.0, 1.0, 1.0, 1.0)), "BoxCoder"),
        (lambda: bilinear_sample(boxes[None], boxes[0], boxes[0]), "bilinear_sample"),
        (lambda: decode_deltas(boxes, boxes), "decode_deltas"),
    ):
        with _calls_noted(()) as used:
            function()
        assert name in used
