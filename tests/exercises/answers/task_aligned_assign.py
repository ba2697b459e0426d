"""Exercise 3.7: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong
from detlearn.boxes import box_iou


def parts(class_scores, pred_boxes, points, gt_boxes, gt_labels):
    """Score, IoU and inside of each object (rows) and location (columns), as all begin."""
    b, n = gt_labels.shape
    p = points.shape[0]
    index = gt_labels[:, None, :].expand(b, p, n)
    score = class_scores.gather(2, index).transpose(1, 2)  # (B, N, P)
    iou = box_iou(gt_boxes, pred_boxes)
    x, y = points[:, 0], points[:, 1]
    x1, y1, x2, y2 = gt_boxes[..., None].unbind(2)  # (B, N, 1)
    inside = (x > x1) & (x < x2) & (y > y1) & (y < y2)
    return score, iou, inside


def no_objects(class_scores):
    b, p, _ = class_scores.shape
    return torch.full((b, p), -1), torch.zeros(b, p)


def best_k(t, k):
    """The k highest of each row, of equal ones the first, none that is 0."""
    order = t.sort(dim=-1, descending=True, stable=True).indices[..., :k]
    return torch.zeros_like(t).scatter(-1, order, 1.0).bool() & (t > 0)


def owners(claimed, by):
    """Which object has each location, and (B, N, P) whether an object has it."""
    value = torch.where(claimed, by, -1.0)
    assigned = value.argmax(dim=1)
    assigned[~claimed.any(dim=1)] = -1
    return assigned, assigned[:, None] == torch.arange(claimed.shape[1])[:, None]


def targets(t, iou, mine):
    t, iou = t * mine, iou * mine
    most = t.amax(-1, keepdim=True)
    return (t / torch.where(most > 0, most, 1) * iou.amax(-1, keepdim=True)).sum(1)


@right
def with_a_stable_sort(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
):
    class_scores, pred_boxes = class_scores.detach(), pred_boxes.detach()
    if gt_labels.shape[1] == 0:
        return no_objects(class_scores)
    score, iou, inside = parts(class_scores, pred_boxes, points, gt_boxes, gt_labels)
    t = torch.where(inside, score.pow(alpha) * iou.pow(beta), 0.0)
    assigned, mine = owners(best_k(t, topk), iou)
    return assigned.detach(), targets(t, iou, mine).detach()


@right
@torch.no_grad()
def with_ranks(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
):
    num_images, num_objects = gt_labels.shape
    if num_objects == 0:
        return no_objects(class_scores)
    image = torch.arange(num_images).view(-1, 1)
    score = class_scores.permute(0, 2, 1)[image, gt_labels]
    iou = box_iou(gt_boxes, pred_boxes)
    low = points > gt_boxes[:, :, None, :2]
    high = points < gt_boxes[:, :, None, 2:]
    inside = (low & high).all(-1)
    t = score**alpha * iou**beta * inside
    rank = t.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    claimed = (rank < topk) & (t > 0)
    key = (iou + 1) * claimed
    value, assigned = key.max(dim=1)
    assigned = torch.where(value > 0, assigned, -1)
    mine = torch.nn.functional.one_hot(assigned + 1, num_objects + 1)[..., 1:].transpose(1, 2)
    own = t * mine
    largest = own.max(dim=-1, keepdim=True).values.clamp(min=1e-38)
    best = (iou * mine).max(dim=-1, keepdim=True).values
    return assigned, (own / largest * best).amax(dim=1)


@right
def with_logarithms_and_a_loop_over_topk(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
):
    with torch.no_grad():
        if gt_labels.shape[1] == 0:
            return no_objects(class_scores)
        score, iou, inside = parts(class_scores, pred_boxes, points, gt_boxes, gt_labels)
        log_t = alpha * score.log() + beta * iou.log()
        log_t = log_t.masked_fill(~inside, -torch.inf)
        left, claimed = log_t.clone(), torch.zeros_like(inside)
        for _ in range(min(topk, len(points))):
            best, where = left.max(dim=-1, keepdim=True)
            claimed |= torch.zeros_like(inside).scatter(-1, where, best > -torch.inf)
            left = left.scatter(-1, where, -torch.inf)
        assigned, mine = owners(claimed, iou)
        return assigned, targets(log_t.exp(), iou, mine)


@right
def with_numpy(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
):
    if gt_labels.shape[1] == 0:
        return no_objects(class_scores)
    three = parts(class_scores.detach(), pred_boxes.detach(), points, gt_boxes, gt_labels)
    score, iou, inside = (value.detach().numpy() for value in three)
    t = np.where(inside, score.astype(np.float64) ** alpha * iou.astype(np.float64) ** beta, 0)
    rank = np.argsort(np.argsort(-t, axis=-1, kind="stable"), axis=-1)
    claimed = (rank < topk) & (t > 0)
    assigned = np.where(claimed, iou, -1).argmax(axis=1)
    assigned[~claimed.any(axis=1)] = -1
    mine = assigned[:, None] == np.arange(t.shape[1])[:, None]
    most = (t * mine).max(axis=-1, keepdims=True)
    best = (iou * mine).max(axis=-1, keepdims=True)
    share = np.divide(t * mine, most, out=np.zeros_like(t), where=most > 0)
    return torch.from_numpy(assigned), torch.from_numpy((share * best).sum(axis=1)).float()


@slightly_off
def scores_a_thousandth_too_low(*args, **options):
    assigned, scores = with_ranks(*args, **options)
    return assigned, 0.999 * scores


@slightly_off
def beta_a_hundredth_too_large(*args, topk, alpha, beta):
    return with_ranks(*args, topk=topk, alpha=alpha, beta=1.01 * beta)


def build(**change):
    """An answer with one of its lines changed; each line is a function below."""

    def function(
        class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
    ):
        with torch.no_grad():
            if gt_labels.shape[1] == 0:
                return no_objects(class_scores)
            score, iou, inside = parts(class_scores, pred_boxes, points, gt_boxes, gt_labels)
            real = (gt_boxes[..., 2] > gt_boxes[..., 0])[..., None]
            t = score**alpha * iou**beta * inside
            if "t" in change:
                t = change["t"](score, iou, inside, alpha, beta, real)
            claimed = change.get("claim", lambda t, inside, k: best_k(t, k))(t, inside, topk)
            assigned, mine = owners(
                claimed, change.get("by", lambda iou, t, gt: iou)(iou, t, gt_boxes)
            )
            scores = change.get("target", lambda t, iou, mine, claimed: targets(t, iou, mine))(
                t, iou, mine, claimed
            )
            return change.get("end", lambda assigned, scores, labels: (assigned, scores))(
                assigned, scores, gt_labels
            )

    return function


def answer(phrase, name, **change):
    """Mark such an answer and give it a name."""
    function = wrong(phrase)(build(**change))
    function.__name__ = name
    return function


not_inside = answer(
    "an object claims locations inside it only",
    "not_inside",
    t=lambda s, iou, inside, a, b, real: s**a * iou**b * real,
)
outside_dropped_afterwards = answer(
    "so that others do not move up",
    "outside_dropped_afterwards",
    t=lambda s, iou, inside, a, b, real: s**a * iou**b * real,
    claim=lambda t, inside, k: best_k(t, k) & inside,
)
exponents_exchanged = answer(
    "the two exponents are exchanged",
    "exponents_exchanged",
    t=lambda s, iou, inside, a, b, real: s**b * iou**a * inside,
)
exponents_fixed = answer(
    "yours are always 0.5 and 6",
    "exponents_fixed",
    t=lambda s, iou, inside, a, b, real: s.sqrt() * iou**6 * inside,
)
added = answer(
    "yours are added up",
    "added",
    t=lambda s, iou, inside, a, b, real: (s**a + iou**b) * inside,
)
factors = answer(
    "in yours they are factors",
    "factors",
    t=lambda s, iou, inside, a, b, real: a * s * b * iou * inside,
)
without_scores = answer(
    "the score is missing in the alignment",
    "without_scores",
    t=lambda s, iou, inside, a, b, real: iou**b * inside,
)
all_inside = answer(
    "yours claims all inside it", "all_inside", claim=lambda t, inside, k: inside & (t > 0)
)
always_ten = answer(
    "topk is the one you are given", "always_ten", claim=lambda t, inside, k: best_k(t, 10)
)
all_that_tie = answer(
    "yours claims all that equal the last of them",
    "all_that_tie",
    claim=lambda t, inside, k: (t >= t.topk(min(k, t.shape[-1])).values[..., -1:]) & (t > 0),
)
last_of_equals = answer(
    "yours claims the last",
    "last_of_equals",
    claim=lambda t, inside, k: best_k(t.flip(-1), k).flip(-1),
)
whatever_topk_says = answer(
    "torch.topk takes any of those that are equal",
    "whatever_topk_says",
    claim=lambda t, inside, k: (
        torch.zeros_like(t)
        .scatter(-1, t.topk(min(k, t.shape[-1])).indices, 1.0)
        .bool()
        .logical_and(t > 0)
    ),
)
zeros_too = answer(
    "no location whose alignment is 0 is claimed",
    "zeros_too",
    claim=lambda t, inside, k: (
        torch.zeros_like(t)
        .scatter(-1, t.sort(dim=-1, descending=True, stable=True).indices[..., :k], 1.0)
        .bool()
        .logical_and(inside)
    ),
)
by_alignment = answer(
    "yours goes to that of the highest alignment",
    "by_alignment",
    by=lambda iou, t, gt: t,
)
first_object = answer(
    "yours goes to the first", "first_object", by=lambda iou, t, gt: torch.zeros_like(iou)
)
smallest_object = answer(
    "as in FCOS",
    "smallest_object",
    by=lambda iou, t, gt: (
        1 / (1 + ((gt[..., 2] - gt[..., 0]) * (gt[..., 3] - gt[..., 1]))[..., None].expand_as(t))
    ),
)
one = answer(
    "not 1: alignment / highest alignment",
    "one",
    target=lambda t, iou, mine, claimed: mine.any(1).float(),
)
raw_alignment = answer(
    "the alignment itself is far below",
    "raw_alignment",
    target=lambda t, iou, mine, claimed: (t * mine).sum(1),
)
without_iou = answer(
    "the factor is missing",
    "without_iou",
    target=lambda t, iou, mine, claimed: (
        t * mine / (t * mine).amax(-1, keepdim=True).clamp(min=1e-38)
    ).sum(1),
)
own_iou = answer(
    "the target is not the location's own IoU",
    "own_iou",
    target=lambda t, iou, mine, claimed: (iou * mine).sum(1),
)
before_the_conflicts = answer(
    "yours are among those it claimed",
    "before_the_conflicts",
    target=lambda t, iou, mine, claimed: (
        mine
        * t
        / (t * claimed).amax(-1, keepdim=True).clamp(min=1e-38)
        * (iou * claimed).amax(-1, keepdim=True)
    ).sum(1),
)
best_of_the_image = answer(
    "yours is the highest of the image",
    "best_of_the_image",
    target=lambda t, iou, mine, claimed: (
        mine
        * t
        / (t * mine).amax((1, 2), keepdim=True).clamp(min=1e-38)
        * (iou * mine).amax(-1, keepdim=True)
    ).sum(1),
)
zero_for_none = answer(
    "a location without an object is −1",
    "zero_for_none",
    end=lambda assigned, scores, labels: (assigned.clamp(min=0), scores),
)
labels_returned = answer(
    "yours is its class",
    "labels_returned",
    end=lambda assigned, scores, labels: (
        torch.where(assigned >= 0, labels.gather(1, assigned.clamp(min=0)), -1),
        scores,
    ),
)
exchanged = answer(
    "the indices come first, then the scores",
    "exchanged",
    end=lambda assigned, scores, labels: (scores, assigned),
)


@wrong("a location on the border is not inside")
def border_inside(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
):
    with torch.no_grad():
        if gt_labels.shape[1] == 0:
            return no_objects(class_scores)
        score, iou, _ = parts(class_scores, pred_boxes, points, gt_boxes, gt_labels)
        low = points >= gt_boxes[:, :, None, :2]
        high = points <= gt_boxes[:, :, None, 2:]
        t = score**alpha * iou**beta * (low & high).all(-1)
        assigned, mine = owners(best_k(t, topk), iou)
        return assigned, targets(t, iou, mine)


@wrong("yours takes the highest of all classes")
def highest_class(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
):
    best = class_scores.amax(-1, keepdim=True).expand_as(class_scores)
    return with_ranks(
        best, pred_boxes, points, gt_boxes, gt_labels, topk=topk, alpha=alpha, beta=beta
    )


@wrong("who learns what carries no gradient")
def keeps_the_gradient(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
):
    if gt_labels.shape[1] == 0:
        return no_objects(class_scores)
    score, iou, inside = parts(class_scores, pred_boxes, points, gt_boxes, gt_labels)
    t = score**alpha * iou**beta * inside
    assigned, mine = owners(best_k(t, topk), iou)
    return assigned, targets(t, iou, mine)


@wrong("there is a loop over images")
def image_by_image(class_scores, pred_boxes, points, gt_boxes, gt_labels, **options):
    pairs = [
        with_ranks(s[None], b[None], points, g[None], k[None], **options)
        for s, b, g, k in zip(class_scores, pred_boxes, gt_boxes, gt_labels)
    ]
    return torch.cat([a for a, _ in pairs]), torch.cat([s for _, s in pairs])


@wrong("your function raises")
def stumbles_without_objects(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
):
    with torch.no_grad():
        score, iou, inside = parts(class_scores, pred_boxes, points, gt_boxes, gt_labels)
        t = score**alpha * iou**beta * inside
        assigned, mine = owners(best_k(t, topk), iou)
        return assigned, targets(t, iou, mine)


@right
@torch.no_grad()
def with_epsilons(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
):
    """As in public code: an addend instead of a case of its own."""
    if gt_labels.shape[1] == 0:
        return no_objects(class_scores)
    score, iou, inside = parts(class_scores, pred_boxes, points, gt_boxes, gt_labels)
    t = score**alpha * iou**beta * inside
    assigned, mine = owners(best_k(t, topk), iou)
    t = t * mine
    top = (iou * mine).amax(-1, keepdim=True)
    return assigned, (t / (t.amax(-1, keepdim=True) + 1e-6) * top).sum(1)


@wrong("yours is among more")
@torch.no_grad()
def highest_iou_inside(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
):
    if gt_labels.shape[1] == 0:
        return no_objects(class_scores)
    score, iou, inside = parts(class_scores, pred_boxes, points, gt_boxes, gt_labels)
    t = score**alpha * iou**beta * inside
    assigned, mine = owners(best_k(t, topk), iou)
    t = t * mine
    most = t.amax(-1, keepdim=True)
    top = (iou * inside).amax(-1, keepdim=True)
    return assigned, (t / torch.where(most > 0, most, 1) * top).sum(1)


@wrong("take min(k, their number)")
def asks_for_more_than_there_are(
    class_scores, pred_boxes, points, gt_boxes, gt_labels, *, topk=10, alpha=0.5, beta=6.0
):
    if gt_labels.shape[1] == 0:
        return no_objects(class_scores)
    score, iou, inside = parts(class_scores, pred_boxes, points, gt_boxes, gt_labels)
    t = score**alpha * iou**beta * inside
    claimed = torch.zeros_like(t).scatter(-1, t.topk(topk).indices, 1.0).bool() & (t > 0)
    assigned, mine = owners(claimed, iou)
    return assigned, targets(t, iou, mine)
