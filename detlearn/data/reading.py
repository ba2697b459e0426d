"""What the readers of COCO, Pascal VOC and YOLO files share: pictures, box checks, faults.

Shapes: ``N`` objects of one image, ``H`` and ``W`` its height and width in pixels.

A *fault* is one annotation that cannot be true: a box without area, a class nobody declared. The
functions below raise ``BadAnnotation`` for it, and ``Faults`` decides: pass it on
(``on_bad="raise"``), or drop the annotation, count it, and say once at the end what was left out
(``on_bad="skip"``). A picture that is missing or broken always raises: an evaluation that silently
leaves images out measures something else.

Upright pictures: a camera may store its pixels turned and note the turn in the EXIF field
``Orientation``. People annotate what they see, so the turn is applied and boxes, width and height
refer to the upright picture. A file whose width and height are those of the unturned pixels
contradicts this and raises when the picture is read.
"""

import os
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch.utils.data import Dataset

EXAMPLES_SHOWN = 3  # in the summary of what was left out
LARGEST = 1e12  # of a number in a file; no picture has so many pixels, and float32 holds it
TURNED_BY_90_DEGREES = (5, 6, 7, 8)  # values of the EXIF field that swap width and height


class BadAnnotation(ValueError):
    """An annotation that cannot be used.

    Args:
        reason: a few words that are the same for every fault of this kind, for counting.
        where: the file and the annotation in it.
        problem: what was found, what was expected.
    """

    def __init__(self, reason: str, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.reason = reason


class Faults:
    """Raise the first fault, or count all of them and warn once.

    Args:
        on_bad: ``"raise"`` or ``"skip"``.

    Raises:
        ValueError: if ``on_bad`` is neither.
    """

    def __init__(self, on_bad: str) -> None:
        if on_bad not in ("raise", "skip"):
            raise ValueError(f'on_bad must be "raise" or "skip", got {on_bad!r}')
        self.skip = on_bad == "skip"
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []

    def add(self, fault: BadAnnotation) -> None:
        """Raise ``fault``, or count it and return."""
        if not self.skip:
            advice = 'correct the file, or pass on_bad="skip" to leave the annotation out'
            raise type(fault)(fault.reason, f"{fault}", advice) from None

        self.counts[fault.reason] += 1
        if len(self.examples) < EXAMPLES_SHOWN:
            self.examples.append(str(fault))

    def summarise(self, source: str) -> None:
        """Warn once, with counts by reason and the first examples, if anything was left out."""
        if not self.counts:
            return

        reasons = ", ".join(f"{count} × {reason}" for reason, count in self.counts.most_common())
        examples = "".join(f"\n  {example}" for example in self.examples)
        message = f"{source}: annotations left out: {reasons}. No image was. First:{examples}"
        warnings.warn(message, stacklevel=3)  # points at the line that made the data set


class AnnotatedObject(NamedTuple):
    """One object: box ``(4,)`` float32 ``x1, y1, x2, y2`` in pixels, label 0 … K−1, flags."""

    box: np.ndarray
    label: int
    area: float
    iscrowd: int = 0
    difficult: int = 0


@dataclass
class Record:
    """One image as the annotation file describes it.

    Args:
        image_id: integer id.
        path: of the picture.
        size: (width, height) of the upright picture in pixels; None if unknown.
        arrays: the tensors of the target, still as arrays of N rows (``pack``).
    """

    image_id: int
    path: Path
    size: tuple[int, int] | None
    arrays: dict[str, np.ndarray]


def pack(objects: list[AnnotatedObject]) -> dict[str, np.ndarray]:
    """Turn the objects of one image into arrays with N rows; N may be 0.

    Returns:
        ``boxes (N, 4)`` float32, ``labels (N,)`` int64, ``area (N,)`` float32, ``iscrowd (N,)`` and
        ``difficult (N,)`` int64.
    """
    return {
        "boxes": np.array([o.box for o in objects], dtype=np.float32).reshape(-1, 4),
        "labels": np.array([o.label for o in objects], dtype=np.int64),
        "area": np.array([o.area for o in objects], dtype=np.float32),
        "iscrowd": np.array([o.iscrowd for o in objects], dtype=np.int64),
        "difficult": np.array([o.difficult for o in objects], dtype=np.int64),
    }


class AnnotatedPictures(Dataset):
    """Samples ``(image, target)``; annotations are in memory, pictures are read on access.

    Attributes:
        class_names: the K names, by label.
        left_out: how many annotations were dropped, by reason.
    """

    class_names: list[str]
    left_out: dict[str, int]
    _records: list[Record]

    @property
    def image_paths(self) -> list[Path]:
        """The picture of each sample."""
        return [record.path for record in self._records]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict]:
        """Read one sample; every tensor is a fresh copy that augmentation may change.

        Args:
            index: 0 … len−1, or negative from the end.

        Returns:
            image: ``(3, H, W)`` float32 in [0, 1], upright.
            target: see the class.

        Raises:
            FileNotFoundError: the picture has gone since the data set was made.
            ValueError: the picture is broken, or has another size than the annotation file says.
        """
        record = self._records[index]
        image = read_picture(record.path)

        height, width = image.shape[1:]
        if record.size not in (None, (width, height)):
            raise ValueError(
                f"{record.path}: the upright picture is {width}×{height} pixels (width×height), "
                f"its annotations say {record.size[0]}×{record.size[1]}; their boxes would lie in "
                "the wrong places. Give width, height and boxes with the EXIF rotation applied"
            )

        return image, self.target(index)

    def target(self, index: int) -> dict:
        """Return the target of one sample without reading its picture; the tensors are copies.

        Args:
            index: 0 … len−1, or negative from the end.
        """
        record = self._records[index]
        target = {name: torch.from_numpy(array.copy()) for name, array in record.arrays.items()}
        target["image_id"] = torch.tensor(record.image_id)
        return target


