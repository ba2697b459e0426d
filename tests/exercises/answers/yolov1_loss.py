"""Exercise 3.3: answers. Those of 3.1 and 3.2 and `yolov1` are at hand there."""

import numpy as np
import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong
from detlearn.boxes import box_iou
from detlearn.models import yolov1
from detlearn.models.yolov1 import decode_grid, responsible_boxes


def pieces(grid, gt_boxes, gt_labels, k, size):
    """What most answers begin with; where the mistake is elsewhere.

    Numbers (M, n, 4) and boxes (M, n, 4) of the cells with an object, objects (M, 4), targets
    (M, 4), the responsible box (M,), its IoU (M,) and the cells' places.
    """
    boxes, conf, scores = decode_grid(grid, k, size)
    b, i, j = torch.where(gt_labels >= 0)
    n = conf.shape[-1]
    numbers = grid[b, i, j, k + n :].reshape(-1, n, 4)
    gt = gt_boxes[b, i, j]
    best = responsible_boxes(boxes[b, i, j], gt)
    iou = box_iou(boxes[b, i, j, best], gt).diagonal().detach()
    goal = yolov1.encode_boxes(gt, i, j, (grid.shape[1], grid.shape[2]), size)
    return conf, scores, numbers, gt, goal, best, iou, (b, i, j)


@right
def with_indices(grid, gt_boxes, gt_labels, num_classes, image_size):
    boxes, conf, scores = decode_grid(grid, num_classes, image_size)
    b, i, j = torch.where(gt_labels >= 0)
    n = conf.shape[-1]
    objects = gt_boxes[b, i, j]
    best = responsible_boxes(boxes[b, i, j], objects)
    numbers = grid[..., num_classes + n :].unflatten(-1, (n, 4))[b, i, j, best]
    goal = yolov1.encode_boxes(objects, i, j, grid.shape[1:3], image_size)
    iou = box_iou(boxes[b, i, j, best], objects).diag().detach()
    rest = torch.ones_like(conf)
    rest[b, i, j, best] = 0
    wanted = F.one_hot(gt_labels[b, i, j], num_classes).float()
    return {
        "box": 5 * ((numbers - goal) ** 2).sum(),
        "object": ((conf[b, i, j, best] - iou) ** 2).sum(),
        "no_object": 0.5 * (rest * conf**2).sum(),
        "class": ((scores[b, i, j] - wanted) ** 2).sum(),
    }


@right
def flat_cells(grid, gt_boxes, gt_labels, num_classes, image_size):
    """All cells of all images in one dimension, and no_object as the rest of a sum."""
    k, (h, w) = num_classes, image_size
    s = grid.shape[1]
    n = (grid.shape[-1] - k) // 5
    flat, labels = grid.flatten(0, 2), gt_labels.flatten()
    boxes = decode_grid(grid, k, image_size)[0].flatten(0, 2)
    cell = labels.ge(0).nonzero().flatten()
    x1, y1, x2, y2 = gt_boxes.flatten(0, 2)[cell].unbind(1)
    best = responsible_boxes(boxes[cell], torch.stack((x1, y1, x2, y2), dim=1))
    column, row = cell % s, cell // s % s
    goal = torch.stack(
        (
            (x1 + x2) / 2 * s / w - column,
            (y1 + y2) / 2 * s / h - row,
            torch.sqrt((x2 - x1) / w),
            torch.sqrt((y2 - y1) / h),
        ),
        dim=1,
    )
    said = flat[cell].gather(1, k + n + 4 * best[:, None] + torch.arange(4))
    px1, py1, px2, py2 = boxes[cell, best].detach().unbind(1)
    inter = (torch.min(x2, px2) - torch.max(x1, px1)).clamp(min=0)
    inter = inter * (torch.min(y2, py2) - torch.max(y1, py1)).clamp(min=0)
    iou = inter / ((x2 - x1) * (y2 - y1) + (px2 - px1) * (py2 - py1) - inter + 1e-6)
    own = flat[cell, k + best]
    classes = flat[cell, :k] - (labels[cell][:, None] == torch.arange(k)).float()
    return {
        "class": classes.square().sum(),
        "no_object": 0.5 * (flat[:, k : k + n].square().sum() - own.square().sum()),
        "object": F.mse_loss(own, iou, reduction="sum"),
        "box": 5 * F.mse_loss(said, goal, reduction="sum"),
    }


