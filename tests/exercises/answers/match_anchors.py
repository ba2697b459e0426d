"""Exercise 2.2: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def with_where(iou, high=0.7, low=0.3):
    n, p = iou.shape
    if n == 0 or p == 0:
        return torch.full((p,), -1, dtype=torch.int64)
    best, which = iou.max(dim=0)
    match = torch.where(best >= high, which, torch.where(best < low, -1, -2))
    top = iou.max(dim=1).values[:, None]
    low_quality = torch.any((iou == top) & (top > 0), dim=0)
    match[low_quality] = which[low_quality]
    return match


@right
def loop_over_objects(iou, high=0.7, low=0.3):
    match = torch.full((iou.shape[1],), -1, dtype=torch.long)
    if iou.numel() == 0:
        return match
    best, which = iou.max(0)
    match[best >= low] = -2
    positive = best >= high
    for overlaps in iou:
        if overlaps.max() > 0:
            positive |= overlaps == overlaps.max()
    match[positive] = which[positive]
    return match


@right
def with_nonzero(iou, high=0.7, low=0.3):
    num_objects, num_anchors = iou.shape
    if num_objects * num_anchors == 0:
        return torch.zeros(num_anchors, dtype=torch.int64) - 1
    best = iou.amax(dim=0)
    own = iou.argmax(dim=0)
    match = own.clone()
    match[best < high] = -2
    match[best < low] = -1
    tops = iou.amax(dim=1)
    anchors = torch.nonzero((iou == tops[:, None]) & (iou > 0))[:, 1]
    match[anchors] = own[anchors]
    return match


@right
def with_numpy(iou, high=0.7, low=0.3):
    matrix = iou.numpy().astype(np.float64)
    if matrix.size == 0:
        return torch.from_numpy(np.full(matrix.shape[1], -1))
    own, best = matrix.argmax(axis=0), matrix.max(axis=0)
    match = np.select([best >= np.float32(high), best >= np.float32(low)], [own, -2], -1)
    tops = matrix.max(axis=1, keepdims=True)
    forced = ((matrix >= tops) & (tops > 0)).any(axis=0)
    return torch.from_numpy(np.where(forced, own, match))


@slightly_off
def high_off_by_a_thousandth(iou, high=0.7, low=0.3):
    return with_where(iou, 0.999 * high, low)


@slightly_off
def low_off_by_a_thousandth(iou, high=0.7, low=0.3):
    return with_where(iou, high, 0.999 * low)


@slightly_off
def thresholds_a_thousandth_too_high(iou, high=0.7, low=0.3):
    return with_where(iou, 1.001 * high, 1.001 * low)


@wrong("goes without")
def no_low_quality_matches(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    which[best < high] = -2
    which[best < low] = -1
    return which


@wrong("every anchor far from it ties")
def as_in_torchvision(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, matches = iou.max(dim=0)
    all_matches = matches.clone()
    matches[best < low] = -1
    matches[(best >= low) & (best < high)] = -2
    highest = iou.max(dim=1).values
    update = torch.where(iou == highest[:, None])[1]
    matches[update] = all_matches[update]
    return matches


@wrong("learns the object that forced it")
def learns_what_forced_it(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, match = iou.max(dim=0)
    match[best < high] = -2
    match[best < low] = -1
    for i in range(len(iou)):
        top = iou[i].max()
        if top > 0:
            match[iou[i] == top] = i
    return match


@wrong("learns the object that forced it")
def writes_to_the_argmax_of_each_row(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, match = iou.max(dim=0)
    match[best < high] = -2
    match[best < low] = -1
    match[iou.argmax(dim=1)] = torch.arange(len(iou))
    return match


@wrong("yours takes the first only")
def only_one_of_those_that_tie(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = which.clone()
    match[best < high] = -2
    match[best < low] = -1
    top, where = iou.max(dim=1)
    where = where[top > 0]
    match[where] = which[where]
    return match


@wrong("argmax gives one of those that tie")
def restores_at_the_argmax(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = which.clone()
    match[best < high] = -2
    match[best < low] = -1
    forced = iou.argmax(dim=1)
    match[forced] = which[forced]
    return match


@wrong("taught that nothing is there")
def no_ignored_anchors(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = torch.where(best >= high, which, -1)
    top = iou.amax(dim=1, keepdim=True)
    forced = ((iou == top) & (top > 0)).any(dim=0)
    return torch.where(forced, which, match)


@wrong("nothing ever learns what background is")
def second_line_overwrites_the_first(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -2)
    best, which = iou.max(dim=0)
    match = which.clone()
    match[best < low] = -1
    match[best < high] = -2
    top = iou.amax(dim=1, keepdim=True)
    forced = ((iou == top) & (top > 0)).any(dim=0)
    return torch.where(forced, which, match)


@wrong("the two labels are exchanged")
def labels_exchanged(iou, high=0.7, low=0.3):
    background, ignored = -2, -1
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), background)
    best, which = iou.max(dim=0)
    match = which.clone()
    match[best < high] = ignored
    match[best < low] = background
    top = iou.amax(dim=1, keepdim=True)
    forced = ((iou == top) & (top > 0)).any(dim=0)
    return torch.where(forced, which, match)


@wrong("at least, not above")
def above_the_high_threshold(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    top = iou.amax(dim=1, keepdim=True)
    positive = (best > high) | ((iou == top) & (top > 0)).any(dim=0)
    return torch.where(positive, which, torch.where(best < low, -1, -2))


@wrong("background is below it")
def background_at_the_low_threshold(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    top = iou.amax(dim=1, keepdim=True)
    positive = (best >= high) | ((iou == top) & (top > 0)).any(dim=0)
    return torch.where(positive, which, torch.where(best <= low, -1, -2))


@wrong("yours are always 0.7 and 0.3")
def thresholds_written_into_the_code(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = which.clone()
    match[best < 0.7] = -2
    match[best < 0.3] = -1
    top = iou.amax(dim=1, keepdim=True)
    forced = ((iou == top) & (top > 0)).any(dim=0)
    match[forced] = which[forced]
    return match


@wrong("yours must reach the low threshold")
def low_quality_above_low_only(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = which.clone()
    match[best < high] = -2
    match[best < low] = -1
    top = iou.amax(dim=1, keepdim=True)
    forced = ((iou == top) & (top >= low)).any(dim=0)
    match[forced] = which[forced]
    return match


@wrong("take the maximum over the objects")
def along_the_wrong_axis(iou, high=0.7, low=0.3):
    best, which = iou.max(dim=1) if iou.shape[1] else (iou.sum(dim=1), iou.sum(dim=1).long())
    which[best < high] = -2
    which[best < low] = -1
    return which


@wrong("not only each object's best")
def only_the_best_anchors(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = torch.full_like(which, -2)
    match[best < low] = -1
    top = iou.amax(dim=1, keepdim=True)
    forced = ((iou == top) & (top > 0)).any(dim=0)
    match[forced] = which[forced]
    return match


@wrong("a positive anchor gets the index of its object")
def returns_labels(iou, high=0.7, low=0.3):
    labels = torch.full((iou.shape[1],), -1)
    if iou.numel() == 0:
        return torch.zeros_like(labels)
    best = iou.amax(dim=0)
    labels[best < low] = 0
    labels[best >= high] = 1
    top = iou.amax(dim=1, keepdim=True)
    labels[((iou == top) & (top > 0)).any(dim=0)] = 1
    return labels


@wrong("begin at 0")
def counts_from_one(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = which + 1
    match[best < high] = -2
    match[best < low] = -1
    top = iou.amax(dim=1, keepdim=True)
    forced = ((iou == top) & (top > 0)).any(dim=0)
    match[forced] = which[forced] + 1
    return match


@wrong("check for an empty list")
def no_guard_for_no_objects(iou, high=0.7, low=0.3):
    best, which = iou.max(dim=0)
    match = which.clone()
    match[best < high] = -2
    match[best < low] = -1
    top = iou.amax(dim=1, keepdim=True)
    forced = ((iou == top) & (top > 0)).any(dim=0)
    match[forced] = which[forced]
    return match


@wrong("there is a loop over anchors")
def anchor_by_anchor(iou, high=0.7, low=0.3):
    tops = [row.max() if len(row) else 0 for row in iou]
    match = []
    for p in range(iou.shape[1]):
        column = iou[:, p]
        if len(column) == 0 or column.max() < low:
            label = -1
        else:
            label = int(column.argmax()) if column.max() >= high else -2
        if any(v == top and top > 0 for v, top in zip(column, tops)):
            label = int(column.argmax())
        match.append(label)
    return torch.tensor(match, dtype=torch.int64)


# ---- written later, by people who had seen the stub and nothing of the checks ----


@right
def object_after_object_with_a_running_best(iou, high=0.7, low=0.3):
    num_anchors = iou.shape[1]
    best = torch.zeros(num_anchors)
    own = torch.zeros(num_anchors, dtype=torch.int64)
    forced = torch.zeros(num_anchors, dtype=torch.bool)
    for n, row in enumerate(iou):
        better = row > best
        best = torch.where(better, row, best)
        own = torch.where(better, n, own)
        if num_anchors and row.max() > 0:
            forced = forced | (row == row.max())
    match = torch.full((num_anchors,), -2)
    match[best < low] = -1
    positive = forced | (best >= high)
    match[positive] = own[positive]
    return match


@right
def with_scatter(iou, high=0.7, low=0.3):
    n, p = iou.shape
    if n == 0 or p == 0:
        return torch.full([p], -1)
    best, own = torch.max(iou, 0)
    top, _ = torch.max(iou, 1)
    _, anchors = torch.where((iou == top.unsqueeze(1)) & (top.unsqueeze(1) > 0))
    forced = torch.zeros(p).scatter(0, anchors, 1).bool()
    code = (best < low).long() * -1 + ((best >= low) & (best < high)).long() * -2
    return torch.where(forced | (best >= high), own, code)


@right
def with_sorting(iou, high=0.7, low=0.3):
    if 0 in iou.shape:
        return -torch.ones(iou.shape[1], dtype=torch.long)
    ranked, order = iou.sort(dim=0, descending=True, stable=True)
    best, own = ranked[0], order[0]
    top = iou.sort(dim=1, descending=True).values[:, :1].clamp(min=1e-9)
    positive = (best >= high).logical_or((iou >= top).any(dim=0))
    labels = torch.bucketize(best, torch.tensor([low]), right=True)  # 0 below, 1 from low on
    return torch.where(positive, own, -1 - labels)


@wrong("has dtype int32; expected int64")
def small_integers(iou, high=0.7, low=0.3):
    return with_where(iou, high, low).int()


@wrong("a tie is the same number")
def ties_with_isclose(iou, high=0.7, low=0.3):
    match = torch.full((iou.shape[1],), -1)
    if iou.numel() == 0:
        return match
    best, which = iou.max(dim=0)
    match[best >= low] = -2
    match[best >= high] = which[best >= high]
    top = iou.max(dim=1, keepdim=True).values
    forced = (torch.isclose(iou, top) & (top > 0)).any(dim=0)
    match[forced] = which[forced]
    return match


@wrong("a tie is the same number")
def ties_with_an_epsilon(iou, high=0.7, low=0.3):
    match = torch.full((iou.shape[1],), -1)
    if iou.numel() == 0:
        return match
    best, which = iou.max(dim=0)
    match[best >= low] = -2
    match[best >= high] = which[best >= high]
    for row in iou:
        if row.max() > 0:
            forced = row > row.max() - 1e-4
            match[forced] = which[forced]
    return match


@wrong("the first of them")
def last_of_equal_objects(iou, high=0.7, low=0.3):
    best = torch.zeros(iou.shape[1])
    own = torch.zeros(iou.shape[1], dtype=torch.int64)
    forced = torch.zeros(iou.shape[1], dtype=torch.bool)
    for n in range(iou.shape[0]):
        better = iou[n] >= best
        best[better] = iou[n][better]
        own[better] = n
        if iou.shape[1] and iou[n].max() > 0:
            forced |= iou[n] == iou[n].max()
    match = torch.full((iou.shape[1],), -2)
    match[best < low] = -1
    match[(best >= high) | forced] = own[(best >= high) | forced]
    return match


@wrong("the best IoU of each object, not the best of all")
def best_of_the_matrix(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = which.clone()
    match[best < high] = -2
    match[best < low] = -1
    forced = ((iou == iou.max()) & (iou > 0)).any(dim=0)
    match[forced] = which[forced]
    return match


@wrong("each anchor's best object, which every anchor has")
def forced_along_the_wrong_axis(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = torch.where(best >= high, which, torch.where(best >= low, -2, -1))
    top = iou.amax(dim=0)
    forced = ((iou == top) & (top > 0)).any(dim=0)
    match[forced] = which[forced]
    return match


@wrong("it is the object's best IoU that must be above 0")
def guards_the_anchor(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = torch.where(best >= high, which, torch.where(best >= low, -2, -1))
    top = iou.amax(dim=1, keepdim=True)
    forced = (iou == top).any(dim=0) & (best > 0)
    match[forced] = which[forced]
    return match


@wrong("an ignored anchor too")
def forces_background_only(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = torch.where(best >= high, which, torch.where(best >= low, -2, -1))
    top = iou.amax(dim=1, keepdim=True)
    forced = ((iou == top) & (top > 0)).any(dim=0) & (match == -1)
    match[forced] = which[forced]
    return match


@wrong("every anchor far from it ties")
def forces_zeros_with_nonzero(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = torch.full_like(which, -1)
    match[best >= low] = -2
    tops = iou.max(dim=1).values.unsqueeze(1)
    forced = torch.nonzero(iou == tops)[:, 1]
    match[best >= high] = which[best >= high]
    match[forced] = which[forced]
    return match


@wrong("learns the object that forced it")
def gives_all_that_tie_to_the_object(iou, high=0.7, low=0.3):
    match = torch.full((iou.shape[1],), -1)
    if iou.numel() == 0:
        return match
    best, which = iou.max(dim=0)
    match[best >= low] = -2
    match[best >= high] = which[best >= high]
    tops = iou.amax(dim=1)
    objects, anchors = torch.nonzero((iou == tops[:, None]) & (iou > 0), as_tuple=True)
    match[anchors] = objects
    return match


@wrong("goes without")
def thresholds_after_the_forcing(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = torch.full_like(which, -2)
    tops = iou.amax(dim=1, keepdim=True)
    forced = ((iou == tops) & (tops > 0)).any(dim=0)
    match[forced] = which[forced]
    match[best >= high] = which[best >= high]
    match[(best < high) & (best >= low)] = -2
    match[best < low] = -1
    return match


@wrong("without objects every anchor is background")
def object_0_where_there_is_none(iou, high=0.7, low=0.3):
    if iou.shape[0] == 0:
        return torch.zeros(iou.shape[1], dtype=torch.int64)
    return with_where(iou, high, low)


@wrong("or are made background afterwards")
def background_last(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = torch.full_like(which, -2)
    top = iou.max(dim=1, keepdim=True).values
    forced = ((iou == top) & (top > 0)).any(dim=0)
    match[best >= high] = which[best >= high]
    match[forced] = which[forced]
    match[best < low] = -1
    return match


@wrong("where it overlaps another object more")
def only_mutual_bests(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = which.clone()
    match[best < high] = -2
    match[best < low] = -1
    for g in range(len(iou)):
        for a in (iou[g] == iou[g].max()).nonzero()[:, 0]:
            if iou[g].max() > 0 and which[a] == g:
                match[a] = g
    return match


@wrong("one object that is far away is enough")
def background_of_any_object(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    match = torch.full_like(which, -2)
    match[(iou < low).any(dim=0)] = -1
    forced = ((iou == iou.amax(dim=1, keepdim=True)) & (iou > 0)).any(dim=0)
    positive = (best >= high) | forced
    match[positive] = which[positive]
    return match


@wrong("as soon as one IoU lies between")
def ignored_if_any_is_between(iou, high=0.7, low=0.3):
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), -1)
    best, which = iou.max(dim=0)
    forced = ((iou == iou.amax(dim=1, keepdim=True)) & (iou > 0)).any(dim=0)
    match = torch.where((best >= high) | forced, which, torch.full_like(which, -1))
    match[((iou >= low) & (iou < high)).any(dim=0)] = -2
    return match
