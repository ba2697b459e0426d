"""From a box on a feature map to a grid of numbers of fixed size.

A head with fully connected layers wants 7 × 7 numbers per channel, whatever the box's size.
`roi_pool` rounds the box to whole cells of the map and takes maxima; `roi_align` rounds nothing and
reads the map between its cells. Both are written here in plain PyTorch, equal to torchvision's
kernels forward and backward; the modules below use the kernels, which are faster.

Shapes: B images, C channels, a map of H × W cells, K boxes (regions of interest, RoIs), an output
grid of ph × pw bins, S samples along each side of a bin. Boxes are xyxy in pixels of the image;
``spatial_scale`` is 1 / stride.

Sources: RoIPool is from Fast R-CNN (Girshick 2015, arXiv 1504.08083, §2.1), RoIAlign from Mask
R-CNN (He et al. 2017, arXiv 1703.06870, §3), the choice of the level from FPN (Lin et al. 2017,
arXiv 1612.03144, eq. 1).

Where we differ from torchvision: boxes whose shape or image index is wrong raise an error; its
kernels read memory that is not theirs.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
import torchvision.ops
from torch import Tensor, nn


def roi_pool(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Cut each box into ph × pw bins of whole cells and take the maximum of each bin.

    The box is rounded twice: its corners to cells, and the borders of its bins outward to cells.
    Its end is inclusive: from cell 2 to cell 2 is one cell. A bin without a cell gives 0.

    Args:
        input: feature maps (B, C, H, W).
        boxes: (K, 5) image index and xyxy, or per image (n, 4) xyxy; in pixels of the image.
        output_size: (ph, pw), or one number for both.
        spatial_scale: cells per pixel, 1 / stride.

    Returns:
        (K, C, ph, pw).

    Raises:
        ValueError: if the boxes have another shape or name an image that is not there.
    """
    rois = _rois(input, boxes)
    image, xyxy = rois[:, 0].long(), rois[:, 1:]
    height, width = _pair(output_size)

    # The first rounding, with C's round: halves go away from zero, 2.5 to 3 (torch makes it 2).
    corners = xyxy * spatial_scale
    corners = corners.sign() * (corners.abs() + 0.5).floor()

    # The second one: which cells belong to each bin.
    rows, row_is_meant = _bins(corners[:, 1], corners[:, 3], height, input.shape[2])  # (K, ph, m)
    columns, column_is_meant = _bins(corners[:, 0], corners[:, 2], width, input.shape[3])
    meant = row_is_meant[:, :, None, :, None] & column_is_meant[:, None, :, None, :]

    # The m × n cells of every bin, m × n being those of the largest one.
    cells = input.permute(0, 2, 3, 1)[
        image[:, None, None, None, None],
        rows[:, :, None, :, None],
        columns[:, None, :, None, :],
    ]  # (K, ph, pw, m, n, C)

    # max() with an index passes the gradient to one cell, the first, as the kernel does.
    cells = cells.masked_fill(~meant[..., None], -torch.inf).flatten(3, 4)  # (K, ph, pw, m·n, C)
    pooled = cells.max(dim=3).values.permute(0, 3, 1, 2)  # (K, C, ph, pw)

    empty = ~meant.flatten(3).any(dim=-1)[:, None]  # (K, 1, ph, pw)
    return pooled.masked_fill(empty, 0.0)


def _bins(start: Tensor, end: Tensor, bins: int, size: int) -> tuple[Tensor, Tensor]:
    """Cells of each bin along one axis of RoIPool.

    Args:
        start: (K,) first cell of each RoI.
        end: (K,) last cell.
        bins: number of bins.
        size: cells of the map.

    Returns:
        Indices (K, bins, m), m the cells of the largest bin, and which of them are meant (same
        shape, bool).
    """
    # The end is inclusive, and a RoI has one cell at least.
    length = (end - start + 1).clamp(min=1)[:, None] / bins  # (K, 1), cells per bin

    # A bin's borders are rounded outward, so that neighbours may share a cell.
    number = torch.arange(bins, device=start.device)
    first = (number * length).floor() + start[:, None]  # (K, bins)
    after = ((number + 1) * length).ceil() + start[:, None]
    first = first.clamp(0, size).long()
    after = after.clamp(0, size).long()

    # As many indices for each bin as the largest one has cells.
    most = max(int((after - first).max()), 1) if len(first) else 1
    cells = first[..., None] + torch.arange(most, device=start.device)  # (K, bins, m)
    return cells.clamp(max=size - 1), cells < after[..., None]


