"""Exercise 3.7: task-aligned assignment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from detlearn.boxes import box_iou
from detlearn.check.boxes import Drawing, random_boxes
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.models.point import grid_points
from detlearn.models.yolov8 import (
    boxes_to_distances,
    grow_boxes,
    highest,
    task_aligned_assign,
)

Pair = tuple[Tensor, Tensor]

# Two objects that overlap by half.
LEFT, RIGHT = (0.0, 0, 100, 10), (50.0, 0, 150, 10)

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    batch = _random(3, 4, 16, random)
    other = _random(2, 3, 6, random)
    order = torch.randperm(batch[2].shape[0], generator=random)
    scores, boxes, points, gt_boxes, gt_labels = batch
    three = {"topk": 3}

    # Against the package, with the usual numbers and with others.
    values = [
        _case("random", batch, "three images with 4, 3 and 2 objects"),
        _case("random", batch, "three images, three locations for each object", **three),
        _case("random", other, "two images, with α = 1 and β = 2", topk=5, alpha=1.0, beta=2.0),
        _case("random", other, "two images, with α = 0.3 and β = 3", topk=4, alpha=0.3, beta=3.0),
        _case("random", other, "two images, one location for each object", topk=1),
    ]

    # What changes nothing, or only the order.
    properties = [
        _case(
            "property",
            (scores[:, order], boxes[:, order], points[order], gt_boxes, gt_labels),
            "the locations in another order",
            **three,
        ),
        _case(
            "property",
            (scores, boxes * 8, points * 8, gt_boxes * 8, gt_labels),
            "the same in images eight times as large",
            **three,
        ),
        _case(
            "property",
            (scores, boxes / 64, points / 64, gt_boxes / 64, gt_labels),
            "the same in shares of the image",
            **three,
        ),
    ]

    # Targets carry no gradient, whatever they are made of.
    gradients = [
        Case("gradient", args, note, detached=(0, 1), keywords=_keywords())
        for args, note in (
            (other, "scores and boxes that carry a gradient"),
            (batch, "three images whose scores and boxes carry a gradient"),
        )
    ]

    growing = [
        Case("no loop", _random(n, n, 4 * n, random), note, size=n, keywords=_keywords(topk=2))
        for n, note in (
            (2, "2 images with 2 objects and 64 locations"),
            (8, "8 images with 8 objects and 1024 locations"),
        )
    ]

    by_hand = [*_the_table(), *_several_objects(), *_ties()]
    return [*by_hand, *_degenerate(), *values, *properties, *gradients, *growing]


def _keywords(topk: int = 10, alpha: float = 0.5, beta: float = 6.0) -> dict[str, Any]:
    return {"topk": topk, "alpha": alpha, "beta": beta}


def _case(rung: str, args: tuple, note: str, expected: Pair | None = None, **options: Any) -> Case:
    return Case(rung, args, note, expected, keywords=_keywords(**options))


def _random(images: int, objects: int, side: int, random: torch.Generator) -> tuple[Tensor, ...]:
    """Return the five arguments; the second image has an object less than the first, and so on."""
    size, classes = 64.0, 4
    points = grid_points(side, side, size / side).flatten(0, 1)
    gt_boxes = torch.stack([random_boxes(objects, random, size, 10) for _ in range(images)])
    gt_labels = torch.randint(classes, (images, objects), generator=random)
    for i in range(images):
        gt_boxes[i, max(1, objects - i) :] = 0

    # Each location predicts a box that is near one of the objects, more or less.
    image = torch.arange(images)[:, None]
    which = torch.randint(objects, (images, len(points)), generator=random)
    wild = 5 * torch.randn(images, len(points), 4, generator=random)
    boxes = gt_boxes[image, which] + wild
    boxes = torch.cat((boxes[..., :2], torch.maximum(boxes[..., 2:], boxes[..., :2] + 1)), dim=-1)
    scores = torch.rand(images, len(points), classes, generator=random)

    # The one in the middle of an object does well at it. Otherwise an object's alignments could all
    # be tiny, and an answer that adds 1e-6 to a divisor could be told from one that does not.
    centres = (gt_boxes[..., :2] + gt_boxes[..., 2:]) / 2  # (B, N, 2)
    middle = torch.cdist(centres, points.expand(images, -1, -1)).argmin(dim=-1)  # (B, N)
    boxes[image, middle] = gt_boxes + 0.3 * torch.randn(images, objects, 4, generator=random)
    scores[image, middle, gt_labels] = 0.3 + 0.7 * torch.rand(images, objects, generator=random)
    return scores, boxes, points, gt_boxes, gt_labels


def _image(
    locations: list[tuple[float, tuple[float, ...], tuple[float, ...]]],
    objects: list[tuple[tuple[float, ...], int]],
) -> tuple[Tensor, ...]:
    """Return the five arguments for one image.

    Args:
        locations: x of each (y is 5), its box and its scores.
        objects: box and label of each.
    """
    points = torch.tensor([[x, 5.0] for x, _, _ in locations])
    boxes = torch.tensor([[box for _, box, _ in locations]], dtype=torch.float32)
    scores = torch.tensor([[score for _, _, score in locations]], dtype=torch.float32)
    gt_boxes = torch.tensor([[box for box, _ in objects]], dtype=torch.float32)
    return scores, boxes, points, gt_boxes, torch.tensor([[label for _, label in objects]])


def _wide(share: float) -> tuple[float, ...]:
    """Return a box inside LEFT whose IoU with it is this."""
    return (0.0, 0.0, 100 * share, 10.0)


def _answer(assigned: list[int], scores: list[float]) -> Pair:
    return torch.tensor([assigned]), torch.tensor([scores])


def _the_table() -> list[Case]:
    """Make cases of one object, the first of them the chapter's table."""
    return [*_of_the_table(), *_who_may_claim()]


