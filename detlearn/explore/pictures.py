"""Pictures that a figure carries within itself."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

SIDE = 128  # pixels of a scene of ToyTown

# Colour, dashes: the line styles of all figures of the book. Scripts have them as `BOX_LINES`.
LOOKS = {
    "found": ("#2fd6a8", ""),
    "false": ("#ff8a3c", "5 3"),
    "missed": ("#f0e442", "1.2 2.2"),
}

# The colours of a scene's objects where it matters which is which; scene.js has the same ones.
OBJECT_COLOURS = ("#fca800", "#90fcfc", "#e49cff", "#e4f090", "#ff9f95")

# Tags: of a crowd of mistakes none is written, since the tags would hide the scene.
MOST_TAGS = 7
TAG_HEIGHT, LETTER = 7.6, 3.3


def webp(image: Tensor, quality: int = 85) -> str:
    """Return an image as a data URI: WebP, 2 to 4 kB for a scene of ToyTown.

    Args:
        image: (3, H, W), uint8, or float in [0, 1].
        quality: of the compression, 1 to 100.
    """
    if image.is_floating_point():
        image = (image * 255).round().byte()

    file = io.BytesIO()
    pixels = image.permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)
    Image.fromarray(pixels).save(file, "WEBP", quality=quality, method=6)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def matches_as_svg(
    image: str,
    target: Mapping[str, Tensor],
    detections: Mapping[str, Tensor],
    matched: Tensor,
    class_names: Sequence[str],
) -> str:
    """Draw what a detector found, made up and missed in one scene of ToyTown.

    Mistakes say what they are, as long as they are few and a tag finds a place of its own; a
    pointer that rests on a box reads the rest.

    Args:
        image: the scene as a data URI.
        target: "boxes" (N, 4), "labels" (N,).
        detections: "boxes" (D, 4), "labels" (D,), "scores" (D,).
        matched: (D,) as `match_detections` returns it.
        class_names: names for the labels.

    Returns:
        An `<svg>` as wide as its place.
    """
    drawn = []  # boxes
    tags = []  # (box, kind, name) of the mistakes
    is_missed = torch.ones(len(target["boxes"]), dtype=torch.bool)
    is_missed[matched[matched >= 0]] = False

    for i in is_missed.nonzero().flatten().tolist():
        name = class_names[int(target["labels"][i])]
        drawn.append(_box(target["boxes"][i], "missed", f"missed: {name}"))
        tags.append((target["boxes"][i], "missed", name))

    rows = zip(detections["boxes"], detections["scores"], detections["labels"], matched)
    for box, score, label, found in rows:
        kind = "found" if found >= 0 else "false"
        name = class_names[int(label)]
        words = f"{kind}: {name}, score {float(score):.2f}"
        drawn.append(_box(box, kind, words))
        if kind == "false":
            tags.append((box, kind, name))

    # The best detection is drawn last, and tags on top of all boxes.
    shapes = "".join(reversed(drawn)) + (_tags(tags) if len(tags) <= MOST_TAGS else "")
    counts = f"{int((matched >= 0).sum())} found, {int((matched < 0).sum())} false, "
    return (
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" style="width:100%;height:auto" '
        f'aria-label="{counts}{int(is_missed.sum())} missed">'
        f'<image href="{image}" width="{SIDE}" height="{SIDE}"/>{shapes}</svg>'
    )


def _box(box: Tensor, kind: str, words: str) -> str:
    """Draw a box on a dark casing; a pointer that rests on it reads the words."""
    x1, y1, x2, y2 = box.tolist()
    rect = f'<rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"'
    colour, dashes = LOOKS[kind]
    drawn = (
        f'{rect} fill="transparent" stroke="#111" stroke-width="2.2"/>'
        f'{rect} fill="none" stroke="{colour}" stroke-width="1.2" stroke-dasharray="{dashes}"/>'
    )
    return f"<g><title>{html.escape(words)}</title>{drawn}</g>"


def _tags(named: Sequence[tuple[Tensor, str, str]]) -> str:
    """Write names above or below their boxes; one that would lie over another is left out."""
    drawn, taken = [], []
    for box, kind, name in named:
        x1, y1, x2, y2 = box.tolist()
        width = LETTER * len(name) + 3

        for x, y in ((x1 - 1, y1 - 8.2), (x1 - 1, y2 + 0.8), (x2 + 1 - width, y1 - 8.2)):
            x = min(max(x, 0), SIDE - width)
            is_inside = 0 <= y <= SIDE - TAG_HEIGHT
            is_free = all(
                x + width <= left or right <= x or abs(y - other) >= TAG_HEIGHT
                for left, right, other in taken
            )
            if is_inside and is_free:
                break
        else:
            continue

        taken.append((x, x + width, y))
        drawn.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{TAG_HEIGHT}" fill="#111"/>'
            f'<text x="{x + 1.5:.1f}" y="{y + 5.8:.1f}" '
            f'style="font:6.6px sans-serif;fill:{LOOKS[kind][0]}">{html.escape(name)}</text>'
        )
    return "".join(drawn)


def line_sample(kind: str) -> str:
    """Draw a piece of the line of one kind, for a legend."""
    colour, dashes = LOOKS[kind]
    return (
        '<svg viewBox="0 0 28 8" width="28" aria-hidden="true"><rect width="28" height="8" '
        f'fill="#111"/><path d="M2 4h24" stroke="{colour}" stroke-width="2.4" '
        f'stroke-dasharray="{dashes}"/></svg>'
    )
