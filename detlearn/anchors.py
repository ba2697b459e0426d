"""Anchors: the boxes of fixed sizes and shapes that a detector starts from.

Every location of a feature map holds the same A boxes, moved to where the location stands in the
image. The network then says of each whether an object is there, and how to move it onto the object.

Shapes: L levels (feature maps); level l has H_l × W_l locations, stride s_l in pixels, A_l anchors
per location. Boxes are xyxy in pixels of the padded batch.

**The aspect ratio is height / width**: ratio 2 is a tall box. With size s and ratio r, the width is
s / √r and the height s · √r, so that the area stays s². (SSD and YOLO count the other way round.)

Source: Ren et al. 2015, "Faster R-CNN" (arXiv 1506.01497), §3.1.1; one size per level is from FPN
(Lin et al. 2017, arXiv 1612.03144), §4.1.

Where we differ from torchvision:
    - Corners are not rounded to whole pixels unless asked with ``round_anchors``: rounding makes of
      a 32-pixel anchor with ratio 0.5 one of 46 × 22, with ratio 0.48.
    - ``centre_offset`` moves anchors inside their cell: 0 puts them at its top left corner, as
      torchvision and detectron2 do, 0.5 in its middle, as the original code of the paper did.
    - Strides can be given; torchvision always takes them from the sizes of image and map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class AnchorGenerator(nn.Module):
    """Anchors of one or several feature maps.

    Args:
        sizes: for each level its sizes s in pixels (a box of size s has area s²).
        aspect_ratios: for each level its ratios height / width.
        round_anchors: round the corners of the anchors around the origin to whole pixels.
        centre_offset: where in its cell an anchor is centred, as a share of the stride, 0 to 1.

    Raises:
        ValueError: if the two differ in length, or a size or ratio is not positive.
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[float]] = ((128, 256, 512),),
        aspect_ratios: Sequence[Sequence[float]] = ((0.5, 1.0, 2.0),),
        *,
        round_anchors: bool = False,
        centre_offset: float = 0.0,
    ) -> None:
        super().__init__()
        # torchvision's short form: plain sizes are one per level, plain ratios hold at every level.
        if not isinstance(sizes[0], Sequence):
            sizes = [(size,) for size in sizes]
        if not isinstance(aspect_ratios[0], Sequence):
            aspect_ratios = [aspect_ratios] * len(sizes)
        if len(sizes) != len(aspect_ratios):
            raise ValueError(
                f"sizes are given for {len(sizes)} levels, aspect_ratios for {len(aspect_ratios)}: "
                "give both for every level"
            )
        self.round_anchors, self.centre_offset = round_anchors, centre_offset
        self.num_levels = len(sizes)
        for i, level in enumerate(zip(sizes, aspect_ratios)):
            # A buffer moves to the GPU with the model; it is a setting, not part of the weights.
            self.register_buffer(f"_level{i}", self.generate_anchors(*level), persistent=False)

    @property
    def cell_anchors(self) -> list[Tensor]:
        """Per level (A_l, 4) anchors around the origin: ratio by ratio, in each size by size."""
        return [getattr(self, f"_level{i}") for i in range(self.num_levels)]

    def num_anchors_per_location(self) -> list[int]:
        """Returns A_l for each level."""
        return [len(anchors) for anchors in self.cell_anchors]

    def generate_anchors(self, scales: Sequence[float], aspect_ratios: Sequence[float]) -> Tensor:
        """Make the anchors of one location.

        Args:
            scales: S sizes in pixels.
            aspect_ratios: R ratios, height / width.

        Returns:
            (R·S, 4) xyxy, centred on the origin.

        Raises:
            ValueError: if a size or ratio is not positive.
        """
        scales, ratios = torch.tensor(scales).double(), torch.tensor(aspect_ratios).double()
        for name, values in (("size", scales), ("aspect ratio", ratios)):
            if values.numel() == 0 or not (values > 0).all():
                raise ValueError(f"anchor {name}s are {values.tolist()}: expected positive numbers")
        heights = (ratios.sqrt()[:, None] * scales).flatten()  # (R·S,)
        widths = (scales / ratios.sqrt()[:, None]).flatten()
        anchors = (torch.stack([-widths, -heights, widths, heights], dim=1) / 2).float()
        return anchors.round() if self.round_anchors else anchors

    def grid_anchors(
        self, grid_sizes: Sequence[tuple[int, int]], strides: Sequence[tuple[int, int]]
    ) -> list[Tensor]:
        """Put the anchors of one location at every location.

        Args:
            grid_sizes: (H_l, W_l) of each level.
            strides: (vertical, horizontal) pixels from one location to the next, of each level.

        Returns:
            Per level (H_l·W_l·A_l, 4): row by row, within a row column by column, and at each
            location the anchors in the order of `cell_anchors`.

        Raises:
            ValueError: if the number of levels is not that of the sizes.
        """
        if not len(grid_sizes) == len(strides) == self.num_levels:
            raise ValueError(
                f"{len(grid_sizes)} feature maps and {len(strides)} strides came to anchors of "
                f"{self.num_levels} levels: give one size tuple for every feature map"
            )
        return [
            self._grid(anchors, *size, *stride)
            for anchors, size, stride in zip(self.cell_anchors, grid_sizes, strides)
        ]

    def _grid(
        self, anchors: Tensor, height: int, width: int, stride_y: int, stride_x: int
    ) -> Tensor:
        y = (torch.arange(height, device=anchors.device) + self.centre_offset) * stride_y
        x = (torch.arange(width, device=anchors.device) + self.centre_offset) * stride_x
        shift = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (H, W, 2), x and y
        return (shift.repeat(1, 1, 2)[:, :, None] + anchors).flatten(0, 2)  # (H·W·A, 4)

    def forward(self, image_list: Tensor, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        """Make the anchors of a batch, in torchvision's form.

        Args:
            image_list: the padded batch (B, 3, H, W), or torchvision's ``ImageList`` of it.
            feature_maps: L maps (B, C, H_l, W_l), whose strides are H // H_l and W // W_l.

        Returns:
            For each of the B images all anchors (Σ H_l·W_l·A_l, 4), level after level.
        """
        images = getattr(image_list, "tensors", image_list)
        grid_sizes = [tuple(x.shape[-2:]) for x in feature_maps]
        strides = [(images.shape[-2] // h, images.shape[-1] // w) for h, w in grid_sizes]
        anchors = torch.cat(self.grid_anchors(grid_sizes, strides))
        return [anchors] * len(images)
