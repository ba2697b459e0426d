"""Trains the two detectors of chapter 5 by its recipes and stores what they find on eight scenes.

The chapter opens with one of the scenes, and its table takes AP from here.

    python benchmarks/experiments/detr_preview.py    # two trainings of two to three minutes
"""

import runner

EXPERIMENT = runner.preview_experiment("detr_preview", ("detr", "deformable_detr"))

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
