"""Exercise 6.2: answers. `box_area` and `paired_iou` are at hand there."""

import torch

from answers import right, slightly_off, wrong
from detlearn.boxes import paired_iou


@right
def with_the_helper(pred_boxes, target_boxes):
    iou = paired_iou(pred_boxes, target_boxes, 1e-6)
    centres_p = (pred_boxes[:, :2] + pred_boxes[:, 2:]) / 2
    centres_t = (target_boxes[:, :2] + target_boxes[:, 2:]) / 2
    rho2 = ((centres_p - centres_t) ** 2).sum(dim=1)
    hull = torch.max(pred_boxes, target_boxes)[:, 2:] - torch.min(pred_boxes, target_boxes)[:, :2]
    return 1 - iou + rho2 / ((hull**2).sum(dim=1) + 1e-6)


@right
def from_corners(pred_boxes, target_boxes):
    x1, y1, x2, y2 = pred_boxes.t()
    u1, v1, u2, v2 = target_boxes.t()
    w = torch.relu(torch.min(x2, u2) - torch.max(x1, u1))
    h = torch.relu(torch.min(y2, v2) - torch.max(y1, v1))
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - w * h
    rho2 = ((x1 + x2 - u1 - u2) ** 2 + (y1 + y2 - v1 - v2) ** 2) / 4
    c2 = (torch.max(x2, u2) - torch.min(x1, u1)) ** 2 + (torch.max(y2, v2) - torch.min(y1, v1)) ** 2
    return 1 + rho2 / c2.clamp(min=1e-9) - w * h / union.clamp(min=1e-9)


@wrong("there is a loop over boxes")
def pair_by_pair(pred_boxes, target_boxes):
    result = pred_boxes.new_zeros(len(pred_boxes))
    for i in range(len(pred_boxes)):
        p, t = pred_boxes[i], target_boxes[i]
        side = (torch.min(p[2:], t[2:]) - torch.max(p[:2], t[:2])).clamp(min=0)
        inter = side[0] * side[1]
        union = (p[2] - p[0]) * (p[3] - p[1]) + (t[2] - t[0]) * (t[3] - t[1]) - inter
        gap = (p[:2] + p[2:]) / 2 - (t[:2] + t[2:]) / 2
        diagonal = torch.max(p[2:], t[2:]) - torch.min(p[:2], t[:2])
        penalty = gap.dot(gap) / (diagonal.dot(diagonal) + 1e-8)
        result[i] = 1 - inter / (union + 1e-8) + penalty
    return result


@right
def with_a_matrix_of_centres(pred_boxes, target_boxes):
    to_centre = torch.tensor([[0.5, 0.0], [0.0, 0.5], [0.5, 0.0], [0.0, 0.5]])
    rho2 = ((pred_boxes - target_boxes) @ to_centre).square().sum(-1)
    corners = torch.stack((pred_boxes, target_boxes)).view(2, -1, 2, 2)
    hull = corners[:, :, 1].amax(0) - corners[:, :, 0].amin(0)
    return torch.addcdiv(1 - paired_iou(pred_boxes, target_boxes), rho2, hull.pow(2).sum(-1) + 1e-7)


@slightly_off
def off_by_a_thousandth(pred_boxes, target_boxes):
    return 1.001 * with_the_helper(pred_boxes, target_boxes)


def _iou(p, t):
    inter = (torch.min(p, t)[:, 2:] - torch.max(p, t)[:, :2]).clamp(min=0).prod(1)
    union = (p[:, 2:] - p[:, :2]).prod(1) + (t[:, 2:] - t[:, :2]).prod(1) - inter
    return inter / (union + 1e-7)


def _offset(p, t):
    return (p[:, :2] + p[:, 2:]) / 2 - (t[:, :2] + t[:, 2:]) / 2


def _hull(p, t):
    return torch.max(p[:, 2:], t[:, 2:]) - torch.min(p[:, :2], t[:, :2])


