"""Exercise 8.1: answers."""

import numpy as np
import torch

from answers import because, right, slightly_off, wrong


@right
def column_by_column(boxes, width):
    x, y, w, h = boxes.unbind(1)
    return torch.stack([width - (x + w), y, w, h], 1)


@right
def in_a_copy(boxes, width):
    mirrored = boxes.clone()
    mirrored[:, 0] = width - boxes[:, 0] - boxes[:, 2]
    return mirrored


@right
def by_way_of_the_centre(boxes, width):
    centre = boxes[:, 0] + boxes[:, 2] / 2
    left = (width - centre) - boxes[:, 2] / 2
    return torch.cat((left[:, None], boxes[:, 1:]), dim=1)


@right
def in_numpy(boxes, width):
    b = boxes.numpy().copy()
    b[:, 0] = width - b[:, 0] - b[:, 2]
    return torch.from_numpy(b.astype(np.float32))


@right
def with_a_loop(boxes, width):
    rows = [[width - x - w, y, w, h] for x, y, w, h in boxes.tolist()]
    return torch.tensor(rows).reshape(-1, 4)


@slightly_off
def a_thousandth(boxes, width):
    x, y, w, h = boxes.unbind(1)
    return torch.stack([1.001 * (width - x - w), y, w, h], 1)


@wrong("the broken function still")
def unchanged(boxes, width):
    x, y, w, h = boxes.unbind(dim=1)
    return torch.stack((width - x, y, w, h), dim=1)


@wrong("come back as they were")
def no_mirror(boxes, width):
    return boxes.clone()


@wrong("these are corners")
def corners(boxes, width):
    x1, y1 = boxes[:, 0], boxes[:, 1]
    x2, y2 = x1 + boxes[:, 2], y1 + boxes[:, 3]
    return torch.stack((width - x2, y1, width - x1, y2), dim=1)


@wrong("these are corners")
def taken_for_corners(boxes, width):
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    return torch.stack((width - x2, y1, width - x1, y2), dim=1)


@wrong("no pixel to be taken off")
def pixels_from_nought(boxes, width):
    mirrored = boxes.clone()
    mirrored[:, 0] = (width - 1) - (boxes[:, 0] + boxes[:, 2])
    return mirrored


@wrong("y stays")
def upside_down_too(boxes, width):
    mirrored = boxes.clone()
    mirrored[:, :2] = width - boxes[:, :2] - boxes[:, 2:]
    return mirrored


@wrong("not its middle")
def x_for_a_middle(boxes, width):
    mirrored = boxes.clone()
    mirrored[:, 0] = width - boxes[:, 0] - boxes[:, 2] / 2
    return mirrored


@wrong("a width has no direction")
def negative_widths(boxes, width):
    x, y, w, h = boxes.unbind(dim=1)
    return torch.stack((width - x, y, -w, h), dim=1)


@wrong("mirrored about 0")
def about_nought(boxes, width):
    x, y, w, h = boxes.unbind(dim=1)
    return torch.stack((-(x + w), y, w, h), dim=1)


@wrong("taken off, not added")
def added(boxes, width):
    mirrored = boxes.clone()
    mirrored[:, 0] = width - boxes[:, 0] + boxes[:, 2]
    return mirrored


@wrong("the cure mends it, but the cause is another")
@because("loss")
def right_cure_for_another_cause(boxes, width):
    x, y, w, h = boxes.unbind(1)
    return torch.stack([width - x - w, y, w, h], 1)


@wrong("neither the cause nor the cure")
@because("evaluation")
def nothing_is_right(boxes, width):
    mirrored = boxes.clone()
    mirrored[:, 0] = width / 2 - boxes[:, 0]
    return mirrored
