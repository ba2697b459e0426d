"""Which term of a loss is heard: the gradients of several terms at weights that they share."""

from __future__ import annotations

import torch
from torch import Tensor


def gradient_shares(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much each term of a loss pulls at shared weights, and which way.

    Args:
        gradients: (T, P), of T terms of a loss with respect to P weights.

    Returns:
        shares (T,): the length of each row divided by the sum of all lengths, 0 if all are 0; and
        cosines (T, T): of the angles between rows, 0 where one of the two has the length 0.
    """
    lengths = gradients.norm(dim=1)
    total = lengths.sum()
    shares = lengths / torch.where(total > 0, total, 1.0)

    # A row of length 0 has no direction; it stays 0.
    directions = gradients / torch.where(lengths > 0, lengths, 1.0)[:, None]
    return shares, directions @ directions.T
