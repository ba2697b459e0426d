"""Exercise 2.1: anchors in the middle of every cell of a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from detlearn.anchors import make_anchors
from detlearn.check.boxes import Drawing, boxes_of
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case, Fault

Pair = tuple[Tensor, Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    sizes = tuple((20 + 100 * torch.rand(3, generator=random)).tolist())
    double = tuple(2 * size for size in sizes)

    tall = tuple((1.2 + 2 * torch.rand(2, generator=random)).tolist())
    ratios = (0.6, *tall)

    return [
        *_by_hand(),
        Case("degenerate", (2, 3, 16, (32, 64), (1, 4)), "sizes and ratios that are whole numbers"),
        Case("degenerate", (1, 1, 5, (9.0,), (1.0,)), "a single cell, a stride and a size odd"),
        Case("random", (3, 5, 16, sizes, ratios), "3 × 5 cells with 9 anchors each"),
        Case("random", (6, 2, 8, sizes[:2], ratios), "6 × 2 cells with 6 anchors each"),
        Case("random", (4, 4, 12, sizes, ratios[:2]), "4 × 4 cells with 6 anchors each"),
        Case("random", (2, 3, 7, sizes[1:], tall), "2 × 3 cells of 7 pixels with 4 anchors each"),
        Case("random", (5, 6, 4, sizes[:1], tall), "5 × 6 cells of 4 pixels with 2 anchors each"),
        Case("property", (3, 5, 32, double, ratios), "the same, twice as large"),
        Case("property", (3, 5, 16, sizes[::-1], ratios[::-1]), "the lists turned round"),
        # Counted by rows, so that a loop over rows alone shows as well.
        *(
            Case("no loop", (n, n, 16, (32.0, 50.0), (0.5, 1.0, 2.0)), f"{n} × {n} cells", size=n)
            for n in (4, 16)
        ),
    ]


def _by_hand() -> list[Case]:
    # A single anchor: its place and its shape.
    one_anchor = [
        Case(
            "by hand",
            (1, 1, 16, (32.0,), (1.0,)),
            "one cell with one square anchor",
            boxes_of((-8, -8, 24, 24)),
        ),
        Case(
            "by hand",
            (1, 1, 16, (32.0,), (4.0,)),
            "one cell with an anchor of ratio 4, which is tall",
            boxes_of((0, -24, 16, 40)),
        ),
    ]

    # The order of the cells.
    several_cells = [
        Case(
            "by hand",
            (1, 2, 16, (32.0,), (1.0,)),
            "two cells side by side",
            boxes_of((-8, -8, 24, 24), (8, -8, 40, 24)),
        ),
        Case(
            "by hand",
            (2, 2, 10, (10.0,), (1.0,)),
            "two rows of two cells",
            boxes_of((0, 0, 10, 10), (10, 0, 20, 10), (0, 10, 10, 20), (10, 10, 20, 20)),
        ),
    ]

    # The order of the shapes.
    several_shapes = Case(
        "by hand",
        (1, 1, 16, (8.0, 16.0), (0.25, 4.0)),
        "one cell with two sizes and two ratios",
        boxes_of((0, 6, 16, 10), (-8, 4, 24, 12), (6, 0, 10, 16), (4, -8, 12, 24)),
    )

    # Nothing is rounded.
    with_fractions = Case(
        "by hand",
        (1, 1, 16, (20.0,), (0.5,)),
        "one cell with an anchor of ratio 1/2, whose sides are no whole numbers",
        boxes_of((8 - 200**0.5, 8 - 50**0.5, 8 + 200**0.5, 8 + 50**0.5)),
    )

    return [*one_anchor, *several_cells, several_shapes, with_fractions]


# ---- wrong answers ----


def _shape(s: Tensor, r: Tensor) -> Pair:
    return s / r.sqrt(), s * r.sqrt()


def _middle(i: Tensor, j: Tensor, stride: float) -> Pair:
    return (j + 0.5) * stride, (i + 0.5) * stride


def _around(x: Tensor, y: Tensor, w: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _made(
    shape: Callable[[Tensor, Tensor], Pair] = _shape,
    centre: Callable[[Tensor, Tensor, float], Pair] = _middle,
    box: Callable[..., tuple[Tensor, ...]] = _around,
    order: str = "ijrs",
) -> Callable[..., Tensor]:
    """Return making anchors with something changed.

    Args:
        shape: gives width and height of a size and a ratio.
        centre: gives x and y of a row, a column and the stride.
        box: gives the four numbers of x, y, width and height.
        order: which of row i, column j, ratio r and size s changes last, …, fastest.
    """

    def function(
        height: int,
        width: int,
        stride: float,
        sizes: Sequence[float],
        aspect_ratios: Sequence[float],
    ) -> Tensor:
        rows = torch.arange(float(height))
        columns = torch.arange(float(width))
        ratios = torch.tensor(aspect_ratios).float()
        lengths = torch.tensor(sizes).float()

        # One entry for each anchor, (H, W, R, S).
        i, j, r, s = torch.meshgrid(rows, columns, ratios, lengths, indexing="ij")
        x, y = centre(i, j, stride)
        w, h = shape(s, r)
        boxes = torch.stack([n.float() for n in box(x, y, w, h)], dim=-1)  # (H, W, R, S, 4)

        return boxes.permute(*("ijrs".index(axis) for axis in order), 4).reshape(-1, 4)

    return function


def _halves_rounded_down(x: Tensor, y: Tensor, w: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    return x - w // 2, y - h // 2, x + w // 2, y + h // 2


def _clipped_to_the_map(height: int, width: int, stride: float, *lists: Sequence[float]) -> Tensor:
    anchors = make_anchors(height, width, stride, *lists)
    limits = torch.tensor([width, height, width, height]) * float(stride)
    return torch.minimum(anchors.clamp(min=0), limits)


def _keeps_the_grid(
    height: int, width: int, stride: float, sizes: Sequence[float], ratios: Sequence[float]
) -> Tensor:
    anchors = make_anchors(height, width, stride, sizes, ratios)
    return anchors.view(height, width, len(sizes) * len(ratios), 4)


def _in_pairs(
    height: int, width: int, stride: float, sizes: Sequence[float], ratios: Sequence[float]
) -> Tensor:
    """Take the first size with the first ratio, the second with the second."""
    count = min(len(sizes), len(ratios))
    anchors = make_anchors(height, width, stride, sizes, ratios)
    anchors = anchors.view(height * width, len(ratios), len(sizes), 4)
    return anchors[:, range(count), range(count)].reshape(-1, 4)


def _repeated_as_a_whole(
    height: int, width: int, stride: float, sizes: Sequence[float], ratios: Sequence[float]
) -> Tensor:
    """Repeat the centres and the shapes both in the order 0, 1, 2, 0, 1, 2."""
    cells = height * width
    shapes = len(sizes) * len(ratios)
    anchors = make_anchors(height, width, stride, sizes, ratios).view(cells, shapes, 4)

    k = torch.arange(cells * shapes)
    return anchors[k % cells, k % shapes]


def _sizes_times_stride(
    height: int, width: int, stride: float, sizes: Sequence[float], ratios: Sequence[float]
) -> Tensor:
    return make_anchors(height, width, stride, [size * stride for size in sizes], ratios)


def _counted_in_pixels(height: int, width: int, stride: float, *lists: Sequence[float]) -> Tensor:
    """Take height and width for the image's, so that arange(0, width, stride) gives the columns."""
    rows, columns = (len(torch.arange(0, cells, stride)) for cells in (height, width))
    return make_anchors(rows, columns, stride, *lists)


