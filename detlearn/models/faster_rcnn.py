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
from detlearn.models.base import Assignment, Detector
from detlearn.models.images import ImageBatcher
from detlearn.models.roi_heads import ConvFCHead, RoIHeads, TwoMLPHead
from detlearn.models.rpn import RegionProposalNetwork, RPNOutputs
from detlearn.nets.fpn import PyramidBackbone
from detlearn.nets.resnet import FrozenBatchNorm2d, ResNet, load_imagenet, resnet50
from detlearn.roi import MultiScaleRoIAlign, MultiScaleRoIPool
from detlearn.samples import Detections, Target

POOLINGS = {"align": MultiScaleRoIAlign, "pool": MultiScaleRoIPool}


class TwoStageOutputs(NamedTuple):
    """What the first stage hands on.

    Attributes:
        features: maps (B, C, H_l, W_l) by stride ("4", "8", …), finest first.
        rpn: what the first stage says: ``objectness`` (B, P), ``deltas`` (B, P, 4), ``anchors``
            (P, 4), and per image ``proposals`` (n, 4), best first, without gradient.
        padded_size: height and width of the batch, for the pooling.
        sizes: height and width of each image in it, without the padding.
    """

    features: OrderedDict[str, Tensor]
    rpn: RPNOutputs
    padded_size: tuple[int, int]
    sizes: list[tuple[int, int]]


class TwoStageDetector(Detector):
    """What Faster and Cascade R-CNN have in common: backbone and proposals.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first, all with the same number of
            channels; has ``out_channels`` and ``strides``.
        rpn: the first stage; by default with anchors of 8 strides on every level of a pyramid, and
            of 8, 16 and 32 strides on a single map: the papers' choices.
        batcher: see `Detector`.

    Raises:
        ValueError: if the first stage was built for other strides than the backbone's.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        rpn: RegionProposalNetwork | None = None,
        *,
        batcher: ImageBatcher | None = None,
    ) -> None:
        super().__init__(num_classes, batcher)
        self.backbone = backbone
        self.rpn = rpn or default_rpn(backbone)
        if self.rpn.strides != list(backbone.strides):
            raise ValueError(
                f"the first stage has strides {self.rpn.strides}, the backbone "
                f"{list(backbone.strides)}: build the first stage with strides=backbone.strides"
            )

    def predict(
        self, images: Tensor, sizes: list[tuple[int, int]] | None = None
    ) -> TwoStageOutputs:
        """Run backbone and first stage: feature maps, and what is proposed; see `Detector`."""
        padded_size = tuple(images.shape[-2:])
        sizes = sizes or [padded_size] * len(images)

        # Whatever a backbone calls its maps, here they are named by their strides.
        maps = self.backbone(images).values()
        pairs = zip(self.backbone.strides, maps, strict=True)
        features = OrderedDict((str(stride), x) for stride, x in pairs)

        rpn = self.rpn(features, sizes, padded_size)
        return TwoStageOutputs(features, rpn, padded_size, sizes)

    def assign(self, outputs: TwoStageOutputs, targets: list[Target]) -> Assignment:
        """Say which object each anchor of the first stage learns; see `Detector`."""
        anchors, level_sizes = outputs.rpn.anchors, outputs.rpn.level_sizes
        assigned = self.rpn.assign(anchors, targets)  # (B, P)

        centres = (anchors[:, :2] + anchors[:, 2:]) / 2  # (P, 2)
        strides = [anchors.new_full((n,), s) for n, s in zip(level_sizes, self.backbone.strides)]
        return Assignment(assigned, centres, torch.cat(strides), anchors)


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
        batcher: see `Detector`.

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
    ) -> None:
        super().__init__(num_classes, backbone, rpn, batcher=batcher)
        if roi_heads is None:
            head = TwoMLPHead(backbone.out_channels[0] * 7 * 7)
            roi_heads = RoIHeads(num_classes, roi_pooler(backbone, pooling), head)
        check_classes(num_classes, [roi_heads])
        self.roi_heads = roi_heads

    def compute_loss(self, outputs: TwoStageOutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `Detector`.

        Returns:
            The four losses: ``"loss_objectness"`` and ``"loss_rpn_box_reg"`` of the first stage,
            ``"loss_classifier"`` and ``"loss_box_reg"`` of the second.
        """
        first_stage = self.rpn.compute_loss(outputs.rpn, targets)

        # A sample of the proposals, each with the object that it should name and correct.
        sample = self.roi_heads.sample(outputs.rpn.proposals, targets)
        class_logits, deltas = self.roi_heads(outputs.features, sample.boxes, outputs.padded_size)
        second_stage = self.roi_heads.compute_loss(class_logits, deltas, sample)

        return {**first_stage, **second_stage}

    def decode(self, outputs: TwoStageOutputs) -> list[Detections]:
        """Let the second stage look at all proposals; see `Detector`."""
        proposals = outputs.rpn.proposals
        class_logits, deltas = self.roi_heads(outputs.features, proposals, outputs.padded_size)

        # The scores of the classes and a box for each, without the background's, which is first.
        scores = class_logits.softmax(dim=-1)[:, 1:]  # (R, K)
        boxes = torch.cat(proposals)[:, None]  # (R, 1, 4)
        boxes = self.roi_heads.box_coder.decode(deltas, boxes)  # (R, K + 1 or 1, 4)
        if not self.roi_heads.class_agnostic:
            boxes = boxes[:, 1:]  # (R, K, 4)

        counts = [len(image_proposals) for image_proposals in proposals]
        detections = []
        for image_boxes, image_scores, size in zip(
            boxes.split(counts), scores.split(counts), outputs.sizes
        ):
            image_boxes = clip_boxes_to_image(image_boxes, size)
            detections.append(self.select_detections(image_boxes, image_scores))
        return detections


