"""COCO metrics against numbers computed by hand, and against pycocotools."""

import contextlib
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pytest import approx
from torch import nn

from detlearn.metrics import coco_metrics, evaluate, predict
from detlearn.metrics.summary import RECALL_LEVELS
from detlearn.models import BUILDERS, ImageBatcher, create


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
    """The same question put to pycocotools; images keep the ids that they have."""
    image_ids = [int(wanted.get("image_id", i)) for i, wanted in enumerate(targets)]
    annotations, results = [], []
    for image, found, wanted in zip(image_ids, detections, targets):
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
            "images": [{"id": image} for image in image_ids],
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
    assert result.ap50 == approx((34 * 1 + 33 * 2 / 3) / 101, abs=1e-12)
    assert result.ap50 == approx(0.5545, abs=1e-4)
    assert result.ar1 == approx(1 / 3)
    assert result.ar100 == approx(2 / 3)
    recall, precision = result.pr_curve(0)
    assert recall.tolist() == RECALL_LEVELS.tolist()
    np.testing.assert_allclose(precision, [1] * 34 + [2 / 3] * 33 + [0] * 34)


def test_ap_counts_the_thresholds_that_are_reached():
    """IoU .72 is right at .50, .55, .60, .65 and .70, wrong at the other five."""
    result = coco_metrics(
        [detection([[0, 0, 10, 7.2]], [0.9])], [target([[0, 0, 10, 10]])], num_classes=1
    )
    assert result.ap == approx(0.5)
    assert (result.ap50, result.ap75) == approx((1, 0))
    assert result.ar100 == approx(0.5)
    assert result.pr_curve(0, iou_threshold=0.7)[1].tolist() == approx([1] * 101)
    assert result.pr_curve(0, iou_threshold=0.75)[1].tolist() == [0] * 101


def test_limit_of_100_detections_is_per_image_and_class():
    corner = torch.arange(100).double()[:, None] * 20
    boxes = torch.cat([corner, corner, corner + 10, corner + 10], dim=1).repeat(2, 1)
    labels = torch.arange(2).repeat_interleave(100)
    found = {"boxes": boxes, "labels": labels, "scores": torch.rand(200)}
    result = coco_metrics([found], [{"boxes": boxes, "labels": labels}], num_classes=2)
    assert result.ap == approx(1)
    assert result.ar1 == approx(0.01)
    assert result.ar10 == approx(0.1)
    assert result.ar100 == 1

    wrong = detection([[5000, 0, 5001, 1]] * 100, [2.0] * 100)  # 100 better-scored false alarms
    merged = {key: torch.cat([found[key], wrong[key].to(found[key])]) for key in found}
    result = coco_metrics([merged], [{"boxes": boxes, "labels": labels}], num_classes=2)
    assert result.ap_per_class.tolist() == approx([0, 1])


def test_a_square_of_32_is_small_and_medium():
    box = [[0, 0, 32, 32]]
    result = coco_metrics([detection(box, [0.5])], [target(box)], num_classes=1)
    assert (result.ap_small, result.ap_medium, result.ap_large) == approx((1, 1, -1))


def test_the_area_field_decides_the_size_of_an_object():
    box = [[0, 0, 100, 100]]  # large as a box, small as a mask
    result = coco_metrics([detection(box, [0.5])], [target(box, area=[900.0])], num_classes=1)
    assert (result.ap_small, result.ap_medium, result.ap_large) == approx((1, -1, -1))


def test_a_detection_takes_the_best_object_still_free():
    """The second overlaps the first object best (IoU 1), which is taken, and the other at .6."""
    wanted = target([[0, 0, 10, 10], [0, 0, 10, 6]])
    found = detection([[0, 0, 10, 10], [0, 0, 10, 10]], [0.9, 0.8])
    result = coco_metrics([found], [wanted], num_classes=1)
    assert result.ap50 == approx(1)
    assert result.ap75 == approx(51 / 101)


