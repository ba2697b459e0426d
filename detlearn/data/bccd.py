"""``download_bccd``: fetches the BCCD blood cells, on top of ``fetch`` and ``extract``.

BCCD: 364 photographs of blood smears with 4 888 Pascal VOC boxes of red cells, white cells and
platelets, MIT licence, © 2017 shenggan, https://github.com/Shenggan/BCCD_Dataset.

How the content is checked: the archive comes from GitHub at a fixed commit. GitHub makes such
archives on demand and does not promise the same bytes each time, so a checksum of the archive could
fail for no reason. What is checked is the content: ``content_digest`` over every picture,
annotation and split file. By hand, in the data's folder, it is ::

    sha256sum Annotations/*.xml ImageSets/Main/*.txt JPEGImages/*.jpg | sha256sum

What a cut in between leaves: ``fetch`` writes ``name.part`` and renames it when it is complete and
right, ``extract`` fills a temporary folder and renames that. So a file or folder under its final
name is always whole, and the next attempt goes on with the part that has arrived. (A killed
``extract`` leaves a folder ``.name.*`` beside, which may be deleted.) One process at a time should
fetch the same file.
"""

import hashlib
import http.client
import os
import shutil
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from detlearn.data._archives import extract, rename_folder
from detlearn.machine.progress import progress_bar

BCCD_COMMIT = "d272fb14cdff6e473fafeeeba32aba5f560e9e43"
BCCD_URL = f"https://github.com/Shenggan/BCCD_Dataset/archive/{BCCD_COMMIT}.zip"
BCCD_FILES = ("Annotations/*.xml", "ImageSets/Main/*.txt", "JPEGImages/*.jpg")
BCCD_DIGEST = "debd2d76b13c300a3999f96a08cbe9ada5f231c3f882f9877a65a01a695872d1"

RETRY_DELAYS = (1, 2, 4)  # seconds before the second, third and fourth attempt
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 16  # bytes
PASSING = (408, 429, 500, 502, 503, 504)  # answers of a server that may be different in a moment
TROUBLE_ON_THE_LINE = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)


def download_bccd(root: str | os.PathLike | None = None, progress: bool = True) -> Path:
    """Downloads the BCCD blood cells (8 MB), unless they are there already.

    Args:
        root: folder for JPEGImages, Annotations and ImageSets. Default: ``$DETLEARN_DATA/bccd``
            where that variable is set, else ``~/.cache/detlearn/bccd``.
        progress: show a bar.

    Returns:
        The folder, for ``VOCDetection(folder, "train", on_bad="skip")``: two boxes have no area.

    Raises:
        ConnectionError: GitHub cannot be reached.
        FileExistsError: the folder is there but holds something else.
        ValueError: what arrived is not the BCCD of the commit.
    """
    root = _default_root() if root is None else Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        if content_digest(root, BCCD_FILES) == BCCD_DIGEST:
            return root
        raise FileExistsError(
            f"{root} is there, but its files are not those of BCCD at commit {BCCD_COMMIT[:8]}; "
            "move it away, or give another root"
        )
    archive = root.parent / f"bccd-{BCCD_COMMIT}.zip"
    try:
        fetch(BCCD_URL, archive, progress=progress)
    except ConnectionError as error:
        raise ConnectionError(f"{error}; or unpack its folder BCCD by hand, as {root}") from error
    _unpack_bccd(archive, root)
    archive.unlink()
    return root


def _default_root() -> Path:
    data = os.environ.get("DETLEARN_DATA")
    return Path(data) / "bccd" if data else Path.home() / ".cache" / "detlearn" / "bccd"


def _unpack_bccd(archive: Path, root: Path) -> None:
    """Unpacks the archive's folder ``BCCD`` as ``root``; removes an archive that is wrong."""
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as temporary:
        top = Path(temporary) / "archive"
        try:
            extract(archive, top)
            folder = top / f"BCCD_Dataset-{BCCD_COMMIT}" / "BCCD"
            if content_digest(folder, BCCD_FILES) != BCCD_DIGEST:
                raise ValueError(f"{BCCD_URL}: its files are not those of BCCD at that commit")
        except ValueError:
            archive.unlink()  # what arrived is wrong; the next attempt starts afresh
            raise
        shutil.copy(folder.parent / "LICENSE", folder)
        rename_folder(folder, root)


