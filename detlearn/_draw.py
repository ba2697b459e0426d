"""What the pictures of `detlearn.plotting` are made of: an image, visible boxes, tidy tags.

Shapes: H, W image height and width; N boxes. Boxes are (x1, y1, x2, y2) in pixels in continuous
coordinates: the first pixel covers [0, 1] × [0, 1], so the box (0, 0, W, H) runs along the border
of the image. Matplotlib's own default would put that pixel at [-0.5, 0.5] and every box half a
pixel off.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform
from torch import Tensor

from detlearn import _style as style
from detlearn.boxes import box_area

WIDTH = 7.0  # inches, the widest figure of the book
BACKGROUND, IGNORED = -1, -2  # in place of an object's index: no object, and does not count


def image_array(image: Tensor) -> np.ndarray:
    """Converts an image to what matplotlib draws.

    Args:
        image: (3, H, W), (1, H, W) or (H, W), float in [0, 1] or uint8, on any device.

    Returns:
        (H, W, 3) float32 array in [0, 1].

    Raises:
        TypeError: if it is no tensor, or neither float nor uint8.
        ValueError: if its shape or range is another one.
    """
    if not isinstance(image, Tensor):
        raise TypeError(
            f"image must be a torch tensor (3, H, W), got {type(image).__name__}; "
            "torchvision.transforms.functional.to_tensor converts a PIL image or an (H, W, 3) array"
        )
    shape = tuple(image.shape)
    image = image.detach().cpu()
    image = image[None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[0] not in (1, 3) or image.numel() == 0:
        raise ValueError(f"image must have shape (3, H, W), (1, H, W) or (H, W), got {shape}")
    if image.dtype == torch.uint8:
        image = image.float() / 255
    elif not image.is_floating_point():
        raise TypeError(f"image must be float in [0, 1] or uint8, got {image.dtype}")
    image = image.float().expand(3, -1, -1)
    low, high = image.min().item(), image.max().item()
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(
            f"a float image must lie in [0, 1], got values from {low:.3g} to {high:.3g}; "
            "undo the normalisation, or divide by 255"
        )
    return image.clamp(0, 1).permute(1, 2, 0).numpy()  # (H, W, 3)


def check_objects(
    objects: Mapping[str, Tensor],
    name: str,
    required: Sequence[str],
    class_names: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Checks a target or one image's detections, and brings them to the CPU.

    Args:
        objects: "boxes" (N, 4), and "labels" (N,), "scores" (N,), "iscrowd" (N,) where present.
        name: what to call it in an error.
        required: the keys that must be there.
        class_names: names of the classes; every label must have one.

    Returns:
        The entries among these four that are present, detached, boxes and scores as float32.

    Raises:
        TypeError: if `objects` is no mapping, or labels are no integers.
        ValueError: if a key is missing, shapes disagree, a box is inverted or not finite, or a
            label has no name.
    """
    if not isinstance(objects, Mapping):
        raise TypeError(
            f"{name} must be a dict with {list(required)}, got {type(objects).__name__}"
        )
    if missing := [key for key in required if key not in objects]:
        raise ValueError(f"{name} lacks {missing}; it has {sorted(objects)}")
    keys = [key for key in ("boxes", "labels", "scores", "iscrowd") if key in objects]
    checked = {key: torch.as_tensor(objects[key]).detach().cpu() for key in keys}
    boxes = checked["boxes"] = check_boxes(checked["boxes"], f"{name}['boxes']")
    for key in keys[1:]:
        if checked[key].shape != boxes.shape[:1]:
            shape = tuple(checked[key].shape)
            raise ValueError(
                f"{name}[{key!r}] must have shape ({len(boxes)},) like its boxes, got {shape}"
            )
    if "scores" in checked:
        checked["scores"] = checked["scores"].float()
    if "labels" in checked:
        check_labels(checked["labels"], name, class_names)
    return checked


def check_boxes(boxes: Tensor, name: str) -> Tensor:
    """Returns `boxes` as (N, 4) float32 on the CPU; raises ValueError naming the first bad box."""
    boxes = torch.as_tensor(boxes).detach().cpu().float()
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} must have shape (N, 4), got {tuple(boxes.shape)}")
    bad = ~boxes.isfinite().all(1) | (boxes[:, 2:] < boxes[:, :2]).any(1)
    if bad.any():
        first = bad.nonzero()[0].item()
        raise ValueError(
            f"{name}[{first}] = {boxes[first].tolist()} is not finite with x1 <= x2 and y1 <= y2; "
            "boxes are (x1, y1, x2, y2)"
        )
    return boxes


