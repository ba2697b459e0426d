"""`detlearn.plotting`: what is drawn is counted, placed, styled and named as it should be.

Pictures themselves are not compared. The tests look at the artists on the axes: patches (boxes),
texts (tags), lines and collections (locations), so each of them fails when the figure would tell
the reader something else.
"""

import time
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb

from detlearn import _style as style
from detlearn import plotting
from detlearn._draw import TagLayer
from detlearn._inputs import image_array
from detlearn.metrics import coco_metrics

NAMES = ["person", "phone", "car"]
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


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def target(*rows, labels=None):
    labels = range(len(rows)) if labels is None else labels
    return {"boxes": boxes(*rows), "labels": torch.tensor(list(labels), dtype=torch.int64)}


def detections(*rows, labels=None, scores=None):
    scores = torch.linspace(0.9, 0.5, len(rows)) if scores is None else torch.tensor(scores)
    return target(*rows, labels=labels) | {"scores": scores}


def outlines(ax):
    """(x1, y1, x2, y2) → line style name and colour, of every box drawn."""
    found = {}
    for patch in ax.patches:
        corners = (patch.get_x(), patch.get_y())
        corners += (patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height())
        found[tuple(round(v, 3) for v in corners)] = (dashes(patch), to_hex(patch.get_edgecolor()))
    return found


def dashes(artist):
    """Names the line style of a patch."""
    given = artist.get_linestyle()
    names = {style.DASHED: "dashed", style.DOTTED: "dotted"}
    return "solid" if given in ("-", "solid") else names[(given[0], tuple(given[1]))]


def tags(ax):
    return [text.get_text() for text in ax.texts]


def tag_frames(ax):
    """(T, 4) the frames of all tags on the canvas, after drawing."""
    ax.figure.canvas.draw()
    return np.array([text.get_bbox_patch().get_window_extent().extents for text in ax.texts])


# ---- the image


@pytest.mark.parametrize("shape", [(3, 60, 100), (1, 60, 100), (60, 100)])
def test_image_of_every_shape_is_drawn_in_continuous_coordinates(shape):
    ax = plotting.show(torch.rand(shape))
    shown = ax.images[0]
    assert shown.get_array().shape == (60, 100, 3)
    assert shown.get_extent() == [0, 100, 60, 0]  # the first pixel covers [0, 1], not [-0.5, 0.5]
    assert ax.get_xlim() == (-1, 101) and ax.get_ylim() == (61, -1)  # 1 % for lines on the border


def test_image_array_keeps_values():
    grey = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
    expected = np.array([[0.0, 0.2], [0.4, 1.0]])[..., None].repeat(3, axis=2)
    np.testing.assert_allclose(image_array(grey), expected, atol=1e-6)
    colour = torch.zeros(3, 2, 4)
    colour[1, 0, 3] = 1.0
    assert image_array(colour)[0, 3].tolist() == [0, 1, 0]
    for same in (colour.requires_grad_(), colour.detach().bfloat16()):
        assert image_array(same)[0, 3].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("bad", "error", "says"),
    [
        (np.zeros((4, 4, 3)), TypeError, "ndarray"),
        (torch.zeros(4, 4, 3), ValueError, r"\(4, 4, 3\)"),
        (torch.zeros(2, 3, 4, 4), ValueError, r"\(2, 3, 4, 4\)"),
        (torch.zeros(3, 0, 4), ValueError, r"\(3, 0, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), TypeError, "int64"),
        (torch.full((3, 4, 4), 255.0), ValueError, "255.*divide by 255"),
        (torch.full((3, 4, 4), -2.1), ValueError, "-2.1.*normalisation"),
        (torch.full((3, 4, 4), torch.nan), ValueError, "nan"),
    ],
)
def test_bad_image_is_refused(bad, error, says):
    with pytest.raises(error, match=says):
        plotting.show(bad)


# ---- show


def test_target_is_dashed_and_named(image):
    ax = plotting.show(image, target((10, 10, 30, 40), (50, 5, 90, 55)), class_names=NAMES)
    assert outlines(ax) == {
        (10, 10, 30, 40): ("dashed", style.PALETTE[0]),
        (50, 5, 90, 55): ("dashed", style.PALETTE[1]),
    }
    assert tags(ax) == ["person", "phone"]


