"""Exercise 2.2: which object each anchor learns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import box_iou
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.boxes import random_boxes
from detlearn.check.engine.cases import Case, Fault
from detlearn.matching import match_anchors

BACKGROUND, IGNORED = -1, -2


def _cases(random: torch.Generator) -> list[Case]:
    objects = random_boxes(6, random)
    near = objects.repeat(6, 1) + 6 * torch.randn(36, 4, generator=random)
    iou = box_iou(objects, torch.cat((near, random_boxes(24, random)))).clamp(0, 1)
    iou = iou[:, torch.randperm(60, generator=random)]
    few = iou.clone()
    few[2] = 0
    many = torch.rand(4, 64, generator=random)
    return [
        *_by_hand(),
        *_low_quality(),
        Case("degenerate", (torch.zeros(0, 5),), "no objects"),
        Case("degenerate", (torch.zeros(3, 0),), "no anchors"),
        Case("degenerate", (torch.zeros(2, 3),), "objects that no anchor touches"),
        Case("random", (iou,), "60 anchors around 6 objects"),
        Case("random", (iou, 0.5, 0.4), "60 anchors around 6 objects, with 0.5 and 0.4"),
        Case("random", (few, 0.75, 0.25), "60 anchors around 6 objects, one of them untouched"),
        Case("property", (iou.flip(1),), "the anchors in another order"),
        Case("property", (iou.flip(0),), "the objects in another order"),
        Case("property", (iou * 0.4,), "the same anchors with smaller overlaps"),
        Case("no loop", (many[:, :8],), "4 objects and 8 anchors", size=8),
        Case("no loop", (many,), "4 objects and 64 anchors", size=64),
    ]


def _by_hand() -> list[Case]:
    def case(rows: list[list[float]], note: str, answer: list[int], *thresholds: float) -> Case:
        return Case("by hand", (torch.tensor(rows), *thresholds), note, torch.tensor(answer))

    return [
        case([[0.9, 0.5, 0.1]], "one object and IoUs above, between and below", [0, IGNORED, -1]),
        case(
            [[0.8, 0.1, 0.2, 0.72], [0.1, 0.9, 0.15, 0.75]],
            "two objects, and an anchor that overlaps both of them well",
            [0, 1, -1, 1],
        ),
        case(
            [[0.75, 0.25, 0.5, 1.0]],
            "IoUs of exactly the thresholds 0.75 and 0.25",
            [0, IGNORED, IGNORED, 0],
            *(0.75, 0.25),
        ),
        case(
            [[0.7495, 0.2499, 0.95]],
            "IoUs just below the thresholds 0.75 and 0.25",
            [IGNORED, -1, 0],
            *(0.75, 0.25),
        ),
    ]


def _low_quality() -> list[Case]:
    def case(rows: list[list[float]], note: str, answer: list[int]) -> Case:
        return Case("by hand", (torch.tensor(rows),), note, torch.tensor(answer))

    return [
        case([[0.6, 0.2, 0.1]], "an object whose best anchor has an IoU of 0.6", [0, -1, -1]),
        case([[0.2, 0.15, 0.1]], "an object whose best anchor has an IoU of 0.2", [0, -1, -1]),
        case([[0.1, 0.5, 0.5]], "two anchors that tie for an object", [-1, 0, 0]),
        case(
            [[0.9, 0.4, 0, 0.5], [0, 0, 0, 0]],
            "an object that no anchor touches beside one that has its anchor",
            [0, IGNORED, -1, IGNORED],
        ),
        # Anchor 0 is the best that object 1 has, but overlaps object 0 more.
        case(
            [[0.6, 0.1, 0.9], [0.4, 0.2, 0.3]],
            "an object whose best anchor overlaps another object more",
            [0, -1, 0],
        ),
    ]


def _match(
    forced: str = "all",
    learns: str = "own",
    untouched: bool = False,
    between: int = IGNORED,
    below: int = BACKGROUND,
    strict: bool = False,
    inclusive: bool = False,
    fixed: bool = False,
    at_least: float = 0.0,
    first: bool = False,
) -> Callable[..., Tensor]:
    """Matching with something changed.

    Args:
        forced: which anchors of an object become positive by force: "all" that tie, "one", "none".
        learns: what they learn: their "own" object or the one that is "forcing".
        untouched: an object whose best IoU is 0 forces anchors as well.
        between, below: the labels.
        strict: the high threshold must be exceeded.
        inclusive: at the low threshold itself an anchor is background.
        fixed: the thresholds are always 0.7 and 0.3.
        at_least: force needs this IoU; −1 stands for the low threshold.
        first: an anchor learns the first object that reaches the high threshold.
    """

    def function(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
        if iou.numel() == 0:
            return torch.full((iou.shape[1],), below)
        high, low = (0.7, 0.3) if fixed else (high, low)
        best, own = iou.max(dim=0)
        reached = iou > high if strict else iou >= high
        chosen = reached.int().argmax(dim=0) if first else own
        matched = torch.where(reached.any(dim=0), chosen, between)
        matched[best <= low if inclusive else best < low] = below
        least = low if at_least < 0 else at_least
        for n, overlaps in enumerate(iou if forced != "none" else []):
            if overlaps.max() < least or not (untouched or overlaps.max() > 0):
                continue
            tied = (overlaps == overlaps.max()).nonzero()[:, 0]
            tied = tied[:1] if forced == "one" else tied
            matched[tied] = own[tied] if learns == "own" else n
        return matched

    return function


def _one_each(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    """Only the anchors that are some object's best are positive."""
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), BACKGROUND)
    best, own = iou.max(dim=0)
    tops = iou.amax(dim=1, keepdim=True)
    forced = ((iou == tops) & (tops > 0)).any(dim=0)
    return torch.where(forced, own, torch.where(best < low, BACKGROUND, IGNORED))


