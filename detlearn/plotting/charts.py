"""The curves, bars and dots of the book: precision over recall, learning curves, repeated runs.

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
LONG_NAME = 20  # letters of a loss's name, up to which two stand beside each other

# What is there to be seen behind the lines that matter.
FAINT = {"color": "#bbbbbb", "linewidth": 0.8, "linestyle": "-", "zorder": 1}


def chart_axes(ax: Axes | None, height: float = HEIGHT) -> Axes:
    """Return `ax`, or the axes of a new figure 7 inches wide."""
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
    """Plot precision over recall for every class, and the mean over classes in black.

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

    # A class without objects has precision −1 everywhere. Best class first.
    curves = []
    for label, name in enumerate(names):
        recall, precision = metrics.pr_curve(label, iou_threshold)
        if precision.max(initial=-1) > -1:
            curves.append((recall, precision, name))
    if not curves:
        raise ValueError("no class has an object, so there is no precision-recall curve to plot")
    curves.sort(key=lambda curve: -curve[1].mean())

    # Of many classes only the best and the worst get a line that can be told from the others.
    labelled = list(range(len(curves)))
    if len(curves) > MANY_CLASSES:
        labelled = [*range(5), *range(len(curves) - 5, len(curves))]

    ax = chart_axes(ax)
    for i in sorted(set(range(len(curves))) - set(labelled)):
        recall, precision, _ = curves[i]
        ax.plot(recall, precision, **FAINT)

    for look, i in zip(line_looks(len(labelled)), labelled):
        recall, precision, name = curves[i]
        ax.plot(recall, precision, label=f"{name}  {precision.mean():.2f}", **look)

    if len(curves) > 1:
        recall = curves[0][0]  # the same levels for all classes
        mean = np.mean([precision for _, precision, _ in curves], axis=0)
        label = f"mean  {mean.mean():.2f}"
        ax.plot(recall, mean, color=style.DARK, linewidth=3.2, linestyle="-", label=label)

    ax.set(xlim=(0, 1.005), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    ax.legend(title=f"AP at IoU {iou_threshold:g}", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def line_looks(count: int) -> list[dict]:
    """Return colour, line style and width for each of `count` lines; no two of 32 are the same."""
    colours, styles = len(style.LINE_COLOURS), len(style.LINE_STYLES)
    return [
        {
            "color": style.LINE_COLOURS[i % colours],
            "linestyle": style.LINE_STYLES[(i + i // colours) % styles],
            "linewidth": 1.8,
        }
        for i in range(count)
    ]


def plot_groups(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    groups: Mapping[str, Sequence[str]],
    *,
    xlabel: str,
    ylabel: str,
    marker: str | None = None,
) -> np.ndarray:
    """Plot many lines so that each can be followed: a panel a group, all others faint behind it.

    Args:
        curves: the points (x, y) of each line, by its name.
        groups: title of a panel → the names of its lines. A name without a curve is left out, and
            a group of which none is left has no panel.
        xlabel, ylabel: of all panels, which share their axes.
        marker: at the points of the lines, if they are few.

    Returns:
        The panels, an array of Axes in the order of the groups.

    Raises:
        ValueError: if a curve is in no group, or no group has one.
    """
    members = {title: [name for name in names if name in curves] for title, names in groups.items()}
    members = {title: names for title, names in members.items() if names}
    if not members:
        raise ValueError(f"no curve to plot: got {sorted(curves)}, and groups of other names")
    homeless = set(curves).difference(*members.values())
    if homeless:
        raise ValueError(f"every curve needs a group to be seen in; in none: {sorted(homeless)}")

    rows = -(-len(members) // 2)  # two panels side by side, rounded up
    _, axes = plt.subplots(
        rows,
        2,
        figsize=(WIDTH, 3.4 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    panels = axes.flat[: len(members)]
    for left_over in axes.flat[len(members) :]:
        left_over.set_axis_off()

    for ax, (title, names) in zip(panels, members.items()):
        for other, points in curves.items():
            if other not in names:
                ax.plot(*zip(*points), **FAINT)
        for look, name in zip(line_looks(len(names)), names):
            ax.plot(*zip(*curves[name]), label=name, marker=marker, **look)

        # Above the panel, where no line runs through the names.
        ax.legend(
            title=title, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handlelength=1.6
        )

        # On a phone the panels stand one below the other, so that each needs words and numbers.
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.tick_params(labelleft=True, labelbottom=True)
    return panels


def plot_history(history: "History", *, ax: Axes | None = None) -> Axes:
    """Plot a training: the loss and its terms, the AP of each evaluation, the learning rate.

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

    evaluated = bool(history.val)
    ax = chart_axes(ax, HEIGHT + 0.9 * evaluated)
    ax.set_axis_off()
    panels = stacked_panels(ax, (3.0, 1.2, 0.7) if evaluated else (3.0, 0.7))

    plot_losses(panels[0], history)
    if evaluated:
        plot_validation(panels[1], history.val)
    plot_learning_rate(panels[-1], history)

    # One axis of steps for all, numbered once, at the foot.
    last = max([1, history.steps[-1], *[step for step, _ in history.val]])
    for panel in panels:
        panel.set_xlim(0, last * 1.01)
        panel.tick_params(axis="x", labelbottom=panel is panels[-1])
    return ax


def stacked_panels(ax: Axes, heights: Sequence[float], gap: float = 0.4) -> list[Axes]:
    """Divide axes into panels of the given relative heights, from top to bottom."""
    unit = 1 / (sum(heights) + gap * (len(heights) - 1))  # of the height of `ax`

    panels, top = [], 1.0
    for height in heights:
        panels.append(ax.inset_axes([0, top - height * unit, 1, height * unit]))
        top -= (height + gap) * unit
    return panels


def plot_losses(ax: Axes, history: "History") -> None:
    """Plot running means of the total loss (black) and, where there are several, its terms."""
    steps = np.asarray(history.steps)
    total = np.asarray(history.total, dtype=float)
    width = max(1, len(steps) // 25)
    smooth = running_mean(total, width)

    ax.plot(steps, total, label="loss of each step", **FAINT)
    ax.plot(steps, smooth, color=style.DARK, linewidth=2.8, linestyle="-", label="loss")

    terms = history.losses if len(history.losses) > 1 else {}
    for look, (name, values) in zip(line_looks(len(terms)), terms.items()):
        mean = running_mean(np.asarray(values, dtype=float), width)
        ax.plot(steps[len(steps) - len(mean) :], mean, label=name, **look)

    # The spikes of single steps may leave the panel; the mean may not.
    finite = smooth[np.isfinite(smooth)]
    if finite.size and finite.max() > 0:
        ax.set_ylim(0, 1.1 * finite.max())

    ax.set_ylabel("loss")

    # Few lines leave a corner free, of more the names stand above: on a phone they would hide them.
    # Two long names beside each other would make the chart wider, and so all its letters smaller.
    if len(terms) < 4:
        ax.legend(loc="upper right")
    else:
        ncols = 2 if max(map(len, terms)) <= LONG_NAME else 1
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=ncols)


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Return the mean of the `width` values around each value, of fewer at both ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    starts = np.arange(len(values)) - width // 2
    ends = np.minimum(starts + width, len(values))
    starts = np.maximum(starts, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def plot_validation(ax: Axes, val: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    """Plot AP and AP50 of each evaluation, and write the last values into the legend."""
    for name, marker, colour in (("ap50", "o", style.INK), ("ap", "s", style.PALETTE[10])):
        steps = [step for step, values in val if name in values]
        points = [values[name] for _, values in val if name in values]
        if points:
            label = f"{name.upper()} {points[-1]:.2f}"
            ax.plot(steps, points, marker=marker, color=colour, label=label, linestyle="-")

    ax.set_ylim(0, 1)
    ax.set_ylabel("AP")
    ax.legend(loc="best", ncols=2, handlelength=1.2)


def plot_learning_rate(ax: Axes, history: "History") -> None:
    """Plot the learning rate of each step in grey."""
    ax.plot(history.steps, history.lr, color=style.NEUTRAL, linewidth=1.6, linestyle="-")
    ax.set(ylabel="learning\nrate", xlabel="step")
    ax.set_ylim(bottom=0)
    ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))


def plot_runs(
    values: Mapping[str, Sequence[float]],
    *,
    ax: Axes | None = None,
    title: str | None = None,
    span: float = 0.0,
) -> Axes:
    """Plot a metric of repeated runs: a dot for each seed, a bar at the mean of each variant.

    A difference between two variants means something if it is large beside the spread of the dots.

    Args:
        values: for each variant its name and the metric of each run; runs that are not finite are
            refused.
        ax: axes to draw on.
        title: text above them: the metric.
        span: the least height of the y axis. The same for several panels, it makes their spreads
            comparable.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no variant, or one has no runs or a value that is not finite.
    """
    if not values:
        raise ValueError("values has no variant to plot")
    for name, row in values.items():
        if len(row) == 0 or not np.isfinite(row).all():
            raise ValueError(f"values[{name!r}] = {list(row)}: expected at least one finite number")

    ax = chart_axes(ax)
    for x, row in enumerate(values.values()):
        mean = np.mean(row)
        ax.plot([x] * len(row), row, "o", color=style.INK, markersize=6, markerfacecolor="none")
        ax.plot([x - 0.3, x + 0.3], [mean, mean], "-", color=style.PALETTE[2], linewidth=3)

    # Long names, or many, would run into each other side by side.
    inches = ax.get_window_extent().width / ax.figure.dpi
    crowded = sum(len(name) + 2 for name in values) > 9 * inches
    ax.set_xticks(range(len(values)), list(values), rotation=60 if crowded else 0)
    ax.set_xlim(-0.6, len(values) - 0.4)

    low, high = ax.get_ylim()
    if high - low < span:
        middle = (low + high) / 2
        ax.set_ylim(middle - span / 2, middle + span / 2)

    if title is not None:
        ax.set_title(title)
    return ax


def plot_errors(analysis: "ErrorAnalysis", *, ax: Axes | None = None) -> Axes:
    """Plot what each kind of mistake costs, worst first, with the number of mistakes.

    The cost is the AP that would be gained if no mistake of this kind were made (TIDE's dAP), on a
    scale of 100.

    Args:
        analysis: from `detlearn.metrics.error_analysis`.
        ax: axes to draw on.

    Returns:
        The axes.
    """
    # Upwards, because the last bar is drawn on top.
    kinds = sorted(analysis.dap, key=lambda kind: analysis.dap[kind])
    points = [100 * float(analysis.dap[kind]) for kind in kinds]
    texts = [f"{value:.1f}  ({analysis.counts[kind]}×)" for value, kind in zip(points, kinds)]

    ax = chart_axes(ax, 0.8 + 0.42 * len(kinds))
    bars = ax.barh(kinds, points, color=style.PALETTE[10], edgecolor=style.DARK, linewidth=0.8)
    ax.bar_label(bars, texts, padding=4)

    ax.set_xlim(right=1.25 * max(*points, 0.1))  # room for the numbers
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("AP lost, in points of 100")
    return ax
