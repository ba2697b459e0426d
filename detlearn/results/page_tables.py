"""How the tables of this room look on a page: as wide as their place, on a phone, too."""

from __future__ import annotations

import html

FITS = "overflow-wrap: anywhere; font-size: 0.9em"  # of a table: its words break where they must
NARROW = "padding: 0.3em 0.25em"  # of a cell
NUMBER = f"{NARROW}; text-align: right; overflow-wrap: normal"  # of a cell that must not break
NAME = f"{NARROW}; overflow-wrap: normal"  # the same for words


def breakable(name: str) -> str:
    """Return a name for a page, where it may go on in the next line after an underscore."""
    return html.escape(name).replace("_", "_<wbr>").replace("parameters", "para&shy;meters")
