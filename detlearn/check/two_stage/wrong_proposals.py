"""Wrong ways to propose, as people write them, for exercise 2.5."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from detlearn.coders import decode_deltas
from detlearn.models.rpn import propose
from detlearn.nms import nms

Sizes = Sequence[tuple[int, int]]


def limits(height: int, width: int) -> Tensor:
    """The largest x1, y1, x2, y2 in an image, as (4,)."""
    return torch.tensor([width, height, width, height], dtype=torch.float32)


def clip(boxes: Tensor, size: tuple[int, int], sizes: Sizes) -> Tensor:
    """Clip boxes (n, 4) to their image of (height, width) ``size``; others clip to another."""
    return boxes.clamp(min=0).minimum(limits(*size))


def large(boxes: Tensor, min_size: float) -> Tensor:
    """Which of the boxes (n, 4) have no side below `min_size`, as (n,) bool."""
    return (boxes[:, 2:] - boxes[:, :2] >= min_size).all(dim=1)


def proposing(
    clip: Callable[[Tensor, tuple[int, int], Sizes], Tensor] = clip,
    large: Callable[[Tensor, float], Tensor] = large,
    suppress: Callable[[Tensor, Tensor, float], Tensor] = nms,
    gather: Callable[[Tensor, Tensor], Tensor] = lambda deltas, best: deltas[best],
    anchors_of: Callable[[Tensor, Tensor], Tensor] = lambda anchors, best: anchors.detach()[best],
    rank: Callable[[Tensor], Tensor] = lambda logits: logits.argsort(descending=True, stable=True),
    source: Callable[[Sequence, int], object] = lambda values, b: values[b],
    steps: str = "crn",
    tops: Callable[[int, int, float], tuple[int | None, int | None, float]] = lambda *tops: tops,
    sized: bool = True,
) -> Callable[..., list[Tensor]]:
    """Proposing with something changed.

    Args:
        clip, large, suppress: the three steps; steps: their order: c, r (remove small ones), n.
        gather, anchors_of: the deltas and the anchors of the best boxes.
        rank: all boxes, those first that are kept.
        source: of the predictions those of image b.
        tops: from the numbers before and after NMS and the threshold those that are used.
        sized: min_size is used; without, it is always 1.
    """

    def function(
        objectness: Tensor,
        deltas: Tensor,
        anchors: Tensor,
        image_sizes: Sizes,
        pre_nms_top_n: int = 1000,
        post_nms_top_n: int = 100,
        nms_threshold: float = 0.7,
        min_size: float = 1.0,
    ) -> list[Tensor]:
        pre, post, threshold = tops(pre_nms_top_n, post_nms_top_n, nms_threshold)
        proposals = []
        for b, size in enumerate(image_sizes):
            logits = source(objectness, b).detach()
            best = rank(logits)[:pre]
            moves = gather(source(deltas, b).detach(), best)
            scores, boxes = logits[best], decode_deltas(moves, anchors_of(anchors, best))
            for step in steps:
                if step == "c":
                    boxes = clip(boxes, size, image_sizes)
                    continue
                least = min_size if sized else 1.0
                keep = large(boxes, least) if step == "r" else suppress(boxes, scores, threshold)
                boxes, scores = boxes[keep], scores[keep]
            proposals.append(boxes[:post])
        return proposals

    return function


def first_for_all(*args) -> list[Tensor]:
    """Every image gets the proposals of the first: the bug hunt's second bug."""
    proposals = propose(*args)
    return proposals[:1] * len(proposals)


def attached(*args) -> list[Tensor]:
    """Right, but the proposals keep their gradient."""
    with torch.enable_grad():
        return propose.__wrapped__(*args)


def suppressed_together(
    objectness: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    image_sizes: Sizes,
    pre_nms_top_n: int = 1000,
    post_nms_top_n: int = 100,
    nms_threshold: float = 0.7,
    min_size: float = 1.0,
) -> list[Tensor]:
    """All images' boxes go through one NMS."""
    args = objectness, deltas, anchors, image_sizes
    boxes = propose(*args, pre_nms_top_n, objectness.shape[1], 1.0, min_size)
    scores, counts = [], [len(some) for some in boxes]
    for b in range(len(boxes)):
        ranked = objectness[b].detach().argsort(descending=True, stable=True)[:pre_nms_top_n]
        clipped = clip(decode_deltas(deltas[b, ranked], anchors[ranked]), image_sizes[b], [])
        scores.append(objectness[b, ranked][large(clipped, min_size)].detach())
    keep = nms(torch.cat(boxes), torch.cat(scores), nms_threshold)
    image = torch.arange(len(boxes)).repeat_interleave(torch.tensor(counts))
    together = torch.cat(boxes)
    return [together[keep[image[keep] == b]][:post_nms_top_n] for b in range(len(boxes))]


def at_least(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """NMS in which a box goes at the threshold itself."""
    return nms(boxes, scores, threshold - 1e-7)
