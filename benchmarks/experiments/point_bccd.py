"""Trains the detector of chapter 1 on blood cells, by the command line, and stores its AP.

Needs the BCCD images: in the folder that DETLEARN_DATA names, or from the network. The training
continues where it was stopped when the script is started again.

    python benchmarks/experiments/point_bccd.py
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

from detlearn import results
from detlearn.machine.checkpoints import load_tensors

OUT = Path("runs/bccd")
SETTINGS = (
    "--min-size 240 --max-size 320 --epochs 60 --batch-size 8 --lr 4e-3 --augment hflip vflip color"
)
TRAIN = f"detlearn train --data bccd {SETTINGS} --out {OUT}"
EVALUATE = f"detlearn evaluate {OUT} --data bccd --split test --json"


def run(command: str) -> str:
    """Run one of detlearn's commands; its progress bar goes to the terminal."""
    words = [sys.executable, "-m", "detlearn.cli", *shlex.split(command)[1:]]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Train, evaluate, store."""
    print(run(TRAIN))
    metrics = json.loads(run(EVALUATE))
    history = load_tensors(OUT / "training.safetensors")[1]["history"]
    result = {
        "commands": [TRAIN, EVALUATE.removesuffix(" --json")],
        "minutes": round(history["seconds"] / 60, 2),
        "metrics": metrics,
    }
    command = "python benchmarks/experiments/point_bccd.py"
    print(results.store("point_bccd", result, command=command, seeds=[0]))
    print(json.dumps(metrics, indent=1))


if __name__ == "__main__":
    main()
