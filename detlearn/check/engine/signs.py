"""The three signs of a check: as characters for text, as small drawings for HTML.

An emoji font has the characters in colours and widths of its own, or not at all, so HTML draws
them; what is read aloud is a word. The file imports nothing: the book's pages draw the signs in
their text by it, too.
"""

SIGNS = {"right": "✅", "wrong": "❌", "todo": "⏳"}
BORDERS = {"right": "#2a9d63", "wrong": "#d9660d", "todo": "#8a8a8a"}
WORDS = {"right": "right", "wrong": "wrong", "todo": "to do"}
PATHS = {
    "right": "M2.5 8.5l3.5 3.5 7.5-8",
    "wrong": "M3.5 3.5l9 9m0-9l-9 9",
    "todo": "M4 2h8M4 14h8M5 2c0 4 6 8 6 12M11 2c0 4-6 8-6 12",  # an hourglass
}


def drawn_sign(status: str) -> str:
    """Return the sign of "right", "wrong" or "todo" as SVG."""
    return (
        f'<svg class="detlearn-sign" role="img" aria-label="{WORDS[status]}" viewBox="0 0 16 16" '
        f'width="16" height="16" fill="none" stroke="{BORDERS[status]}" stroke-width="2.2" '
        f'style="vertical-align: -0.15em"><path d="{PATHS[status]}"/></svg>'
    )
