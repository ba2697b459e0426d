"""Exercise 2.8: read a feature map between its cells, as RoIAlign does."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case, Fault
from detlearn.roi import bilinear_sample

Function = Callable[[Tensor, Tensor, Tensor], Tensor]
Axis = tuple[Tensor, Tensor, Tensor]  # the cell before, the cell after, how far from the first

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    features = torch.randn(3, 5, 7, generator=random)
    inside = _positions(40, (7, 5), 0.0, random)
    around = _positions(60, (7, 5), 2.0, random)
    many = _positions(64, (7, 5), 0.0, random)
    few = tuple(values[:8] for values in many)

    # The middle of every cell, and a map whose value at (x, y) is known.
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    ramp = (columns + 10 * rows)[None]

    single = torch.randn(2, 1, 1, generator=random)
    beside = torch.tensor([0.0, -0.5, 0.7, 1.5, 1.0, -1.0, -1.25])

    return [
        *_inside_by_hand(),
        *_outside_by_hand(),
        Case("degenerate", (features, torch.zeros(0), torch.zeros(0)), "no positions"),
        Case("degenerate", (features, columns.flatten(), rows.flatten()), "every cell itself"),
        Case("degenerate", (single, beside, torch.zeros(7)), "a map of a single cell"),
        Case("random", (features, *inside), "40 positions inside a map of 5 × 7"),
        Case("random", (features, *around), "60 positions inside and around a map of 5 × 7"),
        Case("random", (features.mT, *around[::-1]), "60 positions in and around a map of 7 × 5"),
        Case("property", (ramp, *inside), "a map that rises evenly: the values are x + 10 y"),
        Case("property", (features * 9, *inside), "the same map times nine"),
        Case("gradient", (features, *inside), "40 positions inside a map of 5 × 7", gradient=True),
        Case("gradient", (features, *around), "60 positions in and around it", gradient=True),
        Case("no loop", (features, *few), "8 positions", size=8),
        Case("no loop", (features, *many), "64 positions", size=64),
    ]


def _positions(
    number: int, size: tuple[int, int], margin: float, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return random x and y (number,) from −margin to the last cell + margin."""
    return tuple(
        torch.rand(number, generator=random) * (cells - 1 + 2 * margin) - margin for cells in size
    )


def _case(x: list[float], y: list[float], note: str, answer: list[float]) -> Case:
    """Make a case by hand on a map of two rows and three columns."""
    features = torch.tensor([[[1.0, 2, 16], [4, 8, 32]]])
    x, y, answer = (torch.tensor(values, dtype=torch.float32) for values in (x, y, answer))
    return Case("by hand", (features, x, y), note, answer[None])


def _inside_by_hand() -> list[Case]:
    return [
        _case([2.0], [0.0], "the cell in row 0 and column 2", [16]),
        _case([0.5], [0.0], "the middle between two cells of row 0", [1.5]),
        _case([0.25], [0.0], "a quarter of the way from one cell to the next", [1.25]),
        _case([0.25], [0.5], "a position between four cells", [(1.25 + 5) / 2]),
        _case([1.0], [0.75], "three quarters of the way from row 0 to row 1", [6.5]),
    ]


def _outside_by_hand() -> list[Case]:
    return [
        _case([-0.5, 2.5], [0.0, 1.0], "half a cell outside of the map", [1, 32]),
        _case([0.5], [1.5], "half a cell below the map", [6]),
        _case([-1.5, 3.5, 1, 1], [0, 0, -1.5, 2.5], "more than a cell outside", [0, 0, 0, 0]),
        _case([-1.5, 3.5], [2.5, -1.5], "more than a cell outside in both directions", [0, 0]),
        _case([5.0, 1], [0.0, 4.5], "far to the right and far below", [0, 0]),
        _case([-1.0, 3, 1, 1], [0, 0, -1, 2], "exactly one cell outside", [1, 16, 2, 8]),
    ]


# ---- wrong answers ----


def _clamped(position: Tensor, cells: int) -> Axis:
    position = position.clamp(0, cells - 1)
    before = position.floor()
    return before, (before + 1).clamp(max=cells - 1), position - before


