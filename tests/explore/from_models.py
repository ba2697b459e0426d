"""Tensors as a model would give them, for the figures that show what a model does."""

from functools import cache

import torch

from detlearn import explore
from detlearn.data import ToyTown
from detlearn.nets.deformable_attention import sampling_locations


@cache
def scene() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    return ToyTown(1, seed=3)[0]


def sampling(
    layers=2, queries=12, heads=4, sizes=((16, 16), (8, 8), (4, 4)), points=4, boxes=True, seed=0
) -> dict:
    """The arguments of `explore.deformable_sampling`."""
    draw = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=draw, dtype=torch.float64)

    # A star of directions, one a head, and some noise.
    shape = (layers, queries, heads, len(sizes), points)
    angles = torch.arange(heads) * (2 * torch.pi / heads)
    star = torch.stack((angles.cos(), angles.sin()), dim=-1)[:, None, None]  # (M, 1, 1, 2)
    star = star * torch.arange(1, points + 1)[:, None]
    offsets = star + 1.5 * torch.randn(*shape, 2, generator=draw, dtype=torch.float64)

    centres, sides = uniform(layers, queries, 2), 0.1 + 0.4 * uniform(layers, queries, 2)
    references = torch.cat((centres, sides), dim=-1) if boxes else centres
    each = references[:, :, None].expand(-1, -1, len(sizes), -1)
    logits = 2 * torch.randn(*shape, generator=draw, dtype=torch.float64)
    return {
        "image": scene()[0],
        "references": references,
        "locations": sampling_locations(each, offsets, torch.tensor(sizes)),
        "weights": logits.flatten(3).softmax(dim=-1).view(shape),
        "sizes": sizes,
    }


def figure_named(name: str) -> explore.Explorable:
    """Make a figure; what it needs of a model comes from above."""
    needs = {"deformable_sampling": sampling}
    return getattr(explore, name)(**needs.get(name, dict)())