def test_detections_are_solid_with_scores_best_first(image):
    found = detections(
        (10, 10, 30, 40), (50, 5, 90, 55), (0, 0, 5, 5), labels=[2, 0, 1], scores=[0.41, 0.876, 0.2]
    )
    ax = plotting.show(image, found, class_names=NAMES, min_score=0.41)
    assert outlines(ax) == {
        (10, 10, 30, 40): ("solid", style.PALETTE[2]),
        (50, 5, 90, 55): ("solid", style.PALETTE[0]),
    }
    assert tags(ax) == ["person 0.88", "car 0.41"]


def test_small_boxes_are_drawn_on_top(image):
    ax = plotting.show(image, target((10, 10, 12, 12), (5, 5, 90, 55), (8, 8, 40, 40)))
    assert [p.get_width() for p in ax.patches] == [85, 32, 2]


def test_captions_say_what_is_known(image):
    plain = {"boxes": boxes((1, 1, 9, 9))}
    assert tags(plotting.show(image, plain)) == []  # nothing to say
    assert tags(plotting.show(image, plain | {"scores": torch.tensor([0.5])})) == ["0.50"]
    assert tags(plotting.show(image, target((1, 1, 9, 9), labels=[7]))) == ["class 7"]
    assert tags(plotting.show(image, target((1, 1, 9, 9)), labels=False)) == []


def test_max_boxes_keeps_the_best_and_says_so(image):
    found = detections(*[(i, i, i + 9, i + 9) for i in range(5)], labels=[0] * 5)
    ax = plotting.show(image, found, max_boxes=2)
    assert sorted(p.get_x() for p in ax.patches) == [0, 1]
    assert "2 of 5 boxes" in tags(ax)


def test_no_objects_no_boxes(image):
    for nothing in (None, target(), detections()):
        ax = plotting.show(image, nothing, class_names=NAMES, title="empty")
        assert len(ax.patches) == 0 and tags(ax) == [] and ax.get_title() == "empty"


def test_given_axes_are_used_and_no_figure_is_made(image):
    figure, axes = plt.subplots(1, 2)
    assert plotting.show(image, target((1, 1, 9, 9)), ax=axes[1]) is axes[1]
    assert len(axes[0].patches) == 0 and plt.get_fignums() == [figure.number]


