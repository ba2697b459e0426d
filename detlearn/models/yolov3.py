"""YOLOv3: a grid of anchors on three maps, and one of all these anchors for each object.

A backbone makes maps of several strides, the neck brings what the coarse ones know into the finer
ones, and a head predicts at every cell of every map, for each of its A anchors: where in the cell
the centre of a box is, how much wider and higher than the anchor the box is, whether there is an
object at all, and what it is. An object is learnt at one place only: at the cell that holds its
centre, by the anchor that is most like it in shape.

Shapes: B images; K classes; L levels with A_l anchors (width, height) and h_l × w_l cells of s_l
pixels; P = Σ h_l·w_l·A_l places in all, level after level, row by row, column by column, anchor by
anchor; N objects. Boxes are xyxy in pixels of the padded batch.

Names: a head's map is ``raw``: (B, A·(5 + K), h, w), in which each anchor has t_x, t_y, t_w, t_h,
the logit of its objectness and K logits of classes.

Sources: Redmon and Farhadi 2018, "YOLOv3: An Incremental Improvement" (arXiv 1804.02767), §2;
YOLOv2 (arXiv 1612.08242), §2, for the box of a cell; Darknet's ``yolov3.cfg`` for the numbers.

Where we differ from paper or Darknet:

* **An anchor is left in peace from IoU 0.7** (see `yolov3_targets`), as in Darknet's configuration;
  the paper says 0.5.
* **Position and classes learn by binary cross-entropy**, as in Darknet: it hands target − σ(t) to
  the logits, which is that loss's gradient. The paper speaks of squared error.
* **Losses are divided by the number of objects** of the batch. Darknet adds them all up and lets
  batch size and learning rate deal with it.
* **Of several objects with one cell and anchor the last one is learnt**, box and class. In Darknet
  its class is added to those of the others.
* **An object is weighted by its share of its own image**, without the padding; Darknet has none.
* **Objectness starts at 0.01** instead of 0.5: nearly all places are background (Lin et al. 2017,
  "Focal loss", §3.3). The first step's gradient is then not that of 10 000 empty places.
* A t_w or t_h above 8 counts as 8 when boxes are decoded: e⁸ anchors are wide enough, and no wild
  prediction becomes infinite.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.anchors import shape_iou
from detlearn.boxes import box_iou, clip_boxes_to_image
from detlearn.machine.distributed import normaliser
from detlearn.matching import BACKGROUND, IGNORED
from detlearn.models.base import Assignment, Detector, pad_targets
from detlearn.models.images import ImageBatcher
from detlearn.nets.darknet import Darknet53, TinyDarknet, conv_bn_leaky
from detlearn.samples import Detections, Target

# Widths and heights in pixels, by k-means on COCO at 416 × 416; finest level first.
ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
TINY_ANCHORS = (
    ((10, 14), (23, 27), (37, 58)),
    ((81, 82), (135, 169), (344, 319)),
)
LARGEST = 8.0  # of t_w and t_h: e⁸ is 2981
PRIOR = 0.01  # the objectness with which every place starts
MAX_CANDIDATES = 1000  # so many candidates of an image go into NMS; there are P · K in all


class YOLOv3Outputs(NamedTuple):
    """What the network predicts.

    Attributes:
        raw: per level (B, A_l·(5 + K), h_l, w_l), finest first.
        anchors: per level (A_l, 2) widths and heights in pixels.
        strides: per level the pixels of a cell.
        sizes: height and width of each image in the batch, without the padding.
    """

    raw: list[Tensor]
    anchors: list[Tensor]
    strides: list[int]
    sizes: list[tuple[int, int]]


# ---- the network ---------------------------------------------------------------------------------


class YOLOv3Neck(nn.Module):
    """Bring what the coarse maps know into the finer ones.

    From the coarsest map down: some convolutions, one more that halves the channels, the result
    enlarged and put in front of the channels of the next finer map. (A feature pyramid adds the
    two; here they lie side by side.)

    Args:
        in_channels: of the backbone's maps, finest first.
        channels: of the maps that come out, finest first. None: no convolutions at this level, the
            map comes out with all channels that were put together.
        num_convs: of every level, odd: 1 × 1 to so many channels and 3 × 3 to twice as many take
            turns, the first and the last are 1 × 1.
        num_levels: how many maps come out, the finest ones; coarser ones then only feed them. All
            by default.

    Attributes:
        out_channels: of the maps that come out, finest first.

    Raises:
        ValueError: if the two lists differ in length, num_convs is even, or none or too many maps
            are to come out.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: Sequence[int | None] = (128, 256, 512),
        num_convs: int = 5,
        num_levels: int | None = None,
    ) -> None:
        super().__init__()
        if len(in_channels) != len(channels):
            raise ValueError(
                f"in_channels has {len(in_channels)} levels, channels {len(channels)}: give one "
                "number for each map of the backbone"
            )
        if num_convs % 2 == 0:
            raise ValueError(f"num_convs is {num_convs}: expected an odd number")
        if num_levels is not None and not 1 <= num_levels <= len(channels):
            raise ValueError(f"num_levels is {num_levels}: expected 1 … {len(channels)}, or None")

        # Built as they run, from the coarsest level down; stored finest first.
        blocks, laterals, out_channels = [], [], []
        for level in reversed(range(len(channels))):
            together = in_channels[level]
            if out_channels:  # something comes from a coarser level
                coarser = out_channels[0]
                laterals.insert(0, conv_bn_leaky(coarser, coarser // 2, kernel_size=1))
                together += coarser // 2

            blocks.insert(0, alternating_convs(together, channels[level], num_convs))
            out_channels.insert(0, channels[level] or together)

        self.blocks = nn.ModuleList(blocks)
        self.laterals = nn.ModuleList(laterals)
        self.out_channels = out_channels[:num_levels]

    def forward(self, x: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Refine the maps.

        Args:
            x: maps (B, C_l, h_l, w_l) by name, finest first.

        Returns:
            Maps (B, out_channels[l], h_l, w_l) by the same names, finest first.
        """
        *finer, coarsest = x.values()
        refined = [self.blocks[-1](coarsest)]

        levels = list(zip(self.blocks, self.laterals, finer))
        for block, lateral, features in reversed(levels):
            # To the exact size of the finer map, which need not be twice as large.
            enlarged = F.interpolate(lateral(refined[0]), size=features.shape[-2:])
            refined.insert(0, block(torch.cat((enlarged, features), dim=1)))

        names = list(x)[: len(self.out_channels)]
        return OrderedDict(zip(names, refined))


def alternating_convs(in_channels: int, channels: int | None, num_convs: int) -> nn.Sequential:
    """Return 1 × 1 to ``channels`` and 3 × 3 to twice as many in turns; nothing for None."""
    layers = []
    if channels is not None:
        layers.append(conv_bn_leaky(in_channels, channels, kernel_size=1))
        for _ in range(num_convs // 2):
            layers.append(conv_bn_leaky(channels, 2 * channels, kernel_size=3))
            layers.append(conv_bn_leaky(2 * channels, channels, kernel_size=1))
    return nn.Sequential(*layers)


class YOLOv3Head(nn.Module):
    """On every level a 3 × 3 convolution, and a 1 × 1 that predicts: no weights are shared.

    Args:
        in_channels: of the maps, finest first.
        channels: of the 3 × 3 convolutions.
        num_classes: K.
        num_anchors: A, on every level.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: Sequence[int],
        num_classes: int,
        num_anchors: int = 3,
    ) -> None:
        super().__init__()
        towers = []
        for before, inside in zip(in_channels, channels, strict=True):
            predict = nn.Conv2d(inside, num_anchors * (5 + num_classes), kernel_size=1)
            set_prior(predict, num_anchors)
            towers.append(nn.Sequential(conv_bn_leaky(before, inside), predict))
        self.towers = nn.ModuleList(towers)

    def forward(self, x: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Predict: maps (B, C_l, h_l, w_l) by name to raw maps (B, A·(5 + K), h_l, w_l)."""
        maps = zip(x.items(), self.towers, strict=True)
        return OrderedDict((name, tower(features)) for (name, features), tower in maps)


def set_prior(predict: nn.Conv2d, num_anchors: int) -> None:
    """Let a head say at first that there is an object with a probability of `PRIOR`."""
    bias = predict.bias.detach().view(num_anchors, -1)  # (A, 5 + K)
    bias[:, 4] = -math.log((1 - PRIOR) / PRIOR)


# ---- from raw numbers to boxes -------------------------------------------------------------------


def decode_grid(raw: Tensor, anchors: Tensor, stride: float) -> tuple[Tensor, Tensor, Tensor]:
    """Turn the predictions of one level into boxes and probabilities (YOLOv3, §2.1).

        b_x = (column + σ(t_x)) · s        b_w = anchor width · exp(t_w)
        b_y = (row + σ(t_y)) · s           b_h = anchor height · exp(t_h)

    The sigmoid keeps a centre in its cell; b_x, b_y, b_w, b_h are centre and size of the box.

    Args:
        raw: (B, A·(5 + K), h, w).
        anchors: (A, 2) widths and heights in pixels.
        stride: s, in pixels.

    Returns:
        Boxes (B, h·w·A, 4) xyxy in pixels, objectness (B, h·w·A) and class scores (B, h·w·A, K),
        both in [0, 1]: row by row, in it column by column, in it anchor by anchor.
    """
    height, width = raw.shape[-2:]
    x = raw.unflatten(1, (len(anchors), -1))  # (B, A, 5 + K, h, w)
    x = x.permute(0, 3, 4, 1, 2)  # (B, h, w, A, 5 + K)

    # Columns and rows of the cells, the same for all anchors of a cell.
    columns = torch.arange(width, device=raw.device)
    rows = torch.arange(height, device=raw.device)
    cells = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # (h, w, 2)

    centres = (cells[:, :, None] + x[..., 0:2].sigmoid()) * stride  # (B, h, w, A, 2)
    sides = anchors * x[..., 2:4].clamp(max=LARGEST).exp()  # (B, h, w, A, 2)
    boxes = torch.cat((centres - sides / 2, centres + sides / 2), dim=-1)  # (B, h, w, A, 4)

    objectness = x[..., 4].flatten(1).sigmoid()  # (B, h·w·A)
    class_scores = x[..., 5:].flatten(1, 3).sigmoid()  # (B, h·w·A, K)
    return boxes.flatten(1, 3), objectness, class_scores


def naive_decode_grid(raw: Tensor, anchors: Tensor, stride: float) -> tuple[Tensor, Tensor, Tensor]:
    """Decode one place after the other: the naive twin of `decode_grid`, to compare it with."""
    batch, channels, height, width = raw.shape
    per_anchor = channels // len(anchors)
    boxes, objectness, class_scores = [], [], []

    for image in range(batch):
        for row in range(height):
            for column in range(width):
                for a, (anchor_width, anchor_height) in enumerate(anchors.tolist()):
                    mine = raw[image, a * per_anchor : (a + 1) * per_anchor, row, column]
                    t_x, t_y, t_w, t_h, t_object, *t_classes = mine.tolist()

                    x = (column + sigmoid(t_x)) * stride
                    y = (row + sigmoid(t_y)) * stride
                    w = anchor_width * math.exp(min(t_w, LARGEST))
                    h = anchor_height * math.exp(min(t_h, LARGEST))

                    boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
                    objectness.append(sigmoid(t_object))
                    class_scores.append([sigmoid(t) for t in t_classes])

    boxes = raw.new_tensor(boxes).view(batch, -1, 4)
    class_scores = raw.new_tensor(class_scores).view(batch, -1, per_anchor - 5)
    return boxes, raw.new_tensor(objectness).view(batch, -1), class_scores


def sigmoid(t: float) -> float:
    """Return 1 / (1 + exp(−t)), for any t."""
    return 0.5 * (1 + math.tanh(t / 2))


def encode_boxes(boxes: Tensor, anchors: Tensor, strides: Tensor) -> Tensor:
    """Say what a place should predict to find a box: the way back from `decode_grid`.

    Args:
        boxes: (M, 4) xyxy in pixels.
        anchors: (M, 4) xyxy, each in the middle of its cell.
        strides: (M,) pixels of its cell.

    Returns:
        (M, 4): where the centre lies in the cell, as shares of its width and height in [0, 1]; and
        the logarithms of box width / anchor width, box height / anchor height.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = (anchors[:, :2] + anchors[:, 2:]) / 2
    shares = (centres - cells) / strides[:, None] + 0.5

    sides = boxes[:, 2:] - boxes[:, :2]
    anchor_sides = anchors[:, 2:] - anchors[:, :2]
    # A centre outside of the image is learnt at the nearest cell, at its edge.
    return torch.cat((shares.clamp(0, 1), (sides / anchor_sides).log()), dim=1)


# ---- who learns what -----------------------------------------------------------------------------


def responsible_places(
    boxes: Tensor,
    anchors: Sequence[Tensor],
    strides: Sequence[int],
    map_sizes: Sequence[tuple[int, int]],
) -> Tensor:
    """Say at which place each object is learnt (YOLOv3, §2.1 and §2.3).

    Of all anchors of all levels the one most like the object in shape learns it, whatever the IoU,
    in the cell that holds the object's centre. So an object is learnt on one level only.

    Args:
        boxes: (..., N, 4) xyxy in pixels.
        anchors: per level (A_l, 2) widths and heights in pixels.
        strides: per level, in pixels.
        map_sizes: per level (h_l, w_l).

    Returns:
        (..., N) int64, which of the P places it is.
    """
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2  # (..., N, 2)
    sides = boxes[..., 2:] - boxes[..., :2]  # (..., N, 2)
    best = shape_iou(sides, torch.cat(list(anchors))).argmax(dim=-1)  # (..., N), first of equals

    # What there is to know of each of the ΣA_l anchors: its number in its level, how many anchors
    # share a cell there, the cells' size, the map's size, and the level's first place.
    table, first_place = [], 0
    for level_anchors, stride, (height, width) in zip(anchors, strides, map_sizes):
        count = len(level_anchors)
        table += [(a, count, stride, height, width, first_place) for a in range(count)]
        first_place += height * width * count
    table = torch.tensor(table, device=boxes.device)[best]  # (..., N, 6)
    number, count, stride, height, width, first_place = table.unbind(dim=-1)  # each (..., N)

    # A centre on the border of the image, or beyond, belongs to the nearest cell.
    column = (centres[..., 0] / stride).long().clamp(min=0).minimum(width - 1)
    row = (centres[..., 1] / stride).long().clamp(min=0).minimum(height - 1)
    return first_place + (row * width + column) * count + number


@torch.no_grad()
def yolov3_targets(
    gt_boxes: Tensor,
    pred_boxes: Tensor,
    anchors: Sequence[Tensor],
    strides: Sequence[int],
    map_sizes: Sequence[tuple[int, int]],
    ignore_threshold: float = 0.7,
) -> Tensor:
    """Say what each place is to learn: an object, that there is none, or nothing (YOLOv3, §2.1).

    An object is learnt at its one responsible place. All other places learn that there is none,
    but for those whose *prediction* overlaps an object by more than the threshold: to punish what
    is nearly right would be wrong, so they learn nothing. Where several objects have the same
    responsible place, it learns the last of them, and the others are learnt nowhere.

    Args:
        gt_boxes: (..., N, 4) xyxy in pixels; N may be 0. Rows without area are no objects, so
            images with fewer can be padded with zeros.
        pred_boxes: (..., P, 4) xyxy in pixels, as predicted.
        anchors: per level (A_l, 2) widths and heights in pixels.
        strides: per level, in pixels.
        map_sizes: per level (h_l, w_l).
        ignore_threshold: 0.7 in Darknet's configuration, 0.5 in the paper.

    Returns:
        (..., P) int64: the object's index, −1 for background, −2 for ignored.
    """
    num_objects = gt_boxes.shape[-2]
    background = torch.full_like(pred_boxes[..., 0], BACKGROUND, dtype=torch.int64)  # (..., P)
    if num_objects == 0:
        return background

    # Whose prediction is good enough to be left in peace.
    best_iou = box_iou(pred_boxes, gt_boxes).amax(dim=-1)  # (..., P)
    assigned = background.masked_fill(best_iou > ignore_threshold, IGNORED)

    # Who learns an object. The highest index at a place stays: the last object there.
    places = responsible_places(gt_boxes, anchors, strides, map_sizes)  # (..., N)
    index = torch.arange(num_objects, device=gt_boxes.device).expand_as(places)
    is_object = (gt_boxes[..., 2:] > gt_boxes[..., :2]).all(dim=-1)  # (..., N)
    index = index.masked_fill(~is_object, IGNORED)  # the lowest number: changes nothing
    return assigned.scatter_reduce(-1, places, index, "amax")


# ---- the detector --------------------------------------------------------------------------------


class YOLOv3(Detector):
    """A grid of anchors on several maps.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first; has ``strides``.
        neck: from these maps to as many or fewer, finest first, such as `YOLOv3Neck`.
        head: from those to raw maps, such as `YOLOv3Head`.
        anchors: per level (width, height) in pixels of the batch, finest level first.
        ignore_threshold: see `yolov3_targets`.
        batcher: see `Detector`.

    Attributes:
        strides: per level the pixels of a cell.

    Raises:
        ValueError: if there are anchors for more levels than the backbone has, or a width or height
            is not positive.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        neck: nn.Module,
        head: nn.Module,
        anchors: Sequence[Sequence[tuple[float, float]]],
        *,
        ignore_threshold: float = 0.7,
        batcher: ImageBatcher | None = None,
    ) -> None:
        # A score is a product of two probabilities, so it is low, and yet often right. On ToyTown
        # (small detector, one run of 640 and one of 1200 steps) AP50 was .816 with detections from
        # .05 on, .835 from .01 on; and .893 from .01 on, .898 from .003 and .899 from .001 on.
        super().__init__(num_classes, batcher, score_threshold=0.001, nms_threshold=0.45)
        if not 1 <= len(anchors) <= len(backbone.strides):
            raise ValueError(
                f"anchors are given for {len(anchors)} levels, the backbone has the strides "
                f"{list(backbone.strides)}: give anchors for its finest levels, one list for each"
            )
        for level in anchors:
            for width, height in level:
                if not (width > 0 and height > 0):
                    raise ValueError(f"anchor {width} × {height}: expected positive numbers")

        self.backbone = backbone
        self.neck = neck
        self.head = head
        # Plain numbers in pixels, as in Darknet. (A buffer would be averaged with the weights.)
        self.anchors = [[tuple(anchor) for anchor in level] for level in anchors]
        self.strides = list(backbone.strides[: len(anchors)])
        self.ignore_threshold = ignore_threshold

    def predict(self, images: Tensor, sizes: list[tuple[int, int]] | None = None) -> YOLOv3Outputs:
        """Run the network: a raw map of each level; see `Detector`."""
        maps = self.head(self.neck(self.backbone(images)))
        # float(): in reduced precision a box could not be told from one half a pixel wider.
        raw = [x.float() for x in maps.values()]

        for x, level in zip(raw, self.anchors, strict=True):
            expected = len(level) * (5 + self.num_classes)
            if x.shape[1] != expected:
                raise ValueError(
                    f"the head predicts {x.shape[1]} numbers in a cell: expected {len(level)} "
                    f"anchors × (5 + {self.num_classes} classes) = {expected}"
                )

        anchors = [x.new_tensor(level) for x, level in zip(raw, self.anchors)]  # (A_l, 2) each
        sizes = sizes or [tuple(images.shape[-2:])] * len(images)
        return YOLOv3Outputs(raw, anchors, self.strides, sizes)

    @torch.no_grad()
    def assign(self, outputs: YOLOv3Outputs, targets: list[Target]) -> Assignment:
        """Say who learns what: `yolov3_targets` for all images at once; see `Detector`."""
        pred_boxes, _, _ = decode_levels(outputs)  # (B, P, 4)
        map_sizes = [tuple(x.shape[-2:]) for x in outputs.raw]
        assigned = yolov3_targets(
            pad_targets(targets, like=pred_boxes).boxes,
            pred_boxes,
            outputs.anchors,
            outputs.strides,
            map_sizes,
            self.ignore_threshold,
        )

        # The places are boxes in the middle of their cells: what a head that says 0 predicts.
        still = outputs._replace(raw=[torch.zeros_like(x[:1]) for x in outputs.raw])
        anchors = decode_levels(still)[0][0]  # (P, 4)
        points = (anchors[:, :2] + anchors[:, 2:]) / 2
        strides = [
            points.new_full((height * width * len(level),), stride)
            for (height, width), level, stride in zip(map_sizes, outputs.anchors, outputs.strides)
        ]
        return Assignment(assigned, points, torch.cat(strides), anchors)

    def compute_loss(self, outputs: YOLOv3Outputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `Detector`.

        Returns:
            ``"xy"``: binary cross-entropy of the centre's place in its cell; ``"wh"``: half the
            squared error of t_w and t_h; ``"objectness"``: binary cross-entropy of all places that
            are not ignored; ``"class"``: that of all K classes of the places that learn an object.
            All are sums, divided by the number of places that learn an object.
        """
        goal = self.assign(outputs, targets)
        predictions = flatten_levels(outputs)  # (B, P, 5 + K)
        learns = goal.assigned >= 0  # (B, P)
        image, place = learns.nonzero(as_tuple=True)  # (M,), (M,)
        count = normaliser(len(image), predictions.device)

        # Is there an object? All places answer but the ignored.
        answers = goal.assigned != IGNORED  # (B, P)
        objectness_loss = F.binary_cross_entropy_with_logits(
            predictions[..., 4][answers], learns[answers].float(), reduction="sum"
        )

        # Where is it, and what is it? Only those answer that learn one.
        found = predictions[image, place]  # (M, 5 + K)
        gt_boxes, gt_labels, _ = pad_targets(targets, like=predictions)  # (B, N, 4), (B, N)
        objects = goal.assigned[image, place]  # (M,)
        gt_boxes, gt_labels = gt_boxes[image, objects], gt_labels[image, objects]
        wanted = encode_boxes(gt_boxes, goal.anchors[place], goal.strides[place])  # (M, 4)

        # A small error matters more in a small box: weight 2 − its share of the image. (A box that
        # reaches over the border can be larger than the image.)
        areas = predictions.new_tensor([height * width for height, width in outputs.sizes])  # (B,)
        shares = (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1) / areas[image]
        weights = (2 - shares.clamp(max=1))[:, None]  # (M, 1)
        xy_loss = F.binary_cross_entropy_with_logits(
            found[:, :2], wanted[:, :2], weights, reduction="sum"
        )
        wh_loss = (weights * (found[:, 2:4] - wanted[:, 2:]).square()).sum() / 2

        # One yes-or-no question for each class.
        labels = F.one_hot(gt_labels, self.num_classes).float()  # (M, K)
        class_loss = F.binary_cross_entropy_with_logits(found[:, 5:], labels, reduction="sum")

        return {
            "xy": xy_loss / count,
            "wh": wh_loss / count,
            "objectness": objectness_loss / count,
            "class": class_loss / count,
        }

    def decode(self, outputs: YOLOv3Outputs) -> list[Detections]:
        """Turn outputs into detections: the score is objectness × class score; see `Detector`."""
        boxes, objectness, class_scores = decode_levels(outputs)
        scores = objectness[..., None] * class_scores  # (B, P, K)

        detections = []
        for image_boxes, image_scores, size in zip(boxes, scores, outputs.sizes):
            image_boxes = clip_boxes_to_image(image_boxes, size)
            detections.append(
                self.select_detections(image_boxes, image_scores, max_candidates=MAX_CANDIDATES)
            )
        return detections


def decode_levels(outputs: YOLOv3Outputs) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `decode_grid` makes of all levels: (B, P, 4), (B, P) and (B, P, K)."""
    levels = zip(outputs.raw, outputs.anchors, outputs.strides)
    boxes, objectness, class_scores = zip(*(decode_grid(*level) for level in levels))
    return torch.cat(boxes, dim=1), torch.cat(objectness, dim=1), torch.cat(class_scores, dim=1)


def flatten_levels(outputs: YOLOv3Outputs) -> Tensor:
    """Return the raw numbers of all places, in the order of `decode_levels`: (B, P, 5 + K)."""
    levels = []
    for raw, anchors in zip(outputs.raw, outputs.anchors):
        x = raw.unflatten(1, (len(anchors), -1))  # (B, A, 5 + K, h, w)
        levels.append(x.permute(0, 3, 4, 1, 2).flatten(1, 3))  # (B, h·w·A, 5 + K)
    return torch.cat(levels, dim=1)


# ---- builders ------------------------------------------------------------------------------------


def yolov3_darknet53(num_classes: int = 80, *, size: int = 416) -> YOLOv3:
    """YOLOv3 with Darknet-53: 62.0 million parameters for COCO.

    Args:
        num_classes: K; 80 for COCO.
        size: images are squashed to so many pixels in square; a multiple of 32.

    Returns:
        The detector with random weights; `detlearn.pretrained.load_darknet` reads published ones.
    """
    backbone = Darknet53()
    neck = YOLOv3Neck(backbone.out_channels, channels=(128, 256, 512))
    head = YOLOv3Head(neck.out_channels, channels=(256, 512, 1024), num_classes=num_classes)
    batcher = darknet_batcher((size, size))
    return YOLOv3(num_classes, backbone, neck, head, ANCHORS, batcher=batcher)


def yolov3_tiny(num_classes: int = 80, *, size: int = 416) -> YOLOv3:
    """YOLOv3-tiny: two levels, 8.8 million parameters for COCO.

    Args:
        num_classes, size: see `yolov3_darknet53`.

    Returns:
        The detector with random weights; `detlearn.pretrained.load_darknet` reads published ones.
    """
    backbone = TinyDarknet()
    neck = YOLOv3Neck(backbone.out_channels, channels=(None, 256), num_convs=1)
    head = YOLOv3Head(neck.out_channels, channels=(256, 512), num_classes=num_classes)
    batcher = darknet_batcher((size, size))
    return YOLOv3(num_classes, backbone, neck, head, TINY_ANCHORS, batcher=batcher)


def darknet_batcher(size: tuple[int, int]) -> ImageBatcher:
    """Return a batcher that squashes images to (height, width) and leaves their colours alone."""
    return ImageBatcher(fixed_size=size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
