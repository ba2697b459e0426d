"""Exercise 1.4: answers. `box_iou` is at hand there."""

import torch

from answers import right, slightly_off, wrong
from detlearn.boxes import box_iou


@right
def with_lists(boxes, scores, iou_threshold):
    overlap = box_iou(boxes, boxes).tolist()
    left = sorted(range(len(scores)), key=lambda i: -scores[i].item())
    keep = []
    while left:
        best = left.pop(0)
        keep.append(best)
        left = [i for i in left if overlap[best][i] <= iou_threshold]
    return torch.tensor(keep, dtype=torch.long)


@right
def with_a_mask(boxes, scores, iou_threshold):
    order = torch.argsort(scores, descending=True)
    overlap = box_iou(boxes, boxes)
    gone = torch.zeros(len(boxes), dtype=torch.bool)
    keep = []
    for i in order.tolist():
        if gone[i]:
            continue
        keep.append(i)
        gone |= overlap[i] > iou_threshold
    return torch.tensor(keep).long()


@right
def with_numpy(boxes, scores, iou_threshold):
    x1, y1, x2, y2 = boxes.numpy().T
    areas = (x2 - x1) * (y2 - y1)
    order = (-scores.numpy()).argsort(kind="stable")
    keep = []
    while order.size > 0:
        i, rest = order[0], order[1:]
        keep.append(int(i))
        w = (x2[rest].clip(max=x2[i]) - x1[rest].clip(min=x1[i])).clip(min=0)
        h = (y2[rest].clip(max=y2[i]) - y1[rest].clip(min=y1[i])).clip(min=0)
        inter = w * h
        order = rest[inter / (areas[i] + areas[rest] - inter) <= iou_threshold]
    return torch.tensor(keep, dtype=torch.int64)


@right
def by_lowering_scores(boxes, scores, iou_threshold):
    scores = scores.clone()
    keep = []
    while len(boxes) and scores.max() > -float("inf"):
        best = scores.argmax()
        keep.append(best)
        scores[box_iou(boxes, boxes[best].unsqueeze(0)).squeeze(1) > iou_threshold] = -float("inf")
        scores[best] = -float("inf")
    return torch.stack(keep) if keep else torch.empty(0, dtype=torch.int64)


@slightly_off
def threshold_off_by_a_thousandth(boxes, scores, iou_threshold):
    return with_a_mask(boxes, scores, 0.999 * iou_threshold)


@wrong("positions in the sorted list")
def sorts_and_forgets_the_order(boxes, scores, iou_threshold):
    order = scores.argsort(descending=True)
    boxes = boxes[order]
    overlap = box_iou(boxes, boxes)
    keep = []
    for i in range(len(boxes)):
        if all(overlap[i, j] <= iou_threshold for j in keep):
            keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)


@wrong("from the lowest score to the highest")
def ascending(boxes, scores, iou_threshold):
    order = torch.argsort(scores)
    keep = []
    while len(order) > 0:
        i = order[0]
        keep.append(i.item())
        order = order[1:]
        order = order[box_iou(boxes[i : i + 1], boxes[order])[0] <= iou_threshold]
    return torch.tensor(keep, dtype=torch.int64)


@wrong("take the one with the highest score first")
def never_sorts(boxes, scores, iou_threshold):
    keep = []
    for i in range(len(boxes)):
        if len(keep) == 0 or box_iou(boxes[[i]], boxes[keep]).max() <= iou_threshold:
            keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)


@wrong("at the threshold itself it stays")
def drops_at_the_threshold(boxes, scores, iou_threshold):
    order = scores.argsort(descending=True)
    keep = []
    while order.numel():
        keep.append(order[0])
        ious = box_iou(boxes[order[:1]], boxes[order[1:]]).flatten()
        order = order[1:][ious < iou_threshold]
    return torch.stack(keep) if keep else torch.zeros(0, dtype=torch.int64)


@wrong("a suppressed box suppresses others")
def all_at_once(boxes, scores, iou_threshold):
    order = scores.argsort(descending=True)
    overlap = box_iou(boxes[order], boxes[order])
    suppressed = torch.triu(overlap > iou_threshold, diagonal=1).any(dim=0)
    return order[~suppressed]


@wrong("the wrong way round")
def keeps_what_overlaps(boxes, scores, iou_threshold):
    order = scores.argsort(descending=True)
    keep = []
    while len(order) > 0:
        i, order = order[0], order[1:]
        keep.append(i)
        order = order[box_iou(boxes[i][None], boxes[order])[0] >= iou_threshold]
    return torch.tensor([int(i) for i in keep], dtype=torch.int64)


