"""Suppression: hand-computed cases, torchvision and plain loops as oracles."""

import math

import pytest
import torch
import torchvision.ops as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from detlearn import nms as module
from detlearn.boxes import box_iou
from detlearn.nms import batched_nms, naive_nms, nms, soft_nms


def crowd(count: int, seed: int, clusters: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes in clumps, as a detector puts them out before suppression, partly at negative x, y."""
    generator = torch.Generator().manual_seed(seed)
    centres = (torch.rand(clusters, 2, generator=generator) - 0.3) * 400
    which = torch.randint(clusters, (count,), generator=generator)
    middle = centres[which] + torch.randn(count, 2, generator=generator) * 8
    half = 10 + torch.rand(count, 2, generator=generator) * 30
    return torch.cat((middle - half, middle + half), dim=1), torch.rand(count, generator=generator)


def whole_number_crowd(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes on a small grid, scores in tenths: many equal scores, many IoUs at the thresholds."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 8, (count, 2), generator=generator)
    size = torch.randint(1, 11, (count, 2), generator=generator)
    scores = torch.randint(0, 11, (count,), generator=generator) / 10
    return torch.cat((corner, corner + size), dim=1).float(), scores


# --- by hand ---------------------------------------------------------------------------------

# The second has IoU 0.6 with the first, the third 2/3 with the second and 0.4 with the first.
CHAIN = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4], [50, 50, 60, 60]])


@pytest.mark.parametrize("suppress", [nms, naive_nms])
def test_nms_by_hand(suppress):
    scores = torch.tensor([0.9, 0.8, 0.7, 0.95])
    # The first drops the second, which therefore cannot drop the third.
    assert suppress(CHAIN, scores, 0.5).tolist() == [3, 0, 2]
    assert suppress(CHAIN, scores, 0.3).tolist() == [3, 0]
    assert suppress(CHAIN, scores, 0.7).tolist() == [3, 0, 1, 2]
    # With the second on top, both its neighbours go.
    assert suppress(CHAIN, torch.tensor([0.8, 0.9, 0.7, 0.1]), 0.5).tolist() == [1, 3]


@pytest.mark.parametrize("suppress", [nms, naive_nms])
def test_equality_keeps_both(suppress):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])  # IoU exactly 1/2
    scores = torch.tensor([0.9, 0.8])
    assert suppress(boxes, scores, 0.5).tolist() == [0, 1]
    assert suppress(boxes, scores, 0.4999).tolist() == [0]
    assert suppress(boxes[[0, 0]], scores, 1.0).tolist() == [0, 1]


def test_equal_scores_are_taken_in_the_order_given():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 0, 60, 10], [50, 0, 60, 9]])
    assert nms(boxes, torch.ones(4), 0.5).tolist() == [0, 2]
    labels = torch.tensor([7, 7, 3, 3])
    assert batched_nms(boxes, torch.ones(4), labels, 0.5).tolist() == [0, 2]


def test_classes_leave_each_other_alone():
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 4)
    scores, labels = torch.tensor([0.6, 0.9, 0.7, 0.8]), torch.tensor([0, 5, 5, 0])
    assert batched_nms(boxes, scores, labels, 0.5).tolist() == [1, 3]


def test_a_long_chain_is_settled_exactly():
    """Each box drops the next, unless it was dropped: the answer needs a round per link."""
    steps = torch.arange(100.0)[:, None]
    boxes = torch.cat((steps * 2, steps * 0, steps * 2 + 10, steps * 0 + 10), dim=1)
    scores = torch.linspace(1, 0.1, 100)
    # Neighbours: I = 80, U = 120; next but one: I = 60, U = 140.
    assert nms(boxes, scores, 0.5).tolist() == list(range(0, 100, 2))


# --- against torchvision and the naive twin --------------------------------------------------


@pytest.mark.parametrize("make", [crowd, whole_number_crowd])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.6, 1.0])
def test_nms_equals_torchvision_and_its_naive_twin(make, threshold, monkeypatch):
    for seed, count in enumerate((1, 2, 60)):
        boxes, scores = make(count, seed)
        wanted = naive_nms(boxes, scores, threshold)
        assert torch.equal(wanted, oracle.nms(boxes, scores, threshold))
        for block in (1, 7, 256):
            monkeypatch.setattr(module, "BLOCK", block)
            assert torch.equal(nms(boxes, scores, threshold), wanted)


def one_class_at_a_time(boxes, scores, labels, threshold) -> torch.Tensor:
    """torchvision's kernel on each class by itself, merged by score."""
    kept = torch.zeros(len(boxes), dtype=torch.bool)
    for label in labels.unique():
        members = torch.where(labels == label)[0]
        kept[members[oracle.nms(boxes[members], scores[members], threshold)]] = True
    order = scores.argsort(descending=True, stable=True)
    return order[kept[order]]


@pytest.mark.parametrize("make", [crowd, whole_number_crowd])
@pytest.mark.parametrize("classes", [1, 3, 80])
@pytest.mark.parametrize("block", [5, 256])
def test_batched_nms_equals_nms_of_each_class(make, classes, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    for seed in range(3):
        boxes, scores = make(150, seed)
        labels = torch.randint(classes, (150,), generator=torch.Generator().manual_seed(seed))
        expected = one_class_at_a_time(boxes, scores, labels, 0.4)
        assert torch.equal(batched_nms(boxes, scores, labels, 0.4), expected)
        # Shifted to where torchvision's offset is right, it agrees too.
        shifted = boxes - boxes.min() + 1
        theirs = oracle.batched_nms(shifted.double(), scores.double(), labels, 0.4)
        if make is crowd:  # in whole numbers, its offset moves IoUs across the threshold
            assert torch.equal(batched_nms(shifted.double(), scores, labels, 0.4), theirs)


def test_batched_nms_with_negative_coordinates():
    boxes = torch.tensor([[-10.0, -10, -1, -1]] * 2)
    scores, labels = torch.tensor([0.9, 0.8]), torch.tensor([0, 1])
    assert batched_nms(boxes, scores, labels, 0.5).tolist() == [0, 1]
    assert oracle.batched_nms(boxes, scores, labels, 0.5).tolist() == [0]  # the known fault


def test_batched_nms_where_an_offset_eats_the_digits():
    """Class 1000 at coordinates of a million: the offset is 1e9, where a float32 counts by 64."""
    boxes = torch.tensor([[1e6, 1e6, 1e6 + 20, 1e6 + 20], [1e6, 1e6 + 16, 1e6 + 20, 1e6 + 36]])
    scores, labels = torch.tensor([0.9, 0.8]), torch.tensor([1000, 1000])
    assert batched_nms(boxes, scores, labels, 0.3).tolist() == [0, 1]  # I = 80, U = 720
    # In a crowd of such boxes the trick answers otherwise than class by class, ours does not.
    boxes, scores = crowd(300, 0)
    labels = torch.arange(300) % 50 * 1000
    boxes = boxes - boxes.min() + 1e5
    expected = one_class_at_a_time(boxes, scores, labels, 0.5)
    assert torch.equal(batched_nms(boxes, scores, labels, 0.5), expected)
    assert not torch.equal(oracle.batched_nms(boxes, scores, labels, 0.5), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 10**6), st.floats(0, 1), st.integers(1, 4))
def test_what_suppression_means(count, seed, threshold, classes):
    """No two kept boxes of a class overlap too much; each dropped one has a better kept rival."""
    boxes, scores = whole_number_crowd(count, seed)
    labels = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))
    kept = batched_nms(boxes, scores, labels, threshold)
    assert (scores[kept].diff() <= 0).all()
    rivals = (oracle.box_iou(boxes, boxes).double() > threshold) & (labels[:, None] == labels)
    among_kept = rivals[kept][:, kept]
    assert among_kept.sum() == among_kept.diagonal().sum()
    dropped = torch.ones(count, dtype=torch.bool)
    dropped[kept] = False
    better = scores[kept][:, None] >= scores[dropped]
    assert (rivals[kept][:, dropped] & better).any(dim=0).all()


