"""Residual networks, the backbone of most published detectors.

Each block adds a correction to what it was given; where the size changes, the given is projected
first. Named and ordered as torchvision's, so that its weights load as they are.

Shapes: B images of H × W pixels; the maps C2 … C5 have strides 4, 8, 16, 32.

Source: He et al. 2016, "Deep Residual Learning for Image Recognition" (arXiv 1512.03385).

Where we differ from the paper: the stride of a bottleneck sits in its 3 × 3 convolution, as in all
present weights ("v1.5"), not in the first 1 × 1. From torchvision: no classifier, the four maps
come out instead; a frozen batch normalisation is one pass over the map, torchvision's two.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import WeightsEnum


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and weights do not change.

    Detectors are trained with few images per step, too few for statistics: those that the backbone
    learnt from ImageNet are kept.

    Args:
        num_features: C.
        eps: added to the variance.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) in the dtype of x, which under autocast is a shorter one."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()  # (C,)
        shift = self.bias - self.running_mean * scale

        # Rounded before the pass over the map, as detectron2 does: operands of two dtypes would
        # make a float32 map, which takes a CPU several times as long.
        scale, shift = scale.to(x.dtype), shift.to(x.dtype)
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None])


def freeze_batch_norm(module: nn.Module, eps: float = 1e-5) -> None:
    """Replace every batch normalisation inside a module by a frozen one with its statistics.

    Args:
        module: changed in place.
        eps: added to the variance from now on.
    """
    for name, child in module.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            freeze_batch_norm(child, eps)
            continue

        frozen = FrozenBatchNorm2d(child.num_features, eps).to(child.running_mean)
        statistics = child.state_dict()
        statistics.pop("num_batches_tracked")
        frozen.load_state_dict(statistics)
        setattr(module, name, frozen)


NormLayer = Callable[[int], nn.Module]


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and the shortcut around them (ResNet-18 and 34).

    Args:
        in_channels: channels in.
        channels: channels of the convolutions, and out.
        stride: of the first convolution.
        norm_layer: normalisation, called with the number of channels.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        norm_layer: NormLayer = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = norm_layer(channels)

        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = norm_layer(channels)

        self.downsample = _projection(in_channels, channels, stride, norm_layer)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) → (B, channels, ⌈H/stride⌉, ⌈W/stride⌉)."""
        shortcut = x if self.downsample is None else self.downsample(x)

        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.bn2(self.conv2(x))
        return F.relu(x.add_(shortcut), inplace=True)


class Bottleneck(nn.Module):
    """1 × 1 to fewer channels, 3 × 3, 1 × 1 to four times as many (ResNet-50 and deeper).

    Args:
        in_channels: channels in.
        channels: channels of the 3 × 3 convolution; 4 · channels come out.
        stride: of the 3 × 3 convolution.
        norm_layer: normalisation, called with the number of channels.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        norm_layer: NormLayer = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = norm_layer(channels)

        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = norm_layer(channels)

        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = norm_layer(4 * channels)

        self.downsample = _projection(in_channels, 4 * channels, stride, norm_layer)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) → (B, 4·channels, ⌈H/stride⌉, ⌈W/stride⌉)."""
        shortcut = x if self.downsample is None else self.downsample(x)

        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = self.bn3(self.conv3(x))
        return F.relu(x.add_(shortcut), inplace=True)


def _projection(
    in_channels: int, out_channels: int, stride: int, norm_layer: NormLayer
) -> nn.Sequential | None:
    """Return what brings the shortcut to the block's size, or None where it has it already."""
    if stride == 1 and in_channels == out_channels:
        return None

    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), norm_layer(out_channels)
    )


class ResNet(nn.Module):
    """A residual network without its classifier, as a backbone.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        layers: blocks in each of the four stages.
        norm_layer: normalisation, called with the number of channels; `FrozenBatchNorm2d` for
            weights that were trained with it.

    Attributes:
        out_channels: channels of C2 … C5, as a list.
        strides: ``[4, 8, 16, 32]``.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: tuple[int, int, int, int],
        norm_layer: NormLayer = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm_layer(64)

        widths = (64, 128, 256, 512)
        in_channels = 64

        for i, (width, count) in enumerate(zip(widths, layers)):
            blocks = []
            for j in range(count):
                # The first block of a stage halves the map; the stem has done so for layer1.
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(block(in_channels, width, stride, norm_layer))
                in_channels = width * block.expansion

            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))

        self.out_channels = [width * block.expansion for width in widths]
        self.strides = [4, 8, 16, 32]

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Compute the maps.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            Ordered dict ``"4", "8", "16", "32"`` → C2 … C5 (B, C_s, ⌈H/s⌉, ⌈W/s⌉), finest first.
        """
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)  # (B, 64, ⌈H/4⌉, ⌈W/4⌉)

        maps = OrderedDict()
        layers = (self.layer1, self.layer2, self.layer3, self.layer4)
        for stride, layer in zip(self.strides, layers):
            x = layer(x)
            maps[str(stride)] = x

        return maps

    def freeze(self, trainable_layers: int) -> None:
        """Exclude all but the last of the five parts (stem, layer1 … layer4) from training.

        As in torchvision, only weights stay: an ordinary batch normalisation in a frozen part still
        uses the batch's statistics in training mode and moves its running ones. A frozen one
        (`freeze_batch_norm`) does not.

        Args:
            trainable_layers: how many remain trainable, 0 to 5; published detectors keep 3.

        Raises:
            ValueError: for another number.
        """
        if not 0 <= trainable_layers <= 5:
            raise ValueError(f"trainable_layers is {trainable_layers}: expected 0 … 5")

        parts = [[self.conv1, self.bn1], [self.layer1], [self.layer2], [self.layer3], [self.layer4]]
        for part in parts[: 5 - trainable_layers]:
            for module in part:
                module.requires_grad_(False)


def resnet18(norm_layer: NormLayer = nn.BatchNorm2d) -> ResNet:
    """ResNet-18 with random weights: 11.2 million parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), norm_layer)


def resnet50(norm_layer: NormLayer = nn.BatchNorm2d) -> ResNet:
    """ResNet-50 with random weights: 23.5 million parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), norm_layer)


def load_imagenet(model: ResNet, weights: WeightsEnum) -> bool:
    """Give a network torchvision's ImageNet weights, or say that it did not get them.

    A detector can also be trained from random weights, only longer; so without a connection this
    warns and leaves the network as it is.

    Args:
        model: changed in place.
        weights: for instance ``torchvision.models.ResNet50_Weights.IMAGENET1K_V1``.

    Returns:
        Whether the network has them now.
    """
    try:
        found = weights.get_state_dict(progress=True, check_hash=True)
    except OSError as error:  # URLError is one
        warnings.warn(
            f"{weights} was not loaded, the backbone starts from random weights: {error}",
            stacklevel=4,  # this function, `pretrained_resnet50`, the builder, who called it
        )
        return False

    # Without the classifier; and frozen normalisation counts no batches.
    wanted = model.state_dict()
    model.load_state_dict({name: found[name] for name in wanted})

    return True