@wrong("in the order of their indices")
def returns_nonzero_of_a_mask(boxes, scores, iou_threshold):
    keep = torch.ones(len(boxes), dtype=torch.bool)
    overlap = box_iou(boxes, boxes)
    for i in scores.argsort(descending=True):
        if keep[i]:
            worse = scores < scores[i]
            keep[worse & (overlap[i] > iou_threshold)] = False
    return keep.nonzero().squeeze(1)


@wrong("you return a mask")
def returns_the_mask(boxes, scores, iou_threshold):
    keep = torch.zeros(len(boxes), dtype=torch.bool)
    for i in scores.argsort(descending=True).tolist():
        if not (box_iou(boxes[i : i + 1], boxes[keep]) > iou_threshold).any():
            keep[i] = True
    return keep


@wrong("you return boxes")
def returns_the_boxes(boxes, scores, iou_threshold):
    return boxes[with_a_mask(boxes, scores, iou_threshold)]


@wrong("you return scores")
def returns_the_scores(boxes, scores, iou_threshold):
    kept = []
    order = scores.sort(descending=True).indices
    while len(order):
        kept.append(scores[order[0]])
        order = order[1:][box_iou(boxes[order[:1]], boxes[order[1:]])[0] <= iou_threshold]
    return torch.stack(kept) if kept else torch.zeros(0)


@wrong("returned a list; expected a torch.Tensor")
def returns_a_list(boxes, scores, iou_threshold):
    keep = []
    for i in scores.argsort(descending=True).tolist():
        if not keep or box_iou(boxes[[i]], boxes[keep]).max() <= iou_threshold:
            keep.append(i)
    return keep


@wrong("the last kept box only")
def compares_with_the_previous(boxes, scores, iou_threshold):
    order = scores.argsort(descending=True).tolist()
    keep = order[:1]
    for i in order[1:]:
        if box_iou(boxes[keep[-1]][None], boxes[i][None]) <= iou_threshold:
            keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)


@wrong("the threshold is the one you are given")
def threshold_written_into_the_code(boxes, scores, iou_threshold):
    order = scores.argsort(descending=True)
    keep = []
    while len(order) > 0:
        keep.append(order[0])
        order = order[1:][box_iou(boxes[order[0]][None], boxes[order[1:]])[0] <= 0.5]
    return torch.stack(keep) if keep else order


@wrong("nothing is suppressed")
def drops_from_a_copy(boxes, scores, iou_threshold):
    order = scores.argsort(descending=True)
    keep = []
    for i in order:
        rest = order[order != i]
        rest = rest[box_iou(boxes[i][None], boxes[rest])[0] <= iou_threshold]
        keep.append(i)
    return torch.stack(keep) if keep else order


@wrong("check for an empty list")
def no_guard_for_no_boxes(boxes, scores, iou_threshold):
    left = scores.argsort(descending=True).tolist()
    keep = [left.pop(0)]
    for i in left:
        if box_iou(boxes[[i]], boxes[keep]).max() <= iou_threshold:
            keep.append(i)
    return torch.tensor(keep)


@wrong("of an empty list is float32")
def empty_tensor_without_dtype(boxes, scores, iou_threshold):
    keep = []
    for i in scores.argsort(descending=True).tolist():
        if not (box_iou(boxes[[i]], boxes[keep]) > iou_threshold).any():
            keep.append(i)
    return torch.tensor(keep)


@wrong("only the best box of all")
def only_the_neighbours_of_the_best(boxes, scores, iou_threshold):
    order = scores.argsort(descending=True)
    ious = box_iou(boxes[order[:1]], boxes[order]).flatten()
    others = order[ious <= iou_threshold]
    return torch.cat((order[:1], others))


@wrong("the wrong way round")
def keeps_what_is_above(boxes, scores, iou_threshold):
    order = scores.argsort(descending=True).tolist()
    keep = []
    while order:
        best = order.pop(0)
        keep.append(best)
        ious = box_iou(boxes[[best]], boxes[order])[0]
        order = [i for i, iou in zip(order, ious) if iou > iou_threshold]
    return torch.tensor(keep, dtype=torch.int64)


@wrong("belongs to other boxes")
def ious_of_the_unsorted_boxes(boxes, scores, iou_threshold):
    order = scores.argsort(descending=True)
    ious = box_iou(boxes, boxes)
    suppressed = torch.zeros(len(boxes), dtype=torch.bool)
    keep = []
    for i in range(len(order)):
        if suppressed[i]:
            continue
        keep.append(int(order[i]))
        suppressed |= ious[i] > iou_threshold
    return torch.tensor(keep, dtype=torch.int64)


