"""Exercise 4.8: from the peaks of heat maps to boxes in pixels."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.check.boxes import Drawing
from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.models.centernet import decode_detections

Three = tuple[Tensor, Tensor, Tensor]
Function = Callable[..., Three]

# ---- what is compared ----


def _summary(case: Case, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return boxes, scores and labels in an order that does not depend on what is left free.

    Detections whose score is 0 get a box of zeros and label 0. Those of equal score that stand
    together are put in the order of their classes and places. The three keep their form if it is
    another than the right one.
    """
    if len(values) != 3:
        return values
    boxes, scores, labels = values
    if boxes.shape != (*scores.shape, 4) or labels.shape != scores.shape or scores.ndim != 2:
        return values
    # What is empty may be as long as it likes, and has nothing to put in order.
    if any(value.is_complex() for value in values) or not scores.numel():
        return values

    # Of what is no score nothing is known.
    nothing = scores == 0
    boxes, labels = boxes.clone(), labels.clone()
    boxes[nothing], labels[nothing] = 0, 0

    for b in range(len(scores)):
        s = scores[b].tolist()
        keys = [(label, *box) for label, box in zip(labels[b].tolist(), boxes[b].tolist())]
        run = [0]  # the number of the run of equal scores in which each stands
        for one, other in itertools.pairwise(s):
            run.append(run[-1] + (one != other))
        order = sorted(range(len(s)), key=lambda i: (run[i], keys[i]))
        boxes[b], labels[b] = boxes[b, order], labels[b, order]
    return boxes, scores, labels


# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    some = _random(2, 3, 7, 9, random)
    tall = _random(1, 2, 14, 5, random)
    single = _random(3, 1, 6, 8, random)

    values = [
        _case("random", some, 8, 4, "2 images, three classes, 7 × 9 cells, k = 8"),
        _case("random", some, 5, 8, "2 images with stride 8, k = 5"),
        _case("random", tall, 6, 4, "2 classes, 14 × 5 cells, k = 6"),
        _case("random", single, 4, 2, "3 images of one class with stride 2, k = 4"),
    ]

    heatmap, wh, offset = some
    properties = [
        _case("property", (heatmap.flip(0), wh.flip(0), offset.flip(0)), 8, 4, "images exchanged"),
        _case("property", (heatmap.flip(1), wh, offset), 8, 4, "classes in another order"),
        _case("property", (heatmap / 64, wh, offset), 8, 4, "scores a 64th as high"),
    ]

    growing = [
        Case(
            "no loop",
            (*_random(n, 2, 8, 8, random), 6),
            f"{n} images of 8 × 8 cells",
            size=n,
            keywords={"stride": 4},
        )
        for n in (2, 40)
    ]
    return [*_by_hand(), *_degenerate(), *values, *properties, *growing]


def _case(
    rung: str,
    maps: Three,
    k: int,
    stride: float,
    note: str,
    expected: Three | None = None,
) -> Case:
    return Case(rung, (*maps, k), note, expected, keywords={"stride": stride})


def _random(images: int, classes: int, h: int, w: int, random: torch.Generator) -> Three:
    """Return maps whose scores are all different, well apart; some objects reach beyond them."""
    number = images * classes * h * w
    scores = (torch.randperm(number, generator=random) + 1) / (number + 1)
    wh = 1 + 5 * torch.rand(images, 2, h, w, generator=random)
    offset = torch.rand(images, 2, h, w, generator=random)
    return scores.view(images, classes, h, w), wh, offset


def _maps(classes: int, h: int, w: int, *objects: tuple) -> Three:
    """Return the maps of one image.

    Args:
        classes, h, w: their shape.
        objects: (label, column, row, score, width, height, x and y of the offset) of each.
    """
    heatmap = torch.zeros(1, classes, h, w)
    wh, offset = torch.full((1, 2, h, w), 9.0), torch.full((1, 2, h, w), 9.0)  # elsewhere
    for label, column, row, score, *numbers in objects:
        heatmap[0, label, row, column] = score
        wh[0, :, row, column] = torch.tensor(numbers[:2], dtype=torch.float32)
        offset[0, :, row, column] = torch.tensor(numbers[2:], dtype=torch.float32)
    return heatmap, wh, offset


