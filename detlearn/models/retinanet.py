"""RetinaNet: every anchor of a pyramid answers at once, and the loss keeps the easy ones quiet.

There is no second stage and no sample: a head looks at every map of the pyramid and says of each of
its anchors which class it shows, by one sigmoid a class, and how to move it onto the object. Nearly
all anchors are background, and nearly all of these are easy to tell. With cross-entropy their many
small losses together drown the few objects; the focal loss makes them small enough
(`detlearn.losses.focal_classification_loss`).

It is the last of the anchor-based detectors here, and with one anchor a location it is nearly FCOS:
then the two differ in what a box is measured from, an anchor or a point, and in who learns what.
What FCOS has besides can be given to this head as well: normalisation, a scale a level, and
centerness.

Shapes: B images; K classes; N objects; L levels; A anchors at each location; P anchors in all,
level after level, finest first, row by row, at each location in the anchor generator's order; M
anchors that learn an object. Boxes are xyxy in pixels of the padded batch.

Names: ``gt_*`` are annotations, ``pred_*`` predictions, ``*_logits`` come before the sigmoid,
``deltas`` as in `detlearn.coders`.

Source: "Focal Loss for Dense Object Detection" (Lin et al. 2017, arXiv 1708.02002). Who learns what
by ATSS: Zhang et al. 2020 (arXiv 1912.02424).

Where we differ from the paper: boxes learn by L1 instead of smooth L1, as in torchvision; P6 is
made of P5 instead of C5, as in torchvision's published model; and an object that no anchor touches
makes no anchor positive, while its best anchors are positive whatever their IoU, which the paper
leaves out and both torchvision and Detectron have.

Where we differ from torchvision, unless built with ``torchvision_conventions``: anchors stand in
the middle of their cell, are not rounded, and their sizes are no whole numbers; a level's stride is
the backbone's, not the quotient of the sizes; the loss is divided by the positives of the whole
batch, as in the paper, and not by those of each image. And always: there is no class for the
background, which torchvision counts as class 0 and gives a score that no anchor ever learns;
detections without area, as torchvision leaves them in the padding, are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.anchors import AnchorGenerator
from detlearn.boxes import box_iou, clip_boxes_to_image
from detlearn.coders import decode_deltas, encode_deltas
from detlearn.losses import focal_classification_loss, giou_loss
from detlearn.machine.distributed import normaliser
from detlearn.matching import BACKGROUND, atss_assign, match_anchors
from detlearn.models.base import Assignment, Detector, pad_targets
from detlearn.models.faster_rcnn import pretrained_resnet50
from detlearn.models.fcos import best_of_levels, centerness
from detlearn.models.images import ImageBatcher
from detlearn.models.yolov8 import boxes_to_distances
from detlearn.nets.fpn import LevelsP6P7, PyramidBackbone, conv_tower
from detlearn.nets.resnet import FrozenBatchNorm2d, resnet50
from detlearn.samples import Detections, Target

# The rules by which anchors learn objects, and the losses by which they learn boxes.
ASSIGNMENTS = ("iou", "atss")
BOX_LOSSES = ("l1", "giou")
# The score with which every class starts: almost all anchors are background.
PRIOR = 0.01
# So many candidates of each level of an image go into NMS.
MAX_CANDIDATES = 1000
# Of COCO's objects, three sizes a level: each a third of an octave above the one before.
OCTAVE_STEPS = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))


class RetinaNetOutputs(NamedTuple):
    """What the network predicts.

    Attributes:
        class_logits: (B, P, K).
        deltas: (B, P, 4), from the anchor to the object.
        centerness_logits: (B, P), or None for a head without centerness.
        anchors: (P, 4).
        strides: (P,) pixels from one location of the anchor's level to the next.
        level_sizes: how many of the P anchors each level has, finest first.
        sizes: height and width of each image in the batch, without the padding.
    """

    class_logits: Tensor
    deltas: Tensor
    centerness_logits: Tensor | None
    anchors: Tensor
    strides: Tensor
    level_sizes: list[int]
    sizes: list[tuple[int, int]]


# ---- the network ---------------------------------------------------------------------------------


class RetinaNetHead(nn.Module):
    """A tower for the classes and one for the boxes, the same weights at every level.

    Args:
        in_channels: C of every level's map.
        num_anchors: A.
        num_classes: K.
        num_convs: 3 × 3 convolutions of each tower.
        norm_layer: after each of these convolutions, called with C; the paper has none. Batch
            normalisation does not do: in training it would see one level, in eval mode the mean
            over all.
        num_levels: L, if every level is to multiply its deltas by a learnt number of its own.
        centerness: whether there is such a branch, as FCOS has it.
    """

    def __init__(
        self,
        in_channels: int,
        num_anchors: int,
        num_classes: int,
        num_convs: int = 4,
        *,
        norm_layer: Callable[[int], nn.Module] | None = None,
        num_levels: int | None = None,
        centerness: bool = False,
    ) -> None:
        super().__init__()
        self.num_anchors = num_anchors
        self.num_classes = num_classes
        self.class_tower = conv_tower(in_channels, num_convs, norm_layer)
        self.box_tower = conv_tower(in_channels, num_convs, norm_layer)

        self.cls_logits = nn.Conv2d(in_channels, num_anchors * num_classes, 3, padding=1)
        self.bbox_reg = nn.Conv2d(in_channels, num_anchors * 4, 3, padding=1)
        self.bbox_ctrness = (
            nn.Conv2d(in_channels, num_anchors, 3, padding=1) if centerness else None
        )

        # The paper's small weights. Towers with normalisation start with PyTorch's, as FCOS does.
        layers = [self.cls_logits, self.bbox_reg, self.bbox_ctrness]
        if norm_layer is None:
            layers += [*self.class_tower, *self.box_tower]
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

        # Almost every anchor is background: start there, or the first steps unlearn nothing but
        # the 50 % with which a sigmoid begins (§3.3).
        nn.init.constant_(self.cls_logits.bias, math.log(PRIOR / (1 - PRIOR)))

        self.scales = None if num_levels is None else nn.Parameter(torch.ones(num_levels))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Predict.

        Args:
            maps: L maps (B, C, h_l, w_l), finest first.

        Returns:
            Logits of the classes (B, P, K), deltas (B, P, 4), and logits of the centerness (B, P),
            or None without it.

        Raises:
            ValueError: for another number of maps than levels.
        """
        if self.scales is not None and len(maps) != len(self.scales):
            raise ValueError(
                f"{len(maps)} maps came to a head of {len(self.scales)} levels: build it with "
                f"num_levels={len(maps)}"
            )

        classes, deltas, centers = [], [], []
        for level, x in enumerate(maps):
            logits = self.cls_logits(self.class_tower(x))
            classes.append(flatten_anchors(logits, self.num_classes))  # (B, h·w·A, K)

            box_features = self.box_tower(x)
            moves = flatten_anchors(self.bbox_reg(box_features), 4)  # (B, h·w·A, 4)
            if self.scales is not None:
                moves = moves * self.scales[level]
            deltas.append(moves)

            if self.bbox_ctrness is not None:
                centers.append(flatten_anchors(self.bbox_ctrness(box_features), 1)[..., 0])

        centerness_logits = torch.cat(centers, dim=1) if centers else None  # (B, P)
        return torch.cat(classes, dim=1), torch.cat(deltas, dim=1), centerness_logits


