"""Files that survive a crash and cannot run code.

Tensors are stored in the safetensors format, which holds numbers and text and nothing that could
be executed on loading, unlike a pickle. A file is written beside its final name, flushed to the
disk and then renamed: whoever looks finds the old file or the new one, never half of one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Write a file such that an interruption leaves the old one or the new one.

    Args:
        path: where to; missing folders are made.
        content: the bytes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)

    # In the same folder: a rename is atomic within one disk only.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else the name could reach the disk before the content
        os.replace(temporary, path)
    finally:
        # There only after a failure: else it has its final name by now.
        temporary.unlink(missing_ok=True)


def save_tensors(path: str | os.PathLike, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Store named tensors and a JSON-able dictionary beside them, atomically.

    Args:
        path: file to write.
        tensors: name → tensor, on any device.
        info: settings and results that belong to them.
    """
    # Copies: safetensors refuses tensors that share memory, and others than contiguous ones.
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    write_atomically(path, save(tensors, metadata={"detlearn": json.dumps(info)}))


def load_tensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Args:
        path: the file.

    Returns:
        The tensors, on the CPU, and the dictionary.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not one of ours or is damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")

    try:
        with safe_open(path, framework="pt") as file:
            info = json.loads((file.metadata() or {})["detlearn"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is no checkpoint of this package, or it is damaged ({error}); "
            "delete it to start afresh"
        ) from error

    return tensors, info
