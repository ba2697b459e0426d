"""Average precision step by step, for one class and one IoU threshold, written to be read.

`true_positives` judges the detections of one image, `precision_recall` makes the curve from the
verdicts of all images, `average_precision` is the area below it. `coco_metrics` computes the same
for all classes, thresholds and sizes at once, with crowds and ignored objects.

Shapes: D detections, G objects. Source: COCO's evaluation (Lin et al. 2014, arXiv 1405.0312).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from detlearn.boxes import box_iou


def true_positives(boxes: Tensor, gt_boxes: Tensor, iou_threshold: float = 0.5) -> Tensor:
    """Say which detections of one image and class are right.

    In the given order each detection takes, of the objects that are still free, the one it overlaps
    most, if their IoU reaches the threshold. A second detection of an object is wrong.

    Args:
        boxes: (D, 4) xyxy, the best detection first.
        gt_boxes: (G, 4) xyxy, the objects of this class.
        iou_threshold: IoU at which a detection counts as right, itself included.

    Returns:
        (D,) bool.
    """
    iou = box_iou(boxes, gt_boxes)  # (D, G)
    right = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)

    for d in range(len(boxes)):
        if len(gt_boxes) > 0 and iou[d].max() >= iou_threshold:
            right[d] = True
            iou[:, iou[d].argmax()] = -1  # this object is taken

    return right


def precision_recall(scores: Tensor, right: Tensor, num_objects: int) -> tuple[Tensor, Tensor]:
    """Compute precision and recall of the list, cut after its first detection, its second, …

    Args:
        scores: (D,), in any order.
        right: (D,) bool, the verdict on each detection.
        num_objects: objects of the class in all images; at least 1.

    Returns:
        precision: (D,) float64, of the cuts from the highest score to the lowest.
        recall: (D,), of the same cuts; it never falls.
    """
    right = right[scores.argsort(descending=True, stable=True)]

    found = right.cumsum(0).double()  # a recall of 0.9 in float32 would miss the level 0.9
    listed = torch.arange(1, len(right) + 1, device=right.device)
    return found / listed, found / num_objects


def average_precision(precision: Tensor, recall: Tensor) -> Tensor:
    """Compute COCO's average precision: the mean precision over 101 levels of recall.

    The precision at a level is the best one at this recall or more; a level that is never reached
    counts 0.

    Args:
        precision: (D,), from `precision_recall`.
        recall: (D,), the recall of the same cuts, never falling.

    Returns:
        a scalar in [0, 1], float64.
    """
    # Looking back from the last cut: the best precision so far.
    best_from_here = precision.double().flip(0).cummax(0).values.flip(0)

    # NumPy's levels are pycocotools'; torch rounds some of them to a neighbouring number.
    levels = torch.from_numpy(np.linspace(0, 1, 101)).to(recall.device)

    first = torch.searchsorted(recall.double(), levels)  # the first cut that reaches the level
    reached = first < len(recall)
    return best_from_here[first[reached]].sum() / len(levels)
