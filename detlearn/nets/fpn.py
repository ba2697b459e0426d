"""Feature pyramid network: maps that are both fine and wise.

A backbone's fine maps know where things are and its coarse ones what they are. The pyramid walks
down from the coarsest: each map is widened to the next finer one's size and added to it.

Shapes: B images, levels from fine to coarse with C_l channels and H_l × W_l cells; D channels in
every map of the pyramid.

Sources: Lin et al. 2017, "Feature Pyramid Networks for Object Detection" (arXiv 1612.03144), §3;
P6 and P7 by convolutions from "Focal Loss for Dense Object Detection" (Lin et al. 2017, arXiv
1708.02002), §4.

Where we differ from torchvision: the names, ``lateral`` and ``output`` for its ``inner_blocks`` and
``layer_blocks``; `detlearn.pretrained` renames weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FeaturePyramidNetwork(nn.Module):
    """The top-down pathway with its lateral connections.

    Args:
        in_channels_list: C_l of the maps, finest first.
        out_channels: D.
        extra_blocks: makes coarser maps: called with the pyramid's maps (a list, finest first) and
            the backbone's, returns a list of further maps. `max_pool_level` is the one of R-CNNs,
            `LevelsP6P7` is RetinaNet's.
        norm_layer: normalisation after every convolution, called with D; without one the
            convolutions have a bias instead. No activation follows them.
        num_levels: how many maps come out, the finest ones; coarser ones then only feed them. All
            by default.

    Raises:
        ValueError: if there is no map, or one has no channel, or none or too many are to come
            out.
    """

    def __init__(
        self,
        in_channels_list: Sequence[int],
        out_channels: int,
        extra_blocks: Callable[[list[Tensor], list[Tensor]], list[Tensor]] | None = None,
        norm_layer: Callable[[int], nn.Module] | None = None,
        num_levels: int | None = None,
    ) -> None:
        super().__init__()

        if not in_channels_list or min(in_channels_list) < 1:
            raise ValueError(
                f"in_channels_list is {list(in_channels_list)}: expected positive ints"
            )

        self.num_levels = len(in_channels_list) if num_levels is None else num_levels
        if not 1 <= self.num_levels <= len(in_channels_list):
            raise ValueError(
                f"num_levels is {num_levels}: expected 1 … {len(in_channels_list)}, the number of "
                "maps, or None for all of them"
            )

        self.lateral = nn.ModuleList(
            _conv(channels, out_channels, 1, norm_layer) for channels in in_channels_list
        )
        self.output = nn.ModuleList(
            _conv(out_channels, out_channels, 3, norm_layer) for _ in range(self.num_levels)
        )

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

        # Last, since an extra block that is a module brings its own weights.
        self.extra_blocks = extra_blocks

    def forward(self, x: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Build the pyramid.

        Args:
            x: maps (B, C_l, H_l, W_l) by name, finest first.

        Returns:
            Maps (B, D, H_l, W_l) by the same names, finest first; further ones are called "pool",
            or "pool1", "pool2", … if there are several.

        Raises:
            ValueError: for another number of maps.
        """
        maps = list(x.values())
        if len(maps) != len(self.lateral):
            raise ValueError(f"{len(maps)} maps came to a pyramid of {len(self.lateral)}")

        # All maps with the same number of channels.
        laterals = [lateral(features) for lateral, features in zip(self.lateral, maps)]

        # From the coarsest down, each enlarged to the exact size of the next finer map, which need
        # not be twice as large, and added to it.
        merged = [laterals[-1]]
        for finer in reversed(laterals[:-1]):
            enlarged = F.interpolate(merged[0], size=finer.shape[-2:])
            merged.insert(0, finer + enlarged)

        # A convolution smooths what the enlarging left in squares.
        pyramid = [output(features) for output, features in zip(self.output, merged)]
        names = list(x)[: self.num_levels]
        if self.extra_blocks is None:
            return OrderedDict(zip(names, pyramid))

        extra = self.extra_blocks(pyramid, maps)
        if len(extra) == 1:
            names.append("pool")
        else:
            names += [f"pool{i}" for i in range(1, len(extra) + 1)]
        return OrderedDict(zip(names, pyramid + extra))


