"""Exercise 3.4: answers. `shape_iou` is at hand there."""

import numpy as np
import torch

from answers import right, slightly_off, wrong
from detlearn.anchors import shape_iou


def means(sides, group, anchors):
    """Of each anchor's objects; where the mistake is elsewhere."""
    new = anchors.clone()
    for j in range(len(anchors)):
        if (group == j).any():
            new[j] = sides[group == j].mean(dim=0)
    return new


def by_area(anchors):
    return anchors[(anchors[:, 0] * anchors[:, 1]).argsort()]


@right
def loop_over_anchors(sides, start):
    anchors = start.clone()
    old = None
    for _ in range(300):
        group = shape_iou(sides, anchors).argmax(dim=1)
        if old is not None and (group == old).all():
            break
        old = group
        for j in range(len(anchors)):
            mine = sides[group == j]
            if len(mine) > 0:
                anchors[j] = mine.mean(dim=0)
    return anchors[anchors.prod(dim=1).argsort()]


@right
def always_300_rounds_with_index_add(sides, start):
    anchors = start
    k = len(start)
    for _ in range(300):
        group = shape_iou(sides, anchors).max(dim=1).indices
        sums = torch.zeros(k, 2).index_add(0, group, sides)
        counts = torch.bincount(group, minlength=k).float()[:, None]
        anchors = torch.where(counts > 0, sums / (counts + 1e-6), anchors)
    return anchors[torch.argsort(anchors[:, 0] * anchors[:, 1])]


@right
def own_iou_until_nothing_moves(sides, start):
    anchors = start + 0
    while True:
        inter = torch.minimum(sides[:, None, 0], anchors[None, :, 0])
        inter = inter * torch.minimum(sides[:, None, 1], anchors[None, :, 1])
        union = (sides[:, 0] * sides[:, 1])[:, None] + anchors[:, 0] * anchors[:, 1] - inter
        distance = 1 - inter / (union + 1e-6)
        nearest = distance.argmin(dim=1)
        one_hot = (nearest[:, None] == torch.arange(len(anchors))).float()
        count = one_hot.sum(0)
        new = (one_hot[:, :, None] * sides[:, None]).sum(0) / count.clamp(min=1)[:, None]
        new[count == 0] = anchors[count == 0]
        if torch.equal(new, anchors):
            break
        anchors = new
    order = sorted(range(len(anchors)), key=lambda j: float(anchors[j].prod()))
    return anchors[order]


@right
def with_numpy(sides, start):
    wh, anchors = sides.numpy().astype(np.float64), start.numpy().astype(np.float64)
    last = np.full(len(wh), -1)
    for _ in range(300):
        inter = np.minimum(wh[:, None], anchors[None]).prod(2)
        iou = inter / (wh.prod(1)[:, None] + anchors.prod(1)[None] - inter)
        nearest = iou.argmax(1)
        if (nearest == last).all():
            break
        last = nearest
        anchors = np.stack(
            [wh[nearest == j].mean(0) if (nearest == j).any() else anchors[j]
             for j in range(len(anchors))]
        )  # fmt: skip
    return torch.from_numpy(anchors[np.argsort(anchors.prod(1))]).float()


@right
def with_scatter(sides, start):
    anchors, group = start.double(), None
    sides = sides.double()
    for _ in range(300):
        closest = torch.argmax(shape_iou(sides, anchors), dim=1)
        if group is not None and torch.equal(group, closest):
            break
        group = closest
        index = group[:, None].expand(-1, 2)
        anchors = anchors.scatter_reduce(0, index, sides, "mean", include_self=False)
    return by_area(anchors).float()


@slightly_off
def anchors_a_thousandth_too_large(sides, start):
    return 1.001 * loop_over_anchors(sides, start)


@wrong("the distance of yours is one of pixels")
def euclidean(sides, start):
    anchors = start.clone()
    for _ in range(300):
        group = ((sides[:, None] - anchors) ** 2).sum(-1).argmin(dim=1)
        new = means(sides, group, anchors)
        if torch.equal(new, anchors):
            break
        anchors = new
    return by_area(anchors)


