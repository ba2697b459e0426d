"""To go on with a training for longer than it was planned."""

from __future__ import annotations

from pathlib import Path

from detlearn.machine.checkpoints import load_tensors
from detlearn.training.loop import lr_factor


def longer_in_words(checkpoint: str | Path, steps: int) -> str:
    """Say what ``fit(longer=True)`` does to a training, after a look whether it can be done.

    The learning rate follows a cosine over the whole length. In a longer training it is higher at
    the same step, so it rises at once to where that one would have it, and falls to zero anew. A
    finished checkpoint holds the averaged weights; a training that was finished goes on from them.

    Args:
        checkpoint: the file that `fit` wrote.
        steps: of the whole training, those that are done included.

    Returns:
        What happens, in a sentence.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no training, one that was given minutes, or more steps than these.
    """
    _, info = load_tensors(checkpoint)
    if "settings" not in info:
        raise ValueError(f"{checkpoint} holds no state of a training")

    settings, done = info["settings"], info["steps_done"]
    planned = settings["total"]
    if planned is None:
        raise ValueError(
            f"the training in {checkpoint} was given {settings['minutes']} minutes, which cannot "
            "be changed to steps: train anew, with its weights to start from"
        )
    if steps < done:
        raise ValueError(f"the training in {checkpoint} has done {done} steps: {steps} are fewer")
    if steps == done:
        return f"has taken all of its {steps} steps already"

    before = lr_factor(done, done / planned, settings["lr_warmup"])
    after = lr_factor(done, done / steps, settings["lr_warmup"])
    return (
        f"goes on from step {done} to {steps}, {planned} were planned: the learning rate changes "
        f"from {before:.0%} to {after:.0%} of its peak, as a training of {steps} steps has it "
        "there, and falls to zero at the end"
    )
