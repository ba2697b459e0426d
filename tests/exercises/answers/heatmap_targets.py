"""Exercise 1.2: answers."""

import math

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def object_by_object(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist()):
        row = min(max(int((y1 + y2) / 2 // stride), 0), height - 1)
        column = min(max(int((x1 + x2) / 2 // stride), 0), width - 1)
        dx = (columns - column) * stride / (0.12 * (x2 - x1))
        dy = (rows - row) * stride / (0.12 * (y2 - y1))
        heatmap[label] = torch.maximum(heatmap[label], torch.exp(-(dx**2 + dy**2) / 2))
    return heatmap


@right
def class_by_class(boxes, labels, num_classes, height, width, stride=4):
    x, y = torch.arange(width) * stride, torch.arange(height) * stride
    cx = ((boxes[:, 0] + boxes[:, 2]) / 2 / stride).floor().clamp(0, width - 1) * stride
    cy = ((boxes[:, 1] + boxes[:, 3]) / 2 / stride).floor().clamp(0, height - 1) * stride
    sx, sy = 0.12 * (boxes[:, 2] - boxes[:, 0]), 0.12 * (boxes[:, 3] - boxes[:, 1])
    gx = torch.exp(-((x - cx[:, None]) ** 2) / (2 * sx[:, None] ** 2))
    gy = torch.exp(-((y - cy[:, None]) ** 2) / (2 * sy[:, None] ** 2))
    g = torch.einsum("nh,nw->nhw", gy, gx)
    maps = []
    for k in range(num_classes):
        own = g[labels == k]
        maps.append(own.max(dim=0).values if len(own) else torch.zeros(height, width))
    return torch.stack(maps)


@right
def with_a_mask(boxes, labels, num_classes, height, width, stride=4):
    n = len(boxes)
    if n == 0:
        return torch.zeros((num_classes, height, width))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    cell = torch.floor(centre / stride)
    cell[:, 0].clamp_(0, width - 1)
    cell[:, 1].clamp_(0, height - 1)
    sigma = 0.12 * (boxes[:, 2:] - boxes[:, :2])
    grid_x = torch.arange(width).view(1, 1, width)
    grid_y = torch.arange(height).view(1, height, 1)
    zx = (grid_x - cell[:, 0].view(n, 1, 1)) * stride / sigma[:, 0].view(n, 1, 1)
    zy = (grid_y - cell[:, 1].view(n, 1, 1)) * stride / sigma[:, 1].view(n, 1, 1)
    g = torch.exp(-0.5 * (zx.pow(2) + zy.pow(2)))
    mine = labels[:, None] == torch.arange(num_classes)
    return (g[:, None] * mine[:, :, None, None]).amax(dim=0)


@right
def with_numpy(boxes, labels, num_classes, height, width, stride=4):
    heatmap = np.zeros((num_classes, height, width), dtype=np.float32)
    y, x = np.ogrid[:height, :width]
    for box, label in zip(boxes.numpy().astype(np.float64), labels.numpy()):
        w, h = box[2] - box[0], box[3] - box[1]
        j = np.clip(np.floor((box[0] + box[2]) / 2 / stride), 0, width - 1)
        i = np.clip(np.floor((box[1] + box[3]) / 2 / stride), 0, height - 1)
        gx = np.exp(-(((x - j) * stride / (0.12 * w)) ** 2) / 2)
        gy = np.exp(-(((y - i) * stride / (0.12 * h)) ** 2) / 2)
        np.maximum(heatmap[label], gx * gy, out=heatmap[label])
    return torch.from_numpy(heatmap)


@slightly_off
def a_deviation_a_thousandth_too_large(boxes, labels, num_classes, height, width, stride=4):
    centre = (boxes[:, :2] + boxes[:, 2:]).repeat(1, 2) / 2
    return object_by_object(
        centre + 1.001 * (boxes - centre), labels, num_classes, height, width, stride
    )


@slightly_off
def a_peak_a_thousandth_too_low(boxes, labels, num_classes, height, width, stride=4):
    return 0.999 * object_by_object(boxes, labels, num_classes, height, width, stride)


@wrong("yours stands on the centre itself")
def around_the_true_centre(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y = (torch.arange(height)[:, None] + 0.5) * stride
    x = (torch.arange(width)[None] + 0.5) * stride
    for (x1, y1, x2, y2), k in zip(boxes, labels):
        gx = torch.exp(-(((x - (x1 + x2) / 2) / (0.12 * (x2 - x1))) ** 2) / 2)
        gy = torch.exp(-(((y - (y1 + y2) / 2) / (0.12 * (y2 - y1))) ** 2) / 2)
        heatmap[k] = torch.maximum(heatmap[k], gx * gy)
    return heatmap


@wrong("rounded to the nearest")
def rounds(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        row = torch.round((box[1] + box[3]) / 2 / stride).clamp(0, height - 1)
        column = torch.round((box[0] + box[2]) / 2 / stride).clamp(0, width - 1)
        dx = (x - column) * stride / (0.12 * (box[2] - box[0]))
        dy = (y - row) * stride / (0.12 * (box[3] - box[1]))
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-0.5 * (dx**2 + dy**2)))
    return heatmap


@wrong("rounded to the nearest")
def rounds_numbers(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for (x1, y1, x2, y2), k in zip(boxes.tolist(), labels.tolist()):
        column = min(max(round((x1 + x2) / 2 / stride), 0), width - 1)
        row = min(max(round((y1 + y2) / 2 / stride), 0), height - 1)
        dx = (x - column) * stride / (0.12 * (x2 - x1))
        dy = (y - row) * stride / (0.12 * (y2 - y1))
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-(dx**2 + dy**2) / 2))
    return heatmap


@wrong("yours adds them up")
def adds_up(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    for box, k in zip(boxes, labels):
        heatmap[k] += one(box, height, width, stride)
    return heatmap


@wrong("the last object wipes out those before it")
def overwrites(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    for box, k in zip(boxes, labels):
        heatmap[k] = one(box, height, width, stride)
    return heatmap


@wrong("all in the first")
def one_map_for_all(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    for box in boxes:
        heatmap[0] = torch.maximum(heatmap[0], one(box, height, width, stride))
    return heatmap


@wrong("yours is a circle")
def circles(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    for (x1, y1, x2, y2), k in zip(boxes.tolist(), labels.tolist()):
        side = math.sqrt((x2 - x1) * (y2 - y1))
        square = torch.tensor([x1 + x2, y1 + y2, x1 + x2, y1 + y2]) / 2 + torch.tensor(
            [-side / 2, -side / 2, side / 2, side / 2]
        )
        heatmap[k] = torch.maximum(heatmap[k], one(square, height, width, stride))
    return heatmap


@wrong("multiply by the stride")
def counts_locations(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        row = ((box[1] + box[3]) / 2 / stride).long().clamp(0, height - 1)
        column = ((box[0] + box[2]) / 2 / stride).long().clamp(0, width - 1)
        dx = (x - column) / (0.12 * (box[2] - box[0]))
        dy = (y - row) / (0.12 * (box[3] - box[1]))
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-(dx**2 + dy**2) / 2))
    return heatmap


@wrong("the factor ½ is missing")
def no_half(boxes, labels, num_classes, height, width, stride=4):
    return object_by_object(boxes, labels, num_classes, height, width, stride) ** 2


@wrong("another share of it")
def the_whole_side(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        row = ((box[1] + box[3]) / 2 / stride).floor().clamp(0, height - 1)
        column = ((box[0] + box[2]) / 2 / stride).floor().clamp(0, width - 1)
        dx, dy = (x - column) * stride, (y - row) * stride
        z = (dx / (box[2] - box[0])) ** 2 + (dy / (box[3] - box[1])) ** 2
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-z / 2))
    return heatmap


@wrong("clamp the location")
def forgets_the_border(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        row = ((box[1] + box[3]) / 2 / stride).floor()
        column = ((box[0] + box[2]) / 2 / stride).floor()
        dx = (x - column) * stride / (0.12 * (box[2] - box[0]))
        dy = (y - row) * stride / (0.12 * (box[3] - box[1]))
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-(dx**2 + dy**2) / 2))
    return heatmap


@wrong("are exchanged, in the map [row, column]")
def x_is_the_row(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        row = ((box[0] + box[2]) / 2 / stride).floor().clamp(0, height - 1)
        column = ((box[1] + box[3]) / 2 / stride).floor().clamp(0, width - 1)
        dx = (x - column) * stride / (0.12 * (box[2] - box[0]))
        dy = (y - row) * stride / (0.12 * (box[3] - box[1]))
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-(dx**2 + dy**2) / 2))
    return heatmap


@wrong("yours is always 4")
def stride_four(boxes, labels, num_classes, height, width, stride=4):
    return object_by_object(boxes, labels, num_classes, height, width)


@wrong("yours are 0 there")
def only_peaks(boxes, labels, num_classes, height, width, stride=4):
    return (object_by_object(boxes, labels, num_classes, height, width, stride) == 1).float()


@wrong("upper left corner")
def at_the_corner(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        column, row = (box[:2] / stride).floor()
        dx = (x - column.clamp(0, width - 1)) * stride / (0.12 * (box[2] - box[0]))
        dy = (y - row.clamp(0, height - 1)) * stride / (0.12 * (box[3] - box[1]))
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-(dx**2 + dy**2) / 2))
    return heatmap


@wrong("in yours they come last")
def classes_last(boxes, labels, num_classes, height, width, stride=4):
    maps = object_by_object(boxes, labels, num_classes, height, width, stride)
    return maps.permute(1, 2, 0)


@wrong("has dtype float64; expected float32")
def numpys_default(boxes, labels, num_classes, height, width, stride=4):
    heatmap = np.zeros((num_classes, height, width))
    for box, k in zip(boxes, labels):
        heatmap[k] = np.maximum(heatmap[k], one(box, height, width, stride).numpy())
    return torch.from_numpy(heatmap)


@wrong("there is a loop over rows and columns")
def location_by_location(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    for (x1, y1, x2, y2), k in zip(boxes.tolist(), labels.tolist()):
        row = min(max(math.floor((y1 + y2) / 2 / stride), 0), height - 1)
        column = min(max(math.floor((x1 + x2) / 2 / stride), 0), width - 1)
        for i in range(height):
            for j in range(width):
                dx = (j - column) * stride / (0.12 * (x2 - x1))
                dy = (i - row) * stride / (0.12 * (y2 - y1))
                value = math.exp(-(dx**2 + dy**2) / 2)
                heatmap[k, i, j] = max(value, heatmap[k, i, j].item())
    return heatmap


@wrong("RuntimeError")
def stacks_nothing(boxes, labels, num_classes, height, width, stride=4):
    maps = torch.stack([one(box, height, width, stride) for box in boxes])
    return torch.stack(
        [(maps * (labels == k)[:, None, None]).amax(dim=0) for k in range(num_classes)]
    )


def one(box, height, width, stride):
    """The Gaussian of one object, as it should be; a helper of some answers."""
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    row = ((box[1] + box[3]) / 2 / stride).floor().clamp(0, height - 1)
    column = ((box[0] + box[2]) / 2 / stride).floor().clamp(0, width - 1)
    dx = (x - column) * stride / (0.12 * (box[2] - box[0]))
    dy = (y - row) * stride / (0.12 * (box[3] - box[1]))
    return torch.exp(-(dx**2 + dy**2) / 2)


@wrong("divides only the deviation by the stride")
def deviations_in_locations(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        row = ((box[1] + box[3]) / 2 / stride).floor().clamp(0, height - 1)
        column = ((box[0] + box[2]) / 2 / stride).floor().clamp(0, width - 1)
        sx, sy = 0.12 * (box[2] - box[0]) / stride, 0.12 * (box[3] - box[1]) / stride
        z = ((x - column) * stride / sx) ** 2 + ((y - row) * stride / sy) ** 2
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-z / 2))
    return heatmap


@wrong("the whole box")
def fills_the_boxes(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    for box, k in zip(boxes, labels):
        x1, y1, x2, y2 = (box / stride).long().tolist()
        heatmap[k, max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1] = 1
    return heatmap


@wrong("yours is one map before")
def counts_classes_from_one(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    for box, k in zip(boxes, labels):
        heatmap[k - 1] = torch.maximum(heatmap[k - 1], one(box, height, width, stride))
    return heatmap


@wrong("half the width, which forgets")
def half_the_size_is_no_centre(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        w, h = box[2] - box[0], box[3] - box[1]
        column = (w / 2 / stride).floor().clamp(0, width - 1)
        row = (h / 2 / stride).floor().clamp(0, height - 1)
        z = ((x - column) * stride / (0.12 * w)) ** 2 + ((y - row) * stride / (0.12 * h)) ** 2
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-z / 2))
    return heatmap


@wrong("clamp the location at both ends")
def clamps_the_last_row_and_column_alone(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    for (x1, y1, x2, y2), k in zip(boxes.tolist(), labels.tolist()):
        column = min(int((x1 + x2) / 2 // stride), width - 1)
        row = min(int((y1 + y2) / 2 // stride), height - 1)
        dx = (torch.arange(width) - column) * stride
        dy = (torch.arange(height) - row) * stride
        across = torch.exp(-((dx / (0.12 * (x2 - x1))) ** 2) / 2)
        down = torch.exp(-((dy / (0.12 * (y2 - y1))) ** 2) / 2)
        heatmap[k] = torch.maximum(heatmap[k], down[:, None] * across)
    return heatmap


@wrong("yours rounds the corners")
def corners_to_locations_first(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        x1, y1, x2, y2 = (box // stride).tolist()
        column = min(max((x1 + x2) // 2, 0), width - 1)
        row = min(max((y1 + y2) // 2, 0), height - 1)
        dx = (x - column) * stride / (0.12 * (box[2] - box[0]))
        dy = (y - row) * stride / (0.12 * (box[3] - box[1]))
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-(dx**2 + dy**2) / 2))
    return heatmap


@wrong("yours is half a location off")
def from_middles_to_a_corner(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y = (torch.arange(height)[:, None] + 0.5) * stride
    x = (torch.arange(width)[None] + 0.5) * stride
    for box, k in zip(boxes, labels):
        row = ((box[1] + box[3]) / 2 / stride).floor().clamp(0, height - 1)
        column = ((box[0] + box[2]) / 2 / stride).floor().clamp(0, width - 1)
        dx = (x - column * stride) / (0.12 * (box[2] - box[0]))
        dy = (y - row * stride) / (0.12 * (box[3] - box[1]))
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-(dx**2 + dy**2) / 2))
    return heatmap


@wrong("needs parentheses")
def multiplies_with_the_variance(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        row = ((box[1] + box[3]) / 2 / stride).floor().clamp(0, height - 1)
        column = ((box[0] + box[2]) / 2 / stride).floor().clamp(0, width - 1)
        dx, dy = (x - column) * stride, (y - row) * stride
        sx, sy = 0.12 * (box[2] - box[0]), 0.12 * (box[3] - box[1])
        g = torch.exp(-(dx**2) / 2 * sx**2 - dy**2 / 2 * sy**2)
        heatmap[k] = torch.maximum(heatmap[k], g)
    return heatmap


@wrong("only as many as the labels need")
def maps_up_to_the_last_label(boxes, labels, num_classes, height, width, stride=4):
    needed = int(labels.max()) + 1 if len(labels) else num_classes
    heatmap = torch.zeros(needed, height, width)
    for box, k in zip(boxes, labels):
        heatmap[k] = torch.maximum(heatmap[k], one(box, height, width, stride))
    return heatmap


@wrong("must match the size of tensor")
def as_many_rows_as_columns(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(width)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        row = ((box[1] + box[3]) / 2 / stride).floor().clamp(0, height - 1)
        column = ((box[0] + box[2]) / 2 / stride).floor().clamp(0, width - 1)
        dx = (x - column) * stride / (0.12 * (box[2] - box[0]))
        dy = (y - row) * stride / (0.12 * (box[3] - box[1]))
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-(dx**2 + dy**2) / 2))
    return heatmap


@wrong("the rule for who learns the box")
def cut_off_below_one_half(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    for box, k in zip(boxes, labels):
        g = one(box, height, width, stride)
        g[g < 0.5] = 0
        heatmap[k] = torch.maximum(heatmap[k], g)
    return heatmap


@wrong("yours is rounded to whole pixels")
def whole_pixels_of_deviation(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        row = ((box[1] + box[3]) / 2 / stride).floor().clamp(0, height - 1)
        column = ((box[0] + box[2]) / 2 / stride).floor().clamp(0, width - 1)
        sx = max(1, round(0.12 * float(box[2] - box[0])))
        sy = max(1, round(0.12 * float(box[3] - box[1])))
        z = ((x - column) * stride / sx) ** 2 + ((y - row) * stride / sy) ** 2
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-z / 2))
    return heatmap


@wrong("/ 2, not // 2")
def whole_numbers_for_the_centre(boxes, labels, num_classes, height, width, stride=4):
    heatmap = torch.zeros(num_classes, height, width)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    for box, k in zip(boxes, labels):
        cx, cy = box[0] + (box[2] - box[0]) // 2, box[1] + (box[3] - box[1]) // 2
        row = (cy // stride).clamp(0, height - 1)
        column = (cx // stride).clamp(0, width - 1)
        dx = (x - column) * stride / (0.12 * (box[2] - box[0]))
        dy = (y - row) * stride / (0.12 * (box[3] - box[1]))
        heatmap[k] = torch.maximum(heatmap[k], torch.exp(-(dx**2 + dy**2) / 2))
    return heatmap
