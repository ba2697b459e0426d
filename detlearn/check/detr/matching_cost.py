"""Exercise 5.3: what it would cost to let each query have each object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from detlearn.boxes import box_convert, box_iou, distance_box_iou, generalized_box_iou
from detlearn.check.boxes import NEGATIVE_SIDES, Drawing
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.diagnosis import Asked
from detlearn.matching import matching_cost

Function = Callable[..., Tensor]
Weights = tuple[float, float, float]

PAPERS = (1.0, 5.0, 2.0)  # of class, distance and GIoU

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    some = _random((), 5, 3, 3, random)
    square = _random((), 4, 4, 4, random)
    batch, layers = _random((2,), 4, 3, 2, random), _random((2, 3), 3, 2, 3, random)
    logits, predicted, labels, boxes = some

    values = [
        _case("random", some, "5 queries, three objects and three classes"),
        _case("random", square, "as many queries, objects and classes each"),
        _case("random", some, "5 queries, other weights", (2.0, 3.0, 0.5)),
        _case("random", batch, "two images of 4 queries and three objects"),
        _case("random", layers, "two layers of three images each"),
    ]

    properties = [
        _case("property", (logits + 2, *some[1:]), "2 added to all logits"),
        _case(
            "property", (logits.flip(0), predicted.flip(0), labels, boxes), "queries turned round"
        ),
        _case(
            "property",
            (logits, predicted[:, [1, 0, 3, 2]], labels, boxes[:, [1, 0, 3, 2]]),
            "x and y exchanged in all boxes",
        ),
    ]

    growing = []
    for n in (4, 60):
        args = _random((), n, 2, 3, random)
        keywords = _keywords(PAPERS)
        growing.append(Case("no loop", args, f"{n} queries", size=n, keywords=keywords))
    return [*_by_hand(), *_degenerate(some), *values, *properties, *growing]


def _keywords(weights: Weights) -> dict[str, float]:
    return dict(zip(("cost_class", "cost_bbox", "cost_giou"), weights, strict=True))


def _case(
    rung: str,
    args: tuple[Tensor, ...],
    note: str,
    weights: Weights = PAPERS,
    wanted: list[list[float]] | None = None,
) -> Case:
    expected = None if wanted is None else torch.tensor(wanted)
    return Case(rung, args, note, expected, keywords=_keywords(weights))


def _random(
    leading: tuple[int, ...], queries: int, objects: int, classes: int, random: torch.Generator
) -> tuple[Tensor, ...]:
    """Return logits, predicted boxes, labels and boxes: all classes in turn."""
    logits = 1.5 * torch.randn(*leading, queries, classes + 1, generator=random)
    labels = torch.randint(classes, (*leading, objects), generator=random)
    if leading == ():
        labels = torch.randperm(objects, generator=random) % classes
    return logits, _boxes((*leading, queries), random), labels, _boxes((*leading, objects), random)


def _boxes(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Return boxes (*shape, 4) cxcywh inside the image."""
    sides = 0.1 + 0.5 * torch.rand(*shape, 2, generator=random)
    centres = sides / 2 + (1 - sides) * torch.rand(*shape, 2, generator=random)
    return torch.cat((centres, sides), dim=-1)


def _by_hand() -> list[Case]:
    # Classes 0 and 1, and no object.
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]).log()
    left, right = [0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0]
    whole, narrow = [0.5, 0.5, 1.0, 1.0], [0.125, 0.5, 0.25, 1.0]
    predicted = torch.tensor([left, whole, narrow])
    objects = (torch.tensor([0, 1]), torch.tensor([right, left]))

    def of(i: int, weights: Weights, wanted: list[float], note: str) -> Case:
        """Ask about query i alone, with both objects."""
        args = (logits[i : i + 1], predicted[i : i + 1], *objects)
        return _case("by hand", args, note, weights, [wanted])

    return [
        of(0, (1.0, 0.0, 0.0), [-0.5, -0.25], "the left half: the class alone"),
        of(0, (0.0, 1.0, 0.0), [0.5, 0], "the left half: the distance alone"),
        of(0, (0.0, 0.0, 1.0), [0, -1], "the left half: GIoU alone"),
        of(2, (0.0, 0.0, 1.0), [0.25, -0.5], "a quarter of the image: GIoU alone"),
        _case(
            "by hand",
            (logits, predicted, *objects),
            "three queries and two objects",
            wanted=[[2, -2.25], [2.5, 2.25], [4.625, 0.625]],
        ),
        _case(
            "by hand",
            (logits[1:], predicted[1:], torch.tensor([1]), torch.tensor([left])),
            "two queries and one object, weights 2, 4 and 1",
            (2.0, 4.0, 1.0),
            [[-1 + 3 - 0.5], [-0.5 + 1.5 - 0.5]],
        ),
    ]


