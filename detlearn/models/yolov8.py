"""The modern YOLO head: no anchors, no objectness, and every location earns what it learns.

Each location of a pyramid's maps predicts K scores and its distances to the four sides of a box.
Who learns which object is not laid down by place or size: the locations that already do best at it,
in score and in overlap together, go on to learn it (task-aligned assignment). A distance is
predicted as a distribution over bins, whose mean it is (distribution focal loss).

A second head can stand beside the first: there each object is learnt at one location alone, so that
no duplicates arise and detecting needs no NMS. Its features are the first head's, through which it
sends no gradient back: that one, with ten locations for each object, teaches the backbone.

Shapes: B images; K classes; N objects; P locations, level after level, finest first, row by row;
R bins for each of the 4 sides; M pairs of a location and the object that it learns. Boxes are xyxy
in pixels of the padded batch, distances are to the left, top, right and bottom side.

Names: ``gt_*`` are annotations, ``pred_*`` predictions, ``*_logits`` come before a sigmoid or a
softmax.

Sources: distances as distributions from "Generalized Focal Loss" (Li et al. 2020, arXiv 2006.04388,
§3.2); the assignment from TOOD (Feng et al. 2021, arXiv 2108.07755, §3.2); the second head from
YOLOv10 (Wang et al. 2024, arXiv 2405.14458, §3.1). YOLOv8 itself has no paper: its head is two
towers at each level, its loss the sum of the three terms below.

Where we differ from the papers: α = 0.5 and the best 10 locations as in YOLOv8 (TOOD: 1 and 13);
16 bins (Li et al.: 17). The target of the classes is TOOD's, learnt by plain cross-entropy as in
YOLOv8, without the focal weight of TOOD and GFL.

Where we differ from YOLOv8's published code:

* the loss is not multiplied by the batch size, which would only scale the gradient;
* alignment measures IoU, as TOOD does, where the code takes CIoU;
* an object needs a location inside it. Later versions of the code enlarge tiny objects until they
  have one: here that is ``smallest``, which the small detector of chapter 3 uses;
* every class starts at the same score at every level, whatever the size of its map;
* ReLU instead of SiLU; backbone and pyramid are the caller's, where the code has its own, with a
  second pyramid that leads up again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.boxes import box_iou, clip_boxes_to_image
from detlearn.losses import ciou_loss, distribution_focal_loss
from detlearn.machine.distributed import normaliser
from detlearn.models.base import Detector, pad_targets
from detlearn.models.images import ImageBatcher
from detlearn.models.point import grid_points
from detlearn.nets.small import conv_bn_relu
from detlearn.samples import Detections, Target

# The heads, and how many locations an object has in each.
TOP_K = {"one_to_many": 10, "one_to_one": 1}
# How much each term counts.
CLASS_WEIGHT, BOX_WEIGHT, DISTRIBUTION_WEIGHT = 0.5, 7.5, 1.5
# The score with which every class starts: almost all locations are background.
PRIOR = 0.01
# Scores learn to be as high as the overlap, so those of small objects are low, and yet often right:
# after one training on ToyTown AP50 was .866 with detections from 0.05 on, .882 from here on.
SCORE_THRESHOLD = 0.001
# So many candidates of an image go into NMS; there are P · K of them in all.
MAX_CANDIDATES = 1000


class HeadOutputs(NamedTuple):
    """What one head says of a batch.

    Attributes:
        class_logits: (B, P, K).
        distance_logits: (B, P, 4, R), of the bins; see `expected_distances`.
        boxes: (B, P, 4) xyxy in pixels of the batch, without gradient: most locations learn no box,
            so the loss makes those of the few that do anew.
    """

    class_logits: Tensor
    distance_logits: Tensor
    boxes: Tensor


class YOLOv8Outputs(NamedTuple):
    """What the network predicts.

    Attributes:
        heads: by name, "one_to_many" or "one_to_one" or both, what it says.
        points: (P, 2) where the locations stand, x and y in pixels.
        strides: (P,) pixels from one location to the next.
        sizes: height and width of each image in the batch, without the padding.
    """

    heads: dict[str, HeadOutputs]
    points: Tensor
    strides: Tensor
    sizes: list[tuple[int, int]]


class TaskAlignedTargets(NamedTuple):
    """Which object each location learns, and how high a score it is to give it.

    Attributes:
        assigned: (B, P) int64, the index of the object in its image, or −1 for none.
        weights: (B, P) in [0, 1], the score for the object's class, 0 where there is none.
        points: (P, 2) where the locations stand, x and y in pixels.
        strides: (P,) pixels from one location to the next.
        anchors: None, since the boxes start from points.
    """

    assigned: Tensor
    weights: Tensor
    points: Tensor
    strides: Tensor
    anchors: None = None


# ---- distances -----------------------------------------------------------------------------------


def expected_distances(logits: Tensor) -> Tensor:
    """Return the distances for which the logits stand.

    Bin i stands for i strides. The distance is the mean of the softmax over the bins, so it may lie
    between them, but never beyond the last. A single bin holds the distance's logarithm.

    Args:
        logits: (..., R).

    Returns:
        (...), at least 0, in strides.
    """
    num_bins = logits.shape[-1]
    if num_bins == 1:
        # exp(8) strides are 12 000 pixels: no wild prediction becomes infinite.
        return logits[..., 0].clamp(max=8).exp()

    bins = torch.arange(num_bins, dtype=logits.dtype, device=logits.device)  # (R,)
    return logits.softmax(dim=-1) @ bins


def decode_boxes(logits: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Return the boxes whose sides lie as far from the locations as the logits say.

    Args:
        logits: (..., P, 4, R), to the left, top, right and bottom.
        points: (P, 2) x and y in pixels.
        strides: (P,) pixels.

    Returns:
        (..., P, 4) xyxy in pixels.
    """
    distances = expected_distances(logits) * strides[:, None]  # (..., P, 4) in pixels
    left_top, right_bottom = distances.split(2, dim=-1)  # (..., P, 2) twice
    return torch.cat((points - left_top, points + right_bottom), dim=-1)