def check_classes(num_classes: int, heads: Iterable[RoIHeads]) -> None:
    """Raise a ValueError if a second stage was built for another number of classes."""
    for head in heads:
        if head.num_classes != num_classes:
            raise ValueError(
                f"the detector has {num_classes} classes, its second stage {head.num_classes}"
            )


def default_rpn(backbone: nn.Module) -> RegionProposalNetwork:
    """Return a first stage for any backbone: see `TwoStageDetector`."""
    strides = backbone.strides
    if len(strides) == 1:
        sizes = [tuple(factor * strides[0] for factor in (8, 16, 32))]
    else:
        sizes = [(8 * stride,) for stride in strides]
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
    """Return RoIAlign or RoIPool on all maps of a backbone with a stride of at most 32.

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
    torchvision_conventions: bool = False,
) -> FasterRCNN:
    """Faster R-CNN with ResNet-50 and a feature pyramid: 41.8 million parameters for COCO.

    Args:
        num_classes: K; 90 for COCO, whose category ids go from 1 to 90.
        min_size: images are resized so that the shorter side has this many pixels …
        max_size: … unless the longer side would then exceed this.
        pretrained_backbone: load torchvision's ImageNet weights, freeze batch normalisation and
            train only the last three of the five parts. Offline it warns, and all parts start at
            random and are trained.
        torchvision_conventions: anchors and RoIAlign as torchvision has them, which its weights
            need: see `RegionProposalNetwork`, and ``aligned=False`` of `detlearn.roi.roi_align`.

    Returns:
        The detector; `detlearn.pretrained.from_torchvision` makes one with COCO weights.
    """
    body = pretrained_resnet50(FrozenBatchNorm2d) if pretrained_backbone else None
    backbone = PyramidBackbone(body or resnet50(), 256)

    rpn = RegionProposalNetwork(
        256,
        [(32,), (64,), (128,), (256,), (512,)],
        strides=backbone.strides,
        torchvision_conventions=torchvision_conventions,
    )
    pooler = roi_pooler(backbone, aligned=not torchvision_conventions)
    roi_heads = RoIHeads(num_classes, pooler, TwoMLPHead(256 * 7 * 7))

    batcher = ImageBatcher(min_size=min_size, max_size=max_size)
    return FasterRCNN(num_classes, backbone, rpn, roi_heads, batcher=batcher)


def fasterrcnn_resnet50_fpn_v2(
    num_classes: int = 90,
    *,
    min_size: int = 800,
    max_size: int = 1333,
    pretrained_backbone: bool = False,
    torchvision_conventions: bool = False,
) -> FasterRCNN:
    """Faster R-CNN with the improved recipe: 43.7 million parameters for COCO.

    The pyramid is normalised, the RPN has two convolutions, the second stage four.

    Args:
        num_classes: K; 90 for COCO.
        min_size, max_size, pretrained_backbone, torchvision_conventions: see
            `fasterrcnn_resnet50_fpn`; batch normalisation is the ordinary one, as in torchvision.
            With a pretrained backbone its weights in the first two parts stay, but its running
            statistics move there too: see `ResNet.freeze`.

    Returns:
        The detector.
    """
    body = pretrained_resnet50(nn.BatchNorm2d) if pretrained_backbone else None
    backbone = PyramidBackbone(body or resnet50(), 256, norm_layer=nn.BatchNorm2d)

    rpn = RegionProposalNetwork(
        256,
        [(32,), (64,), (128,), (256,), (512,)],
        strides=backbone.strides,
        conv_depth=2,
        torchvision_conventions=torchvision_conventions,
    )
    pooler = roi_pooler(backbone, aligned=not torchvision_conventions)
    roi_heads = RoIHeads(num_classes, pooler, ConvFCHead(256, 7))

    batcher = ImageBatcher(min_size=min_size, max_size=max_size)
    return FasterRCNN(num_classes, backbone, rpn, roi_heads, batcher=batcher)


def pretrained_resnet50(norm_layer: type[nn.Module]) -> ResNet | None:
    """Return ResNet-50 with ImageNet weights, trainable from its third part on; None offline."""
    body = resnet50(norm_layer)
    if not load_imagenet(body, ResNet50_Weights.IMAGENET1K_V1):
        return None  # frozen random layers and statistics would be of no use

    body.freeze(trainable_layers=3)
    return body
