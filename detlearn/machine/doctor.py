"""What could be wrong with this installation, said in one sentence each."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

PACKAGES = (
    *("detlearn", "torch", "torchvision", "numpy", "scipy", "matplotlib"),
    *("ipywidgets", "tqdm", "pillow", "safetensors"),
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that detlearn needs; ``"missing"`` where one is."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def troubles() -> list[str]:
    """Look for the known troubles.

    Returns:
        One sentence for each trouble found, the gravest first: what is wrong and what to do.
    """
    found = [_torchvision_trouble()]
    if sys.modules.get("torch"):  # it could be imported
        found += [_gpu_trouble(), _threads_trouble()]
    found += [
        f"{name} is not installed: pip install {name}."
        for name, version in versions().items()
        if version == "missing"
    ]
    return [trouble for trouble in found if trouble]


def _torchvision_trouble() -> str | None:
    """torch and torchvision are compiled for each other, version by version."""
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except ModuleNotFoundError as error:
        return f"torch or torchvision cannot be imported ({error}): install both again, together."
    except (ImportError, OSError, RuntimeError, AttributeError):
        found = versions()  # from the files: a torchvision that does not fit cannot be asked
        return (
            f"torch {found['torch']} and torchvision {found['torchvision']} do not belong "
            "together (torchvision's operators are missing): install both again in one command, "
            "pip install torch torchvision."
        )
    return None


def _gpu_trouble() -> str | None:
    import torch

    if torch.version.cuda and not torch.cuda.is_available() and torch.cuda.device_count() > 0:
        return "A GPU is there, but its driver is too old for this torch: update the driver."
    return None


def _threads_trouble() -> str | None:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if torch.get_num_threads() > cores:
        return (
            f"torch uses {torch.get_num_threads()} threads on {cores} cores, which is slower than "
            f"one: set OMP_NUM_THREADS={cores}."
        )
    busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5 + cores / 2
    if busy:
        return (
            "Other programs keep this machine busy: a training on the CPU may be many times slower "
            "than the book says; wait for them, or set OMP_NUM_THREADS=1."
        )
    return None


def report() -> tuple[str, bool]:
    """Write the doctor's report.

    Returns:
        The text, and whether all is well.
    """
    lines = [f"{name:12} {version}" for name, version in versions().items()]
    wrong = troubles()
    try:
        import torch

        from detlearn.machine.hardware import default_device, has_native_bfloat16

        device = default_device()
        name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor()
        native = "native" if has_native_bfloat16(device) else "emulated, so float32 is used"
        lines += [
            f"{'device':12} {device.type} {name}".rstrip(),
            f"{'threads':12} {torch.get_num_threads()}",
            f"{'bfloat16':12} {native}",
        ]
    except (ImportError, OSError):
        pass  # said among the troubles
    lines += ["", *(f"! {sentence}" for sentence in wrong)] if wrong else ["", "All is well."]
    return "\n".join(lines), not wrong