def test_a_crowd_swallows_detections_and_need_not_be_found():
    """Inside the crowd the overlap is intersection / own area = 1, though the IoU is .01."""
    wanted = target([[0, 0, 10, 10], [100, 100, 200, 200]], iscrowd=[0, 1])
    inside = [[100, 100, 110, 110], [150, 150, 160, 160]]
    found = detection([*inside, [0, 0, 10, 10]], [0.9, 0.8, 0.7])
    result = coco_metrics([found], [wanted], num_classes=1)
    assert (result.ap, result.ar100) == approx((1, 1))
    wanted["iscrowd"][:] = 0
    result = coco_metrics([found], [wanted], num_classes=1)
    assert result.ap == approx(51 / 101 / 3)  # recall 1/2 at precision 1/3


def test_equal_scores_rank_in_the_order_given():
    boxes = [[0, 0, 10, 10], [50, 50, 60, 60]]
    wanted = target(boxes[:1])
    right_first = coco_metrics([detection(boxes, [0.5, 0.5])], [wanted], num_classes=1)
    wrong_first = coco_metrics([detection(boxes[::-1], [0.5, 0.5])], [wanted], num_classes=1)
    assert (right_first.ap, wrong_first.ap) == approx((1, 0.5))
    right, wrong = detection(boxes[:1], [0.5]), detection(boxes[1:], [0.5])
    nothing = target([])
    assert coco_metrics([right, wrong], [wanted, nothing], num_classes=1).ap == approx(1)
    assert coco_metrics([wrong, right], [nothing, wanted], num_classes=1).ap == approx(0.5)


def test_nothing_to_measure_is_minus_one():
    nothing = detection([], [])
    for detections, targets in ([], []), ([nothing], [target([])]), ([], []):
        result = coco_metrics(detections, targets, num_classes=3)
        assert set(result.to_dict().values()) == {-1}
        assert result.ap_per_class.tolist() == [-1, -1, -1]
    result = coco_metrics([nothing], [target([[0, 0, 5, 5]], [1])], num_classes=3)
    assert (result.ap, result.ap_small, result.ap_large) == (0, 0, -1)
    assert result.ap50_per_class.tolist() == [-1, 0, -1]


def test_annotation_id_zero_misleads_pycocotools_but_not_us():
    box = [[0, 0, 10, 10]]
    detections, targets = [detection(box, [0.9])], [target(box)]
    assert coco_metrics(detections, targets, num_classes=1).ap == approx(1)
    assert pycocotools_eval(detections, targets, 1, first_id=1).stats[0] == approx(1)
    assert pycocotools_eval(detections, targets, 1, first_id=0).stats[0] == 0


# ------------------------------------------------------------------------- against pycocotools


def random_targets(rng, size, num_classes):
    n = rng.integers(0, 9)
    corner = rng.integers(0, size, (n, 2)).astype(float)
    sides = rng.integers(1, size, (n, 2)).astype(float)
    boxes = np.concatenate([corner, corner + sides], axis=1)
    wanted = target(boxes, rng.integers(0, num_classes, n))
    if rng.random() < 0.5:
        area = sides.prod(axis=1) * rng.choice([1.0, 0.5, 1.5], n)
        wanted["area"] = torch.tensor(np.where(rng.random(n) < 0.2, 32.0**2, area))
    if rng.random() < 0.5:
        wanted["iscrowd"] = torch.tensor(rng.random(n) < 0.3)
    return wanted


def random_detections(rng, wanted, size, num_classes, most=130):
    m = rng.choice([0, 3, 20, most])
    boxes = rng.random((m, 4)) * size
    if len(wanted["boxes"]):
        boxes = wanted["boxes"].numpy()[rng.integers(0, len(wanted["boxes"]), m)]
        boxes = boxes + rng.normal(0, size / 40, (m, 4)) * rng.choice([0, 1, 3], (m, 1))
    boxes = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1
    )
    scores = rng.random(m)
    if rng.random() < 0.5:
        scores = np.round(scores, 1)  # ties
    return detection(boxes, scores, rng.integers(0, num_classes, m))