def _of_the_table() -> list[Case]:
    table = _image(
        [
            (5, _wide(0.9), (0.64,)),
            (15, _wide(0.8), (0.81,)),
            (25, _wide(0.6), (0.9,)),
            (35, _wide(0.85), (0.04,)),
            (120, _wide(0.95), (0.9,)),
        ],
        [(LEFT, 0)],
    )

    # The alignments of its first four rows, √p · IoU⁶.
    a, b, c, d = 0.8 * 0.9**6, 0.9 * 0.8**6, 0.9**0.5 * 0.6**6, 0.2 * 0.85**6

    return [
        _case(
            "by hand",
            table,
            "the table above",
            _answer([0, 0, -1, -1, -1], [0.9, b / a * 0.9, 0, 0, 0]),
            topk=2,
        ),
        _case(
            "by hand",
            table,
            "the table above, with room for ten locations",
            _answer([0, 0, 0, 0, -1], [0.9, b / a * 0.9, c / a * 0.9, d / a * 0.9, 0]),
        ),
        # p · IoU: .576 and .648, so the second row is the best, whose target is the highest IoU.
        _case(
            "by hand",
            table,
            "the table above, with α = 1 and β = 1",
            _answer([0, 0, -1, -1, -1], [0.576 / 0.648 * 0.9, 0.9, 0, 0, 0]),
            topk=2,
            alpha=1.0,
            beta=1.0,
        ),
    ]


