"""Exercise 5.6: where deformable attention looks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.diagnosis import Asked
from detlearn.nets.deformable_attention import sampling_locations

Function = Callable[[Tensor, Tensor, Tensor], Tensor]

HEADS = 3

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    points = _random(2, 3, 2, 4, random)
    boxes = _random(2, 3, 2, 4, random, boxes=True)
    # As many levels as points, heads or queries, where what is mixed up has the right shape.
    square = _random(1, 3, 3, 3, random)
    square_boxes = _random(1, 3, 3, 3, random, boxes=True)

    values = [
        Case("random", points, "points of 3 queries on two levels"),
        Case("random", boxes, "boxes of 3 queries on two levels"),
        Case("random", square, "points, as many levels as heads, queries and places each"),
        Case("random", square_boxes, "boxes, as many levels as heads, queries and places each"),
        Case("random", _random(1, 2, 1, 3, random, boxes=True), "boxes and a single level"),
    ]

    references, offsets, sizes = points
    properties = [
        Case("property", (references, offsets.flip(-2), sizes), "the places in another order"),
        Case(
            "property",
            (references.flip(-1), offsets.flip(-1), sizes.flip(-1)),
            "x and y exchanged, and width and height",
        ),
        Case(
            "property",
            (boxes[0], boxes[1], 3 * boxes[2]),
            "boxes, on maps of three times as many cells",
        ),
    ]

    gradients = [
        Case("gradient", points, "points", gradient=True, differentiated=(0, 1)),
        Case("gradient", boxes, "boxes", gradient=True, differentiated=(0, 1)),
        Case("gradient", boxes, "boxes, the references' gradient", gradient=True),
    ]

    growing = []
    for n in (2, 40):
        growing.append(Case("no loop", _random(1, n, 2, 2, random), f"{n} queries", size=n))
    return [*_by_hand(), *_degenerate(points), *values, *properties, *gradients, *growing]


def _random(
    batch: int, queries: int, levels: int, number: int, random: torch.Generator, boxes: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Return references, offsets and sizes; height and width differ on every level."""
    references = torch.rand(batch, queries, levels, 4 if boxes else 2, generator=random)
    offsets = 2 * torch.randn(batch, queries, HEADS, levels, number, 2, generator=random)
    sizes = torch.tensor([[6, 10], [3, 5], [8, 4]])[:levels]
    return references, offsets, sizes


def _by_hand() -> list[Case]:
    def of(
        reference: list[float],
        offsets: list[list[float]],
        size: list[int],
        wanted: list[list[float]],
        note: str,
    ) -> Case:
        number = len(offsets)
        args = (
            torch.tensor(reference).view(1, 1, 1, -1),
            torch.tensor(offsets).view(1, 1, 1, 1, number, 2),
            torch.tensor([size]),
        )
        return Case("by hand", args, note, torch.tensor(wanted).view(1, 1, 1, 1, number, 2))

    two_levels = Case(
        "by hand",
        (
            torch.tensor([0.5, 0.5, 0.25, 0.75]).view(1, 1, 2, 2),
            torch.tensor([[1.0, -1], [2, 1]]).view(1, 1, 1, 2, 1, 2),
            torch.tensor([[4, 8], [2, 4]]),
        ),
        "a point on two maps, 4 × 8 and 2 × 4",
        torch.tensor([[0.625, 0.25], [0.75, 1.25]]).view(1, 1, 1, 2, 1, 2),
    )
    return [
        of(
            [0.5, 0.25],
            [[0.0, 0], [2, 0], [0, 1]],
            [4, 8],
            [[0.5, 0.25], [0.75, 0.25], [0.5, 0.5]],
            "a point on a map of 4 rows and 8 columns",
        ),
        of(
            [0.125, 0.75],
            [[-2.0, -1], [0.5, 2]],
            [4, 8],
            [[-0.125, 0.5], [0.1875, 1.25]],
            "a point at the border, with places outside",
        ),
        two_levels,
        # P = 2: an offset of 2 reaches a side.
        of(
            [0.5, 0.5, 0.25, 0.5],
            [[2.0, 0], [-1, 2]],
            [4, 8],
            [[0.625, 0.5], [0.4375, 0.75]],
            "a box, and two places",
        ),
        # P = 4
        of(
            [0.25, 0.5, 0.5, 1.0],
            [[4.0, 0], [0, -4], [2, 2], [-1, 0]],
            [5, 5],
            [[0.5, 0.5], [0.25, 0], [0.375, 0.75], [0.1875, 0.5]],
            "a box, and four places",
        ),
    ]


