"""Exercise 2.5: from the predictions of an RPN to proposals."""

from __future__ import annotations

import torch

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.boxes import Drawing, row
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.two_stage import wrong_proposals as wrong
from detlearn.check.two_stage.proposal_cases import proposal_cases
from detlearn.coders import decode_deltas
from detlearn.models.rpn import propose


def _show(case: Case, found: Fault) -> str:
    objectness, _, anchors, sizes, *rest = case.args
    if objectness.shape[1] > 4:
        return ""
    logits = [[round(float(x), 2) for x in row_] for row_ in objectness]
    more = "".join(f", {value:g}" for value in rest)
    listed = ", ".join(row(anchor) for anchor in anchors)
    return f"objectness {logits}, anchors {listed}, image_sizes {sizes}{more}"


def _draw(case: Case, found: Fault) -> Drawing:
    objectness, deltas, anchors, sizes, *_ = case.args
    if not 0 < objectness.shape[1] <= 4 or found.output >= len(sizes):
        return []
    boxes = decode_deltas(deltas[found.output], anchors)
    logits = objectness[found.output]
    listed = [
        (box, f"{i}: {float(x):g}", "ab"[i % 2]) for i, (box, x) in enumerate(zip(boxes, logits))
    ]
    height, width = sizes[found.output]
    return [(torch.tensor([0.0, 0, width, height]), f"image {found.output}", "c"), *listed]


