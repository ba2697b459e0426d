"""Which of two detectors is quicker: what rounds of measurements say, one after the other."""

from __future__ import annotations

from torch import Tensor


def relative_latency(times: Tensor, warm_rounds: int) -> Tensor:
    """Return how many times as long each detector takes as the first.

    In a round every detector is called once, so what slows the machine for a while slows all of a
    round, and falls out of their quotient. The median is untouched by a pause that meets one call.

    Args:
        times: (R, D) milliseconds, R rounds of D detectors (one or more).
        warm_rounds: of the R, the first, which do not count: in them memory is allocated and
            kernels are chosen. Fewer than R.

    Returns:
        (D,) the median over the rounds that count of a detector's time divided by the first
        detector's time in the same round; of an even number of rounds the mean of the two in the
        middle. The first number is 1.
    """
    counted = times[warm_rounds:]
    ratios = counted / counted[:, :1]  # (R − warm_rounds, D), each round by its own first
    return ratios.quantile(0.5, dim=0)
