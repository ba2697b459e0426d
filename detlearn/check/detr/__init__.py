"""The exercises of chapter 5."""

from detlearn.check.detr.attention_step import ATTENTION_STEP
from detlearn.check.detr.matching_cost import MATCHING_COST
from detlearn.check.detr.refine_boxes import REFINE_BOXES
from detlearn.check.detr.sample_at import SAMPLE_AT
from detlearn.check.detr.sampling_locations import SAMPLING_LOCATIONS
from detlearn.check.detr.set_classification_loss import SET_CLASSIFICATION_LOSS
from detlearn.check.detr.sine_positions import SINE_POSITIONS

EXERCISES = (
    SINE_POSITIONS,
    ATTENTION_STEP,
    MATCHING_COST,
    SET_CLASSIFICATION_LOSS,
    REFINE_BOXES,
    SAMPLING_LOCATIONS,
    SAMPLE_AT,
)
