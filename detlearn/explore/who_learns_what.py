"""Who learns what, all ways: every family's assignment on one scene, one click apart."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from detlearn.explore.page import Explorable
from detlearn.explore.pictures import OBJECT_COLOURS, webp
from detlearn.models import Detector
from detlearn.plotting.locations import look_through
from detlearn.samples import Target

MOST_OBJECTS = len(OBJECT_COLOURS)


def who_learns_what(
    image: Tensor,
    target: Target,
    detectors: Mapping[str, Detector],
    class_names: tuple[str, ...],
) -> Explorable:
    """Return the figure of one scene under the assignment rules of several detectors.

    The reader clicks from detector to detector, and looks at all objects or one of them. Each mark
    is a place that learns an object: as wide as the place's cell, or as the anchor that starts
    there. A table counts the places of each object.

    Args:
        image: (3, S, S) float in [0, 1].
        target: at most five objects: "boxes" (N, 4) in pixels, "labels" (N,).
        detectors: name → detector, in the order of the buttons; of those whose assignment depends
            on what they predict the weights matter.
        class_names: of the labels.

    Raises:
        ValueError: for no detector; an image that is not square; no object, or too many for the
            colours there are; or a label without a name.
    """
    if image.ndim != 3 or image.shape[1] != image.shape[2]:
        raise ValueError(f"image has the shape {tuple(image.shape)}: expected (3, S, S)")
    count = len(target["boxes"])
    if not 1 <= count <= MOST_OBJECTS:
        raise ValueError(f"the scene has {count} objects: expected 1 to {MOST_OBJECTS}")
    if not detectors:
        raise ValueError("got no detectors: expected at least one, under its name")

    labels = target["labels"].tolist()
    if not all(0 <= label < len(class_names) for label in labels):
        raise ValueError(f"labels are {labels}, but class_names has {len(class_names)} names")

    ways = [{"name": name, **_places(model, image, target)} for name, model in detectors.items()]
    picture = webp(image)
    side = image.shape[-1]
    return Explorable(
        name="who_learns_what",
        title="Who learns what, all ways",
        description=(
            "One scene under the assignment rules of several detectors, chosen by buttons. Marks "
            "show the places that learn an object: cells, locations, anchors or queries, in the "
            "object's colour. A second row of buttons shows one object alone, with the anchors "
            "from which it is learned where there are any. A table counts, for each object, the "
            "places that learn it."
        ),
        data={
            "image": picture,
            "side": side,
            "boxes": [[round(x, 1) for x in box] for box in target["boxes"].tolist()],
            "names": [class_names[label] for label in labels],
            "ways": ways,
            "state": {"way": 0, "object": -1},
        },
        still=_still(picture, side, target, ways[0]),
        scripts=("who_learns_what.js",),
    )


def _places(model: Detector, image: Tensor, target: Target) -> dict:
    """Return the places that learn an object, and how many there are of each stride."""
    seen, _, assignment = look_through(model, image, target)
    factor = image.shape[-1] / seen.shape[-1]  # a detector may look at another size

    assigned = assignment.assigned[0].cpu()  # (P,)
    points = assignment.points.cpu().view(-1, 2) * factor  # (P, 2)
    strides = assignment.strides.cpu()  # (P,)
    learns = assigned >= 0

    anchors = assignment.anchors
    rows = []
    for place in learns.nonzero()[:, 0].tolist():
        stride = float(strides[place])
        row = {
            "at": [round(x, 1) for x in points[place].tolist()],
            "stride": stride * factor if math.isfinite(stride) else None,
            "object": int(assigned[place]),
        }
        if anchors is not None:
            box = (anchors.cpu()[place] * factor).tolist()
            row["anchor"] = [round(x, 1) for x in box]
        rows.append(row)

    levels = [
        {
            "stride": stride * factor if math.isfinite(stride) else None,
            "places": int((strides == stride).sum()),
            "learn": int((learns & (strides == stride)).sum()),
        }
        for stride in strides.unique().tolist()
    ]
    return {"places": rows, "levels": levels, "ignored": int((assigned == -2).sum())}


def _still(picture: str, side: int, target: Target, way: dict) -> str:
    """Draw the scene with the places of the first detector."""
    marks = "".join(
        f'<circle cx="{place["at"][0]}" cy="{place["at"][1]}" r="1.6" '
        f'fill="{OBJECT_COLOURS[place["object"]]}" stroke="#111" stroke-width=".4"/>'
        for place in way["places"]
    )
    boxes = target["boxes"].round(decimals=1).to(torch.float64).tolist()
    outlines = "".join(
        f'<path d="M{x1:g} {y1:g}H{x2:g}V{y2:g}H{x1:g}Z" stroke="{colour}" stroke-dasharray="3 2"/>'
        for (x1, y1, x2, y2), colour in zip(boxes, OBJECT_COLOURS)
    )
    return f"""\
<svg viewBox="0 0 {side} {side + 8}" width="380" role="img" aria-label="A scene with \
{len(boxes)} objects; dots mark the places that learn one">
<image href="{picture}" width="{side}" height="{side}"/>
<g fill="none" stroke-width=".6">{outlines}</g>{marks}
<text x="0" y="{side + 6}" style="font-size:4.4px">{way["name"]}: places that learn an object</text>
</svg>"""
