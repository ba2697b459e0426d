"""Files that survive a crash, show damage and cannot run code.

Tensors are stored in the safetensors format, which holds numbers and text and nothing that could
be executed on loading, unlike a pickle. A file is written beside its final name, flushed to the
disk and then renamed: whoever looks finds the old file or the new one, never half of one. What a
killed process leaves beside it is removed by the next one that writes into the folder.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

try:
    import fcntl
except ImportError:  # Windows, where nobody can delete a file that is open
    fcntl = None

LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # what `temporary_beside` calls its files


# ---------------------------------------------------------------------------------- whole files


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Write a file such that an interruption leaves the old one or the new one.

    Args:
        path: where to; missing folders are made.
        content: the bytes.

    Raises:
        OSError: it cannot be written, for instance because the disk is full; the old one stays.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(path, Path.touch) as temporary:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # else the name could reach the disk before the content
            os.replace(temporary, path)
    except OSError as error:
        # "No space left on device" alone does not say where, and a temporary name says little.
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def temporary_beside(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """Have a file or folder beside a path while the block runs, for what will get its name.

    It is locked as long as the process lives, so that `remove_leftovers` can tell it from those of
    killed processes.

    Args:
        path: the final name. A rename is atomic within one disk only, hence beside it.
        make: ``Path.touch`` or ``Path.mkdir``.

    Yields:
        Its path. If it still has this name in the end, it is removed.
    """
    remove_leftovers(path.parent)

    # Another process may sweep before the lock is there: then once more.
    while True:
        short = path.name[:50]  # a name has 255 bytes at most, four for some characters
        temporary = path.with_name(f".{short}.{secrets.token_hex(4)}.tmp")
        make(temporary)
        lock = _lock(temporary, wait=True)
        if temporary.exists():
            break
        _unlock(lock)

    try:
        yield temporary
    finally:
        _remove(temporary)
        _unlock(lock)


@functools.cache  # once a folder and process: a folder may have many files
def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a folder; nothing that a living one works on.

    Args:
        folder: an existing folder. Looked at are only names that `temporary_beside` gives.
    """
    with os.scandir(folder) as entries:
        found = [
            Path(entry)
            for entry in entries
            if LEFTOVER.fullmatch(entry.name)
            and (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False))
        ]

    for path in found:
        # Somebody else may be faster, or may forbid it: tidying up is no reason to stop.
        with suppress(OSError):
            if fcntl is None:
                path.unlink()  # of files only, and only if nobody has them open
                continue

            lock = _lock(path, wait=False)
            if lock is not None:
                _remove(path)
                _unlock(lock)


def _lock(path: Path, wait: bool) -> int | None:
    """Lock a file or folder; the lock goes with the process, however that ends.

    Returns:
        The descriptor that holds it; None if there is none to be had.
    """
    if fcntl is None:
        return None

    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody has it, or the disk knows no locks: then nothing is removed there
        os.close(descriptor)
        return None
    return descriptor


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# -------------------------------------------------------------------------------------- tensors


def save_tensors(path: str | os.PathLike, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Store named tensors and a JSON-able dictionary beside them, atomically.

    Args:
        path: file to write.
        tensors: name → tensor, on any device.
        info: settings and results that belong to them.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    # Copies: safetensors refuses tensors that share memory, and others than contiguous ones.
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    text = json.dumps(info)
    # In one entry: of several, safetensors does not keep the order, and the same content should
    # give the same file.
    entry = f"{_digest(tensors, text)} {text}"
    write_atomically(path, save(tensors, metadata={"detlearn": entry}))


def load_tensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Args:
        path: the file. One of an older version, without a checksum, is read on trust.

    Returns:
        The tensors, on the CPU, and the dictionary.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not one of ours or is damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")

    # All bytes at once, from one open file. `safetensors.safe_open` opens the path twice, for the
    # header and for the numbers: a training that stores its next checkpoint in between would mix
    # the two. It also maps the file into memory, and Windows lets nobody replace a mapped file.
    content = Path(path).read_bytes()
    try:
        tensors = load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: numbers of a type unknown to torch
        raise _no_checkpoint(path, f"{error}") from error

    # The file starts with the length of its header, in eight bytes, and the header, in JSON.
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})

    if "detlearn" not in metadata:
        raise _no_checkpoint(path, "its header has no entry 'detlearn'")
    text = metadata["detlearn"]

    # An older version wrote the dictionary alone.
    if not text.startswith("{"):
        checksum, _, text = text.partition(" ")
        if checksum != _digest(tensors, text):
            raise _no_checkpoint(path, "its checksum is not that of its content")

    try:
        info = json.loads(text)
    except ValueError as error:
        raise _no_checkpoint(path, f"{error}") from error
    if not isinstance(info, dict):
        raise _no_checkpoint(path, "its entry 'detlearn' is no dictionary")

    return tensors, info


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    """Return the sha256 of all that a file says: the text, and each tensor with its name."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _no_checkpoint(path: str | os.PathLike, reason: str) -> ValueError:
    """Make the error for a file that cannot be used."""
    return ValueError(
        f"{path} is no checkpoint of this package, or it is damaged ({reason}): give another path, "
        "or remove it if it is a checkpoint, to start afresh"
    )
