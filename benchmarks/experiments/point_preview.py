"""Trains the detector of chapter 1 by its recipe and stores what it finds on eight scenes.

The chapter opens with them: what the reader is going to build. `scripts/cover.py` draws some of
them for the start page and the README.

    python benchmarks/experiments/point_preview.py
"""

import runner
import torch

from detlearn import models, training
from detlearn.data import ToyTown

RECIPE = training.recipe("point")


def run(variant: str, seed: int) -> dict:
    """Train the detector; return what it finds."""
    torch.manual_seed(seed)
    model = models.create(variant, num_classes=10)
    history = training.fit(model, ToyTown(2000, seed=0), seed=seed, **RECIPE.settings())
    return {"seconds": round(history.seconds), "preview": runner.detect_preview(model)}


EXPERIMENT = runner.Experiment(
    name="point_preview",
    command="python benchmarks/experiments/point_preview.py",
    settings=RECIPE.numbers(),
    seeds={"point": (0,)},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
