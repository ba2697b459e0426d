"""``CocoDetection``: boxes in the JSON format of Microsoft COCO.

Source: "Data format" at https://cocodataset.org/#format-data (Lin et al., "Microsoft COCO: Common
Objects in Context", ECCV 2014). One file holds three lists: ``images``, ``categories`` and
``annotations``; a box is ``[x, y, width, height]`` in pixels, continuous, from the upper left
corner of the image.

Shapes: ``N`` objects of one image, ``K`` classes, ``H`` and ``W`` the height and width of an image.

Where we differ from torchvision's class of the same name:

- A sample's target is a dictionary of tensors with boxes as corners, not the raw list of
  annotations.
- Category ids, which have holes in COCO (80 classes, ids up to 90), become labels 0 … K−1 in the
  order of the ids.
- Everything is checked when the data set is made, so that a fault shows before training and not at
  hour three.
- Boxes are clipped to their image.
"""

import json
import os
from collections import defaultdict
from pathlib import Path

from detlearn.data.reading import (
    AnnotatedObject,
    AnnotatedPictures,
    BadAnnotation,
    Faults,
    Record,
    clipped_box,
    existing_file,
    flag,
    number,
    pack,
    path_inside,
    picture_size,
)


class CocoDetection(AnnotatedPictures):
    """Images and boxes of a COCO file.

    A sample is ``(image, target)``: image ``(3, H, W)`` float32 in [0, 1], upright; target with
    ``boxes (N, 4)`` float32 ``x1, y1, x2, y2`` in pixels, ``labels (N,)`` int64 0 … K−1,
    ``area (N,)`` float32 (the file's own, of the mask in COCO; the box's where the file gives
    none), ``iscrowd (N,)`` int64 and ``image_id ()``, the file's integer. Crowd regions are kept
    and marked; of their run-length masks only the box is used. N may be 0.

    Args:
        root: folder that the file names in the annotation file start from.
        annotation_file: path of the JSON file.
        on_bad: ``"raise"`` stops at the first bad annotation; ``"skip"`` drops bad annotations,
            keeps every image, and warns once with what was left out. A missing or broken picture
            raises in both cases, as do faults in the lists of images and categories.

    Attributes:
        class_names: the K names, by label.
        category_ids: the file's category id of each label, for writing results in COCO's form.
        left_out: how many annotations were dropped, by reason.

    Raises:
        FileNotFoundError: the annotation file or a picture is missing.
        ValueError: malformed JSON, or a fault; the message names file and annotation.
    """

    def __init__(
        self, root: str | os.PathLike, annotation_file: str | os.PathLike, on_bad: str = "raise"
    ) -> None:
        faults = Faults(on_bad)
        path = existing_file(annotation_file, "a JSON file with COCO annotations")
        images, categories, annotations = _read_lists(path)

        # Labels 0 … K−1 go to the category ids in their order, without the holes.
        names = _read_categories(categories, path)
        self.category_ids = sorted(names)
        self.class_names = [names[category_id] for category_id in self.category_ids]
        labels = {category_id: label for label, category_id in enumerate(self.category_ids)}

        self._records = _read_images(images, Path(root), path)
        sizes = {record.image_id: record.size for record in self._records}

        # The file lists annotations in any order; a sample has those of its image.
        objects = _read_annotations(annotations, sizes, labels, path, faults)
        for record in self._records:
            record.arrays = pack(objects[record.image_id])
            del record.arrays["difficult"]  # a Pascal VOC idea

        self.left_out = dict(faults.counts)
        faults.summarise(f"CocoDetection({str(path)!r})")


