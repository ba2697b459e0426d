"""Asks four detectors for two objects with one centre: each finds the two alone; which together?

The scenes are drawn for this: a town with one pair of objects whose centres coincide exactly, an
outer one and, before it, an inner one. Each scene is drawn three times, the outer object alone, the
inner alone, and both; all else is the same to the pixel, so what a detector loses from one to the
other is lost to the pair.

* ``phone``: a person who holds a phone: two classes, two sizes.
* ``one class``: two objects of one class, the inner with .45 times the longer side.
* ``crossing``: a traffic light before a bus, equally long: two classes, one size, IoU about .2.

An object counts as found if a detection of its class has an IoU of at least .5 with it and at least
the score with which the detector does best (F1) in 500 ordinary scenes; the numbers that begin with
``any`` count detections of any score. "ap" and the like are those of the ordinary scenes,
"nested_ap" and the like those of the scenario `nested`.

Each detector is trained by its chapter's recipe, shortened to 400 steps, on ordinary scenes. The
seed decides the initial weights, the order of the images and how they are augmented. A training
that is broken off goes on at its last checkpoint.

    python benchmarks/experiments/anchor_free_failures.py                         # all
    python benchmarks/experiments/anchor_free_failures.py --only fcos --seeds 0   # some
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import runner
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detlearn import metrics, models, training
from detlearn.boxes import box_iou
from detlearn.data import ToyTown
from detlearn.data.toytown.classes import CLASS_NAMES, SPRITES
from detlearn.data.toytown.grounds import draw_ground
from detlearn.data.toytown.layout import PAIR_SCALE, PHONE_IN_HAND, Thing
from detlearn.data.toytown.painting import light_scene, paint_things, scatter_clutter
from detlearn.data.toytown.pen import between, pick
from detlearn.samples import Detections, Target

NAME = "anchor_free_failures"
DETECTORS = ("fcos", "centernet", "retinanet", "faster_rcnn")
KINDS = ("phone", "one class", "crossing")
KEYS = ("ap", "ap50", "ap75")
CHECKPOINTS = Path("runs") / "experiments"

SIDE = 128  # pixels
SCALE = (1 / 4, 1 / 2)  # the longer side of the outer object as a share of the image's
INNER = 0.45  # the inner object's longer side as a share of the outer's, in a pair of one class
ONE_CLASS = ("car", "tree", "house", "ball", "boat", "stop sign")
NUM_SCENES = 150  # of each kind
STEPS = 400
RECIPES = {name: replace(training.recipe(name), steps=STEPS) for name in DETECTORS}
IOU = 0.5


# ---- scenes --------------------------------------------------------------------------------------


class Pairs(Dataset):
    """Scenes with one pair of objects, or with one of the two alone.

    Args:
        num_images: number of scenes.
        kind: one of `KINDS`.
        seed: another one gives entirely different scenes.
        shown: which of the objects are drawn and annotated: "outer", "inner" or both of them.
    """

    def __init__(
        self,
        num_images: int,
        *,
        kind: str,
        seed: int,
        shown: tuple[str, ...],
    ) -> None:
        self.samples = []
        for index in range(num_images):
            self.samples.append(draw_pair(kind, seed, index, shown))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image, boxes, labels = self.samples[index]
        return image.float().div_(255), {"boxes": boxes.clone(), "labels": labels.clone()}


def draw_pair(
    kind: str, seed: int, index: int, shown: tuple[str, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw scene `index`: its image (3, S, S) uint8, boxes (n, 4) and labels (n,)."""
    rng = np.random.default_rng([seed, index])
    ground = draw_ground(rng, SIDE)
    scatter_clutter(ground, rng, (2, 8))
    things = dict(zip(("outer", "inner"), place_pair(kind, rng, ground.horizon)))

    # Each object and the light have numbers of their own: they stay, whoever else is shown.
    boxes, labels = [], []
    for number, (name, thing) in enumerate(things.items()):
        if name in shown:
            own = np.random.default_rng([seed, index, number])
            boxes.append(paint_things(ground.image, [thing], own)[0])
            labels.append(thing.label)
    image = light_scene(ground.image, np.random.default_rng([seed, index, len(things)]))
    return torch.from_numpy(image), torch.from_numpy(np.stack(boxes)), torch.tensor(labels)


def place_pair(kind: str, rng: np.random.Generator, horizon: int) -> tuple[Thing, Thing]:
    """Choose classes, sizes and the place of a pair with one centre: the outer and the inner."""
    if kind == "phone":
        outer, inner = "person", "phone"
        shape = shape_of(outer, longer_side(rng, PAIR_SCALE), rng)
        held = shape_of(inner, PHONE_IN_HAND * shape[1], rng)
    elif kind == "one class":
        outer = inner = pick(rng, ONE_CLASS)
        longer = longer_side(rng, SCALE)
        shape, held = shape_of(outer, longer, rng), shape_of(inner, INNER * longer, rng)
    else:
        outer, inner = "bus", "traffic light"
        longer = longer_side(rng, SCALE)
        shape, held = shape_of(outer, longer, rng), shape_of(inner, longer, rng)

    # The inner object has as many pixels more or less on either side: one centre, exactly.
    held = tuple(side + (side + whole) % 2 for side, whole in zip(held, shape))
    width, height = (max(pair) for pair in zip(shape, held))  # that both take together
    left = int(rng.integers(0, SIDE - width + 1))
    top = int(rng.integers(min(horizon, SIDE - height), SIDE - height + 1))

    things = []
    for depth, (name, (w, h)) in enumerate(((outer, shape), (inner, held))):
        x, y = left + (width - w) // 2, top + (height - h) // 2
        things.append(Thing(CLASS_NAMES.index(name), (x, y, x + w, y + h), depth))
    return things[0], things[1]


