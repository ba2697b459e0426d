"""Train chapter 1's detector once and store what it finds before NMS, for `explore.scores_to_ap`.

The candidates are those of the preview's scenes, the best of each, so that a reader can move the
thresholds and see what NMS does with them. The scenes themselves are not stored: ToyTown draws them
again from their seed.

    python benchmarks/experiments/point_candidates.py
"""

import runner
import torch

from detlearn import models, training
from detlearn.data import ToyTown

RECIPE = training.recipe("point")
LISTED = 60  # candidates of a scene that are stored
LOWEST = 0.05  # score below which none is
KEEP_ALL = 1.0  # no IoU is above it, so NMS drops nothing


def run(variant: str, seed: int) -> dict:
    """Train the detector; return its candidates."""
    torch.manual_seed(seed)
    model = models.create(variant, num_classes=10)
    history = training.fit(model, ToyTown(2000, seed=0), seed=seed, **RECIPE.settings())
    return {"seconds": round(history.seconds), "preview": candidates(model)}


def candidates(model: torch.nn.Module) -> list[dict[str, list]]:
    """Return the best candidates in each of the preview's scenes, as rounded lists."""
    model.eval()
    model.nms_threshold = KEEP_ALL
    model.score_threshold = LOWEST
    model.max_detections = LISTED

    listed = []
    for image, _ in runner.preview_scenes():
        with torch.no_grad():
            found = model([image])[0]

        # Tenths of a pixel and thousandths of a score, as a reader sees them.
        listed.append(
            {
                "boxes": [[round(x, 1) for x in box] for box in found["boxes"].tolist()],
                "scores": [round(score, 3) for score in found["scores"].tolist()],
                "labels": found["labels"].tolist(),
            }
        )
    return listed


EXPERIMENT = runner.Experiment(
    name="point_candidates",
    command="python benchmarks/experiments/point_candidates.py",
    settings={**RECIPE.numbers(), "listed": LISTED, "lowest_score": LOWEST},
    seeds={"point": (0,)},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
