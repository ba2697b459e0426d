"""Ctrl-C, which may wait until a step is done."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def hold_back_interrupt(wanted: bool = True) -> Iterator[Callable[[], bool]]:
    """Hold back the first Ctrl-C of a block; the second one stops it at once.

    Where somebody else has a say in what Ctrl-C does (another handler, or none, as in a process
    that a shell put into the background), and outside of the main thread, nothing is changed.

    Args:
        wanted: False changes nothing either.

    Yields:
        a function that says whether the first one has come.
    """
    came = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)  # for the second one
        # Not print(), which may be what was interrupted.
        os.write(2, b"\nstops after this step; Ctrl-C again stops at once\n")

    is_ours = (
        wanted
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, hold)
    try:
        yield lambda: came
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
