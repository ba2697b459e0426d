"""Exercise 3.2: answers. `box_iou` is at hand there."""

import numpy as np
import torch

from answers import right, slightly_off, wrong
from detlearn.boxes import box_iou


def diagonal_ious(pred_boxes, gt_boxes):
    """Of each box with its own object, (M, n); where the mistake is elsewhere."""
    ious = [box_iou(pred_boxes[:, i], gt_boxes).diagonal() for i in range(pred_boxes.shape[1])]
    return torch.stack(ious, dim=1)


def squared_distances(pred_boxes, gt_boxes):
    """Of centre and size, (M, n); where the mistake is elsewhere."""
    dx = (pred_boxes[..., 0] + pred_boxes[..., 2] - gt_boxes[:, None, 0] - gt_boxes[:, None, 2]) / 2
    dy = (pred_boxes[..., 1] + pred_boxes[..., 3] - gt_boxes[:, None, 1] - gt_boxes[:, None, 3]) / 2
    dw = pred_boxes[..., 2] - pred_boxes[..., 0] - (gt_boxes[:, 2] - gt_boxes[:, 0])[:, None]
    dh = pred_boxes[..., 3] - pred_boxes[..., 1] - (gt_boxes[:, 3] - gt_boxes[:, 1])[:, None]
    return dx**2 + dy**2 + dw**2 + dh**2


@right
def with_the_diagonal(pred_boxes, gt_boxes):
    n = pred_boxes.shape[1]
    ious = torch.stack([box_iou(pred_boxes[:, i], gt_boxes).diag() for i in range(n)], dim=-1)
    centre = (pred_boxes[..., :2] + pred_boxes[..., 2:]) / 2
    size = pred_boxes[..., 2:] - pred_boxes[..., :2]
    gt_centre = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    gt_size = gt_boxes[:, 2:] - gt_boxes[:, :2]
    distance = ((centre - gt_centre[:, None]) ** 2).sum(-1)
    distance = distance + ((size - gt_size[:, None]) ** 2).sum(-1)
    return torch.where(ious.max(dim=1).values > 0, ious.argmax(1), distance.argmin(1))


@right
def one_score_for_both(pred_boxes, gt_boxes):
    """An IoU is at least 0, a distance with a minus at most 0."""
    m, n = pred_boxes.shape[:2]
    table = box_iou(pred_boxes.reshape(-1, 4), gt_boxes).view(m, n, m)
    ious = table[torch.arange(m), :, torch.arange(m)]
    score = torch.where(ious > 0, ious, -squared_distances(pred_boxes, gt_boxes).sqrt())
    return score.argmax(dim=1)


@right
def with_own_iou(pred_boxes, gt_boxes):
    gt = gt_boxes[:, None].expand_as(pred_boxes)
    x1, y1, x2, y2 = pred_boxes.unbind(-1)
    gx1, gy1, gx2, gy2 = gt.unbind(-1)
    w = (torch.minimum(x2, gx2) - torch.maximum(x1, gx1)).clamp(min=0)
    h = (torch.minimum(y2, gy2) - torch.maximum(y1, gy1)).clamp(min=0)
    union = (x2 - x1) * (y2 - y1) + (gx2 - gx1) * (gy2 - gy1) - w * h
    iou = w * h / (union + 1e-6)
    rmse = squared_distances(pred_boxes, gt_boxes).div(4).sqrt()
    best = iou.argmax(dim=-1)
    none = iou.sum(dim=-1) == 0
    best[none] = rmse[none].argmin(dim=-1)
    return best


