"""Exercise 8.7: answers."""

import torch

from answers import because, right, slightly_off, wrong


def area(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def shared(pred_boxes, gt_boxes):
    """What each pair shares; where the mistake is elsewhere."""
    left_top = torch.max(pred_boxes[:, :2], gt_boxes[:, :2])
    right_bottom = torch.min(pred_boxes[:, 2:], gt_boxes[:, 2:])
    w, h = (right_bottom - left_top).clamp(min=0).unbind(dim=1)
    return w * h


@right
def with_an_epsilon(pred_boxes, gt_boxes):
    both = shared(pred_boxes, gt_boxes)
    return 1 - both / (area(pred_boxes) + area(gt_boxes) - both + 1e-7)


@right
def what_is_not_shared(pred_boxes, gt_boxes):
    both = shared(pred_boxes, gt_boxes)
    union = area(pred_boxes) + area(gt_boxes) - both
    return (union - both + 1e-9) / (union + 1e-9)


@right
def side_by_side(pred_boxes, gt_boxes):
    px1, py1, px2, py2 = pred_boxes.unbind(-1)
    gx1, gy1, gx2, gy2 = gt_boxes.unbind(-1)
    width = torch.relu(torch.minimum(px2, gx2) - torch.maximum(px1, gx1))
    height = torch.relu(torch.minimum(py2, gy2) - torch.maximum(py1, gy1))
    both = width * height
    union = (px2 - px1) * (py2 - py1) + (gx2 - gx1) * (gy2 - gy1) - both
    return 1 - both / union.clamp(min=1e-8)


@right
def pair_by_pair(pred_boxes, gt_boxes):
    each = []
    for p, g in zip(pred_boxes, gt_boxes):
        w = (torch.minimum(p[2], g[2]) - torch.maximum(p[0], g[0])).clamp(min=0)
        h = (torch.minimum(p[3], g[3]) - torch.maximum(p[1], g[1])).clamp(min=0)
        union = (p[2] - p[0]) * (p[3] - p[1]) + (g[2] - g[0]) * (g[3] - g[1]) - w * h
        each.append(1 - w * h / union.clamp(min=1e-7))
    return torch.stack(each) if each else pred_boxes.sum(dim=1)


@slightly_off
def a_thousandth_off(pred_boxes, gt_boxes):
    return 1.001 * with_an_epsilon(pred_boxes, gt_boxes)


@wrong("the broken function still")
def unchanged(pred_boxes, gt_boxes):
    left_top = torch.maximum(pred_boxes[:, :2], gt_boxes[:, :2])
    right_bottom = torch.minimum(pred_boxes[:, 2:], gt_boxes[:, 2:])
    both = (right_bottom - left_top).clamp(min=0).prod(dim=1)
    box = (gt_boxes[:, 2:] - gt_boxes[:, :2]).prod(dim=1)
    return 1 - both / box.clamp(min=1e-7)


@wrong("the broken function still")
def written_another_way(pred_boxes, gt_boxes):
    g = area(gt_boxes) + 1e-7
    return (g - shared(pred_boxes, gt_boxes)) / g


@wrong("of a single pixel")
def over_the_prediction(pred_boxes, gt_boxes):
    return 1 - shared(pred_boxes, gt_boxes) / (area(pred_boxes) + 1e-7)


@wrong("the smaller of the two areas")
def over_the_smaller(pred_boxes, gt_boxes):
    smaller = torch.minimum(area(pred_boxes), area(gt_boxes))
    return 1 - shared(pred_boxes, gt_boxes) / (smaller + 1e-7)


@wrong("the larger of the two areas")
def over_the_larger(pred_boxes, gt_boxes):
    larger = torch.maximum(area(pred_boxes), area(gt_boxes))
    return 1 - shared(pred_boxes, gt_boxes) / (larger + 1e-7)


@wrong("their sum has it twice")
def over_the_sum(pred_boxes, gt_boxes):
    return 1 - shared(pred_boxes, gt_boxes) / (area(pred_boxes) + area(gt_boxes) + 1e-7)


@wrong("their sum has it twice")
def twice_over_the_sum(pred_boxes, gt_boxes):
    both = 2 * shared(pred_boxes, gt_boxes)
    return 1 - both / (area(pred_boxes) + area(gt_boxes) + 1e-7)


@wrong("both differences are negative")
def not_clamped(pred_boxes, gt_boxes):
    left_top = torch.max(pred_boxes[:, :2], gt_boxes[:, :2])
    right_bottom = torch.min(pred_boxes[:, 2:], gt_boxes[:, 2:])
    both = (right_bottom - left_top).prod(dim=1)
    return 1 - both / (area(pred_boxes) + area(gt_boxes) - both + 1e-7)


@wrong("this is the fit")
def the_fit(pred_boxes, gt_boxes):
    both = shared(pred_boxes, gt_boxes)
    return both / (area(pred_boxes) + area(gt_boxes) - both + 1e-7)


@wrong("this is GIoU's")
def with_the_gap(pred_boxes, gt_boxes):
    both = shared(pred_boxes, gt_boxes)
    union = area(pred_boxes) + area(gt_boxes) - both
    left_top = torch.min(pred_boxes[:, :2], gt_boxes[:, :2])
    right_bottom = torch.max(pred_boxes[:, 2:], gt_boxes[:, 2:])
    around = (right_bottom - left_top).prod(dim=1)
    return 1 - both / (union + 1e-7) + (around - union) / (around + 1e-7)


@wrong("the box around both")
def over_the_box_around(pred_boxes, gt_boxes):
    left_top = torch.min(pred_boxes[:, :2], gt_boxes[:, :2])
    right_bottom = torch.max(pred_boxes[:, 2:], gt_boxes[:, 2:])
    around = (right_bottom - left_top).prod(dim=1)
    return 1 - shared(pred_boxes, gt_boxes) / (around + 1e-7)


@wrong("without a pixel more")
def pixels_counted(pred_boxes, gt_boxes):
    one = torch.tensor([0.0, 0, 1, 1])
    return with_an_epsilon(pred_boxes + one, gt_boxes + one)


@wrong("one for each pair")
def the_mean(pred_boxes, gt_boxes):
    return with_an_epsilon(pred_boxes, gt_boxes).mean()


@wrong("no gradient")
def without_gradient(pred_boxes, gt_boxes):
    with torch.no_grad():
        return with_an_epsilon(pred_boxes, gt_boxes)


@wrong("a difference of coordinates")
def distances(pred_boxes, gt_boxes):
    return (pred_boxes - gt_boxes).abs().sum(dim=1)


@wrong("the cure mends it, but the cause is another")
@because("decoding")
def right_cure_for_another_cause(pred_boxes, gt_boxes):
    both = shared(pred_boxes, gt_boxes)
    return 1 - both / (area(pred_boxes) + area(gt_boxes) - both + 1e-7)
