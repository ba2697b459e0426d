"""`plotting.show_mistakes`: the right mistake is shown, its words are true, nothing is cut off."""

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from drawn import NAMES, detections, outlines, target

from detlearn import plotting
from detlearn.metrics import ERROR_KINDS, error_analysis
from detlearn.plotting import style
from detlearn.plotting.mistakes import crop_start, surest_mistake

TRUTH = ("dashed", style.DARK)
WRONG = ("solid", style.FALSE_ALARM)
MISSED = ("dotted", style.MISSED)


@pytest.fixture(autouse=True)
def clean_matplotlib():
    """Every test starts from matplotlib's defaults and leaves no figure open."""
    with matplotlib.rc_context():
        yield
    plt.close("all")


def images(count, height=128, width=128):
    """Images that differ: image i is grey, i tenths of white."""
    return [(torch.full((3, height, width), i / 10), None) for i in range(count)]


def drawn(found, truth, samples=None, **more):
    """The panels of the figure: title without line breaks → axes."""
    samples = images(len(truth)) if samples is None else samples
    analysis = error_analysis(found, truth, num_classes=3)
    more = {"class_names": NAMES} | more
    figure = plotting.show_mistakes(samples, found, truth, analysis, **more)
    figure.canvas.draw()
    return {ax.get_title().replace("\n", " "): ax for ax in figure.axes if ax.get_title()}


def one_of_each():
    """Two images, in them each of the six kinds; the class 0 is a person, 1 a phone, 2 a car.

    In the first a phone where a person is (IoU 400 / 500), and a person of which half is seen: IoU
    200 / 400 = 0.5 would be right, 190 / 400 is not. In the second a right car with a worse one
    above it, something on the empty ground, a phone that is half a car, and a missed phone.
    """
    truth = [
        target((10, 10, 30, 30), (60, 60, 80, 80), labels=[0, 0]),
        target((10, 10, 30, 30), (80, 80, 120, 120), (50, 10, 60, 20), labels=[2, 2, 1]),
    ]
    found = [
        detections((10, 10, 35, 30), (60, 60, 79, 70), labels=[1, 0], scores=[0.7, 0.6]),
        detections(
            (10, 10, 30, 30),
            (10, 10, 30, 26),
            (20, 100, 40, 110),
            (80, 80, 100, 100),
            labels=[2, 2, 0, 1],
            scores=[0.9, 0.8, 0.4, 0.3],
        ),
    ]
    return found, truth


def test_each_kind_says_what_was_seen_and_what_is_there():
    found, truth = one_of_each()
    panels = drawn(found, truth, kinds=ERROR_KINDS)
    assert list(panels) == [
        "classification: phone 0.70 (a person, IoU 0.80)",
        "localisation: person 0.60 (a person, IoU 0.47)",
        "both: phone 0.30 (a car, IoU 0.25)",
        "duplicate: car 0.80 (a car, IoU 0.80)",
        "background: person 0.40",
        "missed: car",  # the car that is half a phone is larger than the phone
    ]


def test_wrong_is_solid_missed_dotted_and_all_else_thin_and_dashed():
    found, truth = one_of_each()
    wrong, poor, background, missed = drawn(found, truth).values()

    people = {(10, 10, 30, 30): TRUTH, (60, 60, 80, 80): TRUTH}
    assert outlines(wrong) == people | {(10, 10, 35, 30): WRONG}
    assert outlines(poor) == people | {(60, 60, 79, 70): WRONG}

    second = {(10, 10, 30, 30): TRUTH, (50, 10, 60, 20): TRUTH, (80, 80, 120, 120): TRUTH}
    assert outlines(background) == second | {(20, 100, 40, 110): WRONG}
    assert outlines(missed) == second | {(80, 80, 120, 120): MISSED}

    truth_width, wrong_width = (patch.get_linewidth() for patch in wrong.patches[::2])
    assert truth_width < wrong_width / 2
    assert wrong.images[0].get_array()[0, 0, 0] == pytest.approx(0.0)  # image 0 is black
    assert missed.images[0].get_array()[0, 0, 0] == pytest.approx(0.1)


