"""How long do the twelve COCO numbers take? Ours, faster-coco-eval and pycocotools in one run.

The data is synthetic, seeded, and of the size of COCO's validation set: 5 000 images, 36 000
objects, 80 classes and 100 detections an image. Objects are log-uniform in size, classes uneven, 1
% crowds. Detections are what a detector of middling quality gives: most objects found once or
several times with a jittered box, some under a wrong class, and low-scored false alarms to fill up.
All three evaluators must give the same numbers.

Times: *convert* turns the lists of tensors into what the evaluator reads (for the other two:
dictionaries, ``createIndex``, ``loadRes``), *evaluate* is evaluate + accumulate + summarize. Ours
needs no conversion; checking and flattening the tensors is inside *evaluate*. The best of
``--repeats`` runs counts; pycocotools, which takes minutes, runs once.

Usage: ``python benchmarks/metrics.py [--images 5000] [--repeats 3]``
"""

import argparse
import contextlib
import io
import time
from collections.abc import Callable

import numpy as np
import torch
from faster_coco_eval import COCO as FasterCOCO
from faster_coco_eval import COCOeval_faster
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detlearn.metrics import coco_metrics

NUM_CLASSES = 80
OBJECTS_PER_IMAGE = 7.2
DETECTIONS_PER_IMAGE = 100
IMAGE_SIZE = 640


def make_data(num_images: int, seed: int = 0) -> tuple[list[dict], list[dict]]:
    """Make seeded targets, and detections as a middling detector would give them."""
    rng = np.random.default_rng(seed)
    frequency = rng.dirichlet(np.full(NUM_CLASSES, 0.5))

    detections, targets = [], []
    for _ in range(num_images):
        count = rng.poisson(OBJECTS_PER_IMAGE)

        # An image shows few classes, each several times, as photographs do.
        shown = rng.choice(NUM_CLASSES, size=3, p=frequency)
        labels = rng.choice(shown, size=count)
        boxes = random_boxes(rng, count)
        sides = boxes[:, 2:] - boxes[:, :2]
        targets.append(
            {
                "boxes": torch.tensor(boxes),
                "labels": torch.tensor(labels),
                "area": torch.tensor(sides.prod(axis=1) * rng.uniform(0.5, 1.0, count)),
                "iscrowd": torch.tensor(rng.random(count) < 0.01),
            }
        )
        detections.append(detect(rng, boxes, labels, shown))

    return detections, targets


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw boxes (count, 4) x1, y1, x2, y2 with log-uniform sides of 8 to 400 pixels."""
    sides = np.exp(rng.uniform(np.log(8), np.log(400), (count, 2)))
    corner = rng.random((count, 2)) * (IMAGE_SIZE - sides)
    return np.concatenate([corner, corner + sides], axis=1)


def detect(
    rng: np.random.Generator, boxes: np.ndarray, labels: np.ndarray, shown: np.ndarray
) -> dict[str, torch.Tensor]:
    """Make 100 detections: up to four near each object, the rest false alarms of low score."""
    near = np.repeat(np.arange(len(boxes)), rng.integers(0, 5, len(boxes)))[:DETECTIONS_PER_IMAGE]
    sides = boxes[near, 2:] - boxes[near, :2]
    noise = rng.normal(0, 0.08, (len(near), 4)) * np.tile(sides, 2)

    alarms = DETECTIONS_PER_IMAGE - len(near)
    found = np.concatenate([boxes[near] + noise, random_boxes(rng, alarms)])
    found = np.concatenate([np.minimum(found[:, :2], found[:, 2:]), found[:, 2:]], axis=1)

    wrong = rng.random(len(near)) < 0.1
    near_labels = np.where(wrong, rng.integers(0, NUM_CLASSES, len(near)), labels[near])
    # Half of the false alarms say a class that is in the picture: that is where matching has work.
    guess = np.where(
        rng.random(alarms) < 0.5, rng.choice(shown, alarms), rng.integers(0, NUM_CLASSES, alarms)
    )

    scores = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(1, 6, alarms)])
    return {
        "boxes": torch.tensor(found),
        "scores": torch.tensor(scores),
        "labels": torch.tensor(np.concatenate([near_labels, guess])),
    }


def to_coco(detections: list[dict], targets: list[dict]) -> tuple[dict, list[dict]]:
    """Write targets and detections as the dictionaries of COCO's files."""
    annotations, results = [], []
    for image, (found, wanted) in enumerate(zip(detections, targets)):
        columns = (xywh(wanted["boxes"]), wanted["labels"], wanted["area"], wanted["iscrowd"])
        for box, label, area, crowd in zip(*(column.tolist() for column in columns)):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": label,
                    "bbox": box,
                    "area": area,
                    "iscrowd": int(crowd),
                }
            )

        columns = (xywh(found["boxes"]), found["labels"], found["scores"])
        for box, label, score in zip(*(column.tolist() for column in columns)):
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})

    dataset = {
        "images": [{"id": image, "width": 640, "height": 640} for image in range(len(targets))],
        "categories": [{"id": label, "name": str(label)} for label in range(NUM_CLASSES)],
        "annotations": annotations,
    }

    return dataset, results