def path_inside(root: Path, name: str) -> Path:
    """Join ``root`` and a relative name read from a file.

    Args:
        root: folder that the result lies in.
        name: relative path with ``/`` or, in files made under Windows, ``\\`` between its parts.

    Raises:
        ValueError: if ``name`` is empty, absolute, or climbs with ``..``.
    """
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    if not name or windows.anchor or posix.anchor or ".." in windows.parts or "\0" in name:
        raise ValueError(
            f"file name {name!r} must be relative, without '..', so that it stays in {root}"
        )
    return root.joinpath(*windows.parts)


def read_picture(path: Path) -> torch.Tensor:
    """Read a picture upright and in colour.

    Greyscale, palette, CMYK and 16-bit pictures are converted to RGB; transparency is dropped, as
    in torchvision.

    Args:
        path: a file in any format that Pillow reads.

    Returns:
        ``(3, H, W)`` float32 in [0, 1].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture, or is cut off or damaged.
    """
    try:
        with Image.open(path) as picture:
            pixels = _rgb_pixels(ImageOps.exif_transpose(picture))  # (H, W, 3)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such picture") from None
    except Exception as error:  # a decoder raises whatever damaged bytes provoke
        raise _broken_picture(path, error) from error

    scale = np.iinfo(pixels.dtype).max
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (3, H, W)
    return torch.from_numpy(planes.astype(np.float32) / np.float32(scale))


def picture_size(path: Path) -> tuple[int, int]:
    """Read the header of a picture only.

    Returns:
        (width, height) in pixels, with the EXIF rotation applied.

    Raises:
        ValueError: the file is no picture.
    """
    try:
        with Image.open(path) as picture:
            turned = picture.getexif().get(ExifTags.Base.Orientation) in TURNED_BY_90_DEGREES
            return picture.size[::-1] if turned else picture.size
    except Exception as error:  # as in read_picture
        raise _broken_picture(path, error) from error


def picture_endings() -> frozenset[str]:
    """Return the endings, such as ``".jpg"`` in small letters, of all formats that Pillow reads."""
    formats = Image.registered_extensions()  # this loads Pillow's plug-ins
    return frozenset(ending for ending, name in formats.items() if name in Image.OPEN)


