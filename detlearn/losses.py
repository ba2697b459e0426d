"""Losses of boxes and of class scores.

The box losses are one minus a relative of the IoU, taken box by box: `iou_loss`, `giou_loss`
(Rezatofighi et al. 2019, arXiv 1902.09630), `diou_loss` and `ciou_loss` (Zheng et al. 2020, arXiv
1911.08287). The penalties that tell them apart stand in `detlearn.boxes`. `sigmoid_focal_loss` is
RetinaNet's (Lin et al. 2017, arXiv 1708.02002) and `heatmap_focal_loss` CornerNet's (Law and Deng
2018, arXiv 1808.01244), which CenterNet uses too; `focal_classification_loss` is the first summed
and divided as RetinaNet and FCOS train with it. `varifocal_loss` wants a score to say how well the
box fits (Zhang et al. 2021, arXiv 2008.13367). `set_classification_loss` is DETR's (Carion et al.
2020, arXiv 2005.12872). `distribution_focal_loss` is of a distance that is predicted as a
distribution (Li et al. 2020, arXiv 2006.04388).

Shapes: `...` stands for any leading dimensions, mostly (N,). Everything is computed in float32 at
least, so bfloat16 outputs of a network under autocast may be passed as they are; the loss then is
float32.

The four box losses take the same arguments:

    pred_boxes: (..., 4), xyxy.
    target_boxes: (..., 4), xyxy, the same shape: prediction i is compared with target i.
    reduction: "none" gives the loss of each pair, (...); "sum" and "mean" (0 if there are no boxes)
        give a scalar.
    eps: added to every denominator, so that boxes without area do no harm.

They raise TypeError for what is no tensor, and ValueError for shapes that differ or do not end in 4
and for an unknown reduction.

Where we differ from torchvision:
    - Names: torchvision's are `generalized_box_iou_loss`, `distance_box_iou_loss` and
      `complete_box_iou_loss`.
    - `ciou_loss` stays finite, gradient included, for a box of height 0, where torchvision's gives
      NaN; and `eps` reaches all its terms, where torchvision's leaves the DIoU part at 1e-7.
    - `sigmoid_focal_loss` returns float32 for half-precision logits, and takes integer targets.
Where we differ from CenterNet's code: see `heatmap_focal_loss`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.boxes import (
    aspect_penalty,
    check_boxes,
    distance_penalty,
    enclosing_penalty,
    paired_iou,
)
from detlearn.machine.distributed import mean_over_processes, normaliser

REDUCTIONS = ("none", "mean", "sum")
# The label of a place that is in no loss, as in `detlearn.matching`; −1 is background.
IGNORED = -2


# ---- boxes ----


def iou_loss(
    pred_boxes: Tensor, target_boxes: Tensor, reduction: str = "none", eps: float = 1e-7
) -> Tensor:
    """Return 1 − IoU, in [0, 1].

    Boxes that lie apart have loss 1 and no gradient, which the other three repair.
    """
    _check_pairs(pred_boxes, target_boxes, reduction)
    pred = at_least_float32(pred_boxes)
    target = at_least_float32(target_boxes)

    loss = 1 - paired_iou(pred, target, eps)  # (...)
    return reduce_loss(loss, reduction)


def giou_loss(
    pred_boxes: Tensor, target_boxes: Tensor, reduction: str = "none", eps: float = 1e-7
) -> Tensor:
    """Return 1 − GIoU = 1 − IoU + (C − U) / C, in [0, 2).

    C is the area of the smallest box around both, U the area that they cover.
    """
    _check_pairs(pred_boxes, target_boxes, reduction)
    pred = at_least_float32(pred_boxes)
    target = at_least_float32(target_boxes)

    iou = paired_iou(pred, target, eps)  # (...)
    loss = 1 - iou + enclosing_penalty(pred, target, eps)  # (...)
    return reduce_loss(loss, reduction)


def diou_loss(
    pred_boxes: Tensor, target_boxes: Tensor, reduction: str = "none", eps: float = 1e-7
) -> Tensor:
    """Return 1 − DIoU = 1 − IoU + ρ² / c², in [0, 2).

    ρ is the distance of the centres, c the diagonal of the smallest box around both.
    """
    _check_pairs(pred_boxes, target_boxes, reduction)
    pred = at_least_float32(pred_boxes)
    target = at_least_float32(target_boxes)

    iou = paired_iou(pred, target, eps)  # (...)
    loss = 1 - iou + distance_penalty(pred, target, eps)  # (...)
    return reduce_loss(loss, reduction)


def ciou_loss(
    pred_boxes: Tensor, target_boxes: Tensor, reduction: str = "none", eps: float = 1e-7
) -> Tensor:
    """Return 1 − CIoU = 1 − IoU + ρ² / c² + αv, in [0, 2.5).

    αv is the penalty for a different aspect ratio. As in the paper, α carries no gradient and is
    not gated by the IoU.
    """
    _check_pairs(pred_boxes, target_boxes, reduction)
    pred = at_least_float32(pred_boxes)
    target = at_least_float32(target_boxes)

    iou = paired_iou(pred, target, eps)  # (...)
    loss = 1 - iou + distance_penalty(pred, target, eps)  # (...)
    loss = loss + aspect_penalty(pred, target, iou, eps)
    return reduce_loss(loss, reduction)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Widen half precision and whole numbers to float32; float32 and float64 stay."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def reduce_loss(loss: Tensor, reduction: str) -> Tensor:
    """Return each loss ("none"), their sum, or their mean, which of no loss at all is 0."""
    if reduction == "none":
        return loss
    total = loss.sum()
    if reduction == "sum":
        return total

    # An image without objects has a loss of 0 that is still part of the graph, not the NaN of an
    # empty mean.
    return total / max(loss.numel(), 1)


# ---- class scores ----


def sigmoid_focal_loss(
    inputs: Tensor,
    targets: Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: str = "none",
) -> Tensor:
    """Return the cross-entropy in which examples that are already right count for little.

        FL = −α_t (1 − p_t)^γ log p_t,   p_t = p for targets of 1, else 1 − p

    Lin et al. 2017, equation 5.

    Args:
        inputs: logits, any shape.
        targets: the same shape; 1 for the class, 0 against it (between, a mixture of both).
        alpha: weight of the positives in [0, 1], the negatives get 1 − alpha; −1 for no weights.
        gamma: how fast the weight of easy examples falls; 0 gives (weighted) cross-entropy.
        reduction: "none", "mean" (NaN if there is no element, as in torchvision) or "sum".
            RetinaNet takes the sum and divides it by the number of positive anchors.

    Returns:
        The shape of `inputs` for "none", else a scalar.

    Raises:
        ValueError: for shapes that differ, alpha outside its range, a negative gamma or an unknown
            reduction.
    """
    _check_scores(inputs, targets, reduction)
    if not 0 <= alpha <= 1 and alpha != -1:
        raise ValueError(
            f"Invalid alpha {alpha}: expected a weight in [0, 1], or -1 for no weights"
        )
    if not gamma >= 0:
        raise ValueError(f"Invalid gamma {gamma}: expected an exponent of at least 0")
    inputs = at_least_float32(inputs)
    targets = targets.to(inputs.dtype)

    # −log p_t
    cross_entropy = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")

    # 1 − p_t with 1 − p written as σ(−x), which keeps its digits where p rounds to 1. The lower
    # bound serves 0 < γ < 1, whose power has an infinite slope at 0.
    miss = targets * torch.sigmoid(-inputs) + (1 - targets) * torch.sigmoid(inputs)
    miss = miss.clamp(min=torch.finfo(miss.dtype).tiny)
    loss = miss**gamma * cross_entropy

    if alpha >= 0:
        alpha_t = alpha * targets + (1 - alpha) * (1 - targets)
        loss = alpha_t * loss

    return loss.mean() if reduction == "mean" else reduce_loss(loss, reduction)


def focal_classification_loss(
    logits: Tensor, labels: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> Tensor:
    """Return the focal loss of all places of a batch, for each place that has an object.

    Nearly all places are background, and nearly all of these are easy. The sum runs over all of
    them; but divided by their number it would vanish, so it is divided by the number of positives
    (Lin et al. 2017, §4.1). Every class is a question of its own, yes or no; background is no class
    but K times no.

    Args:
        logits: (..., K) of the K classes at each place.
        labels: (...) int64: a place's class, 0 … K−1; −1 for background, −2 for "in no loss".
        alpha: weight of yes in [0, 1], no gets 1 − alpha; None for no weights.
        gamma: how fast the weight of easy answers falls; 0 gives cross-entropy.

    Returns:
        A scalar. Without any positive the sum is divided by 1. Where several processes train
        together, it is divided by their mean number of positives (`normaliser`).

    Raises:
        TypeError: for what is no tensor, and for labels that are not int64.
        ValueError: for shapes that do not fit, a label outside −2 … K−1, or a bad alpha or gamma.
    """
    _check_labels(logits, labels)
    positive = labels >= 0  # (...)

    # Of each place's K answers one is to be yes if it has an object, and none if it is background.
    targets = torch.zeros_like(logits)  # (..., K)
    targets[positive, labels[positive]] = 1

    loss = sigmoid_focal_loss(logits, targets, alpha=-1 if alpha is None else alpha, gamma=gamma)
    loss = loss.masked_fill((labels == IGNORED)[..., None], 0)  # (..., K)
    return loss.sum() / normaliser(positive.sum(), logits.device)


def heatmap_focal_loss(
    logits: Tensor,
    targets: Tensor,
    alpha: float = 2.0,
    beta: float = 4.0,
    reduction: str = "sum",
) -> Tensor:
    """Return the penalty-reduced focal loss for heat maps with one Gaussian bump per object.

        −(1 − p)^α log p                  where the target is exactly 1 (an object's centre)
        −(1 − target)^β p^α log(1 − p)    elsewhere: near a centre a high score costs little

    Law and Deng 2018, equation 1; CenterNet (Zhou et al. 2019, arXiv 1904.07850), equation 1. Both
    divide the sum by the number of objects N of the batch, which the caller knows:

        heatmap_focal_loss(logits, targets) / max(N, 1)

    Where we differ from CenterNet's code: it clamps p to [1e-4, 1 − 1e-4], so that a score that is
    wrong with great certainty (beyond a logit of ±9.2) costs no more than 9.2 and has no gradient.
    We take log p straight from the logits, which needs no clamp; between the bounds the two agree.

    Args:
        logits: any shape, mostly (B, K, H, W); before the sigmoid.
        targets: the same shape, in [0, 1].
        alpha: exponent of the focal weight.
        beta: exponent of the penalty reduction around the centres.
        reduction: "none", "mean" (over all pixels, which is not the papers' normaliser) or "sum".

    Returns:
        The shape of `logits` for "none", else a scalar.

    Raises:
        ValueError: for shapes that differ or an unknown reduction.
    """
    _check_scores(logits, targets, reduction)
    logits = at_least_float32(logits)
    targets = targets.to(logits.dtype)

    # 1 − p as σ(−x) and the logarithms from the logits: no digit is lost however sure the network.
    p = torch.sigmoid(logits)
    not_p = torch.sigmoid(-logits)
    log_p = F.logsigmoid(logits)
    log_not_p = F.logsigmoid(-logits)

    at_centre = -(not_p**alpha) * log_p
    elsewhere = -((1 - targets) ** beta) * p**alpha * log_not_p
    loss = torch.where(targets == 1, at_centre, elsewhere)
    return reduce_loss(loss, reduction)


def varifocal_loss(
    logits: Tensor,
    targets: Tensor,
    alpha: float = 0.75,
    gamma: float = 2.0,
    reduction: str = "none",
) -> Tensor:
    """Return the loss of a score that is to be the IoU of its box with the object.

        −q (q log p + (1 − q) log(1 − p))    where the target q is above 0
        −α p^γ log(1 − p)                    where it is 0

    Zhang et al. 2021, equation 2. Of two boxes around one object the better one then has the higher
    score, which is what a ranking of detections needs. The first line is least at p = q and counts
    by q: a good box, of which there are few, is worth more than a poor one. The second is the focal
    loss, which keeps the many easy answers "no" from drowning them; "yes" is not weakened.

    Args:
        logits: any shape; before the sigmoid.
        targets: the same shape, in [0, 1]: q = IoU of the predicted box with its object for that
            object's class, 0 for all other classes and where there is no object. It is a target:
            no gradient goes into it.
        alpha: weight of the answers that are to be "no"; "yes" has none.
        gamma: how fast the weight of easy answers "no" falls.
        reduction: "none", "mean" or "sum". The paper divides the sum by the number of places that
            have an object, which the caller knows.

    Returns:
        The shape of `logits` for "none", else a scalar.

    Raises:
        TypeError: for what is no tensor.
        ValueError: for shapes that differ, targets outside [0, 1], an alpha or gamma below 0, or an
            unknown reduction.
    """
    _check_scores(logits, targets, reduction)
    _check_shares(targets)
    if not alpha >= 0 or not gamma >= 0:
        raise ValueError(f"alpha is {alpha} and gamma {gamma}: expected numbers of at least 0")
    logits = at_least_float32(logits)
    targets = targets.detach().to(logits.dtype)

    # q log p + (1 − q) log(1 − p), straight from the logits; for q = 0 it is log(1 − p).
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")

    # The lower bound serves 0 < γ < 1, whose power has an infinite slope at 0.
    p = torch.sigmoid(logits).clamp(min=torch.finfo(logits.dtype).tiny)
    weight = torch.where(targets > 0, targets, alpha * p**gamma)
    return reduce_loss(weight * cross_entropy, reduction)


def set_classification_loss(
    class_logits: Tensor, labels: Tensor, no_object_weight: float = 0.1
) -> Tensor:
    """Return the cross-entropy of all queries, in which "no object" counts for less.

        Σ w_y · (−log p_y) / Σ w_y,   w_y = no_object_weight for no object, 1 for the K classes

    A hundred queries share a few objects, so nearly all of them are to say "no object". Divided by
    the sum of the weights and not by the number of queries, as ``F.cross_entropy`` does it with
    weights (Carion et al. 2020, §3.1 and A.6).

    Args:
        class_logits: (..., Q, K + 1), before the softmax; the last is for no object.
        labels: (..., Q) int64: a query's class, 0 … K−1, or K for no object.
        no_object_weight: how much a query without an object counts.

    Returns:
        A scalar. Where several processes train together, the sum is divided by their mean sum of
        weights.

    Raises:
        TypeError: for what is no tensor, and for labels that are not int64.
        ValueError: for shapes that do not fit, a label outside 0 … K, or a negative weight.
    """
    _check_labels(class_logits, labels, background=False)
    if not no_object_weight >= 0:
        raise ValueError(f"no_object_weight is {no_object_weight}: expected 0 or more")
    class_logits = at_least_float32(class_logits)
    no_object = class_logits.shape[-1] - 1

    log_p = class_logits.log_softmax(dim=-1)  # (..., Q, K + 1)
    cross_entropy = -log_p.take_along_dim(labels[..., None], dim=-1)[..., 0]  # (..., Q)
    weights = torch.ones_like(cross_entropy)  # (..., Q)
    weights = weights.masked_fill(labels == no_object, no_object_weight)

    # Without a query there is no weight, and the sum is 0 as well.
    total = mean_over_processes(weights.sum(), class_logits.device) or 1.0
    return (weights * cross_entropy).sum() / total


# ---- distances ----


def distribution_focal_loss(logits: Tensor, targets: Tensor, reduction: str = "none") -> Tensor:
    """Return the cross-entropy of a distribution over bins with the two bins around the target.

        DFL = −(j + 1 − y) log p_j − (y − j) log p_{j+1},   j = ⌊y⌋

    p is the softmax over the R bins, of which bin i stands for the distance i, so that the mean of
    a distribution with the loss's least value, p_j = j + 1 − y and p_{j+1} = y − j, is y itself.
    Li et al. 2020 (arXiv 2006.04388), equation 6.

    Targets are clamped to [0, R − 1.01], as in YOLOv8: a distance beyond the last bin is learnt as
    almost that bin.

    Args:
        logits: (..., R), before the softmax; R is at least 2.
        targets: (...) distances y in bins.
        reduction: "none", "mean" (0 if there are no distances) or "sum".

    Returns:
        (...) for "none", else a scalar.

    Raises:
        TypeError: for what is no tensor.
        ValueError: for fewer than two bins, shapes that do not fit, or an unknown reduction.
    """
    _check_bins(logits, targets, reduction)
    logits = at_least_float32(logits)
    num_bins = logits.shape[-1]

    # The two bins around the target, and the share of each. The clamp leaves a bin to the right.
    targets = targets.to(logits.dtype).clamp(min=0, max=num_bins - 1.01)
    left = targets.floor().long()  # (...)
    right_share = targets - left  # (...)

    log_p = logits.log_softmax(dim=-1)  # (..., R)
    log_left = log_p.gather(-1, left[..., None])[..., 0]  # (...)
    log_right = log_p.gather(-1, left[..., None] + 1)[..., 0]  # (...)
    loss = -(1 - right_share) * log_left - right_share * log_right
    return reduce_loss(loss, reduction)


# ---- what comes in ----


def _check_pairs(pred_boxes: Tensor, target_boxes: Tensor, reduction: str) -> None:
    check_boxes(pred_boxes, "pred_boxes")
    check_boxes(target_boxes, "target_boxes")
    _check_same_shape("pred_boxes", pred_boxes, "target_boxes", target_boxes)
    _check_reduction(reduction)


def _check_scores(logits: Tensor, targets: Tensor, reduction: str) -> None:
    _check_same_shape("the logits", logits, "targets", targets)
    _check_reduction(reduction)


def _check_shares(targets: Tensor) -> None:
    wrong = ~((targets >= 0) & (targets <= 1))  # NaN is neither
    if wrong.any():
        raise ValueError(
            f"targets hold {float(targets[wrong][0]):.4g}: expected an IoU in [0, 1] for each "
            "score, 0 where there is no object"
        )


def _check_bins(logits: Tensor, targets: Tensor, reduction: str) -> None:
    for name, tensor in (("logits", logits), ("targets", targets)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if logits.ndim == 0 or logits.shape[-1] < 2:
        raise ValueError(
            f"logits must have shape (..., R) with at least two bins, got {tuple(logits.shape)}"
        )
    if targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"targets must hold one distance for each distribution, {tuple(logits.shape[:-1])}, "
            f"got {tuple(targets.shape)}"
        )
    _check_reduction(reduction)


def _check_labels(logits: Tensor, labels: Tensor, background: bool = True) -> None:
    # Tensors of the right kind …
    for name, tensor in (("logits", logits), ("labels", labels)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64, got {labels.dtype}; convert them with .long()")

    # … and shape …
    if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
        raise ValueError(
            "labels must hold one class for each place, the shape of the logits without its last "
            f"dimension; got labels {tuple(labels.shape)} and logits {tuple(logits.shape)}"
        )

    # … that name classes, or what else a loss knows.
    wrong = (labels < (IGNORED if background else 0)) | (labels >= logits.shape[-1])
    if wrong.any():
        others = (
            f", -1 for background or {IGNORED} for a place that is in no loss"
            if background
            else ", the last of which is no object"
        )
        raise ValueError(
            f"labels hold {int(labels[wrong][0])}: expected a class, 0 … {logits.shape[-1] - 1}"
            + others
        )


def _check_same_shape(name1: str, tensor1: Tensor, name2: str, tensor2: Tensor) -> None:
    for name, tensor in ((name1, tensor1), (name2, tensor2)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor1.shape != tensor2.shape:
        raise ValueError(
            f"{name1} and {name2} are compared one to one and must have the same shape, "
            f"got {tuple(tensor1.shape)} and {tuple(tensor2.shape)}"
        )


def _check_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"Invalid reduction {reduction!r}: expected one of {', '.join(REDUCTIONS)}"
        )
