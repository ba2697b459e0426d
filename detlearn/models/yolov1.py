"""YOLOv1: the whole image in one look, and one object a cell.

The image is squashed to a square and divided into S × S cells. The cell in which an object's centre
lies has to find it: each cell predicts n boxes, a confidence for each of them, and one set of K
class scores that its boxes share. All of it comes out of one pass as plain numbers and is learnt
by one sum of squared errors.

Shapes: B images of H × W pixels in the batch, S × S cells, n boxes a cell (the paper's B), K
classes, N objects, M of them that a cell learns. The grid has D = K + 5n numbers a cell:

    K class scores | n confidences | n times (x, y, √w, √h)

(x, y) is the centre as a share of the cell, from its upper left corner; w and h are shares of the
image. Row i, column j of the grid is the cell from (j·W/S, i·H/S) to ((j + 1)·W/S, (i + 1)·H/S).

Names: ``gt_*`` are annotations, ``pred_*`` predictions.

Source: Redmon et al. 2016, "You Only Look Once" (arXiv 1506.02640), §2; where the paper leaves
something open, the authors' Darknet.

What we keep of the paper: the network's last layer is linear, the loss is the sum of squared errors
with λ_coord = 5 and λ_noobj = 0.5, the network predicts √w and √h (a pixel counts more in a small
box than in a large one), the confidence learns the IoU of its box, a detection's score is
confidence × class score. And of Darknet: if none of a cell's boxes touches the object, the one
nearest to it is responsible.

Where we differ:

* The head is convolutional, the paper's has two fully connected layers of 4096 and S·S·D numbers.
  Those hold more than three quarters of its weights, and each cell must learn for itself what a
  dog looks like; one convolution learns it for all cells at once, which a minute's training needs.
  YOLOv2 made the same change.
* Hence D numbers stand together cell by cell. Darknet's vector has all class scores of the image
  first, then all confidences, then all boxes; within a cell our order is the same.
* The backbone is any that has ``out_channels`` and ``strides``, with batch normalisation; the
  paper's 24 convolutions, leaky ReLU and dropout are not rebuilt.
* Two objects in one cell: the smaller is learnt, the rule of the book's other detectors. Darknet
  takes the first of the objects in random order.
* Predicted scores are clamped to [0, 1] when they are decoded: nothing keeps a linear layer there.
* Two boxes a cell, as the paper has it; the configuration that was published has three.
* The loss is divided by the number of images; Darknet divides the learning rate instead.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detlearn.boxes import box_convert, clip_boxes_to_image, paired_iou
from detlearn.machine.distributed import normaliser
from detlearn.models.base import Detector, pad_targets
from detlearn.models.images import ImageBatcher
from detlearn.nets.small import SmallBackbone, conv_bn_relu
from detlearn.samples import Detections, Target

LAMBDA_COORD = 5.0
LAMBDA_NOOBJ = 0.5


class GridPredictions(NamedTuple):
    """What a grid of numbers says, in pixels.

    Attributes:
        boxes: (B, S, S, n, 4) xyxy in pixels of the batch.
        confidences: (B, S, S, n), how sure each box is of an object times how well it fits.
        class_scores: (B, S, S, K), of what the cell holds, if it holds anything.
    """

    boxes: Tensor
    confidences: Tensor
    class_scores: Tensor


class YOLOv1Outputs(NamedTuple):
    """What the network predicts.

    Attributes:
        grid: (B, S, S, K + 5n), the numbers of the last layer: see the module's head.
        image_size: height and width of the batch in pixels.
        sizes: height and width of each image in the batch: the same, since all were squashed.
    """

    grid: Tensor
    image_size: tuple[int, int]
    sizes: list[tuple[int, int]]


class YOLOv1Targets(NamedTuple):
    """Who learns what: the object of each cell, and which of the cell's boxes learns it.

    Attributes:
        cells: (B, S, S) int64, the index of the object whose class each cell learns, −1 for none.
        assigned: (B, P) int64, P = S·S·n boxes: the object that each box learns, −1 for the boxes
            whose confidence learns 0.
        points: (P, 2) centres of the boxes' cells, x and y in pixels.
        strides: (P,) pixels from one cell to the next.
        anchors: None, since the boxes start from points.
    """

    cells: Tensor
    assigned: Tensor
    points: Tensor
    strides: Tensor
    anchors: None = None


# ---- from numbers to boxes -----------------------------------------------------------------------


def decode_grid(grid: Tensor, num_classes: int, image_size: tuple[int, int]) -> GridPredictions:
    """Turn the numbers of all cells into boxes, confidences and class scores (paper, §2).

    Args:
        grid: (B, S, S, K + 5n): K class scores, n confidences, n times (x, y, √w, √h).
        num_classes: K.
        image_size: H and W of the batch in pixels.

    Returns:
        ``boxes`` (B, S, S, n, 4) xyxy in pixels, with the gradient of the numbers they come from,
        ``confidences`` (B, S, S, n) and ``class_scores`` (B, S, S, K), both as they are.
    """
    num_rows, num_columns, num_numbers = grid.shape[1:]
    num_boxes = (num_numbers - num_classes) // 5
    height, width = image_size

    class_scores, confidences, boxes = grid.split((num_classes, num_boxes, 4 * num_boxes), dim=-1)
    x, y, root_w, root_h = boxes.unflatten(-1, (num_boxes, 4)).unbind(-1)  # (B, S, S, n) each

    # A centre lies x cells to the right of its cell's corner, which is `column` cells from the
    # image's left side. Rows and columns are laid along the second and the third dimension.
    rows = torch.arange(num_rows, device=grid.device)[:, None, None]  # (S, 1, 1)
    columns = torch.arange(num_columns, device=grid.device)[:, None]  # (S, 1)
    centre_x = (columns + x) * (width / num_columns)
    centre_y = (rows + y) * (height / num_rows)

    # The network says √w. Whatever it says, the square is no negative width.
    w = root_w.square() * width
    h = root_h.square() * height

    corners = (centre_x - w / 2, centre_y - h / 2, centre_x + w / 2, centre_y + h / 2)
    return GridPredictions(torch.stack(corners, dim=-1), confidences, class_scores)


def naive_decode_grid(
    grid: Tensor, num_classes: int, image_size: tuple[int, int]
) -> GridPredictions:
    """The naive twin of `decode_grid`: one cell and one box at a time, to be read beside it.

    It takes the same arguments and returns the same values; ``benchmarks/decoding.py`` says how
    much longer it takes.
    """
    num_images, num_rows, num_columns, num_numbers = grid.shape
    num_boxes = (num_numbers - num_classes) // 5
    height, width = image_size

    boxes = grid.new_zeros(num_images, num_rows, num_columns, num_boxes, 4)
    confidences = grid.new_zeros(num_images, num_rows, num_columns, num_boxes)
    class_scores = grid.new_zeros(num_images, num_rows, num_columns, num_classes)

    for b in range(num_images):
        for row in range(num_rows):
            for column in range(num_columns):
                cell = grid[b, row, column]  # (K + 5n,)
                class_scores[b, row, column] = cell[:num_classes]

                for k in range(num_boxes):
                    confidences[b, row, column, k] = cell[num_classes + k]

                    start = num_classes + num_boxes + 4 * k
                    x, y, root_w, root_h = cell[start : start + 4]
                    centre_x = (column + x) / num_columns * width
                    centre_y = (row + y) / num_rows * height
                    half_w = root_w**2 * width / 2
                    half_h = root_h**2 * height / 2

                    boxes[b, row, column, k, 0] = centre_x - half_w
                    boxes[b, row, column, k, 1] = centre_y - half_h
                    boxes[b, row, column, k, 2] = centre_x + half_w
                    boxes[b, row, column, k, 3] = centre_y + half_h

    return GridPredictions(boxes, confidences, class_scores)


# ---- who learns what -----------------------------------------------------------------------------


@torch.no_grad()
def cell_objects(
    boxes: Tensor, real: Tensor, grid_size: int, image_size: tuple[int, int]
) -> Tensor:
    """Say which object each cell has to find: the one whose centre lies in it (paper, §2).

    A cell has room for one. Of several objects the smallest has it, of equally small ones the
    first; the others are learnt by nobody. A centre outside of the image belongs to the nearest
    cell, one on the line between two cells to the right or lower one.

    Args:
        boxes: (B, N, 4) xyxy in pixels, padded; N may be 0.
        real: (B, N) bool, which of them are no padding.
        grid_size: S.
        image_size: H and W of the batch in pixels.

    Returns:
        (B, S, S) int64, the object's index in its image, −1 for none.
    """
    num_images, num_objects = real.shape
    height, width = image_size

    # The cell of each centre, cells counted row by row.
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2  # (B, N, 2)
    places = centres * grid_size / boxes.new_tensor([width, height])
    columns, rows = places.floor().clamp(min=0, max=grid_size - 1).long().unbind(-1)  # (B, N) each
    cells = rows * grid_size + columns

    # The smallest area of each cell, and which objects have it.
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1).masked_fill(~real, torch.inf)  # (B, N)
    smallest = areas.new_full((num_images, grid_size**2), torch.inf)
    smallest.scatter_reduce_(1, cells, areas, "amin")  # (B, S·S)
    wins = real & (areas == smallest.gather(1, cells))

    # Of those the first. N, which is no object's index, stands for "none" until the end.
    indices = torch.arange(num_objects, device=boxes.device).where(wins, num_objects)  # (B, N)
    first = indices.new_full((num_images, grid_size**2), num_objects)
    first.scatter_reduce_(1, cells, indices, "amin")
    return first.masked_fill(first == num_objects, -1).unflatten(1, (grid_size, grid_size))


@torch.no_grad()
def responsible_boxes(pred_boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """Choose, of the n boxes of a cell, the one that learns the cell's object.

    It is the box with the highest IoU. If all n have an IoU of 0, it is the one with the shortest
    distance, the root of the squared differences of centre x, centre y, width and height (Darknet's
    ``detection_layer.c``). Of equals it is the first.

    Args:
        pred_boxes: (M, n, 4) xyxy, the boxes of M cells that have an object; M may be 0.
        gt_boxes: (M, 4) xyxy, these objects.

    Returns:
        (M,) int64 in 0 … n−1, without gradient.
    """
    ious = paired_iou(pred_boxes, gt_boxes[:, None])  # (M, n)

    # Square root or not, the nearest is the same.
    pred, gt = (box_convert(boxes, "xyxy", "cxcywh") for boxes in (pred_boxes, gt_boxes))
    distances = (pred - gt[:, None]).square().sum(dim=-1)  # (M, n)

    touches = (ious > 0).any(dim=1)  # (M,)
    return torch.where(touches, ious.argmax(dim=1), distances.argmin(dim=1))


# ---- the loss ------------------------------------------------------------------------------------


def yolov1_loss(
    grid: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    num_classes: int,
    image_size: tuple[int, int],
) -> dict[str, Tensor]:
    """Compute the four terms of the loss: sums of squared errors (paper, equation 3).

    Args:
        grid: (B, S, S, K + 5n): K class scores, n confidences, n times (x, y, √w, √h).
        gt_boxes: (B, S, S, 4) xyxy in pixels, the object of each cell; anything where there is
            none.
        gt_labels: (B, S, S) int64 in 0 … K−1, its class; −1 where there is no object.
        num_classes: K.
        image_size: H and W of the batch in pixels.

    Returns:
        Scalars, summed over all images and cells:

        * ``"box"``: of the cells' responsible boxes the errors of x, y, √w and √h, times 5;
        * ``"object"``: of their confidences, which should be the box's IoU with its object (a
          target without gradient);
        * ``"no_object"``: of all other confidences, which should be 0, times 0.5;
        * ``"class"``: of the class scores of the cells with an object, which should be 1 for its
          class and 0 for the others.
    """
    predictions = decode_grid(grid, num_classes, image_size)
    num_boxes = predictions.confidences.shape[-1]

    # The M cells with an object, and the responsible one of their boxes.
    image, row, column = (gt_labels >= 0).nonzero(as_tuple=True)  # (M,) each
    cell_boxes = predictions.boxes[image, row, column]  # (M, n, 4)
    objects = gt_boxes[image, row, column]  # (M, 4)
    responsible = responsible_boxes(cell_boxes, objects)  # (M,)

    # Where is it? In the network's own numbers: shares of a cell, and roots of shares of the image.
    numbers = grid[image, row, column, num_classes + num_boxes :]  # (M, 4n)
    numbers = numbers.unflatten(-1, (num_boxes, 4))  # (M, n, 4)
    pred = numbers[torch.arange(len(responsible), device=grid.device), responsible]  # (M, 4)
    gt = encode_boxes(objects, row, column, tuple(grid.shape[1:3]), image_size)  # (M, 4)
    box_loss = (pred - gt).square().sum()

    # How good is the box? As good as it is: its IoU. All other boxes have found nothing.
    is_responsible = torch.zeros_like(predictions.confidences, dtype=torch.bool)  # (B, S, S, n)
    is_responsible[image, row, column, responsible] = True
    ious = paired_iou(predictions.boxes[image, row, column, responsible], objects).detach()  # (M,)
    goal = torch.zeros_like(predictions.confidences)
    goal[image, row, column, responsible] = ious
    errors = (predictions.confidences - goal).square()  # (B, S, S, n)
    object_loss = errors[is_responsible].sum()
    no_object_loss = errors[~is_responsible].sum()

    # What is it? Once for each cell with an object, whatever the number of its boxes.
    one_hot = F.one_hot(gt_labels[image, row, column], num_classes)  # (M, K)
    class_loss = (predictions.class_scores[image, row, column] - one_hot).square().sum()

    return {
        "box": LAMBDA_COORD * box_loss,
        "object": object_loss,
        "no_object": LAMBDA_NOOBJ * no_object_loss,
        "class": class_loss,
    }


def encode_boxes(
    boxes: Tensor,
    rows: Tensor,
    columns: Tensor,
    grid_shape: tuple[int, int],
    image_size: tuple[int, int],
) -> Tensor:
    """Return the numbers that a cell should say for its object: `decode_grid` backwards.

    Args:
        boxes: (M, 4) xyxy in pixels.
        rows: (M,) the row of each object's cell.
        columns: (M,) its column.
        grid_shape: rows and columns of the grid.
        image_size: H and W of the batch in pixels.

    Returns:
        (M, 4) x and y as shares of the cell, √w and √h of shares of the image.
    """
    height, width = image_size
    num_rows, num_columns = grid_shape

    centre_x, centre_y, w, h = box_convert(boxes, "xyxy", "cxcywh").unbind(-1)  # (M,) each
    x = centre_x * (num_columns / width) - columns
    y = centre_y * (num_rows / height) - rows
    return torch.stack((x, y, (w / width).sqrt(), (h / height).sqrt()), dim=-1)


# ---- the detector --------------------------------------------------------------------------------


class YOLOv1Head(nn.Module):
    """From a feature map of S × S cells to K + 5n numbers a cell.

    Args:
        num_classes: K.
        grid_size: S, the side of the feature map.
        num_boxes: n, boxes a cell.
        in_channels: channels of the feature map.
        channels: of the convolution that looks at a cell's neighbours.

    Raises:
        ValueError: for a grid without a cell or cells without a box.
    """

    def __init__(
        self,
        num_classes: int = 20,
        grid_size: int = 7,
        num_boxes: int = 2,
        *,
        in_channels: int = 1024,
        channels: int = 256,
    ) -> None:
        super().__init__()
        if grid_size < 1 or num_boxes < 1:
            raise ValueError(
                f"grid_size is {grid_size} and num_boxes {num_boxes}: a grid needs at least one "
                "cell, and a cell at least one box"
            )
        self.num_classes = num_classes
        self.grid_size = grid_size
        self.num_boxes = num_boxes

        self.neighbours = conv_bn_relu(in_channels, channels)
        self.numbers = nn.Conv2d(channels, num_classes + 5 * num_boxes, 1)

        # A first guess: the middle of the cell, a quarter of the image wide and high.
        nn.init.zeros_(self.numbers.bias)
        nn.init.constant_(self.numbers.bias[num_classes + num_boxes :], 0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Predict.

        Args:
            features: (B, in_channels, S, S).

        Returns:
            The grid (B, S, S, K + 5n), float32: K class scores, n confidences, n times (x, y, √w,
            √h).

        Raises:
            ValueError: for a feature map that does not have S × S cells.
        """
        cells = (self.grid_size, self.grid_size)
        if tuple(features.shape[-2:]) != cells:
            height, width = features.shape[-2:]
            raise ValueError(
                f"the feature map has {height} × {width} cells, the grid {cells[0]} × {cells[1]}: "
                "the side of the images must be grid_size times the backbone's coarsest stride"
            )

        # float(): squared errors and sums over all cells are taken in full precision.
        return self.numbers(self.neighbours(features)).float().permute(0, 2, 3, 1)  # (B, S, S, D)

    def decode(self, grid: Tensor, image_size: tuple[int, int]) -> GridPredictions:
        """Turn the grid into boxes in pixels and scores: `decode_grid`."""
        return decode_grid(grid, self.num_classes, image_size)

    def assign(
        self, grid: Tensor, targets: list[Target], image_size: tuple[int, int]
    ) -> YOLOv1Targets:
        """Say who learns what.

        Args:
            grid: (B, S, S, K + 5n).
            targets: one ``{"boxes": (n, 4) xyxy in pixels, "labels": (n,)}`` per image.
            image_size: H and W of the batch in pixels.

        Returns:
            The object of each cell and of each box, without gradient.
        """
        grid = grid.detach()
        padded = pad_targets(targets, like=grid)
        cells = cell_objects(padded.boxes, padded.real, self.grid_size, image_size)  # (B, S, S)

        # Of a cell's boxes one learns its object. That depends on what they say at present.
        image, row, column = (cells >= 0).nonzero(as_tuple=True)  # (M,) each
        objects = cells[image, row, column]  # (M,)
        cell_boxes = self.decode(grid, image_size).boxes[image, row, column]  # (M, n, 4)
        responsible = responsible_boxes(cell_boxes, padded.boxes[image, objects])  # (M,)
        assigned = torch.full_like(cells[..., None].expand(*cells.shape, self.num_boxes), -1)
        assigned[image, row, column, responsible] = objects  # (B, S, S, n)

        # Each box is a place of its own; those of a cell have their point in common.
        height, width = image_size
        steps = torch.arange(self.grid_size, device=grid.device) + 0.5
        x, y = steps * (width / self.grid_size), steps * (height / self.grid_size)
        centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (S, S, 2)
        points = centres.flatten(0, 1).repeat_interleave(self.num_boxes, dim=0)  # (P, 2)
        strides = points.new_full((len(points),), width / self.grid_size)
        return YOLOv1Targets(cells, assigned.flatten(1), points, strides)

    def compute_loss(
        self, grid: Tensor, targets: list[Target], image_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Compare the grid with annotations: `yolov1_loss` of the cells' objects, per image.

        Args:
            grid: (B, S, S, K + 5n).
            targets: one ``{"boxes": (n, 4) xyxy in pixels, "labels": (n,)}`` per image.
            image_size: H and W of the batch in pixels.

        Returns:
            ``"box"``, ``"object"``, ``"no_object"`` and ``"class"``: see `yolov1_loss`.
        """
        padded = pad_targets(targets, like=grid)
        cells = cell_objects(padded.boxes, padded.real, self.grid_size, image_size)  # (B, S, S)

        # The box and the class of each cell's object, for all cells at once.
        gt_boxes = grid.new_zeros(*cells.shape, 4)
        gt_labels = torch.full_like(cells, -1)
        image, row, column = (cells >= 0).nonzero(as_tuple=True)  # (M,) each
        objects = cells[image, row, column]
        gt_boxes[image, row, column] = padded.boxes[image, objects]
        gt_labels[image, row, column] = padded.labels[image, objects]

        terms = yolov1_loss(grid, gt_boxes, gt_labels, self.num_classes, image_size)
        num_images = normaliser(len(targets), grid.device)
        return {name: term / num_images for name, term in terms.items()}


class YOLOv1(Detector):
    """One look at the image: a backbone and `YOLOv1Head` on its coarsest map.

    Images are squashed to a square of S times the backbone's coarsest stride.

    Args:
        num_classes: K.
        backbone: maps images to an ordered dict of maps, finest first, with ``out_channels`` and
            ``strides``; the small one of the package by default.
        grid_size: S.
        num_boxes: n, boxes a cell.
        channels: channels of the head.
        batcher: see `Detector`; one of its own squashes to that square.

    Raises:
        ValueError: for a batcher that does not squash to that square.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Module | None = None,
        *,
        grid_size: int = 7,
        num_boxes: int = 2,
        channels: int = 256,
        batcher: ImageBatcher | None = None,
    ) -> None:
        backbone = backbone or SmallBackbone()
        stride = backbone.strides[-1]
        side = grid_size * stride
        batcher = batcher or ImageBatcher(fixed_size=(side, side), size_divisible=stride)
        if batcher.fixed_size != (side, side) or side % batcher.size_divisible != 0:
            raise ValueError(
                f"the batcher has fixed_size={batcher.fixed_size} and "
                f"size_divisible={batcher.size_divisible}: a grid of {grid_size} × {grid_size} "
                f"cells of {stride} pixels needs fixed_size=({side}, {side}) and "
                f"size_divisible={stride}"
            )

        super().__init__(num_classes, batcher)
        self.backbone = backbone
        self.head = YOLOv1Head(
            num_classes,
            grid_size,
            num_boxes,
            in_channels=backbone.out_channels[-1],
            channels=channels,
        )

    def predict(self, images: Tensor, sizes: list[tuple[int, int]] | None = None) -> YOLOv1Outputs:
        """Run the network: D numbers for each cell; see `Detector`."""
        *_, coarsest = self.backbone(images).values()
        image_size = tuple(images.shape[-2:])
        sizes = sizes or [image_size] * len(images)
        return YOLOv1Outputs(self.head(coarsest), image_size, sizes)

    def assign(self, outputs: YOLOv1Outputs, targets: list[Target]) -> YOLOv1Targets:
        """Say which object each cell learns, and by which of its boxes; see `Detector`."""
        return self.head.assign(outputs.grid, targets, outputs.image_size)

    def compute_loss(self, outputs: YOLOv1Outputs, targets: list[Target]) -> dict[str, Tensor]:
        """Compare outputs with annotations; see `Detector`.

        Returns:
            The four sums of `yolov1_loss`, divided by the number of images.
        """
        return self.head.compute_loss(outputs.grid, targets, outputs.image_size)

    def decode(self, outputs: YOLOv1Outputs) -> list[Detections]:
        """Turn outputs into detections; see `Detector`."""
        predictions = self.head.decode(outputs.grid, outputs.image_size)

        # The score of a class in a box: there is an object and it fits, times it is this one.
        confidences = predictions.confidences.clamp(0, 1)[..., None]  # (B, S, S, n, 1)
        class_scores = predictions.class_scores.clamp(0, 1)[..., None, :]  # (B, S, S, 1, K)
        scores = (confidences * class_scores).flatten(1, 3)  # (B, P, K)
        boxes = predictions.boxes.flatten(1, 3)  # (B, P, 4)

        detections = []
        for image_boxes, image_scores, size in zip(boxes, scores, outputs.sizes):
            image_boxes = clip_boxes_to_image(image_boxes, size)
            detections.append(self.select_detections(image_boxes, image_scores))
        return detections
