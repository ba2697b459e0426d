"""``convert``: annotated pictures written as COCO, Pascal VOC or YOLO files.

What is kept: pictures, boxes, class names and their order, and each mark that the format knows. All
else that a file may hold (masks, key points, attributes) is no part of a sample and is not written.

| format | box                               | rounding                         | marks     |
|:-------|:----------------------------------|:---------------------------------|:----------|
| COCO   | x, y, width, height               | none                             | iscrowd   |
| VOC    | first and last pixel, counted     | none (fractions are written,     | difficult |
|        | from 1                            | which VOC 2011 has, too)         |           |
| YOLO   | centre and size, in shares of the | below 1e-9 pixels (17 digits are | none      |
|        | picture                           | written; most tools write 6)     |           |

The three layouts are those that `CocoDetection`, `VOCDetection` and `YOLODetection` read::

    coco   train/*.jpg   annotations/train.json
    voc    JPEGImages/*.jpg   Annotations/*.xml   ImageSets/Main/train.txt
    yolo   images/train/*.jpg   labels/train/*.txt   data.yaml

What was written is read again and compared before the folder gets its name: a folder under its
final name is whole and holds the same boxes.

Shapes: ``N`` objects of one image, ``K`` classes, ``H`` and ``W`` the height and width of an image.
"""

import errno
import json
import os
import re
import shutil
import tempfile
import warnings
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from detlearn.data.coco import CocoDetection
from detlearn.data.reading import AnnotatedPictures, picture_size
from detlearn.data.voc import VOCDetection
from detlearn.data.yolo import YOLODetection

FORMATS = ("coco", "voc", "yolo")
MARKS = {"coco": "iscrowd", "voc": "difficult", "yolo": None}  # the one that the format knows
FULL_OR_LOCKED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what is wrong with the new place
LARGEST_ERROR = 1e-9  # pixels, of YOLO's shares; beyond it comes the rounding of float32

# A folder's name that is part of a path, and a list's that is a file.
SPLIT_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Converted(NamedTuple):
    """What `convert` wrote.

    Attributes:
        num_images: pictures, of all splits.
        num_objects: boxes.
        class_names: the K names, by label.
        notes: what the format could not hold, one sentence each.
    """

    num_images: int
    num_objects: int
    class_names: list[str]
    notes: list[str]


class _Sample(NamedTuple):
    """One picture on its way: its file or pixels, its new name, (width, height) and target."""

    source: Path | Tensor
    name: str
    size: tuple[int, int]
    image_id: int
    target: dict[str, Tensor]


def convert(
    splits: Mapping[str, Dataset],
    folder: str | os.PathLike,
    form: str,
    *,
    link: bool = False,
    drop_unwritable: bool = False,
) -> Converted:
    """Write data sets as the splits of one folder.

    Args:
        splits: name of the split → data set with ``class_names``, the same in all: one of the
            readers', or one that draws its pictures (they become PNG files).
        folder: where to; must not be there.
        form: ``"coco"``, ``"voc"`` or ``"yolo"``.
        link: make symbolic links to the pictures instead of copies.
        drop_unwritable: leave out objects that the format cannot hold, and say so.

    Returns:
        How much was written, and what the format could not hold.

    Raises:
        FileExistsError: there is something under this name.
        ValueError: another format; splits with different classes; an object that the format cannot
            hold; or a picture of another size than its annotations say.
        OSError: it cannot be written, for instance because the disk is full; nothing is left then.
    """
    folder = Path(folder)
    class_names = _checked_classes(splits, form)
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder} is there already: give another name, or move it away")

    write = {"coco": _write_coco, "voc": _write_voc, "yolo": _write_yolo}[form]
    taken: set[str] = set()
    notes: Counter[str] = Counter()
    num_images, num_objects = 0, 0

    # Everything happens beside the final place, on the same disk, where a rename is atomic.
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            root = Path(temporary) / "data"
            for split, data in splits.items():
                samples = _samples(data, form, taken, notes, drop_unwritable)
                write(root, split, samples, class_names, link)
                _check_written(root, split, samples, class_names, form)
                num_images += len(samples)
                num_objects += sum(len(sample.target["labels"]) for sample in samples)

            if form == "yolo":
                _write_yaml(root, list(splits), class_names)
            os.rename(root, folder)
    except OSError as error:
        # The system names the picture that was read, or a name that is gone by now.
        if error.errno not in FULL_OR_LOCKED:
            raise
        raise OSError(error.errno, error.strerror, str(folder)) from error

    sentences = [f"{count} × {note}" for note, count in notes.items()]
    return Converted(num_images, num_objects, class_names, sentences)


