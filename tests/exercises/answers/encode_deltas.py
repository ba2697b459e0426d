"""Exercise 2.3: answers."""

import math

import numpy as np
import torch
from torchvision.ops import box_convert

from answers import right, slightly_off, wrong


@right
def with_unbind(gt_boxes, anchors):
    x1, y1, x2, y2 = gt_boxes.unbind(1)
    a1, b1, a2, b2 = anchors.unbind(1)
    wa, ha = a2 - a1, b2 - b1
    dx = ((x1 + x2) / 2 - (a1 + a2) / 2) / wa
    dy = ((y1 + y2) / 2 - (b1 + b2) / 2) / ha
    return torch.stack([dx, dy, torch.log((x2 - x1) / wa), torch.log((y2 - y1) / ha)], dim=1)


@right
def corner_plus_half(gt_boxes, anchors):
    wh = gt_boxes[:, 2:] - gt_boxes[:, :2]
    wh_a = anchors[:, 2:] - anchors[:, :2]
    centres = gt_boxes[:, :2] + 0.5 * wh
    centres_a = anchors[:, :2] + 0.5 * wh_a
    return torch.cat([(centres - centres_a) / wh_a, wh.log() - wh_a.log()], dim=-1)


@right
def with_columns_and_an_epsilon(gt_boxes, anchors):
    eps = 1e-6
    deltas = torch.empty_like(gt_boxes)
    for k in range(2):
        wa = anchors[:, 2 + k] - anchors[:, k]
        w = gt_boxes[:, 2 + k] - gt_boxes[:, k]
        moved = gt_boxes[:, k] + gt_boxes[:, 2 + k] - anchors[:, k] - anchors[:, 2 + k]
        deltas[:, k] = moved / (2 * wa + eps)
        deltas[:, 2 + k] = torch.log(w / (wa + eps))
    return deltas


@right
def with_numpy(gt_boxes, anchors):
    g, a = gt_boxes.numpy().astype(np.float64), anchors.numpy().astype(np.float64)
    size, size_a = g[:, 2:] - g[:, :2], a[:, 2:] - a[:, :2]
    move = (g[:, :2] + g[:, 2:] - a[:, :2] - a[:, 2:]) / 2 / size_a
    return torch.from_numpy(np.concatenate([move, np.log(size / size_a)], axis=1)).float()


@right
def with_a_matrix(gt_boxes, anchors):
    to_centres = torch.tensor([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]])
    g, a = gt_boxes @ to_centres, anchors @ to_centres
    scale = a[:, 2:].reciprocal()
    return torch.hstack([(g[:, :2] - a[:, :2]) * scale, (g[:, 2:] * scale).log()])


@slightly_off
def off_by_a_thousandth(gt_boxes, anchors):
    return 1.001 * corner_plus_half(gt_boxes, anchors)


@slightly_off
def anchors_a_thousandth_larger(gt_boxes, anchors):
    return with_unbind(gt_boxes, torch.cat([anchors[:, :2], anchors[:, 2:] * 1.001], dim=1))


@wrong("dw and dh are logarithms")
def no_logarithm(gt_boxes, anchors):
    wh = gt_boxes[:, 2:] - gt_boxes[:, :2]
    wh_a = anchors[:, 2:] - anchors[:, :2]
    c, c_a = gt_boxes[:, :2] + wh / 2, anchors[:, :2] + wh_a / 2
    return torch.cat([(c - c_a) / wh_a, wh / wh_a], 1)


@wrong("yours are the growth as a share")
def relative_growth(gt_boxes, anchors):
    wh = gt_boxes[:, 2:] - gt_boxes[:, :2]
    wh_a = anchors[:, 2:] - anchors[:, :2]
    c, c_a = gt_boxes[:, :2] + wh / 2, anchors[:, :2] + wh_a / 2
    return torch.cat([(c - c_a) / wh_a, (wh - wh_a) / wh_a], 1)


