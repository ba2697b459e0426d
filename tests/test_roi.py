"""RoIPool and RoIAlign: by hand, against torchvision's kernels, and how a pyramid shares boxes."""

import itertools

import pytest
import torch
import torch.nn.functional as F
import torchvision.ops as oracle
from torch.testing import assert_close

from detlearn import roi
from detlearn.roi import (
    MultiScaleRoIAlign,
    MultiScaleRoIPool,
    RoIAlign,
    RoIPooling,
    bilinear_sample,
    roi_align,
    roi_pool,
)

RAMP = torch.arange(25.0).view(1, 1, 5, 5)


def random_rois(count: int, seed: int, images: int = 2) -> torch.Tensor:
    """(K, 5) boxes inside, across and outside of a map of 52 × 68 pixels, some of them tiny."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 110 - 30
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) ** 3 * 80
    image = torch.randint(images, (count, 1), generator=generator)
    return torch.cat((image, corner, corner + size), dim=1)


def both(ours, theirs, features, *arguments):
    """Outputs and gradients of the two functions on the same features."""
    results = []
    for function in (ours, theirs):
        x = features.clone().requires_grad_()
        output = function(x, *arguments)
        generator = torch.Generator().manual_seed(0)
        output.backward(torch.randn(output.shape, generator=generator, dtype=output.dtype))
        results += [output.detach(), x.grad]
    return results


# --- by hand ---------------------------------------------------------------------------------


def test_roi_align_by_hand():
    box = torch.tensor([[0.0, 1, 1, 3, 3]])
    # Four bins of half a cell from 1 to 3, one point in the middle of each: x and y = 1.25, 1.75 …
    old = roi_align(RAMP, box, 4, sampling_ratio=1)
    assert_close(old[0, 0, 0], torch.tensor([7.5, 8.0, 8.5, 9.0]))
    # Aligned, everything is read half a cell earlier, in both directions: 0.5 · (5 + 1) less.
    new = roi_align(RAMP, box, 4, sampling_ratio=1, aligned=True)
    assert_close(new[0, 0, 0], torch.tensor([4.5, 5.0, 5.5, 6.0]))


def test_roi_pool_rounds_halves_up_and_includes_the_end():
    # 2.5 becomes 3, so cells 0 … 3 in both directions: the maximum is cell (3, 3).
    box = torch.tensor([[0.0, 0, 0, 2.5, 2.5]])
    assert roi_pool(RAMP, box, 1).item() == 18
    assert oracle.roi_pool(RAMP, box, 1).item() == 18
    assert roi_pool(RAMP, torch.tensor([[0.0, 0, 0, 2.4, 2.4]]), 1).item() == 12
    # From cell 2 to cell 2 is one cell, not none.
    assert roi_pool(RAMP, torch.tensor([[0.0, 2, 2, 2, 2]]), 1).item() == 12


def test_empty_bins_are_zero():
    outside = torch.tensor([[0.0, 50, 50, 60, 60]])
    assert roi_pool(RAMP + 1, outside, 2).abs().sum() == 0
    assert roi_align(RAMP + 1, outside, 2).abs().sum() == 0


def test_bilinear_sample_by_hand():
    read = [(1.0, 1.0), (1.5, 2.25), (-0.5, 0.0), (-1.5, 0.0), (4.0, 4.9), (5.5, 0.0)]
    y, x = torch.tensor(read).T
    found = bilinear_sample(RAMP[0], x, y)[0]
    # On a ramp the value between cells is 5·y + x; up to a cell outside, that of the border.
    assert_close(found, torch.tensor([6.0, 9.75, 0.0, 0.0, 24.0, 0.0]))
    assert_close(bilinear_sample(RAMP[0] + 7, x, y)[0].eq(0), torch.tensor([0, 0, 0, 1, 0, 1]) > 0)


# --- against torchvision ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, (3, 5), (7, 7)])
@pytest.mark.parametrize("sampling_ratio", [-1, 0, 1, 2, 3])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align_equals_torchvision(size, sampling_ratio, aligned):
    features = torch.randn(2, 3, 13, 17, dtype=torch.float64)
    for scale in (0.25, 1.0):
        arguments = (random_rois(60, 0), size, scale, sampling_ratio, aligned)
        found, gradient, expected, their_gradient = both(
            roi_align, oracle.roi_align, features, *arguments
        )
        assert_close(found, expected)
        assert_close(gradient, their_gradient)


@pytest.mark.parametrize("size", [1, (3, 5), (7, 7)])
def test_roi_pool_equals_torchvision(size):
    # After a ReLU many cells are equal: the gradient must go to the same one of them.
    features = torch.randn(2, 3, 13, 17, dtype=torch.float64).relu()
    rois = random_rois(300, 1)
    rois[:, 1:] = (rois[:, 1:] * 2).round() / 2  # corners that lie on halves of pixels
    for scale in (0.25, 1.0):
        found, gradient, expected, their_gradient = both(
            roi_pool, oracle.roi_pool, features, rois, size, scale
        )
        assert torch.equal(found, expected)
        assert_close(gradient, their_gradient)


def test_modules_equal_the_functions():
    features, rois = torch.randn(2, 3, 13, 17), random_rois(20, 2).float()
    lists = [rois[rois[:, 0] == i, 1:] for i in range(2)]
    together = torch.cat((rois[rois[:, 0] == 0], rois[rois[:, 0] == 1]))
    assert_close(RoIPooling(3, 0.25)(features, lists), roi_pool(features, together, 3, 0.25))
    for aligned in (False, True):
        module = RoIAlign((2, 3), 0.25, 2, aligned)
        expected = roi_align(features, lists, (2, 3), 0.25, 2, aligned)
        assert_close(module(features, lists), expected)
        assert_close(module(features, together), expected)


def test_inverted_boxes_equal_torchvision():
    """RoIPool takes their first cell, RoIAlign without `aligned` one cell from there."""
    features = torch.rand(1, 2, 9, 9) + 1
    boxes = torch.tensor([[0.0, 5, 5, 2, 3], [0, 4, 6, 4, 1], [0, 6, 2, 3, 5]])
    assert torch.equal(roi_pool(features, boxes, 2), oracle.roi_pool(features, boxes, 2))
    for samples in (-1, 2):
        arguments = (features, boxes, 2, 1.0, samples)
        assert_close(roi_align(*arguments), oracle.roi_align(*arguments))


@pytest.mark.parametrize("function", [roi_align, roi_pool])
def test_no_gradient_flows_to_the_boxes(function):
    """As in torchvision's kernels; proposals are where a second stage begins."""
    features = torch.randn(1, 2, 8, 8, requires_grad=True)
    boxes = torch.tensor([[0.0, 1.3, 1.1, 6.2, 5.9]], requires_grad=True)
    function(features, boxes, 3).sum().backward()
    assert boxes.grad is None and features.grad.abs().sum() > 0


