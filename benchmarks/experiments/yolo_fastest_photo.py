"""Reads Darknet's weights of Yolo-Fastest and draws what they find on two photographs of COCO.

The weights belong to others, and the photographs are too large to ship: both must lie in the folder
that DETLEARN_DATA names, ``coco_free`` in it and ``weights/yolo-fastest`` beside it.

    python benchmarks/experiments/yolo_fastest_photo.py
"""

import argparse
import os
from pathlib import Path

import matplotlib.pyplot as plt
import runner
import torch
from PIL import Image

from detlearn import plotting, results
from detlearn.data import CocoDetection
from detlearn.pretrained import from_darknet
from detlearn.samples import Detections

NAME = "yolo_fastest_photo"
WEIGHTS = "yolo-fastest-1.1-xl"
PHOTOGRAPHS = ("544", "599")  # COCO's numbers
MIN_SCORE = 0.5

PICTURE = {
    "alt": "Two photographs with what Yolo-Fastest finds in them: baseball players and two of "
    "their gloves; a cat on a sofa with two remote controls.",
    "source": "COCO train2017, numbers 544 and 599, whose authors Flickr names: "
    "https://flickr.com/photo.gne?id=2971164023 and https://flickr.com/photo.gne?id=8250132140",
    "licence": "CC BY 2.0",
}


def run(variant: str, seed: int) -> dict:
    """Detect on one photograph; nothing is random."""
    found, names = detect(photograph(variant)[0])
    return {
        "labels": [names[label] for label in found["labels"].tolist()],
        "scores": [round(score, 3) for score in found["scores"].tolist()],
        "boxes": [[round(side, 1) for side in box] for box in found["boxes"].tolist()],
        "seconds": 0,
    }


def folder() -> Path:
    """Return the folder of the data."""
    if "DETLEARN_DATA" not in os.environ:
        raise SystemExit("set DETLEARN_DATA to the folder with coco_free, beside weights/")
    return Path(os.environ["DETLEARN_DATA"])


def photograph(number: str) -> tuple[torch.Tensor, dict]:
    """Return a photograph with its annotations, by COCO's number."""
    free = folder() / "coco_free"
    dataset = CocoDetection(free / "images", free / "instances.json")
    for image, target in dataset:
        if int(target["image_id"]) == int(number):
            return image, target
    raise SystemExit(f"{free} has no photograph {number}")


def detect(image: torch.Tensor) -> tuple[Detections, list[str]]:
    """Return what the detector is rather sure of, and the names of its classes."""
    weights = folder().parent / "weights" / "yolo-fastest"
    model = from_darknet(weights / f"{WEIGHTS}.cfg", weights / f"{WEIGHTS}.weights").eval()
    with torch.no_grad():
        (found,) = model([image])

    sure = found["scores"] >= MIN_SCORE
    names = (weights / "coco.names").read_text().splitlines()
    return {key: value[sure] for key, value in found.items()}, names


def draw() -> Image.Image:
    """Draw the photographs one above the other, at twice the size at which pages show them."""
    plotting.use_style()
    fig, axes = plt.subplots(len(PHOTOGRAPHS), 1, figsize=(4.6, 6.3), dpi=200)
    for ax, number in zip(axes, PHOTOGRAPHS):
        image, _ = photograph(number)
        found, names = detect(image)
        plotting.show(image, found, class_names=names, ax=ax)
    return runner.as_picture(fig)


EXPERIMENT = runner.Experiment(
    name=NAME,
    command=f"python benchmarks/experiments/{NAME}.py",
    settings={"weights": WEIGHTS, "min_score": MIN_SCORE},
    seeds=dict.fromkeys(PHOTOGRAPHS, (0,)),
    run=run,
    picture=PICTURE,
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--redraw", action="store_true", help="the picture alone")
    options, rest = parser.parse_known_args()
    if not options.redraw:
        runner.main(EXPERIMENT, __doc__.split("\n")[0], rest)
    results.store_picture(NAME, draw())
