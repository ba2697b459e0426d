"""``download_bccd``: fetch the BCCD blood cells.

BCCD: 364 photographs of blood smears with 4 888 Pascal VOC boxes of red cells, white cells and
platelets, MIT licence, © 2017 shenggan, https://github.com/Shenggan/BCCD_Dataset.

Pooch fetches the archive. What is left to do here is to trust nothing that came:

- **Content.** The archive comes from GitHub at a fixed commit. GitHub makes such archives on demand
  and does not promise the same bytes each time, so a checksum of the archive could fail for no
  reason. Checked is what is in it: ``content_digest`` over every picture, annotation and split
  file. By hand, in the data's folder, it is ::

      sha256sum Annotations/*.xml ImageSets/Main/*.txt JPEGImages/*.jpg | sha256sum

- **Paths.** An archive is a list of names and contents, and nothing stops a name from being
  ``../../.bashrc`` or a member from being a link to ``/``. ``unpack`` refuses both.
- **Cuts.** Everything happens in a temporary folder beside the final one, which is renamed at the
  end: a folder under its final name is always whole. (A killed process leaves its ``.bccd.*``
  behind, which may be deleted.)
"""

import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path

import pooch
from requests.exceptions import RequestException

from detlearn.data.reading import path_inside
from detlearn.machine.progress import bars_are_hidden

BCCD_COMMIT = "d272fb14cdff6e473fafeeeba32aba5f560e9e43"
BCCD_URL = f"https://github.com/Shenggan/BCCD_Dataset/archive/{BCCD_COMMIT}.zip"
BCCD_FILES = ("Annotations/*.xml", "ImageSets/Main/*.txt", "JPEGImages/*.jpg")
BCCD_DIGEST = "debd2d76b13c300a3999f96a08cbe9ada5f231c3f882f9877a65a01a695872d1"

RETRIES = 3  # after a first attempt that failed; pooch waits a little longer before each
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 16  # bytes

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

    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as temporary:
        try:
            archive = _fetch(BCCD_URL, Path(temporary), progress)
        except RequestException as error:
            raise ConnectionError(
                f"{BCCD_URL} cannot be fetched ({error}). Is this machine online? Call again, or "
                f"fetch it elsewhere and unpack its folder BCCD by hand, as {root}"
            ) from error

        unpack(archive, Path(temporary))
        folder = Path(temporary) / f"BCCD_Dataset-{BCCD_COMMIT}" / "BCCD"
        if content_digest(folder, BCCD_FILES) != BCCD_DIGEST:
            raise ValueError(f"{BCCD_URL}: its files are not those of BCCD at that commit")
        shutil.copy(folder.parent / "LICENSE", folder)

        # Only now does the folder get its name. An empty one may hold the place.
        if root.is_dir():
            root.rmdir()
        folder.rename(root)

    return root


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

    # Pooch's own bar: ours cannot tell it that the length is unknown, which it is with GitHub.
    downloader = pooch.HTTPDownloader(
        progressbar=progress and not bars_are_hidden(),
        chunk_size=CHUNK,
        timeout=TIMEOUT,
    )
    return Path(source.fetch("bccd.zip", downloader=downloader))


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file that someone else made, without trusting it.

    Args:
        archive: the zip file.
        folder: an existing folder. The caller throws it away if this raises.

    Raises:
        ValueError: the file is no zip file or is damaged, or a member is a link or device, or would
            land outside ``folder``; of the last two nothing has been written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                path_inside(folder, member.filename)
                if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise ValueError(f"member {member.filename!r} is a link or a device")

            opened.extractall(folder)
    except (*BROKEN_ZIP, ValueError) as error:
        raise ValueError(f"{archive}: cannot be unpacked as zip ({error})") from error


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
