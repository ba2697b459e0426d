"""Draws what the two-stage deformable DETR finds on blood cells, after the training of bccd.py.

Needs the BCCD images: in the folder that DETLEARN_DATA names, or from the network.

    python benchmarks/experiments/detr_cells.py
"""

import bccd
import bccd_picture

MODELS = {"deformable_detr": "two-stage deformable DETR"}
EXPERIMENT = bccd_picture.of_one_detector(
    "detr_cells", "deformable_detr", "the two-stage deformable DETR"
)

if __name__ == "__main__":
    bccd_picture.main(EXPERIMENT, __doc__.split("\n")[0], MODELS, bccd.OUT.get)
