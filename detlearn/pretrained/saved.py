"""Our own files: a trained detector with what is needed to build it again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

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
    # To what size it brings its images is no weight, but it belongs to them.
    options = {"min_size": model.batcher.min_size, "max_size": model.batcher.max_size}
    if name in models.WITH_QUERIES:
        options["num_queries"] = model.num_queries
    info = {"model": name, "class_names": list(class_names), "options": options}
    save_tensors(path, model.state_dict(), info)


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