def _who_may_claim() -> list[Case]:
    # Of three scores the one of the object's class counts.
    classes = _case(
        "by hand",
        _image(
            [(5, _wide(0.5), (0.9, 0.25, 0.1)), (15, _wide(0.8), (0.9, 0.04, 0.3))], [(LEFT, 1)]
        ),
        "an object of class 1 and three classes, with α = 1 and β = 1",
        _answer([0, 0], [0.8, 0.032 / 0.125 * 0.8]),
        alpha=1.0,
        beta=1.0,
    )

    # An alignment of 0 claims nothing, though there is room.
    none = [
        _case(
            "by hand",
            _image(
                [
                    (5, _wide(0.5), (0.64,)),
                    (15, (200, 0, 300, 10), (0.9,)),
                    (25, _wide(0.9), (0.0,)),
                ],
                [(LEFT, 0)],
            ),
            "a location whose box does not touch the object and one whose score is 0",
            _answer([0, -1, -1], [0.5, 0, 0]),
        ),
        _case(
            "by hand",
            _image([(5, _wide(0.6), (0.49,)), (15, _wide(0.95), (0.0,))], [(LEFT, 0)]),
            "a location with the better box, whose score is 0",
            _answer([0, -1], [0.6, 0]),
        ),
    ]

    # A side is not inside.
    sides = [
        _case(
            "by hand",
            _image(
                [(0, _wide(0.9), (0.64,)), (50, _wide(0.5), (0.25,)), (100, _wide(0.9), (0.64,))],
                [(LEFT, 0)],
            ),
            "locations on the left and on the right side of an object",
            _answer([-1, 0, -1], [0, 0.5, 0]),
        ),
        _case(
            "by hand",
            _image(
                [(25, (0, 5, 80, 15), (0.64,)), (35, (0, 5, 50, 15), (0.25,))],
                [((0, 5, 100, 15), 0)],
            ),
            "two locations on the upper side of an object",
            _answer([-1, -1], [0, 0]),
        ),
    ]

    return [classes, *none, *sides]


def _several_objects() -> list[Case]:
    """Make cases in which two objects claim the same locations."""
    between = (10.0, 0, 110, 10)  # IoU 90/110 with LEFT, 60/140 with RIGHT
    best = 90 / 110
    objects = [(LEFT, 0), (RIGHT, 1)]
    ones = {"alpha": 1.0, "beta": 1.0}

    # The higher IoU has it, though the score for the other's class is higher.
    scores, boxes, points, gt_boxes, gt_labels = _image([(75, between, (0.1, 0.9))], objects)
    disputed = _case(
        "by hand",
        (scores, boxes, points, gt_boxes, gt_labels),
        "a location that two objects claim, α = 1 and β = 1",
        _answer([0], [best]),
        **ones,
    )

    # RIGHT's best location is taken by LEFT, so 0.1 = 0.2 · 0.5 is its highest alignment.
    locations = [
        (75, between, (0.1, 0.9)),
        (25, _wide(0.5), (0.4, 0.1)),
        (125, (50.0, 0, 100, 10), (0.1, 0.2)),
    ]
    loser = _case(
        "by hand",
        _image(locations, objects),
        "an object that loses its best location to another, α = 1 and β = 1",
        _answer([0, 0, 1], [0.1 * best / 0.2 * best, best, 0.5]),
        **ones,
    )

    # The second image has RIGHT alone, in the first place, and is filled up with zeros.
    right_alone = torch.stack((gt_boxes[0, 1], torch.zeros(4)))[None]
    padded = _case(
        "by hand",
        (
            torch.cat((scores, scores)),
            torch.cat((boxes, boxes)),
            points,
            torch.cat((gt_boxes, right_alone)),
            torch.cat((gt_labels, gt_labels)),
        ),
        "two images, the second with one object and one of zeros, α = 1 and β = 1",
        (torch.tensor([[0], [0]]), torch.tensor([[best], [60 / 140]])),
        **ones,
    )

    return [disputed, loser, padded]


