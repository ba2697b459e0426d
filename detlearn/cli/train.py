"""``detlearn train``."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detlearn.cli.detector import (
    CHECKPOINT_FILE,
    DETECTOR_FILE,
    choose_device,
    load,
    read_notes,
    refuse_another,
    write_info,
)
from detlearn.cli.evaluate import class_table
from detlearn.cli.sources import DATA_HELP, add_reading_arguments, open_source

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.utils.data import Dataset

    from detlearn.data.transforms import Transform
    from detlearn.models import ImageBatcher
    from detlearn.pretrained import SavedDetector

ABOUT = "Train a detector and keep it in a folder."
EXAMPLES = """\
examples:
  detlearn train --recipe faster_rcnn --data toytown --out runs/chapter2
  detlearn train --data toytown --steps 600 --out runs/toytown
  detlearn train --data bccd --min-size 240 --max-size 320 --epochs 60 --out runs/bccd
  detlearn train --data voc:path/to/VOC2007 --split trainval --epochs 20 --out runs/voc
  detlearn train --data yolo:path/to/data.yaml --epochs 20 --multi-scale 256:384 --out runs/own
  detlearn train --data coco:path/to/images,path/to/instances.json --epochs 10 --out runs/mine
  detlearn train --data bccd --val bccd --val-split val --epochs 60 --out runs/bccd
  detlearn train --data bccd --epochs 90 --resume-with --out runs/bccd
  detlearn train --data voc:mine --weights runs/bccd --lr 5e-4 --epochs 20 --out runs/tuned
  torchrun --nproc-per-node 2 -m detlearn.cli train --data toytown --steps 600 --out runs/two

