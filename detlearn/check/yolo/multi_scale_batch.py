"""Exercise 3.9: a batch at another size, with all that is measured in pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detlearn.check.engine import Exercise, Misconception
from detlearn.check.engine.arguments import written
from detlearn.check.engine.cases import Case, Fault
from detlearn.check.engine.forms import NONE, TENSOR
from detlearn.data.transforms import resize
from detlearn.training.multi_scale import multi_scale_batch

Target = dict[str, Tensor]
Batch = tuple[list[Tensor], list[Target], Tensor | None]

# ---- what is asked ----


def _cases(random: torch.Generator) -> list[Case]:
    anchors = 4 + 20 * torch.rand(6, 2, generator=random)
    square = _batch([(32, 32), (32, 32)], random)
    mixed = _batch([(24, 32), (32, 20)], random)
    tall = _batch([(48, 36)], random)
    up = _batch([(13, 32), (32, 29)], random)  # at 24 pixels, 9.75 and 21.75
    down = _batch([(11, 32), (32, 19)], random)  # at 24 pixels, 8.25 and 14.25
    different = _batch([(16, 20), (40, 30)], random)

    return [
        *_by_hand(),
        *_degenerate(random),
        _case("random", (*square, anchors, 48), "two square images, made larger"),
        _case("random", (*mixed, anchors, 40), "a wide image and a tall one, made larger"),
        _case("random", (*mixed, anchors, 24), "a wide image and a tall one, made smaller"),
        _case("random", (*tall, anchors, 32), "a tall image, made smaller"),
        _case("random", (*up, anchors, 24), "images whose shorter sides are rounded up"),
        _case("random", (*down, anchors, 24), "images whose shorter sides are rounded down"),
        _case("random", (*different, None, 40), "images of different sizes, without anchors"),
        _case("random", (*different, None, 24), "these images, made smaller"),
        _case("random", (*square, None, 20), "two square images, made smaller, without anchors"),
    ]


def _batch(
    shapes: list[tuple[int, int]], random: torch.Generator
) -> tuple[list[Tensor], list[Target]]:
    """Return images of these heights and widths, with one to three objects each."""
    images, targets = [], []
    for i, (height, width) in enumerate(shapes):
        images.append(torch.rand(3, height, width, generator=random))
        corners = torch.rand(3 - i, 2, 2, generator=random).sort(dim=1).values
        boxes = corners * torch.tensor([width, height])
        labels = torch.randint(10, (3 - i,), generator=random)
        targets.append({"boxes": boxes.flatten(1), "labels": labels})
    return images, targets


def _case(rung: str, args: tuple, note: str, expected: tuple[Tensor, ...] | None = None) -> Case:
    images, targets, anchors, _ = args
    one = {"boxes": TENSOR, "labels": TENSOR}
    form = ([TENSOR] * len(images), [one] * len(targets), NONE if anchors is None else TENSOR)
    return Case(rung, args, note, expected, form=form)


def _grey(height: int, width: int, value: float = 0.5) -> Tensor:
    return torch.full((3, height, width), value)


def _target(*rows: tuple[float, ...], labels: tuple[int, ...] = ()) -> Target:
    boxes = torch.tensor(rows, dtype=torch.float32).view(-1, 4)
    return {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}


def _by_hand() -> list[Case]:
    anchors = torch.tensor([[4.0, 6.0], [10.0, 3.0]])
    labels = torch.tensor([7])

    # One ratio for all, 3/2 and 1/2.
    whole = [
        _case(
            "by hand",
            ([_grey(8, 16)], [_target((2, 4, 10, 8), labels=(7,))], anchors, 24),
            "an image of 8 × 16 pixels that becomes 12 × 24",
            (_grey(12, 24), torch.tensor([[3.0, 6, 15, 12]]), labels, 1.5 * anchors),
        ),
        _case(
            "by hand",
            ([_grey(16, 8)], [_target((1, 4, 5, 16), labels=(7,))], anchors, 8),
            "an image of 16 × 8 pixels that becomes 8 × 4",
            (_grey(8, 4), torch.tensor([[0.5, 2, 2.5, 8]]), labels, 0.5 * anchors),
        ),
    ]

    # 10 · 16 / 30 = 5.33 is rounded to 5, so that y shrinks by 1/2 and x by 16/30.
    rounded = _case(
        "by hand",
        ([_grey(10, 30)], [_target((3, 2, 30, 10), labels=(7,))], anchors, 16),
        "an image of 10 × 30 pixels that becomes 5 × 16",
        (_grey(5, 16), torch.tensor([[1.6, 1, 16, 5]]), labels, 16 / 30 * anchors),
    )

    # Images of one longer side and two shapes.
    two = _case(
        "by hand",
        (
            [_grey(16, 16), _grey(8, 16)],
            [_target((2, 4, 10, 8), labels=(7,)), _target((0, 0, 16, 8), labels=(7,))],
            anchors,
            32,
        ),
        "two images, 16 × 16 and 8 × 16, that become 32 × 32 and 16 × 32",
        (
            *(_grey(32, 32), _grey(16, 32)),
            *(torch.tensor([[4.0, 8, 20, 16]]), labels),
            *(torch.tensor([[0.0, 0, 32, 16]]), labels),
            2 * anchors,
        ),
    )

    return [*whole, rounded, two]


def _degenerate(random: torch.Generator) -> list[Case]:
    anchors = torch.tensor([[3.0, 5.0]])

    # Nothing to resize, and no box to move.
    images, targets = _batch([(24, 32)], random)
    nothing_to_do = [
        _case("degenerate", (images, targets, anchors, 32), "an image of that size already"),
        _case("degenerate", ([_grey(6, 8)], [_target()], anchors, 16), "an image without objects"),
    ]

    # Four times smaller, a pixel is the mean of the four that it replaces, or one of them.
    stripes = torch.zeros(3, 32, 32)
    stripes[:, :, ::4] = 1
    averaged = _case(
        "degenerate",
        ([stripes], [_target((0, 0, 32, 32), labels=(1,))], anchors, 8),
        "an image whose every fourth column is white, made four times smaller",
    )

    # A third of a pixel is no height.
    thin = _case(
        "degenerate",
        ([torch.zeros(3, 2, 60)], [_target((0, 0, 60, 2), labels=(1,))], anchors, 10),
        "an image of 2 × 60 pixels, whose height would round to 0",
    )

    return [*nothing_to_do, averaged, thin]


# ---- wrong answers ----


def _sides(image: Tensor, size: int) -> tuple[int, int]:
    height, width = image.shape[-2:]
    longer = max(height, width)
    return max(1, round(height * size / longer)), max(1, round(width * size / longer))


def _smoothly(image: Tensor, new: tuple[int, int]) -> Tensor:
    return F.interpolate(image[None], size=new, mode="bilinear", antialias=True)[0]


def _mode(**options: Any) -> Callable[[Tensor, tuple[int, int]], Tensor]:
    return lambda image, new: F.interpolate(image[None], size=new, **options)[0]


def _by_pixels(old: tuple[int, int], new: tuple[int, int], size: int) -> tuple[float, ...]:
    y, x = new[0] / old[0], new[1] / old[1]
    return x, y, x, y


def _resized(
    sides: Callable[[Tensor, int], tuple[int, int]] = _sides,
    paint: Callable[[Tensor, tuple[int, int]], Tensor] = _smoothly,
    ratios: Callable[..., tuple[float, ...]] = _by_pixels,
    anchor: Callable[[Tensor, Tensor, int], Tensor] = lambda a, image, size: (
        a * (size / max(image.shape[-2:]))
    ),
    keep: Callable[[Target], Target] = lambda target: dict(target),
    change: Callable[[Tensor], Tensor] = lambda boxes: boxes,
) -> Callable[..., Batch]:
    """Return the function with something changed.

    Args:
        sides: height and width of the new image, from the old one and the size.
        paint: resizes an image.
        ratios: what x1, y1, x2, y2 are multiplied by, from both pairs of sides and the size.
        anchor: the new anchors, from the old ones, the first image and the size.
        keep: what a target holds beside its boxes.
        change: something done to the new boxes.
    """

    def function(images: list, targets: list, anchors: Tensor | None, size: int) -> Batch:
        new_images, new_targets = [], []
        for image, target in zip(images, targets):
            new = sides(image, size)
            scale = torch.tensor(ratios(tuple(image.shape[-2:]), new, size))
            new_images.append(paint(image, new))
            new_targets.append({**keep(target), "boxes": change(target["boxes"] * scale)})
        if anchors is not None:
            anchors = anchor(anchors, images[0], size)
        return new_images, new_targets, anchors

    return function


def _square(image: Tensor, size: int) -> tuple[int, int]:
    return size, size


def _shorter(image: Tensor, size: int) -> tuple[int, int]:
    height, width = image.shape[-2:]
    shorter = min(height, width)
    return round(height * size / shorter), round(width * size / shorter)


def _floored(image: Tensor, size: int) -> tuple[int, int]:
    longer = max(image.shape[-2:])
    return tuple(max(1, side * size // longer) for side in image.shape[-2:])


def _ceiled(image: Tensor, size: int) -> tuple[int, int]:
    longer = max(image.shape[-2:])
    return tuple(-(-side * size // longer) for side in image.shape[-2:])


def _may_vanish(image: Tensor, size: int) -> tuple[int, int]:
    longer = max(image.shape[-2:])
    return tuple(round(side * size / longer) for side in image.shape[-2:])


def _one_ratio(old: tuple[int, int], new: tuple[int, int], size: int) -> tuple[float, ...]:
    return (size / max(old),) * 4


def _written_into(images: list, targets: list, anchors: Tensor | None, size: int) -> Batch:
    new_images, new_targets, new_anchors = multi_scale_batch(images, targets, anchors, size)
    for target, new in zip(targets, new_targets):
        target["boxes"] = new["boxes"]
    return new_images, targets, new_anchors


def _boxes_written_into(images: list, targets: list, anchors: Tensor | None, size: int) -> Batch:
    new_images, new_targets, new_anchors = multi_scale_batch(images, targets, anchors, size)
    for target, new in zip(targets, new_targets):
        target["boxes"].copy_(new["boxes"])
    return new_images, targets, new_anchors


def _same_ratio_for_all(images: list, targets: list, anchors: Tensor | None, size: int) -> Batch:
    """Take the first image's ratios for the boxes of all."""
    y, x = (new / old for new, old in zip(_sides(images[0], size), images[0].shape[-2:]))
    new_images, _, new_anchors = multi_scale_batch(images, targets, anchors, size)
    scale = torch.tensor([x, y, x, y])
    return new_images, [{**t, "boxes": t["boxes"] * scale} for t in targets], new_anchors