def _degenerate(some: tuple[Tensor, ...]) -> list[Case]:
    logits, predicted, labels, boxes = some
    flat = predicted * torch.tensor([1.0, 1, 0, 1])
    return [
        _case("degenerate", (logits, predicted, labels[:0], boxes[:0]), "no objects"),
        _case("degenerate", (logits[:1], predicted[:1], labels, boxes), "a single query"),
        _case("degenerate", (logits, predicted, labels, predicted[:3]), "boxes that are equal"),
        _case("degenerate", (logits, flat, labels, boxes), "predicted boxes without width"),
        _case("degenerate", (100 * logits, predicted, labels, boxes), "logits of several hundred"),
    ]


# ---- wrong answers ----


def _corners(boxes: Tensor) -> Tensor:
    return box_convert(boxes, "cxcywh", "xyxy")


def _giou(a: Tensor, b: Tensor) -> Tensor:
    """Return GIoU (..., Q, N) of corners, as it comes out also where they are none."""
    return _overlaps(a, b, penalty=True)


def _plain_iou(a: Tensor, b: Tensor) -> Tensor:
    return _overlaps(a, b, penalty=False)


def _overlaps(a: Tensor, b: Tensor, penalty: bool, least: float = 0.0) -> Tensor:
    a, b = a[..., :, None, :], b[..., None, :, :]
    shared = (torch.minimum(a, b)[..., 2:] - torch.maximum(a, b)[..., :2]).clamp(min=least).prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b)]
    union = areas[0] + areas[1] - shared
    if not penalty:
        return shared / union
    around = (torch.maximum(a, b)[..., 2:] - torch.minimum(a, b)[..., :2]).prod(-1)
    return shared / union - (around - union) / around


def _of_class(values: Tensor, labels: Tensor) -> Tensor:
    """Pick (..., Q, N) of (..., Q, K + 1)."""
    index = labels[..., None, :].expand(*values.shape[:-1], labels.shape[-1])
    return values.gather(-1, index)


def _l1(a: Tensor, b: Tensor) -> Tensor:
    return (a[..., :, None, :] - b[..., None, :, :]).abs().sum(-1)


def _cost(
    score: Callable[[Tensor], Tensor] = lambda logits: logits.softmax(dim=-1),
    of_class: Callable[[Tensor, Tensor], Tensor] = _of_class,
    distance: Callable[[Tensor, Tensor], Tensor] = _l1,
    overlap: Callable[[Tensor, Tensor], Tensor] = lambda a, b: _giou(_corners(a), _corners(b)),
    weights: Callable[[float, float, float], tuple] = lambda c, b, g: (c, b, g),
    signs: tuple[float, float, float] = (-1, 1, -1),
    finish: Callable[[Tensor], Tensor] = lambda cost: cost,
) -> Function:
    """Return the cost with something changed.

    Args:
        score: of the logits, how sure the query is of each class.
        of_class: picks the objects' classes.
        distance: of boxes cxcywh, (..., Q, N).
        overlap: of boxes cxcywh, (..., Q, N).
        weights: as they are used.
        signs: of class, distance and overlap.
        finish: the cost to what is returned.
    """

    def function(
        class_logits: Tensor,
        pred_boxes: Tensor,
        labels: Tensor,
        boxes: Tensor,
        *,
        cost_class: float = 1.0,
        cost_bbox: float = 5.0,
        cost_giou: float = 2.0,
    ) -> Any:
        used = weights(cost_class, cost_bbox, cost_giou)
        terms = (
            of_class(score(class_logits), labels),
            distance(pred_boxes, boxes),
            overlap(pred_boxes, boxes),
        )
        return finish(sum(s * w * term for s, w, term in zip(signs, used, terms)))

    return function


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.log_softmax(dim=-1)


