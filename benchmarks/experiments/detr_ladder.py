"""Trains DETR with one change more at a time, for about as long, and looks at it on the way.

* ``plain``: the paper's architecture in small, from random weights.
* ``warm backbone``: its backbone first learns under chapter 1's point head.
* ``anchor queries``: besides, queries are boxes.
* ``refinement``: besides, each decoder layer starts from the boxes of the last.
* ``IoU-aware``: besides, a score says how well the box fits.
* ``denoising``: besides, queries made of noisy objects are trained.

Some stand beside the ladder:

* ``groups``: as ``warm backbone``, and in training three groups of queries are matched, each by
  itself. In use it is the same network as without.
* ``groups, higher rate`` and ``one group, higher rate``: with and without groups at the learning
  rate of the recipe, which is 1.75 times that of the ladder.
* ``two-stage``: chapter 5's two-stage deformable detector, by its own recipe with 2.5 times the
  learning rate.

A step of one costs more than a step of the other, so each has as many as took 120 seconds, the
backbone's included, on one thread of the machine that the runs name. At eight moments it is
measured on 300 scenes of another seed: "curve" holds the seconds of training until then (without
those of the measuring), the images seen, AP and AP50. Each moment's weights are the averaged ones;
the learning rate falls to 0 at the end only, so that a curve's middle is not where a shorter
training would end. The seed decides the initial weights, the order of the images and how they are
augmented. All variants of a seed share the backbone's warm-up, which counts in each.

    python benchmarks/experiments/detr_ladder.py                # all: twenty trainings
    python benchmarks/experiments/detr_ladder.py --seeds 0      # some
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import runner
import torch

from detlearn import metrics, training
from detlearn.data import ToyTown
from detlearn.models import Detector
from detlearn.models.small import deformable_detr_small, detr_small

NAME = "detr_ladder"
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")
CHECKPOINTS = Path("runs") / "experiments"
TEST_SCENES = 300
MOMENTS = 8
# Of the recipe, with a learning rate that was chosen for a DETR without groups.
RECIPE = replace(training.recipe("detr"), lr=8e-4, backbone_steps=0)


class Rung(NamedTuple):
    """One variant: what is built, and how long it is trained."""

    build: Callable[[int], Detector]
    steps: int
    backbone_steps: int
    lr: float = RECIPE.lr


HIGHER_LR = training.recipe("detr").lr
plain = partial(detr_small, query_groups=1)
grouped = partial(detr_small, query_groups=3)
anchors = partial(detr_small, anchor_queries=True)
refined = partial(anchors, iterative_refinement=True)
aware = partial(refined, iou_aware=True)
denoised = partial(aware, denoising_groups=3)

LADDER = {
    "plain": Rung(plain, 1300, 0),
    "warm backbone": Rung(plain, 1120, 300),
    "anchor queries": Rung(anchors, 950, 300),
    "refinement": Rung(refined, 950, 300),
    "IoU-aware": Rung(aware, 950, 300),
    "denoising": Rung(denoised, 610, 300),
    "groups": Rung(grouped, 970, 300),
    "groups, higher rate": Rung(grouped, 970, 300, lr=HIGHER_LR),
    "one group, higher rate": Rung(plain, 1120, 300, lr=HIGHER_LR),
    "two-stage": Rung(deformable_detr_small, 650, 300, lr=training.recipe("deformable_detr").lr),
}


def run(variant: str, seed: int) -> dict:
    """Train one variant; return what it reaches, and when."""
    rung = LADDER[variant]
    train = ToyTown(2000, seed=0)
    test = ToyTown(TEST_SCENES, seed=1)

    torch.manual_seed(seed)
    model = rung.build(10)
    warming = warm_up(model, train, rung.backbone_steps, seed) if rung.backbone_steps else 0.0

    # The clock stands while the model is measured.
    curve, measuring, start = [], 0.0, time.perf_counter()
    moments = {round(rung.steps * k / MOMENTS) for k in range(1, MOMENTS)}

    def look(step: int, model: Detector) -> None:
        nonlocal measuring
        if step in moments:
            before = time.perf_counter()
            seconds = warming + before - start - measuring
            curve.append(point(model, test, rung, step, seconds))
            measuring += time.perf_counter() - before

    settings = replace(RECIPE, steps=rung.steps, lr=rung.lr).settings()
    history = training.fit(model, train, seed=seed, progress=False, after_step=look, **settings)
    seconds = warming + history.seconds - measuring
    curve.append(point(model, test, rung, rung.steps, seconds))

    scores = metrics.evaluate(model, test, progress=False)
    return {
        **runner.coco_numbers(scores, KEYS),
        "seconds": round(seconds, 1),
        "backbone_seconds": round(warming, 1),
        "steps": rung.steps,
        "curve": curve,
    }


def warm_up(model: Detector, train: ToyTown, steps: int, seed: int) -> float:
    """Warm the backbone up, or take over what an earlier variant of this seed learnt.

    Returns:
        The seconds that it took then.
    """
    channels = "-".join(str(number) for number in model.backbone.out_channels)
    path = CHECKPOINTS / f"{NAME} backbone {channels} {steps} {seed}.safetensors"
    history = training.warm_up(
        model, train, steps=steps, seed=seed, progress=False, checkpoint=path
    )
    return history.seconds


def point(
    model: Detector, test: ToyTown, rung: Rung, step: int, seconds: float
) -> dict[str, float]:
    """Measure a model on the way."""
    scores = metrics.evaluate(model, test, progress=False)
    images = (rung.backbone_steps + step) * RECIPE.batch_size
    numbers = runner.coco_numbers(scores, ("ap", "ap50"))
    return {"seconds": round(seconds, 1), "images": images, **numbers}


def without_steps() -> dict[str, float]:
    """Return what all trainings have in common: the recipe's numbers without its length."""
    return {name: value for name, value in RECIPE.numbers().items() if name != "steps"}


EXPERIMENT = runner.Experiment(
    name=NAME,
    command=f"python benchmarks/experiments/{NAME}.py",
    settings={**without_steps(), "test_scenes": TEST_SCENES},
    seeds={name: (0, 1) for name in LADDER},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
