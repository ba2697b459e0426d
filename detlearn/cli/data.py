"""``detlearn data``: look at annotated pictures before training, and convert them."""

from __future__ import annotations

import argparse
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detlearn.cli.detect import drawable_names
from detlearn.cli.findings import check_sheet_free, write_sheet
from detlearn.cli.sources import (
    BAR_FROM,
    DATA_HELP,
    add_reading_arguments,
    open_dataset,
    open_source,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from torch.utils.data import Dataset

ABOUT = "Show what is in a data set and what is wrong with it, or convert it."
EXAMPLES = """\
examples:
  detlearn data coco:path/to/images,path/to/annotations.json
  detlearn data voc:path/to/folder --split test --sheet look.png
  detlearn data convert coco:path/to/images,path/to/annotations.json yolo:new_folder
  detlearn data convert train=coco:a,a.json val=coco:b,b.json voc:new_folder

It prints counts, sizes, classes and what had to be left out; --sheet draws pictures with their
boxes. The exit status is 0 if nothing had to be left out, 1 if something had or there is no object.

convert writes a new folder in the form of coco:, voc: or yolo:. Several sources, each after the
name of its split, become the splits of one folder."""

SEED = 0  # of ToyTown's scenes: as in training
NUM_SCENES = 500  # of ToyTown
PICTURES_ON_A_SHEET = 24
LONGEST_SIDE = 640  # pixels, of a picture on the sheet
SPLIT_AND_SOURCE = re.compile(r"(?:([A-Za-z0-9_-]+)=)?(.+)", re.DOTALL)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command understands."""
    parser.add_argument(
        "words",
        nargs="+",
        metavar="DATA",
        help=f"{DATA_HELP}; or the word convert, one or more of these, and where to: coco:FOLDER, "
        "voc:FOLDER or yolo:FOLDER",
    )
    parser.add_argument("--split", default="train", help="of VOC or YOLO data (default: train)")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw pictures with boxes")
    parser.add_argument(
        "--overwrite", action="store_true", help="write the sheet over whatever is there"
    )
    parser.add_argument("--link", action="store_true", help="convert: link pictures, do not copy")
    add_reading_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Describe one data set, or convert some."""
    if options.words[0] == "convert":
        return _convert(options)

    if len(options.words) > 1:
        options.usage_error(f"one data set is expected, got {' '.join(options.words)}")
    if options.link:
        options.usage_error("--link is for convert")
    return _describe(options)


# ---- look


def _describe(options: argparse.Namespace) -> int:
    """Print what is in a data set; return 1 if something had to be left out."""
    if options.sheet is not None:
        check_sheet_free(options.sheet, overwrite=options.overwrite)

    # What the readers leave out, they say in a warning: counts, kinds and the first places.
    (text,) = options.words
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = open_dataset(
            text,
            options.split,
            seed=SEED,
            num_images=NUM_SCENES,
            class_names=options.classes,
            zero_based=options.zero_based,
            skip_bad_images=True,  # they are said, and the others are shown
        )
        if hasattr(data, "check"):
            data.check(accept_empty=True, accept_left_out=True, progress=len(data) >= BAR_FROM)
    notes = list(dict.fromkeys(str(warning.message) for warning in caught))

    lines, num_objects = describe(data)
    for line in [*lines, ""]:
        print(line)
    for note in notes:
        print(note)

    left_out = sum(getattr(data, "left_out", {}).values())
    is_whole = left_out == 0 and not getattr(data, "images_left_out", ())
    if is_whole:
        print("nothing had to be left out")

    if options.sheet is not None:
        sheet, number = _draw_sheet(data)
        write_sheet(options.sheet, sheet, overwrite=options.overwrite)
        print(f"{number} of {len(data)} pictures are drawn in {options.sheet}")
    return 0 if is_whole and num_objects > 0 else 1


def describe(data: Dataset) -> tuple[list[str], int]:
    """Say in lines what is in a data set; return them and how many objects there are.

    Args:
        data: samples ``(image, target)``, with ``class_names``; where it has ``image_paths``, only
            the headers of the pictures are read.
    """
    import torch

    sizes, targets = _sizes_and_targets(data)
    counts = [len(target["labels"]) for target in targets]
    boxes = torch.cat([target["boxes"] for target in targets] or [torch.zeros(0, 4)])  # (N, 4)
    num_classes = len(data.class_names)

    lines = [
        f"{_many(len(data), 'picture')}, {_many(sum(counts), 'object')}, "
        f"{_many(num_classes, 'class', 'classes')}",
        "",
        f"picture sizes (width × height): {_sizes_in_words(sizes)}",
    ]
    if not targets:
        return lines, 0

    lines.append(
        f"objects in a picture: {min(counts)} to {max(counts)}, on average "
        f"{sum(counts) / len(counts):.1f}; {_many(counts.count(0), 'picture')} without"
    )
    if len(boxes):
        lines += _boxes_in_words(boxes, targets)
    return [*lines, "", *_class_table(data.class_names, targets)], len(boxes)


def _sizes_and_targets(
    data: Dataset,
) -> tuple[list[tuple[int, int]], list[dict[str, Tensor]]]:
    """Return (width, height) and target of each sample."""
    from detlearn.data.reading import picture_size

    if hasattr(data, "image_paths"):
        sizes = [picture_size(path) for path in data.image_paths]
        return sizes, [data.target(index) for index in range(len(data))]

    samples = [data[index] for index in range(len(data))]
    sizes = [(image.shape[2], image.shape[1]) for image, _ in samples]
    return sizes, [target for _, target in samples]


def _sizes_in_words(sizes: Sequence[tuple[int, int]]) -> str:
    """Return the sizes if there are few, else the range and the most frequent one."""
    counts = Counter(sizes).most_common()
    if len(counts) <= 4:
        words = [f"{width}×{height} ({count})" for (width, height), count in counts]
        return ", ".join(words)

    by_area = sorted(counts, key=lambda entry: entry[0][0] * entry[0][1])
    (smallest, _), (largest, _) = by_area[0], by_area[-1]
    (often, count) = counts[0]
    return (
        f"{len(counts)} sizes from {smallest[0]}×{smallest[1]} to {largest[0]}×{largest[1]}, most "
        f"often {often[0]}×{often[1]} ({count})"
    )


def _boxes_in_words(boxes: Tensor, targets: Sequence[dict[str, Any]]) -> list[str]:
    """Return lines on the sizes of boxes and on marked objects."""
    import torch

    widths, heights = (boxes[:, 2:] - boxes[:, :2]).unbind(dim=1)
    spans = [
        f"{name} {values.min():.4g} to {values.max():.4g}, median {values.median():.4g}"
        for name, values in (("width", widths), ("height", heights))
    ]
    lines = [f"boxes in pixels: {'; '.join(spans)}"]

    # COCO's measure of size: the mask's area where the file gives one.
    areas = [target.get("area", _areas(target["boxes"])) for target in targets]
    area = torch.cat(areas)
    small, large = int((area < 32**2).sum()), int((area > 96**2).sum())
    lines.append(
        f"by area: {small} small (below 32² pixels), {len(area) - small - large} medium, "
        f"{large} large (above 96²)"
    )

    for mark in ("iscrowd", "difficult"):
        count = sum(int(target[mark].sum()) for target in targets if mark in target)
        if count:
            lines.append(f"marked {mark}: {count}")
    return lines


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)  # (N,)