def roi_align(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Cut each box into ph × pw bins and average the map at S × S points within each.

    Args:
        input: feature maps (B, C, H, W).
        boxes: (K, 5) image index and xyxy, or per image (n, 4) xyxy; in pixels of the image.
        output_size: (ph, pw), or one number for both.
        spatial_scale: cells per pixel, 1 / stride.
        sampling_ratio: S; 0 or less takes ⌈height or width of the bin in cells⌉.
        aligned: take the value of a cell to stand at its centre, half a cell from its corner, as
            pixels do. Without it, the older behaviour, features are read half a cell too far right
            and down, and boxes are at least one cell wide and high.

    Returns:
        (K, C, ph, pw).

    Raises:
        ValueError: if the boxes have another shape or name an image that is not there.
    """
    rois = _rois(input, boxes)
    image, xyxy = rois[:, 0].long(), rois[:, 1:]
    height, width = _pair(output_size)

    # From pixels of the image to cells of the map; nothing is rounded.
    corners = xyxy * spatial_scale - (0.5 if aligned else 0.0)
    left_top, sides = corners[:, :2], corners[:, 2:] - corners[:, :2]  # (K, 2): x, y
    if not aligned:
        sides = sides.clamp(min=1)

    bin_sides = sides / sides.new_tensor([width, height])  # (K, 2)
    samples = bin_sides.ceil().long()  # (K, 2): points along each side of a bin
    if sampling_ratio > 0:
        samples = torch.full_like(samples, sampling_ratio)

    # RoIs of one image with equally many points go together.
    groups = torch.cat((image[:, None], samples), dim=1)  # (K, 3)

    # The zero of boxes without points: the sum over no image, which is connected to the input.
    zero = input[:0].sum()
    pooled = zero.expand(len(rois), input.shape[1], height, width)
    for group in groups.unique(dim=0):
        number, samples_x, samples_y = group.tolist()
        if min(samples_x, samples_y) < 1:  # a box without area has no point: 0
            continue

        mine = (groups == group).all(dim=1).nonzero()[:, 0]  # (k,)
        x = _sample_positions(left_top[mine, 0], bin_sides[mine, 0], width, samples_x)
        y = _sample_positions(left_top[mine, 1], bin_sides[mine, 1], height, samples_y)

        # Every column of points with every row, and of each bin the mean.
        values = bilinear_sample(input[number], x[:, None, :], y[:, :, None])
        values = values.unflatten(3, (width, samples_x))  # (C, k, ph·S_y, pw, S_x)
        values = values.unflatten(2, (height, samples_y))  # (C, k, ph, S_y, pw, S_x)
        means = values.mean(dim=(3, 5)).transpose(0, 1)  # (k, C, ph, pw)
        pooled = pooled.index_put((mine,), means.to(pooled.dtype))

    return pooled


def _sample_positions(start: Tensor, bin_size: Tensor, bins: int, samples: int) -> Tensor:
    """Return positions (K, bins·S) along one axis: the middles of S equal parts of each bin.

    A point on the very border of the map is read, or not, as the last bit decides. So the order of
    the operations is the kernel's.
    """
    bin_start = start[:, None] + torch.arange(bins).to(start) * bin_size[:, None]  # (K, bins)
    from_there = (torch.arange(samples).to(start) + 0.5) * bin_size[:, None] / samples  # (K, S)
    return (bin_start[:, :, None] + from_there[:, None, :]).flatten(1)


def bilinear_sample(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Read a feature map between its cells.

    The value at (x, y) is the mean of the four cells around it, weighted by how near they are.
    Up to one cell outside of the map it is that of the nearest border; beyond, it is 0.

    Args:
        features: (C, H, W); the value of cell (i, j) stands at y = i, x = j.
        x: (...) in cells.
        y: (...) in cells; the two shapes broadcast.

    Returns:
        (C, ...), with what they broadcast to.
    """
    height, width = features.shape[-2:]
    outside = (x < -1) | (x > width) | (y < -1) | (y > height)
    x = x.clamp(0, width - 1)
    y = y.clamp(0, height - 1)

    # The four cells around each position; at the last row and column there is no next one.
    left, top = x.floor().long(), y.floor().long()
    right = (left + 1).clamp(max=width - 1)
    bottom = (top + 1).clamp(max=height - 1)

    # How far a position lies from the left and the upper cells, on its way to the others.
    across, down = x - left, y - top
    upper = features[:, top, left] * (1 - across) + features[:, top, right] * across  # (C, ...)
    lower = features[:, bottom, left] * (1 - across) + features[:, bottom, right] * across
    return (upper * (1 - down) + lower * down).masked_fill(outside, 0)


class RoIPooling(nn.Module):
    """RoIPool of one feature map, by torchvision's kernel.

    Args:
        output_size: (ph, pw), or one number for both.
        spatial_scale: cells per pixel, 1 / stride.
    """

    def __init__(self, output_size: int | tuple[int, int], spatial_scale: float) -> None:
        super().__init__()
        self.output_size, self.spatial_scale = _pair(output_size), spatial_scale

    def forward(self, input: Tensor, boxes: Tensor | Sequence[Tensor]) -> Tensor:
        """Pool (B, C, H, W) under boxes, as `roi_pool` takes them, to (K, C, ph, pw)."""
        rois = _rois(input, boxes)
        return _kernel(torchvision.ops.roi_pool, input, rois, self.output_size, self.spatial_scale)


class RoIAlign(nn.Module):
    """RoIAlign of one feature map, by torchvision's kernel.

    Args:
        output_size: (ph, pw), or one number for both.
        spatial_scale: cells per pixel, 1 / stride.
        sampling_ratio: points along each side of a bin; 0 or less adapts it to the box.
        aligned: see `roi_align`.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int = -1,
        aligned: bool = False,
    ) -> None:
        super().__init__()
        self.output_size, self.spatial_scale = _pair(output_size), spatial_scale
        self.sampling_ratio, self.aligned = sampling_ratio, aligned

    def forward(self, input: Tensor, boxes: Tensor | Sequence[Tensor]) -> Tensor:
        """Read (B, C, H, W) under boxes, as `roi_align` takes them, as (K, C, ph, pw)."""
        return _kernel(
            torchvision.ops.roi_align,
            input,
            _rois(input, boxes),
            self.output_size,
            self.spatial_scale,
            self.sampling_ratio,
            self.aligned,
        )


class MultiScaleRoIAlign(nn.Module):
    """RoIAlign on a pyramid: each box is read from the level that suits its size.

    A box of canonical_scale × canonical_scale pixels goes to canonical_level, one of twice that
    side to the next coarser level: level = ⌊canonical_level + log2(√area / canonical_scale)⌋,
    within the levels that there are. Level k has stride 2^k. The canonical 224 pixels of level 4
    are the size of the ImageNet crops on which backbones were once trained.

    Args:
        featmap_names: names of the maps to use, finest first.
        output_size: (ph, pw), or one number for both.
        sampling_ratio: points along each side of a bin; 0 or less adapts it to the box.
        canonical_scale: in pixels.
        canonical_level: the level of boxes of that size.
        aligned: see `roi_align`.
    """

    def __init__(
        self,
        featmap_names: Sequence[str],
        output_size: int | tuple[int, int],
        sampling_ratio: int,
        *,
        canonical_scale: float = 224,
        canonical_level: int = 4,
        aligned: bool = False,
    ) -> None:
        super().__init__()
        self.featmap_names, self.output_size = list(featmap_names), _pair(output_size)
        self.sampling_ratio, self.aligned = sampling_ratio, aligned
        self.canonical_scale, self.canonical_level = canonical_scale, canonical_level

    def levels(self, boxes: Tensor) -> Tensor:
        """Return the level k of boxes (K, 4) as (K,) whole numbers, before they are limited.

        The 1e-6 puts a box of exactly the canonical size on the upper side of rounding errors.
        """
        sizes = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
        ratio = torch.log2(sizes / self.canonical_scale)
        return (self.canonical_level + ratio + 1e-6).floor()

    def pool(self, features: Tensor, rois: Tensor, spatial_scale: float) -> Tensor:
        """Read one level (B, C, H, W) under rois (k, 5) as (k, C, ph, pw)."""
        return _kernel(
            torchvision.ops.roi_align,
            features,
            rois,
            self.output_size,
            spatial_scale,
            self.sampling_ratio,
            self.aligned,
        )

    def forward(
        self,
        x: Mapping[str, Tensor],
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Pool.

        Args:
            x: maps (B, C, H_l, W_l) by name; others than `featmap_names` are left alone.
            boxes: per image (n, 4) xyxy in pixels.
            image_shapes: (height, width) per image, or of the padded batch. The stride of a level
                is the power of two nearest to the longest side divided by the map's.

        Returns:
            (K, C, ph, pw) for the K boxes of all images, in their order.

        Raises:
            ValueError: if a map is missing, strides do not double from map to map, or boxes have
                another shape.
        """
        if missing := [name for name in self.featmap_names if name not in x]:
            raise ValueError(f"feature maps {missing} are missing, there are {list(x)}")
        maps = [x[name] for name in self.featmap_names]
        rois = _rois(maps[0], boxes)  # (K, 5)

        # Each level's scale, measured along the batch's longer side.
        height = max(height for height, _ in image_shapes)
        width = max(width for _, width in image_shapes)
        if height >= width:
            scales = [_power_of_two(features.shape[-2] / height) for features in maps]
        else:
            scales = [_power_of_two(features.shape[-1] / width) for features in maps]

        if len(maps) == 1:
            return self.pool(maps[0], rois, scales[0])

        if any(scale != scales[0] / 2**i for i, scale in enumerate(scales)):
            raise ValueError(
                f"the maps have strides {[round(1 / s) for s in scales]}: each must be twice that "
                "of the map before, finest first, and images padded to a multiple of the last"
            )

        # The level that suits a box, or the nearest that there is.
        finest, coarsest = -round(math.log2(scales[0])), -round(math.log2(scales[-1]))
        level = self.levels(rois[:, 1:]).clamp(finest, coarsest).long() - finest  # (K,)

        pooled = maps[0].new_zeros(len(rois), maps[0].shape[1], *self.output_size)
        for i, (features, scale) in enumerate(zip(maps, scales)):
            mine = (level == i).nonzero()[:, 0]
            pooled = pooled.index_put((mine,), self.pool(features, rois[mine], scale))

        return pooled


class MultiScaleRoIPool(MultiScaleRoIAlign):
    """The same with RoIPool, for the comparison of the two in the book."""

    def pool(self, features: Tensor, rois: Tensor, spatial_scale: float) -> Tensor:
        """Pool one level (B, C, H, W) under rois (k, 5) to (k, C, ph, pw)."""
        return _kernel(torchvision.ops.roi_pool, features, rois, self.output_size, spatial_scale)


def _kernel(
    kernel: Callable[..., Tensor], input: Tensor, rois: Tensor, *settings: object
) -> Tensor:
    """Call one of torchvision's kernels in the precision of the boxes; back to that of the map."""
    return kernel(input.to(rois.dtype), rois, *settings).to(input.dtype)


def _power_of_two(scale: float) -> float:
    return 2.0 ** round(math.log2(scale))


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _rois(input: Tensor, boxes: Tensor | Sequence[Tensor]) -> Tensor:
    """Check boxes and bring them to the form (K, 5): image index and xyxy, without gradient."""
    if not isinstance(boxes, Tensor):
        if len(boxes) != len(input) or any(b.shape[1:] != (4,) for b in boxes):
            raise ValueError(
                f"boxes of shapes {[tuple(b.shape) for b in boxes]} for {len(input)} images: "
                "expected one (n, 4) tensor per image"
            )
        # Each image's index goes before its boxes: (n, 4) → (n, 5).
        boxes = torch.cat([F.pad(b, (1, 0), value=i) for i, b in enumerate(boxes)])

    elif boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(
            f"boxes have shape {tuple(boxes.shape)}: expected (K, 5), the image's index and xyxy, "
            "or a list with one (n, 4) tensor per image"
        )

    elif len(boxes) and not (0 <= boxes[:, 0].min() and boxes[:, 0].max() < len(input)):
        raise ValueError(
            f"boxes name images {boxes[:, 0].min():g} to {boxes[:, 0].max():g}, "
            f"but the batch has {len(input)}"
        )

    # At least float32: in bfloat16 the pixel 701 would become 700.
    return boxes.detach().to(torch.promote_types(input.dtype, torch.float32))
