"""Trains the small Faster R-CNN of chapter 2 on blood cells, by the command line; stores its AP.

Needs the BCCD images: in the folder that DETLEARN_DATA names, or from the network. The training
continues where it was stopped when the script is started again.

    python benchmarks/experiments/faster_rcnn_bccd.py
"""

import json

from point_bccd import run

from detlearn import results
from detlearn.machine.checkpoints import load_tensors

OUT = "runs/bccd_faster_rcnn"
SETTINGS = (
    "--min-size 160 --max-size 214 --epochs 60 --batch-size 8 --lr 4e-3 --augment hflip vflip color"
)
TRAIN = f"detlearn train --model faster_rcnn --data bccd {SETTINGS} --out {OUT}"
EVALUATE = f"detlearn evaluate {OUT} --data bccd --split test --json"


def main() -> None:
    """Train, evaluate, store."""
    print(run(TRAIN))
    metrics = json.loads(run(EVALUATE))
    history = load_tensors(f"{OUT}/training.safetensors")[1]["history"]
    result = {
        "commands": [TRAIN, EVALUATE.removesuffix(" --json")],
        "minutes": round(history["seconds"] / 60, 2),
        "metrics": metrics,
    }
    command = "python benchmarks/experiments/faster_rcnn_bccd.py"
    print(results.store("faster_rcnn_bccd", result, command=command, seeds=[0]))
    print(json.dumps(metrics, indent=1))


if __name__ == "__main__":
    main()
