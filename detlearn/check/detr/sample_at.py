"""Exercise 5.7: read maps between their cells, at places given in shares of the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.nets.deformable_attention import sample_at

Function = Callable[[Tensor, Tensor], Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    maps = torch.randn(2, 3, 4, 6, generator=random)
    inside = _places((2, 7), 0.0, random)
    around = _places((2, 7), 0.3, random)
    deep = _places((2, 2, 3, 2), 0.2, random)

    # A map whose value at (x, y) is known: x in cells and 10 y.
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    ramp = (columns + 10 * rows).expand(2, 1, 4, 6)
    centre = 0.2 + 0.6 * inside

    values = [
        Case("random", (maps, inside), "7 places inside two maps of 4 × 6"),
        Case("random", (maps, around), "7 places in and around two maps of 4 × 6"),
        Case("random", (maps.mT, around), "7 places in and around two maps of 6 × 4"),
        Case("random", (maps, deep), "places of shape (2, 2, 3, 2, 2)"),
        # As many places as channels, and as many as images.
        Case("random", (maps, inside[:, :3]), "as many places as channels"),
    ]

    properties = [
        Case("property", (ramp, centre), "maps that rise evenly: the values are x + 10 y"),
        Case("property", (maps.flip(-1), _mirrored(around)), "maps and places mirrored"),
        Case("property", (maps.flip(0), around.flip(0)), "the two images exchanged"),
    ]

    gradients = [
        Case(
            "gradient",
            (maps, places),
            f"{note}, their gradient",
            gradient=True,
            differentiated=(0, i),
        )
        for i, note in ((0, "maps"), (1, "places"))
        for places in (around, deep)
    ]

    growing = []
    for n in (4, 60):
        growing.append(
            Case("no loop", (maps[:1], _places((1, n), 0, random)), f"{n} places", size=n)
        )
    return [*_by_hand(), *_degenerate(maps), *values, *properties, *gradients, *growing]


def _places(shape: tuple[int, ...], margin: float, random: torch.Generator) -> Tensor:
    """Return random places (*shape, 2) from −margin to 1 + margin."""
    return torch.rand(*shape, 2, generator=random) * (1 + 2 * margin) - margin


def _mirrored(places: Tensor) -> Tensor:
    return torch.stack((1 - places[..., 0], places[..., 1]), dim=-1)


def _by_hand() -> list[Case]:
    # Two rows of four cells; the middles are at x = ⅛, ⅜, ⅝, ⅞ and y = ¼, ¾.
    maps = torch.tensor([[1.0, 2, 16, 0], [4, 8, 32, 64]]).view(1, 1, 2, 4)

    def of(places: list[list[float]], wanted: list[float], note: str) -> Case:
        args = (maps, torch.tensor(places)[None])
        return Case("by hand", args, note, torch.tensor(wanted).view(1, -1, 1))

    two = Case(
        "by hand",
        (
            torch.stack((torch.cat((maps[0], 3 * maps[0])), torch.cat((2 * maps[0], 5 * maps[0])))),
            torch.tensor([[[0.375, 0.25], [0.5, 0.75]], [[0.125, 0.5], [0.875, 0.75]]]),
        ),
        "two images, two channels and two places",
        torch.tensor([[[2.0, 6], [20, 60]], [[5, 12.5], [128, 320]]]),
    )
    return [
        of([[0.125, 0.25], [0.625, 0.75]], [1, 32], "the middles of two cells"),
        of([[0.25, 0.25], [0.5, 0.75]], [1.5, 20], "the middle between two cells of a row"),
        of([[0.375, 0.5], [0.1875, 0.25]], [5, 1.25], "places between two cells"),
        of([[0.25, 0.5]], [3.75], "a place between four cells"),
        # Half of it outside, where all is 0.
        of([[0.0, 0.75], [1, 0.75], [0.375, 0]], [2, 32, 1], "places on the border"),
        of([[0.0, 0], [1, 1]], [0.25, 16], "two corners of the map"),
        of([[-0.125, 0.75], [1.5, 0.25], [0.5, -2]], [0, 0, 0], "places outside"),
        two,
    ]


def _degenerate(maps: Tensor) -> list[Case]:
    single = maps[:, :, :1, :1]
    places = torch.tensor([[0.5, 0.5], [0.25, 0.5], [0, 1], [1.25, 0.5]]).expand(2, 4, 2)
    far = torch.tensor([[50.0, 0.5], [0.5, -30], [-70, 90]]).expand(2, 3, 2)
    rows, columns = (torch.arange(4) + 0.5) / 4, (torch.arange(6) + 0.5) / 6
    middles = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    return [
        Case("degenerate", (maps, maps.new_zeros(2, 0, 2)), "no places"),
        Case("degenerate", (single, places), "maps of a single cell"),
        Case("degenerate", (maps, far), "places far outside"),
        Case("degenerate", (maps[:1], middles[None]), "the middle of every cell"),
    ]


# ---- wrong answers ----


def _grid(locations: Tensor) -> Tensor:
    return 2 * locations - 1


def _sampled(
    grid: Callable[[Tensor], Tensor] = _grid,
    align_corners: bool = False,
    padding: str = "zeros",
    mode: str = "bilinear",
    finish: Callable[[Tensor, tuple[int, ...]], Tensor] = (
        lambda values, shape: values.mT.reshape(*shape, values.shape[1])
    ),
    before: Callable[[Tensor], Tensor] = lambda maps: maps,
) -> Function:
    """Return reading with something changed.

    Args:
        grid: places (B, M, 2) as `grid_sample` wants them.
        align_corners, padding, mode: its arguments.
        finish: values (B, C, M) and the places' shape (B, …) to what is returned.
        before: what is done to the maps.
    """

    def function(maps: Tensor, locations: Tensor) -> Tensor:
        maps = before(maps)
        places = grid(locations.flatten(1, -2))
        values = F.grid_sample(
            maps, places[:, :, None], mode=mode, padding_mode=padding, align_corners=align_corners
        )
        return finish(values[..., 0], tuple(locations.shape[:-1]))

    return function


def _by_cells(
    cells: Callable[[Tensor, int], Tensor] = lambda share, n: share * n - 0.5,
    shares: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda fx, fy: (fx, fy),
    outside: str = "zeros",
    detached: bool = False,
) -> Function:
    """Return reading by the four cells around a place, with something changed.

    Args:
        cells: a share of the image and the number of cells to a position in cells.
        shares: of the right and of the lower cells, from the distances.
        outside: "zeros" beyond the map, "clamped" to its last cell, "wrapped" counted from the
            other end, "dropped" if any of the four is outside, "clamped first" where the place is
            brought inside.
        detached: the distances have no gradient.
    """

    def function(maps: Tensor, locations: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        places = locations.flatten(1, -2)
        x, y = cells(places[..., 0], width), cells(places[..., 1], height)
        if outside == "clamped first":
            x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
        left, top = x.floor(), y.floor()
        fx, fy = shares(x - left, y - top)
        if detached:
            fx, fy = fx.detach(), fy.detach()

        image = torch.arange(len(maps))[:, None]
        total, lost = 0, torch.zeros_like(x, dtype=torch.bool)
        for row, wy in ((top, 1 - fy), (top + 1, fy)):
            for column, wx in ((left, 1 - fx), (left + 1, fx)):
                there = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                lost |= ~there & (wx * wy != 0)
                low = (-height, -width) if outside == "wrapped" else (0, 0)
                i = row.clamp(low[0], height - 1).long()
                j = column.clamp(low[1], width - 1).long()
                weight = wx * wy * (there if outside == "zeros" else 1)
                total = total + maps[image, :, i, j] * weight[..., None]  # (B, M, C)
        if outside == "dropped":
            total = total.masked_fill(lost[..., None], 0)
        return total.reshape(*locations.shape[:-1], maps.shape[1])

    return function


def _sizes_exchanged(maps: Tensor, locations: Tensor) -> Tensor:
    height, width = maps.shape[-2:]
    cells = locations * torch.tensor([height, width]) - 0.5
    return sample_at(maps, (cells + 0.5) / torch.tensor([width, height]))


def _first_of_batch(maps: Tensor) -> Tensor:
    return maps[:1].expand_as(maps)


MISCONCEPTIONS = (
    # Where a place is.
    Misconception(
        "x comes first and counts columns, y comes second and counts rows; yours are exchanged",
        _sampled(grid=lambda places: _grid(places).flip(-1)),
        lambda maps, places: sample_at(maps.mT, places),
    ),
    Misconception(
        "0 and 1 are the map's borders, not the middles of its first and last cell: "
        "align_corners=False, x · W − ½",
        _sampled(align_corners=True),
        _by_cells(cells=lambda share, n: share * (n - 1)),
        _sampled(align_corners=True, padding="border"),
    ),
    Misconception(
        "the middle of the first cell is at ½ / W: a place in cells is x · W − ½; the ½ is missing",
        _by_cells(cells=lambda share, n: share * n),
        _by_cells(cells=lambda share, n: share * n, outside="clamped"),
    ),
    Misconception(
        "the middle of the first cell is at ½ / W: a place in cells is x · W − ½; yours adds the ½",
        _by_cells(cells=lambda share, n: share * n + 0.5),
    ),
    Misconception(
        "grid_sample counts from −1 to 1: hand it 2 · locations − 1; yours hands it 0 … 1",
        _sampled(grid=lambda places: places),
    ),
    Misconception(
        "grid_sample counts from −1 to 1: hand it 2 · locations − 1; yours is another line",
        _sampled(grid=lambda places: 2 * places),
        _sampled(grid=lambda places: places - 1),
        _sampled(grid=lambda places: places - 0.5),
        _sampled(grid=lambda places: 2 * (places - 1)),
        _sampled(grid=lambda places: 1 - 2 * places),
    ),
    Misconception(
        "x in shares times the width counts columns, y times the height rows; your W and H are "
        "exchanged",
        _sizes_exchanged,
    ),
    # Outside.
    Misconception(
        "outside the map all is 0, also next to its border; yours goes on with the border's values",
        _sampled(padding="border"),
        _by_cells(outside="clamped"),
        _by_cells(outside="clamped first"),
    ),
    Misconception(
        "an index of −1 is the last cell: left of and above the map all is 0",
        _by_cells(outside="wrapped"),
    ),
    Misconception(
        "outside the map all is 0; yours reflects the map there",
        _sampled(padding="reflection"),
    ),
    Misconception(
        "a place outside reads 0 there; yours is clamped to [0, 1] and reads the border",
        _sampled(grid=lambda places: _grid(places.clamp(0, 1))),
    ),
    Misconception(
        "of the four cells those inside still count, so that the map fades out; yours is 0 as soon "
        "as one is outside",
        _by_cells(outside="dropped"),
    ),
    Misconception(
        "outside the image the map fades out within half a cell; yours ends at the border itself",
        lambda maps, places: (
            sample_at(maps, places) * ((places >= 0) & (places <= 1)).all(dim=-1, keepdim=True)
        ),
        lambda maps, places: (
            sample_at(maps, places) * ((places > 0) & (places < 1)).all(dim=-1, keepdim=True)
        ),
    ),
    # Between the cells.
    Misconception(
        "this is the nearest cell alone; weight the four around the place, or the place has no "
        "gradient",
        _sampled(mode="nearest"),
        _by_cells(shares=lambda fx, fy: (fx.round(), fy.round())),
        _by_cells(cells=lambda share, n: (share * n).floor()),
        _by_cells(shares=lambda fx, fy: (fx.round(), fy.round()), detached=True),
        _by_cells(cells=lambda share, n: (share.detach() * n).floor()),
        _by_cells(shares=lambda fx, fy: ((fx + 0.5).floor(), (fy + 0.5).floor())),
    ),
    Misconception(
        "rounding down takes the upper left cell alone; weight the four around the place",
        _by_cells(shares=lambda fx, fy: (0 * fx, 0 * fy)),
        _by_cells(shares=lambda fx, fy: (0 * fx, 0 * fy), detached=True),
    ),
    Misconception(
        "the map is interpolated linearly in both directions; yours is bicubic",
        _sampled(mode="bicubic"),
    ),
    Misconception(
        "the shares are exchanged: the nearer a cell, the more it counts, so the left one gets "
        "1 − (x − left)",
        _by_cells(shares=lambda fx, fy: (1 - fx, 1 - fy)),
    ),
    Misconception(
        "the distance in x weights left and right, the distance in y top and bottom; yours are "
        "exchanged",
        _by_cells(shares=lambda fx, fy: (fy, fx)),
    ),
    Misconception(
        "you read between columns only; read between rows as well",
        _by_cells(shares=lambda fx, fy: (fx, 0 * fy)),
    ),
    Misconception(
        "you read between rows only; read between columns as well",
        _by_cells(shares=lambda fx, fy: (0 * fx, fy)),
    ),
    # The result.
    Misconception(
        "the channels come last, (B, ..., C): each place has a vector; yours come before the "
        "places",
        _sampled(finish=lambda values, shape: values.reshape(*values.shape[:2], *shape[1:])),
    ),
    Misconception(
        "grid_sample returns the channels before the places: exchange the two dimensions before "
        "the reshape, which by itself cuts the same row of numbers at other places",
        _sampled(finish=lambda values, shape: values.reshape(*shape, values.shape[1])),
    ),
    Misconception(
        "return (B, ..., C), with all dimensions of the places; in yours they are one",
        _sampled(finish=lambda values, shape: values.mT),
    ),
    Misconception(
        "every image is read at its own places in its own map; yours reads the first map for all",
        _sampled(before=_first_of_batch),
    ),
    Misconception(
        "every image is read at its own places in its own map; yours reads all maps at the first "
        "image's",
        _sampled(grid=lambda places: _grid(places[:1]).expand_as(places)),
    ),
    Misconception(
        "the places are learned, too, by the gradient of the cells' shares; in yours they are "
        "detached",
        lambda maps, places: sample_at(maps, places.detach()),
        _by_cells(detached=True),
    ),
    Misconception(
        "the maps are learned, too; in yours they are detached",
        lambda maps, places: sample_at(maps.detach(), places),
    ),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the place that is wrong, in shares and in cells."""
    maps, locations = case.args
    height, width = maps.shape[-2:]
    size = f"a map of {height} rows and {width} columns"
    if len(found.index) != locations.ndim or found.kind == "gradient":
        return size
    place = found.index[:-1]
    x, y = locations[place].tolist()
    at = ", ".join(map(str, place))
    return (
        f"locations[{at}] = {written([x, y])}, which in cells of {size} is column "
        f"{x * width - 0.5:.4g}, row {y * height - 0.5:.4g}"
    )


SAMPLE_AT = Exercise(
    number="5.7",
    name="sample_at",
    reference=sample_at,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the values",),
    narrow=_show,
    counted="places",
)
