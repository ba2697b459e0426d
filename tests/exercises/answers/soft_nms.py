"""Exercise 6.4: answers. `box_iou` is at hand there."""

import math

import torch

from answers import right, slightly_off, wrong
from detlearn.boxes import box_iou


@right
def with_indices(boxes, scores, sigma=0.5, threshold=0.001):
    scores = scores.clone()
    left, keep, kept_scores = list(range(len(boxes))), [], []
    ious = box_iou(boxes, boxes).tolist()
    while left:
        best = max(left, key=lambda i: scores[i].item())
        if scores[best] < threshold:
            break
        left.remove(best)
        keep.append(best)
        kept_scores.append(scores[best].item())
        for i in left:
            scores[i] *= math.exp(-(ious[best][i] ** 2) / sigma)
    return torch.tensor(keep, dtype=torch.int64), torch.tensor(kept_scores)


@right
def with_a_mask(boxes, scores, sigma=0.5, threshold=0.001):
    s, done = scores.clone(), torch.zeros(len(scores), dtype=torch.bool)
    weights = torch.exp(-(box_iou(boxes, boxes) ** 2) / sigma)
    order = []
    for _ in range(len(boxes)):
        best = torch.where(done, -torch.inf, s).argmax().item()
        if s[best] < threshold:
            break
        done[best] = True
        order.append(best)
        s = torch.where(done, s, s * weights[best])
    order = torch.tensor(order, dtype=torch.int64)
    return order, s[order]


@right
def by_swapping_as_the_authors_do(boxes, scores, sigma=0.5, threshold=0.001):
    table = torch.cat((boxes, scores[:, None], torch.arange(len(boxes))[:, None]), dim=1)
    for i in range(len(table)):
        best = i + int(table[i:, 4].argmax())
        table[[i, best]] = table[[best, i]]
        iou = box_iou(table[i : i + 1, :4], table[i + 1 :, :4])[0]
        table[i + 1 :, 4] *= (-iou.square() / sigma).exp()
    table = table[table[:, 4] >= threshold]
    return table[:, 5].long(), table[:, 4]


@right
def with_numpy(boxes, scores, sigma=0.5, threshold=0.001):
    s, ious = scores.double().numpy().copy(), box_iou(boxes, boxes).double().numpy()
    left, keep, values = list(range(len(s))), [], []
    while left and s[left].max() >= threshold:
        best = left.pop(int(s[left].argmax()))
        keep.append(best)
        values.append(float(s[best]))
        if left:
            s[left] *= 2.718281828459045 ** (-(ious[best, left] ** 2) / sigma)
    return torch.tensor(keep, dtype=torch.int64), torch.tensor(values)


@slightly_off
def scores_off_by_a_thousandth(boxes, scores, sigma=0.5, threshold=0.001):
    keep, values = with_a_mask(boxes, scores, sigma, threshold)
    return keep, 1.001 * values


@slightly_off
def sigma_off_by_a_hundredth(boxes, scores, sigma=0.5, threshold=0.001):
    return with_a_mask(boxes, scores, 1.01 * sigma, threshold)


def _soft(boxes, scores, threshold, decay):
    """The loop with another decay, for mistakes in the formula."""
    s, keep, values = scores.clone(), [], []
    left = torch.arange(len(boxes))
    while len(left) and s[left].max() >= threshold:
        best = left[s[left].argmax()].item()
        keep.append(best)
        values.append(s[best].item())
        left = left[left != best]
        s[left] = s[left] * decay(box_iou(boxes[[best]], boxes[left])[0])
    return torch.tensor(keep, dtype=torch.int64), torch.tensor(values)


@wrong("in the order of their first scores")
def sorts_once(boxes, scores, sigma=0.5, threshold=0.001):
    s = scores.clone()
    order = scores.argsort(descending=True)
    for n, i in enumerate(order):
        rest = order[n + 1 :]
        s[rest] *= torch.exp(-(box_iou(boxes[i][None], boxes[rest])[0] ** 2) / sigma)
    keep = order[s[order] >= threshold]
    return keep, s[keep]


@wrong("return the decayed ones")
def returns_the_first_scores(boxes, scores, sigma=0.5, threshold=0.001):
    keep, _ = with_a_mask(boxes, scores, sigma, threshold)
    return keep, scores[keep]