def _class_table(class_names: Sequence[str], targets: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table: label, name, objects, pictures that show the class."""
    objects: Counter[int] = Counter()
    pictures: Counter[int] = Counter()
    for target in targets:
        labels = target["labels"].tolist()
        objects.update(labels)
        pictures.update(set(labels))

    width = max(_columns(name) for name in ("class", *class_names))
    lines = [f"label  {'class':{width}}  objects  pictures"]
    for label, name in enumerate(class_names):
        padded = name + " " * (width - _columns(name))
        lines.append(f"{label:5}  {padded}  {objects[label]:7}  {pictures[label]:8}")
    return lines


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _many(count: int, one: str, several: str | None = None) -> str:
    """Return "1 picture", "2 pictures"."""
    return f"{count} {one if count == 1 else several or one + 's'}"


# ---- the sheet


def _draw_sheet(data: Dataset) -> tuple[Image, int]:
    """Return a sheet of pictures, evenly spread over the data set, and how many they are."""
    import io

    import matplotlib
    from PIL import Image

    matplotlib.use("Agg")  # no window opens on anybody's screen
    import matplotlib.pyplot as plt

    from detlearn.plotting import show_grid

    number = min(len(data), PICTURES_ON_A_SHEET)
    chosen = [index * len(data) // number for index in range(number)]
    samples = [_smaller(*data[index]) for index in chosen]

    figure = show_grid(samples, class_names=drawable_names(data.class_names))
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=250)
    plt.close(figure)
    return Image.open(content), number


def _smaller(image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    """Return a picture with its longer side at most `LONGEST_SIDE`, and its boxes likewise."""
    import torch

    scale = LONGEST_SIDE / max(image.shape[1:])
    if scale >= 1:
        return image, target

    size = [max(1, round(side * scale)) for side in image.shape[1:]]
    smaller = torch.nn.functional.interpolate(
        image[None], size=size, mode="bilinear", antialias=True
    )
    return smaller[0].clamp(0, 1), {**target, "boxes": target["boxes"] * scale}


# ---- convert


def _convert(options: argparse.Namespace) -> int:
    """Write data sets as one folder in another form."""
    from detlearn.data import convert

    if len(options.words) < 3:
        options.usage_error(
            "convert needs a source and where to: coco:…, voc:… or yolo:FOLDER (before --classes, "
            "which takes all the words behind it)"
        )
    if options.sheet is not None or options.overwrite:
        options.usage_error("--sheet and --overwrite are not for convert")

    *sources, goal = options.words[1:]
    form, _, place = goal.partition(":")
    if form not in ("coco", "voc", "yolo") or not place or "," in place:
        options.usage_error(f"{goal!r}: expected coco:FOLDER, voc:FOLDER or yolo:FOLDER")
    folder = Path(place).expanduser()

    words: dict[str, str] = {}
    for source in sources:
        split, text = SPLIT_AND_SOURCE.fullmatch(source).groups()
        split = split or options.split
        if split in words:
            options.usage_error(f"two sources are for the split {split}: write NAME=SOURCE")
        words[split] = text

    # The first source decides the order of the classes.
    splits: dict[str, Dataset] = {}
    class_names = options.classes
    for split, text in words.items():
        splits[split] = open_source(
            options,
            text,
            split,
            seed=SEED,
            num_images=NUM_SCENES,
            class_names=class_names,
        )
        class_names = list(splits[split].class_names)

    done = convert(splits, folder, form, link=options.link, drop_unwritable=options.accept_left_out)
    print(
        f"{_many(done.num_images, 'picture')}, {_many(done.num_objects, 'object')}, "
        f"{_many(len(done.class_names), 'class', 'classes')} → {folder}"
    )
    for note in done.notes:
        print(f"note: {note}")
    for split in splits:
        print(f"read it with: {_how_to_read(form, folder, split, done.class_names)}")
    return 0


def _how_to_read(form: str, folder: Path, split: str, class_names: Sequence[str]) -> str:
    """Return the options that read a split of what was written."""
    import shlex

    if form == "coco":
        word = f"coco:{folder / split},{folder / 'annotations' / split}.json"
        return f"--data {shlex.quote(word)}"

    words = f"--data {shlex.quote(f'{form}:{folder}')} --split {split}"
    if form == "voc":
        # VOC has no list of classes: they would be in alphabetical order.
        words += f" --classes {shlex.join(class_names)}"
    return words
