"""What the readers of COCO, Pascal VOC and YOLO files share: pictures, box checks, faults.

Shapes: ``N`` objects of one image, ``H`` and ``W`` its height and width in pixels.

A *fault* is one annotation that cannot be true: a box without area, a class nobody declared. The
functions below raise ``BadAnnotation`` for it, and ``Faults`` decides: pass it on
(``on_bad="raise"``), or drop the annotation, count it, and say once at the end what was left out
(``on_bad="skip"``). What decides nothing costs nothing: an object whose box and class can be read
is kept, whatever its other fields say.

A picture that is missing or broken raises in both cases, for an evaluation that leaves images out
measures something else; ``skip_bad_images=True`` leaves them out and says so. A missing picture
shows when the data set is made. Whether one can be read shows only when it is read, so
``AnnotatedPictures.check`` reads them all before a training starts. It also stops where there is no
object, or where more than a tenth of them was left out: the file is then not what it was taken for.

Upright pictures: a camera may store its pixels turned and note the turn in the EXIF field
``Orientation``. People annotate what they see, so the turn is applied and boxes, width and height
refer to the upright picture. A file whose width and height are those of the unturned pixels
contradicts this and raises: its boxes may be those of the one or of the other.
"""

import contextlib
import json
import os
import re
import reprlib
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch.utils.data import Dataset

from detlearn.machine.progress import progress_bar

EXAMPLES_SHOWN = 3  # in the summary of what was left out
LARGEST = 1e12  # of a number in a file; no picture has so many pixels, and float32 holds it
LARGEST_SHARE_LEFT_OUT = 0.1  # of all objects, before a training
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")  # ISO/IEC 23008-12
TURNED_BY_90_DEGREES = (5, 6, 7, 8)  # values of the EXIF field that swap width and height

# A number as text; float() would take "1_2", too.
_NUMBER = re.compile(
    r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf(inity)?)", re.I | re.A
)
_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")  # "007" is a name

