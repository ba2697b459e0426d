"""Exercise 1.1: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def with_broadcasting(boxes1, boxes2):
    top_left = torch.maximum(boxes1[:, None, :2], boxes2[None, :, :2])
    bottom_right = torch.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    inter = (bottom_right - top_left).clamp(min=0).prod(dim=2)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(dim=1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(dim=1)
    return inter / (area1[:, None] + area2 - inter + 1e-6)


@right
def with_relu_and_outer_sums(boxes1, boxes2):
    x1, y1, x2, y2 = boxes1.t()
    u1, v1, u2, v2 = boxes2.t()
    w = torch.relu(torch.min(x2.unsqueeze(1), u2) - torch.max(x1.unsqueeze(1), u1))
    h = torch.relu(torch.min(y2.unsqueeze(1), v2) - torch.max(y1.unsqueeze(1), v1))
    overlap = w * h
    total = ((x2 - x1) * (y2 - y1)).unsqueeze(1) + (u2 - u1) * (v2 - v1)
    return overlap / (total - overlap).clamp(min=1e-9)


@right
def with_repeated_boxes(boxes1, boxes2):
    n, m = len(boxes1), len(boxes2)
    a = boxes1.repeat_interleave(m, dim=0)
    b = boxes2.repeat(n, 1)
    lo = torch.where(a[:, :2] > b[:, :2], a[:, :2], b[:, :2])
    hi = torch.where(a[:, 2:] < b[:, 2:], a[:, 2:], b[:, 2:])
    wh = torch.where(hi > lo, hi - lo, torch.zeros_like(hi))
    inter = wh[:, 0] * wh[:, 1]
    union = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1]) + (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = union - inter
    return torch.where(union > 0, inter / (union + 1e-9), 0 * union).reshape(n, m)


@right
def with_stacked_corners(boxes1, boxes2):
    both = torch.stack(torch.broadcast_tensors(boxes1.unsqueeze(1), boxes2.unsqueeze(0)))
    shared = (both[..., 2:].amin(0) - both[..., :2].amax(0)).clamp_min(0.0)
    inter = shared[..., 0] * shared[..., 1]
    sides = both[..., 2:] - both[..., :2]
    areas = sides[..., 0] * sides[..., 1]
    return inter.div(areas.sum(0).sub(inter).add(1e-9))


@slightly_off
def off_by_a_thousandth(boxes1, boxes2):
    return 1.001 * with_broadcasting(boxes1, boxes2)


@wrong("both differences are negative")
def no_clamp_at_all(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    w, h = (rb - lt).unbind(2)
    inter = w * h
    area1 = (boxes1[:, 2] - boxes1[:, 0]) * (boxes1[:, 3] - boxes1[:, 1])
    area2 = (boxes2[:, 2] - boxes2[:, 0]) * (boxes2[:, 3] - boxes2[:, 1])
    return inter / (area1[:, None] + area2[None] - inter + 1e-7)


@wrong("you clamp the product")
def clamps_the_area(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = torch.relu((rb - lt).prod(-1))
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(-1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(-1)
    return inter / (area1[:, None] + area2 - inter + 1e-7)


@wrong("without the + 1")
def counts_pixels(boxes1, boxes2):
    a = (boxes1[:, 2] - boxes1[:, 0] + 1) * (boxes1[:, 3] - boxes1[:, 1] + 1)
    b = (boxes2[:, 2] - boxes2[:, 0] + 1) * (boxes2[:, 3] - boxes2[:, 1] + 1)
    xx1 = torch.max(boxes1[:, 0, None], boxes2[:, 0])
    yy1 = torch.max(boxes1[:, 1, None], boxes2[:, 1])
    xx2 = torch.min(boxes1[:, 2, None], boxes2[:, 2])
    yy2 = torch.min(boxes1[:, 3, None], boxes2[:, 3])
    inter = (xx2 - xx1 + 1).clamp(0) * (yy2 - yy1 + 1).clamp(0)
    return inter / (a[:, None] + b - inter)


@wrong("the union is the sum of both areas minus")
def forgets_the_overlap_in_the_union(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(2)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(1)
    return inter / (area1.view(-1, 1) + area2.view(1, -1)).clamp(min=1e-8)


@wrong("not corner and size")
def takes_xywh(boxes1, boxes2):
    x1, y1, w1, h1 = (v.unsqueeze(1) for v in boxes1.unbind(1))
    x2, y2, w2, h2 = boxes2.unbind(1)
    w = torch.clamp(torch.min(x1 + w1, x2 + w2) - torch.max(x1, x2), min=0)
    h = torch.clamp(torch.min(y1 + h1, y2 + h2) - torch.max(y1, y2), min=0)
    return w * h / (w1 * h1 + w2 * h2 - w * h + 1e-9)


@wrong("the Dice coefficient")
def is_dice(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(2)
    s = lambda t: (t[:, 2] - t[:, 0]) * (t[:, 3] - t[:, 1])  # noqa: E731
    return 2 * inter / (s(boxes1)[:, None] + s(boxes2)[None, :]).clamp(min=1e-6)


@wrong("you divide by the smaller area")
def divides_by_the_smaller(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(2)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(1)[:, None]
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(1)[None]
    return inter / (torch.minimum(area1, area2) + 1e-8)


@wrong("the area of the first box alone")
def divides_by_its_own_area(boxes1, boxes2):
    left = torch.max(boxes1[:, None, 0], boxes2[None, :, 0])
    top = torch.max(boxes1[:, None, 1], boxes2[None, :, 1])
    right_ = torch.min(boxes1[:, None, 2], boxes2[None, :, 2])
    bottom = torch.min(boxes1[:, None, 3], boxes2[None, :, 3])
    inter = (right_ - left).clamp(min=0) * (bottom - top).clamp(min=0)
    return inter / ((boxes1[:, 2:] - boxes1[:, :2]).prod(1, keepdim=True) + 1e-9)


@wrong("there is a loop over boxes")
def loops_over_rows(boxes1, boxes2):
    result = torch.zeros(len(boxes1), len(boxes2))
    for i, box in enumerate(boxes1):
        w = (torch.min(box[2], boxes2[:, 2]) - torch.max(box[0], boxes2[:, 0])).clamp(min=0)
        h = (torch.min(box[3], boxes2[:, 3]) - torch.max(box[1], boxes2[:, 1])).clamp(min=0)
        area = (boxes2[:, 2] - boxes2[:, 0]) * (boxes2[:, 3] - boxes2[:, 1])
        result[i] = w * h / (area + (box[2] - box[0]) * (box[3] - box[1]) - w * h + 1e-9)
    return result


@wrong("0 / 0 is not a number")
def no_epsilon(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(2)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(1)
    return inter / (area1[:, None] + area2 - inter)


@wrong("transposed")
def rows_and_columns_exchanged(boxes1, boxes2):
    lt = torch.max(boxes1[None, :, :2], boxes2[:, None, :2])
    rb = torch.min(boxes1[None, :, 2:], boxes2[:, None, 2:])
    inter = (rb - lt).clamp(min=0).prod(2)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(1)
    return inter / (area1[None] + area2[:, None] - inter + 1e-9)


@wrong("compare them one to one")
def one_to_one(boxes1, boxes2):
    lt = torch.max(boxes1[:, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, 2:], boxes2[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(1)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(1)
    return inter / (area1 + area2 - inter + 1e-9)


@wrong("all cut it")
def through_numpy(boxes1, boxes2):
    a, b = boxes1.detach().numpy()[:, None], boxes2.detach().numpy()[None]
    wh = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    inter = wh[..., 0] * wh[..., 1]
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return torch.from_numpy(inter / (area_a + area_b - inter + 1e-9))


@wrong("min and max are exchanged")
def begins_at_the_smaller_edge(boxes1, boxes2):
    lt = torch.min(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.max(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(2)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(1)
    return inter / (area1[:, None] + area2 - inter + 1e-9)


@wrong("square pixels")
def only_the_intersection(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    return (rb - lt).clamp(min=0).prod(2)


@wrong("an absolute value turns")
def absolute_values_instead_of_clamps(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (rb - lt).abs().prod(2)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(1)
    return inter / (area1[:, None] + area2 - inter + 1e-9)


@wrong("changes the tensors it is given")
def rewrites_its_input_as_xywh(boxes1, boxes2):
    for boxes in (boxes1, boxes2):
        boxes[:, 2:] -= boxes[:, :2]
    x1, y1, w1, h1 = boxes1[:, None].unbind(2)
    x2, y2, w2, h2 = boxes2.unbind(1)
    w = (torch.min(x1 + w1, x2 + w2) - torch.max(x1, x2)).clamp(min=0)
    h = (torch.min(y1 + h1, y2 + h2) - torch.max(y1, y2)).clamp(min=0)
    return w * h / (w1 * h1 + w2 * h2 - w * h + 1e-9)


@wrong("not for boxes inside [0, 1]")
def clamps_the_union_to_one(boxes1, boxes2):
    x1 = torch.max(boxes1[:, None, 0], boxes2[:, 0])
    y1 = torch.max(boxes1[:, None, 1], boxes2[:, 1])
    x2 = torch.min(boxes1[:, None, 2], boxes2[:, 2])
    y2 = torch.min(boxes1[:, None, 3], boxes2[:, 3])
    inter = (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)
    area1 = (boxes1[:, 2] - boxes1[:, 0]) * (boxes1[:, 3] - boxes1[:, 1])
    area2 = (boxes2[:, 2] - boxes2[:, 0]) * (boxes2[:, 3] - boxes2[:, 1])
    union = area1[:, None] + area2[None, :] - inter
    return inter / torch.clamp(union, min=1.0)


@wrong("not for boxes inside [0, 1]")
def clamps_the_sides_to_one(boxes1, boxes2):
    def area(b):
        return (b[:, 2] - b[:, 0]).clamp(min=1) * (b[:, 3] - b[:, 1]).clamp(min=1)

    lt = torch.max(boxes1[:, None, :2], boxes2[None, :, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[None, :, 2:])
    wh = (rb - lt).clamp(min=0)
    inter = wh[..., 0] * wh[..., 1]
    return inter / (area(boxes1)[:, None] + area(boxes2)[None] - inter)


@wrong("the areas are added along the wrong axis")
def forgets_the_new_axis_of_the_areas(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(-1)
    area1 = (boxes1[:, 2] - boxes1[:, 0]) * (boxes1[:, 3] - boxes1[:, 1])
    area2 = (boxes2[:, 2] - boxes2[:, 0]) * (boxes2[:, 3] - boxes2[:, 1])
    return inter / (area1 + area2 - inter + 1e-7)


@wrong("the areas are added along the wrong axis")
def new_axis_on_the_other_areas(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    wh = torch.relu(rb - lt)
    inter = wh[:, :, 0] * wh[:, :, 1]
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(dim=1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(dim=1)
    return inter / (area1[None, :] + area2[:, None] - inter + 1e-7)


@wrong("the areas are multiplied along the wrong axis")
def multiplies_down_the_columns(boxes1, boxes2):
    wh1, wh2 = boxes1[:, 2:] - boxes1[:, :2], boxes2[:, 2:] - boxes2[:, :2]
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(2)
    return inter / (wh1.prod(0)[:, None] + wh2.prod(0) - inter + 1e-7)


@wrong("the same extreme of all four")
def takes_the_maximum_of_everything(boxes1, boxes2):
    both = torch.maximum(boxes1[:, None], boxes2[None])
    w = (both[..., 2] - both[..., 0]).clamp(min=0)
    h = (both[..., 3] - both[..., 1]).clamp(min=0)
    area1 = (boxes1[:, 2] - boxes1[:, 0]) * (boxes1[:, 3] - boxes1[:, 1])
    area2 = (boxes2[:, 2] - boxes2[:, 0]) * (boxes2[:, 3] - boxes2[:, 1])
    return w * h / (area1[:, None] + area2 - w * h + 1e-7)


@wrong("you divide by the larger area")
def divides_by_the_larger(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(2)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(1)
    return inter / torch.max(area1[:, None], area2[None]).clamp(min=1e-6)


@wrong("union over intersection")
def the_fraction_upside_down(boxes1, boxes2):
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(2)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(1)
    return (area1[:, None] + area2 - inter) / inter


@wrong("x and y are mixed up")
def unpacks_in_the_wrong_order(boxes1, boxes2):
    x1, x2, y1, y2 = boxes1[:, None].unbind(-1)
    u1, u2, v1, v2 = boxes2.unbind(-1)
    w = (torch.min(x2, u2) - torch.max(x1, u1)).clamp(min=0)
    h = (torch.min(y2, v2) - torch.max(y1, v1)).clamp(min=0)
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - w * h
    return w * h / union


@wrong("yours is x2 · y2")
def areas_from_the_last_corner(boxes1, boxes2):
    left_top = torch.maximum(boxes1[:, None, :2], boxes2[None, :, :2])
    right_bottom = torch.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    sides = (right_bottom - left_top).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    area1, area2 = boxes1[:, 2] * boxes1[:, 3], boxes2[:, 2] * boxes2[:, 3]
    return shared / (area1[:, None] + area2[None] - shared + 1e-9)


@wrong("you clamp the product")
def clamps_the_product_and_the_union(boxes1, boxes2):
    a, b = boxes1[:, None], boxes2
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = sides.prod(-1).clamp(min=0)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[:, 2:] - b[:, :2]).prod(-1) - shared
    return shared / union.clamp(min=1e-8)


@wrong("an absolute value turns")
def absolute_values_and_a_clamped_union(boxes1, boxes2):
    a, b = boxes1[:, None], boxes2
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = sides.abs().prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[:, 2:] - b[:, :2]).prod(-1) - shared
    return shared / union.clamp(min=1e-8)


@wrong("only one of width and height is clamped")
def clamps_the_width_alone(boxes1, boxes2):
    x1 = torch.max(boxes1[:, None, 0], boxes2[:, 0])
    y1 = torch.max(boxes1[:, None, 1], boxes2[:, 1])
    x2 = torch.min(boxes1[:, None, 2], boxes2[:, 2])
    y2 = torch.min(boxes1[:, None, 3], boxes2[:, 3])
    shared = (x2 - x1).clamp(min=0) * (y2 - y1)
    area1 = (boxes1[:, 2] - boxes1[:, 0]) * (boxes1[:, 3] - boxes1[:, 1])
    area2 = (boxes2[:, 2] - boxes2[:, 0]) * (boxes2[:, 3] - boxes2[:, 1])
    return shared / (area1[:, None] + area2 - shared + 1e-7)


@wrong("yours takes it away twice")
def subtracts_the_shared_part_from_both(boxes1, boxes2):
    a, b = boxes1[:, None], boxes2
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = sides.clamp(min=0).prod(-1)
    rest1 = (a[..., 2:] - a[..., :2]).prod(-1) - shared
    rest2 = (b[:, 2:] - b[:, :2]).prod(-1) - shared
    return shared / (rest1 + rest2 + 1e-7)


@wrong("the area of the box around both")
def divides_by_the_enclosing_box(boxes1, boxes2):
    a, b = boxes1[:, None], boxes2
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    return sides.clamp(min=0).prod(-1) / around.prod(-1).clamp(min=1e-7)


@wrong("yours has that of one list twice")
def the_first_area_twice(boxes1, boxes2):
    a, b = boxes1[:, None], boxes2
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = sides.clamp(min=0).prod(-1)
    area1 = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area2 = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    return shared / (area1 + area2 - shared + 1e-7)


@wrong("for yours one of the two")
def overlap_where_any_side_is_positive(boxes1, boxes2):
    a, b = boxes1[:, None], boxes2
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = torch.where((sides > 0).any(-1), sides.prod(-1), torch.zeros(()))
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[:, 2:] - b[:, :2]).prod(-1) - shared
    return shared / union.clamp(min=1e-7)
