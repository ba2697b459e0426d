"""From lists of dictionaries to flat arrays: where every metric starts.

A metric receives one dictionary of tensors per image. Counting is faster and simpler on flat
arrays: all detections of the data set below one another, each with the number of its image. This
file has the dictionaries checked and lays them flat.

Shape shorthand: D detections and G targets (annotated objects) in the whole data set, N rows of
either.

Boxes arrive as x1, y1, x2, y2 and are kept as x1, y1, width, height in float64, because the COCO
file format and pycocotools do so: ``(x1 + width)`` may differ from x2 in the last bit, and an IoU
that lies exactly on a threshold depends on that bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detlearn.samples import check_shapes, first_fault


@dataclass(frozen=True)
class FlatDetections:
    """All detections of a data set, image after image, in the order given.

    Attributes:
        image: (D,) number of the image.
        label: (D,) class.
        box: (D, 4) float64, x1, y1, width, height in pixels.
        score: (D,) float64.
        turn: (D,) when the image has its turn among detections with equal scores: its place by
            ``image_id``, as in pycocotools, else by the order given.
    """

    image: np.ndarray
    label: np.ndarray
    box: np.ndarray
    score: np.ndarray
    turn: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def area(self) -> np.ndarray:
        """(D,) width times height."""
        return self.box[:, 2] * self.box[:, 3]

    def take(self, rows: np.ndarray) -> "FlatDetections":
        """Return the detections with the given indices, in that order."""
        return FlatDetections(
            self.image[rows], self.label[rows], self.box[rows], self.score[rows], self.turn[rows]
        )


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
            where known ``area`` (M,), ``iscrowd`` (M,), ``difficult`` (M,), ``image_id`` ().
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
    _check_finite("detections", "scores", columns["scores"], image)
    flat_detections = FlatDetections(
        image=image,
        label=columns["labels"],
        box=_to_xywh(columns["boxes"]),
        score=columns["scores"],
        turn=_turns(targets)[image],
    )

    image, columns = _stack("targets", targets, ("boxes", "labels"), num_classes)
    box = _to_xywh(columns["boxes"])
    no = np.zeros(len(box))
    flat_targets = FlatTargets(
        image=image,
        label=columns["labels"],
        box=box,
        area=_optional(targets, "area", box[:, 2] * box[:, 3], image),
        crowd=_optional(targets, "iscrowd", no, image) != 0,
        difficult=_optional(targets, "difficult", no, image) != 0,
    )
    return flat_detections, flat_targets


def _stack(
    name: str, entries: Sequence[dict[str, Tensor]], keys: tuple[str, ...], num_classes: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Concatenate and check the columns that every image has.

    Returns:
        The image of each row (N,); and boxes (N, 4) float64 xyxy, labels (N,) int64 and, if `keys`
        says so, scores (N,) float64.
    """
    for i, entry in enumerate(entries):
        check_shapes(entry, f"{name}[{i}]", keys)

    lengths = np.array([len(entry["labels"]) for entry in entries], dtype=np.int64)
    image = np.repeat(np.arange(len(entries)), lengths)

    columns = {key: _concatenate([entry[key] for entry in entries]) for key in keys}
    columns["boxes"] = columns["boxes"].reshape(-1, 4)
    columns["labels"] = columns["labels"].astype(np.int64)

    # The numbers are looked at once for all images.
    boxes, labels = torch.from_numpy(columns["boxes"]), torch.from_numpy(columns["labels"])
    fault = first_fault(boxes, labels, num_classes=num_classes)
    if fault is not None:
        place = _place(name, fault.key, fault.row, image)
        raise ValueError(f"{place} = {fault.value} {fault.why}")

    return image, columns


def _turns(targets: Sequence[dict[str, Tensor]]) -> np.ndarray:
    """Return the place of each image by its ``image_id``, (I,); equal ones keep their order."""
    places = np.arange(len(targets))
    if not all("image_id" in target for target in targets):
        return places

    for i, target in enumerate(targets):
        if torch.as_tensor(target["image_id"]).numel() != 1:
            raise ValueError(
                f"targets[{i}]['image_id'] is {target['image_id']}, expected one number"
            )

    turns = np.empty_like(places)
    turns[np.argsort([int(target["image_id"]) for target in targets], kind="stable")] = places
    return turns


def _optional(
    targets: Sequence[dict[str, Tensor]], key: str, default: np.ndarray, image: np.ndarray
) -> np.ndarray:
    """Gather a column (N,) that an image may leave out; `default` (N,) stands in there."""
    given = [i for i, target in enumerate(targets) if key in target]
    values = default.copy()
    values[np.isin(image, given)] = _concatenate([targets[i][key] for i in given])

    _check_finite("targets", key, values, image)
    return values


def _concatenate(tensors: list[Tensor]) -> np.ndarray:
    """Lay all values in one float64 array; exact for float32 and for integers below 2^53."""
    flat = [tensor.cpu().flatten() for tensor in tensors]
    return torch.cat(flat).detach().double().numpy() if flat else np.zeros(0)


def _to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Turn x1, y1, x2, y2 into x1, y1, width, height, (N, 4)."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _check_finite(name: str, key: str, values: np.ndarray, image: np.ndarray) -> None:
    """Raise ValueError for the first number (N,) that is NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(f"{_place(name, key, bad[0], image)} = {values[bad[0]]} is not finite")


def _place(name: str, key: str, row: int, image: np.ndarray) -> str:
    """Say where a flat row came from: "targets[3]['boxes'][0]"."""
    first_row = np.searchsorted(image, image[row])
    return f"{name}[{image[row]}][{key!r}][{row - first_row}]"
