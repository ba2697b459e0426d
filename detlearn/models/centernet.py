"""CenterNet: an object is a point.

One map of stride 4. Each of its locations says for each class whether the centre of an object lies
in it, how wide and high that object is, and where in the location the centre lies. An object is
learnt at one location alone, and found as a peak of the heat map, without NMS.

Shapes: B images; K classes; N objects; a map of h × w locations, P = h·w, row by row; stride s in
pixels. A location (row i, column j) covers the pixels from (j·s, i·s) to ((j + 1)·s, (i + 1)·s).
Boxes are xyxy in pixels of the padded batch; sides, radii and offsets are in strides.

Names: ``gt_*`` are annotations, ``pred_*`` predictions, ``*_logits`` come before the sigmoid.

Sources: "Objects as Points" (Zhou et al. 2019, arXiv 1904.07850); the heat map's loss and the
radius of its Gaussians from CornerNet (Law and Deng 2018, arXiv 1808.01244, §3.2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.losses import at_least_float32

# ---- how far from a centre a peak would do no harm -----------------------------------------------


def gaussian_radius(sides: Tensor, min_overlap: float = 0.7) -> Tensor:
    """Return how far both corners of a box may move and leave it enough overlap with what it was.

    Corner by corner, x and y move by r. There are three ways to do that, and the IoU with the old
    box is the least allowed, t, where r solves a quadratic equation in s = w + h and a = w·h:

        both inward    (w − 2r)(h − 2r) / a = t                 4r² − 2s·r + (1 − t)·a = 0
        both outward   a / (w + 2r)(h + 2r) = t                 4t·r² + 2ts·r − (1 − t)·a = 0
        both alike     (w − r)(h − r) / (2a − (w − r)(h − r)) = t
                                                                r² − s·r + (1 − t) / (1 + t)·a = 0

    The radius is the least of the three (CornerNet, §3.2, which states the aim and no formula),
    which always is that of "both inward". (Where each side moves by up to r for itself, the IoU
    does not fall below t either, as the tests find.)

    Args:
        sides: (..., 2) width and height, in any unit.
        min_overlap: t, in (0, 1].

    Returns:
        (...) in the same unit.

    Raises:
        TypeError: if sides is no tensor.
        ValueError: for another shape, a negative side, or a min_overlap outside (0, 1].
    """
    total, area = _total_and_area(sides, min_overlap)
    t = min_overlap

    # Of the two roots of each equation the smaller positive one: there the IoU first falls to t.
    inward = (total - (total**2 - 4 * (1 - t) * area).sqrt()) / 4
    outward = (-total + (total**2 + 4 * (1 - t) / t * area).sqrt()) / 4
    alike = (total - (total**2 - 4 * (1 - t) / (1 + t) * area).sqrt()) / 2
    return torch.minimum(torch.minimum(inward, outward), alike)


def official_gaussian_radius(sides: Tensor, min_overlap: float = 0.7) -> Tensor:
    """Return the radius as CenterNet's code computes it, with which its results were published.

    It solves the equations of `gaussian_radius` by (b + √(b² − 4ac)) / 2, whatever a is and
    whichever root is meant. Two of the three so come out larger than the box, and the least is that
    of "both outward", 4t times as large as it should be: 2.8 times at t = 0.7. Compared with
    the radius that holds in all three cases it is 3.35 times as large for a square, and up to four
    times for a narrow box.

    Args, Raises: as for `gaussian_radius`.

    Returns:
        (...) in the same unit.
    """
    total, area = _total_and_area(sides, min_overlap)
    t = min_overlap

    equations = (
        (1, total, (1 - t) / (1 + t) * area),
        (4, 2 * total, (1 - t) * area),
        (4 * t, -2 * t * total, (t - 1) * area),
    )
    radii = [(b + (b**2 - 4 * a * c).sqrt()) / 2 for a, b, c in equations]
    return torch.stack(radii).amin(dim=0)


# ---- the heat map --------------------------------------------------------------------------------


@torch.no_grad()
def draw_gaussians(
    centres: Tensor, radii: Tensor, labels: Tensor, num_classes: int, height: int, width: int
) -> Tensor:
    """Draw one bump for each object on the map of its class; where two meet, the higher counts.

    An object's bump is a Gaussian of σ = (2⌊r⌋ + 1) / 6 around its centre's location, cut off where
    a location lies more than ⌊r⌋ columns or rows away.

    Args:
        centres: (N, 2) int64, column and row of each object's location; N may be 0.
        radii: (N,) r in locations.
        labels: (N,) int64 in 0 … K−1.
        num_classes: K.
        height: h, rows of the map.
        width: w, columns of the map.

    Returns:
        (K, h, w) in [0, 1], exactly 1 at each object's location.

    Raises:
        ValueError: for shapes that do not fit together, or a label that is none of the K.
    """
    _check_bumps(centres, radii, labels, num_classes)
    reach = at_least_float32(radii).floor()[:, None]  # (N, 1)
    sigma = (2 * reach + 1) / 6

    # A Gaussian is a function of the column times a function of the row, each 1 at its peak.
    along = []
    for centre, size in zip(centres.unbind(dim=1), (width, height)):
        distance = torch.arange(size, device=centres.device) - centre[:, None]  # (N, size)
        bump = torch.exp(-(distance**2) / (2 * sigma**2))
        along.append(bump * (distance.abs() <= reach))
    across, down = along  # (N, w), (N, h)
    bumps = down[:, :, None] * across[:, None, :]  # (N, h, w)

    heatmap = bumps.new_zeros(num_classes, height, width)
    rows = labels[:, None, None].expand_as(bumps)
    return heatmap.scatter_reduce_(0, rows, bumps, "amax")


def decode_detections(
    heatmap: Tensor, wh: Tensor, offset: Tensor, k: int = 100, *, stride: float = 4
) -> tuple[Tensor, Tensor, Tensor]:
    """Turn the k highest peaks of a heat map into boxes (Objects as Points, §4).

    A peak is a location whose score none of its eight neighbours exceeds. That replaces NMS: of a
    bump around a centre only the top is left. Where there are fewer than k peaks, other locations
    fill the list, with a score of 0.

    Args:
        heatmap: (B, K, h, w) scores in [0, 1].
        wh: (B, 2, h, w) width and height of the object of each location, in strides.
        offset: (B, 2, h, w) how far right and down of its location's corner its centre lies, in
            strides.
        k: detections of an image; of a small map all K·h·w.
        stride: s, pixels from one location to the next.

    Returns:
        Boxes (B, k', 4) xyxy in pixels, scores (B, k') and labels (B, k'), k' = min(k, K·h·w); the
        highest score first, of equal ones the first class, then row, then column.

    Raises:
        ValueError: for shapes that do not fit together, or a k or stride that is not above 0.
    """
    _check_maps(heatmap, wh, offset, k, stride)
    height, width = heatmap.shape[-2:]

    # Only peaks keep their score.
    highest_around = F.max_pool2d(heatmap, kernel_size=3, stride=1, padding=1)
    peaks = heatmap * (heatmap == highest_around)  # (B, K, h, w)

    # The k best over all classes and locations.
    scores, best = peaks.flatten(1).sort(dim=1, descending=True, stable=True)  # (B, K·h·w) twice
    scores, best = scores[:, :k], best[:, :k]  # (B, k')
    labels, place = best // (height * width), best % (height * width)

    # What their locations say of size and centre.
    column_and_row = torch.stack((place % width, place // width), dim=1)  # (B, 2, k')
    place = place[:, None].expand(-1, 2, -1)  # (B, 2, k')
    centres = (column_and_row + offset.flatten(2).gather(2, place)) * stride  # (B, 2, k')
    sides = wh.flatten(2).gather(2, place) * stride  # (B, 2, k')

    boxes = torch.cat((centres - sides / 2, centres + sides / 2), dim=1)  # (B, 4, k')
    return boxes.transpose(1, 2), scores, labels


# ---- what comes in -------------------------------------------------------------------------------


def _total_and_area(sides: Tensor, min_overlap: float) -> tuple[Tensor, Tensor]:
    """Return width + height and width · height of sides (..., 2), after a look at them."""
    if not isinstance(sides, Tensor):
        raise TypeError(f"sides must be a torch.Tensor (..., 2), got {type(sides).__name__}")
    if sides.ndim == 0 or sides.shape[-1] != 2:
        raise ValueError(f"sides has shape {tuple(sides.shape)}: expected (..., 2)")
    if not (sides >= 0).all():
        raise ValueError("sides holds a negative number or NaN: give widths and heights")
    if not 0 < min_overlap <= 1:
        raise ValueError(f"min_overlap is {min_overlap}: expected an IoU in (0, 1]")
    sides = at_least_float32(sides)
    return sides.sum(dim=-1), sides.prod(dim=-1)


def _check_bumps(centres: Tensor, radii: Tensor, labels: Tensor, num_classes: int) -> None:
    count = len(labels)
    if centres.shape != (count, 2) or radii.shape != (count,) or labels.shape != (count,):
        raise ValueError(
            f"centres {tuple(centres.shape)}, radii {tuple(radii.shape)} and labels "
            f"{tuple(labels.shape)} do not fit together: expected (N, 2), (N,) and (N,)"
        )
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(f"labels[{row}] = {int(labels[row])} is no label in 0 … {num_classes - 1}")


def _check_maps(heatmap: Tensor, wh: Tensor, offset: Tensor, k: int, stride: float) -> None:
    if heatmap.ndim != 4:
        raise ValueError(f"heatmap has shape {tuple(heatmap.shape)}: expected (B, K, h, w)")
    batch_size, _, height, width = heatmap.shape
    for name, tensor in (("wh", wh), ("offset", offset)):
        if tensor.shape != (batch_size, 2, height, width):
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}: expected "
                f"{(batch_size, 2, height, width)}, (B, 2, h, w) as the heat map's"
            )
    if k < 1 or stride <= 0:
        raise ValueError(f"k is {k} and stride {stride}: expected numbers above 0")
