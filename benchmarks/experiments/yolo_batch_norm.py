"""Asks whether batch normalisation is why a training at several sizes falls behind one at a single.

Its running statistics are collected at the sizes of the training, and at the end they are those of
no size in particular. So each detector is measured twice at every test size: as it is, and after
these statistics were computed anew from training images of that very size.

The variants, the scenes and the recipe are those of yolo_multi_scale.py, with half the images.

    python benchmarks/experiments/yolo_batch_norm.py    # two trainings of a minute
"""

from collections.abc import Sequence

import runner
import torch
import yolo_multi_scale
from torch import Tensor, nn

from detlearn import metrics, training
from detlearn.data import ToyTown
from detlearn.models.small import yolov8_small

EPOCHS = 2.4  # of 2000 scenes: 300 steps of 16
COUNTED = 960  # training images from which the statistics are computed anew


def run(variant: str, seed: int) -> dict:
    """Train one variant; return its AP at each size, with both kinds of statistics."""
    train = ToyTown(2000, seed=0)
    test = ToyTown(yolo_multi_scale.TEST_SCENES, seed=1)
    torch.manual_seed(seed)
    model = yolov8_small(10)
    history = training.fit(
        model,
        train,
        epochs=EPOCHS,
        seed=seed,
        multi_scale=yolo_multi_scale.VARIANTS[variant],
        progress=False,
        **yolo_multi_scale.SETTINGS,
    )

    # First all sizes as they are: the statistics are lost afterwards.
    sizes = yolo_multi_scale.TEST_SIZES
    tests = {size: yolo_multi_scale.Resized(test, size) for size in sizes}
    by_size = {str(size): measure(model, tests[size]) for size in sizes}
    refreshed = {}
    for size in sizes:
        of_this_size = yolo_multi_scale.Resized(train, size)
        refresh(model, [of_this_size[i][0] for i in range(COUNTED)])
        refreshed[str(size)] = measure(model, tests[size])

    return {
        **by_size["128"],
        "by_size": by_size,
        "refreshed": refreshed,
        "images": history.images,
        "seconds": round(history.seconds),
    }


def measure(model: nn.Module, test: yolo_multi_scale.Resized) -> dict[str, float]:
    """Return AP and AP50."""
    return runner.coco_numbers(metrics.evaluate(model, test, progress=False), ("ap", "ap50"))


@torch.no_grad()
def refresh(model: nn.Module, images: Sequence[Tensor], batch_size: int = 16) -> None:
    """Make the running statistics of batch normalisation the plain mean over these images."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all batches
        layer.train()

    device = next(model.parameters()).device
    for start in range(0, len(images), batch_size):
        some = [image.to(device) for image in images[start : start + batch_size]]
        batch, _ = model.batcher(some)
        model.predict(batch.images, batch.sizes)

    for layer, momentum in zip(layers, momenta):
        layer.momentum = momentum
        layer.eval()


EXPERIMENT = runner.Experiment(
    name="yolo_batch_norm",
    command="python benchmarks/experiments/yolo_batch_norm.py",
    settings={
        **yolo_multi_scale.EXPERIMENT.settings,
        "epochs": EPOCHS,
        "images_counted": COUNTED,
    },
    seeds=dict.fromkeys(yolo_multi_scale.VARIANTS, (0,)),
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
