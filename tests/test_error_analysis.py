"""The kinds of mistakes, by hand, and their cost by really curing them and measuring again."""

import numpy as np
import pytest
import torch
from pytest import approx

from detlearn.metrics import ERROR_KINDS, coco_metrics, error_analysis

BOX = [0, 0, 10, 10]


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


# ------------------------------------------------------------------------------------ by hand


@pytest.mark.parametrize(
    ("box", "label", "kind", "target_kind"),
    [
        ([0, 0, 10, 5], 0, "right", "found"),  # IoU .5
        ([0, 0, 10, 4], 0, "localisation", "covered"),  # .4
        ([0, 0, 10, 1], 0, "localisation", "covered"),  # .1
        ([0, 0, 10, 0.9], 0, "background", "missed"),  # .09
        ([0, 0, 10, 5], 1, "classification", "covered"),
        ([0, 0, 10, 4], 1, "both", "missed"),
        ([0, 0, 10, 1], 1, "both", "missed"),
        ([0, 0, 10, 0.9], 1, "background", "missed"),
        ([50, 50, 60, 60], 0, "background", "missed"),
    ],
)
def test_one_detection_and_one_object(box, label, kind, target_kind):
    result = error_analysis([detection([box], [0.9], [label])], [target([BOX])], num_classes=2)
    assert result.detection_kinds[0].tolist() == [kind]
    assert result.target_kinds[0].tolist() == [target_kind]
    expected = dict.fromkeys(ERROR_KINDS, 0)
    expected |= {} if kind == "right" else {kind: 1}
    expected |= {"missed": 1} if target_kind == "missed" else {}
    assert result.counts == expected


def test_duplicates_are_those_that_came_second():
    found = detection([BOX, [0, 0, 10, 9]], [0.8, 0.9])
    result = error_analysis([found], [target([BOX])], num_classes=1)
    assert result.detection_kinds[0].tolist() == ["duplicate", "right"]
    assert result.counts["duplicate"] == 1


def test_where_two_kinds_apply_the_order_of_the_authors_holds():
    """A good own-class box goes before a wrong class, a wrong class before a duplicate."""
    wanted = target([BOX, [0, 0, 10, 4]], [0, 1])
    found = detection([[0, 0, 10, 4]], [0.9], [0])  # .4 with its class, 1 with the other
    result = error_analysis([found], [wanted], num_classes=2)
    assert result.detection_kinds[0].tolist() == ["localisation"]
    assert result.target_kinds[0].tolist() == ["covered", "missed"]

    wanted = target([BOX, [0, 0, 10, 8]], [0, 1])
    found = detection([BOX, BOX], [0.9, 0.8], [0, 0])
    result = error_analysis([found], [wanted], num_classes=2)
    assert result.detection_kinds[0].tolist() == ["right", "classification"]
    assert result.target_kinds[0].tolist() == ["found", "covered"]


def test_crowds_and_the_surplus_are_ignored():
    wanted = target([BOX, [100, 0, 200, 100]], iscrowd=[0, 1])
    found = detection([BOX, [110, 10, 120, 20], [110, 10, 120, 20]], [0.7, 0.9, 0.8], [0, 0, 1])
    result = error_analysis([found], [wanted], num_classes=2)
    assert result.detection_kinds[0].tolist() == ["right", "ignored", "background"]
    assert result.target_kinds[0].tolist() == ["found", "ignored"]
    assert result.ap == approx(1)

    found = detection([BOX] * 102, np.linspace(1, 0, 102))
    result = error_analysis([found], [target([BOX])], num_classes=1)
    assert result.detection_kinds[0].tolist() == ["right"] + ["duplicate"] * 99 + ["ignored"] * 2


def test_what_lies_in_a_crowd_is_no_error_whatever_else_it_overlaps():
    """Each lies in the crowd of class 0, the first also on an object of class 1, the last alone."""
    crowd = [0, 0, 100, 100]
    wanted = target([crowd, [0, 0, 10, 10]], [0, 1], iscrowd=[1, 0])
    found = detection([[0, 0, 10, 10], [0, 0, 10, 4], [50, 50, 60, 60]], [0.9, 0.8, 0.7])
    only_crowd = target([crowd], iscrowd=[1])
    result = error_analysis([found, found], [wanted, only_crowd], num_classes=2)
    assert [kinds.tolist() for kinds in result.detection_kinds] == [["ignored"] * 3] * 2
    assert result.counts == dict.fromkeys(ERROR_KINDS, 0) | {"missed": 1}
    assert [result.dap[kind] for kind in ERROR_KINDS if kind != "missed"] == [0] * 5


