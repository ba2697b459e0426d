"""The trainings on ToyTown's default scenes: the table, its peers, and fewer labelled images.

* The table: each detector of the book, as many steps as take 240 seconds (``comparison_steps.py``).
* The peers: torchvision's detectors for as long on images as they are, at several learning rates,
  of which the table shows the best, so that nothing is lost to a rate that we chose badly. At
  torchvision's own size one step takes longer than all that time (``comparison_steps.py``).
* Fewer labels: each detector for as long, on 100 and 500 images instead of 2000.

A training is measured on 500 scenes of another seed at its end, and sixteen times on the way on 100
of them (torchvision's once, at the end), with the averaged weights. "steps_to_80" is the first of
these moments at which AP50 was at least .8, None if there was none; the learning rate falls to 0 at
the end only, so a shorter training may well reach .8 earlier.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import comparison_steps
import runner
import torch
from comparison_sizes import CHECKPOINTS, Sizes
from torch import nn
from torch.utils.data import Dataset

from detlearn import metrics, training
from detlearn.data import ToyTown
from detlearn.machine.checkpoints import save_tensors, write_atomically
from detlearn.training import History, Recipe

KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
ENOUGH = 0.8  # the AP50 to which the time is measured
PEER_MOMENTS = 1  # at the end: torchvision's detectors take as long to measure as to train


class Curve:
    """What a training reached on the way, kept in a file so that a killed one goes on with it.

    Args:
        path: of the file.
        moments: steps after which to look.
        scenes: on which to measure.
    """

    def __init__(self, path: Path, moments: Sequence[int], scenes: Dataset) -> None:
        self.path = path
        self.moments = set(moments)
        self.scenes = scenes
        self.points: dict[int, float] = {}  # step → AP50
        if path.exists():
            stored = {int(step): ap50 for step, ap50 in json.loads(path.read_text()).items()}
            # Steps of a training of another length, which was killed, are none of ours.
            self.points = {step: ap50 for step, ap50 in stored.items() if step in self.moments}

    def look(self, step: int, model: nn.Module) -> None:
        """Measure the model, if this is one of the moments."""
        if step in self.moments:
            scores = metrics.evaluate(model, self.scenes, progress=False)
            self.points[step] = round(scores.ap50, 4)
            write_atomically(self.path, json.dumps(self.points).encode())

    def reached(self, ap50: float) -> int | None:
        """Return the first step at which the AP50 was at least so much, None if it never was."""
        return min((step for step, value in self.points.items() if value >= ap50), default=None)


def train(
    name: str,
    variant: str,
    seed: int,
    how: Recipe,
    scenes: Dataset,
    looked_at: Dataset | None = None,
    moments: int = 0,
) -> tuple[nn.Module, History, Curve]:
    """Train one detector, or go on where an earlier call was killed.

    Args:
        name: of the experiment: with variant and seed it names the checkpoint.
        variant: what is built, see `comparison_steps.build`.
        seed: decides the initial weights, the order of the images and how they are augmented.
        how: the recipe, with its steps.
        scenes: to train on.
        looked_at: to measure on, on the way.
        moments: how often to look, the end included.

    Returns:
        The detector, what happened, and what it reached on the way.
    """
    stem = CHECKPOINTS / f"{name} {variant} {seed}"
    torch.manual_seed(seed)
    model = comparison_steps.build(variant)

    steps = {round(how.steps * k / moments) for k in range(1, moments + 1)}
    curve = Curve(Path(f"{stem} curve.json"), sorted(steps), looked_at)
    history = training.fit(
        model,
        scenes,
        seed=seed,
        progress=False,
        amp=comparison_steps.AMP,
        checkpoint=f"{stem}.safetensors",
        after_step=curve.look if moments else None,
        **how.settings(),
    )
    return model, history, curve


def forget(name: str, variant: str, seed: int) -> None:
    """Delete the checkpoint and the curve of a training whose numbers are stored."""
    for ending in (".safetensors", " curve.json"):
        Path(f"{CHECKPOINTS / f'{name} {variant} {seed}'}{ending}").unlink(missing_ok=True)


def weights_file(variant: str) -> Path:
    """Return where the weights of a row's first seed are kept; see `keep_weights`."""
    return CHECKPOINTS / f"comparison weights {variant}.safetensors"


def keep_weights(name: str, variant: str, label: str, model: nn.Module) -> None:
    """Keep what a row has learnt, for the measurement of its speed; replaces what was kept.

    Args:
        name: of the experiment, which is noted in the file.
        variant: what the model is.
        label: of the row.
        model: trained.
    """
    notes = {"variant": variant, "experiment": name}
    save_tensors(weights_file(label), model.state_dict(), notes)


def row(
    name: str,
    variant: str,
    seed: int,
    how: Recipe,
    train_scenes: int,
    sizes: Sizes,
    moments: int,
) -> tuple[nn.Module, dict[str, Any]]:
    """Train a detector and measure it on the default scenes.

    Returns:
        The detector and its row.
    """
    test = ToyTown(sizes.test_scenes, seed=1)
    looked_at = torch.utils.data.Subset(test, range(sizes.curve_scenes))
    looked_at.class_names = test.class_names

    model, history, curve = train(
        name, variant, seed, how, ToyTown(train_scenes, seed=0), looked_at, moments
    )
    scores = metrics.evaluate(model, test, progress=False)
    return model, {
        **runner.coco_numbers(scores, KEYS),
        "steps": how.steps,
        "images": history.images,
        "seconds": round(history.seconds, 1),  # the looking on the way included
        "steps_to_80": curve.reached(ENOUGH),
        "curve": sorted(curve.points.items()),
    }


