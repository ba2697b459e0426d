"""Trains the same RetinaNet with cross-entropy and with the focal loss, over three seeds.

* ``cross-entropy``: every answer of every anchor counts by its cross-entropy.
* ``focal, paper``: with the focal loss and the numbers of its paper, α = 0.25 and γ = 2 (Lin et al.
  2017, arXiv 1708.02002).
* ``focal``: with 0.5 and 1, the detector of the chapter.

All else is equal: the recipe of the chapter, shortened to 600 steps, measured on 500 scenes of
another seed. The seed decides the initial weights, the order of the images and how they are
augmented.

Each run also stores who holds the loss of the classes and its gradient, before the training and
after it, in 100 of the scenes that are measured: "yes", the answers that should be yes, one for
each anchor that learns an object; "hard no", those that should be no and have a score of 0.1 or
more; "easy no", the others. The gradient's share is that of the sum of its absolute values, one for
each answer. The shares are computed with each loss, whatever the run was trained with, so that
"before" compares them on the very same answers.

    python benchmarks/experiments/focal_loss.py                # all: nine trainings
    python benchmarks/experiments/focal_loss.py --seeds 0      # some
"""

from dataclasses import replace
from pathlib import Path

import runner
import torch
from torch import Tensor

from detlearn import metrics, training
from detlearn.data import ToyTown
from detlearn.losses import sigmoid_focal_loss
from detlearn.models.base import pad_targets
from detlearn.models.retinanet import RetinaNet
from detlearn.models.small import retinanet_small

NAME = "focal_loss"
RECIPE = replace(training.recipe("retinanet"), steps=600)
KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium")
CHECKPOINTS = Path("runs") / "experiments"

# α and γ of the focal loss, of which cross-entropy is a special case.
LOSSES = {
    "cross-entropy": {"alpha": None, "gamma": 0.0},
    "focal, paper": {"alpha": 0.25, "gamma": 2.0},
    "focal": {"alpha": 0.5, "gamma": 1.0},
}
EASY = 0.1  # score below which an answer that should be no is easy
NUM_SCENES = 100  # in which is counted who holds the loss


def run(variant: str, seed: int) -> dict:
    """Train with one loss; return what the detector reaches, and who holds the loss."""
    train = ToyTown(2000, seed=0)
    test = ToyTown(500, seed=1)

    torch.manual_seed(seed)
    model = retinanet_small(10, **LOSSES[variant])
    before = all_shares(model, test)

    checkpoint = CHECKPOINTS / f"{NAME} {variant} {seed}.safetensors"
    history = training.fit(
        model, train, seed=seed, progress=False, checkpoint=checkpoint, **RECIPE.settings()
    )
    scores = metrics.evaluate(model, test, progress=False)
    numbers = {
        **runner.coco_numbers(scores, KEYS),
        "seconds": round(history.seconds),
        "shares": {"before": before, "after": all_shares(model, test)},
    }

    checkpoint.unlink()
    return numbers


def all_shares(model: RetinaNet, scenes: ToyTown) -> dict[str, dict]:
    """Return `shares` of the first scenes with each loss, rounded."""
    logits, labels = answers(model, scenes)
    found = {}
    for name, options in LOSSES.items():
        of_loss, of_gradient = shares(logits, labels, **options)
        found[name] = {
            "loss": {key: round(share, 4) for key, share in of_loss.items()},
            "gradient": {key: round(share, 4) for key, share in of_gradient.items()},
        }
    return found


@torch.no_grad()
def answers(model: RetinaNet, scenes: ToyTown) -> tuple[Tensor, Tensor]:
    """Return what a detector answers in some scenes, and what it should.

    Returns:
        Logits (n, K) of all anchors that are in the loss, and their labels (n,): a class, or −1
        for background.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()

    logits, labels = [], []
    for i in range(NUM_SCENES):
        image, target = scenes[i]
        target = {name: target[name].to(device) for name in ("boxes", "labels")}
        batch, targets = model.batcher([image.to(device)], [target])
        outputs = model.predict(batch.images, batch.sizes)

        assigned = model.assign(outputs, targets).assigned[0]  # (P,)
        wanted = assigned.clone()
        learns = assigned >= 0
        wanted[learns] = pad_targets(targets, outputs.deltas).labels[0, assigned[learns]]

        used = wanted >= -1
        logits.append(outputs.class_logits[0, used].cpu())
        labels.append(wanted[used].cpu())

    model.train(was_training)
    return torch.cat(logits), torch.cat(labels)


def shares(
    logits: Tensor, labels: Tensor, alpha: float | None, gamma: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Return which share of the loss, and of its gradient, each kind of answer holds.

    Args:
        logits: (n, K).
        labels: (n,) int64, a class or −1 for background.
        alpha, gamma: of the focal loss.

    Returns:
        "yes", "hard no" and "easy no" → share of the sum; once of the loss, once of the gradient's
        absolute values.
    """
    logits = logits.double().requires_grad_()
    yes = torch.zeros_like(logits, dtype=torch.bool)
    yes[labels >= 0, labels[labels >= 0]] = True

    alpha = -1 if alpha is None else alpha
    loss = sigmoid_focal_loss(logits, yes, alpha=alpha, gamma=gamma)  # (n, K)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)  # (n, K)
    loss, size = loss.detach(), gradient.abs()

    easy = ~yes & (logits.detach().sigmoid() < EASY)
    kinds = {"yes": yes, "hard no": ~yes & ~easy, "easy no": easy}
    of_loss = {name: float(loss[kind].sum() / loss.sum()) for name, kind in kinds.items()}
    of_gradient = {name: float(size[kind].sum() / size.sum()) for name, kind in kinds.items()}
    return of_loss, of_gradient


EXPERIMENT = runner.Experiment(
    name=NAME,
    command=f"python benchmarks/experiments/{NAME}.py",
    settings=RECIPE.numbers(),
    seeds=dict.fromkeys(LOSSES, (0, 1, 2)),
    run=run,
)

if __name__ == "__main__":
    runner.main(EXPERIMENT, about=__doc__.split("\n")[0])
