"""Objects on an image, and sheets of many images.

Every function of `detlearn.plotting` takes optional matplotlib axes `ax`, makes a figure where none
are given, never calls `plt.show`, and returns the axes it drew on (`show_grid` the figure).
`use_style` sets the book's type sizes; `detlearn.plotting.style` says what makes a figure readable
in print, in grey, at 400 pixels and for the colour-blind.

Line styles: *dashed* is the ground truth and *solid* a detection.

Shapes: N objects, H, W image size. Boxes are (x1, y1, x2, y2) in pixels.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor
from torch.utils.data import Dataset

from detlearn.plotting import style
from detlearn.plotting.draw import (
    WIDTH,
    caption,
    draw_box,
    draw_image,
    image_array,
    larger_first,
    legend_below,
    note,
    plain_objects,
    select,
)
from detlearn.plotting.matches import match_handles, show_matches
from detlearn.plotting.tags import draw_tag

LEGEND_COLUMNS = 5  # below a sheet


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
    """Draw a target (dashed) or detections (solid, with scores) on an image.

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

    draw_objects(
        ax,
        objects,
        class_names=class_names,
        min_score=min_score,
        max_boxes=max_boxes,
        labels=labels,
    )
    return ax


def draw_objects(
    ax: Axes,
    objects: Mapping[str, Tensor],
    *,
    class_names: Sequence[str] | None = None,
    min_score: float = 0.0,
    max_boxes: int = 100,
    labels: bool = True,
) -> None:
    """Draw a target or detections on axes that have the pixels of an image as their units.

    Args:
        ax: axes to draw on.
        objects, class_names, min_score, max_boxes, labels: see `show`.

    Raises:
        TypeError, ValueError: if the objects are malformed, naming what is.
    """
    objects = plain_objects(objects, "objects", ["boxes"], class_names)
    boxes = objects["boxes"]

    chosen = select(objects, min_score)
    if len(chosen) > max_boxes:
        note(ax, f"{max_boxes} of {len(chosen)} boxes")
        chosen = chosen[:max_boxes]

    # Boxes without a class all have the colour of class 0.
    classes = objects.get("labels", torch.zeros(len(boxes), dtype=torch.int64)).tolist()
    linestyle = style.SOLID if "scores" in objects else style.DASHED

    # Boxes by size, so that none hides another; tags by score, so that the best has first choice.
    for i in larger_first(boxes, chosen):
        draw_box(ax, boxes[i], style.colour_of(classes[i]), linestyle)
    for i in chosen:
        text = caption(objects, i, class_names) if labels else ""
        if text:
            draw_tag(ax, boxes[i], text, style.colour_of(classes[i]))


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
    """Draw a sheet of scenes with their objects, or with what a detector found in them.

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

    # The legend first, because the figure needs to know how much room it takes.
    if detections is not None:
        handles = match_handles("? missed object")
    elif labels and class_names:
        handles = class_handles([target for _, target in scenes], class_names)
    else:
        handles = []

    rows_of_legend = -(-len(handles) // LEGEND_COLUMNS)  # rounded up
    figure, axes = grid_axes(scenes, columns, legend_rows=rows_of_legend)
    for i, (ax, (image, target)) in enumerate(zip(axes, scenes)):
        if detections is None:
            show(image, target, ax=ax, class_names=class_names, labels=False)
            number_boxes(ax, target if labels else None)
        else:
            show_matches(
                image,
                detections[i],
                target,
                iou_threshold=iou_threshold,
                min_score=min_score,
                class_names=class_names,
                ax=ax,
                legend=False,
                labels=False,
            )

    if handles:
        legend_below(figure, handles, columns=LEGEND_COLUMNS)
    return figure


def grid_axes(
    scenes: Sequence[tuple[Tensor, object]], columns: int, legend_rows: int
) -> tuple[Figure, list[Axes]]:
    """Return a figure as wide as scenes are, with room for a legend below, and axes row by row.

    The places are computed here, because a layout engine takes seconds for dozens of axes.
    """
    # A row is as high as its highest scene.
    columns = min(columns, len(scenes))
    aspects = [image.shape[-2] / image.shape[-1] for image, _ in scenes]
    rows = [max(aspects[i : i + columns]) for i in range(0, len(scenes), columns)]

    below = 0.12 + 0.22 * legend_rows  # inches
    height = WIDTH / columns * sum(rows) + below
    figure = plt.figure(figsize=(WIDTH, height), layout="none")
    cells = figure.add_gridspec(
        len(rows),
        columns,
        left=0,
        right=1,
        bottom=below / height,
        top=1,
        wspace=0.04,
        hspace=0.04,
        height_ratios=rows,
    )
    axes = [figure.add_subplot(cells[divmod(i, columns)]) for i in range(len(scenes))]
    return figure, axes


def number_boxes(ax: Axes, target: Mapping[str, Tensor] | None) -> None:
    """Tag each box of a target with the number of its label."""
    if target is None or "labels" not in target:
        return

    for box, label in zip(target["boxes"].tolist(), target["labels"].tolist()):
        draw_tag(ax, box, str(label), style.colour_of(label))


def class_handles(
    targets: Sequence[Mapping[str, Tensor] | None], class_names: Sequence[str]
) -> list[Patch]:
    """Return what a legend says of the classes that occur in the targets: colour, number, name."""
    present = set()
    for i, target in enumerate(targets):
        if target is None:
            continue

        target = plain_objects(target, f"target {i}", ["boxes"], class_names)
        if "labels" in target:
            present.update(target["labels"].tolist())

    return [
        Patch(facecolor=style.colour_of(k), edgecolor=style.DARK, label=f"{k} {class_names[k]}")
        for k in sorted(present)
    ]