def _degenerate(points: tuple[Tensor, Tensor, Tensor]) -> list[Case]:
    references, offsets, sizes = points
    flat = torch.cat((references, torch.zeros_like(references)), dim=-1)
    one = torch.ones_like(sizes)
    return [
        Case("degenerate", (references, 0 * offsets, sizes), "offsets of 0"),
        Case("degenerate", (flat, offsets, sizes), "boxes without width and height"),
        Case("degenerate", (references, offsets, one), "maps of a single cell"),
        Case("degenerate", (references[:, :0], offsets[:, :0], sizes), "no queries"),
    ]


# ---- wrong answers ----


def _placed(references: Tensor) -> Tensor:
    """Bring (B, Q, L, ·) to (B, Q, 1, L, 1, ·)."""
    return references[:, :, None, :, None]


def _cells(sizes: Tensor) -> Tensor:
    """Return width and height of each level, (L, 1, 2)."""
    return sizes.flip(-1)[:, None]


def _by_points(offsets: Tensor, size: Tensor) -> Tensor:
    return offsets / offsets.shape[-2] * size * 0.5


def _located(
    place: Callable[[Tensor], Tensor] = _placed,
    cells: Callable[[Tensor], Tensor] = _cells,
    of_point: Callable[[Tensor, Tensor], Tensor] = torch.div,
    of_box: Callable[[Tensor, Tensor], Tensor] = _by_points,
    centre: Callable[[Tensor], Tensor] = lambda box: box[..., :2],
    move: Callable[[Tensor, Tensor], Tensor] = torch.add,
    finish: Callable[[Tensor], Tensor] = lambda locations: locations,
) -> Function:
    """Return the locations with something changed.

    Args:
        place: the references (B, Q, L, ·) beside the offsets.
        cells: of the sizes (L, 2), by which offsets from a point are divided.
        of_point: offsets and cells to shares of the image.
        of_box: offsets and the box's width and height to shares of the image.
        centre: of boxes (…, 4).
        move: joins the reference and the shares.
        finish: the locations to what is returned.
    """

    def function(references: Tensor, offsets: Tensor, sizes: Tensor) -> Tensor:
        placed = place(references)
        if references.shape[-1] == 2:
            return finish(move(placed, of_point(offsets, cells(sizes))))
        return finish(move(centre(placed), of_box(offsets, placed[..., 2:])))

    return function


def _of_first_level(references: Tensor) -> Tensor:
    return references[:, :, None, :1, None]


def _levels_for_heads(references: Tensor) -> Tensor:
    return references[:, :, :, None, None]


def _levels_for_points(references: Tensor) -> Tensor:
    return references[:, :, None, None, :]


def _aligned_at_the_end(references: Tensor) -> Tensor:
    return references[:, :, None]


def _box_as_point(references: Tensor, offsets: Tensor, sizes: Tensor) -> Tensor:
    return sampling_locations(references[..., :2], offsets, sizes)


