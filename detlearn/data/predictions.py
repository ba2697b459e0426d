"""``read_predictions``: detections from a file in COCO's form for results.

Source: "Results format" at https://cocodataset.org/#format-results. One JSON list with one entry a
detection::

    {"image_id": 42, "category_id": 18, "bbox": [x, y, width, height], "score": 0.236}

The ids are those of the annotation file, and the box is in pixels. ``detlearn detect --json`` also
writes ``file_name`` and ``category``; where they are, they decide instead of the ids, so that such
a file can be measured on data that have no ids.

Shapes: ``N`` detections on one image, ``K`` classes.
"""

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import torch
from torch import Tensor

from detlearn.data.coco import CocoDetection
from detlearn.data.reading import (
    AnnotatedPictures,
    BadAnnotation,
    existing_file,
    identity,
    number,
    read_json,
)


def read_predictions(path: str | os.PathLike, data: AnnotatedPictures) -> list[dict[str, Tensor]]:
    """Read a file of detections.

    Args:
        path: of the JSON file.
        data: the pictures that the detections are on; one of the readers' data sets.

    Returns:
        One dictionary per image, in the order of the data set: ``boxes (N, 4)`` float64 ``x1, y1,
        x2, y2`` in pixels, ``scores (N,)`` float64, ``labels (N,)`` int64, in the order of the
        file. N may be 0.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such list; or an entry names no image or class of the data set, or has
            no box of finite numbers or no score. The message names the entry.
    """
    path = existing_file(path, "a JSON file with detections in COCO's form")
    entries = _read_list(path)
    places = _places(data)
    labels = {name: label for label, name in enumerate(data.class_names)}
    labels_by_id = _labels_by_id(data)

    rows: list[list[tuple[list[float], float, int]]] = [[] for _ in range(len(data))]
    for index, entry in enumerate(entries):
        where = f"{path}, entry {index}"
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: is {entry!r:.60}, expected a dictionary")

        place = _find(entry, "file_name", places.by_name, "image_id", places.by_id, where)
        label = _find(entry, "category", labels, "category_id", labels_by_id, where)
        rows[place].append((_box(entry, where), number(entry.get("score"), "score", where), label))

    return [_tensors(image_rows) for image_rows in rows]


def _read_list(path: Path) -> list:
    """Return the list that the file holds."""
    content = read_json(path)
    if not isinstance(content, list):
        keys = f" with the keys {list(content)[:5]}" if isinstance(content, dict) else ""
        raise ValueError(
            f"{path}: holds a {type(content).__name__}{keys}, expected a list of detections, each "
            "with image_id, category_id, bbox and score"
        )
    return content


# ---- which image, which class


class _Places(NamedTuple):
    """Index of a sample by the id of its image, and by the name of its picture."""

    by_id: dict[Hashable, int]
    by_name: dict[str, int | None]


def _places(data: AnnotatedPictures) -> _Places:
    """Return where each image stands; a name that several pictures have leads to None."""
    by_id: dict[Hashable, int] = {}
    if isinstance(data, CocoDetection):
        by_id = {identity(file_id, "id", "image"): i for i, file_id in enumerate(data.image_ids)}

    names = [picture.name for picture in data.image_paths]
    counts = Counter(names)
    by_name = {name: i if counts[name] == 1 else None for i, name in enumerate(names)}
    return _Places(by_id, by_name)


def _labels_by_id(data: AnnotatedPictures) -> dict[Hashable, int]:
    """Return the label of each category id, where the data have such ids."""
    if not isinstance(data, CocoDetection):
        return {}
    return {
        identity(file_id, "id", "category"): label
        for label, file_id in enumerate(data.category_ids)
        if file_id is not None
    }


def _find(
    entry: dict,
    name_key: str,
    by_name: dict[str, int | None],
    id_key: str,
    by_id: dict[Hashable, int],
    where: str,
) -> int:
    """Return what an entry names: the index of a sample, or a label."""
    if name_key in entry:
        name = entry[name_key]
        key = name if name_key == "category" else PurePath(str(name)).name
        if not isinstance(name, str) or key not in by_name:
            raise ValueError(f"{where}: {name_key} {name!r} is not in the data set")
        if by_name[key] is None:
            raise ValueError(f"{where}: several pictures are called {name!r}; take names out")
        return by_name[key]

    if not by_id:
        raise ValueError(
            f"{where}: the key {name_key!r} is missing, and only COCO files have ids of their own"
        )
    if id_key not in entry:
        raise ValueError(f"{where}: the key {id_key!r} is missing")

    key = identity(entry[id_key], id_key, where)
    if key not in by_id:
        some = ", ".join(repr(known) for known in list(by_id)[:3])
        raise ValueError(f"{where}: {id_key} {key!r} is not in the data set, which has {some} …")
    return by_id[key]


# ---- numbers


def _box(entry: dict, where: str) -> list[float]:
    """Return the corners of an entry's box."""
    bbox = entry.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4:
        problem = f"bbox is {bbox!r:.60}, expected [x, y, width, height]"
        raise BadAnnotation("no box of 4 numbers", where, problem)

    x, y, width, height = (number(value, "a value in bbox", where) for value in bbox)
    if width < 0 or height < 0:
        raise ValueError(f"{where}: bbox is {bbox}; width and height must not be negative")
    return [x, y, x + width, y + height]


def _tensors(rows: Sequence[tuple[list[float], float, int]]) -> dict[str, Tensor]:
    """Return the detections of one image."""
    boxes = torch.tensor([box for box, _, _ in rows], dtype=torch.float64).reshape(-1, 4)
    return {
        "boxes": boxes,
        "scores": torch.tensor([score for _, score, _ in rows], dtype=torch.float64),
        "labels": torch.tensor([label for _, _, label in rows], dtype=torch.int64),
    }
