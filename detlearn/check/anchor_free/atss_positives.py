"""Exercise 4.5: which anchors learn an object, by a threshold of its own (ATSS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from detlearn.boxes import box_iou
from detlearn.check.anchor_free.scenes import levels_of
from detlearn.check.boxes import Drawing, boxes_of
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.diagnosis import Asked
from detlearn.matching import atss_positives

Function = Callable[..., Any]

SIDE = 4  # of the random anchors, in strides
MARGIN = 1e-3  # between the random candidates' IoUs and their threshold
# The object of the cases worked out by hand: a part of it has its share of the width as IoU.
OBJECT = (0.0, 0, 100, 10)

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    fine = _anchors(64, (4, 8, 16))
    coarse = _anchors(64, (8, 16, 32))

    values = [
        *(
            Case("random", (*fine, _object(*fine, 9, random)), note)
            for note in ("an object and strides 4, 8, 16", "another object", "a third object")
        ),
        Case("random", (*fine, _object(*fine, 5, random), 5), "an object and k = 5"),
        Case("random", (*fine, _object(*fine, 15, random), 15), "an object and k = 15"),
        Case(
            "random",
            (*coarse, _object(*coarse, 9, random)),
            "an object and strides 8, 16, 32, the last with 4 anchors",
        ),
        Case("random", (*coarse, _object(*coarse, 3, random), 3), "an object and k = 3"),
    ]

    anchors, counts = fine
    box = _object(*fine, 9, random)
    levels = anchors.split(counts)
    properties = [
        Case(
            "property",
            (torch.cat(levels[::-1]), counts[::-1], box),
            "the levels in another order",
        ),
        Case("property", (8 * anchors, counts, 8 * box), "everything eight times as large"),
        Case("property", (anchors / 64, counts, box / 64), "everything in shares of the image"),
        Case("property", (anchors + 16, counts, box + 16), "everything moved"),
    ]

    growing = []
    for size in (32, 256):
        many, sizes = _anchors(size, (8, 16))
        note = f"{len(many)} anchors"
        growing.append(Case("no loop", (many, sizes, box / 2), note, size=len(many)))
    return [*_by_hand(), *_degenerate(fine), *values, *properties, *growing]


def _anchors(size: int, strides: tuple[int, ...]) -> tuple[Tensor, list[int]]:
    points, every, counts = levels_of(size, strides)
    half = SIDE / 2 * every[:, None]
    return torch.cat((points - half, points + half), dim=1), counts


def _object(anchors: Tensor, counts: list[int], k: int, random: torch.Generator) -> Tensor:
    """Return a box for which rounding decides nothing, and neither does a different epsilon."""
    for _ in range(200):
        sides = 5 + 50 * torch.rand(2, generator=random) ** 2
        corner = torch.rand(2, generator=random) * (64 - sides)
        box = (torch.cat((corner, corner + sides)) * 8).round() / 8 + 1 / 16
        candidates = _nearest(anchors, counts, box, k)
        ious = box_iou(anchors[candidates], box[None])[:, 0].double()
        if (ious - _threshold(ious)).abs().min() > MARGIN:
            return box
    raise AssertionError("no object without a close decision was found")


def _part(share: float, middle: float) -> tuple[float, ...]:
    """Return the part of OBJECT with this share of its width, about this x."""
    return (middle - 50 * share, 0.0, middle + 50 * share, 10.0)


def _hand(levels: list[list[tuple[float, ...]]], wanted: list[int], note: str, k: int = 9) -> Case:
    anchors = boxes_of(*(anchor for level in levels for anchor in level))
    args = (anchors, [len(level) for level in levels], boxes_of(OBJECT)[0], k)
    return Case("by hand", args, note, torch.tensor(wanted, dtype=torch.bool))


def _by_hand() -> list[Case]:
    return [*_of_thresholds(), *_of_candidates(), *_of_places()]


def _of_thresholds() -> list[Case]:
    """Make cases with candidates of known IoUs, all of them inside."""

    def parts(*shares: float) -> list[tuple[float, ...]]:
        return [_part(share, 45 + 2 * i) for i, share in enumerate(shares)]

    text = parts(0.1, 0.1, 0.1, 0.5, 0.1, 0.3)
    return [
        # .2 + .167
        _hand([text], [0, 0, 0, 1, 0, 0], "the six candidates of the text"),
        _hand([text[:4], text[4:]], [0, 0, 0, 1, 0, 0], "the six of the text on two levels"),
        # .325 + .1803 = .505
        _hand(
            [parts(0.6, 0.05, 0.35, 0.2, 0.5), parts(0.1, 0.45, 0.3, 0.15, 0.4, 0.55, 0.25)],
            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            "twelve candidates with IoUs .05, .1, .15 … .6",
        ),
        # .2489 + .1881 = .437
        _hand(
            [
                parts(0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.46, 0.14, 0.16),
                parts(0.18, 0.22, 0.42, 0.26, 0.3, 0.34, 0.5, 0.38, 0.7),
            ],
            [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1],
            "eighteen candidates, most of them poor",
        ),
        # .2133 + .1796 = .393; divided by 6 in place of 5: .377
        _hand(
            [parts(0.1, 0.1, 0.1, 0.5, 0.1, 0.38)],
            [0, 0, 0, 1, 0, 0],
            "six candidates with IoUs .1, .1, .1, .5, .1, .38",
        ),
        # .2652 + .2910 = .5562; .5565 is just above it.
        _hand(
            [parts(0.1, 0.12, 0.1, 0.08), parts(0.1, 0.8, 0.5565)],
            [0, 0, 0, 0, 0, 1, 1],
            "seven candidates, one just above the threshold",
        ),
        # No spread: the threshold is .5 itself.
        _hand(
            [[_part(0.5, 25), _part(0.5, 75)], [(0.0, 0, 100, 5), (0.0, 5, 100, 10)]],
            [1, 1, 1, 1],
            "four candidates with an IoU of .5",
        ),
    ]


def _of_candidates() -> list[Case]:
    """Make cases in which not all anchors are candidates."""
    # Each part is a box with its IoU and its centre.
    first = [_part(0.1, 50), _part(0.4, 40), _part(0.6, 30), _part(0.3, 70)]
    second = [_part(0.2, 50), _part(0.6, 40), _part(0.5, 75)]

    # The two nearest of each: .1, .4 and .2, .6; .325 + .222 = .547.
    two = _hand([first, second], [0, 0, 0, 0, 0, 1, 0], "two levels and room for two on each", 2)

    # The same, counted from the other side.
    turned = _hand(
        [second[::-1], first[::-1]],
        [0, 1, 0, 0, 0, 0, 0],
        "the same in another order",
        2,
    )

    # Of four that are equally far the first two: .25, .4; with .1, .1 the threshold is .213 + .144.
    equally = [_part(0.25, 20), _part(0.4, 80), _part(0.4, 20), _part(0.25, 80)]
    ties = _hand(
        [equally, [_part(0.1, 50), _part(0.1, 52)]],
        [0, 1, 0, 0, 0, 0],
        "four anchors equally far away and room for two",
        2,
    )

    # Room for one: the first of two equally far, and the only one of its level.
    one_each = _hand(
        [[_part(0.5, 25), _part(0.5, 75)], [_part(0.5, 50)]],
        [1, 0, 1],
        "two anchors equally far away and room for one",
        1,
    )

    # Nine of .03 … .07 and one of .5: .095 + .143. Those of .6 and .4 are the farthest of eleven.
    low = [_part(0.03 + 0.005 * i, 42 + 2 * i) for i in range(9)]
    eleven = _hand(
        [[_part(0.6, 30), *low, _part(0.4, 75)], [_part(0.5, 50)]],
        [0] * 11 + [1],
        "a level of eleven anchors, the two best of them far away",
    )

    return [two, turned, ties, one_each, eleven, _of_directions()]


def _of_directions() -> Case:
    """Make a case in which it matters how dx and dy make a distance."""

    def about(x: float, y: float, side: float) -> tuple[float, ...]:
        return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)

    # The centre is (30, 30). 7 and 7 are nearer than 11 and 0; 10 and 0 are nearer than 8 and 8.
    pairs = [about(37, 37, 50), about(41, 30, 50), about(38, 38, 50), about(40, 30, 50)]
    anchors = boxes_of(*pairs, *(about(30, 30 + i, 10) for i in range(4)))
    # The nearest of each level: .607, .584 and four of .028; .217 + .294 = .511.
    args = (anchors, [2, 2, 1, 1, 1, 1], torch.tensor([0.0, 0, 60, 60]), 1)
    wanted = torch.tensor([1, 0, 0, 1, 0, 0, 0, 0], dtype=torch.bool)
    return Case("by hand", args, "anchors beside the object's centre and across from it", wanted)


def _of_places() -> list[Case]:
    """Make cases of anchors whose centre is not inside."""
    low = [_part(0.05, 40 + 5 * i) for i in range(4)]
    # .1556 + .1649 = .320 < 1/3, but its centre (100, 5) lies on the side.
    on_side = _hand(
        [[(50.0, 0, 150, 10), _part(0.4, 60)], low],
        [0, 1, 0, 0, 0, 0],
        "an anchor with its centre on the side of the object",
    )
    # .191 + .126 = .316: the anchor outside (.353) raises the threshold above .3.
    outside = _hand(
        [[(40.0, 0, 170, 10), _part(0.3, 60)], [_part(0.1, 45), _part(0.1, 50), _part(0.1, 55)]],
        [0, 0, 0, 0, 0],
        "an anchor with its centre outside the object",
    )
    # Larger than the object: 1000 / 1800 around (55, 5).
    around = _hand(
        [[(-5.0, -2, 115, 13)], [*low, _part(0.1, 48)]],
        [1, 0, 0, 0, 0, 0],
        "an anchor larger than the object",
    )
    return [on_side, outside, around]


def _degenerate(fine: tuple[Tensor, list[int]]) -> list[Case]:
    alone = boxes_of((2, 2, 40, 30))
    box = torch.tensor([4.125, 3.25, 30.25, 28.5])
    far = torch.tensor([300.125, 200.25, 330.0625, 240.5])
    tiny = torch.tensor([28.6, 28.7, 31.2, 30.9])
    return [
        Case("degenerate", (alone, [1], box), "a single anchor"),
        Case("degenerate", (alone + 40, [1], box), "a single anchor far away"),
        Case("degenerate", (*fine, far), "an object far away from all anchors"),
        Case("degenerate", (*fine, tiny), "an object inside which no centre lies"),
    ]


# ---- wrong answers ----


def _centres(boxes: Tensor) -> Tensor:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _squares(anchors: Tensor, box: Tensor) -> Tensor:
    return (_centres(anchors) - _centres(box)).square().sum(dim=1)


def _apart(anchors: Tensor, box: Tensor) -> Tensor:
    return (_centres(anchors) - _centres(box)).abs()


def _each_level(
    order: Callable[[Tensor], Tensor], far: Callable[[Tensor, Tensor], Tensor] = _squares
) -> Callable[..., Tensor]:
    """Return the indices of the first k of each level in an order of distances."""

    def candidates(anchors: Tensor, counts: Sequence[int], box: Tensor, k: int) -> Tensor:
        found, start = [], 0
        for level in far(anchors, box).split(list(counts)):
            found.append(order(level)[:k] + start)
            start += len(level)
        return torch.cat(found)

    return candidates


def _in_order(level: Tensor) -> Tensor:
    return level.argsort(stable=True)


_nearest = _each_level(_in_order)


def _last_of_equals(level: Tensor) -> Tensor:
    return len(level) - 1 - level.flip(0).argsort(stable=True)


def _by_topk(anchors: Tensor, counts: Sequence[int], box: Tensor, k: int) -> Tensor:
    found, start = [], 0
    for level in _squares(anchors, box).split(list(counts)):
        found.append(level.topk(min(k, len(level)), largest=False).indices + start)
        start += len(level)
    return torch.cat(found)


def _without_start(anchors: Tensor, counts: Sequence[int], box: Tensor, k: int) -> Tensor:
    levels = _squares(anchors, box).split(list(counts))
    return torch.cat([level.argsort(stable=True)[:k] for level in levels])


def _of_all(anchors: Tensor, counts: Sequence[int], box: Tensor, k: int) -> Tensor:
    return _squares(anchors, box).argsort(stable=True)[:k]


def _everyone(anchors: Tensor, counts: Sequence[int], box: Tensor, k: int) -> Tensor:
    return torch.arange(len(anchors))


def _threshold(ious: Tensor) -> Tensor:
    return ious.mean() + (ious.std() if len(ious) > 1 else 0)


def _spread(ious: Tensor) -> Tensor:
    """The standard deviation, NaN for a single one; torch.std warns of that."""
    return ious.std() if len(ious) > 1 else torch.tensor(torch.nan)


def _inside(anchors: Tensor, box: Tensor) -> Tensor:
    centres = _centres(anchors)
    return ((centres > box[:2]) & (centres < box[2:])).all(dim=1)


def _on_sides_too(anchors: Tensor, box: Tensor) -> Tensor:
    centres = _centres(anchors)
    return ((centres >= box[:2]) & (centres <= box[2:])).all(dim=1)


def _whole_inside(anchors: Tensor, box: Tensor) -> Tensor:
    return ((anchors[:, :2] >= box[:2]) & (anchors[:, 2:] <= box[2:])).all(dim=1)


def _middle_in_the_anchor(anchors: Tensor, box: Tensor) -> Tensor:
    middle = _centres(box)
    return ((anchors[:, :2] < middle) & (anchors[:, 2:] > middle)).all(dim=1)


def _mask(indices: Tensor, number: int) -> Tensor:
    mask = torch.zeros(number, dtype=torch.bool)
    mask[indices] = True
    return mask


def _choosing(
    candidates: Callable[..., Tensor] = _nearest,
    threshold: Callable[[Tensor], Tensor | float] = _threshold,
    good: Callable[[Tensor, Tensor | float], Tensor] = torch.ge,
    inside: Callable[[Tensor, Tensor], Tensor] = _inside,
    overlap: Callable[[Tensor, Tensor], Tensor] = lambda a, box: box_iou(a, box[None])[:, 0],
    of_all: bool = False,
    everyone: bool = False,
    inside_first: bool = False,
    options: Callable[[int], int] = lambda k: k,
    finish: Callable[[Tensor, Tensor], Any] = lambda positive, overlaps: positive,
) -> Function:
    """Return ATSS with something changed.

    Args:
        candidates: indices of them, of anchors, level sizes, box and k.
        threshold: of the candidates' IoUs.
        good: compares IoUs with it.
        inside: a mask of the anchors.
        overlap: of anchors and box.
        of_all: the threshold is that of all anchors.
        everyone: whoever reaches it is positive, candidate or not.
        inside_first: only those inside count for the threshold.
        options: k as it is used.
        finish: the mask and the IoUs (P,) to what is returned.
    """

    def function(anchors: Tensor, level_sizes: Sequence[int], box: Tensor, k: int = 9) -> Any:
        overlaps = overlap(anchors, box).double()
        chosen = candidates(anchors, level_sizes, box, options(k))
        if inside_first:
            chosen = chosen[inside(anchors[chosen], box)]
        if not len(chosen):
            return torch.zeros(len(anchors), dtype=torch.bool)

        positive = good(overlaps, threshold(overlaps if of_all else overlaps[chosen]))
        positive = positive & inside(anchors, box)
        if not everyone:
            positive = positive & _mask(chosen, len(anchors))
        return finish(positive, overlaps)

    return function


def _for_each_level(anchors: Tensor, level_sizes: Sequence[int], box: Tensor, k: int = 9) -> Tensor:
    levels = anchors.split(list(level_sizes))
    return torch.cat([atss_positives(level, [len(level)], box, k) for level in levels])


def _intersection(anchors: Tensor, box: Tensor) -> Tensor:
    low, high = torch.maximum(anchors[:, :2], box[:2]), torch.minimum(anchors[:, 2:], box[2:])
    return (high - low).clamp(min=0).prod(dim=1)


MISCONCEPTIONS = (
    # Candidates.
    Misconception(
        "on each level the k nearest anchors are candidates; yours are the k nearest of all levels "
        "together",
        _choosing(candidates=_of_all),
    ),
    Misconception(
        "candidates are the anchors whose centres lie nearest to the object's; yours overlap it "
        "most",
        _choosing(
            candidates=_each_level(
                lambda level: level.argsort(descending=True, stable=True),
                lambda anchors, box: box_iou(anchors, box[None])[:, 0],
            )
        ),
    ),
    Misconception(
        "candidates are the anchors nearest to the object; yours are the farthest",
        _choosing(
            candidates=_each_level(lambda level: level.argsort(descending=True, stable=True))
        ),
    ),
    Misconception(
        "in yours all anchors are candidates; of each level only the k nearest are",
        _choosing(candidates=_everyone),
    ),
    Misconception(
        "near is measured from centre to centre; yours measures from corner to corner",
        _choosing(
            candidates=_each_level(
                lambda level: level.argsort(stable=True),
                lambda anchors, box: (anchors[:, :2] - box[:2]).square().sum(dim=1),
            )
        ),
    ),
    Misconception(
        "near is measured in a straight line, √(dx² + dy²); yours adds |dx| and |dy|",
        _choosing(candidates=_each_level(_in_order, lambda a, box: _apart(a, box).sum(dim=1))),
    ),
    Misconception(
        "near is measured in a straight line, √(dx² + dy²); yours takes the larger of |dx| and "
        "|dy|",
        _choosing(candidates=_each_level(_in_order, lambda a, box: _apart(a, box).amax(dim=1))),
    ),
    Misconception(
        "of equally near anchors the first are candidates; yours are the last",
        _choosing(candidates=_each_level(_last_of_equals)),
    ),
    Misconception(
        "torch.topk takes any of those that are equally near; sort with stable=True, which leaves "
        "the first in front",
        _choosing(candidates=_by_topk),
    ),
    Misconception(
        "an index within a level counts each level from 0: add the number of anchors of the levels "
        "before it",
        _choosing(candidates=_without_start),
    ),
    Misconception(
        "k is the number that is given; yours is always 9",
        _choosing(options=lambda k: 9),
    ),
    # The threshold.
    Misconception(
        "the threshold is the mean plus the standard deviation; the standard deviation is missing",
        _choosing(threshold=torch.mean),
    ),
    Misconception(
        "the threshold is the mean plus the standard deviation; yours is the standard deviation "
        "alone",
        _choosing(threshold=_spread),
        _choosing(threshold=lambda ious: ious.std() if len(ious) > 1 else 0.0),
    ),
    Misconception(
        "the standard deviation is the unbiased one, divided by their number less 1; yours divides "
        "by their number",
        _choosing(threshold=lambda ious: ious.mean() + ious.std(unbiased=False)),
    ),
    Misconception(
        "the threshold is the mean plus the standard deviation; yours adds the variance",
        _choosing(threshold=lambda ious: ious.mean() + _spread(ious) ** 2),
        _choosing(threshold=lambda ious: ious.mean() + (ious.var() if len(ious) > 1 else 0)),
        _choosing(threshold=lambda ious: ious.mean() + ious.var(unbiased=False)),
    ),
    Misconception(
        "the threshold is the mean plus the standard deviation; yours takes it away",
        _choosing(threshold=lambda ious: 2 * ious.mean() - _threshold(ious)),
        _choosing(threshold=lambda ious: ious.mean() - _spread(ious)),
    ),
    Misconception(
        "the threshold is the mean plus the standard deviation; yours is the median plus it",
        _choosing(threshold=lambda ious: ious.median() - ious.mean() + _threshold(ious)),
    ),
    Misconception(
        "an object has one threshold, of the candidates of all levels together; in yours each "
        "level has one of its own",
        _for_each_level,
    ),
    Misconception(
        "the threshold is made of the candidates' IoUs; yours of all anchors, not of the "
        "candidates alone",
        _choosing(of_all=True),
    ),
    Misconception(
        "every candidate counts for the threshold; yours drops those outside the object before the "
        "threshold is calculated",
        _choosing(inside_first=True),
    ),
    Misconception(
        "at the threshold itself a candidate is positive: >= in place of >",
        _choosing(good=torch.gt),
    ),
    Misconception(
        "the threshold comes from the object's own candidates; yours is always 0.5",
        _choosing(threshold=lambda ious: 0.5),
    ),
    Misconception(
        "the threshold is about IoUs; yours compares the intersections alone",
        _choosing(overlap=_intersection),
    ),
    Misconception(
        "every candidate that reaches the threshold is positive; yours is the best one alone",
        _choosing(threshold=torch.max),
        _choosing(threshold=lambda ious: torch.maximum(ious.max(), _threshold(ious))),
    ),
    # Who is positive.
    Misconception(
        "only candidates become positive; in yours other anchors above the threshold do so, too, "
        "not only candidates",
        _choosing(everyone=True),
    ),
    Misconception(
        "an anchor whose centre lies outside the object is not positive, however good its IoU",
        _choosing(inside=lambda anchors, box: torch.ones(len(anchors), dtype=torch.bool)),
    ),
    Misconception(
        "a centre on a side of the object is not inside: < in place of <=",
        _choosing(inside=_on_sides_too),
    ),
    Misconception(
        "the anchor's centre must lie inside the object; yours asks for the whole anchor",
        _choosing(inside=_whole_inside),
    ),
    Misconception(
        "the anchor's centre must lie inside the object; yours asks whether the object's lies "
        "inside the anchor",
        _choosing(inside=_middle_in_the_anchor),
    ),
    # The result.
    Misconception(
        "return a mask, (P,), true for positive anchors; yours are indices",
        _choosing(finish=lambda positive, overlaps: positive.nonzero().flatten()),
        _choosing(finish=lambda positive, overlaps: positive.nonzero()),
    ),
    Misconception(
        "return a mask, (P,), true for positive anchors; yours are their IoUs",
        _choosing(finish=lambda positive, overlaps: (overlaps * positive).float()),
        _choosing(finish=lambda positive, overlaps: overlaps[positive].float()),
    ),
)

# ---- what else can be said ----


def _clue(asked: Asked) -> str:
    """Say what a single candidate's spread is, if the function fails there alone."""
    wrong = [case for case, found in zip(asked.cases, asked.faults) if found]
    if all(len(case.args[0]) == 1 for case in wrong):
        return (
            "the unbiased standard deviation of a single candidate is NaN, which nothing reaches: "
            "take 0 for it"
        )
    return ""


# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the anchor that is wrong, the candidates' number and the threshold."""
    anchors, counts, box, *rest = case.args
    k = rest[0] if rest else 9
    if not found.index or len(found.index) != 1 or found.index[0] >= len(anchors):
        return ""
    p = found.index[0]
    candidates = _nearest(anchors, counts, box, k)
    ious = box_iou(anchors, box[None])[:, 0]
    is_one = "a candidate" if p in candidates.tolist() else "no candidate"
    is_inside = "inside" if _inside(anchors, box)[p] else "not inside"
    return (
        f"anchors[{p}] = {written(anchors[p])}, box = {written(box)}, level_sizes = "
        f"{written(list(counts))}, k = {k}; it is {is_one}, its IoU {float(ious[p]):.4f}, its "
        f"centre {is_inside}; the threshold of {len(candidates)} candidates is "
        f"{float(_threshold(ious[candidates].double())):.4f}"
    )


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the object and the anchor that is wrong, with its centre."""
    anchors, _, box, *_ = case.args
    if not found.index or len(found.index) != 1 or found.index[0] >= len(anchors):
        return []
    anchor = anchors[found.index[0]]
    return [
        (box, "the object", "a"),
        (anchor, f"anchor {found.index[0]}", "b"),
        (_centres(anchor).repeat(2), "its centre", "c"),
    ]


ATSS_POSITIVES = Exercise(
    number="4.5",
    name="atss_positives",
    reference=atss_positives,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the answer",),
    narrow=_show,
    draw=_draw,
    clue=_clue,
    allowed=frozenset({"box_iou", "box_area", "paired_iou"}),
    counted="anchors",
)