@wrong("this is the linear decay, 1 − IoU; the")
def linear(boxes, scores, sigma=0.5, threshold=0.001):
    return _soft(boxes, scores, threshold, lambda iou: 1 - iou)


@wrong("above an IoU of 0.3")
def linear_above_a_threshold(boxes, scores, sigma=0.5, threshold=0.001):
    def decay(iou):
        weight = torch.ones_like(iou)
        weight[iou > 0.3] -= iou[iou > 0.3]
        return weight

    return _soft(boxes, scores, threshold, decay)


@wrong("without the 2 of a normal distribution")
def normal_distribution(boxes, scores, sigma=0.5, threshold=0.001):
    return _soft(boxes, scores, threshold, lambda iou: (-0.5 * (iou / sigma) ** 2).exp())


@wrong("σ is not squared")
def squares_sigma(boxes, scores, sigma=0.5, threshold=0.001):
    return _soft(boxes, scores, threshold, lambda iou: torch.exp(-((iou / sigma) ** 2)))


@wrong("the IoU enters squared")
def iou_not_squared(boxes, scores, sigma=0.5, threshold=0.001):
    return _soft(boxes, scores, threshold, lambda iou: torch.exp(-iou / sigma))


@wrong("lacks the minus")
def grows(boxes, scores, sigma=0.5, threshold=0.001):
    return _soft(boxes, scores, threshold, lambda iou: math.e ** (iou * iou / sigma))


@wrong("leaves those up to 0.5 alone")
def gaussian_above_a_threshold(boxes, scores, sigma=0.5, threshold=0.001):
    def decay(iou):
        return torch.exp(-((iou * (iou > 0.5)) ** 2) / sigma)

    return _soft(boxes, scores, threshold, decay)


@wrong("this is ordinary NMS")
def hard_nms(boxes, scores, sigma=0.5, threshold=0.001):
    return _soft(boxes, scores, threshold, lambda iou: (iou <= 0.5).float())


@wrong("has been taken keeps its score")
def decays_the_taken_too(boxes, scores, sigma=0.5, threshold=0.001):
    s, taken = scores.clone(), []
    for _ in range(len(boxes)):
        masked = s.clone()
        masked[taken] = -1
        best = int(masked.argmax())
        taken.append(best)
        weight = torch.exp(-(box_iou(boxes[[best]], boxes)[0] ** 2) / sigma)
        weight[best] = 1
        s = s * weight
    keep = torch.tensor([i for i in taken if s[i] >= threshold], dtype=torch.int64)
    return keep, s[keep]


@wrong("yours returns them all")
def never_drops(boxes, scores, sigma=0.5, threshold=0.001):
    return _soft(boxes, scores, 0.0, lambda iou: torch.exp(-(iou**2) / sigma))


@wrong("you compare the scores as they were")
def threshold_before_the_decay(boxes, scores, sigma=0.5, threshold=0.001):
    good = torch.where(scores >= threshold)[0]
    keep, s = _soft(boxes[good], scores[good], 0.0, lambda iou: torch.exp(-(iou**2) / sigma))
    return good[keep], s


