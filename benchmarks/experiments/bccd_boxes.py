"""Draws one photograph of blood cells with the boxes that people drew, for chapter 1.

Needs the BCCD images: in the folder that DETLEARN_DATA names, or from the network. Nothing is
trained.

    python benchmarks/experiments/bccd_boxes.py
"""

import matplotlib.pyplot as plt
import runner
from PIL import Image

from detlearn import plotting, results
from detlearn.data import VOCDetection, download_bccd

NAME = "bccd_boxes"
INDEX = 45  # of the test split: a picture with few boxes and all three classes
WIDTH = 5.0  # inches on the page

PICTURE = {
    "alt": "A photograph of a blood smear through a microscope. Six red cells, one large violet "
    "white cell and two small platelets have a box with their name; as many red cells have none.",
    "source": "BCCD, shenggan 2017, https://github.com/Shenggan/BCCD_Dataset",
    "licence": "MIT licence",
}


def run(variant: str, seed: int) -> dict:
    """Count the boxes of the picture."""
    _, target = VOCDetection(download_bccd(), "test")[INDEX]
    return {"boxes": len(target["boxes"])}


def draw() -> Image.Image:
    """Draw the photograph at twice the size at which pages show it."""
    test = VOCDetection(download_bccd(), "test")
    image, target = test[INDEX]
    height, width = image.shape[-2:]

    plotting.use_style()
    fig, ax = plt.subplots(figsize=(WIDTH, WIDTH * height / width), dpi=200)
    plotting.show(image, target, class_names=test.class_names, ax=ax)

    return runner.as_picture(fig)


EXPERIMENT = runner.Experiment(
    name=NAME,
    command="python benchmarks/experiments/bccd_boxes.py",
    settings={"split": "test", "index": INDEX},
    seeds={"annotations": (0,)},  # nothing here is random
    run=run,
    picture=PICTURE,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
    results.store_picture(NAME, draw())
