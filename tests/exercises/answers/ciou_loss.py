"""Exercise 6.3: answers. `box_area` and `paired_iou` are at hand there."""

import math

import torch

from answers import right, slightly_off, wrong
from detlearn.boxes import paired_iou


@right
def as_in_the_paper(pred_boxes, target_boxes):
    iou = paired_iou(pred_boxes, target_boxes, 1e-6)
    offset = (pred_boxes[:, :2] + pred_boxes[:, 2:] - target_boxes[:, :2] - target_boxes[:, 2:]) / 2
    hull = torch.max(pred_boxes, target_boxes)[:, 2:] - torch.min(pred_boxes, target_boxes)[:, :2]
    distance = offset.pow(2).sum(1) / (hull.pow(2).sum(1) + 1e-6)
    wp, hp = (pred_boxes[:, 2:] - pred_boxes[:, :2]).unbind(1)
    wt, ht = (target_boxes[:, 2:] - target_boxes[:, :2]).unbind(1)
    v = 4 / math.pi**2 * (torch.atan(wt / (ht + 1e-6)) - torch.atan(wp / (hp + 1e-6))) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v + 1e-6)
    return 1 - iou + distance + alpha * v


@right
def with_height_over_width(pred_boxes, target_boxes):
    x1, y1, x2, y2 = pred_boxes.t()
    u1, v1, u2, v2 = target_boxes.t()
    w, h, wt, ht = x2 - x1, y2 - y1, u2 - u1, v2 - v1
    inter = torch.relu(torch.min(x2, u2) - torch.max(x1, u1))
    inter = inter * torch.relu(torch.min(y2, v2) - torch.max(y1, v1))
    iou = inter / (w * h + wt * ht - inter + 1e-9)
    cw, ch = torch.max(x2, u2) - torch.min(x1, u1), torch.max(y2, v2) - torch.min(y1, v1)
    rho2 = ((x1 + x2 - u1 - u2) ** 2 + (y1 + y2 - v1 - v2) ** 2) / 4
    angle = torch.atan(h / w.clamp(min=1e-6)) - torch.atan(ht / wt.clamp(min=1e-6))
    v = (2 / math.pi * angle) ** 2
    alpha = (v / (1 - iou + v + 1e-9)).detach()
    return 1 - (iou - rho2 / (cw**2 + ch**2 + 1e-9) - alpha * v)


@wrong("there is a loop over boxes")
def pair_by_pair(pred_boxes, target_boxes):
    losses = [torch.zeros(0)]
    for p, t in zip(pred_boxes, target_boxes):
        side = (torch.min(p[2:], t[2:]) - torch.max(p[:2], t[:2])).clamp(min=0)
        wh, wh_t = p[2:] - p[:2], t[2:] - t[:2]
        inter = side.prod()
        iou = inter / (wh.prod() + wh_t.prod() - inter + 1e-8)
        gap = (p[:2] + p[2:] - t[:2] - t[2:]) / 2
        diagonal = torch.max(p[2:], t[2:]) - torch.min(p[:2], t[:2])
        d = torch.atan2(wh[0], wh[1]) - torch.atan2(wh_t[0], wh_t[1])
        v = 4 * d**2 / torch.pi**2
        alpha = v.item() / (1 - iou.item() + v.item() + 1e-8)
        loss = 1 - iou + gap.square().sum() / (diagonal.square().sum() + 1e-8) + alpha * v
        losses.append(loss[None])
    return torch.cat(losses)


@right
def with_alpha_where_shapes_differ(pred_boxes, target_boxes):
    both = torch.stack((pred_boxes, target_boxes))
    w, h = (both[..., 2:] - both[..., :2]).unbind(-1)
    iou = paired_iou(pred_boxes, target_boxes)
    centre = both.view(2, -1, 2, 2).mean(2)
    hull = both[..., 2:].amax(0) - both[..., :2].amin(0)
    angle = torch.atan2(w, h)
    v = ((angle[0] - angle[1]) / (torch.pi / 2)).square()
    alpha = torch.where(v.detach() > 0, v.detach() / (1 - iou.detach() + v.detach()), 0.0)
    distance = (centre[0] - centre[1]).square().sum(-1) / (hull.square().sum(-1) + 1e-7)
    return torch.sub(1 + distance, iou) + alpha * v