def test_gradients_and_half_precision_are_no_obstacle(image):
    found = detections((1, 1, 9, 9))
    found["boxes"].requires_grad_()
    found["scores"] = found["scores"].bfloat16()
    assert tags(plotting.show(image.requires_grad_(), found, class_names=NAMES)) == ["person 0.90"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_on_a_gpu(image):
    found = {key: value.cuda() for key, value in detections((1, 1, 9, 9)).items()}
    truth = {key: value.cuda() for key, value in target((1, 1, 9, 9)).items()}
    image = image.cuda()
    assert len(plotting.show(image, found).patches) == 1
    assert tags(plotting.show_matches(image, found, truth)) == ["✓ class 0 0.90"]
    points, assigned = torch.tensor([[5.0, 5.0]]).cuda(), torch.tensor([0]).cuda()
    assert tags(plotting.show_assignment(image, truth, points, assigned)) == ["● A ×1"]
    plotting.show_heatmap(image, torch.rand(6, 10).cuda())
    plotting.show_grid([(image, truth)], detections=[found])
    plotting.show_grid([(image, truth)], class_names=NAMES)


def test_degenerate_and_protruding_boxes_are_drawn(image):
    ax = plotting.show(image, target((50, 10, 50, 40), (-20, -20, 300, 300), (0, 0, 100, 60)))
    ax.figure.canvas.draw()
    assert len(ax.patches) == 3
    assert ax.get_xlim() == (-1, 101)  # a box beyond the image does not shrink the image


@pytest.mark.parametrize(
    ("objects", "error", "says"),
    [
        (boxes((1, 1, 2, 2)), TypeError, "Tensor"),
        ({"labels": torch.tensor([1])}, ValueError, r"lacks \['boxes'\].*\['labels'\]"),
        ({"boxes": torch.zeros(4)}, ValueError, r"\(N, 4\), got \(4,\)"),
        (target((1, 1, 2, 2), (9, 1, 2, 2)), ValueError, r"\['boxes'\]\[1\].*9"),
        (target((1, 1, 2, float("nan"))), ValueError, r"\['boxes'\]\[0\].*nan"),
        (target((1, 1, 2, 2), labels=[0, 1]), ValueError, r"\['labels'\].*\(1,\).*\(2,\)"),
        (target((1, 1, 2, 2), labels=[3]), ValueError, r"\[0\] = 3.*0 … 2"),
        (target((1, 1, 2, 2), labels=[-1]), ValueError, r"\[0\] = -1"),
        ({"boxes": boxes((1, 1, 2, 2)), "labels": torch.ones(1)}, TypeError, "float32"),
    ],
)
def test_bad_objects_are_named(image, objects, error, says):
    with pytest.raises(error, match=says):
        plotting.show(image, objects, class_names=NAMES)


# ---- tags stay inside and apart


def test_tags_at_the_border_stay_inside_the_axes(image):
    corners = ((0, 0, 8, 8), (92, 0, 100, 8), (0, 52, 8, 60), (92, 52, 100, 60), (-30, -30, 5, 5))
    ax = plotting.show(image, target(*corners, labels=[0] * 5), class_names=["traffic light"])
    frames = tag_frames(ax)
    x1, y1, x2, y2 = ax.bbox.extents
    assert len(frames) == 5
    assert (frames[:, :2] >= [x1 - 1, y1 - 1]).all() and (frames[:, 2:] <= [x2 + 1, y2 + 1]).all()


def test_tag_touches_its_own_box_from_above(image):
    ax = plotting.show(image, target((30, 20, 70, 50)), class_names=NAMES)
    frame = tag_frames(ax)[0]
    left, top = ax.transData.transform((30, 20))
    assert frame[0] == pytest.approx(left, abs=1.5) and frame[1] == pytest.approx(top, abs=1.5)


def test_tags_do_not_overlap(image):
    near = [(20 + d, 20 + d, 60 + d, 50 + d) for d in range(4)]
    ax = plotting.show(image, target(*near, labels=[0] * 4), class_names=["traffic light"])
    frames = tag_frames(ax)
    for i in range(4):
        for j in range(i):
            low = np.maximum(frames[i, :2], frames[j, :2])
            high = np.minimum(frames[i, 2:], frames[j, 2:])
            assert (high - low).clip(0).prod() == 0, (i, j)


def test_tag_spares_a_small_box_above_its_own(image):
    ax = plotting.show(image, target((30, 30, 60, 50), (30, 24, 34, 29)), class_names=NAMES)
    ax.texts[1].set_visible(False)
    big_tag = tag_frames(ax)[0]
    x1, y2 = ax.transData.transform((30, 24))
    x2, y1 = ax.transData.transform((34, 29))
    assert big_tag[0] >= x2 or big_tag[2] <= x1 or big_tag[1] >= y2 or big_tag[3] <= y1


def test_tags_move_with_the_figure(image):
    ax = plotting.show(image, target((30, 20, 70, 50)), class_names=NAMES)
    tag_frames(ax)
    ax.figure.set_size_inches(2.5, 2.5)
    frame = tag_frames(ax)[0]
    left, top = ax.transData.transform((30, 20))
    assert frame[:2] == pytest.approx([left, top], abs=1.5)


def test_two_drawings_on_one_axes_share_a_layer_of_tags(image):
    ax = plotting.show(image, target((30, 20, 70, 50)), class_names=NAMES)
    plotting.show(image, detections((30, 20, 70, 50)), class_names=NAMES, ax=ax)
    assert sum(isinstance(artist, TagLayer) for artist in ax.artists) == 1
    first, second = tag_frames(ax)
    assert first[3] <= second[1] or second[3] <= first[1] or first[2] <= second[0]


# ---- matches


def test_match_detections_by_hand():
    truth = target((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), labels=[0, 0, 1])
    found = detections(
        (0, 0, 10, 8),  # IoU 0.8 with object 0
        (0, 0, 10, 10),  # exact, but with a lower score: object 0 is taken
        (20, 0, 30, 4),  # IoU 0.4 with object 1
        (40, 0, 50, 10),  # exact on object 2, but of another class
        (40, 0, 50, 5),  # IoU exactly 0.5 with object 2
        labels=[0, 0, 0, 0, 1],
        scores=[0.9, 0.8, 0.7, 0.6, 0.5],
    )
    assert plotting.match_detections(found, truth).tolist() == [0, -1, -1, -1, 2]
    loose = plotting.match_detections(found, truth, iou_threshold=0.4)
    assert loose.tolist() == [0, -1, 1, -1, 2]


def test_match_goes_by_score_and_not_by_order():
    truth = target((0, 0, 10, 10), labels=[0])
    found = detections((0, 0, 10, 10), (0, 0, 10, 8), labels=[0, 0], scores=[0.3, 0.9])
    assert plotting.match_detections(found, truth).tolist() == [-1, 0]


def test_match_takes_the_nearest_free_object():
    truth = target((0, 0, 10, 10), (0, 0, 10, 9), labels=[0, 0])
    found = detections((0, 0, 10, 9), (0, 0, 10, 9), (0, 0, 10, 9), labels=[0] * 3)
    assert plotting.match_detections(found, truth).tolist() == [1, 0, -1]


def test_crowds_are_neither_right_nor_wrong(image):
    truth = target((0, 0, 50, 50), (60, 10, 80, 30), labels=[0, 0])
    truth["iscrowd"] = torch.tensor([1, 0])
    found = detections(
        (1, 1, 9, 9), (20, 20, 40, 40), (60, 10, 80, 30), (85, 40, 95, 55), labels=[0] * 4
    )
    assert plotting.match_detections(found, truth).tolist() == [-2, -2, 1, -1]
    ax = plotting.show_matches(image, found, truth, class_names=NAMES)
    assert sorted(tags(ax)) == ["✓ person 0.63", "✗ person 0.50"]  # and no missed crowd


def test_matches_differ_in_line_style_and_mark(image):
    truth = target((10, 10, 30, 40), (50, 5, 90, 55), labels=[0, 2])
    found = detections(
        (10, 10, 30, 38), (0, 45, 9, 60), (50, 5, 90, 55), labels=[0, 1, 2], scores=[0.9, 0.5, 0.1]
    )
    ax = plotting.show_matches(image, found, truth, class_names=NAMES)
    assert outlines(ax) == {
        (10, 10, 30, 38): ("solid", style.FOUND),
        (0, 45, 9, 60): ("dashed", style.FALSE_ALARM),
        (50, 5, 90, 55): ("dotted", style.MISSED),  # its detection scores below 0.3
    }
    assert sorted(tags(ax)) == ["missed car", "✓ person 0.90", "✗ phone 0.50"]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["✓ true positive", "✗ false positive", "missed object"]
    strict = plotting.show_matches(
        image, found, truth, iou_threshold=0.95, min_score=0.0, legend=False
    )
    marks = sorted(text.split()[0] for text in tags(strict))
    assert marks == ["missed", "✓", "✗", "✗"] and strict.get_legend() is None


def test_matches_without_anything(image):
    ax = plotting.show_matches(image, detections(), target())
    assert len(ax.patches) == 0
    assert tags(plotting.show_matches(image, detections(), target((1, 1, 9, 9)))) == [
        "missed class 0"
    ]
    with pytest.raises(ValueError, match=r"detections lacks \['scores'\]"):
        plotting.show_matches(image, target(), target())


def test_match_legend_of_a_figure_leaves_room(image):
    figure, axes = plt.subplots(1, 2, layout="constrained")
    for ax in axes:
        plotting.show_matches(image, detections(), target(), ax=ax, legend=False)
    plotting.match_legend(figure)
    figure.canvas.draw()
    assert figure.legends[0].get_window_extent().y1 <= axes[0].bbox.y0 + 1


# ---- grid


class Scenes(torch.utils.data.Dataset):
    class_names = NAMES

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return torch.rand(3, 48, 64), target((4, 4, 20, 20), labels=[index % 3])


def test_grid_numbers_the_classes_and_explains_them():
    figure = plotting.show_grid(Scenes(7), columns=3, max_images=5)
    assert len(figure.axes) == 5
    assert [tags(ax) for ax in figure.axes] == [["0"], ["1"], ["2"], ["0"], ["1"]]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["0 person", "1 phone", "2 car"]
    figure.canvas.draw()
    tops = [round(ax.bbox.y1) for ax in figure.axes]
    assert tops[0] == tops[1] == tops[2] > tops[3] == tops[4]
    assert figure.legends[0].get_window_extent().y1 <= min(ax.bbox.y0 for ax in figure.axes)


def test_grid_of_matches():
    found = [detections((4, 4, 20, 20), labels=[0]) for _ in range(2)]
    figure = plotting.show_grid(Scenes(2), detections=found)
    assert [sorted(tags(ax)) for ax in figure.axes] == [["✓"], ["?", "✗"]]
    assert figure.legends[0].get_texts()[2].get_text() == "? missed object"


def test_grid_without_names_or_labels():
    plain = [Scenes(2)[0], Scenes(2)[1], (torch.rand(3, 9, 9), None)]
    figure = plotting.show_grid(plain)
    assert figure.legends == [] and tags(figure.axes[1]) == ["1"]
    figure = plotting.show_grid(plain, labels=False, class_names=NAMES)
    assert figure.legends == [] and tags(figure.axes[1]) == []


def test_grid_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="nothing to draw: 0 samples"):
        plotting.show_grid([])
    with pytest.raises(ValueError, match="1 detections for 3 samples"):
        plotting.show_grid(Scenes(3), detections=[detections()])
    with pytest.raises(ValueError, match=r"= 2, expected a label in 0 … 1"):
        plotting.show_grid(Scenes(3), class_names=NAMES[:2])