MISCONCEPTIONS = (
    # The map's size.
    Misconception(
        "sizes hold height and width, offsets x and y: x is divided by the width; yours are "
        "exchanged, which shows on maps that are not square alone",
        _located(cells=lambda sizes: sizes[:, None]),
    ),
    Misconception(
        "an offset from a point is counted in cells of the level: divide it by (W, H) to make it a "
        "share of the image",
        _located(of_point=lambda offsets, cells: offsets),
    ),
    Misconception(
        "an offset from a point is counted in cells, which are shares of 1 / W and 1 / H: divide "
        "by (W, H), yours multiplies",
        _located(of_point=torch.mul),
    ),
    Misconception(
        "every level has its own width and height; yours divides all of them by the first's",
        _located(cells=lambda sizes: _cells(sizes)[:1]),
    ),
    Misconception(
        "every level has its own width and height; yours divides all of them by the largest or the "
        "last",
        _located(cells=lambda sizes: sizes.flip(-1).amax(dim=0)),
        _located(cells=lambda sizes: _cells(sizes)[-1:]),
    ),
    Misconception(
        "x is divided by the width and y by the height; yours divides both by one of them",
        _located(cells=lambda sizes: sizes[:, None, 1:]),
        _located(cells=lambda sizes: sizes[:, None, :1]),
        _located(cells=lambda sizes: sizes.amax(dim=-1)[:, None, None]),
    ),
    Misconception(
        "a map of W cells is W of them wide: divide by W; yours divides by W − 1",
        _located(cells=lambda sizes: _cells(sizes) - 1),
        _located(cells=lambda sizes: (_cells(sizes) - 1).clamp(min=1)),
    ),
    Misconception(
        "offsets are no whole numbers: the quotient keeps its fraction",
        _located(of_point=lambda offsets, cells: torch.div(offsets, cells, rounding_mode="floor")),
        _located(of_point=lambda offsets, cells: torch.div(offsets, cells, rounding_mode="trunc")),
    ),
    # Boxes.
    Misconception(
        "from a box an offset is counted in shares of the box, / P · (w, h) / 2; yours takes the "
        "box for a point and forgets width and height",
        _box_as_point,
    ),
    Misconception(
        "an offset of P is to reach from the box's centre to its side: the division by P is "
        "missing",
        _located(of_box=lambda offsets, size: offsets * size * 0.5),
    ),
    Misconception(
        "from the centre to a side it is half the width or height: the factor ½ is missing",
        _located(of_box=lambda offsets, size: offsets / offsets.shape[-2] * size),
    ),
    Misconception(
        "an offset of P is to reach from the box's centre to its side, / P · (w, h) / 2; yours is "
        "offset · (w, h)",
        _located(of_box=torch.mul),
    ),
    Misconception(
        "P is the number of places, offsets.shape[-2]; yours is always 4",
        _located(of_box=lambda offsets, size: offsets / 4 * size * 0.5),
    ),
    Misconception(
        "P is the number of places of a head on a level, offsets.shape[-2]; yours is that of all "
        "levels together",
        _located(
            of_box=lambda offsets, size: (
                offsets / (offsets.shape[-2] * offsets.shape[-3]) * size * 0.5
            )
        ),
    ),
    Misconception(
        "P is the number of places, offsets.shape[-2]; yours divides by the number of heads or of "
        "levels",
        _located(of_box=lambda offsets, size: offsets / offsets.shape[2] * size * 0.5),
        _located(of_box=lambda offsets, size: offsets / offsets.shape[3] * size * 0.5),
    ),
    Misconception(
        "from a box an offset is multiplied with its width and height; yours is divided by them",
        _located(of_box=lambda offsets, size: offsets / offsets.shape[-2] / size * 0.5),
        _located(of_box=lambda offsets, size: offsets / size),
    ),
    Misconception(
        "from a box an offset is counted in shares of the box alone; yours is divided by the map's "
        "width and height as well",
        lambda references, offsets, sizes: (
            _located()(references, offsets / _cells(sizes), sizes)
            if references.shape[-1] == 4
            else _located()(references, offsets, sizes)
        ),
    ),
    Misconception(
        "boxes are given by their centre, width and height; yours starts from the upper left "
        "corner",
        _located(centre=lambda box: box[..., :2] - box[..., 2:] / 2),
    ),
    Misconception(
        "boxes are given by their centre, width and height; yours takes them for two corners",
        lambda references, offsets, sizes: (
            _placed((references[..., :2] + references[..., 2:]) / 2)
            + _by_points(offsets, _placed(references[..., 2:] - references[..., :2]))
            if references.shape[-1] == 4
            else _located()(references, offsets, sizes)
        ),
    ),
    # Which reference.
    Misconception(
        "every level has its own reference; yours takes the first level's for all",
        _located(place=_of_first_level),
    ),
    Misconception(
        "the references' third dimension is the level, the offsets' third is the head: give the "
        "references a dimension for the heads, references[:, :, None]",
        _located(place=_levels_for_heads),
        _located(place=lambda references: references[..., None, None, :]),
    ),
    Misconception(
        "a reference belongs to a level and serves all its places; yours stands beside the places: "
        "references[:, :, None, :, None]",
        _located(place=_levels_for_points),
        _located(place=_aligned_at_the_end),
    ),
    Misconception(
        "an offset is added to its reference, and the reference is missing in yours",
        _located(move=lambda reference, shares: shares),
    ),
    Misconception(
        "the offset is added to the reference; yours is subtracted",
        _located(move=torch.sub),
    ),
    # The result.
    Misconception(
        "a place may lie outside the image, where the map reads as 0; yours is clamped to [0, 1], "
        "and its gradient is lost there",
        _located(finish=lambda locations: locations.clamp(0, 1)),
    ),
    Misconception(
        "return shares of the image, 0 … 1; yours are turned into grid_sample's −1 … 1 already",
        _located(finish=lambda locations: 2 * locations - 1),
    ),
    Misconception(
        "references are shares of the image, in which no half cell is to be added or subtracted",
        lambda references, offsets, sizes: _located()(references, offsets + 0.5, sizes),
        lambda references, offsets, sizes: _located()(references, offsets - 0.5, sizes),
        _located(of_point=lambda offsets, cells: (offsets + 0.5) / cells),
        _located(of_point=lambda offsets, cells: (offsets - 0.5) / cells),
    ),
    Misconception(
        "return x and y in this order, as the offsets have them; yours are exchanged",
        _located(finish=lambda locations: locations.flip(-1)),
    ),
    Misconception(
        "return shares of the image; yours are counted in cells",
        lambda references, offsets, sizes: _located()(references, offsets, sizes) * _cells(sizes),
    ),
    Misconception(
        "return (B, Q, heads, L, P, 2), as the offsets; in yours levels and places are one "
        "dimension",
        _located(finish=lambda locations: locations.flatten(3, 4)),
    ),
    Misconception(
        "offsets are learned, by the gradient that comes back through the places; in yours they "
        "are detached",
        lambda references, offsets, sizes: _located()(references, offsets.detach(), sizes),
    ),
)

# ---- what else can be said ----

ONLY_BOXES = "references may be points, (B, Q, L, 2): then offsets are divided by (W, H)"
ONLY_POINTS = (
    "references may be boxes, (B, Q, L, 4): then offsets are counted in shares of the box, "
    "/ P · (w, h) / 2"
)


def _clue(asked: Asked) -> str:
    """Say which kind of reference was forgotten, if the other kind is answered rightly."""
    ends = [
        {
            case.args[0].shape[-1]
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
    """Return reference, offset and size of the place that is wrong."""
    references, offsets, sizes = case.args
    if len(found.index) != 6 or found.kind == "gradient":
        return ""
    b, q, head, level, point, _ = found.index
    return (
        f"references[{b}, {q}, {level}] = {written(references[b, q, level])}, "
        f"offsets[{b}, {q}, {head}, {level}, {point}] = "
        f"{written(offsets[b, q, head, level, point])}, sizes[{level}] = {written(sizes[level])}, "
        f"P = {offsets.shape[-2]}"
    )


SAMPLING_LOCATIONS = Exercise(
    number="5.6",
    name="sampling_locations",
    reference=sampling_locations,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the locations",),
    narrow=_show,
    clue=_clue,
    counted="queries",
)