@right
def with_masks_of_all_boxes(grid, gt_boxes, gt_labels, num_classes, image_size):
    """Everything for all boxes, and masks choose."""
    boxes, conf, scores = decode_grid(grid, num_classes, image_size)
    n = conf.shape[-1]
    has = gt_labels >= 0
    inside = torch.where(has[..., None], gt_boxes, torch.ones(4).cumsum(0))
    rows, columns = torch.meshgrid(*[torch.arange(grid.shape[1])] * 2, indexing="ij")
    shape = gt_labels.shape
    goal = yolov1.encode_boxes(
        inside.flatten(0, 2),
        rows.expand(shape).flatten(),
        columns.expand(shape).flatten(),
        tuple(grid.shape[1:3]),
        image_size,
    ).view(*shape, 1, 4)
    best = responsible_boxes(boxes.flatten(0, 2), inside.flatten(0, 2)).view(shape)
    mine = F.one_hot(best, n).bool() & has[..., None]
    low = torch.maximum(boxes[..., :2], inside[..., None, :2])
    high = torch.minimum(boxes[..., 2:], inside[..., None, 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    area = area + (inside[..., 2:] - inside[..., :2]).prod(-1)[..., None]
    with torch.no_grad():
        iou = inter / (area - inter)
    numbers = grid[..., num_classes + n :].unflatten(-1, (n, 4))
    one_hot = F.one_hot(gt_labels.clamp(min=0), num_classes)
    return {
        "box": 5.0 * ((numbers - goal) ** 2)[mine].sum(),
        "object": ((conf - iou) ** 2)[mine].sum(),
        "no_object": 0.5 * (conf[~mine] ** 2).sum(),
        "class": ((scores - one_hot) ** 2)[has].sum(),
    }


@right
def targets_from_numpy(grid, gt_boxes, gt_labels, num_classes, image_size):
    """The targets need no gradient, so numpy may make them."""
    boxes, conf, scores = decode_grid(grid, num_classes, image_size)
    n = conf.shape[-1]
    h, w = image_size
    b, i, j = np.nonzero(gt_labels.numpy() >= 0)
    gt = gt_boxes.numpy()[b, i, j].astype(np.float64)
    best = responsible_boxes(boxes[b, i, j], gt_boxes[b, i, j]).numpy()
    s = grid.shape[1]
    x, y = (gt[:, 0] + gt[:, 2]) / 2 / w * s - j, (gt[:, 1] + gt[:, 3]) / 2 / h * s - i
    goal = np.stack([x, y, ((gt[:, 2] - gt[:, 0]) / w) ** 0.5, ((gt[:, 3] - gt[:, 1]) / h) ** 0.5])
    pred = boxes.detach().numpy()[b, i, j, best].astype(np.float64)
    side = np.minimum(pred[:, 2:], gt[:, 2:]) - np.maximum(pred[:, :2], gt[:, :2])
    inter = np.clip(side, 0, None).prod(1)
    both = (pred[:, 2:] - pred[:, :2]).prod(1) + (gt[:, 2:] - gt[:, :2]).prod(1)
    iou = torch.from_numpy(inter / (both - inter)).float()
    numbers = grid[..., num_classes + n :].unflatten(-1, (n, 4))[b, i, j, best]
    other = np.ones(tuple(conf.shape), dtype=bool)
    other[b, i, j, best] = False
    wanted = torch.from_numpy(np.eye(num_classes)[gt_labels.numpy()[b, i, j]]).float()
    return {
        "box": 5 * (numbers - torch.from_numpy(goal.T).float()).pow(2).sum(),
        "object": (conf[b, i, j, best] - iou).pow(2).sum(),
        "no_object": conf[torch.from_numpy(other)].pow(2).sum() / 2,
        "class": (scores[b, i, j] - wanted).pow(2).sum(),
    }


@slightly_off
def weight_a_thousandth_too_large(grid, gt_boxes, gt_labels, num_classes, image_size):
    terms = with_indices(grid, gt_boxes, gt_labels, num_classes, image_size)
    return terms | {"box": 1.001 * terms["box"]}


def finish(c, k, labels, **changed):
    """The four terms of the pieces, some of them changed."""
    conf, scores, numbers, _, goal, best, iou, (b, i, j) = c
    rows = torch.arange(len(best))
    mine = torch.zeros_like(conf, dtype=torch.bool)
    mine[b, i, j, best] = True
    wanted = F.one_hot(labels[b, i, j], k)
    terms = {
        "box": 5 * ((numbers[rows, best] - goal) ** 2).sum(),
        "object": ((conf[b, i, j, best] - iou) ** 2).sum(),
        "no_object": 0.5 * (conf[~mine] ** 2).sum(),
        "class": ((scores[b, i, j] - wanted) ** 2).sum(),
    }
    return terms | changed


@wrong("5 for the boxes, 0.5 for the confidences")
def no_weights(grid, gt_boxes, gt_labels, k, size):
    terms = finish(pieces(grid, gt_boxes, gt_labels, k, size), k, gt_labels)
    return terms | {"box": terms["box"] / 5, "no_object": terms["no_object"] * 2}


@wrong("the term of the boxes is weighted with 5")
def forgets_the_5(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    _, _, numbers, _, goal, best, *_ = c
    error = numbers[torch.arange(len(best)), best] - goal
    return finish(c, k, gt_labels, box=(error**2).sum())


@wrong("the confidences without an object are weighted with 0.5")
def forgets_the_half(grid, gt_boxes, gt_labels, k, size):
    terms = finish(pieces(grid, gt_boxes, gt_labels, k, size), k, gt_labels)
    return terms | {"no_object": terms["no_object"] * 2}


@wrong("yours are divided by the number of images")
def mean_over_images(grid, gt_boxes, gt_labels, k, size):
    terms = finish(pieces(grid, gt_boxes, gt_labels, k, size), k, gt_labels)
    return {name: term / len(grid) for name, term in terms.items()}


@wrong("yours are means over all numbers of each")
def mse_loss_by_default(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    conf, scores, numbers, _, goal, best, iou, (b, i, j) = c
    mine = torch.zeros_like(conf, dtype=torch.bool)
    mine[b, i, j, best] = True
    pred = numbers[torch.arange(len(best)), best]
    wanted = F.one_hot(gt_labels[b, i, j], k).float()
    return {
        "box": 5 * F.mse_loss(pred, goal),
        "object": F.mse_loss(conf[b, i, j, best], iou),
        "no_object": 0.5 * conf[~mine].square().mean(),
        "class": F.mse_loss(scores[b, i, j], wanted),
    }


@wrong("in yours all do")
def all_boxes_learn(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    return finish(c, k, gt_labels, box=5 * ((c[2] - c[4][:, None]) ** 2).sum())


@wrong("the responsible box is not always the first")
def always_the_first(grid, gt_boxes, gt_labels, k, size):
    c = list(pieces(grid, gt_boxes, gt_labels, k, size))
    boxes, *_ = decode_grid(grid, k, size)
    b, i, j = c[7]
    c[5] = torch.zeros_like(c[5])
    c[6] = box_iou(boxes[b, i, j, 0], c[3]).diag().detach()
    return finish(c, k, gt_labels)


@wrong("yours is that of highest confidence")
def the_most_confident(grid, gt_boxes, gt_labels, k, size):
    c = list(pieces(grid, gt_boxes, gt_labels, k, size))
    boxes, conf, _ = decode_grid(grid, k, size)
    b, i, j = c[7]
    c[5] = conf[b, i, j].argmax(dim=-1)
    c[6] = box_iou(boxes[b, i, j, c[5]], c[3]).diag().detach()
    return finish(c, k, gt_labels)


@wrong("class 0 is a class")
def labels_above_0(grid, gt_boxes, gt_labels, k, size):
    shifted = torch.where(gt_labels > 0, gt_labels, -1)
    return finish(pieces(grid, gt_boxes, shifted, k, size), k, gt_labels)


@wrong("yours compares their squares")
def squares_of_the_roots(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    pred, goal = c[2][torch.arange(len(c[5])), c[5]], c[4]
    xy = ((pred[:, :2] - goal[:, :2]) ** 2).sum()
    wh = ((pred[:, 2:] ** 2 - goal[:, 2:] ** 2) ** 2).sum()
    return finish(c, k, gt_labels, box=5 * (xy + wh))


@wrong("yours learn the shares")
def learns_the_shares(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    pred, gt = c[2][torch.arange(len(c[5])), c[5]], c[3]
    wh = torch.stack(((gt[:, 2] - gt[:, 0]) / size[1], (gt[:, 3] - gt[:, 1]) / size[0]), dim=1)
    error = pred - torch.cat((c[4][:, :2], wh), dim=1)
    return finish(c, k, gt_labels, box=5 * (error**2).sum())


@wrong("yours lose their sign on the way")
def root_of_the_decoded_width(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    boxes, *_ = decode_grid(grid, k, size)
    b, i, j = c[7]
    pred = yolov1.encode_boxes(boxes[b, i, j, c[5]], i, j, grid.shape[1:3], size)
    return finish(c, k, gt_labels, box=5 * ((pred - c[4]) ** 2).sum())


@wrong("yours are in pixels")
def pixels(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    boxes, *_ = decode_grid(grid, k, size)
    b, i, j = c[7]
    return finish(c, k, gt_labels, box=5 * ((boxes[b, i, j, c[5]] - c[3]) ** 2).sum())


@wrong("your targets are shares of the image")
def targets_in_shares_of_the_image(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    gt, (h, w) = c[3], size
    x, y = (gt[:, 0] + gt[:, 2]) / 2 / w, (gt[:, 1] + gt[:, 3]) / 2 / h
    goal = torch.stack((x, y, c[4][:, 2], c[4][:, 3]), dim=1)
    pred = c[2][torch.arange(len(c[5])), c[5]]
    return finish(c, k, gt_labels, box=5 * ((pred - goal) ** 2).sum())


@wrong("in your targets they are exchanged")
def columns_for_rows(grid, gt_boxes, gt_labels, k, size):
    c = list(pieces(grid, gt_boxes, gt_labels, k, size))
    _, i, j = c[7]
    c[4] = yolov1.encode_boxes(c[3], j, i, tuple(grid.shape[1:3]), size)
    return finish(c, k, gt_labels)


@wrong("yours learns 1")
def confidence_learns_1(grid, gt_boxes, gt_labels, k, size):
    c = list(pieces(grid, gt_boxes, gt_labels, k, size))
    c[6] = torch.ones_like(c[6])
    return finish(c, k, gt_labels)


@wrong("in yours the box learns to fit its confidence")
def iou_with_gradient(grid, gt_boxes, gt_labels, k, size):
    c = list(pieces(grid, gt_boxes, gt_labels, k, size))
    boxes, *_ = decode_grid(grid, k, size)
    b, i, j = c[7]
    c[6] = box_iou(boxes[b, i, j, c[5]], c[3]).diagonal()
    return finish(c, k, gt_labels)


@wrong("yours leaves them out")
def silent_in_empty_cells_alone(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    return finish(c, k, gt_labels, no_object=0.5 * (c[0][gt_labels < 0] ** 2).sum())


@wrong("yours learns 0 as well")
def all_are_silent(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    return finish(c, k, gt_labels, no_object=0.5 * (c[0] ** 2).sum())


@wrong("learn nothing; yours learn 0")
def classes_everywhere(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    wanted = torch.zeros_like(c[1])
    b, i, j = c[7]
    wanted[b, i, j, gt_labels[b, i, j]] = 1
    terms = finish(c, k, gt_labels)
    return terms | {"class": ((c[1] - wanted) ** 2).sum()}


@wrong("not by cross-entropy")
def cross_entropy(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    loss = F.cross_entropy(c[1][c[7]], gt_labels[c[7]], reduction="sum")
    return finish(c, k, gt_labels) | {"class": loss}


@wrong("without a softmax")
def softmax(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    error = c[1][c[7]].softmax(dim=-1) - F.one_hot(gt_labels[c[7]], k)
    return finish(c, k, gt_labels) | {"class": (error**2).sum()}


@wrong("yours is the error of the object's class alone")
def own_class_alone(grid, gt_boxes, gt_labels, k, size):
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    b, i, j = c[7]
    loss = ((c[1][b, i, j, gt_labels[b, i, j]] - 1) ** 2).sum()
    return finish(c, k, gt_labels) | {"class": loss}


@wrong("image_size is height, width")
def width_and_height(grid, gt_boxes, gt_labels, k, size):
    h, w = size
    return finish(pieces(grid, gt_boxes, gt_labels, k, (w, h)), k, gt_labels)


@wrong("expected a dictionary with 'box'")
def a_sum(grid, gt_boxes, gt_labels, k, size):
    terms = finish(pieces(grid, gt_boxes, gt_labels, k, size), k, gt_labels)
    return sum(terms.values())


@wrong("without 'no_object'")
def other_names(grid, gt_boxes, gt_labels, k, size):
    terms = finish(pieces(grid, gt_boxes, gt_labels, k, size), k, gt_labels)
    terms["noobj"] = terms.pop("no_object")
    return terms


@wrong("expected a torch.Tensor here, too")
def a_number_without_objects(grid, gt_boxes, gt_labels, k, size):
    terms = finish(pieces(grid, gt_boxes, gt_labels, k, size), k, gt_labels)
    if (gt_labels < 0).all():
        return terms | {"box": 0.0, "object": 0.0, "class": 0.0}
    return terms


@wrong("has no gradient with respect to the first argument")
def items(grid, gt_boxes, gt_labels, k, size):
    terms = finish(pieces(grid, gt_boxes, gt_labels, k, size), k, gt_labels)
    return {name: torch.tensor(term.item()) for name, term in terms.items()}


@wrong("leave these entries out before you compute")
def multiplies_with_the_mask(grid, gt_boxes, gt_labels, k, size):
    """What stands in empty cells may be anything."""
    c = pieces(grid, gt_boxes, gt_labels, k, size)
    mask = (gt_labels >= 0).float()
    n = c[0].shape[-1]
    rows, columns = torch.meshgrid(*[torch.arange(grid.shape[1])] * 2, indexing="ij")
    shape = gt_labels.shape
    goal = yolov1.encode_boxes(
        gt_boxes.flatten(0, 2),
        rows.expand(shape).flatten(),
        columns.expand(shape).flatten(),
        tuple(grid.shape[1:3]),
        size,
    ).view(*shape, 4)
    best = torch.zeros_like(gt_labels)
    best[c[7]] = c[5]
    numbers = grid[..., k + n :].unflatten(-1, (n, 4))
    chosen = numbers.gather(3, best[..., None, None].expand(*shape, 1, 4))[..., 0, :]
    error = ((chosen - goal) ** 2).sum(-1)
    return finish(c, k, gt_labels, box=5 * (error * mask).sum())


@wrong("there is a loop over cells")
def object_by_object(grid, gt_boxes, gt_labels, k, size):
    boxes, conf, scores = decode_grid(grid, k, size)
    n = conf.shape[-1]
    zero = grid.sum() * 0
    box, obj, cls = zero, zero, zero
    rest = torch.ones_like(conf)
    for b, i, j in (gt_labels >= 0).nonzero().tolist():
        gt = gt_boxes[b, i, j][None]
        best = int(responsible_boxes(boxes[b, i, j][None], gt))
        numbers = grid[b, i, j, k + n + 4 * best : k + n + 4 * best + 4]
        at = torch.tensor([i]), torch.tensor([j])
        goal = yolov1.encode_boxes(gt, *at, tuple(grid.shape[1:3]), size)[0]
        box = box + ((numbers - goal) ** 2).sum()
        iou = box_iou(boxes[b, i, j, best][None], gt)[0, 0].detach()
        obj = obj + (conf[b, i, j, best] - iou) ** 2
        cls = cls + ((scores[b, i, j] - F.one_hot(gt_labels[b, i, j], k)) ** 2).sum()
        rest[b, i, j, best] = 0
    silent = 0.5 * (rest * conf**2).sum()
    return {"box": 5 * box, "object": obj, "no_object": silent, "class": cls}