def _ties() -> list[Case]:
    # Eight locations with the same box and score: of equal ones the first three.
    alike = [(x, _wide(0.5), (0.25,)) for x in (5, 15, 25, 35, 45, 55, 65, 75)]
    first_three = _case(
        "by hand",
        _image(alike, [(LEFT, 0)]),
        "eight locations that do equally well, and room for three",
        _answer([0, 0, 0, -1, -1, -1, -1, -1], [0.5] * 3 + [0.0] * 5),
        topk=3,
    )

    # The seventh does best, whose place among them is no matter; two places are left.
    better = [*alike[:6], (65, _wide(0.8), (0.64,)), alike[7]]
    share = 0.5 * 0.5**6 / (0.8 * 0.8**6) * 0.8  # √.25 = .5, √.64 = .8
    best_and_two = _case(
        "by hand",
        _image(better, [(LEFT, 0)]),
        "a location that does best and seven that do equally well, and room for three",
        _answer([0, 0, -1, -1, -1, -1, 0, -1], [share] * 2 + [0.0] * 4 + [0.8, 0.0]),
        topk=3,
    )

    # Equal objects want the same locations with the same IoU: the first has them.
    two_locations = [(25, _wide(0.5), (0.25,)), (35, _wide(0.8), (0.25,))]
    equal_objects = [
        _case(
            "by hand",
            _image(two_locations, [(LEFT, 0), (LEFT, 0)]),
            "two equal objects",
            _answer([0, 0], [0.5**6 / 0.8**6 * 0.8, 0.8]),
        ),
        _case(
            "by hand",
            _image([(25, _wide(0.8), (0.25, 0.1))], [(RIGHT, 1), (LEFT, 0), (LEFT, 0)]),
            "two equal objects after another one",
            _answer([1], [0.8]),
        ),
    ]

    return [first_three, best_and_two, *equal_objects]


def _degenerate() -> list[Case]:
    two_locations = [(5, _wide(0.5), (0.5, 0.2)), (15, _wide(0.8), (0.3, 0.1))]
    scores, boxes, points, gt_boxes, gt_labels = _image(two_locations, [(LEFT, 0)])

    # No object to learn: none at all, or a box that only fills the image up.
    no_objects = [
        _case(
            "degenerate",
            (scores, boxes, points, gt_boxes[:, :0], gt_labels[:, :0]),
            "an image without objects",
        ),
        _case(
            "degenerate",
            (scores, boxes, points, 0 * gt_boxes, gt_labels),
            "an image with a box of zeros alone, which fills it up",
            _answer([-1, -1], [0, 0]),
        ),
    ]

    # No location to learn it: none inside, the object lies between those at 5 and 15, or none with
    # an alignment above 0.
    tiny = torch.tensor([[[6.0, 2, 14, 8]]])
    no_locations = [
        _case(
            "degenerate",
            (scores, boxes, points, tiny, gt_labels),
            "an object smaller than the stride, inside which no location lies",
            _answer([-1, -1], [0, 0]),
        ),
        _case(
            "degenerate",
            (0 * scores, boxes, points, gt_boxes, gt_labels),
            "scores that are all 0",
            _answer([-1, -1], [0, 0]),
        ),
    ]

    return [*no_objects, *no_locations]


# ---- wrong answers ----


def _of_own_class(class_scores: Tensor, gt_labels: Tensor) -> Tensor:
    image = torch.arange(len(gt_labels))[:, None]
    return class_scores.transpose(1, 2)[image, gt_labels]  # (B, N, P)


def _inside(points: Tensor, gt_boxes: Tensor) -> Tensor:
    return (boxes_to_distances(points, gt_boxes[:, :, None]) > 0).all(dim=-1)


def _real(gt_boxes: Tensor) -> Tensor:
    return (gt_boxes[..., 2:] > gt_boxes[..., :2]).all(dim=-1)[..., None]


def _highest(alignment: Tensor, inside: Tensor, k: int) -> Tensor:
    return highest(alignment, k)


def _scaled(
    alignment: Tensor,
    iou: Tensor,
    mine: Tensor,
    claimed: Tensor,
    by: str = "mine",
    overlap: str = "mine",
) -> Tensor:
    """Return the target scores (B, P).

    Args:
        alignment, iou: (B, N, P).
        mine: which locations an object has in the end.
        claimed: which ones it has claimed.
        by: among which the highest alignment is searched: "mine", "claimed", "all" of the object
            or those of the "image".
        overlap: the same for the highest IoU.
    """
    among = {"mine": mine, "claimed": claimed, "all": torch.ones_like(mine), "image": mine}
    most = (alignment * among[by]).amax(dim=-1, keepdim=True)
    most = most.amax(dim=1, keepdim=True) if by == "image" else most
    best = (iou * among[overlap]).amax(dim=-1, keepdim=True)
    best = best.amax(dim=1, keepdim=True) if overlap == "image" else best
    share = alignment * mine / most.masked_fill(most == 0, 1)
    return (share * best).sum(dim=1)


