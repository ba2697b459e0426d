"""What makes DETR learn faster: queries that are boxes, boxes that are refined, and two losses.

A query of DETR learns from scratch where it looks and what it finds there. Each of the four changes
in this file takes one thing off it, and each can be had without the others, except that all start
from the first:

* **anchor queries**: a query is a box (x, y, width, height). Where it stands decides where it
  looks, in the same sines and cosines in which the map's locations are written, and it predicts how
  its box is to be moved (DAB-DETR: Liu et al. 2022, arXiv 2201.12329);
* **iterative refinement**: the next decoder layer starts from the box that the last one predicted
  (Zhu et al. 2021, arXiv 2010.04159; DAB-DETR, "Anchor Update");
* **IoU-aware classification**: a score is to say how well the box fits, not only which class it is
  (`detlearn.losses.varifocal_loss`: Zhang et al. 2021, arXiv 2008.13367);
* **denoising**: besides the queries that are matched there are some, in training only, which start
  near an object and are told which (DN-DETR: Li et al. 2022, arXiv 2203.01305;
  `detlearn.denoising`).

Shapes: as in `detlearn.models.detr`. An anchor is a box cxcywh as shares of the image.

Where we differ from DAB-DETR:

* positions count from the middle of a location, so that an anchor there has the location's code;
* where a query looks, an anchor is at least `SMALLEST_SIDE` wide and high: one of no width would
  divide by it;
* the classes' loss is DETR's cross-entropy or the IoU-aware one, where theirs is the focal loss;
  the same goes for DN-DETR.

Where we differ from DN-DETR:

* denoising queries go through the decoder in a pass of their own, in `compute_loss`, since only
  there the objects are known. So they do not see the matching queries, which the paper allows them;
* no indicator tells the two kinds apart (theirs: §4.5): the matching queries' label is one that no
  object has;
* noisy objects that fill up a group in an image with fewer are seen by nobody and in no loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.boxes import box_convert, paired_iou
from detlearn.coders import inverse_sigmoid, refine_boxes
from detlearn.denoising import noisy_objects
from detlearn.losses import varifocal_loss
from detlearn.machine.distributed import normaliser
from detlearn.matching import HungarianMatcher
from detlearn.models.base import pad_targets
from detlearn.models.detr import (
    DETR,
    MLP,
    DETROutputs,
    SetCriterion,
    relative_targets,
)
from detlearn.models.images import ImageBatcher
from detlearn.nets.transformer import (
    Memory,
    MultiheadAttention,
    PositionalEncoding2D,
    Transformer,
    sine_code,
    split_heads,
)
from detlearn.samples import Target

# Of the sines and cosines, here and on the map (Liu et al. 2022, "Temperature Tuning").
ANCHOR_TEMPERATURE = 20.0
# The score of every class before training, where scores are IoU-aware.
PRIOR = 0.01
# In `where_to_look` no anchor is narrower or lower than this share of the image.
SMALLEST_SIDE = 0.02
# Width and height of all anchors before training, as shares of the image.
FIRST_SIDE = 0.15


# ---- a query that is a box -----------------------------------------------------------------------


def anchor_codes(anchors: Tensor, hidden_dim: int, temperature: float) -> Tensor:
    """Write the four numbers of each anchor as sines and cosines.

    Args:
        anchors: (..., 4) cxcywh as shares of the image.
        hidden_dim: C, of which each number gets half.
        temperature: see `sine_code`.

    Returns:
        (..., 4, C / 2).
    """
    return sine_code(2 * math.pi * anchors, hidden_dim // 2, temperature)


class SideBySideAttention(nn.Module):
    """Attention in which what a token is and where it stands do not mix.

    DETR adds the position to the content and compares the sums, so that a query's content also
    meets the map's positions. Here they lie side by side, and the score of a pair is the sum of two
    comparisons (Liu et al. 2022, "Learning Anchor Boxes Directly", after Meng et al. 2021, arXiv
    2108.06152):

        content of the query · content of the location + position · position

    Args:
        hidden_dim: C.
        num_heads: each has C / num_heads channels of the content and as many of the position.
    """

    def __init__(self, hidden_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_content = nn.Linear(hidden_dim, hidden_dim)
        self.query_position = nn.Linear(hidden_dim, hidden_dim)
        self.key_content = nn.Linear(hidden_dim, hidden_dim)
        self.key_position = nn.Linear(hidden_dim, hidden_dim)
        self.value = nn.Linear(hidden_dim, hidden_dim)
        self.out_proj = nn.Linear(hidden_dim, hidden_dim)

    def forward(
        self, queries: Tensor, query_positions: Tensor, memory: Memory
    ) -> tuple[Tensor, Tensor]:
        """Ask the map.

        Args:
            queries: (B, Q, C) what the queries are.
            query_positions: (B, Q, C) where they look.
            memory: from the encoder.

        Returns:
            The answers (B, Q, C), and from whom they come, (B, heads, Q, S).
        """
        q_content = split_heads(self.query_content(queries), self.num_heads)
        q_position = split_heads(self.query_position(query_positions), self.num_heads)
        k_content = split_heads(self.key_content(memory.tokens), self.num_heads)
        k_position = split_heads(self.key_position(memory.positions), self.num_heads)
        v = split_heads(self.value(memory.tokens), self.num_heads)  # (B, heads, S, C / heads)

        q = torch.cat((q_content, q_position), dim=-1)  # (B, heads, Q, 2 C / heads)
        k = torch.cat((k_content, k_position), dim=-1)  # (B, heads, S, 2 C / heads)
        scores = q / math.sqrt(q.shape[-1]) @ k.transpose(-2, -1)  # (B, heads, Q, S)
        if memory.padding is not None:
            scores = scores.masked_fill(memory.padding[:, None, None, :], -math.inf)
        weights = scores.softmax(dim=-1)

        answers = (weights @ v).transpose(1, 2).flatten(2)  # (B, Q, C)
        return self.out_proj(answers), weights


class AnchorDecoderLayer(nn.Module):
    """The queries ask each other, then the map; then each thinks for itself.

    Args:
        hidden_dim: C.
        num_heads: of both attentions.
        feedforward_dim: channels between the two linear layers.
    """

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(hidden_dim, num_heads)
        self.multihead_attn = SideBySideAttention(hidden_dim, num_heads)
        self.linear1 = nn.Linear(hidden_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, hidden_dim)
        self.norm1 = nn.LayerNorm(hidden_dim)
        self.norm2 = nn.LayerNorm(hidden_dim)
        self.norm3 = nn.LayerNorm(hidden_dim)

    def forward(
        self,
        content: Tensor,
        positions: Tensor,
        looking: Tensor,
        memory: Memory,
        padding: Tensor | None = None,
        blocked: Tensor | None = None,
    ) -> Tensor:
        """Change what the queries are.

        Args:
            content: (B, Q, C).
            positions: (B, Q, C) what tells them from each other.
            looking: (B, Q, C) where on the map they look.
            memory: from the encoder.
            padding: (B, Q) bool, queries that nobody hears; by default there are none.
            blocked: (Q, Q) bool, which query may not hear which; by default all hear all.

        Returns:
            (B, Q, C).
        """
        answers, _ = self.self_attn(content, positions, content, positions, padding, blocked)
        content = self.norm1(content + answers)

        answers, _ = self.multihead_attn(content, looking, memory)
        content = self.norm2(content + answers)

        hidden = F.relu(self.linear1(content))  # (B, Q, feedforward_dim)
        return self.norm3(content + self.linear2(hidden))


class AnchorDecoder(nn.Module):
    """Decoder layers whose queries are boxes (Liu et al. 2022, §4).

    Args:
        layers: as `AnchorDecoderLayer`.
        hidden_dim: C.
        temperature: of the anchors' sines and cosines.
        iterative_refinement: a layer starts from the boxes that the last one predicted. If not, all
            start from the same anchors.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        hidden_dim: int,
        temperature: float = ANCHOR_TEMPERATURE,
        *,
        iterative_refinement: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(hidden_dim)
        self.hidden_dim = hidden_dim
        self.temperature = temperature
        self.iterative_refinement = iterative_refinement

        # All layers share them, as they share the heads.
        self.position_mlp = MLP(2 * hidden_dim, hidden_dim, hidden_dim, num_layers=2)
        self.scale_mlp = MLP(hidden_dim, hidden_dim, hidden_dim, num_layers=2)
        self.side_mlp = MLP(hidden_dim, hidden_dim, 2, num_layers=2)

    def forward(
        self,
        content: Tensor,
        anchors: Tensor,
        memory: Memory,
        box_head: nn.Module,
        padding: Tensor | None = None,
        blocked: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Ask the map, layer after layer.

        Args:
            content: (B, Q, C) what the queries are at first.
            anchors: (B, Q, 4) cxcywh as shares of the image, where they are.
            memory: from the encoder.
            box_head: (B, Q, C) → (B, Q, 4), by how much boxes are to be moved.
            padding, blocked: as those of `AnchorDecoderLayer`.

        Returns:
            The queries after each layer, normalised, (L, B, Q, C), and the boxes that each layer
            predicts, (L, B, Q, 4).
        """
        states, boxes = [], []
        for layer in self.layers:
            codes = anchor_codes(anchors, self.hidden_dim, self.temperature)  # (B, Q, 4, C / 2)
            positions = self.position_mlp(codes.flatten(-2))  # (B, Q, C)
            looking = self.where_to_look(content, codes, anchors)  # (B, Q, C)
            content = layer(content, positions, looking, memory, padding, blocked)

            states.append(self.norm(content))
            boxes.append(refine_boxes(box_head(states[-1]).float(), anchors))

            # A layer answers for its own step only: the box it starts from has no gradient.
            if self.iterative_refinement:
                anchors = boxes[-1].detach()
        return torch.stack(states), torch.stack(boxes)

    def where_to_look(self, content: Tensor, codes: Tensor, anchors: Tensor) -> Tensor:
        """Return the positions that queries look for on the map, y's half first as there.

        The code of an anchor's centre is like those of the locations around it. Two things are
        learnt from the content: which wavelengths matter, and how far to look in x and in y, in
        relation to the anchor's width and height (Liu et al. 2022, "Width & Height-Modulated
        Gaussian Kernel").

        Args:
            content: (B, Q, C).
            codes: (B, Q, 4, C / 2), of the anchors.
            anchors: (B, Q, 4) cxcywh.

        Returns:
            (B, Q, C).
        """
        sides = self.side_mlp(content).sigmoid()  # (B, Q, 2), w_ref and h_ref
        ratios = sides / anchors[..., 2:].clamp(min=SMALLEST_SIDE)  # (B, Q, 2)
        ratio_x, ratio_y = ratios[..., None].unbind(dim=-2)  # (B, Q, 1) twice
        centre = torch.cat((codes[..., 1, :] * ratio_y, codes[..., 0, :] * ratio_x), dim=-1)
        return centre * self.scale_mlp(content)  # (B, Q, C)


# ---- a score that says how well the box fits -----------------------------------------------------


class IoUAwareCriterion(SetCriterion):
    """`SetCriterion` with one yes or no a class, whose "yes" is the IoU of the predicted box.

    Args:
        matcher: gives each object a query; by default with the costs of Deformable DETR, whose
            logits are before a sigmoid, too.
        class_weight, l1_weight, giou_weight: of the three terms.
    """

    def __init__(
        self,
        matcher: HungarianMatcher | None = None,
        *,
        class_weight: float = 1.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
    ) -> None:
        super().__init__(
            matcher or HungarianMatcher(cost_class=2.0, focal=True),
            class_weight=class_weight,
            l1_weight=l1_weight,
            giou_weight=giou_weight,
        )

    def classification(
        self,
        class_logits: Tensor,
        pred_boxes: Tensor,
        assigned: Tensor,
        gt_labels: Tensor,
        gt_boxes: Tensor,
        num_objects: float,
    ) -> Tensor:
        """Judge the classes; see `SetCriterion.classification`. Here class_logits are (B, Q, K)."""
        goals = iou_goals(class_logits, pred_boxes, assigned, gt_labels, gt_boxes)  # (B, Q, K)
        return varifocal_loss(class_logits, goals, reduction="sum") / num_objects


@torch.no_grad()
def iou_goals(
    class_logits: Tensor,
    pred_boxes: Tensor,
    assigned: Tensor,
    gt_labels: Tensor,
    gt_boxes: Tensor,
) -> Tensor:
    """Return what each score is to be.

    Args:
        class_logits: (B, Q, K), of which the shape counts.
        pred_boxes: (B, Q, 4) cxcywh as shares of the image.
        assigned: (B, Q) int64, the object of each query, −1 for none.
        gt_labels: (B, N) int64.
        gt_boxes: (B, N, 4) cxcywh, likewise.

    Returns:
        (B, Q, K): the IoU of the query's box with its object for that object's class, else 0.
    """
    image, query = (assigned >= 0).nonzero(as_tuple=True)  # (M,) twice
    learnt = assigned[image, query]  # (M,)
    pred = box_convert(pred_boxes[image, query], "cxcywh", "xyxy")  # (M, 4)
    gt = box_convert(gt_boxes[image, learnt], "cxcywh", "xyxy")  # (M, 4)

    goals = torch.zeros_like(class_logits)
    goals[image, query, gt_labels[image, learnt]] = paired_iou(pred, gt, eps=1e-7)
    return goals


# ---- the detector --------------------------------------------------------------------------------


class AnchorTransformer(Transformer):
    """DETR's encoder, and a decoder whose queries are boxes.

    Args:
        hidden_dim, num_heads, num_encoder_layers, num_decoder_layers, feedforward_dim: see
            `Transformer`. There is no dropout.
        temperature, iterative_refinement: see `AnchorDecoder`.
    """

    def __init__(
        self,
        hidden_dim: int = 256,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        feedforward_dim: int = 2048,
        *,
        temperature: float = ANCHOR_TEMPERATURE,
        iterative_refinement: bool = False,
    ) -> None:
        super().__init__(
            hidden_dim,
            num_heads,
            num_encoder_layers,
            num_decoder_layers=0,
            feedforward_dim=feedforward_dim,
            dropout=0.0,
        )

        # In the place of DETR's decoder, whose layers were left out above.
        layers = [
            AnchorDecoderLayer(hidden_dim, num_heads, feedforward_dim)
            for _ in range(num_decoder_layers)
        ]
        self.decoder = AnchorDecoder(
            layers, hidden_dim, temperature, iterative_refinement=iterative_refinement
        )

        # As `Transformer` does with its own layers.
        for parameter in self.decoder.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)


class DABDETR(DETR):
    """DETR with anchor queries, and by argument with the other three changes.

    Args:
        num_classes: K.
        backbone: see `DETR`.
        transformer: C, the layers, and whether boxes are refined.
        num_queries: Q.
        iou_aware: a score says how well the box fits; there is no class for "no object" then.
        denoising_groups: G, groups of denoising queries in training; 0 for none.
        criterion: matching and losses; by default those that go with `iou_aware`.
        batcher: see `Detector`.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        transformer: AnchorTransformer,
        *,
        num_queries: int = 300,
        iou_aware: bool = False,
        denoising_groups: int = 0,
        criterion: SetCriterion | None = None,
        batcher: ImageBatcher | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            backbone,
            transformer,
            num_queries=num_queries,
            criterion=criterion or (IoUAwareCriterion() if iou_aware else SetCriterion()),
            batcher=batcher,
        )
        hidden_dim = transformer.hidden_dim
        self.iou_aware = iou_aware
        self.denoising_groups = denoising_groups

        temperature = transformer.decoder.temperature
        self.position_encoding = PositionalEncoding2D(hidden_dim, temperature, centred=True)

        # Anchors anywhere, before the sigmoid; and at first their boxes are predicted.
        centres, sides = torch.rand(num_queries, 2), torch.full((num_queries, 2), FIRST_SIDE)
        self.query_embed = nn.Embedding.from_pretrained(
            inverse_sigmoid(torch.cat((centres, sides), dim=1)), freeze=False
        )
        nn.init.zeros_(self.bbox_embed.layers[-1].weight)
        nn.init.zeros_(self.bbox_embed.layers[-1].bias)

        if iou_aware:
            # Almost every answer is no: start there (focal loss, Lin et al. 2017, §3.3).
            self.class_embed = nn.Linear(hidden_dim, num_classes)
            nn.init.constant_(self.class_embed.bias, -math.log((1 - PRIOR) / PRIOR))
        if denoising_groups > 0:
            # Of each class, and of "unknown", from which the matching queries start.
            self.label_embed = nn.Embedding(num_classes + 1, hidden_dim)

    def predict(self, images: Tensor, sizes: list[tuple[int, int]] | None = None) -> DETROutputs:
        """Run the network: what each query says, after every decoder layer; see `Detector`."""
        sizes = sizes or [tuple(images.shape[-2:])] * len(images)
        memory = self.encode(images, sizes)

        content, anchors = self.first_queries(len(images))
        class_logits, pred_boxes = self.ask(content, anchors, memory)
        return DETROutputs(
            class_logits[-1], pred_boxes[-1], class_logits[:-1], pred_boxes[:-1], memory, sizes
        )

    def first_queries(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return what the queries are before the first layer, and where.

        Args:
            batch_size: B.

        Returns:
            (B, Q, C), the same for all queries: zeros, or the label "unknown"; and the learnt
            anchors (B, Q, 4) cxcywh.
        """
        anchors = self.query_embed.weight.sigmoid().expand(batch_size, -1, -1)  # (B, Q, 4)
        shape = (*anchors.shape[:-1], self.transformer.hidden_dim)
        if self.denoising_groups == 0:
            return anchors.new_zeros(shape), anchors
        return self.label_embed.weight[-1].expand(shape), anchors

    def ask(
        self,
        content: Tensor,
        anchors: Tensor,
        memory: Memory,
        padding: Tensor | None = None,
        blocked: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Send queries through the decoder.

        Args:
            content: (B, Q, C) what they are at first.
            anchors: (B, Q, 4) cxcywh, where.
            memory: from the encoder.
            padding, blocked: as those of `AnchorDecoderLayer`.

        Returns:
            After each layer the logits of the classes (L, B, Q, K + 1), or (L, B, Q, K) if they are
            IoU-aware, and the boxes (L, B, Q, 4), in full precision.
        """
        states, pred_boxes = self.transformer.decoder(
            content, anchors, memory, self.bbox_embed, padding, blocked
        )
        return self.class_embed(states).float(), pred_boxes

    def scores(self, class_logits: Tensor) -> Tensor:
        """Return the scores of the classes; see `DETR.scores`. IoU-aware ones are (…, K) before."""
        return class_logits.sigmoid() if self.iou_aware else super().scores(class_logits)

    def compute_loss(self, outputs: DETROutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `DETR.compute_loss`.

        Returns:
            The terms of `DETR`, and with denoising queries ``"denoising"``, the sum of all their
            losses.
        """
        losses = super().compute_loss(outputs, targets)
        if self.denoising_groups > 0:
            losses["denoising"] = self.denoising_loss(outputs, targets)
        return losses

    def denoising_loss(self, outputs: DETROutputs, targets: list[Target]) -> Tensor:
        """Let noisy objects find the true ones (Li et al. 2022, §4.3).

        Args:
            outputs: from `predict`, of which the memory counts.
            targets: per image ``{"boxes": (N, 4) xyxy in pixels, "labels": (N,)}``.

        Returns:
            A scalar, the same losses as those of the matching queries, over all layers.
        """
        relative = relative_targets(targets, outputs.sizes)
        gt_boxes, gt_labels, real = pad_targets(relative, like=outputs.pred_boxes)
        noisy = noisy_objects(
            gt_boxes, gt_labels, real, self.num_classes, num_groups=self.denoising_groups
        )

        # Padding is heard by nobody; where an image has nothing else, it may hear itself.
        padding = noisy.objects < 0  # (B, D)
        padding = padding & ~padding.all(dim=1, keepdim=True)
        class_logits, pred_boxes = self.ask(
            self.label_embed(noisy.labels), noisy.boxes, outputs.memory, padding, noisy.blocked
        )

        # All that are no padding stand in one row, and each learns its own object.
        image, query = (noisy.objects >= 0).nonzero(as_tuple=True)  # (M,) twice
        objects = noisy.objects[image, query]  # (M,)
        own = torch.arange(len(objects), device=objects.device)[None]  # (1, M)
        labels = gt_labels[image, objects][None]  # (1, M)
        boxes = gt_boxes[image, objects][None]  # (1, M, 4)
        num_objects = normaliser(len(objects), boxes.device)

        total = class_logits.new_zeros(())
        for logits, predicted in zip(class_logits, pred_boxes):
            losses = self.criterion.layer_losses(
                logits[None, image, query],  # (1, M, K + 1 or K)
                predicted[None, image, query],  # (1, M, 4)
                own,
                labels,
                boxes,
                num_objects,
            )
            total = total + sum(losses.values())
        return total
