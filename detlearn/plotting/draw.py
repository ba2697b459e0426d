"""What the pictures of `detlearn.plotting` are made of: an image, visible boxes, tidy tags.

Shapes: H, W image height and width; N boxes. Boxes are (x1, y1, x2, y2) in pixels in continuous
coordinates: the first pixel covers [0, 1] × [0, 1], so the box (0, 0, W, H) runs along the border
of the image. Matplotlib's own default would put that pixel at [-0.5, 0.5] and every box half a
pixel off.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform
from torch import Tensor

from detlearn.boxes import box_area
from detlearn.plotting import style

WIDTH = 7.0  # inches, the widest figure of the book
BACKGROUND, IGNORED = -1, -2  # in place of an object's index: no object, and does not count


def image_axes(ax: Axes | None, height: int, width: int) -> Axes:
    """Returns `ax`, or new axes of the proportions of an image, 5 inches on its longer side."""
    if ax is not None:
        return ax
    inches = 5.0 / max(height, width)
    size = (max(width * inches, 2.0), max(height * inches, 2.0))
    return plt.subplots(figsize=size, layout="constrained")[1]


def draw_image(ax: Axes | None, pixels: np.ndarray, title: str | None = None) -> Axes:
    """Draws an image so that boxes in continuous pixel coordinates fit it.

    Args:
        ax: axes to draw on; new ones if None.
        pixels: (H, W, 3) in [0, 1], as `image_array` returns it.
        title: text above the image.

    Returns:
        The axes, with a margin of 1 % in which lines along the border stay visible.
    """
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
        managed = isinstance(where.get_layout_engine(), ConstrainedLayoutEngine)
        where.legend(handles=handles, loc=("outside " if managed else "") + "lower center", **look)


def select(objects: Mapping[str, Tensor], min_score: float) -> list[int]:
    """Returns the indices of detections of at least `min_score`, best first; of a target, all."""
    if "scores" not in objects:
        return list(range(len(objects["boxes"])))
    scores = objects["scores"]
    order = scores.argsort(descending=True, stable=True)
    return order[scores[order] >= min_score].tolist()


def caption(
    objects: Mapping[str, Tensor], index: int, class_names: Sequence[str] | None = None
) -> str:
    """Returns "car 0.93", without names "class 2 0.93", or what of it is known."""
    words = []
    if "labels" in objects:
        label = int(objects["labels"][index])
        words.append(f"class {label}" if class_names is None else str(class_names[label]))
    if "scores" in objects:
        words.append(f"{float(objects['scores'][index]):.2f}")
    return " ".join(words)
