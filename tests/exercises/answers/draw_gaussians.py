"""Exercise 4.7: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong


def grid(height, width):
    """Rows and columns of all cells."""
    return torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")


def drawn(centres, radii, labels, num_classes, height, width, bump, join=torch.maximum):
    """Object by object, with a bump of (dx, dy, radius); where the mistake is in the bump."""
    heatmap = torch.zeros(num_classes, height, width)
    y, x = grid(height, width)
    for (column, row), radius, label in zip(centres.tolist(), radii.tolist(), labels.tolist()):
        heatmap[label] = join(heatmap[label], bump(x - column, y - row, radius))
    return heatmap


def cut_off(dx, dy, radius):
    r = int(radius)
    sigma = (2 * r + 1) / 6
    values = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))
    return values * (dx.abs() <= r) * (dy.abs() <= r)


@right
def object_by_object(centres, radii, labels, num_classes, height, width):
    return drawn(centres, radii, labels, num_classes, height, width, cut_off)


@right
def in_windows(centres, radii, labels, num_classes, height, width):
    """The way of the official code: a small Gaussian is laid into the map."""
    heatmap = torch.zeros(num_classes, height, width)
    for i in range(len(labels)):
        r = int(radii[i].floor())
        c, row = centres[i].tolist()
        steps = torch.arange(-r, r + 1)
        line = torch.exp(-(steps**2) / (2 * ((2 * r + 1) / 6) ** 2))
        patch = line[:, None] * line[None]
        left, right_ = min(c, r), min(width - c, r + 1)
        top, bottom = min(row, r), min(height - row, r + 1)
        there = heatmap[labels[i], row - top : row + bottom, c - left : c + right_]
        torch.maximum(there, patch[r - top : r + bottom, r - left : r + right_], out=there)
    return heatmap


@right
def all_at_once(centres, radii, labels, num_classes, height, width):
    if len(labels) == 0:
        return torch.zeros(num_classes, height, width)
    y, x = grid(height, width)
    dx, dy = x - centres[:, 0, None, None], y - centres[:, 1, None, None]  # (N, h, w)
    r = torch.floor(radii)[:, None, None]
    values = torch.exp(-18 * (dx**2 + dy**2) / (2 * r + 1) ** 2)
    values = torch.where((dx.abs() > r) | (dy.abs() > r), 0, values)
    of_class = labels == torch.arange(num_classes)[:, None]  # (K, N)
    return (values[None] * of_class[:, :, None, None]).amax(dim=1)


@right
def class_by_class(centres, radii, labels, num_classes, height, width):
    maps = []
    for k in range(num_classes):
        mine = labels == k
        if not mine.any():
            maps.append(torch.zeros(height, width))
            continue
        r = radii[mine].long().unsqueeze(1)
        lines = []
        for axis, size in ((1, height), (0, width)):
            d = torch.arange(size) - centres[mine, axis].unsqueeze(1)
            sigma = (2 * r + 1).float() / 6
            lines.append(torch.exp(-d.square() / (2 * sigma.square())) * (d.abs() <= r))
        maps.append(torch.einsum("nh,nw->nhw", *lines).max(dim=0).values)
    return torch.stack(maps)


@right
def with_numpy(centres, radii, labels, num_classes, height, width):
    heatmap = np.zeros((num_classes, height, width), dtype=np.float32)
    for (c, r0), radius, label in zip(centres.numpy(), radii.numpy(), labels.numpy()):
        r = int(np.floor(radius))
        y, x = np.ogrid[-r0 : height - r0, -c : width - c]
        bump = np.exp(-(x * x + y * y) / (2 * ((2 * r + 1) / 6.0) ** 2 + 1e-9))
        bump[(np.abs(x) > r) | (np.abs(y) > r)] = 0
        heatmap[label] = np.maximum(heatmap[label], bump)
    return torch.from_numpy(heatmap)


@slightly_off
def sigma_a_thousandth_larger(centres, radii, labels, num_classes, height, width):
    def bump(dx, dy, radius):
        r = int(radius)
        sigma = 1.001 * (2 * r + 1) / 6
        values = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))
        return values * (dx.abs() <= r) * (dy.abs() <= r)

    return drawn(centres, radii, labels, num_classes, height, width, bump)


@wrong("the larger value counts; yours adds")
def added_up(centres, radii, labels, num_classes, height, width):
    return drawn(centres, radii, labels, num_classes, height, width, cut_off, torch.add)


@wrong("is written over the others")
def the_last_one_over_all(centres, radii, labels, num_classes, height, width):
    return drawn(
        *(centres, radii, labels, num_classes, height, width, cut_off),
        lambda old, new: torch.where(new > 0, new, old),
    )


@wrong("yours goes on")
def without_an_end(centres, radii, labels, num_classes, height, width):
    def bump(dx, dy, radius):
        sigma = (2 * int(radius) + 1) / 6
        return torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))

    return drawn(centres, radii, labels, num_classes, height, width, bump)


@wrong("ends in a circle")
def a_round_end(centres, radii, labels, num_classes, height, width):
    def bump(dx, dy, radius):
        r = int(radius)
        sigma = (2 * r + 1) / 6
        values = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))
        return values * (dx**2 + dy**2 <= r**2)

    return drawn(centres, radii, labels, num_classes, height, width, bump)


@wrong("rounded down")
def the_radius_as_it_is(centres, radii, labels, num_classes, height, width):
    def bump(dx, dy, radius):
        sigma = (2 * radius + 1) / 6
        values = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))
        return values * (dx.abs() <= radius) * (dy.abs() <= radius)

    return drawn(centres, radii, labels, num_classes, height, width, bump)


@wrong("to the nearest")
def rounded_to_the_nearest(centres, radii, labels, num_classes, height, width):
    return object_by_object(centres, radii.round(), labels, num_classes, height, width)


@wrong("without the 1")
def sigma_is_a_third(centres, radii, labels, num_classes, height, width):
    def bump(dx, dy, radius):
        r = int(radius)
        sigma = max(r / 3, 1e-6)
        values = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))
        return values * (dx.abs() <= r) * (dy.abs() <= r)

    return drawn(centres, radii, labels, num_classes, height, width, bump)


@wrong("yours is 2R + 1 itself")
def sigma_is_the_width(centres, radii, labels, num_classes, height, width):
    def bump(dx, dy, radius):
        r = int(radius)
        values = torch.exp(-(dx**2 + dy**2) / (2 * (2 * r + 1) ** 2))
        return values * (dx.abs() <= r) * (dy.abs() <= r)

    return drawn(centres, radii, labels, num_classes, height, width, bump)


@wrong("the 2 below the fraction")
def no_two(centres, radii, labels, num_classes, height, width):
    def bump(dx, dy, radius):
        r = int(radius)
        values = torch.exp(-(dx**2 + dy**2) / ((2 * r + 1) / 6) ** 2)
        return values * (dx.abs() <= r) * (dy.abs() <= r)

    return drawn(centres, radii, labels, num_classes, height, width, bump)


@wrong("sigma enters squared")
def sigma_not_squared(centres, radii, labels, num_classes, height, width):
    def bump(dx, dy, radius):
        r = int(radius)
        values = torch.exp(-(dx**2 + dy**2) / (2 * ((2 * r + 1) / 6)))
        return values * (dx.abs() <= r) * (dy.abs() <= r)

    return drawn(centres, radii, labels, num_classes, height, width, bump)


@wrong("integrates to 1")
def a_density(centres, radii, labels, num_classes, height, width):
    def bump(dx, dy, radius):
        r = int(radius)
        sigma = (2 * r + 1) / 6
        values = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2)) / (2 * torch.pi * sigma**2)
        return values * (dx.abs() <= r) * (dy.abs() <= r)

    return drawn(centres, radii, labels, num_classes, height, width, bump)


@wrong("column comes first")
def row_and_column_exchanged(centres, radii, labels, num_classes, height, width):
    return object_by_object(centres.flip(1), radii, labels, num_classes, height, width)


@wrong("all drawn into one map")
def one_map_for_all(centres, radii, labels, num_classes, height, width):
    return object_by_object(centres, radii, 0 * labels, num_classes, height, width)


@wrong("one pixel short")
def ends_before_the_radius(centres, radii, labels, num_classes, height, width):
    def bump(dx, dy, radius):
        r = int(radius)
        sigma = (2 * r + 1) / 6
        values = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))
        return values * ((dx.abs() < r) & (dy.abs() < r) | (dx == 0) & (dy == 0))

    return drawn(centres, radii, labels, num_classes, height, width, bump)


@wrong("only the centres")
def points_alone(centres, radii, labels, num_classes, height, width):
    heatmap = torch.zeros(num_classes, height, width)
    heatmap[labels, centres[:, 1], centres[:, 0]] = 1
    return heatmap


@wrong("without objects every map is there")
def an_empty_stack(centres, radii, labels, num_classes, height, width):
    y, x = grid(height, width)
    bumps = [cut_off(x - c, y - r, radius) for (c, r), radius in zip(centres.tolist(), radii)]
    if not bumps:
        return None
    heatmap = torch.zeros(num_classes, height, width)
    for bump, label in zip(bumps, labels):
        heatmap[label] = torch.maximum(heatmap[label], bump)
    return heatmap


@wrong("(num_classes, height, width)")
def width_before_height(centres, radii, labels, num_classes, height, width):
    return object_by_object(centres, radii, labels, num_classes, height, width).mT


@wrong("there is a loop over cells")
def cell_by_cell(centres, radii, labels, num_classes, height, width):
    heatmap = [[[0.0] * width for _ in range(height)] for _ in range(num_classes)]
    for (c, row), radius, label in zip(centres.tolist(), radii.tolist(), labels.tolist()):
        r = int(radius)
        sigma = (2 * r + 1) / 6
        for i in range(height):
            for j in range(width):
                dx, dy = j - c, i - row
                if abs(dx) <= r and abs(dy) <= r:
                    value = float(np.exp(-(dx * dx + dy * dy) / (2 * sigma**2)))
                    heatmap[label][i][j] = max(heatmap[label][i][j], value)
    return torch.tensor(heatmap).view(num_classes, height, width)
