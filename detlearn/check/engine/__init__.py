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
from detlearn.check.engine.hunt import Hunt, handed_in

__all__ = [
    "SEED",
    "STATE",
    "Exercise",
    "Hunt",
    "Misconception",
    "NotSolved",
    "Own",
    "ask",
    "expected_answer",
    "handed_in",
    "judge",
]
