"""What the pictures of `detlearn.plotting` are made of: an image, visible boxes, their captions.

Two functions stand at the door: `image_array` takes what is drawn on, `plain_objects` what is
drawn. Both accept tensors of any device, with or without gradients, and give plain ones on the CPU.

Shapes: H, W image height and width; N boxes. Boxes are (x1, y1, x2, y2) in pixels in continuous
coordinates: the first pixel covers [0, 1] × [0, 1], so the box (0, 0, W, H) runs along the border
of the image. Matplotlib's own default would put that pixel at [-0.5, 0.5] and every box half a
pixel off.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from torch import Tensor

from detlearn.boxes import box_area
from detlearn.plotting import style
from detlearn.plotting.fonts import fonts_for
from detlearn.plotting.tags import draw_tag
from detlearn.samples import COLUMNS, check_keys, check_objects

WIDTH = 5.6  # inches, the widest scenes of the book: their words can be read on a phone
BACKGROUND, IGNORED = -1, -2  # in place of an object's index: no object, and does not count

# ---- the door


def image_array(image: Tensor) -> np.ndarray:
    """Convert an image to what matplotlib draws.

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
    if image.ndim == 2:
        image = image[None]  # (H, W) -> (1, H, W)

    if image.ndim != 3 or image.shape[0] not in (1, 3) or image.numel() == 0:
        raise ValueError(f"image must have shape (3, H, W), (1, H, W) or (H, W), got {shape}")

    if image.dtype == torch.uint8:
        image = image.float() / 255
    elif not image.is_floating_point():
        raise TypeError(f"image must be float in [0, 1] or uint8, got {image.dtype}")
    image = image.float().expand(3, -1, -1)

    # Written so that NaN fails it, too. Resizing may leave the range by a rounding error.
    low, high = image.min().item(), image.max().item()
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(
            f"a float image must lie in [0, 1], got values from {low:.3g} to {high:.3g}; "
            "undo the normalisation, or divide by 255"
        )
    return image.clamp(0, 1).permute(1, 2, 0).numpy()  # (H, W, 3)


