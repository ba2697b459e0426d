"""Pascal VOC's AP against numbers computed by hand, and against a slow reference."""

import numpy as np
import pytest
import torch
from pytest import approx

from detlearn.metrics import error_analysis, voc_ap, voc_metrics


def detection(boxes, scores, labels=None):
    labels = [0] * len(boxes) if labels is None else labels
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        "scores": torch.tensor(scores, dtype=torch.float64),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }


def target(boxes, labels=None, **more):
    labels = [0] * len(boxes) if labels is None else labels
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        **{key: torch.tensor(value) for key, value in more.items()},
    }


# ----------------------------------------------------------------------------------- the area


def test_area_under_right_wrong_right_of_three():
    """Recall 1/3 at precision 1, 2/3 at 2/3: 1/3 + 2/9; and four levels at 1, three at 2/3."""
    recall, precision = [1 / 3, 1 / 3, 2 / 3], [1, 1 / 2, 2 / 3]
    assert voc_ap(recall, precision) == approx(5 / 9, abs=1e-15)
    assert voc_ap(recall, precision, "11-point") == approx((4 * 1 + 3 * 2 / 3) / 11, abs=1e-15)


def test_curve_is_made_monotone():
    assert voc_ap([0.5, 0.5, 1.0], [0.2, 0.1, 0.6]) == approx(0.6)
    assert voc_ap(torch.tensor([0.5, 1.0]), torch.tensor([0.25, 0.5]), "11-point") == approx(0.5)


def test_a_recall_of_exactly_three_tenths_misses_the_fourth_level():
    """The official levels are multiples of a float: 0.30000000000000004 > 0.3."""
    assert voc_ap([0.3], [1.0], "11-point") == approx(3 / 11)
    assert voc_ap([np.arange(0, 1.1, 0.1)[3]], [1.0], "11-point") == approx(4 / 11)


def test_empty_curve_has_no_area():
    assert voc_ap([], []) == 0
    assert voc_ap([], [], "11-point") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5], [0.5, 0.5]), r"recall has shape \(1,\), precision \(2,\)"),
        (([0.5, 0.2], [0.5, 0.5]), "recall must not fall"),
        (([0.5], [1.5]), "precision must lie between 0 and 1"),
        (([np.nan], [0.5]), "recall must lie between 0 and 1"),
        (([0.5], [0.5], "12-point"), "got '12-point'"),
    ],
)
def test_voc_ap_refuses_what_is_no_curve(arguments, message):
    with pytest.raises(ValueError, match=message):
        voc_ap(*arguments)


# ----------------------------------------------------------------------------------- the rules


def test_overlap_must_exceed_the_threshold():
    wanted = target([[0, 0, 10, 10]])
    assert voc_metrics([detection([[0, 0, 10, 5]], [0.9])], [wanted], 1).mean_ap == 0
    assert voc_metrics([detection([[0, 0, 10, 5.01]], [0.9])], [wanted], 1).mean_ap == 1


def test_only_the_best_overlap_counts():
    """COCO would give the second detection the free object, which it overlaps by .6."""
    wanted = target([[0, 0, 10, 10], [0, 0, 10, 6]])
    found = detection([[0, 0, 10, 10], [0, 0, 10, 10]], [0.9, 0.8])
    result = voc_metrics([found], [wanted], 1)
    recall, precision = result.curves[0]
    assert recall.tolist() == [0.5, 0.5]
    assert precision.tolist() == [1, 0.5]
    assert result.mean_ap == 0.5


def test_of_two_equal_overlaps_the_first_counts():
    """The same box twice, once difficult: which of the two is claimed decides everything."""
    found = detection([[0, 0, 10, 10]], [0.9])
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10]]
    assert voc_metrics([found], [target(boxes, difficult=[True, False])], 1).mean_ap == 0
    assert voc_metrics([found], [target(boxes, difficult=[False, True])], 1).mean_ap == 1


def test_difficult_objects_neither_help_nor_hurt():
    wanted = target([[0, 0, 10, 10], [50, 50, 60, 60]], difficult=[False, True])
    twice = detection([[50, 50, 60, 60], [50, 50, 60, 60], [0, 0, 10, 10]], [0.9, 0.8, 0.7])
    assert voc_metrics([twice], [wanted], 1).mean_ap == 1
    assert voc_metrics([twice], [target(wanted["boxes"].tolist())], 1).mean_ap == approx(5 / 6)
    crowd = target(wanted["boxes"].tolist(), iscrowd=[0, 1])
    assert voc_metrics([twice], [crowd], 1).mean_ap == 1


def test_a_crowd_overlaps_like_any_box():
    """COCO would let the crowd swallow the first detection; VOC knows no crowds."""
    wanted = target([[0, 0, 10, 10], [100, 100, 200, 200]], iscrowd=[0, 1])
    found = detection([[100, 100, 110, 110], [0, 0, 10, 10]], [0.9, 0.8])
    assert voc_metrics([found], [wanted], num_classes=1).mean_ap == approx(0.5)


