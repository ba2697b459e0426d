"""From a wrong answer to the mistake behind it.

A known misconception is recognised by computing what it would return and comparing, never by
reading the learner's source. A wrong diagnosis is worse than none, so a mistake is called by its
name only if nothing speaks against it; where the evidence is thin, the sentence says so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detlearn.check.engine.cases import Answer, Case, Fault, agree, fault
from detlearn.check.engine.forms import tensors_in

LOOKS_LIKE = "this looks like: "
# After these there is no answer that could be compared.
STOPPED = ("timeout", "memory", "exit", "died")
# These sentences say themselves what came instead of numbers.
NO_NUMBERS = ("none", "type")


class Misconception:
    """A wrong answer that many people give.

    Attributes:
        hint: the sentence that names the mistake and says what to do.
        functions: each computes what the mistake would return, in one of its variants.
    """

    def __init__(self, hint: str, *functions: Callable) -> None:
        if not functions:
            raise ValueError(f"a misconception needs a function that makes it: {hint!r}")

        self.hint = hint
        self.functions = functions


@dataclass(frozen=True)
class Asked:
    """Everything that is known about a function that was asked and found wrong.

    Attributes:
        cases: what was asked.
        answers: what came back, as many as there are or fewer.
        expected: the right answers.
        faults: what is wrong with each answer, or None.
        returns: what each returned tensor is called.
        said: what a function of the package answers to a case, given its place.
    """

    cases: Sequence[Case]
    answers: Sequence[Answer]
    expected: Sequence[Answer]
    faults: Sequence[Fault | None]
    returns: tuple[str, ...]
    said: Callable[[Callable, int], Answer]


def diagnose(
    misconceptions: Sequence[Misconception],
    asked: Asked,
    clue: Callable[[Asked], str] = lambda asked: "",
) -> str:
    """The hint of the misconception that returns what the learner's function returned.

    The hint is given as it is only if one misconception alone agrees with the function on every
    case and two of the failing ones tell different things. Otherwise "this looks like: …"
    introduces it.

    Args:
        misconceptions: the known ones, the likeliest first.
        asked: cases, answers and faults.
        clue: says where to look if no misconception fits all answers, or "".

    Returns:
        The hint, or "" if no misconception fits and there is no clue.
    """
    kinds = [answer.trouble.kind if answer.trouble else "" for answer in asked.answers]
    # Cases that only count steps are no evidence, nor are those that were stopped.
    compared = [
        i for i, kind in enumerate(kinds) if kind not in STOPPED and not asked.cases[i].size
    ]
    failing = [i for i in compared if asked.faults[i]]

    # What is shown is the first fault; if that is none of these, the hint would be about another.
    if not failing or any(asked.faults[: failing[0]]):
        return ""

    # A misconception that fits everywhere, and no other with it.
    fitting = [
        (known, evidence)
        for known in misconceptions
        if (evidence := _most_evidence(known, asked, compared, failing))
    ]
    if fitting:
        known, evidence = fitting[0]
        certain = len({known.hint for known, _ in fitting}) == 1 and _tells(asked, evidence)
        return known.hint if certain else LOOKS_LIKE + known.hint

    # A fact about all answers is worth more than a likeness of some.
    if found := clue(asked):
        return found

    # One that fits on the lowest rung that fails: the function has a second mistake elsewhere.
    rung = asked.cases[failing[0]].rung
    lowest = [i for i in compared if asked.cases[i].rung == rung]
    for known in misconceptions:
        if _most_evidence(known, asked, lowest, [i for i in failing if i in lowest]):
            return LOOKS_LIKE + known.hint
    return ""


def _most_evidence(
    known: Misconception,
    asked: Asked,
    compared: Sequence[int],
    failing: Sequence[int],
) -> list[int]:
    """The failing cases on which a variant of a misconception is wrong in the learner's way.

    Args:
        known: the misconception.
        asked: cases, answers and faults.
        compared: the cases on which the two must agree, all of them.
        failing: those in which the learner's function is wrong.

    Returns:
        Empty if no variant agrees everywhere; of several that do, the longest list.
    """
    most: list[int] = []
    for function in known.functions:
        # The failing ones first: there most misconceptions differ at once.
        ordered = [*failing, *(i for i in compared if i not in failing)]
        said = functools.partial(asked.said, function)
        if not all(agree(asked.cases[i], asked.answers[i], said(i)) for i in ordered):
            continue

        evidence = [i for i in failing if _is_evidence(asked, i, said(i))]
        most = max(most, evidence, key=len)
    return most


def _is_evidence(asked: Asked, i: int, other: Answer) -> bool:
    """Whether it means something that two answers agree on a failing case."""
    answer = asked.answers[i]
    case = asked.cases[i]

    # That both raise on the same input is none: many a mistake does on an empty list. That both
    # return the same emptiness is none either.
    if answer.trouble and answer.trouble.kind in NO_NUMBERS:
        return not _is_empty(case.args)
    if not any(value.numel() for value in answer.values):
        return False

    # The misconception must be wrong here as well: the values of a right formula in the wrong
    # dtype agree with every misconception that is right on this case.
    return fault(case, other, asked.expected[i], asked.returns) is not None


def _is_empty(args: Sequence[object]) -> bool:
    return any(tensor.numel() == 0 for tensor in tensors_in(list(args)))


def _tells(asked: Asked, evidence: Sequence[int]) -> bool:
    """Whether two of the cases have different inputs and different answers."""
    return any(
        _inputs_differ(asked.cases[i], asked.cases[j]) and _answers_differ(asked, i, j)
        for i in evidence
        for j in evidence
        if i < j
    )


def _inputs_differ(one: Case, other: Case) -> bool:
    return _differ(one.args, other.args) or not _same(one.keywords, other.keywords)


def _answers_differ(asked: Asked, i: int, j: int) -> bool:
    one, other = asked.answers[i], asked.answers[j]
    if one.trouble and one.trouble.kind in NO_NUMBERS:
        return True  # there are no numbers that could differ
    return _differ(one.values, other.values)


def _differ(one: Sequence[object], other: Sequence[object]) -> bool:
    if len(one) != len(other):
        return True
    return any(not _same(a, b) for a, b in zip(one, other))


def _same(a: object, b: object) -> bool:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        if type(a) is not type(b):
            return False
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
        return not _differ(a, b) if isinstance(a, (list, tuple)) else a == b
    # The same up to rounding: boxes eight times as large have the same IoU.
    return a.shape == b.shape and torch.allclose(
        a.double(), b.double(), rtol=1e-4, atol=1e-5, equal_nan=True
    )


def generic_hint(case: Case, answer: Answer, found: Fault) -> str:
    """What to look at when no known misconception fits."""
    empty = _is_empty(case.args)

    if answer.trouble and answer.trouble.kind == "signature":
        return (
            f"the check calls it with {len(case.args) + len(case.keywords)} arguments; keep the "
            "first line of the stub"
        )
    if answer.trouble and answer.trouble.kind == "exception" and empty:
        return "check for an empty list first; what should come back then?"
    if answer.trouble and answer.trouble.kind == "exception":
        return _exception_hint(answer.trouble.message)

    if found.kind == "dtype":
        return _dtype_hint(found.text, empty)

    if found.kind == "finite" and any(map(_has_nan, case.args)):
        return (
            "what is given holds NaN where nothing is to be read, and 0 · NaN is NaN: leave these "
            "entries out before you compute with them"
        )
    if found.kind == "finite":
        return (
            "such a number comes from dividing by zero, from the logarithm of zero or from the "
            "root of a negative number; which is it here?"
        )

    if found.kind == "gradient":
        return "the values are right, their gradient is not; is a part detached, or should one be?"

    if case.rung == "property" and found.kind == "value":
        return (
            "before its input was changed like this the answer was right; what in your function "
            "notices the change?"
        )
    return ""


def _has_nan(value: object) -> bool:
    return isinstance(value, Tensor) and bool(value.isnan().any())


def _exception_hint(message: str) -> str:
    # The rows of a tensor (N, 4) taken for its columns.
    if "values to unpack (expected 4" in message:
        return (
            "a tensor (N, 4) unpacks into its N rows, one for each box; its four columns are "
            "boxes.unbind(1)"
        )

    # torch.topk asked for more than there are.
    if "selected index k out of range" in message:
        return "there are fewer entries than topk asks for: take min(k, their number)"

    return ""


def _dtype_hint(text: str, empty: bool) -> str:
    if empty and "float32; expected int64" in text:
        return "torch.tensor of an empty list is float32; name the dtype, as in dtype=torch.int64"

    if "float64; expected float32" in text:
        return (
            "the chapter goes on in float32, and the two do not mix everywhere: end with .float(), "
            "or name the dtype where numpy or Python's numbers become a tensor"
        )

    if "expected bool" in text:
        return "True and False are asked for: name the dtype, dtype=torch.bool, or end with .bool()"
    if "expected int64" in text:
        return "indices and labels are int64, which is what they index with: end with .long()"

    return ""
