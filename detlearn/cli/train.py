"""``detlearn train``."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detlearn.cli.detector import CHECKPOINT_FILE, DETECTOR_FILE, choose_device, write_info
from detlearn.cli.sources import DATA_HELP, add_reading_arguments, open_source

if TYPE_CHECKING:
    from detlearn.data.transforms import Transform

ABOUT = "Train a detector and keep it in a folder."
EXAMPLES = """\
examples:
  detlearn train --recipe faster_rcnn --data toytown --out runs/chapter2
  detlearn train --data toytown --steps 600 --out runs/toytown
  detlearn train --data bccd --min-size 240 --max-size 320 --epochs 60 --out runs/bccd
  detlearn train --data voc:path/to/VOC2007 --split trainval --epochs 20 --out runs/voc
  detlearn train --data yolo:path/to/data.yaml --epochs 20 --multi-scale 256:384 --out runs/own
  detlearn train --data coco:path/to/images,path/to/instances.json --epochs 10 --out runs/mine
  torchrun --nproc-per-node 2 -m detlearn.cli train --data toytown --steps 600 --out runs/two

A recipe is how a chapter trains its detector; what else is given goes before it.
A training that was stopped goes on where it was when the same command is given again."""

AUGMENTATIONS = ("hflip", "vflip", "color", "crop")
# What decides a training but does not stand in its checkpoint.
RECORDED = (
    "model",
    "data",
    "split",
    "min_size",
    "max_size",
    "num_queries",
    "augment",
    "recipe",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands."""
    parser.add_argument("--model", help="which detector (default: the recipe's, or point)")
    parser.add_argument("--data", required=True, help=DATA_HELP)
    parser.add_argument("--split", default="train", help="of VOC or YOLO data (default: train)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the detector")
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="train as a chapter does: point, faster_rcnn, cascade_rcnn, yolov1, yolov3, yolov8, "
        "retinanet, fcos, centernet, detr, deformable_detr",
    )

    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=float)
    length.add_argument("--steps", type=int)
    length.add_argument("--minutes", type=float)

    # Their defaults are the recipe's, so they are not said here.
    parser.add_argument("--batch-size", type=int, help="images of a step (default: 16)")
    parser.add_argument("--lr", type=float, help="the peak learning rate (default: 2e-3)")
    parser.add_argument(
        "--warmup",
        type=int,
        metavar="STEPS",
        help="until the learning rate is at its peak (default: 50)",
    )
    parser.add_argument(
        "--clip-norm",
        type=float,
        metavar="NORM",
        help="to which larger gradients are scaled down (default: 10)",
    )
    parser.add_argument(
        "--backbone-steps",
        type=int,
        metavar="STEPS",
        help="before all others, in which the backbone alone learns a dense task (default: 0)",
    )
    parser.add_argument(
        "--augment",
        nargs="*",
        choices=AUGMENTATIONS,
        metavar="NAME",
        help=f"any of {', '.join(AUGMENTATIONS)} (default: hflip)",
    )

    parser.add_argument(
        "--multi-scale",
        type=size_range,
        metavar="MIN:MAX",
        help="draw another image size every 10 steps, a multiple of 32 from MIN to MAX",
    )

    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--min-size", type=int, help="resize the shorter side to this …")
    parser.add_argument("--max-size", type=int, help="… and the longer to at most this")
    parser.add_argument(
        "--num-queries",
        type=int,
        help="of detr and deformable_detr: the most objects that can be found in an image "
        "(default: 10 and 20)",
    )
    parser.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    parser.add_argument("--workers", type=int, default=0, help="processes that load images")
    add_reading_arguments(parser)


def size_range(text: str) -> tuple[int, int]:
    """Return the two numbers of ``"96:160"``.

    Raises:
        argparse.ArgumentTypeError: for anything else.
    """
    smallest, _, largest = text.partition(":")
    if not (smallest.isdecimal() and largest.isdecimal() and int(smallest) <= int(largest)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no range of image sizes: expected MIN:MAX in pixels, such as 96:160"
        )
    return int(smallest), int(largest)


