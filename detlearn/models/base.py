"""The skeleton that all detectors share.

Every detector of the book takes the same steps, and each can be called alone, because a chapter
shows them one by one:

    images, targets ──batcher──> one tensor ──predict──> outputs ──compute_loss──> loss terms
                                                            │          └ assign: who learns what
                                                            └─────decode─────────> detections

This class strings them together as torchvision's detectors do, so that theirs and ours can be
exchanged in `fit`, `evaluate` and every figure.

Shapes: B images of H × W pixels in the padded batch; P places (anchors, cells, locations, queries)
of which each predicts something; K classes; N objects. Boxes are xyxy in pixels of the padded
batch, if not said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from detlearn.models.images import ImageBatcher
from detlearn.nms import batched_nms
from detlearn.samples import (
    Detections,
    Target,
    check_images,
    check_targets,
    has_usual_pixels,
    warn_of_pixels,
)

SMALLEST_SIDE = 1e-2  # detections narrower or lower than this many pixels are dropped


class Assignment(NamedTuple):
    """Who learns what: the object that each place of a detector is trained on.

    Attributes:
        assigned: (B, P) int64, the index of the object in its image's target; −1 for background,
            −2 for places that are in no loss.
        points: (P, 2) where the places stand, x and y.
        strides: (P,) pixels from one place to the next on its map.
        anchors: (P, 4) the boxes from which the places start, or None if they start from points.
    """

    assigned: Tensor
    points: Tensor
    strides: Tensor
    anchors: Tensor | None = None


class PaddedTargets(NamedTuple):
    """The targets of a batch as one tensor each, for arithmetic on all images at once.

    Attributes:
        boxes: (B, N, 4), N of the image with the most objects; zeros where there is no object.
        labels: (B, N) int64; zeros where there is no object.
        real: (B, N) bool, where there is one.
    """

    boxes: Tensor
    labels: Tensor
    real: Tensor


def pad_targets(targets: Sequence[Target], like: Tensor) -> PaddedTargets:
    """Bring the objects of a batch into one tensor each.

    Args:
        targets: per image ``{"boxes": (n, 4), "labels": (n,)}``; n may be 0.
        like: a tensor of the dtype and device that the boxes get.

    Returns:
        The padded boxes and labels, and which of them are meant.
    """
    boxes = [target["boxes"].to(like) for target in targets]
    labels = [target["labels"].to(like.device) for target in targets]

    real = [torch.ones_like(label, dtype=torch.bool) for label in labels]
    return PaddedTargets(
        pad_sequence(boxes, batch_first=True),
        pad_sequence(labels, batch_first=True),
        pad_sequence(real, batch_first=True),
    )


class Detector(nn.Module):
    """Base class: checks, batches, and calls the steps that a subclass defines.

    Args:
        num_classes: K, the number of classes; labels are 0 … K−1.
        batcher: turns the list of images into one tensor and brings boxes back; by default it
            normalises and pads, and keeps the size.
        score_threshold: detections have a score above this.
        nms_threshold: IoU above which the lower-scoring of two detections of a class is dropped.
        max_detections: detections kept per image.

    The three numbers are plain attributes: a subclass hands its family's defaults to this
    constructor, and whoever wants others sets them (``model.nms_threshold = 0.7``).

    Raises:
        ValueError: if there is no class.
    """

    def __init__(
        self,
        num_classes: int,
        batcher: ImageBatcher | None = None,
        *,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}: a detector needs at least one class")

        self.num_classes = num_classes
        self.batcher = batcher or ImageBatcher()
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.max_detections = max_detections
        self.warned_of_pixels = False

    # ---- what a subclass defines -----------------------------------------------------------------

    def predict(self, images: Tensor, sizes: list[tuple[int, int]] | None = None) -> Any:
        """Run the network.

        Args:
            images: (B, 3, H, W), normalised and padded, as the batcher makes it.
            sizes: height and width of each image without the padding; (H, W) by default.

        Returns:
            The family's outputs: a NamedTuple whose attributes state their shapes, and which
            carries the sizes on.
        """
        raise NotImplementedError

    def assign(self, outputs: Any, targets: list[Target]) -> Any:
        """Say who learns what. No gradient flows through it.

        Args:
            outputs: from `predict`; only where the predictions stand matters in most families.
            targets: one ``{"boxes": (N, 4), "labels": (N,)}`` per image.

        Returns:
            An `Assignment`, or the family's own NamedTuple with its four attributes among others.
        """
        raise NotImplementedError

    def compute_loss(self, outputs: Any, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations.

        Args:
            outputs: from `predict`.
            targets: one ``{"boxes": (N, 4), "labels": (N,)}`` per image.

        Returns:
            The terms of the loss: scalars, weighted so that their sum is the loss.
        """
        raise NotImplementedError

    def decode(self, outputs: Any) -> list[Detections]:
        """Turn outputs into detections.

        Args:
            outputs: from `predict`.

        Returns:
            Per image ``{"boxes": (N, 4), "scores": (N,), "labels": (N,)}``, the highest score
            first, at most `max_detections` of them, inside their image without its padding.
        """
        raise NotImplementedError

    # ---- what all share --------------------------------------------------------------------------

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """Train or detect.

        Args:
            images: list of B float tensors (3, H, W) in [0, 1]; sizes may differ.
            targets: in training mode, ``{"boxes": (N, 4) xyxy in pixels of the image, "labels":
                (N,)}`` per image.

        Returns:
            In training mode the loss terms, scalars whose sum is the loss. In eval mode one
            ``{"boxes": (N, 4) xyxy, "scores": (N,), "labels": (N,)}`` per image, sorted by score,
            in pixels of the given images.

        Raises:
            TypeError, ValueError: on bad images or targets; see `check_images`, `check_targets`.

        Warns:
            UserWarning: once, if the images have pixels that are not in [0, 1].
        """
        lowest, highest = check_images(images)
        if not has_usual_pixels(lowest, highest) and not self.warned_of_pixels:
            self.warned_of_pixels = True
            warn_of_pixels(lowest, highest, stacklevel=4)  # for whoever called the model

        if self.training:
            check_targets(images, targets, self.num_classes)
            batch, targets = self.batcher(images, targets)
            outputs = self.predict(batch.images, batch.sizes)
            return self.compute_loss(outputs, targets)

        batch, _ = self.batcher(images)
        outputs = self.predict(batch.images, batch.sizes)
        return self.batcher.undo(self.decode(outputs), batch)

    def select_detections(
        self,
        boxes: Tensor,
        scores: Tensor,
        *,
        candidates: Tensor | None = None,
        max_candidates: int | None = None,
        nms: bool = True,
    ) -> Detections:
        """Choose the detections of one image: the end of every `decode` of many boxes.

        Args:
            boxes: (P, 4) or (P, 1, 4), one box whatever the class, or (P, K, 4), one for each
                class; clipped to the image.
            scores: (P, K), without a background.
            candidates: (P, K) bool, which of them can become detections; by default those with a
                score above the threshold.
            max_candidates: so many of the best go into NMS; by default all above the threshold.
            nms: whether to drop what overlaps a better detection of its class; not needed where
                each object is found once.

        Returns:
            ``{"boxes": (N, 4), "scores": (N,), "labels": (N,)}``, the highest score first.
        """
        if boxes.ndim == 2:
            boxes = boxes[:, None]  # (P, 1, 4)

        # Every pair of a box and a class with a high enough score is a candidate. Boxes in the
        # padding have lost their area when they were clipped.
        if candidates is None:
            candidates = scores > self.score_threshold  # (P, K)
        large = (boxes[..., 2:] - boxes[..., :2] >= SMALLEST_SIDE).all(dim=-1)  # (P, 1 or K)
        place, labels = (candidates & large).nonzero(as_tuple=True)  # (M,)
        scores = scores[place, labels]
        boxes = boxes.expand(-1, self.num_classes, -1)[place, labels]  # (M, 4)

        if max_candidates is not None:
            best = scores.topk(min(max_candidates, len(scores))).indices
            boxes, scores, labels = boxes[best], scores[best], labels[best]

        # Within a class the better of two boxes that overlap stays; then the best over all classes.
        if nms:
            keep = batched_nms(boxes, scores, labels, self.nms_threshold)
        else:
            keep = scores.argsort(descending=True, stable=True)
        keep = keep[: self.max_detections]
        return {"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]}
