"""Non-maximum suppression: of several boxes around one object, keep the best.

`nms` and `batched_nms` are the greedy kind that nearly every detector ends with, `soft_nms` is the
one of Bodla et al. 2017 (arXiv 1704.04503), which lowers the scores of overlapping boxes instead of
dropping them.

Shapes: N boxes come in, K indices go out. Boxes are xyxy in pixels. Nothing here has a gradient.

The functions share their arguments: `boxes` (N, 4), `scores` (N,), and `iou_threshold`: boxes with
an IoU strictly above it count as the same object. They raise TypeError for what is no tensor, and
ValueError for wrong shapes, lengths that differ, or a threshold of NaN.

As in torchvision, a box goes if its IoU with a kept one is strictly above the threshold, and equal
scores are taken in the order given. Where we differ from torchvision:
    - `batched_nms` compares the labels themselves. torchvision moves each class to a place of its
      own by adding an offset to the coordinates; with negative coordinates the classes still meet,
      and a large offset eats the digits of a float32.
    - The threshold is compared exactly, on every device. The float32 nearest to 3/5 lies a little
      above 0.6, so that pair is suppressed at 0.6, while a pair with IoU 1/2 survives 0.5.
      torchvision does the same on a CPU; on a GPU it rounds the threshold to float32 first.
    - Half precision and integers are taken, and boxes and scores may differ in dtype.
Where we differ from the official Soft-NMS code:
    - Widths have no "+ 1", and the Gaussian is the default.
    - A lone box below the score threshold is dropped like any other.
"""

import math

import torch
from torch import Tensor

from detlearn.boxes import box_iou, check_boxes, upcast

METHODS = ("gaussian", "linear")
BLOCK = 256  # boxes examined at a time by `nms`; bounds its memory to N × BLOCK overlaps


@torch.no_grad()
def naive_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Take the best box left, drop all that overlap it too much, repeat.

    The slow twin of `nms`, for reading and for checking.

    Returns:
        (K,) int64: indices of the kept boxes, best first.
    """
    _check_inputs(boxes, scores, iou_threshold)
    left = scores.argsort(descending=True, stable=True)  # indices of the boxes, best first

    keep = []
    while len(left) > 0:
        # The best box that is left cannot be suppressed any more.
        best = left[0]
        left = left[1:]
        keep.append(best)

        # Its rivals go; in float64, so that an IoU at the threshold is compared exactly.
        iou = box_iou(boxes[best][None], boxes[left])[0]  # (1, 4) and (L, 4) -> (L,)
        left = left[~(iou.double() > iou_threshold)]

    return torch.stack(keep) if keep else left


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Keep the best of each group of overlapping boxes, whatever their classes.

    Returns:
        (K,) int64: indices of the kept boxes, best first.
    """
    _check_inputs(boxes, scores, iou_threshold)
    one_class = torch.zeros_like(scores, dtype=torch.int64)
    return _suppress(boxes, scores, one_class, iou_threshold)


@torch.no_grad()
def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """NMS within each class: boxes of different classes leave each other alone.

    Args:
        boxes: (N, 4), xyxy.
        scores: (N,).
        idxs: (N,) the class of each box (or its level, or its image).
        iou_threshold: boxes of one class with an IoU strictly above it count as the same object.

    Returns:
        (K,) int64: indices of the kept boxes, best first.
    """
    _check_inputs(boxes, scores, iou_threshold)
    _check_one_per_box("idxs", idxs, boxes)
    return _suppress(boxes, scores, idxs, iou_threshold)


