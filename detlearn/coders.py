"""From a box to the four numbers that a network predicts for it, and back.

A network does not predict pixels. It predicts how a box it knows (an anchor, a proposal) must be
moved and stretched to lie on the object: the *deltas* (dx, dy, dw, dh). They are shares of the
known box's size, so that one weight serves large and small boxes alike.

With centre (x, y), width w and height h of the object's box, and x_a, y_a, w_a, h_a of the known
one:

    dx = (x − x_a) / w_a    dy = (y − y_a) / h_a    dw = ln(w / w_a)    dh = ln(h / h_a)

Sources: Girshick et al. 2014 (arXiv 1311.2524), appendix C; Ren et al. 2015 (arXiv 1506.01497),
eq. 2.
The weights, by which the deltas are multiplied, are the inverse standard deviations of Fast R-CNN's
code: 1 for the RPN, (10, 10, 5, 5) for the second stage.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from detlearn.boxes import box_convert

# Factor 62.5: from a box of 16 pixels to an image of 1000 (the authors' later code, Detectron).
LARGEST_STRETCH = math.log(1000 / 16)


class BoxCoder:
    """Encodes boxes relative to other boxes.

    Args:
        weights: what dx, dy, dw and dh are multiplied with.
        bbox_xform_clip: decoded dw and dh are at most this, so that one wild prediction does not
            make a box of infinite size. There is no lower limit.
    """

    def __init__(
        self,
        weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        bbox_xform_clip: float = LARGEST_STRETCH,
    ) -> None:
        if len(weights) != 4 or not all(weight > 0 for weight in weights):
            raise ValueError(f"weights are {weights}: expected four positive numbers")
        self.weights = tuple(weights)
        self.bbox_xform_clip = bbox_xform_clip

    def encode(
        self, reference_boxes: Tensor | Sequence[Tensor], proposals: Tensor | Sequence[Tensor]
    ) -> Tensor | list[Tensor]:
        """Say how each proposal must be moved to become its reference box.

        Args:
            reference_boxes: (N, 4) xyxy, the boxes to reach; or a list of such, one per image.
            proposals: (N, 4) xyxy, where they start; both with positive width and height.

        Returns:
            (N, 4) deltas dx, dy, dw, dh; or a list of such.

        Raises:
            ValueError: if the shapes differ or do not end in 4.
        """
        if not isinstance(reference_boxes, Tensor):
            return [self.encode(*pair) for pair in zip(reference_boxes, proposals, strict=True)]
        if reference_boxes.shape != proposals.shape or proposals.shape[-1:] != (4,):
            raise ValueError(
                f"reference_boxes {tuple(reference_boxes.shape)} and proposals "
                f"{tuple(proposals.shape)}: expected (N, 4) twice"
            )
        centre, size = box_convert(reference_boxes, "xyxy", "cxcywh").split(2, dim=-1)
        from_centre, from_size = box_convert(proposals, "xyxy", "cxcywh").split(2, dim=-1)
        moved = (centre - from_centre) / from_size  # (N, 2)
        stretched = (size / from_size).log()  # (N, 2)
        return torch.cat([moved, stretched], dim=-1) * proposals.new_tensor(self.weights)

    def decode(self, rel_codes: Tensor, boxes: Tensor | Sequence[Tensor]) -> Tensor:
        """Move boxes by deltas: the inverse of `encode`.

        Args:
            rel_codes: (..., 4) deltas, times the weights; or, with a list of boxes, (N, K·4).
            boxes: (..., 4) xyxy, a shape that broadcasts with the deltas', for instance (N, 1, 4)
                with (N, K, 4). torchvision's form, a list of boxes per image, N in all, is taken
                too.

        Returns:
            (..., 4) xyxy; (N, K, 4) with a list of boxes.

        Raises:
            ValueError: if a shape does not end in 4.
        """
        if not isinstance(boxes, Tensor):
            boxes = torch.cat(list(boxes))[:, None]  # (N, 1, 4)
            rel_codes = rel_codes.reshape(len(boxes), rel_codes.shape[-1] // 4, 4)
        if rel_codes.shape[-1:] != (4,) or boxes.shape[-1:] != (4,):
            raise ValueError(
                f"deltas {tuple(rel_codes.shape)} and boxes {tuple(boxes.shape)}: expected (..., 4)"
            )
        move, stretch = (rel_codes / rel_codes.new_tensor(self.weights)).split(2, dim=-1)
        half = (boxes[..., 2:] - boxes[..., :2]) / 2
        centre = boxes[..., :2] + half + move * (2 * half)
        half = half * stretch.clamp(max=self.bbox_xform_clip).exp()
        return torch.cat([centre - half, centre + half], dim=-1)
