"""What exercise 2.7 asks: predictions of an RPN and the proposals that come of them."""

from __future__ import annotations

import torch
from torch import Tensor

from detlearn.check.boxes import boxes_of, random_boxes
from detlearn.check.engine.cases import Case

# Anchor 1 has IoU 9/11 with anchor 0; anchor 2 lies apart; anchor 3 crosses the upper border.
ANCHORS = boxes_of((0, 0, 40, 40), (4, 0, 44, 40), (60, 60, 80, 90), (50, -10, 90, 10))

# Which of the arguments the network says: logits and deltas.
PREDICTIONS = (0, 1)


def proposal_cases(random: torch.Generator) -> list[Case]:
    """Return the ladder of the exercise."""
    sizes = [(80, 100), (65, 70)]
    objectness, deltas, anchors = _predictions(60, random)
    some = objectness, deltas, anchors, sizes

    none = torch.zeros(2, 0), torch.zeros(2, 0, 4), torch.zeros(0, 4), [(10, 20), (30, 10)]
    tiny = torch.full((2, 60, 4), -9.0)
    turned = objectness.flip(0), deltas.flip(0), anchors, sizes[::-1]

    cases = [
        Case("degenerate", none, "two images without anchors"),
        Case("degenerate", (objectness, tiny, anchors, sizes), "boxes that are all too small"),
        Case("random", some, "two images with 60 anchors"),
        Case("random", (*some, 20, 6, 0.4, 8.0), "the same with other settings"),
        Case("random", (*some, 25, 100, 0.5), "the same with 25 boxes before NMS"),
        Case("property", turned, "the two images exchanged"),
        Case("property", (objectness - 9, deltas, anchors, sizes), "logits that are all negative"),
        Case("gradient", some, "predictions that carry a gradient", detached=PREDICTIONS),
        Case(
            "gradient",
            turned,
            "predictions exchanged that carry a gradient",
            detached=PREDICTIONS,
        ),
    ]

    return [
        *_one_image(),
        *_suppression(),
        *_small_and_clipped(),
        *_two_images(),
        *_tops_of_two_images(),
        *(_listed(case) for case in cases),
    ]


def _listed(case: Case) -> Case:
    return Case(case.rung, case.args, case.note, case.expected, listed=True, detached=case.detached)