def random_scenes(seed, most=130):
    """Crowds, area fields, ties, over 100 detections, absent classes, empty images, 32²."""
    rng = np.random.default_rng(seed)
    num_images, num_classes = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    size = rng.choice([40, 130, 400])
    targets = [random_targets(rng, size, num_classes) for _ in range(num_images)]
    detections = [random_detections(rng, t, size, num_classes, most) for t in targets]
    return detections, targets, num_classes + int(rng.integers(0, 2))


@pytest.mark.parametrize("seed", range(40))
def test_equals_pycocotools_on_random_scenes(seed):
    assert_equals_pycocotools(*random_scenes(seed))


def grid_scenes(seed):
    """Small whole numbers: IoUs tie, and lie exactly on .5, .6, .75, .8 and 1."""
    rng = np.random.default_rng(seed)

    def boxes(n):
        corner = rng.integers(0, 3, (n, 2)) * 8
        return np.concatenate([corner, corner + rng.integers(1, 6, (n, 2)) * 8], axis=1)

    detections, targets = [], []
    for _ in range(4):
        n, m = rng.integers(0, 7), rng.integers(0, 30)
        targets.append(target(boxes(n), iscrowd=rng.random(n) < 0.2))
        detections.append(detection(boxes(m), rng.integers(0, 4, m) / 4))
    return detections, targets, 1


@pytest.mark.parametrize("seed", range(40))
def test_equals_pycocotools_where_overlaps_tie(seed):
    assert_equals_pycocotools(*grid_scenes(seed))


@pytest.mark.parametrize("seed", range(10))
def test_equals_pycocotools_in_float32(seed):
    """Coordinates that float32 rounds; the doubles of both sides must then agree in every bit."""
    detections, targets, num_classes = grid_scenes(seed)
    for entry in detections + targets:
        entry["boxes"] = (entry["boxes"].float() / 7 + 0.1).float()
    for entry in detections:
        entry["scores"] = entry["scores"].float()
    assert_equals_pycocotools(detections, targets, num_classes)


def test_a_threshold_met_in_the_last_bit_is_decided_as_pycocotools_decides():
    """x1 + (x2 - x1) is not x2 in floating point; hundreds of boxes whose IoU is .5 on paper."""
    rng = np.random.default_rng(0)
    x, y, w, h = rng.random((4, 400)) * 100
    whole = np.stack([x, y, x + w, y + h], axis=1)
    half = np.stack([x, y, x + w / 2, y + h], axis=1)
    targets = [target(box[None]) for box in whole]
    detections = [detection(box[None], [score]) for box, score in zip(half, rng.random(400))]
    result = assert_equals_pycocotools(detections, targets, 1)
    assert 0.1 < result.recall[0, 0, 0, 2] < 0.9  # some fall on either side


def test_equal_scores_in_different_images_rank_by_image_id():
    """The wrong one is in image 7, which the file lists first, the right one in image 3."""
    box = [[0, 0, 10, 10]]
    found = [detection(box, [0.5]), detection(box, [0.5])]
    wanted = [target([], image_id=7), target(box, image_id=3)]
    assert assert_equals_pycocotools(found, wanted, 1).ap == approx(1)
    assert assert_equals_pycocotools(found[::-1], wanted[::-1], 1).ap == approx(1)

    # The other way round the wrong one goes first: half of what is found is right.
    wanted = [target([], image_id=3), target(box, image_id=7)]
    assert assert_equals_pycocotools(found, wanted, 1).ap == approx(0.5)

    # Where an image has no id, the order given decides.
    wanted = [target([]), target(box, image_id=3)]
    assert coco_metrics(found, wanted, 1).ap == approx(0.5)


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_whatever_the_order_of_the_images(seed):
    detections, targets, num_classes = random_scenes(seed)
    for found in detections:
        found["scores"] = found["scores"].round(decimals=1)  # many ties
    generator = np.random.default_rng(seed)
    for wanted, image_id in zip(targets, generator.permutation(1000)):
        wanted["image_id"] = torch.tensor(image_id)

    before = assert_equals_pycocotools(detections, targets, num_classes)
    order = generator.permutation(len(targets))
    after = coco_metrics([detections[i] for i in order], [targets[i] for i in order], num_classes)
    np.testing.assert_array_equal(before.precision, after.precision)


