"""Exercise 1.5: answers. `box_iou` is at hand there."""

import torch

from answers import right, slightly_off, wrong
from detlearn.boxes import box_iou


@right
def with_a_set_of_taken_objects(boxes, gt_boxes, iou_threshold=0.5):
    verdicts, taken = [], set()
    for box in boxes:
        best, best_iou = None, iou_threshold
        for g, gt in enumerate(gt_boxes):
            iou = box_iou(box[None], gt[None]).item()
            if g not in taken and iou >= best_iou:
                best, best_iou = g, iou
        verdicts.append(best is not None)
        taken.add(best)
    return torch.tensor(verdicts, dtype=torch.bool)


@right
def with_columns_set_to_zero(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    tp = torch.zeros(len(boxes)).bool()
    if gt_boxes.numel() == 0:
        return tp
    for i in range(ious.size(0)):
        value, j = ious[i].max(dim=0)
        if value >= iou_threshold:
            tp[i] = True
            ious[:, j] = 0
    return tp


@right
def with_a_shrinking_list_of_objects(boxes, gt_boxes, iou_threshold=0.5):
    free = gt_boxes.clone()
    tp = []
    for k in range(len(boxes)):
        overlaps = box_iou(boxes[k : k + 1], free)[0]
        good = len(free) > 0 and overlaps.max().item() >= iou_threshold
        tp.append(good)
        if good:
            j = overlaps.argmax()
            free = torch.cat((free[:j], free[j + 1 :]))
    return torch.tensor(tp, dtype=torch.bool)


@right
def with_numpy(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes).numpy()
    tp = [False] * len(boxes)
    for i, row in enumerate(ious):
        if row.size and row.max() >= iou_threshold:
            tp[i] = True
            ious[:, row.argmax()] = 0
    return torch.as_tensor(tp, dtype=torch.bool)


@slightly_off
def threshold_off_by_a_thousandth(boxes, gt_boxes, iou_threshold=0.5):
    return with_numpy(boxes, gt_boxes, 1.001 * iou_threshold)


@wrong("an object can be found once")
def counts_duplicates(boxes, gt_boxes, iou_threshold=0.5):
    if len(gt_boxes) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool)
    return box_iou(boxes, gt_boxes).amax(dim=1) >= iou_threshold


@wrong("VOC's old rule")
def looks_at_the_best_object_only(boxes, gt_boxes, iou_threshold=0.5):
    tp = torch.zeros(len(boxes), dtype=torch.bool)
    taken = set()
    if len(gt_boxes):
        values, objects = box_iou(boxes, gt_boxes).max(dim=1)
        for i, (value, g) in enumerate(zip(values.tolist(), objects.tolist())):
            if value >= iou_threshold and g not in taken:
                tp[i] = True
                taken.add(g)
    return tp


