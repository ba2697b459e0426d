"""Trains the two detectors of chapter 5 for longer than the chapter does, by the command line.

Wants the machine for itself, since the trainings are as long as the clock says. One that was
stopped goes on when the script is started again.

    python benchmarks/experiments/detr_longer.py
"""

import json

import runner
from bccd import detlearn

from detlearn.machine.checkpoints import load_tensors

NAME = "detr_longer"
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")
# Variant → recipe and minutes.
TRAININGS = {
    "plain, 5 minutes": ("detr", 5),
    "plain, 10 minutes": ("detr", 10),
    "two-stage, 5 minutes": ("deformable_detr", 5),
}


def commands(variant: str) -> tuple[str, str, str]:
    """Return the folder of a training, and the commands that train and measure."""
    recipe, minutes = TRAININGS[variant]
    out = f"runs/{recipe}_{minutes}_minutes"
    train = f"detlearn train --recipe {recipe} --data toytown --minutes {minutes} --out {out}"
    return out, train, f"detlearn evaluate {out} --data toytown --json"


def run(variant: str, seed: int) -> dict:
    """Train one, and return what it reaches and how many images it has seen."""
    out, train, evaluate = commands(variant)
    print(detlearn(f"{train} --seed {seed}"))
    scores = json.loads(detlearn(evaluate))

    _, info = load_tensors(f"{out}/training.safetensors")
    history = info["history"]
    return {
        **{key: round(scores[key], 4) for key in KEYS},
        "seconds": round(history["seconds"], 1),
        "images": history["images"],  # those of the backbone's steps included
    }


EXPERIMENT = runner.Experiment(
    name=NAME,
    command=f"python benchmarks/experiments/{NAME}.py",
    settings={"commands": [command for name in TRAININGS for command in commands(name)[1:]]},
    seeds={name: (0,) for name in TRAININGS},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
