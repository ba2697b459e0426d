"""One trainer for every detector of the book: `fit`, and the `History` that it returns."""

from detlearn.training.history import History
from detlearn.training.loop import fit, lr_factor

__all__ = ["History", "fit", "lr_factor"]
