"""How the input of a failing case is shown: each argument by the name that the stub gives it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from torch import Tensor

from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.forms import tensors_in

MOST_NUMBERS = 32  # of a tensor that is shown whole
FIRST_ROWS = 3  # of one that is not


def parameters(function: Callable) -> tuple[str, ...]:
    """The names of a function's parameters, in their order."""
    return tuple(inspect.signature(function).parameters)


def show_arguments(names: tuple[str, ...], case: Case, found: Fault, narrowed: str) -> str:
    """The input of a case on one line, every argument named.

    Args:
        names: of the arguments, in their order.
        case: whose input is shown.
        found: its fault; of a long tensor with a row for each row of the answer, the row that is
            wrong is shown.
        narrowed: what the exercise itself shows of the input; what is named in it stands there
            alone.

    Returns:
        As in "boxes[3] = [0, 0, 4, 4], sigma = 0.7".
    """
    given = [*zip(names, case.args), *case.keywords.items()]
    pieces = [
        _show(name, value, found)
        for name, value in given
        if not re.search(rf"\b{name}\b(\[.*?\])? = ", narrowed)
    ]
    named_there = len(pieces) < len(given)

    if not narrowed:
        return ", ".join(pieces)

    # What the exercise names comes first; what it says beside ("their IoU 0.33") comes last.
    whole = [narrowed, *pieces] if named_there else [*pieces, narrowed]
    return ", ".join(whole)


def _show(name: str, value: Any, found: Fault) -> str:
    if not isinstance(value, Tensor):
        if sum(tensor.numel() for tensor in tensors_in(value)) > MOST_NUMBERS:
            return f"{name} = a {type(value).__name__} of {len(value)}"
        return f"{name} = {written(value)}"
    if value.numel() == 0:
        return f"{name} = empty, of shape {tuple(value.shape)}"
    if value.numel() <= MOST_NUMBERS:
        return f"{name} = {written(value)}"

    # The row that is wrong, if the answer has a row for each of this tensor's.
    row = found.index[0] if found.index else 0
    if found.rows == len(value) and value[row].numel() <= MOST_NUMBERS:
        return f"{name}[{row}] = {written(value[row])}"

    if value[0].numel() * FIRST_ROWS <= MOST_NUMBERS:
        return f"{name}[:{FIRST_ROWS}] = {written(value[:FIRST_ROWS])}, {len(value)} rows in all"
    return f"{name} = a tensor of shape {tuple(value.shape)}"


def written(value: Any) -> str:
    """A value for people: numbers to four decimals at most, tensors as lists."""
    if isinstance(value, Tensor):
        value = value.detach().tolist()

    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(written, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {written(each)}' for key, each in value.items())}}}"

    return f"{round(value, 4):g}" if isinstance(value, float) else repr(value)
