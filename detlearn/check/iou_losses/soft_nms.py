"""Exercise 6.4: Soft-NMS with the Gaussian decay."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import paired_iou
from detlearn.check.boxes import boxes_of, draw_scored, random_boxes, show_scored
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.check.iou_losses.clues import UNSORTED, clue_of_soft_nms
from detlearn.check.iou_losses.parts import area, intersection
from detlearn.nms import nms, soft_nms


def _soft(
    decay: Callable[[Tensor, Tensor], Tensor] = lambda iou, sigma: torch.exp(-(iou**2) / sigma),
    reselect: bool = True,
    all_boxes: bool = False,
    report: str = "decayed",
    drop: str = "decayed",
    lowest_first: bool = False,
    decay_itself: bool = False,
    overlap: Callable[[Tensor, Tensor], Tensor] = paired_iou,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return Gaussian Soft-NMS with something changed.

    Args:
        decay: the factor, a function of the IoU and sigma.
        reselect: the best is looked for anew in each round.
        all_boxes: those that were taken decay as well.
        report: the scores that are returned, "decayed" or "original", or the order "by index".
        drop: the scores that the threshold is compared with, "decayed" or "original", or "none".
        lowest_first: the box with the lowest score is taken, not the one with the highest.
        decay_itself: the box that is taken lowers its own score, too.
        overlap: what stands for the IoU of the best box (4,) with all boxes (N, 4).
    """

    def function(
        boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
    ) -> tuple[Tensor, Tensor]:
        now = scores.clone()
        first = scores.argsort(descending=True).tolist()

        free = torch.ones(len(scores), dtype=torch.bool)
        keep = []
        for turn in range(len(scores)):
            if lowest_first:
                best = int(now.where(free, torch.inf).argmin())
            else:
                best = int(now.where(free, -1.0).argmax()) if reselect else first[turn]
            if (
                reselect
                and not all_boxes
                and not lowest_first
                and drop == "decayed"
                and now[best] < threshold
            ):
                break

            free[best] = False
            keep.append(best)

            itself = torch.arange(len(boxes)) == best
            others = free | (all_boxes & ~itself) | (decay_itself & itself)
            factor = decay(overlap(boxes[best], boxes), torch.tensor(sigma))
            now = torch.where(others, now * factor, now)

        # What is dropped, in which order the rest is returned, and with which scores.
        chosen = torch.tensor(keep, dtype=torch.int64)
        if drop != "none":
            judged = scores if drop == "original" else now
            chosen = chosen[judged[chosen] >= threshold]
        if report == "by index":
            chosen = chosen.sort().values
        return chosen, (scores if report == "original" else now)[chosen]

    return function


