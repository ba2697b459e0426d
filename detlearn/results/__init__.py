"""Results of experiments that take longer than a chapter may: small tables, with their provenance.

The scripts under ``benchmarks/experiments`` write them, the chapters read and compare them.
"""

from detlearn.results.comparison import Comparison, compare
from detlearn.results.stored import Result, as_tensors, load, provenance, store

__all__ = [
    "Comparison",
    "Result",
    "as_tensors",
    "compare",
    "load",
    "provenance",
    "store",
]
