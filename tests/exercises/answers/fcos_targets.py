"""Exercise 4.3: answers. `fcos_candidates` is at hand there."""

import numpy as np
import torch

from answers import right, slightly_off, wrong
from detlearn.models.fcos import fcos_candidates


def all_distances(points, boxes):
    """Left, top, right, bottom of each location for each object, (P, N, 4)."""
    return torch.cat((points[:, None] - boxes[:, :2], boxes[:, 2:] - points[:, None]), dim=-1)


def areas_of(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def nothing(points):
    return torch.full((len(points),), -1), torch.zeros(len(points), 4)


def allowed(points, strides, size_ranges, boxes, radius):
    """By place and by level, (P, N)."""
    largest = all_distances(points, boxes).amax(dim=-1)
    on_level = (largest >= size_ranges[:, :1]) & (largest <= size_ranges[:, 1:])
    return fcos_candidates(points, boxes, strides, radius) & on_level


def finished(points, strides, boxes, assigned):
    """The distances in strides, where the mistake is elsewhere."""
    distances = all_distances(points, boxes)[torch.arange(len(points)), assigned.clamp(min=0)]
    distances = distances / strides[:, None]
    distances[assigned < 0] = 0
    return assigned, distances


def smallest_of(candidates, boxes):
    area = torch.where(candidates, areas_of(boxes), torch.inf)
    best, assigned = area.min(dim=1)
    assigned[best == torch.inf] = -1
    return assigned


@right
def smallest_area(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    candidates = allowed(points, strides, size_ranges, boxes, radius)
    return finished(points, strides, boxes, smallest_of(candidates, boxes))


@right
def largest_object_first(points, strides, size_ranges, boxes, *, radius=1.5):
    """The smaller ones are written over the larger ones."""
    assigned, distances = nothing(points)
    if len(boxes) == 0:
        return assigned, distances
    candidates = allowed(points, strides, size_ranges, boxes, radius)
    every = all_distances(points, boxes) / strides[:, None, None]
    order = sorted(range(len(boxes)), key=lambda i: (-float(areas_of(boxes)[i]), -i))
    for i in order:
        mine = candidates[:, i]
        assigned[mine] = i
        distances[mine] = every[mine, i]
    return assigned, distances


@right
def sorted_by_area_once(points, strides, size_ranges, boxes, *, radius=1.5):
    """After a stable sort the first candidate is the smallest."""
    if not boxes.numel():
        return nothing(points)
    order = areas_of(boxes).argsort(stable=True)
    candidates = allowed(points, strides, size_ranges, boxes[order], radius)
    first = candidates.int().argmax(dim=1)
    some = candidates.any(dim=1)
    x, y = points.unbind(1)
    x1, y1, x2, y2 = boxes[order][first].unbind(1)
    distances = torch.stack((x - x1, y - y1, x2 - x, y2 - y), dim=1) / strides.unsqueeze(1)
    return torch.where(some, order[first], -1), torch.where(some[:, None], distances, 0.0)


@right
def in_numpy(points, strides, size_ranges, boxes, *, radius=1.5):
    p, s, ranges, b = (t.double().numpy() for t in (points, strides, size_ranges, boxes))
    d = np.concatenate([p[:, None] - b[:, :2], b[:, 2:] - p[:, None]], axis=2)  # (P, N, 4)
    ok = (d > 0).all(axis=2)
    if radius is not None:
        away = np.abs(p[:, None] - (b[:, :2] + b[:, 2:]) / 2).max(axis=2)
        ok &= away < radius * s[:, None]
    far = d.max(axis=2)
    ok &= (far >= ranges[:, :1]) & (far <= ranges[:, 1:])
    area = np.where(ok, (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]), 1e18)
    area = np.concatenate([area, np.full((len(p), 1), 1e17)], axis=1)
    best = area.argmin(axis=1)
    none = best == len(b)
    padded = np.concatenate([d, np.zeros((len(p), 1, 4))], axis=1)
    distances = padded[np.arange(len(p)), best] / s[:, None]
    assigned = np.where(none, -1, best)
    return torch.from_numpy(assigned), torch.from_numpy(distances).float()


@slightly_off
def distances_a_thousandth_off(points, strides, size_ranges, boxes, *, radius=1.5):
    assigned, distances = smallest_area(points, strides, size_ranges, boxes, radius=radius)
    return assigned, distances * 1.001


@wrong("the size range of the level is missing")
def no_levels(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    candidates = fcos_candidates(points, boxes, strides, radius)
    return finished(points, strides, boxes, smallest_of(candidates, boxes))


@wrong("yours measures the whole object")
def by_the_longer_side(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    side = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)
    on_level = (side >= size_ranges[:, :1]) & (side <= size_ranges[:, 1:])
    candidates = fcos_candidates(points, boxes, strides, radius) & on_level
    return finished(points, strides, boxes, smallest_of(candidates, boxes))


@wrong("yours takes the smallest of the four")
def by_the_smallest_distance(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    least = all_distances(points, boxes).amin(dim=-1)
    on_level = (least >= size_ranges[:, :1]) & (least <= size_ranges[:, 1:])
    candidates = fcos_candidates(points, boxes, strides, radius) & on_level
    return finished(points, strides, boxes, smallest_of(candidates, boxes))


@wrong("size ranges are in pixels")
def ranges_in_strides(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    largest = all_distances(points, boxes).amax(dim=-1) / strides[:, None]
    on_level = (largest >= size_ranges[:, :1]) & (largest <= size_ranges[:, 1:])
    candidates = fcos_candidates(points, boxes, strides, radius) & on_level
    return finished(points, strides, boxes, smallest_of(candidates, boxes))


@wrong("both ends of the size range belong to it")
def open_ranges(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    largest = all_distances(points, boxes).amax(dim=-1)
    on_level = (largest > size_ranges[:, :1]) & (largest < size_ranges[:, 1:])
    candidates = fcos_candidates(points, boxes, strides, radius) & on_level
    return finished(points, strides, boxes, smallest_of(candidates, boxes))


@wrong("yours is the largest object")
def the_largest_wins(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    candidates = allowed(points, strides, size_ranges, boxes, radius)
    area = torch.where(candidates, areas_of(boxes), -1.0)
    best, assigned = area.max(dim=1)
    assigned[best < 0] = -1
    return finished(points, strides, boxes, assigned)


@wrong("yours is the first in the list")
def the_first_wins(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    candidates = allowed(points, strides, size_ranges, boxes, radius)
    assigned = torch.where(candidates.any(dim=1), candidates.int().argmax(dim=1), -1)
    return finished(points, strides, boxes, assigned)


@wrong("yours is the nearest")
def the_nearest_centre_wins(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    candidates = allowed(points, strides, size_ranges, boxes, radius)
    away = (points[:, None] - (boxes[:, :2] + boxes[:, 2:]) / 2).norm(dim=-1)
    best, assigned = away.masked_fill(~candidates, torch.inf).min(dim=1)
    assigned[best == torch.inf] = -1
    return finished(points, strides, boxes, assigned)


@wrong("of objects of the same area the first")
def the_last_of_equals(points, strides, size_ranges, boxes, *, radius=1.5):
    assigned, distances = nothing(points)
    if len(boxes) == 0:
        return assigned, distances
    candidates = allowed(points, strides, size_ranges, boxes, radius)
    for i in areas_of(boxes).argsort(descending=True, stable=True).tolist():
        assigned[candidates[:, i]] = i
    return finished(points, strides, boxes, assigned)


@wrong("the smallest of all objects, and drops")
def smallest_before_the_level(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    assigned = smallest_of(fcos_candidates(points, boxes, strides, radius), boxes)
    largest = all_distances(points, boxes).amax(dim=-1)
    largest = largest[torch.arange(len(points)), assigned.clamp(min=0)]
    wrong_level = (largest < size_ranges[:, 0]) | (largest > size_ranges[:, 1])
    assigned[wrong_level] = -1
    return finished(points, strides, boxes, assigned)


@wrong("the distances are in strides; yours are in pixels")
def distances_in_pixels(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    candidates = allowed(points, strides, size_ranges, boxes, radius)
    ones = torch.ones_like(strides)
    return finished(points, ones, boxes, smallest_of(candidates, boxes))


@wrong("left, top, right, bottom; yours has another")
def left_right_top_bottom(points, strides, size_ranges, boxes, *, radius=1.5):
    assigned, distances = smallest_area(points, strides, size_ranges, boxes, radius=radius)
    return assigned, distances[:, [0, 2, 1, 3]]


@wrong("where a location learns nothing its distances are 0")
def no_zeros(points, strides, size_ranges, boxes, *, radius=1.5):
    if len(boxes) == 0:
        return nothing(points)
    assigned = smallest_of(allowed(points, strides, size_ranges, boxes, radius), boxes)
    distances = all_distances(points, boxes)[torch.arange(len(points)), assigned]
    return assigned, distances / strides[:, None]


@wrong("0 is the first object")
def background_is_zero(points, strides, size_ranges, boxes, *, radius=1.5):
    assigned, distances = smallest_area(points, strides, size_ranges, boxes, radius=radius)
    return assigned.clamp(min=0), distances


@wrong("always 1.5")
def radius_forgotten(points, strides, size_ranges, boxes, *, radius=1.5):
    return smallest_area(points, strides, size_ranges, boxes)


@wrong("centre sampling is missing")
def inside_is_enough(points, strides, size_ranges, boxes, *, radius=1.5):
    return smallest_area(points, strides, size_ranges, boxes, radius=None)


@wrong("that of one level")
def one_range_for_all(points, strides, size_ranges, boxes, *, radius=1.5):
    return smallest_area(
        points, strides, size_ranges[:1].expand(len(points), 2), boxes, radius=radius
    )


@wrong("exchanged")
def exchanged_results(points, strides, size_ranges, boxes, *, radius=1.5):
    return smallest_area(points, strides, size_ranges, boxes, radius=radius)[::-1]


@wrong("expected int64")
def int32(points, strides, size_ranges, boxes, *, radius=1.5):
    assigned, distances = smallest_area(points, strides, size_ranges, boxes, radius=radius)
    return assigned.int(), distances


@wrong("check for an empty list first")
def never_without_objects(points, strides, size_ranges, boxes, *, radius=1.5):
    candidates = allowed(points, strides, size_ranges, boxes, radius)
    return finished(points, strides, boxes, smallest_of(candidates, boxes))


@wrong("there is a loop over")
def location_by_location(points, strides, size_ranges, boxes, *, radius=1.5):
    assigned, distances = nothing(points)
    for i in range(len(points)):
        one = points[i, None], strides[i, None], size_ranges[i, None]
        assigned[i], distances[i] = (each[0] for each in smallest_area(*one, boxes, radius=radius))
    return assigned, distances
