"""Which detection overlaps which target: the one list of pairs that every metric starts from.

Shape shorthand: D detections and G targets in the whole data set, P pairs of one of each.

An IoU that lies exactly on a threshold is decided by its last bit, so `pair_iou` follows the
arithmetic of pycocotools (``common/maskApi.c``, ``bbIou``) step by step.
"""

import numpy as np

from detlearn.metrics.flat import FlatDetections, FlatTargets

PAIRS_PER_CHUNK = 1 << 20  # bounds the memory of `overlapping_pairs` at some tens of megabytes


def overlapping_pairs(
    detections: FlatDetections, targets: FlatTargets, *, min_iou: float, same_label: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the pairs of one image (and one class) with an IoU of at least `min_iou`.

    Of the D x G conceivable pairs nearly all lie in different images. This list never holds them:
    the targets are sorted by group (image and class), so the partners of a detection are one
    stretch of that order.

    Args:
        detections: D flat detections.
        targets: G flat targets.
        min_iou: least overlap, above 0; a crowd's overlap counts as in `pair_iou`.
        same_label: pair only within a class; False pairs all that share an image.

    Returns:
        Three arrays (P,): index of the detection (ascending), index of the target (ascending within
        a detection), IoU.
    """
    # A group is an image, or a class in an image; only within a group can there be a pair.
    detection_group, target_group = detections.image, targets.image
    if same_label:
        num_labels = 1 + max(detections.label.max(initial=0), targets.label.max(initial=0))
        detection_group = detection_group * num_labels + detections.label
        target_group = target_group * num_labels + targets.label

    # Each detection's partners: `count` targets in a row, from place `first` of this order on.
    by_group = np.argsort(target_group, kind="stable")
    first = np.searchsorted(target_group[by_group], detection_group, side="left")
    count = np.searchsorted(target_group[by_group], detection_group, side="right") - first

    # Write the pairs out, some at a time, and keep those that overlap enough.
    num_chunks = 1 + int(count.sum()) // PAIRS_PER_CHUNK
    found = []
    for chunk in np.array_split(np.flatnonzero(count), num_chunks):
        pair_detection = np.repeat(chunk, count[chunk])
        place = np.repeat(first[chunk], count[chunk]) + _count_up(count[chunk])
        pair_target = by_group[place]

        iou = pair_iou(
            detections.box[pair_detection],
            targets.box[pair_target],
            targets.crowd[pair_target],
        )
        keep = iou >= min_iou
        found.append((pair_detection[keep], pair_target[keep], iou[keep]))

    pair_detection, pair_target, iou = (np.concatenate(column) for column in zip(*found))
    return pair_detection, pair_target, iou


def pair_iou(boxes: np.ndarray, target_boxes: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Compute the IoU of the i-th box with the i-th target, for all i, as pycocotools does.

    A crowd region is one box around many objects, and a good detection covers only a part of it;
    the intersection is then divided by the area of the detection alone.

    Args:
        boxes: (P, 4) x1, y1, width, height in pixels.
        target_boxes: (P, 4) in the same format.
        crowd: (P,) bool.

    Returns:
        (P,) IoU, 0 for boxes without area.
    """
    x, y, w, h = boxes.T
    target_x, target_y, target_w, target_h = target_boxes.T

    width = np.minimum(x + w, target_x + target_w) - np.maximum(x, target_x)
    height = np.minimum(y + h, target_y + target_h) - np.maximum(y, target_y)
    intersection = np.maximum(width, 0) * np.maximum(height, 0)

    area = w * h
    union = np.where(crowd, area, area + target_w * target_h - intersection)
    return np.divide(intersection, union, out=np.zeros_like(union), where=intersection > 0)


def _count_up(lengths: np.ndarray) -> np.ndarray:
    """Return 0, 1, …, n − 1 for each n of `lengths`: [2, 3] gives [0, 1, 0, 1, 2]."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
