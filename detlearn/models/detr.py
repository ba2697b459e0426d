"""DETR: detection as the prediction of a set, without anchors and without NMS.

A hundred queries look at the image and each says one thing: an object with its box, or "no object".
In training every object is given one query, so that the sum of costs is as low as possible (the
Hungarian algorithm); all others learn to say nothing. Since an object is one query's alone, a
second answer for it is a mistake, and the queries, which hear each other, learn not to give one.

    images ──backbone──> map ──encoder──> memory ──decoder──> states ──heads──> classes, boxes
                                            queries ──┘

Shapes: B images; K classes, and index K for no object; Q queries; N objects; L decoder layers; C
channels of the transformer; S = h · w locations of the map. Predicted boxes are cxcywh as shares of
the image's width and height *without its padding*; targets are xyxy in pixels until `compute_loss`
turns them.

Names: ``gt_*`` are annotations, ``pred_*`` predictions, ``*_logits`` come before the softmax.

Source: Carion et al. 2020, "End-to-End Object Detection with Transformers" (arXiv 2005.12872).

Names of parameters are those of the published weights (github.com/facebookresearch/detr), so that
these load as they are: `detlearn.pretrained.load_detr`.

Where we differ from the published code:

* a padded batch is a multiple of 32 pixels high and wide, as for all detectors here;
* the weights of the classes' loss are summed over all processes, as all normalisers here;
* the losses of the earlier decoder layers are added up to one term, ``"auxiliary"``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.boxes import box_convert, clip_boxes_to_image
from detlearn.losses import giou_loss, set_classification_loss
from detlearn.machine.distributed import normaliser
from detlearn.matching import HungarianMatcher
from detlearn.models.base import Detector, pad_targets
from detlearn.models.faster_rcnn import pretrained_resnet50
from detlearn.models.images import ImageBatcher
from detlearn.nets.resnet import FrozenBatchNorm2d, resnet50
from detlearn.nets.transformer import TEMPERATURE, Memory, PositionalEncoding2D, Transformer
from detlearn.samples import Detections, Target


class DETROutputs(NamedTuple):
    """What the network predicts.

    Attributes:
        class_logits: (B, Q, K + 1) after the last decoder layer.
        pred_boxes: (B, Q, 4) cxcywh in [0, 1], likewise.
        earlier_logits: (L − 1, B, Q, K + 1) after the layers before.
        earlier_boxes: (L − 1, B, Q, 4), likewise.
        memory: the map that the queries asked, for losses that send other queries to it.
        sizes: height and width of each image in the batch, without the padding.
    """

    class_logits: Tensor
    pred_boxes: Tensor
    earlier_logits: Tensor
    earlier_boxes: Tensor
    memory: Memory
    sizes: list[tuple[int, int]]


class QueryTargets(NamedTuple):
    """Which object each query learns.

    Attributes:
        assigned: (B, Q) int64, the index of the object in its image, or −1 for no object.
        points: (B, Q, 2) the centres of the predicted boxes, x and y in pixels. They depend on the
            image: a query has no place of its own.
        strides: (Q,) infinite, since queries stand on no grid.
        anchors: None, since the boxes start from nothing.
    """

    assigned: Tensor
    points: Tensor
    strides: Tensor
    anchors: None = None


# ---- boxes as shares of their image --------------------------------------------------------------


def image_scales(sizes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """Return by what boxes in [0, 1] are multiplied to be in pixels: (B, 4), w, h, w, h.

    Args:
        sizes: height and width of each image, without the padding.
        like: a tensor of the dtype and device wanted.
    """
    return like.new_tensor([(width, height, width, height) for height, width in sizes])


def relative_targets(targets: Sequence[Target], sizes: Sequence[tuple[int, int]]) -> list[Target]:
    """Turn the objects' boxes into what the queries predict.

    Args:
        targets: per image ``{"boxes": (N, 4) xyxy in pixels, "labels": (N,)}``.
        sizes: height and width of each image, without the padding.

    Returns:
        The same with boxes cxcywh as shares of the image.
    """
    relative = []
    for target, (height, width) in zip(targets, sizes):
        boxes = box_convert(target["boxes"].float(), "xyxy", "cxcywh")
        scale = boxes.new_tensor([width, height, width, height])
        relative.append({**target, "boxes": boxes / scale})
    return relative


# ---- who learns what -----------------------------------------------------------------------------


def query_targets(
    matcher: HungarianMatcher,
    class_logits: Tensor,
    pred_boxes: Tensor,
    sizes: Sequence[tuple[int, int]],
    targets: Sequence[Target],
) -> QueryTargets:
    """Give each object the query with which the sum of costs is lowest.

    Args:
        matcher: knows the costs.
        class_logits: (B, Q, K + 1), or (B, Q, K) where the matcher takes yes-or-no scores.
        pred_boxes: (B, Q, 4) cxcywh in [0, 1].
        sizes: height and width of each image, without the padding.
        targets: per image ``{"boxes": (N, 4) xyxy in pixels, "labels": (N,)}``.

    Returns:
        The object of each query.
    """
    assigned = matcher.assign(class_logits, pred_boxes, relative_targets(targets, sizes))  # (B, Q)

    scales = image_scales(sizes, like=pred_boxes)  # (B, 4)
    points = pred_boxes[..., :2] * scales[:, None, :2]  # (B, Q, 2)
    strides = points.new_full((points.shape[1],), torch.inf)
    return QueryTargets(assigned, points, strides)


# ---- the loss of a set ---------------------------------------------------------------------------


def query_labels(assigned: Tensor, gt_labels: Tensor, no_object: int) -> Tensor:
    """Return the class that each query learns.

    Args:
        assigned: (B, Q) int64, the object of each query, −1 for none.
        gt_labels: (B, N) int64.
        no_object: the label of a query without an object, K.

    Returns:
        (B, Q) int64.
    """
    labels = torch.full_like(assigned, no_object)
    image, query = (assigned >= 0).nonzero(as_tuple=True)  # (M,) twice
    labels[image, query] = gt_labels[image, assigned[image, query]]
    return labels


def box_losses(
    pred_boxes: Tensor, assigned: Tensor, gt_boxes: Tensor, num_objects: float
) -> tuple[Tensor, Tensor]:
    """Compare the boxes of the queries that learn an object with the objects' (eq. 3 and A.2).

    Args:
        pred_boxes: (B, Q, 4) cxcywh as shares of the image.
        assigned: (B, Q) int64, the object of each query, −1 for none.
        gt_boxes: (B, N, 4) cxcywh, likewise.
        num_objects: what both sums are divided by.

    Returns:
        The sum of the absolute differences of the four numbers, and the sum of 1 − GIoU.
    """
    image, query = (assigned >= 0).nonzero(as_tuple=True)  # (M,) twice
    pred = pred_boxes[image, query]  # (M, 4)
    gt = gt_boxes[image, assigned[image, query]]  # (M, 4)

    l1 = (pred - gt).abs().sum()
    # GIoU is of corners: of centres and sizes it would be a number, too, and mean nothing.
    giou = giou_loss(box_convert(pred, "cxcywh", "xyxy"), box_convert(gt, "cxcywh", "xyxy")).sum()
    return l1 / num_objects, giou / num_objects


def warn_of_too_few_queries(num_queries: int, targets: Sequence[Target]) -> None:
    """Say that some objects are learnt by nobody, if an image has more of them than queries."""
    if any(len(target["labels"]) > num_queries for target in targets):
        warnings.warn(
            f"an image has more objects than there are queries ({num_queries}): those that fit "
            "worst are learnt by nobody, and none beyond that number can be found; build the "
            "detector with as many num_queries as an image has objects, or more",
            stacklevel=4,
        )


class SetCriterion:
    """Match the queries with the objects, then say how wrong they are (Carion et al. 2020, §3.1).

    Every decoder layer is matched and judged by itself, as if it were the last (§3.2, auxiliary
    losses).

    Args:
        matcher: gives each object a query.
        no_object_weight: how much a query without an object counts for the classes.
        class_weight, l1_weight, giou_weight: of the three terms.
    """

    def __init__(
        self,
        matcher: HungarianMatcher | None = None,
        *,
        no_object_weight: float = 0.1,
        class_weight: float = 1.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
    ) -> None:
        self.matcher = matcher or HungarianMatcher()
        self.no_object_weight = no_object_weight
        self.class_weight = class_weight
        self.l1_weight = l1_weight
        self.giou_weight = giou_weight

    def __call__(self, outputs: DETROutputs, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Judge all layers.

        Args:
            outputs: from `DETR.predict`.
            targets: per image ``{"boxes": (N, 4) cxcywh as shares of the image, "labels": (N,)}``.

        Returns:
            ``"class"``, ``"l1"`` and ``"giou"`` of the last layer, weighted, and ``"auxiliary"``,
            the sum of these of all layers before it, if there are any.

        Raises:
            ValueError: as `HungarianMatcher.assign` does.
        """
        class_logits = torch.cat((outputs.earlier_logits, outputs.class_logits[None]))
        pred_boxes = torch.cat((outputs.earlier_boxes, outputs.pred_boxes[None]))
        warn_of_too_few_queries(pred_boxes.shape[-2], targets)
        gt_boxes, gt_labels, _ = pad_targets(targets, like=pred_boxes)  # (B, N, 4), (B, N)
        num_objects = normaliser(sum(len(t["labels"]) for t in targets), pred_boxes.device)

        # One matching for all layers, each with a result of its own.
        assigned = self.matcher.assign(class_logits, pred_boxes, targets)  # (L, B, Q)
        *earlier, last = [
            self.layer_losses(*layer, gt_labels, gt_boxes, num_objects)
            for layer in zip(class_logits, pred_boxes, assigned)
        ]

        if not earlier:
            return last
        return last | {"auxiliary": sum(sum(losses.values()) for losses in earlier)}

    def layer_losses(
        self,
        class_logits: Tensor,
        pred_boxes: Tensor,
        assigned: Tensor,
        gt_labels: Tensor,
        gt_boxes: Tensor,
        num_objects: float,
    ) -> dict[str, Tensor]:
        """Judge one layer whose queries know what they are to learn.

        Args:
            class_logits: (B, Q, K + 1).
            pred_boxes: (B, Q, 4) cxcywh as shares of the image.
            assigned: (B, Q) int64, the object of each query, −1 for none.
            gt_labels: (B, N) int64.
            gt_boxes: (B, N, 4) cxcywh, likewise.
            num_objects: what the sums over boxes are divided by.

        Returns:
            ``"class"``, ``"l1"`` and ``"giou"``, weighted.
        """
        classification = self.classification(
            class_logits, pred_boxes, assigned, gt_labels, gt_boxes, num_objects
        )
        l1, giou = box_losses(pred_boxes, assigned, gt_boxes, num_objects)
        return {
            "class": self.class_weight * classification,
            "l1": self.l1_weight * l1,
            "giou": self.giou_weight * giou,
        }

    def classification(
        self,
        class_logits: Tensor,
        pred_boxes: Tensor,
        assigned: Tensor,
        gt_labels: Tensor,
        gt_boxes: Tensor,
        num_objects: float,
    ) -> Tensor:
        """Judge the classes of one layer: what criteria of other scores say in another way.

        Args: as for `layer_losses`; boxes and their number are for those others.

        Returns:
            A scalar.
        """
        labels = query_labels(assigned, gt_labels, no_object=class_logits.shape[-1] - 1)  # (B, Q)
        return set_classification_loss(class_logits, labels, self.no_object_weight)


