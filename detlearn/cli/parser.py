"""The command line: ``detlearn train | evaluate | detect | grade | nbgrader | doctor``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to import, which --help should not
    import torch
    from torch.utils.data import Dataset

    from detlearn.data.transforms import Transform
    from detlearn.pretrained import SavedDetector

EXAMPLES = {
    "train": """\
examples:
  detlearn train --data toytown --steps 600 --out runs/toytown
  detlearn train --data bccd --min-size 240 --max-size 320 --epochs 60 --out runs/bccd
  detlearn train --data voc:path/to/VOC2007 --split trainval --epochs 20 --out runs/voc
  detlearn train --data coco:path/to/images,path/to/instances.json --epochs 10 --out runs/mine
  torchrun --nproc-per-node 2 -m detlearn.cli train --data toytown --steps 600 --out runs/two

A training that was stopped goes on where it was when the same command is given again.""",
    "evaluate": """\
examples:
  detlearn evaluate runs/bccd --data bccd --split test
  detlearn evaluate runs/toytown --data toytown:crowd --json""",
    "detect": """\
examples:
  detlearn detect runs/bccd photo.jpg another.png --out found
  detlearn detect runs/bccd photo.jpg --min-score 0.5""",
    "grade": """\
examples:
  detlearn grade handed_in --out grades.csv
  detlearn grade handed_in --out grades.csv --seed 7 --exercises box_iou nms --workers 8
  detlearn grade /autograder/submission --gradescope /autograder/results/results.json

Every file and folder in FOLDER is one submission. What was graded stays graded: after a crash the
same command goes on where it was. With --gradescope alone, FOLDER itself is one submission.""",
    "nbgrader": """\
examples:
  detlearn nbgrader course
  cd course && nbgrader generate_assignment 01_foundations""",
    "doctor": """\
examples:
  detlearn doctor        exit status 0 if all is well, 1 if not""",
}

DATA_HELP = (
    "toytown, toytown:SCENARIO, bccd, voc:FOLDER (with JPEGImages, Annotations, ImageSets) "
    "or coco:IMAGE_FOLDER,ANNOTATION_FILE"
)
AUGMENTATIONS = ("hflip", "vflip", "color", "crop")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after ``detlearn``; those of the process by default.

    Returns:
        The exit status: 0, or 1 after an error that was said in one sentence.
    """
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        # One line on stderr instead of a path and a line of source.
        warnings.showwarning = lambda message, *rest: print(f"note: {message}", file=sys.stderr)
        try:
            return options.run(options)
        except (ValueError, TypeError, OSError, FloatingPointError) as error:
            print(f"detlearn {options.command}: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("stopped; the same command continues from the last checkpoint", file=sys.stderr)
            return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="detlearn", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: object, about: str) -> argparse.ArgumentParser:
        shape = argparse.RawDescriptionHelpFormatter
        sub = commands.add_parser(
            name, help=about, description=about, epilog=EXAMPLES[name], formatter_class=shape
        )
        sub.set_defaults(run=run)
        return sub

    _add_train(command("train", _train, "Train a detector and keep it in a folder."))
    _add_evaluate(command("evaluate", _evaluate, "Measure COCO AP of a trained detector."))
    _add_detect(command("detect", _detect, "Find objects in image files."))
    _add_grade(command("grade", _grade, "Grade the exercises in a folder of notebooks (Linux)."))
    _add_nbgrader(command("nbgrader", _nbgrader, "Write a course folder for nbgrader."))
    command("doctor", _doctor, "Print versions and what is wrong with them.")
    return parser


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("--model", default="point", help="which detector (default: point)")
    train.add_argument("--data", required=True, help=DATA_HELP)
    train.add_argument("--split", default="train", help="of a VOC data set (default: train)")
    train.add_argument("--out", type=Path, required=True, help="folder for the detector")
    length = train.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=float)
    length.add_argument("--steps", type=int)
    length.add_argument("--minutes", type=float)
    train.add_argument("--batch-size", type=int, default=16)
    train.add_argument("--lr", type=float, default=2e-3)
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--min-size", type=int, help="resize the shorter side to this …")
    train.add_argument("--max-size", type=int, help="… and the longer to at most this")
    train.add_argument(
        "--augment", nargs="*", choices=AUGMENTATIONS, default=["hflip"], metavar="NAME",
        help=f"any of {', '.join(AUGMENTATIONS)} (default: hflip)",
    )  # fmt: skip
    train.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    train.add_argument("--workers", type=int, default=0, help="processes that load images")


