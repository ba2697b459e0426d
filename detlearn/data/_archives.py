"""``extract``: unpacks an archive that someone else made, without trusting it.

An archive is a list of names and contents, and nothing stops a name from being ``../../.bashrc``
or a member from being a link to ``/``. Here every name is checked to stay inside the folder, links
and devices are refused, and the folder appears under its name only when all of it is there.

Where we differ from ``shutil.unpack_archive`` and ``tarfile``'s filter "data":

- Links are refused even where they stay inside; a data set needs none.
- A tar file that is damaged in the middle, which ``tarfile`` takes for a shorter one, is refused.
"""

import gzip
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfileobj
from typing import IO

from detlearn.data.reading import path_inside

BROKEN_ARCHIVE = (  # what Python's modules raise for one; RuntimeError if it is encrypted
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,
)


def extract(archive: str | os.PathLike, root: str | os.PathLike) -> Path:
    """Unpacks a zip or tar archive as the folder ``root``, which appears only when all is unpacked.

    Only files and folders are unpacked: no link, device, permission or owner.

    Args:
        archive: a zip file, or a tar file, plain or compressed.
        root: the folder to make; it may be there if it is empty.

    Returns:
        ``root``.

    Raises:
        FileExistsError: ``root`` holds something.
        ValueError: the file is no archive or is cut off, or a member is a link or device, or would
            land outside ``root``; nothing is unpacked then.
    """
    archive, root = Path(archive), Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root} is there already; move it away, or unpack to another folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as temporary:
        content = Path(temporary) / "content"
        content.mkdir()
        try:
            _unpack(archive, content)
        except (*BROKEN_ARCHIVE, ValueError) as error:
            raise ValueError(f"{archive}: cannot be unpacked as zip or tar ({error})") from error
        rename_folder(content, root)
    return root


def _unpack(archive: Path, root: Path) -> None:
    """Unpacks into ``root``, which the caller throws away if this raises."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            _write_members(_zip_members(opened), root)
    else:
        with tarfile.open(archive) as opened:
            _write_members(_tar_members(opened), root)


Member = tuple[str, str, Callable[[], IO[bytes]]]  # name; "file", "folder" or "other"; opener


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
        kind = "other" if not plain else "folder" if info.is_dir() else "file"
        yield info.filename, kind, lambda info=info: archive.open(info)


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        kind = "file" if info.isreg() else "folder" if info.isdir() else "other"
        yield info.name, kind, lambda info=info: archive.extractfile(info)
    # tarfile stops without a word at a damaged header, and before the compression's checksum
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"damaged after {archive.offset} bytes")
    while archive.fileobj.read(tarfile.RECORDSIZE):
        pass


def _write_members(members: Iterator[Member], root: Path) -> None:
    """Checks and writes one member after the other."""
    for name, kind, opener in members:
        path = path_inside(root, name)
        if kind == "other":
            raise ValueError(f"member {name!r} is a link or a device; only files are unpacked")
        if kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with opener() as source, open(path, "wb") as target:
            copyfileobj(source, target)


def rename_folder(source: Path, target: Path) -> None:
    """Moves a folder to a name beside it that is free, or that an empty folder holds."""
    if target.is_dir():
        target.rmdir()
    source.rename(target)
