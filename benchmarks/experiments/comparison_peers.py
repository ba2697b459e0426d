"""torchvision's detectors behind the book's contract, so that the same `fit` trains them.

They are built as torchvision builds them, with the smallest of its backbones, a ResNet-18, and with
random weights, since ours start from none either. Their batch normalisation learns (torchvision
freezes it where pretrained statistics come along). What they do to an image's size is a choice:
they enlarge it to a shorter side of 800 pixels by default.

torchvision counts the background as class 0. Its one-stage detectors have a score for it that
learns to be low; labels go in and come out one higher in all three.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from detlearn.samples import Detections, Target

NUM_CLASSES = 10


class Peer(nn.Module):
    """A detector of torchvision whose labels begin at 0.

    Args:
        detector: whose label 0 is the background.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """Return the losses in training mode, else detections; see `detlearn.models.Detector`."""
        if self.training:
            shifted = [{**target, "labels": target["labels"] + 1} for target in targets]
            return self.detector(list(images), shifted)

        # A score for the background class is a detection of nothing.
        found = []
        for answer in self.detector(list(images)):
            real = answer["labels"] > 0
            found.append(
                {
                    "boxes": answer["boxes"][real],
                    "scores": answer["scores"][real],
                    "labels": answer["labels"][real] - 1,
                }
            )
        return found


def peer(name: str, side: int) -> Peer:
    """Build one of torchvision's detectors with a ResNet-18 pyramid and random weights.

    Args:
        name: "fasterrcnn", "fcos" or "retinanet".
        side: pixels to which the shorter side of an image is brought; the longer at most 1333 / 800
            of it, torchvision's ratio.

    Raises:
        ValueError: for another name.
    """
    builders = {
        "fasterrcnn": detection.FasterRCNN,
        "fcos": detection.FCOS,
        "retinanet": detection.RetinaNet,
    }
    if name not in builders:
        raise ValueError(f"no peer called {name!r}; there are: {', '.join(builders)}")

    # One-stage detectors: maps of strides 8 to 128; the two-stage one: 4 to 64, as in torchvision.
    one_stage = name != "fasterrcnn"
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4] if one_stage else None,
        extra_blocks=LastLevelP6P7(256, 256) if one_stage else None,
    )
    return Peer(
        builders[name](
            backbone,
            num_classes=NUM_CLASSES + 1,
            min_size=side,
            max_size=round(side * 1333 / 800),
        )
    )
