"""One scene under FCOS's rule and ATSS: which location of which level learns which object."""

from __future__ import annotations

import torch
from torch import Tensor

from detlearn.data import ToyTown
from detlearn.explore.page import Explorable
from detlearn.explore.pictures import OBJECT_COLOURS, SIDE, webp
from detlearn.explore.yolo_assignment import STRIDES, locations
from detlearn.models.fcos import ATSS_SIDE, REACH, fcos_targets

RULES = ("fcos", "atss")

# A person with a phone in front of a boat, a bus 6 pixels high, a person 3 pixels wide.
SCENE, SEED = 3, 41
ASKED = 2  # the object in whose middle the reader's cursor begins: the phone

# Up to which distances the levels are for, in pixels.
ENDS = tuple(REACH * stride for stride in STRIDES[:-1])
RADIUS = 1.5  # strides


def fcos_levels(*, rule: str = "fcos", radius: float | None = RADIUS) -> Explorable:
    """Return the figure of a scene whose objects are learnt on three levels.

    Under FCOS's rule the reader moves the bounds between the levels and the radius about the
    objects' centres, under ATSS's the number of candidates and the boxes at the locations; under
    both, the objects. Each location can be asked which object it learns, why, and with what
    distances and centerness. Those that several objects want are marked.

    Args:
        rule: at the beginning: "fcos" or "atss".
        radius: about the centre, in strides, within which an object is learnt, likewise; None for
            all of its box.

    Raises:
        ValueError: for another rule, or a radius that the slider does not have.
    """
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}: expected one of {', '.join(RULES)}")

    if radius is not None and not 0.25 <= radius <= 4:
        raise ValueError(f"radius is {radius}: the slider goes from 0.25 to 4; None for no bound")

    scenes = ToyTown(SCENE + 1, seed=SEED, num_objects=(2, 4), nested_pairs=(1, 1))
    image = webp(scenes.images[SCENE])
    target = scenes[SCENE][1]
    boxes = target["boxes"].round()
    return Explorable(
        name="fcos_levels",
        title="Who learns what: the levels of FCOS",
        description=(
            "A scene with five objects, one inside another, and the locations of three levels, of "
            "stride 4, 8 and 16. Dots show which location learns which object, rings which are "
            "wanted by several. Sliders set the ranges of the levels and the radius about the "
            "objects' centres; a second rule, ATSS, is one click away. A cursor goes from location "
            "to location with the arrow keys; sentences say what it learns, why, and with what "
            "target, and a table how each object stands to it. The letters of the objects move "
            "their boxes."
        ),
        data={
            "image": image,
            "side": SIDE,
            "names": [scenes.class_names[label] for label in target["labels"].tolist()],
            "strides": STRIDES,
            "asked": ASKED,
            "state": {
                "rule": rule,
                "boxes": boxes.tolist(),
                "level": 0,
                "shaded": False,
                "sampled": radius is not None,
                "radius": RADIUS if radius is None else radius,
                "ends": ENDS,
                "k": 9,
                "anchorSide": ATSS_SIDE,
            },
        },
        still=_still(image, boxes),
        scripts=("scene.js", "fcos_levels.js"),
    )


def size_ranges(ends: tuple[float, float]) -> Tensor:
    """Return the ranges (P, 2) of all locations: the least and the largest distance in pixels."""
    _, strides = locations()
    bounds = torch.tensor((0.0, *ends, torch.inf), dtype=torch.float64)
    level = torch.tensor([STRIDES.index(int(stride)) for stride in strides])
    return torch.stack((bounds[level], bounds[level + 1]), dim=-1)


def _still(image: str, boxes: Tensor) -> str:
    """Draw the scene with the locations of all levels that learn an object."""
    points, strides = locations()
    assigned, _ = fcos_targets(points, strides, size_ranges(ENDS), boxes.double(), radius=RADIUS)

    # Coarse ones first, so that no large mark hides a small one.
    marks = ""
    for place in reversed((assigned >= 0).nonzero()[:, 0].tolist()):
        x, y = points[place].tolist()
        radius = 0.8 + 0.07 * strides[place].item()
        fill = OBJECT_COLOURS[int(assigned[place])]
        marks += f'<circle cx="{x:g}" cy="{y:g}" r="{radius:.2g}" fill="{fill}" stroke="#111"/>'

    outlines = "".join(
        f'<path d="M{x1:g} {y1:g}H{x2:g}V{y2:g}H{x1:g}Z" stroke="{colour}" stroke-dasharray="3 2"/>'
        for (x1, y1, x2, y2), colour in zip(boxes.tolist(), OBJECT_COLOURS)
    )
    return f"""\
<svg viewBox="0 0 {SIDE} {SIDE + 8}" width="380" role="img" aria-label="A scene with five objects; \
dots mark the locations that learn one, on three levels">
<image href="{image}" width="{SIDE}" height="{SIDE}"/>
<g fill="none" stroke-width=".6">{outlines}{marks}</g>
<text x="0" y="{SIDE + 6}" style="font-size:4.4px">locations that learn an object; larger dots are \
of coarser levels</text></svg>"""