MISCONCEPTIONS = (
    # What changes.
    Misconception(
        "the boxes are measured in pixels, and the pixels have changed: they must be resized with "
        "the image",
        _resized(ratios=lambda old, new, size: (1.0,) * 4),
    ),
    Misconception(
        "anchors are measured in pixels, too: they grow and shrink with the images",
        _resized(anchor=lambda a, image, size: a),
    ),
    Misconception(
        "the images are resized, and nothing else: boxes and anchors are in pixels as well",
        _resized(ratios=lambda old, new, size: (1.0,) * 4, anchor=lambda a, image, size: a),
    ),
    Misconception(
        "the boxes have moved but the images are as they were: resize them, too",
        _resized(paint=lambda image, new: image),
    ),
    # The sides of the image.
    Misconception(
        "the shorter side keeps the proportion; yours makes every image a square",
        _resized(sides=_square),
        _resized(sides=_square, ratios=_one_ratio),
    ),
    Misconception(
        "the longer side has `size` pixels afterwards; yours gives them to the shorter one",
        _resized(sides=_shorter),
        _resized(sides=_shorter, anchor=lambda a, i, size: a * (size / min(i.shape[-2:]))),
    ),
    Misconception(
        "an image is (3, height, width): F.interpolate takes the height first; yours exchanges "
        "the two",
        _resized(sides=lambda image, size: _sides(image, size)[::-1]),
    ),
    Misconception(
        "the shorter side is rounded to the nearest pixel; yours is cut off",
        _resized(sides=_floored),
        _resized(sides=_floored, ratios=_one_ratio),
    ),
    Misconception(
        "the shorter side is rounded to the nearest pixel; yours is rounded up",
        _resized(sides=_ceiled),
        _resized(sides=_ceiled, ratios=_one_ratio),
    ),
    # How the pixels are made.
    Misconception(
        "a smaller image averages the pixels that it drops: antialias=True",
        _resized(paint=_mode(mode="bilinear")),
        _resized(paint=_mode(mode="bilinear", align_corners=False)),
    ),
    Misconception(
        "with align_corners=True the corners' middles stay in place, and boxes no longer fit",
        _resized(paint=_mode(mode="bilinear", align_corners=True)),
        _resized(paint=_mode(mode="bilinear", align_corners=True, antialias=True)),
    ),
    Misconception(
        'the default of F.interpolate takes the nearest pixel: mode="bilinear", antialias=True',
        _resized(paint=_mode()),
        _resized(paint=_mode(mode="nearest-exact")),
    ),
    Misconception(
        'mode="bilinear" is asked for; yours interpolates in another way',
        _resized(paint=_mode(mode="bicubic", antialias=True)),
        _resized(paint=_mode(mode="bicubic")),
        _resized(paint=_mode(mode="area")),
    ),
    # The boxes.
    Misconception(
        "x is multiplied by the ratio of the widths, y by that of the heights; yours exchanges "
        "the two",
        _resized(ratios=lambda old, new, size: (new[0] / old[0], new[1] / old[1]) * 2),
    ),
    Misconception(
        "the rounded side changes the ratio a little, and boxes follow the pixels: take new width "
        "/ old width for x and new height / old height for y",
        _resized(ratios=_one_ratio),
    ),
    Misconception(
        "the ratio is new / old; yours is upside down",
        _resized(ratios=lambda old, new, size: (old[1] / new[1], old[0] / new[0]) * 2),
        _resized(
            ratios=lambda old, new, size: (old[1] / new[1], old[0] / new[0]) * 2,
            anchor=lambda a, i, size: a * (max(i.shape[-2:]) / size),
        ),
    ),
    Misconception(
        "all four coordinates are resized; yours resizes x alone",
        _resized(ratios=lambda old, new, size: (new[1] / old[1], 1.0) * 2),
    ),
    Misconception(
        "all four coordinates are resized; yours resizes the second corner alone",
        _resized(ratios=lambda old, new, size: (1.0, 1.0, new[1] / old[1], new[0] / old[0])),
    ),
    Misconception(
        "boxes stay in pixels; yours are shares of the image",
        _resized(ratios=lambda old, new, size: (1 / old[1], 1 / old[0]) * 2),
    ),
    Misconception(
        "boxes are continuous: they are not rounded to whole pixels",
        _resized(change=torch.round),
        _resized(change=torch.floor),
    ),
    Misconception(
        "each image has its own ratio; yours takes that of the first for all boxes",
        _same_ratio_for_all,
    ),
    # The anchors.
    Misconception(
        "anchors are resized by size / longer side; yours takes the inverse",
        _resized(anchor=lambda a, i, size: a * (max(i.shape[-2:]) / size)),
    ),
    Misconception(
        "anchors are lengths, which grow like the side; yours grow like the area",
        _resized(anchor=lambda a, i, size: a * (size / max(i.shape[-2:])) ** 2),
    ),
    Misconception(
        "the images' common side is the longer one, and the anchors are resized by size / longer "
        "side; yours takes another side",
        _resized(anchor=lambda a, i, size: a * (size / i.shape[-1])),
        _resized(anchor=lambda a, i, size: a * (size / i.shape[-2])),
        _resized(anchor=lambda a, i, size: a * (size / min(i.shape[-2:]))),
    ),
    Misconception(
        "anchors stay in pixels; yours are shares of the image",
        _resized(anchor=lambda a, i, size: a / max(i.shape[-2:])),
    ),
    # What is given and returned.
    Misconception(
        "the targets belong to the caller, who needs them at the next size again: make a new "
        'dictionary, {**target, "boxes": …}',
        _written_into,
        _boxes_written_into,
    ),
    Misconception(
        "a target keeps its other entries, its labels among them; yours has the boxes alone",
        _resized(keep=lambda target: {}),
    ),
    Misconception(
        "return the images as a list: they may differ in size, and what is made a batch of them "
        "comes later",
        lambda *args: (torch.stack(multi_scale_batch(*args)[0]), *multi_scale_batch(*args)[1:]),
    ),
    Misconception(
        "three things come back: the images, the targets and the anchors",
        lambda *args: multi_scale_batch(*args)[:2],
    ),
)

# ---- how it is shown ----


def _show(case: Case, found: Fault) -> str:
    """Return shapes instead of pixels, and all boxes."""
    images, targets, *_ = case.args
    shapes = ", ".join(f"(3, {image.shape[1]}, {image.shape[2]})" for image in images)
    boxes = ", ".join(written(target["boxes"]) for target in targets)
    return f"images = of shape {shapes}, targets = with boxes {boxes}"


MULTI_SCALE_BATCH = Exercise(
    number="3.9",
    name="multi_scale_batch",
    reference=multi_scale_batch,
    cases=_cases,
    misconceptions=MISCONCEPTIONS,
    returns=("images", "targets", "anchors"),
    narrow=_show,
    solution=(multi_scale_batch, resize),
    counted="images",
)