def _from_border_to_border(
    height: int, width: int, stride: float, *lists: Sequence[float]
) -> Tensor:
    """Spread the centres evenly over the map, the first at 0 and the last at its end."""

    def centre(i: Tensor, j: Tensor, stride: float) -> Pair:
        x = torch.linspace(0, width * stride, width)[j.long()]
        y = torch.linspace(0, height * stride, height)[i.long()]
        return x, y

    return _made(centre=centre)(height, width, stride, *lists)


MISCONCEPTIONS = (
    # Width and height.
    Misconception(
        "width and height are exchanged: the ratio is height / width, so ratio 2 is a tall "
        "box; the width is s / √r and the height s · √r",
        _made(shape=lambda s, r: (s * r.sqrt(), s / r.sqrt())),
    ),
    Misconception(
        "the root is missing: with s / r and s · r the ratio becomes r²; it is s / √r and s · √r",
        _made(shape=lambda s, r: (s / r, s * r)),
    ),
    Misconception(
        "the root of the ratio is missing in the width: it is s / √r, so that the area stays s²",
        _made(shape=lambda s, r: (s / r, s * r.sqrt())),
    ),
    Misconception(
        "the root of the ratio is missing in the height: it is s · √r, so that the area stays s²",
        _made(shape=lambda s, r: (s / r.sqrt(), s * r)),
    ),
    Misconception(
        "width and height are exchanged and the root is missing: the width is s / √r, the "
        "height s · √r",
        _made(shape=lambda s, r: (s * r, s / r)),
    ),
    Misconception(
        "an anchor of size s has area s² whatever its ratio: the width must change as well, s / √r",
        _made(shape=lambda s, r: (s, s * r)),
        _made(shape=lambda s, r: (s, s * r.sqrt())),
    ),
    Misconception(
        "an anchor of size s has area s² whatever its ratio: the height must change as well, "
        "s · √r",
        _made(shape=lambda s, r: (s / r, s)),
        _made(shape=lambda s, r: (s / r.sqrt(), s)),
    ),
    Misconception(
        "an anchor of size s has area s² whatever its ratio, and the ratio is height / width; "
        "in yours only the width changes, and the wrong way",
        _made(shape=lambda s, r: (s * r, s)),
        _made(shape=lambda s, r: (s * r.sqrt(), s)),
    ),
    Misconception(
        "all your anchors are squares: the width is s / √r, the height s · √r",
        _made(shape=lambda s, r: (s, s)),
    ),
    Misconception(
        "the size is the side of a square of the same area, s; you take it for the area",
        _made(shape=lambda s, r: ((s / r).sqrt(), (s * r).sqrt())),
    ),
    Misconception(
        "sizes are pixels of the image already; do not multiply them by the stride",
        _sizes_times_stride,
    ),
    # The centre.
    Misconception(
        "anchors stand in the middle of their cell, at (j + ½) · stride; yours stand at its "
        "upper left corner",
        _made(centre=lambda i, j, stride: (j * stride, i * stride)),
    ),
    Misconception(
        "anchors stand in the middle of their cell in both directions; in yours the half is "
        "missing in one: ((j + ½) · stride, (i + ½) · stride)",
        _made(centre=lambda i, j, stride: ((j + 0.5) * stride, i * stride)),
        _made(centre=lambda i, j, stride: (j * stride, (i + 0.5) * stride)),
    ),
    Misconception(
        "the stride is missing in one direction: ((j + ½) · stride, (i + ½) · stride)",
        _made(centre=lambda i, j, stride: ((j + 0.5) * stride, i + 0.5)),
        _made(centre=lambda i, j, stride: (j + 0.5, (i + 0.5) * stride)),
    ),
    Misconception(
        "half of an odd stride is no whole number: stride / 2, not stride // 2",
        _made(centre=lambda i, j, s: (j * s + s // 2, i * s + s // 2)),
    ),
    Misconception(
        "the middle is half a cell from its corner, not half a pixel: (j + ½) · stride",
        _made(centre=lambda i, j, stride: (j * stride + 0.5, i * stride + 0.5)),
    ),
    Misconception(
        "the middle lies half a cell after the cell's corner, at (j + ½) · stride; yours lies half "
        "a cell before it",
        _made(centre=lambda i, j, stride: ((j - 0.5) * stride, (i - 0.5) * stride)),
    ),
    Misconception(
        "cells are counted from 0, so the first centre is at ½ · stride; yours stand at the "
        "lower right corner of their cell",
        _made(centre=lambda i, j, stride: ((j + 1) * stride, (i + 1) * stride)),
    ),
    Misconception(
        "the centres lie a stride apart, the first at ½ · stride; yours are spread from border to "
        "border",
        _from_border_to_border,
    ),
    Misconception(
        "the stride is missing: cell (i, j) is at ((j + ½) · stride, (i + ½) · stride) of the "
        "image",
        _made(centre=lambda i, j, stride: (j + 0.5, i + 0.5)),
    ),
    Misconception(
        "x and y are exchanged: the column j gives x, the row i gives y",
        _made(centre=lambda i, j, stride: ((i + 0.5) * stride, (j + 0.5) * stride)),
    ),
    Misconception(
        "height counts the rows and width the columns; yours are exchanged",
        lambda height, width, *rest: make_anchors(width, height, *rest),
    ),
    Misconception(
        "height and width are counted in cells already, arange(height) and arange(width); yours "
        "are counted in pixels, a stride at a time",
        _counted_in_pixels,
    ),
    # The order.
    Misconception(
        "the order is row by row: the column changes faster than the row", _made(order="jirs")
    ),
    Misconception(
        "at each cell the order is ratio by ratio, and within a ratio size by size",
        _made(order="ijsr"),
    ),
    Misconception(
        "the order is cell by cell: all anchors of a cell stand together, as a network predicts "
        "them",
        *(_made(order=order) for order in ("rsij", "srij", "rsji", "rijs", "sijr")),
    ),
    Misconception(
        "every cell has every shape: of two repeated lists one is repeated element by element "
        "(repeat_interleave); in yours both are repeated as a whole",
        _repeated_as_a_whole,
    ),
    # What is left alone.
    Misconception(
        "the corners are not rounded; rounding changes the ratio of small anchors",
        lambda *args: make_anchors(*args).round(),
        _made(shape=lambda s, r: tuple(side.round() for side in _shape(s, r))),
        _made(box=_halves_rounded_down),
    ),
    Misconception(
        "the anchors are not clipped; those that cross the border stay as they are",
        lambda *args: make_anchors(*args).clamp(min=0),
        _clipped_to_the_map,
    ),
    # The corners.
    Misconception(
        "from the centre it is half the width to either side; yours goes a whole one",
        _made(box=lambda x, y, w, h: (x - w, y - h, x + w, y + h)),
    ),
    Misconception(
        "the centre is not the corner: go half the width back, x − w / 2, and half forth",
        _made(box=lambda x, y, w, h: (x, y, x + w, y + h)),
    ),
    Misconception(
        "these are centre and size; return corners x1, y1, x2, y2",
        _made(box=lambda x, y, w, h: (x, y, w, h)),
    ),
    Misconception(
        "these are corner and size; return corners x1, y1, x2, y2",
        _made(box=lambda x, y, w, h: (x - w / 2, y - h / 2, w, h)),
    ),
    Misconception(
        "the order of the corners is x1, y1, x2, y2; yours is x1, x2, y1, y2",
        _made(box=lambda x, y, w, h: (x - w / 2, x + w / 2, y - h / 2, y + h / 2)),
    ),
    Misconception(
        "the order of the corners is x1, y1, x2, y2; yours begins with y",
        _made(box=lambda x, y, w, h: (y - h / 2, x - w / 2, y + h / 2, x + w / 2)),
    ),
    # How many there are.
    Misconception(
        "each size goes with each ratio; yours uses the first size alone",
        lambda height, width, stride, sizes, ratios: make_anchors(
            height, width, stride, sizes[:1], ratios
        ),
    ),
    Misconception(
        "each size goes with each ratio, which makes S · R anchors at a cell; yours are taken "
        "in pairs",
        _in_pairs,
    ),
    Misconception(
        "return one list of boxes, (height · width · A, 4); flatten the dimensions before the last",
        _keeps_the_grid,
    ),
    Misconception(
        "these are the anchors of one cell; put them at every cell of the map",
        lambda height, width, *rest: make_anchors(1, 1, *rest),
    ),
)

# ---- how it is shown ----


def _draw(case: Case, found: Fault) -> Drawing:
    height, width, stride, sizes, ratios = case.args
    if height * width > 8 or found.kind != "value":
        return []

    at = found.index[0]
    row, column = divmod(at // (len(sizes) * len(ratios)), width)
    cell = torch.tensor([column, row, column + 1, row + 1]) * float(stride)
    anchor = make_anchors(*case.args)[at]
    return [(cell, "its cell", "c"), (anchor, f"anchor {at}, expected", "a")]


MAKE_ANCHORS = Exercise(
    number="2.1",
    name="make_anchors",
    reference=make_anchors,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the anchor",),
    draw=_draw,
    counted="rows and columns",
)
