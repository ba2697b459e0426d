"""The exercises of chapter 3."""

from detlearn.check.yolo.batch_size_for import BATCH_SIZE_FOR
from detlearn.check.yolo.decode_grid import DECODE_GRID
from detlearn.check.yolo.distribution_focal_loss import DISTRIBUTION_FOCAL_LOSS
from detlearn.check.yolo.kmeans_anchors import KMEANS_ANCHORS
from detlearn.check.yolo.multi_scale_batch import MULTI_SCALE_BATCH
from detlearn.check.yolo.responsible_boxes import RESPONSIBLE_BOXES
from detlearn.check.yolo.task_aligned_assign import TASK_ALIGNED_ASSIGN
from detlearn.check.yolo.yolov1_loss import YOLOV1_LOSS
from detlearn.check.yolo.yolov3_targets import YOLOV3_TARGETS

EXERCISES = (
    DECODE_GRID,
    RESPONSIBLE_BOXES,
    YOLOV1_LOSS,
    KMEANS_ANCHORS,
    YOLOV3_TARGETS,
    DISTRIBUTION_FOCAL_LOSS,
    TASK_ALIGNED_ASSIGN,
    BATCH_SIZE_FOR,
    MULTI_SCALE_BATCH,
)