@wrong("not in the order of their")
def in_the_order_of_indices(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = with_a_mask(boxes, scores, sigma, threshold)
    at = keep.argsort()
    return keep[at], s[at]


@wrong("first the indices, then their scores")
def scores_first(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = with_numpy(boxes, scores, sigma, threshold)
    return s, keep


@wrong("return both the indices and their decayed scores")
def indices_only(boxes, scores, sigma=0.5, threshold=0.001):
    return with_a_mask(boxes, scores, sigma, threshold)[0]


@wrong("your scores are as they were")
def forgets_to_assign(boxes, scores, sigma=0.5, threshold=0.001):
    s, left, keep = scores.clone(), list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda i: s[i])
        left.remove(best)
        keep.append(best)
        s[left] * torch.exp(-(box_iou(boxes[[best]], boxes[left])[0] ** 2) / sigma)
    keep = torch.tensor([i for i in keep if s[i] >= threshold], dtype=torch.int64)
    return keep, s[keep]


@wrong("changes the tensors it is given")
def decays_the_given_scores(boxes, scores, sigma=0.5, threshold=0.001):
    keep, left = [], list(range(len(boxes)))
    while left and scores[left].max() >= threshold:
        best = left[int(scores[left].argmax())]
        left.remove(best)
        keep.append(best)
        scores[left] *= torch.exp(-(box_iou(boxes[[best]], boxes[left])[0] ** 2) / sigma)
    keep = torch.tensor(keep, dtype=torch.int64)
    return keep, scores[keep]


@wrong("sigma is the one you are given")
def sigma_written_into_the_code(boxes, scores, sigma=0.5, threshold=0.001):
    return _soft(boxes, scores, threshold, lambda iou: torch.exp(-(iou**2) / 0.5))


@wrong("positions among the boxes that are left")
def positions_after_deletion(boxes, scores, sigma=0.5, threshold=0.001):
    keep, values = [], []
    while len(scores) and scores.max() >= threshold:
        best = int(scores.argmax())
        keep.append(best)
        values.append(float(scores[best]))
        others = torch.arange(len(scores)) != best
        iou = box_iou(boxes[[best]], boxes[others])[0]
        boxes, scores = boxes[others], scores[others] * torch.exp(-(iou**2) / sigma)
    return torch.tensor(keep, dtype=torch.int64), torch.tensor(values)


@wrong("yours starts from the given score each time")
def decays_the_first_scores(boxes, scores, sigma=0.5, threshold=0.001):
    current = scores.clone()
    left, keep = list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda i: current[i].item())
        if current[best] < threshold:
            break
        left.remove(best)
        keep.append(best)
        for i in left:
            iou = box_iou(boxes[[best]], boxes[[i]]).item()
            current[i] = scores[i] * math.exp(-iou * iou / sigma)
    keep = torch.tensor(keep, dtype=torch.int64)
    return keep, current[keep]


@wrong("yours lowers it once")
def decays_by_the_largest_overlap(boxes, scores, sigma=0.5, threshold=0.001):
    order = scores.argsort(descending=True)
    s = scores[order].clone()
    ious = box_iou(boxes[order], boxes[order])
    for j in range(1, len(s)):
        s[j] = s[j] * torch.exp(-(ious[:j, j].max() ** 2) / sigma)
    again = s.argsort(descending=True)
    again = again[s[again] >= threshold]
    return order[again], s[again]


@wrong("only the best box of all lowers the others")
def one_round(boxes, scores, sigma=0.5, threshold=0.001):
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64), scores
    best = scores.argmax()
    weight = torch.exp(-(box_iou(boxes, boxes[best][None])[:, 0] ** 2) / sigma)
    weight[best] = 1.0
    s, order = (scores * weight).sort(descending=True)
    return order[s >= threshold], s[s >= threshold]


@wrong("the threshold is the one you are given")
def threshold_written_into_the_code(boxes, scores, sigma=0.5, threshold=0.001):
    return with_a_mask(boxes, scores, sigma, 1e-3)


@wrong("leaves small ones alone")
def gaussian_above_nt(boxes, scores, sigma=0.5, threshold=0.001):
    def decay(iou):
        return torch.where(iou >= 0.3, torch.exp(-(iou**2) / sigma), torch.ones_like(iou))

    return _soft(boxes, scores, threshold, decay)