def test_equals_pycocotools_where_scores_tie_across_images():
    """Thirty cases of the longer search in tests/fuzz."""
    path = Path(__file__).parent / "fuzz" / "fuzz_metric_ties.py"
    spec = importlib.util.spec_from_file_location("fuzz_metric_ties", path)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    assert fuzz.run(num_cases=30, seed=1) == []


def test_an_image_id_of_two_numbers_is_refused():
    with pytest.raises(ValueError, match=r"targets\[0\]\['image_id'\]"):
        coco_metrics([detection([], [])], [target([], image_id=[1, 2])], 1)


def test_printed_summary_is_that_of_pycocotools():
    detections, targets, num_classes = random_scenes(7)
    theirs = pycocotools_eval(detections, targets, num_classes)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        theirs.summarize()
    ours = str(coco_metrics(detections, targets, num_classes))
    assert ours.splitlines() == printed.getvalue().splitlines()


def test_pairs_found_in_small_chunks_are_the_same(monkeypatch):
    detections, targets, num_classes = random_scenes(3)
    whole = coco_metrics(detections, targets, num_classes)
    monkeypatch.setattr("detlearn.metrics.pairs.PAIRS_PER_CHUNK", 5)
    pieces = coco_metrics(detections, targets, num_classes)
    np.testing.assert_array_equal(whole.precision, pieces.precision)
    np.testing.assert_array_equal(whole.recall, pieces.recall)


# --------------------------------------------------------------------------------- the result


def test_tables_name_the_classes():
    result = coco_metrics(
        [detection([[0, 0, 10, 10]], [0.9], [1])],
        [target([[0, 0, 10, 10]], [1])],
        num_classes=2,
        class_names=["boat", "house"],
    )
    table = result._repr_markdown_()
    assert "| house | 100.0 | 100.0 |" in table
    assert "| boat | – | – |" in table
    assert repr(result) == "CocoMetrics(ap=1.0000, ap50=1.0000, ap75=1.0000)"
    assert list(result.to_dict()) == [
        *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
        *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
    ]
    assert all(type(value) is float for value in result.to_dict().values())


def test_pr_curve_refuses_what_was_not_measured():
    result = coco_metrics([], [], num_classes=2)
    with pytest.raises(ValueError, match="label must be 0 to 1, got 2"):
        result.pr_curve(2)
    with pytest.raises(ValueError, match=r"iou_threshold must be one of .* got 0.52"):
        result.pr_curve(0, iou_threshold=0.52)
    with pytest.raises(ValueError, match=r"area must be one of .* got 'huge'"):
        result.pr_curve(0, area="huge")
    with pytest.raises(ValueError, match="got 1 class_names for num_classes=2"):
        coco_metrics([], [], num_classes=2, class_names=["boat"])


# ----------------------------------------------------------------------------------- the door

