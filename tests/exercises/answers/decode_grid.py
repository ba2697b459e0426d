"""Exercise 3.1: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong


def parts(grid, k):
    """Class scores, confidences, boxes (B, S, S, n, 4); where the mistake is elsewhere."""
    n = (grid.shape[-1] - k) // 5
    return grid[..., :k], grid[..., k : k + n], grid[..., k + n :].unflatten(-1, (n, 4))


def corners(x, y, w, h):
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1)


@right
def with_meshgrid(grid, num_classes, image_size):
    h, w = image_size
    b, s = grid.shape[0], grid.shape[1]
    n = (grid.shape[3] - num_classes) // 5
    classes = grid[..., :num_classes]
    confidences = grid[..., num_classes : num_classes + n]
    numbers = grid[..., num_classes + n :].reshape(b, s, s, n, 4)
    rows, columns = torch.meshgrid(torch.arange(s), torch.arange(s), indexing="ij")
    x = (numbers[..., 0] + columns[None, :, :, None]) / s * w
    y = (numbers[..., 1] + rows[None, :, :, None]) / s * h
    bw = numbers[..., 2] ** 2 * w
    bh = numbers[..., 3] ** 2 * h
    boxes = torch.stack([x - bw / 2, y - bh / 2, x + bw / 2, y + bh / 2], dim=-1)
    return boxes, confidences, classes


@right
def with_vectors_of_two(grid, num_classes, image_size):
    """x and y at once, then both corners at once."""
    s = grid.shape[1]
    n = (grid.shape[-1] - num_classes) // 5
    classes, confidences, numbers = torch.split(grid, [num_classes, n, 4 * n], dim=-1)
    numbers = numbers.unflatten(-1, (n, 4))
    whole = torch.tensor([image_size[1], image_size[0]], dtype=grid.dtype)
    at = torch.arange(s, dtype=grid.dtype)
    cells = torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1)[:, :, None]
    centres = (cells + numbers[..., :2]) * whole / s
    sides = numbers[..., 2:].square() * whole
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=-1), confidences, classes


@right
def a_loop_over_the_boxes_of_a_cell(grid, num_classes, image_size):
    height, width = image_size
    s = grid.shape[1]
    n = (grid.shape[-1] - num_classes) // 5
    column = torch.arange(s).view(1, 1, s)
    row = torch.arange(s).view(1, s, 1)
    boxes = []
    for i in range(n):
        first = num_classes + n + 4 * i
        x = (column + grid[..., first]) * width / s
        y = (row + grid[..., first + 1]) * height / s
        half_w = width * grid[..., first + 2] * grid[..., first + 2] / 2
        half_h = height * grid[..., first + 3] * grid[..., first + 3] / 2
        boxes.append(torch.stack((x - half_w, y - half_h, x + half_w, y + half_h), dim=-1))
    confidences = grid[..., num_classes : num_classes + n]
    return torch.stack(boxes, dim=3), confidences, grid[..., :num_classes]


@right
def offsets_from_numpy(grid, num_classes, image_size):
    """The constants come from numpy; the numbers stay torch's, since they carry a gradient."""
    h, w = image_size
    s = grid.shape[1]
    n = (grid.shape[-1] - num_classes) // 5
    rows, columns = (torch.from_numpy(a).float()[..., None] for a in np.indices((s, s)))
    scores, conf, numbers = grid.split((num_classes, n, 4 * n), dim=-1)
    x, y, rw, rh = numbers.view(*grid.shape[:3], n, 4).unbind(-1)
    x, y = (x + columns) * (w / s), (y + rows) * (h / s)
    bw, bh = torch.abs(rw) ** 2 * w, torch.abs(rh) ** 2 * h
    return torch.stack((x - bw / 2, y - bh / 2, x + bw / 2, y + bh / 2), -1), conf, scores


