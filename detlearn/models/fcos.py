"""FCOS: every location of the pyramid's maps votes for the object it lies in.

There are no anchors. A location inside an object predicts its class and its own distances to the
four sides of the object's box. Who learns which object is laid down by place and size: a location
near the object's centre, on the level that is meant for distances of this size; where several
objects remain, the smallest has it. Locations far from the centre give poor boxes, so each also
predicts how central it is, and its score suffers where it is not.

Shapes: B images; K classes; N objects; L levels; P locations, level after level, finest first, row
by row; M locations that learn an object. Boxes are xyxy in pixels of the padded batch, distances
are to the left, top, right and bottom side, in strides of the location's level.

Names: ``gt_*`` are annotations, ``pred_*`` predictions, ``*_logits`` come before the sigmoid.

Source: "FCOS: Fully Convolutional One-Stage Object Detection" (Tian et al. 2019, arXiv 1904.01355)
with the improvements of its second version (arXiv 2006.09214): centre sampling, distances counted
in strides, centerness beside the distances. As another assignment ATSS (Zhang et al. 2020, arXiv
1912.02424), which `detlearn.matching` explains.

Where we differ from the paper:

* distances become positive by softplus, ln(1 + eˣ). The first version's exponential grows beyond
  all bounds where a prediction is wild. The second's ReLU has no gradient below 0: a location whose
  four outputs are negative there predicts a box without area, and never learns another one. The
  slope of softplus lies between 0 and 1 and is nowhere 0;
* the loss of the boxes is GIoU, which says where to go even when boxes lie apart;
* the towers start with PyTorch's weights, only the last layers with the paper's small ones. Before
  a normalisation the size of weights decides nothing but how far one step turns them, and Adam's
  first steps are as large as the paper's weights.

Where we differ from torchvision, unless built with ``torchvision_conventions``: locations stand in
the middle of their cell; a level's stride is the backbone's, not the quotient of the sizes; every
level has a learnt scale; softplus instead of ReLU; a distance on the bound of two levels belongs to
both and not to none; boxes are weighted by centerness; the threshold holds for the class's score,
before it is multiplied by centerness. And always: detections without area, as torchvision leaves
them in the padding, are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.boxes import clip_boxes_to_image, ratio
from detlearn.losses import focal_classification_loss, giou_loss
from detlearn.machine.distributed import normaliser
from detlearn.matching import atss_assign
from detlearn.models.base import Detector, pad_targets
from detlearn.models.faster_rcnn import pretrained_resnet50
from detlearn.models.images import ImageBatcher
from detlearn.models.yolov8 import boxes_to_distances, pyramid_points
from detlearn.nets.fpn import LevelsP6P7, PyramidBackbone, conv_tower
from detlearn.nets.resnet import FrozenBatchNorm2d, resnet50
from detlearn.samples import Detections, Target

# The rules by which locations learn objects.
ASSIGNMENTS = ("fcos", "atss")
# A level is for distances up to so many of its strides; the coarsest takes all beyond.
REACH = 8
# Sides of the boxes about locations by which ATSS compares these with objects, in strides.
ATSS_SIDE = 8
# The score with which every class starts: almost all locations are background.
PRIOR = 0.01
# So many candidates of each level of an image go into NMS.
MAX_CANDIDATES = 1000


class FCOSOutputs(NamedTuple):
    """What the network predicts.

    Attributes:
        class_logits: (B, P, K).
        distances: (B, P, 4) above 0, in strides.
        centerness_logits: (B, P), or None for a head without centerness.
        points: (P, 2) where the locations stand, x and y in pixels.
        strides: (P,) pixels, the unit of each location's distances.
        level_sizes: how many of the P locations each level has, finest first.
        sizes: height and width of each image in the batch, without the padding.
    """

    class_logits: Tensor
    distances: Tensor
    centerness_logits: Tensor | None
    points: Tensor
    strides: Tensor
    level_sizes: list[int]
    sizes: list[tuple[int, int]]


class FCOSTargets(NamedTuple):
    """Which object each location learns.

    Attributes:
        assigned: (B, P) int64, the index of the object in its image, or −1 for none.
        distances: (B, P, 4) to its sides, in strides; 0 where there is no object.
        points: (P, 2) where the locations stand, x and y in pixels.
        strides: (P,) pixels.
        anchors: None, since the boxes start from points.
    """

    assigned: Tensor
    distances: Tensor
    points: Tensor
    strides: Tensor
    anchors: None = None


# ---- who learns what -----------------------------------------------------------------------------


def fcos_candidates(
    points: Tensor, boxes: Tensor, strides: Tensor, radius: float | None = 1.5
) -> Tensor:
    """Say which locations may learn which objects, by their place alone (centre sampling).

    The location lies inside the box, not on its border, and in both directions less than `radius`
    strides from its centre: in a square about the centre, cut off by the box.

    Args:
        points: (P, 2) where the locations stand, x and y in pixels.
        boxes: (..., N, 4) xyxy in pixels; N may be 0.
        strides: (P,) pixels from one location to the next, on the level of each.
        radius: half the square's side, in strides; None for the whole box.

    Returns:
        (..., P, N) bool.
    """
    x, y = points[:, None].unbind(dim=-1)  # (P, 1) twice
    x1, y1, x2, y2 = boxes[..., None, :, :].unbind(dim=-1)  # (..., 1, N) each

    inside = (x1 < x) & (x < x2) & (y1 < y) & (y < y2)  # (..., P, N)
    if radius is None:
        return inside

    from_centre = torch.maximum((x - (x1 + x2) / 2).abs(), (y - (y1 + y2) / 2).abs())
    return inside & (from_centre < radius * strides[:, None])  # (..., P, N) and (P, 1)


@torch.no_grad()
def fcos_targets(
    points: Tensor,
    strides: Tensor,
    size_ranges: Tensor,
    boxes: Tensor,
    *,
    radius: float | None = 1.5,
) -> tuple[Tensor, Tensor]:
    """Say which object each location learns, and its distances to that object's sides.

    A location may learn an object if it lies near its centre (`fcos_candidates`) and if the largest
    of its four distances lies in the range of its level, ends included (§3.2). Where several
    objects remain, the one of the smallest area has the location, of equal ones the first.

    Args:
        points: (P, 2) where the locations stand, x and y in pixels.
        strides: (P,) pixels from one location to the next.
        size_ranges: (P, 2) the least and the largest distance that each location's level is for, in
            pixels.
        boxes: (..., N, 4) xyxy in pixels; N may be 0. Images with fewer objects can be padded with
            boxes of zeros, in which no location lies.
        radius: see `fcos_candidates`.

    Returns:
        assigned: (..., P) int64, the object's index, or −1 for none.
        distances: (..., P, 4) to the object's left, top, right and bottom side, in strides; 0 where
            there is no object.
    """
    if boxes.shape[-2] == 0:
        assigned = boxes.new_full((*boxes.shape[:-2], len(points)), -1, dtype=torch.int64)
        return assigned, learnt_distances(points, strides, boxes, assigned)

    # Which objects has the location's level to do with?
    x, y = points[:, None].unbind(dim=-1)  # (P, 1) twice
    x1, y1, x2, y2 = boxes[..., None, :, :].unbind(dim=-1)  # (..., 1, N) each
    farthest = torch.maximum(torch.maximum(x - x1, x2 - x), torch.maximum(y - y1, y2 - y))
    low, high = size_ranges[:, None].unbind(dim=-1)  # (P, 1) twice
    candidates = fcos_candidates(points, boxes, strides, radius)  # (..., P, N)
    candidates = candidates & (low <= farthest) & (farthest <= high)

    # The smallest of them wins.
    area = ((x2 - x1) * (y2 - y1)).expand(candidates.shape)
    smallest, assigned = area.masked_fill(~candidates, torch.inf).min(dim=-1)  # (..., P) twice

    assigned = assigned.masked_fill(smallest == torch.inf, -1)
    return assigned, learnt_distances(points, strides, boxes, assigned)


def learnt_distances(points: Tensor, strides: Tensor, boxes: Tensor, assigned: Tensor) -> Tensor:
    """Return the distances to the sides of the objects that locations learn.

    Args:
        points: (P, 2) x and y in pixels.
        strides: (P,) pixels.
        boxes: (..., N, 4) xyxy in pixels.
        assigned: (..., P) int64, which of them; −1 for none.

    Returns:
        (..., P, 4) in strides; 0 where there is no object.
    """
    boxes = F.pad(boxes, (0, 0, 0, 1))  # (..., N + 1, 4): one to take where there is no object
    learnt = boxes.take_along_dim(assigned.clamp(min=0)[..., None], dim=-2)  # (..., P, 4)
    distances = boxes_to_distances(points, learnt) / strides[:, None]
    return distances.masked_fill((assigned < 0)[..., None], 0)


def centerness(distances: Tensor) -> Tensor:
    """Say how central locations are: 1 in the middle of the box, 0 at its sides (equation 3).

        √(min(l, r) / max(l, r) · min(t, b) / max(t, b))

    Args:
        distances: (..., 4) to the left, top, right and bottom side, 0 or more, in any unit.

    Returns:
        (...) in [0, 1]; 0 where all distances are 0.
    """
    left, top, right, bottom = distances.unbind(dim=-1)
    horizontal = ratio(torch.minimum(left, right), torch.maximum(left, right))
    vertical = ratio(torch.minimum(top, bottom), torch.maximum(top, bottom))
    return (horizontal * vertical).sqrt()


# ---- the network ---------------------------------------------------------------------------------


def group_norm(channels: int) -> nn.GroupNorm:
    """Return the normalisation of the paper's head, in 32 groups."""
    return nn.GroupNorm(32, channels)


