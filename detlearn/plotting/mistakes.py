"""One mistake of each kind, enlarged: what a detector said, and what is really there.

A chart of the kinds (`plot_errors`) says how many there are and what they cost; a look at one of
each says what they are like. Shown is the worst of its kind: the detection that was surest, the
largest object that was missed.

Line styles: the true boxes are thin and *dashed*, the wrong detection is *solid*, the missed object
*dotted*.

Shapes: I images; D detections and N objects of one image. Boxes are (x1, y1, x2, y2) in pixels.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import Dataset

from detlearn.boxes import box_area, box_iou
from detlearn.metrics import ERROR_KINDS, ErrorAnalysis
from detlearn.plotting import style
from detlearn.plotting.draw import WIDTH, caption, draw_box, draw_image, image_array, plain_objects
from detlearn.plotting.matches import crowd_of

# The kinds that a reader looks at first.
SHOWN = ("classification", "localisation", "background", "missed")

ROW = 3.4  # inches: a panel and its title of three lines
AROUND = 0.8  # half the side of a crop, in longer sides of the box: a margin of 30 % each side
LEAST = 3 / 16  # the same for a small box, in shorter sides of the image


def show_mistakes(
    samples: Dataset | Sequence[tuple[Tensor, Mapping[str, Tensor]]],
    detections: Sequence[Mapping[str, Tensor]],
    targets: Sequence[Mapping[str, Tensor]],
    analysis: ErrorAnalysis,
    *,
    kinds: Sequence[str] = SHOWN,
    columns: int = 2,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Draw the surest mistake of each kind and the largest missed object, each in a crop.

    The title says what the detector saw and, where it was about an object, which that is and how
    well the box fits. A kind of which there is no mistake gets a panel that says so.

    Args:
        samples: the I samples; only the images that are drawn are asked for.
        detections: of each image "boxes" (D, 4), "labels" (D,), "scores" (D,).
        targets: of each image "boxes" (N, 4), "labels" (N,), optionally "iscrowd" (N,).
        analysis: `metrics.error_analysis` of these detections and targets.
        kinds: which kinds, in the order in which they are shown; names of `metrics.ERROR_KINDS`.
        columns: panels side by side.
        class_names: names for the labels 0 … K−1; None for those of the data set, if it has any.

    Returns:
        The figure, 5.6 inches wide.

    Raises:
        ValueError: if a kind is unknown, none is given, or the numbers of images differ.
        TypeError, ValueError: if the objects of a drawn image are malformed, naming what is.
    """
    check_kinds(kinds, columns)
    check_numbers(samples, detections, targets, analysis)
    class_names = class_names or getattr(samples, "class_names", None)

    columns = min(columns, len(kinds))
    rows = -(-len(kinds) // columns)  # rounded up
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(WIDTH, ROW * rows * 2 / columns),
        layout="constrained",
        squeeze=False,
    )
    for ax in axes.flat:
        ax.set_axis_off()

    for ax, kind in zip(axes.flat, kinds):
        if kind == "missed":
            place = largest_missed(targets, analysis)
        else:
            place = surest_mistake(detections, analysis, kind)

        if place is None:
            ax.set_title(f"{kind}:\nnone")
            continue

        image, row = place
        pixels = image_array(samples[image][0])
        target = plain_objects(
            targets[image], f"targets[{image}]", ["boxes", "labels"], class_names
        )
        if kind == "missed":
            draw_missed(ax, pixels, target, row, class_names)
        else:
            found = plain_objects(
                detections[image],
                f"detections[{image}]",
                ["boxes", "labels", "scores"],
                class_names,
            )
            draw_mistake(ax, pixels, found, row, target, kind, class_names)
    return figure


# ---- which are shown


def surest_mistake(
    detections: Sequence[Mapping[str, Tensor]], analysis: ErrorAnalysis, kind: str
) -> tuple[int, int] | None:
    """Return image and row of the highest-scoring mistake of a kind, of equal ones the first."""
    candidates = [
        (float(detections[image]["scores"][row]), image, int(row))
        for image, found_kinds in enumerate(analysis.detection_kinds)
        for row in np.flatnonzero(found_kinds == kind)
    ]
    return first_largest(candidates)


def largest_missed(
    targets: Sequence[Mapping[str, Tensor]], analysis: ErrorAnalysis
) -> tuple[int, int] | None:
    """Return image and row of the missed object with the largest box, of equal ones the first."""
    candidates = [
        (float(box_area(targets[image]["boxes"][row : row + 1])), image, int(row))
        for image, target_kinds in enumerate(analysis.target_kinds)
        for row in np.flatnonzero(target_kinds == "missed")
    ]
    return first_largest(candidates)


def first_largest(candidates: Sequence[tuple[float, int, int]]) -> tuple[int, int] | None:
    """Return image and row of the first of the largest (value, image, row); None of none."""
    if not candidates:
        return None

    _, image, row = max(candidates, key=lambda candidate: candidate[0])
    return image, row


