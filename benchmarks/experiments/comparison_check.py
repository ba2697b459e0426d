"""Trains three cells of the failure-mode matrix anew, and asks whether they agree with the stored.

Each is trained with a seed that the matrix has not, by the stored number of steps, and measured on
its scenario. It agrees if its AP lies in the range in which a new seed is expected (95 %): see
`detlearn.results.expected_range`. What was expected and what came is stored, with the day and the
machine, in the place of what an earlier check stored.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import comparison_matrix
import comparison_steps
import comparison_trainings
from comparison_sizes import Sizes

from detlearn import results
from detlearn.results.failure_matrix import CONFIDENCE

NAME = "comparison_check"
CELLS = (("point", "tiny"), ("yolov8", "crowd"), ("fcos", "nested"))
SEED = 7


def check(sizes: Sizes, command: str) -> bool:
    """Train three cells with a new seed, print and store what came beside what was expected.

    Args:
        sizes: of the comparison; cells of detectors that are not in it are left out.
        command: what was called, from the top of the repository.

    Returns:
        Whether all of them agree.

    Raises:
        FileNotFoundError: if there is no matrix yet.
        ValueError: if a training of one of these detectors fell, see `results.expected_range`.
    """
    matrix = results.load(comparison_matrix.NAME)
    cells = [cell for cell in CELLS if cell[0] in sizes.detectors]
    # Asked before the first training: a cell without a range would end the check after minutes.
    ranges = {cell: results.expected_range(matrix, *cell) for cell in cells}

    runs = []
    for detector, scenario in cells:
        start = time.perf_counter()
        # The stored steps: the calibration may have been made anew since.
        how = replace(comparison_steps.recipe(detector), steps=matrix.run(detector)["steps"])
        scenes = comparison_matrix.mixture(sizes.scenario_train)
        model, _, _ = comparison_trainings.train(NAME, detector, SEED, how, scenes)
        measured = comparison_matrix.measure(
            model, detector, sizes.scenario_test, [scenario], worst=False
        )
        seconds = time.perf_counter() - start

        ap = measured[scenario]["ap"]
        low, high = ranges[detector, scenario]
        run = {
            "variant": detector,
            "scenario": scenario,
            "seed": SEED,
            "expected": [round(low, 4), round(high, 4)],
            "ap": ap,
            "agrees": low <= ap <= high,
            "steps": how.steps,
            "seconds": round(seconds, 1),
            "day": datetime.now(UTC).date().isoformat(),
            "hardware": results.provenance(command, [SEED])["hardware"],
        }
        runs.append(run)
        print(
            f"{detector} on {scenario}: AP {ap:.3f}, expected {low:.3f} to {high:.3f}: "
            f"{'agrees' if run['agrees'] else 'DISAGREES'} ({seconds:.0f} s)",
            flush=True,
        )

    settings = {
        "confidence": CONFIDENCE,
        "expected_from": matrix["name"],
        "precision": "float32",
        "train_scenes_each": sizes.scenario_train,
        "test_scenes_each": sizes.scenario_test,
    }
    results.store(NAME, settings, runs, command=command)
    for detector, _ in cells:
        comparison_trainings.forget(NAME, detector, SEED)

    agree = sum(run["agrees"] for run in runs)
    print(f"{agree} of {len(runs)} cells agree with the stored matrix")
    return agree == len(runs)