def boxes_to_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """Return how far the sides of boxes (..., 4) lie from points (..., 2); negative outside."""
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), dim=-1)


# ---- who learns what -----------------------------------------------------------------------------


@torch.no_grad()
def task_aligned_assign(
    class_scores: Tensor,
    pred_boxes: Tensor,
    points: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    *,
    topk: int = 10,
    alpha: float = 0.5,
    beta: float = 6.0,
    smallest: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Say which object each location learns, by how well it does already (TOOD, §3.2).

    An object claims locations by their alignment with it,

        t = p^alpha · IoU^beta,

    p the score that the location gives the object's class, IoU that of its box with the object. It
    claims the `topk` locations of the highest alignment among those that lie inside it (not on its
    border) and whose alignment is above 0; of equal ones the first. Where several objects claim a
    location, the one of the highest IoU has it, of equal ones the first. So an object may end with
    fewer locations, or with none.

    The score that a location is to learn for its object's class is its alignment, scaled for each
    object such that the highest among the object's own locations becomes their highest IoU:

        t / max t · max IoU

    Args:
        class_scores: (B, P, K) in [0, 1].
        pred_boxes: (B, P, 4) xyxy in pixels.
        points: (P, 2) where the locations stand, x and y above 0.
        gt_boxes: (B, N, 4) xyxy in pixels; images with fewer objects are padded with boxes of
            zeros, which no prediction overlaps. N may be 0.
        gt_labels: (B, N) int64 in 0 … K−1, of padding any of them.
        topk: locations for each object.
        alpha: exponent of the score.
        beta: exponent of the IoU.
        smallest: pixels. When it is asked which locations lie inside, an object counts as at least
            so wide and so high, about its centre. 0 takes it as it is.

    Returns:
        assigned: (B, P) int64, the index of the object in its image, or −1 for none.
        target_scores: (B, P) in [0, 1], for the object's class; 0 where there is no object.
    """
    batch_size, num_objects = gt_labels.shape
    if num_objects == 0:
        nothing = class_scores.new_zeros(class_scores.shape[:2])  # (B, P)
        return torch.full_like(nothing, -1, dtype=torch.int64), nothing

    # How well each location does for each object.
    image = torch.arange(batch_size, device=gt_labels.device)[:, None]  # (B, 1)
    score = class_scores.transpose(1, 2)[image, gt_labels]  # (B, K, P) -> (B, N, P)
    iou = box_iou(gt_boxes, pred_boxes)  # (B, N, P)
    claim = grow_boxes(gt_boxes, smallest)[:, :, None]  # (B, N, 1, 4)
    inside = (boxes_to_distances(points, claim) > 0).all(dim=-1)  # (B, N, P)
    alignment = score**alpha * iou**beta * inside

    # Each object claims its best locations, and each location goes to the object it covers best.
    claimed = highest(alignment, topk)
    iou = iou.masked_fill(~claimed, -1)
    best_iou, assigned = iou.max(dim=1)  # (B, P) twice
    assigned = assigned.masked_fill(best_iou < 0, -1)

    # The target, from the locations that an object got in the end.
    objects = torch.arange(num_objects, device=gt_labels.device)[:, None]  # (N, 1)
    mine = assigned[:, None] == objects  # (B, N, P)
    alignment = alignment * mine
    best_alignment = alignment.amax(dim=-1, keepdim=True)  # (B, N, 1)
    best_iou = (iou * mine).amax(dim=-1, keepdim=True)  # (B, N, 1)
    share = alignment / best_alignment.masked_fill(best_alignment == 0, 1)
    return assigned, (share * best_iou).sum(dim=1)


def grow_boxes(boxes: Tensor, smallest: float) -> Tensor:
    """Return boxes (..., 4) at least so wide and so high, about their centres."""
    sides = boxes[..., 2:] - boxes[..., :2]
    missing = (smallest - sides).clamp(min=0) / 2  # on either side
    return torch.cat((boxes[..., :2] - missing, boxes[..., 2:] + missing), dim=-1)


def highest(values: Tensor, k: int) -> Tensor:
    """Return which are the k highest of each row, (..., P) bool: of equal ones the first, no 0."""
    kth = values.topk(min(k, values.shape[-1])).values[..., -1:]  # (..., 1)
    above = values > kth
    equal = values == kth

    # Those equal to the k-th share the places that are left, the first ones first.
    places = k - above.sum(dim=-1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=-1) <= places))
    return chosen & (values > 0)


# ---- the network ---------------------------------------------------------------------------------


class YOLOv8Head(nn.Module):
    """A tower for the classes and one for the distances, at each level its own.

    Args:
        in_channels: channels of each level's map.
        num_classes: K.
        num_bins: R; 1 for distances without a distribution.
        class_channels: of the tower for the classes.
        box_channels: of the tower for the distances.
        depth: 3 × 3 convolutions of each tower.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        num_bins: int = 16,
        class_channels: int = 64,
        box_channels: int = 64,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.num_bins = num_bins
        self.class_towers = nn.ModuleList(
            _tower(channels, class_channels, num_classes, depth) for channels in in_channels
        )
        self.box_towers = nn.ModuleList(
            _tower(channels, box_channels, 4 * num_bins, depth) for channels in in_channels
        )

        # Almost every location is background: start there (focal loss, Lin et al. 2017, §3.3).
        for tower in self.class_towers:
            nn.init.constant_(tower[-1].bias, math.log(PRIOR / (1 - PRIOR)))

        # A first guess of three strides from side to side. Bins that are all alike would begin with
        # fifteen, far too large for most objects and hardly aligned with any.
        guess = math.log(1.5) if num_bins == 1 else -0.5 * torch.arange(num_bins).repeat(4)
        for tower in self.box_towers:
            tower[-1].bias.data[:] = guess

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Predict.

        Args:
            maps: L maps (B, C_l, h_l, w_l), finest first.

        Returns:
            Logits of the classes (B, P, K) and of the distances (B, P, 4, R).
        """
        classes, distances = [], []
        for x, class_tower, box_tower in zip(maps, self.class_towers, self.box_towers):
            classes.append(class_tower(x).permute(0, 2, 3, 1).flatten(1, 2))  # (B, h·w, K)
            distances.append(box_tower(x).permute(0, 2, 3, 1).flatten(1, 2))  # (B, h·w, 4·R)

        # float(): in reduced precision a box could not be told from one half a pixel wider.
        class_logits = torch.cat(classes, dim=1).float()  # (B, P, K)
        distance_logits = torch.cat(distances, dim=1).float()  # (B, P, 4·R)
        return class_logits, distance_logits.unflatten(-1, (4, self.num_bins))


def _tower(in_channels: int, channels: int, out_channels: int, depth: int) -> nn.Sequential:
    convolutions = [
        conv_bn_relu(in_channels if i == 0 else channels, channels) for i in range(depth)
    ]
    return nn.Sequential(*convolutions, nn.Conv2d(channels, out_channels, 1))


class YOLOv8(Detector):
    """A pyramid, and one head or two.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first, with ``out_channels`` and
            ``strides``: a pyramid.
        heads: which there are: "one_to_many", "one_to_one" or both. With both, the one-to-one head
            learns from the other's features without changing them.
        num_bins, class_channels, box_channels, depth: see `YOLOv8Head`.
        detached: whether the one-to-one head beside the other leaves the backbone alone.
        topk: locations of an object in the one-to-many head.
        smallest: pixels; see `task_aligned_assign`.
        class_weight: how much the classes' term counts.
        batcher: see `Detector`.

    Attributes:
        heads: the modules by these names. One that detecting does not use may be deleted after
            training: ``del model.heads["one_to_many"]``.
        detects_with: the head whose detections `decode` returns: "one_to_many", then with NMS; or
            "one_to_one", then without. The second if there is one.

    Raises:
        ValueError: for no head or an unknown one.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        *,
        heads: Sequence[str] = ("one_to_many",),
        num_bins: int = 16,
        class_channels: int = 64,
        box_channels: int = 64,
        depth: int = 2,
        detached: bool = True,
        topk: int = TOP_K["one_to_many"],
        smallest: float = 0.0,
        class_weight: float = CLASS_WEIGHT,
        batcher: ImageBatcher | None = None,
    ) -> None:
        super().__init__(num_classes, batcher, score_threshold=SCORE_THRESHOLD)
        if not heads or not set(heads) <= set(TOP_K):
            raise ValueError(f"heads are {heads}: expected one or both of {', '.join(TOP_K)}")

        self.backbone = backbone
        self.heads = nn.ModuleDict()
        for name in TOP_K:
            if name in heads:
                self.heads[name] = YOLOv8Head(
                    backbone.out_channels,
                    num_classes,
                    num_bins=num_bins,
                    class_channels=class_channels,
                    box_channels=box_channels,
                    depth=depth,
                )
        self.detects_with = list(self.heads)[-1]

        self.detached = detached and len(self.heads) == 2
        self.topk = {**TOP_K, "one_to_many": topk}
        self.smallest = smallest
        self.class_weight = class_weight

    def predict(self, images: Tensor, sizes: list[tuple[int, int]] | None = None) -> YOLOv8Outputs:
        """Run the network: class logits, distances and boxes of all locations; see `Detector`."""
        maps = list(self.backbone(images).values())
        points, strides = pyramid_points(maps, self.backbone.strides)

        outputs = {}
        for name, head in self.heads.items():
            # The one-to-one head is taught by one location an object: too little to teach the
            # backbone well, so where the other head does that, this one leaves it alone.
            if name == "one_to_one" and self.detached:
                maps = [x.detach() for x in maps]

            class_logits, distance_logits = head(maps)  # (B, P, K), (B, P, 4, R)
            boxes = decode_boxes(distance_logits.detach(), points, strides)  # (B, P, 4)
            outputs[name] = HeadOutputs(class_logits, distance_logits, boxes)

        sizes = sizes or [tuple(images.shape[-2:])] * len(images)
        return YOLOv8Outputs(outputs, points, strides, sizes)

    def assign(
        self, outputs: YOLOv8Outputs, targets: list[Target], head: str | None = None
    ) -> TaskAlignedTargets:
        """Say who learns what: `task_aligned_assign` with the metric that both heads share.

        Args:
            outputs: from `predict`.
            targets: one ``{"boxes": (n, 4), "labels": (n,)}`` for each image.
            head: for which head; the first there is by default.

        Returns:
            Objects and scores of all locations.

        Raises:
            ValueError: if there is no such head.
        """
        head = head or next(iter(outputs.heads))
        predictions = choose_head(outputs, head)
        gt_boxes, gt_labels, _ = pad_targets(targets, like=predictions.boxes)

        assigned, target_scores = task_aligned_assign(
            predictions.class_logits.sigmoid(),
            predictions.boxes,
            outputs.points,
            gt_boxes,
            gt_labels,
            topk=self.topk[head],
            smallest=self.smallest,
        )
        return TaskAlignedTargets(assigned, target_scores, outputs.points, outputs.strides)

    def compute_loss(self, outputs: YOLOv8Outputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `Detector`.

        Returns:
            The terms of `head_loss`, those of a one-to-one head beside the other with its name
            before them.
        """
        losses = {}
        for i, (name, predictions) in enumerate(outputs.heads.items()):
            goal = self.assign(outputs, targets, name)
            terms = head_loss(predictions, goal, targets, class_weight=self.class_weight)
            for term, loss in terms.items():
                losses[term if i == 0 else f"{name}_{term}"] = loss
        return losses

    def decode(self, outputs: YOLOv8Outputs) -> list[Detections]:
        """Turn outputs of the head `detects_with` into detections; see `Detector`.

        Raises:
            ValueError: if there is no such head.
        """
        predictions = choose_head(outputs, self.detects_with)
        scores = predictions.class_logits.sigmoid()  # (B, P, K)

        detections = []
        for boxes, image_scores, size in zip(predictions.boxes, scores, outputs.sizes):
            boxes = clip_boxes_to_image(boxes, size)
            detections.append(
                self.select_detections(
                    boxes,
                    image_scores,
                    max_candidates=MAX_CANDIDATES,
                    nms=self.detects_with == "one_to_many",
                )
            )
        return detections


def choose_head(outputs: YOLOv8Outputs, name: str) -> HeadOutputs:
    """Return what the head of this name said, or say which there are."""
    if name not in outputs.heads:
        known = ", ".join(outputs.heads)
        raise ValueError(f"no head called {name!r}; this detector has: {known}")
    return outputs.heads[name]


def pyramid_points(maps: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return where the locations of all levels stand, and their strides.

    Args:
        maps: L maps (B, C_l, h_l, w_l), finest first.
        strides: pixels from one location to the next, of each level.

    Returns:
        (P, 2) x and y in pixels, and (P,).
    """
    points, steps = [], []
    for x, stride in zip(maps, strides):
        level = grid_points(*x.shape[-2:], stride, x.device).flatten(0, 1)  # (h·w, 2)
        points.append(level)
        steps.append(level.new_full((len(level),), stride))
    return torch.cat(points), torch.cat(steps)


def head_loss(
    predictions: HeadOutputs,
    goal: TaskAlignedTargets,
    targets: list[Target],
    *,
    class_weight: float = CLASS_WEIGHT,
) -> dict[str, Tensor]:
    """Compare what one head says with what it is to learn.

    Each term is divided by the sum of all target scores, by which the last two are also weighted:
    a location that is to be sure of its object has more to say about its box.

    Args:
        predictions: of the head.
        goal: objects and scores of its locations.
        targets: one ``{"boxes": (n, 4), "labels": (n,)}`` for each image.
        class_weight: how much the first term counts.

    Returns:
        ``"class"``: cross-entropy of all locations and classes with the target scores; ``"box"``:
        CIoU loss of the locations that learn an object; ``"distribution"``: distribution focal loss
        of these, the mean over the four sides; not there where distances have no distribution.
    """
    gt_boxes, gt_labels, _ = pad_targets(targets, like=predictions.boxes)  # (B, N, 4), (B, N)
    image, location = (goal.assigned >= 0).nonzero(as_tuple=True)  # (M,) twice
    learnt = goal.assigned[image, location]  # (M,)
    weights = goal.weights[image, location]  # (M,)
    total = normaliser(weights.sum(), weights.device)

    # What is it? All locations answer, for all classes.
    target_scores = torch.zeros_like(predictions.class_logits)  # (B, P, K)
    target_scores[image, location, gt_labels[image, learnt]] = weights
    class_loss = F.binary_cross_entropy_with_logits(
        predictions.class_logits, target_scores, reduction="sum"
    )

    # Where does it end? Those that learn an object answer.
    wanted = gt_boxes[image, learnt]  # (M, 4)
    logits = predictions.distance_logits[image, location]  # (M, 4, R)
    pred_boxes = decode_boxes(logits, goal.points[location], goal.strides[location])  # (M, 4)
    box_loss = ciou_loss(pred_boxes, wanted)  # (M,)
    losses = {
        "class": class_weight * class_loss / total,
        "box": BOX_WEIGHT * (weights * box_loss).sum() / total,
    }

    # And how sure is it of each side?
    if logits.shape[-1] > 1:
        distances = boxes_to_distances(goal.points[location], wanted)  # (M, 4) in pixels
        distances = distances / goal.strides[location, None]  # in strides, as the bins
        loss = distribution_focal_loss(logits, distances).mean(dim=-1)  # (M,)
        losses["distribution"] = DISTRIBUTION_WEIGHT * (weights * loss).sum() / total

    return losses