def xywh(boxes: torch.Tensor) -> torch.Tensor:
    """Turn x1, y1, x2, y2 into x1, y1, width, height."""
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)


def time_ours(detections: list[dict], targets: list[dict]) -> tuple[float, float, list[float]]:
    """Return the seconds to convert (none) and to evaluate, and the twelve numbers."""
    start = time.perf_counter()
    result = coco_metrics(detections, targets, NUM_CLASSES)
    numbers = list(result.to_dict().values())
    return 0.0, time.perf_counter() - start, numbers


def time_coco(
    coco: Callable, evaluator: Callable, detections: list[dict], targets: list[dict]
) -> tuple[float, float, list[float]]:
    """Do so for a pair of classes like those of pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        dataset, results = to_coco(detections, targets)
        truth = coco()
        truth.dataset = dataset
        truth.createIndex()
        found = truth.loadRes(results)
        converted = time.perf_counter()

        evaluation = evaluator(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        done = time.perf_counter()
    return converted - start, done - converted, list(evaluation.stats[:12])


def main() -> None:
    """Time all three and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    detections, targets = make_data(arguments.images)
    num_objects = sum(len(t["labels"]) for t in targets)
    num_detections = sum(len(d["labels"]) for d in detections)
    print(
        f"{len(targets)} images, {num_objects} objects, {num_detections} detections, "
        f"{NUM_CLASSES} classes; best of {arguments.repeats} runs\n"
    )
    contenders = {
        "detlearn": lambda: time_ours(detections, targets),
        "faster-coco-eval": lambda: time_coco(FasterCOCO, COCOeval_faster, detections, targets),
        "pycocotools": lambda: time_coco(COCO, COCOeval, detections, targets),
    }
    runs = {}
    for name, contender in contenders.items():
        repeats = 1 if name == "pycocotools" else arguments.repeats
        runs[name] = [contender() for _ in range(repeats)]

    ours = min(evaluate for _, evaluate, _ in runs["detlearn"])
    print(f"{'':18}{'convert [s]':>12}{'evaluate [s]':>14}{'ratio to ours':>15}{'AP':>9}")
    for name, times in runs.items():
        convert = min(seconds for seconds, _, _ in times)
        evaluate = min(seconds for _, seconds, _ in times)
        ap = times[0][2][0]
        print(f"{name:18}{convert:12.2f}{evaluate:14.2f}{evaluate / ours:15.1f}{ap:9.4f}")
        np.testing.assert_allclose(times[0][2], runs["detlearn"][0][2], rtol=0, atol=1e-12)
        assert name == "detlearn" or evaluate > ours, f"{name} is faster than detlearn"
    print("\nAll twelve numbers are equal to 1e-12.")


if __name__ == "__main__":
    main()
