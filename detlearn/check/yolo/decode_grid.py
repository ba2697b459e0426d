"""Exercise 3.1: from the numbers of a grid to boxes in pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.boxes import Drawing
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.models.yolov1 import decode_grid

Three = tuple[Tensor, Tensor, Tensor]
READABLE = 40  # numbers of a grid that is shown whole

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    square = _random(2, 4, 3, 2, random)
    usual = _random(1, 7, 5, 2, random)
    one_box = _random(3, 3, 4, 1, random)
    three = _random(2, 2, 1, 3, random)
    wide = (60, 140)

    values = [
        Case("degenerate", (three[:1, :1, :1], 1, (24, 36)), "a grid of a single cell"),
        Case("degenerate", (-square.abs(), 3, wide), "roots below 0: their squares count"),
        Case("degenerate", (4 * square, 3, wide), "boxes that reach far beyond the image"),
        Case("random", (square, 3, (64, 64)), "2 images, 4 × 4 cells, 3 classes, 2 boxes a cell"),
        Case("random", (square, 3, wide), "the same for an image of 60 × 140 pixels"),
        Case("random", (usual, 5, (140, 84)), "7 × 7 cells, 5 classes, an image of 140 × 84"),
        Case("random", (one_box, 4, (30, 45)), "3 images, 3 × 3 cells, one box a cell"),
        Case("random", (three, 1, (50, 40)), "one class and three boxes a cell"),
    ]

    properties = [
        Case("property", (square, 3, (1, 1)), "boxes inside [0, 1]"),
        Case("property", (square.flip(0), 3, wide), "the images in another order"),
        Case("property", (square.mT.contiguous().mT, 3, wide), "the same numbers, laid out anew"),
    ]

    # Of all three by the numbers that they come from.
    gradients = [
        Case("gradient", (square, 3, wide), note, gradient=True, differentiated=(i, 0))
        for i, note in enumerate(("the boxes", "the confidences", "the class scores"))
    ]

    growing = [
        Case("no loop", (_random(1, n, 2, 2, random), 2, (64, 64)), f"{n} × {n} cells", size=n)
        for n in (4, 24)
    ]
    return [*_by_hand(), *values, *properties, *gradients, *growing]


def _random(images: int, side: int, classes: int, boxes: int, random: torch.Generator) -> Tensor:
    return torch.randn(images, side, side, classes + 5 * boxes, generator=random)


def _by_hand() -> list[Case]:
    # The chapter's car in its cell.
    car = torch.zeros(1, 16, 16, 7)
    car[0, 7, 7] = torch.tensor([0.25, 1.0, 0.7, 0.75, 0.75, (44 / 128) ** 0.5, 0.15625**0.5])
    boxes = _points(16, 128, 128)
    boxes[0, 7, 7, 0] = torch.tensor([40.0, 52, 84, 72])
    of_car = Case(
        "by hand",
        (car, 2, (128, 128)),
        "the car of the text in row 7, column 7, and zeros elsewhere",
        (boxes, car[..., 2:3], car[..., :2]),
    )

    # One cell of an image of 40 × 80: two boxes.
    cell = torch.tensor([0.1, 0.2, 0.3, 0.9, 0.8, 0.5, 0.25, 0.5, 1.0, 0.0, 1.0, -0.5, 0.1])
    one = torch.tensor([[30.0, -10, 50, 30], [-10.0, 39.8, 10, 40.2]])
    of_cell = Case(
        "by hand",
        (cell.view(1, 1, 1, 13), 3, (40, 80)),
        "one cell with two boxes, an image of 40 × 80 pixels",
        (one.view(1, 1, 1, 2, 4), cell[3:5].view(1, 1, 1, 2), cell[:3].view(1, 1, 1, 3)),
    )

    # Four cells of an image of 40 × 80, the centre in the middle of each, sides a half and a fifth.
    four = torch.zeros(1, 2, 2, 6)
    four[..., 0] = torch.tensor([[1.0, 2], [3, 4]])
    four[..., 1] = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    four[..., 2:] = torch.tensor([0.5, 0.5, 0.5, 0.2**0.5])
    rows = [
        [[10.0, 6, 30, 14], [50.0, 6, 70, 14]],
        [[10.0, 26, 30, 34], [50.0, 26, 70, 34]],
    ]
    of_four = Case(
        "by hand",
        (four, 1, (40, 80)),
        "four cells, in the middle of each a box of 20 × 8 pixels, an image of 40 × 80 pixels",
        (torch.tensor(rows)[None, :, :, None], four[..., 1:2], four[..., :1]),
    )

    return [of_car, of_cell, of_four]


def _points(side: int, height: int, width: int) -> Tensor:
    """Return what zeros decode to: each cell's upper left corner, a box without sides."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    corners = torch.stack((x * (width / side), y * (height / side)), dim=-1).float()
    return corners.repeat(1, 1, 2)[None, :, :, None]  # (1, S, S, 1, 4)


