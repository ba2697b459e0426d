"""Exercise 2.4: from deltas to boxes."""

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
    corners,
    failing_row,
    half_and_size,
    misread_cxcywh,
    misread_xywh,
)
from detlearn.coders import decode_deltas

LARGEST = math.log(1000 / 16)
Function = Callable[[Tensor, Tensor], Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    anchor = boxes_of((10, 10, 30, 20))
    none = torch.zeros(0, 4)
    huge = torch.full((2, 4), 12.0)

    anchors = random_pairs(30, random)[0]
    deltas = 0.4 * torch.randn(30, 4, generator=random)
    wild = deltas * torch.tensor([1, 1, 8, 8])

    many = random_pairs(64, random)[0]
    small = 0.4 * torch.randn(64, 4, generator=random)

    return [
        *_by_hand(anchor),
        *_limits_by_hand(anchor),
        Case("degenerate", (none, none), "no boxes at all"),
        Case("degenerate", (huge, anchor.repeat(2, 1)), "huge deltas"),
        Case("random", (deltas, anchors), "30 random deltas"),
        Case("random", (wild, anchors), "30 random deltas, some of them above the limit"),
        Case("property", (deltas, anchors - 300), "the same deltas, anchors moved below zero"),
        Case("property", (deltas, anchors / 100), "the same deltas, anchors a hundredth as large"),
        Case("gradient", (deltas, anchors), "30 random deltas", gradient=True),
        Case("no loop", (small[:8], many[:8]), "8 random deltas", size=8),
        Case("no loop", (small, many), "64 random deltas", size=64),
    ]


def _by_hand(anchor: Tensor) -> list[Case]:
    """Make the cases that can be followed with a pencil, most with one anchor of 20 × 10."""
    two = math.log(2)

    moved = [
        Case("by hand", (torch.zeros(1, 4), anchor), "deltas of zero", anchor),
        Case(
            "by hand",
            (torch.tensor([[0.25, 0.2, 0, 0]]), anchor),
            "a move to the right and down",
            boxes_of((15, 12, 35, 22)),
        ),
    ]

    stretched_too = Case(
        "by hand",
        (torch.tensor([[0.75, -0.25, two, -two]]), anchor),
        "a move, twice the width and half the height",
        boxes_of((15, 10, 55, 15)),
    )

    # Longer than dw and dh may be.
    moved_far = Case(
        "by hand",
        (torch.tensor([[10.0, -8, 0, 0]]), anchor),
        "a long move",
        boxes_of((210, -70, 230, -60)),
    )

    # Whoever keeps sides from becoming zero by clamping them at one pixel fails here.
    inside_the_unit = Case(
        "by hand",
        (torch.tensor([[0.5, -0.5, two, -two]]), boxes_of((0.25, 0.25, 0.75, 0.5))),
        "an anchor inside [0, 1]",
        boxes_of((0.25, 0.1875, 1.25, 0.3125)),
    )

    return [*moved, stretched_too, moved_far, inside_the_unit]


def _limits_by_hand(anchor: Tensor) -> list[Case]:
    """Make the cases in which a side is limited, and the one in which it must not be."""
    wide, high = 20 * 62.5, 10 * 62.5
    both_limited = Case(
        "by hand",
        (torch.tensor([[0, 0, 5.0, 6.0]]), anchor),
        "dw and dh above the limit",
        boxes_of((20 - wide / 2, 15 - high / 2, 20 + wide / 2, 15 + high / 2)),
    )

    # The left edge, 725 − 625, shows whether the limit is ln(1000 / 16) or a rounded number.
    exactly_limited = Case(
        "by hand",
        (torch.tensor([[35.25, 0, 5.0, 0]]), anchor),
        "a long move and a dw above the limit",
        boxes_of((100, 10, 1350, 20)),
    )

    narrow = 20 * math.exp(-6)
    not_limited = Case(
        "by hand",
        (torch.tensor([[0, 0, -6.0, 0]]), anchor),
        "a dw of −6, a very narrow box",
        boxes_of((20 - narrow / 2, 10, 20 + narrow / 2, 20)),
    )

    return [both_limited, exactly_limited, not_limited]


# ---- wrong answers ----


def _limited(deltas: Tensor) -> Tensor:
    return deltas.clamp(max=LARGEST)


def _decode(
    move: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda c, s, d: c + d * s,
    stretch: Callable[[Tensor], Tensor] = lambda d: _limited(d).exp(),
    split: Callable[[Tensor], tuple[Tensor, Tensor]] = centre_and_size,
    join: Callable[[Tensor, Tensor], Tensor] = corners,
    order: tuple[int, ...] = (0, 1, 2, 3),
) -> Function:
    """Return decoding with something changed.

    Args:
        move: gives the new centre; takes centre and size of the anchor, dx and dy.
        stretch: gives the factors by which the anchor grows; takes dw and dh.
        split: gives centres and sizes of anchors.
        join: gives boxes of centres and sizes.
        order: in which the columns of the deltas are read.
    """

    def function(deltas: Tensor, anchors: Tensor) -> Tensor:
        centre, size = split(anchors)
        deltas = deltas[:, list(order)]
        return join(move(centre, size, deltas[:, :2]), size * stretch(deltas[:, 2:]))

    return function


def _columns(*order: int) -> Function:
    """Return decoding whose result has its columns in another order."""
    return lambda *args: decode_deltas(*args)[:, list(order)]


def _adds_the_stretch(deltas: Tensor, anchors: Tensor) -> Tensor:
    centre, size = centre_and_size(anchors)
    return corners(centre + deltas[:, :2] * size, size + _limited(deltas[:, 2:]).exp())


def _moves_by_the_new_size(deltas: Tensor, anchors: Tensor) -> Tensor:
    centre, size = centre_and_size(anchors)
    new_size = size * _limited(deltas[:, 2:]).exp()
    return corners(centre + deltas[:, :2] * new_size, new_size)


def _moves_corners(deltas: Tensor, anchors: Tensor) -> Tensor:
    return anchors + deltas * (anchors[:, 2:] - anchors[:, :2]).repeat(1, 2)


def _limits_one_side(which: int) -> Callable[[Tensor], Tensor]:
    def stretch(deltas: Tensor) -> Tensor:
        limit = torch.full((2,), math.inf)
        limit[which] = LARGEST
        return deltas.minimum(limit).exp()

    return stretch


def _anchor_of_one_at_least(anchors: Tensor) -> tuple[Tensor, Tensor]:
    centre, size = centre_and_size(anchors)
    return centre, size.clamp(min=1)


MISCONCEPTIONS = (
    # The stretch.
    Misconception(
        "dw and dh are logarithms: the width is w_a · exp(dw); yours is w_a · dw",
        _decode(stretch=lambda d: d),
        _decode(stretch=_limited),
    ),
    Misconception(
        "dw and dh are logarithms: the width is w_a · exp(dw); yours is w_a · (1 + dw)",
        _decode(stretch=lambda d: 1 + d),
        _decode(stretch=lambda d: 1 + _limited(d)),
    ),
    Misconception(
        "the width is w_a · exp(dw); yours is w_a + exp(dw)",
        _adds_the_stretch,
    ),
    Misconception(
        "the exponential has base e, torch.exp",
        _decode(stretch=lambda d: 2 ** _limited(d)),
    ),
    Misconception(
        "the width is w_a · exp(dw), larger where dw is positive; yours is divided by it",
        _decode(stretch=lambda d: 1 / _limited(d).exp()),
        _decode(stretch=lambda d: _limited(-d).exp()),
        _decode(stretch=lambda d: (-d).exp()),
    ),
    Misconception(
        "dw and dh stretch the box: its width is w_a · exp(dw); yours keeps the anchor's sides",
        _decode(stretch=torch.ones_like),
    ),
    # Its limit.
    Misconception(
        "a limit from above is clamp(max=…); with min=… every box grows at least by 1000 / 16",
        _decode(stretch=lambda d: d.clamp(min=LARGEST).exp()),
    ),
    Misconception(
        "limit dw and dh from above before the exponential, at ln(1000 / 16) = 4.135; "
        "otherwise one wild prediction makes a box of infinite size",
        _decode(stretch=torch.exp),
    ),
    Misconception(
        "the limit is ln(1000 / 16) with the natural logarithm, 4.135",
        _decode(stretch=lambda d: d.clamp(max=math.log10(1000 / 16)).exp()),
        _decode(stretch=lambda d: d.clamp(max=math.log2(1000 / 16)).exp()),
    ),
    Misconception(
        "the limit is math.log(1000 / 16); 4.135 is rounded, which makes a box of 1250 pixels a "
        "fifth of a pixel too narrow",
        _decode(stretch=lambda d: d.clamp(max=4.135).exp()),
        _decode(stretch=lambda d: d.clamp(max=4.14).exp()),
        _decode(stretch=lambda d: d.clamp(max=4.13).exp()),
    ),
    Misconception(
        "the logarithm limits dw, so it comes before the exponential; yours limits exp(dw)",
        _decode(stretch=lambda d: d.exp().clamp(max=LARGEST)),
    ),
    Misconception(
        "a side grows 1000 / 16 times at most, however long it was; yours limits the side itself "
        "to 62.5",
        _decode(join=lambda c, s: corners(c, s.clamp(max=62.5)), stretch=torch.exp),
        _decode(join=lambda c, s: corners(c, s.clamp(max=62.5))),
    ),
    Misconception(
        "there is no lower limit: dw and dh are limited from above only",
        _decode(stretch=lambda d: d.clamp(-LARGEST, LARGEST).exp()),
    ),
    Misconception(
        "a side may shrink too: dw and dh are limited from above only",
        _decode(stretch=lambda d: d.clamp(0, LARGEST).exp()),
    ),
    Misconception(
        "a box may be narrower than 1, as an anchor inside [0, 1] is; yours has sides of 1 at "
        "least",
        _decode(join=lambda c, s: corners(c, s.clamp(min=1))),
        _decode(split=_anchor_of_one_at_least),
    ),
    Misconception(
        "only dw and dh are limited; dx and dy may be as large as they are",
        _decode(move=lambda c, s, d: c + _limited(d) * s),
        _decode(move=lambda c, s, d: c + d.clamp(-LARGEST, LARGEST) * s),
    ),
    Misconception("dh has the same limit as dw", _decode(stretch=_limits_one_side(0))),
    Misconception("dw has the same limit as dh", _decode(stretch=_limits_one_side(1))),
    # The move.
    Misconception(
        "dx and dy are shares of the anchor's size; multiply them by its width and height",
        _decode(move=lambda c, s, d: c + d),
    ),
    Misconception(
        "dx is a share of the anchor's width, not of the new one", _moves_by_the_new_size
    ),
    Misconception(
        "dx belongs to the width and dy to the height of the anchor; yours are multiplied the "
        "other way round",
        _decode(move=lambda c, s, d: c + d * s.flip(1)),
    ),
    Misconception(
        "dx belongs to the width and dy to the height of the anchor; yours multiplies both by the "
        "width",
        _decode(move=lambda c, s, d: c + d * s[:, :1]),
    ),
    Misconception(
        "dx belongs to the width and dy to the height of the anchor; yours multiplies both by the "
        "height",
        _decode(move=lambda c, s, d: c + d * s[:, 1:]),
    ),
    Misconception(
        "dx is a share of the anchor's whole width; yours moves by half of it",
        _decode(move=lambda c, s, d: c + d * s / 2),
    ),
    Misconception(
        "the move starts at the anchor: add its centre; yours starts at the corner of the image",
        _decode(move=lambda c, s, d: d * s),
    ),
    Misconception(
        "dx and dy are moves, not logarithms: only dw and dh go through the exponential",
        _decode(move=lambda c, s, d: c + d.exp() * s),
        _decode(move=lambda c, s, d: c + _limited(d).exp() * s),
    ),
    Misconception(
        "the sign of dx and dy is wrong: the new centre is the anchor's plus the move",
        _decode(move=lambda c, s, d: c - d * s),
    ),
    # Centres, sizes and corners.
    Misconception(
        "the move starts at the anchor's centre; yours starts at its upper left corner",
        _decode(split=corner_and_size),
    ),
    Misconception(
        "the move starts at the anchor's centre and the box grows around it; yours keeps the "
        "corner",
        _decode(split=corner_and_size, join=lambda c, s: torch.cat((c, c + s), dim=1)),
    ),
    Misconception(
        "half of the width is not yet the centre: add the left edge, (x1 + x2) / 2",
        _decode(split=half_and_size),
    ),
    Misconception(
        "dx, dy, dw, dh move the centre and stretch the sides; yours moves the corners by them",
        _moves_corners,
    ),
    Misconception(CORNERS, _decode(split=misread_xywh)),
    Misconception(CENTRED, _decode(split=misread_cxcywh)),
    Misconception(
        "from the centre it is half the width to either side; yours goes a whole one",
        _decode(join=lambda c, s: torch.cat((c - s, c + s), dim=1)),
    ),
    Misconception(
        "the centre is not the corner: go half the width back, x − w / 2, and half forth",
        _decode(join=lambda c, s: torch.cat((c, c + s), dim=1)),
    ),
    # The form of the result.
    Misconception(
        "these are centre and size; return corners x1, y1, x2, y2",
        _decode(join=lambda c, s: torch.cat((c, s), dim=1)),
    ),
    Misconception(
        "these are corner and size; return corners x1, y1, x2, y2",
        _decode(join=lambda c, s: torch.cat((c - s / 2, s), dim=1)),
    ),
    Misconception(
        "the order of the deltas is dx, dy, dw, dh; in yours dw and dh are exchanged",
        _decode(order=(0, 1, 3, 2)),
    ),
    Misconception(
        "the order of the deltas is dx, dy, dw, dh; yours is dx, dw, dy, dh",
        _decode(order=(0, 2, 1, 3)),
    ),
    Misconception(
        "the order of the result is x1, y1, x2, y2; yours is x1, x2, y1, y2", _columns(0, 2, 1, 3)
    ),
    Misconception(
        "the order of the result is x1, y1, x2, y2; yours begins with y", _columns(1, 0, 3, 2)
    ),
    Misconception(
        "the deltas are not weighted here; 10, 10, 5, 5 belong to the second stage",
        lambda d, a: decode_deltas(d / torch.tensor([10.0, 10, 5, 5]), a),
    ),
    Misconception(
        "boxes may leave the image here; they are clipped later",
        lambda *args: decode_deltas(*args).clamp(min=0),
    ),
    Misconception(
        "the boxes are not rounded to whole pixels",
        lambda *args: decode_deltas(*args).round(),
    ),
    Misconception(STACKED, lambda *args: decode_deltas(*args).T),
)

# ---- how it is shown ----


def _draw(case: Case, found: Fault) -> Drawing:
    at = failing_row(case, found)
    if at is None:
        return []
    deltas, anchors = case.args
    goal = decode_deltas(deltas[at], anchors[at])
    return [(anchors[at], "anchor", "a"), (goal, "goal", "b")]


DECODE_DELTAS = Exercise(
    number="2.4",
    name="decode_deltas",
    reference=decode_deltas,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the box",),
    draw=_draw,
    allowed=frozenset({"box_convert"}),
)
