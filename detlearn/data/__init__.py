"""Data sets of samples ``(image, target)``: drawn in code, or read from COCO and VOC files."""

from detlearn.data.bccd import download_bccd
from detlearn.data.coco import CocoDetection
from detlearn.data.toytown import ToyTown
from detlearn.data.voc import VOCDetection

__all__ = ["CocoDetection", "ToyTown", "VOCDetection", "download_bccd"]