GOOD_DETECTION = detection([[0, 0, 1, 1]], [0.5])
GOOD_TARGET = target([[0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scores": None}, ValueError, r"detections\[1\] lacks \['scores'\]"),
        ({"boxes": [[0, 0, 1, 1]]}, TypeError, r"detections\[1\]\['boxes'\] is a list"),
        (
            {"boxes": torch.zeros(1, 5)},
            ValueError,
            r"detections\[1\]\['boxes'\] has shape \(1, 5\); expected \(N, 4\)",
        ),
        (
            {"boxes": torch.zeros(2, 4)},
            ValueError,
            r"\['labels'\] has shape \(1,\); expected \(2,\)",
        ),
        ({"scores": torch.zeros(1, 1)}, ValueError, r"\['scores'\] has shape \(1, 1\)"),
        ({"labels": torch.zeros(1, 1).long()}, ValueError, r"\['labels'\] has shape \(1, 1\)"),
        ({"labels": torch.tensor([0.0])}, TypeError, r"\['labels'\] has dtype torch.float32"),
        (
            {"labels": torch.tensor([2])},
            ValueError,
            r"detections\[1\]\['labels'\]\[0\] = 2 is no label in 0 … 1",
        ),
        ({"labels": torch.tensor([-1])}, ValueError, r"\['labels'\]\[0\] = -1 is no label"),
        (
            {"scores": torch.tensor([torch.nan])},
            ValueError,
            r"detections\[1\]\['scores'\]\[0\] = nan is not finite",
        ),
        ({"boxes": torch.tensor([[0, 0, torch.inf, 1]])}, ValueError, r"\['boxes'\]\[0\] = .*inf"),
        (
            {"boxes": torch.tensor([[5.0, 0, 4, 1]])},
            ValueError,
            r"\[5.0, 0.0, 4.0, 1.0\].*x1 <= x2",
        ),
    ],
)
def test_bad_detections_are_named(change, error, message):
    bad = {key: value for key, value in {**GOOD_DETECTION, **change}.items() if value is not None}
    with pytest.raises(error, match=message):
        coco_metrics([GOOD_DETECTION, bad], [GOOD_TARGET] * 2, num_classes=2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": None}, ValueError, r"targets\[1\] lacks \['labels'\]"),
        ({"boxes": torch.tensor([[0, 5.0, 1, 4]])}, ValueError, r"targets\[1\]\['boxes'\]\[0\]"),
        ({"area": torch.zeros(2)}, ValueError, r"targets\[1\]\['area'\] has shape \(2,\)"),
        ({"area": torch.tensor([torch.nan])}, ValueError, r"targets\[1\]\['area'\]\[0\] = nan"),
        ({"iscrowd": [0]}, TypeError, r"targets\[1\]\['iscrowd'\] is a list"),
    ],
)
def test_bad_targets_are_named(change, error, message):
    bad = {key: value for key, value in {**GOOD_TARGET, **change}.items() if value is not None}
    with pytest.raises(error, match=message):
        coco_metrics([GOOD_DETECTION] * 2, [GOOD_TARGET, bad], num_classes=2)


def test_the_place_of_a_fault_is_counted_within_its_image():
    two, three = target([[0, 0, 1, 1]] * 2), target([[0, 0, 1, 1]] * 3, area=[1.0, torch.nan, 1.0])
    nothing = [detection([], [])] * 3
    with pytest.raises(ValueError, match=r"targets\[2\]\['area'\]\[1\] = nan"):
        coco_metrics(nothing, [two, two, three], num_classes=1)
    three = target([[0, 0, 1, 1], [0, 0, 1, 1], [3, 0, 2, 1]])
    with pytest.raises(ValueError, match=r"targets\[2\]\['boxes'\]\[2\] = \[3.0, 0.0, 2.0, 1.0\]"):
        coco_metrics(nothing, [two, two, three], num_classes=1)


def test_bad_lists_are_refused():
    with pytest.raises(ValueError, match="detections for 1 images but targets for 2"):
        coco_metrics([GOOD_DETECTION], [GOOD_TARGET] * 2, num_classes=1)
    with pytest.raises(TypeError, match=r"detections\[0\] is a Tensor; expected a dictionary"):
        coco_metrics([torch.zeros(1, 4)], [GOOD_TARGET], num_classes=1)
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        coco_metrics([], [], num_classes=0)


# ------------------------------------------------------------------------ running a detector


class Scenes(torch.utils.data.Dataset):
    """Five images that hold nothing but their own number. They are of one size."""

    class_names = ("boat", "house")

    def __len__(self):
        return 5

    def __getitem__(self, i):
        return torch.full((3, 8, 12), float(i)), target([[i, i, i + 4, i + 4]], [i % 2])


