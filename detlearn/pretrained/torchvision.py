"""torchvision's detectors: their weights in our code, and their modules behind our contract."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, detection

from detlearn import models
from detlearn.models.base import Detector
from detlearn.nets.resnet import freeze_batch_norm


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

        detections = []
        for found in results:
            # Labels below the offset are the background's.
            is_object = found["labels"] >= self.label_offset
            objects = {name: value[is_object] for name, value in found.items()}
            detections.append({**objects, "labels": objects["labels"] - self.label_offset})
        return detections


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


@dataclass
class _Published:
    """One of torchvision's detectors, as we build it and as torchvision published it.

    Attributes:
        builder: makes our model from the number of classes.
        weights: the published file.
        class_scores: the layer whose rows are the background and the K classes.
        eps: of its frozen batch normalisation; unused where the file has a trained one.
        anchors: a location's, of a detector whose heads have one sigmoid a class: each anchor has
            a row for the background that learns nothing, and that ours does not have. 0 where the
            background is a class in both.
    """

    builder: Callable[..., Detector]
    weights: WeightsEnum
    class_scores: str
    eps: float
    anchors: int = 0


_PUBLISHED = {
    "fasterrcnn_resnet50_fpn": _Published(
        models.fasterrcnn_resnet50_fpn,
        detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
        "roi_heads.box_predictor.cls_score",
        eps=0.0,
    ),
    "fasterrcnn_resnet50_fpn_v2": _Published(
        models.fasterrcnn_resnet50_fpn_v2,
        detection.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
        "roi_heads.box_predictor.cls_score",
        eps=1e-5,
    ),
    "fcos_resnet50_fpn": _Published(
        models.fcos_resnet50_fpn,
        detection.FCOS_ResNet50_FPN_Weights.COCO_V1,
        "head.cls_logits",
        eps=1e-5,
        anchors=1,
    ),
    "retinanet_resnet50_fpn": _Published(
        models.retinanet_resnet50_fpn,
        detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1,
        "head.cls_logits",
        eps=0.0,
        anchors=9,
    ),
}

# From torchvision's names to ours: those of its old files, then its present ones.
_RENAMES = [
    (r"fpn\.inner_blocks\.(\d)\.(weight|bias)$", r"fpn.lateral.\1.0.\2"),
    (r"fpn\.layer_blocks\.(\d)\.(weight|bias)$", r"fpn.output.\1.0.\2"),
    (r"fpn\.inner_blocks\.", "fpn.lateral."),
    (r"fpn\.layer_blocks\.", "fpn.output."),
    (r"rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.\1"),
    (r"rpn\.head\.conv\.(\d)\.0\.", r"rpn.head.conv.\1."),
    # RetinaNet's towers: a convolution and a ReLU are one module there, two here and in old files.
    *[
        (rf"^head\.{theirs}_head\.conv\.{i}\.0\.", f"head.{ours}_tower.{2 * i}.")
        for theirs, ours in (("classification", "class"), ("regression", "box"))
        for i in range(4)
    ],
    (r"^head\.classification_head\.conv\.", "head.class_tower."),
    (r"^head\.regression_head\.conv\.", "head.box_tower."),
    (r"^head\.(classification|regression)_head\.", "head."),
]


def from_torchvision(
    name: str,
    state_dict: Mapping[str, Tensor] | str | os.PathLike | None = None,
    *,
    min_size: int = 800,
    max_size: int = 1333,
) -> Detector:
    """Build one of torchvision's detectors in our code, with its weights and its conventions.

    The result detects what torchvision's model does: anchors are rounded and sit at the corner of
    their cell, as FCOS's locations do, strides are inferred from the sizes, and RoIAlign is the
    older, unaligned one; what else differs is said in the models' files. Batch normalisation is
    frozen where the weights come from a frozen one (they then lack ``num_batches_tracked``). With
    the published weights the first two of the backbone's five parts are frozen, as in torchvision
    (see `ResNet.freeze` for what that leaves moving); with others all are trained.

    Args:
        name: "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn" or
            "fcos_resnet50_fpn".
        state_dict: the weights, or the file that holds them. By default torchvision's COCO weights
            are downloaded (and kept in torch's cache).
        min_size: images are resized so that the shorter side has this many pixels …
        max_size: … unless the longer side would then exceed this.

    Returns:
        The detector in eval mode. Its label k is class k + 1 of the weights, which count the
        background as 0: with COCO, category k + 1; `coco_names` names them.

    Raises:
        ValueError: for an unknown name, or weights that do not fit: missing, surplus or of another
            shape.
        ConnectionError: if the weights are to be downloaded and cannot be.
    """
    if name not in _PUBLISHED:
        raise ValueError(f"no detector called {name!r}; there are: {', '.join(sorted(_PUBLISHED))}")
    ours = _PUBLISHED[name]

    # The weights, and whether they are those that torchvision published.
    published = state_dict is None
    if published:
        state_dict = _download(name, ours.weights)
    elif isinstance(state_dict, str | os.PathLike):
        # A published file is known by its name, which ends in a part of its checksum.
        published = Path(state_dict).name == ours.weights.url.rsplit("/", 1)[-1]
        state_dict = torch.load(state_dict, map_location="cpu", weights_only=True)

    tensors = {_rename(key): value for key, value in state_dict.items()}
    weight = f"{ours.class_scores}.weight"
    if weight not in tensors:
        raise ValueError(f"these are no weights of {name}: {weight} is missing")

    # A model that they fit.
    num_classes = len(tensors[weight]) // max(ours.anchors, 1) - 1
    if ours.anchors:
        _drop_background(tensors, ours.class_scores, ours.anchors)
    model = ours.builder(
        num_classes, min_size=min_size, max_size=max_size, torchvision_conventions=True
    )
    frozen = "backbone.body.bn1.num_batches_tracked" not in tensors
    if frozen:
        freeze_batch_norm(model.backbone.body, eps=ours.eps if published else 1e-5)

    load_exactly(model, tensors, name)
    if published:
        model.backbone.body.freeze(trainable_layers=3)
    return model.eval()


def coco_names() -> list[str]:
    """Names of labels 0 … 89 of a detector with COCO weights; "N/A" for ids that COCO skips."""
    return detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]


def _download(name: str, weights: WeightsEnum) -> Mapping[str, Tensor]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints where it stores the file
            return weights.get_state_dict(progress=True, check_hash=True)
    except OSError as error:  # URLError is one
        raise ConnectionError(
            f"the COCO weights of {name} were not loaded, since {weights.url} cannot be reached "
            f"({error}); try again online, or give state_dict"
        ) from error


def _rename(key: str) -> str:
    for pattern, ours in _RENAMES:
        key, count = re.subn(pattern, ours, key)
        if count:
            break
    return key


def _drop_background(tensors: dict[str, Tensor], layer: str, anchors: int) -> None:
    """Take the rows of the background out of a layer: the first of each anchor's."""
    for key in (f"{layer}.weight", f"{layer}.bias"):
        if key in tensors:
            rows = tensors[key].unflatten(0, (anchors, -1))  # (A, K + 1, …)
            tensors[key] = rows[:, 1:].flatten(0, 1)  # (A·K, …)


def load_exactly(model: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Load weights that must be there to the last one; say which are not.

    Args:
        model: changed in place.
        tensors: its weights by name.
        name: what to call the model.

    Raises:
        ValueError: if weights are missing, surplus or of another shape; the model stays as it was.
    """
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in tensors.items()}

    common = wanted.keys() & given.keys()
    faults = {
        "missing": sorted(wanted.keys() - given.keys()),
        "surplus": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(key for key in common if wanted[key] != given[key]),
    }
    found = [f"{len(keys)} {kind} ({keys[0]}, …)" for kind, keys in faults.items() if keys]
    if found:
        raise ValueError(f"these weights are not of {name}: {'; '.join(found)}")

    model.load_state_dict(tensors)
