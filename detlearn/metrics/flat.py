"""From lists of dictionaries to flat arrays: the door of every metric.

A metric receives one dictionary of tensors per image. Counting is faster and simpler on flat
arrays: all detections of the data set below one another, each with the number of its image. This
file checks the dictionaries once, lays them flat, and lists the pairs of a detection and a target
that can have anything to do with each other.

Shape shorthand: D detections and G targets (annotated objects) in the whole data set, P pairs of
    one of each.

Boxes arrive as x1, y1, x2, y2 and are kept as x1, y1, width, height in float64, because the COCO
file format and pycocotools do so. ``(x1 + width)`` may differ from x2 in the last bit, and an IoU
that lies exactly on a threshold depends on that bit; `pair_iou` therefore follows the arithmetic of
pycocotools (``common/maskApi.c``, ``bbIou``) step by step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PAIRS_PER_CHUNK = 1 << 20  # bounds the memory of `overlapping_pairs` at some tens of megabytes


@dataclass(frozen=True)
class FlatDetections:
    """All detections of a data set, image after image, in the order given.

    Attributes:
        image: (D,) number of the image.
        label: (D,) class.
        box: (D, 4) float64, x1, y1, width, height in pixels.
        score: (D,) float64.
    """

    image: np.ndarray
    label: np.ndarray
    box: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def area(self) -> np.ndarray:
        """(D,) width times height."""
        return self.box[:, 2] * self.box[:, 3]

    def take(self, rows: np.ndarray) -> "FlatDetections":
        """Return the detections with the given indices, in that order."""
        return FlatDetections(self.image[rows], self.label[rows], self.box[rows], self.score[rows])


@dataclass(frozen=True)
class FlatTargets:
    """All targets of a data set, image after image, in the order given.

    Attributes:
        image: (G,) number of the image.
        label: (G,) class.
        box: (G, 4) float64, x1, y1, width, height in pixels.
        area: (G,) float64, the annotated area where given (in COCO that of the mask), else width
            times height.
        crowd: (G,) bool, COCO's ``iscrowd``.
        difficult: (G,) bool, VOC's ``difficult``.
    """

    image: np.ndarray
    label: np.ndarray
    box: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray

    def __len__(self) -> int:
        return len(self.label)


def flatten(
    detections: Sequence[dict[str, Tensor]], targets: Sequence[dict[str, Tensor]], num_classes: int
) -> tuple[FlatDetections, FlatTargets]:
    """Check what a metric was given and lay it flat.

    Args:
        detections: one dictionary per image: ``boxes`` (N, 4) x1, y1, x2, y2 in pixels, ``scores``
            (N,), ``labels`` (N,).
        targets: one dictionary per image, in the same order: ``boxes`` (M, 4), ``labels`` (M,), and
            where known ``area`` (M,), ``iscrowd`` (M,), ``difficult`` (M,).
        num_classes: K; labels run from 0 to K - 1.

    Returns:
        The detections and the targets as flat arrays.

    Raises:
        TypeError: an entry is not a dictionary or a value not a tensor, or labels are not integers.
        ValueError: the lists differ in length, a key is missing, a shape is wrong, a number is not
            finite, a box is inverted, or a label is out of range. The message names the image and
            the key.
    """
    if len(detections) != len(targets):
        raise ValueError(
            f"got detections for {len(detections)} images but targets for {len(targets)}; "
            "both lists need one dictionary per image, in the same order"
        )
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    image, columns = _stack("detections", detections, ("boxes", "labels", "scores"), num_classes)
    flat_detections = FlatDetections(
        image, columns["labels"], _to_xywh(columns["boxes"]), columns["scores"]
    )

    image, columns = _stack("targets", targets, ("boxes", "labels"), num_classes)
    box = _to_xywh(columns["boxes"])
    area = _optional("targets", targets, "area", box[:, 2] * box[:, 3], image)
    no = np.zeros(len(box))
    crowd = _optional("targets", targets, "iscrowd", no, image) != 0
    difficult = _optional("targets", targets, "difficult", no, image) != 0
    return flat_detections, FlatTargets(image, columns["labels"], box, area, crowd, difficult)


def _to_xywh(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _stack(
    name: str, entries: Sequence[dict[str, Tensor]], keys: tuple[str, ...], num_classes: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Concatenate and check the required columns of all images; also give each row's image."""
    for i, entry in enumerate(entries):
        _check_entry(name, i, entry, keys)
    lengths = np.array([len(entry["labels"]) for entry in entries], dtype=np.int64)
    image = np.repeat(np.arange(len(entries)), lengths)
    columns = {key: _concatenate([entry[key] for entry in entries]) for key in keys}
    columns["boxes"] = columns["boxes"].reshape(-1, 4)

    label = columns["labels"] = columns["labels"].astype(np.int64)
    hint = f"labels run from 0 to num_classes - 1 = {num_classes - 1}, without a background class"
    _fail_if((label < 0) | (label >= num_classes), name, "labels", label, image, hint)
    for key in set(keys) - {"labels"}:
        finite = np.isfinite(columns[key])
        finite = finite.all(axis=1) if finite.ndim == 2 else finite
        _fail_if(~finite, name, key, columns[key], image, "every number must be finite")
    x1, y1, x2, y2 = columns["boxes"].T
    hint = "boxes need x1 <= x2 and y1 <= y2; boxes.box_convert changes other formats to xyxy"
    _fail_if((x2 < x1) | (y2 < y1), name, "boxes", columns["boxes"], image, hint)
    return image, columns


