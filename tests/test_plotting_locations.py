"""`show_locations`, `show_assignment` and `show_heatmap`: each location tells the right story."""

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from drawn import outlines, scatters, tags, target

from detlearn import plotting
from detlearn.plotting import style


@pytest.fixture(autouse=True)
def clean_matplotlib():
    """Every test starts from matplotlib's defaults and leaves no figure open."""
    with matplotlib.rc_context():
        yield
    plt.close("all")


@pytest.fixture
def image():
    return torch.rand(3, 60, 100, generator=torch.Generator().manual_seed(0))


# ---- who learns what


@pytest.fixture
def lesson():
    """Two objects; of six locations one learns the first, two the second, one is ignored."""
    points = torch.tensor([[10, 10], [30, 10], [50, 10], [70, 10], [90, 10], [90, 30]]).float()
    assigned = torch.tensor([0, 1, 1, -1, -2, -1])
    return target((5, 5, 20, 20), (25, 5, 60, 20)), points, assigned


def test_assignment_gives_each_object_letter_colour_and_shape(image, lesson):
    objects, points, assigned = lesson
    ax = plotting.show_locations(image, objects, points, assigned)
    assert tags(ax) == ["● A ×1", "■ B ×2"]
    (first, at_first), (second, at_second) = scatters(ax)
    assert (first, second) == (style.PALETTE[0], style.PALETTE[1])
    assert at_first.tolist() == [[10, 10]] and at_second.tolist() == [[30, 10], [50, 10]]
    assert {colour for _, colour in outlines(ax).values()} == {first, second}
    round_one, square = (g.get_paths()[0].vertices for g in ax.collections)
    assert len(round_one) > len(square)  # a circle has more vertices than a square


def test_assignment_shows_background_and_ignored(image, lesson):
    ax = plotting.show_locations(image, *lesson)
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["background"].get_xydata().tolist() == [[70, 10], [90, 30]]
    assert lines["ignored"].get_xydata().tolist() == [[90, 10]]
    assert lines["background"].get_marker() == "o" and lines["ignored"].get_marker() == "x"
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["background", "ignored"]
    assert plotting.show_locations(image, *lesson, legend=False).get_legend() is None


def test_object_that_nobody_learns_counts_zero(image, lesson):
    objects, points, _ = lesson
    ax = plotting.show_locations(image, objects, points, torch.full((6,), -1))
    assert tags(ax) == ["● A ×0", "■ B ×0"] and len(ax.patches) == 2


def test_weights_scale_the_area_of_markers(image, lesson):
    weights = torch.tensor([2.0, 1.0, 0.0, 9.0, 9.0, 9.0])
    ax = plotting.show_locations(image, *lesson, weights=weights)
    first, second = (group.get_sizes() for group in ax.collections)
    full = plotting.show_locations(image, *lesson).collections[0].get_sizes()[0]
    assert first / full == pytest.approx(1.0)  # the largest that learns an object
    assert second / full == pytest.approx([0.55, 0.1])


def test_stride_scales_markers_and_draws_cells(image, lesson):
    ax = plotting.show_locations(image, *lesson, stride=torch.tensor([2.0, 4, 16, 1, 1, 1]))
    (first,), second = (g.get_sizes() for g in ax.collections)
    assert first <= second[0] < second[1]
    ax = plotting.show_locations(image, *lesson, stride=20)
    columns, rows = (group.get_segments() for group in ax.collections[:2])
    assert [segment[0, 0] for segment in columns] == [0, 20, 40, 60, 80, 100]
    assert [segment[0, 1] for segment in rows] == [0, 20, 40, 60]


def test_anchors_of_objects_are_drawn_thin_in_their_colour(image, lesson):
    objects, points, assigned = lesson
    anchors = torch.cat([points - 4, points + 4], dim=1)
    ax = plotting.show_locations(image, objects, None, assigned, anchors=anchors)
    drawn = outlines(ax)
    assert len(drawn) == 2 + 3  # the objects, and anchors only where they learn one
    assert drawn[(6, 6, 14, 14)][1] == style.PALETTE[0]
    assert drawn[(26, 6, 34, 14)][1] == drawn[(46, 6, 54, 14)][1] == style.PALETTE[1]
    thin, thick = sorted({patch.get_linewidth() for patch in ax.patches})
    assert thin < 0.7 * thick
    assert scatters(ax)[0][1].tolist() == [[10, 10]]  # points are the anchors' centres


