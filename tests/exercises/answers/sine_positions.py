"""Exercise 5.1: answers."""

import math

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def with_stack_and_flatten(rows, columns, hidden_dim, temperature=10000.0):
    f = hidden_dim // 2
    w = temperature ** (2 * torch.arange(f // 2) / f)
    y, x = rows[..., None] / w, columns[..., None] / w
    y = torch.stack((y.sin(), y.cos()), dim=4).flatten(3)
    x = torch.stack((x.sin(), x.cos()), dim=4).flatten(3)
    return torch.cat((y, x), dim=3).permute(0, 3, 1, 2)


@right
def channel_by_channel(rows, columns, hidden_dim, temperature=10000.0):
    half = hidden_dim // 2
    channels = []
    for values in (rows, columns):
        for place in range(half):
            angle = values / temperature ** (2 * (place // 2) / half)
            channels.append(torch.sin(angle) if place % 2 == 0 else torch.cos(angle))
    return torch.stack(channels, dim=1)


@right
def filled_in(rows, columns, hidden_dim, temperature=10000.0):
    batch, height, width = rows.shape
    code = torch.empty(batch, hidden_dim, height, width)
    half = hidden_dim // 2
    lengths = torch.exp(torch.arange(0, half, 2) * (math.log(temperature) / half))
    y, x = rows[:, None] / lengths.view(-1, 1, 1), columns[:, None] / lengths.view(-1, 1, 1)
    code[:, 0:half:2], code[:, 1:half:2] = y.sin(), y.cos()
    code[:, half::2], code[:, half + 1 :: 2] = x.sin(), x.cos()
    return code


@right
def a_cosine_is_a_shifted_sine(rows, columns, hidden_dim, temperature=10000.0):
    half = hidden_dim // 2
    k = torch.arange(half)
    dim_t = temperature ** (2 * torch.div(k, 2, rounding_mode="floor") / half)
    shift = (k % 2) * math.pi / 2
    places = torch.stack((rows, columns), dim=-1)[..., None] / dim_t + shift  # (B, H, W, 2, F)
    return places.sin().flatten(-2).movedim(-1, 1)


@right
def with_numpy(rows, columns, hidden_dim, temperature=10000.0):
    half = hidden_dim // 2
    w = temperature ** (np.arange(0, half, 2) / half)
    code = np.zeros((rows.shape[0], hidden_dim, *rows.shape[1:]))
    for i, length in enumerate(w):
        code[:, 2 * i] = np.sin(rows.numpy() / length)
        code[:, 2 * i + 1] = np.cos(rows.numpy() / length)
        code[:, half + 2 * i] = np.sin(columns.numpy() / length)
        code[:, half + 2 * i + 1] = np.cos(columns.numpy() / length)
    return torch.from_numpy(code).float()


@slightly_off
def a_thousandth_more(rows, columns, hidden_dim, temperature=10000.0):
    return 1.001 * with_stack_and_flatten(rows, columns, hidden_dim, temperature)


def encode(values, features, temperature):
    """The code of one axis; where the mistake is elsewhere."""
    angles = values[..., None] / temperature ** (torch.arange(0, features, 2) / features)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


@wrong("yours has twice as many")
def hidden_dim_for_each_axis(rows, columns, hidden_dim, temperature=10000.0):
    y, x = encode(rows, hidden_dim, temperature), encode(columns, hidden_dim, temperature)
    return torch.cat((y, x), dim=-1).permute(0, 3, 1, 2)


@wrong("yours begins with that of the column")
def x_before_y(rows, columns, hidden_dim, temperature=10000.0):
    half = hidden_dim // 2
    y, x = encode(rows, half, temperature), encode(columns, half, temperature)
    return torch.cat((x, y), dim=-1).permute(0, 3, 1, 2)


@wrong("yours are added")
def adds_the_two(rows, columns, hidden_dim, temperature=10000.0):
    y, x = encode(rows, hidden_dim, temperature), encode(columns, hidden_dim, temperature)
    return (y + x).permute(0, 3, 1, 2)


@wrong("all sines first, then all cosines")
def sines_then_cosines(rows, columns, hidden_dim, temperature=10000.0):
    f = hidden_dim // 2
    w = temperature ** (torch.arange(0, f, 2) / f)
    y, x = rows[..., None] / w, columns[..., None] / w
    return torch.cat((y.sin(), y.cos(), x.sin(), x.cos()), dim=-1).permute(0, 3, 1, 2)


@wrong("the cosine at the odd ones; yours are exchanged")
def cosine_first(rows, columns, hidden_dim, temperature=10000.0):
    f = hidden_dim // 2
    w = temperature ** (torch.arange(0, f, 2) / f)
    code = [
        torch.stack((torch.cos(v[..., None] / w), torch.sin(v[..., None] / w)), dim=-1).flatten(-2)
        for v in (rows, columns)
    ]
    return torch.cat(code, dim=-1).permute(0, 3, 1, 2)


@wrong("in yours every place has its own")
def no_floor_division(rows, columns, hidden_dim, temperature=10000.0):
    f = hidden_dim // 2
    dim_t = temperature ** (2 * torch.arange(f) / f)
    y, x = rows[..., None] / dim_t, columns[..., None] / dim_t
    y = torch.stack((y[..., 0::2].sin(), y[..., 1::2].cos()), dim=-1).flatten(-2)
    x = torch.stack((x[..., 0::2].sin(), x[..., 1::2].cos()), dim=-1).flatten(-2)
    return torch.cat((y, x), dim=-1).permute(0, 3, 1, 2)


@wrong("yours is half of that")
def exponent_over_hidden_dim(rows, columns, hidden_dim, temperature=10000.0):
    i = torch.arange(0, hidden_dim // 2, 2)
    w = temperature ** (i / hidden_dim)
    y, x = rows[..., None] / w, columns[..., None] / w
    y = torch.stack((y.sin(), y.cos()), dim=-1).flatten(-2)
    x = torch.stack((x.sin(), x.cos()), dim=-1).flatten(-2)
    return torch.cat((y, x), dim=-1).permute(0, 3, 1, 2)


@wrong("the waves get shorter and shorter")
def multiplies(rows, columns, hidden_dim, temperature=10000.0):
    f = hidden_dim // 2
    w = temperature ** (torch.arange(0, f, 2) / f)
    y, x = rows[..., None] * w, columns[..., None] * w
    y = torch.stack((y.sin(), y.cos()), dim=-1).flatten(-2)
    x = torch.stack((x.sin(), x.cos()), dim=-1).flatten(-2)
    return torch.cat((y, x), dim=-1).permute(0, 3, 1, 2)


@wrong("yours is always 10000")
def forgets_the_temperature(rows, columns, hidden_dim, temperature=10000.0):
    half = hidden_dim // 2
    y, x = encode(rows, half, 10000), encode(columns, half, 10000)
    return torch.cat((y, x), dim=-1).permute(0, 3, 1, 2)


@wrong("by 2π once more")
def two_pi_again(rows, columns, hidden_dim, temperature=10000.0):
    half = hidden_dim // 2
    y = encode(2 * math.pi * rows, half, temperature)
    x = encode(2 * math.pi * columns, half, temperature)
    return torch.cat((y, x), dim=-1).permute(0, 3, 1, 2)


@wrong("divides them by the largest")
def normalises_again(rows, columns, hidden_dim, temperature=10000.0):
    rows = rows / (rows[:, -1:, -1:] + 1e-6) * 2 * math.pi
    columns = columns / (columns[:, -1:, -1:] + 1e-6) * 2 * math.pi
    half = hidden_dim // 2
    y, x = encode(rows, half, temperature), encode(columns, half, temperature)
    return torch.cat((y, x), dim=-1).permute(0, 3, 1, 2)


@wrong("yours counts them itself")
def counts_cells(rows, columns, hidden_dim, temperature=10000.0):
    batch, height, width = rows.shape
    y = torch.arange(height).view(1, -1, 1).expand(batch, height, width).float()
    x = torch.arange(width).view(1, 1, -1).expand(batch, height, width).float()
    half = hidden_dim // 2
    code = torch.cat((encode(y, half, temperature), encode(x, half, temperature)), dim=-1)
    return code.permute(0, 3, 1, 2)


@wrong("yours come last")
def channels_last(rows, columns, hidden_dim, temperature=10000.0):
    half = hidden_dim // 2
    return torch.cat((encode(rows, half, temperature), encode(columns, half, temperature)), dim=-1)


@wrong("a view or reshape cuts")
def reshape_for_permute(rows, columns, hidden_dim, temperature=10000.0):
    half = hidden_dim // 2
    code = torch.cat((encode(rows, half, temperature), encode(columns, half, temperature)), -1)
    return code.reshape(len(rows), hidden_dim, *rows.shape[1:])


@wrong("all sines, and sin(v) alone")
def only_sines(rows, columns, hidden_dim, temperature=10000.0):
    half = hidden_dim // 2
    k = torch.arange(half)
    w = temperature ** (2 * (k // 2) / half)
    y, x = (rows[..., None] / w).sin(), (columns[..., None] / w).sin()
    return torch.cat((y, x), dim=-1).permute(0, 3, 1, 2)


@wrong("there is a loop over cells")
def cell_by_cell(rows, columns, hidden_dim, temperature=10000.0):
    half = hidden_dim // 2
    batch, height, width = rows.shape
    code = torch.zeros(batch, hidden_dim, height, width)
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                code[b, :half, i, j] = encode(rows[b, i, j], half, temperature)
                code[b, half:, i, j] = encode(columns[b, i, j], half, temperature)
    return code
