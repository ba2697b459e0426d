"""Exercise 2.1: answers."""

import itertools
import math

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def with_loops_over_shapes(height, width, stride, sizes, aspect_ratios):
    xs = (torch.arange(width) + 0.5) * stride
    ys = (torch.arange(height) + 0.5) * stride
    cy, cx = torch.meshgrid(ys, xs, indexing="ij")
    anchors = []
    for r in aspect_ratios:
        for s in sizes:
            w, h = s / math.sqrt(r), s * math.sqrt(r)
            anchors.append(torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=-1))
    return torch.stack(anchors, dim=2).reshape(-1, 4)


@right
def base_anchors_plus_shifts(height, width, stride, sizes, aspect_ratios):
    base = []
    for ratio, size in itertools.product(aspect_ratios, sizes):
        h = size * ratio**0.5
        w = size * size / h
        base.append([-w / 2, -h / 2, w / 2, h / 2])
    base = torch.tensor(base)
    cells = torch.arange(height * width)
    x = (cells % width) * stride + stride / 2
    y = torch.div(cells, width, rounding_mode="floor") * stride + stride / 2
    shifts = torch.stack([x, y, x, y], dim=1)
    return (shifts[:, None] + base[None]).view(-1, 4)


@right
def with_numpy(height, width, stride, sizes, aspect_ratios):
    root = np.sqrt(np.array(aspect_ratios, dtype=float)).repeat(len(sizes))
    size = np.tile(np.array(sizes, dtype=float), len(aspect_ratios))
    w, h = size / root, size * root
    rows, columns = np.mgrid[:height, :width]
    x, y = (columns.reshape(-1, 1) + 0.5) * stride, (rows.reshape(-1, 1) + 0.5) * stride
    boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=2)
    return torch.from_numpy(boxes.reshape(-1, 4)).float()


@right
def with_cartesian_products(height, width, stride, sizes, aspect_ratios):
    rs = torch.cartesian_prod(torch.tensor(aspect_ratios).double(), torch.tensor(sizes).double())
    area, ratio = rs[:, 1] ** 2, rs[:, 0]
    w = (area / ratio).sqrt()
    h = w * ratio
    yx = torch.cartesian_prod(torch.arange(height), torch.arange(width)).view(-1, 2)
    yx = (2 * yx + 1) * stride / 2
    x, y = yx[:, 1:], yx[:, :1]
    boxes = torch.stack([x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h], dim=-1)
    return boxes.flatten(0, 1).float()


@slightly_off
def off_by_a_thousandth(height, width, stride, sizes, aspect_ratios):
    larger = [1.001 * s for s in sizes]
    return with_loops_over_shapes(height, width, stride, larger, aspect_ratios)


@slightly_off
def ratios_off_by_a_thousandth(height, width, stride, sizes, aspect_ratios):
    # The root makes a half thousandth of it for each side.
    taller = [1.002 * r for r in aspect_ratios]
    return with_loops_over_shapes(height, width, stride, sizes, taller)


@wrong("ratio 2 is a tall")
def width_over_height(height, width, stride, sizes, aspect_ratios):
    xs = (torch.arange(width) + 0.5) * stride
    ys = (torch.arange(height) + 0.5) * stride
    cy, cx = torch.meshgrid(ys, xs, indexing="ij")
    anchors = []
    for r in aspect_ratios:
        for s in sizes:
            w, h = s * math.sqrt(r), s / math.sqrt(r)
            anchors.append(torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=-1))
    return torch.stack(anchors, dim=2).reshape(-1, 4)


@wrong("ratio 2 is a tall")
def corners_with_h_and_w_swapped(height, width, stride, sizes, aspect_ratios):
    base = []
    for ratio, size in itertools.product(aspect_ratios, sizes):
        w, h = size / ratio**0.5, size * ratio**0.5
        base.append([-h / 2, -w / 2, h / 2, w / 2])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride + stride / 2
    return (shifts + torch.tensor(base)).view(-1, 4)


