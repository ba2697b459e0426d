"""The causes among which the seven broken trainings are to be told apart: the stations of a sample.

The list is the same for all seven, so that it tells nothing about any of them.
"""

from __future__ import annotations

CAUSES = {
    "annotations": "what is read from the files: boxes, labels, how they are numbered",
    "augmentation": "what is done to image and boxes before training sees them",
    "targets": "who learns what: which place is given which object",
    "loss": "the terms of the loss, their weights and normalisers",
    "learning rate": "how large a step is, and when",
    "averaged weights": "which weights are kept in the end",
    "decoding": "from the network's outputs to boxes, labels and scores",
    "evaluation": "how detections are matched with objects and counted",
}


def against(**experiments: str) -> dict[str, str]:
    """Return the list of causes with what speaks against each.

    Args:
        experiments: for all causes but the right one, a sentence; spaces written as underscores.

    Returns:
        All causes in their order; "" for the right one.

    Raises:
        ValueError: for a cause that is not in the list.
    """
    said = {name.replace("_", " "): text for name, text in experiments.items()}
    unknown = said.keys() - CAUSES.keys()
    if unknown:
        raise ValueError(f"no cause called {sorted(unknown)}; there are: {', '.join(CAUSES)}")
    return {name: said.get(name, "") for name in CAUSES}