def test_cost_of_a_classification_error():
    """Class 0: right. Class 1: its object was called 0, at a lower score than the right one.

    AP is (1 + 0) / 2; with the label cured both classes are perfect."""
    wanted = target([BOX, [50, 50, 60, 60]], [0, 1])
    found = detection([BOX, [50, 50, 60, 60]], [0.9, 0.8], [0, 0])
    result = error_analysis([found], [wanted], num_classes=2)
    assert result.ap == approx(0.5)
    assert result.dap == approx({**dict.fromkeys(ERROR_KINDS, 0), "classification": 0.5})


def test_cost_of_a_localisation_error():
    """The wrong one stands first: of two objects one is found, at precision 1/2."""
    wanted = target([BOX, [50, 50, 60, 60]])
    found = detection([[0, 0, 10, 4], [50, 50, 60, 60]], [0.9, 0.8])
    result = error_analysis([found], [wanted], num_classes=1)
    assert result.ap == approx(51 / 101 / 2)
    assert result.dap["localisation"] == approx(1 - 51 / 101 / 2)
    assert result.dap["missed"] == 0


def test_of_two_cured_boxes_on_one_object_only_the_better_stays():
    """A right detection (.5) of one object, and two poor boxes of it (.9, .7), one object more.

    Cured, the first is right and the other two are gone: one of two objects at precision 1."""
    wanted = target([BOX, [50, 50, 60, 60]])
    found = detection([[0, 0, 10, 4], [0, 0, 10, 3], BOX], [0.9, 0.7, 0.5])
    result = error_analysis([found], [wanted], num_classes=1)
    assert result.detection_kinds[0].tolist() == ["localisation", "localisation", "right"]
    assert result.ap == approx(51 / 101 / 3)
    assert result.dap["localisation"] == approx(51 / 101 * (1 - 1 / 3))


@pytest.mark.parametrize("num_images", [1, 40])
@pytest.mark.parametrize("scores", [[0.5], [0.3, 0.7, 0.5]])
def test_of_equal_scores_the_first_claims_the_object(num_images, scores):
    """A right detection, a wrong one, and one of the wrong class, all of an image at one score.

    With its class cured the last would claim the object, too. The first has it already; if the last
    took it, the wrong one would stand before it, and the AP fall. With one score for all images,
    and with three in turn: a sort that is not stable may keep the order of the first."""
    found = [
        detection([BOX, [90, 90, 95, 95], BOX], [scores[i % len(scores)]] * 3, [0, 0, 1])
        for i in range(num_images)
    ]
    result = error_analysis(found, [target([BOX])] * num_images, num_classes=2)
    kinds = [kinds.tolist() for kinds in result.detection_kinds]
    assert kinds == [["right", "background", "classification"]] * num_images
    assert result.dap["classification"] == approx(0, abs=1e-12)


def test_equal_scores_rank_as_in_coco_metrics():
    """Three scores and two classes on 300 images, so that the order of equals decides the AP."""
    random = np.random.default_rng(0)
    boxes = [BOX if random.random() < 0.5 else [90, 90, 95, 95] for _ in range(300)]
    found = [
        detection([box], [random.choice([0.3, 0.5, 0.7])], [random.integers(2)]) for box in boxes
    ]
    wanted = [target([BOX], [random.integers(2)]) for _ in range(300)]
    expected = ap50(found, wanted, num_classes=2)
    assert error_analysis(found, wanted, num_classes=2).ap == approx(expected.mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "box", "label"),
    [("both", [0, 0, 10, 4], 1), ("background", [90, 90, 95, 95], 1), ("duplicate", BOX, 1)],
)
def test_cost_of_what_should_not_be_there(kind, box, label):
    """The false positive of class 1 stands before the right one: precision 1/2, cured 1."""
    wanted = target([BOX, [50, 50, 60, 60]], [0, 1])
    found = detection([BOX, box, [50, 50, 60, 60]], [0.9, 0.8, 0.7], [0, label, 1])
    if kind == "duplicate":  # a second detection of class 0, before the right one of another image
        found = detection([BOX, BOX, [50, 50, 60, 60]], [0.9, 0.8, 0.7], [0, 0, 0])
        wanted = target([BOX, [50, 50, 60, 60]], [0, 0])
    result = error_analysis([found], [wanted], num_classes=2)
    assert result.counts == {**dict.fromkeys(ERROR_KINDS, 0), kind: 1}
    before = (51 + 50 * 2 / 3) / 101 if kind == "duplicate" else (1 + 1 / 2) / 2
    assert result.ap == approx(before)
    assert result.dap == approx({**dict.fromkeys(ERROR_KINDS, 0), kind: 1 - before})


