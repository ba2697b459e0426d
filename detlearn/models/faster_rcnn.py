"""Faster R-CNN: propose regions, then look at each.

A backbone makes feature maps; the region proposal network (`detlearn.models.rpn`) finds a few
hundred boxes that may hold something; the second stage (`detlearn.models.roi_heads`) names each and
corrects its box. Both stages share the maps and are trained together.

Shapes: B images, K classes, P anchors, R proposals. Boxes are xyxy in pixels of the padded batch.

Sources: Ren et al. 2015, "Faster R-CNN" (arXiv 1506.01497); on a pyramid, Lin et al. 2017 (arXiv
1612.03144), §4; RoIAlign, He et al. 2017 (arXiv 1703.06870), §3. The full-size models are those of
torchvision, including its v2 (Li et al. 2021, arXiv 2111.11429).

Where we differ from the paper: both stages are trained in one step, not in alternation; boxes are
not rounded for pooling, unless ``pooling="pool"``; smooth L1 has β = 1/9 in both stages, and the
losses are divided by the number of samples, as in torchvision.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights

from detlearn.boxes import clip_boxes_to_image
from detlearn.models.base import Detector
from detlearn.models.images import Batch, Detections, ImageBatcher, Target
from detlearn.models.roi_heads import (
    ConvFCHead,
    RoIHeads,
    TwoMLPHead,
    select_detections,
)
from detlearn.models.rpn import RegionProposalNetwork
from detlearn.nets.fpn import PyramidBackbone
from detlearn.nets.resnet import FrozenBatchNorm2d, ResNet, load_imagenet, resnet50
from detlearn.roi import MultiScaleRoIAlign, MultiScaleRoIPool

POOLINGS = {"align": MultiScaleRoIAlign, "pool": MultiScaleRoIPool}


class TwoStageOutputs(NamedTuple):
    """What the first stage hands on.

    Attributes:
        features: maps (B, C, H_l, W_l) by stride ("4", "8", …), finest first.
        objectness: (B, P) logits.
        deltas: (B, P, 4).
        anchors: (P, 4).
        proposals: per image (n, 4), best first, without gradient.
        size: height and width of the padded batch, for the pooling.
        sizes: height and width of each image in it, without the padding.
    """

    features: OrderedDict[str, Tensor]
    objectness: Tensor
    deltas: Tensor
    anchors: Tensor
    proposals: list[Tensor]
    size: tuple[int, int]
    sizes: list[tuple[int, int]]


class TwoStageDetector(Detector):
    """What Faster and Cascade R-CNN have in common: backbone and proposals.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first, all with the same number of
            channels; has ``out_channels`` and ``strides``.
        rpn: the first stage; by default with anchors of 8 strides on every level of a pyramid, and
            of 8, 16 and 32 strides on a single map: the papers' choices.
        batcher: image batcher; by default normalises and pads, and keeps the size.
        score_threshold: detections below this score are dropped.
        nms_threshold: IoU above which the lower-scoring of two detections of a class is dropped.
        max_detections: detections kept per image.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        rpn: RegionProposalNetwork | None = None,
        *,
        batcher: ImageBatcher | None = None,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__(num_classes, batcher or ImageBatcher())
        self.backbone = backbone
        self.rpn = rpn or default_rpn(backbone)
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.max_detections = max_detections

    def predict(
        self, images: Tensor, sizes: list[tuple[int, int]] | None = None
    ) -> TwoStageOutputs:
        """Run backbone and first stage.

        Args:
            images: (B, 3, H, W), normalised.
            sizes: height and width of each image without the padding; (H, W) by default.

        Returns:
            Feature maps and proposals, and what the first stage's loss needs.
        """
        size = tuple(images.shape[-2:])
        sizes = sizes or [size] * len(images)
        maps = self.backbone(images).values()
        features = OrderedDict((str(s), x) for s, x in zip(self.backbone.strides, maps))
        return TwoStageOutputs(features, *self.rpn(features, sizes, size), size, sizes)

    def predict_batch(self, batch: Batch) -> TwoStageOutputs:
        """Run `predict` on what the image batcher made."""
        return self.predict(batch.images, batch.sizes)

    def look(self, heads: RoIHeads, outputs: TwoStageOutputs, boxes: list[Tensor]) -> tuple:
        """Let one second-stage head look at boxes: class logits and deltas of all R boxes."""
        return heads(outputs.features, boxes, [outputs.size] * len(boxes))

    def select(self, boxes: Tensor, probabilities: Tensor, counts: list[int]) -> list[Detections]:
        """`select_detections` of boxes (R, K or 1, 4) and probabilities (R, K + 1)."""
        return select_detections(
            boxes,
            probabilities[:, 1:],  # without the background
            counts,
            score_threshold=self.score_threshold,
            nms_threshold=self.nms_threshold,
            max_detections=self.max_detections,
        )


