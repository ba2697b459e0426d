"""The charts of `detlearn.plotting`, and the style of the book: type sizes, colours, contrast."""

from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from drawn import NAMES, Scenes, detections, tags, target
from matplotlib.colors import to_rgb

from detlearn import plotting
from detlearn.metrics import coco_metrics, error_analysis
from detlearn.plotting import style
from detlearn.plotting.charts import FAINT

DEFAULTS = dict(matplotlib.rcParamsDefault)


@pytest.fixture(autouse=True)
def clean_matplotlib():
    """Every test starts from matplotlib's defaults and leaves no figure open."""
    with matplotlib.rc_context():
        yield
    plt.close("all")


@pytest.fixture
def image():
    return torch.rand(3, 60, 100, generator=torch.Generator().manual_seed(0))


# ---- repeated runs


def marks(ax):
    """Dots and bars of `plot_runs`: [x, y] of each."""
    dots = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    bars = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() != "o"]
    return dots, bars


def test_runs_have_a_dot_for_each_seed_and_a_bar_at_the_mean():
    ax = plotting.plot_runs({"pool": [0.5, 0.75, 0.25, 0.1], "align": (0.7,)}, title="AP50")
    dots, bars = marks(ax)
    assert dots == [[[0, 0.5], [0, 0.75], [0, 0.25], [0, 0.1]], [[1, 0.7]]]
    assert bars == [[[-0.3, 0.4], [0.3, 0.4]], [[0.7, 0.7], [1.3, 0.7]]]  # not the median
    assert [text.get_text() for text in ax.get_xticklabels()] == ["pool", "align"]
    assert ax.get_title() == "AP50"


def test_runs_are_shown_on_axes_of_at_least_the_span():
    low, high = plotting.plot_runs({"a": [0.50, 0.51]}, span=0.08).get_ylim()
    assert high - low == pytest.approx(0.08) and (low + high) / 2 == pytest.approx(0.505)
    low, high = plotting.plot_runs({"a": [0.2, 0.9]}, span=0.08).get_ylim()
    assert low < 0.2 and high > 0.9


def test_long_names_of_runs_are_turned():
    few = plotting.plot_runs({"a": [1.0], "b": [1.0]})
    many = plotting.plot_runs({f"a very long name {i}": [1.0] for i in range(6)})
    assert few.get_xticklabels()[0].get_rotation() == 0
    assert many.get_xticklabels()[0].get_rotation() == 60


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "no variant"),
        ({"a": [1.0], "b": []}, r"values\['b'\] = \[\]: expected at least one"),
        ({"a": [1.0, float("nan")]}, r"values\['a'\] = .*nan"),
    ],
)
def test_runs_without_numbers_are_refused(values, says):
    with pytest.raises(ValueError, match=says):
        plotting.plot_runs(values)


# ---- charts


def look(line):
    """Colour and dashes of a line; matplotlib has no public way to ask for the latter."""
    return line.get_color(), str(line._unscaled_dash_pattern)


def metrics_of(num_classes):
    """Class 0 found exactly, class 1 half found, class 2 absent, all others never found."""
    rows = [(10.0 * k, 0.0, 10.0 * k + 8, 8.0) for k in range(num_classes)]
    labels = [k for k in range(num_classes) if k != 2]
    truth = [target(*[rows[k] for k in labels], labels=labels) for _ in range(2)]
    empty = {"scores": torch.tensor([0.9])}
    found = [
        detections(rows[0], rows[1], labels=[0, 1]),
        target(rows[0], labels=[0]) | empty,
    ]
    return coco_metrics(found, truth, num_classes)


def test_pr_curves_are_named_with_their_ap_best_first():
    ax = plotting.plot_pr_curves(metrics_of(4), class_names=["sun", "moon", "none", "star"])
    curves = {line.get_label(): line for line in ax.lines}
    assert list(curves) == ["sun  1.00", "moon  0.50", "star  0.00", "mean  0.50"]
    recall, precision = curves["moon  0.50"].get_data()
    assert precision[recall <= 0.5] == pytest.approx(np.ones(51)) and precision[51:].max() == 0
    mean = curves["mean  0.50"].get_ydata()
    assert mean[0] == pytest.approx(2 / 3) and mean[-1] == pytest.approx(1 / 3)
    assert len({look(line) for line in ax.lines}) == 4
    assert len({look(line)[1] for line in ax.lines[:3]}) == 3  # line styles alone tell them apart


def test_pr_curves_are_sorted_by_ap_and_not_by_class():
    box = (0.0, 0.0, 8.0, 8.0)
    truth = [target(box, (20, 0, 28, 8), labels=[0, 1])]
    only_the_second = coco_metrics([detections((20, 0, 28, 8), labels=[1])], truth, 2)
    ax = plotting.plot_pr_curves(only_the_second, class_names=["moon", "sun"])
    assert [line.get_label() for line in ax.lines] == ["sun  1.00", "moon  0.00", "mean  0.50"]


