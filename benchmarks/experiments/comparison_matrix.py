"""The failure-mode matrix: what each detector makes of each kind of scene.

Each detector is trained on a mixture of all nine scenarios of ToyTown, in equal parts, and measured
on each of them. All see the same scenes; each takes as many steps as take 240 seconds.

Beside AP, for every scenario:

* ``ap_per_class``: AP of each class, for what concerns one of them: the phone, which is the small
  object inside a large one in `nested`.
* ``missed``: the share of objects that no detection finds (right class, IoU at least .5) if as many
  detections are kept as there are objects: the best of the whole test set. So a detector with a
  long list has no advantage.
* ``ap_soft_nms``: in `crowd` and `group`, with Soft-NMS (Gaussian, σ = .5) in place of NMS, where
  the detector has one.
* ``ap_other_head``: of the network with two heads, the AP of the head with NMS.
* ``worst``: of the first seed, the scene with the most errors (objects missed and detections that
  find none, at the score with the best F1 over all test scenes), with what was found in it.

The images of `noisy_labels` are those of `default`: only the annotation errs, in training and here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import comparison_steps
import comparison_trainings
import numpy as np
import runner
import torch
from comparison_sizes import NMS_FREE, Sizes
from torch import Tensor, nn
from torch.utils.data import ConcatDataset

from detlearn import metrics
from detlearn.boxes import box_iou
from detlearn.data import ToyTown
from detlearn.data.toytown import SCENARIOS
from detlearn.models.base import Detector
from detlearn.nms import soft_nms
from detlearn.samples import Detections, Target

NAME = "comparison_matrix"
SCENARIO_NAMES = ("default", *(name for name in SCENARIOS if name != "default"))
WITHOUT_NMS = ("centernet", "detr", "deformable_detr", NMS_FREE)
SOFT_NMS_ON = ("crowd", "group")
IOU = 0.5
CANDIDATES = 300  # of an image that Soft-NMS looks at; it keeps 100
KEYS = ("ap", "ap50", "ap75")


@cache  # drawing takes seconds, and a process trains several detectors
def mixture(scenes: int) -> ConcatDataset:
    """Return the training set: so many scenes of each scenario."""
    towns = [ToyTown.scenario(name, scenes, seed=0) for name in SCENARIO_NAMES]
    mixed = ConcatDataset(towns)
    mixed.class_names = towns[0].class_names
    return mixed


@cache
def test_scenes(name: str, scenes: int) -> ToyTown:
    """Return scenes of a scenario that no training has seen."""
    return ToyTown.scenario(name, scenes, seed=1)


# ---- who is found --------------------------------------------------------------------------------


def hits(found: Detections, target: Target) -> Tensor:
    """Say which detections of an image find an object.

    From the best score down each takes the free object of its class that it overlaps most.

    Returns:
        (N,) bool, in the order of the detections, which is that of their scores.
    """
    overlap = box_iou(found["boxes"], target["boxes"])  # (N, M)
    overlap[found["labels"][:, None] != target["labels"]] = 0
    overlap = overlap.numpy()  # whose single numbers are quicker to read in a loop

    is_hit = np.zeros(len(overlap), dtype=bool)
    if overlap.shape[1] == 0:
        return torch.from_numpy(is_hit)
    for i in range(len(is_hit)):
        best = int(overlap[i].argmax())
        if overlap[i, best] >= IOU:
            is_hit[i] = True
            overlap[:, best] = 0  # taken
    return torch.from_numpy(is_hit)


def missed_share(found: Sequence[Detections], targets: Sequence[Target]) -> float:
    """Return the share of objects missed if as many detections are kept as there are objects."""
    num_objects = sum(len(target["labels"]) for target in targets)
    scores = torch.cat([each["scores"] for each in found])
    is_hit = torch.cat([hits(each, target) for each, target in zip(found, targets)])

    best = scores.argsort(descending=True, stable=True)[:num_objects]
    return 1 - int(is_hit[best].sum()) / max(num_objects, 1)


def best_threshold(found: Sequence[Detections], targets: Sequence[Target]) -> float:
    """Return the score from which on the detections have the highest F1."""
    num_objects = sum(len(target["labels"]) for target in targets)
    scores = torch.cat([each["scores"] for each in found])
    is_hit = torch.cat([hits(each, target) for each, target in zip(found, targets)])
    if len(scores) == 0:
        return 0.0

    order = scores.argsort(descending=True, stable=True)
    right = is_hit[order].cumsum(0)
    kept = torch.arange(1, len(order) + 1)
    f1 = 2 * right / (kept + num_objects)
    return float(scores[order[int(f1.argmax())]])


def worst_scene(
    found: Sequence[Detections], targets: Sequence[Target], threshold: float
) -> dict[str, Any]:
    """Return the scene with the most errors, and what was found in it."""
    rows = []
    for each, target in zip(found, targets):
        kept = each["scores"] >= threshold
        shown = {key: value[kept] for key, value in each.items()}
        right = int(hits(shown, target).sum())
        missed, false = len(target["labels"]) - right, int(kept.sum()) - right
        rows.append((missed + false, missed, false, shown))

    index = int(np.argmax([errors for errors, *_ in rows]))  # the first of equals
    _, missed, false, shown = rows[index]
    return {
        "scene": index,
        "missed": missed,
        "false": false,
        "boxes": [[round(x, 1) for x in box] for box in shown["boxes"].tolist()],
        "scores": [round(score, 3) for score in shown["scores"].tolist()],
        "labels": shown["labels"].tolist(),
    }


# ---- Soft-NMS ------------------------------------------------------------------------------------


def predict_soft(model: Detector, scenes: ToyTown) -> list[Detections]:
    """Return a detector's answers with Soft-NMS in place of its NMS."""
    before = model.nms_threshold, model.max_detections
    # No box overlaps another by more than 1, so that nothing is dropped.
    model.nms_threshold, model.max_detections = 1.0, CANDIDATES
    try:
        found = metrics.predict(model, scenes, progress=False)
    finally:
        model.nms_threshold, model.max_detections = before
    return [decayed(each, limit=model.max_detections) for each in found]