def _answer(*detections: tuple[list[float], float, int]) -> Three:
    boxes, scores, labels = zip(*detections)
    return torch.tensor([boxes]), torch.tensor([scores]), torch.tensor([labels])


def _by_hand() -> list[Case]:
    return [*_of_places(), *_of_peaks(), *_of_equals()]


def _of_places() -> list[Case]:
    """Make cases of lonely peaks: where a box comes to lie."""
    # The text's peak, at two strides; then one box that begins left of the image, one above it.
    of_text = _maps(1, 6, 8, (0, 5, 3, 0.9, 6, 4, 0.25, 0.5))
    two = _maps(2, 6, 8, (1, 6, 1, 0.6, 2, 8, 0.5, 0.25), (0, 2, 4, 0.8, 5, 1, 0.0, 0.75))

    return [
        _case("by hand", of_text, 1, 4, "the peak of the text", _answer(([9, 6, 33, 22], 0.9, 0))),
        _case(
            "by hand",
            of_text,
            1,
            8,
            "the peak of the text with stride 8",
            _answer(([18, 12, 66, 44], 0.9, 0)),
        ),
        _case(
            "by hand",
            two,
            2,
            4,
            "two peaks of two classes",
            _answer(([-2.0, 17, 18, 21], 0.8, 0), ([22.0, -11, 30, 21], 0.6, 1)),
        ),
    ]


def _of_peaks() -> list[Case]:
    # Cells of half, one and two columns: sides of 2 and 1 cells, offsets of a half.
    def cell(label: int, column: int, row: int, score: float) -> tuple:
        return (label, column, row, score, 2, 1, 0.5, 0.5)

    def box(column: int, row: int) -> list[float]:
        x, y = 4 * column + 2.0, 4 * row + 2.0
        return [x - 4, y - 2, x + 4, y + 2]

    hill = [cell(0, 2, 2, 0.9), cell(0, 3, 2, 0.7), cell(0, 3, 3, 0.6), cell(0, 6, 2, 0.3)]
    slope = [cell(0, 2, 1, 0.5), cell(0, 3, 2, 0.7), cell(0, 6, 4, 0.2)]
    two_apart = [cell(0, 2, 2, 0.9), cell(0, 4, 2, 0.8), cell(0, 3, 2, 0.4), cell(0, 2, 4, 0.6)]
    classes = [cell(0, 3, 2, 0.9), cell(1, 4, 2, 0.8), cell(1, 4, 3, 0.5)]
    return [
        _case(
            "by hand",
            _maps(1, 6, 8, *hill),
            2,
            4,
            "a peak with two high neighbours, and a low one far away",
            _answer((box(2, 2), 0.9, 0), (box(6, 2), 0.3, 0)),
        ),
        _case(
            "by hand",
            _maps(1, 6, 8, *slope),
            2,
            4,
            "a place whose higher neighbour lies across the corner",
            _answer((box(3, 2), 0.7, 0), (box(6, 4), 0.2, 0)),
        ),
        _case(
            "by hand",
            _maps(1, 6, 8, *two_apart),
            3,
            4,
            "peaks two columns or two rows apart",
            _answer((box(2, 2), 0.9, 0), (box(4, 2), 0.8, 0), (box(2, 4), 0.6, 0)),
        ),
        _case(
            "by hand",
            _maps(2, 6, 8, *classes),
            2,
            4,
            "peaks of two classes side by side",
            _answer((box(3, 2), 0.9, 0), (box(4, 2), 0.8, 1)),
        ),
        _case(
            "by hand",
            _maps(2, 6, 8, cell(0, 0, 0, 0.9), cell(1, 7, 5, 0.8), cell(1, 6, 4, 0.1)),
            2,
            4,
            "peaks in two corners of the map",
            _answer((box(0, 0), 0.9, 0), (box(7, 5), 0.8, 1)),
        ),
    ]


