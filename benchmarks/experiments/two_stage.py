"""Trains the variants that chapter 2 compares, over several seeds, on ToyTown.

* ``align`` and ``pool``: Faster R-CNN with RoIAlign and with RoIPool.
* ``cascade``: Cascade R-CNN, with as many steps.
* Faster R-CNN trained and measured on the scenario ``elongated``, with the ``usual anchors`` of
  height / width 1/2, 1 and 2, and with ``long anchors`` of 1/4, 1 and 4; at a lower learning rate.

The first run also stores what its detector finds in eight scenes, with which the chapter opens.
All else is equal: 660 steps of 16 scenes, measured on 500 of another seed. The seed decides the
initial weights, the order of the images and how they are augmented. Each run is stored when it is
done; started again, the script goes on with the next.

    python benchmarks/experiments/two_stage.py        # ten trainings of 2 to 3 minutes
"""

import torch

from detlearn import metrics, models, results, training
from detlearn.data import ToyTown

NAME = "two_stage"
STEPS, LR, CLIP = 660, 6e-3, 2.0
LONG, LONG_LR = (0.25, 1.0, 4.0), 3e-3
# name: builder, its options, the data, the seeds.
VARIANTS = {
    "align": ("faster_rcnn", {}, "default", (0, 1, 2)),
    "cascade": ("cascade_rcnn", {}, "default", (0, 1, 2)),
    "pool": ("faster_rcnn", {"pooling": "pool"}, "default", (0,)),
    "usual anchors": ("faster_rcnn", {}, "elongated", (0,)),
    "long anchors": ("faster_rcnn", {"aspect_ratios": LONG}, "elongated", (0,)),
}
PREVIEW_SEED = 20  # of the eight scenes; the training scenes have seed 0
KEPT = 0.3  # score below which the picture shows nothing
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")


def main() -> None:
    """Train what is not stored yet."""
    data = {
        "default": (ToyTown(2000, seed=0), ToyTown(500, seed=1)),
        "elongated": tuple(
            ToyTown.scenario("elongated", count, seed=seed) for count, seed in ((2000, 0), (500, 1))
        ),
    }
    runs, preview = stored_runs()
    for seed in (0, 1, 2):  # all variants of one seed before the next
        for name, (builder, options, kind, seeds) in VARIANTS.items():
            known = any(run["variant"] == name and run["seed"] == seed for run in runs)
            if seed in seeds and not known:
                lr = LR if kind == "default" else LONG_LR
                model, numbers = run_one(builder, options, lr, seed, *data[kind])
                print(f"{name}, seed {seed}: {numbers}", flush=True)
                runs.append({"variant": name, "seed": seed, "lr": lr, **numbers})
                preview = preview or {"seed": PREVIEW_SEED, "detections": detect(model)}
                result = {"steps": STEPS, "lr": LR, "batch_size": 16, "runs": runs}
                result["preview"] = preview
                command = "python benchmarks/experiments/two_stage.py"
                results.store(NAME, result, command=command, seeds=[0, 1, 2])


def stored_runs() -> tuple[list[dict], dict | None]:
    """The runs and the preview of an earlier start, if its settings were these."""
    try:
        stored = results.load(NAME)
    except FileNotFoundError:
        return [], None
    if (stored["steps"], stored["lr"]) != (STEPS, LR):
        return [], None
    return stored["runs"], stored["preview"]


def run_one(builder: str, options: dict, lr: float, seed: int, train: ToyTown, test: ToyTown):
    """One training: the detector, and what it reaches."""
    torch.manual_seed(seed)
    model = models.create(builder, num_classes=10, **options)
    history = training.fit(model, train, steps=STEPS, lr=lr, clip_norm=CLIP, seed=seed)
    scores = metrics.evaluate(model, test)
    numbers = {key: round(getattr(scores, key), 4) for key in KEYS}
    return model, {**numbers, "seconds": round(history.seconds)}


def detect(model: torch.nn.Module) -> list[dict]:
    """What the detector finds in the preview's scenes, as rounded lists."""
    found = metrics.predict(model, ToyTown(8, seed=PREVIEW_SEED), progress=False)
    shown = [{name: v[d["scores"] >= KEPT].tolist() for name, v in d.items()} for d in found]
    for d in shown:
        d["boxes"] = [[round(x, 1) for x in box] for box in d["boxes"]]
        d["scores"] = [round(x, 3) for x in d["scores"]]
    return shown


if __name__ == "__main__":
    main()