def _without_no_object(logits: Tensor) -> Tensor:
    return logits[..., :-1].softmax(dim=-1)


def _over_queries(logits: Tensor) -> Tensor:
    return logits.softmax(dim=-2)


def _best_class(values: Tensor, labels: Tensor) -> Tensor:
    """Take each query's best class, whatever the object's."""
    best = values[..., :-1].amax(dim=-1, keepdim=True)
    return best.expand(*values.shape[:-1], labels.shape[-1])


def _hit_or_miss(values: Tensor, labels: Tensor) -> Tensor:
    return (values[..., :-1].argmax(dim=-1)[..., :, None] == labels[..., None, :]).to(values)


def _shifted_class(values: Tensor, labels: Tensor) -> Tensor:
    return _of_class(values, (labels + 1).clamp(max=values.shape[-1] - 1))


def _no_object_first(values: Tensor, labels: Tensor) -> Tensor:
    return _of_class(values, labels + 1)


def _as_half_sides(boxes: Tensor) -> Tensor:
    """Go a whole side from the centre."""
    return torch.cat((boxes[..., :2] - boxes[..., 2:], boxes[..., :2] + boxes[..., 2:]), dim=-1)


def _as_upper_left(boxes: Tensor) -> Tensor:
    return torch.cat((boxes[..., :2], boxes[..., :2] + boxes[..., 2:]), dim=-1)


def _l2(a: Tensor, b: Tensor) -> Tensor:
    return (a[..., :, None, :] - b[..., None, :, :]).square().sum(-1).sqrt()


def _smooth_l1(a: Tensor, b: Tensor) -> Tensor:
    gap = (a[..., :, None, :] - b[..., None, :, :]).abs()
    return torch.where(gap < 1, gap**2 / 2, gap - 0.5).sum(-1)


def _of_first_image(class_logits: Tensor, pred_boxes: Tensor, labels: Tensor, boxes: Tensor, **w):
    """Compare all images with the first one's objects."""
    if labels.ndim > 1:
        labels, boxes = labels[:1].expand_as(labels), boxes[:1].expand_as(boxes)
    return matching_cost(class_logits, pred_boxes, labels, boxes, **w)