def max_pool_level(pyramid: list[Tensor], maps: list[Tensor]) -> list[Tensor]:
    """Return one more level for the largest anchors: every second cell of the coarsest map."""
    return [F.max_pool2d(pyramid[-1], kernel_size=1, stride=2)]


class LevelsP6P7(nn.Module):
    """Two more levels, each by a convolution that halves the map: P6, and P7 from ReLU of P6.

    Args:
        in_channels: channels of the map that P6 is made of: the pyramid's coarsest one, P5, or the
            backbone's, C5.
        out_channels: D.
        from_backbone: make P6 of C5, as RetinaNet's paper does; else of P5, as FCOS and
            torchvision's published RetinaNet do.
    """

    num_levels = 2

    def __init__(self, in_channels: int, out_channels: int, *, from_backbone: bool = False) -> None:
        super().__init__()
        self.from_backbone = from_backbone
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        for conv in (self.p6, self.p7):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    def forward(self, pyramid: list[Tensor], maps: list[Tensor]) -> list[Tensor]:
        """Return P6 and P7; see `FeaturePyramidNetwork`, which calls this."""
        p6 = self.p6(maps[-1] if self.from_backbone else pyramid[-1])
        return [p6, self.p7(F.relu(p6))]


class PyramidBackbone(nn.Module):
    """A backbone with a feature pyramid on top; itself a backbone.

    Args:
        body: maps images to an ordered dict of maps, finest first; has ``out_channels`` and
            ``strides``.
        out_channels: D, channels of every map of the pyramid.
        extra_level: add one more level by `max_pool_level`, unless there are `extra_blocks`.
        extra_blocks: adds others, see `FeaturePyramidNetwork`; has ``num_levels``, how many.
        skip: so many of the body's finest maps are left out.
        norm_layer, num_levels: see `FeaturePyramidNetwork`.

    Attributes:
        out_channels: D once for each level.
        strides: pixels per cell of each level.
    """

    def __init__(
        self,
        body: nn.Module,
        out_channels: int = 256,
        *,
        extra_level: bool = True,
        extra_blocks: nn.Module | None = None,
        skip: int = 0,
        norm_layer: Callable[[int], nn.Module] | None = None,
        num_levels: int | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.skip = skip

        num_extra = 0
        if extra_blocks is not None:
            num_extra = extra_blocks.num_levels
        elif extra_level:
            extra_blocks, num_extra = max_pool_level, 1

        self.fpn = FeaturePyramidNetwork(
            body.out_channels[skip:],
            out_channels,
            extra_blocks=extra_blocks,
            norm_layer=norm_layer,
            num_levels=num_levels,
        )

        self.strides = list(body.strides[skip:][: self.fpn.num_levels])
        for _ in range(num_extra):
            self.strides.append(2 * self.strides[-1])
        self.out_channels = [out_channels] * len(self.strides)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Compute the pyramid of images (B, 3, H, W): maps (B, D, ⌈H/s⌉, ⌈W/s⌉), finest first."""
        maps = self.body(images)

        # What is left out is forgotten here, before pyramid and heads need the memory.
        for _ in range(self.skip):
            maps.popitem(last=False)
        return self.fpn(maps)


def conv_tower(
    channels: int, num_convs: int, norm_layer: Callable[[int], nn.Module] | None
) -> nn.Sequential:
    """Return a stack of convolutions that keeps a map's shape: a branch of a head.

    Args:
        channels: of the map, and of every convolution.
        num_convs: 3 × 3 convolutions, each with a ReLU.
        norm_layer: normalisation before each ReLU, called with the channels; None for none.

    Returns:
        (B, C, h, w) → (B, C, h, w).
    """
    layers = []
    for _ in range(num_convs):
        layers.append(nn.Conv2d(channels, channels, 3, padding=1))
        if norm_layer is not None:
            layers.append(norm_layer(channels))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def _conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    norm_layer: Callable[[int], nn.Module] | None,
) -> nn.Sequential:
    """Return a convolution that keeps the map's size, with its normalisation if there is one."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=norm_layer is None
    )

    if norm_layer is None:
        return nn.Sequential(conv)
    return nn.Sequential(conv, norm_layer(out_channels))
