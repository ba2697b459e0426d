"""The second stage: sampling, labels, losses, detections."""

import math

import pytest
import torch
import torchvision.ops as oracle
from torch import nn
from torch.testing import assert_close

from detlearn.models.base import Detector
from detlearn.models.roi_heads import BoxPredictor, RoIHeads, RoISample, second_stage_loss


def heads(**options):
    """Heads whose pooling and layers are not used."""
    head = nn.Identity()
    head.out_channels = 4
    return RoIHeads(2, nn.Identity(), head, **options)


BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4], [40, 40, 50, 50]])
TARGET = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}
EMPTY = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}


def test_labels_by_hand():
    found = heads().label([BOXES, BOXES[:1]], [TARGET, EMPTY])
    assert found.labels.tolist() == [2, 2, 0, 0, 0]  # class 1 is 2 inside; IoU 0.4 is background
    assert_close(found.gt_boxes[:2], TARGET["boxes"].expand(2, 4))
    assert torch.equal(found.boxes[1], BOXES[:1])


def test_sample_contains_the_objects_and_keeps_the_share():
    stage = heads(batch_size_per_image=8, positive_fraction=0.25)
    noise = torch.rand(50, 2) * 30
    boxes = torch.cat((BOXES[2:], torch.cat((noise, noise + 3), 1) + 20))
    sample = stage.sample([boxes, boxes], [TARGET, EMPTY])
    first, second = sample.labels[:8], sample.labels[8:]
    assert (first > 0).sum() == 1, "the object's own box is the only positive"
    assert len(second) == 8 and (second == 0).all()
    assert any((box == TARGET["boxes"][0]).all() for box in sample.boxes[0])
    many = stage.sample([BOXES[:2].repeat(20, 1)], [TARGET])
    assert (many.labels > 0).sum() == 2, "at most a quarter"


def test_loss_by_hand():
    stage = heads()
    sample = RoISample([BOXES[[0, 3]]], torch.tensor([2, 0]), BOXES[[1, 3]])
    logits = torch.tensor([[0.0, 0, math.log(2)], [0.0, 0, 0]], requires_grad=True)
    deltas = torch.zeros(2, 3, 4, requires_grad=True)
    losses = stage.compute_loss(logits, deltas, sample)
    assert losses["loss_classifier"].item() == pytest.approx((math.log(2) + math.log(3)) / 2)
    # To box 1 from box 0: dy = −0.2 · 10 and dh = ln 0.6 · 5; |x| − 1/18 each; two samples.
    wanted = (2 - 1 / 18 + 5 * abs(math.log(0.6)) - 1 / 18) / 2
    assert losses["loss_box_reg"].item() == pytest.approx(wanted)
    losses["loss_box_reg"].backward()
    touched = deltas.grad.abs().sum(-1) > 0
    assert touched.tolist() == [[False, False, True], [False] * 3], "the own class's box alone"


def test_loss_equals_a_loop_over_proposals():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 4, generator=generator)
    deltas, wanted = torch.randn(40, 4, 4, generator=generator), torch.randn(40, 4)
    labels = torch.randint(4, (40,), generator=generator)
    wanted[labels == 0] = torch.nan  # what background should be is never read

    classes, boxes = 0.0, 0.0
    for i, label in enumerate(labels.tolist()):
        classes -= logits[i].log_softmax(dim=0)[label].item() / 40
        for pred, goal in zip(deltas[i, label].tolist(), wanted[i].tolist()):
            error = abs(pred - goal) if label > 0 else 0.0
            boxes += (4.5 * error**2 if error < 1 / 9 else error - 1 / 18) / 40
    found = second_stage_loss(logits, deltas, labels, wanted)
    assert [loss.item() for loss in found] == pytest.approx([classes, boxes], rel=1e-5)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"class_logits": torch.zeros(4)}, ValueError, r"\(R, K \+ 1\), got \(4,\)"),
        ({"class_logits": torch.zeros(3, 4).long()}, TypeError, "real numbers, got torch.int64"),
        ({"class_logits": [[0.0]]}, TypeError, "class_logits must be a tensor .*, got list"),
        ({"deltas": torch.zeros(3, 3, 4)}, ValueError, r"deltas must have shape \(3, 4, 4\), as"),
        ({"deltas": torch.zeros(3, 16)}, ValueError, r"deltas must .* got \(3, 16\)"),
        ({"deltas": torch.zeros(3, 1, 4)}, ValueError, r"deltas must .* got \(3, 1, 4\)"),
        ({"labels": torch.tensor([0, 3])}, ValueError, r"labels must have shape \(3,\), as"),
        (
            {"labels": torch.tensor([0, 4, 1])},
            ValueError,
            "labels hold 4: .* 1 … 3, the class",
        ),
        ({"labels": torch.tensor([0, -1, 1])}, ValueError, "labels hold -1: expected 0 for backg"),
        ({"labels": torch.zeros(3)}, TypeError, "labels must be an int64 .*, got torch.float32"),
        ({"labels": [0, 3, 1]}, TypeError, "labels must be an int64 tensor .*, got list"),
        ({"delta_targets": torch.zeros(2, 4)}, ValueError, r"delta_targets must .* got \(2, 4\)"),
        (
            {"delta_targets": torch.zeros(3, 4).long()},
            TypeError,
            "delta_targets .*torch.int64",
        ),
    ],
)
def test_losses_of_what_does_not_fit_are_refused(wrong, error, words):
    right = {
        "class_logits": torch.zeros(3, 4),
        "deltas": torch.zeros(3, 4, 4),
        "labels": torch.tensor([0, 3, 1]),
        "delta_targets": torch.zeros(3, 4),
    }
    assert second_stage_loss(**right)[0].item() == pytest.approx(math.log(4))
    with pytest.raises(error, match=words):
        second_stage_loss(**right | wrong)