MISCONCEPTIONS = (
    # The class.
    Misconception(
        "the class counts by its probability, −p, and not by −log p: so the three terms stay about "
        "equally large",
        _cost(score=_log_softmax),
        _cost(score=lambda x: x.softmax(dim=-1).log()),
        _cost(score=lambda x: (x.softmax(dim=-1) + 1e-8).log()),
    ),
    Misconception(
        "the class counts by its probability: take the softmax of the logits over the K + 1 "
        "classes",
        _cost(score=lambda x: x),
    ),
    Misconception(
        "the K + 1 classes share one probability, a softmax; yours is a sigmoid of each",
        _cost(score=torch.sigmoid),
    ),
    Misconception(
        "the softmax is over all K + 1, no object among them: a query that is sure of nothing is "
        "to have low probabilities; yours leaves no object out first",
        _cost(score=_without_no_object),
    ),
    Misconception(
        "the softmax is over the classes of a query, the last dimension; yours is over the queries",
        _cost(score=_over_queries),
        _cost(score=lambda x: x.softmax(dim=0)),
        _cost(score=lambda x: x.softmax(dim=1) if x.ndim > 2 else x.softmax(dim=0)),
    ),
    Misconception(
        "what counts is the probability of the object's class; yours is that of the query's best "
        "class, the same for all objects",
        _cost(of_class=_best_class),
    ),
    Misconception(
        "what counts is the probability of the object's class; yours asks whether it is the best, "
        "1 or 0",
        _cost(of_class=_hit_or_miss),
    ),
    Misconception(
        "classes count from 0 and no object is the last; yours takes the class one further",
        _cost(of_class=_shifted_class),
        _cost(of_class=_no_object_first),
    ),
    Misconception(
        "the class counts as −p; yours is 1 − p, which is no other matching but other numbers",
        _cost(score=lambda x: x.softmax(dim=-1) - 1),
    ),
    # The distance.
    Misconception(
        "the distance is the sum of the four differences; yours is their mean",
        _cost(distance=lambda a, b: _l1(a, b) / 4),
    ),
    Misconception(
        "the distance is the sum of the absolute differences; yours is the root of the sum of "
        "squares",
        _cost(distance=_l2),
    ),
    Misconception(
        "the distance is the sum of the absolute differences; yours are squared",
        _cost(distance=lambda a, b: _l2(a, b) ** 2),
        _cost(distance=_smooth_l1),
    ),
    Misconception(
        "the distance is of the boxes as they are given, centre, width and height; yours is of "
        "their corners",
        _cost(distance=lambda a, b: _l1(_corners(a), _corners(b))),
    ),
    Misconception(
        "the distance is of all four numbers; yours is of the centres alone",
        _cost(distance=lambda a, b: _l1(a[..., :2], b[..., :2])),
    ),
    Misconception(
        "the differences count by their absolute values; yours keep their signs and take one "
        "another away",
        _cost(distance=lambda a, b: (a[..., :, None, :] - b[..., None, :, :]).sum(-1)),
    ),
    # The overlap.
    Misconception(
        "GIoU is of corners: turn cxcywh into xyxy first; yours takes centres and sides for "
        "corners",
        _cost(overlap=_giou),
        _cost(overlap=lambda a, b: generalized_box_iou(a, b)),
    ),
    Misconception(
        "boxes are given by their centre: corners are half a side away from it; yours a whole side",
        _cost(overlap=lambda a, b: _giou(_as_half_sides(a), _as_half_sides(b))),
    ),
    Misconception(
        "the first two numbers are the centre; yours takes them for the upper left corner",
        _cost(overlap=lambda a, b: _giou(_as_upper_left(a), _as_upper_left(b))),
    ),
    Misconception(
        "this is IoU, which says 0 of all that are apart; GIoU is less the farther they are",
        _cost(overlap=lambda a, b: _plain_iou(_corners(a), _corners(b))),
        _cost(overlap=lambda a, b: box_iou(_corners(a), _corners(b))),
    ),
    Misconception(
        "GIoU is meant, with the smallest box around both; yours is DIoU",
        _cost(overlap=lambda a, b: distance_box_iou(_corners(a), _corners(b))),
    ),
    Misconception(
        "the term is −GIoU; yours is 1 − GIoU, which is no other matching but other numbers",
        _cost(overlap=lambda a, b: _giou(_corners(a), _corners(b)) - 1),
    ),
    Misconception(
        "the terms are −p and −GIoU; yours are 1 − p and 1 − GIoU, which is no other matching but "
        "other numbers",
        _cost(
            score=lambda x: x.softmax(dim=-1) - 1,
            overlap=lambda a, b: _giou(_corners(a), _corners(b)) - 1,
        ),
    ),
    Misconception(
        NEGATIVE_SIDES,
        _cost(overlap=lambda a, b: _overlaps(_corners(a), _corners(b), True, least=-torch.inf)),
    ),
    # Signs and weights.
    Misconception(
        "a high probability is to cost little: it is subtracted; yours is added",
        _cost(signs=(1, 1, -1)),
    ),
    Misconception(
        "a large GIoU is to cost little: it is subtracted; yours is added",
        _cost(signs=(-1, 1, 1)),
    ),
    Misconception(
        "probability and GIoU are subtracted and the distance is added: a cost is low where things "
        "fit; yours is low where they do not",
        _cost(signs=(1, -1, 1)),
        _cost(signs=(1, 1, 1)),
        _cost(signs=(-1, -1, -1)),
    ),
    Misconception(
        "the weights are those that are given; yours are always 1, 5 and 2",
        _cost(weights=lambda c, b, g: PAPERS),
    ),
    Misconception(
        "each term has its weight: cost_class, cost_bbox and cost_giou; yours has none",
        _cost(weights=lambda c, b, g: (1, 1, 1)),
    ),
    Misconception(
        "cost_bbox belongs to the distance and cost_giou to GIoU; yours are exchanged",
        _cost(weights=lambda c, b, g: (c, g, b)),
    ),
    Misconception(
        "the probability is weighted as well, with cost_class",
        _cost(weights=lambda c, b, g: (1, b, g)),
    ),
    Misconception(
        "three terms make the cost; the one of the class is missing in yours",
        _cost(weights=lambda c, b, g: (0, b, g)),
    ),
    Misconception(
        "three terms make the cost; the one of GIoU is missing in yours",
        _cost(weights=lambda c, b, g: (c, b, 0)),
    ),
    Misconception(
        "three terms make the cost; the one of the distance is missing in yours",
        _cost(weights=lambda c, b, g: (c, 0, g)),
    ),
    # Who is compared with whom.
    Misconception(
        "each image is compared with its own objects; yours compares all with those of the first",
        _of_first_image,
    ),
    Misconception(
        "a row for each query and a column for each object, (..., Q, N); yours is turned",
        _cost(finish=lambda cost: cost.mT),
    ),
    Misconception(
        "return the costs of all pairs, (..., Q, N); yours are the lowest of each query or object",
        _cost(finish=lambda cost: cost.min(dim=-1).values if cost.shape[-1] else cost[..., 0:0]),
        _cost(finish=lambda cost: cost.argmin(dim=-1) if cost.shape[-1] else cost[..., 0:0]),
        _cost(finish=lambda cost: cost.min(dim=-2).values),
        _cost(finish=lambda cost: cost.argmin(dim=-2)),
    ),
)

