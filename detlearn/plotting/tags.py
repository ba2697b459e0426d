"""Small texts beside boxes, placed where they hide least.

How large a text is in pixels is known only when a figure is drawn, after its layout. So `draw_tag`
only notes that a box wants a tag; one invisible artist per axes, the `TagLayer`, moves all tags to
their places just before they are drawn.

Shapes: N boxes, P places, (x1, y1, x2, y2) in pixels of the image or, once a figure is drawn, of
the canvas, where y grows upwards.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform
from torch import Tensor

from detlearn.plotting import style
from detlearn.plotting.fonts import fonts_for

PAD = 0.12  # between a tag's text and its frame, in units of the font size


def draw_tag(ax: Axes, box: Sequence[float], text: str, colour: str) -> Text:
    """Put a small tag next to a box; where exactly is decided when the figure is drawn."""
    return tag_layer(ax).add(ax, box, text, colour)


def keep_clear(ax: Axes, boxes: Tensor) -> None:
    """Ask tags to stay off the regions (M, 4), too, where that is possible."""
    tag_layer(ax).obstacles.extend(boxes.tolist())


def tag_layer(ax: Axes) -> "TagLayer":
    """Return the one artist that places the tags of `ax`."""
    layers = [artist for artist in ax.artists if isinstance(artist, TagLayer)]
    return layers[0] if layers else ax.add_artist(TagLayer())


class TagLayer(Artist):
    """Place the tags of one axes inside it, next to their boxes and apart from each other.

    The layer draws nothing itself. Each tag in turn, first come first served, takes the cheapest of
    eight places around its box.
    """

    def __init__(self) -> None:
        super().__init__()
        self.set_zorder(-1)  # drawn before the texts, so that it moves them in time
        self.set_in_layout(False)

        self.tags: list[Text] = []
        self.boxes: list[list[float]] = []
        self.obstacles: list[list[float]] = []

    def add(self, ax: Axes, box: Sequence[float], text: str, colour: str) -> Text:
        """Add a tag for `box` (x1, y1, x2, y2) to `ax`."""
        frame = {
            "boxstyle": f"square,pad={PAD}",
            "facecolor": colour,
            "edgecolor": style.ink_on(colour),
            "linewidth": 0.6,
        }
        tag = ax.text(
            0,
            0,
            text,
            transform=IdentityTransform(),  # its position is given in canvas pixels
            va="bottom",
            color=style.ink_on(colour),
            fontsize=style.TAG_SIZE,
            fontfamily=fonts_for(text),
            parse_math=False,  # a $ in a name is a $
            bbox=frame,
            zorder=4,
        )

        self.tags.append(style.hide_from_layout(tag))
        self.boxes.append([float(value) for value in box])
        return tag

    def draw(self, renderer: RendererBase) -> None:
        """Move every tag to its place."""
        if not self.tags:
            return

        # From pixels of the image to pixels of the canvas. There y grows upwards, so the corners
        # of a box change places.
        corners = np.reshape(self.boxes + self.obstacles, (-1, 2))
        corners = self.axes.transData.transform(corners).reshape(-1, 4)
        low = np.minimum(corners[:, :2], corners[:, 2:])
        high = np.maximum(corners[:, :2], corners[:, 2:])
        boxes = np.concatenate([low, high], axis=1)  # (N, 4)

        taken = np.zeros((0, 4))
        for tag, box in zip(self.tags, boxes):
            # The frame is wider than the text by its padding and its line.
            pad = (PAD * tag.get_fontsize() + 0.3) * self.figure.dpi / 72
            extent = tag.get_window_extent(renderer)
            size = np.array([extent.width, extent.height]) + 2 * pad

            place = cheapest_place(box, size, self.axes.bbox.extents, boxes, taken)
            tag.set_position(place[:2] + pad)
            taken = np.vstack([taken, place])


def cheapest_place(
    box: np.ndarray, size: np.ndarray, frame: np.ndarray, boxes: np.ndarray, taken: np.ndarray
) -> np.ndarray:
    """Choose where a tag goes: inside the frame, off other tags first, off all boxes second.

    Args:
        box: (4,) the tag's box; all coordinates are canvas pixels with y upwards.
        size: (2,) width and height of the tag.
        frame: (4,) the axes.
        boxes: (N, 4) all boxes and obstacles, to be covered as little as possible.
        taken: (M, 4) the places of the tags before.

    Returns:
        (4,) the place.
    """
    left, bottom, right, top = box
    width, height = size
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

    # A place beyond the border is pushed back; a tag wider than the axes starts at their left.
    last = np.maximum(frame[2:] - size, frame[:2])
    corners = np.clip(corners, frame[:2], last)
    places = np.concatenate([corners, corners + size], axis=1)  # (8, 4)

    # To cover a tag is ten times worse than to cover a box. The last term decides ties in the
    # order of the list.
    over_tags = covered(places, taken).sum(axis=1)
    over_boxes = covered(places, boxes).sum(axis=1)
    cost = 10 * over_tags + over_boxes + 0.02 * np.arange(len(places))
    return places[np.argmin(cost)]


def covered(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (P, N): the overlap of each pair in units of the smaller one's area."""
    low = np.maximum(places[:, None, :2], others[None, :, :2])  # (P, N, 2)
    high = np.minimum(places[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clip(min=0).prod(-1)

    place_area = (places[:, 2:] - places[:, :2]).prod(-1)
    other_area = (others[:, 2:] - others[:, :2]).prod(-1)
    return shared / np.minimum(place_area[:, None], other_area[None, :]).clip(min=1)
