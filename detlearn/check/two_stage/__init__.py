"""The exercises of chapter 2."""

from detlearn.check.two_stage.bilinear_sample import BILINEAR_SAMPLE
from detlearn.check.two_stage.decode_deltas import DECODE_DELTAS
from detlearn.check.two_stage.encode_deltas import ENCODE_DELTAS
from detlearn.check.two_stage.flatten_predictions import FLATTEN_PREDICTIONS
from detlearn.check.two_stage.make_anchors import MAKE_ANCHORS
from detlearn.check.two_stage.match_anchors import MATCH_ANCHORS
from detlearn.check.two_stage.propose import PROPOSE
from detlearn.check.two_stage.sample_anchors import SAMPLE_ANCHORS
from detlearn.check.two_stage.second_stage_loss import SECOND_STAGE_LOSS

EXERCISES = (
    MAKE_ANCHORS,
    MATCH_ANCHORS,
    ENCODE_DELTAS,
    DECODE_DELTAS,
    SAMPLE_ANCHORS,
    FLATTEN_PREDICTIONS,
    PROPOSE,
    BILINEAR_SAMPLE,
    SECOND_STAGE_LOSS,
)
