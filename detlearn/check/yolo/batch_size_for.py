"""Exercise 3.8: how many images of another size take the same memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case
from detlearn.training.multi_scale import batch_size_for

Function = Callable[[int, int, int], int]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    def drawn(*choices: int) -> int:
        return choices[int(torch.randint(len(choices), (), generator=random))]

    sizes = range(96, 609, 32)
    many = [
        Case("random", (size, drawn(128, 224, 416), drawn(6, 8, 10, 12, 14)), "another training")
        for size in (drawn(*sizes) for _ in range(8))
    ]

    # Ratios for which quotients of floats fall short of the whole number.
    exact = [
        Case("property", (size, base, batch), f"exactly {wanted} images", _number(wanted))
        for size, base, batch, wanted in (
            (96, 416, 27, 507),
            (96, 416, 45, 845),
            (160, 224, 125, 245),
            (96, 352, 9, 121),
        )
    ]
    return [*_by_hand(), *_never_none(), *many, *exact]


def _number(wanted: int) -> torch.Tensor:
    return torch.tensor(wanted)


def _by_hand() -> list[Case]:
    return [
        Case("by hand", (size, base, batch), note, _number(wanted))
        for size, base, batch, wanted, note in (
            (128, 128, 16, 16, "the size that the batch was chosen for"),
            (64, 128, 16, 64, "half the side, a quarter of the pixels"),
            (256, 128, 16, 4, "twice the side, four times the pixels"),
            (160, 128, 16, 10, "10.24 images"),
            (96, 128, 16, 28, "28.4 images"),
            (192, 128, 16, 7, "7.1 images"),
            (144, 128, 16, 12, "12.6 images"),
            (96, 160, 10, 27, "27.8 images, from another base"),
        )
    ]


def _never_none() -> list[Case]:
    return [
        Case("degenerate", args, note, _number(1))
        for args, note in (
            ((608, 416, 2), "0.94 of an image"),
            ((1000, 100, 3), "0.03 of an image"),
            ((256, 128, 4), "exactly one image"),
            ((416, 416, 1), "a batch of one image"),
        )
    ]


# ---- wrong answers ----


def _batch(
    images: Callable[[int, int, int], float] = lambda size, base, batch: batch * base**2 / size**2,
    finish: Callable[[float], float] = math.floor,
    least: int = 1,
) -> Function:
    """Return the function with something changed.

    Args:
        images: how many there is room for, with their fraction.
        finish: makes a whole number of it.
        least: at least as many.
    """

    def function(size: int, base_size: int, base_batch: int) -> int:
        return max(least, finish(images(size, base_size, base_batch)))

    return function


def _limited(size: int, base_size: int, base_batch: int) -> int:
    return min(base_batch, batch_size_for(size, base_size, base_batch))


def _powers_of_two(size: int, base_size: int, base_batch: int) -> int:
    return 2 ** int(math.log2(batch_size_for(size, base_size, base_batch)))


MISCONCEPTIONS = (
    Misconception(
        "memory grows with the area of the images, the square of their side; yours takes the side "
        "itself",
        _batch(lambda size, base, batch: batch * base / size),
        _batch(lambda size, base, batch: batch * (base // size)),
    ),
    Misconception(
        "a larger size gets fewer images: the ratio is base_size / size, yours is upside down",
        _batch(lambda size, base, batch: batch * (size / base) ** 2),
        _batch(lambda size, base, batch: batch * size / base),
        _batch(lambda size, base, batch: batch * (size * size) // (base * base)),
    ),
    Misconception(
        "the whole of (base_size / size)² is multiplied by the batch, then rounded down; yours "
        "rounds the ratio first",
        _batch(lambda size, base, batch: batch * (base // size) ** 2),
        _batch(lambda size, base, batch: batch * (base**2 // size**2)),
        _batch(lambda size, base, batch: batch * round(base / size) ** 2),
    ),
    Misconception(
        "round down once, at the end; yours rounds after each division: "
        "base_batch * base_size**2 // size**2",
        lambda size, base, batch: max(1, batch * base // size * base // size),
    ),
    Misconception(
        "the ratio of the sides is squared, the batch is not; yours squares their product",
        _batch(lambda size, base, batch: (batch * base / size) ** 2),
    ),
    Misconception(
        "memory grows with the side squared, not with its third power",
        _batch(lambda size, base, batch: batch * (base / size) ** 3),
    ),
    Misconception(
        "round down: one image more than there is room for does not fit; yours rounds to the "
        "nearest",
        _batch(finish=round),
        _batch(finish=lambda n: int(n + 0.5)),
    ),
    Misconception(
        "round down: one image more than there is room for does not fit; yours rounds up",
        _batch(finish=math.ceil),
    ),
    Misconception(
        "a step needs at least one image, however large it is: max(1, …)",
        _batch(least=0),
        lambda size, base_size, base_batch: base_batch * base_size**2 // size**2,
        lambda size, base_size, base_batch: int(base_batch * (base_size / size) ** 2),
    ),
    Misconception(
        "a quotient of floats can fall short of a whole number by its rounding, and an image is "
        "lost: multiply first and divide in whole numbers, base_batch * base_size**2 // size**2",
        _batch(lambda size, base, batch: batch * (base / size) ** 2),
        _batch(lambda size, base, batch: batch / (size / base) ** 2),
        _batch(lambda size, base, batch: batch * (base / size) * (base / size)),
    ),
    Misconception(
        "a smaller size has room for more images than base_batch; yours never gives more",
        _limited,
    ),
    Misconception(
        "any whole number of images will do; yours are powers of two",
        _powers_of_two,
    ),
    Misconception(
        "the batch depends on the size; yours is always base_batch",
        lambda size, base_size, base_batch: base_batch,
    ),
    Misconception(
        "return the number of images, a whole number; yours has a fraction",
        lambda size, base_size, base_batch: max(1, base_batch * (base_size / size) ** 2),
        lambda size, base_size, base_batch: base_batch * (base_size / size) ** 2,
        lambda size, base_size, base_batch: max(1, base_batch * base_size**2 / size**2),
    ),
    Misconception(
        "a batch is counted in images: end with int(…), or divide with //",
        lambda *args: float(batch_size_for(*args)),
        lambda size, base_size, base_batch: max(1, base_batch * (base_size / size) ** 2 // 1),
        lambda size, base_size, base_batch: max(1.0, base_batch * base_size**2 / size**2 // 1),
    ),
    Misconception(
        "the number of images stays that of the base in pixels; return images, not their pixels",
        lambda size, base_size, base_batch: batch_size_for(size, base_size, base_batch) * size**2,
        lambda size, base_size, base_batch: base_batch * base_size**2,
    ),
)

BATCH_SIZE_FOR = Exercise(
    number="3.8",
    name="batch_size_for",
    reference=batch_size_for,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the number of images",),
    counted="images",
)
