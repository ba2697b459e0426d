"""What the exercises on box losses share: bare quantities, the ladder, common mistakes.

The quantities of the formulas stand here once more, as bare as a learner writes them, so that a
misconception can leave one out or get one wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import enclosing_penalty as package_penalty
from detlearn.boxes import paired_iou
from detlearn.check.engine import Misconception
from detlearn.check.engine.boxes import NEGATIVE_SIDES, boxes_of, random_boxes, random_pairs
from detlearn.check.engine.cases import Case

EPS = 1e-7
Loss = Callable[[Tensor, Tensor], Tensor]


def size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height (N,) of boxes (N, 4)."""
    return boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]


def area(boxes: Tensor) -> Tensor:
    """(N,) of boxes (N, 4)."""
    w, h = size(boxes)
    return w * h


def enclosing(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height (N,) of the smallest box around each pair."""
    return size(torch.cat((torch.min(a, b)[:, :2], torch.max(a, b)[:, 2:]), dim=1))


def shared(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height (N,) of what each pair shares, negative where the boxes are apart."""
    return size(torch.cat((torch.max(a, b)[:, :2], torch.min(a, b)[:, 2:]), dim=1))


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (N,) of each pair."""
    return paired_iou(a, b, EPS)


def union(a: Tensor, b: Tensor) -> Tensor:
    """U (N,), the area that each pair covers."""
    return area(a) + area(b) - intersection(a, b)


def centre_distance(a: Tensor, b: Tensor) -> Tensor:
    """ρ² (N,), from centre to centre."""
    return ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(1)


def diagonal(a: Tensor, b: Tensor) -> Tensor:
    """c² (N,), across the enclosing box."""
    w, h = enclosing(a, b)
    return w**2 + h**2 + EPS


def shape_gap(a: Tensor, b: Tensor) -> Tensor:
    """v (N,), how different the shapes are."""
    angles = [torch.atan2(*size(boxes)) for boxes in (a, b)]
    return 4 / math.pi**2 * (angles[0] - angles[1]) ** 2


def enclosing_area(a: Tensor, b: Tensor) -> Tensor:
    """C (N,), the area of the smallest box around each pair."""
    w, h = enclosing(a, b)
    return w * h


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """I (N,), the area that each pair shares."""
    w, h = shared(a, b)
    return w.clamp(min=0) * h.clamp(min=0)


def enclosing_penalty(a: Tensor, b: Tensor) -> Tensor:
    """(C − U) / C (N,), GIoU's penalty."""
    return package_penalty(a, b, EPS)


def without_clamp(a: Tensor, b: Tensor) -> Tensor:
    """IoU (N,) with a positive intersection for boxes that are apart in x and in y."""
    w, h = shared(a, b)
    return w * h / (area(a) + area(b) - w * h + EPS)


def _plain_loss_cases(random: torch.Generator) -> list[Case]:
    """The ladder of a box loss but for the cases worked out by hand."""
    a, b = random_pairs(30, random)
    twin = random_boxes(4, random)
    flat = boxes_of((10, 10, 30, 10), (20, 20, 20, 40), (5, 5, 5, 5))
    full = boxes_of((10, 5, 30, 15), (15, 20, 35, 40), (0, 0, 10, 10))
    none = torch.zeros(0, 4)
    moved = torch.tensor([-200.0, 35.0, -200.0, 35.0])
    return [
        Case("degenerate", (none, none), "no boxes at all"),
        Case("degenerate", (twin, twin.clone()), "pairs of equal boxes"),
        Case("degenerate", (flat, full), "boxes without area", only_finite=True),
        Case("degenerate", (flat, flat.clone()), "pairs of boxes without area", only_finite=True),
        Case(
            "degenerate",
            (flat, full),
            "boxes without area, gradient included",
            only_finite=True,
            gradient=True,
        ),
        Case("random", (a, b), "30 random pairs"),
        Case("property", (a + moved, b + moved), "the same pairs moved, partly below zero"),
        Case("property", (a * 8, b * 8), "the same pairs, eight times as large"),
        Case("property", (b, a), "the same pairs with prediction and target exchanged"),
        Case("gradient", (a, b), "30 random pairs", gradient=True),
    ]


def with_hand_cases(
    *hand: tuple[Tensor, Tensor, list[float], str],
) -> Callable[[torch.Generator], list[Case]]:
    """The ladder of a box loss; each of ``hand`` is (pred, target, the loss, a note)."""

    def cases(random: torch.Generator) -> list[Case]:
        by_hand = [
            Case("by hand", (a, b), note, expected=torch.tensor(value))
            for a, b, value, note in hand
        ]
        return by_hand + _plain_loss_cases(random)

    return cases


def loss_of(penalty: Loss) -> Loss:
    """The loss 1 − IoU + penalty."""
    return lambda a, b: 1 - iou(a, b) + penalty(a, b)


OVERLAPPING = boxes_of((0, 0, 4, 4)), boxes_of((2, 0, 6, 4))  # I 8, U 24, C 24
DIAGONAL = boxes_of((0, 0, 2, 2)), boxes_of((4, 3, 6, 5))  # I 0, U 8, C 6 · 5
CROSSED = boxes_of((0, 0, 40, 10)), boxes_of((15, -15, 25, 25))  # one centre, I 100, U 700

ONE_MINUS = "you return the similarity, not the loss: a loss is 1 minus it, and 0 for equal boxes"
IOU_ONLY = (
    "this is 1 − IoU alone: the penalty that tells near from far for boxes that do not touch is "
    "missing"
)
SIGN = "the sign of the penalty is wrong: it is subtracted from the IoU, so it raises the loss"
MEAN = "you return one number for all pairs; return one loss for each, (N,)"
DIVISION = (
    "you divide by zero where a box has no area: add a small epsilon, 1e-7 say, to the denominators"
)
EACH_WITH_EACH = "compare them one to one, row i with row i, (N,); yours is each with each"
CENTRES = "the boxes are corners x1, y1, x2, y2, not centre and size"
DETACHED = "your loss is computed from detached values somewhere; only CIoU's α is a constant"


def _halves(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return boxes[:, :2], boxes[:, 2:]


def common(penalty: Loss, name: str) -> tuple[Misconception, ...]:
    """Mistakes that every box loss knows."""

    def each_with_each(a: Tensor, b: Tensor) -> Tensor:
        n = len(a)
        return loss(a.repeat_interleave(n, 0), b.repeat(n, 1)).view(n, n)

    def from_centres(a: Tensor, b: Tensor) -> Tensor:
        return loss(*(torch.cat((c - s / 2, c + s / 2), 1) for c, s in (_halves(a), _halves(b))))

    loss = loss_of(penalty)
    return (
        Misconception(ONE_MINUS, lambda a, b: 1 - loss(a, b)),
        Misconception(IOU_ONLY, lambda a, b: 1 - iou(a, b)),
        Misconception(SIGN, lambda a, b: 1 - iou(a, b) - penalty(a, b)),
        Misconception(f"the IoU is missing: {name} is 1 − IoU plus the penalty", penalty),
        Misconception(
            f"the 1 is missing: {name} of equal boxes is 0", lambda a, b: penalty(a, b) - iou(a, b)
        ),
        Misconception(NEGATIVE_SIDES, lambda a, b: 1 - without_clamp(a, b) + penalty(a, b)),
        Misconception(MEAN, lambda a, b: loss(a, b).mean()),
        Misconception(MEAN, lambda a, b: loss(a, b).sum()),
        Misconception(EACH_WITH_EACH, each_with_each),
        Misconception(CENTRES, from_centres),
        Misconception(DETACHED, lambda a, b: loss(a, b).detach()),
    )
