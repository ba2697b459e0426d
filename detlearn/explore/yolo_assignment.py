"""One scene, four rules of who learns what: YOLOv1's, YOLOv3's, the two of the modern head."""

from __future__ import annotations

import base64

import torch
from torch import Tensor

from detlearn import results
from detlearn.data import ToyTown
from detlearn.explore.page import Explorable
from detlearn.explore.pictures import OBJECT_COLOURS, SIDE, webp
from detlearn.models.point import grid_points
from detlearn.models.small import SMALL_YOLO_ANCHORS
from detlearn.models.yolov8 import task_aligned_assign

STRIDES = (4, 8, 16)
V1_STRIDE = 8  # pixels of a cell of YOLOv1
RULES = ("v1", "v3", "one_to_many", "one_to_one")


def yolo_assignment(*, rule: str = "one_to_many") -> Explorable:
    """Return the figure of a scene whose objects are learnt under four rules, one click apart.

    The predictions by which the modern head's two rules decide are the same stored ones, of chapter
    3's detector at moments of a short training with ten locations an object, rounded to 8 bits.
    YOLOv3's ignored anchors are those of a network that says 0 everywhere. The reader moves the
    objects, changes the exponents of the alignment and how many locations an object has, and asks
    any location which object it learns, why, and with what target.

    Args:
        rule: at the beginning: "v1", "v3", "one_to_many" or "one_to_one".

    Raises:
        ValueError: for another rule.
    """
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}: expected one of {', '.join(RULES)}")

    stored = results.load("yolo_moments")
    (run,) = stored["runs"]
    settings = stored["settings"]

    scenes = ToyTown(settings["scene"] + 1, seed=settings["preview_seed"])
    target = scenes[settings["scene"]][1]
    image = webp(scenes.images[settings["scene"]])
    boxes = target["boxes"].round()

    # The scores are those of the scene's classes: labels count them.
    _, labels = target["labels"].unique(return_inverse=True)
    return Explorable(
        name="yolo_assignment",
        title="Who learns what: YOLOv1, YOLOv3, and the modern head",
        description=(
            "A scene with four objects, under the cells of YOLOv1, the anchors of YOLOv3, or the "
            "locations of the modern head, of which the best aligned ten or the best one learn an "
            "object. Dots show who learns which object. A cursor goes from location to location "
            "with the arrow keys; sentences say what it learns, why, and with what target, and a "
            "table how each object stands to it. The letters of the objects move their boxes."
        ),
        data={
            "image": image,
            "side": SIDE,
            "names": [scenes.class_names[label] for label in target["labels"].tolist()],
            "labels": labels.tolist(),
            "strides": STRIDES,
            "v1Stride": V1_STRIDE,
            "anchors": SMALL_YOLO_ANCHORS,
            "moments": run["moments"],
            "powers": settings["powers"],
            "largestDistance": settings["largest_distance"],
            "state": {
                "rule": rule,
                "boxes": boxes.tolist(),
                "moment": len(run["moments"]) - 1,
                "topk": 10,
                "alpha": 0.5,
                "beta": 6.0,
                "ignore": 0.7,
                "level": 0,
            },
        },
        still=_still(image, boxes, labels, stored),
        scripts=("scene.js", "yolo_assignment.js"),
    )


def read_moment(stored: results.Result, moment: int) -> tuple[Tensor, Tensor]:
    """Return what the detector said of the scene at a moment, in float64.

    Args:
        stored: the result "yolo_moments".
        moment: which of its moments.

    Returns:
        Scores (P, C) of the scene's C classes, and boxes (P, 4) xyxy in pixels.
    """
    (run,) = stored["runs"]
    settings = stored["settings"]
    said = run["moments"][moment]

    points, strides = locations()

    def numbers(kind: str) -> Tensor:
        shares = torch.tensor(list(base64.b64decode(said[kind])), dtype=torch.float64) / 255
        return (shares ** settings["powers"][kind]).view(len(points), -1)

    distances = numbers("distances") * settings["largest_distance"] * strides[:, None]  # (P, 4)
    left_top, right_bottom = distances.split(2, dim=-1)  # (P, 2) twice
    boxes = torch.cat((points - left_top, points + right_bottom), dim=-1)
    return numbers("scores"), boxes


def locations() -> tuple[Tensor, Tensor]:
    """Return points (P, 2) and strides (P,) of the modern head's locations, in float64."""
    points, strides = [], []
    for stride in STRIDES:
        level = grid_points(SIDE // stride, SIDE // stride, stride).flatten(0, 1).double()
        points.append(level)
        strides.append(torch.full_like(level[:, 0], stride))
    return torch.cat(points), torch.cat(strides)


def _still(image: str, boxes: Tensor, labels: Tensor, stored: results.Result) -> str:
    """Draw the scene with the locations that learn something at the end of the training."""
    scores, pred_boxes = read_moment(stored, -1)
    points, strides = locations()
    assigned, _ = task_aligned_assign(
        scores[None], pred_boxes[None], points, boxes.double()[None], labels[None]
    )

    marks = ""
    for place in (assigned[0] >= 0).nonzero()[:, 0].tolist():
        x, y = points[place].tolist()
        radius = 0.9 + 0.05 * strides[place].item()
        fill = OBJECT_COLOURS[int(assigned[0, place])]
        marks += f'<circle cx="{x:g}" cy="{y:g}" r="{radius:.2g}" fill="{fill}" stroke="#111"/>'

    outlines = "".join(
        f'<path d="M{x1:g} {y1:g}H{x2:g}V{y2:g}H{x1:g}Z" stroke="{colour}" stroke-dasharray="3 2"/>'
        for (x1, y1, x2, y2), colour in zip(boxes.tolist(), OBJECT_COLOURS)
    )
    return f"""\
<svg viewBox="0 0 {SIDE} {SIDE + 8}" width="380" role="img" aria-label="A scene with four objects; \
dots mark the locations that learn one, up to ten for each">
<image href="{image}" width="{SIDE}" height="{SIDE}"/>
<g fill="none" stroke-width=".6">{outlines}{marks}</g>
<text x="0" y="{SIDE + 6}" style="font-size:4.4px">the best aligned locations of each object; \
larger dots are of coarser maps</text></svg>"""