def run(options: argparse.Namespace) -> int:
    """Train, and write the detector."""
    lengths = (options.epochs, options.steps, options.minutes)
    if options.recipe is None and all(length is None for length in lengths):
        options.usage_error("one of the arguments --epochs --steps --minutes --recipe is required")
    _fill_in(options)

    import torch

    from detlearn import models
    from detlearn.pretrained import save_detector
    from detlearn.training import fit

    settings = fit_settings(options)
    check_same_command(options)
    device = choose_device(options.device)
    train = open_source(options, options.data, options.split, seed=options.seed, num_images=2000)

    torch.manual_seed(options.seed)
    model = models.create(
        options.model,
        len(train.class_names),
        min_size=options.min_size,
        max_size=options.max_size,
        num_queries=options.num_queries,
    )
    if _is_first_process():
        write_info(options.out, model, options.model, train.class_names)
    try:
        history = fit(
            model,
            train,
            seed=options.seed,
            workers=options.workers,
            device=device,
            checkpoint=options.out / CHECKPOINT_FILE,
            **settings,
        )
    except KeyboardInterrupt:
        if (options.out / CHECKPOINT_FILE).exists():
            raise KeyboardInterrupt("the same command continues from the last checkpoint") from None
        raise KeyboardInterrupt("before the first checkpoint, so nothing is kept") from None

    if _is_first_process():
        path = options.out / DETECTOR_FILE
        save_detector(path, model, options.model, train.class_names)
        print(history)
        print(f"detector: {path}")
    return 0


def _fill_in(options: argparse.Namespace) -> None:
    """Set what was left out and does not come from a recipe."""
    if options.model is None:
        options.model = options.recipe or "point"
    if options.augment is None and options.recipe is None:
        options.augment = ["hflip"]


def fit_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return what `fit` is told: the recipe's settings, and over them what was given explicitly.

    Raises:
        ValueError: if there is no recipe of that name, or no multiple of 32 between two sizes.
    """
    from detlearn.training import MultiScale, recipe
    from detlearn.training.multi_scale import sizes_between

    settings = recipe(options.recipe).settings() if options.recipe else {}

    # A length that was given replaces the recipe's, in whatever unit.
    lengths = {"epochs": options.epochs, "steps": options.steps, "minutes": options.minutes}
    if any(length is not None for length in lengths.values()):
        settings.pop("steps", None)

    if options.augment is not None:
        settings["augment"] = augmentation(options.augment)
    if options.multi_scale is not None:
        settings["multi_scale"] = MultiScale(sizes_between(*options.multi_scale))

    explicit = {
        **lengths,
        "batch_size": options.batch_size,
        "lr": options.lr,
        "lr_warmup": options.warmup,
        "clip_norm": options.clip_norm,
        "backbone_steps": options.backbone_steps,
    }
    for name, value in explicit.items():
        if value is not None:
            settings[name] = value
    return settings


def augmentation(names: Sequence[str]) -> Transform:
    """Return one transform of several names, always in the order of `AUGMENTATIONS`."""
    from torchvision.transforms import v2

    from detlearn.data import transforms

    known = {
        "hflip": transforms.random_apply(transforms.horizontal_flip),
        "vflip": transforms.random_apply(transforms.vertical_flip),
        "color": transforms.from_torchvision(v2.RandomPhotometricDistort()),
        "crop": transforms.from_torchvision(v2.RandomIoUCrop(min_scale=0.5)),
    }
    chosen = [known[name] for name in AUGMENTATIONS if name in names]
    return transforms.compose(*chosen)


def check_same_command(options: argparse.Namespace) -> None:
    """Check that a folder holds one training, and note which.

    What `fit` cannot see in its checkpoint is compared here.

    Raises:
        ValueError: if the folder holds another training.
    """
    from detlearn.machine.checkpoints import write_atomically

    asked = {name: getattr(options, name) for name in RECORDED}
    notes = options.out / "command.json"
    if notes.exists() and (options.out / CHECKPOINT_FILE).exists():
        found = json.loads(notes.read_text())
        different = [name for name in RECORDED if found.get(name) != asked[name]]
        if different:
            raise ValueError(
                f"{options.out} holds a training with "
                f"{ {name: found.get(name) for name in different} }, this one has "
                f"{ {name: asked[name] for name in different} }; give another --out"
            )

    if _is_first_process():
        write_atomically(notes, json.dumps(asked, indent=1).encode())


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"  # RANK is torchrun's
