"""Deformable DETR: queries that know where they look, and look at a few points only.

In DETR a query must learn from nothing which of all locations are its own. Here every query has a
reference point, and reads a few places near it (`detlearn.nets.deformable_attention`). That is
cheap enough for several maps, fine ones too, and it learns much faster. Two additions, each by an
argument:

* iterative refinement: every decoder layer corrects the box of the one before, and looks where that
  box is;
* two stages: each location of the maps proposes a box, and the best proposals are the queries. They
  start on the objects of this very image.

    images ──backbone──> maps ──encoder──> memory ──(proposals)──> queries
                                              └──────decoder <────────┘ ──> classes, boxes

Shapes: B images; K classes; Q queries; N objects; L levels, finest first; D decoder layers; C
channels of the transformer; S locations of all levels together, level after level, row by row.
Boxes are cxcywh as shares of the image's width and height *without its padding*; targets are xyxy
in pixels until `compute_loss` turns them.

Names: ``gt_*`` are annotations, ``pred_*`` predictions, ``*_logits`` come before the sigmoid;
``valid`` is what share of a padded map belongs to the image, in x and in y.

Source: Zhu et al. 2021, "Deformable DETR: Deformable Transformers for End-to-End Object Detection"
(arXiv 2010.04159). Its classes are independent questions with the focal loss, as in RetinaNet:
there is no index for "no object". `detlearn.models.dab_detr.IoUAwareCriterion` can take its place.

Parameters have the names of the published weights (github.com/fundamentalvision/Deformable-DETR),
whose files hold the decoder's heads a second time (``transformer.decoder.bbox_embed``).

Where we differ from the published code:

* a padded batch is a multiple of 32 pixels high and wide, as for all detectors here;
* proposals have the one class that is read. The published loss also teaches their other K − 1
  outputs to say no;
* for a short training, and off by default: each object may be given to several proposals
  (`proposals_per_object`), so that more of them learn; proposals may answer for every class, and
  queries start with the features of their proposals, as in RT-DETR (Zhao et al. 2024, arXiv
  2304.08069, §4.3), where these are detached.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.boxes import box_convert, clip_boxes_to_image
from detlearn.coders import refine_boxes
from detlearn.losses import sigmoid_focal_loss
from detlearn.machine.distributed import normaliser
from detlearn.matching import HungarianMatcher
from detlearn.models.base import Detector, pad_targets
from detlearn.models.detr import (
    MLP,
    PublishedBackbone,
    QueryTargets,
    SetCriterion,
    check_num_queries,
    image_scales,
    padding_mask,
    query_targets,
    relative_targets,
)
from detlearn.models.faster_rcnn import pretrained_resnet50
from detlearn.models.images import ImageBatcher
from detlearn.nets.deformable_attention import DeformableAttention
from detlearn.nets.resnet import FrozenBatchNorm2d, resnet50
from detlearn.nets.transformer import (
    TEMPERATURE,
    MultiheadAttention,
    PositionalEncoding2D,
    sine_code,
)
from detlearn.samples import Detections, Target

# The score with which every class starts: almost all queries find nothing of it.
PRIOR = 0.01
# Finer maps of the backbone are not used: they would have most of the tokens.
FINEST_STRIDE = 8
# Sides of the boxes from which the finest level's proposals start, as a share of the image; each
# coarser level has twice as much.
PROPOSAL_SIZE = 0.05


class Proposals(NamedTuple):
    """What the locations of the maps propose.

    Attributes:
        logits: (B, S, 1), is there an object? Or (B, S, K), is there one of the class?
        boxes: (B, S, 4) cxcywh in [0, 1].
        tokens: (B, S, C) the features of which both were made.
        chosen: (B, Q) int64, which of the S became queries, best first.
    """

    logits: Tensor
    boxes: Tensor
    tokens: Tensor
    chosen: Tensor


class DeformableOutputs(NamedTuple):
    """What the network predicts.

    Attributes:
        class_logits: (B, Q, K) after the last decoder layer.
        pred_boxes: (B, Q, 4) cxcywh in [0, 1], likewise.
        earlier_logits: (D − 1, B, Q, K) after the layers before.
        earlier_boxes: (D − 1, B, Q, 4), likewise.
        references: for each of the D layers the points (B, Q, 2) or boxes (B, Q, 4) from which it
            looked, and which it corrected.
        proposals: of the first stage; None where there is none.
        sizes: height and width of each image in the batch, without the padding.
    """

    class_logits: Tensor
    pred_boxes: Tensor
    earlier_logits: Tensor
    earlier_boxes: Tensor
    references: list[Tensor]
    proposals: Proposals | None
    sizes: list[tuple[int, int]]


class PyramidMemory(NamedTuple):
    """The maps of a batch as one list of tokens.

    Attributes:
        tokens: (B, S, C) what each location is.
        positions: (B, S, C) where it stands, in its image and on which level; (1, S, C) if no image
            is padded.
        padding: (B, S) bool, true in the padding; None if no image is padded.
        valid: (B, L, 2) what share of each map is no padding, in x and in y.
        map_sizes: height and width of each of the L maps.
    """

    tokens: Tensor
    positions: Tensor
    padding: Tensor | None
    valid: Tensor
    map_sizes: list[tuple[int, int]]


# ---- places on padded maps -----------------------------------------------------------------------


def location_centres(map_sizes: Sequence[tuple[int, int]], valid: Tensor) -> Tensor:
    """Say where the locations of all maps stand in their image.

    Args:
        map_sizes: height and width of each of the L maps.
        valid: (B, L, 2) what share of each map is no padding, in x and in y.

    Returns:
        (B, S, 2) x and y, as shares of the image without its padding; above 1 in the padding.
    """
    centres = []
    for level, (height, width) in enumerate(map_sizes):
        y = (torch.arange(height, device=valid.device) + 0.5) / height
        x = (torch.arange(width, device=valid.device) + 0.5) / width
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2)
        centres.append(grid.flatten(0, 1) / valid[:, level, None])  # (B, h·w, 2)
    return torch.cat(centres, dim=1)


def on_padded_maps(references: Tensor, valid: Tensor) -> Tensor:
    """Bring points or boxes from shares of the image to shares of each padded map.

    Args:
        references: (B, Q, 2) x, y or (B, Q, 4) cxcywh.
        valid: (B, L, 2) what share of each map is no padding, in x and in y.

    Returns:
        (B, Q, L, 2 or 4).
    """
    valid = valid.repeat(1, 1, references.shape[-1] // 2)  # (B, L, 2 or 4): of x and y, w and h
    return references[:, :, None] * valid[:, None]


# ---- layers --------------------------------------------------------------------------------------


class DeformableEncoderLayer(nn.Module):
    """Every location looks at a few others of all levels; then each thinks for itself.

    After both steps what came out is added to what went in, and normalised.

    Args:
        hidden_dim: C.
        num_heads: of the attention.
        feedforward_dim: channels between the two linear layers.
        dropout: in training, of these channels and of both steps' results.
        num_levels: L.
        num_points: read by each head on each level.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        num_levels: int,
        num_points: int,
    ) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(hidden_dim, num_heads, num_levels, num_points)
        self.norm1 = nn.LayerNorm(hidden_dim)
        self.linear1 = nn.Linear(hidden_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, hidden_dim)
        self.norm2 = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, memory: PyramidMemory, references: Tensor) -> PyramidMemory:
        """Change the tokens.

        Args:
            memory: the maps.
            references: (B, S, L, 2), where each location stands on each map.

        Returns:
            The same with other tokens.
        """
        tokens = memory.tokens
        found = self.self_attn(
            tokens + memory.positions, references, tokens, memory.map_sizes, memory.padding
        )
        tokens = self.norm1(tokens + self.dropout(found))

        hidden = self.dropout(F.relu(self.linear1(tokens)))  # (B, S, feedforward_dim)
        tokens = self.norm2(tokens + self.dropout(self.linear2(hidden)))
        return memory._replace(tokens=tokens)


