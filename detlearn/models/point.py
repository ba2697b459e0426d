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
from detlearn.machine.distributed import mean_over_processes, world_size
from detlearn.models.base import Detector
from detlearn.models.images import Detections, ImageBatcher, Target
from detlearn.nets.small import SmallBackbone, conv_bn_relu
from detlearn.nms import batched_nms

# Standard deviation of an object's Gaussian, as a share of the box's width and height.
SPREAD = 0.12
# A location learns the box of an object whose Gaussian is at least this high there.
NEAR = 0.5


class PointOutputs(NamedTuple):
    """What the network predicts.

    Attributes:
        heatmap_logits: (B, K, h, w).
        boxes: (B, h, w, 4) xyxy in pixels of the batch.
    """

    heatmap_logits: Tensor
    boxes: Tensor


class PointTargets(NamedTuple):
    """What the network should predict.

    Attributes:
        heatmap: (B, K, h, w) in [0, 1], exactly 1 at each location that holds an object's centre.
        assigned: (B, h, w) int64, the object whose box this location learns, or −1. Objects are
            numbered through the batch: 0 is the first of the first image.
    """

    heatmap: Tensor
    assigned: Tensor


def grid_points(height: int, width: int, stride: int, device: torch.device | None = None) -> Tensor:
    """The points of the image for which the locations of a map stand.

    Args:
        height: h, rows of the map.
        width: w, columns of the map.
        stride: s, pixels from one location to the next.
        device: where to make them.

    Returns:
        (h, w, 2), x and y in pixels: ((j + ½)·s, (i + ½)·s) at row i, column j.
    """
    y, x = (((torch.arange(n, device=device) + 0.5) * stride) for n in (height, width))
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1)


def point_targets(
    targets: list[Target], num_classes: int, height: int, width: int, stride: int = 4
) -> PointTargets:
    """Say what each location of each map is to learn.

    Every object puts a Gaussian on the heat map of its class, around the location that holds its
    centre. A location close enough to that centre also learns the object's box; where two objects
    claim one location, the smaller has it.

    Args:
        targets: one ``{"boxes": (n, 4) xyxy in pixels, "labels": (n,) int64 in 0 … K−1}`` for
            each of the B images; n may be 0.
        num_classes: K.
        height: h, rows of the map.
        width: w, columns of the map.
        stride: s, in pixels.

    Returns:
        The heat maps and the assignment.
    """
    # All N objects of the batch in one list, and the image of each.
    gt_boxes = torch.cat([t["boxes"] for t in targets])
    gt_labels = torch.cat([t["labels"] for t in targets])
    counts = torch.tensor([len(t["boxes"]) for t in targets], device=gt_boxes.device)
    image = torch.arange(len(targets), device=gt_boxes.device).repeat_interleave(counts)

    sides = gt_boxes[:, 2:] - gt_boxes[:, :2]
    # The Gaussian is a function of x times a function of y, each 1 at the peak.
    across, down = (
        gaussians_along((gt_boxes[:, i] + gt_boxes[:, i + 2]) / 2, sides[:, i], size, stride)
        for i, size in ((0, width), (1, height))
    )
    gaussians = (down[:, :, None] * across[:, None, :]).flatten(1)  # (N, P)

    heatmap = gaussians.new_zeros(len(targets) * num_classes, height * width)
    rows = (image * num_classes + gt_labels)[:, None].expand_as(gaussians)
    heatmap.scatter_reduce_(0, rows, gaussians, "amax")

    # Objects from large to small: of those that claim a location, the last one has it.
    order = sides.prod(dim=-1).argsort(stable=True).flip(0)
    place = torch.arange(len(order), device=order.device)[:, None]
    claims = place.where(gaussians[order] >= NEAR, -1)  # (N, P)
    last = claims.new_full((len(targets), height * width), -1)
    last.scatter_reduce_(0, image[order][:, None].expand_as(claims), claims, "amax")
    assigned = torch.cat((order, order.new_tensor([-1])))[last]  # −1 stays −1
    return PointTargets(
        heatmap.view(-1, num_classes, height, width), assigned.view(-1, height, width)
    )


def gaussians_along(centres: Tensor, sides: Tensor, size: int, stride: int) -> Tensor:
    """Gaussians (N, size) along one axis of the map, exactly 1 at the location of each centre."""
    peaks = (centres / stride).floor().clamp(min=0, max=size - 1)[:, None]
    locations = torch.arange(size, device=centres.device)
    return torch.exp(-0.5 * ((locations - peaks) * stride / (SPREAD * sides[:, None])).square())


