"""Stored pictures: photographs with detections, for pages and machines that have no data.

A picture is two files: ``name.webp`` and the result ``name.json`` of the experiment that drew it,
whose ``"picture"`` holds the text for those who cannot see it, where the photographs are from and
under which licence.
"""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from detlearn.machine.checkpoints import write_atomically
from detlearn.results.stored import FOLDER, Result, load

MOST_BYTES = 150_000  # a page holds several
QUALITIES = (90, 80, 70, 60, 50)  # of WebP; the best that fits is taken
SCALE = 2  # pixels of the picture for one of the page, so that it is sharp on any screen


@dataclass(frozen=True)
class Picture:
    """A stored picture, which shows itself in a notebook.

    Attributes:
        name: of its files.
        data: the bytes of the WebP.
        alt: what there is to see, in words.
        source: where the photographs are from.
        licence: under which they are given.
    """

    name: str
    data: bytes
    alt: str
    source: str
    licence: str

    def image(self) -> Image.Image:
        """Return the picture as Pillow's image."""
        return Image.open(BytesIO(self.data))

    def __repr__(self) -> str:
        return f"{self.name}: {self.alt} Photographs: {self.source}, {self.licence}."

    def _repr_html_(self) -> str:
        width, height = (side // SCALE for side in self.image().size)
        data = base64.b64encode(self.data).decode()
        credit = html.escape(f"Photographs: {self.source}, {self.licence}.")
        return (
            f'<img src="data:image/webp;base64,{data}" alt="{html.escape(self.alt)}" '
            f'width="{width}" height="{height}" style="max-width: 100%; height: auto">'
            f'<p style="font-size: 0.85em; margin: 0.2em 0 0">{credit}</p>'
        )


def figure(name: str) -> Picture:
    """Return a stored picture.

    Args:
        name: of its files, without their ending.

    Raises:
        FileNotFoundError: if one of its two files is not there; the message lists the pictures
            that are.
        ValueError: if its result does not say what a picture must say of itself.
    """
    path = FOLDER / f"{name}.webp"
    if not path.is_file():
        raise FileNotFoundError(_no_picture(name))
    if not path.with_suffix(".json").is_file():
        raise FileNotFoundError(
            f"{path.name} is there, but not {name}.json, which says what it shows and where it is "
            "from; results.store(…, picture={…}) writes it"
        )
    return Picture(name, path.read_bytes(), **_said_of_picture(load(name)))


def _no_picture(name: str) -> str:
    """Say that there is no picture of a name, and what there is instead."""
    known = ", ".join(sorted(other.stem for other in FOLDER.glob("*.webp"))) or "none"
    missing = f"no stored picture called {name!r}; there are: {known}"

    # A result may have numbers alone, or its picture's file may have been lost.
    try:
        result = load(name)
    except FileNotFoundError:
        return missing
    if "picture" in result:
        return f"{missing}; {name}.json tells of one: draw it by {result['provenance']['command']}"
    return f"{missing}; {name!r} is a result of numbers alone: results.load({name!r})"


def _said_of_picture(result: Result) -> dict[str, str]:
    """Return what a result says of its picture: "alt", "source" and "licence"."""
    said = result.get("picture", {})
    missing = [key for key in ("alt", "source", "licence") if not said.get(key)]
    if missing:
        raise ValueError(
            f'{result["name"]}.json lacks {", ".join(missing)} in its "picture": a photograph is '
            "shown with a text for those who cannot see it, where it is from, and its licence; "
            "results.store(…, picture={…}) writes them"
        )
    return {key: said[key] for key in ("alt", "source", "licence")}


def store_picture(name: str, image: Image.Image) -> None:
    """Write a picture beside the results, as good as `MOST_BYTES` allow.

    Args:
        name: of the file, without its ending.
        image: at twice the size at which it is to be shown.

    Raises:
        ValueError: if it is too large even at the lowest quality.
    """
    for quality in QUALITIES:
        file = BytesIO()
        image.convert("RGB").save(file, "WEBP", quality=quality, method=6)
        if len(file.getvalue()) <= MOST_BYTES:
            write_atomically(FOLDER / f"{name}.webp", file.getvalue())
            return

    raise ValueError(
        f"{name} has {len(file.getvalue())} bytes at quality {quality}: expected at most "
        f"{MOST_BYTES}; draw it smaller than {image.width} × {image.height} pixels"
    )
