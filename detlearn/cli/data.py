"""What the word after ``--data`` means."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.data import Dataset

DATA_HELP = (
    "toytown, toytown:SCENARIO, bccd, voc:FOLDER (with JPEGImages, Annotations, ImageSets), "
    "yolo:DATA.YAML or coco:IMAGE_FOLDER,ANNOTATION_FILE"
)


def open_dataset(text: str, split: str, *, seed: int, num_images: int) -> Dataset:
    """Open a data set.

    Args:
        text: the word after ``--data``.
        split: of VOC or YOLO data.
        seed: of ToyTown's scenes.
        num_images: of ToyTown.

    Returns:
        The data set, with ``class_names``.

    Raises:
        ValueError: if the word is not understood.
    """
    from detlearn.data import (
        CocoDetection,
        ToyTown,
        VOCDetection,
        YOLODetection,
        download_bccd,
    )

    kind, _, rest = text.partition(":")

    if kind == "toytown":
        return ToyTown.scenario(rest or "default", num_images, seed=seed)
    if kind == "bccd":
        return VOCDetection(download_bccd(), split, on_bad="skip")
    if kind == "voc" and rest:
        return VOCDetection(rest, split, on_bad="skip")
    if kind == "yolo" and rest:
        return YOLODetection(rest, split, on_bad="skip")
    if kind == "coco" and rest.count(",") == 1:
        images, annotations = rest.split(",")
        return CocoDetection(images, annotations, on_bad="skip")

    raise ValueError(f"--data {text!r} is not understood; expected {DATA_HELP}")
