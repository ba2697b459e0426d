"""Trains the variants that chapter 2 compares, over several seeds, on ToyTown.

* ``align`` and ``pool``: Faster R-CNN with RoIAlign and with RoIPool.
* ``cascade``: Cascade R-CNN, with as many steps.
* Faster R-CNN trained and measured on the scenario ``elongated``, with the ``usual anchors`` of
  height / width 1/2, 1 and 2, and with ``long anchors`` of 1/4, 1 and 4; both also ``unforced``:
  without low-quality matches, so that an object that no anchor overlaps by half teaches the first
  stage nothing.

The first run also stores what its detector finds in eight scenes, with which the chapter opens.
All else is equal: 600 steps of 16 scenes, measured on 500 of another seed. The seed decides the
initial weights, the order of the images and how they are augmented. Each run is stored when it is
done; started again, the script goes on with the next. Two processes can share the work, each with
variants or seeds of its own.

    python benchmarks/experiments/two_stage.py                   # all: trainings of 2 to 3 minutes
    python benchmarks/experiments/two_stage.py --only align pool # some
"""

import argparse

import torch

from detlearn import boxes, metrics, models, results, training
from detlearn.data import ToyTown

NAME = "two_stage"
STEPS, LR, CLIP, WARMUP = 600, 6e-3, 2.0, 100
LONG = (0.25, 1.0, 4.0)
# name: builder, its options, the data, the seeds.
VARIANTS = {
    "align": ("faster_rcnn", {}, "default", (0, 1, 2)),
    "cascade": ("cascade_rcnn", {}, "default", (0, 1, 2)),
    "pool": ("faster_rcnn", {"pooling": "pool"}, "default", (0, 1, 2)),
    "usual anchors": ("faster_rcnn", {}, "elongated", (0, 1)),
    "long anchors": ("faster_rcnn", {"aspect_ratios": LONG}, "elongated", (0, 1)),
    "usual anchors, unforced": ("faster_rcnn", {}, "elongated", (0, 1)),
    "long anchors, unforced": ("faster_rcnn", {"aspect_ratios": LONG}, "elongated", (0, 1)),
}
PREVIEW_SEED = 20  # of the eight scenes; the training scenes have seed 0
KEPT = 0.3  # score below which a detection does not count as found
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")
STRETCHES = (1, 2, 4, 6, 20)  # long side / short side of an object: edges of four groups


def main() -> None:
    """Train what is not stored yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    for seed in args.seeds:  # all variants of one seed before the next
        for name in args.only:
            runs, _ = stored_runs()
            known = any(run["variant"] == name and run["seed"] == seed for run in runs)
            if seed in VARIANTS[name][3] and not known:
                model, run = run_one(name, seed)
                print(f"{name}, seed {seed}: {run}", flush=True)
                preview = {"seed": PREVIEW_SEED, "detections": detect(model)}
                add(run, preview if (name, seed) == ("align", 0) else None)


def stored_runs() -> tuple[list[dict], dict | None]:
    """The runs and the preview that are stored, if their settings were these."""
    try:
        stored = results.load(NAME)
    except FileNotFoundError:
        return [], None
    if any(stored.get(key) != value for key, value in settings().items()):
        return [], None
    return stored["runs"], stored["preview"]


def settings() -> dict[str, float]:
    """What all runs have in common."""
    return {"steps": STEPS, "lr": LR, "clip_norm": CLIP, "warmup": WARMUP, "batch_size": 16}


def add(run: dict, preview: dict | None) -> None:
    """Store one more run, sorted by variant and seed."""
    runs, known = stored_runs()  # read again: another process may have stored some meanwhile
    runs = sorted([*runs, run], key=lambda r: (list(VARIANTS).index(r["variant"]), r["seed"]))
    result = {**settings(), "stretches": STRETCHES, "runs": runs, "preview": preview or known}
    command = "python benchmarks/experiments/two_stage.py"
    results.store(NAME, result, command=command, seeds=[0, 1, 2])


def run_one(name: str, seed: int) -> tuple[torch.nn.Module, dict]:
    """One training: the detector, and what it reaches."""
    builder, options, kind, _ = VARIANTS[name]
    train, test = (ToyTown.scenario(kind, n, seed=s) for n, s in ((2000, 0), (500, 1)))
    torch.manual_seed(seed)
    model = models.create(builder, num_classes=10, **options)
    model.rpn.matcher.allow_low_quality_matches = "unforced" not in name
    history = training.fit(
        model, train, steps=STEPS, lr=LR, clip_norm=CLIP, lr_warmup=WARMUP, seed=seed
    )
    found, truth = metrics.predict(model, test), [target for _, target in test]
    scores = metrics.coco_metrics(found, truth, num_classes=10)
    run = {"variant": name, "seed": seed}
    run |= {key: round(getattr(scores, key), 4) for key in KEYS}
    # The mean over recall levels and classes, for each of the ten IoU thresholds.
    run["ap_by_iou"] = scores.precision[..., 0].mean(axis=(1, 2)).round(4).tolist()
    if kind == "elongated":
        run["found_by_stretch"] = found_by_stretch(found, truth)
    return model, {**run, "seconds": round(history.seconds)}


def found_by_stretch(found: list[dict], truth: list[dict]) -> list[float]:
    """Share of the objects of each stretch that are found, with their class and an IoU of 0.5."""
    stretches, hits = [], []
    for detections, target in zip(found, truth):
        sides = target["boxes"][:, 2:] - target["boxes"][:, :2]
        stretches.append(sides.amax(dim=1) / sides.amin(dim=1))
        right = detections["labels"] == target["labels"][:, None]  # (N, D)
        good = boxes.box_iou(target["boxes"], detections["boxes"]) >= 0.5
        hits.append((right & good & (detections["scores"] >= KEPT)).any(dim=1))
    group = torch.bucketize(torch.cat(stretches), torch.tensor(STRETCHES), right=True) - 1
    hit = torch.cat(hits).float()
    return [round(hit[group == i].mean().item(), 4) for i in range(len(STRETCHES) - 1)]


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
