"""How answers come back from the process that runs a learner's code: as data, never as a pickle.

The child writes one file of safetensors, in whose header JSON says the rest. Nothing in it is
trusted: the grader's side checks every field and says in a sentence what does not fit.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from detlearn.check.engine.cases import Answer, Case, Trouble
from detlearn.check.engine.sandbox import DTYPES

WRONG_FORM = (ValueError, KeyError, TypeError, AttributeError, RuntimeError)
MAX_TEXT = 400
TEXTS = 4_000_000  # bytes for all answers to a sheet that are no tensors
# After these the engine asks no more, so the answers may end early.
LAST = ("blank", "timeout", "memory", "exit", "no function")


class Garbled(ValueError):
    """What came back cannot be read."""


def pack(said: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> bytes:
    """Return what is said, as JSON can hold it, and tensors that belong to it, as bytes."""
    return save(dict(tensors or {}), metadata={"said": json.dumps(said)})


def unpack(content: bytes, texts: int = TEXTS) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what `pack` made, or what somebody else made to look like it.

    Args:
        content: all that came.
        texts: bytes that what is said may take; in Python's hands it grows to many times that.

    Raises:
        Garbled: if it is anything else.
    """
    try:
        tensors = load(content)
        # The library reads the tensors only; the rest stands in the header.
        (length,) = struct.unpack("<Q", content[:8])
        if length > texts:
            raise ValueError("more than answers can say")
        said = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["said"])
    except (*WRONG_FORM, SafetensorError, struct.error, RecursionError):
        raise Garbled("it holds no answers") from None

    if not isinstance(said, dict):
        raise Garbled("it holds no answers")
    return said, tensors


def encode(answers: Sequence[Answer], most: Sequence[int], sentence: str = "") -> bytes:
    """Return answers as bytes.

    Args:
        answers: to send.
        most: for each, the number of elements up to which a tensor is sent; a larger one, which is
            wrong anyway, is named instead.
        sentence: to send along.
    """
    tensors: dict[str, Tensor] = {}
    rows: list[dict[str, Any]] = []

    for i, (answer, largest) in enumerate(zip(answers, most)):
        # What cannot be packed spoils this answer, not the others.
        try:
            trouble, own = _packable(answer, largest)
        except Exception:
            trouble, own = Trouble("type", "your function returns an unusual kind of tensor"), {}

        tensors |= {f"{i}.{key}": value for key, value in own.items()}
        row = {name: getattr(answer, name) for name in ("changed", "printed", "steps")}
        row["trouble"] = trouble and [trouble.kind, trouble.message, trouble.line]
        rows.append({**row, "values": len(own.keys() - {"gradient"})})

    return pack({"sentence": sentence, "answers": rows}, tensors)


def _packable(answer: Answer, most: int) -> tuple[Trouble | None, dict[str, Tensor]]:
    """An answer's trouble, and by name its tensors as ordinary ones."""
    for value in answer.values:
        if _too_large(value, most):
            shape = tuple(value.shape)
            text = f"your function returned a tensor of shape {shape}, more than any answer needs"
            return Trouble("type", text), {}

    tensors = {str(j): value for j, value in enumerate(answer.values)}
    if answer.gradient is not None:
        tensors["gradient"] = answer.gradient
    return answer.trouble, {name: _ordinary(value) for name, value in tensors.items()}


def _too_large(value: Tensor, most: int) -> bool:
    """Whether a tensor has too many numbers, or a side that is too long, as an empty one may."""
    return max([value.numel(), *value.shape]) > most


def _ordinary(value: Tensor) -> Tensor:
    """A tensor of its own for the same numbers; raises if they do not lie one beside the other."""
    if value.layout != torch.strided:
        raise TypeError(f"{value.layout}")
    return value.detach().as_subclass(Tensor).cpu().contiguous().clone()


def decode(
    said: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    cases: Sequence[Case],
    most: Sequence[int],
) -> list[Answer]:
    """Return the answers to some cases.

    Args:
        said, tensors: as unpacked from what `encode` made, or somebody else to look like it.
        cases: the questions that were asked.
        most: as for `encode`.

    Raises:
        Garbled: if it is anything else, or has another number of answers.
    """
    try:
        rows = said["answers"]
        number = len(rows)
        answers = [_answer(i, *each, tensors) for i, each in enumerate(zip(rows, cases, most))]
    except WRONG_FORM:
        raise Garbled("it holds no answers") from None

    early = bool(answers) and answers[-1].trouble and answers[-1].trouble.kind in LAST
    if number > len(cases) or (number < len(cases) and not early):
        raise Garbled(f"{number} answers came to {len(cases)} questions")

    return answers


def _answer(
    index: int, row: Mapping[str, Any], case: Case, most: int, tensors: Mapping[str, Tensor]
) -> Answer:
    trouble = None
    if row["trouble"] is not None:
        kind, message, line = map(clean, row["trouble"])
        trouble = Trouble(kind, message, line)

    number, steps, changed = row["values"], row["steps"], row["changed"]
    if not all(type(each) is int for each in (number, steps, *changed)):
        raise TypeError("not a number of values or of steps, or not the places of arguments")

    values = tuple(tensors[f"{index}.{j}"] for j in range(number))
    for value in values:
        if value.dtype not in DTYPES or _too_large(value, most):
            raise ValueError("a tensor that is too large, or not one of real numbers")

    # A gradient has the form of what it belongs to, and nothing else is compared with it.
    gradient = tensors.get(f"{index}.gradient")
    if gradient is not None:
        argument = case.args[case.differentiated[1]]
        form = (argument.shape, argument.dtype)
        if not case.gradient or (gradient.shape, gradient.dtype) != form:
            raise ValueError("a gradient of another form")

    return Answer(values, gradient, trouble, tuple(changed), clean(row["printed"]), steps)


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
