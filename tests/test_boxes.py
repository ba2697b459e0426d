"""Boxes: hand-computed numbers, then torchvision as oracle on random and awkward boxes."""

import itertools
import math

import pytest
import torch
import torchvision.ops as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from detlearn import boxes as ours

PAIRWISE = ("box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou")

# Every kind of pair that has told a right implementation from a wrong one. None is degenerate.
AWKWARD = torch.tensor(
    [
        [0, 0, 40, 10],  # lying: with the next, aspect ratios differ and IoU is 1/7
        [0, 0, 10, 40],  # standing
        [0, 0, 40, 16],  # with the first, aspect ratios differ and IoU is 5/8
        [40, 0, 80, 10],  # touches the first along an edge
        [40, 10, 80, 20],  # touches the first in a corner
        [10, 2, 20, 8],  # nested in the first
        [100, 100, 130, 160],  # far from all: two negative overlaps would make a positive area
        [-30, -20, -5, -10],  # negative coordinates
        [-30, -20, 50, 60],  # surrounds most others
        [0, 0, 0.01, 300],  # very elongated
        [1e5, 1e5, 3e5, 2e5],  # huge
        [20.5, 3.25, 21.0, 3.5],  # tiny
    ],
    dtype=torch.float64,
)


def random_boxes(count: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 100 - 50
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) ** 2 * 80 + 0.5
    return torch.cat((corner, corner + size), dim=1).to(dtype)


