"""Wrong ways to propose, as people write them, for exercise 2.7."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from detlearn.boxes import box_iou
from detlearn.coders import decode_deltas
from detlearn.models.rpn import propose
from detlearn.nms import nms

Sizes = Sequence[tuple[int, int]]


# ---- the steps as they should be ----


def limits(height: int, width: int) -> Tensor:
    """Return the largest x1, y1, x2, y2 in an image, as (4,)."""
    return torch.tensor([width, height, width, height], dtype=torch.float32)


def clip(boxes: Tensor, size: tuple[int, int], sizes: Sizes, only: str = "xy") -> Tensor:
    """Clip boxes (n, 4) to their image, whose (height, width) is ``size``; ``sizes`` are all."""
    clipped = boxes.clamp(min=0).minimum(limits(*size))
    chosen = torch.tensor(["x" in only, "y" in only] * 2)
    return torch.where(chosen, clipped, boxes)


def large(boxes: Tensor, min_size: float) -> Tensor:
    """Return which of the boxes (n, 4) have no side below `min_size`, as (n,) bool."""
    return (boxes[:, 2:] - boxes[:, :2] >= min_size).all(dim=1)


def best_first(logits: Tensor) -> Tensor:
    """Return the indices of all boxes, those of the highest logit first."""
    return logits.argsort(descending=True, stable=True)


def area(boxes: Tensor) -> Tensor:
    """Return the areas (n,) of boxes (n, 4)."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)


def own(values: Tensor, b: int) -> Tensor:
    """Return what belongs to image b."""
    return values[b]


def proposing(
    clip: Callable[[Tensor, tuple[int, int], Sizes], Tensor] = clip,
    large: Callable[[Tensor, float], Tensor] = large,
    suppress: Callable[[Tensor, Tensor, float], Tensor] = nms,
    gather: Callable[[Tensor, Tensor], Tensor] = lambda deltas, best: deltas[best],
    anchors_of: Callable[[Tensor, Tensor], Tensor] = lambda anchors, best: anchors[best],
    rank: Callable[[Tensor], Tensor] = best_first,
    source: Callable[[Tensor, int], Tensor] = own,
    steps: str = "crn",
    tops: Callable[[int, int, float], tuple[int | None, int | None, float]] = lambda *tops: tops,
    sized: bool = True,
) -> Callable[..., list[Tensor]]:
    """Return proposing with something changed.

    Args:
        clip: the first step.
        large: the second, removing small boxes.
        suppress: the third.
        gather: gives the deltas of the best boxes.
        anchors_of: gives the anchors of the best boxes.
        rank: gives all boxes, those first that are kept.
        source: gives the predictions of image b.
        steps: the order of the three: c, r (remove small ones), n.
        tops: gives the numbers before and after NMS and the threshold that are used.
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
        objectness, deltas, anchors = objectness.detach(), deltas.detach(), anchors.detach()
        pre, post, threshold = tops(pre_nms_top_n, post_nms_top_n, nms_threshold)
        least = min_size if sized else 1.0

        proposals = []
        for b, size in enumerate(image_sizes):
            logits = source(objectness, b)
            best = rank(logits)[:pre]
            scores = logits[best]

            moves = gather(source(deltas, b), best)
            boxes = decode_deltas(moves, anchors_of(anchors, best))

            for step in steps:
                if step == "c":
                    boxes = clip(boxes, size, image_sizes)
                    continue

                keep = large(boxes, least) if step == "r" else suppress(boxes, scores, threshold)
                boxes, scores = boxes[keep], scores[keep]

            proposals.append(boxes[:post])

        return proposals

    return function


# ---- images mixed up ----


def first_for_all(*args) -> list[Tensor]:
    """Give every image the proposals of the first: the bug hunt's second bug."""
    proposals = propose(*args)
    return proposals[:1] * len(proposals)


