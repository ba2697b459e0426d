"""``VOCDetection``: boxes in the XML format of the Pascal VOC challenges.

Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010, and the
development kit's documentation. ``root`` holds ``JPEGImages`` (the pictures), ``Annotations`` (one
XML file for each picture) and ``ImageSets/Main`` (one text file for each split, with one picture's
name a line, without its ending).

Shapes: ``N`` objects of one image, ``K`` classes, ``H`` and ``W`` the height and width of an image.

Corners: VOC counts pixels from 1 and includes the last one. In continuous coordinates, where pixel
1 covers 0 to 1, the box is ``(xmin − 1, ymin − 1, xmax, ymax)``, so a box over the whole image is
``(0, 0, W, H)``.

Where we differ from the development kit and from torchvision's class of the same name:

- A sample's target is a dictionary of tensors, not the nested dictionary of the XML file.
- ``xmin = xmax`` would be an object one pixel wide; it is a fault here, for in practice it is a
  slipped mouse click.
- Coordinates may be fractions (some of VOC 2011's are), and boxes are clipped to their image.
- Files that declare XML entities are refused: annotations need none, and they can blow a small file
  up to gigabytes.
"""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from detlearn.data.reading import (
    AnnotatedObject,
    AnnotatedPictures,
    BadAnnotation,
    Faults,
    Record,
    clipped_box,
    flag,
    number,
    pack,
    path_inside,
    picture_size,
)

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp")


class VOCDetection(AnnotatedPictures):
    """Images and boxes of one split of a Pascal VOC folder.

    A sample is ``(image, target)``: image ``(3, H, W)`` float32 in [0, 1], upright; target with
    ``boxes (N, 4)`` float32 ``x1, y1, x2, y2`` in pixels, ``labels (N,)`` int64 0 … K−1,
    ``area (N,)`` float32 (the box's), ``iscrowd (N,)`` int64 (all 0), ``difficult (N,)`` int64
    (kept and marked) and ``image_id ()``, the position of the image in the split. N may be 0.

    Args:
        root: folder with JPEGImages, Annotations and ImageSets/Main.
        split: name of a file in ImageSets/Main without ``.txt``, such as ``"train"``.
        on_bad: ``"raise"`` stops at the first bad annotation; ``"skip"`` drops bad annotations (all
            of a file whose XML is malformed or missing), keeps every image, and warns once with
            what was left out. A missing or broken picture raises in both cases.
        class_names: the names in the order of their labels. Default: the names in all of the root's
            annotations, sorted, so that every split has the same labels.

    Attributes:
        class_names: the K names, by label.
        image_names: the names in the split file, by index.
        left_out: how many annotations were dropped, by reason.

    Raises:
        FileNotFoundError: the split file, a picture or an annotation file is missing.
        ValueError: malformed XML, or a fault; the message names file and annotation.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str,
        on_bad: str = "raise",
        class_names: Sequence[str] | None = None,
    ) -> None:
        faults = Faults(on_bad)
        root = Path(root)
        self.image_names = _read_split(root, split)
        pictures = [_find_picture(root, name) for name in self.image_names]

        if class_names is None:
            class_names = _all_class_names(root / "Annotations", self.image_names, faults)
        self.class_names = _checked_class_names(class_names)
        labels = {name: label for label, name in enumerate(self.class_names)}

        self._records = []
        for index, (name, picture) in enumerate(zip(self.image_names, pictures)):
            self._records.append(_read_record(index, root, name, picture, labels, faults))

        self.left_out = dict(faults.counts)
        faults.summarise(f"VOCDetection({str(root)!r}, {split!r})")


def _read_split(root: Path, split: str) -> list[str]:
    """Return the names of the split's images."""
    folder = root / "ImageSets" / "Main"
    path = path_inside(folder, f"{split}.txt")
    if not path.is_file():
        splits = sorted(p.stem for p in folder.glob("*.txt"))
        raise FileNotFoundError(
            f"{path}: no such split; {folder} holds {splits or 'none: is root the VOC folder?'}"
        )

    names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    names = [name for name in names if name]

    if not names:
        raise ValueError(f"{path}: the split is empty; expected the name of one image a line")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{path}: given more than once: {twice}")

    return names