def _predictions(number: int, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct logits (2, P), deltas (2, P, 4), and anchors (P, 4) in and around 100 pixels."""
    orders = [torch.randperm(number, generator=random) for _ in range(2)]
    objectness = 8 * torch.stack(orders) / number - 3.9
    deltas = 0.3 * torch.randn(2, number, 4, generator=random)
    return objectness, deltas, random_boxes(number, random) - 10


def _case(
    note: str,
    logits: list[list[float]],
    answers: list[Tensor],
    *settings: float,
    anchors: Tensor | None = None,
    deltas: Tensor | None = None,
    sizes: list[tuple[int, int]] | None = None,
) -> Case:
    """Make a case by hand.

    Args:
        note: what is special about it.
        logits: a row for each image.
        answers: the proposals of each image.
        settings: pre_nms_top_n and what follows.
        anchors: `ANCHORS` by default, as many as there are logits.
        deltas: zero by default.
        sizes: 100 × 100 by default.
    """
    objectness = torch.tensor(logits, dtype=torch.float32)
    anchors = ANCHORS[: objectness.shape[1]] if anchors is None else anchors
    deltas = torch.zeros(*objectness.shape, 4) if deltas is None else deltas
    sizes = [(100, 100)] * len(objectness) if sizes is None else sizes

    args = (objectness, deltas, anchors, sizes, *settings)
    return Case("by hand", args, note, tuple(answers), listed=True)


def _one_image() -> list[Case]:
    a, b, c, _ = ANCHORS

    # The order, and suppression.
    ranked = [
        _case("anchors that lie apart", [[1.0, 2]], [torch.stack((c, a))], anchors=ANCHORS[[0, 2]]),
        _case("two boxes with an IoU of 0.82 and one apart", [[1, 3, 2.0]], [torch.stack((b, c))]),
    ]

    # Deltas that are not zero.
    moved = _case(
        "a box that is moved by a quarter of its width and half its height",
        [[2.0, 1]],
        [torch.cat((boxes_of((10, 20, 50, 60)), c[None]))],
        anchors=ANCHORS[[0, 2]],
        deltas=torch.tensor([[[0.25, 0.5, 0, 0], [0, 0, 0, 0]]]),
    )

    # Anchor 3 reaches out of the image.
    clipped = _case(
        "a box that crosses the upper border",
        [[-1, -9, -2, 2.0]],
        [torch.stack((boxes_of((50, 0, 90, 10))[0], a, c))],
    )

    # pre_nms_top_n and post_nms_top_n.
    cut = [
        _case("2 boxes before NMS, which overlap", [[3.0, 2, 1]], [a[None]], 2, 100),
        _case(
            "a logit far below 0 and 2 boxes before NMS",
            [[-5.0, 1, 2]],
            [torch.stack((c, b))],
            *(2, 100),
        ),
        _case("1 proposal asked for", [[1.0, 0, 2]], [c[None]], 1000, 1),
        _case("2 proposals asked for", [[3.0, 2, 1]], [torch.stack((a, c))], 1000, 2),
    ]

    return [*ranked, moved, clipped, *cut]


def _suppression() -> list[Case]:
    return [*_threshold_of_nms(), *_chains(), *_equal_boxes()]


def _threshold_of_nms() -> list[Case]:
    half = boxes_of((0, 0, 20, 20), (0, 0, 20, 10))  # IoU exactly 1/2
    quarter = boxes_of((0, 0, 40, 40), (0, 0, 20, 20), (60, 60, 80, 90))  # the first two: 1/4
    exactly = [
        _case("an IoU of exactly the threshold", [[2.0, 1]], [half], 9, 9, 0.5, anchors=half),
        _case(
            "an IoU of exactly the threshold, and a box apart",
            [[3.0, 2, 1]],
            [quarter],
            *(9, 9, 0.25),
            anchors=quarter,
        ),
    ]

    third = boxes_of((0, 0, 30, 10), (0, 0, 10, 10), (50, 0, 80, 30))  # the first two: 1/3
    above = _case(
        "an IoU a little above the threshold",
        [[3.0, 2, 1]],
        [third[[0, 2]]],
        *(9, 9, 0.33),
        anchors=third,
    )

    return [*exactly, above]


def _chains() -> list[Case]:
    """Make cases of a box that is gone and suppresses no other."""
    # IoU 0.74 between neighbours, 0.54 between the first and the last.
    chain = boxes_of((0, 0, 40, 40), (6, 0, 46, 40), (12, 0, 52, 40))
    of_three = _case(
        "three boxes, the second of which overlaps both others",
        [[3.0, 2, 1]],
        [chain[[0, 2]]],
        anchors=chain,
    )

    # IoU 0.6 between neighbours, 0.33 between the first and the last.
    longer = boxes_of((0, 0, 40, 40), (0, 10, 40, 50), (0, 20, 40, 60), (70, 70, 90, 90))
    of_four = _case(
        "four boxes, the second of which overlaps two others",
        [[4.0, 3, 2, 1]],
        [longer[[0, 2, 3]]],
        *(9, 9, 0.5),
        anchors=longer,
    )

    return [of_three, of_four]


def _equal_boxes() -> list[Case]:
    """Make cases of twins: which of them stays makes no difference, but one of them does."""
    a, _, c, _ = ANCHORS
    return [
        _case(
            "two equal boxes of equal logits and one apart",
            [[2.0, 2, 1]],
            [torch.stack((a, c))],
            anchors=torch.stack((a, a, c)),
        ),
        _case(
            "one box and three equal ones of equal logits",
            [[3.0, 1, 1, 1]],
            [torch.stack((a, c))],
            anchors=torch.stack((a, c, c, c)),
        ),
    ]


def _small_and_clipped() -> list[Case]:
    sides = boxes_of((0, 0, 1, 30), (50, 0, 50.5, 30), (0, 50, 30, 50.9), (50, 50, 80, 80))
    short = boxes_of((0, 0, 20, 30), (40, 0, 59, 30), (0, 50, 30, 69.5), (50, 50, 90, 80))
    small = [
        _case(
            "sides of 1, 0.5, 0.9 and 30 pixels",
            [[4.0, 3, 2, 1]],
            [sides[[0, 3]]],
            anchors=sides,
        ),
        _case(
            "sides of 20, 19, 19.5 and 30 pixels and a min_size of 20",
            [[4.0, 3, 2, 1]],
            [short[[0, 3]]],
            *(9, 9, 0.7, 20.0),
            anchors=short,
        ),
    ]

    # The small box has the highest logit; it neither suppresses the other nor takes its place.
    nearly = boxes_of((10, 10, 40, 29.5), (10, 10, 40, 30), (50, 50, 90, 80))
    one_small = [
        _case(
            "a small box that overlaps a larger one and a min_size of 20",
            [[4.0, 3, 2]],
            [nearly[1:]],
            *(9, 9, 0.7, 20.0),
            anchors=nearly,
        ),
        _case(
            "2 boxes before NMS, the better of which is below the min_size of 20",
            [[2.0, 3, 4]],
            [nearly[1:2]],
            *(2, 9, 0.7, 20.0),
            anchors=nearly[[2, 1, 0]],
        ),
    ]

    # The same once more with other boxes, so that a second answer shows which step came first.
    among = boxes_of((60, 0, 95, 30), (5, 40, 45, 60), (5, 40, 45, 59), (60, 60, 90, 90))
    one_small.append(
        _case(
            "3 boxes before NMS, the best of which is below the min_size of 20",
            [[3.0, 2, 4, 1]],
            [among[:2]],
            *(3, 9, 0.7, 20.0),
            anchors=among,
        ),
    )

    # Tiny, but with an area.
    tiny = boxes_of((10, 10, 10.5, 10.5), (50, 50, 80, 80))
    one_small.append(
        _case("sides of half a pixel", [[2.0, 1]], [tiny[1:]], anchors=tiny),
    )

    # Clipping comes before the removal of small boxes.
    gone = boxes_of((-30, 40, 0.5, 70), (10, 40, 30, 70))
    small_when_clipped = _case(
        "a box of which half a pixel is inside", [[4.0, 3]], [gone[1:]], anchors=gone
    )

    # And before NMS. As they are their IoU is 1/2; within the image they are equal.
    twins = boxes_of((60, 0, 100, 40), (60, 0, 140, 40))
    equal_when_clipped = _case(
        "boxes that are equal within the image", [[2.0, 1]], [twins[:1]], anchors=twins
    )

    # As they are their IoU is 0.85; within an image of width 60 it is 8/20.
    apart = boxes_of((40, 0, 120, 40), (52, 0, 120, 40))
    apart_when_clipped = _case(
        "boxes that overlap less within the image",
        [[2.0, 1]],
        [boxes_of((40, 0, 60, 40), (52, 0, 60, 40))],
        anchors=apart,
        sizes=[(100, 60)],
    )

    return [*small, *one_small, small_when_clipped, equal_when_clipped, apart_when_clipped]


def _two_images() -> list[Case]:
    """Make cases in which each image has its own logits, deltas or size."""
    a, b, c, _ = ANCHORS

    own_logits = _case(
        "two images with different logits",
        [[3.0, 2, 1], [1.0, 2, 3]],
        [torch.stack((a, c)), torch.stack((c, b))],
    )

    # A quarter of the anchors' widths, 40 and 20.
    still = torch.zeros(3, 4)
    moved = torch.tensor([[0.25, 0, 0, 0]] * 3)
    own_deltas = _case(
        "two images, in the second of which all boxes are moved",
        [[3.0, 2, 1], [3.0, 2, 1]],
        [
            torch.stack((a, c)),
            torch.stack((a + torch.tensor([10, 0, 10, 0]), c + torch.tensor([5, 0, 5, 0]))),
        ],
        deltas=torch.stack((still, moved)),
    )

    own_size = _case(
        "two images of different size with the same predictions",
        [[1.0, -3, 2], [1.0, -3, 2]],
        [torch.stack((c, a)), boxes_of((60, 60, 65, 70), (0, 0, 40, 40))],
        sizes=[(100, 90), (70, 65)],
    )

    return [own_logits, own_deltas, own_size]


def _tops_of_two_images() -> list[Case]:
    """Make cases in which each image has its own boxes to send into NMS and to keep."""
    a, b, c, _ = ANCHORS

    own_ranking = [
        _case(
            "two images with 2 boxes each before NMS",
            [[3.0, 2, 1], [1.0, 2, 3]],
            [a[None], torch.stack((c, b))],
            *(2, 100),
        ),
        _case(
            "two images with 1 box each before NMS",
            [[1.0, 3, 2], [3.0, 1, 2]],
            [b[None], a[None]],
            *(1, 100),
        ),
    ]

    # Of the whole batch, the second image alone would have the best.
    own_number = [
        _case(
            "two images, the second with higher logits, and 1 proposal each",
            [[3.0, 0, 2], [5.0, 0, 6]],
            [a[None], c[None]],
            *(1000, 1),
        ),
        _case(
            "two images, the second with higher logits, and 2 boxes each before NMS",
            [[3.0, 0, 2], [5.0, 0, 6]],
            [torch.stack((a, c)), torch.stack((c, a))],
            *(2, 100),
        ),
    ]

    return [*own_ranking, *own_number]
