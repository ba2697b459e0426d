"""``YOLODetection``: boxes in the text files that YOLO trainers read and labelling tools export.

A file ``data.yaml`` says where the pictures of each split are and what the classes are called:

    path: .                  # folder that the others start from; the file's own if left out
    train: images/train      # a folder of pictures, or a .txt file with one picture a line,
    val: images/val          # or a list of these
    names: [cat, dog]        # or a map {0: cat, 1: dog}

Beside the folder ``images`` (or ``JPEGImages``) stands a folder ``labels`` with the same folders in
it and one text file for each picture, ``images/train/a.jpg`` → ``labels/train/a.txt``; where there
is none, the text files lie beside their pictures. One line is one object, in shares of the
picture's width and height:

    class  centre_x  centre_y  width  height
    class  x1 y1  x2 y2  x3 y3  …          (a polygon of three or more corners)

Darknet's own form is read, too: ``obj.data`` with lines ``train = train.txt`` and
``names = obj.names``, a file with one name a line.

Source: the labels of Darknet (``scripts/voc_label.py`` and the replacement of ``images`` by
``labels`` in its ``src/data.c``); ``data.yaml`` is what labelling tools write beside them today.

Shapes: ``N`` objects of one image, ``K`` classes, ``H`` and ``W`` the height and width of an image.

What the format leaves open, and how it is read here:

- A picture without a text file, or with an empty one, shows no object; how many have none is said.
  But if no picture at all has a text file, the labels are somewhere else, and that is an error.
- Of a polygon the box around it is taken, and the box's area.
- A text file without a picture is an error: an image would silently be missing. (``classes.txt`` is
  none of them, and a list of pictures may leave out some of a folder.)
- Some exports write ``../train/images`` for what lies beside the file as ``train/images``, or
  ``/content/data/train/images``, where it lay on another machine. Where the path leads nowhere,
  shorter ends of it are tried, unless two splits would lead to one folder.
- A relative ``path`` starts from the folder of ``data.yaml``, not from a folder of settings.
- With ``kpt_shape`` in the file, a line is a box and keypoints, of which the box is taken; without,
  such a line would look like a polygon.
- A name that YAML would read as a number is taken as it is written: ``010`` is no 8.
- A sixth value beside a box is a confidence. Detections are no labels, so that is a fault.
"""

import math
import os
import reprlib
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from detlearn.data.reading import (
    AnnotatedObject,
    AnnotatedPictures,
    BadAnnotation,
    Faults,
    PictureFolder,
    Record,
    checked_class_names,
    clipped_box,
    existing_file,
    number,
    pack,
    path_inside,
    picture_endings,
    picture_size,
    something_else,
    text_lines,
)