def _checked_classes(splits: Mapping[str, Dataset], form: str) -> list[str]:
    """Return the classes of all splits, after a look at what `convert` was given."""
    if form not in FORMATS:
        raise ValueError(f"the format is {form!r}, expected one of {', '.join(FORMATS)}")
    if not splits:
        raise ValueError("there is nothing to convert: give at least one split")

    for split in splits:
        if not SPLIT_NAME.fullmatch(split):
            raise ValueError(f"a split is called {split!r}; expected letters, digits, _ and -")

    first, *others = [list(data.class_names) for data in splits.values()]
    for names in others:
        if names != first:
            raise ValueError(f"the splits have different classes: {first} and {names}")
    return first


# ---- what is to be written


def _samples(
    data: Dataset, form: str, taken: set[str], notes: Counter[str], drop_unwritable: bool
) -> list[_Sample]:
    """Return the samples of a split, with names that no other one has, in what the format holds."""
    if isinstance(data, AnnotatedPictures):
        data.check(accept_empty=True, accept_left_out=True, decode=False, progress=False)
    paths = getattr(data, "image_paths", None)
    keeps_ids = isinstance(data, CocoDetection)

    samples = []
    for index in range(len(data)):
        if paths is None:
            source, target = data[index]
            size = (source.shape[2], source.shape[1])
            preferred = f"{index:06}.png"
        else:
            source, target = paths[index], data.target(index)
            size = picture_size(source)
            preferred = source.name

        name = _free_name(preferred, taken)
        image_id = int(target["image_id"]) if keeps_ids else index + 1
        target = _writable(target, size, form, str(preferred), notes, drop_unwritable)
        samples.append(_Sample(source, name, size, image_id, target))
    return samples


def _free_name(name: str, taken: set[str]) -> str:
    """Return the name, with a number behind its stem if another picture has that stem.

    Annotation files are called after the stem, so a.jpg and a.png would share one; to some disks
    A.jpg and a.jpg are one name. Blanks separate a name from its flag in VOC's lists.
    """
    path = Path(re.sub(r"\s+", "_", name))
    stem, number = path.stem, 1
    while stem.casefold() in taken:
        number += 1
        stem = f"{path.stem}_{number}"

    taken.add(stem.casefold())
    return stem + path.suffix


def _writable(
    target: dict[str, Tensor],
    size: tuple[int, int],
    form: str,
    where: str,
    notes: Counter[str],
    drop_unwritable: bool,
) -> dict[str, Tensor]:
    """Return the objects that the format can hold, and note what it cannot."""
    target = {key: value for key, value in target.items() if key != "image_id"}
    boxes = target["boxes"].double()  # (N, 4)
    keep = torch.ones(len(boxes), dtype=torch.bool)

    for mark in ("iscrowd", "difficult"):
        if mark in target and mark != MARKS[form]:
            count = int(target[mark].sum())
            if count:
                notes[f"mark {mark} lost, which {form.upper()} does not know"] += count

    if form == "voc":
        # First and last pixel must differ; see VOCDetection.
        keep = ((boxes[:, 2:] - boxes[:, :2]) > 1).all(dim=1)
        unwritable = "object at most one pixel wide or high, which VOC cannot hold"

    if form == "yolo":
        # The same line twice is a slip of the tool to whoever reads it.
        rows = [(int(k), *box) for k, box in zip(target["labels"], boxes.tolist())]
        keep = torch.tensor([row not in rows[:i] for i, row in enumerate(rows)], dtype=torch.bool)
        unwritable = "object given twice, which YOLO cannot hold"

    lost = int((~keep).sum())
    if lost:
        first = boxes[~keep][0].tolist()
        if not drop_unwritable:
            raise ValueError(f"{where}: {unwritable}: {first}")
        notes[unwritable] += lost

    return {key: value[keep] for key, value in target.items()}