class DeformableDecoderLayer(nn.Module):
    """The queries ask each other, then look at the maps; then each thinks for itself.

    (In the published weights ``norm1`` belongs to the second step and ``norm2`` to the first.)

    Args: as for `DeformableEncoderLayer`.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        num_levels: int,
        num_points: int,
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(hidden_dim, num_heads, dropout)
        self.norm2 = nn.LayerNorm(hidden_dim)
        self.cross_attn = DeformableAttention(hidden_dim, num_heads, num_levels, num_points)
        self.norm1 = nn.LayerNorm(hidden_dim)
        self.linear1 = nn.Linear(hidden_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, hidden_dim)
        self.norm3 = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, queries: Tensor, positions: Tensor, references: Tensor, memory: PyramidMemory
    ) -> Tensor:
        """Change the queries.

        Args:
            queries: (B, Q, C).
            positions: (B, Q, C), what tells them from each other.
            references: (B, Q, L, 2 or 4), from where each looks on each map.
            memory: the maps.

        Returns:
            (B, Q, C).
        """
        answers, _ = self.self_attn(queries, positions, queries, positions)
        queries = self.norm2(queries + self.dropout(answers))

        found = self.cross_attn(
            queries + positions, references, memory.tokens, memory.map_sizes, memory.padding
        )
        queries = self.norm1(queries + self.dropout(found))

        hidden = self.dropout(F.relu(self.linear1(queries)))  # (B, Q, feedforward_dim)
        return self.norm3(queries + self.dropout(self.linear2(hidden)))


class DeformableEncoder(nn.Module):
    """Layers that change the maps' tokens one after the other.

    Args:
        layers: `DeformableEncoderLayer`; there may be none.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, memory: PyramidMemory) -> PyramidMemory:
        """Change the tokens; each looks about from where it stands."""
        centres = location_centres(memory.map_sizes, memory.valid)  # (B, S, 2)
        references = on_padded_maps(centres, memory.valid)  # (B, S, L, 2)
        for layer in self.layers:
            memory = layer(memory, references)
        return memory