class Oracle(nn.Module):
    """A model that reads the number from the image and answers as told."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))
        self.frozen = nn.BatchNorm2d(3)
        self.batches = []

    def forward(self, images):
        assert not self.training and not self.frozen.training
        assert torch.is_inference_mode_enabled()
        self.batches.append(len(images))
        results = []
        for i in (int(image[0, 0, 0]) for image in images):
            result = detection([[i, i, i + 4, i + 4]], [0.5], [i % 2])
            result = {key: value.to(self.shift.device) for key, value in result.items()}
            results.append({**result, "boxes": result["boxes"] + self.shift})
        return results


def test_evaluate_measures_the_whole_data_set():
    model = Oracle()
    result = evaluate(model, Scenes(), batch_size=2, progress=False)
    assert result.ap == approx(1)
    assert result.class_names == ("boat", "house")
    assert model.batches == [2, 2, 1]
    assert evaluate(Oracle(shift=20.0), Scenes(), progress=False).ap == 0


def test_predict_keeps_the_order_of_the_images():
    detections = predict(Oracle(), Scenes(), batch_size=3, progress=False)
    assert [d["boxes"][0, 0].item() for d in detections] == [0, 1, 2, 3, 4]


class Mixed(torch.utils.data.Dataset):
    """Images of given sizes; the first pixel is the image's number, divided by 1000."""

    class_names = ("boat", "house")

    def __init__(self, *sizes):
        self.sizes, self.read = sizes, []

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, i):
        self.read.append(i)
        image = torch.rand(3, *self.sizes[i], generator=torch.Generator().manual_seed(i))
        image[0, 0, 0] = i / 1000
        return image, target([[i, i, i + 4, i + 4]], [i % 2])


class Recorder(nn.Module):
    """A model that keeps the numbers of the images of each batch, and may have a batcher."""

    def __init__(self, batcher=None):
        super().__init__()
        if batcher:
            self.batcher = batcher
        self.batches = []

    def forward(self, images):
        numbers = [round(float(image[0, 0, 0]) * 1000) for image in images]
        self.batches.append(numbers)
        return [detection([[i, i, i + 4, i + 4]], [0.5], [i % 2]) for i in numbers]


# Padded to a multiple of 32 the sizes 0, 2, 3 and 5 are equal, and 1 and 4.
SIX_SIZES = [(20, 40), (33, 40), (32, 64), (1, 33), (64, 64), (32, 64)]


def test_images_of_one_padded_size_go_together_and_answers_keep_their_order():
    data, model = Mixed(*SIX_SIZES), Recorder(ImageBatcher())
    found = predict(model, data, batch_size=3, progress=False)
    assert model.batches == [[0, 2, 3], [1, 4], [5]]
    assert [d["boxes"][0, 0].item() for d in found] == [0, 1, 2, 3, 4, 5]
    assert data.read == [0, 1, 2, 3, 4, 5]
    assert evaluate(Recorder(ImageBatcher()), data, batch_size=3, progress=False).ap == approx(1)

    # Without a batcher of ours only images of the very same size do.
    model = Recorder()
    predict(model, data, batch_size=3, progress=False)
    assert model.batches == [[0], [1], [2, 5], [3], [4]]

    # Squashed to one size, all do.
    model = Recorder(ImageBatcher(fixed_size=(64, 64)))
    predict(model, data, batch_size=4, progress=False)
    assert model.batches == [[0, 1, 2, 3], [4, 5]]


def test_of_images_that_wait_for_their_like_only_a_few_are_held():
    """Of 40 images 38 have a size of their own; with batches of 2, eight may wait."""
    sizes = [(32, 32 * (1 + i)) for i in range(40)]
    sizes[6] = sizes[3]
    sizes[30] = sizes[29]
    data, model = Mixed(*sizes), Recorder(ImageBatcher())

    held = []
    answer = model.forward

    def forward(images):
        answered = sum(len(numbers) for numbers in model.batches)
        held.append(len(data.read) - answered)
        return answer(images)

    model.forward = forward
    found = predict(model, data, batch_size=2, progress=False)
    assert [d["boxes"][0, 0].item() for d in found] == list(range(40))
    assert max(held) == 8
    # The pairs go as soon as they are there; of single images, the one that waits longest.
    assert model.batches[:3] == [[3, 6], [0], [1]]
    assert [29, 30] in model.batches and len(model.batches) == 38


