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

from detlearn.check.engine.cases import Answer, Trouble

ANSWERS, SENTENCE, REFERENCE, SURVEY = b"A", b"S", b"R", b"V"
KINDS = (ANSWERS, SENTENCE, REFERENCE, SURVEY)
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


def encode(answers: Sequence[Answer]) -> bytes:
    """Return answers as bytes: their tensors as safetensors, the rest as JSON beside them."""
    tensors: dict[str, torch.Tensor] = {}
    rows: list[dict[str, Any]] = []

    for i, answer in enumerate(answers):
        trouble, own, values = answer.trouble, {}, len(answer.values)

        # What cannot be packed spoils this answer, not the others.
        try:
            for j, value in enumerate(answer.values):
                own[f"{i}.{j}"] = _plain(value)
            if answer.gradient is not None:
                own[f"{i}.gradient"] = _plain(answer.gradient)
            save(own)
        except Exception:
            trouble = Trouble("type", "your function returns an unusual kind of tensor")
            own, values = {}, 0

        tensors |= own
        row = {name: getattr(answer, name) for name in ("changed", "printed", "steps")}
        row["trouble"] = trouble and [trouble.kind, trouble.message, trouble.line]
        rows.append({**row, "values": values})

    return save(tensors, metadata={"answers": json.dumps(rows)})


def _plain(value: torch.Tensor) -> torch.Tensor:
    return value.detach().as_subclass(torch.Tensor).cpu().contiguous().clone()


def decode(content: bytes, number: int) -> list[Answer]:
    """Read answers.

    Args:
        content: what `encode` made, or what somebody else made to look like it.
        number: of questions that were asked.

    Returns:
        The answers.

    Raises:
        Garbled: if it is anything else, or has another number of answers.
    """
    try:
        tensors = load(content)
        # The library reads the tensors only; the notes stand in the header.
        (length,) = struct.unpack("<Q", content[:8])
        rows = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["answers"])
        answers = [_answer(i, row, tensors) for i, row in enumerate(rows)]
    except (SafetensorError, ValueError, KeyError, TypeError, struct.error, RecursionError):
        raise Garbled("it holds no answers") from None

    early = bool(answers) and answers[-1].trouble and answers[-1].trouble.kind in LAST
    if len(answers) > number or (len(answers) < number and not early):
        raise Garbled(f"{len(answers)} answers came to {number} questions")

    return answers


def _answer(index: int, row: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Answer:
    trouble = None
    if row["trouble"] is not None:
        kind, message, line = row["trouble"]
        trouble = Trouble(clean(kind), clean(message), clean(line))

    steps = row["steps"]
    if not all(isinstance(number, int) for number in (steps, *row["changed"])):
        raise TypeError("not a number of steps, or not the places of arguments")

    return Answer(
        values=tuple(tensors[f"{index}.{j}"] for j in range(row["values"])),
        gradient=tensors.get(f"{index}.gradient"),
        trouble=trouble,
        changed=tuple(row["changed"]),
        printed=clean(row["printed"]),
        steps=steps,
    )


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