def _assigning(
    score: Callable[[Tensor, Tensor], Tensor] = _of_own_class,
    inside: Callable[[Tensor, Tensor], Tensor] = _inside,
    metric: Callable[..., Tensor] = lambda s, iou, a, b: s**a * iou**b,
    claim: Callable[[Tensor, Tensor, int], Tensor] = _highest,
    prefer: Callable[..., Tensor] = lambda iou, t, gt_boxes: iou,
    last: bool = False,
    target: Callable[..., Tensor] = _scaled,
    options: Callable[..., tuple] = lambda k, a, b: (k, a, b),
    masked: bool = True,
) -> Callable[..., Pair]:
    """Return the assignment with something changed.

    Args:
        score: (B, N, P), from class_scores and gt_labels.
        inside: (B, N, P), from points and gt_boxes.
        metric: alignment of score, IoU, alpha and beta.
        claim: (B, N, P) which locations each object claims, of alignment, inside and topk.
        prefer: (B, N, P) the highest of which has a location; of IoU, alignment and gt_boxes.
        last: of equal ones the last object has it.
        target: the target scores of alignment, IoU, mine and claimed.
        options: topk, alpha and beta as they are used.
        masked: the alignment is 0 outside the object.
    """

    @torch.no_grad()
    def function(
        class_scores: Tensor,
        pred_boxes: Tensor,
        points: Tensor,
        gt_boxes: Tensor,
        gt_labels: Tensor,
        *,
        topk: int = 10,
        alpha: float = 0.5,
        beta: float = 6.0,
    ) -> Pair:
        if gt_labels.shape[1] == 0:
            return task_aligned_assign(class_scores, pred_boxes, points, gt_boxes, gt_labels)
        topk, alpha, beta = options(topk, alpha, beta)

        iou = box_iou(gt_boxes, pred_boxes)
        within = inside(points, gt_boxes)
        alignment = metric(score(class_scores, gt_labels), iou, alpha, beta)
        alignment = alignment * (within if masked else _real(gt_boxes))
        claimed = claim(alignment, within, topk)

        wanted = prefer(iou, alignment, gt_boxes).masked_fill(~claimed, -torch.inf)
        best, assigned = wanted.max(dim=1)
        if last:
            assigned = gt_labels.shape[1] - 1 - wanted.flip(1).argmax(dim=1)
        assigned = assigned.masked_fill(best == -torch.inf, -1)
        mine = assigned[:, None] == torch.arange(gt_labels.shape[1])[:, None]
        return assigned, target(alignment, iou, mine, claimed)

    return function


def _changed(change: Callable[..., Any]) -> Callable[..., Any]:
    """Return the right assignment with something done to its two results and the labels."""

    def function(*args: Any, **options: Any) -> Any:
        return change(*task_aligned_assign(*args, **options), args[4])

    return function


def _highest_iou_inside(*args: Any, **options: Any) -> Pair:
    """Search the highest IoU of an object among all locations inside it."""
    assigned, scores = task_aligned_assign(*args, **options)
    _, pred_boxes, points, gt_boxes, gt_labels = args
    if gt_labels.shape[1] == 0:
        return assigned, scores

    iou = box_iou(gt_boxes, pred_boxes)  # (B, N, P)
    mine = assigned[:, None] == torch.arange(gt_labels.shape[1])[:, None]
    right = (iou * mine).amax(dim=-1)
    wrong = (iou * _inside(points, gt_boxes)).amax(dim=-1)
    factor = wrong / right.masked_fill(right == 0, 1)  # (B, N)
    return assigned, scores * factor.gather(1, assigned.clamp(min=0))


