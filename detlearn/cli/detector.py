"""The detector in the folder of a training, and the device on which it works.

The folder holds `DETECTOR_FILE` when the training has ended, `CHECKPOINT_FILE` from its first
checkpoint on, and from the very start `INFO_FILE`, which says how to build the detector again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    except RuntimeError as error:
        raise ValueError(
            f"--device {name} cannot be used: expected cpu, cuda (cuda:1 is the second GPU) or mps"
        ) from error

    try:
        torch.zeros((), device=device)  # a device that has a name need not be there
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"--device {name} cannot be used here: {error}. Leave --device out for the best that "
            "this machine has"
        ) from error
    return device


def write_info(folder: Path, model: Detector, name: str, class_names: Sequence[str]) -> None:
    """Note at the start of a training how its detector is built again.

    Args:
        folder: the ``--out`` of the training.
        model, name, class_names: as for `pretrained.save_detector`.

    Raises:
        ValueError: there is a checkpoint of another detector, whose notes must stay: weights that
            were read under the classes of another training would find everything and name it wrong.
    """
    from detlearn.machine.checkpoints import write_atomically
    from detlearn.pretrained import detector_info

    info = detector_info(model, name, class_names)
    path = folder / INFO_FILE
    if path.exists() and (folder / CHECKPOINT_FILE).exists():
        refuse_another(folder, read_notes(path), info)

    write_atomically(path, json.dumps(info, indent=1).encode())


def refuse_another(folder: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse to go on with a training in a folder that is another one.

    Args:
        folder: the ``--out`` of both.
        found: what was noted of the training in it.
        asked: the same of the one that is to go on.

    Raises:
        ValueError: if they differ in anything that was asked, naming it.
    """
    different = [name for name in asked if found.get(name) != asked[name]]
    if different:
        raise ValueError(
            f"{folder} holds a training with { {name: found.get(name) for name in different} }, "
            f"this one has { {name: asked[name] for name in different} }; give another --out"
        )


def load(folder: Path, device: str | None) -> SavedDetector:
    """Read the detector of a training; of one that was stopped, its averaged weights so far.

    Args:
        folder: the ``--out`` of the training, or the detector's file or the checkpoint in it.
        device: on which it is to work; None for this machine's best.

    Raises:
        FileNotFoundError: there is no such folder or file, or no detector in it.
        ValueError: the file is no detector of this package, or the device cannot be used.
    """
    from detlearn.pretrained import load_detector

    path = folder.expanduser()
    if path.is_dir():
        path = _latest_in(path)
    elif not path.exists():
        raise FileNotFoundError(
            f"{path}: no such folder; expected the --out of a training ('detlearn train' makes it)"
        )

    if path.name == CHECKPOINT_FILE:
        saved = _load_stopped(path)
    else:
        saved = load_detector(path)

    saved.model.to(choose_device(device))
    return saved


def _latest_in(folder: Path) -> Path:
    """Return which file of a training holds its latest weights.

    The detector is written after the last checkpoint. A later checkpoint is that of a training
    which was made longer and has not ended.
    """
    detector, checkpoint = folder / DETECTOR_FILE, folder / CHECKPOINT_FILE
    if not detector.exists() and not checkpoint.exists():
        raise FileNotFoundError(
            f"{folder} holds neither {DETECTOR_FILE} nor {CHECKPOINT_FILE}: expected the --out of "
            "a training that has taken some steps"
        )

    if not detector.exists():
        return checkpoint
    if not checkpoint.exists():
        return detector
    return max(detector, checkpoint, key=lambda path: path.stat().st_mtime_ns)


def _load_stopped(checkpoint: Path) -> SavedDetector:
    """Read a detector from a checkpoint, and say so."""
    from detlearn.pretrained import load_from_training

    notes = checkpoint.with_name(INFO_FILE)
    if not notes.is_file():
        raise FileNotFoundError(
            f"{notes} is missing, without which nobody knows whose weights {checkpoint} holds: the "
            "command that started the training writes it, and goes on with the training"
        )
    saved, steps = load_from_training(checkpoint, read_notes(notes))
    print(f"note: {checkpoint}: the averaged weights after {steps} steps", file=sys.stderr)
    return saved


def read_notes(path: Path) -> dict[str, Any]:
    """Read a file that an earlier command wrote beside a training.

    Raises:
        ValueError: it was damaged since.
    """
    try:
        notes = json.loads(path.read_bytes())
        if not isinstance(notes, dict):
            raise ValueError("no dictionary")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): remove it, and it is written anew"
        ) from error
    return notes