@wrong("upside down")
def logarithm_of_the_inverse(gt_boxes, anchors):
    w, h = gt_boxes[:, 2] - gt_boxes[:, 0], gt_boxes[:, 3] - gt_boxes[:, 1]
    wa, ha = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    dx = (gt_boxes[:, 0] + w / 2 - anchors[:, 0] - wa / 2) / wa
    dy = (gt_boxes[:, 1] + h / 2 - anchors[:, 1] - ha / 2) / ha
    return torch.stack((dx, dy, torch.log(wa / w), torch.log(ha / h)), 1)


@wrong("the sign of dx and dy is wrong")
def moves_the_other_way(gt_boxes, anchors):
    w, h = gt_boxes[:, 2] - gt_boxes[:, 0], gt_boxes[:, 3] - gt_boxes[:, 1]
    wa, ha = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    dx = (anchors[:, 0] + wa / 2 - gt_boxes[:, 0] - w / 2) / wa
    dy = (anchors[:, 1] + ha / 2 - gt_boxes[:, 1] - h / 2) / ha
    return torch.stack((dx, dy, torch.log(w / wa), torch.log(h / ha)), 1)


@wrong("dx and dy are in pixels")
def moves_in_pixels(gt_boxes, anchors):
    c = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    c_a = (anchors[:, :2] + anchors[:, 2:]) / 2
    ratio = (gt_boxes[:, 2:] - gt_boxes[:, :2]) / (anchors[:, 2:] - anchors[:, :2])
    return torch.cat((c - c_a, ratio.log()), 1)


@wrong("which the network does not know")
def shares_of_the_object(gt_boxes, anchors):
    wh = gt_boxes[:, 2:] - gt_boxes[:, :2]
    wh_a = anchors[:, 2:] - anchors[:, :2]
    c, c_a = gt_boxes[:, :2] + wh / 2, anchors[:, :2] + wh_a / 2
    return torch.cat([(c - c_a) / wh, torch.log(wh / wh_a)], 1)


@wrong("compare the upper left corners")
def compares_corners(gt_boxes, anchors):
    wh = gt_boxes[:, 2:] - gt_boxes[:, :2]
    wh_a = anchors[:, 2:] - anchors[:, :2]
    return torch.cat([(gt_boxes[:, :2] - anchors[:, :2]) / wh_a, torch.log(wh / wh_a)], 1)


@wrong("the two are exchanged")
def from_the_object_to_the_anchor(gt_boxes, anchors):
    a, b = anchors, gt_boxes
    wh, wh_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    moved = (a[:, :2] + a[:, 2:]) / 2 - (b[:, :2] + b[:, 2:]) / 2
    return torch.cat((moved / wh_b, (wh / wh_b).log()), dim=1)


@wrong("the other way round")
def divides_by_height_and_width(gt_boxes, anchors):
    w, h = gt_boxes[:, 2] - gt_boxes[:, 0], gt_boxes[:, 3] - gt_boxes[:, 1]
    ha, wa = (anchors[:, 3] - anchors[:, 1]), (anchors[:, 2] - anchors[:, 0])
    dx = ((gt_boxes[:, 0] + gt_boxes[:, 2]) - (anchors[:, 0] + anchors[:, 2])) / 2 / ha
    dy = ((gt_boxes[:, 1] + gt_boxes[:, 3]) - (anchors[:, 1] + anchors[:, 3])) / 2 / wa
    return torch.stack([dx, dy, (w / wa).log(), (h / ha).log()], dim=1)


@wrong("in yours dw and dh are exchanged")
def height_before_width(gt_boxes, anchors):
    x1, y1, x2, y2 = gt_boxes.T
    a1, b1, a2, b2 = anchors.T
    dx = (x1 + x2 - a1 - a2) / (2 * (a2 - a1))
    dy = (y1 + y2 - b1 - b2) / (2 * (b2 - b1))
    dh, dw = torch.log((y2 - y1) / (b2 - b1)), torch.log((x2 - x1) / (a2 - a1))
    return torch.stack([dx, dy, dh, dw], dim=1)