def _first_k(alignment: Tensor, inside: Tensor, k: int) -> Tensor:
    """Claim k locations, be their alignment 0 or not."""
    index = alignment.sort(dim=-1, descending=True, stable=True).indices[..., :k]
    return torch.zeros_like(alignment, dtype=torch.bool).scatter(-1, index, True)


def _last_of_equals(alignment: Tensor, inside: Tensor, k: int) -> Tensor:
    return highest(alignment.flip(-1), k).flip(-1)


def _all_equals(alignment: Tensor, inside: Tensor, k: int) -> Tensor:
    kth = alignment.topk(min(k, alignment.shape[-1])).values[..., -1:]
    return (alignment >= kth) & (alignment > 0)


def _by_topk(alignment: Tensor, inside: Tensor, k: int) -> Tensor:
    index = alignment.topk(min(k, alignment.shape[-1]), dim=-1).indices
    chosen = torch.zeros_like(alignment, dtype=torch.bool).scatter(-1, index, True)
    return chosen & (alignment > 0)


def _of_the_image(alignment: Tensor, inside: Tensor, k: int) -> Tensor:
    """Claim the k best pairs of an image together."""
    return highest(alignment.flatten(1), k).view_as(alignment)


def _area(gt_boxes: Tensor) -> Tensor:
    return (gt_boxes[..., 2] - gt_boxes[..., 0]) * (gt_boxes[..., 3] - gt_boxes[..., 1])