@wrong("yours is ρ / c")
def forgets_the_squares(pred_boxes, target_boxes):
    rho = _offset(pred_boxes, target_boxes).pow(2).sum(1).add(1e-12).sqrt()
    c = torch.sqrt(_hull(pred_boxes, target_boxes).pow(2).sum(1) + 1e-12)
    return 1 - _iou(pred_boxes, target_boxes) + rho / (c + 1e-7)


@wrong("yours is ρ / c²")
def forgets_one_square(pred_boxes, target_boxes):
    rho = torch.norm(_offset(pred_boxes, target_boxes), dim=1)
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + rho / (c2 + 1e-7)


@wrong("divided by its area")
def over_the_area(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    w, h = _hull(pred_boxes, target_boxes).unbind(1)
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (w * h + 1e-7)


@wrong("the diagonal of the target")
def diagonal_of_the_target(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    c2 = (target_boxes[:, 2:] - target_boxes[:, :2]).square().sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (c2 + 1e-7)


@wrong("four times too large")
def forgets_the_half(pred_boxes, target_boxes):
    cx1, cy1 = pred_boxes[:, 0] + pred_boxes[:, 2], pred_boxes[:, 1] + pred_boxes[:, 3]
    cx2, cy2 = target_boxes[:, 0] + target_boxes[:, 2], target_boxes[:, 1] + target_boxes[:, 3]
    rho2 = (cx1 - cx2) ** 2 + (cy1 - cy2) ** 2
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (c2 + 1e-7)


@wrong("upper left corners")
def distance_of_the_corners(pred_boxes, target_boxes):
    rho2 = (pred_boxes[:, 0] - target_boxes[:, 0]) ** 2
    rho2 = rho2 + (pred_boxes[:, 1] - target_boxes[:, 1]) ** 2
    return (
        1
        - _iou(pred_boxes, target_boxes)
        + rho2 / (_hull(pred_boxes, target_boxes).pow(2).sum(1) + 1e-7)
    )


@wrong("not yet a share")
def distance_in_pixels(pred_boxes, target_boxes):
    return 1 - _iou(pred_boxes, target_boxes) + _offset(pred_boxes, target_boxes).pow(2).sum(1)


@wrong("c² must carry a gradient")
def detaches_the_hull(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    with torch.no_grad():
        c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1) + 1e-7
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / c2


@wrong("this is GIoU's penalty")
def is_giou(pred_boxes, target_boxes):
    iou = _iou(pred_boxes, target_boxes)
    area = (pred_boxes[:, 2:] - pred_boxes[:, :2]).prod(1)
    area = area + (target_boxes[:, 2:] - target_boxes[:, :2]).prod(1)
    union = area / (1 + iou)
    c = _hull(pred_boxes, target_boxes).prod(1) + 1e-7
    return 1 - iou + (c - union) / c


@wrong("the sign of the penalty")
def subtracts_the_distance(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1) + 1e-7
    return 1 - (_iou(pred_boxes, target_boxes) + rho2 / c2)


@wrong("you return the similarity")
def returns_diou(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1) + 1e-7
    return _iou(pred_boxes, target_boxes) - rho2 / c2


@wrong("this is 1 − IoU alone")
def iou_loss(pred_boxes, target_boxes):
    return 1 - _iou(pred_boxes, target_boxes)


@wrong("both differences are negative")
def forgets_the_clamp(pred_boxes, target_boxes):
    x1, y1, x2, y2 = pred_boxes.unbind(-1)
    u1, v1, u2, v2 = target_boxes.unbind(-1)
    inter = (torch.min(x2, u2) - torch.max(x1, u1)) * (torch.min(y2, v2) - torch.max(y1, v1))
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - inter
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1) + 1e-7
    return 1 - inter / (union + 1e-7) + rho2 / c2


@wrong("return one loss for each")
def the_mean(pred_boxes, target_boxes):
    return from_corners(pred_boxes, target_boxes).mean()


@wrong("without the root")
def root_and_square(pred_boxes, target_boxes):
    cx, cy = _offset(pred_boxes, target_boxes).unbind(1)
    rho = torch.sqrt(cx**2 + cy**2)
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1) + 1e-7
    return 1 - _iou(pred_boxes, target_boxes) + rho**2 / c2