# ---- the network ---------------------------------------------------------------------------------


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        in_features: of what comes in.
        hidden_dim: of all that lies between.
        out_features: of what comes out.
        num_layers: linear layers, at least 1.
    """

    def __init__(
        self, in_features: int, hidden_dim: int, out_features: int, num_layers: int
    ) -> None:
        super().__init__()
        widths = [in_features] + [hidden_dim] * (num_layers - 1) + [out_features]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) → (..., out_features)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(x))
        return last(x)


def padding_mask(
    sizes: Sequence[tuple[int, int]], features: Tensor, padded_size: tuple[int, int]
) -> Tensor | None:
    """Say which locations of a map lie in the padding of their image.

    Args:
        sizes: height and width of each image, without the padding, in pixels.
        features: (B, C, h, w), the map.
        padded_size: height and width of the batch, in pixels.

    Returns:
        (B, h, w) bool, by the pixel at the top left of each location; None if no image is padded.
    """
    height, width = padded_size
    if all(size == (height, width) for size in sizes):
        return None

    mask = features.new_ones(len(sizes), height, width, dtype=torch.float32)
    for i, (image_height, image_width) in enumerate(sizes):
        mask[i, :image_height, :image_width] = 0
    return F.interpolate(mask[None], size=features.shape[-2:])[0].bool()


def check_num_queries(num_queries: int) -> None:
    """Raise a ValueError for a detector that could find nothing."""
    if num_queries < 1:
        raise ValueError(
            f"num_queries is {num_queries}: a query finds one object at most, so give as many as "
            "an image can have"
        )


class DETR(Detector):
    """A backbone, a transformer, and a set of queries with a class and a box each.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first, of which the last is used;
            has ``out_channels``.
        transformer: C, and the layers.
        num_queries: Q, the most objects that can be found in an image.
        temperature: of the positions; see `detlearn.nets.transformer.sine_code`.
        criterion: matching and losses; with the paper's weights by default.
        batcher: see `Detector`.

    Raises:
        ValueError: if there is no query.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module,
        transformer: Transformer,
        *,
        num_queries: int = 100,
        temperature: float = TEMPERATURE,
        criterion: SetCriterion | None = None,
        batcher: ImageBatcher | None = None,
    ) -> None:
        super().__init__(num_classes, batcher)
        check_num_queries(num_queries)
        self.num_queries = num_queries
        hidden_dim = transformer.hidden_dim

        self.backbone = backbone
        self.input_proj = nn.Conv2d(backbone.out_channels[-1], hidden_dim, kernel_size=1)
        self.position_encoding = PositionalEncoding2D(hidden_dim, temperature)
        self.transformer = transformer
        self.query_embed = nn.Embedding(num_queries, hidden_dim)

        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        self.bbox_embed = MLP(hidden_dim, hidden_dim, 4, num_layers=3)
        self.criterion = criterion or SetCriterion()

    def predict(self, images: Tensor, sizes: list[tuple[int, int]] | None = None) -> DETROutputs:
        """Run the network: what each query says, after every decoder layer; see `Detector`."""
        sizes = sizes or [tuple(images.shape[-2:])] * len(images)
        memory = self.encode(images, sizes)

        queries, query_positions = self.first_queries(len(images))
        states = self.transformer.decoder(queries, query_positions, memory)  # (L, B, Q, C)

        class_logits, pred_boxes = self.answers(states)
        return DETROutputs(
            class_logits[-1], pred_boxes[-1], class_logits[:-1], pred_boxes[:-1], memory, sizes
        )

    def encode(self, images: Tensor, sizes: list[tuple[int, int]]) -> Memory:
        """Turn images into the memory that queries ask.

        Args:
            images: (B, 3, H, W), normalised and padded.
            sizes: height and width of each image without the padding.

        Returns:
            The map's tokens as the encoder leaves them, their positions and the padding.
        """
        features = list(self.backbone(images).values())[-1]  # (B, C', h, w), the coarsest
        padding = padding_mask(sizes, features, tuple(images.shape[-2:]))  # (B, h, w) or None
        positions = self.position_encoding(features, padding)  # (B, C, h, w)
        return self.transformer.encoder(self.input_proj(features), positions, padding)

    def first_queries(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return what the queries are before the first layer, and what tells them from each other.

        Args:
            batch_size: B.

        Returns:
            Zeros (B, Q, C), which the layers will fill, and the learnt positions (B, Q, C), which
            are added in every layer again and never change on the way.
        """
        query_positions = self.query_embed.weight.expand(batch_size, -1, -1)  # (B, Q, C)
        return torch.zeros_like(query_positions), query_positions

    def answers(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Turn queries into what they say.

        Args:
            states: (..., Q, C), after a decoder layer or after each.

        Returns:
            Logits of the classes (..., Q, K + 1) and boxes (..., Q, 4) cxcywh in [0, 1], in full
            precision.
        """
        class_logits = self.class_embed(states).float()
        pred_boxes = self.bbox_embed(states).float().sigmoid()
        return class_logits, pred_boxes

    def scores(self, class_logits: Tensor) -> Tensor:
        """Return the probabilities of the classes, "no object" left out: (…, K + 1) → (…, K)."""
        return class_logits.softmax(dim=-1)[..., :-1]

    @torch.no_grad()
    def assign(self, outputs: DETROutputs, targets: list[Target]) -> QueryTargets:
        """Say who learns what in the last layer, by the lowest sum of costs; see `Detector`."""
        matcher = self.criterion.matcher
        return query_targets(
            matcher, outputs.class_logits, outputs.pred_boxes, outputs.sizes, targets
        )

    def compute_loss(self, outputs: DETROutputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `Detector`.

        Returns:
            ``"class"``: cross-entropy of all queries, in which those without an object count for a
            tenth, divided by the sum of these weights; ``"l1"`` and ``"giou"``: of the queries that
            learn an object, divided by the number of objects; ``"auxiliary"``: the same three of
            the decoder's earlier layers, summed.
        """
        return self.criterion(outputs, relative_targets(targets, outputs.sizes))

    def decode(self, outputs: DETROutputs) -> list[Detections]:
        """Turn outputs into detections; see `Detector`.

        A query is one detection at most, of its most probable class, "no object" left out. Nothing
        is suppressed: an object has one query.
        """
        scores = self.scores(outputs.class_logits)  # (B, Q, K)
        best = F.one_hot(scores.argmax(dim=-1), self.num_classes).bool()  # (B, Q, K)
        candidates = best & (scores > self.score_threshold)

        scales = image_scales(outputs.sizes, like=scores)  # (B, 4)
        boxes = box_convert(outputs.pred_boxes, "cxcywh", "xyxy") * scales[:, None]  # (B, Q, 4)

        detections = []
        for i, size in enumerate(outputs.sizes):
            clipped = clip_boxes_to_image(boxes[i], size)
            detections.append(
                self.select_detections(clipped, scores[i], candidates=candidates[i], nms=False)
            )
        return detections

    @torch.no_grad()
    def attention_maps(self, images: Tensor, sizes: list[tuple[int, int]] | None = None) -> Tensor:
        """Return from where on the map each query takes what it knows.

        Args:
            images: (B, 3, H, W), normalised and padded.
            sizes: height and width of each image without the padding; (H, W) by default.

        Returns:
            (L, B, heads, Q, h, w), of each decoder layer and head; the weights of a query have the
            sum 1.
        """
        layers = self.transformer.decoder.layers
        weights = []
        hooks = [
            layer.multihead_attn.register_forward_hook(
                lambda module, asked, answer: weights.append(answer[1])
            )
            for layer in layers
        ]
        try:
            memory = self.predict(images, sizes).memory
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(weights).unflatten(-1, memory.map_size)


# ---- full size -----------------------------------------------------------------------------------


class PublishedBackbone(nn.Sequential):
    """A residual network under the names of the published weights: ``backbone.0.body.conv1``, …

    Args:
        body: the network.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__(nn.ModuleDict({"body": body}))
        self.out_channels = body.out_channels
        self.strides = body.strides

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the body's maps, finest first."""
        return self[0]["body"](images)


def detr_resnet50(
    num_classes: int = 91,
    *,
    num_queries: int = 100,
    min_size: int = 800,
    max_size: int = 1333,
    pretrained_backbone: bool = False,
) -> DETR:
    """DETR with ResNet-50 and six layers each: 41.5 million parameters for COCO.

    The backbone's batch normalisation is frozen, as in all published DETR detectors: to train one,
    start from a pretrained backbone or from `detlearn.pretrained.load_detr`.

    Args:
        num_classes: K; 91 for COCO, whose category ids go from 1 to 90 and are the labels of the
            published weights as they are. Label 0 is nothing's.
        num_queries: Q.
        min_size: images are resized so that the shorter side has this many pixels …
        max_size: … unless the longer side would then exceed this.
        pretrained_backbone: load torchvision's ImageNet weights and train only the last three of
            the backbone's five parts. Offline it warns, and the backbone starts at random.

    Returns:
        The detector.
    """
    body = pretrained_resnet50(FrozenBatchNorm2d) if pretrained_backbone else None
    return DETR(
        num_classes,
        PublishedBackbone(body or resnet50(FrozenBatchNorm2d)),
        Transformer(),
        num_queries=num_queries,
        batcher=ImageBatcher(min_size=min_size, max_size=max_size),
    )
