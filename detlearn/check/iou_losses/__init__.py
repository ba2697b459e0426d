"""The exercises of chapter 6."""

from detlearn.check.iou_losses.ciou_loss import CIOU_LOSS
from detlearn.check.iou_losses.diou_loss import DIOU_LOSS
from detlearn.check.iou_losses.giou_loss import GIOU_LOSS
from detlearn.check.iou_losses.soft_nms import SOFT_NMS

EXERCISES = (
    GIOU_LOSS,
    DIOU_LOSS,
    CIOU_LOSS,
    SOFT_NMS,
)