@wrong("belongs to other boxes")
def ious_of_the_sorted_boxes(boxes, scores, iou_threshold):
    order = scores.argsort(descending=True)
    boxes = boxes[order]
    ious = box_iou(boxes, boxes)
    keep = []
    for i in order.tolist():
        if all(ious[i, j] <= iou_threshold for j in keep):
            keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)


@wrong("of equal scores the earlier box comes first")
def ascending_turned_round(boxes, scores, iou_threshold):
    left = scores.argsort(stable=True).flip(0)
    keep = []
    while len(left):
        keep.append(left[0].item())
        overlap = box_iou(boxes[left[0]][None], boxes[left])[0]
        overlap[0] = 2.0
        left = left[overlap <= iou_threshold]
    return torch.tensor(keep, dtype=torch.int64)


@wrong("yours spares those with an equal score")
def only_strictly_better_ones_suppress(boxes, scores, iou_threshold):
    ious = box_iou(boxes, boxes)
    keep = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        rivals = [j for j in keep if scores[j] > scores[i]]
        if not any(ious[i, j] > iou_threshold for j in rivals):
            keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)


@wrong("check where the loop ends")
def stops_before_the_last(boxes, scores, iou_threshold):
    left = scores.argsort(descending=True)
    keep = []
    while len(left) > 1:
        keep.append(left[0])
        rest = left[1:]
        left = rest[box_iou(boxes[left[:1]], boxes[rest])[0] <= iou_threshold]
        if len(left) == 1 and len(keep) == 0:
            keep.append(left[0])
    return torch.stack(keep) if keep else torch.zeros(0, dtype=torch.int64)


@wrong("dtype int32; expected int64")
def indices_in_int32(boxes, scores, iou_threshold):
    keep = []
    for i in scores.argsort(descending=True).tolist():
        if not (box_iou(boxes[[i]], boxes[keep]) > iou_threshold).any():
            keep.append(i)
    return torch.tensor(keep, dtype=torch.int32)


@wrong("returned a numpy array")
def returns_numpy(boxes, scores, iou_threshold):
    return with_lists(boxes, scores, iou_threshold).numpy()


@wrong("only those with a larger index")
def suppresses_later_indices_alone(boxes, scores, iou_threshold):
    iou = box_iou(boxes, boxes)
    gone = torch.zeros(len(boxes), dtype=torch.bool)
    keep = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if gone[i]:
            continue
        keep.append(i)
        for j in range(i + 1, len(boxes)):
            if iou[i, j] > iou_threshold:
                gone[j] = True
    return torch.tensor(keep, dtype=torch.int64)


@wrong("continue, do not break")
def breaks_where_a_box_goes(boxes, scores, iou_threshold):
    iou, keep = box_iou(boxes, boxes), []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if any(iou[i, j] > iou_threshold for j in keep):
            break
        keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)


@wrong("divides by the area of one box")
def overlap_as_a_share_of_the_candidate(boxes, scores, iou_threshold):
    corner = torch.maximum(boxes[:, None, :2], boxes[:, :2])
    sides = (torch.minimum(boxes[:, None, 2:], boxes[:, 2:]) - corner).clamp(min=0)
    share = sides.prod(-1) / (boxes[:, 2:] - boxes[:, :2]).prod(-1)  # of the box in the column
    keep = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if not any(share[j, i] > iou_threshold for j in keep):
            keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)


@wrong("instead of setting their scores to 0")
def ends_where_no_score_is_positive(boxes, scores, iou_threshold):
    scores, keep = scores.clone(), []
    while len(scores) and scores.max() > 0:
        i = int(scores.argmax())
        keep.append(i)
        scores[box_iou(boxes[i : i + 1], boxes)[0] > iou_threshold] = 0
        scores[i] = 0
    return torch.tensor(keep, dtype=torch.int64)


@wrong("so the next box is skipped")
def removes_while_it_walks(boxes, scores, iou_threshold):
    left = scores.argsort(descending=True, stable=True).tolist()
    keep, iou = [], box_iou(boxes, boxes)
    while left:
        i = left.pop(0)
        keep.append(i)
        for j in left:
            if iou[i, j] > iou_threshold:
                left.remove(j)
    return torch.tensor(keep, dtype=torch.int64)


@wrong("index() finds the first of them each time")
def looks_boxes_up_by_score(boxes, scores, iou_threshold):
    listed, keep = scores.tolist(), []
    iou = box_iou(boxes, boxes)
    for score in sorted(listed, reverse=True):
        i = listed.index(score)
        if not any(iou[i, j] > iou_threshold for j in keep):
            keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)