# ---- wrong answers ----


def _split(grid: Tensor, classes: int) -> Three:
    """Return boxes (B, S, S, n, 4) in the grid's numbers, confidences and class scores."""
    count = (grid.shape[-1] - classes) // 5
    scores, confidences, boxes = grid.split((classes, count, 4 * count), dim=-1)
    return boxes.unflatten(-1, (count, 4)), confidences, scores


def _box_after_box(grid: Tensor, classes: int) -> Three:
    """Take the confidence of each box to stand before its four numbers."""
    boxes = grid[..., classes:].unflatten(-1, (-1, 5))
    return boxes[..., 1:], boxes[..., 0], grid[..., :classes]


def _confidence_after_the_box(grid: Tensor, classes: int) -> Three:
    boxes = grid[..., classes:].unflatten(-1, (-1, 5))
    return boxes[..., :4], boxes[..., 4], grid[..., :classes]


def _classes_last(grid: Tensor, classes: int) -> Three:
    count = (grid.shape[-1] - classes) // 5
    confidences, boxes, scores = grid.split((count, 4 * count, classes), dim=-1)
    return boxes.unflatten(-1, (count, 4)), confidences, scores


def _boxes_before_confidences(grid: Tensor, classes: int) -> Three:
    count = (grid.shape[-1] - classes) // 5
    scores, boxes, confidences = grid.split((classes, 4 * count, count), dim=-1)
    return boxes.unflatten(-1, (count, 4)), confidences, scores


def _transposed(grid: Tensor, classes: int) -> Three:
    """Take the numbers for n times x, then n times y, …"""
    boxes, confidences, scores = _split(grid, classes)
    return boxes.reshape(*boxes.shape[:3], 4, -1).mT, confidences, scores


def _corners(x: Tensor, y: Tensor, w: Tensor, h: Tensor) -> Tensor:
    return torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), dim=-1)


def _decoded(
    split: Callable[[Tensor, int], Three] = _split,
    cell: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda row, column: (column, row),
    centre: Callable[[Tensor, Tensor, float], Tensor] = lambda at, share, step: (at + share) * step,
    side: Callable[[Tensor, float, float], Tensor] = lambda root, whole, step: root**2 * whole,
    size: Callable[[tuple[int, int]], tuple[int, int]] = lambda image_size: image_size,
    join: Callable[..., Tensor] = _corners,
    order: tuple[int, ...] = (0, 1, 2, 3),
) -> Callable[..., Three]:
    """Return decoding with something changed.

    Args:
        split: boxes, confidences and class scores of the grid and the number of classes.
        cell: of row and column, what is added to x and to y.
        centre: of what is added, the share of the cell, and the cell's side in pixels.
        side: of the root, the image's side and the cell's.
        size: height and width of image_size.
        join: of centre x, centre y, width, height.
        order: in which a box's four numbers are read.
    """

    def function(grid: Tensor, classes: int, image_size: tuple[int, int]) -> Three:
        boxes, confidences, scores = split(grid, classes)
        x, y, root_w, root_h = boxes[..., order].unbind(-1)
        height, width = size(image_size)
        across, down = width / grid.shape[2], height / grid.shape[1]

        row, column = torch.meshgrid(*(torch.arange(n) for n in grid.shape[1:3]), indexing="ij")
        to_x, to_y = cell(row[..., None], column[..., None])
        joined = join(
            centre(to_x, x, across),
            centre(to_y, y, down),
            side(root_w, width, across),
            side(root_h, height, down),
        )
        return joined, confidences, scores

    return function


def _changed(change: Callable[[Three], object]) -> Callable[..., object]:
    return lambda *args: change(tuple(decode_grid(*args)))


def _clipped(grid: Tensor, classes: int, image_size: tuple[int, int]) -> Three:
    boxes, *others = decode_grid(grid, classes, image_size)
    height, width = image_size
    most = torch.tensor([width, height, width, height], dtype=boxes.dtype)
    return boxes.clamp(min=0).minimum(most), *others


