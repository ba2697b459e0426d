"""Numbers the chapters by their files' names, and the sections through each chapter.

``chapters/06_iou_losses`` is chapter 6 also while chapters 3 to 5 are not written, which Sphinx's
own numbering cannot say; so this fills in the table that Sphinx would. Exercises and other small
headings have none: an exercise has a number of its own.
"""

from __future__ import annotations

from docutils import nodes
from notebook_cells import chapter_number
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

Numbers = dict[str, tuple[int, ...] | None]


def number_sections(toc: nodes.Node, chapter: int) -> Numbers:
    """Numbers a page's table of contents in place.

    Args:
        toc: a bullet list of the page's title, in it one of the sections.
        chapter: the chapter's number.

    Returns:
        The numbers by anchor, None for small headings; the page's title has the empty anchor.
    """
    numbers: Numbers = {}
    section = 0
    for entry in toc.findall(nodes.reference):
        depth = depth_of(entry, toc)
        if depth == 1:
            numbers[entry["anchorname"]] = (chapter,)
        elif depth == 2:
            section += 1
            numbers[entry["anchorname"]] = (chapter, section)
        else:
            # Without an entry it would get the number of its page.
            numbers[entry["anchorname"]] = None
            continue

        entry["secnumber"] = list(numbers[entry["anchorname"]])
    return numbers


def depth_of(entry: nodes.Node, toc: nodes.Node) -> int:
    """In how many nested lists an entry stands."""
    depth, node = 0, entry
    while node is not None:
        depth += isinstance(node, nodes.bullet_list)
        node = None if node is toc else node.parent
    return depth


def number_chapters(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Numbers every chapter; returns the pages that have to be written anew."""
    changed = []
    for page, toc in env.tocs.items():
        chapter = chapter_number(page)
        if chapter is None:
            continue

        numbers = number_sections(toc, chapter)
        env.titles[page]["secnumber"] = [chapter]
        if env.toc_secnumbers.get(page) != numbers:
            env.toc_secnumbers[page] = numbers
            changed.append(page)
    return changed


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx; after its own numbering, which forgets what is not its own."""
    app.connect("env-get-updated", number_chapters, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