def values_and_gradients(function, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The result, and the gradient of a sum in which each entry has a weight of its own."""
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    result = function(*inputs)
    weights = torch.linspace(0.5, 1.5, result.numel(), dtype=result.dtype).view_as(result)
    return result.detach(), *torch.autograd.grad((result * weights).sum(), inputs)


# --- by hand ---------------------------------------------------------------------------------


def test_two_shifted_squares_by_hand():
    a, b = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 5, 15, 15]])
    # I = 25, U = 175, C = 225, ρ² = 50, c² = 450; squares have v = 0.
    assert_close(ours.box_iou(a, b).item(), 25 / 175)
    assert_close(ours.generalized_box_iou(a, b).item(), 25 / 175 - 50 / 225)
    assert_close(ours.distance_box_iou(a, b).item(), 25 / 175 - 50 / 450)
    assert_close(ours.complete_box_iou(a, b).item(), 25 / 175 - 50 / 450)


@pytest.mark.parametrize(
    ("other", "iou", "diou", "ciou"),
    [
        # I = 100, U = 700, ρ² = 450, c² = 3200, v = 0.473459, α = 0.355823
        ([0.0, 0, 10, 40], 1 / 7, 1 / 7 - 450 / 3200, -0.166235),
        # I = 400, U = 640, ρ² = 9, c² = 1856, v = 0.00744418, α = 0.0194648: a gate at 0.5 opens
        ([0.0, 0, 40, 16], 5 / 8, 5 / 8 - 9 / 1856, 0.620006),
    ],
)
def test_elongated_boxes_by_hand(other, iou, diou, ciou):
    lying, other = torch.tensor([[0.0, 0, 40, 10]]), torch.tensor([other])
    assert_close(ours.box_iou(lying, other).item(), iou)
    assert_close(ours.distance_box_iou(lying, other).item(), diou)
    assert ours.complete_box_iou(lying, other).item() == pytest.approx(ciou, abs=1e-6)


def test_boxes_apart_have_no_intersection():
    near, far = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[20.0, 30, 30, 40]])
    assert ours.box_iou(near, far).item() == 0
    # C = 30 · 40 = 1200, U = 200; ρ² = 20² + 30² = 1300, c² = 30² + 40² = 2500
    assert_close(ours.generalized_box_iou(near, far).item(), -1000 / 1200)
    assert_close(ours.distance_box_iou(near, far).item(), -1300 / 2500)


def test_convert_and_area_by_hand():
    same = {"xyxy": [10.0, 20, 40, 60], "xywh": [10.0, 20, 30, 40], "cxcywh": [25.0, 40, 30, 40]}
    for source, target in itertools.product(same, same):
        converted = ours.box_convert(torch.tensor([same[source]]), source, target)
        assert converted.tolist() == [same[target]], (source, target)
    for fmt, box in same.items():
        assert ours.box_area(torch.tensor([box]), fmt).tolist() == [1200]


def test_convert_to_the_same_format_copies():
    boxes = random_boxes(3, seed=0)
    converted = ours.box_convert(boxes, "xyxy", "xyxy")
    assert converted is not boxes and torch.equal(converted, boxes)


def test_clip_takes_height_before_width():
    boxes = torch.tensor([[-5.0, -5, 150, 150], [120, 10, 130, 20], [10, 10, 20, 20]])
    clipped = ours.clip_boxes_to_image(boxes, (50, 100))
    assert clipped.tolist() == [[0, 0, 100, 50], [100, 10, 100, 20], [10, 10, 20, 20]]


def test_remove_small_keeps_a_side_of_exactly_the_limit():
    boxes = torch.tensor([[0.0, 0, 5, 9], [0, 0, 4.9, 9], [0, 0, 9, 4.9], [3, 3, 8, 8]])
    assert ours.remove_small_boxes(boxes, 5).tolist() == [0, 3]


# --- against torchvision ---------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_equal_torchvision(name, dtype):
    function, reference = getattr(ours, name), getattr(oracle, name)
    random = (random_boxes(40, seed=1, dtype=dtype), random_boxes(30, seed=2, dtype=dtype))
    for boxes1, boxes2 in (random, (AWKWARD.to(dtype), AWKWARD.to(dtype))):
        mine, *my_gradients = values_and_gradients(function, boxes1, boxes2)
        theirs, *their_gradients = values_and_gradients(reference, boxes1, boxes2)
        assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
        # The sliver's IoU with itself has slopes of ±100 that cancel, so in float32 digits go.
        atol = 1e-4 if dtype == torch.float32 else 1e-9
        assert_close(my_gradients, their_gradients, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("name", PAIRWISE)
def test_leading_dimensions(name):
    boxes1 = random_boxes(24, seed=3).view(2, 3, 4, 4)
    boxes2 = random_boxes(30, seed=4).view(2, 3, 5, 4)
    mine = getattr(ours, name)(boxes1, boxes2)
    assert mine.shape == (2, 3, 4, 5)
    one_by_one = [
        getattr(oracle, name)(a, b) for a, b in zip(boxes1.flatten(0, 1), boxes2.flatten(0, 1))
    ]
    assert_close(mine.flatten(0, 1), torch.stack(one_by_one))


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("sizes", [(0, 0), (0, 3), (3, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_empty_input(name, sizes, dtype):
    boxes1, boxes2 = (torch.ones(n, 4, dtype=dtype) for n in sizes)
    mine = getattr(ours, name)(boxes1, boxes2)
    theirs = getattr(oracle, name)(boxes1, boxes2)
    assert mine.shape == theirs.shape == sizes
    assert mine.dtype == theirs.dtype


def test_empty_input_of_the_small_functions():
    empty = torch.zeros(0, 4)
    assert ours.box_area(empty).shape == (0,)
    assert ours.box_convert(empty, "xyxy", "cxcywh").shape == (0, 4)
    assert ours.clip_boxes_to_image(empty, (10, 10)).shape == (0, 4)
    assert ours.remove_small_boxes(empty, 1).shape == (0,)


@pytest.mark.parametrize(
    "dtype",
    [torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float64],
)
def test_dtypes(dtype):
    # Small whole numbers, which every dtype holds exactly, so all must agree.
    boxes1 = torch.tensor([[0, 0, 40, 10], [5, 5, 9, 30], [-7, -8, 3, 4]]).to(dtype)
    boxes2 = torch.tensor([[0, 0, 10, 40], [100, 100, 120, 110]]).to(dtype)
    for name in PAIRWISE:
        mine, theirs = getattr(ours, name)(boxes1, boxes2), getattr(oracle, name)(boxes1, boxes2)
        assert_close(mine, theirs, rtol=1e-5, atol=1e-5)  # compares the dtypes too
    assert_close(ours.box_area(boxes1), oracle.box_area(boxes1))
    for source, target in itertools.product(ours.FORMATS, ours.FORMATS):
        assert_close(
            ours.box_convert(boxes1, source, target), oracle.box_convert(boxes1, source, target)
        )


def test_areas_beyond_the_range_of_the_dtype():
    assert ours.box_area(torch.tensor([[0, 0, 1000, 1000]], dtype=torch.float16)).item() == 1e6
    assert ours.box_area(torch.tensor([[0, 0, 200, 200]], dtype=torch.int16)).item() == 40_000
    # In uint8 the "width" of the overlap of boxes apart, −10, would be 246.
    apart = torch.tensor([[0, 0, 10, 10], [20, 20, 30, 30]], dtype=torch.uint8)
    assert ours.box_iou(apart, apart).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_box_has_iou_one_with_itself(dtype):
    boxes = random_boxes(50, seed=5).to(dtype)
    assert_close(ours.box_iou(boxes, boxes).diagonal(), torch.ones(50))


@pytest.mark.parametrize("fmt", ["xyxy", "xywh", "cxcywh"])
def test_other_formats(fmt):
    boxes1 = oracle.box_convert(random_boxes(9, 6, torch.float64), "xyxy", fmt)
    boxes2 = oracle.box_convert(random_boxes(8, 7, torch.float64), "xyxy", fmt)
    corners = (ours.box_convert(boxes, fmt, "xyxy") for boxes in (boxes1, boxes2))
    assert_close(ours.box_iou(boxes1, boxes2, fmt), oracle.box_iou(*corners))
    assert_close(ours.box_area(boxes1, fmt), oracle.box_area(random_boxes(9, 6, torch.float64)))
    for target in ours.FORMATS:
        single = boxes1.float()
        assert torch.equal(
            ours.box_convert(single, fmt, target), oracle.box_convert(single, fmt, target)
        )


def test_clip_and_remove_equal_torchvision():
    boxes = torch.cat((random_boxes(50, seed=8), AWKWARD.float()))
    mine = values_and_gradients(lambda b: ours.clip_boxes_to_image(b, (30, 41)), boxes)
    theirs = values_and_gradients(lambda b: oracle.clip_boxes_to_image(b, (30, 41)), boxes)
    assert_close(mine, theirs, rtol=0, atol=0)
    batch = boxes[:12].view(3, 4, 4)
    assert torch.equal(
        ours.clip_boxes_to_image(batch, (30, 41)), oracle.clip_boxes_to_image(batch, (30, 41))
    )
    assert torch.equal(ours.remove_small_boxes(boxes, 10.0), oracle.remove_small_boxes(boxes, 10.0))


# --- degenerate boxes ------------------------------------------------------------------------

DEGENERATE = torch.tensor(
    [
        [5.0, 5, 5, 5],  # a point
        [0, 0, 0, 0],  # the point at the origin, where padding rows sit
        [0, 5, 10, 5],  # no height
        [5, 0, 5, 10],  # no width
        [10, 10, 4, 2],  # both corners swapped
        [0, 8, 10, 3],  # upside down
        [0, 0, 10, 10],  # an ordinary one, which the others meet too
    ]
)


@pytest.mark.parametrize("name", PAIRWISE)
def test_degenerate_boxes_have_finite_values_and_gradients(name):
    for result in values_and_gradients(getattr(ours, name), DEGENERATE, DEGENERATE):
        assert result.isfinite().all()


def test_a_tiny_box_is_no_point():
    lying, standing = (torch.tensor([box], dtype=torch.float64) for box in AWKWARD[:2].tolist())
    expected = ours.complete_box_iou(lying, standing, eps=0.0)
    for scale in (1e-3, 1e-6, 1e-12):
        assert_close(ours.complete_box_iou(lying * scale, standing * scale, eps=0.0), expected)


def test_boxes_without_area():
    point = DEGENERATE[:1]
    assert ours.box_iou(point, point).item() == 0
    assert ours.generalized_box_iou(point, point).item() == 0
    assert ours.complete_box_iou(point, DEGENERATE[-1:]).isfinite().all()
    flat, square = DEGENERATE[2:3], DEGENERATE[-1:]
    # IoU 0, ρ = 0; atan(10/0) = π/2 and atan(1) = π/4 give v = 4/π² · π²/16 = 1/4, α = 1/5.
    assert_close(ours.complete_box_iou(flat, square).item(), -1 / 20)


class OldAtan2(torch.autograd.Function):
    """atan2 with the gradient that torch 2.6 gives it: 0/0 at a point, and in what underflows."""

    @staticmethod
    def forward(ctx, w, h):
        ctx.save_for_backward(w, h)
        return torch.arctan2(w, h)

    @staticmethod
    def backward(ctx, gradient):
        w, h = ctx.saved_tensors
        reciprocal = (w * w + h * h).reciprocal()
        return gradient * h * reciprocal, -gradient * w * reciprocal


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_of_ciou_does_not_hang_on_torchs_version(monkeypatch, dtype):
    tiny = torch.tensor([[0, 0, 1e-30, 0], [0, 0, 0, 1e-19], [0, 0, 0, -1e-25]])
    boxes = torch.cat((DEGENERATE, tiny)).to(dtype)
    function = ours.complete_box_iou
    expected = values_and_gradients(function, boxes, boxes)
    monkeypatch.setattr(torch, "atan2", OldAtan2.apply)
    mine = values_and_gradients(function, boxes, boxes)
    assert all(result.isfinite().all() for result in mine)
    assert_close(mine, expected)


# --- properties ------------------------------------------------------------------------------

coordinates = st.floats(-1000, 1000, width=32)
sides = st.floats(0.25, 500, width=32)
a_box = st.tuples(coordinates, coordinates, sides, sides)


@settings(max_examples=60, deadline=None)
@given(a_box, a_box)
def test_ranges_and_symmetry(box1, box2):
    boxes1, boxes2 = (ours.box_convert(torch.tensor([b]), "xywh", "xyxy") for b in (box1, box2))
    iou, giou, diou, ciou = (getattr(ours, name)(boxes1, boxes2).item() for name in PAIRWISE)
    assert 0 <= iou <= 1 + 1e-6
    assert -1 <= giou <= iou + 1e-5
    assert -1 <= diou <= iou + 1e-5
    assert diou - 1 <= ciou <= diou + 1e-5
    for name in PAIRWISE:
        assert_close(getattr(ours, name)(boxes1, boxes2), getattr(ours, name)(boxes2, boxes1))
        assert getattr(ours, name)(boxes1, boxes1).item() == pytest.approx(1, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(a_box, st.permutations(ours.FORMATS))
def test_formats_make_a_round_trip(box, formats):
    first, second, third = formats
    there = ours.box_convert(torch.tensor([box], dtype=torch.float64), first, second)
    back = ours.box_convert(ours.box_convert(there, second, third), third, first)
    assert_close(back, torch.tensor([box], dtype=torch.float64))


# --- errors at the door ----------------------------------------------------------------------


def test_errors_name_the_thing():
    boxes = random_boxes(2, seed=0)
    with pytest.raises(ValueError, match=r"'xyxz'.*xyxy, xywh, cxcywh"):
        ours.box_convert(boxes, "xyxy", "xyxz")
    with pytest.raises(ValueError, match="rotated"):
        ours.box_convert(torch.zeros(2, 5)[:, :4], "xywhr", "xyxy")
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        ours.box_area(boxes[:, :3])
    with pytest.raises(ValueError, match=r"torch\.zeros\(0, 4\)"):
        ours.box_iou(boxes, torch.tensor([]))
    with pytest.raises(ValueError, match=r"boxes2.*boxes2\[None\]"):
        ours.generalized_box_iou(boxes, boxes[0])
    with pytest.raises(ValueError, match="'cxywh'"):
        ours.box_iou(boxes, boxes, fmt="cxywh")
    with pytest.raises(TypeError, match="list"):
        ours.complete_box_iou([[0, 0, 1, 1]], boxes)
    with pytest.raises(ValueError, match="height, width"):
        ours.clip_boxes_to_image(boxes, (3, 100, 100))
    with pytest.raises(ValueError, match=r"\(2, 5\)"):
        ours.remove_small_boxes(torch.zeros(2, 5), 1)


def test_no_weight_of_the_aspect_penalty_has_a_gradient():
    """α as a constant: a wide box feels only ∂v, which here we write out ourselves."""
    wide = torch.tensor([[0.0, 0, 40, 10]], dtype=torch.float64, requires_grad=True)
    tall = torch.tensor([[0.0, 0, 10, 40]], dtype=torch.float64)
    difference = ours.distance_box_iou(wide, tall) - ours.complete_box_iou(wide, tall)  # = αv
    (gradient,) = torch.autograd.grad(difference.sum(), wide)
    angle = math.atan(4) - math.atan(1 / 4)
    v = 4 / math.pi**2 * angle**2
    alpha = v / (1 - 1 / 7 + v)
    dv_dw = 8 / math.pi**2 * angle * 10 / (40**2 + 10**2)  # d atan(w/h) / dw = h / (w² + h²)
    assert gradient[0, 2].item() == pytest.approx(alpha * dv_dw, rel=1e-6)
