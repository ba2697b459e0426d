"""What could be wrong with this installation, said in one sentence each.

torch is imported inside of functions only: the doctor must be able to say that it is missing.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

PACKAGES = (
    "detlearn",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "matplotlib",
    "ipywidgets",
    "tqdm",
    "pillow",
    "pooch",
    "pyyaml",
    "safetensors",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that detlearn needs, "missing" for none."""
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

    # Only where torch could be imported can it be asked.
    if sys.modules.get("torch"):
        found.append(_gpu_trouble())
        found.append(_threads_trouble())

    for name, version in versions().items():
        if version == "missing":
            found.append(f"{name} is not installed: pip install {name}.")
    return [trouble for trouble in found if trouble is not None]


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

    from detlearn.machine.hardware import available_cores

    cores = available_cores()
    threads = torch.get_num_threads()
    if threads > cores:
        return (
            f"torch uses {threads} threads on {cores} cores, which is slower than one: set "
            f"OMP_NUM_THREADS={cores}."
        )

    # The load is the number of programs that want a core, averaged over a minute. Half of the cores
    # may be our own.
    is_busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5 + cores / 2
    if is_busy:
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
    found = troubles()

    try:
        lines += _hardware_lines()
    except (ImportError, OSError):
        pass  # said among the troubles

    lines.append("")
    if found:
        lines += [f"! {sentence}" for sentence in found]
    else:
        lines.append("All is well.")
    return "\n".join(lines), not found


def _hardware_lines() -> list[str]:
    import torch

    from detlearn.machine.hardware import default_device, has_native_bfloat16

    device = default_device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor()
    bfloat16 = "native" if has_native_bfloat16(device) else "emulated, so float32 is used"
    return [
        f"{'device':12} {device.type} {name}".rstrip(),
        f"{'threads':12} {torch.get_num_threads()}",
        f"{'bfloat16':12} {bfloat16}",
    ]