def test_classes_without_objects_are_left_out():
    found = detection([[0, 0, 10, 10]] * 2, [0.9, 0.8], [0, 1])
    result = voc_metrics([found], [target([[0, 0, 10, 10]])], 3, class_names=["boat", "car", "bus"])
    assert result.ap_per_class.tolist() == [1, -1, -1]
    assert result.mean_ap == 1
    assert "| boat | 100.0 |" in result._repr_markdown_()
    assert "| car | – |" in result._repr_markdown_()
    assert repr(result) == "VocMetrics(mean_ap=1.0000)"
    assert voc_metrics([], [], 1).mean_ap == -1


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="iou_threshold must be at least 0 and below 1, got 1"):
        voc_metrics([], [], 1, iou_threshold=1.0)
    with pytest.raises(ValueError, match="detections for 0 images but targets for 1"):
        voc_metrics([], [target([])], 1)


# ------------------------------------------------------------------------------ slow reference


def slow_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def slow_voc(detections, targets, label, threshold, method):
    """One class, one detection at a time, as section 4.2 of the paper tells it."""
    rows = [
        (score, image, box)
        for image, found in enumerate(detections)
        for box, score, k in zip(*(found[key].tolist() for key in ("boxes", "scores", "labels")))
        if k == label
    ]
    rows.sort(key=lambda row: -row[0])
    easy = [
        (image, j)
        for image, wanted in enumerate(targets)
        for j in range(len(wanted["labels"]))
        if wanted["labels"][j] == label and not wanted["difficult"][j]
    ]
    if not easy:
        return -1.0
    taken, right, recalls, precisions = set(), 0, [], []
    for _, image, box in rows:
        wanted, best, claimed = targets[image], threshold, None
        for j, (other, k) in enumerate(zip(wanted["boxes"].tolist(), wanted["labels"])):
            if k == label and slow_iou(box, other) > best:
                best, claimed = slow_iou(box, other), (image, j)
        if claimed is not None and wanted["difficult"][claimed[1]]:
            continue
        right += claimed is not None and claimed not in taken
        taken.add(claimed)
        recalls.append(right / len(easy))
        precisions.append(right / (len(recalls)))
    if method == "11-point":
        levels = [i * 0.1 for i in range(11)]
        reached = [[p for r, p in zip(recalls, precisions) if r >= level] for level in levels]
        return sum(max(found, default=0) for found in reached) / 11
    area, last = 0.0, 0.0
    for i, recall in enumerate(recalls):
        area += (recall - last) * max(precisions[i:])
        last = recall
    return area


@pytest.mark.parametrize("method", ["every-point", "11-point"])
@pytest.mark.parametrize("seed", range(15))
def test_equals_a_slow_reference(seed, method):
    """Whole numbers, so that overlaps and scores tie and lie on the threshold."""
    rng = np.random.default_rng(seed)

    def boxes(n):
        corner = rng.integers(0, 3, (n, 2)) * 4
        return np.concatenate([corner, corner + rng.integers(1, 6, (n, 2)) * 4], axis=1)

    detections, targets = [], []
    for _ in range(6):
        n, m = rng.integers(0, 5), rng.integers(0, 12)
        hard = rng.random(n) < 0.3
        targets.append(target(boxes(n), rng.integers(0, 3, n), difficult=hard))
        detections.append(detection(boxes(m), rng.integers(0, 5, m) / 4, rng.integers(0, 3, m)))
    threshold = float(rng.choice([0.3, 0.5, 0.75]))
    result = voc_metrics(detections, targets, 3, iou_threshold=threshold, method=method)
    expected = [slow_voc(detections, targets, k, threshold, method) for k in range(3)]
    np.testing.assert_allclose(result.ap_per_class, expected, rtol=0, atol=1e-12)


# --------------------------------------------------------------- faults that were not noticed once


def test_a_class_beyond_those_of_the_objects_is_no_class_of_the_next_image():
    """Numbered by image · 2 + class, class 3 of image 0 would be class 1 of image 1."""
    box = [[0, 0, 10, 10]]
    found = [detection(box, [0.9], [3]), detection(box, [0.8], [1])]
    wanted = [target([]), target(box, [1])]
    assert voc_metrics(found, wanted, num_classes=4).ap_per_class.tolist() == [-1, 1, -1, -1]
    kinds = error_analysis(found, wanted, num_classes=4).detection_kinds
    assert [kind.tolist() for kind in kinds] == [["background"], ["right"]]


def test_an_overlap_a_hair_above_the_threshold_is_enough():
    """IoU = 1 / (2 − 1e-13), which is .5 + 2.5e-14."""
    found, wanted = detection([[0, 0, 1, 1]], [0.9]), target([[0, 0, 1, 2 - 1e-13]])
    assert voc_metrics([found], [wanted], num_classes=1).mean_ap == 1
