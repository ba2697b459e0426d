"""Detectors that were trained before: saved by ourselves, or published by others."""

from detlearn.pretrained.darknet import from_darknet, load_darknet, save_darknet
from detlearn.pretrained.detr import load_detr
from detlearn.pretrained.saved import (
    SavedDetector,
    detector_info,
    load_detector,
    load_from_training,
    save_detector,
    take_weights,
)
from detlearn.pretrained.torchvision import coco_names, from_torchvision, wrap_torchvision

__all__ = [
    "SavedDetector",
    "coco_names",
    "detector_info",
    "from_darknet",
    "from_torchvision",
    "load_darknet",
    "load_detector",
    "load_detr",
    "load_from_training",
    "save_darknet",
    "save_detector",
    "take_weights",
    "wrap_torchvision",
]