def check_labels(labels: Tensor, name: str, class_names: Sequence[str] | None) -> None:
    """Raises if a label is no integer, negative, or beyond the end of `class_names`."""
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"{name}['labels'] must be int64, got {labels.dtype}")
    upper = None if class_names is None else len(class_names)
    for index, label in enumerate(labels.tolist()):
        if label < 0 or (upper is not None and label >= upper):
            known = "0 or more" if upper is None else f"in 0 … {upper - 1} (one of class_names)"
            raise ValueError(f"{name}['labels'][{index}] = {label}, expected a label {known}")


def image_axes(ax: Axes | None, height: int, width: int) -> Axes:
    """Returns `ax`, or new axes of the proportions of an image, 5 inches on its longer side."""
    if ax is not None:
        return ax
    inches = 5.0 / max(height, width)
    size = (max(width * inches, 2.0), max(height * inches, 2.0))
    return plt.subplots(figsize=size, layout="constrained")[1]


def draw_image(ax: Axes | None, image: Tensor | np.ndarray, title: str | None = None) -> Axes:
    """Draws an image so that boxes in continuous pixel coordinates fit it.

    Args:
        ax: axes to draw on; new ones if None.
        image: as `image_array` takes or returns it.
        title: text above the image.

    Returns:
        The axes, with a margin of 1 % in which lines along the border stay visible.
    """
    pixels = image if isinstance(image, np.ndarray) else image_array(image)
    height, width = pixels.shape[:2]
    ax = image_axes(ax, height, width)
    ax.imshow(pixels, extent=(0, width, height, 0), vmin=0, vmax=1)
    margin = 0.01 * max(height, width)
    ax.set_xlim(-margin, width + margin)
    ax.set_ylim(height + margin, -margin)
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title)
    return ax


