"""Train chapter 3's detector for a while and store all that it says of one scene on the way.

`explore.yolo_assignment` asks with it which location would learn which object: at the start, after
a few steps, and at the end of this short training. Scores and distances are rounded to 8 bits; the
figure says how they are read. The scene is not stored, ToyTown draws it again from its seed.

The detector learns here with YOLOv8's published numbers, ten locations an object and these inside
it: the figure's sliders begin there, so that it can be seen what they do.

    python benchmarks/experiments/yolo_moments.py
"""

import base64
from dataclasses import replace

import runner
import torch
from torch import Tensor

from detlearn import models, training
from detlearn.data import ToyTown
from detlearn.models.yolov8 import CLASS_WEIGHT, TOP_K, YOLOv8, expected_distances

# A quarter of the chapter's steps is enough to see who comes to learn what.
RECIPE = replace(training.recipe("yolov8"), steps=300)
MOMENTS = (0, 60, 300)
SCENE = 3  # of the preview's eight
LARGEST_DISTANCE = 15  # strides
POWERS = {"scores": 3, "distances": 2}  # of byte / 255: fine steps for small numbers


def run(variant: str, seed: int) -> dict:
    """Train the detector; return what it says at the moments."""
    torch.manual_seed(seed)
    model = models.create(variant, num_classes=10)
    model.topk, model.smallest, model.class_weight = TOP_K, 0.0, CLASS_WEIGHT
    moments = []

    def look(step: int, model: YOLOv8) -> None:
        if step in MOMENTS:
            moments.append({"step": step, **predictions(model)})

    look(0, model.eval())
    history = training.fit(
        model, ToyTown(2000, seed=0), seed=seed, after_step=look, **RECIPE.settings()
    )
    return {"seconds": round(history.seconds), "moments": moments}


@torch.no_grad()
def predictions(model: YOLOv8) -> dict[str, str]:
    """Return what the detector says of the scene, as text of one byte a number.

    "scores" (P, C) are those of the C classes that the scene has, in the order of their labels;
    "distances" (P, 4) are in strides.
    """
    image, target = runner.preview_scenes()[SCENE]
    batch, _ = model.batcher([image])
    head = model.predict(batch.images, batch.sizes).heads["one_to_many"]
    classes = target["labels"].unique()  # (C,) sorted

    scores = head.class_logits[0].sigmoid()[:, classes]  # (P, C)
    distances = expected_distances(head.distance_logits[0]) / LARGEST_DISTANCE  # (P, 4)
    return {
        "scores": as_text(scores, "scores"),
        "distances": as_text(distances, "distances"),
    }


def as_text(shares: Tensor, kind: str) -> str:
    """Return numbers in [0, 1] as bytes in base64, which stand for (byte / 255) ** power."""
    numbers = (255 * shares.clamp(0, 1) ** (1 / POWERS[kind])).round().byte()
    return base64.b64encode(bytes(numbers.flatten().tolist())).decode()


EXPERIMENT = runner.Experiment(
    name="yolo_moments",
    command="python benchmarks/experiments/yolo_moments.py",
    settings={
        **RECIPE.numbers(),
        "preview_seed": runner.PREVIEW_SEED,
        "scene": SCENE,
        "powers": POWERS,
        "largest_distance": LARGEST_DISTANCE,
    },
    seeds={"yolov8": (0,)},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
