"""Exercise 3.4: anchors by k-means with IoU for a distance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.anchors import kmeans_anchors, shape_iou
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case

MOST_ROUNDS = 300

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    few = _random(20, 3, random)
    many = _random(60, 5, random)
    far = torch.tensor([[400.0, 3]])
    order = torch.randperm(len(few[0]), generator=random)

    degenerate = [
        Case("degenerate", (few[0][:1], few[1][:1]), "one object and one anchor"),
        Case("degenerate", (few[0][:1].repeat(6, 1), few[1][:1]), "six equal objects"),
        Case(
            "degenerate",
            (few[0], torch.cat((few[1], far))),
            "20 objects, and of four anchors one that none of them is like",
        ),
    ]

    values = [
        Case("random", few, "20 objects and 3 anchors"),
        Case("random", many, "60 objects and 5 anchors"),
    ]

    properties = [
        Case("property", (few[0][order], few[1]), "the objects in another order"),
        Case("property", (few[0], few[1].flip(0)), "the anchors to begin with in reverse order"),
        Case("property", tuple(x / 100 for x in few), "sides as shares of the image"),
        Case("property", tuple(x.flip(1) for x in many), "widths and heights exchanged"),
    ]

    # The same objects again and again: the same rounds, whatever their number.
    growing = [
        Case("no loop", (few[0].repeat(n, 1), few[1]), f"{20 * n} objects", size=20 * n)
        for n in (2, 20)
    ]
    return [*_by_hand(), *degenerate, *values, *properties, *growing]


def _random(number: int, k: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return objects and anchors to begin with.

    It takes some rounds, and nowhere is it a matter of rounding which anchor is nearest; taking
    pixels for a distance, or stopping early, leads elsewhere.
    """
    while True:
        sides = 6 * 12 ** torch.rand(number, 2, generator=random)
        start = sides[torch.randperm(number, generator=random)[:k]] * 1.01

        rounds, margin = _course(sides, start)
        final = kmeans_anchors(sides, start)
        areas = final.prod(dim=1)
        if rounds < 4 or margin < 2e-3 or (k > 1 and (areas[1:] / areas[:-1]).min() < 1.01):
            continue

        others = [_grouped(like=like)(sides, start) for like in (_euclidean, _absolute)]
        if all(_apart(other, final) for other in others):
            return sides, start


def _apart(one: Tensor, other: Tensor) -> bool:
    return not torch.allclose(one, other, rtol=0.01)


def _course(sides: Tensor, start: Tensor) -> tuple[int, float]:
    """Return how many rounds it takes, and by how little an object's anchor beat the next."""
    anchors, before, margin = start.double(), None, 1.0
    for round_ in range(MOST_ROUNDS):
        iou = shape_iou(sides.double(), anchors)
        best = iou.topk(2, dim=1).values
        margin = min(margin, float((best[:, 0] - best[:, 1]).min()))
        nearest = iou.argmax(dim=1)
        if before is not None and torch.equal(nearest, before):
            return round_, margin
        if nearest.bincount(minlength=len(anchors)).min() == 0:
            return 0, margin
        anchors = _means(sides.double(), nearest, anchors)
        before = nearest
    return 0, margin


