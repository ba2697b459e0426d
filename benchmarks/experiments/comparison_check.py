"""Trains three cells of the failure-mode matrix anew, and asks whether they agree with the stored.

Each is trained with a seed that the matrix has not, by the stored number of steps, and measured on
its scenario. It agrees if its AP lies in the range in which a new seed is expected (95 %): see
`detlearn.results.expected_range`. Nothing is stored.
"""

from __future__ import annotations

import time
from dataclasses import replace

import comparison_matrix
import comparison_steps
import comparison_trainings
from comparison_sizes import Sizes

from detlearn import results

CELLS = (("point", "tiny"), ("yolov8", "crowd"), ("fcos", "nested"))
SEED = 7


def check(sizes: Sizes) -> bool:
    """Train three cells with a new seed, print what came beside what was expected.

    Returns:
        Whether all three agree.

    Raises:
        FileNotFoundError: if there is no matrix yet.
    """
    matrix = results.load("comparison_matrix")
    cells = [cell for cell in CELLS if cell[0] in sizes.detectors]
    agree = []
    for detector, scenario in cells:
        start = time.perf_counter()
        name = "comparison_check"
        # The stored steps: the calibration may have been made anew since.
        how = replace(comparison_steps.recipe(detector), steps=matrix.run(detector)["steps"])
        scenes = comparison_matrix.mixture(sizes.scenario_train)
        model, _, _ = comparison_trainings.train(name, detector, SEED, how, scenes)
        measured = comparison_matrix.measure(
            model, detector, sizes.scenario_test, [scenario], worst=False
        )
        comparison_trainings.forget(name, detector, SEED)

        ap = measured[scenario]["ap"]
        low, high = results.expected_range(matrix, detector, scenario)
        agree.append(low <= ap <= high)
        print(
            f"{detector} on {scenario}: AP {ap:.3f}, expected {low:.3f} to {high:.3f}: "
            f"{'agrees' if agree[-1] else 'DISAGREES'} ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )

    print(f"{sum(agree)} of {len(agree)} cells agree with the stored matrix")
    return all(agree)
