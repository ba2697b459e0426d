"""Trains Cascade R-CNN on the mixture of the failure-mode matrix with half of its learning rate.

One of the matrix's three trainings of it fell: its mean AP is far below the others'. Is the
learning rate too high? All but the rate is as there: scenes, steps, seeds, and what is measured, so
that these runs stand beside those of ``comparison_matrix``.

    python benchmarks/experiments/cascade_rate.py              # all: three trainings
    python benchmarks/experiments/cascade_rate.py --seeds 1    # some
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import fmean

import comparison_matrix
import comparison_steps
import comparison_trainings
import runner
import torch
from comparison_sizes import FULL

NAME = "cascade_rate"
DETECTOR = "cascade_rcnn"
SHARE = 0.5  # of the recipe's learning rate


def run(variant: str, seed: int) -> dict:
    """Train one detector; return its mean AP over the scenarios and that of each."""
    how = comparison_steps.recipe_within(DETECTOR, FULL.matrix_seconds)
    how = replace(how, lr=SHARE * how.lr)
    scenes = comparison_matrix.mixture(FULL.scenario_train)
    model, history, _ = comparison_trainings.train(NAME, DETECTOR, seed, how, scenes)

    cells = comparison_matrix.measure(
        model, DETECTOR, FULL.scenario_test, comparison_matrix.SCENARIO_NAMES, worst=False
    )
    return {
        "mean_ap": round(fmean(cell["ap"] for cell in cells.values()), 4),
        "scenarios": {scenario: {"ap": cell["ap"]} for scenario, cell in cells.items()},
        "lr": how.lr,
        "steps": len(history.steps),
        "seconds": round(history.seconds, 1),
    }


EXPERIMENT = runner.Experiment(
    name=NAME,
    command=f"python benchmarks/experiments/{NAME}.py",
    settings={
        "seconds": FULL.matrix_seconds,
        "precision": "float32",
        "train_scenes_each": FULL.scenario_train,
        "test_scenes_each": FULL.scenario_test,
        "share_of_rate": SHARE,
        "recipe": comparison_trainings.without_steps([DETECTOR])[DETECTOR],
    },
    seeds={DETECTOR: FULL.seeds},
    run=run,
    forget=partial(comparison_trainings.forget, NAME),
)

if __name__ == "__main__":
    torch.set_num_threads(1)  # as the trainings beside which these stand
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
