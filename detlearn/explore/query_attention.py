"""Where a query of DETR looks: its cross-attention, layer by layer, while the model learns."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from detlearn.boxes import box_convert
from detlearn.explore.packed import light_enough, packed
from detlearn.explore.page import Explorable
from detlearn.explore.pictures import webp

DARKEST = 0.82  # of the shade over a cell that the query does not look at


def query_attention(
    image: Tensor,
    maps: Tensor,
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    steps: Sequence[int],
    class_names: Sequence[str],
    query: int = 0,
) -> Explorable:
    """Return the figure of an image and of what the queries of a decoder look at in it.

    The reader chooses a query, by its box or by a slider, and a moment of the training. For each
    layer of the decoder the image is as bright as the query's attention there, beside it the box,
    class and score that the layer predicts. The maps are stored in 8 bits.

    Shapes: S snapshots of a training, D layers, Q queries; h, w cells of the map.

    Args:
        image: (3, H, W), uint8, or float in [0, 1].
        maps: (S, D, Q, h, w), attention weights that are not negative, such as the mean of all
            heads or one of them.
        boxes: (S, D, Q, 4) cxcywh in shares of the image, as predicted.
        scores: (S, D, Q), the probability of the likeliest class, in [0, 1].
        labels: (S, D, Q) int64, that class.
        steps: (S,), when the snapshots were taken.
        class_names: names for the labels.
        query: that is chosen at the beginning.

    Raises:
        ValueError: if the shapes do not fit each other, for negative or missing numbers in the
            maps, for an unknown query or class, or for more than a page may hold.
    """
    maps, boxes, scores = (tensor.detach().double().cpu() for tensor in (maps, boxes, scores))
    _check(maps, boxes, scores, labels, steps, class_names, query)

    # Each map in 255 steps up to its own largest weight.
    largest = maps.amax(dim=(3, 4))  # (S, D, Q)
    shares = maps / largest.clamp(min=1e-12)[..., None, None]

    height, width = image.shape[-2:]
    picture = webp(image)
    corners = box_convert(boxes, "cxcywh", "xyxy")
    corners = corners * boxes.new_tensor([width, height, width, height])  # (S, D, Q, 4)
    figure = Explorable(
        name="query_attention",
        title="Where a query looks, layer by layer, while the model learns",
        description=(
            "An image with the boxes that the queries of a decoder predict. For one query, a "
            "picture for each of the decoder's layers is bright where the query looks, and has the "
            "box that this layer predicts. The query is chosen by its box or by a slider; another "
            "slider goes through the training. A table has, for each layer, class and score, and "
            "how much of the attention lies in the box."
        ),
        data={
            "image": picture,
            "width": width,
            "height": height,
            "cells": list(maps.shape[-2:]),
            "queries": maps.shape[2],
            "maps": packed(shares),
            "largest": _rounded(largest, 5),
            "boxes": _rounded(corners, 1),
            "scores": _rounded(scores, 3),
            "labels": labels.tolist(),
            "steps": list(steps),
            "names": list(class_names),
            "darkest": DARKEST,
            "state": {"query": query, "moment": len(maps) - 1},
        },
        still=_still(picture, (height, width), shares[-1, -1, query], corners[-1, -1, query]),
    )
    return light_enough(figure, "snapshots or queries")


def _check(
    maps: Tensor,
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    steps: Sequence[int],
    class_names: Sequence[str],
    query: int,
) -> None:
    if maps.ndim != 5 or maps.numel() == 0:
        raise ValueError(
            f"maps have shape {tuple(maps.shape)}: expected (S, D, Q, h, w), snapshots first, then "
            "layers, queries and the cells of the map"
        )

    given = {
        "boxes": (boxes.shape, (*maps.shape[:3], 4)),
        "scores": (scores.shape, maps.shape[:3]),
        "labels": (labels.shape, maps.shape[:3]),
        "steps": ((len(steps),), maps.shape[:1]),
    }
    for name, (got, expected) in given.items():
        if tuple(got) != tuple(expected):
            raise ValueError(
                f"{name} have shape {tuple(got)}, but maps {tuple(maps.shape)}: expected "
                f"{tuple(expected)}"
            )

    # A NaN fails this comparison, too.
    if not (maps >= 0).all():
        raise ValueError(
            "maps have negative numbers or NaN: give attention weights, after the softmax"
        )

    if not 0 <= labels.min() <= labels.max() < len(class_names):
        raise ValueError(
            f"labels go from {labels.min()} to {labels.max()}, but there are {len(class_names)} "
            "class names: leave out “no object”, the last class"
        )
    if not 0 <= query < maps.shape[2]:
        raise ValueError(f"query is {query}: expected 0 … {maps.shape[2] - 1}")


def _rounded(numbers: Tensor, digits: int) -> list:
    return (numbers * 10**digits).round().div(10**digits).tolist()


def _still(picture: str, size: tuple[int, int], shares: Tensor, box: Tensor) -> str:
    """Draw the map of one query, (h, w) up to 1, as light on the image, and its box."""
    height, width = size
    rows, columns = shares.shape
    shade = "".join(
        f'<path d="M{x * width / columns:g} {y * height / rows:g}h{width / columns:g}'
        f'v{height / rows:g}h-{width / columns:g}Z" opacity="{DARKEST * (1 - share):.2f}"/>'
        for y, row in enumerate(shares.tolist())
        for x, share in enumerate(row)
    )
    x1, y1, x2, y2 = box.tolist()
    outline = f'<path d="M{x1:.4g} {y1:.4g}H{x2:.4g}V{y2:.4g}H{x1:.4g}Z" fill="none"'
    return f"""\
<svg viewBox="0 0 {width} {height}" width="380" role="img" aria-label="An image, bright where a \
query looks, with the box that it predicts">
<image href="{picture}" width="{width}" height="{height}"/><g shape-rendering="crispEdges">{shade}\
</g>{outline} stroke="#111" stroke-width="{0.016 * width:g}"/>{outline} stroke="#fff" \
stroke-width="{0.008 * width:g}"/></svg>"""
