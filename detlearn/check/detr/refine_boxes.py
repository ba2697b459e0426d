"""Exercise 5.5: correct a box behind the sigmoid."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.diagnosis import Asked
from detlearn.coders import inverse_sigmoid, refine_boxes

Function = Callable[[Tensor, Tensor], Tensor]

EPS = 1e-5  # shares count as at least this far from 0 and 1, as the stub says

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    deltas = 1.5 * torch.randn(8, 4, generator=random)
    boxes, points = _shares((8, 4), random), _shares((8, 2), random)
    layers = 1.5 * torch.randn(2, 3, 4, generator=random)

    values = [
        Case("random", (deltas, boxes), "8 boxes"),
        Case("random", (deltas, points), "8 points"),
        Case("random", (layers, _shares((2, 3, 4), random)), "boxes of shape (2, 3, 4)"),
        Case("random", (layers, _shares((2, 3, 2), random)), "points of shape (2, 3, 2)"),
    ]

    properties = [
        Case("property", (-deltas, 1 - boxes), "deltas with the other sign, 1 minus the boxes"),
        Case("property", (deltas.flip(0), points.flip(0)), "the points in another order"),
    ]

    gradients = [
        Case("gradient", (deltas, boxes), "8 boxes", gradient=True),
        Case("gradient", (deltas, points), "8 points", gradient=True),
        Case("gradient", (deltas[:4], _ends()), "boxes at the ends", gradient=True),
    ]

    growing = []
    for n in (4, 100):
        args = (torch.randn(n, 4, generator=random), _shares((n, 2), random))
        growing.append(Case("no loop", args, f"{n} points", size=n))
    return [*_by_hand(), *_degenerate(), *values, *properties, *gradients, *growing]


def _shares(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    return 0.05 + 0.9 * torch.rand(shape, generator=random)


def _ends() -> Tensor:
    return torch.tensor([[0.0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 1, 1], [0.5, 1, 0.5, 0]])


def _by_hand() -> list[Case]:
    def of(
        deltas: list[list[float]], given: list[list[float]], wanted: list[list[float]], note: str
    ) -> Case:
        # A delta of ln 3 makes the odds x : (1 − x) three times as large.
        args = (torch.tensor(deltas).log(), torch.tensor(given))
        return Case("by hand", args, note, torch.tensor(wanted))

    return [
        of([[1, 1, 1, 1.0]], [[0.3, 0.6, 0.2, 0.5]], [[0.3, 0.6, 0.2, 0.5]], "deltas of 0"),
        # 1 : 1 → 3 : 1; 1 : 4 → 4 : 4; 4 : 1 → 4 : 4; 3 : 1 → 9 : 1
        of(
            [[3, 4, 0.25, 3]],
            [[0.5, 0.2, 0.8, 0.75]],
            [[0.75, 0.5, 0.5, 0.9]],
            "a box, whose odds become 3, 4, ¼ and 3 times as large",
        ),
        of(
            [[3, 4, 1, 0.25], [0.25, 1, 4, 9]],
            [[0.5, 0.2], [0.8, 0.35]],
            [[0.75, 0.5, 0.5, 0.2], [0.5, 0.35, 0.8, 0.9]],
            "two points",
        ),
        # A single box, without leading dimensions.
        Case(
            "by hand",
            (torch.tensor([1.0, 3, 4, 1]).log(), torch.tensor([0.25, 0.25, 0.2, 0.1])),
            "a single box, (4,)",
            torch.tensor([0.25, 0.5, 0.5, 0.1]),
        ),
    ]


def _degenerate() -> list[Case]:
    # What moves a side away from its end; from 1 not so far that the rounding of 1 − 1e-5 shows.
    large = torch.tensor([[10.0, -9, 12, -8], [-9, 11, -8, 13], [9, 0, -9, 0], [0, -8, 0, 12]])
    ends = _ends()
    return [
        Case("degenerate", (torch.zeros(0, 4), torch.zeros(0, 4)), "no boxes"),
        Case("degenerate", (torch.zeros(0, 4), torch.zeros(0, 2)), "no points"),
        Case("degenerate", (large, ends), "boxes with sides at 0 and 1, and large deltas"),
        Case(
            "degenerate",
            (large.roll(-1, dims=1), ends[:, 1:3]),
            "points at 0 and 1, and large deltas",
        ),
        Case("degenerate", (torch.zeros(4, 4), ends), "boxes with sides at 0 and 1, deltas of 0"),
    ]


# ---- wrong answers ----


def _inverse(x: Tensor) -> Tensor:
    return x.clamp(EPS, 1 - EPS).logit()


def _refined(
    inverse: Callable[[Tensor], Tensor] = _inverse,
    add: Callable[[Tensor, Tensor], Tensor] = torch.add,
    squash: Callable[[Tensor], Tensor] = torch.sigmoid,
    fill: Callable[[Tensor, Tensor], Tensor] = lambda start, references: torch.zeros_like(start),
    of_box: Callable[[Tensor], Tensor] = lambda start: start,
    finish: Callable[[Tensor], Tensor] = lambda boxes: boxes,
) -> Function:
    """Return the refinement with something changed.

    Args:
        inverse: of the sigmoid.
        add: joins deltas and what lies behind the references.
        squash: makes shares of the sum.
        fill: what stands for the sides of a point, from the inverse and from the point itself.
        of_box: what of the four numbers of a box is used.
        finish: the boxes to what is returned.
    """

    def function(deltas: Tensor, references: Tensor) -> Tensor:
        start = inverse(references)
        if references.shape[-1] == 2:
            start = torch.cat((start, fill(start, references)), dim=-1)
        else:
            start = of_box(start)
        return finish(squash(add(deltas, start)))

    return function


def _with_epsilon(eps: float) -> tuple[Callable[[Tensor], Tensor], ...]:
    return (
        lambda x: x.clamp(eps, 1 - eps).logit(),
        lambda x: ((x + eps) / (1 - x + eps)).log(),
        lambda x: (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log(),
        lambda x: (x / (1 - x + eps) + eps).log(),
    )


def _bare(x: Tensor) -> Tensor:
    return (x / (1 - x)).log()


def _as_boxes_of_pixels(deltas: Tensor, references: Tensor) -> Tensor:
    """Decode as R-CNN does: the centre moves by shares of the side, the side by a factor."""
    if references.shape[-1] == 2:
        sides = torch.ones_like(references)
    else:
        sides = references[..., 2:]
    centre = references[..., :2] + deltas[..., :2] * sides
    return torch.cat((centre, sides * deltas[..., 2:].exp()), dim=-1)


def _centre_of_a_box_alone(start: Tensor) -> Tensor:
    return torch.cat((start[..., :2], torch.zeros_like(start[..., 2:])), dim=-1)


def _sides_of_a_box_alone(start: Tensor) -> Tensor:
    return torch.cat((torch.zeros_like(start[..., :2]), start[..., 2:]), dim=-1)


def _moved(deltas: Tensor, references: Tensor) -> Tensor:
    """Add shares to shares."""
    if references.shape[-1] == 2:
        centre = references + deltas[..., :2]
        return torch.cat((centre, deltas[..., 2:]), dim=-1)
    return references + deltas


def _point_only(deltas: Tensor, references: Tensor) -> Tensor:
    size = references.shape[-1]
    return torch.sigmoid(deltas[..., :size] + _inverse(references))


def _sides_as_they_are(deltas: Tensor, references: Tensor) -> Tensor:
    boxes = refine_boxes(deltas, references)
    if references.shape[-1] == 4:
        return boxes
    return torch.cat((boxes[..., :2], deltas[..., 2:]), dim=-1)


def _sides_by_exp(deltas: Tensor, references: Tensor) -> Tensor:
    boxes = refine_boxes(deltas, references)
    if references.shape[-1] == 4:
        return boxes
    return torch.cat((boxes[..., :2], deltas[..., 2:].exp()), dim=-1)


def _behind_corners(boxes: Tensor) -> Tensor:
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def _detached(deltas: Tensor, references: Tensor) -> Tensor:
    boxes = refine_boxes(deltas, references)
    return torch.cat((boxes[..., :2], boxes[..., 2:].detach()), dim=-1)


MISCONCEPTIONS = (
    # What is added to what.
    Misconception(
        "the delta is added behind the sigmoid, to σ⁻¹(reference); yours is added to the reference "
        "itself, before the sigmoid",
        _refined(inverse=lambda x: x),
    ),
    Misconception(
        "the reference enters by its inverse sigmoid and one sigmoid is taken of the sum; yours "
        "adds σ(delta) to the reference, which leaves [0, 1]",
        lambda deltas, references: _moved(deltas.sigmoid(), references),
    ),
    Misconception(
        "this moves the reference by the delta itself; added behind the sigmoid, σ(delta + "
        "σ⁻¹(reference)), every box stays inside the image",
        _moved,
        lambda deltas, references: _moved(deltas, references).clamp(0, 1),
        lambda deltas, references: (
            torch.cat((_moved(deltas, references)[..., :2], deltas[..., 2:].sigmoid()), dim=-1)
            if references.shape[-1] == 2
            else _moved(deltas, references)
        ),
    ),
    Misconception(
        "the last step is missing: the sum still lies behind the sigmoid, so take the sigmoid of "
        "it",
        _refined(squash=lambda x: x),
    ),
    Misconception(
        "this is σ(delta): the reference does not enter at all",
        lambda deltas, references: deltas.sigmoid(),
    ),
    Misconception(
        "the delta is added; yours is subtracted",
        _refined(add=lambda d, start: start - d),
    ),
    Misconception(
        "the delta is added behind the sigmoid; yours is a factor there",
        _refined(add=torch.mul),
        lambda deltas, references: (
            torch.sigmoid(deltas * torch.nn.functional.pad(_inverse(references), (0, 2), value=1.0))
            if references.shape[-1] == 2
            else torch.sigmoid(deltas * _inverse(references))
        ),
    ),
    Misconception(
        "these are the deltas of R-CNN, in sides of an anchor; here they are added behind the "
        "sigmoid: σ(delta + σ⁻¹(reference))",
        _as_boxes_of_pixels,
    ),
    # The inverse.
    Misconception(
        "the inverse of the sigmoid is ln(x / (1 − x)); yours is upside down",
        _refined(inverse=lambda x: -_inverse(x)),
    ),
    Misconception(
        "the inverse of the sigmoid is ln(x / (1 − x)); yours is ln x alone",
        _refined(inverse=lambda x: x.clamp(min=EPS).log()),
        _refined(inverse=lambda x: x.clamp(EPS, 1 - EPS).log()),
        _refined(inverse=torch.log),
        _refined(inverse=lambda x: (x + EPS).log()),
    ),
    Misconception(
        "the inverse of the sigmoid is ln(x / (1 − x)), not 1 / σ(x)",
        _refined(inverse=lambda x: 1 / x.sigmoid()),
        _refined(inverse=lambda x: 1 / x.clamp(min=EPS)),
    ),
    Misconception(
        "the inverse of the sigmoid is ln(x / (1 − x)): in yours the logarithm is missing",
        _refined(inverse=lambda x: x / (1 - x).clamp(min=EPS)),
        _refined(inverse=lambda x: x.clamp(EPS, 1 - EPS) / (1 - x.clamp(EPS, 1 - EPS))),
        _refined(inverse=lambda x: x.clamp(min=EPS) / (1 - x).clamp(min=EPS)),
    ),
    Misconception(
        "the logarithm is the natural one, torch.log; yours is of another base",
        _refined(inverse=lambda x: _inverse(x) / math.log(10)),
        _refined(inverse=lambda x: _inverse(x) / math.log(2)),
    ),
    Misconception(
        "the reference is a share already: its inverse sigmoid is meant, and yours takes its "
        "sigmoid once more",
        _refined(inverse=torch.sigmoid),
    ),
    Misconception(
        "of 0 and 1 there is no inverse sigmoid: clamp the references to 1e-5 … 1 − 1e-5 first, "
        "or a side at 0 stays there whatever the delta",
        _refined(inverse=_bare),
        _refined(inverse=lambda x: x.log() - (1 - x).log()),
        _refined(inverse=lambda x: -(1 / x - 1).log()),
        _refined(inverse=torch.logit),
        _refined(inverse=lambda x: x.clamp(0, 1).logit()),
    ),
    Misconception(
        "shares count as at least 1e-5 from 0 and from 1; with another epsilon a side at the end "
        "moves by other steps",
        *(
            _refined(inverse=inverse)
            for n in (1e-2, 1e-3, 1e-4, 1e-6, 1e-7, 1e-8)
            for inverse in _with_epsilon(n)
        ),
    ),
    Misconception(
        "the share itself is clamped, both at 1e-5 and at 1 − 1e-5; yours is clamped on one side",
        _refined(inverse=lambda x: (x.clamp(min=EPS) / (1 - x)).log()),
        _refined(inverse=lambda x: (x / (1 - x).clamp(min=EPS)).log()),
        _refined(inverse=lambda x: (x / (1 - x + EPS)).log()),
        _refined(inverse=lambda x: ((x + EPS) / (1 - x)).log()),
        _refined(inverse=lambda x: x.clamp(min=EPS).logit()),
        _refined(inverse=lambda x: x.clamp(max=1 - EPS).logit()),
    ),
    # Points.
    Misconception(
        "of a point width and height are σ(delta) alone: nothing is added to their deltas, and "
        "0 is not the share 0, whose inverse sigmoid is −11.5",
        _refined(fill=lambda start, references: _inverse(torch.zeros_like(start))),
    ),
    Misconception(
        "a point says nothing of width and height, which are σ(delta) alone; yours starts them "
        "from x and y",
        _refined(fill=lambda start, references: start),
    ),
    Misconception(
        "a point says nothing of width and height, which are σ(delta) alone; yours starts them "
        "from a share of 1",
        _refined(fill=lambda start, references: _inverse(torch.ones_like(start))),
        _refined(fill=lambda start, references: torch.ones_like(start)),
    ),
    Misconception(
        "of a point, too, four numbers come back: σ(delta) for width and height; yours are x and "
        "y alone",
        _point_only,
    ),
    Misconception(
        "of a point width and height are σ(delta); yours are the deltas as they are",
        _sides_as_they_are,
    ),
    Misconception(
        "of a point width and height are σ(delta); yours are exp(delta), which is no share",
        _sides_by_exp,
    ),
    Misconception(
        "a box has four numbers to start from: yours takes its centre alone and forgets width and "
        "height",
        _refined(of_box=_centre_of_a_box_alone),
        lambda deltas, references: refine_boxes(deltas, references[..., :2]),
    ),
    Misconception(
        "a box has four numbers to start from: yours takes its width and height alone",
        _refined(of_box=_sides_of_a_box_alone),
    ),
    Misconception(
        "the centre comes first, (x, y, width, height); yours adds the point to width and height",
        lambda deltas, references: (
            torch.sigmoid(deltas + torch.nn.functional.pad(_inverse(references), (2, 0)))
            if references.shape[-1] == 2
            else refine_boxes(deltas, references)
        ),
    ),
    # The result.
    Misconception(
        "return boxes as centre, width and height, as they are given; yours are corners",
        _refined(finish=_behind_corners),
    ),
    Misconception(
        "the boxes are to be learned by the deltas, all four numbers; in yours width and height "
        "are detached",
        _detached,
    ),
)

# ---- what else can be said ----

ONLY_BOXES = (
    "references may be points, (..., 2): then only the first two deltas have something to be added "
    "to, and width and height are σ(delta)"
)
ONLY_POINTS = (
    "references may be boxes, (..., 4): then each of the four deltas has a number to be added to"
)


def _clue(asked: Asked) -> str:
    """Say which kind of reference was forgotten, if the other kind is answered rightly."""
    ends = [
        {
            case.args[1].shape[-1]
            for case, found in zip(asked.cases, asked.faults)
            if bool(found) is w
        }
        for w in (True, False)
    ]
    if ends == [{2}, {2, 4}] or ends == [{2}, {4}]:
        return ONLY_BOXES
    return ONLY_POINTS if ends == [{4}, {2, 4}] or ends == [{4}, {2}] else ""


# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the box that is wrong with what lies behind its sigmoid."""
    deltas, references = case.args
    if not found.index or deltas.numel() == 0:
        return ""
    place = found.index[: deltas.ndim - 1]
    at = f"[{', '.join(map(str, place))}]" if place else ""
    behind = inverse_sigmoid(references[place])
    return (
        f"deltas{at} = {written(deltas[place])}, references{at} = {written(references[place])}, "
        f"whose inverse sigmoid is {written(behind)}"
    )


REFINE_BOXES = Exercise(
    number="5.5",
    name="refine_boxes",
    reference=refine_boxes,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the boxes",),
    narrow=_show,
    clue=_clue,
    solution=(inverse_sigmoid, refine_boxes),
)
