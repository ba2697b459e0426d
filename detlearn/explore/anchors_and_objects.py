"""Anchors on a scene: which of them learns which object, and why."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from detlearn.anchors import make_anchors
from detlearn.boxes import box_iou
from detlearn.data import ToyTown
from detlearn.explore.page import Explorable
from detlearn.explore.pictures import webp
from detlearn.matching import IGNORED, Matcher

SEED, SCENE = 20, 3  # a slim person, a small house, a boat before a large house
SIDE = 128  # pixels of the scene

# What the reader can choose from.
STRIDES = (4, 8, 16, 32)
SIZES = (6, 11, 16, 24, 34, 50)  # those of the small two-stage detectors
RATIOS = (1 / 3, 0.5, 1.0, 2.0, 3.0)


def anchors_and_objects(
    *,
    stride: int = 8,
    sizes: Sequence[float] = (16, 24),
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    high: float = 0.5,
    low: float = 0.3,
) -> Explorable:
    """Return the figure of anchors that are matched to the objects of a scene.

    The reader moves the objects, changes the anchors and the thresholds, and asks any cell which
    object each of its anchors learns. The numbers are those of `make_anchors`, `box_iou` and
    `match_anchors`.

    Args:
        stride: pixels from cell to cell at the beginning: 4, 8, 16 or 32.
        sizes: of the anchors at the beginning, some of 6, 11, 16, 24, 34, 50.
        aspect_ratios: height / width at the beginning, some of 1/3, 1/2, 1, 2, 3.
        high: IoU from which on an anchor is positive, at the beginning.
        low: IoU below which it is background.

    Raises:
        ValueError: for something that the reader cannot choose, or a low threshold above the high.
    """
    _check_choice("strides", [stride], STRIDES)
    _check_choice("sizes", sizes, SIZES)
    _check_choice("aspect_ratios", aspect_ratios, RATIOS)
    Matcher(high, low)  # refuses a low threshold above the high one

    scenes = ToyTown(SCENE + 1, seed=SEED)
    target = scenes[SCENE][1]
    image = webp(scenes.images[SCENE])
    boxes = target["boxes"].round()

    state = {
        "boxes": boxes.tolist(),
        "stride": stride,
        "sizes": list(sizes),
        "ratios": list(aspect_ratios),
        "high": high,
        "low": low,
        "lowQuality": True,
    }
    return Explorable(
        name="anchors_and_objects",
        title="Anchors and objects: who learns what",
        description=(
            "A scene with objects in boxes that can be moved and resized, under a grid of cells. "
            "Each cell holds anchors of the chosen sizes and aspect ratios. Marks show which cells "
            "hold a positive, a forced or an ignored anchor. A cursor goes from cell to cell with "
            "the arrow keys; a table says which object each of its anchors learns, and why."
        ),
        data={
            "image": image,
            "side": SIDE,
            "names": [scenes.class_names[label] for label in target["labels"].tolist()],
            "state": state,
            "choices": {"strides": STRIDES, "sizes": SIZES, "ratios": RATIOS},
        },
        still=_still(image, boxes, stride, sizes, aspect_ratios, high, low),
    )


def _check_choice(name: str, given: Sequence[float], choices: Sequence[float]) -> None:
    if not given or not set(given) <= set(choices):
        offered = ", ".join(f"{choice:.3g}" for choice in choices)
        raise ValueError(f"{name} are {list(given)}: the figure offers {offered}")


def _still(
    image: str,
    boxes: Tensor,
    stride: int,
    sizes: Sequence[float],
    ratios: Sequence[float],
    high: float,
    low: float,
) -> str:
    """Draw the scene with its boxes and the cells whose anchors learn something."""
    cells = SIDE // stride
    anchors = make_anchors(cells, cells, stride, sizes, ratios)
    iou = box_iou(boxes, anchors)
    matched = Matcher(high, low, allow_low_quality_matches=True)(iou)

    # Of each cell what its best anchor is.
    best = iou.amax(dim=0).view(cells * cells, -1)  # (cells, anchors of a cell)
    matched = matched.view(cells * cells, -1)
    marks = []
    for cell, (row, found) in enumerate(zip(matched, best)):
        x = (cell % cells + 0.5) * stride
        y = (cell // cells + 0.5) * stride
        if (row >= 0).any():
            is_positive = bool(((row >= 0) & (found >= high)).any())
            marks.append(_dot(x, y) if is_positive else _diamond(x, y))
        elif (row == IGNORED).any():
            marks.append(f'<circle cx="{x:g}" cy="{y:g}" r="1.2" fill="none" stroke="#fff"/>')

    outlines = "".join(
        f'<path d="M{x1:g} {y1:g}H{x2:g}V{y2:g}H{x1:g}Z" stroke-dasharray="3 2"/>'
        for x1, y1, x2, y2 in boxes.tolist()
    )
    return f"""\
<svg viewBox="0 0 {SIDE} {SIDE + 8}" width="380" role="img" aria-label="A scene with four objects; \
dots mark cells with positive anchors, diamonds forced ones, rings ignored ones">
<image href="{image}" width="{SIDE}" height="{SIDE}"/>
<g fill="none" stroke="#fff" stroke-width=".8">{outlines}{"".join(marks)}</g>
<text x="0" y="{SIDE + 6}" style="font-size:4.4px">dot: positive, diamond: forced, ring: ignored; \
stride {stride}, IoU from {high:g} on</text></svg>"""


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="1.6" fill="#fca800" stroke="#111"/>'


def _diamond(x: float, y: float) -> str:
    path = f"M{x:g} {y - 2.2:g}l2.2 2.2l-2.2 2.2l-2.2 -2.2Z"
    return f'<path d="{path}" fill="#fca800" stroke="#111"/>'
