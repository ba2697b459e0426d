"""The detectors, and their builders by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detlearn.models.base import Detector
from detlearn.models.cascade_rcnn import CascadeRCNN
from detlearn.models.faster_rcnn import (
    FasterRCNN,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
)
from detlearn.models.images import ImageBatcher
from detlearn.models.point import PointDetector, point_small
from detlearn.models.rpn import RegionProposalNetwork
from detlearn.models.small import cascade_rcnn_small, faster_rcnn_small
from detlearn.nets.fpn import FeaturePyramidNetwork

BUILDERS: dict[str, Callable[..., Detector]] = {
    "point": point_small,
    "faster_rcnn": faster_rcnn_small,
    "cascade_rcnn": cascade_rcnn_small,
}


def create(name: str, num_classes: int, **options: Any) -> Detector:
    """Build a detector sized for ToyTown and a CPU.

    Args:
        name: one of the keys of `BUILDERS`.
        num_classes: K; labels are 0 … K−1.
        options: the builder's own, for instance ``min_size`` and ``max_size`` to resize images.

    Returns:
        The detector, with random weights, in training mode.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if name not in BUILDERS:
        raise ValueError(f"no detector called {name!r}; there are: {', '.join(sorted(BUILDERS))}")
    return BUILDERS[name](num_classes=num_classes, **options)


__all__ = [
    "BUILDERS",
    "CascadeRCNN",
    "Detector",
    "FasterRCNN",
    "FeaturePyramidNetwork",
    "ImageBatcher",
    "PointDetector",
    "RegionProposalNetwork",
    "create",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
]
