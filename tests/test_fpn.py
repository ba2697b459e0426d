"""The feature pyramid: against torchvision's, with shapes that do not halve evenly."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.ops import FeaturePyramidNetwork as Oracle
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from detlearn.nets.fpn import (
    FeaturePyramidNetwork,
    LevelsP6P7,
    PyramidBackbone,
    max_pool_level,
)
from detlearn.nets.small import SmallBackbone


def maps() -> OrderedDict[str, torch.Tensor]:
    shapes = {"4": (8, 33, 17), "8": (12, 17, 9), "16": (16, 9, 5)}
    return OrderedDict((name, torch.randn(2, *shape)) for name, shape in shapes.items())


def renamed(state: dict) -> dict:
    names = (("inner_blocks", "lateral"), ("layer_blocks", "output"))
    for theirs, ours in names:
        state = {key.replace(theirs, ours): value for key, value in state.items()}
    return state


@pytest.mark.parametrize("norm_layer", [None, nn.BatchNorm2d])
def test_equals_torchvision(norm_layer):
    theirs = Oracle([8, 12, 16], 10, LastLevelMaxPool(), norm_layer)
    ours = FeaturePyramidNetwork([8, 12, 16], 10, max_pool_level, norm_layer)
    ours.load_state_dict(renamed(theirs.state_dict()))
    x = maps()
    expected, found = theirs(x), ours(x)
    assert list(found) == list(expected) == ["4", "8", "16", "pool"]
    for name in expected:
        assert_close(found[name], expected[name])


def test_top_down_by_hand():
    """1 × 1 and 3 × 3 kernels that pass values through: what comes out is the sum of the levels."""
    pyramid = FeaturePyramidNetwork([1, 1], 1)
    for conv in (*pyramid.lateral, *pyramid.output):
        nn.init.dirac_(conv[0].weight)
    fine, coarse = torch.zeros(1, 1, 3, 3), torch.tensor([[[[1.0, 2], [3, 4]]]])
    found = pyramid({"4": fine, "8": coarse})
    # 2 × 2 to 3 × 3, nearest: rows 0, 0, 1 and columns 0, 0, 1.
    assert found["4"][0, 0].tolist() == [[1, 1, 2], [1, 1, 2], [3, 3, 4]]
    assert torch.equal(found["8"], coarse)


def test_initial_weights():
    pyramid = FeaturePyramidNetwork([64], 64)
    weight, bias = pyramid.output[0][0].weight.detach(), pyramid.output[0][0].bias
    assert bias.abs().max() == 0
    bound = (3 / (64 * 9)) ** 0.5  # kaiming_uniform with a = 1
    assert weight.abs().max() <= bound and weight.std() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_pyramid_backbone_keeps_the_contract():
    backbone = PyramidBackbone(SmallBackbone(), 24)
    found = backbone(torch.randn(1, 3, 64, 96))
    assert backbone.strides == [4, 8, 16, 32, 64] and backbone.out_channels == [24] * 5
    shapes = [tuple(x.shape) for x in found.values()]
    assert shapes == [(1, 24, 64 // s, 96 // s) for s in (4, 8, 16, 32)] + [(1, 24, 1, 2)]


def test_fewer_levels_are_fed_by_all():
    whole, part = (FeaturePyramidNetwork([8, 12, 16], 10, num_levels=n) for n in (None, 2))
    names = part.state_dict()
    part.load_state_dict({key: value for key, value in whole.state_dict().items() if key in names})
    x = maps()
    expected, found = whole(x), part(x)
    assert list(found) == ["4", "8"] and len(part.output) == 2
    assert all(torch.equal(found[name], expected[name]) for name in found)
    backbone = PyramidBackbone(SmallBackbone(), 24, extra_level=False, num_levels=3)
    assert backbone.strides == [4, 8, 16] and backbone.out_channels == [24] * 3
    for number in (4, 0, -1):
        with pytest.raises(ValueError, match=f"num_levels is {number}: expected 1 … 3"):
            FeaturePyramidNetwork([8, 12, 16], 10, num_levels=number)


@pytest.mark.parametrize("from_backbone", [False, True])
def test_p6_and_p7_equal_torchvision(from_backbone):
    torch.manual_seed(0)
    in_channels = [16, 24]
    ours = FeaturePyramidNetwork(
        in_channels, 8, LevelsP6P7(24 if from_backbone else 8, 8, from_backbone=from_backbone)
    )
    # torchvision takes P5 where its channels are those that are asked for.
    oracle = Oracle(in_channels, 8, LastLevelP6P7(24 if from_backbone else 8, 8))
    state = {
        key.replace("lateral", "inner_blocks").replace("output", "layer_blocks"): value
        for key, value in ours.state_dict().items()
    }
    oracle.load_state_dict(state)

    maps = OrderedDict(a=torch.randn(2, 16, 13, 9), b=torch.randn(2, 24, 7, 5))
    found, expected = ours(maps), oracle(maps)
    assert list(found) == ["a", "b", "pool1", "pool2"]
    for mine, theirs in zip(found.values(), expected.values(), strict=True):
        assert_close(mine, theirs)
    assert [tuple(x.shape[-2:]) for x in found.values()] == [(13, 9), (7, 5), (4, 3), (2, 2)]


def test_a_pyramid_from_c3_on_with_p6_and_p7():
    body = SmallBackbone((16, 32, 48, 64))
    pyramid = PyramidBackbone(body, 8, skip=1, extra_blocks=LevelsP6P7(8, 8))
    assert pyramid.strides == [8, 16, 32, 64, 128]
    assert pyramid.out_channels == [8] * 5
    maps = pyramid(torch.randn(2, 3, 96, 160))
    assert [tuple(x.shape) for x in maps.values()] == [
        (2, 8, 12, 20),
        (2, 8, 6, 10),
        (2, 8, 3, 5),
        (2, 8, 2, 3),
        (2, 8, 1, 2),
    ]
    sum(x.sum() for x in maps.values()).backward()
    assert all(p.grad is not None for p in pyramid.parameters())


def test_errors():
    with pytest.raises(ValueError, match="expected positive"):
        FeaturePyramidNetwork([], 8)
    with pytest.raises(ValueError, match=r"\[8, 0\]"):
        FeaturePyramidNetwork([8, 0], 8)
