"""Accuracy against what it costs: every detector of the comparison as a point with its spread."""

from __future__ import annotations

import math

from detlearn import results
from detlearn.explore.page import Explorable
from detlearn.results import DetectionTable

COSTS = {
    "ms_batch_1": "milliseconds of a call with one image",
    "ms_batch_8": "milliseconds of a call with eight images",
    "multiply_adds": "multiply-adds of one image",
    "parameters": "parameters",
}
FAMILIES = {
    "two stages": ("faster_rcnn", "cascade_rcnn"),
    "anchors or cells": ("yolov1", "yolov3", "retinanet"),
    "points": ("point", "yolov8", "fcos", "centernet"),
    "queries": ("detr", "deformable_detr"),
}
OTHERS = "torchvision"
THIS_BOOK = "this book"  # everybody but the others


def family_of(detector: str) -> str:
    """Return the family of a detector of the comparison, by what its predictions start from."""
    for family, members in FAMILIES.items():
        if detector in members:
            return family
    return OTHERS


def accuracy_latency(table: DetectionTable | None = None) -> Explorable:
    """Return the figure of accuracy against latency, with a budget to move.

    Every detector is a point, its AP with an error bar of one standard deviation over the seeds.
    The reader chooses what lies on the other axis, linear or logarithmic, which families are shown,
    and a budget; the figure names the most accurate detector within it, and those that no other
    beats in both.

    Args:
        table: from `detlearn.results.detection_comparison`, which is called by default.

    Raises:
        ValueError: if no detector has both an AP and all its costs.
    """
    table = results.detection_comparison() if table is None else table
    points = []
    for detector in table:
        row = table.row(detector)
        if all(isinstance(row[key], int | float) and row[key] > 0 for key in COSTS):
            points.append(
                {
                    "name": detector,
                    "family": family_of(detector),
                    "ap": row["ap"],
                    "spread": table.spreads.get(detector, {}).get("ap"),
                    **{key: row[key] for key in COSTS},
                }
            )
    if not points:
        raise ValueError(
            "no detector of the table has an AP and all of "
            f"{', '.join(COSTS)}: measure its speed first (make comparison PARTS=speed)"
        )

    present = [name for name in (*FAMILIES, OTHERS) if name in {p["family"] for p in points}]
    ours = [name for name in present if name != OTHERS]
    groups = {"all": present, THIS_BOOK: ours, **{name: [name] for name in present}}
    groups = {name: members for name, members in groups.items() if members}
    first = THIS_BOOK if ours else "all"
    return Explorable(
        name="accuracy_latency",
        title="Accuracy against latency",
        description=(
            "A chart of all detectors of the comparison: AP upwards, with an error bar over the "
            "seeds, and to the right what a detector costs: milliseconds, multiply-adds or "
            "parameters, on a linear or a logarithmic axis. A slider sets a budget; below the "
            "chart stands which detector is the most accurate within it. A point that is pointed "
            "at or has the focus is described in words."
        ),
        data={
            "points": points,
            "costs": list(COSTS.items()),
            "groups": groups,
            "families": present,
            "machine": table.machine,
            "state": {"cost": "ms_batch_1", "scale": "log", "family": first, "budget": 0.5},
        },
        still=_still(points),
    )


def _still(points: list[dict]) -> str:
    """Draw AP against latency at batch 1, logarithmic, with a name at every point."""
    left, top, width, height = 30, 10, 400, 260
    powers = [math.log10(point["ms_batch_1"]) for point in points]
    low, high = min(powers) - 0.1, max(powers) + 0.35
    highest = max(point["ap"] + (point["spread"] or 0) for point in points) * 1.1 or 1.0

    marks = ""
    for point, power in zip(points, powers):
        x = left + width * (power - low) / (high - low)
        y = top + height * (1 - point["ap"] / highest)
        bar = height * (point["spread"] or 0) / highest
        marks += (
            f'<path d="M{x:.1f} {y - bar:.1f}V{y + bar:.1f}" stroke="currentColor"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--blue)"/>'
            f'<text x="{x + 7:.1f}" y="{y + 4:.1f}">{point["name"]}</text>'
        )
    middle = left + width / 2
    return f"""\
<svg viewBox="0 0 440 310" width="440" role="img" aria-label="AP of every detector against its \
milliseconds with one image">
<path class="grid" d="M{left} {top}V{top + height}H{left + width}"/>{marks}
<text x="{middle:g}" y="{top + height + 30}" text-anchor="middle">milliseconds of a call with one \
image, logarithmic; upwards AP, at most {highest:.2f}</text></svg>"""
