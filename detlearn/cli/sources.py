"""Where the annotated pictures are: what the words after ``--data`` mean, and how they are read.

`train`, `evaluate` and `data` share these options. Bad annotations are left out and said; the
commands that would then measure or learn something else than they were asked to stop.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.data import Dataset

DATA_HELP = (
    "toytown, toytown:SCENARIO, bccd, voc:FOLDER (with JPEGImages, Annotations, ImageSets, or with "
    "XML files beside the pictures), "
    "yolo:DATA.YAML or coco:IMAGE_FOLDER,ANNOTATION_FILE"
)
BAR_FROM = 200  # pictures: fewer are checked before a bar can be read
LEFT_OUT_LIMIT = 0.1  # of the objects: where more are left out, something else is wrong


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how annotations are read, the same for every command."""
    group = parser.add_argument_group("how the annotations are read")

    # What a file leaves open: the order of its classes, and from where it counts pixels.
    group.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="the classes in the order of their labels (default: the order of the files)",
    )
    group.add_argument(
        "--zero-based",
        action="store_true",
        help="VOC: corners are counted from 0 and the last is not part of the box, as most tools "
        "export them (Pascal VOC itself counts pixels from 1 and includes the last)",
    )

    # What stops a command unless it is asked for.
    group.add_argument(
        "--skip-bad-images",
        action="store_true",
        help="go on without pictures that are missing or broken, and say which",
    )
    group.add_argument(
        "--accept-empty",
        action="store_true",
        help="go on though there is no object at all",
    )
    group.add_argument(
        "--accept-left-out",
        action="store_true",
        help="go on though more than a tenth of the objects cannot be read",
    )


