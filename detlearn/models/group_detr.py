"""DETR with several groups of queries in training: more learners for the same network.

In DETR an object has one query, so that of all queries few learn a box. Here the network has G
groups of Q queries while it is trained. Each group is matched by itself, and no group hears
another: G times as many queries learn, and still each hears only one other set of answers, in which
an object may be said once. In use only the first group is left, and the detector is DETR.

Shapes and names: as in `detlearn.models.detr`; G groups.

Where we differ from the paper: groups are kept apart by a mask in one pass through the decoder,
where the paper computes their self-attention one by one; the numbers are the same.

Source: Chen et al. 2022, "Group DETR: Fast DETR Training with Group-Wise One-to-Many Assignment"
(arXiv 2207.13085, §3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detlearn.models.detr import DETR, DETROutputs, QueryTargets, SetCriterion
from detlearn.models.images import ImageBatcher
from detlearn.nets.transformer import TEMPERATURE, Transformer
from detlearn.samples import Target


class GroupDETR(DETR):
    """DETR whose queries are trained in groups.

    Args:
        num_classes: K.
        backbone, transformer: see `DETR`.
        num_queries: Q, of a group: the most objects that can be found in an image.
        num_groups: G, groups in training.
        temperature, criterion, batcher: see `DETR`.

    Raises:
        ValueError: without a query or a group.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        transformer: Transformer,
        *,
        num_queries: int = 100,
        num_groups: int = 3,
        temperature: float = TEMPERATURE,
        criterion: SetCriterion | None = None,
        batcher: ImageBatcher | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            backbone,
            transformer,
            num_queries=num_queries,
            temperature=temperature,
            criterion=criterion,
            batcher=batcher,
        )
        if num_groups < 1:
            raise ValueError(f"num_groups is {num_groups}: the queries are one group at least")
        self.num_groups = num_groups

        # One group's vectors after the other's. The first group is the one that stays.
        self.query_embed = nn.Embedding(num_groups * num_queries, transformer.hidden_dim)

    def predict(self, images: Tensor, sizes: list[tuple[int, int]] | None = None) -> DETROutputs:
        """Compute the answers of all queries; see `DETR.predict`.

        Returns:
            In training mode those of G · Q queries, one group after the other, else of Q.
        """
        sizes = sizes or [tuple(images.shape[-2:])] * len(images)
        memory = self.encode(images, sizes)

        queries, query_positions = self.first_queries(len(images))  # (B, G · Q, C)
        blocked = None
        if self.training:
            group = torch.arange(queries.shape[1], device=images.device) // self.num_queries
            blocked = group[:, None] != group[None, :]  # (G · Q, G · Q)
        states = self.transformer.decoder(queries, query_positions, memory, blocked)

        class_logits, pred_boxes = self.answers(states)  # (L, B, G · Q, …)
        return DETROutputs(
            class_logits[-1], pred_boxes[-1], class_logits[:-1], pred_boxes[:-1], memory, sizes
        )

    def first_queries(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return what the queries are at first, of all groups or of the first; see `DETR`."""
        queries, query_positions = super().first_queries(batch_size)
        if self.training:
            return queries, query_positions
        return queries[:, : self.num_queries], query_positions[:, : self.num_queries]

    @torch.no_grad()
    def assign(self, outputs: DETROutputs, targets: Sequence[Target]) -> QueryTargets:
        """Give each object one query of every group that has answered; see `Detector`."""
        groups, repeated = self.as_images(outputs, targets)
        found = super().assign(groups, repeated)

        batch_size, num_queries = outputs.class_logits.shape[:2]
        assigned = found.assigned.view(batch_size, num_queries)
        points = found.points.view(batch_size, num_queries, 2)
        return QueryTargets(assigned, points, points.new_full((num_queries,), torch.inf))

    def compute_loss(self, outputs: DETROutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare the answers of each group with the annotations; see `DETR`.

        Returns:
            The mean over the groups of `DETR`'s losses.
        """
        return super().compute_loss(*self.as_images(outputs, targets))

    def as_images(
        self, outputs: DETROutputs, targets: Sequence[Target]
    ) -> tuple[DETROutputs, list[Target]]:
        """Let each group's answers be those of an image of its own.

        For the matching and the losses a group is just that: a set of Q answers to N objects.

        Returns:
            Outputs with B · G images of Q queries, and the targets as often: those of the first
            image for all its groups, then the second's.
        """

        def regroup(answers: Tensor) -> Tensor:
            groups = answers.unflatten(-2, (-1, self.num_queries))  # (…, B, G, Q, n)
            return groups.flatten(-4, -3)  # (…, B · G, Q, n)

        num_groups = outputs.class_logits.shape[1] // self.num_queries
        grouped = outputs._replace(
            class_logits=regroup(outputs.class_logits),
            pred_boxes=regroup(outputs.pred_boxes),
            earlier_logits=regroup(outputs.earlier_logits),
            earlier_boxes=regroup(outputs.earlier_boxes),
            sizes=[size for size in outputs.sizes for _ in range(num_groups)],
        )
        return grouped, [target for target in targets for _ in range(num_groups)]
