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
anchors that cross the image's border are trained like others. Where we differ from torchvision:
anchors stand in the middle of their cell and are not rounded (both by argument); an object that
no anchor touches makes no anchor positive (see `detlearn.matching`); only the best boxes before
NMS are decoded, not all; a level's stride is a setting, where torchvision divides the batch's size
by the map's, which gives 61 instead of 64 for 13 rows of 800 pixels (by argument).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from detlearn.anchors import AnchorGenerator
from detlearn.boxes import box_iou
from detlearn.coders import BoxCoder, decode_deltas
from detlearn.machine.distributed import mean_over_processes
from detlearn.matching import BalancedPositiveNegativeSampler, Matcher
from detlearn.models.images import Target
from detlearn.nms import batched_nms, nms

FeatureMaps = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


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
            # (B, A·n, H, W) → (B, H·W·A, n): anchors lie location by location.
            logits = self.cls_logits(x).permute(0, 2, 3, 1)  # (B, H, W, A)
            objectness.append(logits.flatten(1))  # (B, H·W·A)
            moves = self.bbox_pred(x).permute(0, 2, 3, 1)  # (B, H, W, A·4)
            deltas.append(moves.flatten(1).unflatten(1, (-1, 4)))  # (B, H·W·A, 4)
        # float(): in reduced precision a box could not be told from one half a pixel wider.
        return torch.cat(objectness, dim=1).float(), torch.cat(deltas, dim=1).float()


