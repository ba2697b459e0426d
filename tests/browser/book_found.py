"""All that the tests want to know of a page, from one visit: to open a chapter takes seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from book_access import STILL, faults_by_axe, poor_rings
from book_visit import loaded_files, look, visiting


@dataclass(frozen=True)
class Found:
    """What one visit to a page found.

    Attributes:
        files: what it loads before anybody scrolls, with the sizes on disk.
        faults: what a reader would see go wrong.
        by_axe: what axe-core calls critical or serious; at a desk only.
        controls: how many the Tab key reaches; at a desk only.
        poor_rings: those whose focus is hard to see.
    """

    files: dict[str, int]
    faults: list[str]
    by_axe: list[str] = field(default_factory=list)
    controls: int = 0
    poor_rings: list[str] = field(default_factory=list)


def found_by_a_visit(browser, address: str, width: int, scheme: str, site: Path) -> Found:
    """Opens a page as `visiting` does and looks at everything."""
    with visiting(browser, address, width, scheme, site) as visit:
        # First what it loads by itself, then what is seen, last what sets the focus.
        files = loaded_files(visit)
        faults = look(visit, scheme)
        if width < 600:
            return Found(files, faults)

        visit.page.add_style_tag(content=STILL)
        by_axe = faults_by_axe(visit.page) if find_spec("axe_playwright_python") else []
        return Found(files, faults, by_axe, *poor_rings(visit.page))
