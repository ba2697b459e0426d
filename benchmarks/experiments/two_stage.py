"""Trains the variants that chapter 2 compares, over several seeds, on ToyTown.

* ``align`` and ``pool``: Faster R-CNN with RoIAlign and with RoIPool.
* ``align_rounded``: RoIAlign under the very cells that RoIPool covers. What it loses to ``align``
  is rounding's doing, what it wins over ``pool`` is the mean of points in place of the maximum.
* ``cascade``: Cascade R-CNN, with as many steps.
* Faster R-CNN trained and measured on the scenario ``elongated``, with the ``usual anchors`` of
  height / width 1/2, 1 and 2, and with ``long anchors`` of 1/4, 1 and 4; both also ``unforced``:
  without low-quality matches, so that an object that no anchor overlaps by half teaches the first
  stage nothing.

The first run also stores what its detector finds in eight scenes, with which the chapter opens.
All else is equal: the chapter's recipe, measured on 500 scenes of another seed. The seed decides
the initial weights, the order of the images and how they are augmented.

    python benchmarks/experiments/two_stage.py                   # all: trainings of 3 to 4 minutes
    python benchmarks/experiments/two_stage.py --only align pool # some
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import runner
import torch
from torch import Tensor

from detlearn import boxes, metrics, models, training
from detlearn.data import ToyTown
from detlearn.roi import MultiScaleRoIAlign

RECIPE = training.recipe("faster_rcnn")
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")
STRETCHES = (1, 2, 4, 6, 20)  # long side / short side of an object: edges of four groups


@dataclass(frozen=True)
class Variant:
    """One detector and where it is trained.

    Attributes:
        build: makes the detector.
        scenario: of ToyTown.
        seeds: with which it is trained.
        forced: whether the best anchor of an object learns it even if it overlaps it little.
    """

    build: Callable[[], models.Detector]
    scenario: str = "default"
    seeds: tuple[int, ...] = (0, 1, 2)
    forced: bool = True


def faster_rcnn() -> models.Detector:
    """Build the detector of the chapter."""
    return models.create("faster_rcnn", num_classes=10)


def faster_rcnn_with_pooling() -> models.Detector:
    """Build the same with RoIPool."""
    return models.faster_rcnn_small(num_classes=10, pooling="pool")


class RoundedRoIAlign(MultiScaleRoIAlign):
    """RoIAlign of the rectangle of whole cells that RoIPool reads for a box."""

    def pool(self, features: Tensor, rois: Tensor, spatial_scale: float) -> Tensor:
        """Read one level (B, C, H, W) under rois (k, 5) as (k, C, ph, pw)."""
        cells = (rois[:, 1:] * spatial_scale).round()  # (k, 4) the first and the last cell

        # The last cell is covered as well, and no box is narrower than one cell.
        first = cells[:, :2]
        beyond = torch.maximum(cells[:, 2:], first) + 1
        covered = torch.cat([first, beyond], dim=1) / spatial_scale
        return super().pool(features, torch.cat([rois[:, :1], covered], dim=1), spatial_scale)


def faster_rcnn_with_rounding() -> models.Detector:
    """Build the detector of the chapter with RoIAlign on rounded boxes."""
    model = models.create("faster_rcnn", num_classes=10)
    usual = model.roi_heads.box_roi_pool
    model.roi_heads.box_roi_pool = RoundedRoIAlign(
        usual.featmap_names,
        usual.output_size,
        usual.sampling_ratio,
        canonical_scale=usual.canonical_scale,
        canonical_level=usual.canonical_level,
        aligned=True,  # the cell of index 0 reaches from 0 to 1
    )
    return model


def faster_rcnn_with_long_anchors() -> models.Detector:
    """Build the same with anchors four times as long as wide."""
    return models.faster_rcnn_small(num_classes=10, aspect_ratios=(0.25, 1.0, 4.0))


def cascade_rcnn() -> models.Detector:
    """Build the cascade."""
    return models.create("cascade_rcnn", num_classes=10)


VARIANTS = {
    "align": Variant(faster_rcnn),
    "cascade": Variant(cascade_rcnn),
    "pool": Variant(faster_rcnn_with_pooling),
    "align_rounded": Variant(faster_rcnn_with_rounding),
    "usual anchors": Variant(faster_rcnn, scenario="elongated", seeds=(0, 1)),
    "long anchors": Variant(faster_rcnn_with_long_anchors, scenario="elongated", seeds=(0, 1)),
    "usual anchors, unforced": Variant(
        faster_rcnn,
        scenario="elongated",
        seeds=(0, 1),
        forced=False,
    ),
    "long anchors, unforced": Variant(
        faster_rcnn_with_long_anchors,
        scenario="elongated",
        seeds=(0, 1),
        forced=False,
    ),
}


def run(name: str, seed: int) -> dict:
    """Train one variant; return what it reaches."""
    variant = VARIANTS[name]
    train = ToyTown.scenario(variant.scenario, 2000, seed=0)
    test = ToyTown.scenario(variant.scenario, 500, seed=1)

    torch.manual_seed(seed)
    model = variant.build()
    model.rpn.matcher.allow_low_quality_matches = variant.forced
    history = training.fit(model, train, seed=seed, **RECIPE.settings())

    found = metrics.predict(model, test)
    truth = [target for _, target in test]
    scores = metrics.coco_metrics(found, truth, num_classes=10)
    numbers = runner.coco_numbers(scores, KEYS)

    # The mean over recall levels and classes, for each of the ten IoU thresholds.
    by_iou = scores.precision[..., 0].mean(axis=(1, 2))  # (10,)
    numbers["ap_by_iou"] = by_iou.round(4).tolist()
    if variant.scenario == "elongated":
        numbers["found_by_stretch"] = found_by_stretch(found, truth)
    numbers["seconds"] = round(history.seconds)

    if (name, seed) == ("align", 0):
        numbers["preview"] = runner.detect_preview(model)
    return numbers


def found_by_stretch(
    found: Sequence[dict[str, Tensor]], truth: Sequence[dict[str, Tensor]]
) -> list[float]:
    """Return the share of the objects of each stretch that are found, at an IoU of 0.5."""
    stretches, hits = [], []
    for detections, target in zip(found, truth):
        sides = target["boxes"][:, 2:] - target["boxes"][:, :2]  # (N, 2)
        stretches.append(sides.amax(dim=1) / sides.amin(dim=1))

        # A detection finds an object if class, place and score are right.
        same_class = detections["labels"] == target["labels"][:, None]  # (N, D)
        overlaps = boxes.box_iou(target["boxes"], detections["boxes"]) >= 0.5  # (N, D)
        is_sure = detections["scores"] >= runner.KEPT  # (D,)
        hits.append((same_class & overlaps & is_sure).any(dim=1))

    edges = torch.tensor(STRETCHES)
    group = torch.bucketize(torch.cat(stretches), edges, right=True) - 1
    hit = torch.cat(hits).float()
    return [round(hit[group == i].mean().item(), 4) for i in range(len(STRETCHES) - 1)]


EXPERIMENT = runner.Experiment(
    name="two_stage",
    command="python benchmarks/experiments/two_stage.py",
    settings={**RECIPE.numbers(), "stretches": STRETCHES},
    seeds={name: variant.seeds for name, variant in VARIANTS.items()},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
