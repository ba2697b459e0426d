"""Trains the modern YOLO detector with one step of its ladder at a time, over three seeds.

* ``fixed centres``: which locations learn an object is laid down by its place and its size, as in
  FCOS; distances without a distribution; detecting ends with NMS.
* ``task-aligned``: the locations that do best at an object learn it.
* ``distribution``: besides, a distance is the mean of a distribution: the detector of the chapter.
* ``one-to-one``: besides, a second head that needs no NMS. "ap" and the like are this head's, and
  "nms_ap" and the like those of the first head, with NMS, of the same model; "raw_ap" and the like
  are the first head's without NMS, "again_ap" and the like the second's with NMS.
* ``one-to-one, joint``: the same, but the second head's gradient goes on into the backbone.
* ``one-to-one alone``: the head that needs no NMS as the only one, which teaches the backbone.
* ``one-to-one, narrowing``: as ``one-to-one``, but the second head begins with five locations an
  object and goes down to one in the first 40 % of the training.
* ``one-to-one, narrowing, deeper``: besides, its towers have two 3 × 3 convolutions, not one.

The first run of the chapter's detector also stores what it finds in eight scenes. All else is
equal: the chapter's recipe, shortened to 600 steps, measured on 500 scenes of another seed. The
seed decides the initial weights, the order of the images and how they are augmented. A training
that is broken off goes on at its last checkpoint.

    python benchmarks/experiments/yolo_head.py                # all: seventeen trainings
    python benchmarks/experiments/yolo_head.py --seeds 0      # some
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import runner
import torch
from torch import Tensor

from detlearn import metrics, training
from detlearn.data import ToyTown
from detlearn.models.base import pad_targets
from detlearn.models.small import SMALL_CLASS_WEIGHT, small_pyramid, yolov8_small
from detlearn.models.yolov8 import (
    TaskAlignedTargets,
    YOLOv8,
    YOLOv8Head,
    YOLOv8Outputs,
    boxes_to_distances,
)
from detlearn.nms import batched_nms
from detlearn.samples import Detections, Target

NAME = "yolo_head"
RECIPE = replace(training.recipe("yolov8"), steps=600)
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")
CHECKPOINTS = Path("runs") / "experiments"
BOTH = ("one_to_many", "one_to_one")

RADIUS = 1.5  # strides from an object's centre, up to which a location learns it
REACH = 8  # strides to the farthest side of an object, up to which it belongs to a level


class FixedCentres(YOLOv8):
    """The detector with an assignment that does not look at what is predicted."""

    def assign(
        self,
        outputs: YOLOv8Outputs,
        targets: list[Target],
        head: str | None = None,
    ) -> TaskAlignedTargets:
        """Say who learns what by place and size; every target score is 1."""
        points, strides = outputs.points, outputs.strides
        gt_boxes = pad_targets(targets, like=points).boxes  # (B, N, 4)
        assigned = fixed_centres(points, strides, gt_boxes, list(self.backbone.strides))
        return TaskAlignedTargets(assigned, (assigned >= 0).float(), points, strides)


@torch.no_grad()
def fixed_centres(points: Tensor, strides: Tensor, gt_boxes: Tensor, levels: list[int]) -> Tensor:
    """Assign as FCOS does (Tian et al. 2019, §3.2, with its later centre sampling).

    A location learns an object if it lies inside it and near its centre, and if the object's
    farthest side is neither too near nor too far for the location's level. Of several objects it
    learns the smallest.

    Args:
        points: (P, 2) x and y in pixels.
        strides: (P,) pixels.
        gt_boxes: (B, N, 4) xyxy in pixels, padded with boxes of zeros.
        levels: the strides of all levels, finest first.

    Returns:
        (B, P) int64, the index of the object in its image, or −1 for none.
    """
    batch_size, num_objects, _ = gt_boxes.shape
    if num_objects == 0:
        return torch.full((batch_size, len(points)), -1, device=points.device)

    boxes = gt_boxes[:, :, None]  # (B, N, 1, 4)
    distances = boxes_to_distances(points, boxes)  # (B, N, P, 4)
    inside = (distances > 0).all(dim=-1)  # (B, N, P)
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2  # (B, N, 1, 2)
    near = ((points - centres).abs() < RADIUS * strides[:, None]).all(dim=-1)  # (B, N, P)

    # Twice the reach for each level; the first and the last take what is beyond.
    farthest = distances.amax(dim=-1)  # (B, N, P)
    at_least = torch.where(strides > levels[0], REACH * strides / 2, 0)  # (P,)
    at_most = torch.where(strides < levels[-1], REACH * strides, torch.inf)  # (P,)
    fits = (farthest > at_least) & (farthest <= at_most)

    areas = (gt_boxes[..., 2:] - gt_boxes[..., :2]).prod(dim=-1)[..., None]  # (B, N, 1)
    claims = areas.masked_fill(~(inside & near & fits), torch.inf)  # (B, N, P)
    area, smallest = claims.min(dim=1)  # (B, P) twice
    return smallest.masked_fill(area.isinf(), -1)


class Narrowing(YOLOv8):
    """The detector with two heads, the second of which has fewer and fewer locations an object.

    How many is a function of the steps taken, which a checkpoint keeps.
    """

    def __init__(self, num_classes: int, depth: int) -> None:
        super().__init__(
            num_classes,
            small_pyramid(),
            heads=BOTH,
            class_channels=32,
            box_channels=32,
            depth=1,
            topk=5,
            smallest=12,
            class_weight=SMALL_CLASS_WEIGHT,
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        if depth > 1:
            self.heads["one_to_one"] = YOLOv8Head(
                self.backbone.out_channels,
                num_classes,
                class_channels=32,
                box_channels=32,
                depth=depth,
            )

    def compute_loss(self, outputs: YOLOv8Outputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `YOLOv8`."""
        done = self.steps.item() / RECIPE.steps
        self.topk["one_to_one"] = max(1, self.topk["one_to_many"] - int(10 * done))
        self.steps += 1
        return super().compute_loss(outputs, targets)


