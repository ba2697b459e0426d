"""Exercise 8.6: answers."""

import numpy as np
import torch

from answers import because, right, slightly_off, wrong


def around(points, boxes):
    """(P, N), which boxes are around which places; where the mistake is elsewhere."""
    x, y = points[:, :1], points[:, 1:]
    return (x > boxes[:, 0]) & (x < boxes[:, 2]) & (y > boxes[:, 1]) & (y < boxes[:, 3])


def area(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


@right
def with_infinity(points, boxes):
    if boxes.numel() == 0:
        return torch.full((points.shape[0],), -1, dtype=torch.int64)
    claims = area(boxes).repeat(len(points), 1)
    claims[~around(points, boxes)] = float("inf")
    which = claims.argmin(dim=1)
    which[~around(points, boxes).any(dim=1)] = -1
    return which


@right
def with_a_background_column(points, boxes):
    """A last column larger than all areas."""
    claims = torch.where(around(points, boxes), area(boxes), torch.inf)
    claims = torch.cat((claims, torch.full((len(points), 1), 1e30)), dim=1)
    which = claims.argmin(dim=1)
    return torch.where(which == len(boxes), -1, which)


@right
def box_by_box(points, boxes):
    """From the largest to the smallest, each over what was there; of equal ones the first last."""
    which = torch.full((len(points),), -1)
    areas = area(boxes).tolist()
    for i in sorted(range(len(boxes)), key=lambda i: (-areas[i], -i)):
        which[around(points, boxes[i : i + 1])[:, 0]] = i
    return which


@right
def place_by_place(points, boxes):
    which = []
    for x, y in points.tolist():
        least, mine = float("inf"), -1
        for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            if x1 < x < x2 and y1 < y < y2 and (x2 - x1) * (y2 - y1) < least:
                least, mine = (x2 - x1) * (y2 - y1), i
        which.append(mine)
    return torch.tensor(which, dtype=torch.int64)


@right
def in_numpy(points, boxes):
    p, b = points.numpy(), boxes.numpy()
    inside = ((p[:, None] > b[:, :2]) & (p[:, None] < b[:, 2:])).all(axis=2)
    areas = np.append((b[:, 2:] - b[:, :2]).prod(axis=1), 1e30)
    claims = np.where(np.pad(inside, ((0, 0), (0, 1)), constant_values=True), areas, np.inf)
    which = claims.argmin(axis=1)
    return torch.from_numpy(np.where(which == len(b), -1, which))


@slightly_off
def one_of_many(points, boxes):
    which = with_a_background_column(points, boxes)
    if len(which) > 20:
        which[-1] = (which[-1] + 2) % (len(boxes) + 1) - 1
    return which


@wrong("the broken function still")
def unchanged(points, boxes):
    inside = around(points, boxes)
    claims = inside * area(boxes)
    return torch.where(inside.any(dim=1), claims.argmin(dim=1), -1)


@wrong("the broken function still")
def unchanged_but_for_empty_images(points, boxes):
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    inside = around(points, boxes)
    which = (inside * area(boxes)).min(dim=1).indices
    return torch.where(inside.any(dim=1), which, -1)


@wrong("the first of the list")
def first_of_the_list(points, boxes):
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    inside = around(points, boxes)
    return torch.where(inside.any(dim=1), inside.int().argmax(dim=1), -1)


@wrong("the last of the list")
def overwritten(points, boxes):
    which = torch.full((len(points),), -1)
    for i in range(len(boxes)):
        which[around(points, boxes[i : i + 1])[:, 0]] = i
    return which


@wrong("yours takes neither into account")
def least_of_the_product(points, boxes):
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    return (around(points, boxes) * area(boxes)).argmin(dim=1)


@wrong("yours takes the largest")
def the_largest(points, boxes):
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    best, which = (around(points, boxes) * area(boxes)).max(dim=1)
    return torch.where(best > 0, which, -1)


@wrong("the smallest box of the image")
def smallest_of_the_image(points, boxes):
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    smallest = area(boxes).argmin().expand(len(points))
    return smallest.masked_fill(~around(points, boxes).any(dim=1), -1)


@wrong("whose centre is nearest")
def nearest_centre(points, boxes):
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    apart = (points[:, None] - centres).square().sum(dim=2)
    apart = apart.masked_fill(~around(points, boxes), 1e9)
    which = apart.argmin(dim=1)
    return which.masked_fill(~around(points, boxes).any(dim=1), -1)


@wrong("width times height")
def shortest_edges(points, boxes):
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    sides = boxes[:, 2] - boxes[:, 0] + boxes[:, 3] - boxes[:, 1]
    claims = torch.where(around(points, boxes), sides, torch.inf)
    least, which = claims.min(dim=1)
    return torch.where(least.isinf(), -1, which)


@wrong("on a side of a box")
def sides_belong_to_it(points, boxes):
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    x, y = points[:, :1], points[:, 1:]
    inside = (x >= boxes[:, 0]) & (x <= boxes[:, 2]) & (y >= boxes[:, 1]) & (y <= boxes[:, 3])
    claims = torch.where(inside, area(boxes), torch.inf)
    least, which = claims.min(dim=1)
    return torch.where(least.isinf(), -1, which)


@wrong("does not ask for all four sides")
def left_and_top(points, boxes):
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    inside = (points[:, None] > boxes[:, :2]).all(dim=2)
    claims = torch.where(inside, area(boxes), torch.inf)
    least, which = claims.min(dim=1)
    return torch.where(least.isinf(), -1, which)


@wrong("yours gives it object 0")
def no_background(points, boxes):
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    return torch.where(around(points, boxes), area(boxes), torch.inf).argmin(dim=1)


@wrong("yours are one more")
def background_is_zero(points, boxes):
    return with_infinity(points, boxes) + 1


@wrong("leaves it without")
def only_where_there_is_no_doubt(points, boxes):
    if len(boxes) == 0:
        return torch.full((len(points),), -1)
    inside = around(points, boxes)
    return torch.where(inside.sum(dim=1) == 1, inside.int().argmax(dim=1), -1)


@wrong("of equal areas")
def last_of_equals(points, boxes):
    which = torch.full((len(points),), -1)
    areas = area(boxes).tolist()
    for i in sorted(range(len(boxes)), key=lambda i: -areas[i]):
        which[around(points, boxes[i : i + 1])[:, 0]] = i
    return which


@wrong("the cure mends it, but the cause is another")
@because("annotations")
def right_cure_for_another_cause(points, boxes):
    return with_infinity(points, boxes)
