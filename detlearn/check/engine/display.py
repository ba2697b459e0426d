"""How a verdict looks: in a terminal, in JupyterLab and Colab, on the built page.

The HTML names no text colour and no background, so that it follows the page into dark mode; the
colours of its picture, a small SVG, are readable on white and on black.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field

from torch import Tensor

from detlearn.check.engine.signs import BORDERS, SIGNS, drawn_sign

# Readable on white and on black, and told apart in grey by their dashes.
STYLES = {"a": ("#2f7ed8", ""), "b": ("#d9660d", "6 4"), "c": ("#8a8a8a", "2 3")}
WIDTH, HEIGHT = 260, 150  # of the picture
ROWS, COLUMNS = 10, 100  # of what the function printed


@dataclass
class Verdict:
    """What a check has to say.

    Attributes:
        status: "right", "wrong" or "todo".
        number: of the exercise.
        name: of the exercise.
        text: what happened; without a full stop, which is added where it is missing.
        hint: what the mistake is and what to do.
        line: the learner's line that raised.
        shown: the failing input.
        boxes: to draw, as (box, label, style).
        printed: what the function printed in the failing case.
        points: earned.
    """

    status: str
    number: str
    name: str
    text: str
    hint: str = ""
    line: str = ""
    shown: str = ""
    boxes: list[tuple[Tensor, str, str]] = field(default_factory=list)
    printed: str = ""
    points: int = 0

    def __str__(self) -> str:
        lines = [f"{SIGNS[self.status]} Exercise {self.number}, {self.name}: {_closed(self.text)}"]
        lines += [f"   Hint: {self.hint}"] if self.hint else []
        lines += [f"   {self.line}"] if self.line else []
        lines += [f"   {self.shown}"] if self.shown else []

        if self.printed:
            lines += ["   It printed:", *(f"   | {row}" for row in _clipped(self.printed))]

        if self.status == "wrong":
            lines.append(f"   Until it is right, {self.name} is the package's.")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = f"{drawn_sign(self.status)} <b>Exercise {self.number}, <code>{self.name}</code></b>"
        parts = [f"<div>{head}: {_prose(_closed(self.text))}</div>"]

        if self.hint:
            parts.append(f"<div><b>Hint:</b> {_prose(self.hint)}</div>")
        if self.line:
            parts.append(f"<div><code>{html.escape(self.line)}</code></div>")

        if self.boxes:
            parts.append(picture(self.boxes))
        if self.shown:
            parts.append(f"<div><code>{html.escape(self.shown)}</code></div>")

        if self.printed:
            rows = html.escape("\n".join(_clipped(self.printed)))
            parts.append(f"<div>It printed:</div><pre>{rows}</pre>")

        if self.status == "wrong":
            parts.append(
                f"<div>Until it is right, <code>{self.name}</code> is the package's.</div>"
            )

        style = f"border-left: 4px solid {BORDERS[self.status]}; padding: 0.3em 0.9em"
        return f'<div class="detlearn-check" style="{style}">{"".join(parts)}</div>'


def show(thing: object) -> None:
    """Display in a notebook, print elsewhere."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        print(thing)
        return

    if get_ipython() is None:
        print(thing)
    else:
        display(thing)


def picture(boxes: list[tuple[Tensor, str, str]]) -> str:
    """An SVG of a few boxes, scaled to fit.

    Args:
        boxes: (box (4,) xyxy, its label, its style "a", "b" or "c").

    Returns:
        The SVG as text; the labels and coordinates are its title, for screen readers.
    """
    corners = [[float(x) for x in box] for box, _, _ in boxes]
    left, top = min(min(c[0], c[2]) for c in corners), min(min(c[1], c[3]) for c in corners)
    right, bottom = max(max(c[0], c[2]) for c in corners), max(max(c[1], c[3]) for c in corners)

    # Both sides fit, with room for the labels.
    scale = min((WIDTH - 40) / max(right - left, 1e-6), (HEIGHT - 40) / max(bottom - top, 1e-6))

    title = "; ".join(
        f"{label}: {', '.join(f'{x:g}' for x in c)}" for c, (_, label, _) in zip(corners, boxes)
    )

    shapes = []
    for (x1, y1, x2, y2), (_, label, style) in zip(corners, boxes):
        colour, dashes = STYLES[style]
        x, y = 20 + (min(x1, x2) - left) * scale, 20 + (min(y1, y2) - top) * scale
        w, h = max(abs(x2 - x1) * scale, 1), max(abs(y2 - y1) * scale, 1)
        shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{colour}" '
            f'fill-opacity="0.12" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        )

        # The second kind is labelled below its box, so that two labels rarely meet.
        at = y + h + 13 if style == "b" else y - 5
        shapes.append(
            f'<text x="{x:.1f}" y="{at:.1f}" font-size="12" fill="{colour}">'
            f"{html.escape(label)}</text>"
        )

    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'style="max-width: 100%"><title>{html.escape(title)}</title>{"".join(shapes)}</svg>'
    )


def _closed(text: str) -> str:
    """With a full stop, unless it ends like a sentence already."""
    return text if text.endswith((".", "?", "…")) else f"{text}."


def _clipped(printed: str) -> list[str]:
    """The first rows of what was printed, none too long to read."""
    rows = [
        row if len(row) <= COLUMNS else row[: COLUMNS - 2] + " …" for row in printed.splitlines()
    ]

    if len(rows) <= ROWS:
        return rows
    return [*rows[: ROWS - 1], rows[-1] if rows[-1].startswith("… and") else "…"]


def _prose(text: str) -> str:
    """Escape, and set what stands between backticks as code."""
    pieces = html.escape(text, quote=False).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces))
