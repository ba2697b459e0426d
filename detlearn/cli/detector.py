"""The detector in the folder of a training, and the device on which it works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from detlearn.pretrained import SavedDetector

DETECTOR_FILE = "detector.safetensors"


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


def load(folder: Path, device: str | None) -> SavedDetector:
    """Read the detector of a training.

    Args:
        folder: the ``--out`` of the training, or the detector's file in it.
        device: on which it is to work; None for this machine's best.
    """
    from detlearn.pretrained import load_detector

    saved = load_detector(folder / DETECTOR_FILE if folder.is_dir() else folder)
    saved.model.to(choose_device(device))
    return saved
