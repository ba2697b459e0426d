"""A training, step by step: what the detector of chapter 1 says while it learns."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from detlearn import results
from detlearn.data import ToyTown
from detlearn.explore.page import Explorable
from detlearn.explore.pictures import matches_as_svg, webp
from detlearn.plotting.matches import match_detections

LISTED = 12  # detections of a scene that the figure holds, the best ones
LOWEST = 0.1  # score below which it holds none
THRESHOLD = 0.3  # score from which on they are shown, at the beginning


def training_steps() -> Explorable:
    """Return the figure of a training: two scenes at some twenty moments, beside the loss.

    The training is a stored experiment (`benchmarks/experiments/training_steps.py`): chapter 1's
    detector by its recipe. What is found, false and missed is what `match_detections` says.
    """
    stored = results.load("training_steps")
    (run,) = stored["runs"]
    chosen = stored["settings"]["scenes"]

    town = ToyTown(max(chosen) + 1, seed=stored["settings"]["preview_seed"])
    images = [webp(town.images[scene], quality=75) for scene in chosen]
    targets = [town[scene][1] for scene in chosen]

    # The scenes themselves are in the still picture, from which the script takes them.
    moments = [
        {
            "step": moment["step"],
            "ap50": moment["ap50"],
            "scenes": [_compact(found) for found in moment["scenes"]],
        }
        for moment in run["moments"]
    ]
    return Explorable(
        name="training_steps",
        title="A training, step by step",
        description=(
            "Two scenes with what the detector of this chapter says about them at some twenty "
            "moments of its training, from the first step to the last. A slider goes through the "
            "moments; beside the scenes stand the loss of every step and AP50 on other scenes."
        ),
        data={
            "names": town.class_names,
            "scenes": [
                {
                    # Hundredths of a pixel; ToyTown's boxes are whole numbers anyway.
                    "boxes": [[round(x, 2) for x in box] for box in target["boxes"].tolist()],
                    "labels": target["labels"].tolist(),
                }
                for target in targets
            ],
            "loss": [round(loss, 2) for loss in run["loss"]],
            "moments": moments,
            "test_scenes": stored["settings"]["test_scenes"],
            "state": {"moment": 9, "threshold": THRESHOLD},
            "lowest": LOWEST,
        },
        still=_still(images, targets, run["moments"][-1], town.class_names),
    )


def _compact(found: Mapping[str, list]) -> list[list[float]]:
    """Return the best detections as rows: four sides, score, label."""
    rows = zip(found["boxes"], found["scores"], found["labels"])
    return [[*box, score, label] for box, score, label in rows if score >= LOWEST][:LISTED]


def _still(
    images: list[str],
    targets: list[dict[str, Tensor]],
    moment: Mapping,
    class_names: tuple[str, ...],
) -> str:
    """Draw both scenes as they are at the end of the training."""
    scenes = ""
    for image, target, found in zip(images, targets, results.as_tensors(moment["scenes"])):
        shown = {key: value[found["scores"] >= THRESHOLD] for key, value in found.items()}
        matched = match_detections(shown, target)
        scenes += matches_as_svg(image, target, shown, matched, class_names)

    return (
        '<div style="display:grid;grid-template-columns:1fr 1fr;gap:8px;max-width:620px">'
        f"{scenes}</div><p>After step {moment['step']}: solid found, dashed false, dotted missed; "
        f"AP50 {moment['ap50']:.2f} on other scenes.</p>"
    )