def test_the_surest_and_the_largest_are_shown():
    truth = [target((10, 10, 20, 20)), target((10, 10, 19, 19)), target((50, 50, 60, 60))]
    found = [
        detections((80, 80, 90, 90), labels=[0], scores=[0.5]),
        detections((70, 70, 90, 90), (90, 90, 99, 99), labels=[1, 0], scores=[0.2, 0.8]),
        detections((90, 90, 99, 99), labels=[2], scores=[0.8]),
    ]
    background, missed = drawn(found, truth, kinds=("background", "missed")).values()

    assert outlines(background) == {(10, 10, 19, 19): TRUTH, (90, 90, 99, 99): WRONG}
    assert background.get_title() == "background:\nperson 0.80"  # of two the first
    assert background.images[0].get_array()[0, 0, 0] == pytest.approx(0.1)
    assert outlines(missed) == {(10, 10, 20, 20): MISSED}  # as large as that of image 2
    assert missed.images[0].get_array()[0, 0, 0] == pytest.approx(0.0)


def test_area_is_what_makes_a_missed_object_large():
    truth = [target((0, 0, 100, 5), (0, 0, 30, 30), (50, 50, 53, 128))]
    found = [detections()]
    assert MISSED == outlines(*drawn(found, truth, kinds=["missed"]).values())[(0, 0, 30, 30)]


def test_an_object_under_a_mistake_or_in_a_crowd_is_not_missed():
    truth = [target((0, 0, 90, 90), (0, 0, 80, 80), (100, 100, 110, 110), labels=[0, 1, 2])]
    truth[0]["iscrowd"] = torch.tensor([True, False, False])
    found = [detections((0, 0, 80, 80), labels=[2], scores=[0.9])]  # covers the phone
    (missed,) = drawn(found, truth, kinds=["missed"]).values()
    assert missed.get_title() == "missed:\ncar"


def test_a_poor_box_is_compared_with_its_own_class():
    # It overlaps a phone with 0.4, a person with 0.3: a poor person, not a poor phone.
    truth = [target((0, 0, 40, 10), (0, 0, 30, 10), labels=[1, 0])]
    found = [detections((0, 0, 100, 10), labels=[0], scores=[0.9])]
    assert list(drawn(found, truth, kinds=["localisation"])) == [
        "localisation: person 0.90 (a person, IoU 0.30)"
    ]


def test_a_wrong_class_is_compared_with_the_other_classes():
    # The phone is a person (0.8); the phone that it also touches (0.05) is not what it means.
    truth = [target((0, 0, 40, 20), (45, 0, 50, 10), labels=[0, 1])]
    found = [detections((0, 0, 50, 20), labels=[1], scores=[0.9])]
    assert list(drawn(found, truth, kinds=["classification"])) == [
        "classification: phone 0.90 (a person, IoU 0.80)"
    ]


def test_a_crowd_is_not_what_a_mistake_is_about():
    truth = [target((0, 0, 50, 20), (0, 0, 40, 20), labels=[2, 0])]
    truth[0]["iscrowd"] = torch.tensor([True, False])
    found = [detections((0, 0, 50, 20), labels=[1], scores=[0.9])]
    assert list(drawn(found, truth, kinds=["classification"])) == [
        "classification: phone 0.90 (a person, IoU 0.80)"
    ]


def test_a_kind_without_mistakes_says_so():
    truth = [target((10, 10, 30, 30)), target()]
    found = [detections((10, 10, 30, 30)), detections()]
    panels = drawn(found, truth)
    assert list(panels) == [f"{kind}: none" for kind in plotting.mistakes.SHOWN]
    assert all(not ax.patches and not ax.images for ax in panels.values())


def test_no_mistake_is_found_where_there_is_none():
    truth, found = [target()], [detections()]
    assert surest_mistake(found, error_analysis(found, truth, 3), "background") is None


# ---- the crop


def shown(box, height=128, width=128):
    """x and y limits of the crop around a missed object."""
    panels = drawn(
        [detections()], [target(box)], images(1, height, width), kinds=["missed"], columns=1
    )
    (ax,) = panels.values()
    bottom, top = ax.get_ylim()  # y runs down
    return *ax.get_xlim(), top, bottom


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((60, 60, 68, 68), (40, 88, 40, 88)),  # small: 3/16 of 128 each side
        ((40, 44, 80, 84), (28, 92, 32, 96)),  # 0.8 · 40 each side of (60, 64)
        ((0, 0, 8, 8), (0, 48, 0, 48)),  # in a corner: as large, moved inside
        ((100, 88, 128, 128), (64, 128, 64, 128)),  # 0.8 · 40 = 32
        ((0, 50, 128, 60), (0, 128, 0, 128)),  # all of it, not 0.8 · 128 each side
    ],
)
def test_crop_by_hand(box, expected):
    assert shown(box) == pytest.approx(expected)


