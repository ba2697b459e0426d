"""From a box to the four numbers that a network predicts for it, and back.

A network does not predict pixels. It predicts how a box it knows (an anchor, a proposal) must be
moved and stretched to lie on the object: the *deltas* (dx, dy, dw, dh). They are shares of the
known box's size, so that one weight serves large and small boxes alike.

With centre (x, y), width w and height h of the object's box, and x_a, y_a, w_a, h_a of the known
one:

    dx = (x − x_a) / w_a    dy = (y − y_a) / h_a    dw = ln(w / w_a)    dh = ln(h / h_a)

Detectors whose queries carry a box of their own, in shares of the image, correct it otherwise: they
add to the numbers that a sigmoid would turn into the box (`refine_boxes`).

Shapes: N boxes, ``...`` any leading dimensions. Boxes are xyxy in pixels, unless said otherwise.

Sources: Girshick et al. 2014 (arXiv 1311.2524), appendix C; Ren et al. 2015 (arXiv 1506.01497),
eq. 2. The weights, by which the deltas are multiplied, are the inverse standard deviations of Fast
R-CNN's code: 1 for the RPN, (10, 10, 5, 5) for the second stage. Refinement: Zhu et al. 2021,
"Deformable DETR" (arXiv 2010.04159), §4.2 and appendix A.4.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Factor 62.5: from a box of 16 pixels to an image of 1000 (the authors' later code, Detectron).
LARGEST_STRETCH = math.log(1000 / 16)


def encode_deltas(gt_boxes: Tensor, anchors: Tensor) -> Tensor:
    """Say how each anchor must be moved and stretched to become its object's box.

    Args:
        gt_boxes: (..., 4), the boxes to reach.
        anchors: (..., 4), where they start, one for each; both with positive width and height.

    Returns:
        (..., 4) dx, dy, dw, dh (Ren et al. 2015, eq. 2).
    """
    gt_size = gt_boxes[..., 2:] - gt_boxes[..., :2]  # (..., 2): width, height
    gt_centre = gt_boxes[..., :2] + gt_size / 2

    anchor_size = anchors[..., 2:] - anchors[..., :2]
    anchor_centre = anchors[..., :2] + anchor_size / 2

    move = (gt_centre - anchor_centre) / anchor_size  # (..., 2): dx, dy
    stretch = torch.log(gt_size / anchor_size)  # (..., 2): dw, dh
    return torch.cat((move, stretch), dim=-1)


def decode_deltas(
    deltas: Tensor, anchors: Tensor, largest_stretch: float = LARGEST_STRETCH
) -> Tensor:
    """Move and stretch anchors by deltas: the inverse of `encode_deltas`.

    Args:
        deltas: (..., 4) dx, dy, dw, dh.
        anchors: (..., 4), a shape that broadcasts with the deltas'.
        largest_stretch: dw and dh count as this at most; from below there is no limit.

    Returns:
        (..., 4) boxes.
    """
    anchor_size = anchors[..., 2:] - anchors[..., :2]  # (..., 2): width, height
    anchor_centre = anchors[..., :2] + anchor_size / 2

    # One wild prediction must not make a box of infinite size; LARGEST_STRETCH is ln(1000 / 16).
    move, stretch = deltas[..., :2], deltas[..., 2:].clamp(max=largest_stretch)

    centre = anchor_centre + move * anchor_size
    size = anchor_size * torch.exp(stretch)
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Return the number whose sigmoid is x: ln(x / (1 − x)).

    Args:
        x: (...), shares in [0, 1]; what lies outside counts as the nearer end.
        eps: x and 1 − x count as at least this. The ends would lead to −∞ and ∞.

    Returns:
        (...), between ln(eps) and −ln(eps), which is 11.5.
    """
    x = x.clamp(min=0, max=1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def refine_boxes(deltas: Tensor, references: Tensor) -> Tensor:
    """Correct boxes that are given in shares of the image, so that they stay inside [0, 1].

    The numbers behind the reference, those which a sigmoid turns into it, are moved by the deltas:

        box = σ(deltas + σ⁻¹(reference))

    A reference that is only a point moves the centre; width and height then are σ(deltas) alone.

    Args:
        deltas: (..., 4) for centre x, centre y, width, height.
        references: (..., 4) cxcywh in [0, 1], or (..., 2) only the centre x and y.

    Returns:
        (..., 4) boxes, cxcywh in [0, 1] (Zhu et al. 2021, appendix A.4).

    Raises:
        ValueError: if the deltas do not end in 4, or the references in neither 2 nor 4.
    """
    if deltas.shape[-1:] != (4,) or references.shape[-1:] not in ((2,), (4,)):
        raise ValueError(
            f"deltas {tuple(deltas.shape)} and references {tuple(references.shape)}: expected "
            "(..., 4), and (..., 4) boxes or (..., 2) points"
        )

    start = inverse_sigmoid(references)  # (..., 2 or 4)
    if references.shape[-1] == 2:
        start = F.pad(start, (0, 2))  # (..., 4): nothing is known of width and height

    return torch.sigmoid(deltas + start)


class BoxCoder:
    """`encode_deltas` and `decode_deltas` with weights, for batches of images.

    Args:
        weights: what dx, dy, dw and dh are multiplied with.
        bbox_xform_clip: decoded dw and dh are at most this.

    Raises:
        ValueError: if the weights are not four positive numbers.
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
            reference_boxes: (N, 4), the boxes to reach; or a list of such, one per image.
            proposals: (N, 4), where they start; both with positive width and height.

        Returns:
            (N, 4) deltas times the weights; or a list of such.

        Raises:
            ValueError: if the shapes differ or do not end in 4.
        """
        if not isinstance(reference_boxes, Tensor):
            pairs = zip(reference_boxes, proposals, strict=True)
            return [self.encode(reference, start) for reference, start in pairs]

        if reference_boxes.shape != proposals.shape or proposals.shape[-1:] != (4,):
            raise ValueError(
                f"reference_boxes {tuple(reference_boxes.shape)} and proposals "
                f"{tuple(proposals.shape)}: expected (N, 4) twice"
            )
        return encode_deltas(reference_boxes, proposals) * proposals.new_tensor(self.weights)

    def decode(self, rel_codes: Tensor, boxes: Tensor | Sequence[Tensor]) -> Tensor:
        """Move boxes by deltas: the inverse of `encode`.

        Args:
            rel_codes: (..., 4) deltas, times the weights; or, with a list of boxes, (N, K·4).
            boxes: (..., 4), a shape that broadcasts with the deltas', for instance (N, 1, 4) with
                (N, K, 4). torchvision's form, a list of boxes per image, N in all, is taken too.

        Returns:
            (..., 4) boxes; (N, K, 4) with a list of boxes.

        Raises:
            ValueError: if a shape does not end in 4.
        """
        if not isinstance(boxes, Tensor):
            if rel_codes.ndim != 2 or rel_codes.shape[1] % 4 != 0:
                raise ValueError(
                    f"deltas {tuple(rel_codes.shape)} came with a list of boxes: expected (N, K·4)"
                )
            boxes = torch.cat(list(boxes))[:, None]  # (N, 1, 4)
            rel_codes = rel_codes.reshape(len(boxes), rel_codes.shape[-1] // 4, 4)  # (N, K, 4)

        if rel_codes.shape[-1:] != (4,) or boxes.shape[-1:] != (4,):
            raise ValueError(
                f"deltas {tuple(rel_codes.shape)} and boxes {tuple(boxes.shape)}: expected (..., 4)"
            )
        deltas = rel_codes / rel_codes.new_tensor(self.weights)
        return decode_deltas(deltas, boxes, self.bbox_xform_clip)
