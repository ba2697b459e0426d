"""How good is a detector? COCO's numbers, VOC's AP, and the kinds of mistakes.

- inference.py: `evaluate` runs a model over a data set and measures it, `predict` only runs it.
- coco.py, results.py: `coco_metrics` measures detections by the rules of COCO.
- voc.py: `voc_ap` and `voc_metrics` do so by the rules of Pascal VOC.
- tide.py: `error_analysis` tells why the AP is not higher.
- inputs.py: the door of all of them.
"""

from detlearn.metrics.coco import coco_metrics
from detlearn.metrics.inference import evaluate, predict
from detlearn.metrics.results import CocoMetrics
from detlearn.metrics.tide import ERROR_KINDS, ErrorAnalysis, error_analysis
from detlearn.metrics.voc import VocMetrics, voc_ap, voc_metrics

__all__ = [
    "ERROR_KINDS",
    "CocoMetrics",
    "ErrorAnalysis",
    "VocMetrics",
    "coco_metrics",
    "error_analysis",
    "evaluate",
    "predict",
    "voc_ap",
    "voc_metrics",
]
