"""Exercise 6.1: answers."""

import torch

from answers import right, slightly_off, wrong


@right
def from_corners(pred_boxes, target_boxes):
    x1, y1, x2, y2 = pred_boxes.unbind(1)
    u1, v1, u2, v2 = target_boxes.unbind(1)
    w = (torch.min(x2, u2) - torch.max(x1, u1)).clamp(min=0)
    h = (torch.min(y2, v2) - torch.max(y1, v1)).clamp(min=0)
    inter = w * h
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - inter
    hull = (torch.max(x2, u2) - torch.min(x1, u1)) * (torch.max(y2, v2) - torch.min(y1, v1))
    return 1 - (inter / (union + 1e-6) - (hull - union) / (hull + 1e-6))


@right
def two_minus_two_ratios(pred_boxes, target_boxes):
    inner = torch.cat(
        (
            torch.where(pred_boxes > target_boxes, pred_boxes, target_boxes)[:, :2],
            torch.where(pred_boxes < target_boxes, pred_boxes, target_boxes)[:, 2:],
        ),
        dim=1,
    )
    both = torch.stack((pred_boxes, target_boxes))
    outer = torch.cat((both[..., :2].amin(0), both[..., 2:].amax(0)), dim=1)
    inter = torch.relu(inner[:, 2:] - inner[:, :2]).prod(1)
    union = (both[..., 2:] - both[..., :2]).prod(-1).sum(0) - inter
    c = (outer[:, 2:] - outer[:, :2]).prod(1)
    return 2 - inter / (union + 1e-9) - union / (c + 1e-9)


@wrong("there is a loop over boxes")
def pair_by_pair(pred_boxes, target_boxes):
    losses = []
    for p, t in zip(pred_boxes, target_boxes):
        w = (torch.min(p[2], t[2]) - torch.max(p[0], t[0])).clamp(min=0)
        h = (torch.min(p[3], t[3]) - torch.max(p[1], t[1])).clamp(min=0)
        union = (p[2] - p[0]) * (p[3] - p[1]) + (t[2] - t[0]) * (t[3] - t[1]) - w * h
        c = (torch.max(p[2], t[2]) - torch.min(p[0], t[0])) * (
            torch.max(p[3], t[3]) - torch.min(p[1], t[1])
        )
        iou = w * h / union.clamp(min=1e-9)
        losses.append(1 - iou + (c - union) / c.clamp(min=1e-9))
    return torch.stack(losses) if losses else torch.zeros(0)


@right
def only_where_there_is_area(pred_boxes, target_boxes):
    wh_p = pred_boxes[:, 2:] - pred_boxes[:, :2]
    wh_t = target_boxes[:, 2:] - target_boxes[:, :2]
    hull = torch.maximum(pred_boxes[:, 2:], target_boxes[:, 2:]) - torch.minimum(
        pred_boxes[:, :2], target_boxes[:, :2]
    )
    wh = (wh_p + wh_t - hull).clamp(min=0)  # inclusion and exclusion, along each axis
    inter, c = wh[:, 0] * wh[:, 1], hull[:, 0] * hull[:, 1]
    union = wh_p[:, 0] * wh_p[:, 1] + wh_t[:, 0] * wh_t[:, 1] - inter
    giou = inter / torch.where(union > 0, union, 1.0)
    return 1 - giou + 1 - torch.where(c > 0, union / torch.where(c > 0, c, 1.0), 1.0)


@slightly_off
def off_by_a_thousandth(pred_boxes, target_boxes):
    return 1.001 * from_corners(pred_boxes, target_boxes)


