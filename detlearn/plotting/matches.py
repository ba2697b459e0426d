"""Right, made up, missed: detections beside the objects that they should have found.

Line styles mean the same in every figure: a true positive is *solid*, a false positive *dashed*, a
missed object *dotted*. The marks ✓, ✗ and ? say it once more.

Shapes: D detections, N objects of one image, C crowd regions. Boxes are (x1, y1, x2, y2) in pixels.
"""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from detlearn.boxes import box_area, box_iou
from detlearn.plotting import style
from detlearn.plotting.draw import (
    BACKGROUND,
    IGNORED,
    caption,
    draw_box,
    draw_image,
    image_array,
    legend_below,
    plain_objects,
    select,
)
from detlearn.plotting.tags import draw_tag


def match_detections(
    detections: Mapping[str, Tensor], target: Mapping[str, Tensor], *, iou_threshold: float = 0.5
) -> Tensor:
    """Match detections to objects as COCO's evaluation does, at one IoU threshold.

    By falling score, each detection takes the free object of its class that it overlaps most, if
    the IoU reaches the threshold. Crowd objects are taken last, by any number of detections, and
    these count neither as right nor as wrong; the overlap with a crowd is measured in units of the
    detection's area.

    Args:
        detections: "boxes" (D, 4), "labels" (D,), "scores" (D,).
        target: "boxes" (N, 4), "labels" (N,), optionally "iscrowd" (N,).
        iou_threshold: least IoU of a match.

    Returns:
        (D,) int64: the index of the object, `BACKGROUND` (−1) if there is none, `IGNORED` (−2) in a
            crowd.

    Raises:
        TypeError, ValueError: if a key is missing or malformed.
    """
    detections = plain_objects(detections, "detections", ["boxes", "labels", "scores"])
    target = plain_objects(target, "target", ["boxes", "labels"])
    crowd = crowd_of(target)

    # How much each detection overlaps each object; −1 where the classes differ.
    iou = box_iou(detections["boxes"], target["boxes"])  # (D, N)
    iou[:, crowd] = inside(detections["boxes"], target["boxes"][crowd])
    same_class = detections["labels"][:, None] == target["labels"][None, :]  # (D, N)
    iou[~same_class] = -1

    # The best detection chooses first.
    free = ~crowd
    matched = torch.full((len(iou),), BACKGROUND)
    for d in detections["scores"].argsort(descending=True, stable=True).tolist():
        candidates = torch.where(free, iou[d], -1.0)  # (N,)
        if (candidates >= iou_threshold).any():
            matched[d] = candidates.argmax()
            free[matched[d]] = False
        elif (iou[d, crowd] >= iou_threshold).any():
            matched[d] = IGNORED

    return matched


def count_mistakes(
    detections: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    *,
    iou_threshold: float = 0.5,
    min_score: float = 0.3,
) -> int:
    """Count what `show_matches` would mark ✗ and ?: false positives and missed objects.

    The images of a test set, sorted by it, show first where a detector does worst.

    Args:
        detections: "boxes" (D, 4), "labels" (D,), "scores" (D,).
        target: "boxes" (N, 4), "labels" (N,), optionally "iscrowd" (N,).
        iou_threshold: least IoU of a match; see `match_detections`.
        min_score: detections below it are left out.

    Returns:
        Their number.

    Raises:
        TypeError, ValueError: if a key is missing or malformed.
    """
    detections = plain_objects(detections, "detections", ["boxes", "labels", "scores"])
    target = plain_objects(target, "target", ["boxes", "labels"])

    detections = drop_below(detections, min_score)
    matched = match_detections(detections, target, iou_threshold=iou_threshold)

    false_positives = int((matched == BACKGROUND).sum())
    return false_positives + int(missed_objects(matched, target).sum())


def show_matches(
    image: Tensor,
    detections: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    *,
    iou_threshold: float = 0.5,
    min_score: float = 0.3,
    class_names: Sequence[str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    legend: bool = True,
    labels: bool = True,
) -> Axes:
    """Draw what a detector found (solid, ✓), made up (dashed, ✗) and missed (dotted).

    Args:
        image: (3, H, W), (1, H, W) or (H, W), float in [0, 1] or uint8.
        detections: "boxes" (D, 4), "labels" (D,), "scores" (D,).
        target: "boxes" (N, 4), "labels" (N,), optionally "iscrowd" (N,).
        iou_threshold: least IoU of a match; see `match_detections`.
        min_score: detections below it are left out, as a user of the detector would.
        class_names: names for the labels 0 … K−1.
        ax: axes to draw on.
        title: text above the image.
        legend: whether to explain the line styles below the image.
        labels: whether the tags hold class and score beside the mark.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: if an argument is malformed, naming what is.
    """
    detections = plain_objects(detections, "detections", ["boxes", "labels", "scores"], class_names)
    target = plain_objects(target, "target", ["boxes", "labels"], class_names)

    detections = drop_below(detections, min_score)
    matched = match_detections(detections, target, iou_threshold=iou_threshold)

    missed = missed_objects(matched, target)

    # Which rows of what, in which look, with which mark. The last is drawn on top.
    groups = [
        (target, missed, style.MISSED, style.DOTTED, "missed" if labels else "?"),
        (detections, matched == BACKGROUND, style.FALSE_ALARM, style.DASHED, "✗"),
        (detections, matched >= 0, style.FOUND, style.SOLID, "✓"),
    ]

    ax = draw_image(ax, image_array(image), title)
    for objects, members, colour, linestyle, mark in groups:
        for i in members.nonzero().flatten().tolist():
            box = objects["boxes"][i]
            draw_box(ax, box, colour, linestyle)

            text = f"{mark} {caption(objects, i, class_names)}" if labels else mark
            draw_tag(ax, box, text, colour)

    if legend:
        match_legend(ax)
    return ax


def match_legend(where: Axes | Figure) -> None:
    """Add the legend of `show_matches` below axes, or at the foot of a figure of several."""
    legend_below(where, match_handles("missed object"), columns=3)


def match_handles(missed: str) -> list[Line2D]:
    """Return the lines of the legend of `show_matches`, with the words for a missed object."""
    kinds = [
        (style.FOUND, style.SOLID, "✓ true positive"),
        (style.FALSE_ALARM, style.DASHED, "✗ false positive"),
        (style.MISSED, style.DOTTED, missed),
    ]
    width = 2.5  # points

    return [
        Line2D(
            [],
            [],
            color=colour,
            linestyle=linestyle,
            linewidth=width,
            path_effects=style.casing(colour, width),
            label=label,
        )
        for colour, linestyle, label in kinds
    ]


# ---- the parts of a match


def crowd_of(target: Mapping[str, Tensor]) -> Tensor:
    """Return (N,) bool: which objects are crowds."""
    if "iscrowd" not in target:
        return torch.zeros(len(target["boxes"]), dtype=torch.bool)
    return target["iscrowd"].bool()


def inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """Return (D, C): which part of each box (D, 4) lies in each region (C, 4)."""
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])  # (D, C, 2)
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    return shared / box_area(boxes)[:, None].clamp(min=1e-9)


def missed_objects(matched: Tensor, target: Mapping[str, Tensor]) -> Tensor:
    """Return (N,) bool: which objects no detection was matched to; a crowd is never missed."""
    missed = ~crowd_of(target)
    missed[matched[matched >= 0]] = False
    return missed


def drop_below(detections: Mapping[str, Tensor], min_score: float) -> dict[str, Tensor]:
    """Return the detections of at least `min_score`, best first."""
    kept = select(detections, min_score)
    return {key: value[kept] for key, value in detections.items()}
