"""Trains the detector of chapter 1 with each box loss, over several seeds, for chapter 6.

Only the loss of the boxes differs between the runs: all follow chapter 1's recipe and are measured
on 500 scenes of another seed. The seed decides the initial weights, the order of the images and how
they are augmented.

    python benchmarks/experiments/box_losses.py        # twelve trainings of about 110 s on 2 cores
"""

import runner
import torch

from detlearn import losses, metrics, models, training
from detlearn.data import ToyTown

LOSSES = {
    "iou": losses.iou_loss,
    "giou": losses.giou_loss,
    "diou": losses.diou_loss,
    "ciou": losses.ciou_loss,
}
RECIPE = training.recipe("point")


def run(variant: str, seed: int) -> dict:
    """Train with one loss; return what it reaches."""
    torch.manual_seed(seed)
    model = models.PointDetector(num_classes=10, box_loss=LOSSES[variant])
    history = training.fit(model, ToyTown(2000, seed=0), seed=seed, **RECIPE.settings())

    scores = metrics.evaluate(model, ToyTown(500, seed=1))
    numbers = runner.coco_numbers(scores, ("ap", "ap50", "ap75"))
    return {**numbers, "seconds": round(history.seconds)}


EXPERIMENT = runner.Experiment(
    name="box_losses",
    command="python benchmarks/experiments/box_losses.py",
    settings=RECIPE.numbers(),
    seeds={variant: (0, 1, 2) for variant in LOSSES},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
