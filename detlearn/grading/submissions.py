"""What a class has handed in: a folder whose every entry is one submission.

A submission is a notebook, or a folder of notebooks. Whatever is wrong with one (broken JSON, an
empty file, a link, a file that is no notebook) is said in its row; nothing here raises for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 20_000_000  # of one notebook: pictures in the outputs make them large, not this large
MAX_NOTEBOOKS = 50  # of one submission


@dataclass(frozen=True)
class Submission:
    """One row of the table.

    Attributes:
        name: of the file or folder.
        notebooks: (name, content as it lies on the disk) of each, in the order of their names.
        trouble: why there is nothing to grade, or "".
    """

    name: str
    notebooks: tuple[tuple[str, bytes], ...] = ()
    trouble: str = ""

    def digest(self) -> str:
        """Return a digest of the content; the name of the submission does not count."""
        parts = [(name, hashlib.sha256(content).hexdigest()) for name, content in self.notebooks]
        return hashlib.sha256(json.dumps([parts, self.trouble]).encode()).hexdigest()


class NotANotebook(ValueError):
    """What is wrong with a file, as a sentence without its full stop."""


def find_submissions(folder: Path, leave_out: Collection[Path] = ()) -> list[Path]:
    """Return a folder's entries, sorted by name, without hidden ones and the grader's own files.

    Args:
        folder: where the submissions lie.
        leave_out: files that are not submissions, such as the table itself.

    Returns:
        Files and folders, one for each submission.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of submissions at {folder}")

    own = {os.path.abspath(path) for path in leave_out}
    entries = [path for path in folder.iterdir() if os.path.abspath(path) not in own]
    return sorted(path for path in entries if not _is_hidden(path))


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"


def read_submission(path: Path) -> Submission:
    """Read a notebook or a folder of notebooks.

    Args:
        path: of the file or folder.

    Returns:
        The submission; its `trouble` says what is wrong, if anything is.
    """
    try:
        return Submission(path.name, tuple(_read_all(path)))
    except NotANotebook as error:
        return Submission(path.name, trouble=str(error))
    except OSError as error:
        return Submission(path.name, trouble=f"cannot be read: {error.strerror or error}")


def _read_all(path: Path) -> list[tuple[str, bytes]]:
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        return [(path.name, _read(path))]

    # Checkpoints of Jupyter and leavings of a Mac are nobody's work, at any depth.
    found = [
        file
        for file in sorted(path.rglob("*.ipynb"))
        if not any(_is_hidden(part) for part in (file, *file.relative_to(path).parents[:-1]))
    ]
    if not found:
        raise NotANotebook("the folder holds no notebook (.ipynb)")
    if len(found) > MAX_NOTEBOOKS:
        raise NotANotebook(f"the folder holds {len(found)} notebooks; at most {MAX_NOTEBOOKS}")

    return [(str(file.relative_to(path)), _read(file)) for file in found]


def _read(path: Path) -> bytes:
    # A link could name any file of this machine, and opening a pipe would wait for ever.
    kind = os.lstat(path)
    if not stat.S_ISREG(kind.st_mode):
        raise NotANotebook(f"{path.name} is a link or a device, not a file")

    if path.suffix != ".ipynb":
        raise NotANotebook(f"{path.name} is no notebook: its name does not end in .ipynb")
    if kind.st_size == 0:
        raise NotANotebook(f"{path.name} is empty")
    if kind.st_size > MAX_BYTES:
        size, most = kind.st_size / 1e6, MAX_BYTES / 1e6
        raise NotANotebook(f"{path.name} has {size:.0f} MB; at most {most:.0f} MB are read")

    return path.read_bytes()


def code_cells(name: str, content: bytes) -> list[str]:
    """Return the code of a notebook.

    Args:
        name: of the file, for messages.
        content: of the file.

    Returns:
        The source of each code cell, in order.

    Raises:
        NotANotebook: if the content is no notebook, or has no code.
    """
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise NotANotebook(f"{name} is broken: it is no JSON ({_first_line(error)})") from None

    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise NotANotebook(f"{name} is JSON but no notebook: it has no list of cells")

    sources = [
        _text(cell.get("source"))
        for cell in cells
        if isinstance(cell, dict) and cell.get("cell_type") == "code"
    ]
    if not any(source.strip() for source in sources):
        raise NotANotebook(f"{name} has no code cells")

    return sources


def _text(source: object) -> str:
    """Notebooks store a cell as one string or as a list of lines."""
    lines = source if isinstance(source, list) else [source]
    return "".join(line for line in lines if isinstance(line, str))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
