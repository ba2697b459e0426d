"""Draws what the modern YOLO detector finds on blood cells, after the training of bccd.py.

Needs the BCCD images: in the folder that DETLEARN_DATA names, or from the network.

    python benchmarks/experiments/yolo_bccd.py
"""

import bccd
import bccd_picture

MODELS = {"yolov8": "the modern YOLO detector"}
EXPERIMENT = bccd_picture.of_one_detector("yolo_bccd", "yolov8", "the modern YOLO detector")

if __name__ == "__main__":
    bccd_picture.main(EXPERIMENT, __doc__.split("\n")[0], MODELS, bccd.OUT.get)