@wrong("return the indices of the boxes, not the boxes")
def returns_the_boxes(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = with_a_mask(boxes, scores, sigma, threshold)
    return boxes[keep], s


@wrong("dtype int32; expected int64")
def indices_in_int32(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = with_a_mask(boxes, scores, sigma, threshold)
    return keep.int(), s


@wrong("dtype float64; expected float32")
def scores_in_double(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = with_a_mask(boxes, scores.double(), sigma, threshold)
    return keep, s


@wrong("of an empty list is float32")
def empty_keep_without_dtype(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = with_a_mask(boxes, scores, sigma, threshold)
    return torch.tensor(keep.tolist()), s


@wrong("without a normal distribution's 2; σ alone divides")
def twice_sigma(boxes, scores, sigma=0.5, threshold=0.001):
    return _soft(boxes, scores, threshold, lambda iou: torch.exp(-(iou**2) / (2 * sigma)))


@wrong("a score equal to the threshold stays")
def drops_at_the_threshold(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = with_a_mask(boxes, scores, sigma, threshold)
    return keep[s > threshold], s[s > threshold]


@wrong("every box lowers every other one")
def all_pairs_at_once(boxes, scores, sigma=0.5, threshold=0.001):
    factors = torch.exp(-(box_iou(boxes, boxes) ** 2) / sigma)
    factors.fill_diagonal_(1)
    s, order = (scores * factors.prod(dim=1)).sort(descending=True)
    return order[s >= threshold], s[s >= threshold]


@wrong("as its IoU with itself is 1")
def decays_itself(boxes, scores, sigma=0.5, threshold=0.001):
    s, done = scores.clone(), torch.zeros(len(scores), dtype=torch.bool)
    keep = []
    while not done.all():
        best = int(s.masked_fill(done, -1).argmax())
        if s[best] < threshold:
            break
        keep.append(best)
        decayed = s * torch.exp(-(box_iou(boxes[[best]], boxes)[0] ** 2) / sigma)
        s = torch.where(done, s, decayed)
        done[best] = True
    keep = torch.tensor(keep, dtype=torch.int64)
    return keep, s[keep]


@wrong("check for an empty list")
def stacks_nothing(boxes, scores, sigma=0.5, threshold=0.001):
    s, left, keep, values = scores.clone(), torch.arange(len(scores)), [], []
    while len(left) and s[left].max() >= threshold:
        best = left[s[left].argmax()]
        keep.append(best)
        values.append(s[best].clone())
        left = left[left != best]
        s[left] *= torch.exp(-(box_iou(boxes[best][None], boxes[left])[0] ** 2) / sigma)
    return torch.stack(keep), torch.stack(values)


@wrong("yours multiplies by it")
def times_sigma(boxes, scores, sigma=0.5, threshold=0.001):
    return _soft(boxes, scores, threshold, lambda iou: torch.exp(-(iou**2) * sigma))


@wrong("yours is a mask over all boxes")
def mask_of_the_kept(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = with_a_mask(boxes, scores, sigma, threshold)
    mask = torch.zeros(len(scores), dtype=torch.bool)
    mask[keep] = True
    after = scores.clone()
    after[keep] = s
    return mask, after[mask]


@wrong("your scores are in the order of the input")
def scores_in_the_order_of_the_input(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = with_a_mask(boxes, scores, sigma, threshold)
    return keep, s[keep.argsort()]


@wrong("yours are those of all boxes")
def all_scores(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = with_a_mask(boxes, scores, sigma, 0.0)
    after = scores.clone()
    after[keep] = s
    return keep[s >= threshold], after


@wrong("compares it with the IoU")
def threshold_of_overlaps(boxes, scores, sigma=0.5, threshold=0.001):
    def decay(iou):
        return torch.where(iou > threshold, torch.exp(-(iou**2) / sigma), torch.ones_like(iou))

    return _soft(boxes, scores, 0.0, decay)


@wrong("these are the right boxes in another order")
def in_the_order_given(boxes, scores, sigma=0.5, threshold=0.001):
    s = scores.clone()
    for i in range(len(s)):
        s[i + 1 :] *= torch.exp(-(box_iou(boxes[[i]], boxes[i + 1 :])[0] ** 2) / sigma)
    keep = torch.where(s >= threshold)[0]
    return keep, s[keep]


@wrong("you return a box whose decayed score is below the threshold")
def low_scores_become_zero(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = _soft(boxes, scores, 0.0, lambda iou: torch.exp(-(iou**2) / sigma))
    return keep, torch.where(s < threshold, 0.0, s)


@wrong("higher than the score that was given")
def assigns_the_factor(boxes, scores, sigma=0.5, threshold=0.001):
    s, left, keep, values = scores.clone(), torch.arange(len(scores)), [], []
    while len(left) and s[left].max() >= threshold:
        best = left[s[left].argmax()].item()
        keep.append(best)
        values.append(s[best].item())
        left = left[left != best]
        s[left] = torch.exp(-(box_iou(boxes[[best]], boxes[left])[0] ** 2) / sigma)
    return torch.tensor(keep, dtype=torch.int64), torch.tensor(values)


@wrong("a box is missing whose decayed score")
def never_takes_the_last(boxes, scores, sigma=0.5, threshold=0.001):
    keep, s = with_a_mask(boxes, scores, sigma, threshold)
    return (keep[:-1], s[:-1]) if len(keep) == len(boxes) else (keep, s)


@wrong("the scores are not: look at the factor")
def powers_of_two(boxes, scores, sigma=0.5, threshold=0.001):
    return _soft(boxes, scores, threshold, lambda iou: 2.0 ** (-(iou**2) / sigma))
