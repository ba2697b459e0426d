"""``YOLODetection``: boxes in the text files that YOLO trainers read and labelling tools export.

A file ``data.yaml`` says where the pictures of each split are and what the classes are called:

    path: .                  # folder that the others start from; the file's own if left out
    train: images/train      # a folder of pictures, or a .txt file with one picture a line,
    val: images/val          # or a list of these
    names: [cat, dog]        # or a map {0: cat, 1: dog}

Beside the folder ``images`` stands a folder ``labels`` with the same folders in it and one text
file for each picture, ``images/train/a.jpg`` → ``labels/train/a.txt``; where there is none, the
text files lie beside their pictures. One line is one object, in shares of the picture's width and
height:

    class  centre_x  centre_y  width  height
    class  x1 y1  x2 y2  x3 y3  …          (a polygon of three or more corners)

Source: the labels of Darknet (``scripts/voc_label.py`` and the replacement of ``images`` by
``labels`` in its ``src/data.c``); ``data.yaml`` is what labelling tools write beside them today.

Shapes: ``N`` objects of one image, ``K`` classes, ``H`` and ``W`` the height and width of an image.

What the format leaves open, and how it is read here:

- A picture without a text file, or with an empty one, shows no object. But if no picture at all has
  a text file, the labels are somewhere else, and that is an error.
- Of a polygon the box around it is taken, and the box's area.
- A text file without a picture is an error: an image would silently be missing. (``classes.txt`` is
  none of them, and a list of pictures may leave out some of a folder.)
- Some exports write ``../train/images`` for what lies beside the file as ``train/images``; where
  the first is not there, the second is taken.
- A relative ``path`` starts from the folder of ``data.yaml``, not from a folder of settings.
"""

import os
import reprlib
from collections import Counter
from collections.abc import Hashable
from pathlib import Path

import yaml

from detlearn.data.reading import (
    AnnotatedObject,
    AnnotatedPictures,
    BadAnnotation,
    Faults,
    Record,
    clipped_box,
    existing_file,
    number,
    pack,
    path_inside,
    picture_size,
)

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")  # in any case
NO_SPLITS = ("path", "names", "nc", "download")  # keys of data.yaml that name no pictures
SLACK = 0.01  # so far beyond [0, 1] a number may lie that a tool has rounded

# For messages: with YAML's aliases a small file can hold something endless.
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2


class YOLODetection(AnnotatedPictures):
    """Images and boxes of one split of a ``data.yaml``.

    A sample is ``(image, target)``: image ``(3, H, W)`` float32 in [0, 1], upright; target with
    ``boxes (N, 4)`` float32 ``x1, y1, x2, y2`` in pixels, ``labels (N,)`` int64 0 … K−1,
    ``area (N,)`` float32 (the box's), ``iscrowd (N,)`` int64 (all 0) and ``image_id ()``, the
    position of the image in the split. N may be 0. Images are in the order of their paths, or in
    that of the list.

    Args:
        yaml_or_folder: the file, or a folder with ``data.yaml`` in it.
        split: a key of the file, such as ``"train"``, ``"val"`` or ``"test"``.
        on_bad: ``"raise"`` stops at the first bad annotation; ``"skip"`` drops bad annotations (all
            of a file that is no text), keeps every image, and warns once with what was left out. A
            missing or broken picture raises in both cases, as do faults in ``data.yaml``.

    Attributes:
        class_names: the K names, by label.
        left_out: how many annotations were dropped, by reason.

    Raises:
        FileNotFoundError: the file, a folder or a picture is missing.
        ValueError: malformed YAML, or a fault; the message names file and line.
    """

    def __init__(
        self, yaml_or_folder: str | os.PathLike, split: str, on_bad: str = "raise"
    ) -> None:
        faults = Faults(on_bad)
        path = _find_yaml(Path(yaml_or_folder))
        content = _read_yaml(path)
        self.class_names = _class_names(content, path)

        pictures = _pictures_of_split(content, split, path)
        labels = [_label_file(picture) for picture in pictures]
        _check_pairs(pictures, labels)

        self._records = []
        for index, (picture, label) in enumerate(zip(pictures, labels)):
            size = picture_size(picture)
            objects = _read_labels(label, size, self.class_names, faults)
            arrays = pack(objects)
            del arrays["difficult"]  # a Pascal VOC idea
            self._records.append(Record(index, picture, size, arrays))

        self.left_out = dict(faults.counts)
        faults.summarise(f"YOLODetection({str(path)!r}, {split!r})")


# ---- data.yaml


