"""Trains FCOS with and without centerness, over three seeds.

* ``with``: the detector of the chapter. "ap" and the like are its numbers; "ignored_ap" and the
  like those of the same model when its scores are the class's alone.
* ``without``: no such branch, and all locations' boxes count alike in the loss.

All else is equal: the chapter's recipe, shortened to 600 steps, measured on 500 scenes of another
seed. The seed decides the initial weights, the order of the images and how they are augmented. A
training that is broken off goes on at its last checkpoint.

    python benchmarks/experiments/centerness.py                # all: six trainings
    python benchmarks/experiments/centerness.py --seeds 0      # some
"""

from dataclasses import replace
from pathlib import Path

import runner
import torch

from detlearn import metrics, training
from detlearn.data import ToyTown
from detlearn.models import FCOS
from detlearn.models.fcos import FCOSOutputs
from detlearn.models.small import fcos_small
from detlearn.samples import Detections

NAME = "centerness"
RECIPE = replace(training.recipe("fcos"), steps=600)
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")
CHECKPOINTS = Path("runs") / "experiments"
VARIANTS = {"with": True, "without": False}


def run(variant: str, seed: int) -> dict:
    """Train one variant; return what it reaches."""
    train = ToyTown(2000, seed=0)
    test = ToyTown(500, seed=1)

    torch.manual_seed(seed)
    model = fcos_small(10, centerness=VARIANTS[variant])
    checkpoint = CHECKPOINTS / f"{NAME} {variant} {seed}.safetensors"
    history = training.fit(
        model, train, seed=seed, progress=False, checkpoint=checkpoint, **RECIPE.settings()
    )

    scores = metrics.evaluate(model, test, progress=False)
    numbers = {**runner.coco_numbers(scores, KEYS), "seconds": round(history.seconds)}
    if variant == "with":
        ignore_centerness(model)
        scores = metrics.evaluate(model, test, progress=False)
        again = runner.coco_numbers(scores, KEYS)
        numbers |= {f"ignored_{key}": value for key, value in again.items()}

    checkpoint.unlink()
    return numbers


def ignore_centerness(model: FCOS) -> None:
    """Let a detector score by its classes alone, as one without the branch does."""
    decode = model.decode

    def decode_classes(outputs: FCOSOutputs) -> list[Detections]:
        return decode(outputs._replace(centerness_logits=None))

    model.decode = decode_classes


EXPERIMENT = runner.Experiment(
    name=NAME,
    command=f"python benchmarks/experiments/{NAME}.py",
    settings=RECIPE.numbers(),
    seeds={name: (0, 1, 2) for name in VARIANTS},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
