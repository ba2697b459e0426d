"""``CocoDetection``: boxes in the JSON format of Microsoft COCO.

Source: "Data format" at https://cocodataset.org/#format-data (Lin et al., "Microsoft COCO: Common
Objects in Context", ECCV 2014). One file holds three lists: ``images``, ``categories`` and
``annotations``; a box is ``[x, y, width, height]`` in pixels, continuous, from the upper left
corner of the image.

Shapes: ``N`` objects of one image, ``K`` classes, ``H`` and ``W`` the height and width of an image.

What labelling tools leave open, and how it is read here:

- An annotation's ``id`` says nothing about its object: it may be missing or given twice.
- Numbers may be text (``"12.5"``). The ids 7, 7.0 and ``"7"`` are the same id; ids may be words.
- Without ``bbox``, the box is the extent of ``segmentation``: of polygons, or of a mask's runs.
- Without a usable ``area``, it is that of the polygons or of the mask, else that of the box.
- A category that has no annotation and that others name as their ``supercategory`` is no class but
  the root of a tree, as Roboflow writes it. Of two categories with one name, one may be unused.
- Without ``file_name``, the picture is looked for by ``coco_url``, as in LVIS.
- Where the path of a picture leads nowhere, the picture is looked for by the end of its path
  (``reading.PictureFolder``).

Where we differ from torchvision's class of the same name, and from pycocotools:

- A sample's target is a dictionary of tensors with boxes as corners, not the raw list of
  annotations.
- Category ids, which have holes in COCO (80 classes, ids up to 90), become labels 0 … K−1 in the
  order of the ids, or that of the names which are asked for.
- Everything is checked when the data set is made, so that a fault shows before training and not at
  hour three.
- Boxes are clipped to their image. pycocotools keeps them whole, so that there a detection of the
  visible part of an object that reaches over the border has a lower IoU.
"""

import os
import reprlib
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np
import torch

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
    flag,
    identity,
    number,
    pack,
    picture_size,
    read_json,
)

LARGEST_INT64 = 2**63 - 1  # of an image_id in a tensor
FEWEST_CORNERS = 3  # of a polygon
NOTHING = (None, 0, "", "0", [], {})  # what tools write where they have no value


