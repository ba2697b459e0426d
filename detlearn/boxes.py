"""Boxes: formats, areas, and how well two boxes agree.

Intersection over union (IoU) is the measure of this field: matching, suppression, evaluation and
many losses rest on it. This file has torchvision's `ops.boxes` functions under torchvision's names,
written to be read. GIoU is from Rezatofighi et al. 2019 (arXiv 1902.09630), DIoU and CIoU from
Zheng et al. 2020 (arXiv 1911.08287).

A box is `x1, y1, x2, y2` in pixels, continuous: its width is x2 − x1, without the "+ 1" of some
older code.
Shapes: N and M count boxes, `...` stands for any leading dimensions.

The relatives of the IoU subtract one or two penalties from it, each from the formula of its paper:

    GIoU = IoU − enclosing_penalty
    DIoU = IoU − distance_penalty
    CIoU = IoU − distance_penalty − aspect_penalty

The penalties work on any shapes that broadcast. Here they get boxes of shape (N, 1, 4) and
(1, M, 4) and so compare each with each; `detlearn.losses` gives them two lists of equal length.

The four functions that compare each box with each take the same arguments, `boxes1` (..., N, 4) and
`boxes2` (..., M, 4) in xyxy. They return (..., N, M), a number for each pair, and raise TypeError
for what is no tensor and ValueError for boxes of another shape.

Where we differ from torchvision:
    - IoU and GIoU of two boxes without area are 0, not NaN, and a zero height does not turn CIoU
      into NaN.
    - Small dtypes (float16, bfloat16, uint8, …) are widened before the first subtraction, not after
      it, so a bfloat16 box has IoU 1 with itself and the IoU of uint8 boxes cannot wrap around.
    - An inverted height (y2 < y1) enters CIoU through `atan2`, which is continuous there.
    - Rotated formats are left out.
CIoU is the one of the paper: its weight α has no gate "only if IoU > 0.5", which the authors' later
code has.
"""

import math

import torch
from torch import Tensor

FORMATS = ("xyxy", "xywh", "cxcywh")
# Pixels. The square of what is smaller is no longer a float32.
SMALLEST_SIZE = 1e-18


def box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    """Rewrite boxes from one format into another.

    Args:
        boxes: (..., 4), in the format `in_fmt`.
        in_fmt: "xyxy" (two corners), "xywh" (top-left corner, size) or "cxcywh" (centre, size).
        out_fmt: one of the same three.

    Returns:
        A new tensor (..., 4). Integer boxes stay integers where no half pixel can arise.

    Raises:
        ValueError: for an unknown format, or boxes whose last dimension is not 4.
    """
    check_boxes(boxes)
    _check_format(in_fmt)
    _check_format(out_fmt)
    if in_fmt == out_fmt:
        return boxes.clone()

    return _from_corners(_to_corners(boxes, in_fmt), out_fmt)


def _to_corners(boxes: Tensor, fmt: str) -> Tensor:
    if fmt == "xyxy":
        return boxes

    x, y, w, h = boxes.unbind(-1)
    if fmt == "xywh":
        return torch.stack((x, y, x + w, y + h), dim=-1)
    return torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), dim=-1)


def _from_corners(boxes: Tensor, fmt: str) -> Tensor:
    if fmt == "xyxy":
        return boxes

    x1, y1, x2, y2 = boxes.unbind(-1)
    w = x2 - x1
    h = y2 - y1
    if fmt == "xywh":
        return torch.stack((x1, y1, w, h), dim=-1)
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, w, h), dim=-1)


def box_area(boxes: Tensor, fmt: str = "xyxy") -> Tensor:
    """Return width times height.

    Args:
        boxes: (..., 4), in the format `fmt`.
        fmt: "xyxy", "xywh" or "cxcywh".

    Returns:
        (...), square pixels.

    Raises:
        ValueError: for an unknown format, or boxes whose last dimension is not 4.
    """
    check_boxes(boxes)
    _check_format(fmt)
    boxes = upcast(boxes)

    if fmt == "xyxy":
        x1, y1, x2, y2 = boxes.unbind(-1)
        return (x2 - x1) * (y2 - y1)
    w, h = boxes[..., 2:].unbind(-1)
    return w * h


