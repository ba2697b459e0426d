"""Exercise 3.3: the four terms of YOLOv1's loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.boxes import paired_iou
from detlearn.check.boxes import Drawing, boxes_of
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.forms import TENSOR
from detlearn.models.yolov1 import decode_grid, encode_boxes, responsible_boxes, yolov1_loss

Terms = dict[str, Tensor]
NAMES = ("box", "object", "no_object", "class")
FORM = dict.fromkeys(NAMES, TENSOR)
NAN = float("nan")

# ---- what is asked ----


def _case(rung: str, args: tuple, note: str, expected: tuple | None = None, **rest) -> Case:
    if expected is not None:
        expected = tuple(torch.tensor(float(value)) for value in expected)
    return Case(rung, args, note, expected, form=FORM, tensors=True, **rest)


def _cases(random: torch.Generator) -> list[Case]:
    square = _random(2, 4, 3, 2, (64, 64), random)
    wide = _random(2, 3, 2, 2, (60, 90), random)
    single = _random(1, 5, 4, 1, (50, 40), random)
    three = _random(3, 2, 1, 3, (32, 48), random)
    grid, gt_boxes, gt_labels, *rest = square

    # All numbers of the roots below 0, which their squares hide and the loss does not.
    negative, also_negative = grid.clone(), single[0].clone()
    negative[..., 3 + 2 :].unflatten(-1, (2, 4))[..., 2:] *= -1
    also_negative[..., -1] *= -1
    nobody = torch.full_like(gt_labels, -1)
    empty = (grid, torch.full_like(gt_boxes, NAN), nobody, *rest)
    sides = torch.tensor([1.0, 1, -1, -1])
    tiny = ((gt_boxes + gt_boxes.roll(2, dims=-1)) / 2 - sides / 2, *square[2:])
    large = (gt_boxes - 150 * sides, *square[2:])

    degenerate = [
        _case("degenerate", empty, "two images without an object"),
        _case("degenerate", (negative, *square[1:]), "predicted roots below 0"),
        _case("degenerate", (also_negative, *single[1:]), "predicted roots of heights below 0"),
        _case("degenerate", (grid, *tiny), "objects of a single pixel"),
        _case("degenerate", (grid, *large), "objects larger than the image"),
    ]

    values = [
        _case("random", square, "2 images of 4 × 4 cells, 3 classes, 2 boxes a cell"),
        _case("random", wide, "2 images of 60 × 90 pixels, 3 × 3 cells, 2 classes"),
        _case("random", single, "an image of 50 × 40 pixels, 5 × 5 cells of one box"),
        _case("random", three, "3 images of 2 × 2 cells, one class, 3 boxes a cell"),
    ]

    twice = (*(torch.cat((x, x)) for x in square[:3]), *rest)
    larger = (grid, 3 * gt_boxes, gt_labels, 3, (192, 192))
    properties = [
        _case("property", twice, "the same images twice"),
        _case("property", larger, "image and objects three times as large"),
        _case("property", (*(x.flip(0) for x in wide[:3]), *wide[3:]), "the images exchanged"),
    ]

    gradients = [
        _case("gradient", square, f'the term "{name}"', gradient=True, differentiated=(i, 0))
        for i, name in enumerate(NAMES)
    ]
    # Twice the one that must have none by the boxes' numbers.
    note = 'the term "object" for images of 60 × 90 pixels'
    gradients.append(_case("gradient", wide, note, gradient=True, differentiated=(1, 0)))

    growing = [
        _case(
            "no loop",
            _random(1, n, 2, 2, (96, 96), random),
            f"{n} × {n} cells, two of three with an object",
            size=n * n,
        )
        for n in (4, 12)
    ]
    return [*_by_hand(), *degenerate, *values, *properties, *gradients, *growing]


def _random(
    images: int,
    side: int,
    classes: int,
    boxes: int,
    image_size: tuple[int, int],
    random: torch.Generator,
) -> tuple:
    """Return the arguments; two of three cells have an object, some of which no box touches."""
    height, width = image_size
    shape = (images, side, side)
    numbers = torch.rand(*shape, boxes, 4, generator=random)
    numbers[..., 2:] = 0.15 + 0.7 * numbers[..., 2:]
    # Of every fifth cell all boxes lie far to the left.
    away = torch.arange(images * side * side).view(shape) % 5 == 1
    numbers[..., 0] = torch.where(away[..., None], numbers[..., 0] - 4 * side, numbers[..., 0])
    others = torch.randn(*shape, classes + boxes, generator=random)
    grid = torch.cat((0.5 + 0.5 * others, numbers.flatten(-2)), dim=-1)

    # The centre lies in the cell, and not near its border.
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    cells = torch.stack((columns, rows), dim=-1)  # (S, S, 2)
    whole = torch.tensor([width, height]).float()
    centres = (cells + 0.05 + 0.9 * torch.rand(*shape, 2, generator=random)) * (whole / side)
    sides = (0.1 + 0.6 * torch.rand(*shape, 2, generator=random)) * whole
    gt_boxes = torch.cat((centres - sides / 2, centres + sides / 2), dim=-1)

    labels = torch.randint(0, classes, shape, generator=random)
    empty = torch.arange(images * side * side).view(shape) % 3 == 2
    gt_boxes[empty] = NAN
    return grid, gt_boxes, labels.masked_fill(empty, -1), classes, image_size


def _placed(
    cell: tuple[int, int], numbers: list[float], box: tuple, label: int, size: tuple[int, int]
) -> tuple:
    """Return the arguments for 2 × 2 cells, of which one holds an object and says something."""
    row, column = cell
    grid = torch.zeros(1, 2, 2, len(numbers))
    grid[0, row, column] = torch.tensor(numbers)
    gt_boxes = torch.full((1, 2, 2, 4), NAN)
    gt_boxes[0, row, column] = boxes_of(box)[0]
    gt_labels = torch.full((1, 2, 2), -1)
    gt_labels[0, row, column] = label
    return grid, gt_boxes, gt_labels, 2, size


def _by_hand() -> list[Case]:
    """Make cases of 2 × 2 cells and two classes, in images of 40 × 40 and of 40 × 80 pixels."""
    half = 0.5**0.5

    # The first box is 20 × 20 pixels in the middle of its cell, the second 10 × 10.
    two = [0.2, 0.7, 0.6, 0.3, 0.5, 0.5, half, half, 0.5, 0.5, 0.5, 0.5]
    hit = [
        _case(
            "by hand",
            _placed((0, 0), two, (0, 0, 20, 20), 1, (40, 40)),
            "one object, which the first of two boxes hits exactly",
            (0, 0.4**2, 0.5 * 0.3**2, 0.2**2 + 0.3**2),
        ),
        _case(
            "by hand",
            _placed((0, 0), two, (5, 5, 15, 15), 0, (40, 40)),
            "one object, which the second of two boxes hits exactly",
            (0, 0.7**2, 0.5 * 0.6**2, 0.8**2 + 0.7**2),
        ),
    ]

    # One box, 5 pixels too far to the right: IoU 300 / 500. And one half as wide as the object:
    # IoU 200 / 400.
    right = [0.0, 1.0, 0.5, 0.75, 0.5, half, half]
    thin = [1.0, 0.5, 0.5, 0.5, 0.5, 0.5, half]
    missed = [
        _case(
            "by hand",
            _placed((0, 0), right, (0, 0, 20, 20), 1, (40, 40)),
            "one box, a quarter of a cell too far to the right (IoU 0.6)",
            (5 * 0.25**2, 0.1**2, 0, 0),
        ),
        _case(
            "by hand",
            _placed((0, 0), thin, (0, 0, 20, 20), 0, (40, 40)),
            "one box, half as wide as the object (IoU 0.5)",
            (5 * (half - 0.5) ** 2, 0, 0, 0.5**2),
        ),
    ]

    # Of an image of 40 × 80 the lower left cell: 4 pixels off, IoU 160 / 240.
    lower = [0.0, 0.0, 0.0, 0.6, 0.5, 0.5, 0.5]
    wide = _case(
        "by hand",
        _placed((1, 0), lower, (10, 25, 30, 35), 1, (40, 80)),
        "an object in the lower left cell of an image of 40 × 80 pixels (IoU 2 / 3)",
        (5 * 0.1**2, (2 / 3) ** 2, 0, 1),
    )

    # Neither touches: their centres are 50 and 30 pixels away, the second is 10 × 10 pixels.
    away = [0.0, 0.0, 0.4, 0.2, 3.0, 0.5, half, half, 2.0, 0.5, 0.5, 0.5]
    apart = _case(
        "by hand",
        _placed((0, 0), away, (0, 0, 20, 20), 0, (40, 40)),
        "two boxes that do not touch the object, the nearer one second",
        (5 * (1.5**2 + 2 * (half - 0.5) ** 2), 0.2**2, 0.5 * 0.4**2, 1),
    )

    # Confidences alone.
    grid = torch.zeros(1, 2, 2, 12)
    grid[..., 2:4] = torch.tensor([[1.0, 0], [0, 2]])
    nothing = _case(
        "by hand",
        (grid, torch.full((1, 2, 2, 4), NAN), torch.full((1, 2, 2), -1), 2, (40, 40)),
        "no object, and confidences of 1 and 2 here and there",
        (0, 0, 0.5 * 2 * (1 + 4), 0),
    )

    return [*hit, *missed, wide, apart, nothing]


# ---- wrong answers ----


class _Found:
    """What the terms are made of: M cells with an object, n boxes in each."""

    def __init__(
        self, grid: Tensor, gt_boxes: Tensor, gt_labels: Tensor, has_object: Tensor, size: tuple
    ) -> None:
        classes, image_size = size
        self.image_size, self.classes = image_size, classes
        self.decoded = decode_grid(grid, classes, image_size)
        self.at = has_object.nonzero(as_tuple=True)
        _, self.row, self.column = self.at
        self.boxes = self.decoded.boxes[self.at]  # (M, n, 4)
        self.confidences = self.decoded.confidences  # (B, S, S, n)
        self.scores = self.decoded.class_scores  # (B, S, S, K)
        self.count = self.confidences.shape[-1]
        self.numbers = grid[self.at][:, classes + self.count :].unflatten(-1, (self.count, 4))
        self.gt = gt_boxes[self.at]  # (M, 4)
        self.labels = gt_labels[self.at]  # (M,)
        self.all_labels = gt_labels
        self.images, self.side = grid.shape[:2]
        self.has_object = has_object
        self.goal = encode_boxes(self.gt, self.row, self.column, grid.shape[1:3], image_size)


def _of_rows(values: Tensor, chosen: Tensor) -> Tensor:
    return values[torch.arange(len(chosen)), chosen]


def _box(f: _Found, chosen: Tensor) -> Tensor:
    return 5 * (_of_rows(f.numbers, chosen) - f.goal).square().sum()


def _iou(f: _Found, chosen: Tensor) -> Tensor:
    return paired_iou(_of_rows(f.boxes, chosen), f.gt).detach()


def _is_chosen(f: _Found, chosen: Tensor) -> Tensor:
    mask = torch.zeros_like(f.confidences, dtype=torch.bool)
    mask[(*f.at, chosen)] = True
    return mask


def _silent(f: _Found, chosen: Tensor) -> Tensor:
    return 0.5 * f.confidences[~_is_chosen(f, chosen)].square().sum()


def _classes(f: _Found, chosen: Tensor) -> Tensor:
    return (f.scores[f.at] - F.one_hot(f.labels, f.classes)).square().sum()


Term = Callable[[_Found, Tensor], Tensor]


def _loss(
    choose: Callable[[_Found], Tensor] = lambda f: responsible_boxes(f.boxes, f.gt),
    box: Term = _box,
    target: Term = _iou,
    silent: Term = _silent,
    classes: Term = _classes,
    after: Callable[[Terms, _Found], Terms] = lambda terms, f: terms,
    is_object: Callable[[Tensor], Tensor] = lambda labels: labels >= 0,
) -> Callable[..., Terms]:
    """Return the loss with something changed.

    Args:
        choose: the responsible box of each cell with an object, (M,).
        box: the term "box" of the chosen ones.
        target: what their confidences learn, (M,).
        silent: the term "no_object".
        classes: the term "class".
        after: is done to the four terms.
        is_object: which labels belong to an object.
    """

    def function(grid: Tensor, gt_boxes: Tensor, gt_labels: Tensor, *size: object) -> Terms:
        f = _Found(grid, gt_boxes, gt_labels, is_object(gt_labels), size)
        chosen = choose(f)
        confidences = _of_rows(f.confidences[f.at], chosen)
        terms = {
            "box": box(f, chosen),
            "object": (confidences - target(f, chosen)).square().sum(),
            "no_object": silent(f, chosen),
            "class": classes(f, chosen),
        }
        return after(terms, f)

    return function


def _scaled(
    box: float = 1, object_: float = 1, no_object: float = 1, class_: float = 1
) -> Callable[..., Terms]:
    factors = dict(zip(NAMES, (box, object_, no_object, class_)))
    return _loss(after=lambda terms, f: {name: factors[name] * terms[name] for name in terms})


def _divided(by: Callable[[_Found], float]) -> Callable[..., Terms]:
    return _loss(after=lambda terms, f: {name: terms[name] / by(f) for name in terms})


def _in_numbers(
    change: Callable[[Tensor, Tensor, _Found], tuple[Tensor, Tensor]],
) -> Term:
    """Return the term "box" of changed numbers and targets."""

    def box(f: _Found, chosen: Tensor) -> Tensor:
        pred, goal = change(_of_rows(f.numbers, chosen), f.goal, f)
        return 5 * (pred - goal).square().sum()

    return box


def _squared_sides(pred: Tensor, goal: Tensor, f: _Found) -> tuple[Tensor, Tensor]:
    return tuple(torch.cat((x[:, :2], x[:, 2:].square()), dim=1) for x in (pred, goal))


def _sides_not_their_roots(pred: Tensor, goal: Tensor, f: _Found) -> tuple[Tensor, Tensor]:
    return pred, torch.cat((goal[:, :2], goal[:, 2:].square()), dim=1)


def _without_sign(pred: Tensor, goal: Tensor, f: _Found) -> tuple[Tensor, Tensor]:
    return torch.cat((pred[:, :2], pred[:, 2:].abs()), dim=1), goal


def _in_shares_of_the_image(pred: Tensor, goal: Tensor, f: _Found) -> tuple[Tensor, Tensor]:
    cells = torch.stack((f.column, f.row), dim=1)
    return tuple(torch.cat(((x[:, :2] + cells) / f.side, x[:, 2:]), dim=1) for x in (pred, goal))


def _goal_in_shares_of_the_image(pred: Tensor, goal: Tensor, f: _Found) -> tuple[Tensor, Tensor]:
    return pred, _in_shares_of_the_image(pred, goal, f)[1]


def _rows_for_columns(pred: Tensor, goal: Tensor, f: _Found) -> tuple[Tensor, Tensor]:
    cells = (f.side, f.side)
    return pred, encode_boxes(f.gt, f.column, f.row, cells, f.image_size)


def _in_pixels(f: _Found, chosen: Tensor) -> Tensor:
    return 5 * (_of_rows(f.boxes, chosen) - f.gt).square().sum()


def _all_boxes(f: _Found, chosen: Tensor) -> Tensor:
    return 5 * (f.numbers - f.goal[:, None]).square().sum()


def _absolute_box(f: _Found, chosen: Tensor) -> Tensor:
    return 5 * (_of_rows(f.numbers, chosen) - f.goal).abs().sum()


def _only_centres(f: _Found, chosen: Tensor) -> Tensor:
    return 5 * (_of_rows(f.numbers, chosen) - f.goal)[:, :2].square().sum()


def _with_gradient(f: _Found, chosen: Tensor) -> Tensor:
    return paired_iou(_of_rows(f.boxes, chosen), f.gt)


def _silent_cells(f: _Found, chosen: Tensor) -> Tensor:
    return 0.5 * f.confidences[~f.has_object].square().sum()


def _silent_neighbours(f: _Found, chosen: Tensor) -> Tensor:
    mask = ~_is_chosen(f, chosen) & f.has_object[..., None]
    return 0.5 * f.confidences[mask].square().sum()


def _silent_all(f: _Found, chosen: Tensor) -> Tensor:
    return 0.5 * f.confidences.square().sum()


def _of_all_cells(f: _Found, chosen: Tensor) -> Tensor:
    one_hot = F.one_hot(f.all_labels.clamp(min=0), f.classes) * f.has_object[..., None]
    return (f.scores - one_hot).square().sum()


def _of_all_cells_as_class_0(f: _Found, chosen: Tensor) -> Tensor:
    return (f.scores - F.one_hot(f.all_labels.clamp(min=0), f.classes)).square().sum()


def _of_each_box(f: _Found, chosen: Tensor) -> Tensor:
    return f.count * _classes(f, chosen)


def _cross_entropy(f: _Found, chosen: Tensor) -> Tensor:
    return F.cross_entropy(f.scores[f.at], f.labels, reduction="sum")


def _after_softmax(f: _Found, chosen: Tensor) -> Tensor:
    one_hot = F.one_hot(f.labels, f.classes)
    return (f.scores[f.at].softmax(dim=-1) - one_hot).square().sum()


def _own_class_alone(f: _Found, chosen: Tensor) -> Tensor:
    return (_of_rows(f.scores[f.at], f.labels) - 1).square().sum()


def _all_learn_their_iou(terms: Terms, f: _Found) -> Terms:
    """Let every box of a cell with an object learn the IoU that it has."""
    ious = paired_iou(f.boxes, f.gt[:, None]).detach()
    errors = (f.confidences[f.at] - ious).square().sum()
    return {**terms, "object": errors, "no_object": _silent_cells(f, None)}


def _turned_image(grid: Tensor, gt_boxes: Tensor, gt_labels: Tensor, *size: object) -> Terms:
    classes, (height, width) = size
    return yolov1_loss(grid, gt_boxes, gt_labels, classes, (width, height))


def _likeliest(f: _Found) -> Tensor:
    return f.confidences[f.at].argmax(dim=1)


def _highest_iou(f: _Found) -> Tensor:
    return paired_iou(f.boxes, f.gt[:, None]).argmax(dim=1)


MISCONCEPTIONS = (
    # The four weights.
    Misconception("the term of the boxes is weighted with 5; yours is not", _scaled(box=1 / 5)),
    Misconception(
        "the confidences without an object are weighted with 0.5; yours are not",
        _scaled(no_object=2),
    ),
    Misconception(
        "the weights are missing: 5 for the boxes, 0.5 for the confidences without an object",
        _scaled(box=1 / 5, no_object=2),
    ),
    Misconception(
        "5 belongs to the boxes and 0.5 to the confidences without an object; yours are exchanged",
        _scaled(box=0.1, no_object=10),
    ),
    Misconception(
        "0.5 belongs to the confidences without an object; yours weighs those with one as well",
        _scaled(object_=0.5),
    ),
    Misconception(
        "the terms are sums of squared errors; yours are halved",
        _scaled(0.5, 0.5, 0.5, 0.5),
    ),
    # Sums.
    Misconception(
        "the terms are sums over all images; yours are divided by the number of images",
        _divided(lambda f: f.images),
    ),
    Misconception(
        "the terms are sums; yours are divided by the number of objects",
        _divided(lambda f: max(len(f.gt), 1)),
        _divided(lambda f: len(f.gt)),
    ),
    Misconception(
        "the terms are sums, reduction='sum'; yours are means over all numbers of each",
        _loss(
            box=lambda f, chosen: 5 * (_of_rows(f.numbers, chosen) - f.goal).square().mean(),
            target=_iou,
            silent=lambda f, chosen: 0.5 * f.confidences[~_is_chosen(f, chosen)].square().mean(),
            classes=lambda f, chosen: (
                (f.scores[f.at] - F.one_hot(f.labels, f.classes)).square().mean()
            ),
            after=lambda terms, f: {**terms, "object": terms["object"] / len(f.gt)},
        ),
    ),
    # Who is responsible.
    Misconception(
        "of a cell's boxes only the responsible one learns the object's place; in yours all do",
        _loss(box=_all_boxes),
    ),
    Misconception(
        "the responsible box is not always the first; responsible_boxes says which it is",
        _loss(choose=lambda f: torch.zeros_like(f.labels)),
    ),
    Misconception(
        "the responsible box is the one with the highest IoU; yours is that of highest confidence",
        _loss(choose=_likeliest),
    ),
    Misconception(
        "where no box touches the object the nearest is responsible, as responsible_boxes says; "
        "yours takes the highest IoU there as well, which is the first",
        _loss(choose=_highest_iou),
    ),
    Misconception(
        "class 0 is a class: cells with an object are gt_labels >= 0; yours are those above 0",
        _loss(is_object=lambda labels: labels > 0),
    ),
    # The boxes.
    Misconception(
        "root_w and root_h are compared with the roots of the shares; yours compares their squares",
        _loss(box=_in_numbers(_squared_sides)),
    ),
    Misconception(
        "root_w and root_h learn the roots of the object's shares; yours learn the shares",
        _loss(box=_in_numbers(_sides_not_their_roots)),
    ),
    Misconception(
        "root_w and root_h are compared as the network says them; yours lose their sign on the way "
        "over the decoded box",
        _loss(box=_in_numbers(_without_sign)),
    ),
    Misconception(
        "x and y are shares of the cell, in prediction and target; yours are shares of the image",
        _loss(box=_in_numbers(_in_shares_of_the_image)),
    ),
    Misconception(
        "x and y are shares of the cell; your targets are shares of the image",
        _loss(box=_in_numbers(_goal_in_shares_of_the_image)),
    ),
    Misconception(
        "columns belong to x and rows to y; in your targets they are exchanged",
        _loss(box=_in_numbers(_rows_for_columns)),
    ),
    Misconception(
        "the errors are those of the grid's own numbers, x, y, root_w, root_h; yours are in pixels",
        _loss(box=_in_pixels),
    ),
    Misconception(
        "the errors of the box are squared; yours are taken without their sign",
        _loss(box=_absolute_box),
    ),
    Misconception(
        "the term of the boxes counts root_w and root_h as well; yours counts x and y alone",
        _loss(box=_only_centres),
    ),
    Misconception(
        "image_size is height, width; yours are exchanged",
        _turned_image,
    ),
    # The confidences.
    Misconception(
        "the confidence learns how good its box is, the IoU; yours learns 1",
        _loss(target=lambda f, chosen: torch.ones(len(chosen))),
    ),
    Misconception(
        "the IoU is a target and has no gradient: .detach() it; in yours the box learns to fit "
        "its confidence",
        _loss(target=_with_gradient),
    ),
    Misconception(
        "the boxes that are not responsible learn 0 also in cells with an object; yours leaves "
        "them out",
        _loss(silent=_silent_cells),
    ),
    Misconception(
        "the boxes of cells without an object learn 0; yours leaves them out",
        _loss(silent=_silent_neighbours),
    ),
    Misconception(
        "the confidence of a responsible box is in the term object alone; yours learns 0 as well",
        _loss(silent=_silent_all),
    ),
    Misconception(
        "only the responsible box learns its IoU; the others of the cell learn 0",
        _loss(after=_all_learn_their_iou),
    ),
    # The classes.
    Misconception(
        "the class scores of cells without an object learn nothing; yours learn 0",
        _loss(classes=_of_all_cells),
    ),
    Misconception(
        "the class scores of cells without an object learn nothing; yours learn class 0",
        _loss(classes=_of_all_cells_as_class_0),
    ),
    Misconception(
        "the class counts once for each cell, whatever the number of its boxes; yours counts n "
        "times",
        _loss(classes=_of_each_box),
    ),
    Misconception(
        "YOLOv1's classes learn by squared errors, not by cross-entropy",
        _loss(classes=_cross_entropy),
    ),
    Misconception(
        "the class scores are compared as they are, without a softmax",
        _loss(classes=_after_softmax),
    ),
    Misconception(
        "all K class scores learn, the others 0; yours is the error of the object's class alone",
        _loss(classes=_own_class_alone),
    ),
    # The form of the result.
    Misconception(
        'the keys are "box", "object", "no_object" and "class"; in yours object and no_object are '
        "exchanged",
        _loss(
            after=lambda terms, f: {
                **terms,
                "object": terms["no_object"],
                "no_object": terms["object"],
            }
        ),
    ),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return what the cells with an object say, where there are few numbers."""
    grid, gt_boxes, gt_labels, *_ = case.args
    at = (gt_labels >= 0).nonzero().tolist()
    if len(at) != 1:
        return ""
    (place,) = at
    where = ", ".join(map(str, place))
    numbers, box = (x[tuple(place)] for x in (grid, gt_boxes))
    return (
        f"grid[{where}] = {written(numbers)}, gt_boxes[{where}] = {written(box)}, "
        f"gt_labels[{where}] = {gt_labels[tuple(place)]}"
    )


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the object and the boxes of its cell, where there is one object."""
    grid, gt_boxes, gt_labels, classes, image_size = case.args
    at = (gt_labels >= 0).nonzero(as_tuple=True)
    if len(at[0]) != 1:
        return []
    boxes = decode_grid(grid, classes, image_size).boxes[at][0]
    predicted = [(box, str(i), "bc"[i % 2]) for i, box in enumerate(boxes)]
    return [(gt_boxes[at][0], "object", "a"), *predicted]


YOLOV1_LOSS = Exercise(
    number="3.3",
    name="yolov1_loss",
    reference=yolov1_loss,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("losses",),
    narrow=_show,
    draw=_draw,
    solution=(yolov1_loss, encode_boxes),
    allowed=frozenset(
        {
            *("decode_grid", "responsible_boxes", "encode_boxes"),
            *("box_iou", "box_area", "box_convert", "paired_iou"),
        }
    ),
    counted="cells",
)
