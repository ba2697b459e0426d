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

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


class DeformableAttention(nn.Module):
    """Let every query read a few places of the maps, chosen from its own features.

    Args:
        hidden_dim: C.
        num_heads: each has C / num_heads channels to itself.
        num_levels: L.
        num_points: P, of each head on each level.

    Raises:
        ValueError: if the channels cannot be shared out evenly among the heads.
    """

    def __init__(
        self, hidden_dim: int, num_heads: int = 8, num_levels: int = 4, num_points: int = 4
    ) -> None:
        super().__init__()
        if hidden_dim % num_heads != 0:
            raise ValueError(
                f"hidden_dim {hidden_dim} cannot be shared out among {num_heads} heads: give a "
                "multiple of the number of heads"
            )
        self.num_heads = num_heads
        self.num_levels = num_levels
        self.num_points = num_points

        samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(hidden_dim, 2 * samples)
        self.attention_weights = nn.Linear(hidden_dim, samples)
        self.value_proj = nn.Linear(hidden_dim, hidden_dim)
        self.output_proj = nn.Linear(hidden_dim, hidden_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start with a fixed star of points, all of one weight (Zhu et al. 2021, appendix A.4).

        With no weight on the features, offsets are the biases alone: each head looks in a direction
        of its own, its first point one cell away, its second two, and so on. The directions end
        on the sides of a square, not on a circle: (1, 0), (1, 1), (0, 1) … for eight heads.
        """
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        directions = torch.stack((angles.cos(), angles.sin()), dim=-1)  # (heads, 2)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)

        steps = torch.arange(1, self.num_points + 1)[:, None]  # (P, 1)
        star = directions[:, None, None] * steps  # (heads, 1, P, 2)
        star = star.expand(-1, self.num_levels, -1, -1)  # the same on every level

        with torch.no_grad():
            self.sampling_offsets.bias.copy_(star.flatten())
        nn.init.zeros_(self.sampling_offsets.weight)

        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)

        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        queries: Tensor,
        references: Tensor,
        memory: Tensor,
        sizes: Sequence[tuple[int, int]],
        padding: Tensor | None = None,
    ) -> Tensor:
        """Read the maps.

        Args:
            queries: (B, Q, C), with their positions added.
            references: (B, Q, L, 2) points x, y, or (B, Q, L, 4) boxes cxcywh, in shares of each
                level's map.
            memory: (B, S, C), the maps' locations, level after level, without positions.
            sizes: height and width of each of the L maps.
            padding: (B, S) bool, true where a location is in the padding of its image; what is
                read there is 0.

        Returns:
            (B, Q, C).

        Raises:
            ValueError: if the memory has another length than the maps.
        """
        locations, weights = self.places(queries, references, sizes)

        values = self.value_proj(memory)  # (B, S, C)
        if padding is not None:
            values = values.masked_fill(padding[..., None], 0)

        num_locations = [height * width for height, width in sizes]
        if sum(num_locations) != values.shape[1]:
            raise ValueError(
                f"maps of {list(sizes)} have {sum(num_locations)} locations, but the memory "
                f"{values.shape[1]}"
            )

        # Each head reads its own channels: from here on, it is one more image of the batch. The
        # queries come last, since neighbours in memory are added up fastest.
        values = values.unflatten(-1, (self.num_heads, -1)).permute(0, 2, 3, 1)
        values = values.flatten(0, 1)  # (B · heads, C / heads, S)
        locations = locations.permute(0, 2, 3, 4, 1, 5).flatten(0, 1)  # (B · heads, L, P, Q, 2)
        weights = weights.permute(0, 2, 3, 4, 1).flatten(0, 1)  # (B · heads, L, P, Q)

        # The mean of all points of all levels, by their weights.
        means = 0.0
        for level, values_of_level in enumerate(values.split(num_locations, dim=-1)):
            maps = values_of_level.unflatten(-1, sizes[level])  # (B · heads, C / heads, h, w)
            read = sample_at(maps, locations[:, level])  # (B · heads, P, Q, C / heads)
            means = means + (weights[:, level, ..., None] * read).sum(dim=1)

        # All heads side by side.
        means = means.unflatten(0, (-1, self.num_heads)).transpose(1, 2)  # (B, Q, heads, C / heads)
        return self.output_proj(means.flatten(2))

    def places(
        self, queries: Tensor, references: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Say where every query looks, and how much each place counts.

        Args: as for `forward`.

        Returns:
            locations: (B, Q, heads, L, P, 2), x and y in shares of the map.
            weights: (B, Q, heads, L, P), with a sum of 1 over levels and points together.
        """
        shape = (self.num_heads, self.num_levels, self.num_points)

        offsets = self.sampling_offsets(queries).unflatten(-1, (*shape, 2))
        sizes = torch.tensor(sizes, device=queries.device)  # (L, 2)
        locations = sampling_locations(references, offsets, sizes)

        logits = self.attention_weights(queries).unflatten(-1, (self.num_heads, -1))
        weights = logits.softmax(dim=-1).unflatten(-1, shape[1:])  # over L · P
        return locations, weights
