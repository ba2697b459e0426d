"""Detectors that were trained before: saved by ourselves, or made by torchvision."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from detlearn import models
from detlearn.checkpoints import load_tensors, save_tensors
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
    path: str | os.PathLike,
    model: Detector,
    name: str,
    class_names: Sequence[str],
    **options: Any,
) -> None:
    """Write a detector's weights and what is needed to build it again, atomically.

    Args:
        path: the file, in the safetensors format.
        model: as returned by ``models.create(name, len(class_names), **options)``, trained.
        name: the builder's name.
        class_names: the names of labels 0 … K−1.
        options: the builder's options.
    """
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
        ValueError: if it holds no detector of this package.
    """
    tensors, info = load_tensors(path)
    if "class_names" not in info:
        raise ValueError(f"{path} holds the state of a training; the detector lies beside it")
    model = models.create(info["model"], len(info["class_names"]), **info["options"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"{path} was written by another version of {info['model']}, train again: {error}"
        ) from error
    return SavedDetector(model.eval(), info["model"], info["class_names"])


class _TorchvisionDetector(nn.Module):
    def __init__(self, model: nn.Module, label_offset: int) -> None:
        super().__init__()
        self.model, self.label_offset = model, label_offset

    def forward(
        self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        if targets is not None:
            targets = [{**t, "labels": t["labels"] + self.label_offset} for t in targets]
        results = self.model(images, targets)
        if self.training:
            return results
        objects = [found["labels"] >= self.label_offset for found in results]
        results = [{k: v[kept] for k, v in d.items()} for d, kept in zip(results, objects)]
        return [{**found, "labels": found["labels"] - self.label_offset} for found in results]


def wrap_torchvision(model: nn.Module, label_offset: int = 1) -> nn.Module:
    """Let one of torchvision's detectors work with our trainer, metrics and figures.

    torchvision counts the background as class 0, and its objects from 1; the package counts objects
    from 0.

    Args:
        model: a detector of ``torchvision.models.detection``.
        label_offset: what its label of our class 0 is.

    Returns:
        A module with the package's labels, that shares the model's weights.
    """
    return _TorchvisionDetector(model, label_offset)