class CocoDetection(AnnotatedPictures):
    """Images and boxes of a COCO file.

    A sample is ``(image, target)``: image ``(3, H, W)`` float32 in [0, 1], upright; target with
    ``boxes (N, 4)`` float32 ``x1, y1, x2, y2`` in pixels, ``labels (N,)`` int64 0 … K−1,
    ``area (N,)`` float32 (the file's own, of the mask in COCO), ``iscrowd (N,)`` int64 and
    ``image_id ()``, the file's integer; where ids are words, or too large for int64, the position
    of this id among all of them, sorted. Crowd regions are kept and marked; of their run-length
    masks only the extent is used. N may be 0.

    Args:
        root: folder that the file names in the annotation file start from.
        annotation_file: path of the JSON file.
        on_bad: ``"raise"`` stops at the first bad annotation; ``"skip"`` drops bad annotations,
            keeps every image, and warns once with what was left out. Faults in the lists of images
            and categories raise in both cases.
        class_names: the K names in the order of their labels; the file's categories are matched by
            name, in whatever order and with whatever ids they stand there. An object of another
            class is a bad annotation. Default: the file's own categories.
        skip_bad_images: leave out images whose picture is missing, with a warning, and those whose
            picture turns out to be broken in ``check``. Otherwise they raise.
        reads_pictures: False where the annotations alone are wanted, to measure a file of
            detections for instance: ``target`` has them, and reading a sample raises. A picture is
            then looked for only if the file does not give its size.

    Attributes:
        class_names: the K names, by label.
        category_ids: the file's category id of each label, for writing results in COCO's form; None
            where one of the names asked for is not in the file.
        image_ids: the file's image id of each sample.
        left_out: how many annotations were dropped, by reason.
        images_left_out: what is wrong with each picture that was left out.

    Raises:
        FileNotFoundError: the annotation file or a picture is missing.
        TypeError: ``class_names`` is no sequence of strings.
        ValueError: malformed JSON, or a fault; the message names file and annotation.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        annotation_file: str | os.PathLike,
        on_bad: str = "raise",
        class_names: Sequence[str] | None = None,
        skip_bad_images: bool = False,
        reads_pictures: bool = True,
    ) -> None:
        faults = Faults(on_bad)
        path = existing_file(annotation_file, "a JSON file with COCO annotations")
        images, categories, annotations = _read_lists(path)
        self._source = f"CocoDetection({str(path)!r})"
        self._skip_bad_images = skip_bad_images
        self._reads_pictures = reads_pictures

        # Labels 0 … K−1 go to the categories by name.
        found = _read_categories(categories, annotations, path)
        self.class_names = _choose_classes(found, class_names, path)
        self.category_ids = _ids_of_classes(found, self.class_names)

        entries = _read_images(images, path)
        numbers = _number_images(entries)
        self._file_ids = {numbers[entry.key]: entry.file_id for entry in entries}
        records, problems = self._find_pictures(entries, numbers, root)
        self._records = [record for record in records.values() if record is not None]
        self._leave_images_out(problems)

        # The file lists annotations in any order; a sample has those of its image.
        objects = _read_annotations(annotations, records, found, self.class_names, path, faults)
        for record in self._records:
            record.arrays = pack(objects[record.image_id])
            del record.arrays["difficult"]  # a Pascal VOC idea

        self.left_out = dict(faults.counts)
        faults.summarise(self._source)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict]:
        """Read one sample; see the class."""
        if not self._reads_pictures:
            raise ValueError(
                f"{self._source} was made with reads_pictures=False: target(index) has the "
                "annotations of a sample, and there is no picture"
            )
        return super().__getitem__(index)

    @property
    def image_ids(self) -> list[int | float | str]:
        """The file's image id of each sample, for writing results in COCO's form."""
        return [self._file_ids[record.image_id] for record in self._records]

    def _find_pictures(
        self,
        entries: list["_ImageEntry"],
        numbers: dict[int | str, int],
        root: str | os.PathLike,
    ) -> tuple[dict[int | str, Record | None], list[str]]:
        """Make one record per image whose picture is there, in the file's order.

        Returns:
            The record by the image's id, None for an image that is left out; and what is wrong with
            those.
        """
        if self._reads_pictures and entries and not os.path.isdir(root):
            raise FileNotFoundError(
                f"{root}: no such folder; expected the one that the file names in "
                f"{self._source} start from"
            )

        folder = PictureFolder(root, [entry.file_name for entry in entries])
        records: dict[int | str, Record | None] = {}
        problems = []
        for entry in entries:
            try:
                if self._reads_pictures or entry.size is None:
                    picture = _find_picture(entry, folder)
                else:
                    picture = folder.root / PureWindowsPath(entry.file_name).name
                size = entry.size or picture_size(picture)
                records[entry.key] = Record(numbers[entry.key], picture, size, arrays={})
            except (FileNotFoundError, ValueError) as error:
                problems.append(self._bad_image(error))
                records[entry.key] = None
        return records, problems


def _read_lists(path: Path) -> tuple[list, list, list]:
    """Return the lists ``images``, ``categories`` and ``annotations`` of the file."""
    content = read_json(path)
    keys = ("images", "categories", "annotations")
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(
                f"{path}: no list {key!r}; a COCO file holds the lists {', '.join(keys)}. If this "
                "is the own format of the program that wrote it, export it there as COCO"
            )

    return content["images"], content["categories"], content["annotations"]


# ---- categories


class _Category(NamedTuple):
    """One category; ``key`` is its id as annotations name it, ``file_id`` as the file spells it."""

    key: int | str
    file_id: int | float | str
    name: str


def _read_categories(categories: list, annotations: list, path: Path) -> list[_Category]:
    """Return the categories that are classes, in the order of their ids."""
    by_key: dict[int | str, _Category] = {}
    parents: dict[int | str, str | None] = {}
    for index, entry in enumerate(categories):
        where = f"{path}, categories[{index}]"
        file_id = _value(entry, "id", where)
        key = identity(file_id, "id", where)
        name = _read_name(entry, where)

        if key in by_key:
            raise ValueError(f"{where}: id {key!r} is taken already, by {by_key[key].name!r}")
        by_key[key] = _Category(key, file_id, name)
        parents[key] = entry.get("supercategory")

    used = _used_categories(annotations)
    children = defaultdict(set)
    for key, parent in parents.items():
        if isinstance(parent, str):
            children[parent.strip()].add(key)

    classes: dict[str, _Category] = {}
    for category in sorted(by_key.values(), key=_by_id(by_key)):
        is_used = category.key in used
        if not is_used and children[category.name] - {category.key}:
            continue  # the root of a tree

        # Of two categories with one name only one may have objects; else they would be mixed up.
        other = classes.get(category.name)
        if other is not None and is_used and other.key in used:
            raise ValueError(
                f"{path}: two categories with annotations are named {category.name!r}, those with "
                f"the ids {other.file_id!r} and {category.file_id!r}; names must differ"
            )
        if other is None or is_used:
            classes[category.name] = category

    return sorted(classes.values(), key=_by_id(by_key))


def _by_id(keys: Collection[int | str]) -> Callable[[_Category], int | str]:
    """Return what categories are sorted by: numbers as numbers, but as text if some are words."""
    if all(isinstance(key, int) for key in keys):
        return lambda category: category.key
    return lambda category: str(category.key)


def _read_name(entry: dict, where: str) -> str:
    """Return the name of a category; digits may stand there as numbers."""
    name = _value(entry, "name", where)
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        raise ValueError(f"{where}: name is {reprlib.repr(name)}, expected a word")
    return str(name).strip()


def _used_categories(annotations: list) -> set[int | str]:
    """Return the ids of all categories that some annotation names."""
    used = set()
    for annotation in annotations:
        try:
            used.add(identity(_value(annotation, "category_id", ""), "category_id", ""))
        except BadAnnotation:
            pass  # reported when the annotation is read
    return used


def _choose_classes(
    found: list[_Category], class_names: Sequence[str] | None, path: Path
) -> list[str]:
    """Return the names of the K classes: those asked for, else the file's."""
    in_file = [category.name for category in found]
    if class_names is None:
        if not in_file:
            raise ValueError(f"{path}: the list 'categories' is empty, so there is no class")
        return in_file

    asked = checked_class_names(class_names)
    if not set(asked) & set(in_file):
        raise ValueError(f"{path}: none of the classes {asked} is in the file, which has {in_file}")
    return asked