def content_digest(root: str | os.PathLike, patterns: tuple[str, ...]) -> str:
    """Digests the names and bytes of files in a folder; equal files give equal digests anywhere.

    Args:
        root: folder.
        patterns: which files, as globs relative to ``root``.

    Returns:
        sha256 (64 hex digits) over one line ``<sha256 of the file>  <relative path>`` for each
        file, sorted by path.
    """
    root = Path(root)
    files = {p.relative_to(root).as_posix(): p for pattern in patterns for p in root.glob(pattern)}
    lines = [f"{file_sha256(files[name])}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_sha256(path: str | os.PathLike) -> str:
    """Returns the sha256 of a file, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(
    url: str, path: str | os.PathLike, *, sha256: str | None = None, progress: bool = True
) -> Path:
    """Downloads one file, and goes on where an earlier attempt was cut off.

    The bytes go to ``path`` + ".part", which is renamed when all have arrived and the checksum is
    right. A later call asks for the rest of the part only if the server named its version (``ETag``
    or ``Last-Modified``) and still has that version; else it starts afresh.

    Args:
        url: ``http`` or ``https``.
        path: the file to write. If it is there, with the right checksum, nothing is fetched.
        sha256: 64 hex digits that the file must have.
        progress: show a bar.

    Returns:
        ``path``.

    Raises:
        ConnectionError: the server cannot be reached or refuses; what has arrived stays for the
            next call.
        ValueError: the URL is of another kind, or the checksum is wrong (the part is removed).
    """
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError(f"url must start with http:// or https://, got {url!r}")
    path = Path(path)
    if path.is_file() and sha256 in (None, file_sha256(path)):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    version = path.with_name(path.name + ".part.version")
    _receive_patiently(url, part, version, progress)
    found = file_sha256(part) if sha256 else None
    version.unlink(missing_ok=True)
    if found != sha256:
        part.unlink()
        raise ValueError(f"{url}: the file that arrived has sha256 {found}, expected {sha256}")
    os.replace(part, path)
    return path


def _receive_patiently(url: str, part: Path, version: Path, progress: bool) -> None:
    """Tries a few times, with growing pauses, until ``part`` is complete."""
    for delay in (*RETRY_DELAYS, None):
        try:
            return _receive(url, part, version, progress)
        except urllib.error.HTTPError as error:
            if delay is None or error.code not in PASSING:
                answer = f"{error.code} {error.reason}"
                raise ConnectionError(f"{url}: the server answered {answer}") from error
        except TROUBLE_ON_THE_LINE as error:
            if delay is None:
                attempts = len(RETRY_DELAYS) + 1
                raise ConnectionError(
                    f"{url}: cannot be fetched after {attempts} attempts ({error!r}). Is this "
                    "machine online? What has arrived is kept: call again to go on"
                ) from error
        time.sleep(delay)


def _receive(url: str, part: Path, version: Path, progress: bool) -> None:
    """Makes one attempt to complete ``part``."""
    offset = part.stat().st_size if part.is_file() and version.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "detlearn"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", version.read_text(encoding="utf-8"))
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not offset:
                raise
            if error.headers.get("Content-Range") == f"bytes */{offset}":
                return  # the cut came between the last byte and the renaming
        return _start_afresh(url, part, version, progress)
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            offset = 0  # the whole file: the server has a new version, or no ranges at all
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            return _start_afresh(url, part, version, progress)
        _write(response, part, version, offset, progress)


def _start_afresh(url: str, part: Path, version: Path, progress: bool) -> None:
    """Throws away what has arrived, which no longer fits what the server has."""
    part.unlink()
    _receive(url, part, version, progress)


def _write(
    response: http.client.HTTPResponse, part: Path, version: Path, offset: int, progress: bool
) -> None:
    """Appends the response to ``part`` from ``offset`` on, and checks that all of it came."""
    if not offset:
        part.unlink(missing_ok=True)  # before its version changes
        _note_version(response, version)
    length = response.headers.get("Content-Length")
    total = None if length is None else offset + int(length)
    bar = progress_bar(total, part.stem, show=progress, initial=offset, unit="B", unit_scale=True)
    with open(part, "ab") as file, bar:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())  # else a power cut after the renaming could leave an empty file
        if total is not None and file.tell() < total:
            raise ConnectionError(f"cut off after {file.tell()} of {total} bytes")


def _note_version(response: http.client.HTTPResponse, version: Path) -> None:
    """Keeps what names the server's version; ``If-Range`` takes no weak ETag (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    if validator:
        version.write_text(validator, encoding="utf-8")
    else:
        version.unlink(missing_ok=True)