@wrong("you divide by zero where a box has no area")
def no_epsilon(pred_boxes, target_boxes):
    p, t = pred_boxes, target_boxes
    inter = (torch.min(p, t)[:, 2:] - torch.max(p, t)[:, :2]).clamp(min=0).prod(1)
    union = (p[:, 2:] - p[:, :2]).prod(1) + (t[:, 2:] - t[:, :2]).prod(1) - inter
    return 1 - inter / union + _offset(p, t).pow(2).sum(1) / _hull(p, t).pow(2).sum(1)


@wrong("not the intersection's")
def diagonal_of_the_intersection(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    lt = torch.max(pred_boxes[:, :2], target_boxes[:, :2])
    rb = torch.min(pred_boxes[:, 2:], target_boxes[:, 2:])
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / ((rb - lt).pow(2).sum(1) + 1e-7)


@wrong("both directions")
def horizontal_distance_only(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes)[:, 0] ** 2
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1) + 1e-7
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / c2


@right
def with_vmap(pred_boxes, target_boxes):
    def one(p, t):
        inter = (torch.minimum(p[2:], t[2:]) - torch.maximum(p[:2], t[:2])).clamp(min=0).prod()
        union = (p[2:] - p[:2]).prod() + (t[2:] - t[:2]).prod() - inter
        hull = torch.maximum(p[2:], t[2:]) - torch.minimum(p[:2], t[:2])
        gap = (p[:2] + p[2:] - t[:2] - t[2:]) / 2
        return 1 - inter / (union + 1e-7) + (gap * gap).sum() / ((hull * hull).sum() + 1e-7)

    return torch.vmap(one)(pred_boxes, target_boxes) if len(pred_boxes) else torch.zeros(0)


@wrong("the same extreme of all four")
def hull_of_maxima(pred_boxes, target_boxes):
    x1, y1, x2, y2 = torch.max(pred_boxes, target_boxes).unbind(1)
    c2 = (x2 - x1) ** 2 + (y2 - y1) ** 2
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (c2 + 1e-7)