def table(sizes: Sizes, command: str) -> runner.Experiment:
    """Return the experiment of the table: every detector for equal time, over the seeds."""
    name = "comparison"

    def run(variant: str, seed: int) -> dict[str, Any]:
        how = comparison_steps.recipe_within(variant, sizes.table_seconds)
        model, numbers = row(
            name, variant, seed, how, sizes.train_scenes, sizes, moments=sizes.moments
        )
        if seed == sizes.seeds[0]:
            keep_weights(name, variant, variant, model)
        return numbers

    return runner.Experiment(
        name=name,
        command=command,
        settings={**settings_of_rows(sizes), "recipes": without_steps(sizes.detectors)},
        seeds=dict.fromkeys(sizes.detectors, sizes.seeds),
        run=run,
        forget=partial(forget, name),
    )


def settings_of_rows(sizes: Sizes) -> dict[str, Any]:
    """Return what all rows of the table have in common, the peers' too."""
    return {
        "seconds": sizes.table_seconds,
        "precision": "float32",
        "train_scenes": sizes.train_scenes,
        "test_scenes": sizes.test_scenes,
        "curve_scenes": sizes.curve_scenes,
    }


def peer_labels(sizes: Sizes) -> dict[str, tuple[str, float]]:
    """Return what of torchvision is trained: label → the detector and its learning rate."""
    return {
        f"{variant} lr {lr:g}": (variant, lr)
        for variant in comparison_steps.peer_variants(sizes)
        for lr in sizes.peer_lrs
    }


def peer_recipe(variant: str, lr: float, sizes: Sizes) -> Recipe:
    """Return how one of torchvision's detectors is trained at a learning rate."""
    how = comparison_steps.recipe_within(variant, sizes.table_seconds)

    # A training of a few steps never leaves the warm-up of a hundred.
    return replace(how, lr=lr, lr_warmup=max(1, min(how.lr_warmup, how.steps // 4)))


def peers(sizes: Sizes, command: str) -> runner.Experiment:
    """Return the experiment of torchvision's detectors: for equal time, at several rates."""
    name = "comparison_peers"
    variants = peer_labels(sizes)

    def run(label: str, seed: int) -> dict[str, Any]:
        variant, lr = variants[label]
        how = peer_recipe(variant, lr, sizes)
        moments = min(PEER_MOMENTS, sizes.moments)

        # One checkpoint each: the rates of one detector are different trainings. A rate that is
        # too high for a detector ends it, which is a result.
        try:
            model, numbers = row(
                f"{name} {lr:g}", variant, seed, how, sizes.train_scenes, sizes, moments
            )
        except FloatingPointError:
            return {"detector": variant, "lr": lr, **diverged(how)}
        keep_weights(name, variant, label, model)
        return {"detector": variant, "lr": lr, **numbers}

    def forget_rate(label: str, seed: int) -> None:
        variant, lr = variants[label]
        forget(f"{name} {lr:g}", variant, seed)

    recipe = comparison_steps.PEER_RECIPE.numbers()
    return runner.Experiment(
        name=name,
        command=command,
        settings={
            **settings_of_rows(sizes),
            "recipe": {key: recipe[key] for key in recipe if key not in ("steps", "lr")},
        },
        seeds=dict.fromkeys(variants, sizes.seeds[:1]),
        run=run,
        forget=forget_rate,
    )


def diverged(how: Recipe) -> dict[str, Any]:
    """Return the row of a training whose loss did not stay finite: it finds nothing."""
    nothing = dict.fromkeys(KEYS, 0.0)
    return {**nothing, "steps": how.steps, "steps_to_80": None, "curve": [], "diverged": True}


def fewer_labels(sizes: Sizes, command: str) -> runner.Experiment:
    """Return the experiment of small training sets: every detector for equal time, one seed."""
    name = "comparison_labels"
    variants = {}
    for count in sizes.label_counts:
        for detector in sizes.detectors:
            variants[f"{detector}, {count} images"] = (detector, count)

    def run(label: str, seed: int) -> dict[str, Any]:
        variant, count = variants[label]
        how = comparison_steps.recipe_within(variant, sizes.table_seconds)
        _, numbers = row(f"{name} {count}", variant, seed, how, count, sizes, moments=0)

        # Nothing was looked at on the way.
        del numbers["steps_to_80"], numbers["curve"]
        return {"detector": variant, "train_scenes": count, **numbers}

    def forget_count(label: str, seed: int) -> None:
        variant, count = variants[label]
        forget(f"{name} {count}", variant, seed)

    return runner.Experiment(
        name=name,
        command=command,
        settings={
            "seconds": sizes.table_seconds,
            "precision": "float32",
            "test_scenes": sizes.test_scenes,
            "recipes": without_steps(sizes.detectors),
        },
        seeds=dict.fromkeys(variants, sizes.seeds[:1]),
        run=run,
        forget=forget_count,
    )


def without_steps(detectors: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the recipes' numbers but for the steps, which the calibration decides."""
    recipes = {}
    for name in detectors:
        numbers = comparison_steps.recipe(name).numbers()
        recipes[name] = {key: value for key, value in numbers.items() if key != "steps"}
    return recipes