def _parts(p, t):
    lt, rb = torch.max(p[:, :2], t[:, :2]), torch.min(p[:, 2:], t[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(1)
    union = (p[:, 2:] - p[:, :2]).prod(1) + (t[:, 2:] - t[:, :2]).prod(1) - inter
    lt, rb = torch.min(p[:, :2], t[:, :2]), torch.max(p[:, 2:], t[:, 2:])
    return inter, union, (rb - lt).prod(1)


@wrong("both differences are negative")
def forgets_the_clamp(pred_boxes, target_boxes):
    px1, py1, px2, py2 = pred_boxes.chunk(4, dim=1)
    tx1, ty1, tx2, ty2 = target_boxes.chunk(4, dim=1)
    inter = (torch.min(px2, tx2) - torch.max(px1, tx1)) * (
        torch.min(py2, ty2) - torch.max(py1, ty1)
    )
    union = (px2 - px1) * (py2 - py1) + (tx2 - tx1) * (ty2 - ty1) - inter
    c = (torch.max(px2, tx2) - torch.min(px1, tx1)) * (torch.max(py2, ty2) - torch.min(py1, ty1))
    return (1 - inter / (union + 1e-7) + (c - union) / (c + 1e-7)).squeeze(1)


@wrong("you return the similarity")
def returns_giou(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    return inter / (union + 1e-7) - (c - union) / (c + 1e-7)


@wrong("this is 1 − IoU alone")
def plain_iou_loss(pred_boxes, target_boxes):
    inter, union, _ = _parts(pred_boxes, target_boxes)
    return 1 - inter / union.clamp(min=1e-6)


@wrong("the sign of the penalty")
def adds_the_penalty_to_the_iou(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    giou = inter / (union + 1e-6) + (c - union) / (c + 1e-6)
    return 1 - giou


@wrong("divided by the union U")
def penalty_over_the_union(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    union = union + 1e-7
    return 1 - inter / union + (c - union) / union


@wrong("subtracts the intersection from C")
def hull_minus_intersection(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    return 1 - inter / (union + 1e-7) + (c - inter) / (c + 1e-7)


@wrong("the share that they do cover")
def covered_share(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    return 1 - inter / (union + 1e-7) + union / (c + 1e-7)


@wrong("return one loss for each")
def the_mean(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    return (1 - inter / (union + 1e-7) + (c - union) / (c + 1e-7)).mean()


@wrong("return one loss for each")
def the_sum(pred_boxes, target_boxes):
    return from_corners(pred_boxes, target_boxes).sum()


@wrong("you cut it off at zero")
def clamps_the_giou(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    giou = torch.clamp(inter / (union + 1e-7) - (c - union) / (c + 1e-7), min=0, max=1)
    return 1 - giou


@wrong("which you count twice")
def union_is_the_sum(pred_boxes, target_boxes):
    lt = torch.max(pred_boxes[:, :2], target_boxes[:, :2])
    rb = torch.min(pred_boxes[:, 2:], target_boxes[:, 2:])
    inter = (rb - lt).clamp(min=0).prod(1)
    union = (pred_boxes[:, 2:] - pred_boxes[:, :2]).prod(1)
    union = union + (target_boxes[:, 2:] - target_boxes[:, :2]).prod(1) + 1e-7
    c = _parts(pred_boxes, target_boxes)[2] + 1e-7
    return 1 - inter / union + (c - union) / c


@wrong("all cut it")
def under_no_grad(pred_boxes, target_boxes):
    with torch.no_grad():
        return two_minus_two_ratios(pred_boxes, target_boxes)


@wrong("all cut it")
def collects_items(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    pairs = zip(inter.tolist(), union.tolist(), c.tolist())
    return torch.tensor([1 - i / (u + 1e-7) + (h - u) / (h + 1e-7) for i, u, h in pairs])


@wrong("you divide by zero where a box has no area")
def no_epsilon(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    return 1 - inter / union + (c - union) / c


@wrong("as min and max are exchanged")
def hull_is_the_intersection(pred_boxes, target_boxes):
    inter, union, _ = _parts(pred_boxes, target_boxes)
    lt = torch.max(pred_boxes[:, :2], target_boxes[:, :2])
    rb = torch.min(pred_boxes[:, 2:], target_boxes[:, 2:])
    c = (rb - lt).prod(1) + 1e-7
    return 1 - inter / (union + 1e-7) + (c - union) / c


@wrong("the 1 is missing")
def negative_giou(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    return -(inter / (union + 1e-7) - (c - union) / (c + 1e-7))


@wrong("the IoU is missing")
def only_the_penalty(pred_boxes, target_boxes):
    _, union, c = _parts(pred_boxes, target_boxes)
    return 1 - union / (c + 1e-7)


@wrong("not centre and size")
def takes_cxcywh(pred_boxes, target_boxes):
    def corners(b):
        return torch.cat((b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2), dim=1)

    return two_minus_two_ratios(corners(pred_boxes), corners(target_boxes))


@wrong("compare them one to one")
def each_with_each(pred_boxes, target_boxes):
    p, t = pred_boxes[:, None], target_boxes[None]
    inter = (torch.min(p, t)[..., 2:] - torch.max(p, t)[..., :2]).clamp(min=0).prod(-1)
    union = (p[..., 2:] - p[..., :2]).prod(-1) + (t[..., 2:] - t[..., :2]).prod(-1) - inter
    c = (torch.max(p, t)[..., 2:] - torch.min(p, t)[..., :2]).prod(-1)
    return 1 - inter / (union + 1e-7) + (c - union) / (c + 1e-7)


@right
def with_vmap(pred_boxes, target_boxes):
    def one(p, t):
        inter = (torch.minimum(p[2:], t[2:]) - torch.maximum(p[:2], t[:2])).clamp(min=0).prod()
        union = (p[2:] - p[:2]).prod() + (t[2:] - t[:2]).prod() - inter
        hull = (torch.maximum(p[2:], t[2:]) - torch.minimum(p[:2], t[:2])).prod()
        return 1 - inter / (union + 1e-7) + (hull - union) / (hull + 1e-7)

    return torch.vmap(one)(pred_boxes, target_boxes) if len(pred_boxes) else torch.zeros(0)


@wrong("the same extreme of all four")
def hull_of_maxima(pred_boxes, target_boxes):
    inter, union, _ = _parts(pred_boxes, target_boxes)
    hull = torch.max(pred_boxes, target_boxes)
    c = (hull[:, 2] - hull[:, 0]) * (hull[:, 3] - hull[:, 1])
    return 1 - inter / (union + 1e-7) + (c - union) / (c + 1e-7)


@wrong("the same extreme of all four")
def intersection_of_maxima(pred_boxes, target_boxes):
    x1, y1, x2, y2 = torch.max(pred_boxes, target_boxes).unbind(1)
    inter = (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)
    area1 = (pred_boxes[:, 2:] - pred_boxes[:, :2]).prod(1)
    area2 = (target_boxes[:, 2:] - target_boxes[:, :2]).prod(1)
    union = area1 + area2 - inter
    _, true_union, c = _parts(pred_boxes, target_boxes)
    return 1 - inter / (union + 1e-7) + (c - true_union) / (c + 1e-7)


@wrong("not for boxes inside [0, 1]")
def denominators_of_at_least_one(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    return 1 - inter / union.clamp(min=1) + (c - union) / c.clamp(min=1)


@wrong("not for boxes inside [0, 1]")
def union_of_at_least_one(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    iou = inter / torch.clamp(union, min=1)
    return 1 - (iou - (c - union) / (c + 1e-7))


@wrong("not yet a share")
def empty_pixels(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    return 1 - inter / (union + 1e-7) + (c - union)


@wrong("without the + 1")
def counts_pixels(pred_boxes, target_boxes):
    x1, y1, x2, y2 = pred_boxes.t()
    u1, v1, u2, v2 = target_boxes.t()
    w = (torch.min(x2, u2) - torch.max(x1, u1) + 1).clamp(min=0)
    h = (torch.min(y2, v2) - torch.max(y1, v1) + 1).clamp(min=0)
    union = (x2 - x1 + 1) * (y2 - y1 + 1) + (u2 - u1 + 1) * (v2 - v1 + 1) - w * h
    c = (torch.max(x2, u2) - torch.min(x1, u1) + 1) * (torch.max(y2, v2) - torch.min(y1, v1) + 1)
    return 1 - w * h / union + (c - union) / c


@wrong("there is a loop over boxes")
def collects_and_stacks(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    losses = []
    for i in range(len(pred_boxes)):
        losses.append(1 - inter[i] / (union[i] + 1e-7) + (c[i] - union[i]) / (c[i] + 1e-7))
    return torch.stack(losses) if losses else pred_boxes.new_zeros(0)


@wrong("dtype float64; expected float32")
def in_double(pred_boxes, target_boxes):
    return two_minus_two_ratios(pred_boxes.double(), target_boxes.double())


@wrong("clamp each difference at zero before you multiply")
def clamps_the_product(pred_boxes, target_boxes):
    lt = torch.max(pred_boxes[:, :2], target_boxes[:, :2])
    rb = torch.min(pred_boxes[:, 2:], target_boxes[:, 2:])
    inter = (rb - lt).prod(1).clamp(min=0)
    union = (pred_boxes[:, 2:] - pred_boxes[:, :2]).prod(1)
    union = union + (target_boxes[:, 2:] - target_boxes[:, :2]).prod(1) - inter
    c = _parts(pred_boxes, target_boxes)[2]
    return 1 - inter / (union + 1e-7) + (c - union) / (c + 1e-7)


@wrong("turns a gap between the boxes into an overlap")
def takes_the_absolute_value(pred_boxes, target_boxes):
    lt = torch.max(pred_boxes[:, :2], target_boxes[:, :2])
    rb = torch.min(pred_boxes[:, 2:], target_boxes[:, 2:])
    inter = torch.abs(rb - lt).prod(1)
    union = (pred_boxes[:, 2:] - pred_boxes[:, :2]).prod(1)
    union = union + (target_boxes[:, 2:] - target_boxes[:, :2]).prod(1) - inter
    c = _parts(pred_boxes, target_boxes)[2]
    return 1 - inter / (union + 1e-7) + (c - union) / (c + 1e-7)


@wrong("you subtract the two whole areas")
def subtracts_both_areas(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    areas = union + inter
    return 1 - inter / (union + 1e-7) + (c - areas) / (c + 1e-7)


@wrong("your epsilon is so large")
def epsilon_of_a_thousandth(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    return 1 - inter / (union + 1e-3) + (c - union) / (c + 1e-3)


@wrong("as if to bring it into [0, 1]")
def halves_the_loss(pred_boxes, target_boxes):
    return from_corners(pred_boxes, target_boxes) / 2


@wrong("yours adds it only where the IoU is 0")
def penalty_only_apart(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    loss = 1 - inter / (union + 1e-7)
    return torch.where(inter > 0, loss, loss + (c - union) / (c + 1e-7))


@wrong("the sum of the two widths")
def hull_of_added_sizes(pred_boxes, target_boxes):
    inter, union, _ = _parts(pred_boxes, target_boxes)
    c = (pred_boxes[:, 2:] - pred_boxes[:, :2] + target_boxes[:, 2:] - target_boxes[:, :2]).prod(1)
    return 1 - inter / (union + 1e-7) + (c - union) / (c + 1e-7)


@wrong("your penalty carries no gradient")
def penalty_without_gradient(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    with torch.no_grad():
        penalty = (c - union) / (c + 1e-7)
    return 1 - inter / (union + 1e-7) + penalty


@wrong("C must carry a gradient")
def hull_without_gradient(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    c = c.detach()
    return 1 - inter / (union + 1e-7) + (c - union) / (c + 1e-7)


@wrong("a second dimension of length 1")
def keeps_a_dimension(pred_boxes, target_boxes):
    return from_corners(pred_boxes, target_boxes).unsqueeze(1)


@wrong("not one corner and the size")
def takes_xywh(pred_boxes, target_boxes):
    boxes = [torch.cat((b[:, :2], b[:, :2] + b[:, 2:]), dim=1) for b in (pred_boxes, target_boxes)]
    return from_corners(*boxes)


@wrong("yours divides it by the area of one box")
def over_the_smaller_area(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (pred_boxes, target_boxes)]
    iou = inter / (torch.minimum(*areas) + 1e-7)
    return 1 - iou + (c - union) / (c + 1e-7)


@wrong("its four columns are boxes.unbind(1)")
def unpacks_the_rows(pred_boxes, target_boxes):
    x1, y1, x2, y2 = pred_boxes
    u1, v1, u2, v2 = target_boxes
    return from_corners(
        torch.stack((x1, y1, x2, y2), dim=-1), torch.stack((u1, v1, u2, v2), dim=-1)
    )


@wrong("runs over the pairs; give it dim=1")
def hull_of_all_pairs(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    if len(pred_boxes):
        both = torch.cat((pred_boxes, target_boxes))
        c = (both[:, 2:].amax(0) - both[:, :2].amin(0)).prod()
    return 1 - inter / (union + 1e-7) + (c - union) / (c + 1e-7)


@wrong("moving both boxes together changes your loss")
def index_slip_in_the_intersection(pred_boxes, target_boxes):
    p, t = pred_boxes, target_boxes
    w = (torch.min(p[:, 2], t[:, 2]) - torch.max(p[:, 0], t[:, 0])).clamp(min=0)
    h = (torch.min(p[:, 3], t[:, 3]) - torch.max(p[:, 0], t[:, 0])).clamp(min=0)
    inter = w * h
    union = (p[:, 2:] - p[:, :2]).prod(1) + (t[:, 2:] - t[:, :2]).prod(1) - inter
    c = _parts(p, t)[2]
    return 1 - inter / (union + 1e-7) + (c - union) / (c + 1e-7)


@wrong("a Python if decides once for all pairs")
def python_if(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    if inter > 0:
        return 1 - inter / (union + 1e-7)
    return 1 + (c - union) / (c + 1e-7)


@wrong("wrong where a part of that is empty")
def over_the_squared_hull(pred_boxes, target_boxes):
    inter, union, c = _parts(pred_boxes, target_boxes)
    return 1 - inter / (union + 1e-7) + (c - union) / (c**2 + 1e-7)


@wrong("the loss with its sign turned")
def giou_minus_one(pred_boxes, target_boxes):
    return -from_corners(pred_boxes, target_boxes)
