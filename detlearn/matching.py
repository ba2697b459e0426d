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

BACKGROUND = -1
IGNORED = -2


def match_anchors(
    iou: Tensor,
    high: float = 0.7,
    low: float = 0.3,
    allow_low_quality_matches: bool = True,
) -> Tensor:
    """Say which object each anchor learns.

    An anchor takes the object that it overlaps most, if it overlaps it enough. Besides, the anchors
    that overlap an object most of all are positive whatever their IoU, so that few objects go
    without. Such an anchor still learns the object that it overlaps most *itself*, which may be
    another one: with IoUs [[0.6, 0.0], [0.5, 0.0]] both objects claim the first anchor, the first
    object has it, and the second goes without.

    Args:
        iou: (..., N, P) of each object with each anchor; N and P may be 0. Rows of zeros match
            nothing, so images with fewer objects can be padded.
        high: from here on an anchor is positive.
        low: below this it is background; in between it is ignored.
        allow_low_quality_matches: whether an object's best anchors are positive whatever their IoU.

    Returns:
        (..., P) int64: the object's index, −1 for background, −2 for ignored.
    """
    if iou.numel() == 0:  # no object: all is background
        return iou.new_full((*iou.shape[:-2], iou.shape[-1]), BACKGROUND, dtype=torch.int64)

    # What each anchor overlaps most decides.
    best_iou, best_object = iou.max(dim=-2)  # (..., P) twice
    matched = best_object.masked_fill(best_iou < high, IGNORED)
    matched = matched.masked_fill(best_iou < low, BACKGROUND)

    # The anchors that overlap an object most, all of them if several tie. An object that no anchor
    # touches has a best IoU of 0, for which every anchor would tie.
    if allow_low_quality_matches:
        best_of_object = iou.amax(dim=-1, keepdim=True)  # (..., N, 1)
        forced = ((iou == best_of_object) & (best_of_object > 0)).any(dim=-2)  # (..., P)
        matched = torch.where(forced, best_object, matched)

    return matched


def sample_anchors(
    labels: Tensor, batch_size: int, positive_fraction: float
) -> tuple[Tensor, Tensor]:
    """Draw the anchors of one image that are in the loss.

    Nearly all anchors are background. A loss over all of them would teach little else.

    Args:
        labels: (A,) int64, as `match_anchors` returns them: 0 or more for an anchor that learns an
            object, −1 for background, −2 for ignored.
        batch_size: anchors to draw, in all.
        positive_fraction: at most this share of them are positive (rounded down); where there are
            fewer, negatives fill the sample.

    Returns:
        The indices of the chosen positives and of the chosen negatives, (p,) and (n,) int64, drawn
        without replacement, in no particular order.

    Raises:
        TypeError: if the labels are no int64 tensor.
        ValueError: if they have another shape or are below −2, the batch size is negative, or the
            fraction is not in [0, 1].
    """
    _check_labels(labels)
    _check_numbers(batch_size, positive_fraction)
    positive = (labels >= 0).nonzero()[:, 0]
    negative = (labels == BACKGROUND).nonzero()[:, 0]

    # Only the positives have a limit of their own; negatives fill what is left.
    num_positive = min(len(positive), int(batch_size * positive_fraction))
    num_negative = min(len(negative), batch_size - num_positive)

    # The first so many after shuffling.
    positive = positive[torch.randperm(len(positive), device=labels.device)[:num_positive]]
    negative = negative[torch.randperm(len(negative), device=labels.device)[:num_negative]]
    return positive, negative


class Matcher:
    """`match_anchors` with its thresholds, in torchvision's form.

    Args:
        high_threshold: an IoU of at least this makes an anchor positive.
        low_threshold: an IoU below this makes it background; in between it is ignored.
        allow_low_quality_matches: the anchors that overlap an object most become positive whatever
            the IoU.

    Raises:
        ValueError: if the low threshold is above the high one.
    """

    BELOW_LOW_THRESHOLD = BACKGROUND
    BETWEEN_THRESHOLDS = IGNORED

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
        self.high_threshold = high_threshold
        self.low_threshold = low_threshold
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> Tensor:
        """Match.

        Args:
            match_quality_matrix: (..., N, P) IoU of each object with each anchor; N and P may be 0.

        Returns:
            (..., P) int64: the object's index, −1 for background, −2 for ignored.

        Raises:
            ValueError: if the matrix has fewer than two dimensions.
        """
        if match_quality_matrix.ndim < 2:
            shape = tuple(match_quality_matrix.shape)
            raise ValueError(f"the matrix of IoUs has shape {shape}: expected (N, P)")

        return match_anchors(
            match_quality_matrix,
            high=self.high_threshold,
            low=self.low_threshold,
            allow_low_quality_matches=self.allow_low_quality_matches,
        )


class BalancedPositiveNegativeSampler:
    """`sample_anchors` with its numbers, in torchvision's form.

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

        Raises:
            TypeError, ValueError: as `sample_anchors` does.
        """
        positives, negatives = [], []
        for labels in matched_idxs:
            # Torchvision's labels are larger by one than those of `match_anchors`.
            positive, negative = sample_anchors(
                labels - 1, self.batch_size_per_image, self.positive_fraction
            )
            positives.append(_mask(labels, positive))
            negatives.append(_mask(labels, negative))
        return positives, negatives


def _mask(labels: Tensor, chosen: Tensor) -> Tensor:
    """Return a mask (P,) uint8 of the chosen indices."""
    mask = torch.zeros_like(labels, dtype=torch.uint8)
    mask[chosen] = 1
    return mask


# ---- what comes in ----


def _check_labels(labels: Tensor) -> None:
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a torch.Tensor (A,), got {type(labels).__name__}")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64, got {labels.dtype}; convert them with .long()")
    if labels.ndim != 1:
        raise ValueError(
            f"labels must be those of one image, (A,), got {tuple(labels.shape)}; "
            "call it once for each image"
        )
    if (labels < IGNORED).any():
        raise ValueError(
            f"labels hold {int(labels.min())}: expected an object's index, {BACKGROUND} for "
            f"background or {IGNORED} for ignored"
        )


def _check_numbers(batch_size: int, positive_fraction: float) -> None:
    if batch_size < 0:
        raise ValueError(f"batch_size must be 0 or more, got {batch_size}")
    if not 0 <= positive_fraction <= 1:
        raise ValueError(
            f"positive_fraction must be a share, in [0, 1], got {positive_fraction}; "
            "a quarter is 0.25"
        )
