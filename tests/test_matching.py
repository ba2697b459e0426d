"""Matching and sampling: by hand, against torchvision where it is right, and where it is not."""

import pytest
import torch
from torchvision.models.detection._utils import (
    BalancedPositiveNegativeSampler as OracleSampler,
)
from torchvision.models.detection._utils import Matcher as Oracle

from detlearn.boxes import box_iou
from detlearn.matching import (
    BalancedPositiveNegativeSampler,
    Matcher,
    match_anchors,
    sample_anchors,
)

IOU = torch.tensor(
    [
        # anchor   0     1     2     3     4
        [0.75, 0.70, 0.50, 0.29, 0.00],
        [0.10, 0.20, 0.60, 0.30, 0.00],
    ]
)


def test_by_hand():
    assert Matcher(0.7, 0.3)(IOU).tolist() == [0, 0, -2, -2, -1]
    # Object 1 has no anchor of 0.7: its best one, number 2, is forced, and learns its own best.
    assert Matcher(0.7, 0.3, True)(IOU).tolist() == [0, 0, 1, -2, -1]
    assert Matcher(0.5, 0.5)(IOU).tolist() == [0, 0, 1, -1, -1]


def test_the_papers_thresholds_are_the_default():
    assert match_anchors(torch.tensor([[0.9, 0.69, 0.31, 0.29]])).tolist() == [0, -2, -2, -1]


def test_a_forced_anchor_keeps_its_own_object():
    iou = torch.tensor([[0.5, 0.1], [0.4, 0.2]])  # anchor 0 is the best of both objects
    assert Matcher(0.7, 0.3, True)(iou).tolist() == [0, -1]


def test_all_anchors_that_tie_for_an_object_are_forced():
    assert Matcher(0.7, 0.3, True)(torch.tensor([[0.4, 0.4, 0.1]])).tolist() == [0, 0, -1]


def test_an_anchor_that_falls_short_of_the_best_by_a_little_is_not_forced():
    assert match_anchors(torch.tensor([[0.4, 0.3999995, 0.1]])).tolist() == [0, -2, -1]


def test_an_object_that_no_anchor_touches_makes_none_positive():
    iou = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.8, 0.1, 0.0, 0.0]])
    assert Matcher(0.7, 0.3, True)(iou).tolist() == [1, -1, -1, -1]
    assert (Oracle(0.7, 0.3, True)(iou) >= 0).all(), "torchvision's fault, which we do not share"


@pytest.mark.parametrize("low_quality", [False, True])
@pytest.mark.parametrize("thresholds", [(0.7, 0.3), (0.5, 0.5), (0.5, 0.4)])
def test_equals_torchvision_where_every_object_is_touched(low_quality, thresholds):
    generator = torch.Generator().manual_seed(0)
    for count in (1, 3, 20):
        # In twentieths, so that ties and values at the thresholds are many; none is 0.
        iou = torch.randint(1, 21, (count, 60), generator=generator) / 20
        expected = Oracle(*thresholds, low_quality)(iou.clone())
        assert torch.equal(Matcher(*thresholds, low_quality)(iou), expected)


def test_empty():
    for low_quality in (False, True):
        matcher = Matcher(0.7, 0.3, low_quality)
        assert matcher(torch.zeros(0, 3)).tolist() == [-1, -1, -1]
        assert matcher(torch.zeros(2, 0)).tolist() == []
        assert matcher(torch.zeros(2, 0, 3)).tolist() == [[-1, -1, -1]] * 2


def test_a_padded_batch_equals_its_images():
    generator = torch.Generator().manual_seed(1)
    anchors = torch.rand(80, 2, generator=generator) * 50
    anchors = torch.cat((anchors, anchors + 8), dim=1)
    objects = [anchors[:n] + torch.rand(n, 4, generator=generator) * 3 for n in (0, 1, 5)]
    padded = torch.nn.utils.rnn.pad_sequence(objects, batch_first=True)
    together = Matcher(0.7, 0.3, True)(box_iou(padded, anchors))
    for boxes, matched in zip(objects, together):
        assert torch.equal(matched, Matcher(0.7, 0.3, True)(box_iou(boxes, anchors)))


def test_the_matrix_is_left_alone():
    before = IOU.clone()
    Matcher(0.7, 0.3, True)(IOU)
    assert torch.equal(IOU, before)


def test_errors():
    with pytest.raises(ValueError, match=r"low_threshold 0\.7 is above"):
        Matcher(0.3, 0.7)
    with pytest.raises(ValueError, match=r"\(4,\): expected \(N, P\)"):
        Matcher(0.7, 0.3)(torch.zeros(4))