SOME_ENDINGS = ".jpg, .png, .webp, .tif"  # of all that Pillow reads, for messages
NO_SPLITS = ("path", "names", "nc", "download", "backup", "kpt_shape", "flip_idx", "roboflow")
DARKNET_ENDING = ".data"
LISTS_OF_CLASSES = ("classes.txt", "labels.txt", "predefined_classes.txt")  # in a folder of labels
PICTURE_FOLDERS = ("images", "Images", "JPEGImages")  # for which labels have one of their own
LABEL_FOLDERS = ("labels", "Labels")
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
            of a file that is no text), keeps every image, and warns once with what was left out.
            Where that is more than a tenth of all, ``check`` refuses to go on. Faults in
            ``data.yaml`` raise in both cases.
        class_names: names in the order of their labels; those of ``data.yaml`` are matched by name,
            whatever their numbers. An object of another class is a bad annotation. Default: the
            names of ``data.yaml``.
        skip_bad_images: leave out images whose picture is missing or no picture, with a warning,
            and those whose picture turns out to be cut off in ``check``. Otherwise they raise.

    Attributes:
        class_names: the K names, by label.
        left_out: how many annotations were dropped, by reason.
        images_left_out: what is wrong with each picture that was left out.

    Raises:
        FileNotFoundError: the file, a folder or a picture is missing.
        ValueError: malformed YAML, or a fault; the message names file and line.
    """

    def __init__(
        self,
        yaml_or_folder: str | os.PathLike,
        split: str,
        on_bad: str = "raise",
        class_names: Sequence[str] | None = None,
        skip_bad_images: bool = False,
    ) -> None:
        faults = Faults(on_bad)
        path = _find_yaml(Path(yaml_or_folder).expanduser())
        content = _read_yaml(path)
        meaning = _meaning(content, class_names, path)
        self.class_names = list(meaning.labels)

        self._source = f"YOLODetection({str(path)!r}, {split!r})"
        self._skip_bad_images = skip_bad_images
        problems: list[str] = []

        def leave_out(error: FileNotFoundError | ValueError) -> None:
            problems.append(self._bad_image(error))

        pictures = _pictures_of_split(content, split, path, leave_out)
        labels = [_label_file(picture) for picture in pictures]
        without = _check_pairs(pictures, labels)

        self._records = []
        for index, (picture, label) in enumerate(zip(pictures, labels)):
            try:
                size = picture_size(picture)
            except (FileNotFoundError, ValueError) as error:
                leave_out(error)
                continue

            arrays = pack(_read_labels(label, size, meaning, faults))
            del arrays["difficult"]  # a Pascal VOC idea
            self._records.append(Record(index, picture, size, arrays))

        self._leave_images_out(problems)
        if without:
            warnings.warn(
                f"{self._source}: {len(without)} of {len(pictures)} pictures have no file of "
                f"labels and count as pictures without objects, the first is {without[0]}",
                stacklevel=2,
            )

        self.left_out = dict(faults.counts)
        faults.summarise(self._source)


# ---- data.yaml


class _Meaning(NamedTuple):
    """What the numbers in a line mean.

    ``file_names``: the classes by the file's numbers. ``labels``: the label of each name that is
    asked for. ``num_keypoint_values``: so many follow each box; 0 without keypoints.
    """

    file_names: list[str]
    labels: dict[str, int]
    num_keypoint_values: int


def _meaning(content: dict, class_names: Sequence[str] | None, path: Path) -> _Meaning:
    """Return what ``data.yaml`` says about the lines of labels."""
    file_names = _class_names(content, path)
    asked = file_names if class_names is None else checked_class_names(class_names)
    if not set(asked) & set(file_names):
        raise ValueError(f"{path}: none of the classes {asked} is in the file: {file_names}")

    shape = content.get("kpt_shape", [0])
    is_shape = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    if not is_shape:
        raise ValueError(f"{path}: kpt_shape is {_SHORT.repr(shape)}, expected such as [17, 3]")

    labels = {name: label for label, name in enumerate(asked)}
    return _Meaning(file_names, labels, math.prod(shape))


def _find_yaml(path: Path) -> Path:
    """Return the file itself, or the one in this folder."""
    if not os.path.isdir(path):
        return existing_file(path, "a data.yaml with the keys names and train, val or test")

    # Darknet's obj.data is looked for where there is no YAML.
    files = sorted(p for p in path.iterdir() if os.path.isfile(p))
    found = [p for p in files if p.suffix.lower() in (".yaml", ".yml")]
    found = found or [p for p in files if p.suffix.lower() == DARKNET_ENDING]
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
    """YAML in which nothing is read silently as something else.

    A key given twice is an error, not the last one's value. Keys that merge other maps (``<<``) are
    one, too: nobody needs them here, and a small file can blow up with them. Numbers that would be
    written otherwise (``1_2``, ``010``, ``1:30``) stay text.
    """

    def construct_number(self, node: yaml.ScalarNode) -> int | float | str:
        is_int = node.tag == "tag:yaml.org,2002:int"
        value = self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)
        return value if str(value) == node.value else node.value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    problem="the key << is not read here; write its keys out",
                    problem_mark=key_node.start_mark,
                )
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


for _tag in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _StrictLoader.construct_number)


def _read_yaml(path: Path) -> dict:
    """Return what the file says, be it YAML or Darknet's."""
    if path.suffix.lower() == DARKNET_ENDING:
        return _read_darknet(path)

    text = path.read_bytes()
    other = something_else(text)
    if other is not None:
        raise ValueError(f"{path}: no YAML, but {other}")

    try:
        content = yaml.load(text, Loader=_StrictLoader)
    except Exception as error:  # the parser raises whatever damaged text provokes
        raise ValueError(f"{path}: malformed YAML ({error})") from error

    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: holds {_SHORT.repr(content)}, expected keys and values: names, and train, "
            "val or test"
        )
    return content