class FCOSHead(nn.Module):
    """A tower for the classes and one for the distances, the same weights at every level.

    Args:
        in_channels: C of every level's map.
        num_classes: K.
        num_convs: 3 × 3 convolutions of each tower.
        num_levels: L. Every level multiplies what leads to its distances by a number of its own.
        norm_layer: after each of these convolutions, called with C. Batch normalisation does not
            do: in training it would see one level, in eval mode the mean over all.
        centerness: whether there is such a branch.
        torchvision_conventions: ReLU makes distances positive, and levels have no scale.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        num_convs: int = 4,
        *,
        num_levels: int = 5,
        norm_layer: Callable[[int], nn.Module] = group_norm,
        centerness: bool = True,
        torchvision_conventions: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_tower = conv_tower(in_channels, num_convs, norm_layer)
        self.box_tower = conv_tower(in_channels, num_convs, norm_layer)

        self.cls_logits = nn.Conv2d(in_channels, num_classes, 3, padding=1)
        self.bbox_reg = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.bbox_ctrness = nn.Conv2d(in_channels, 1, 3, padding=1) if centerness else None
        for layer in (self.cls_logits, self.bbox_reg, self.bbox_ctrness):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

        # Almost every location is background: start there (focal loss, Lin et al. 2017, §3.3).
        nn.init.constant_(self.cls_logits.bias, math.log(PRIOR / (1 - PRIOR)))

        self.scales = None if torchvision_conventions else nn.Parameter(torch.ones(num_levels))
        self.to_positive = F.relu if torchvision_conventions else F.softplus

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Predict.

        Args:
            maps: L maps (B, C, h_l, w_l), finest first.

        Returns:
            Logits of the classes (B, P, K), distances (B, P, 4) in strides, and logits of the
            centerness (B, P), or None without it.

        Raises:
            ValueError: for another number of maps than levels.
        """
        if self.scales is not None and len(maps) != len(self.scales):
            raise ValueError(
                f"{len(maps)} maps came to a head of {len(self.scales)} levels: build it with "
                f"num_levels={len(maps)}"
            )

        classes, distances, centers = [], [], []
        for level, x in enumerate(maps):
            classes.append(_flatten(self.cls_logits(self.class_tower(x))))  # (B, h·w, K)

            box_features = self.box_tower(x)
            logits = _flatten(self.bbox_reg(box_features))  # (B, h·w, 4)
            if self.scales is not None:
                logits = logits * self.scales[level]
            distances.append(self.to_positive(logits))

            if self.bbox_ctrness is not None:
                centers.append(_flatten(self.bbox_ctrness(box_features))[..., 0])  # (B, h·w)

        centerness_logits = torch.cat(centers, dim=1) if centers else None
        return torch.cat(classes, dim=1), torch.cat(distances, dim=1), centerness_logits