def _by_hand() -> list[Case]:
    # The table of the chapter; the larger anchor first shows whether the answer is sorted.
    text = [(8, 10), (12, 12), (36, 20), (20, 20)]
    of_the_text = [
        _hand("the four objects of the text", text, [(10, 10), (40, 20)], [(10, 11), (28, 20)]),
        _hand(
            "the four objects of the text, and the larger anchor first",
            *(text, [(40, 20), (10, 10)], [(10, 11), (28, 20)]),
        ),
    ]

    # Shapes that areas do not tell apart.
    thin = _hand(
        "high and wide objects of nearly the same area",
        [(4, 30), (5, 40), (30, 4), (40, 6)],
        [(5, 30), (30, 5)],
        [(4.5, 35), (35, 5)],
    )

    # The first anchor begins with the smaller area and ends with the larger one.
    overtaken = _hand(
        "two high objects and two small ones, and an anchor that begins smaller than it ends",
        [(8, 40), (9, 44), (13, 13), (14, 12)],
        [(5, 30), (13, 12)],
        [(13.5, 12.5), (8.5, 42)],
    )

    # As few anchors as there can be, and as many as there are objects.
    numbers = [
        _hand("one anchor for two objects", [(10, 10), (20, 40)], [(5, 5)], [(15, 25)]),
        _hand(
            "an anchor for each object",
            *([(30, 8), (6, 6), (9, 60)], [(9, 60), (30, 8), (6, 6)], [(6, 6), (30, 8), (9, 60)]),
        ),
    ]

    # The middle one of three objects has an IoU of 1/2 with either anchor: the first has it.
    three = [(10, 10), (10, 20), (20, 20)]
    ties = [
        _hand(
            "an object that is as much like the first anchor as like the second",
            *(three, [(10, 10), (20, 20)], [(10, 15), (20, 20)]),
        ),
        _hand(
            "objects three times as large, one of them as much like one anchor as like the other",
            *([(3 * w, 3 * h) for w, h in three], [(30, 30), (60, 60)], [(30, 45), (60, 60)]),
        ),
    ]

    # An anchor without objects stays where it is.
    left_alone = [
        _hand(
            "two objects, and a second anchor that neither is like",
            *([(10, 10), (12, 14)], [(10, 10), (200, 2)], [(11, 12), (200, 2)]),
        ),
        _hand(
            "three objects, and a first anchor that none of them is like",
            *([(30, 10), (32, 14), (31, 12)], [(1, 90), (30, 10)], [(1, 90), (31, 12)]),
        ),
    ]

    return [*of_the_text, thin, overtaken, *numbers, *ties, *left_alone]


def _hand(note: str, sides: list, start: list, expected: list) -> Case:
    sides, start, expected = (
        torch.tensor(x, dtype=torch.float32) for x in (sides, start, expected)
    )
    return Case("by hand", (sides, start), note, expected)


# ---- wrong answers ----

Likeness = Callable[[Tensor, Tensor], Tensor]  # of sides (N, 2) and anchors (k, 2): (N, k)


def _means(sides: Tensor, nearest: Tensor, anchors: Tensor) -> Tensor:
    """Return the means of the objects of each anchor; one without objects stays."""
    groups = [sides[nearest == i] for i in range(len(anchors))]
    means = [group.mean(dim=0) if len(group) else own for group, own in zip(groups, anchors)]
    return torch.stack(means)


def _by_area(anchors: Tensor) -> Tensor:
    return anchors[anchors.prod(dim=1).argsort()]


