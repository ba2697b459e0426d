"""Average precision as COCO measures it.

Sources: Lin et al. 2014, "Microsoft COCO", and the rules of ``pycocotools/cocoeval.py``.

For each class, IoU threshold and area range the detections of a data set are walked through by
falling score. Each takes the target of its image that it overlaps best, if that reaches the
threshold and nobody has taken it before; it is then a true positive, otherwise a false one.
Precision and recall after each step give a curve, and AP is the mean height of that curve at 101
recall levels.

Shape shorthand: D detections, G targets, P pairs of them with IoU >= .5, C detections that occur in
a pair, K classes, T = 10 IoU thresholds, A = 4 area ranges. A *group* is one class in one image.

**Why it is fast.** "Nobody has taken it before" makes matching sequential, but only within a group:
what happens in one image never touches another. So we do not walk through the data set group by
group. Round r handles the r-th best detection of *every* group at once, for all T x A settings side
by side; with 5 000 images there are some dozen rounds, each a few array operations on thousands of
detections. Before that, all pairs that can never match are dropped: different image or class, or
IoU below .5. Most detections have no pair left and are false positives at every threshold without
any matching.

Where we differ from pycocotools (numbers are equal to 1e-12 otherwise, see tests/test_metrics.py):

- There are no annotation ids. pycocotools reads the id 0 as "not matched" and scores a perfect
  detection as wrong.
- Inverted boxes, NaN and labels out of range are errors instead of silent zeros.
- Precision is kept for 100 detections only, the one limit that any of the twelve numbers uses.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from detlearn.metrics.flat import FlatDetections, FlatTargets, flatten
from detlearn.metrics.pairs import overlapping_pairs
from detlearn.metrics.summary import (
    AREA_RANGES,
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    RECALL_LEVELS,
    CocoMetrics,
    names_or_numbers,
)

NOT_MATCHED = -1


def coco_metrics(
    detections: Sequence[dict[str, Tensor]],
    targets: Sequence[dict[str, Tensor]],
    num_classes: int,
    *,
    class_names: Sequence[str] | None = None,
) -> CocoMetrics:
    """Measure detections against targets by the rules of COCO.

    Args:
        detections: one dictionary per image: ``boxes`` (N, 4) x1, y1, x2, y2 in pixels, ``scores``
            (N,), ``labels`` (N,) from 0 to K - 1; any device. Equal scores rank by the images'
            ``image_id`` where all targets have one, then in the order given.
        targets: one dictionary per image in the same order: ``boxes`` (M, 4), ``labels`` (M,), and
            optionally ``area`` (M,), which decides small, medium and large in place of the box's
            area, and ``iscrowd`` (M,): a crowd region may swallow many detections, which then count
            neither as right nor as wrong.
        num_classes: K.
        class_names: K names for the printed tables.

    Returns:
        The twelve numbers, AP by class and precision-recall curves. -1 where there is nothing to
        measure.

    Raises:
        TypeError, ValueError: malformed input; the message names the image and the key (see
            `flat.flatten`).
    """
    names = names_or_numbers(class_names, num_classes)
    flat_detections, flat_targets = flatten(detections, targets, num_classes)

    # The order of judging, and who is left out of it.
    order, rank = rank_detections(flat_detections)
    flat_detections = flat_detections.take(order)
    ignored = ignored_targets(flat_targets)  # (G, A)

    candidates, matched = match(flat_detections, flat_targets, ignored, IOU_THRESHOLDS)
    precision, recall = _accumulate(
        flat_detections, rank, flat_targets.label, ignored, candidates, matched, num_classes
    )
    return CocoMetrics(precision, recall, names)


def rank_detections(detections: FlatDetections) -> tuple[np.ndarray, np.ndarray]:
    """Order detections by class, then by falling score, and keep the best 100 of each group.

    The limit holds per image *and* class: 200 right detections of two classes in one image count.

    Args:
        detections: D flat detections in any order.

    Returns:
        Indices of the kept detections in the new order, and the rank of each in its group, 0 for
        the best.
    """
    # By class, then by score, then by image; what still ties keeps its order.
    order = np.lexsort((detections.turn, -detections.score, detections.label))
    image, label = detections.image[order], detections.label[order]

    group = image * (1 + label.max(initial=0)) + label
    rank = rank_within(group)
    kept = rank < MAX_DETECTIONS[-1]
    return order[kept], rank[kept]


def rank_within(group: np.ndarray) -> np.ndarray:
    """Return how many earlier rows have the same group, (N,): [7, 5, 7, 7] gives [0, 0, 1, 2]."""
    # Side by side, the rows of a group count up from the place where the group starts.
    order = np.argsort(group, kind="stable")
    starts_here = np.diff(group[order], prepend=-1) != 0
    place = np.arange(len(group))
    first_place = np.maximum.accumulate(np.where(starts_here, place, 0))

    # Back to the order given.
    rank = np.empty_like(place)
    rank[order] = place - first_place
    return rank


def outside_range(area: np.ndarray) -> np.ndarray:
    """Say of areas (N,) in squared pixels whether they lie outside each area range, (N, A) bool."""
    low, high = np.array(list(AREA_RANGES.values())).T
    return (area[:, None] < low) | (area[:, None] > high)


def ignored_targets(targets: FlatTargets) -> np.ndarray:
    """Say which targets nobody need find, being crowds or of another size, (G, A) bool."""
    return targets.crowd[:, None] | outside_range(targets.area)


def match(
    detections: FlatDetections,
    targets: FlatTargets,
    ignored: np.ndarray,
    iou_thresholds: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Give each detection the best target still free, best scores first, at all settings at once.

    Among the free targets that reach the threshold, one that counts beats one that is ignored, then
    the higher IoU wins, then the later target. A crowd is always free.

    Args:
        detections: D detections, by falling score within each group.
        targets: G targets.
        ignored: (G, A) bool for A area ranges.
        iou_thresholds: (T,) ascending, above 0.

    Returns:
        candidates: (C,) ascending indices of the detections that reach any target at the lowest
            threshold.
        matched: (C, T, A) index of the target each took, or NOT_MATCHED; all other detections are
            unmatched.
    """
    # Of a threshold of 1 pycocotools asks for a hair less, lest rounding decides.
    iou_thresholds = np.minimum(iou_thresholds, 1 - 1e-10)
    pair_detection, pair_target, pair_iou = overlapping_pairs(
        detections, targets, min_iou=iou_thresholds[0]
    )

    # Only detections with a pair take part. From here on a pair says which candidate it is of.
    candidates, pair_candidate = np.unique(pair_detection, return_inverse=True)

    # Candidates stand by falling score, so a candidate's rank in its group is its round.
    group = targets.image * (1 + targets.label.max(initial=0)) + targets.label
    is_first_pair = np.diff(pair_detection, prepend=-1) != 0
    round_of = rank_within(group[pair_target[is_first_pair]])  # (C,)

    # Line the pairs up by round, then by candidate, then from worst to best: of several possible
    # pairs of a candidate, the best is then the last.
    order = np.lexsort((pair_target, pair_iou, pair_candidate, round_of[pair_candidate]))
    pair_candidate, pair_target = pair_candidate[order], pair_target[order]
    reaches = pair_iou[order][:, None] >= iou_thresholds  # (P, T)

    num_settings = len(iou_thresholds), ignored.shape[1]
    free = np.ones((len(targets), *num_settings), dtype=bool)  # (G, T, A)
    matched = np.full((len(candidates), *num_settings), NOT_MATCHED, dtype=np.int32)  # (C, T, A)

    for pairs in _stretches(round_of[pair_candidate]):
        candidate, target = pair_candidate[pairs], pair_target[pairs]  # (p,)
        possible = free[target] & reaches[pairs, :, None]  # (p, T, A)
        first, taken = _best_targets(candidate, target, possible, ~ignored[target])
        matched[candidate[first]] = taken

        # No two candidates of a round are of one group, so none of them took the same target.
        which, threshold, area = np.nonzero(taken != NOT_MATCHED)
        taken = taken[which, threshold, area]
        free[taken, threshold, area] = targets.crowd[taken]

    return candidates, matched


