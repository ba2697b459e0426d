"""Run a detector over a data set, and measure it: `predict` and `evaluate`."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from detlearn.machine.progress import progress_bar
from detlearn.metrics.coco import coco_metrics
from detlearn.metrics.summary import CocoMetrics


def evaluate(
    model: nn.Module,
    dataset: Dataset,
    *,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> CocoMetrics:
    """Measure a detector on a data set by the rules of COCO.

    Args:
        model: a detector; ``model(list of images)`` gives one dictionary of ``boxes``, ``scores``
            and ``labels`` per image.
        dataset: samples ``(image, target)``, with ``class_names``.
        batch_size: images at a time.
        device: where to run; the model is moved there and stays. None: wherever the model is.
        progress: show a bar.

    Returns:
        The COCO numbers.

    Raises:
        TypeError, ValueError: the model is no module, or returns no list of one dictionary per
            image, or what it returns is malformed; or the data set has no class_names.
    """
    names = getattr(dataset, "class_names", None)
    if names is None:
        raise TypeError(
            f"{type(dataset).__name__} has no class_names, which tell the number of classes; "
            "a Subset can be given those of its data set: subset.class_names = dataset.class_names"
        )
    detections, targets = _run(model, dataset, batch_size, device, progress)
    return coco_metrics(detections, targets, num_classes=len(names), class_names=names)


def predict(
    model: nn.Module,
    dataset: Dataset,
    *,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> list[dict[str, Tensor]]:
    """Collect a detector's answers for each image of a data set.

    Args:
        model: a detector, as for `evaluate`.
        dataset: samples ``(image, target)``; the targets are not looked at.
        batch_size: images at a time.
        device: where to run; the model is moved there and stays. None: wherever the model is.
        progress: show a bar.

    Returns:
        One dictionary per image, on the CPU: ``boxes`` (N, 4) x1, y1, x2, y2 in pixels, ``scores``
            (N,), ``labels`` (N,).

    Raises:
        TypeError, ValueError: the model is no module, or returns no list of one dictionary per
            image.
    """
    return _run(model, dataset, batch_size, device, progress)[0]


def _run(
    model: nn.Module,
    dataset: Dataset,
    batch_size: int,
    device: torch.device | str | None,
    progress: bool,
) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Return the detections and the targets of all images, one dictionary each per image."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")

    if device is not None:
        model.to(device)
    else:
        tensors = [*model.parameters(), *model.buffers()]
        device = tensors[0].device if tensors else torch.device("cpu")

    detections, targets = [], []
    bar = progress_bar(len(dataset), "evaluating", unit="image", show=progress)
    with bar, eval_mode(model), torch.inference_mode():
        for start in range(0, len(dataset), batch_size):
            stop = min(start + batch_size, len(dataset))
            samples = [dataset[i] for i in range(start, stop)]

            outputs = model([image.to(device) for image, _ in samples])
            _check_outputs(outputs, len(samples))

            detections += [{key: out[key].cpu() for key in out} for out in outputs]
            targets += [target for _, target in samples]
            bar.update(len(samples))

    return detections, targets


def _check_outputs(outputs: object, num_images: int) -> None:
    """Raise unless the model gave one dictionary per image; what is in them is checked later."""
    if not isinstance(outputs, (list, tuple)) or not all(isinstance(o, dict) for o in outputs):
        raise TypeError(
            f"the model returned a {type(outputs).__name__} in eval mode; "
            "expected a list of dictionaries with boxes, scores and labels, one per image"
        )
    if len(outputs) != num_images:
        raise ValueError(f"the model returned {len(outputs)} results for {num_images} images")


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode for a while; then each part is as before, frozen ones included."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
