"""One process at a time: what two would spoil for each other, such as a training's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nobody is kept out
    fcntl = None


@contextmanager
def hold(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock while the block runs; it goes with the process, however that ends.

    Args:
        path: of a file that stands for the lock. It is made, with the folders it needs, and removed
            in the end. What a killed process leaves of it keeps nobody out.
        wait: for another process that holds the lock; otherwise raise.

    Raises:
        BlockingIOError: another process holds it, or this one does already.
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = None if fcntl is None else _lock(path, wait)
    try:
        yield
    finally:
        if descriptor is not None:
            # Removed before it is free, or it could be the file of the next one.
            with suppress(OSError):
                path.unlink()
            _HELD.discard(descriptor)
            os.close(descriptor)


def _lock(path: Path, wait: bool) -> int:
    """Lock the file of this name, and return the descriptor that holds it."""
    _let_go_in_forks()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:  # the disk knows no locks: then nobody is kept out
            pass

        # Who held it before may have removed it meanwhile: then another one has this name.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                _HELD.add(descriptor)
                return descriptor
        os.close(descriptor)


# A fork has the descriptors of its parent. The processes that load images for a training may live
# some seconds longer than a training that was killed, and must not keep the next one out.
_HELD: set[int] = set()


@cache  # it cannot be taken back, and once is enough
def _let_go_in_forks() -> None:
    """See to it that each fork closes what its parent holds."""

    def let_go() -> None:
        for descriptor in _HELD:
            os.close(descriptor)
        _HELD.clear()

    os.register_at_fork(after_in_child=let_go)
