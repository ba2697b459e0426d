"""What an exercise asks, and what the learner's function answers.

A `Case` is one call of the function, an `Answer` what came of it: plain data, so that it can be
compared in this process or sent here from another one. `fault` says what is wrong with an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detlearn.check.engine.forms import leaf_names

# The ladder of every check, from the first rung to the last.
# "cause" is no call of the function: it asks for the cause that is handed in beside a cure.
RUNGS = ("by hand", "degenerate", "random", "property", "gradient", "no loop", "cause")

# Large enough for float32 and for any epsilon up to 1e-6, small enough to notice an error of 0.1 %.
RELATIVE, ABSOLUTE = 2.5e-4, 2e-5
# Nothing that is asked for is larger, but a quotient with nearly zero below the line is.
BEYOND = 1e5


@dataclass(frozen=True)
class Case:
    """One call of the learner's function.

    Attributes:
        rung: one of `RUNGS`.
        args: what the function is called with.
        note: what is special about this input; completes the phrase "on …".
        expected: the answer as worked out by hand; None asks the reference.
        gradient: a gradient is compared as well.
        differentiated: the places of the returned tensor and of the argument to which it belongs.
        only_finite: right formulas differ here, so only shape and finiteness count.
        size: for the rung "no loop", the number of boxes; such cases come in pairs.
        draws: how often the function is called, where its answer is random; what all calls
            returned is one answer, and the exercise's `summary` says what of it is compared.
        listed: the answer is a list of tensors, one for each image.
        detached: which arguments carry a gradient that the answer must not have.
        tensors: a number of Python's will not do, since the chapter's training goes on with it.
        keywords: arguments that are given by name.
        form: the answer's nested form, as `forms` writes it; None for a tensor or a tuple of them.
    """

    rung: str
    args: tuple[Any, ...]
    note: str
    expected: Any = None
    gradient: bool = False
    differentiated: tuple[int, int] = (0, 0)
    only_finite: bool = False
    size: int = 0
    draws: int = 1
    listed: bool = False
    detached: tuple[int, ...] = ()
    tensors: bool = False
    keywords: dict[str, Any] = field(default_factory=dict)
    form: Any = None

    def __post_init__(self) -> None:
        if self.rung not in RUNGS:
            raise ValueError(f"unknown rung {self.rung!r}: expected one of {', '.join(RUNGS)}")


class Causes(str):
    """What the case "cause" asks with: the causes to choose from, one a line."""


class Handed:
    """A cause and a cure, as one function: asked for the cause it gives its place in the list.

    Args:
        cause: that was chosen.
        cure: the learner's function.
    """

    def __init__(self, cause: Any, cure: Any) -> None:
        self.cause = cause
        self.cure = cure

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if len(args) == 1 and type(args[0]) is Causes:
            causes = args[0].split("\n")
            chosen = causes.index(self.cause) if self.cause in causes else -1
            return torch.tensor(chosen)
        return self.cure(*args, **keywords)


@dataclass
class Trouble:
    """Why there is no answer.

    Attributes:
        kind: "blank", "exception", "signature" (it cannot be called with these arguments),
            "timeout", "memory", "exit", "none", "type", "no function", "no gradient", "attached",
            "reference" or "died".
        message: what happened, as a sentence without its full stop.
        line: the learner's line at which it happened, if known.
    """

    kind: str
    message: str
    line: str = ""


@dataclass
class Answer:
    """What came of one call.

    Attributes:
        values: the returned tensors; a single one, or a number, is a tuple of length 1.
        gradient: of the sum of a returned tensor, its columns weighted with 1, 2, 3, …, if the
            case asked for it.
        trouble: why there are no values.
        changed: the places of the arguments that the function wrote into.
        printed: the beginning of what it printed.
        steps: instructions that Python executed, for the rung "no loop".
    """

    values: tuple[Tensor, ...] = ()
    gradient: Tensor | None = None
    trouble: Trouble | None = None
    changed: tuple[int, ...] = ()
    printed: str = ""
    steps: int = 0


@dataclass
class Fault:
    """What is wrong with an answer.

    Attributes:
        text: the sentence to show.
        kind: "trouble", "changed", "dtype", "form", "finite", "value" or "gradient".
        output: which of the returned tensors is wrong.
        index: where in it the difference is largest.
        rows: how many it has; 0 if it is no matter of one row.
    """

    text: str
    kind: str
    output: int = 0
    index: tuple[int, ...] = ()
    rows: int = 0


def fault(
    case: Case,
    answer: Answer,
    expected: Answer,
    names: tuple[str, ...],
    arguments: tuple[str, ...] = (),
) -> Fault | None:
    """Say what is wrong with an answer, or None.

    Args:
        case: what was asked.
        answer: the learner's.
        expected: the reference's.
        names: how the returned tensors are called, one for each; of a nested form, how its parts
            are.
        arguments: how the arguments are called.
    """
    if case.form is not None:
        names = leaf_names(case.form, names)

    if answer.trouble is not None:
        return Fault(answer.trouble.message, "trouble")

    if answer.changed:
        written = [arguments[i] for i in answer.changed if i < len(arguments)]
        which = f" ({' and '.join(written)})" if written else ""
        text = f"your function changes the tensors it is given{which}; work on copies (.clone())"
        return Fault(text, "changed")

    if len(answer.values) != len(expected.values):
        return Fault(
            f"your function returned {len(answer.values)} value(s); expected "
            f"{len(expected.values)}: {', '.join(names[: len(expected.values)])}",
            "form",
        )

    for i, (got, wanted) in enumerate(zip(answer.values, expected.values)):
        if not _dtype_fits(got, wanted):
            text = f"{names[i]} has dtype {_dtype(got)}; expected {_dtype(wanted)}"
            return Fault(text, "dtype", i)

        if got.shape != wanted.shape:
            text = f"{names[i]} has shape {tuple(got.shape)}; expected {tuple(wanted.shape)}"
            return Fault(text, "form", i)

    return _wrong_numbers(case, answer, expected, names)


def _dtype_fits(got: Tensor, wanted: Tensor) -> bool:
    """Whether the chapter runs on with this dtype: the very same, or float32 for float64."""
    if wanted.dtype == torch.float64:
        return got.dtype in (torch.float32, torch.float64)
    return got.dtype == wanted.dtype


def _wrong_numbers(
    case: Case, answer: Answer, expected: Answer, names: tuple[str, ...]
) -> Fault | None:
    pairs = [(v, e, n, "value") for v, e, n in zip(answer.values, expected.values, names)]

    if case.gradient:
        if answer.gradient is None:
            return Fault("your result has no gradient", "gradient")
        pairs.append((answer.gradient, expected.gradient, "the gradient", "gradient"))

    for i, (got, wanted, name, kind) in enumerate(pairs):
        i = 0 if kind == "gradient" else i

        bad = ~torch.isfinite(got.double())
        if bad.any() and torch.isfinite(wanted.double()).all():
            index = tuple(bad.nonzero()[0].tolist())
            text = f"{name}{_at(index)} is {float(got[index])}"
            return Fault(text, "finite", i, index, _rows(wanted))

        if case.only_finite:
            continue

        wrong = ~close(got, wanted)
        if wrong.any():
            # Where it is worst.
            gap = torch.where(wrong, (got.double() - wanted.double()).abs(), -1.0)
            # NumPy's, as torch.unravel_index imports sympy first, which takes seconds.
            index = tuple(int(n) for n in np.unravel_index(int(gap.argmax()), gap.shape))
            text = f"{name}{_at(index)} is {number(got[index])}; expected {number(wanted[index])}"
            return Fault(text, kind, i, index, _rows(wanted))
    return None


def _rows(tensor: Tensor) -> int:
    return len(tensor) if tensor.ndim else 0


def agree(case: Case, one: Answer, other: Answer) -> bool:
    """Whether two answers are the same, be they right or wrong."""
    if one.trouble and other.trouble:
        # An exception counts as the same if its type is: "your function raises KeyError: …".
        names = [trouble.message.split(":")[0] for trouble in (one.trouble, other.trouble)]
        if one.trouble.kind != other.trouble.kind or names[0] != names[1]:
            return False
    elif one.trouble or other.trouble:
        return False

    # Values there may be in spite of a trouble: a missing gradient leaves them.
    if one.changed != other.changed or len(one.values) != len(other.values):
        return False

    # What is compared number by number: the values, and the gradient where it was asked for.
    pairs = list(zip(one.values, other.values))
    if case.gradient and not one.trouble:
        if (one.gradient is None) != (other.gradient is None):
            return False
        if one.gradient is not None:
            pairs.append((one.gradient, other.gradient))

    for a, b in pairs:
        if a.shape != b.shape or _kind(a) != _kind(b):
            return False

        if case.only_finite:
            if not torch.equal(torch.isfinite(a), torch.isfinite(b)):
                return False
        elif not (close(a, b) | (_beyond(a) & _beyond(b))).all():
            return False
    return True


def close(got: Tensor, wanted: Tensor) -> Tensor:
    """Element by element: equal within the tolerance; NaN equals NaN, whole numbers are exact."""
    if _kind(wanted) != "float":
        return got == wanted
    got, wanted = got.double(), wanted.double()
    return torch.isclose(got, wanted, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)


def _beyond(values: Tensor) -> Tensor:
    """Not a number, or so large that it comes from a division by an epsilon, whatever its size."""
    return ~(values.double().abs() < BEYOND)


def number(value: Tensor) -> str:
    """A scalar for people: four decimals, or as it is if it is a whole number or a truth value."""
    return f"{float(value):.4f}" if _kind(value) == "float" else str(value.item())


def _at(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""


def _kind(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    return "float" if tensor.is_floating_point() else "int"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