def object_meant(
    found: Mapping[str, Tensor], row: int, target: Mapping[str, Tensor], kind: str
) -> tuple[int, float] | None:
    """Return the object that a mistake is about and its IoU with it; None for background.

    A poor box and a duplicate mean an object of their class, a wrong class one of another.
    """
    if kind == "background":
        return None

    same_class = target["labels"] == found["labels"][row]
    wanted = same_class if kind in ("localisation", "duplicate") else ~same_class
    wanted = wanted & ~crowd_of(target)

    iou = box_iou(found["boxes"][row : row + 1], target["boxes"])[0]  # (N,)
    iou = iou.where(wanted, -1.0)
    meant = int(iou.argmax())
    return meant, float(iou[meant])


# ---- a panel


def draw_mistake(
    ax: Axes,
    pixels: np.ndarray,
    found: Mapping[str, Tensor],
    row: int,
    target: Mapping[str, Tensor],
    kind: str,
    class_names: Sequence[str] | None,
) -> None:
    """Draw one wrong detection and the true boxes around it."""
    title = f"{kind}:\n{caption(found, row, class_names)}"
    meant = object_meant(found, row, target, kind)
    if meant is not None:
        name = caption(target, meant[0], class_names)
        title += f"\n(a {name}, IoU {meant[1]:.2f})"

    box = found["boxes"][row]
    draw_crop(ax, pixels, box, title)
    draw_truth(ax, target["boxes"])
    draw_box(ax, box, style.FALSE_ALARM, style.SOLID)


def draw_missed(
    ax: Axes,
    pixels: np.ndarray,
    target: Mapping[str, Tensor],
    row: int,
    class_names: Sequence[str] | None,
) -> None:
    """Draw one missed object and the other true boxes around it."""
    box = target["boxes"][row]
    others = [n for n in range(len(target["boxes"])) if n != row]

    draw_crop(ax, pixels, box, f"missed:\n{caption(target, row, class_names)}")
    draw_truth(ax, target["boxes"][others])
    draw_box(ax, box, style.MISSED, style.DOTTED)


def draw_truth(ax: Axes, boxes: Tensor) -> None:
    """Draw true boxes (N, 4) as the book does beside predictions: thin and dashed."""
    for box in boxes:
        draw_box(ax, box, style.DARK, style.DASHED, weight=0.45)


def draw_crop(ax: Axes, pixels: np.ndarray, box: Tensor, title: str) -> None:
    """Draw the square part of an image around a box (4,), with as little beyond it as can be."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = box.tolist()

    # How much is shown: the box and what is around it, but not less than can be recognised.
    half = max(AROUND * max(x2 - x1, y2 - y1), LEAST * min(height, width))
    half = min(half, max(height, width) / 2)

    draw_image(ax, pixels, title)
    left = crop_start((x1 + x2) / 2, half, width)
    top = crop_start((y1 + y2) / 2, half, height)
    ax.set_xlim(left, left + 2 * half)
    ax.set_ylim(top + 2 * half, top)


def crop_start(centre: float, half: float, length: int) -> float:
    """Return where a crop of 2 · half pixels begins: inside the image, or around all of it."""
    if 2 * half >= length:
        return length / 2 - half
    return min(max(centre, half), length - half) - half


# ---- the door


def check_kinds(kinds: Sequence[str], columns: int) -> None:
    """Raise ValueError for a kind that `metrics.error_analysis` doesn't know, or for none."""
    if len(kinds) == 0 or columns < 1:
        raise ValueError(f"nothing to draw: {len(kinds)} kinds, {columns=}")

    for kind in kinds:
        if kind not in ERROR_KINDS:
            raise ValueError(f"unknown kind of mistake {kind!r}: expected some of {ERROR_KINDS}")


def check_numbers(
    samples: Dataset | Sequence,
    detections: Sequence[Mapping[str, Tensor]],
    targets: Sequence[Mapping[str, Tensor]],
    analysis: ErrorAnalysis,
) -> None:
    """Raise ValueError if not all are about equally many images, detections and objects."""
    numbers = {
        "samples": len(samples),
        "detections": len(detections),
        "targets": len(targets),
        "images in the analysis": len(analysis.detection_kinds),
    }
    if len(set(numbers.values())) > 1:
        told = ", ".join(f"{count} {name}" for name, count in numbers.items())
        raise ValueError(f"{told}: expected equally many, of the same images in the same order")

    for image, (found, target) in enumerate(zip(detections, targets)):
        judged = len(analysis.detection_kinds[image]), len(analysis.target_kinds[image])
        given = len(found["boxes"]), len(target["boxes"])
        if judged != given:
            raise ValueError(
                f"image {image} has {given[0]} detections and {given[1]} objects, the analysis "
                f"judged {judged[0]} and {judged[1]}: give the lists that it was made from"
            )
