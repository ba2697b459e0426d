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
from detlearn.machine.distributed import normaliser, world_size
from detlearn.matching import BalancedPositiveNegativeSampler, Matcher
from detlearn.models.base import pad_targets
from detlearn.samples import Target


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
        x = x.flatten(1)  # (R, C·ph·pw)
        x = F.relu(self.fc6(x))
        return F.relu(self.fc7(x))


class NormalisedHead(nn.Sequential):
    """The same two layers with batch normalisation, which a training of a minute needs.

    Args:
        in_channels: C · ph · pw of the pooled grid.
        representation_size: D.
    """

    def __init__(self, in_channels: int, representation_size: int) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(in_channels, representation_size, bias=False),
            nn.BatchNorm1d(representation_size),
            nn.ReLU(inplace=True),
            nn.Linear(representation_size, representation_size, bias=False),
            nn.BatchNorm1d(representation_size),
            nn.ReLU(inplace=True),
        )
        self.out_channels = representation_size

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, ph, pw) → (R, D); a single one has no variance and uses the running statistics."""
        if len(x) > 1 or not self.training or world_size() > 1:
            return super().forward(x)

        norms = [m for m in self if isinstance(m, nn.BatchNorm1d) and m.training]
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


def second_stage_loss(
    class_logits: Tensor, deltas: Tensor, labels: Tensor, delta_targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the two losses of the second stage (Girshick 2015, eq. 1).

    Args:
        class_logits: (R, K + 1), background first.
        deltas: (R, K + 1, 4), a box for each class; that of the background is never looked at.
        labels: (R,) int64, 0 for background, k + 1 for class k.
        delta_targets: (R, 4), the deltas that lead to the object; those of background count
            nowhere.

    Returns:
        The cross-entropy, and the smooth L1 loss (β = 1/9) of the positives' deltas for their own
        class. Both are sums divided by R, not by the number of positives.

    Raises:
        TypeError: for what is no tensor, labels that are not int64, or anything else that holds
            no real numbers.
        ValueError: for shapes that do not fit, or a label that is not in 0 … K.
    """
    _check_losses(class_logits, deltas, labels, delta_targets)
    count = normaliser(len(labels), class_logits.device)  # R, of all processes together

    # What is it? All answer.
    classifier_loss = F.cross_entropy(class_logits, labels, reduction="sum")

    # Where exactly? Only the positives answer, with the deltas for the object's own class.
    positive = labels > 0  # (R,)
    pred = deltas[positive, labels[positive]]  # (M, 4)
    box_loss = F.smooth_l1_loss(pred, delta_targets[positive], beta=1 / 9, reduction="sum")

    return classifier_loss / count, box_loss / count


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
        self.num_classes = num_classes
        self.class_agnostic = class_agnostic
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
        padded_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Look at boxes.

        Args:
            features: maps (B, C, H_l, W_l) by name.
            boxes: per image (r, 4).
            padded_size: (height, width) of the padded batch, from which the pooling reads the
                strides.

        Returns:
            Class logits (R, K + 1), background first, and deltas (R, K + 1, 4) or (R, 1, 4).
        """
        pooled = self.box_roi_pool(features, boxes, [padded_size] * len(boxes))  # (R, C, ph, pw)
        vectors = self.box_head(pooled)  # (R, D)
        return self.box_predictor(vectors)

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
        candidates = [torch.cat([p, t["boxes"].to(p)]) for p, t in zip(proposals, targets)]
        labelled = self.label(candidates, targets)

        # Of each image so many positives and negatives.
        counts = [len(boxes) for boxes in candidates]
        positive, negative = self.sampler(labelled.labels.split(counts))
        chosen = [(p + n).bool() for p, n in zip(positive, negative)]  # per image (n + N,)

        boxes = [image_boxes[mask] for image_boxes, mask in zip(candidates, chosen)]
        chosen = torch.cat(chosen)
        return RoISample(boxes, labelled.labels[chosen], labelled.gt_boxes[chosen])

    @torch.no_grad()
    def label(self, boxes: Sequence[Tensor], targets: Sequence[Target]) -> RoISample:
        """Say what each box is to learn, without leaving any out.

        Args:
            boxes: per image (r, 4).
            targets: per image ``{"boxes": (N, 4), "labels": (N,)}``; N may be 0.

        Returns:
            The same boxes with labels and objects.
        """
        # All images at once: boxes and objects padded to the same number each.
        padded = pad_sequence(list(boxes), batch_first=True)  # (B, r, 4)
        gt_boxes, gt_labels, _ = pad_targets(targets, like=padded)  # (B, N, 4), (B, N)
        matched = self.assign(padded, gt_boxes)  # (B, r), −1 for background

        # The label 0 goes before the objects', and a box before theirs, so that match −1 finds it.
        labels = F.pad(gt_labels + 1, (1, 0)).gather(1, matched + 1)  # (B, r)
        rows = torch.arange(len(padded), device=padded.device)[:, None]  # (B, 1)
        wanted = F.pad(gt_boxes, (0, 0, 1, 0))[rows, matched + 1]  # (B, r, 4)

        # Background has nowhere to go: its own box.
        wanted = torch.where(matched[..., None] >= 0, wanted, padded)

        # Without the padding.
        counts = torch.tensor([len(image_boxes) for image_boxes in boxes], device=padded.device)
        real = torch.arange(padded.shape[1], device=padded.device) < counts[:, None]  # (B, r)
        return RoISample(list(boxes), labels[real], wanted[real])

    def assign(self, boxes: Tensor, gt_boxes: Tensor) -> Tensor:
        """Say which object each box learns.

        Args:
            boxes: (r, 4), or (B, r, 4) of a batch.
            gt_boxes: (N, 4), N may be 0; or (B, N, 4), padded with boxes of zeros.

        Returns:
            (r,) or (B, r) int64: the object's index in its image, or −1 for background.
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
        proposals = torch.cat(sample.boxes)  # (R, 4)
        wanted = self.box_coder.encode(sample.gt_boxes, proposals)  # (R, 4)

        # One box whatever the class is the box of each class.
        deltas = deltas.expand(-1, self.num_classes + 1, -1)  # (R, K + 1, 4)

        classifier_loss, box_loss = second_stage_loss(class_logits, deltas, sample.labels, wanted)
        return {"loss_classifier": classifier_loss, "loss_box_reg": box_loss}


# ---- what comes in ----


def _check_losses(
    class_logits: Tensor, deltas: Tensor, labels: Tensor, delta_targets: Tensor
) -> None:
    _check_dtypes(class_logits=class_logits, deltas=deltas, delta_targets=delta_targets)
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels must be an int64 tensor (R,), got {kind}")

    # The logits say how many proposals and classes there are, all else must fit.
    if class_logits.ndim != 2:
        raise ValueError(f"class_logits must have shape (R, K + 1), got {_shape(class_logits)}")
    count, classes = class_logits.shape
    for name, tensor, expected in (
        ("deltas", deltas, (count, classes, 4)),
        ("labels", labels, (count,)),
        ("delta_targets", delta_targets, (count, 4)),
    ):
        if tensor.shape != expected:
            raise ValueError(
                f"{name} must have shape {expected}, as class_logits have {_shape(class_logits)}, "
                f"got {_shape(tensor)}"
            )

    unknown = (labels < 0) | (labels >= classes)
    if unknown.any():
        raise ValueError(
            f"labels hold {int(labels[unknown][0])}: expected 0 for background or 1 … "
            f"{classes - 1}, the class plus one"
        )


def _check_dtypes(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a tensor of real numbers, got {kind}")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