@wrong("the root is missing: with")
def without_the_root(height, width, stride, sizes, aspect_ratios):
    base = []
    for ratio, size in itertools.product(aspect_ratios, sizes):
        w, h = size / ratio, size * ratio
        base.append([-w / 2, -h / 2, w / 2, h / 2])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride + stride / 2
    return (shifts + torch.tensor(base)).view(-1, 4)


@wrong("the width must change as well")
def keeps_the_width(height, width, stride, sizes, aspect_ratios):
    base = []
    for ratio, size in itertools.product(aspect_ratios, sizes):
        w, h = size, size * ratio
        base.append([-w / 2, -h / 2, w / 2, h / 2])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride + stride / 2
    return (shifts + torch.tensor(base)).view(-1, 4)


@wrong("yours stand at its upper left corner")
def at_the_corners_of_the_cells(height, width, stride, sizes, aspect_ratios):
    r = torch.tensor(aspect_ratios).repeat_interleave(len(sizes)).sqrt()
    s = torch.tensor(sizes).repeat(len(aspect_ratios))
    half = torch.stack([s / r, s * r], dim=1) / 2
    base = torch.cat([-half, half], dim=1)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride
    return (shifts + base).view(-1, 4)


@wrong("not half a pixel")
def half_a_pixel(height, width, stride, sizes, aspect_ratios):
    r = torch.tensor(aspect_ratios).repeat_interleave(len(sizes)).sqrt()
    s = torch.tensor(sizes).repeat(len(aspect_ratios))
    half = torch.stack([s / r, s * r], dim=1) / 2
    base = torch.cat([-half, half], dim=1)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride + 0.5
    return (shifts + base).view(-1, 4)


@wrong("the column j gives x")
def row_gives_x(height, width, stride, sizes, aspect_ratios):
    r = torch.tensor(aspect_ratios).repeat_interleave(len(sizes)).sqrt()
    s = torch.tensor(sizes).repeat(len(aspect_ratios))
    half = torch.stack([s / r, s * r], dim=1) / 2
    base = torch.cat([-half, half], dim=1)
    x, y = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride + stride / 2
    return (shifts + base).view(-1, 4)


@wrong("the column changes faster")
def column_by_column(height, width, stride, sizes, aspect_ratios):
    r = torch.tensor(aspect_ratios).repeat_interleave(len(sizes)).sqrt()
    s = torch.tensor(sizes).repeat(len(aspect_ratios))
    half = torch.stack([s / r, s * r], dim=1) / 2
    base = torch.cat([-half, half], dim=1)
    x, y = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride + stride / 2
    return (shifts + base).view(-1, 4)


@wrong("within a ratio size by size")
def size_by_size(height, width, stride, sizes, aspect_ratios):
    base = []
    for size in sizes:
        for ratio in aspect_ratios:
            w, h = size / ratio**0.5, size * ratio**0.5
            base.append([-w / 2, -h / 2, w / 2, h / 2])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride + stride / 2
    return (shifts + torch.tensor(base)).view(-1, 4)


@wrong("the order is cell by cell")
def shape_by_shape(height, width, stride, sizes, aspect_ratios):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = (x.flatten() + 0.5) * stride, (y.flatten() + 0.5) * stride
    anchors = []
    for r in aspect_ratios:
        for s in sizes:
            w, h = s / r**0.5, s * r**0.5
            anchors.append(torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1))
    return torch.cat(anchors)


@wrong("the corners are not rounded")
def rounds(height, width, stride, sizes, aspect_ratios):
    base = []
    for ratio, size in itertools.product(aspect_ratios, sizes):
        w, h = round(size / ratio**0.5), round(size * ratio**0.5)
        base.append([-w / 2, -h / 2, w / 2, h / 2])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride + stride / 2
    return (shifts + torch.tensor(base)).view(-1, 4)


@wrong("do not multiply them by the stride")
def sizes_in_cells(height, width, stride, sizes, aspect_ratios):
    r = torch.tensor(aspect_ratios).repeat_interleave(len(sizes)).sqrt()
    s = torch.tensor(sizes).repeat(len(aspect_ratios))
    half = torch.stack([s / r, s * r], dim=1) / 2
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = torch.stack([x, y], dim=-1).view(-1, 1, 2)
    return torch.cat([centres - half, centres + half], dim=-1).view(-1, 4) * stride


