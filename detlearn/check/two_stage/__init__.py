"""The exercises of chapter 2."""

from detlearn.check.two_stage.bilinear_sample import BILINEAR_SAMPLE
from detlearn.check.two_stage.decode_deltas import DECODE_DELTAS
from detlearn.check.two_stage.encode_deltas import ENCODE_DELTAS
from detlearn.check.two_stage.make_anchors import MAKE_ANCHORS
from detlearn.check.two_stage.match_anchors import MATCH_ANCHORS
from detlearn.check.two_stage.propose import PROPOSE

EXERCISES = (
    MAKE_ANCHORS,
    MATCH_ANCHORS,
    ENCODE_DELTAS,
    DECODE_DELTAS,
    PROPOSE,
    BILINEAR_SAMPLE,
)
