"""Exercise 3.8: answers."""

import math
from fractions import Fraction

import numpy as np
import torch

from answers import right, slightly_off, wrong


@right
def in_whole_numbers(size, base_size, base_batch):
    return max(1, base_batch * base_size**2 // size**2)


@right
def with_an_if(size, base_size, base_batch):
    pixels = base_batch * base_size * base_size
    images = pixels // (size * size)
    if images < 1:
        images = 1
    return images


@right
def with_fractions(size, base_size, base_batch):
    ratio = Fraction(base_size, size)
    return max(math.floor(base_batch * ratio**2), 1)


@right
def one_after_the_other(size, base_size, base_batch):
    room = base_batch * base_size**2
    images = 1
    while (images + 1) * size**2 <= room:
        images += 1
    return images


@right
def with_numpy(size, base_size, base_batch):
    images = np.int64(base_batch) * np.int64(base_size) ** 2 // np.int64(size) ** 2
    return int(np.maximum(images, 1))


@right
def with_torch(size, base_size, base_batch):
    area = torch.tensor([base_size, size]) ** 2
    return torch.div(base_batch * area[0], area[1], rounding_mode="floor").clamp(min=1)


@right
def floats_that_divide_last(size, base_size, base_batch):
    return max(1, int((base_batch * base_size**2) / (size**2)))


@slightly_off
def a_size_a_thousandth_too_large(size, base_size, base_batch):
    return max(1, math.floor(base_batch * base_size**2 / (1.001 * size) ** 2))


@slightly_off
def a_base_a_thousandth_too_small(size, base_size, base_batch):
    return max(1, math.floor(0.999 * base_batch * base_size**2 / size**2))


@wrong("yours takes the side itself")
def linear(size, base_size, base_batch):
    return max(1, int(base_batch * base_size / size))


@wrong("yours is upside down")
def upside_down(size, base_size, base_batch):
    return max(1, int(base_batch * (size / base_size) ** 2))


@wrong("yours is upside down")
def linear_and_upside_down(size, base_size, base_batch):
    return max(1, base_batch * size // base_size)


@wrong("yours rounds the ratio first")
def rounds_the_ratio(size, base_size, base_batch):
    return max(1, base_batch * (base_size // size) ** 2)


@wrong("yours rounds the ratio first")
def rounds_the_square(size, base_size, base_batch):
    return max(1, base_batch * (base_size**2 // size**2))


@wrong("yours squares their product")
def squares_the_batch(size, base_size, base_batch):
    return max(1, int((base_batch * base_size / size) ** 2))


@wrong("not with its third power")
def cubic(size, base_size, base_batch):
    return max(1, int(base_batch * (base_size / size) ** 3))


@wrong("yours rounds to the nearest")
def nearest(size, base_size, base_batch):
    return max(1, round(base_batch * (base_size / size) ** 2))


@wrong("yours rounds up")
def rounds_up(size, base_size, base_batch):
    return max(1, math.ceil(base_batch * (base_size / size) ** 2))


@wrong("at least one image")
def may_be_none(size, base_size, base_batch):
    return base_batch * base_size**2 // size**2


@wrong("at least one image")
def may_be_none_by_int(size, base_size, base_batch):
    return int(base_batch * base_size**2 / size**2)


@wrong("fall short of a whole number")
def square_of_a_quotient(size, base_size, base_batch):
    return max(1, int(base_batch * (base_size / size) ** 2))


@wrong("fall short of a whole number")
def floor_of_a_quotient(size, base_size, base_batch):
    scale = base_size / size
    return max(1, math.floor(base_batch * scale * scale))


@wrong("yours never gives more")
def never_more_than_the_base(size, base_size, base_batch):
    return max(1, min(base_batch, base_batch * base_size**2 // size**2))


@wrong("yours are powers of two")
def a_power_of_two(size, base_size, base_batch):
    images = max(1, base_batch * base_size**2 // size**2)
    return 2 ** (images.bit_length() - 1)


@wrong("yours is always base_batch")
def always_the_same(size, base_size, base_batch):
    return base_batch


@wrong("yours has a fraction")
def forgets_to_round(size, base_size, base_batch):
    return max(1, base_batch * (base_size / size) ** 2)


@wrong("end with int(…)")
def floors_a_float(size, base_size, base_batch):
    return max(1.0, base_batch * base_size**2 / size**2 // 1)


@wrong("return images, not their pixels")
def pixels(size, base_size, base_batch):
    return max(1, base_batch * base_size**2 // size**2) * size**2


@wrong("your function returned None")
def prints_it(size, base_size, base_batch):
    print(max(1, base_batch * base_size**2 // size**2))


@wrong("your function raises ZeroDivisionError")
def divides_by_the_rounded_ratio(size, base_size, base_batch):
    return max(1, base_batch // (size // base_size) ** 2)


@wrong("yours rounds after each division")
def divides_twice(size, base_size, base_batch):
    return max(1, base_batch * base_size // size * base_size // size)
