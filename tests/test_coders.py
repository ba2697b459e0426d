"""The box coder: by hand, against torchvision's, there and back."""

import math

import pytest
import torch
from torch.testing import assert_close
from torchvision.models.detection._utils import BoxCoder as Oracle

from detlearn.coders import BoxCoder, inverse_sigmoid, refine_boxes

WEIGHTS = [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]


def random_boxes(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 200 - 50
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 90 + 0.5
    return torch.cat((corner, corner + size), dim=1)


def test_by_hand():
    anchor = torch.tensor([[0.0, 0, 10, 20]])
    box = torch.tensor([[5.0, 0, 25, 20]])  # centre (15, 10), size 20 × 20; the anchor's (5, 10)
    deltas = BoxCoder().encode(box, anchor)
    assert_close(deltas, torch.tensor([[1.0, 0.0, math.log(2), 0.0]]))
    weighted = BoxCoder((10.0, 10.0, 5.0, 5.0)).encode(box, anchor)
    assert_close(weighted, torch.tensor([[10.0, 0.0, 5 * math.log(2), 0.0]]))
    assert_close(BoxCoder().decode(deltas, anchor), box)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_there_and_back(weights):
    boxes, anchors, coder = random_boxes(200), random_boxes(200, 1), BoxCoder(weights)
    assert_close(coder.decode(coder.encode(boxes, anchors), anchors), boxes)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_equals_torchvision(weights):
    ours, theirs = BoxCoder(weights), Oracle(weights)
    boxes, anchors = random_boxes(200), random_boxes(200, 1)
    lists = list(boxes.split([150, 50])), list(anchors.split([150, 50]))
    expected = theirs.encode(*lists)
    assert_close(ours.encode(boxes, anchors), torch.cat(expected))
    for found, wanted in zip(ours.encode(*lists), expected, strict=True):
        assert_close(found, wanted)
    # Wild deltas of three classes, some beyond the limit.
    codes = torch.randn(200, 12, dtype=torch.float64) * 10
    decoded = theirs.decode(codes, lists[1])
    assert_close(ours.decode(codes, lists[1]), decoded)
    assert_close(ours.decode(codes.view(200, 3, 4), anchors[:, None]), decoded)


def test_the_stretch_is_limited_upward_only():
    anchor = torch.tensor([[0.0, 0, 16, 16]])
    box = BoxCoder().decode(torch.tensor([[0.0, 0, 100, -100]]), anchor)
    width, height = (box[0, 2:] - box[0, :2]).tolist()
    assert width == pytest.approx(1000) and 0 <= height < 1e-5


def test_the_limit_of_the_stretch_can_be_set():
    anchor = torch.tensor([[0.0, 0, 10, 20]])
    deltas = torch.tensor([[0.0, 0, 3, 0.5]])
    box = BoxCoder(bbox_xform_clip=math.log(2)).decode(deltas, anchor)
    assert_close(box[0, 2:] - box[0, :2], torch.tensor([20.0, 20 * math.exp(0.5)]))


def test_gradient():
    anchors = random_boxes(5, 1)
    deltas = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: BoxCoder().decode(d, anchors), deltas)


def test_empty():
    empty = torch.zeros(0, 4)
    assert BoxCoder().encode(empty, empty).shape == (0, 4)
    assert BoxCoder().decode(empty, empty).shape == (0, 4)
    assert BoxCoder().decode(torch.zeros(0, 8), [empty, empty]).shape == (0, 2, 4)


def test_a_list_of_boxes_needs_four_deltas_each():
    with pytest.raises(ValueError, match=r"deltas \(2, 6\) came with a list of boxes"):
        BoxCoder().decode(torch.zeros(2, 6), [torch.zeros(2, 4)])


def test_errors():
    with pytest.raises(ValueError, match="four positive"):
        BoxCoder((1.0, 1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match=r"\(3, 4\) and proposals \(2, 4\)"):
        BoxCoder().encode(torch.zeros(3, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\(3, 5\)"):
        BoxCoder().decode(torch.zeros(3, 5), torch.zeros(3, 4))


# ---- boxes in shares of the image, corrected step by step


def test_inverse_sigmoid_by_hand():
    shares = torch.tensor([0.5, 0.75, 0.2, 0.0, 1.0, -3.0, 7.0])
    end = math.log(1e5)  # eps = 1e-5
    expected = torch.tensor([0, math.log(3), -math.log(4), -end, end, -end, end])
    assert_close(inverse_sigmoid(shares), expected)
    assert_close(inverse_sigmoid(torch.tensor([0.0, 0.5]), eps=0.1), torch.tensor([-2.302585, 0]))


def test_inverse_sigmoid_is_the_inverse():
    numbers = torch.linspace(-11, 11, 50, dtype=torch.float64)
    assert_close(inverse_sigmoid(numbers.sigmoid()), numbers)
    assert_close(inverse_sigmoid(numbers.sigmoid()), torch.logit(numbers.sigmoid()))


def test_inverse_sigmoid_has_a_finite_gradient_at_the_ends():
    shares = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5], requires_grad=True)
    inverse_sigmoid(shares).sum().backward()
    assert shares.grad.isfinite().all()
    assert shares.grad[-1] == pytest.approx(4)  # 1 / x + 1 / (1 − x)


def test_refinement_by_hand():
    deltas = torch.tensor([[0.0, math.log(3), 0.0, -math.log(3)]])

    # Odds are multiplied: of ½ by 3 become ¾, of ½ by ⅓ a quarter.
    boxes = torch.tensor([[0.2, 0.5, 0.3, 0.5]])
    assert_close(refine_boxes(deltas, boxes), torch.tensor([[0.2, 0.75, 0.3, 0.25]]))

    # A point says nothing of width and height: σ(0) and σ(−ln 3) = 1 / (1 + 3).
    points = torch.tensor([[0.2, 0.5]])
    assert_close(refine_boxes(deltas, points), torch.tensor([[0.2, 0.75, 0.5, 0.25]]))


def test_no_correction_changes_nothing():
    boxes = torch.rand(2, 7, 4)
    assert_close(refine_boxes(torch.zeros(2, 7, 4), boxes), boxes)


def test_refined_boxes_stay_in_the_image():
    refined = refine_boxes(torch.randn(100, 4) * 50, torch.rand(100, 4).round())
    assert refined.min() >= 0 and refined.max() <= 1 and refined.isfinite().all()


def test_gradient_of_refinement():
    deltas = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    for ends_in in (2, 4):
        references = torch.rand(5, ends_in, dtype=torch.float64) * 0.9 + 0.05
        assert torch.autograd.gradcheck(refine_boxes, (deltas, references.requires_grad_()))


@pytest.mark.parametrize("deltas, references", [((3, 4), (3, 3)), ((3, 2), (3, 2))])
def test_refinement_wants_deltas_and_points_or_boxes(deltas, references):
    with pytest.raises(ValueError, match=r"expected \(..., 4\), and \(..., 4\) boxes or"):
        refine_boxes(torch.zeros(deltas), torch.zeros(references))