@wrong("without the + 1")
def counts_pixels(gt_boxes, anchors):
    wh = gt_boxes[:, 2:] - gt_boxes[:, :2] + 1.0
    wh_a = anchors[:, 2:] - anchors[:, :2] + 1.0
    c, c_a = gt_boxes[:, :2] + 0.5 * wh, anchors[:, :2] + 0.5 * wh_a
    return torch.cat([(c - c_a) / wh_a, torch.log(wh / wh_a)], 1)


@wrong("half of the width is not yet the centre")
def forgets_the_corner(gt_boxes, anchors):
    wh, wh_a = gt_boxes[:, 2:] - gt_boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    return torch.cat([(wh / 2 - wh_a / 2) / wh_a, torch.log(wh / wh_a)], dim=1)


@wrong("twice what they should be")
def centre_is_the_sum(gt_boxes, anchors):
    size = anchors[:, 2:] - anchors[:, :2]
    move = (gt_boxes[:, :2] + gt_boxes[:, 2:] - (anchors[:, :2] + anchors[:, 2:])) / size
    return torch.cat((move, torch.log((gt_boxes[:, 2:] - gt_boxes[:, :2]) / size)), 1)


@wrong("the natural one")
def base_two(gt_boxes, anchors):
    wh = gt_boxes[:, 2:] - gt_boxes[:, :2]
    wh_a = anchors[:, 2:] - anchors[:, :2]
    c, c_a = gt_boxes[:, :2] + wh / 2, anchors[:, :2] + wh_a / 2
    return torch.cat([(c - c_a) / wh_a, torch.log2(wh / wh_a)], 1)


@wrong("belong to the second stage")
def with_the_weights_of_fast_rcnn(gt_boxes, anchors):
    wh = gt_boxes[:, 2:] - gt_boxes[:, :2]
    wh_a = anchors[:, 2:] - anchors[:, :2]
    c, c_a = gt_boxes[:, :2] + wh / 2, anchors[:, :2] + wh_a / 2
    return torch.cat([10 * (c - c_a) / wh_a, 5 * torch.log(wh / wh_a)], 1)


@wrong("not centre and size")
def takes_cxcywh(gt_boxes, anchors):
    move = (gt_boxes[:, :2] - anchors[:, :2]) / anchors[:, 2:]
    return torch.cat((move, torch.log(gt_boxes[:, 2:] / anchors[:, 2:])), dim=1)


@wrong("stack along the last dimension")
def stacks_rows(gt_boxes, anchors):
    x1, y1, x2, y2 = gt_boxes.unbind(1)
    a1, b1, a2, b2 = anchors.unbind(1)
    wa, ha = a2 - a1, b2 - b1
    dx, dy = (x1 + x2 - a1 - a2) / 2 / wa, (y1 + y2 - b1 - b2) / 2 / ha
    return torch.stack([dx, dy, torch.log((x2 - x1) / wa), torch.log((y2 - y1) / ha)])


@wrong("there is a loop over pairs")
def one_after_the_other(gt_boxes, anchors):
    rows = []
    for (x1, y1, x2, y2), (a1, b1, a2, b2) in zip(gt_boxes.tolist(), anchors.tolist()):
        wa, ha = a2 - a1, b2 - b1
        dx, dy = ((x1 + x2) - (a1 + a2)) / 2 / wa, ((y1 + y2) - (b1 + b2)) / 2 / ha
        rows.append([dx, dy, math.log((x2 - x1) / wa), math.log((y2 - y1) / ha)])
    return torch.tensor(rows).view(-1, 4)


@wrong("(.clone())")
def converts_its_input(gt_boxes, anchors):
    for boxes in (gt_boxes, anchors):
        boxes[:, 2:] -= boxes[:, :2]
        boxes[:, :2] += boxes[:, 2:] / 2
    move = (gt_boxes[:, :2] - anchors[:, :2]) / anchors[:, 2:]
    return torch.cat((move, torch.log(gt_boxes[:, 2:] / anchors[:, 2:])), dim=1)


