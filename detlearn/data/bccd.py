"""``download_bccd``: fetch the BCCD blood cells.

BCCD: 364 photographs of blood smears with 4 888 Pascal VOC boxes of red cells, white cells and
platelets, MIT licence, © 2017 shenggan, https://github.com/Shenggan/BCCD_Dataset.

Pooch fetches the archive. What is left to do here is to trust nothing that came:

- **Content.** The archive comes from GitHub at a fixed commit. GitHub makes such archives on demand
  and does not promise the same bytes each time, so a checksum of the archive could fail for no
  reason. Checked is what is in it: ``content_digest`` over every picture, annotation and split
  file. By hand, in the data's folder, it is ::

      sha256sum Annotations/*.xml ImageSets/Main/*.txt JPEGImages/*.jpg | sha256sum

- **Answers.** A server may send a part of a file, or without end, or lead elsewhere. Accepted is
  the whole file over http or https, within limits of size and time.
- **Paths.** An archive is a list of names and contents, and nothing stops a name from being
  ``../../.bashrc``, a member from being a link to ``/``, or two members from being one file where
  upper and lower case are the same. ``unpack`` refuses all that.
- **Cuts.** Everything happens in a temporary folder beside the final one, which is renamed at the
  end: a folder under its final name is always whole. What a killed process left behind is removed
  by the next call.
"""

import hashlib
import math
import os
import shutil
import stat
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pooch
import requests
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from detlearn.data.reading import path_inside
from detlearn.machine.checkpoints import remove_leftovers, temporary_beside
from detlearn.machine.progress import progress_bar

BCCD_COMMIT = "d272fb14cdff6e473fafeeeba32aba5f560e9e43"
BCCD_URL = f"https://github.com/Shenggan/BCCD_Dataset/archive/{BCCD_COMMIT}.zip"
BCCD_FILES = ("Annotations/*.xml", "ImageSets/Main/*.txt", "JPEGImages/*.jpg")
BCCD_DIGEST = "debd2d76b13c300a3999f96a08cbe9ada5f231c3f882f9877a65a01a695872d1"

RETRIES = 3  # after a first attempt that failed; pooch waits a little longer before each
TIMEOUT = 30  # seconds without a byte
TOTAL_TIME = 900  # seconds for all attempts together
CHUNK = 1 << 16  # bytes

MAX_REDIRECTS = 5
MAX_DOWNLOAD = 64_000_000  # bytes; BCCD has 8 million
MAX_UNPACKED = 256_000_000  # bytes
BLOCK = 4096  # bytes that a file takes on a disk, be it ever so small
MAX_PART, MAX_NAME = 255, 1000  # bytes of a file's name, and of its whole path in an archive

LASTING = (  # what requests raises for an address or a header that is the same the next time
    requests.exceptions.TooManyRedirects,
    ValueError,  # neither http nor https, no address at all, two lengths
)
BROKEN_ZIP = (  # what Python's module raises for one; RuntimeError if it is encrypted
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
)


def download_bccd(root: str | os.PathLike | None = None, progress: bool = True) -> Path:
    """Download the BCCD blood cells (8 MB), unless they are there already.

    Args:
        root: folder for JPEGImages, Annotations and ImageSets. Default: ``$DETLEARN_DATA/bccd``
            where that variable is set, else ``~/.cache/detlearn/bccd``.
        progress: show a bar.

    Returns:
        The folder, for ``VOCDetection(folder, "train", on_bad="skip")``: two boxes have no area.

    Raises:
        ConnectionError: GitHub cannot be reached, or what it answers is not the file.
        FileExistsError: the folder is there but holds something else.
        ValueError: what arrived is not the BCCD of the commit.
        OSError: the folder cannot be written, for instance because the disk is full.
    """
    root = _default_root() if root is None else Path(root)
    if root.parent.is_dir():
        remove_leftovers(root.parent)

    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        if content_digest(root, BCCD_FILES) == BCCD_DIGEST:
            return root
        raise FileExistsError(
            f"{root} is there, but its files are not those of BCCD at commit {BCCD_COMMIT[:8]}; "
            "move it away, or give another root"
        )

    try:
        _fetch_into(root, progress)
    except OSError as error:
        # "No space left on device" alone does not say where.
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(root)) from error
    return root