def draw_box(
    ax: Axes,
    box: Sequence[float],
    colour: str,
    linestyle: str | tuple = style.SOLID,
    weight: float = 1.0,
) -> Rectangle:
    """Draws one box (x1, y1, x2, y2) as an outline with a casing, and returns it.

    The line gets thinner in axes less than 3 inches wide, where it would bury small objects.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    inches = ax.get_position().width * ax.figure.get_figwidth()
    linewidth = style.BOX_LINE * weight * min(1.0, max(0.5, inches / 3))
    patch = Rectangle(
        (x1, y1),
        x2 - x1,
        y2 - y1,
        fill=False,
        edgecolor=colour,
        linestyle=linestyle,
        linewidth=linewidth,
        joinstyle="miter",
        path_effects=style.casing(colour, linewidth),
        zorder=2,
    )
    return ax.add_patch(patch)


def draw_tag(ax: Axes, box: Sequence[float], text: str, colour: str) -> Text:
    """Puts a small tag next to a box; where exactly is decided when the figure is drawn."""
    return tag_layer(ax).add(ax, box, text, colour)


def keep_clear(ax: Axes, boxes: Tensor) -> None:
    """Asks tags to stay off the regions (M, 4), too, where that is possible."""
    tag_layer(ax).obstacles.extend(boxes.tolist())


def tag_layer(ax: Axes) -> "TagLayer":
    """Returns the one artist that places the tags of `ax`."""
    layers = [artist for artist in ax.artists if isinstance(artist, TagLayer)]
    return layers[0] if layers else ax.add_artist(TagLayer())


class TagLayer(Artist):
    """Places the tags of one axes inside it, next to their boxes and apart from each other.

    How large a text is in pixels is known only when a figure is drawn, after its layout, so this
    artist draws nothing: it moves the tags just before they are drawn. Each tag in turn, first
    come first served, takes the cheapest of eight places around its box.
    """

    def __init__(self) -> None:
        super().__init__()
        self.set_zorder(-1)  # before the texts
        self.set_in_layout(False)
        self.tags: list[Text] = []
        self.boxes: list[list[float]] = []
        self.obstacles: list[list[float]] = []

    def add(self, ax: Axes, box: Sequence[float], text: str, colour: str) -> Text:
        """Adds a tag for `box` (x1, y1, x2, y2) to `ax`."""
        frame = {"boxstyle": "square,pad=0.12", "facecolor": colour, "linewidth": 0.6}
        frame["edgecolor"] = style.ink_on(colour)
        tag = ax.text(
            0,
            0,
            text,
            transform=IdentityTransform(),
            va="bottom",
            color=style.ink_on(colour),
            fontsize=style.TAG_SIZE,
            fontfamily=style.TAG_FONT,
            bbox=frame,
            zorder=4,
        )
        self.tags.append(style.hide_from_layout(tag))
        self.boxes.append([float(value) for value in box])
        return tag

    def draw(self, renderer: RendererBase) -> None:
        """Moves every tag to its place."""
        if not self.tags:
            return
        corners = np.reshape(self.boxes + self.obstacles, (-1, 2))
        corners = self.axes.transData.transform(corners).reshape(-1, 4)
        boxes = np.concatenate(  # y grows upwards on the canvas
            [
                np.minimum(corners[:, :2], corners[:, 2:]),
                np.maximum(corners[:, :2], corners[:, 2:]),
            ],
            axis=1,
        )
        taken = np.zeros((0, 4))
        for tag, box in zip(self.tags, boxes):
            pad = (0.12 * tag.get_fontsize() + 0.3) * self.figure.dpi / 72
            extent = tag.get_window_extent(renderer)
            size = np.array([extent.width, extent.height]) + 2 * pad
            place = cheapest_place(box, size, self.axes.bbox.extents, boxes, taken)
            tag.set_position(place[:2] + pad)
            taken = np.vstack([taken, place])


def cheapest_place(
    box: np.ndarray, size: np.ndarray, frame: np.ndarray, boxes: np.ndarray, taken: np.ndarray
) -> np.ndarray:
    """Chooses where a tag goes: inside the frame, off other tags first, off all boxes second.

    Args:
        box: (4,) the tag's box; all coordinates are canvas pixels with y upwards.
        size: (2,) width and height of the tag.
        frame: (4,) the axes.
        boxes: (N, 4) all boxes and obstacles, to be covered as little as possible.
        taken: (M, 4) the places of the tags before.

    Returns:
        (4,) the place.
    """
    (left, bottom, right, top), (width, height) = box, size
    corners = np.array(
        [
            [left, top],  # above
            [right - width, top],
            [left, bottom - height],  # below
            [right - width, bottom - height],
            [right, top - height],  # beside
            [left - width, top - height],
            [left, top - height],  # inside
            [right - width, bottom],
        ]
    )
    corners = np.clip(corners, frame[:2], np.maximum(frame[2:] - size, frame[:2]))
    places = np.concatenate([corners, corners + size], axis=1)  # (8, 4)
    cost = 10 * covered(places, taken).sum(1) + covered(places, boxes).sum(1)
    return places[np.argmin(cost + 0.02 * np.arange(len(places)))]


def covered(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns (P, N): the overlap of each pair in units of the smaller one's area."""
    low = np.maximum(places[:, None, :2], others[None, :, :2])  # (P, N, 2)
    high = np.minimum(places[:, None, 2:], others[None, :, 2:])
    inter = (high - low).clip(min=0).prod(-1)
    areas = [(rects[:, 2:] - rects[:, :2]).prod(-1) for rects in (places, others)]
    return inter / np.minimum(areas[0][:, None], areas[1][None, :]).clip(min=1)


def larger_first(boxes: Tensor, chosen: Sequence[int]) -> list[int]:
    """Orders indices by falling area, so that small boxes are drawn on top of large ones."""
    areas = box_area(boxes).tolist()
    return sorted(chosen, key=lambda i: -areas[i])


def note(ax: Axes, text: str) -> None:
    """Writes a remark in the lower right corner of the axes."""
    frame = {"facecolor": style.LIGHT, "edgecolor": "none", "alpha": 0.85, "pad": 2}
    text = ax.text(0.99, 0.01, text, transform=ax.transAxes, ha="right", va="bottom", bbox=frame)
    text.set(fontsize=style.TAG_SIZE, color=style.DARK, zorder=5)


def legend_below(where: Axes | Figure, handles: list, columns: int) -> None:
    """Puts a legend under axes or a figure, in a font that has the marks."""
    look = {"ncols": columns, "frameon": False, "handlelength": 1.9, "columnspacing": 1.2}
    look["handletextpad"] = 0.5
    look["prop"] = {"family": style.TAG_FONT, "size": style.TAG_SIZE}
    if isinstance(where, Axes):
        where.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), **look)
    else:
        where.legend(handles=handles, loc="lower center", **look)