def open_source(
    options: argparse.Namespace,
    text: str,
    split: str,
    *,
    seed: int,
    num_images: int,
    class_names: Sequence[str] | None = None,
    reads_pictures: bool = True,
) -> Dataset:
    """Open what a command is to learn from or to be measured on, and check that all is there.

    Args:
        options: with what `add_reading_arguments` adds.
        text: the word after ``--data``.
        split: of VOC or YOLO data.
        seed: of ToyTown's scenes.
        num_images: of ToyTown.
        class_names: by label, where a detector or another data set decides them; the classes of the
            objects must be among them, in any order.
        reads_pictures: the command will read the pictures: find those that are missing or broken
            first. COCO files need none otherwise.

    Returns:
        The data set, with ``class_names``.

    Raises:
        ValueError: as `open_dataset` and `check_complete`, or if a class is none of `class_names`.
    """
    settings = {
        "seed": seed,
        "num_images": num_images,
        "zero_based": options.zero_based,
        "skip_bad_images": options.skip_bad_images,
        "reads_pictures": reads_pictures,
    }
    data = open_dataset(text, split, class_names=options.classes, **settings)

    # Names decide, not numbers: another file may have them in another order, or lack one. A class
    # that no object has is no matter.
    if class_names is not None and list(data.class_names) != list(class_names):
        unknown = [name for name in _classes_of_objects(data) if name not in class_names]
        if unknown:
            raise ValueError(
                f"{text} has the classes {list(data.class_names)}; {unknown} are none of "
                f"{list(class_names)}, which are expected here. '--classes' with names of these "
                "leaves objects of other classes out"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what was left out was said the first time
            data = open_dataset(text, split, class_names=class_names, **settings)

    check_complete(
        data,
        text,
        accept_empty=options.accept_empty,
        accept_left_out=options.accept_left_out,
    )

    # Then what takes longer: each picture is read once, so that none stops the command later.
    if reads_pictures and hasattr(data, "check"):
        data.check(
            accept_empty=options.accept_empty,
            accept_left_out=True,
            progress=len(data) >= BAR_FROM,
        )
    return data


def open_dataset(
    text: str,
    split: str,
    *,
    seed: int,
    num_images: int,
    class_names: Sequence[str] | None = None,
    zero_based: bool = False,
    skip_bad_images: bool = False,
    reads_pictures: bool = True,
) -> Dataset:
    """Open a data set. A ``~`` at the start of a path is the home folder.

    Args:
        text: the word after ``--data``.
        split: of VOC or YOLO data.
        seed: of ToyTown's scenes.
        num_images: of ToyTown.
        class_names: by label; None for the order of the files.
        zero_based: VOC: corners are counted from 0, without the last.
        skip_bad_images: go on without missing and broken pictures.
        reads_pictures: False where the annotations are enough; then the annotation file is, too,
            ``"coco:ANNOTATION_FILE"``.

    Returns:
        The data set, with ``class_names``.

    Raises:
        ValueError: if the word is not understood, or an option does not fit this kind of data.
    """
    from detlearn.data import (
        CocoDetection,
        ToyTown,
        VOCDetection,
        YOLODetection,
        download_bccd,
    )

    kind, _, rest = text.partition(":")
    if zero_based and kind != "voc":
        raise ValueError(f"--zero-based is for voc:FOLDER; --data is {text!r}")

    if kind == "toytown":
        data = ToyTown.scenario(rest or "default", num_images, seed=seed)
        if class_names is not None and list(class_names) != list(data.class_names):
            raise ValueError(
                f"the classes are to be {list(class_names)}; ToyTown's are {data.class_names}"
            )
        return data

    if kind == "bccd" or (kind == "voc" and rest):
        return VOCDetection(
            download_bccd() if kind == "bccd" else _path(rest),
            split,
            on_bad="skip",
            class_names=class_names,
            zero_based=zero_based,
            skip_bad_images=skip_bad_images,
        )
    if kind == "yolo" and rest:
        return YOLODetection(
            _path(rest),
            split,
            on_bad="skip",
            class_names=class_names,
            skip_bad_images=skip_bad_images,
        )
    if kind == "coco" and rest and "," not in rest and not reads_pictures:
        rest = f"{_path(rest).parent},{rest}"  # where sizes are missing, pictures may be there
    if kind == "coco" and "," in rest:
        images, annotations = _folder_and_file(rest)
        return CocoDetection(
            _path(images),
            _path(annotations),
            on_bad="skip",
            class_names=class_names,
            skip_bad_images=skip_bad_images,
            reads_pictures=reads_pictures,
        )

    raise ValueError(f"--data {text!r} is not understood; expected {DATA_HELP}{_hint(text)}")


def _folder_and_file(text: str) -> tuple[str, str]:
    """Cut what stands behind ``coco:`` at its comma; a path may have commas of its own."""
    commas = [i for i, character in enumerate(text) if character == ","]
    for i in commas:
        if _path(text[i + 1 :]).is_file():
            return text[:i], text[i + 1 :]
    return text[: commas[0]], text[commas[0] + 1 :]


def _hint(text: str) -> str:
    """Say what may have been meant by a word that is not understood; nothing if nobody knows."""
    kind, _, rest = text.partition(":")
    if kind == "coco" and _path(rest).is_file():
        return f". Before the file and a comma the folder is missing: coco:IMAGE_FOLDER,{rest}"
    if kind == "coco" and rest:
        files = sorted(_path(rest).glob("*.json")) if _path(rest).is_dir() else []
        file = files[0] if files else "ANNOTATION_FILE"
        return f". Behind the folder and a comma the file is missing: coco:{rest},{file}"
    if text and _path(text).exists():
        return f". {text} is there: say before it how it is annotated, by coco:, voc: or yolo:"
    return ""


def check_complete(
    data: Dataset, text: str, *, accept_empty: bool = False, accept_left_out: bool = False
) -> None:
    """Check that there are objects, and that hardly any was left out.

    Args:
        data: what `open_dataset` returned.
        text: the word after ``--data``, for the message.
        accept_empty: do not mind a data set without objects.
        accept_left_out: do not mind objects that were left out.

    Raises:
        ValueError: if there is no object, or more than a tenth of them was left out.
    """
    if not hasattr(data, "left_out"):
        return  # drawn scenes have objects, and all of them

    # A crowd is nothing to learn or to find, but it is an object that was read.
    targets = [data.target(index) for index in range(len(data))]
    count = sum(len(target["labels"]) for target in targets)
    num_crowds = sum(int(target["iscrowd"].sum()) for target in targets)
    lost = sum(data.left_out.values())
    kinds = ", ".join(f"{number} × {reason}" for reason, number in data.left_out.items())

    if count == num_crowds and not accept_empty:
        found = f"; left out were {kinds}" if lost else ""
        raise ValueError(
            f"{text}: no object in {len(data)} pictures{found}. 'detlearn data {text}' shows what "
            "there is; --accept-empty goes on"
        )
    if lost > LEFT_OUT_LIMIT * (count + lost) and not accept_left_out:
        raise ValueError(
            f"{text}: {lost} of {count + lost} objects cannot be read ({kinds}), more than a "
            f"tenth. 'detlearn data {text}' shows where; --accept-left-out goes on without them"
        )


def _classes_of_objects(data: Dataset) -> list[str]:
    """Return the names of the classes that objects have, by label; of drawn scenes all names."""
    if not hasattr(data, "target"):
        return list(data.class_names)

    labels: set[int] = set()
    for index in range(len(data)):
        labels.update(data.target(index)["labels"].tolist())
    return [data.class_names[label] for label in sorted(labels)]


def _path(text: str) -> Path:
    """Return a path; the shell does not expand a ``~`` that stands after a colon or a comma."""
    return Path(text).expanduser()
