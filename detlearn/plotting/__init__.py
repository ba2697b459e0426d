"""The pictures of the book: objects, detections, matches, label assignment, charts."""

from detlearn.plotting.charts import (
    plot_errors,
    plot_groups,
    plot_history,
    plot_pr_curves,
    plot_runs,
)
from detlearn.plotting.draw import draw_boxes, pixel_axes
from detlearn.plotting.locations import show_assignment, show_heatmap, show_locations
from detlearn.plotting.matches import (
    count_mistakes,
    match_detections,
    match_legend,
    show_matches,
)
from detlearn.plotting.mistakes import show_mistakes
from detlearn.plotting.objects import show, show_grid
from detlearn.plotting.style import use_style

__all__ = [
    "count_mistakes",
    "draw_boxes",
    "match_detections",
    "match_legend",
    "pixel_axes",
    "plot_errors",
    "plot_groups",
    "plot_history",
    "plot_pr_curves",
    "plot_runs",
    "show",
    "show_assignment",
    "show_grid",
    "show_heatmap",
    "show_locations",
    "show_matches",
    "show_mistakes",
    "use_style",
]
