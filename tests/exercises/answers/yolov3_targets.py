"""Exercise 3.5: answers. `box_iou` and `shape_iou` are at hand there."""

import numpy as np
import torch

from answers import right, slightly_off, wrong
from detlearn.anchors import shape_iou
from detlearn.boxes import box_iou


def best_anchors(gt_boxes, anchors):
    """Of all maps together; where the mistake is elsewhere."""
    return shape_iou(gt_boxes[:, 2:] - gt_boxes[:, :2], torch.cat(anchors)).argmax(dim=1)


def place_of(box, best, anchors, strides, map_sizes):
    """Of one object; where the mistake is elsewhere."""
    first = 0
    for level, stride, (h, w) in zip(anchors, strides, map_sizes):
        if best < len(level):
            x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
            column, row = min(max(int(x // stride), 0), w - 1), min(max(int(y // stride), 0), h - 1)
            return first + (row * w + column) * len(level) + best
        best -= len(level)
        first += h * w * len(level)


def start(gt_boxes, pred_boxes, threshold):
    """Background and ignored; where the mistake is elsewhere."""
    answer = torch.full((len(pred_boxes),), -1)
    if len(gt_boxes):
        answer[box_iou(pred_boxes, gt_boxes).max(dim=1).values > threshold] = -2
    return answer


@right
def map_by_map(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    targets = torch.full((len(pred_boxes),), -1, dtype=torch.int64)
    if len(gt_boxes) == 0:
        return targets
    iou = box_iou(pred_boxes, gt_boxes)
    targets[iou.max(dim=1).values > ignore_threshold] = -2
    centre = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    best = shape_iou(gt_boxes[:, 2:] - gt_boxes[:, :2], torch.cat(anchors)).argmax(dim=1)
    offset, number = 0, 0
    for level, stride, (h, w) in zip(anchors, strides, map_sizes):
        a = len(level)
        for i in torch.where((best >= number) & (best < number + a))[0].tolist():
            column = int((centre[i, 0] / stride).floor().clamp(0, w - 1))
            row = int((centre[i, 1] / stride).floor().clamp(0, h - 1))
            targets[offset + (row * w + column) * a + int(best[i]) - number] = i
        offset += h * w * a
        number += a
    return targets


@right
def object_by_object(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    """A few objects, one after the other, with Python's numbers."""
    sizes = [(level, a, *wh) for level, x in enumerate(anchors) for a, wh in enumerate(x.tolist())]
    begins = [0]
    for x, (h, w) in zip(anchors, map_sizes):
        begins.append(begins[-1] + len(x) * h * w)
    answer = torch.full((begins[-1],), -1)
    for x1, y1, x2, y2 in gt_boxes.tolist():
        answer[box_iou(pred_boxes, torch.tensor([[x1, y1, x2, y2]]))[:, 0] > ignore_threshold] = -2
    for i, (x1, y1, x2, y2) in enumerate(gt_boxes.tolist()):
        width, height = x2 - x1, y2 - y1
        ious = []
        for _, _, aw, ah in sizes:
            inter = min(width, aw) * min(height, ah)
            ious.append(inter / (width * height + aw * ah - inter + 1e-6))
        level, a, *_ = sizes[ious.index(max(ious))]
        h, w = map_sizes[level]
        column = min(max(int((x1 + x2) / 2 / strides[level]), 0), w - 1)
        row = min(max(int((y1 + y2) / 2 / strides[level]), 0), h - 1)
        answer[begins[level] + (row * w + column) * len(anchors[level]) + a] = i
    return answer


@right
def a_grid_of_indices(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    """Maps (h, w, A) of targets, flattened at the end."""
    maps = [torch.full((h, w, len(x)), -1) for x, (h, w) in zip(anchors, map_sizes)]
    level_of = torch.cat([torch.full((len(x),), i) for i, x in enumerate(anchors)])
    number_of = torch.cat([torch.arange(len(x)) for x in anchors])
    best = best_anchors(gt_boxes, anchors)
    centres = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    for i, b in enumerate(best):
        level = int(level_of[b])
        h, w = map_sizes[level]
        x, y = torch.div(centres[i], strides[level], rounding_mode="floor").long().tolist()
        maps[level][np.clip(y, 0, h - 1), np.clip(x, 0, w - 1), number_of[b]] = i
    flat = torch.cat([each.flatten() for each in maps])
    if len(gt_boxes):
        near = (box_iou(gt_boxes, pred_boxes) > ignore_threshold).any(dim=0)
        flat = torch.where((flat < 0) & near, -2, flat)
    return flat


@right
def with_tables(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    """No loop over objects: what an anchor's map is like is looked up."""
    n = len(gt_boxes)
    counts = torch.tensor([len(x) for x in anchors])
    h, w = torch.tensor(map_sizes).T
    first = torch.cat((torch.zeros(1), (h * w * counts).cumsum(0)[:-1])).long()
    level = torch.repeat_interleave(torch.arange(len(anchors)), counts)
    before = (counts.cumsum(0) - counts)[level]
    best = best_anchors(gt_boxes, anchors)
    at = level[best]
    stride = torch.tensor(strides)[at]
    column = ((gt_boxes[:, 0] + gt_boxes[:, 2]) / 2 / stride).floor().long()
    row = ((gt_boxes[:, 1] + gt_boxes[:, 3]) / 2 / stride).floor().long()
    column = column.clamp(min=0).minimum(w[at] - 1)
    row = row.clamp(min=0).minimum(h[at] - 1)
    place = first[at] + (row * w[at] + column) * counts[at] + best - before[best]
    overlap = torch.cat((box_iou(pred_boxes, gt_boxes), torch.zeros(len(pred_boxes), 1)), dim=1)
    targets = -1 - (overlap.amax(dim=1) > ignore_threshold).long()
    return targets.scatter_reduce(0, place, torch.arange(n), reduce="amax")


@right
def with_numpy(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    gt, pred = gt_boxes.double().numpy(), pred_boxes.double().numpy()
    answer = np.full(len(pred), -1)
    for box in gt:
        side = np.minimum(pred[:, 2:], box[2:]) - np.maximum(pred[:, :2], box[:2])
        inter = side.clip(min=0).prod(1)
        areas = (pred[:, 2:] - pred[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
        answer[inter / (areas - inter) > ignore_threshold] = -2
    all_anchors = np.concatenate([x.double().numpy() for x in anchors])
    for i, box in enumerate(gt):
        sides = box[2:] - box[:2]
        inter = np.minimum(all_anchors, sides).prod(1)
        best = int((inter / (all_anchors.prod(1) + sides.prod() - inter)).argmax())
        answer[place_of(box, best, anchors, strides, map_sizes)] = i
    return torch.from_numpy(answer)


@slightly_off
def a_threshold_a_thousandth_too_low(gt_boxes, pred_boxes, anchors, strides, map_sizes, thr=0.7):
    return map_by_map(gt_boxes, pred_boxes, anchors, strides, map_sizes, 0.999 * thr)


@wrong("in yours each map has its own")
def best_of_each_map(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    first = 0
    for level, stride, (h, w) in zip(anchors, strides, map_sizes):
        best = shape_iou(gt_boxes[:, 2:] - gt_boxes[:, :2], level).argmax(dim=1)
        for i, box in enumerate(gt_boxes):
            place = place_of(box, int(best[i]), [level], [stride], [(h, w)])
            answer[first + place] = i
        first += h * w * len(level)
    return answer


@wrong("every anchor that is enough like it does")
def all_above_a_half(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    iou = shape_iou(gt_boxes[:, 2:] - gt_boxes[:, :2], torch.cat(anchors))
    for i, box in enumerate(gt_boxes):
        for a in range(iou.shape[1]):
            if iou[i, a] > 0.5 or a == iou[i].argmax():
                answer[place_of(box, a, anchors, strides, map_sizes)] = i
    return answer


@wrong("yours asks for a least IoU")
def only_above_a_half(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    iou = shape_iou(gt_boxes[:, 2:] - gt_boxes[:, :2], torch.cat(anchors))
    for i, box in enumerate(gt_boxes):
        if iou[i].max() > 0.5:
            answer[place_of(box, int(iou[i].argmax()), anchors, strides, map_sizes)] = i
    return answer


@wrong("yours by the difference in pixels")
def nearest_in_pixels(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    sides = gt_boxes[:, 2:] - gt_boxes[:, :2]
    best = torch.cdist(sides, torch.cat(anchors)).argmin(dim=1)
    for i, box in enumerate(gt_boxes):
        answer[place_of(box, int(best[i]), anchors, strides, map_sizes)] = i
    return answer


@wrong("in yours the best prediction learns it")
def best_prediction(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    if len(gt_boxes):
        for i, place in enumerate(box_iou(pred_boxes, gt_boxes).argmax(dim=0).tolist()):
            answer[place] = i
    return answer


@wrong("rows go with y and columns with x")
def x_for_rows(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        x1, y1, x2, y2 = gt_boxes[i].tolist()
        first, a = 0, best
        for level, stride, (h, w) in zip(anchors, strides, map_sizes):
            if 0 <= a < len(level):
                row = min(max(int((x1 + x2) / 2 // stride), 0), h - 1)
                column = min(max(int((y1 + y2) / 2 // stride), 0), w - 1)
                answer[first + (row * w + column) * len(level) + a] = i
            a -= len(level)
            first += h * w * len(level)
    return answer


@wrong("not its upper left corner")
def cell_of_the_corner(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    corner = gt_boxes[:, :2].repeat(1, 2)
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        answer[place_of(corner[i], best, anchors, strides, map_sizes)] = i
    return answer


@wrong("round down, not to the nearest")
def rounds(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    centre = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        first = 0
        for level, stride, (h, w) in zip(anchors, strides, map_sizes):
            if 0 <= best < len(level):
                x, y = (centre[i] / stride).round().long().tolist()
                row, column = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
                answer[first + (row * w + column) * len(level) + best] = i
            best -= len(level)
            first += h * w * len(level)
    return answer


@wrong("clamp row and column")
def no_clamp(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    centre = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    best = best_anchors(gt_boxes, anchors)
    number = first = 0
    for level, stride, (h, w) in zip(anchors, strides, map_sizes):
        a = len(level)
        mine = (best >= number) & (best < number + a)
        column, row = (centre[mine] / stride).long().T
        answer[first + (row * w + column) * a + best[mine] - number] = torch.where(mine)[0]
        number += a
        first += h * w * a
    return answer


@wrong("yours divides by that of the first for all")
def first_stride(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    same = [strides[0]] * len(strides)
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        answer[place_of(gt_boxes[i], best, anchors, same, map_sizes)] = i
    return answer


@wrong("yours count each map from 0")
def forgets_the_maps_before(
    gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7
):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    centre = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        for level, stride, (h, w) in zip(anchors, strides, map_sizes):
            if 0 <= best < len(level):
                x, y = (centre[i] / stride).floor().long().tolist()
                row, column = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
                answer[(row * w + column) * len(level) + best] = i
            best -= len(level)
    return answer


@wrong("yours has all cells of the first anchor")
def anchor_by_anchor(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    centre = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        first = 0
        for level, stride, (h, w) in zip(anchors, strides, map_sizes):
            if 0 <= best < len(level):
                x, y = (centre[i] / stride).floor().long().tolist()
                row, column = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
                answer[first + (best * h + row) * w + column] = i
            best -= len(level)
            first += h * w * len(level)
    return answer


@wrong("yours column by column")
def column_by_column(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    centre = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        first = 0
        for level, stride, (h, w) in zip(anchors, strides, map_sizes):
            if 0 <= best < len(level):
                x, y = (centre[i] / stride).floor().long().tolist()
                row, column = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
                answer[first + (column * h + row) * len(level) + best] = i
            best -= len(level)
            first += h * w * len(level)
    return answer


@wrong("yours learn that there is nothing")
def ignores_nobody(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = torch.full((len(pred_boxes),), -1)
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        answer[place_of(gt_boxes[i], best, anchors, strides, map_sizes)] = i
    return answer


@wrong("yours is ignored if its prediction is good")
def ignored_in_the_end(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = ignores_nobody(gt_boxes, pred_boxes, anchors, strides, map_sizes)
    answer[start(gt_boxes, pred_boxes, ignore_threshold) == -2] = -2
    return answer


@wrong("in yours it learns the object, too")
def good_predictions_learn(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = map_by_map(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold)
    if len(gt_boxes):
        best = box_iou(pred_boxes, gt_boxes).argmax(dim=1)
        answer[answer == -2] = best[answer == -2]
    return answer


@wrong("at the threshold itself it is background")
def at_least_the_threshold(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = torch.full((len(pred_boxes),), -1)
    if len(gt_boxes):
        answer[box_iou(pred_boxes, gt_boxes).amax(dim=1) >= ignore_threshold] = -2
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        answer[place_of(gt_boxes[i], best, anchors, strides, map_sizes)] = i
    return answer


@wrong("yours is always 0.7")
def always_seven_tenths(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    return map_by_map(gt_boxes, pred_boxes, anchors, strides, map_sizes, 0.7)


@wrong("background is −1 and ignored −2; yours are exchanged")
def marks_exchanged(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = map_by_map(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold)
    return torch.where(answer < 0, -3 - answer, answer)


@wrong("yours is 0, which is the first object")
def background_is_0(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = map_by_map(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold)
    return answer.masked_fill(answer == -1, 0)


@wrong("the last is learned; yours is the first")
def first_of_several(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        place = place_of(gt_boxes[i], best, anchors, strides, map_sizes)
        if answer[place] < 0:
            answer[place] = i
    return answer


@wrong("yours is the last")
def last_of_equal_anchors(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = start(gt_boxes, pred_boxes, ignore_threshold)
    iou = shape_iou(gt_boxes[:, 2:] - gt_boxes[:, :2], torch.cat(anchors))
    for i, row in enumerate(iou.tolist()):
        best = max(range(len(row)), key=lambda a: (row[a], a))
        answer[place_of(gt_boxes[i], best, anchors, strides, map_sizes)] = i
    return answer


@wrong("yours says only whether it does")
def a_mask(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    return map_by_map(gt_boxes, pred_boxes, anchors, strides, map_sizes) >= 0


@wrong("yours says of each object at which place it is")
def the_places(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    best = best_anchors(gt_boxes, anchors).tolist()
    places = [place_of(gt_boxes[i], b, anchors, strides, map_sizes) for i, b in enumerate(best)]
    return torch.tensor(places, dtype=torch.int64)


@wrong("yours are apart")
def a_list_of_maps(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    answer = map_by_map(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold)
    return answer.split([len(x) * h * w for x, (h, w) in zip(anchors, map_sizes)])


@wrong("check for an empty list first")
def stumbles_without_objects(
    gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7
):
    answer = torch.full((len(pred_boxes),), -1)
    answer[box_iou(pred_boxes, gt_boxes).max(dim=1).values > ignore_threshold] = -2
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        answer[place_of(gt_boxes[i], best, anchors, strides, map_sizes)] = i
    return answer


@wrong("there is a loop over places")
def place_by_place(gt_boxes, pred_boxes, anchors, strides, map_sizes, ignore_threshold=0.7):
    places = {}
    for i, best in enumerate(best_anchors(gt_boxes, anchors).tolist()):
        places[place_of(gt_boxes[i], best, anchors, strides, map_sizes)] = i
    iou = box_iou(pred_boxes, gt_boxes).tolist()
    return torch.tensor(
        [
            places.get(p, -2 if max([0, *row]) > ignore_threshold else -1)
            for p, row in enumerate(iou)
        ]
    )
