"""Trains the three detectors of chapter 4 by its recipes and stores what they find on eight scenes.

The chapter opens with one of the scenes, and its table takes AP from here.

    python benchmarks/experiments/anchor_free_preview.py    # three trainings of one to two minutes
"""

import runner

EXPERIMENT = runner.preview_experiment("anchor_free_preview", ("retinanet", "fcos", "centernet"))

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
