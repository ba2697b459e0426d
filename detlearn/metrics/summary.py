"""What `coco_metrics` returns: the twelve COCO numbers, and the arrays behind them.

Shape shorthand: T = 10 IoU thresholds, R = 101 recall levels, K classes, A = 4 area ranges, M = 3
limits on the number of detections.

-1 stands, as in pycocotools, where a class has no object in an area range; such
places are left out of every mean, and a mean over nothing is -1 itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_LEVELS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = (1, 10, 100)
# Squared pixels, both ends inclusive: an object of 32 x 32 is small and medium at once.
AREA_RANGES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
AREA_NAMES = tuple(AREA_RANGES)


@dataclass(frozen=True, eq=False)
class CocoMetrics:
    """The COCO numbers of a data set.

    In a notebook it shows itself as a table; ``print`` gives pycocotools' twelve lines.

    Attributes:
        precision: (T, R, K, A) highest precision at each recall level or beyond, for 100
            detections.
        recall: (T, K, A, M) highest recall reached.
        class_names: K names for the tables.
    """

    precision: np.ndarray
    recall: np.ndarray
    class_names: tuple[str, ...]

    @property
    def ap(self) -> float:
        """Mean over the ten IoU thresholds .50, .55, ..., .95 and over classes."""
        return self._mean_precision()

    @property
    def ap50(self) -> float:
        """AP at IoU .50."""
        return self._mean_precision(iou_threshold=0.5)

    @property
    def ap75(self) -> float:
        """AP at IoU .75."""
        return self._mean_precision(iou_threshold=0.75)

    @property
    def ap_small(self) -> float:
        """AP of objects with an area up to 32² pixels."""
        return self._mean_precision("small")

    @property
    def ap_medium(self) -> float:
        """AP of objects with an area from 32² to 96² pixels."""
        return self._mean_precision("medium")

    @property
    def ap_large(self) -> float:
        """AP of objects with an area from 96² pixels."""
        return self._mean_precision("large")

    @property
    def ar1(self) -> float:
        """Average recall with the best detection of each class and image."""
        return self._mean_recall(max_detections=1)

    @property
    def ar10(self) -> float:
        """Average recall with 10 detections of each class and image."""
        return self._mean_recall(max_detections=10)

    @property
    def ar100(self) -> float:
        """Average recall with 100 detections of each class and image."""
        return self._mean_recall()

    @property
    def ar_small(self) -> float:
        """Average recall of objects with an area up to 32² pixels."""
        return self._mean_recall("small")

    @property
    def ar_medium(self) -> float:
        """Average recall of objects with an area from 32² to 96² pixels."""
        return self._mean_recall("medium")

    @property
    def ar_large(self) -> float:
        """Average recall of objects with an area from 96² pixels."""
        return self._mean_recall("large")

    @property
    def ap_per_class(self) -> np.ndarray:
        """(K,) AP of each class over all IoU thresholds, -1 for a class without objects."""
        return self.precision[..., 0].mean(axis=(0, 1))

    @property
    def ap50_per_class(self) -> np.ndarray:
        """(K,) AP of each class at IoU .50, -1 for a class without objects."""
        return self.precision[0, ..., 0].mean(axis=0)

    def pr_curve(
        self, label: int, iou_threshold: float = 0.5, area: str = "all"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return precision over recall for one class.

        Args:
            label: the class, 0 to K - 1.
            iou_threshold: one of .50, .55, ..., .95.
            area: "all", "small", "medium" or "large".

        Returns:
            recall (101,) in even steps from 0 to 1, and precision (101,) there, which never rises;
            -1 throughout for a class without objects.

        Raises:
            ValueError: an unknown class, threshold or area.
        """
        if not 0 <= label < len(self.class_names):
            raise ValueError(f"label must be 0 to {len(self.class_names) - 1}, got {label}")
        if area not in AREA_NAMES:
            raise ValueError(f"area must be one of {AREA_NAMES}, got {area!r}")

        threshold = _threshold_index(iou_threshold)
        return RECALL_LEVELS.copy(), self.precision[threshold, :, label, AREA_NAMES.index(area)]

    def to_dict(self) -> dict[str, float]:
        """Return the twelve numbers by name, as plain floats that JSON can hold."""
        return {name: getattr(self, name) for name in SUMMARY}

    def __str__(self) -> str:
        lines = []
        for name, (iou, area, limit) in SUMMARY.items():
            kind = "Precision  (AP)" if name.startswith("ap") else "Recall     (AR)"
            setting = f"IoU={iou:<9} | area={area:>6} | maxDets={limit:>3}"
            lines.append(f" Average {kind} @[ {setting} ] = {getattr(self, name):.3f}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"CocoMetrics(ap={self.ap:.4f}, ap50={self.ap50:.4f}, ap75={self.ap75:.4f})"

    def _repr_markdown_(self) -> str:
        """Make two small tables for a notebook: the whole data set, then class by class."""
        names = list(SUMMARY)
        header = "| " + " | ".join(names) + " |\n|" + "--:|" * len(names)
        values = "| " + " | ".join(format_percent(getattr(self, name)) for name in names) + " |"

        rows = ["| class | ap | ap50 |", "|:--|--:|--:|"]
        for name, ap, ap50 in zip(self.class_names, self.ap_per_class, self.ap50_per_class):
            rows.append(f"| {name} | {format_percent(ap)} | {format_percent(ap50)} |")

        return f"{header}\n{values}\n\n" + "\n".join(rows)

    def _mean_precision(self, area: str = "all", iou_threshold: float | None = None) -> float:
        chosen = self.precision[..., AREA_NAMES.index(area)]  # (T, R, K)
        if iou_threshold is not None:
            chosen = chosen[_threshold_index(iou_threshold)]
        return _mean_of_present(chosen)

    def _mean_recall(self, area: str = "all", max_detections: int = 100) -> float:
        limit = MAX_DETECTIONS.index(max_detections)
        return _mean_of_present(self.recall[..., AREA_NAMES.index(area), limit])


# Name of each number, in pycocotools' order: IoU thresholds, area range, detections per class and
# image.
SUMMARY = {
    "ap": ("0.50:0.95", "all", 100),
    "ap50": ("0.50", "all", 100),
    "ap75": ("0.75", "all", 100),
    "ap_small": ("0.50:0.95", "small", 100),
    "ap_medium": ("0.50:0.95", "medium", 100),
    "ap_large": ("0.50:0.95", "large", 100),
    "ar1": ("0.50:0.95", "all", 1),
    "ar10": ("0.50:0.95", "all", 10),
    "ar100": ("0.50:0.95", "all", 100),
    "ar_small": ("0.50:0.95", "small", 100),
    "ar_medium": ("0.50:0.95", "medium", 100),
    "ar_large": ("0.50:0.95", "large", 100),
}


def names_or_numbers(class_names: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    """Return the given class names, or "0", "1", ... where none are given.

    Raises:
        ValueError: the number of names is not `num_classes`.
    """
    if class_names is None:
        return tuple(str(label) for label in range(num_classes))
    if len(class_names) != num_classes:
        raise ValueError(f"got {len(class_names)} class_names for num_classes={num_classes}")
    return tuple(class_names)


def _threshold_index(iou_threshold: float) -> int:
    near = np.flatnonzero(np.isclose(IOU_THRESHOLDS, iou_threshold, atol=1e-9))
    if len(near) != 1:
        raise ValueError(f"iou_threshold must be one of .50, .55, ..., .95, got {iou_threshold}")
    return int(near[0])


def _mean_of_present(values: np.ndarray) -> float:
    present = values[values > -1]
    return float(present.mean()) if present.size else -1.0


def format_percent(value: float) -> str:
    """Write a share as percent with one digit; a dash for -1, "nothing to measure"."""
    return "–" if value < 0 else f"{100 * value:.1f}"