def _sorted_once(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Return what goes through the boxes by their first scores and passes over the dropped."""
    now = scores.clone()
    keep = []
    order = scores.argsort(descending=True).tolist()
    for turn, best in enumerate(order):
        if now[best] < threshold:
            continue
        keep.append(best)
        rest = order[turn + 1 :]
        now[rest] = now[rest] * torch.exp(-(paired_iou(boxes[best], boxes[rest]) ** 2) / sigma)

    chosen = torch.tensor(keep, dtype=torch.int64)
    return chosen, now[chosen]


def _sorted_again(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Return what decays in the order of the first scores, and sorts the decayed ones."""
    keep, now = _soft(reselect=False)(boxes, scores, sigma, threshold)
    order = now.argsort(descending=True, stable=True)
    return keep[order], now[order]


def _each_lowers_each(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Return what lowers each score by all other boxes, also by the weaker ones."""
    factors = torch.exp(-(paired_iou(boxes[:, None], boxes) ** 2) / sigma)  # (N, N)
    now = scores * factors.fill_diagonal_(1.0).prod(0)
    order = now.argsort(descending=True, stable=True)
    keep = order[now[order] >= threshold]
    return keep, now[keep]


def _stops_early(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Return what ends as soon as any score is below the threshold."""
    now = scores.clone()
    left = list(range(len(scores)))
    keep = []
    while left and now[left].min() >= threshold:
        best = left.pop(int(now[left].argmax()))
        keep.append(best)
        now[left] = now[left] * torch.exp(-(paired_iou(boxes[best], boxes[left]) ** 2) / sigma)

    chosen = torch.tensor(keep, dtype=torch.int64)
    return chosen, now[chosen]


def _decays_itself(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Return what lowers the score of a box by its overlap with itself, once it is taken."""
    keep, now = soft_nms(boxes, scores, sigma, threshold)
    return keep, now * math.exp(-1 / sigma)


def _strictly_above(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    keep, now = soft_nms(boxes, scores, sigma, threshold)
    return keep[now > threshold], now[now > threshold]


def _threshold_of_overlaps(change: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """Return what compares `threshold` with overlaps, not with scores.

    Args:
        change: the factor, a function of the IoU and the factor of the Gaussian, where the IoU
            exceeds the threshold.
    """

    def function(
        boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
    ) -> tuple[Tensor, Tensor]:
        def decay(iou: Tensor, sigma: Tensor) -> Tensor:
            gaussian = torch.exp(-(iou**2) / sigma)
            return torch.where(iou > threshold, change(iou, gaussian), 1.0)

        keep, now = _soft(decay, drop="none")(boxes, scores, sigma, threshold)
        return keep[now > 0], now[now > 0]

    return function


def _drops_as_well(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Return what decays small overlaps and drops boxes with large ones."""

    def decay(iou: Tensor, sigma: Tensor) -> Tensor:
        return torch.where(iou > 0.5, 0.0, torch.exp(-(iou**2) / sigma))

    return _soft(decay)(boxes, scores, sigma, threshold)


def _over_area_of(first: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the shared area over the area of the box taken (`first`), or of the others."""

    def overlap(box: Tensor, boxes: Tensor) -> Tensor:
        one = box.expand_as(boxes)
        return intersection(one, boxes) / area(one if first else boxes)

    return overlap


def _restarted(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Return what lowers the given score each time, so that only the last decay remains."""
    now = scores.clone()
    left = list(range(len(scores)))

    keep = []
    while left and now[left].max() >= threshold:
        best = left.pop(int(now[left].argmax()))
        keep.append(best)

        iou = paired_iou(boxes[best], boxes[left])
        now[left] = scores[left] * torch.exp(-(iou**2) / sigma)

    chosen = torch.tensor(keep, dtype=torch.int64)
    return chosen, now[chosen]


def _largest_overlap(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Return what lowers the given score once, by the largest overlap with a better box."""
    order = scores.argsort(descending=True, stable=True)
    iou = paired_iou(boxes[order][:, None], boxes[order]).triu(diagonal=1)

    now = scores.clone()
    if len(order):
        now[order] = scores[order] * torch.exp(-(iou.amax(0) ** 2) / sigma)

    order = now.argsort(descending=True, stable=True)
    keep = order[now[order] >= threshold]
    return keep, now[keep]


def _first_alone(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Return what lets the best box of all lower the others, and no other box."""
    now = scores.clone()
    if len(now):
        best = int(now.argmax())
        now = now * torch.exp(-(paired_iou(boxes[best], boxes) ** 2) / sigma)
        now[best] = scores[best]

    order = now.argsort(descending=True, stable=True)
    keep = order[now[order] >= threshold]
    return keep, now[keep]


def _hard(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    keep = nms(boxes, scores, 0.5)
    return keep, scores[keep]


def _filtered_first(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    left = torch.where(scores >= threshold)[0]
    keep, decayed = soft_nms(boxes[left], scores[left], sigma, 0.0)
    return left[keep], decayed


def _among_the_left(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    keep, decayed = soft_nms(boxes, scores, sigma, threshold)
    taken_below = (keep[None] < keep[:, None]).tril().sum(1)
    return keep - taken_below, decayed


def _decayed_of_all(
    boxes: Tensor, scores: Tensor, sigma: float, threshold: float
) -> tuple[Tensor, Tensor]:
    """Return keep, and the scores (N,) of all boxes after the last round."""
    keep, decayed = soft_nms(boxes, scores, sigma, 0.0)
    now = scores.clone()
    now[keep] = decayed
    return keep[decayed >= threshold], now


def _all_scores(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    return _decayed_of_all(boxes, scores, sigma, threshold)


def _scores_by_index(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    keep, now = _decayed_of_all(boxes, scores, sigma, threshold)
    return keep, now[now >= threshold]


def _as_mask(
    boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
) -> tuple[Tensor, Tensor]:
    _, now = _decayed_of_all(boxes, scores, sigma, threshold)
    return now >= threshold, now[now >= threshold]


def _soft_cases(random: torch.Generator) -> list[Case]:
    # IoU of the first with the second 0.6, of the first two with the third 0.
    three = boxes_of((0, 0, 40, 40), (10, 0, 50, 40), (60, 60, 80, 80))
    scores = torch.tensor([0.9, 0.8, 0.5])

    none = torch.zeros(0, 4)
    one = boxes_of((5, 5, 20, 30))
    apart = boxes_of((5, 5, 20, 30), (40, 5, 60, 30))

    crowd, large, larger = (_crowd(number, random) for number in (8, 40, 50))
    order = torch.randperm(40, generator=random)

    return [
        *_soft_by_hand(three, scores),
        Case("by hand", (one, torch.tensor([0.7])), "a single box"),
        Case(
            "by hand",
            (apart, torch.tensor([0.75, 0.25]), 0.5, 0.25),
            "two boxes apart, the second with the score of the threshold, 0.25, at which it stays",
            expected=(torch.tensor([0, 1]), torch.tensor([0.75, 0.25])),
        ),
        Case("degenerate", (none, torch.zeros(0)), "no boxes at all"),
        Case("degenerate", (one.repeat(3, 1), torch.tensor([0.5, 0.9, 0.7])), "three equal boxes"),
        Case("degenerate", (three, scores * 1e-3), "scores below the threshold"),
        Case("random", crowd, "8 boxes in a crowd"),
        Case("random", large, "40 boxes in a crowd"),
        Case("random", (*large, 0.2), "40 boxes in a crowd, with sigma 0.2"),
        Case("random", (*larger, 0.9), "50 boxes in a crowd, with sigma 0.9"),
        Case("random", (*larger, 0.5, 0.3), "50 boxes in a crowd, with a threshold of 0.3"),
        Case("random", (*large, 0.5, 0.1), "40 boxes in a crowd, with a threshold of 0.1"),
        Case("property", (large[0] - 300, large[1]), "the same 40 boxes moved below zero"),
        Case("property", (large[0] / 60, large[1]), "the same 40 boxes inside [0, 1]"),
        Case("property", (large[0][order], large[1][order]), "the same 40 boxes in another order"),
    ]


def _soft_by_hand(three: Tensor, scores: Tensor) -> list[Case]:
    # The second is decayed below the third, which must then be taken first.
    decayed = 0.8 * math.exp(-(0.6**2) / 0.5)
    overtaken = torch.tensor([0.9, 0.8, 0.45])
    of_three = [
        Case(
            "by hand",
            (three, scores),
            "two boxes with an IoU of 0.6 and one apart",
            expected=(torch.tensor([0, 2, 1]), torch.tensor([0.9, 0.5, decayed])),
        ),
        Case(
            "by hand",
            (three, overtaken, 0.5, 0.4),
            "the same boxes with a score threshold of 0.4, which the second falls below",
            expected=(torch.tensor([0, 2]), torch.tensor([0.9, 0.45])),
        ),
        Case(
            "by hand",
            (three.flip(0), scores.flip(0)),
            UNSORTED,
            expected=(torch.tensor([2, 0, 1]), torch.tensor([0.9, 0.5, decayed])),
        ),
        Case(
            "by hand",
            (three, scores, 0.5, 0.5),
            "the same boxes with a score threshold of 0.5, which is the third's score and keeps it",
            expected=(torch.tensor([0, 2]), torch.tensor([0.9, 0.5])),
        ),
    ]

    # IoU of neighbours 0.6, of the first with the last 1/3: the last decays twice.
    chain = boxes_of((0, 0, 40, 40), (10, 0, 50, 40), (20, 0, 60, 40))
    middle = 0.9 * math.exp(-(0.6**2) / 0.5)
    last = 0.4 * math.exp(-((1 / 3) ** 2 + 0.6**2) / 0.5)
    of_a_chain = Case(
        "by hand",
        (chain, torch.tensor([0.95, 0.9, 0.4])),
        "a chain, whose last box overlaps both others",
        expected=(torch.tensor([0, 1, 2]), torch.tensor([0.95, middle, last])),
    )

    return [*of_three, of_a_chain]


def _crowd(number: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return boxes that overlap a lot, with distinct scores."""
    boxes = random_boxes(number, random, size=60.0)
    scores = 0.05 + 0.9 * torch.randperm(number, generator=random) / number
    return boxes, scores + 0.01 * torch.rand(number, generator=random)


SOFT_NMS = Exercise(
    number="6.4",
    name="soft_nms",
    reference=soft_nms,
    cases=_soft_cases,
    misconceptions=(
        Misconception(
            "after each decay the box with the highest score as it stands now comes next; you go "
            "through the boxes in the order of their first scores",
            _soft(reselect=False),
            _sorted_once,
            _sorted_again,
        ),
        Misconception(
            "a box lowers those that are worse; in yours every box lowers every other one, the "
            "better ones too",
            _each_lowers_each,
        ),
        Misconception(
            "the box with the highest score comes first; you take the one with the lowest",
            _soft(lowest_first=True),
        ),
        Misconception(
            "the box that is taken lowers the scores of the others; yours lowers its own as well, "
            "as its IoU with itself is 1",
            _decays_itself,
            _soft(decay_itself=True),
            _soft(decay_itself=True, all_boxes=True),
        ),
        Misconception(
            "the decays add up: lower the score as it stands now; yours starts from the given "
            "score each time, so that only the last decay remains",
            _restarted,
        ),
        Misconception(
            "every better box lowers a score, one after the other; yours lowers it once, by the "
            "largest overlap",
            _largest_overlap,
        ),
        Misconception(
            "only the best box of all lowers the others; go on with the best of those that remain",
            _first_alone,
        ),
        Misconception(
            "you return the scores as they were given; return the decayed ones",
            _soft(report="original"),
        ),
        Misconception(
            "this is the linear decay, 1 − IoU; the exercise asks for the Gaussian one, "
            "exp(−IoU² / σ)",
            _soft(lambda iou, sigma: 1 - iou),
        ),
        Misconception(
            "this is the linear decay, 1 − IoU, above an IoU of 0.3; the exercise asks for the "
            "Gaussian one, exp(−IoU² / σ), for every overlap",
            _soft(lambda iou, sigma: torch.where(iou > 0.3, 1 - iou, 1.0)),
        ),
        Misconception(
            "the paper's Gaussian is exp(−IoU² / σ), without the 2 of a normal distribution and "
            "without squaring σ",
            _soft(lambda iou, sigma: torch.exp(-(iou**2) / (2 * sigma**2))),
        ),
        Misconception(
            "the Gaussian is exp(−IoU² / σ), without a normal distribution's 2; σ alone divides",
            _soft(lambda iou, sigma: torch.exp(-(iou**2) / (2 * sigma))),
        ),
        Misconception(
            "the Gaussian divides by σ, exp(−IoU² / σ); yours multiplies by it",
            _soft(lambda iou, sigma: torch.exp(-(iou**2) * sigma)),
            _soft(lambda iou, sigma: torch.exp(-iou * sigma)),
        ),
        Misconception(
            "σ stands in the exponent, exp(−IoU² / σ); yours divides the result by it",
            _soft(lambda iou, sigma: torch.exp(-(iou**2)) / sigma),
        ),
        Misconception(
            "σ is missing: the Gaussian is exp(−IoU² / σ)",
            _soft(lambda iou, sigma: torch.exp(-(iou**2))),
        ),
        Misconception(
            "a score is multiplied by exp(−IoU² / σ); yours by one minus that, which drops the "
            "boxes that overlap nothing",
            _soft(lambda iou, sigma: 1 - torch.exp(-(iou**2) / sigma)),
        ),
        Misconception(
            "this is 1 − IoU²; the exercise asks for the Gaussian, exp(−IoU² / σ)",
            _soft(lambda iou, sigma: 1 - iou**2),
        ),
        Misconception(
            "the IoU divides by the union of the two boxes; yours divides the shared area by the "
            "area of one of them",
            _soft(overlap=_over_area_of(first=True)),
            _soft(overlap=_over_area_of(first=False)),
        ),
        Misconception(
            "the paper's Gaussian is exp(−IoU² / σ): σ is not squared",
            _soft(lambda iou, sigma: torch.exp(-(iou**2) / sigma**2)),
        ),
        Misconception(
            "the IoU enters squared: exp(−IoU² / σ)",
            _soft(lambda iou, sigma: torch.exp(-iou / sigma)),
        ),
        Misconception(
            "the Gaussian lowers a score by the overlap, exp(−IoU² / σ); yours lacks the minus or "
            "divides where it should multiply",
            _soft(lambda iou, sigma: torch.exp(iou**2 / sigma)),
        ),
        Misconception(
            "the Gaussian decays every overlap; yours leaves small ones alone",
            _soft(lambda iou, sigma: torch.where(iou > 0.3, torch.exp(-(iou**2) / sigma), 1.0)),
        ),
        Misconception(
            "the Gaussian decays every overlap; yours leaves those up to 0.5 alone",
            _soft(lambda iou, sigma: torch.where(iou > 0.5, torch.exp(-(iou**2) / sigma), 1.0)),
        ),
        Misconception(
            "this is ordinary NMS: Soft-NMS lowers scores and drops a box only when its score has "
            "fallen below the threshold",
            _hard,
            _soft(lambda iou, sigma: (iou <= 0.5).float()),
        ),
        Misconception(
            "Soft-NMS lowers scores and never drops a box for its overlap; yours drops those with "
            "an IoU above 0.5 besides",
            _drops_as_well,
        ),
        Misconception(
            "the threshold is one of scores: a box goes when its decayed score is below it; yours "
            "compares it with the IoU",
            _threshold_of_overlaps(lambda iou, gaussian: gaussian),
            _threshold_of_overlaps(lambda iou, gaussian: torch.zeros_like(iou)),
        ),
        Misconception(
            "boxes are left out when their score is below the threshold; a score equal to the "
            "threshold stays",
            _strictly_above,
        ),
        Misconception(
            "a box below the threshold is left out and the others go on; yours stops at the first",
            _stops_early,
        ),
        Misconception(
            "return the scores of the boxes kept, (K,), in the order in which they were taken; "
            "yours are those of all boxes, in the order of the input",
            _all_scores,
        ),
        Misconception(
            "keep and scores belong together, row by row; your scores are in the order of the "
            "input",
            _scores_by_index,
        ),
        Misconception(
            "return the indices of the kept boxes, int64; yours is a mask over all boxes",
            _as_mask,
        ),
        Misconception(
            "sigma and threshold have changed places: σ divides in the exponent, and scores are "
            "compared with the threshold",
            lambda boxes, scores, sigma=0.5, threshold=0.001: soft_nms(
                boxes, scores, threshold, sigma
            ),
        ),
        Misconception(
            "sigma is the one you are given; yours is always 0.5",
            _soft(lambda iou, sigma: torch.exp(-(iou**2) / 0.5)),
        ),
        Misconception(
            "the threshold is the one you are given; yours is always 0.001",
            lambda boxes, scores, sigma=0.5, threshold=0.001: soft_nms(boxes, scores, sigma, 0.001),
        ),
        Misconception(
            "these are positions among the boxes that are left, and their list shrinks; return the "
            "indices of the boxes as they were given",
            _among_the_left,
        ),
        Misconception(
            "a box that has been taken keeps its score: decay those that are left only",
            _soft(all_boxes=True),
        ),
        Misconception(
            "boxes whose decayed score is below the threshold are left out; yours returns them all",
            _soft(drop="none"),
        ),
        Misconception(
            "the threshold applies to the decayed scores; you compare the scores as they were",
            _soft(drop="original"),
            _filtered_first,
        ),
        Misconception(
            "return the boxes in the order in which they were taken, not in the order of their "
            "indices",
            _soft(report="by index"),
        ),
        Misconception(
            "the order is reversed: first the indices, then their scores",
            lambda *args: soft_nms(*args)[::-1],
        ),
        Misconception(
            "return both the indices and their decayed scores", lambda *args: soft_nms(*args)[0]
        ),
        Misconception(
            "return the indices of the boxes, not the boxes",
            lambda boxes, scores, *rest: (
                boxes[soft_nms(boxes, scores, *rest)[0]],
                soft_nms(boxes, scores, *rest)[1],
            ),
        ),
        Misconception(
            "nothing is decayed: your scores are as they were", _soft(lambda iou, s: 1.0)
        ),
    ),
    returns=("keep", "the score"),
    draw=draw_scored,
    narrow=show_scored,
    clue=clue_of_soft_nms,
    solution=(soft_nms,),
    allowed=frozenset({"box_iou", "box_area", "paired_iou"}),
)
