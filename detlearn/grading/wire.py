"""How answers come back from the process that runs a learner's code: as data, never as a pickle.

The child writes frames into a pipe: a letter, a length, that many bytes. Nothing in them is
trusted: the grader's side checks every field and says in a sentence what does not fit.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from detlearn.check.engine.cases import Answer, Case, Trouble
from detlearn.check.engine.sandbox import DTYPES

ANSWERS, SENTENCE, SURVEY = b"A", b"S", b"V"
KINDS = (ANSWERS, SENTENCE, SURVEY)
KINDS_OF_NUMBERS = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}
WRONG_FORM = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError)
HEAD = struct.Struct("<cI")
MAX_TEXT = 400
# After these the engine asks no more, so the answers may end early.
LAST = ("blank", "timeout", "memory", "exit", "no function")


class Garbled(ValueError):
    """What came back cannot be read."""


class Channel:
    """The child's end of the pipe."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def send(self, kind: bytes, content: bytes) -> None:
        """Write one frame, at once."""
        # The system may take a part of it only.
        left = memoryview(HEAD.pack(kind, len(content)) + content)
        while left:
            left = left[os.write(self.descriptor, left) :]


def frames(data: bytes) -> list[tuple[bytes, bytes]]:
    """Split what was read from the pipe.

    Args:
        data: all of it.

    Returns:
        (kind, content) of each frame.

    Raises:
        Garbled: if it is not made of whole frames.
    """
    found, at = [], 0
    while at < len(data):
        if len(data) - at < HEAD.size:
            raise Garbled("it ends in the middle")

        kind, length = HEAD.unpack_from(data, at)
        content = data[at + HEAD.size : at + HEAD.size + length]
        if kind not in KINDS or len(content) != length:
            raise Garbled("something else was written between the answers")

        found.append((kind, content))
        at += HEAD.size + length

    return found


def encode(answers: Sequence[Answer], most: Sequence[int]) -> bytes:
    """Return answers as bytes: their tensors as safetensors, the rest as JSON beside them.

    Args:
        answers: to send.
        most: for each, the number of elements up to which a tensor is sent; of a larger one, which
            is wrong anyway, only what is said of it: dtype and shape.
    """
    tensors: dict[str, Tensor] = {}
    rows: list[dict[str, Any]] = []

    for i, (answer, largest) in enumerate(zip(answers, most)):
        trouble, own, values = answer.trouble, {}, []

        # What cannot be packed spoils this answer, not the others.
        try:
            for j, value in enumerate(answer.values):
                if value.numel() <= largest:
                    own[f"{i}.{j}"] = _plain(value)
                values.append([_name(value.dtype), list(value.shape)])
            if answer.gradient is not None:
                own[f"{i}.gradient"] = _plain(answer.gradient)
            save(own)
        except Exception:
            trouble = Trouble("type", "your function returns an unusual kind of tensor")
            own, values = {}, []

        tensors |= own
        row = {name: getattr(answer, name) for name in ("changed", "printed", "steps")}
        row["trouble"] = trouble and [trouble.kind, trouble.message, trouble.line]
        rows.append({**row, "values": values})

    return save(tensors, metadata={"answers": json.dumps(rows)})


def _plain(value: Tensor) -> Tensor:
    return value.detach().as_subclass(Tensor).cpu().contiguous().clone()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def decode(content: bytes, cases: Sequence[Case], most: Sequence[int]) -> list[Answer]:
    """Read answers.

    Args:
        content: what `encode` made, or what somebody else made to look like it.
        cases: the questions that were asked.
        most: as for `encode`.

    Returns:
        The answers. A tensor that was too large to be sent is one without memory ("meta").

    Raises:
        Garbled: if it is anything else, or has another number of answers.
    """
    try:
        tensors = load(content)
        # The library reads the tensors only; the notes stand in the header.
        (length,) = struct.unpack("<Q", content[:8])
        rows = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["answers"])
        number = len(rows)
        answers = [_answer(i, *each, tensors) for i, each in enumerate(zip(rows, cases, most))]
    except (*WRONG_FORM, SafetensorError, struct.error, RecursionError):
        raise Garbled("it holds no answers") from None

    early = bool(answers) and answers[-1].trouble and answers[-1].trouble.kind in LAST
    if number > len(cases) or (number < len(cases) and not early):
        raise Garbled(f"{number} answers came to {len(cases)} questions")

    return answers


def _answer(
    index: int, row: dict[str, Any], case: Case, most: int, tensors: dict[str, Tensor]
) -> Answer:
    trouble = None
    if row["trouble"] is not None:
        kind, message, line = row["trouble"]
        trouble = Trouble(clean(kind), clean(message), clean(line))

    steps = row["steps"]
    if not all(type(number) is int for number in (steps, *row["changed"])):
        raise TypeError("not a number of steps, or not the places of arguments")

    values = [
        _value(dtype, shape, tensors.get(f"{index}.{j}"), most)
        for j, (dtype, shape) in enumerate(row["values"])
    ]

    # A gradient has the form of what it belongs to, and nothing else is compared with it.
    gradient = tensors.get(f"{index}.gradient")
    if gradient is not None:
        argument = case.args[case.differentiated[1]]
        if not case.gradient or gradient.shape != argument.shape:
            raise ValueError("a gradient of another shape")
        _value(_name(gradient.dtype), list(gradient.shape), gradient, gradient.numel())

    return Answer(
        values=tuple(values),
        gradient=gradient,
        trouble=trouble,
        changed=tuple(row["changed"]),
        printed=clean(row["printed"]),
        steps=steps,
    )


def _value(dtype: str, shape: list[int], sent: Tensor | None, most: int) -> Tensor:
    """A tensor of the dtype and shape that are said; one without memory if it was not sent."""
    said = torch.empty(shape, dtype=KINDS_OF_NUMBERS[dtype], device="meta")
    if (sent is None) != (said.numel() > most):
        raise ValueError("what is sent and what is too large to be sent do not fit")
    if sent is None:
        return said
    if sent.dtype != said.dtype or sent.shape != said.shape:
        raise ValueError("a tensor is not what is said of it")
    return sent


def clean(text: str, most: int = MAX_TEXT) -> str:
    """Return a learner's text on one line, without control characters, of readable length.

    Raises:
        TypeError: if it is no text.
    """
    if not isinstance(text, str):
        raise TypeError("not a text")

    # Cut before as well: a text may have millions of letters.
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * most])
    text = " ".join(printable.split())
    return text if len(text) <= most else text[:most] + " …"