class FasterRCNN(TwoStageDetector):
    """Two stages: proposals, and one head that looks at each.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first, all with the same number of
            channels; has ``out_channels`` and ``strides``. With one map this is the detector of
            2015, with a feature pyramid that of 2017.
        rpn: the first stage; see `TwoStageDetector` for the default.
        roi_heads: the second stage; by default RoIs of 7 × 7 and two layers of 1024.
        pooling: of the default second stage: "align" for RoIAlign, "pool" for RoIPool.
        batcher, score_threshold, nms_threshold, max_detections: see `TwoStageDetector`.

    Raises:
        ValueError: for another pooling, or a second stage for another number of classes.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        rpn: RegionProposalNetwork | None = None,
        roi_heads: RoIHeads | None = None,
        *,
        pooling: str = "align",
        batcher: ImageBatcher | None = None,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__(
            num_classes,
            backbone,
            rpn,
            batcher=batcher,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            max_detections=max_detections,
        )
        if roi_heads is None:
            head = TwoMLPHead(backbone.out_channels[0] * 7 * 7)
            roi_heads = RoIHeads(num_classes, roi_pooler(backbone, pooling), head)
        check_classes(num_classes, [roi_heads])
        self.roi_heads = roi_heads

    def compute_loss(self, outputs: TwoStageOutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations.

        Args:
            outputs: from `predict`.
            targets: per image ``{"boxes": (N, 4) xyxy pixels of the batch, "labels": (N,)}``.

        Returns:
            The four losses: ``"loss_objectness"`` and ``"loss_rpn_box_reg"`` of the first stage,
            ``"loss_classifier"`` and ``"loss_box_reg"`` of the second.
        """
        first = self.rpn.compute_loss(outputs.objectness, outputs.deltas, outputs.anchors, targets)
        sample = self.roi_heads.sample(outputs.proposals, targets)
        class_logits, deltas = self.look(self.roi_heads, outputs, sample.boxes)
        return {**first, **self.roi_heads.compute_loss(class_logits, deltas, sample)}

    def decode(self, outputs: TwoStageOutputs, sizes: list[tuple[int, int]]) -> list[Detections]:
        """Turn outputs into detections.

        Args:
            outputs: from `predict`.
            sizes: height and width of each image inside the padded batch.

        Returns:
            Per image ``{"boxes": (N, 4) xyxy in pixels of the batch, "scores": (N,), "labels":
            (N,)}``, at most ``max_detections`` of them, highest score first.
        """
        class_logits, deltas = self.look(self.roi_heads, outputs, outputs.proposals)
        boxes = torch.cat(outputs.proposals)[:, None]  # (R, 1, 4)
        boxes = self.roi_heads.box_coder.decode(deltas, boxes)  # (R, K + 1 or 1, 4)
        if boxes.shape[1] > 1:
            boxes = boxes[:, 1:]  # without the background's
        counts = [len(proposals) for proposals in outputs.proposals]
        boxes = clip_each(boxes, counts, sizes)
        return self.select(boxes, class_logits.softmax(dim=-1), counts)


def check_classes(num_classes: int, heads: Iterable[RoIHeads]) -> None:
    """Raise a ValueError if a second stage was built for another number of classes."""
    for head in heads:
        if head.num_classes != num_classes:
            raise ValueError(
                f"the detector has {num_classes} classes, its second stage {head.num_classes}"
            )


def clip_each(boxes: Tensor, counts: list[int], sizes: list[tuple[int, int]]) -> Tensor:
    """Clip boxes (R, n, 4), of which ``counts`` belong to each image, to images of ``sizes``."""
    parts = boxes.split(counts)
    return torch.cat([clip_boxes_to_image(part, size) for part, size in zip(parts, sizes)])


def default_rpn(backbone: nn.Module) -> RegionProposalNetwork:
    """A first stage for any backbone: see `TwoStageDetector`."""
    strides = backbone.strides
    sizes = [(8 * s,) for s in strides]
    if len(strides) == 1:
        sizes = [tuple(factor * strides[0] for factor in (8, 16, 32))]
    return RegionProposalNetwork(backbone.out_channels[0], sizes, strides=strides)


