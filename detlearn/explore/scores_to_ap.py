"""From scores to AP: thresholds to move, NMS box by box, and what becomes of the curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from detlearn import plotting, results
from detlearn.data import ToyTown
from detlearn.explore.page import Explorable
from detlearn.explore.pictures import LOOKS, webp
from detlearn.nms import batched_nms

STORED = "point_candidates"
STORED_SCENES = (1, 3, 5, 7)  # of the eight whose candidates are stored: those with most to see
QUALITY = 80  # of WebP; a scene takes 2 to 4 kB
GAP = 6  # pixels between the scenes of the still picture
SCORE_THRESHOLD, NMS_THRESHOLD = 0.3, 0.5  # with which the figure begins


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
        data={
            "scenes": scenes,
            "classNames": list(class_names or ToyTown.class_names),
            "threshold": SCORE_THRESHOLD,
            "iou": NMS_THRESHOLD,
        },
        still=_still(detections, targets, images),
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


def _still(
    detections: Sequence[Mapping[str, Tensor]],
    targets: Sequence[Mapping[str, Tensor]],
    images: Sequence[Tensor],
) -> str:
    """Draw what is right and what is wrong, two scenes in a row, for where no script runs.

    The script takes the pictures from here, so that the page holds each of them once.
    """
    height = max(image.shape[-2] for image in images) + GAP
    width = max(image.shape[-1] for image in images) + GAP
    rows = (len(images) + 1) // 2

    drawn = []
    for i, (found, target, image) in enumerate(zip(detections, targets, images)):
        keep = batched_nms(found["boxes"], found["scores"], found["labels"], NMS_THRESHOLD)
        keep = keep[found["scores"][keep] >= SCORE_THRESHOLD]
        kept = {name: found[name][keep] for name in ("boxes", "scores", "labels")}
        right = plotting.match_detections(kept, target) >= 0

        drawn.append(
            f'<g transform="translate({i % 2 * width} {i // 2 * height})">'
            f'<image href="{webp(image, QUALITY)}" width="{image.shape[-1]}" '
            f'height="{image.shape[-2]}"/>'
            f'<path d="{_outlines(kept["boxes"][~right])}" stroke="{LOOKS["false"][0]}" '
            f'stroke-dasharray="{LOOKS["false"][1]}"/>'
            f'<path d="{_outlines(kept["boxes"][right])}" stroke="{LOOKS["found"][0]}"/></g>'
        )

    return f"""\
<svg viewBox="0 0 {2 * width - GAP} {rows * height - GAP}" width="372" role="img" \
aria-label="Scenes with the detections of at least {SCORE_THRESHOLD} after NMS: right ones solid, \
wrong ones dashed"><g fill="none" stroke-width="1.5">{"".join(drawn)}</g></svg>"""


def _outlines(boxes: Tensor) -> str:
    """Return boxes (N, 4) as the path of their outlines."""
    return "".join(
        f"M{x1:.1f} {y1:.1f}H{x2:.1f}V{y2:.1f}H{x1:.1f}Z" for x1, y1, x2, y2 in boxes.tolist()
    )
