"""Trains the modern YOLO detector at one image size and at three, over two seeds.

* ``128``: the usual training, all images of 128 × 128 pixels.
* ``96–160``: every ten steps another of the sizes 96, 128 and 160, with as many images in a step as
  take the memory of 16 at 128.

Both see the same number of images and are then asked for the same test scenes at four sizes, of
which the last lies beyond all that they have seen. Scenes are resized with their boxes, so one of
192 pixels has larger objects, but no finer detail. All else is chapter 3's recipe, shortened.

    python benchmarks/experiments/yolo_multi_scale.py    # four trainings of two minutes
"""

import runner
import torch
from torch.utils.data import Dataset

from detlearn import metrics, training
from detlearn.data import ToyTown
from detlearn.data.transforms import resize
from detlearn.models.small import yolov8_small
from detlearn.samples import Target

EPOCHS = 4.8  # of 2000 scenes: 600 steps of 16
TEST_SIZES = (96, 128, 160, 192)
TEST_SCENES = 300
EVERY = 10  # steps
VARIANTS = {"128": None, "96–160": ((96, 128, 160), EVERY)}
SETTINGS = {
    name: value for name, value in training.recipe("yolov8").settings().items() if name != "steps"
}


class Resized(Dataset):
    """Scenes at another size.

    Args:
        scenes: samples.
        size: pixels of the longer side.
    """

    def __init__(self, scenes: Dataset, size: int) -> None:
        self.scenes = scenes
        self.size = size
        self.class_names = scenes.class_names

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        """Return one scene, resized, with its objects."""
        return resize(*self.scenes[index], self.size)


def run(variant: str, seed: int) -> dict:
    """Train one variant; return its AP at each size."""
    torch.manual_seed(seed)
    model = yolov8_small(10)
    history = training.fit(
        model,
        ToyTown(2000, seed=0),
        epochs=EPOCHS,
        seed=seed,
        multi_scale=VARIANTS[variant],
        progress=False,
        **SETTINGS,
    )

    test = ToyTown(TEST_SCENES, seed=1)
    by_size = {}
    for size in TEST_SIZES:
        scores = metrics.evaluate(model, Resized(test, size), progress=False)
        by_size[str(size)] = runner.coco_numbers(scores, ("ap", "ap50"))

    return {
        **by_size["128"],
        "by_size": by_size,
        "images": history.images,
        "seconds": round(history.seconds),
    }


numbers = training.recipe("yolov8").numbers()
del numbers["steps"]
EXPERIMENT = runner.Experiment(
    name="yolo_multi_scale",
    command="python benchmarks/experiments/yolo_multi_scale.py",
    settings={
        **numbers,
        "epochs": EPOCHS,
        "sizes": {name: scales and scales[0] for name, scales in VARIANTS.items()},
        "every": EVERY,
        "test_scenes": TEST_SCENES,
    },
    seeds=dict.fromkeys(VARIANTS, (0, 1)),
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
