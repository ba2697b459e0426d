"""COCO metrics against numbers computed by hand, and against pycocotools."""

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detlearn.metrics import coco_metrics, evaluate, predict
from detlearn.metrics.results import IOU_THRESHOLDS, RECALL_LEVELS


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


def to_xywh(box):
    x1, y1, x2, y2 = box.double().tolist()
    return [x1, y1, x2 - x1, y2 - y1]


def pycocotools_eval(detections, targets, num_classes, first_id=1):
    """The same question put to pycocotools."""
    annotations, results = [], []
    for image, (found, wanted) in enumerate(zip(detections, targets)):
        for i, (box, label) in enumerate(zip(wanted["boxes"], wanted["labels"])):
            box = to_xywh(box)
            area = wanted["area"][i].item() if "area" in wanted else box[2] * box[3]
            crowd = int(wanted["iscrowd"][i]) if "iscrowd" in wanted else 0
            annotations.append(
                {"id": first_id + len(annotations), "image_id": image, "category_id": int(label)}
                | {"bbox": box, "area": area, "iscrowd": crowd}
            )
        for box, score, label in zip(found["boxes"], found["scores"], found["labels"]):
            results.append(
                {"image_id": image, "category_id": int(label)}
                | {"bbox": to_xywh(box), "score": score.item()}
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": image} for image in range(len(targets))],
            "categories": [{"id": label} for label in range(num_classes)],
            "annotations": annotations,
        }
        truth.createIndex()
        if results:
            found = truth.loadRes(results)
        else:  # loadRes cannot take an empty list
            found = COCO()
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        result = COCOeval(truth, found, "bbox")
        result.evaluate()
        result.accumulate()
        result.summarize()
    return result


def assert_equals_pycocotools(detections, targets, num_classes):
    ours = coco_metrics(detections, targets, num_classes)
    theirs = pycocotools_eval(detections, targets, num_classes)
    np.testing.assert_allclose(list(ours.to_dict().values()), theirs.stats, rtol=0, atol=1e-12)
    precision = theirs.eval["precision"][..., -1]  # for 100 detections
    np.testing.assert_allclose(ours.precision, precision, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.recall, theirs.eval["recall"], rtol=0, atol=1e-12)
    return ours


# ------------------------------------------------------------------------------------ by hand


def test_right_wrong_right_of_three_objects():
    """Recall 1/3 at precision 1 (34 levels), 2/3 at precision 2/3 (33 levels), then nothing."""
    found = detection([[0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 30, 30]], [0.9, 0.8, 0.7])
    wanted = target([[0, 0, 10, 10], [20, 20, 30, 30], [80, 80, 90, 90]])
    result = coco_metrics([found], [wanted], num_classes=1)
    assert result.ap50 == pytest.approx((34 * 1 + 33 * 2 / 3) / 101, abs=1e-12)
    assert result.ap50 == pytest.approx(0.5545, abs=1e-4)
    assert result.ar1 == pytest.approx(1 / 3)
    assert result.ar100 == pytest.approx(2 / 3)
    recall, precision = result.pr_curve(0)
    assert recall.tolist() == RECALL_LEVELS.tolist()
    np.testing.assert_allclose(precision, [1] * 34 + [2 / 3] * 33 + [0] * 34)


def fuzz_case(rng):
    num_images, num_classes = rng.integers(1, 6), rng.integers(1, 5)
    size = rng.choice([40, 130, 400])
    detections, targets = [], []
    for _ in range(num_images):
        n = rng.integers(0, 9)
        corner = rng.integers(0, size, (n, 2)).astype(float)
        sides = rng.integers(1, size, (n, 2)).astype(float)
        boxes = np.concatenate([corner, corner + sides], 1)
        wanted = target(boxes, rng.integers(0, num_classes, n))
        if rng.random() < 0.5:
            share = rng.choice([1.0, 0.5, 1.5], n)
            area = np.where(rng.random(n) < 0.2, 32.0**2, sides.prod(1) * share)
            wanted["area"] = torch.tensor(area)
        if rng.random() < 0.5:
            wanted["iscrowd"] = torch.tensor(rng.random(n) < 0.3)
        targets.append(wanted)
        m = rng.choice([0, 3, 20, 130])
        if n:
            near = boxes[rng.integers(0, n, m)]
            near = near + rng.normal(0, size / 40, near.shape) * rng.choice([0, 1, 3], (m, 1))
        else:
            near = rng.random((m, 4)) * size
        near = np.concatenate(
            [np.minimum(near[:, :2], near[:, 2:]), np.maximum(near[:, :2], near[:, 2:])], 1
        )
        scores = rng.random(m)
        if rng.random() < 0.5:
            scores = np.round(scores, 1)
        detections.append(detection(near, scores, rng.integers(0, num_classes, m)))
    return detections, targets, int(num_classes) + int(rng.integers(0, 2))


@pytest.mark.parametrize("seed", range(60))
def test_equals_pycocotools_on_random_scenes(seed):
    assert_equals_pycocotools(*fuzz_case(np.random.default_rng(seed)))