@right
def flat_cells(grid, num_classes, image_size):
    """All cells in one dimension, and back at the end."""
    h, w = image_size
    b, s = grid.shape[:2]
    flat = grid.reshape(b, s * s, -1)
    n = (flat.shape[-1] - num_classes) // 5
    numbers = flat[..., num_classes + n :].reshape(b, s * s, n, 4)
    index = torch.arange(s * s)[:, None]
    x = ((index % s) + numbers[..., 0]) * (w / s)
    y = ((index // s) + numbers[..., 1]) * (h / s)
    half_w, half_h = numbers[..., 2].pow(2) * (w / 2), numbers[..., 3].pow(2) * (h / 2)
    boxes = torch.stack((x - half_w, y - half_h, x + half_w, y + half_h), dim=-1)
    return (
        boxes.reshape(b, s, s, n, 4),
        flat[..., num_classes : num_classes + n].reshape(b, s, s, n),
        flat[..., :num_classes].reshape(b, s, s, num_classes),
    )


@slightly_off
def widths_a_thousandth_too_large(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, 1.001 * rw**2 * w, rh**2 * h), conf, classes


@wrong("columns belong to x and rows to y")
def rows_and_columns_exchanged(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    i, j = torch.meshgrid(torch.arange(s), torch.arange(s), indexing="ij")
    x = (x + i[..., None]) * w / s
    y = (y + j[..., None]) * h / s
    return corners(x, y, rw**2 * w, rh**2 * h), conf, classes


@wrong("in yours every box lies in the first cell")
def forgets_the_cell(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    return corners(x * w / s, y * h / s, rw**2 * w, rh**2 * h), conf, classes


@wrong("shares of the cell, not of the image")
def centre_as_a_share_of_the_image(grid, num_classes, image_size):
    h, w = image_size
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    return corners(x * w, y * h, rw**2 * w, rh**2 * h), conf, classes


@wrong("(column + x) · side is meant")
def precedence(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x = x + at[:, None] * w / s
    y = y + at[:, None, None] * h / s
    return corners(x, y, rw**2 * w, rh**2 * h), conf, classes


@wrong("yours counts from its middle")
def from_the_middle(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s) + 0.5
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, rw**2 * w, rh**2 * h), conf, classes


@wrong("shares as they are, without a sigmoid")
def sigmoid_of_x_and_y(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x.sigmoid() + at[:, None]) * w / s, (y.sigmoid() + at[:, None, None]) * h / s
    return corners(x, y, rw**2 * w, rh**2 * h), conf, classes


@wrong("the network says the roots of the sides: square them")
def forgets_the_square(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, rw * w, rh * h), conf, classes


@wrong("yours takes the root once more")
def another_root(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, rw.sqrt() * w, rh.sqrt() * h), conf, classes


@wrong("shares of the image, not of the cell")
def sides_as_shares_of_the_cell(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, rw**2 * w / s, rh**2 * h / s), conf, classes


@wrong("squares the pixels as well")
def squares_the_pixels(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, (rw * w) ** 2, (rh * h) ** 2), conf, classes


@wrong("yours counts as 0")
def clamps_the_root(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, rw.clamp(min=0) ** 2 * w, rh.clamp(min=0) ** 2 * h), conf, classes


@wrong("the exponential comes with YOLOv3")
def exponential(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, rw.exp() * w, rh.exp() * h), conf, classes


@wrong("image_size is height, width")
def width_first(grid, num_classes, image_size):
    w, h = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, rw**2 * w, rh**2 * h), conf, classes


@wrong("yours takes one of the two for both")
def a_square_image(grid, num_classes, image_size):
    side = image_size[0]
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * side / s, (y + at[:, None, None]) * side / s
    return corners(x, y, rw**2 * side, rh**2 * side), conf, classes


@wrong("yours are shares of the image")
def forgets_the_pixels(grid, num_classes, image_size):
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    return corners((x + at[:, None]) / s, (y + at[:, None, None]) / s, rw**2, rh**2), conf, classes


@wrong("they are clipped later")
def clips(grid, num_classes, image_size):
    h, w = image_size
    boxes, conf, classes = with_meshgrid(grid, num_classes, image_size)
    x1, y1, x2, y2 = boxes.unbind(-1)
    boxes = torch.stack([x1.clamp(0, w), y1.clamp(0, h), x2.clamp(0, w), y2.clamp(0, h)], dim=-1)
    return boxes, conf, classes


@wrong("yours goes a whole one")
def no_half(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    bw, bh = rw**2 * w, rh**2 * h
    return torch.stack([x - bw, y - bh, x + bw, y + bh], dim=-1), conf, classes


@wrong("x and y are the centre of the box, not its corner")
def from_the_corner(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return torch.stack([x, y, x + rw**2 * w, y + rh**2 * h], dim=-1), conf, classes


@wrong("these are centre and size")
def centre_and_size(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    x, y, rw, rh = numbers.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return torch.stack([x, y, rw**2 * w, rh**2 * h], dim=-1), conf, classes


@wrong("its confidence in front")
def five_numbers_a_box(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    boxes = grid[..., num_classes:].unflatten(-1, (-1, 5))
    conf, x, y, rw, rh = boxes.unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, rw**2 * w, rh**2 * h), conf, grid[..., :num_classes]


@wrong("its confidence behind")
def five_numbers_as_in_the_paper(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    x, y, rw, rh, conf = grid[..., num_classes:].unflatten(-1, (-1, 5)).unbind(-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, rw**2 * w, rh**2 * h), conf, grid[..., :num_classes]


@wrong("yours is (4, n)")
def four_times_n(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    n = (grid.shape[-1] - num_classes) // 5
    classes, conf, numbers = grid.split([num_classes, n, 4 * n], dim=-1)
    x, y, rw, rh = numbers.split(n, dim=-1)
    at = torch.arange(s)
    x, y = (x + at[:, None]) * w / s, (y + at[:, None, None]) * h / s
    return corners(x, y, rw**2 * w, rh**2 * h), conf, classes


@wrong("without a sigmoid or a softmax")
def probabilities(grid, num_classes, image_size):
    boxes, conf, classes = with_meshgrid(grid, num_classes, image_size)
    return boxes, conf.sigmoid(), classes.softmax(-1)


@wrong("yours is the first alone")
def first_box_only(grid, num_classes, image_size):
    boxes, conf, classes = with_meshgrid(grid, num_classes, image_size)
    return boxes[..., :1, :], conf[..., :1], classes


@wrong("the order of the three is boxes, confidences, class scores")
def as_in_the_grid(grid, num_classes, image_size):
    boxes, conf, classes = with_meshgrid(grid, num_classes, image_size)
    return classes, conf, boxes


@wrong("yours has the cells in one dimension")
def a_list_of_boxes(grid, num_classes, image_size):
    boxes, conf, classes = with_meshgrid(grid, num_classes, image_size)
    return boxes.flatten(1, 3), conf.flatten(1, 2), classes.flatten(1, 2)


@wrong("has no gradient with respect to the first argument")
def detached(grid, num_classes, image_size):
    boxes, conf, classes = with_meshgrid(grid.detach(), num_classes, image_size)
    return boxes, grid[..., num_classes : num_classes + conf.shape[-1]], classes


@wrong("there is a loop over rows and columns")
def row_by_row(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    boxes = []
    for row in range(s):
        x, y, rw, rh = numbers[:, row].unbind(-1)
        x = (x + torch.arange(s)[:, None]) * w / s
        y = (y + row) * h / s
        boxes.append(corners(x, y, rw**2 * w, rh**2 * h))
    return torch.stack(boxes, dim=1), conf, classes


@wrong("there is a loop over rows and columns")
def cell_by_cell(grid, num_classes, image_size):
    h, w = image_size
    s = grid.shape[1]
    classes, conf, numbers = parts(grid, num_classes)
    boxes = torch.zeros_like(numbers)
    for i in range(s):
        for j in range(s):
            for k in range(numbers.shape[3]):
                x, y, rw, rh = numbers[:, i, j, k].unbind(-1)
                x, y = (j + x) * w / s, (i + y) * h / s
                boxes[:, i, j, k] = corners(x, y, rw**2 * w, rh**2 * h)
    return boxes, conf, classes