def test_more_objects_than_colours_and_letters(image):
    rows = [(i, i, i + 10, i + 10) for i in range(30)]
    points = torch.arange(30.0)[:, None].expand(30, 2) + 5
    ax = plotting.show_locations(image, target(*rows, labels=[0] * 30), points, torch.arange(30))
    assert tags(ax)[12] == "▼ M ×1" and tags(ax)[25:28] == ["■ Z ×1", "▲ AA ×1", "◆ AB ×1"]
    looks = {(style.colour_of(i), style.marker_of(i)) for i in range(24)}
    assert len(looks) == 24  # colour and shape together repeat only after 24
    ax.figure.canvas.draw()


def test_assignment_without_objects_or_locations(image):
    ax = plotting.show_locations(
        image, target(), torch.zeros(0, 2), torch.zeros(0).long(), stride=8
    )
    assert tags(ax) == [] and ax.get_legend() is None


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (
            {"assigned": torch.tensor([0, 1, 2, 0, 0, 0])},
            ValueError,
            r"assigned\[2\] = 2.*2 objects",
        ),
        ({"assigned": torch.tensor([-3, 0, 0, 0, 0, 0])}, ValueError, r"assigned\[0\] = -3"),
        ({"assigned": torch.tensor([0, 1])}, ValueError, r"\(2,\).*\(6,\)"),
        ({"assigned": torch.zeros(6)}, TypeError, "float32"),
        ({"points": torch.zeros(6, 4)}, ValueError, r"\(P, 2\), got \(6, 4\)"),
        ({"points": None}, ValueError, "points is None.*anchors"),
        ({"anchors": torch.zeros(5, 4)}, ValueError, r"'anchors': \(5,\)"),
        ({"weights": -torch.ones(6)}, ValueError, "weights.*-1"),
        ({"weights": torch.ones(4)}, ValueError, r"weights.*\(6,\).*\(4,\)"),
        ({"stride": torch.ones(4)}, ValueError, r"stride.*\(6,\).*\(4,\)"),
        ({"stride": 0}, ValueError, "stride must be above 0"),
    ],
)
def test_bad_assignment_is_refused(image, lesson, change, error, says):
    arguments = dict(zip(("target", "points", "assigned"), lesson)) | change
    with pytest.raises(error, match=says):
        plotting.show_locations(image, **arguments)


# ---- heat maps


def test_heatmap_covers_the_image_or_its_padded_grid(image):
    heat = torch.zeros(1, 4, 7)
    heat[0, 1, 2] = 0.8
    ax = plotting.show_heatmap(image, heat[0])
    assert ax.images[1].get_extent() == [0, 100, 60, 0]
    ax = plotting.show_heatmap(image, heat, stride=16)
    layer = ax.images[1]
    assert layer.get_extent() == [0, 112, 64, 0]  # 7 × 16 and 4 × 16: beyond the image
    assert ax.get_xlim() == (-1, 101)
    assert layer.get_clim() == (0, pytest.approx(0.8))
    alpha = layer.get_alpha()
    assert alpha[1, 2] == pytest.approx(0.9) and alpha[0, 0] == 0
    assert plotting.show_heatmap(image, heat, vmax=1.0).images[1].get_clim() == (0, 1)
    background = ax.images[0].get_array()
    assert (background[..., 0] == background[..., 2]).all() and background.max() < 0.51


@pytest.mark.parametrize(
    ("heat", "says"),
    [
        (torch.zeros(2, 4, 4), r"\(2, 4, 4\)"),
        (torch.tensor([[-0.5, 1.0]]), "-0.5.*sigmoid"),
        (torch.tensor([[float("nan")]]), "finite"),
        (torch.zeros(0, 4), r"\(0, 4\)"),
    ],
)
def test_bad_heatmap_is_refused(image, heat, says):
    with pytest.raises(ValueError, match=says):
        plotting.show_heatmap(image, heat)


def test_heatmap_of_zeros_is_drawn(image):
    plotting.show_heatmap(image, torch.zeros(6, 10)).figure.canvas.draw()
