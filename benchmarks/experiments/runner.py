"""What all experiments share: which runs are still to do, and where their numbers go.

An experiment is a list of variants with the seeds of each, and a function that makes one run. Each
run is stored when it is done: started again, the script goes on with the next. Two processes can
share the work: both are given the same command, and neither starts a run that the other is at.
(They tell each other by locks on files in ``runs/``, which end with their process; Linux, macOS.)
"""

from __future__ import annotations

import argparse
import fcntl
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image

from detlearn import metrics, models, results, training
from detlearn.data import ToyTown
from detlearn.results import stored

LOCKS = Path("runs") / "experiments"
PREVIEW_SEED = 20  # of the eight scenes of a preview; the training scenes have seed 0
KEPT = 0.3  # score below which a detection does not count as found


@dataclass(frozen=True)
class Experiment:
    """What is to be run.

    Attributes:
        name: of the stored result.
        command: how the script is called, from the top of the repository.
        settings: what all runs have in common, JSON-able.
        seeds: variant → the seeds with which it is run.
        run: (variant, seed) → the numbers of this run. A list under "preview" in it, of what was
            found in each of `preview_scenes`, becomes the preview of the whole result; what
            `preview_of_run` returns stays with the run.
        picture: what is to be said of the picture that the script draws, if it draws one.
        forget: (variant, seed) → None, called when a run is stored, to delete what it would have
            gone on with.
    """

    name: str
    command: str
    settings: Mapping[str, Any]
    seeds: Mapping[str, Sequence[int]]
    run: Callable[[str, int], dict[str, Any]]
    picture: Mapping[str, str] | None = None
    forget: Callable[[str, int], None] | None = None