def test_grid_is_quick():
    start = time.process_time()
    plotting.show_grid(Scenes(24), columns=6).canvas.draw()
    assert time.process_time() - start < 4  # about 1 s on a free core


# ---- who learns what


@pytest.fixture
def lesson():
    """Two objects; of six locations one learns the first, two the second, one is ignored."""
    points = torch.tensor([[10, 10], [30, 10], [50, 10], [70, 10], [90, 10], [90, 30]]).float()
    assigned = torch.tensor([0, 1, 1, -1, -2, -1])
    return target((5, 5, 20, 20), (25, 5, 60, 20)), points, assigned


def scatters(ax):
    """Colour and positions of every group of markers that belongs to an object."""
    return [
        (
            to_hex(group.get_facecolor()[0]) if len(group.get_facecolor()) else None,
            group.get_offsets(),
        )
        for group in ax.collections
        if hasattr(group, "get_sizes")
    ]


def test_assignment_gives_each_object_letter_colour_and_shape(image, lesson):
    objects, points, assigned = lesson
    ax = plotting.show_assignment(image, objects, points, assigned)
    assert tags(ax) == ["● A ×1", "■ B ×2"]
    (first, at_first), (second, at_second) = scatters(ax)
    assert (first, second) == (style.PALETTE[0], style.PALETTE[1])
    assert at_first.tolist() == [[10, 10]] and at_second.tolist() == [[30, 10], [50, 10]]
    assert {colour for _, colour in outlines(ax).values()} == {first, second}
    round_one, square = (g.get_paths()[0].vertices for g in ax.collections)
    assert len(round_one) > len(square)  # a circle has more vertices than a square