def _of_equals() -> list[Case]:
    """Make cases of neighbours of equal score, both of which are peaks."""
    # Two objects side by side, two across a corner, and one with a lower score far away.
    beside = ((0, 1, 2, 0.75, 2, 2, 0.5, 0.5), (0, 2, 2, 0.75, 4, 2, 0.5, 0.5))
    across = ((0, 3, 1, 0.5, 2, 2, 0.5, 0.5), (0, 4, 2, 0.5, 2, 4, 0.5, 0.5))
    alone = (0, 5, 4, 0.25, 2, 2, 0.0, 0.0)

    # If only one of two equal ones counted, one of the three would be missing.
    of_beside = _answer(
        ([2.0, 6, 10, 14], 0.75, 0), ([2.0, 6, 18, 14], 0.75, 0), ([16.0, 12, 24, 20], 0.25, 0)
    )
    of_across = _answer(
        ([10.0, 2, 18, 10], 0.5, 0), ([14.0, 2, 22, 18], 0.5, 0), ([16.0, 12, 24, 20], 0.25, 0)
    )

    return [
        _case(
            "by hand",
            _maps(1, 5, 6, *beside, alone),
            3,
            4,
            "two neighbours of equal score, of which none exceeds the other",
            of_beside,
        ),
        _case(
            "by hand",
            _maps(1, 5, 6, *across, alone),
            3,
            4,
            "two neighbours of equal score across a corner",
            of_across,
        ),
    ]


def _degenerate() -> list[Case]:
    one_cell = _maps(3, 1, 1, (0, 0, 0, 0.25, 2, 2, 0.5, 0.5))
    one_cell[0][0, :, 0, 0] = torch.tensor([0.25, 0.5, 0.125])
    few = _maps(2, 3, 4, (0, 1, 1, 0.75, 2, 2, 0.5, 0.5), (1, 3, 2, 0.5, 1, 1, 0.5, 0.25))
    row = _maps(1, 1, 5, (0, 0, 0, 0.5, 1, 1, 0, 0), (0, 3, 0, 0.75, 3, 1, 0.5, 0.5))
    return [
        _case("degenerate", one_cell, 2, 4, "a map of one cell and three classes, k = 2"),
        _case("degenerate", one_cell, 100, 4, "a map of one cell and three classes, k = 100"),
        _case("degenerate", few, 10, 4, "a map with two peaks, k = 10"),
        _case("degenerate", few, 100, 4, "a map of 24 scores with two peaks, k = 100"),
        _case("degenerate", row, 3, 4, "a map of one row"),
    ]


# ---- wrong answers ----


