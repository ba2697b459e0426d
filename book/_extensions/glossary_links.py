"""Lets a chapter link to a glossary entry in plain Markdown: ``[IoU](#term-iou)``.

Notebooks use plain Markdown only, because a MyST role such as ``{term}`` shows as raw text in
Colab. So every term of the glossary gets a label: ``term-`` and the term in small letters, with a
hyphen for everything else. A link to a term that the glossary lacks is a warning, and with that an
error in CI.

The entries are also written into ``_static/terms_data.js``, from which ``terms.js`` shows what a
term means beside a link to it.
"""

import html
import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

GLOSSARY = "book/glossary"


def label_terms(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Adds the labels once all pages are read; no page has to be read again for it."""
    domain = env.get_domain("std")
    for (kind, name), (page, anchor) in domain.objects.items():
        if kind == "term":
            label = "term-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
            domain.labels[label] = (page, anchor, name)
            domain.anonlabels[label] = (page, anchor)
    return []


def entry_html(node: nodes.Node) -> str:
    """An entry's words as HTML: links become plain words, formulas stay formulas."""
    if isinstance(node, nodes.Text):
        return html.escape(str(node), quote=False)
    if isinstance(node, nodes.math):
        formula = html.escape(node.astext(), quote=False)
        return f'<span class="math notranslate nohighlight">\\({formula}\\)</span>'
    inside = "".join(entry_html(child) for child in node.children)
    return f"<em>{inside}</em>" if isinstance(node, nodes.emphasis) else inside


def entries_of(doctree: nodes.document) -> dict[str, str]:
    """What each term means, by the anchor of the term."""
    entries = {}
    for item in doctree.findall(nodes.definition_list_item):
        terms = [child for child in item.children if isinstance(child, nodes.term)]
        meaning = [child for child in item.children if isinstance(child, nodes.definition)]
        for term in terms:
            for anchor in term["ids"]:
                entries[anchor] = " ".join(entry_html(part) for part in meaning).strip()
    return entries


def write_entries(app: Sphinx, error: Exception | None) -> None:
    """Writes the entries as a script once the pages are there."""
    if error is not None or app.builder.format != "html" or GLOSSARY not in app.env.all_docs:
        return
    entries = entries_of(app.env.get_doctree(GLOSSARY))
    script = f"window.glossaryTerms = {json.dumps(entries, ensure_ascii=False)};\n"
    (Path(app.outdir) / "_static" / "terms_data.js").write_text(script, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_js_file("terms_data.js", priority=850, defer="defer")
    app.add_js_file("terms.js", priority=860, defer="defer")
    app.connect("env-updated", label_terms)
    app.connect("build-finished", write_entries)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
