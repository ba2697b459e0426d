"""What is said of errors that were not written for readers: a full memory, and torch's own."""

from __future__ import annotations

import errno
import os

# How torch, CUDA, cuBLAS and Apple's backend say it; of a worker that the system killed for its
# memory, torch says only that it was killed.
FULL_MEMORY = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "alloc_failed",
    "killed by signal: killed",
)
SHARED_MEMORY = ("shared memory", "bus error")

# Where an error of the package says which argument helps, the command line has an option.
OPTIONS = {
    "skip_bad_images=True": "--skip-bad-images",
    "longer=True": "--resume-with",
    "pass --": "give --",
}

# What the system says when a file or a folder cannot be read or written, and what then helps.
OF_THE_SYSTEM = {
    errno.ENOSPC: "make room, and give the same command again: what was written before is whole",
    errno.EDQUOT: "make room, and give the same command again: what was written before is whole",
    errno.EACCES: "give another path, or see to it that you may read and write there",
    errno.EPERM: "give another path, or see to it that you may read and write there",
    errno.EROFS: "give a path on another disk",
    errno.ENOENT: "there is no such place: give another path",
    errno.ENOTDIR: "a part of this path is a file and no folder: give another path",
    errno.EEXIST: "a part of this path is a file and no folder: give another path",
    errno.EISDIR: "this is a folder: give the path of a file",
    errno.ENAMETOOLONG: "give a shorter path",
}

# What needs less memory, by command.
LESS_MEMORY = {
    "train": "a smaller --batch-size, smaller pictures (--min-size and --max-size) or fewer "
    "--workers",
    "evaluate": "a smaller --batch-size or --device cpu",
    "detect": "--device cpu",
}


def explain(error: Exception, command: str) -> str:
    """Say in one sentence what happened and what to try.

    Args:
        error: what a command raised.
        command: its name, since each has other options that help.

    Returns:
        The error's own words where it was written for readers; for a full memory, for what torch
        raises and for what the system says of a file, the first line of them and an advice.
    """
    if isinstance(error, (MemoryError, RuntimeError)):
        words = _first_line(error)
        lower = words.lower()

        if isinstance(error, MemoryError) or any(sign in lower for sign in FULL_MEMORY):
            advice = LESS_MEMORY.get(command, "it on a machine with more memory")
            return f"the memory is full ({words}): try {advice}"

        if any(sign in lower for sign in SHARED_MEMORY):
            return f"the memory that processes share is full ({words}): try --workers 0"

        return (
            f"PyTorch cannot do this: {words} (--device cpu may help; DETLEARN_TRACEBACK=1 before "
            "the command shows where it happened, which belongs into a report)"
        )

    if isinstance(error, OSError) and error.errno in OF_THE_SYSTEM and error.filename is not None:
        return f"{error.filename}: {error.strerror}; {OF_THE_SYSTEM[error.errno]}"

    words = str(error)
    for argument, option in OPTIONS.items():
        words = words.replace(argument, option)
    return words


def shows_traceback() -> bool:
    """Return whether the environment variable ``DETLEARN_TRACEBACK`` asks for it."""
    return os.environ.get("DETLEARN_TRACEBACK", "0") not in ("", "0")


def _first_line(error: Exception) -> str:
    """Return the first line that says something, or the kind of error if there is none."""
    for line in str(error).splitlines():
        if line.strip():
            return line.strip()
    return type(error).__name__
