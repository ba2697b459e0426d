"""The pictures of the book: objects, detections, matches and label assignment on an image.

Every function takes optional matplotlib axes `ax`, makes a figure where none are given, never calls
`plt.show`, and returns the axes it drew on (`show_grid` the figure). `use_style` sets the book's
type sizes; `detlearn.plotting.style` says what makes a figure readable in print, in grey, at 400
pixels and for the colour-blind.

Line styles mean the same everywhere: *dashed* is the ground truth and *solid* a detection in
`show`; in `show_matches` a true positive is solid, a false positive dashed, a missed object dotted.

Shapes: N objects, D detections, P locations, H, W image size. Boxes are (x1, y1, x2, y2) in pixels.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor
from torch.utils.data import Dataset

from detlearn.boxes import box_area, box_iou
from detlearn.plotting import style
from detlearn.plotting.charts import plot_errors, plot_history, plot_pr_curves
from detlearn.plotting.draw import (
    BACKGROUND,
    IGNORED,
    WIDTH,
    caption,
    draw_box,
    draw_image,
    draw_tag,
    larger_first,
    legend_below,
    note,
    select,
)
from detlearn.plotting.inputs import check_labels, check_objects, image_array
from detlearn.plotting.locations import show_assignment, show_heatmap
from detlearn.plotting.style import use_style

__all__ = [
    "match_detections",
    "match_legend",
    "plot_errors",
    "plot_history",
    "plot_pr_curves",
    "show",
    "show_assignment",
    "show_grid",
    "show_heatmap",
    "show_matches",
    "use_style",
]


def show(
    image: Tensor,
    objects: Mapping[str, Tensor] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    min_score: float = 0.0,
    max_boxes: int = 100,
    labels: bool = True,
) -> Axes:
    """Draws a target (dashed) or detections (solid, with scores) on an image.

    Args:
        image: (3, H, W), (1, H, W) or (H, W), float in [0, 1] or uint8.
        objects: "boxes" (N, 4); optionally "labels" (N,) and, for detections, "scores" (N,). None
            draws the image alone.
        class_names: names for the labels 0 … K−1.
        ax: axes to draw on.
        title: text above the image.
        min_score: detections below it are left out.
        max_boxes: only so many boxes are drawn, the highest-scoring or else the first; a note says
            so.
        labels: whether to write class and score next to each box.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: if the image or the objects are malformed, naming what is.
    """
    ax = draw_image(ax, image_array(image), title)
    if objects is None:
        return ax
    objects = check_objects(objects, "objects", ["boxes"], class_names)
    chosen = select(objects, min_score)
    if len(chosen) > max_boxes:
        note(ax, f"{max_boxes} of {len(chosen)} boxes")
    chosen = chosen[:max_boxes]
    linestyle = style.SOLID if "scores" in objects else style.DASHED
    classes = objects.get("labels", torch.zeros(len(objects["boxes"]), dtype=torch.int64)).tolist()
    boxes = objects["boxes"]
    for i in larger_first(boxes, chosen):
        draw_box(ax, boxes[i], style.colour_of(classes[i]), linestyle)
    for i in chosen:
        if labels and (text := caption(objects, i, class_names)):
            draw_tag(ax, boxes[i], text, style.colour_of(classes[i]))
    return ax


def match_detections(
    detections: Mapping[str, Tensor], target: Mapping[str, Tensor], *, iou_threshold: float = 0.5
) -> Tensor:
    """Matches detections to objects as COCO's evaluation does, at one IoU threshold.

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
        ValueError: if a key is missing or malformed.
    """
    detections = check_objects(detections, "detections", ["boxes", "labels", "scores"])
    target = check_objects(target, "target", ["boxes", "labels"])
    crowd = target.get("iscrowd", torch.zeros(len(target["boxes"]))).bool()
    iou = box_iou(detections["boxes"], target["boxes"])  # (D, N)
    iou[:, crowd] = inside(detections["boxes"], target["boxes"][crowd])
    iou[detections["labels"][:, None] != target["labels"][None, :]] = -1
    free = ~crowd
    matched = torch.full((len(iou),), BACKGROUND)
    for d in detections["scores"].argsort(descending=True, stable=True).tolist():
        candidates = torch.where(free, iou[d], -1.0)
        if (candidates >= iou_threshold).any():
            matched[d] = candidates.argmax()
            free[matched[d]] = False
        elif (iou[d, crowd] >= iou_threshold).any():
            matched[d] = IGNORED
    return matched


def inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """Returns (D, C): which part of each box (D, 4) lies in each region (C, 4)."""
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])  # (D, C, 2)
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    return (high - low).clamp(min=0).prod(-1) / box_area(boxes)[:, None].clamp(min=1e-9)


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
    """Draws what a detector found (solid, ✓), made up (dashed, ✗) and missed (dotted).

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
    required = ["boxes", "labels"]
    detections = check_objects(detections, "detections", [*required, "scores"], class_names)
    target = check_objects(target, "target", required, class_names)
    kept = select(detections, min_score)
    detections = {key: value[kept] for key, value in detections.items()}
    matched = match_detections(detections, target, iou_threshold=iou_threshold)
    crowd = target.get("iscrowd", torch.zeros(len(target["boxes"]))).bool()
    missed = ~crowd
    missed[matched[matched >= 0]] = False
    ax = draw_image(ax, image_array(image), title)
    groups = [
        (target, missed, style.MISSED, style.DOTTED, "missed" if labels else "?"),
        (detections, matched == BACKGROUND, style.FALSE_ALARM, style.DASHED, "✗"),
        (detections, matched >= 0, style.FOUND, style.SOLID, "✓"),
    ]
    for objects, members, colour, linestyle, mark in groups:
        for i in members.nonzero().flatten().tolist():
            draw_box(ax, objects["boxes"][i], colour, linestyle)
            text = f"{mark} {caption(objects, i, class_names)}" if labels else mark
            draw_tag(ax, objects["boxes"][i], text, colour)
    if legend:
        match_legend(ax)
    return ax