@wrong("the stride is missing")
def forgets_the_stride(height, width, stride, sizes, aspect_ratios):
    r = torch.tensor(aspect_ratios).repeat_interleave(len(sizes)).sqrt()
    s = torch.tensor(sizes).repeat(len(aspect_ratios))
    half = torch.stack([s / r, s * r], dim=1) / 2
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = torch.stack([x, y], dim=-1).view(-1, 1, 2)
    return torch.cat([centres - half, centres + half], dim=-1).view(-1, 4)


@wrong("yours goes a whole one")
def forgets_the_half(height, width, stride, sizes, aspect_ratios):
    r = torch.tensor(aspect_ratios).repeat_interleave(len(sizes)).sqrt()
    s = torch.tensor(sizes).repeat(len(aspect_ratios))
    wh = torch.stack([s / r, s * r], dim=1)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = torch.stack([x, y], dim=-1).view(-1, 1, 2) * stride
    return torch.cat([centres - wh, centres + wh], dim=-1).view(-1, 4)


@wrong("return corners x1, y1, x2, y2")
def returns_cxcywh(height, width, stride, sizes, aspect_ratios):
    r = torch.tensor(aspect_ratios).repeat_interleave(len(sizes)).sqrt()
    s = torch.tensor(sizes).repeat(len(aspect_ratios))
    w, h = s / r, s * r
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, y = x.reshape(-1, 1) * stride, y.reshape(-1, 1) * stride
    return torch.stack(torch.broadcast_tensors(x, y, w, h), dim=-1).reshape(-1, 4)


@wrong("each size goes with each ratio")
def zips(height, width, stride, sizes, aspect_ratios):
    base = []
    for ratio, size in zip(aspect_ratios, sizes):
        w, h = size / ratio**0.5, size * ratio**0.5
        base.append([-w / 2, -h / 2, w / 2, h / 2])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride + stride / 2
    return (shifts + torch.tensor(base)).view(-1, 4)


@wrong("flatten the dimensions before the last")
def keeps_the_grid(height, width, stride, sizes, aspect_ratios):
    r = torch.tensor(aspect_ratios).repeat_interleave(len(sizes)).sqrt()
    s = torch.tensor(sizes).repeat(len(aspect_ratios))
    half = torch.stack([s / r, s * r], dim=1) / 2
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = torch.stack([x, y], dim=-1)[:, :, None] * stride
    return torch.cat([centres - half, centres + half], dim=-1)


@wrong("those that cross the border stay")
def clips(height, width, stride, sizes, aspect_ratios):
    anchors = with_loops_over_shapes(height, width, stride, sizes, aspect_ratios)
    anchors[:, 0::2] = anchors[:, 0::2].clamp(0, width * stride)
    anchors[:, 1::2] = anchors[:, 1::2].clamp(0, height * stride)
    return anchors


@wrong("there is a loop over rows and columns")
def four_loops(height, width, stride, sizes, aspect_ratios):
    anchors = []
    for i in range(height):
        for j in range(width):
            x, y = (j + 0.5) * stride, (i + 0.5) * stride
            for r in aspect_ratios:
                for s in sizes:
                    w, h = s / r**0.5, s * r**0.5
                    anchors.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return torch.tensor(anchors)


# ---- written later, by people who had seen the stub and nothing of the checks ----