def _read_darknet(path: Path) -> dict:
    """Return what an ``obj.data`` says, as a ``data.yaml`` would say it."""
    content: dict = {}
    for i, line in text_lines(path):
        if line.startswith("#"):
            continue
        key, mark, value = [part.strip() for part in line.partition("=")]
        if not mark:
            raise ValueError(f"{path}, line {i}: {line!r}, expected KEY = VALUE")
        if key in content:
            raise ValueError(f"{path}, line {i}: the key {key!r} is given twice")
        content[key] = value

    if "names" in content:
        text = _text(content["names"], "names", path)
        places = [path.parent / end for end in _ends(text)]
        there = [place for place in places if os.path.isfile(place)]
        if not there:
            raise FileNotFoundError(f"{path}, names: no such file: {places[0]}")
        content["names"] = [name for _, name in text_lines(there[0])]
    if "classes" in content:
        content["nc"] = content.pop("classes")
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
    if str(num_classes).strip() != str(len(names)):
        raise ValueError(
            f"{path}: {'classes' if path.suffix.lower() == DARKNET_ENDING else 'nc'} is "
            f"{_SHORT.repr(num_classes)}, but there are {len(names)} names"
        )
    return names


# ---- which pictures


LeaveOut = Callable[[FileNotFoundError | ValueError], None]  # raises, or notes a missing picture