def _suppress(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Return what each class keeps, best first, settled in the way that is cheaper."""
    by_score = scores.argsort(descending=True, stable=True)
    if len(boxes) == 0:
        return by_score

    # Class by class, and within a class the best first.
    by_class = by_score[labels[by_score].argsort(stable=True)]
    counts = labels[by_class].unique_consecutive(return_counts=True)[1]  # (G,) boxes of each class

    # The cost of a way is the number of overlaps that it computes.
    overlaps_of_classes = len(counts) * int(counts.max()) ** 2
    overlaps_of_blocks = len(boxes) * BLOCK
    if overlaps_of_classes <= overlaps_of_blocks:
        keep = _settle_classes(boxes, by_class, counts, iou_threshold)
    else:
        keep = _settle_blocks(boxes, by_class, labels, iou_threshold)

    # Back from the order of the classes to that of the scores.
    kept = torch.zeros_like(scores, dtype=torch.bool)
    kept[keep] = True
    return by_score[kept[by_score]]


def _settle_classes(
    boxes: Tensor, by_class: Tensor, counts: Tensor, iou_threshold: float
) -> Tensor:
    """Return the kept boxes' indices: all G classes at once, padded to the M of the largest."""
    first = counts.cumsum(0) - counts  # (G,) where each class begins in by_class
    place = torch.arange(int(counts.max()), device=boxes.device)  # (M,)
    real = place < counts[:, None]  # (G, M), the others are padding
    position = (first[:, None] + place).clamp(max=len(by_class) - 1)  # (G, M)
    index = by_class[position]  # (G, M)

    # Padding follows the real boxes of its class, so it can suppress none of them.
    members = boxes[index]  # (G, M, 4)
    keep = _survivors(_above(members, members, iou_threshold))  # (G, M)
    return index[keep & real]


def _settle_blocks(boxes: Tensor, by_class: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Return the kept boxes' indices: `BLOCK` boxes at a time, in order."""
    kept = torch.zeros_like(labels, dtype=torch.bool)

    def conflicts(rows: Tensor, columns: Tensor) -> Tensor:
        """Which of the boxes `rows` could suppress which of `columns`, bool (rows, columns)."""
        same_class = labels[rows][:, None] == labels[columns]
        return _above(boxes[rows], boxes[columns], iou_threshold) & same_class

    for block in by_class.split(BLOCK):
        # Of the boxes kept so far, those of the class with which this block begins can matter.
        earlier = by_class[kept[by_class] & (labels[by_class] == labels[block[:1]])]
        suppressed = conflicts(earlier, block).any(dim=0)
        block = block[~suppressed]

        # What is left is settled among itself.
        kept[block[_survivors(conflicts(block, block))]] = True

    return kept.nonzero()[:, 0]


def _above(boxes1: Tensor, boxes2: Tensor, iou_threshold: float) -> Tensor:
    """Return which pairs overlap too much; in float64, so that the comparison is exact."""
    return box_iou(boxes1, boxes2).double() > iou_threshold


def _survivors(overlaps: Tensor) -> Tensor:
    """Solve greedy NMS for boxes sorted by score, given who overlaps whom.

    A box survives if no better box that itself survives overlaps it. Apply this rule to all boxes
    at once until nothing changes: the first box is right from the start, and each round puts at
    least one more right, so what remains is the greedy answer. A few rounds do, as chains of boxes
    that save each other are short (Cluster-NMS, Zheng et al. 2020, arXiv 2005.03572).

    Args:
        overlaps: (..., B, B) bool, boxes in descending order of score.

    Returns:
        (..., B) bool.
    """
    # Only a better box (row) can suppress a worse one (column).
    overlaps = overlaps.triu(diagonal=1)

    survives = ~overlaps.any(dim=-2)
    while True:
        updated = ~(overlaps & survives[..., None]).any(dim=-2)
        if torch.equal(updated, survives):
            return survives
        survives = updated


@torch.no_grad()
def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    sigma: float = 0.5,
    threshold: float = 0.001,
    *,
    method: str = "gaussian",
    iou_threshold: float = 0.3,
) -> tuple[Tensor, Tensor]:
    """Lower the scores of boxes that overlap a better one, instead of dropping them.

    Each round selects the box with the highest score as it stands now, after all decays so far, and
    lowers the others:

        gaussian: s ← s · exp(−IoU² / σ), for every overlap     (Bodla et al. 2017, section 3)
        linear:   s ← s · (1 − IoU), if IoU > iou_threshold      (equation 2)

    The rounds depend on each other, so this loops over the selected boxes.

    Args:
        boxes: (N, 4), xyxy.
        scores: (N,), at least 0.
        sigma: width of the Gaussian; "linear" does not use it.
        threshold: boxes whose score falls below it are left out.
        method: "gaussian" or "linear".
        iou_threshold: overlap from which "linear" lowers a score; "gaussian" does not use it.

    Returns:
        keep: (K,) int64, indices in the order of selection.
        scores: (K,), the decayed scores of these boxes, in descending order.

    Raises:
        ValueError: besides, for an unknown method or sigma ≤ 0.
    """
    _check_inputs(boxes, scores, iou_threshold)
    _check_decay(method, sigma, threshold)
    scores = upcast(scores)
    left = torch.arange(len(scores), device=scores.device)  # indices of the boxes not yet selected

    keep, kept_scores = [], []
    while len(left) > 0 and scores.max() >= threshold:
        # The best as the scores stand now; it keeps the score that it has.
        best = int(scores.argmax())
        keep.append(int(left[best]))
        kept_scores.append(float(scores[best]))

        # The others decay. The product adds up: a box may be lowered by several better ones.
        iou = box_iou(boxes[best][None], boxes)[0]  # (1, 4) and (L, 4) -> (L,)
        if method == "gaussian":
            scores = scores * torch.exp(-(iou**2) / sigma)
        else:
            scores = torch.where(iou > iou_threshold, scores * (1 - iou), scores)

        # Go on without it.
        others = torch.arange(len(left), device=left.device) != best
        boxes = boxes[others]
        scores = scores[others]
        left = left[others]

    return left.new_tensor(keep), scores.new_tensor(kept_scores)


# ---- what comes in ----


def _check_inputs(boxes: Tensor, scores: Tensor, iou_threshold: float) -> None:
    check_boxes(boxes)
    if boxes.ndim != 2:
        raise ValueError(f"boxes must have shape (N, 4), got {tuple(boxes.shape)}")
    _check_one_per_box("scores", scores, boxes)
    if math.isnan(iou_threshold):
        raise ValueError("iou_threshold must be a number, mostly in [0, 1], got NaN")


def _check_decay(method: str, sigma: float, threshold: float) -> None:
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}: expected one of {', '.join(METHODS)}")
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    if math.isnan(threshold):
        raise ValueError("threshold must be a number, got NaN")


def _check_one_per_box(name: str, values: Tensor, boxes: Tensor) -> None:
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(values).__name__}")
    if values.shape != boxes.shape[:1]:
        raise ValueError(
            f"{name} must hold one number per box, ({len(boxes)},), got {tuple(values.shape)}"
        )
