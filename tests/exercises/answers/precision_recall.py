"""Exercise 1.6: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def with_a_loop(scores, right, num_objects):
    pairs = sorted(zip(scores.tolist(), right.tolist()), key=lambda pair: pair[0], reverse=True)
    precision, recall, tp = [], [], 0
    for listed, (_, good) in enumerate(pairs, start=1):
        tp += good
        precision.append(tp / listed)
        recall.append(tp / num_objects)
    return torch.tensor(precision), torch.tensor(recall)


@right
def with_tp_and_fp(scores, right, num_objects):
    order = torch.sort(scores, descending=True).indices
    tp = torch.cumsum(right[order].float(), dim=0)
    fp = torch.cumsum((~right[order]).float(), dim=0)
    return tp / (tp + fp + 1e-9), tp / num_objects


@right
def with_numpy(scores, right, num_objects):
    hits = right.numpy()[np.argsort(-scores.numpy(), kind="stable")].astype(float)
    tp = hits.cumsum()
    return torch.from_numpy(tp / np.arange(1, len(tp) + 1)), torch.from_numpy(tp / num_objects)


@right
def with_a_triangle(scores, right, num_objects):
    hits = right[scores.argsort(descending=True)].double()
    tp = torch.ones(len(hits), len(hits), dtype=torch.float64).tril() @ hits
    return tp / torch.ones_like(hits).cumsum(0), tp / max(num_objects, 1)


@slightly_off
def recall_off_by_a_thousandth(scores, right, num_objects):
    precision, recall = with_tp_and_fp(scores, right, num_objects)
    return precision, 1.001 * recall


@slightly_off
def precision_off_by_a_thousandth(scores, right, num_objects):
    precision, recall = with_tp_and_fp(scores, right, num_objects)
    return 0.999 * precision, recall


@wrong("must be sorted by score")
def never_sorts(scores, right, num_objects):
    tp = right.int().cumsum(0)
    return tp / torch.arange(1, len(right) + 1), tp / num_objects


@wrong("turn them round")
def ascending(scores, right, num_objects):
    tp = right[scores.sort().indices].cumsum(0)
    return tp / (torch.arange(len(tp)) + 1), tp / num_objects


@wrong("not by the number of right detections")
def recall_of_what_was_found(scores, right, num_objects):
    hits = right[scores.argsort(descending=True)].float()
    tp = hits.cumsum(0)
    return tp / (torch.arange(len(tp)) + 1), tp / (hits.sum() + 1e-9)


@wrong("not by the number of detections")
def recall_of_the_detections(scores, right, num_objects):
    tp = right[scores.argsort(descending=True)].cumsum(0)
    return tp / (torch.arange(len(tp)) + 1), tp / len(right)


@wrong("not by the number of all")
def precision_of_the_whole_list(scores, right, num_objects):
    tp = right[scores.argsort(descending=True)].cumsum(0)
    return tp / len(scores), tp / num_objects


@wrong("starts at 1, not at 0")
def counts_from_zero(scores, right, num_objects):
    tp = right[scores.argsort(descending=True)].cumsum(0)
    return tp / torch.arange(len(tp)), tp / num_objects


@wrong("(cumsum)")
def no_cumulation(scores, right, num_objects):
    hits = right[scores.argsort(descending=True)].float()
    return hits / torch.arange(1, len(hits) + 1), hits / num_objects


@wrong("precision first, then recall")
def the_wrong_order(scores, right, num_objects):
    precision, recall = with_tp_and_fp(scores, right, num_objects)
    return recall, precision


@wrong("rounded down")
def whole_numbers(scores, right, num_objects):
    tp = right[scores.argsort(descending=True)].long().cumsum(0)
    listed = torch.arange(1, len(tp) + 1)
    return torch.div(tp, listed, rounding_mode="floor"), tp // num_objects


@wrong("right over wrong")
def right_over_wrong(scores, right, num_objects):
    right = right[scores.argsort(descending=True)]
    tp, fp = right.cumsum(0), (~right).cumsum(0)
    return tp / fp, tp / num_objects


@wrong("divide by how many are listed, not by the number of objects")
def precision_of_the_objects(scores, right, num_objects):
    tp = right[scores.argsort(descending=True)].cumsum(0).float()
    return tp / num_objects, tp / num_objects


@wrong("expected (3,)")
def only_the_last_cut(scores, right, num_objects):
    tp = right.sum()
    return tp / len(right), tp / num_objects


@wrong("returned 1 value(s); expected 2: precision, recall")
def forgets_the_recall(scores, right, num_objects):
    return with_tp_and_fp(scores, right, num_objects)[0]


@wrong("leave out the point")
def prepends_a_point(scores, right, num_objects):
    precision, recall = with_tp_and_fp(scores, right, num_objects)
    return torch.cat((torch.ones(1), precision)), torch.cat((torch.zeros(1), recall))


@wrong("leave the curve as it is")
def makes_it_monotone(scores, right, num_objects):
    precision, recall = with_tp_and_fp(scores, right, num_objects)
    if len(precision):
        precision = precision.flip(0).cummax(0).values.flip(0)
    return precision, recall


@wrong("changes the tensors it is given")
def sorts_in_place(scores, right, num_objects):
    order = scores.argsort(descending=True)
    scores[:] = scores[order]
    right[:] = right[order]
    tp = right.cumsum(0)
    return tp / torch.arange(1, len(tp) + 1), tp / num_objects


@wrong("of equal scores the earlier detection comes first")
def argsort_turned_round(scores, right, num_objects):
    order = np.argsort(scores.numpy(), kind="stable")[::-1].copy()
    tp = right[torch.from_numpy(order)].cumsum(0).float()
    return tp / torch.arange(1, len(tp) + 1), tp / num_objects


@wrong("returned a list; expected a torch.Tensor")
def returns_lists(scores, right, num_objects):
    precision, recall = with_tp_and_fp(scores, right, num_objects)
    return precision.tolist(), recall.tolist()


@wrong("must be sorted by score")
def sorts_only_the_scores(scores, right, num_objects):
    scores = scores.sort(descending=True).values
    tp = torch.zeros(len(scores))
    for k in range(len(scores)):
        tp[k] = right[: k + 1].sum()
    return tp / torch.arange(1, len(scores) + 1), tp / num_objects


@wrong("starts at 1, not at 0")
def enumerates_from_zero(scores, right, num_objects):
    order = scores.argsort(descending=True)
    precision, recall, found = [], [], 0
    for listed, i in enumerate(order):
        found += int(right[i])
        precision.append(found / listed if listed else float("nan") if found == 0 else float("inf"))
        recall.append(found / num_objects)
    return torch.tensor(precision), torch.tensor(recall)


@wrong("not by the number of all")
def divides_by_the_length(scores, right, num_objects):
    hits = right[torch.argsort(scores, descending=True)].double()
    return torch.cumsum(hits / len(hits), 0), torch.cumsum(hits / num_objects, 0)


@wrong("not by the number of right detections")
def recall_ends_at_one(scores, right, num_objects):
    hits = right[scores.argsort(descending=True)].double()
    tp, fp = hits.cumsum(0), (1 - hits).cumsum(0)
    recall = tp / tp[-1].clamp(min=1) if len(tp) else tp
    return tp / (tp + fp), recall


@wrong("precision first, then recall")
def recall_before_precision(scores, right, num_objects):
    p, r = with_numpy(scores, right, num_objects)
    return r, p


@wrong("divide by num_objects alone")
def recall_of_everything(scores, right, num_objects):
    hits = right[scores.argsort(descending=True)].float()
    tp, fp = hits.cumsum(0), (1 - hits).cumsum(0)
    return tp / (tp + fp), tp / (tp + fp + num_objects)


@wrong("yours counts all")
def all_false_positives_at_once(scores, right, num_objects):
    hits = right[scores.argsort(descending=True)].float()
    tp = hits.cumsum(0)
    return tp / (tp + (1 - hits).sum()), tp / num_objects


@wrong("sorted by themselves")
def sorts_the_verdicts(scores, right, num_objects):
    hits = right.float().sort(descending=True).values
    tp = hits.cumsum(0)
    return tp / torch.arange(1, len(hits) + 1), tp / num_objects


@wrong("in yours one of the two counts is not sorted")
def false_positives_in_the_old_order(scores, right, num_objects):
    order = scores.argsort(descending=True, stable=True)
    tp, fp = right[order].cumsum(0), (~right).cumsum(0)
    return tp / (tp + fp).clamp(min=1), tp / num_objects


@wrong("your FN is what the whole list misses")
def false_negatives_of_the_whole_list(scores, right, num_objects):
    tp = right[scores.argsort(descending=True, stable=True)].cumsum(0)
    fn = num_objects - right.sum()
    return tp / torch.arange(1, len(scores) + 1), tp / (tp + fn)


@wrong("turns the finished curve round")
def turned_round_when_it_is_done(scores, right, num_objects):
    tp = right[scores.argsort(stable=True)].cumsum(0)
    precision = tp / torch.arange(1, len(scores) + 1)
    return precision.flip(0), (tp / num_objects).flip(0)


@wrong("counts the right ones before it")
def without_the_detection_at_the_cut(scores, right, num_objects):
    hits = right[scores.argsort(descending=True, stable=True)].float()
    tp = hits.cumsum(0) - hits
    return tp / torch.arange(1, len(scores) + 1), tp / num_objects