def _ids_of_classes(
    found: list[_Category], class_names: list[str]
) -> list[int | float | str | None]:
    """Return the file's id of each class; None for one that the file does not have."""
    ids = {category.name: category.file_id for category in found}
    return [ids.get(name) for name in class_names]


# ---- images


class _ImageEntry(NamedTuple):
    """One image; ``key`` is its id as annotations name it, ``file_id`` as the file spells it."""

    key: int | str
    file_id: int | float | str
    file_name: str
    size: tuple[int, int] | None  # (width, height)
    where: str


def _read_images(images: list, path: Path) -> list[_ImageEntry]:
    """Return what the file says about its images, in its order."""
    entries: dict[int | str, _ImageEntry] = {}
    for index, image in enumerate(images):
        where = f"{path}, images[{index}]"
        file_id = _value(image, "id", where)
        key = identity(file_id, "id", where)
        where = f"{path}, image {key}"  # from here on it has a name
        if key in entries:
            raise ValueError(f"{where}: two images have this id; ids must differ")

        # LVIS has the picture's URL only.
        is_named = image.get("file_name") not in NOTHING or image.get("coco_url") in NOTHING
        file_name = _value(image, "file_name" if is_named else "coco_url", where)
        if not isinstance(file_name, str):
            raise ValueError(f"{where}: file_name is {reprlib.repr(file_name)}, expected text")
        size = _read_size(image, where)
        entries[key] = _ImageEntry(key, file_id, file_name, size, where)

    return list(entries.values())


