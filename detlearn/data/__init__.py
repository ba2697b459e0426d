"""Data sets of samples ``(image, target)``, drawn in code, or read from COCO, VOC or YOLO files."""

from detlearn.data.bccd import download_bccd
from detlearn.data.coco import CocoDetection
from detlearn.data.predictions import read_predictions
from detlearn.data.toytown import ToyTown
from detlearn.data.voc import VOCDetection
from detlearn.data.writing import convert
from detlearn.data.yolo import YOLODetection

__all__ = [
    "CocoDetection",
    "ToyTown",
    "VOCDetection",
    "YOLODetection",
    "convert",
    "download_bccd",
    "read_predictions",
]
