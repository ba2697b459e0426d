"""How good is a detector? COCO's numbers, VOC's AP, and the kinds of mistakes.

- inference.py: `evaluate` runs a model over a data set and measures it, `predict` only runs it.
- curves.py: `true_positives`, `precision_recall` and `average_precision`, one class at a time,
  written to be read.
- coco.py: `coco_metrics` does so for all classes, thresholds and sizes at once, by the rules of
  COCO; summary.py: the twelve numbers that it returns.
- voc.py: `voc_ap` and `voc_metrics` measure by the rules of Pascal VOC.
- tide.py: `error_analysis` tells why the AP is not higher.
- flat.py, pairs.py: what the last three start from: the data set as flat arrays, and the pairs of
  boxes that overlap.
"""

from detlearn.metrics.coco import coco_metrics
from detlearn.metrics.curves import average_precision, precision_recall, true_positives
from detlearn.metrics.inference import evaluate, predict
from detlearn.metrics.summary import CocoMetrics
from detlearn.metrics.tide import ERROR_KINDS, ErrorAnalysis, error_analysis
from detlearn.metrics.voc import VocMetrics, voc_ap, voc_metrics

__all__ = [
    "ERROR_KINDS",
    "CocoMetrics",
    "ErrorAnalysis",
    "VocMetrics",
    "average_precision",
    "coco_metrics",
    "error_analysis",
    "evaluate",
    "precision_recall",
    "predict",
    "true_positives",
    "voc_ap",
    "voc_metrics",
]
