"""Cascade R-CNN: three second stages, each looking at the boxes that the one before corrected.

A head trained with proposals of IoU 0.5 and more calls sloppy boxes good. One trained with 0.7
would have hardly any to learn from, as proposals are rarely that good. So the first head is trained
at 0.5, and its output, which is better than the proposals, feeds a second at 0.6, and that a third
at 0.7.

Shapes: B images, K classes, R proposals. Boxes are xyxy in pixels of the padded batch.

Source: Cai and Vasconcelos 2018, "Cascade R-CNN" (arXiv 1712.00726), §4; loss weights and box
coders from the official configuration.

Where we differ from the official code: proposals are sampled once and then relabelled for the later
stages, not sampled anew (as in detectron2); at test time each head's class probabilities are taken
on the boxes it was given, and averaged; smooth L1 has β = 1/9.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detlearn.boxes import clip_boxes_to_image
from detlearn.models.faster_rcnn import (
    TwoStageDetector,
    TwoStageOutputs,
    check_classes,
    roi_pooler,
)
from detlearn.models.images import ImageBatcher
from detlearn.models.roi_heads import RoIHeads, TwoMLPHead
from detlearn.models.rpn import RegionProposalNetwork
from detlearn.samples import Detections, Target

IOU_THRESHOLDS = (0.5, 0.6, 0.7)
# Boxes get better from stage to stage, so their deltas smaller: they are stretched more.
REG_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
LOSS_WEIGHTS = (1.0, 0.5, 0.25)


class CascadeRCNN(TwoStageDetector):
    """Proposals, and three heads that correct them one after the other.

    Args:
        num_classes: K.
        backbone, rpn: see `detlearn.models.faster_rcnn.TwoStageDetector`.
        stages: the three heads, class-agnostic, each trained at a higher IoU than the one before;
            by default RoIs of 7 × 7 and two layers of 1024, at .5, .6 and .7.
        batcher: see `Detector`.

    Raises:
        ValueError: if there are not three stages, or one is not class-agnostic or for another
            number of classes.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        rpn: RegionProposalNetwork | None = None,
        stages: Sequence[RoIHeads] | None = None,
        *,
        batcher: ImageBatcher | None = None,
    ) -> None:
        super().__init__(num_classes, backbone, rpn, batcher=batcher)
        if stages is None:
            stages = cascade_stages(num_classes, backbone)
        self.stages = nn.ModuleList(stages)
        if len(self.stages) != len(LOSS_WEIGHTS):
            raise ValueError(f"{len(self.stages)} stages: expected {len(LOSS_WEIGHTS)}")
        if not all(stage.class_agnostic for stage in self.stages):
            raise ValueError("the stages predict a box per class: build them class_agnostic=True")
        check_classes(num_classes, self.stages)

    def compute_loss(self, outputs: TwoStageOutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `Detector`.

        Returns:
            ``"loss_objectness"`` and ``"loss_rpn_box_reg"`` of the first stage, and
            ``"loss_classifier_i"`` and ``"loss_box_reg_i"`` of the heads i = 1, 2, 3, weighted 1,
            0.5 and 0.25.
        """
        losses = self.rpn.compute_loss(outputs.rpn, targets)

        # One sample of the proposals, which all heads look at in turn.
        boxes = self.stages[0].sample(outputs.rpn.proposals, targets).boxes
        for i, (stage, weight) in enumerate(zip(self.stages, LOSS_WEIGHTS), start=1):
            # What a box is to learn is decided anew, with this head's threshold.
            sample = stage.label(boxes, targets)
            class_logits, deltas = stage(outputs.features, boxes, outputs.padded_size)
            terms = stage.compute_loss(class_logits, deltas, sample)
            for name, loss in terms.items():
                losses[f"{name}_{i}"] = weight * loss

            # The next head sees what this one made of the boxes.
            boxes = self.refine(stage, boxes, deltas, outputs.sizes)

        return losses

    def decode(self, outputs: TwoStageOutputs) -> list[Detections]:
        """Take the last head's boxes and the mean of all heads' scores; see `Detector`."""
        boxes = outputs.rpn.proposals
        probabilities = []
        for stage in self.stages:
            class_logits, deltas = stage(outputs.features, boxes, outputs.padded_size)
            probabilities.append(class_logits.softmax(dim=-1))
            boxes = self.refine(stage, boxes, deltas, outputs.sizes)

        mean = torch.stack(probabilities).mean(dim=0)  # (R, K + 1)
        scores = mean[:, 1:]  # (R, K), without the background
        counts = [len(image_boxes) for image_boxes in boxes]
        return [
            self.select_detections(image_boxes, image_scores)
            for image_boxes, image_scores in zip(boxes, scores.split(counts))
        ]

    @torch.no_grad()
    def refine(
        self, stage: RoIHeads, boxes: list[Tensor], deltas: Tensor, sizes: list[tuple[int, int]]
    ) -> list[Tensor]:
        """Move boxes as a head says: what the next head is given.

        Args:
            stage: the head.
            boxes: per image (r, 4); boxes that lose their area stay, so that rows keep their place.
            deltas: (R, 1, 4) of the head.
            sizes: height and width of each image, to which the boxes are clipped.

        Returns:
            Per image (r, 4), without gradient.
        """
        moved = stage.box_coder.decode(deltas[:, 0], torch.cat(list(boxes)))  # (R, 4)
        moved = moved.split([len(image_boxes) for image_boxes in boxes])
        return [clip_boxes_to_image(image_boxes, size) for image_boxes, size in zip(moved, sizes)]


def cascade_stages(
    num_classes: int, backbone: nn.Module, representation_size: int = 1024
) -> list[RoIHeads]:
    """Return the three heads of the paper, over RoIs of 7 × 7.

    Args:
        num_classes: K.
        backbone: has ``out_channels`` and ``strides``.
        representation_size: width of the two layers of each head.

    Returns:
        Heads trained at IoU .5, .6 and .7, with box coders of growing weights.
    """
    return [
        RoIHeads(
            num_classes,
            roi_pooler(backbone),
            TwoMLPHead(backbone.out_channels[0] * 7 * 7, representation_size),
            iou_threshold=iou_threshold,
            bbox_reg_weights=weights,
            class_agnostic=True,
        )
        for iou_threshold, weights in zip(IOU_THRESHOLDS, REG_WEIGHTS)
    ]