def _fetch_into(root: Path, progress: bool) -> None:
    """Make the folder: all of it, or nothing."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(root, Path.mkdir) as temporary:
        try:
            archive = _fetch(BCCD_URL, temporary, progress)
        except RequestException as error:
            raise ConnectionError(
                f"{BCCD_URL} cannot be fetched ({error}). Is this machine online? Call again, or "
                f"fetch it elsewhere and unpack its folder BCCD by hand, as {root}"
            ) from error

        unpack(archive, temporary)
        folder = temporary / f"BCCD_Dataset-{BCCD_COMMIT}" / "BCCD"
        if content_digest(folder, BCCD_FILES) != BCCD_DIGEST:
            raise ValueError(f"{BCCD_URL}: its files are not those of BCCD at that commit")
        shutil.copy(folder.parent / "LICENSE", folder)

        # Only now does the folder get its name. An empty one may hold the place.
        try:
            if root.is_dir():
                root.rmdir()
            folder.rename(root)
        except OSError:
            # Another process may have been faster: then all is there.
            if content_digest(root, BCCD_FILES) != BCCD_DIGEST:
                raise


def _default_root() -> Path:
    data = os.environ.get("DETLEARN_DATA")
    return Path(data) / "bccd" if data else Path.home() / ".cache" / "detlearn" / "bccd"


def _fetch(url: str, folder: Path, progress: bool) -> Path:
    """Return the file that ``url`` gives, as ``folder/bccd.zip``."""
    pooch.get_logger().setLevel("WARNING")  # it would announce a path that soon is gone
    source = pooch.create(
        path=folder,
        base_url="",
        registry={"bccd.zip": None},  # no checksum of the archive: see the top of the file
        urls={"bccd.zip": url},
        retry_if_failed=RETRIES,
    )

    downloader = partial(
        _download,
        show_bar=progress,
        deadline=time.monotonic() + TOTAL_TIME,
    )
    return Path(source.fetch("bccd.zip", downloader=downloader))


def _download(url: str, path: str, caller: pooch.Pooch, *, show_bar: bool, deadline: float) -> None:
    """Write what an address gives into a file, as pooch asks for it.

    Args:
        url: http or https; so are those that it leads to.
        path: file to write.
        caller: who asks.
        show_bar: show a bar.
        deadline: the time, on the monotonic clock, after which no byte is waited for.

    Raises:
        RequestException: a trouble that may pass; pooch tries again.
        ConnectionError: one that will not.
        OSError: the file cannot be written.
    """
    # As the bytes are: a length that is told is theirs then.
    headers = {"Accept-Encoding": "identity"}
    with requests.Session() as session:
        session.max_redirects = MAX_REDIRECTS
        try:
            response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        except LASTING as error:
            raise ConnectionError(f"{url} leads to no file: {error}") from error

        with response:
            response.raise_for_status()
            if response.status_code != requests.codes.ok:  # such as 206, a part of the file
                raise ConnectionError(
                    f"{url} answers {response.status_code} ({response.reason}), expected 200 and "
                    "the whole file"
                )
            length = _content_length(url, response)

            with (
                open(path, "wb") as file,
                progress_bar(length, "download", show=show_bar, unit="B", unit_scale=True) as bar,
            ):
                received = 0
                for chunk in _chunks(response):
                    received += len(chunk)
                    _check_limits(url, received, deadline)
                    file.write(chunk)
                    bar.update(len(chunk))


def _content_length(url: str, response: requests.Response) -> int | None:
    """Return how many bytes the server announces; None if it says nothing."""
    text = response.headers.get("Content-Length")
    if text is None:
        return None

    if not (text.isascii() and text.isdecimal()):
        raise ConnectionError(f"{url} says its length is {text!r}, expected a number of bytes")
    _check_limits(url, int(text))
    return int(text)


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield the bytes of an answer as they come.

    Not ``iter_content``, which waits until a chunk is full: a server that sends a byte now and then
    would never be asked how long it takes.
    """
    raw = response.raw
    read = getattr(raw, "read1", raw.read)  # urllib3 has it since its version 2
    try:
        while chunk := read(CHUNK):
            yield chunk
    except HTTPError as error:
        raise RequestException(error) from error


