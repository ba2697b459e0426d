"""What the functions of `detlearn.plotting` accept, checked once at the door.

Shapes: H, W image height and width; N boxes, (x1, y1, x2, y2) in pixels. All tensors come from any
device and with or without gradients, and go on as plain ones on the CPU.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def image_array(image: Tensor) -> np.ndarray:
    """Converts an image to what matplotlib draws.

    Args:
        image: (3, H, W), (1, H, W) or (H, W), float in [0, 1] or uint8, on any device.

    Returns:
        (H, W, 3) float32 array in [0, 1].

    Raises:
        TypeError: if it is no tensor, or neither float nor uint8.
        ValueError: if its shape or range is another one.
    """
    if not isinstance(image, Tensor):
        raise TypeError(
            f"image must be a torch tensor (3, H, W), got {type(image).__name__}; "
            "torchvision.transforms.functional.to_tensor converts a PIL image or an (H, W, 3) array"
        )
    shape = tuple(image.shape)
    image = image.detach().cpu()
    image = image[None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[0] not in (1, 3) or image.numel() == 0:
        raise ValueError(f"image must have shape (3, H, W), (1, H, W) or (H, W), got {shape}")
    if image.dtype == torch.uint8:
        image = image.float() / 255
    elif not image.is_floating_point():
        raise TypeError(f"image must be float in [0, 1] or uint8, got {image.dtype}")
    image = image.float().expand(3, -1, -1)
    low, high = image.min().item(), image.max().item()
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(
            f"a float image must lie in [0, 1], got values from {low:.3g} to {high:.3g}; "
            "undo the normalisation, or divide by 255"
        )
    return image.clamp(0, 1).permute(1, 2, 0).numpy()  # (H, W, 3)


def check_objects(
    objects: Mapping[str, Tensor],
    name: str,
    required: Sequence[str],
    class_names: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Checks a target or one image's detections, and brings them to the CPU.

    Args:
        objects: "boxes" (N, 4), and "labels" (N,), "scores" (N,), "iscrowd" (N,) where present.
        name: what to call it in an error.
        required: the keys that must be there.
        class_names: names of the classes; every label must have one.

    Returns:
        The entries among these four that are present, detached, boxes and scores as float32.

    Raises:
        TypeError: if `objects` is no mapping, or labels are no integers.
        ValueError: if a key is missing, shapes disagree, a box is inverted or not finite, or a
            label has no name.
    """
    if not isinstance(objects, Mapping):
        raise TypeError(
            f"{name} must be a dict with {list(required)}, got {type(objects).__name__}"
        )
    if missing := [key for key in required if key not in objects]:
        raise ValueError(f"{name} lacks {missing}; it has {sorted(objects)}")
    keys = [key for key in ("boxes", "labels", "scores", "iscrowd") if key in objects]
    checked = {key: torch.as_tensor(objects[key]).detach().cpu() for key in keys}
    boxes = checked["boxes"] = check_boxes(checked["boxes"], f"{name}['boxes']")
    for key in keys[1:]:
        if checked[key].shape != boxes.shape[:1]:
            shape = tuple(checked[key].shape)
            raise ValueError(
                f"{name}[{key!r}] must have shape ({len(boxes)},) like its boxes, got {shape}"
            )
    if "scores" in checked:
        checked["scores"] = checked["scores"].float()
    if "labels" in checked:
        check_labels(checked["labels"], name, class_names)
    return checked


def check_boxes(boxes: Tensor, name: str) -> Tensor:
    """Returns `boxes` as (N, 4) float32 on the CPU; raises ValueError naming the first bad box."""
    boxes = torch.as_tensor(boxes).detach().cpu().float()
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} must have shape (N, 4), got {tuple(boxes.shape)}")
    bad = ~boxes.isfinite().all(1) | (boxes[:, 2:] < boxes[:, :2]).any(1)
    if bad.any():
        first = bad.nonzero()[0].item()
        raise ValueError(
            f"{name}[{first}] = {boxes[first].tolist()} is not finite with x1 <= x2 and y1 <= y2; "
            "boxes are (x1, y1, x2, y2)"
        )
    return boxes


def check_labels(labels: Tensor, name: str, class_names: Sequence[str] | None) -> None:
    """Raises if a label is no integer, negative, or beyond the end of `class_names`."""
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"{name}['labels'] must be int64, got {labels.dtype}")
    upper = None if class_names is None else len(class_names)
    for index, label in enumerate(labels.tolist()):
        if label < 0 or (upper is not None and label >= upper):
            known = "0 or more" if upper is None else f"in 0 … {upper - 1} (one of class_names)"
            raise ValueError(f"{name}['labels'][{index}] = {label}, expected a label {known}")