def test_empty_input():
    boxes, scores = torch.zeros(0, 4), torch.zeros(0)
    labels = torch.zeros(0, dtype=torch.int64)
    expected = oracle.nms(boxes, scores, 0.5)
    assert_close(nms(boxes, scores, 0.5), expected)
    assert_close(naive_nms(boxes, scores, 0.5), expected)
    assert_close(batched_nms(boxes, scores, labels, 0.5), expected)
    keep, decayed = soft_nms(boxes, scores)
    assert_close(keep, expected)
    assert_close(decayed, scores)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_dtypes(dtype):
    boxes, scores = CHAIN.to(dtype), torch.tensor([0.9, 0.8, 0.7, 0.95])
    assert nms(boxes, scores, 0.5).tolist() == [3, 0, 2]
    if dtype.is_floating_point:
        assert nms(boxes, scores.to(dtype), 0.5).tolist() == [3, 0, 2]
        keep, decayed = soft_nms(boxes, scores.to(dtype))
        assert keep.tolist() == [3, 0, 2, 1]
        assert decayed.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_boxes_that_carry_a_gradient():
    boxes, scores = crowd(20, 0)
    assert not soft_nms(boxes.requires_grad_(), scores.requires_grad_())[1].requires_grad
    assert len(nms(boxes, scores, 0.5)) > 0


