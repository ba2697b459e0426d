"""Exercise 2.3: from a box to the deltas that a network predicts for it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.boxes import Drawing, boxes_of, random_pairs
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.two_stage.centres_and_sizes import (
    CENTRED,
    CORNERS,
    STACKED,
    centre_and_size,
    corner_and_size,
    failing_row,
    half_and_size,
    misread_cxcywh,
    misread_xywh,
)
from detlearn.coders import encode_deltas

Function = Callable[[Tensor, Tensor], Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    anchor = boxes_of((10, 10, 30, 20))
    none = torch.zeros(0, 4)

    first, second = random_pairs(30, random)
    many, anchors = random_pairs(64, random)

    return [
        *_by_hand(anchor),
        Case("degenerate", (anchor, anchor), "an object that is its anchor"),
        Case("degenerate", (none, none), "no boxes at all"),
        Case("random", (first, second), "30 random pairs"),
        Case("property", (first - 300, second - 300), "the same boxes moved below zero"),
        Case("property", (first / 100, second / 100), "the same boxes, a hundredth as large"),
        Case("property", (second, first), "objects and anchors exchanged"),
        Case("no loop", (many[:8], anchors[:8]), "8 random pairs", size=8),
        Case("no loop", (many, anchors), "64 random pairs", size=64),
    ]


def _by_hand(anchor: Tensor) -> list[Case]:
    """Make the cases that can be followed with a pencil, most with one anchor of 20 × 10."""
    two = math.log(2)

    # The move and the stretch, one at a time and then both.
    moved = Case(
        "by hand",
        (boxes_of((15, 12, 35, 22)), anchor),
        "an object of the anchor's size, 5 pixels to the right and 2 below",
        torch.tensor([[0.25, 0.2, 0, 0]]),
    )
    stretched = Case(
        "by hand",
        (boxes_of((0, 12.5, 40, 17.5)), anchor),
        "an object twice as wide and half as high as the anchor, with the same centre",
        torch.tensor([[0, 0, two, -two]]),
    )
    both = Case(
        "by hand",
        (boxes_of((15, 10, 55, 15)), anchor),
        "an object elsewhere and of another shape",
        torch.tensor([[0.75, -0.25, two, -two]]),
    )

    # Whoever keeps sides from becoming zero by clamping them at one pixel fails here.
    inside_the_unit = Case(
        "by hand",
        (boxes_of((0.25, 0.5, 0.5, 0.625)), boxes_of((0.25, 0.25, 0.75, 0.75))),
        "boxes inside [0, 1]",
        torch.tensor([[-0.25, 0.125, -two, -2 * two]]),
    )

    return [moved, stretched, both, inside_the_unit]


# ---- wrong answers ----


def _encode(
    move: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = lambda c, s, ca, sa: (c - ca) / sa,
    stretch: Callable[[Tensor, Tensor], Tensor] = lambda s, sa: (s / sa).log(),
    split: Callable[[Tensor], tuple[Tensor, Tensor]] = centre_and_size,
    order: tuple[int, ...] = (0, 1, 2, 3),
) -> Function:
    """Return encoding with something changed.

    Args:
        move: gives dx and dy; takes centre and size of the object, centre and size of the anchor.
        stretch: gives dw and dh; takes the size of the object and that of the anchor.
        split: gives centres and sizes of boxes.
        order: of the four columns.
    """

    def function(gt_boxes: Tensor, anchors: Tensor) -> Tensor:
        centre, size = split(gt_boxes)
        anchor_centre, anchor_size = split(anchors)

        moved = move(centre, size, anchor_centre, anchor_size)
        stretched = stretch(size, anchor_size)
        return torch.cat((moved, stretched), dim=1)[:, list(order)]

    return function


def _sides_of_one_at_least(boxes: Tensor) -> tuple[Tensor, Tensor]:
    centre, size = centre_and_size(boxes)
    return centre, size.clamp(min=1)


def _centres_rounded_down(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[:, :2] + boxes[:, 2:]) // 2, boxes[:, 2:] - boxes[:, :2]


def _with_epsilon(epsilon: float) -> tuple[Function, Function]:
    """Return encoding with an epsilon added to all sides, and with one added to the anchor's."""

    def split(boxes: Tensor) -> tuple[Tensor, Tensor]:
        centre, size = centre_and_size(boxes)
        return centre, size + epsilon

    anchors_only = _encode(
        move=lambda c, s, ca, sa: (c - ca) / (sa + epsilon),
        stretch=lambda s, sa: (s / (sa + epsilon)).log(),
    )
    return _encode(split=split), anchors_only