def flatten_anchors(x: Tensor, numbers: int) -> Tensor:
    """Bring a map into the order of the anchors, in full precision.

    A convolution puts all that it says of a location into the channels: first the numbers of the
    location's first anchor, then those of its second … So the channels go last before anything is
    flattened; a plain ``view`` would mix up locations.

    Args:
        x: (B, A·n, h, w).
        numbers: n of each anchor.

    Returns:
        (B, h·w·A, n) float32: in a reduced precision a box could not be told from one half a pixel
        wider.
    """
    x = x.permute(0, 2, 3, 1)  # (B, h, w, A·n)
    return x.flatten(1).unflatten(1, (-1, numbers)).float()


class RetinaNet(Detector):
    """A pyramid, anchors, and a head that asks every one of them.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first, all with the same number of
            channels; has ``out_channels`` and ``strides``: a pyramid.
        anchor_generator: makes the anchors, equally many at the locations of every level; the
            paper's nine by default.
        head: the paper's by default.
        assign_by: "iou" for thresholds of the IoU (`match_anchors`), "atss" for
            `detlearn.matching.atss_assign`, which takes one anchor a location.
        thresholds: from the higher IoU on an anchor is positive, below the lower it is background;
            between, it is in no loss.
        box_loss: "l1" of the deltas, summed over the four, or "giou" of the boxes.
        alpha, gamma: of the focal loss; None and 0 for cross-entropy.
        batcher: see `Detector`.
        torchvision_conventions: see the module's docstring.

    With centerness in the head, boxes count as much as they should be central, scores are
    multiplied by it, and only anchors whose centre lies inside the object learn it, all as in FCOS.

    Raises:
        ValueError: for an unknown assignment or loss, thresholds in the wrong order, or parts that
            do not fit each other.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        anchor_generator: AnchorGenerator | None = None,
        head: RetinaNetHead | None = None,
        *,
        assign_by: str = "iou",
        thresholds: tuple[float, float] = (0.5, 0.4),
        box_loss: str = "l1",
        alpha: float | None = 0.25,
        gamma: float = 2.0,
        batcher: ImageBatcher | None = None,
        torchvision_conventions: bool = False,
    ) -> None:
        has_centerness = head is not None and head.bbox_ctrness is not None
        super().__init__(
            num_classes,
            batcher,
            nms_threshold=0.6 if has_centerness else 0.5,  # as FCOS, or as the paper
            max_detections=300 if torchvision_conventions else 100,
        )
        if anchor_generator is None:
            anchor_generator = default_anchors(backbone.strides)
        if head is None:
            num_anchors = anchor_generator.num_anchors_per_location()[0]
            head = RetinaNetHead(backbone.out_channels[0], num_anchors, num_classes)

        self.backbone = backbone
        self.anchor_generator = anchor_generator
        self.head = head

        self.assign_by = assign_by
        self.thresholds = thresholds
        self.box_loss = box_loss
        self.alpha = alpha
        self.gamma = gamma
        self.torchvision_conventions = torchvision_conventions
        self._check()

    def predict(
        self, images: Tensor, sizes: list[tuple[int, int]] | None = None
    ) -> RetinaNetOutputs:
        """Run the network: what each anchor says of its object; see `Detector`."""
        maps = list(self.backbone(images).values())
        class_logits, deltas, centerness_logits = self.head(maps)

        levels = self.anchors(maps, images.shape[-2:])
        strides = [x.new_full((len(x),), s) for x, s in zip(levels, self.backbone.strides)]
        return RetinaNetOutputs(
            class_logits,
            deltas,
            centerness_logits,
            torch.cat(levels),
            torch.cat(strides),
            level_sizes=[len(level) for level in levels],
            sizes=sizes or [tuple(images.shape[-2:])] * len(images),
        )

    def anchors(self, maps: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Make the anchors of a batch.

        Args:
            maps: L maps (B, C, h_l, w_l), finest first.
            size: height and width of the batch, from which torchvision infers strides.

        Returns:
            Per level (h_l·w_l·A, 4).
        """
        grid_sizes = [tuple(x.shape[-2:]) for x in maps]
        strides = [(stride, stride) for stride in self.backbone.strides]
        if self.torchvision_conventions:
            strides = [(size[0] // height, size[1] // width) for height, width in grid_sizes]
        return self.anchor_generator.grid_anchors(grid_sizes, strides, maps[0].device)

    @torch.no_grad()
    def assign(self, outputs: RetinaNetOutputs, targets: list[Target]) -> Assignment:
        """Say who learns what, by place and size alone; see `Detector`."""
        anchors = outputs.anchors
        points = (anchors[:, :2] + anchors[:, 2:]) / 2  # (P, 2)
        gt_boxes, _, real = pad_targets(targets, like=anchors)  # (B, N, 4), (B, N)

        if self.assign_by == "atss":
            assigned = atss_assign(anchors, outputs.level_sizes, gt_boxes, real)  # (B, P)
            return Assignment(assigned, points, outputs.strides, anchors)

        # One image after the other: all IoUs of a full-size batch would take gigabytes.
        high, low = self.thresholds
        matched = [
            match_anchors(box_iou(target["boxes"].to(anchors), anchors), high, low)
            for target in targets
        ]
        assigned = torch.stack(matched)  # (B, P)

        # How central a place is can only be said of those inside the object.
        if outputs.centerness_logits is not None:
            image, place = (assigned >= 0).nonzero(as_tuple=True)  # (M,) twice
            learnt = gt_boxes[image, assigned[image, place]]  # (M, 4)
            outside = (boxes_to_distances(points[place], learnt) <= 0).any(dim=-1)  # (M,)
            assigned[image[outside], place[outside]] = BACKGROUND

        return Assignment(assigned, points, outputs.strides, anchors)

    def compute_loss(self, outputs: RetinaNetOutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `Detector`.

        Returns:
            ``"class"``: focal loss of all anchors but the ignored ones; ``"box"``: loss of those
            that learn an object; both divided by the number of these. With centerness boxes count
            as much as they should be central, and are divided by that sum; ``"centerness"``:
            cross-entropy of those that learn an object, divided by their number.
        """
        goal = self.assign(outputs, targets)
        if not self.torchvision_conventions:
            return self._losses(outputs, goal, targets)

        # Each image's loss is divided by the image's own positives; then the mean over images.
        of_images = []
        for i, target in enumerate(targets):
            one = outputs._replace(
                class_logits=outputs.class_logits[i : i + 1], deltas=outputs.deltas[i : i + 1]
            )
            mine = goal._replace(assigned=goal.assigned[i : i + 1])
            of_images.append(self._losses(one, mine, [target]))
        return {
            name: torch.stack([losses[name] for losses in of_images]).mean()
            for name in of_images[0]
        }

    def _losses(
        self, outputs: RetinaNetOutputs, goal: Assignment, targets: list[Target]
    ) -> dict[str, Tensor]:
        gt_boxes, gt_labels, _ = pad_targets(targets, like=outputs.deltas)  # (B, N, 4), (B, N)
        image, place = (goal.assigned >= 0).nonzero(as_tuple=True)  # (M,) twice
        learnt = goal.assigned[image, place]  # (M,)
        count = normaliser(len(learnt), gt_boxes.device)

        # What is it? All anchors answer, for all classes; −1 and −2 stay what they are.
        labels = goal.assigned.clone()  # (B, P)
        labels[image, place] = gt_labels[image, learnt]
        class_loss = focal_classification_loss(
            outputs.class_logits, labels, alpha=self.alpha, gamma=self.gamma
        )

        # Where is it? Those that learn an object answer.
        wanted = gt_boxes[image, learnt]  # (M, 4)
        box_loss = self._box_loss(outputs.deltas[image, place], outputs.anchors[place], wanted)
        if outputs.centerness_logits is None:
            return {"class": class_loss, "box": box_loss.sum() / count}

        # How central is it? By how much it should be, its box counts.
        central = centerness(boxes_to_distances(goal.points[place], wanted))  # (M,)
        total = normaliser(central.sum(), central.device)
        centerness_loss = F.binary_cross_entropy_with_logits(
            outputs.centerness_logits[image, place], central, reduction="sum"
        )
        return {
            "class": class_loss,
            "box": (central * box_loss).sum() / total,
            "centerness": centerness_loss / count,
        }

    def _box_loss(self, deltas: Tensor, anchors: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss (M,) of boxes that start from their anchors (M, 4)."""
        if self.box_loss == "giou":
            return giou_loss(decode_deltas(deltas, anchors), wanted)
        return (deltas - encode_deltas(wanted, anchors)).abs().sum(dim=-1)

    def decode(self, outputs: RetinaNetOutputs) -> list[Detections]:
        """Turn outputs into detections; see `Detector`.

        The best of each level above the threshold go into NMS. With centerness a detection's score
        is √(class score · centerness), and the threshold holds for the class's score alone.
        """
        detections = []
        for image, size in enumerate(outputs.sizes):
            scores = outputs.class_logits[image].sigmoid()  # (P, K)
            candidates = scores > self.score_threshold  # (P, K)
            if outputs.centerness_logits is not None:
                central = outputs.centerness_logits[image].sigmoid()[:, None]  # (P, 1)
                scores = (scores * central).sqrt()

            chosen = best_of_levels(scores, candidates, outputs.level_sizes, MAX_CANDIDATES)
            boxes = decode_deltas(outputs.deltas[image], outputs.anchors)  # (P, 4)
            boxes = clip_boxes_to_image(boxes, size)
            detections.append(self.select_detections(boxes, scores, candidates=chosen))
        return detections

    def _check(self) -> None:
        """Raise ValueError for parts that do not fit each other."""
        if self.assign_by not in ASSIGNMENTS:
            raise ValueError(
                f"assign_by is {self.assign_by!r}: expected one of {', '.join(ASSIGNMENTS)}"
            )
        if self.box_loss not in BOX_LOSSES:
            raise ValueError(
                f"box_loss is {self.box_loss!r}: expected one of {', '.join(BOX_LOSSES)}"
            )
        high, low = self.thresholds
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"thresholds are {self.thresholds}: expected the higher IoU first, both in [0, 1]"
            )
        if self.head.num_classes != self.num_classes:
            raise ValueError(
                f"the detector has {self.num_classes} classes, its head {self.head.num_classes}"
            )

        counts = self.anchor_generator.num_anchors_per_location()
        if len(counts) != len(self.backbone.strides):
            raise ValueError(
                f"the anchors are for {len(counts)} levels, the backbone has "
                f"{len(self.backbone.strides)}: give sizes for every level"
            )
        if set(counts) != {self.head.num_anchors}:
            raise ValueError(
                f"the levels have {counts} anchors a location, the head answers for "
                f"{self.head.num_anchors}: give as many at every level"
            )
        if self.assign_by == "atss" and self.head.num_anchors != 1:
            raise ValueError(
                f"assign_by is 'atss', and there are {self.head.num_anchors} anchors a location: "
                "its k nearest places are counted with one anchor at each"
            )
        if self.torchvision_conventions and self.head.bbox_ctrness is not None:
            raise ValueError("torchvision's RetinaNet has no centerness: build a head without")


# ---- full size -----------------------------------------------------------------------------------


def default_anchors(
    strides: Sequence[int], *, torchvision_conventions: bool = False
) -> AnchorGenerator:
    """Return the paper's nine anchors a location (§4): of 4 strides and up, in three shapes.

    Args:
        strides: of the levels.
        torchvision_conventions: sizes cut to whole numbers, corners rounded, and anchors at the
            top left corner of their cell.
    """
    sizes = [tuple(4 * stride * step for step in OCTAVE_STEPS) for stride in strides]
    if torchvision_conventions:
        sizes = [tuple(int(size) for size in level) for level in sizes]
    return AnchorGenerator(
        sizes,
        [(0.5, 1.0, 2.0)] * len(sizes),
        round_anchors=torchvision_conventions,
        centre_offset=0.0 if torchvision_conventions else 0.5,
    )


def retinanet_resnet50_fpn(
    num_classes: int = 90,
    *,
    min_size: int = 800,
    max_size: int = 1333,
    pretrained_backbone: bool = False,
    torchvision_conventions: bool = False,
) -> RetinaNet:
    """RetinaNet with ResNet-50 and a pyramid from P3 to P7: 34.0 million parameters for COCO.

    Args:
        num_classes: K; 90 for COCO, whose category ids go from 1 to 90.
        min_size: images are resized so that the shorter side has this many pixels …
        max_size: … unless the longer side would then exceed this.
        pretrained_backbone: load torchvision's ImageNet weights, freeze batch normalisation and
            train only the last three of the five parts. Offline it warns, and all parts start at
            random and are trained.
        torchvision_conventions: see the module's docstring.

    Returns:
        The detector; `detlearn.pretrained.from_torchvision` makes one with COCO weights.
    """
    body = pretrained_resnet50(FrozenBatchNorm2d) if pretrained_backbone else None
    backbone = PyramidBackbone(body or resnet50(), 256, skip=1, extra_blocks=LevelsP6P7(256, 256))
    anchors = default_anchors(backbone.strides, torchvision_conventions=torchvision_conventions)

    return RetinaNet(
        num_classes,
        backbone,
        anchors,
        batcher=ImageBatcher(min_size=min_size, max_size=max_size),
        torchvision_conventions=torchvision_conventions,
    )