def _peaks(heatmap: Tensor, window: int | tuple[int, int] = 3) -> Tensor:
    sides = (window, window) if isinstance(window, int) else window
    highest = F.max_pool2d(heatmap, sides, 1, tuple(side // 2 for side in sides))
    return heatmap * (heatmap == highest)


def _cross(heatmap: Tensor) -> Tensor:
    return heatmap * ((_peaks(heatmap, (1, 3)) > 0) & (_peaks(heatmap, (3, 1)) > 0))


def _above_all_others(heatmap: Tensor) -> Tensor:
    """Keep what is higher than each neighbour, not as high."""
    padded = F.pad(heatmap, (1, 1, 1, 1), value=-1.0)
    around = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)  # (B, K, h, w, 9)
    others = torch.cat((around[..., :4], around[..., 5:]), dim=-1).amax(dim=-1)
    return heatmap * (heatmap > others)


def _of_the_highest_class(heatmap: Tensor) -> Tensor:
    best = heatmap.amax(dim=1, keepdim=True)
    return _peaks(best) * (heatmap == best)


def _peaks_of_all_classes(heatmap: Tensor) -> Tensor:
    """Compare with neighbours in the maps of all classes."""
    best = heatmap.amax(dim=1, keepdim=True)
    return heatmap * (heatmap == F.max_pool2d(best, 3, 1, 1))


def _of_all(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, labels and places of the best k of all classes."""
    count = scores.shape[-2] * scores.shape[-1]
    values, best = scores.flatten(1).sort(dim=1, descending=True, stable=True)
    return values[:, :k], best[:, :k] // count, best[:, :k] % count


def _of_each_class(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    values, places = scores.flatten(2).sort(dim=2, descending=True, stable=True)
    values, places = values[..., :k], places[..., :k]
    labels = torch.arange(scores.shape[1])[:, None].expand_as(values)
    return values.flatten(1), labels.flatten(1), places.flatten(1)


def _of_the_map(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Leave the best in the order of the map."""
    count = scores.shape[-2] * scores.shape[-1]
    best = scores.flatten(1).argsort(dim=1, descending=True, stable=True)[:, :k].sort(dim=1).values
    return scores.flatten(1).gather(1, best), best // count, best % count


def _of_the_map_by_topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same, where it is chance which of the scores of 0 come along."""
    count = scores.shape[-2] * scores.shape[-1]
    flat = scores.flatten(1)
    best = flat.topk(min(k, flat.shape[1]), dim=1).indices.sort(dim=1).values
    return flat.gather(1, best), best // count, best % count


def _lowest_first(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(each.flip(1) for each in _of_all(scores, k))


def _corners(x: Tensor, y: Tensor, w: Tensor, h: Tensor) -> Tensor:
    return torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), dim=-1)


def _decoding(
    peaks: Callable[[Tensor], Tensor] = _peaks,
    select: Callable[[Tensor, int], tuple[Tensor, Tensor, Tensor]] = _of_all,
    cell: Callable[..., tuple[Tensor, Tensor]] = lambda place, h, w: (place % w, place // w),
    centre: Callable[[Tensor, Tensor, float], Tensor] = lambda at, move, s: (at + move) * s,
    side: Callable[[Tensor, float], Tensor] = lambda size, stride: size * stride,
    box: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = _corners,
    before: Callable[..., tuple] = lambda heatmap, wh, offset: (heatmap, wh, offset),
    finish: Callable[[Three], Three] = lambda three: three,
    options: Callable[[int, float], tuple[int, float]] = lambda k, stride: (k, stride),
) -> Function:
    """Return the decoding with something changed.

    Args:
        peaks: the scores that count, 0 elsewhere.
        select: scores, labels and places of the best.
        cell: column and row of a place, of h and w.
        centre: of column or row, offset and stride.
        side: width or height of size and stride.
        box: of centre and sides.
        before: what is done to the three maps first.
        finish: what is done to boxes, scores and labels.
        options: k and stride as they are used.
    """

    def function(
        heatmap: Tensor, wh: Tensor, offset: Tensor, k: int = 100, *, stride: float = 4
    ) -> Three:
        k, stride = options(k, stride)
        heatmap, wh, offset = before(heatmap, wh, offset)
        h, w = heatmap.shape[-2:]
        scores, labels, place = select(peaks(heatmap), k)

        column, row = cell(place, h, w)
        at = place.clamp(max=h * w - 1)
        width, height, dx, dy = (
            maps[:, i].flatten(1).gather(1, at) for maps in (wh, offset) for i in range(2)
        )
        x, y = centre(column, dx, stride), centre(row, dy, stride)
        boxes = box(x, y, side(width, stride), side(height, stride))
        return finish((boxes, scores, labels))

    return function


def _clipped(
    heatmap: Tensor, wh: Tensor, offset: Tensor, k: int = 100, *, stride: float = 4
) -> Three:
    boxes, scores, labels = decode_detections(heatmap, wh, offset, k, stride=stride)
    h, w = heatmap.shape[-2:]
    most = torch.tensor([w, h, w, h]) * stride
    return torch.minimum(boxes.clamp(min=0), most), scores, labels


def _drops_the_rest(
    heatmap: Tensor, wh: Tensor, offset: Tensor, k: int = 100, *, stride: float = 4
) -> Three:
    """Return peaks alone, the first image's."""
    boxes, scores, labels = decode_detections(heatmap, wh, offset, k, stride=stride)
    kept = scores[0] > 0 if len(scores) else torch.zeros(scores.shape[1], dtype=torch.bool)
    return boxes[:, kept], scores[:, kept], labels[:, kept]


MISCONCEPTIONS = (
    # Peaks.
    Misconception(
        "a detection is a peak, and a place beside a higher one is none; yours takes the highest "
        "scores, not only peaks",
        _decoding(peaks=lambda heatmap: heatmap),
    ),
    Misconception(
        "a peak is compared with its neighbours in the map of its own class; yours with those of "
        "all classes",
        _decoding(peaks=_of_the_highest_class),
        _decoding(peaks=_peaks_of_all_classes),
    ),
    Misconception(
        "a place has eight neighbours, those across the corners among them; yours has the four "
        "neighbours beside, above and below",
        _decoding(peaks=_cross),
        _decoding(
            peaks=lambda x: (
                x
                * (
                    x
                    == torch.maximum(
                        F.max_pool2d(x, (3, 1), 1, (1, 0)), F.max_pool2d(x, (1, 3), 1, (0, 1))
                    )
                )
            )
        ),
    ),
    Misconception(
        "the neighbours are those that touch the place, a window of 3 × 3; yours is larger, 5 × 5 "
        "or more",
        _decoding(peaks=lambda heatmap: _peaks(heatmap, 5)),
        _decoding(peaks=lambda heatmap: _peaks(heatmap, 7)),
    ),
    Misconception(
        "of two neighbours of the same score none exceeds the other, so both are peaks; yours "
        "asks for more than each neighbour",
        _decoding(peaks=_above_all_others),
    ),
    # Which of them.
    Misconception(
        "the k best are chosen among all classes together; yours has k of each class",
        _decoding(select=_of_each_class),
    ),
    Misconception(
        "the highest score comes first; yours come in the order of the map",
        _decoding(select=_of_the_map),
        _decoding(select=_of_the_map_by_topk),
    ),
    Misconception(
        "the highest score comes first; in yours the lowest does",
        _decoding(select=_lowest_first),
    ),
    Misconception(
        "every image has min(k, K * h * w) detections, those without a score at the end; yours "
        "leaves these out",
        _drops_the_rest,
    ),
    Misconception(
        "k is the one that is given; yours is always 100",
        _decoding(options=lambda k, stride: (100, stride)),
    ),
    # Pixels.
    Misconception(
        "centres and sizes are in cells; multiply them by the stride, all of them",
        _decoding(options=lambda k, stride: (k, 1)),
    ),
    Misconception(
        "the centre is in pixels, but the sizes are in cells, too: multiply them by the stride",
        _decoding(side=lambda size, stride: size),
    ),
    Misconception(
        "the sizes are in pixels, but the centre is in cells, too: multiply it by the stride",
        _decoding(centre=lambda at, move, stride: at + move),
    ),
    Misconception(
        "the offset is in cells, too: add it to column and row before you multiply by the stride",
        _decoding(centre=lambda at, move, stride: at * stride + move),
    ),
    Misconception(
        "the offset is missing: the centre lies in its cell where the offset says, not in the "
        "upper left corner",
        _decoding(centre=lambda at, move, stride: at * stride),
    ),
    Misconception(
        "the offset is missing: the centre lies where it says, not half a cell from the corner",
        _decoding(centre=lambda at, move, stride: (at + 0.5) * stride),
    ),
    Misconception(
        "the offset is measured from the cell's corner; yours adds half a cell to it, as for the "
        "middle of a cell",
        _decoding(centre=lambda at, move, stride: (at + move + 0.5) * stride),
    ),
    Misconception(
        "the offset leads from the cell's corner to the right and down: add it; yours takes it "
        "away",
        _decoding(centre=lambda at, move, stride: (at - move) * stride),
    ),
    Misconception(
        "the stride is the one that is given; yours is always 4",
        _decoding(options=lambda k, stride: (k, 4)),
    ),
    # Places.
    Misconception(
        "columns go with x and rows with y; yours are exchanged",
        _decoding(cell=lambda place, h, w: (place // w, place % w)),
    ),
    Misconception(
        "a row has w cells: row = place // w, column = place % w; yours takes the height for the "
        "width",
        _decoding(cell=lambda place, h, w: (place % h, place // h)),
        _decoding(cell=lambda place, h, w: (place % w, place // h)),
    ),
    Misconception(
        "width comes first, then height, in wh; yours are exchanged",
        _decoding(before=lambda heatmap, wh, offset: (heatmap, wh.flip(1), offset)),
    ),
    Misconception(
        "x comes first in the offset, then y; yours are exchanged",
        _decoding(before=lambda heatmap, wh, offset: (heatmap, wh, offset.flip(1))),
    ),
    Misconception(
        "every image has sizes and offsets of its own; yours are those of the first for all",
        _decoding(
            before=lambda heatmap, wh, offset: (
                heatmap,
                wh[:1].expand_as(wh),
                offset[:1].expand_as(offset),
            )
        ),
    ),
    # Corners.
    Misconception(
        "the peak is the centre of the box; yours is its upper left corner",
        _decoding(box=lambda x, y, w, h: torch.stack((x, y, x + w, y + h), dim=-1)),
    ),
    Misconception(
        "the box reaches half of the size to each side of the centre; yours the whole size",
        _decoding(box=lambda x, y, w, h: _corners(x, y, 2 * w, 2 * h)),
    ),
    Misconception(
        "these are centre and size; corners are asked for, x1, y1, x2, y2",
        _decoding(box=lambda x, y, w, h: torch.stack((x, y, w, h), dim=-1)),
    ),
    Misconception(
        "these are a corner and the size; both corners are asked for, x1, y1, x2, y2",
        _decoding(box=lambda x, y, w, h: torch.stack((x - w / 2, y - h / 2, w, h), dim=-1)),
    ),
    Misconception(
        "boxes may reach beyond the image here; yours is clipped",
        _clipped,
    ),
    # Scores, labels and the form.
    Misconception(
        "the sigmoid has been taken already: scores are those of the heat map",
        _decoding(before=lambda heatmap, wh, offset: (heatmap.sigmoid(), wh, offset)),
        _decoding(finish=lambda three: (three[0], three[1].sigmoid(), three[2])),
    ),
    Misconception(
        "the label is the class in whose map the peak stands, place // (h · w); yours is always 0",
        _decoding(finish=lambda three: (three[0], three[1], 0 * three[2])),
    ),
    Misconception(
        "classes are counted from 0, as Python does; yours from 1",
        _decoding(finish=lambda three: (three[0], three[1], three[2] + 1)),
    ),
    Misconception(
        "labels are whole numbers, int64: divide with //",
        _decoding(finish=lambda three: (three[0], three[1], three[2].float())),
    ),
    Misconception(
        "boxes come first, then scores, then labels",
        _decoding(finish=lambda three: (three[0], three[2], three[1])),
        _decoding(finish=lambda three: (three[1], three[0], three[2])),
        _decoding(finish=lambda three: (three[1], three[2], three[0])),
    ),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return what the maps say at the place of the detection that is wrong."""
    heatmap, wh, offset, k = case.args
    stride = case.keywords["stride"]
    right = _of_all(_peaks(heatmap), k)
    if len(found.index) < 2 or found.index[1] >= right[0].shape[1]:
        return ""

    b, i = found.index[:2]
    score, label, place = (each[b, i].item() for each in right)
    if score == 0:
        return f"image {b} has {int((right[0][b] > 0).sum())} peaks, k = {k}"
    column, row = place % heatmap.shape[-1], place // heatmap.shape[-1]
    return (
        f"peak {i} of image {b}: score {score:.4g} in class {label}, column {column}, row {row}, "
        f"wh there {written(wh[b, :, row, column])}, offset {written(offset[b, :, row, column])}, "
        f"k = {k}, stride = {stride}"
    )


def _draw(case: Case, found: Fault) -> Drawing:
    """Draw the right box of the detection that is wrong, and the map."""
    if len(found.index) < 2:
        return []
    heatmap, stride = case.args[0], case.keywords["stride"]
    boxes, scores, _ = decode_detections(*case.args, stride=stride)
    b, i = found.index[:2]
    if i >= scores.shape[1] or scores[b, i] == 0:
        return []
    h, w = heatmap.shape[-2:]
    whole = torch.tensor([0.0, 0, w * stride, h * stride])
    return [(whole, "the image", "c"), (boxes[b, i], "expected", "a")]


DECODE_DETECTIONS = Exercise(
    number="4.8",
    name="decode_detections",
    reference=decode_detections,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("the box", "the score", "the label"),
    narrow=_show,
    draw=_draw,
    summary=_summary,
    counted="images",
)