@right
def with_broadcasting_in_five_dimensions(height, width, stride, sizes, aspect_ratios):
    y = (torch.arange(height, dtype=torch.float32) + 0.5).view(-1, 1, 1, 1) * stride
    x = (torch.arange(width, dtype=torch.float32) + 0.5).view(1, -1, 1, 1) * stride
    r = torch.tensor(aspect_ratios, dtype=torch.float32).view(1, 1, -1, 1)
    s = torch.tensor(sizes, dtype=torch.float32).view(1, 1, 1, -1)
    h = s * torch.sqrt(r)
    w = h / r
    corners = torch.broadcast_tensors(x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    return torch.stack(corners, dim=-1).reshape(-1, 4)


@right
def into_an_empty_tensor(height, width, stride, sizes, aspect_ratios):
    anchors = torch.empty(height, width, len(aspect_ratios), len(sizes), 4)
    x = torch.arange(width) * stride + stride / 2
    y = torch.arange(height) * stride + stride / 2
    for k, ratio in enumerate(aspect_ratios):
        for m, size in enumerate(sizes):
            w = math.sqrt(size * size / ratio)
            h = w * ratio
            anchors[:, :, k, m, 0] = x - w / 2
            anchors[:, :, k, m, 1] = (y - h / 2)[:, None]
            anchors[:, :, k, m, 2] = x + w / 2
            anchors[:, :, k, m, 3] = (y + h / 2)[:, None]
    return anchors.view(-1, 4)


@right
def with_repeats(height, width, stride, sizes, aspect_ratios):
    shapes = [(s / r**0.5, s * r**0.5) for r in aspect_ratios for s in sizes]
    wh = torch.tensor(shapes, dtype=torch.float32).repeat(height * width, 1)
    x = torch.arange(width).repeat(height).repeat_interleave(len(shapes))
    y = torch.arange(height).repeat_interleave(width * len(shapes))
    centres = (torch.stack([x, y], dim=1) + 0.5) * stride
    return torch.hstack([centres - wh / 2, centres + wh / 2])


@wrong("has dtype float64; expected float32")
def numpy_as_it_comes(height, width, stride, sizes, aspect_ratios):
    root = np.sqrt(np.array(aspect_ratios))[:, None]
    w, h = (np.array(sizes) / root).ravel(), (np.array(sizes) * root).ravel()
    y, x = np.mgrid[:height, :width].reshape(2, -1, 1)
    x, y = (x + 0.5) * stride, (y + 0.5) * stride
    boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=-1)
    return torch.from_numpy(boxes).view(-1, 4)


@wrong("has dtype int64; expected float32")
def whole_pixels(height, width, stride, sizes, aspect_ratios):
    return with_repeats(height, width, stride, sizes, aspect_ratios).long()


@wrong("stride / 2, not stride // 2")
def half_the_stride_rounded_down(height, width, stride, sizes, aspect_ratios):
    xs = torch.arange(width) * stride + stride // 2
    ys = torch.arange(height) * stride + stride // 2
    cy, cx = torch.meshgrid(ys, xs, indexing="ij")
    anchors = []
    for r in aspect_ratios:
        for s in sizes:
            w, h = s / math.sqrt(r), s * math.sqrt(r)
            anchors.append(torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=-1))
    return torch.stack(anchors, dim=2).reshape(-1, 4)


@wrong("from border to border")
def with_linspace(height, width, stride, sizes, aspect_ratios):
    xs = torch.linspace(0, width * stride, width)
    ys = torch.linspace(0, height * stride, height)
    cy, cx = torch.meshgrid(ys, xs, indexing="ij")
    anchors = []
    for r in aspect_ratios:
        for s in sizes:
            w, h = s / math.sqrt(r), s * math.sqrt(r)
            anchors.append(torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=-1))
    return torch.stack(anchors, dim=2).reshape(-1, 4)


@wrong("both are repeated as a whole")
def repeats_both(height, width, stride, sizes, aspect_ratios):
    shapes = [(s / r**0.5, s * r**0.5) for r in aspect_ratios for s in sizes]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = (torch.stack([x.flatten(), y.flatten()], dim=1) + 0.5) * stride
    wh = torch.tensor(shapes, dtype=torch.float32).repeat(len(centres), 1)
    centres = centres.repeat(len(shapes), 1)
    return torch.cat([centres - wh / 2, centres + wh / 2], dim=1)


@wrong("the root of the ratio is missing in the width")
def one_root_forgotten(height, width, stride, sizes, aspect_ratios):
    base = []
    for ratio, size in itertools.product(aspect_ratios, sizes):
        w, h = size / ratio, size * ratio**0.5
        base.append([-w / 2, -h / 2, w / 2, h / 2])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride + stride / 2
    return (shifts + torch.tensor(base)).view(-1, 4)


