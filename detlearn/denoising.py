"""Denoising queries: objects with noise on them, which a decoder learns to clean.

DN-DETR (Li et al. 2022, arXiv 2203.01305). In the beginning of DETR's training the matching changes
from step to step, and a query that was to find one object is to find another the next time. So
queries that need no matching are trained beside the others: each starts from the box and the class
of an object, a little wrong, and is to answer with the true ones. A decoder that can do this has
learnt the second half of its task, from a place near an object to the object's box. In detecting
there are no such queries.

Shapes: B images, N objects of the image with the most, K classes, G groups; D = G · N denoising
queries, group after group. Boxes are cxcywh in [0, 1], as shares of the image.

Where we differ from the paper:
    - Noisy centres are kept in [0, 1] and sides in [`SMALLEST`, 1], since an inverse sigmoid is
      taken of them afterwards.
    - The queries of `noisy_objects` are meant for a decoder pass of their own, after that of the
      matching queries. So they do not see the matching ones, which the paper allows;
      `blocked_pairs` makes the paper's mask for one pass of both, too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Sides of a noisy box are at least this share of the image.
SMALLEST = 1e-3


class NoisyObjects(NamedTuple):
    """Queries made of objects, and what they are to find.

    Attributes:
        labels: (B, D) int64, the class that each is said to be.
        boxes: (B, D, 4) cxcywh, where each is said to be.
        objects: (B, D) int64, the object that each is to find, or −1 for padding.
        blocked: (D, D) bool, which queries (rows) must not look at which (columns).
    """

    labels: Tensor
    boxes: Tensor
    objects: Tensor
    blocked: Tensor


@torch.no_grad()
def noisy_objects(
    boxes: Tensor,
    labels: Tensor,
    real: Tensor,
    num_classes: int,
    *,
    num_groups: int = 5,
    box_noise: float = 0.4,
    label_noise: float = 0.2,
) -> NoisyObjects:
    """Make G groups of denoising queries of the objects of a batch.

    Li et al. 2022, §4.3. Each group holds all objects of an image once, with noise of its own.

    Args:
        boxes: (B, N, 4) cxcywh in [0, 1], padded; see `detlearn.models.base.pad_targets`.
        labels: (B, N) int64.
        real: (B, N) bool, which of them are no padding.
        num_classes: K.
        num_groups: G.
        box_noise: λ of `shift_and_scale`.
        label_noise: probability with which a label is replaced, see `flip_labels`.

    Returns:
        The queries. Random numbers come from torch's global generator.

    Raises:
        ValueError: for shapes that do not fit, or noise that cannot be.
    """
    _check_padded(boxes, labels, real)
    _check_noise(num_groups, box_noise, label_noise)
    num_objects = boxes.shape[1]

    noisy_boxes = shift_and_scale(boxes.repeat(1, num_groups, 1), box_noise)  # (B, D, 4)
    noisy_labels = flip_labels(labels.repeat(1, num_groups), num_classes, label_noise)  # (B, D)

    # The object of every query of a group is the one at its place.
    places = torch.arange(num_objects, device=real.device).expand_as(real)  # (B, N)
    objects = places.masked_fill(~real, -1).repeat(1, num_groups)  # (B, D)

    blocked = blocked_pairs(num_groups, num_objects, device=real.device)  # (D, D)
    return NoisyObjects(noisy_labels, noisy_boxes, objects, blocked)


def shift_and_scale(boxes: Tensor, noise: float) -> Tensor:
    """Move boxes and change their sides.

    A centre moves by less than λ/2 of the width and height, so that it stays inside the box; sides
    become 1 − λ to 1 + λ times as long (§4.3, where λ₁ of centres and λ₂ of sides are both 0.4).

    Args:
        boxes: (..., 4) cxcywh in [0, 1].
        noise: λ in [0, 1).

    Returns:
        (..., 4) cxcywh, centres in [0, 1], sides in [`SMALLEST`, 1].
    """
    centres, sides = boxes.split(2, dim=-1)  # (..., 2) twice
    shift = 2 * torch.rand_like(centres) - 1  # in [−1, 1)
    scale = 2 * torch.rand_like(sides) - 1

    centres = centres + shift * noise * sides / 2
    sides = sides * (1 + scale * noise)
    return torch.cat((centres.clamp(0, 1), sides.clamp(SMALLEST, 1)), dim=-1)


def flip_labels(labels: Tensor, num_classes: int, probability: float) -> Tensor:
    """Replace some labels by a class drawn from all K, which may be the true one again.

    Args:
        labels: (...) int64.
        num_classes: K.
        probability: γ, with which a label is replaced (§4.3).

    Returns:
        (...) int64.
    """
    replaced = torch.rand(labels.shape, device=labels.device) < probability
    drawn = torch.randint_like(labels, num_classes)
    return torch.where(replaced, drawn, labels)


def blocked_pairs(
    num_groups: int,
    group_size: int,
    num_matching: int = 0,
    device: torch.device | None = None,
) -> Tensor:
    """Return which queries must not look at which in the decoder's self-attention.

    A denoising query knows nearly where an object is. A matching query that saw it would have no
    need to search; and two noisy versions of an object tell more of it than one. So matching
    queries see no denoising query, and groups do not see each other. Denoising queries may see the
    matching ones, which know nothing of the truth (§4.4).

    Args:
        num_groups: G.
        group_size: N, queries of a group.
        num_matching: Q, queries that are matched; they stand behind the groups.
        device: where to make it.

    Returns:
        (G·N + Q, G·N + Q) bool; row i, column j: query i must not look at query j.
    """
    groups = torch.arange(num_groups, device=device).repeat_interleave(group_size)  # (G·N,)
    matching = torch.full((num_matching,), -1, device=device)
    group = torch.cat((groups, matching))  # (G·N + Q,), of each query; −1 for no group

    is_denoising = group >= 0
    return is_denoising[None, :] & (group[:, None] != group[None, :])


# ---- what comes in ----


def _check_padded(boxes: Tensor, labels: Tensor, real: Tensor) -> None:
    if boxes.ndim != 3 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes must have shape (B, N, 4), got {tuple(boxes.shape)}")
    if labels.shape != boxes.shape[:2] or real.shape != boxes.shape[:2]:
        raise ValueError(
            f"labels and real must have one entry for each of the boxes, {tuple(boxes.shape[:2])}, "
            f"got {tuple(labels.shape)} and {tuple(real.shape)}"
        )


def _check_noise(num_groups: int, box_noise: float, label_noise: float) -> None:
    if num_groups < 1:
        raise ValueError(f"num_groups is {num_groups}: expected at least one group")
    if not 0 <= box_noise < 1:
        raise ValueError(f"box_noise is {box_noise}: expected a share of the sides in [0, 1)")
    if not 0 <= label_noise <= 1:
        raise ValueError(f"label_noise is {label_noise}: expected a probability in [0, 1]")
