"""Takes the live-code loader out of the pages.

jupyter-book always loads sphinx-thebe, even with its button off: a script that fetches code from a
CDN when asked to, and whose constants are declared twice, which each page reports as an error. The
book's pages work without any network, so they go without it.
"""

from typing import Any

from sphinx.application import Sphinx


def drop_thebe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leaves thebe's scripts out of the list that the page's template writes."""
    context["script_files"] = [
        script for script in context.get("script_files", []) if "thebe" not in str(script).lower()
    ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
