"""The detector in the folder of a training, and the device on which it works.

The folder holds `DETECTOR_FILE` when the training has ended, `CHECKPOINT_FILE` from its first
checkpoint on, and from the very start `INFO_FILE`, which says how to build the detector again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from detlearn.models import Detector
    from detlearn.pretrained import SavedDetector

DETECTOR_FILE = "detector.safetensors"
CHECKPOINT_FILE = "training.safetensors"
INFO_FILE = "detector.json"


def choose_device(name: str | None) -> torch.device:
    """Return the device of that name, or this machine's best.

    Raises:
        ValueError: if it cannot be used.
    """
    import torch

    from detlearn.machine.hardware import default_device

    try:
        device = torch.device(name) if name else default_device()
        torch.zeros((), device=device)  # a device that has a name need not be there
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name} cannot be used here: {error}") from error
    return device


def write_info(folder: Path, model: Detector, name: str, class_names: Sequence[str]) -> None:
    """Note at the start of a training how its detector is built again.

    Args:
        folder: the ``--out`` of the training.
        model, name, class_names: as for `pretrained.save_detector`.
    """
    from detlearn.machine.checkpoints import write_atomically
    from detlearn.pretrained import detector_info

    info = detector_info(model, name, class_names)
    write_atomically(folder / INFO_FILE, json.dumps(info, indent=1).encode())


def load(folder: Path, device: str | None) -> SavedDetector:
    """Read the detector of a training; of one that was stopped, its averaged weights so far.

    Args:
        folder: the ``--out`` of the training, or the detector's file or the checkpoint in it.
        device: on which it is to work; None for this machine's best.
    """
    from detlearn.pretrained import load_detector

    path = folder.expanduser()
    if path.is_dir():
        folder, path = path, path / DETECTOR_FILE
        if not path.exists() and (folder / CHECKPOINT_FILE).exists():
            path = folder / CHECKPOINT_FILE

    if path.name == CHECKPOINT_FILE:
        saved = _load_stopped(path)
    else:
        saved = load_detector(path)

    saved.model.to(choose_device(device))
    return saved


def _load_stopped(checkpoint: Path) -> SavedDetector:
    """Read a detector from a checkpoint, and say so."""
    from detlearn.pretrained import load_from_training

    notes = checkpoint.with_name(INFO_FILE)
    if not notes.is_file():
        raise FileNotFoundError(
            f"{notes} is missing, without which nobody knows whose weights {checkpoint} holds: the "
            "command that started the training writes it, and goes on with the training"
        )
    try:
        info = json.loads(notes.read_bytes())
    except ValueError as error:
        raise ValueError(f"{notes}: malformed JSON ({error})") from error

    saved, steps = load_from_training(checkpoint, info)
    print(f"note: {checkpoint}: the averaged weights after {steps} steps", file=sys.stderr)
    return saved
