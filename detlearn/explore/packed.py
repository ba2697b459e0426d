"""Tensors in a page: eight bits a number, as text."""

from __future__ import annotations

import base64

from torch import Tensor

from detlearn.explore.page import Explorable

MOST_BYTES = 150_000  # of a figure's HTML


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


def light_enough(figure: Explorable, advice: str) -> Explorable:
    """Return a figure that a page can carry.

    Args:
        figure: that holds tensors.
        advice: of what to give fewer.

    Raises:
        ValueError: if its HTML has more than `MOST_BYTES`.
    """
    size = len(figure._repr_html_().encode())
    if size > MOST_BYTES:
        raise ValueError(
            f"the figure would take {size:,} bytes of the page, of at most {MOST_BYTES:,}: give "
            f"fewer {advice}"
        )
    return figure
