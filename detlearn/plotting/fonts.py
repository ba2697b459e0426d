"""Which fonts can write a text: class names come in every script, and no font has them all.

A character that no font has is drawn as an empty frame, which says nothing. Whoever draws names
asks `missing_characters` first, and writes something else in their place.
"""

from functools import cache

from matplotlib import font_manager

from detlearn.plotting import style

PLACEHOLDERS = "Last Resort"  # fonts of this name have a frame for every character


def fonts_for(text: str) -> list[str]:
    """Return the fonts that can write a text together, in the form that matplotlib takes.

    Args:
        text: in any script.

    Returns:
        Names of fonts: the one of the tags, and behind it those that have what it lacks.
    """
    found = [style.TAG_FONT]
    for character in text:
        font = font_with(character)
        if font is not None and font not in found:
            found.append(font)
    return found


def missing_characters(text: str) -> str:
    """Return the characters of a text that no font on this machine can draw, each once."""
    return "".join(c for c in dict.fromkeys(text) if font_with(c) is None)


@cache
def font_with(character: str) -> str | None:
    """Return the first font that has a character: that of the tags, else one of this machine's.

    Args:
        character: one character.

    Returns:
        The font's name; None if there is no such font.
    """
    tag_font = font_manager.findfont(style.TAG_FONT)
    if character.isspace() or _has_glyph(tag_font, character):
        return style.TAG_FONT

    # Upright fonts first: a name in italics looks like a remark.
    fonts = sorted(font_manager.fontManager.ttflist, key=lambda font: font.style != "normal")
    for font in fonts:
        if not font.name.startswith(PLACEHOLDERS) and _has_glyph(font.fname, character):
            return font.name
    return None


def _has_glyph(path: str, character: str) -> bool:
    """Return whether a font's file has a character; no if the file cannot be read."""
    try:
        return font_manager.get_font(path).get_char_index(ord(character)) != 0
    except (OSError, RuntimeError):  # removed since, or of a kind that FreeType does not know
        return False
