"""How the tables of this room look on a page: as wide as their place, on a phone, too."""

from __future__ import annotations

import html

FITS = "overflow-wrap: anywhere; font-size: min(0.9em, 3.1vw)"  # of a table; smaller on a phone
NARROW = "padding: 0.3em 0.25em"  # of a cell
WHOLE = f"{NARROW}; overflow-wrap: normal"  # of a cell whose words must not break
NUMBER = f"{WHOLE}; text-align: right"


def breakable(name: str) -> str:
    """Return a name or a heading for a page, with the places at which a line may end in it.

    After an underscore; and in the one long word of the headings, with a hyphen.
    """
    return html.escape(name).replace("_", "_<wbr>").replace("parameters", "para&shy;meters")
