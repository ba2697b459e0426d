"""Trains YOLOv1 with a coarse and a fine grid, and YOLOv3, on groups of small objects; two seeds.

A cell of YOLOv1 learns one object and predicts one class, so what shares a cell with others is lost
(the paper's §2.4). ToyTown's scenario ``group`` has flocks of small objects. Each object of the
test scenes is counted under the number of objects that have their centre in the same one of 7 × 7
cells, whichever grid the detector has, so that all detectors are asked for the same objects:

* ``recall``: the share of them that is found, by number 1, 2, … of objects in the cell. Found is an
  object to which a detection of its class has an IoU of at least 0.5, each detection standing for
  one object, the best-scored first.
* ``learnt``: the share of them that a cell of the detector's own grid would learn (YOLOv1's).

Images have 112 pixels in all, so that 7 × 7 cells of 16 pixels and 14 × 14 of 8 fit; the coarse
grid has one more stage of the backbone to get there. Everything else is equal: chapter 3's recipe,
trained on 2000 groups, measured on 500 of another seed.

    python benchmarks/experiments/yolo_cells.py    # six trainings of one to three minutes
"""

from collections.abc import Callable

import runner
import torch
from torch import Tensor

from detlearn import metrics, training
from detlearn.boxes import box_iou
from detlearn.data import ToyTown
from detlearn.models.base import Detector, pad_targets
from detlearn.models.images import ImageBatcher
from detlearn.models.small import yolov3_small
from detlearn.models.yolov1 import YOLOv1, cell_objects
from detlearn.models.yolov3 import YOLOv3
from detlearn.nets.small import SmallBackbone
from detlearn.samples import Detections, Target

RECIPE = training.recipe("yolov1")
KEYS = ("ap", "ap50")
COARSE = 7  # cells along a side of the grid by which objects are counted
MOST = 4  # objects in a cell; what has more neighbours is counted here


def coarse_grid() -> YOLOv1:
    """YOLOv1 with the paper's 7 × 7 cells."""
    return YOLOv1(10, SmallBackbone((48, 64, 128)), grid_size=7, channels=128)


def fine_grid() -> YOLOv1:
    """YOLOv1 with 14 × 14 cells on images of the same size."""
    return YOLOv1(10, SmallBackbone((48, 64)), grid_size=14, channels=128)


def yolov3() -> YOLOv3:
    """Chapter 3's YOLOv3 on images of the same size."""
    model = yolov3_small(10)
    model.batcher = ImageBatcher(fixed_size=(112, 112))
    return model


# variant -> how its detector is built. Another detector is one more line.
VARIANTS: dict[str, Callable[[], Detector]] = {
    "7 × 7": coarse_grid,
    "14 × 14": fine_grid,
    "YOLOv3": yolov3,
}


def run(variant: str, seed: int) -> dict:
    """Train one variant; return which objects it finds."""
    train = ToyTown.scenario("group", 2000, seed=0)
    test = ToyTown.scenario("group", 500, seed=1)

    torch.manual_seed(seed)
    model = VARIANTS[variant]()
    history = training.fit(model, train, seed=seed, **RECIPE.settings())

    detections = metrics.predict(model, test, progress=False)
    targets = [test[i][1] for i in range(len(test))]
    scores = metrics.coco_metrics(detections, targets, num_classes=10)

    neighbours = torch.cat([objects_in_cell(target, test.size) for target in targets])
    found = [found_objects(*pair) for pair in zip(detections, targets)]
    numbers = {"recall": shares(torch.cat(found), neighbours)}
    if isinstance(model, YOLOv1):
        grid_size = model.head.grid_size
        learnt = [learnt_objects(target, test.size, grid_size) for target in targets]
        numbers["learnt"] = shares(torch.cat(learnt), neighbours)

    counts = torch.bincount(neighbours.clamp(max=MOST), minlength=MOST + 1)[1:]
    return {
        **runner.coco_numbers(scores, KEYS),
        **numbers,
        "objects": counts.tolist(),
        "seconds": round(history.seconds),
    }


def objects_in_cell(target: Target, size: int) -> Tensor:
    """Return (N,), how many objects have their centre in the same coarse cell, itself included."""
    boxes = target["boxes"]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    columns, rows = (centres * COARSE / size).floor().clamp(0, COARSE - 1).long().unbind(-1)
    cells = rows * COARSE + columns  # (N,)
    return torch.bincount(cells, minlength=COARSE**2)[cells]


def learnt_objects(target: Target, size: int, grid_size: int) -> Tensor:
    """Return (N,) bool, which objects a cell of this grid learns."""
    boxes, _, real = pad_targets([target], like=target["boxes"])
    cells = cell_objects(boxes, real, grid_size, (size, size))
    learnt = torch.zeros(boxes.shape[1], dtype=torch.bool)
    learnt[cells[cells >= 0]] = True
    return learnt


def found_objects(found: Detections, target: Target) -> Tensor:
    """Return (N,) bool, which objects are found."""
    same_class = found["labels"][:, None] == target["labels"]  # (D, N)
    overlaps = box_iou(found["boxes"], target["boxes"]) * same_class
    is_found = torch.zeros(len(target["boxes"]), dtype=torch.bool)
    for ious in overlaps:  # the best-scored detection first
        ious = ious.masked_fill(is_found, 0)
        if len(ious) and ious.max() >= 0.5:
            is_found[ious.argmax()] = True
    return is_found


def shares(chosen: Tensor, neighbours: Tensor) -> list[float]:
    """Return the share of chosen objects among those with 1, 2, … in their cell."""
    neighbours = neighbours.clamp(max=MOST)
    means = [chosen[neighbours == number].double().mean() for number in range(1, MOST + 1)]
    return [round(float(mean), 4) for mean in means]


EXPERIMENT = runner.Experiment(
    name="yolo_cells",
    command="python benchmarks/experiments/yolo_cells.py",
    settings={**RECIPE.numbers(), "cells_counted": COARSE, "most_in_a_cell": MOST},
    seeds=dict.fromkeys(VARIANTS, (0, 1)),
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
