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

# Colour, dashes: the line styles of all figures of the book.
LOOKS = {
    "found": ("#2fd6a8", ""),
    "false": ("#ff8a3c", "5 3"),
    "missed": ("#f0e442", "1.2 2.2"),
}


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

    Mistakes say what they are; a pointer that rests on a box reads the rest.

    Args:
        image: the scene as a data URI.
        target: "boxes" (N, 4), "labels" (N,).
        detections: "boxes" (D, 4), "labels" (D,), "scores" (D,).
        matched: (D,) as `match_detections` returns it.
        class_names: names for the labels.

    Returns:
        An `<svg>` as wide as its place.
    """
    drawn = []  # boxes and their tags
    is_missed = torch.ones(len(target["boxes"]), dtype=torch.bool)
    is_missed[matched[matched >= 0]] = False

    for i in is_missed.nonzero().flatten().tolist():
        name = class_names[int(target["labels"][i])]
        drawn.append(_box(target["boxes"][i], "missed", name, f"missed: {name}"))

    rows = zip(detections["boxes"], detections["scores"], detections["labels"], matched)
    for box, score, label, found in rows:
        kind = "found" if found >= 0 else "false"
        name = class_names[int(label)]
        words = f"{kind}: {name}, score {float(score):.2f}"
        drawn.append(_box(box, kind, "" if kind == "found" else name, words))

    # The best detection is drawn last, and tags on top of all boxes.
    shapes = "".join(box for box, _ in reversed(drawn)) + "".join(tag for _, tag in drawn)
    counts = f"{int((matched >= 0).sum())} found, {int((matched < 0).sum())} false, "
    return (
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" style="width:100%;height:auto" '
        f'aria-label="{counts}{int(is_missed.sum())} missed">'
        f'<image href="{image}" width="{SIDE}" height="{SIDE}"/>{shapes}</svg>'
    )


def _box(box: Tensor, kind: str, tag: str, words: str) -> tuple[str, str]:
    """Draw a box on a dark casing; and a tag above or below it, if there is one."""
    x1, y1, x2, y2 = box.tolist()
    rect = f'<rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"'
    colour, dashes = LOOKS[kind]
    drawn = (
        f'{rect} fill="transparent" stroke="#111" stroke-width="2.2"/>'
        f'{rect} fill="none" stroke="{colour}" stroke-width="1.2" stroke-dasharray="{dashes}"/>'
    )

    box_with_title = f"<g><title>{html.escape(words)}</title>{drawn}</g>"
    if not tag:
        return box_with_title, ""

    width = 3.3 * len(tag) + 3
    x = min(max(x1 - 1, 0), SIDE - width)
    y = y1 - 8.2 if y1 >= 8.2 else min(y2 + 0.8, SIDE - 8)
    return box_with_title, (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="7.6" fill="#111"/>'
        f'<text x="{x + 1.5:.1f}" y="{y + 5.8:.1f}" '
        f'style="font:6.6px sans-serif;fill:{colour}">{html.escape(tag)}</text>'
    )


def line_sample(kind: str) -> str:
    """Draw a piece of the line of one kind, for a legend."""
    colour, dashes = LOOKS[kind]
    return (
        '<svg viewBox="0 0 28 8" width="28" aria-hidden="true"><rect width="28" height="8" '
        f'fill="#111"/><path d="M2 4h24" stroke="{colour}" stroke-width="2.4" '
        f'stroke-dasharray="{dashes}"/></svg>'
    )
