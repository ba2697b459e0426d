"""Exercise 5.1: the sine code of a place in two dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.nets.transformer import sine_code, sine_positions

Function = Callable[..., Tensor]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    rows, columns = _angles((2, 3, 4), random), _angles((2, 3, 4), random)
    few = (_angles((1, 2, 3), random), _angles((1, 2, 3), random))

    values = [
        Case("random", (rows, columns, 8), "two maps of 3 × 4 and 8 channels"),
        Case("random", (rows, columns, 16, 20.0), "16 channels and temperature = 20"),
        Case("random", (*few, 12, 100.0), "12 channels and temperature = 100"),
    ]

    properties = [
        Case("property", (columns, rows, 8), "rows and columns exchanged"),
        Case("property", (rows.mT, columns.mT, 8), "maps of 4 × 3"),
        Case("property", (rows.flip(0), columns.flip(0), 8), "the two maps in the other order"),
    ]

    growing = []
    for height, width in ((2, 2), (8, 12)):
        args = (_angles((1, height, width), random), _angles((1, height, width), random), 8)
        cells = height * width
        growing.append(Case("no loop", args, f"a map of {height} × {width}", size=cells))
    return [*_by_hand(), *_degenerate(), *values, *properties, *growing]


def _angles(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    return 2 * math.pi * torch.rand(shape, generator=random)


def _by_hand() -> list[Case]:
    def of(y: float, x: float, wanted: list[float], note: str, *temperature: float) -> Case:
        rows, columns = torch.full((1, 1, 1), y), torch.full((1, 1, 1), x)
        answer = torch.tensor(wanted).view(1, -1, 1, 1)
        return Case("by hand", (rows, columns, len(wanted), *temperature), note, answer)

    pi, root = math.pi, 0.5**0.5
    y_code = [-0.8660254, -0.5, 0.8660254, 0.5, 0.2588190, 0.9659258]
    wanted = [*y_code, 0.0, 1, 1, 0, 0.3826834, 0.9238795]
    # A map of one row and two cells: one wavelength, so that each axis has sin and cos.
    pair = Case(
        "by hand",
        (torch.full((1, 1, 2), pi / 2), torch.tensor([[[0.0, pi]]]), 4),
        "a map of one row and two cells, 4 channels",
        torch.tensor([[1.0, 1], [0, 0], [0, 0], [1, -1]]).view(1, 4, 1, 2),
    )
    return [
        of(pi / 6, pi, [0.5, 0.8660254, 0, -1], "one cell, y = π/6, x = π, and 4 channels"),
        pair,
        # 16^0 = 1 and 16^(2/4) = 4.
        of(
            pi,
            2 * pi,
            [0, -1, root, root, 0, 1, 1, 0],
            "one cell, y = π, x = 2π, 8 channels and temperature = 16",
            16.0,
        ),
        # 1, 64^(1/3) = 4 and 64^(2/3) = 16.
        of(
            4 * pi / 3,
            2 * pi,
            wanted,
            "one cell, y = 4π/3, x = 2π, 12 channels and temperature = 64",
            64.0,
        ),
    ]


def _degenerate() -> list[Case]:
    zeros = torch.zeros(1, 2, 2)
    beyond = torch.tensor([[[-1.0, 9, 20]]])
    return [
        Case("degenerate", (zeros, zeros, 8), "angles of 0"),
        Case("degenerate", (beyond, beyond.flip(-1), 8), "angles below 0 and above 2π"),
    ]


# ---- wrong answers ----


def _place(channels: int, features: int) -> Tensor:
    """Return the exponent 2i / F of each of F channels."""
    return torch.arange(channels) // 2 * 2 / features


def _alternate(angles: Tensor) -> Tensor:
    """Take the sine at even and the cosine at odd places."""
    even = torch.arange(angles.shape[-1]) % 2 == 0
    return torch.where(even, angles.sin(), angles.cos())


def _exchanged(angles: Tensor) -> Tensor:
    even = torch.arange(angles.shape[-1]) % 2 == 0
    return torch.where(even, angles.cos(), angles.sin())


def _sines_first(angles: Tensor) -> Tensor:
    return torch.cat((angles[..., ::2].sin(), angles[..., 1::2].cos()), dim=-1)


def _side_by_side(y: Tensor, x: Tensor) -> Tensor:
    return torch.cat((y, x), dim=-1)


def _channels_first(code: Tensor) -> Tensor:
    return code.permute(0, 3, 1, 2)


def _coded(
    exponents: Callable[[int, int], Tensor] = _place,
    scale: Callable[[Tensor, Tensor], Tensor] = torch.div,
    waves: Callable[[Tensor], Tensor] = _alternate,
    join: Callable[[Tensor, Tensor], Tensor] = _side_by_side,
    finish: Callable[[Tensor], Tensor] = _channels_first,
    before: Callable[[Tensor], Tensor] = lambda angles: angles,
    features: Callable[[int], int] = lambda hidden_dim: hidden_dim // 2,
    over: Callable[[int], int] = lambda hidden_dim: hidden_dim // 2,
    heat: Callable[[float], float] = lambda temperature: temperature,
) -> Function:
    """Return the code with something changed.

    Args:
        exponents: of the temperature, from the number of channels of an axis and what they are
            divided by.
        scale: of angles (…, 1) and wavelengths (F,).
        waves: sines and cosines of angles (…, F).
        join: the codes of y and of x.
        finish: (B, H, W, C) to what is returned.
        before: what is done to rows and columns.
        features: channels of an axis.
        over: what their places are divided by.
        heat: the temperature as it is used.
    """

    def function(
        rows: Tensor, columns: Tensor, hidden_dim: int, temperature: float = 10000.0
    ) -> Tensor:
        exponent = exponents(features(hidden_dim), over(hidden_dim))
        lengths = torch.tensor(heat(temperature)) ** exponent
        y, x = (waves(scale(before(v)[..., None], lengths)) for v in (rows, columns))
        return finish(join(y, x))

    return function


def _interleaved(y: Tensor, x: Tensor) -> Tensor:
    return torch.stack((y, x), dim=-1).flatten(-2)


def _of_first(angles: Tensor) -> Tensor:
    return angles[:1].expand_as(angles)


def _counted(start: float, full: bool) -> Function:
    """Count rows and columns instead of taking those that are given."""

    def function(
        rows: Tensor, columns: Tensor, hidden_dim: int, temperature: float = 10000.0
    ) -> Tensor:
        height, width = rows.shape[1:]
        y, x = torch.arange(height) + start, torch.arange(width) + start
        if full:
            y, x = 2 * math.pi * y / height, 2 * math.pi * x / width
        y = y[None, :, None].expand_as(rows)
        x = x[None, None, :].expand_as(rows)
        return sine_positions(y.float(), x.float(), hidden_dim, temperature)

    return function


MISCONCEPTIONS = (
    # How the two axes share the channels.
    Misconception(
        "hidden_dim is the number of all channels: y and x have half of it each; yours has twice "
        "as many and could not be added to the features",
        _coded(features=lambda c: c, over=lambda c: c),
        _coded(features=lambda c: c),
        _coded(features=lambda c: c, over=lambda c: c, join=_interleaved),
        _coded(features=lambda c: c, over=lambda c: c, waves=_sines_first),
    ),
    Misconception(
        "y comes first: the first half of the channels is the code of the row; yours begins with "
        "that of the column",
        _coded(join=lambda y, x: _side_by_side(x, y)),
    ),
    Misconception(
        "the codes of y and x stand one behind the other; yours are added, so that row 1, column 2 "
        "and row 2, column 1 are the same",
        _coded(features=lambda c: c, over=lambda c: c, join=torch.add),
        _coded(features=lambda c: c, join=torch.add),
        _coded(join=torch.add),
    ),
    Misconception(
        "all channels of y come before those of x; yours take turns",
        _coded(join=_interleaved),
    ),
    Misconception(
        "half of the channels say the column; all of yours say the row",
        _coded(join=lambda y, x: _side_by_side(y, y)),
        _coded(features=lambda c: c, over=lambda c: c, join=lambda y, x: y),
    ),
    Misconception(
        "half of the channels say the row; all of yours say the column",
        _coded(join=lambda y, x: _side_by_side(x, x)),
        _coded(features=lambda c: c, over=lambda c: c, join=lambda y, x: x),
    ),
    # Sines and cosines.
    Misconception(
        "sine and cosine of a wavelength are neighbours, sin at 2i and cos at 2i + 1; yours has "
        "all sines first, then all cosines",
        _coded(waves=_sines_first),
    ),
    Misconception(
        "the sine stands at the even places and the cosine at the odd ones; yours are exchanged",
        _coded(waves=_exchanged),
    ),
    Misconception(
        "every second place is a cosine; yours are all sines, and sin(v) alone cannot tell v from "
        "π − v",
        _coded(waves=torch.sin),
    ),
    # The wavelengths.
    Misconception(
        "sin and cos at 2i and 2i + 1 have the same wavelength; in yours every place has its own",
        _coded(exponents=lambda n, f: torch.arange(n) / f),
        _coded(exponents=lambda n, f: 2 * torch.arange(n) / f),
    ),
    Misconception(
        "the exponent is 2i / F, where F = hidden_dim / 2 is the number of channels of an axis; "
        "yours is half of that, so that the longest wave is much too short",
        _coded(exponents=lambda n, f: torch.arange(n) // 2 / f),
        _coded(over=lambda c: c),
    ),
    Misconception(
        "the exponent is 2i / F, which does not reach 1; yours ends at 1, i / (F/2 − 1)",
        _coded(exponents=lambda n, f: torch.arange(n) // 2 / max(f / 2 - 1, 1)),
        _coded(exponents=lambda n, f: torch.arange(n) // 2 / (f / 2 - 1)),
    ),
    Misconception(
        "i counts from 0, so that the first wave is 2π long; yours counts from 1",
        _coded(exponents=lambda n, f: _place(n, f) + 2 / f),
    ),
    Misconception(
        "the angle is divided by temperature ** (2i / F); yours is multiplied by it, so that the "
        "waves get shorter and shorter",
        _coded(scale=torch.mul),
    ),
    Misconception(
        "the wavelengths are powers, temperature ** (2i / F); yours are products",
        _coded(
            exponents=_place,
            scale=lambda v, lengths: v / (1 + lengths.log()),
        ),
        _coded(scale=lambda v, lengths: v / lengths.log().clamp(min=1)),
    ),
    Misconception(
        "every pair of channels has a wavelength of its own; all of yours have the first",
        _coded(scale=lambda v, lengths: v.expand(*v.shape[:-1], len(lengths))),
    ),
    Misconception(
        "the temperature is the one that is given; yours is always 10000",
        _coded(heat=lambda temperature: 10000.0),
    ),
    # The angles.
    Misconception(
        "rows and columns are angles already; yours multiplies them by 2π once more",
        _coded(before=lambda v: 2 * math.pi * v),
    ),
    Misconception(
        "rows and columns are angles already; yours divides them by the largest of the map first",
        *(
            _coded(before=lambda v, e=eps: 2 * math.pi * v / (v[:, -1:, -1:] + e))
            for eps in (0, 1e-6)
        ),
        _coded(before=lambda v: 2 * math.pi * v / v.amax(dim=(1, 2), keepdim=True)),
        _coded(before=lambda v: 2 * math.pi * v / v.max()),
    ),
    Misconception(
        "the angles are in radians, which is what sin and cos take; yours turns them from degrees",
        _coded(before=torch.deg2rad),
    ),
    Misconception(
        "rows and columns are given, cell by cell; yours counts them itself",
        *(_counted(start, full) for start in (0, 0.5, 1) for full in (False, True)),
    ),
    Misconception(
        "every map of the batch has its own rows and columns; all of yours have those of the first",
        _coded(before=_of_first),
        lambda rows, columns, *rest: sine_positions(rows[:1], columns[:1], *rest),
    ),
    # The result.
    Misconception(
        "channels come before rows and columns, (B, C, H, W), as in the features; yours come last",
        _coded(finish=lambda code: code),
    ),
    Misconception(
        "height comes before width, (B, C, H, W); yours are exchanged",
        _coded(finish=lambda code: code.permute(0, 3, 2, 1)),
    ),
    Misconception(
        "to get from (B, H, W, C) to (B, C, H, W) dimensions are exchanged, with permute; a view "
        "or reshape cuts the same row of numbers at other places",
        _coded(finish=lambda code: code.reshape(code.shape[0], code.shape[3], *code.shape[1:3])),
    ),
    Misconception(
        "return one map for each of the batch, (B, C, H, W); yours lacks the batch",
        _coded(finish=lambda code: _channels_first(code)[0]),
    ),
    Misconception(
        "return a map, (B, C, H, W); yours is a list of cells, (B, H · W, C)",
        _coded(finish=lambda code: code.flatten(1, 2)),
    ),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return y and x of the cell that is wrong, and the wavelengths."""
    rows, columns, hidden_dim, *rest = case.args
    temperature = rest[0] if rest else 10000.0
    lengths = temperature ** (torch.arange(0, hidden_dim // 2, 2) / (hidden_dim // 2))
    shown = f"angles are divided by {written(lengths)}"
    if len(found.index) != 4:
        return shown
    b, _, i, j = found.index
    return f"there y = {rows[b, i, j]:.4f}, x = {columns[b, i, j]:.4f}, and {shown}"


SINE_POSITIONS = Exercise(
    number="5.1",
    name="sine_positions",
    reference=sine_positions,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the code",),
    narrow=_show,
    solution=(sine_code, sine_positions),
    counted="cells",
)