def box_iou(boxes1: Tensor, boxes2: Tensor, fmt: str = "xyxy") -> Tensor:
    """Return the intersection over union of each box of one list with each box of another.

        IoU = I / U,   U = area1 + area2 − I

    Args:
        boxes1: (..., N, 4), in the format `fmt`.
        boxes2: (..., M, 4), in the same format.
        fmt: "xyxy", "xywh" or "cxcywh".

    Returns:
        (..., N, M), in [0, 1].

    Raises:
        ValueError: for an unknown format, or boxes of a wrong shape.
    """
    boxes1 = checked_corners(boxes1, "boxes1", fmt)
    boxes2 = checked_corners(boxes2, "boxes2", fmt)

    # A new dimension of length 1 in each, so that broadcasting pairs each box with each.
    boxes1 = boxes1[..., :, None, :]  # (..., N, 1, 4)
    boxes2 = boxes2[..., None, :, :]  # (..., 1, M, 4)

    intersection, union = intersection_and_union(boxes1, boxes2)  # (..., N, M) both
    return ratio(intersection, union)


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the GIoU of each box with each, in (−1, 1].

    It is the IoU minus the share of the enclosing box that neither box covers. Unlike IoU it tells
    near from far for boxes that lie apart (Rezatofighi et al. 2019, algorithm 1).
    """
    boxes1 = checked_corners(boxes1, "boxes1")[..., :, None, :]  # (..., N, 1, 4)
    boxes2 = checked_corners(boxes2, "boxes2")[..., None, :, :]  # (..., 1, M, 4)
    return paired_iou(boxes1, boxes2) - enclosing_penalty(boxes1, boxes2)


def distance_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """Return the DIoU of each box with each, in (−1, 1].

    It is the IoU minus the normalised distance between the centres (Zheng et al. 2020, equation 7).
    `eps` is added to the denominator of the penalty.
    """
    boxes1 = checked_corners(boxes1, "boxes1")[..., :, None, :]  # (..., N, 1, 4)
    boxes2 = checked_corners(boxes2, "boxes2")[..., None, :, :]  # (..., 1, M, 4)
    return paired_iou(boxes1, boxes2) - distance_penalty(boxes1, boxes2, eps)


def complete_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """Return the CIoU of each box with each, in (−1.5, 1].

    It is DIoU minus a penalty for a different aspect ratio (Zheng et al. 2020, equations 8 to 11).
    `eps` is added to the denominators of the penalties.
    """
    boxes1 = checked_corners(boxes1, "boxes1")[..., :, None, :]  # (..., N, 1, 4)
    boxes2 = checked_corners(boxes2, "boxes2")[..., None, :, :]  # (..., 1, M, 4)
    iou = paired_iou(boxes1, boxes2)
    return iou - distance_penalty(boxes1, boxes2, eps) - aspect_penalty(boxes1, boxes2, iou, eps)


def clip_boxes_to_image(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Move every corner that lies outside the image onto its border.

    Args:
        boxes: (..., 4), xyxy.
        size: the image's (height, width) in pixels, in this order.

    Returns:
        (..., 4), xyxy. A box that lay outside altogether comes back without area.

    Raises:
        ValueError: for boxes of a wrong shape, or a size that is not two numbers.
    """
    check_boxes(boxes)
    if len(size) != 2:
        raise ValueError(f"size must be the image's (height, width), got {tuple(size)}")
    height, width = size

    x = boxes[..., 0::2].clamp(min=0, max=width)  # (..., 2): x1, x2
    y = boxes[..., 1::2].clamp(min=0, max=height)  # (..., 2): y1, y2
    return torch.stack((x, y), dim=-1).flatten(-2)  # (..., 2, 2) -> (..., 4)


def remove_small_boxes(boxes: Tensor, min_size: float) -> Tensor:
    """Find the boxes both of whose sides are at least `min_size` long.

    Args:
        boxes: (N, 4), xyxy.
        min_size: pixels.

    Returns:
        (K,) int64: the indices of the boxes to keep, in ascending order.

    Raises:
        ValueError: for boxes of a wrong shape.
    """
    check_boxes(boxes)
    x1, y1, x2, y2 = boxes.unbind(-1)
    large_enough = (x2 - x1 >= min_size) & (y2 - y1 >= min_size)
    return torch.where(large_enough)[0]


# ---- the parts of the formulas ----
# All take boxes (..., 4) in xyxy, two tensors whose shapes broadcast, and return one number (...)
# for each pair. `eps` keeps a denominator from 0.


def paired_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 0.0) -> Tensor:
    """Return IoU = I / (U + eps), in [0, 1]."""
    intersection, union = intersection_and_union(boxes1, boxes2)
    return ratio(intersection, union + eps)


def intersection_and_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Return I, the area that two boxes share, and U, the area that they cover together."""
    # Each coordinate in a row of its own: comparing thousands of boxes with a few is two or three
    # times faster when the numbers that are read one after the other lie side by side.
    left1, top1, right1, bottom1 = boxes1.movedim(-1, 0).contiguous()
    left2, top2, right2, bottom2 = boxes2.movedim(-1, 0).contiguous()

    # The intersection begins at the later of the two left edges and ends at the earlier of the two
    # right ones. Of boxes that lie apart the difference is negative: clamp it before multiplying,
    # as two negative sides would make a positive area.
    w = (torch.min(right1, right2) - torch.max(left1, left2)).clamp(min=0)
    h = (torch.min(bottom1, bottom2) - torch.max(top1, top2)).clamp(min=0)
    intersection = w * h

    # The sum of the two areas counts twice what the boxes share.
    union = box_area(boxes1) + box_area(boxes2) - intersection
    return intersection, union


def enclosing_size(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Return the width and the height of the smallest box around both."""
    left1, top1, right1, bottom1 = boxes1.unbind(-1)
    left2, top2, right2, bottom2 = boxes2.unbind(-1)
    w = torch.max(right1, right2) - torch.min(left1, left2)
    h = torch.max(bottom1, bottom2) - torch.min(top1, top2)
    return w, h