def _place_picture(sample: _Sample, path: Path, link: bool) -> None:
    """Copy, link or draw a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(sample.source, Tensor):
        pixels = (sample.source * 255).round().to(torch.uint8)  # (3, H, W)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    elif link:
        path.symlink_to(sample.source.resolve())
    else:
        shutil.copyfile(sample.source, path)


# ---- the three formats


def _write_coco(
    root: Path, split: str, samples: list[_Sample], class_names: list[str], link: bool
) -> None:
    """Write one split as COCO."""
    images, annotations = [], []
    for sample in samples:
        _place_picture(sample, root / split / sample.name, link)
        width, height = sample.size
        images.append(
            {"id": sample.image_id, "file_name": sample.name, "width": width, "height": height}
        )

        iscrowd = sample.target.get("iscrowd", torch.zeros(len(sample.target["labels"])))
        areas = sample.target.get("area")
        for i, (x1, y1, x2, y2) in enumerate(sample.target["boxes"].tolist()):
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {
                    "id": len(annotations) + 1,  # pycocotools takes 0 for "none"
                    "image_id": sample.image_id,
                    "category_id": int(sample.target["labels"][i]) + 1,
                    "bbox": box,
                    "area": float(areas[i]) if areas is not None else box[2] * box[3],
                    "iscrowd": int(iscrowd[i]),
                }
            )

    categories = [{"id": label + 1, "name": name} for label, name in enumerate(class_names)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (root / split).mkdir(parents=True, exist_ok=True)
    path = root / "annotations" / f"{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _write_voc(
    root: Path, split: str, samples: list[_Sample], class_names: list[str], link: bool
) -> None:
    """Write one split as Pascal VOC; the pictures of all splits lie in one folder."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)

    for sample in samples:
        _place_picture(sample, root / "JPEGImages" / sample.name, link)
        width, height = sample.size

        tree = ElementTree.Element("annotation")
        _add(tree, "folder", "JPEGImages")
        _add(tree, "filename", sample.name)
        size = _add(tree, "size")
        for key, value in (("width", width), ("height", height), ("depth", 3)):
            _add(size, key, value)

        difficult = sample.target.get("difficult", torch.zeros(len(sample.target["labels"])))
        for i, (x1, y1, x2, y2) in enumerate(sample.target["boxes"].tolist()):
            element = _add(tree, "object")
            _add(element, "name", class_names[int(sample.target["labels"][i])])
            _add(element, "difficult", int(difficult[i]))

            # Pixels are counted from 1 and the last one is part of the box.
            box = _add(element, "bndbox")
            corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
            for key, value in corners.items():
                _add(box, key, int(value) if value.is_integer() else value)

        ElementTree.indent(tree)
        path = root / "Annotations" / f"{Path(sample.name).stem}.xml"
        ElementTree.ElementTree(tree).write(path, encoding="utf-8", xml_declaration=True)

    names = [Path(sample.name).stem for sample in samples]
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _add(parent: ElementTree.Element, tag: str, value: object = None) -> ElementTree.Element:
    """Append an element to another one."""
    element = ElementTree.SubElement(parent, tag)
    if value is not None:
        element.text = str(value)
    return element


def _write_yolo(
    root: Path, split: str, samples: list[_Sample], class_names: list[str], link: bool
) -> None:
    """Write one split as YOLO; each picture has its file of labels, be it empty."""
    labels_folder = root / "labels" / split
    labels_folder.mkdir(parents=True, exist_ok=True)

    for sample in samples:
        _place_picture(sample, root / "images" / split / sample.name, link)
        width, height = sample.size

        lines = []
        boxes = sample.target["boxes"].tolist()
        for label, (x1, y1, x2, y2) in zip(sample.target["labels"].tolist(), boxes):
            shares = (
                (x1 + x2) / 2 / width,
                (y1 + y2) / 2 / height,
                (x2 - x1) / width,
                (y2 - y1) / height,
            )
            lines.append(" ".join([str(label), *map(repr, shares)]) + "\n")

        path = labels_folder / f"{Path(sample.name).stem}.txt"
        path.write_text("".join(lines), encoding="utf-8")

    _write_yaml(root, [split], class_names)  # for the check; in the end it names all splits


def _write_yaml(root: Path, splits: list[str], class_names: list[str]) -> None:
    """Write the data.yaml of these splits."""
    content = {split: f"images/{split}" for split in splits} | {"names": class_names}
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    (root / "data.yaml").write_text(text, encoding="utf-8")


# ---- is it the same?


def _check_written(
    root: Path, split: str, samples: list[_Sample], class_names: list[str], form: str
) -> None:
    """Read a split again and raise ValueError unless it holds the same objects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if form == "coco":
            data = CocoDetection(root / split, root / "annotations" / f"{split}.json")
        elif form == "voc":
            data = VOCDetection(root, split, class_names=class_names)
        else:
            data = YOLODetection(root, split)

    if list(data.class_names) != class_names:
        raise ValueError(
            f"{form.upper()} cannot hold the class names {class_names}: they are read as "
            f"{list(data.class_names)}"
        )

    # YOLO's pictures are in the order of their names.
    written = {path.name: data.target(i) for i, path in enumerate(data.image_paths)}
    for sample in samples:
        found = written[sample.name]
        boxes = sample.target["boxes"]
        same = (
            found["labels"].tolist() == sample.target["labels"].tolist()
            and found["boxes"].shape == boxes.shape
            and torch.allclose(found["boxes"], boxes, rtol=2**-23, atol=LARGEST_ERROR)
        )
        if not same:
            raise ValueError(
                f"{sample.name} is read differently after it was written as {form.upper()}: "
                f"{found['boxes'].tolist()} instead of {boxes.tolist()}"
            )
