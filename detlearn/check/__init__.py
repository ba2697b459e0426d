"""Exercise checks: hand a function to a check, read the verdict, go on with what it returns.

    from detlearn import check

    giou_loss = check.giou_loss(giou_loss)   # ⏳, ✅ or ❌; gives back yours or the package's
    check.progress()                         # what is done
    check.solution("giou_loss")              # the package's own source

With ``DETLEARN_STRICT=1`` anything but ✅ raises `NotSolved`.
"""

from __future__ import annotations

from html import escape

from detlearn.check.engine import STATE, Exercise, NotSolved
from detlearn.check.engine.display import SIGNS
from detlearn.check.foundations.box_iou import BOX_IOU as box_iou
from detlearn.check.foundations.curves import AVERAGE_PRECISION as average_precision
from detlearn.check.foundations.curves import PRECISION_RECALL as precision_recall
from detlearn.check.foundations.nms import NMS as nms
from detlearn.check.foundations.true_positives import TRUE_POSITIVES as true_positives
from detlearn.check.iou_losses.box_losses import CIOU as ciou_loss
from detlearn.check.iou_losses.box_losses import DIOU as diou_loss
from detlearn.check.iou_losses.box_losses import GIOU as giou_loss
from detlearn.check.iou_losses.soft_nms import SOFT_NMS as soft_nms
from detlearn.check.two_stage.bilinear_sample import BILINEAR_SAMPLE as bilinear_sample
from detlearn.check.two_stage.decode_deltas import DECODE_DELTAS as decode_deltas
from detlearn.check.two_stage.encode_deltas import ENCODE_DELTAS as encode_deltas
from detlearn.check.two_stage.make_anchors import MAKE_ANCHORS as make_anchors
from detlearn.check.two_stage.match_anchors import MATCH_ANCHORS as match_anchors
from detlearn.check.two_stage.propose import PROPOSE as propose
from detlearn.explore import source

EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        *(box_iou, nms, true_positives, precision_recall, average_precision),
        *(make_anchors, match_anchors, encode_deltas),
        *(decode_deltas, propose, bilinear_sample),
        *(giou_loss, diou_loss, ciou_loss, soft_nms),
    )
}

__all__ = ["EXERCISES", "NotSolved", "progress", "solution", *EXERCISES]


LEFT = 'style="text-align: left"'  # JupyterLab sets table cells to the right


class Progress:
    """The state of every exercise, as a table."""

    def __init__(self, states: dict[str, str]) -> None:
        self.states = states

    def _rows(self) -> list[tuple[str, str, str]]:
        return [
            (SIGNS[self.states.get(name, "todo")], exercise.number, name)
            for name, exercise in EXERCISES.items()
        ]

    def __repr__(self) -> str:
        done = sum(state == "right" for state in self.states.values())
        rows = [f"{sign} {number:4} {name}" for sign, number, name in self._rows()]
        return "\n".join([f"{done} of {len(EXERCISES)} exercises are right", *rows])

    def _repr_html_(self) -> str:
        head = repr(self).splitlines()[0]
        cells = "".join(
            f"<tr><td>{sign}</td><td>{number}</td><td {LEFT}><code>{name}</code></td></tr>"
            for sign, number, name in self._rows()
        )
        return f'<div class="detlearn-check"><div>{head}</div><table>{cells}</table></div>'


class Solution:
    """Source code behind a fold."""

    def __init__(self, name: str, code: str) -> None:
        self.name, self.code = name, code

    def __repr__(self) -> str:
        return self.code

    def _repr_html_(self) -> str:
        return (
            f"<details><summary>Solution: <code>{self.name}</code></summary>"
            f"<pre>{escape(self.code)}</pre></details>"
        )


def progress() -> Progress:
    """What is done since the kernel started."""
    return Progress(dict(STATE))


def solution(name: str) -> Solution:
    """The package's own source for an exercise, folded on the page.

    Args:
        name: of the exercise, such as "giou_loss".

    Returns:
        An object that displays itself.

    Raises:
        ValueError: if there is no such exercise; the message lists those that are there.
    """
    if name not in EXERCISES:
        raise ValueError(f"no exercise is called {name!r}; there are: {', '.join(EXERCISES)}")
    exercise = EXERCISES[name]
    return Solution(name, source(*(exercise.solution or (exercise.reference,))).code)