def test_pr_curves_of_many_classes_label_the_extremes():
    ax = plotting.plot_pr_curves(metrics_of(20))
    labelled = [line for line in ax.lines if not line.get_label().startswith("_")]
    assert len({look(line) for line in labelled}) == 11
    assert len(ax.lines) == 20 and len(labelled) == 11  # 19 classes and the mean; 5 + 5 + mean


def test_pr_curves_refuse_what_cannot_be_plotted():
    with pytest.raises(ValueError, match="2 class_names for 4 classes"):
        plotting.plot_pr_curves(metrics_of(4), class_names=["a", "b"])
    with pytest.raises(ValueError, match="iou_threshold"):
        plotting.plot_pr_curves(metrics_of(4), iou_threshold=0.42)
    nothing = coco_metrics([detections()], [target()], 2)
    with pytest.raises(ValueError, match="no class has an object"):
        plotting.plot_pr_curves(nothing)


def history(steps=50, val=()):
    losses = {"heatmap": [2.0 - 0.02 * i for i in range(steps)], "box": [1.0] * steps}
    total = [a + b for a, b in zip(*losses.values())]
    lr = [1e-3] * steps
    numbers = list(range(1, steps + 1))
    return SimpleNamespace(steps=numbers, losses=losses, total=total, lr=lr, val=list(val))


def test_history_has_loss_terms_ap_and_learning_rate():
    val = [(25, {"ap": 0.2, "ap50": 0.4}), (50, {"ap": 0.3, "ap50": 0.61})]
    ax = plotting.plot_history(history(val=val))
    loss, measured, rate = ax.child_axes
    lines = {line.get_label(): line for line in loss.lines}
    assert {"loss", "heatmap", "box"} <= set(lines)
    assert lines["loss"].get_ydata()[0] == 3.0
    assert lines["loss"].get_ydata()[-1] == pytest.approx((2.02 + 2.04) / 2)  # mean of two steps
    assert lines["box"].get_ydata().tolist() == [1.0] * 50
    assert look(lines["heatmap"])[1] != look(lines["box"])[1]
    points = {line.get_label(): line.get_xydata().tolist() for line in measured.lines}
    assert points == {"AP50 0.61": [[25, 0.4], [50, 0.61]], "AP 0.30": [[25, 0.2], [50, 0.3]]}
    assert rate.lines[0].get_ydata().tolist() == [1e-3] * 50
    assert loss.get_xlim() == measured.get_xlim() == rate.get_xlim()


def test_history_without_evaluation_or_with_one_step_or_term():
    assert len(plotting.plot_history(history()).child_axes) == 2
    short = history(steps=1)
    short.losses = {"loss": short.total}
    loss = plotting.plot_history(short).child_axes[0]
    assert [t.get_text() for t in loss.get_legend().get_texts()] == ["loss of each step", "loss"]
    with pytest.raises(ValueError, match="no step"):
        plotting.plot_history(history(steps=0))


def test_history_term_that_began_late_ends_at_the_last_step():
    late = history()
    late.losses["aux"] = [5.0] * 10
    lines = {line.get_label(): line for line in plotting.plot_history(late).child_axes[0].lines}
    assert lines["aux"].get_xdata().tolist() == list(range(41, 51))


def test_history_panels_stay_on_the_figure_and_apart():
    ax = plotting.plot_history(history(val=[(50, {"ap": 0.3})]))
    ax.figure.canvas.draw()
    frames = np.array([panel.get_tightbbox().extents for panel in ax.child_axes])
    assert frames[:, :2].min() >= 0 and frames[:, 2:].max() <= ax.figure.bbox.x1
    assert (frames[:-1, 1] >= frames[1:, 3] - 1).all()


def test_history_stays_inside_the_axes_it_is_given():
    _, axes = plt.subplots(2, 1)
    assert plotting.plot_history(history(), ax=axes[1]) is axes[1]
    loss, rate = (panel.get_window_extent().extents for panel in axes[1].child_axes)
    outer = axes[1].get_window_extent().extents
    assert loss[[0, 2, 3]] == pytest.approx(outer[[0, 2, 3]])
    assert rate[:2] == pytest.approx(outer[:2]) and rate[3] < loss[1]


def test_errors_are_sorted_and_numbered():
    truth = [target((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), labels=[0, 0, 0])]
    found = [detections((0, 0, 10, 10), (20, 0, 30, 4), labels=[0, 0])]  # exact, and IoU 0.4
    analysis = error_analysis(found, truth, 1)
    ax = plotting.plot_errors(analysis)
    names = [label.get_text() for label in ax.get_yticklabels()]
    bars = {name: bar.get_width() for name, bar in zip(names, ax.patches)}
    assert bars == pytest.approx({kind: 100 * dap for kind, dap in analysis.dap.items()})
    assert list(bars.values()) == sorted(bars.values())  # the last one is on top
    texts = dict(zip(names, tags(ax)))
    for kind, count in {"missed": 1, "localisation": 1, "duplicate": 0}.items():
        assert texts[kind] == f"{100 * analysis.dap[kind]:.1f}  ({count}×)"
    assert ax.get_xlim()[1] > max(bars.values()) > 30  # curing one of them finds a third more


# ---- the style


