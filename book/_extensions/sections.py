"""The text of the book by section, for the search that runs in the reader's browser.

Sphinx's own search asks the server for each page that it lists, which a browser refuses for pages
on disk. Here every section's text is written into one script, which `search.js` looks through: the
same from disk and from a server, and a result leads to the section, not to the top of a chapter.
"""

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

# Parts of a page that are not its text.
LEFT_OUT = (nodes.literal_block, nodes.comment, nodes.raw, nodes.image, nodes.math_block)

# TeX's commands that are a letter or a sign; any other is left out, its arguments stay.
SIGNS = {
    **{name: sign for name, sign in zip("alpha beta gamma mu rho sigma pi".split(), "αβγμρσπ")},
    **{"cap": "∩", "cup": "∪", "cdot": "·", "times": "×", "leq": "≤", "le": "≤", "geq": "≥"},
    **{
        "approx": "≈",
        "sqrt": "√",
        "lfloor": "⌊",
        "rfloor": "⌋",
        "leftarrow": "←",
        "in": "∈",
        "sum": "∑",
        "lvert": "|",
        "rvert": "|",
    },
    **{name: name for name in ("ln", "log", "exp", "min", "max", "arctan")},
}
FRACTION = re.compile(r"\\frac\{([^{}]*)\}\{([^{}]*)\}")
COMMAND = re.compile(r"\\([a-zA-Z]+|.)")
POWER = re.compile(r"\^\{([^{}]*)\}")


def formula_in_words(tex: str) -> str:
    """A formula as one would type it: `\\frac{\\rho^2}{c^2}` is ρ²/c²."""
    text = re.sub(r"\\(?:mathrm|text|operatorname)\{([^{}]*)\}", r"\1", tex)
    text = FRACTION.sub(r"\1/\2", text)
    text = COMMAND.sub(lambda match: SIGNS.get(match[1], " "), text)
    text = POWER.sub(r"^(\1)", text).replace("^2", "²").replace("_", "")
    return re.sub(r"[{}]", "", text)


def text_of(node: nodes.Node) -> str:
    """The words of a node in one line, without subsections, code and pictures."""
    if isinstance(node, nodes.Text):
        return str(node)
    if isinstance(node, LEFT_OUT):
        return " "
    if isinstance(node, nodes.math):
        return formula_in_words(node.astext())
    if isinstance(node, nodes.container) and "cell" in node.get("classes", []):
        return " "
    inside = "".join(text_of(c) for c in node.children if not isinstance(c, nodes.section))
    return inside if isinstance(node, nodes.Inline | nodes.TextElement) else f"{inside} "


def sections_of(doctree: nodes.document, page: str) -> list[dict[str, str]]:
    """Each section, and each entry of a glossary, as where it stands, its title and its text."""
    found = []
    title = next((node.astext() for node in doctree.findall(nodes.title)), page)
    for section in doctree.findall(nodes.section):
        heading = next((c.astext() for c in section.children if isinstance(c, nodes.title)), "")
        body = [c for c in section.children if not isinstance(c, nodes.title | nodes.section)]
        top = section.parent is doctree
        found.append(
            {
                "page": title,
                "url": f"{page}.html" + ("" if top else f"#{section['ids'][0]}"),
                "title": heading,
                "text": one_line(" ".join(text_of(node) for node in body)),
            }
        )
    for entry in doctree.findall(nodes.definition_list_item):
        terms = [child for child in entry.children if isinstance(child, nodes.term)]
        if terms and terms[0]["ids"]:
            found.append(
                {
                    "page": title,
                    "url": f"{page}.html#{terms[0]['ids'][0]}",
                    "title": ", ".join(term.astext() for term in terms),
                    "text": one_line(" ".join(text_of(c) for c in entry.children[len(terms) :])),
                }
            )
    return found


def one_line(text: str) -> str:
    """The text with single spaces."""
    return re.sub(r"\s+", " ", text).strip()


def write_sections(app: Sphinx, error: Exception | None) -> None:
    """Writes `_static/sections.js` once the pages are there."""
    if error is not None or app.builder.format != "html":
        return
    pages = sorted(app.env.all_docs)
    sections = [s for page in pages for s in sections_of(app.env.get_doctree(page), page)]
    script = f"window.bookSections = {json.dumps(sections, ensure_ascii=False)};\n"
    (Path(app.outdir) / "_static" / "sections.js").write_text(script, encoding="utf-8")


def load_search(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """The search page loads the sections and what looks through them."""
    if page == "search":
        app.add_js_file("sections.js", defer="defer")
        app.add_js_file("search.js", defer="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", load_search)
    app.connect("build-finished", write_sections)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
