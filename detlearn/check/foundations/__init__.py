"""The exercises of chapter 1."""

from detlearn.check.foundations.average_precision import AVERAGE_PRECISION
from detlearn.check.foundations.box_iou import BOX_IOU
from detlearn.check.foundations.heatmap_focal_loss import HEATMAP_FOCAL_LOSS
from detlearn.check.foundations.heatmap_targets import HEATMAP_TARGETS
from detlearn.check.foundations.nms import NMS
from detlearn.check.foundations.precision_recall import PRECISION_RECALL
from detlearn.check.foundations.true_positives import TRUE_POSITIVES

EXERCISES = (
    BOX_IOU,
    HEATMAP_TARGETS,
    HEATMAP_FOCAL_LOSS,
    NMS,
    TRUE_POSITIVES,
    PRECISION_RECALL,
    AVERAGE_PRECISION,
)
