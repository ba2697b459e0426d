"""CenterNet: an object is a point.

One map of stride 4. Each of its locations says for each class whether the centre of an object lies
in it, how wide and high that object is, and where in the location the centre lies. An object is
learnt at one location alone, and found as a peak of the heat map, without NMS.

Shapes: B images; K classes; N objects; a map of h × w locations, P = h·w, row by row; stride s in
pixels. A location (row i, column j) covers the pixels from (j·s, i·s) to ((j + 1)·s, (i + 1)·s).
Boxes are xyxy in pixels of the padded batch; sides, radii and offsets are in strides.

Names: ``gt_*`` are annotations, ``pred_*`` predictions, ``*_logits`` come before the sigmoid.

Sources: "Objects as Points" (Zhou et al. 2019, arXiv 1904.07850); the heat map's loss and the
radius of its Gaussians from CornerNet (Law and Deng 2018, arXiv 1808.01244, §3.2).

Where we differ from the paper:

* sides are learnt as logarithms with weight 2, where the paper learns them as they are with weight
  0.1: an error of a tenth then costs as much on a small object as on a large one. After 240 steps
  on ToyTown AP was .24 with logarithms (weight 1) and .22 with the paper's loss; after 1500 steps,
  with the official radius, .63 with weight 2 and .61 with weight 1 (one run each);
* a Gaussian has the radius that the stated overlap gives, where the code's is 3.35 times as large
  for a square (`official_gaussian_radius`): after 1500 steps, with weight 1, AP was .60 with the
  right one and .61 with the official one (one run each);
* of several objects with their centre in one location, that location learns the sides of the
  smallest; the code lets it learn the sides of all at once, between which L1 has no preference;
* backbone and pyramid are the caller's; the heads are normalised, which trains faster.

Where we differ from the published code:

* all sums are divided by the number of objects, as in the paper. The code divides those of sides
  and offsets by twice that number, and does not count objects that share a peak for the heat map;
* sides are not rounded up before the radius is taken;
* p is not clamped in the focal loss (see `detlearn.losses.heatmap_focal_loss`);
* of equal scores the first come first, and a box without width or height is no detection.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.boxes import clip_boxes_to_image
from detlearn.losses import at_least_float32, heatmap_focal_loss
from detlearn.machine.distributed import normaliser
from detlearn.models.base import Detector, PaddedTargets, pad_targets
from detlearn.models.images import ImageBatcher
from detlearn.models.point import grid_points
from detlearn.nets.small import conv_bn_relu
from detlearn.samples import Detections, Target

# How much the loss of the sides counts beside those of the heat map and the offsets.
SIZE_WEIGHT = 2.0
# A first guess of every object's width and height, in strides.
FIRST_SIDE = 4.0


class CenterNetOutputs(NamedTuple):
    """What the network predicts.

    Attributes:
        heatmap_logits: (B, K, h, w).
        log_wh: (B, 2, h, w) logarithms of the width and height, in strides, of the object of each
            location.
        offset: (B, 2, h, w) how far right and down of its location's corner its centre lies, in
            strides.
        sizes: height and width of each image in the batch, without the padding.
    """

    heatmap_logits: Tensor
    log_wh: Tensor
    offset: Tensor
    sizes: list[tuple[int, int]]


class CenterNetTargets(NamedTuple):
    """What the network should predict: a heat map, and the object that each location learns.

    Attributes:
        heatmap: (B, K, h, w) in [0, 1], exactly 1 at each location that holds an object's centre.
        assigned: (B, P) int64, the index of the object in its image whose sides and offset the
            location learns, or −1 for none.
        points: (P, 2) the middles of the locations, x and y in pixels.
        strides: (P,) pixels from one location to the next.
        anchors: None, since the boxes start from points.
    """

    heatmap: Tensor
    assigned: Tensor
    points: Tensor
    strides: Tensor
    anchors: None = None


# ---- how far from a centre a peak would do no harm -----------------------------------------------


def gaussian_radius(sides: Tensor, min_overlap: float = 0.7) -> Tensor:
    """Return how far both corners of a box may move and leave it enough overlap with what it was.

    Corner by corner, x and y move by r. There are three ways to do that, and the IoU with the old
    box is the least allowed, t, where r solves a quadratic equation in s = w + h and a = w·h:

        both inward    (w − 2r)(h − 2r) / a = t                 4r² − 2s·r + (1 − t)·a = 0
        both outward   a / (w + 2r)(h + 2r) = t                 4t·r² + 2ts·r − (1 − t)·a = 0
        both alike     (w − r)(h − r) / (2a − (w − r)(h − r)) = t
                                                                r² − s·r + (1 − t) / (1 + t)·a = 0

    The radius is the least of the three (CornerNet, §3.2, which states the aim and no formula),
    which always is that of "both inward". (Where each side moves by up to r for itself, the IoU
    does not fall below t either, as the tests find.)

    Args:
        sides: (..., 2) width and height, in any unit.
        min_overlap: t, in (0, 1].

    Returns:
        (...) in the same unit.

    Raises:
        TypeError: if sides is no tensor.
        ValueError: for another shape, a negative side, or a min_overlap outside (0, 1].
    """
    total, area = _total_and_area(sides, min_overlap)
    t = min_overlap

    # Of the two roots of each equation the smaller positive one: there the IoU first falls to t.
    inward = (total - (total**2 - 4 * (1 - t) * area).sqrt()) / 4
    outward = (-total + (total**2 + 4 * (1 - t) / t * area).sqrt()) / 4
    alike = (total - (total**2 - 4 * (1 - t) / (1 + t) * area).sqrt()) / 2
    return torch.minimum(torch.minimum(inward, outward), alike)


def official_gaussian_radius(sides: Tensor, min_overlap: float = 0.7) -> Tensor:
    """Return the radius as CenterNet's code computes it, with which its results were published.

    It solves the equations of `gaussian_radius` by (b + √(b² − 4ac)) / 2, whatever a is and
    whichever root is meant. Two of the three so come out larger than the box, and the least is that
    of "both outward", 4t times as large as it should be: 2.8 times at t = 0.7. Compared with
    the radius that holds in all three cases it is 3.35 times as large for a square, and up to four
    times for a narrow box.

    Args, Raises: as for `gaussian_radius`.

    Returns:
        (...) in the same unit.
    """
    total, area = _total_and_area(sides, min_overlap)
    t = min_overlap

    equations = (
        (1, total, (1 - t) / (1 + t) * area),
        (4, 2 * total, (1 - t) * area),
        (4 * t, -2 * t * total, (t - 1) * area),
    )
    radii = [(b + (b**2 - 4 * a * c).sqrt()) / 2 for a, b, c in equations]
    return torch.stack(radii).amin(dim=0)


# ---- the heat map --------------------------------------------------------------------------------


@torch.no_grad()
def draw_gaussians(
    centres: Tensor, radii: Tensor, labels: Tensor, num_classes: int, height: int, width: int
) -> Tensor:
    """Draw one bump for each object on the map of its class; where two meet, the higher counts.

    An object's bump is a Gaussian of σ = (2⌊r⌋ + 1) / 6 around its centre's location, cut off where
    a location lies more than ⌊r⌋ columns or rows away.

    Args:
        centres: (N, 2) int64, column and row of each object's location; N may be 0.
        radii: (N,) r in locations.
        labels: (N,) int64 in 0 … K−1.
        num_classes: K.
        height: h, rows of the map.
        width: w, columns of the map.

    Returns:
        (K, h, w) in [0, 1], exactly 1 at each object's location.

    Raises:
        ValueError: for shapes that do not fit together, or a label that is none of the K.
    """
    _check_bumps(centres, radii, labels, num_classes)
    reach = at_least_float32(radii).floor()[:, None]  # (N, 1)
    sigma = (2 * reach + 1) / 6

    # A Gaussian is a function of the column times a function of the row, each 1 at its peak.
    along = []
    for centre, size in zip(centres.unbind(dim=1), (width, height)):
        distance = torch.arange(size, device=centres.device) - centre[:, None]  # (N, size)
        bump = torch.exp(-(distance**2) / (2 * sigma**2))
        along.append(bump * (distance.abs() <= reach))
    across, down = along  # (N, w), (N, h)
    bumps = down[:, :, None] * across[:, None, :]  # (N, h, w)

    heatmap = bumps.new_zeros(num_classes, height, width)
    rows = labels[:, None, None].expand_as(bumps)
    return heatmap.scatter_reduce_(0, rows, bumps, "amax")


def decode_detections(
    heatmap: Tensor, wh: Tensor, offset: Tensor, k: int = 100, *, stride: float = 4
) -> tuple[Tensor, Tensor, Tensor]:
    """Turn the k highest peaks of a heat map into boxes (Objects as Points, §4).

    A peak is a location whose score none of its eight neighbours exceeds. That replaces NMS: of a
    bump around a centre only the top is left. Where there are fewer than k peaks, other locations
    fill the list, with a score of 0.

    Args:
        heatmap: (B, K, h, w) scores in [0, 1].
        wh: (B, 2, h, w) width and height of the object of each location, in strides.
        offset: (B, 2, h, w) how far right and down of its location's corner its centre lies, in
            strides.
        k: detections of an image; of a small map all K·h·w.
        stride: s, pixels from one location to the next.

    Returns:
        Boxes (B, k', 4) xyxy in pixels, scores (B, k') and labels (B, k'), k' = min(k, K·h·w); the
        highest score first, of equal ones the first class, then row, then column.

    Raises:
        ValueError: for shapes that do not fit together, or a k or stride that is not above 0.
    """
    _check_maps(heatmap, wh, offset, k, stride)
    height, width = heatmap.shape[-2:]

    # Only peaks keep their score.
    highest_around = F.max_pool2d(heatmap, kernel_size=3, stride=1, padding=1)
    peaks = heatmap * (heatmap == highest_around)  # (B, K, h, w)

    # The k best over all classes and locations.
    scores, best = peaks.flatten(1).sort(dim=1, descending=True, stable=True)  # (B, K·h·w) twice
    scores, best = scores[:, :k], best[:, :k]  # (B, k')
    labels, place = best // (height * width), best % (height * width)

    # What their locations say of size and centre.
    column_and_row = torch.stack((place % width, place // width), dim=1)  # (B, 2, k')
    place = place[:, None].expand(-1, 2, -1)  # (B, 2, k')
    centres = (column_and_row + offset.flatten(2).gather(2, place)) * stride  # (B, 2, k')
    sides = wh.flatten(2).gather(2, place) * stride  # (B, 2, k')

    boxes = torch.cat((centres - sides / 2, centres + sides / 2), dim=1)  # (B, 4, k')
    return boxes.transpose(1, 2), scores, labels


# ---- who learns what -----------------------------------------------------------------------------


@torch.no_grad()
def centre_locations(boxes: Tensor, height: int, width: int, stride: float) -> Tensor:
    """Return in which location the centres of boxes lie.

    Args:
        boxes: (..., 4) xyxy in pixels.
        height: h, rows of the map.
        width: w, columns of the map.
        stride: s, pixels from one location to the next.

    Returns:
        (..., 2) int64, column and row; of a centre outside of the map the nearest ones.
    """
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2 / stride
    last = torch.tensor([width - 1, height - 1], device=boxes.device)
    return centres.floor().long().clamp(min=torch.zeros_like(last), max=last)


@torch.no_grad()
def objects_of_locations(locations: Tensor, padded: PaddedTargets, num_locations: int) -> Tensor:
    """Say which object each location learns: of several the smallest, of equal ones the first.

    Args:
        locations: (B, N) int64, of each object the location of its centre, counted row by row.
        padded: the objects of B images; N may be 0.
        num_locations: P.

    Returns:
        (B, P) int64, the index of the object in its image, −1 for none.
    """
    num_images, num_objects = padded.labels.shape
    areas = (padded.boxes[..., 2:] - padded.boxes[..., :2]).prod(dim=-1)  # (B, N)

    # The smallest object has rank 0; padding, which has no part in this, the rank N.
    order = areas.argsort(dim=1, stable=True)  # (B, N), smallest first
    ranks = torch.arange(num_objects, device=areas.device).expand_as(order)
    ranks = ranks.masked_fill(~padded.real.gather(1, order), num_objects)

    # The lowest rank that came to each location, and whose it is; N stands for nobody.
    lowest = ranks.new_full((num_images, num_locations), num_objects)
    lowest.scatter_reduce_(1, locations.gather(1, order), ranks, "amin")  # (B, P)
    nobody = order.new_full((num_images, 1), -1)
    return torch.cat((order, nobody), dim=1).gather(1, lowest)


# ---- the network ---------------------------------------------------------------------------------


class CenterNet(Detector):
    """A map, three heads, and peaks for detections.

    Args:
        backbone: maps images to an ordered dict of maps, finest first, with ``out_channels`` and
            ``strides``; the finest map is used. It should know what the coarser ones know: a
            pyramid.
        num_classes: K.
        head_channels: channels of each head between its two convolutions.
        size_weight: how much the loss of the sides counts.
        prior: the score with which every class starts; the paper's bias of −2.19 makes it 0.1.
        radius: says how far an object's Gaussian reaches, by its sides (N, 2) in strides:
            `gaussian_radius`, or `official_gaussian_radius`.
        batcher: see `Detector`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        head_channels: int = 64,
        *,
        size_weight: float = SIZE_WEIGHT,
        prior: float = 0.1,
        radius: Callable[[Tensor], Tensor] = gaussian_radius,
        batcher: ImageBatcher | None = None,
    ) -> None:
        super().__init__(num_classes, batcher)
        self.backbone = backbone
        self.stride = backbone.strides[0]
        self.size_weight = size_weight
        self.radius = radius

        in_channels = backbone.out_channels[0]
        self.heatmap_head = _head(in_channels, head_channels, num_classes)
        self.log_wh_head = _head(in_channels, head_channels, 2)
        self.offset_head = _head(in_channels, head_channels, 2)

        # Almost every location is background: start there (focal loss, Lin et al. 2017, §3.3).
        nn.init.constant_(self.heatmap_head[-1].bias, math.log(prior / (1 - prior)))
        nn.init.constant_(self.log_wh_head[-1].bias, math.log(FIRST_SIDE))

    def predict(
        self, images: Tensor, sizes: list[tuple[int, int]] | None = None
    ) -> CenterNetOutputs:
        """Run the network: the maps of the three heads; see `Detector`."""
        # A pyramid ends in a convolution; the heads begin with another.
        finest = next(iter(self.backbone(images).values())).relu()  # (B, C, h, w)

        # float(): in reduced precision a box could not be told from one half a pixel wider.
        heatmap_logits = self.heatmap_head(finest).float()  # (B, K, h, w)
        log_wh = self.log_wh_head(finest).float()  # (B, 2, h, w)
        offset = self.offset_head(finest).float()  # (B, 2, h, w)

        sizes = sizes or [tuple(images.shape[-2:])] * len(images)
        return CenterNetOutputs(heatmap_logits, log_wh, offset, sizes)

    @torch.no_grad()
    def assign(self, outputs: CenterNetOutputs, targets: list[Target]) -> CenterNetTargets:
        """Say what the maps are to show.

        Every object puts a bump on the map of its class, around the location in which its centre
        lies. That location alone learns its sides and offset. Where several objects have their
        centre in one location, it learns those of the smallest; the others only have their bump.

        Args:
            outputs: from `predict`; only the size of the map matters.
            targets: one ``{"boxes": (n, 4), "labels": (n,)}`` for each image.

        Returns:
            The heat maps, and the object of each location.
        """
        num_images, num_classes, height, width = outputs.heatmap_logits.shape
        padded = pad_targets(targets, like=outputs.log_wh)
        boxes, labels, real = padded  # (B, N, 4), (B, N), (B, N)
        centres = centre_locations(boxes, height, width, self.stride)  # (B, N, 2)

        # All images at once: to class k of image b belongs map b·K + k of one large heat map.
        first = num_classes * torch.arange(num_images, device=labels.device)[:, None]  # (B, 1)
        sides = (boxes[..., 2:] - boxes[..., :2]) / self.stride  # (B, N, 2)
        heatmap = draw_gaussians(
            centres[real],
            self.radius(sides[real]),
            (first + labels)[real],
            num_images * num_classes,
            height,
            width,
        )

        columns, rows = centres.unbind(dim=-1)  # (B, N) twice
        assigned = objects_of_locations(rows * width + columns, padded, height * width)
        points = grid_points(height, width, self.stride, boxes.device).flatten(0, 1)  # (P, 2)
        return CenterNetTargets(
            heatmap=heatmap.unflatten(0, (num_images, num_classes)),
            assigned=assigned,
            points=points,
            strides=points.new_full((len(points),), self.stride),
        )

    def compute_loss(self, outputs: CenterNetOutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `Detector`.

        Returns:
            ``"heatmap"``: penalty-reduced focal loss of all locations and classes; ``"size"``: L1
            of the logarithms of width and height, times `size_weight`; ``"offset"``: L1 of the two
            offsets in strides. The sums are divided by the number of objects.
        """
        goal = self.assign(outputs, targets)
        device = outputs.log_wh.device
        num_objects = normaliser(sum(len(target["boxes"]) for target in targets), device)
        heatmap_loss = heatmap_focal_loss(outputs.heatmap_logits, goal.heatmap, reduction="sum")

        # The locations of the centres, and the boxes that they learn.
        image, location = (goal.assigned >= 0).nonzero(as_tuple=True)  # (M,) twice
        gt_boxes = pad_targets(targets, like=outputs.log_wh).boxes  # (B, N, 4)
        gt_boxes = gt_boxes[image, goal.assigned[image, location]] / self.stride  # (M, 4)
        gt_sides = gt_boxes[:, 2:] - gt_boxes[:, :2]  # (M, 2)
        gt_centres = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2  # (M, 2)
        corners = goal.points[location] / self.stride - 0.5  # (M, 2), column and row

        pred_logs = outputs.log_wh.flatten(2)[image, :, location]  # (M, 2)
        pred_offsets = outputs.offset.flatten(2)[image, :, location]  # (M, 2)
        size_loss = (pred_logs - gt_sides.log()).abs().sum()
        offset_loss = (pred_offsets - (gt_centres - corners)).abs().sum()

        return {
            "heatmap": heatmap_loss / num_objects,
            "size": self.size_weight * size_loss / num_objects,
            "offset": offset_loss / num_objects,
        }

    def decode(self, outputs: CenterNetOutputs) -> list[Detections]:
        """Turn outputs into detections: the peaks of `decode_detections`; see `Detector`."""
        boxes, scores, labels = decode_detections(
            outputs.heatmap_logits.sigmoid(),
            outputs.log_wh.exp(),
            outputs.offset,
            k=self.max_detections,
            stride=self.stride,
        )
        # Each peak has a score for one class alone.
        scores = scores[..., None] * F.one_hot(labels, self.num_classes)  # (B, k, K)

        detections = []
        for image_boxes, image_scores, size in zip(boxes, scores, outputs.sizes):
            image_boxes = clip_boxes_to_image(image_boxes, size)
            detections.append(self.select_detections(image_boxes, image_scores, nms=False))
        return detections


def _head(in_channels: int, channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        conv_bn_relu(in_channels, channels), nn.Conv2d(channels, out_channels, kernel_size=1)
    )


# ---- what comes in -------------------------------------------------------------------------------


def _total_and_area(sides: Tensor, min_overlap: float) -> tuple[Tensor, Tensor]:
    """Return width + height and width · height of sides (..., 2), after a look at them."""
    if not isinstance(sides, Tensor):
        raise TypeError(f"sides must be a torch.Tensor (..., 2), got {type(sides).__name__}")
    if sides.ndim == 0 or sides.shape[-1] != 2:
        raise ValueError(f"sides has shape {tuple(sides.shape)}: expected (..., 2)")
    if not (sides >= 0).all():
        raise ValueError("sides holds a negative number or NaN: give widths and heights")
    if not 0 < min_overlap <= 1:
        raise ValueError(f"min_overlap is {min_overlap}: expected an IoU in (0, 1]")
    sides = at_least_float32(sides)
    return sides.sum(dim=-1), sides.prod(dim=-1)


def _check_bumps(centres: Tensor, radii: Tensor, labels: Tensor, num_classes: int) -> None:
    count = len(labels)
    if centres.shape != (count, 2) or radii.shape != (count,) or labels.shape != (count,):
        raise ValueError(
            f"centres {tuple(centres.shape)}, radii {tuple(radii.shape)} and labels "
            f"{tuple(labels.shape)} do not fit together: expected (N, 2), (N,) and (N,)"
        )
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(f"labels[{row}] = {int(labels[row])} is no label in 0 … {num_classes - 1}")


def _check_maps(heatmap: Tensor, wh: Tensor, offset: Tensor, k: int, stride: float) -> None:
    if heatmap.ndim != 4:
        raise ValueError(f"heatmap has shape {tuple(heatmap.shape)}: expected (B, K, h, w)")
    batch_size, _, height, width = heatmap.shape
    for name, tensor in (("wh", wh), ("offset", offset)):
        if tensor.shape != (batch_size, 2, height, width):
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}: expected "
                f"{(batch_size, 2, height, width)}, (B, 2, h, w) as the heat map's"
            )
    if k < 1 or stride <= 0:
        raise ValueError(f"k is {k} and stride {stride}: expected numbers above 0")
