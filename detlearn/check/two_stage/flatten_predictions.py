"""Exercise 2.6: from maps of predictions to a list in the order of the anchors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.cases import Case, Fault
from detlearn.models.rpn import flatten_predictions

Pair = tuple[Tensor, Tensor]

# ---- what is asked ----


def _numbered(batch: int, anchors: int, height: int, width: int) -> Pair:
    """Return maps in which every number says where it stands.

    A score is 1000 b + 100 a + 10 row + column, and delta d of an anchor is its score + d / 10.
    """
    b, a, i, j = torch.meshgrid(*map(torch.arange, (batch, anchors, height, width)), indexing="ij")
    scores = (1000 * b + 100 * a + 10 * i + j).float()
    deltas = scores[:, :, None] + torch.arange(4.0)[:, None, None] / 10  # (B, A, 4, h, w)
    return scores, deltas.flatten(1, 2)


def _random(batch: int, anchors: int, height: int, width: int, random: torch.Generator) -> Pair:
    return (
        torch.randn(batch, anchors, height, width, generator=random),
        torch.randn(batch, 4 * anchors, height, width, generator=random),
    )


def _cases(random: torch.Generator) -> list[Case]:
    wide = _random(2, 3, 4, 5, random)
    tall = _random(3, 2, 5, 3, random)
    square = _random(2, 4, 4, 4, random)

    small = [
        Case("degenerate", _numbered(1, 1, 1, 1), "one location with one anchor"),
        Case("degenerate", _numbered(2, 3, 1, 1), "one location with three anchors, two images"),
        Case("degenerate", _numbered(2, 1, 2, 3), "one anchor at each location, two images"),
    ]

    values = [
        Case("random", wide, "2 images, 3 anchors, 4 rows of 5 columns"),
        Case("random", tall, "3 images, 2 anchors, 5 rows of 3 columns"),
        Case("random", square, "2 images, 4 anchors, 4 rows of 4 columns"),
        Case("property", tuple(x.flip(0) for x in wide), "the images in another order"),
        Case("property", tuple(x.mT for x in wide), "rows and columns exchanged"),
    ]

    # Of the scores by the scores, then of the deltas by the deltas.
    gradients = [
        Case(
            "gradient",
            wide,
            "2 images, 3 anchors, 4 rows of 5 columns",
            gradient=True,
            differentiated=(i, i),
        )
        for i in (0, 1)
    ]

    # Counted by rows, so that a loop over rows alone shows as well.
    growing = [
        Case("no loop", _random(1, 3, n, n, random), f"a map of {n} × {n} locations", size=n)
        for n in (4, 16)
    ]
    return [*_by_hand(), *small, *values, *gradients, *growing]


def _by_hand() -> list[Case]:
    """Make cases of numbered maps: 1000 an image, 100 an anchor, 10 a row, 1 a column."""
    one_anchor = [
        _hand(_numbered(1, 1, 1, 3), "a row of three locations with one anchor each", [0, 1, 2]),
        _hand(
            _numbered(1, 1, 2, 2), "two rows of two locations with one anchor each", [0, 1, 10, 11]
        ),
    ]

    several_anchors = [
        _hand(
            _numbered(1, 2, 1, 2),
            "two locations with two anchors each",
            [0, 100, 1, 101],
        ),
        _hand(
            _numbered(1, 2, 2, 3),
            "two rows of three locations with two anchors each",
            [0, 100, 1, 101, 2, 102, 10, 110, 11, 111, 12, 112],
        ),
        _hand(
            _numbered(2, 2, 1, 2),
            "two images of two locations with two anchors each",
            [0, 100, 1, 101, 1000, 1100, 1001, 1101],
        ),
    ]

    return [*one_anchor, *several_anchors]


def _hand(maps: Pair, note: str, order: list[int]) -> Case:
    scores = torch.tensor(order, dtype=torch.float32).view(len(maps[0]), -1)
    return Case("by hand", maps, note, (scores, scores[..., None] + torch.arange(4.0) / 10))


# ---- wrong answers ----


def _flattened(
    scores_order: str = "bija", deltas_order: str = "bijad", split: str = "ad"
) -> Callable[[Tensor, Tensor], Pair]:
    """Return flattening with something changed.

    Args:
        scores_order: the dimensions b, a, i (row) and j (column) before the last three are merged.
        deltas_order: the same with d, the four deltas; all but b and the last four numbers merge.
        split: how the A·4 channels are taken apart, "ad" or "da".
    """

    def function(scores: Tensor, deltas: Tensor) -> Pair:
        batch, anchors, height, width = scores.shape
        shape = (anchors, 4) if split == "ad" else (4, anchors)
        parts = deltas.reshape(batch, *shape, height, width)
        names = f"b{split}ij"
        count = height * width * anchors

        scores = scores.permute(*("baij".index(name) for name in scores_order))
        parts = parts.permute(*(names.index(name) for name in deltas_order))
        return scores.reshape(batch, count), parts.reshape(batch, count, 4)

    return function


def _viewed(scores: Tensor, deltas: Tensor) -> Pair:
    return scores.flatten(1), deltas.reshape(len(deltas), -1, 4)


def _only_scores(scores: Tensor, deltas: Tensor) -> Pair:
    return flatten_predictions(scores, deltas)[0], deltas.reshape(len(deltas), -1, 4)


def _only_deltas(scores: Tensor, deltas: Tensor) -> Pair:
    return scores.flatten(1), flatten_predictions(scores, deltas)[1]


def _cut_from_the_list(scores: Tensor, deltas: Tensor) -> Pair:
    """Take the four deltas from the front of the list that is in the right order."""
    moves = deltas.permute(0, 2, 3, 1).reshape(len(deltas), 4, -1)
    return flatten_predictions(scores, scores.repeat(1, 4, 1, 1))[0], moves.mT


def _images_together(scores: Tensor, deltas: Tensor) -> Pair:
    scores, deltas = flatten_predictions(scores, deltas)
    return scores.flatten(), deltas.flatten(0, 1)


def _images_inside(scores: Tensor, deltas: Tensor) -> Pair:
    """Bring the images behind the rows and columns, and read them off as if they were first."""
    batch = len(scores)
    moves = deltas.permute(2, 3, 0, 1)
    return scores.permute(2, 3, 0, 1).reshape(batch, -1), moves.reshape(batch, -1, 4)


def _images_last(scores: Tensor, deltas: Tensor) -> Pair:
    """Bring the images to the end, and read them off as if they were first."""
    batch = len(scores)
    moves = deltas.permute(2, 3, 1, 0)
    return scores.permute(2, 3, 1, 0).reshape(batch, -1), moves.reshape(batch, -1, 4)


def _first_image(scores: Tensor, deltas: Tensor) -> Pair:
    scores, deltas = flatten_predictions(scores, deltas)
    return scores[:1], deltas[:1]


def _scores_with_one(scores: Tensor, deltas: Tensor) -> Pair:
    scores, deltas = flatten_predictions(scores, deltas)
    return scores[..., None], deltas


def _location_by_location(scores: Tensor, deltas: Tensor) -> Pair:
    scores, deltas = scores.permute(0, 2, 3, 1), deltas.permute(0, 2, 3, 1)
    return scores.flatten(1, 2), deltas.flatten(1, 2)


def _deltas_of_a_location(scores: Tensor, deltas: Tensor) -> Pair:
    flat, _ = flatten_predictions(scores, deltas)
    return flat, deltas.permute(0, 2, 3, 1).flatten(1, 2)


def _keeps_the_map(scores: Tensor, deltas: Tensor) -> Pair:
    deltas = deltas.permute(0, 2, 3, 1)
    return scores.permute(0, 2, 3, 1), deltas.unflatten(3, (-1, 4))


def _deltas_in_a_row(scores: Tensor, deltas: Tensor) -> Pair:
    scores, deltas = flatten_predictions(scores, deltas)
    return scores, deltas.flatten(1)


def _exchanged(scores: Tensor, deltas: Tensor) -> Pair:
    return flatten_predictions(scores, deltas)[::-1]


def _only_one(scores: Tensor, deltas: Tensor) -> Tensor:
    return flatten_predictions(scores, deltas)[0]


def _with_sigmoid(scores: Tensor, deltas: Tensor) -> Pair:
    scores, deltas = flatten_predictions(scores, deltas)
    return scores.sigmoid(), deltas


MISCONCEPTIONS = (
    Misconception(
        "flatten and view keep the order of the memory, in which all locations of channel 0 come "
        "first; bring the channels to the end before, permute(0, 2, 3, 1)",
        _viewed,
    ),
    Misconception(
        "the scores are right, the deltas are only reshaped: their channels must go to the end as "
        "well, permute(0, 2, 3, 1)",
        _only_scores,
    ),
    Misconception(
        "the deltas are right, the scores are only flattened: their channels must go to the end as "
        "well, permute(0, 2, 3, 1)",
        _only_deltas,
    ),
    Misconception(
        "the order is location by location: all anchors of a location stand together; yours lists "
        "all locations of the first anchor, then those of the second",
        _flattened("baij", "baijd"),
    ),
    Misconception(
        "the scores are right, but the deltas list all locations of the first anchor, then those "
        "of the second; they need the same order, location by location",
        _flattened("bija", "baijd"),
    ),
    Misconception(
        "the order is row by row: the column changes faster than the row; yours goes down the "
        "columns, as permute(0, 3, 2, 1) does",
        _flattened("bjia", "bjiad"),
    ),
    Misconception(
        "the scores are right, but the deltas go down the columns: both need permute(0, 2, 3, 1)",
        _flattened("bija", "bjiad"),
    ),
    Misconception(
        "the deltas are right, but the scores go down the columns: both need permute(0, 2, 3, 1)",
        _flattened("bjia", "bijad"),
    ),
    Misconception(
        "anchor a has the channels 4a … 4a + 3: the A · 4 channels are A times 4, not 4 times A",
        _flattened(split="da"),
    ),
    Misconception(
        "the four deltas of an anchor stay together: the last dimension is 4, cut from the "
        "channels, not from the list of locations",
        _flattened("bija", "bdija"),
        _flattened("bija", "baidj"),
        _flattened("bija", "bijda"),
        _cut_from_the_list,
    ),
    Misconception(
        "row, column and anchor are mixed up: the dimensions before the last reshape must be "
        "(B, h, w, A), as permute(0, 2, 3, 1) makes them",
        _flattened("biaj", "biajd"),
        _flattened("bjai", "bjaid"),
        _flattened("baji", "bajid"),
    ),
    Misconception(
        "the images are mixed: keep B as the first dimension when you permute, and merge only the "
        "others",
        _images_inside,
        _images_last,
    ),
    Misconception(
        "every image has a list of its own: keep the first dimension, (B, h·w·A) and (B, h·w·A, 4)",
        _images_together,
    ),
    Misconception("all images of the batch are asked for; yours is the first alone", _first_image),
    Misconception(
        "the scores are (B, h·w·A), one number an anchor, without a last dimension of 1",
        _scores_with_one,
    ),
    Misconception(
        "an anchor has a place of its own: h·w·A of them, not h·w locations with A anchors each",
        _location_by_location,
        _deltas_of_a_location,
    ),
    Misconception(
        "rows, columns and anchors become one dimension, (B, h·w·A); yours keeps the map",
        _keeps_the_map,
    ),
    Misconception(
        "the deltas of an anchor are a row of four, (B, h·w·A, 4); yours are one long list",
        _deltas_in_a_row,
    ),
    Misconception("the scores come first, then the deltas; yours are exchanged", _exchanged),
    Misconception("return both, scores and deltas; yours are the scores alone", _only_one),
    Misconception(
        "only the order changes; the scores stay logits, without a sigmoid", _with_sigmoid
    ),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return what the numbers of a map that is worked out by hand mean."""
    if case.rung != "by hand":
        return ""
    scores, deltas = (tuple(maps.shape) for maps in case.args)
    meaning = "a score is 1000 · image + 100 · anchor + 10 · row + column, delta d adds d / 10"
    return f"scores = of shape {scores}, deltas = of shape {deltas}; {meaning}"


FLATTEN_PREDICTIONS = Exercise(
    number="2.6",
    name="flatten_predictions",
    reference=flatten_predictions,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the score", "the delta"),
    narrow=_show,
    counted="rows and columns",
)
