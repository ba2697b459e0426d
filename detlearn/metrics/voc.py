"""Average precision as Pascal VOC measures it.

Sources: Everingham et al. 2010, "The Pascal Visual Object Classes Challenge", section 4.2, and the
rules of py-faster-rcnn's ``voc_eval.py``, with which published VOC numbers were made.

It differs from COCO (coco.py) in more than the single IoU threshold. A detection may claim only
*the* target it overlaps best: if a better-scored detection has that one, it is a false positive,
even if another target lies free beside it. The overlap must be above the threshold, not equal. A
target marked ``difficult`` is neither to be found nor an error when found. There is no limit on the
number of detections.

Because no second choice exists, no rounds of matching are needed: among those that claim a target,
the first by score is right.

Shape shorthand: D detections, G targets, P overlapping pairs, K classes.

Where we differ from the official code:

- No "+ 1" in widths and heights. VOC files hold 1-based corners that belong to the box, so that a
  box is x2 - x1 + 1 wide. `data.VOCDetection` reads them as (x1 - 1, y1 - 1, x2, y2); the width is
  then x2 - x1, the same number, and detections, whose coordinates are continuous, get no pixel
  added that they do not have.
- Detections of equal score keep the order given; the official order is left to the sort.
- A class without (not difficult) targets gets -1 and is left out of the mean, instead of NaN.
- Crowds (``iscrowd``), which VOC does not know, are treated as difficult.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from detlearn.metrics.flat import FlatDetections, FlatTargets, flatten
from detlearn.metrics.pairs import overlapping_pairs
from detlearn.metrics.summary import format_percent, names_or_numbers

# In steps of a float 0.1, as in the official code: the fourth is 0.30000000000000004, and a recall
# of exactly 0.3 does not reach it.
ELEVEN_LEVELS = np.arange(0.0, 1.1, 0.1)


@dataclass(frozen=True, eq=False)
class VocMetrics:
    """AP by class, and the curves behind it.

    Attributes:
        ap_per_class: (K,) AP, -1 for a class without targets.
        curves: for each class recall (D,) and precision (D,) after each counted detection.
        class_names: K names.
    """

    ap_per_class: np.ndarray
    curves: list[tuple[np.ndarray, np.ndarray]]
    class_names: tuple[str, ...]

    @property
    def mean_ap(self) -> float:
        """Mean AP of the classes that have targets ("mAP"), -1 if none has."""
        present = self.ap_per_class[self.ap_per_class > -1]
        return float(present.mean()) if present.size else -1.0

    def __repr__(self) -> str:
        return f"VocMetrics(mean_ap={self.mean_ap:.4f})"

    def _repr_markdown_(self) -> str:
        rows = ["| class | AP |", "|:--|--:|", f"| **mean** | **{format_percent(self.mean_ap)}** |"]
        for name, ap in zip(self.class_names, self.ap_per_class):
            rows.append(f"| {name} | {format_percent(ap)} |")
        return "\n".join(rows)


def voc_ap(
    recall: Sequence[float] | np.ndarray | Tensor,
    precision: Sequence[float] | np.ndarray | Tensor,
    method: str = "every-point",
) -> float:
    """Compute the area under a precision-recall curve.

    Args:
        recall: (D,) after each detection by falling score; never falls.
        precision: (D,) at the same places.
        method: "every-point", the exact area under the curve once made monotone (VOC from 2010), or
            "11-point", the mean over recall 0, 0.1, ..., 1 of the highest precision at that recall
            or beyond (VOC 2007).

    Returns:
        AP from 0 to 1; 0 for an empty curve.

    Raises:
        ValueError: shapes that differ, numbers outside 0 to 1, falling recall or an unknown method.
    """
    recall, precision = np.asarray(recall, dtype=float), np.asarray(precision, dtype=float)
    if recall.ndim != 1 or recall.shape != precision.shape:
        raise ValueError(
            f"recall has shape {recall.shape}, precision {precision.shape}; expected (D,) for both"
        )

    for name, values in (("recall", recall), ("precision", precision)):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{name} must lie between 0 and 1, got {values}")

    if (np.diff(recall) < 0).any():
        raise ValueError(
            f"recall must not fall; sort the detections by falling score. Got {recall}"
        )

    # Each precision becomes the highest at its recall or beyond; beyond the last recall it is 0.
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)

    if method == "every-point":
        return float(np.sum(np.diff(recall, prepend=0.0) * envelope[:-1]))

    if method == "11-point":
        return float(np.mean(envelope[np.searchsorted(recall, ELEVEN_LEVELS, side="left")]))

    raise ValueError(f'method must be "every-point" or "11-point", got {method!r}')


def voc_metrics(
    detections: Sequence[dict[str, Tensor]],
    targets: Sequence[dict[str, Tensor]],
    num_classes: int,
    *,
    iou_threshold: float = 0.5,
    method: str = "every-point",
    class_names: Sequence[str] | None = None,
) -> VocMetrics:
    """Measure detections against targets by the rules of Pascal VOC.

    Args:
        detections: one dictionary per image, as for `coco_metrics`.
        targets: one dictionary per image: ``boxes`` (M, 4), ``labels`` (M,), optionally
            ``difficult`` (M,).
        num_classes: K.
        iou_threshold: the overlap that a right detection must exceed, at least 0.
        method: how to take the area, see `voc_ap`.
        class_names: K names for the printed table.

    Returns:
        AP and precision-recall curve of each class, and their mean.

    Raises:
        TypeError, ValueError: malformed input; the message names the image and the key.
    """
    if not 0 <= iou_threshold < 1:
        raise ValueError(f"iou_threshold must be at least 0 and below 1, got {iou_threshold}")
    names = names_or_numbers(class_names, num_classes)

    flat_detections, flat_targets = flatten(detections, targets, num_classes)
    flat_detections = flat_detections.take(np.argsort(-flat_detections.score, kind="stable"))

    # VOC knows no crowds: they are difficult, and overlap like any box.
    flat_targets = replace(
        flat_targets,
        difficult=flat_targets.difficult | flat_targets.crowd,
        crowd=np.zeros_like(flat_targets.crowd),
    )

    right, wrong = _judge(flat_detections, flat_targets, iou_threshold)

    curves, aps = [], np.full(num_classes, -1.0)
    for label in range(num_classes):
        rows = (flat_detections.label == label) & (right | wrong)
        num_right = np.cumsum(right[rows])
        num_targets = np.count_nonzero(~flat_targets.difficult[flat_targets.label == label])

        recall = num_right / max(num_targets, 1)
        precision = num_right / np.arange(1, len(num_right) + 1)
        curves.append((recall, precision))
        if num_targets:
            aps[label] = voc_ap(recall, precision, method)

    return VocMetrics(aps, curves, names)


def _judge(
    detections: FlatDetections, targets: FlatTargets, iou_threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Say which detections, given by falling score, are right (D,) and which are wrong (D,)."""
    above = np.nextafter(iou_threshold, 1)
    pair_detection, pair_target, iou = overlapping_pairs(detections, targets, min_iou=above)

    # Each detection claims its best target; of two equal ones the first.
    by_preference = np.lexsort((pair_target, -iou, pair_detection))
    claiming, first = np.unique(pair_detection[by_preference], return_index=True)
    claimed = pair_target[by_preference][first]

    # The first to claim a target is right. np.unique gives that one: claims stand by falling score.
    _, first_claim = np.unique(claimed, return_index=True)
    right = np.zeros(len(detections), dtype=bool)
    right[claiming[first_claim]] = True

    # A claim on a difficult target is neither.
    neither = np.zeros(len(detections), dtype=bool)
    neither[claiming] = targets.difficult[claimed]
    return right & ~neither, ~right & ~neither
