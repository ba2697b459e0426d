"""Exercise 2.7: answers. `nms` is at hand there; `decode` is what exercise 2.4 leaves behind."""

import math

import numpy as np
import torch
from torchvision.ops import batched_nms

from answers import right, slightly_off, wrong
from detlearn.nms import nms


def decode(deltas, anchors):
    wh = anchors[..., 2:] - anchors[..., :2]
    c = anchors[..., :2] + wh / 2 + deltas[..., :2] * wh
    wh = wh * deltas[..., 2:].clamp(max=math.log(1000 / 16)).exp()
    return torch.cat([c - wh / 2, c + wh / 2], dim=-1)


def prepare(boxes, scores, size, least):
    """Clips, then removes the small ones; where the mistake is elsewhere."""
    height, width = size
    boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    large = ((boxes[:, 2:] - boxes[:, :2]) >= least).all(1)
    return boxes[large], scores[large]


def finish(boxes, scores, size, post, overlap, least):
    """All that comes after decoding, where the mistake is elsewhere."""
    boxes, scores = prepare(boxes, scores, size, least)
    return boxes[nms(boxes, scores, overlap)[:post]]


@right
@torch.no_grad()
def image_by_image(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for b in range(len(sizes)):
        height, width = sizes[b]
        scores, index = logits[b].topk(min(pre, logits.shape[1]))
        boxes = decode(deltas[b][index], anchors[index])
        x, y = boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)
        boxes = torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)
        ok = (x[:, 1] - x[:, 0] >= least) & (y[:, 1] - y[:, 0] >= least)
        boxes, scores = boxes[ok], scores[ok]
        proposals.append(boxes[nms(boxes, scores, overlap)[:post]])
    return proposals


