"""The pictures of the book: objects, detections, matches, label assignment, charts."""

from detlearn.plotting.charts import plot_errors, plot_history, plot_pr_curves
from detlearn.plotting.locations import show_assignment, show_heatmap
from detlearn.plotting.objects import (
    match_detections,
    match_legend,
    show,
    show_grid,
    show_matches,
)
from detlearn.plotting.style import use_style

__all__ = [
    "match_detections",
    "match_legend",
    "plot_errors",
    "plot_history",
    "plot_pr_curves",
    "show",
    "show_assignment",
    "show_grid",
    "show_heatmap",
    "show_matches",
    "use_style",
]