def test_no_boxes():
    features = torch.randn(2, 3, 13, 17, requires_grad=True)
    for function in (roi_align, roi_pool):
        for boxes in (torch.zeros(0, 5), [torch.zeros(0, 4)] * 2):
            output = function(features, boxes, 7)
            assert output.shape == (0, 3, 7, 7)
            output.sum().backward()
    assert features.grad.abs().sum() == 0


def boxes_with_a_point_at(target: float, bins: int, samples: int, scale: float, aligned: bool):
    """(2, 20, 2) starts and ends along one axis: their first point, or their last, is at target."""
    generator = torch.Generator().manual_seed(bins)
    side = torch.rand(20, generator=generator, dtype=torch.float64) * 6 + 1
    step = side / (bins * samples)
    shift = 0.5 if aligned else 0.0
    starts = torch.stack((target - step / 2, target - side + step / 2)) + shift
    return torch.stack((starts, starts + side), dim=-1) / scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_points_on_the_very_border_are_read_where_torchvision_reads_them(samples, dtype):
    """At y = -1 and y = H the last bit decides between the border's value and 0."""
    features = torch.rand(1, 1, 5, 7, dtype=dtype) + 3
    for scale, aligned, bins in itertools.product((1.0, 0.1, 1 / 3), (False, True), (1, 3, 5, 7)):
        rois = []
        for axis, size in enumerate((7, 5)):
            for border in (-1.0, size):
                ends = boxes_with_a_point_at(border, bins, samples, scale, aligned).flatten(0, 1)
                box = torch.full((len(ends), 2, 2), 1 / scale, dtype=torch.float64)
                box[:, 1] *= 3  # along the other axis it lies inside
                box[:, :, axis] = ends
                rois.append(F.pad(box.flatten(1), (1, 0)))

        arguments = (torch.cat(rois).to(dtype), bins, scale, samples, aligned)
        assert_close(roi_align(features, *arguments), oracle.roi_align(features, *arguments))


