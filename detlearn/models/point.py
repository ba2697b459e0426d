"""The simplest detector that works: a heat map and one box per location.

A pyramid network turns the image into one map of stride 4. At each of its locations two small heads
predict K scores ("is the centre of an object of this class here?") and four distances from the
location to the left, top, right and bottom side of that object's box.

Shapes: B images, K classes, N objects, a map of h × w locations, P = h·w, stride s in pixels.
Location (row i, column j) stands for the point ((j + ½)·s, (i + ½)·s) of the image.

Names: ``gt_*`` are annotations, ``pred_*`` predictions, ``*_logits`` come before the sigmoid.

Sources: the heat map and its loss come from CornerNet (Law and Deng 2018, §3.2) and "Objects as
Points" (Zhou et al. 2019, §3); the four distances from FCOS (Tian et al. 2019, §3.1); the
elliptical Gaussian from TTFNet (Liu et al. 2020, §3.2).

Where we differ from "Objects as Points":

* the Gaussian's width follows the box's width and its height the box's height, so it is an ellipse;
* boxes are learnt at all locations near the centre, not at one, and with the GIoU loss: more
  gradient per image, which is what a minute on a CPU needs;
* neighbouring detections of one object are removed by NMS, not by a 3 × 3 maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.boxes import clip_boxes_to_image
from detlearn.losses import giou_loss, heatmap_focal_loss
from detlearn.machine.distributed import normaliser
from detlearn.models.base import Detector, pad_targets
from detlearn.models.images import ImageBatcher
from detlearn.nets.small import SmallBackbone, conv_bn_relu
from detlearn.samples import Detections, Target, check_objects

# Standard deviation of an object's Gaussian, as a share of the box's width and height.
SPREAD = 0.12
# A location learns the box of an object whose Gaussian is at least this high there.
NEAR = 0.5
# So many candidates of an image go into NMS; there are h · w · K of them in all.
MAX_CANDIDATES = 1000


class PointOutputs(NamedTuple):
    """What the network predicts.

    Attributes:
        heatmap_logits: (B, K, h, w).
        boxes: (B, h, w, 4) xyxy in pixels of the batch.
        sizes: height and width of each image in the batch, without the padding.
    """

    heatmap_logits: Tensor
    boxes: Tensor
    sizes: list[tuple[int, int]]


class PointTargets(NamedTuple):
    """What the network should predict: a heat map, and the object whose box each location learns.

    Attributes:
        heatmap: (B, K, h, w) in [0, 1], exactly 1 at each location that holds an object's centre.
        assigned: (B, P) int64, the index of the object in its image, or −1 for none.
        points: (P, 2) where the locations stand, x and y in pixels.
        strides: (P,) pixels from one location to the next.
        anchors: None, since the boxes start from points.
    """

    heatmap: Tensor
    assigned: Tensor
    points: Tensor
    strides: Tensor
    anchors: None = None


def grid_points(height: int, width: int, stride: int, device: torch.device | None = None) -> Tensor:
    """Return the points of the image for which the locations of a map stand.

    Args:
        height: h, rows of the map.
        width: w, columns of the map.
        stride: s, pixels from one location to the next.
        device: where to make them.

    Returns:
        (h, w, 2), x and y in pixels: ((j + ½)·s, (i + ½)·s) at row i, column j.
    """
    y = (torch.arange(height, device=device) + 0.5) * stride
    x = (torch.arange(width, device=device) + 0.5) * stride
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


@torch.no_grad()
def heatmap_targets(
    boxes: Tensor, labels: Tensor, num_classes: int, height: int, width: int, stride: int = 4
) -> Tensor:
    """Draw the heat map that the network should predict for one image.

    Every object puts a Gaussian on the map of its class: 1 at the location that holds its centre,
    with a standard deviation of 0.12 of the box's width from left to right and of its height from
    top to bottom.

    Args:
        boxes: (N, 4) xyxy in pixels; N may be 0.
        labels: (N,) int64 in 0 … K−1.
        num_classes: K.
        height: h, rows of the map.
        width: w, columns of the map.
        stride: s, pixels from one location to the next.

    Returns:
        (K, h, w) in [0, 1], exactly 1 at each location that holds an object's centre.

    Raises:
        TypeError, ValueError: for boxes or labels of another form, a box without area, a label
            that is none of the K, or a map without locations.
    """
    _check_objects(boxes, labels, num_classes)
    _check_map(height, width, stride)
    gaussians = object_gaussians(boxes, height, width, stride)  # (N, h, w)

    # Where the Gaussians of several objects of a class meet, the highest counts.
    heatmap = gaussians.new_zeros(num_classes, height, width)
    rows = labels[:, None, None].expand_as(gaussians)
    return heatmap.scatter_reduce_(0, rows, gaussians, "amax")


def object_gaussians(boxes: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Return one Gaussian for each object, exactly 1 at the location that holds its centre.

    Args:
        boxes: (..., 4) xyxy in pixels.
        height: h, rows of the map.
        width: w, columns of the map.
        stride: s, in pixels.

    Returns:
        (..., h, w).
    """
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2  # (..., 2)
    sides = boxes[..., 2:] - boxes[..., :2]  # (..., 2)

    # A Gaussian is a function of x times a function of y, each 1 at its peak.
    across = gaussians_along(centres[..., 0], sides[..., 0], width, stride)  # (..., w)
    down = gaussians_along(centres[..., 1], sides[..., 1], height, stride)  # (..., h)
    return down[..., :, None] * across[..., None, :]


