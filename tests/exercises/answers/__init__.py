"""Answers to the exercises as students write them, wrong ones and right ones.

One file for each exercise. They are whole functions in the style of a reader who has the stub in
front of him; they call nothing of the package but what an exercise allows.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable


def right(function: Callable) -> Callable:
    """Marks an answer that must be accepted."""
    function.kind, function.phrase = "right", ""
    return function


def wrong(phrase: str) -> Callable[[Callable], Callable]:
    """Marks an answer that must be rejected with a verdict that contains the phrase."""

    def mark(function: Callable) -> Callable:
        function.kind, function.phrase = "wrong", phrase
        return function

    return mark


def slightly_off(function: Callable) -> Callable:
    """Marks an answer with an error of 0.1 %, which must be rejected whatever the hint."""
    function.kind, function.phrase = "slightly off", ""
    return function


def answers(exercise: str, kind: str) -> list[Callable]:
    """The answers of one kind to an exercise, in the order of the file.

    Args:
        exercise: such as "giou_loss".
        kind: "right", "wrong" or "slightly off".
    """
    module = importlib.import_module(f"{__name__}.{exercise}")
    # Beside a view, what is imported from another package may be missing, and says so if asked.
    functions = filter(inspect.isfunction, vars(module).values())
    return [each for each in functions if getattr(each, "kind", "") == kind]


def because(cause: str) -> Callable[[Callable], Callable]:
    """Marks the cause with which a cure is handed in; without it, the right one."""

    def mark(function: Callable) -> Callable:
        function.cause = cause
        return function

    return mark