@wrong("the distance of yours is one of pixels")
def manhattan(sides, start):
    anchors = start.clone()
    for _ in range(300):
        group = torch.cdist(sides, anchors, p=1).argmin(dim=1)
        anchors = means(sides, group, anchors)
    return by_area(anchors)


@wrong("yours compares areas alone")
def areas(sides, start):
    anchors = start.clone()
    for _ in range(300):
        group = (sides.prod(1)[:, None] - anchors.prod(1)).abs().argmin(dim=1)
        anchors = means(sides, group, anchors)
    return by_area(anchors)


@wrong("yours compares the logarithms")
def logarithms(sides, start):
    anchors = start.clone()
    for _ in range(300):
        group = torch.cdist(sides.log(), anchors.log()).argmin(dim=1)
        anchors = means(sides, group, anchors)
    return by_area(anchors)


@wrong("by the intersection alone")
def intersection(sides, start):
    anchors = start.clone()
    for _ in range(300):
        group = torch.minimum(sides[:, None], anchors).prod(-1).argmax(dim=1)
        anchors = means(sides, group, anchors)
    return by_area(anchors)


@wrong("yours goes to the one of lowest")
def argmin_of_the_iou(sides, start):
    anchors = start.clone()
    old = None
    for _ in range(300):
        group = shape_iou(sides, anchors).argmin(dim=1)
        if old is not None and torch.equal(group, old):
            break
        old = group
        anchors = means(sides, group, anchors)
    return by_area(anchors)


@wrong("yours goes to the last")
def last_of_equals(sides, start):
    anchors = start.clone()
    for _ in range(300):
        iou = shape_iou(sides, anchors)
        group = torch.zeros(len(sides), dtype=torch.int64)
        for j in range(1, len(anchors)):
            group[iou[:, j] >= iou.gather(1, group[:, None])[:, 0]] = j
        anchors = means(sides, group, anchors)
    return by_area(anchors)


@wrong("in yours each anchor chooses one object")
def the_wrong_dimension(sides, start):
    anchors = start.clone()
    for _ in range(300):
        chosen = shape_iou(sides, anchors).argmax(dim=0)
        if torch.equal(sides[chosen], anchors):
            break
        anchors = sides[chosen]
    return by_area(anchors)


@wrong("yours becomes their median")
def medians(sides, start):
    """As in a well-known program."""
    anchors = start.clone()
    old = None
    for _ in range(300):
        group = shape_iou(sides, anchors).argmax(dim=1)
        if old is not None and torch.equal(group, old):
            break
        old = group
        for j in range(len(anchors)):
            if (group == j).any():
                middle = np.median(sides[group == j].numpy(), axis=0)
                anchors[j] = torch.from_numpy(middle)
    return by_area(anchors)


@wrong("yours is their geometric mean")
def geometric_means(sides, start):
    anchors = start.clone()
    for _ in range(300):
        group = shape_iou(sides, anchors).argmax(dim=1)
        anchors = means(sides.log(), group, anchors.log()).exp()
    return by_area(anchors)


@wrong("by the number of all objects")
def divides_by_n(sides, start):
    anchors = start.clone()
    old = None
    for _ in range(300):
        group = shape_iou(sides, anchors).argmax(dim=1)
        if old is not None and torch.equal(group, old):
            break
        old = group
        anchors = torch.nn.functional.one_hot(group, len(start)).float().T @ sides / len(sides)
    return by_area(anchors)


@wrong("the mean of nothing is NaN, which argmax takes")
def mean_of_nothing(sides, start):
    anchors = start.clone()
    old = None
    for _ in range(300):
        group = shape_iou(sides, anchors).argmax(dim=1)
        if old is not None and torch.equal(group, old):
            break
        old = group
        anchors = torch.stack([sides[group == j].mean(0) for j in range(len(anchors))])
    return by_area(anchors)


@wrong("yours is dropped")
def drops_the_empty(sides, start):
    anchors = start.clone()
    old = None
    for _ in range(300):
        group = shape_iou(sides, anchors).argmax(dim=1)
        if old is not None and torch.equal(group, old):
            break
        old = group
        anchors = torch.stack(
            [sides[group == j].mean(0) for j in range(len(anchors)) if (group == j).any()]
        )
    return by_area(anchors)


