"""Exercise 2.8: answers."""

import torch
import torch.nn.functional as F

from answers import right, slightly_off, wrong


@right
def four_weighted_cells(features, x, y):
    _, h, w = features.shape
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    value = (
        features[:, y0, x0] * (1 - fx) * (1 - fy)
        + features[:, y0, x1] * fx * (1 - fy)
        + features[:, y1, x0] * (1 - fx) * fy
        + features[:, y1, x1] * fx * fy
    )
    return value * valid


@right
def with_hat_functions(features, x, y):
    height, width = features.shape[-2:]
    inside = ((x >= -1) & (x <= width) & (y >= -1) & (y <= height)).float()
    x = x.clamp(0, width - 1)[:, None]
    y = y.clamp(0, height - 1)[:, None]
    across = (1 - (x - torch.arange(width)).abs()).clamp(min=0)
    down = (1 - (y - torch.arange(height)).abs()).clamp(min=0)
    return torch.einsum("chw,mh,mw,m->cm", features, down, across, inside)


@right
def with_grid_sample(features, x, y):
    height, width = features.shape[1:]
    gx = 2 * x / max(width - 1, 1) - 1
    gy = 2 * y / max(height - 1, 1) - 1
    grid = torch.stack([gx, gy], dim=-1)[None, None]
    read = F.grid_sample(features[None], grid, padding_mode="border", align_corners=True)[0, :, 0]
    outside = (x < -1) | (x > width) | (y < -1) | (y > height)
    return torch.where(outside, torch.zeros_like(read), read)


@right
def on_the_flat_map(features, x, y):
    c, h, w = features.shape
    flat = features.reshape(c, h * w)
    keep = torch.logical_and((x + 1) * (w - x) >= 0, (y + 1) * (h - y) >= 0)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    result = torch.zeros(c, len(x))
    for row in (torch.floor(y), torch.floor(y) + 1):
        for column in (torch.floor(x), torch.floor(x) + 1):
            share = (1 - (x - column).abs()) * (1 - (y - row).abs())
            index = row.clamp(max=h - 1) * w + column.clamp(max=w - 1)
            result = result + flat[:, index.long()] * share
    return result.masked_fill(~keep, 0.0)


@slightly_off
def off_by_a_thousandth(features, x, y):
    return 1.001 * four_weighted_cells(features, x, y)


@slightly_off
def positions_off_by_a_thousandth(features, x, y):
    return four_weighted_cells(features, 1.001 * x, 1.001 * y)


@wrong("x counts columns")
def rows_and_columns_exchanged(features, x, y):
    _, w, h = features.shape
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    top = features[:, x0, y0] * (1 - fx) + features[:, x1, y0] * fx
    bottom = features[:, x0, y1] * (1 - fx) + features[:, x1, y1] * fx
    return (top * (1 - fy) + bottom * fy) * valid


