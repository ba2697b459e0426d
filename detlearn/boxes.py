"""Boxes: formats, areas, and how well two boxes agree.

Intersection over union (IoU) is the measure of this field: matching, suppression, evaluation and
many losses rest on it. This file has torchvision's `ops.boxes` functions under torchvision's names,
written to be read. GIoU is from Rezatofighi et al. 2019 (arXiv 1902.09630), DIoU and CIoU from
Zheng et al. 2020 (arXiv 1911.08287).

A box is `x1, y1, x2, y2` in pixels, continuous: its width is x2 − x1, without the "+ 1" of some
older code.
Shapes: N and M count boxes, `...` stands for any leading dimensions.

Three quantities are subtracted from the IoU to make its relatives, each from the formula of its
paper:

    GIoU = IoU − enclosing_penalty
    DIoU = IoU − distance_penalty
    CIoU = IoU − distance_penalty − aspect_penalty

They work on any shapes that broadcast. Here they get boxes of shape (N, 1, 4) and (1, M, 4) and so
compare each with each; `detlearn.losses` gives them two lists of the same length.

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
        corners = (x, y, x + w, y + h)
    else:
        corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    return torch.stack(corners, dim=-1)


def _from_corners(boxes: Tensor, fmt: str) -> Tensor:
    if fmt == "xyxy":
        return boxes
    x1, y1, x2, y2 = boxes.unbind(-1)
    x, y = (x1, y1) if fmt == "xywh" else ((x1 + x2) / 2, (y1 + y2) / 2)
    return torch.stack((x, y, x2 - x1, y2 - y1), dim=-1)


def box_area(boxes: Tensor, fmt: str = "xyxy") -> Tensor:
    """Width times height.

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
    w, h = _size(boxes) if fmt == "xyxy" else boxes[..., 2:].unbind(-1)
    return w * h


def box_iou(boxes1: Tensor, boxes2: Tensor, fmt: str = "xyxy") -> Tensor:
    """Intersection over union of each box of one list with each box of another.

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
    return paired_iou(*_each_with_each(boxes1, boxes2, fmt))


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """GIoU of each box with each: IoU minus the share of the enclosing box that neither box covers.

    Unlike IoU it tells near from far for boxes that lie apart (Rezatofighi et al. 2019, alg. 1).

    Args:
        boxes1: (..., N, 4), xyxy.
        boxes2: (..., M, 4), xyxy.

    Returns:
        (..., N, M), in (−1, 1].

    Raises:
        ValueError: for boxes of a wrong shape.
    """
    boxes1, boxes2 = _each_with_each(boxes1, boxes2)
    return paired_iou(boxes1, boxes2) - enclosing_penalty(boxes1, boxes2)


def distance_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """DIoU of each box with each: IoU minus the normalised distance between the centres.

    Zheng et al. 2020, equation 7.

    Args:
        boxes1: (..., N, 4), xyxy.
        boxes2: (..., M, 4), xyxy.
        eps: added to the denominator of the penalty.

    Returns:
        (..., N, M), in (−1, 1].

    Raises:
        ValueError: for boxes of a wrong shape.
    """
    boxes1, boxes2 = _each_with_each(boxes1, boxes2)
    return paired_iou(boxes1, boxes2) - distance_penalty(boxes1, boxes2, eps)


def complete_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """CIoU of each box with each: DIoU minus a penalty for a different aspect ratio.

    Zheng et al. 2020, equations 8 to 11.

    Args:
        boxes1: (..., N, 4), xyxy.
        boxes2: (..., M, 4), xyxy.
        eps: added to the denominators of the penalties.

    Returns:
        (..., N, M), in (−2, 1].

    Raises:
        ValueError: for boxes of a wrong shape.
    """
    boxes1, boxes2 = _each_with_each(boxes1, boxes2)
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
    w, h = _size(boxes)
    return torch.where((w >= min_size) & (h >= min_size))[0]


# The parts of the formulas. All take boxes (..., 4) in xyxy, two tensors whose shapes broadcast,
# and return one number (...) for each pair. `eps` keeps a denominator from 0.


def paired_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 0.0) -> Tensor:
    """IoU = I / (U + eps), in [0, 1]."""
    intersection, union = intersection_and_union(boxes1, boxes2)
    return ratio(intersection, union + eps)


def intersection_and_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """I, the area that two boxes share, and U, the area that they cover together."""
    # Each coordinate in a row of its own: reading every fourth number takes twice as long.
    left1, top1, right1, bottom1 = boxes1.movedim(-1, 0).contiguous()
    left2, top2, right2, bottom2 = boxes2.movedim(-1, 0).contiguous()
    # Boxes that lie apart have a negative "width" here; two of those would make a positive area.
    w = (torch.min(right1, right2) - torch.max(left1, left2)).clamp(min=0)
    h = (torch.min(bottom1, bottom2) - torch.max(top1, top2)).clamp(min=0)
    intersection = w * h
    return intersection, box_area(boxes1) + box_area(boxes2) - intersection


def enclosing_penalty(boxes1: Tensor, boxes2: Tensor, eps: float = 0.0) -> Tensor:
    """GIoU's (C − U) / (C + eps), in [0, 1): C is the area of the smallest box around both."""
    _, union = intersection_and_union(boxes1, boxes2)
    w, h = _enclosing_size(boxes1, boxes2)
    enclosing = w * h
    return ratio(enclosing - union, enclosing + eps)


