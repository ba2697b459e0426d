"""Trains the three detectors of chapter 3 by its recipes and stores what they find on eight scenes.

The chapter opens with one of the scenes, and its table takes AP from here.

    python benchmarks/experiments/yolo_preview.py    # three trainings of one to three minutes
"""

import runner

EXPERIMENT = runner.preview_experiment("yolo_preview", ("yolov1", "yolov3", "yolov8"))

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