@slightly_off
def off_by_a_thousandth(pred_boxes, target_boxes):
    return 1.001 * as_in_the_paper(pred_boxes, target_boxes)


def _diou(p, t):
    """IoU, 1 − DIoU."""
    inter = (torch.min(p, t)[:, 2:] - torch.max(p, t)[:, :2]).clamp(min=0).prod(1)
    union = (p[:, 2:] - p[:, :2]).prod(1) + (t[:, 2:] - t[:, :2]).prod(1) - inter
    iou = inter / (union + 1e-7)
    rho2 = ((p[:, :2] + p[:, 2:] - t[:, :2] - t[:, 2:]) / 2).pow(2).sum(1)
    c2 = (torch.max(p[:, 2:], t[:, 2:]) - torch.min(p[:, :2], t[:, :2])).pow(2).sum(1)
    return iou, 1 - iou + rho2 / (c2 + 1e-7)


def _angles(p, t):
    w1, h1 = p[:, 2] - p[:, 0], p[:, 3] - p[:, 1]
    w2, h2 = t[:, 2] - t[:, 0], t[:, 3] - t[:, 1]
    return torch.arctan(w1 / (h1 + 1e-7)), torch.arctan(w2 / (h2 + 1e-7))


def _v(p, t):
    a, b = _angles(p, t)
    return 4 / math.pi**2 * (a - b) ** 2