class RegionProposalNetwork(nn.Module):
    """Proposes regions that may hold an object, whatever its class.

    Args:
        in_channels: C, channels of every feature map.
        anchor_sizes: sizes in pixels: plain numbers are all used at every level, else one tuple
            per level, each with the same number of sizes.
        aspect_ratios: height / width of the anchors, at every level.
        strides: pixels per cell of each level; by default 16 for one map, as in the paper, and
            4, 8, 16, … for a pyramid.
        conv_depth: 3 × 3 convolutions of the head.
        pre_nms_top_n: boxes per image and level that go into NMS, in training and in eval mode.
        post_nms_top_n: proposals per image, in training and in eval mode.
        nms_threshold: IoU above which the lower-scoring of two proposals of a level is dropped.
        min_size: proposals narrower or lower than this many pixels are dropped.
        fg_iou_threshold: an anchor with at least this IoU with an object learns it …
        bg_iou_threshold: … and one with less than this IoU with all objects learns background.
        batch_size_per_image: anchors in the loss, per image …
        positive_fraction: … and the largest share of positives among them.
        round_anchors, centre_offset: see `detlearn.anchors.AnchorGenerator`.
        infer_strides: for the anchors, divide the batch's size by the map's, as torchvision does.
    """

    def __init__(
        self,
        in_channels: int,
        anchor_sizes: Sequence[float] | Sequence[Sequence[float]] = (128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        *,
        strides: Sequence[int] | None = None,
        conv_depth: int = 1,
        pre_nms_top_n: tuple[int, int] = (2000, 1000),
        post_nms_top_n: tuple[int, int] = (2000, 1000),
        nms_threshold: float = 0.7,
        min_size: float = 1e-3,
        fg_iou_threshold: float = 0.7,
        bg_iou_threshold: float = 0.3,
        batch_size_per_image: int = 256,
        positive_fraction: float = 0.5,
        round_anchors: bool = False,
        centre_offset: float = 0.5,
        infer_strides: bool = False,
    ) -> None:
        super().__init__()
        self.shared_sizes = not isinstance(anchor_sizes[0], Sequence)
        levels = [anchor_sizes] if self.shared_sizes else anchor_sizes
        if len({len(sizes) for sizes in levels}) != 1:
            raise ValueError(
                f"anchor_sizes are {anchor_sizes}: the head has the same weights at every level, "
                "so give as many sizes at each"
            )
        self.anchor_generator = AnchorGenerator(
            levels,
            [aspect_ratios] * len(levels),
            round_anchors=round_anchors,
            centre_offset=centre_offset,
        )
        num_anchors = len(levels[0]) * len(aspect_ratios)
        self.head = RPNHead(in_channels, num_anchors, conv_depth)
        self.strides, self.infer_strides = strides, infer_strides
        self.pre_nms_top_n, self.post_nms_top_n = pre_nms_top_n, post_nms_top_n
        self.nms_threshold, self.min_size = nms_threshold, min_size
        self.box_coder = BoxCoder()
        self.matcher = Matcher(fg_iou_threshold, bg_iou_threshold, allow_low_quality_matches=True)
        self.sampler = BalancedPositiveNegativeSampler(batch_size_per_image, positive_fraction)

    def forward(
        self,
        features: FeatureMaps,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        batch_size: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor] | tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Predict for every anchor and, given the images' sizes, propose.

        Args:
            features: one map (B, C, H, W), or a pyramid of them as a list or dict, finest first.
            image_sizes: (height, width) in pixels of each image, without padding.
            batch_size: (height, width) with padding, for ``infer_strides``.

        Returns:
            Objectness (B, P), deltas (B, P, 4) and anchors (P, 4); with image sizes also the
            proposals, per image (n, 4), best first, without gradient.

        Raises:
            ValueError: if the number of maps does not fit strides or anchor sizes.
        """
        maps = _as_list(features)
        objectness, deltas = self.head(maps)
        anchors = self.anchors(maps, batch_size)
        if image_sizes is None:
            return objectness, deltas, torch.cat(anchors)
        counts = [len(level) for level in anchors]
        anchors = torch.cat(anchors)
        proposals = self.propose(objectness, deltas, anchors, counts, image_sizes)
        return objectness, deltas, anchors, proposals

    def anchors(
        self, features: FeatureMaps, batch_size: tuple[int, int] | None = None
    ) -> list[Tensor]:
        """The anchors of feature maps.

        Args:
            features: one map (B, C, H, W), or a pyramid of L, finest first.
            batch_size: (height, width) in pixels of the padded batch, for ``infer_strides``.

        Returns:
            Per level (H_l·W_l·A, 4).

        Raises:
            ValueError: if the number of maps does not fit strides or anchor sizes, or the batch's
                size is needed and not given.
        """
        maps = _as_list(features)
        strides = self.strides
        if strides is None:
            strides = [16] if len(maps) == 1 else [4 * 2**level for level in range(len(maps))]
        if len(strides) != len(maps):
            raise ValueError(f"{len(maps)} feature maps, but strides {list(strides)}: one for each")
        sizes = [tuple(x.shape[-2:]) for x in maps]
        if not self.infer_strides:
            strides = [(stride, stride) for stride in strides]
        elif batch_size is None:
            raise ValueError("infer_strides is on: give batch_size, the padded batch's size")
        else:
            strides = [(batch_size[0] // h, batch_size[1] // w) for h, w in sizes]
        if self.shared_sizes:
            grid = self.anchor_generator.grid_anchors
            return [grid([size], [stride])[0] for size, stride in zip(sizes, strides)]
        return self.anchor_generator.grid_anchors(sizes, strides)

    @torch.no_grad()
    def propose(
        self,
        objectness: Tensor,
        deltas: Tensor,
        anchors: Tensor,
        counts: Sequence[int],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Tensor]:
        """Turn predictions into proposals.

        Per image and level the boxes of highest objectness; clipped to the image, the small ones
        removed; NMS within each level; then the best over all levels.

        Args:
            objectness: (B, P).
            deltas: (B, P, 4).
            anchors: (P, 4).
            counts: number of anchors of each level.
            image_sizes: (height, width) of each image in pixels, without padding.

        Returns:
            Per image (n, 4), best first; n is at most ``post_nms_top_n``.
        """
        pre_nms, post_nms = (
            top_n[0] if self.training else top_n[1]
            for top_n in (self.pre_nms_top_n, self.post_nms_top_n)
        )
        starts = [sum(counts[:level]) for level in range(len(counts))]
        best = [
            logits.topk(min(pre_nms, count), dim=1).indices + start
            for logits, count, start in zip(objectness.split(list(counts), 1), counts, starts)
        ]
        level = torch.cat([torch.full_like(b, i) for i, b in enumerate(best)], dim=1)  # (B, n)
        best = torch.cat(best, dim=1)  # (B, n)
        scores = objectness.gather(1, best)
        # Deltas through gather, anchors by index: the same rows for both.
        deltas = deltas.gather(1, best[..., None].expand(-1, -1, 4))  # (B, n, 4)
        boxes = self.box_coder.decode(deltas, anchors[best])
        limits = boxes.new_tensor([(w, h, w, h) for h, w in image_sizes])[:, None]  # (B, 1, 4)
        boxes = boxes.clamp(min=0).minimum(limits)
        large = (boxes[..., 2:] - boxes[..., :2] >= self.min_size).all(dim=-1)  # (B, n)
        image, place = large.nonzero(as_tuple=True)  # (M,), (M,)
        boxes, scores, level = boxes[image, place], scores[image, place], level[image, place]
        keep = batched_nms(boxes, scores, image * len(counts) + level, self.nms_threshold)
        return [boxes[keep[image[keep] == i][:post_nms]] for i in range(len(image_sizes))]

    def assign(self, anchors: Tensor, gt_boxes: Tensor) -> Tensor:
        """Say which object each anchor learns.

        Args:
            anchors: (P, 4).
            gt_boxes: (N, 4) objects of one image, N may be 0.

        Returns:
            (P,) int64: index of the object, −1 for background, −2 for anchors in no loss.
        """
        return self.matcher(box_iou(gt_boxes, anchors))

    def compute_loss(
        self, objectness: Tensor, deltas: Tensor, anchors: Tensor, targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """Compare predictions with annotations (Ren et al. 2015, eq. 1).

        Args:
            objectness: (B, P).
            deltas: (B, P, 4).
            anchors: (P, 4).
            targets: per image ``{"boxes": (N, 4)}``; N may be 0.

        Returns:
            ``"loss_objectness"``: binary cross-entropy of the sampled anchors; and
            ``"loss_rpn_box_reg"``: smooth L1 of the positive ones' deltas, with β = 1/9. Both are
            sums divided by the number of sampled anchors.
        """
        gt_boxes = pad_sequence([t["boxes"].to(anchors) for t in targets], batch_first=True)
        # One image after the other: all IoUs of a full-size batch would take gigabytes.
        assigned = torch.stack([self.assign(anchors, t["boxes"].to(anchors)) for t in targets])
        # The sampler's labels: 1 positive, 0 background, −1 ignored.
        samples = self.sampler((assigned + 1).clamp(min=-1, max=1))
        positive, negative = (torch.stack(masks).bool() for masks in samples)  # (B, P) twice
        image, place = positive.nonzero(as_tuple=True)  # (M,), (M,)
        goal = self.box_coder.encode(gt_boxes[image, assigned[image, place]], anchors[place])
        box_loss = F.smooth_l1_loss(deltas[positive], goal, beta=1 / 9, reduction="sum")
        sampled = positive | negative
        objectness_loss = F.binary_cross_entropy_with_logits(
            objectness[sampled], positive[sampled].float(), reduction="sum"
        )
        count = max(mean_over_processes(sampled.sum(), sampled.device), 1)
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
    if isinstance(features, Tensor):
        return [features]
    return list(features.values() if isinstance(features, Mapping) else features)