def test_boxes_without_area_are_zeros_with_a_gradient():
    flat = torch.tensor([[0.0, 2, 2, 2, 2], [1, 3, 1, 3, 4]])
    features = torch.randn(2, 3, 5, 7)
    features[0, 0, 0, 0] = torch.nan  # of which nothing comes through
    for boxes, samples in ((flat, -1), (flat, 0), (flat[:0], 2)):
        x = features.clone().requires_grad_()
        output = roi_align(x, boxes, (2, 3), 1.0, samples, aligned=True)
        assert output.shape == (len(boxes), 3, 2, 3) and (output == 0).all()
        output.sum().backward()
        assert torch.equal(x.grad, torch.zeros_like(x))


# --- a pyramid -------------------------------------------------------------------------------


def squares(*sides: float) -> torch.Tensor:
    return torch.tensor([[0.0, 0, side, side] for side in sides])


def test_a_level_on_the_border_goes_to_the_coarser_one():
    """In float32 the sides of 224 come out as 223.99998, and log2 of the ratio as -1.2e-7."""
    box = torch.tensor([[288.23, 144.115, 512.23, 368.115]])
    assert (box[0, 2] - box[0, 0]).item() < 224 or (box[0, 3] - box[0, 1]).item() < 224
    assert MultiScaleRoIAlign(["4", "8", "16", "32"], 7, 2).levels(box).tolist() == [4]
    theirs = oracle.poolers.LevelMapper(2, 5)
    assert (theirs([box]) + 2).tolist() == [4]


def test_levels_by_hand():
    pooler = MultiScaleRoIAlign(["4", "8", "16", "32"], 7, 2)
    assert pooler.levels(squares(56, 111, 112, 223, 224, 447, 448)).tolist() == [
        2,
        2,
        3,
        3,
        4,
        4,
        5,
    ]
    small = MultiScaleRoIAlign(["4", "8"], 7, 2, canonical_scale=32)
    assert small.levels(squares(8, 16, 31, 32)).tolist() == [2, 3, 3, 4]


@pytest.mark.parametrize("names", [["0", "1", "2", "3"], ["1", "2"], ["2"]])
def test_equals_torchvisions_pyramid(names):
    x = {str(i): torch.randn(2, 5, 160 // 2**i, 224 // 2**i) for i in range(4)}
    sides = torch.tensor([20.0, 60, 111, 112, 200, 224, 300, 640, 3])
    corner = torch.rand(9, 2) * 200
    boxes = [torch.cat((corner, corner + sides[:, None]), 1), squares(500, 30)]
    sizes = [(640, 896), (600, 880)]
    theirs = oracle.MultiScaleRoIAlign(names, (7, 7), 2)
    ours = MultiScaleRoIAlign(names, (7, 7), 2)
    assert_close(ours(x, boxes, sizes), theirs(x, boxes, sizes))


def test_a_flat_image_gets_the_right_strides():
    """33 pixels padded to 64: judged by the height alone, stride 4 would look like stride 2."""
    x = {"4": torch.randn(1, 1, 16, 136), "8": torch.randn(1, 1, 8, 68)}
    found = MultiScaleRoIAlign(["4", "8"], 3, 2)(x, [squares(30)], [(33, 517)])
    assert_close(found, roi_align(x["4"], [squares(30)], 3, 1 / 4, 2))


def test_multi_scale_roi_pool_is_roi_pool_of_the_level():
    x = {"4": torch.randn(1, 2, 32, 32), "8": torch.randn(1, 2, 16, 16)}
    found = MultiScaleRoIPool(["4", "8"], 3, 2)(x, [squares(30, 120)], [(128, 128)])
    assert_close(found[:1], roi_pool(x["4"], [squares(30)], 3, 1 / 4))
    assert_close(found[1:], roi_pool(x["8"], [squares(120)], 3, 1 / 8))


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [roi_align, roi_pool])
def test_errors(function):
    features = torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"\(3, 4\): expected \(K, 5\)"):
        function(features, torch.zeros(3, 4), 2)
    with pytest.raises(ValueError, match="images 0 to 2, but the batch has 2"):
        function(features, torch.tensor([[0.0, 0, 0, 1, 1], [2, 0, 0, 1, 1]]), 2)
    with pytest.raises(ValueError, match="for 2 images"):
        function(features, [torch.zeros(1, 4)], 2)