def _read_size(image: dict, where: str) -> tuple[int, int] | None:
    """Return (width, height) as the file gives them; None if it does not."""
    if image.get("width") in NOTHING and image.get("height") in NOTHING:
        return None

    width = number(_value(image, "width", where), "width", where)
    height = number(_value(image, "height", where), "height", where)
    if width <= 0 or height <= 0 or width % 1 or height % 1:
        raise ValueError(
            f"{where}: width {width:g} and height {height:g} must be positive whole numbers"
        )
    return int(width), int(height)


def _number_images(entries: list[_ImageEntry]) -> dict[int | str, int]:
    """Return the integer ``image_id`` of each image.

    Their order is that in which pycocotools sorts the file's ids; it decides between detections
    with equal scores in different images.
    """
    numeric = all(isinstance(entry.file_id, int | float) for entry in entries)
    if numeric and all(abs(entry.key) <= LARGEST_INT64 for entry in entries):
        return {entry.key: entry.key for entry in entries}

    def order(entry: _ImageEntry) -> int | str:
        return entry.key if numeric else str(entry.file_id)

    return {entry.key: position for position, entry in enumerate(sorted(entries, key=order))}


def _find_picture(entry: _ImageEntry, folder: PictureFolder) -> Path:
    """Return the picture of an image, which is there."""
    try:
        return folder.find(entry.file_name)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{entry.where}: {error}") from None


# ---- annotations


def _read_annotations(
    annotations: list,
    records: dict[int | str, Record | None],
    categories: list[_Category],
    class_names: list[str],
    path: Path,
    faults: Faults,
) -> dict[int, list[AnnotatedObject]]:
    """Return the good annotations by ``image_id``, and hand the bad ones to ``faults``."""
    names = {category.key: category.name for category in categories}
    labels = {name: label for label, name in enumerate(class_names)}

    objects: dict[int, list[AnnotatedObject]] = defaultdict(list)
    for index, annotation in enumerate(annotations):
        try:
            where = f"{path}, {_name_of(annotation, index)}"
            image_key = identity(_value(annotation, "image_id", where), "image_id", where)
            if image_key not in records:
                problem = f"no image has the id {image_key!r}"
                raise BadAnnotation("unknown image", where, problem)

            record = records[image_key]
            if record is None:
                continue  # left out, with its objects

            where = f"{where} of image {image_key}"
            name = _read_category(annotation, names, where)
            if name not in labels:
                problem = f"its class {name!r} is none of {class_names}"
                raise BadAnnotation(f"class {name!r} not asked for", where, problem)

            found = _read_object(annotation, labels[name], record.size, where)
            objects[record.image_id].append(found)
        except BadAnnotation as fault:
            faults.add(fault)

    _check_pixels(objects, path)
    return objects


def _check_pixels(objects: dict[int, list[AnnotatedObject]], path: Path) -> None:
    """Raise ValueError if all boxes are shares of the picture's size, which some tools write."""
    boxes = np.array([found.box for rows in objects.values() for found in rows])  # (N, 4)
    if len(boxes) > 0 and boxes.max() <= 1 and (boxes % 1 > 0).any():
        raise ValueError(
            f"{path}: all {len(boxes)} boxes lie within the first pixel of their image: were "
            "shares of its width and height written? COCO's boxes are in pixels"
        )