# Words for a flag, as tools write them; VOC's own files have "Unspecified" for "nobody looked".
_YES = ("1", "true", "yes", "y", "t")
_NO = ("0", "false", "no", "n", "f", "", "none", "null", "unspecified")


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
        images_left_out: what is wrong with each picture that was left out.
    """

    class_names: list[str]
    left_out: dict[str, int]
    images_left_out: list[str]
    _records: list[Record]
    _source = "the data set"  # what was read, for messages
    _skip_bad_images = False

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
        _check_size(record.path, (width, height), record.size)

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

    def annotations(self) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
        """Go through what a training learns from each picture, without reading it.

        Yields:
            the picture's name and size as text, boxes ``(N, 4)``, labels ``(N,)``, iscrowd
            ``(N,)``: no copies.
        """
        for record in self._records:
            arrays = record.arrays
            picture = f"{record.path.name} {record.size}"
            yield picture, arrays["boxes"], arrays["labels"], arrays["iscrowd"]

    def check(
        self,
        *,
        accept_empty: bool = False,
        accept_left_out: bool = False,
        decode: bool = True,
        progress: bool = True,
    ) -> None:
        """Look for what would stop or spoil a training or an evaluation, before its first step.

        With ``skip_bad_images=True`` bad pictures leave the data set here, with a warning.

        Args:
            accept_empty: do not mind that there is no object at all.
            accept_left_out: do not mind that more than a tenth of the objects was left out.
            decode: read every picture to its end, which finds those that are cut off. Otherwise
                only the headers are read: whether it is a picture, and of which size.
            progress: show a bar.

        Raises:
            FileNotFoundError: a picture has gone since the data set was made.
            ValueError: a picture is broken or has another size than the annotation file says; or
                the objects are too few.
        """
        # First what takes no time.
        if not accept_left_out:
            self._check_left_out()

        good, problems = [], []
        bar = progress_bar(len(self), "checking pictures", unit="image", show=progress)
        with bar:
            for record in self._records:
                try:
                    check_picture(record.path, record.size, decode=decode)
                    good.append(record)
                except (FileNotFoundError, ValueError) as error:
                    problems.append(self._bad_image(error))
                bar.update()

        self._records = good
        self._leave_images_out(problems)

        # A crowd is nothing to learn or to find.
        num_objects = sum(np.sum(record.arrays["iscrowd"] == 0) for record in self._records)
        if num_objects == 0 and not accept_empty:
            raise ValueError(
                f"{self._source}: none of the {len(self)} images shows an object, so there is "
                "nothing to learn or to measure; is it the right file?"
            )

    def _check_left_out(self) -> None:
        """Raise ValueError if so much was left out that the file must mean something else."""
        num_bad = sum(self.left_out.values())
        num_all = num_bad + sum(len(record.arrays["labels"]) for record in self._records)
        if num_bad > LARGEST_SHARE_LEFT_OUT * num_all:
            reasons = ", ".join(f"{count} × {reason}" for reason, count in self.left_out.items())
            raise ValueError(
                f"{self._source}: {num_bad} of {num_all} annotations were left out, more than a "
                f"tenth: {reasons}. Correct the file, or pass accept_left_out=True to go on"
            )

    def _bad_image(self, error: FileNotFoundError | ValueError) -> str:
        """Return what is wrong with a picture, or raise it unless bad pictures are left out."""
        if not self._skip_bad_images:
            advice = "or pass skip_bad_images=True to go on without this image"
            raise type(error)(f"{error}; {advice}") from None
        return str(error)

    def _leave_images_out(self, problems: list[str]) -> None:
        """Note the pictures that were left out, and warn once if there are any."""
        self.images_left_out = [*getattr(self, "images_left_out", []), *problems]
        if not problems:
            return

        count = f"{len(problems)} of {len(problems) + len(self)}"
        examples = "".join(f"\n  {problem}" for problem in problems[:EXAMPLES_SHOWN])
        message = f"{self._source}: {count} images left out, with their objects. First:{examples}"
        warnings.warn(message, stacklevel=3)  # points at the line that made or checked the data set


# ---- pictures: where they are


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


class PictureFolder:
    """Find the pictures of a folder by the paths that annotation tools store.

    A tool stores where a picture lay when it was annotated: ``C:\\work\\a.jpg``,
    ``/data/upload/4/a.jpg``, ``../images/a%20b.jpg``. The picture is looked for

    1. where the path leads, if it is relative and does not climb with ``..``;
    2. where shorter ends of it lead: ``upload/4/a.jpg``, ``4/a.jpg``;
    3. anywhere below the folder, by the last part, upper and lower case being the same.

    A step from 2 on is a guess, and taken only where it is unambiguous: one file, and no other
    stored path with that end. Nothing outside the folder is ever looked at.

    Args:
        root: the folder.
        stored: all paths that the annotation file stores.
    """

    def __init__(self, root: str | os.PathLike, stored: Sequence[str]) -> None:
        self.root = Path(root)
        self._stored = stored
        self._owners: Counter[str] | None = None  # how many stored paths have this end
        self._files: dict[str, list[Path]] | None = None  # by name

    def find(self, name: str) -> Path:
        """Return the picture that a stored path means.

        Raises:
            ValueError: the path is empty or holds a zero byte.
            FileNotFoundError: there is no such file, or several could be meant.
        """
        if not name or "\0" in name:
            raise ValueError(f"the path of its picture is {name!r}, expected that of a file")

        # As it stands; almost every file is found here, so only others pay for the search.
        try:
            path = path_inside(self.root, name)
            if is_regular_file(path):
                return path
        except ValueError:
            pass  # absolute, or climbs

        end, files = self._guess(name)
        if not files:
            raise FileNotFoundError(
                f"its picture {name!r} is missing: in {self.root} there is neither this path nor "
                f"anywhere a file {end!r}; is that the folder that the paths start from?"
            )
        if len(files) > 1:
            raise FileNotFoundError(
                f"its picture {name!r} is missing, and several files have its name: {files[0]}, "
                f"{files[1]}; correct the path"
            )
        if self._owners_of(end) > 1:
            raise FileNotFoundError(
                f"its picture {name!r} is missing, and {files[0]} may be that of another image "
                f"whose path ends in {end!r}, too; correct the path"
            )
        return files[0]

    def _guess(self, name: str) -> tuple[str, list[Path]]:
        """Return the end of the path that was looked for, and the files that it may mean."""
        ends = _ends(name)
        for end in ends:
            path = self.root / end
            if "/" in end and path.is_relative_to(self.root) and is_regular_file(path):
                return end, [path]

        # The last parts, one for each spelling.
        last_parts = [end for end in ends if "/" not in end]
        for last_part in last_parts:
            files = self._files_named(last_part)
            if files:
                return last_part, files
        return last_parts[0], []

    def _files_named(self, name: str) -> list[Path]:
        """Return all files below the folder that have this name, in any case."""
        if self._files is None:
            self._files = defaultdict(list)
            for folder, _, files in os.walk(self.root):
                for file in sorted(files):
                    self._files[_folded(file)].append(Path(folder, file))
        return [file for file in self._files.get(_folded(name), []) if is_regular_file(file)]

    def _owners_of(self, end: str) -> int:
        """Return how many different stored paths have this end."""
        if self._owners is None:
            self._owners = Counter()
            for name in set(self._stored):
                self._owners.update({_folded(end) for end in _ends(name)})
        return self._owners[_folded(end)]


def _ends(name: str) -> list[str]:
    """Return the ends of a stored path, longest first, with ``/`` between their parts.

    Where a URL was stored, its quoting (``%20``) is undone and its query (``?token=…``) taken off;
    and so are blanks around the path.
    """
    spellings = [name, unquote(name), unquote(re.split("[?#]", name)[0]), name.strip()]
    ends = []
    for spelling in dict.fromkeys(spellings):
        parts = [part for part in re.split(r"[/\\]", spelling) if part not in ("", ".")]
        for start in range(len(parts)):
            if ".." not in parts[start:]:
                ends.append("/".join(parts[start:]))

    # Longest first over all spellings; sorted() keeps the order of equals.
    return sorted(dict.fromkeys(ends), key=lambda end: -end.count("/")) or [""]


def _folded(name: str) -> str:
    """Return a name such that case, and how accents are stored (macOS), make no difference."""
    return unicodedata.normalize("NFC", name).casefold()


def is_regular_file(path: Path) -> bool:
    """Return whether there is a file, and no folder, device or pipe, which could hang a reader."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


