"""Trains the detector of chapter 1 by its recipe and stores what it finds on eight scenes.

The chapter opens with them: what the reader is going to build. The same picture, drawn here into
book/_static/cover.png, stands on the start page and in the README.

    python benchmarks/experiments/point_preview.py
"""

from pathlib import Path

import torch

from detlearn import models, plotting, results, training
from detlearn.data import ToyTown

SEED = 20  # of the eight scenes; the training scenes have seed 0
KEPT = 0.3  # score below which the picture shows nothing
COVER = Path(__file__).parents[2] / "book" / "_static" / "cover.png"


def main() -> None:
    """Train, detect, store."""
    scenes = ToyTown(8, seed=SEED)
    torch.manual_seed(0)
    model = models.create("point", num_classes=10)
    history = training.fit(model, ToyTown(2000, seed=0), steps=640, lr=6e-3)
    device = next(model.parameters()).device
    with torch.inference_mode():
        found = model([image.to(device) for image, _ in scenes])
    shown = [{name: v[d["scores"] >= KEPT].tolist() for name, v in d.items()} for d in found]
    for d in shown:
        d["boxes"] = [[round(x, 1) for x in box] for box in d["boxes"]]
        d["scores"] = [round(x, 3) for x in d["scores"]]
    command = "python benchmarks/experiments/point_preview.py"
    path = results.store(
        "point_preview", {"seed": SEED, "detections": shown}, command=command, seeds=[0, SEED]
    )
    plotting.use_style()
    figure = plotting.show_grid(
        scenes, columns=4, class_names=scenes.class_names, detections=results.as_tensors(shown)
    )
    figure.savefig(COVER)
    print(history, path, COVER, sep="\n")


if __name__ == "__main__":
    main()
