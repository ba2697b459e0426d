"""Trains the two-stage deformable detector with and without what makes it learn faster.

* ``recipe``: as chapter 5 trains it: the backbone warmed up, proposals that know classes, queries
  that start with the features of their proposals, scores that learn the IoU, no encoder.
* ``no warm-up``: from random weights, with as many steps more as take the same time.
* ``objects only``: proposals say "object" and not which, as published.
* ``boxes only``: queries start with their proposal's box alone, as published.
* ``published``: both as published.
* ``focal loss``: scores learn yes and no.
* ``encoder``: one layer, with fewer steps in the same time.

Each is measured on 300 scenes of another seed. The seed decides the initial weights, the order of
the images and how they are augmented.

    python benchmarks/experiments/deformable_choices.py                # all
    python benchmarks/experiments/deformable_choices.py --seeds 0      # some
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import runner
import torch

from detlearn import metrics, training
from detlearn.data import ToyTown
from detlearn.models import Detector
from detlearn.models.small import deformable_detr_small

NAME = "deformable_choices"
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")
TEST_SCENES = 300
RECIPE = training.recipe("deformable_detr")


class Choice(NamedTuple):
    """One variant: what is built, and how long it is trained."""

    build: Callable[[int], Detector]
    steps: int = RECIPE.steps
    backbone_steps: int = RECIPE.backbone_steps


small = deformable_detr_small

CHOICES = {
    "recipe": Choice(small),
    "no warm-up": Choice(small, RECIPE.steps + RECIPE.backbone_steps // 2, 0),
    "objects only": Choice(partial(small, proposals_know_classes=False)),
    "boxes only": Choice(partial(small, queries_know_features=False)),
    "published": Choice(partial(small, proposals_know_classes=False, queries_know_features=False)),
    "focal loss": Choice(partial(small, iou_aware=False)),
    "encoder": Choice(partial(small, num_encoder_layers=1), RECIPE.steps * 3 // 5),
}


def run(variant: str, seed: int) -> dict:
    """Train one variant; return what it reaches."""
    choice = CHOICES[variant]
    torch.manual_seed(seed)
    model = choice.build(10)

    recipe = replace(RECIPE, steps=choice.steps, backbone_steps=choice.backbone_steps)
    history = training.fit(
        model, ToyTown(2000, seed=0), seed=seed, progress=False, **recipe.settings()
    )

    scores = metrics.evaluate(model, ToyTown(TEST_SCENES, seed=1), progress=False)
    return {
        **runner.coco_numbers(scores, KEYS),
        "seconds": round(history.seconds, 1),
        "backbone_seconds": round(history.backbone_seconds or 0.0, 1),
        "steps": choice.steps,
        "backbone_steps": choice.backbone_steps,
    }


def without_steps() -> dict[str, float]:
    """Return what all trainings have in common: the recipe's numbers without its length."""
    numbers = RECIPE.numbers()
    return {name: value for name, value in numbers.items() if not name.endswith("steps")}


EXPERIMENT = runner.Experiment(
    name=NAME,
    command=f"python benchmarks/experiments/{NAME}.py",
    settings={**without_steps(), "test_scenes": TEST_SCENES},
    seeds={name: (0, 1) for name in CHOICES},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
