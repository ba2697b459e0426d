"""How good is a detector? COCO's numbers, VOC's AP, and the kinds of mistakes.

- inference.py: `evaluate` runs a model over a data set and measures it, `predict` only runs it.
- coco.py, results.py: `coco_metrics` measures detections by the rules of COCO.
- curves.py: `true_positives`, `precision_recall` and `average_precision`, one class at a time,
  written to be read.
- voc.py: `voc_ap` and `voc_metrics` do so by the rules of Pascal VOC.
- tide.py: `error_analysis` tells why the AP is not higher.
- inputs.py: the door of all of them.
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
