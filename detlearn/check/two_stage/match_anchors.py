"""Exercise 2.2: which object each anchor learns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import box_iou
from detlearn.check.boxes import random_boxes
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case, Fault
from detlearn.matching import match_anchors

BACKGROUND, IGNORED = -1, -2

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    # Six objects, anchors close to them and anchors anywhere, shuffled.
    objects = random_boxes(6, random)
    near = objects.repeat(6, 1) + 6 * torch.randn(36, 4, generator=random)
    anchors = torch.cat((near, random_boxes(24, random)))

    iou = box_iou(objects, anchors).clamp(0, 1)
    iou = iou[:, torch.randperm(60, generator=random)]

    untouched = iou.clone()
    untouched[2] = 0

    many = torch.rand(4, 64, generator=random)

    return [
        *_thresholds(),
        *_several_objects(),
        *_low_quality(),
        *_ties(),
        *_empty(),
        Case("random", (iou,), "60 anchors around 6 objects"),
        Case("random", (iou, 0.5, 0.4), "60 anchors around 6 objects, with 0.5 and 0.4"),
        Case(
            "random", (untouched, 0.75, 0.25), "60 anchors around 6 objects, one of them untouched"
        ),
        Case("property", (iou.flip(1),), "the anchors in another order"),
        Case("property", (iou.flip(0),), "the objects in another order"),
        Case("property", (iou * 0.4,), "the same anchors with smaller overlaps"),
        Case("no loop", (many[:, :8],), "4 objects and 8 anchors", size=8),
        Case("no loop", (many,), "4 objects and 64 anchors", size=64),
    ]


def _case(note: str, iou: list[list[float]], answer: list[int], *thresholds: float) -> Case:
    return Case("by hand", (torch.tensor(iou), *thresholds), note, torch.tensor(answer))


def _thresholds() -> list[Case]:
    """Make cases of one object that has an anchor of its own."""
    between = _case("one object and IoUs above, between and below", [[0.9, 0.5, 0.1]], [0, -2, -1])

    # 1/4, 1/2 and 3/4 have no rounding.
    exactly = [
        _case(
            "IoUs of exactly the thresholds 0.75 and 0.25",
            [[0.75, 0.25, 0.5, 1.0]],
            [0, -2, -2, 0],
            *(0.75, 0.25),
        ),
        _case(
            "IoUs of exactly the thresholds 0.5 and 0.25",
            [[0.1, 0.25, 0.9, 0.5]],
            [-1, -2, 0, 0],
            *(0.5, 0.25),
        ),
    ]

    just_below = _case(
        "IoUs just below the thresholds 0.75 and 0.25",
        [[0.7495, 0.2499, 0.95]],
        [-2, -1, 0],
        *(0.75, 0.25),
    )

    return [between, *exactly, just_below]


def _several_objects() -> list[Case]:
    """Make cases in which an anchor must choose."""
    by_the_larger_iou = [
        _case(
            "two objects, and an anchor that overlaps both of them well",
            [[0.8, 0.1, 0.2, 0.72], [0.1, 0.9, 0.15, 0.75]],
            [0, 1, -1, 1],
        ),
        _case(
            "two objects, and an anchor that overlaps both of them well, the second more",
            [[0.8, 0.9, 0.1], [0.85, 0.1, 0.95]],
            [1, 0, 1],
        ),
    ]

    # The first of them, as argmax does.
    between_equals = [
        _case(
            "two equal objects",
            [[0.8, 0.1, 0.5], [0.8, 0.1, 0.5]],
            [0, -1, -2],
        ),
        _case(
            "two equal objects after one that has only a poor anchor",
            [[0.1, 0.2, 0.1], [0.6, 0.3, 0.9], [0.6, 0.3, 0.9]],
            [-2, 1, 1],
        ),
    ]

    return [*by_the_larger_iou, *between_equals]


def _low_quality() -> list[Case]:
    """Make cases of objects whose best anchor is not good enough, and of such as have none."""
    forced = [
        _case("an object whose best anchor has an IoU of 0.6", [[0.6, 0.2, 0.1]], [0, -1, -1]),
        _case("an object whose best anchor has an IoU of 0.2", [[0.2, 0.15, 0.1]], [0, -1, -1]),
        _case(
            "two objects whose best anchors lie between the thresholds",
            [[0.6, 0.1, 0.2], [0.1, 0.5, 0.2]],
            [0, 1, -1],
        ),
    ]

    # A best IoU of 0 forces nothing.
    untouched = [
        _case(
            "an object that no anchor touches beside one that has its anchor",
            [[0.9, 0.4, 0, 0.5], [0, 0, 0, 0]],
            [0, -2, -1, -2],
        ),
        _case(
            "an object that no anchor touches before one that has its anchor",
            [[0, 0, 0, 0, 0], [0.1, 0.8, 0.4, 0, 0]],
            [-1, 1, -2, -1, -1],
        ),
    ]

    # In the first, anchor 0 is the best that object 1 has, but overlaps object 0 more.
    forced_for_another = [
        _case(
            "an object whose best anchor overlaps another object more",
            [[0.6, 0.1, 0.9], [0.4, 0.2, 0.3]],
            [0, -1, 0],
        ),
        _case(
            "three objects, two of which have the third one's anchor as their best",
            [[0.1, 0.5, 0.2], [0, 0.8, 0.1], [0.2, 0.6, 0.1]],
            [-1, 1, -1],
        ),
    ]

    return [*forced, *untouched, *forced_for_another]


def _ties() -> list[Case]:
    """Make cases of several anchors that are, or nearly are, an object's best."""
    exact = [
        _case("two anchors that tie for an object", [[0.1, 0.5, 0.5]], [-1, 0, 0]),
        _case(
            "three anchors that tie for an object, and one that another has for itself",
            [[0.2, 0.2, 0.1, 0.2], [0.1, 0.8, 0, 0]],
            [0, 1, -1, 0],
        ),
    ]

    # What falls short, by however little, is not the best.
    nearly = [
        _case(
            "an anchor that falls short of the best by 0.0000005",
            [[0.1, 0.5, 0.4999995]],
            [-1, 0, -2],
        ),
        _case(
            "two anchors that fall short of the best by 0.0000005",
            [[0.1999995, 0.2, 0.1, 0.1999995]],
            [-1, 0, -1, -1],
        ),
    ]

    return [*exact, *nearly]


