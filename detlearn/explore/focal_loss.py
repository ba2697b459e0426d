"""Focal loss beside cross-entropy: the curves of an answer, and whose gradient fills a sum."""

from __future__ import annotations

import torch

from detlearn.explore.page import Explorable
from detlearn.losses import sigmoid_focal_loss

STILL_GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)

# What a detector of one image may be like: nearly all answers are no, and are known to be.
LEARNT = {"negatives": 100_000, "easy": 0.02, "positives": 20, "hard": 0.3}
# Its first step: every answer has the score that the last bias gives it.
FIRST_STEP = {"negatives": 100_000, "easy": 0.01, "positives": 20, "hard": 0.01}
# Only a few answers: nothing drowns.
BALANCED = {"negatives": 20, "easy": 0.3, "positives": 20, "hard": 0.7}


def focal_loss(*, gamma: float = 2.0, alpha: float | None = 0.25) -> Explorable:
    """Return the figure of focal loss: γ, α, many easy negatives, a few hard positives.

    Two charts show the loss of one answer and the size of its gradient (by the logit) against the
    score, under cross-entropy and under the focal loss. Bars show whose the sum is: easy negatives'
    or hard positives'.

    Args:
        gamma: at the beginning, 0 … 5.
        alpha: likewise, between 0 and 1; None for no weights.

    Raises:
        ValueError: for a gamma or an alpha outside its range.
    """
    if not 0 <= gamma <= 5:
        raise ValueError(f"gamma is {gamma}: the slider goes from 0 to 5")
    if alpha is not None and not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}: expected a weight between 0 and 1, or None for none")

    return Explorable(
        name="focal_loss",
        title="Focal loss: whose gradient fills the sum",
        description=(
            "Many easy negatives and a few hard positives, their numbers and scores by slider. "
            "Bars tell which share of the summed gradient, or loss, is whose: under "
            "cross-entropy, and under the focal loss with the chosen exponent gamma and weight "
            "alpha. Two charts show the loss of one answer and the size of its gradient against "
            "its score, a table has the numbers."
        ),
        data={
            "presets": [
                ["much is learnt", LEARNT],
                ["the first step", FIRST_STEP],
                ["as many of each", BALANCED],
            ],
            "state": {
                "gamma": gamma,
                "weighted": alpha is not None,
                "alpha": 0.25 if alpha is None else alpha,
                **LEARNT,
                "measure": "gradient",
                "axis": "linear",
            },
        },
        still=_still(),
    )


def _still() -> str:
    """Draw the loss of a positive against its score for some γ: figure 1 of the paper."""
    left, top, width, height, highest = 40, 10, 330, 190, 4.0
    score = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)

    lines = ""
    for gamma in STILL_GAMMAS:
        loss = sigmoid_focal_loss(score.logit(), torch.ones_like(score), alpha=-1, gamma=gamma)
        shown = loss <= highest
        points = " ".join(
            f"{left + width * p:.1f},{top + height * (1 - value / highest):.1f}"
            for p, value in zip(score[shown].tolist(), loss[shown].tolist())
        )
        dashes = ' stroke-dasharray="5 4"' if gamma == 0 else ""
        lines += (
            f'<polyline points="{points}" fill="none" stroke="var(--orange)" '
            f'stroke-width="1.8"{dashes}/>'
        )

    ticks = "".join(
        f'<text x="{left - 8}" y="{top + height * (1 - value / highest) + 4:g}" '
        f'text-anchor="end">{value}</text>'
        for value in range(5)
    ) + "".join(
        f'<text x="{left + width * value:g}" y="{top + height + 16}" '
        f'text-anchor="middle">{value:g}</text>'
        for value in (0, 0.5, 1)
    )
    return f"""\
<svg viewBox="0 0 380 250" width="380" role="img" aria-label="The loss of a positive falls with \
its score, the faster, the larger gamma">
<path class="grid" d="M{left} {top}V{top + height}H{left + width}"/>{lines}{ticks}
<text x="{left + width / 2:g}" y="{top + height + 34}" text-anchor="middle">score of a positive; \
its loss for γ = 0 (dashed), 0.5, 1, 2 and 5</text></svg>"""