def match_legend(where: Axes | Figure) -> None:
    """Adds the legend of `show_matches` below axes, or at the foot of a figure of several."""
    legend_below(where, match_handles("missed object"), columns=3)


def match_handles(missed: str) -> list[Line2D]:
    """Returns the lines of the legend of `show_matches`, with the words for a missed object."""
    kinds = [
        (style.FOUND, style.SOLID, "✓ true positive"),
        (style.FALSE_ALARM, style.DASHED, "✗ false positive"),
        (style.MISSED, style.DOTTED, missed),
    ]
    return [
        Line2D(
            [], [], color=c, linestyle=s, linewidth=2.5, path_effects=style.casing(c, 2.5), label=t
        )
        for c, s, t in kinds
    ]


def show_grid(
    samples: Dataset | Sequence[tuple[Tensor, Mapping[str, Tensor]]],
    *,
    columns: int = 4,
    max_images: int = 24,
    class_names: Sequence[str] | None = None,
    detections: Sequence[Mapping[str, Tensor]] | None = None,
    iou_threshold: float = 0.5,
    min_score: float = 0.3,
    labels: bool = True,
) -> Figure:
    """Draws a sheet of scenes with their objects, or with what a detector found in them.

    The scenes are small, so a tag holds no more than the label's number, or with `detections` the
    mark of `show_matches`; a legend below says what they stand for.

    Args:
        samples: a data set or a list of (image, target).
        columns: scenes side by side.
        max_images: only the first so many are drawn.
        class_names: names for the labels 0 … K−1; None for those of the data set, if it has any.
        detections: one dict for each drawn sample, as `show_matches` takes it.
        iou_threshold: least IoU of a match.
        min_score: detections below it are left out.
        labels: whether to number the boxes by class; the marks of matches always stay.

    Returns:
        The figure, 7 inches wide.

    Raises:
        TypeError, ValueError: if there is no sample, too few detections, or one is malformed.
    """
    count = min(len(samples), max_images)
    if count == 0 or columns < 1:
        raise ValueError(f"nothing to draw: {len(samples)} samples, {max_images=}, {columns=}")
    if detections is not None and len(detections) < count:
        raise ValueError(f"{len(detections)} detections for {count} samples: expected one each")
    class_names = class_names or getattr(samples, "class_names", None)
    scenes = [samples[i] for i in range(count)]
    if detections is not None:
        handles = match_handles("? missed object")
    else:
        targets = [target for _, target in scenes]
        handles = class_handles(targets, class_names) if labels and class_names else []
    figure, axes = grid_axes(scenes, columns, legend_rows=-(-len(handles) // 5))
    for i, (ax, (image, target)) in enumerate(zip(axes, scenes)):
        if detections is None:
            show(image, target, ax=ax, class_names=class_names, labels=False)
            number_boxes(ax, target if labels else None)
        else:
            look = {"iou_threshold": iou_threshold, "min_score": min_score, "ax": ax}
            look |= {"legend": False, "labels": False, "class_names": class_names}
            show_matches(image, detections[i], target, **look)
    if handles:
        legend_below(figure, handles, columns=5)
    return figure


def grid_axes(
    scenes: Sequence[tuple[Tensor, object]], columns: int, legend_rows: int
) -> tuple[Figure, list[Axes]]:
    """Returns a figure 7 inches wide, with room for a legend below, and axes row by row.

    The places are computed here, because a layout engine takes seconds for dozens of axes.
    """
    columns = min(columns, len(scenes))
    aspects = [image.shape[-2] / image.shape[-1] for image, _ in scenes]
    rows = [max(aspects[i : i + columns]) for i in range(0, len(scenes), columns)]
    below = 0.12 + 0.22 * legend_rows  # inches
    height = WIDTH / columns * sum(rows) + below
    figure = plt.figure(figsize=(WIDTH, height), layout="none")
    edges = {"left": 0, "right": 1, "bottom": below / height, "top": 1}
    gaps = {"wspace": 0.04, "hspace": 0.04, "height_ratios": rows}
    cells = figure.add_gridspec(len(rows), columns, **edges, **gaps)
    return figure, [figure.add_subplot(cells[divmod(i, columns)]) for i in range(len(scenes))]


def number_boxes(ax: Axes, target: Mapping[str, Tensor] | None) -> None:
    """Tags each box of a target with the number of its label."""
    if target is None or "labels" not in target:
        return
    for box, label in zip(target["boxes"].tolist(), target["labels"].tolist()):
        draw_tag(ax, box, str(label), style.colour_of(label))


def class_handles(
    targets: Sequence[Mapping[str, Tensor]], class_names: Sequence[str]
) -> list[Patch]:
    """Returns what a legend says of the classes that occur in the targets: colour, number, name."""
    labelled = [target["labels"] for target in targets if "labels" in (target or {})]
    for labels in labelled:
        check_labels(labels, "target", class_names)
    present = sorted({label for labels in labelled for label in labels.tolist()})
    return [
        Patch(facecolor=style.colour_of(k), edgecolor=style.DARK, label=f"{k} {class_names[k]}")
        for k in present
    ]