def _broken_picture(path: Path, error: Exception) -> ValueError:
    """Make the error for a picture that Pillow cannot read."""
    return ValueError(
        f"{path}: cannot be read as a picture ({error}). Replace the file, or take it and its "
        "annotations out of the data set"
    )


def _rgb_pixels(picture: Image.Image) -> np.ndarray:
    """Return ``(H, W, 3)`` uint8, or uint16 for 16-bit greyscale, which Pillow clips at 255."""
    if picture.mode.startswith("I"):  # "I;16", or "I" from older versions of Pillow
        grey = np.asarray(picture)
        if grey.min() < 0 or grey.max() > np.iinfo(np.uint16).max:
            raise ValueError("its values do not fit into 16 bits")
        return np.repeat(grey.astype(np.uint16)[:, :, None], 3, axis=2)  # (H, W) -> (H, W, 3)

    if picture.mode == "F":
        raise ValueError("its pixels are floats of unknown range; save it with 8 or 16 bits")

    if "transparency" in picture.info:  # Pillow warns when it must drop a palette's transparency
        picture = picture.convert("RGBA")
    return np.array(picture.convert("RGB"))


def number(value: object, name: str, where: str) -> float:
    """Return a finite number read from a file (a JSON number, or text in XML).

    Raises:
        BadAnnotation: it is missing, no number, NaN, or infinite or as good as that.
    """
    try:
        if value is None or isinstance(value, bool):
            raise TypeError
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadAnnotation("no number", where, f"{name} is {value!r}, expected a number") from None

    if not abs(result) <= LARGEST:  # NaN compares as False
        problem = f"{name} is {value!r}, expected a number of at most {LARGEST:g}"
        raise BadAnnotation("NaN or infinity", where, problem)

    return result


def clipped_box(
    corners: tuple[float, float, float, float], size: tuple[int, int], where: str
) -> np.ndarray:
    """Clip a box to its image.

    Published data sets hold many boxes that reach a fraction of a pixel over the border, and a few
    that reach further because the object does; the part inside the image is what a detector can be
    asked for.

    Args:
        corners: ``x1, y1, x2, y2`` in pixels with ``x1 < x2`` and ``y1 < y2``.
        size: (width, height) of the image.
        where: file and annotation, for the error.

    Returns:
        ``(4,)`` float32.

    Raises:
        BadAnnotation: nothing is left, or so little that float32 sees no area.
    """
    width, height = size
    box = np.clip(corners, 0, (width, height, width, height)).astype(np.float32)

    if not (box[0] < box[2] and box[1] < box[3]):
        corners_text = ", ".join(f"{c:g}" for c in corners)
        raise BadAnnotation(
            "box outside the image or too thin",
            where,
            f"nothing of the box (x1, y1, x2, y2) = ({corners_text}) lies in the "
            f"{width}×{height} image",
        )

    return box


def flag(value: object, name: str, where: str) -> int:
    """Return 0 or 1; a flag that the file leaves out is 0.

    Raises:
        BadAnnotation: any other value.
    """
    if value is None:
        return 0

    text = str(value).strip()
    if text not in ("0", "1", "False", "True"):
        raise BadAnnotation("bad flag", where, f"{name} is {value!r}, expected 0 or 1")
    return int(text in ("1", "True"))


def existing_file(path: str | os.PathLike, what: str) -> Path:
    """Return ``path`` if it is a file.

    Raises:
        FileNotFoundError: it is not; ``what`` says in words what was looked for.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {what}")
    return path


def text_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that hold something, without the blanks around them.

    A byte-order mark, which editors under Windows write, is no part of the first line.

    Returns:
        (number, line) with numbers from 1 on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text in UTF-8.
    """
    if not os.path.isfile(path):  # a pipe would be waited for
        raise FileNotFoundError(f"{path}: no such file")

    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no text in UTF-8 ({error}); save it as UTF-8") from error

    # str.splitlines would end a line at rarer marks, too, which a name may hold.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    stripped = [(i, line.strip()) for i, line in enumerate(lines, start=1)]
    return [(i, line) for i, line in stripped if line]
