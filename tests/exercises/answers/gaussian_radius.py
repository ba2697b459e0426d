"""Exercise 4.6: answers."""

import numpy as np
import torch

from answers import right, slightly_off, wrong


def inwards(w, h, o):
    return ((w + h) - ((w + h) ** 2 - 4 * (1 - o) * w * h).sqrt()) / 4


def outwards(w, h, o):
    b = 2 * o * (w + h)
    return (-b + (b**2 + 16 * o * (1 - o) * w * h).sqrt()) / (8 * o)


def shifted(w, h, o):
    return ((w + h) - ((w + h) ** 2 - 4 * w * h * (1 - o) / (1 + o)).sqrt()) / 2


def smallest(*radii):
    return torch.stack(radii).amin(dim=0)


@right
def three_quadratics(sides, min_overlap=0.7):
    w, h = sides.unbind(dim=1)

    def root(a, b, c):
        return (-b - (b**2 - 4 * a * c).sqrt()) / (2 * a)

    o = min_overlap
    both = w + h
    r1 = root(4, -2 * both, (1 - o) * w * h)
    a, b, c = 4 * o, 2 * o * both, -(1 - o) * w * h
    r2 = (-b + (b**2 - 4 * a * c).sqrt()) / (2 * a)
    r3 = root(1, -both, w * h * (1 - o) / (1 + o))
    return torch.minimum(torch.minimum(r1, r2), r3)


@right
def the_strictest_alone(sides, min_overlap=0.7):
    return inwards(sides[:, 0], sides[:, 1], min_overlap)


@right
def stable_roots(sides, min_overlap=0.7):
    """2c / (b + √…) loses no digits."""
    w, h = sides[:, 0], sides[:, 1]
    o, s, area = min_overlap, sides.sum(dim=1), sides.prod(dim=1)
    r1 = (1 - o) * area / (s + torch.sqrt(s * s - 4 * (1 - o) * area))
    c = (1 - o) / (1 + o) * area
    r2 = 2 * c / (s + torch.sqrt(s * s - 4 * c))
    return torch.minimum(torch.minimum(r1, r2), outwards(w, h, o))


@right
def by_bisection(sides, min_overlap=0.7):
    """Without algebra: halve the interval until nothing changes."""
    w, h = sides.double().unbind(dim=1)
    low, high = torch.zeros_like(w), torch.minimum(w, h) / 2
    for _ in range(60):
        r = (low + high) / 2
        ious = (
            (w - 2 * r) * (h - 2 * r) / (w * h),
            w * h / ((w + 2 * r) * (h + 2 * r)),
            (w - r) * (h - r) / (2 * w * h - (w - r) * (h - r)),
        )
        enough = torch.stack(ious).amin(dim=0) >= min_overlap
        low, high = torch.where(enough, r, low), torch.where(enough, high, r)
    return low.float()


@right
def with_numpy(sides, min_overlap=0.7):
    w, h = sides.detach().double().numpy().T
    o = min_overlap
    r1 = (w + h - np.sqrt((w - h) ** 2 + 4 * o * w * h)) / 4
    r2 = (np.sqrt((w - h) ** 2 + 4 * w * h / o) - (w + h)) / 4
    r3 = (w + h - np.sqrt((w - h) ** 2 + 8 * o / (1 + o) * w * h)) / 2
    return torch.from_numpy(np.minimum.reduce([r1, r2, r3])).float()


@slightly_off
def a_thousandth_less(sides, min_overlap=0.7):
    return 0.999 * the_strictest_alone(sides, min_overlap)


@wrong("(b + √(b² − 4ac)) / 2")
def the_official_one(sides, min_overlap=0.7):
    width, height = sides[:, 0], sides[:, 1]
    b1 = height + width
    c1 = width * height * (1 - min_overlap) / (1 + min_overlap)
    r1 = (b1 + (b1**2 - 4 * c1).sqrt()) / 2
    b2 = 2 * (height + width)
    c2 = (1 - min_overlap) * width * height
    r2 = (b2 + (b2**2 - 16 * c2).sqrt()) / 2
    a3 = 4 * min_overlap
    b3 = -2 * min_overlap * (height + width)
    c3 = (min_overlap - 1) * width * height
    r3 = (b3 + (b3**2 - 4 * a3 * c3).sqrt()) / 2
    return torch.minimum(torch.minimum(r1, r2), r3)