def _flatten(x: Tensor) -> Tensor:
    """Turn a map (B, C, h, w) into (B, h·w, C), in full precision.

    In a reduced one a box could not be told from one half a pixel wider.
    """
    return x.permute(0, 2, 3, 1).flatten(1, 2).float()


class FCOS(Detector):
    """A pyramid, and a head that asks every location.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first, all with the same number of
            channels; has ``out_channels`` and ``strides``: a pyramid.
        head: `FCOSHead` as the paper has it by default.
        assign_by: "fcos" for level ranges and centre sampling (`fcos_targets`), "atss" for
            `detlearn.matching.atss_assign`, with a square about each location.
        radius: of the centre sampling, in strides; None for the whole box.
        reach: a level is for distances up to so many of its strides, and from so many of the next
            finer one's; the finest has no lower bound, the coarsest no upper one.
        atss_side: of these squares, in strides.
        alpha, gamma: of the focal loss.
        batcher: see `Detector`.
        torchvision_conventions: see the module's docstring; give it to the head as well.

    Raises:
        ValueError: for an unknown assignment, or a head for another number of classes.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        head: FCOSHead | None = None,
        *,
        assign_by: str = "fcos",
        radius: float | None = 1.5,
        reach: float = REACH,
        atss_side: float = ATSS_SIDE,
        alpha: float | None = 0.25,
        gamma: float = 2.0,
        batcher: ImageBatcher | None = None,
        torchvision_conventions: bool = False,
    ) -> None:
        score_threshold = 0.2 if torchvision_conventions else 0.05
        super().__init__(num_classes, batcher, score_threshold=score_threshold, nms_threshold=0.6)
        if assign_by not in ASSIGNMENTS:
            raise ValueError(
                f"assign_by is {assign_by!r}: expected one of {', '.join(ASSIGNMENTS)}"
            )
        if head is None:
            head = FCOSHead(backbone.out_channels[0], num_classes, num_levels=len(backbone.strides))
        if head.num_classes != num_classes:
            raise ValueError(f"the detector has {num_classes} classes, its head {head.num_classes}")

        self.backbone = backbone
        self.head = head
        self.assign_by = assign_by
        self.radius = radius
        self.reach = reach
        self.atss_side = atss_side
        self.alpha = alpha
        self.gamma = gamma
        self.torchvision_conventions = torchvision_conventions

    def predict(self, images: Tensor, sizes: list[tuple[int, int]] | None = None) -> FCOSOutputs:
        """Run the network: what each location says of its object; see `Detector`."""
        maps = list(self.backbone(images).values())
        class_logits, distances, centerness_logits = self.head(maps)

        points, strides = pyramid_points(maps, self.backbone.strides)
        if self.torchvision_conventions:
            points = torchvision_points(maps, images.shape[-2:])

        return FCOSOutputs(
            class_logits,
            distances,
            centerness_logits,
            points,
            strides,
            level_sizes=[x.shape[-2] * x.shape[-1] for x in maps],
            sizes=sizes or [tuple(images.shape[-2:])] * len(images),
        )

    @torch.no_grad()
    def assign(self, outputs: FCOSOutputs, targets: list[Target]) -> FCOSTargets:
        """Say who learns what, by place and size alone; see `Detector`."""
        points, strides = outputs.points, outputs.strides
        gt_boxes, _, real = pad_targets(targets, like=points)  # (B, N, 4), (B, N)

        if self.assign_by == "fcos":
            ranges = self.size_ranges(strides)
            assigned, distances = fcos_targets(
                points, strides, ranges, gt_boxes, radius=self.radius
            )
        else:
            half = self.atss_side / 2 * strides[:, None]  # (P, 1)
            anchors = torch.cat((points - half, points + half), dim=-1)  # (P, 4)
            assigned = atss_assign(anchors, outputs.level_sizes, gt_boxes, real)
            distances = learnt_distances(points, strides, gt_boxes, assigned)

        return FCOSTargets(assigned, distances, points, strides)

    def size_ranges(self, strides: Tensor) -> Tensor:
        """Return the distances that the locations of each level are for.

        Args:
            strides: (P,) pixels.

        Returns:
            (P, 2) the least and the largest distance in pixels: with strides 8 to 128 and a reach
            of 8 0 … 64, 64 … 128, 128 … 256, 256 … 512 and 512 … ∞.
        """
        levels = torch.tensor(self.backbone.strides, device=strides.device)  # (L,)
        bounds = self.reach * levels[:-1].to(strides)
        low, high = F.pad(bounds, (1, 0), value=0.0), F.pad(bounds, (0, 1), value=torch.inf)

        if self.torchvision_conventions:
            # Its bounds belong to no level: the next number inside is the bound.
            low, high = low.nextafter(high), high.nextafter(low)

        level = torch.searchsorted(levels.to(strides), strides)  # (P,)
        return torch.stack((low, high), dim=-1)[level]

    def compute_loss(self, outputs: FCOSOutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `Detector`.

        Returns:
            ``"class"``: focal loss of all locations, divided by the number of those that learn an
            object; ``"box"``: GIoU loss of these, weighted by the centerness that they should have
            and divided by its sum; ``"centerness"``: cross-entropy of these, divided by their
            number. Without centerness, boxes all count alike.
        """
        goal = self.assign(outputs, targets)
        gt_boxes, gt_labels, _ = pad_targets(targets, like=outputs.distances)  # (B, N, 4), (B, N)
        image, location = (goal.assigned >= 0).nonzero(as_tuple=True)  # (M,) twice
        learnt = goal.assigned[image, location]  # (M,)
        count = normaliser(len(learnt), gt_boxes.device)

        # What is it? All locations answer, for all classes.
        labels = torch.full_like(goal.assigned, -1)  # (B, P)
        labels[image, location] = gt_labels[image, learnt]
        class_loss = focal_classification_loss(
            outputs.class_logits, labels, alpha=self.alpha, gamma=self.gamma
        )
        losses = {"class": class_loss}

        # Where does it end? Those that learn an object answer.
        pred_boxes = distances_to_boxes(
            outputs.distances[image, location], goal.points[location], goal.strides[location]
        )  # (M, 4)
        box_loss = giou_loss(pred_boxes, gt_boxes[image, learnt])  # (M,)
        if outputs.centerness_logits is None:
            return losses | {"box": box_loss.sum() / count}

        # How central is it? By how much it should be, its box counts.
        central = centerness(goal.distances[image, location])  # (M,)
        if self.torchvision_conventions:
            losses["box"] = box_loss.sum() / count
        else:
            total = normaliser(central.sum(), central.device)
            losses["box"] = (central * box_loss).sum() / total

        centerness_loss = F.binary_cross_entropy_with_logits(
            outputs.centerness_logits[image, location], central, reduction="sum"
        )
        return losses | {"centerness": centerness_loss / count}

    def decode(self, outputs: FCOSOutputs) -> list[Detections]:
        """Turn outputs into detections; see `Detector`.

        A detection's score is √(class score · centerness). It is a candidate if the class's score
        alone is above the threshold; so its own may lie below.
        """
        class_scores = outputs.class_logits.sigmoid()  # (B, P, K)
        scores = class_scores
        if outputs.centerness_logits is not None:
            central = outputs.centerness_logits.sigmoid()[..., None]  # (B, P, 1)
            scores = (class_scores * central).sqrt()

        compared = scores if self.torchvision_conventions else class_scores
        candidates = compared > self.score_threshold  # (B, P, K)
        boxes = distances_to_boxes(outputs.distances, outputs.points, outputs.strides)

        detections = []
        for image, size in enumerate(outputs.sizes):
            chosen = best_of_levels(
                scores[image], candidates[image], outputs.level_sizes, MAX_CANDIDATES
            )
            detections.append(
                self.select_detections(
                    clip_boxes_to_image(boxes[image], size), scores[image], candidates=chosen
                )
            )
        return detections


