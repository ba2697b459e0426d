"""The one door at which samples and detections are checked."""

import math

import pytest
import torch

from detlearn.boxes import complete_box_iou
from detlearn.samples import (
    check_images,
    check_objects,
    check_shapes,
    check_targets,
    first_fault,
    has_usual_pixels,
    warn_of_pixels,
)

BOX = [[2.0, 3.0, 10.0, 12.0]]
IMAGE = torch.rand(3, 20, 30)


def target(boxes=BOX, labels=(0,)):
    return {"boxes": torch.tensor(boxes).view(-1, 4), "labels": torch.tensor(labels).long()}


class TestImages:
    def test_good_ones_pass(self):
        check_images([IMAGE, torch.zeros(3, 1, 1)])
        check_images((IMAGE,))

    @pytest.mark.parametrize(
        ("images", "error", "words"),
        [
            (
                torch.rand(2, 3, 4, 4),
                TypeError,
                r"one tensor of shape \(2, 3, 4, 4\).*list\(images",
            ),
            ([], ValueError, "images is empty"),
            ([IMAGE, "cat.jpg"], TypeError, "image 1 is str: expected a float tensor"),
            ([IMAGE, (IMAGE * 255).byte()], TypeError, r"image 1 is torch.uint8"),
            ([torch.rand(1, 4, 4)], ValueError, r"image 0 has shape \(1, 4, 4\).*\(3, H, W\)"),
            ([torch.rand(4, 4, 3)], ValueError, r"image 0 has shape \(4, 4, 3\)"),
            ([IMAGE[None]], ValueError, r"image 0 has shape \(1, 3, 20, 30\)"),
            ([torch.rand(3, 0, 4)], ValueError, r"image 0 has shape \(3, 0, 4\)"),
            ([IMAGE, IMAGE, IMAGE * math.nan], ValueError, "image 2 holds pixels that are NaN"),
            ([IMAGE / 0], ValueError, "image 0 holds pixels that are NaN or infinite"),
            ([IMAGE, -IMAGE / 0], ValueError, "image 1 holds pixels that are NaN or infinite"),
            ([IMAGE.to_sparse()], TypeError, r"image 0 is sparse.*sparse_coo.*dense.*to_dense\(\)"),
            ([IMAGE, IMAGE.to("meta")], TypeError, "image 1 is on the device meta.*no numbers"),
            ([IMAGE.to(torch.complex64)], TypeError, "image 0 is torch.complex64: expected a flo"),
        ],
    )
    def test_bad_ones_are_named(self, images, error, words):
        with pytest.raises(error, match=words):
            check_images(images)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_the_range_of_the_pixels_is_found(self, dtype):
        first, second = torch.full((3, 4, 5), 0.5), torch.full((3, 2, 2), 0.25)
        first[2, 3, 4], second[0, 0, 0] = 2.5, -0.75
        assert check_images([first.to(dtype), second.to(dtype)]) == (-0.75, 2.5)
        assert check_images([first.to(dtype).requires_grad_()]) == (0.5, 2.5)

        # One pixel, wherever it is.
        for bad in (math.nan, math.inf, -math.inf):
            second[2, 1, 1] = bad
            with pytest.raises(ValueError, match="image 1 holds pixels that are NaN or infinite"):
                check_images([first.to(dtype), second.to(dtype)])

    def test_what_an_interpolation_overshoots_is_usual(self):
        assert has_usual_pixels(0.0, 1.0) and has_usual_pixels(-0.1, 1.1)
        assert not has_usual_pixels(-0.11, 1.0) and not has_usual_pixels(0.0, 1.11)

    @pytest.mark.parametrize(
        ("lowest", "highest", "words"),
        [
            (
                0.0,
                255.0,
                r"pixels from 0 to 255, .*in \[0, 1\]: divide pixels from 0 to 255 by 255",
            ),
            (0.0, 1.5, "pixels from 0 to 1.5, .*by 255"),
            (0.0, 280.0, "from 0 to 280, .*by 255"),
            (0.0, 300.0, "from 0 to 300, .*65 535 if it has 16 bits"),
            (-2.118, 2.64, "from -2.118 to 2.64, .*normalised already"),
            (-1.0, 1.0, "from -1 to 1, .*normalised already"),
        ],
    )
    def test_the_warning_names_the_range_and_the_likely_cause(self, lowest, highest, words):
        with pytest.warns(UserWarning, match=words) as caught:
            warn_of_pixels(lowest, highest)
        assert caught[0].filename == __file__


