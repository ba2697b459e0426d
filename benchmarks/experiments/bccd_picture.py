"""Trains the detectors of chapters 1 and 2 on blood cells at equal size; draws what they find.

Needs the BCCD images: in the folder that DETLEARN_DATA names, or from the network. The trainings
continue where they were stopped when the script is started again; a quarter of an hour each.

    python benchmarks/experiments/bccd_picture.py
"""

import argparse
import json
from collections.abc import Callable

import bccd
import matplotlib.pyplot as plt
import runner
import torch
from PIL import Image
from torch import Tensor

from detlearn import plotting, results
from detlearn.data import VOCDetection, download_bccd
from detlearn.machine.checkpoints import load_tensors
from detlearn.pretrained import load_detector
from detlearn.samples import Detections, Target

NAME = "bccd_two_detectors"
MODELS = {"point": "chapter 1's detector", "faster_rcnn": "Faster R-CNN"}
SIZE = "--min-size 160 --max-size 214"
LENGTH = "--epochs 60 --batch-size 8 --lr 4e-3 --augment hflip vflip color"
MIN_SCORE = 0.4

# Of the test split: which picture, and the left upper corner of the part of it that is shown.
CROPS = ((7, 90, 100), (16, 290, 30), (19, 100, 80))
SIDE = 300  # pixels of a crop

PICTURE = {
    "alt": "Three crops of blood smears, above with what chapter 1's detector finds, below with "
    "what Faster R-CNN finds: red cells, white cells and platelets in labelled boxes.",
    "source": "BCCD, shenggan 2017, https://github.com/Shenggan/BCCD_Dataset",
    "licence": "MIT licence",
}


def folder(model: str) -> str:
    """Return where the trained detector lies."""
    return f"runs/bccd_160_{model}"


def run(model: str, seed: int) -> dict:
    """Train one of the two; return what it reaches on the test split."""
    out = folder(model)
    print(bccd.detlearn(f"detlearn train --model {model} --data bccd {SIZE} {LENGTH} --out {out}"))

    numbers = json.loads(bccd.detlearn(f"detlearn evaluate {out} --data bccd --split test --json"))
    _, info = load_tensors(f"{out}/training.safetensors")
    return {**numbers, "seconds": round(info["history"]["seconds"], 1)}


def crop(
    image: Tensor, found: Detections, target: Target, left: int, top: int
) -> tuple[Tensor, Detections, Target]:
    """Cut a square out of a picture, with what lies in it at least by half."""
    window = torch.tensor([left, top, left + SIDE, top + SIDE])
    origin = torch.tensor([left, top, left, top])

    def inside(objects: dict[str, Tensor]) -> dict[str, Tensor]:
        boxes = objects["boxes"]
        cut = torch.cat([boxes[:, :2].maximum(window[:2]), boxes[:, 2:].minimum(window[2:])], 1)
        seen = (cut[:, 2:] - cut[:, :2]).clamp(min=0).prod(1)
        stays = seen >= 0.5 * (boxes[:, 2:] - boxes[:, :2]).prod(1)
        kept = {key: objects[key][stays] for key in ("labels", "scores") if key in objects}
        return {"boxes": cut[stays] - origin, **kept}

    part = image[:, top : top + SIDE, left : left + SIDE]
    return part, inside(found), inside(target)


def draw(models: dict[str, str], folder: Callable[[str], str]) -> Image.Image:
    """Draw the crops, a row for each detector, at twice the size at which pages show them.

    Args:
        models: name → title of its row.
        folder: name → where the trained detector lies.
    """
    test = VOCDetection(download_bccd(), "test")
    plotting.use_style()
    rows = len(models)
    fig, axes = plt.subplots(
        rows, len(CROPS), figsize=(7, 0.2 + 2.5 * rows), dpi=200, squeeze=False
    )

    for (model, title), row in zip(models.items(), axes):
        detector = load_detector(f"{folder(model)}/detector.safetensors").model.eval()
        for (index, left, top), ax in zip(CROPS, row):
            image, target = test[index]
            with torch.no_grad():
                (found,) = detector([image])
            part, found, target = crop(image, found, target, left, top)
            plotting.show_matches(
                part,
                found,
                target,
                min_score=MIN_SCORE,
                class_names=test.class_names,
                ax=ax,
                legend=False,
            )
        row[0].set_title(title, loc="left")

    plotting.match_legend(fig)
    return runner.as_picture(fig)


def of_one_detector(name: str, model: str, words: str) -> runner.Experiment:
    """Return what is run for the picture of one detector: the training of bccd.py.

    Args:
        name: of the picture and of the script that draws it.
        model: what ``detlearn train`` calls the detector. Where it is trained already, its training
            is found finished.
        words: the detector's name in a sentence.
    """
    same = bccd.experiment(model)
    alt = (
        f"Three crops of blood smears with what {words} finds: red cells, white cells and "
        "platelets in labelled boxes."
    )
    return runner.Experiment(
        name=name,
        command=f"python benchmarks/experiments/{name}.py",
        settings={**same.settings, "min_score": MIN_SCORE},
        seeds=same.seeds,
        run=same.run,
        picture={**PICTURE, "alt": alt},
    )


def main(
    experiment: runner.Experiment,
    about: str,
    models: dict[str, str],
    folder: Callable[[str], str],
) -> None:
    """Run from the command line what is not stored yet, and draw the picture.

    Args:
        experiment: what there is to run, by whose name the picture is stored.
        about: one line for ``--help``.
        models, folder: see `draw`.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--redraw", action="store_true", help="the picture alone")
    options, rest = parser.parse_known_args()

    if not options.redraw:
        runner.main(experiment, about, rest)
    results.store_picture(experiment.name, draw(models, folder))


EXPERIMENT = runner.Experiment(
    name=NAME,
    command="python benchmarks/experiments/bccd_picture.py",
    settings={"size": SIZE, "length": LENGTH, "min_score": MIN_SCORE},
    seeds={model: (0,) for model in MODELS},  # that of ``detlearn train``
    run=run,
    picture=PICTURE,
)

if __name__ == "__main__":
    main(EXPERIMENT, __doc__.split("\n")[0], MODELS, folder)