@wrong("yours is (w + h)²")
def square_of_the_sum(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    c2 = _hull(pred_boxes, target_boxes).sum(1) ** 2
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (c2 + 1e-7)


@wrong("the diagonal of the prediction")
def diagonal_of_the_prediction(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    c2 = (pred_boxes[:, 2] - pred_boxes[:, 0]) ** 2 + (pred_boxes[:, 3] - pred_boxes[:, 1]) ** 2
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (c2 + 1e-7)


@wrong("not for boxes inside [0, 1]")
def denominators_of_at_least_one(pred_boxes, target_boxes):
    p, t = pred_boxes, target_boxes
    inter = (torch.min(p, t)[:, 2:] - torch.max(p, t)[:, :2]).clamp(min=0).prod(1)
    union = (p[:, 2:] - p[:, :2]).prod(1) + (t[:, 2:] - t[:, :2]).prod(1) - inter
    c2 = _hull(p, t).pow(2).sum(1)
    return 1 - inter / union.clamp(min=1) + _offset(p, t).pow(2).sum(1) / c2.clamp(min=1)


@wrong("not for boxes inside [0, 1]")
def diagonal_of_at_least_one(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    c2 = torch.clamp(_hull(pred_boxes, target_boxes).pow(2).sum(1), min=1)
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / c2


@wrong("yours is the horizontal one")
def distance_in_x_only(pred_boxes, target_boxes):
    cx = (pred_boxes[:, 0] + pred_boxes[:, 2]) / 2 - (target_boxes[:, 0] + target_boxes[:, 2]) / 2
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + cx**2 / (c2 + 1e-7)


@wrong("there is a loop over boxes")
def list_comprehension(pred_boxes, target_boxes):
    terms = [
        1 - _iou(p[None], t[None]) + _offset(p[None], t[None]).pow(2).sum(1) / (c + 1e-7)
        for p, t, c in zip(pred_boxes, target_boxes, _hull(pred_boxes, target_boxes).pow(2).sum(1))
    ]
    return torch.cat(terms) if terms else torch.zeros(0)


@wrong("dtype float64; expected float32")
def in_double(pred_boxes, target_boxes):
    return from_corners(pred_boxes.double(), target_boxes.double())


@wrong("half of the size, which does not know where the box lies")
def centre_is_half_the_size(pred_boxes, target_boxes):
    a, b = ((boxes[:, 2:] - boxes[:, :2]) / 2 for boxes in (pred_boxes, target_boxes))
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + (a - b).pow(2).sum(1) / (c2 + 1e-7)


@wrong("yours is the square of the sum")
def along_the_streets(pred_boxes, target_boxes):
    rho = _offset(pred_boxes, target_boxes).abs().sum(1)
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + rho**2 / (c2 + 1e-7)


@wrong("yours multiplies them")
def product_of_the_squares(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    c2 = _hull(pred_boxes, target_boxes).pow(2).prod(1)
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (c2 + 1e-7)


@wrong("your penalty carries no gradient")
def penalty_without_gradient(pred_boxes, target_boxes):
    with torch.no_grad():
        rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
        penalty = rho2 / (_hull(pred_boxes, target_boxes).pow(2).sum(1) + 1e-7)
    return 1 - _iou(pred_boxes, target_boxes) + penalty


@wrong("yours adds both")
def on_top_of_giou(pred_boxes, target_boxes):
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (pred_boxes, target_boxes)]
    inter = torch.min(pred_boxes, target_boxes)[:, 2:] - torch.max(pred_boxes, target_boxes)[:, :2]
    inter = inter.clamp(min=0).prod(1)
    c = _hull(pred_boxes, target_boxes).prod(1)
    empty = (c - (areas[0] + areas[1] - inter)) / (c + 1e-7)
    return with_the_helper(pred_boxes, target_boxes) + empty


@wrong("a mean where a sum belongs")
def mean_of_the_squares(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).mean(1)
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (c2 + 1e-7)


@wrong("the penalty is ρ² / c², yours is ρ² / c")
def diagonal_not_squared(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    c = torch.linalg.norm(_hull(pred_boxes, target_boxes), dim=1)
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (c + 1e-7)


@wrong("the intersection, which you count twice")
def union_is_the_sum(pred_boxes, target_boxes):
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (pred_boxes, target_boxes)]
    iou = _iou(pred_boxes, target_boxes)
    inter = iou * (areas[0] + areas[1]) / (1 + iou)
    return with_the_helper(pred_boxes, target_boxes) + iou - inter / (areas[0] + areas[1] + 1e-7)


@wrong("exchanging prediction and target changes your loss")
def from_corner_to_corner(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(1)
    c2 = (pred_boxes[:, 2:] - target_boxes[:, :2]).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (c2 + 1e-7)


@wrong("measuring the boxes in another unit changes your loss")
def whole_pixels(pred_boxes, target_boxes):
    a, b = ((boxes[:, :2] + boxes[:, 2:]) // 2 for boxes in (pred_boxes, target_boxes))
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + (a - b).pow(2).sum(1) / (c2 + 1e-7)


@wrong("the coordinates are dimension 1")
def sum_over_the_pairs(pred_boxes, target_boxes):
    rho2 = _offset(pred_boxes, target_boxes).pow(2).sum(0)
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (c2 + 1e-7)


@wrong("the whole sum halved")
def half_of_one_corner(pred_boxes, target_boxes):
    a, b = (boxes[:, :2] + boxes[:, 2:] / 2 for boxes in (pred_boxes, target_boxes))
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + (a - b).pow(2).sum(1) / (c2 + 1e-7)


@wrong("right where the centres meet and wrong elsewhere")
def vertical_from_the_horizontal(pred_boxes, target_boxes):
    rho2 = 2 * _offset(pred_boxes, target_boxes)[:, 0] ** 2
    c2 = _hull(pred_boxes, target_boxes).pow(2).sum(1)
    return 1 - _iou(pred_boxes, target_boxes) + rho2 / (c2 + 1e-7)
