"""Trains the detector of chapter 1 with one choice changed at a time, over two seeds, on ToyTown.

* ``as it is``: the detector of the chapter.
* ``one location``: the box of an object is learnt at one location, the one that holds its centre.
* ``cross-entropy``: the heat map learns by plain cross-entropy instead of the focal loss.
* ``twice as wide``: all Gaussians have twice the standard deviations.

All else is equal: the chapter's recipe, measured on 500 scenes of another seed. The seed decides
the initial weights, the order of the images and how they are augmented.

    python benchmarks/experiments/point_choices.py

The stored runs took one to ten minutes each, on one thread of a machine that did other things as
well.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import runner
import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn import metrics, models, training
from detlearn.data import ToyTown
from detlearn.models import point

RECIPE = training.recipe("point")
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")


def cross_entropy(logits: Tensor, targets: Tensor, reduction: str) -> Tensor:
    """Return the plain loss of yes-or-no questions, with the soft answers of the heat map."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction=reduction)


# variant -> names of models/point.py and what they are in it
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one location": {"NEAR": 1.0},
    "cross-entropy": {"heatmap_focal_loss": cross_entropy},
    "twice as wide": {"SPREAD": 0.24},
}


@contextmanager
def changed(choices: dict[str, Any]) -> Iterator[None]:
    """Change constants and functions of the detector's module for a while."""
    with mock.patch.multiple(point, **choices) if choices else mock.MagicMock():
        yield


def run(variant: str, seed: int) -> dict:
    """Train one variant; return what it reaches."""
    train = ToyTown(2000, seed=0)
    test = ToyTown(500, seed=1)

    torch.manual_seed(seed)
    model = models.create("point", num_classes=10)
    with changed(VARIANTS[variant]):
        history = training.fit(model, train, seed=seed, **RECIPE.settings())

    scores = metrics.evaluate(model, test, progress=False)
    return {**runner.coco_numbers(scores, KEYS), "seconds": round(history.seconds)}


EXPERIMENT = runner.Experiment(
    name="point_choices",
    command="python benchmarks/experiments/point_choices.py",
    settings=RECIPE.numbers(),
    seeds=dict.fromkeys(VARIANTS, (0, 1)),
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
