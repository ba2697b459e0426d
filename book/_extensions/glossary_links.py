"""Lets a chapter link to a glossary entry in plain Markdown: ``[IoU](#term-iou)``.

Notebooks use plain Markdown only, because a MyST role such as ``{term}`` shows as raw text in
Colab. So every term of the glossary gets a label: ``term-`` and the term in small letters, with a
hyphen for everything else. A link to a term that the glossary lacks is a warning, and with that an
error in CI.
"""

import re

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def label_terms(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Adds the labels once all pages are read; no page has to be read again for it."""
    domain = env.get_domain("std")
    for (kind, name), (page, anchor) in domain.objects.items():
        if kind == "term":
            label = "term-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
            domain.labels[label] = (page, anchor, name)
            domain.anonlabels[label] = (page, anchor)
    return []


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("env-updated", label_terms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
