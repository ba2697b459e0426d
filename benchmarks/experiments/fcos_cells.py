"""Draws what FCOS finds on blood cells, after the training of bccd.py.

Needs the BCCD images: in the folder that DETLEARN_DATA names, or from the network.

    python benchmarks/experiments/fcos_cells.py
"""

import bccd
import bccd_picture

MODELS = {"fcos": "FCOS"}
EXPERIMENT = bccd_picture.of_one_detector("fcos_cells", "fcos", "FCOS")

if __name__ == "__main__":
    bccd_picture.main(EXPERIMENT, __doc__.split("\n")[0], MODELS, bccd.OUT.get)