# --- the sample ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("positive", "negative", "chosen"),
    [(100, 1000, (8, 8)), (3, 1000, (3, 13)), (100, 2, (8, 2)), (0, 5, (0, 5)), (0, 0, (0, 0))],
)
def test_counts(positive, negative, chosen):
    labels = torch.cat(
        (torch.full((positive,), 3), torch.zeros(negative).long(), torch.full((50,), -1))
    )
    (picked,), (dropped,) = BalancedPositiveNegativeSampler(16, 0.5)([labels])
    assert (int(picked.sum()), int(dropped.sum())) == chosen
    assert (labels[picked.bool()] >= 1).all() and (labels[dropped.bool()] == 0).all()


def test_a_sample_by_hand():
    labels = torch.tensor([-1, 3, -2, 0, -1, -2, -1, 1])
    positive, negative = sample_anchors(labels, 100, 0.5)
    assert sorted(positive.tolist()) == [1, 3, 7] and sorted(negative.tolist()) == [0, 4, 6]
    positive, negative = sample_anchors(labels, 5, 0.5)
    assert (len(positive), len(negative)) == (2, 3)
    assert positive.dtype == negative.dtype == torch.int64
    assert [len(chosen) for chosen in sample_anchors(labels[:0], 5, 0.5)] == [0, 0]


def test_the_sampler_draws_what_the_function_draws():
    labels = torch.arange(300) % 7 - 2
    torch.manual_seed(3)
    positive, negative = sample_anchors(labels, 64, 0.25)
    torch.manual_seed(3)
    (picked,), (dropped,) = BalancedPositiveNegativeSampler(64, 0.25)([labels + 1])
    assert torch.equal(picked.nonzero()[:, 0], positive.sort().values)
    assert torch.equal(dropped.nonzero()[:, 0], negative.sort().values)


def test_each_is_drawn_equally_often():
    labels = torch.cat((torch.ones(10).long(), torch.zeros(30).long()))
    sampler = BalancedPositiveNegativeSampler(8, 0.25)
    torch.manual_seed(0)
    drawn = torch.zeros(40)
    for _ in range(2000):
        (positive,), (negative,) = sampler([labels])
        drawn += positive + negative
    # 2 of 10 and 6 of 30, so one in five of either; five standard deviations are 0.045.
    assert ((drawn / 2000 - 0.2).abs() < 0.045).all()


def test_same_seed_same_sample_as_torchvision():
    generator = torch.Generator().manual_seed(0)
    labels = [torch.randint(-1, 3, (200,), generator=generator) for _ in range(3)]
    torch.manual_seed(5)
    expected = OracleSampler(32, 0.25)(labels)
    torch.manual_seed(5)
    found = BalancedPositiveNegativeSampler(32, 0.25)(labels)
    for ours, theirs in zip(found, expected):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs))


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (([0, -1], 4, 0.5), TypeError, r"labels must be a torch.Tensor \(A,\), got list"),
        ((torch.zeros(3), 4, 0.5), TypeError, "labels must be int64, got torch.float32"),
        ((torch.ones(3).bool(), 4, 0.5), TypeError, "labels must be int64, got torch.bool"),
        ((torch.zeros(1, 3).long(), 4, 0.5), ValueError, r"of one image, \(A,\), got \(1, 3\)"),
        ((torch.tensor([0, -3]), 4, 0.5), ValueError, "labels hold -3: expected an object's"),
        ((torch.tensor([0]), -1, 0.5), ValueError, "batch_size must be 0 or more, got -1"),
        ((torch.tensor([0]), 4, 25), ValueError, "must be a share, in .*, got 25; a quarter is"),
        ((torch.tensor([0]), 4, -0.1), ValueError, "must be a share, in .*, got -0.1"),
        ((torch.tensor([0]), 4, float("nan")), ValueError, "must be a share, in .*, got nan"),
    ],
)
def test_samples_of_something_else_are_refused(wrong, error, words):
    with pytest.raises(error, match=words):
        sample_anchors(*wrong)


def test_the_ends_of_what_may_be_sampled():
    labels = torch.tensor([-2, -1, 0, 1])
    assert [len(chosen) for chosen in sample_anchors(labels, 0, 1)] == [0, 0]
    assert [len(chosen) for chosen in sample_anchors(labels, 4, 0)] == [0, 1]
    assert [len(chosen) for chosen in sample_anchors(labels, 2, 1)] == [2, 0]