def ranked_as_the_first(
    objectness: Tensor, deltas: Tensor, anchors: Tensor, sizes: Sizes, pre: int = 1000, *rest: float
) -> list[Tensor]:
    """Take the places that are best in the first image, with each image's own predictions."""
    best = best_first(objectness[0].detach())[:pre]
    return propose(objectness[:, best], deltas[:, best], anchors[best], sizes, pre, *rest)


# The last step: takes the boxes that go into NMS and their scores, a tensor of each image, and
# post_nms_top_n and nms_threshold.
LastStep = Callable[[list[Tensor], list[Tensor], int, float], list[Tensor]]


def _proposing_up_to_nms(last_step: LastStep) -> Callable[..., list[Tensor]]:
    """Return proposing that is right up to NMS and goes on with another last step."""

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
        boxes_of, scores_of = [], []
        for logits, moves, size in zip(objectness.detach(), deltas.detach(), image_sizes):
            best = best_first(logits)[:pre_nms_top_n]
            boxes = clip(decode_deltas(moves[best], anchors.detach()[best]), size, image_sizes)

            stays = large(boxes, min_size)
            boxes_of.append(boxes[stays])
            scores_of.append(logits[best][stays])

        return last_step(boxes_of, scores_of, post_nms_top_n, nms_threshold)

    return function


@_proposing_up_to_nms
def suppressed_together(
    boxes: list[Tensor], scores: list[Tensor], post_nms_top_n: int, nms_threshold: float
) -> list[Tensor]:
    """Send all images' boxes through one NMS."""
    image = torch.arange(len(boxes)).repeat_interleave(torch.tensor([len(b) for b in boxes]))
    together = torch.cat(boxes)

    keep = nms(together, torch.cat(scores), nms_threshold)
    return [together[keep[image[keep] == b]][:post_nms_top_n] for b in range(len(boxes))]


@_proposing_up_to_nms
def kept_as_in_the_first(
    boxes: list[Tensor], scores: list[Tensor], post_nms_top_n: int, nms_threshold: float
) -> list[Tensor]:
    """Do NMS for the first image and take the same places of all."""
    keep = nms(boxes[0], scores[0], nms_threshold)
    return [some[keep[keep < len(some)]][:post_nms_top_n] for some in boxes]


@_proposing_up_to_nms
def best_of_the_batch(
    boxes: list[Tensor], scores: list[Tensor], post_nms_top_n: int, nms_threshold: float
) -> list[Tensor]:
    """Keep post_nms_top_n proposals of all images together."""
    kept = [nms(some, values, nms_threshold) for some, values in zip(boxes, scores)]
    boxes = [some[keep] for some, keep in zip(boxes, kept)]
    scores = [values[keep] for values, keep in zip(scores, kept)]

    # The score of the last proposal that has a place in the batch.
    ranked = torch.cat(scores).sort(descending=True).values[:post_nms_top_n]
    if len(ranked) == 0:
        return boxes
    return [some[values >= ranked[-1]] for some, values in zip(boxes, scores)]


def places_among_the_large(*args) -> list[Tensor]:
    """Look up what NMS keeps among all boxes, not among those that it was given."""
    objectness, deltas, anchors, image_sizes = (
        value.detach() if isinstance(value, Tensor) else value for value in args[:4]
    )
    settings = (1000, 100, 0.7, 1.0)
    pre, post, threshold, least = (*args[4:], *settings[len(args) - 4 :])

    proposals = []
    for logits, moves, size in zip(objectness, deltas, image_sizes):
        best = best_first(logits)[:pre]
        boxes = clip(decode_deltas(moves[best], anchors[best]), size, image_sizes)
        stays = large(boxes, least)
        keep = nms(boxes[stays], logits[best][stays], threshold)[:post]
        proposals.append(boxes[keep])

    return proposals


