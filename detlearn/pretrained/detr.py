"""The published weights of DETR (github.com/facebookresearch/detr), whose names ours have, too."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping

import torch
from torch import Tensor

from detlearn.models.detr import DETR
from detlearn.pretrained.darknet import existing
from detlearn.pretrained.torchvision import load_exactly


def load_detr(model: DETR, path_or_state_dict: str | os.PathLike | Mapping[str, Tensor]) -> None:
    """Give a detector the published weights, under the names that they have.

    The files (``detr-r50-e632da11.pth`` and others) are listed in the published code's README. With
    those of COCO, label k is the category with id k; 0 and the ids that COCO skips are never found.

    Args:
        model: of `detlearn.models.detr_resnet50`, with as many classes and queries as the weights.
        path_or_state_dict: the file, or what it holds: weights by name, or these under the key
            "model".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds more than tensors, or weights that do not fit: missing, surplus or
            of another shape. The model is then left as it was.
    """
    tensors = path_or_state_dict
    if isinstance(tensors, str | os.PathLike):
        tensors = _read(tensors)
    if "model" in tensors:
        tensors = tensors["model"]

    _check_counts(model, tensors)
    load_exactly(model, tensors, "this DETR")


def _read(path: str | os.PathLike) -> Mapping[str, Tensor]:
    """Read a file of tensors; nothing else in it is run."""
    path = existing(path, "weights of DETR")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, as checkpoints of a training do, and to read it is "
            "to run it. If you trust it, give load_detr the weights alone: "
            "torch.load(path, weights_only=False)['model']"
        ) from error


def _check_counts(model: DETR, tensors: Mapping[str, Tensor]) -> None:
    """Say it plainly where only the numbers of classes or queries differ."""
    given = {"num_classes": "class_embed.weight", "num_queries": "query_embed.weight"}
    offsets = {"num_classes": 1, "num_queries": 0}  # "no object" has a row as well
    wanted = model.state_dict()
    for argument, name in given.items():
        if name not in tensors:
            raise ValueError(f"these are no weights of DETR: {name} is missing")

        found, expected = len(tensors[name]), len(wanted[name])
        if found != expected:
            offset = offsets[argument]
            raise ValueError(
                f"the weights are of {argument}={found - offset}, the model of "
                f"{expected - offset}: build it with {argument}={found - offset}"
            )
