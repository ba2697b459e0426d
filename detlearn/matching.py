"""Who learns what: matching of anchors or proposals to objects, and the choice of a sample.

Shapes: N objects, P anchors (or proposals, or any predictions). An index −1 stands for background
and −2 for "ignored": such an anchor is in no loss.

Source: Ren et al. 2015, "Faster R-CNN" (arXiv 1506.01497), §3.1.2.

Where we differ from torchvision: an object that no anchor touches gets no anchor. In torchvision's
``Matcher`` its best IoU is 0, *every* anchor without overlap ties for that best, and all of them
become positive. And an image without objects is no error: all its anchors are background.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class Matcher:
    """Gives each anchor the object that it overlaps most, if it overlaps it enough.

    Args:
        high_threshold: an IoU of at least this makes an anchor positive.
        low_threshold: an IoU below this makes it background; in between it is ignored.
        allow_low_quality_matches: the anchors that overlap an object most become positive whatever
            the IoU, so that no object goes without. Such an anchor still learns the object that it
            overlaps most *itself*, which may be another one.

    Raises:
        ValueError: if the low threshold is above the high one.
    """

    BELOW_LOW_THRESHOLD = -1
    BETWEEN_THRESHOLDS = -2

    def __init__(
        self,
        high_threshold: float,
        low_threshold: float,
        allow_low_quality_matches: bool = False,
    ) -> None:
        if low_threshold > high_threshold:
            raise ValueError(
                f"low_threshold {low_threshold} is above high_threshold {high_threshold}"
            )
        self.high_threshold, self.low_threshold = high_threshold, low_threshold
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> Tensor:
        """Match.

        Args:
            match_quality_matrix: (..., N, P) IoU of each object with each anchor; N and P may be
                0. Rows of zeros match nothing, so images with fewer objects can be padded.

        Returns:
            (..., P) int64: the object's index, −1 for background, −2 for ignored.

        Raises:
            ValueError: if the matrix has fewer than two dimensions.
        """
        iou = match_quality_matrix
        if iou.ndim < 2:
            raise ValueError(f"the matrix of IoUs has shape {tuple(iou.shape)}: expected (N, P)")
        if iou.numel() == 0:
            return iou.new_full(
                (*iou.shape[:-2], iou.shape[-1]), self.BELOW_LOW_THRESHOLD, dtype=torch.int64
            )
        best_iou, best_object = iou.max(dim=-2)  # (..., P) twice
        matched = best_object.clone()
        matched[best_iou < self.high_threshold] = self.BETWEEN_THRESHOLDS
        matched[best_iou < self.low_threshold] = self.BELOW_LOW_THRESHOLD
        if self.allow_low_quality_matches:
            best_of_object = iou.amax(dim=-1, keepdim=True)  # (..., N, 1)
            tied = (iou == best_of_object) & (best_of_object > 0)  # (..., N, P)
            forced = tied.any(dim=-2)  # (..., P)
            matched[forced] = best_object[forced]
        return matched


class BalancedPositiveNegativeSampler:
    """Draws a fixed number of anchors per image, few enough of them background.

    Nearly all anchors are background. A loss over all of them would teach little else.

    Args:
        batch_size_per_image: anchors to draw, in all.
        positive_fraction: at most this share of them are positive; where there are fewer, negatives
            fill the sample.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction

    def __call__(self, matched_idxs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Draw.

        Args:
            matched_idxs: per image (P,) labels: 1 or more for positive, 0 for background, −1 for
                ignored anchors.

        Returns:
            Per image a mask (P,) uint8 of the chosen positives, and one of the chosen negatives.
        """
        chosen = [self._draw(labels) for labels in matched_idxs]
        return [positive for positive, _ in chosen], [negative for _, negative in chosen]

    def _draw(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        positive, negative = (labels >= 1).nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
        num_positive = int(self.batch_size_per_image * self.positive_fraction)
        num_positive = min(len(positive), num_positive)
        num_negative = min(len(negative), self.batch_size_per_image - num_positive)
        return (
            _random_mask(labels, positive, num_positive),
            _random_mask(labels, negative, num_negative),
        )


def _random_mask(labels: Tensor, indices: Tensor, count: int) -> Tensor:
    """A mask (P,) uint8 of `count` of the indices, chosen at random."""
    drawn = indices[torch.randperm(len(indices), device=indices.device)[:count]]
    return torch.zeros_like(labels, dtype=torch.uint8).index_fill_(0, drawn, 1)
