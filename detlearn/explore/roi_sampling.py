"""RoIPool against RoIAlign, under a box that moves by fractions of a pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from detlearn.explore.page import Explorable
from detlearn.roi import roi_align, roi_pool

STRIDE = 8  # pixels of the image for a cell of the map

# One channel of a map: it answers to something in its middle, and a little to its right border.
FEATURES = (
    (0, 0, 0, 1, 1, 0, 0, 0, 0, 1),
    (0, 0, 1, 2, 3, 2, 1, 0, 0, 2),
    (0, 1, 2, 5, 7, 5, 2, 0, 1, 3),
    (0, 1, 4, 7, 9, 8, 3, 1, 1, 4),
    (0, 1, 3, 6, 8, 6, 2, 1, 0, 3),
    (0, 0, 1, 3, 4, 3, 1, 0, 0, 2),
    (1, 0, 0, 1, 1, 1, 0, 0, 0, 1),
    (2, 1, 0, 0, 0, 0, 0, 0, 0, 0),
)
START = {"x": 17.0, "y": 9.0, "width": 24.0, "height": 24.0}  # of the box, in pixels
BINS = 2
POINTS = 2  # along each side of a bin


def roi_sampling() -> Explorable:
    """Return the figure of RoIPool and RoIAlign under one box on a small feature map.

    The reader moves and resizes the box by quarters of a pixel and sees which cells and points each
    of the two reads, the value of every bin, and how it runs while the box slides sideways. The
    numbers are those of `roi_pool` and of `roi_align` with ``aligned=True``.
    """
    rows, columns = len(FEATURES), len(FEATURES[0])

    return Explorable(
        name="roi_sampling",
        title="RoIPool and RoIAlign under a box that moves",
        description=(
            f"A feature map of {columns} by {rows} cells, {STRIDE} pixels each, drawn twice, with "
            "a box that can be moved and resized by quarters of a pixel. On the left the cells "
            "that RoIPool reads, on the right the points at which RoIAlign reads. Tiles give both "
            "values of each bin and their difference; a curve shows the values while the box "
            "moves sideways."
        ),
        data={
            "features": FEATURES,
            "stride": STRIDE,
            "state": {**START, "bins": BINS, "points": POINTS, "bin": 0},
        },
        still=_still(),
    )


def _values() -> tuple[Tensor, Tensor]:
    """Return what the two make of the box at the beginning, (bins, bins) each."""
    features = torch.tensor(FEATURES, dtype=torch.float64)[None, None]
    x, y = START["x"], START["y"]
    box = torch.tensor([[x, y, x + START["width"], y + START["height"]]], dtype=torch.float64)

    pooled = roi_pool(features, [box], BINS, 1 / STRIDE)
    aligned = roi_align(features, [box], BINS, 1 / STRIDE, POINTS, aligned=True)
    return pooled[0, 0], aligned[0, 0]


def _still() -> str:
    """Draw the map with the box at the beginning, and below it what both make of it."""
    rows, columns = len(FEATURES), len(FEATURES[0])
    cells = "".join(
        f'<rect x="{j}" y="{i}" width="1" height="1" fill="var(--blue)" opacity="{value / 20:g}"/>'
        f'<text x="{j + 0.5}" y="{i + 0.65}" text-anchor="middle" style="font-size:.45px">'
        f"{value}</text>"
        for i, row in enumerate(FEATURES)
        for j, value in enumerate(row)
    )

    pooled, aligned = (" ".join(f"{x:.2f}" for x in y.flatten()) for y in _values())
    box = {name: value / STRIDE for name, value in START.items()}
    return f"""\
<svg viewBox="-.2 -.2 {columns + 0.4} {rows + 1.8}" width="380" role="img" aria-label="A feature \
map with a box on it that does not follow its cells">
{cells}<rect x="{box["x"]}" y="{box["y"]}" width="{box["width"]}" height="{box["height"]}" \
fill="none" stroke="currentColor" stroke-width=".1"/>
<text x="0" y="{rows + 0.7}" style="font-size:.45px">{BINS} × {BINS} bins by RoIPool: \
{pooled}</text>
<text x="0" y="{rows + 1.4}" style="font-size:.45px">by RoIAlign: {aligned}</text></svg>"""
