"""The second stage: look at each proposal again, name it, and correct its box.

Every proposal is cut out of the feature maps as a small grid of fixed size; a head turns the grid
into a vector, and two linear layers turn that into K + 1 class scores and the deltas of a box.

Shapes: B images, K classes, R proposals (regions, RoIs) of all images together, C channels of the
feature maps, D channels of the head. Boxes are xyxy in pixels of the padded batch.

Names: inside a two-stage detector class 0 is the background and object class k is k + 1, as in
torchvision; labels outside of it are 0 … K − 1.

Source: Girshick 2015, "Fast R-CNN" (arXiv 1504.08083), §2; Ren et al. 2015 (arXiv 1506.01497). The
numbers are torchvision's unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from detlearn.boxes import box_iou
from detlearn.coders import BoxCoder
from detlearn.machine.distributed import mean_over_processes, world_size
from detlearn.matching import BalancedPositiveNegativeSampler, Matcher
from detlearn.models.images import Detections, Target
from detlearn.nms import batched_nms

SMALLEST_SIDE = 1e-2  # detections narrower or lower than this many pixels are dropped


class TwoMLPHead(nn.Module):
    """Two fully connected layers with ReLU.

    Args:
        in_channels: C · ph · pw of the pooled grid.
        representation_size: D.
    """

    def __init__(self, in_channels: int, representation_size: int = 1024) -> None:
        super().__init__()
        self.fc6 = nn.Linear(in_channels, representation_size)
        self.fc7 = nn.Linear(representation_size, representation_size)
        self.out_channels = representation_size

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, ph, pw) → (R, D)."""
        return F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))


class NormalisedHead(nn.Sequential):
    """The same two layers with batch normalisation, which a training of a minute needs.

    Args:
        in_channels: C · ph · pw of the pooled grid.
        representation_size: D.
    """

    def __init__(self, in_channels: int, representation_size: int) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for channels in (in_channels, representation_size):
            layers += [
                nn.Linear(channels, representation_size, bias=False),
                nn.BatchNorm1d(representation_size),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)
        self.out_channels = representation_size

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, ph, pw) → (R, D); a single one has no variance and uses the running statistics."""
        if len(x) > 1 or not self.training or world_size() > 1:
            return super().forward(x)
        norms = [layer for layer in self if isinstance(layer, nn.BatchNorm1d)]
        for norm in norms:
            norm.eval()
        try:
            return super().forward(x)
        finally:
            for norm in norms:
                norm.train()


class ConvFCHead(nn.Sequential):
    """Four 3 × 3 convolutions with batch normalisation, then one fully connected layer.

    Args:
        in_channels: C of the pooled grid.
        pool_size: its height and width.
        representation_size: D.
    """

    def __init__(self, in_channels: int, pool_size: int, representation_size: int = 1024) -> None:
        convs = [
            nn.Sequential(
                nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(in_channels),
                nn.ReLU(inplace=True),
            )
            for _ in range(4)
        ]
        full = nn.Linear(in_channels * pool_size**2, representation_size)
        super().__init__(*convs, nn.Flatten(), full, nn.ReLU(inplace=True))
        for conv in convs:
            nn.init.kaiming_normal_(conv[0].weight, mode="fan_out", nonlinearity="relu")
        self.out_channels = representation_size


class BoxPredictor(nn.Module):
    """Class scores, and the deltas of one box per class or of one for all.

    Args:
        in_channels: D.
        num_classes: K, without the background.
        class_agnostic: predict one box whatever the class, instead of K + 1.
    """

    def __init__(self, in_channels: int, num_classes: int, class_agnostic: bool = False) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_channels, num_classes + 1)
        self.bbox_pred = nn.Linear(in_channels, 4 * (1 if class_agnostic else num_classes + 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(R, D) → class logits (R, K + 1) and deltas (R, K + 1, 4), or (R, 1, 4)."""
        deltas = self.bbox_pred(x).unflatten(1, (-1, 4))
        return self.cls_score(x).float(), deltas.float()