@wrong("that gate is in the authors' later code")
def as_in_the_authors_code(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    with torch.no_grad():
        alpha = (iou > 0.5).float() * v / (1 - iou + v + 1e-7)
    return diou + alpha * v


@wrong("α is a weight and must carry none")
def gradient_through_alpha(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    return diou + v * v / (1 - iou + v + 1e-7)


@wrong("the factor is missing")
def without_the_factor(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    a, b = _angles(pred_boxes, target_boxes)
    v = (a - b).pow(2)
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("not the ratios themselves")
def ratios_instead_of_angles(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    p, t = pred_boxes, target_boxes
    ratio_p = (p[:, 2] - p[:, 0]) / (p[:, 3] - p[:, 1] + 1e-7)
    ratio_t = (t[:, 2] - t[:, 0]) / (t[:, 3] - t[:, 1] + 1e-7)
    v = 4 / math.pi**2 * (ratio_p - ratio_t) ** 2
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("the square is missing")
def absolute_difference_of_angles(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    a, b = _angles(pred_boxes, target_boxes)
    v = 4 / math.pi**2 * (a - b).abs()
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("the weight α is missing")
def without_alpha(pred_boxes, target_boxes):
    return _diou(pred_boxes, target_boxes)[1] + _v(pred_boxes, target_boxes)


@wrong("yours has the IoU where 1 − IoU belongs")
def alpha_with_the_iou(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    with torch.no_grad():
        alpha = v / (iou + v + 1e-7)
    return diou + alpha * v


@wrong("the v in its denominator is missing")
def alpha_without_v(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    alpha = v.detach() / (1 - iou.detach() + 1e-7)
    return diou + alpha * v


@wrong("ρ² / c² is missing")
def without_the_distance(pred_boxes, target_boxes):
    iou, _ = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return 1 - iou + alpha * v


@wrong("the third term has the wrong sign")
def subtracts_the_shape(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou - alpha * v


@wrong("this is the DIoU loss")
def forgets_the_third_term(pred_boxes, target_boxes):
    return _diou(pred_boxes, target_boxes)[1]


@wrong("you return the similarity")
def returns_ciou(pred_boxes, target_boxes):
    return 1 - as_in_the_paper(pred_boxes, target_boxes)


@wrong("for degrees")
def degrees(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    a, b = _angles(pred_boxes, target_boxes)
    v = 4 / math.pi**2 * (torch.rad2deg(a) - torch.rad2deg(b)) ** 2
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("4/π² with π squared")
def pi_not_squared(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    a, b = _angles(pred_boxes, target_boxes)
    v = 4 / math.pi * (a - b) ** 2
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("v must carry a gradient")
def detaches_v_as_well(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    with torch.no_grad():
        v = _v(pred_boxes, target_boxes)
        alpha = v / (1 - iou + v + 1e-7)
    return diou + alpha * v


@wrong("a height of zero")
def no_epsilon_in_the_ratio(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    w1, h1 = (pred_boxes[:, 2:] - pred_boxes[:, :2]).unbind(1)
    w2, h2 = (target_boxes[:, 2:] - target_boxes[:, :2]).unbind(1)
    v = 4 / math.pi**2 * (torch.atan(w2 / h2) - torch.atan(w1 / h1)) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v + 1e-7)
    return diou + alpha * v


@wrong("return one loss for each")
def the_mean(pred_boxes, target_boxes):
    return with_height_over_width(pred_boxes, target_boxes).mean()


@wrong("has a 1 above the line")
def alpha_is_one_over(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    alpha = (1 / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@right
def with_diou_first(pred_boxes, target_boxes):
    iou, loss = _diou(pred_boxes, target_boxes)
    a, b = _angles(pred_boxes, target_boxes)
    v = torch.square(b - a) * 4 / math.pi**2
    weight = v.detach() / ((1 - iou.detach()) + v.detach() + 1e-8)
    return torch.addcmul(loss, weight, v)


@wrong("the whole sum below the line")
def forgets_the_brackets_of_alpha(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    with torch.no_grad():
        alpha = v / (1 - iou + 1e-7) + v
    return diou + alpha * v


@wrong("yours is the arctangent of the difference")
def arctangent_of_the_difference(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    w1, h1 = (pred_boxes[:, 2:] - pred_boxes[:, :2]).unbind(1)
    w2, h2 = (target_boxes[:, 2:] - target_boxes[:, :2]).unbind(1)
    v = 4 / math.pi**2 * torch.atan(w2 / (h2 + 1e-7) - w1 / (h1 + 1e-7)) ** 2
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("mix the sides of the two")
def mixes_the_sides(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    w1, h1 = (pred_boxes[:, 2:] - pred_boxes[:, :2]).unbind(1)
    w2, h2 = (target_boxes[:, 2:] - target_boxes[:, :2]).unbind(1)
    v = 4 / math.pi**2 * (torch.atan2(w1, h2) - torch.atan2(w2, h1)) ** 2
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("yours has the DIoU there")
def alpha_of_the_diou(pred_boxes, target_boxes):
    _, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    with torch.no_grad():
        alpha = v / (diou + v + 1e-7)
    return diou + alpha * v


@wrong("the factor 4/π² stands before it")
def factor_inside_the_square(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    a, b = _angles(pred_boxes, target_boxes)
    v = (4 / math.pi**2 * (a - b)) ** 2
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("yours adds them")
def adds_the_angles(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    a, b = _angles(pred_boxes, target_boxes)
    v = 4 / math.pi**2 * (a + b) ** 2
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("the factor v is missing")
def only_alpha(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha


@wrong("not for boxes inside [0, 1]")
def union_of_at_least_one(pred_boxes, target_boxes):
    p, t = pred_boxes, target_boxes
    inter = (torch.min(p, t)[:, 2:] - torch.max(p, t)[:, :2]).clamp(min=0).prod(1)
    union = (p[:, 2:] - p[:, :2]).prod(1) + (t[:, 2:] - t[:, :2]).prod(1) - inter
    iou = inter / union.clamp(min=1)
    old_iou, diou = _diou(p, t)
    v = _v(p, t)
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + old_iou - iou + alpha * v


@wrong("there is a loop over boxes")
def shapes_in_a_loop(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = torch.zeros(len(pred_boxes))
    for i, (p, t) in enumerate(zip(pred_boxes, target_boxes)):
        angle = torch.atan2(p[2] - p[0], p[3] - p[1]) - torch.atan2(t[2] - t[0], t[3] - t[1])
        v[i] = 4 / math.pi**2 * angle**2
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("yours is ρ / c²")
def distance_not_squared(pred_boxes, target_boxes):
    iou, _ = _diou(pred_boxes, target_boxes)
    p, t = pred_boxes, target_boxes
    rho = torch.linalg.norm((p[:, :2] + p[:, 2:] - t[:, :2] - t[:, 2:]) / 2, dim=1)
    c2 = (torch.max(p[:, 2:], t[:, 2:]) - torch.min(p[:, :2], t[:, :2])).pow(2).sum(1)
    v = _v(p, t)
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return 1 - iou + rho / (c2 + 1e-7) + alpha * v


@wrong("the IoU in your loss carries no gradient")
def iou_without_gradient(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    distance = diou - (1 - iou)
    v = _v(pred_boxes, target_boxes)
    with torch.no_grad():
        iou = _diou(pred_boxes, target_boxes)[0]
        alpha = v / (1 - iou + v + 1e-7)
    return 1 - iou + distance + alpha * v


@wrong("yours is (4/π)²")
def factor_with_the_four_squared(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    a, b = _angles(pred_boxes, target_boxes)
    v = (4 / math.pi * (a - b)) ** 2
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("one of yours is atan(h / w)")
def one_ratio_upside_down(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    w, h = (pred_boxes[:, 2:] - pred_boxes[:, :2]).unbind(1)
    w_gt, h_gt = (target_boxes[:, 2:] - target_boxes[:, :2]).unbind(1)
    v = 4 / math.pi**2 * (torch.atan2(w_gt, h_gt) - torch.atan2(h, w)) ** 2
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("this is GIoU's penalty")
def on_giou(pred_boxes, target_boxes):
    iou, _ = _diou(pred_boxes, target_boxes)
    p, t = pred_boxes, target_boxes
    inter = (torch.min(p, t)[:, 2:] - torch.max(p, t)[:, :2]).clamp(min=0).prod(1)
    union = (p[:, 2:] - p[:, :2]).prod(1) + (t[:, 2:] - t[:, :2]).prod(1) - inter
    c = (torch.max(p[:, 2:], t[:, 2:]) - torch.min(p[:, :2], t[:, :2])).prod(1)
    v = _v(pred_boxes, target_boxes)
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return 1 - iou + (c - union) / (c + 1e-7) + alpha * v


@wrong("α is a weight and must carry none")
def detaches_v_in_alpha_only(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    alpha = v.detach() / (1 - iou + v.detach() + 1e-7)
    return diou + alpha * v


@wrong("yours is the tangent")
def tangent(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    (w, h), (w_gt, h_gt) = (
        (boxes[:, 2:] - boxes[:, :2]).unbind(1) for boxes in (pred_boxes, target_boxes)
    )
    v = 4 / math.pi**2 * (torch.tan(w_gt / (h_gt + 1e-7)) - torch.tan(w / (h + 1e-7))) ** 2
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("yours is α · v²")
def squares_v_again(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v**2


@wrong("yours has 1 − IoU above the line")
def alpha_upside_down(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    alpha = ((1 - iou) / (1 - iou + v + 1e-7)).detach()
    return diou + alpha * v


@wrong("with brackets around the sum")
def forgets_the_brackets_below_the_line(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    with torch.no_grad():
        alpha = v / 1 - iou + v
    return diou + alpha * v


@wrong("Python's functions of numbers take one number")
def arctangent_of_math(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    w1, h1 = (pred_boxes[:, 2:] - pred_boxes[:, :2]).unbind(1)
    w2, h2 = (target_boxes[:, 2:] - target_boxes[:, :2]).unbind(1)
    v = 4 / math.pi**2 * (math.atan(w2 / h2) - math.atan(w1 / h1)) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v + 1e-7)
    return diou + alpha * v


@wrong("right where the two boxes have the same shape")
def adds_alpha_and_v(pred_boxes, target_boxes):
    iou, diou = _diou(pred_boxes, target_boxes)
    v = _v(pred_boxes, target_boxes)
    alpha = (v / (1 - iou + v + 1e-7)).detach()
    return diou + alpha + v
