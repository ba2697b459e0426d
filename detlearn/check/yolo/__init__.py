"""The exercises of chapter 3."""

from detlearn.check.yolo.decode_grid import DECODE_GRID
from detlearn.check.yolo.kmeans_anchors import KMEANS_ANCHORS
from detlearn.check.yolo.responsible_boxes import RESPONSIBLE_BOXES

EXERCISES = (
    DECODE_GRID,
    RESPONSIBLE_BOXES,
    KMEANS_ANCHORS,
)
