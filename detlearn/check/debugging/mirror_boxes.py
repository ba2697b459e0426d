"""Exercise 8.1: mirrored images whose boxes do not follow them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.debugging.causes import against
from detlearn.check.engine import Hunt, Misconception
from detlearn.check.engine.cases import Case

Function = Callable[[Tensor, float], Tensor]


def mirror_boxes(boxes: Tensor, width: float) -> Tensor:
    """Mirror boxes left to right, as the image is mirrored.

    Args:
        boxes: (N, 4) x, y, w, h in pixels: the upper left corner, width and height; N may be 0.
        width: of the image, in pixels.

    Returns:
        (N, 4) in the same form: the old right side is the new left one.
    """
    x, y, w, h = boxes.unbind(dim=1)
    return torch.stack((width - x - w, y, w, h), dim=1)


# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    def of(rows: list[list[float]], width: float, wanted: list[list[float]], note: str) -> Case:
        return Case("by hand", (torch.tensor(rows), width), note, torch.tensor(wanted))

    many = _boxes(12, random)
    return [
        of([[4.0, 8, 10, 20]], 64.0, [[50.0, 8, 10, 20]], "a box near the left side"),
        of(
            [[30.0, 2, 20, 6], [0, 0, 64, 40]],
            64.0,
            [[14.0, 2, 20, 6], [0, 0, 64, 40]],
            "a box right of the middle, and one as wide as the image",
        ),
        of([[10.0, 5, 30, 8]], 100.0, [[60.0, 5, 30, 8]], "an image 100 pixels wide"),
        Case("degenerate", (torch.zeros(0, 4), 64.0), "no boxes"),
        Case("random", (many, 64.0), "12 boxes"),
        Case("random", (_boxes(12, random), 117.5), "12 boxes in an image 117.5 pixels wide"),
        Case("random", (many / 64, 1.0), "boxes in shares of the image, whose width is 1"),
        Case("property", (mirror_boxes(many, 64.0), 64.0), "boxes that are mirrored already"),
    ]


def _boxes(count: int, random: torch.Generator) -> Tensor:
    numbers = torch.rand(count, 4, generator=random)
    return torch.cat((40 * numbers[:, :2], 4 + 18 * numbers[:, 2:]), dim=1)


# ---- wrong answers ----


def _with(change: Callable[[Tensor, Tensor, Tensor, Tensor, float], tuple]) -> Function:
    """Return a mirror made of new x, y, w, h."""

    def function(boxes: Tensor, width: float) -> Tensor:
        return torch.stack(change(*boxes.unbind(dim=1), width), dim=1)

    return function


MISCONCEPTIONS = (
    Misconception(
        "that is the broken function still: where does it put the left side of a box, and where "
        "the right one?",
        _with(lambda x, y, w, h, width: (width - x, y, w, h)),
    ),
    Misconception(
        "the boxes come back as they were: the image is mirrored, so they have to be, too",
        _with(lambda x, y, w, h, width: (x, y, w, h)),
    ),
    Misconception(
        "these are corners: what comes in is x, y, w, h, and so is what goes out",
        _with(lambda x, y, w, h, width: (width - x - w, y, width - x, y + h)),
        _with(lambda x, y, w, h, width: (width - w, y, width - x, h)),
    ),
    Misconception(
        "coordinates are continuous: there is no pixel to be taken off",
        _with(lambda x, y, w, h, width: (width - 1 - x - w, y, w, h)),
        _with(lambda x, y, w, h, width: (width - x - w + 1, y, w, h)),
    ),
    Misconception(
        "the image is mirrored left to right only: y stays",
        lambda boxes, width: torch.stack(
            (
                width - boxes[:, 0] - boxes[:, 2],
                width - boxes[:, 1] - boxes[:, 3],
                boxes[:, 2],
                boxes[:, 3],
            ),
            dim=1,
        ),
    ),
    Misconception(
        "x is the left side of a box here, not its middle: half the width is not enough",
        _with(lambda x, y, w, h, width: (width - x - w / 2, y, w, h)),
    ),
    Misconception(
        "a width has no direction: w stays positive",
        _with(lambda x, y, w, h, width: (width - x, y, -w, h)),
    ),
    Misconception(
        "the width to mirror in is that of the image, not the right end of the boxes",
        lambda boxes, width: torch.stack(
            (
                (boxes[:, 0] + boxes[:, 2]).amax() - boxes[:, 0] - boxes[:, 2],
                *boxes[:, 1:].unbind(dim=1),
            ),
            dim=1,
        ),
    ),
    Misconception(
        "the width of the image is missing: mirrored about 0, boxes lie left of the image",
        _with(lambda x, y, w, h, width: (-x - w, y, w, h)),
    ),
    Misconception(
        "the box's width is taken off, not added: the old right side, x + w, is the new left one",
        _with(lambda x, y, w, h, width: (width - x + w, y, w, h)),
    ),
)

MIRROR_BOXES = Hunt(
    number="8.1",
    name="mirror_boxes",
    reference=mirror_boxes,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("boxes",),
    cause="augmentation",
    causes=against(
        annotations="the eight images come from the same files, and the boxes that are found in "
        "them fit",
        targets="eight images are learnt by heart, so the right places learn their objects",
        loss="eight images are learnt by heart with this very loss",
        learning_rate="both trainings have the same steps and the same rates",
        averaged_weights="nothing is averaged in either training",
        decoding="what is learnt by heart goes through the same decoding and is found",
        evaluation="the objects themselves, given in as detections, have an AP of 1",
    ),
)