def test_error_for_a_missing_map():
    with pytest.raises(ValueError, match=r"\['8'\] are missing, there are \['4'\]"):
        MultiScaleRoIAlign(["4", "8"], 3, 2)(
            {"4": torch.zeros(1, 1, 4, 4)}, [squares(3)], [(16, 16)]
        )


def test_the_kernels_are_behind_the_modules(monkeypatch):
    """The readable functions are for reading: a model must not run them."""
    monkeypatch.setattr(roi, "bilinear_sample", None)
    monkeypatch.setattr(roi, "_bins", None)
    features = torch.randn(1, 2, 8, 8)
    for module in (RoIAlign(2, 1.0), RoIPooling(2, 1.0)):
        assert module(features, [squares(4)]).shape == (1, 2, 2, 2)
    for kind in (MultiScaleRoIAlign, MultiScaleRoIPool):
        found = kind(["1"], 2, 2)({"1": features}, [squares(4)], [(8, 8)])
        assert found.shape == (1, 2, 2, 2)


# --- reduced precision and boxes that are not numbers ------------------------------------------


@pytest.mark.parametrize("autocast", [False, True])
def test_boxes_keep_their_precision_beside_reduced_features(autocast):
    """In bfloat16 the corner 701.3 would be 700: a whole bin of an 8-pixel map is 2 pixels."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(1, 4, 128, 128, generator=generator).cumsum(-1).cumsum(-2) / 64
    features = exact.bfloat16()
    box = [torch.tensor([[701.3, 600.2, 1001.7, 900.9]])]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = {
            "align": RoIAlign(7, 1 / 8, 2, aligned=True)(features, box),
            "levels": MultiScaleRoIAlign(["8"], 7, 2, aligned=True)(
                {"8": features}, box, [(1024, 1024)]
            ),
            "plain": roi_align(features, box, 7, 1 / 8, 2, aligned=True),
        }
        pooled = RoIPooling(7, 1 / 8)(features, box), roi_pool(features, box, 7, 1 / 8)
    wanted = roi_align(features.float(), box, 7, 1 / 8, 2, aligned=True)
    for name, value in found.items():
        assert value.dtype == torch.bfloat16, name
        assert_close(value.float(), wanted, rtol=2**-7, atol=1e-3, msg=name)
    for value in pooled:
        assert torch.equal(value.float(), roi_pool(features.float(), box, 7, 1 / 8))


def test_a_box_of_nan_reads_zeros():
    pooler = MultiScaleRoIAlign(["4", "8"], 3, 2)
    maps = {"4": torch.ones(1, 1, 16, 16), "8": torch.ones(1, 1, 8, 8)}
    found = pooler(maps, [torch.tensor([[1.0, 1, torch.nan, 9], [1, 1, 9, 9]])], [(64, 64)])
    assert (found[0] == 0).all() and (found[1] == 1).all()


def test_strides_must_double():
    maps = {"4": torch.ones(1, 1, 16, 16), "16": torch.ones(1, 1, 4, 4)}
    with pytest.raises(ValueError, match=r"strides \[4, 16\]: each must be twice"):
        MultiScaleRoIAlign(["4", "16"], 3, 2)(maps, [squares(3)], [(64, 64)])
