"""The region proposal network: from anchors to a few hundred boxes that may hold an object.

A 3 × 3 convolution looks at every location of a feature map; two 1 × 1 convolutions say of each of
its A anchors whether it is on an object, and how to move it there. The best boxes, without near
copies, are the proposals that the second stage looks at.

Shapes: B images; L levels with H_l × W_l locations and A anchors at each; P = Σ H_l·W_l·A anchors
in all, level after level, row by row, and at each location in the anchor generator's order. Boxes
are xyxy in pixels of the padded batch.

Names: ``objectness`` are logits (before the sigmoid), ``deltas`` as in `detlearn.coders`.

Source: Ren et al. 2015, "Faster R-CNN" (arXiv 1506.01497), §3.1; over a pyramid: Lin et al. 2017
(arXiv 1612.03144), §4.1. The numbers are torchvision's unless said otherwise.

Where we differ from the paper: one sigmoid per anchor instead of a softmax over two classes;
anchors that cross the image's border are trained like others. Where we differ from torchvision,
unless it is built with ``torchvision_conventions``: anchors stand in the middle of their cell and
are not rounded; a level's stride is the backbone's, where torchvision divides the batch's size by
the map's, which gives 61 instead of 64 for 13 rows of 800 pixels. And always: an object that no
anchor touches makes no anchor positive (see `detlearn.matching`); only the best boxes before NMS
are decoded, not all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.anchors import AnchorGenerator
from detlearn.boxes import box_iou
from detlearn.coders import BoxCoder, decode_deltas
from detlearn.machine.distributed import normaliser
from detlearn.matching import BalancedPositiveNegativeSampler, Matcher
from detlearn.models.base import pad_targets
from detlearn.nms import batched_nms, nms
from detlearn.samples import Target

FeatureMaps = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


class RPNOutputs(NamedTuple):
    """What the first stage says of a batch.

    Attributes:
        objectness: (B, P) logits.
        deltas: (B, P, 4).
        anchors: (P, 4).
        level_sizes: how many of the P anchors belong to each level, finest first.
        proposals: per image (n, 4), best first, without gradient.
    """

    objectness: Tensor
    deltas: Tensor
    anchors: Tensor
    level_sizes: list[int]
    proposals: list[Tensor]


def flatten_predictions(scores: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
    """Bring the outputs of one level into the order of the anchors.

    A convolution puts what it says of a location into the channels; anchors lie row by row, column
    by column, and at each location one after the other. So the channels go last before anything is
    flattened. Anchor a has channel a of the scores and channels 4a … 4a + 3 of the deltas.

    Args:
        scores: (B, A, h, w).
        deltas: (B, A·4, h, w).

    Returns:
        (B, h·w·A) and (B, h·w·A, 4).

    Raises:
        TypeError: for what is no tensor.
        ValueError: if the two are not of one map, or the deltas are not four for each score.
    """
    _check_maps(scores, deltas)
    scores = scores.permute(0, 2, 3, 1)  # (B, h, w, A)
    deltas = deltas.permute(0, 2, 3, 1)  # (B, h, w, A·4)
    return scores.flatten(1), deltas.flatten(1).unflatten(1, (-1, 4))


class RPNHead(nn.Module):
    """Objectness and deltas of A anchors per location; the same weights at every level.

    Args:
        in_channels: C of the maps.
        num_anchors: A.
        conv_depth: 3 × 3 convolutions, each followed by ReLU.
    """

    def __init__(self, in_channels: int, num_anchors: int, conv_depth: int = 1) -> None:
        super().__init__()
        self.conv = nn.ModuleList(
            nn.Conv2d(in_channels, in_channels, 3, padding=1) for _ in range(conv_depth)
        )
        self.cls_logits = nn.Conv2d(in_channels, num_anchors, 1)
        self.bbox_pred = nn.Conv2d(in_channels, num_anchors * 4, 1)
        for conv in (*self.conv, self.cls_logits, self.bbox_pred):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Predict.

        Args:
            maps: L maps (B, C, H_l, W_l).

        Returns:
            Objectness (B, P) and deltas (B, P, 4), in the order of the anchors.
        """
        objectness, deltas = [], []
        for x in maps:
            for conv in self.conv:
                x = F.relu(conv(x), inplace=True)

            logits, moves = flatten_predictions(self.cls_logits(x), self.bbox_pred(x))
            objectness.append(logits)  # (B, H·W·A)
            deltas.append(moves)  # (B, H·W·A, 4)

        # float(): in reduced precision a box could not be told from one half a pixel wider.
        return torch.cat(objectness, dim=1).float(), torch.cat(deltas, dim=1).float()


