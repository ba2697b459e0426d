"""What happens at the locations of a feature map: who learns what, and heat maps.

`show_assignment` asks a detector whom its locations learn and draws it; `show_locations` draws any
such assignment. It is the book's one way to show *who learns what*: the same letters, colours and
marker shapes whether the locations are anchors, cells, points or queries.

Shapes: P locations, N objects, h, w a feature map, H, W the image. Boxes are (x1, y1, x2, y2) in
pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from torch import Tensor

from detlearn.metrics.inference import eval_mode
from detlearn.plotting import style
from detlearn.plotting.draw import (
    BACKGROUND,
    IGNORED,
    WIDTH,
    draw_box,
    draw_image,
    image_array,
    image_axes,
    larger_first,
    legend_below,
    plain_objects,
)
from detlearn.plotting.tags import draw_tag, keep_clear
from detlearn.samples import Target, check_images, check_targets, first_fault

if TYPE_CHECKING:
    from detlearn.models.base import Assignment, Detector

DOT = 6.5  # points, the diameter of a location's marker where no stride is given
FADE = 0.55  # how far the image beneath an assignment is faded to white
NEAR = 1.5  # strides from an object up to which background is drawn
FAINTEST = 0.4  # of a marker's area is left at a weight of 0


def show_assignment(
    model: Detector,
    image: Tensor,
    target: Target,
    *,
    level: int | None = None,
    head: str | None = None,
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """Ask a detector which of its places would learn which object of an image, and draw it.

    One panel for each stride that learns something, or one for all queries; `show_locations` says
    how to read them. Of the places that learn background only those near an object are drawn, of
    the queries all; the title counts all. The image is drawn as the network sees it, that is
    resized if the detector resizes. The model itself stays as it is: it looks in eval mode and
    without gradients.

    Args:
        model: a detector of `detlearn.models`.
        image: (3, H, W) float in [0, 1].
        target: "boxes" (N, 4) in pixels of the image, "labels" (N,) int64.
        level: draw this level alone, 0 for the finest stride.
        head: of a detector with several heads, the one whose assignment is drawn; by default the
            first.
        ax: axes to draw on; several panels share it side by side.
        legend: whether to explain background and ignored locations below the image.

    Returns:
        The axes; where there are several panels, they are its `child_axes`, the finest stride
        first.

    Raises:
        TypeError, ValueError: if image or target are malformed, or there is no such level.
    """
    check_images([image])
    check_targets([image], [target], model.num_classes)
    picture, target, assignment = look_through(model, image, target, head)

    # Some detectors say besides how much each place learns of its object.
    assigned = assignment.assigned[0].cpu()  # (P,)
    weights = getattr(assignment, "weights", None)
    strides = assignment.strides.cpu()  # (P,)
    chosen = choose_strides(strides, assigned >= 0, level)

    height, width = picture.shape[-2:]
    ax, panels = panels_in_a_row(ax, len(chosen), height, width)
    between = ": " if len(panels) == 1 else "\n"  # narrow panels have titles of two lines
    points = assignment.points.cpu()  # (P, 2), or (1, P, 2) where the image decides the places
    points = points.view(-1, 2)
    for panel, stride in zip(panels, chosen):
        here = strides == stride
        on_grid = math.isfinite(stride)  # queries stand on none
        places = f"stride {stride:g}" if on_grid else "queries"
        count, learning = int(here.sum()), int((here & (assigned >= 0)).sum())

        # Background far from all objects says nothing.
        reach = target["boxes"].cpu() + NEAR * stride * torch.tensor([-1.0, -1, 1, 1])
        here &= (assigned != BACKGROUND) | is_in_any(points, reach)

        show_locations(
            picture,
            target,
            points[here],
            assigned[here],
            anchors=None if assignment.anchors is None else assignment.anchors.cpu()[here],
            weights=None if weights is None else weights[0].cpu()[here],
            stride=stride if on_grid else None,
            ax=panel,
            title=f"{places}{between}{learning} of {count} learn",
            legend=legend,
        )
    return ax


def is_in_any(points: Tensor, boxes: Tensor) -> Tensor:
    """Return (P,) bool, which of the points (P, 2) lie in one of the boxes (N, 4) or more."""
    low = points[:, None] > boxes[:, :2]  # (P, N, 2)
    high = points[:, None] < boxes[:, 2:]
    return (low & high).all(dim=-1).any(dim=-1)


def look_through(
    model: Detector, image: Tensor, target: Target, head: str | None = None
) -> tuple[Tensor, Target, Assignment]:
    """Return the image as a model sees it (3, h, w), the target in its pixels, and who learns what.

    The picture is cut to the image itself: the padding that makes a batch is not shown.
    """
    device = next(model.parameters()).device
    moved = {key: target[key].to(device) for key in ("boxes", "labels")}

    with eval_mode(model), torch.no_grad():
        batch, (scaled,) = model.batcher([image.to(device)], [moved])
        outputs = model.predict(batch.images, batch.sizes)
        which = {} if head is None else {"head": head}
        assignment = model.assign(outputs, [scaled], **which)

    # Undo the normalisation, which colours cannot show.
    height, width = batch.sizes[0]
    pixels = batch.images[0, :, :height, :width] * model.batcher.std + model.batcher.mean
    return pixels.clamp(0, 1).cpu(), scaled, assignment


def choose_strides(strides: Tensor, learns: Tensor, level: int | None) -> list[float]:
    """Return the strides to draw, finest first.

    Args:
        strides: (P,) pixels.
        learns: (P,) bool, which locations learn an object.
        level: which one to draw; None for all at which a location learns, or the finest if none
            does.

    Raises:
        ValueError: if there is no such level.
    """
    known = strides.unique().tolist()  # sorted
    if level is not None:
        if not 0 <= level < len(known):
            raise ValueError(f"level is {level}: expected 0 … {len(known) - 1}, strides {known}")
        return [known[level]]

    busy = strides[learns].unique().tolist()
    return busy or known[:1]


def panels_in_a_row(
    ax: Axes | None, count: int, height: int, width: int
) -> tuple[Axes, list[Axes]]:
    """Return axes and their division into `count` panels of an image's proportions, side by side.

    One panel is the axes themselves.
    """
    if count == 1:
        ax = image_axes(ax, height, width)
        return ax, [ax]

    if ax is None:
        words = 0.9  # inches for title and legend
        size = (WIDTH, WIDTH / count * height / width + words)
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    ax.set_axis_off()

    gap = 0.04  # of the width of `ax`
    share = (1 - gap * (count - 1)) / count
    panels = [ax.inset_axes([i * (share + gap), 0, share, 1]) for i in range(count)]
    return ax, panels


def show_locations(
    image: Tensor,
    target: Mapping[str, Tensor],
    points: Tensor | None,
    assigned: Tensor,
    *,
    anchors: Tensor | None = None,
    weights: Tensor | None = None,
    stride: float | Tensor | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Draw who learns what: which locations are trained on which object.

    Every object has a letter, a colour and a marker shape; a location trained on it is drawn with
    that marker. The tag "▲ C ×12" says that 12 locations learn object C, so an object that none
    learns shows as ×0.

    Args:
        image: (3, H, W), (1, H, W) or (H, W), float in [0, 1] or uint8; drawn faded.
        target: "boxes" (N, 4).
        points: (P, 2) x, y of the locations in pixels; None for the centres of `anchors`.
        assigned: (P,) int64, the index of the object, −1 for background, −2 for ignored.
        anchors: (P, 4) boxes of the locations; those assigned to an object are drawn as thin lines.
        weights: (P,) 0 or more; the area of an object's markers grows with them.
        stride: side of the locations' cells in pixels, one number or (P,); scales the markers, and
            as one number draws the cells.
        ax: axes to draw on.
        title: text above the image.
        legend: whether to explain background and ignored locations below the image.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: if an argument is malformed, naming what is.
    """
    boxes = plain_objects(target, "target", ["boxes"])["boxes"]
    points, assigned, anchors = check_locations(points, assigned, anchors, len(boxes))

    pixels = image_array(image)
    size = pixels.shape[:2]
    ax = draw_image(ax, FADE + (1 - FADE) * pixels, title)

    # How large markers are: by the cell, and by the weight.
    diameters = marker_diameters(ax, size, stride, len(points))
    sizes = diameters**2 * area_factors(weights, assigned)

    # From what matters least to what matters most: cells, who learns no object, anchors, objects.
    if stride is not None and np.ndim(stride) == 0:
        draw_cells(ax, size, float(stride))
    background = draw_background(ax, points[assigned == BACKGROUND])
    ignored = draw_ignored(ax, points[assigned == IGNORED])

    if anchors is not None:
        for i in (assigned >= 0).nonzero().flatten().tolist():
            draw_box(ax, anchors[i], style.colour_of(int(assigned[i])), weight=0.4)

    for n in larger_first(boxes, range(len(boxes))):
        draw_box(ax, boxes[n], style.colour_of(n), weight=0.7)

    for n, box in enumerate(boxes):
        mine = assigned == n
        draw_markers(ax, points[mine], sizes[mine], n)
        mark = style.MARKERS[style.marker_of(n)]
        draw_tag(ax, box, f"{mark} {style.letter_of(n)} ×{int(mine.sum())}", style.colour_of(n))

    # Tags stay off the markers that tell the story.
    learning = points[assigned >= 0]
    keep_clear(ax, torch.cat([learning - 1, learning + 1], dim=1))

    handles = [handle for handle in (background, ignored) if handle is not None]
    if legend and handles:
        legend_below(ax, handles, columns=2)
    return ax