def gaussians_along(centres: Tensor, sides: Tensor, size: int, stride: int) -> Tensor:
    """Return Gaussians along one axis of the map, exactly 1 at the location of each centre.

    Args:
        centres: (...) of the objects, in pixels along this axis.
        sides: (...) of the objects, in pixels along this axis.
        size: locations along this axis.
        stride: pixels from one to the next.

    Returns:
        (..., size).
    """
    peaks = (centres / stride).floor().clamp(min=0, max=size - 1)  # (...)
    locations = torch.arange(size, device=centres.device)

    distances = (locations - peaks[..., None]) * stride  # (..., size), in pixels
    deviations = SPREAD * sides[..., None]
    return torch.exp(-0.5 * (distances / deviations).square())


@torch.no_grad()
def point_targets(
    targets: list[Target], num_classes: int, height: int, width: int, stride: int = 4
) -> PointTargets:
    """Say what each location of each map is to learn.

    The heat map is that of `heatmap_targets`. A location close enough to an object's centre also
    learns the object's box; where two objects claim one location, the smaller has it.

    Args:
        targets: one ``{"boxes": (n, 4) xyxy in pixels, "labels": (n,) int64 in 0 … K−1}`` for
            each of the B images; n may be 0.
        num_classes: K.
        height: h, rows of the map.
        width: w, columns of the map.
        stride: s, in pixels.

    Returns:
        The heat maps and the assignment.

    Raises:
        TypeError, ValueError: as `heatmap_targets` does.
    """
    gt_boxes, gt_labels, real = pad_targets(targets, like=targets[0]["boxes"])
    _check_objects(gt_boxes[real], gt_labels[real], num_classes)
    num_images = len(targets)

    # All images at once: to class k of image b belongs map b·K + k of one large heat map.
    first = num_classes * torch.arange(num_images, device=gt_labels.device)[:, None]  # (B, 1)
    maps = (first + gt_labels)[real]  # (M,), of all M objects
    num_maps = num_images * num_classes
    heatmap = heatmap_targets(gt_boxes[real], maps, num_maps, height, width, stride)

    assigned = nearby_objects(gt_boxes, real, height, width, stride)  # (B, h, w)
    points = grid_points(height, width, stride, gt_boxes.device).flatten(0, 1)  # (P, 2)
    return PointTargets(
        heatmap=heatmap.unflatten(0, (num_images, num_classes)),
        assigned=assigned.flatten(1),
        points=points,
        strides=points.new_full((len(points),), stride),
    )