A recipe is how a chapter trains its detector; what else is given goes before it.
A training that was stopped, with Ctrl-C or otherwise, goes on where it was when the same command is
given again; with --resume-with and another length it becomes longer."""

AUGMENTATIONS = ("hflip", "vflip", "color", "crop")
COMMAND_FILE = "command.json"
VALIDATION_FILE = "validation.json"
LOCK_FILE = ".training.lock"  # there while a training runs
VALIDATIONS = 10  # in a training, unless --val-every says otherwise
VALIDATION_SEED = 2 * 10**6  # of ToyTown's scenes: one that neither training nor `evaluate` uses
VALIDATION_SCENES = 200
VALIDATION_BATCH = 4  # images: photographs are read at their own size
BATCH_SIZE = 16  # of `fit`
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
    "weights",
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

    parser.add_argument(
        "--resume-with",
        action="store_true",
        help="make the training in --out longer: --epochs or --steps is its new length, what is "
        "done included",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="fine-tune: start from a trained detector of the same kind, of other classes perhaps; "
        "a file, or the --out of its training",
    )

    parser.add_argument(
        "--val",
        metavar="DATA",
        help="measure COCO AP on these data during the training and at the end; as --data",
    )
    parser.add_argument(
        "--val-split", default="val", help="of VOC or YOLO data behind --val (default: val)"
    )
    parser.add_argument(
        "--val-every",
        type=int,
        metavar="STEPS",
        help="between two measurements (default: a tenth of the training; with --minutes an epoch)",
    )

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
    parser.add_argument(
        "--min-size",
        type=int,
        help="resize the shorter side to this … (default: chosen from the data and said; pictures "
        "of up to 384 pixels are left as they are)",
    )
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
    """Train, write the detector, and measure it."""
    _check_options(options)
    _fill_in(options)

    settings = fit_settings(options)
    device = choose_device(options.device)
    train = open_source(options, options.data, options.split, seed=options.seed, num_images=2000)
    val = _open_validation(options, train.class_names)
    start = None if options.weights is None else load(options.weights, "cpu")
    _set_size(options, train, start)

    with _only_training_in(options.out):
        return _train(options, settings, device, train, val, start)


def _train(
    options: argparse.Namespace,
    settings: dict[str, Any],
    device: torch.device,
    train: Dataset,
    val: Dataset | None,
    start: SavedDetector | None,
) -> int:
    """Train on data that are there, in a folder that no other training has now."""
    import torch

    from detlearn import models
    from detlearn.pretrained import save_detector, take_weights
    from detlearn.training import fit

    check_same_command(options)
    torch.manual_seed(options.seed)
    model = models.create(
        options.model,
        len(train.class_names),
        min_size=options.min_size,
        max_size=options.max_size,
        num_queries=options.num_queries,
    )
    if start is not None:
        new = take_weights(model, start, options.model, train.class_names)
        _say(f"weights of {options.weights}; {_names_of_layers(new)}")

    if model.batcher.resizes:
        settings["augment"] = and_resize(settings.get("augment"), model.batcher)
    if options.resume_with:
        settings["longer"] = True
        _say_how_much_longer(options, settings, train)
    if val is not None:
        every = options.val_every or _default_interval(settings, train)
        settings["after_step"] = Validation(val, every, options.out / VALIDATION_FILE)
    if _is_first_process():
        write_info(options.out, model, options.model, train.class_names)
    steps_before = _steps_when_finished(options.out)
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
        raise KeyboardInterrupt(_what_is_kept(options.out)) from None

    # Of several processes, one writes and measures.
    if _is_first_process():
        path = options.out / DETECTOR_FILE
        save_detector(path, model, options.model, train.class_names)
        print(history)
        print(f"detector: {path}")
        if steps_before is not None and not options.resume_with:
            print(_how_to_go_on(options, steps_before))
        if val is not None:
            _print_validation(model, val)
    return 0


def _check_options(options: argparse.Namespace) -> None:
    """Find out what argparse cannot see, and say it in its way."""
    lengths = (options.epochs, options.steps, options.minutes)
    if options.recipe is None and all(length is None for length in lengths):
        options.usage_error("one of the arguments --epochs --steps --minutes --recipe is required")
    if options.resume_with and options.epochs is None and options.steps is None:
        options.usage_error("--resume-with needs the new length: --epochs or --steps")
    if options.val_every is not None and (options.val is None or options.val_every < 1):
        options.usage_error(
            "--val-every is a positive number of steps between measurements of --val"
        )


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


# ---- the size of the pictures, the weights to start from, the length


def _set_size(options: argparse.Namespace, train: Dataset, start: SavedDetector | None) -> None:
    """Choose a size where none was given, and say it."""
    from detlearn import models
    from detlearn.cli.picture_size import choose_size

    if options.min_size is not None or options.max_size is not None:
        return
    if options.multi_scale is not None:
        return  # brings them to sizes of its own

    # What the detector has learned at one size, it does not know at another.
    if start is not None:
        batcher = start.model.batcher
        options.min_size, options.max_size = batcher.min_size, batcher.max_size
        if batcher.min_size is not None:
            _say(
                f"pictures are resized as for {options.weights}: --min-size {batcher.min_size} "
                f"--max-size {batcher.max_size}"
            )
        return

    if options.model not in models.BUILDERS:
        return  # `create` says so
    if models.create(options.model, 1).batcher.fixed_size is not None:
        return

    batch_size = fit_settings(options).get("batch_size", BATCH_SIZE)
    if batch_size < 1:
        return  # `fit` says so
    choice = choose_size(train, batch_size)
    if choice is not None:
        options.min_size, options.max_size = choice.min_size, choice.max_size
        _say(choice.reason)


def and_resize(augment: Transform | None, batcher: ImageBatcher) -> Transform:
    """Return an augmentation after which a sample has the size that the detector wants.

    The detector would resize it anyway; but sixteen photographs at their own size, waiting for
    that, take gigabytes.

    Args:
        augment: the augmentation before it, or None.
        batcher: of the detector; one that resizes.
    """
    from functools import partial

    from detlearn.data import transforms

    if batcher.fixed_size is not None:
        resize = partial(transforms.resize_to, size=batcher.fixed_size)
    else:
        resize = partial(
            transforms.resize_between, min_size=batcher.min_size, max_size=batcher.max_size
        )
    return resize if augment is None else transforms.compose(augment, resize)


def _names_of_layers(new: Sequence[str]) -> str:
    if not new:
        return "all layers fit"
    return f"these layers do not fit and begin anew: {', '.join(new)}"


def _say_how_much_longer(
    options: argparse.Namespace, settings: dict[str, Any], train: Dataset
) -> None:
    """Say what a longer training does to the learning rate, if it can be made longer."""
    from detlearn.training.longer import longer_in_words

    checkpoint = options.out / CHECKPOINT_FILE
    if not checkpoint.exists():
        raise ValueError(
            f"--resume-with makes the training in {options.out} longer, but there is no "
            f"{CHECKPOINT_FILE}: leave it out to begin one"
        )
    _say(longer_in_words(checkpoint, _num_steps(settings, train)))


def _num_steps(settings: dict[str, Any], train: Dataset) -> int | None:
    """Return how many steps `fit` will take, None if that is a matter of minutes."""
    from detlearn.training.steps import StepBatches

    if settings.get("epochs") is None:
        return settings.get("steps")

    batch_size = settings.get("batch_size", BATCH_SIZE)
    batches = StepBatches(train, batch_size, multi_scale=settings.get("multi_scale"))
    return batches.num_steps(settings["epochs"])


# ---- validation


def _open_validation(options: argparse.Namespace, class_names: Sequence[str]) -> Dataset | None:
    """Open what --val names, with the labels of the training's classes."""
    if options.val is None:
        return None
    return open_source(
        options,
        options.val,
        options.val_split,
        seed=VALIDATION_SEED,
        num_images=VALIDATION_SCENES,
        class_names=class_names,
    )


