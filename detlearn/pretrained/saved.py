"""Our own files: a trained detector with what is needed to build it again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from detlearn import models
from detlearn.machine.checkpoints import load_tensors, save_tensors
from detlearn.models.base import Detector


@dataclass
class SavedDetector:
    """A detector read from a file.

    Attributes:
        model: with its weights, in eval mode, on the CPU.
        name: what `models.create` calls it.
        class_names: the names of labels 0 … K−1.
    """

    model: Detector
    name: str
    class_names: list[str]


def save_detector(
    path: str | os.PathLike, model: Detector, name: str, class_names: Sequence[str]
) -> None:
    """Write a detector's weights and what is needed to build it again, atomically.

    Args:
        path: the file, in the safetensors format.
        model: as returned by ``models.create(name, len(class_names), …)``, trained.
        name: the builder's name.
        class_names: the names of labels 0 … K−1.
    """
    save_tensors(path, model.state_dict(), detector_info(model, name, class_names))


def detector_info(model: Detector, name: str, class_names: Sequence[str]) -> dict[str, Any]:
    """Return what is needed to build a detector again, but for its weights.

    Args: as for `save_detector`.
    """
    # To what size it brings its images is no weight, but it belongs to them.
    options = {"min_size": model.batcher.min_size, "max_size": model.batcher.max_size}
    if name in models.WITH_QUERIES:
        options["num_queries"] = model.num_queries
    return {"model": name, "class_names": list(class_names), "options": options}


def load_detector(path: str | os.PathLike) -> SavedDetector:
    """Read what `save_detector` wrote.

    Args:
        path: the file.

    Returns:
        The detector, ready to detect.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no detector of this package, or not all that belongs to one.
    """
    tensors, info = load_tensors(path)
    if "settings" in info:
        raise ValueError(f"{path} holds the state of a training; the detector lies beside it")
    return _build(path, tensors, info)


def load_from_training(path: str | os.PathLike, info: dict[str, Any]) -> tuple[SavedDetector, int]:
    """Read the averaged weights of a training that need not have ended.

    Args:
        path: a checkpoint of `training.fit`.
        info: what `detector_info` said when the training began.

    Returns:
        The detector, as it would be if the training had ended there (with its last weights if the
        training keeps no average), and the number of steps.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no checkpoint, or one of another detector.
    """
    tensors, state = load_tensors(path)
    if "settings" not in state:
        raise ValueError(f"{path} holds no state of a training")

    # A training without average has the last weights only.
    for prefix in ("averaged.module.", "model."):
        weights = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        if weights:
            break
    return _build(path, weights, info), state["steps_done"]


def _build(
    path: str | os.PathLike, tensors: dict[str, Tensor], info: dict[str, Any]
) -> SavedDetector:
    """Build a detector from its weights and what `detector_info` said of it."""
    try:
        name, class_names, options = info["model"], info["class_names"], info["options"]
        min_size, max_size = options["min_size"], options["max_size"]
    except KeyError as error:
        raise ValueError(
            f"{path} does not say {error}: it was not written by this version's save_detector, "
            "train again"
        ) from error

    model = models.create(
        name,
        len(class_names),
        min_size=min_size,
        max_size=max_size,
        num_queries=options.get("num_queries"),
    )
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"{path} was written for a detector built with other arguments than models.create's, "
            f"or by another version of {name}, train again: {error}"
        ) from error
    return SavedDetector(model.eval(), name, class_names)


def take_weights(
    model: Detector, saved: SavedDetector, name: str, class_names: Sequence[str]
) -> list[str]:
    """Give a new detector the weights of a trained one, as far as they fit: fine-tuning.

    Layers whose weights have another shape keep what they have. Where the classes are others, so do
    all layers that say something of classes, even if there are as many: the new ones mean
    something else.

    Args:
        model: as returned by ``models.create(name, len(class_names), …)``.
        saved: the trained detector.
        name: the new one's builder.
        class_names: its classes, by label.

    Returns:
        The names of the layers that begin anew.

    Raises:
        ValueError: if the two are not the same detector.
    """
    if saved.name != name:
        raise ValueError(
            f"the weights are those of a {saved.name}, they do not fit a {name}: start from the "
            "same detector"
        )
    given, own = saved.model.state_dict(), model.state_dict()
    fits = {key for key, weight in own.items() if key in given and given[key].shape == weight.shape}

    # A layer says something of classes if it looks different with one class more.
    if list(class_names) != saved.class_names:
        num_queries = saved.model.num_queries if name in models.WITH_QUERIES else None
        one_more = models.create(name, len(saved.class_names) + 1, num_queries=num_queries)
        fits -= {
            key
            for key, weight in one_more.state_dict().items()
            if key in given and given[key].shape != weight.shape
        }

    model.load_state_dict({key: given[key] if key in fits else own[key] for key in own})
    return sorted({key.rpartition(".")[0] for key in own if key not in fits})
