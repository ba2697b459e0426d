"""The exercises of chapter 8: seven broken trainings, each with a cause to choose and a cure."""

from detlearn.check.debugging.average_weights import AVERAGE_WEIGHTS
from detlearn.check.debugging.best_candidates import BEST_CANDIDATES
from detlearn.check.debugging.causes import CAUSES
from detlearn.check.debugging.contiguous_labels import CONTIGUOUS_LABELS
from detlearn.check.debugging.learning_rate_at import LEARNING_RATE_AT
from detlearn.check.debugging.mirror_boxes import MIRROR_BOXES
from detlearn.check.debugging.misfit import MISFIT
from detlearn.check.debugging.object_of_place import OBJECT_OF_PLACE

EXERCISES = (
    MIRROR_BOXES,
    CONTIGUOUS_LABELS,
    LEARNING_RATE_AT,
    AVERAGE_WEIGHTS,
    BEST_CANDIDATES,
    OBJECT_OF_PLACE,
    MISFIT,
)

__all__ = ["CAUSES", "EXERCISES"]