def test_assignment_shows_background_and_ignored(image, lesson):
    ax = plotting.show_assignment(image, *lesson)
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["background"].get_xydata().tolist() == [[70, 10], [90, 30]]
    assert lines["ignored"].get_xydata().tolist() == [[90, 10]]
    assert lines["background"].get_marker() == "o" and lines["ignored"].get_marker() == "x"
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["background", "ignored"]
    assert plotting.show_assignment(image, *lesson, legend=False).get_legend() is None


def test_object_that_nobody_learns_counts_zero(image, lesson):
    objects, points, _ = lesson
    ax = plotting.show_assignment(image, objects, points, torch.full((6,), -1))
    assert tags(ax) == ["● A ×0", "■ B ×0"] and len(ax.patches) == 2


def test_weights_scale_the_area_of_markers(image, lesson):
    weights = torch.tensor([1.0, 0.5, 0.0, 9.0, 9.0, 9.0]) / 9
    ax = plotting.show_assignment(image, *lesson, weights=weights * 9 / 9)
    first, second = (group.get_sizes() for group in ax.collections)
    full = plotting.show_assignment(image, *lesson).collections[0].get_sizes()[0]
    assert first / full == pytest.approx(0.1 + 0.9 / 9)
    assert second / full == pytest.approx([0.1 + 0.45 / 9, 0.1])


def test_stride_scales_markers_and_draws_cells(image, lesson):
    ax = plotting.show_assignment(image, *lesson, stride=torch.tensor([2.0, 4, 16, 1, 1, 1]))
    (first,), second = (g.get_sizes() for g in ax.collections)
    assert first <= second[0] < second[1]
    ax = plotting.show_assignment(image, *lesson, stride=20)
    columns, rows = (group.get_segments() for group in ax.collections[:2])
    assert [segment[0, 0] for segment in columns] == [0, 20, 40, 60, 80, 100]
    assert [segment[0, 1] for segment in rows] == [0, 20, 40, 60]


