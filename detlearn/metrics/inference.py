"""Run a detector over a data set, and measure it: `predict` and `evaluate`.

The answer for an image must not depend on which others lie in its batch. But images of a batch are
padded to a common size, and a convolution sees the padding: on pictures of mixed sizes AP would
move by some thousandths with the batch size. So images wait until there is a batch of those that
are padded to the same size, which each of them would be padded to alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from detlearn.machine.progress import progress_bar
from detlearn.metrics.coco import coco_metrics
from detlearn.metrics.summary import CocoMetrics

Sample = tuple[Tensor, dict[str, Tensor]]

# As many images as fill so many batches may wait for others of their size: it bounds the memory.
WAITING_BATCHES = 4


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
        batch_size: images at a time, at most; it does not change the answers.
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
        batch_size: images at a time, at most; it does not change the answers.
        device: where to run; the model is moved there and stays. None: wherever the model is.
        progress: show a bar.

    Returns:
        One dictionary per image, in the order of the data set and on the CPU: ``boxes`` (N, 4) x1,
            y1, x2, y2 in pixels, ``scores`` (N,), ``labels`` (N,).

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

    # By place: batches come in an order of their own.
    detections, targets = {}, {}
    bar = progress_bar(len(dataset), "evaluating", unit="image", show=progress)
    with bar, eval_mode(model), torch.inference_mode():
        for samples in _same_size_batches(model, dataset, batch_size):
            outputs = model([image.to(device) for image, _ in samples.values()])
            _check_outputs(outputs, len(samples))

            for place, out in zip(samples, outputs):
                detections[place] = {key: out[key].cpu() for key in out}
                targets[place] = samples[place][1]
            bar.update(len(samples))

    places = range(len(detections))
    return [detections[place] for place in places], [targets[place] for place in places]


def _same_size_batches(
    model: nn.Module, dataset: Dataset, batch_size: int
) -> Iterator[dict[int, Sample]]:
    """Yield batches of samples whose images are padded to the same size.

    Args:
        model: says through its batcher how images are padded.
        dataset: samples ``(image, target)``; they are read in order.
        batch_size: samples in a batch, at most.

    Yields:
        Samples by their place in the data set. Each comes once; `WAITING_BATCHES` times
        `batch_size` of them are held at a time, at most.
    """
    waiting: dict[tuple[int, ...], dict[int, Sample]] = {}  # by size, then by place
    for place in range(len(dataset)):
        sample = dataset[place]
        size = _padded_size(model, sample[0])
        waiting.setdefault(size, {})[place] = sample
        if len(waiting[size]) == batch_size:
            yield waiting.pop(size)

        # Too many wait: the largest group goes as it is.
        num_waiting = sum(len(group) for group in waiting.values())
        if num_waiting == WAITING_BATCHES * batch_size:
            fullest = max(waiting, key=lambda size: len(waiting[size]))
            yield waiting.pop(fullest)

    yield from waiting.values()


def _padded_size(model: nn.Module, image: Tensor) -> tuple[int, ...]:
    """Return a size that is equal for images which the model pads equally."""
    batcher = getattr(model, "batcher", None)

    # Somebody else's model may resize and pad as it likes: only equal sizes are safe. And what is
    # no image the model itself refuses.
    if batcher is None or image.ndim != 3 or image.numel() == 0:
        return tuple(image.shape)
    return batcher.padded_size(tuple(image.shape[-2:]))


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
