"""Exercise 2.3: from a box to the deltas that a network predicts for it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.boxes import Drawing, boxes_of, random_pairs
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.two_stage.deltas import (
    CENTRED,
    CORNERS,
    STACKED,
    centre_and_size,
    corner_and_size,
    failing_row,
    half_and_size,
    misread_cxcywh,
    misread_xywh,
    show_row,
)
from detlearn.coders import encode_deltas

Function = Callable[[Tensor, Tensor], Tensor]


def _encode_cases(random: torch.Generator) -> list[Case]:
    anchor, none = boxes_of((10, 10, 30, 20)), torch.zeros(0, 4)
    moved, both = boxes_of((15, 12, 35, 22)), boxes_of((15, 10, 55, 15))
    stretched = boxes_of((0, 12.5, 40, 17.5))
    two = math.log(2)
    first, second = random_pairs(30, random)
    many, anchors = random_pairs(64, random)
    return [
        Case(
            "by hand",
            (moved, anchor),
            "an object of the anchor's size, 5 pixels to the right and 2 below",
            torch.tensor([[0.25, 0.2, 0, 0]]),
        ),
        Case(
            "by hand",
            (stretched, anchor),
            "an object twice as wide and half as high as the anchor, with the same centre",
            torch.tensor([[0, 0, two, -two]]),
        ),
        Case(
            "by hand",
            (both, anchor),
            "an object elsewhere and of another shape",
            torch.tensor([[0.75, -0.25, two, -two]]),
        ),
        Case("degenerate", (anchor, anchor), "an object that is its anchor"),
        Case("degenerate", (none, none), "no boxes at all"),
        Case("random", (first, second), "30 random pairs"),
        Case("property", (first - 300, second - 300), "the same boxes moved below zero"),
        Case("property", (first / 100, second / 100), "the same boxes, a hundredth as large"),
        Case("property", (second, first), "objects and anchors exchanged"),
        Case("no loop", (many[:8], anchors[:8]), "8 random pairs", size=8),
        Case("no loop", (many, anchors), "64 random pairs", size=64),
    ]


def _encode(
    move: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = lambda c, s, ca, sa: (c - ca) / sa,
    stretch: Callable[[Tensor, Tensor], Tensor] = lambda s, sa: (s / sa).log(),
    split: Callable[[Tensor], tuple[Tensor, Tensor]] = centre_and_size,
    order: tuple[int, ...] = (0, 1, 2, 3),
) -> Function:
    """Encoding with something changed: centre c, size s of the object, ca and sa of the anchor."""

    def function(gt_boxes: Tensor, anchors: Tensor) -> Tensor:
        object_, anchor = split(gt_boxes), split(anchors)
        moved, stretched = move(*object_, *anchor), stretch(object_[1], anchor[1])
        return torch.cat((moved, stretched), dim=1)[:, list(order)]

    return function


def _draw(case: Case, found: Fault) -> Drawing:
    at = failing_row(case, found)
    if at is None:
        return []
    return [(case.args[1][at], "anchor", "a"), (case.args[0][at], "object", "b")]


ENCODE_DELTAS = Exercise(
    number="2.3",
    name="encode_deltas",
    reference=encode_deltas,
    cases=_encode_cases,
    misconceptions=(
        Misconception(
            "the two are exchanged: the anchor is where the move starts, the object where it ends",
            lambda gt_boxes, anchors: encode_deltas(anchors, gt_boxes),
        ),
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
            "the sign of dx and dy is wrong: the object's centre minus the anchor's",
            _encode(move=lambda c, s, ca, sa: (ca - c) / sa),
        ),
        Misconception(
            "dx and dy are in pixels; divide them by the anchor's width and height, so that large "
            "and small anchors learn alike",
            _encode(move=lambda c, s, ca, sa: c - ca),
        ),
        Misconception(
            "you divide by the object's size, which the network does not know; divide by the "
            "anchor's",
            _encode(move=lambda c, s, ca, sa: (c - ca) / s),
        ),
        Misconception(
            "dx belongs to the width and dy to the height of the anchor; yours are divided the "
            "other way round",
            _encode(move=lambda c, s, ca, sa: (c - ca) / sa.flip(1)),
        ),
        Misconception(
            "dx and dy compare the centres; yours compare the upper left corners",
            _encode(split=corner_and_size),
        ),
        Misconception(
            "half of the width is not yet the centre: add the left edge, (x1 + x2) / 2",
            _encode(split=half_and_size),
        ),
        Misconception(
            "the centre is the mean of both edges, (x1 + x2) / 2; yours lacks the division by 2",
            _encode(split=lambda b: (b[:, 2:] + b[:, :2], b[:, 2:] - b[:, :2])),
        ),
        Misconception(
            "the order is dx, dy, dw, dh; in yours dw and dh are exchanged",
            _encode(order=(0, 1, 3, 2)),
        ),
        Misconception(
            "the order is dx, dy, dw, dh; yours is dx, dw, dy, dh", _encode(order=(0, 2, 1, 3))
        ),
        Misconception(
            "the order is dx, dy, dw, dh; yours begins with the stretch",
            _encode(order=(2, 3, 0, 1)),
        ),
        Misconception("x comes first: the order is dx, dy, dw, dh", _encode(order=(1, 0, 3, 2))),
        Misconception(
            "coordinates are continuous: the width is x2 − x1, without the + 1 of pixel counts",
            _encode(split=lambda b: ((b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2] + 1)),
        ),
        *(
            Misconception(
                "the logarithm is the natural one, torch.log",
                _encode(stretch=lambda s, sa, base=base: base(s / sa)),
            )
            for base in (torch.log2, torch.log10)
        ),
        Misconception(
            "this is ln(1 + w / w_a); without the 1 an object of the anchor's size gets 0",
            _encode(stretch=lambda s, sa: (s / sa).log1p()),
        ),
        Misconception(
            "the deltas are not weighted here; 10, 10, 5, 5 belong to the second stage",
            lambda *args: encode_deltas(*args) * torch.tensor([10.0, 10, 5, 5]),
        ),
        Misconception(CORNERS, _encode(split=misread_xywh)),
        Misconception(CENTRED, _encode(split=misread_cxcywh)),
        Misconception(
            "these are the differences of the corners as shares of the anchor; compare centres and "
            "take the logarithm of the sizes' ratio",
            lambda gt, anchors: (gt - anchors) / centre_and_size(anchors)[1].repeat(1, 2),
        ),
        Misconception(STACKED, lambda *args: encode_deltas(*args).T),
    ),
    returns=("the delta",),
    draw=_draw,
    narrow=lambda case, found: show_row(case, found, "gt_box"),
    counted="pairs",
)
