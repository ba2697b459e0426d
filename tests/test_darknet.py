"""Darknet-53 and its small brother: counted, against loops, and what they promise as backbones."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from detlearn.nets.darknet import (
    Darknet53,
    DarknetBlock,
    DarknetMaxPool,
    TinyDarknet,
    conv_bn_leaky,
)


def naive_max_pool(x, kernel_size, stride):
    """Window after window, as Darknet does: the first begins (k − 1) // 2 cells before the map."""
    height, width = x.shape[-2:]
    out = torch.full((*x.shape[:2], math.ceil(height / stride), math.ceil(width / stride)), -1e30)
    before = (kernel_size - 1) // 2
    for i in range(out.shape[-2]):
        for j in range(out.shape[-1]):
            for y in range(i * stride - before, i * stride - before + kernel_size):
                for x_ in range(j * stride - before, j * stride - before + kernel_size):
                    if 0 <= y < height and 0 <= x_ < width:
                        out[:, :, i, j] = torch.maximum(out[:, :, i, j], x[:, :, y, x_])
    return out


def stored_floats(module):
    """The numbers that a Darknet file has of it: parameters, running means and variances."""
    running = [b for name, b in module.named_buffers() if "running" in name]
    return sum(t.numel() for t in [*module.parameters(), *running])


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return Darknet53().eval()


class TestUnit:
    def test_by_hand(self):
        """In eval mode (x − mean) / √(variance + eps) · scale + shift, then a tenth if negative."""
        unit = conv_bn_leaky(1, 1, kernel_size=1).eval()
        conv, norm, _ = unit
        conv.weight.data.fill_(2.0)
        norm.running_mean.fill_(1.0)
        norm.running_var.fill_(4.0)
        norm.weight.data.fill_(3.0)
        norm.bias.data.fill_(0.5)
        found = unit(torch.tensor([[[[1.0, -1.0]]]])).detach().flatten()
        assert_close(found, torch.tensor([(2 - 1) / 2 * 3 + 0.5, 0.1 * ((-2 - 1) / 2 * 3 + 0.5)]))

    def test_normalises_as_darknet(self):
        _, norm, leaky = conv_bn_leaky(3, 4)
        assert (norm.eps, norm.momentum) == (1e-5, 0.01)
        assert leaky.negative_slope == 0.1

    @pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (3, 1), (3, 2), (1, 2), (5, 1)])
    def test_size_of_the_map(self, kernel_size, stride):
        unit = conv_bn_leaky(3, 4, kernel_size, stride)
        assert unit[0].bias is None
        found = unit(torch.rand(2, 3, 9, 6))
        assert found.shape == (2, 4, math.ceil(9 / stride), math.ceil(6 / stride))


class TestBlock:
    def test_adds_what_it_finds_to_what_came_in(self):
        torch.manual_seed(0)
        block = DarknetBlock(8).eval()
        x = torch.randn(2, 8, 5, 7)
        inside = block.reduce(x)
        assert inside.shape == (2, 4, 5, 7)
        assert_close(block(x), x + block.expand(inside))

        # Without anything found, what came in comes out, negative numbers included.
        nn.init.zeros_(block.expand[1].weight)
        assert torch.equal(block(x), x)

    def test_kernels(self):
        shapes = [tuple(p.shape) for p in DarknetBlock(8).parameters() if p.ndim == 4]
        assert shapes == [(4, 8, 1, 1), (8, 4, 3, 3)]


class TestMaxPool:
    def test_the_missing_cells_of_an_even_window_are_at_the_bottom_and_right(self):
        x = torch.tensor([[[[-1.0, -2], [-3, -4]]]])
        assert DarknetMaxPool(2, 1)(x).tolist() == [[[[-1, -2], [-3, -4]]]]
        x = torch.tensor([[[[-4.0, -3], [-2, -1]]]])
        assert DarknetMaxPool(2, 1)(x).tolist() == [[[[-1, -1], [-1, -1]]]]

    @pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5, 9])
    @pytest.mark.parametrize("stride", [1, 2, 3])
    @pytest.mark.parametrize("shape", [(4, 4), (5, 3), (1, 7)])
    def test_equals_the_loop(self, kernel_size, stride, shape):
        torch.manual_seed(0)
        x = torch.randn(2, 3, *shape) - 3  # nearly all negative: padding must not win
        found = DarknetMaxPool(kernel_size, stride)(x)
        assert torch.equal(found, naive_max_pool(x, kernel_size, stride))


class TestDarknet53:
    def test_has_as_many_numbers_as_published(self, backbone):
        """``darknet53.weights`` holds 41 645 640, of which 1000 · 1024 + 1000 name the classes."""
        assert stored_floats(backbone) + 1000 * 1024 + 1000 == 41_645_640

    def test_convolutions_in_their_order(self, backbone):
        """Table 1 of the paper."""
        wanted = [(3, 32, 3, 1)]
        channels = 32
        for blocks in (1, 2, 8, 8, 4):
            wanted.append((channels, 2 * channels, 3, 2))
            channels *= 2
            wanted += [(channels, channels // 2, 1, 1), (channels // 2, channels, 3, 1)] * blocks
        convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
        found = [
            (c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions
        ]
        assert found == wanted and len(found) == 52

    @pytest.mark.parametrize("size", [(64, 96), (33, 70)])
    def test_maps(self, backbone, size):
        assert backbone.out_channels == [256, 512, 1024] and backbone.strides == [8, 16, 32]
        with torch.no_grad():
            maps = backbone(torch.rand(1, 3, *size))
        assert list(maps) == ["8", "16", "32"]
        for x, channels, s in zip(maps.values(), backbone.out_channels, backbone.strides):
            assert x.shape == (1, channels, math.ceil(size[0] / s), math.ceil(size[1] / s))

    def test_each_map_is_made_from_the_one_before(self, backbone):
        with torch.no_grad():
            maps = backbone(torch.rand(1, 3, 64, 64))
            assert torch.equal(backbone.stages[3](maps["8"]), maps["16"])
            assert torch.equal(backbone.stages[4](maps["16"]), maps["32"])

    def test_gradients_reach_every_weight(self):
        torch.manual_seed(0)
        backbone = Darknet53()
        maps = backbone(torch.rand(2, 3, 64, 64))
        sum(x.square().mean() for x in maps.values()).backward()
        for name, parameter in backbone.named_parameters():
            assert parameter.grad is not None and parameter.grad.count_nonzero() > 0, name


class TestTinyDarknet:
    def test_maps_and_channels(self):
        backbone = TinyDarknet().eval()
        assert backbone.out_channels == [256, 1024] and backbone.strides == [16, 32]
        with torch.no_grad():
            maps = backbone(torch.rand(1, 3, 65, 96))
        assert [(name, tuple(x.shape)) for name, x in maps.items()] == [
            ("16", (1, 256, 5, 6)),
            ("32", (1, 1024, 3, 3)),
        ]
        convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
        assert [c.out_channels for c in convolutions] == [16, 32, 64, 128, 256, 512, 1024]
        assert {(c.kernel_size[0], c.stride[0]) for c in convolutions} == {(3, 1)}

    def test_five_poolings_halve_and_one_does_not(self):
        backbone = TinyDarknet()
        layers = [*backbone.fine, *backbone.coarse]
        pools = [(m.kernel_size, m.stride) for m in layers if isinstance(m, DarknetMaxPool)]
        assert pools == [(2, 2)] * 5 + [(2, 1)]
