"""COCO's numbers where scores tie across images: `coco_metrics` against pycocotools.

    python tests/fuzz/fuzz_metric_ties.py --cases 300 --seed 0

Each case has a dozen images whose detections share one to three scores, so that the order of the
images decides what is right. Image ids fall, are shuffled, far apart or negative; there are crowds,
objects of other areas than their boxes', empty images, equal boxes, and groups of more than 100
detections of which ties decide who is left out. All twelve numbers and all precisions and recalls
must be equal.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from test_metrics import assert_equals_pycocotools, detection, target


def image_ids(rng, count):
    """Return the ids of images in the order of their data set: (count,) int64, all different."""
    kind = rng.choice(["falling", "shuffled", "far apart", "negative", "none"])
    if kind == "none":
        return None
    if kind == "falling":
        return np.arange(count)[::-1] + 1
    if kind == "shuffled":
        return rng.permutation(count)
    if kind == "negative":
        return rng.permutation(count) - count // 2
    return rng.choice(2**40, count, replace=False)


def tied_scenes(rng):
    """Make a case: detections and targets per image, and the number of classes."""
    num_images, num_classes = int(rng.integers(2, 13)), int(rng.integers(1, 4))
    levels = rng.choice([1.0, 0.5, 0.1, 1 / 3, 0.0], rng.integers(1, 4), replace=False)
    has_crowds, has_areas, is_crowded = rng.random(3) < (0.5, 0.3, 0.15)
    ids = image_ids(rng, num_images)

    def boxes(count):
        corner = rng.integers(0, 3, (count, 2)) * 20
        return np.concatenate([corner, corner + rng.integers(1, 5, (count, 2)) * 10], axis=1)

    detections, targets = [], []
    for i in range(num_images):
        num_objects = int(rng.integers(0, 5))
        wanted = target(boxes(num_objects), rng.integers(0, num_classes, num_objects))
        if has_crowds:
            wanted["iscrowd"] = torch.tensor(rng.random(num_objects) < 0.3)
        if has_areas:
            wanted["area"] = torch.tensor(rng.choice([100.0, 1024.0, 9216.0, 1e5], num_objects))
        if ids is not None:
            wanted["image_id"] = torch.tensor(int(ids[i]))
        targets.append(wanted)

        # Half of what is found lies on an object, exactly.
        count = int(rng.choice([0, 2, 6, 130] if is_crowded else [0, 1, 4, 8]))
        found = boxes(count)
        if num_objects and count:
            hits = rng.random(count) < 0.5
            found[hits] = wanted["boxes"].numpy()[rng.integers(0, num_objects, hits.sum())]
        scores = rng.choice(levels, count)
        detections.append(detection(found, scores, rng.integers(0, num_classes, count)))

    return detections, targets, num_classes


def run(num_cases, seed):
    """Run cases; return those that are wrong, with what is."""
    wrong = []
    for case in range(num_cases):
        scenes = tied_scenes(np.random.default_rng([seed, case]))
        try:
            assert_equals_pycocotools(*scenes)
        except AssertionError as error:
            wrong.append((case, str(error).strip().splitlines()[0]))
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    wrong = run(options.cases, options.seed)
    print(f"{options.cases} cases, {len(wrong)} wrong")
    for case, fault in wrong[:40]:
        print(f"  case {case}: {fault}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