def _shares_of_corners(gt_boxes: Tensor, anchors: Tensor) -> Tensor:
    size = anchors[:, 2:] - anchors[:, :2]
    return (gt_boxes - anchors) / size.repeat(1, 2)


def _each_with_each(gt_boxes: Tensor, anchors: Tensor) -> Tensor:
    """Encode every object for every anchor, (N, N, 4)."""
    objects = len(gt_boxes)
    others = len(anchors)

    rows = gt_boxes.repeat_interleave(others, dim=0)
    columns = anchors.repeat(objects, 1)
    return encode_deltas(rows, columns).view(objects, others, 4)


MISCONCEPTIONS = (
    Misconception(
        "the two are exchanged: the anchor is where the move starts, the object where it ends",
        lambda gt_boxes, anchors: encode_deltas(anchors, gt_boxes),
    ),
    # The stretch.
    Misconception(
        "dw and dh are logarithms: ln(w / w_a), so that twice as large and half as large are "
        "equally far from 0; yours are the ratios themselves",
        _encode(stretch=lambda s, sa: s / sa),
    ),
    Misconception(
        "dw and dh are ln(w / w_a) and ln(h / h_a); yours are the growth as a share of the "
        "anchor, w / w_a − 1",
        _encode(stretch=lambda s, sa: s / sa - 1),
    ),
    Misconception(
        "dw and dh are ln(w / w_a) and ln(h / h_a); yours are differences in pixels",
        _encode(stretch=lambda s, sa: s - sa),
    ),
    Misconception(
        "the fraction under the logarithm is upside down: the object's size over the anchor's, "
        "ln(w / w_a)",
        _encode(stretch=lambda s, sa: (sa / s).log()),
    ),
    Misconception(
        "dw is the logarithm of a quotient, ln(w / w_a); yours is the quotient of two logarithms",
        _encode(stretch=lambda s, sa: s.log() / sa.log()),
    ),
    Misconception(
        "the network predicts the logarithm, so that decoding takes the exponential; yours takes "
        "the exponential here",
        _encode(stretch=lambda s, sa: (s / sa).exp()),
    ),
    Misconception(
        "the logarithm is the natural one, torch.log",
        _encode(stretch=lambda s, sa: torch.log2(s / sa)),
        _encode(stretch=lambda s, sa: torch.log10(s / sa)),
    ),
    Misconception(
        "this is ln(1 + w / w_a); without the 1 an object of the anchor's size gets 0",
        _encode(stretch=lambda s, sa: (s / sa).log1p()),
    ),
    # The move.
    Misconception(
        "the sign of dx and dy is wrong: the object's centre minus the anchor's",
        _encode(move=lambda c, s, ca, sa: (ca - c) / sa),
    ),
    Misconception(
        "the sign says in which direction the centre moves; yours are distances, without a sign",
        _encode(move=lambda c, s, ca, sa: (c - ca).abs() / sa),
    ),
    Misconception(
        "dx and dy are in pixels; divide them by the anchor's width and height, so that large "
        "and small anchors learn alike",
        _encode(move=lambda c, s, ca, sa: c - ca),
    ),
    Misconception(
        "you divide by the object's size, which the network does not know; divide by the anchor's",
        _encode(move=lambda c, s, ca, sa: (c - ca) / s),
    ),
    Misconception(
        "dx belongs to the width and dy to the height of the anchor; yours are divided the "
        "other way round",
        _encode(move=lambda c, s, ca, sa: (c - ca) / sa.flip(1)),
    ),
    Misconception(
        "dx belongs to the width and dy to the height of the anchor; yours divides both by the "
        "width",
        _encode(move=lambda c, s, ca, sa: (c - ca) / sa[:, :1]),
    ),
    Misconception(
        "dx belongs to the width and dy to the height of the anchor; yours divides both by the "
        "height",
        _encode(move=lambda c, s, ca, sa: (c - ca) / sa[:, 1:]),
    ),
    Misconception(
        "dx belongs to the width and dy to the height of the anchor; yours divides both by one "
        "size, the root of the area",
        _encode(move=lambda c, s, ca, sa: (c - ca) / sa.prod(dim=1, keepdim=True).sqrt()),
    ),
    # Centres and sizes.
    Misconception(
        "dx and dy compare the centres; yours compare the upper left corners",
        _encode(split=corner_and_size),
    ),
    Misconception(
        "dx and dy compare centre with centre; yours compare the object's centre with the anchor's "
        "upper left corner",
        _encode(move=lambda c, s, ca, sa: (c - ca + sa / 2) / sa),
    ),
    Misconception(
        "dx and dy compare the centres; yours compare the lower right corners",
        _encode(split=lambda b: (b[:, 2:], b[:, 2:] - b[:, :2])),
    ),
    Misconception(
        "half of the width is not yet the centre: add the left edge, (x1 + x2) / 2",
        _encode(split=half_and_size),
    ),
    Misconception(
        "dx and dy are twice what they should be: the centre is the mean of both edges, "
        "(x1 + x2) / 2, and what it moves is divided by the whole side of the anchor",
        _encode(split=lambda b: (b[:, 2:] + b[:, :2], b[:, 2:] - b[:, :2])),
    ),
    Misconception(
        "the centre need not be a whole number: / keeps its fraction, // drops it",
        _encode(split=_centres_rounded_down),
    ),
    Misconception(
        "coordinates are continuous: the width is x2 − x1, without the + 1 of pixel counts",
        _encode(split=lambda b: ((b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2] + 1)),
        _encode(split=lambda b: ((b[:, :2] + b[:, 2:] + 1) / 2, b[:, 2:] - b[:, :2] + 1)),
    ),
    Misconception(
        "a side may be shorter than 1, as in boxes given as shares of the image; yours counts "
        "as 1 at least",
        _encode(split=_sides_of_one_at_least),
        _encode(
            move=lambda c, s, ca, sa: (c - ca) / sa.clamp(min=1),
            stretch=lambda s, sa: (s / sa.clamp(min=1)).log(),
        ),
        _encode(stretch=lambda s, sa: (s.clamp(min=1) / sa.clamp(min=1)).log()),
    ),
    Misconception(
        "an epsilon of 1e-4 or more adds so much to the sides of small boxes that it shows; all "
        "sides are positive, so none is needed",
        *_with_epsilon(1e-2),
        *_with_epsilon(1e-3),
        *_with_epsilon(1e-4),
    ),
    Misconception(CORNERS, _encode(split=misread_xywh)),
    Misconception(CENTRED, _encode(split=misread_cxcywh)),
    Misconception(
        "these are the differences of the corners as shares of the anchor; compare centres and "
        "take the logarithm of the sizes' ratio",
        _shares_of_corners,
    ),
    # The form of the result.
    Misconception(
        "the order is dx, dy, dw, dh; in yours dw and dh are exchanged",
        _encode(order=(0, 1, 3, 2)),
    ),
    Misconception(
        "the order is dx, dy, dw, dh; yours is dx, dw, dy, dh", _encode(order=(0, 2, 1, 3))
    ),
    Misconception(
        "the order is dx, dy, dw, dh; yours begins with the stretch", _encode(order=(2, 3, 0, 1))
    ),
    Misconception("x comes first: the order is dx, dy, dw, dh", _encode(order=(1, 0, 3, 2))),
    Misconception(
        "the deltas are not weighted here; 10, 10, 5, 5 belong to the second stage",
        lambda *args: encode_deltas(*args) * torch.tensor([10.0, 10, 5, 5]),
    ),
    Misconception(
        "row i of one belongs to row i of the other, (N, 4); yours are all objects with all "
        "anchors",
        _each_with_each,
    ),
    Misconception(STACKED, lambda *args: encode_deltas(*args).T),
)

# ---- how it is shown ----


def _draw(case: Case, found: Fault) -> Drawing:
    at = failing_row(case, found)
    if at is None:
        return []
    gt_boxes, anchors = case.args
    return [(anchors[at], "anchor", "a"), (gt_boxes[at], "object", "b")]


ENCODE_DELTAS = Exercise(
    number="2.3",
    name="encode_deltas",
    reference=encode_deltas,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the delta",),
    draw=_draw,
    counted="pairs",
    allowed=frozenset({"box_convert"}),
)
