"""Makes a numbered figure of a picture and the caption below it.

In a notebook a caption is the paragraph in italics that follows the picture's cell. On the page the
two become one ``<figure>``, and the caption is its ``<figcaption>``: "Figure 1.3. …", counted
through the chapter. Cells without a picture (an assert, a printed number) may stand between them;
the caption moves up to the picture.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from notebook_cells import bundles_of, chapter_number, html_in, is_cell
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

PICTURE = re.compile(r"<(svg|img|picture|canvas)\b")
VERDICT = "detlearn-check"  # the verdict of an exercise holds a drawn sign, but is no figure


def is_caption(node: nodes.Node) -> bool:
    """Whether a node is a paragraph that stands in italics as a whole."""
    if not isinstance(node, nodes.paragraph):
        return False

    # The parser may leave an empty text before or after the one in italics.
    parts = [child for child in node.children if child.astext().strip()]
    return len(parts) == 1 and isinstance(parts[0], nodes.emphasis)


def is_picture(bundle: nodes.Element) -> bool:
    """Whether what a cell displayed is a picture: an image, or HTML with a drawing in it."""
    if any(str(kind.get("mime_type")).startswith("image/") for kind in bundle.children):
        return True
    return any(
        PICTURE.search(raw.astext()) and VERDICT not in raw.astext() for raw in html_in(bundle)
    )


def picture_before(caption: nodes.paragraph) -> nodes.Element | None:
    """The last picture in the cells directly above a caption, or None."""
    siblings = caption.parent.children
    above = siblings.index(caption) - 1
    while above >= 0 and is_cell(siblings[above]):
        pictures = [bundle for bundle in bundles_of(siblings[above]) if is_picture(bundle)]
        if pictures:
            return pictures[-1]
        above -= 1
    return None


def make_figure(picture: nodes.Element, paragraph: nodes.paragraph, number: str) -> None:
    """Puts a picture and the words of a paragraph into one figure, where the picture stood."""
    label = nodes.inline("", f"Figure {number}.", classes=["caption-number"])
    words = next(paragraph.findall(nodes.emphasis)).children
    caption = nodes.caption(paragraph.rawsource, "", label, nodes.Text(" "), *words)
    caption.source, caption.line = paragraph.source, paragraph.line
    paragraph.parent.remove(paragraph)

    figure = nodes.figure(ids=["figure-" + number.replace(".", "-")], classes=["numbered"])
    picture.replace_self(figure)
    figure += [picture, caption]


class FigureCaptions(SphinxTransform):
    """Numbers the figures of a chapter."""

    default_priority = 600

    def apply(self, **arguments: Any) -> None:
        """Goes through the chapter from top to bottom."""
        chapter = chapter_number(self.env.docname)
        if chapter is None:
            return

        count = 0
        for paragraph in list(self.document.findall(is_caption)):
            picture = picture_before(paragraph)
            if picture is not None:
                count += 1
                make_figure(picture, paragraph, f"{chapter}.{count}")


def count_alone(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Takes away Sphinx's own numbers, which go through the whole book."""
    env.toc_fignumbers.clear()
    return []


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("env-get-updated", count_alone, priority=900)
    app.add_transform(FigureCaptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
