"""The exercises of chapter 7."""

from detlearn.check.comparison.cost_front import COST_FRONT
from detlearn.check.comparison.gradient_shares import GRADIENT_SHARES
from detlearn.check.comparison.new_seed_range import NEW_SEED_RANGE
from detlearn.check.comparison.places_per_object import PLACES_PER_OBJECT
from detlearn.check.comparison.relative_interval import RELATIVE_INTERVAL
from detlearn.check.comparison.relative_latency import RELATIVE_LATENCY

EXERCISES = (
    PLACES_PER_OBJECT,
    COST_FRONT,
    RELATIVE_INTERVAL,
    NEW_SEED_RANGE,
    GRADIENT_SHARES,
    RELATIVE_LATENCY,
)
