"""`detlearn.plotting`: what is drawn is counted, placed, styled and named as it should be.

Pictures themselves are not compared. The tests look at the artists on the axes: patches (boxes),
texts (tags), lines and collections (locations), so each of them fails when the figure would tell
the reader something else.
"""

import time

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from drawn import NAMES, Scenes, boxes, detections, outlines, tags, target

from detlearn import plotting
from detlearn.plotting import style
from detlearn.plotting.draw import image_array
from detlearn.plotting.tags import TagLayer


@pytest.fixture(autouse=True)
def clean_matplotlib():
    """Every test starts from matplotlib's defaults and leaves no figure open."""
    with matplotlib.rc_context():
        yield
    plt.close("all")


@pytest.fixture
def image():
    return torch.rand(3, 60, 100, generator=torch.Generator().manual_seed(0))


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


def test_none_may_be_an_empty_tensor(image):
    none = {"boxes": torch.tensor([]), "labels": torch.tensor([]).long()}
    assert len(plotting.show(image, none).patches) == 0
    found = detections((1, 1, 9, 9))
    assert plotting.match_detections(found, none).tolist() == [-1]
    assert plotting.count_mistakes(none | {"scores": torch.tensor([])}, none) == 0


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
    assert tags(plotting.show_locations(image, truth, points, assigned)) == ["● A ×1"]
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
        ({"boxes": torch.zeros(4)}, ValueError, r"\(4,\); expected \(N, 4\)"),
        (target((1, 1, 2, 2), (9, 1, 2, 2)), ValueError, r"\['boxes'\]\[1\].*9"),
        (target((1, 1, 2, float("nan"))), ValueError, r"\['boxes'\]\[0\].*nan"),
        (target((1, 1, 2, 2), labels=[0, 1]), ValueError, r"\['labels'\].*\(2,\); expected \(1,\)"),
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


def test_mistakes_are_those_that_the_picture_marks(image):
    truth = target((10, 10, 30, 40), (50, 5, 90, 55), (0, 0, 9, 9), labels=[0, 2, 1])
    truth["iscrowd"] = torch.tensor([0, 0, 1])  # never missed
    found = detections(
        (10, 10, 30, 38), (0, 45, 9, 60), (50, 5, 90, 55), labels=[0, 1, 2], scores=[0.9, 0.5, 0.1]
    )
    # One false positive; the detection of the second object scores below 0.3.
    assert plotting.count_mistakes(found, truth) == 2
    assert plotting.count_mistakes(found, truth, min_score=0.0) == 1
    assert plotting.count_mistakes(found, truth, iou_threshold=0.95) == 4
    assert plotting.count_mistakes(detections(), target()) == 0
    assert [text[0] for text in tags(plotting.show_matches(image, found, truth))] == ["m", "✗", "✓"]


# ---- sketches


def test_paper_is_in_pixels_with_y_down():
    ax = plotting.pixel_axes((5, 105), (10, 60), title="two boxes")
    assert ax.get_xlim() == (5, 105) and ax.get_ylim() == (60, 10)
    assert ax.get_aspect() == 1 and ax.get_title() == "two boxes"
    assert len(ax.get_xticks()) == len(ax.get_yticks()) == 0
    width, height = ax.figure.get_size_inches()
    assert width == pytest.approx(2 * height)
    _, given = plt.subplots()
    assert plotting.pixel_axes((0, 1), (0, 1), ax=given) is given
    with pytest.raises(ValueError, match=r"ylim = \(60, 10\): expected \(first, last\)"):
        plotting.pixel_axes((5, 105), (60, 10))


def test_sketched_boxes_look_as_asked():
    ax = plotting.pixel_axes((0, 100), (0, 60))
    plotting.draw_boxes(ax, boxes((1, 2, 30, 40), (5, 5, 50, 50)))
    plotting.draw_boxes(
        ax, [10, 10, 20, 20], colour="#b42400", linestyle=style.DASHED, fill="#ffcc00", alpha=0.5
    )
    assert outlines(ax) == {
        (1, 2, 30, 40): ("solid", style.INK),
        (5, 5, 50, 50): ("solid", style.INK),
        (10, 10, 20, 20): ("dashed", "#b42400"),
    }
    first, _, last = ax.patches
    assert not first.get_fill() and last.get_fill() and last.get_alpha() == 0.5
    assert matplotlib.colors.to_hex(last.get_facecolor()) == "#ffcc00"


def test_sketched_boxes_are_named():
    ax = plotting.pixel_axes((0, 100), (0, 60))
    plotting.draw_boxes(ax, boxes((1, 2, 30, 40), (5, 5, 50, 50)), names=["A", "B"], weight=0.5)
    assert tags(ax) == ["A", "B"]
    thin = ax.patches[0].get_linewidth()
    plotting.draw_boxes(ax, boxes((1, 2, 30, 40)))
    assert ax.patches[-1].get_linewidth() == pytest.approx(2 * thin)
    with pytest.raises(ValueError, match="1 names for 2 boxes"):
        plotting.draw_boxes(ax, boxes((1, 2, 30, 40), (5, 5, 50, 50)), names=["A"])
    with pytest.raises(ValueError, match=r"\[0\] = .* is inverted"):
        plotting.draw_boxes(ax, [30, 2, 1, 40])
    plotting.draw_boxes(ax, torch.zeros(0, 4))  # none is no mistake


# ---- grid


def test_grid_numbers_the_classes_and_explains_them():
    figure = plotting.show_grid(Scenes(7), columns=3, max_images=5)
    assert len(figure.axes) == 5
    assert [tags(ax) for ax in figure.axes] == [["0"], ["1"], ["2"], ["0"], ["1"]]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["0 person", "1 phone", "2 car"]
    figure.canvas.draw()
    tops = [round(ax.bbox.y1) for ax in figure.axes]
    assert tops[0] == tops[1] == tops[2] > tops[3] == tops[4]
    assert figure.legends[0].get_window_extent().y1 <= min(ax.bbox.y0 for ax in figure.axes)


def test_grid_rows_are_as_high_as_their_scenes():
    scenes = [(torch.rand(3, h, 40), target()) for h in (40, 40, 80, 60)]
    figure = plotting.show_grid(scenes, columns=2)
    figure.canvas.draw()
    heights = [ax.bbox.height for ax in figure.axes]
    assert heights[2] == pytest.approx(2 * heights[0], rel=0.03)
    assert heights[0] == pytest.approx(figure.bbox.width / 2, rel=0.05)


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
    with pytest.raises(ValueError, match=r"target 2\['labels'\]\[0\] = 2 is no label in 0 … 1"):
        plotting.show_grid(Scenes(3), class_names=NAMES[:2])


def test_grid_is_quick():
    start = time.process_time()
    plotting.show_grid(Scenes(24), columns=6).canvas.draw()
    assert time.process_time() - start < 4  # about 1 s on a free core