def test_crop_of_an_image_that_is_not_square():
    # A box of 200 × 20 in an image of 300 × 100: 320 pixels would do, all 300 are enough.
    assert shown((50, 40, 250, 60), height=100, width=300) == pytest.approx((0, 300, -100, 200))
    # A box of 20 × 60: 96 pixels, which fit both ways.
    assert shown((270, 30, 290, 90), height=100, width=300) == pytest.approx((204, 300, 4, 100))
    assert shown((30, 270, 90, 290), height=300, width=100) == pytest.approx((4, 100, 204, 300))


def test_every_box_inside_the_image_is_inside_its_crop():
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        length, half = 100, float(10 + 60 * torch.rand((), generator=generator))
        centre = float(100 * torch.rand((), generator=generator))
        start = crop_start(centre, half, length)
        reach = min(half / 0.8 / 2, centre, length - centre)  # half the box, cut at the border
        assert start <= centre - reach + 1e-9 and centre + reach <= start + 2 * half + 1e-9
        if 2 * half <= length:
            assert 0 <= start and start + 2 * half <= length + 1e-9  # nothing beyond the image


# ---- the figure as a whole


def test_panels_stand_in_rows_without_text_on_text():
    found, truth = one_of_each()
    with matplotlib.rc_context():
        style.use_style()
        panels = drawn(found, truth, kinds=ERROR_KINDS)

        axes = list(panels.values())
        figure = axes[0].figure
        assert figure.get_figwidth() == 5.6
        boxes = [ax.get_tightbbox() for ax in axes]
        columns = [round(box.x0) // 200 for box in boxes]
        assert columns == [0, 1] * 3
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
            assert box.x0 >= 0 and box.x1 <= figure.bbox.width + 1


def test_fewer_kinds_than_columns_leave_no_empty_place():
    found, truth = one_of_each()
    (panel,) = drawn(found, truth, kinds=["missed"], columns=3).values()
    assert len(panel.figure.axes) == 1
    three = drawn(found, truth, kinds=("missed", "both", "duplicate"), columns=2)
    assert len(next(iter(three.values())).figure.axes) == 4  # the fourth is empty
    assert not any(ax.axison for ax in next(iter(three.values())).figure.axes)


def test_names_come_from_the_data_set_or_are_numbers():
    class Named(list):
        class_names = ("a", "b", "c")

    found, truth = one_of_each()
    named = drawn(found, truth, Named(images(2)), class_names=None, kinds=["background"])
    assert list(named) == ["background: a 0.40"]
    bare = drawn(found, truth, class_names=None, kinds=["background"])
    assert list(bare) == ["background: class 0 0.40"]


# ---- the door


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"kinds": ["clasification"]}, "unknown kind of mistake 'clasification'.*'classification'"),
        ({"kinds": ["right"]}, "unknown kind of mistake 'right'"),
        ({"kinds": []}, "nothing to draw: 0 kinds"),
        ({"columns": 0}, "columns=0"),
        ({"samples": images(3)}, "3 samples, 2 detections, 2 targets, 2 images"),
        ({"class_names": ["person"]}, "label"),
    ],
)
def test_bad_input_is_named(more, says):
    found, truth = one_of_each()
    with pytest.raises(ValueError, match=says):
        drawn(found, truth, **more)


def test_lists_of_another_analysis_are_refused():
    found, truth = one_of_each()
    analysis = error_analysis(found, truth, num_classes=3)
    samples = images(2)
    with pytest.raises(ValueError, match="1 detections"):
        plotting.show_mistakes(samples, found[:1], truth, analysis)
    with pytest.raises(ValueError, match=r"image 0 has 4 detections and 3 objects.*2 and 2"):
        plotting.show_mistakes(samples, found[::-1], truth[::-1], analysis)
