"""From scores to AP: thresholds to move, NMS box by box, and what becomes of the curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from detlearn import results
from detlearn.data import ToyTown
from detlearn.explore.page import Explorable
from detlearn.explore.pictures import webp

STORED = "point_candidates"
STORED_SCENES = (1, 3, 5, 7)  # of the eight whose candidates are stored: those with most to see
QUALITY = 80  # of WebP; a scene takes 2 to 4 kB


def scores_to_ap(
    detections: Sequence[Mapping[str, Tensor]] | None = None,
    targets: Sequence[Mapping[str, Tensor]] | None = None,
    images: Sequence[Tensor] | None = None,
    class_names: Sequence[str] | None = None,
) -> Explorable:
    """Return the figure that leads from a detector's scores to its average precision.

    A reader moves the score threshold and that of NMS or Soft-NMS, steps through NMS box by box,
    and sees which detections are right, wrong and missed, where the list stands on the curve of
    precision and recall, and how the area below that curve grows. NMS works within a class, as in
    `detlearn.nms.batched_nms`; the numbers are those of `detlearn.metrics` at an IoU of 0.5.

    Args:
        detections: what a detector finds *before* NMS, per image "boxes" (N, 4) xyxy in pixels,
            "scores" (N,), "labels" (N,). By default the stored ones of chapter 1's detector, the
            60 best in each of four scenes.
        targets: the objects, per image "boxes" (M, 4) and "labels" (M,).
        images: (3, H, W) each, float in [0, 1].
        class_names: names for the labels 0 … K−1; by default ToyTown's.

    Raises:
        ValueError: if only some of detections, targets and images are given, or unequally many.
    """
    given = (detections, targets, images)
    if any(part is None for part in given):
        if any(part is not None for part in given):
            raise ValueError("give detections, targets and images together, or none of them")
        detections, targets, images = _stored()

    if not len(detections) == len(targets) == len(images) > 0:
        raise ValueError(
            "detections, targets and images must be as many of each and at least one, got "
            f"{len(detections)}, {len(targets)} and {len(images)}"
        )

    scenes = [
        _scene(found, target, tuple(image.shape[-2:]))
        for found, target, image in zip(detections, targets, images)
    ]
    return Explorable(
        name="scores_to_ap",
        title="From scores to average precision",
        description=(
            "Scenes with the detections of a trained detector, and beside them the curve of "
            "precision against recall. Sliders move the score threshold and the threshold of "
            "non-maximum suppression. Right detections are drawn solid with a tick, wrong ones "
            "dashed with a cross, missed objects dotted with a question mark. A second view goes "
            "through the suppression box by box."
        ),
        data={"scenes": scenes, "classNames": list(class_names or ToyTown.class_names)},
        still=_still(scenes, [webp(image, QUALITY) for image in images]),
    )


def _stored() -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]], list[Tensor]]:
    """Return candidates, objects and images of the stored scenes; ToyTown draws them anew."""
    preview = results.load(STORED)["preview"]
    scenes = ToyTown(len(preview["detections"]), seed=preview["seed"])

    chosen = [preview["detections"][index] for index in STORED_SCENES]
    images, targets = zip(*(scenes[index] for index in STORED_SCENES))
    return results.as_tensors(chosen), list(targets), list(images)


def _scene(
    found: Mapping[str, Tensor], target: Mapping[str, Tensor], size: tuple[int, int]
) -> dict[str, Any]:
    """Return one scene as the script wants it: height and width, candidates best first, objects."""
    order = found["scores"].argsort(descending=True, stable=True)
    height, width = size
    return {
        "width": width,
        "height": height,
        "boxes": _rounded(found["boxes"][order], 1),
        "scores": _rounded(found["scores"][order], 4),
        "labels": found["labels"][order].tolist(),
        "gtBoxes": _rounded(target["boxes"], 2),
        "gtLabels": target["labels"].tolist(),
    }


def _rounded(numbers: Tensor, digits: int) -> list:
    """Return numbers as lists with so many digits after the point: the page is to be small."""
    factor = 10**digits
    whole = (numbers.double() * factor).round()
    return (whole / factor).tolist()


def _still(scenes: Sequence[Mapping[str, Any]], pictures: Sequence[str]) -> str:
    """Draw the scenes with their objects, for where no script runs; a script takes the pictures."""
    drawn, across = [], 0
    for scene, picture in zip(scenes, pictures):
        boxes = "".join(
            f'<rect x="{x1}" y="{y1}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"/>'
            for x1, y1, x2, y2 in scene["gtBoxes"]
        )
        drawn.append(
            f'<g transform="translate({across} 0)"><image href="{picture}" '
            f'width="{scene["width"]}" height="{scene["height"]}"/>{boxes}</g>'
        )
        across += scene["width"] + 6

    height = max(scene["height"] for scene in scenes)
    return f"""\
<svg viewBox="0 0 {across - 6} {height}" width="720" role="img" \
aria-label="Scenes with the objects to be found, dashed">
<g fill="none" stroke="#fff" stroke-dasharray="3 2">{"".join(drawn)}</g></svg>"""