def _default_interval(settings: dict[str, Any], train: Dataset) -> int:
    """Return the steps between two measurements."""
    steps = _num_steps(settings, train)
    if steps is not None:
        return max(1, steps // VALIDATIONS)
    return max(1, len(train) // settings.get("batch_size", BATCH_SIZE))


class Validation:
    """Measure the detector every so many steps, print it, and keep the numbers in a file.

    Args:
        data: samples, with ``class_names``.
        every: steps between two measurements.
        path: the file, with one entry for each step at which it was measured. What an earlier run
            of the same training left there stays.
    """

    def __init__(self, data: Dataset, every: int, path: Path) -> None:
        self.data = data
        self.every = every
        self.path = path
        self.earlier()  # what would stop the first measurement is found before the first step

    def earlier(self) -> dict[str, Any]:
        """Return the numbers in the file, by step; none if there is no file yet."""
        return read_notes(self.path) if self.path.exists() else {}

    def __call__(self, step: int, model: nn.Module) -> None:
        """Measure after this step if it is one's turn; only the first process does."""
        from tqdm import tqdm

        from detlearn.machine.checkpoints import write_atomically
        from detlearn.metrics import evaluate

        if step % self.every != 0 or not _is_first_process():
            return

        metrics = evaluate(model, self.data, batch_size=VALIDATION_BATCH, progress=False)
        found = self.earlier()
        found[str(step)] = {"ap": metrics.ap, "ap50": metrics.ap50, "ap75": metrics.ap75}
        write_atomically(self.path, json.dumps(found, indent=1).encode())

        # Above the bar, not in the middle of it.
        tqdm.write(f"step {step}: AP {metrics.ap:.3f}, AP50 {metrics.ap50:.3f}")


def _print_validation(model: nn.Module, val: Dataset) -> None:
    """Measure the detector that was written, and print its numbers, class by class."""
    from detlearn.metrics import evaluate

    try:
        metrics = evaluate(model, val, batch_size=VALIDATION_BATCH)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the detector is written; evaluate measures it") from None
    print(metrics)
    print(class_table(metrics))


# ---- the folder


@contextmanager
def _only_training_in(out: Path) -> Iterator[None]:
    """Keep other trainings out of a folder while the block runs.

    Two of one folder would take each other's notes and checkpoints for their own.

    Raises:
        ValueError: another one runs in this folder.
    """
    from detlearn.machine.locks import hold

    with ExitStack() as stack:
        if _is_first_process():  # which holds it for all of them
            try:
                stack.enter_context(hold(out / LOCK_FILE, wait=False))
            except BlockingIOError:
                raise ValueError(
                    f"another training runs in {out} at this moment: wait for its end, or give "
                    "another --out"
                ) from None
        yield


def check_same_command(options: argparse.Namespace) -> None:
    """Check that a folder holds one training, and note which.

    What `fit` cannot see in its checkpoint is compared here.

    Args:
        options: the command's, with the size that was chosen.

    Raises:
        ValueError: if the folder holds another training.
    """
    from detlearn.machine.checkpoints import write_atomically

    asked = {name: getattr(options, name) for name in RECORDED}
    asked["weights"] = None if options.weights is None else str(options.weights)
    notes = options.out / COMMAND_FILE
    if notes.exists() and (options.out / CHECKPOINT_FILE).exists():
        refuse_another(options.out, read_notes(notes), asked)

    if _is_first_process():
        write_atomically(notes, json.dumps(asked, indent=1).encode())


def _steps_when_finished(out: Path) -> int | None:
    """Return how many steps the training in a folder took; None if it has not come to its end."""
    from detlearn.machine.checkpoints import load_tensors

    checkpoint = out / CHECKPOINT_FILE
    if not checkpoint.exists():
        return None
    info = load_tensors(checkpoint)[1]
    return info["steps_done"] if info.get("finished") else None


def _how_to_go_on(options: argparse.Namespace, steps: int) -> str:
    """Say that there was nothing to do, and what would be something."""
    if options.minutes is not None:  # `longer_in_words` says why
        advice = f"--weights {options.out} with another --out goes on from its weights"
    else:
        advice = "--resume-with and a larger --epochs or --steps makes it longer"
    return f"nothing was trained, for all {steps} steps were taken before; {advice}"


def _what_is_kept(out: Path) -> str:
    """Say after Ctrl-C what a folder holds: what is true, and not what should be."""
    from detlearn.machine.checkpoints import load_tensors
    from detlearn.training.loop import backbone_file

    checkpoint = out / CHECKPOINT_FILE
    if checkpoint.exists():
        steps = load_tensors(checkpoint)[1]["steps_done"]
        return (
            f"{checkpoint} holds {steps} steps; the same command goes on from there, and evaluate "
            f"and detect take the detector as it is there"
        )

    backbone = backbone_file(checkpoint)
    if backbone.exists():
        steps = load_tensors(backbone)[1]["steps_done"]
        return (
            f"{backbone} holds {steps} steps of the backbone; the same command goes on from there"
        )
    return "nothing is kept, because there is no checkpoint yet; the same command begins anew"


def _say(text: str) -> None:
    """Print a line, in one process only."""
    if _is_first_process():
        print(text)


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"  # RANK is torchrun's
