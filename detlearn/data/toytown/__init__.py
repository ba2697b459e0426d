"""ToyTown: scenes drawn in code, as many and as hard as one asks for."""

from detlearn.data.toytown.scenes import ToyTown

__all__ = ["ToyTown"]