# ---- what is given


def check_locations(
    points: Tensor | None, assigned: Tensor, anchors: Tensor | None, num_objects: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the three on the CPU; raise ValueError or TypeError if they disagree."""
    if anchors is not None:
        anchors = check_anchors(anchors)

    if points is None and anchors is None:
        raise ValueError("points is None: give points (P, 2), or anchors (P, 4) for their centres")
    if points is None:
        points = (anchors[:, :2] + anchors[:, 2:]) / 2

    points = torch.as_tensor(points).detach().cpu().float()
    assigned = torch.as_tensor(assigned).detach().cpu()
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must have shape (P, 2), got {tuple(points.shape)}")
    if assigned.is_floating_point() or assigned.dtype == torch.bool:
        raise TypeError(f"assigned must be int64 indices of objects, got {assigned.dtype}")

    # One entry for each location, everywhere.
    counts = {"assigned": tuple(assigned.shape), "points": (len(points),)}
    if anchors is not None:
        counts["anchors"] = (len(anchors),)
    if len(set(counts.values())) > 1:
        raise ValueError(f"assigned must have one entry for each location, got {counts}")

    wrong = (assigned < IGNORED) | (assigned >= num_objects)
    if wrong.any():
        first = wrong.nonzero()[0].item()
        raise ValueError(
            f"assigned[{first}] = {int(assigned[first])}, but target has {num_objects} objects: "
            "expected the index of one, -1 (background) or -2 (ignored)"
        )
    return points, assigned.long(), anchors


def check_anchors(anchors: Tensor) -> Tensor:
    """Return anchors (P, 4) as float32 on the CPU; raise ValueError naming the first bad one."""
    anchors = torch.as_tensor(anchors).detach().cpu().float()
    if anchors.ndim != 2 or anchors.shape[1] != 4:
        raise ValueError(f"anchors must have shape (P, 4), got {tuple(anchors.shape)}")

    fault = first_fault(anchors)
    if fault is not None:
        raise ValueError(f"anchors[{fault.row}] = {fault.value} {fault.why}")
    return anchors


def per_location(value: float | Tensor, num_points: int, name: str) -> Tensor:
    """Return (P,) float32 from one number or a (P,) tensor, 0 or more; else raise ValueError."""
    value = torch.as_tensor(value).detach().cpu().float()
    if value.ndim == 0:
        value = value.expand(num_points)

    # Written so that NaN fails it, too.
    if value.shape != (num_points,) or not (value >= 0).all():
        least = f" from {value.min():.3g}" if value.numel() else ""
        raise ValueError(
            f"{name} must be one number or shape ({num_points},), 0 or more, got "
            f"shape {tuple(value.shape)}{least}"
        )
    return value


# ---- how large a marker is


def marker_diameters(
    ax: Axes, size: tuple[int, int], stride: float | Tensor | None, num_points: int
) -> Tensor:
    """Return (P,) diameters in points: half a cell, but no less than 5 and no more than 11."""
    if stride is None:
        return torch.full((num_points,), DOT)

    sides = per_location(stride, num_points, "stride")
    if not (torch.as_tensor(stride) > 0).all():
        raise ValueError(f"stride must be above 0, got {stride}")

    # Points (1/72 inch) that a pixel of the image takes in these axes.
    frame = ax.get_window_extent()
    height, width = size
    scale = min(frame.width / width, frame.height / height) * 72 / ax.figure.dpi
    return (0.5 * scale * sides).clamp(5.0, 11.0)


def area_factors(weights: Tensor | None, assigned: Tensor) -> Tensor:
    """Return (P,) factors, `FAINTEST` for a weight of 0, 1 for the largest that an object has."""
    if weights is None:
        return torch.ones(len(assigned))

    weights = per_location(weights, len(assigned), "weights")
    learning = assigned >= 0
    if not learning.any():
        return torch.ones(len(assigned))  # no marker will be drawn
    shares = weights / weights[learning].max().clamp(min=1e-12)
    return FAINTEST + (1 - FAINTEST) * shares


# ---- what is drawn


def draw_cells(ax: Axes, size: tuple[int, int], stride: float) -> None:
    """Draw the borders of the cells of one feature map as faint lines."""
    height, width = size
    look = {"colors": style.NEUTRAL, "linewidths": 0.5, "alpha": 0.45, "zorder": 1}
    ax.vlines(np.arange(0, width + 1e-3, stride), 0, height, **look)
    ax.hlines(np.arange(0, height + 1e-3, stride), 0, width, **look)


def draw_background(ax: Axes, points: Tensor) -> Line2D | None:
    """Draw locations that learn the background as faint dots; return the legend's handle."""
    if len(points) == 0:
        return None

    x, y = torch.unique(points, dim=0).T.numpy()  # the anchors of a cell share their centre
    (dots,) = ax.plot(
        x,
        y,
        marker="o",
        markersize=2.4,
        color=style.NEUTRAL,
        linestyle="none",
        alpha=0.6,
        label="background",
        zorder=1.5,
    )
    return dots


def draw_ignored(ax: Axes, points: Tensor) -> Line2D | None:
    """Draw locations that learn nothing as grey crosses; return the legend's handle."""
    if len(points) == 0:
        return None

    x, y = points.T.numpy()
    (crosses,) = ax.plot(
        x,
        y,
        marker="x",
        markersize=4.5,
        markeredgewidth=1.2,
        color=style.NEUTRAL,
        linestyle="none",
        label="ignored",
        zorder=1.6,
    )
    return crosses


def draw_markers(ax: Axes, points: Tensor, sizes: Tensor, index: int) -> PathCollection:
    """Draw the locations (P, 2) of one object with its marker; sizes (P,) in points squared."""
    x, y = points.T.numpy()
    colour = style.colour_of(index)

    # A rim as wide on a small marker as on a large one would be all that is seen of it.
    rims = (0.12 * sizes.sqrt()).clamp(max=0.8)
    return ax.scatter(
        x,
        y,
        s=sizes.numpy(),
        marker=style.marker_of(index),
        color=colour,
        edgecolors=style.ink_on(colour),
        linewidths=rims.numpy(),
        zorder=3,
    )


# ---- heat maps


def show_heatmap(
    image: Tensor,
    heatmap: Tensor,
    *,
    stride: float | None = None,
    vmax: float | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Lay a heat map over a darkened grey copy of the image: hotter is lighter and more opaque.

    The colours are matplotlib's inferno, which is perceptually uniform and grows lighter all the
    way, so that the figure says the same in grey.

    Args:
        image: (3, H, W), (1, H, W) or (H, W), float in [0, 1] or uint8.
        heatmap: (h, w) or (1, h, w), 0 or more.
        stride: pixels per cell; None if the heat map covers the image exactly.
        vmax: value of the lightest colour; None for the largest in the heat map.
        ax: axes to draw on.
        title: text above the image.

    Returns:
        The axes, with a colour bar beside them.

    Raises:
        TypeError, ValueError: if the image is malformed, or the heat map has another shape, or
            negative or non-finite values.
    """
    heat = check_heatmap(heatmap)
    pixels = image_array(image)

    # The image at half its brightness, in grey: 0.2126 R + 0.7152 G + 0.0722 B.
    luminance = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    grey = 0.5 * (pixels @ luminance)  # (H, W)
    ax = draw_image(ax, np.repeat(grey[..., None], 3, axis=2), title)

    # With a stride the map may reach beyond the image, over the padding that the network saw.
    height, width = pixels.shape[:2]
    if stride is not None:
        height, width = heat.shape[0] * stride, heat.shape[1] * stride

    top = vmax if vmax is not None else max(float(heat.max()), 1e-12)
    opacity = 0.9 * np.clip(heat / top, 0, 1) ** 0.5  # the root shows the foot of a peak, too
    layer = ax.imshow(
        heat,
        cmap=colormaps["inferno"],
        alpha=opacity,
        vmin=0,
        vmax=top,
        extent=(0, width, height, 0),
        interpolation="nearest",
    )

    bar = ax.figure.colorbar(layer, ax=ax, fraction=0.046, pad=0.03)
    bar.solids.set_alpha(1)
    return ax


def check_heatmap(heatmap: Tensor) -> np.ndarray:
    """Return a heat map as (h, w) float32 array; raise ValueError if it is none."""
    heat = torch.as_tensor(heatmap).detach().cpu().float()
    shape = tuple(heat.shape)
    if heat.ndim == 3 and len(heat) == 1:
        heat = heat[0]  # (1, h, w) -> (h, w)

    if heat.ndim != 2 or heat.numel() == 0:
        raise ValueError(
            f"heatmap must have shape (h, w) or (1, h, w), got {shape}; choose one class of several"
        )
    if not (heat.isfinite().all() and heat.min() >= 0):
        raise ValueError(
            f"heatmap must be finite and 0 or more, got values from {heat.min():.3g} to "
            f"{heat.max():.3g}; apply a sigmoid to logits"
        )
    return heat.numpy()
