"""The files that ``detlearn detect`` and ``detlearn data`` write, and how they are known again.

Of `detect` there are two for an image. The drawing carries a signature in its metadata: one hash of
its pixels and one of the JSON file beside it. A file that does not fit its signature was not
written by this command, or was changed since, corrected by hand perhaps: it is somebody's, and
stays as it is. The sheet of `data` is signed alike, for itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

# Of the signatures among the texts of a PNG file.
KEY = "detlearn detect"
SHEET_KEY = "detlearn data"

LOCK_FILE = ".detect.lock"  # there while a pair of files is written


def check_free(folder: Path, stems: Sequence[str]) -> None:
    """Check that results can be written without losing anything.

    Args:
        folder: for the results.
        stems: names of the images, without endings.

    Raises:
        ValueError: if there is a file in the way that `write_findings` did not write.
    """
    for stem in stems:
        foreign = _foreign_file(folder, stem)
        if foreign is not None:
            raise ValueError(
                f"{foreign} is there already, and detlearn detect did not write it (or it was "
                "changed since): give another --out, or move it away"
            )


def write_findings(folder: Path, stem: str, rows: Sequence[dict[str, Any]], drawing: Image) -> Path:
    """Write the drawing and the numbers, over those of an earlier time.

    Args:
        folder: where to; made if it is not there.
        stem: name of the image, without its ending.
        rows: one dictionary an object.
        drawing: the image with its objects.

    Returns:
        The file of the drawing.

    Raises:
        ValueError: if there is a file in the way that `write_findings` did not write.
    """
    from PIL.PngImagePlugin import PngInfo

    from detlearn.machine.checkpoints import write_atomically
    from detlearn.machine.locks import hold

    numbers = json.dumps(rows, indent=1).encode()
    signature = PngInfo()
    signature.add_text(KEY, _signature(drawing, numbers))
    picture = io.BytesIO()
    drawing.save(picture, format="PNG", pnginfo=signature)

    # Of two commands that write the same pair, one waits: a drawing of the one beside the numbers
    # of the other would be nobody's.
    drawing_path, numbers_path = _paths(folder, stem)
    with hold(folder / LOCK_FILE, wait=True):
        check_free(folder, [stem])  # once more, for what has appeared meanwhile

        # Stopped at any point, this leaves nothing that the next call takes for somebody's: numbers
        # never stand beside a drawing that was signed for others.
        numbers_path.unlink(missing_ok=True)
        write_atomically(drawing_path, picture.getvalue())
        write_atomically(numbers_path, numbers)
    return drawing_path


def check_results_free(path: Path) -> None:
    """Check that a file of results can be written without losing anything.

    Raises:
        ValueError: if there is one already.
    """
    if os.path.lexists(path):
        raise ValueError(f"{path} is there already: give another --json, or move it away")


def write_results(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write one file with all detections.

    Args:
        path: of the file; missing folders are made.
        rows: one dictionary a detection.

    Raises:
        ValueError: as `check_results_free`.
    """
    from detlearn.machine.checkpoints import write_atomically
    from detlearn.machine.locks import hold

    with hold(path.parent / LOCK_FILE, wait=True):
        check_results_free(path)  # once more, for what has appeared meanwhile
        write_atomically(path, json.dumps(rows, indent=0).encode())


def check_sheet_free(path: Path, *, overwrite: bool) -> None:
    """Check that a sheet can be written without losing anything.

    Args:
        path: of the sheet.
        overwrite: whatever is there may go.

    Raises:
        ValueError: it does not end in .png, is a folder, or is there already, `write_sheet` did not
            write it, and it may not go.
    """
    if path.suffix.lower() != ".png":
        raise ValueError(f"the sheet is a PNG file: {path} must end in .png")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected the name of a PNG file")
    if overwrite or not os.path.lexists(path):
        return

    _, is_ours = _read_signature(path, SHEET_KEY)
    if not is_ours:
        raise ValueError(
            f"{path} is there already, and detlearn data did not write it (or it was changed "
            "since): give another name, or --overwrite"
        )


def write_sheet(path: Path, sheet: Image, *, overwrite: bool) -> None:
    """Write a sheet of pictures, over one of an earlier time.

    Args:
        path: of the PNG file; missing folders are made.
        sheet: the drawing.
        overwrite: whatever is there may go.

    Raises:
        ValueError: as `check_sheet_free`.
    """
    from PIL.PngImagePlugin import PngInfo

    from detlearn.machine.checkpoints import write_atomically

    signature = PngInfo()
    signature.add_text(SHEET_KEY, _signature(sheet, b""))
    content = io.BytesIO()
    sheet.save(content, format="PNG", pnginfo=signature)

    # Once more, for what has appeared meanwhile.
    check_sheet_free(path, overwrite=overwrite)
    write_atomically(path, content.getvalue())


def _foreign_file(folder: Path, stem: str) -> Path | None:
    """Return a file in the way that is not ours, None if there is none."""
    drawing_path, numbers_path = _paths(folder, stem)
    pixels_hash, numbers_hash = _read_signature(drawing_path, KEY)

    # lexists: a link that leads nowhere is somebody's, too.
    if os.path.lexists(drawing_path) and pixels_hash is None:
        return drawing_path
    if os.path.lexists(numbers_path):
        is_ours = numbers_path.is_file() and _hash(numbers_path.read_bytes()) == numbers_hash
        return None if is_ours else numbers_path
    return None


def _read_signature(path: Path, key: str) -> tuple[str | None, str | None]:
    """Return the hashes of pixels and numbers in a drawing of ours, (None, None) for any other."""
    from PIL import Image

    try:
        with Image.open(path) as drawing:
            drawing.load()  # a PNG file may have its texts behind the pixels
            pixels_hash, numbers_hash = drawing.text[key].split()
            if pixels_hash == _hash_pixels(drawing):
                return pixels_hash, numbers_hash
    except Exception:  # no file, no picture, a damaged one, one of another kind, without signature
        pass
    return None, None


def _signature(drawing: Image, numbers: bytes) -> str:
    return f"{_hash_pixels(drawing)} {_hash(numbers)}"


def _hash_pixels(drawing: Image) -> str:
    return _hash(f"{drawing.mode} {drawing.size}".encode() + drawing.tobytes())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _paths(folder: Path, stem: str) -> tuple[Path, Path]:
    return folder / f"{stem}.png", folder / f"{stem}.json"