def _check_entry(name: str, i: int, entry: dict[str, Tensor], keys: tuple[str, ...]) -> None:
    """Check keys, types and shapes of one image's dictionary."""
    if not isinstance(entry, dict):
        raise TypeError(
            f"{name}[{i}] is a {type(entry).__name__}; expected a dictionary of tensors"
        )
    for key in keys:
        if key not in entry:
            raise ValueError(
                f"{name}[{i}] has no key {key!r}; it has {sorted(entry)}, needs {keys}"
            )
        if not isinstance(entry[key], Tensor):
            raise TypeError(
                f"{name}[{i}][{key!r}] is a {type(entry[key]).__name__}; expected a tensor"
            )
    labels, boxes = entry["labels"], entry["boxes"]
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"{name}[{i}]['labels'] has dtype {labels.dtype}; expected int64")
    if labels.dim() != 1:
        raise ValueError(f"{name}[{i}]['labels'] has shape {tuple(labels.shape)}; expected (N,)")
    if boxes.shape != (len(labels), 4) and not boxes.numel() == len(labels) == 0:
        raise ValueError(
            f"{name}[{i}]['boxes'] has shape {tuple(boxes.shape)}; "
            f"expected ({len(labels)}, 4), one row for each label"
        )
    if "scores" in keys and entry["scores"].shape != labels.shape:
        raise ValueError(
            f"{name}[{i}]['scores'] has shape {tuple(entry['scores'].shape)}; "
            f"expected ({len(labels)},), one for each label"
        )


def _optional(
    name: str,
    entries: Sequence[dict[str, Tensor]],
    key: str,
    default: np.ndarray,
    image: np.ndarray,
) -> np.ndarray:
    """Gather a column that an image may leave out; `default` (N,) stands in there."""
    values = default.copy()
    given = [i for i, entry in enumerate(entries) if key in entry]
    for i in given:
        column, expected = entries[i][key], len(entries[i]["labels"])
        if not isinstance(column, Tensor):
            raise TypeError(f"{name}[{i}][{key!r}] is a {type(column).__name__}; expected a tensor")
        if column.shape != (expected,):
            raise ValueError(
                f"{name}[{i}][{key!r}] has shape {tuple(column.shape)}; "
                f"expected ({expected},), one for each label"
            )
    values[np.isin(image, given)] = _concatenate([entries[i][key] for i in given])
    _fail_if(~np.isfinite(values), name, key, values, image, "every number must be finite")
    return values


def _concatenate(tensors: list[Tensor]) -> np.ndarray:
    """One flat float64 array of all values; exact for float32 and for integers below 2^53."""
    flat = [tensor.cpu().flatten() for tensor in tensors]
    return torch.cat(flat).detach().double().numpy() if flat else np.zeros(0)


def _fail_if(
    bad: np.ndarray, name: str, key: str, values: np.ndarray, image: np.ndarray, hint: str
) -> None:
    """Raise for the first row that is bad, naming its image and its place there."""
    if bad.any():
        row = int(np.argmax(bad))
        place = int(np.sum(image[:row] == image[row]))
        raise ValueError(
            f"{name}[{image[row]}][{key!r}][{place}] is {values[row].tolist()}; {hint}"
        )