def _grouped(
    like: Likeness = shape_iou,
    update: Callable[[Tensor, Tensor, Tensor], Tensor] = _means,
    order: Callable[[Tensor], Tensor] = _by_area,
    rounds: int = MOST_ROUNDS,
    begin: Callable[[Tensor, Tensor], Tensor] = lambda sides, start: start,
    first: bool = True,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return k-means with something changed.

    Args:
        like: how like an anchor an object is; it goes to the one for which that is highest.
        update: the new anchors, of the objects, the anchor of each, and the anchors.
        order: of the result.
        rounds: how many there are at most.
        begin: with which anchors, of the objects and those that are given.
        first: of equals the first, or the last.
    """

    def function(sides: Tensor, start: Tensor) -> Tensor:
        anchors, before = begin(sides, start).clone(), None
        for _ in range(rounds):
            values = like(sides, anchors)
            last = len(anchors) - 1 - values.flip(1).argmax(dim=1)
            nearest = values.argmax(dim=1) if first else last
            if before is not None and torch.equal(nearest, before):
                break
            anchors, before = update(sides, nearest, anchors), nearest
        return order(anchors)

    return function


def _euclidean(sides: Tensor, anchors: Tensor) -> Tensor:
    return -torch.cdist(sides, anchors, compute_mode="donot_use_mm_for_euclid_dist")


def _absolute(sides: Tensor, anchors: Tensor) -> Tensor:
    return -(sides[:, None] - anchors).abs().sum(dim=-1)


def _logarithms(sides: Tensor, anchors: Tensor) -> Tensor:
    return _euclidean(sides.log(), anchors.log())


def _areas(sides: Tensor, anchors: Tensor) -> Tensor:
    return -(sides.prod(dim=1)[:, None] - anchors.prod(dim=1)).abs()


def _ratios(sides: Tensor, anchors: Tensor) -> Tensor:
    return -(sides[:, 1] / sides[:, 0])[:, None].sub(anchors[:, 1] / anchors[:, 0]).abs()


def _intersections(sides: Tensor, anchors: Tensor) -> Tensor:
    return torch.minimum(sides[:, None], anchors).prod(dim=-1)


def _medians(sides: Tensor, nearest: Tensor, anchors: Tensor) -> Tensor:
    groups = [sides[nearest == i] for i in range(len(anchors))]
    middle = [g.quantile(0.5, dim=0) if len(g) else own for g, own in zip(groups, anchors)]
    return torch.stack(middle)


def _lower_medians(sides: Tensor, nearest: Tensor, anchors: Tensor) -> Tensor:
    groups = [sides[nearest == i] for i in range(len(anchors))]
    middle = [g.median(dim=0).values if len(g) else own for g, own in zip(groups, anchors)]
    return torch.stack(middle)


def _geometric(sides: Tensor, nearest: Tensor, anchors: Tensor) -> Tensor:
    return _means(sides.log(), nearest, anchors.log()).exp()


def _without_care(sides: Tensor, nearest: Tensor, anchors: Tensor) -> Tensor:
    return torch.stack([sides[nearest == i].mean(dim=0) for i in range(len(anchors))])


def _or_zero(sides: Tensor, nearest: Tensor, anchors: Tensor) -> Tensor:
    return _without_care(sides, nearest, anchors).nan_to_num()


def _or_dropped(sides: Tensor, nearest: Tensor, anchors: Tensor) -> Tensor:
    means = _without_care(sides, nearest, anchors)
    return means[means.isfinite().all(dim=1)]


def _over_all(sides: Tensor, nearest: Tensor, anchors: Tensor) -> Tensor:
    sums = [sides[nearest == i].sum(dim=0) for i in range(len(anchors))]
    return torch.stack(sums) / len(sides)


def _each_anchor_takes_one(sides: Tensor, start: Tensor) -> Tensor:
    anchors = start
    for _ in range(MOST_ROUNDS):
        anchors = sides[shape_iou(sides, anchors).argmax(dim=0)]
    return _by_area(anchors)


def _object_of_best_fit(sides: Tensor, nearest: Tensor, anchors: Tensor) -> Tensor:
    """Move each anchor to the object nearest to the mean of its objects."""
    means = _means(sides, nearest, anchors)
    return sides[shape_iou(sides, means).argmax(dim=0)]


def _nearest(sides: Tensor, start: Tensor) -> Tensor:
    return shape_iou(sides, kmeans_anchors(sides, start)).argmax(dim=1)


MISCONCEPTIONS = (
    # Which anchor an object goes to.
    Misconception(
        "the distance of yours is one of pixels, under which large objects draw the anchors to "
        "themselves; nearest is the anchor of highest IoU",
        _grouped(like=_euclidean),
        _grouped(like=_absolute),
    ),
    Misconception(
        "nearest is the anchor of highest IoU; yours compares the logarithms of the sides",
        _grouped(like=_logarithms),
    ),
    Misconception(
        "nearest is the anchor of highest IoU; yours compares areas alone, so that a high and a "
        "wide object of one area count as the same",
        _grouped(like=_areas),
    ),
    Misconception(
        "nearest is the anchor of highest IoU; yours compares the quotients of height and width, "
        "whatever the size",
        _grouped(like=_ratios),
    ),
    Misconception(
        "IoU is the intersection divided by the union; by the intersection alone the largest "
        "anchor wins nearly always",
        _grouped(like=_intersections),
    ),
    Misconception(
        "an object goes to the anchor that it is most like, of highest IoU; yours goes to the one "
        "of lowest",
        _grouped(like=lambda sides, anchors: -shape_iou(sides, anchors)),
    ),
    Misconception(
        "of equally good anchors an object goes to the first; yours goes to the last",
        _grouped(first=False),
    ),
    Misconception(
        "each object chooses its anchor, dim=1; in yours each anchor chooses one object",
        _each_anchor_takes_one,
    ),
    # What an anchor becomes.
    Misconception(
        "an anchor becomes the mean of its objects; yours becomes their median",
        _grouped(update=_medians),
        _grouped(update=_lower_medians),
    ),
    Misconception(
        "an anchor becomes the mean of its objects; yours is their geometric mean",
        _grouped(update=_geometric),
    ),
    Misconception(
        "an anchor becomes the mean of its objects itself; yours moves on to the object nearest to "
        "it",
        _grouped(update=_object_of_best_fit),
    ),
    Misconception(
        "the mean is one over the objects of the anchor; yours divides their sum by the number of "
        "all objects",
        _grouped(update=_over_all),
    ),
    Misconception(
        "an anchor without objects stays as it is; the mean of nothing is NaN, which argmax takes "
        "for the highest IoU, so that all objects go to it next",
        _grouped(update=_without_care),
    ),
    Misconception(
        "an anchor without objects stays as it is; yours becomes 0",
        _grouped(update=_or_zero),
    ),
    Misconception(
        "an anchor without objects stays as it is; yours is dropped, and fewer than k are left",
        _grouped(update=_or_dropped),
    ),
    # How often, and from where.
    Misconception(
        "once is not enough: with the new anchors some objects go elsewhere; repeat until none "
        "does",
        _grouped(rounds=1),
    ),
    Misconception(
        "yours stops too early: repeat until no object changes its anchor",
        _grouped(rounds=2),
        _grouped(rounds=3),
    ),
    Misconception(
        "begin with the anchors that are given, start; yours begins with the first objects",
        _grouped(begin=lambda sides, start: sides[: len(start)]),
    ),
    Misconception(
        "these are the anchors to begin with; repeat: objects to anchors, anchors to means",
        lambda sides, start: _by_area(start),
    ),
    # The form of the result.
    Misconception(
        "the smallest area comes first; yours are in the order in which they began",
        _grouped(order=lambda anchors: anchors),
    ),
    Misconception(
        "the smallest area comes first; yours begins with the largest",
        _grouped(order=lambda anchors: _by_area(anchors).flip(0)),
    ),
    Misconception(
        "the smallest area comes first among the anchors that are found; yours were ordered "
        "before the rounds, by the areas they began with",
        _grouped(begin=lambda sides, start: _by_area(start), order=lambda anchors: anchors),
    ),
    Misconception(
        "the anchors are ordered by their areas; yours by their widths",
        _grouped(order=lambda anchors: anchors[anchors[:, 0].argsort()]),
    ),
    Misconception(
        "an anchor is a width and a height that belong together; yours orders widths and heights "
        "each for themselves",
        _grouped(order=lambda anchors: anchors.sort(dim=0).values),
    ),
    Misconception(
        "width comes first, then height; yours are exchanged",
        _grouped(order=lambda anchors: _by_area(anchors).flip(1)),
    ),
    Misconception(
        "anchors need not be whole numbers; yours are rounded",
        _grouped(order=lambda anchors: _by_area(anchors).round()),
    ),
    Misconception(
        "return the anchors, (k, 2); yours says to which of them each object goes",
        _nearest,
    ),
)


KMEANS_ANCHORS = Exercise(
    number="3.4",
    name="kmeans_anchors",
    reference=kmeans_anchors,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the anchor",),
    allowed=frozenset({"shape_iou"}),
    counted="objects",
)
