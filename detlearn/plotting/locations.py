"""Pictures of what happens at the locations of a feature map: label assignment and heat maps.

`show_assignment` is the book's one way to draw *who learns what*: the same letters, colours and
marker shapes whether the locations are anchors, cells, points or queries. Shapes: P locations, N
objects, h, w a feature map.
"""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from torch import Tensor

from detlearn.plotting import style
from detlearn.plotting.draw import (
    BACKGROUND,
    IGNORED,
    draw_box,
    draw_image,
    draw_tag,
    keep_clear,
    larger_first,
    legend_below,
)
from detlearn.plotting.inputs import check_boxes, check_objects, image_array

DOT = 6.5  # points, the diameter of a location's marker where no stride is given
FADE = 0.55  # how far the image beneath an assignment is faded to white


def show_assignment(
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
    """Draws who learns what: which locations are trained on which object.

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
    boxes = check_objects(target, "target", ["boxes"])["boxes"]
    points, assigned, anchors = check_locations(points, assigned, anchors, len(boxes))
    pixels = image_array(image)
    ax = draw_image(ax, FADE + (1 - FADE) * pixels, title)
    diameters = marker_diameters(ax, pixels.shape[:2], stride, len(points))
    if stride is not None and np.ndim(stride) == 0:
        draw_cells(ax, pixels.shape[:2], float(stride))
    background = draw_background(ax, points[assigned == BACKGROUND])
    ignored = draw_ignored(ax, points[assigned == IGNORED])
    if anchors is not None:
        for i in (assigned >= 0).nonzero().flatten().tolist():
            draw_box(ax, anchors[i], style.colour_of(int(assigned[i])), weight=0.4)
    sizes = diameters**2 * area_factors(weights, assigned)
    for n in larger_first(boxes, range(len(boxes))):
        draw_box(ax, boxes[n], style.colour_of(n), weight=0.7)
    for n, box in enumerate(boxes):
        mine = assigned == n
        draw_markers(ax, points[mine], sizes[mine], n)
        text = f"{style.MARKERS[style.marker_of(n)]} {style.letter_of(n)} ×{int(mine.sum())}"
        draw_tag(ax, box, text, style.colour_of(n))
    learning = points[assigned >= 0]
    keep_clear(ax, torch.cat([learning - 1, learning + 1], dim=1))
    if legend and (handles := [h for h in (background, ignored) if h is not None]):
        legend_below(ax, handles, columns=2)
    return ax


def check_locations(
    points: Tensor | None, assigned: Tensor, anchors: Tensor | None, num_objects: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Returns the three on the CPU; raises ValueError or TypeError if they disagree."""
    if anchors is not None:
        anchors = check_boxes(anchors, "anchors")
    if points is None:
        if anchors is None:
            raise ValueError(
                "points is None: give points (P, 2), or anchors (P, 4) for their centres"
            )
        points = (anchors[:, :2] + anchors[:, 2:]) / 2
    points = torch.as_tensor(points).detach().cpu().float()
    assigned = torch.as_tensor(assigned).detach().cpu()
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must have shape (P, 2), got {tuple(points.shape)}")
    if assigned.is_floating_point() or assigned.dtype == torch.bool:
        raise TypeError(f"assigned must be int64 indices of objects, got {assigned.dtype}")
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


def per_location(value: float | Tensor, num_points: int, name: str) -> Tensor:
    """Returns (P,) float32 from one number or a (P,) tensor, 0 or more; else raises ValueError."""
    value = torch.as_tensor(value).detach().cpu().float()
    if value.ndim == 0:
        value = value.expand(num_points)
    if value.shape != (num_points,) or not (value >= 0).all():
        raise ValueError(
            f"{name} must be one number or shape ({num_points},), 0 or more, got "
            f"shape {tuple(value.shape)}" + (f" from {value.min():.3g}" if value.numel() else "")
        )
    return value


def marker_diameters(
    ax: Axes, size: tuple[int, int], stride: float | Tensor | None, num_points: int
) -> Tensor:
    """Returns (P,) diameters in points: half a cell, but no less than 4 and no more than 11."""
    if stride is None:
        return torch.full((num_points,), DOT)
    sides = per_location(stride, num_points, "stride")
    if not (torch.as_tensor(stride) > 0).all():
        raise ValueError(f"stride must be above 0, got {stride}")
    frame = ax.get_window_extent()
    scale = min(frame.width / size[1], frame.height / size[0]) * 72 / ax.figure.dpi
    return (0.5 * scale * sides).clamp(4.0, 11.0)


def area_factors(weights: Tensor | None, assigned: Tensor) -> Tensor:
    """Returns (P,) factors, 0.1 for a weight of 0 up to 1 for the largest that an object has."""
    if weights is None:
        return torch.ones(len(assigned))
    weights = per_location(weights, len(assigned), "weights")
    largest = weights[assigned >= 0].max().clamp(min=1e-12) if (assigned >= 0).any() else 1.0
    return 0.1 + 0.9 * weights / largest


def draw_cells(ax: Axes, size: tuple[int, int], stride: float) -> None:
    """Draws the borders of the cells of one feature map as faint lines."""
    height, width = size
    look = {"colors": style.NEUTRAL, "linewidths": 0.5, "alpha": 0.45, "zorder": 1}
    ax.vlines(np.arange(0, width + 1e-3, stride), 0, height, **look)
    ax.hlines(np.arange(0, height + 1e-3, stride), 0, width, **look)


def draw_background(ax: Axes, points: Tensor) -> Line2D | None:
    """Draws locations that learn the background as faint dots; returns the legend's handle."""
    points = torch.unique(points, dim=0) if len(points) else points  # anchors share centres
    label = "background"
    look = {"marker": "o", "markersize": 2.4, "color": style.NEUTRAL, "linestyle": "none"}
    return (
        ax.plot(*points.T.numpy(), **look, alpha=0.6, label=label, zorder=1.5)[0]
        if len(points)
        else None
    )


def draw_ignored(ax: Axes, points: Tensor) -> Line2D | None:
    """Draws locations that learn nothing as grey crosses; returns the legend's handle."""
    look = {"marker": "x", "markersize": 4.5, "markeredgewidth": 1.2, "color": style.NEUTRAL}
    look |= {"linestyle": "none", "label": "ignored", "zorder": 1.6}
    return ax.plot(*points.T.numpy(), **look)[0] if len(points) else None


def draw_markers(ax: Axes, points: Tensor, sizes: Tensor, index: int) -> PathCollection:
    """Draws the locations (P, 2) of one object with its marker; sizes (P,) in points squared."""
    colour = style.colour_of(index)
    return ax.scatter(
        *points.T.numpy(),
        s=sizes.numpy(),
        marker=style.marker_of(index),
        color=colour,
        edgecolors=style.ink_on(colour),
        linewidths=0.8,
        zorder=3,
    )


def show_heatmap(
    image: Tensor,
    heatmap: Tensor,
    *,
    stride: float | None = None,
    vmax: float | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Lays a heat map over a darkened grey copy of the image: hotter is lighter and more opaque.

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
        ValueError: if the heat map has another shape, or negative or non-finite values.
    """
    heat = check_heatmap(heatmap)
    pixels = image_array(image)
    grey = 0.5 * (pixels @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32))
    ax = draw_image(ax, np.repeat(grey[..., None], 3, axis=2), title)
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
    """Returns a heat map as (h, w) float32 array; raises ValueError if it is none."""
    heat = torch.as_tensor(heatmap).detach().cpu().float()
    heat = heat[0] if heat.ndim == 3 and len(heat) == 1 else heat
    if heat.ndim != 2 or heat.numel() == 0:
        raise ValueError(
            f"heatmap must have shape (h, w) or (1, h, w), got {tuple(heatmap.shape)}; "
            "choose one class of several"
        )
    if not (heat.isfinite().all() and heat.min() >= 0):
        raise ValueError(
            f"heatmap must be finite and 0 or more, got values from {heat.min():.3g} to "
            f"{heat.max():.3g}; apply a sigmoid to logits"
        )
    return heat.numpy()