def with_fixed_centres(num_classes: int) -> YOLOv8:
    """Build `yolov8_small` with plain distances and the fixed assignment."""
    return FixedCentres(
        num_classes,
        small_pyramid(),
        num_bins=1,
        class_channels=32,
        box_channels=32,
        depth=1,
        class_weight=SMALL_CLASS_WEIGHT,
    )


VARIANTS: dict[str, Callable[[int], YOLOv8]] = {
    "fixed centres": with_fixed_centres,
    "task-aligned": partial(yolov8_small, num_bins=1),
    "distribution": yolov8_small,
    "one-to-one": partial(yolov8_small, heads=BOTH),
    "one-to-one, joint": partial(yolov8_small, heads=BOTH, detached=False),
    "one-to-one alone": partial(yolov8_small, heads=BOTH[1:]),
    "one-to-one, narrowing": partial(Narrowing, depth=1),
    "one-to-one, narrowing, deeper": partial(Narrowing, depth=2),
}


def run(variant: str, seed: int) -> dict:
    """Train one variant; return what it reaches."""
    train = ToyTown(2000, seed=0)
    test = ToyTown(500, seed=1)

    torch.manual_seed(seed)
    model = VARIANTS[variant](10)
    checkpoint = CHECKPOINTS / f"{NAME} {variant} {seed}.safetensors"
    history = training.fit(
        model, train, seed=seed, progress=False, checkpoint=checkpoint, **RECIPE.settings()
    )

    found = metrics.predict(model, test, progress=False)
    numbers = {**measure(found, test), "seconds": round(history.seconds)}
    if len(model.heads) == 2:
        again = [with_nms(one, model.nms_threshold) for one in found]
        numbers |= measure(again, test, "again_")

        model.detects_with, usual = "one_to_many", model.nms_threshold
        numbers |= measure(metrics.predict(model, test, progress=False), test, "nms_")
        model.nms_threshold = 1.0  # no IoU is above 1: nothing goes
        numbers |= measure(metrics.predict(model, test, progress=False), test, "raw_")
        model.nms_threshold = usual

    if (variant, seed) == ("distribution", 0):
        numbers["preview"] = runner.detect_preview(model)

    checkpoint.unlink()
    return numbers


def measure(found: list[Detections], test: ToyTown, prefix: str = "") -> dict[str, float]:
    """Return AP and the like, each name with the prefix before it."""
    targets = [target for _, target in test]
    scores = metrics.coco_metrics(found, targets, num_classes=10)
    return {f"{prefix}{key}": n for key, n in runner.coco_numbers(scores, KEYS).items()}


def with_nms(found: Detections, threshold: float) -> Detections:
    """Return the detections of one image that NMS leaves."""
    keep = batched_nms(found["boxes"], found["scores"], found["labels"], threshold)
    return {key: value[keep] for key, value in found.items()}


EXPERIMENT = runner.Experiment(
    name=NAME,
    command=f"python benchmarks/experiments/{NAME}.py",
    settings=RECIPE.numbers(),
    # Three for the comparison of the two heads, two for the rest.
    seeds={name: (0, 1, 2) if name == "one-to-one" else (0, 1) for name in VARIANTS},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