def _check_limits(url: str, received: int, deadline: float = math.inf) -> None:
    if received > MAX_DOWNLOAD:
        raise ConnectionError(
            f"{url} gives {received} bytes or more, expected at most {MAX_DOWNLOAD}"
        )
    if time.monotonic() > deadline:
        raise ConnectionError(f"{url} was not there after {TOTAL_TIME} s; call again")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file that someone else made, without trusting it.

    Args:
        archive: the zip file.
        folder: an existing folder. The caller throws it away if this raises.

    Raises:
        ValueError: the file is no zip file or is damaged. Or, and then nothing has been written: a
            member is a link or device, would land outside ``folder``, has a name that some disk
            does not take, would be written over another one, or all are too large.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _check_members(opened.infolist(), folder)
            opened.extractall(folder)
    except (*BROKEN_ZIP, ValueError) as error:
        raise ValueError(f"{archive}: cannot be unpacked as zip ({error})") from error


def _check_members(members: list[zipfile.ZipInfo], folder: Path) -> None:
    # zipfile stops at the size that is announced, so that it can be relied on.
    size = sum(max(member.file_size, BLOCK) for member in members)
    if size > MAX_UNPACKED:
        raise ValueError(f"its members take {size} bytes, expected at most {MAX_UNPACKED}")

    # Spelling on a disk that does not tell upper from lower case → as it is, and is it a file.
    taken: dict[tuple[str, ...], tuple[tuple[str, ...], bool]] = {}
    for member in members:
        name = member.filename
        parts = path_inside(folder, name).relative_to(folder).parts
        if not parts:
            raise ValueError(f"member {name!r} has no name of its own")
        if len(name.encode()) > MAX_NAME or max(len(part.encode()) for part in parts) > MAX_PART:
            raise ValueError(f"member {name[:40]!r}… has too long a name")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"member {name!r} is a link or a device")

        # Each folder on the way to it, and itself. Only a folder may come again, spelt the same.
        for depth in range(1, len(parts) + 1):
            path = parts[:depth]
            is_file = depth == len(parts) and not member.is_dir()
            spelling = _spelling(path)
            if spelling not in taken:
                taken[spelling] = (path, is_file)
            elif is_file or taken[spelling] != (path, False):
                other = "/".join(taken[spelling][0])
                raise ValueError(f"members {other!r} and {name!r} are in each other's way")


def _spelling(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return a path as the least particular disk sees it: cases, accents and final dots alike."""
    return tuple(unicodedata.normalize("NFC", part).casefold().rstrip(". ") for part in parts)


def content_digest(root: str | os.PathLike, patterns: tuple[str, ...]) -> str:
    """Digest the names and bytes of files in a folder; equal files give equal digests anywhere.

    Args:
        root: folder.
        patterns: which files, as globs relative to ``root``.

    Returns:
        sha256 (64 hex digits) over one line ``<sha256 of the file>  <relative path>`` for each
        file, sorted by path.
    """
    root = Path(root)
    files = {p.relative_to(root).as_posix(): p for pattern in patterns for p in root.glob(pattern)}

    lines = [f"{pooch.file_hash(str(files[name]))}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
