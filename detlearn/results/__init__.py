"""Results of experiments that take longer than a chapter may: small tables, with their provenance.

The scripts under ``benchmarks/experiments`` write them, the chapters read and compare them.
"""

from detlearn.results.comparison import Comparison, compare
from detlearn.results.pictures import Picture, figure, store_picture
from detlearn.results.stored import Result, as_tensors, load, provenance, store

__all__ = [
    "Comparison",
    "Picture",
    "Result",
    "as_tensors",
    "compare",
    "figure",
    "load",
    "provenance",
    "store",
    "store_picture",
]