@wrong("this is the nearest cell alone")
def rounds_to_a_cell(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    j, i = x.round().long().clamp(0, w - 1), y.round().long().clamp(0, h - 1)
    return features[:, i, j] * valid


@wrong("the upper left cell alone")
def rounds_down(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    j, i = x.floor().long().clamp(0, w - 1), y.floor().long().clamp(0, h - 1)
    return torch.where(valid, features[:, i, j], 0.0)


@wrong("the left one gets")
def shares_of_the_other_cell(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    top = features[:, y0, x0] * fx + features[:, y0, x1] * (1 - fx)
    bottom = features[:, y1, x0] * fx + features[:, y1, x1] * (1 - fx)
    return (top * fy + bottom * (1 - fy)) * valid


@wrong("the distance in x weights left and right")
def distances_exchanged(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    return valid * (
        features[:, y0, x0] * (1 - fx) * (1 - fy)
        + features[:, y1, x0] * fx * (1 - fy)
        + features[:, y0, x1] * (1 - fx) * fy
        + features[:, y1, x1] * fx * fy
    )


@wrong("yours fades towards zero")
def pads_with_zeros(features, x, y):
    height, width = features.shape[1:]
    padded = F.pad(features, (2, 2, 2, 2))
    x, y = x.clamp(-1, width) + 2, y.clamp(-1, height) + 2
    x0, y0 = x.floor().long(), y.floor().long()
    x1, y1 = (x0 + 1).clamp(max=width + 3), (y0 + 1).clamp(max=height + 3)
    fx, fy = x - x0, y - y0
    top = padded[:, y0, x0] * (1 - fx) + padded[:, y0, x1] * fx
    bottom = padded[:, y1, x0] * (1 - fx) + padded[:, y1, x1] * fx
    return top * (1 - fy) + bottom * fy


@wrong("yours goes on with the border's")
def never_zero(features, x, y):
    h, w = features.shape[1:]
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    top = features[:, y0, x0] * (1 - fx) + features[:, y0, x1] * fx
    bottom = features[:, y1, x0] * (1 - fx) + features[:, y1, x1] * fx
    return top * (1 - fy) + bottom * fy


@wrong("yours is 0 at once")
def zero_right_outside(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)
    return four_weighted_cells(features, x, y) * valid


@wrong("exactly one cell outside still has")
def zero_from_one_cell_on(features, x, y):
    h, w = features.shape[1:]
    valid = (x > -1) & (x < w) & (y > -1) & (y < h)
    return four_weighted_cells(features, x, y) * valid


@wrong("subtracted already")
def values_at_the_middle_of_pixels(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = (x - 0.5).clamp(0, w - 1), (y - 0.5).clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    top = features[:, y0, x0] * (1 - fx) + features[:, y0, x1] * fx
    bottom = features[:, y1, x0] * (1 - fx) + features[:, y1, x1] * fx
    return (top * (1 - fy) + bottom * fy) * valid


@wrong("grid_sample counts from")
def grid_sample_as_it_comes(features, x, y):
    height, width = features.shape[1:]
    gx = 2 * x / max(width - 1, 1) - 1
    gy = 2 * y / max(height - 1, 1) - 1
    grid = torch.stack([gx, gy], dim=-1)[None, None]
    return F.grid_sample(features[None], grid, align_corners=False)[0, :, 0]


@wrong("your shares add up to 0")
def distance_to_the_other_cell(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.floor().long(), y.floor().long()
    x1, y1 = (x0 + 1).clamp(max=w - 1), (y0 + 1).clamp(max=h - 1)
    a = features[:, y0, x0] * (x1 - x) * (y1 - y)
    b = features[:, y1, x0] * (x1 - x) * (y - y0)
    c = features[:, y0, x1] * (x - x0) * (y1 - y)
    d = features[:, y1, x1] * (x - x0) * (y - y0)
    return (a + b + c + d) * valid


@wrong("which continues the slope")
def clamps_the_cells_only(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x0, y0 = x.floor().long().clamp(0, w - 1), y.floor().long().clamp(0, h - 1)
    x1, y1 = (x0 + 1).clamp(max=w - 1), (y0 + 1).clamp(max=h - 1)
    fx, fy = x - x0, y - y0
    top = features[:, y0, x0] * (1 - fx) + features[:, y0, x1] * fx
    bottom = features[:, y1, x0] * (1 - fx) + features[:, y1, x1] * fx
    return (top * (1 - fy) + bottom * fy) * valid


@wrong("raises IndexError")
def no_last_neighbour(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    fx, fy = x - x0, y - y0
    top = features[:, y0, x0] * (1 - fx) + features[:, y0, x0 + 1] * fx
    bottom = features[:, y0 + 1, x0] * (1 - fx) + features[:, y0 + 1, x0 + 1] * fx
    return (top * (1 - fy) + bottom * fy) * valid


@wrong("you read between columns only")
def interpolates_along_rows(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1 = torch.clamp(x0 + 1, max=w - 1)
    return (features[:, y0, x0] * (1 - (x - x0)) + features[:, y0, x1] * (x - x0)) * valid


@wrong("the result is transposed")
def positions_before_channels(features, x, y):
    return four_weighted_cells(features, x, y).transpose(0, 1)


@wrong("width limits x and height limits y")
def limits_exchanged(features, x, y):
    h, w = features.shape[1:]
    outside = (x < -1) | (x > h) | (y < -1) | (y > w)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    top = features[:, y0, x0] * (1 - fx) + features[:, y0, x1] * fx
    bottom = features[:, y1, x0] * (1 - fx) + features[:, y1, x1] * fx
    return (top * (1 - fy) + bottom * fy).masked_fill(outside, 0)


@wrong("all cut it")
def without_gradient(features, x, y):
    return four_weighted_cells(features.detach(), x, y)


@wrong("there is a loop over positions")
def position_by_position(features, x, y):
    if len(x) == 0:
        return features.new_zeros(len(features), 0)
    columns = [four_weighted_cells(features, a[None], b[None])[:, 0] for a, b in zip(x, y)]
    return torch.stack(columns, dim=1)


# ---- written later, by people who had seen the stub and nothing of the checks ----


@right
def channel_by_channel(features, x, y):
    height, width = features.shape[1:]
    inside = (x + 1 >= 0) & (x <= width) & (y + 1 >= 0) & (y <= height)
    cx, cy = x.clip(0, width - 1), y.clip(0, height - 1)
    j, i = cx.long(), cy.long()
    j2, i2 = (j + 1).clip(max=width - 1), (i + 1).clip(max=height - 1)
    b, a = cx - j, cy - i
    rows = []
    for f in features:
        v = (1 - a) * (1 - b) * f[i, j] + (1 - a) * b * f[i, j2]
        v = v + a * (1 - b) * f[i2, j] + a * b * f[i2, j2]
        rows.append(torch.where(inside, v, torch.zeros_like(v)))
    return torch.stack(rows)


@right
def with_lerp(features, x, y):
    height, width = features.shape[1:]
    outside = (x < -1) | (x > width) | (y < -1) | (y > height)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left = x.floor().clamp(max=max(width - 2, 0)).long()
    top = y.floor().clamp(max=max(height - 2, 0)).long()
    right_, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    upper = torch.lerp(features[:, top, left], features[:, top, right_], x - left)
    lower = torch.lerp(features[:, bottom, left], features[:, bottom, right_], x - left)
    read = torch.lerp(upper, lower, y - top)
    return read * (~outside).to(read.dtype)


@right
def with_a_replicated_border(features, x, y):
    height, width = features.shape[1:]
    padded = F.pad(features[None], (1, 1, 1, 1), mode="replicate")[0]
    valid = ~((x < -1) | (x > width) | (y < -1) | (y > height))
    x, y = x.clamp(-1, width) + 1, y.clamp(-1, height) + 1
    x0, y0 = x.floor().long().clamp(max=width), y.floor().long().clamp(max=height)
    fx, fy = x - x0, y - y0
    top = padded[:, y0, x0] * (1 - fx) + padded[:, y0, x0 + 1] * fx
    bottom = padded[:, y0 + 1, x0] * (1 - fx) + padded[:, y0 + 1, x0 + 1] * fx
    return valid * (top * (1 - fy) + bottom * fy)


@wrong("has dtype float64; expected float32")
def positions_in_double(features, x, y):
    return four_weighted_cells(features, x.double(), y.double())


@wrong("subtracted already")
def half_a_cell_twice(features, x, y):
    x, y = x - 0.5, y - 0.5
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    top = features[:, y0, x0] * (1 - fx) + features[:, y0, x1] * fx
    bottom = features[:, y1, x0] * (1 - fx) + features[:, y1, x1] * fx
    return (top * (1 - fy) + bottom * fy) * valid


@wrong("subtracted already")
def half_a_cell_in_grid_sample(features, x, y):
    height, width = features.shape[1:]
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1)[None, None]
    return F.grid_sample(features[None], grid, align_corners=False)[0, :, 0]


@wrong("stands at y = i, x = j, not at")
def values_at_the_other_corner(features, x, y):
    return four_weighted_cells(features, x + 0.5, y + 0.5)


@wrong("look at y as well")
def border_in_x_only(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    top = features[:, y0, x0] * (1 - fx) + features[:, y0, x1] * fx
    bottom = features[:, y1, x0] * (1 - fx) + features[:, y1, x1] * fx
    return (top * (1 - fy) + bottom * fy) * valid


@wrong("yours ends half a cell outside")
def ends_with_the_pixels(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -0.5) & (x <= w - 0.5) & (y >= -0.5) & (y <= h - 0.5)
    return four_weighted_cells(features, x, y) * valid


@wrong("the right and lower border lie at W and H")
def one_cell_too_far(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w + 1) & (y >= -1) & (y <= h + 1)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    top = features[:, y0, x0] * (1 - fx) + features[:, y0, x1] * fx
    bottom = features[:, y1, x0] * (1 - fx) + features[:, y1, x1] * fx
    return (top * (1 - fy) + bottom * fy) * valid


@wrong("yours are all x with all y")
def reads_a_grid(features, x, y):
    h, w = features.shape[1:]
    valid = ((y >= -1) & (y <= h))[:, None] & ((x >= -1) & (x <= w))
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)[:, None]
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    top = features[:, y0, x0] * (1 - fx) + features[:, y0, x1] * fx
    bottom = features[:, y1, x0] * (1 - fx) + features[:, y1, x1] * fx
    return (top * (1 - fy) + bottom * fy) * valid


@wrong("only between the two cells on a diagonal")
def upper_left_and_lower_right(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    share = (x - x0) * (y - y0)
    return (features[:, y0, x0] * (1 - share) + features[:, y1, x1] * share) * valid


@wrong("there is a loop over positions")
def with_items(features, x, y):
    h, w = features.shape[1:]
    columns = [torch.zeros(len(features), 0)]
    for u, v in zip(x.tolist(), y.tolist()):
        if u < -1 or u > w or v < -1 or v > h:
            columns.append(torch.zeros(len(features), 1))
            continue
        u, v = min(max(u, 0), w - 1), min(max(v, 0), h - 1)
        j, i = int(u), int(v)
        j2, i2, b, a = min(j + 1, w - 1), min(i + 1, h - 1), u - j, v - i
        upper = features[:, i, j] * (1 - b) + features[:, i, j2] * b
        lower = features[:, i2, j] * (1 - b) + features[:, i2, j2] * b
        columns.append((upper * (1 - a) + lower * a)[:, None])
    return torch.cat(columns, dim=1)


@wrong("the values are right, their gradient is not")
def two_cells_without_gradient(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.long(), y.long()
    x1, y1 = torch.clamp(x0 + 1, max=w - 1), torch.clamp(y0 + 1, max=h - 1)
    fx, fy = x - x0, y - y0
    top = features[:, y0, x0] * (1 - fx) + features[:, y0, x1] * fx
    lower = features.data
    bottom = lower[:, y1, x0] * (1 - fx) + lower[:, y1, x1] * fx
    return (top * (1 - fy) + bottom * fy) * valid


@wrong("yours is one over its distance")
def inverse_distances(features, x, y):
    _, rows, columns = features.shape
    outside = (x < -1) | (x > columns) | (y < -1) | (y > rows)
    x, y = x.clamp(0, columns - 1), y.clamp(0, rows - 1)
    left, top = x.floor().long(), y.floor().long()
    right, bottom = (left + 1).clamp(max=columns - 1), (top + 1).clamp(max=rows - 1)
    total, weights = 0, 0
    for i, j in ((top, left), (top, right), (bottom, left), (bottom, right)):
        weight = 1 / (((x - j) ** 2 + (y - i) ** 2).sqrt() + 1e-6)
        total, weights = total + features[:, i, j] * weight, weights + weight
    return (total / weights).masked_fill(outside, 0)


@wrong("rounding down and up gives the same cell")
def with_ceil(features, x, y):
    h, w = features.shape[1:]
    outside = (x < -1) | (x > w) | (y < -1) | (y > h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, x1, y0, y1 = x.floor(), x.ceil(), y.floor(), y.ceil()

    def cells(row, column):
        return features[:, row.long(), column.long()]

    value = (
        cells(y0, x0) * (y1 - y) * (x1 - x)
        + cells(y0, x1) * (y1 - y) * (x - x0)
        + cells(y1, x0) * (y - y0) * (x1 - x)
        + cells(y1, x1) * (y - y0) * (x - x0)
    )
    return value.masked_fill(outside, 0)


@wrong("within 0 … H − 1; yours are exchanged")
def clamps_by_the_other_side(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, h - 1), y.clamp(0, w - 1)
    return four_weighted_cells(features, x, y) * valid


@wrong("yours is outside only if both are")
def outside_in_both_directions(features, x, y):
    h, w = features.shape[1:]
    outside = ((x < -1) | (x > w)) & ((y < -1) | (y > h))
    inside = four_weighted_cells(features, x.clamp(0, w - 1), y.clamp(0, h - 1))
    return inside.masked_fill(outside, 0)


@wrong("ends on the right and below as well")
def ends_left_and_above_only(features, x, y):
    h, w = features.shape[1:]
    inside = four_weighted_cells(features, x.clamp(0, w - 1), y.clamp(0, h - 1))
    return inside.masked_fill((x < -1) | (y < -1), 0)


@wrong("ends on the left and above as well")
def ends_right_and_below_only(features, x, y):
    h, w = features.shape[1:]
    inside = four_weighted_cells(features, x.clamp(0, w - 1), y.clamp(0, h - 1))
    return inside.masked_fill((x > w) | (y > h), 0)


@wrong("yours is the mean of reading along the row")
def mean_of_row_and_column(features, x, y):
    h, w = features.shape[1:]
    valid = (x >= -1) & (x <= w) & (y >= -1) & (y <= h)
    x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    row = four_weighted_cells(features, x, y.floor())
    column = four_weighted_cells(features, x.floor(), y)
    return (row + column) / 2 * valid