def roi_pooler(
    backbone: nn.Module,
    pooling: str = "align",
    *,
    output_size: int = 7,
    sampling_ratio: int = 2,
    canonical_scale: float = 224,
    aligned: bool = True,
) -> MultiScaleRoIAlign:
    """RoIAlign or RoIPool on all maps of a backbone with a stride of at most 32.

    Args:
        backbone: has ``strides``. A coarser map than stride 32 serves large anchors alone.
        pooling: "align" or "pool".
        output_size: bins along each side.
        sampling_ratio: points along each side of a bin, for RoIAlign.
        canonical_scale: size in pixels of the boxes that are read from the map of stride 16.
        aligned: see `detlearn.roi.roi_align`.

    Returns:
        A module called with the maps by name (their stride), boxes and sizes.

    Raises:
        ValueError: for another pooling.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}: expected one of {', '.join(POOLINGS)}")
    names = [str(stride) for stride in backbone.strides if stride <= 32]
    return POOLINGS[pooling](
        names, output_size, sampling_ratio, canonical_scale=canonical_scale, aligned=aligned
    )


def fasterrcnn_resnet50_fpn(
    num_classes: int = 90,
    *,
    min_size: int = 800,
    max_size: int = 1333,
    pretrained_backbone: bool = False,
    frozen_batch_norm: bool = False,
    round_anchors: bool = False,
    centre_offset: float = 0.5,
    infer_strides: bool = False,
    aligned: bool = True,
) -> FasterRCNN:
    """Faster R-CNN with ResNet-50 and a feature pyramid: 41.8 million parameters for COCO.

    Args:
        num_classes: K; 90 for COCO, whose category ids go from 1 to 90.
        min_size: images are resized so that the shorter side has this many pixels …
        max_size: … unless the longer side would then exceed this.
        pretrained_backbone: load torchvision's ImageNet weights, freeze batch normalisation and
            train only the last three of the five parts. Offline it warns, and all parts start at
            random and are trained.
        frozen_batch_norm: use `FrozenBatchNorm2d` in the backbone.
        round_anchors, centre_offset, infer_strides, aligned: the conventions, see
            `RegionProposalNetwork` and `detlearn.roi.roi_align`; torchvision's are True, 0, True
            and False.

    Returns:
        The detector; `detlearn.pretrained.from_torchvision` makes one with COCO weights.
    """
    body = pretrained_resnet50(FrozenBatchNorm2d) if pretrained_backbone else None
    body = body or resnet50(FrozenBatchNorm2d if frozen_batch_norm else nn.BatchNorm2d)
    backbone = PyramidBackbone(body, 256)
    return FasterRCNN(
        num_classes,
        backbone,
        _full_rpn(backbone, 1, round_anchors, centre_offset, infer_strides),
        RoIHeads(num_classes, roi_pooler(backbone, aligned=aligned), TwoMLPHead(256 * 7 * 7)),
        batcher=ImageBatcher(min_size=min_size, max_size=max_size),
    )


def fasterrcnn_resnet50_fpn_v2(
    num_classes: int = 90,
    *,
    min_size: int = 800,
    max_size: int = 1333,
    pretrained_backbone: bool = False,
    round_anchors: bool = False,
    centre_offset: float = 0.5,
    infer_strides: bool = False,
    aligned: bool = True,
) -> FasterRCNN:
    """The improved recipe: normalised pyramid, two RPN convolutions, four in the second stage.

    Args:
        num_classes: K; 90 for COCO.
        min_size, max_size, pretrained_backbone: see `fasterrcnn_resnet50_fpn`; batch
            normalisation is trained.
        round_anchors, centre_offset, infer_strides, aligned: the conventions, see
            `RegionProposalNetwork` and `detlearn.roi.roi_align`; torchvision's are True, 0, True
            and False.

    Returns:
        The detector: 43.7 million parameters for COCO.
    """
    body = pretrained_resnet50(nn.BatchNorm2d) if pretrained_backbone else None
    backbone = PyramidBackbone(body or resnet50(), 256, norm_layer=nn.BatchNorm2d)
    return FasterRCNN(
        num_classes,
        backbone,
        _full_rpn(backbone, 2, round_anchors, centre_offset, infer_strides),
        RoIHeads(num_classes, roi_pooler(backbone, aligned=aligned), ConvFCHead(256, 7)),
        batcher=ImageBatcher(min_size=min_size, max_size=max_size),
    )


def pretrained_resnet50(norm_layer: type[nn.Module]) -> ResNet | None:
    """ResNet-50 with ImageNet weights, trainable from its third part on; None offline."""
    body = resnet50(norm_layer)
    if not load_imagenet(body, ResNet50_Weights.IMAGENET1K_V1):
        return None  # frozen random layers and statistics would be of no use
    body.freeze(trainable_layers=3)
    return body


def _full_rpn(
    backbone: nn.Module,
    conv_depth: int,
    round_anchors: bool,
    centre_offset: float,
    infer_strides: bool,
) -> RegionProposalNetwork:
    return RegionProposalNetwork(
        256,
        [(32,), (64,), (128,), (256,), (512,)],
        strides=backbone.strides,
        conv_depth=conv_depth,
        round_anchors=round_anchors,
        centre_offset=centre_offset,
        infer_strides=infer_strides,
    )
