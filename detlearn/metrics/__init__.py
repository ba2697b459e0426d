"""How good is a detector? COCO's numbers, VOC's AP, and the kinds of mistakes.

- `evaluate` runs a model over a data set and measures it, `predict` only runs it (inference.py).
- `coco_metrics` measures detections that are there already (coco.py, results.py).
"""

from detlearn.metrics.coco import coco_metrics
from detlearn.metrics.inference import evaluate, predict
from detlearn.metrics.results import CocoMetrics

__all__ = ["CocoMetrics", "coco_metrics", "evaluate", "predict"]
