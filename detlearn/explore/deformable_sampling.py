"""Where the queries of deformable attention look: the points of every head on every level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detlearn.explore.packed import light_enough, packed
from detlearn.explore.page import Explorable
from detlearn.explore.pictures import webp

# One for each head, light, on dark casings; deformable_sampling.js has the same ones.
HEAD_COLOURS = (
    *("#fca800", "#90fcfc", "#e49cff", "#e4f090"),
    *("#ff9f95", "#9fc4ff", "#8df5a0", "#ffffff"),
)
MARGIN = 0.06  # around the image, as a share of it: points may lie outside
WIDEST = 5.5  # radius of a point with all of the attention, in hundredths of the image's width


def deformable_sampling(
    image: Tensor,
    references: Tensor,
    locations: Tensor,
    weights: Tensor,
    sizes: Sequence[tuple[int, int]],
    *,
    query: int = 0,
) -> Explorable:
    """Return the figure of an image and of the points that the queries of a model read in it.

    The reader asks the query whose reference lies nearest to the pointer, or goes through them by a
    slider, chooses the layer and one of the heads. A point's area is its weight, its colour its
    head; beside the whole stand the levels, each with its cells. The tensors are what
    `DeformableAttention.places` returns in each layer, for one image; they are stored in 8 bits.

    Shapes: D layers, Q queries, M heads, L levels, P points.

    Args:
        image: (3, H, W), uint8, or float in [0, 1].
        references: (D, Q, 2) points x, y or (D, Q, 4) boxes cxcywh, in shares of the image.
        locations: (D, Q, M, L, P, 2), x and y in shares of the image.
        weights: (D, Q, M, L, P), with a sum of 1 over levels and points together.
        sizes: height and width of the map of each level.
        query: that is asked at the beginning.

    Raises:
        ValueError: if the shapes do not fit each other, for more than eight heads, for weights that
            do not sum to 1, for an unknown query, or for more than a page may hold.
    """
    references, locations, weights = (
        tensor.detach().double().cpu() for tensor in (references, locations, weights)
    )
    _check(references, locations, weights, sizes, query)

    # Points are stored as seen from their reference, level by level in steps of their own.
    centres = references[:, :, None, None, None, :2]  # (D, Q, 1, 1, 1, 2)
    moves = locations - centres
    reach = moves.abs().amax(dim=(0, 1, 2, 4, 5)).clamp(min=1e-9)  # (L,)
    largest = weights.max().item()

    height, width = image.shape[-2:]
    picture = webp(image)
    figure = Explorable(
        name="deformable_sampling",
        title="Where deformable attention looks",
        description=(
            "An image with the reference points of a model's queries. For one query the points "
            "that it reads are drawn, in a colour for each head and with an area that is their "
            "weight: all of them on the image, and those of each level beside it, over the cells "
            "of its map. The query is chosen by the pointer or by a slider; layer and head by a "
            "row of buttons. A table says how much of the attention each level has, and how far "
            "from the reference its points lie."
        ),
        data={
            "image": picture,
            "width": width,
            "height": height,
            "margin": MARGIN,
            "widest": WIDEST,
            "sizes": [list(size) for size in sizes],
            "heads": weights.shape[2],
            "points": weights.shape[4],
            "references": _rounded(references),
            "moves": packed(moves, reach[:, None, None], signed=True),
            "reach": reach.tolist(),
            "weights": packed(weights, largest),
            "largest": largest,
            "state": {"query": query, "layer": len(weights) - 1, "head": None},
        },
        still=_still(picture, (height, width), locations[-1, query], weights[-1, query]),
    )
    return light_enough(figure, "layers or queries")


def _check(
    references: Tensor, locations: Tensor, weights: Tensor, sizes: Sequence, query: int
) -> None:
    if weights.ndim != 5 or weights.numel() == 0:
        raise ValueError(
            f"weights have shape {tuple(weights.shape)}: expected (D, Q, heads, L, P), layers "
            "first, for one image"
        )

    num_layers, num_queries, num_heads, num_levels, _ = weights.shape
    wanted = {
        "locations": (locations.shape, [(*weights.shape, 2)]),
        "references": (references.shape, [(num_layers, num_queries, n) for n in (2, 4)]),
        "sizes": (torch.Size([len(sizes)]), [(num_levels,)]),
    }
    for name, (got, expected) in wanted.items():
        if tuple(got) not in expected:
            raise ValueError(
                f"{name} have shape {tuple(got)}, but weights {tuple(weights.shape)}: expected "
                f"{' or '.join(map(str, expected))}"
            )

    if num_heads > len(HEAD_COLOURS):
        raise ValueError(
            f"weights have {num_heads} heads: at most {len(HEAD_COLOURS)} have colours"
        )

    sums = weights.sum(dim=(3, 4))
    if not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        worst = sums.flatten()[(sums - 1).abs().argmax()].item()
        raise ValueError(
            "weights must sum to 1 over levels and points together, for each head; one sum is "
            f"{worst:.3g}. Give them after the softmax"
        )

    if not 0 <= query < num_queries:
        raise ValueError(f"query is {query}: expected 0 … {num_queries - 1}")


def _rounded(numbers: Tensor) -> list:
    """Return places to a ten-thousandth of the image, as lists."""
    return (numbers * 1e4).round().div(1e4).tolist()


def _still(picture: str, size: tuple[int, int], locations: Tensor, weights: Tensor) -> str:
    """Draw the points of one query, (M, L, P, 2), on the image; a unit is a pixel."""
    height, width = size
    marks = ""
    for head, (places, shares) in enumerate(zip(locations.flatten(1, 2), weights.flatten(1))):
        for (x, y), share in zip(places.tolist(), shares.tolist()):
            marks += (
                f'<circle cx="{x * width:.4g}" cy="{y * height:.4g}" '
                f'r="{WIDEST * share**0.5 * width / 100:.3g}" fill="{HEAD_COLOURS[head]}"/>'
            )
    left, top = -MARGIN * width, -MARGIN * height
    frame = f"{left:g} {top:g} {width - 2 * left:g} {height - 2 * top:g}"
    return f"""\
<svg viewBox="{frame}" width="380" role="img" aria-label="An image with the points that one query \
reads; larger ones have more weight, a colour is a head">
<image href="{picture}" width="{width}" height="{height}"/>
<g stroke="#111" fill-opacity=".85" stroke-width="{0.004 * width:g}">{marks}</g></svg>"""
