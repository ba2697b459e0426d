"""Trains RetinaNet and FCOS, each by its own rule and by ATSS, over three seeds: four cells.

Zhang et al. (2020, arXiv 1912.02424) say that who learns what makes the gap between the two, and
not that one measures boxes from anchors and the other from points. So all else is equal here: one
square anchor a location (FCOS has none, but ATSS compares its locations by the same squares), the
towers, their normalisation and how their weights start, the scale of every level, the focal loss,
GIoU, centerness, and the steps: the recipe's, shortened to 600.

* ``RetinaNet, IoU``: anchors with an IoU of 0.4 learn an object, and those that overlap it most.
* ``RetinaNet, ATSS``: adaptive training sample selection.
* ``FCOS, ranges``: level ranges and centre sampling, the smallest object wins.
* ``FCOS, ATSS``: adaptive training sample selection.

Besides AP a run has "without", the share of the training scenes' objects that no location learns,
and "learning", how many locations learn an object on the average. The seed decides the initial
weights, the order of the images and how they are augmented. A training that is broken off goes on
at its last checkpoint.

    python benchmarks/experiments/assignment_rules.py                # all: twelve trainings
    python benchmarks/experiments/assignment_rules.py --seeds 0      # some
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import runner
import torch

from detlearn import metrics, training
from detlearn.data import ToyTown
from detlearn.models import Detector
from detlearn.models.small import fcos_small, retinanet_small

NAME = "assignment_rules"
RECIPE = replace(training.recipe("fcos"), steps=600)
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")
CHECKPOINTS = Path("runs") / "experiments"

like_fcos = partial(retinanet_small, like_fcos=True, alpha=0.5, gamma=1.0)
VARIANTS: dict[str, Callable[[int], Detector]] = {
    "RetinaNet, IoU": like_fcos,
    "RetinaNet, ATSS": partial(like_fcos, assign_by="atss"),
    "FCOS, ranges": fcos_small,
    "FCOS, ATSS": partial(fcos_small, assign_by="atss"),
}


def run(variant: str, seed: int) -> dict:
    """Train one cell; return what it reaches, and who learns what in it."""
    train = ToyTown(2000, seed=0)
    test = ToyTown(500, seed=1)

    torch.manual_seed(seed)
    model = VARIANTS[variant](10)
    numbers = count_learners(model, train)

    checkpoint = CHECKPOINTS / f"{NAME} {variant} {seed}.safetensors"
    history = training.fit(
        model, train, seed=seed, progress=False, checkpoint=checkpoint, **RECIPE.settings()
    )
    scores = metrics.evaluate(model, test, progress=False)

    checkpoint.unlink()
    return {
        **runner.coco_numbers(scores, KEYS),
        **numbers,
        "seconds": round(history.seconds),
    }


@torch.no_grad()
def count_learners(model: Detector, scenes: ToyTown) -> dict[str, float]:
    """Return the share of objects that no location learns, and the locations an object has."""
    # What is predicted does not matter, only where.
    outputs = model.eval().predict(scenes[0][0][None])
    objects = learnt = locations = 0

    for _, target in scenes:
        assigned = model.assign(outputs, [target]).assigned
        learning = assigned[assigned >= 0]
        objects += len(target["labels"])
        learnt += len(learning.unique())
        locations += len(learning)

    return {"without": round(1 - learnt / objects, 4), "learning": round(locations / objects, 2)}


EXPERIMENT = runner.Experiment(
    name=NAME,
    command=f"python benchmarks/experiments/{NAME}.py",
    settings=RECIPE.numbers(),
    seeds={name: (0, 1, 2) for name in VARIANTS},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