# ---- written later, by people who had seen the stub and nothing of the checks ----


@right
def with_torchvisions_conversion(gt_boxes, anchors):
    x, y, w, h = box_convert(gt_boxes, "xyxy", "cxcywh").unbind(-1)
    xa, ya, wa, ha = box_convert(anchors, "xyxy", "cxcywh").unbind(-1)
    return torch.stack(((x - xa) / wa, (y - ya) / ha, (w / wa).log(), (h / ha).log()), -1)


@right
def with_views(gt_boxes, anchors):
    g, a = gt_boxes.view(-1, 2, 2), anchors.view(-1, 2, 2)  # (N, corner, xy)
    g_size, a_size = g[:, 1] - g[:, 0], a[:, 1] - a[:, 0]
    move = (g.mean(dim=1) - a.mean(dim=1)) / a_size
    return torch.stack([move, torch.log(g_size) - torch.log(a_size)], dim=1).flatten(1)


@right
def in_double_and_back(gt_boxes, anchors):
    g, a = gt_boxes.double(), anchors.double()
    size, size_a = g[:, 2:] - g[:, :2], a[:, 2:] - a[:, :2]
    move = ((g - a)[:, :2] + (g - a)[:, 2:]) / (2 * size_a)
    return torch.cat((move, (size / size_a).log()), dim=1).to(gt_boxes.dtype)


@wrong("has dtype float64; expected float32")
def stays_in_double(gt_boxes, anchors):
    return with_unbind(gt_boxes.double(), anchors.double())


@wrong("has dtype float64; expected float32")
def numpy_as_it_comes(gt_boxes, anchors):
    g, a = np.array(gt_boxes.tolist()).reshape(-1, 4), np.array(anchors.tolist()).reshape(-1, 4)
    size, size_a = g[:, 2:] - g[:, :2], a[:, 2:] - a[:, :2]
    move = (g[:, :2] + g[:, 2:] - a[:, :2] - a[:, 2:]) / 2 / size_a
    return torch.from_numpy(np.hstack([move, np.log(size / size_a)]))


@wrong("a side may be shorter than 1")
def sides_of_one_at_least(gt_boxes, anchors):
    wh = (gt_boxes[:, 2:] - gt_boxes[:, :2]).clamp(min=1)
    wh_a = (anchors[:, 2:] - anchors[:, :2]).clamp(min=1)
    c = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    c_a = (anchors[:, :2] + anchors[:, 2:]) / 2
    return torch.cat([(c - c_a) / wh_a, torch.log(wh / wh_a)], dim=1)


@wrong("the sign says in which direction")
def distances_of_the_centres(gt_boxes, anchors):
    wh, wh_a = gt_boxes[:, 2:] - gt_boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    c, c_a = gt_boxes[:, :2] + wh / 2, anchors[:, :2] + wh_a / 2
    return torch.cat([(c - c_a).abs() / wh_a, (wh / wh_a).log()], dim=1)


@wrong("yours are all objects with all anchors")
def each_with_each(gt_boxes, anchors):
    gt_boxes, anchors = gt_boxes[:, None], anchors[None]
    wh, wh_a = gt_boxes[..., 2:] - gt_boxes[..., :2], anchors[..., 2:] - anchors[..., :2]
    c, c_a = gt_boxes[..., :2] + wh / 2, anchors[..., :2] + wh_a / 2
    return torch.cat([(c - c_a) / wh_a, (wh / wh_a).log()], dim=-1)


@wrong("yours divides both by the width")
def width_for_both(gt_boxes, anchors):
    w, h = gt_boxes[:, 2] - gt_boxes[:, 0], gt_boxes[:, 3] - gt_boxes[:, 1]
    wa, ha = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    dx = (gt_boxes[:, 0] + w / 2 - anchors[:, 0] - wa / 2) / wa
    dy = (gt_boxes[:, 1] + h / 2 - anchors[:, 1] - ha / 2) / wa
    return torch.stack([dx, dy, torch.log(w / wa), torch.log(h / ha)], dim=1)