def tops_of_the_batch(
    objectness: Tensor, deltas: Tensor, anchors: Tensor, sizes: Sizes, pre: int = 1000, *rest: float
) -> list[Tensor]:
    """Send the pre_nms_top_n best boxes of all images together into NMS."""
    best = best_first(objectness.detach().flatten())[:pre]
    image = best // max(len(anchors), 1)
    place = best % max(len(anchors), 1)

    proposals = []
    for b, size in enumerate(sizes):
        mine = place[image == b]
        predictions = objectness[b : b + 1, mine], deltas[b : b + 1, mine], anchors[mine]
        proposals += propose(*predictions, [size], pre, *rest)

    return proposals


# ---- steps done otherwise ----


def removed_before_the_best(
    objectness: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    sizes: Sizes,
    pre: int = 1000,
    post: int = 100,
    threshold: float = 0.7,
    least: float = 1.0,
) -> list[Tensor]:
    """Remove small boxes first, and take the best of those that are left."""
    proposals = []
    for b, size in enumerate(sizes):
        boxes = clip(decode_deltas(deltas[b].detach(), anchors.detach()), size, sizes)
        stays = large(boxes, least)
        predictions = objectness[b : b + 1, stays], deltas[b : b + 1, stays], anchors[stays]
        proposals += propose(*predictions, [size], pre, post, threshold, least)

    return proposals


def dropped_at_the_border(*args) -> list[Tensor]:
    """Drop the boxes that cross the border of the image instead of clipping them."""

    def beyond(boxes: Tensor, size: tuple[int, int], sizes: Sizes) -> Tensor:
        crosses = (boxes != clip(boxes, size, sizes)).any(dim=1)
        return boxes.masked_fill(crosses[:, None], 0)

    # A box without sides is removed by any min_size above 0.
    return proposing(clip=beyond)(*args)


def attached(*args) -> list[Tensor]:
    """Propose rightly, but keep the proposals' gradient."""
    with torch.enable_grad():
        return propose.__wrapped__(*args)


def filled_with_zeros(*args) -> list[Tensor]:
    """Fill the proposals of an image up to post_nms_top_n."""
    rows = args[5] if len(args) > 5 else 100
    return [torch.cat((boxes, boxes.new_zeros(rows - len(boxes), 4))) for boxes in propose(*args)]


def anchors_clipped(
    objectness: Tensor, deltas: Tensor, anchors: Tensor, sizes: Sizes, *settings: float
) -> list[Tensor]:
    """Clip the anchors, and not what is decoded from them."""
    proposals = []
    for b, size in enumerate(sizes):
        inside = clip(anchors.detach(), size, sizes)
        unclipped = proposing(steps="rn")
        predictions = objectness[b : b + 1], deltas[b : b + 1], inside
        proposals += unclipped(*predictions, [size], *settings)

    return proposals


def clip_to_the_largest(boxes: Tensor, size: tuple[int, int], sizes: Sizes) -> Tensor:
    """Clip boxes to what the batch is padded to."""
    heights, widths = zip(*sizes)
    return clip(boxes, (max(heights), max(widths)), sizes)


def worst_first(logits: Tensor) -> Tensor:
    """Rank the boxes from the lowest logit on."""
    return logits.argsort(stable=True)


def likely(logits: Tensor) -> Tensor:
    """Rank the boxes, but those alone whose logit is above 0."""
    ranked = best_first(logits)
    return ranked[logits[ranked] > 0]


def at_least(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Do NMS in which a box goes at the threshold itself."""
    return nms(boxes, scores, threshold - 1e-7)


def by_any_better(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Do NMS at one blow: a box goes if any better one overlaps it, be that one gone itself."""
    order = best_first(scores)
    overlap = box_iou(boxes[order], boxes[order]).triu(1)
    return order[(overlap <= threshold).all(dim=0)]


def by_equals_too(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Do NMS in which two overlapping boxes of equal score both go."""
    keep = nms(boxes, scores, threshold)
    twins = (box_iou(boxes, boxes) > threshold) & (scores[:, None] == scores)
    return keep[twins.sum(dim=1)[keep] == 1]  # each is its own twin