def _limits_exchanged(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Keep x within the rows and y within the columns."""
    height, width = features.shape[1:]
    inside = bilinear_sample(features, x.clamp(0, height - 1), y.clamp(0, width - 1))
    return inside.masked_fill(_outside(x, y, width, height), 0)


def _outside(x: Tensor, y: Tensor, width: int, height: int) -> Tensor:
    return (x < -1) | (x > width) | (y < -1) | (y > height)


def _sample(
    axis: Callable[[Tensor, int], Axis] = _clamped,
    weights: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda fx, fy: (fx, fy),
    outside: Callable[[Tensor, Tensor, int, int], Tensor] = _outside,
    shift: float = 0.0,
) -> Function:
    """Return reading with something changed.

    Args:
        axis: the cells before and after a position and its distance from the first.
        weights: from the two distances the shares of the right and of the lower cells.
        outside: which positions give 0.
        shift: added to every position.
    """

    def function(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
        height, width = features.shape[1:]
        left, right, fx = axis(x + shift, width)
        top, bottom, fy = axis(y + shift, height)
        fx, fy = weights(fx, fy)

        left, right, top, bottom = (cell.long() for cell in (left, right, top, bottom))
        upper = features[:, top, left] * (1 - fx) + features[:, top, right] * fx
        lower = features[:, bottom, left] * (1 - fx) + features[:, bottom, right] * fx
        read = upper * (1 - fy) + lower * fy
        return read.masked_fill(outside(x, y, width, height), 0)

    return function


def _rounded(position: Tensor, cells: int) -> Axis:
    nearest = position.clamp(0, cells - 1).round()
    return nearest, nearest, torch.zeros_like(position)


def _rounded_half_up(position: Tensor, cells: int) -> Axis:
    nearest = (position.clamp(0, cells - 1) + 0.5).floor()
    return nearest, nearest, torch.zeros_like(position)


def _floored(position: Tensor, cells: int) -> Axis:
    before = position.clamp(0, cells - 1).floor()
    return before, before, torch.zeros_like(position)


def _wrapped(position: Tensor, cells: int) -> Axis:
    before = position.floor()
    after = (before + 1).clamp(max=cells - 1)
    fits = (before >= -cells) & (before < cells)
    return before.where(fits, 0), after.where(fits, 0), position - before


def _extrapolated(position: Tensor, cells: int) -> Axis:
    before = position.floor().clamp(0, cells - 1)
    return before, (before + 1).clamp(max=cells - 1), position - before


def _lost_at_the_border(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Take the distance to the other cell for a share, also where both cells are the last one."""
    height, width = features.shape[1:]
    outside = _outside(x, y, width, height)

    left, right, _ = (cell.long() for cell in _clamped(x, width))
    top, bottom, _ = (cell.long() for cell in _clamped(y, height))

    x = x.clamp(0, width - 1)
    y = y.clamp(0, height - 1)
    upper = features[:, top, left] * (right - x) + features[:, top, right] * (x - left)
    lower = features[:, bottom, left] * (right - x) + features[:, bottom, right] * (x - left)
    read = upper * (bottom - y) + lower * (y - top)
    return read.masked_fill(outside, 0)


def _nothing_at_a_cell(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Round down and up, which is twice the same cell where a position is that cell's middle."""
    height, width = features.shape[1:]
    outside = _outside(x, y, width, height)

    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, right, top, bottom = x.floor(), x.ceil(), y.floor(), y.ceil()
    share_right, share_left = x - left, right - x
    share_bottom, share_top = y - top, bottom - y

    left, right, top, bottom = (cell.long() for cell in (left, right, top, bottom))
    upper = features[:, top, left] * share_left + features[:, top, right] * share_right
    lower = features[:, bottom, left] * share_left + features[:, bottom, right] * share_right
    read = upper * share_top + lower * share_bottom
    return read.masked_fill(outside, 0)


def _along_the_diagonal(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Read between the upper left and the lower right cell only."""
    height, width = features.shape[1:]
    left, right, across = _clamped(x, width)
    top, bottom, down = _clamped(y, height)

    share = across * down
    first = features[:, top.long(), left.long()]
    last = features[:, bottom.long(), right.long()]
    read = first * (1 - share) + last * share
    return read.masked_fill(_outside(x, y, width, height), 0)


def _along_row_and_column(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Read between the columns, and between the rows, and take the mean of the two."""
    across = _sample(weights=lambda fx, fy: (fx, 0 * fy))(features, x, y)
    down = _sample(weights=lambda fx, fy: (0 * fx, fy))(features, x, y)
    return (across + down) / 2


def _by_inverse_distance(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Weight each of the four cells with one over its distance."""
    height, width = features.shape[1:]
    left, right, _ = (cell.long() for cell in _clamped(x, width))
    top, bottom, _ = (cell.long() for cell in _clamped(y, height))
    outside = _outside(x, y, width, height)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)

    total, weights = torch.zeros(len(features), len(x)), torch.zeros(len(x))
    for row, column in ((top, left), (top, right), (bottom, left), (bottom, right)):
        weight = 1 / (torch.hypot(x - column, y - row) + 1e-6)
        total, weights = total + features[:, row, column] * weight, weights + weight
    return (total / weights).masked_fill(outside, 0)


def _each_x_with_each_y(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    columns = x.repeat(len(y))
    rows = y.repeat_interleave(len(x))
    return bilinear_sample(features, columns, rows).view(len(features), len(y), len(x))


def _grid_sample(scale: str, align_corners: bool, padding: str) -> Function:
    """Return torch's own function with one of the ways to bring positions to −1 … 1.

    Args:
        scale: what the positions are divided by and meant to be: "last" by the index of the last
            cell, "all" by the number of cells, "middles" by it after half a cell is added.
        align_corners: of `torch.nn.functional.grid_sample`.
        padding: its padding_mode.
    """

    def function(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
        height, width = features.shape[1:]
        cells = [n - 1 if scale == "last" else n for n in (width, height)]
        more = 1 if scale == "middles" else 0

        grid = [(2 * place + more) / max(n, 1) - 1 for place, n in zip((x, y), cells)]
        read = F.grid_sample(
            features[None],
            torch.stack(grid, dim=-1)[None, None],
            padding_mode=padding,
            align_corners=align_corners,
        )

        return read[0, :, 0]

    return function


def _shifted(shift: float) -> tuple[Function, ...]:
    """Return reading half a cell away, with each way to say what is outside."""
    return (
        _sample(shift=shift),
        _sample(shift=shift, outside=lambda x, y, w, h: _outside(x + shift, y + shift, w, h)),
        _sample(shift=shift, outside=lambda x, y, w, h: x.isnan()),
    )


MISCONCEPTIONS = (
    # Which cells.
    Misconception(
        "x and y are exchanged: x counts columns, y counts rows, and the map is indexed [row, "
        "column]",
        lambda features, x, y: bilinear_sample(features.mT, x, y),
    ),
    Misconception(
        "this is the nearest cell alone; weight the four cells around the position",
        _sample(_rounded),
        _sample(_rounded_half_up),
    ),
    Misconception(
        "rounding down takes the upper left cell alone; weight the four cells around the position",
        _sample(_floored),
    ),
    Misconception(
        "you read only between the two cells on a diagonal; weight all four cells",
        _along_the_diagonal,
    ),
    Misconception(
        "you read between columns only; read between rows as well",
        _sample(weights=lambda fx, fy: (fx, 0 * fy)),
    ),
    Misconception(
        "you read between rows only; read between columns as well",
        _sample(weights=lambda fx, fy: (0 * fx, fy)),
    ),
    # Their shares.
    Misconception(
        "the shares are exchanged: the nearer a cell, the more it counts, so the left one gets "
        "1 − (x − left)",
        _sample(weights=lambda fx, fy: (1 - fx, 1 - fy)),
    ),
    Misconception(
        "the shares of left and right are exchanged: the nearer a cell, the more it counts",
        _sample(weights=lambda fx, fy: (1 - fx, fy)),
    ),
    Misconception(
        "the shares of top and bottom are exchanged: the nearer a cell, the more it counts",
        _sample(weights=lambda fx, fy: (fx, 1 - fy)),
    ),
    Misconception(
        "the distance in x weights left and right, the distance in y top and bottom; yours are "
        "exchanged",
        _sample(weights=lambda fx, fy: (fy, fx)),
    ),
    Misconception(
        "this is the plain mean of the four cells; the nearer a cell, the more it counts",
        _sample(weights=lambda fx, fy: (torch.full_like(fx, 0.5), torch.full_like(fy, 0.5))),
    ),
    Misconception(
        "at the last row and column both cells are the same one and your shares add up to 0, "
        "not to 1; take x − left for one and 1 minus that for the other",
        _lost_at_the_border,
    ),
    Misconception(
        "at the middle of a cell rounding down and up gives the same cell, and both shares are 0; "
        "take x − left for the right cell and 1 minus that for the left one",
        _nothing_at_a_cell,
    ),
    Misconception(
        "the four cells count together, each by the product of two shares; yours is the mean of "
        "reading along the row and reading along the column",
        _along_row_and_column,
    ),
    Misconception(
        "a cell's share is the product of two linear ones, (1 − |x − column|) · (1 − |y − row|); "
        "yours is one over its distance",
        _by_inverse_distance,
    ),
    # Where the map ends.
    Misconception(
        "up to one cell outside, a position has the border's value; yours fades towards zero there",
        _grid_sample("last", True, "zeros"),
    ),
    Misconception(
        "beyond one cell outside of the map the value is 0; yours goes on with the border's",
        _grid_sample("last", True, "border"),
        _sample(outside=lambda x, y, w, h: x.isnan()),
    ),
    Misconception(
        "up to one cell outside, a position has the border's value; yours is 0 at once",
        _sample(outside=lambda x, y, w, h: (x < 0) | (x > w - 1) | (y < 0) | (y > h - 1)),
    ),
    Misconception(
        "up to one cell outside, a position has the border's value; yours ends half a cell outside",
        _sample(outside=lambda x, y, w, h: (x < -0.5) | (x > w - 0.5) | (y < -0.5) | (y > h - 0.5)),
    ),
    Misconception(
        "the last cell is number W − 1, so the right and lower border lie at W and H; yours lie a "
        "cell further out",
        _sample(outside=lambda x, y, w, h: (x < -1) | (x > w + 1) | (y < -1) | (y > h + 1)),
    ),
    Misconception(
        "exactly one cell outside still has the border's value; yours is 0",
        _sample(outside=lambda x, y, w, h: (x <= -1) | (x >= w) | (y <= -1) | (y >= h)),
    ),
    Misconception(
        "x is kept within 0 … W − 1 and y within 0 … H − 1; yours are exchanged",
        _limits_exchanged,
    ),
    Misconception(
        "a position is outside of the map if x or y is; yours is outside only if both are",
        _sample(outside=lambda x, y, w, h: ((x < -1) | (x > w)) & ((y < -1) | (y > h))),
    ),
    Misconception(
        "the map ends on the right and below as well; beyond W in x and H in y the value is 0",
        _sample(outside=lambda x, y, w, h: (x < -1) | (y < -1)),
    ),
    Misconception(
        "the map ends on the left and above as well; before −1 the value is 0",
        _sample(outside=lambda x, y, w, h: (x > w) | (y > h)),
    ),
    Misconception(
        "only x decides here what is outside of the map; look at y as well",
        _sample(outside=lambda x, y, w, h: (x < -1) | (x > w)),
    ),
    Misconception(
        "only y decides here what is outside of the map; look at x as well",
        _sample(outside=lambda x, y, w, h: (y < -1) | (y > h)),
    ),
    Misconception(
        "width limits x and height limits y; yours are exchanged",
        _sample(outside=lambda x, y, w, h: _outside(x, y, h, w)),
    ),
    Misconception(
        "an index of −1 is the last cell: clamp the position at 0 before you round it down",
        _sample(_wrapped),
    ),
    Misconception(
        "outside of the map your shares leave 0 … 1, which continues the slope; clamp the "
        "position, not only the cells",
        _sample(_extrapolated),
    ),
    # Where the values stand.
    Misconception(
        "the ½ of box / stride − ½ is subtracted already, by whoever calls: x = j is the middle of "
        "cell j; yours subtracts it once more",
        *_shifted(-0.5),
        *(_grid_sample("all", False, padding) for padding in ("zeros", "border")),
    ),
    Misconception(
        "the value of cell (i, j) stands at y = i, x = j, not at half a cell before; add nothing "
        "to x and y",
        *_shifted(0.5),
    ),
    Misconception(
        "grid_sample counts from −1 to 1: with align_corners=True these are the first and the last "
        "cell, so x becomes 2x / (W − 1) − 1",
        *(
            _grid_sample(scale, align, padding)
            for scale, align in (("last", False), ("all", True), ("middles", True))
            for padding in ("zeros", "border")
        ),
    ),
    # The form of the result.
    Misconception(
        "the result is transposed: (C, M), a row for each channel",
        lambda *args: bilinear_sample(*args).T,
    ),
    Misconception(
        "read one value for each pair (x, y), (C, M); yours are all x with all y",
        _each_x_with_each_y,
    ),
    Misconception(
        "keep the channels apart, (C, M); yours are added up",
        lambda *args: bilinear_sample(*args).sum(dim=0),
    ),
    Misconception(
        "all channels are read, (C, M); yours is the first alone",
        lambda *args: bilinear_sample(*args)[0],
    ),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the position that failed; the engine adds the map, if it is small."""
    _, x, y = case.args
    if len(x) == 0:
        return ""

    # The answer is (C, M), a gradient (C, H, W) belongs to no position.
    at = found.index[1] if found.kind == "value" and len(found.index) == 2 else None
    if at is None or at >= len(x):
        return ""
    return f"x[{at}] = {float(x[at]):g}, y[{at}] = {float(y[at]):g}"


BILINEAR_SAMPLE = Exercise(
    number="2.8",
    name="bilinear_sample",
    reference=bilinear_sample,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the value",),
    narrow=_show,
    counted="positions",
)
