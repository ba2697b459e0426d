"""The built book as files: its pages, and the links and anchors in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attributes through which a page names another resource.
LINKING = {"a": "href", "link": "href", "img": "src", "script": "src", "iframe": "src"}


@dataclass
class Page:
    """One HTML file: where it links to, and which anchors can be linked to."""

    path: Path
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag in LINKING and LINKING[tag] in attributes:
            self.page.links.append(attributes[LINKING[tag]])
        self.page.anchors |= {attributes[name] for name in ("id", "name") if name in attributes}


def read_page(path: Path) -> Page:
    """Reads one HTML file."""
    page = Page(path)
    _Reader(page).feed(path.read_text(encoding="utf-8"))
    return page


def html_files(site: Path) -> list[Path]:
    """Every page of the built book; ``_static`` holds the theme's own files."""
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)


def broken_links(site: Path) -> list[str]:
    """Every link whose target is not there, as ``page -> link: why``.

    Links within the book are resolved on disk, anchors included. Links to other hosts are only
    looked at: they need a host and no spaces.
    """
    pages = {path.resolve(): read_page(path) for path in html_files(site)}
    return [
        f"{page.path.relative_to(site)} -> {link}: {fault}"
        for page in pages.values()
        for link in page.links
        if (fault := _fault_in(link, page, pages, site))
    ]


def _fault_in(link: str, page: Page, pages: dict[Path, Page], site: Path) -> str | None:
    """Why a link leads nowhere, or None."""
    parts = urlsplit(link)
    if parts.scheme in ("http", "https"):
        return None if parts.netloc and " " not in link.strip() else "not a well-formed address"
    if parts.scheme in ("mailto", "data", "javascript"):
        return None
    if parts.scheme or parts.netloc:
        return f"unexpected kind of link ({parts.scheme or '//'})"
    target = (
        (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path.resolve()
    )
    if not target.is_relative_to(site.resolve()):
        return "leads out of the book"
    if not target.is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "no such anchor"
    return None