def test_cost_of_a_missed_object():
    """One of two found; with the other struck off, all."""
    found, wanted = detection([BOX], [0.9]), target([BOX, [50, 50, 60, 60]])
    result = error_analysis([found], [wanted], num_classes=1)
    assert result.target_kinds[0].tolist() == ["found", "missed"]
    assert result.ap == approx(51 / 101)
    assert result.dap == approx({**dict.fromkeys(ERROR_KINDS, 0), "missed": 50 / 101})


def test_a_detector_that_finds_nothing():
    result = error_analysis([detection([], [])], [target([BOX])], num_classes=1)
    assert (result.ap, result.counts["missed"], result.dap["missed"]) == (0, 1, 0)
    assert result.detection_kinds[0].tolist() == []
    result = error_analysis([], [], num_classes=1)
    assert (result.ap, result.detection_kinds) == (-1, [])


def test_threshold_one_is_met_by_a_hair_less_as_in_pycocotools():
    for missing, kind in ((1e-11, "right"), (1e-7, "localisation")):
        found = detection([[0, 0, 10, 10 - missing]], [0.9])
        result = error_analysis([found], [target([BOX])], num_classes=1, iou_threshold=1)
        assert result.detection_kinds[0].tolist() == [kind]


def test_tables():
    found, wanted = detection([BOX], [0.9]), target([BOX, [50, 50, 60, 60]])
    result = error_analysis([found], [wanted], num_classes=1)
    assert "| missed | 1 | 49.5 |" in result._repr_markdown_()
    assert str(result).splitlines()[0] == "AP 50.5"


def test_thresholds_must_be_in_order():
    for pair in ((0.5, 0.5), (0.5, 0), (1.1, 0.1)):
        with pytest.raises(ValueError, match="background_threshold < iou_threshold <= 1, got"):
            error_analysis([], [], 1, *pair)
    with pytest.raises(ValueError, match=r"detections\[0\] lacks \['boxes'"):
        error_analysis([{}], [target([])], 1)


# --------------------------------------------------------------------------- by slow reference


def slow_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def slow_kinds(found, wanted, high=0.5, low=0.1):
    """One image without crowds: kind and target of each detection, in plain loops."""
    labels, wanted_labels = found["labels"].tolist(), wanted["labels"].tolist()
    iou = [[slow_iou(a, b) for b in wanted["boxes"].tolist()] for a in found["boxes"].tolist()]
    kinds, meant, free = [None] * len(labels), [None] * len(labels), set(range(len(wanted_labels)))
    for i in np.argsort(-found["scores"].numpy(), kind="stable"):
        choice = [j for j in sorted(free) if wanted_labels[j] == labels[i] and iou[i][j] >= high]
        if choice:
            meant[i] = max(choice, key=lambda j: (iou[i][j], j))
            kinds[i] = "right"
            free.remove(meant[i])
    for i, label in enumerate(labels):
        if kinds[i] == "right":
            continue
        own = {j: iou[i][j] for j, k in enumerate(wanted_labels) if k == label}
        other = {j: iou[i][j] for j, k in enumerate(wanted_labels) if k != label}
        best_own, best_other = max(own.values(), default=0), max(other.values(), default=0)
        if low <= best_own < high:
            kinds[i], meant[i] = "localisation", max(own, key=own.get)
        elif best_other >= high:
            kinds[i], meant[i] = "classification", max(other, key=other.get)
        elif best_own >= high:
            kinds[i] = "duplicate"
        elif best_own < low and best_other < low:
            kinds[i] = "background"
        else:
            kinds[i] = "both"
    return kinds, meant


