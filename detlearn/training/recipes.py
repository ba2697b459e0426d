"""How each small detector is trained on ToyTown: one place for chapters, experiments, command line.

The numbers were found by trial on two CPU cores, where such a training takes one to five minutes,
depending on the processor.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Any

from detlearn.data.transforms import Transform, flip


@dataclass(frozen=True)
class Recipe:
    """What `fit` needs to know to train one detector.

    Attributes:
        steps: how long.
        batch_size: images of a step.
        lr: the peak learning rate.
        lr_warmup: steps in which the learning rate rises to its peak.
        clip_norm: gradients are scaled down to this norm if they exceed it.
        ema: decay of the averaged weights.
        augment: transform of a training sample.
        backbone_steps: steps before all others, in which the backbone alone learns a dense task;
            see `warm_up`.
    """

    steps: int
    batch_size: int = 16
    lr: float = 6e-3
    lr_warmup: int = 50
    clip_norm: float = 10.0
    ema: float | None = 0.995
    augment: Transform | None = flip
    backbone_steps: int = 0

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of `fit`, for ``fit(model, train, **recipe.settings())``.

        Backbone steps are among them where there are any.
        """
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.backbone_steps == 0:
            del settings["backbone_steps"]
        return settings

    def numbers(self) -> dict[str, float]:
        """Return the settings that are numbers, for the record of a stored result."""
        settings = self.settings()
        del settings["augment"]
        return settings


# The second stage of the two-stage detectors meets other proposals at every step. Its gradients
# are large in the beginning, so they are clipped lower and the learning rate rises more slowly.
RECIPES = {
    "point": Recipe(steps=640),
    "faster_rcnn": Recipe(steps=600, clip_norm=2.0, lr_warmup=100),
    "cascade_rcnn": Recipe(steps=600, clip_norm=2.0, lr_warmup=100),
    "yolov1": Recipe(steps=1000),
    "yolov3": Recipe(steps=1100),
    "yolov8": Recipe(steps=1000),
    "retinanet": Recipe(steps=1050),
    "fcos": Recipe(steps=1100),
    "centernet": Recipe(steps=1400),
    "detr": Recipe(steps=1450, lr=1.4e-3, clip_norm=1.0, lr_warmup=100, backbone_steps=300),
    "deformable_detr": Recipe(steps=650, lr=2e-3, clip_norm=1.0, lr_warmup=100, backbone_steps=300),
}


def recipe(name: str) -> Recipe:
    """Return the recipe of a small detector, shortened where `is_shortened` says so.

    Args:
        name: what `detlearn.models.create` calls the detector.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe called {name!r}; there are: {', '.join(sorted(RECIPES))}")
    found = RECIPES[name]
    return replace(
        found,
        steps=shortened(found.steps),
        backbone_steps=shortened(found.backbone_steps),
    )


def is_shortened() -> bool:
    """Return whether the environment variable ``DETLEARN_FAST`` shortens all trainings.

    It is set where a notebook runs to show that it runs, not for what it learns.
    """
    return os.environ.get("DETLEARN_FAST", "0") not in ("", "0")


def shortened(steps: int) -> int:
    """Return how many steps to train (or scenes to measure): all, or few if `is_shortened`.

    Args:
        steps: of the whole training.

    Returns:
        ``steps``, or a thirty-second of them, at least 5.
    """
    if not is_shortened():
        return steps
    return min(steps, max(5, steps // 32))
