"""``detlearn evaluate``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detlearn.cli.detector import load
from detlearn.cli.sources import DATA_HELP, add_reading_arguments, open_source

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset

    from detlearn.metrics import CocoMetrics, ErrorAnalysis

ABOUT = "Measure COCO AP of a trained detector, or of a file of detections."
EXAMPLES = """\
examples:
  detlearn evaluate runs/bccd --data bccd --split test
  detlearn evaluate runs/toytown --data toytown:crowd --json
  detlearn evaluate --predictions results.json --data coco:path/to/instances.json

It prints COCO's twelve numbers, AP class by class, and what the mistakes cost. The numbers do not
depend on --batch-size. Of a training that was stopped it measures the averaged weights so far."""

SEED = 10**6  # of ToyTown's scenes: one that no training uses, since seeds there start at 0
NUM_SCENES = 500  # of ToyTown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands."""
    parser.add_argument("folder", type=Path, nargs="?", help="the --out of the training")
    parser.add_argument("--data", required=True, help=DATA_HELP)
    parser.add_argument("--split", default="test", help="of VOC or YOLO data (default: test)")
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="in place of a detector: a JSON list of detections in COCO's form (image_id, "
        "category_id, bbox, score), as detlearn detect --json and most tools write it. No picture "
        "is read then: --data coco:ANNOTATION_FILE is enough, if it gives the sizes of the images "
        "(voc and yolo data need their pictures, which they are found by)",
    )
    parser.add_argument("--batch-size", type=int, default=16, help="(default: 16)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    add_reading_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    from detlearn.metrics import coco_metrics, error_analysis

    if (options.folder is None) == (options.predictions is None):
        options.usage_error("give either the --out of a training or --predictions FILE")

    if options.predictions is not None:
        data, detections = _read_detections(options)
    else:
        data, detections = _detect(options)
    targets = _targets(data)

    names = list(data.class_names)
    metrics = coco_metrics(detections, targets, len(names), class_names=names)
    errors = error_analysis(detections, targets, len(names))

    if options.json:
        print(json.dumps(as_dictionary(metrics, errors), indent=1))
    else:
        print(as_text(metrics, errors))
    return 0


def _open(
    options: argparse.Namespace,
    *,
    class_names: Sequence[str] | None = None,
    reads_pictures: bool = True,
) -> Dataset:
    """Open the data to measure on; see `open_source`."""
    return open_source(
        options,
        options.data,
        options.split,
        seed=SEED,
        num_images=NUM_SCENES,
        class_names=class_names,
        reads_pictures=reads_pictures,
    )


def _detect(options: argparse.Namespace) -> tuple[Dataset, list[dict[str, Tensor]]]:
    """Return the data and what a detector finds there."""
    from detlearn.metrics import predict

    saved = load(options.folder, options.device)
    data = _open(options, class_names=saved.class_names)
    return data, predict(saved.model, data, batch_size=options.batch_size)


def _read_detections(options: argparse.Namespace) -> tuple[Dataset, list[dict[str, Tensor]]]:
    """Return the data and what a file of detections says of them."""
    from detlearn.data import read_predictions

    data = _open(options, reads_pictures=False)
    if not hasattr(data, "image_paths"):
        raise ValueError(f"--predictions is for pictures in files; --data is {options.data!r}")
    return data, read_predictions(options.predictions.expanduser(), data)


def _targets(data: Dataset) -> list[dict[str, Tensor]]:
    """Return the annotations of all samples; pictures in files need not be read again."""
    if hasattr(data, "target"):
        return [data.target(index) for index in range(len(data))]
    return [data[index][1] for index in range(len(data))]


def as_dictionary(metrics: CocoMetrics, errors: ErrorAnalysis) -> dict[str, object]:
    """Return all numbers by name, for JSON; -1 where there is nothing to measure."""
    per_class = {
        name: {"ap": float(ap), "ap50": float(ap50)}
        for name, ap, ap50 in zip(
            metrics.class_names, metrics.ap_per_class, metrics.ap50_per_class, strict=True
        )
    }
    mistakes = {
        kind: {"count": count, "dap": float(errors.dap[kind])}
        for kind, count in errors.counts.items()
    }
    return {**metrics.to_dict(), "per_class": per_class, "errors": mistakes}


def as_text(metrics: CocoMetrics, errors: ErrorAnalysis) -> str:
    """Return all numbers as tables; a dash where there is nothing to measure."""
    mistakes = "mistakes at IoU .50, and the AP that each kind costs:"
    return "\n".join([str(metrics), "", class_table(metrics), "", mistakes, str(errors)])


def class_table(metrics: CocoMetrics) -> str:
    """Return AP and AP50 of each class, one a line; a dash for one without objects."""
    from detlearn.metrics.summary import format_percent

    width = max(len(name) for name in ("class", *metrics.class_names))
    lines = [f"{'class':{width}}     AP   AP50"]
    for name, ap, ap50 in zip(
        metrics.class_names, metrics.ap_per_class, metrics.ap50_per_class, strict=True
    ):
        lines.append(f"{name:{width}}  {format_percent(ap):>5}  {format_percent(ap50):>5}")
    return "\n".join(lines)