def _add_evaluate(evaluate: argparse.ArgumentParser) -> None:
    evaluate.add_argument("folder", type=Path, help="the --out of the training")
    evaluate.add_argument("--data", required=True, help=DATA_HELP)
    evaluate.add_argument("--split", default="test", help="of a VOC data set (default: test)")
    evaluate.add_argument("--batch-size", type=int, default=16)
    evaluate.add_argument("--device")
    evaluate.add_argument("--json", action="store_true", help="print the numbers as JSON")


def _add_detect(detect: argparse.ArgumentParser) -> None:
    detect.add_argument("folder", type=Path, help="the --out of the training")
    detect.add_argument("images", type=Path, nargs="+")
    detect.add_argument("--out", type=Path, default=Path("detections"), help="folder for results")
    detect.add_argument("--min-score", type=float, default=0.3)
    detect.add_argument("--device")


def _add_grade(grade: argparse.ArgumentParser) -> None:
    grade.add_argument("folder", type=Path, help="each entry is a submission")
    grade.add_argument("--out", type=Path, help="the table, a CSV file")
    grade.add_argument("--gradescope", type=Path, help="results.json for a single submission")
    grade.add_argument("--seed", type=int, help="of the cases (default: drawn once)")
    grade.add_argument("--exercises", nargs="+", metavar="NAME", help="(default: all)")
    grade.add_argument("--workers", type=int, help="at the same time (default: one per core)")
    grade.add_argument(
        "--time-limit", type=float, default=10.0, metavar="S",
        help="seconds for one exercise of a submission (default: 10)",
    )  # fmt: skip


def _add_nbgrader(nbgrader: argparse.ArgumentParser) -> None:
    nbgrader.add_argument("course", type=Path, help="folder to write")
    nbgrader.add_argument("--chapters", type=Path, help="folder of the book's notebooks")
    nbgrader.add_argument("--seed", type=int, help="of the hidden tests (default: drawn)")


def _dataset(text: str, split: str, seed: int, num_images: int) -> Dataset:
    from detlearn.data import CocoDetection, ToyTown, VOCDetection, download_bccd

    kind, _, rest = text.partition(":")
    if kind == "toytown":
        return ToyTown.scenario(rest or "default", num_images, seed=seed)
    if kind == "bccd":
        return VOCDetection(download_bccd(), split, on_bad="skip")
    if kind == "voc" and rest:
        return VOCDetection(rest, split, on_bad="skip")
    if kind == "coco" and rest.count(",") == 1:
        return CocoDetection(*rest.split(","), on_bad="skip")
    raise ValueError(f"--data {text!r} is not understood; expected {DATA_HELP}")


def _augmentation(names: Sequence[str]) -> Transform:
    from torchvision.transforms import v2

    from detlearn.data import transforms

    known = {
        "hflip": transforms.random_apply(transforms.horizontal_flip),
        "vflip": transforms.random_apply(transforms.vertical_flip),
        "color": transforms.from_torchvision(v2.RandomPhotometricDistort()),
        "crop": transforms.from_torchvision(v2.RandomIoUCrop(min_scale=0.5)),
    }
    return transforms.compose(*(known[name] for name in AUGMENTATIONS if name in names))


def _train(options: argparse.Namespace) -> int:
    import torch

    from detlearn import models
    from detlearn.pretrained import save_detector
    from detlearn.training import fit

    _check_same_command(options)
    device = _device(options.device)
    train = _dataset(options.data, options.split, options.seed, num_images=2000)
    sizes = {"min_size": options.min_size, "max_size": options.max_size}
    torch.manual_seed(options.seed)
    model = models.create(options.model, len(train.class_names), **sizes)
    history = fit(
        model,
        train,
        **{name: getattr(options, name) for name in ("epochs", "steps", "minutes", "batch_size")},
        **{name: getattr(options, name) for name in ("lr", "seed", "workers")},
        device=device,
        augment=_augmentation(options.augment),
        checkpoint=options.out / "training.safetensors",
    )
    if _is_first_process():
        path = options.out / "detector.safetensors"
        save_detector(path, model, options.model, train.class_names, **sizes)
        print(history)
        print(f"detector: {path}")
    return 0


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"  # RANK is torchrun's


def _check_same_command(options: argparse.Namespace) -> None:
    """A folder holds one training: what `fit` cannot see in its checkpoint is compared here."""
    from detlearn.machine.checkpoints import write_atomically

    names = ("model", "data", "split", "min_size", "max_size", "augment")
    asked = {name: getattr(options, name) for name in names}
    notes = options.out / "command.json"
    if notes.exists() and (options.out / "training.safetensors").exists():
        found = json.loads(notes.read_text())
        different = [name for name in names if found.get(name) != asked[name]]
        if different:
            raise ValueError(
                f"{options.out} holds a training with "
                f"{ {name: found.get(name) for name in different} }, this one has "
                f"{ {name: asked[name] for name in different} }; give another --out"
            )
    if _is_first_process():
        write_atomically(notes, json.dumps(asked, indent=1).encode())