@wrong("yours becomes 0")
def zero_for_the_empty(sides, start):
    anchors = start.clone()
    for _ in range(300):
        group = shape_iou(sides, anchors).argmax(dim=1)
        one_hot = torch.nn.functional.one_hot(group, len(start)).float()
        new = one_hot.T @ sides / one_hot.sum(0).clamp(min=1)[:, None]
        if torch.equal(new, anchors):
            break
        anchors = new
    return by_area(anchors)


@wrong("once is not enough")
def one_round(sides, start):
    group = shape_iou(sides, start).argmax(dim=1)
    return by_area(means(sides, group, start))


@wrong("yours stops too early")
def two_rounds(sides, start):
    anchors = start
    for _ in range(2):
        anchors = means(sides, shape_iou(sides, anchors).argmax(dim=1), anchors)
    return by_area(anchors)


@wrong("yours begins with the first objects")
def own_start(sides, start):
    return loop_over_anchors(sides, sides[: len(start)])


@wrong("yours are in the order in which they began")
def unsorted(sides, start):
    anchors = start.clone()
    for _ in range(300):
        group = shape_iou(sides, anchors).argmax(dim=1)
        anchors = means(sides, group, anchors)
    return anchors


@wrong("yours begins with the largest")
def largest_first(sides, start):
    anchors = loop_over_anchors(sides, start)
    return anchors[anchors.prod(1).argsort(descending=True)]


@wrong("yours by their widths")
def sorted_by_width(sides, start):
    return torch.tensor(sorted(loop_over_anchors(sides, start).tolist()))


@wrong("each for themselves")
def sorts_both_columns(sides, start):
    return loop_over_anchors(sides, start).sort(dim=0).values


@wrong("yours are rounded")
def rounds(sides, start):
    return loop_over_anchors(sides, start).round()


@wrong("yours says to which of them each object goes")
def the_groups(sides, start):
    anchors = loop_over_anchors(sides, start)
    return shape_iou(sides, anchors).argmax(dim=1)


@wrong("your function changes the tensors it is given (start)")
def writes_into_the_start(sides, start):
    anchors = start
    for _ in range(300):
        group = shape_iou(sides, anchors).argmax(dim=1)
        for j in range(len(anchors)):
            if (group == j).any():
                anchors[j] = sides[group == j].mean(dim=0)
    return by_area(anchors)


@wrong("end with .float()")
def float64(sides, start):
    wh, anchors = sides.double().numpy(), start.double().numpy()
    for _ in range(300):
        inter = np.minimum(wh[:, None], anchors).prod(-1)
        iou = inter / (wh.prod(1)[:, None] + anchors.prod(1) - inter)
        group = iou.argmax(1)
        groups = [wh[group == j] for j in range(len(anchors))]
        anchors = np.stack([g.mean(0) if len(g) else a for g, a in zip(groups, anchors)])
    return torch.from_numpy(anchors[anchors.prod(1).argsort()])


@wrong("there is a loop over objects")
def object_by_object(sides, start):
    anchors, old = start.tolist(), None
    for _ in range(300):
        group = []
        for w, h in sides.tolist():
            ious = []
            for aw, ah in anchors:
                inter = min(w, aw) * min(h, ah)
                ious.append(inter / (w * h + aw * ah - inter))
            group.append(ious.index(max(ious)))
        if group == old:
            break
        old = group
        for j in range(len(anchors)):
            mine = [side for side, g in zip(sides.tolist(), group) if g == j]
            if mine:
                anchors[j] = [sum(side) / len(mine) for side in zip(*mine)]
    return torch.tensor(sorted(anchors, key=lambda a: a[0] * a[1]))


@wrong("yours were ordered before the rounds")
def sorts_the_start(sides, start):
    anchors = start[start.prod(dim=1).argsort(stable=True)]
    for _ in range(300):
        anchors = means(sides, shape_iou(sides, anchors).argmax(dim=1), anchors)
    return anchors