def _labels(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    """1 for positive, 0 for background, −1 for ignored."""
    return (match_anchors(iou, high, low) + 1).clamp(-1, 1)


def _argmax_only(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    return iou.argmax(dim=0) if len(iou) else torch.full((iou.shape[1],), BACKGROUND)


def _thresholds_of_objects(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    """The best anchor of each object, if it overlaps enough; no low-quality matches."""
    if iou.shape[1] == 0:
        return torch.full((len(iou),), BACKGROUND)
    best, which = iou.max(dim=1)
    return torch.where(best >= high, which, torch.where(best < low, BACKGROUND, IGNORED))


def _best_anchor(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    """One answer for each object: the matrix read along the other axis."""
    return match_anchors(iou.T, high, low)


def _show(case: Case, found: Fault) -> str:
    iou, *thresholds = case.args
    if iou.numel() > 12:
        return ""
    high, low = thresholds or (0.7, 0.3)
    rows = [[round(float(x), 4) for x in values] for values in iou]
    return f"iou {rows}, high {high:g}, low {low:g}"


ZERO = (
    "an object that no anchor touches has a best IoU of 0, and every anchor far from it ties for "
    "that; force anchors only where the best IoU is above 0"
)
OWN = (
    "an anchor that becomes positive because it is an object's best keeps the object that it "
    "overlaps most itself; yours learns the object that forced it"
)
TIED = "all anchors that tie for an object's best IoU become positive; yours takes the first only"

MATCH_ANCHORS = Exercise(
    number="2.2",
    name="match_anchors",
    reference=match_anchors,
    cases=_cases,
    misconceptions=(
        Misconception(
            "an object none of whose anchors reaches the high threshold goes without; make the "
            "anchors that overlap it most positive all the same",
            _match(forced="none"),
        ),
        Misconception(ZERO, _match(untouched=True)),
        Misconception(OWN, _match(learns="forcing")),
        Misconception(TIED, _match(forced="one")),
        Misconception(ZERO, _match(untouched=True, learns="forcing")),
        Misconception(
            "the best anchor of each object is found, but argmax gives one of those that tie, and "
            "one even for an object with IoU 0 everywhere",
            _match(forced="one", untouched=True),
        ),
        Misconception(OWN, _match(forced="one", untouched=True, learns="forcing")),
        Misconception(OWN, _match(forced="one", learns="forcing")),
        Misconception(
            "between the thresholds an anchor is ignored, −2; yours is background and would be "
            "taught that nothing is there",
            _match(between=BACKGROUND),
        ),
        Misconception(
            "between the thresholds an anchor is ignored, −2, and low-quality matches are missing: "
            "an object's best anchors are positive whatever their IoU",
            _match(between=BACKGROUND, forced="none"),
        ),
        Misconception(
            "below the low threshold an anchor is background, −1; yours is ignored, so that "
            "nothing ever learns what background is",
            _match(below=IGNORED),
        ),
        Misconception(
            "the two labels are exchanged: −1 is background, −2 is ignored",
            _match(between=BACKGROUND, below=IGNORED),
        ),
        Misconception(
            "an IoU of exactly the high threshold is positive: at least, not above",
            _match(strict=True),
        ),
        Misconception(
            "an IoU of exactly the low threshold is ignored: background is below it",
            _match(inclusive=True),
        ),
        Misconception(
            "the thresholds are those you are given, high and low; yours are always 0.7 and 0.3",
            _match(fixed=True),
        ),
        Misconception(
            "an object's best anchors become positive whatever their IoU; yours must reach the low "
            "threshold",
            _match(at_least=-1),
        ),
        Misconception(
            "of several objects above the threshold an anchor learns the one it overlaps most, not "
            "the first",
            _match(first=True),
        ),
        Misconception(
            "every anchor that reaches the high threshold is positive, not only each object's best",
            _one_each,
        ),
        Misconception(
            "these are labels; a positive anchor gets the index of its object, background −1, "
            "ignored −2",
            _labels,
        ),
        Misconception(
            "the indices of the objects begin at 0, as Python counts",
            lambda *args: match_anchors(*args) + (match_anchors(*args) >= 0).long(),
        ),
        Misconception(
            "return one answer for each anchor, (P,): take the maximum over the objects, dim=0",
            _best_anchor,
        ),
        Misconception(
            "return one answer for each anchor, (P,): take the maximum over the objects, dim=0",
            lambda iou, *rest: (
                iou.argmax(dim=1) if iou.shape[1] else torch.full((len(iou),), BACKGROUND)
            ),
        ),
        Misconception(
            "return one answer for each anchor, (P,): take the maximum over the objects, dim=0",
            _thresholds_of_objects,
        ),
        Misconception(
            "here every anchor has an object, however small the overlap; compare the best IoU with "
            "the thresholds",
            _argmax_only,
        ),
        Misconception(
            "return the index of the object, not whether there is one",
            lambda *args: match_anchors(*args) >= 0,
        ),
        Misconception(
            "return the index of the object, not the IoU with it",
            lambda iou, *rest: iou.amax(dim=0) if len(iou) else torch.zeros(iou.shape[1]),
        ),
        Misconception(
            "the result holds whole numbers, int64; yours are real numbers",
            lambda *args: match_anchors(*args).float(),
        ),
    ),
    returns=("the match",),
    narrow=_show,
    allowed=frozenset({"box_iou", "box_area", "paired_iou"}),
    counted="anchors",
)