class TestTargets:
    def test_good_ones_pass(self):
        check_targets([IMAGE], [target()], 1)
        check_targets([IMAGE], [target([], [])], 1)
        partly_outside = target([[-5.0, -5.0, 1.0, 1.0], [29.0, 19.0, 99.0, 99.0]], [0, 2])
        check_targets([IMAGE], [partly_outside], 3)

    @pytest.mark.parametrize(
        ("bad", "error", "words"),
        [
            (
                target([[math.nan, 0, 1, 1]]),
                ValueError,
                r"targets\[1\]\['boxes'\]\[0\] = .*is not finite",
            ),
            (
                target([[0, 0, math.inf, 1]]),
                ValueError,
                r"targets\[1\]\['boxes'\]\[0\] = .*is not finite",
            ),
            (target([*BOX, [5.0, 5, 5, 9]], [0, 0]), ValueError, r"\[1\] = .*no area.*x1 < x2"),
            (target([[5.0, 9, 7, 8]]), ValueError, r"\[0\] = .*has no area"),
            (target([[30.0, 0, 40, 9]]), ValueError, "outside its image of 30 × 20 pixels"),
            (target([[0.0, 20, 4, 25]]), ValueError, "outside its image"),
            (target([[-9.0, 0, 0, 9]]), ValueError, "outside its image"),
            (target([[0.0, -9, 4, 0]]), ValueError, "outside its image"),
            (
                target([*BOX, *BOX], [0, 3]),
                ValueError,
                r"\['labels'\]\[1\] = 3 is no label in 0 … 2",
            ),
            (target(BOX, [-1]), ValueError, r"\[0\] = -1 is no label"),
            (target(BOX, [0, 1]), ValueError, r"targets\[1\]\['labels'\].*\(2,\); expected \(1,\)"),
            ({"boxes": torch.tensor(BOX)}, ValueError, r"targets\[1\] lacks \['labels'\]"),
            (
                {**target(), "boxes": torch.tensor([[1, 2, 3, 4]])},
                TypeError,
                "boxes.*torch.int64; expected float",
            ),
            (
                {**target(), "labels": torch.tensor([0.0])},
                TypeError,
                "labels.*torch.float32; expected int64",
            ),
            (target([[0.0, 0, 1e19, 1]]), ValueError, r"\[0\] = .* 1e\+18 pixels away or more"),
            (target([[-1e18, 0, 1, 1]]), ValueError, "its area is no float32"),
            ({**target(), "boxes": torch.tensor(BOX).to_sparse()}, TypeError, "boxes.*is sparse"),
            ({**target(), "boxes": torch.tensor(BOX, device="meta")}, TypeError, "device meta"),
            (
                {**target(), "labels": torch.zeros(1, dtype=torch.int64, device="meta")},
                TypeError,
                r"targets\[1\]\['labels'\] is on the device meta",
            ),
        ],
    )
    def test_bad_ones_are_named(self, bad, error, words):
        with pytest.raises(error, match=words):
            check_targets([IMAGE, IMAGE], [target(), bad], 3)

    def test_counts(self):
        with pytest.raises(ValueError, match="2 images came with 1 targets"):
            check_targets([IMAGE, IMAGE], [target()], 3)
        with pytest.raises(TypeError, match=r"needs targets; call model.eval\(\)"):
            check_targets([IMAGE], None, 3)


def objects(*rows, **columns):
    boxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": boxes, **{key: torch.tensor(values) for key, values in columns.items()}}


