"""How fast ToyTown draws and hands out scenes, on one core; prints a table.

Run ``python benchmarks/toytown.py [scenes]``. Each line draws that many scenes (2000 if not
given) in one process and then reads each of them twice.
"""

import sys
import time

import torch

from detlearn.data.toytown import SCENARIOS, ToyTown


def measure(name: str, num_images: int, size: int) -> tuple[float, float]:
    """Return the seconds to draw a town, and the items read a second after that."""
    start = time.perf_counter()
    town = ToyTown.scenario(name, num_images, size=size, seed=1)
    drawn = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(2):
        for index in range(num_images):
            town[index]
    return drawn, 2 * num_images / (time.perf_counter() - start)


def main() -> None:
    """Print one line for each scenario at 128 pixels, and the default at other sizes."""
    torch.set_num_threads(1)
    num_images = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print("scenario       size scenes  drawn in  a scene  items/s")
    for name, size in [(name, 128) for name in SCENARIOS] + [("default", s) for s in (64, 256)]:
        seconds, rate = measure(name, num_images, size)
        each = 1000 * seconds / num_images
        print(f"{name:14s} {size:4d} {num_images:6d} {seconds:7.2f} s {each:5.2f} ms {rate:8.0f}")


if __name__ == "__main__":
    main()