@wrong("the centre need not be a whole number")
def centres_rounded_down(gt_boxes, anchors):
    wh, wh_a = gt_boxes[:, 2:] - gt_boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    c = (gt_boxes[:, :2] + gt_boxes[:, 2:]) // 2
    c_a = (anchors[:, :2] + anchors[:, 2:]) // 2
    return torch.cat([(c - c_a) / wh_a, torch.log(wh / wh_a)], dim=1)


@wrong("adds so much to the sides")
def generous_epsilon(gt_boxes, anchors):
    eps = 1e-3
    wh = gt_boxes[:, 2:] - gt_boxes[:, :2] + eps
    wh_a = anchors[:, 2:] - anchors[:, :2] + eps
    move = (gt_boxes[:, :2] + gt_boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / (2 * wh_a)
    return torch.cat([move, torch.log(wh / wh_a)], dim=1)


@wrong("there is a loop over pairs")
def with_a_comprehension(gt_boxes, anchors):
    rows = [with_unbind(g[None], a[None]) for g, a in zip(gt_boxes, anchors)]
    return torch.cat(rows) if rows else torch.zeros(0, 4)


@wrong("dx and dy are in pixels")
def takes_only_the_sizes_as_shares(gt_boxes, anchors):
    x1, y1, x2, y2 = gt_boxes.T
    u1, v1, u2, v2 = anchors.T
    dx, dy = (x1 + x2 - u1 - u2) * 0.5, (y1 + y2 - v1 - v2) * 0.5
    return torch.stack([dx, dy, ((x2 - x1) / (u2 - u1)).log(), ((y2 - y1) / (v2 - v1)).log()], 1)


def centres_and_sizes(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]


@wrong("yours is the quotient of two logarithms")
def divides_logarithms(gt_boxes, anchors):
    (c, s), (ca, sa) = centres_and_sizes(gt_boxes), centres_and_sizes(anchors)
    return torch.cat(((c - ca) / sa, s.log() / sa.log()), dim=1)


@wrong("yours divides both by one size")
def divides_by_the_root_of_the_area(gt_boxes, anchors):
    (c, s), (ca, sa) = centres_and_sizes(gt_boxes), centres_and_sizes(anchors)
    side = (sa[:, 0] * sa[:, 1]).sqrt()
    return torch.cat(((c - ca) / side[:, None], torch.log(s / sa)), dim=1)


@wrong("yours divides both by the height")
def divides_by_the_height(gt_boxes, anchors):
    (c, s), (ca, sa) = centres_and_sizes(gt_boxes), centres_and_sizes(anchors)
    return torch.cat(((c - ca) / sa[:, 1:], torch.log(s / sa)), dim=1)


@wrong("twice what they should be")
def divides_by_half_the_size(gt_boxes, anchors):
    (c, s), (ca, sa) = centres_and_sizes(gt_boxes), centres_and_sizes(anchors)
    return torch.cat((2 * (c - ca) / sa, torch.log(s / sa)), dim=1)


@wrong("compare the lower right corners")
def compares_lower_right_corners(gt_boxes, anchors):
    (_, s), (_, sa) = centres_and_sizes(gt_boxes), centres_and_sizes(anchors)
    return torch.cat(((gt_boxes[:, 2:] - anchors[:, 2:]) / sa, torch.log(s / sa)), dim=1)


@wrong("yours takes the exponential here")
def takes_the_exponential(gt_boxes, anchors):
    (c, s), (ca, sa) = centres_and_sizes(gt_boxes), centres_and_sizes(anchors)
    return torch.cat(((c - ca) / sa, torch.exp(s / sa)), dim=1)


@wrong("yours compare the object's centre with the anchor's")
def from_the_corner_to_the_centre(gt_boxes, anchors):
    (c, s), (_, sa) = centres_and_sizes(gt_boxes), centres_and_sizes(anchors)
    return torch.cat(((c - anchors[:, :2]) / sa, torch.log(s / sa)), dim=1)