def _find_picture(root: Path, name: str) -> Path:
    """Return the picture with this name, whatever its ending."""
    folder = root / "JPEGImages"
    for ending in PICTURE_ENDINGS:
        path = path_inside(folder, name + ending)
        if path.is_file():
            return path

    raise FileNotFoundError(
        f"{folder / name}.jpg: no such picture (nor with another of the endings "
        f"{', '.join(PICTURE_ENDINGS[1:])}), but the split names it"
    )


def _all_class_names(folder: Path, split: list[str], faults: Faults) -> list[str]:
    """Return the sorted names of all objects in the folder's files."""
    names: set[str] = set()
    in_split = set(split)
    for path in sorted(folder.glob("*.xml")):
        try:
            for element in _parse(path).iterfind("object"):
                names.add(element.findtext("name", "").strip())
        except BadAnnotation as fault:
            if path.stem not in in_split:  # those of the split are reported when it is read
                faults.add(fault)

    return sorted(names - {""})


def _checked_class_names(class_names: Sequence[str]) -> list[str]:
    """Return the names as a list of different strings."""
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise TypeError(f"class_names must be a sequence of strings, got {class_names!r}")
    if len(set(class_names)) < len(class_names):
        raise ValueError(f"class_names must differ from one another, got {list(class_names)}")
    return list(class_names)


def _read_record(
    index: int, root: Path, name: str, picture: Path, labels: dict[str, int], faults: Faults
) -> Record:
    """Read the annotation file of one image; bad objects go to ``faults``."""
    path = path_inside(root / "Annotations", f"{name}.xml")
    try:
        tree = _parse(path)
        size = _read_size(tree, picture, str(path))
    except BadAnnotation as fault:
        faults.add(fault)
        return Record(index, picture, size=None, arrays=pack([]))

    objects = []
    for i, element in enumerate(tree.iterfind("object"), start=1):
        try:
            objects.append(_read_object(element, size, labels, f"{path}, object {i}"))
        except BadAnnotation as fault:
            faults.add(fault)

    return Record(index, picture, size, pack(objects))


def _parse(path: Path) -> ElementTree.Element:
    """Return the root element of an annotation file."""
    try:
        content = path.read_bytes()
        if b"<!ENTITY" in content:
            raise BadAnnotation("malformed XML", str(path), "declares XML entities; take them out")
        return ElementTree.fromstring(content)
    except FileNotFoundError:
        raise MissingAnnotation("no annotation file", str(path), "no such file") from None
    except (ElementTree.ParseError, LookupError, UnicodeError) as error:
        raise BadAnnotation("malformed XML", str(path), f"malformed XML ({error})") from error


class MissingAnnotation(BadAnnotation, FileNotFoundError):
    """The annotation file of an image is missing."""


def _read_size(tree: ElementTree.Element, picture: Path, where: str) -> tuple[int, int]:
    """Return (width, height) as the file gives them; where it says nothing or 0, the picture's."""
    width = number(tree.findtext("size/width", "0"), "width", where)
    height = number(tree.findtext("size/height", "0"), "height", where)
    if width < 0 or height < 0 or width % 1 or height % 1:
        problem = f"the size is {width:g}×{height:g}, expected whole numbers of pixels"
        raise BadAnnotation("bad image size", where, problem)
    return (int(width), int(height)) if width and height else picture_size(picture)


def _read_object(
    element: ElementTree.Element, size: tuple[int, int], labels: dict[str, int], where: str
) -> AnnotatedObject:
    """Check one ``<object>`` of an image of this (width, height)."""
    name = (element.findtext("name") or "").strip()
    where = f"{where} ({name or 'no name'})"
    if name not in labels:
        problem = f"its class {name!r} is none of {list(labels)}"
        raise BadAnnotation("unknown category", where, problem)

    xmin, ymin, xmax, ymax = [
        number(element.findtext(f"bndbox/{key}"), key, where)
        for key in ("xmin", "ymin", "xmax", "ymax")
    ]
    if xmin >= xmax or ymin >= ymax:
        problem = (
            f"xmin {xmin:g}, ymin {ymin:g}, xmax {xmax:g}, ymax {ymax:g} is a box without area; "
            "xmin < xmax and ymin < ymax must hold"
        )
        raise BadAnnotation("box without area", where, problem)

    # Pixels xmin to xmax, counted from 1 and both included, cover xmin − 1 to xmax.
    box = clipped_box((xmin - 1, ymin - 1, xmax, ymax), size, where)
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    difficult = flag(element.findtext("difficult"), "difficult", where)
    return AnnotatedObject(box, labels[name], area, difficult=difficult)