def torchvision_points(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Return where torchvision's locations stand: (P, 2), at the top left corner of their cells.

    A cell is as large as the batch's height or width over the map's, rounded down.
    """
    levels = []
    for x in maps:
        height, width = x.shape[-2:]
        y = torch.arange(height, device=x.device) * (size[0] // height)
        x = torch.arange(width, device=x.device) * (size[1] // width)
        level = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2)
        levels.append(level.flatten(0, 1).float())
    return torch.cat(levels)


def distances_to_boxes(distances: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Return the boxes whose sides lie so far from the locations.

    Args:
        distances: (..., P, 4) to the left, top, right and bottom side, in strides.
        points: (P, 2) x and y in pixels.
        strides: (P,) pixels.

    Returns:
        (..., P, 4) xyxy in pixels.
    """
    left_top, right_bottom = (distances * strides[:, None]).split(2, dim=-1)  # (..., P, 2) twice
    return torch.cat((points - left_top, points + right_bottom), dim=-1)


def best_of_levels(
    scores: Tensor, candidates: Tensor, level_sizes: Sequence[int], k: int
) -> Tensor:
    """Return the candidates (P, K) bool of one image that are among the k best of their level."""
    chosen = candidates.clone()
    levels = zip(chosen.split(level_sizes), scores.split(level_sizes))
    for mine, level_scores in levels:  # (h·w, K) twice
        found = level_scores[mine]
        if len(found) > k:
            mine &= level_scores >= found.topk(k).values[-1]
    return chosen


# ---- full size -----------------------------------------------------------------------------------


def fcos_resnet50_fpn(
    num_classes: int = 90,
    *,
    min_size: int = 800,
    max_size: int = 1333,
    pretrained_backbone: bool = False,
    torchvision_conventions: bool = False,
) -> FCOS:
    """FCOS with ResNet-50 and a pyramid from P3 to P7: 32.3 million parameters for COCO.

    Args:
        num_classes: K; 90 for COCO, whose category ids go from 1 to 90.
        min_size: images are resized so that the shorter side has this many pixels …
        max_size: … unless the longer side would then exceed this.
        pretrained_backbone: load torchvision's ImageNet weights, freeze batch normalisation and
            train only the last three of the five parts. Offline it warns, and all parts start at
            random and are trained.
        torchvision_conventions: what torchvision's weights need; see the module's docstring.

    Returns:
        The detector; `detlearn.pretrained.from_torchvision` makes one with COCO weights.
    """
    body = pretrained_resnet50(FrozenBatchNorm2d) if pretrained_backbone else None
    backbone = PyramidBackbone(body or resnet50(), 256, skip=1, extra_blocks=LevelsP6P7(256, 256))
    head = FCOSHead(
        256,
        num_classes,
        num_levels=len(backbone.strides),
        torchvision_conventions=torchvision_conventions,
    )
    return FCOS(
        num_classes,
        backbone,
        head,
        batcher=ImageBatcher(min_size=min_size, max_size=max_size),
        torchvision_conventions=torchvision_conventions,
    )
