"""Exercise 4.2: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong


def strictly_inside(points, boxes):
    """(P, N); where the mistake is elsewhere."""
    x, y = points[:, :1], points[:, 1:]
    return (x > boxes[:, 0]) & (x < boxes[:, 2]) & (y > boxes[:, 1]) & (y < boxes[:, 3])


def from_the_centre(points, boxes):
    """|dx| and |dy|, (P, N, 2)."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return (points[:, None] - centres[None]).abs()


@right
def two_conditions(points, boxes, strides, radius=1.5):
    inside = strictly_inside(points, boxes)
    if radius is None:
        return inside
    near = from_the_centre(points, boxes).amax(dim=-1) < radius * strides[:, None]
    return inside & near


@right
def by_four_distances(points, boxes, strides, radius=1.5):
    """The square is a box, too; the cut of both is one."""
    low, high = boxes[None, :, :2], boxes[None, :, 2:]
    if radius is not None:
        centre = (low + high) / 2
        reach = (radius * strides)[:, None, None]
        low, high = torch.maximum(low, centre - reach), torch.minimum(high, centre + reach)
    p = points[:, None]
    return torch.cat((p - low, high - p), dim=-1).amin(dim=-1) > 0


@right
def an_infinite_radius(points, boxes, strides, radius=1.5):
    x, y = points.unsqueeze(1).unbind(-1)
    x1, y1, x2, y2 = boxes.unsqueeze(0).unbind(-1)
    inside = torch.stack((x - x1, y - y1, x2 - x, y2 - y)).min(dim=0).values > 0
    reach = strides.unsqueeze(1) * (float("inf") if radius is None else radius)
    dx, dy = x - (x1 + x2) / 2, y - (y1 + y2) / 2
    return inside & (dx.abs() < reach) & (dy.abs() < reach)


@right
def object_by_object_in_numpy(points, boxes, strides, radius=1.5):
    p, b, s = (t.double().numpy() for t in (points, boxes, strides))
    ok = np.logical_and(p[:, None] > b[:, :2], p[:, None] < b[:, 2:]).all(axis=2)
    if radius is not None:
        away = np.abs(p[:, None] - (b[:, :2] + b[:, 2:]) / 2).max(axis=2)
        ok &= away < radius * s[:, None]
    return torch.from_numpy(ok)


@slightly_off
def a_radius_a_thousandth_larger(points, boxes, strides, radius=1.5):
    return two_conditions(points, boxes, strides, None if radius is None else 1.001 * radius)


@wrong("not in the whole box")
def the_whole_box(points, boxes, strides, radius=1.5):
    return strictly_inside(points, boxes)


@wrong("reaches beyond the box")
def the_square_alone(points, boxes, strides, radius=1.5):
    if radius is None:
        return strictly_inside(points, boxes)
    return from_the_centre(points, boxes).amax(dim=-1) < radius * strides[:, None]


@wrong("a location on a side of the box is not inside")
def sides_belong(points, boxes, strides, radius=1.5):
    x, y = points[:, :1], points[:, 1:]
    inside = (x >= boxes[:, 0]) & (x <= boxes[:, 2]) & (y >= boxes[:, 1]) & (y <= boxes[:, 3])
    if radius is None:
        return inside
    return inside & (from_the_centre(points, boxes).amax(dim=-1) < radius * strides[:, None])


@wrong("exactly radius strides away")
def at_most_the_radius(points, boxes, strides, radius=1.5):
    inside = strictly_inside(points, boxes)
    if radius is None:
        return inside
    return inside & (from_the_centre(points, boxes).amax(dim=-1) <= radius * strides[:, None])


@wrong("a circle")
def a_circle(points, boxes, strides, radius=1.5):
    inside = strictly_inside(points, boxes)
    if radius is None:
        return inside
    return inside & (from_the_centre(points, boxes).norm(dim=-1) < radius * strides[:, None])


@wrong("the sum of both")
def a_rhombus(points, boxes, strides, radius=1.5):
    inside = strictly_inside(points, boxes)
    if radius is None:
        return inside
    return inside & (from_the_centre(points, boxes).sum(dim=-1) < radius * strides[:, None])


@wrong("in x alone")
def x_alone(points, boxes, strides, radius=1.5):
    inside = strictly_inside(points, boxes)
    if radius is None:
        return inside
    return inside & (from_the_centre(points, boxes)[..., 0] < radius * strides[:, None])


@wrong("in strides; yours takes pixels")
def radius_in_pixels(points, boxes, strides, radius=1.5):
    inside = strictly_inside(points, boxes)
    if radius is None:
        return inside
    return inside & (from_the_centre(points, boxes).amax(dim=-1) < radius)


@wrong("the first location's for all")
def one_stride(points, boxes, strides, radius=1.5):
    inside = strictly_inside(points, boxes)
    if radius is None:
        return inside
    return inside & (from_the_centre(points, boxes).amax(dim=-1) < radius * strides[0])


@wrong("half of that")
def the_square_has_this_side(points, boxes, strides, radius=1.5):
    inside = strictly_inside(points, boxes)
    if radius is None:
        return inside
    return inside & (from_the_centre(points, boxes).amax(dim=-1) < radius * strides[:, None] / 2)


@wrong("always 1.5")
def fixed_radius(points, boxes, strides, radius=1.5):
    inside = strictly_inside(points, boxes)
    return inside & (from_the_centre(points, boxes).amax(dim=-1) < 1.5 * strides[:, None])


@wrong("None means the whole box")
def none_is_no_number(points, boxes, strides, radius=1.5):
    inside = strictly_inside(points, boxes)
    return inside & (from_the_centre(points, boxes).amax(dim=-1) < radius * strides[:, None])


@wrong("from the upper left corner")
def from_the_corner(points, boxes, strides, radius=1.5):
    inside = strictly_inside(points, boxes)
    if radius is None:
        return inside
    away = (points[:, None] - boxes[None, :, :2]).abs().amax(dim=-1)
    return inside & (away < radius * strides[:, None])


@wrong("a row for each location")
def transposed(points, boxes, strides, radius=1.5):
    return two_conditions(points, boxes, strides, radius).T


@wrong("which of the objects")
def any_object(points, boxes, strides, radius=1.5):
    return two_conditions(points, boxes, strides, radius).any(dim=1)


@wrong("expected bool")
def zeros_and_ones(points, boxes, strides, radius=1.5):
    return two_conditions(points, boxes, strides, radius).float()


@wrong("there is a loop over")
def for_each_location(points, boxes, strides, radius=1.5):
    rows = [torch.zeros(0, len(boxes), dtype=torch.bool)]
    for i in range(len(points)):
        rows.append(two_conditions(points[i : i + 1], boxes, strides[i : i + 1], radius))
    return torch.cat(rows)