@wrong("the root of the ratio is missing in the height")
def height_without_its_root(height, width, stride, sizes, aspect_ratios):
    base = []
    for ratio, size in itertools.product(aspect_ratios, sizes):
        w, h = size / ratio**0.5, size * ratio
        base.append([-w / 2, -h / 2, w / 2, h / 2])
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4) * stride + stride / 2
    return (shifts + torch.tensor(base)).view(-1, 4)


@wrong("there is a loop over rows and columns")
def row_after_row(height, width, stride, sizes, aspect_ratios):
    shapes = [(s / r**0.5, s * r**0.5) for r in aspect_ratios for s in sizes]
    half = torch.tensor(shapes, dtype=torch.float32) / 2
    x = (torch.arange(width) + 0.5) * stride
    rows = []
    for i in range(height):
        centre = torch.stack([x, torch.full((width,), (i + 0.5) * stride)], dim=1)[:, None]
        rows.append(torch.cat([centre - half, centre + half], dim=-1).view(-1, 4))
    return torch.cat(rows)


@wrong("the corners are not rounded")
def half_sides_rounded_down(height, width, stride, sizes, aspect_ratios):
    r = torch.tensor(aspect_ratios).repeat_interleave(len(sizes)).sqrt()
    s = torch.tensor(sizes).repeat(len(aspect_ratios))
    half = torch.stack([s / r, s * r], dim=1) // 2
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = torch.stack([x, y], dim=-1).view(-1, 1, 2) * stride
    return torch.cat([centres - half, centres + half], dim=-1).view(-1, 4)


@wrong("height counts the rows")
def width_first(height, width, stride, sizes, aspect_ratios):
    return with_repeats(width, height, stride, sizes, aspect_ratios)


@wrong("the stride is missing in one direction")
def stride_for_x_only(height, width, stride, sizes, aspect_ratios):
    boxes = []
    for i in range(height):
        for j in range(width):
            for r in aspect_ratios:
                for s in sizes:
                    w, h = s / math.sqrt(r), s * math.sqrt(r)
                    x, y = (j + 0.5) * stride, i + 0.5
                    boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return torch.tensor(boxes)


@wrong("missing in one")
def half_for_x_only(height, width, stride, sizes, aspect_ratios):
    x = (torch.arange(width) + 0.5) * stride
    y = torch.arange(height).float() * stride
    ratios, lengths = torch.tensor(aspect_ratios).float(), torch.tensor(sizes).float()
    w = (lengths[None] / ratios[:, None].sqrt()).flatten()
    h = (lengths[None] * ratios[:, None].sqrt()).flatten()
    y, x = torch.meshgrid(y, x, indexing="ij")
    centres = torch.stack((x, y, x, y), dim=-1)[:, :, None]
    return (centres + torch.stack((-w, -h, w, h), dim=-1) / 2).reshape(-1, 4)


@wrong("yours are counted in pixels")
def steps_through_pixels(height, width, stride, sizes, aspect_ratios):
    x = torch.arange(0, width, stride) + 0.5 * stride
    y = torch.arange(0, height, stride) + 0.5 * stride
    pairs = [(s / math.sqrt(r), s * math.sqrt(r)) for r in aspect_ratios for s in sizes]
    wh = torch.tensor(pairs) / 2
    y, x = torch.meshgrid(y, x, indexing="ij")
    centres = torch.stack((x, y), dim=-1).reshape(-1, 1, 2)
    return torch.cat((centres - wh, centres + wh), dim=-1).reshape(-1, 4)


@wrong("yours uses the first size alone")
def the_first_size_alone(height, width, stride, sizes, aspect_ratios):
    return with_loops_over_shapes(height, width, stride, sizes[:1], aspect_ratios)


@wrong("half a cell before it")
def half_a_cell_before(height, width, stride, sizes, aspect_ratios):
    return with_loops_over_shapes(height, width, stride, sizes, aspect_ratios) - stride
