"""Exercise 5.3: answers."""

import numpy as np
import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong
from detlearn.boxes import box_convert, generalized_box_iou


def corners(boxes):
    """cxcywh → xyxy; where the mistake is elsewhere."""
    x, y, w, h = boxes.unbind(-1)
    return torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), dim=-1)


def all_giou(a, b):
    """GIoU (..., Q, N) of corners; where the mistake is elsewhere."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    around = (high - low).prod(-1)
    return shared / union - (around - union) / around


def picked(values, labels):
    """(..., Q, K + 1) → (..., Q, N); where the mistake is elsewhere."""
    q = values.shape[-2]
    return values.gather(-1, labels[..., None, :].expand(*labels.shape[:-1], q, labels.shape[-1]))


@right
def with_cdist_and_the_package(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = torch.take_along_dim(class_logits.softmax(-1), labels.unsqueeze(-2), dim=-1)
    l1 = torch.cdist(pred_boxes, boxes, p=1)
    giou = generalized_box_iou(
        box_convert(pred_boxes, "cxcywh", "xyxy"), box_convert(boxes, "cxcywh", "xyxy")
    )
    return cost_bbox * l1 - cost_class * p - cost_giou * giou


@right
def with_broadcasting(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    cost = -cost_class * picked(F.softmax(class_logits, dim=-1), labels)
    gap = (pred_boxes.unsqueeze(-2) - boxes.unsqueeze(-3)).abs()
    cost = cost + cost_bbox * gap.sum(dim=-1)
    return cost - cost_giou * all_giou(corners(pred_boxes), corners(boxes))


@right
def image_by_image(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    """A loop over images, none over queries."""
    queries, objects = pred_boxes.shape[-2], boxes.shape[-2]
    shape = (*pred_boxes.shape[:-2], queries, objects)
    costs = []
    for logits, predicted, label, box in zip(
        class_logits.reshape(-1, queries, class_logits.shape[-1]),
        pred_boxes.reshape(-1, queries, 4),
        labels.reshape(-1, objects) if objects else labels.new_zeros(len(shape) - 1, 0),
        boxes.reshape(-1, objects, 4) if objects else boxes.new_zeros(len(shape) - 1, 0, 4),
    ):
        p = logits.softmax(dim=1)[:, label]
        l1 = (predicted[:, None] - box[None]).abs().sum(dim=2)
        giou = all_giou(corners(predicted), corners(box))
        costs.append(cost_bbox * l1 - cost_class * p - cost_giou * giou)
    return torch.stack(costs)[: int(np.prod(shape[:-2]))].view(shape)


@right
def with_one_hot(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    chosen = F.one_hot(labels, class_logits.shape[-1]).float()  # (..., N, K + 1)
    p = torch.softmax(class_logits, -1) @ chosen.mT
    l1 = sum((pred_boxes[..., :, i : i + 1] - boxes[..., None, :, i]).abs() for i in range(4))
    giou = all_giou(corners(pred_boxes), corners(boxes))
    return -(cost_class * p) + cost_bbox * l1 + cost_giou * (-giou)


@right
def with_numpy(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    x = class_logits.double().numpy()
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    p = np.take_along_axis(e / e.sum(axis=-1, keepdims=True), labels.numpy()[..., None, :], -1)
    l1 = np.abs(pred_boxes.numpy()[..., :, None, :] - boxes.numpy()[..., None, :, :]).sum(-1)
    giou = all_giou(corners(pred_boxes), corners(boxes)).numpy()
    return torch.from_numpy(cost_bbox * l1 - cost_class * p - cost_giou * giou).float()


@slightly_off
def a_thousandth_more(class_logits, pred_boxes, labels, boxes, **weights):
    return 1.001 * with_broadcasting(class_logits, pred_boxes, labels, boxes, **weights)


def added(p, l1, giou, cost_class, cost_bbox, cost_giou):
    """The three terms together; where the mistake is elsewhere."""
    return cost_bbox * l1 - cost_class * p - cost_giou * giou


@wrong("not by −log p")
def log_probability(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = picked(class_logits.log_softmax(-1), labels)
    l1, giou = torch.cdist(pred_boxes, boxes, p=1), all_giou(corners(pred_boxes), corners(boxes))
    return added(p, l1, giou, cost_class, cost_bbox, cost_giou)


@wrong("yours is a sigmoid of each")
def sigmoid(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = picked(class_logits.sigmoid(), labels)
    l1, giou = torch.cdist(pred_boxes, boxes, p=1), all_giou(corners(pred_boxes), corners(boxes))
    return added(p, l1, giou, cost_class, cost_bbox, cost_giou)


@wrong("yours leaves no object out first")
def drops_no_object_before_the_softmax(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = picked(class_logits[..., :-1].softmax(-1), labels)
    l1, giou = torch.cdist(pred_boxes, boxes, p=1), all_giou(corners(pred_boxes), corners(boxes))
    return added(p, l1, giou, cost_class, cost_bbox, cost_giou)


@wrong("take the softmax of the logits")
def logits_as_they_are(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = picked(class_logits, labels)
    l1, giou = torch.cdist(pred_boxes, boxes, p=1), all_giou(corners(pred_boxes), corners(boxes))
    return added(p, l1, giou, cost_class, cost_bbox, cost_giou)


@wrong("yours takes centres and sides for corners")
def giou_of_cxcywh(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = picked(class_logits.softmax(-1), labels)
    l1, giou = torch.cdist(pred_boxes, boxes, p=1), all_giou(pred_boxes, boxes)
    return added(p, l1, giou, cost_class, cost_bbox, cost_giou)


@wrong("yours is of their corners")
def distance_of_corners(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    a, b = corners(pred_boxes), corners(boxes)
    p = picked(class_logits.softmax(-1), labels)
    return added(p, torch.cdist(a, b, p=1), all_giou(a, b), cost_class, cost_bbox, cost_giou)


@wrong("yours is their mean")
def mean_distance(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = picked(class_logits.softmax(-1), labels)
    l1 = (pred_boxes[..., :, None, :] - boxes[..., None, :, :]).abs().mean(-1)
    giou = all_giou(corners(pred_boxes), corners(boxes))
    return added(p, l1, giou, cost_class, cost_bbox, cost_giou)


@wrong("the root of the sum of squares")
def euclidean_distance(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = picked(class_logits.softmax(-1), labels)
    l1, giou = torch.cdist(pred_boxes, boxes), all_giou(corners(pred_boxes), corners(boxes))
    return added(p, l1, giou, cost_class, cost_bbox, cost_giou)


@wrong("says 0 of all that are apart")
def plain_iou(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    a, b = corners(pred_boxes)[..., :, None, :], corners(boxes)[..., None, :, :]
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    p = picked(class_logits.softmax(-1), labels)
    l1 = torch.cdist(pred_boxes, boxes, p=1)
    return added(p, l1, shared / union, cost_class, cost_bbox, cost_giou)


@wrong("a high probability is to cost little")
def probability_costs(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = picked(class_logits.softmax(-1), labels)
    l1, giou = torch.cdist(pred_boxes, boxes, p=1), all_giou(corners(pred_boxes), corners(boxes))
    return cost_class * p + cost_bbox * l1 - cost_giou * giou


@wrong("a large GIoU is to cost little")
def giou_costs(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = picked(class_logits.softmax(-1), labels)
    l1, giou = torch.cdist(pred_boxes, boxes, p=1), all_giou(corners(pred_boxes), corners(boxes))
    return cost_bbox * l1 - cost_class * p + cost_giou * giou


@wrong("no other matching but other numbers")
def giou_loss_of_pairs(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = picked(class_logits.softmax(-1), labels)
    l1, giou = torch.cdist(pred_boxes, boxes, p=1), all_giou(corners(pred_boxes), corners(boxes))
    return cost_bbox * l1 - cost_class * p + cost_giou * (1 - giou)


@wrong("yours are always 1, 5 and 2")
def fixed_weights(class_logits, pred_boxes, labels, boxes, **weights):
    return with_broadcasting(class_logits, pred_boxes, labels, boxes)


@wrong("yours is turned")
def objects_in_the_rows(class_logits, pred_boxes, labels, boxes, **weights):
    return with_broadcasting(class_logits, pred_boxes, labels, boxes, **weights).transpose(-1, -2)


@wrong("that of the query's best class")
def the_best_class(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    p = class_logits.softmax(-1)[..., :-1].max(dim=-1, keepdim=True).values
    l1, giou = torch.cdist(pred_boxes, boxes, p=1), all_giou(corners(pred_boxes), corners(boxes))
    return added(p, l1, giou, cost_class, cost_bbox, cost_giou)


@wrong("yours a whole side")
def corners_a_side_away(
    class_logits, pred_boxes, labels, boxes, *, cost_class=1.0, cost_bbox=5.0, cost_giou=2.0
):
    def xyxy(b):
        return torch.cat((b[..., :2] - b[..., 2:], b[..., :2] + b[..., 2:]), dim=-1)

    p = picked(class_logits.softmax(-1), labels)
    l1, giou = torch.cdist(pred_boxes, boxes, p=1), all_giou(xyxy(pred_boxes), xyxy(boxes))
    return added(p, l1, giou, cost_class, cost_bbox, cost_giou)


@wrong("there is a loop over queries")
def query_by_query(class_logits, pred_boxes, labels, boxes, **weights):
    rows = [
        with_broadcasting(
            class_logits[..., i : i + 1, :], pred_boxes[..., i : i + 1, :], labels, boxes, **weights
        )
        for i in range(pred_boxes.shape[-2])
    ]
    return torch.cat(rows, dim=-2)