def distance_penalty(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """DIoU's ρ² / (c² + eps), in [0, 1): ρ joins the centres, c crosses the enclosing box."""
    w, h = _enclosing_size(boxes1, boxes2)
    (x1, y1), (x2, y2) = _centre(boxes1), _centre(boxes2)
    distance_squared = (x1 - x2) ** 2 + (y1 - y2) ** 2
    return ratio(distance_squared, w**2 + h**2 + eps)


def aspect_penalty(boxes1: Tensor, boxes2: Tensor, iou: Tensor, eps: float = 1e-7) -> Tensor:
    """CIoU's αv, in [0, 1): v compares the aspect ratios, α says how much that matters.

        v = 4/π² (atan(w1/h1) − atan(w2/h2))²,   α = v / (1 − IoU + v + eps)

    The weight α counts as a constant: no gradient flows through it.
    """
    v = 4 / math.pi**2 * (_diagonal_angle(boxes1) - _diagonal_angle(boxes2)) ** 2
    with torch.no_grad():
        alpha = ratio(v, 1 - iou + v + eps)
    return alpha * v


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide; 0 / 0, which boxes without extent lead to, is 0 and has a finite gradient."""
    return numerator / denominator.masked_fill(denominator == 0, 1)


def upcast(boxes: Tensor) -> Tensor:
    """Widen small dtypes before coordinates are multiplied: areas soon exceed float16's 65 504.

    float16 and bfloat16 become float32, small integers int32; float32, float64, int32 and int64
    stay.
    """
    if boxes.dtype in (torch.float32, torch.float64, torch.int32, torch.int64):
        return boxes
    return boxes.float() if boxes.is_floating_point() else boxes.int()


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


def _each_with_each(boxes1: Tensor, boxes2: Tensor, fmt: str = "xyxy") -> tuple[Tensor, Tensor]:
    _check_format(fmt)
    for name, boxes in (("boxes1", boxes1), ("boxes2", boxes2)):
        check_boxes(boxes, name)
        if boxes.ndim < 2:
            raise ValueError(
                f"{name} must be a list of boxes (N, 4), got (4,); add a dimension: {name}[None]"
            )
    boxes1, boxes2 = (_to_corners(upcast(boxes), fmt) for boxes in (boxes1, boxes2))
    return boxes1[..., :, None, :], boxes2[..., None, :, :]  # (..., N, 1, 4), (..., 1, M, 4)


def _size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return x2 - x1, y2 - y1


def _centre(boxes: Tensor) -> tuple[Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x1 + x2) / 2, (y1 + y2) / 2


def _enclosing_size(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    left1, top1, right1, bottom1 = boxes1.unbind(-1)
    left2, top2, right2, bottom2 = boxes2.unbind(-1)
    w = torch.max(right1, right2) - torch.min(left1, left2)
    h = torch.max(bottom1, bottom2) - torch.min(top1, top2)
    return w, h


def _diagonal_angle(boxes: Tensor) -> Tensor:
    """atan(w/h): the angle between the diagonal and the upright; atan2 also takes h = 0."""
    w, h = _size(boxes)
    return torch.atan2(w, h)
