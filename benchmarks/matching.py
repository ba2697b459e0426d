"""How long does DETR's matching take for all decoder layers of a batch?

Three ways to the same assignments, timed alternately in one run:

* **one pass** (`detlearn.matching.HungarianMatcher`): each query meets the objects of its own
  image, all images and layers in one tensor of costs;
* **one block a layer**, as the published code does it: all queries of the batch meet all objects of
  the batch, layer by layer, and the costs of other images are thrown away;
* **a loop** over layers and images, one small matrix of costs at a time.

All three use `matching_cost` and scipy's algorithm, so what differs is how often and on how much.

Usage: ``python benchmarks/matching.py [--images 32] [--queries 100] [--layers 6] [--rounds 7]``
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detlearn.machine.hardware import default_device
from detlearn.matching import HungarianMatcher, matching_cost

NUM_CLASSES = 91
MOST_OBJECTS = 20  # of an image, at least one; COCO has seven on average


def make_batch(layers: int, images: int, queries: int) -> tuple[Tensor, Tensor, list[dict]]:
    """Random predictions after every layer, and targets with boxes cxcywh in [0, 1]."""
    random, device = torch.Generator().manual_seed(0), default_device()
    class_logits = torch.randn(layers, images, queries, NUM_CLASSES + 1, generator=random)
    pred_boxes = torch.rand(layers, images, queries, 4, generator=random)

    targets = []
    for _ in range(images):
        count = int(torch.randint(1, MOST_OBJECTS + 1, (), generator=random))
        boxes = torch.rand(count, 4, generator=random)
        labels = torch.randint(NUM_CLASSES, (count,), generator=random)
        targets.append({"boxes": boxes.to(device), "labels": labels.to(device)})
    return class_logits.to(device), pred_boxes.to(device), targets


def one_pass(class_logits: Tensor, pred_boxes: Tensor, targets: list[dict]) -> Tensor:
    """All layers and images at once."""
    return HungarianMatcher().assign(class_logits, pred_boxes, targets)


def one_block_a_layer(class_logits: Tensor, pred_boxes: Tensor, targets: list[dict]) -> Tensor:
    """Layer by layer, every query with every object of the batch."""
    layers, images, queries = class_logits.shape[:3]
    assigned = torch.full((layers, images, queries), -1)
    counts = [len(target["labels"]) for target in targets]
    labels = torch.cat([target["labels"] for target in targets])
    boxes = torch.cat([target["boxes"] for target in targets])

    for layer in range(layers):
        logits, pred = class_logits[layer].flatten(0, 1), pred_boxes[layer].flatten(0, 1)
        block = matching_cost(logits, pred, labels, boxes)  # (B · Q, all objects)
        block = block.view(images, queries, -1).cpu()
        for i, cost in enumerate(block.split(counts, dim=-1)):
            matched, objects = linear_sum_assignment(cost[i])
            assigned[layer, i, matched] = torch.from_numpy(objects)
    return assigned.to(class_logits.device)


def a_loop(class_logits: Tensor, pred_boxes: Tensor, targets: list[dict]) -> Tensor:
    """One layer of one image at a time."""
    layers, images, queries = class_logits.shape[:3]
    assigned = torch.full((layers, images, queries), -1)
    for layer in range(layers):
        for i, target in enumerate(targets):
            cost = matching_cost(
                class_logits[layer, i], pred_boxes[layer, i], target["labels"], target["boxes"]
            )
            matched, objects = linear_sum_assignment(cost.cpu())
            assigned[layer, i, matched] = torch.from_numpy(objects)
    return assigned.to(class_logits.device)


WAYS: dict[str, Callable[[Tensor, Tensor, list[dict]], Tensor]] = {
    "one pass": one_pass,
    "one block a layer": one_block_a_layer,
    "a loop": a_loop,
}


@torch.no_grad()
def main() -> None:
    """Time the three ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    batch = make_batch(args.layers, args.images, args.queries)

    # What is compared must be the same; and the first call does not count.
    expected = one_pass(*batch)
    for name, way in WAYS.items():
        assert way(*batch).equal(expected), f"{name} gives other assignments"

    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for i in range(args.rounds):
        for name in list(WAYS)[:: 1 if i % 2 else -1]:
            start = time.perf_counter()
            WAYS[name](*batch)
            times[name].append(time.perf_counter() - start)

    print(
        f"{args.images} images × {args.queries} queries × {args.layers} layers; "
        f"{default_device()}, {torch.get_num_threads()} threads; median of {args.rounds} "
        "alternating rounds; equal assignments"
    )
    for name in WAYS:
        ratios = sorted(a / b for a, b in zip(times[name], times["one pass"]))
        print(
            f"{name:20}{1000 * statistics.median(times[name]):8.1f} ms"
            f"{statistics.median(ratios):8.1f} × {ratios[0]:6.1f} …{ratios[-1]:5.1f}"
        )


if __name__ == "__main__":
    main()
