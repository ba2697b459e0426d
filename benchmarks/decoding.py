"""How much faster is decoding all cells at once than one after the other in Python?

Decoding turns the numbers of a network's last layer into boxes and scores. Each detector here has
its decoder and, beside it, the naive twin that takes one cell and one box at a time. Both get the
same random numbers in double precision, and must return the same within 1e-6.

The twin runs once; the median of ``--rounds`` calls counts for the other.

Usage: ``python benchmarks/decoding.py [--batch 32] [--rounds 50]``
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.models.yolov1 import decode_grid, naive_decode_grid


def yolov1(batch: int) -> tuple[Callable, Callable, tuple]:
    """The paper's grid: 7 × 7 cells, 2 boxes, 20 classes, images of 448 pixels."""
    generator = torch.Generator().manual_seed(0)
    grid = torch.rand(batch, 7, 7, 30, generator=generator, dtype=torch.float64)
    return decode_grid, naive_decode_grid, (grid, 20, (448, 448))


CASES = {"yolov1": yolov1}


def timed(function: Callable, arguments: tuple) -> tuple[tuple[Tensor, ...], float]:
    """What a function returns, and the seconds it takes."""
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()

    print(f"a batch of {args.batch}, {torch.get_num_threads()} threads")
    print(f"{'':12}{'all at once':>14}{'cell by cell':>14}{'ratio':>8}{'largest difference':>22}")
    for name, case in CASES.items():
        fast, naive, arguments = case(args.batch)
        wanted, slow_seconds = timed(naive, arguments)
        found, _ = timed(fast, arguments)
        fast_seconds = statistics.median(timed(fast, arguments)[1] for _ in range(args.rounds))

        difference = max(float((a - b).abs().max()) for a, b in zip(found, wanted))
        assert difference <= 1e-6, f"{name}: the two differ by {difference:g}"
        print(
            f"{name:12}{1e3 * fast_seconds:11.2f} ms{1e3 * slow_seconds:11.0f} ms"
            f"{slow_seconds / fast_seconds:8.0f}{difference:22.1e}"
        )


if __name__ == "__main__":
    main()
