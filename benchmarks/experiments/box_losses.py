"""Trains the detector of chapter 1 with each box loss, over several seeds, for chapter 6.

Only the loss of the boxes differs between the runs: 640 steps of 16 ToyTown scenes, measured on 500
scenes of another seed. The seed decides the initial weights, the order of the images and how they
are augmented. Each run is stored when it is done; started again, the script goes on with the next.

    python benchmarks/experiments/box_losses.py        # twelve trainings of about 90 s on 2 cores
"""

import torch

from detlearn import losses, metrics, results, training
from detlearn.data import ToyTown
from detlearn.models import PointDetector

NAME = "box_losses"
LOSSES = {
    "iou": losses.iou_loss,
    "giou": losses.giou_loss,
    "diou": losses.diou_loss,
    "ciou": losses.ciou_loss,
}
SEEDS = [0, 1, 2]
STEPS, LR = 640, 6e-3


def main() -> None:
    """Train what is not stored yet."""
    train, test = ToyTown(2000, seed=0), ToyTown(500, seed=1)
    runs = stored_runs()
    for seed in SEEDS:
        for name in LOSSES:
            if not any(run["loss"] == name and run["seed"] == seed for run in runs):
                runs.append(run_one(name, seed, train, test))
                command = "python benchmarks/experiments/box_losses.py"
                result = {"steps": STEPS, "lr": LR, "batch_size": 16, "runs": runs}
                results.store(NAME, result, command=command, seeds=SEEDS)


def stored_runs() -> list[dict]:
    """The runs of an earlier start, if its settings were these."""
    try:
        stored = results.load(NAME)
    except FileNotFoundError:
        return []
    return stored["runs"] if (stored["steps"], stored["lr"]) == (STEPS, LR) else []


def run_one(name: str, seed: int, train: ToyTown, test: ToyTown) -> dict:
    """One training and what it reaches."""
    torch.manual_seed(seed)
    model = PointDetector(num_classes=10, box_loss=LOSSES[name])
    history = training.fit(model, train, steps=STEPS, lr=LR, seed=seed)
    scores = metrics.evaluate(model, test)
    numbers = {key: round(getattr(scores, key), 4) for key in ("ap", "ap50", "ap75")}
    print(f"{name} loss, seed {seed}: {numbers}")
    return {"loss": name, "seed": seed, **numbers, "seconds": round(history.seconds)}


if __name__ == "__main__":
    main()
