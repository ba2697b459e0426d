"""Train chapter 1's detector once and store what it says at moments on the way.

`explore.training_steps` shows two scenes at each of these moments beside the loss. The moments lie
closer together in the beginning, where more changes. The scenes are of the preview; they are not
stored, ToyTown draws them again from their seed.

    python benchmarks/experiments/training_steps.py
"""

import runner
import torch

from detlearn import metrics, models, training
from detlearn.data import ToyTown

RECIPE = training.recipe("point")
MOMENTS = (
    *(0, 5, 10, 15, 20, 30, 40, 50, 65, 80, 100),
    *(125, 150, 180, 220, 270, 330, 400, 480, 560, 640),
)
SCENES = (5, 7)  # of the preview's eight
LISTED = 30  # detections of a scene that are stored
LOWEST = 0.05  # score below which none is
TEST_SCENES = 100  # on which AP50 is measured


def run(variant: str, seed: int) -> dict:
    """Train the detector; return its loss at every step and what it says at the moments."""
    torch.manual_seed(seed)
    model = models.create(variant, num_classes=10)
    test = ToyTown(TEST_SCENES, seed=1)
    moments = []

    def look(step: int, model: torch.nn.Module) -> None:
        if step in MOMENTS:
            ap50 = metrics.evaluate(model, test, progress=False).ap50
            moments.append({"step": step, "ap50": round(ap50, 3), "scenes": detections(model)})

    look(0, model.eval())
    history = training.fit(
        model, ToyTown(2000, seed=0), seed=seed, after_step=look, **RECIPE.settings()
    )

    return {
        "seconds": round(history.seconds),  # the looking included
        "loss": [round(loss, 3) for loss in history.total],
        "moments": moments,
    }


def detections(model: torch.nn.Module) -> list[dict[str, list]]:
    """Return the best detections in each of the two scenes, after NMS, as rounded lists."""
    preview = runner.preview_scenes()
    listed = []
    for scene in SCENES:
        with torch.no_grad():
            found = model([preview[scene][0]])[0]

        # A detector's list is sorted by score, and so holds the best first.
        count = min(LISTED, int((found["scores"] >= LOWEST).sum()))
        listed.append(
            {
                "boxes": [[round(x, 1) for x in box] for box in found["boxes"][:count].tolist()],
                "scores": [round(score, 3) for score in found["scores"][:count].tolist()],
                "labels": found["labels"][:count].tolist(),
            }
        )
    return listed


EXPERIMENT = runner.Experiment(
    name="training_steps",
    command="python benchmarks/experiments/training_steps.py",
    settings={
        **RECIPE.numbers(),
        "preview_seed": runner.PREVIEW_SEED,
        "scenes": SCENES,
        "listed": LISTED,
        "lowest_score": LOWEST,
        "test_scenes": TEST_SCENES,
    },
    seeds={"point": (0,)},
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