def nearby_objects(boxes: Tensor, real: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Return which object each location is near: of several the smallest; −1 for none.

    Args:
        boxes: (B, N, 4) xyxy in pixels, padded; N may be 0.
        real: (B, N) bool, which of them are no padding.
        height: h, rows of the map.
        width: w, columns of the map.
        stride: s, in pixels.

    Returns:
        (B, h, w) int64, the object's index in its image.
    """
    gaussians = object_gaussians(boxes, height, width, stride)  # (B, N, h, w)
    if gaussians.numel() == 0:
        return torch.full((len(boxes), height, width), -1, device=boxes.device)

    areas = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)  # (B, N)
    claims = areas[..., None, None].masked_fill(gaussians < NEAR, torch.inf)  # (B, N, h, w)
    claims = claims.masked_fill(~real[..., None, None], torch.inf)
    area, smallest = claims.min(dim=1)  # (B, h, w) twice
    return smallest.masked_fill(area.isinf(), -1)


class PointDetector(Detector):
    """A heat map and one box per location.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first, with ``out_channels`` and
            ``strides``; the small one of the package by default.
        channels: channels of the pyramid's map and of the heads.
        box_loss: loss of predicted boxes (M, 4) and the boxes (M, 4) they should be, called with
            ``reduction="sum"``: one of `detlearn.losses`.
        batcher: see `Detector`.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module | None = None,
        *,
        channels: int = 32,
        box_loss: Callable[..., Tensor] = giou_loss,
        batcher: ImageBatcher | None = None,
    ) -> None:
        super().__init__(num_classes, batcher)
        self.backbone = backbone or SmallBackbone()
        self.stride = self.backbone.strides[0]
        self.box_loss = box_loss

        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in self.backbone.out_channels)
        self.merge = conv_bn_relu(channels, channels)
        self.heatmap_head = nn.Sequential(
            conv_bn_relu(channels, channels), nn.Conv2d(channels, num_classes, 1)
        )
        self.box_head = nn.Sequential(conv_bn_relu(channels, channels), nn.Conv2d(channels, 4, 1))

        # Almost every location is background: start there (focal loss, Lin et al. 2017, §3.3).
        nn.init.constant_(self.heatmap_head[-1].bias, -4.0)
        # exp(1) strides on each side: a first guess of 22 × 22 pixels.
        nn.init.constant_(self.box_head[-1].bias, 1.0)

    def predict(self, images: Tensor, sizes: list[tuple[int, int]] | None = None) -> PointOutputs:
        """Run the network: heat-map logits and boxes of the h × w locations; see `Detector`."""
        maps = [lateral(x) for lateral, x in zip(self.lateral, self.backbone(images).values())]

        # From the coarsest map down to the finest, each enlarged and added to the next.
        x = maps.pop()
        while maps:
            finer = maps.pop()
            x = finer + F.interpolate(x, size=finer.shape[-2:])
        x = self.merge(x)  # (B, C, h, w)
        heatmap_logits = self.heatmap_head(x).float()

        # The four distances of each location, and from them its box. float(): in reduced precision
        # a box could not be told from one half a pixel wider. exp(8) strides are 12 000 pixels: no
        # wild prediction becomes infinite.
        distances = self.box_head(x).float().clamp(max=8).exp() * self.stride  # (B, 4, h, w)
        left_top, right_bottom = distances.permute(0, 2, 3, 1).split(2, dim=-1)  # (B, h, w, 2)
        points = grid_points(*x.shape[-2:], self.stride, x.device)  # (h, w, 2)
        boxes = torch.cat((points - left_top, points + right_bottom), dim=-1)  # (B, h, w, 4)

        sizes = sizes or [tuple(images.shape[-2:])] * len(images)
        return PointOutputs(heatmap_logits, boxes, sizes)

    def assign(self, outputs: PointOutputs, targets: list[Target]) -> PointTargets:
        """Say who learns what: `point_targets` on the map of these outputs."""
        height, width = outputs.heatmap_logits.shape[-2:]

        # Where the outputs are and as exact as they are, whatever the annotations came as.
        placed = []
        for target in targets:
            boxes = target["boxes"].to(outputs.boxes)
            labels = target["labels"].to(outputs.boxes.device)
            placed.append({"boxes": boxes, "labels": labels})
        return point_targets(placed, self.num_classes, height, width, self.stride)

    def compute_loss(self, outputs: PointOutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `Detector`.

        Returns:
            ``"heatmap"``: penalty-reduced focal loss summed over all locations and classes, divided
            by the number of objects; ``"box"``: twice the mean box loss over the locations that
            learn a box.
        """
        goal = self.assign(outputs, targets)
        device = outputs.boxes.device

        # Is a centre here? All locations and classes answer.
        num_objects = normaliser(sum(len(target["boxes"]) for target in targets), device)
        heatmap_loss = heatmap_focal_loss(outputs.heatmap_logits, goal.heatmap, reduction="sum")

        # Where does the object end? Only the locations near a centre answer.
        image, location = (goal.assigned >= 0).nonzero(as_tuple=True)  # (M,), (M,)
        pred_boxes = outputs.boxes.flatten(1, 2)[image, location]  # (M, 4)
        gt_boxes = pad_targets(targets, like=pred_boxes).boxes  # (B, N, 4)
        gt_boxes = gt_boxes[image, goal.assigned[image, location]]  # (M, 4)
        num_boxes = normaliser(len(pred_boxes), device)
        box_loss = self.box_loss(pred_boxes, gt_boxes, reduction="sum")

        return {"heatmap": heatmap_loss / num_objects, "box": 2 * box_loss / num_boxes}

    def decode(self, outputs: PointOutputs) -> list[Detections]:
        """Turn outputs into detections; see `Detector`."""
        scores = outputs.heatmap_logits.sigmoid().permute(0, 2, 3, 1).flatten(1, 2)  # (B, P, K)
        boxes = outputs.boxes.flatten(1, 2)  # (B, P, 4)

        detections = []
        for image_boxes, image_scores, size in zip(boxes, scores, outputs.sizes):
            image_boxes = clip_boxes_to_image(image_boxes, size)
            detections.append(
                self.select_detections(image_boxes, image_scores, max_candidates=MAX_CANDIDATES)
            )
        return detections


# ---- what comes in ----


def _check_objects(boxes: Tensor, labels: Tensor, num_classes: int) -> None:
    objects = {"boxes": boxes, "labels": labels}
    keys = ("boxes", "labels")
    check_objects(objects, "objects", keys, num_classes=num_classes, for_training=True)


def _check_map(height: int, width: int, stride: int) -> None:
    if min(height, width, stride) < 1:
        raise ValueError(
            f"a map of {height} × {width} locations of stride {stride}: expected at least one "
            "location, and a stride of at least one pixel"
        )
