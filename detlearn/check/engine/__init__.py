"""How an exercise is asked, judged and shown; the exercises lie in the chapters' folders."""

from detlearn.check.engine.diagnosis import Misconception
from detlearn.check.engine.exercise import (
    SEED,
    STATE,
    Exercise,
    NotSolved,
    Own,
    ask,
    expected_answer,
    judge,
)

__all__ = [
    "SEED",
    "STATE",
    "Exercise",
    "Misconception",
    "NotSolved",
    "Own",
    "ask",
    "expected_answer",
    "judge",
]
