"""Darknet-53, the backbone of YOLOv3, and the small one of YOLOv3-tiny.

Every convolution is followed by batch normalisation and a leaky ReLU of slope 0.1. Darknet-53
halves the map by convolutions of stride 2 and looks 1, 2, 8, 8 and 4 times more at the five
resolutions by residual blocks; the tiny one halves it by pooling and looks once.

Shapes: B images, C channels, H × W pixels; the map of stride s has ⌈H/s⌉ × ⌈W/s⌉ cells.

Source: Redmon and Farhadi 2018, "YOLOv3: An Incremental Improvement" (arXiv 1804.02767), §2.4 and
table 1; the tiny one is known from Darknet's ``yolov3-tiny.cfg`` alone.

Where we differ from Darknet:

* **Batch normalisation divides by √(variance + 1e-5).** So does Darknet on a GPU with cuDNN, where
  the published weights were trained; on a CPU it divides by √variance + 1e-6. Its running
  statistics move by 0.01 a step, as ours do (torch's default is 0.1).
* The last three layers of Darknet-53 (pooling, 1000 classes, softmax) are left out.
* Weights start as torch's convolutions do.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.01
LEAKY_SLOPE = 0.1


def conv_bn_leaky(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1
) -> nn.Sequential:
    """A convolution that keeps the map's size at stride 1, batch normalisation, leaky ReLU.

    Args:
        in_channels: channels of the input (B, in_channels, H, W).
        out_channels: channels of the output (B, out_channels, ⌈H/stride⌉, ⌈W/stride⌉).
        kernel_size: side of the kernel, odd.
        stride: step of the kernel in input pixels.

    Returns:
        The three layers as one module. The convolution has no bias: the normalisation would
        subtract it again.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM),
        nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
    )


class DarknetBlock(nn.Module):
    """Half the channels by 1 × 1, all of them again by 3 × 3, added to what came in.

    Args:
        channels: C, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = conv_bn_leaky(channels, channels // 2, kernel_size=1)
        self.expand = conv_bn_leaky(channels // 2, channels, kernel_size=3)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus what the two convolutions find in it: (B, C, H, W) → (B, C, H, W)."""
        return x + self.expand(self.reduce(x))


class Darknet53(nn.Module):
    """Three maps at strides 8, 16 and 32 from 52 convolutions: 40.6 million parameters.

    (The 53rd is the layer of the 1000 ImageNet classes, which a detector does not need.)

    Attributes:
        out_channels: ``[256, 512, 1024]``.
        strides: ``[8, 16, 32]``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn_leaky(3, 32)

        # Each stage halves the map, doubles the channels and looks so many times more.
        stages = []
        channels = 32
        for num_blocks in (1, 2, 8, 8, 4):
            halve = conv_bn_leaky(channels, 2 * channels, stride=2)
            channels = 2 * channels
            blocks = [DarknetBlock(channels) for _ in range(num_blocks)]
            stages.append(nn.Sequential(halve, *blocks))
        self.stages = nn.ModuleList(stages)

        self.out_channels = [256, 512, 1024]
        self.strides = [8, 16, 32]

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Compute the maps.

        Args:
            images: (B, 3, H, W).

        Returns:
            Ordered dict ``"8", "16", "32"`` → (B, C_s, ⌈H/s⌉, ⌈W/s⌉), finest first.
        """
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)

        # The maps of strides 2 and 4 are only steps on the way.
        return OrderedDict((str(stride), x) for stride, x in zip(self.strides, maps[2:]))


class TinyDarknet(nn.Module):
    """Two maps at strides 16 and 32 from seven convolutions: the backbone of YOLOv3-tiny.

    Attributes:
        out_channels: ``[256, 1024]``.
        strides: ``[16, 32]``.
    """

    def __init__(self) -> None:
        super().__init__()
        halve = DarknetMaxPool(kernel_size=2, stride=2)

        # One look at each of the strides 1, 2, 4, 8 and 16.
        self.fine = nn.Sequential(
            *(conv_bn_leaky(3, 16), halve),
            *(conv_bn_leaky(16, 32), halve),
            *(conv_bn_leaky(32, 64), halve),
            *(conv_bn_leaky(64, 128), halve),
            conv_bn_leaky(128, 256),
        )

        # Two at stride 32, with a pooling between them that does not halve the map.
        self.coarse = nn.Sequential(
            halve,
            conv_bn_leaky(256, 512),
            DarknetMaxPool(kernel_size=2, stride=1),
            conv_bn_leaky(512, 1024),
        )

        self.out_channels = [256, 1024]
        self.strides = [16, 32]

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Compute the maps: images (B, 3, H, W) to ``"16", "32"`` → (B, C_s, ⌈H/s⌉, ⌈W/s⌉)."""
        fine = self.fine(images)
        return OrderedDict([("16", fine), ("32", self.coarse(fine))])


class DarknetMaxPool(nn.Module):
    """Maximum over windows of k × k, of which one starts at every ``stride``-th cell.

    Where a window reaches beyond the map, what lies there does not count. Of the k − 1 missing rows
    and columns the smaller half lies at the top and left: with k = 2 all are at the bottom and
    right. At stride 1 the map keeps its size, whatever k.

    Args:
        kernel_size: k.
        stride: cells from one window to the next.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Pool x (B, C, H, W) to (B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
        # Below any value: a zero would win over what a leaky ReLU leaves of a negative number.
        before = (self.kernel_size - 1) // 2
        after = self.kernel_size - 1 - before
        x = F.pad(x, (before, after, before, after), value=-float("inf"))
        return F.max_pool2d(x, self.kernel_size, self.stride)