def test_memory_stays_bounded(monkeypatch):
    """5 000 boxes that all survive: never more than BLOCK columns of overlaps at a time."""
    largest = 0

    def counting(boxes1, boxes2):
        nonlocal largest
        overlaps = box_iou(boxes1, boxes2)
        largest = max(largest, overlaps.numel())
        return overlaps

    monkeypatch.setattr(module, "box_iou", counting)
    x = torch.arange(5000.0)[:, None] * 10
    boxes = torch.cat((x, x * 0, x + 9, x * 0 + 9), dim=1)
    assert len(nms(boxes, torch.rand(5000), 0.5)) == 5000
    assert largest <= 5000 * module.BLOCK


# --- Soft-NMS --------------------------------------------------------------------------------


def soft_nms_in_plain_python(boxes, scores, sigma, threshold, method, iou_threshold):
    """The paper's pseudo-code on lists, with a swap-free search for the maximum in each round."""
    boxes, scores = boxes.tolist(), dict(enumerate(scores.tolist()))
    keep, decayed = [], []
    while scores:
        best = max(scores, key=lambda i: (scores[i], -i))
        if scores[best] < threshold:
            break
        keep.append(best)
        decayed.append(scores.pop(best))
        x1, y1, x2, y2 = boxes[best]
        for i in scores:
            u1, v1, u2, v2 = boxes[i]
            shared = max(0, min(x2, u2) - max(x1, u1)) * max(0, min(y2, v2) - max(y1, v1))
            iou = shared / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared)
            if method == "gaussian":
                scores[i] *= math.exp(-(iou**2) / sigma)
            elif iou > iou_threshold:
                scores[i] *= 1 - iou
    return keep, decayed


@pytest.mark.parametrize(
    ("method", "decayed"), [("linear", 0.32), ("gaussian", 0.8 * math.exp(-0.72))]
)
def test_soft_nms_by_hand(method, decayed):
    # IoU 0.6, score 0.8: linear 0.8 · 0.4, Gaussian 0.8 · exp(−0.36 / 0.5) = 0.389
    keep, scores = soft_nms(CHAIN[:2], torch.tensor([0.9, 0.8]), method=method)
    assert keep.tolist() == [0, 1]
    assert_close(scores, torch.tensor([0.9, decayed]))


def test_soft_nms_selects_anew_after_each_decay():
    boxes = CHAIN[[0, 1, 3]]  # the second falls from 0.8 below the third's 0.5
    keep, scores = soft_nms(boxes, torch.tensor([0.9, 0.8, 0.5]), method="linear")
    assert keep.tolist() == [0, 2, 1]
    assert_close(scores, torch.tensor([0.9, 0.5, 0.32]))


def test_soft_nms_decays_add_up():
    # The third box has IoU 0.4 with the first and 2/3 with the second: 0.7 · 0.6 · 1/3.
    keep, scores = soft_nms(CHAIN[:3], torch.tensor([0.99, 0.98, 0.2]), method="linear")
    assert keep.tolist() == [0, 1, 2]
    assert_close(scores, torch.tensor([0.99, 0.98 * 0.4, 0.2 * 0.6 / 3]))


