"""CenterNet's Gaussian: how far two corners may move, and the bump that it makes of an object."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from detlearn.boxes import check_boxes
from detlearn.explore.page import Explorable
from detlearn.models.centernet import draw_gaussians, gaussian_radius, official_gaussian_radius

CELLS = 24  # locations of the map in each direction

# The boxes of the still picture: of the right radius, and of the official one.
DASHED = 'stroke-width=".15" stroke-dasharray=".8 .4"'
DOTTED = 'stroke-width=".15" stroke-dasharray=".2 .4"'


def centre_gaussian(
    box: Sequence[float] = (3, 5, 20, 18), min_overlap: float = 0.7, radius: str = "right"
) -> Explorable:
    """Return the figure of an object on a map of 24 × 24 locations, and its bump beneath.

    The reader drags the sides of the object and sets the overlap that a box must keep when both of
    its corners move. Both radii are drawn with the box that they admit, in each of the three cases:
    `gaussian_radius`, and `official_gaussian_radius` of CenterNet's code. The bump is that of
    `draw_gaussians` with either.

    Args:
        box: the object at the beginning, xyxy in locations, in [0, 24].
        min_overlap: at the beginning, in [0.05, 0.95].
        radius: whose bump is drawn at the beginning: "right" or "official".

    Raises:
        ValueError: for a box that is no four numbers in [0, 24] in order with an area, another
            overlap, or an unknown radius.
    """
    box = [float(number) for number in box]
    check_boxes(torch.tensor(box), "box")
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= CELLS and 0 <= y1 < y2 <= CELLS):
        raise ValueError(f"box must lie in [0, {CELLS}], first corner first, got {box}")
    if not 0.05 <= min_overlap <= 0.95:
        raise ValueError(f"min_overlap is {min_overlap}: expected 0.05 … 0.95")
    if radius not in ("right", "official"):
        raise ValueError(f'radius is {radius!r}: expected "right" or "official"')

    return Explorable(
        name="centre_gaussian",
        title="CenterNet's Gaussian: how far from a centre a peak would do no harm",
        description=(
            "A map of 24 times 24 locations with an object whose four sides and whose centre can "
            "be moved by mouse, finger or arrow keys. Squares around two of its corners show how "
            "far these may move, by the right radius and by that of the published code; the boxes "
            "that come of it are drawn for one of three cases, and a table gives their overlaps "
            "with the object in all three. Beneath lies the bump that the object puts on the heat "
            "map."
        ),
        data={
            "cells": CELLS,
            "box": box,
            "minOverlap": min_overlap,
            "radius": radius,
        },
        still=_still(box, min_overlap),
    )


def _still(box: list[float], min_overlap: float) -> str:
    """Draw the object, its bump and the boxes that both radii admit, for where no script runs."""
    sides = torch.tensor([[box[2] - box[0], box[3] - box[1]]]).double()
    right = gaussian_radius(sides, min_overlap)
    official = official_gaussian_radius(sides, min_overlap)
    centre = torch.tensor([[int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)]])
    label = torch.zeros(1, dtype=torch.int64)
    (bump,) = draw_gaussians(centre, right, label, 1, CELLS, CELLS)

    cells = ""
    for row, column in (bump > 0.004).nonzero().tolist():
        cells += (
            f'<path d="M{column} {row}h1v1h-1z" fill="currentColor" '
            f'opacity="{0.6 * bump[row, column].item():.2g}"/>'
        )
    outlines = ""
    for r, look in ((0.0, 'stroke-width=".25"'), (right, DASHED), (official, DOTTED)):
        x1, y1, x2, y2 = (at + float(r) * sign for at, sign in zip(box, (1, 1, -1, -1)))
        outlines += f'<path d="M{x1:.3g} {y1:.3g}H{x2:.3g}V{y2:.3g}H{x1:.3g}Z" {look}/>'

    style = 'style="font-size:1px"'
    return f"""\
<svg viewBox="-.5 -.5 {CELLS + 1} {CELLS + 4.5}" width="380" role="img" aria-label="An object on a \
map, the bump at its centre, and the boxes that two radii admit inside of it">
{cells}<g fill="none" stroke="currentColor"><path d="M0 0H{CELLS}V{CELLS}H0Z" \
stroke-width=".06"/>{outlines}</g>
<text x="0" y="{CELLS + 1.6}" {style}>solid: the object; dashed: both corners moved inward by the \
right radius,</text>
<text x="0" y="{CELLS + 3.1}" {style}>{float(right):.2f}; dotted: by the official one, \
{float(official):.2f} locations</text></svg>"""