def test_class_agnostic_loss_uses_the_only_box():
    stage = heads(class_agnostic=True)
    assert stage.box_predictor(torch.zeros(5, 4))[1].shape == (5, 1, 4)
    sample = RoISample([BOXES[[0]]], torch.tensor([2]), BOXES[[1]])
    deltas = torch.zeros(1, 1, 4, requires_grad=True)
    losses = stage.compute_loss(torch.zeros(1, 3), deltas, sample)
    losses["loss_box_reg"].backward()
    assert (deltas.grad[0, 0, [1, 3]] > 0).all()


def test_predictor_shapes():
    logits, deltas = BoxPredictor(4, 2)(torch.zeros(5, 4))
    assert logits.shape == (5, 3) and deltas.shape == (5, 3, 4)


def test_no_positive_gives_zero_box_loss_with_gradient():
    sample = RoISample([BOXES], torch.zeros(4).long(), BOXES)
    deltas = torch.randn(4, 3, 4, requires_grad=True)
    losses = heads().compute_loss(torch.randn(4, 3), deltas, sample)
    losses["loss_box_reg"].backward()
    assert losses["loss_box_reg"] == 0 and deltas.grad.abs().max() == 0


# --- detections ------------------------------------------------------------------------------


def naive_detections(boxes, scores, score_threshold, nms_threshold, limit):
    """Class by class, with torchvision's NMS."""
    found = []
    for k in range(scores.shape[1]):
        b, s = boxes[:, k], scores[:, k]
        good = (s > score_threshold) & ((b[:, 2:] - b[:, :2]) >= 1e-2).all(1)
        b, s = b[good], s[good]
        for i in oracle.nms(b, s, nms_threshold).tolist():
            found.append((s[i].item(), k, b[i].tolist()))
    return sorted(found, reverse=True)[:limit]


@pytest.mark.parametrize("max_candidates", [None, 1000])
@pytest.mark.parametrize("boxes_per_place", [1, 3])
@pytest.mark.parametrize("count", [40, 0, 25])
def test_detections_equal_the_naive_ones(count, boxes_per_place, max_candidates):
    generator = torch.Generator().manual_seed(count)
    corner = torch.rand(count, boxes_per_place, 2, generator=generator) * 20
    size = torch.rand(corner.shape, generator=generator) * 20 - 0.5
    boxes = torch.cat((corner, corner + size.clamp(min=0)), dim=-1)
    scores = torch.rand(count, 3, generator=generator)

    model = Detector(3, score_threshold=0.3, nms_threshold=0.4, max_detections=17)
    given = boxes[:, 0] if boxes_per_place == 1 else boxes
    found = model.select_detections(given, scores, max_candidates=max_candidates)

    wanted = naive_detections(boxes.expand(-1, 3, -1), scores, 0.3, 0.4, 17)
    assert found["labels"].tolist() == [k for _, k, _ in wanted]
    assert_close(found["scores"].tolist(), [s for s, _, _ in wanted])
    assert found["boxes"].tolist() == [b for _, _, b in wanted]
    assert found["boxes"].shape == (len(wanted), 4)


def test_only_the_best_candidates_go_into_nms():
    boxes = torch.tensor([[0.0, 0, 4, 4], [10, 0, 14, 4], [20, 0, 24, 4]])
    scores = torch.tensor([[0.5], [0.9], [0.7]])
    found = Detector(1).select_detections(boxes, scores, max_candidates=2)
    assert_close(found["scores"], torch.tensor([0.9, 0.7]))