def enclosing_penalty(boxes1: Tensor, boxes2: Tensor, eps: float = 0.0) -> Tensor:
    """Return GIoU's (C − U) / (C + eps), in [0, 1): C is the area of the enclosing box."""
    _, union = intersection_and_union(boxes1, boxes2)
    w, h = enclosing_size(boxes1, boxes2)
    enclosing = w * h
    return ratio(enclosing - union, enclosing + eps)


def distance_penalty(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """Return DIoU's ρ² / (c² + eps), in [0, 1).

    ρ is the distance of the two centres, c the diagonal of the enclosing box.
    """
    w, h = enclosing_size(boxes1, boxes2)
    diagonal_squared = w**2 + h**2

    left1, top1, right1, bottom1 = boxes1.unbind(-1)
    left2, top2, right2, bottom2 = boxes2.unbind(-1)
    dx = (left1 + right1) / 2 - (left2 + right2) / 2
    dy = (top1 + bottom1) / 2 - (top2 + bottom2) / 2
    distance_squared = dx**2 + dy**2
    return ratio(distance_squared, diagonal_squared + eps)


def aspect_penalty(boxes1: Tensor, boxes2: Tensor, iou: Tensor, eps: float = 1e-7) -> Tensor:
    """Return CIoU's αv, in [0, 1): v compares the aspect ratios, α says how much that matters.

        v = 4/π² (atan(w1/h1) − atan(w2/h2))²,   α = v / (1 − IoU + v + eps)

    The weight α counts as a constant: no gradient flows through it.
    """
    v = 4 / math.pi**2 * (aspect_angle(boxes1) - aspect_angle(boxes2)) ** 2
    with torch.no_grad():
        alpha = ratio(v, 1 - iou + v + eps)
    return alpha * v


def aspect_angle(boxes: Tensor) -> Tensor:
    """Return atan(w/h), the angle between the diagonal and the upright; 0 for a point."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    w = x2 - x1
    h = y2 - y1

    # atan2 also takes h = 0, where w/h is infinite. But its slope has w² + h² below the line, so a
    # point, for which that is 0, is sent through an upright line instead: angle 0, slope 0.
    is_point = w.abs() + h.abs() < SMALLEST_SIZE
    return torch.atan2(w.masked_fill(is_point, 0), h.masked_fill(is_point, 1))


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide; 0 / 0, which boxes without extent lead to, is 0 and has a finite gradient."""
    return numerator / denominator.masked_fill(denominator == 0, 1)


# ---- what comes in ----


def upcast(boxes: Tensor) -> Tensor:
    """Widen small dtypes before coordinates are multiplied: areas soon exceed float16's 65 504.

    float16 and bfloat16 become float32, small integers int32; float32, float64, int32 and int64
    stay.
    """
    if boxes.dtype in (torch.float32, torch.float64, torch.int32, torch.int64):
        return boxes
    return boxes.float() if boxes.is_floating_point() else boxes.int()


def checked_corners(boxes: Tensor, name: str, fmt: str = "xyxy") -> Tensor:
    """Return a list of boxes (..., N, 4) as corners in a wide dtype, or say what is wrong with it.

    Args:
        boxes: (..., N, 4), in the format `fmt`.
        name: what the caller calls them, for the message.
        fmt: "xyxy", "xywh" or "cxcywh".

    Raises:
        TypeError: for what is no tensor.
        ValueError: for an unknown format, a single box (4,), or a last dimension that is not 4.
    """
    _check_format(fmt)
    check_boxes(boxes, name)
    if boxes.ndim < 2:
        raise ValueError(
            f"{name} must be a list of boxes (N, 4), got (4,); add a dimension: {name}[None]"
        )
    return _to_corners(upcast(boxes), fmt)


def check_boxes(boxes: Tensor, name: str = "boxes") -> None:
    """Raise TypeError for what is no tensor and ValueError for what is not (..., 4)."""
    if not isinstance(boxes, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor (..., 4), got {type(boxes).__name__}")
    if boxes.ndim == 0 or boxes.shape[-1] != 4:
        raise ValueError(
            f"{name} must have shape (..., 4), got {tuple(boxes.shape)}; "
            "for an image without objects use torch.zeros(0, 4)"
        )


def _check_format(fmt: str) -> None:
    if fmt not in FORMATS:
        raise ValueError(
            f"Unsupported box format {fmt!r}: expected one of {', '.join(FORMATS)}; "
            "rotated boxes are not covered"
        )