def _device(name: str | None) -> torch.device:
    import torch

    from detlearn.machine.hardware import default_device

    try:
        device = torch.device(name) if name else default_device()
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name} cannot be used here: {error}") from error
    return device


def _load(folder: Path, device: str | None) -> SavedDetector:
    from detlearn.pretrained import load_detector

    saved = load_detector(folder / "detector.safetensors" if folder.is_dir() else folder)
    saved.model.to(_device(device))
    return saved


def _evaluate(options: argparse.Namespace) -> int:
    from detlearn.metrics import evaluate

    saved = _load(options.folder, options.device)
    # A seed that no training uses: seeds there start at 0.
    data = _dataset(options.data, options.split, seed=10**6, num_images=500)
    if list(data.class_names) != saved.class_names:
        raise ValueError(
            f"the detector knows the classes {saved.class_names}, "
            f"the data set has {list(data.class_names)}"
        )
    metrics = evaluate(saved.model, data, batch_size=options.batch_size)
    if options.json:
        columns = zip(saved.class_names, metrics.ap_per_class, metrics.ap50_per_class)
        per_class = {name: {"ap": float(ap), "ap50": float(ap50)} for name, ap, ap50 in columns}
        print(json.dumps({**metrics.to_dict(), "per_class": per_class}, indent=1))
    else:
        print(metrics)
    return 0


def _detect(options: argparse.Namespace) -> int:
    import matplotlib

    matplotlib.use("Agg")

    from detlearn.machine.progress import progress_bar

    stems = [path.stem for path in options.images]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise ValueError(f"two images are called {twice}: their results would overwrite each other")
    saved = _load(options.folder, options.device)
    show_bar = len(options.images) >= 5
    with progress_bar(len(options.images), "detecting", unit="image", show=show_bar) as bar:
        for path in options.images:
            _detect_one(saved, path, options)
            bar.update()
    return 0


def _detect_one(saved: SavedDetector, path: Path, options: argparse.Namespace) -> None:
    """Write what is found in one image file as a picture and as JSON."""
    import matplotlib.pyplot as plt
    import torch

    from detlearn.data.reading import read_picture
    from detlearn.machine.checkpoints import write_atomically
    from detlearn.plotting import show

    device = next(saved.model.parameters()).device
    image = read_picture(path)
    with torch.inference_mode():
        found = saved.model([image.to(device)])[0]
    found = {name: value[found["scores"] >= options.min_score] for name, value in found.items()}
    rows = [
        {"box": [round(x, 2) for x in box], "score": round(score, 4), "class": names}
        for box, score, names in zip(
            found["boxes"].tolist(),
            found["scores"].tolist(),
            (saved.class_names[label] for label in found["labels"].tolist()),
        )
    ]
    drawing = options.out / f"{path.stem}.png"
    write_atomically(options.out / f"{path.stem}.json", json.dumps(rows, indent=1).encode())
    axes = show(image, found, class_names=saved.class_names)
    axes.figure.savefig(drawing, bbox_inches="tight")
    plt.close(axes.figure)
    print(f"{path}: {len(rows)} objects → {drawing}, .json")


def _grade(options: argparse.Namespace) -> int:
    from detlearn.grading.grader import grade_folder, grade_one
    from detlearn.grading.worker import Limits

    if (options.out is None) == (options.gradescope is None):
        raise ValueError("give either --out grades.csv or --gradescope results.json")
    if options.time_limit <= 0 or (options.workers is not None and options.workers < 1):
        raise ValueError("--time-limit and --workers must be positive")
    common = {"exercises": options.exercises, "limits": Limits(seconds=options.time_limit)}
    if options.gradescope:
        row = grade_one(options.folder, options.gradescope, seed=options.seed or 0, **common)
        print(f"{sum(row.points.values())} points → {options.gradescope}")
        return 0
    rows = grade_folder(
        options.folder, options.out, seed=options.seed, workers=options.workers, **common
    )
    print(f"{len(rows)} submissions → {options.out}")
    if lost := sorted(name for name, row in rows.items() if row.lost):
        print(f"not graded, give the same command again: {', '.join(lost)}", file=sys.stderr)
        return 1
    return 0


def _nbgrader(options: argparse.Namespace) -> int:
    from detlearn.grading.nbgrader import write_course

    beside = Path(__file__).resolve().parents[2] / "chapters"  # in a copy of the repository
    default = beside if beside.is_dir() else Path("chapters")
    for path in write_course(options.course, options.chapters or default, options.seed):
        print(path)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from detlearn.machine.doctor import report

    text, well = report()
    print(text)
    return 0 if well else 1
