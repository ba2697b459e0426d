"""Detectors that were trained before: saved by ourselves, or published by others."""

from detlearn.pretrained.saved import SavedDetector, load_detector, save_detector
from detlearn.pretrained.torchvision import coco_names, from_torchvision, wrap_torchvision

__all__ = [
    "SavedDetector",
    "coco_names",
    "from_torchvision",
    "load_detector",
    "save_detector",
    "wrap_torchvision",
]
