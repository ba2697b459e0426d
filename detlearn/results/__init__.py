"""Results of experiments that take longer than a chapter may: small tables, with their provenance.

The scripts under ``benchmarks/experiments`` write them, the chapters read them.
"""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

from detlearn.machine.checkpoints import write_atomically
from detlearn.machine.doctor import versions
from detlearn.machine.hardware import default_device

FOLDER = Path(__file__).parent


def load(name: str) -> dict[str, Any]:
    """Read a stored result.

    Args:
        name: the file's name without its ending.

    Returns:
        What the experiment stored, and under ``"provenance"`` the command, the versions of Python
        and of the packages, the hardware and the seeds.

    Raises:
        FileNotFoundError: if there is no such result; the message lists those that are there.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.json"))) or "none"
        raise FileNotFoundError(f"no stored result called {name!r}; there are: {known}")
    return json.loads(path.read_text())


def as_tensors(detections: list[dict[str, list]]) -> list[dict[str, torch.Tensor]]:
    """Detections that were stored as lists, as tensors again.

    Args:
        detections: one ``{"boxes": N × 4 numbers xyxy, "scores": N, "labels": N}`` per image.

    Returns:
        The same with boxes (N, 4), scores (N,) float32 and labels (N,) int64.
    """
    kinds = {"boxes": torch.float32, "scores": torch.float32, "labels": torch.int64}
    shapes = {"boxes": (-1, 4), "scores": (-1,), "labels": (-1,)}
    return [
        {
            name: torch.tensor(value, dtype=kinds[name]).view(shapes[name])
            for name, value in d.items()
        }
        for d in detections
    ]


def store(name: str, result: dict[str, Any], *, command: str, seeds: list[int]) -> Path:
    """Write a result beside the others, atomically.

    Args:
        name: the file's name without its ending.
        result: JSON-able numbers, lists and texts.
        command: what was run, from the top of the repository.
        seeds: those that the experiment used.

    Returns:
        The file's path.
    """
    result = {**result, "provenance": provenance(command, seeds)}
    text = json.dumps(result, indent=1)
    # A list of plain numbers, a box say, goes on one line.
    text = re.sub(r"\[[^][{}\"]*\]", lambda found: " ".join(found[0].split()), text)
    path = FOLDER / f"{name}.json"
    write_atomically(path, (text + "\n").encode())
    return path


def provenance(command: str, seeds: list[int]) -> dict[str, Any]:
    """What was run, with which versions, on which machine."""
    device = default_device()
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name()
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()
        name = capabilities.get("cpu_name") or platform.machine()
        hardware = f"{cores} cores of {name}, {torch.get_num_threads()} threads"
    return {"command": command, "seeds": seeds, "hardware": hardware, "versions": versions()}
