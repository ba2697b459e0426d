"""Maps and objects to ask about, for the exercises of this chapter."""

from __future__ import annotations

import torch
from torch import Tensor

from detlearn.check.boxes import random_boxes
from detlearn.models.point import grid_points


def levels_of(size: int, strides: tuple[int, ...]) -> tuple[Tensor, Tensor, list[int]]:
    """Return the locations of all levels of a square image.

    Args:
        size: pixels of the image's side, a multiple of the strides.
        strides: of each level.

    Returns:
        points (P, 2), strides (P,) float32, and how many locations each level has.
    """
    points = [grid_points(size // s, size // s, s).flatten(0, 1) for s in strides]
    counts = [len(level) for level in points]
    every = torch.cat([torch.full((n,), float(s)) for s, n in zip(strides, counts)])
    return torch.cat(points), every, counts


def small_scene(number: int, random: torch.Generator, size: float = 64.0) -> Tensor:
    """Return boxes (N, 4), every third of them inside the one before.

    Their corners lie on odd eighths of a pixel, where no location is and none is just as far from a
    centre as a radius of a few strides.
    """
    boxes = random_boxes(number, random, size, 6)
    for i in range(2, number, 3):
        low, high = boxes[i - 1, :2].clone(), boxes[i - 1, 2:].clone()
        cut = torch.tensor([0.2, 0.3]) * (high - low)
        boxes[i] = torch.cat((low + cut, high - 0.9 * cut))
    return (boxes * 4).round() / 4 + torch.tensor([0.125, 0.125, 0.0625, 0.0625])
