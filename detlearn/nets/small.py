"""A backbone small enough to train on a CPU in a minute.

The plainest thing that can be called a backbone: a stem that brings the image to stride 4 and looks
once more there, because small objects are seen nowhere else, and three stages that each halve the
resolution. Every convolution is followed by batch normalisation and ReLU. The detectors of the book
that train live on ToyTown share it.

Shapes: B images, C channels, H × W pixels; the map of stride s has ⌈H/s⌉ × ⌈W/s⌉ locations.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from detlearn.machine.distributed import world_size


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1
) -> nn.Sequential:
    """A convolution that keeps the map's size at stride 1, batch normalisation, ReLU.

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
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class SmallBackbone(nn.Module):
    """Four maps at strides 4, 8, 16 and 32 from nine convolutions, or the first few of them.

    Args:
        channels: channels of the maps, finest first; as many maps as there are numbers.
        skip: so many of the finest maps are not handed out.

    Attributes:
        out_channels: the channels of the maps that are handed out, as a list.
        strides: ``[4, 8, 16, 32]``, or those of them.

    Raises:
        ValueError: if no map is left to hand out.
    """

    def __init__(self, channels: tuple[int, ...] = (48, 64, 128, 160), *, skip: int = 0) -> None:
        super().__init__()
        if not 0 <= skip < len(channels):
            raise ValueError(f"skip is {skip} of {len(channels)} maps: leave at least one")
        self.skip = skip
        stem, *deeper = channels

        self.stem = nn.Sequential(
            conv_bn_relu(3, 16, stride=2),
            conv_bn_relu(16, stem, stride=2),
            conv_bn_relu(stem, stem),
        )

        # Each stage halves the map and looks once more.
        self.stages = nn.ModuleList(
            nn.Sequential(conv_bn_relu(before, after, stride=2), conv_bn_relu(after, after))
            for before, after in zip(channels, deeper)
        )

        self.out_channels = list(channels)[skip:]
        self.strides = [4 * 2**level for level in range(len(channels))][skip:]

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Compute the maps.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            Ordered dict ``"4", "8", "16", "32"`` → (B, C_s, ⌈H/s⌉, ⌈W/s⌉), finest first.

        Raises:
            ValueError: in training, for a single image of at most 32 × 32 pixels (or one coarsest
                stride, if that is less); not where several processes train together, since `fit`
                then shares the statistics between them.
        """
        single_location = len(images) == 1 and max(images.shape[-2:]) <= self.strides[-1]
        if self.training and single_location and world_size() == 1:
            raise ValueError(
                f"one image of {images.shape[-2]} × {images.shape[-1]} pixels is a single location "
                f"at stride {self.strides[-1]}, over which batch normalisation has no variance: "
                "train on larger images or on two at a time"
            )

        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))

        return OrderedDict((str(stride), x) for stride, x in zip(self.strides, maps[self.skip :]))