def _find_yaml(path: Path) -> Path:
    """Return the file itself, or the one in this folder."""
    if not path.is_dir():
        return existing_file(path, "a data.yaml with the keys names and train, val or test")

    found = sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml"))
    named = [p for p in found if p.stem == "data"]
    if len(named or found) == 1:
        return (named or found)[0]

    if found:
        names = ", ".join(p.name for p in found)
        raise ValueError(f"{path} holds {names}: give the one that describes the data")
    raise FileNotFoundError(
        f"{path} holds no data.yaml. Write one with the lines 'train: FOLDER OF PICTURES' and "
        "'names: [FIRST CLASS, SECOND CLASS, …]' (the lines of a classes.txt, if there is one)"
    )


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not silently the last one's value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict:
    """Return what the file says."""
    try:
        content = yaml.load(path.read_bytes(), Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: malformed YAML ({error})") from error

    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: holds {_SHORT.repr(content)}, expected keys and values: names, and train, "
            "val or test"
        )
    return content


def _class_names(content: dict, path: Path) -> list[str]:
    """Return the K names, by label, from a list or from a map of numbers."""
    names = content.get("names")
    if isinstance(names, dict):
        # Quoted numbers are numbers, too.
        by_label = {int(k) if str(k).isdecimal() else k: name for k, name in names.items()}
        if set(by_label) != set(range(len(names))):
            raise ValueError(
                f"{path}: names has the numbers {_SHORT.repr(list(names))}, expected 0 … "
                f"{len(names) - 1} for {len(names)} names"
            )
        names = [by_label[label] for label in range(len(names))]

    if not isinstance(names, list) or not names:
        raise ValueError(
            f"{path}: names is {_SHORT.repr(names)}, expected a list such as [cat, dog] or a map "
            "such as {0: cat, 1: dog}"
        )

    for label, name in enumerate(names):
        if isinstance(name, bool):
            raise ValueError(
                f"{path}: name {label} is {name}: YAML reads yes, no, on and off without quotes as "
                "true and false; write the name in quotes"
            )
        if not isinstance(name, str | int | float) or not str(name).strip():
            raise ValueError(f"{path}: name {label} is {_SHORT.repr(name)}, expected a word")

    names = [str(name).strip() for name in names]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: names has {twice} more than once; names must differ")

    num_classes = content.get("nc", len(names))
    if num_classes != len(names):
        raise ValueError(
            f"{path}: nc is {_SHORT.repr(num_classes)}, but there are {len(names)} names"
        )
    return names


# ---- which pictures


