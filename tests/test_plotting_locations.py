"""`show_locations`, `show_assignment` and `show_heatmap`: each location tells the right story."""

import copy
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from drawn import outlines, scatters, tags, target
from torch import nn

from detlearn import models, plotting
from detlearn.data import ToyTown
from detlearn.models import ImageBatcher
from detlearn.models.base import Detector
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
    assert second / full == pytest.approx([0.7, 0.4])

    # A small marker has a thinner rim, or its colour would not be seen.
    rims = ax.collections[1].get_linewidths()
    assert rims[1] < rims[0] <= 0.8


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


# ---- what a detector says


class Assignment(NamedTuple):
    assigned: torch.Tensor
    points: torch.Tensor
    strides: torch.Tensor
    anchors: torch.Tensor | None = None


class TwoMaps(Detector):
    """A detector with maps of strides 16 and 32, which learn as `assigned` says.

    It sees images enlarged to a shorter side of 64, normalised, and padded to multiples of 32.
    """

    def __init__(self, assigned, with_anchors=False):
        batcher = ImageBatcher(mean=(0.5, 0.25, 0.0), std=(2.0, 1.0, 0.5), min_size=64, max_size=96)
        super().__init__(3, batcher)
        self.norm, self.frozen = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.assigned, self.with_anchors = torch.tensor(assigned), with_anchors

    def predict(self, images, sizes=None):
        return self.frozen(self.norm(images))

    def assign(self, outputs, targets):
        (self.seen,) = targets
        assert not outputs.requires_grad
        points = torch.tensor([[8.0, 8], [24, 8], [40, 8], [16, 16], [48, 16]])
        strides = torch.tensor([16.0, 16, 16, 32, 32])
        anchors = torch.cat([points - 4, points + 4], dim=1) if self.with_anchors else None
        return Assignment(self.assigned[None], points, strides, anchors)


@pytest.fixture
def small():
    """An image of 32 × 48 pixels, which `TwoMaps` sees at twice the size, and two objects on it."""
    picture = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(1))
    return picture, target((2, 2, 10, 10), (20, 4, 40, 30))


def test_a_detector_is_drawn_stride_by_stride_as_it_sees_the_image(small):
    model = TwoMaps([0, 0, -1, 1, -2], with_anchors=True)
    fine, coarse = plotting.show_assignment(model, *small).child_axes
    assert fine.get_title() == "stride 16\n2 of 3 learn"
    assert coarse.get_title() == "stride 32\n1 of 2 learn"
    assert tags(fine) == ["● A ×2", "■ B ×0"] and tags(coarse) == ["● A ×0", "■ B ×1"]
    assert scatters(fine)[0][1].tolist() == [[8, 8], [24, 8]]
    assert scatters(coarse)[1][1].tolist() == [[16, 16]]
    # Objects in pixels of the enlarged image; of the anchors only those that learn one.
    assert set(outlines(fine)) == {(4, 4, 20, 20), (40, 8, 80, 60), (4, 4, 12, 12), (20, 4, 28, 12)}
    shown = fine.images[0].get_array()
    assert shown.shape == (64, 96, 3)
    wanted = F.interpolate(small[0][None], scale_factor=2, mode="bilinear")[0].permute(1, 2, 0)
    faded = 0.55 + 0.45 * wanted.numpy()
    assert abs(shown - faded).max() < 1e-3  # normalised and back
    columns = fine.collections[0].get_segments()
    assert [segment[0, 0] for segment in columns] == [0, 16, 32, 48, 64, 80, 96]


@pytest.mark.parametrize("name", sorted(models.BUILDERS))
def test_every_detector_of_the_package_says_who_learns_what(name):
    """Each object is learned somewhere, and each panel counts what its title says."""
    torch.manual_seed(0)
    scene, objects = ToyTown(7, seed=0)[6]
    ax = plotting.show_assignment(models.create(name, 10), scene, objects)
    panels = ax.child_axes or [ax]
    learned = torch.zeros(len(objects["boxes"]), dtype=torch.int64)
    for panel in panels:
        counts = torch.tensor([int(tag.split("×")[1]) for tag in tags(panel)])
        words = panel.get_title().replace("\n", " ").split()
        assert counts.sum() == int(words[-4]) > 0
        learned += counts
    assert (learned > 0).all()


def test_only_strides_that_learn_get_a_panel(small):
    ax = plotting.show_assignment(TwoMaps([-1, -1, -1, 1, -1]), *small)
    assert ax.child_axes == [] and ax.get_title() == "stride 32: 1 of 2 learn"
    nobody = plotting.show_assignment(TwoMaps([-1] * 5), *small)
    assert nobody.get_title() == "stride 16: 0 of 3 learn"


def test_background_is_drawn_near_objects_alone(small):
    """Up to one and a half strides from an object; the title counts all."""
    picture, _ = small  # seen at twice the size: locations of stride 16 at x = 8, 24, 40
    near_two = target((0, 0, 7.5, 9))  # seen to end at 15: reaches to 39
    near_three = target((0, 0, 8.5, 9))  # at 17: reaches to 41
    for objects, count in ((near_two, 2), (near_three, 3)):
        ax = plotting.show_assignment(TwoMaps([-1, -1, -1, 0, -1]), picture, objects, level=0)
        (dots,) = [line for line in ax.lines if line.get_label() == "background"]
        assert len(dots.get_xydata()) == count
        assert ax.get_title() == "stride 16: 0 of 3 learn"

    # Those that are ignored are drawn wherever they lie.
    ax = plotting.show_assignment(TwoMaps([-1, -1, -2, 0, -1]), picture, near_two, level=0)
    assert [line.get_label() for line in ax.lines] == ["background", "ignored"]


def test_one_level_is_drawn_on_given_axes(small):
    _, axes = plt.subplots(1, 2)
    model = TwoMaps([0, 0, -1, 1, -2])
    drawn = plotting.show_assignment(model, *small, level=1, ax=axes[1], legend=False)
    assert drawn is axes[1] and drawn.get_title() == "stride 32: 1 of 2 learn"
    assert drawn.get_legend() is None and axes[0].get_title() == ""
    both = plotting.show_assignment(model, *small, ax=axes[0])
    assert both is axes[0] and len(both.child_axes) == 2
    for level in (2, -1):
        with pytest.raises(ValueError, match=rf"level is {level}: expected 0 … 1, strides \[16"):
            plotting.show_assignment(model, *small, level=level)


def test_looking_leaves_the_detector_as_it_is(small):
    model = TwoMaps([0, 0, -1, 1, -2]).train()
    model.frozen.eval()
    before = copy.deepcopy(model.state_dict())
    plotting.show_assignment(model, *small)
    assert model.training and model.norm.training and not model.frozen.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.seen["labels"].tolist() == [0, 1]
    assert small[1]["boxes"].tolist() == [[2, 2, 10, 10], [20, 4, 40, 30]]


def test_a_bad_sample_is_named_before_the_detector_looks(small):
    model = TwoMaps([0, 0, -1, 1, -2])
    with pytest.raises(ValueError, match=r"targets\[0\]\['labels'\]\[0\] = 3 is no label in 0 … 2"):
        plotting.show_assignment(model, small[0], target((2, 2, 9, 9), labels=[3]))
    with pytest.raises(TypeError, match=r"image 0 is torch\.uint8"):
        plotting.show_assignment(model, (small[0] * 255).byte(), small[1])
