"""The exercises of chapter 4."""

from detlearn.check.anchor_free.focal_classification_loss import FOCAL_CLASSIFICATION_LOSS
from detlearn.check.anchor_free.gaussian_radius import GAUSSIAN_RADIUS

EXERCISES = (
    FOCAL_CLASSIFICATION_LOSS,
    GAUSSIAN_RADIUS,
)