def test_importing_changes_nothing_and_use_style_does():
    assert matplotlib.rcParams["font.size"] == DEFAULTS["font.size"]
    plotting.use_style()
    assert matplotlib.rcParams["font.size"] >= 11
    assert matplotlib.rcParams["figure.facecolor"] == "#ffffff"
    assert not matplotlib.rcParams["savefig.transparent"]
    looks = [(p["color"], str(p["linestyle"])) for p in matplotlib.rcParams["axes.prop_cycle"]]
    assert len(set(looks)) == len(looks) >= 8


def test_everything_draws_in_the_book_style_without_a_warning(image, tmp_path):
    plotting.use_style()
    figures = [
        plotting.show(image, detections((1, 1, 9, 9)), class_names=NAMES).figure,
        plotting.show_matches(image, detections((1, 1, 9, 9)), target((50, 9, 90, 50))).figure,
        plotting.show_locations(
            image, target((1, 1, 9, 9)), torch.rand(3, 2) * 60, torch.tensor([0, -1, -2]), stride=20
        ).figure,
        plotting.show_heatmap(image, torch.rand(6, 10)).figure,
        plotting.show_grid(Scenes(3)),
        plotting.plot_history(history(val=[(50, {"ap": 0.3, "ap50": 0.6})])).figure,
        plotting.plot_runs({"one": [0.1, 0.2], "two": [0.3]}).figure,
        plotting.plot_pr_curves(metrics_of(4)).figure,
        plotting.plot_errors(error_analysis([detections()], [target((1, 1, 9, 9))], 1)).figure,
    ]
    for figure in figures:
        figure.savefig(tmp_path / "figure.png", bbox_inches="tight")
        assert figure.get_figwidth() <= 7
        sizes = [t.get_fontsize() for t in figure.findobj(plt.Text) if t.get_text().strip()]
        assert min(sizes) >= 10  # 9.3 pixels where a phone shows 5.6 inches


def test_line_on_casing_contrasts_with_any_background():
    ax = plotting.show(torch.rand(3, 20, 20), target((2, 2, 9, 9)))
    under = ax.patches[0].get_path_effects()[0]
    assert under._gc["linewidth"] > 1.5 * ax.patches[0].get_linewidth()
    assert under._gc["dashes"]["dash_list"] is None  # solid below dashed
    for colour in (*style.PALETTE, style.FOUND, style.FALSE_ALARM, style.MISSED):
        lighter, darker = sorted((luminance(colour), luminance(style.ink_on(colour))), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.4, colour


def luminance(colour):
    """Relative luminance as WCAG 2.1 defines it."""
    return float(linear(np.array(to_rgb(colour))) @ [0.2126, 0.7152, 0.0722])


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def oklab(rgb):
    """Linear RGB (n, 3) to OKLab (Ottosson, 2020)."""
    to_cone = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(np.clip(rgb, 0, 1) @ np.transpose(to_cone)) @ np.transpose(to_lab)


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_palette_is_safe_for_the_colour_blind(deficiency):
    rgb = linear(np.array([to_rgb(colour) for colour in style.PALETTE]))
    seen = oklab(np.clip(rgb @ np.transpose(DEFICIENCIES[deficiency]), 0, 1))
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    assert len(style.PALETTE) >= 12
    assert distance[np.triu_indices(len(seen), 1)].min() > 0.13


# ---- many lines by groups


CURVES = {
    "a": [(0, 1), (1, 2)],
    "b": [(0, 2), (1, 3)],
    "c": [(0, 3), (2, 4)],
}


def test_every_line_is_faint_in_the_panels_of_the_other_groups():
    groups = {"first": ("a", "b"), "nobody": ("z",), "second": ("c", "y")}
    panels = plotting.plot_groups(CURVES, groups, xlabel="steps", ylabel="AP", marker="o")

    titles = [ax.get_legend().get_title().get_text() for ax in panels]
    assert titles == ["first", "second"]
    named = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in panels]
    assert named == [["a", "b"], ["c"]]

    for ax, faint in zip(panels, (1, 2)):
        assert len(ax.lines) == 3
        behind = [line for line in ax.lines if line.get_color() == FAINT["color"]]
        assert len(behind) == faint and all(line.get_marker() == "None" for line in behind)
    assert panels[1].lines[-1].get_xydata().tolist() == [[0, 3], [2, 4]]
    assert panels[1].lines[-1].get_marker() == "o"

    # All panels have the same axes, so that lines compare.
    assert panels[0].get_xlim() == panels[1].get_xlim()
    assert panels[0].get_ylim() == panels[1].get_ylim()
    panels[0].set(xlim=(0, 9), ylim=(0, 7))
    assert panels[1].get_xlim() == (0, 9) and panels[1].get_ylim() == (0, 7)
    assert {(ax.get_xlabel(), ax.get_ylabel()) for ax in panels} == {("steps", "AP")}


def test_a_curve_without_a_group_is_not_left_out_silently():
    with pytest.raises(ValueError, match=r"in none: \['b', 'c'\]"):
        plotting.plot_groups(CURVES, {"first": ("a",)}, xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="no curve to plot: got "):
        plotting.plot_groups({}, {"first": ("a",)}, xlabel="x", ylabel="y")
