"""What a class has handed in: a folder whose every entry is one submission.

A submission is a notebook, or a folder of notebooks. Whatever is wrong with one (broken JSON, an
empty file, a link, folders without end) is said in its row; nothing here raises for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from detlearn.grading.wire import clean

MAX_BYTES = 20_000_000  # of one notebook: pictures in the outputs make them large, not this large
MAX_TOGETHER = 60_000_000  # of all notebooks of a submission
MAX_NOTEBOOKS, MAX_ENTRIES, MAX_DEPTH = 50, 10_000, 20  # of one submission


@dataclass(frozen=True)
class Submission:
    """One row of the table."""

    name: str  # of the file or folder
    notebooks: tuple[tuple[str, bytes], ...] = ()  # name and content of each, sorted by name
    trouble: str = ""  # what cannot be read

    def digest(self) -> str:
        """Return a digest of the content; the name of the submission does not count."""
        parts = [(name, hashlib.sha256(content).hexdigest()) for name, content in self.notebooks]
        return hashlib.sha256(json.dumps([parts, self.trouble]).encode()).hexdigest()


class NotANotebook(ValueError):
    """What is wrong with a file, as a sentence without its full stop."""


def find_submissions(folder: Path) -> list[Path]:
    """Return a folder's entries, one for each submission, sorted by name, without hidden ones.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of submissions at {folder}")
    return sorted(path for path in folder.iterdir() if not _is_hidden(path))


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"


def read_submission(path: Path) -> Submission:
    """Read a notebook or a folder of notebooks; never raises.

    Args:
        path: of the file or folder.

    Returns:
        The submission; its `trouble` says what is wrong, if anything is. A notebook that cannot be
        read says nothing against the others.
    """
    notebooks, trouble = [], []

    try:
        paths = [path] if not _is_folder(path) else _notebooks_in(path)
    except Exception as error:
        return Submission(path.name, trouble=_why(error))

    left = MAX_TOGETHER
    for file in paths:
        try:
            content = _read(file, left)
            left -= len(content)
            name = str(file.relative_to(path)) if file != path else file.name
            notebooks.append((name, content))
        except Exception as error:
            trouble.append(_why(error))

    return Submission(path.name, tuple(notebooks), "; ".join(trouble[:3]))


def _why(error: Exception) -> str:
    if isinstance(error, NotANotebook):
        return clean(str(error))  # the name of a file may hold anything
    said = error.strerror if isinstance(error, OSError) else _first_line(error)
    return f"cannot be read: {said or type(error).__name__}"


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(os.lstat(path).st_mode)  # a link to a folder is none


def _notebooks_in(folder: Path) -> list[Path]:
    """The notebooks at any depth, sorted by name."""
    found, ahead, entries = [], [folder], 0

    # Checkpoints of Jupyter and leavings of a Mac are nobody's work.
    while ahead:
        for path in ahead.pop().iterdir():
            entries += 1
            if entries > MAX_ENTRIES or len(path.parts) - len(folder.parts) > MAX_DEPTH:
                raise NotANotebook(
                    f"the folder holds more than {MAX_ENTRIES} entries, or folders in folders "
                    f"deeper than {MAX_DEPTH}"
                )
            if _is_hidden(path):
                continue
            if _is_folder(path):
                ahead.append(path)
            elif path.suffix == ".ipynb":
                found.append(path)

    if not found:
        raise NotANotebook("the folder holds no notebook (.ipynb)")
    if len(found) > MAX_NOTEBOOKS:
        raise NotANotebook(f"the folder holds {len(found)} notebooks; at most {MAX_NOTEBOOKS}")
    return sorted(found)


def _read(path: Path, left: int) -> bytes:
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
    if kind.st_size > left:
        most = MAX_TOGETHER / 1e6
        raise NotANotebook(f"{path.name} is left out: of a submission {most:.0f} MB are read")

    content = path.read_bytes()
    if len(content) != kind.st_size:
        raise NotANotebook(f"{path.name} changes while it is read")
    return content


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