@wrong("at least, not above")
def strictly_above(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    tp = torch.zeros(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if len(gt_boxes) and ious[i].max() > iou_threshold:
            tp[i] = True
            ious[:, ious[i].argmax()] = -1
    return tp


@wrong("must not take the object away")
def failures_take_objects(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    tp = torch.zeros(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if len(gt_boxes) > 0:
            j = ious[i].argmax()
            tp[i] = ious[i, j] >= iou_threshold
            ious[:, j] = -1
    return tp


@wrong("not the first")
def takes_the_first_above(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    used = [False] * len(gt_boxes)
    tp = torch.zeros(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        for j in range(len(gt_boxes)):
            if not used[j] and ious[i, j] >= iou_threshold:
                tp[i], used[j] = True, True
                break
    return tp


@wrong("the better score comes")
def each_object_takes_its_best(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    tp = torch.zeros(len(boxes), dtype=torch.bool)
    if ious.numel():
        values, winners = ious.max(dim=0)
        tp[winners[values >= iou_threshold]] = True
    return tp


@wrong("from the last to the first")
def starts_at_the_end(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    tp = torch.zeros(len(boxes), dtype=torch.bool)
    for i in reversed(range(len(boxes))):
        if len(gt_boxes) and ious[i].max() >= iou_threshold:
            tp[i] = True
            ious[:, ious[i].argmax()] = -1
    return tp


@wrong("the verdicts are inverted")
def marks_the_false_ones(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    wrong_ones = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if len(gt_boxes) and ious[i].max() >= iou_threshold:
            wrong_ones[i] = False
            ious[:, ious[i].argmax()] = -1
    return wrong_ones


@wrong("the order of the detections decides")
def takes_the_largest_iou_of_all_first(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    tp = torch.zeros(len(boxes), dtype=torch.bool)
    while ious.numel() and ious.max() >= iou_threshold:
        i, j = divmod(int(ious.argmax()), ious.shape[1])
        tp[i] = True
        ious[i], ious[:, j] = -1, -1
    return tp


@wrong("the threshold is the one you are given")
def threshold_written_into_the_code(boxes, gt_boxes, iou_threshold=0.5):
    return with_numpy(boxes, gt_boxes, 0.5)


@wrong("dtype int64; expected bool")
def zeros_and_ones(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    tp = torch.zeros(len(boxes), dtype=torch.int64)
    for i in range(len(boxes)):
        if len(gt_boxes) and ious[i].max() >= iou_threshold:
            tp[i] = 1
            ious[:, ious[i].argmax()] = -1
    return tp


@wrong("check for an empty list")
def no_guard_for_no_objects(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    tp = torch.zeros(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        value, j = ious[i].max(dim=0)
        if value >= iou_threshold:
            tp[i] = True
            ious[:, j] = -1
    return tp


@wrong("one verdict for each detection")
def one_verdict_for_each_object(boxes, gt_boxes, iou_threshold=0.5):
    found = torch.zeros(len(gt_boxes), dtype=torch.bool)
    ious = box_iou(boxes, gt_boxes)
    for row in ious:
        if len(gt_boxes) and row.max() >= iou_threshold:
            j = row.argmax().item()
            found[j] = True
            ious[:, j] = -1
    return found


@wrong("not the index")
def returns_the_matched_objects(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    matched = torch.full((len(boxes),), -1)
    for i in range(len(boxes)):
        if len(gt_boxes) and ious[i].max() >= iou_threshold:
            matched[i] = ious[i].argmax()
            ious[:, matched[i]] = -1
    return matched


@wrong("at least, not above")
def only_above_the_threshold_with_a_list(boxes, gt_boxes, iou_threshold=0.5):
    free, verdicts = list(range(len(gt_boxes))), []
    for box in boxes:
        candidates = [(float(box_iou(box[None], gt_boxes[[g]])), g) for g in free]
        best = max(candidates, default=(0.0, None))
        verdicts.append(best[0] > iou_threshold)
        if verdicts[-1]:
            free.remove(best[1])
    return torch.tensor(verdicts, dtype=torch.bool)


@wrong("this is the best assignment of all")
def hungarian(boxes, gt_boxes, iou_threshold=0.5):
    from scipy.optimize import linear_sum_assignment

    ious = box_iou(boxes, gt_boxes)
    d, g = linear_sum_assignment(-ious.numpy())
    tp = torch.zeros(len(boxes), dtype=torch.bool)
    tp[d] = ious[d, g] >= iou_threshold
    return tp


@wrong("dtype float32; expected bool")
def ones_and_zeros_in_float(boxes, gt_boxes, iou_threshold=0.5):
    ious = box_iou(boxes, gt_boxes)
    tp = torch.zeros(len(boxes))
    for i in range(len(boxes)):
        if len(gt_boxes) and ious[i].max() >= iou_threshold:
            tp[i] = 1.0
            ious[:, ious[i].argmax()] = 0.0
    return tp


@wrong("returned a list; expected a torch.Tensor")
def returns_a_list(boxes, gt_boxes, iou_threshold=0.5):
    return with_numpy(boxes, gt_boxes, iou_threshold).tolist()


@wrong("an object can be found once")
def forgets_to_remember(boxes, gt_boxes, iou_threshold=0.5):
    verdicts = []
    for i in range(len(boxes)):
        used = set()
        found = False
        for j in range(len(gt_boxes)):
            if j not in used and box_iou(boxes[[i]], gt_boxes[[j]]).item() >= iou_threshold:
                used.add(j)
                found = True
        verdicts.append(found)
    return torch.tensor(verdicts, dtype=torch.bool)


@wrong("VOC's old rule")
def marks_the_best_object_as_voc_does(boxes, gt_boxes, iou_threshold=0.5):
    detected = [False] * len(gt_boxes)
    tp = torch.zeros(len(boxes), dtype=torch.bool)
    for d, box in enumerate(boxes):
        overlaps = box_iou(box[None], gt_boxes)[0]
        if len(overlaps) == 0:
            continue
        ovmax, jmax = overlaps.max(0)
        if ovmax >= iou_threshold and not detected[jmax]:
            tp[d] = True
            detected[jmax] = True
    return tp


@wrong("the detections are taken from the last")
def sorts_what_is_sorted(boxes, gt_boxes, iou_threshold=0.5):
    tp = with_numpy(torch.flip(boxes, dims=[0]), gt_boxes, iou_threshold)
    return torch.flip(tp, dims=[0])


@wrong("dtype float32; expected bool")
def returns_zeros_and_ones(boxes, gt_boxes, iou_threshold=0.5):
    tp, used = torch.zeros(len(boxes)), set()
    iou = box_iou(boxes, gt_boxes)
    for d in range(len(boxes)):
        best, found = iou_threshold, -1
        for g in range(len(gt_boxes)):
            if g not in used and iou[d, g] >= best:
                best, found = iou[d, g], g
        if found >= 0:
            tp[d] = 1
            used.add(found)
    return tp


@wrong("continue, do not break")
def breaks_at_the_first_miss(boxes, gt_boxes, iou_threshold=0.5):
    tp = torch.zeros(len(boxes), dtype=torch.bool)
    iou = box_iou(boxes, gt_boxes).clone()
    for d in range(len(boxes)):
        if len(gt_boxes) == 0:
            break
        value, g = iou[d].max(0)
        if value < iou_threshold:
            break
        tp[d] = True
        iou[:, g] = -1
    return tp


@wrong("yours takes all above the threshold")
def takes_all_it_covers(boxes, gt_boxes, iou_threshold=0.5):
    iou = box_iou(boxes, gt_boxes)
    taken = torch.zeros(len(gt_boxes), dtype=torch.bool)
    right = torch.zeros(len(boxes), dtype=torch.bool)
    for d in range(len(boxes)):
        hits = (iou[d] >= iou_threshold) & ~taken
        right[d] = hits.any()
        taken |= hits
    return right


@wrong("set the best IoU back")
def carries_the_best_iou_over(boxes, gt_boxes, iou_threshold=0.5):
    taken, right, best = set(), [], 0.0
    for row in box_iou(boxes, gt_boxes).tolist():
        chosen = None
        for g, value in enumerate(row):
            if g not in taken and value > best:
                best, chosen = value, g
        right.append(chosen is not None and best >= iou_threshold)
        if right[-1]:
            taken.add(chosen)
    return torch.tensor(right, dtype=torch.bool)


@wrong("must not take the object away")
def first_of_each_favourite(boxes, gt_boxes, iou_threshold=0.5):
    if len(gt_boxes) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool)
    best, owner = box_iou(boxes, gt_boxes).max(dim=1)
    owners = owner.tolist()
    first = torch.tensor([o not in owners[:d] for d, o in enumerate(owners)], dtype=torch.bool)
    return (best >= iou_threshold) & first


@wrong("yours takes all above the threshold")
def each_object_takes_the_first_good_one(boxes, gt_boxes, iou_threshold=0.5):
    iou = box_iou(boxes, gt_boxes)
    right = torch.zeros(len(boxes), dtype=torch.bool)
    for g in range(len(gt_boxes)):
        for d in range(len(boxes)):
            if iou[d, g] >= iou_threshold:
                right[d] = True
                break
    return right
