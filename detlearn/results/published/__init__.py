"""What others published of detectors on COCO: AP as stated, with everything it depends on.

The numbers stand in ``detectors.json`` beside this file, one row each, with the page that states
them. A field says "not found" where no page that we could read says it; none is filled in from
memory. The rows do not compare: backbone, input size, schedule, pretraining, year and hardware
differ from one to the next, and speeds are given in the words of their source for that reason.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from detlearn.results.page_tables import FITS, NARROW, NUMBER, WHOLE

FILE = Path(__file__).parent / "detectors.json"
YARDSTICK_FILE = Path(__file__).parent / "one_yardstick.json"
NOT_FOUND = "not found"


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes:
        method: its name.
        ap: COCO AP in percent, None where no number was found.
        split: on which images.
        backbone, input_size, schedule: what it was reached with.
        speed: latency or images a second and the hardware, in the words of the source.
        year: of the publication or the release.
        licence: of the official code.
        source: the page or paper and its table.
        url: of the source.
        cite: key of the method in the book's references.
        note: what else has to be known.
    """

    method: str
    ap: float | None
    split: str
    backbone: str
    input_size: str
    schedule: str
    speed: str
    year: int
    licence: str
    source: str
    url: str
    cite: str
    note: str


# What a page shows: few columns, which fit a phone, each with its fields one below the other. The
# licence of the code and the source stand in a row of their own below.
COLUMNS = {
    "method": ("method", "year"),
    "AP, on": ("ap", "split"),
    "backbone, input, schedule": ("backbone", "input_size", "schedule"),
    "speed, as stated": ("speed",),
}

WORDS = {"split": "images", "backbone": "backbone", "input_size": "size", "schedule": "schedule"}


class PublishedTable:
    """The rows as a table that shows itself in a notebook.

    Args:
        rows: in the order in which they are shown.
    """

    def __init__(self, rows: list[Published]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Published]:
        return iter(self.rows)

    def where(self, holds: Callable[[Published], bool]) -> PublishedTable:
        """Return the rows of which a condition holds: ``table.where(lambda row: row.ap > 50)``."""
        return PublishedTable([row for row in self.rows if holds(row)])

    def __str__(self) -> str:
        return "\n".join(
            f"{row.method} ({row.year}): {_text(row, 'ap')} on {row.split}; {row.source}"
            for row in self.rows
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col" style="{WHOLE}">{title}</th>' for title in COLUMNS)
        body = "".join(_html_row(row) for row in self.rows)
        return (
            f'<div class="published"><table style="{FITS}">'
            f"<thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )


def published_detectors() -> PublishedTable:
    """Return the published numbers of the detectors that this book names, oldest first."""
    found = json.loads(FILE.read_text(encoding="utf-8"))["rows"]
    rows = [Published(**row) for row in found]
    return PublishedTable(sorted(rows, key=lambda row: row.year))


def _text(row: Published, name: str) -> str:
    value = getattr(row, name)
    if name == "ap":
        return f"AP {NOT_FOUND}" if value is None else f"{value:.1f}"
    # Where several facts stand in one cell, it has to be said which of them is not found.
    return f"{WORDS[name]} {NOT_FOUND}" if value == NOT_FOUND and name in WORDS else str(value)


def _html_row(row: Published) -> str:
    cells = [
        "<br>".join(html.escape(_text(row, name)) for name in names) for names in COLUMNS.values()
    ]
    note = f" ({html.escape(row.note)})" if row.note else ""
    source = f'<a href="{html.escape(row.url)}">{html.escape(row.source)}</a>{note}'
    below = f"source: {source}; licence of the code: {html.escape(row.licence)}"

    first, *others = cells
    body = "".join(f'<td style="{WHOLE}">{cell}</td>' for cell in others)
    return (
        f'<tr><th scope="row" style="{WHOLE}; border-bottom: none">{first}</th>{body}</tr>'
        f'<tr><td style="{NARROW}" colspan="{len(COLUMNS)}">{below}</td></tr>'
    )


# ---- one source, one yardstick -------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One detector of a table that one source measured.

    Attributes:
        method: its name, as the source writes it.
        ap: COCO AP in percent.
        ap50: the same at an IoU of .5.
        ms: milliseconds an image.
        parameters: in millions.
        input_size: side of the square image, in pixels.
        own: AP that `published_detectors` gives from the method's own source; None where it has no
            row of this size.
    """

    method: str
    ap: float
    ap50: float
    ms: float
    parameters: float
    input_size: int
    own: float | None


YARDSTICK_COLUMNS = {
    "AP": lambda row: f"{row.ap:.1f}",
    "AP by its own source": lambda row: "" if row.own is None else f"{row.own:.1f}",
    "AP50": lambda row: f"{row.ap50:.1f}",
    "ms": lambda row: f"{row.ms:.1f}",
    "para\u00admeters, M": lambda row: f"{row.parameters:.1f}",
    "side, pixels": lambda row: str(row.input_size),
}


class YardstickTable:
    """Detectors that one source measured in one way; shows itself in a notebook.

    Args:
        rows: in the order in which they are shown.
        source: the page.
        url: of the page.
        method: how all of them were measured.
        note: what else has to be known.
    """

    def __init__(self, rows: list[Measured], source: str, url: str, method: str, note: str) -> None:
        self.rows = rows
        self.source = source
        self.url = url
        self.method = method
        self.note = note

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Measured]:
        return iter(self.rows)

    def __str__(self) -> str:
        lines = [f"{row.method}: AP {row.ap:.1f} in {row.ms:.1f} ms" for row in self.rows]
        return "\n".join([*lines, f"{self.source}: {self.method}; {self.note}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        titles = "".join(
            f'<th scope="col" style="{NUMBER}">{html.escape(title)}</th>'
            for title in YARDSTICK_COLUMNS
        )
        body = ""
        for row in self.rows:
            cells = "".join(
                f'<td style="{NUMBER}">{written(row)}</td>'
                for written in YARDSTICK_COLUMNS.values()
            )
            body += (
                f'<tr><th scope="row" style="{WHOLE}">{html.escape(row.method)}</th>{cells}</tr>'
            )

        source = f'<a href="{html.escape(self.url)}">{html.escape(self.source)}</a>'
        return (
            f'<div class="yardstick"><table style="{FITS}">'
            f'<thead><tr><th scope="col" style="{WHOLE}">method</th>{titles}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
            f"<p>Source: {source}. {html.escape(self.method)}; {html.escape(self.note)}.</p>"
        )


def one_yardstick() -> YardstickTable:
    """Return what one source measured of several families, with one method on one GPU.

    Beside its AP stands that of the method's own source, where `published_detectors` has it: what
    another yardstick makes of a number.

    Returns:
        The table, in the order of its file: one family after the other, the small sizes first.
    """
    found = json.loads(YARDSTICK_FILE.read_text(encoding="utf-8"))
    published_ap = {row.method: row.ap for row in published_detectors()}

    rows = []
    for row in found["rows"]:
        # The file names the other table's row, so that its number stands in one place.
        if row["own"] is not None:
            row["own"] = published_ap[row["own"]]
        rows.append(Measured(**row))
    return YardstickTable(rows, found["source"], found["url"], found["method"], found["note"])
