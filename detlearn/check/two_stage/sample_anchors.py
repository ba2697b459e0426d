"""Exercise 2.5: draw the anchors that are in the loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.matching import sample_anchors

BACKGROUND, IGNORED = -1, -2
# So often each case is asked. At least every third anchor is drawn each time, so that one is left
# out of all of them once in a million.
DRAWS = 32

# ---- what is compared ----

# What does not depend on chance, of all draws of a case together.
COUNTED = (
    "the number of background anchors among the positives",
    "the number of ignored anchors among the positives",
    "the number of positive anchors among the negatives",
    "the number of ignored anchors among the negatives",
    "the number of indices that are no anchor's",
    "how often a positive comes in one call",
    "how often a negative comes in one call",
    f"the smallest number of positives in {DRAWS} calls",
    f"the largest number of positives in {DRAWS} calls",
    f"the smallest number of negatives in {DRAWS} calls",
    f"the largest number of negatives in {DRAWS} calls",
    f"the number of different positives that come in {DRAWS} calls",
    f"the number of different negatives that come in {DRAWS} calls",
)


def _summary(case: Case, values: tuple[Tensor, ...]) -> tuple[Tensor, ...] | str:
    """Return the numbers of `COUNTED`, or what came instead of two lists of indices."""
    if len(values) != 2 * case.draws:
        number = len(values) // case.draws or len(values)
        return f"{number} value(s); expected 2: positive, negative"
    for name, value in zip(("positive", "negative"), values):
        if trouble := _no_indices(value):
            return f"{trouble} as {name}; expected indices, int64, of shape ({name[0]},)"
    if any(_no_indices(value) for value in values):
        return "indices in one call and something else in another"

    labels = case.args[0].tolist()
    objects = {i for i, label in enumerate(labels) if label >= 0}
    background, ignored = (
        {i for i, label in enumerate(labels) if label == kind} for kind in (BACKGROUND, IGNORED)
    )

    positives, negatives = ([value.tolist() for value in values[first::2]] for first in (0, 1))
    first, second = ({i for indices in draws for i in indices} for draws in (positives, negatives))
    counts = (
        *(len(first & background), len(first & ignored)),
        *(len(second & objects), len(second & ignored)),
        len((first | second) - objects - background - ignored),
        *(_most_often(positives), _most_often(negatives)),
        *(min(map(len, positives)), max(map(len, positives))),
        *(min(map(len, negatives)), max(map(len, negatives))),
        *(_different(positives, objects), _different(negatives, background)),
    )
    return tuple(torch.tensor(count) for count in counts)


def _most_often(draws: list[list[int]]) -> int:
    """Return how often an index comes in one call: 0, 1 or, for any more, 2."""
    if not any(draws):
        return 0
    return 2 if any(len(set(indices)) < len(indices) for indices in draws) else 1


def _different(draws: list[list[int]], meant: set[int]) -> int:
    """Return how many of those that are meant come in all calls together.

    Where a call takes few of many, chance may leave some out; then all count as found as soon as
    not every call takes the same.
    """
    found = len({i for indices in draws for i in indices} & meant)
    largest = max(map(len, draws))
    sure = 3 * largest >= len(meant) or found <= largest
    return found if sure else len(meant)


def _no_indices(value: Tensor) -> str:
    """Return what a tensor is, if it is no list of indices."""
    if value.dtype in (torch.bool, torch.uint8):
        return "a mask"
    if value.numel() == 0 and value.dtype == torch.float32:
        return "an empty tensor of dtype float32, which torch.tensor makes of an empty list,"
    if value.dtype != torch.int64:
        return f"numbers of dtype {str(value.dtype).removeprefix('torch.')}"
    if value.ndim != 1:
        return f"a tensor of shape {tuple(value.shape)}"
    return ""


# ---- what is asked ----


def _case(
    rung: str, labels: list[int] | Tensor, batch: int, fraction: float, note: str, *chosen: int
) -> Case:
    """Make a case; by hand, `chosen` says how many positives and negatives are drawn."""
    labels = torch.as_tensor(labels, dtype=torch.int64)
    if not chosen:
        return Case(rung, (labels, batch, fraction), note, draws=DRAWS)

    # Nothing wrong, so many of each in every call, and sooner or later each of them.
    positive, negative = chosen
    there = int((labels >= 0).sum()) if positive else 0
    beside = int((labels == BACKGROUND).sum()) if negative else 0
    once = (min(positive, 1), min(negative, 1))
    counts = (*[0] * 5, *once, positive, positive, negative, negative, there, beside)
    expected = tuple(torch.tensor(count) for count in counts)
    return Case(rung, (labels, batch, fraction), note, expected, draws=DRAWS)


def _cases(random: torch.Generator) -> list[Case]:
    shuffled = torch.tensor([0] * 6 + [1] * 4 + [3] * 2 + [-1] * 20 + [-2] * 8)
    shuffled = shuffled[torch.randperm(40, generator=random)]
    # Nowhere as many background anchors as ignored ones, so that their numbers tell them apart.
    few, many = shuffled.clone(), shuffled.clone()
    few[(shuffled == 0) | (shuffled == 1)] = -2
    many[shuffled == -1] = torch.randint(0, 5, (20,), generator=random)
    return [
        *_by_hand(),
        _case("degenerate", [], 8, 0.5, "no anchors"),
        _case("degenerate", [-2, -2, -2], 8, 0.5, "nothing but ignored anchors"),
        _case("degenerate", [2, -1, -2, 0, -1], 0, 0.5, "a sample of 0"),
        _case("random", shuffled, 20, 0.35, "40 shuffled anchors, a sample of 20, 35 % positive"),
        _case("random", shuffled, 13, 0.5, "40 shuffled anchors, a sample of 13, 50 % positive"),
        _case("random", few, 16, 0.5, "40 shuffled anchors, 2 of which learn an object"),
        _case("random", many, 24, 0.75, "40 shuffled anchors, none of them background"),
    ]


def _by_hand() -> list[Case]:
    labels = [0, -1, 2, -2, -1, 0, -1, 1, -1, -2, 3, -1, -1, -2]  # 5 positives, 6 of background
    limits = [
        _case("by hand", labels, 6, 0.5, "5 positives, of which 3 are drawn", 3, 3),
        _case("by hand", labels, 6, 0.25, "a quarter of 6, which is 1.5 positives", 1, 5),
        _case("by hand", labels, 7, 0.4, "two fifths of 7, which are 2.8 positives", 2, 5),
        _case("by hand", labels, 6, 0.55, "55 % of 6, which are 3.3 positives", 3, 3),
        _case("by hand", labels, 8, 1.0, "a sample of 8 that may all be positive", 5, 3),
        _case("by hand", labels, 5, 0.0, "a sample without any positive", 0, 5),
        _case("by hand", labels, 256, 0.5, "a sample larger than there are anchors", 5, 6),
    ]

    # Negatives stand in for missing positives; nothing stands in for missing negatives.
    too_few = [
        _case(
            "by hand",
            [-1, 1, -1, -1, -2, -1, -1, -1],
            5,
            0.6,
            "1 positive where 3 are allowed: negatives fill the sample",
            *(1, 4),
        ),
        _case(
            "by hand",
            [0, 0, -2, 1, 1, -1, 2, 2],
            6,
            0.5,
            "1 background anchor where 3 are wanted: the sample stays smaller",
            *(3, 1),
        ),
        _case("by hand", [-1, -1, -2, -1, -1, -1], 4, 0.5, "no positives", 0, 4),
        _case("by hand", [0, 2, -2, 1, 0, 3], 4, 0.5, "no background", 2, 0),
    ]

    return [*limits, *too_few]


# ---- wrong answers ----

Pair = tuple[Tensor, Tensor]


def _first(indices: Tensor, count: int) -> Tensor:
    """Return so many of the indices, at random."""
    return indices[torch.randperm(len(indices))[: max(count, 0)]]


def _sampled(
    is_positive: Callable[[Tensor], Tensor] = lambda labels: labels >= 0,
    is_negative: Callable[[Tensor], Tensor] = lambda labels: labels == BACKGROUND,
    most: Callable[[int, float], int] = lambda batch, fraction: int(batch * fraction),
    negatives: Callable[[int, float, int], int] = lambda batch, fraction, p: batch - p,
    choose: Callable[[Tensor, int], Tensor] = _first,
    places: bool = False,
) -> Callable[[Tensor, int, float], Pair]:
    """Return sampling with something changed.

    Args:
        is_positive: which anchors learn an object.
        is_negative: which are background.
        most: the limit of the positives.
        negatives: how many negatives are wanted; takes the number of positives as well.
        choose: takes so many of some indices.
        places: what is returned are places in the list of positives, and in that of negatives.
    """

    def function(labels: Tensor, batch_size: int, positive_fraction: float) -> Pair:
        positive = is_positive(labels).nonzero()[:, 0]
        negative = is_negative(labels).nonzero()[:, 0]
        if places:
            positive, negative = torch.arange(len(positive)), torch.arange(len(negative))

        positive = choose(positive, min(len(positive), most(batch_size, positive_fraction)))
        wanted = negatives(batch_size, positive_fraction, len(positive))
        return positive, choose(negative, wanted)

    return function


def _with_replacement(indices: Tensor, count: int) -> Tensor:
    count = min(count, len(indices))
    return indices[torch.randint(max(len(indices), 1), (count,))] if count else indices[:0]


def _share_of_the_positives(labels: Tensor, batch_size: int, positive_fraction: float) -> Pair:
    there = int((labels >= 0).sum())
    return _sampled(most=lambda batch, fraction: int(there * fraction))(
        labels, batch_size, positive_fraction
    )


def _not_filled(labels: Tensor, batch_size: int, positive_fraction: float) -> Pair:
    wanted = batch_size - int(batch_size * positive_fraction)
    return _sampled(negatives=lambda *_: wanted)(labels, batch_size, positive_fraction)


def _also_negatives_twice(labels: Tensor, batch_size: int, positive_fraction: float) -> Pair:
    """Fill a sample that lacks negatives with positives."""
    positive, negative = sample_anchors(labels, batch_size, positive_fraction)
    lacking = batch_size - len(positive) - len(negative)
    others = (labels >= 0).nonzero()[:, 0]
    others = others[~torch.isin(others, positive)]
    return torch.cat((positive, _first(others, lacking))), negative


def _as_one(*args: object) -> Tensor:
    return torch.cat(sample_anchors(*args))


def _masks(*args: object) -> Pair:
    masks = []
    for chosen in sample_anchors(*args):
        mask = torch.zeros(len(args[0]), dtype=torch.bool)
        mask[chosen] = True
        masks.append(mask)
    return tuple(masks)


def _labels_of(labels: Tensor, *rest: object) -> Pair:
    return tuple(labels[chosen] for chosen in sample_anchors(labels, *rest))


def _in_columns(*args: object) -> Pair:
    return tuple(chosen[:, None] for chosen in sample_anchors(*args))


def _exchanged(*args: object) -> Pair:
    return sample_anchors(*args)[::-1]


def _without_the_last(indices: Tensor, count: int) -> Tensor:
    return _first(indices[:-1], count) if len(indices) > count else indices


MISCONCEPTIONS = (
    # Which anchors.
    Misconception(
        "object 0 is an object: positive is labels >= 0; in yours the anchors of object 0 are none",
        _sampled(is_positive=lambda labels: labels > 0),
        _sampled(is_positive=lambda labels: labels >= 1),
    ),
    Misconception(
        "labels are counted from 0, and background is −1; in yours 0 is background, as in "
        "torchvision's sampler",
        _sampled(lambda labels: labels > 0, lambda labels: labels == 0),
    ),
    Misconception(
        "a label above 0 is the index of an object, not a flag: positive is labels >= 0, not "
        "labels == 1",
        _sampled(is_positive=lambda labels: labels == 1),
        _sampled(lambda labels: labels == 1, lambda labels: labels == 0),
    ),
    Misconception(
        "an ignored anchor, −2, is in no loss; yours counts as background: negative is "
        "labels == -1, not labels < 0",
        _sampled(is_negative=lambda labels: labels < 0),
    ),
    Misconception(
        "an ignored anchor, −2, is in no loss; yours counts as positive: it is neither",
        _sampled(is_positive=lambda labels: labels != BACKGROUND),
    ),
    Misconception(
        "−1 is background and −2 ignored; yours are exchanged",
        _sampled(is_negative=lambda labels: labels == IGNORED),
    ),
    # How many.
    Misconception(
        "only the positives have a limit of their own: where there are fewer, negatives fill the "
        "sample up to batch_size",
        _not_filled,
    ),
    Misconception(
        "the negatives fill the sample: batch_size minus the positives that were drawn; yours are "
        "batch_size more",
        _sampled(negatives=lambda batch, fraction, p: batch),
    ),
    Misconception(
        "the sample holds batch_size anchors; yours has a negative more",
        _sampled(negatives=lambda batch, fraction, p: batch - p + 1),
    ),
    Misconception(
        "the sample holds batch_size anchors; yours has a negative less",
        _sampled(negatives=lambda batch, fraction, p: batch - p - 1),
    ),
    Misconception(
        "the negatives fill the sample, as many as there are positives is not asked for",
        _sampled(negatives=lambda batch, fraction, p: p),
    ),
    Misconception(
        "the positives have a limit of their own, int(batch_size * positive_fraction); yours takes "
        "all that there are, or all that fit into the sample",
        _sampled(most=lambda batch, fraction: batch),
        _sampled(most=lambda batch, fraction: 10**6),
    ),
    Misconception(
        "the share is one of the sample, batch_size * positive_fraction; yours is one of the "
        "positives that are there",
        _share_of_the_positives,
    ),
    Misconception(
        "the limit of the positives is rounded down, int(…); yours is rounded to the nearest whole "
        "number",
        _sampled(most=lambda batch, fraction: round(batch * fraction)),
        _sampled(most=lambda batch, fraction: int(batch * fraction + 0.5)),
    ),
    Misconception(
        "the limit of the positives is rounded down, int(…); yours is rounded up",
        _sampled(most=lambda batch, fraction: -int(-batch * fraction // 1)),
    ),
    Misconception(
        "the share given is that of the positives; in yours it is that of the negatives",
        _sampled(most=lambda batch, fraction: int(batch * (1 - fraction))),
        _sampled(most=lambda batch, fraction: batch - int(batch * fraction)),
    ),
    Misconception(
        "the share is the one you are given, positive_fraction; yours is always one half",
        _sampled(most=lambda batch, fraction: batch // 2),
    ),
    Misconception(
        "where there are too few negatives the sample stays smaller; yours takes more positives "
        "than are allowed",
        _also_negatives_twice,
    ),
    # At random.
    Misconception(
        "the choice must be random; yours takes the same ones in every call: shuffle with "
        "torch.randperm before you cut",
        _sampled(choose=lambda indices, count: indices[: max(count, 0)]),
    ),
    Misconception(
        "of the negatives the choice must be random as well; yours takes the same ones in every "
        "call",
        lambda *args: (
            sample_anchors(*args)[0],
            _sampled(choose=lambda indices, count: indices[: max(count, 0)])(*args)[1],
        ),
    ),
    Misconception(
        "of the positives the choice must be random as well; yours takes the same ones in every "
        "call",
        lambda *args: (
            _sampled(choose=lambda indices, count: indices[: max(count, 0)])(*args)[0],
            sample_anchors(*args)[1],
        ),
    ),
    Misconception(
        "an anchor is drawn twice, as torch.randint and random.choices may do; torch.randperm "
        "gives each number once",
        _sampled(choose=_with_replacement),
    ),
    Misconception(
        "these are places in the list of the positives, and in that of the negatives; index that "
        "list with them, positive[places]",
        _sampled(places=True),
    ),
    Misconception(
        "an anchor is never drawn: the last one of those that could be",
        _sampled(choose=_without_the_last),
    ),
    # The form of the result.
    Misconception(
        "the positives come first, then the negatives; yours are exchanged",
        _exchanged,
    ),
    Misconception(
        "return two tensors, the positives' indices and the negatives', not one with both",
        _as_one,
    ),
    Misconception(
        "return the indices of the anchors, not a mask: which are True says mask.nonzero()[:, 0]",
        _masks,
        lambda *args: tuple(mask.to(torch.uint8) for mask in _masks(*args)),
    ),
    Misconception(
        "return the indices of the anchors, not a mask: mask.nonzero()[:, 0], before it is cut",
        lambda *args: tuple(mask.long() for mask in _masks(*args)),
    ),
    Misconception(
        "return the indices of the anchors, not their labels",
        _labels_of,
    ),
    Misconception(
        "nonzero() gives a table with one column, (p, 1); take the column, nonzero()[:, 0]",
        _in_columns,
    ),
)

SAMPLE_ANCHORS = Exercise(
    number="2.5",
    name="sample_anchors",
    reference=sample_anchors,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=COUNTED,
    summary=_summary,
)
