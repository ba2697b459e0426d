"""Deformable attention: a query looks at a few points that it chooses itself.

In ordinary attention a query is compared with every location of the map. Here it says, from its own
features alone, where to look and how much each place counts: in every head, P points on each of L
maps, given as offsets from a reference point. The maps are read between their cells, so that the
offsets have a gradient and are learnt. The cost of a query no longer grows with the map.

Shapes: B images; Q queries; C channels, shared among the heads; L levels, finest first; P points a
head and level; S locations of all levels together, level after level, each row by row. A place is
x, y in shares of the image: (0, 0) its upper left corner, (1, 1) its lower right one.

Source: "Deformable DETR" (Zhu et al. 2021, arXiv 2010.04159), equations 2 and 3. The names of the
parameters are those of the official code, so that its weights load as they are.

Where we differ from the official code: it has a CUDA kernel, we read maps with ``F.grid_sample``,
which computes the same.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def sampling_locations(references: Tensor, offsets: Tensor, sizes: Tensor) -> Tensor:
    """Say where every query looks.

    From a reference point an offset is counted in cells of the level, from a reference box in
    shares of the box: an offset of P reaches from its centre to its side. (So the official
    start, 1 for a head's first point to P for its last, spreads the points from centre to side.)

        point:  location = (x, y) + offset / (W, H)
        box:    location = (x, y) + offset / P · (w, h) / 2

    Args:
        references: (B, Q, L, 2) points x, y, or (B, Q, L, 4) boxes cxcywh, in shares of the image.
        offsets: (B, Q, heads, L, P, 2), x and y.
        sizes: (L, 2), height and width of each level's map, in this order.

    Returns:
        (B, Q, heads, L, P, 2), x and y in shares of the image; some may lie outside [0, 1].

    Raises:
        ValueError: if the references are neither points nor boxes.
    """
    references = references[:, :, None, :, None]  # (B, Q, 1, L, 1, 2 or 4)

    if references.shape[-1] == 2:
        width_and_height = sizes.flip(-1)[:, None]  # (L, 1, 2): offsets are x first
        return references + offsets / width_and_height

    if references.shape[-1] == 4:
        centre, size = references[..., :2], references[..., 2:]
        num_points = offsets.shape[-2]
        return centre + offsets / num_points * size / 2

    raise ValueError(
        f"references end in {references.shape[-1]}: expected (B, Q, L, 2) points x, y or "
        "(B, Q, L, 4) boxes cxcywh"
    )


def sample_at(maps: Tensor, locations: Tensor) -> Tensor:
    """Read maps between their cells.

    The number of a cell belongs to its middle, and between four middles the map is interpolated
    (bilinear). Outside the map all is zero, so that it fades out within half a cell beyond its
    border.

    Args:
        maps: (B, C, H, W).
        locations: (B, ..., 2) x and y; (0, 0) is the map's upper left corner, (1, 1) its lower
            right one.

    Returns:
        (B, ..., C).
    """
    # grid_sample counts from −1 to 1, also from border to border.
    grid = (2 * locations - 1).flatten(1, -2)[:, :, None]  # (B, M, 1, 2)

    values = F.grid_sample(
        maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )  # (B, C, M, 1)

    return values[..., 0].mT.reshape(*locations.shape[:-1], maps.shape[1])
