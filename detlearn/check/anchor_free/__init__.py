"""The exercises of chapter 4."""

from detlearn.check.anchor_free.atss_positives import ATSS_POSITIVES
from detlearn.check.anchor_free.centerness import CENTERNESS
from detlearn.check.anchor_free.decode_detections import DECODE_DETECTIONS
from detlearn.check.anchor_free.draw_gaussians import DRAW_GAUSSIANS
from detlearn.check.anchor_free.fcos_candidates import FCOS_CANDIDATES
from detlearn.check.anchor_free.fcos_targets import FCOS_TARGETS
from detlearn.check.anchor_free.focal_classification_loss import FOCAL_CLASSIFICATION_LOSS
from detlearn.check.anchor_free.gaussian_radius import GAUSSIAN_RADIUS

EXERCISES = (
    FOCAL_CLASSIFICATION_LOSS,
    FCOS_CANDIDATES,
    FCOS_TARGETS,
    CENTERNESS,
    ATSS_POSITIVES,
    GAUSSIAN_RADIUS,
    DRAW_GAUSSIANS,
    DECODE_DETECTIONS,
)
