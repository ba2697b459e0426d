"""One trainer for every detector of the book: `fit`, the `History` that it returns, and recipes."""

from detlearn.training.history import History
from detlearn.training.loop import fit, lr_factor, warm_up
from detlearn.training.multi_scale import MultiScale, batch_size_for, multi_scale_batch
from detlearn.training.recipes import Recipe, is_shortened, recipe, shortened

__all__ = [
    "History",
    "MultiScale",
    "Recipe",
    "batch_size_for",
    "fit",
    "is_shortened",
    "lr_factor",
    "multi_scale_batch",
    "recipe",
    "shortened",
    "warm_up",
]
