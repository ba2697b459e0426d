"""Frames an exercise from its heading to its solution, and a guess with its answer.

An exercise is a section whose title begins with ``Exercise 1.4``. What stands below its solution in
the notebook goes on with the chapter, so it moves out of the section; then the section is the
frame. Its line ``Level ●○○ · 10 minutes`` becomes small, and its solution is highlighted like all
code.

A paragraph that begins with ``**Guess first.**`` gets a light frame, along with the folded answer
that follows it.
"""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from notebook_cells import bundles_of, code_of, html_in, is_cell
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

EXERCISE = re.compile(r"^Exercise \d+\.\d+\b")
FACTS = re.compile(r"^Level (?P<dots>[●○]{3}) · (?P<rest>[^\n]*)(?:\n|$)")
LAST_CELLS = ("check.solution(", "check.")  # where an exercise ends: the first of these it has
SOLUTION = re.compile(
    r"^(?P<open><details>.*?</summary>)<pre>(?P<code>.*)</pre></details>\s*$", re.S
)
NEAR = 4  # a folded answer begins at most so many paragraphs below its question


def end_of_exercise(section: nodes.section) -> int:
    """How many of a section's children belong to its exercise; all where it has no check."""
    for marker in LAST_CELLS:
        ends = [
            index
            for index, child in enumerate(section.children)
            if is_cell(child) and marker in code_of(child)
        ]
        if ends:
            return ends[-1] + 1
    return len(section.children)


def close_section(section: nodes.section) -> None:
    """Ends an exercise's section after its solution; the rest follows it."""
    end = end_of_exercise(section)
    rest = section.children[end:]
    del section.children[end:]

    parent = section.parent
    at = parent.index(section) + 1
    parent[at:at] = rest


def set_facts(section: nodes.section) -> None:
    """Sets the line with level and minutes small, also where a paragraph goes on below it."""
    paragraph = next((child for child in section.children if is_paragraph(child)), None)
    match = FACTS.match(paragraph.astext()) if paragraph is not None else None
    if match is None or not isinstance(paragraph.children[0], nodes.Text):
        return

    level = match["dots"].count("●")
    words = f"level {level} of 3"
    facts = nodes.paragraph(classes=["exercise-facts"])
    facts += nodes.raw(
        "",
        f'<span class="level" role="img" aria-label="{words}">{match["dots"]}</span> ',
        format="html",
    )
    facts += nodes.Text(f" {match['rest'].strip()}")

    # The paragraph keeps what stands below the line; nothing, as a rule.
    first = paragraph.children[0].astext()[match.end() :]
    paragraph[0:1] = [nodes.Text(first)] if first else []
    section.insert(section.index(paragraph), facts)
    if not paragraph.children:
        section.remove(paragraph)


def is_paragraph(node: nodes.Node) -> bool:
    """Whether a node is a paragraph with something in it."""
    return isinstance(node, nodes.paragraph) and bool(node.children)


def highlight_solution(cell: nodes.Element) -> None:
    """Makes a block of Python of a solution, which comes as escaped text in a fold."""
    for bundle in bundles_of(cell):
        for raw in list(html_in(bundle)):
            match = SOLUTION.match(raw.astext())
            if match is None:
                continue

            code = html.unescape(match["code"])
            opened = match["open"].replace("<details>", '<details class="solution">')
            # Not `replace_self`, which would hand the classes down: each would become a division.
            at = raw.parent.index(raw)
            raw.parent[at : at + 1] = [
                nodes.raw("", opened, format="html"),
                nodes.literal_block(code, code, language="python"),
                nodes.raw("", "</details>", format="html"),
            ]


def is_guess(node: nodes.Node) -> bool:
    """Whether a node is a paragraph that asks the reader to guess first."""
    if not isinstance(node, nodes.paragraph):
        return False

    # The parser may leave an empty text before the bold one.
    first = next((child for child in node.children if child.astext()), None)
    return isinstance(first, nodes.strong) and first.astext().startswith("Guess first")


def is_raw(node: nodes.Node, tag: str) -> bool:
    """Whether a node is raw HTML with this tag in it."""
    return isinstance(node, nodes.raw) and tag in node.astext()


def frame_guess(paragraph: nodes.paragraph) -> None:
    """Puts a question and its folded answer into one frame."""
    parent = paragraph.parent
    start = parent.index(paragraph)
    following = parent.children[start + 1 :]

    # Up to the end of the answer, where one begins near.
    taken = 0
    if any(is_raw(node, "<details") for node in following[:NEAR]):
        ends = (i for i, node in enumerate(following) if is_raw(node, "</details>"))
        taken = next(ends, -1) + 1

    members = [paragraph, *following[:taken]]
    frame = nodes.container(classes=["guess"])
    parent[start : start + len(members)] = [frame]
    frame += members


class ExerciseFrames(SphinxTransform):
    """Frames the exercises and the guesses of a page."""

    default_priority = 620

    def apply(self, **arguments: Any) -> None:
        """Goes through the page's sections, then through its paragraphs."""
        for section in list(self.document.findall(nodes.section)):
            title = section.next_node(nodes.title)
            if title is None or not EXERCISE.match(title.astext()):
                continue

            section["classes"].append("exercise")
            close_section(section)
            set_facts(section)

        for cell in list(self.document.findall(is_cell)):
            if code_of(cell).startswith("check.solution("):
                cell["classes"].append("solution")
                highlight_solution(cell)

        for paragraph in list(self.document.findall(is_guess)):
            frame_guess(paragraph)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(ExerciseFrames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
