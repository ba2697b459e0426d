"""Who learns what: matching of anchors, proposals or queries to objects, the choice of a sample.

Shapes: N objects, P anchors (or proposals, or any predictions), Q queries. An index −1 stands for
background and −2 for "ignored": such an anchor is in no loss.

Sources: Ren et al. 2015, "Faster R-CNN" (arXiv 1506.01497), §3.1.2, for `match_anchors` and
`sample_anchors`; Zhang et al. 2020, "Bridging the Gap Between Anchor-based and Anchor-free
Detection via Adaptive Training Sample Selection" (arXiv 1912.02424), §4, for `atss_positives` and
`atss_assign`; Carion et al. 2020, "End-to-End Object Detection with Transformers" (arXiv
2005.12872), §3.1 and appendix A.2, for `matching_cost` and `HungarianMatcher`; the algorithm itself
is scipy's. `focal_matching_cost` is that of Deformable DETR (Zhu et al. 2021, arXiv 2010.04159).

Where we differ from torchvision: an object that no anchor touches gets no anchor. In torchvision's
``Matcher`` its best IoU is 0, *every* anchor without overlap ties for that best, and all of them
become positive. And an image without objects is no error: all its anchors are background.

Where we differ from ATSS's paper: of places that lie equally far from an object the first come
first, which the paper leaves open. Its standard deviation is the unbiased one, as in the published
code.

Where we differ from DETR's code: its matcher computes one block of costs for each decoder layer, of
all queries of the batch with all objects of the batch, and uses those of the same image. Here each
query meets the objects of its own image only, and all layers are computed at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from detlearn.boxes import box_convert, box_iou, check_boxes, generalized_box_iou, upcast
from detlearn.losses import sigmoid_focal_loss
from detlearn.samples import Target

BACKGROUND = -1
IGNORED = -2


def match_anchors(
    iou: Tensor,
    high: float = 0.7,
    low: float = 0.3,
    allow_low_quality_matches: bool = True,
) -> Tensor:
    """Say which object each anchor learns.

    An anchor takes the object that it overlaps most, if it overlaps it enough. Besides, the anchors
    that overlap an object most of all are positive whatever their IoU, so that few objects go
    without. Such an anchor still learns the object that it overlaps most *itself*, which may be
    another one: with IoUs [[0.6, 0.0], [0.5, 0.0]] both objects claim the first anchor, the first
    object has it, and the second goes without.

    Args:
        iou: (..., N, P) of each object with each anchor; N and P may be 0. Rows of zeros match
            nothing, so images with fewer objects can be padded.
        high: from here on an anchor is positive.
        low: below this it is background; in between it is ignored.
        allow_low_quality_matches: whether an object's best anchors are positive whatever their IoU.

    Returns:
        (..., P) int64: the object's index, −1 for background, −2 for ignored.
    """
    if iou.numel() == 0:  # no object: all is background
        return iou.new_full((*iou.shape[:-2], iou.shape[-1]), BACKGROUND, dtype=torch.int64)

    # What each anchor overlaps most decides.
    best_iou, best_object = iou.max(dim=-2)  # (..., P) twice
    matched = best_object.masked_fill(best_iou < high, IGNORED)
    matched = matched.masked_fill(best_iou < low, BACKGROUND)

    # The anchors that overlap an object most, all of them if several tie. An object that no anchor
    # touches has a best IoU of 0, for which every anchor would tie.
    if allow_low_quality_matches:
        best_of_object = iou.amax(dim=-1, keepdim=True)  # (..., N, 1)
        forced = ((iou == best_of_object) & (best_of_object > 0)).any(dim=-2)  # (..., P)
        matched = torch.where(forced, best_object, matched)

    return matched


def sample_anchors(
    labels: Tensor, batch_size: int, positive_fraction: float
) -> tuple[Tensor, Tensor]:
    """Draw the anchors of one image that are in the loss.

    Nearly all anchors are background. A loss over all of them would teach little else.

    Args:
        labels: (A,) int64, as `match_anchors` returns them: 0 or more for an anchor that learns an
            object, −1 for background, −2 for ignored.
        batch_size: anchors to draw, in all.
        positive_fraction: at most this share of them are positive (rounded down); where there are
            fewer, negatives fill the sample.

    Returns:
        The indices of the chosen positives and of the chosen negatives, (p,) and (n,) int64, drawn
        without replacement, in no particular order.

    Raises:
        TypeError: if the labels are no int64 tensor.
        ValueError: if they have another shape or are below −2, the batch size is negative, or the
            fraction is not in [0, 1].
    """
    _check_labels(labels)
    _check_numbers(batch_size, positive_fraction)
    positive = (labels >= 0).nonzero()[:, 0]
    negative = (labels == BACKGROUND).nonzero()[:, 0]

    # Only the positives have a limit of their own; negatives fill what is left.
    num_positive = min(len(positive), int(batch_size * positive_fraction))
    num_negative = min(len(negative), batch_size - num_positive)

    # The first so many after shuffling.
    positive = positive[torch.randperm(len(positive), device=labels.device)[:num_positive]]
    negative = negative[torch.randperm(len(negative), device=labels.device)[:num_negative]]
    return positive, negative


def atss_positives(anchors: Tensor, level_sizes: Sequence[int], box: Tensor, k: int = 9) -> Tensor:
    """Say which anchors learn an object, by a threshold that the object sets itself (ATSS, §4.1).

    On each level the k anchors whose centres lie nearest to the object's centre are candidates. If
    one level fits the object well, the IoUs of its candidates stand out: the mean is low, the
    spread large, and only these reach the sum of the two.

    Args:
        anchors: (P, 4) xyxy, level after level.
        level_sizes: how many of them each level has; their sum is P.
        box: (4,) the object, xyxy.
        k: candidates of each level; all, where it has fewer.

    Returns:
        (P,) bool. It may be that no anchor is positive.

    Raises:
        ValueError: for shapes or level sizes that do not fit, and for a k below 1.
    """
    _check_levels(anchors, level_sizes, k)
    _check_shape(box, "box", (4,))
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2  # (P, 2)
    centre = (box[:2] + box[2:]) / 2  # (2,)

    # The candidates: those nearest to the object, of each level. Squared, the distances are in the
    # same order; and a stable sort leaves equal ones as they stand.
    distances = (centres - centre).square().sum(dim=1)  # (P,)
    candidates = []
    start = 0
    for size in level_sizes:
        nearest = distances[start : start + size].argsort(stable=True)[:k]
        candidates.append(start + nearest)
        start += size
    candidates = torch.cat(candidates)  # (C,)

    # The object's threshold. In float64 equal IoUs have a spread of exactly 0; of a single one
    # there is none.
    iou = box_iou(box[None], anchors[candidates])[0].double()  # (C,)
    spread = iou.std() if len(iou) > 1 else 0
    good = iou >= iou.mean() + spread

    # From a place outside the object most of what can be seen is something else.
    inside = (centres[candidates] > box[:2]) & (centres[candidates] < box[2:])  # (C, 2)
    positive = torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    positive[candidates] = good & inside.all(dim=1)
    return positive


def atss_assign(
    anchors: Tensor, level_sizes: Sequence[int], boxes: Tensor, real: Tensor, k: int = 9
) -> Tensor:
    """Say which object each anchor learns: `atss_positives` for all objects of a batch at once.

    An anchor that is positive for several objects learns the one that it overlaps most, of equal
    ones the first. So an object may lose all its anchors to another.

    Args:
        anchors: (P, 4) xyxy, level after level.
        level_sizes: how many of them each level has; their sum is P.
        boxes: (B, N, 4) the objects, xyxy; images with fewer are padded. N may be 0.
        real: (B, N) bool, false for padding.
        k: candidates of each level; all, where it has fewer.

    Returns:
        (B, P) int64: the object's index in its image, or −1 for background.

    Raises:
        ValueError: for shapes or level sizes that do not fit, and for a k below 1.
    """
    _check_levels(anchors, level_sizes, k)
    _check_shape(boxes, "boxes", (*real.shape, 4))
    batch_size, num_objects = real.shape
    if num_objects == 0 or len(anchors) == 0:
        return torch.full((batch_size, len(anchors)), BACKGROUND, device=anchors.device)

    # The candidates: those nearest to each object, of each level.
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2  # (P, 2)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2  # (B, N, 2)
    distances = (centres - centre[:, :, None]).square().sum(dim=-1)  # (B, N, P)
    levels = distances.split(list(level_sizes), dim=-1)
    candidate = torch.cat([_lowest(level, k) for level in levels], dim=-1)  # (B, N, P)

    # Every object's threshold. All have equally many candidates, so these fill a tensor.
    iou = box_iou(boxes, anchors).double()  # (B, N, P)
    count = sum(min(k, size) for size in level_sizes)
    of_candidates = iou[candidate].view(batch_size, num_objects, count)  # (B, N, C)
    spread = of_candidates.std(dim=-1, keepdim=True) if count > 1 else 0  # (B, N, 1)
    threshold = of_candidates.mean(dim=-1, keepdim=True) + spread

    low, high = boxes[:, :, None, :2], boxes[:, :, None, 2:]  # (B, N, 1, 2) twice
    inside = ((centres > low) & (centres < high)).all(dim=-1)  # (B, N, P)
    positive = candidate & (iou >= threshold) & inside & real[..., None]

    # Each anchor goes to the object that it overlaps most.
    best_iou, assigned = iou.masked_fill(~positive, -1).max(dim=1)  # (B, P) twice
    return assigned.masked_fill(best_iou < 0, BACKGROUND)


def _lowest(values: Tensor, k: int) -> Tensor:
    """Return which are the k lowest of each row, (..., P) bool: of equal ones the first."""
    if values.shape[-1] <= k:
        return torch.ones_like(values, dtype=torch.bool)
    kth = values.topk(k, largest=False).values.amax(dim=-1, keepdim=True)  # (..., 1)
    below, equal = values < kth, values == kth

    # Those equal to the k-th share the places that are left, the first ones first.
    places = k - below.sum(dim=-1, keepdim=True)
    return below | (equal & (equal.cumsum(dim=-1) <= places))


def matching_cost(
    class_logits: Tensor,
    pred_boxes: Tensor,
    labels: Tensor,
    boxes: Tensor,
    *,
    cost_class: float = 1.0,
    cost_bbox: float = 5.0,
    cost_giou: float = 2.0,
) -> Tensor:
    """Say what it would cost to give each object to each query (Carion et al. 2020, §3.1 and A.2).

        −cost_class · p(class)  +  cost_bbox · |difference of the four numbers|  −  cost_giou · GIoU

    The class counts by its probability and not by its logarithm, so that the three terms are about
    equally large.

    Args:
        class_logits: (..., Q, K + 1), the last of them for "no object".
        pred_boxes: (..., Q, 4) cxcywh, as shares of the image's width and height.
        labels: (..., N) int64, 0 … K−1; N may be 0.
        boxes: (..., N, 4) cxcywh, likewise. The leading dimensions may be broadcast: those of a
            batch (B,) serve all layers (L, B).
        cost_class, cost_bbox, cost_giou: weights of the three terms.

    Returns:
        (..., Q, N), lower where they fit better.

    Raises:
        TypeError, ValueError: for boxes that are no tensor (..., 4).
    """
    check_boxes(pred_boxes, "pred_boxes")
    check_boxes(boxes, "boxes")
    pred_boxes, boxes = upcast(pred_boxes), upcast(boxes)

    # How sure is the query of the object's class?
    probabilities = upcast(class_logits).softmax(dim=-1)  # (..., Q, K + 1)
    labels = labels.expand(*probabilities.shape[:-2], labels.shape[-1])  # (..., N)
    of_class = probabilities.take_along_dim(labels[..., None, :], dim=-1)  # (..., Q, N)

    # How far apart are the boxes? The distance counts large ones more, GIoU all alike.
    distance = torch.cdist(pred_boxes, boxes.to(pred_boxes), p=1)  # (..., Q, N)
    giou = generalized_box_iou(
        box_convert(pred_boxes, "cxcywh", "xyxy"), box_convert(boxes, "cxcywh", "xyxy")
    )  # (..., Q, N)

    return cost_bbox * distance - cost_class * of_class - cost_giou * giou


def focal_matching_cost(
    class_logits: Tensor,
    pred_boxes: Tensor,
    labels: Tensor,
    boxes: Tensor,
    *,
    cost_class: float = 2.0,
    cost_bbox: float = 5.0,
    cost_giou: float = 2.0,
) -> Tensor:
    """Return `matching_cost` where every class is a question of its own (Deformable DETR).

    The class counts by how much the focal loss would grow if the query had to answer yes to it and
    not no. For a sure yes that is negative.

    Args: as for `matching_cost`, but class_logits are (..., Q, K), before a sigmoid.

    Returns:
        (..., Q, N), lower where they fit better.
    """
    weights = {"cost_class": 0.0, "cost_bbox": cost_bbox, "cost_giou": cost_giou}
    of_boxes = matching_cost(class_logits, pred_boxes, labels, boxes, **weights)  # (..., Q, N)

    labels = labels.expand(*class_logits.shape[:-2], labels.shape[-1])  # (..., N)
    logits = class_logits.take_along_dim(labels[..., None, :], dim=-1)  # (..., Q, N)
    yes = sigmoid_focal_loss(logits, torch.ones_like(logits))
    no = sigmoid_focal_loss(logits, torch.zeros_like(logits))
    return of_boxes + cost_class * (yes - no)


class HungarianMatcher:
    """Give each object a query of its own so that the sum of `matching_cost` is as low as possible.

    Args:
        cost_class, cost_bbox, cost_giou: weights of the three terms.
        focal: logits are (..., Q, K), before a sigmoid, and the cost is `focal_matching_cost`.

    Raises:
        ValueError: if all three are 0, or one is negative.
    """

    def __init__(
        self,
        cost_class: float = 1.0,
        cost_bbox: float = 5.0,
        cost_giou: float = 2.0,
        *,
        focal: bool = False,
    ) -> None:
        costs = {"cost_class": cost_class, "cost_bbox": cost_bbox, "cost_giou": cost_giou}
        if min(costs.values()) < 0 or max(costs.values()) == 0:
            raise ValueError(f"the weights are {costs}: expected none below 0, and one above")
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.cost_of = focal_matching_cost if focal else matching_cost

    def __call__(
        self, outputs: Mapping[str, Tensor] | Any, targets: Sequence[Target]
    ) -> list[tuple[Tensor, Tensor]]:
        """Match the queries of a batch with the objects of their images.

        Args:
            outputs: with ``class_logits`` (B, Q, K + 1) and ``pred_boxes`` (B, Q, 4) cxcywh, as
                attributes or as keys.
            targets: per image ``{"boxes": (N, 4) cxcywh as shares of the image, "labels": (N,)}``.

        Returns:
            Per image the matched queries, ascending, and the object of each: two int64 tensors of
            length min(Q, N).

        Raises:
            ValueError: as `assign` does.
        """
        if not isinstance(outputs, Mapping):
            outputs = {"class_logits": outputs.class_logits, "pred_boxes": outputs.pred_boxes}

        pairs = []
        for assigned in self.assign(outputs["class_logits"], outputs["pred_boxes"], targets):
            queries = (assigned >= 0).nonzero()[:, 0]  # (M,)
            pairs.append((queries, assigned[queries]))
        return pairs

    @torch.no_grad()
    def assign(
        self,
        class_logits: Tensor,
        pred_boxes: Tensor,
        targets: Sequence[Target],
        copies: int = 1,
    ) -> Tensor:
        """Say which object each query learns, for any number of decoder layers at once.

        Args:
            class_logits: (..., B, Q, K + 1), in front for instance the L layers.
            pred_boxes: (..., B, Q, 4) cxcywh, as shares of the image.
            targets: per image ``{"boxes": (N, 4) cxcywh as shares of the image, "labels": (N,)}``.
            copies: so many queries each object is given.

        Returns:
            (..., B, Q) int64: the object's index in its image, or −1 for no object. If there are
            more objects than queries, the objects that fit worst go without.

        Raises:
            ValueError: for another number of targets than images, values that are not finite, or
                boxes of negative width or height.
        """
        if class_logits.ndim < 3 or class_logits.shape[-3] != len(targets):
            raise ValueError(
                f"class_logits have shape {tuple(class_logits.shape)} for {len(targets)} "
                "target(s): expected (..., B, Q, K + 1) with one target an image"
            )
        boxes = [target["boxes"].to(pred_boxes) for target in targets]
        labels = [target["labels"].to(class_logits.device) for target in targets]
        counts = [len(label) for label in labels]

        # All costs in one pass; images with fewer objects are padded.
        boxes = pad_sequence(boxes, batch_first=True)  # (B, N, 4)
        labels = pad_sequence(labels, batch_first=True)  # (B, N)
        _check_predictions(class_logits, pred_boxes, boxes)
        cost = self.cost_of(
            class_logits,
            pred_boxes,
            labels,
            boxes,
            cost_class=self.cost_class,
            cost_bbox=self.cost_bbox,
            cost_giou=self.cost_giou,
        )  # (..., B, Q, N)

        # The algorithm wants one matrix at a time. Image i of every layer has the same objects.
        cost = cost.flatten(end_dim=-3).cpu().numpy()  # (M, Q, N)
        assigned = np.full(cost.shape[:2], BACKGROUND)  # (M, Q)
        for i in range(len(cost)):
            count = counts[i % len(counts)]
            columns = np.tile(cost[i, :, :count], copies)  # (Q, copies · N): all, and all again
            queries, objects = linear_sum_assignment(columns)
            assigned[i, queries] = objects % max(count, 1)

        assigned = torch.from_numpy(assigned).to(class_logits.device)
        return assigned.view(class_logits.shape[:-1])  # (..., B, Q)


class Matcher:
    """`match_anchors` with its thresholds, in torchvision's form.

    Args:
        high_threshold: an IoU of at least this makes an anchor positive.
        low_threshold: an IoU below this makes it background; in between it is ignored.
        allow_low_quality_matches: the anchors that overlap an object most become positive whatever
            the IoU.

    Raises:
        ValueError: if the low threshold is above the high one.
    """

    BELOW_LOW_THRESHOLD = BACKGROUND
    BETWEEN_THRESHOLDS = IGNORED

    def __init__(
        self,
        high_threshold: float,
        low_threshold: float,
        allow_low_quality_matches: bool = False,
    ) -> None:
        if low_threshold > high_threshold:
            raise ValueError(
                f"low_threshold {low_threshold} is above high_threshold {high_threshold}"
            )
        self.high_threshold = high_threshold
        self.low_threshold = low_threshold
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> Tensor:
        """Match.

        Args:
            match_quality_matrix: (..., N, P) IoU of each object with each anchor; N and P may be 0.

        Returns:
            (..., P) int64: the object's index, −1 for background, −2 for ignored.

        Raises:
            ValueError: if the matrix has fewer than two dimensions.
        """
        if match_quality_matrix.ndim < 2:
            shape = tuple(match_quality_matrix.shape)
            raise ValueError(f"the matrix of IoUs has shape {shape}: expected (N, P)")

        return match_anchors(
            match_quality_matrix,
            high=self.high_threshold,
            low=self.low_threshold,
            allow_low_quality_matches=self.allow_low_quality_matches,
        )


class BalancedPositiveNegativeSampler:
    """`sample_anchors` with its numbers, in torchvision's form.

    Args:
        batch_size_per_image: anchors to draw, in all.
        positive_fraction: at most this share of them are positive; where there are fewer, negatives
            fill the sample.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction

    def __call__(self, matched_idxs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Draw.

        Args:
            matched_idxs: per image (P,) labels: 1 or more for positive, 0 for background, −1 for
                ignored anchors.

        Returns:
            Per image a mask (P,) uint8 of the chosen positives, and one of the chosen negatives.

        Raises:
            TypeError, ValueError: as `sample_anchors` does.
        """
        positives, negatives = [], []
        for labels in matched_idxs:
            # Torchvision's labels are larger by one than those of `match_anchors`.
            positive, negative = sample_anchors(
                labels - 1, self.batch_size_per_image, self.positive_fraction
            )
            positives.append(_mask(labels, positive))
            negatives.append(_mask(labels, negative))
        return positives, negatives


def _mask(labels: Tensor, chosen: Tensor) -> Tensor:
    """Return a mask (P,) uint8 of the chosen indices."""
    mask = torch.zeros_like(labels, dtype=torch.uint8)
    mask[chosen] = 1
    return mask


# ---- what comes in ----


def _check_levels(anchors: Tensor, level_sizes: Sequence[int], k: int) -> None:
    if anchors.ndim != 2 or anchors.shape[1] != 4:
        raise ValueError(f"anchors have shape {tuple(anchors.shape)}: expected (P, 4)")
    if sum(level_sizes) != len(anchors) or min(level_sizes, default=-1) < 0:
        raise ValueError(
            f"level_sizes are {list(level_sizes)}: expected the number of anchors of each level, "
            f"{len(anchors)} in all"
        )
    if k < 1:
        raise ValueError(f"k is {k}: an object needs at least one candidate on a level")


def _check_shape(tensor: Tensor, name: str, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}: expected {shape}")


def _check_predictions(class_logits: Tensor, pred_boxes: Tensor, boxes: Tensor) -> None:
    """Look at the matcher's input, where a training that went wrong shows first."""
    if not class_logits.isfinite().all() or not pred_boxes.isfinite().all():
        name = "pred_boxes" if class_logits.isfinite().all() else "class_logits"
        raise ValueError(
            f"{name} are not finite (NaN or infinite), so no query can be matched: an earlier step "
            "has ruined the weights. Look at the loss and the norm of the gradient before it; try "
            "a lower learning rate, a smaller clip_norm, or no autocast"
        )

    for name, checked in (("pred_boxes", pred_boxes), ("the targets' boxes", boxes)):
        inverted = ~(checked[..., 2:] >= 0).all(dim=-1)  # (..., Q) or (B, N); NaN is one, too
        if inverted.any():
            box = [round(x, 4) for x in checked[inverted][0].tolist()]
            raise ValueError(
                f"{name} hold {box}: expected (cx, cy, w, h) with a width and a height of at least "
                "0. Corners are turned by detlearn.boxes.box_convert(boxes, 'xyxy', 'cxcywh'); "
                "what a layer predicts needs a sigmoid first"
            )


def _check_labels(labels: Tensor) -> None:
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a torch.Tensor (A,), got {type(labels).__name__}")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64, got {labels.dtype}; convert them with .long()")
    if labels.ndim != 1:
        raise ValueError(
            f"labels must be those of one image, (A,), got {tuple(labels.shape)}; "
            "call it once for each image"
        )
    if (labels < IGNORED).any():
        raise ValueError(
            f"labels hold {int(labels.min())}: expected an object's index, {BACKGROUND} for "
            f"background or {IGNORED} for ignored"
        )


def _check_numbers(batch_size: int, positive_fraction: float) -> None:
    if batch_size < 0:
        raise ValueError(f"batch_size must be 0 or more, got {batch_size}")
    if not 0 <= positive_fraction <= 1:
        raise ValueError(
            f"positive_fraction must be a share, in [0, 1], got {positive_fraction}; "
            "a quarter is 0.25"
        )


def places_per_object(assigned: Tensor, num_objects: int) -> Tensor:
    """Count the places that learn each object: the first thing to ask of an assignment.

    Args:
        assigned: (B, P) int64, the index of the object that each place learns; −1 for background,
            −2 for places in no loss.
        num_objects: N.

    Returns:
        (B, N) int64; 0 for an object that nobody learns.
    """
    objects = torch.arange(num_objects, device=assigned.device)
    return (assigned[:, :, None] == objects).sum(dim=1)  # (B, P, N) -> (B, N)
