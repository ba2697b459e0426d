"""Tensors in a page: eight bits a number, as text."""

from __future__ import annotations

import base64

from torch import Tensor

MOST_BYTES = 70_000  # of all tensors of a figure; as text a third more


def packed(numbers: Tensor, largest: float | Tensor = 1.0, signed: bool = False) -> str:
    """Return numbers as bytes in base64, in the tensor's order.

    Args:
        numbers: of any shape, in [0, largest], or with ``signed`` in [−largest, largest].
        largest: what 255 stands for, or 255 and, negative, 1; broadcast against the numbers.
        signed: with 128 for zero.
    """
    if signed:
        steps = (numbers.double() / largest * 127).round().clamp(-127, 127) + 128
    else:
        steps = (numbers.double() / largest * 255).round().clamp(0, 255)
    return base64.b64encode(bytes(steps.int().flatten().tolist())).decode()


def check_size(num_bytes: int, what: str) -> None:
    """Raise a ValueError where tensors would make a page too heavy."""
    if num_bytes > MOST_BYTES:
        raise ValueError(f"{what} would take {num_bytes:,} bytes: a figure may hold {MOST_BYTES:,}")