def _read_lists(path: Path) -> tuple[list, list, list]:
    """Return the lists ``images``, ``categories`` and ``annotations`` of the file."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: malformed JSON ({error}). Was the file cut off while copying?"
        ) from error

    keys = ("images", "categories", "annotations")
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(
                f"{path}: no list {key!r}; a COCO file holds the lists {', '.join(keys)}"
            )

    return content["images"], content["categories"], content["annotations"]


def _read_categories(categories: list, path: Path) -> dict[int, str]:
    """Return category id → name."""
    names: dict[int, str] = {}
    for index, category in enumerate(categories):
        where = f"{path}, categories[{index}]"
        category_id = _field(category, "id", int, where)
        name = _field(category, "name", str, where)

        if category_id in names:
            raise ValueError(
                f"{where}: id {category_id} is taken already, by {names[category_id]!r}"
            )
        if name in names.values():
            raise ValueError(f"{where}: a second category is named {name!r}; names must differ")
        names[category_id] = name

    return names


def _read_images(images: list, root: Path, path: Path) -> list[Record]:
    """Return one record per image, in the file's order, its picture known to exist."""
    records: dict[int, Record] = {}
    for index, image in enumerate(images):
        where = f"{path}, images[{index}]"
        image_id = _field(image, "id", int, where)
        where = f"{path}, image {image_id}"  # from here on it has a name
        if image_id in records:
            raise ValueError(f"{where}: two images have this id; ids must differ")

        name = _field(image, "file_name", str, where)
        try:
            picture = path_inside(root, name)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if not picture.is_file():
            raise FileNotFoundError(
                f"{where}: its picture {picture} is missing; is root={str(root)!r} the folder "
                "that file_name starts from?"
            )

        size = _read_size(image, picture, where)
        records[image_id] = Record(image_id, picture, size, arrays={})

    return list(records.values())


def _read_size(image: dict, picture: Path, where: str) -> tuple[int, int]:
    """Return (width, height) as the file gives them, else from the picture itself."""
    if not image.get("width") and not image.get("height"):
        return picture_size(picture)

    width = _field(image, "width", int, where)
    height = _field(image, "height", int, where)
    if width <= 0 or height <= 0:
        raise ValueError(f"{where}: width {width} and height {height} must be positive")
    return width, height


def _read_annotations(
    annotations: list,
    sizes: dict[int, tuple[int, int]],
    labels: dict[int, int],
    path: Path,
    faults: Faults,
) -> dict[int, list[AnnotatedObject]]:
    """Return the good annotations by image id, and hands the bad ones to ``faults``."""
    objects: dict[int, list[AnnotatedObject]] = defaultdict(list)
    seen: set[int] = set()

    for index, annotation in enumerate(annotations):
        try:
            where = f"{path}, annotations[{index}]"
            annotation_id = _field(annotation, "id", int, where)
            where = f"{path}, annotation {annotation_id}"
            if annotation_id in seen:
                raise BadAnnotation("id given twice", where, "an earlier annotation has this id")
            seen.add(annotation_id)

            image_id = _field(annotation, "image_id", int, where)
            if image_id not in sizes:
                raise BadAnnotation("unknown image", where, f"no image has the id {image_id}")

            where = f"{where} of image {image_id}"
            objects[image_id].append(_read_object(annotation, sizes[image_id], labels, where))
        except BadAnnotation as fault:
            faults.add(fault)

    return objects


def _read_object(
    annotation: dict, size: tuple[int, int], labels: dict[int, int], where: str
) -> AnnotatedObject:
    """Check one annotation of an image of this (width, height)."""
    category_id = _field(annotation, "category_id", int, where)
    if category_id not in labels:
        raise BadAnnotation(
            "unknown category", where, f"no category has the id {category_id}; ids: {list(labels)}"
        )

    # Strings are refused first: number() would take "12", which COCO files do not hold.
    bbox = _field(annotation, "bbox", list, where)
    if len(bbox) != 4 or any(isinstance(value, str) for value in bbox):
        raise BadAnnotation(
            "no box of 4 numbers", where, f"bbox is {bbox!r}, expected [x, y, width, height]"
        )

    x, y, width, height = [number(value, "a value in bbox", where) for value in bbox]
    if width <= 0 or height <= 0:
        problem = f"bbox {bbox} has width {width:g} and height {height:g}; both must be positive"
        raise BadAnnotation("box without area", where, problem)
    box = clipped_box((x, y, x + width, y + height), size, where)

    # COCO's own area is the mask's; a file without masks may leave it out.
    box_area = float((box[2] - box[0]) * (box[3] - box[1]))
    area = number(annotation.get("area", box_area), "area", where)
    if area < 0:
        raise BadAnnotation("negative area", where, f"area is {area:g}")

    iscrowd = flag(annotation.get("iscrowd"), "iscrowd", where)
    return AnnotatedObject(box, labels[category_id], area, iscrowd)


def _field(entry: object, key: str, kind: type, where: str) -> object:
    """Return ``entry[key]``, which must be there and of this type."""
    if not isinstance(entry, dict) or key not in entry:
        raise BadAnnotation("missing key", where, f"the key {key!r} is missing")

    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):  # Python's bool is an int
        problem = f"{key} is {value!r}, expected {kind.__name__}"
        raise BadAnnotation(f"wrong type of {key}", where, problem)
    return value
