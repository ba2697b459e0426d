"""The solutions of chapter 2, each in a few lines, as `check.solution` shows them.

They say the same as `BoxCoder`, `AnchorGenerator`, `Matcher`, `bilinear_sample` and the RPN's
`propose` in the package, which take batches, pyramids and weights as well; a test pins them equal.

Shapes: N boxes or objects, P anchors, M positions, B images, a map of C × H × W. Boxes are xyxy in
pixels; deltas are dx, dy, dw, dh.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from detlearn.nms import nms


def encode_deltas(gt_boxes: Tensor, anchors: Tensor) -> Tensor:
    """Say how each anchor must be moved and stretched to become its object's box.

    Args:
        gt_boxes: (N, 4).
        anchors: (N, 4), the anchor that learns each of them.

    Returns:
        (N, 4) dx, dy, dw, dh (Ren et al. 2015, eq. 2).
    """
    size, anchor_size = gt_boxes[:, 2:] - gt_boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    centre = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    anchor_centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    move = (centre - anchor_centre) / anchor_size  # (N, 2): dx, dy
    stretch = torch.log(size / anchor_size)  # (N, 2): dw, dh
    return torch.cat((move, stretch), dim=1)


def decode_deltas(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Move and stretch anchors by deltas: the inverse of `encode_deltas`.

    Args:
        deltas: (N, 4).
        anchors: (N, 4).

    Returns:
        (N, 4) boxes. No side grows more than 1000/16 times.
    """
    move, stretch = deltas[:, :2], deltas[:, 2:].clamp(max=math.log(1000 / 16))
    anchor_size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + move * anchor_size
    size = anchor_size * torch.exp(stretch)
    return torch.cat((centre - size / 2, centre + size / 2), dim=1)


def make_anchors(
    height: int,
    width: int,
    stride: float,
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
) -> Tensor:
    """Put A boxes of given sizes and shapes into the middle of every cell of a map.

    Args:
        height: of the map, in cells.
        width: of the map, in cells.
        stride: pixels from one cell to the next.
        sizes: in pixels; an anchor of size s has area s².
        aspect_ratios: height / width.

    Returns:
        (height · width · A, 4): row by row, in it column by column, in it ratio by ratio, in it
        size by size.
    """
    root = torch.tensor(aspect_ratios, dtype=torch.float32).sqrt()[:, None]  # (R, 1)
    size = torch.tensor(sizes, dtype=torch.float32)  # (S,)
    half = torch.stack((size / root, size * root), dim=-1).flatten(0, 1) / 2  # (A, 2): w, h
    x = (torch.arange(width) + 0.5) * stride
    y = (torch.arange(height) + 0.5) * stride
    centre = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (H, W, 2)
    centre = centre[:, :, None]  # (H, W, 1, 2)
    return torch.cat((centre - half, centre + half), dim=-1).flatten(0, 2)


def match_anchors(iou: Tensor, high: float = 0.7, low: float = 0.3) -> Tensor:
    """Say which object each anchor learns.

    Args:
        iou: (N, P) of each object with each anchor.
        high: from here on an anchor is positive.
        low: below this it is background; in between it is ignored.

    Returns:
        (P,) int64: the object's index, −1 for background, −2 for ignored.
    """
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best_iou, best_object = iou.max(dim=0)  # (P,) twice
    matched = torch.where(best_iou >= high, best_object, -2)
    matched[best_iou < low] = -1
    best_of_object = iou.amax(dim=1, keepdim=True)  # (N, 1)
    forced = ((iou == best_of_object) & (best_of_object > 0)).any(dim=0)  # (P,)
    return torch.where(forced, best_object, matched)


def bilinear_sample(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Read a feature map between its cells.

    Args:
        features: (C, H, W); the value of cell (i, j) stands at y = i, x = j.
        x: (M,) in cells.
        y: (M,) in cells.

    Returns:
        (C, M): the weighted mean of the four cells around each position. Up to one cell outside of
        the map it is the border's value; beyond, 0.
    """
    height, width = features.shape[1:]
    outside = (x < -1) | (x > width) | (y < -1) | (y > height)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    across, down = x - left, y - top  # (M,): 0 at the left and upper cells, towards 1 at the others
    upper = features[:, top, left] * (1 - across) + features[:, top, right] * across  # (C, M)
    lower = features[:, bottom, left] * (1 - across) + features[:, bottom, right] * across
    return (upper * (1 - down) + lower * down).masked_fill(outside, 0)


@torch.no_grad()
def propose(
    objectness: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    image_sizes: Sequence[tuple[int, int]],
    pre_nms_top_n: int = 1000,
    post_nms_top_n: int = 100,
    nms_threshold: float = 0.7,
    min_size: float = 1.0,
) -> list[Tensor]:
    """Turn the predictions of an RPN into proposals.

    Args:
        objectness: (B, P) logits.
        deltas: (B, P, 4).
        anchors: (P, 4).
        image_sizes: (height, width) of each image.
        pre_nms_top_n: boxes per image that go into NMS.
        post_nms_top_n: proposals per image, at most.
        nms_threshold: IoU above which the lower-scoring box goes.
        min_size: boxes with a shorter side, once clipped, are dropped.

    Returns:
        Per image (n, 4) boxes, best first, without gradient.
    """
    proposals = []
    for scores, moves, (height, width) in zip(objectness, deltas, image_sizes):
        scores, best = scores.topk(min(pre_nms_top_n, len(scores)))
        boxes = decode_deltas(moves[best], anchors[best])
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
        large = (boxes[:, 2:] - boxes[:, :2] >= min_size).all(dim=1)
        boxes, scores = boxes[large], scores[large]
        keep = nms(boxes, scores, nms_threshold)
        proposals.append(boxes[keep[:post_nms_top_n]])
    return proposals