class RoISample(NamedTuple):
    """The proposals that a training step looks at.

    Attributes:
        boxes: per image (r, 4), R in all.
        labels: (R,) int64, 0 for background, k + 1 for class k.
        gt_boxes: (R, 4), the object that each should be moved to; for background, itself.
    """

    boxes: list[Tensor]
    labels: Tensor
    gt_boxes: Tensor


class RoIHeads(nn.Module):
    """Pooling, head, predictor, and what they are to learn.

    Args:
        num_classes: K.
        box_roi_pool: cuts boxes out of feature maps, as `detlearn.roi.MultiScaleRoIAlign` does.
        box_head: turns (R, C, ph, pw) into (R, D); has ``out_channels`` D.
        iou_threshold: a proposal with at least this IoU with an object learns it, any other is
            background.
        batch_size_per_image: proposals in the loss, per image …
        positive_fraction: … and the largest share of positives among them.
        bbox_reg_weights: the box coder's weights.
        class_agnostic: one box whatever the class.
    """

    def __init__(
        self,
        num_classes: int,
        box_roi_pool: nn.Module,
        box_head: nn.Module,
        *,
        iou_threshold: float = 0.5,
        batch_size_per_image: int = 512,
        positive_fraction: float = 0.25,
        bbox_reg_weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
        class_agnostic: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes, self.class_agnostic = num_classes, class_agnostic
        self.box_roi_pool = box_roi_pool
        self.box_head = box_head
        self.box_predictor = BoxPredictor(box_head.out_channels, num_classes, class_agnostic)
        self.box_coder = BoxCoder(bbox_reg_weights)
        self.matcher = Matcher(iou_threshold, iou_threshold)
        self.sampler = BalancedPositiveNegativeSampler(batch_size_per_image, positive_fraction)

    def forward(
        self,
        features: Mapping[str, Tensor],
        boxes: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> tuple[Tensor, Tensor]:
        """Look at boxes.

        Args:
            features: maps (B, C, H_l, W_l) by name.
            boxes: per image (r, 4).
            image_sizes: (height, width) per image, from which the pooling reads the strides.

        Returns:
            Class logits (R, K + 1), background first, and deltas (R, K + 1, 4) or (R, 1, 4).
        """
        return self.box_predictor(self.box_head(self.box_roi_pool(features, boxes, image_sizes)))

    @torch.no_grad()
    def sample(self, proposals: Sequence[Tensor], targets: Sequence[Target]) -> RoISample:
        """Choose the proposals of a training step and say what each is to learn.

        The objects' own boxes join the proposals, so that there are positives from the start.

        Args:
            proposals: per image (n, 4).
            targets: per image ``{"boxes": (N, 4), "labels": (N,) in 0 … K−1}``; N may be 0.

        Returns:
            The sample.
        """
        proposals = [torch.cat([p, t["boxes"].to(p)]) for p, t in zip(proposals, targets)]
        everything = self.label(proposals, targets)
        sizes = [len(boxes) for boxes in proposals]
        labels = everything.labels.split(sizes)
        masks = [(p + n).bool() for p, n in zip(*self.sampler(labels))]
        mask = torch.cat(masks)
        boxes = [boxes[mask] for boxes, mask in zip(proposals, masks)]
        return RoISample(boxes, everything.labels[mask], everything.gt_boxes[mask])

    @torch.no_grad()
    def label(self, boxes: Sequence[Tensor], targets: Sequence[Target]) -> RoISample:
        """Say what each box is to learn, without leaving any out.

        Args:
            boxes: per image (r, 4).
            targets: per image ``{"boxes": (N, 4), "labels": (N,)}``; N may be 0.

        Returns:
            The same boxes with labels and objects.
        """
        padded = pad_sequence(list(boxes), batch_first=True)  # (B, r, 4)
        gt_boxes = pad_sequence([t["boxes"].to(padded) for t in targets], batch_first=True)
        gt_labels = pad_sequence([t["labels"].to(padded.device) for t in targets], batch_first=True)
        matched = self.assign(padded, gt_boxes)  # (B, r), −1 for background
        # The background goes before the objects, so that match −1 finds it.
        labels = F.pad(gt_labels + 1, (1, 0)).gather(1, matched + 1)
        rows = torch.arange(len(padded), device=padded.device)[:, None]
        gt_boxes = F.pad(gt_boxes, (0, 0, 1, 0))[rows, matched + 1]
        gt_boxes = torch.where(matched[..., None] >= 0, gt_boxes, padded)
        sizes = torch.tensor([len(mine) for mine in boxes], device=padded.device)
        real = torch.arange(padded.shape[1], device=padded.device) < sizes[:, None]  # (B, r)
        return RoISample(list(boxes), labels[real], gt_boxes[real])

    def assign(self, boxes: Tensor, gt_boxes: Tensor) -> Tensor:
        """Say which object each box learns: its index or −1, as (r,) int64.

        Args:
            boxes: (r, 4), or (B, r, 4) of a batch.
            gt_boxes: (N, 4), N may be 0; or (B, N, 4), padded with boxes of zeros.
        """
        return self.matcher(box_iou(gt_boxes, boxes))

    def compute_loss(
        self, class_logits: Tensor, deltas: Tensor, sample: RoISample
    ) -> dict[str, Tensor]:
        """Compare predictions with what the sample should have given (Girshick 2015, eq. 1).

        Args:
            class_logits: (R, K + 1).
            deltas: (R, K + 1, 4) or (R, 1, 4).
            sample: the R boxes that were looked at.

        Returns:
            ``"loss_classifier"``: mean cross-entropy; ``"loss_box_reg"``: smooth L1 (β = 1/9) of
            the positives' deltas for their class, summed and divided by R, not by the positives.
        """
        labels = sample.labels
        positive = labels > 0
        chosen = labels[positive] if deltas.shape[1] > 1 else torch.zeros_like(labels[positive])
        pred = deltas[positive, chosen]  # (M, 4): the deltas for the object's own class
        goal = self.box_coder.encode(
            sample.gt_boxes[positive], torch.cat(sample.boxes)[positive]
        )  # (M, 4)
        count = max(mean_over_processes(len(labels), labels.device), 1)
        classifier_loss = F.cross_entropy(class_logits, labels, reduction="sum")
        box_loss = F.smooth_l1_loss(pred, goal, beta=1 / 9, reduction="sum")
        return {"loss_classifier": classifier_loss / count, "loss_box_reg": box_loss / count}


@torch.no_grad()
def select_detections(
    boxes: Tensor,
    scores: Tensor,
    counts: Sequence[int],
    *,
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
) -> list[Detections]:
    """Turn the scored boxes of a batch into detections.

    Every pair of a box and a class with a high enough score is a candidate; NMS within each class,
    then the best over all classes.

    Args:
        boxes: (R, K, 4), one box per class, or (R, 1, 4), one for all; clipped to the images.
        scores: (R, K) probabilities of the K classes, without the background.
        counts: how many of the R belong to each image.
        score_threshold: candidates have a score above this.
        nms_threshold: IoU above which the lower-scoring of two of a class is dropped.
        max_detections: per image.

    Returns:
        Per image ``{"boxes": (N, 4), "scores": (N,), "labels": (N,) in 0 … K−1}``, best first.
    """
    num_classes = scores.shape[1]
    boxes = boxes.expand(-1, num_classes, -1)
    image = torch.arange(len(counts), device=boxes.device).repeat_interleave(
        torch.tensor(counts, device=boxes.device)
    )  # (R,)
    large = (boxes[..., 2:] - boxes[..., :2] >= SMALLEST_SIDE).all(dim=-1)  # (R, K)
    row, labels = ((scores > score_threshold) & large).nonzero(as_tuple=True)  # (M,), (M,)
    boxes, scores, image = boxes[row, labels], scores[row, labels], image[row]
    keep = batched_nms(boxes, scores, image * num_classes + labels, nms_threshold)
    detections = []
    for i in range(len(counts)):
        mine = keep[image[keep] == i][:max_detections]
        detections.append({"boxes": boxes[mine], "scores": scores[mine], "labels": labels[mine]})
    return detections