@right
def with_numpy(pred_boxes, gt_boxes):
    pred, gt = pred_boxes.detach().double().numpy(), gt_boxes.detach().double().numpy()[:, None]
    low = np.maximum(pred[..., :2], gt[..., :2])
    high = np.minimum(pred[..., 2:], gt[..., 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    area = (pred[..., 2:] - pred[..., :2]).prod(-1) + (gt[..., 2:] - gt[..., :2]).prod(-1)
    iou = inter / (area - inter)
    move = pred - gt
    distance = (move[..., 0] + move[..., 2]) ** 2 / 4 + (move[..., 1] + move[..., 3]) ** 2 / 4
    distance += (move[..., 2] - move[..., 0]) ** 2 + (move[..., 3] - move[..., 1]) ** 2
    none = (iou == 0).all(axis=1)
    return torch.from_numpy(np.where(none, distance.argmin(1), iou.argmax(1)))


@right
def by_matmul_free_gather(pred_boxes, gt_boxes):
    """The two candidates, then one of them in each cell."""
    ious = diagonal_ious(pred_boxes, gt_boxes)
    candidates = torch.stack(
        (squared_distances(pred_boxes, gt_boxes).argmin(dim=1), ious.argmax(dim=1)), dim=1
    )
    touches = (ious > 0).any(dim=1).long()
    return candidates.gather(1, touches[:, None]).squeeze(1)


@slightly_off
def later_boxes_a_thousandth_better(pred_boxes, gt_boxes):
    """The choice among equals comes out otherwise."""
    noise = torch.arange(pred_boxes.shape[1]) * 1e-3
    return (diagonal_ious(pred_boxes, gt_boxes) + noise).argmax(dim=1)


@wrong("its argmax is 0")
def highest_iou_alone(pred_boxes, gt_boxes):
    return diagonal_ious(pred_boxes, gt_boxes).argmax(dim=1)


@wrong("yours decides everywhere")
def nearest_alone(pred_boxes, gt_boxes):
    return squared_distances(pred_boxes, gt_boxes).argmin(dim=1)


@wrong("yours is that of the centres")
def distance_of_centres(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    centre = (pred_boxes[..., :2] + pred_boxes[..., 2:]) / 2
    gt_centre = ((gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2)[:, None]
    distance = torch.linalg.norm(centre - gt_centre, dim=-1)
    return torch.where((ious > 0).any(1), ious.argmax(1), distance.argmin(1))


@wrong("the corners themselves are not compared")
def distance_of_corners(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    distance = ((pred_boxes - gt_boxes[:, None]) ** 2).sum(-1)
    return torch.where((ious > 0).any(1), ious.argmax(1), distance.argmin(1))


@wrong("yours is the farthest")
def argmax_of_the_distance(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    distance = squared_distances(pred_boxes, gt_boxes)
    return torch.where(ious.amax(1) > 0, ious.argmax(1), distance.argmax(1))


@wrong("added up without a sign")
def absolute_differences(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    gt_boxes = gt_boxes[:, None]
    centre = (pred_boxes[..., :2] + pred_boxes[..., 2:] - gt_boxes[..., :2] - gt_boxes[..., 2:]) / 2
    size = pred_boxes[..., 2:] - pred_boxes[..., :2] - (gt_boxes[..., 2:] - gt_boxes[..., :2])
    distance = centre.abs().sum(-1) + size.abs().sum(-1)
    return torch.where(ious.amax(1) > 0, ious.argmax(1), distance.argmin(1))


@wrong("(x1 + x2) / 2, with the half")
def centre_without_the_half(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    gt_boxes = gt_boxes[:, None]
    centre = pred_boxes[..., :2] + pred_boxes[..., 2:] - gt_boxes[..., :2] - gt_boxes[..., 2:]
    size = pred_boxes[..., 2:] - pred_boxes[..., :2] - (gt_boxes[..., 2:] - gt_boxes[..., :2])
    distance = (centre**2).sum(-1) + (size**2).sum(-1)
    return torch.where(ious.amax(1) > 0, ious.argmax(1), distance.argmin(1))


@wrong("keep their signs and cancel")
def forgets_to_square(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    gt_boxes = gt_boxes[:, None]
    centre = (pred_boxes[..., :2] + pred_boxes[..., 2:] - gt_boxes[..., :2] - gt_boxes[..., 2:]) / 2
    size = pred_boxes[..., 2:] - pred_boxes[..., :2] - (gt_boxes[..., 2:] - gt_boxes[..., :2])
    distance = centre.sum(-1) + size.sum(-1)
    return torch.where(ious.amax(1) > 0, ious.argmax(1), distance.argmin(1))


@wrong("the roots belong to the loss")
def roots_of_the_sides(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    gt_boxes = gt_boxes[:, None]
    centre = (pred_boxes[..., :2] + pred_boxes[..., 2:] - gt_boxes[..., :2] - gt_boxes[..., 2:]) / 2
    size = (pred_boxes[..., 2:] - pred_boxes[..., :2]).sqrt()
    size = size - (gt_boxes[..., 2:] - gt_boxes[..., :2]).sqrt()
    distance = (centre**2).sum(-1) + (size**2).sum(-1)
    return torch.where(ious.amax(1) > 0, ious.argmax(1), distance.argmin(1))


@wrong("in yours one box that does not touch")
def falls_back_if_any_is_0(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    distance = squared_distances(pred_boxes, gt_boxes)
    return torch.where((ious == 0).any(1), distance.argmin(1), ious.argmax(1))


@wrong("yours decides below a threshold")
def falls_back_below_a_half(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    distance = squared_distances(pred_boxes, gt_boxes)
    return torch.where(ious.max(1).values < 0.5, distance.argmin(1), ious.argmax(1))


@wrong("yours asks once for all of them")
def a_python_if(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    if (ious > 0).any():
        return ious.argmax(dim=1)
    return squared_distances(pred_boxes, gt_boxes).argmin(dim=1)


@wrong("yours has the lowest")
def argmin_of_the_iou(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    distance = squared_distances(pred_boxes, gt_boxes)
    return torch.where((ious > 0).any(1), ious.argmin(1), distance.argmin(1))


@wrong("of equal boxes the first is responsible")
def last_of_equals(pred_boxes, gt_boxes):
    best = torch.zeros(len(gt_boxes), dtype=torch.int64)
    ious, distance = diagonal_ious(pred_boxes, gt_boxes), squared_distances(pred_boxes, gt_boxes)
    none = (ious == 0).all(1)
    for i in range(1, pred_boxes.shape[1]):
        rows = torch.arange(len(best))
        better = torch.where(none, distance[:, i] <= distance[rows, best],
                             ious[:, i] >= ious[rows, best])  # fmt: skip
        best[better] = i
    return best


@wrong("compares the intersections alone")
def intersections(pred_boxes, gt_boxes):
    gt = gt_boxes[:, None]
    low = torch.maximum(pred_boxes[..., :2], gt[..., :2])
    high = torch.minimum(pred_boxes[..., 2:], gt[..., 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    distance = squared_distances(pred_boxes, gt_boxes)
    return torch.where((inter > 0).any(1), inter.argmax(1), distance.argmin(1))


@wrong("clamp each of the two at zero")
def no_clamp(pred_boxes, gt_boxes):
    gt = gt_boxes[:, None]
    low = torch.maximum(pred_boxes[..., :2], gt[..., :2])
    high = torch.minimum(pred_boxes[..., 2:], gt[..., 2:])
    inter = (high - low).prod(-1)
    area = (pred_boxes[..., 2:] - pred_boxes[..., :2]).prod(-1)
    iou = inter / (area + (gt[..., 2:] - gt[..., :2]).prod(-1) - inter)
    distance = squared_distances(pred_boxes, gt_boxes)
    return torch.where((iou == 0).all(1), distance.argmin(1), iou.argmax(1))


@wrong("compared with the objects of all cells")
def best_of_all_objects(pred_boxes, gt_boxes):
    m, n = pred_boxes.shape[:2]
    if m == 0:
        return torch.zeros(0, dtype=torch.int64)
    ious = box_iou(pred_boxes.reshape(m * n, 4), gt_boxes).amax(dim=1).view(m, n)
    distance = squared_distances(pred_boxes, gt_boxes)
    return torch.where((ious == 0).all(1), distance.argmin(1), ious.argmax(1))


@wrong("yours are all compared with the first")
def first_column(pred_boxes, gt_boxes):
    m, n = pred_boxes.shape[:2]
    if m == 0:
        return torch.zeros(0, dtype=torch.int64)
    ious = box_iou(pred_boxes.reshape(m * n, 4), gt_boxes)[:, 0].view(m, n)
    distance = squared_distances(pred_boxes, gt_boxes[:1].expand(m, 4))
    return torch.where((ious == 0).all(1), distance.argmin(1), ious.argmax(1))


@wrong("yours is its IoU")
def values_and_not_indices(pred_boxes, gt_boxes):
    return diagonal_ious(pred_boxes, gt_boxes).max(dim=1).values


@wrong("yours are true and false")
def a_mask(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    distance = squared_distances(pred_boxes, gt_boxes)
    best = torch.where((ious == 0).all(1), distance.argmin(1), ious.argmax(1))
    return torch.nn.functional.one_hot(best, pred_boxes.shape[1]).bool()


@wrong("yours is the box itself")
def the_box_itself(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    distance = squared_distances(pred_boxes, gt_boxes)
    best = torch.where((ious == 0).all(1), distance.argmin(1), ious.argmax(1))
    return pred_boxes[torch.arange(len(best)), best]


@wrong("yours has a second dimension")
def keeps_the_dimension(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    distance = squared_distances(pred_boxes, gt_boxes)
    touches = (ious > 0).any(dim=1, keepdim=True)
    return torch.where(touches, ious.argmax(1, keepdim=True), distance.argmin(1, keepdim=True))


@wrong("end with .long()")
def int32(pred_boxes, gt_boxes):
    ious = diagonal_ious(pred_boxes, gt_boxes)
    distance = squared_distances(pred_boxes, gt_boxes)
    return torch.where((ious == 0).all(1), distance.argmin(1), ious.argmax(1)).int()


@wrong("there is a loop over cells")
def cell_by_cell(pred_boxes, gt_boxes):
    best = []
    for boxes, gt in zip(pred_boxes, gt_boxes):
        ious = box_iou(boxes, gt[None])[:, 0]
        distance = squared_distances(boxes[None], gt[None])[0]
        best.append(int(ious.argmax()) if (ious > 0).any() else int(distance.argmin()))
    return torch.tensor(best, dtype=torch.int64)


@wrong("torch.tensor of an empty list is float32")
def a_list_without_dtype(pred_boxes, gt_boxes):
    return torch.tensor(cell_by_cell(pred_boxes, gt_boxes).tolist())
