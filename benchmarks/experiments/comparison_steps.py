"""How many steps each detector takes in equal time: the comparison's calibration.

Each detector is trained for some seconds, alone on the machine, with one thread, by the trainer
that trains it later. The median time of a step, and that of a step of the backbone's warm-up where
there is one, turn any budget of seconds into a number of steps. These times are stored with the
machine that measured them; every later run reads them, and so does the same work on any machine.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from dataclasses import replace
from typing import Any

import comparison_peers
import runner
import torch
from comparison_sizes import NMS_FREE, Sizes
from torch import nn

from detlearn import models, results, training
from detlearn.data import ToyTown
from detlearn.models.small import yolov8_small
from detlearn.training import Recipe

NAME = "comparison_steps"
NUM_CLASSES = 10
BATCH = 16
# torchvision's detectors get what our two-stage detectors get, but for the learning rate, which
# comparison_trainings.py chooses.
PEER_RECIPE = Recipe(steps=1, batch_size=BATCH, lr=1e-3, clip_norm=2.0, lr_warmup=100)
PEER = "torchvision "
# float32 everywhere, also where the processor multiplies bfloat16: so the same steps are the same
# work on any machine, and a table does not depend on which one trained it.
AMP = False
# A crowd has up to 20 objects, and a query finds one: as many as Deformable DETR has.
DETR_QUERIES = 20
FEWEST_STEPS = 4  # a detector of longer steps is timed over so many, unless that takes minutes
LONGEST_STEP = 60.0  # seconds


def build(variant: str) -> nn.Module:
    """Build a detector of the comparison with random weights.

    Args:
        variant: what `detlearn.models.create` knows, `NMS_FREE`, or "torchvision <name> <side>".
    """
    if variant == NMS_FREE:
        return yolov8_small(NUM_CLASSES, heads=("one_to_many", "one_to_one"))
    if variant.startswith(PEER):
        name, side = variant.removeprefix(PEER).split()
        return comparison_peers.peer(name, int(side))
    if variant == "detr":
        return models.create(variant, NUM_CLASSES, num_queries=DETR_QUERIES)
    return models.create(variant, NUM_CLASSES)


def recipe(variant: str) -> Recipe:
    """Return how a detector of the comparison is trained, but for its length."""
    if variant.startswith(PEER):
        return PEER_RECIPE
    return training.recipe("yolov8" if variant == NMS_FREE else variant)


def peer_variants(sizes: Sizes) -> tuple[str, ...]:
    """Return torchvision's detectors, as they are trained."""
    return tuple(f"{PEER}{name} {sizes.peer_side}" for name in sizes.peers)


def full_size_peers(sizes: Sizes) -> tuple[str, ...]:
    """Return torchvision's detectors as torchvision sizes images; these are only timed."""
    if sizes.full_side is None:
        return ()
    return tuple(f"{PEER}{name} {sizes.full_side}" for name in sizes.peers)


def time_of_step(
    model: nn.Module, train: ToyTown, how: Recipe, seconds: float
) -> tuple[float, int]:
    """Train a model for some seconds, or for a few steps where these take longer.

    Returns:
        The median seconds of a step, the first left out where there are more, and how many steps
        that is the median of.
    """
    settings = how.settings()
    for name in ("steps", "backbone_steps"):
        settings.pop(name, None)

    took = times_of_steps(model, train, {**settings, "minutes": seconds / 60})
    if len(took) < FEWEST_STEPS and max(took) < LONGEST_STEP:
        took = times_of_steps(model, train, {**settings, "steps": FEWEST_STEPS})

    # The first step allocates, compiles kernels and draws the order of the images.
    counted = took[1:] or took
    return statistics.median(counted), len(counted)


def times_of_steps(model: nn.Module, train: ToyTown, settings: dict[str, Any]) -> list[float]:
    """Train a model with settings of `fit`, and return the seconds of each step."""
    ends = [time.perf_counter()]
    training.fit(
        model,
        train,
        progress=False,
        amp=AMP,
        after_step=lambda step, model: ends.append(time.perf_counter()),
        **settings,
    )
    return [after - before for before, after in itertools.pairwise(ends)]


def calibration(sizes: Sizes, command: str) -> runner.Experiment:
    """Return the experiment that measures the time of each detector's step."""

    def run(variant: str, seed: int) -> dict[str, Any]:
        train = ToyTown(sizes.train_scenes, seed=0)
        torch.manual_seed(seed)
        model, how = build(variant), recipe(variant)

        # The backbone learns under chapter 1's head, so that is what a step of it costs.
        backbone_step = 0.0
        if how.backbone_steps:
            teacher = models.PointDetector(NUM_CLASSES, model.backbone, batcher=model.batcher)
            backbone_step, _ = time_of_step(
                teacher, train, training.recipe("point"), sizes.calibration_seconds
            )

        step, counted = time_of_step(model, train, how, sizes.calibration_seconds)
        return {
            "seconds_per_step": round(step, 5),
            "seconds_per_backbone_step": round(backbone_step, 5),
            "backbone_steps": how.backbone_steps,
            "steps_timed": counted,
            "threads": torch.get_num_threads(),
        }

    return runner.Experiment(
        name=NAME,
        command=command,
        settings={
            "seconds": sizes.calibration_seconds,
            "batch_size": BATCH,
            "precision": "float32",
        },
        seeds=dict.fromkeys(
            (*sizes.variants_of_matrix(), *peer_variants(sizes), *full_size_peers(sizes)), (0,)
        ),
        run=run,
    )


def steps_within(variant: str, seconds: float) -> int:
    """Return how many steps of a detector the stored calibration gives to a budget.

    Args:
        variant: see `build`.
        seconds: the budget, the backbone's steps included.

    Raises:
        FileNotFoundError: if nothing is calibrated.
        ValueError: if this detector isn't, or if its backbone takes the whole budget.
    """
    measured = results.load(NAME).run(variant)
    left = seconds - measured["backbone_steps"] * measured["seconds_per_backbone_step"]
    if left <= 0:
        raise ValueError(
            f"the backbone of {variant} alone takes {seconds - left:.0f} s of {seconds:g} s: "
            "give the comparison more seconds, or its recipe fewer backbone_steps"
        )
    return max(1, math.floor(left / measured["seconds_per_step"]))


def recipe_within(variant: str, seconds: float) -> Recipe:
    """Return how a detector of the comparison is trained in a budget of seconds."""
    return replace(recipe(variant), steps=steps_within(variant, seconds))
