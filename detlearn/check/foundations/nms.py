"""Exercise 1.4: greedy non-maximum suppression."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import box_area, box_iou, intersection_and_union
from detlearn.check.boxes import boxes_of, draw_scored, random_boxes, show_scored
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.nms import naive_nms


def _nms_cases(random: torch.Generator) -> list[Case]:
    few, some, others = (_crowded(number, random) for number in (6, 40, 50))
    order = torch.randperm(40, generator=random)

    return [
        *_nms_by_hand(),
        *_nms_of_equals(),
        Case("random", (*few, 0.5), "6 boxes in a crowd"),
        Case("random", (*some, 0.5), "40 boxes in a crowd"),
        Case("random", (*some, 0.3), "40 boxes in a crowd, with a threshold of 0.3"),
        Case("random", (*others, 0.7), "50 boxes in a crowd, with a threshold of 0.7"),
        Case("property", (some[0] - 300, some[1], 0.5), "the same boxes moved below zero"),
        Case("property", (some[0] / 60, some[1], 0.5), "the same boxes inside [0, 1]"),
        Case("property", (some[0][order], some[1][order], 0.5), "the boxes in another order"),
        Case("property", (some[0], some[1] - 2, 0.5), "the same boxes with negative scores"),
    ]


def _nms_by_hand() -> list[Case]:
    # IoU of neighbours 0.6, of the first with the third 1/3: a chain, and one box apart.
    chain = boxes_of((0, 0, 40, 40), (10, 0, 50, 40), (20, 0, 60, 40), (80, 80, 99, 99))
    chained = [
        Case(
            "by hand",
            (chain[:2], torch.tensor([0.8, 0.9]), 0.5),
            "two boxes with an IoU of 0.6",
            torch.tensor([1]),
        ),
        Case(
            "by hand",
            (chain[[2, 3, 0]], torch.tensor([0.3, 0.9, 0.6]), 0.5),
            "three boxes that overlap little",
            torch.tensor([1, 2, 0]),
        ),
        Case(
            "by hand",
            (chain, torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.5),
            "a chain: the first suppresses the second, which therefore spares the third",
            torch.tensor([0, 2, 3]),
        ),
        Case(
            "by hand",
            (chain[[1, 0, 3]], torch.tensor([0.5, 0.9, 0.7]), 0.5),
            "two boxes with an IoU of 0.6 and one apart, which is the second best",
            torch.tensor([1, 2]),
        ),
    ]

    half = boxes_of((0, 0, 20, 20), (0, 0, 20, 10))  # IoU exactly 1/2
    at_the_threshold = [
        Case(
            "by hand",
            (half, torch.tensor([0.9, 0.8]), 0.5),
            "an IoU of exactly the threshold",
            torch.tensor([0, 1]),
        ),
        Case(
            "by hand",
            (torch.cat((chain[3:], half)), torch.tensor([0.7, 0.9, 0.8]), 0.5),
            "an IoU of exactly the threshold and one box apart",
            torch.tensor([1, 2, 0]),
        ),
    ]

    return [*chained, *at_the_threshold]


def _nms_of_equals() -> list[Case]:
    """Make cases of equal scores and of equal boxes, of negative scores, of no box and of one."""
    none = torch.zeros(0, 4)
    one = boxes_of((5, 5, 20, 30))

    # Equal scores, but other places: whoever looks a box up by its score finds the first alone.
    apart = boxes_of((0, 0, 20, 20), (50, 0, 70, 20), (0, 50, 20, 70))
    equal = [
        Case(
            "by hand",
            (apart[:2], torch.tensor([0.5, 0.5]), 0.5),
            "two boxes far apart with equal scores",
            torch.tensor([0, 1]),
        ),
        Case(
            "by hand",
            (apart, torch.tensor([0.5, 0.8, 0.5]), 0.5),
            "three boxes far apart, two of them with equal scores",
            torch.tensor([1, 0, 2]),
        ),
    ]

    # A score is any number.
    pair = boxes_of((0, 0, 40, 40), (10, 0, 50, 40), (80, 80, 99, 99))
    negative = [
        Case(
            "by hand",
            (pair, torch.tensor([0.5, 0.7, -0.9]), 0.5),
            "two boxes with an IoU of 0.6 and one apart, whose score is negative",
            torch.tensor([1, 2]),
        ),
        Case(
            "by hand",
            (apart, torch.tensor([0.3, -0.8, 0.6]), 0.5),
            "three boxes far apart, one with a negative score",
            torch.tensor([2, 0, 1]),
        ),
    ]

    # Twins with equal scores, far from each other: of each pair the earlier one stays.
    places = boxes_of((0, 0, 20, 20), (50, 0, 70, 20), (0, 50, 20, 70))
    twins = torch.cat((places, places.flip(0)))

    return [
        *equal,
        *negative,
        Case("degenerate", (none, torch.zeros(0), 0.5), "no boxes at all"),
        Case("degenerate", (one, torch.tensor([0.1]), 0.5), "a single box"),
        Case(
            "degenerate",
            (one.repeat(4, 1), torch.tensor([0.2, 0.5, 0.9, 0.7]), 0.5),
            "four equal boxes",
        ),
        Case(
            "degenerate",
            (one.repeat(3, 1), torch.tensor([0.5, 0.5, 0.5]), 0.5),
            "three equal boxes with equal scores",
            torch.tensor([0]),
        ),
        Case(
            "degenerate",
            (twins, torch.tensor([0.6, 0.7, 0.8, 0.8, 0.7, 0.6]), 0.5),
            "three pairs of equal boxes with equal scores",
            torch.tensor([2, 1, 0]),
        ),
    ]


def _crowded(number: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return boxes that overlap a lot, with distinct scores in no order."""
    scores = torch.randperm(number, generator=random) / number + 0.5 / number
    return random_boxes(number, random, size=60.0), scores