PROPOSE = Exercise(
    number="2.5",
    name="propose",
    reference=propose,
    cases=proposal_cases,
    misconceptions=(
        Misconception(
            "the proposals of the first image are returned for all images; each image has its own",
            wrong.first_for_all,
        ),
        Misconception(
            "the predictions of the first image are used for all images; image b has its own, "
            "objectness[b] and deltas[b]",
            wrong.proposing(source=lambda values, b: values[0]),
        ),
        Misconception(
            "the deltas of the first image are used for all images; image b has its own, deltas[b]",
            wrong.proposing(source=lambda values, b: values[0 if values.ndim == 3 else b]),
        ),
        Misconception(
            "the logits of the first image choose for all images; image b has its own, "
            "objectness[b]",
            wrong.proposing(source=lambda values, b: values[0 if values.ndim == 2 else b]),
        ),
        Misconception(
            "boxes of different images suppress each other: NMS is done for each image alone",
            wrong.suppressed_together,
        ),
        Misconception(
            "an image size is (height, width): x is limited by the width, the second number, y by "
            "the height",
            wrong.proposing(clip=lambda boxes, size, sizes: wrong.clip(boxes, size[::-1], sizes)),
        ),
        Misconception(
            "all boxes are clipped to the first image; each is clipped to its own",
            wrong.proposing(clip=lambda boxes, size, sizes: wrong.clip(boxes, sizes[0], sizes)),
        ),
        Misconception(
            "all boxes are clipped to the largest image, as if the padding belonged to the others; "
            "each is clipped to its own",
            wrong.proposing(
                clip=lambda boxes, size, sizes: wrong.clip(
                    boxes, tuple(max(sides) for sides in zip(*sizes)), sizes
                )
            ),
        ),
        Misconception(
            "nothing is clipped: no box may leave its image", wrong.proposing(steps="rn")
        ),
        Misconception(
            "boxes are clipped at 0 only; at the width and the height of the image too",
            wrong.proposing(clip=lambda boxes, size, sizes: boxes.clamp(min=0)),
        ),
        Misconception(
            "boxes are clipped at the width and the height only; at 0 too",
            wrong.proposing(clip=lambda boxes, size, sizes: boxes.minimum(wrong.limits(*size))),
        ),
        Misconception(
            "coordinates are continuous: the image ends at its width, not at width − 1",
            wrong.proposing(
                clip=lambda boxes, size, sizes: wrong.clip(boxes, (size[0] - 1, size[1] - 1), sizes)
            ),
        ),
        Misconception(
            "small boxes are left in: remove those with a side below min_size",
            wrong.proposing(steps="cn"),
        ),
        Misconception(
            "nothing is clipped and small boxes are left in; do both before NMS",
            wrong.proposing(steps="n"),
        ),
        Misconception(
            "a box goes if one of its sides is below min_size; yours goes only if both are",
            wrong.proposing(
                large=lambda boxes, least: (boxes[:, 2:] - boxes[:, :2] >= least).any(dim=1)
            ),
        ),
        Misconception(
            "min_size is a length: compare both sides with it, not the area",
            wrong.proposing(
                large=lambda boxes, least: (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) >= least
            ),
        ),
        Misconception(
            "min_size is a length: compare both sides with it, not the area",
            wrong.proposing(
                large=lambda boxes, least: (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) >= least**2
            ),
        ),
        Misconception(
            "a box with a side of exactly min_size stays",
            wrong.proposing(
                large=lambda boxes, least: (boxes[:, 2:] - boxes[:, :2] > least).all(dim=1)
            ),
        ),
        Misconception(
            "the smallest side is the one you are given, min_size; yours is always 1",
            wrong.proposing(sized=False),
        ),
        Misconception(
            "small boxes are removed before the clipping makes them small; clip first",
            wrong.proposing(steps="rcn"),
        ),
        Misconception(
            "boxes are suppressed as they were before the clipping; clip first, then NMS",
            wrong.proposing(steps="ncr"),
        ),
        Misconception(
            "only the pre_nms_top_n boxes of highest objectness go into NMS; yours takes all and "
            "cuts afterwards",
            wrong.proposing(tops=lambda pre, post, t: (None, post, t)),
        ),
        Misconception(
            "only the pre_nms_top_n boxes of highest objectness go into NMS; yours takes all and "
            "cuts afterwards",
            wrong.proposing(tops=lambda pre, post, t: (None, min(pre, post), t)),
        ),
        Misconception(
            "post_nms_top_n comes after NMS; cut before, it leaves too few proposals",
            wrong.proposing(tops=lambda pre, post, t: (min(pre, post), None, t)),
        ),
        Misconception(
            "the two numbers are exchanged: pre_nms_top_n boxes go into NMS, post_nms_top_n remain",
            wrong.proposing(tops=lambda pre, post, t: (post, pre, t)),
        ),
        Misconception(
            "at most post_nms_top_n proposals of an image remain; yours are all",
            wrong.proposing(tops=lambda pre, post, t: (pre, None, t)),
        ),
        Misconception(
            "the threshold is the one you are given, nms_threshold; yours is always 0.7",
            wrong.proposing(tops=lambda pre, post, t: (pre, post, 0.7)),
        ),
        Misconception(
            "the threshold is the one you are given, nms_threshold; yours is always 0.5",
            wrong.proposing(tops=lambda pre, post, t: (pre, post, 0.5)),
        ),
        Misconception("nothing is suppressed: NMS is missing", wrong.proposing(steps="cr")),
        Misconception(
            "a box goes if its IoU is above the threshold; at the threshold itself it stays",
            wrong.proposing(suppress=wrong.at_least),
        ),
        Misconception(
            "the boxes are taken from the lowest objectness to the highest; the best comes first",
            wrong.proposing(rank=lambda logits: logits.argsort(stable=True)),
        ),
        Misconception(
            "the boxes are taken from the lowest objectness to the highest; the best comes first",
            wrong.proposing(
                rank=lambda logits: logits.argsort(stable=True),
                suppress=lambda boxes, scores, threshold: wrong.nms(boxes, -scores, threshold),
            ),
        ),
        Misconception(
            "a logit is compared as it is; yours ranks by its size without the sign",
            wrong.proposing(rank=lambda logits: logits.abs().argsort(descending=True, stable=True)),
        ),
        Misconception(
            "the proposals stand in the order of the anchors; return the best first",
            wrong.proposing(
                rank=lambda logits: torch.arange(len(logits)),
                suppress=lambda *args: wrong.nms(*args).sort().values,
            ),
        ),
        Misconception(
            "the deltas of a box belong to its own anchor: take the anchors of the same indices, "
            "anchors[best]",
            wrong.proposing(anchors_of=lambda anchors, best: anchors.detach()[: len(best)]),
        ),
        Misconception(
            "the scores are sorted, the deltas are not: take those of the same indices, "
            "deltas[b][best]",
            wrong.proposing(gather=lambda deltas, best: deltas[: len(best)]),
        ),
        Misconception(
            "the scores are sorted, the boxes are not: take those of the same indices",
            wrong.proposing(
                gather=lambda deltas, best: deltas[: len(best)],
                anchors_of=lambda anchors, best: anchors.detach()[: len(best)],
            ),
        ),
        Misconception(
            "these are the anchors; decode the deltas",
            wrong.proposing(gather=lambda deltas, best: torch.zeros_like(deltas[best])),
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
    ),
    returns=("proposals[0]", "proposals[1]"),
    draw=_draw,
    narrow=_show,
    allowed=frozenset({"nms", "naive_nms", "batched_nms", "box_iou", "box_area", "paired_iou"}),
)
