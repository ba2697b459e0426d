"""``detlearn evaluate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from detlearn.cli.detector import load
from detlearn.cli.sources import DATA_HELP, add_reading_arguments, open_source

ABOUT = "Measure COCO AP of a trained detector."
EXAMPLES = """\
examples:
  detlearn evaluate runs/bccd --data bccd --split test
  detlearn evaluate runs/toytown --data toytown:crowd --json"""

SEED = 10**6  # of ToyTown's scenes: one that no training uses, since seeds there start at 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands."""
    parser.add_argument("folder", type=Path, help="the --out of the training")
    parser.add_argument("--data", required=True, help=DATA_HELP)
    parser.add_argument("--split", default="test", help="of VOC or YOLO data (default: test)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    add_reading_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    from detlearn.metrics import evaluate

    saved = load(options.folder, options.device)
    data = open_source(
        options,
        options.data,
        options.split,
        seed=SEED,
        num_images=500,
        class_names=saved.class_names,
    )

    metrics = evaluate(saved.model, data, batch_size=options.batch_size)
    if not options.json:
        print(metrics)
        return 0

    per_class = {
        name: {"ap": float(ap), "ap50": float(ap50)}
        for name, ap, ap50 in zip(
            saved.class_names, metrics.ap_per_class, metrics.ap50_per_class, strict=True
        )
    }
    print(json.dumps({**metrics.to_dict(), "per_class": per_class}, indent=1))
    return 0
