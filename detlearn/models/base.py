"""The skeleton that all detectors share.

A detector is four steps, each of which can be called alone: ``predict`` (images to raw outputs),
``compute_loss`` (outputs and targets to loss terms), ``decode`` (outputs to detections), and the
way in and out through the `ImageBatcher`. This class strings them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from detlearn.models.images import Batch, ImageBatcher
from detlearn.samples import Detections, Target, check_images, check_targets


class Detector(nn.Module):
    """Base class: checks, batches, and calls the three steps that a subclass defines.

    Args:
        num_classes: K, the number of classes; labels are 0 … K−1.
        batcher: turns the list of images into one tensor and brings boxes back.

    A subclass defines

    * ``predict(images (B, 3, H, W)) → outputs``: the network;
    * ``compute_loss(outputs, targets) → dict of scalars``: terms whose sum is the loss;
    * ``decode(outputs, sizes) → list of detections`` in pixels of the batch, sorted by score.
    """

    def __init__(self, num_classes: int, batcher: ImageBatcher) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}: a detector needs at least one class")
        self.num_classes = num_classes
        self.batcher = batcher

    def predict(self, images: Tensor) -> Any:
        """Run the network on a batch (B, 3, H, W); the subclass says what comes out."""
        raise NotImplementedError

    def predict_batch(self, batch: Batch) -> Any:
        """Run `predict` on what the image batcher made; for detectors that need its sizes too."""
        return self.predict(batch.images)

    def compute_loss(self, outputs: Any, targets: list[Target]) -> dict[str, Tensor]:
        """Return the weighted loss terms of a batch as scalars."""
        raise NotImplementedError

    def decode(self, outputs: Any, sizes: list[tuple[int, int]]) -> list[Detections]:
        """Turn outputs into boxes, scores and labels per image of (height, width) ``sizes``."""
        raise NotImplementedError

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """Train or detect, as torchvision's detectors do.

        Args:
            images: list of B float tensors (3, H, W) in [0, 1]; sizes may differ.
            targets: in training mode, ``{"boxes": (N, 4) xyxy pixels, "labels": (N,)}`` per image.

        Returns:
            In training mode the loss terms, scalars whose sum is the loss. In eval mode one
            ``{"boxes": (N, 4) xyxy, "scores": (N,), "labels": (N,)}`` per image, sorted by score,
            in pixels of the given images.

        Raises:
            TypeError, ValueError: on bad images or targets; see `check_images`, `check_targets`.
        """
        check_images(images)
        if self.training:
            check_targets(images, targets, self.num_classes)
            batch, targets = self.batcher(images, targets)
            return self.compute_loss(self.predict_batch(batch), targets)
        batch, _ = self.batcher(images)
        return self.batcher.undo(self.decode(self.predict_batch(batch), batch.sizes), batch)