def really_cure(found, wanted, kinds, meant, kind):
    """The detections of one image with every error of one kind cured, as a new input."""
    boxes, labels = found["boxes"].clone(), found["labels"].clone()
    scores = found["scores"].tolist()
    keep = [k != kind or kind in ("classification", "localisation") for k in kinds]
    if kind in ("classification", "localisation"):
        claims = {}
        for i in range(len(kinds)):
            if kinds[i] == kind:
                labels[i] = wanted["labels"][meant[i]]
            if kinds[i] in (kind, "right"):
                boxes[i] = wanted["boxes"][meant[i]]  # so that it matches that very object
                claims.setdefault(meant[i], []).append(i)
        for claimants in claims.values():
            winner = max(claimants, key=lambda i: scores[i])
            for i in claimants:
                keep[i] = i == winner
    keep = torch.tensor(keep, dtype=torch.bool)
    return {"boxes": boxes[keep], "labels": labels[keep], "scores": found["scores"][keep]}


def scenes(seed, num_classes=3):
    rng = np.random.default_rng(seed)
    detections, targets = [], []
    for _ in range(6):
        n, m = rng.integers(0, 5), rng.integers(0, 25)
        corner = rng.random((n, 2)) * 60
        boxes = np.concatenate([corner, corner + rng.random((n, 2)) * 30 + 5], axis=1)
        labels = rng.integers(0, num_classes, n)
        near = rng.integers(0, max(n, 1), m)
        corner = rng.random((m, 2)) * 60
        guess = np.concatenate([corner, corner + rng.random((m, 2)) * 30 + 5], axis=1)
        guess_labels = rng.integers(0, num_classes, m)
        if n:
            around = rng.random(m) < 0.8
            guess[around] = boxes[near[around]]
            guess[:, 2:] += rng.random((m, 2)) * 12
            same = rng.random(m) < 0.6
            guess_labels[same] = labels[near[same]]
        targets.append(target(boxes, labels))
        detections.append(detection(guess, rng.random(m), guess_labels))
    return detections, targets, num_classes


def ap50(detections, targets, num_classes):
    return coco_metrics(detections, targets, num_classes).ap50_per_class


@pytest.mark.parametrize("seed", range(20))
def test_kinds_and_costs_equal_a_slow_reference(seed):
    detections, targets, num_classes = scenes(seed)
    result = error_analysis(detections, targets, num_classes)
    slow = [slow_kinds(found, wanted) for found, wanted in zip(detections, targets)]
    assert [kinds.tolist() for kinds in result.detection_kinds] == [kinds for kinds, _ in slow]

    before = ap50(detections, targets, num_classes)
    present = before > -1
    assert result.ap == approx(before[present].mean(), abs=1e-12)
    for kind in ERROR_KINDS[:-1]:
        cured = [really_cure(*pair, *s, kind) for *pair, s in zip(detections, targets, slow)]
        after = ap50(cured, targets, num_classes)
        gain = after[present].mean() - before[present].mean()
        assert result.dap[kind] == approx(gain, abs=1e-12)
        assert gain > -1e-12
        assert result.counts[kind] == sum(kinds.count(kind) for kinds, _ in slow)

    left = []
    for wanted, (kinds, meant), told in zip(targets, slow, result.target_kinds):
        cures = ("right", "localisation", "classification")
        reached = {j for kind, j in zip(kinds, meant) if kind in cures}
        stay = torch.tensor([j in reached for j in range(len(told))], dtype=torch.bool)
        assert (told == "missed").tolist() == (~stay).tolist()
        left.append({key: value[stay] for key, value in wanted.items()})
    after = np.maximum(ap50(detections, left, num_classes), 0)  # a class all missed keeps AP 0
    gain = after[present].mean() - before[present].mean()
    assert result.dap["missed"] == approx(gain, abs=1e-12)
    assert result.counts["missed"] == sum((told == "missed").sum() for told in result.target_kinds)


def test_the_random_scenes_hold_every_kind():
    total = dict.fromkeys(ERROR_KINDS, 0)
    for seed in range(20):
        counts = error_analysis(*scenes(seed)).counts
        total = {kind: total[kind] + counts[kind] for kind in ERROR_KINDS}
    assert min(total.values()) >= 20