def _pictures_of_split(content: dict, split: str, path: Path, leave_out: LeaveOut) -> list[Path]:
    """Return the pictures of a split, each known to exist."""
    root = path.parent / Path(_text(content.get("path", "."), "path", path)).expanduser()
    if not os.path.isdir(root):
        raise FileNotFoundError(
            f"{path}: its path leads to {root}, which is no folder; give it relative to the folder "
            "of this file, or leave the key out if everything lies beside the file"
        )

    known = [key for key, value in content.items() if key not in NO_SPLITS and value]
    if split not in known:
        raise ValueError(f"{path}: no split {split!r}; there are {known or 'none'}")

    places = content[split]
    places = places if isinstance(places, list) else [places]
    others = [text for key in known for text in _strings(content[key])]
    pictures: list[Path] = []
    for place in places:
        location = _find_location(root, _text(place, split, path), others, f"{path}, {split}")
        if location.is_dir():
            pictures += _pictures_in_folder(location, leave_out)
        else:
            pictures += _pictures_in_list(location, root, leave_out)

    twice = [picture for picture, count in Counter(pictures).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: the split {split!r} has {twice[0]} more than once")
    if not pictures:
        raise FileNotFoundError(f"{path}: none of the pictures of the split {split!r} is there")
    return pictures


def _text(value: object, key: str, path: Path) -> str:
    """Return a path that the file gives, with ``/`` between its parts."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{path}: {key} is {_SHORT.repr(value)}, expected a path")
    return value.replace("\\", "/")


def _strings(places: object) -> list[str]:
    """Return the paths in what a key gives, of whatever type that is."""
    places = places if isinstance(places, list) else [places]
    return [place.replace("\\", "/") for place in places if isinstance(place, str)]


def _find_location(root: Path, text: str, others: list[str], where: str) -> Path:
    """Return the folder or the list that a split names.

    Args:
        root: folder that paths start from.
        text: the path.
        others: the paths of all splits.
        where: file and key, for the error.
    """
    place = root / Path(text).expanduser()
    if _is_location(place):
        return place
    if os.path.isfile(place):
        raise ValueError(f"{where}: {place} is neither a folder nor a .txt list of pictures")

    # The end of the path may be here; but not if the path of another split ends in the same way.
    for end in _ends(text)[1:]:
        shared = any(end in _ends(other) for other in others if other != text)
        if not shared and _is_location(root / end):
            return root / end

    raise FileNotFoundError(f"{where}: no such folder or list: {place}; paths start from {root}")


def _is_location(path: Path) -> bool:
    is_list = path.suffix.lower() == ".txt" and os.path.isfile(path)
    return is_list or os.path.isdir(path)


def _ends(text: str) -> list[str]:
    """Return a path and its ends, longest first: a/b/c, b/c, c; none that climbs but the whole."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    ends = ["/".join(parts[start:]) for start in range(1, len(parts))]
    if text.startswith("/"):
        ends.insert(0, "/".join(parts))
    return [text, *(end for end in ends if ".." not in end.split("/"))]


def _pictures_in_folder(folder: Path, leave_out: LeaveOut) -> list[Path]:
    """Return all pictures in a folder and the folders in it, by path; check that none is missing.

    A picture is missed by its label: a text file in the folder of labels that belongs to none.
    """
    endings = picture_endings()
    files = sorted(path for path in folder.rglob("*") if not path.name.startswith("."))
    pictures = [p for p in files if p.suffix.lower() in endings and os.path.isfile(p)]
    if not pictures:
        raise ValueError(
            f"{folder}: holds no picture; expected files that end in {SOME_ENDINGS}, or another "
            "ending of a format that Pillow reads"
        )

    expected = {_label_file(picture) for picture in pictures}
    for labels in sorted({label.parent for label in expected}):
        if any(picture.parent == labels for picture in pictures):
            continue  # beside pictures there may be other text files
        for label in sorted(labels.glob("*.txt")):
            if label not in expected and label.name not in LISTS_OF_CLASSES:
                problem = (
                    f"{label}: no picture belongs to these labels; expected one called "
                    f"{label.stem} in {folder}, ending in {SOME_ENDINGS} or another that Pillow "
                    "reads"
                )
                leave_out(FileNotFoundError(problem))
    return pictures


def _pictures_in_list(path: Path, root: Path, leave_out: LeaveOut) -> list[Path]:
    """Return the pictures that a text file lists, relative to the root or to the file's folder.

    Those of another machine's paths are looked for below the root (``reading.PictureFolder``).
    """
    lines = text_lines(path)
    if not lines:
        raise ValueError(f"{path}: the list is empty; expected the path of one picture a line")

    below_root = PictureFolder(root, [name for _, name in lines])
    pictures = []
    for i, name in lines:
        try:
            here = _if_there(root, name) or _if_there(path.parent, name)
            pictures.append(here or below_root.find(name))
        except (FileNotFoundError, ValueError) as error:
            leave_out(type(error)(f"{path}, line {i}: {error}"))
    return pictures


def _if_there(folder: Path, name: str) -> Path | None:
    """Return the picture of this name in a folder, None if it is not there."""
    try:
        picture = path_inside(folder, name)
    except ValueError:
        return None  # absolute, or climbs
    return picture if os.path.isfile(picture) else None


# ---- which labels


def _label_file(picture: Path) -> Path:
    """Return where a picture's labels are to be: in ``labels`` for ``images``, else beside it."""
    beside = _in_any_case(picture.with_suffix(".txt"))
    positions = [i for i, part in enumerate(picture.parts) if part in PICTURE_FOLDERS]
    if not positions:
        return beside

    # The last of several folders called images.
    root = Path(*picture.parts[: positions[-1]])
    inner = Path(*picture.parts[positions[-1] + 1 :]).with_suffix(".txt")
    mirrored = [_in_any_case(root / name / inner) for name in LABEL_FOLDERS]
    there = [path for path in mirrored if path.parent.is_dir()]
    if there:
        return there[0]
    return beside if os.path.isfile(beside) else mirrored[0]


def _in_any_case(path: Path) -> Path:
    """Return the file that ends in ``.TXT`` where it is there and the one in ``.txt`` is not."""
    capitals = path.with_suffix(".TXT")
    return capitals if os.path.isfile(capitals) and not os.path.isfile(path) else path


def _check_pairs(pictures: list[Path], labels: list[Path]) -> list[Path]:
    """Check that each picture has labels of its own, and that some have labels at all.

    Returns:
        The pictures without a file of labels.

    Raises:
        ValueError: two pictures have one file, or something else lies where a file is to be.
        FileNotFoundError: no picture has one.
    """
    owners: dict[Path, Path] = {}
    for picture, label in zip(pictures, labels):
        if label in owners:
            raise ValueError(
                f"{label}: belongs to two pictures, {owners[label].name} and {picture.name}; "
                "rename one of them, and its labels with it"
            )
        owners[label] = picture

    without = []
    for picture, label in zip(pictures, labels):
        if os.path.isfile(label):
            continue
        if os.path.lexists(label):  # a folder, a pipe, a link that leads nowhere
            raise ValueError(f"{label}: is no file, expected the labels of {picture}")
        without.append(picture)

    if len(without) == len(pictures):
        raise FileNotFoundError(
            f"none of the {len(pictures)} pictures has labels; expected such a file as {labels[0]} "
            f"for {pictures[0]}"
        )
    return without


def _read_labels(
    path: Path, size: tuple[int, int], meaning: _Meaning, faults: Faults
) -> list[AnnotatedObject]:
    """Return the objects of one picture of this (width, height); bad lines go to ``faults``."""
    if not os.path.isfile(path):
        return []  # nothing was labelled in this picture

    try:
        lines = text_lines(path)
    except ValueError as error:
        problem = str(error).removeprefix(f"{path}: ")
        faults.add(BadAnnotation("file of labels is no text", str(path), problem))
        return []

    objects = []
    seen: dict[tuple, int] = {}
    for i, line in lines:
        where = f"{path}, line {i}"
        try:
            found = _read_object(line.split(), size, meaning, where)

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
    words: list[str], size: tuple[int, int], meaning: _Meaning, where: str
) -> AnnotatedObject:
    """Check one line: a class, and a box or a polygon in shares of this (width, height)."""
    is_box = len(words) in (5, 5 + meaning.num_keypoint_values)
    is_polygon = not is_box and len(words) >= 7 and len(words) % 2 == 1
    if not is_box and (not is_polygon or meaning.num_keypoint_values):
        raise BadAnnotation("wrong number of values", where, _expected_values(len(words), meaning))

    label = number(words[0], "the class", where)
    file_names = meaning.file_names
    if label not in range(len(file_names)):
        problem = f"the class is {words[0]}, expected 0 … {len(file_names) - 1}: {file_names}"
        raise BadAnnotation("unknown category", where, problem)

    name = file_names[int(label)]
    if name not in meaning.labels:
        problem = f"its class {name!r} is none of {list(meaning.labels)}"
        raise BadAnnotation("unknown category", where, problem)

    # Of a box with keypoints, the box.
    words = words[:5] if is_box else words
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
    return AnnotatedObject(box, meaning.labels[name], area)


def _expected_values(count: int, meaning: _Meaning) -> str:
    """Say what is wrong with a line of so many values."""
    if meaning.num_keypoint_values:
        return (
            f"{count} values, expected five (class centre_x centre_y width height), or these and "
            f"{meaning.num_keypoint_values} of keypoints, as kpt_shape says"
        )

    advice = "; a sixth is a confidence: detections are no labels" if count == 6 else ""
    return (
        f"{count} values, expected five (class centre_x centre_y width height) or a class and "
        f"three or more corners (x y), with spaces between them{advice}"
    )
