"""Exercise 1.5: which detections of an image are right."""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detlearn.boxes import box_iou
from detlearn.check.boxes import Drawing, boxes_of, random_boxes
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case, Fault
from detlearn.metrics.curves import true_positives


def _match_cases(random: torch.Generator) -> list[Case]:
    none = torch.zeros(0, 4)
    one = boxes_of((0, 0, 40, 40))
    other = boxes_of((10, 0, 50, 40))

    # Objects, and three detections around each.
    gt = random_boxes(8, random, size=60.0)
    more = random_boxes(6, random, size=60.0)
    noisy = _around(gt, random)
    more_noisy = _around(more, random)

    return [
        *_match_by_hand(),
        Case("degenerate", (none, one, 0.5), "no detections"),
        Case("degenerate", (other, none, 0.5), "no objects"),
        Case("degenerate", (none, none, 0.5), "neither detections nor objects"),
        Case("random", (noisy, gt, 0.5), "24 detections of 8 objects"),
        Case("random", (noisy, gt, 0.75), "24 detections of 8 objects at a threshold of 0.75"),
        Case(
            "random", (more_noisy, more, 0.25), "18 detections of 6 objects at a threshold of 0.25"
        ),
        Case("property", (noisy - 300, gt - 300, 0.5), "the same boxes moved below zero"),
        Case("property", (noisy / 60, gt / 60, 0.5), "the same boxes inside [0, 1]"),
        Case(
            "property", (noisy, gt.flip(0), 0.5), "the same boxes with the objects in another order"
        ),
    ]


def _around(gt: Tensor, random: torch.Generator) -> Tensor:
    """Return three detections of each object in any order, at least a pixel wide and high."""
    boxes = gt.repeat(3, 1) + 5 * torch.randn(3 * len(gt), 4, generator=random)
    boxes = torch.cat((torch.min(boxes[:, :2], boxes[:, 2:] - 1), boxes[:, 2:]), dim=1)
    return boxes[torch.randperm(len(boxes), generator=random)]


def _match_by_hand() -> list[Case]:
    return [*_one_object_by_hand(), *_two_objects_by_hand()]