MISCONCEPTIONS = (
    # Inside.
    Misconception(
        "an object claims locations inside it only, however good others are",
        _assigning(masked=False),
    ),
    Misconception(
        "only locations inside the object are candidates; yours takes the best of all first and "
        "drops those outside afterwards, so that others do not move up",
        _assigning(
            masked=False,
            claim=lambda t, inside, k: highest(t, k) & inside,
        ),
    ),
    Misconception(
        "a location on the border is not inside: all four distances are above 0",
        _assigning(
            inside=lambda points, gt: (
                (boxes_to_distances(points, gt[:, :, None]) >= 0).all(dim=-1) & _real(gt)
            )
        ),
    ),
    Misconception(
        "inside means all four distances are above 0; yours looks at x alone",
        _assigning(
            inside=lambda p, gt: (
                (boxes_to_distances(p, gt[:, :, None])[..., ::2] > 0).all(dim=-1) & _real(gt)
            )
        ),
    ),
    # The alignment.
    Misconception(
        "the two exponents are exchanged: the score has alpha, the IoU beta",
        _assigning(options=lambda k, a, b: (k, b, a)),
    ),
    Misconception(
        "alpha and beta are those you are given; yours are always 0.5 and 6",
        _assigning(options=lambda k, a, b: (k, 0.5, 6.0)),
    ),
    Misconception(
        "score and IoU are multiplied; yours are added up",
        _assigning(metric=lambda s, iou, a, b: s**a + iou**b),
    ),
    Misconception(
        "alpha and beta are exponents; in yours they are factors",
        _assigning(metric=lambda s, iou, a, b: (a * s) * (b * iou)),
        _assigning(metric=lambda s, iou, a, b: a * s + b * iou),
    ),
    Misconception(
        "both tasks count, the class and the box: the score is missing in the alignment",
        _assigning(metric=lambda s, iou, a, b: iou**b),
    ),
    Misconception(
        "both tasks count, the class and the box: the IoU is missing in the alignment",
        _assigning(metric=lambda s, iou, a, b: s**a),
    ),
    Misconception(
        "of a location's scores the one of the object's own class counts; yours takes the highest "
        "of all classes",
        _assigning(score=lambda s, labels: s.amax(-1)[:, None].expand(-1, labels.shape[1], -1)),
    ),
    Misconception(
        "of a location's scores the one of the object's own class counts, gt_labels; yours is "
        "always that of class 0",
        _assigning(score=lambda s, labels: s[:, None, :, 0].expand(-1, labels.shape[1], -1)),
    ),
    # Who claims what.
    Misconception(
        "an object claims its topk best locations; yours claims all inside it",
        _assigning(claim=lambda t, inside, k: t > 0),
        _assigning(claim=lambda t, inside, k: inside),
    ),
    Misconception(
        "topk is the one you are given; yours is always 10",
        _assigning(options=lambda k, a, b: (10, a, b)),
    ),
    Misconception(
        "every object has topk locations of its own; yours are the topk best of the image",
        _assigning(claim=_of_the_image),
    ),
    Misconception(
        "no location whose alignment is 0 is claimed, though there may be room for it",
        _assigning(claim=lambda t, inside, k: _first_k(t, inside, k) & inside),
        _assigning(claim=_first_k),
    ),
    Misconception(
        "of equal alignments the first are claimed; yours claims the last",
        _assigning(claim=_last_of_equals),
    ),
    Misconception(
        "an object claims topk locations at most; yours claims all that equal the last of them",
        _assigning(claim=_all_equals),
    ),
    Misconception(
        "torch.topk takes any of those that are equal; sort with stable=True, which leaves the "
        "first in front",
        _assigning(claim=_by_topk),
    ),
    # Whose it is in the end.
    Misconception(
        "a location that several objects claim goes to the one of the highest IoU; yours goes to "
        "that of the highest alignment",
        _assigning(prefer=lambda iou, t, gt_boxes: t),
    ),
    Misconception(
        "a location that several objects claim goes to the one of the highest IoU; yours goes to "
        "the first",
        _assigning(prefer=lambda iou, t, gt_boxes: torch.zeros_like(iou)),
    ),
    Misconception(
        "a location that several objects claim goes to the one of the highest IoU; yours goes to "
        "the last",
        _assigning(prefer=lambda iou, t, gt_boxes: torch.zeros_like(iou), last=True),
    ),
    Misconception(
        "a location that several objects claim goes to the one of the highest IoU; yours goes to "
        "the smallest, as in FCOS",
        _assigning(prefer=lambda iou, t, gt: -_area(gt)[..., None].expand_as(iou)),
    ),
    Misconception(
        "of objects with the same IoU the first has the location; yours is the last",
        _assigning(last=True),
    ),
    # The target score.
    Misconception(
        "the target is how good the location is, not 1: alignment / highest alignment · highest "
        "IoU",
        _assigning(target=lambda t, iou, mine, claimed: mine.any(dim=1).float()),
    ),
    Misconception(
        "the alignment itself is far below what a score should be: divide by the highest of the "
        "object's own and multiply with their highest IoU",
        _assigning(target=lambda t, iou, mine, claimed: (t * mine).sum(dim=1)),
    ),
    Misconception(
        "the best location of an object is to say its highest IoU, not 1: the factor is missing",
        _assigning(
            target=lambda t, iou, mine, claimed: (
                t * mine / (t * mine).amax(-1, keepdim=True).clamp(min=1e-30)
            ).sum(dim=1)
        ),
    ),
    Misconception(
        "the target is not the location's own IoU, but its share of the highest alignment times "
        "the highest IoU",
        _assigning(target=lambda t, iou, mine, claimed: (iou * mine).sum(dim=1)),
    ),
    Misconception(
        "each location's share is multiplied with the highest IoU of the object's locations; yours "
        "with its own IoU",
        _assigning(
            target=lambda t, iou, mine, claimed: (
                t * mine / (t * mine).amax(-1, keepdim=True).clamp(min=1e-30) * iou
            ).sum(dim=1)
        ),
    ),
    Misconception(
        "the two maxima are among the locations that the object has in the end; yours are among "
        "those it claimed",
        _assigning(target=lambda *values: _scaled(*values, by="claimed", overlap="claimed")),
    ),
    Misconception(
        "the highest alignment is that of the locations which the object has in the end; yours is "
        "among those it claimed",
        _assigning(target=lambda *values: _scaled(*values, by="claimed")),
    ),
    Misconception(
        "the highest IoU is that of the locations which the object has in the end; yours is among "
        "more",
        _assigning(target=lambda *values: _scaled(*values, overlap="claimed")),
        _assigning(target=lambda *values: _scaled(*values, overlap="all")),
        _assigning(target=lambda *values: _scaled(*values, by="claimed", overlap="all")),
        _highest_iou_inside,
    ),
    Misconception(
        "each object has a highest alignment of its own; yours is the highest of the image",
        _assigning(target=lambda *values: _scaled(*values, by="image")),
        _assigning(target=lambda *values: _scaled(*values, by="image", overlap="image")),
    ),
    # The result.
    Misconception(
        "a location without an object is −1; 0 is the first object",
        _changed(lambda assigned, scores, labels: (assigned.clamp(min=0), scores)),
    ),
    Misconception(
        "the objects are counted from 0, as Python does",
        _changed(lambda assigned, scores, labels: (assigned + (assigned >= 0).long(), scores)),
        _changed(lambda assigned, scores, labels: (assigned + 1, scores)),
    ),
    Misconception(
        "return the index of the object in its image; yours is its class",
        _changed(
            lambda assigned, scores, labels: (
                labels.gather(1, assigned.clamp(min=0)).masked_fill(assigned < 0, -1)
                if labels.shape[1]
                else assigned,
                scores,
            )
        ),
    ),
    Misconception(
        "return both: which object, and how high a score",
        _changed(lambda assigned, scores, labels: assigned),
    ),
    Misconception(
        "the indices come first, then the scores; yours are exchanged",
        _changed(lambda assigned, scores, labels: (scores, assigned)),
    ),
    Misconception(
        "indices are int64, with which one indexes; yours are real numbers",
        _changed(lambda assigned, scores, labels: (assigned.float(), scores)),
    ),
    Misconception(
        "who learns what carries no gradient: use torch.no_grad() or .detach()",
        task_aligned_assign.__wrapped__,
    ),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the location that is wrong, and how each object of its image sees it."""
    class_scores, pred_boxes, points, gt_boxes, gt_labels = case.args
    if len(found.index) != 2 or gt_labels.shape[1] == 0:
        return ""

    b, p = found.index
    iou = box_iou(gt_boxes[b], pred_boxes[b, p][None])[:, 0]
    score = class_scores[b, p, gt_labels[b]]
    inside = _inside(points, gt_boxes)[b, :, p]
    alignment = score ** case.keywords["alpha"] * iou ** case.keywords["beta"] * inside
    seen = ", ".join(
        f"{n}: score {float(s):.3g}, IoU {float(i):.3g}, {'' if within else 'not '}inside, "
        f"alignment {float(t):.3g}"
        for n, (s, i, within, t) in enumerate(zip(score, iou, inside, alignment))
    )
    return (
        f"points[{p}] = {written(points[p])}, pred_boxes[{b}, {p}] = {written(pred_boxes[b, p])}, "
        f"gt_boxes[{b}] = {written(gt_boxes[b])}; for the objects {seen}"
    )


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the objects of the failing image, and the box and the place of the location."""
    _, pred_boxes, points, gt_boxes, _ = case.args
    if len(found.index) != 2:
        return []

    b, p = found.index
    objects = [(box, f"object {n}", "a") for n, box in enumerate(gt_boxes[b]) if box.any()]
    return [
        *objects,
        (pred_boxes[b, p], f"the box of location {p}", "b"),
        (points[p].repeat(2), "the location", "c"),
    ]


TASK_ALIGNED_ASSIGN = Exercise(
    number="3.7",
    name="task_aligned_assign",
    reference=task_aligned_assign,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("assigned", "the target score"),
    draw=_draw,
    narrow=_show,
    solution=(task_aligned_assign, highest, boxes_to_distances, grow_boxes),
    allowed=frozenset({"box_iou", "box_area", "paired_iou"}),
    counted="images, objects or locations",
)