def longer_side(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Draw a longer side in pixels, log-uniform between two shares of the image's side."""
    return SIDE * limits[0] * (limits[1] / limits[0]) ** rng.random()


def shape_of(name: str, longer: float, rng: np.random.Generator) -> tuple[int, int]:
    """Draw width and height of an object of this class whose longer side is given."""
    aspect = between(rng, *SPRITES[name].aspect)
    width, height = (longer, longer / aspect) if aspect > 1 else (longer * aspect, longer)
    return round(width), round(height)


# ---- numbers -------------------------------------------------------------------------------------


def best_threshold(found: list[Detections], targets: list[Target]) -> float:
    """Return the score from which on detections have the highest F1, over all classes."""
    scores, right, num_objects = [], [], 0
    for one, target in zip(found, targets):
        num_objects += len(target["labels"])
        for label in one["labels"].unique():
            mine = one["labels"] == label
            theirs = target["labels"] == label
            scores.append(one["scores"][mine])
            right.append(metrics.true_positives(one["boxes"][mine], target["boxes"][theirs], IOU))

    scores, right = torch.cat(scores), torch.cat(right)
    precision, recall = metrics.precision_recall(scores, right, num_objects)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    return scores.sort(descending=True, stable=True).values[f1.argmax()].item()


def recalls(
    found: list[Detections], targets: list[Target], threshold: float
) -> tuple[list[float], float]:
    """Return the share of scenes in which each object is found, and in which all are."""
    hits = []
    for one, target in zip(found, targets):
        iou = box_iou(target["boxes"], one["boxes"])  # (n, D)
        fits = (iou >= IOU) & (target["labels"][:, None] == one["labels"])
        hits.append((fits & (one["scores"] >= threshold)).any(dim=1))

    hits = torch.stack(hits).double()  # (scenes, n)
    each = [round(share, 4) for share in hits.mean(dim=0).tolist()]
    return each, round(hits.prod(dim=1).mean().item(), 4)


def measure_pairs(model: torch.nn.Module, threshold: float) -> dict[str, dict[str, float]]:
    """Return for each kind how often each object is found, alone and in its pair."""
    table = {}
    for kind in KINDS:
        row = {}
        for shown in (("outer",), ("inner",), ("outer", "inner")):
            scenes = Pairs(NUM_SCENES, kind=kind, seed=1, shown=shown)
            found = metrics.predict(model, scenes, progress=False)
            targets = [target for _, target in scenes]
            for prefix, least in (("", threshold), ("any_", 0.0)):
                each, both = recalls(found, targets, least)
                if len(shown) == 1:
                    row[f"{prefix}{shown[0]}_alone"] = each[0]
                else:
                    row[f"{prefix}outer"], row[f"{prefix}inner"] = each
                    row[f"{prefix}both"] = both
        table[kind] = row
    return table


def run(variant: str, seed: int) -> dict:
    """Train one detector; return how good it is in general, and what it finds of pairs."""
    train = ToyTown(2000, seed=0)

    torch.manual_seed(seed)
    model = models.create(variant, 10)
    checkpoint = CHECKPOINTS / f"{NAME} {variant} {seed}.safetensors"
    history = training.fit(
        model,
        train,
        seed=seed,
        progress=False,
        checkpoint=checkpoint,
        **RECIPES[variant].settings(),
    )

    test = ToyTown(500, seed=1)
    targets = [target for _, target in test]
    found = metrics.predict(model, test, progress=False)
    threshold = best_threshold(found, targets)
    scores = metrics.coco_metrics(found, targets, num_classes=10)
    nested = metrics.evaluate(model, ToyTown.scenario("nested", 500, seed=1), progress=False)

    numbers = {
        **runner.coco_numbers(scores, KEYS),
        **{f"nested_{key}": n for key, n in runner.coco_numbers(nested, KEYS).items()},
        "threshold": round(threshold, 4),
        "pairs": measure_pairs(model, threshold),
        "seconds": round(history.seconds),
    }
    checkpoint.unlink()
    return numbers


EXPERIMENT = runner.Experiment(
    name=NAME,
    command=f"python benchmarks/experiments/{NAME}.py",
    settings={name: recipe.numbers() for name, recipe in RECIPES.items()},
    seeds=dict.fromkeys(DETECTORS, (0, 1, 2)),
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