class RegionProposalNetwork(nn.Module):
    """Proposes regions that may hold an object, whatever its class.

    Args:
        in_channels: C, channels of every feature map.
        anchor_sizes: sizes in pixels: plain numbers are all used at every level, else one tuple
            per level, each with the same number of sizes.
        aspect_ratios: height / width of the anchors, at every level.
        strides: pixels per cell of each level: the backbone's. By default the one of the paper.
        conv_depth: 3 × 3 convolutions of the head.
        pre_nms_top_n: boxes per image and level that go into NMS, in training and in eval mode.
        post_nms_top_n: proposals per image, in training and in eval mode.
        nms_threshold: IoU above which the lower-scoring of two proposals of a level is dropped.
        min_size: proposals narrower or lower than this many pixels are dropped.
        fg_iou_threshold: an anchor with at least this IoU with an object learns it …
        bg_iou_threshold: … and one with less than this IoU with all objects learns background.
        batch_size_per_image: anchors in the loss, per image …
        positive_fraction: … and the largest share of positives among them.
        torchvision_conventions: anchors where torchvision has them, for weights that were trained
            there: at the corner of their cell, rounded, with strides inferred from the sizes.

    Raises:
        ValueError: if the levels have different numbers of sizes, or are not as many as strides.
    """

    def __init__(
        self,
        in_channels: int,
        anchor_sizes: Sequence[float] | Sequence[Sequence[float]] = (128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        *,
        strides: Sequence[int] = (16,),
        conv_depth: int = 1,
        pre_nms_top_n: tuple[int, int] = (2000, 1000),
        post_nms_top_n: tuple[int, int] = (2000, 1000),
        nms_threshold: float = 0.7,
        min_size: float = 1e-3,
        fg_iou_threshold: float = 0.7,
        bg_iou_threshold: float = 0.3,
        batch_size_per_image: int = 256,
        positive_fraction: float = 0.5,
        torchvision_conventions: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(anchor_sizes[0], Sequence):
            anchor_sizes = [anchor_sizes] * len(strides)
        if len({len(sizes) for sizes in anchor_sizes}) != 1:
            raise ValueError(
                f"anchor_sizes are {anchor_sizes}: the head has the same weights at every level, "
                "so give as many sizes at each"
            )
        if len(anchor_sizes) != len(strides):
            raise ValueError(
                f"anchor_sizes are given for {len(anchor_sizes)} levels, but strides are "
                f"{list(strides)}: give the backbone's strides, one for each level"
            )

        self.strides = list(strides)
        self.torchvision_conventions = torchvision_conventions
        self.anchor_generator = AnchorGenerator(
            anchor_sizes,
            [aspect_ratios] * len(anchor_sizes),
            round_anchors=torchvision_conventions,
            centre_offset=0.0 if torchvision_conventions else 0.5,
        )
        num_anchors = len(anchor_sizes[0]) * len(aspect_ratios)
        self.head = RPNHead(in_channels, num_anchors, conv_depth)

        self.pre_nms_top_n = pre_nms_top_n
        self.post_nms_top_n = post_nms_top_n
        self.nms_threshold = nms_threshold
        self.min_size = min_size

        self.box_coder = BoxCoder()
        self.matcher = Matcher(fg_iou_threshold, bg_iou_threshold, allow_low_quality_matches=True)
        self.sampler = BalancedPositiveNegativeSampler(batch_size_per_image, positive_fraction)

    def forward(
        self,
        features: FeatureMaps,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        padded_size: tuple[int, int] | None = None,
    ) -> RPNOutputs:
        """Predict for every anchor, and propose.

        Args:
            features: one map (B, C, H, W), or a pyramid of them as a list or dict, finest first.
            image_sizes: (height, width) in pixels of each image, without padding; by default that
                of the padded batch.
            padded_size: (height, width) in pixels of the padded batch; by default what the finest
                map covers.

        Returns:
            The predictions, the anchors and the proposals.

        Raises:
            ValueError: if the number of maps is not that of the strides.
        """
        maps = _as_list(features)
        if padded_size is None:
            height, width = maps[0].shape[-2:]
            padded_size = (height * self.strides[0], width * self.strides[0])
        if image_sizes is None:
            image_sizes = [padded_size] * len(maps[0])

        levels = self.anchors(maps, padded_size)
        level_sizes = [len(level) for level in levels]
        anchors = torch.cat(levels)  # (P, 4)

        objectness, deltas = self.head(maps)  # (B, P), (B, P, 4)
        proposals = self.propose(objectness, deltas, anchors, level_sizes, image_sizes)
        return RPNOutputs(objectness, deltas, anchors, level_sizes, proposals)

    def anchors(
        self, features: FeatureMaps, padded_size: tuple[int, int] | None = None
    ) -> list[Tensor]:
        """Make the anchors of feature maps.

        Args:
            features: one map (B, C, H, W), or a pyramid of L, finest first.
            padded_size: (height, width) in pixels of the padded batch, from which torchvision's
                conventions infer the strides.

        Returns:
            Per level (H_l·W_l·A, 4).

        Raises:
            ValueError: if the number of maps is not that of the strides.
        """
        maps = _as_list(features)
        if len(maps) != len(self.strides):
            raise ValueError(
                f"{len(maps)} feature maps, but strides {self.strides}: one for each is needed"
            )

        grid_sizes = [tuple(x.shape[-2:]) for x in maps]
        strides = [(stride, stride) for stride in self.strides]
        if self.torchvision_conventions and padded_size is not None:
            strides = [(padded_size[0] // h, padded_size[1] // w) for h, w in grid_sizes]

        return self.anchor_generator.grid_anchors(grid_sizes, strides, maps[0].device)

    @torch.no_grad()
    def propose(
        self,
        objectness: Tensor,
        deltas: Tensor,
        anchors: Tensor,
        level_sizes: Sequence[int],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Tensor]:
        """Turn predictions into proposals.

        Per image and level the boxes of highest objectness; clipped to the image, the small ones
        removed; NMS within each level; then the best over all levels. All images and levels at
        once; the function `propose` below does one after the other.

        Args:
            objectness: (B, P).
            deltas: (B, P, 4).
            anchors: (P, 4).
            level_sizes: number of anchors of each level.
            image_sizes: (height, width) of each image in pixels, without padding.

        Returns:
            Per image (n, 4), best first; n is at most ``post_nms_top_n``.
        """
        pre_nms_top_n = self.pre_nms_top_n[0 if self.training else 1]
        post_nms_top_n = self.post_nms_top_n[0 if self.training else 1]

        # 1. The boxes of highest objectness of each level: their places among all P, and the level.
        best, level = [], []
        first = 0
        for i, logits in enumerate(objectness.split(list(level_sizes), dim=1)):
            count = min(pre_nms_top_n, logits.shape[1])
            places = logits.topk(count, dim=1).indices + first  # (B, count)
            best.append(places)
            level.append(torch.full_like(places, i))
            first += logits.shape[1]
        best = torch.cat(best, dim=1)  # (B, n)
        level = torch.cat(level, dim=1)  # (B, n)

        # 2. Moved and stretched as predicted.
        scores = objectness.gather(1, best)  # (B, n)
        deltas = deltas.gather(1, best[..., None].expand(-1, -1, 4))  # (B, n, 4)
        boxes = self.box_coder.decode(deltas, anchors[best])  # (B, n, 4)

        # 3. Clipped to their image.
        limits = boxes.new_tensor([(w, h, w, h) for h, w in image_sizes])[:, None]  # (B, 1, 4)
        boxes = boxes.clamp(min=0).minimum(limits)

        # 4. Without those that hardly have an area left; from here on all images in one list.
        large = (boxes[..., 2:] - boxes[..., :2] >= self.min_size).all(dim=-1)  # (B, n)
        image, place = large.nonzero(as_tuple=True)  # (M,), (M,)
        boxes, scores, level = boxes[image, place], scores[image, place], level[image, place]

        # 5. Without near copies of better ones of the same image and level.
        group = image * len(level_sizes) + level
        keep = batched_nms(boxes, scores, group, self.nms_threshold)
        return [boxes[keep[image[keep] == i][:post_nms_top_n]] for i in range(len(image_sizes))]

    @torch.no_grad()
    def assign(self, anchors: Tensor, targets: Sequence[Target]) -> Tensor:
        """Say which object each anchor learns (Ren et al. 2015, §3.1.2).

        Args:
            anchors: (P, 4).
            targets: per image ``{"boxes": (N, 4)}``; N may be 0.

        Returns:
            (B, P) int64: index of the object in its image, −1 for background, −2 for anchors in no
            loss.
        """
        assigned = []
        # One image after the other: all IoUs of a full-size batch would take gigabytes.
        for target in targets:
            iou = box_iou(target["boxes"].to(anchors), anchors)  # (N, P)
            assigned.append(self.matcher(iou))
        return torch.stack(assigned)

    def compute_loss(self, outputs: RPNOutputs, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Compare predictions with annotations (Ren et al. 2015, eq. 1).

        Args:
            outputs: from `forward`.
            targets: per image ``{"boxes": (N, 4), "labels": (N,)}``; N may be 0.

        Returns:
            ``"loss_objectness"``: binary cross-entropy of the sampled anchors; and
            ``"loss_rpn_box_reg"``: smooth L1 of the positive ones' deltas, with β = 1/9. Both are
            sums divided by the number of sampled anchors.
        """
        anchors = outputs.anchors
        assigned = self.assign(anchors, targets)  # (B, P)

        # A sample of the anchors, since nearly all are background. The sampler's labels are 1 for
        # positive, 0 for background and −1 for ignored.
        positive, negative = self.sampler((assigned + 1).clamp(min=-1, max=1))
        positive = torch.stack(positive).bool()  # (B, P)
        sampled = positive | torch.stack(negative).bool()  # (B, P)
        count = normaliser(sampled.sum(), anchors.device)

        # Is there an object?
        objectness_loss = F.binary_cross_entropy_with_logits(
            outputs.objectness[sampled], positive[sampled].float(), reduction="sum"
        )

        # Where is it? Only the positive anchors answer.
        image, place = positive.nonzero(as_tuple=True)  # (M,), (M,)
        gt_boxes = pad_targets(targets, like=anchors).boxes  # (B, N, 4)
        gt_boxes = gt_boxes[image, assigned[image, place]]  # (M, 4)
        wanted = self.box_coder.encode(gt_boxes, anchors[place])  # (M, 4)
        box_loss = F.smooth_l1_loss(
            outputs.deltas[image, place], wanted, beta=1 / 9, reduction="sum"
        )

        return {"loss_objectness": objectness_loss / count, "loss_rpn_box_reg": box_loss / count}


@torch.no_grad()
def propose(
    objectness: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    image_sizes: Sequence[tuple[int, int]],
    pre_nms_top_n: int = 1000,
    post_nms_top_n: int = 100,
    nms_threshold: float = 0.7,
    min_size: float = 1.0,
) -> list[Tensor]:
    """Turn the predictions of a batch into proposals, one image after the other.

    The naive twin of `RegionProposalNetwork.propose`, which takes all images and all levels of a
    pyramid at once; with one level both say the same.

    Args:
        objectness: (B, P) logits.
        deltas: (B, P, 4).
        anchors: (P, 4).
        image_sizes: (height, width) of each image.
        pre_nms_top_n: boxes per image that go into NMS.
        post_nms_top_n: proposals per image, at most.
        nms_threshold: IoU above which the lower-scoring box goes.
        min_size: boxes with a shorter side, once clipped, are dropped.

    Returns:
        Per image (n, 4) boxes, best first, without gradient.
    """
    proposals = []
    for scores, moves, (height, width) in zip(objectness, deltas, image_sizes):
        # 1. The boxes of highest objectness.
        count = min(pre_nms_top_n, len(scores))
        scores, best = scores.topk(count)

        # 2. Moved and stretched as predicted.
        boxes = decode_deltas(moves[best], anchors[best])  # (count, 4)

        # 3. Clipped to the image.
        limits = boxes.new_tensor([width, height, width, height])
        boxes = boxes.clamp(min=0).minimum(limits)

        # 4. Without those that hardly have an area left.
        large = (boxes[:, 2:] - boxes[:, :2] >= min_size).all(dim=1)
        boxes, scores = boxes[large], scores[large]

        # 5. Without near copies of better ones.
        keep = nms(boxes, scores, nms_threshold)
        proposals.append(boxes[keep[:post_nms_top_n]])

    return proposals


def _as_list(features: FeatureMaps) -> list[Tensor]:
    """Return the maps as a list, whatever form they came in."""
    if isinstance(features, Tensor):
        return [features]
    return list(features.values() if isinstance(features, Mapping) else features)


# ---- what comes in ----


def _check_maps(scores: Tensor, deltas: Tensor) -> None:
    for name, tensor in (("scores", scores), ("deltas", deltas)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if scores.ndim != 4:
        raise ValueError(f"scores must have shape (B, A, h, w), got {tuple(scores.shape)}")

    images, anchors, height, width = scores.shape
    expected = (images, 4 * anchors, height, width)
    if deltas.shape != expected:
        raise ValueError(
            f"deltas must have shape {expected}, four channels for each of the scores' {anchors}, "
            f"got {tuple(deltas.shape)}"
        )
