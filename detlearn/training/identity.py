"""What a training belongs to, in words and numbers that a checkpoint can keep.

A checkpoint continues only the training that wrote it. What decides a training's result besides the
numbers of `fit` are the data, the augmentation and the model, and none of them fits into a file
whole. So each is described by what tells it from another: short enough to be stored with every
checkpoint, and readable, because the description is what an error shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, Subset

from detlearn.training.steps import seeded

PROBES = 8  # samples of somebody else's data set that are looked at
DEEPEST = 8  # levels of a description; what lies deeper is named only

# Attributes of a detector that are asked when it detects, not when it learns.
ASKED_LATER = ("training", "score_threshold", "nms_threshold", "max_detections", "detects_with")
# All that a module of torch's has to say beyond the shapes of its weights, which are compared.
OF_TORCH = ("p", "dropout")


# ----------------------------------------------------------------------------------------- data


def describe_data(dataset: Dataset | Sequence) -> str:
    """Say which data these are: how many, and a digest of their sizes and annotations.

    The data sets of this package have all annotations in memory (``annotations()``), and no picture
    is read. Of any other a few samples are, twice: where the two readings differ, because it draws
    something at random, there is nothing to hold on to but its length.

    Args:
        dataset: samples ``(image, target)``.

    Returns:
        One line, such as ``"364 images, 4888 objects, 3 classes, digest 1c0f3a5b7d9e"``. The order
        of the samples counts; where their files lie does not.
    """
    if isinstance(dataset, Subset):
        indices = _digest([str(list(dataset.indices))])
        return f"{len(dataset)} images (digest {indices}) of: {describe_data(dataset.dataset)}"
    if isinstance(dataset, ConcatDataset):
        return " + ".join(describe_data(part) for part in dataset.datasets)

    names = getattr(dataset, "class_names", None)
    if hasattr(dataset, "annotations"):
        pieces: list[Any] = [str(list(names))]
        objects = 0
        for picture, boxes, labels, iscrowd in dataset.annotations():
            pieces += [picture, boxes, labels, iscrowd]
            objects += len(labels)
        return (
            f"{len(dataset)} images, {objects} objects, {len(names)} classes, "
            f"digest {_digest(pieces)}"
        )

    return f"{len(dataset)} images, {_look_at_some(dataset)}"


def _look_at_some(dataset: Dataset | Sequence) -> str:
    last = len(dataset) - 1
    indices = sorted({round(k * last / (PROBES - 1)) for k in range(PROBES)})

    digest = _digest(_sizes_and_annotations(dataset, indices, seed=0))
    if digest != _digest(_sizes_and_annotations(dataset, indices, seed=1)):
        return "other ones each time they are read"
    return f"{len(indices)} of them looked at, digest {digest}"


def _sizes_and_annotations(
    dataset: Dataset | Sequence, indices: Sequence[int], seed: int
) -> Iterator[str | Tensor]:
    for index in indices:
        try:
            with seeded(seed, index):  # the caller's generator stays where it is
                image, target = dataset[index]
            size, boxes, labels = str(tuple(image.shape)), target["boxes"], target["labels"]
        except Exception:  # the step that needs this sample will say it better
            yield f"sample {index} cannot be read"
            continue

        yield from (size, boxes, labels)


def _digest(pieces: Iterable[Any]) -> str:
    """Return 12 hex digits of the sha256 of strings, arrays and tensors."""
    digest = hashlib.sha256()
    for piece in pieces:
        if isinstance(piece, Tensor):
            piece = piece.detach().cpu().contiguous().numpy()
        content = piece.encode() if isinstance(piece, str) else piece.tobytes()
        # With the length, so that what follows one another cannot be cut elsewhere.
        digest.update(f"{len(content)} ".encode() + content)
    return digest.hexdigest()[:12]


# ---------------------------------------------------------------------------- model, augmentation


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Say which model this is: its class, and the settings of its parts.

    Weights and their shapes are left out: a checkpoint has them and compares them anyway.

    Returns:
        ``{"class": …, "name of a part.name of a setting": value, …}``
    """
    description: dict[str, Any] = {"class": type(model).__qualname__}

    for path, module in model.named_modules():
        is_torchs = type(module).__module__.startswith("torch.")
        for name, value in vars(module).items():
            if name.startswith("_") or name in ASKED_LATER:
                continue
            if is_torchs and name not in OF_TORCH:
                continue
            description[f"{path}.{name}".lstrip(".")] = describe(value)

    frozen = sum(not weight.requires_grad for weight in model.parameters())
    if frozen:
        description["frozen weights"] = frozen
    return description


def describe(value: Any, depth: int = 0) -> Any:
    """Turn a setting, a function or a transform into what JSON knows.

    Args:
        value: a number, a text, a collection of them; a function, by its name; a `partial`, by its
            function and arguments; any other object, by its class and attributes.
        depth: levels above it.

    Returns:
        Numbers, strings, lists and dictionaries, equal to those of an equal value in another
        process. Of two functions of one name it does not know the difference.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return f"tensor of shape {tuple(value.shape)}, digest {_digest([value])}"
    if hasattr(value, "__qualname__"):  # a function or a class
        return value.__qualname__
    if depth == DEEPEST:
        return type(value).__qualname__

    def deeper(part: Any) -> Any:
        return describe(part, depth + 1)

    if isinstance(value, list | tuple):
        return [deeper(part) for part in value]
    if isinstance(value, dict):
        return {str(name): deeper(part) for name, part in value.items()}
    if isinstance(value, partial):
        arguments = [deeper(argument) for argument in value.args]
        return [deeper(value.func), *arguments, *([deeper(value.keywords)] * bool(value.keywords))]

    attributes = getattr(value, "__dict__", {})
    public = {k: deeper(v) for k, v in attributes.items() if not k.startswith("_")}
    public.pop("training", None)  # every module of torch's has it
    return {type(value).__qualname__: public} if public else type(value).__qualname__


def describe_groups(param_groups: Sequence[dict[str, Any]]) -> list[str]:
    """Say how an optimizer's groups of parameters differ, one line a group."""
    return [
        f"{len(group['params'])} tensors, lr {group['lr']:g}, "
        f"weight_decay {group['weight_decay']:g}"
        for group in param_groups
    ]
