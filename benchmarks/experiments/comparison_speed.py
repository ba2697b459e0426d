"""What a trained detector costs: parameters, multiply-adds, latency, memory.

* **Latency**: one call of ``model(images)`` with 1 and with 8 scenes, decoding and NMS included,
  one thread, nothing else on the machine. All detectors take turns: in each round every one is
  called once, in an order that changes from round to round; the first rounds do not count, and the
  median of the others is taken. So what slows the machine for a while slows all.
* **Multiply-adds**: of convolutions and matrix products of one such call with one scene; a
  two-stage detector's second stage is in it, for as many proposals as it makes.
* **Memory**: the most that a fresh process needs for a detector and three calls with 8 scenes, or
  three steps of a training with 16, beyond what it held before (Python, torch and the scenes).

The weights are trained ones, because NMS takes as long as there are candidates: those that the
first seed of the matrix has learnt, or the table's where that was trained here later (the result
says which); of torchvision's detectors those of the learning rate that served them best. Where
neither was trained on this machine they are learnt anew, by the table's steps (``learn_weights``).
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import comparison_steps
import runner
import torch
from comparison_sizes import Sizes
from comparison_trainings import (
    forget,
    keep_weights,
    peer_labels,
    peer_recipe,
    train,
    weights_file,
)
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from detlearn import results
from detlearn.data import ToyTown
from detlearn.machine.checkpoints import load_tensors

NAME = "comparison_speed"
BATCHES = (1, 8)
TRAIN_BATCH = 16
WARM_ROUNDS = 3
SCENES_SEED = 2


def chosen(sizes: Sizes) -> dict[str, str]:
    """Return what is measured: the detector → the label under which its weights were kept.

    One of torchvision's that diverged at all rates has no weights and is left out.
    """
    labels = {name: name for name in sizes.detectors}
    stored = results.load("comparison_peers")
    for variant in comparison_steps.peer_variants(sizes):
        ended = [
            run
            for run in stored["runs"]
            if run["detector"] == variant and not run.get("diverged", False)
        ]
        if ended:
            labels[variant] = max(ended, key=lambda run: run["ap"])["variant"]
    return labels


def learn_weights(sizes: Sizes) -> None:
    """Train what is to be measured and has no weights here; nothing else of it is stored."""
    name = "comparison_weights"
    peers = peer_labels(sizes)
    seed = sizes.seeds[0]

    for variant, label in chosen(sizes).items():
        with runner.lock(f"{name} {label}", wait=False) as is_ours:
            if not is_ours or weights_file(label).is_file():
                continue
            if label in peers:
                how = peer_recipe(*peers[label], sizes)
            else:
                how = comparison_steps.recipe_within(variant, sizes.table_seconds)

            model, _, _ = train(name, variant, seed, how, ToyTown(sizes.train_scenes, seed=0))
            keep_weights(name, variant, label, model)
            forget(name, variant, seed)
            print(f"{name}: {label}", flush=True)


def trained(variant: str, weights: Path) -> nn.Module:
    """Return a detector of the comparison with the weights that it learnt, in eval mode.

    Raises:
        FileNotFoundError: if they are not there.
    """
    if not weights.is_file():
        raise FileNotFoundError(
            f"no weights of {variant} at {weights}: the part `weights` of the comparison makes them"
        )
    model = comparison_steps.build(variant)
    model.load_state_dict(load_tensors(weights)[0])
    return model.to(memory_format=torch.channels_last).eval()


def learnt_in(weights: Path) -> str:
    """Return the experiment in which a file's weights were learnt."""
    return load_tensors(weights)[1]["experiment"]


def multiply_adds(model: nn.Module, image: torch.Tensor) -> float:
    """Return the multiply-adds of one image through the whole detector."""
    # With gradients: without, the counter stumbles over a parameter that a submodule is given.
    with FlopCounterMode(display=False) as counter:
        model([image])
    return counter.get_total_flops() / 2


def latencies(models: dict[str, nn.Module], images: list, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each detector's calls, one a round; all take turns."""
    times: dict[str, list[float]] = {name: [] for name in models}
    names = list(models)
    with torch.inference_mode():
        for number in range(WARM_ROUNDS + rounds):
            # Whoever comes first in one round comes last in another.
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                start = time.perf_counter()
                models[name](images)
                if number >= WARM_ROUNDS:
                    times[name].append(time.perf_counter() - start)
    return times


def peak_memory(variant: str, weights: Path, task: str) -> float:
    """Return the most memory that three calls or steps need, in MiB; to run in a fresh process."""
    torch.set_num_threads(1)
    count = BATCHES[-1] if task == "call" else TRAIN_BATCH
    scenes = [ToyTown(count, seed=SCENES_SEED)[i] for i in range(count)]
    images, targets = [image for image, _ in scenes], [target for _, target in scenes]
    targets = [{key: target[key] for key in ("boxes", "labels")} for target in targets]
    before = highest_so_far()

    model = trained(variant, weights)
    if task == "call":
        with torch.inference_mode():
            for _ in range(3):
                model(images)
    else:
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
        for _ in range(3):
            losses = model(images, targets)
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
    return (highest_so_far() - before) / 2**20


def highest_so_far() -> float:
    """Return the most memory that this process has held, in bytes; now, where Linux tells it."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 2**10

    unit = 1 if sys.platform == "darwin" else 2**10  # macOS counts bytes, others KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_fresh_process(variant: str, weights: Path, task: str) -> float:
    """Call `peak_memory` in a process that has done nothing before."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak_memory, (variant, weights, task))


def speed(sizes: Sizes, command: str) -> runner.Experiment:
    """Return the experiment that measures all detectors in turns."""

    def run(variant: str, seed: int) -> dict[str, Any]:
        town = ToyTown(max(BATCHES), seed=SCENES_SEED)
        scenes = [image for image, _ in town]
        labels = chosen(sizes)
        models = {name: trained(name, weights_file(label)) for name, label in labels.items()}

        detectors: dict[str, dict[str, Any]] = {
            name: {
                "weights_of": labels[name],
                "weights_from": learnt_in(weights_file(labels[name])),
                "parameters": sum(p.numel() for p in model.parameters()),
                "multiply_adds": round(multiply_adds(model, scenes[0])),
            }
            for name, model in models.items()
        }

        for batch in BATCHES:
            times_of = latencies(models, scenes[:batch], sizes.rounds)
            # Milliseconds are this machine's; how they compare is nearer to that of others.
            rounds = torch.tensor([times_of[name] for name in detectors]).T  # (rounds, detectors)
            for name, ratio in zip(detectors, results.relative_latency(rounds, warm_rounds=0)):
                detectors[name][f"ratio_batch_{batch}"] = round(float(ratio), 3)

            for name, times in times_of.items():
                low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
                detectors[name][f"ms_batch_{batch}"] = round(1000 * middle, 2)
                detectors[name][f"ms_batch_{batch}_quartiles"] = [
                    round(1000 * low, 2),
                    round(1000 * high, 2),
                ]

        del models
        for name, numbers in detectors.items():
            for task in ("call", "step"):
                megabytes = in_fresh_process(name, weights_file(labels[name]), task)
                numbers[f"memory_{task}_mib"] = round(megabytes, 1)

        return {"detectors": detectors, "threads": torch.get_num_threads()}

    return runner.Experiment(
        name=NAME,
        command=command,
        settings={
            "rounds": sizes.rounds,
            "batches": BATCHES,
            "train_batch": TRAIN_BATCH,
            "detectors": sizes.detectors,
            "precision": "float32",
        },
        seeds={"all in turns": (0,)},
        run=run,
    )