def test_linear_leaves_small_overlaps_alone_and_gaussian_does_not():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 2.5]])  # IoU exactly 1/4
    scores = torch.tensor([0.9, 0.8])
    for limit, expected in ((0.3, 0.8), (0.25, 0.8), (0.2, 0.6)):  # strictly above the limit
        _, decayed = soft_nms(boxes, scores, method="linear", iou_threshold=limit)
        assert_close(decayed[1].item(), expected)
    _, decayed = soft_nms(boxes, scores, sigma=0.25)
    assert_close(decayed[1].item(), 0.8 * math.exp(-0.25))


def test_soft_nms_leaves_out_what_falls_below_the_threshold():
    scores = torch.tensor([0.9, 0.8])
    assert soft_nms(CHAIN[:2], scores, threshold=0.38)[0].tolist() == [0, 1]
    assert soft_nms(CHAIN[:2], scores, threshold=0.39)[0].tolist() == [0]
    assert soft_nms(CHAIN[:2], scores, threshold=0.95)[0].tolist() == []
    boxes = CHAIN[[0, 3]]
    assert soft_nms(boxes, torch.tensor([0.5, 0.25]), threshold=0.25)[0].tolist() == [0, 1]


@pytest.mark.parametrize("method", ["gaussian", "linear"])
@pytest.mark.parametrize("sigma", [0.5, 0.1])
@pytest.mark.parametrize("threshold", [0.001, 0.2])
def test_soft_nms_equals_plain_python(method, sigma, threshold):
    for seed in range(6):
        for make in (crowd, whole_number_crowd):
            boxes, scores = (t.double() for t in make(40, seed))
            keep, decayed = soft_nms(
                boxes, scores, sigma, threshold, method=method, iou_threshold=0.3
            )
            expected = soft_nms_in_plain_python(boxes, scores, sigma, threshold, method, 0.3)
            assert keep.tolist() == expected[0]
            assert decayed.tolist() == pytest.approx(expected[1], abs=1e-12)
            assert (decayed.diff() <= 0).all()


def test_soft_nms_leaves_its_arguments_alone():
    boxes, scores = crowd(20, 0)
    before = boxes.clone(), scores.clone()
    soft_nms(boxes, scores)
    assert torch.equal(boxes, before[0]) and torch.equal(scores, before[1])


# --- errors at the door ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "suppress",
    [
        nms,
        naive_nms,
        lambda b, s, t: batched_nms(b, s, torch.zeros(3), t),
        lambda b, s, t: soft_nms(b, s, iou_threshold=t),
    ],
)
def test_bad_boxes_scores_and_thresholds(suppress):
    boxes, scores = torch.zeros(3, 4), torch.zeros(3)
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        suppress(boxes[:, :3], scores, 0.5)
    with pytest.raises(ValueError, match=r"\(N, 4\), got \(1, 3, 4\)"):
        suppress(boxes[None], scores, 0.5)
    with pytest.raises(ValueError, match=r"scores.*\(3,\).*\(2,\)"):
        suppress(boxes, scores[:2], 0.5)
    with pytest.raises(ValueError, match=r"scores.*\(3, 1\)"):
        suppress(boxes, scores[:, None], 0.5)
    with pytest.raises(ValueError, match=r"iou_threshold.*NaN"):
        suppress(boxes, scores, math.nan)
    with pytest.raises(TypeError, match="list"):
        suppress(boxes.tolist(), scores, 0.5)
    with pytest.raises(TypeError, match=r"scores.*list"):
        suppress(boxes, scores.tolist(), 0.5)


def test_bad_arguments_of_batched_and_soft_nms():
    boxes, scores = torch.zeros(3, 4), torch.zeros(3)
    with pytest.raises(ValueError, match=r"idxs.*\(3,\), got \(2,\)"):
        batched_nms(boxes, scores, torch.zeros(2), 0.5)
    with pytest.raises(ValueError, match=r"'cosine'.*gaussian, linear"):
        soft_nms(boxes, scores, method="cosine")
    for sigma in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=rf"sigma.*{sigma}"):
            soft_nms(boxes, scores, sigma=sigma)
    with pytest.raises(ValueError, match=r"threshold.*NaN"):
        soft_nms(boxes, scores, threshold=math.nan)
