"""Exercise 6.4: Soft-NMS with the Gaussian decay."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.boxes import paired_iou
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.boxes import boxes_of, draw_scored, random_boxes, show_scored
from detlearn.check.engine.cases import Case
from detlearn.nms import nms, soft_nms


def _soft(
    decay: Callable[[Tensor, Tensor], Tensor] = lambda iou, sigma: torch.exp(-(iou**2) / sigma),
    reselect: bool = True,
    all_boxes: bool = False,
    report: str = "decayed",
    drop: str = "decayed",
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Gaussian Soft-NMS with something changed."""

    def function(
        boxes: Tensor, scores: Tensor, sigma: float = 0.5, threshold: float = 0.001
    ) -> tuple[Tensor, Tensor]:
        now, free, keep = scores.clone(), torch.ones(len(scores), dtype=torch.bool), []
        first = scores.argsort(descending=True).tolist()
        for turn in range(len(scores)):
            best = int(now.where(free, -1.0).argmax()) if reselect else first[turn]
            free[best] = False
            keep.append(best)
            iou = paired_iou(boxes[best], boxes)
            others = free | (all_boxes & (torch.arange(len(boxes)) != best))
            now = torch.where(others, now * decay(iou, torch.tensor(sigma)), now)
        chosen = torch.tensor(keep, dtype=torch.int64)
        if drop != "none":
            judged = scores if drop == "original" else now
            chosen = chosen[judged[chosen] >= threshold]
        if report == "by index":
            chosen = chosen.sort().values
        return chosen, (scores if report == "original" else now)[chosen]

    return function


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


def _soft_cases(random: torch.Generator) -> list[Case]:
    # IoU of the first with the second 0.6, of the first two with the third 0.
    three = boxes_of((0, 0, 40, 40), (10, 0, 50, 40), (60, 60, 80, 80))
    scores = torch.tensor([0.9, 0.8, 0.5])
    decayed = 0.8 * math.exp(-(0.6**2) / 0.5)
    # The second is decayed below the third, which must then be taken first.
    overtaken = torch.tensor([0.9, 0.8, 0.45])
    one, none = boxes_of((5, 5, 20, 30)), torch.zeros(0, 4)
    crowd = _crowd(8, random)
    large = _crowd(40, random)
    order = torch.randperm(40, generator=random)
    return [
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
        Case("by hand", (one, torch.tensor([0.7])), "a single box"),
        Case("degenerate", (none, torch.zeros(0)), "no boxes at all"),
        Case("degenerate", (one.repeat(3, 1), torch.tensor([0.5, 0.9, 0.7])), "three equal boxes"),
        Case("degenerate", (three, scores * 1e-3), "scores below the threshold"),
        Case("random", crowd, "8 boxes in a crowd"),
        Case("random", large, "40 boxes in a crowd"),
        Case("random", (*large, 0.2), "40 boxes in a crowd, with sigma 0.2"),
        Case("random", (*large, 0.5, 0.1), "40 boxes in a crowd, with a threshold of 0.1"),
        Case("property", (large[0] - 300, large[1]), "the same 40 boxes moved below zero"),
        Case("property", (large[0][order], large[1][order]), "the same 40 boxes in another order"),
    ]


def _crowd(number: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Boxes that overlap a lot, with distinct scores."""
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
        ),
        Misconception(
            "this is ordinary NMS: Soft-NMS lowers scores and drops a box only when its score has "
            "fallen below the threshold",
            _soft(lambda iou, sigma: (iou <= 0.5).float()),
        ),
        Misconception(
            "sigma is the one you are given; yours is always 0.5",
            _soft(lambda iou, sigma: torch.exp(-(iou**2) / 0.5)),
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
        ),
        Misconception(
            "the threshold applies to the decayed scores; you compare the scores as they were",
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
    solution=(soft_nms,),
    allowed=frozenset({"box_iou", "box_area", "paired_iou"}),
)