def _pictures_of_split(content: dict, split: str, path: Path) -> list[Path]:
    """Return the pictures of a split, each known to exist."""
    root = path.parent / _text(content.get("path", "."), "path", path)
    if not root.is_dir():
        raise FileNotFoundError(
            f"{path}: its path leads to {root}, which is no folder; give it relative to the folder "
            "of this file, or leave the key out if everything lies beside the file"
        )

    known = [key for key, value in content.items() if key not in NO_SPLITS and value]
    if split not in known:
        raise ValueError(f"{path}: no split {split!r}; there are {known or 'none'}")

    places = content[split]
    places = places if isinstance(places, list) else [places]
    pictures: list[Path] = []
    for place in places:
        location = _find_location(root, _text(place, split, path), f"{path}, {split}")
        if location.is_dir():
            pictures += _pictures_in_folder(location)
        else:
            pictures += _pictures_in_list(location, root)

    twice = [picture for picture, count in Counter(pictures).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: the split {split!r} has {twice[0]} more than once")
    return pictures


def _text(value: object, key: str, path: Path) -> str:
    """Return a path that the file gives, with ``/`` between its parts."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{path}: {key} is {_SHORT.repr(value)}, expected a path")
    return value.replace("\\", "/")


def _find_location(root: Path, text: str, where: str) -> Path:
    """Return the folder or the list that a split names."""
    for name in (text, text.removeprefix("../")):
        location = root / name
        if location.is_dir() or (location.is_file() and location.suffix == ".txt"):
            return location

    if (root / text).is_file():
        raise ValueError(f"{where}: {root / text} is neither a folder nor a .txt list of pictures")
    raise FileNotFoundError(
        f"{where}: no such folder or list: {root / text}; paths start from {root}"
    )


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_ENDINGS and not path.name.startswith(".")


def _pictures_in_folder(folder: Path) -> list[Path]:
    """Return all pictures in a folder and the folders in it, by path; check that none is missing.

    A picture is missed by its label: a text file in the folder of labels that belongs to none.
    """
    pictures = sorted(path for path in folder.rglob("*") if _is_picture(path) and path.is_file())
    if not pictures:
        raise ValueError(
            f"{folder}: holds no picture; expected files that end in {', '.join(PICTURE_ENDINGS)}"
        )

    expected = {_label_file(picture) for picture in pictures}
    for labels in sorted({label.parent for label in expected}):
        if any(picture.parent == labels for picture in pictures):
            continue  # beside pictures there may be other text files
        for label in sorted(labels.glob("*.txt")):
            if label not in expected and label.name != "classes.txt":
                raise FileNotFoundError(
                    f"{label}: no picture belongs to these labels; expected one called "
                    f"{label.stem} in {folder}, ending in {', '.join(PICTURE_ENDINGS)}"
                )
    return pictures


def _pictures_in_list(path: Path, root: Path) -> list[Path]:
    """Return the pictures that a text file lists, relative to the root or to the file's folder."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no text in UTF-8 ({error})") from error

    pictures = []
    for i, line in enumerate(lines, start=1):
        name = line.strip()
        if not name:
            continue
        try:
            places = [path_inside(folder, name) for folder in (root, path.parent)]
        except ValueError as error:
            raise ValueError(f"{path}, line {i}: {error}") from None

        found = [place for place in places if place.is_file()]
        if not found:
            raise FileNotFoundError(f"{path}, line {i}: no such picture: {places[0]}")
        pictures.append(found[0])

    if not pictures:
        raise ValueError(f"{path}: the list is empty; expected the path of one picture a line")
    return pictures


# ---- which labels


def _label_file(picture: Path) -> Path:
    """Return where a picture's labels are to be: in ``labels`` for ``images``, else beside it."""
    beside = picture.with_suffix(".txt")
    if "images" not in picture.parts:
        return beside

    # The last of several folders called images.
    position = len(picture.parts) - 1 - picture.parts[::-1].index("images")
    mirrored = Path(*picture.parts[:position], "labels", *picture.parts[position + 1 :])
    mirrored = mirrored.with_suffix(".txt")
    return mirrored if mirrored.parent.is_dir() or not beside.is_file() else beside


def _check_pairs(pictures: list[Path], labels: list[Path]) -> None:
    """Raise ValueError unless each picture has labels of its own and some have labels at all."""
    owners: dict[Path, Path] = {}
    for picture, label in zip(pictures, labels):
        if label in owners:
            raise ValueError(
                f"{label}: belongs to two pictures, {owners[label].name} and {picture.name}; "
                "rename one of them, and its labels with it"
            )
        owners[label] = picture

    if not any(label.is_file() for label in labels):
        raise FileNotFoundError(
            f"none of the {len(pictures)} pictures has labels; expected such a file as {labels[0]} "
            f"for {pictures[0]}"
        )


def _read_labels(
    path: Path, size: tuple[int, int], class_names: list[str], faults: Faults
) -> list[AnnotatedObject]:
    """Return the objects of one picture of this (width, height); bad lines go to ``faults``."""
    if not path.is_file():
        return []  # nothing was labelled in this picture

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        problem = f"no text in UTF-8 ({error})"
        faults.add(BadAnnotation("file of labels is no text", str(path), problem))
        return []

    objects = []
    seen: dict[tuple, int] = {}
    for i, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {i}"
        try:
            found = _read_object(line.split(), size, class_names, where)

            # The same numbers again are a slip of the tool: a detector can find an object once.
            key = (found.label, *found.box.tolist())
            if key in seen:
                raise BadAnnotation("object given twice", where, f"repeats line {seen[key]}")
            seen[key] = i
            objects.append(found)
        except BadAnnotation as fault:
            faults.add(fault)
    return objects


def _read_object(
    words: list[str], size: tuple[int, int], class_names: list[str], where: str
) -> AnnotatedObject:
    """Check one line: a class, and a box or a polygon in shares of this (width, height)."""
    is_polygon = len(words) >= 7 and len(words) % 2 == 1
    if len(words) != 5 and not is_polygon:
        advice = "; a sixth is a confidence: detections are no labels" if len(words) == 6 else ""
        problem = (
            f"{len(words)} values, expected five (class centre_x centre_y width height) or a class "
            f"and three or more corners (x y), with spaces between them{advice}"
        )
        raise BadAnnotation("wrong number of values", where, problem)

    label = number(words[0], "the class", where)
    if label not in range(len(class_names)):
        problem = f"the class is {words[0]}, expected 0 … {len(class_names) - 1}: {class_names}"
        raise BadAnnotation("unknown category", where, problem)

    values = [number(word, f"value {i}", where) for i, word in enumerate(words[1:], start=2)]
    for i, value in enumerate(values, start=2):
        if not -SLACK <= value <= 1 + SLACK and (is_polygon or i < 4 or value > 0):
            problem = (
                f"value {i} is {value:g}, expected a share of the picture's width or height, 0 to "
                "1; were pixels written?"
            )
            raise BadAnnotation("not normalised", where, problem)

    if is_polygon:
        x, y = values[0::2], values[1::2]
        left, top, right, bottom = min(x), min(y), max(x), max(y)
    else:
        x, y, w, h = values
        left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2

    if left >= right or top >= bottom:
        problem = (
            f"its width is {right - left:g} and its height {bottom - top:g}; both must be positive"
        )
        raise BadAnnotation("box without area", where, problem)

    width, height = size
    corners = (left * width, top * height, right * width, bottom * height)
    box = clipped_box(corners, size, where)
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    return AnnotatedObject(box, int(label), area)
