"""Anchors: the boxes of fixed sizes and shapes that a detector starts from.

Every location of a feature map holds the same A boxes, moved to where the location stands in the
image. The network then says of each whether an object is there, and how to move it onto the object.

Shapes: L levels (feature maps); level l has H_l × W_l locations, stride s_l in pixels, A_l anchors
per location. Boxes are xyxy in pixels of the padded batch.

**The aspect ratio is height / width**: ratio 2 is a tall box. With size s and ratio r, the width is
s / √r and the height s · √r, so that the area stays s². (SSD and YOLO count the other way round.)

Where to get shapes from: an R-CNN has a grid of sizes and ratios; YOLO looks at the objects that it
will be trained on and takes the shapes that they group around (`kmeans_anchors`).

Source: Ren et al. 2015, "Faster R-CNN" (arXiv 1506.01497), §3.1.1; one size per level is from FPN
(Lin et al. 2017, arXiv 1612.03144), §4.1; anchors by k-means from YOLOv2 (Redmon and Farhadi 2017,
arXiv 1612.08242), §2, "Dimension Clusters".

Where we differ from torchvision:
    - Anchors stand in the middle of their cell, and nothing is rounded. Rounding makes of an anchor
      of 32 pixels with ratio 0.5 one of 46 × 22, with ratio 0.48. `AnchorGenerator`, which bears
      torchvision's name, puts them at the cell's top left corner unless told otherwise.
    - Strides can be given; torchvision always takes them from the sizes of image and map.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def make_anchors(
    height: int,
    width: int,
    stride: float | tuple[float, float],
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    *,
    centre_offset: float = 0.5,
    round_anchors: bool = False,
    device: torch.device | None = None,
) -> Tensor:
    """Put boxes of given sizes and shapes into every cell of a feature map.

    Args:
        height: H, rows of the map.
        width: W, columns of the map.
        stride: pixels from one cell to the next; or two such numbers, down and across.
        sizes: S sizes in pixels; an anchor of size s has area s².
        aspect_ratios: R ratios, height / width.
        centre_offset: where in its cell an anchor is centred, as a share of the stride: 0.5 is the
            middle, 0 the top left corner (torchvision).
        round_anchors: round the corners, seen from the centre, to whole pixels (torchvision).
        device: where to make them.

    Returns:
        (H·W·R·S, 4): row by row, in it column by column, in it ratio by ratio, in it size by size.

    Raises:
        ValueError: if a size or ratio is not positive.
    """
    for name, values in (("size", sizes), ("aspect ratio", aspect_ratios)):
        if len(values) == 0 or not all(value > 0 for value in values):
            listed = [float(value) for value in values]
            raise ValueError(f"anchor {name}s are {listed}: expected positive numbers")

    size = torch.tensor(sizes, dtype=torch.float64)  # (S,)
    ratio = torch.tensor(aspect_ratios, dtype=torch.float64)[:, None]  # (R, 1)

    # The area of an anchor is its size squared, whatever its shape: (s / √r) · (s · √r) = s².
    half_width = size / ratio.sqrt() / 2  # (R, S)
    half_height = size * ratio.sqrt() / 2
    half = torch.stack((half_width, half_height), dim=-1).flatten(0, 1).float()  # (A, 2)
    if round_anchors:
        half = half.round()
    half = half.to(device)

    # The centres of the cells, x and y.
    stride_y, stride_x = stride if isinstance(stride, Sequence) else (stride, stride)
    y = (torch.arange(height, device=device) + centre_offset) * stride_y
    x = (torch.arange(width, device=device) + centre_offset) * stride_x
    centre = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (H, W, 2)

    # Every centre with every shape.
    centre = centre[:, :, None]  # (H, W, 1, 2)
    return torch.cat((centre - half, centre + half), dim=-1).flatten(0, 2)  # (H·W·A, 4)


class AnchorGenerator(nn.Module):
    """`make_anchors` for one or several feature maps, in torchvision's form.

    Args:
        sizes: for each level its sizes in pixels; plain numbers are one size a level.
        aspect_ratios: for each level its ratios height / width; plain numbers hold at every level.
        round_anchors: see `make_anchors`.
        centre_offset: see `make_anchors`.

    Raises:
        ValueError: if the two differ in length, or a size or ratio is not positive.
    """

    def __init__(
        self,
        sizes: Sequence[float] | Sequence[Sequence[float]] = ((128, 256, 512),),
        aspect_ratios: Sequence[float] | Sequence[Sequence[float]] = ((0.5, 1.0, 2.0),),
        *,
        round_anchors: bool = False,
        centre_offset: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(sizes[0], Sequence):
            sizes = [(size,) for size in sizes]
        if not isinstance(aspect_ratios[0], Sequence):
            aspect_ratios = [aspect_ratios] * len(sizes)
        if len(sizes) != len(aspect_ratios):
            raise ValueError(
                f"sizes are given for {len(sizes)} levels, aspect_ratios for {len(aspect_ratios)}: "
                "give both for every level"
            )
        self.sizes = [tuple(level) for level in sizes]
        self.aspect_ratios = [tuple(level) for level in aspect_ratios]
        self.round_anchors = round_anchors
        self.centre_offset = centre_offset

        # Sizes and ratios that cannot be are found here, and not in the first batch.
        for level_sizes, level_ratios in zip(self.sizes, self.aspect_ratios):
            self.generate_anchors(level_sizes, level_ratios)

    @property
    def cell_anchors(self) -> list[Tensor]:
        """Per level (A_l, 4) anchors around the origin: ratio by ratio, in each size by size."""
        levels = zip(self.sizes, self.aspect_ratios)
        return [self.generate_anchors(sizes, ratios) for sizes, ratios in levels]

    def num_anchors_per_location(self) -> list[int]:
        """Return A_l for each level."""
        levels = zip(self.sizes, self.aspect_ratios)
        return [len(sizes) * len(ratios) for sizes, ratios in levels]

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
        return make_anchors(
            height=1,
            width=1,
            stride=1,
            sizes=scales,
            aspect_ratios=aspect_ratios,
            centre_offset=0.0,
            round_anchors=self.round_anchors,
        )

    def grid_anchors(
        self,
        grid_sizes: Sequence[tuple[int, int]],
        strides: Sequence[tuple[int, int]],
        device: torch.device | None = None,
    ) -> list[Tensor]:
        """Put the anchors of one location at every location.

        Args:
            grid_sizes: (H_l, W_l) of each level.
            strides: (vertical, horizontal) pixels from one location to the next, of each level.
            device: where to make them.

        Returns:
            Per level (H_l·W_l·A_l, 4): row by row, within a row column by column, and at each
            location the anchors in the order of `cell_anchors`.

        Raises:
            ValueError: if the number of levels is not that of the sizes.
        """
        if not len(grid_sizes) == len(strides) == len(self.sizes):
            raise ValueError(
                f"{len(grid_sizes)} feature maps and {len(strides)} strides came to anchors of "
                f"{len(self.sizes)} levels: give one size tuple for every feature map"
            )

        levels = zip(grid_sizes, strides, self.sizes, self.aspect_ratios)
        return [
            make_anchors(
                height,
                width,
                stride,
                sizes,
                ratios,
                centre_offset=self.centre_offset,
                round_anchors=self.round_anchors,
                device=device,
            )
            for (height, width), stride, sizes, ratios in levels
        ]

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

        anchors = torch.cat(self.grid_anchors(grid_sizes, strides, feature_maps[0].device))
        return [anchors] * len(images)


def shape_iou(sides1: Tensor, sides2: Tensor) -> Tensor:
    """Return the IoU of each box of one list with each of another, all on one centre.

    Where a box lies is left out: this compares shapes.

    Args:
        sides1: (..., N, 2) widths and heights.
        sides2: (..., M, 2) widths and heights.

    Returns:
        (..., N, M), in [0, 1].
    """
    sides1 = sides1[..., :, None, :]  # (..., N, 1, 2)
    sides2 = sides2[..., None, :, :]  # (..., 1, M, 2)

    # On one centre the intersection is as wide as the narrower and as high as the lower of the two.
    intersection = torch.minimum(sides1, sides2).prod(dim=-1)  # (..., N, M)
    union = sides1.prod(dim=-1) + sides2.prod(dim=-1) - intersection
    return intersection / union


@torch.no_grad()
def kmeans_anchors(sides: Tensor, start: Tensor, *, max_iterations: int = 300) -> Tensor:
    """Find the shapes around which the objects of a data set group.

    k-means with 1 − IoU for a distance: by the Euclidean one, large boxes would draw nearly all
    anchors to themselves, since their sides differ by more pixels (YOLOv2, §2). It ends when no
    object changes its anchor. Another start may lead to other anchors.

    Args:
        sides: (N, 2) widths and heights of the objects, in pixels.
        start: (k, 2) anchors to begin with, such as `choose_start` draws. An anchor that no object
            is like stays as it is.
        max_iterations: an end if objects go to and fro between anchors, which can happen: the mean
            of some shapes is not the shape with the least mean distance from them.

    Returns:
        (k, 2) float32 widths and heights, smallest area first.

    Raises:
        ValueError: if sides or start are malformed, or one of them is empty.
    """
    _check_sides(sides, "sides")
    _check_sides(start, "start")
    sides, anchors = sides.double(), start.double()  # sums of many objects, to the last pixel

    nearest = None
    for _ in range(max_iterations):
        # Every object goes to the anchor that is most like it.
        before, nearest = nearest, shape_iou(sides, anchors).argmax(dim=1)  # (N,)
        if before is not None and torch.equal(nearest, before):
            break

        # Every anchor becomes the mean of its objects.
        members = F.one_hot(nearest, len(anchors)).to(sides)  # (N, k)
        counts = members.sum(dim=0)[:, None]  # (k, 1)
        means = members.T @ sides / counts.clamp(min=1)  # (k, 2)
        anchors = torch.where(counts > 0, means, anchors)

    return anchors[anchors.prod(dim=1).argsort()].float()


def choose_start(sides: Tensor, num_anchors: int, *, seed: int = 0) -> Tensor:
    """Draw the anchors with which `kmeans_anchors` begins: k objects, no two of them alike.

    Args:
        sides: (N, 2) widths and heights of the objects, in pixels.
        num_anchors: k.
        seed: decides which objects they are.

    Returns:
        (k, 2) widths and heights.

    Raises:
        ValueError: if sides are malformed, or fewer than k of them differ.
    """
    _check_sides(sides, "sides")
    distinct = sides.unique(dim=0)  # (n, 2)
    if not 1 <= num_anchors <= len(distinct):
        raise ValueError(
            f"num_anchors is {num_anchors}: expected 1 … {len(distinct)}, the number of objects "
            "that differ in width or height"
        )

    random = torch.Generator().manual_seed(seed)
    return distinct[torch.randperm(len(distinct), generator=random)[:num_anchors]]


def _check_sides(sides: Tensor, name: str) -> None:
    """Raise ValueError for what are no widths and heights."""
    if sides.ndim != 2 or sides.shape[1] != 2 or len(sides) == 0:
        raise ValueError(
            f"{name} have shape {tuple(sides.shape)}: expected (N, 2), widths and heights of at "
            "least one; of boxes (N, 4) take boxes[:, 2:] - boxes[:, :2]"
        )

    wrong = ~(sides.isfinite() & (sides > 0)).all(dim=1)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name}[{first}] is {sides[first].tolist()}: expected a width and a height above 0"
        )