def test_where_too_many_wait_the_largest_group_goes():
    """Eleven sizes and batches of 3: when twelve images wait, the only pair goes."""
    sizes = [(32, 32 * (1 + i)) for i in range(11)]
    model = Recorder(ImageBatcher())
    predict(model, Mixed(*sizes, sizes[7], sizes[0]), batch_size=3, progress=False)
    assert model.batches[:2] == [[7, 11], [0, 12]]


@pytest.mark.parametrize("name", BUILDERS)
def test_every_batch_size_gives_the_answers_of_image_by_image(name):
    """In float64, lest two detections whose scores differ in the last bit change places."""
    torch.manual_seed(0)
    model = create(name, 2).double()
    model.score_threshold = 0.0
    sizes = [(70, 100), (96, 128), (128, 128), (65, 97), (40, 60), (96, 100), (128, 90), (64, 33)]
    data = Mixed(*sizes)
    alone = predict(model, data, batch_size=1, progress=False)
    assert all(len(found["scores"]) > 0 for found in alone)

    # The objects lie beside what the detector finds, a tenth of its sides away: an IoU of .68.
    wanted = []
    for found in alone:
        boxes = found["boxes"][:6]
        shift = 0.1 * (boxes[:, 2:] - boxes[:, :2])
        wanted.append({"boxes": boxes + shift.repeat(1, 2), "labels": found["labels"][:6]})
    reference = coco_metrics(alone, wanted, 2)
    assert 0.1 < reference.ap < 0.9

    for batch_size in (3, 16):
        together = predict(model, data, batch_size=batch_size, progress=False)
        for found, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        assert coco_metrics(together, wanted, 2).ap == approx(reference.ap, abs=1e-4)


def test_evaluate_leaves_each_part_in_its_mode():
    model = Oracle().train()
    model.frozen.eval()
    evaluate(model, Scenes(), progress=False)
    assert model.training and not model.frozen.training
    model.forward = lambda images: 1 / 0
    with pytest.raises(ZeroDivisionError):
        evaluate(model, Scenes(), progress=False)
    assert model.training and not model.frozen.training


def test_evaluate_shows_a_bar_only_when_asked(capsys):
    evaluate(Oracle(), Scenes(), progress=False)
    assert capsys.readouterr().err == ""
    evaluate(Oracle(), Scenes())
    assert "5/5" in capsys.readouterr().err
    evaluate(Recorder(ImageBatcher()), Mixed(*SIX_SIZES), batch_size=2)
    assert "6/6" in capsys.readouterr().err


def test_evaluate_refuses_what_is_no_detector():
    with pytest.raises(TypeError, match=r"model is a function; expected a torch\.nn\.Module"):
        evaluate(lambda images: images, Scenes())
    with pytest.raises(TypeError, match="Subset has no class_names"):
        evaluate(Oracle(), torch.utils.data.Subset(Scenes(), [0]))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        predict(Oracle(), Scenes(), batch_size=0)
    model = Oracle()
    model.forward = lambda images: {"loss": torch.tensor(0.0)}
    with pytest.raises(TypeError, match="returned a dict in eval mode; expected a list"):
        evaluate(model, Scenes(), progress=False)
    model.forward = lambda images: [GOOD_DETECTION]
    with pytest.raises(ValueError, match="returned 1 results for 5 images"):
        evaluate(model, Scenes(), progress=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_evaluate_moves_images_and_answers():
    model = Oracle()
    assert evaluate(model, Scenes(), device="cuda", progress=False).ap == approx(1)
    assert model.shift.device.type == "cuda"
    detections = [{key: value.cuda() for key, value in GOOD_DETECTION.items()}]
    assert coco_metrics(detections, [GOOD_TARGET], num_classes=1).ap == approx(1)
