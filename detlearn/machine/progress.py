"""The progress bar of everything that takes long."""

from __future__ import annotations

import os
from typing import Any

from tqdm.auto import tqdm


def progress_bar(total: float | None, label: str, *, show: bool = True, **options: Any) -> tqdm:
    """Return a bar for ``with progress_bar(100, "drawing") as bar: … bar.update()``.

    Args:
        total: steps until the end; None if that is not known.
        label: what is going on.
        show: False hides it. The environment variable ``TQDM_DISABLE=1`` hides every bar: it is set
            while the notebooks' outputs are stored, where a bar would be noise.
        options: tqdm's own, for instance ``unit`` and ``initial``.

    Returns:
        The bar: a widget in a notebook, text in a terminal.
    """
    return tqdm(total=total, desc=label, disable=not show or bars_are_hidden(), **options)


def bars_are_hidden() -> bool:
    """Return whether ``TQDM_DISABLE`` asks for silence; tqdm's notebook widget does not read it."""
    return os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
