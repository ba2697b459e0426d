"""What this machine can do: its device, its cores, and whether bfloat16 pays there."""

from __future__ import annotations

import os
import platform

import torch


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU; under ``torchrun`` each process its own GPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")

    own_gpu = os.environ.get("LOCAL_RANK", torch.cuda.current_device())  # torchrun sets it
    return torch.device("cuda", int(own_gpu))


def available_cores() -> int:
    """Return how many cores this process may use, which a container may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # on macOS and Windows


def describe(device: torch.device) -> str:
    """Return the device in words, for the record of a measurement.

    Args:
        device: ``cpu`` or a ``cuda`` device.

    Returns:
        The GPU's name; or the processor's, what its vector instructions are, and the cores and
        threads at work.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)

    # Newer versions of torch know the processor's name.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    name = capabilities.get("cpu_name") or platform.machine()

    # Processors of one name differ in these, and train up to four times as fast.
    vectors = torch.backends.cpu.get_cpu_capability()
    if has_native_bfloat16(device):
        vectors += " and bfloat16"
    threads = torch.get_num_threads()
    plural = "" if threads == 1 else "s"
    return f"{available_cores()} cores of {name} ({vectors}), {threads} thread{plural}"


def has_native_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware multiplies bfloat16 numbers itself.

    Where it does, training under autocast is 1.5 to 2 times as fast; where it does not, torch
    emulates the type and is slower than in float32.

    Args:
        device: ``cpu`` or a ``cuda`` device.

    Returns:
        True for CPUs with AMX-BF16 or AVX512-BF16 and for GPUs from compute capability 8.0 on.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False

    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return bool(found.get("amx_bf16") or found.get("avx512_bf16"))
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