def _empty() -> list[Case]:
    return [
        Case("degenerate", (torch.zeros(0, 5),), "no objects"),
        Case("degenerate", (torch.zeros(0, 2), 0.5, 0.4), "no objects and two anchors"),
        Case("degenerate", (torch.zeros(3, 0),), "no anchors"),
        Case("degenerate", (torch.zeros(2, 3),), "objects that no anchor touches"),
    ]


# ---- wrong answers ----


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
    tolerance: float = 0.0,
    choose: str = "best",
) -> Callable[..., Tensor]:
    """Return matching with something changed.

    Args:
        forced: which anchors of an object become positive by force: "all" that tie, "one", "none".
        learns: what they learn: their "own" object or the one that is "forcing".
        untouched: an object whose best IoU is 0 forces anchors as well.
        between: the label between the thresholds.
        below: the label below them.
        strict: the high threshold must be exceeded.
        inclusive: at the low threshold itself an anchor is background.
        fixed: the thresholds are always 0.7 and 0.3.
        at_least: force needs this IoU; −1 stands for the low threshold.
        tolerance: what falls short of the best by less than this ties as well.
        choose: what an anchor above the high threshold learns: of the objects the "best", the
            "first" above it, or of equally good ones the "last".
    """

    def function(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
        if iou.numel() == 0:
            return torch.full((iou.shape[1],), below)
        if fixed:
            high, low = 0.7, 0.3

        # What each anchor overlaps most, and what it learns if that is enough.
        best, own = iou.max(dim=0)
        if choose == "last":
            own = len(iou) - 1 - iou.flip(0).argmax(dim=0)
        reached = iou > high if strict else iou >= high
        chosen = reached.int().argmax(dim=0) if choose == "first" else own

        matched = torch.where(reached.any(dim=0), chosen, between)
        matched[best <= low if inclusive else best < low] = below
        if forced == "none":
            return matched

        # The low-quality matches, object by object.
        least = low if at_least < 0 else at_least
        for n, overlaps in enumerate(iou):
            if overlaps.max() < least or not (untouched or overlaps.max() > 0):
                continue

            tied = (overlaps >= overlaps.max() - tolerance).nonzero()[:, 0]
            tied = tied[:1] if forced == "one" else tied
            matched[tied] = own[tied] if learns == "own" else n

        return matched

    return function


def _forcing(which: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return matching that makes other anchors positive by force.

    Args:
        which: gives the anchors (P,) bool; takes the IoU (N, P) and the labels so far (P,).
    """

    def function(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
        matched = _match(forced="none")(iou, high, low)
        if iou.numel() == 0:
            return matched
        return torch.where(which(iou, matched), iou.argmax(dim=0), matched)

    return function


def _are_best(iou: Tensor) -> Tensor:
    """Return which anchors (N, P) are the best of which object, those of IoU 0 included."""
    return iou == iou.amax(dim=1, keepdim=True)


def _forced_background(iou: Tensor, matched: Tensor) -> Tensor:
    return (_are_best(iou) & (iou > 0)).any(dim=0) & (matched == BACKGROUND)


def _forced_if_it_is_mutual(iou: Tensor, matched: Tensor) -> Tensor:
    own = torch.arange(len(iou))[:, None] == iou.argmax(dim=0)
    return (_are_best(iou) & (iou > 0) & own).any(dim=0)


def _wiped_out(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    """Force, and set background afterwards."""
    matched = match_anchors(iou, high, low)
    if iou.numel() == 0:
        return matched
    return matched.masked_fill(iou.amax(dim=0) < low, BACKGROUND)


def _guarded_by_the_anchor(iou: Tensor, matched: Tensor) -> Tensor:
    return _are_best(iou).any(dim=0) & (iou.amax(dim=0) > 0)


def _only_each_objects_best(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), BACKGROUND)

    best, own = iou.max(dim=0)
    forced = (_are_best(iou) & (iou > 0)).any(dim=0)
    return torch.where(forced, own, torch.where(best < low, BACKGROUND, IGNORED))


def _background_of_any(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    """Call an anchor background if one of the objects is far from it."""
    matched = match_anchors(iou, high, low)
    if iou.numel() == 0:
        return matched
    return matched.where((matched >= 0) | ~(iou < low).any(dim=0), BACKGROUND)


def _ignored_by_any(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    """Ignore an anchor if one of its IoUs lies between the thresholds, be it positive or not."""
    matched = match_anchors(iou, high, low)
    return matched.masked_fill(((iou >= low) & (iou < high)).any(dim=0), IGNORED)


def _labels(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    """Return 1 for positive, 0 for background, −1 for ignored."""
    return (match_anchors(iou, high, low) + 1).clamp(-1, 1)


def _counted_from_one(*args) -> Tensor:
    matched = match_anchors(*args)
    return matched + (matched >= 0).long()


def _without_thresholds(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    return iou.argmax(dim=0) if len(iou) else torch.full((iou.shape[1],), BACKGROUND)


def _best_anchor(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    return iou.argmax(dim=1) if iou.shape[1] else torch.full((len(iou),), BACKGROUND)


def _best_anchor_with_thresholds(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    if iou.shape[1] == 0:
        return torch.full((len(iou),), BACKGROUND)
    best, which = iou.max(dim=1)
    return torch.where(best >= high, which, torch.where(best < low, BACKGROUND, IGNORED))


def _without_objects(label: int) -> Callable[..., Tensor]:
    """Return matching that gives all anchors a label of its own if there are no objects."""

    def function(iou: Tensor, *thresholds: float) -> Tensor:
        return match_anchors(iou, *thresholds) if len(iou) else torch.full((iou.shape[1],), label)

    return function


MISCONCEPTIONS = (
    # The low-quality matches.
    Misconception(
        "an object none of whose anchors reaches the high threshold goes without; make the "
        "anchors that overlap it most positive all the same",
        _match(forced="none"),
    ),
    Misconception(
        "an object that no anchor touches has a best IoU of 0, and every anchor far from it ties "
        "for that; force anchors only where the best IoU is above 0",
        _match(untouched=True),
        _match(untouched=True, learns="forcing"),
    ),
    Misconception(
        "whether an object is touched at all is asked of the object: it is the object's best IoU "
        "that must be above 0, not the anchor's",
        _forcing(_guarded_by_the_anchor),
    ),
    Misconception(
        "an anchor that becomes positive because it is an object's best keeps the object that it "
        "overlaps most itself; yours learns the object that forced it",
        _match(learns="forcing"),
        _match(learns="forcing", forced="one"),
        _match(learns="forcing", forced="one", untouched=True),
    ),
    Misconception(
        "all anchors that tie for an object's best IoU become positive; yours takes the first only",
        _match(forced="one"),
    ),
    Misconception(
        "the best anchor of each object is found, but argmax gives one of those that tie, and "
        "one even for an object with IoU 0 everywhere",
        _match(forced="one", untouched=True),
    ),
    Misconception(
        "a tie is the same number, compared with ==; an anchor that falls short by a little is not "
        "an object's best",
        *(_match(tolerance=tolerance) for tolerance in (1e-6, 1e-5, 1e-4, 1e-3)),
    ),
    Misconception(
        "an object's best anchors become positive whatever their IoU; yours must reach the low "
        "threshold, or are made background afterwards",
        _match(at_least=-1),
        _wiped_out,
    ),
    Misconception(
        "an object's best anchor becomes positive also where it overlaps another object more; it "
        "then learns that one",
        _forcing(_forced_if_it_is_mutual),
    ),
    Misconception(
        "an object's best anchor becomes positive whatever it was before: an ignored anchor too, "
        "not only one that was background",
        _forcing(_forced_background),
    ),
    Misconception(
        "what is forced is the best IoU of each object, not the best of all: the maximum of each "
        "row, dim=1",
        _forcing(lambda iou, matched: ((iou == iou.max()) & (iou > 0)).any(dim=0)),
        _forcing(lambda iou, matched: (iou == iou.max()).any(dim=0)),
    ),
    Misconception(
        "yours forces each anchor's best object, which every anchor has; the best anchors of each "
        "object are the maximum of its row, dim=1",
        _forcing(lambda iou, matched: iou.amax(dim=0) > 0),
    ),
    Misconception(
        "every anchor that reaches the high threshold is positive, not only each object's best",
        _only_each_objects_best,
    ),
    # The object that is learned.
    Misconception(
        "of several objects above the threshold an anchor learns the one it overlaps most, not "
        "the first",
        _match(choose="first"),
    ),
    Misconception(
        "of objects that an anchor overlaps equally it learns the first of them; yours learns the "
        "last",
        _match(choose="last"),
    ),
    # The labels.
    Misconception(
        "between the thresholds an anchor is ignored, −2; yours is background and would be "
        "taught that nothing is there",
        _match(between=BACKGROUND),
    ),
    Misconception(
        "an anchor is background if its IoU with every object is below the low threshold; in yours "
        "one object that is far away is enough",
        _background_of_any,
    ),
    Misconception(
        "an anchor that is positive stays so, whatever its IoU with another object; yours is "
        "ignored as soon as one IoU lies between the thresholds",
        _ignored_by_any,
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
        "without objects every anchor is background, −1; there is nothing that it could learn",
        _without_objects(0),
        _without_objects(IGNORED),
    ),
    Misconception(
        "these are labels; a positive anchor gets the index of its object, background −1, "
        "ignored −2",
        _labels,
    ),
    Misconception(
        "the indices of the objects begin at 0, as Python counts",
        _counted_from_one,
    ),
    # The thresholds.
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
        "here every anchor has an object, however small the overlap; compare the best IoU with "
        "the thresholds",
        _without_thresholds,
    ),
    # The form of the result.
    Misconception(
        "return one answer for each anchor, (P,): take the maximum over the objects, dim=0",
        lambda iou, *rest: match_anchors(iou.T, *rest),
        _best_anchor,
        _best_anchor_with_thresholds,
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
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the IoUs with all their digits, of a large matrix those of the failing anchor."""
    iou = case.args[0]
    if iou.numel() == 0:
        return ""

    if iou.numel() <= 20:
        rows = ", ".join(f"[{', '.join(f'{float(x):.7g}' for x in row)}]" for row in iou)
        return f"iou = [{rows}]"

    if not found.index:
        return ""

    at = found.index[0]
    overlaps = iou[:, at]
    best = iou.amax(dim=1)
    listed = ", ".join(f"{float(x):.4f} of {float(top):.4f}" for x, top in zip(overlaps, best))
    return f"iou[:, {at}] = [{listed}], of each object's best"


MATCH_ANCHORS = Exercise(
    number="2.2",
    name="match_anchors",
    reference=match_anchors,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the match",),
    narrow=_show,
    allowed=frozenset({"box_iou", "box_area", "paired_iou"}),
    counted="anchors",
)
