"""Draws what FCOS finds on blood cells, after the training of bccd.py.

Needs the BCCD images: in the folder that DETLEARN_DATA names, or from the network.

    python benchmarks/experiments/fcos_cells.py
"""

import argparse

import bccd
import bccd_picture
import runner

from detlearn import results

NAME = "fcos_cells"
SAME = bccd.experiment("fcos")  # where it is trained already, its training is found finished

EXPERIMENT = runner.Experiment(
    name=NAME,
    command=f"python benchmarks/experiments/{NAME}.py",
    settings={**SAME.settings, "min_score": bccd_picture.MIN_SCORE},
    seeds=SAME.seeds,
    run=SAME.run,
    picture={
        **bccd_picture.PICTURE,
        "alt": "Three crops of blood smears with what FCOS finds: red cells, white cells and "
        "platelets in labelled boxes.",
    },
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--redraw", action="store_true", help="the picture alone")
    options, rest = parser.parse_known_args()
    if not options.redraw:
        runner.main(EXPERIMENT, __doc__.split("\n")[0], rest)
    models = {"fcos": "FCOS"}
    results.store_picture(NAME, bccd_picture.draw(models, bccd.OUT.get))