class DeformableDecoder(nn.Module):
    """Layers that change the queries one after the other, and say after each what they found.

    Args:
        layers: D times `DeformableDecoderLayer`.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        references: Tensor,
        memory: PyramidMemory,
        class_heads: Sequence[nn.Module],
        box_heads: Sequence[nn.Module],
        iterative_refinement: bool,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Look at the maps, layer after layer.

        Args:
            queries: (B, Q, C) what the queries are at first.
            positions: (B, Q, C), what tells them from each other.
            references: (B, Q, 2) points or (B, Q, 4) boxes, from where the first layer looks.
            memory: the maps.
            class_heads: one for each layer, (B, Q, C) → (B, Q, K).
            box_heads: one for each layer, (B, Q, C) → (B, Q, 4).
            iterative_refinement: whether the next layer looks from the box that this one found.

        Returns:
            For each layer logits of the classes (D, B, Q, K) and boxes (D, B, Q, 4), both in full
            precision, and the references from which it looked, D times (B, Q, 2 or 4).
        """
        class_logits, boxes, looked_from = [], [], []
        for layer, class_head, box_head in zip(self.layers, class_heads, box_heads):
            queries = layer(queries, positions, on_padded_maps(references, memory.valid), memory)

            class_logits.append(class_head(queries).float())
            boxes.append(refine_boxes(box_head(queries).float(), references))
            looked_from.append(references)

            # Detached: each layer learns to correct the box that it is given, and not also to give
            # the next one a box that is easy to correct (the paper's §4.2 and appendix A.4).
            if iterative_refinement:
                references = boxes[-1].detach()

        return torch.stack(class_logits), torch.stack(boxes), looked_from