# ---- what else can be said ----


def _clue(asked: Asked) -> str:
    """Say which shapes were forgotten, if all others are answered rightly."""
    wrong, right = (
        {
            case.args[0].ndim > 2
            for case, found in zip(asked.cases, asked.faults)
            if bool(found) is w
        }
        for w in (True, False)
    )
    if wrong == {True} and right == {False}:
        return (
            "there may be leading dimensions: each image has its own objects, whose classes are "
            "picked with gather or torch.take_along_dim"
        )
    return ""


# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the three terms of the pair that is wrong."""
    logits, predicted, labels, boxes = case.args
    if len(found.index) != logits.ndim:
        return ""
    *front, query, item = found.index
    front = tuple(front)
    p = float(logits[front][query].softmax(dim=-1)[labels[front][item]])
    one, other = predicted[front][query], boxes[front][item]
    giou = float(_giou(_corners(one[None]), _corners(other[None])))
    return (
        f"query {query} with {written(one)}, object {item} of class {int(labels[front][item])} "
        f"with {written(other)}: p = {p:.4f}, the distance "
        f"{float((one - other).abs().sum()):.4f}, GIoU = {giou:.4f}"
    )


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the pair that is wrong."""
    logits, predicted, _, boxes = case.args
    if len(found.index) != logits.ndim:
        return []
    *front, query, item = found.index
    front = tuple(front)
    return [
        (_corners(predicted[front][query]), f"query {query}", "a"),
        (_corners(boxes[front][item]), f"object {item}", "b"),
    ]


MATCHING_COST = Exercise(
    number="5.3",
    name="matching_cost",
    reference=matching_cost,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the cost",),
    narrow=_show,
    draw=_draw,
    clue=_clue,
    allowed=frozenset({"box_convert", "generalized_box_iou", "box_iou", "box_area", "paired_iou"}),
    counted="queries",
)