@right
def decodes_all_first(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    all_boxes = decode(deltas.detach(), anchors)  # the network says nothing of the anchors
    probabilities = logits.detach().double().sigmoid()
    proposals = []
    for boxes, scores, (h, w) in zip(all_boxes, probabilities, sizes):
        order = scores.argsort(descending=True)[:pre]
        boxes, scores = boxes[order], scores[order]
        columns = [side.clamp(0, limit) for side, limit in zip(boxes.T, (w, h, w, h))]
        boxes = torch.stack(columns, dim=1)
        small = ((boxes[:, 2:] - boxes[:, :2]) < least).any(dim=1)
        boxes, scores = boxes[~small], scores[~small]
        proposals.append(boxes[nms(boxes, scores, overlap)][:post])
    return proposals


@right
def with_batched_nms(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    with torch.no_grad():
        scores, best = logits.topk(min(pre, len(anchors)), dim=1)
        moves = torch.gather(deltas, 1, best[..., None].expand(-1, -1, 4))
        boxes = decode(moves, anchors[best])
        limits = torch.tensor([[w, h, w, h] for h, w in sizes]).float()[:, None]
        boxes = torch.minimum(boxes.clamp(min=0), limits)
        image = torch.arange(len(boxes))[:, None].expand_as(scores)
        large = ((boxes[..., 2:] - boxes[..., :2]).amin(dim=-1)) >= least
        boxes, scores, image = boxes[large], scores[large], image[large]
        keep = batched_nms(boxes, scores, image, overlap)
        return [boxes[keep[image[keep] == b]][:post] for b in range(len(sizes))]


@right
def with_numpy(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for b, (h, w) in enumerate(sizes):
        order = np.argsort(-logits[b].detach().numpy(), kind="stable")[:pre]
        a, d = anchors.detach().numpy()[order], deltas[b].detach().numpy()[order]
        size, centre = a[:, 2:] - a[:, :2], (a[:, :2] + a[:, 2:]) / 2
        centre = centre + d[:, :2] * size
        size = size * np.exp(np.minimum(d[:, 2:], math.log(1000 / 16)))
        boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        boxes = np.clip(boxes, 0, np.array([w, h, w, h]))
        boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= least).all(axis=1)]
        kept = []
        while len(boxes):
            best, boxes = boxes[0], boxes[1:]
            kept.append(best)
            lt, rb = np.maximum(best[:2], boxes[:, :2]), np.minimum(best[2:], boxes[:, 2:])
            inter = np.clip(rb - lt, 0, None).prod(axis=1)
            area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
            boxes = boxes[inter / ((best[2:] - best[:2]).prod() + area - inter) <= overlap]
        kept = np.array(kept[:post], dtype=np.float32).reshape(-1, 4)
        proposals.append(torch.from_numpy(kept))
    return proposals


@slightly_off
def off_by_a_thousandth(*args):
    return [1.001 * boxes for boxes in image_by_image(*args)]


@slightly_off
def anchors_off_by_a_thousandth(logits, deltas, anchors, *rest):
    return image_by_image(logits, deltas, 1.001 * anchors, *rest)


@wrong("returned for all images")
@torch.no_grad()
def first_image_only(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    scores, best = logits[0].topk(min(pre, len(anchors)))
    boxes = decode(deltas[0, best], anchors[best])
    return [finish(boxes, scores, sizes[0], post, overlap, least) for _ in sizes]


@wrong("objectness[b] and deltas[b]")
@torch.no_grad()
def always_image_0(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for height, width in sizes:
        scores, best = logits[0].topk(min(pre, len(anchors)))
        boxes = decode(deltas[0, best], anchors[best])
        proposals.append(finish(boxes, scores, (height, width), post, overlap, least))
    return proposals


@wrong("the deltas of the first image")
@torch.no_grad()
def deltas_of_image_0(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    all_boxes = decode(deltas[0], anchors)
    for row, size in zip(logits, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        proposals.append(finish(all_boxes[best], scores, size, post, overlap, least))
    return proposals


@wrong("NMS is done for each image alone")
@torch.no_grad()
def one_nms_for_all(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    all_boxes, all_scores, all_images = [], [], []
    for b, (height, width) in enumerate(sizes):
        scores, best = logits[b].topk(min(pre, len(anchors)))
        boxes = decode(deltas[b, best], anchors[best])
        boxes, scores = prepare(boxes, scores, (height, width), least)
        all_boxes.append(boxes)
        all_scores.append(scores)
        all_images += [b] * len(boxes)
    boxes, images = torch.cat(all_boxes), torch.tensor(all_images)
    keep = nms(boxes, torch.cat(all_scores), overlap)
    return [boxes[keep[images[keep] == b]][:post] for b in range(len(sizes))]


@wrong("an image size is (height, width)")
@torch.no_grad()
def width_before_height(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (width, height) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        proposals.append(finish(boxes, scores, (height, width), post, overlap, least))
    return proposals


@wrong("all boxes are clipped to the first image")
@torch.no_grad()
def clips_to_image_0(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    height, width = sizes[0]
    for row, moves in zip(logits, deltas):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        proposals.append(finish(boxes, scores, (height, width), post, overlap, least))
    return proposals


@wrong("nothing is clipped: no box")
@torch.no_grad()
def never_clips(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves in zip(logits, deltas):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        large = ((boxes[:, 2:] - boxes[:, :2]) >= least).all(1)
        boxes, scores = boxes[large], scores[large]
        proposals.append(boxes[nms(boxes, scores, overlap)[:post]])
    return proposals


@wrong("small boxes are left in: remove")
@torch.no_grad()
def keeps_small_boxes(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        proposals.append(boxes[nms(boxes, scores, overlap)[:post]])
    return proposals


@wrong("yours takes all and cuts afterwards")
@torch.no_grad()
def no_cut_before_nms(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for scores, moves, (height, width) in zip(logits, deltas, sizes):
        boxes = decode(moves, anchors)
        proposals.append(finish(boxes, scores, (height, width), post, overlap, least))
    return proposals


@wrong("cut before, it leaves too few")
@torch.no_grad()
def cuts_too_early(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, post, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        boxes, scores = prepare(boxes, scores, (height, width), least)
        proposals.append(boxes[nms(boxes, scores, overlap)])
    return proposals


@wrong("from the lowest objectness")
@torch.no_grad()
def sorts_ascending(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        best = row.argsort()[:pre]
        boxes = decode(moves[best], anchors[best])
        boxes, scores = prepare(boxes, row[best], (height, width), least)
        proposals.append(boxes[nms(boxes, -scores, overlap)[:post]])
    return proposals


@wrong("proposals carry no gradient")
def gradient_left_in(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        proposals.append(finish(boxes, scores, (height, width), post, overlap, least))
    return proposals


@wrong("nothing is suppressed")
@torch.no_grad()
def no_nms(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        best = row.argsort(descending=True)[:pre]
        boxes = decode(moves[best], anchors[best])
        boxes, _ = prepare(boxes, row[best], (height, width), least)
        proposals.append(boxes[:post])
    return proposals


@wrong("clip first, then NMS")
@torch.no_grad()
def clips_at_the_end(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        keep = nms(boxes, scores, overlap)
        boxes, _ = prepare(boxes[keep], scores[keep], (height, width), least)
        proposals.append(boxes[:post])
    return proposals


@wrong("take the anchors of the same indices")
@torch.no_grad()
def anchors_not_sorted(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[: len(best)])
        proposals.append(finish(boxes, scores, (height, width), post, overlap, least))
    return proposals


@wrong("yours goes only if both are")
@torch.no_grad()
def small_on_both_sides(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        large = (boxes[:, 2] - boxes[:, 0] >= least) | (boxes[:, 3] - boxes[:, 1] >= least)
        boxes, scores = boxes[large], scores[large]
        proposals.append(boxes[nms(boxes, scores, overlap)[:post]])
    return proposals


@wrong("yours are all")
@torch.no_grad()
def no_cut_after_nms(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        boxes, scores = prepare(boxes, scores, (height, width), least)
        proposals.append(boxes[nms(boxes, scores, overlap)])
    return proposals


@wrong("expected a list of tensors, one for each image")
def concatenates(*args):
    return torch.cat(image_by_image(*args))


@wrong("out of range")
@torch.no_grad()
def topk_of_too_many(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(pre)
        boxes = decode(moves[best], anchors[best])
        proposals.append(finish(boxes, scores, (height, width), post, overlap, least))
    return proposals


@wrong("at the threshold itself it stays")
@torch.no_grad()
def nms_with_at_least(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        best = row.argsort(descending=True)[:pre]
        boxes = decode(moves[best], anchors[best])
        boxes, _ = prepare(boxes, row[best], (height, width), least)
        kept = []
        while len(boxes):
            top, boxes = boxes[:1], boxes[1:]
            kept.append(top)
            lt, rb = torch.max(top[:, :2], boxes[:, :2]), torch.min(top[:, 2:], boxes[:, 2:])
            inter = (rb - lt).clamp(min=0).prod(1)
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (top[:, 2:] - top[:, :2]).prod(1)
            boxes = boxes[inter / (areas - inter) < overlap]
        proposals.append(torch.cat(kept)[:post] if kept else torch.zeros(0, 4))
    return proposals


# ---- written later, by people who had seen the stub and nothing of the checks ----


@right
@torch.no_grad()
def cuts_with_masks(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        order = torch.sort(row, descending=True, stable=True).indices
        boxes, scores = decode(moves, anchors)[order[:pre]], row[order[:pre]]
        boxes[:, [0, 2]] = boxes[:, [0, 2]].clamp(min=0, max=width)
        boxes[:, [1, 3]] = boxes[:, [1, 3]].clamp(min=0, max=height)
        w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        too_small = (w < least) | (h < least)
        boxes, scores = boxes[~too_small], scores[~too_small]
        proposals.append(boxes[nms(boxes, scores, overlap)[:post]])
    return proposals


@right
def box_by_box(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for b, (height, width) in enumerate(sizes):
        candidates = sorted(range(len(anchors)), key=lambda k: -logits[b, k].item())[:pre]
        kept = []
        for k in candidates:
            x1, y1, x2, y2 = decode(deltas[b, k : k + 1], anchors[k : k + 1])[0].tolist()
            x1, x2 = min(max(x1, 0), width), min(max(x2, 0), width)
            y1, y2 = min(max(y1, 0), height), min(max(y2, 0), height)
            if x2 - x1 < least or y2 - y1 < least:
                continue
            clear = True
            for u1, v1, u2, v2 in kept:
                inter = max(0, min(x2, u2) - max(x1, u1)) * max(0, min(y2, v2) - max(y1, v1))
                union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - inter
                clear = clear and inter / union <= overlap
            if clear:
                kept.append((x1, y1, x2, y2))
        proposals.append(torch.tensor(kept[:post], dtype=torch.float32).view(-1, 4))
    return proposals


@right
def with_a_helper_for_one_image(logits, deltas, anchors, sizes, *settings):
    logits, deltas, anchors = logits.detach(), deltas.detach(), anchors.detach()

    def one(b, pre=1000, post=100, overlap=0.7, least=1.0):
        scores, best = logits[b].topk(min(pre, len(logits[b])))
        return finish(
            decode(deltas[b, best], anchors[best]), scores, sizes[b], post, overlap, least
        )

    return [one(b, *settings) for b in range(len(sizes))]


@wrong("has dtype float64; expected float32")
@torch.no_grad()
def stays_in_double(logits, deltas, anchors, sizes, *settings):
    return [boxes.double() for boxes in image_by_image(logits, deltas, anchors, sizes, *settings)]


@wrong("the ranking of the first image")
@torch.no_grad()
def indices_of_image_0(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    best = logits[0].topk(min(pre, len(anchors))).indices
    proposals = []
    for b, size in enumerate(sizes):
        boxes = decode(deltas[b, best], anchors[best])
        proposals.append(finish(boxes, logits[b, best], size, post, overlap, least))
    return proposals


@wrong("the ranking of the first image")
@torch.no_grad()
def topk_and_then_row_0(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    order = logits.argsort(dim=1, descending=True)[0, :pre]
    chosen, scores = deltas[:, order], logits[:, order]
    return [
        finish(decode(chosen[b], anchors[order]), scores[b], sizes[b], post, overlap, least)
        for b in range(len(sizes))
    ]


@wrong("what NMS keeps of the first image")
@torch.no_grad()
def keep_of_image_0(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    keep, proposals = None, []
    for row, moves, size in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes, scores = prepare(decode(moves[best], anchors[best]), scores, size, least)
        if keep is None:
            keep = nms(boxes, scores, overlap)
        proposals.append(boxes[keep[keep < len(boxes)]][:post])
    return proposals


@wrong("yours are clipped before they are moved")
@torch.no_grad()
def clips_the_anchors(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        inside = anchors[best].clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        boxes = decode(moves[best], inside)
        large = ((boxes[:, 2:] - boxes[:, :2]) >= least).all(1)
        boxes, scores = boxes[large], scores[large]
        proposals.append(boxes[nms(boxes, scores, overlap)[:post]])
    return proposals


@wrong("of each image, not of the batch")
@torch.no_grad()
def best_of_the_batch(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals, scores_of = [], []
    for row, moves, size in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes, scores = prepare(decode(moves[best], anchors[best]), scores, size, least)
        keep = nms(boxes, scores, overlap)
        proposals.append(boxes[keep])
        scores_of.append(scores[keep])
    every = torch.cat(scores_of)
    limit = every.topk(min(post, len(every))).values[-1:] if len(every) else every
    return [b[s >= limit] if len(limit) else b for b, s in zip(proposals, scores_of)]


@wrong("of each image, not of the batch")
@torch.no_grad()
def topk_of_the_batch(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    count = logits.shape[1]
    top = logits.flatten().topk(min(pre, logits.numel())).indices
    proposals = []
    for b, size in enumerate(sizes):
        best = top[(top >= b * count) & (top < (b + 1) * count)] - b * count
        boxes = decode(deltas[b, best], anchors[best])
        proposals.append(finish(boxes, logits[b, best], size, post, overlap, least))
    return proposals


@wrong("a logit below 0 is no reason")
@torch.no_grad()
def only_likely_boxes(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, size in zip(logits, deltas, sizes):
        scores, best = row.sigmoid().topk(min(pre, len(anchors)))
        scores, best = scores[scores > 0.5], best[scores > 0.5]
        boxes = decode(moves[best], anchors[best])
        proposals.append(finish(boxes, scores, size, post, overlap, least))
    return proposals


@wrong("a box that is gone suppresses no other")
@torch.no_grad()
def nms_with_triu(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, size in zip(logits, deltas, sizes):
        scores, best = row.sort(descending=True, stable=True)
        boxes = decode(moves[best[:pre]], anchors[best[:pre]])
        boxes, _ = prepare(boxes, scores[:pre], size, least)
        lt = torch.max(boxes[:, None, :2], boxes[None, :, :2])
        rb = torch.min(boxes[:, None, 2:], boxes[None, :, 2:])
        inter = (rb - lt).clamp(min=0).prod(-1)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        iou = torch.triu(inter / (area[:, None] + area - inter), diagonal=1)
        boxes = boxes[~(iou > overlap).any(dim=0)] if len(boxes) else boxes
        proposals.append(boxes[:post])
    return proposals


@wrong("equal boxes suppress each other")
@torch.no_grad()
def nms_all_at_once(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    """A box goes if any other that is at least as good overlaps it and stays itself."""
    proposals = []
    for row, moves, size in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes, scores = prepare(decode(moves[best], anchors[best]), scores, size, least)
        lt = torch.max(boxes[:, None, :2], boxes[:, :2])
        rb = torch.min(boxes[:, None, 2:], boxes[:, 2:])
        inter = (rb - lt).clamp(min=0).prod(-1)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        high = inter / (area[:, None] + area - inter) > overlap
        better = (scores[:, None] >= scores) & ~torch.eye(len(boxes), dtype=torch.bool)
        stays = torch.ones(len(boxes), dtype=torch.bool)
        for k in range(len(boxes)):
            rivals = high[:, k] & better[:, k]
            equal = rivals & (scores == scores[k])
            stays[k] = not (rivals & stays).any() and not equal.any()
        proposals.append(boxes[stays][:post])
    return proposals


@wrong("expected a list of tensors, one for each image")
def stacks(*args):
    return torch.stack(image_by_image(*args))


@wrong("coordinates are continuous: the image ends")
@torch.no_grad()
def clips_to_the_last_pixel(
    logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0
):
    last = [(height - 1, width - 1) for height, width in sizes]
    return image_by_image(logits, deltas, anchors, last, pre, post, overlap, least)


@wrong("those of the same indices, deltas[b][best]")
@torch.no_grad()
def deltas_not_sorted(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, size in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[: len(best)], anchors[best])
        proposals.append(finish(boxes, scores, size, post, overlap, least))
    return proposals


@wrong("yours turns the order round")
def the_worst_first(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    found = []
    with torch.no_grad():
        for scores, moves, (height, width) in zip(logits, deltas, sizes):
            scores, best = scores.topk(min(pre, len(anchors)))
            boxes = decode(moves[best], anchors[best])
            boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width)
            boxes[:, 1::2] = boxes[:, 1::2].clamp(0, height)
            large = (boxes[:, 2:] - boxes[:, :2] >= least).all(dim=1)
            boxes, scores = boxes[large], scores[large]
            keep = nms(boxes, scores, overlap).sort(descending=True).values
            found.append(boxes[keep[:post]])
    return found


@wrong("yours are looked up among all boxes")
@torch.no_grad()
def keeps_places_of_fewer(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        large = ((boxes[:, 2:] - boxes[:, :2]) >= least).all(dim=1)
        keep = nms(boxes[large], scores[large], overlap)
        proposals.append(boxes[keep[:post]])
    return proposals


@wrong("so that others take their places")
@torch.no_grad()
def removes_before_the_best(
    logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0
):
    proposals = []
    for row, moves, size in zip(logits, deltas, sizes):
        boxes, scores = prepare(decode(moves, anchors), row, size, least)
        scores, best = scores.topk(min(pre, len(scores)))
        boxes = boxes[best]
        proposals.append(boxes[nms(boxes, scores, overlap)[:post]])
    return proposals


@wrong("is clipped to the image; yours is dropped")
@torch.no_grad()
def drops_at_the_border(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        x1, y1, x2, y2 = boxes.T
        stays = (x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height)
        stays &= (x2 - x1 >= least) & (y2 - y1 >= least)
        boxes, scores = boxes[stays], scores[stays]
        proposals.append(boxes[nms(boxes, scores, overlap)[:post]])
    return proposals


@wrong("yours removes them afterwards")
@torch.no_grad()
def removes_after_nms(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        boxes = boxes[nms(boxes, scores, overlap)]
        large = ((boxes[:, 2:] - boxes[:, :2]) >= least).all(dim=1)
        proposals.append(boxes[large][:post])
    return proposals


@wrong("y1 and y2 must stay within the height")
@torch.no_grad()
def clips_x_alone(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (_, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width)
        large = ((boxes[:, 2:] - boxes[:, :2]) >= least).all(dim=1)
        boxes, scores = boxes[large], scores[large]
        proposals.append(boxes[nms(boxes, scores, overlap)[:post]])
    return proposals


@wrong("filled with zeros")
def pads_with_zeros(logits, deltas, anchors, sizes, pre=1000, post=100, *settings):
    found = image_by_image(logits, deltas, anchors, sizes, pre, post, *settings)
    return [torch.cat((boxes, torch.zeros(post - len(boxes), 4))) for boxes in found]


@wrong("yours goes only if it has no area at all")
@torch.no_grad()
def removes_empty_boxes(logits, deltas, anchors, sizes, pre=1000, post=100, overlap=0.7, least=1.0):
    proposals = []
    for row, moves, (height, width) in zip(logits, deltas, sizes):
        scores, best = row.topk(min(pre, len(anchors)))
        boxes = decode(moves[best], anchors[best])
        boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        stays = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes, scores = boxes[stays], scores[stays]
        proposals.append(boxes[nms(boxes, scores, overlap)[:post]])
    return proposals
