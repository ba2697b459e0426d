"""Trains a small detector on blood cells, by the command line, and stores its AP.

Needs the BCCD images: in the folder that DETLEARN_DATA names, or from the network. The training
continues where it was stopped when the script is started again.

    python benchmarks/experiments/bccd.py point
    python benchmarks/experiments/bccd.py faster_rcnn
    python benchmarks/experiments/bccd.py yolov8
    python benchmarks/experiments/bccd.py fcos
    python benchmarks/experiments/bccd.py deformable_detr
"""

import argparse
import json
import shlex
import subprocess
import sys

import runner

from detlearn.machine.checkpoints import load_tensors

# Images of the data set are 320 × 240. The first stage's anchors are made for small objects, so the
# two-stage detector gets smaller images, and those after it the same.
SIZES = {
    "point": "--min-size 240 --max-size 320",
    "faster_rcnn": "--min-size 160 --max-size 214",
    "yolov8": "--min-size 160 --max-size 214",
    "fcos": "--min-size 160 --max-size 214",
    "deformable_detr": "--min-size 160 --max-size 214",
}
OUT = {
    "point": "runs/bccd",
    "faster_rcnn": "runs/bccd_faster_rcnn",
    "yolov8": "runs/bccd_yolov8",
    "fcos": "runs/bccd_fcos",
    "deformable_detr": "runs/bccd_deformable_detr",
}
LENGTH = "--epochs 60 --batch-size 8 --lr 4e-3 --augment hflip vflip color"
# An image has up to 28 cells, and a query finds one at most.
OF_QUERIES = (
    "--num-queries 40 --epochs 60 --batch-size 8 --lr 2e-3 --warmup 100 --clip-norm 1 "
    "--backbone-steps 300 --augment hflip vflip color"
)


def experiment(model: str) -> runner.Experiment:
    """Return what is run for one of the detectors."""
    out = OUT[model]
    # The point detector is the command's default.
    choice = "" if model == "point" else f"--model {model} "
    length = OF_QUERIES if model == "deformable_detr" else LENGTH
    train = f"detlearn train {choice}--data bccd {SIZES[model]} {length} --out {out}"
    evaluate = f"detlearn evaluate {out} --data bccd --split test"

    def run(variant: str, seed: int) -> dict:
        print(detlearn(train))
        numbers = json.loads(detlearn(f"{evaluate} --json"))
        _, info = load_tensors(f"{out}/training.safetensors")
        return {**numbers, "seconds": round(info["history"]["seconds"], 1)}

    return runner.Experiment(
        name=f"{model}_bccd",
        command=f"python benchmarks/experiments/bccd.py {model}",
        settings={"commands": [train, evaluate]},
        seeds={model: (0,)},  # that of ``detlearn train``
        run=run,
    )


def detlearn(command: str) -> str:
    """Run one of detlearn's commands; its progress bar goes to the terminal.

    Returns:
        What it printed.
    """
    words = [sys.executable, "-m", "detlearn.cli", *shlex.split(command)[1:]]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=list(SIZES))
    options, rest = parser.parse_known_args()
    runner.main(experiment(options.model), __doc__.split("\n")[0], rest)
