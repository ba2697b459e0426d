"""Trains the three detectors of chapter 4 by its recipes and stores what they find on eight scenes.

The chapter opens with one of the scenes, and its table takes AP from here.

    python benchmarks/experiments/anchor_free_preview.py    # three trainings of one to two minutes
"""

import runner
import torch

from detlearn import metrics, models, training
from detlearn.data import ToyTown

NAMES = ("retinanet", "fcos", "centernet")
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")


def run(variant: str, seed: int) -> dict:
    """Train one detector; return what it finds."""
    torch.manual_seed(seed)
    model = models.create(variant, num_classes=10)
    recipe = training.recipe(variant)
    history = training.fit(
        model, ToyTown(2000, seed=0), seed=seed, progress=False, **recipe.settings()
    )

    scores = metrics.evaluate(model, ToyTown(500, seed=1), progress=False)
    return {
        **runner.coco_numbers(scores, KEYS),
        "seconds": round(history.seconds),
        "preview": runner.preview_of_run(model),
    }


EXPERIMENT = runner.Experiment(
    name="anchor_free_preview",
    command="python benchmarks/experiments/anchor_free_preview.py",
    settings={name: training.recipe(name).numbers() for name in NAMES},
    seeds=dict.fromkeys(NAMES, (0,)),
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
