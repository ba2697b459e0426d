"""What was graded stays graded: a file beside the table that survives a crash.

Each line is JSON, flushed to the disk before the next submission. A line belongs to the content of
a submission, the seed, the exercises, the limits and the package's own code: when one of them
changes, the submission is graded anew. A torn last line, as a crash leaves it, is skipped.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import detlearn
from detlearn.grading.examiner import Row, Settings
from detlearn.grading.submissions import Submission


class Journal:
    """The journal of one table; use it in a ``with``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        self.drawn_seed: int | None = None

        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab")
        self._lock()

        content = path.read_bytes()
        for line in content.splitlines():
            # What is torn, no row or no seed is left alone.
            with suppress(ValueError, TypeError, KeyError, AttributeError):
                self._learn(json.loads(line))

        # A torn last line must not swallow the next one.
        if content and not content.endswith(b"\n"):
            self._file.write(b"\n")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of a line that could not be written, which has been said
            self._file.close()

    def _lock(self) -> None:
        """Keep others from writing, until the file is closed or this process ends."""
        import fcntl  # not on Windows, where nothing is graded

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            table = self.path.with_suffix("")
            text = f"{table} is being written by another grader; wait for it, or name another table"
            raise ValueError(text) from None

    def _learn(self, line: dict[str, Any]) -> None:
        if "seed" in line:
            self.drawn_seed = int(line["seed"])
        else:
            self.rows[line["key"]] = Row(**line["row"])

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:  # that of a full disk does not say where
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def seed(self) -> int:
        """Return a seed that nobody knows, drawn once for each journal."""
        if self.drawn_seed is None:
            self.drawn_seed = secrets.randbelow(2**31)
            self._write({"seed": self.drawn_seed})
        return self.drawn_seed

    def add(self, key: str, row: Row) -> None:
        """Keep a row for good."""
        if key not in self.rows:
            self.rows[key] = row
            self._write({"key": key, "row": asdict(row)})


def key_of(submission: Submission, settings: Settings) -> str:
    """Return what a row belongs to, as a digest."""
    parts = [submission.digest(), asdict(settings), package_digest()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@functools.cache
def package_digest() -> str:
    """Return a digest of the package's code and torch's version, which decide about points."""
    folder = Path(detlearn.__file__).parent
    digest = hashlib.sha256(torch.__version__.encode())

    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())

    return digest.hexdigest()
