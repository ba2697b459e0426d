"""How the tables of this room look on a page: as wide as their place, on a phone, too."""

from __future__ import annotations

import html

FITS = "overflow-wrap: anywhere; font-size: min(0.9em, 3.1vw)"  # of a table; smaller on a phone
NARROW = "padding: 0.3em 0.25em"  # of a cell
WHOLE = f"{NARROW}; overflow-wrap: normal"  # of a cell whose words must not break
NUMBER = f"{WHOLE}; text-align: right"


def breakable(name: str) -> str:
    """Return a name for a page, where it may go on in the next line after an underscore."""
    return html.escape(name).replace("_", "_<wbr>").replace("parameters", "para&shy;meters")