def plain_objects(
    objects: Mapping[str, Tensor],
    name: str,
    required: Sequence[str],
    class_names: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Check a target or one image's detections, and bring them to the CPU.

    Args:
        objects: "boxes" (N, 4), and "labels" (N,), "scores" (N,), "iscrowd" (N,) where present;
            arrays and lists will do.
        name: what to call it in an error.
        required: the keys that must be there.
        class_names: names of the classes; every label must have one.

    Returns:
        "boxes" and those of `samples.COLUMNS` that are present, detached, boxes and scores as
        float32.

    Raises:
        TypeError, ValueError: as `samples.check_objects`, naming the first object that is wrong.
    """
    check_keys(objects, name, required)
    present = [key for key in ("boxes", *COLUMNS) if key in objects]
    plain = {key: torch.as_tensor(objects[key]).detach().cpu() for key in present}

    num_classes = None if class_names is None else len(class_names)
    check_objects(plain, name, required, num_classes=num_classes)

    for key in ("boxes", "scores"):
        if key in plain:
            plain[key] = plain[key].float()
    plain["boxes"] = plain["boxes"].reshape(-1, 4)  # no boxes may have come as (0,)
    return plain


# ---- images and boxes


def image_axes(ax: Axes | None, height: int, width: int) -> Axes:
    """Return `ax`, or new axes of the proportions of an image, 5 inches on its longer side."""
    if ax is not None:
        return ax

    inches = 5.0 / max(height, width)
    size = (max(width * inches, 2.0), max(height * inches, 2.0))
    return plt.subplots(figsize=size, layout="constrained")[1]


def draw_image(ax: Axes | None, pixels: np.ndarray, title: str | None = None) -> Axes:
    """Draw an image so that boxes in continuous pixel coordinates fit it.

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


def pixel_axes(
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    *,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Make empty white paper for boxes: pixels of equal size, y down, a thin frame, no ticks.

    Args:
        xlim: first and last x in pixels.
        ylim: first (topmost) and last y in pixels.
        ax: axes to prepare; new ones of the given proportions if None.
        title: text above the paper.

    Returns:
        The axes.

    Raises:
        ValueError: if a first number is not below its last.
    """
    for name, (first, last) in (("xlim", xlim), ("ylim", ylim)):
        if not first < last:
            raise ValueError(f"{name} = ({first}, {last}): expected (first, last), first < last")

    ax = image_axes(ax, ylim[1] - ylim[0], xlim[1] - xlim[0])
    ax.set(xlim=xlim, ylim=ylim[::-1], aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color="#bbbbbb")

    if title is not None:
        ax.set_title(title)
    return ax


def draw_boxes(
    ax: Axes,
    boxes: Tensor | Sequence[Sequence[float]],
    *,
    colour: str = style.INK,
    linestyle: str | tuple = style.SOLID,
    weight: float = 1.0,
    alpha: float = 1.0,
    fill: str | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Draw plain boxes on axes, be it paper or an image: the way to sketch an idea.

    `show` is for what data sets and detectors give; this is for boxes that have no class.

    Args:
        ax: axes to draw on: from `pixel_axes`, `show` or matplotlib.
        boxes: (N, 4), or (4,) for one.
        colour: of the outlines.
        linestyle: `style.SOLID`, `style.DASHED`, `style.DOTTED` or one of matplotlib's.
        weight: thickness of the lines; 1 is that of `show`.
        alpha: 0 is invisible, 1 opaque.
        fill: colour of the inside; None for none.
        names: one short text for each box, put beside it where it hides least.

    Raises:
        TypeError, ValueError: if boxes are malformed, or there are not as many names.
    """
    boxes = torch.as_tensor(boxes)
    if boxes.ndim == 1:
        boxes = boxes[None]  # (4,) -> (1, 4)
    boxes = plain_objects({"boxes": boxes}, "objects", ["boxes"])["boxes"]

    if names is not None and len(names) != len(boxes):
        raise ValueError(f"{len(names)} names for {len(boxes)} boxes: expected one each")

    for i, box in enumerate(boxes):
        patch = draw_box(ax, box, colour, linestyle, weight)
        patch.set(alpha=alpha)
        if fill is not None:
            patch.set(fill=True, facecolor=fill)

        if names is not None:
            draw_tag(ax, box, names[i], colour)


def draw_box(
    ax: Axes,
    box: Sequence[float],
    colour: str,
    linestyle: str | tuple = style.SOLID,
    weight: float = 1.0,
) -> Rectangle:
    """Draw one box (x1, y1, x2, y2) as an outline with a casing, and return it.

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


# ---- order and words


def larger_first(boxes: Tensor, chosen: Sequence[int]) -> list[int]:
    """Order indices by falling area, so that small boxes are drawn on top of large ones."""
    areas = box_area(boxes).tolist()
    return sorted(chosen, key=lambda i: -areas[i])


def select(objects: Mapping[str, Tensor], min_score: float) -> list[int]:
    """Return the indices of detections of at least `min_score`, best first; of a target, all."""
    if "scores" not in objects:
        return list(range(len(objects["boxes"])))

    scores = objects["scores"]
    order = scores.argsort(descending=True, stable=True)
    return order[scores[order] >= min_score].tolist()


def caption(
    objects: Mapping[str, Tensor], index: int, class_names: Sequence[str] | None = None
) -> str:
    """Return "car 0.93", without names "class 2 0.93", or what of it is known."""
    words = []
    if "labels" in objects:
        label = int(objects["labels"][index])
        words.append(f"class {label}" if class_names is None else str(class_names[label]))

    if "scores" in objects:
        words.append(f"{float(objects['scores'][index]):.2f}")

    return " ".join(words)


def note(ax: Axes, text: str) -> None:
    """Write a remark in the lower right corner of the axes."""
    frame = {"facecolor": style.LIGHT, "edgecolor": "none", "alpha": 0.85, "pad": 2}
    ax.text(
        0.99,
        0.01,
        text,
        transform=ax.transAxes,
        ha="right",
        va="bottom",
        bbox=frame,
        fontsize=style.TAG_SIZE,
        color=style.DARK,
        zorder=5,
    )


def legend_below(where: Axes | Figure, handles: list, columns: int) -> None:
    """Put a legend under axes or a figure, in fonts that have the marks and the names."""
    words = "".join(handle.get_label() for handle in handles)
    look = {
        "ncols": columns,
        "frameon": False,
        "handlelength": 1.9,
        "handletextpad": 0.5,
        "columnspacing": 1.2,
        "prop": {"family": fonts_for(words), "size": style.TAG_SIZE},
    }

    if isinstance(where, Axes):
        legend = where.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), **look
        )
    else:
        # Only the constrained layout knows "outside", which makes room for the legend.
        managed = isinstance(where.get_layout_engine(), ConstrainedLayoutEngine)
        loc = "outside lower center" if managed else "lower center"
        legend = where.legend(handles=handles, loc=loc, **look)

    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in a name is a $