def decayed(found: Detections, limit: int) -> Detections:
    """Lower the scores of what overlaps a better detection of its class, and keep the best."""
    boxes, scores, labels = [], [], []
    for label in found["labels"].unique().tolist():
        chosen = found["labels"] == label
        keep, kept_scores = soft_nms(found["boxes"][chosen], found["scores"][chosen])
        boxes.append(found["boxes"][chosen][keep])
        scores.append(kept_scores)
        labels.append(torch.full((len(keep),), label))

    if not boxes:
        return found
    boxes, scores, labels = torch.cat(boxes), torch.cat(scores), torch.cat(labels)
    best = scores.argsort(descending=True, stable=True)[:limit]
    return {"boxes": boxes[best], "scores": scores[best], "labels": labels[best]}


# ---- a row ---------------------------------------------------------------------------------------


def measure(
    model: nn.Module, variant: str, scenes: int, names: Sequence[str], worst: bool
) -> dict[str, dict[str, Any]]:
    """Measure a detector on each scenario.

    Args:
        model: trained.
        variant: what it is.
        scenes: so many of each scenario, of a seed that no training has seen.
        names: of the scenarios.
        worst: whether to note the scene with the most errors.

    Returns:
        scenario → its numbers.
    """
    towns = {name: test_scenes(name, scenes) for name in names}
    truth = {name: [target for _, target in town] for name, town in towns.items()}
    found = {name: metrics.predict(model, town, progress=False) for name, town in towns.items()}

    # One threshold for all scenes: a detector does not know which kind it is shown.
    threshold = best_threshold(
        [each for name in names for each in found[name]],
        [target for name in names for target in truth[name]],
    )

    cells = {}
    for name, town in towns.items():
        num_classes = len(town.class_names)
        scores = metrics.coco_metrics(found[name], truth[name], num_classes)
        cell = {
            **runner.coco_numbers(scores, KEYS),
            "ap_per_class": [round(float(ap), 4) for ap in scores.ap_per_class],
            "missed": round(missed_share(found[name], truth[name]), 4),
        }

        if name in SOFT_NMS_ON and variant not in WITHOUT_NMS:
            soft = metrics.coco_metrics(predict_soft(model, town), truth[name], num_classes)
            cell["ap_soft_nms"] = round(soft.ap, 4)

        if variant == NMS_FREE:
            model.detects_with = "one_to_many"
            other = metrics.evaluate(model, town, progress=False)
            model.detects_with = "one_to_one"
            cell["ap_other_head"] = round(other.ap, 4)

        if worst:
            cell["worst"] = worst_scene(found[name], truth[name], threshold)
        cells[name] = cell
    return cells


def train_row(sizes: Sizes, name: str, variant: str, seed: int, seconds: float):
    """Train a detector on the mixture; see `comparison_trainings.train`."""
    how = comparison_steps.recipe_within(variant, seconds)
    return comparison_trainings.train(name, variant, seed, how, mixture(sizes.scenario_train))


def matrix(sizes: Sizes, command: str) -> runner.Experiment:
    """Return the experiment of the matrix."""

    def run(variant: str, seed: int) -> dict[str, Any]:
        model, history, _ = train_row(sizes, NAME, variant, seed, sizes.matrix_seconds)
        if seed == sizes.seeds[0]:
            comparison_trainings.keep_weights(NAME, variant, variant, model)
        cells = measure(
            model,
            variant,
            sizes.scenario_test,
            SCENARIO_NAMES,
            worst=seed == sizes.seeds[0],
        )
        return {
            "mean_ap": round(float(np.mean([cell["ap"] for cell in cells.values()])), 4),
            "steps": len(history.steps),
            "images": history.images,
            "seconds": round(history.seconds, 1),
            "scenarios": cells,
        }

    return runner.Experiment(
        name=NAME,
        command=command,
        settings=matrix_settings(sizes, sizes.matrix_seconds),
        seeds=dict.fromkeys(sizes.variants_of_matrix(), sizes.seeds),
        run=run,
        forget=partial(comparison_trainings.forget, NAME),
    )


def live(sizes: Sizes, command: str) -> runner.Experiment:
    """Return the experiment that the chapter repeats one seed of, with shorter trainings."""
    name = "comparison_live"

    def run(variant: str, seed: int) -> dict[str, Any]:
        model, history, _ = train_row(sizes, name, variant, seed, sizes.live_seconds)
        cells = measure(model, variant, sizes.scenario_test, SCENARIO_NAMES[:3], worst=False)
        return {
            "steps": len(history.steps),
            "seconds": round(history.seconds, 1),
            "scenarios": cells,
        }

    return runner.Experiment(
        name=name,
        command=command,
        settings=matrix_settings(sizes, sizes.live_seconds),
        seeds=dict.fromkeys(sizes.live, sizes.live_seeds),
        run=run,
        forget=partial(comparison_trainings.forget, name),
    )


def matrix_settings(sizes: Sizes, seconds: float) -> dict[str, Any]:
    """Return what all rows of a matrix have in common."""
    return {
        "seconds": seconds,
        "precision": "float32",
        "train_scenes_each": sizes.scenario_train,
        "test_scenes_each": sizes.scenario_test,
        "scenarios": SCENARIO_NAMES,
        "recipes": comparison_trainings.without_steps(sizes.variants_of_matrix()),
    }
