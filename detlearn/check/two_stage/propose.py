"""Exercise 2.7: from the predictions of an RPN to proposals."""

from __future__ import annotations

import torch

from detlearn.check.boxes import Drawing
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.two_stage import wrong_proposals as wrong
from detlearn.check.two_stage.proposal_cases import proposal_cases
from detlearn.check.two_stage.wrong_proposals import proposing
from detlearn.coders import decode_deltas
from detlearn.models.rpn import propose

# ---- wrong answers ----

MISCONCEPTIONS = (
    # Images mixed up.
    Misconception(
        "the proposals of the first image are returned for all images; each image has its own",
        wrong.first_for_all,
    ),
    Misconception(
        "the predictions of the first image are used for all images; image b has its own, "
        "objectness[b] and deltas[b]",
        proposing(source=lambda values, b: values[0]),
    ),
    Misconception(
        "the deltas of the first image are used for all images; image b has its own, deltas[b]",
        proposing(source=lambda values, b: values[0 if values.ndim == 3 else b]),
    ),
    Misconception(
        "the logits of the first image choose for all images; image b has its own, objectness[b]",
        proposing(source=lambda values, b: values[0 if values.ndim == 2 else b]),
    ),
    Misconception(
        "the ranking of the first image is used for all images: the boxes that are best there are "
        "not those of image b; rank objectness[b]",
        wrong.ranked_as_the_first,
    ),
    Misconception(
        "what NMS keeps of the first image are not the places to keep in the others; call it for "
        "each image",
        wrong.kept_as_in_the_first,
    ),
    Misconception(
        "boxes of different images suppress each other: NMS is done for each image alone",
        wrong.suppressed_together,
    ),
    Misconception(
        "both numbers are of each image, not of the batch: an image whose logits are lower has as "
        "many proposals",
        wrong.best_of_the_batch,
        wrong.tops_of_the_batch,
    ),
    # The borders of the image.
    Misconception(
        "an image size is (height, width): x is limited by the width, the second number, y by "
        "the height",
        proposing(clip=lambda boxes, size, sizes: wrong.clip(boxes, size[::-1], sizes)),
    ),
    Misconception(
        "all boxes are clipped to the first image; each is clipped to its own",
        proposing(clip=lambda boxes, size, sizes: wrong.clip(boxes, sizes[0], sizes)),
    ),
    Misconception(
        "all boxes are clipped to the largest image, as if the padding belonged to the others; "
        "each is clipped to its own",
        proposing(clip=wrong.clip_to_the_largest),
    ),
    Misconception("nothing is clipped: no box may leave its image", proposing(steps="rn")),
    Misconception(
        "what is clipped are the boxes once they are decoded; yours are clipped before they are "
        "moved, and may leave the image again",
        wrong.anchors_clipped,
    ),
    Misconception(
        "boxes are clipped at 0 only; at the width and the height of the image too",
        proposing(clip=lambda boxes, size, sizes: boxes.clamp(min=0)),
    ),
    Misconception(
        "boxes are clipped at the width and the height only; at 0 too",
        proposing(clip=lambda boxes, size, sizes: boxes.minimum(wrong.limits(*size))),
    ),
    Misconception(
        "only x is clipped; y1 and y2 must stay within the height as well",
        proposing(clip=lambda boxes, size, sizes: wrong.clip(boxes, size, sizes, "x")),
    ),
    Misconception(
        "only y is clipped; x1 and x2 must stay within the width as well",
        proposing(clip=lambda boxes, size, sizes: wrong.clip(boxes, size, sizes, "y")),
    ),
    Misconception(
        "coordinates are continuous: the image ends at its width, not at width − 1",
        proposing(
            clip=lambda boxes, size, sizes: wrong.clip(boxes, (size[0] - 1, size[1] - 1), sizes)
        ),
    ),
    Misconception(
        "a box that crosses the border is clipped to the image; yours is dropped",
        wrong.dropped_at_the_border,
    ),
    # Small boxes.
    Misconception(
        "small boxes are left in: remove those with a side below min_size",
        proposing(steps="cn"),
    ),
    Misconception(
        "nothing is clipped and small boxes are left in; do both before NMS",
        proposing(steps="n"),
    ),
    Misconception(
        "a box goes if one of its sides is below min_size; yours goes only if both are",
        proposing(large=lambda boxes, least: (boxes[:, 2:] - boxes[:, :2] >= least).any(dim=1)),
    ),
    Misconception(
        "a box goes if a side is below min_size; yours goes only if it has no area at all",
        proposing(large=lambda boxes, least: (boxes[:, 2:] > boxes[:, :2]).all(dim=1)),
        proposing(large=lambda boxes, least: wrong.area(boxes) > 0),
    ),
    Misconception(
        "min_size is a length: compare both sides with it, not the area",
        proposing(large=lambda boxes, least: wrong.area(boxes) >= least),
        proposing(large=lambda boxes, least: wrong.area(boxes) >= least**2),
    ),
    Misconception(
        "a box with a side of exactly min_size stays",
        proposing(large=lambda boxes, least: (boxes[:, 2:] - boxes[:, :2] > least).all(dim=1)),
    ),
    Misconception(
        "the smallest side is the one you are given, min_size; yours is always 1",
        proposing(sized=False),
    ),
    Misconception(
        "NMS returns places among the boxes that it was given, those without the small ones; "
        "yours are looked up among all boxes",
        wrong.places_among_the_large,
    ),
    # The order of the steps.
    Misconception(
        "the pre_nms_top_n best come first, whatever their size; yours removes small boxes before, "
        "so that others take their places",
        wrong.removed_before_the_best,
    ),
    Misconception(
        "small boxes are removed before NMS, so that they suppress no other; yours removes them "
        "afterwards",
        proposing(steps="cnr"),
    ),
    Misconception(
        "small boxes are removed before the clipping makes them small; clip first",
        proposing(steps="rcn"),
    ),
    Misconception(
        "boxes are suppressed as they were before the clipping; clip first, then NMS",
        proposing(steps="ncr"),
    ),
    # How many.
    Misconception(
        "only the pre_nms_top_n boxes of highest objectness go into NMS; yours takes all and "
        "cuts afterwards",
        proposing(tops=lambda pre, post, threshold: (None, post, threshold)),
        proposing(tops=lambda pre, post, threshold: (None, min(pre, post), threshold)),
    ),
    Misconception(
        "post_nms_top_n comes after NMS; cut before, it leaves too few proposals",
        proposing(tops=lambda pre, post, threshold: (min(pre, post), None, threshold)),
    ),
    Misconception(
        "the two numbers are exchanged: pre_nms_top_n boxes go into NMS, post_nms_top_n remain",
        proposing(tops=lambda pre, post, threshold: (post, pre, threshold)),
    ),
    Misconception(
        "at most post_nms_top_n proposals of an image remain; yours are all",
        proposing(tops=lambda pre, post, threshold: (pre, None, threshold)),
    ),
    # Suppression.
    Misconception("nothing is suppressed: NMS is missing", proposing(steps="cr")),
    Misconception(
        "the threshold is the one you are given, nms_threshold; yours is always 0.7",
        proposing(tops=lambda pre, post, threshold: (pre, post, 0.7)),
    ),
    Misconception(
        "the threshold is the one you are given, nms_threshold; yours is always 0.5",
        proposing(tops=lambda pre, post, threshold: (pre, post, 0.5)),
    ),
    Misconception(
        "a box goes if its IoU is above the threshold; at the threshold itself it stays",
        proposing(suppress=wrong.at_least),
    ),
    Misconception(
        "a box that is gone suppresses no other: take them one after the other, best first",
        proposing(suppress=wrong.by_any_better),
    ),
    Misconception(
        "equal boxes suppress each other and all go; the first of them stays",
        proposing(suppress=wrong.by_equals_too),
    ),
    # Which boxes.
    Misconception(
        "the boxes are taken from the lowest objectness to the highest; the best comes first",
        proposing(rank=wrong.worst_first),
        proposing(
            rank=wrong.worst_first,
            suppress=lambda boxes, scores, threshold: wrong.nms(boxes, -scores, threshold),
        ),
    ),
    Misconception(
        "a logit is compared as it is; yours ranks by its size without the sign",
        proposing(rank=lambda logits: wrong.best_first(logits.abs())),
    ),
    Misconception(
        "a logit below 0 is no reason to drop a box: how many go on is pre_nms_top_n's to say",
        proposing(rank=wrong.likely),
    ),
    Misconception(
        "NMS returns the best first; yours turns the order round, so that the worst come first",
        proposing(suppress=lambda *args: wrong.nms(*args).flip(0)),
        proposing(suppress=lambda *args: wrong.nms(*args).sort(descending=True).values),
    ),
    Misconception(
        "the proposals stand in the order of the anchors; return the best first",
        proposing(
            rank=lambda logits: torch.arange(len(logits)),
            suppress=lambda *args: wrong.nms(*args).sort().values,
        ),
    ),
    Misconception(
        "the deltas of a box belong to its own anchor: take the anchors of the same indices, "
        "anchors[best]",
        proposing(anchors_of=lambda anchors, best: anchors[: len(best)]),
    ),
    Misconception(
        "the scores are sorted, the deltas are not: take those of the same indices, "
        "deltas[b][best]",
        proposing(gather=lambda deltas, best: deltas[: len(best)]),
    ),
    Misconception(
        "the scores are sorted, the boxes are not: take those of the same indices",
        proposing(
            gather=lambda deltas, best: deltas[: len(best)],
            anchors_of=lambda anchors, best: anchors[: len(best)],
        ),
    ),
    Misconception(
        "these are the anchors; decode the deltas",
        proposing(gather=lambda deltas, best: torch.zeros_like(deltas[best])),
    ),
    # The form of the result.
    Misconception(
        "post_nms_top_n is the most; an image with fewer proposals has fewer rows, and yours are "
        "filled with zeros",
        wrong.filled_with_zeros,
    ),
    Misconception(
        "proposals carry no gradient: the second stage takes them as they are; use "
        "torch.no_grad() or .detach()",
        wrong.attached,
    ),
    Misconception(
        "return one tensor for each image; yours is that of the first image alone",
        lambda *args: propose(*args)[:1],
    ),
    Misconception(
        "return the boxes of all images as a list, not as one tensor",
        lambda *args: torch.cat(propose(*args)),
    ),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return that all deltas are zero, where they are; the engine shows the rest."""
    deltas = case.args[1]
    return "" if deltas.any() or not deltas.numel() else "deltas = 0 everywhere"


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the decoded boxes of the failing image with their logits, and the image's border."""
    objectness, deltas, anchors, sizes, *_ = case.args
    image = found.output
    if not 0 < objectness.shape[1] <= 4 or image >= len(sizes):
        return []

    boxes = decode_deltas(deltas[image], anchors)
    listed = [
        (box, f"{i}: {float(logit):g}", "ab"[i % 2])
        for i, (box, logit) in enumerate(zip(boxes, objectness[image]))
    ]

    height, width = sizes[image]
    return [(torch.tensor([0.0, 0, width, height]), f"image {image}", "c"), *listed]


PROPOSE = Exercise(
    number="2.7",
    name="propose",
    reference=propose,
    cases=proposal_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("proposals[0]", "proposals[1]"),
    draw=_draw,
    narrow=_show,
    allowed=frozenset(
        {
            *("decode_deltas", "clip_boxes_to_image"),
            *("nms", "naive_nms", "batched_nms", "box_iou", "box_area", "paired_iou"),
        }
    ),
)