def _name_of(annotation: object, index: int) -> str:
    """Return what to call an annotation in a message; not all have ids."""
    if isinstance(annotation, dict) and isinstance(annotation.get("id"), int | str):
        return f"annotation {annotation['id']}"
    return f"annotations[{index}]"


def _read_category(annotation: dict, names: dict[int | str, str], where: str) -> str:
    """Return the name of an object's class."""
    key = identity(_value(annotation, "category_id", where), "category_id", where)
    if key not in names:
        problem = f"no category has the id {key!r}; ids: {list(names)}"
        raise BadAnnotation("unknown category", where, problem)
    return names[key]


def _read_object(
    annotation: dict, label: int, size: tuple[int, int], where: str
) -> AnnotatedObject:
    """Check one annotation of an image of this (width, height)."""
    if annotation.get("bbox") in NOTHING and annotation.get("segmentation") not in NOTHING:
        corners, _ = _read_segmentation(annotation["segmentation"], size, where)
    else:
        corners = _read_bbox(_value(annotation, "bbox", where), where)

    box = clipped_box(corners, size, where)
    area = _read_area(annotation, box, size, where)
    iscrowd = flag(annotation.get("iscrowd"), "iscrowd", where)
    return AnnotatedObject(box, label, area, iscrowd)


def _read_bbox(bbox: object, where: str) -> tuple[float, float, float, float]:
    """Return the corners x1, y1, x2, y2 of ``[x, y, width, height]``."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        problem = f"bbox is {reprlib.repr(bbox)}, expected [x, y, width, height]"
        raise BadAnnotation("no box of 4 numbers", where, problem)

    x, y, width, height = [number(value, "a value in bbox", where) for value in bbox]
    if width <= 0 or height <= 0:
        problem = f"bbox {bbox} has width {width:g} and height {height:g}; both must be positive"
        raise BadAnnotation("box without area", where, problem)
    return x, y, x + width, y + height


def _read_area(annotation: dict, box: np.ndarray, size: tuple[int, int], where: str) -> float:
    """Return the area as the file gives it, else that of the segmentation, else that of the box."""
    try:
        area = number(annotation.get("area"), "area", where)
        if area >= 0:
            return area
    except BadAnnotation:
        pass  # an area alone is no reason to lose an object

    try:
        _, area = _read_segmentation(annotation.get("segmentation"), size, where)
        return area
    except BadAnnotation:
        return float((box[2] - box[0]) * (box[3] - box[1]))


def _value(entry: object, key: str, where: str) -> object:
    """Return ``entry[key]``, which must be there."""
    if not isinstance(entry, dict) or key not in entry:
        raise BadAnnotation(f"missing key {key!r}", where, f"the key {key!r} is missing")
    return entry[key]


# ---- segmentations, of which only the extent and the area are used


def _read_segmentation(
    segmentation: object, size: tuple[int, int], where: str
) -> tuple[tuple[float, float, float, float], float]:
    """Return the extent x1, y1, x2, y2 and the area of polygons or of a run-length mask.

    Args:
        segmentation: ``[[x, y, x, y, …], …]``, or ``{"size": [height, width], "counts": …}``.
        size: (width, height) of the image.
        where: file and annotation, for the error.

    Raises:
        BadAnnotation: it is neither, or nothing lies in it.
    """
    if isinstance(segmentation, dict):
        corners, area = _read_mask(segmentation, size, where)
    else:
        polygons = _read_polygons(segmentation, where)
        points = np.concatenate(polygons)  # (C, 2)
        corners = (*points.min(axis=0), *points.max(axis=0))
        area = sum(_polygon_area(polygon) for polygon in polygons)

    if area == 0:
        raise BadAnnotation("segmentation without area", where, "nothing lies in its segmentation")
    return corners, area


def _read_polygons(segmentation: object, where: str) -> list[np.ndarray]:
    """Return polygons with their corners (C, 2) in pixels.

    COCO stores ``[[x, y, x, y, …], …]``. Some tools store one polygon without the outer list, or
    the corners as pairs: ``[[x, y], [x, y], …]``.
    """
    wrong = BadAnnotation(
        "bad segmentation",
        where,
        f"segmentation is {reprlib.repr(segmentation)}, expected polygons [[x, y, x, y, …], …] of "
        f"{FEWEST_CORNERS} or more corners, or a run-length mask",
    )
    if not isinstance(segmentation, list) or not segmentation:
        raise wrong

    def is_pair(part: object) -> bool:
        return isinstance(part, list) and len(part) == 2

    one_alone = not any(isinstance(part, list) for part in segmentation)
    if one_alone or all(is_pair(part) for part in segmentation):
        segmentation = [segmentation]

    polygons = []
    for part in segmentation:
        if isinstance(part, list) and part and all(is_pair(corner) for corner in part):
            part = [value for corner in part for value in corner]
        if not isinstance(part, list) or len(part) % 2 or len(part) < 2 * FEWEST_CORNERS:
            raise wrong
        values = [number(value, "a value in segmentation", where) for value in part]
        polygons.append(np.array(values).reshape(-1, 2))
    return polygons


def _polygon_area(corners: np.ndarray) -> float:
    """Return the area within the corners (C, 2): half the sum of x_i y_i+1 − x_i+1 y_i."""
    x, y = corners.T
    return float(abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2)


def _read_mask(
    mask: dict, size: tuple[int, int], where: str
) -> tuple[tuple[float, float, float, float], float]:
    """Return the extent x1, y1, x2, y2 and the number of pixels of a run-length mask.

    The pixels are numbered down the first column, then down the second, and so on; ``counts`` says
    how many of them in turn lie outside, inside, outside, … The mask itself is never made.
    """
    width, height = size
    mask_size = _value(mask, "size", where)
    if mask_size != [height, width]:
        problem = f"its mask has the size {reprlib.repr(mask_size)}, expected {[height, width]}"
        raise BadAnnotation("mask of another size", where, problem)

    counts = _value(mask, "counts", where)
    if isinstance(counts, str):
        counts = _decompressed(counts, where)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        problem = f"counts is {reprlib.repr(counts)}, expected numbers of pixels"
        raise BadAnnotation("bad mask", where, problem)
    if sum(counts) != width * height:
        problem = f"the counts add up to {sum(counts)}, expected {width * height} pixels"
        raise BadAnnotation("bad mask", where, problem)

    columns, rows = [], []  # of the first and last pixel of each run inside
    area = start = 0
    for index, count in enumerate(counts):
        end = start + count
        if index % 2 == 1 and count > 0:
            area += count
            columns += [start // height, (end - 1) // height]
            # A run that goes on in the next column touches the lower and the upper border.
            one_column = columns[-2] == columns[-1]
            rows += [start % height, (end - 1) % height] if one_column else [0, height - 1]
        start = end

    if area == 0:
        return (0.0, 0.0, 0.0, 0.0), 0.0
    # Pixel 0 covers 0 to 1.
    return (min(columns), min(rows), max(columns) + 1, max(rows) + 1), float(area)


def _decompressed(text: str, where: str) -> list[int]:
    """Return the counts of a compressed mask, as pycocotools writes it (its ``rleFrString``).

    A character holds six bits, from "0" on: five of the number, lowest first, and one that says
    whether more follow. The highest bit of the last is the sign. From the fourth count on the
    difference to the count before the last is stored.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - ord("0")
        if not 0 <= bits < 64:
            raise BadAnnotation("bad mask", where, f"counts holds the character {character!r}")

        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue  # more follows

        if bits & 16:
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
        value = shift = 0

    if shift:
        raise BadAnnotation("bad mask", where, "counts is cut off")
    return counts
