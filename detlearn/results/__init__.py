"""Results of experiments that take longer than a chapter may: small tables, with their provenance.

The scripts under ``benchmarks/experiments`` write them, the chapters read and compare them.
"""

from detlearn.results.comparison import Comparison, compare
from detlearn.results.detection_table import (
    DetectionTable,
    cost_front,
    detection_comparison,
)
from detlearn.results.failure_matrix import (
    FailureMatrix,
    Interval,
    expected_range,
    failure_matrix,
    fallen_trainings,
    interval,
    new_seed_range,
    relative_interval,
)
from detlearn.results.latency import relative_latency
from detlearn.results.machines import one_machine
from detlearn.results.pictures import Picture, figure, store_picture
from detlearn.results.published import (
    Published,
    PublishedTable,
    YardstickTable,
    one_yardstick,
    published_detectors,
)
from detlearn.results.stored import Result, as_tensors, load, provenance, store

__all__ = [
    "Comparison",
    "DetectionTable",
    "FailureMatrix",
    "Interval",
    "Picture",
    "Published",
    "PublishedTable",
    "Result",
    "YardstickTable",
    "as_tensors",
    "compare",
    "cost_front",
    "detection_comparison",
    "expected_range",
    "failure_matrix",
    "fallen_trainings",
    "figure",
    "interval",
    "load",
    "new_seed_range",
    "one_machine",
    "one_yardstick",
    "provenance",
    "published_detectors",
    "relative_interval",
    "relative_latency",
    "store",
    "store_picture",
]
