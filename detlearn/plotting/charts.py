"""The curves and bars of the book: precision over recall, learning curves, the kinds of mistakes.

Lines differ in colour and in line style, bars carry their numbers, so that a chart reads the same
in grey.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from detlearn.plotting import style

if TYPE_CHECKING:
    from detlearn.metrics import CocoMetrics, ErrorAnalysis
    from detlearn.training import History

WIDTH, HEIGHT = 7.0, 4.2  # inches
MANY_CLASSES = 12  # beyond this, only the extremes have a line of their own


def chart_axes(ax: Axes | None, height: float = HEIGHT) -> Axes:
    """Returns `ax`, or the axes of a new figure 7 inches wide."""
    if ax is not None:
        return ax
    return plt.subplots(figsize=(WIDTH, height), layout="constrained")[1]


def plot_pr_curves(
    metrics: "CocoMetrics",
    *,
    class_names: Sequence[str] | None = None,
    iou_threshold: float = 0.5,
    ax: Axes | None = None,
) -> Axes:
    """Plots precision over recall for every class, and the mean over classes in black.

    The legend is sorted by AP, the area under a curve. Of more than 12 classes the five best and
    five worst stand out and the others are grey; a class without objects has no curve.

    Args:
        metrics: from `detlearn.metrics.coco_metrics` or `evaluate`.
        class_names: names for the legend; None for those in `metrics`.
        iou_threshold: .50, .55, … or .95.
        ax: axes to draw on.

    Returns:
        The axes.

    Raises:
        ValueError: if no class has an object, the number of names is wrong, or the threshold
            unknown.
    """
    names = tuple(metrics.class_names if class_names is None else class_names)
    if len(names) != len(metrics.class_names):
        raise ValueError(f"{len(names)} class_names for {len(metrics.class_names)} classes")
    curves = [metrics.pr_curve(label, iou_threshold) for label in range(len(names))]
    present = [(r, p, n) for (r, p), n in zip(curves, names) if p.max(initial=-1) > -1]
    if not present:
        raise ValueError("no class has an object, so there is no precision-recall curve to plot")
    present.sort(key=lambda curve: -curve[1].mean())
    ax = chart_axes(ax)
    labelled = set(range(len(present)))
    if len(present) > MANY_CLASSES:
        labelled = {*range(5), *range(len(present) - 5, len(present))}
        for i in set(range(len(present))) - labelled:
            ax.plot(*present[i][:2], color="#bbbbbb", linewidth=0.8, linestyle="-", zorder=1)
    for look, i in zip(line_looks(len(labelled)), sorted(labelled)):
        recall, precision, name = present[i]
        ax.plot(recall, precision, label=f"{name}  {precision.mean():.2f}", **look)
    if len(present) > 1:
        mean = np.mean([p for _, p, _ in present], axis=0)
        label = f"mean  {mean.mean():.2f}"
        ax.plot(present[0][0], mean, color=style.DARK, linewidth=3.2, linestyle="-", label=label)
    ax.set(xlim=(0, 1.005), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    ax.legend(title=f"AP at IoU {iou_threshold:g}", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def line_looks(count: int) -> list[dict]:
    """Returns colour, line style and width for each of `count` lines; no two of 32 are the same."""
    colours, styles = len(style.LINE_COLOURS), len(style.LINE_STYLES)
    return [
        {
            "color": style.LINE_COLOURS[i % colours],
            "linestyle": style.LINE_STYLES[(i + i // colours) % styles],
            "linewidth": 1.8,
        }
        for i in range(count)
    ]


def plot_history(history: "History", *, ax: Axes | None = None) -> Axes:
    """Plots a training: the loss and its terms, the AP of each evaluation, the learning rate.

    Three panels, of which the second is there only after an evaluation. The loss of single steps
    is drawn faint behind its running mean.

    Args:
        history: from `detlearn.training.fit`.
        ax: axes to divide among the panels.

    Returns:
        The axes; the panels are its `child_axes`, the loss first, the learning rate last.

    Raises:
        ValueError: if no step was logged.
    """
    if not history.steps:
        raise ValueError("history has no step to plot: train first")
    ax = chart_axes(ax, HEIGHT + 0.9 * bool(history.val))
    ax.set_axis_off()
    panels = stacked_panels(ax, (3.0, 1.2, 0.7) if history.val else (3.0, 0.7))
    plot_losses(panels[0], history)
    if history.val:
        plot_validation(panels[1], history.val)
    panels[-1].plot(history.steps, history.lr, color=style.NEUTRAL, linewidth=1.6, linestyle="-")
    panels[-1].set(ylabel="learning\nrate", xlabel="step")
    panels[-1].set_ylim(bottom=0)
    panels[-1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    last = max(history.steps[-1], *(step for step, _ in history.val), 1)
    for panel in panels:
        panel.set_xlim(0, last * 1.01)
        panel.tick_params(axis="x", labelbottom=panel is panels[-1])
    return ax


def stacked_panels(ax: Axes, heights: Sequence[float], gap: float = 0.4) -> list[Axes]:
    """Divides axes into panels of the given relative heights, from top to bottom."""
    unit = 1 / (sum(heights) + gap * (len(heights) - 1))
    tops = 1 - unit * (np.cumsum(heights) - heights + gap * np.arange(len(heights)))
    return [ax.inset_axes([0, t - h * unit, 1, h * unit]) for t, h in zip(tops, heights)]


def plot_losses(ax: Axes, history: "History") -> None:
    """Plots running means of the total loss (black) and, where there are several, its terms."""
    steps = np.asarray(history.steps)
    total = np.asarray(history.total, dtype=float)
    width = max(1, len(steps) // 25)
    smooth = running_mean(total, width)
    grey = {"color": "#bbbbbb", "linewidth": 0.8, "linestyle": "-", "zorder": 1}
    ax.plot(steps, total, label="loss of each step", **grey)
    ax.plot(steps, smooth, color=style.DARK, linewidth=2.8, linestyle="-", label="loss")
    terms = history.losses if len(history.losses) > 1 else {}
    for look, (name, values) in zip(line_looks(len(terms)), terms.items()):
        mean = running_mean(np.asarray(values, dtype=float), width)
        ax.plot(steps[len(steps) - len(mean) :], mean, label=name, **look)
    finite = smooth[np.isfinite(smooth)]
    if finite.size and finite.max() > 0:
        ax.set_ylim(0, 1.1 * finite.max())  # the spikes of single steps may leave the panel
    ax.set_ylabel("loss")
    ax.legend(loc="upper right", ncols=1 if len(terms) < 4 else 2)


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Returns the mean of the `width` values around each value, of fewer at both ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    starts = np.arange(len(values)) - width // 2
    ends = np.minimum(starts + width, len(values))
    starts = np.maximum(starts, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def plot_validation(ax: Axes, val: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    """Plots AP and AP50 of each evaluation, and writes the last values beside their points."""
    for name, marker, colour in (("ap50", "o", style.PALETTE[5]), ("ap", "s", style.PALETTE[10])):
        points = [(step, values[name]) for step, values in val if name in values]
        if points:
            label = f"{name.upper()} {points[-1][1]:.2f}"
            ax.plot(*zip(*points), marker=marker, color=colour, label=label, linestyle="-")
    ax.set_ylim(0, 1)
    ax.set_ylabel("AP")
    ax.legend(loc="best", ncols=2, handlelength=1.2)


def plot_errors(analysis: "ErrorAnalysis", *, ax: Axes | None = None) -> Axes:
    """Plots what each kind of mistake costs, worst first, with the number of mistakes.

    The cost is the AP that would be gained if no mistake of this kind were made (TIDE's dAP), on a
    scale of 100.

    Args:
        analysis: from `detlearn.metrics.error_analysis`.
        ax: axes to draw on.

    Returns:
        The axes.
    """
    kinds = sorted(analysis.dap, key=lambda kind: analysis.dap[kind])  # the last is drawn on top
    ax = chart_axes(ax, 0.8 + 0.42 * len(kinds))
    points = [100 * float(analysis.dap[kind]) for kind in kinds]
    bars = ax.barh(kinds, points, color=style.PALETTE[10], edgecolor=style.DARK, linewidth=0.8)
    texts = [f"{value:.1f}  ({analysis.counts[kind]}×)" for value, kind in zip(points, kinds)]
    ax.bar_label(bars, texts, padding=4)
    ax.set_xlim(right=1.25 * max(*points, 0.1))  # room for the numbers
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("AP lost, in points of 100")
    return ax