# ---- what is changed ----


def _nms_with(
    suppresses: Callable[[Tensor, float], Tensor] = lambda iou, t: iou > t,
    order: Callable[[Tensor], Tensor] = lambda s: s.argsort(descending=True, stable=True),
    by: str = "kept",
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Return greedy suppression with something changed.

    Args:
        suppresses: which pairs overlap too much.
        order: the indices of the boxes in the order in which they are taken.
        by: what may suppress a box: the "kept" ones, all "better", the "last" or the "first" kept.
    """

    def function(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
        ranked = order(scores).tolist()
        hits = suppresses(box_iou(boxes, boxes), iou_threshold)

        keep: list[int] = []
        for rank, i in enumerate(ranked):
            # Those that may suppress box i.
            rivals = {
                "kept": keep,
                "better": ranked[:rank],
                "last": keep[-1:],
                "first": keep[:1],
            }

            if not any(hits[j, i] for j in rivals[by]):
                keep.append(i)

        return torch.tensor(keep, dtype=torch.int64)

    return function


def _positions_as_indices(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return what looks up the IoU of the n-th and m-th best as that of boxes n and m."""
    order = scores.argsort(descending=True, stable=True)
    hits = box_iou(boxes, boxes) > iou_threshold

    kept: list[int] = []
    for rank in range(len(boxes)):
        if not any(hits[other, rank] for other in kept):
            kept.append(rank)

    return order[torch.tensor(kept, dtype=torch.int64)]


def _indices_as_positions(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return what looks up the IoU of boxes n and m as that of the n-th and m-th best."""
    order = scores.argsort(descending=True, stable=True)
    hits = box_iou(boxes[order], boxes[order]) > iou_threshold

    keep: list[int] = []
    for i in order.tolist():
        if not any(hits[other, i] for other in keep):
            keep.append(i)

    return torch.tensor(keep, dtype=torch.int64)


def _spares_equal_scores(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return what suppresses boxes with a lower score only."""
    hits = (box_iou(boxes, boxes) > iou_threshold) & (scores[:, None] > scores)

    keep: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if not any(hits[other, i] for other in keep):
            keep.append(i)

    return torch.tensor(keep, dtype=torch.int64)


def _stops_early(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return what goes on while more than one box is left."""
    left = scores.argsort(descending=True, stable=True)
    keep = []
    while len(left) > 1:
        keep.append(int(left[0]))

        iou = box_iou(boxes[left[:1]], boxes[left[1:]])[0]
        left = left[1:][iou <= iou_threshold]

    return torch.tensor(keep, dtype=torch.int64)


def _later_ones_only(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return what suppresses only boxes that come later in the input."""
    hits = (box_iou(boxes, boxes) > iou_threshold).triu(1)

    keep: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if not any(hits[other, i] for other in keep):
            keep.append(i)

    return torch.tensor(keep, dtype=torch.int64)


def _ends_at_the_first(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return what ends where the first box goes."""
    hits = box_iou(boxes, boxes) > iou_threshold

    keep: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if any(hits[other, i] for other in keep):
            break
        keep.append(i)

    return torch.tensor(keep, dtype=torch.int64)


def _overlap_with(
    divisor: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Return suppression by the intersection over another area, of the kept box and the other."""

    def function(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
        intersection, _ = intersection_and_union(boxes[:, None], boxes)
        areas = box_area(boxes)
        hits = intersection / divisor(areas[:, None], areas) > iou_threshold

        keep: list[int] = []
        for i in scores.argsort(descending=True, stable=True).tolist():
            if not any(hits[other, i] for other in keep):
                keep.append(i)

        return torch.tensor(keep, dtype=torch.int64)

    return function


def _zeroes_scores(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return what sets the scores of what goes to 0 and ends where none is positive."""
    scores, iou = scores.clone(), box_iou(boxes, boxes)
    keep: list[int] = []
    while len(scores) and scores.max() > 0:
        keep.append(int(scores.argmax()))
        scores[iou[keep[-1]] > iou_threshold] = 0
        scores[keep[-1]] = 0
    return torch.tensor(keep, dtype=torch.int64)


def _skips_after_removing(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return what removes from the list through which it walks."""
    left, iou = scores.argsort(descending=True, stable=True).tolist(), box_iou(boxes, boxes)
    keep: list[int] = []
    while left:
        keep.append(left.pop(0))
        for i in left:
            if iou[keep[-1], i] > iou_threshold:
                left.remove(i)
    return torch.tensor(keep, dtype=torch.int64)


def _found_by_score(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return what looks each box up by its score."""
    listed, iou = scores.tolist(), box_iou(boxes, boxes)
    keep: list[int] = []
    for score in sorted(listed, reverse=True):
        i = listed.index(score)
        if not any(iou[other, i] > iou_threshold for other in keep):
            keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)


def _ties_reversed(scores: Tensor) -> Tensor:
    return scores.argsort(stable=True).flip(0)


def _positions(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    order = scores.argsort(descending=True, stable=True)
    return naive_nms(boxes[order], scores[order], iou_threshold)


def _kept(convert: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda boxes, scores, t: convert(naive_nms(boxes, scores, t), boxes, scores)


NMS = Exercise(
    number="1.4",
    name="nms",
    reference=naive_nms,
    cases=_nms_cases,
    misconceptions=(
        Misconception(
            "you return positions in the sorted list; look up which boxes stand there: order[…]",
            _positions,
        ),
        Misconception(
            "the boxes are sorted from the lowest score to the highest; the best comes first",
            _nms_with(order=lambda s: s.argsort(stable=True)),
        ),
        Misconception(
            "you take the boxes as they come; take the one with the highest score first",
            _nms_with(order=lambda s: torch.arange(len(s))),
        ),
        Misconception(
            "a box goes if its IoU is above the threshold; at the threshold itself it stays",
            _nms_with(lambda iou, t: iou >= t),
        ),
        Misconception(
            "a suppressed box suppresses others in your function; only boxes that are kept may",
            _nms_with(by="better"),
        ),
        Misconception(
            "you compare with the last kept box only; compare with all that are kept",
            _nms_with(by="last"),
        ),
        Misconception(
            "only the best box of all suppresses others; go on with the next one that is left",
            _nms_with(by="first"),
        ),
        Misconception(
            "the threshold is the one you are given, iou_threshold; yours is always 0.5",
            lambda boxes, scores, iou_threshold: naive_nms(boxes, scores, 0.5),
        ),
        Misconception(
            "the comparison is the wrong way round: boxes with a large overlap go, the others stay",
            _nms_with(lambda iou, t: iou < t),
            _nms_with(lambda iou, t: iou <= t),
        ),
        Misconception(
            "the IoU that you look up belongs to other boxes: sort the boxes and the scores alike, "
            "or look it up by index, iou[order[i], order[j]]",
            _positions_as_indices,
            _indices_as_positions,
        ),
        Misconception(
            "of equal scores the earlier box comes first; turning argsort() round turns them round "
            "as well: argsort(descending=True, stable=True)",
            _nms_with(order=_ties_reversed),
        ),
        Misconception(
            "a box goes if it overlaps a kept one too much, whatever its score; yours spares those "
            "with an equal score",
            _spares_equal_scores,
        ),
        Misconception(
            "a kept box suppresses others wherever they stand in the input; yours only those with "
            "a larger index",
            _later_ones_only,
        ),
        Misconception(
            "where a box goes, go on with the next one: continue, do not break",
            _ends_at_the_first,
        ),
        Misconception(
            "what counts is the IoU, the intersection over the union; yours divides by the area of "
            "one box",
            _overlap_with(lambda kept, other: other),
            _overlap_with(lambda kept, other: kept),
            _overlap_with(torch.minimum),
            _overlap_with(torch.maximum),
        ),
        Misconception(
            "a score may be any number, zero or negative as well: remember which boxes are gone "
            "instead of setting their scores to 0",
            _zeroes_scores,
        ),
        Misconception(
            "you remove from the list that the loop walks through, so the next box is skipped; "
            "make a new list of those that stay",
            _skips_after_removing,
        ),
        Misconception(
            "two boxes may have the same score, and index() finds the first of them each time: "
            "sort the indices, scores.argsort(descending=True, stable=True)",
            _found_by_score,
        ),
        Misconception(
            "nothing is suppressed: this is the list of boxes sorted by score",
            _nms_with(lambda iou, t: torch.zeros_like(iou, dtype=torch.bool)),
        ),
        Misconception(
            "the kept boxes are in the order of their indices; return the best first",
            _kept(lambda keep, boxes, scores: keep.sort().values),
        ),
        Misconception(
            "you return boxes; return their indices, int64", _kept(lambda k, boxes, s: boxes[k])
        ),
        Misconception(
            "you return scores; return the indices of the boxes, int64",
            _kept(lambda keep, boxes, scores: scores[keep]),
        ),
        Misconception(
            "you return a mask; return the indices of the kept boxes, best first",
            _kept(lambda keep, boxes, scores: torch.isin(torch.arange(len(boxes)), keep)),
        ),
        Misconception(
            "the last box of the result is missing: check where the loop ends",
            _kept(lambda keep, boxes, scores: keep[:-1]),
            _stops_early,
        ),
    ),
    returns=("keep",),
    draw=draw_scored,
    narrow=show_scored,
    solution=(naive_nms,),
    allowed=frozenset({"box_iou", "box_area", "paired_iou"}),
)