class TestShapes:
    @pytest.mark.parametrize(
        ("bad", "error", "words"),
        [
            (torch.zeros(1, 4), TypeError, r"found is a Tensor; expected a dictionary with \['b"),
            ({"labels": torch.tensor([1])}, ValueError, r"lacks \['boxes'\]; it has \['labels'\]"),
            ({"boxes": [[0, 0, 1, 1]]}, TypeError, r"found\['boxes'\] is a list; expected a ten"),
            ({"boxes": torch.zeros(4)}, ValueError, r"\(4,\); expected \(N, 4\).*zeros\(0, 4\)"),
            ({"boxes": torch.zeros(0, 5)}, ValueError, r"\(0, 5\); expected \(N, 4\)"),
            (objects(*BOX, labels=[0, 1]), ValueError, r"\['labels'\].*\(2,\); expected \(1,\)"),
            (objects(*BOX, labels=[[0]]), ValueError, r"\['labels'\] has shape \(1, 1\)"),
            (objects(*BOX, labels=[0.0]), TypeError, r"dtype torch.float32; expected int64"),
            (objects(*BOX, labels=[True]), TypeError, r"dtype torch.bool; expected int64"),
            (objects(*BOX, scores=[0.5, 0.5]), ValueError, r"\['scores'\].*\(2,\); expected"),
            (objects(*BOX, area=[]), ValueError, r"\['area'\].*\(0,\); expected \(1,\), one for e"),
            (objects(*BOX, iscrowd=[0, 0]), ValueError, r"\['iscrowd'\] has shape"),
            (objects(*BOX, difficult=[0, 0]), ValueError, r"\['difficult'\] has shape"),
            (objects(*BOX, scores=[0.5j]), TypeError, r"\['scores'\].*complex64; expected real"),
            (objects(*BOX, labels=[1j]), TypeError, r"\['labels'\].*complex64; expected real"),
            ({"boxes": torch.zeros(1, 4) * 1j}, TypeError, r"\['boxes'\].*complex64; expected re"),
            (
                {"boxes": torch.zeros(1, 4).to_sparse()},
                TypeError,
                r"\['boxes'\] is sparse.*to_dens",
            ),
        ],
    )
    def test_bad_ones_are_named(self, bad, error, words):
        with pytest.raises(error, match=words):
            check_shapes(bad, "found", ("boxes",))

    def test_none_may_be_an_empty_tensor_except_for_training(self):
        none = {"boxes": torch.tensor([]), "labels": torch.tensor([]).long()}
        check_objects(none, "found", ("boxes", "labels"))
        with pytest.raises(ValueError, match=r"\(0,\); expected \(N, 4\)"):
            check_objects(none, "found", ("boxes", "labels"), for_training=True)

    def test_small_integers_are_labels_except_for_training(self):
        short = objects(*BOX, labels=[1]) | {"labels": torch.tensor([1], dtype=torch.uint8)}
        check_objects(short, "found", ("boxes", "labels"))
        with pytest.raises(TypeError, match=r"torch\.uint8; expected int64"):
            check_objects(short, "found", ("boxes", "labels"), for_training=True)


class TestNumbers:
    def test_the_first_fault_by_hand(self):
        boxes = torch.tensor([[0.0, 0, 9, 9], [5, 5, 5, 9], [9, 0, 2, 4], [math.inf, 0, 2, 4]])
        labels = torch.tensor([0, 2, -1, 0])
        assert first_fault(boxes[:2], labels[:2]) is None
        assert first_fault(boxes)[:2] == ("boxes", 3)
        assert first_fault(boxes[:3])[:3] == ("boxes", 2, [9, 0, 2, 4])
        assert first_fault(torch.tensor([[0.0, 9, 2, 4]])).row == 0  # inverted in y alone
        assert first_fault(boxes[:3], for_training=True)[:3] == ("boxes", 1, [5, 5, 5, 9])
        assert first_fault(boxes[:2], labels[:2], num_classes=2)[:3] == ("labels", 1, 2)
        assert first_fault(boxes[1:2], labels[2:3])[:3] == ("labels", 0, -1)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.int64])
    def test_a_corner_so_far_away_that_the_area_overflows(self, dtype):
        """The largest boxes that pass still have an IoU; in float32 (2e18)² · 2 is a number."""
        large = 0.999e18 if dtype != torch.float16 else 65504.0
        boxes = torch.tensor([[-large, -large, large, large]] * 2, dtype=torch.float64).to(dtype)
        assert first_fault(boxes) is None
        assert complete_box_iou(boxes.float(), boxes.float()).tolist() == [[1, 1], [1, 1]]
        if dtype != torch.float16:
            boxes[1, 2] = int(1e18)
            fault = first_fault(boxes)
            assert fault[:2] == ("boxes", 1) and "1e+18 pixels away" in fault.why
        if dtype == torch.float64:
            boxes[0, 1] = -1e300  # finite, but no float32
            assert first_fault(boxes)[:2] == ("boxes", 0)

    def test_a_box_on_the_border_touches_its_image(self):
        inside = torch.tensor([[29.0, 19.0, 40.0, 40.0], [-5.0, -5.0, 1.0, 1.0]])
        assert first_fault(inside, image_size=(20, 30)) is None
        for outside in ([30.0, 0, 40, 9], [0.0, 20, 4, 25], [-9.0, 0, 0, 9], [0.0, -9, 4, 0]):
            boxes = torch.tensor([[0.0, 0, 1, 1], outside])
            assert first_fault(boxes) is None
            assert first_fault(boxes, image_size=(20, 30)).row == 1

    def test_the_message_names_object_value_and_remedy(self):
        inverted = objects(*BOX, [5.0, 0, 4, 1], labels=[0, 0])
        with pytest.raises(ValueError) as caught:
            check_objects(inverted, "detections[7]", ("boxes",))
        assert str(caught.value) == (
            "detections[7]['boxes'][1] = [5.0, 0.0, 4.0, 1.0] is inverted: expected x1 <= x2 and "
            "y1 <= y2; boxes.box_convert changes other formats to xyxy"
        )