class DeformableTransformer(nn.Module):
    """Encoder, decoder, and where the queries come from.

    Args:
        hidden_dim: C, a multiple of 4 and of the number of heads.
        num_heads: of every attention.
        num_encoder_layers: layers for the maps; 0 for none.
        num_decoder_layers: D, layers for the queries.
        feedforward_dim: channels between the two linear layers of each.
        dropout: in training.
        num_levels: L.
        num_points: read by each head on each level.
        two_stage: queries are made of proposals, and not learnt.
    """

    def __init__(
        self,
        hidden_dim: int = 256,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        feedforward_dim: int = 1024,
        dropout: float = 0.1,
        num_levels: int = 4,
        num_points: int = 4,
        two_stage: bool = False,
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.num_levels = num_levels
        self.two_stage = two_stage

        widths = (hidden_dim, num_heads, feedforward_dim, dropout, num_levels, num_points)
        self.encoder = DeformableEncoder(
            [DeformableEncoderLayer(*widths) for _ in range(num_encoder_layers)]
        )
        self.decoder = DeformableDecoder(
            [DeformableDecoderLayer(*widths) for _ in range(num_decoder_layers)]
        )
        # Sines say where a location stands on its map; this says on which map.
        self.level_embed = nn.Parameter(torch.empty(num_levels, hidden_dim))

        if two_stage:
            self.enc_output = nn.Linear(hidden_dim, hidden_dim)
            self.enc_output_norm = nn.LayerNorm(hidden_dim)
            self.pos_trans = nn.Linear(2 * hidden_dim, 2 * hidden_dim)
            self.pos_trans_norm = nn.LayerNorm(2 * hidden_dim)
        else:
            self.reference_points = nn.Linear(hidden_dim, 2)

        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Start as the published code does."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.reset_parameters()

        nn.init.normal_(self.level_embed)
        if not self.two_stage:
            nn.init.zeros_(self.reference_points.bias)


# ---- the loss ------------------------------------------------------------------------------------


class FocalCriterion(SetCriterion):
    """`SetCriterion` where every class is a yes or no of its own, with the focal loss.

    Args:
        matcher: gives each object a query; by default with Deformable DETR's costs.
        class_weight, l1_weight, giou_weight: of the three terms.
    """

    def __init__(
        self,
        matcher: HungarianMatcher | None = None,
        *,
        class_weight: float = 2.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
    ) -> None:
        super().__init__(
            matcher or HungarianMatcher(cost_class=2, cost_bbox=5, cost_giou=2, focal=True),
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
        image, query = (assigned >= 0).nonzero(as_tuple=True)  # (M,) twice
        objects = assigned[image, query]  # (M,)

        # Yes to the object's class, no to all others; without an object, no to all.
        goals = torch.zeros_like(class_logits)
        goals[image, query, gt_labels[image, objects]] = 1.0
        return sigmoid_focal_loss(class_logits, goals, reduction="sum") / num_objects


# ---- the detector --------------------------------------------------------------------------------


def group_norm(channels: int) -> nn.GroupNorm:
    """Return the published normalisation of the projected maps, in 32 groups."""
    return nn.GroupNorm(32, channels)


class DeformableDETR(Detector):
    """A backbone, a deformable transformer, and queries with K yes-or-no questions and a box each.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first; has ``out_channels`` and
            ``strides``. Those of stride 8 and more are used; further levels are made from the
            coarsest.
        transformer: C, L, and the layers.
        num_queries: Q, the most objects that can be found in an image. In two stages no more than
            the image has locations.
        iterative_refinement: every decoder layer has heads of its own and corrects the boxes of
            the one before. Otherwise all have the same heads and start from the first points.
        temperature: of the sine codes; see `detlearn.nets.transformer.sine_code`.
        norm_layer: of the projected maps, called with C.
        criterion: matching and losses; with the published weights by default.
        proposals_per_object: to so many proposals each object is given in the first stage's loss.
        proposals_know_classes: proposals answer for every class, not for "object" alone.
        queries_know_features: a query starts with the features of its proposal, too, and not with
            its box alone.
        batcher: see `Detector`.

    Raises:
        ValueError: for two stages without iterative refinement: proposals are boxes, and to start
            from a box is to correct it; or if there is no query.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        transformer: DeformableTransformer,
        *,
        num_queries: int = 300,
        iterative_refinement: bool = False,
        temperature: float = TEMPERATURE,
        norm_layer: Callable[[int], nn.Module] = group_norm,
        criterion: SetCriterion | None = None,
        proposals_per_object: int = 1,
        proposals_know_classes: bool = False,
        queries_know_features: bool = False,
        batcher: ImageBatcher | None = None,
    ) -> None:
        if transformer.two_stage and not iterative_refinement:
            raise ValueError(
                "a transformer with two_stage=True needs iterative_refinement=True: its queries "
                "start from boxes, which the decoder corrects"
            )
        super().__init__(num_classes, batcher)
        check_num_queries(num_queries)
        hidden_dim = transformer.hidden_dim
        self.num_queries = num_queries
        self.iterative_refinement = iterative_refinement
        self.temperature = temperature
        self.proposals_per_object = proposals_per_object
        self.proposals_know_classes = proposals_know_classes
        self.queries_know_features = queries_know_features

        self.backbone = backbone
        self.skip = sum(stride < FINEST_STRIDE for stride in backbone.strides)
        in_channels = backbone.out_channels[self.skip :]
        self.input_proj = nn.ModuleList(
            _projections(in_channels, transformer.num_levels, hidden_dim, norm_layer)
        )
        self.position_encoding = PositionalEncoding2D(hidden_dim, temperature, centred=True)
        self.transformer = transformer
        if not transformer.two_stage:
            # The first half of a row is the query's position, the second what it is at first.
            self.query_embed = nn.Embedding(num_queries, 2 * hidden_dim)

        # One pair of heads for all decoder layers, or one for each; the last is the first stage's.
        class_head = nn.Linear(hidden_dim, num_classes)
        nn.init.constant_(class_head.bias, -math.log((1 - PRIOR) / PRIOR))
        box_head = MLP(hidden_dim, hidden_dim, 4, num_layers=3)
        nn.init.zeros_(box_head.layers[-1].weight)
        nn.init.zeros_(box_head.layers[-1].bias)

        num_heads = len(transformer.decoder.layers) + transformer.two_stage
        self.class_embed = nn.ModuleList(_repeat(class_head, num_heads, iterative_refinement))
        self.bbox_embed = nn.ModuleList(_repeat(box_head, num_heads, iterative_refinement))
        if not transformer.two_stage:
            # Where width and height start from nothing, they start small: σ(−2) = .12.
            nn.init.constant_(self.bbox_embed[0].layers[-1].bias[2:], -2.0)

        self.criterion = criterion or FocalCriterion()

    def predict(
        self, images: Tensor, sizes: list[tuple[int, int]] | None = None
    ) -> DeformableOutputs:
        """Run the network: what each query says, after every decoder layer; see `Detector`."""
        sizes = sizes or [tuple(images.shape[-2:])] * len(images)
        memory = self.encode(images, sizes)

        # Who asks, and from where.
        if self.transformer.two_stage:
            proposals = self.propose(memory)
            queries, positions, references = self.queries_from(proposals)
        else:
            proposals = None
            queries, positions, references = self.learnt_queries(len(images))

        class_logits, boxes, looked_from = self.transformer.decoder(
            queries,
            positions,
            references,
            memory,
            self.class_embed,
            self.bbox_embed,
            self.iterative_refinement,
        )
        return DeformableOutputs(
            class_logits[-1],
            boxes[-1],
            class_logits[:-1],
            boxes[:-1],
            looked_from,
            proposals,
            sizes,
        )

    def encode(self, images: Tensor, sizes: list[tuple[int, int]]) -> PyramidMemory:
        """Turn images into the memory that queries look at.

        Args:
            images: (B, 3, H, W), normalised and padded.
            sizes: height and width of each image without the padding.

        Returns:
            The tokens of all levels as the encoder leaves them.
        """
        maps = list(self.backbone(images).values())[self.skip :]

        # All maps get C channels, and further ones are made from the coarsest.
        levels = [project(x) for project, x in zip(self.input_proj, maps)]
        source = maps[-1]
        for project in self.input_proj[len(maps) :]:
            levels.append(project(source))
            source = levels[-1]

        # Where each location stands, and which are padding.
        tokens, positions, paddings, valid = [], [], [], []
        for level, x in enumerate(levels):
            padding = padding_mask(sizes, x, tuple(images.shape[-2:]))  # (B, h, w) or None
            # Without padding, locations stand at the same places in all images.
            like = x if padding is not None else x[:1]
            position = self.position_encoding(like, padding).flatten(2).mT  # (B or 1, h·w, C)
            tokens.append(x.flatten(2).mT)  # (B, h·w, C)
            positions.append(position + self.transformer.level_embed[level])
            paddings.append(padding)
            valid.append(_valid_shares(padding, like=position).expand(len(x), -1))

        padding = None
        if paddings[0] is not None:
            padding = torch.cat([x.flatten(1) for x in paddings], dim=1)  # (B, S)
        return self.transformer.encoder(
            PyramidMemory(
                torch.cat(tokens, dim=1),
                torch.cat(positions, dim=1),
                padding,
                torch.stack(valid, dim=1),  # (B, L, 2)
                [tuple(x.shape[-2:]) for x in levels],
            )
        )

    # ---- where the queries come from

    def learnt_queries(self, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries that are the same for every image.

        Args:
            batch_size: B.

        Returns:
            What they are at first (B, Q, C), their positions (B, Q, C), and the points (B, Q, 2)
            from where they look.
        """
        rows = self.query_embed.weight.expand(batch_size, -1, -1)  # (B, Q, 2C)
        positions, queries = rows.chunk(2, dim=-1)
        points = self.transformer.reference_points(positions).float().sigmoid()
        return queries, positions, points

    def propose(self, memory: PyramidMemory) -> Proposals:
        """Let every location propose a box, and choose the best (appendix A.4 of the paper).

        A location corrects a square about itself, of a size that goes with its level. It has no
        say where that lies across the border of the image.

        Args:
            memory: the maps, as the encoder left them.

        Returns:
            All proposals and which were chosen.
        """
        # The squares. In the last hundredth of the image σ⁻¹ becomes steep, and in the padding a
        # centre lies beyond 1.
        centres = location_centres(memory.map_sizes, memory.valid)  # (B, S, 2)
        sizes = [
            centres.new_full((height * width,), PROPOSAL_SIZE * 2**level)
            for level, (height, width) in enumerate(memory.map_sizes)
        ]
        sizes = torch.cat(sizes)[None, :, None].expand_as(centres)  # (B, S, 2)
        squares = torch.cat((centres, sizes), dim=-1)  # (B, S, 4)
        usable = ((squares > 0.01) & (squares < 0.99)).all(dim=-1)  # (B, S)

        # Is there an object, and where?
        tokens = memory.tokens.masked_fill(~usable[..., None], 0)
        tokens = self.transformer.enc_output_norm(self.transformer.enc_output(tokens))
        logits = self.class_embed[-1](tokens).float()  # (B, S, K)
        if not self.proposals_know_classes:
            logits = logits[..., :1]  # the published weights have K, and read the first
        boxes = refine_boxes(self.bbox_embed[-1](tokens).float(), squares)  # (B, S, 4)
        boxes = boxes.masked_fill(~usable[..., None], 1.0)

        # A small image may have fewer locations than there are to be queries.
        num_chosen = min(self.num_queries, logits.shape[1])
        chosen = logits.amax(dim=-1).topk(num_chosen, dim=1).indices  # (B, Q)
        return Proposals(logits, boxes, tokens, chosen)

    def queries_from(self, proposals: Proposals) -> tuple[Tensor, Tensor, Tensor]:
        """Turn the chosen proposals into queries.

        Args:
            proposals: from `propose`.

        Returns:
            As `learnt_queries`, but they look from boxes (B, Q, 4), through which no gradient goes.
        """
        chosen = proposals.chosen[..., None]  # (B, Q, 1)
        boxes = proposals.boxes.take_along_dim(chosen, dim=1).detach()

        # A query is made of its box: the sine codes of x, y, w and h, side by side.
        hidden_dim = self.transformer.hidden_dim
        codes = sine_code(2 * math.pi * boxes, hidden_dim // 2, self.temperature)  # (B, Q, 4, C/2)
        codes = codes.flatten(2).to(proposals.tokens.dtype)  # (B, Q, 2C)
        rows = self.transformer.pos_trans_norm(self.transformer.pos_trans(codes))
        positions, queries = rows.chunk(2, dim=-1)  # (B, Q, C) twice

        if self.queries_know_features:
            queries = queries + proposals.tokens.take_along_dim(chosen, dim=1)
        return queries, positions, boxes

    # ---- training and detecting

    @torch.no_grad()
    def assign(self, outputs: DeformableOutputs, targets: list[Target]) -> QueryTargets:
        """Say who learns what in the last layer, by the lowest sum of costs; see `Detector`."""
        matcher = self.criterion.matcher
        return query_targets(
            matcher, outputs.class_logits, outputs.pred_boxes, outputs.sizes, targets
        )

    def compute_loss(self, outputs: DeformableOutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `Detector`.

        Returns:
            ``"class"``: of all queries and classes; ``"l1"`` and ``"giou"``: of the queries that
            learn an object; ``"auxiliary"``: the same three of the decoder's earlier layers,
            summed; with two stages ``"proposals"``: the same three of the first stage, summed. All
            are divided by the number of objects.
        """
        relative = relative_targets(targets, outputs.sizes)
        losses = self.criterion(outputs, relative)
        if outputs.proposals is not None:
            losses["proposals"] = self.proposal_loss(outputs.proposals, relative)
        return losses

    def proposal_loss(self, proposals: Proposals, targets: Sequence[Target]) -> Tensor:
        """Judge the proposals as if they were queries, which may know one class only: object.

        Args:
            proposals: of all locations, chosen or not.
            targets: per image ``{"boxes": (N, 4) cxcywh as shares of the image, "labels": (N,)}``.

        Returns:
            A scalar.
        """
        if not self.proposals_know_classes:
            targets = [{**t, "labels": torch.zeros_like(t["labels"])} for t in targets]

        copies = self.proposals_per_object
        logits, boxes = proposals.logits, proposals.boxes
        assigned = self.criterion.matcher.assign(logits, boxes, targets, copies)  # (B, S)

        gt_boxes, gt_labels, _ = pad_targets(targets, like=boxes)
        num_objects = normaliser(copies * sum(len(t["labels"]) for t in targets), logits.device)
        losses = self.criterion.layer_losses(
            logits, boxes, assigned, gt_labels, gt_boxes, num_objects
        )
        return sum(losses.values())

    def decode(self, outputs: DeformableOutputs) -> list[Detections]:
        """Turn outputs into detections; see `Detector`.

        Every pair of a query and a class can be one. Nothing is suppressed: an object has one
        query.
        """
        scores = outputs.class_logits.sigmoid()  # (B, Q, K)
        scales = image_scales(outputs.sizes, like=scores)  # (B, 4)
        boxes = box_convert(outputs.pred_boxes, "cxcywh", "xyxy") * scales[:, None]  # (B, Q, 4)

        detections = []
        for i, size in enumerate(outputs.sizes):
            clipped = clip_boxes_to_image(boxes[i], size)
            detections.append(self.select_detections(clipped, scores[i], nms=False))
        return detections


def _projections(
    in_channels: Sequence[int],
    num_levels: int,
    hidden_dim: int,
    norm_layer: Callable[[int], nn.Module],
) -> list[nn.Module]:
    """Return what brings each map to C channels: 1 × 1, or 3 × 3 that also halves, for new ones."""
    projections = []
    for channels in in_channels[:num_levels]:
        convolution = nn.Conv2d(channels, hidden_dim, 1)
        projections.append(nn.Sequential(convolution, norm_layer(hidden_dim)))

    # The first new level is made of the backbone's map, each further one of the level before.
    channels = in_channels[-1]
    for _ in range(len(projections), num_levels):
        convolution = nn.Conv2d(channels, hidden_dim, 3, stride=2, padding=1)
        projections.append(nn.Sequential(convolution, norm_layer(hidden_dim)))
        channels = hidden_dim

    for projection in projections:
        nn.init.xavier_uniform_(projection[0].weight)
        nn.init.zeros_(projection[0].bias)
    return projections


def _repeat(head: nn.Module, count: int, as_copies: bool) -> list[nn.Module]:
    """Return a head `count` times: copies that learn apart, or always the same."""
    return [copy.deepcopy(head) if as_copies else head for _ in range(count)]


def _valid_shares(padding: Tensor | None, like: Tensor) -> Tensor:
    """Say what share of a map is no padding, in x and in y.

    Args:
        padding: (B, h, w) bool, true in the padding, which lies below and to the right; or None.
        like: (B, …) or without padding (1, …), of the dtype and device wanted.

    Returns:
        (B, 2) or without padding (1, 2).
    """
    if padding is None:
        return like.new_ones(len(like), 2)

    inside = (~padding).to(like.dtype)
    return torch.stack((inside[:, 0, :].mean(dim=1), inside[:, :, 0].mean(dim=1)), dim=-1)


# ---- full size -----------------------------------------------------------------------------------


def deformable_detr_resnet50(
    num_classes: int = 91,
    *,
    num_queries: int = 300,
    iterative_refinement: bool = False,
    two_stage: bool = False,
    min_size: int = 800,
    max_size: int = 1333,
    pretrained_backbone: bool = False,
) -> DeformableDETR:
    """Deformable DETR with ResNet-50, four levels and six layers each: 40 million parameters.

    The backbone's batch normalisation is frozen: to train it, start from a pretrained backbone.

    Args:
        num_classes: K; 91 for COCO, whose category ids go from 1 to 90.
        num_queries: Q.
        iterative_refinement, two_stage: see `DeformableDETR` and `DeformableTransformer`.
        min_size: images are resized so that the shorter side has this many pixels …
        max_size: … unless the longer side would then exceed this.
        pretrained_backbone: load torchvision's ImageNet weights and train only the last three of
            the backbone's five parts. Offline it warns, and the backbone starts at random.

    Returns:
        The detector.
    """
    body = pretrained_resnet50(FrozenBatchNorm2d) if pretrained_backbone else None
    return DeformableDETR(
        num_classes,
        PublishedBackbone(body or resnet50(FrozenBatchNorm2d)),
        DeformableTransformer(two_stage=two_stage),
        num_queries=num_queries,
        iterative_refinement=iterative_refinement,
        batcher=ImageBatcher(min_size=min_size, max_size=max_size),
    )