def _best_targets(
    candidate: np.ndarray, target: np.ndarray, possible: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Choose, for each candidate of a round, the best of its possible pairs.

    Args:
        candidate: (p,) the candidate of each pair, equal ones side by side.
        target: (p,) the target of each pair; a candidate's pairs stand from worst to best.
        possible: (p, T, A) bool.
        counts: (p, A) bool: the target is not ignored.

    Returns:
        first: (c,) the place of each candidate's first pair.
        taken: (c, T, A) the target of its best pair, or NOT_MATCHED.
    """
    # A pair is worth its place from 1 on, and p more if its target counts; an impossible one 0.
    num_pairs = len(target)
    worth = np.arange(1, num_pairs + 1, dtype=np.int32)[:, None, None]  # (p, 1, 1)
    worth = worth + np.int32(num_pairs) * counts[:, None, :]  # (p, 1, A)

    first = np.flatnonzero(np.diff(candidate, prepend=-1))
    best = np.maximum.reduceat(worth * possible, first, axis=0)  # (c, T, A)

    place = (best - 1) % num_pairs
    return first, np.where(best > 0, target[place], NOT_MATCHED)


def _stretches(values: np.ndarray) -> Iterator[slice]:
    """Yield the stretches of equal numbers in an ascending array."""
    bounds = np.flatnonzero(np.diff(values, prepend=-1, append=-1))
    for start, stop in pairwise(bounds):
        yield slice(start, stop)


def _accumulate(
    detections: FlatDetections,
    rank: np.ndarray,
    target_label: np.ndarray,
    ignored: np.ndarray,
    candidates: np.ndarray,
    matched: np.ndarray,
    num_classes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Turn matches into precision (T, R, K, A) and recall (T, K, A, M), class by class."""
    num_thresholds, num_areas = matched.shape[1:]
    precision = np.full((num_thresholds, len(RECALL_LEVELS), num_classes, num_areas), -1.0)
    recall = np.full((num_thresholds, num_classes, num_areas, len(MAX_DETECTIONS)), -1.0)

    # Detections are ordered by class: those of class k are the rows edges[k] to edges[k + 1].
    edges = np.searchsorted(detections.label, np.arange(num_classes + 1))
    candidate_edges = np.searchsorted(candidates, edges)
    outside = outside_range(detections.area)  # (D, A)

    for label in range(num_classes):
        rows = slice(edges[label], edges[label + 1])
        chosen = slice(candidate_edges[label], candidate_edges[label + 1])
        true, wrong = _verdicts(
            outside[rows], candidates[chosen] - rows.start, matched[chosen], ignored
        )

        # Where there is nothing to find, the -1 stays.
        num_targets = np.count_nonzero(~ignored[target_label == label], axis=0)  # (A,)
        for area in np.flatnonzero(num_targets):
            precision[:, :, label, area] = precision_at_levels(
                true[:, area], wrong[:, area], num_targets[area]
            )
            for m, limit in enumerate(MAX_DETECTIONS):
                found = np.count_nonzero(true[:, area] & (rank[rows] < limit), axis=-1)
                recall[:, label, area, m] = found / num_targets[area]

    return precision, recall


def _verdicts(
    outside: np.ndarray, places: np.ndarray, matched: np.ndarray, ignored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Judge the D detections of one class, in all settings.

    Args:
        outside: (D, A) bool: the detection's own area lies outside the range.
        places: (C,) which of them are candidates.
        matched: (C, T, A) the target that each candidate took, or NOT_MATCHED.
        ignored: (G, A) bool.

    Returns:
        true, wrong: (T, A, D) bool, true and false positives. A detection is neither if it took an
        ignored target, or took none and is itself of another size.
    """
    is_match = matched != NOT_MATCHED  # (C, T, A)
    is_true = is_match & ~ignored[matched, np.arange(ignored.shape[1])]  # (C, T, A)

    # All but the candidates are unmatched at every threshold.
    wrong = np.repeat(~outside.T[None], matched.shape[1], axis=0)  # (T, A, D)
    wrong[:, :, places] &= ~is_match.transpose(1, 2, 0)  # (C, T, A) -> (T, A, C)
    true = np.zeros_like(wrong)
    true[:, :, places] = is_true.transpose(1, 2, 0)
    return true, wrong


def precision_at_levels(true: np.ndarray, wrong: np.ndarray, num_targets: int) -> np.ndarray:
    """Return the highest precision at each of the 101 recall levels or beyond.

    Args:
        true: (T, D) bool, true positives by falling score.
        wrong: (T, D) bool, false positives; a detection that is neither was ignored.
        num_targets: number of objects to find, at least 1.

    Returns:
        (T, 101), 0 where the recall level is never reached.
    """
    num_true, num_wrong = np.cumsum(true, axis=1), np.cumsum(wrong, axis=1)
    recall = num_true / num_targets
    precision = num_true / (num_wrong + num_true + np.spacing(1))

    # "Or beyond": from the right, the highest so far; 0 beyond the last recall.
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.pad(envelope, ((0, 0), (0, 1)))

    # The first detection at which each level is reached.
    reached = [np.searchsorted(row, RECALL_LEVELS, side="left") for row in recall]
    return np.take_along_axis(envelope, np.array(reached), axis=1)