@wrong("this is the radius of a shift")
def divided_by_two(sides, min_overlap=0.7):
    w, h = sides.unbind(1)
    o = min_overlap
    r1 = (2 * (w + h) - (4 * (w + h) ** 2 - 16 * (1 - o) * w * h).sqrt()) / 2
    b = 2 * o * (w + h)
    r2 = (-b + (b**2 + 16 * o * (1 - o) * w * h).sqrt()) / 2
    return smallest(r1, r2, shifted(w, h, o))


@wrong("the most generous of the three")
def larger_roots(sides, min_overlap=0.7):
    w, h = sides.unbind(1)
    o = min_overlap
    r1 = ((w + h) + ((w + h) ** 2 - 4 * (1 - o) * w * h).sqrt()) / 4
    r3 = ((w + h) + ((w + h) ** 2 - 4 * w * h * (1 - o) / (1 + o)).sqrt()) / 2
    return smallest(r1, outwards(w, h, o), r3)


@wrong("the most generous of the three")
def the_most_generous(sides, min_overlap=0.7):
    w, h = sides.unbind(1)
    radii = (inwards(w, h, min_overlap), outwards(w, h, min_overlap), shifted(w, h, min_overlap))
    return torch.stack(radii).amax(dim=0)


@wrong("yours is the mean of the three")
def the_mean(sides, min_overlap=0.7):
    w, h = sides.unbind(1)
    radii = (inwards(w, h, min_overlap), outwards(w, h, min_overlap), shifted(w, h, min_overlap))
    return torch.stack(radii).mean(dim=0)


@wrong("this is the radius of a shift")
def a_shift_alone(sides, min_overlap=0.7):
    return shifted(sides[:, 0], sides[:, 1], min_overlap)


@wrong("the most generous of the three")
def growing_alone(sides, min_overlap=0.7):
    return outwards(sides[:, 0], sides[:, 1], min_overlap)


@wrong("twice as far as it may be")
def shrinks_at_one_end(sides, min_overlap=0.7):
    """(w − r)(h − r) = o w h."""
    w, h = sides.unbind(1)
    return ((w + h) - ((w + h) ** 2 - 4 * (1 - min_overlap) * w * h).sqrt()) / 2


@wrong("this is the radius of a shift")
def all_at_one_end(sides, min_overlap=0.7):
    w, h = sides.unbind(1)
    o = min_overlap
    r1 = ((w + h) - ((w + h) ** 2 - 4 * (1 - o) * w * h).sqrt()) / 2
    r2 = (-o * (w + h) + ((o * (w + h)) ** 2 + 4 * o * (1 - o) * w * h).sqrt()) / (2 * o)
    return smallest(r1, r2, shifted(w, h, o))


@wrong("always 0.7")
def fixed_overlap(sides, min_overlap=0.7):
    return inwards(sides[:, 0], sides[:, 1], 0.7)


@wrong("1 - min_overlap")
def the_other_share(sides, min_overlap=0.7):
    w, h = sides.unbind(1)
    o = 1 - min_overlap
    return smallest(inwards(w, h, o), outwards(w, h, o), shifted(w, h, o))


@wrong("not rounded")
def rounded_down(sides, min_overlap=0.7):
    return inwards(sides[:, 0], sides[:, 1], min_overlap).floor()


@wrong("as they are; yours rounds them up")
def sides_rounded_up(sides, min_overlap=0.7):
    w, h = sides.ceil().unbind(1)
    return smallest(inwards(w, h, min_overlap), shifted(w, h, min_overlap))


@wrong("the square on the shorter side")
def of_the_shorter_side(sides, min_overlap=0.7):
    side = sides.amin(dim=1)
    return inwards(side, side, min_overlap)


@wrong("a square of the same area")
def of_the_same_area(sides, min_overlap=0.7):
    side = sides.prod(dim=1).sqrt()
    return inwards(side, side, min_overlap)


@wrong("whole numbers")
def whole_numbers(sides, min_overlap=0.7):
    return inwards(sides[:, 0], sides[:, 1], min_overlap).long()


@wrong("a second dimension")
def keeps_the_column(sides, min_overlap=0.7):
    return inwards(sides[:, :1], sides[:, 1:], min_overlap)


@wrong("the smallest of all boxes")
def the_smallest_of_all(sides, min_overlap=0.7):
    """Means the smallest of the three, and takes it of all boxes."""
    w, h = sides.unbind(1)
    if len(sides) == 0:
        return w
    return inwards(w, h, min_overlap).min().expand(len(w)).clone()


@wrong("there is a loop over boxes")
def box_by_box(sides, min_overlap=0.7):
    radii = []
    for w, h in sides.tolist():
        b = w + h
        radii.append((b - (b * b - 4 * (1 - min_overlap) * w * h) ** 0.5) / 4)
    return torch.tensor(radii, dtype=torch.float32)
