"""Trains the detector of chapter 1 by its recipe and stores what it finds on eight scenes.

The chapter opens with them: what the reader is going to build. The same picture, drawn here into
book/_static/cover.png, stands on the start page and in the README.

    python benchmarks/experiments/point_preview.py
"""

from pathlib import Path

import runner
import torch

from detlearn import models, plotting, results, training
from detlearn.data import ToyTown

RECIPE = training.recipe("point")
COVER = Path(__file__).parents[2] / "book" / "_static" / "cover.png"


def run(variant: str, seed: int) -> dict:
    """Train the detector; return what it finds."""
    torch.manual_seed(seed)
    model = models.create(variant, num_classes=10)
    history = training.fit(model, ToyTown(2000, seed=0), seed=seed, **RECIPE.settings())
    return {"seconds": round(history.seconds), "preview": runner.detect_preview(model)}


def draw_cover() -> None:
    """Draw what is stored."""
    scenes = runner.preview_scenes()
    preview = results.load("point_preview")["preview"]

    plotting.use_style()
    figure = plotting.show_grid(
        scenes,
        columns=4,
        class_names=scenes.class_names,
        detections=results.as_tensors(preview["detections"]),
    )

    figure.savefig(COVER)


EXPERIMENT = runner.Experiment(
    name="point_preview",
    command="python benchmarks/experiments/point_preview.py",
    settings=RECIPE.numbers(),
    seeds={"point": (0,)},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
    draw_cover()
