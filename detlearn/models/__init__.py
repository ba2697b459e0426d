"""The detectors, and their builders by name."""

from __future__ import annotations

from collections.abc import Callable

from detlearn.models.base import Detector
from detlearn.models.cascade_rcnn import CascadeRCNN
from detlearn.models.centernet import CenterNet, decode_detections
from detlearn.models.dab_detr import DABDETR
from detlearn.models.deformable_detr import DeformableDETR, deformable_detr_resnet50
from detlearn.models.detr import DETR, MLP, SetCriterion, detr_resnet50
from detlearn.models.faster_rcnn import (
    FasterRCNN,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
)
from detlearn.models.fcos import FCOS, FCOSHead, fcos_resnet50_fpn
from detlearn.models.group_detr import GroupDETR
from detlearn.models.images import ImageBatcher
from detlearn.models.point import PointDetector
from detlearn.models.retinanet import RetinaNet, RetinaNetHead, retinanet_resnet50_fpn
from detlearn.models.rpn import RegionProposalNetwork
from detlearn.models.small import (
    cascade_rcnn_small,
    centernet_small,
    deformable_detr_small,
    detr_small,
    faster_rcnn_small,
    fcos_small,
    point_small,
    retinanet_small,
    yolov1_small,
    yolov3_small,
    yolov8_small,
)
from detlearn.models.yolov1 import YOLOv1, YOLOv1Head
from detlearn.models.yolov3 import (
    YOLOv3,
    YOLOv3Head,
    YOLOv3Neck,
    yolov3_darknet53,
    yolov3_tiny,
)
from detlearn.models.yolov8 import YOLOv8, YOLOv8Head
from detlearn.nets.darknet import Darknet53, DarknetBlock
from detlearn.nets.fpn import FeaturePyramidNetwork
from detlearn.nets.transformer import PositionalEncoding2D

BUILDERS: dict[str, Callable[..., Detector]] = {
    "point": point_small,
    "faster_rcnn": faster_rcnn_small,
    "cascade_rcnn": cascade_rcnn_small,
    "yolov1": yolov1_small,
    "yolov3": yolov3_small,
    "yolov8": yolov8_small,
    "retinanet": retinanet_small,
    "fcos": fcos_small,
    "centernet": centernet_small,
    "detr": detr_small,
    "deformable_detr": deformable_detr_small,
}


# Those whose answer is a fixed number of queries.
WITH_QUERIES = ("detr", "deformable_detr")


def create(
    name: str,
    num_classes: int,
    *,
    min_size: int | None = None,
    max_size: int | None = None,
    num_queries: int | None = None,
) -> Detector:
    """Build a detector sized for ToyTown and a CPU.

    Args:
        name: one of the keys of `BUILDERS`.
        num_classes: K; labels are 0 … K−1.
        min_size: resize images so that the shorter side has this many pixels …
        max_size: … and the longer side at most this many. By default images keep their size.
        num_queries: of a detector that has queries, the most objects that it can find in an image.
            By default as many as are enough for ToyTown's default scenes.

    Returns:
        The detector, with random weights, in training mode.

    Raises:
        ValueError: for an unknown name (the message lists the known ones), for one of the two
            sizes alone, for sizes where the detector has a fixed one, or for a number of queries
            where it has none.
    """
    if name not in BUILDERS:
        raise ValueError(f"no detector called {name!r}; there are: {', '.join(sorted(BUILDERS))}")

    if num_queries is None:
        model = BUILDERS[name](num_classes)
    elif name in WITH_QUERIES:
        model = BUILDERS[name](num_classes, num_queries=num_queries)
    else:
        raise ValueError(
            f"num_queries is {num_queries}, but {name!r} has no queries; those that have: "
            f"{', '.join(WITH_QUERIES)}"
        )

    if min_size is not None or max_size is not None:
        model.batcher.set_sizes(min_size, max_size)
    return model


__all__ = [
    "BUILDERS",
    "DABDETR",
    "DETR",
    "FCOS",
    "MLP",
    "CascadeRCNN",
    "CenterNet",
    "Darknet53",
    "DarknetBlock",
    "DeformableDETR",
    "Detector",
    "FCOSHead",
    "FasterRCNN",
    "FeaturePyramidNetwork",
    "GroupDETR",
    "ImageBatcher",
    "PointDetector",
    "PositionalEncoding2D",
    "RegionProposalNetwork",
    "RetinaNet",
    "RetinaNetHead",
    "SetCriterion",
    "YOLOv1",
    "YOLOv1Head",
    "YOLOv3",
    "YOLOv3Head",
    "YOLOv3Neck",
    "YOLOv8",
    "YOLOv8Head",
    "cascade_rcnn_small",
    "centernet_small",
    "create",
    "decode_detections",
    "deformable_detr_resnet50",
    "deformable_detr_small",
    "detr_resnet50",
    "detr_small",
    "faster_rcnn_small",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "fcos_small",
    "point_small",
    "retinanet_resnet50_fpn",
    "retinanet_small",
    "yolov1_small",
    "yolov3_darknet53",
    "yolov3_small",
    "yolov3_tiny",
    "yolov8_small",
]
