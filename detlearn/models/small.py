"""The detectors as the chapters train them: sized for ToyTown and a minute or two on a CPU.

What differs from the published detectors is said at each part. `detlearn.models.create` builds them
by name; `detlearn.training.recipe` says how each is trained.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from detlearn.anchors import AnchorGenerator
from detlearn.models.cascade_rcnn import IOU_THRESHOLDS, REG_WEIGHTS, CascadeRCNN
from detlearn.models.centernet import CenterNet
from detlearn.models.dab_detr import DABDETR, AnchorTransformer, IoUAwareCriterion
from detlearn.models.deformable_detr import (
    DeformableDETR,
    DeformableTransformer,
    FocalCriterion,
)
from detlearn.models.detr import DETR
from detlearn.models.faster_rcnn import FasterRCNN, roi_pooler
from detlearn.models.fcos import FCOS, FCOSHead
from detlearn.models.group_detr import GroupDETR
from detlearn.models.point import PointDetector
from detlearn.models.retinanet import RetinaNet, RetinaNetHead
from detlearn.models.roi_heads import NormalisedHead, RoIHeads
from detlearn.models.rpn import RegionProposalNetwork
from detlearn.models.yolov1 import YOLOv1
from detlearn.models.yolov3 import YOLOv3, YOLOv3Head, YOLOv3Neck
from detlearn.models.yolov8 import YOLOv8
from detlearn.nets.fpn import PyramidBackbone
from detlearn.nets.small import SmallBackbone
from detlearn.nets.transformer import Transformer

# ---- chapter 1 -----------------------------------------------------------------------------------


def point_small(num_classes: int) -> PointDetector:
    """Build the detector of chapter 1: 0.8 million parameters, a stride-4 map.

    Args:
        num_classes: K.

    Returns:
        The detector with random weights.
    """
    return PointDetector(num_classes, SmallBackbone(), channels=32)


# ---- chapter 2 -----------------------------------------------------------------------------------

# These settings were found by trial, one run each: after 300 steps AP was .13 without and .24 with
# positives from IoU 0.5 on in the first stage, .35 with batch normalisation in the second, .37 with
# a small sample in the first. After 600 to 660 steps AP50 was .85 to .86, .86 with a normalised
# pyramid, .88 to .89 with layers of 512 instead of 128 and half the weight on boxes.

# Median object of ToyTown: 16 pixels. Two sizes a level, each at most six strides.
SMALL_SIZES = ((6, 11), (16, 24), (34, 50))


def small_pyramid() -> PyramidBackbone:
    """Build the backbone of the small two-stage detectors: 32 channels at strides 4, 8 and 16.

    The pyramid is normalised. The second stage does not mind how large its features are, since it
    normalises again, and nothing else keeps them small. But the first stage does mind: in seven
    trainings without, their standard deviation ended anywhere between 4 and 10, and AP was .65 to
    .61 up to 5.2, .59 to .57 up to 5.7 and .53 and less beyond (settings differed, too).
    """
    return PyramidBackbone(
        SmallBackbone(), 32, extra_level=False, norm_layer=nn.BatchNorm2d, num_levels=3
    )


def small_rpn(
    backbone: nn.Module, aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
) -> RegionProposalNetwork:
    """Build their first stage, whose numbers suit a training of a minute.

    An IoU of 0.5 instead of 0.7 makes an anchor positive: more of them learn from each object. And
    a sample of 32 instead of 256, by whose size both losses are divided, gives the boxes weight:
    there are about as many positives in either.
    """
    return RegionProposalNetwork(
        backbone.out_channels[0],
        SMALL_SIZES,
        aspect_ratios,
        strides=backbone.strides,
        pre_nms_top_n=(80, 200),
        post_nms_top_n=(50, 100),
        fg_iou_threshold=0.5,
        batch_size_per_image=32,
    )


def small_heads(
    num_classes: int,
    backbone: nn.Module,
    pooling: str = "align",
    *,
    iou_threshold: float = 0.5,
    bbox_reg_weights: tuple[float, ...] = (5.0, 5.0, 2.5, 2.5),
    class_agnostic: bool = False,
) -> RoIHeads:
    """Build their second stage: RoIs of 5 × 5 and two layers of 512 with batch normalisation.

    A box of 20 to 40 pixels is read from the map of stride 8, so that the 5 × 5 bins are at most a
    cell wide (up to 80 pixels) and one sample in each is enough. The box coder's weights are half
    the usual ones: otherwise the loss of the boxes outweighs that of the classes, which take longer
    to learn. (The cascade, which is there for its boxes, keeps the published ones.)
    """
    pooler = roi_pooler(backbone, pooling, output_size=5, sampling_ratio=1, canonical_scale=40)
    return RoIHeads(
        num_classes,
        pooler,
        NormalisedHead(backbone.out_channels[0] * 5 * 5, 512),
        iou_threshold=iou_threshold,
        batch_size_per_image=32,
        positive_fraction=0.5,
        bbox_reg_weights=bbox_reg_weights,
        class_agnostic=class_agnostic,
    )


def faster_rcnn_small(
    num_classes: int,
    *,
    pooling: str = "align",
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
) -> FasterRCNN:
    """Build the detector as chapter 2 trains it on ToyTown.

    Args:
        num_classes: K.
        pooling: "align" for RoIAlign, "pool" for RoIPool.
        aspect_ratios: height / width of the anchors.

    Returns:
        The detector with random weights.
    """
    backbone = small_pyramid()
    rpn = small_rpn(backbone, aspect_ratios)
    roi_heads = small_heads(num_classes, backbone, pooling)
    return FasterRCNN(num_classes, backbone, rpn, roi_heads)


def cascade_rcnn_small(
    num_classes: int, *, aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
) -> CascadeRCNN:
    """Build the cascade as chapter 2 measures it on ToyTown: `faster_rcnn_small` with three heads.

    Args:
        num_classes: K.
        aspect_ratios: height / width of the anchors.

    Returns:
        The detector with random weights.
    """
    backbone = small_pyramid()
    rpn = small_rpn(backbone, aspect_ratios)

    stages = []
    for iou_threshold, weights in zip(IOU_THRESHOLDS, REG_WEIGHTS):
        stage = small_heads(
            num_classes,
            backbone,
            iou_threshold=iou_threshold,
            bbox_reg_weights=weights,
            class_agnostic=True,
        )
        stages.append(stage)

    return CascadeRCNN(num_classes, backbone, rpn, stages)


# ---- chapter 3 -----------------------------------------------------------------------------------


def yolov1_small(num_classes: int) -> YOLOv1:
    """Build YOLOv1 as chapter 3 trains it on ToyTown: 16 × 16 cells of 8 pixels.

    The paper's 7 × 7 cells would be 18 pixels wide in a scene of 128: more than half of the objects
    are smaller. After 640 steps AP50 was .26 with 7 × 7 cells, .34 with 8 × 8 (both of 16 pixels,
    in scenes of 112 and 128), .54 with 14 × 14 and .58 with 16 × 16 cells of 8 pixels (one run
    each); after the recipe's 1000 steps it is .71 and .72 with these (two seeds).

    Args:
        num_classes: K.

    Returns:
        The detector with random weights.
    """
    return YOLOv1(num_classes, SmallBackbone((48, 64)), grid_size=16, channels=128)


# (width, height) in pixels: `detlearn.anchors.kmeans_anchors` of the objects of ToyTown(1000,
# seed=0), nine of which it starts with, rounded. An object's best anchor has a mean IoU of .69 with
# it.
SMALL_YOLO_ANCHORS = (
    ((6, 10), (16, 10), (10, 21)),
    ((26, 18), (15, 38), (49, 22)),
    ((33, 33), (25, 53), (51, 49)),
)


def yolov3_small(num_classes: int) -> YOLOv3:
    """Build YOLOv3 as chapter 3 trains it on ToyTown: strides 4, 8 and 16.

    The map of stride 32 predicts nothing and only feeds the finer ones. Each level has one
    convolution in the neck instead of five. Places are ignored from IoU 0.5 on, as the paper says:
    after 1200 steps AP50 was .91 so and .89 with Darknet's 0.7 (one run each).

    Args:
        num_classes: K.

    Returns:
        The detector with random weights.
    """
    backbone = SmallBackbone()
    neck = YOLOv3Neck(backbone.out_channels, channels=(32, 48, 64, 64), num_convs=1, num_levels=3)
    head = YOLOv3Head(neck.out_channels, channels=(64, 64, 96), num_classes=num_classes)
    return YOLOv3(num_classes, backbone, neck, head, SMALL_YOLO_ANCHORS, ignore_threshold=0.5)


# How much the loss of the classes counts in the small detector: twice what the published code gives
# it. See `yolov8_small`.
SMALL_CLASS_WEIGHT = 1.0


def yolov8_small(
    num_classes: int,
    *,
    heads: Sequence[str] = ("one_to_many",),
    num_bins: int = 16,
    detached: bool = True,
) -> YOLOv8:
    """Build the modern YOLO detector as chapter 3 trains it on ToyTown, at strides 4, 8 and 16.

    With strides 8, 16 and 32, 8.4 % of the objects of ToyTown(2000, seed=0) have no location
    inside; so, 1.1 % (chapter 3 counts). With the published numbers (10 locations an object, those
    inside it, 0.5 for the classes) AP50 was .88 after 1200 steps, and AP .68; .89 and .64 with 2
    for the classes; .90 and .67 with 4 locations and 1 for the classes; .92 and .68 if objects also
    count as at least 8 pixels wide and high where locations are sought; .93 and .70 with 5
    locations and 12 pixels, which is what it has (one run each).

    Args:
        num_classes: K.
        heads: ("one_to_many", "one_to_one") adds the head that needs no NMS.
        num_bins: of a distance's distribution; 1 for plain distances.
        detached: False lets the head that needs no NMS teach the backbone, too.

    Returns:
        The detector with random weights.
    """
    return YOLOv8(
        num_classes,
        small_pyramid(),
        heads=heads,
        num_bins=num_bins,
        class_channels=32,
        box_channels=32,
        depth=1,
        detached=detached,
        topk=5,
        smallest=12,
        class_weight=SMALL_CLASS_WEIGHT,
    )


# ---- chapter 4 -----------------------------------------------------------------------------------


def small_norm(channels: int) -> nn.GroupNorm:
    """Return the normalisation of small heads: two groups of channels.

    On a CPU its time grows with the number of groups: a map of 32 channels took 12 ms for a step of
    16 images in eight groups and 0.5 ms in two, where a 3 × 3 convolution took 14 ms.
    """
    return nn.GroupNorm(2, channels)


# Sizes of RetinaNet's anchors at strides 4, 8 and 16, all square; and where a location has one
# anchor only: four strides.
SMALL_RETINANET_SIZES = ((8, 16), (22, 32), (45, 64))
SMALL_ONE_ANCHOR_SIZES = ((16,), (32,), (64,))
# From the higher IoU on an anchor is positive, below the lower it is background.
SMALL_THRESHOLDS = (0.4, 0.3)


def retinanet_small(
    num_classes: int,
    *,
    alpha: float | None = 0.5,
    gamma: float = 1.0,
    like_fcos: bool = False,
    assign_by: str = "iou",
) -> RetinaNet:
    """Build RetinaNet as chapter 4 trains it on ToyTown, at strides 4, 8 and 16.

    With three shapes of one size a level and the paper's numbers, AP50 was .69 after 700 steps, .76
    with anchors positive from IoU 0.4 on instead of 0.5 (one run each). After 600 steps it was .74
    with two square anchors, .73 with six, which take twice as long, and .81 with two and the focal
    loss's α and γ at 0.5 and 1.

    Args:
        num_classes: K.
        alpha, gamma: of the focal loss; None and 0 for cross-entropy.
        like_fcos: one square anchor at each location, and the loss of boxes, the centerness and
            the scales of `fcos_small`: what is left between the two is who learns what, and that
            boxes are measured from an anchor here and from a point there.
        assign_by: "iou" for its own rule; "atss" for adaptive training sample selection, which
            takes one anchor a location.

    Returns:
        The detector with random weights.
    """
    backbone = small_pyramid()
    sizes = SMALL_ONE_ANCHOR_SIZES if like_fcos else SMALL_RETINANET_SIZES
    anchors = AnchorGenerator(sizes, [(1.0,)] * len(sizes), centre_offset=0.5)

    head = RetinaNetHead(
        backbone.out_channels[0],
        anchors.num_anchors_per_location()[0],
        num_classes,
        num_convs=1,
        norm_layer=small_norm,
        num_levels=len(backbone.strides) if like_fcos else None,
        centerness=like_fcos,
    )
    return RetinaNet(
        num_classes,
        backbone,
        anchors,
        head,
        assign_by=assign_by,
        thresholds=SMALL_THRESHOLDS,
        box_loss="giou" if like_fcos else "l1",
        alpha=alpha,
        gamma=gamma,
    )


def fcos_small(num_classes: int, *, assign_by: str = "fcos", centerness: bool = True) -> FCOS:
    """Build FCOS as chapter 4 trains it on ToyTown, at strides 4, 8 and 16.

    A level is for distances up to 4 of its strides instead of 8, and ATSS compares locations by
    squares of 4 strides: with 8, no object of ToyTown is the coarsest level's. After 700 steps AP50
    was .77 so and .74 with 8. The focal loss counts objects as much as background, and easy answers
    more than the published one does: after 400 steps .68 so and .63 with α ¼ and γ 2 (one run
    each).

    Args:
        num_classes: K.
        assign_by: "fcos" for its own rule, "atss" for adaptive training sample selection.
        centerness: False takes the branch away, and with it the weights of the boxes.

    Returns:
        The detector with random weights.
    """
    # One convolution a tower, where the paper has four; its norm is the small detectors' own.
    backbone = small_pyramid()
    head = FCOSHead(
        backbone.out_channels[0],
        num_classes,
        num_convs=1,
        num_levels=len(backbone.strides),
        norm_layer=small_norm,
        centerness=centerness,
    )

    return FCOS(
        num_classes,
        backbone,
        head,
        assign_by=assign_by,
        reach=4,
        atss_side=4,
        alpha=0.5,
        gamma=1.0,
    )


def centernet_small(num_classes: int) -> CenterNet:
    """Build CenterNet as chapter 4 trains it on ToyTown: a pyramid down to one map of stride 4.

    Scores start at .018 instead of .1: after 300 steps AP50 was .68 so, and .65 (one run each).

    Args:
        num_classes: K.

    Returns:
        The detector with random weights.
    """
    backbone = PyramidBackbone(
        SmallBackbone(), 32, extra_level=False, norm_layer=nn.BatchNorm2d, num_levels=1
    )
    return CenterNet(backbone, num_classes, head_channels=32, prior=0.018)


# ---- chapter 5 -----------------------------------------------------------------------------------

# On a map of 8 × 8 locations most of the published wavelengths, up to 10 000 images long, are the
# same everywhere.
SMALL_TEMPERATURE = 20.0


# At temperature 1 all sines have one wavelength, the image. After 600 steps AP50 was .11 so, .08
# at ¼ (waves down to a quarter of the image) and .07 at 20 (one run each).
DETR_TEMPERATURE = 1.0


def detr_small(
    num_classes: int,
    *,
    num_queries: int = 10,
    query_groups: int | None = None,
    anchor_queries: bool = False,
    iterative_refinement: bool = False,
    iou_aware: bool = False,
    denoising_groups: int = 0,
) -> DETR:
    """Build DETR as chapter 5 trains it on ToyTown: 64 tokens of stride 16, one and three layers.

    An image of ToyTown has at most 6 objects, 3.5 in the mean. Of 10 queries each learns an object
    in every third image, of 20 in every sixth: AP50 was .09 after 600 steps with 10 and .07 after
    700 with 20 (one run each). With three groups of 10 it was .14 after 600.

    Args:
        num_classes: K.
        num_queries: Q, the most objects that can be found in an image.
        query_groups: groups of Q queries in training; see `detlearn.models.group_detr`. By default
            3 of DETR's own queries and 1 of anchor queries, which cannot have more.
        anchor_queries: queries are boxes; see `detlearn.models.dab_detr`, and for the next three.
        iterative_refinement: each decoder layer starts from the boxes of the last.
        iou_aware: a score says how well the box fits.
        denoising_groups: groups of denoising queries in training.

    Returns:
        The detector with random weights.

    Raises:
        ValueError: for one of the last three without anchor queries, from which they start, or for
            groups of anchor queries.
    """
    # Of three maps it hands out the coarsest alone, and so is warmed up on what the queries ask.
    backbone = SmallBackbone((48, 64, 128), skip=2)
    widths = {
        "hidden_dim": 128,
        "num_heads": 4,
        "num_encoder_layers": 1,
        "num_decoder_layers": 3,
        "feedforward_dim": 256,
    }
    if query_groups is None:
        query_groups = 1 if anchor_queries else 3
    elif anchor_queries and query_groups > 1:
        raise ValueError("query_groups are of DETR's own queries: leave anchor_queries out")
    if anchor_queries:
        return DABDETR(
            num_classes,
            backbone,
            AnchorTransformer(
                **widths, temperature=DETR_TEMPERATURE, iterative_refinement=iterative_refinement
            ),
            num_queries=num_queries,
            iou_aware=iou_aware,
            denoising_groups=denoising_groups,
            # At first boxes fit badly, so that hardly a score is to be high: their loss is small.
            criterion=IoUAwareCriterion(class_weight=4.0) if iou_aware else None,
        )

    if iterative_refinement or iou_aware or denoising_groups:
        raise ValueError(
            "iterative_refinement, iou_aware and denoising_groups need anchor_queries=True: they "
            "start from queries that are boxes"
        )

    transformer = Transformer(**widths, dropout=0.0)
    if query_groups != 1:
        return GroupDETR(
            num_classes,
            backbone,
            transformer,
            num_queries=num_queries,
            num_groups=query_groups,
            temperature=DETR_TEMPERATURE,
        )
    return DETR(
        num_classes,
        backbone,
        transformer,
        num_queries=num_queries,
        temperature=DETR_TEMPERATURE,
    )


def deformable_detr_small(
    num_classes: int,
    *,
    num_queries: int = 20,
    num_encoder_layers: int = 0,
    iou_aware: bool = True,
    proposals_know_classes: bool = True,
    queries_know_features: bool = True,
) -> DeformableDETR:
    """Build the two-stage deformable detector as chapter 5 trains it: 320 tokens, strides 8 and 16.

    After 300 steps of the backbone and 500 of all AP50 was .46 with proposals that say "object" and
    queries made of a box, as published, and .69 with proposals that know classes and queries that
    know their features; after 650 steps at twice the learning rate, its recipe, .79 and AP .51, in
    111 seconds on one thread. It has no encoder: with one layer AP50 was .31 after 300 steps of
    0.26 seconds each on one thread, and .35 without, of 0.15 seconds, both as published and without
    the backbone's steps (one run each, on 150 scenes).

    Args:
        num_classes: K.
        num_queries: Q, the most objects that can be found in an image.
        num_encoder_layers: layers in which locations look at each other.
        iou_aware: scores learn the IoU of their boxes; False for the focal loss.
        proposals_know_classes, queries_know_features: see `DeformableDETR`.

    Returns:
        The detector with random weights.
    """
    # Without an encoder the decoder reads the backbone's two maps as they are, projected alone.
    transformer = DeformableTransformer(
        hidden_dim=128,
        num_heads=4,
        num_encoder_layers=num_encoder_layers,
        num_decoder_layers=3,
        feedforward_dim=256,
        dropout=0.0,
        num_levels=2,
        num_points=4,
        two_stage=True,
    )

    # The backbone hands out two of its three maps; the finest, of stride 4, would be 1024 tokens.
    return DeformableDETR(
        num_classes,
        SmallBackbone((48, 64, 96), skip=1),
        transformer,
        num_queries=num_queries,
        iterative_refinement=True,
        temperature=SMALL_TEMPERATURE,
        norm_layer=small_norm,
        criterion=IoUAwareCriterion(class_weight=2.0) if iou_aware else FocalCriterion(),
        proposals_per_object=4,
        proposals_know_classes=proposals_know_classes,
        queries_know_features=queries_know_features,
    )
