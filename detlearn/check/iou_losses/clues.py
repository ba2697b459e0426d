"""Where a mistake sits that has no name: facts about the answers, each computed from them.

A misconception says what was done. Where none fits, these say in which cases an answer is right and
in which it is wrong, and what that leaves to look at.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine.diagnosis import Asked
from detlearn.check.iou_losses.parts import (
    COLUMN,
    EACH_WITH_EACH,
    EXCHANGED,
    LARGER,
    MEAN,
    MOVED,
    RANDOM,
    TOGETHER,
    centre_distance,
    enclosing_penalty,
    iou,
    shape_gap,
)

Feature = Callable[[Tensor, Tensor], Tensor]  # of the boxes (N, 4) of pairs: (N,) bool

DIMENSION = (
    "a sum, product or mean in your function runs over the pairs, dimension 0; the coordinates are "
    "dimension 1"
)
COORDINATES_LEFT = (
    "your answer still has a dimension for coordinates; add or multiply over it, dim=1, to get one "
    "number for each pair"
)
PYTHON_IF = "a Python if decides once for all pairs; torch.where decides for each of them"
PYTHON_MATH = (
    "Python's functions of numbers take one number; torch has the same ones for tensors, such as "
    "torch.atan2"
)
FAILS_TOGETHER = "for one pair your function works, for several it fails: does it treat each apart?"
WRONG_TOGETHER = (
    "each of these pairs alone is right, all together they are not: a min, max, sum or norm in "
    "your function runs over the pairs; give it dim=1"
)
CHANGES_WHEN_MOVED = (
    "moving both boxes together changes your loss: somewhere a coordinate stands by itself, or "
    "with one of the other axis, where a difference along one axis belongs"
)
CHANGES_WITH_THE_UNIT = (
    "measuring the boxes in another unit changes your loss: look for a rounding, for a number that "
    "is added, or for a quotient of unlike quantities, such as a length and an area"
)
CHANGES_WHEN_EXCHANGED = (
    "exchanging prediction and target changes your loss: one of its terms treats the two boxes "
    "differently"
)
WRONG_WHERE_TOUCHING = (
    "it is right where the boxes share nothing and wrong where they overlap: look at the "
    "intersection and the union"
)
WRONG_WHERE_APART = (
    "it is right where the boxes overlap and wrong where they share nothing: look at the "
    "intersection of boxes apart, and at the penalty there"
)
WRONG_WHERE_EMPTY = (
    "it is right where the boxes fill their enclosing box and wrong where a part of that is empty: "
    "look at the penalty, (C − U) / C"
)
WRONG_OFF_CENTRE = (
    "it is right where the centres meet and wrong elsewhere: look at the penalty, ρ² / c²"
)
WRONG_WHERE_SHAPES_DIFFER = (
    "it is right where the two boxes have the same shape and wrong where they have not: look at v "
    "and at α"
)


def _touching(a: Tensor, b: Tensor) -> Tensor:
    return iou(a, b) > 0


def _apart(a: Tensor, b: Tensor) -> Tensor:
    return ~_touching(a, b)


def _partly_empty(a: Tensor, b: Tensor) -> Tensor:
    return enclosing_penalty(a, b) > 1e-4


def _off_centre(a: Tensor, b: Tensor) -> Tensor:
    return centre_distance(a, b) > 1e-8


def _of_other_shape(a: Tensor, b: Tensor) -> Tensor:
    return shape_gap(a, b) > 1e-6


OF_GIOU = (
    (WRONG_WHERE_EMPTY, _partly_empty),
    (WRONG_WHERE_APART, _apart),
    (WRONG_WHERE_TOUCHING, _touching),
)
OF_DIOU = (
    (WRONG_OFF_CENTRE, _off_centre),
    (WRONG_WHERE_APART, _apart),
    (WRONG_WHERE_TOUCHING, _touching),
)
OF_CIOU = ((WRONG_WHERE_SHAPES_DIFFER, _of_other_shape), *OF_DIOU)


def clue_of_loss(features: tuple[tuple[str, Feature], ...]) -> Callable[[Asked], str]:
    """Return what finds the place of a mistake in a box loss.

    Args:
        features: sentences, each with a property of those pairs for which the loss is wrong.
    """

    def clue(asked: Asked) -> str:
        # What is wrong with the type of an answer says so itself.
        first = next(found for found in asked.faults if found)
        if first.kind in ("dtype", "changed"):
            return ""

        return (
            _of_exceptions(asked)
            or _of_shapes(asked)
            or _of_pairs_together(asked)
            or _of_changed_input(asked)
            or _of_features(asked, features)
        )

    return clue


def _of_exceptions(asked: Asked) -> str:
    """What Python says of a tensor of several numbers taken for one."""
    for answer in asked.answers:
        if answer.trouble and "Boolean value of Tensor" in answer.trouble.message:
            return PYTHON_IF
        if answer.trouble and "only one element tensors" in answer.trouble.message:
            return PYTHON_MATH
    return ""


def _of_shapes(asked: Asked) -> str:
    """What the shape of an answer to one pair or to several says."""
    for case, answer, found in zip(asked.cases, asked.answers, asked.faults):
        n = len(case.args[0])
        if n == 0 or found is None or found.kind != "form" or len(answer.values) != 1:
            continue

        shape = tuple(answer.values[0].shape)
        known = {(2,): DIMENSION, (4,): DIMENSION, (): MEAN}
        known |= {} if n == 1 else {(1,): MEAN}
        known |= {(n, 2): COORDINATES_LEFT, (n, 4): COORDINATES_LEFT}
        if n > 1:  # one pair does not tell a column from each with each
            known |= {(n, n): EACH_WITH_EACH, (n, 1): COLUMN}
        if shape in known:
            return known[shape]
    return ""


def _of_pairs_together(asked: Asked) -> str:
    """Whether pairs that are right one by one are wrong together."""
    for case, answer, found in zip(asked.cases, asked.answers, asked.faults):
        if case.note != TOGETHER:
            if found is not None:
                return ""
            continue

        if found is None or found.kind not in ("trouble", "form", "value"):
            return ""
        if answer.trouble is not None:
            return FAILS_TOGETHER if answer.trouble.kind == "exception" else ""
        return WRONG_TOGETHER if found.kind == "value" else ""
    return ""


def _of_changed_input(asked: Asked) -> str:
    """Which change of the input, that should change nothing, changes the loss."""
    values = {}
    for case, answer, right in zip(asked.cases, asked.answers, asked.expected):
        fits = len(answer.values) == 1 and answer.values[0].shape == right.values[0].shape
        if fits and not case.gradient and answer.values[0].isfinite().all():
            values[case.note] = answer.values[0].double()

    for note, sentence in (
        (MOVED, CHANGES_WHEN_MOVED),
        (LARGER, CHANGES_WITH_THE_UNIT),
        (EXCHANGED, CHANGES_WHEN_EXCHANGED),
    ):
        if RANDOM in values and note in values:
            if not torch.allclose(values[RANDOM], values[note], rtol=1e-3, atol=1e-3):
                return sentence
    return ""


def _of_features(asked: Asked, features: tuple[tuple[str, Feature], ...]) -> str:
    """The property that all pairs have for which the loss is wrong, and the others have not."""
    pairs, wrong = [], []
    for case, answer, right in zip(asked.cases, asked.answers, asked.expected):
        fits = len(answer.values) == 1 and answer.values[0].shape == right.values[0].shape
        if not fits or case.gradient or case.only_finite or case.size:
            continue

        got, wanted = answer.values[0].double(), right.values[0].double()
        pairs.append(case.args)
        wrong.append(~((got - wanted).abs() <= 1e-4 + 1e-3 * wanted.abs()))

    if not pairs:
        return ""
    a, b = (torch.cat([args[i] for args in pairs]) for i in (0, 1))
    wrong = torch.cat(wrong)

    for sentence, feature in features:
        has_it = feature(a, b)
        without = ~has_it
        if wrong.any() and without.sum() >= 2 and not (wrong & without).any():
            # Most pairs that have it must be wrong, or it is not what tells them apart.
            if wrong.sum() >= 0.4 * has_it.sum():
                return sentence
    return ""


# ---- Soft-NMS ----

RISES = (
    "a decayed score is the score as it stands times a factor of at most 1; one of yours is higher "
    "than the score that was given"
)
FACTOR = (
    "the boxes and their order are right, the scores are not: look at the factor and at what it "
    "multiplies"
)
FACTOR_AND_ORDER = (
    "these are the right boxes, but some of their scores are not right, and the order follows the "
    "scores: look at the factor and at what it multiplies"
)
KEPT_TWICE = "a box is returned twice; one that has been taken is no longer there to be taken"
BELOW_RETURNED = "you return a box whose decayed score is below the threshold; such are left out"
MISSING = "a box is missing whose decayed score is not below the threshold"
FIRST_INSTEAD_OF_BEST = (
    "it is right where the best box is given first, and wrong where it is not: take the one with "
    "the highest score among those that are left, wherever it stands"
)
OTHER_ORDER = (
    "these are the right boxes in another order: each round takes the one whose score is the "
    "highest as it stands now"
)
UNSORTED = "the same three boxes given in another order, the best one last"


def clue_of_soft_nms(asked: Asked) -> str:
    """Return what can be said of the first wrong answer of a Soft-NMS."""
    first = next((i for i, found in enumerate(asked.faults) if found), None)
    if first is None or asked.faults[first].kind not in ("form", "value"):
        return ""
    if len(asked.answers[first].values) != 2:
        return ""

    keep, scores = asked.answers[first].values
    wanted, decayed = asked.expected[first].values
    given = asked.cases[first].args[1]
    if keep.dtype != torch.int64 or keep.ndim != 1 or scores.shape != keep.shape:
        return ""

    got, right = keep.tolist(), wanted.tolist()
    if len(set(got)) < len(got):
        return KEPT_TWICE
    if set(got) - set(right):
        return BELOW_RETURNED
    if set(right) - set(got):
        return MISSING
    if got == right:
        return RISES if bool((scores > given[keep] + 1e-4).any()) else FACTOR

    # Box by box, whatever their order.
    if not torch.allclose(scores[keep.argsort()], decayed[wanted.argsort()], rtol=1e-3):
        return FACTOR_AND_ORDER
    if asked.cases[first].note == UNSORTED:
        return FIRST_INSTEAD_OF_BEST
    return OTHER_ORDER