def main(experiment: Experiment, about: str, arguments: Sequence[str] | None = None) -> None:
    """Run from the command line what is not stored yet.

    Args:
        experiment: what there is to run.
        about: one line for ``--help``.
        arguments: the words of the command; those of the process by default.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--only", nargs="+", choices=list(experiment.seeds), metavar="VARIANT")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED")
    options = parser.parse_args(arguments)

    # A refusal, not an exception: the one who reads it gave the command.
    if training.is_shortened():
        parser.error("unset DETLEARN_FAST: shortened trainings must not be stored")

    try:
        run_missing(experiment, options.only, options.seeds)
    except ValueError as error:
        parser.error(str(error))


def run_missing(
    experiment: Experiment,
    variants: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> None:
    """Make the runs that are not stored and that no other process is making.

    Args:
        experiment: what there is to run.
        variants: some of its variants; all by default.
        seeds: some of its seeds; all by default.

    Raises:
        ValueError: if runs with other settings are stored.
    """
    for variant, seed in missing_runs(experiment, variants, seeds):
        with lock(f"{experiment.name} {variant} {seed}", wait=False) as is_ours:
            # Asked under the lock: the other process may just have finished this run.
            if is_ours and (variant, seed) not in _stored_pairs(experiment):
                numbers = experiment.run(variant, seed)
                add_run(experiment, variant, seed, numbers)
                if experiment.forget is not None:
                    experiment.forget(variant, seed)
                print(f"{experiment.name}: {variant}, seed {seed}: {_short(numbers)}", flush=True)


def missing_runs(
    experiment: Experiment,
    variants: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[tuple[str, int]]:
    """Return the runs that are wanted and not stored yet.

    Args:
        experiment: what there is to run.
        variants: some of its variants; all by default.
        seeds: some of its seeds; all by default.

    Returns:
        Their (variant, seed), in the order in which they are to be made.

    Raises:
        ValueError: if runs with other settings are stored.
    """
    stored_pairs = _stored_pairs(experiment)
    missing = [
        (variant, seed)
        for variant in variants or experiment.seeds
        for seed in experiment.seeds[variant]
        if (seeds is None or seed in seeds) and (variant, seed) not in stored_pairs
    ]

    # All variants of one seed before the next: an experiment that is broken off has few seeds of
    # all variants, not all seeds of few. (The order of variants stays: sort is stable.)
    missing.sort(key=lambda pair: pair[1])
    return missing


def add_run(experiment: Experiment, variant: str, seed: int, numbers: dict[str, Any]) -> Path:
    """Store one more run, sorted by variant and seed, beside those that are stored.

    Returns:
        The file of the result.
    """
    numbers = dict(numbers)
    detections = numbers.pop("preview") if isinstance(numbers.get("preview"), list) else None
    # Runs of one table may come from several machines, whose seconds do not compare.
    hardware = results.provenance(experiment.command, [seed])["hardware"]
    run = {"variant": variant, "seed": seed, **numbers, "hardware": hardware}

    # No other process may write between our reading and our writing.
    with lock(experiment.name, wait=True):
        known = _stored(experiment) or {"runs": []}
        order = list(experiment.seeds)
        runs = sorted(
            [*known["runs"], run],
            key=lambda one: (order.index(one["variant"]), one["seed"]),
        )

        preview = known.get("preview")
        if detections is not None:
            preview = {"seed": PREVIEW_SEED, "detections": detections}

        return results.store(
            experiment.name,
            experiment.settings,
            runs,
            command=experiment.command,
            preview=preview,
            picture=experiment.picture,
        )


def _stored(experiment: Experiment) -> results.Result | None:
    """Return what is stored, None if nothing is."""
    try:
        found = results.load(experiment.name)
    except FileNotFoundError:
        return None

    settings = json.loads(json.dumps(dict(experiment.settings)))  # JSON knows no tuples
    if found["settings"] != settings:
        raise ValueError(
            f"the stored {experiment.name} has the settings {found['settings']}, this one has "
            f"{settings}: delete {stored.FOLDER / experiment.name}.json to start afresh"
        )
    return found


def _stored_pairs(experiment: Experiment) -> set[tuple[str, int]]:
    found = _stored(experiment)
    return {(run["variant"], run["seed"]) for run in found["runs"]} if found else set()


@contextmanager
def lock(name: str, *, wait: bool) -> Iterator[bool]:
    """Hold a lock that ends with this process, however it ends.

    Args:
        name: of the lock.
        wait: until another process gives it back; else yield False if there is one that has it.
    """
    LOCKS.mkdir(parents=True, exist_ok=True)
    with open(LOCKS / f"{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _short(numbers: Mapping[str, Any]) -> str:
    """Return the plain numbers of a run, without its lists and tables."""
    plain = {key: value for key, value in numbers.items() if isinstance(value, int | float)}
    return ", ".join(f"{key} {value:.4g}" for key, value in plain.items())


def coco_numbers(scores: metrics.CocoMetrics, keys: Sequence[str]) -> dict[str, float]:
    """Return some of the metrics, rounded to what three seeds can tell."""
    return {key: round(getattr(scores, key), 4) for key in keys}


def as_picture(fig: Figure) -> Image.Image:
    """Return a figure of matplotlib as a picture, with two pixels for one of the page."""
    file = BytesIO()
    fig.savefig(file, format="png", dpi=200)
    return Image.open(file)


def preview_scenes() -> ToyTown:
    """Return the eight scenes with which chapters open."""
    return ToyTown(8, seed=PREVIEW_SEED)


def preview_of_run(model: torch.nn.Module) -> dict[str, Any]:
    """Return a preview that stays with its run, where a result has one for each variant."""
    return {"seed": PREVIEW_SEED, "detections": detect_preview(model, min_score=0.05)}


def preview_experiment(name: str, detectors: Sequence[str]) -> Experiment:
    """Return the experiment of a chapter's first picture: its detectors, trained by their recipes.

    Args:
        name: of the stored result and of the script.
        detectors: what `detlearn.models.create` calls them.
    """

    def run(detector: str, seed: int) -> dict[str, Any]:
        torch.manual_seed(seed)
        model = models.create(detector, num_classes=10)
        settings = training.recipe(detector).settings()
        train = ToyTown(2000, seed=0)
        history = training.fit(model, train, seed=seed, progress=False, **settings)

        scores = metrics.evaluate(model, ToyTown(500, seed=1), progress=False)
        return {
            **coco_numbers(scores, ("ap", "ap50", "ap75", "ap_small", "ap_medium")),
            "seconds": round(history.seconds),
            "preview": preview_of_run(model),
        }

    return Experiment(
        name=name,
        command=f"python benchmarks/experiments/{name}.py",
        settings={detector: training.recipe(detector).numbers() for detector in detectors},
        seeds=dict.fromkeys(detectors, (0,)),
        run=run,
    )


def detect_preview(model: torch.nn.Module, min_score: float = KEPT) -> list[dict[str, list]]:
    """Return what a detector finds in the preview's scenes, as rounded lists."""
    shown = []
    for found in metrics.predict(model, preview_scenes(), progress=False):
        # Tenths of a pixel and thousandths of a score are all that a picture can show.
        kept = found["scores"] >= min_score
        boxes, scores = found["boxes"][kept].tolist(), found["scores"][kept].tolist()

        shown.append(
            {
                "boxes": [[round(coordinate, 1) for coordinate in box] for box in boxes],
                "scores": [round(score, 3) for score in scores],
                "labels": found["labels"][kept].tolist(),
            }
        )

    return shown