def _mask(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def _one_object_by_hand() -> list[Case]:
    car = boxes_of((0, 0, 40, 40))
    half = boxes_of((0, 0, 40, 20))
    good, better, poor = (boxes_of((x, 0, 40 + x, 40)) for x in (10, 2, 30))

    # Above the threshold, below it, at it.
    thresholds = [
        Case("by hand", (good, car, 0.5), "a detection with an IoU of 0.6", _mask(1)),
        Case("by hand", (poor, car, 0.5), "a detection with an IoU of 0.14", _mask(0)),
        Case("by hand", (half, car, 0.5), "an IoU of exactly the threshold", _mask(1)),
    ]

    # The first detection that is good enough has the object, and no other.
    rivals = [
        Case(
            "by hand",
            (torch.cat((half, good)), car, 0.5),
            "an IoU of exactly the threshold, and a better box after it",
            _mask(1, 0),
        ),
        Case(
            "by hand",
            (torch.cat((good, better)), car, 0.5),
            "two detections of one object",
            _mask(1, 0),
        ),
        Case(
            "by hand",
            (torch.cat((better, good)), car, 0.5),
            "two detections of one object, the better one first",
            _mask(1, 0),
        ),
        Case(
            "by hand",
            (torch.cat((poor, good)), car, 0.5),
            "a poor detection before a good one",
            _mask(0, 1),
        ),
    ]

    return [*thresholds, *rivals]


def _two_objects_by_hand() -> list[Case]:
    pair = boxes_of((0, 0, 40, 40), (12, 0, 52, 40))

    # Both detections overlap the first object most; the second is left with the other object.
    with_one_favourite = [
        Case(
            "by hand",
            (boxes_of((0, 0, 40, 40), (4, 0, 44, 40)), pair, 0.5),
            "two objects side by side, of which both detections prefer the first",
            _mask(1, 1),
        ),
        Case(
            "by hand",
            (boxes_of((0, 0, 40, 40), (80, 0, 99, 40), (4, 0, 44, 40)), pair, 0.5),
            "the same with a detection of nothing between them",
            _mask(1, 0, 1),
        ),
    ]

    # The best detection takes the object it overlaps most, and leaves the other to the second.
    with_a_choice = [
        Case(
            "by hand",
            (boxes_of((8, 0, 48, 40), (-4, 0, 36, 40)), pair, 0.5),
            "a first detection that covers two objects well enough",
            _mask(1, 1),
        ),
        Case(
            "by hand",
            (boxes_of((8, 0, 48, 40), (80, 0, 99, 40), (-4, 0, 36, 40)), pair, 0.5),
            "a first detection that covers two objects well enough, and one of nothing",
            _mask(1, 0, 1),
        ),
        Case(
            "by hand",
            (boxes_of((5, 0, 45, 40), (5, 4, 45, 44)), pair, 0.5),
            "two detections of two objects, of which the first covers both better",
            _mask(1, 1),
        ),
    ]

    # What it takes may be all that the second could have had.
    with_nothing_left = Case(
        "by hand",
        (boxes_of((4, 0, 44, 40), (-8, 0, 32, 40)), pair, 0.5),
        "a first detection that takes the only object of the second",
        _mask(1, 0),
    )

    return [*with_one_favourite, *with_a_choice, with_nothing_left]


def _match_with(
    reaches: Callable[[Tensor, float], Tensor] = lambda iou, t: iou >= t,
    free_only: bool = True,
    retake: bool = False,
    always_takes: bool = False,
    first: bool = False,
    stops: bool = False,
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Return greedy matching with something changed.

    Args:
        reaches: which IoUs are enough.
        free_only: a detection looks at the objects that are free, or at all of them.
        retake: an object that is taken can be found again.
        always_takes: a detection takes its object even if their IoU is too small.
        first: of the objects that are good enough the first is taken, not the best.
        stops: after the first detection that is wrong none has its turn.
    """

    def function(boxes: Tensor, gt_boxes: Tensor, iou_threshold: float = 0.5) -> Tensor:
        iou = box_iou(boxes, gt_boxes)
        right = torch.zeros(len(boxes), dtype=torch.bool)
        taken = torch.zeros(len(gt_boxes), dtype=torch.bool)

        for d in range(len(boxes) if len(gt_boxes) else 0):
            scores = torch.where(taken & free_only, -1.0, iou[d])
            best = int(reaches(scores, iou_threshold).int().argmax() if first else scores.argmax())

            hit = bool(reaches(scores[best], iou_threshold))
            right[d] = hit and (retake or not taken[best])
            taken[best] |= hit or always_takes
            if stops and not hit:
                break

        return right

    return function


def _by_object(boxes: Tensor, gt_boxes: Tensor, iou_threshold: float = 0.5) -> Tensor:
    iou = box_iou(boxes, gt_boxes)
    right = torch.zeros(len(boxes), dtype=torch.bool)

    for g in range(len(gt_boxes) if len(boxes) else 0):
        best = iou[:, g].argmax()
        if iou[best, g] >= iou_threshold:
            right[best] = True
    return right


def _optimal(boxes: Tensor, gt_boxes: Tensor, iou_threshold: float = 0.5) -> Tensor:
    iou = box_iou(boxes, gt_boxes)
    right = torch.zeros(len(boxes), dtype=torch.bool)

    rows, columns = linear_sum_assignment(iou.numpy(), maximize=True)
    for d, g in zip(rows, columns):
        right[d] = bool(iou[d, g] >= iou_threshold)
    return right


def _largest_first(boxes: Tensor, gt_boxes: Tensor, iou_threshold: float = 0.5) -> Tensor:
    iou = box_iou(boxes, gt_boxes)
    right = torch.zeros(len(boxes), dtype=torch.bool)

    while iou.numel() > 0 and iou.max() >= iou_threshold:
        d, g = divmod(int(iou.argmax()), len(gt_boxes))
        right[d] = True
        iou[d, :] = iou[:, g] = -1
    return right


def _matches(boxes: Tensor, gt_boxes: Tensor, iou_threshold: float = 0.5) -> Tensor:
    """Return the object of each detection, −1 if it has none."""
    iou = box_iou(boxes, gt_boxes)
    match = torch.full((len(boxes),), -1)

    for d in range(len(boxes) if len(gt_boxes) else 0):
        if iou[d].max() >= iou_threshold:
            match[d] = iou[d].argmax()
            iou[:, match[d]] = -1
    return match


def _found(boxes: Tensor, gt_boxes: Tensor, iou_threshold: float = 0.5) -> Tensor:
    return torch.isin(torch.arange(len(gt_boxes)), _matches(boxes, gt_boxes, iou_threshold))


def _worst_first(boxes: Tensor, gt_boxes: Tensor, iou_threshold: float = 0.5) -> Tensor:
    return true_positives(boxes.flip(0), gt_boxes, iou_threshold).flip(0)


def _takes_all(boxes: Tensor, gt_boxes: Tensor, iou_threshold: float = 0.5) -> Tensor:
    """Return what lets a detection take every free object that it overlaps enough."""
    hits = box_iou(boxes, gt_boxes) >= iou_threshold
    right = torch.zeros(len(boxes), dtype=torch.bool)
    taken = torch.zeros(len(gt_boxes), dtype=torch.bool)

    for d in range(len(boxes)):
        own = hits[d] & ~taken
        right[d] = own.any()
        taken |= own
    return right


def _best_of_all_so_far(boxes: Tensor, gt_boxes: Tensor, iou_threshold: float = 0.5) -> Tensor:
    """Return what forgets to set the best IoU back before the next detection."""
    right, taken, best = [], set(), 0.0
    for row in box_iou(boxes, gt_boxes).tolist():
        chosen = None
        for g, value in enumerate(row):
            if g not in taken and value > best:
                best, chosen = value, g

        right.append(chosen is not None and best >= iou_threshold)
        if right[-1]:
            taken.add(chosen)
    return torch.tensor(right, dtype=torch.bool)


def _draw_match(case: Case, found: Fault) -> Drawing:
    boxes, gt_boxes, _ = case.args
    if not 0 < len(boxes) + len(gt_boxes) <= 6:
        return []
    detections = [(box, f"detection {i}", "a") for i, box in enumerate(boxes)]
    return detections + [(box, f"object {i}", "b") for i, box in enumerate(gt_boxes)]


TRUE_POSITIVES = Exercise(
    number="1.5",
    name="true_positives",
    reference=true_positives,
    cases=_match_cases,
    misconceptions=(
        Misconception(
            "an object can be found once: the second detection of it is a false positive; remember "
            "which objects are taken",
            _match_with(free_only=False, retake=True),
        ),
        Misconception(
            "when the object it overlaps most is taken, a detection may still have the next one: "
            "choose the best among those that are free (VOC's old rule differs here)",
            _match_with(free_only=False),
        ),
        Misconception(
            "an IoU of exactly the threshold counts as right: at least, not above",
            _match_with(lambda iou, t: iou > t),
        ),
        Misconception(
            "a detection that fails the threshold must not take the object away from a later one",
            _match_with(always_takes=True),
            _match_with(always_takes=True, free_only=False),
        ),
        Misconception(
            "after a detection that is wrong the others have their turn: continue, do not break",
            _match_with(stops=True),
        ),
        Misconception(
            "a detection takes one object, the one it overlaps most; yours takes all above the "
            "threshold, and a later detection finds them gone",
            _takes_all,
        ),
        Misconception(
            "each detection begins anew: set the best IoU back before you look at its objects; "
            "yours must also beat what earlier detections had",
            _best_of_all_so_far,
        ),
        Misconception(
            "of the objects above the threshold take the one with the largest IoU, not the first",
            _match_with(first=True),
        ),
        Misconception(
            "the order of the detections decides, not the largest IoU: the better score comes "
            "first even if its box is worse",
            _by_object,
            _largest_first,
        ),
        Misconception(
            "the threshold is the one you are given, iou_threshold; yours is always 0.5",
            lambda boxes, gt_boxes, iou_threshold: true_positives(boxes, gt_boxes, 0.5),
        ),
        Misconception("return one verdict for each detection, (D,), not for each object", _found),
        Misconception(
            "return whether a detection is right, True or False, not the index of its object",
            _matches,
        ),
        Misconception(
            "this is the best assignment of all; the rule is greedy: detection by detection, the "
            "highest score first",
            _optimal,
        ),
        Misconception(
            "the detections are taken from the last to the first; the first one has the highest "
            "score and chooses first",
            _worst_first,
        ),
        Misconception(
            "the verdicts are inverted: True means that the detection is right",
            lambda *args: ~true_positives(*args),
        ),
    ),
    returns=("the verdict",),
    draw=_draw_match,
    solution=(true_positives,),
    allowed=frozenset({"box_iou", "box_area", "paired_iou"}),
)
