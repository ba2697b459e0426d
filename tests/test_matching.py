"""Matching and sampling: by hand, against torchvision where it is right, and where it is not."""

import itertools
import math
import statistics
from collections import namedtuple

import pytest
import torch
from torchvision.models.detection._utils import (
    BalancedPositiveNegativeSampler as OracleSampler,
)
from torchvision.models.detection._utils import Matcher as Oracle
from torchvision.ops import box_convert
from torchvision.ops import generalized_box_iou as torchvision_giou

from detlearn.anchors import make_anchors
from detlearn.boxes import box_iou
from detlearn.matching import (
    BalancedPositiveNegativeSampler,
    HungarianMatcher,
    Matcher,
    atss_assign,
    atss_positives,
    focal_matching_cost,
    match_anchors,
    matching_cost,
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


# --- adaptive training sample selection ------------------------------------------------------


def small_levels(height: int, width: int) -> tuple[torch.Tensor, list[int]]:
    """Anchors of an image at strides 4, 8 and 16, one a location, with sides of 8 strides."""
    levels = [
        make_anchors(height // stride, width // stride, stride, [8 * stride], [1.0])
        for stride in (4, 8, 16)
    ]
    return torch.cat(levels), [len(level) for level in levels]


def atss_by_loop(anchors, level_sizes, boxes, k=9) -> tuple[list[list[bool]], list[int]]:
    """The paper's algorithm 1 in plain Python: positives of each object, object of each anchor."""

    def centre(box):
        return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2

    def iou(a, b):
        width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
        height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
        return width * height / (sum(areas) - width * height)

    anchors, positives = anchors.tolist(), []
    best, assigned = [0.0] * len(anchors), [-1] * len(anchors)
    for i, box in enumerate(boxes.tolist()):
        x, y = centre(box)
        candidates, start = [], 0
        for size in level_sizes:
            order = sorted(
                range(start, start + size),
                key=lambda p: (centre(anchors[p])[0] - x) ** 2 + (centre(anchors[p])[1] - y) ** 2,
            )
            candidates += order[:k]
            start += size

        overlaps = {p: iou(box, anchors[p]) for p in candidates}
        spread = statistics.stdev(overlaps.values()) if len(overlaps) > 1 else 0
        threshold = statistics.mean(overlaps.values()) + spread if overlaps else math.inf
        chosen = [False] * len(anchors)
        for p, overlap in overlaps.items():
            px, py = centre(anchors[p])
            if overlap >= threshold and box[0] < px < box[2] and box[1] < py < box[3]:
                chosen[p] = True
                if overlap > best[p]:
                    best[p], assigned[p] = overlap, i
        positives.append(chosen)
    return positives, assigned


def test_atss_by_hand():
    # Four anchors of 4 × 4 on one level, centres at 2, 6, 10, 14; two of 8 × 8 on the next, at 4
    # and 12. With k = 2 an object over x from 1 to 7 has the first two of each as candidates.
    anchors = torch.cat((make_anchors(1, 4, 4, [4], [1.0]), make_anchors(1, 2, 8, [8], [1.0])))
    anchors[:4, 1::2] = torch.tensor([2.0, 6.0])  # all centres at a height of 4
    box = torch.tensor([1.0, 0, 7, 8])

    # IoUs 12/52, 12/52, 48/64 and 0: mean .3029, standard deviation .3173 (biased: .2748).
    assert atss_positives(anchors, [4, 2], box, k=2).tolist() == [False] * 4 + [True, False]

    # With k = 1 two candidates: their mean and spread together are more than either.
    assert not atss_positives(anchors, [4, 2], box, k=1).any()


def test_atss_takes_the_unbiased_spread():
    # Anchors on the object's centre. IoUs .04, .04, .04, .64 and .54: the mean is .26, the standard
    # deviation .303, biased .271, and the last lies between the two thresholds.
    half = torch.tensor([2.0, 2, 2, 8, 7.35])[:, None] / 2
    anchors = torch.cat((10 - half, 10 - half, 10 + half, 10 + half), dim=1)
    positive = atss_positives(anchors, [5], torch.tensor([5.0, 5, 15, 15]))
    assert positive.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("side", [9, 9.5, 10, 10.25, 11, 11.5])
def test_atss_equal_overlaps_are_all_positive(side):
    """An object far smaller than the anchors, each of which overlaps it alike: no spread at all.

    In float32 the mean of nine equal numbers often is the next larger one.
    """
    anchors = make_anchors(8, 8, 4, [30], [1.0])
    box = torch.tensor([14.0 - side / 2, 14 - side / 2, 14 + side / 2, 14 + side / 2])
    positive = atss_positives(anchors, [64], box)
    assert positive.view(8, 8).nonzero().tolist() == [[i, j] for i in (2, 3, 4) for j in (2, 3, 4)]
    assigned = atss_assign(anchors, [64], box[None, None], torch.ones(1, 1).bool())
    assert torch.equal(assigned[0] >= 0, positive)


def test_atss_of_equally_near_anchors_the_first_are_candidates():
    anchors = make_anchors(1, 4, 4, [4], [1.0])  # centres 2, 6, 10, 14: the object's is at 8
    box = torch.tensor([0.0, -2, 16, 6])
    assert atss_positives(anchors, [4], box, k=1).tolist() == [False, True, False, False]
    assigned = atss_assign(anchors, [4], box[None, None], torch.ones(1, 1).bool(), k=1)
    assert assigned.tolist() == [[-1, 0, -1, -1]]


def test_atss_the_centre_lies_strictly_inside():
    anchors = make_anchors(1, 2, 4, [4], [1.0])  # centres (2, 2) and (6, 2)
    for right, expected in ((6.0, False), (6.01, True)):
        # One anchor a level, so that each alone is far above the mean of zeros beside it.
        far = torch.tensor([[500.0, 500, 504, 504]] * 3)
        box = torch.tensor([5.0, 0, right, 4])
        positive = atss_positives(torch.cat((anchors, far)), [2, 1, 1, 1], box)
        assert positive[1].item() is expected


def random_objects(count: int, generator: torch.Generator, whole: bool) -> torch.Tensor:
    """Objects of an image of 64 × 48, small and large; on whole pixels many distances tie."""
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([60.0, 44.0])
    size = torch.rand(count, 2, generator=generator) ** 2 * 50 + 1
    boxes = torch.cat((corner, corner + size), dim=1)
    return boxes.round() + torch.tensor([0.0, 0, 1, 1]) if whole else boxes


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("k", [1, 3, 9, 17, 1000])
def test_atss_equals_the_loop(k, whole):
    generator = torch.Generator().manual_seed(k)
    anchors, sizes = small_levels(48, 64)
    images = [random_objects(n, generator, whole) for n in (0, 1, 12, 5)]
    images[2][3:6] = images[2][0]  # the same object four times
    images[2][6] = images[2][1] + 1e-3

    padded = torch.nn.utils.rnn.pad_sequence(images, batch_first=True, padding_value=7.0)
    real = torch.tensor([[i < len(boxes) for i in range(12)] for boxes in images])
    padded[1, 5] = torch.tensor([8.0, 8, 40, 40])  # padding that looks like an object
    assigned = atss_assign(anchors, sizes, padded, real, k=k)
    assert assigned.dtype == torch.int64

    for boxes, ours in zip(images, assigned):
        positives, expected = atss_by_loop(anchors, sizes, boxes, k)
        for box, positive in zip(boxes, positives):
            assert atss_positives(anchors, sizes, box, k).tolist() == positive
        assert ours.tolist() == expected


def test_atss_an_anchor_of_two_objects_goes_to_the_one_it_overlaps_most():
    anchors, sizes = small_levels(64, 64)
    boxes = torch.tensor([[[16.0, 16, 48, 48], [20.0, 20, 52, 52], [16.0, 16, 48, 48]]])
    assigned = atss_assign(anchors, sizes, boxes, torch.ones(1, 3).bool())[0]
    iou = box_iou(boxes[0], anchors)
    positive = torch.stack([atss_positives(anchors, sizes, box) for box in boxes[0]])
    both = (positive[0] & positive[1]).nonzero()[:, 0]
    assert len(both) > 0
    assert assigned[both].tolist() == (iou[1, both] > iou[0, both]).long().tolist()
    assert not (assigned == 2).any(), "the same object again goes without"


@pytest.mark.parametrize("sizes", [[4, 0, 1], [0, 4, 1], [4, 1, 0, 0]])
def test_atss_levels_may_be_empty(sizes):
    anchors = torch.cat((make_anchors(2, 2, 8, [8], [1.0]), make_anchors(1, 1, 16, [16], [1.0])))
    box = torch.tensor([1.0, 1, 15, 15])
    expected = atss_positives(anchors, [4, 1], box)
    assert expected.any()
    assert torch.equal(atss_positives(anchors, sizes, box), expected)
    assigned = atss_assign(anchors, sizes, box[None, None], torch.ones(1, 1).bool())
    assert torch.equal(assigned[0] >= 0, expected)


def test_atss_of_nothing_and_of_one_place():
    anchors, sizes = small_levels(64, 64)
    nothing = atss_assign(anchors, sizes, torch.zeros(2, 0, 4), torch.zeros(2, 0).bool())
    assert nothing.shape == (2, len(anchors))
    assert nothing.dtype == torch.int64
    assert (nothing == -1).all()

    box, real = torch.tensor([0.0, 0, 10, 10]), torch.ones(1, 1).bool()
    assert atss_positives(anchors[:0], [0, 0], box).tolist() == []
    assert atss_assign(anchors[:0], [0], box[None, None], real).tolist() == [[]]

    # A single place has no spread: it is its own threshold.
    one = torch.tensor([[0.0, 0, 16, 16]])
    assert atss_positives(one, [1], box).tolist() == [True]
    assert atss_assign(one, [1], box[None, None], real).tolist() == [[0]]
    assert atss_assign(one, [1], box[None, None], ~real).tolist() == [[-1]]


def test_atss_an_object_far_from_all_anchors_or_without_area_has_none():
    anchors, sizes = small_levels(32, 32)
    for box in ([500.0, 500, 510, 510], [8.0, 8, 8, 20], [6.0, 6, 6, 6]):
        box = torch.tensor(box)
        assert not atss_positives(anchors, sizes, box).any()
        assigned = atss_assign(anchors, sizes, box[None, None], torch.ones(1, 1).bool())
        assert (assigned == -1).all()


ANCHORS, BOX = torch.zeros(5, 4), torch.tensor([0.0, 0, 10, 10])


@pytest.mark.parametrize(
    ("anchors", "sizes", "k", "words"),
    [
        (ANCHORS[:, :3], [5], 9, r"anchors have shape \(5, 3\)"),
        (ANCHORS[:0], [], 9, r"level_sizes are \[\]"),
        (ANCHORS, [4], 9, r"level_sizes are \[4\].*5 in all"),
        (ANCHORS, [6, -1], 9, r"level_sizes are \[6, -1\]"),
        (ANCHORS, [5], 0, "k is 0"),
    ],
)
def test_atss_refuses(anchors, sizes, k, words):
    with pytest.raises(ValueError, match=words):
        atss_positives(anchors, sizes, BOX, k)
    with pytest.raises(ValueError, match=words):
        atss_assign(anchors, sizes, BOX[None, None], torch.ones(1, 1).bool(), k)


def test_atss_refuses_boxes_of_another_shape():
    with pytest.raises(ValueError, match=r"box has shape \(1, 4\): expected \(4,\)"):
        atss_positives(ANCHORS, [5], BOX[None])
    with pytest.raises(ValueError, match=r"boxes has shape \(1, 4\): expected \(1, 2, 4\)"):
        atss_assign(ANCHORS, [5], BOX[None], torch.ones(1, 2).bool())


# ---- queries and objects, one to one -------------------------------------------------------------


def set_case(seed, num_queries=7, counts=(3, 0, 5), num_classes=4, layers=()):
    """Random predictions of a batch, and targets with so many objects; boxes cxcywh in [0, 1]."""
    random = torch.Generator().manual_seed(seed)
    shape = (*layers, len(counts), num_queries)
    logits = torch.randn(*shape, num_classes + 1, generator=random)
    boxes = torch.rand(*shape, 4, generator=random)
    targets = [
        {
            "boxes": torch.rand(count, 4, generator=random),
            "labels": torch.randint(num_classes, (count,), generator=random),
        }
        for count in counts
    ]
    return logits, boxes, targets


def naive_cost(logits, pred, label, box, weights=(1, 5, 2)):
    """What one query costs one object, in double precision, with torchvision's GIoU."""
    probability = logits.double().softmax(dim=0)[label].item()
    distance = sum(abs(a - b) for a, b in zip(pred.double().tolist(), box.double().tolist()))
    corners = box_convert(torch.stack((pred, box)).double(), "cxcywh", "xyxy")
    giou = torchvision_giou(corners[:1], corners[1:]).item()
    return -weights[0] * probability + weights[1] * distance - weights[2] * giou


def naive_assign(logits, boxes, target, weights=(1, 5, 2)):
    """One image's cheapest assignment, all of them tried out."""
    cost = [
        [naive_cost(logits[q], boxes[q], label, box, weights) for q in range(len(logits))]
        for label, box in zip(target["labels"].tolist(), target["boxes"])
    ]  # object by query
    best, best_total = [], math.inf
    for queries in itertools.permutations(range(len(logits)), len(cost)):
        total = sum(cost[n][q] for n, q in enumerate(queries))
        if total < best_total:
            best, best_total = queries, total
    assigned = [-1] * len(logits)
    for n, q in enumerate(best):
        assigned[q] = n
    return assigned


class TestMatchingCost:
    def test_by_hand(self):
        """Probability ½; the box lies .1 to the right of an object of .2 × .2.

        Distance .1; intersection .1 · .2 = .02, union .06, nothing else enclosed: GIoU 1/3.
        """
        cost = matching_cost(
            torch.tensor([[0.0, -50, 0]]),
            torch.tensor([[0.5, 0.5, 0.2, 0.2]]),
            torch.tensor([0, 1]),
            torch.tensor([[0.4, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]]),
        )
        assert cost.shape == (1, 2)
        assert cost[0].tolist() == pytest.approx([-0.5 + 0.5 - 2 / 3, 0 + 0 - 2], abs=1e-6)

    @pytest.mark.parametrize("weights", [(1, 5, 2), (2, 5, 2), (0, 0, 1), (0, 1, 0), (3, 0, 0)])
    def test_against_pairs_one_by_one(self, weights):
        logits, boxes, (target,) = set_case(0, counts=(5,))
        found = matching_cost(
            logits[0],
            boxes[0],
            target["labels"],
            target["boxes"],
            cost_class=weights[0],
            cost_bbox=weights[1],
            cost_giou=weights[2],
        )
        for q in range(7):
            for n in range(5):
                expected = naive_cost(
                    logits[0, q], boxes[0, q], target["labels"][n], target["boxes"][n], weights
                )
                assert found[q, n].item() == pytest.approx(expected, abs=1e-5)

    def test_a_batch_and_its_layers(self):
        logits, boxes, targets = set_case(1, counts=(4, 4), layers=(3,))
        labels = torch.stack([target["labels"] for target in targets])
        objects = torch.stack([target["boxes"] for target in targets])
        found = matching_cost(logits, boxes, labels, objects)
        assert found.shape == (3, 2, 7, 4)
        for layer in range(3):
            for i in range(2):
                alone = matching_cost(logits[layer, i], boxes[layer, i], labels[i], objects[i])
                torch.testing.assert_close(found[layer, i], alone)

    def test_boxes_are_centres_and_sizes(self):
        """As corners these two would be the same box; as centres and sizes they lie apart."""
        boxes = torch.tensor([[0.2, 0.2, 0.1, 0.1]])
        cost = matching_cost(torch.zeros(1, 2), boxes, torch.tensor([0]), boxes, cost_class=0)
        assert cost.item() == pytest.approx(-2)

    def test_no_object(self):
        cost = matching_cost(
            torch.zeros(5, 3), torch.rand(5, 4), torch.zeros(0).long(), torch.zeros(0, 4)
        )
        assert cost.shape == (5, 0)

    def test_half_precision(self):
        logits, boxes, (target,) = set_case(2, counts=(3,))
        found = matching_cost(
            logits[0].bfloat16(), boxes[0].bfloat16(), target["labels"], target["boxes"]
        )
        expected = matching_cost(logits[0], boxes[0], target["labels"], target["boxes"])
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)

    def test_boxes_of_another_shape_are_refused(self):
        with pytest.raises(ValueError, match=r"pred_boxes must have shape \(\.\.\., 4\)"):
            matching_cost(
                torch.zeros(5, 3), torch.rand(5, 3), torch.zeros(1).long(), torch.zeros(1, 4)
            )


class TestFocalMatchingCost:
    def test_by_hand(self):
        """The box fits; p is ½ for class 0 and ¾ for class 1.

        Yes would cost α (1 − p)² (−ln p), no (1 − α) p² (−ln(1 − p)), with α = ¼.
        """
        box = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
        cost = focal_matching_cost(
            torch.tensor([[0.0, math.log(3)]]), box, torch.tensor([0, 1]), box.repeat(2, 1)
        )
        half = (1 / 4 - 3 / 4) * 1 / 4 * math.log(2)
        sure = 1 / 4 * 1 / 16 * math.log(4 / 3) - 3 / 4 * 9 / 16 * math.log(4)
        assert cost[0].tolist() == pytest.approx([2 * half - 2, 2 * sure - 2], abs=1e-6)

    @pytest.mark.parametrize("weights", [(2, 5, 2), (1, 0, 0), (0, 5, 2)])
    def test_against_transformers(self, weights):
        oracles = pytest.importorskip("transformers.loss.loss_deformable_detr")
        logits, boxes, targets = set_case(3, num_queries=6, counts=(3, 0, 5))
        found = HungarianMatcher(*weights, focal=True).assign(logits, boxes, targets)

        oracle = oracles.DeformableDetrHungarianMatcher(*weights)
        theirs = [{"class_labels": t["labels"], "boxes": t["boxes"]} for t in targets]
        pairs = oracle({"logits": logits, "pred_boxes": boxes}, theirs)
        for assigned, (queries, objects) in zip(found, pairs):
            expected = torch.full((6,), -1)
            expected[queries] = objects
            assert assigned.tolist() == expected.tolist()

    def test_padded_and_in_layers(self):
        logits, boxes, targets = set_case(4, counts=(3, 3, 3), layers=(2,))
        labels = torch.stack([t["labels"] for t in targets])
        objects = torch.stack([t["boxes"] for t in targets])
        found = focal_matching_cost(logits, boxes, labels, objects)
        for layer in range(2):
            for i in range(3):
                alone = focal_matching_cost(
                    logits[layer, i], boxes[layer, i], labels[i], objects[i]
                )
                assert torch.allclose(found[layer, i], alone, atol=1e-5)


class TestHungarianMatcher:
    def test_by_hand(self):
        """Both objects are cheapest for query 0; to give the second one to it costs less in all.

        One class; the two queries and the two objects differ in x alone, all are 1 wide, so the
        distances are .1 and .3 for object 0, and 0 and .6 for object 1 (before the weights).
        """
        matcher = HungarianMatcher(cost_class=0, cost_bbox=1, cost_giou=0)
        outputs = {
            "class_logits": torch.zeros(1, 2, 2),
            "pred_boxes": torch.tensor([[[0.5, 0.5, 1, 1], [0.1, 0.5, 1, 1]]]),
        }
        target = {
            "boxes": torch.tensor([[0.4, 0.5, 1, 1], [0.5, 0.5, 1, 1]]),
            "labels": torch.tensor([0, 0]),
        }
        ((queries, objects),) = matcher(outputs, [target])
        assert queries.tolist() == [0, 1] and objects.tolist() == [1, 0]

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("weights", [(1, 5, 2), (2, 5, 2), (4, 0, 1)])
    def test_against_all_assignments(self, seed, weights):
        logits, boxes, targets = set_case(seed, num_queries=5, counts=(3, 0, 5, 1))
        found = HungarianMatcher(*weights).assign(logits, boxes, targets)
        for i, target in enumerate(targets):
            expected = naive_assign(logits[i], boxes[i], target, weights)
            assert found[i].tolist() == expected

    def test_copies_are_objects_given_again(self):
        logits, boxes, targets = set_case(8, num_queries=9, counts=(3, 0, 2, 5))
        found = HungarianMatcher().assign(logits, boxes, targets, copies=2)
        again = [{k: torch.cat((v, v)) for k, v in t.items()} for t in targets]
        expected = HungarianMatcher().assign(logits, boxes, again)
        for i, target in enumerate(targets):
            count = len(target["labels"])
            wanted = [n % count if n >= 0 else -1 for n in expected[i].tolist()]
            assert found[i].tolist() == wanted
            if 2 * count <= 9:
                assert all(wanted.count(n) == 2 for n in range(count))

    def test_layers_at_once_are_layers_one_by_one(self):
        logits, boxes, targets = set_case(6, counts=(3, 0, 6, 1), layers=(4,))
        found = HungarianMatcher().assign(logits, boxes, targets)
        assert found.shape == (4, 4, 7) and found.dtype == torch.int64
        for layer in range(4):
            for i in range(4):
                alone = HungarianMatcher().assign(
                    logits[layer, i : i + 1], boxes[layer, i : i + 1], targets[i : i + 1]
                )
                assert found[layer, i].equal(alone[0])

    def test_pairs_are_what_the_queries_are_assigned(self):
        logits, boxes, targets = set_case(7)
        matcher = HungarianMatcher()
        assigned = matcher.assign(logits, boxes, targets)
        pairs = matcher({"class_logits": logits, "pred_boxes": boxes}, targets)
        assert len(pairs) == 3
        for i, (queries, objects) in enumerate(pairs):
            assert sorted(objects.tolist()) == list(range(len(targets[i]["labels"])))
            assert queries.tolist() == sorted(queries.tolist())
            assert assigned[i, queries].equal(objects)
            assert (assigned[i] >= 0).sum() == len(queries)

    def test_a_named_tuple(self):
        outputs_type = namedtuple("Outputs", ["class_logits", "pred_boxes", "sizes"])
        logits, boxes, targets = set_case(8)
        pairs = HungarianMatcher()(outputs_type(logits, boxes, None), targets)
        expected = HungarianMatcher()({"class_logits": logits, "pred_boxes": boxes}, targets)
        assert [pair[0].tolist() for pair in pairs] == [pair[0].tolist() for pair in expected]

    @pytest.mark.parametrize("counts", [(0,), (0, 0), (2, 0)])
    def test_an_image_without_objects_has_whole_numbers(self, counts):
        logits, boxes, targets = set_case(9, counts=counts)
        pairs = HungarianMatcher()({"class_logits": logits, "pred_boxes": boxes}, targets)
        for (queries, objects), count in zip(pairs, counts):
            assert queries.dtype == objects.dtype == torch.int64
            assert len(queries) == len(objects) == count
        queries, objects = pairs[-1]
        assert logits[-1][queries].shape == (0, 5) and targets[-1]["boxes"][objects].shape == (0, 4)

    def test_more_objects_than_queries(self):
        """All queries have one each, and what they leave fits worse."""
        logits, boxes, targets = set_case(10, num_queries=2, counts=(5,))
        ((queries, objects),) = HungarianMatcher()(
            {"class_logits": logits, "pred_boxes": boxes}, targets
        )
        assert queries.tolist() == [0, 1] and len(set(objects.tolist())) == 2
        cost = matching_cost(logits[0], boxes[0], targets[0]["labels"], targets[0]["boxes"])
        total = cost[queries, objects].sum()
        for pair in itertools.permutations(range(5), 2):
            assert total <= cost[queries, list(pair)].sum() + 1e-6

    def test_no_gradient_flows(self):
        logits, boxes, targets = set_case(11)
        assigned = HungarianMatcher().assign(logits.requires_grad_(), boxes, targets)
        assert not assigned.requires_grad

    @pytest.mark.parametrize(
        ("name", "value"),
        [("class_logits", math.nan), ("class_logits", math.inf), ("pred_boxes", math.nan)],
    )
    def test_values_that_are_not_finite_say_where_to_look(self, name, value):
        logits, boxes, targets = set_case(12)
        {"class_logits": logits, "pred_boxes": boxes}[name][1, 2, 3] = value
        with pytest.raises(ValueError, match=f"{name} are not finite.*Look at the loss.*rate"):
            HungarianMatcher().assign(logits, boxes, targets)

    def test_inverted_boxes_say_where_to_look(self):
        logits, boxes, targets = set_case(13)
        boxes[1, 2] = torch.tensor([0.5, 0.5, 0.25, -0.125])
        message = r"pred_boxes hold \[0.5, 0.5, 0.25, -0.125\].*\(cx, cy, w, h\).*box_convert"
        with pytest.raises(ValueError, match=message):
            HungarianMatcher().assign(logits, boxes, targets)

    @pytest.mark.parametrize("value", [-0.125, math.nan])
    def test_objects_of_negative_or_no_size_too(self, value):
        logits, boxes, targets = set_case(14)
        targets[2]["boxes"][1, 2] = value
        with pytest.raises(ValueError, match=rf"the targets' boxes hold .*{value}"):
            HungarianMatcher().assign(logits, boxes, targets)

    def test_another_number_of_targets_is_refused(self):
        logits, boxes, targets = set_case(15)
        with pytest.raises(ValueError, match=r"\(3, 7, 5\) for 2 target"):
            HungarianMatcher().assign(logits, boxes, targets[:2])

    @pytest.mark.parametrize("weights", [(0, 0, 0), (1, -1, 0)])
    def test_weights_that_cannot_be_are_refused(self, weights):
        with pytest.raises(ValueError, match="expected none below 0"):
            HungarianMatcher(*weights)

    def test_the_papers_weights_are_the_default(self):
        matcher = HungarianMatcher()
        assert (matcher.cost_class, matcher.cost_bbox, matcher.cost_giou) == (1, 5, 2)
