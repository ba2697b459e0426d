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

from detlearn.models import yolov1 as v1
from detlearn.models import yolov3 as v3
from detlearn.models.small import SMALL_YOLO_ANCHORS


def yolov1(batch: int) -> tuple[Callable, Callable, tuple]:
    """The paper's grid: 7 × 7 cells, 2 boxes, 20 classes, images of 448 pixels."""
    generator = torch.Generator().manual_seed(0)
    grid = torch.rand(batch, 7, 7, 30, generator=generator, dtype=torch.float64)
    return v1.decode_grid, v1.naive_decode_grid, (grid, 20, (448, 448))


def yolov3(batch: int) -> tuple[Callable, Callable, tuple]:
    """The finest level of the small detector: 32 × 32 cells, 3 anchors, 10 classes."""
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(batch, 3 * 15, 32, 32, generator=generator, dtype=torch.float64)
    anchors = torch.tensor(SMALL_YOLO_ANCHORS[0], dtype=torch.float64)
    return v3.decode_grid, v3.naive_decode_grid, (raw, anchors, 4)


CASES = {"yolov1": yolov1, "yolov3": yolov3}


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
