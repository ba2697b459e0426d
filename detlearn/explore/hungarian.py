"""The costs by which DETR gives each object a query of its own: three objects, five queries."""

from __future__ import annotations

from functools import cache

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detlearn.boxes import box_convert
from detlearn.data import ToyTown
from detlearn.explore.page import Explorable
from detlearn.explore.pictures import OBJECT_COLOURS, SIDE, webp
from detlearn.matching import matching_cost

# Two boats, the second one half behind the first, and a ball.
SCENE, SEED, NUM_OBJECTS = 33, 5, 3

# What the five queries predict: the box in pixels, and the probabilities of two classes; "no
# object" has nearly all of the rest. Both boats are nearest to query 2.
PREDICTIONS = (
    ((22, 24, 60, 66), {"boat": 0.62, "ball": 0.02}),
    ((34, 20, 80, 58), {"boat": 0.88, "ball": 0.01}),
    ((14, 82, 43, 112), {"boat": 0.03, "ball": 0.91}),
    ((24, 88, 60, 124), {"boat": 0.05, "ball": 0.47}),
    ((88, 66, 122, 98), {"boat": 0.21, "ball": 0.04}),
)
REST = 0.002  # the probability of each other class
UNMATCHED = "#e8e8e8"


def hungarian_costs(
    *, cost_class: float = 1.0, cost_bbox: float = 5.0, cost_giou: float = 2.0
) -> Explorable:
    """Return the figure of a cost matrix, and of the two assignments that come of it.

    The reader moves the weights of the three terms and the boxes that the queries predict; their
    class probabilities are given. The matrix, the optimal assignment and a greedy one, which takes
    the cheapest pair, then the cheapest one of those left, follow at once. `example` has the same
    numbers as tensors.

    Args:
        cost_class: weight of the class term at the beginning, 0 to 5.
        cost_bbox: of the L1 distance, 0 to 10.
        cost_giou: of the GIoU, 0 to 5.

    Raises:
        ValueError: for a weight that its slider does not have.
    """
    weights = {"cost_class": cost_class, "cost_bbox": cost_bbox, "cost_giou": cost_giou}
    for name, weight in weights.items():
        most = 10 if name == "cost_bbox" else 5
        if not 0 <= weight <= most:
            raise ValueError(f"{name} is {weight}: its slider goes from 0 to {most}")

    town = _town()
    image = webp(town.images[SCENE])
    names = (*town.class_names, "no object")
    scene = example()
    probabilities = scene["class_logits"].softmax(dim=-1)  # (Q, K + 1)
    best = probabilities.max(dim=-1)
    return Explorable(
        name="hungarian_costs",
        title="Who learns what: the costs of DETR's matching",
        description=(
            "A scene with two boats and a ball, and the boxes that five queries predict. A matrix "
            "has the cost of each query for each object, with its three terms: class, L1 distance "
            "and GIoU. Frames in it mark the optimal assignment and a greedy one; a table beneath "
            "has both with their totals. Sliders set the weights of the terms. The numbers of the "
            "queries move their boxes, a square in the last corner sizes them, by mouse, finger "
            "or arrow keys; a cell of the matrix tells how its cost comes about."
        ),
        data={
            "image": image,
            "side": SIDE,
            "names": [names[label] for label in scene["labels"].tolist()],
            "objects": box_convert(SIDE * scene["boxes"], "cxcywh", "xyxy").tolist(),
            "probabilities": probabilities[:, scene["labels"]].tolist(),  # (Q, N)
            "guesses": [f"{names[label]} {p:.2f}" for p, label in zip(*best)],
            "state": {
                "boxes": [box for box, _ in PREDICTIONS],
                "costClass": cost_class,
                "costBbox": cost_bbox,
                "costGiou": cost_giou,
                "way": "optimal",
                "query": 1,
                "object": 1,
            },
        },
        still=_still(image, scene),
        scripts=("scene.js", "hungarian.js"),
    )


def example() -> dict[str, Tensor]:
    """Return the scene of the figure as DETR's matcher gets it, in float64.

    Returns:
        "class_logits" (5, K + 1), whose softmax are the probabilities; "pred_boxes" (5, 4), cxcywh
        in [0, 1]; "labels" (3,) int64; "boxes" (3, 4), cxcywh in [0, 1].
    """
    town = _town()
    target = town[SCENE][1]

    # The last class is "no object".
    shape = (len(PREDICTIONS), len(town.class_names) + 1)
    probabilities = torch.full(shape, REST, dtype=torch.float64)
    for row, (_, classes) in zip(probabilities, PREDICTIONS):
        for name, probability in classes.items():
            row[town.class_names.index(name)] = probability
        row[-1] = 1 - row[:-1].sum()

    boxes = torch.tensor([box for box, _ in PREDICTIONS], dtype=torch.float64)
    return {
        "class_logits": probabilities.log(),
        "pred_boxes": box_convert(boxes, "xyxy", "cxcywh") / SIDE,
        "labels": target["labels"],
        "boxes": box_convert(target["boxes"].double(), "xyxy", "cxcywh") / SIDE,
    }


@cache
def _town() -> ToyTown:
    return ToyTown(SCENE + 1, seed=SEED, num_objects=(NUM_OBJECTS, NUM_OBJECTS))


def _still(image: str, scene: dict[str, Tensor]) -> str:
    """Draw the scene; a predicted box has the colour of the object that it is to learn."""
    queries, objects = linear_sum_assignment(matching_cost(**scene))
    colours = dict(zip(queries.tolist(), (OBJECT_COLOURS[n] for n in objects)))

    drawn = "".join(
        _outline(box, colour, 'stroke-width=".7" stroke-dasharray="3 2"')
        for box, colour in zip(scene["boxes"], OBJECT_COLOURS)
    )
    for query, box in enumerate(scene["pred_boxes"]):
        drawn += _outline(box, colours.get(query, UNMATCHED), 'stroke-width="1.1"')
        x, y = (SIDE * (box[:2] - box[2:] / 2)).tolist()
        drawn += (
            f'<text x="{x + 1:g}" y="{y - 1:g}" style="font-size:6px;font-weight:700;'
            f'fill:{colours.get(query, UNMATCHED)}">{query + 1}</text>'
        )
    return f"""\
<svg viewBox="0 0 {SIDE} {SIDE + 8}" width="380" role="img" aria-label="A scene with two boats and \
a ball, dashed, and five predicted boxes, solid; three of them have the colour of an object">
<image href="{image}" width="{SIDE}" height="{SIDE}"/>{drawn}
<text x="0" y="{SIDE + 6}" style="font-size:4.4px">solid: predicted, in the colour of the object \
that is to be learnt</text></svg>"""


def _outline(box: Tensor, colour: str, line: str) -> str:
    """Draw a box, cxcywh in [0, 1], on a dark casing."""
    x1, y1, x2, y2 = box_convert(SIDE * box, "cxcywh", "xyxy").tolist()
    path = f'<path fill="none" d="M{x1:g} {y1:g}H{x2:g}V{y2:g}H{x1:g}Z"'
    return f'{path} stroke="#111" stroke-width="2"/>{path} stroke="{colour}" {line}/>'