def _as_shares_of_the_image(grid: Tensor, classes: int, image_size: tuple[int, int]) -> Three:
    boxes, confidences, scores = _split(grid, classes)
    x, y, root_w, root_h = boxes.unbind(-1)
    height, width = image_size
    corners = _corners(x * width, y * height, root_w**2 * width, root_h**2 * height)
    return corners, confidences, scores


def _shares(grid: Tensor, classes: int, image_size: tuple[int, int]) -> Three:
    return tuple(decode_grid(grid, classes, (1, 1)))


def _first_box(grid: Tensor, classes: int, image_size: tuple[int, int]) -> Three:
    boxes, confidences, scores = decode_grid(grid, classes, image_size)
    return boxes[..., :1, :], confidences[..., :1], scores


MISCONCEPTIONS = (
    # Where the centre is.
    Misconception(
        "columns belong to x and rows to y; yours are exchanged",
        _decoded(cell=lambda row, column: (row, column)),
    ),
    Misconception(
        "x and y are shares of the cell: add the column and the row before you multiply by the "
        "cell's side; in yours every box lies in the first cell",
        _decoded(cell=lambda row, column: (0 * row, 0 * row)),
    ),
    Misconception(
        "x and y are shares of the cell, not of the image: add the column and the row, and "
        "multiply by the cell's side",
        _as_shares_of_the_image,
    ),
    Misconception(
        "x and y are shares of the cell: only the column and the row are multiplied by the cell's "
        "side in yours, (column + x) · side is meant",
        _decoded(centre=lambda at, share, step: at * step + share),
    ),
    Misconception(
        "x counts from the cell's upper left corner; yours counts from its middle",
        _decoded(centre=lambda at, share, step: (at + 0.5 + share) * step),
        _decoded(centre=lambda at, share, step: (at + 0.5 + share / 2) * step),
    ),
    Misconception(
        "YOLOv1's last layer is linear: x and y are shares as they are, without a sigmoid",
        _decoded(centre=lambda at, share, step: (at + share.sigmoid()) * step),
    ),
    Misconception(
        "rows and columns are counted from 0; yours begin at 1",
        _decoded(cell=lambda row, column: (column + 1, row + 1)),
    ),
    # How large the box is.
    Misconception(
        "the network says the roots of the sides: square them",
        _decoded(side=lambda root, whole, step: root * whole),
    ),
    Misconception(
        "the network says the roots of the sides: square them; yours takes the root once more",
        _decoded(side=lambda root, whole, step: root.sqrt() * whole),
        _decoded(side=lambda root, whole, step: root.abs().sqrt() * whole),
        _decoded(side=lambda root, whole, step: root.clamp(min=0).sqrt() * whole),
    ),
    Misconception(
        "width and height are shares of the image, not of the cell",
        _decoded(side=lambda root, whole, step: root**2 * step),
    ),
    Misconception(
        "the share is the square of the root; multiply by the image's side after squaring: yours "
        "squares the pixels as well",
        _decoded(side=lambda root, whole, step: (root * whole) ** 2),
    ),
    Misconception(
        "a root below 0 counts by its square; yours counts as 0",
        _decoded(side=lambda root, whole, step: root.clamp(min=0) ** 2 * whole),
    ),
    Misconception(
        "width and height are the squares of roots here; the exponential comes with YOLOv3",
        _decoded(side=lambda root, whole, step: root.exp() * whole),
    ),
    # The image.
    Misconception(
        "image_size is height, width: y goes with the first number, x with the second; yours are "
        "exchanged",
        _decoded(size=lambda size: size[::-1]),
    ),
    Misconception(
        "an image may be wider than high: x and widths go with the width, y and heights with the "
        "height; yours takes one of the two for both",
        _decoded(size=lambda size: (size[0], size[0])),
        _decoded(size=lambda size: (size[1], size[1])),
    ),
    Misconception("the boxes are asked for in pixels; yours are shares of the image", _shares),
    Misconception("boxes may leave the image here; they are clipped later", _clipped),
    # The corners.
    Misconception(
        "from the centre it is half the width to either side; yours goes a whole one",
        _decoded(join=lambda x, y, w, h: _corners(x, y, 2 * w, 2 * h)),
    ),
    Misconception(
        "x and y are the centre of the box, not its corner: x1 = centre − w / 2",
        _decoded(join=lambda x, y, w, h: torch.stack((x, y, x + w, y + h), dim=-1)),
    ),
    Misconception(
        "these are centre and size; return corners x1, y1, x2, y2",
        _decoded(join=lambda x, y, w, h: torch.stack((x, y, w, h), dim=-1)),
    ),
    Misconception(
        "these are corner and size; return corners x1, y1, x2, y2",
        _decoded(join=lambda x, y, w, h: torch.stack((x - w / 2, y - h / 2, w, h), dim=-1)),
    ),
    Misconception(
        "the order of the result is x1, y1, x2, y2; yours is another",
        _changed(lambda three: (three[0][..., [0, 2, 1, 3]], *three[1:])),
        _changed(lambda three: (three[0][..., [1, 0, 3, 2]], *three[1:])),
    ),
    # How the numbers lie in the grid.
    Misconception(
        "the n confidences come first, then the boxes, x, y, root_w, root_h each; yours takes five "
        "numbers a box, its confidence in front",
        _decoded(split=_box_after_box),
    ),
    Misconception(
        "the n confidences come first, then the boxes, x, y, root_w, root_h each; yours takes five "
        "numbers a box, its confidence behind",
        _decoded(split=_confidence_after_the_box),
    ),
    Misconception(
        "the class scores are the first K numbers of a cell; yours are the last",
        _decoded(split=_classes_last),
    ),
    Misconception(
        "the confidences stand before the boxes in a cell; yours stand behind them",
        _decoded(split=_boxes_before_confidences),
    ),
    Misconception(
        "the four numbers of a box stand together: the last dimension becomes (n, 4); yours is "
        "(4, n)",
        _decoded(split=_transposed),
    ),
    Misconception(
        "the order of a box's numbers is x, y, root_w, root_h; yours is another",
        _decoded(order=(1, 0, 3, 2)),
        _decoded(order=(0, 1, 3, 2)),
        _decoded(order=(0, 2, 1, 3)),
    ),
    # The other two.
    Misconception(
        "confidences and class scores are returned as they are, without a sigmoid or a softmax",
        _changed(lambda three: (three[0], three[1].sigmoid(), three[2].sigmoid())),
        _changed(lambda three: (three[0], three[1].sigmoid(), three[2].softmax(dim=-1))),
        _changed(lambda three: (three[0], three[1].sigmoid(), three[2])),
        _changed(lambda three: (three[0], three[1], three[2].softmax(dim=-1))),
        _changed(lambda three: (three[0], three[1].clamp(0, 1), three[2].clamp(0, 1))),
    ),
    Misconception(
        "the class scores are returned as they are; yours are multiplied by the confidence, which "
        "is done later",
        _changed(
            lambda three: (three[0], three[1], three[1].amax(dim=-1, keepdim=True) * three[2])
        ),
        _changed(lambda three: (*three[:2], three[1][..., None] * three[2][..., None, :])),
    ),
    Misconception(
        "the order of the three is boxes, confidences, class scores; yours is another",
        _changed(lambda three: (three[0], three[2], three[1])),
        _changed(lambda three: (three[2], three[1], three[0])),
    ),
    Misconception(
        "return all n boxes of a cell; yours is the first alone",
        _first_box,
    ),
    Misconception(
        "return boxes, confidences and class scores; yours are the boxes alone",
        _changed(lambda three: three[0]),
    ),
    Misconception(
        "keep the grid: (B, S, S, n, 4); yours has the cells in one dimension",
        _changed(lambda three: tuple(x.flatten(1, 2) for x in three)),
        _changed(lambda three: (three[0].flatten(1, 3), *(x.flatten(1, 2) for x in three[1:]))),
    ),
)


# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return the numbers of the cell that is wrong."""
    grid = case.args[0]
    if len(found.index) < 3 or grid.numel() <= READABLE:
        return ""
    b, row, column = found.index[:3]
    return f"grid[{b}, {row}, {column}] = {written(grid[b, row, column])}"


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the image and the box that is wrong."""
    if found.kind != "value" or found.output or len(found.index) < 4:
        return []
    height, width = case.args[2]
    box = decode_grid(*case.args).boxes[found.index[:4]]
    return [(torch.tensor([0.0, 0, width, height]), "image", "a"), (box, "expected", "b")]


DECODE_GRID = Exercise(
    number="3.1",
    name="decode_grid",
    reference=decode_grid,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the boxes", "the confidences", "the class scores"),
    narrow=_show,
    draw=_draw,
    counted="rows and columns",
)