# ---- pictures: what is in them


def read_picture(path: Path) -> torch.Tensor:
    """Read a picture upright and in colour.

    Greyscale, palette, CMYK and 16-bit pictures are converted to RGB; transparency is dropped, as
    in torchvision.

    Args:
        path: a file in any format that Pillow reads (of several frames or pages, the first).

    Returns:
        ``(3, H, W)`` float32 in [0, 1].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture, or is cut off or damaged.
    """
    with _opened(path) as picture:
        pixels = _rgb_pixels(ImageOps.exif_transpose(picture))  # (H, W, 3)

    scale = np.iinfo(pixels.dtype).max
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (3, H, W)
    return torch.from_numpy(planes.astype(np.float32) / np.float32(scale))


def picture_size(path: Path) -> tuple[int, int]:
    """Read the header of a picture only.

    Returns:
        (width, height) in pixels, with the EXIF rotation applied.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture.
    """
    with _opened(path) as picture:
        return _upright_size(picture)


def check_picture(path: Path, size: tuple[int, int] | None, *, decode: bool) -> None:
    """Check that a picture can be read.

    Args:
        path: of the picture.
        size: (width, height) as its annotations give it; None if they do not.
        decode: read it to its end and not only its header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture, is of another size, or is cut off or damaged.
    """
    with _opened(path) as picture:
        found = _upright_size(picture)
        if decode:
            # A JPEG may be decoded at an eighth of its size, which takes a fraction of the time and
            # reads the whole file nevertheless. Other formats ignore this.
            picture.draft(None, (max(1, picture.width // 8), max(1, picture.height // 8)))
            _rgb_pixels(picture)

    _check_size(path, found, size)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture; whatever its decoder raises becomes one error that names the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file (a pipe would be waited for for ever), or cannot be read.
    """
    path = Path(path)
    if not is_regular_file(path):
        if path.exists():
            raise ValueError(f"{path}: is no file but a folder, a pipe or a device")
        raise FileNotFoundError(f"{path}: no such picture")

    try:
        # Given a path, Pillow maps grey TIFF files into memory and forgets that they are turned.
        with path.open("rb") as file, Image.open(file, formats=_readable_formats()) as picture:
            yield picture
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such picture") from None
    except Exception as error:  # a decoder raises whatever damaged bytes provoke
        advice = "Replace the file, or take it and its annotations out of the data set"
        if _is_heic(path):
            advice = (
                "It is in HEIC, the format of iPhones: install pillow-heif, with which Pillow "
                "reads it, or save it as JPEG"
            )
        raise ValueError(f"{path}: cannot be read as a picture ({error}). {advice}") from error


def _is_heic(path: Path) -> bool:
    """Say whether a file is a picture in HEIC, by its first bytes, whatever its name ends in."""
    with path.open("rb") as file:
        start = file.read(12)
    return start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS


@cache
def _readable_formats() -> list[str]:
    """Return Pillow's formats without PostScript: a program, which Pillow has Ghostscript run.

    HEIC is among them where the package pillow-heif is installed.
    """
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()

    Image.init()
    return [name for name in Image.OPEN if name != "EPS"]


@cache
def picture_endings() -> frozenset[str]:
    """Return the endings, such as ``".jpg"`` in small letters, of all formats that Pillow reads."""
    readable = set(_readable_formats())
    endings = Image.registered_extensions()
    return frozenset(ending for ending, name in endings.items() if name in readable)


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    """Return (width, height) with the EXIF rotation applied."""
    size = picture.size
    if picture.format == "TIFF":  # some versions of Pillow have turned its size already
        size = (picture.tag_v2[ExifTags.Base.ImageWidth], picture.tag_v2[ExifTags.Base.ImageLength])

    turned = picture.getexif().get(ExifTags.Base.Orientation) in TURNED_BY_90_DEGREES
    return size[::-1] if turned else size


def _check_size(path: Path, found: tuple[int, int], said: tuple[int, int] | None) -> None:
    """Raise ValueError if a picture has another (width, height) than its annotations say."""
    if said is None or said == found:
        return

    advice = "their boxes would lie in the wrong places"
    if said == found[::-1]:
        advice = (
            "was the EXIF rotation left out? If the boxes are those of the upright picture, "
            "correct its width and height; if they are those of the turned one, take the EXIF "
            "field Orientation out of the picture"
        )
    raise ValueError(
        f"{path}: the upright picture is {found[0]}×{found[1]} pixels (width×height), its "
        f"annotations say {said[0]}×{said[1]}: {advice}"
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


# ---- what stands in a file


def number(value: object, name: str, where: str) -> float:
    """Return a finite number read from a file: a JSON number, or text such as ``"12.5"``.

    Raises:
        BadAnnotation: it is missing, no number, NaN, or infinite or as good as that.
    """
    try:
        if value is None or isinstance(value, bool):
            raise TypeError
        if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
            raise ValueError
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
    """Return 0 or 1; a flag that the file leaves out, or empty, is 0.

    Tools write ``1``, ``true``, ``"1"``, ``1.0``, ``"yes"``, and ``Unspecified`` for 0.

    Raises:
        BadAnnotation: any other value.
    """
    text = "" if value is None else str(value).strip().lower()
    text = text.removesuffix(".0")
    if text not in _YES + _NO:
        raise BadAnnotation("bad flag", where, f"{name} is {value!r}, expected 0 or 1")
    return int(text in _YES)


def identity(value: object, name: str, where: str) -> int | str:
    """Return an id in one spelling: 7, 7.0 and "7" are the same id, "007" and "a.jpg" are text.

    Raises:
        BadAnnotation: it is neither a whole number nor text.
    """
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value:
        whole = _WHOLE_NUMBER.fullmatch(value)
        return int(whole[1]) if whole and len(value) < 100 else value

    problem = f"{name} is {value!r}, expected a whole number or text"
    raise BadAnnotation(f"wrong type of {name}", where, problem)


def checked_class_names(class_names: Sequence[str]) -> list[str]:
    """Return the class names that a caller gives, in the order of their labels.

    Raises:
        TypeError: they are no sequence of strings.
        ValueError: there is none, one is empty, or two are the same.
    """
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise TypeError(f"class_names must be a sequence of strings, got {class_names!r}")

    names = list(class_names)
    if not names or not all(names) or len(set(names)) < len(names):
        raise ValueError(
            f"class_names must be one name or more that differ from one another, got {names}"
        )
    return names


def existing_file(path: str | os.PathLike, what: str) -> Path:
    """Return ``path`` if it is a file.

    Raises:
        FileNotFoundError: it is not; ``what`` says in words what was looked for.
    """
    path = Path(path)
    if not is_regular_file(path):
        raise FileNotFoundError(f"{path}: no such file; expected {what}")
    return path


def read_json(path: Path) -> object:
    """Return what a JSON file holds.

    Raises:
        ValueError: it is malformed; or an object has a key twice, of which Python keeps the last
            and says nothing. The message names the file.
    """
    content = path.read_bytes()
    try:
        return json.loads(content, object_pairs_hook=_without_doubled_keys)
    except BadAnnotation as fault:
        raise ValueError(f"{path}: {fault}") from None
    except (ValueError, RecursionError) as error:
        other = something_else(content)
        if other is not None:
            raise ValueError(f"{path}: no JSON, but {other}") from None
        advice = "Was the file cut off while copying?"
        if "Extra data" in str(error):
            advice = "Expected is one value; several, one a line, are another format"
        raise ValueError(f"{path}: malformed JSON ({error}). {advice}") from error


def something_else(content: bytes) -> str | None:
    """Say what a file is that was taken for annotations, and what then helps.

    Args:
        content: of the file.

    Returns:
        Some words; None if it is none of the things that often lie in the place of a file.
    """
    start = content[:1000].decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n").lower()
    if not start:
        return "an empty file: copy or export it again"
    if start.startswith(("<!doctype html", "<html")):
        return (
            "a page of the web, as a server sends it that asks to log in or does not have the "
            "file: download it again, and look at what comes"
        )
    if start.startswith("version https://git-lfs"):
        return "the note that Git LFS leaves in its place: 'git lfs pull' fetches the file itself"
    if content.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        return "an archive: unpack it, and give the file in it"
    return None


def _without_doubled_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the pairs as a dictionary; no key may be there twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        where = f"an object that begins with {reprlib.repr(dict(pairs[:2]))}"
        raise BadAnnotation("key given twice", where, f"the key {twice!r} is given twice")
    return content


def text_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that hold something, without the blanks around them.

    A byte-order mark, which editors under Windows write, is no part of the first line.

    Returns:
        (number, line) with numbers from 1 on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text in UTF-8.
    """
    if not is_regular_file(path):
        raise FileNotFoundError(f"{path}: no such file")

    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no text in UTF-8 ({error}); save it as UTF-8") from error

    # str.splitlines would end a line at rarer marks, too, which a name may hold.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    stripped = [(i, line.strip()) for i, line in enumerate(lines, start=1)]
    return [(i, line) for i, line in stripped if line]