class PointDetector(Detector):
    """A heat map and one box per location.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first, with ``out_channels`` and
            ``strides``; the small one of the package by default.
        channels: channels of the pyramid's map and of the heads.
        box_loss: loss of predicted boxes (M, 4) and the boxes (M, 4) they should be, called with
            ``reduction="sum"``: one of `detlearn.losses`.
        batcher: image batcher; by default normalises and pads, and keeps the size.
        score_threshold: detections below this score are dropped.
        nms_threshold: IoU above which the lower-scoring of two detections of a class is dropped.
        max_detections: detections kept per image.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module | None = None,
        *,
        channels: int = 32,
        box_loss: Callable[..., Tensor] = giou_loss,
        batcher: ImageBatcher | None = None,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__(num_classes, batcher or ImageBatcher())
        self.backbone = backbone or SmallBackbone()
        self.stride = self.backbone.strides[0]
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
        self.box_loss = box_loss
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.max_detections = max_detections

    def predict(self, images: Tensor) -> PointOutputs:
        """Run the network.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            Heat-map logits and boxes of the h × w locations.
        """
        maps = [lateral(x) for lateral, x in zip(self.lateral, self.backbone(images).values())]
        x = maps.pop()
        while maps:  # from the coarsest map down to the finest
            finer = maps.pop()
            x = finer + F.interpolate(x, size=finer.shape[-2:])
        x = self.merge(x)
        # float(): in reduced precision a box could not be told from one half a pixel wider.
        distances = self.box_head(x).float().clamp(max=8).exp() * self.stride  # (B, 4, h, w)
        left_top, right_bottom = distances.permute(0, 2, 3, 1).split(2, dim=-1)  # (B, h, w, 2)
        points = grid_points(*x.shape[-2:], self.stride, x.device)
        boxes = torch.cat((points - left_top, points + right_bottom), dim=-1)  # (B, h, w, 4)
        return PointOutputs(self.heatmap_head(x).float(), boxes)

    def compute_loss(self, outputs: PointOutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations.

        Args:
            outputs: from `predict`.
            targets: one ``{"boxes": (N, 4) xyxy pixels of the batch, "labels": (N,)}`` per image.

        Returns:
            ``"heatmap"``: penalty-reduced focal loss summed over all locations and classes, divided
            by the number of objects; ``"box"``: twice the mean box loss over the locations that
            learn a box.
        """
        height, width = outputs.heatmap_logits.shape[-2:]
        goal = point_targets(targets, self.num_classes, height, width, self.stride)
        num_objects = sum(len(t["boxes"]) for t in targets)
        heatmap_loss = heatmap_focal_loss(outputs.heatmap_logits, goal.heatmap, reduction="sum")

        learns = goal.assigned >= 0  # (B, h, w)
        pred_boxes = outputs.boxes[learns]  # (M, 4)
        gt_boxes = torch.cat([t["boxes"] for t in targets])[goal.assigned[learns]]
        box_loss = self.box_loss(pred_boxes, gt_boxes, reduction="sum")
        # Counts over all processes, so that several of them compute the gradients of one.
        num_objects, num_boxes = (
            max(mean_over_processes(n, learns.device), 1 / world_size())
            for n in (num_objects, len(pred_boxes))
        )
        return {"heatmap": heatmap_loss / num_objects, "box": 2 * box_loss / num_boxes}

    def decode(self, outputs: PointOutputs, sizes: list[tuple[int, int]]) -> list[Detections]:
        """Turn outputs into detections.

        Args:
            outputs: from `predict`.
            sizes: height and width of each image inside the padded batch.

        Returns:
            Per image ``{"boxes": (N, 4) xyxy in pixels of the batch, "scores": (N,), "labels":
            (N,)}``, at most ``max_detections`` of them, highest score first.
        """
        scores = outputs.heatmap_logits.sigmoid().permute(0, 2, 3, 1).flatten(1, 2)  # (B, P, K)
        boxes = outputs.boxes.flatten(1, 2)  # (B, P, 4)
        return [self._decode_one(*image) for image in zip(scores, boxes, sizes)]

    def _decode_one(self, scores: Tensor, boxes: Tensor, size: tuple[int, int]) -> Detections:
        """Detections of one image of (height, width) ``size`` from scores (P, K), boxes (P, 4)."""
        boxes = clip_boxes_to_image(boxes, size)
        # Locations in the padding see no object; their boxes end up without an area.
        seen = (boxes[:, 2:] > boxes[:, :2]).all(dim=-1)
        scores = scores * seen[:, None]
        location, labels = (scores > self.score_threshold).nonzero(as_tuple=True)  # (M,), (M,)
        scores, boxes = scores[location, labels], boxes[location]
        top = scores.topk(min(1000, len(scores))).indices
        boxes, scores, labels = boxes[top], scores[top], labels[top]
        keep = batched_nms(boxes, scores, labels, self.nms_threshold)[: self.max_detections]
        return {"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]}


def point_small(
    num_classes: int, *, min_size: int | None = None, max_size: int | None = None
) -> PointDetector:
    """The detector as chapter 1 trains it: 0.8 million parameters, a stride-4 map.

    Args:
        num_classes: K.
        min_size: resize images so that the shorter side has this many pixels …
        max_size: … and the longer side at most this many. By default images keep their size.

    Returns:
        The detector with random weights.
    """
    return PointDetector(num_classes, batcher=ImageBatcher(min_size=min_size, max_size=max_size))