def test_anchors_of_objects_are_drawn_thin_in_their_colour(image, lesson):
    objects, points, assigned = lesson
    anchors = torch.cat([points - 4, points + 4], dim=1)
    ax = plotting.show_assignment(image, objects, None, assigned, anchors=anchors)
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
    ax = plotting.show_assignment(image, target(*rows, labels=[0] * 30), points, torch.arange(30))
    assert tags(ax)[12] == "▼ M ×1" and tags(ax)[25:28] == ["■ Z ×1", "▲ AA ×1", "◆ AB ×1"]
    looks = {(style.colour_of(i), style.marker_of(i)) for i in range(24)}
    assert len(looks) == 24  # colour and shape together repeat only after 24
    ax.figure.canvas.draw()


def test_assignment_without_objects_or_locations(image):
    ax = plotting.show_assignment(
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
        plotting.show_assignment(image, **arguments)


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
    assert (background[..., 0] == background[..., 2]).all() and background.max() < 0.66


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


# ---- charts


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
    looks = [(line.get_color(), line.get_linestyle()) for line in ax.lines]
    assert len(set(looks)) == 4


def test_pr_curves_of_many_classes_label_the_extremes():
    ax = plotting.plot_pr_curves(metrics_of(20))
    labelled = [line for line in ax.lines if not line.get_label().startswith("_")]
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
    assert len({(lines[n].get_color(), lines[n].get_linestyle()) for n in ("heatmap", "box")}) == 2
    points = {line.get_label(): line.get_xydata().tolist() for line in measured.lines}
    assert points == {"AP50 0.61": [[25, 0.4], [50, 0.61]], "AP 0.30": [[25, 0.2], [50, 0.3]]}
    assert rate.lines[0].get_ydata().tolist() == [1e-3] * 50
    assert loss.get_xlim() == measured.get_xlim() == rate.get_xlim()


def test_history_without_evaluation_or_with_one_step_or_term():
    assert len(plotting.plot_history(history()).child_axes) == 2
    short = history(steps=1)
    short.losses = {"loss": short.total}
    loss = plotting.plot_history(short).child_axes[0]
    assert [t.get_text() for t in loss.get_legend().get_texts()] == ["loss"]
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


def test_errors_are_sorted_and_numbered():
    ax = plotting.plot_errors({"missed": 0.2, "both": 0.004}, counts={"missed": 14, "both": 3})
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == [0.004, 0.2]  # the last one is on top
    assert [label.get_text() for label in ax.get_yticklabels()] == ["both", "missed"]
    assert tags(ax) == ["0.004  (3×)", "0.200  (14×)"]
    assert tags(plotting.plot_errors({"missed": 0.2})) == ["0.200"]
    with pytest.raises(ValueError, match=r"counts lacks \['missed'\]"):
        plotting.plot_errors({"missed": 0.2}, counts={"both": 1})
    with pytest.raises(ValueError, match="empty"):
        plotting.plot_errors({})


# ---- the style


def test_importing_changes_nothing_and_use_style_does():
    assert matplotlib.rcParams["font.size"] == DEFAULTS["font.size"]
    plotting.use_style()
    assert matplotlib.rcParams["font.size"] >= 11
    assert matplotlib.rcParams["figure.facecolor"] == "#ffffff"
    assert not matplotlib.rcParams["savefig.transparent"]
    looks = [(p["color"], str(p["linestyle"])) for p in matplotlib.rcParams["axes.prop_cycle"]]
    assert len(set(looks)) == len(looks) >= 8


def test_everything_draws_in_the_book_style_without_a_warning(image, lesson, tmp_path):
    plotting.use_style()
    figures = [
        plotting.show(image, detections((1, 1, 9, 9)), class_names=NAMES).figure,
        plotting.show_matches(image, detections((1, 1, 9, 9)), target((50, 9, 90, 50))).figure,
        plotting.show_assignment(image, *lesson, stride=20).figure,
        plotting.show_heatmap(image, torch.rand(6, 10)).figure,
        plotting.show_grid(Scenes(3)),
        plotting.plot_history(history(val=[(50, {"ap": 0.3, "ap50": 0.6})])).figure,
        plotting.plot_pr_curves(metrics_of(4)).figure,
        plotting.plot_errors({"missed": 0.2}).figure,
    ]
    for figure in figures:
        figure.savefig(tmp_path / "figure.png", bbox_inches="tight")
        assert figure.get_figwidth() <= 7
        sizes = [t.get_fontsize() for t in figure.findobj(plt.Text) if t.get_text().strip()]
        assert min(sizes) >= 9.5  # 7.6 pixels where a figure of 7 inches is 400 pixels wide


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
