"""Average precision step by step, against numbers worked out by hand and against `coco_metrics`."""

import pytest
import torch

from detlearn.metrics.coco import coco_metrics
from detlearn.metrics.curves import average_precision, precision_recall, true_positives


def test_right_wrong_right_of_three_objects():
    # Recall 1/3 at precision 1, then 2/3 at precision 2/3: 34 levels (0 to 0.33) and 33 (to 0.66).
    objects = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 9], [60, 0, 70, 10], [20, 0, 30, 8]])
    right = true_positives(boxes, objects)
    assert right.tolist() == [True, False, True]
    precision, recall = precision_recall(torch.tensor([0.9, 0.8, 0.7]), right, 3)
    assert precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    ap = average_precision(precision, recall)
    assert ap.dtype == torch.float64
    assert ap.item() == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert round(ap.item(), 4) == 0.5545


def test_a_second_detection_of_an_object_is_wrong_even_if_it_fits_better():
    objects = torch.tensor([[0.0, 0, 10, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 6], [0, 0, 10, 10]])
    assert true_positives(boxes, objects).tolist() == [True, False]


def test_an_object_that_is_taken_leaves_the_next_one():
    objects = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10]])
    assert true_positives(boxes, objects).tolist() == [True, True]


def test_the_threshold_itself_counts():
    objects, boxes = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.0, 0, 10, 5]])
    assert true_positives(boxes, objects, 0.5).tolist() == [True]
    assert true_positives(boxes, objects, 0.51).tolist() == [False]


def test_nothing_found_and_nothing_to_find():
    none, box = torch.zeros(0, 4), torch.tensor([[0.0, 0, 1, 1]])
    assert true_positives(none, box).shape == (0,)
    assert true_positives(box, none).tolist() == [False]
    precision, recall = precision_recall(torch.zeros(0), torch.zeros(0).bool(), 4)
    assert precision.shape == recall.shape == (0,)
    assert average_precision(precision, recall) == 0


def test_all_found_at_once_is_one():
    assert average_precision(torch.ones(3), torch.tensor([1 / 3, 2 / 3, 1])) == pytest.approx(1)


@pytest.mark.parametrize("objects", [4, 10, 20, 25, 50, 100])
def test_a_recall_that_meets_a_level_exactly_reaches_it(objects):
    """Found 9 of 10: the level 0.90 counts, whatever the rounding of 9 / 10."""
    for found in range(1, objects + 1):
        where = torch.arange(objects) * 20.0
        boxes = torch.stack((where, where * 0, where + 10, where * 0 + 10), dim=1)
        labels, scores = torch.zeros(objects).long(), torch.linspace(1, 0.5, objects)
        target = [{"boxes": boxes, "labels": labels}]
        output = {"boxes": boxes[:found], "labels": labels[:found], "scores": scores[:found]}
        right = torch.ones(found, dtype=torch.bool)
        ours = average_precision(*precision_recall(scores[:found], right, objects))
        assert ours.item() == pytest.approx(coco_metrics([output], target, 1).ap50, abs=1e-9)


def random_images(random, images=8, classes=3):
    """Targets, and detections that hit about half of them."""
    targets, outputs = [], []
    for _ in range(images):
        count = int(torch.randint(0, 7, (), generator=random))
        corners = torch.rand(count, 2, generator=random) * 60
        boxes = torch.cat((corners, corners + 8 + 30 * torch.rand(count, 2, generator=random)), 1)
        labels = torch.randint(0, classes, (count,), generator=random)
        targets.append({"boxes": boxes, "labels": labels})
        near = boxes.repeat(3, 1) + 4 * torch.randn(3 * count, 4, generator=random)
        near[:, 2:] = torch.max(near[:, 2:], near[:, :2] + 1)
        scores = torch.rand(3 * count, generator=random)
        outputs.append({"boxes": near, "labels": labels.repeat(3), "scores": scores})
    return outputs, targets


def ap50(outputs, targets, label):
    scores, right, objects = [], [], 0
    for output, target in zip(outputs, targets):
        order = output["scores"].argsort(descending=True, stable=True)
        order = order[output["labels"][order] == label]
        gt_boxes = target["boxes"][target["labels"] == label]
        scores.append(output["scores"][order])
        right.append(true_positives(output["boxes"][order], gt_boxes))
        objects += len(gt_boxes)
    return average_precision(*precision_recall(torch.cat(scores), torch.cat(right), objects)).item()


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_coco_metrics_computes_for_each_class(seed):
    outputs, targets = random_images(torch.Generator().manual_seed(seed))
    by_class = coco_metrics(outputs, targets, 3).ap50_per_class
    ours = [ap50(outputs, targets, label) for label in range(3)]
    assert ours == pytest.approx(by_class, abs=1e-7)
    assert 0.2 < min(ours) < 0.7  # neither all right nor all wrong
